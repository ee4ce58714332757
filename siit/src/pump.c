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

#include "reassembly.h"

/* struct virtio_net_hdr of linux/virtio_net.h, whose older editions lack UDP_L4. */
struct vnet {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
enum { VNET_NEEDS_CSUM = 1, VNET_DATA_VALID = 2 };
enum { VNET_TCPV4 = 1, VNET_TCPV6 = 4, VNET_UDP_L4 = 5, VNET_ECN = 0x80 };
#define VNET_LEN 10
_Static_assert(sizeof(struct vnet) == VNET_LEN, "the virtio_net_hdr has 10 bytes");

enum { PROTO_HOPOPTS = 0, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ROUTING = 43, PROTO_FRAGMENT = 44, PROTO_DSTOPTS = 60 };
enum { TCP_CSUM = 16, UDP_CSUM = 6, UDP_HEADER = 8 };

#define SEGMENTS_MAX 64 /* UDP_MAX_SEGMENTS of Linux up to 6.x; more and the kernel refuses the super-packet */
#define LEAD (SIIT_HEADROOM + 16) /* bytes before a packet in the arena: the translator's and the vnet header's */
#define SLOT_MAX (LEAD + SIIT_MAX_PACKET + SIIT_TAILROOM)

#define INDEX(identifier, name, meaning) COUNT_##identifier,
enum { LAST_VERDICT = SIIT_VERDICT_COUNT - 1, SIIT_PUMP_COUNTERS(INDEX) COUNTERS };

#define NAME(identifier, name, meaning) name,
#define MEANING(identifier, name, meaning) meaning,
static const char *const names[] = {SIIT_VERDICTS(NAME) SIIT_PUMP_COUNTERS(NAME)};
static const char *const meanings[] = {SIIT_VERDICTS(MEANING) SIIT_PUMP_COUNTERS(MEANING)};

/* A translated packet that waits for the end of its batch, or the head of a chain of such that leave as one. */
struct output {
	struct siit_packet packet;
	struct vnet vnet;
	uint32_t between; /* hash of the addresses */
	uint32_t payload; /* bytes of UDP payload, the segment size of the chain */
	uint32_t total;   /* bytes of the chain's IP packet */
	uint16_t l4;      /* bytes of IP header */
	uint8_t next;     /* the next packet of the chain; 0 ends it, since output 0 follows nobody */
	uint8_t last;     /* of a head: the chain's last packet */
	uint8_t segments; /* of a head: packets in the chain */
	bool open;        /* a head that may take more packets */
	bool follower;    /* written with its head */
};

struct siit_pump {
	int tun, stop_event;
	bool coalesce;
	atomic_bool stopping;
	_Atomic(const struct siit_map *) map;   /* what the next batch uses */
	_Atomic(const struct siit_map *) in_use; /* what the running batch uses, NULL between batches */
	unsigned icmp_per_s;
	uint64_t icmp_credit; /* in errors times a thousand million, up to the burst */
	uint64_t icmp_at;     /* ns, CLOCK_MONOTONIC_COARSE */
	struct siit_reassembly reassembly;
	unsigned noutputs;
	struct output outputs[SIIT_BATCH];
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

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* Add the bytes as big-endian 16-bit words to a one's complement sum; 64 KB cannot overflow 32 bits from 0. */
static uint32_t sum(uint32_t total, const uint8_t *p, size_t len)
{
	uint64_t wide = 0;
	uint32_t word;
	uint16_t half;
	while (len >= 4) {
		memcpy(&word, p, 4);
		wide += word;
		p += 4;
		len -= 4;
	}
	if (len >= 2) {
		memcpy(&half, p, 2);
		wide += half;
		p += 2;
		len -= 2;
	}
	if (len) {
		half = 0;
		memcpy(&half, p, 1); /* the first byte in memory, on either byte order */
		wide += half;
	}
	while (wide >> 16)
		wide = (wide & 0xffff) + (wide >> 16);
	uint8_t bytes[2];
	half = (uint16_t)wide;
	memcpy(bytes, &half, 2); /* a one's complement sum in memory order is the one in network order, swapped */
	return total + get16(bytes);
}

static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

/* The sum of the pseudo header of an IP packet whose transport is `proto`, `l4_len` bytes long. */
static uint32_t pseudo_sum(const uint8_t *ip, uint8_t proto, uint32_t l4_len)
{
	uint32_t total = proto + (l4_len >> 16) + (l4_len & 0xffff);
	return ip[0] >> 4 == 4 ? sum(total, ip + 12, 8) : sum(total, ip + 8, 32);
}

/* Find the transport header of an IP packet. Returns its offset and sets its protocol, or 0 when there is none
 * within the packet, as in all fragments but the first. */
static uint32_t find_transport(const uint8_t *ip, uint32_t len, uint8_t *proto)
{
	if (ip[0] >> 4 == 4) {
		uint32_t at = (ip[0] & 15u) * 4;
		*proto = len >= 20 ? ip[9] : 0;
		return len < 20 || at < 20 || at > len || get16(ip + 6) & 0x1fff ? 0 : at;
	}
	uint32_t at = 40;
	*proto = len >= 40 ? ip[6] : 0;
	while (at + 8 <= len && (*proto == PROTO_HOPOPTS || *proto == PROTO_ROUTING || *proto == PROTO_DSTOPTS)) {
		*proto = ip[at];
		at += (ip[at + 1] + 1u) * 8;
	}
	return at > len || *proto == PROTO_FRAGMENT ? 0 : at;
}

static uint32_t csum_offset(uint8_t proto)
{
	return proto == PROTO_TCP ? TCP_CSUM : proto == PROTO_UDP ? UDP_CSUM : 0;
}

/* Put what the vnet header says of a packet into it. False when it cannot be true of this packet. */
static bool accept_vnet(const struct vnet *vnet, struct siit_packet *packet)
{
	uint8_t version = packet->data[0] >> 4;
	packet->gso_size = 0;
	packet->gso_type = SIIT_GSO_NONE;
	packet->needs_csum = 0;
	if (vnet->gso_type & ~VNET_ECN) {
		uint8_t type = vnet->gso_type & (uint8_t)~VNET_ECN;
		if (type == VNET_UDP_L4)
			packet->gso_type = SIIT_GSO_UDP;
		else if (type == (version == 4 ? VNET_TCPV4 : VNET_TCPV6))
			packet->gso_type = SIIT_GSO_TCP;
		else
			return false;
		if (!vnet->gso_size || !(vnet->flags & VNET_NEEDS_CSUM))
			return false;
		packet->gso_size = vnet->gso_size;
	}
	if (!(vnet->flags & VNET_NEEDS_CSUM))
		return true;
	uint32_t start = vnet->csum_start, offset = vnet->csum_offset;
	if (start + offset + 2 > packet->len)
		return false;
	uint8_t proto;
	if (start && find_transport(packet->data, packet->len, &proto) == start && csum_offset(proto) == offset) {
		packet->needs_csum = 1;
		return !packet->gso_type || (packet->gso_type == SIIT_GSO_TCP) == (proto == PROTO_TCP);
	}
	if (packet->gso_type)
		return false;
	/* a checksum further in, such as that of a packet in a tunnel: nobody will complete it once we pass it on */
	uint16_t rest = (uint16_t)~fold(sum(0, packet->data + start, packet->len - start));
	put16(packet->data + start + offset, rest ? rest : 0xffff);
	return true;
}

/* Say of a packet of ours what the kernel needs to know. False when it is not one that may be sent so. */
static bool make_vnet(const struct siit_packet *packet, uint8_t carried, struct vnet *vnet)
{
	*vnet = (struct vnet){.flags = carried & VNET_DATA_VALID};
	if (!packet->needs_csum)
		return !packet->gso_type;
	uint8_t proto;
	uint32_t l4 = find_transport(packet->data, packet->len, &proto), offset = csum_offset(proto);
	if (!l4 || !offset || l4 + offset + 2 > packet->len)
		return false;
	vnet->flags = VNET_NEEDS_CSUM;
	vnet->csum_start = (uint16_t)l4;
	vnet->csum_offset = (uint16_t)offset;
	if (packet->gso_type) {
		uint32_t header = proto == PROTO_TCP ? (packet->data[l4 + 12] >> 4) * 4u : UDP_HEADER;
		vnet->gso_type = proto == PROTO_UDP ? VNET_UDP_L4 : packet->data[0] >> 4 == 4 ? VNET_TCPV4 : VNET_TCPV6;
		vnet->gso_size = packet->gso_size;
		vnet->hdr_len = (uint16_t)(l4 + header);
	}
	return true;
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

/* Make a chain's first packet the header of the super-packet: lengths, checksums, vnet header. */
static void make_super(struct output *head)
{
	uint8_t *ip = head->packet.data, *udp = ip + head->l4;
	uint32_t udp_len = head->total - head->l4;
	if (ip[0] >> 4 == 4) {
		put16(ip + 2, head->total);
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~fold(sum(0, ip, 20)));
	} else {
		put16(ip + 4, udp_len);
	}
	put16(udp + 4, udp_len);
	put16(udp + UDP_CSUM, fold(pseudo_sum(ip, PROTO_UDP, udp_len)));
	head->vnet = (struct vnet){
		.flags = VNET_NEEDS_CSUM, .gso_type = VNET_UDP_L4, .hdr_len = (uint16_t)(head->l4 + UDP_HEADER),
		.gso_size = (uint16_t)head->payload, .csum_start = head->l4, .csum_offset = UDP_CSUM};
}

static void flush(struct siit_pump *pump)
{
	struct iovec iov[SEGMENTS_MAX];
	for (unsigned i = 0; i < pump->noutputs; i++) {
		struct output *head = &pump->outputs[i];
		if (head->follower)
			continue;
		int n = 1;
		if (head->segments > 1) {
			make_super(head);
			for (unsigned j = head->next; j; j = pump->outputs[j].next) {
				struct output *each = &pump->outputs[j];
				iov[n++] = (struct iovec){each->packet.data + each->l4 + UDP_HEADER, each->payload};
			}
			count(pump, COUNT_COALESCED, head->segments - 1u);
		}
		uint8_t *start = head->packet.data - VNET_LEN; /* the headroom is ours again */
		memcpy(start, &head->vnet, VNET_LEN);
		iov[0] = (struct iovec){start, VNET_LEN + head->packet.len};
		write_out(pump, iov, n, head->packet.data[0] >> 4, head->total);
	}
	pump->noutputs = 0;
}

/* Is it a UDP packet that may become a segment of a super-packet? Not without a checksum, and not with one
 * that nobody has checked and that is wrong: the kernel makes new ones, which would hide a damage. */
static bool is_segment(struct output *output)
{
	const uint8_t *ip = output->packet.data;
	uint32_t len = output->packet.len, l4;
	if (ip[0] >> 4 == 4) {
		if (len <= 28 || ip[0] != 0x45 || ip[9] != PROTO_UDP || get16(ip + 6) & 0x3fff || get16(ip + 2) != len)
			return false;
		l4 = 20;
	} else {
		if (len <= 48 || ip[6] != PROTO_UDP || get16(ip + 4) + 40u != len)
			return false;
		l4 = 40;
	}
	const uint8_t *udp = ip + l4;
	if (get16(udp + 4) != len - l4)
		return false;
	if (!(output->vnet.flags & (VNET_NEEDS_CSUM | VNET_DATA_VALID)) &&
	    (!get16(udp + UDP_CSUM) || fold(sum(pseudo_sum(ip, PROTO_UDP, len - l4), udp, len - l4)) != 0xffff))
		return false;
	output->l4 = (uint16_t)l4;
	output->payload = len - l4 - UDP_HEADER;
	return true;
}

static uint32_t hash_addresses(const uint8_t *ip)
{
	uint32_t hash = ip[0] >> 4, word;
	const uint8_t *end = ip[0] >> 4 == 4 ? ip + 20 : ip + 40;
	for (const uint8_t *p = ip[0] >> 4 == 4 ? ip + 12 : ip + 8; p < end; p += 4) {
		memcpy(&word, p, 4);
		hash = (hash ^ word) * 0x9e3779b1u;
	}
	return hash;
}

static bool same_addresses(const uint8_t *a, const uint8_t *b)
{
	if ((a[0] ^ b[0]) >> 4)
		return false;
	return a[0] >> 4 == 4 ? !memcmp(a + 12, b + 12, 8) : !memcmp(a + 8, b + 8, 32);
}

/* Same version, traffic class, flow label, DF, TTL, addresses, ports: all but lengths, checksums, IPv4 id. */
static bool same_flow(const uint8_t *a, const uint8_t *b)
{
	if (a[0] >> 4 == 4)
		return !memcmp(a, b, 2) && !memcmp(a + 6, b + 6, 4) && !memcmp(a + 12, b + 12, 12);
	return !memcmp(a, b, 4) && !memcmp(a + 6, b + 6, 38);
}

/* Append the last output to a chain of its flow if there is one that can take it, or let it be a head.
 * Chains are written in the order of their heads, so to keep a flow in order a chain is closed as soon as a
 * packet between the same addresses does not join it. */
static void coalesce(struct siit_pump *pump)
{
	unsigned index = pump->noutputs - 1;
	struct output *output = &pump->outputs[index];
	bool segment = !output->packet.gso_type && is_segment(output);
	output->between = hash_addresses(output->packet.data);
	output->open = segment;
	for (unsigned i = 0; i < index; i++) {
		struct output *head = &pump->outputs[i];
		if (!head->open || head->between != output->between)
			continue;
		if (!segment) {
			if (same_addresses(head->packet.data, output->packet.data))
				head->open = false;
			continue;
		}
		if (!same_flow(head->packet.data, output->packet.data)) {
			/* another port's packet is another flow, but a change of TTL or class is the same one */
			if (!memcmp(head->packet.data + head->l4, output->packet.data + output->l4, 4))
				head->open = false;
			continue;
		}
		head->open = false;
		if (output->payload > head->payload || head->total + output->payload > 0xffff)
			continue;
		head->open = output->payload == head->payload && ++head->segments < SEGMENTS_MAX;
		if (output->payload < head->payload)
			head->segments++;
		head->total += output->payload;
		pump->outputs[head->last].next = (uint8_t)index;
		head->last = (uint8_t)index;
		output->follower = true;
		output->open = false;
		return;
	}
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
	if (!make_vnet(packet, 0, &vnet)) {
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
	struct output *output = &pump->outputs[pump->noutputs];
	output->packet = packet;
	if (!make_vnet(&packet, vnet.flags, &output->vnet)) {
		count(pump, COUNT_WRITE_REFUSED, 1);
		return;
	}
	if (packet.gso_type == SIIT_GSO_TCP)
		output->vnet.gso_type |= vnet.gso_type & VNET_ECN;
	output->total = packet.len;
	output->next = 0;
	output->last = (uint8_t)pump->noutputs;
	output->segments = 1;
	output->open = output->follower = false;
	pump->noutputs++;
	if (pump->coalesce)
		coalesce(pump);
}

/* Whether the packet is a fragment, as cheaply as it can be asked: most are none. */
static bool may_be_fragment(const struct siit_packet *packet)
{
	if (packet->gso_type || packet->needs_csum || packet->len < 20)
		return false;
	return packet->data[0] >> 4 == 4 ? (get16(packet->data + 6) & 0x3fff) != 0 : packet->data[6] == PROTO_FRAGMENT;
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
	if ((version != 4 && version != 6) || !accept_vnet(&vnet, &packet)) {
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
	pump->coalesce = may_coalesce != 0;
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
