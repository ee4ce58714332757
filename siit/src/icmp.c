// SPDX-License-Identifier: ISC
/* ICMP errors, each with the packet that it is about: RFC 7915 sections 4.2, 4.3, 5.2, 5.3, RFC 4884, RFC 6791.
 *
 * The result is built beside the packet, since an inner packet, its padding and an extension all move, and then
 * copied over it. It is as long as an ICMP error may be: 1280 bytes in IPv6, 576 in IPv4. To fit, first the quoted
 * packet is cut down to 128 bytes, then the whole extension is left out.
 */
#include "internal.h"

enum {
	QUOTE_MIN = 128,    /* bytes of quoted packet before an extension, RFC 4884 section 3 */
	MTU_DIFFERENCE = 20 /* bytes by which IPv6 is longer, without a fragment header */
};

/* An ICMP header of the other version, without its checksum. */
struct icmp {
	uint8_t type, code;
	uint32_t rest;
	bool may_extend;  /* both messages have a length field, so an extension can cross */
	bool rest_is_mtu; /* rest is known once the inner packet is */
};

/* The packet quoted by an error, on its way into the result. */
struct quote {
	const uint8_t *from;
	uint32_t from_len; /* bytes, with padding, without the extension */
	uint8_t *to;
	uint32_t room;   /* bytes at `to` */
	uint32_t to_len; /* bytes that the translation has; those beyond `room` were not written */
	bool has_fragment_header;
	bool is_hairpin;
	uint32_t total_len; /* bytes that the quoted packet had on its way, as its own header says */
};

/* Pointer of a parameter problem by the field's offset, RFC 7915 figures 3 and 6; NONE: no such field there. */
enum { NONE = 255 };
static const uint8_t pointer_4to6[20] = {0, 1, 4, 4, NONE, NONE, NONE, NONE, 7,  6,
					 NONE, NONE, 8, 8, 8, 8, 24, 24, 24, 24};
static const uint8_t pointer_6to4[8] = {0, 1, NONE, NONE, 2, 2, 9, 8}; /* then source and destination address */

static const uint16_t plateaus[] = {65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68}; /* RFC 1191 */

static int icmp_header_4to6(const uint8_t *in, struct icmp *out)
{
	enum { NO_ROUTE, PROHIBITED, PORT = 4, DROP = 255 };
	static const uint8_t unreachable[16] = {NO_ROUTE,   NO_ROUTE,   DROP,     PORT,     DROP,     NO_ROUTE,
						NO_ROUTE,   NO_ROUTE,   NO_ROUTE, PROHIBITED, PROHIBITED, NO_ROUTE,
						NO_ROUTE,   PROHIBITED, DROP,     PROHIBITED};
	uint8_t type = in[0], code = in[1];

	*out = (struct icmp){.code = code};
	if (type == 3 && code == 2) { /* protocol unreachable: a parameter problem at the next header field */
		out->type = 4;
		out->code = 1;
		out->rest = 6;
	} else if (type == 3 && code == 4) {
		out->type = 2;
		out->code = 0;
		out->rest_is_mtu = true;
	} else if (type == 3 && code < 16 && unreachable[code] != DROP) {
		out->type = 1;
		out->code = unreachable[code];
		out->may_extend = true;
	} else if (type == 11) {
		out->type = 3;
		out->may_extend = true;
	} else if (type == 12 && (code == 0 || code == 2)) {
		if (in[4] >= sizeof pointer_4to6 || pointer_4to6[in[4]] == NONE)
			return SIIT_ICMP_UNKNOWN_POINTER;
		out->type = 4;
		out->code = 0;
		out->rest = pointer_4to6[in[4]];
	} else {
		return SIIT_ICMP_UNKNOWN_TYPE;
	}
	return 0;
}

static int icmp_header_6to4(const uint8_t *in, struct icmp *out)
{
	static const uint8_t unreachable[5] = {1, 10, 1, 1, 3};
	uint8_t type = in[0], code = in[1];
	uint32_t pointer = get32(in + 4);

	*out = (struct icmp){.type = 3, .code = code};
	if (type == 1 && code < sizeof unreachable) {
		out->code = unreachable[code];
		out->may_extend = true;
	} else if (type == 2) {
		out->code = 4;
		out->rest_is_mtu = true;
	} else if (type == 3) {
		out->type = 11;
		out->may_extend = true;
	} else if (type == 4 && code == 0) {
		if (pointer >= IPV6_HEADER || (pointer < 8 && pointer_6to4[pointer] == NONE))
			return SIIT_ICMP_UNKNOWN_POINTER;
		out->type = 12;
		out->rest = (uint32_t)(pointer < 8 ? pointer_6to4[pointer] : pointer < 24 ? 12 : 16) << 24;
	} else if (type == 4 && code == 1) {
		out->code = 2;
	} else {
		return SIIT_ICMP_UNKNOWN_TYPE;
	}
	return 0;
}

