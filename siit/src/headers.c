// SPDX-License-Identifier: ISC
/* Reading and writing IP headers. Each read follows its bounds check; nothing here decides what to translate. */
#include "internal.h"

int ipv4_read(struct ipv4 *in, const uint8_t *header, uint32_t len, bool is_inner)
{
	if (len < IPV4_HEADER)
		return SIIT_TRUNCATED;
	in->header = header;
	in->header_len = (header[0] & 15) * 4u;
	in->total_len = get16(header + 2);
	in->flags = get16(header + 6);
	in->protocol = header[9];
	if (header[0] >> 4 != 4 || in->header_len < IPV4_HEADER || in->total_len < in->header_len)
		return SIIT_BAD_HEADER;
	if (len < in->header_len || (len < in->total_len && !is_inner))
		return SIIT_TRUNCATED;
	/* bytes behind the packet are the link's padding; behind an inner packet, that of RFC 4884 */
	in->transport_len = (len < in->total_len || is_inner ? len : in->total_len) - in->header_len;
	if (!is_inner && (in->flags & IPV4_OFFSET) * 8u + in->transport_len > 65535)
		return SIIT_BAD_HEADER; /* would reassemble to more than IPv4 can hold */
	if (!is_inner &&
	    sum_fold(sum_bytes(sum_20(0, header), header + IPV4_HEADER, in->header_len - IPV4_HEADER)) != 0xffff)
		return SIIT_BAD_HEADER_CHECKSUM;
	return 0;
}

/* RFC 791: a source route is used up once its pointer is greater than its length. */
bool ipv4_has_unexpired_source_route(const struct ipv4 *in)
{
	enum { END = 0, NOP = 1, LSRR = 131, SSRR = 137 };
	const uint8_t *option = in->header + IPV4_HEADER, *end = in->header + in->header_len;

	while (option < end && *option != END) {
		if (*option == NOP) {
			option++;
			continue;
		}
		if (end - option < 2 || option[1] < 2 || option[1] > end - option)
			return false; /* options that cannot be read are ignored like those that can */
		if ((*option == LSRR || *option == SSRR) && option[1] > 2)
			return option[2] <= option[1];
		option += option[1];
	}
	return false;
}

static bool is_extension(uint8_t next)
{
	return next == HEADER_HOPOPTS || next == HEADER_ROUTING || next == HEADER_DSTOPTS;
}

static bool is_illegal_after_fragment(uint8_t next)
{
	return is_extension(next) || next == HEADER_FRAGMENT || next == HEADER_AH || next == HEADER_MOBILITY ||
	       next == HEADER_HIP || next == HEADER_SHIM6;
}

/* Skip the extension headers that RFC 7915 section 5.1 ignores. None may follow a fragment header, where AH counts too
 * (5.1.1). All are read nevertheless, to know whether this is an ICMPv6 error. AH elsewhere, ESP, and what is unknown
 * are transports: their number is copied. */
int ipv6_read(struct ipv6 *in, const uint8_t *header, uint32_t len, bool is_inner)
{
	uint32_t at = IPV6_HEADER, end;
	bool is_bad = false;
	uint8_t next;

	if (len < IPV6_HEADER)
		return SIIT_TRUNCATED;
	if (header[0] >> 4 != 6)
		return SIIT_BAD_HEADER;
	*in = (struct ipv6){.header = header};
	end = IPV6_HEADER + get16(header + 4);
	if (len < end && !is_inner)
		return SIIT_TRUNCATED;
	if (len > end && !is_inner)
		len = end; /* the link's padding; behind an inner packet it is RFC 4884's */
	next = header[6];
	while ((is_extension(next) || next == HEADER_FRAGMENT) && !(in->fragment & 0xfff8)) {
		uint32_t size = FRAGMENT_HEADER;

		if (len - at < FRAGMENT_HEADER)
			return SIIT_TRUNCATED;
		is_bad |= in->has_fragment_header;
		if (next == HEADER_FRAGMENT) {
			in->has_fragment_header = true;
			in->fragment = get16(header + at + 2);
			in->identification = get32(header + at + 4);
		} else {
			size = (header[at + 1] + 1u) * 8u;
			if (next == HEADER_ROUTING && header[at + 3] != 0 && in->segments_left_at == 0)
				in->segments_left_at = at + 3;
		}
		if (len - at < size)
			return SIIT_TRUNCATED;
		next = header[at];
		at += size;
	}
	if (at > end)
		return SIIT_BAD_HEADER; /* inner packets only: more headers than the length has room for */
	in->protocol = next;
	in->header_len = at;
	in->promised_len = end - at;
	in->transport_len = len - at;
	is_bad |= in->has_fragment_header && is_illegal_after_fragment(next);
	return is_bad ? SIIT_EXTENSION_AFTER_FRAGMENT : 0;
}

