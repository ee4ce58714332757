/* SPDX-License-Identifier: ISC */
/* Loads for a path, and what is at its other end. Nothing is offloaded that an application does not get anyway: one
 * packet a message for UDP.
 *
 *   net_load serve ADDRESS PORT                            TCP and UDP, until stdin ends; says "ready" first, then
 *                                                          "BYTES PACKETS SECONDS REORDERED": BYTES of TCP, and of UDP
 *                                                          the packets, the time from first to last, and how many came
 *                                                          after a later one of their flow
 *   net_load tcp SOURCE ADDRESS PORT SECONDS STREAMS       says "BYTES SECONDS": what arrived, and how long it took
 *   net_load udp SOURCE ADDRESS PORT SECONDS BYTES FLOWS   says "PACKETS": how many it sent, the flows in turn
 *   net_load trips SOURCE ADDRESS PORT COUNT               requests and answers of one byte, TCP: "P50_NS P99_NS"
 *   net_load connect SOURCE ADDRESS PORT SECONDS           connects, asks, closes: "CONNECTIONS SECONDS"
 *
 * SOURCE "-" is any.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048, FLOWS = 64, CONNECTIONS = 128, CHUNK = 256 << 10, TRIPS = 100000, WARM = 200 };
enum { STDIN, LISTENER, DATAGRAMS, FIRST };
#define ECHO 'E' /* the first byte of a connection that wants answers; others are read to their end */

struct mark { /* of a UDP packet */
	uint32_t flow, number;
};
static char chunk[CHUNK];
static char room[BATCH][ROOM];

static double now_s(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
	fprintf(stderr, "net_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct addrinfo *resolve(const char *address, const char *port, int type)
{
	struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_NUMERICHOST}, *found;

	if (getaddrinfo(address, port, &hints, &found)) {
		fprintf(stderr, "net_load: not an address: %s\n", address);
		exit(2);
	}
	return found;
}

static int bound(const char *address, const char *port, int type)
{
	struct addrinfo *at = resolve(address, port, type);
	int one = 1, sock = socket(at->ai_family, type, 0);

	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (sock < 0 || bind(sock, at->ai_addr, at->ai_addrlen))
		fail(address);
	freeaddrinfo(at);
	return sock;
}

/* argv: SOURCE ADDRESS PORT */
static int connected(char **argv, int type)
{
	struct addrinfo *to = resolve(argv[1], argv[2], type);
	struct timeval patience = {10, 0}; /* a lost SYN is sent again after 1, 3, 7 s */
	int one = 1, sock = strcmp(argv[0], "-") ? bound(argv[0], "0", type) : socket(to->ai_family, type, 0);

	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); /* of connect, too */
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (sock < 0 || connect(sock, to->ai_addr, to->ai_addrlen))
		fail(argv[1]);
	freeaddrinfo(to);
	return sock;
}

struct heard {
	long packets, reordered;
	double first_s, last_s;
	uint32_t next[FLOWS];
};

static void hear_datagrams(int sock, struct heard *heard)
{
	static struct iovec iov[BATCH];
	static struct mmsghdr messages[BATCH];

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){room[i], ROOM};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	for (int round = 0; round < 64; round++) {
		int got = recvmmsg(sock, messages, BATCH, MSG_DONTWAIT, NULL);
		if (got <= 0)
			return;
		heard->last_s = now_s();
		if (!heard->packets)
			heard->first_s = heard->last_s;
		heard->packets += got;
		for (int i = 0; i < got; i++) {
			struct mark mark;
			memcpy(&mark, room[i], sizeof(mark));
			if (messages[i].msg_len < sizeof(mark) || mark.flow >= FLOWS)
				continue;
			if (mark.number < heard->next[mark.flow])
				heard->reordered++;
			else
				heard->next[mark.flow] = mark.number + 1;
		}
	}
}

/* Returns the bytes that came, or -1 at the connection's end. */
static long hear_stream(int sock, char *kind)
{
	long got = recv(sock, chunk, CHUNK, MSG_DONTWAIT);

	if (got <= 0)
		return got < 0 && errno == EAGAIN ? 0 : -1;
	if (!*kind)
		*kind = chunk[0];
	if (*kind == ECHO && send(sock, chunk, (size_t)got, MSG_NOSIGNAL) != got)
		return -1;
	return got;
}

static void accept_into(struct pollfd *polled, char *kinds, int *count)
{
	int one = 1, sock = accept4(polled[LISTENER].fd, NULL, NULL, 0);

	if (sock < 0)
		return;
	if (*count == CONNECTIONS) {
		close(sock);
		return;
	}
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	kinds[*count] = 0;
	polled[(*count)++] = (struct pollfd){sock, POLLIN, 0};
}

