/* SPDX-License-Identifier: ISC
 * TCP: two sockets for a connection, and what one sends the other gets.
 *
 * Events are edge-triggered and only set flags; pump() moves bytes while it can. Bytes that the other side does not
 * take are kept (at most one read's worth for each direction), and nothing more is read until they are gone, so that a
 * slow reader slows its sender down and costs little. An end of one direction is passed on as one (half-close), a
 * reset as a reset.
 */
#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (256 << 10)
#define SLOW_BYTES (32 << 10)   /* for a side that has not taken all before */
#define SHORT_BYTES (4 << 10)   /* for all, when much is kept */
#define MUCH_BYTES (64 << 20)
#define ROUNDS 8                /* reads in a row, then it is the others' turn */
#define PROXY_BYTES 128
#define FULL_DIVISOR 60         /* of the time that a connection may be idle, while all places are taken */

enum { CALLER, TARGET };

struct side {
	struct watch watch; /* first: an event points to it */
	struct connection *connection;
	uint8_t *kept; /* for this side, from the other */
	uint32_t kept_from, kept_to;
	bool readable, writable, hung_up, has_ended, is_shut, is_slow;
};

struct connection {
	struct timed timed; /* first: a ring's member is a connection */
	struct side sides[2];
	struct rule *rule;
	struct source *source;
	struct connection *next; /* of the dead, or of those with more to do */
	bool is_connected, is_dead, is_waiting;
};

static uint8_t buffer[READ_BYTES];
static struct connection *dead, *unfinished;

static struct ring *ring_of(struct connection *connection)
{
	return connection->is_connected ? &connection->rule->active : &relay.connecting;
}

static void drop_kept(struct side *side)
{
	relay.kept_bytes -= side->kept_to - side->kept_from;
	free(side->kept);
	side->kept = NULL;
	side->kept_from = side->kept_to = 0;
}

/* Close both sides, with a reset to whoever is still there when asked to; free later. */
static void end(struct connection *connection, bool resets)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (connection->is_dead)
		return;
	connection->is_dead = true;
	for (int i = 0; i < 2; i++) {
		struct side *side = &connection->sides[i];

		if (resets)
			setsockopt(side->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(side->watch.fd);
		drop_kept(side);
	}
	ring_remove(&connection->timed.ring);
	source_give(connection->source);
	rule_release(connection->rule);
	relay.connections--;
	if (!connection->is_waiting) {
		connection->next = dead;
		dead = connection;
	}
	if (!relay.drains)
		listeners_pause(false);
}

void tcp_bury(void)
{
	while (dead) {
		struct connection *next = dead->next;

		free(dead);
		dead = next;
	}
}

static bool keep(struct side *to, const uint8_t *bytes, size_t length)
{
	if (!length)
		return true;
	if (!(to->kept = malloc(length)))
		return false;
	memcpy(to->kept, bytes, length);
	to->kept_from = 0;
	to->kept_to = (uint32_t)length;
	relay.kept_bytes += length;
	return true;
}

/* Send what is kept. False: an error. */
static bool send_kept(struct side *to)
{
	ssize_t sent = send(to->watch.fd, to->kept + to->kept_from, to->kept_to - to->kept_from, MSG_NOSIGNAL);

	if (sent < 0) {
		to->writable = false;
		return errno == EAGAIN || errno == EINTR;
	}
	to->kept_from += (uint32_t)sent;
	relay.kept_bytes -= (uint64_t)sent;
	if (to->kept_from == to->kept_to)
		drop_kept(to);
	else
		to->writable = false;
	return true;
}

static bool send_new(struct side *to, const uint8_t *bytes, size_t length)
{
	ssize_t sent = to->writable ? send(to->watch.fd, bytes, length, MSG_NOSIGNAL) : 0;

	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return false;
		sent = 0;
	}
	if ((size_t)sent == length)
		return true;
	to->writable = false;
	to->is_slow = true;
	return keep(to, bytes + sent, length - (size_t)sent);
}

static size_t read_size(const struct side *to)
{
	if (relay.kept_bytes > MUCH_BYTES)
		return SHORT_BYTES;
	return to->is_slow ? SLOW_BYTES : READ_BYTES;
}

