// SPDX-License-Identifier: ISC
/* Which rule maps an address, and to what: RFC 6052, the one-to-one pairs of RFC 7757, longest match.
 *
 * RFC 6052 section 3.1 forbids non-global IPv4 addresses under 64:ff9b::/96. That is not enforced here: the
 * prefix comes from a rule, and whoever writes a rule for private addresses under it means it.
 */
#include "internal.h"

static const struct siit_rule *rule_of(const struct siit_map *map, enum side side, uint32_t pair)
{
	return side == SIDE_LOCAL ? &map->pairs[pair].local : &map->pairs[pair].remote;
}

static bool is_eam(const struct siit_rule *rule)
{
	return rule->style == SIIT_NONE && rule->v4_len == 32 && rule->v6_len == 128;
}

/* RFC 6052 section 2.2; a rule with another length maps nothing. */
static bool is_rfc6052(const struct siit_rule *rule)
{
	uint8_t len = rule->v6_len;

	return rule->style == SIIT_RFC6052 && (len == 96 || (len >= 32 && len <= 64 && len % 8 == 0));
}

/* The four bytes follow the prefix, around bits 64 to 71, which are zero: RFC 6052 section 2.2. */
static void embed(const struct siit_rule *rule, const uint8_t v4[4], uint8_t v6[16])
{
	uint32_t at = rule->v6_len / 8u;

	if (at == 12) {
		memcpy(v6, rule->v6, 12);
		memcpy(v6 + 12, v4, 4);
		return;
	}
	memset(v6, 0, 16);
	memcpy(v6, rule->v6, at);
	for (int i = 0; i < 4; i++) {
		at += at == 8;
		v6[at++] = v4[i];
	}
}

/* Bits 64 to 71 and the suffix are ignored: RFC 6052 section 2.3. */
static void extract(const struct siit_rule *rule, const uint8_t v6[16], uint8_t v4[4])
{
	uint32_t at = rule->v6_len / 8u;

	if (at == 12) {
		memcpy(v4, v6 + 12, 4);
		return;
	}
	for (int i = 0; i < 4; i++) {
		at += at == 8;
		v4[i] = v6[at++];
	}
}

/* Of 32 bits shifted out of 64, so that no prefix length is a special case. */
static bool has_address4(const struct siit_rule *rule, uint32_t v4)
{
	return rule->v4_len <= 32 && (uint64_t)(v4 ^ get32(rule->v4)) >> (32 - rule->v4_len) == 0;
}

int map_4to6(const struct siit_map *map, enum side side, const uint8_t v4[4], int prefer, bool one_to_one,
	     uint8_t v6[16])
{
	uint32_t address = get32(v4);
	int best = -1, best_len = -1;

	for (uint32_t i = 0; i < map->npairs; i++) {
		const struct siit_rule *rule = rule_of(map, side, i);

		if (!has_address4(rule, address) || !(is_rfc6052(rule) || (one_to_one && is_eam(rule))))
			continue;
		if (rule->v4_len > best_len || (rule->v4_len == best_len && (int)i == prefer)) {
			best = (int)i;
			best_len = rule->v4_len;
		}
	}
	if (best < 0)
		return best;
	const struct siit_rule *rule = rule_of(map, side, (uint32_t)best);
	if (rule->style == SIIT_RFC6052)
		embed(rule, v4, v6);
	else
		memcpy(v6, rule->v6, 16);
	return best;
}

static bool has_prefix6(const struct siit_rule *rule, const uint8_t v6[16])
{
	if (rule->v6_len == 96) /* nearly always: a size that the compiler knows */
		return memcmp(v6, rule->v6, 12) == 0;
	return memcmp(v6, rule->v6, rule->v6_len / 8u) == 0;
}

int map_6to4(const struct siit_map *map, enum side side, const uint8_t v6[16], int prefer, uint8_t v4[4])
{
	int best = -1, best_len = -1;

	for (uint32_t i = 0; i < map->npairs; i++) {
		const struct siit_rule *rule = rule_of(map, side, i);
		uint8_t found[4];

		if (rule->v6_len < best_len || (rule->v6_len == best_len && (int)i != prefer))
			continue;
		if (is_rfc6052(rule)) {
			if (!has_prefix6(rule, v6))
				continue;
			extract(rule, v6, found);
			if (!has_address4(rule, get32(found)))
				continue;
		} else {
			if (!is_eam(rule) || memcmp(v6, rule->v6, 16) != 0)
				continue;
			memcpy(found, rule->v4, 4);
		}
		memcpy(v4, found, 4);
		best = (int)i;
		best_len = rule->v6_len;
	}
	return best;
}

bool is_one_to_one(const struct siit_map *map, enum side side, int pair)
{
	return rule_of(map, side, (uint32_t)pair)->style == SIIT_NONE;
}

bool has_one_to_one(const struct siit_map *map, enum side side, const uint8_t v4[4])
{
	for (uint32_t i = 0; i < map->npairs; i++) {
		const struct siit_rule *rule = rule_of(map, side, i);

		if (is_eam(rule) && memcmp(rule->v4, v4, 4) == 0)
			return true;
	}
	return false;
}

/* icmp_v4 under the prefix of a pair's local rule, of any local rule, of any remote rule: the first there is. */
bool own_address6(const struct siit_map *map, int pair, uint8_t v6[16])
{
	if (pair >= 0 && is_rfc6052(&map->pairs[pair].local)) {
		embed(&map->pairs[pair].local, map->icmp_v4, v6);
		return true;
	}
	for (int side = SIDE_LOCAL; side <= SIDE_REMOTE; side++)
		for (uint32_t i = 0; i < map->npairs; i++) {
			const struct siit_rule *rule = rule_of(map, (enum side)side, i);

			if (is_rfc6052(rule)) {
				embed(rule, map->icmp_v4, v6);
				return true;
			}
		}
	return false;
}
