// SPDX-License-Identifier: ISC
/* What the kernel tells: addresses, devices, who is on the bridge. */
#include "babel.h"
#include "respondd-common.h"

#include <arpa/inet.h>
#include <glob.h>
#include <json-c/json.h>
#include <linux/if_bridge.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

enum {
	SCOPE_GLOBAL = 0x00, // of /proc/net/if_inet6
	SCOPE_LINK = 0x20,
	TENTATIVE_OR_DEPRECATED = 0x40 | 0x20, // include/uapi/linux/if_addr.h
	LOWER_MAX = 8, // devices below a device
	DEVICES_MAX = 64,
	CLIENTS_MAX = 4096,
	INACTIVE_S = 60, // as long as for Gluon's other counts
	TICKS_S = 100, // USER_HZ
	OPTION_BYTES = 256,
	PREFIX_BYTES = 8,
};

static const char devices_file[] = "/var/run/gluon-464xlat-babel.devices"; // what the service has told babeld
static const char client_device[] = "br-client";

struct local_address {
	struct in6_addr address;
	char text[INET6_ADDRSTRLEN], device[IF_NAMESIZE];
	unsigned int scope, flags;
};

/* Read the next of this node's addresses; false at the end. */
static bool next_address(FILE *file, struct local_address *local) {
	char digits[33], text[40];
	size_t length = 0;

	if (fscanf(file, "%32s %*s %*s %x %x %15s", digits, &local->scope, &local->flags, local->device) != 4)
		return false;
	for (size_t i = 0; digits[i]; i++) {
		if (i && i % 4 == 0)
			text[length++] = ':';
		text[length++] = digits[i];
	}
	text[length] = '\0';
	return inet_pton(AF_INET6, text, &local->address) == 1 &&
		inet_ntop(AF_INET6, &local->address, local->text, sizeof(local->text));
}

/* The prefix of the addresses by which nodes find clients: on lo as well, and no address of the node. */
static bool read_node_client_prefix(struct in6_addr *prefix) {
	char line[OPTION_BYTES], text[INET6_ADDRSTRLEN];
	bool is_found = false;
	FILE *file = fopen("/etc/config/464xlat", "re");

	if (!file)
		return false;
	while (!is_found && fgets(line, sizeof(line), file))
		is_found = sscanf(line, " option node_client_prefix '%45[0-9a-fA-F:]/", text) == 1 &&
			inet_pton(AF_INET6, text, prefix) == 1;
	fclose(file);
	return is_found;
}

/* The addresses at which the node can be reached from the mesh. */
static struct json_object *list_addresses(void) {
	struct json_object *addresses = json_object_new_array();
	struct local_address local;
	struct in6_addr prefix;
	bool has_prefix = read_node_client_prefix(&prefix);
	FILE *file = fopen("/proc/net/if_inet6", "re");

	if (!file)
		return addresses;
	while (next_address(file, &local)) {
		if (local.scope != SCOPE_GLOBAL || local.flags & TENTATIVE_OR_DEPRECATED ||
			(strcmp(local.device, "lo") && strcmp(local.device, client_device)) ||
			(has_prefix && !memcmp(&local.address, &prefix, PREFIX_BYTES)))
			continue;
		json_object_array_add(addresses, json_object_new_string(local.text));
	}
	fclose(file);
	return addresses;
}

/* Go down to the device that carries this one: that of a VLAN, the first port of a bridge. */
static void find_lowest(const char *device, char lowest[IF_NAMESIZE]) {
	char pattern[64];
	const char *name;
	glob_t found;

	snprintf(lowest, IF_NAMESIZE, "%s", device);
	for (int i = 0; i < LOWER_MAX; i++) {
		snprintf(pattern, sizeof(pattern), "/sys/class/net/%s/lower_*", lowest);
		if (glob(pattern, 0, NULL, &found) != 0)
			return;
		name = strstr(found.gl_pathv[0], "/lower_");
		snprintf(lowest, IF_NAMESIZE, "%s", name + strlen("/lower_"));
		globfree(&found);
	}
}

static const char *kind_of(const char *device) {
	char lowest[IF_NAMESIZE], line[64];
	const char *kind = "other";
	FILE *file;

	find_lowest(device, lowest);
	if ((file = open_device_file(lowest, "tun_flags"))) {
		fclose(file);
		return "tunnel";
	}
	if (!(file = open_device_file(lowest, "uevent")))
		return kind;
	while (fgets(line, sizeof(line), file)) {
		if (!strcmp(line, "DEVTYPE=wlan\n"))
			kind = "wireless";
		else if (!strcmp(line, "DEVTYPE=wireguard\n") || !strcmp(line, "DEVTYPE=l2tpeth\n"))
			kind = "tunnel";
	}
	fclose(file);
	return kind;
}

