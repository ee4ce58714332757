/* SPDX-License-Identifier: ISC */
#define _GNU_SOURCE
#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "internal.h"
#include "reassembly.h"

#define LEAD (SIIT_HEADROOM + 16) /* bytes before a packet in the arena: the translator's and the vnet header's */
#define SLOT_MAX (LEAD + SIIT_MAX_PACKET + SIIT_TAILROOM)

#define INDEX(identifier, name, meaning) COUNT_##identifier,
enum { LAST_VERDICT = SIIT_VERDICT_COUNT - 1, SIIT_PUMP_COUNTERS(INDEX) COUNTERS };

#define NAME(identifier, name, meaning) name,
#define MEANING(identifier, name, meaning) meaning,
static const char *const names[] = {SIIT_VERDICTS(NAME) SIIT_PUMP_COUNTERS(NAME)};
static const char *const meanings[] = {SIIT_VERDICTS(MEANING) SIIT_PUMP_COUNTERS(MEANING)};

struct siit_pump {
	int tun, stop_event;
	atomic_bool stopping;
	_Atomic(const struct siit_map *) map;   /* what the next batch uses */
	_Atomic(const struct siit_map *) in_use; /* what the running batch uses, NULL between batches */
	unsigned icmp_per_s;
	uint64_t icmp_credit; /* in errors times a thousand million, up to the burst */
	uint64_t icmp_at;     /* ns, CLOCK_MONOTONIC_COARSE */
	struct siit_reassembly reassembly;
	struct batch batch;
	_Atomic uint64_t counters[COUNTERS];
	uint8_t *arena;
};

unsigned siit_counter_count(void)
{
	return COUNTERS;
}

const char *siit_counter_name(unsigned index)
{
	return index < COUNTERS ? names[index] : NULL;
}

const char *siit_counter_meaning(unsigned index)
{
	return index < COUNTERS ? meanings[index] : NULL;
}

/* One thread writes, so a load and a store do: no locked instruction. */
static void count(struct siit_pump *pump, unsigned index, uint64_t amount)
{
	uint64_t before = atomic_load_explicit(&pump->counters[index], memory_order_relaxed);
	atomic_store_explicit(&pump->counters[index], before + amount, memory_order_relaxed);
}

void siit_pump_counters(const struct siit_pump *pump, uint64_t *counters)
{
	for (unsigned i = 0; i < COUNTERS; i++)
		counters[i] = atomic_load_explicit(&pump->counters[i], memory_order_relaxed);
}

static void write_out(struct siit_pump *pump, const struct iovec *iov, int n, uint8_t version, uint32_t len)
{
	ssize_t written;
	do
		written = writev(pump->tun, iov, n);
	while (written < 0 && errno == EINTR);
	if (written < 0) {
		count(pump, errno == EIO ? COUNT_WRITE_DOWN : errno == EINVAL ? COUNT_WRITE_REFUSED : COUNT_WRITE_ERROR, 1);
		return;
	}
	count(pump, version == 4 ? COUNT_OUT4_PACKETS : COUNT_OUT6_PACKETS, 1);
	count(pump, version == 4 ? COUNT_OUT4_BYTES : COUNT_OUT6_BYTES, len);
}

static void flush(struct siit_pump *pump)
{
	struct iovec iov[BATCH_SEGMENTS];
	for (unsigned i = 0; i < pump->batch.count; i++) {
		const struct output *output = &pump->batch.outputs[i];
		int n = batch_parts(&pump->batch, i, iov);
		if (!n)
			continue;
		if (n > 1)
			count(pump, COUNT_COALESCED, (unsigned)n - 1);
		write_out(pump, iov, n, output->packet.data[0] >> 4, output->total);
	}
	pump->batch.count = 0;
}

