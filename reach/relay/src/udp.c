/* SPDX-License-Identifier: ISC
 * UDP: a flow for each caller and port, with a connected socket of its own towards the target, so that answers find
 * their caller. The table is bounded. When it is full, a flow whose target has never answered makes room, the oldest
 * first: callers with invented addresses throw out each other, not those who talk.
 */
#include "relay.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define FLOW_BUFFER_BYTES (1 << 20)
#define CONTROL_BYTES 128
#define MAX_SEGMENTS 64        /* the kernel's UDP_MAX_SEGMENTS */
#define MAX_SUPER_BYTES 65000  /* an IP packet's, less headers */
#define SILENT_MS 10000

struct flow {
	struct timed timed; /* first: a ring's member is a flow */
	struct watch watch;
	struct flow *next, *next_dead;
	struct listener *listener;
	struct rule *rule;
	struct source *source;
	union address caller;
	union address local; /* what the caller sent to, where we listen on all addresses */
	size_t max_segment, max_answer; /* of a datagram in a super-packet to the target, to the caller */
	bool is_answered, is_dead;
};

static struct flow **buckets, *dead;
static unsigned bucket_count;
static uint8_t bytes[BATCH][DATAGRAM_BYTES];
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static union address names[BATCH];
static _Alignas(struct cmsghdr) uint8_t controls[BATCH][CONTROL_BYTES];

bool udp_init(unsigned max_flows)
{
	for (bucket_count = 1024; bucket_count < max_flows; bucket_count *= 2)
		;
	buckets = calloc(bucket_count, sizeof(*buckets));
	return buckets != NULL;
}

static struct flow **find(const struct listener *listener, const union address *caller)
{
	struct {
		uint8_t address[16];
		uint16_t ports[2];
	} key = { .ports = { listener->port, port_of(caller) } };
	struct flow **at;

	map_address(caller, key.address);
	at = &buckets[hash(&key, sizeof(key)) & (bucket_count - 1)];
	while (*at && ((*at)->listener != listener || memcmp(&(*at)->caller, caller, size_of(caller))))
		at = &(*at)->next;
	return at;
}

static void end(struct flow *flow)
{
	*find(flow->listener, &flow->caller) = flow->next;
	ring_remove(&flow->timed.ring);
	close(flow->watch.fd);
	source_give(flow->source);
	rule_release(flow->rule);
	relay.flows--;
	flow->is_dead = true;
	flow->next_dead = dead;
	dead = flow;
}

void udp_bury(void)
{
	while (dead) {
		struct flow *next = dead->next_dead;

		free(dead);
		dead = next;
	}
}

/* Of those who were answered, only one of the same rule that has been silent for a while makes room. */
static bool make_room(struct rule *rule)
{
	struct flow *oldest = NULL;

	if (relay.flows < relay.max_flows)
		return true;
	if (!ring_empty(&relay.unanswered))
		oldest = (struct flow *)relay.unanswered.next;
	else if (!ring_empty(&rule->active) &&
		 relay.now_ms - ((struct flow *)rule->active.next)->timed.used_ms > SILENT_MS)
		oldest = (struct flow *)rule->active.next;
	if (!oldest)
		return false;
	relay.count.flows_evicted++;
	end(oldest);
	return true;
}

static int connect_to(const struct listener *listener)
{
	union address target = rule_target(listener->rule, listener->port);
	int size = FLOW_BUFFER_BYTES;
	int fd = socket(target.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (connect(fd, &target.any, size_of(&target))) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct flow *begin(struct listener *listener, const union address *caller, const union address *local)
{
	struct flow *flow, **at;
	struct source *source;

	if (!rule_admits(listener->rule, caller)) {
		relay.count.refused_from++;
		return NULL;
	}
	if (!(source = source_take(listener->rule, caller))) {
		relay.count.refused_limit++;
		return NULL;
	}
	if (!make_room(listener->rule)) {
		relay.count.refused_full++;
		source_give(source);
		return NULL;
	}
	if (!(flow = calloc(1, sizeof(*flow))) || (flow->watch.fd = connect_to(listener)) < 0) {
		relay.count.connect_failed++;
		source_give(source);
		free(flow);
		return NULL;
	}
	flow->watch.kind = FLOW;
	flow->listener = listener;
	flow->rule = listener->rule;
	flow->source = source;
	flow->caller = *caller;
	flow->local = *local;
	flow->max_segment = flow->max_answer = DATAGRAM_BYTES;
	rule_hold(flow->rule);
	ring_init(&flow->timed.ring);
	touch(&relay.unanswered, &flow->timed);
	at = find(listener, caller);
	*at = flow;
	relay.flows++;
	relay.count.flows++;
	watch_fd(&flow->watch, EPOLLIN);
	return flow;
}

/* Room for BATCH datagrams, with their senders' addresses and control data where wanted. */
static int receive(int fd, bool with_names, bool with_control)
{
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ .iov_base = bytes[i], .iov_len = DATAGRAM_BYTES };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
		if (with_names) {
			messages[i].msg_hdr.msg_name = &names[i];
			messages[i].msg_hdr.msg_namelen = sizeof(names[i]);
		}
		if (with_control) {
			messages[i].msg_hdr.msg_control = controls[i];
			messages[i].msg_hdr.msg_controllen = CONTROL_BYTES;
		}
	}
	return recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
}

