/* SPDX-License-Identifier: ISC */
/* What the fast path's program and its loader share: what lies in the maps. Addresses in network byte order. */
#ifndef SIIT_FAST_H
#define SIIT_FAST_H

#include <linux/types.h>

/* One side of the pair, always RFC 6052 with a /96. */
struct siit_fast_side {
	__u32 v4, mask;
	__u32 v6[3];
};

/* The pair of rules, as in siit/src/siit.h. */
struct siit_fast_rules {
	struct siit_fast_side local, remote;
	__u32 mtu6;         /* bytes; 0: there is no pair, everything is left to the pump */
	__u32 sum;          /* of both prefixes as 16-bit words as they lie in memory, folded */
	__u32 has_fraglist; /* the kernel cuts translated chains of packets right */
};

/* Packets (a super-packet is one) and bytes as they came, on one processor. */
struct siit_fast_counters {
	__u64 packets4, bytes4, packets6, bytes6;
};

#endif
