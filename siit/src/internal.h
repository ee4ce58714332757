/* SPDX-License-Identifier: ISC */
/* What the translator's files know of each other, and the numbers of the protocols. */
#ifndef SIIT_INTERNAL_H
#define SIIT_INTERNAL_H

#include <stdbool.h>

#include "checksum.h"
#include "siit.h"

enum {
	IPV4_HEADER = 20, /* bytes, without options; also what we write */
	IPV6_HEADER = 40,
	FRAGMENT_HEADER = 8,
	ICMP_HEADER = 8,
	UDP_HEADER = 8,
	ICMP4_MAX = 576,  /* bytes of an ICMPv4 error with its IP header, RFC 1812 section 4.3.2.3 */
	ICMP6_MAX = 1280, /* bytes of an ICMPv6 error with its IP header, RFC 4443 section 2.4 (c) */
	PROTOCOL_ICMP = 1,
	PROTOCOL_IGMP = 2,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ICMP6 = 58,
	HEADER_HOPOPTS = 0,
	HEADER_ROUTING = 43,
	HEADER_FRAGMENT = 44,
	HEADER_AH = 51,
	HEADER_DSTOPTS = 60,
	HEADER_MOBILITY = 135,
	HEADER_HIP = 139,
	HEADER_SHIM6 = 140,
};

/* What a fragment is called in IPv4 (offset in units of 8 bytes) and what it becomes. */
enum { IPV4_DF = 0x4000, IPV4_MF = 0x2000, IPV4_OFFSET = 0x1fff, IPV6_MF = 1 };

/* An IPv4 protocol number that IPv6 reads as an extension header (RFC 7045 section 4). RFC 7915 section 4.1 would copy
 * it. But then hosts, firewalls and the translator at the other end find a transport header behind it that no firewall
 * on the IPv4 side has seen. AH and ESP mean the same in both versions. */
static inline bool is_extension_number(uint8_t protocol)
{
	switch (protocol) {
	case HEADER_HOPOPTS:
	case HEADER_ROUTING:
	case HEADER_FRAGMENT:
	case HEADER_DSTOPTS:
	case HEADER_MOBILITY:
	case HEADER_HIP:
	case HEADER_SHIM6:
		return true;
	default:
		return false;
	}
}

/* The largest IPv4 packet that is sent without DF although IPv6 never fragments, RFC 7915 section 5.1. */
enum { IPV4_MAX_WITHOUT_DF = 1260 };

/* Where a translation's by-products go. */
struct outlet {
	siit_emit emit;
	void *context;
};

/* One IPv4 packet as its header describes it. transport_len is what is there; inside an ICMP error that may be less
 * than the header promises. */
struct ipv4 {
	const uint8_t *header;
	uint32_t header_len, total_len, transport_len; /* bytes */
	uint16_t flags;                                /* IPV4_DF, IPV4_MF and the offset */
	uint8_t protocol;
};

/* The same for IPv6; the transport header is what follows the extension headers that RFC 7915 skips. */
struct ipv6 {
	const uint8_t *header;
	uint32_t header_len;       /* bytes, with extension headers */
	uint32_t transport_len;    /* bytes that are there */
	uint32_t promised_len;     /* bytes of transport that the IPv6 header promises */
	uint32_t segments_left_at; /* offset of the field of a routing header that is not at its end, or 0 */
	uint32_t identification;
	uint16_t fragment; /* offset and M as in the fragment header */
	uint8_t protocol;
	bool has_fragment_header;
};

static inline bool ipv4_is_fragment(const struct ipv4 *in)
{
	return (in->flags & (IPV4_MF | IPV4_OFFSET)) != 0;
}

static inline uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline uint32_t mtu6_of(const struct siit_map *map)
{
	return map->mtu6 < SIIT_MIN_MTU6 ? SIIT_MIN_MTU6 : map->mtu6;
}

/* The largest IPv6 packet to make where nobody can be told of a smaller MTU. */
static inline uint32_t fragment_mtu6_of(const struct siit_map *map)
{
	return least(map->lowest_mtu6 < SIIT_MIN_MTU6 ? SIIT_MIN_MTU6 : map->lowest_mtu6, mtu6_of(map));
}

/* An atomic fragment (RFC 6946) has the header and is none. */
static inline bool ipv6_is_fragment(const struct ipv6 *in)
{
	return (in->fragment & (uint16_t)~0x6) != 0;
}

static inline bool icmp4_is_error(uint8_t type)
{
	return type >= 3 && type != 8 && type != 9 && type != 10 && !(type >= 13 && type <= 18);
}

static inline bool icmp6_is_error(uint8_t type)
{
	return type < 128;
}

/* Nothing to be said of these to their sender: RFC 1812 section 4.3.2.7. */
static inline bool ipv4_is_icmp_error(const struct ipv4 *in)
{
	return in->protocol == PROTOCOL_ICMP && (in->flags & IPV4_OFFSET) == 0 && in->transport_len > 0 &&
	       icmp4_is_error(in->header[in->header_len]);
}

