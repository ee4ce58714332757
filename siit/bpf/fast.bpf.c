// SPDX-License-Identifier: GPL-2.0-only
/* The fast path: what is simple of a translator's packets, translated in the kernel at the egress of its TUN device and
 * sent back into the same device's ingress, as if the pump had read and written it.
 *
 * Bit for bit what siit/src/translate.c makes, or nothing: a packet that is not simple is left as it came, and so
 * arrives at the pump. Simple is TCP, UDP with a checksum and ICMP echo, whole, without options or extension headers,
 * of addresses that the one pair of rules maps, and not larger than the MTU; super-packets (GSO) too. Numbers in
 * brackets are sections of RFC 7915.
 *
 * No helper that can fail comes after the first change but one, and behind that the change is taken back. No BTF, no
 * libbpf: make_insns.py takes the instructions out of the object file. Linux 5.15 and later.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "fast.h"

#define SEC(name) __attribute__((section(name), used))
#define NULL ((void *)0)
#define inlined static inline __attribute__((always_inline))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define wire16(x) __builtin_bswap16(x)
#define wire32(x) __builtin_bswap32(x)
#define without_first(word, bytes) ((word) >> 8 * (bytes))
#else
#define wire16(x) (x)
#define wire32(x) (x)
#define without_first(word, bytes) ((word) << 8 * (bytes))
#endif

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

/* the kernel's helpers by their numbers in linux/bpf.h */
static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const l4_csum_replace)(struct __sk_buff *, u32 offset, u64 from, u64 to, u64 flags) = (void *)11;
static long (*const redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const change_proto)(struct __sk_buff *, u16 protocol, u64 flags) = (void *)31;
static long (*const pull_data)(struct __sk_buff *, u32 len) = (void *)39;
static long (*const csum_update)(struct __sk_buff *, u32 sum) = (void *)40;
static long (*const adjust_room)(struct __sk_buff *, int len, u32 mode, u64 flags) = (void *)50;
static long (*const load_bytes)(const struct __sk_buff *, u32 offset, void *to, u32 len) = (void *)26;

/* what the loader knows as maps 0 and 1; nothing of these is in the object file but that they are two */
char rules SEC("maps"), counters SEC("maps");

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd, ICMP = 1, TCP = 6, UDP = 17, ICMP6 = 58 };
enum { ECHO_REPLY = 0, ECHO = 8, ECHO6 = 128, ECHO_REPLY6 = 129 };
enum { IPV4_HEADER = 20, IPV6_HEADER = 40, TCP_HEADER = 20, UDP_HEADER = 8, MAX_WITHOUT_DF = 1260 };
enum { NONE = 0x10000 };
enum verdict { TRANSLATED, LEFT, BROKEN };

/* What the transport needs so that its checksum holds under the other header. */
struct transport {
	u32 at;         /* offset of the checksum */
	u16 check;      /* as it came */
	u32 pseudo;     /* what it is if hardware is to complete it: the sum of its pseudo header; NONE in ICMP */
	u32 change;     /* of the sum that it covers */
	u32 len;        /* bytes of transport, header included */
	u32 segment;    /* bytes of it in each packet of a super-packet */
	u16 type;       /* of ICMP, with its code, as it came */
	u16 new_type;   /* as it leaves; equal unless it is ICMP */
	u8 protocol;    /* of the result */
};

inlined u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

/* What to add to a sum so that it loses this. */
inlined u16 minus(u64 sum)
{
	return (u16)~fold(sum);
}

/* The first bytes of the packet, `want` of them or all there are, where the program can read them; NULL if not `least`. */
inlined u8 *headers(struct __sk_buff *skb, u32 want, u32 least)
{
	u8 *data = (u8 *)(long)skb->data;

	if (data + want > (u8 *)(long)skb->data_end) {
		pull_data(skb, skb->len < want ? skb->len : want);
		data = (u8 *)(long)skb->data;
	}
	return data + least > (u8 *)(long)skb->data_end ? NULL : data;
}

/* 0/8, 127/8, 169.254/16, multicast and broadcast: is_illegal4 of siit/src/internal.h */
inlined int is_illegal(u32 wire)
{
	const u32 address = wire32(wire);

	return address >> 24 == 0 || address >> 24 == 127 || address >> 28 == 14 || address >> 16 == 0xa9fe ||
	       address == 0xffffffff;
}

inlined int is_mapped(const struct siit_fast_side *side, u32 v4)
{
	return (v4 & side->mask) == side->v4 && !is_illegal(v4);
}

/* Those have pairs of their own, which the pump knows: see pair_of in load.c. */
inlined int is_of_clients(const struct siit_fast_side *local, u32 v4)
{
	return local->mask && (v4 & local->mask) == local->v4;
}