static uint64_t now_ns(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static bool may_send_icmp(struct siit_pump *pump)
{
	const uint64_t error = 1000000000u; /* credit of one, so that credit grows by the rate each nanosecond */
	uint64_t now = now_ns();
	uint64_t passed = now - pump->icmp_at;
	pump->icmp_at = now;
	if (passed > 1000000000u) /* also keeps the product below within 64 bits */
		passed = 1000000000u;
	pump->icmp_credit += passed * pump->icmp_per_s;
	if (pump->icmp_credit > SIIT_ICMP_BURST * error)
		pump->icmp_credit = SIIT_ICMP_BURST * error;
	if (pump->icmp_credit < error)
		return false;
	pump->icmp_credit -= error;
	return true;
}

/* What the translator makes beside its result: fragments and ICMP errors. */
static void emit(void *context, const struct siit_packet *packet)
{
	struct siit_pump *pump = context;
	if (packet->is_error) {
		if (!may_send_icmp(pump)) {
			count(pump, COUNT_ICMP_SUPPRESSED, 1);
			return;
		}
		count(pump, COUNT_ICMP_SENT, 1);
	}
	struct vnet vnet;
	if (!vnet_write(packet, 0, &vnet)) {
		count(pump, COUNT_WRITE_REFUSED, 1);
		return;
	}
	flush(pump); /* what came before a fragment leaves before it */
	struct iovec iov[2] = {{&vnet, VNET_LEN}, {packet->data, packet->len}};
	write_out(pump, iov, 2, packet->data[0] >> 4, packet->len);
}

/* Translate a packet with SIIT_HEADROOM and a vnet header's bytes before it; the result leaves with the batch. */
static void translate(struct siit_pump *pump, const struct siit_map *map, struct siit_packet packet, struct vnet vnet)
{
	int verdict = siit_translate(map, &packet, emit, pump);
	count(pump, (unsigned)verdict, 1);
	if (verdict != SIIT_TRANSLATED)
		return;
	if (!batch_add(&pump->batch, &packet, &vnet))
		count(pump, COUNT_WRITE_REFUSED, 1);
}

/* Whether the packet is a fragment, as cheaply as it can be asked: most are none. */
static bool may_be_fragment(const struct siit_packet *packet)
{
	if (packet->gso_type || packet->needs_csum || packet->len < IPV4_HEADER)
		return false;
	return packet->data[0] >> 4 == 4 ? (get16(packet->data + 6) & (IPV4_MF | IPV4_OFFSET)) != 0 : packet->data[6] == HEADER_FRAGMENT;
}

/* True when the packet was taken as part of a datagram that has to be whole, and is translated with it. */
static bool reassemble(struct siit_pump *pump, const struct siit_map *map, const struct siit_packet *packet)
{
	struct siit_packet whole;
	enum siit_reassembly_result reassembled =
		siit_reassembly_add(&pump->reassembly, packet->data, packet->len, now_ns() / 1000000u, &whole);
	if (reassembled == SIIT_REASSEMBLY_NOT)
		return false;
	count(pump, COUNT_REASSEMBLED, 1);
	if (reassembled == SIIT_REASSEMBLY_COMPLETE) {
		flush(pump); /* packets read before it leave first, and none waits in the reassembly's buffer */
		translate(pump, map, whole, (struct vnet){0});
		flush(pump);
	}
	return true;
}

/* Translate one packet that lies behind LEAD bytes of the arena, its vnet header just before it. */
static void handle(struct siit_pump *pump, const struct siit_map *map, uint8_t *data, uint32_t len)
{
	struct vnet vnet;
	memcpy(&vnet, data - VNET_LEN, VNET_LEN);
	struct siit_packet packet = {.data = data, .len = len};
	uint8_t version = len ? data[0] >> 4 : 0;
	if (version == 4 || version == 6) {
		count(pump, version == 4 ? COUNT_IN4_PACKETS : COUNT_IN6_PACKETS, 1);
		count(pump, version == 4 ? COUNT_IN4_BYTES : COUNT_IN6_BYTES, len);
	}
	if (!map)
		return;
	if ((version != 4 && version != 6) || !vnet_read(&vnet, &packet)) {
		count(pump, COUNT_MALFORMED, 1);
		return;
	}
	if (may_be_fragment(&packet) && reassemble(pump, map, &packet))
		return;
	translate(pump, map, packet, vnet);
}

/* Read and translate what is there, up to a batch. Returns 1 when there may be more, 0 when there is nothing
 * left, a negative errno when the device is gone. */
static int read_batch(struct siit_pump *pump, const struct siit_map *map)
{
	uint32_t at = 0;
	int result = 1;
	for (unsigned n = 0; n < SIIT_BATCH && at + SLOT_MAX <= SIIT_ARENA; n++) {
		uint8_t *data = pump->arena + at + LEAD;
		ssize_t got = read(pump->tun, data - VNET_LEN, VNET_LEN + SIIT_MAX_PACKET);
		if (got < VNET_LEN) {
			if (got < 0 && errno == EINTR)
				continue;
			result = 0;
			if (got == 0)
				result = -EPIPE;
			else if (got > 0)
				count(pump, COUNT_MALFORMED, 1);
			else if (errno == EBADFD || errno == EBADF || errno == ENODEV)
				result = -errno;
			else if (errno != EAGAIN)
				count(pump, COUNT_READ_ERROR, 1);
			break;
		}
		uint32_t len = (uint32_t)got - VNET_LEN;
		handle(pump, map, data, len);
		at = (at + LEAD + len + SIIT_TAILROOM + 63) & ~63u;
	}
	flush(pump);
	return result;
}

int siit_pump_run(struct siit_pump *pump)
{
	struct pollfd fds[2] = {{pump->tun, POLLIN, 0}, {pump->stop_event, POLLIN, 0}};
	while (!atomic_load_explicit(&pump->stopping, memory_order_relaxed)) {
		const struct siit_map *map;
		do { /* say which map we use, then look whether it was replaced before we had said so */
			map = atomic_load(&pump->map);
			atomic_store(&pump->in_use, map);
		} while (atomic_load(&pump->map) != map);
		int result = read_batch(pump, map);
		atomic_store(&pump->in_use, NULL);
		if (result < 0)
			return result;
		if (result == 0 && poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

void siit_pump_stop(struct siit_pump *pump)
{
	atomic_store(&pump->stopping, true);
	eventfd_write(pump->stop_event, 1);
}

void siit_pump_use(struct siit_pump *pump, const struct siit_map *map)
{
	const struct siit_map *before = atomic_exchange(&pump->map, map);
	struct timespec pause = {.tv_nsec = 20000};
	if (before == map)
		return;
	while (before && atomic_load(&pump->in_use) == before)
		nanosleep(&pause, NULL); /* a batch takes less than a millisecond */
}

struct siit_pump *siit_pump_new(int tun_fd, unsigned icmp_per_s, int may_coalesce)
{
	struct siit_pump *pump = calloc(1, sizeof(*pump));
	if (!pump)
		return NULL;
	pump->tun = tun_fd;
	pump->icmp_per_s = icmp_per_s;
	pump->icmp_credit = SIIT_ICMP_BURST * UINT64_C(1000000000);
	pump->batch.coalesces = may_coalesce != 0;
	pump->arena = malloc(SIIT_ARENA);
	pump->stop_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!pump->arena || pump->stop_event < 0) {
		int error = pump->arena ? errno : ENOMEM;
		siit_pump_free(pump);
		errno = error;
		return NULL;
	}
	return pump;
}

void siit_pump_free(struct siit_pump *pump)
{
	if (!pump)
		return;
	if (pump->stop_event >= 0)
		close(pump->stop_event);
	siit_reassembly_free(&pump->reassembly);
	free(pump->arena);
	free(pump);
}