static inline bool ipv6_is_icmp_error(const struct ipv6 *in)
{
	return in->protocol == PROTOCOL_ICMP6 && !(in->fragment & 0xfff8) && in->transport_len > 0 &&
	       icmp6_is_error(in->header[in->header_len]);
}

/* headers.c: 0 (SIIT_TRANSLATED), or why the headers cannot be read */
int ipv4_read(struct ipv4 *in, const uint8_t *header, uint32_t len, bool is_inner);
int ipv6_read(struct ipv6 *in, const uint8_t *header, uint32_t len, bool is_inner);
bool ipv4_has_unexpired_source_route(const struct ipv4 *in);
void ipv4_write(uint8_t *header, const struct ipv6 *in, uint32_t total_len, bool df, uint8_t ttl,
		const uint8_t src[4], const uint8_t dst[4]);
void ipv6_write(uint8_t *header, uint8_t tos, uint32_t payload_len, uint8_t next, uint8_t hop_limit,
		const uint8_t src[16], const uint8_t dst[16]);
void fragment_write(uint8_t *header, uint8_t next, uint32_t offset_and_m, uint32_t identification);

/* Length and protocol of a pseudo header (RFC 8200 section 8.1); its addresses are summed with it. */
static inline uint64_t pseudo_sum(uint32_t len, uint8_t protocol)
{
	return (uint64_t)wire16(len >> 16) + wire16(len & 0xffff) + wire16(protocol);
}

/* Add source and destination of an IP header of either version. */
static inline uint64_t sum_addresses(uint64_t sum, const uint8_t *ip)
{
	return ip[0] >> 4 == 4 ? sum_8(sum, ip + 12) : sum_32(sum, ip + 8);
}

/* addresses.c: which side of its pair a rule is on */
enum side { SIDE_LOCAL, SIDE_REMOTE };

/* The pair that maps an address, or -1; `prefer` wins a tie. one_to_one = false: leave RFC 7757's pairs out. */
int map_4to6(const struct siit_map *map, enum side side, const uint8_t v4[4], int prefer, bool one_to_one,
	     uint8_t v6[16]);
int map_6to4(const struct siit_map *map, enum side side, const uint8_t v6[16], int prefer, uint8_t v4[4]);
bool is_one_to_one(const struct siit_map *map, enum side side, int pair);
bool has_one_to_one(const struct siit_map *map, enum side side, const uint8_t v4[4]);
bool own_address6(const struct siit_map *map, int pair, uint8_t v6[16]);

/* 0/8, 127/8, multicast and broadcast (RFC 1812 section 5.3.7), link-local (RFC 3927 section 7). */
static inline bool is_illegal4(const uint8_t v4[4])
{
	const uint32_t address = get32(v4);

	return address >> 24 == 0 || address >> 24 == 127 || address >> 28 == 14 || address >> 16 == 0xa9fe ||
	       address == UINT32_MAX;
}

/* ::, ::1, link-local and multicast (RFC 4291 sections 2.5 to 2.7). */
static inline bool is_illegal6(const uint8_t v6[16])
{
	const uint32_t first = get32(v6);

	return first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6 ||
	       (first == 0 && get32(v6 + 4) == 0 && get32(v6 + 8) == 0 && get32(v6 + 12) <= 1);
}

/* errors.c: tell the sender, if one may; `rest` is the second word of the ICMP header */
void send_error4(const struct siit_map *map, const struct ipv4 *in, uint8_t type, uint8_t code, uint32_t rest,
		 struct outlet outlet);
void send_error6(const struct siit_map *map, const struct ipv6 *in, uint8_t type, uint8_t code, uint32_t rest,
		 int local_pair, struct outlet outlet);

/* Where a protocol keeps the checksum that covers addresses, and the least header it needs in bytes; need = 0: there
 * is no such checksum, or none that RFC 7915 section 4.5 asks for (DCCP, UDP-Lite): such packets pass unchanged. */
struct checksum_place {
	uint32_t offset, need;
};

static inline struct checksum_place checksum_place(uint8_t protocol)
{
	if (protocol == PROTOCOL_TCP)
		return (struct checksum_place){16, 20};
	if (protocol == PROTOCOL_UDP)
		return (struct checksum_place){6, 8};
	return (struct checksum_place){0, 0};
}

/* icmp.c: translate an ICMP error in place; hairpin: RFC 7757 section 4 */
int icmp_error_4to6(const struct siit_map *map, struct siit_packet *packet, const struct ipv4 *in,
		    uint8_t hop_limit, const uint8_t src[16], const uint8_t dst[16], bool is_hairpin);
int icmp_error_6to4(const struct siit_map *map, struct siit_packet *packet, struct ipv6 *in, uint8_t ttl,
		    const uint8_t src[4], const uint8_t dst[4], bool *is_hairpin);

#endif
