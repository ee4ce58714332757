/* SPDX-License-Identifier: ISC */
/* A source and a sink of small UDP packets, one packet a message (no segmentation offload at the source).
 *
 *   udp64 send ADDRESS PORT SECONDS BYTES   as many packets as possible, for SECONDS
 *   udp64 recv ADDRESS PORT SECONDS         prints packets received and packets per second, when nothing came
 *                                           for half a second or after SECONDS
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048 };

static double now_s(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static int receive(int sock, struct mmsghdr *messages, double seconds)
{
	struct timeval pause = {0, 100000};
	int room = 32 << 20, failed = setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof(pause));
	setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	long packets = 0;
	double first = 0, last = 0, start = now_s();
	puts("ready");
	fflush(stdout);
	while (!failed && now_s() - start < seconds && (!packets || now_s() - last < 0.5)) {
		int got = recvmmsg(sock, messages, BATCH, MSG_WAITFORONE, NULL);
		if (got <= 0)
			continue;
		last = now_s();
		if (!packets)
			first = last;
		packets += got;
	}
	printf("%ld %.0f\n", packets, last > first ? (double)packets / (last - first) : 0.0);
	return 0;
}

static int blast(int sock, struct mmsghdr *messages, double seconds)
{
	long packets = 0;
	double start = now_s();
	while (now_s() - start < seconds) {
		int sent = sendmmsg(sock, messages, BATCH, 0);
		packets += sent > 0 ? sent : 0;
	}
	printf("%ld %.0f\n", packets, (double)packets / seconds);
	return 0;
}

int main(int argc, char **argv)
{
	int sender = argc == 6 && !strcmp(argv[1], "send");
	if (!sender && !(argc == 5 && !strcmp(argv[1], "recv"))) {
		fputs("usage: udp64 send ADDRESS PORT SECONDS BYTES | udp64 recv ADDRESS PORT SECONDS\n", stderr);
		return 2;
	}
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *address;
	if (getaddrinfo(argv[2], argv[3], &hints, &address)) {
		fprintf(stderr, "udp64: not an address: %s\n", argv[2]);
		return 2;
	}
	static char room[BATCH][ROOM];
	static struct iovec iov[BATCH];
	static struct mmsghdr messages[BATCH];
	for (int i = 0; i < BATCH; i++) {
		iov[i].iov_base = room[i];
		iov[i].iov_len = sender ? (size_t)atoi(argv[5]) % ROOM : ROOM;
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int sock = socket(address->ai_family, SOCK_DGRAM, 0);
	if (sock < 0 || (sender ? connect : bind)(sock, address->ai_addr, address->ai_addrlen)) {
		perror("udp64");
		return 1;
	}
	return sender ? blast(sock, messages, atof(argv[4])) : receive(sock, messages, atof(argv[4]));
}
