/* SPDX-License-Identifier: ISC
 * Load for bench/reach.py, fast enough not to be what is measured.
 *
 *   serve ADDRESS PORT                     echo server, until killed
 *   calls ADDRESS PORT SECONDS CALLERS     connect, one byte there and back, close; prints connections a second
 *   hold ADDRESS PORT COUNT                opens COUNT, prints "held", keeps them until its input ends
 *   trips ADDRESS PORT COUNT               one byte there and back on one connection; prints the median in us
 *   send ADDRESS PORT SECONDS BYTES        UDP as fast as it goes; prints datagrams sent a second
 *   count ADDRESS PORT SECONDS             prints UDP datagrams received a second, from the first one on
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define BATCH 64

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address target;
static socklen_t target_size;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void parse(const char *address, const char *port)
{
	if (inet_pton(AF_INET, address, &target.v4.sin_addr) == 1) {
		target.v4.sin_family = AF_INET;
		target.v4.sin_port = htons((uint16_t)atoi(port));
		target_size = sizeof(target.v4);
	} else if (inet_pton(AF_INET6, address, &target.v6.sin6_addr) == 1) {
		target.v6.sin6_family = AF_INET6;
		target.v6.sin6_port = htons((uint16_t)atoi(port));
		target_size = sizeof(target.v6);
	} else {
		fputs("no address\n", stderr);
		exit(2);
	}
}

static int make(int kind)
{
	int fd = socket(target.any.sa_family, kind | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return fd;
}

static void watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		fail("epoll_ctl");
}

static void serve(void)
{
	int listening = make(SOCK_STREAM | SOCK_NONBLOCK), epoll = epoll_create1(0);
	struct epoll_event events[EVENTS];
	static char buffer[65536];

	if (bind(listening, &target.any, target_size) || listen(listening, 8192))
		fail("bind");
	watch(epoll, listening, EPOLLIN);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd, new;
			ssize_t got;

			if (fd == listening) {
				while ((new = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0)
					watch(epoll, new, EPOLLIN);
				continue;
			}
			got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
			if (got > 0)
				got = send(fd, buffer, (size_t)got, MSG_NOSIGNAL);
			if (got <= 0 && errno != EAGAIN)
				close(fd);
			else if (!got)
				close(fd);
		}
	}
}

static void call(int epoll)
{
	int fd = make(SOCK_STREAM | SOCK_NONBLOCK);

	if (connect(fd, &target.any, target_size) && errno != EINPROGRESS)
		fail("connect");
	watch(epoll, fd, EPOLLOUT);
}

static void calls(double seconds, int callers)
{
	int epoll = epoll_create1(0);
	struct epoll_event events[EVENTS];
	double begun = now(), end = begun + seconds;
	unsigned long done = 0, failed = 0;
	char byte = 'x';

	for (int i = 0; i < callers; i++)
		call(epoll);
	while (now() < end) {
		int count = epoll_wait(epoll, events, EVENTS, 100);

		for (int i = 0; i < count; i++) {
			struct epoll_event event = { .events = EPOLLIN, .data.fd = events[i].data.fd };
			bool has_answer = events[i].events & EPOLLIN;

			if (!has_answer && !(events[i].events & (EPOLLERR | EPOLLHUP)) &&
			    send(event.data.fd, &byte, 1, MSG_NOSIGNAL) == 1) {
				epoll_ctl(epoll, EPOLL_CTL_MOD, event.data.fd, &event);
				continue;
			}
			if (has_answer && recv(event.data.fd, &byte, 1, 0) == 1)
				done++;
			else
				failed++;
			close(event.data.fd);
			call(epoll);
		}
	}
	printf("%.0f %lu\n", (double)done / (now() - begun), failed);
}

static int connected(void)
{
	int fd = make(SOCK_STREAM), on = 1;
	char byte = 'x';

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, &target.any, target_size) || send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
		fail("connect");
	return fd;
}

static void hold(int count)
{
	char byte;

	for (int i = 0; i < count; i++)
		connected();
	puts("held");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void trips(int count)
{
	double *took = calloc((size_t)count, sizeof(*took));
	int fd = connected();
	char byte = 'x';

	for (int i = 0; i < count; i++) {
		double begun = now();

		if (send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
			fail("trip");
		took[i] = now() - begun;
	}
	qsort(took, (size_t)count, sizeof(*took), compare);
	printf("%.1f\n", took[count / 2] * 1e6);
}

static void batch(struct mmsghdr *messages, struct iovec *vectors, char *buffer, size_t bytes, bool shared)
{
	memset(messages, 0, BATCH * sizeof(*messages));
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ buffer + (shared ? 0 : (size_t)i * bytes), bytes };
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
}

static void send_all(double seconds, size_t bytes)
{
	static char buffer[65536];
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	double begun, end;
	unsigned long sent = 0;
	int fd = make(SOCK_DGRAM), size = 1 << 20;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (connect(fd, &target.any, target_size))
		fail("connect");
	batch(messages, vectors, buffer, bytes, true);
	for (begun = now(), end = begun + seconds; now() < end;) {
		int count = sendmmsg(fd, messages, BATCH, 0);

		sent += count > 0 ? (unsigned long)count : 0;
	}
	printf("%.0f\n", (double)sent / seconds);
}

static void count_all(double seconds)
{
	static char buffer[BATCH * 2048];
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	int fd = make(SOCK_DGRAM), size = 8 << 20;
	struct timeval patience = { .tv_sec = 5 };
	unsigned long count = 0;
	double begun = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (bind(fd, &target.any, target_size))
		fail("bind");
	puts("ready");
	fflush(stdout);
	batch(messages, vectors, buffer, 2048, false);
	while (!begun || now() < begun + seconds) {
		int got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

		if (got <= 0)
			break;
		if (!begun)
			begun = now();
		count += (unsigned long)got;
	}
	printf("%.0f\n", (double)count / seconds);
}

int main(int count, char **words)
{
	struct rlimit limit;

	if (count < 4) {
		fputs("usage: see the head of reach_load.c\n", stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	parse(words[2], words[3]);
	if (!strcmp(words[1], "serve"))
		serve();
	else if (!strcmp(words[1], "calls") && count == 6)
		calls(atof(words[4]), atoi(words[5]));
	else if (!strcmp(words[1], "hold") && count == 5)
		hold(atoi(words[4]));
	else if (!strcmp(words[1], "trips") && count == 5)
		trips(atoi(words[4]));
	else if (!strcmp(words[1], "send") && count == 6)
		send_all(atof(words[4]), (size_t)atoi(words[5]));
	else if (!strcmp(words[1], "count") && count == 5)
		count_all(atof(words[4]));
	else
		return 2;
	return 0;
}
