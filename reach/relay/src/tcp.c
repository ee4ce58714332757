/* SPDX-License-Identifier: ISC
 * TCP connections: how they begin, what their events mean, how they end. Events are edge-triggered and only set flags;
 * pump() moves bytes. A reset of one side is passed on to the other.
 */
#include "tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define FULL_DIVISOR 60 /* of the time that a connection may be idle, while all places are taken */

static struct connection *dead, *unfinished;

static struct ring *ring_of(struct connection *connection)
{
	return connection->is_connected ? &connection->rule->active : &relay.connecting;
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
	if (!relay.drains && relay.connections <= full_enough())
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

/* Move what there is, and draw the consequences. */
static void go_on(struct connection *connection)
{
	enum outcome outcome = pump(connection);

	if (outcome == FAILED) {
		relay.count.reset++;
		end(connection, true);
		return;
	}
	if (outcome == IS_OVER) {
		end(connection, false);
		return;
	}
	touch(ring_of(connection), &connection->timed);
	if (outcome == HAS_MORE && !connection->is_waiting) {
		connection->is_waiting = true;
		connection->next = unfinished;
		unfinished = connection;
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
			go_on(list);
		}
	}
	return unfinished != NULL;
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
		if (!watch_fd(&side->watch, EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET))
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

/* Urgent data goes along with the rest. Each mark of it ends a read, so that a short one no longer means that all is read. */
static void take_urgent(struct side *side)
{
	int on = 1;

	if (!side->was_urgent)
		setsockopt(side->watch.fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	side->was_urgent = true;
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
	if (events & EPOLLPRI)
		take_urgent(side);
	if (connection->is_connected)
		go_on(connection);
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
	if (relay.connections < relay.max_connections)
		return;
	while (relay.connections > full_enough() && !ring_empty(&rule->active)) {
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