/* The MTU of a packet too big, [4.2]. An old router says zero, and the next plateau below the packet's length is
 * the best guess (RFC 1191 section 7). */
static uint32_t mtu_4to6(const struct siit_map *map, uint32_t mtu4, uint32_t total_len)
{
	if (mtu4 == 0) {
		size_t i = 0;

		while (i + 1 < sizeof plateaus / sizeof *plateaus && plateaus[i] >= total_len)
			i++;
		mtu4 = plateaus[i];
	}
	mtu4 = mtu4 < SIIT_MIN_MTU6 - MTU_DIFFERENCE ? SIIT_MIN_MTU6 - MTU_DIFFERENCE : mtu4;
	return least(mtu4 + MTU_DIFFERENCE, mtu6_of(map));
}

/* The MTU of a fragmentation needed, [5.2]; never below what every IPv4 link carries (RFC 791). */
static uint32_t mtu_6to4(const struct siit_map *map, uint32_t mtu6, bool has_fragment_header)
{
	const uint32_t difference = MTU_DIFFERENCE + (has_fragment_header ? (uint32_t)FRAGMENT_HEADER : 0u);

	mtu6 = least(least(mtu6, mtu6_of(map)), 65535);
	return mtu6 < 68 + difference ? 68 : mtu6 - difference;
}

/* The checksum of the quoted packet, where it is quoted so far; `old` and `new` are the sums of what changed. */
static void rebase_inner(uint8_t *transport, uint32_t len, uint8_t protocol, uint64_t old, uint64_t new)
{
	const struct checksum_place place = checksum_place(protocol);
	uint8_t *field = transport + place.offset;
	uint16_t checksum;

	if (place.need == 0 || len < place.offset + 2u || (protocol == PROTOCOL_UDP && load16(field) == 0))
		return;
	checksum = checksum_adjust(load16(field), sum_delta(old, new));
	store16(field, checksum == 0 && protocol == PROTOCOL_UDP ? 0xffff : checksum);
}

/* An ICMP message that is quoted: echo only, since nobody may send errors about errors. Of its checksum the
 * pseudo header comes or goes; pseudo is that header's sum. */
static int translate_inner_icmp(uint8_t *icmp, uint32_t len, uint64_t pseudo, bool to6)
{
	uint16_t before, after;
	uint64_t delta;

	if (len == 0)
		return 0;
	if (to6 ? icmp4_is_error(icmp[0]) : icmp6_is_error(icmp[0]))
		return SIIT_ICMP_NESTED_ERROR;
	if (to6 ? icmp[0] != 8 && icmp[0] != 0 : icmp[0] != 128 && icmp[0] != 129)
		return SIIT_ICMP_UNKNOWN_TYPE;
	before = len < 4 ? 0 : load16(icmp);
	icmp[0] = to6 ? (icmp[0] == 8 ? 128 : 129) : (icmp[0] == 128 ? 8 : 0);
	if (len < 4)
		return 0;
	after = load16(icmp);
	delta = to6 ? sum_delta(before, pseudo + after) : sum_delta(pseudo + before, after);
	store16(icmp + 2, checksum_adjust(load16(icmp + 2), delta));
	return 0;
}

/* Why an inner header could not be read, seen from the error around it. */
static int inner_verdict(int verdict)
{
	return verdict == SIIT_TRUNCATED ? SIIT_ICMP_INNER_TRUNCATED : SIIT_ICMP_INNER_BAD_HEADER;
}