/* The identification of a packet that may be fragmented later. There is no state to count with, so it is a hash
 * of what tells one packet from the next: addresses, length, and the first bytes of the transport. Equal numbers
 * mean equal packets (whose fragments may be mixed) or one chance in 65,536. */
static uint16_t identify(uint32_t src, uint32_t dst, const uint8_t *transport, uint32_t transport_len)
{
	const uint64_t odd = 0x9e3779b97f4a7c15u;
	uint64_t words[2] = {0, 0}, hash;

	if (transport_len >= 16)
		memcpy(words, transport, 16);
	else
		memcpy(words, transport, transport_len);
	hash = (((uint64_t)src << 32 | dst) ^ transport_len) * odd;
	hash = (hash ^ hash >> 32 ^ words[0]) * odd;
	hash = (hash ^ hash >> 32 ^ words[1]) * odd;
	return (uint16_t)(hash >> 48);
}

/* Write the 20 bytes before an IPv6 packet's transport header, which must be in its place already. `header` may lie
 * inside the old header, the addresses may not. The checksum is summed from the values, not read back: reading what has
 * just been written in smaller pieces is slow. */
void ipv4_write(uint8_t *header, const struct ipv6 *in, uint32_t total_len, bool df, uint8_t ttl,
		const uint8_t src[4], const uint8_t dst[4])
{
	const uint8_t protocol = in->protocol == PROTOCOL_ICMP6 ? (uint8_t)PROTOCOL_ICMP : in->protocol;
	const uint32_t version_and_tos = 0x4500 | (get16(in->header) >> 4 & 0xff);
	const uint32_t ttl_and_protocol = (uint32_t)ttl << 8 | protocol;
	uint32_t identification = 0, flags = 0, src_word, dst_word;

	memcpy(&src_word, src, 4);
	memcpy(&dst_word, dst, 4);
	if (in->has_fragment_header) { /* RFC 7915 section 5.1.1, also for atomic fragments */
		identification = in->identification & 0xffff;
		flags = (uint32_t)(in->fragment >> 3) | (in->fragment & IPV6_MF ? IPV4_MF : 0u);
	} else if (df) {
		flags = IPV4_DF; /* the identification means nothing: RFC 6864 section 4.1 */
	} else {
		identification = identify(src_word, dst_word, header + IPV4_HEADER, in->transport_len);
	}
	const uint64_t sum = (uint64_t)wire16(version_and_tos) + wire16(total_len) + wire16(identification) +
			     wire16(flags) + wire16(ttl_and_protocol) + src_word + dst_word;
	put16(header, version_and_tos);
	put16(header + 2, total_len);
	put16(header + 4, identification);
	put16(header + 6, flags);
	put16(header + 8, ttl_and_protocol);
	store16(header + 10, (uint16_t)~sum_fold(sum));
	memcpy(header + 12, &src_word, 4);
	memcpy(header + 16, &dst_word, 4);
}

void ipv6_write(uint8_t *header, uint8_t tos, uint32_t payload_len, uint8_t next, uint8_t hop_limit,
		const uint8_t src[16], const uint8_t dst[16])
{
	put32(header, 0x60000000u | (uint32_t)tos << 20);
	put16(header + 4, payload_len);
	header[6] = next;
	header[7] = hop_limit;
	memcpy(header + 8, src, 16);
	memcpy(header + 24, dst, 16);
}

void fragment_write(uint8_t *header, uint8_t next, uint32_t offset_and_m, uint32_t identification)
{
	header[0] = next;
	header[1] = 0;
	put16(header + 2, offset_and_m);
	put32(header + 4, identification);
}
