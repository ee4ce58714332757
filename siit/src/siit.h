/* SPDX-License-Identifier: ISC */
/* The translator: RFC 7915 (IP/ICMP translation), RFC 6052 (addresses), RFC 7757 (one-to-one pairs).
 *
 * Pure functions over the caller's buffers: no system call, no allocation, no clock, no global state. What
 * reads packets from a device and writes them back is pump.c; what turns control text into a map is Python.
 *
 * A packet is translated in place: its new IP header is written in front of the transport header, so the
 * caller leaves SIIT_HEADROOM bytes free before the packet. A packet that becomes several (fragments) or that
 * is answered (ICMP errors of our own) leaves through the caller's emit function.
 *
 * Without a clock there is no rate limit: whoever writes the emitted errors out (is_error) limits them.
 *
 * What stands between the cffi marks is what Python sees: see siit/_build.py.
 */
#ifndef SIIT_H
#define SIIT_H

#include <stddef.h>
#include <stdint.h>

/* What became of a packet: X(identifier, name in `siit stat`, meaning). One reason per distinct cause.
 * The order is that of the counters; TRANSLATED must stay 0. All after FRAGMENTED are drops. */
#define SIIT_VERDICTS(X) \
	X(TRANSLATED, "translated", "translated, one packet in and one out") \
	X(FRAGMENTED, "fragmented", "translated into several fragments") \
	X(TRUNCATED, "truncated", "ends before its headers do") \
	X(BAD_HEADER, "bad-header", "neither IPv4 nor IPv6, or lengths that contradict each other") \
	X(BAD_HEADER_CHECKSUM, "bad-header-checksum", "the IPv4 header checksum is wrong") \
	X(BAD_OFFLOAD, "bad-offload", "what the device said of segments or checksum does not fit the packet") \
	X(BAD_UDP_LENGTH, "bad-udp-length", "no UDP checksum, and none can be computed: its length is wrong") \
	X(ILLEGAL_SOURCE, "illegal-source", "a source that must not be forwarded: loopback, multicast, link-local") \
	X(ILLEGAL_DESTINATION, "illegal-destination", "a destination that must not be forwarded") \
	X(NO_SOURCE_RULE, "no-rule-source", "no rule maps the source") \
	X(NO_DESTINATION_RULE, "no-rule-destination", "no rule maps the destination") \
	X(TTL_EXCEEDED, "ttl-exceeded", "TTL or hop limit ran out") \
	X(SOURCE_ROUTE, "source-route", "a source route or routing header that has not reached its end") \
	X(EXTENSION_AFTER_FRAGMENT, "extension-after-fragment", "an IPv6 extension header behind a fragment header") \
	X(TOO_BIG, "too-big", "DF is set and the IPv6 packet or segment exceeds the MTU") \
	X(TOO_LONG, "too-long", "more than 65,535 bytes as IPv4") \
	X(UDP_ZERO_CHECKSUM, "udp-zero-checksum", "UDP without a checksum, and the configuration says to drop it") \
	X(UDP_ZERO_CHECKSUM_FRAGMENT, "udp-zero-checksum-fragment", "first fragment of UDP without a checksum") \
	X(FOREIGN_ICMP, "foreign-icmp", "ICMPv6 inside IPv4 or ICMPv4 inside IPv6") \
	X(EXTENSION_NUMBER, "extension-number", "an IPv4 protocol number that is an extension header in IPv6") \
	X(IGMP, "igmp", "IGMP, which is about one link and has no meaning behind it") \
	X(ICMP_FRAGMENT, "icmp-fragment", "a fragment of ICMP, whose checksum cannot be translated") \
	X(ICMP_BAD_CHECKSUM, "icmp-bad-checksum", "an ICMP error with a wrong checksum") \
	X(ICMP_UNKNOWN_TYPE, "icmp-unknown-type", "an ICMP type or code without counterpart") \
	X(ICMP_UNKNOWN_POINTER, "icmp-unknown-pointer", "a parameter problem at a field without counterpart") \
	X(ICMP_BAD_EXTENSION, "icmp-bad-extension", "an ICMP error whose length field points behind its end") \
	X(ICMP_INNER_TRUNCATED, "icmp-inner-truncated", "an ICMP error with less than the inner IP header") \
	X(ICMP_INNER_BAD_HEADER, "icmp-inner-bad-header", "an ICMP error whose inner IP header makes no sense") \
	X(ICMP_INNER_NO_RULE, "icmp-inner-no-rule", "an ICMP error with an inner address that no rule maps") \
	X(ICMP_NESTED_ERROR, "icmp-nested-error", "an ICMP error about an ICMP error")

