/* SPDX-License-Identifier: ISC */
/* The translated packets of one batch, until they are written: UDP packets of one flow become super-packets.
 *
 * A chain is a super-packet in the making: its head, and the packets that follow it. Chains are written in the order of
 * their heads. When a packet between the same addresses does not join a chain, that chain takes no more packets. So a
 * flow keeps its order.
 */
#ifndef SIIT_BATCH_H
#define SIIT_BATCH_H

#include <sys/uio.h>

#include "pump.h"
#include "vnet.h"

#define BATCH_SEGMENTS 64 /* UDP_MAX_SEGMENTS of Linux up to 6.x; it refuses super-packets of more */

struct batch {
	bool coalesces; /* whether the kernel takes UDP super-packets */
	unsigned count;
	struct output {
		struct siit_packet packet;
		struct vnet vnet;
		uint32_t hash;    /* of the addresses */
		uint32_t payload; /* bytes of UDP payload, the segment size of the chain */
		uint32_t total;   /* bytes of the chain's IP packet */
		uint16_t l4;      /* bytes of IP header */
		uint8_t next;     /* the next packet of the chain; 0 ends it, since output 0 follows nobody */
		uint8_t last;     /* of a head: the chain's last packet */
		uint8_t segments; /* of a head: packets in the chain */
		bool open;        /* a head that may take more packets */
		bool follower;    /* written with its head */
	} outputs[SIIT_BATCH];
};

/* Add a packet that has VNET_LEN bytes free before it, which stay the batch's until it is written.
 * False if the kernel could not be told of it, and then nothing is added. */
bool batch_add(struct batch *batch, const struct siit_packet *packet, const struct vnet *carried);

/* Make output `index` ready for one writev: its parts to `iov`, vnet header first.
 * Returns how many parts there are, 0 for a packet that leaves with its head. */
int batch_parts(struct batch *batch, unsigned index, struct iovec iov[BATCH_SEGMENTS]);

#endif
