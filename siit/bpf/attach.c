// SPDX-License-Identifier: ISC
/* A program at a device's egress: by TCX, which Linux has since 6.6 and which needs no module, or as a filter of the
 * qdisc clsact, by netlink. Both stay without us, and both can be replaced in one step. */
#define _GNU_SOURCE
#include "attach.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { TCX_EGRESS = 47, REPLACE = 4 }; /* BPF_TCX_EGRESS and BPF_F_REPLACE, which older headers lack */
enum { PREFERENCE = 464, HANDLE = 1 }; /* of the filter; nobody else's, so that each of us finds the one before */
enum { PROGRAMS_MAX = 64 };            /* at one hook: the kernel's limit */

/* The programs at the device's egress by their numbers; how many, or a negative errno: -EINVAL is a kernel without TCX. */
static int query_tcx(unsigned ifindex, uint32_t ids[PROGRAMS_MAX])
{
	union bpf_attr attr = {.query.target_fd = ifindex,
			       .query.attach_type = TCX_EGRESS,
			       .query.prog_ids = (uintptr_t)ids,
			       .query.prog_cnt = PROGRAMS_MAX};
	int error = siit_bpf(BPF_PROG_QUERY, &attr);

	return error == -ENOENT ? 0 : error ? error : (int)attr.query.prog_cnt;
}

/* Open a program if it is one of ours; -1 if not. */
static int open_ours(uint32_t id)
{
	union bpf_attr open = {.prog_id = id};
	int program = siit_bpf(BPF_PROG_GET_FD_BY_ID, &open);
	struct bpf_prog_info info = {0};
	union bpf_attr ask = {
		.info.bpf_fd = (uint32_t)program, .info.info_len = sizeof info, .info.info = (uintptr_t)&info};

	if (program < 0)
		return -1;
	if (siit_bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) || strcmp(info.name, SIIT_FAST_NAME) != 0) {
		close(program);
		return -1;
	}
	return program;
}

static int change_tcx(int command, unsigned ifindex, int program, int before)
{
	union bpf_attr attr = {
		.target_fd = ifindex, .attach_bpf_fd = (uint32_t)program, .attach_type = TCX_EGRESS};

	if (before >= 0) {
		attr.attach_flags = REPLACE;
		attr.replace_bpf_fd = (uint32_t)before;
	}
	return siit_bpf(command, &attr);
}

/* The first of ours is replaced, if there is one. */
static int attach_tcx(unsigned ifindex, int program)
{
	uint32_t ids[PROGRAMS_MAX];
	int count = query_tcx(ifindex, ids), before = -1, error;

	if (count < 0)
		return count;
	for (int i = 0; i < count && before < 0; i++)
		before = open_ours(ids[i]);
	error = change_tcx(BPF_PROG_ATTACH, ifindex, program, before);
	if (before >= 0)
		close(before);
	return error;
}

static int detach_tcx(unsigned ifindex)
{
	uint32_t ids[PROGRAMS_MAX];
	int count = query_tcx(ifindex, ids), gone = 0;

	for (int i = 0; i < count; i++) {
		int program = open_ours(ids[i]);

		if (program < 0)
			continue;
		gone += change_tcx(BPF_PROG_DETACH, ifindex, program, -1) == 0;
		close(program);
	}
	return gone;
}

struct request {
	struct nlmsghdr header;
	struct tcmsg tc;
	uint8_t attributes[128];
};

static void put_attribute(struct request *request, uint16_t type, const void *value, uint16_t len)
{
	struct rtattr *at = (struct rtattr *)((uint8_t *)request + NLMSG_ALIGN(request->header.nlmsg_len));

	at->rta_type = type;
	at->rta_len = (uint16_t)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(at), value, len);
	request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(at->rta_len);
}

/* Send a request and wait for what the kernel says of it. */
static int tell(struct request *request)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		uint8_t rest[1024]; /* the request again, and the kernel's words */
	} answer;
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), error;

	if (netlink < 0)
		return -errno;
	if (send(netlink, request, request->header.nlmsg_len, 0) < 0 || recv(netlink, &answer, sizeof answer, 0) < 0)
		error = -errno;
	else
		error = answer.header.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
	close(netlink);
	return error;
}

static struct request make_request(uint16_t type, uint16_t flags, unsigned ifindex)
{
	struct request request = {
		.header = {.nlmsg_len = NLMSG_LENGTH(sizeof request.tc), .nlmsg_type = type, .nlmsg_flags = flags},
		.tc = {.tcm_family = AF_UNSPEC, .tcm_ifindex = (int)ifindex}};