inlined int has_prefix(const struct siit_fast_side *side, const u32 *v6)
{
	return v6[0] == side->v6[0] && v6[1] == side->v6[1] && v6[2] == side->v6[2] && is_mapped(side, v6[3]);
}

/* Whether a packet of UDP is the outside of no tunnel, and if a super-packet, one of datagrams. Nothing says so but the
 * refusal of a helper that is asked for what is impossible, an encapsulation with more bytes of Ethernet header than it
 * adds at all: before it sees that, it refuses to encapsulate twice, and super-packets of other kinds. */
inlined int is_plain_udp(struct __sk_buff *skb)
{
	const u64 impossible =
		BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L2(200ull) | BPF_F_ADJ_ROOM_FIXED_GSO;
	enum { INVALID = -22 };

	return adjust_room(skb, 4, BPF_ADJ_ROOM_MAC, impossible) == INVALID;
}

/* Read TCP and UDP. `addresses` is the sum of them in the pseudo header. */
inlined int read_transport(struct __sk_buff *skb, const u8 *data, u32 header, u64 addresses, struct transport *out)
{
	const u8 *from = data + header, *end = (u8 *)(long)skb->data_end;
	const u32 gso_size = skb->gso_size;
	u32 segment_header = UDP_HEADER;

	if (out->protocol == TCP) {
		if (from + TCP_HEADER > end)
			return 0;
		segment_header = (u32)(from[12] >> 4) * 4;
		out->at = header + 16;
		out->check = *(u16 *)(from + 16);
	} else {
		out->at = header + 6;
		out->check = *(u16 *)(from + 6);
		if (out->check == 0)
			return 0; /* [4.5] */
	}
	if (gso_size) {
		if (segment_header < 8 || segment_header > out->len)
			return 0;
		if (segment_header + gso_size < out->len)
			out->segment = segment_header + gso_size;
	}
	out->pseudo = fold(addresses + wire16(out->len) + wire16(out->protocol));
	/* of a tunnel's packet the partial sum may be the inner one's */
	return out->protocol == TCP || (!gso_size && out->check != out->pseudo) || is_plain_udp(skb);
}

/* Have the checksum follow. It is the sum of everything, or of the pseudo header alone if hardware, or the kernel in its
 * place, is to complete it (CHECKSUM_PARTIAL). The program cannot see which, but the helper changes only the former when
 * it is not told of a pseudo header. Returns LEFT with everything as it was: a partial sum of something further in, or
 * a chain of packets (fraglist GRO, of which each has its own sum) on a kernel that would cut it half translated. */
inlined int change_checksum(struct __sk_buff *skb, const struct siit_fast_rules *rules, struct transport *transport)
{
	const int is_super = skb->gso_size != 0;
	u16 *field;

	if (is_super && transport->check != transport->pseudo && !rules->has_fraglist)
		return LEFT;
	if (l4_csum_replace(skb, transport->at, 0, transport->change, 0))
		return LEFT;
	field = (u16 *)((u8 *)(long)skb->data + transport->at);
	if ((u8 *)(field + 1) > (u8 *)(long)skb->data_end)
		return BROKEN;
	if (*field == transport->check) { /* partial, or there is nothing to change */
		if (transport->check == transport->pseudo)
			*field = fold((u64)transport->check + transport->change);
		else if (transport->change % 0xffff != 0 || transport->check == 0)
			return LEFT;
	} else if (is_super && !rules->has_fraglist) {
		*field = transport->check;
		return LEFT;
	} else if (*field == 0 && transport->protocol == UDP) {
		*field = 0xffff; /* zero would say that there is none */
	}
	/* from now on what has become of it since: for CHECKSUM_COMPLETE */
	transport->change = (u32)*field + minus(transport->check) + transport->new_type + minus(transport->type);
	return TRANSLATED;
}

/* Change the header's length and the protocol, or take the change of the checksum back. */
inlined int change_version(struct __sk_buff *skb, u16 ethertype, const struct transport *transport)
{
	u16 *field;

	if (change_proto(skb, wire16(ethertype), 0) == 0)
		return TRANSLATED;
	field = (u16 *)((u8 *)(long)skb->data + transport->at);
	if ((u8 *)(field + 1) > (u8 *)(long)skb->data_end)
		return BROKEN;
	*field = transport->check;
	return LEFT;
}

