// SPDX-License-Identifier: ISC
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach.h"
#include "fast.h"
#include "insns.h"
#include "internal.h"

enum { INSNS = sizeof siit_fast_insns / sizeof *siit_fast_insns };

int siit_bpf(int command, union bpf_attr *attr)
{
	const long result = syscall(__NR_bpf, command, attr, sizeof *attr);

	return result < 0 ? -errno : (int)result;
}

/* A map of one element with the key 0; of maps if there is a template for those. */
static int make_map(uint32_t type, uint32_t size, int inner)
{
	union bpf_attr attr = {.map_type = type, .key_size = 4, .value_size = size, .max_entries = 1, .map_name = SIIT_FAST_NAME};

	if (inner >= 0)
		attr.inner_map_fd = (uint32_t)inner;
	return siit_bpf(BPF_MAP_CREATE, &attr);
}

static int put(int map, const void *value)
{
	const uint32_t zero = 0;
	union bpf_attr attr = {
		.map_fd = (uint32_t)map, .key = (uintptr_t)&zero, .value = (uintptr_t)value, .flags = BPF_ANY};

	return siit_bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

/* A map of rules, filled. */
static int make_rules(const struct siit_fast_rules *rules)
{
	int map = make_map(BPF_MAP_TYPE_ARRAY, sizeof *rules, -1), error = map < 0 ? map : put(map, rules);

	if (error && map >= 0)
		close(map);
	return error ? error : map;
}

/* Load once more, for the verifier's reasons: they are at the end of what it says. */
static void ask_why(union bpf_attr attr, char *log)
{
	enum { ALL = 1 << 20 };
	char *words = calloc(1, ALL);
	size_t len;
	int program;

	if (!words)
		return;
	attr.log_level = 1;
	attr.log_buf = (uintptr_t)words;
	attr.log_size = ALL;
	program = siit_bpf(BPF_PROG_LOAD, &attr);
	if (program >= 0)
		close(program);
	len = strnlen(words, ALL - 1);
	snprintf(log, SIIT_FAST_LOG, "%s", words + (len < SIIT_FAST_LOG ? 0 : len - SIIT_FAST_LOG + 1));
	free(words);
}

static int load_program(const int maps[2], char *log)
{
	struct bpf_insn insns[INSNS];
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SCHED_CLS,
			       .insn_cnt = INSNS,
			       .insns = (uintptr_t)insns,
			       .license = (uintptr_t) "GPL",
			       .prog_name = SIIT_FAST_NAME};
	int program;

	memcpy(insns, siit_fast_insns, sizeof insns);
	for (size_t i = 0; i < INSNS; i++)
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) && insns[i].src_reg == BPF_PSEUDO_MAP_FD)
			insns[i].imm = maps[insns[i].imm];
	program = siit_bpf(BPF_PROG_LOAD, &attr);
	if (program == -EACCES || program == -EINVAL)
		ask_why(attr, log);
	return program;
}

/* The length of its machine code. */
static int jited_len(int program)
{
	struct bpf_prog_info info = {0};
	union bpf_attr attr = {
		.info.bpf_fd = (uint32_t)program, .info.info_len = sizeof info, .info.info = (uintptr_t)&info};
	int error = siit_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);

	return error ? error : (int)info.jited_prog_len;
}

int siit_fast_load(struct siit_fast *fast, char *log)
{
	const struct siit_fast_rules nothing = {0};
	int inner = make_rules(&nothing), error;

	*fast = (struct siit_fast){-1, -1, -1};
	log[0] = '\0';
	if (inner < 0)
		return inner;
	error = fast->rules = make_map(BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, inner);
	if (error >= 0)
		error = put(fast->rules, &inner);
	if (error >= 0)
		error = fast->counters = make_map(BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct siit_fast_counters), -1);
	if (error >= 0)
		error = fast->program = load_program((const int[]){fast->rules, fast->counters}, log);
	close(inner);
	if (error >= 0)
		error = jited_len(fast->program);
	if (error < 0)
		siit_fast_close(fast);
	return error;
}