	request.header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	return request;
}

static int make_clsact(unsigned ifindex)
{
	struct request request = make_request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex);
	int error;

	request.tc.tcm_parent = TC_H_CLSACT;
	request.tc.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	put_attribute(&request, TCA_KIND, "clsact", sizeof "clsact");
	error = tell(&request);
	return error == -EEXIST ? 0 : error;
}

/* Our filter's place: there is one at most. */
static struct request make_filter(uint16_t type, uint16_t flags, unsigned ifindex)
{
	struct request request = make_request(type, flags, ifindex);

	request.tc.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS);
	request.tc.tcm_handle = HANDLE;
	request.tc.tcm_info = TC_H_MAKE(PREFERENCE << 16, htons(ETH_P_ALL));
	put_attribute(&request, TCA_KIND, "bpf", sizeof "bpf");
	return request;
}

static int attach_filter(unsigned ifindex, int program)
{
	struct request request = make_filter(RTM_NEWTFILTER, NLM_F_CREATE, ifindex);
	const uint32_t fd = (uint32_t)program, flags = TCA_BPF_FLAG_ACT_DIRECT;
	struct rtattr *options;
	uint32_t start = NLMSG_ALIGN(request.header.nlmsg_len);
	int error = make_clsact(ifindex);

	if (error)
		return error;
	put_attribute(&request, TCA_OPTIONS, NULL, 0);
	put_attribute(&request, TCA_BPF_FD, &fd, sizeof fd);
	put_attribute(&request, TCA_BPF_NAME, SIIT_FAST_NAME, sizeof SIIT_FAST_NAME);
	put_attribute(&request, TCA_BPF_FLAGS, &flags, sizeof flags);
	options = (struct rtattr *)((uint8_t *)&request + start);
	options->rta_len = (uint16_t)(request.header.nlmsg_len - start);
	return tell(&request);
}

int siit_fast_attach(const struct siit_fast *fast, unsigned ifindex)
{
	int error = attach_tcx(ifindex, fast->program);

	return error == -EINVAL ? attach_filter(ifindex, fast->program) : error;
}

int siit_fast_detach(unsigned ifindex)
{
	struct request request = make_filter(RTM_DELTFILTER, 0, ifindex);
	int gone = detach_tcx(ifindex);

	return gone + (tell(&request) == 0);
}

/* Whether a message of a dump tells of a qdisc that somebody put at the root of a device: the kernel's own have no
 * handle. Its name goes to `kind`. */
static bool is_root_qdisc(const struct nlmsghdr *message, unsigned ifindex, char kind[SIIT_QDISC_NAME])
{
	const struct tcmsg *tc = NLMSG_DATA(message);
	const struct rtattr *at = (const struct rtattr *)((const uint8_t *)tc + NLMSG_ALIGN(sizeof *tc));
	unsigned rest = message->nlmsg_len - (unsigned)NLMSG_SPACE(sizeof *tc);

	if (message->nlmsg_type != RTM_NEWQDISC || tc->tcm_ifindex != (int)ifindex || tc->tcm_parent != TC_H_ROOT ||
	    tc->tcm_handle == 0)
		return false;
	for (; RTA_OK(at, rest); at = RTA_NEXT(at, rest))
		if (at->rta_type == TCA_KIND && RTA_PAYLOAD(at) <= SIIT_QDISC_NAME)
			memcpy(kind, RTA_DATA(at), RTA_PAYLOAD(at));
	kind[SIIT_QDISC_NAME - 1] = '\0';
	return true;
}

int siit_fast_qdisc(unsigned ifindex, char *kind)
{
	struct request request = make_request(RTM_GETQDISC, NLM_F_DUMP, ifindex);
	union {
		struct nlmsghdr first;
		uint8_t bytes[16384];
	} answer;
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), found = 0;
	bool is_over = netlink < 0 || send(netlink, &request, request.header.nlmsg_len, 0) < 0;

	kind[0] = '\0';
	if (is_over)
		found = -errno;
	while (!is_over) {
		ssize_t rest = recv(netlink, &answer, sizeof answer, 0);

		is_over = rest <= 0;
		for (struct nlmsghdr *at = &answer.first; NLMSG_OK(at, rest); at = NLMSG_NEXT(at, rest)) {
			is_over = is_over || at->nlmsg_type == NLMSG_DONE || at->nlmsg_type == NLMSG_ERROR;
			found = found || is_root_qdisc(at, ifindex, kind);
		}
	}
	if (netlink >= 0)
		close(netlink);
	return found;
}
