// SPDX-License-Identifier: ISC
#include "reassembly.h"

#include <stdlib.h>

#include "internal.h"

#define BUFFER (SIIT_HEADROOM + SIIT_MAX_PACKET)

/* One fragment, of either version. */
struct fragment {
	uint8_t key[sizeof ((struct siit_reassembly_slot *)NULL)->key];
	const uint8_t *header, *transport;
	uint32_t len;    /* bytes of transport */
	uint32_t offset; /* bytes */
	bool has_more, is_ipv6;
	uint8_t protocol;
};

/* False when it is no fragment, cannot be read, or has what a whole datagram could not keep: IPv4 options, IPv6
 * extension headers. */
static bool read_fragment(struct fragment *out, const uint8_t *data, uint32_t len)
{
	struct ipv4 in4;
	struct ipv6 in6;

	*out = (struct fragment){.header = data, .is_ipv6 = data[0] >> 4 == 6};
	if (out->is_ipv6) {
		if (len < IPV6_HEADER || data[6] != HEADER_FRAGMENT || ipv6_read(&in6, data, len, false) ||
		    !ipv6_is_fragment(&in6) || in6.header_len != IPV6_HEADER + FRAGMENT_HEADER)
			return false;
		memcpy(out->key, data + 8, 32);
		put32(out->key + 32, in6.identification);
		out->transport = data + in6.header_len;
		out->len = in6.transport_len;
		out->offset = in6.fragment & 0xfff8u;
		out->has_more = in6.fragment & IPV6_MF;
		out->protocol = in6.protocol;
	} else {
		if (len < IPV4_HEADER || !(get16(data + 6) & (IPV4_MF | IPV4_OFFSET)) || data[0] != 0x45 ||
		    ipv4_read(&in4, data, len, false))
			return false;
		memcpy(out->key, data + 12, 8);
		memcpy(out->key + 8, data + 4, 2);
		out->transport = data + IPV4_HEADER;
		out->len = in4.transport_len;
		out->offset = (in4.flags & IPV4_OFFSET) * 8u;
		out->has_more = in4.flags & IPV4_MF;
		out->protocol = in4.protocol;
	}
	out->key[36] = out->protocol;
	out->key[37] = out->is_ipv6;
	return true;
}

/* Whether a first fragment begins a datagram that has to be whole. */
static bool is_wanted(const struct fragment *first)
{
	if (first->protocol == (first->is_ipv6 ? PROTOCOL_ICMP6 : PROTOCOL_ICMP))
		return true;
	return !first->is_ipv6 && first->protocol == PROTOCOL_UDP && first->len >= 8 && load16(first->transport + 6) == 0;
}

static struct siit_reassembly_slot *find(struct siit_reassembly *reassembly, const struct fragment *fragment)
{
	for (unsigned i = 0; i < SIIT_REASSEMBLY_SLOTS; i++)
		if (reassembly->slots[i].header && !memcmp(reassembly->slots[i].key, fragment->key, sizeof fragment->key))
			return &reassembly->slots[i];
	return NULL;
}

/* How many datagrams of a slot's source are under way. */
static unsigned count_of_source(const struct siit_reassembly *reassembly, const struct siit_reassembly_slot *slot)
{
	const size_t len = slot->key[37] ? 16 : 4;
	unsigned count = 0;

	for (unsigned i = 0; i < SIIT_REASSEMBLY_SLOTS; i++)
		count += reassembly->slots[i].header && reassembly->slots[i].key[37] == slot->key[37] &&
			 !memcmp(reassembly->slots[i].key, slot->key, len);
	return count;
}

/* A free slot, or the oldest one of the source that has the most: so a source that begins many datagrams and completes
 * none harms only itself. NULL: no memory. */
static struct siit_reassembly_slot *make_room(struct siit_reassembly *reassembly)
{
	struct siit_reassembly_slot *slot = NULL;
	unsigned most = 0;

	for (unsigned i = 0; i < SIIT_REASSEMBLY_SLOTS; i++) {
		struct siit_reassembly_slot *each = &reassembly->slots[i];
		unsigned count = each->header ? count_of_source(reassembly, each) : SIIT_REASSEMBLY_SLOTS + 1;

		if (!slot || count > most || (count == most && each->header && each->since_ms < slot->since_ms)) {
			slot = each;
			most = count;
		}
	}
	if (!slot->buffer)
		slot->buffer = malloc(BUFFER);
	return slot->buffer ? slot : NULL;
}

/* The headers of the whole datagram, whose lengths come at its end. In IPv6 a fragment header stays (RFC 6946): it says
 * that the sender's packet may be cut again. */
static void begin(struct siit_reassembly_slot *slot, const struct fragment *first, uint64_t now_ms)
{
	uint8_t *header = slot->buffer + SIIT_HEADROOM;

	memcpy(slot->key, first->key, sizeof slot->key);
	slot->since_ms = now_ms;
	slot->filled = 0;
	slot->header = first->is_ipv6 ? IPV6_HEADER + FRAGMENT_HEADER : IPV4_HEADER;
	memcpy(header, first->header, slot->header);
	put16(header + (first->is_ipv6 ? IPV6_HEADER + 2 : 6), 0);
}

static void finish(struct siit_reassembly_slot *slot, struct siit_packet *packet)
{
	uint8_t *header = slot->buffer + SIIT_HEADROOM;
	const uint32_t len = slot->header + slot->filled;

	if (header[0] >> 4 == 6) {
		put16(header + 4, len - IPV6_HEADER);
	} else {
		put16(header + 2, len);
		put16(header + 10, 0);
		store16(header + 10, (uint16_t)~sum_fold(sum_20(0, header)));
	}
	slot->header = 0;
	*packet = (struct siit_packet){.data = header, .len = len};
}

enum siit_reassembly_result siit_reassembly_add(struct siit_reassembly *reassembly, const uint8_t *data,
						uint32_t len, uint64_t now_ms, struct siit_packet *packet)
{
	struct fragment fragment;
	struct siit_reassembly_slot *slot;

	if (len == 0 || !read_fragment(&fragment, data, len))
		return SIIT_REASSEMBLY_NOT;
	slot = find(reassembly, &fragment);
	if (fragment.offset == 0) {
		if (!is_wanted(&fragment) || (!slot && !(slot = make_room(reassembly))))
			return SIIT_REASSEMBLY_NOT;
		begin(slot, &fragment, now_ms);
	} else if (!slot) {
		return SIIT_REASSEMBLY_NOT;
	}
	/* all but the last are a multiple of eight bytes, so that the next one can continue */
	if (fragment.offset != slot->filled || now_ms - slot->since_ms > SIIT_REASSEMBLY_MS ||
	    (fragment.has_more && fragment.len % 8 != 0) || slot->header + slot->filled + fragment.len > 65535) {
		slot->header = 0;
		return SIIT_REASSEMBLY_NOT;
	}
	memcpy(slot->buffer + SIIT_HEADROOM + slot->header + slot->filled, fragment.transport, fragment.len);
	slot->filled += fragment.len;
	if (fragment.has_more)
		return SIIT_REASSEMBLY_INCOMPLETE;
	finish(slot, packet);
	return SIIT_REASSEMBLY_COMPLETE;
}

void siit_reassembly_free(struct siit_reassembly *reassembly)
{
	for (unsigned i = 0; i < SIIT_REASSEMBLY_SLOTS; i++)
		free(reassembly->slots[i].buffer);
}
