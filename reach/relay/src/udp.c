/* SPDX-License-Identifier: ISC
 * UDP: a flow for each caller and port, with a connected socket of its own towards the target, so that answers find
 * their caller. The table is bounded. When it is full, a flow whose target has never answered makes room, the oldest
 * first, then one whose caller has not spoken since: callers with invented addresses throw out each other, not those
 * who talk.
 */
#include "datagrams.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLOW_BUFFER_BYTES (1 << 20)
#define SILENT_MS 10000

struct flow {
	struct timed timed; /* first: a ring's member is a flow */
	struct watch watch;
	struct flow *next, *next_dead;
	struct listener *listener;
	struct rule *rule;
	struct source *source;
	union address caller;
	union address local; /* what the caller sent to, where we listen on all addresses */
	size_t max_segment, max_answer; /* of a datagram in a super-packet to the target, to the caller */
	enum { UNANSWERED, ANSWERED, TALKS } state;
	bool is_dead;
};

static struct flow **buckets, *dead;
static unsigned bucket_count, unanswered_count;

bool udp_init(unsigned max_flows)
{
	for (bucket_count = 1024; bucket_count < max_flows; bucket_count *= 2)
		;
	buckets = calloc(bucket_count, sizeof(*buckets));
	return buckets != NULL;
}

static struct flow **find(const struct listener *listener, const union address *caller)
{
	struct {
		uint8_t address[16];
		uint16_t ports[2];
	} key = { .ports = { listener->port, port_of(caller) } };
	struct flow **at;

	map_address(caller, key.address);
	at = &buckets[hash(&key, sizeof(key)) & (bucket_count - 1)];
	while (*at && ((*at)->listener != listener || memcmp(&(*at)->caller, caller, size_of(caller))))
		at = &(*at)->next;
	return at;
}

static void end(struct flow *flow)
{
	*find(flow->listener, &flow->caller) = flow->next;
	ring_remove(&flow->timed.ring);
	close(flow->watch.fd);
	source_give(flow->source);
	rule_release(flow->rule);
	unanswered_count -= flow->state == UNANSWERED;
	relay.flows--;
	flow->is_dead = true;
	flow->next_dead = dead;
	dead = flow;
}

void udp_bury(void)
{
	while (dead) {
		struct flow *next = dead->next_dead;

		free(dead);
		dead = next;
	}
}

static struct ring *ring_of(struct flow *flow)
{
	return flow->state == UNANSWERED ? &relay.unanswered : flow->state == ANSWERED ? &flow->rule->once : &flow->rule->active;
}

static int64_t silent_ms(const struct flow *flow)
{
	return relay.now_ms - flow->timed.used_ms;
}

static struct flow *first_of(struct ring *ring)
{
	return ring_empty(ring) ? NULL : (struct flow *)ring->next;
}

/*
 * Which flow has to go for a new one: of those without an answer, and of those whose caller has not spoken since, the
 * kind that is more than its half, for an answer may be under way. Of those that talk only one of the same rule goes
 * that has been silent for long.
 */
static struct flow *least_wanted(struct rule *rule)
{
	struct flow *unanswered = first_of(&relay.unanswered), *oldest = NULL, *talks = first_of(&rule->active);

	if (unanswered_count > relay.max_flows / 2)
		return unanswered;
	for (struct rule *each = relay.rules; each; each = each->next) {
		struct flow *first = first_of(&each->once);

		if (first && (!oldest || silent_ms(first) > silent_ms(oldest)))
			oldest = first;
	}
	if (oldest || unanswered)
		return oldest ? oldest : unanswered;
	return talks && silent_ms(talks) > SILENT_MS ? talks : NULL;
}

static bool make_room(struct rule *rule)
{
	struct flow *flow;

	if (relay.flows < relay.max_flows)
		return true;
	if (!(flow = least_wanted(rule)))
		return false;
	relay.count.flows_evicted++;
	end(flow);
	return true;
}

