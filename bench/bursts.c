/* SPDX-License-Identifier: ISC */
/* What a packet costs on its way, where the whole way is one machine's: a burst of small UDP packets is sent, and a send
 * returns when all routers on the way are done with it.
 *
 *   bursts send ADDRESS PORT      to there; the first packet goes at once
 *   bursts answer ADDRESS PORT    from there, to whoever sends the first packet; says "ready" when it listens
 *
 * For each line on stdin, which says how many bursts, one on stdout: nanoseconds of a packet, the median of all bursts,
 * and of CPU time, the mean. What comes back is not read.
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 32, BURSTS_MAX = 100000, PAYLOAD = 22 };

static double now_ns(clockid_t clock)
{
	struct timespec at;
	clock_gettime(clock, &at);
	return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;
	return (one > other) - (one < other);
}

static void send_bursts(int sock, int bursts)
{
	static double took_ns[BURSTS_MAX];
	static char payload[PAYLOAD];
	struct iovec iov = {payload, sizeof(payload)};
	struct mmsghdr messages[BURST];
	double cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < BURST; i++)
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
	for (int i = 0; i < bursts; i++) {
		double begun_ns = now_ns(CLOCK_MONOTONIC);
		int sent = 0;
		while (sent < BURST) {
			int more = sendmmsg(sock, messages + sent, (unsigned)(BURST - sent), 0);
			if (more < 0) {
				perror("bursts");
				exit(1);
			}
			sent += more;
		}
		took_ns[i] = (now_ns(CLOCK_MONOTONIC) - begun_ns) / BURST;
	}
	cpu_ns = (now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns) / BURST / bursts;
	qsort(took_ns, (size_t)bursts, sizeof(*took_ns), compare);
	printf("%.0f %.0f\n", took_ns[bursts / 2], cpu_ns);
}

int main(int argc, char **argv)
{
	int answers = argc == 4 && !strcmp(argv[1], "answer");
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *address;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	char line[32], byte;
	if ((!answers && !(argc == 4 && !strcmp(argv[1], "send"))) || getaddrinfo(argv[2], argv[3], &hints, &address)) {
		fputs("usage: bursts send|answer ADDRESS PORT\n", stderr);
		return 2;
	}
	int sock = socket(address->ai_family, SOCK_DGRAM, 0), room = 4096;
	if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) ||
	    (answers ? bind : connect)(sock, address->ai_addr, address->ai_addrlen))
		return perror("bursts"), 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (answers) {
		puts("ready");
		if (recvfrom(sock, &byte, 1, 0, (struct sockaddr *)&peer, &length) < 0 ||
		    connect(sock, (struct sockaddr *)&peer, length))
			return perror("bursts"), 1;
		puts("heard");
	} else if (send(sock, "", 1, 0) < 0) {
		return perror("bursts"), 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		int bursts = atoi(line);
		if (bursts < 1 || bursts > BURSTS_MAX)
			return 2;
		send_bursts(sock, bursts);
	}
	return 0;
}