/* [4.1], [4.2] */
inlined int translate_4to6(struct __sk_buff *skb, const struct siit_fast_rules *rules)
{
	struct transport transport = {0};
	u8 *data = headers(skb, IPV4_HEADER + TCP_HEADER, IPV4_HEADER + UDP_HEADER);
	u32 *words = (u32 *)data, *out;
	u32 src, dst, tos, hop_limit;
	u64 addresses, sum;
	int verdict;

	if (!data)
		return LEFT;
	src = words[3];
	dst = words[4];
	tos = data[1];
	hop_limit = data[8] - 1;
	transport.protocol = data[9];
	transport.len = wire16(*(u16 *)(data + 2)) - IPV4_HEADER;
	if (data[0] != 0x45 || *(u16 *)(data + 6) & wire16(0x3fff) || data[8] <= 1 ||
	    transport.len + IPV4_HEADER != skb->len || !is_mapped(&rules->local, src) || !is_mapped(&rules->remote, dst) ||
	    is_of_clients(&rules->local, dst))
		return LEFT;
	if (fold((u64)words[0] + words[1] + words[2] + src + dst) != 0xffff)
		return LEFT;
	transport.segment = transport.len;
	addresses = (u64)src + dst;
	if (transport.protocol == ICMP) {
		const u32 echo = data[20] == ECHO ? ECHO6 : ECHO_REPLY6;

		if ((data[20] != ECHO && data[20] != ECHO_REPLY) || skb->gso_size)
			return LEFT;
		transport.at = IPV4_HEADER + 2;
		transport.pseudo = NONE;
		transport.check = *(u16 *)(data + 22);
		transport.type = *(u16 *)(data + 20);
		transport.new_type = wire16(echo << 8 | data[21]);
		transport.protocol = ICMP6;
		transport.change = fold(addresses + rules->sum + wire16(transport.len) + wire16(ICMP6) +
					transport.new_type + minus(transport.type));
	} else if ((transport.protocol == TCP || transport.protocol == UDP) &&
		   read_transport(skb, data, IPV4_HEADER, addresses, &transport)) {
		transport.change = rules->sum;
	} else {
		return LEFT;
	}
	if (transport.segment + IPV6_HEADER > rules->mtu6)
		return LEFT;
	verdict = change_checksum(skb, rules, &transport);
	if (verdict == TRANSLATED)
		verdict = change_version(skb, ETHERTYPE_IPV6, &transport);
	if (verdict != TRANSLATED)
		return verdict;
	data = (u8 *)(long)skb->data;
	if (data + IPV6_HEADER + UDP_HEADER > (u8 *)(long)skb->data_end)
		return BROKEN;
	out = (u32 *)data;
	out[0] = wire32(0x60000000 | tos << 20);
	out[1] = wire32(transport.len << 16 | (u32)transport.protocol << 8 | hop_limit);
	out[2] = rules->local.v6[0];
	out[3] = rules->local.v6[1];
	out[4] = rules->local.v6[2];
	out[5] = src;
	out[6] = rules->remote.v6[0];
	out[7] = rules->remote.v6[1];
	out[8] = rules->remote.v6[2];
	out[9] = dst;
	if (transport.protocol == ICMP6)
		*(u16 *)(data + IPV6_HEADER) = transport.new_type;
	/* the header before summed to zero, and is in the kernel's sum of the packet, if it has one */
	sum = addresses + rules->sum + out[0] + out[1] + transport.change;
	csum_update(skb, fold(sum));
	return TRANSLATED;
}

/* siit/src/headers.c, identify: the same number for the same packet */
inlined int identify(struct __sk_buff *skb, u32 src, u32 dst, u32 len, u16 *identification)
{
	const u64 odd = 0x9e3779b97f4a7c15;
	const u32 second = len < 16 ? len - 8 : 8; /* where the second word begins: 8, or what makes it the last */
	u64 words[2], hash;

	if (load_bytes(skb, IPV4_HEADER, words, 8) || load_bytes(skb, IPV4_HEADER + second, words + 1, 8))
		return 0;
	if (second == 0)
		words[1] = 0;
	else if (second < 8)
		words[1] = without_first(words[1], 8 - second);
	hash = (((u64)src << 32 | dst) ^ len) * odd;
	hash = (hash ^ hash >> 32 ^ words[0]) * odd;
	hash = (hash ^ hash >> 32 ^ words[1]) * odd;
	*identification = (u16)(hash >> 48);
	return 1;
}

