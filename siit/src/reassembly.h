/* SPDX-License-Identifier: ISC */
/* Puts together the fragmented datagrams that can only be translated whole.
 *
 * Their checksum covers the whole datagram, and the translation computes or changes it. UDP without a checksum gets one
 * on its way to IPv6 (RFC 7915 section 4.5, RFC 6146 section 3.4). ICMP's checksum gains or loses a pseudo header (RFC
 * 7915 section 1.2). All other fragments are translated one by one and do not come here.
 *
 * Fragments must come in order, as a kernel sends them. A fragment that does not continue its datagram ends it. There
 * is no timer. An incomplete datagram is dropped when it is older than SIIT_REASSEMBLY_MS, or when its slot is needed:
 * first one of the source that has the most. A slot takes 64 KB when it is first used, and there are
 * SIIT_REASSEMBLY_SLOTS.
 */
#ifndef SIIT_REASSEMBLY_H
#define SIIT_REASSEMBLY_H

#include "siit.h"

#define SIIT_REASSEMBLY_SLOTS 4  /* datagrams under way at a time */
#define SIIT_REASSEMBLY_MS 2000   /* how long one may take; FRAGMENT_MIN of RFC 6146 section 4 */

struct siit_reassembly {
	struct siit_reassembly_slot {
		uint8_t *buffer;   /* headroom, the headers of the whole, its transport; NULL before the first use */
		uint8_t key[38];   /* version, addresses, identification, protocol of the datagram under way */
		uint32_t header;   /* bytes of headers in the buffer; 0: the slot is free */
		uint32_t filled;   /* bytes of transport that are there */
		uint64_t since_ms; /* when its first fragment came */
	} slots[SIIT_REASSEMBLY_SLOTS];
};

enum siit_reassembly_result {
	SIIT_REASSEMBLY_NOT,  /* none of the fragments that this is about: translate it as it is */
	SIIT_REASSEMBLY_INCOMPLETE, /* taken, and more has to come */
	SIIT_REASSEMBLY_COMPLETE /* taken, and *packet is the datagram, valid until the next call */
};

/* Take one packet of IPv4 or IPv6, len bytes; now_ms is of any clock that only goes forward. */
enum siit_reassembly_result siit_reassembly_add(struct siit_reassembly *reassembly, const uint8_t *data,
						uint32_t len, uint64_t now_ms, struct siit_packet *packet);

/* Free the slots' memory. */
void siit_reassembly_free(struct siit_reassembly *reassembly);

#endif
