/* SPDX-License-Identifier: ISC
 * The PROXY protocol's header (haproxy's proxy-protocol.txt), by which a target learns who really calls.
 */
#include "relay.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

size_t proxy_header(unsigned version, const union address *from, const union address *to, uint8_t *out)
{
	static const char signature[] = "\r\n\r\n\0\r\nQUIT\n"; /* 12 bytes of it */
	bool is4 = from->any.sa_family == AF_INET;
	const void *source = is4 ? (const void *)&from->v4.sin_addr : (const void *)&from->v6.sin6_addr;
	const void *target = is4 ? (const void *)&to->v4.sin_addr : (const void *)&to->v6.sin6_addr;
	char first[INET6_ADDRSTRLEN], second[INET6_ADDRSTRLEN];
	uint16_t ports[2] = { htons(port_of(from)), htons(port_of(to)) };
	size_t size = is4 ? 4 : 16;

	if (version == 1) {
		inet_ntop(from->any.sa_family, source, first, sizeof(first));
		inet_ntop(from->any.sa_family, target, second, sizeof(second));
		return (size_t)snprintf((char *)out, PROXY_BYTES, "PROXY %s %s %s %u %u\r\n", is4 ? "TCP4" : "TCP6", first,
					second, port_of(from), port_of(to));
	}
	memcpy(out, signature, 12);
	out[12] = 0x21; /* version 2, PROXY */
	out[13] = is4 ? 0x11 : 0x21; /* TCP over IPv4, IPv6 */
	out[14] = 0;
	out[15] = (uint8_t)(2 * size + 4);
	memcpy(out + 16, source, size);
	memcpy(out + 16 + size, target, size);
	memcpy(out + 16 + 2 * size, ports, 4);
	return 16 + 2 * size + 4;
}
