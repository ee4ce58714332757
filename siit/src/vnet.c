/* SPDX-License-Identifier: ISC */
#include "vnet.h"

#include "internal.h"

/* Find the transport header of an IP packet. Returns its offset and sets its protocol, or 0 when there is none
 * within the packet, as in all fragments but the first. */
static uint32_t find_transport(const uint8_t *ip, uint32_t len, uint8_t *protocol)
{
	if (ip[0] >> 4 == 4) {
		uint32_t at = (ip[0] & 15u) * 4;
		*protocol = len >= IPV4_HEADER ? ip[9] : 0;
		return len < IPV4_HEADER || at < IPV4_HEADER || at > len || get16(ip + 6) & IPV4_OFFSET ? 0 : at;
	}
	uint32_t at = IPV6_HEADER;
	*protocol = len >= IPV6_HEADER ? ip[6] : 0;
	while (at + 8 <= len &&
	       (*protocol == HEADER_HOPOPTS || *protocol == HEADER_ROUTING || *protocol == HEADER_DSTOPTS)) {
		*protocol = ip[at];
		at += (ip[at + 1] + 1u) * 8;
	}
	return at > len || *protocol == HEADER_FRAGMENT ? 0 : at;
}

bool vnet_read_offload(const struct vnet *vnet, struct siit_packet *packet)
{
	const uint8_t type = vnet->gso_type & (uint8_t)~VNET_ECN, version = packet->data[0] >> 4;
	if (type) {
		if (type == VNET_UDP_L4)
			packet->gso_type = SIIT_GSO_UDP;
		else if (type == (version == 4 ? VNET_TCPV4 : VNET_TCPV6))
			packet->gso_type = SIIT_GSO_TCP;
		else
			return false;
		if (!vnet->gso_size || !(vnet->flags & VNET_NEEDS_CSUM))
			return false;
		packet->gso_size = vnet->gso_size;
	}
	const uint32_t start = vnet->csum_start, offset = vnet->csum_offset;
	if (start + offset + 2 > packet->len)
		return false;
	uint8_t protocol;
	if (start && find_transport(packet->data, packet->len, &protocol) == start &&
	    checksum_place(protocol).offset == offset) {
		packet->needs_csum = 1;
		return !packet->gso_type || (packet->gso_type == SIIT_GSO_TCP) == (protocol == PROTOCOL_TCP);
	}
	if (packet->gso_type)
		return false;
	/* a checksum further in, such as that of a packet in a tunnel: nobody will complete it once we pass it on */
	const uint16_t checksum = (uint16_t)~sum_fold(sum_bytes(0, packet->data + start, packet->len - start));
	store16(packet->data + start + offset, checksum ? checksum : 0xffff);
	return true;
}

bool vnet_write_offload(const struct siit_packet *packet, struct vnet *vnet)
{
	uint8_t protocol;
	const uint32_t at = find_transport(packet->data, packet->len, &protocol);
	const uint32_t offset = checksum_place(protocol).offset;
	if (!at || !offset || at + offset + 2 > packet->len)
		return false;
	vnet->flags = VNET_NEEDS_CSUM;
	vnet->csum_start = (uint16_t)at;
	vnet->csum_offset = (uint16_t)offset;
	if (packet->gso_type) {
		const bool is_tcp = protocol == PROTOCOL_TCP;
		vnet->gso_type = !is_tcp ? VNET_UDP_L4 : packet->data[0] >> 4 == 4 ? VNET_TCPV4 : VNET_TCPV6;
		vnet->gso_size = packet->gso_size;
		vnet->hdr_len = (uint16_t)(at + (is_tcp ? (packet->data[at + 12] >> 4) * 4u : UDP_HEADER));
	}
	return true;
}
