/* SPDX-License-Identifier: ISC */
/* Puts together the fragmented datagrams that can only be translated whole.
 *
 * Their checksum covers the datagram, and the translation needs it or changes it: UDP without a checksum on its way to
 * IPv6, for which one is computed (RFC 7915 section 4.5, RFC 6146 section 3.4), and ICMP, whose checksum gets or loses
 * a pseudo header (RFC 7915 section 1.2). All other fragments are translated one by one, and nothing here sees them.
 *
 * Fragments have to come in order, as a kernel sends them; what does not continue a datagram ends it. No timer: a
 * datagram that stays incomplete is forgotten when its place is needed, first one of the source that has the most, or
 * when it is older than SIIT_GATHER_MS. All memory is the places', taken when the first datagram comes: at most
 * SIIT_GATHER_PLACES of 64 KB each.
 */
#ifndef SIIT_GATHER_H
#define SIIT_GATHER_H

#include "siit.h"

#define SIIT_GATHER_PLACES 4  /* datagrams under way at a time */
#define SIIT_GATHER_MS 2000   /* how long one may take; FRAGMENT_MIN of RFC 6146 section 4 */

struct siit_gather {
	struct siit_place {
		uint8_t *buffer;   /* headroom, the headers of the whole, its transport; NULL before the first use */
		uint8_t key[38];   /* version, addresses, identification, protocol of the datagram under way */
		uint32_t header;   /* bytes of headers in the buffer; 0: the place is free */
		uint32_t filled;   /* bytes of transport that are there */
		uint64_t since_ms; /* when its first fragment came */
	} places[SIIT_GATHER_PLACES];
};

enum siit_gathered {
	SIIT_GATHER_NOT,  /* none of the fragments that this is about: translate it as it is */
	SIIT_GATHER_MORE, /* taken, and more has to come */
	SIIT_GATHER_WHOLE /* taken, and *packet is the datagram, valid until the next call */
};

/* Take one packet of IPv4 or IPv6, len bytes; now_ms is of any clock that only goes forward. */
enum siit_gathered siit_gather_take(struct siit_gather *gather, const uint8_t *data, uint32_t len, uint64_t now_ms,
				    struct siit_packet *packet);

/* Free the places' memory. */
void siit_gather_end(struct siit_gather *gather);

#endif
