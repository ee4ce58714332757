/* SPDX-License-Identifier: ISC
 * A batch of datagrams: received in one system call, sent in as few as possible. Those of one size that go one way leave
 * as one super-packet (UDP_SEGMENT), which goes through the stack once.
 */
#include "datagrams.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define CONTROL_BYTES 128
#define MAX_SEGMENTS 64        /* the kernel's UDP_MAX_SEGMENTS */
#define MAX_SUPER_BYTES 65000  /* an IP packet's, less headers */
#define COLOUR_BYTES 1536      /* lest all buffers begin in the same lines of a cache */

union address senders[BATCH];
static uint8_t bytes[BATCH][DATAGRAM_BYTES + COLOUR_BYTES];
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static _Alignas(struct cmsghdr) uint8_t controls[BATCH][CONTROL_BYTES];

int receive(int fd, bool with_senders, bool with_control)
{
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ .iov_base = bytes[i], .iov_len = DATAGRAM_BYTES };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
		if (with_senders) {
			messages[i].msg_hdr.msg_name = &senders[i];
			messages[i].msg_hdr.msg_namelen = sizeof(senders[i]);
		}
		if (with_control) {
			messages[i].msg_hdr.msg_control = controls[i];
			messages[i].msg_hdr.msg_controllen = CONTROL_BYTES;
		}
	}
	return recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
}

size_t length_of(int i)
{
	return messages[i].msg_len;
}

union address asked(int i)
{
	struct msghdr *message = &messages[i].msg_hdr;
	union address local = { 0 };

	for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
		if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO) {
			local.any.sa_family = AF_INET;
			local.v4.sin_addr = ((struct in_pktinfo *)CMSG_DATA(at))->ipi_addr;
		} else if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_PKTINFO) {
			local.any.sa_family = AF_INET6;
			local.v6.sin6_addr = ((struct in6_pktinfo *)CMSG_DATA(at))->ipi6_addr;
		}
	}
	return local;
}

/* Append a control message. */
static void add_control(struct msghdr *message, uint8_t *control, int level, int type, const void *value, size_t size)
{
	struct cmsghdr *at = (struct cmsghdr *)(control + message->msg_controllen);

	*at = (struct cmsghdr){ CMSG_LEN(size), level, type };
	memcpy(CMSG_DATA(at), value, size);
	message->msg_control = control;
	message->msg_controllen += CMSG_SPACE(size);
}

/* Say in a message from which of our addresses it shall come. */
static void answer_from(struct msghdr *message, uint8_t *control, const union address *local)
{
	if (local->any.sa_family == AF_INET) {
		struct in_pktinfo info = { .ipi_spec_dst = local->v4.sin_addr };

		add_control(message, control, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else if (local->any.sa_family == AF_INET6) {
		struct in6_pktinfo info = { .ipi6_addr = local->v6.sin6_addr };

		add_control(message, control, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

void pass_on(int i)
{
	vectors[i].iov_len = messages[i].msg_len;
	messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
}

void pass_to(int i, const union address *to, const union address *from)
{
	pass_on(i);
	messages[i].msg_hdr.msg_name = (void *)to;
	messages[i].msg_hdr.msg_namelen = size_of(to);
	answer_from(&messages[i].msg_hdr, controls[i], from);
}

/* How many from `first` on can leave as one super-packet: all of one size, but the last may be shorter. */
static int run_length(int first, int last, size_t max_segment)
{
	size_t size = vectors[first].iov_len, total = size;
	int count = 1;

	if (size > max_segment || !size)
		return 1;
	while (first + count < last && count < MAX_SEGMENTS) {
		size_t next = vectors[first + count].iov_len;

		if (!next || next > size || total + next > MAX_SUPER_BYTES)
			break;
		total += next;
		count++;
		if (next < size)
			break;
	}
	return count;
}

/* Send `count` datagrams in one call that goes through the stack once; false when they are too big for that. */
static bool send_run(int fd, int first, int count)
{
	struct msghdr message = messages[first].msg_hdr;
	uint16_t size = (uint16_t)vectors[first].iov_len;

	message.msg_iovlen = (size_t)count; /* their vectors stand in a row */
	add_control(&message, controls[first], IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
	if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	if (errno == EINVAL || errno == EMSGSIZE || errno == EIO || errno == EOPNOTSUPP)
		return false; /* with its headers larger than the MTU, or no such device */
	relay.count.datagrams_dropped += (uint64_t)count;
	return true;
}

static void send_each(int fd, int first, int last)
{
	while (first < last) {
		int sent = sendmmsg(fd, messages + first, (unsigned)(last - first), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent <= 0) {
			relay.count.datagrams_dropped++;
			sent = 1;
		}
		first += sent;
	}
}

void transmit(int fd, int first, int last, size_t *max_segment)
{
	int waiting = first; /* those from here on leave one by one */

	while (first < last) {
		int count = run_length(first, last, *max_segment);

		if (count == 1) {
			first++;
			continue;
		}
		send_each(fd, waiting, first);
		waiting = first;
		if (send_run(fd, first, count))
			waiting = first += count;
		else
			*max_segment = vectors[first].iov_len - 1;
	}
	send_each(fd, waiting, last);
}
