/* SPDX-License-Identifier: ISC */
/* The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * Sums are of 16-bit words as they lie in memory, so nothing is swapped: a checksum is read and written with
 * load16 and store16, and a number that enters a sum goes through wire16. A sum of up to 2^32 words of 32 bits
 * fits the 64-bit accumulator, so nothing here overflows.
 */
#ifndef SIIT_CHECKSUM_H
#define SIIT_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

static inline uint16_t load16(const uint8_t *p)
{
	uint16_t word;

	memcpy(&word, p, sizeof word);
	return word;
}

static inline void store16(uint8_t *p, uint16_t word)
{
	memcpy(p, &word, sizeof word);
}

static inline uint16_t wire16(uint32_t value)
{
	uint8_t bytes[2];

	put16(bytes, value);
	return load16(bytes);
}

static inline uint64_t sum_bytes(uint64_t sum, const uint8_t *p, size_t len)
{
	uint32_t word;

	for (; len >= 4; p += 4, len -= 4) {
		memcpy(&word, p, sizeof word);
		sum += word;
	}
	word = 0;
	memcpy(&word, p, len); /* the tail as if zeros followed it */
	return sum + word;
}

/* Addresses and headers: fixed sizes, so that the compiler needs no loop. */
static inline uint64_t sum_8(uint64_t sum, const uint8_t *p)
{
	uint32_t words[2];

	memcpy(words, p, sizeof words);
	return sum + words[0] + words[1];
}

static inline uint64_t sum_16(uint64_t sum, const uint8_t *p)
{
	return sum_8(sum_8(sum, p), p + 8);
}

static inline uint64_t sum_32(uint64_t sum, const uint8_t *p)
{
	return sum_16(sum_16(sum, p), p + 16);
}

static inline uint64_t sum_20(uint64_t sum, const uint8_t *p)
{
	uint32_t word;

	memcpy(&word, p + 16, sizeof word);
	return sum_16(sum, p) + word;
}

static inline uint16_t sum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* What to add to a sum so that it loses `old` and gains `new`, sums themselves of less than 2^39. The big number is
 * a multiple of 0xffff, which is zero to these sums. */
static inline uint64_t sum_delta(uint64_t old, uint64_t new)
{
	return new + ((uint64_t)0xffff << 24) - old;
}

/* A checksum field after the sum it covers changed by delta. */
static inline uint16_t checksum_adjust(uint16_t checksum, uint64_t delta)
{
	return (uint16_t)~sum_fold((uint16_t)~checksum + delta);
}

#endif
