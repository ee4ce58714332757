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
#define UDP_BUFFER_BYTES (4 << 20)

static bool has_place(const struct listener *listener, const struct rule *rule, uint16_t port)
{
	union address own = listener->rule->listen, other = rule->listen;

	set_port(&own, 0);
	set_port(&other, 0);
	return listener->rule->protocol == rule->protocol && listener->port == port &&
	       own.any.sa_family == other.any.sa_family && !memcmp(&own, &other, size_of(&own));
}

static struct listener *find(struct listener *list, const struct rule *rule, uint16_t port)
{
	for (; list; list = list->next)
		if (has_place(list, rule, port))
			return list;
	return NULL;
}

static bool is_any(const union address *address)
{
	if (address->any.sa_family == AF_INET)
		return address->v4.sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

static void tune_udp(const struct listener *listener)
{
	int bytes = UDP_BUFFER_BYTES, on = 1, fd = listener->watch.fd;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
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

static struct listener *listener_new(struct rule *rule, uint16_t port, int fd)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->watch.kind = rule->protocol == TCP ? ACCEPT : DATAGRAM;
	listener->watch.fd = fd;
	listener->rule = rule;
	listener->port = port;
	listener->needs_local = rule->protocol == UDP && is_any(&rule->listen);
	rule_hold(rule);
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

/* Listeners for all ports of a rule, in front of *list; false when a port cannot be had. */
static bool add_rule(struct listener **list, struct rule *rule)
{
	for (unsigned port = port_of(&rule->listen); port <= rule->last_port; port++) {
		struct listener *old = find(relay.listeners, rule, (uint16_t)port), *new;
		int fd = old ? old->watch.fd : open_socket(rule, (uint16_t)port);

		if (find(*list, rule, (uint16_t)port)) { /* twice in one file */
			if (!old && fd >= 0)
				close(fd);
			fd = -1;
			errno = EADDRINUSE;
		}
		if (fd < 0 || !(new = listener_new(rule, (uint16_t)port, fd))) {
			say_port(rule, (uint16_t)port, fd < 0 ? errno : ENOMEM);
			if (fd >= 0 && !old)
				close(fd);
			return false;
		}
		new->next = *list;
		*list = new;
	}
	return true;
}

static bool is_in_use(int fd)
{
	for (struct listener *each = relay.listeners; each; each = each->next)
		if (each->watch.fd == fd)
			return true;
	return false;
}

static void give_up(struct listener *list)
{
	while (list) {
		struct listener *next = list->next;

		listener_end(list, !is_in_use(list->watch.fd));
		list = next;
	}
}

/* The old listener's socket goes on under the new one, or is closed. */
static void replace_one(struct listener *old, struct listener *new)
{
	if (old->rule->protocol == UDP)
		udp_rehome(old, new);
	if (!new)
		epoll_ctl(relay.epoll, EPOLL_CTL_DEL, old->watch.fd, NULL);
	listener_end(old, !new);
}

static void replace_all(struct listener *list)
{
	struct listener *old = relay.listeners, *next;

	for (; old; old = next) {
		struct listener *new = list;

		next = old->next;
		while (new && new->watch.fd != old->watch.fd)
			new = new->next;
		replace_one(old, new);
	}
	relay.listeners = list;
	for (; list; list = list->next) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = list };

		if (list->rule->protocol == UDP)
			tune_udp(list);
		if (epoll_ctl(relay.epoll, EPOLL_CTL_ADD, list->watch.fd, &event) && errno == EEXIST)
			epoll_ctl(relay.epoll, EPOLL_CTL_MOD, list->watch.fd, &event);
	}
	relay.accepts = true;
}

bool listeners_load(const char *path)
{
	struct listener *list = NULL;
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
			ok = add_rule(&list, rule);
	}
	if (ok)
		replace_all(list);
	else
		give_up(list);
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
	while (relay.listeners) {
		struct listener *old = relay.listeners;

		relay.listeners = old->next;
		replace_one(old, NULL);
	}
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
