/* SPDX-License-Identifier: ISC */
/* The fast path's loader: its program and maps into the kernel, and the program to a device. No libbpf, no BTF.
 *
 * What is attached stays with the device until it is detached, or the device goes: it needs no process. A program that is
 * attached where one of ours is takes its place in one step, with maps of its own: no packet finds none.
 *
 * All functions return a negative errno when the kernel refuses.
 */
#ifndef SIIT_LOAD_H
#define SIIT_LOAD_H

#include "siit.h"

/* cffi: begin */
#define SIIT_QDISC_NAME 16 /* bytes, with its end */
#define SIIT_FAST_LOG 2048 /* bytes; the end of what the verifier said */

/* File descriptors; -1 where there is none. */
struct siit_fast {
	int program, rules, counters;
};

/* What the program did, summed over all processors: packets that it translated (a super-packet is one), and their bytes
 * as they came. */
struct siit_fast_count {
	uint64_t packets4, bytes4, packets6, bytes6;
};

/* Load program and maps. If the verifier refuses it, -EACCES and its last words in `log` (SIIT_FAST_LOG bytes). Returns the length of the
 * machine code in bytes: 0 means that the kernel only interprets it. */
int siit_fast_load(struct siit_fast *fast, char *log);

/* Close what was loaded. What is attached stays. */
void siit_fast_close(struct siit_fast *fast);

/* Translate by a map from the next packet on. Returns 1, or 0 when the program cannot: it knows one pair of RFC 6052's
 * /96 on both sides, and leaves everything to the pump otherwise. has_fraglist: see siit_fast_kernel. */
int siit_fast_use(const struct siit_fast *fast, const struct siit_map *map, int has_fraglist);

/* Attach to the egress of a device: by TCX (Linux 6.6), else as a filter of a clsact qdisc. */
int siit_fast_attach(const struct siit_fast *fast, unsigned ifindex);

/* Take every program of ours away from a device, whoever attached it. Returns how many there were. */
int siit_fast_detach(unsigned ifindex);

/* Whether somebody put a qdisc at the root of a device, which a limit is: what the program translates never reaches it.
 * Returns 1 and its name, or 0. */
int siit_fast_qdisc(unsigned ifindex, char *kind);

/* Give the calling thread, and it alone, a network namespace of its own: for a trial. */
int siit_fast_unshare(void);

int siit_fast_read(const struct siit_fast *fast, struct siit_fast_count *count);
/* cffi: end */

#endif
