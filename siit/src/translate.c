// SPDX-License-Identifier: ISC
/* The path of one packet: read its headers, map its addresses, decide on its size, write the new header.
 *
 * A packet is only changed once it is certain to leave: whatever comes before may answer with an ICMP error that
 * quotes it. Numbers in brackets are sections of RFC 7915.
 */
#include "internal.h"

#define VERDICT_NAME(identifier, name, meaning) name,
#define VERDICT_MEANING(identifier, name, meaning) meaning,

static const char *const verdict_names[] = {SIIT_VERDICTS(VERDICT_NAME)};
static const char *const verdict_meanings[] = {SIIT_VERDICTS(VERDICT_MEANING)};

enum {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP6_UNREACHABLE = 1,
	ICMP6_TOO_BIG = 2,
	ICMP6_TIME_EXCEEDED = 3,
	ICMP6_PARAMETER_PROBLEM = 4,
	ICMP6_ECHO = 128,
	ICMP6_ECHO_REPLY = 129,
	/* codes of unreachable */
	PROTOCOL_UNREACHABLE = 2,
	FRAGMENTATION_NEEDED = 4,
	SOURCE_ROUTE_FAILED = 5,
	PROHIBITED4 = 13,
	PROHIBITED6 = 1,
};

int siit_verdict_count(void)
{
	return SIIT_VERDICT_COUNT;
}

const char *siit_verdict_name(int verdict)
{
	return verdict < 0 || verdict >= SIIT_VERDICT_COUNT ? NULL : verdict_names[verdict];
}

const char *siit_verdict_meaning(int verdict)
{
	return verdict < 0 || verdict >= SIIT_VERDICT_COUNT ? NULL : verdict_meanings[verdict];
}

/* The virtio contract: the field holds the pseudo header's sum, and the sum of everything completes it. */
static void complete_checksum(uint8_t *transport, uint32_t len, uint32_t offset, uint8_t protocol)
{
	uint16_t checksum = (uint16_t)~sum_fold(sum_bytes(0, transport, len));

	store16(transport + offset, checksum == 0 && protocol == PROTOCOL_UDP ? 0xffff : checksum);
}

/* Whether the packet's offload fields can be true of it; bytes of transport header per segment for GSO. */
static bool fits_offload(const struct siit_packet *packet, uint8_t protocol, bool is_fragment,
			 const uint8_t *transport, uint32_t len, uint32_t *segment_header)
{
	if (is_fragment)
		return false;
	if (packet->gso_type == SIIT_GSO_NONE)
		return !packet->needs_csum || checksum_place(protocol).need != 0;
	if (packet->gso_size == 0 || protocol != (packet->gso_type == SIIT_GSO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP))
		return false;
	*segment_header = protocol == PROTOCOL_UDP ? 8 : (transport[12] >> 4) * 4u;
	return *segment_header >= 8 && *segment_header <= len;
}

/* What rebasing a transport checksum needs to know. */
struct rebase {
	uint8_t protocol;
	uint32_t offset; /* of the field */
	uint64_t delta;  /* of the addresses in the pseudo header */
	bool needs_csum;
};

static void rebase_checksum(uint8_t *transport, struct rebase how)
{
	uint8_t *field = transport + how.offset;
	uint16_t checksum;

	if (how.needs_csum) {
		store16(field, sum_fold(load16(field) + how.delta));
		return;
	}
	checksum = checksum_adjust(load16(field), how.delta);
	if (checksum == 0 && how.protocol == PROTOCOL_UDP)
		checksum = 0xffff; /* zero would say that there is none */
	store16(field, checksum);
}

/* What the IPv6 headers of the pieces of one IPv4 packet have in common. Its own header is overwritten by them. */
struct pieces {
	const uint8_t *src, *dst;
	uint32_t mtu6;  /* bytes of the largest fragment */
	uint16_t flags; /* IPV4_MF and the offset of the packet, itself perhaps a fragment */
	uint8_t tos, hop_limit, next;
	struct outlet outlet;
};