#define SIIT_VERDICT_IDENTIFIER(identifier, name, meaning) SIIT_##identifier,
enum siit_verdict { SIIT_VERDICTS(SIIT_VERDICT_IDENTIFIER) SIIT_VERDICT_COUNT };

/* cffi: begin */
#define SIIT_HEADROOM 128     /* bytes before a packet; header growth, and the padding of RFC 4884 */
#define SIIT_TAILROOM 0       /* bytes behind a packet: none, it only ever grows to the front */
#define SIIT_MAX_PACKET 65575 /* bytes; IPv6 header and 65,535 bytes of payload */
#define SIIT_MIN_MTU6 1280    /* bytes; the least MTU of IPv6, RFC 8200 section 5 */

enum siit_style { SIIT_NONE, SIIT_RFC6052 };

/* One side of a rule pair. NONE with a v6_len of 128 and a v4_len of 32 is a one-to-one pair (RFC 7757);
 * any other NONE maps nothing, as in nat46. Addresses in network byte order. */
struct siit_rule {
	uint8_t style;
	uint8_t v4_len, v6_len; /* prefix lengths in bits; v6_len of RFC6052 is 32, 40, 48, 56, 64 or 96 */
	uint8_t v4[4];
	uint8_t v6[16];
};

/* IPv4 to IPv6: `local` maps the source and `remote` the destination; IPv6 to IPv4 the other way round. */
struct siit_pair {
	struct siit_rule local, remote;
};

/* Everything a translation depends on. Immutable once made: a change of rules makes a new map.
 * Source and destination are matched independently over all pairs. The longest prefix wins: of IPv4 going to IPv6, of
 * IPv6 going to IPv4. A tie goes to the pair that matched the source, then to the first. The search is linear: some
 * hundred pairs cost a microsecond a packet. mtu6 decides what passes unfragmented: whoever sets the device's MTU knows
 * the network behind it. Fragments that are made here, and those that came without DF, are at most lowest_mtu6 long
 * (RFC 7915's lowest-ipv6-mtu). */
struct siit_map {
	uint32_t mtu6;      /* bytes; the largest IPv6 packet to make (the device's MTU), below 1280 counts as 1280 */
	uint32_t lowest_mtu6; /* bytes; the largest fragment to make: 1280 to mtu6, what is outside counts as the nearer end */
	uint8_t drops_bare_udp; /* UDP without a checksum from IPv4: 0, one is computed; 1, it is dropped (section 4.5) */
	uint8_t icmp_v4[4]; /* source of ICMPv4 errors of our own and of errors from routers that no rule maps (RFC 6791) */
	uint32_t npairs;
	struct siit_pair pairs[];
};

enum siit_gso { SIIT_GSO_NONE, SIIT_GSO_TCP, SIIT_GSO_UDP };

/* A packet and what the kernel said of it in its virtio_net_hdr. A result has needs_csum and gso_type only for TCP and
 * UDP without a fragment header. So its transport header starts at byte 20 or 40. */
struct siit_packet {
	uint8_t *data;      /* first byte of the IP header */
	uint32_t len;       /* bytes */
	uint16_t gso_size;  /* bytes of transport payload per segment; 0 unless gso_type is set */
	uint8_t gso_type;   /* enum siit_gso */
	uint8_t needs_csum; /* the transport checksum holds the pseudo header's sum only (VIRTIO_NET_HDR_F_NEEDS_CSUM) */
	uint8_t is_error;   /* set on what is emitted: an ICMP error of our own, to be rate-limited */
};

/* Takes one finished packet; packet->data is the translator's and valid only during the call. */
typedef void (*siit_emit)(void *context, const struct siit_packet *packet);

/* Translate one packet, IPv4 or IPv6 by its version field.
 * Returns SIIT_TRANSLATED (packet now describes the result, in the same buffer: at most SIIT_HEADROOM bytes
 * before where it was), SIIT_FRAGMENTED (all of it went through emit), or the reason of the drop (an ICMP error
 * to the sender may have gone through emit, packet->data is where it was). After anything but SIIT_TRANSLATED
 * the buffer's content is undefined. Without emit (NULL) fragments and errors are lost.
 */
int siit_translate(const struct siit_map *map, struct siit_packet *packet, siit_emit emit, void *context);

/* The number of verdicts; each one's name in `siit stat`, and its meaning, NULL when there is no such verdict. */
int siit_verdict_count(void);
const char *siit_verdict_name(int verdict);
const char *siit_verdict_meaning(int verdict);
/* cffi: end */

#endif
