/* SPDX-License-Identifier: ISC */
/* The first process of a virtual machine of another byte order: does the fast path make what the translator makes?
 *
 * Loads and attaches siit's BPF program to a TUN device, sends packets of every simple kind through it, compares what
 * comes out with siit_translate, says `RESULT same N wrong N left N`, and powers the machine off. The modules tun,
 * sch_ingress and cls_bpf lie in /m. sdk/vm/big_endian.py makes and boots the machine.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "internal.h"
#include "load.h"

enum { VNET = 10, ROOM = 70000, PACKETS = 3000, SEGMENT = 1000 };
static const char NAME[] = "fast";

/* One packet to send, with what its virtio_net_hdr says. */
struct sent {
	uint8_t version, protocol;
	bool is_partial, is_super;
	uint32_t len;
};

static void die(const char *what)
{
	printf("FAILED %s: %s\n", what, strerror(errno));
	reboot(RB_POWER_OFF);
}

static void load_module(const char *path)
{
	int file = open(path, O_RDONLY);

	if (file < 0 || syscall(SYS_finit_module, file, "", 0))
		die(path);
}

static void set_up_machine(void)
{
	static const char *const folders[] = {"/proc", "/sys", "/dev"};

	for (size_t i = 0; i < 3; i++)
		mkdir(folders[i], 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sys", "/sys", "sysfs", 0, NULL) ||
	    mount("dev", "/dev", "devtmpfs", 0, NULL))
		die("mount");
	load_module("/m/tun.ko");
	load_module("/m/sch_ingress.ko");
	load_module("/m/cls_bpf.ko");
	mkdir("/dev/net", 0755);
	mknod("/dev/net/tun", S_IFCHR | 0600, makedev(10, 200));
	int silence = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY); /* or it solicits */
	if (silence < 0 || write(silence, "1", 1) != 1)
		die("disable_ipv6");
	close(silence);
}

static int make_tun(void)
{
	int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK), asker = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};

	memcpy(request.ifr_name, NAME, sizeof NAME);
	if (tun < 0 || ioctl(tun, TUNSETIFF, &request) ||
	    ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))
		die("tun");
	request.ifr_flags = IFF_UP;
	if (ioctl(asker, SIOCSIFFLAGS, &request))
		die("up");
	close(asker);
	return tun;
}

static struct siit_map *make_map(void)
{
	static const uint8_t clat[12] = {0xfd, 0, 0, 0x64, 0, 1}, plat[12] = {0xfd, 0, 0, 0x64, 0, 2};
	struct siit_map *map = calloc(1, sizeof *map + sizeof(struct siit_pair));

	if (!map)
		die("map");
	map->mtu6 = 1500;
	map->npairs = 1;
	map->pairs[0].local = (struct siit_rule){SIIT_RFC6052, 16, 96, {10, 1, 0, 0}, {0}};
	map->pairs[0].remote = (struct siit_rule){SIIT_RFC6052, 0, 96, {0}, {0}};
	memcpy(map->pairs[0].local.v6, clat, sizeof clat);
	memcpy(map->pairs[0].remote.v6, plat, sizeof plat);
	return map;
}

static uint32_t below(uint32_t limit)
{
	return (uint32_t)random() % limit;
}

static struct sent choose(void)
{
	static const uint8_t protocols[] = {PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP};
	struct sent sent = {.version = below(2) ? 4 : 6, .protocol = protocols[below(3)]};

	sent.is_partial = sent.protocol != PROTOCOL_ICMP && below(3) == 0;
	sent.is_super = sent.is_partial && sent.protocol == PROTOCOL_TCP && below(2);
	sent.len = sent.is_super ? 3000 + below(20000) : below(4) ? below(1400) : below(12);
	if (sent.protocol == PROTOCOL_ICMP && sent.version == 6)
		sent.protocol = PROTOCOL_ICMP6;
	return sent;
}

/* The header of random addresses, for len bytes of transport; returns the sum of the addresses. */
static uint64_t write_header(uint8_t *header, const struct siit_map *map, const struct sent *sent, uint32_t len)
{
	const uint8_t client[4] = {10, 1, (uint8_t)below(256), (uint8_t)below(256)};
	const uint8_t server[4] = {198, 51, (uint8_t)below(256), (uint8_t)below(256)};

	if (sent->version == 6) {
		uint8_t src[16], dst[16];

		memcpy(src, map->pairs[0].remote.v6, 12);
		memcpy(src + 12, server, 4);
		memcpy(dst, map->pairs[0].local.v6, 12);
		memcpy(dst + 12, client, 4);
		ipv6_write(header, (uint8_t)below(256), len, sent->protocol, 64, src, dst);
		return sum_32(0, header + 8);
	}
	memset(header, 0, IPV4_HEADER);
	header[0] = 0x45;
	header[1] = (uint8_t)below(256);
	put16(header + 2, IPV4_HEADER + len);
	put16(header + 4, below(65536));
	header[8] = 64;
	header[9] = sent->protocol;
	memcpy(header + 12, client, 4);
	memcpy(header + 16, server, 4);
	store16(header + 10, (uint16_t)~sum_fold(sum_20(0, header)));
	return sum_8(0, header + 12);
}