/* Read once and pass it on; returns false on an error of either side. */
static bool move(struct side *from, struct side *to)
{
	size_t size = read_size(to);
	ssize_t got = recv(from->watch.fd, buffer, size, 0);

	if (got < 0) {
		from->readable = false;
		return errno == EAGAIN || errno == EINTR;
	}
	if (!got) {
		from->has_ended = true;
		return true;
	}
	if ((size_t)got < size && !from->hung_up)
		from->readable = false; /* it is empty; the next byte is an event of its own */
	*(from == &from->connection->sides[CALLER] ? &relay.count.bytes_in : &relay.count.bytes_out) += (uint64_t)got;
	return send_new(to, buffer, (size_t)got);
}

enum outcome { WAITS, HAS_MORE, FAILED };

static enum outcome pump_way(struct side *from, struct side *to)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (to->kept) {
			if (!to->writable)
				return WAITS;
			if (!send_kept(to))
				return FAILED;
			continue;
		}
		if (from->has_ended) {
			if (!to->is_shut && !from->is_shut) /* else both ways are over, and close() says so */
				shutdown(to->watch.fd, SHUT_WR);
			to->is_shut = true;
			return WAITS;
		}
		if (!from->readable || !to->writable)
			return WAITS;
		if (!move(from, to))
			return FAILED;
	}
	return HAS_MORE;
}

static void pump(struct connection *connection)
{
	struct side *caller = &connection->sides[CALLER], *target = &connection->sides[TARGET];
	enum outcome in = pump_way(caller, target), out = in == FAILED ? FAILED : pump_way(target, caller);

	if (in == FAILED || out == FAILED) {
		relay.count.reset++;
		end(connection, true);
	} else if (caller->is_shut && target->is_shut) {
		end(connection, false);
	} else {
		touch(ring_of(connection), &connection->timed);
		if ((in == HAS_MORE || out == HAS_MORE) && !connection->is_waiting) {
			connection->is_waiting = true;
			connection->next = unfinished;
			unfinished = connection;
		}
	}
}

bool tcp_run_on(void)
{
	struct connection *list = unfinished, *next;

	for (unfinished = NULL; list; list = next) {
		next = list->next;
		list->is_waiting = false;
		if (list->is_dead) {
			list->next = dead;
			dead = list;
		} else {
			pump(list);
		}
	}
	return unfinished != NULL;
}

/* The PROXY protocol's header (versions 1 and 2, haproxy's proxy-protocol.txt); returns its length. */
static size_t proxy_header(unsigned version, const union address *from, const union address *to, uint8_t *out)
{
	static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
	bool is4 = from->any.sa_family == AF_INET;
	const void *source = is4 ? (const void *)&from->v4.sin_addr : (const void *)&from->v6.sin6_addr;
	const void *target = is4 ? (const void *)&to->v4.sin_addr : (const void *)&to->v6.sin6_addr;
	char first[INET6_ADDRSTRLEN], second[INET6_ADDRSTRLEN];
	uint16_t ports[2] = { htons(port_of(from)), htons(port_of(to)) };
	size_t size = is4 ? 4 : 16;

	if (version == 1) {
		inet_ntop(from->any.sa_family, source, first, sizeof(first));
		inet_ntop(from->any.sa_family, target, second, sizeof(second));
		return (size_t)snprintf((char *)out, PROXY_BYTES, "PROXY %s %s %s %u %u\r\n", is4 ? "TCP4" : "TCP6", first,
					second, port_of(from), port_of(to));
	}
	memcpy(out, signature, 12);
	out[12] = 0x21; /* version 2, PROXY */
	out[13] = is4 ? 0x11 : 0x21; /* TCP over IPv4, IPv6 */
	out[14] = 0;
	out[15] = (uint8_t)(2 * size + 4);
	memcpy(out + 16, source, size);
	memcpy(out + 16 + size, target, size);
	memcpy(out + 16 + 2 * size, ports, 4);
	return 16 + 2 * size + 4;
}

