// SPDX-License-Identifier: ISC
#include "respondd-common.h"
#include "respondd-xlat464.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <string.h>

enum {
	PREFIX_BYTES = 12, // of a /96
	COUNTERS = 100, // what a daemon may count, at most
};

/* Copy what is counted, by name. */
static void add_counters(struct json_object *to, struct json_object *status) {
	struct json_object *counters = member(status, "counters", json_type_object), *told;
	int left = COUNTERS;

	if (!counters)
		return;
	told = json_object_new_object();
	json_object_object_foreach(counters, name, count) {
		if (json_object_is_type(count, json_type_int) && left-- > 0)
			json_object_object_add(told, name, json_object_get(count));
	}
	json_object_object_add(to, "roaming", told);
}

static bool read_member(struct json_object *object, const char *name, struct in6_addr *address) {
	const char *text = member_text(object, name);

	return text && inet_pton(AF_INET6, text, address) == 1;
}

/* Count the clients that are there: those whose IPv4 address this node gave them, those who brought it along from
 * another one, and those who have none, as all have on a node that serves IPv6 alone. */
static void add_clients(struct json_object *to, struct json_object *status) {
	struct json_object *list = member(status, "clients", json_type_array), *client, *clients;
	struct json_object *translating = member(status, "translating", json_type_int);
	int64_t total = 0, at_home = 0, roamed = 0;
	struct in6_addr clat, plat, home;
	bool has_clat = read_member(status, "clat", &clat);
	const char *state;

	if (!list || (!has_clat && read_member(status, "plat", &plat))) // an exit alone has no clients
		return;
	for (size_t i = 0; i < (size_t)json_object_array_length(list); i++) {
		client = json_object_array_get_idx(list, i);
		state = member_text(client, "state");
		if (!state || strcmp(state, "absent") == 0)
			continue;
		total++;
		if (has_clat && read_member(client, "home", &home))
			*(memcmp(&home, &clat, PREFIX_BYTES) ? &roamed : &at_home) += 1;
	}
	clients = json_object_new_object();
	json_object_object_add(clients, "total", json_object_new_int64(total));
	json_object_object_add(clients, "home", json_object_new_int64(at_home));
	json_object_object_add(clients, "roamed", json_object_new_int64(roamed));
	json_object_object_add(clients, "without_ipv4", json_object_new_int64(total - at_home - roamed));
	if (translating) // by a CLAT of their own
		json_object_object_add(clients, "translating", json_object_get(translating));
	json_object_object_add(to, "clients", clients);
}

void add_roaming(struct json_object *xlat464) {
	struct json_object *status = ask("/var/run/l3roamd.sock", "get_status\n"), *redirected;

	if (!status)
		return;
	add_counters(xlat464, status);
	add_clients(xlat464, status);
	if ((redirected = member(status, "roams_total", json_type_int))) // an exit's: clients that are not at their home
		json_object_object_add(xlat464, "redirected", json_object_get(redirected));
	json_object_put(status);
}
