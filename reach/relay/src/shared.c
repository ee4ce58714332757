/* SPDX-License-Identifier: ISC
 * What every part of the relay calls, and what calls none of them: the state, messages, epoll, options of sockets.
 */
#include "relay.h"

#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>

struct relay relay;

void say(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	fputs("reach-relay: ", stderr);
	vfprintf(stderr, format, values);
	fputc('\n', stderr);
	va_end(values);
}

bool watch_fd(struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return !epoll_ctl(relay.epoll, EPOLL_CTL_ADD, watch->fd, &event);
}

void tcp_tune(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}