void tcp_tune(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int connect_to(const struct rule *rule, uint16_t port)
{
	union address target = rule_target(rule, port);
	int fd = socket(target.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	tcp_tune(fd);
	if (connect(fd, &target.any, size_of(&target)) && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool begin(struct connection *connection, const union address *from)
{
	union address asked = { 0 };
	socklen_t size = sizeof(asked);
	uint8_t header[PROXY_BYTES];
	struct rule *rule = connection->rule;
	int fd = connection->sides[CALLER].watch.fd;

	if (rule->proxy) {
		if (getsockname(fd, &asked.any, &size) ||
		    !keep(&connection->sides[TARGET], header, proxy_header(rule->proxy, from, &asked, header)))
			return false;
	}
	for (int i = 0; i < 2; i++) {
		struct side *side = &connection->sides[i];

		side->watch.kind = SIDE;
		side->connection = connection;
		if (!watch_fd(&side->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET))
			return false;
	}
	return true;
}

/* A caller that was admitted. The descriptor is closed here when it comes to nothing. */
static void serve(struct listener *listener, int fd, const union address *from, struct source *source)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int other = connection ? connect_to(listener->rule, listener->port) : -1;

	if (other < 0) {
		struct linger now = { .l_onoff = 1, .l_linger = 0 };

		relay.count.connect_failed++;
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
		source_give(source);
		free(connection);
		return;
	}
	connection->sides[CALLER].watch.fd = fd;
	connection->sides[TARGET].watch.fd = other;
	connection->rule = listener->rule;
	connection->source = source;
	rule_hold(connection->rule);
	relay.connections++;
	ring_init(&connection->timed.ring);
	touch(&relay.connecting, &connection->timed);
	if (!begin(connection, from))
		end(connection, true);
}

static void refuse(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)); /* no TIME_WAIT for whom we do not know */
	close(fd);
}

void tcp_accept(struct listener *listener)
{
	for (int i = 0; i < BATCH; i++) {
		union address from;
		socklen_t size = sizeof(from);
		struct source *source;
		int fd;

		if (relay.connections >= relay.max_connections) {
			relay.count.refused_full++;
			listeners_pause(true);
			return;
		}
		fd = accept4(listener->watch.fd, &from.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				listeners_pause(true);
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			return;
		}
		if (!rule_admits(listener->rule, &from)) {
			relay.count.refused_from++;
			refuse(fd);
		} else if (!(source = source_take(listener->rule, &from))) {
			relay.count.refused_limit++;
			refuse(fd);
		} else {
			relay.count.accepted++;
			serve(listener, fd, &from, source);
		}
	}
}

void tcp_event(struct side *side, uint32_t events)
{
	struct connection *connection = side->connection;

	if (connection->is_dead)
		return;
	if (!connection->is_connected && side == &connection->sides[TARGET]) {
		if (!(events & (EPOLLOUT | EPOLLERR)))
			return; /* a new socket's first event is a hang-up, before it connects */
		if (events & EPOLLERR) {
			relay.count.connect_failed++;
			end(connection, true);
			return;
		}
		connection->is_connected = true;
		touch(&connection->rule->active, &connection->timed);
	}
	if (events & EPOLLERR) {
		relay.count.reset++;
		end(connection, true);
		return;
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
		side->readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP))
		side->hung_up = true;
	if (events & EPOLLOUT)
		side->writable = true;
	if (connection->is_connected)
		pump(connection);
}

static void expire_ring(struct ring *ring, int64_t after_ms, uint64_t *counter)
{
	while (!ring_empty(ring)) {
		struct connection *oldest = (struct connection *)ring->next;

		if (relay.now_ms - oldest->timed.used_ms < after_ms)
			return;
		++*counter;
		end(oldest, true);
	}
}

/* Who waits comes in for whoever has been silent for long. Else a few silent callers would keep out all others. */
static void make_room(struct rule *rule)
{
	unsigned most = relay.max_connections - relay.max_connections / 16 - 1;

	if (relay.connections < relay.max_connections)
		return;
	while (relay.connections > most && !ring_empty(&rule->active)) {
		struct connection *oldest = (struct connection *)rule->active.next;

		if (relay.now_ms - oldest->timed.used_ms < rule->idle_ms / FULL_DIVISOR)
			return;
		relay.count.idle_ended++;
		end(oldest, true);
	}
}

void tcp_expire(void)
{
	struct rule *next;

	expire_ring(&relay.connecting, CONNECT_MS, &relay.count.connect_failed);
	for (struct rule *rule = relay.rules; rule; rule = next) {
		next = rule->next;
		if (rule->protocol != TCP)
			continue;
		rule_hold(rule); /* its last connection may be the one that expires */
		expire_ring(&rule->active, rule->idle_ms, &relay.count.idle_ended);
		make_room(rule);
		next = rule->next;
		rule_release(rule);
	}
}
