// SPDX-License-Identifier: ISC
/* ICMP errors of our own: what a router tells the sender of a packet that it drops.
 *
 * RFC 7915 sections 4.4 and 5.4: "communication administratively prohibited" unless another error is named.
 * Never about an ICMP error, a multicast packet, or a fragment that is not the first (RFC 1812 section 4.3.2.7,
 * RFC 4443 section 2.4). The caller's emit function limits the rate.
 */
#include "internal.h"

enum { HOP_LIMIT = 64 };

static void emit_error(uint8_t *data, uint32_t len, struct outlet outlet)
{
	struct siit_packet packet = {.data = data, .len = len, .is_error = 1};

	outlet.emit(outlet.context, &packet);
}

static void write_icmp(uint8_t *icmp, uint8_t type, uint8_t code, uint32_t rest, const uint8_t *cause, uint32_t len)
{
	icmp[0] = type;
	icmp[1] = code;
	put16(icmp + 2, 0);
	put32(icmp + 4, rest);
	memcpy(icmp + ICMP_HEADER, cause, len);
}

void send_error4(const struct siit_map *map, const struct ipv4 *in, uint8_t type, uint8_t code, uint32_t rest,
		 struct outlet outlet)
{
	uint8_t out[SIIT_HEADROOM + ICMP4_MAX], *header = out + SIIT_HEADROOM, *icmp = header + IPV4_HEADER;
	uint32_t quoted = least(in->header_len + in->transport_len, ICMP4_MAX - IPV4_HEADER - ICMP_HEADER);
	uint32_t len = ICMP_HEADER + quoted;

	if (!outlet.emit || ipv4_is_icmp_error(in) || (in->flags & IPV4_OFFSET) || is_illegal4(in->header + 12) ||
	    is_illegal4(in->header + 16))
		return;
	write_icmp(icmp, type, code, rest, in->header, quoted);
	store16(icmp + 2, (uint16_t)~sum_fold(sum_bytes(0, icmp, len)));
	/* too short for any link to fragment it, so the identification means nothing */
	memset(header, 0, IPV4_HEADER);
	header[0] = 0x45;
	put16(header + 2, IPV4_HEADER + len);
	header[8] = HOP_LIMIT;
	header[9] = PROTOCOL_ICMP;
	memcpy(header + 12, map->icmp_v4, 4);
	memcpy(header + 16, in->header + 12, 4);
	store16(header + 10, (uint16_t)~sum_fold(sum_20(0, header)));
	emit_error(header, IPV4_HEADER + len, outlet);
}

/* The source is icmp_v4 under the rule that maps the packet's destination, or under any other rule. A translator that
 * has only one-to-one pairs has no address of its own and answers as the destination. */
void send_error6(const struct siit_map *map, const struct ipv6 *in, uint8_t type, uint8_t code, uint32_t rest,
		 int local_pair, struct outlet outlet)
{
	uint8_t out[SIIT_HEADROOM + ICMP6_MAX], *header = out + SIIT_HEADROOM, *icmp = header + IPV6_HEADER, src[16];
	uint32_t quoted = least(in->header_len + in->transport_len, ICMP6_MAX - IPV6_HEADER - ICMP_HEADER);
	uint32_t len = ICMP_HEADER + quoted;
	bool is_later_fragment = (in->fragment & 0xfff8) != 0;

	if (!outlet.emit || ipv6_is_icmp_error(in) || (is_later_fragment && in->protocol == PROTOCOL_ICMP6) ||
	    is_illegal6(in->header + 8) || is_illegal6(in->header + 24))
		return;
	if (!own_address6(map, local_pair, src))
		memcpy(src, in->header + 24, 16);
	write_icmp(icmp, type, code, rest, in->header, quoted);
	ipv6_write(header, 0, len, PROTOCOL_ICMP6, HOP_LIMIT, src, in->header + 8);
	store16(icmp + 2,
		(uint16_t)~sum_fold(sum_bytes(sum_32(pseudo_sum(len, PROTOCOL_ICMP6), header + 8), icmp, len)));
	emit_error(header, IPV6_HEADER + len, outlet);
}
