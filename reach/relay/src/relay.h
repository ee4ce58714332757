/* SPDX-License-Identifier: ISC
 * reach-relay: TCP and UDP from one address family to another, in user space, many ports in one process.
 *
 * One thread, one epoll, no lock. Files: config.c reads the lines, listen.c opens and exchanges listeners, tcp.c has
 * the connections and pump.c their bytes, proxy.c tells who calls, udp.c has the flows and datagrams.c moves what they
 * send, source.c counts who has how many, privileges.c gives root's rights away, main.c waits. Everything that an event can point to begins with
 * a struct watch. What ends is marked dead and freed after the batch of events, for a later event of the same batch
 * may point to it.
 */
#ifndef REACH_RELAY_H
#define REACH_RELAY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define MAX_NETWORKS 64         /* "from=" of one listener */
#define CONNECT_MS 10000        /* a target that does not answer for so long is given up */
#define UNANSWERED_MS 30000     /* a UDP flow whose target never said anything */
#define BATCH 64                /* datagrams in one system call, connections accepted at a time */
#define DATAGRAM_BYTES 65536
#define PROXY_BYTES 128         /* the longest header of the PROXY protocol, and more */

enum protocol { TCP, UDP };
enum kind { ACCEPT, DATAGRAM, SIDE, FLOW, SIGNAL, STATUS };

struct watch {
	enum kind kind;
	int fd;
};

/* a doubly linked ring; the oldest comes first, and what is used moves to the end */
struct ring {
	struct ring *next, *previous;
};

struct timed {
	struct ring ring; /* first, so that a ring's member is a timed */
	int64_t used_ms;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct network {
	uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned bits;
};

/* One line of the configuration. Listeners and connections hold it; the last one frees it. */
struct rule {
	struct rule *next; /* all that are held */
	unsigned held;
	bool is_current; /* of the configuration in force */
	enum protocol protocol;
	union address listen; /* with the first port */
	uint16_t last_port;
	union address target; /* with the first port's */
	int64_t idle_ms;
	unsigned limit;
	unsigned proxy; /* PROXY protocol version, 0 for none */
	unsigned networks;
	struct network from[MAX_NETWORKS];
	struct ring active; /* its connections or flows, the longest idle first */
	struct ring once;   /* its flows whose caller has said nothing since the first answer: it may be invented */
};

struct listener {
	struct watch watch;
	struct listener *next, *neighbour; /* of all, and of those with its port's hash */
	struct listener *heir;             /* during a reload: who has its place from now on, if anybody */
	struct rule *rule;
	uint16_t port;
	bool needs_local; /* bound to all addresses: answers must come from the one that was asked */
};

struct source {
	struct source *next;
	uint8_t address[16];
	uint64_t of; /* the rule's lasting name */
	unsigned count;
};

struct counters {
	uint64_t accepted, refused_from, refused_limit, refused_full, connect_failed, idle_ended, reset;
	uint64_t flows, flows_evicted, datagrams_in, datagrams_out, datagrams_dropped, bytes_in, bytes_out;
};

struct relay {
	int epoll;
	int64_t now_ms;
	struct rule *rules;
	struct listener *listeners;
	unsigned connections, max_connections, flows, max_flows;
	uint64_t kept_bytes; /* read from one side and not yet taken by the other */
	bool accepts, drains;
	struct ring connecting, unanswered;
	struct counters count;
};

extern struct relay relay;

static inline void ring_init(struct ring *ring)
{
	ring->next = ring->previous = ring;
}

static inline bool ring_empty(const struct ring *ring)
{
	return ring->next == ring;
}

static inline void ring_remove(struct ring *member)
{
	member->next->previous = member->previous;
	member->previous->next = member->next;
	ring_init(member);
}

static inline void ring_append(struct ring *ring, struct ring *member)
{
	member->previous = ring->previous;
	member->next = ring;
	ring->previous->next = member;
	ring->previous = member;
}

/* It was used just now. */
static inline void touch(struct ring *ring, struct timed *timed)
{
	timed->used_ms = relay.now_ms;
	ring_remove(&timed->ring);
	ring_append(ring, &timed->ring);
}

/* Room again for who waits: not at every single place, for it costs a call for each listener. */
static inline unsigned full_enough(void)
{
	return relay.max_connections - relay.max_connections / 16 - 1;
}

static inline uint16_t port_of(const union address *address)
{
	return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

static inline void set_port(union address *address, uint16_t port)
{
	if (address->any.sa_family == AF_INET)
		address->v4.sin_port = htons(port);
	else
		address->v6.sin6_port = htons(port);
}

static inline socklen_t size_of(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

/* shared.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool watch_fd(struct watch *watch, uint32_t events);
void tcp_tune(int fd);

/* config.c: the rules in a file, linked; NULL and a message when something is wrong, and *ok says which. */
struct rule *config_read(const char *path, bool *ok);
void rule_hold(struct rule *rule);
void rule_release(struct rule *rule);
bool rule_admits(const struct rule *rule, const union address *source);
void map_address(const union address *address, uint8_t out[16]);
union address rule_target(const struct rule *rule, uint16_t port);

/* privileges.c */
void privileges_drop(void);

/* listen.c: all or nothing; the listeners in force change only when the whole file can be had. */
bool listeners_load(const char *path);
void listeners_close(void);
void listeners_pause(bool paused);

/* source.c: NULL when the source has its limit already. */
struct source *source_take(const struct rule *rule, const union address *address);
void source_give(struct source *source);
uint64_t hash(const void *bytes, size_t length);
void hash_seed(void);

/* proxy.c: the header for what `from` sent to `to`, in PROXY_BYTES; returns its length. */
size_t proxy_header(unsigned version, const union address *from, const union address *to, uint8_t *out);

/* tcp.c */
struct side;
void tcp_accept(struct listener *listener);
void tcp_event(struct side *side, uint32_t events);
bool tcp_run_on(void); /* who had more to do than its share; true while there is still somebody */
void tcp_expire(void);
void tcp_bury(void);

/* udp.c */
bool udp_init(unsigned max_flows);
void udp_receive(struct listener *listener);
void udp_answer(struct watch *flow);
void udp_rehome(void); /* all flows to the heirs of their listeners; without an heir they end */
void udp_expire(void);
void udp_bury(void);

#endif