/* [4.3]: like any packet, but its TTL stays. It went the other way, so its source is on the remote side. */
static int translate_quote_4to6(const struct siit_map *map, struct quote *quote)
{
	struct ipv4 in;
	uint8_t src[16], dst[16], next, *transport;
	uint32_t headers = IPV6_HEADER, copied, payload_len;
	int verdict = ipv4_read(&in, quote->from, quote->from_len, true), pair;

	if (verdict)
		return inner_verdict(verdict);
	/* nobody can have got these from us */
	if (in.protocol == PROTOCOL_ICMP6 || in.protocol == PROTOCOL_IGMP || is_extension_number(in.protocol))
		return SIIT_ICMP_INNER_BAD_HEADER;
	pair = map_4to6(map, SIDE_REMOTE, in.header + 12, -1, true, src);
	/* RFC 7757 section 4.2: whoever is told must see the address that he wrote to */
	if (pair < 0 || map_4to6(map, SIDE_LOCAL, in.header + 16, pair, !quote->is_hairpin, dst) < 0)
		return SIIT_ICMP_INNER_NO_RULE;
	if (ipv4_is_fragment(&in))
		headers += FRAGMENT_HEADER;
	copied = least(in.transport_len, quote->room - headers);
	payload_len = in.total_len - in.header_len + headers - IPV6_HEADER;
	next = in.protocol == PROTOCOL_ICMP ? PROTOCOL_ICMP6 : in.protocol;
	transport = quote->to + headers;
	memcpy(transport, quote->from + in.header_len, copied);
	ipv6_write(quote->to, in.header[1], payload_len, headers == IPV6_HEADER ? next : HEADER_FRAGMENT, in.header[8],
		   src, dst);
	if (headers != IPV6_HEADER)
		fragment_write(quote->to + IPV6_HEADER, next,
			       (in.flags & IPV4_OFFSET) * 8u | (in.flags & IPV4_MF ? IPV6_MF : 0u),
			       get16(in.header + 4));
	quote->to_len = headers + in.transport_len;
	quote->total_len = in.total_len;
	if (in.flags & IPV4_OFFSET)
		return 0;
	uint64_t addresses = sum_32(0, quote->to + 8);
	if (in.protocol == PROTOCOL_ICMP)
		return translate_inner_icmp(transport, copied,
					    addresses + pseudo_sum(in.total_len - in.header_len, PROTOCOL_ICMP6), true);
	rebase_inner(transport, copied, in.protocol, sum_8(0, in.header + 12), addresses);
	return 0;
}

/* [5.3] */
static int translate_quote_6to4(const struct siit_map *map, struct quote *quote)
{
	struct ipv6 in;
	uint8_t src[4], dst[4], *transport = quote->to + IPV4_HEADER;
	uint32_t copied, total_len;
	int verdict = ipv6_read(&in, quote->from, quote->from_len, true), pair, status = 0;

	if (verdict)
		return inner_verdict(verdict);
	if (in.protocol == PROTOCOL_ICMP || in.protocol == PROTOCOL_IGMP)
		return SIIT_ICMP_INNER_BAD_HEADER;
	pair = map_6to4(map, SIDE_LOCAL, in.header + 8, -1, src);
	if (pair < 0 || map_6to4(map, SIDE_REMOTE, in.header + 24, pair, dst) < 0)
		return SIIT_ICMP_INNER_NO_RULE;
	quote->is_hairpin = !is_one_to_one(map, SIDE_LOCAL, pair) && has_one_to_one(map, SIDE_REMOTE, src);
	quote->has_fragment_header = in.has_fragment_header;
	copied = least(in.transport_len, quote->room - IPV4_HEADER);
	total_len = least(IPV4_HEADER + in.promised_len, 65535);
	memcpy(transport, quote->from + in.header_len, copied);
	quote->to_len = IPV4_HEADER + in.transport_len;
	if (!(in.fragment & 0xfff8)) {
		uint64_t addresses = sum_32(0, in.header + 8);

		if (in.protocol == PROTOCOL_ICMP6)
			status = translate_inner_icmp(transport, copied,
						      addresses + pseudo_sum(in.promised_len, PROTOCOL_ICMP6), false);
		else
			rebase_inner(transport, copied, in.protocol, addresses,
				     sum_bytes(sum_bytes(0, src, 4), dst, 4));
	}
	in.transport_len = copied;
	ipv4_write(quote->to, &in, total_len, total_len > IPV4_MAX_WITHOUT_DF, in.header[7], src, dst);
	return status;
}

/* Behind the quoted packet, put the extension that began at quote->from + quote->from_len, if it crosses. Units are
 * the bytes that the length field counts in: 8 in ICMPv6, 4 in ICMPv4 (RFC 4884 sections 4.1 and 4.2). Returns the
 * bytes behind the ICMP header, and the length field in *length. */
static uint32_t append_extension(const struct quote *quote, uint32_t extension_len, uint32_t unit, uint8_t *length)
{
	uint32_t len = least(quote->to_len, quote->room), padded;

	*length = 0;
	if (extension_len == 0 || extension_len + QUOTE_MIN > quote->room)
		return len;
	padded = (quote->to_len + unit - 1) / unit * unit;
	padded = least(padded, (quote->room - extension_len) / unit * unit);
	padded = padded < QUOTE_MIN ? QUOTE_MIN : padded;
	if (len < padded)
		memset(quote->to + len, 0, padded - len);
	memcpy(quote->to + padded, quote->from + quote->from_len, extension_len);
	*length = (uint8_t)(padded / unit);
	return padded + extension_len;
}

/* Where the quoted packet ends and an extension begins, by a length field in units. Without one all is the packet. */
static int split_extension(struct quote *quote, uint32_t length, uint32_t *extension_len)
{
	*extension_len = 0;
	if (length == 0)
		return 0;
	if (length > quote->from_len)
		return SIIT_ICMP_BAD_EXTENSION;
	*extension_len = quote->from_len - length;
	quote->from_len = length;
	return 0;
}

