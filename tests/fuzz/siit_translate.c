// SPDX-License-Identifier: ISC
/* Fuzz the translator: packets that are nearly right, cut short, or noise, in buffers without a byte to spare.
 *
 * Build with -fsanitize=address,undefined and all of siit/src but pump.c. Run as `siit_translate COUNT SEED`: the
 * same arguments give the same packets. With -DLIBFUZZER and clang's -fsanitize=fuzzer, libFuzzer drives it.
 * Whatever leaves the translator must be a packet: its lengths right, its IPv4 header checksum too, a result
 * not before the headroom, an error of our own about nothing that forbids one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reassembly.h"
#include "internal.h"

#define REQUIRE(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "siit_translate.c:%d: not so: %s\n", __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

static uint64_t state;
static unsigned long seen[SIIT_VERDICT_COUNT], reassembled;

static uint32_t random32(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static uint32_t below(uint32_t n)
{
	return random32() % n;
}

static bool one_in(uint32_t n)
{
	return below(n) == 0;
}

/* A CLAT, a PLAT, and a border relay with one-to-one pairs that hairpin. */
static const struct siit_map *map_of(unsigned which)
{
	static struct siit_map *maps[4];
	static const uint8_t clat[12] = {0xfd, 0xdd, 1}, plat[12] = {0xfd, 0xdd, 2};

	if (!maps[0]) {
		for (int i = 0; i < 4; i++) {
			maps[i] = calloc(1, sizeof **maps + 3 * sizeof(struct siit_pair));
			memcpy(maps[i]->icmp_v4, "\300\0\0\10", 4);
			maps[i]->mtu6 = i == 0 ? 1280 : i == 1 ? 1500 : i == 2 ? 9000 : 65575;
			maps[i]->npairs = 1;
			for (int side = 0; side < 2; side++) {
				struct siit_rule *rule = side ? &maps[i]->pairs[0].remote : &maps[i]->pairs[0].local;

				rule->style = SIIT_RFC6052;
				rule->v6_len = i == 3 && side ? 40 : 96;
				memcpy(rule->v6, side ? plat : clat, 12);
			}
		}
		maps[2]->lowest_mtu6 = 1400;
		maps[3]->drops_bare_udp = 1;
		maps[0]->pairs[0].local.v4_len = 8;
		maps[0]->pairs[0].local.v4[0] = 10;
		maps[2]->npairs = 3;
		for (uint8_t i = 1; i < 3; i++) {
			struct siit_rule *rule = &maps[2]->pairs[i].remote;

			rule->v4_len = 32;
			rule->v6_len = 128;
			memcpy(rule->v4, (uint8_t[]){10, 0, 0, i}, 4);
			memcpy(rule->v6, plat, 12);
			rule->v6[4] = 9;
			rule->v6[15] = i;
			maps[2]->pairs[i].local = rule[0];
		}
	}
	return maps[which % 4];
}

static void check(const uint8_t *data, uint32_t len)
{
	/* read every byte: what was not written is still the malloc's, and what is not ours is caught */
	volatile uint8_t all = 0;

	for (uint32_t i = 0; i < len; i++)
		all = (uint8_t)(all ^ data[i]);
	REQUIRE(len >= IPV4_HEADER);
	if (data[0] >> 4 == 4) {
		REQUIRE(data[0] == 0x45);
		REQUIRE(get16(data + 2) == len);
		REQUIRE(sum_fold(sum_20(0, data)) == 0xffff);
	} else {
		REQUIRE(data[0] >> 4 == 6);
		REQUIRE(len >= IPV6_HEADER && (uint32_t)IPV6_HEADER + get16(data + 4) == len);
	}
}

struct collector {
	const struct siit_map *map;
	uint32_t count;
	bool is_error;
};

static void collect(void *context, const struct siit_packet *packet)
{
	struct collector *collector = context;

	check(packet->data, packet->len);
	collector->count++;
	collector->is_error = packet->is_error != 0;
	if (packet->is_error)
		REQUIRE(collector->count == 1 && packet->len <= 1280);
	else if (packet->data[6] == HEADER_FRAGMENT)
		REQUIRE(packet->len <= fragment_mtu6_of(collector->map) && packet->data[0] >> 4 == 6);
	else /* a segment that fits */
		REQUIRE(packet->len <= mtu6_of(collector->map) && packet->data[0] >> 4 == 6);
}