/* Write a transport of len bytes as fragments [4]: they fit every link, and nobody could be told that they do not. A
 * router that reassembles them (conntrack) quotes a whole packet in its Packet Too Big. From that the sender learns an
 * MTU without room for the fragment header. Each header overwrites the end of the piece before, which is gone by then. */
static void emit_fragments(uint8_t *transport, uint32_t len, uint16_t identification, const struct pieces *pieces)
{
	const uint32_t headers = IPV6_HEADER + FRAGMENT_HEADER, room = (pieces->mtu6 - headers) & ~7u;
	const uint32_t offset = (pieces->flags & IPV4_OFFSET) * 8u;
	const uint16_t was_more = pieces->flags & IPV4_MF;

	for (uint32_t at = 0; at < len; at += room) {
		uint32_t piece = len - at < room ? len - at : room;
		uint8_t *header = transport + at - headers;
		struct siit_packet packet = {.data = header, .len = headers + piece};

		ipv6_write(header, pieces->tos, FRAGMENT_HEADER + piece, HEADER_FRAGMENT, pieces->hop_limit,
			   pieces->src, pieces->dst);
		fragment_write(header + IPV6_HEADER, pieces->next,
			       (offset + at) | (at + piece < len || was_more ? IPV6_MF : 0u), identification);
		pieces->outlet.emit(pieces->outlet.context, &packet);
	}
}

/* The checksum of a UDP datagram of len bytes, whose own field is zero [4.5]. */
static uint16_t udp_checksum(const uint8_t *udp, uint32_t len, const uint8_t src[16], const uint8_t dst[16])
{
	uint64_t sum = sum_bytes(sum_bytes(pseudo_sum(len, PROTOCOL_UDP), src, 16), dst, 16);
	uint16_t checksum = (uint16_t)~sum_fold(sum_bytes(sum, udp, len));

	return checksum == 0 ? 0xffff : checksum;
}

/* Write a UDP super-packet of len bytes as the datagrams that it stands for, each in fragments if it is longer than
 * mtu6. Each header overwrites the end of the segment before; the identifications are those that the kernel gives. */
static void emit_segments(uint8_t *udp, uint32_t len, uint32_t segment, uint16_t identification, uint32_t mtu6,
			  const struct pieces *pieces)
{
	uint8_t ports[4];

	memcpy(ports, udp, sizeof ports);
	for (uint32_t at = 0; at < len - 8; at += segment, identification++) {
		uint8_t *datagram = udp + at;
		uint32_t each = 8 + least(segment, len - 8 - at);
		struct siit_packet packet = {.data = datagram - IPV6_HEADER, .len = IPV6_HEADER + each};

		memcpy(datagram, ports, sizeof ports);
		put16(datagram + 4, each);
		put16(datagram + 6, 0);
		store16(datagram + 6, udp_checksum(datagram, each, pieces->src, pieces->dst));
		if (packet.len > mtu6) {
			emit_fragments(datagram, each, identification, pieces);
			continue;
		}
		ipv6_write(packet.data, pieces->tos, each, PROTOCOL_UDP, pieces->hop_limit, pieces->src, pieces->dst);
		pieces->outlet.emit(pieces->outlet.context, &packet);
	}
}

/* RFC 7757 section 4.2: the source of a hairpinned packet must be the address that the sender wrote to, which is its
 * RFC 6052 one. So must that of an ICMP error that the original destination itself sends. */
static bool may_source_be_one_to_one(const struct ipv4 *in, bool is_error, bool hairpin)
{
	const uint8_t *inner = in->header + in->header_len + ICMP_HEADER;

	if (!hairpin)
		return true;
	return is_error && in->transport_len >= ICMP_HEADER + IPV4_HEADER &&
	       memcmp(in->header + 12, inner + 16, 4) != 0;
}

