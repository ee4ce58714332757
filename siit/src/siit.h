/* SPDX-License-Identifier: ISC */
/* The translator: RFC 7915 (IP/ICMP translation), RFC 6052 (addresses), RFC 7757 (one-to-one pairs).
 *
 * Pure functions over the caller's buffers: no system call, no allocation, no clock, no global state. What
 * reads packets from a device and writes them back is pump.c; what turns control text into a map is Python.
 *
 * A packet is translated in place: its new IP header is written in front of the transport header, so the
 * caller leaves SIIT_HEADROOM bytes free before the packet and SIIT_TAILROOM behind it. A packet that becomes
 * several (fragments) or that is answered (ICMP errors of our own) leaves through the caller's emit function.
 */
#ifndef SIIT_H
#define SIIT_H

#include <stddef.h>
#include <stdint.h>

#define SIIT_HEADROOM 128  /* bytes; an ICMP error grows by 20 outside and 20 inside, fragment headers by 8 each */
#define SIIT_TAILROOM 64   /* bytes; padding of ICMP extensions, RFC 4884 */
#define SIIT_MAX_PACKET 65575 /* bytes; IPv6 header and 65,535 bytes of payload */

/* Why a packet was dropped, or what became of it: X(identifier, name in `siit stat`, meaning).
 * The order is that of the counters; TRANSLATED must stay 0. */
#define SIIT_VERDICTS(X) \
	X(TRANSLATED, "translated", "translated, one packet in and one out") \
	X(FRAGMENTED, "fragmented", "translated into several fragments")
	/* ... the drop reasons follow; completed by whoever writes translate.c */

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

/* Everything a translation depends on. Immutable once made: a change of rules makes a new map. */
struct siit_map {
	uint32_t mtu6;       /* bytes; the largest IPv6 packet to make (the device's MTU), at least 1280 */
	uint8_t icmp_v4[4];  /* source of ICMPv4 errors of our own and of errors from routers that no rule maps (RFC 6791) */
	uint32_t npairs;
	struct siit_pair pairs[];
};

enum siit_gso { SIIT_GSO_NONE, SIIT_GSO_TCP, SIIT_GSO_UDP };

/* A packet and what the kernel said of it in its virtio_net_hdr. */
struct siit_packet {
	uint8_t *data;      /* first byte of the IP header */
	uint32_t len;       /* bytes */
	uint16_t gso_size;  /* bytes of transport payload per segment; 0 unless gso_type is set */
	uint8_t gso_type;   /* enum siit_gso */
	uint8_t needs_csum; /* the transport checksum holds the pseudo header's sum only (VIRTIO_NET_HDR_F_NEEDS_CSUM) */
};

/* Takes one finished packet; packet->data is the translator's and valid only during the call. */
typedef void (*siit_emit)(void *context, const struct siit_packet *packet);

/* Translate one packet, IPv4 or IPv6 by its version field.
 * Returns SIIT_TRANSLATED (packet now describes the result, in the same buffer), SIIT_FRAGMENTED (all of it went
 * through emit), or the reason of the drop (an ICMP error to the sender may have gone through emit). After
 * anything but SIIT_TRANSLATED the buffer's content is undefined.
 */
int siit_translate(const struct siit_map *map, struct siit_packet *packet, siit_emit emit, void *context);

#endif
