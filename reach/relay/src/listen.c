/* SPDX-License-Identifier: ISC
 * Listeners: a socket for each port of each rule. A new configuration takes over the sockets that it still wants, so
 * no caller meets a closed port, and it comes into force as a whole or not at all.
 */
#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 4096
#define BUCKETS 8192
#define UDP_BUFFER_BYTES (4 << 20)

/* All listeners of a configuration, in a list and by their ports: there may be tens of thousands. */
struct table {
	struct listener *first, *buckets[BUCKETS];
};

static struct table tables[2], *current = &tables[0];

static struct listener **bucket(struct table *table, enum protocol protocol, uint16_t port)
{
	return &table->buckets[(port * 2u + protocol) % BUCKETS];
}

static bool has_place(const struct listener *listener, const struct rule *rule, uint16_t port)
{
	union address own = listener->rule->listen, other = rule->listen;

	set_port(&own, 0);
	set_port(&other, 0);
	return listener->rule->protocol == rule->protocol && listener->port == port &&
	       own.any.sa_family == other.any.sa_family && !memcmp(&own, &other, size_of(&own));
}

static struct listener *find(struct table *table, const struct rule *rule, uint16_t port)
{
	struct listener *found = *bucket(table, rule->protocol, port);

	while (found && !has_place(found, rule, port))
		found = found->neighbour;
	return found;
}

static bool is_any(const union address *address)
{
	if (address->any.sa_family == AF_INET)
		return address->v4.sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

static void tune_udp(const struct listener *listener)
{
	int bytes = UDP_BUFFER_BYTES, has = 0, on = 1, fd = listener->watch.fd;
	socklen_t size = sizeof(has);

	getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &has, &size);
	if (has < bytes && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); /* what everybody may have */
	if (!listener->needs_local)
		return;
	if (listener->rule->listen.any.sa_family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	else
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
}

static int open_socket(const struct rule *rule, uint16_t port)
{
	union address address = rule->listen;
	int on = 1, fd;

	set_port(&address, port);
	fd = socket(address.any.sa_family,
		    (rule->protocol == TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (rule->protocol == TCP) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		tcp_tune(fd); /* who is accepted inherits it */
	}
	if (address.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, &address.any, size_of(&address)) || (rule->protocol == TCP && listen(fd, BACKLOG))) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static struct listener *listener_new(struct table *table, struct rule *rule, uint16_t port, int fd)
{
	struct listener *listener = calloc(1, sizeof(*listener)), **place = bucket(table, rule->protocol, port);

	if (!listener)
		return NULL;
	listener->watch.kind = rule->protocol == TCP ? ACCEPT : DATAGRAM;
	listener->watch.fd = fd;
	listener->rule = rule;
	listener->port = port;
	listener->needs_local = rule->protocol == UDP && is_any(&rule->listen);
	rule_hold(rule);
	listener->next = table->first;
	listener->neighbour = *place;
	table->first = *place = listener;
	return listener;
}

static void listener_end(struct listener *listener, bool closes)
{
	if (closes)
		close(listener->watch.fd);
	rule_release(listener->rule);
	free(listener);
}

static void say_port(const struct rule *rule, uint16_t port, int error)
{
	const void *from = rule->listen.any.sa_family == AF_INET ? (const void *)&rule->listen.v4.sin_addr
								  : (const void *)&rule->listen.v6.sin6_addr;
	char text[INET6_ADDRSTRLEN];

	inet_ntop(rule->listen.any.sa_family, from, text, sizeof(text));
	say("%s port %u at %s cannot be had: %s", rule->protocol == TCP ? "tcp" : "udp", port, text, strerror(error));
}

/* Listeners for all ports of a rule; false when a port cannot be had. */
static bool add_rule(struct table *table, struct rule *rule)
{
	for (unsigned each = port_of(&rule->listen); each <= rule->last_port; each++) {
		uint16_t port = (uint16_t)each;
		bool is_twice = find(table, rule, port) != NULL; /* in one file */
		struct listener *old = find(current, rule, port);
		int fd = is_twice ? -1 : old ? old->watch.fd : open_socket(rule, port);

		if (fd < 0 || !listener_new(table, rule, port, fd)) {
			say_port(rule, port, is_twice ? EADDRINUSE : fd < 0 ? errno : ENOMEM);
			if (fd >= 0 && !old)
				close(fd);
			return false;
		}
	}
	return true;
}

/* The listeners that have no heir close their sockets; a table that did not come into force has none to close for. */
static void give_up(struct table *table, const struct table *other)
{
	while (table->first) {
		struct listener *old = table->first;
		struct listener *heir = other ? find((struct table *)other, old->rule, old->port) : NULL;

		table->first = old->next;
		listener_end(old, !heir);
	}
	memset(table, 0, sizeof(*table));
}

/* What goes on under a new listener keeps its socket and its flows. */
static void replace_all(struct table *table)
{
	for (struct listener *old = current->first; old; old = old->next) {
		old->heir = table ? find(table, old->rule, old->port) : NULL;
		if (!old->heir)
			epoll_ctl(relay.epoll, EPOLL_CTL_DEL, old->watch.fd, NULL);
	}
	udp_rehome();
	give_up(current, table);
	if (table)
		current = table;
	relay.listeners = current->first;
	for (struct listener *each = current->first; each; each = each->next) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = each };

		if (each->rule->protocol == UDP)
			tune_udp(each);
		if (epoll_ctl(relay.epoll, EPOLL_CTL_ADD, each->watch.fd, &event) && errno == EEXIST)
			epoll_ctl(relay.epoll, EPOLL_CTL_MOD, each->watch.fd, &event);
	}
	relay.accepts = true;
}

bool listeners_load(const char *path)
{
	struct table *table = current == &tables[0] ? &tables[1] : &tables[0];
	struct rule *rules, *rule, *next;
	bool ok;

	rules = config_read(path, &ok);
	if (!ok)
		return false;
	for (rule = rules; rule; rule = next) {
		next = rule->next;
		rule_hold(rule); /* until the listeners hold it */
		rule->next = relay.rules;
		relay.rules = rule;
		rule->is_current = true;
		if (ok)
			ok = add_rule(table, rule);
	}
	if (ok)
		replace_all(table);
	else
		give_up(table, current);
	for (rule = relay.rules; rule; rule = next) {
		next = rule->next;
		if (rule->is_current) {
			rule->is_current = false;
			rule_release(rule);
		}
	}
	return ok;
}

void listeners_close(void)
{
	replace_all(NULL);
}

void listeners_pause(bool paused)
{
	if (relay.accepts == !paused)
		return;
	relay.accepts = !paused;
	for (struct listener *each = relay.listeners; each; each = each->next)
		if (each->watch.kind == ACCEPT) {
			struct epoll_event event = { .events = paused ? 0 : EPOLLIN, .data.ptr = each };

			epoll_ctl(relay.epoll, EPOLL_CTL_MOD, each->watch.fd, &event);
		}
}