/* [5.1], [5.2] */
inlined int translate_6to4(struct __sk_buff *skb, const struct siit_fast_rules *rules)
{
	struct transport transport = {0};
	u8 *data = headers(skb, IPV6_HEADER + TCP_HEADER, IPV6_HEADER + UDP_HEADER);
	u32 *words = (u32 *)data, *out;
	u32 src, dst, first, ttl, gone;
	u16 identification = 0, flags = 0x4000;
	u64 addresses;
	int verdict;

	if (!data)
		return LEFT;
	first = wire32(words[0]);
	src = words[5];
	dst = words[9];
	ttl = data[7] - 1;
	transport.protocol = data[6];
	transport.len = wire16(*(u16 *)(data + 4));
	if (first >> 28 != 6 || data[7] <= 1 || transport.len + IPV6_HEADER != skb->len ||
	    transport.len > 65535 - IPV4_HEADER || !has_prefix(&rules->remote, words + 2) ||
	    !has_prefix(&rules->local, words + 6))
		return LEFT;
	transport.segment = transport.len;
	addresses = (u64)src + dst + rules->sum;
	gone = fold((u64)words[5] + words[6] + words[7] + words[8] + words[9]);
	if (transport.protocol == ICMP6) {
		const u32 echo = data[40] == ECHO6 ? ECHO : ECHO_REPLY;

		if ((data[40] != ECHO6 && data[40] != ECHO_REPLY6) || skb->gso_size)
			return LEFT;
		transport.at = IPV6_HEADER + 2;
		transport.pseudo = NONE;
		transport.check = *(u16 *)(data + 42);
		transport.type = *(u16 *)(data + 40);
		transport.new_type = wire16(echo << 8 | data[41]);
		transport.change = fold((u64)minus(addresses + wire16(transport.len) + wire16(ICMP6)) +
					transport.new_type + minus(transport.type));
		/* a reply of nothing but zeros has another checksum; to know it all of it had to be read */
		if (echo == ECHO_REPLY && fold((u64)minus(transport.check) + transport.change) == 0xffff)
			return LEFT;
		transport.protocol = ICMP;
	} else if ((transport.protocol == TCP || transport.protocol == UDP) &&
		   read_transport(skb, data, IPV6_HEADER, addresses, &transport)) {
		transport.change = minus(rules->sum);
	} else {
		return LEFT;
	}
	verdict = change_checksum(skb, rules, &transport);
	if (verdict == TRANSLATED)
		verdict = change_version(skb, ETHERTYPE_IPV4, &transport);
	if (verdict != TRANSLATED)
		return verdict;
	data = (u8 *)(long)skb->data;
	if (data + IPV4_HEADER + UDP_HEADER > (u8 *)(long)skb->data_end)
		return BROKEN;
	if (transport.protocol == ICMP)
		*(u16 *)(data + IPV4_HEADER) = transport.new_type;
	if (transport.segment + IPV4_HEADER <= MAX_WITHOUT_DF) {
		flags = 0;
		if (!identify(skb, src, dst, transport.len, &identification))
			return BROKEN;
		data = (u8 *)(long)skb->data;
		if (data + IPV4_HEADER + UDP_HEADER > (u8 *)(long)skb->data_end)
			return BROKEN;
	}
	out = (u32 *)data;
	out[0] = wire32(0x45000000 | (first >> 20 & 0xff) << 16 | (transport.len + IPV4_HEADER));
	out[1] = wire32((u32)identification << 16 | flags);
	out[2] = wire32(ttl << 24 | (u32)transport.protocol << 16);
	out[3] = src;
	out[4] = dst;
	*(u16 *)(data + 10) = (u16)~fold((u64)out[0] + out[1] + out[2] + src + dst);
	/* of the header before, the kernel took the half from its sum that it took away; the new one sums to zero */
	csum_update(skb, fold((u64)minus(gone) + transport.change));
	return TRANSLATED;
}

SEC("classifier") int siit_fast(struct __sk_buff *skb)
{
	const u32 zero = 0, len = skb->len;
	void *current = map_lookup_elem(&rules, &zero);
	struct siit_fast_counters *count = map_lookup_elem(&counters, &zero);
	const struct siit_fast_rules *pair;
	int verdict = LEFT;

	if (!current || !count)
		return TC_ACT_OK;
	pair = map_lookup_elem(current, &zero);
	if (!pair || !pair->mtu6)
		return TC_ACT_OK;
	if (skb->protocol == wire16(ETHERTYPE_IPV4)) {
		verdict = translate_4to6(skb, pair);
		if (verdict == TRANSLATED) {
			count->packets4++;
			count->bytes4 += len;
		}
	} else if (skb->protocol == wire16(ETHERTYPE_IPV6)) {
		verdict = translate_6to4(skb, pair);
		if (verdict == TRANSLATED) {
			count->packets6++;
			count->bytes6 += len;
		}
	}
	if (verdict != TRANSLATED)
		return verdict == LEFT ? TC_ACT_OK : TC_ACT_SHOT;
	/* what a packet loses that is read from a TUN device and written to it: rules match marks */
	skb->mark = 0;
	skb->tstamp = 0;
	return redirect(skb->ifindex, BPF_F_INGRESS);
}

char licence[] SEC("license") = "GPL";
