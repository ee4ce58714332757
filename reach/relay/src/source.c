/* SPDX-License-Identifier: ISC
 * Who has how many connections: a table of sources that have any. An IPv6 source is its /64, for a host has all of it.
 */
#include "relay.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 8192

static struct source *buckets[BUCKETS];
static uint64_t seed[2];

void hash_seed(void)
{
	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		seed[0] = (uint64_t)(uintptr_t)&seed ^ (uint64_t)relay.now_ms;
	seed[1] |= 1;
}

/* FNV's steps under a secret start and a secret last multiplier: an outsider cannot aim at one bucket. */
uint64_t hash(const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	uint64_t h = seed[0];

	while (length--)
		h = (h ^ *at++) * 0x100000001b3u;
	h = (h ^ h >> 32) * seed[1];
	return h ^ h >> 29;
}

static struct source **find(const uint8_t address[16], uint64_t of)
{
	struct source **at = &buckets[(hash(address, 16) ^ of) % BUCKETS];

	while (*at && ((*at)->of != of || memcmp((*at)->address, address, 16)))
		at = &(*at)->next;
	return at;
}

/* The same across a reload, in which the rule becomes another one. */
static uint64_t lasting_name(const struct rule *rule)
{
	uint8_t address[16];

	map_address(&rule->listen, address);
	return hash(address, 16) + rule->protocol * 65536u + port_of(&rule->listen);
}

struct source *source_take(const struct rule *rule, const union address *address)
{
	uint64_t of = lasting_name(rule);
	struct source **at, *source;
	uint8_t mapped[16];

	map_address(address, mapped);
	if (address->any.sa_family == AF_INET6)
		memset(mapped + 8, 0, 8);
	at = find(mapped, of);
	if ((source = *at)) {
		if (source->count >= rule->limit)
			return NULL;
	} else {
		if (!(source = calloc(1, sizeof(*source))))
			return NULL;
		memcpy(source->address, mapped, 16);
		source->of = of;
		*at = source;
	}
	source->count++;
	return source;
}

void source_give(struct source *source)
{
	if (--source->count)
		return;
	*find(source->address, source->of) = source->next;
	free(source);
}