static int serve(char **argv)
{
	struct pollfd polled[CONNECTIONS] = {{0, POLLIN, 0},
					     {bound(argv[0], argv[1], SOCK_STREAM), POLLIN, 0},
					     {bound(argv[0], argv[1], SOCK_DGRAM), POLLIN, 0}};
	char kinds[CONNECTIONS];
	static struct heard heard;
	int count = FIRST, large = 32 << 20;
	long bytes = 0;

	setsockopt(polled[DATAGRAMS].fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large));
	if (listen(polled[LISTENER].fd, CONNECTIONS))
		fail("listen");
	puts("ready");
	fflush(stdout);
	while (poll(polled, (nfds_t)count, -1) > 0 && !polled[STDIN].revents) {
		for (int i = count - 1; i >= FIRST; i--) {
			long got = polled[i].revents ? hear_stream(polled[i].fd, &kinds[i]) : 0;
			if (got >= 0) {
				bytes += got;
				continue;
			}
			close(polled[i].fd);
			count--;
			polled[i] = polled[count];
			kinds[i] = kinds[count];
		}
		if (polled[DATAGRAMS].revents)
			hear_datagrams(polled[DATAGRAMS].fd, &heard);
		if (polled[LISTENER].revents)
			accept_into(polled, kinds, &count);
	}
	for (int i = 0; i < 100 && poll(&polled[DATAGRAMS], 1, 100) > 0; i++) /* what is on its way yet */
		hear_datagrams(polled[DATAGRAMS].fd, &heard);
	printf("%ld %ld %.6f %ld\n", bytes, heard.packets, heard.last_s - heard.first_s, heard.reordered);
	return 0;
}

static int send_streams(char **argv)
{
	double begun = now_s(), seconds = atof(argv[3]);
	int count = atoi(argv[4]);
	struct pollfd polled[FLOWS];
	long bytes = 0;

	if (count < 1 || count > FLOWS)
		return 2;
	for (int i = 0; i < count; i++)
		polled[i] = (struct pollfd){connected(argv, SOCK_STREAM), POLLOUT, 0};
	while (now_s() - begun < seconds) {
		if (poll(polled, (nfds_t)count, 500) <= 0)
			continue;
		for (int i = 0; i < count; i++) {
			long sent = polled[i].revents ? send(polled[i].fd, chunk, CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
			if (sent < 0 && errno != EAGAIN)
				fail("send");
			bytes += sent > 0 ? sent : 0;
		}
	}
	for (int i = 0; i < count; i++)
		shutdown(polled[i].fd, SHUT_WR);
	for (int i = 0; i < count; i++) /* the other end closes when it has all */
		if (recv(polled[i].fd, chunk, 1, 0))
			fail("what was sent did not arrive");
	printf("%ld %.6f\n", bytes, now_s() - begun);
	return 0;
}

static int send_datagrams(char **argv)
{
	double end = now_s() + atof(argv[3]);
	size_t size = (size_t)atoi(argv[4]);
	int flows = atoi(argv[5]), socks[FLOWS], each = flows == 1 ? BATCH : 1;
	static struct iovec iov[BATCH];
	static struct mmsghdr messages[BATCH];
	uint32_t number = 0;
	long packets = 0;

	if (flows < 1 || flows > FLOWS || size < sizeof(struct mark) || size > ROOM)
		return 2;
	for (int i = 0; i < flows; i++)
		socks[i] = connected(argv, SOCK_DGRAM);
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){room[i], size};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	for (uint32_t round = 0; round % 16 || now_s() < end; round++) {
		for (int flow = 0; flow < flows; flow++) {
			for (int i = 0; i < each; i++) {
				struct mark mark = {(uint32_t)flow, number + (uint32_t)i};
				memcpy(room[i], &mark, sizeof(mark));
			}
			int sent = sendmmsg(socks[flow], messages, (unsigned)each, 0);
			packets += sent > 0 ? sent : 0;
		}
		number += (uint32_t)each;
	}
	printf("%ld\n", packets);
	return 0;
}

static int compare(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;
	return (one > other) - (one < other);
}

static void ask(int sock)
{
	char byte = ECHO;

	if (send(sock, &byte, 1, MSG_NOSIGNAL) != 1 || recv(sock, &byte, 1, 0) != 1)
		fail("no answer");
}

static int make_trips(char **argv)
{
	static double took_s[TRIPS];
	int sock = connected(argv, SOCK_STREAM), count = atoi(argv[3]);

	if (count < 1 || count > TRIPS)
		return 2;
	for (int i = -WARM; i < count; i++) {
		double begun = now_s();
		ask(sock);
		took_s[i < 0 ? 0 : i] = now_s() - begun;
	}
	qsort(took_s, (size_t)count, sizeof(*took_s), compare);
	printf("%.0f %.0f\n", took_s[count / 2] * 1e9, took_s[(long)count * 99 / 100] * 1e9);
	return 0;
}

static int connect_often(char **argv)
{
	double begun = now_s(), seconds = atof(argv[3]);
	struct linger at_once = {1, 0}; /* or ports run out */
	long count = 0;

	for (; now_s() - begun < seconds; count++) {
		int sock = connected(argv, SOCK_STREAM);
		ask(sock);
		setsockopt(sock, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(sock);
	}
	printf("%ld %.6f\n", count, now_s() - begun);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int words, (*run)(char **argv);
	} commands[] = {{"serve", 2, serve},
			{"tcp", 5, send_streams},
			{"udp", 6, send_datagrams},
			{"trips", 4, make_trips},
			{"connect", 4, connect_often}};

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (argc == commands[i].words + 2 && !strcmp(argv[1], commands[i].name))
			return commands[i].run(argv + 2);
	fputs("net_load: see the comment in bench/net_load.c\n", stderr);
	return 2;
}