static void run(const uint8_t *data, uint32_t len, unsigned which, unsigned offload, uint16_t gso_size)
{
	uint8_t *buffer = malloc(SIIT_HEADROOM + len + SIIT_TAILROOM);
	struct siit_packet packet = {.data = buffer + SIIT_HEADROOM, .len = len};
	struct collector collector = {.map = map_of(which)};
	int verdict;

	memcpy(packet.data, data, len);
	packet.needs_csum = offload & 1;
	packet.gso_type = (uint8_t)((offload >> 1) % 3);
	packet.gso_size = packet.gso_type ? gso_size : 0;
	verdict = siit_translate(collector.map, &packet, collect, &collector);
	REQUIRE(verdict >= 0 && verdict < SIIT_VERDICT_COUNT);
	seen[verdict]++;
	if (verdict == SIIT_TRANSLATED) {
		REQUIRE(collector.count == 0);
		REQUIRE(packet.data >= buffer);
		REQUIRE(packet.data + packet.len <= buffer + SIIT_HEADROOM + len + SIIT_TAILROOM);
		check(packet.data, packet.len);
	} else if (verdict == SIIT_FRAGMENTED) {
		REQUIRE(collector.count > 1 && !collector.is_error);
	} else {
		REQUIRE(collector.count == 0 || (collector.count == 1 && collector.is_error));
	}
	free(buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 4 && size <= 4 + SIIT_MAX_PACKET)
		run(data + 4, (uint32_t)size - 4, data[0], data[1], get16(data + 2));
	return 0;
}

#ifndef LIBFUZZER
/* A packet cut into fragments, some of them lost, twice, damaged or late: what is put together again is translated. */
static void reassemble(const uint8_t *data, uint32_t len, unsigned which)
{
	static struct siit_reassembly slots;
	static uint64_t now_ms;
	const bool is6 = data[0] >> 4 == 6;
	const uint32_t header = is6 ? 40 : 20;
	uint8_t piece[SIIT_MAX_PACKET];
	struct siit_packet whole;

	if (len < header + 8 || (!is6 && data[0] != 0x45))
		return;
	for (uint32_t at = header, size; at < len; at += size) {
		uint32_t to = header + (is6 ? (uint32_t)FRAGMENT_HEADER : 0u);

		size = least((1 + below(190)) * 8 + (one_in(60) ? 3 : 0), least(len - at, SIIT_MAX_PACKET - to));
		memcpy(piece, data, header);
		memcpy(piece + to, data + at, size);
		if (is6) {
			fragment_write(piece + 40, data[6], (at - header) | (at + size < len ? 1u : 0u), 7);
			piece[6] = HEADER_FRAGMENT;
			put16(piece + 4, FRAGMENT_HEADER + size);
		} else {
			put16(piece + 2, header + size);
			put16(piece + 6, (at - header) / 8 | (at + size < len ? (uint32_t)IPV4_MF : 0u));
			put16(piece + 10, 0);
			store16(piece + 10, (uint16_t)~sum_fold(sum_20(0, piece)));
		}
		now_ms += one_in(1000) ? 3000 : 1;
		for (uint32_t times = one_in(80) ? below(3) : 1; times > 0; times--) {
			uint8_t *exact = malloc(to + size);

			memcpy(exact, piece, to + size);
			if (one_in(100))
				exact[below(to + size)] ^= (uint8_t)random32();
			if (siit_reassembly_add(&slots, exact, to + size, now_ms, &whole) == SIIT_REASSEMBLY_COMPLETE) {
				check(whole.data, whole.len);
				run(whole.data, whole.len, which, 0, 0);
				reassembled++;
			}
			free(exact);
		}
	}
	if (one_in(5000)) {
		siit_reassembly_free(&slots);
		slots = (struct siit_reassembly){0};
	}
}

static uint8_t protocol(void)
{
	static const uint8_t usual[] = {PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_UDP, 33, 136, 50, 132};

	return one_in(20) ? (uint8_t)random32() : usual[below(sizeof usual)];
}

static void address4(uint8_t *p)
{
	static const uint8_t usual[][4] = {{10, 0, 0, 1}, {10, 0, 0, 2}, {10, 1, 2, 3}, {8, 8, 8, 8}, {127, 0, 0, 1}};

	memcpy(p, usual[below(one_in(30) ? 5 : 4)], 4);
}

/* An address under a map's prefix; `remote` chooses which. */
static void address6(uint8_t *p, unsigned which, bool remote)
{
	const struct siit_map *map = map_of(which);
	const struct siit_rule *rule = remote ? &map->pairs[below(map->npairs)].remote : &map->pairs[0].local;
	uint32_t at = rule->v6_len / 8u;

	memcpy(p, rule->v6, 16);
	if (at == 12) {
		address4(p + 12);
	} else if (at == 5) {
		address4(p + 4);
		p[4] = 0;
		p[5] = 10;
	}
	if (one_in(50))
		p[below(16)] ^= (uint8_t)random32();
}