/* Write the frame: virtio_net_hdr, header, transport with a right checksum. Returns the packet's length. */
static uint32_t write_frame(uint8_t *frame, const struct siit_map *map, const struct sent *sent)
{
	const uint32_t header = sent->version == 4 ? IPV4_HEADER : IPV6_HEADER;
	const uint32_t len = (sent->protocol == PROTOCOL_TCP ? 20u : 8u) + sent->len;
	const uint16_t start = (uint16_t)header, segment = SEGMENT;
	uint8_t *transport = frame + VNET + header;
	uint64_t sum = write_header(frame + VNET, map, sent, len);
	uint16_t at = sent->protocol == PROTOCOL_TCP ? 16 : sent->protocol == PROTOCOL_UDP ? 6 : 2;

	for (uint32_t i = 0; i < len; i++)
		transport[i] = (uint8_t)random();
	if (sent->protocol == PROTOCOL_TCP)
		transport[12] = 0x50;
	else if (sent->protocol == PROTOCOL_UDP)
		put16(transport + 4, len);
	else
		put16(transport, sent->version == 4 ? 0x0800 : 0x8000); /* echo */
	sum = sent->protocol == PROTOCOL_ICMP ? 0 : sum + pseudo_sum(len, sent->protocol);
	put16(transport + at, 0);
	if (!sent->is_partial)
		sum = (uint16_t)~sum_fold(sum_bytes(sum, transport, len));
	store16(transport + at, sent->protocol == PROTOCOL_UDP && sum == 0 ? 0xffff : sum_fold(sum));
	memset(frame, 0, VNET);
	if (sent->is_partial) {
		frame[0] = 1;
		memcpy(frame + 6, &start, 2);
		memcpy(frame + 8, &at, 2);
	}
	if (sent->is_super) {
		frame[1] = sent->version == 4 ? 1 : 4;
		memcpy(frame + 4, &segment, 2);
	}
	return header + len;
}

static int packet_socket(const struct sockaddr_ll *at)
{
	const int made = socket(AF_PACKET, SOCK_RAW, 0), yes = 1;

	if (made < 0 || setsockopt(made, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof yes) ||
	    setsockopt(made, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) ||
	    bind(made, (const struct sockaddr *)at, sizeof *at))
		die("packet socket");
	return made;
}

/* Whether what came out is what the translator makes of the packet. */
static bool is_same(const struct siit_map *map, const struct sent *sent, const uint8_t *frame, uint32_t len,
		    const uint8_t *got, ssize_t got_len)
{
	static uint8_t work[SIIT_HEADROOM + ROOM];
	struct siit_packet packet = {.data = work + SIIT_HEADROOM,
				     .len = len,
				     .needs_csum = sent->is_partial,
				     .gso_type = sent->is_super ? SIIT_GSO_TCP : SIIT_GSO_NONE,
				     .gso_size = sent->is_super ? SEGMENT : 0};
	uint16_t segment;

	memcpy(packet.data, frame + VNET, len);
	memcpy(&segment, got + 4, sizeof segment);
	return siit_translate(map, &packet, NULL, NULL) == SIIT_TRANSLATED && got_len == (ssize_t)(VNET + packet.len) &&
	       !memcmp(got + VNET, packet.data, packet.len) && (got[0] & 1) == packet.needs_csum &&
	       segment == packet.gso_size;
}

int main(void)
{
	static uint8_t frame[VNET + ROOM], got[VNET + ROOM];
	static char log[SIIT_FAST_LOG];
	struct siit_fast_count count;
	struct siit_fast fast;
	int same = 0, wrong = 0, left = 0, compiled, error;

	setvbuf(stdout, NULL, _IONBF, 0);
	set_up_machine();
	const int tun = make_tun();
	const unsigned index = if_nametoindex(NAME);
	const struct siit_map *map = make_map();
	compiled = siit_fast_load(&fast, log);
	printf("%d bytes of machine code; the program %d\n%s\n", compiled, compiled < 0 ? compiled : fast.program, log);
	error = compiled < 0 ? compiled : siit_fast_use(&fast, map, 0) != 1 ? -EINVAL : siit_fast_attach(&fast, index);
	errno = -error;
	if (error)
		die("the program");
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_ifindex = (int)index};
	const int into = packet_socket(&at);
	at.sll_protocol = htons(3); /* ETH_P_ALL */
	const int out = packet_socket(&at);
	for (int i = 0; i < PACKETS; i++) {
		const struct sent sent = choose();
		const uint32_t len = write_frame(frame, map, &sent);
		struct pollfd ready[2] = {{out, POLLIN, 0}, {tun, POLLIN, 0}};

		at.sll_protocol = htons(sent.version == 4 ? 0x0800 : 0x86dd);
		if (sendto(into, frame, VNET + len, 0, (const struct sockaddr *)&at, sizeof at) < 0)
			die("sendto");
		poll(ready, 2, 5000);
		if (ready[1].revents)
			left += read(tun, got, sizeof got) > 0;
		else if (is_same(map, &sent, frame, len, got, recv(out, got, sizeof got, MSG_DONTWAIT)))
			same++;
		else
			wrong++;
	}
	error = siit_fast_read(&fast, &count);
	printf("RESULT same %d wrong %d left %d counted %d detached %d\n", same, wrong, left,
	       error ? error : (int)(count.packets4 + count.packets6), siit_fast_detach(index));
	reboot(RB_POWER_OFF);
}
