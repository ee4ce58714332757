/* SPDX-License-Identifier: ISC */
#include "batch.h"

#include "internal.h"

/* Whether it is a UDP packet that may become a segment of a super-packet. Not without a checksum, and not with a wrong
 * one that nobody has checked: the kernel makes new ones, which would hide a damage. */
static bool is_segment(struct output *output)
{
	const uint8_t *ip = output->packet.data;
	const uint32_t len = output->packet.len;
	uint32_t l4;
	if (ip[0] >> 4 == 4) {
		l4 = IPV4_HEADER;
		if (len <= l4 + UDP_HEADER || ip[0] != 0x45 || ip[9] != PROTOCOL_UDP ||
		    get16(ip + 6) & (IPV4_MF | IPV4_OFFSET) || get16(ip + 2) != len)
			return false;
	} else {
		l4 = IPV6_HEADER;
		if (len <= l4 + UDP_HEADER || ip[6] != PROTOCOL_UDP || get16(ip + 4) + l4 != len)
			return false;
	}
	const uint8_t *udp = ip + l4;
	const uint32_t udp_len = len - l4;
	if (get16(udp + 4) != udp_len)
		return false;
	if (!(output->vnet.flags & (VNET_NEEDS_CSUM | VNET_DATA_VALID)) &&
	    (!get16(udp + 6) || sum_fold(sum_bytes(sum_addresses(pseudo_sum(udp_len, PROTOCOL_UDP), ip), udp,
						   udp_len)) != 0xffff))
		return false;
	output->l4 = (uint16_t)l4;
	output->payload = udp_len - UDP_HEADER;
	return true;
}

static uint32_t hash_addresses(const uint8_t *ip)
{
	uint32_t hash = ip[0] >> 4, word;
	const uint8_t *end = ip[0] >> 4 == 4 ? ip + 20 : ip + 40;
	for (const uint8_t *p = ip[0] >> 4 == 4 ? ip + 12 : ip + 8; p < end; p += 4) {
		memcpy(&word, p, 4);
		hash = (hash ^ word) * 0x9e3779b1u;
	}
	return hash;
}

static bool has_same_addresses(const uint8_t *a, const uint8_t *b)
{
	if ((a[0] ^ b[0]) >> 4)
		return false;
	return a[0] >> 4 == 4 ? !memcmp(a + 12, b + 12, 8) : !memcmp(a + 8, b + 8, 32);
}

/* Same version, traffic class, flow label, DF, TTL, addresses, ports: all but lengths, checksums, IPv4 id. */
static bool is_same_flow(const uint8_t *a, const uint8_t *b)
{
	if (a[0] >> 4 == 4)
		return !memcmp(a, b, 2) && !memcmp(a + 6, b + 6, 4) && !memcmp(a + 12, b + 12, 12);
	return !memcmp(a, b, 4) && !memcmp(a + 6, b + 6, 38);
}

/* Append the last output to a chain of its flow that can take it, or let it be a head. */
static void coalesce(struct batch *batch)
{
	const unsigned index = batch->count - 1;
	struct output *output = &batch->outputs[index];
	const bool segment = !output->packet.gso_type && is_segment(output);
	output->hash = hash_addresses(output->packet.data);
	output->open = segment;
	for (unsigned i = 0; i < index; i++) {
		struct output *head = &batch->outputs[i];
		if (!head->open || head->hash != output->hash)
			continue;
		if (!segment) {
			if (has_same_addresses(head->packet.data, output->packet.data))
				head->open = false;
			continue;
		}
		if (!is_same_flow(head->packet.data, output->packet.data)) {
			/* another port's packet is another flow, but a change of TTL or class is the same one */
			if (!memcmp(head->packet.data + head->l4, output->packet.data + output->l4, 4))
				head->open = false;
			continue;
		}
		head->open = false;
		if (output->payload > head->payload || head->total + output->payload > 0xffff)
			continue;
		head->open = output->payload == head->payload && ++head->segments < BATCH_SEGMENTS;
		if (output->payload < head->payload)
			head->segments++;
		head->total += output->payload;
		batch->outputs[head->last].next = (uint8_t)index;
		head->last = (uint8_t)index;
		output->follower = true;
		output->open = false;
		return;
	}
}

bool batch_add(struct batch *batch, const struct siit_packet *packet, const struct vnet *carried)
{
	struct output *output = &batch->outputs[batch->count];
	output->packet = *packet;
	if (!vnet_write(packet, carried->flags, &output->vnet))
		return false;
	if (packet->gso_type == SIIT_GSO_TCP)
		output->vnet.gso_type |= carried->gso_type & VNET_ECN;
	output->total = packet->len;
	output->next = 0;
	output->last = (uint8_t)batch->count;
	output->segments = 1;
	output->open = output->follower = false;
	batch->count++;
	if (batch->coalesces)
		coalesce(batch);
	return true;
}

/* Make a chain's first packet the header of the super-packet: lengths, checksums, vnet header. */
static void make_super(struct output *head)
{
	uint8_t *ip = head->packet.data, *udp = ip + head->l4;
	const uint32_t udp_len = head->total - head->l4;
	if (ip[0] >> 4 == 4) {
		put16(ip + 2, head->total);
		put16(ip + 10, 0);
		store16(ip + 10, (uint16_t)~sum_fold(sum_20(0, ip)));
	} else {
		put16(ip + 4, udp_len);
	}
	put16(udp + 4, udp_len);
	store16(udp + 6, sum_fold(sum_addresses(pseudo_sum(udp_len, PROTOCOL_UDP), ip)));
	head->vnet = (struct vnet){
		.flags = VNET_NEEDS_CSUM, .gso_type = VNET_UDP_L4, .hdr_len = (uint16_t)(head->l4 + UDP_HEADER),
		.gso_size = (uint16_t)head->payload, .csum_start = head->l4, .csum_offset = 6};
}

int batch_parts(struct batch *batch, unsigned index, struct iovec iov[BATCH_SEGMENTS])
{
	struct output *head = &batch->outputs[index];
	int n = 1;
	if (head->follower)
		return 0;
	if (head->segments > 1) {
		make_super(head);
		for (unsigned j = head->next; j; j = batch->outputs[j].next) {
			struct output *each = &batch->outputs[j];
			iov[n++] = (struct iovec){each->packet.data + each->l4 + UDP_HEADER, each->payload};
		}
	}
	uint8_t *start = head->packet.data - VNET_LEN; /* the headroom is ours again */
	memcpy(start, &head->vnet, VNET_LEN);
	iov[0] = (struct iovec){start, VNET_LEN + head->packet.len};
	return n;
}