/* hairpin: this is the result of translate_6to4, on its way back to IPv6 in one go (RFC 7757 section 4.2.2). The same
 * router handles the packet twice, so the hop limit is decremented once. What fitted when it came fits when it leaves. */
static int translate_4to6(const struct siit_map *map, struct siit_packet *packet, struct outlet outlet, bool hairpin)
{
	const uint32_t mtu6 = mtu6_of(map), fragment_mtu6 = fragment_mtu6_of(map);
	uint32_t headers = IPV6_HEADER, segment_header = 0;
	uint64_t delta;
	uint8_t src[16], dst[16], *transport, hop_limit;
	struct ipv4 in;
	int src_pair, dst_pair, verdict = ipv4_read(&in, packet->data, packet->len, false);

	if (verdict)
		return verdict;
	const bool is_fragment = ipv4_is_fragment(&in), is_error = ipv4_is_icmp_error(&in);
	const bool is_first = (in.flags & IPV4_OFFSET) == 0;
	/* [4.1]: an error's illegal source is translated, since it helps to find the fault */
	if (!is_error && is_illegal4(in.header + 12))
		return SIIT_ILLEGAL_SOURCE;
	if (is_illegal4(in.header + 16))
		return SIIT_ILLEGAL_DESTINATION;
	if (in.protocol == PROTOCOL_IGMP)
		return SIIT_IGMP; /* [4.2]: silently */
	if (in.header_len > IPV4_HEADER && ipv4_has_unexpired_source_route(&in)) {
		send_error4(map, &in, ICMP4_UNREACHABLE, SOURCE_ROUTE_FAILED, 0, outlet);
		return SIIT_SOURCE_ROUTE;
	}
	if (in.header[8] <= 1 && !hairpin) {
		send_error4(map, &in, ICMP4_TIME_EXCEEDED, 0, 0, outlet);
		return SIIT_TTL_EXCEEDED;
	}
	hop_limit = (uint8_t)(in.header[8] - !hairpin);
	transport = packet->data + in.header_len;

	src_pair = map_4to6(map, SIDE_LOCAL, in.header + 12, -1, may_source_be_one_to_one(&in, is_error, hairpin), src);
	dst_pair = map_4to6(map, SIDE_REMOTE, in.header + 16, src_pair, true, dst);
	if (dst_pair < 0) {
		send_error4(map, &in, ICMP4_UNREACHABLE, PROHIBITED4, 0, outlet);
		return SIIT_NO_DESTINATION_RULE;
	}
	if (src_pair < 0 && !(is_error && own_address6(map, dst_pair, src))) {
		send_error4(map, &in, ICMP4_UNREACHABLE, PROHIBITED4, 0, outlet);
		return SIIT_NO_SOURCE_RULE;
	}

	if (in.protocol == PROTOCOL_ICMP6)
		return SIIT_FOREIGN_ICMP;
	if (is_extension_number(in.protocol)) {
		send_error4(map, &in, ICMP4_UNREACHABLE, PROTOCOL_UNREACHABLE, 0, outlet);
		return SIIT_EXTENSION_NUMBER;
	}
	if (in.protocol == PROTOCOL_ICMP) {
		if (is_fragment) { /* [1.2] */
			send_error4(map, &in, ICMP4_UNREACHABLE, PROHIBITED4, 0, outlet);
			return SIIT_ICMP_FRAGMENT;
		}
		if (in.transport_len < ICMP_HEADER)
			return SIIT_TRUNCATED;
		if (packet->needs_csum) {
			complete_checksum(transport, in.transport_len, 2, PROTOCOL_ICMP);
			packet->needs_csum = 0;
		}
		if (is_error)
			return icmp_error_4to6(map, packet, &in, hop_limit, src, dst, hairpin);
		if (transport[0] != ICMP4_ECHO && transport[0] != ICMP4_ECHO_REPLY)
			return SIIT_ICMP_UNKNOWN_TYPE;
	}
	const struct checksum_place place = checksum_place(in.protocol);
	if ((packet->gso_type || packet->needs_csum) &&
	    !(in.transport_len >= place.need &&
	      fits_offload(packet, in.protocol, is_fragment, transport, in.transport_len, &segment_header)))
		return SIIT_BAD_OFFLOAD;
	if (is_first && in.transport_len < place.need)
		return SIIT_TRUNCATED;
	const bool is_bare_udp =
		in.protocol == PROTOCOL_UDP && is_first && !packet->needs_csum && load16(transport + 6) == 0;
	if (is_bare_udp) {
		uint32_t udp_len = get16(transport + 4);

		if (map->drops_bare_udp)
			return SIIT_UDP_ZERO_CHECKSUM;
		if (is_fragment) { /* [4.5] */
			send_error4(map, &in, ICMP4_UNREACHABLE, PROHIBITED4, 0, outlet);
			return SIIT_UDP_ZERO_CHECKSUM_FRAGMENT;
		}
		if (packet->gso_type)
			return SIIT_BAD_OFFLOAD;
		if (udp_len < 8 || udp_len > in.transport_len)
			return SIIT_BAD_UDP_LENGTH;
	}

	/* [4], [4.1]: a fragment header only for what is a fragment or becomes one */
	if (is_fragment)
		headers += FRAGMENT_HEADER;
	const uint32_t size =
		headers + (packet->gso_type && segment_header + packet->gso_size < in.transport_len
				   ? segment_header + packet->gso_size
				   : in.transport_len);
	const bool may_fragment = !(in.flags & IPV4_DF);
	bool must_fragment = size > (is_fragment && may_fragment ? fragment_mtu6 : mtu6) && !hairpin;
	if (must_fragment && packet->gso_type == SIIT_GSO_TCP && may_fragment) {
		/* shorter segments are what fragments would be made for */
		packet->gso_size = (uint16_t)(mtu6 - headers - segment_header);
		must_fragment = false;
	}
	if (must_fragment && !may_fragment) {
		uint32_t mtu4 = mtu6 - (headers - IPV4_HEADER);

		send_error4(map, &in, ICMP4_UNREACHABLE, FRAGMENTATION_NEEDED, mtu4 < 65535 ? mtu4 : 65535, outlet);
		return SIIT_TOO_BIG;
	}

	/* from here on the packet leaves */
	const uint8_t tos = in.header[1], next = in.protocol == PROTOCOL_ICMP ? PROTOCOL_ICMP6 : in.protocol;
	const uint16_t identification = get16(in.header + 4);
	const struct pieces pieces = {src, dst, fragment_mtu6, in.flags, tos, hop_limit, next, outlet};
	if (must_fragment && packet->gso_type) {
		if (outlet.emit)
			emit_segments(transport, in.transport_len, packet->gso_size, identification, mtu6, &pieces);
		return SIIT_FRAGMENTED;
	}
	delta = sum_delta(sum_8(0, in.header + 12), sum_16(sum_16(0, src), dst));
	if (in.protocol == PROTOCOL_ICMP) { /* [4.2]: the type changes, and a pseudo header joins the sum */
		uint16_t before = load16(transport);

		transport[0] = transport[0] == ICMP4_ECHO ? ICMP6_ECHO : ICMP6_ECHO_REPLY;
		delta = sum_delta(before, sum_bytes(sum_bytes(pseudo_sum(in.transport_len, PROTOCOL_ICMP6), src, 16),
						    dst, 16) + load16(transport));
		store16(transport + 2, checksum_adjust(load16(transport + 2), delta));
	} else if (is_bare_udp) {
		store16(transport + 6, udp_checksum(transport, get16(transport + 4), src, dst));
	} else if (is_first && place.need != 0) {
		rebase_checksum(transport, (struct rebase){in.protocol, place.offset, delta, packet->needs_csum != 0});
	}

	if (must_fragment) {
		if (packet->needs_csum)
			complete_checksum(transport, in.transport_len, place.offset, in.protocol);
		if (outlet.emit)
			emit_fragments(transport, in.transport_len, identification, &pieces);
		return SIIT_FRAGMENTED;
	}
	packet->data = transport - headers;
	packet->len = headers + in.transport_len;
	ipv6_write(packet->data, tos, packet->len - IPV6_HEADER, is_fragment ? HEADER_FRAGMENT : next, hop_limit, src, dst);
	if (is_fragment)
		fragment_write(packet->data + IPV6_HEADER, next,
			       (in.flags & IPV4_OFFSET) * 8u | (in.flags & IPV4_MF ? IPV6_MF : 0u), identification);
	return SIIT_TRANSLATED;
}