void siit_fast_close(struct siit_fast *fast)
{
	const int fds[] = {fast->program, fast->rules, fast->counters};

	for (unsigned i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*fast = (struct siit_fast){-1, -1, -1};
}

/* Under a prefix that may be forwarded every address may be, but for its IPv4 part. */
static bool is_simple(const struct siit_rule *rule)
{
	return rule->style == SIIT_RFC6052 && rule->v6_len == 96 && rule->v4_len <= 32 &&
	       sum_bytes(0, rule->v6, 12) != 0 && !is_illegal6(rule->v6);
}

/* One address for one, for packets to what `around` maps locally: those are left to the pump, and so is what comes from
 * the address, which `around` does not map. */
static bool is_beside(const struct siit_pair *pair, const struct siit_pair *around)
{
	uint32_t v4_len = around->local.v4_len;

	return pair->local.style == SIIT_NONE && pair->local.v4_len == 0 && pair->remote.style == SIIT_NONE &&
	       pair->remote.v4_len == 32 && pair->remote.v6_len == 128 && v4_len > 0 &&
	       (get32(pair->remote.v4) ^ get32(around->local.v4)) >> (32 - v4_len) == 0 &&
	       memcmp(pair->remote.v6, around->remote.v6, 12) != 0;
}

/* The pair that the program translates by: the last, if all before it are one address for one. */
static const struct siit_pair *pair_of(const struct siit_map *map)
{
	const struct siit_pair *last = map->npairs ? &map->pairs[map->npairs - 1] : NULL;

	if (!last || !is_simple(&last->local) || !is_simple(&last->remote))
		return NULL;
	for (uint32_t i = 0; i + 1 < map->npairs; i++)
		if (!is_beside(&map->pairs[i], last))
			return NULL;
	return last;
}

static struct siit_fast_side make_side(const struct siit_rule *rule)
{
	struct siit_fast_side side;
	uint8_t mask[4];

	put32(mask, rule->v4_len ? UINT32_MAX << (32 - rule->v4_len) : 0);
	memcpy(&side.mask, mask, 4);
	memcpy(&side.v4, rule->v4, 4);
	side.v4 &= side.mask;
	memcpy(side.v6, rule->v6, 12);
	return side;
}

int siit_fast_use(const struct siit_fast *fast, const struct siit_map *map, int has_fraglist)
{
	const struct siit_pair *pair = pair_of(map);
	struct siit_fast_rules rules = {0};
	int inner, error;

	if (pair) {
		rules.local = make_side(&pair->local);
		rules.remote = make_side(&pair->remote);
		rules.mtu6 = mtu6_of(map);
		rules.has_fraglist = has_fraglist != 0;
		rules.sum = sum_fold(sum_bytes(sum_bytes(0, pair->local.v6, 12), pair->remote.v6, 12));
	}
	inner = make_rules(&rules);
	if (inner < 0)
		return inner;
	error = put(fast->rules, &inner);
	close(inner);
	return error ? error : rules.mtu6 != 0;
}

int siit_fast_unshare(void)
{
	return unshare(CLONE_NEWNET) ? -errno : 0;
}

/* As many as the kernel has values for: those that may be plugged in, too. 0 if it does not say. */
static unsigned possible_processors(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned first, last = 0;
	int found = file ? fscanf(file, "%u-%u", &first, &last) : 0;

	if (file)
		fclose(file);
	return found == 2 ? last + 1 : found == 1 ? 1 : 0;
}

int siit_fast_read(const struct siit_fast *fast, struct siit_fast_count *count)
{
	const unsigned processors = possible_processors();
	struct siit_fast_counters *each = calloc(processors ? processors : 1, sizeof *each);
	const uint32_t zero = 0;
	union bpf_attr attr = {.map_fd = (uint32_t)fast->counters, .key = (uintptr_t)&zero, .value = (uintptr_t)each};
	int error = !processors ? -ENOENT : !each ? -ENOMEM : siit_bpf(BPF_MAP_LOOKUP_ELEM, &attr);

	*count = (struct siit_fast_count){0};
	for (unsigned i = 0; !error && i < processors; i++) {
		count->packets4 += each[i].packets4;
		count->bytes4 += each[i].bytes4;
		count->packets6 += each[i].packets6;
		count->bytes6 += each[i].bytes6;
	}
	free(each);
	return error;
}