static uint32_t build4(uint8_t *p, unsigned which, uint32_t payload, bool may_nest);
static uint32_t build6(uint8_t *p, unsigned which, uint32_t payload, bool may_nest, bool reversed);

/* A transport of roughly `len` bytes; returns its length. Checksums come later. */
static uint32_t build_transport(uint8_t *p, uint8_t next, uint32_t len, unsigned which, bool may_nest)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(random32() >> (i & 7));
	if (next == PROTOCOL_TCP && len > 12)
		p[12] = one_in(8) ? p[12] : 0x50;
	if (next == PROTOCOL_UDP && len >= 8) {
		put16(p + 4, len);
		if (one_in(4))
			put16(p + 6, 0);
	}
	if ((next == PROTOCOL_ICMP || next == PROTOCOL_ICMP6) && len >= 8) {
		static const uint8_t types4[] = {0, 8, 3, 3, 3, 11, 12, 12, 5, 13}, types6[] = {128, 129, 1, 2, 3, 4, 4, 130, 100};
		bool is4 = next == PROTOCOL_ICMP;

		p[0] = is4 ? types4[below(sizeof types4)] : types6[below(sizeof types6)];
		p[1] = (uint8_t)below(one_in(10) ? 256 : is4 && p[0] == 3 ? 16 : 5);
		if (p[0] != 8 && p[0] != 0 && p[0] < 128 && may_nest) {
			uint32_t inner = is4 ? build4(p + 8, which + 4, below(200), false)
					     : build6(p + 8, which, below(200), false, true);
			uint32_t quoted = one_in(3) ? below(inner + 1) : inner, unit = is4 ? 4 : 8;

			memset(p + 4, 0, 4);
			if (p[0] == 12 || p[0] == 4)
				p[is4 ? 4 : 7] = (uint8_t)below(44);
			if (p[0] == 2 || (p[0] == 3 && p[1] == 4))
				put16(p + 6, one_in(3) ? 0 : random32());
			len = 8 + quoted;
			if (one_in(3)) { /* an extension of some bytes behind the padded packet */
				uint32_t padded = (quoted + unit - 1) / unit * unit;

				padded = padded < 128 && !one_in(4) ? 128 : padded;
				memset(p + 8 + quoted, 0, padded - quoted);
				len = 8 + padded + below(one_in(5) ? 1400 : 40);
				memset(p + 8 + padded, 0xee, len - 8 - padded);
				if (p[0] != 2 && p[0] != 4)
					p[is4 ? 5 : 4] = (uint8_t)(padded / unit + (one_in(20) ? below(9) : 0));
			}
		}
	}
	return len;
}

static void finish_icmp(uint8_t *icmp, uint32_t len, const uint8_t *addresses6)
{
	uint64_t sum = 0;

	if (len < 8 || one_in(50))
		return;
	if (addresses6)
		sum = sum_32(pseudo_sum(len, PROTOCOL_ICMP6), addresses6);
	put16(icmp + 2, 0);
	store16(icmp + 2, (uint16_t)~sum_fold(sum_bytes(sum, icmp, len)));
}

static void finish_ipv4(uint8_t *p)
{
	uint32_t len = (p[0] & 15) * 4u;

	put16(p + 10, 0);
	store16(p + 10, (uint16_t)~sum_fold(sum_bytes(0, p, len)));
}

static uint32_t build4(uint8_t *p, unsigned which, uint32_t payload, bool may_nest)
{
	uint32_t options = one_in(6) ? below(11) * 4 : 0, header = 20 + options, len;

	memset(p, 0, header);
	p[0] = (uint8_t)(0x40 | header / 4);
	p[1] = (uint8_t)random32();
	put16(p + 4, random32());
	put16(p + 6, one_in(5) ? random32() & 0x7fff : one_in(5) ? random32() & 0x3003 : one_in(2) ? IPV4_DF : 0u);
	p[8] = one_in(20) ? (uint8_t)below(2) : 64;
	p[9] = one_in(3) ? (uint8_t)PROTOCOL_ICMP : protocol();
	if (p[9] == PROTOCOL_ICMP)
		put16(p + 6, get16(p + 6) & (one_in(10) ? 0xffffu : 0xc000u));
	address4(p + 12);
	address4(p + 16);
	for (uint32_t i = 20; i < header;) { /* source routes, padding, other options, sometimes cut off */
		uint8_t size = (uint8_t)(one_in(9) ? random32() : 3 + below(9));

		p[i] = one_in(2) ? 131 : one_in(2) ? 1 : one_in(3) ? 0 : (uint8_t)random32();
		if (i + 2 < header) {
			p[i + 1] = size;
			p[i + 2] = (uint8_t)below(14);
		}
		i += p[i] == 1 ? 1 : size ? size : 1;
	}
	(void)which;
	len = build_transport(p + header, p[9], payload, which, may_nest);
	if (p[9] == PROTOCOL_ICMP)
		finish_icmp(p + header, len, NULL);
	put16(p + 2, header + len);
	finish_ipv4(p);
	return header + len;
}