/* The address that a datagram was sent to; of no family when the kernel has not said. */
static union address asked(struct msghdr *message)
{
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

/*
 * Send messages first to last-1. One that cannot be sent is dropped, as a router would, and the others go on.
 * *max_segment is the largest datagram that may be part of a super-packet this way, and is learned here.
 */
static void transmit(int fd, int first, int last, size_t *max_segment)
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

/* Make what was received into what is sent: only its bytes stay. */
static void strip(int i)
{
	vectors[i].iov_len = messages[i].msg_len;
	messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
}

void udp_receive(struct listener *listener)
{
	int got = receive(listener->watch.fd, true, listener->needs_local), first = 0;
	struct flow *flow = NULL;

	if (got <= 0)
		return; /* an ICMP error that somebody sent us; nobody is to blame */
	relay.count.datagrams_in += (uint64_t)got;
	for (int i = 0; i < got; i++) {
		union address local = { 0 };
		struct flow *its;

		if (listener->needs_local)
			local = asked(&messages[i].msg_hdr);
		relay.count.bytes_in += messages[i].msg_len;
		strip(i);
		/* datagrams of one caller mostly come together, and leave together */
		if (flow && !memcmp(&flow->caller, &names[i], size_of(&names[i])))
			continue;
		if (flow)
			transmit(flow->watch.fd, first, i, &flow->max_segment);
		its = *find(listener, &names[i]);
		flow = its ? its : begin(listener, &names[i], &local);
		if (flow)
			touch(flow->is_answered ? &flow->rule->active : &relay.unanswered, &flow->timed);
		else
			relay.count.datagrams_dropped++;
		first = i;
	}
	if (flow)
		transmit(flow->watch.fd, first, got, &flow->max_segment);
}

void udp_answer(struct watch *watch)
{
	struct flow *flow = (struct flow *)((char *)watch - offsetof(struct flow, watch));
	int got;

	if (flow->is_dead)
		return;
	got = receive(flow->watch.fd, false, false);
	if (got <= 0)
		return; /* ECONNREFUSED: the target has nobody on that port, as yet */
	flow->is_answered = true;
	touch(&flow->rule->active, &flow->timed);
	relay.count.datagrams_out += (uint64_t)got;
	for (int i = 0; i < got; i++) {
		relay.count.bytes_out += messages[i].msg_len;
		strip(i);
		messages[i].msg_hdr.msg_name = &flow->caller;
		messages[i].msg_hdr.msg_namelen = size_of(&flow->caller);
		answer_from(&messages[i].msg_hdr, controls[i], &flow->local);
	}
	transmit(flow->listener->watch.fd, 0, got, &flow->max_answer);
}

static bool is_same_target(const struct listener *old, const struct listener *new)
{
	union address one = rule_target(old->rule, old->port), other = rule_target(new->rule, new->port);

	return one.any.sa_family == other.any.sa_family && !memcmp(&one, &other, size_of(&one));
}

void udp_rehome(struct listener *old, struct listener *new)
{
	for (unsigned i = 0; i < bucket_count; i++) {
		struct flow *next;

		for (struct flow *flow = buckets[i]; flow; flow = next) {
			next = flow->next;
			if (flow->listener != old)
				continue;
			if (!new || !is_same_target(old, new)) {
				end(flow);
				continue;
			}
			rule_hold(new->rule);
			rule_release(flow->rule);
			flow->rule = new->rule;
			flow->listener = new;
			if (flow->is_answered) {
				ring_remove(&flow->timed.ring);
				ring_append(&new->rule->active, &flow->timed.ring);
			}
		}
	}
}

static void expire_ring(struct ring *ring, int64_t after_ms)
{
	while (!ring_empty(ring)) {
		struct flow *oldest = (struct flow *)ring->next;

		if (relay.now_ms - oldest->timed.used_ms < after_ms)
			return;
		end(oldest);
	}
}

void udp_expire(void)
{
	struct rule *next;

	expire_ring(&relay.unanswered, UNANSWERED_MS);
	for (struct rule *rule = relay.rules; rule; rule = next) {
		next = rule->next;
		if (rule->protocol != UDP)
			continue;
		rule_hold(rule);
		expire_ring(&rule->active, rule->idle_ms);
		next = rule->next;
		rule_release(rule);
	}
}
