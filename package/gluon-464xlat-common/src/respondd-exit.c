// SPDX-License-Identifier: ISC
#include "respondd-common.h"
#include "respondd-xlat464.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <net/if.h>
#include <string.h>

enum {
	PLAT_BITS = 96,
	RANGE_BYTES = 6, // of a PLAT's prefix; behind it is its node's MAC
	ROUTE_BYTES = 256, // of a line in /proc/net/ipv6_route, which has 150
	INFINITE = 0xffff, // babel's metric of what cannot be reached, RFC 8966 section 4.6.9
	TQ_MAX = 255,
};

/* Parse 32 hexadecimal digits. */
static bool read_address(const char *digits, struct in6_addr *address) {
	unsigned int byte;

	for (size_t i = 0; i < sizeof(address->s6_addr); i++) {
		if (sscanf(digits + 2 * i, "%2x", &byte) != 1)
			return false;
		address->s6_addr[i] = (uint8_t)byte;
	}
	return true;
}

/* The neighbour that the kernel's route to a /96 leads to: its MAC as far as its address has it, otherwise that. */
static void add_next_hop(struct json_object *to, const struct in6_addr *plat) {
	char line[ROUTE_BYTES], prefix[33], via[33], device[IF_NAMESIZE], address[INET6_ADDRSTRLEN];
	char text[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
	struct in6_addr found, next_hop;
	unsigned int bits;
	FILE *file = fopen("/proc/net/ipv6_route", "re");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		// destination, its length, source, its length, next hop, metric, references, uses, flags, device
		if (sscanf(line, "%32s %x %*s %*s %32s %*s %*s %*s %*s %15s", prefix, &bits, via, device) != 4 ||
			bits != PLAT_BITS || !read_address(prefix, &found) || memcmp(&found, plat, sizeof(found)) ||
			!read_address(via, &next_hop) || IN6_IS_ADDR_UNSPECIFIED(&next_hop))
			continue;
		if (!mac_of_address(&next_hop, text)) {
			inet_ntop(AF_INET6, &next_hop, address, sizeof(address));
			snprintf(text, sizeof(text), "%s%%%s", address, device);
		}
		add_text(to, "gateway_nexthop", text);
		break;
	}
	fclose(file);
}

/* The PLAT in prefixd's list that it uses, NULL if it uses none. */
static struct json_object *find_chosen(struct json_object *status) {
	struct json_object *plats = member(status, "plats", json_type_array), *plat, *chosen;

	for (size_t i = 0; plats && i < (size_t)json_object_array_length(plats); i++) {
		plat = json_object_array_get_idx(plats, i);
		chosen = member(plat, "chosen", json_type_boolean);
		if (chosen && json_object_get_boolean(chosen))
			return plat;
	}
	return NULL;
}

/* Parse a PLAT's prefix as prefixd writes it. */
static bool read_plat(const char *text, struct in6_addr *plat) {
	char address[INET6_ADDRSTRLEN + sizeof("/96")], *slash;

	if (!text || snprintf(address, sizeof(address), "%s", text) >= (int)sizeof(address))
		return false;
	slash = strchr(address, '/');
	if (!slash || strcmp(slash, "/96"))
		return false;
	*slash = '\0';
	return inet_pton(AF_INET6, address, plat) == 1;
}

/* The exit as maps show gateways: its node by its MAC, the neighbour on the way there, and a quality, which for a map
 * is on the scale of batman's TQ. A map makes the quality of a link out of babel's cost in the same way. */
static void add_gateway(struct json_object *to, const struct in6_addr *plat, int metric) {
	char mac[MAC_TEXT];

	format_mac(plat->s6_addr + RANGE_BYTES, mac);
	add_text(to, "gateway", mac);
	add_next_hop(to, plat);
	json_object_object_add(to, "gateway_tq", json_object_new_int(TQ_MAX - TQ_MAX * metric / INFINITE));
}

/* The exit in use; false if there is none. */
static bool add_chosen(struct json_object *statistics, struct json_object *xlat464, struct json_object *status) {
	struct json_object *chosen = find_chosen(status), *own, *since;
	struct json_object *metric = chosen ? member(chosen, "metric", json_type_int) : NULL;
	const char *prefix = member_text(status, "chosen");
	struct in6_addr plat;
	int far = metric ? json_object_get_int(metric) : -1;

	if (!read_plat(prefix, &plat) || far < 0 || far > INFINITE)
		return false;
	add_text(xlat464, "plat", prefix);
	json_object_object_add(xlat464, "metric", json_object_new_int(far));
	if ((since = member(status, "since_ms", json_type_int)))
		json_object_object_add(xlat464, "since", json_object_new_int64(json_object_get_int64(since) / 1000));
	if ((own = member(chosen, "own", json_type_boolean)))
		json_object_object_add(xlat464, "is_own", json_object_get(own));
	add_gateway(statistics, &plat, far);
	return true;
}

void add_exit(struct json_object *statistics, struct json_object *xlat464) {
	struct json_object *status = ask("/var/run/prefixd.sock", "chosen\n"), *known;

	if (!status)
		return;
	add_text(xlat464, "why", member_text(status, "why"));
	if ((known = member(status, "candidates", json_type_int)))
		json_object_object_add(xlat464, "plats", json_object_get(known));
	if (!add_chosen(statistics, xlat464, status))
		json_object_object_add(statistics, "gateway_tq", json_object_new_int(0));
	json_object_put(status);
}