static uint32_t build6(uint8_t *p, unsigned which, uint32_t payload, bool may_nest, bool reversed)
{
	uint32_t at = 40, len;
	uint8_t *next = p + 6;

	memset(p, 0, 40);
	put32(p, 0x60000000 | (random32() & 0xfffffff));
	p[7] = one_in(20) ? (uint8_t)below(2) : 64;
	address6(p + 8, which, !reversed);
	address6(p + 24, which, reversed);
	while (one_in(4)) { /* extension headers */
		static const uint8_t kinds[] = {HEADER_HOPOPTS, HEADER_DSTOPTS, HEADER_ROUTING, HEADER_FRAGMENT, HEADER_FRAGMENT};
		uint32_t size = 8;

		*next = kinds[below(sizeof kinds)];
		memset(p + at, 0, 24);
		if (*next == HEADER_FRAGMENT) {
			put16(p + at + 2, one_in(3) ? 0 : one_in(2) ? 1 : random32());
			put32(p + at + 4, random32());
		} else {
			p[at + 1] = (uint8_t)below(3);
			p[at + 3] = one_in(6) ? 1 : 0;
			size = (p[at + 1] + 1u) * 8;
		}
		next = p + at;
		at += size;
		if (at > 200)
			break;
	}
	*next = one_in(3) ? (uint8_t)PROTOCOL_ICMP6 : protocol();
	len = build_transport(p + at, *next, payload, which, may_nest);
	if (*next == PROTOCOL_ICMP6)
		finish_icmp(p + at, len, p + 8);
	put16(p + 4, at - 40 + len);
	return at + len;
}

static void mutate(uint8_t *p, uint32_t *len)
{
	switch (below(4)) {
	case 0:
		*len = below(*len + 1);
		break;
	case 1:
		for (uint32_t i = 1 + below(4); i > 0 && *len > 0; i--)
			p[below(*len)] = (uint8_t)random32();
		break;
	case 2: /* headers are where the decisions are */
		for (uint32_t i = 1 + below(3); i > 0 && *len > 0; i--)
			p[below(*len < 64 ? *len : 64)] ^= (uint8_t)(1u << below(8));
		break;
	default:
		if (*len >= 40) {
			uint32_t at = below(36);

			put16(p + at, one_in(2) ? 0 : one_in(2) ? 0xffff : get16(p + at) + below(17) - 8);
		}
	}
	if (*len >= 60 && p[0] >> 4 == 4 && !one_in(8))
		finish_ipv4(p);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
	uint8_t *p = malloc(2 * (SIIT_MAX_PACKET + 4096));

	state = 0x9e3779b97f4a7c15u ^ (argc > 2 ? strtoul(argv[2], NULL, 10) : 1);
	for (unsigned long i = 0; i < count; i++) {
		unsigned which = below(4), offload = one_in(6) ? below(6) : 0;
		uint32_t payload = one_in(200) ? below(65000) : one_in(8) ? below(3000) : below(120), len;

		if (one_in(40)) {
			len = below(200);
			for (uint32_t j = 0; j < len; j++)
				p[j] = (uint8_t)random32();
			if (len > 0 && one_in(2))
				p[0] = one_in(2) ? 0x45 : 0x60;
		} else {
			len = one_in(2) ? build4(p, which, payload, true) : build6(p, which, payload, true, false);
			if (len > SIIT_MAX_PACKET)
				len = SIIT_MAX_PACKET;
			if (one_in(3))
				mutate(p, &len);
		}
		run(p, len, which, offload, (uint16_t)(one_in(4) ? random32() : 1000 + below(500)));
		if (one_in(4) && len > 0)
			reassemble(p, len, which);
	}
	for (int i = 0; i < SIIT_VERDICT_COUNT; i++)
		printf("%s %lu\n", siit_verdict_name(i), seen[i]);
	printf("reassembled %lu\n", reassembled);
	for (int i = 0; i < 4; i++)
		free((void *)(uintptr_t)map_of((unsigned)i));
	free(p);
	return 0;
}
#endif