static int connect_to(const struct listener *listener)
{
	union address target = rule_target(listener->rule, listener->port);
	int size = FLOW_BUFFER_BYTES;
	int fd = socket(target.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (connect(fd, &target.any, size_of(&target))) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct flow *begin(struct listener *listener, const union address *caller, const union address *local)
{
	struct flow *flow, **at;
	struct source *source;

	if (!rule_admits(listener->rule, caller)) {
		relay.count.refused_from++;
		return NULL;
	}
	if (!(source = source_take(listener->rule, caller))) {
		relay.count.refused_limit++;
		return NULL;
	}
	if (!make_room(listener->rule)) {
		relay.count.refused_full++;
		source_give(source);
		return NULL;
	}
	if (!(flow = calloc(1, sizeof(*flow))) || (flow->watch.fd = connect_to(listener)) < 0) {
		relay.count.connect_failed++;
		source_give(source);
		free(flow);
		return NULL;
	}
	flow->watch.kind = FLOW;
	flow->listener = listener;
	flow->rule = listener->rule;
	flow->source = source;
	flow->caller = *caller;
	flow->local = *local;
	flow->max_segment = flow->max_answer = DATAGRAM_BYTES;
	rule_hold(flow->rule);
	ring_init(&flow->timed.ring);
	touch(&relay.unanswered, &flow->timed);
	unanswered_count++;
	at = find(listener, caller);
	*at = flow;
	relay.flows++;
	relay.count.flows++;
	watch_fd(&flow->watch, EPOLLIN);
	return flow;
}

/* A caller that speaks after an answer has had it, and is who it says. */
static void spoke(struct flow *flow)
{
	if (flow->state == ANSWERED)
		flow->state = TALKS;
	touch(ring_of(flow), &flow->timed);
}

void udp_receive(struct listener *listener)
{
	int got = receive(listener->watch.fd, true, listener->needs_local), first = 0;
	struct flow *flow = NULL;

	if (got <= 0)
		return; /* an ICMP error that somebody sent us; nobody is to blame */
	relay.count.datagrams_in += (uint64_t)got;
	for (int i = 0; i < got; i++) {
		union address local = { 0 };
		struct flow *its;

		if (listener->needs_local)
			local = asked(i);
		relay.count.bytes_in += length_of(i);
		pass_on(i);
		/* datagrams of one caller mostly come together, and leave together */
		if (flow && !memcmp(&flow->caller, &senders[i], size_of(&senders[i])))
			continue;
		if (flow)
			transmit(flow->watch.fd, first, i, &flow->max_segment);
		its = *find(listener, &senders[i]);
		flow = its ? its : begin(listener, &senders[i], &local);
		if (flow)
			spoke(flow);
		else
			relay.count.datagrams_dropped++;
		first = i;
	}
	if (flow)
		transmit(flow->watch.fd, first, got, &flow->max_segment);
}

void udp_answer(struct watch *watch)
{
	struct flow *flow = (struct flow *)((char *)watch - offsetof(struct flow, watch));
	int got;

	if (flow->is_dead)
		return;
	got = receive(flow->watch.fd, false, false);
	if (got <= 0)
		return; /* ECONNREFUSED: the target has nobody on that port, as yet */
	if (flow->state == UNANSWERED) {
		flow->state = ANSWERED;
		unanswered_count--;
	}
	touch(ring_of(flow), &flow->timed);
	relay.count.datagrams_out += (uint64_t)got;
	for (int i = 0; i < got; i++) {
		relay.count.bytes_out += length_of(i);
		pass_to(i, &flow->caller, &flow->local);
	}
	transmit(flow->listener->watch.fd, 0, got, &flow->max_answer);
}

static bool is_same_target(const struct listener *old, const struct listener *new)
{
	union address one = rule_target(old->rule, old->port), other = rule_target(new->rule, new->port);

	return one.any.sa_family == other.any.sa_family && !memcmp(&one, &other, size_of(&one));
}

static void give_to(struct flow *flow, struct listener *heir)
{
	struct rule *old = flow->rule;

	rule_hold(heir->rule);
	flow->rule = heir->rule;
	flow->listener = heir;
	if (flow->state != UNANSWERED) {
		ring_remove(&flow->timed.ring);
		ring_append(ring_of(flow), &flow->timed.ring);
	}
	rule_release(old);
}

static void rehome(struct flow *flow)
{
	struct listener *heir = flow->listener->heir;

	if (heir && is_same_target(flow->listener, heir))
		give_to(flow, heir);
	else
		end(flow);
}

/* Ring by ring, so that the longest idle stay the first. */
void udp_rehome(void)
{
	struct flow *flow, *next;

	for (flow = first_of(&relay.unanswered); flow && &flow->timed.ring != &relay.unanswered; flow = next) {
		next = (struct flow *)flow->timed.ring.next;
		rehome(flow);
	}
	for (struct rule *rule = relay.rules; rule; rule = rule->next) {
		if (rule->is_current || rule->protocol != UDP)
			continue;
		while ((flow = first_of(&rule->once)))
			rehome(flow);
		while ((flow = first_of(&rule->active)))
			rehome(flow);
	}
}

static void expire_ring(struct ring *ring, int64_t after_ms)
{
	while (!ring_empty(ring)) {
		struct flow *oldest = (struct flow *)ring->next;

		if (relay.now_ms - oldest->timed.used_ms < after_ms)
			return;
		end(oldest);
	}
}

void udp_expire(void)
{
	struct rule *next;

	expire_ring(&relay.unanswered, UNANSWERED_MS);
	for (struct rule *rule = relay.rules; rule; rule = next) {
		next = rule->next;
		if (rule->protocol != UDP)
			continue;
		rule_hold(rule);
		expire_ring(&rule->once, rule->idle_ms);
		expire_ring(&rule->active, rule->idle_ms);
		next = rule->next;
		rule_release(rule);
	}
}