static int translate_6to4(const struct siit_map *map, struct siit_packet *packet, struct outlet outlet)
{
	uint8_t src[4], dst[4], *transport;
	uint32_t segment_header = 0;
	uint64_t delta;
	int src_pair, dst_pair, verdict;
	bool hairpin, is_error;
	struct ipv6 in;

	verdict = ipv6_read(&in, packet->data, packet->len, false);
	if (verdict && verdict != SIIT_EXTENSION_AFTER_FRAGMENT)
		return verdict;
	if (is_illegal6(in.header + 8))
		return SIIT_ILLEGAL_SOURCE;
	if (is_illegal6(in.header + 24))
		return SIIT_ILLEGAL_DESTINATION;
	src_pair = map_6to4(map, SIDE_REMOTE, in.header + 8, -1, src);
	dst_pair = map_6to4(map, SIDE_LOCAL, in.header + 24, src_pair, dst);
	is_error = ipv6_is_icmp_error(&in);
	if (verdict == SIIT_EXTENSION_AFTER_FRAGMENT) { /* [5.1.1], answered as [5.4] says */
		send_error6(map, &in, ICMP6_UNREACHABLE, PROHIBITED6, 0, dst_pair, outlet);
		return verdict;
	}
	if (in.segments_left_at != 0) {
		send_error6(map, &in, ICMP6_PARAMETER_PROBLEM, 0, in.segments_left_at, dst_pair, outlet);
		return SIIT_SOURCE_ROUTE;
	}
	if (in.header[7] <= 1) {
		send_error6(map, &in, ICMP6_TIME_EXCEEDED, 0, 0, dst_pair, outlet);
		return SIIT_TTL_EXCEEDED;
	}
	if (dst_pair < 0) {
		send_error6(map, &in, ICMP6_UNREACHABLE, PROHIBITED6, 0, dst_pair, outlet);
		return SIIT_NO_DESTINATION_RULE;
	}
	if (src_pair < 0 && !is_error) {
		send_error6(map, &in, ICMP6_UNREACHABLE, PROHIBITED6, 0, dst_pair, outlet);
		return SIIT_NO_SOURCE_RULE;
	}
	if (is_illegal4(dst))
		return SIIT_ILLEGAL_DESTINATION;
	if (src_pair < 0 || is_illegal4(src)) {
		if (!is_error)
			return SIIT_ILLEGAL_SOURCE;
		memcpy(src, map->icmp_v4, 4); /* RFC 6791: a router that has no IPv4 address */
	}
	transport = packet->data + in.header_len;

	if (in.protocol == PROTOCOL_ICMP)
		return SIIT_FOREIGN_ICMP;
	if (in.protocol == PROTOCOL_IGMP)
		return SIIT_IGMP; /* as [4.2]; IPv6 has MLD, which is ICMPv6 */
	if (in.protocol == PROTOCOL_ICMP6) {
		if (ipv6_is_fragment(&in)) { /* [1.2] */
			send_error6(map, &in, ICMP6_UNREACHABLE, PROHIBITED6, 0, dst_pair, outlet);
			return SIIT_ICMP_FRAGMENT;
		}
		if (in.transport_len < ICMP_HEADER)
			return SIIT_TRUNCATED;
		if (packet->needs_csum) {
			complete_checksum(transport, in.transport_len, 2, PROTOCOL_ICMP6);
			packet->needs_csum = 0;
		}
		if (is_error) {
			verdict = icmp_error_6to4(map, packet, &in, (uint8_t)(in.header[7] - 1), src, dst, &hairpin);
			if (verdict == SIIT_TRANSLATED && hairpin)
				return translate_4to6(map, packet, (struct outlet){NULL, NULL}, true);
			return verdict;
		}
		if (transport[0] != ICMP6_ECHO && transport[0] != ICMP6_ECHO_REPLY)
			return SIIT_ICMP_UNKNOWN_TYPE;
	}
	const bool is_first = (in.fragment & 0xfff8) == 0;
	const struct checksum_place place = checksum_place(in.protocol);
	if ((packet->gso_type || packet->needs_csum) &&
	    !(in.transport_len >= place.need &&
	      fits_offload(packet, in.protocol, in.has_fragment_header, transport, in.transport_len, &segment_header)))
		return SIIT_BAD_OFFLOAD;
	if (is_first && in.transport_len < place.need)
		return SIIT_TRUNCATED;
	if (in.transport_len > 65535 - IPV4_HEADER) {
		send_error6(map, &in, ICMP6_TOO_BIG, 0, 65535, dst_pair, outlet);
		return SIIT_TOO_LONG;
	}

	/* from here on the packet leaves */
	delta = sum_delta(sum_32(0, in.header + 8), sum_bytes(sum_bytes(0, src, 4), dst, 4));
	if (in.protocol == PROTOCOL_ICMP6) { /* [5.2]: the type changes, and the pseudo header leaves the sum */
		uint64_t before = sum_32(pseudo_sum(in.transport_len, PROTOCOL_ICMP6), in.header + 8) +
				  load16(transport);

		transport[0] = transport[0] == ICMP6_ECHO ? ICMP4_ECHO : ICMP4_ECHO_REPLY;
		store16(transport + 2, checksum_adjust(load16(transport + 2), sum_delta(before, load16(transport))));
		/* only an echo reply of zeros has a sum that really is zero: its checksum is not */
		if (load16(transport + 2) == 0 && sum_bytes(0, transport, in.transport_len) == 0)
			store16(transport + 2, 0xffff);
	} else if (is_first && place.need != 0 &&
		   !(in.protocol == PROTOCOL_UDP && !packet->needs_csum && load16(transport + 6) == 0)) {
		/* UDP without checksum (RFC 6935) stays without */
		rebase_checksum(transport, (struct rebase){in.protocol, place.offset, delta, packet->needs_csum != 0});
	}
	hairpin = !is_one_to_one(map, SIDE_LOCAL, dst_pair) && has_one_to_one(map, SIDE_REMOTE, dst);
	uint32_t size = in.transport_len;
	if (packet->gso_type && segment_header + packet->gso_size < size)
		size = segment_header + packet->gso_size;
	packet->data = transport - IPV4_HEADER;
	packet->len = IPV4_HEADER + in.transport_len;
	ipv4_write(packet->data, &in, packet->len, IPV4_HEADER + size > IPV4_MAX_WITHOUT_DF,
		   (uint8_t)(in.header[7] - 1), src, dst);
	if (hairpin)
		return translate_4to6(map, packet, (struct outlet){NULL, NULL}, true);
	return SIIT_TRANSLATED;
}

int siit_translate(const struct siit_map *map, struct siit_packet *packet, siit_emit emit, void *context)
{
	const struct outlet outlet = {emit, context};

	packet->is_error = 0;
	if (packet->len == 0)
		return SIIT_TRUNCATED;
	switch (packet->data[0] >> 4) {
	case 4:
		return translate_4to6(map, packet, outlet, false);
	case 6:
		return translate_6to4(map, packet, outlet);
	default:
		return SIIT_BAD_HEADER;
	}
}
