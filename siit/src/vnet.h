/* SPDX-License-Identifier: ISC */
/* The virtio_net_hdr before each packet: what the kernel says of a packet that it gives us, and we of one that we give it.
 *
 * It carries checksums that are not computed yet and super-packets of many segments.
 */
#ifndef SIIT_VNET_H
#define SIIT_VNET_H

#include <stdbool.h>

#include "siit.h"

/* struct virtio_net_hdr of linux/virtio_net.h in host byte order; older editions of that file lack UDP_L4. */
struct vnet {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
enum { VNET_NEEDS_CSUM = 1, VNET_DATA_VALID = 2 };
enum { VNET_TCPV4 = 1, VNET_TCPV6 = 4, VNET_UDP_L4 = 5, VNET_ECN = 0x80 };
#define VNET_LEN 10
_Static_assert(sizeof(struct vnet) == VNET_LEN, "the virtio_net_hdr has 10 bytes");

/* For the cases with a checksum to compute or segments to cut. */
bool vnet_read_offload(const struct vnet *vnet, struct siit_packet *packet);
bool vnet_write_offload(const struct siit_packet *packet, struct vnet *vnet);

/* Put what the header says of a packet into the packet. False if it cannot be true of this packet. */
static inline bool vnet_read(const struct vnet *vnet, struct siit_packet *packet)
{
	packet->gso_size = 0;
	packet->gso_type = SIIT_GSO_NONE;
	packet->needs_csum = 0;
	return (!(vnet->gso_type & ~VNET_ECN) && !(vnet->flags & VNET_NEEDS_CSUM)) || vnet_read_offload(vnet, packet);
}

/* Write what the kernel needs to know of a packet of ours; `carried`: the flags of the packet that it was made of.
 * False if the packet cannot be sent so. */
static inline bool vnet_write(const struct siit_packet *packet, uint8_t carried, struct vnet *vnet)
{
	*vnet = (struct vnet){.flags = carried & VNET_DATA_VALID};
	return packet->needs_csum ? vnet_write_offload(packet, vnet) : !packet->gso_type;
}

#endif