/* The result takes the packet's place; if it is longer it begins earlier. */
static void replace(struct siit_packet *packet, const uint8_t *out, uint32_t len)
{
	if (len > packet->len)
		packet->data -= len - packet->len; /* at most 128, from an inner packet of 20 bytes padded to 128 */
	memcpy(packet->data, out, len);
	packet->len = len;
}

int icmp_error_4to6(const struct siit_map *map, struct siit_packet *packet, const struct ipv4 *in,
		    uint8_t hop_limit, const uint8_t src[16], const uint8_t dst[16], bool is_hairpin)
{
	uint8_t out[ICMP6_MAX], *icmp = out + IPV6_HEADER, length;
	const uint8_t *from = in->header + in->header_len;
	struct quote quote = {.from = from + ICMP_HEADER,
			      .from_len = in->transport_len - ICMP_HEADER,
			      .to = icmp + ICMP_HEADER,
			      .room = ICMP6_MAX - IPV6_HEADER - ICMP_HEADER,
			      .is_hairpin = is_hairpin};
	uint32_t extension_len = 0, len;
	struct icmp header;
	int verdict;

	if (sum_fold(sum_bytes(0, from, in->transport_len)) != 0xffff)
		return SIIT_ICMP_BAD_CHECKSUM; /* or a broken message would leave with a good checksum */
	verdict = icmp_header_4to6(from, &header);
	if (!verdict) /* all ICMPv4 messages that are translated have the length field */
		verdict = split_extension(&quote, from[5] * 4u, &extension_len);
	if (!verdict)
		verdict = translate_quote_4to6(map, &quote);
	if (verdict)
		return verdict;
	if (header.rest_is_mtu)
		header.rest = mtu_4to6(map, get16(from + 6), quote.total_len);
	len = append_extension(&quote, header.may_extend ? extension_len : 0, 8, &length);
	len += ICMP_HEADER;
	icmp[0] = header.type;
	icmp[1] = header.code;
	put16(icmp + 2, 0);
	put32(icmp + 4, header.rest | (uint32_t)length << 24);
	ipv6_write(out, in->header[1], len, PROTOCOL_ICMP6, hop_limit, src, dst);
	store16(icmp + 2,
		(uint16_t)~sum_fold(sum_bytes(sum_32(pseudo_sum(len, PROTOCOL_ICMP6), out + 8), icmp, len)));
	replace(packet, out, IPV6_HEADER + len);
	return SIIT_TRANSLATED;
}

int icmp_error_6to4(const struct siit_map *map, struct siit_packet *packet, struct ipv6 *in, uint8_t ttl,
		    const uint8_t src[4], const uint8_t dst[4], bool *is_hairpin)
{
	uint8_t out[ICMP4_MAX], *icmp = out + IPV4_HEADER, length;
	const uint8_t *from = in->header + in->header_len;
	struct quote quote = {.from = from + ICMP_HEADER,
			      .from_len = in->transport_len - ICMP_HEADER,
			      .to = icmp + ICMP_HEADER,
			      .room = ICMP4_MAX - IPV4_HEADER - ICMP_HEADER};
	uint32_t extension_len = 0, len;
	struct icmp header;
	int verdict;

	if (sum_fold(sum_bytes(sum_32(pseudo_sum(in->transport_len, PROTOCOL_ICMP6), in->header + 8), from,
			       in->transport_len)) != 0xffff)
		return SIIT_ICMP_BAD_CHECKSUM;
	verdict = icmp_header_6to4(from, &header);
	if (!verdict && header.may_extend) /* the other two have something else in the length field's place */
		verdict = split_extension(&quote, from[4] * 8u, &extension_len);
	if (!verdict)
		verdict = translate_quote_6to4(map, &quote);
	if (verdict)
		return verdict;
	if (header.rest_is_mtu)
		header.rest = mtu_6to4(map, get32(from + 4), quote.has_fragment_header);
	len = append_extension(&quote, extension_len, 4, &length);
	len += ICMP_HEADER;
	icmp[0] = header.type;
	icmp[1] = header.code;
	put16(icmp + 2, 0);
	put32(icmp + 4, header.rest | (uint32_t)length << 16);
	store16(icmp + 2, (uint16_t)~sum_fold(sum_bytes(0, icmp, len)));
	in->transport_len = len; /* of the result, from which its identification is made */
	ipv4_write(out, in, IPV4_HEADER + len, false, ttl, src, dst);
	replace(packet, out, IPV4_HEADER + len);
	*is_hairpin = quote.is_hairpin;
	return SIIT_TRANSLATED;
}