/* Add an address under its device's kind. */
static void add_address(struct json_object *interfaces, const char *kind, const char *address) {
	struct json_object *list;

	if (!json_object_object_get_ex(interfaces, kind, &list)) {
		list = json_object_new_array();
		json_object_object_add(interfaces, kind, list);
	}
	json_object_array_add(list, json_object_new_string(address));
}

/* By its link-local addresses neighbours of babel are known, by its MAC stations of a Wi-Fi: a map finds the node by
 * both, and so does a status page. */
static void add_device(struct json_object *interfaces, const char *device) {
	const char *kind = kind_of(device);
	struct local_address local;
	char mac[MAC_TEXT];
	FILE *file = fopen("/proc/net/if_inet6", "re");
	bool has_any = false;

	while (file && next_address(file, &local)) {
		if (local.scope != SCOPE_LINK || local.flags & TENTATIVE_OR_DEPRECATED || strcmp(local.device, device))
			continue;
		add_address(interfaces, kind, local.text);
		has_any = true;
	}
	if (file)
		fclose(file);
	if (!has_any || !(file = open_device_file(device, "address")))
		return;
	if (fscanf(file, "%17s", mac) == 1 && strlen(mac) == MAC_TEXT - 1)
		add_address(interfaces, kind, mac);
	fclose(file);
}

static struct json_object *list_interfaces(void) {
	struct json_object *interfaces = json_object_new_object();
	FILE *file = fopen(devices_file, "re");
	char device[IF_NAMESIZE];

	if (!file)
		return interfaces;
	for (int i = 0; i < DEVICES_MAX && fscanf(file, "%15s", device) == 1; i++)
		add_device(interfaces, device);
	fclose(file);
	return interfaces;
}

void add_network(struct json_object *nodeinfo) {
	struct json_object *network = json_object_new_object();
	struct json_object *mesh = json_object_new_object();
	struct json_object *babel = json_object_new_object();

	json_object_object_add(babel, "interfaces", list_interfaces());
	json_object_object_add(mesh, "babel", babel);
	json_object_object_add(network, "addresses", list_addresses());
	json_object_object_add(network, "mesh", mesh);
	json_object_object_add(nodeinfo, "network", network);
}

/* Count who has spoken on the bridge, except this node itself: its next-node address has a device of its own, whose
 * MAC comes in at one of the ports. */
static int count_clients(void) {
	struct __fdb_entry entry; // the layout of the kernel's file
	FILE *file = open_device_file("local-node", "address");
	char own[MAC_TEXT] = "", mac[MAC_TEXT];
	int clients = 0;

	if (file) {
		if (fscanf(file, "%17s", own) != 1)
			*own = '\0';
		fclose(file);
	}
	if (!(file = open_device_file(client_device, "brforward")))
		return -1;
	while (clients < CLIENTS_MAX && fread(&entry, sizeof(entry), 1, file) == 1) {
		format_mac(entry.mac_addr, mac);
		if (!entry.is_local && entry.ageing_timer_value <= INACTIVE_S * TICKS_S && strcmp(mac, own))
			clients++;
	}
	fclose(file);
	return clients;
}

static struct json_object *traffic_of(const char *direction) {
	static const char *const counts[] = { "packets", "bytes", "dropped" };
	struct json_object *traffic = json_object_new_object();
	char name[32];

	for (size_t i = 0; i < LENGTH(counts); i++) {
		snprintf(name, sizeof(name), "statistics/%s_%s", direction, counts[i]);
		json_object_object_add(traffic, counts[i], json_object_new_int64(read_device_number(client_device, name)));
	}
	return traffic;
}

/* What this node passed on, and all that it sent: the kernel counts forwarded packets apart, but not their bytes, and
 * on a router the two are nearly the same. */
static struct json_object *forwarded(void) {
	struct json_object *traffic = json_object_new_object();
	FILE *file = fopen("/proc/net/snmp6", "re");
	long long count;
	char name[64];

	while (file && fscanf(file, "%63s %lld", name, &count) == 2) {
		if (!strcmp(name, "Ip6OutForwDatagrams"))
			json_object_object_add(traffic, "packets", json_object_new_int64(count));
		else if (!strcmp(name, "Ip6OutOctets"))
			json_object_object_add(traffic, "bytes", json_object_new_int64(count));
	}
	if (file)
		fclose(file);
	return traffic;
}

void add_bridge(struct json_object *statistics) {
	struct json_object *traffic = json_object_new_object(), *clients;
	int total = count_clients();

	if (total >= 0) {
		clients = json_object_new_object();
		json_object_object_add(clients, "total", json_object_new_int(total));
		json_object_object_add(statistics, "clients", clients);
	}
	json_object_object_add(traffic, "rx", traffic_of("rx"));
	json_object_object_add(traffic, "tx", traffic_of("tx"));
	json_object_object_add(traffic, "forward", forwarded());
	json_object_object_add(statistics, "traffic", traffic);
}
