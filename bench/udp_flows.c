/* SPDX-License-Identifier: ISC */
/* Send small UDP packets over IPv6, each of another flow: every one costs a router with connection tracking and NAT what
 * the first packet of a flow does.
 *
 *   udp_flows SOURCE HOSTS DESTINATION PORT FLOWS
 *
 * The sources are those of HOSTS clatnodes, in turn: bytes 10 and 11 of SOURCE count them. The source port changes with
 * each round.
 * Prints the packets sent and how many a second. Where sender and router share a machine, as namespaces do, a send
 * returns when the router is done with the packet.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PAYLOAD = 8, FIRST_PORT = 1024 };

struct packet {
	struct ip6_hdr ip;
	struct udphdr udp;
	uint8_t payload[PAYLOAD];
} __attribute__((packed));

static double now_s(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static uint32_t sum(const void *from, size_t len, uint32_t so_far)
{
	const uint8_t *bytes = from;

	for (size_t i = 0; i + 1 < len; i += 2)
		so_far += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
	return so_far;
}

static uint16_t checksum(const struct packet *packet)
{
	uint32_t total = sum(&packet->ip.ip6_src, 32, IPPROTO_UDP + sizeof(packet->udp) + PAYLOAD);

	total = sum(&packet->udp, sizeof(packet->udp) + PAYLOAD, total);
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return htons((uint16_t)~total ? (uint16_t)~total : 0xffff);
}

int main(int argc, char **argv)
{
	struct packet packet = {0};
	struct sockaddr_in6 to = {.sin6_family = AF_INET6};
	struct in6_addr first;
	int sock = socket(AF_INET6, SOCK_RAW, IPPROTO_RAW);
	long hosts, flows, sent = 0;
	double begun;

	if (argc != 6 || sock < 0 || inet_pton(AF_INET6, argv[1], &first) != 1 ||
	    inet_pton(AF_INET6, argv[3], &to.sin6_addr) != 1) {
		fprintf(stderr, "usage: udp_flows SOURCE HOSTS DESTINATION PORT FLOWS, as root\n");
		return 2;
	}
	hosts = atol(argv[2]);
	flows = atol(argv[5]);
	packet.ip.ip6_flow = htonl(6u << 28);
	packet.ip.ip6_plen = htons(sizeof(packet.udp) + PAYLOAD);
	packet.ip.ip6_nxt = IPPROTO_UDP;
	packet.ip.ip6_hlim = 64;
	packet.ip.ip6_dst = to.sin6_addr;
	packet.udp.uh_dport = htons((uint16_t)atoi(argv[4]));
	packet.udp.uh_ulen = htons(sizeof(packet.udp) + PAYLOAD);
	begun = now_s();
	for (long i = 0; i < flows; i++) {
		uint32_t host = (uint32_t)(i % hosts);

		packet.ip.ip6_src = first;
		packet.ip.ip6_src.s6_addr[10] = (uint8_t)(host >> 8); /* another clatnode */
		packet.ip.ip6_src.s6_addr[11] = (uint8_t)host;
		packet.udp.uh_sport = htons((uint16_t)(FIRST_PORT + i / hosts));
		packet.udp.uh_sum = 0;
		packet.udp.uh_sum = checksum(&packet);
		if (sendto(sock, &packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(packet))
			sent++;
	}
	printf("%ld packets, %.0f a second\n", sent, (double)sent / (now_s() - begun));
	return 0;
}
