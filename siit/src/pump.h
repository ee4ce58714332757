/* SPDX-License-Identifier: ISC */
/* The pump: reads packets from one queue of a TUN device, has them translated, writes them back to it.
 *
 * One pump, one queue, one thread: siit_pump_run does not return until it is stopped or the device is gone.
 * The other functions may be called from any other thread meanwhile. All the pump's memory is taken at
 * siit_pump_new: an arena of SIIT_ARENA bytes. The packets of a batch lie in it one behind the other, so a batch of
 * small packets stays in the processor's cache.
 *
 * Every packet comes and goes with a struct virtio_net_hdr (IFF_VNET_HDR, the default size of 10 bytes, host
 * byte order): a TCP super-packet of 64 KB is translated as one packet. UDP packets of one flow and size that arrive
 * together leave as one super-packet if the kernel takes those (TUN_F_USO4, Linux 6.2).
 */
#ifndef SIIT_PUMP_H
#define SIIT_PUMP_H

#include "siit.h"

/* cffi: begin */
#define SIIT_BATCH 64            /* packets read before the results are written */
#define SIIT_ARENA (256 * 1024)  /* bytes; three super-packets, or a batch of packets of 3.8 KB */
#define SIIT_ICMP_BURST 50       /* ICMP errors of our own; Linux's icmp_msgs_burst */
/* cffi: end */

/* Counted beside the translator's verdicts: X(identifier, name in `siit stat`, meaning). A packet is what one
 * read returned or one write took: a super-packet counts once. */
#define SIIT_PUMP_COUNTERS(X) \
	X(IN4_PACKETS, "in4_packets", "IPv4 packets read from the device") \
	X(IN4_BYTES, "in4_bytes", "their bytes") \
	X(IN6_PACKETS, "in6_packets", "IPv6 packets read from the device") \
	X(IN6_BYTES, "in6_bytes", "their bytes") \
	X(OUT4_PACKETS, "out4_packets", "IPv4 packets written to the device") \
	X(OUT4_BYTES, "out4_bytes", "their bytes") \
	X(OUT6_PACKETS, "out6_packets", "IPv6 packets written to the device") \
	X(OUT6_BYTES, "out6_bytes", "their bytes") \
	X(REASSEMBLED, "reassembled", "fragments put together, for only the whole datagram can be translated") \
	X(COALESCED, "coalesced", "UDP packets that left inside another's super-packet") \
	X(ICMP_SENT, "icmp_sent", "ICMP errors of our own") \
	X(ICMP_SUPPRESSED, "icmp_suppressed", "ICMP errors of our own not sent: rate limit") \
	X(MALFORMED, "malformed", "dropped: no IP packet, or offload header that contradicts it") \
	X(READ_ERROR, "read_error", "reads that failed") \
	X(WRITE_DOWN, "write_down", "dropped: the device is down (EIO)") \
	X(WRITE_REFUSED, "write_refused", "dropped: the kernel refused the packet (EINVAL)") \
	X(WRITE_ERROR, "write_error", "dropped: any other failure to write")

/* cffi: begin */
/* cffi: begin */
struct siit_pump;

/* A pump for a TUN queue's file descriptor (non-blocking; stays the caller's). `icmp_per_s` limits ICMP errors
 * of our own; `coalesce` says that the kernel takes UDP super-packets. NULL and errno on failure. */
struct siit_pump *siit_pump_new(int tun_fd, unsigned icmp_per_s, int coalesce);

/* The pump must not be running. */
void siit_pump_free(struct siit_pump *pump);

/* Move packets until siit_pump_stop (returns 0) or until the device is gone (returns a negative errno). */
int siit_pump_run(struct siit_pump *pump);

/* Make siit_pump_run return, now or as soon as it is called. */
void siit_pump_stop(struct siit_pump *pump);

/* Translate by `map` from the next batch on. Returns when the map before is no longer in use: the caller may
 * free it then. No packet is lost or waits for it. Before the first call every packet is dropped. */
void siit_pump_use(struct siit_pump *pump, const struct siit_map *map);

/* The counters: the translator's verdicts, then SIIT_PUMP_COUNTERS. May be read while the pump runs. */
unsigned siit_counter_count(void);
const char *siit_counter_name(unsigned index);
const char *siit_counter_meaning(unsigned index);
void siit_pump_counters(const struct siit_pump *pump, uint64_t *counters);
/* cffi: end */

#endif
