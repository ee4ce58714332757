// SPDX-License-Identifier: ISC
/* babeld's local interface (its local.c), read once and line by line. It greets with some facts and `ok`; asked to
 * `dump`, it tells its interfaces, its neighbours, and then its routes, which nobody here wants to hear.
 */
#include "babel.h"
#include "respondd-common.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

enum {
	PORT = 33123,
	LINE_BYTES = 512, // babeld formats every line into a buffer of this size
	LINES = 1024, // of interfaces and neighbours: no mesh has as many beside one node
	WORDS = 40,
	INFINITE = 0xffff, // RFC 8966 section 3.6: nothing goes there
};

/* A dialogue with babeld, and what of its next lines is here already. */
struct babeld {
	struct dialogue dialogue;
	char bytes[LINE_BYTES];
	size_t used, start;
	int left;
};

static bool babeld_open(struct babeld *babeld) {
	babeld->used = babeld->start = 0;
	babeld->left = LINES;
	return dialogue_open_port(&babeld->dialogue, PORT);
}

/* Return the next line, without its end, until the next call; NULL when there is none, in time and of its length. */
static char *babeld_line(struct babeld *babeld) {
	char *line, *end;
	ssize_t got;

	while (babeld->left-- > 0) {
		line = babeld->bytes + babeld->start;
		end = memchr(line, '\n', babeld->used - babeld->start);
		if (end) {
			*end = '\0';
			babeld->start = end + 1 - babeld->bytes;
			return line;
		}
		babeld->used -= babeld->start;
		memmove(babeld->bytes, line, babeld->used);
		babeld->start = 0;
		if (babeld->used == sizeof(babeld->bytes))
			return NULL;
		got = dialogue_hear(&babeld->dialogue, babeld->bytes + babeld->used, sizeof(babeld->bytes) - babeld->used);
		if (got <= 0)
			return NULL;
		babeld->used += got;
	}
	return NULL;
}

static bool begins_with(const char *line, const char *words) {
	return !strncmp(line, words, strlen(words));
}

/* Hear the greeting to its end; false if it is none. Version as babeld tells it, if there is a place for it. */
static bool babeld_greets(struct babeld *babeld, char *version, size_t size) {
	char *line = babeld_line(babeld);

	if (!line || !begins_with(line, "BABEL 1."))
		return false;
	while ((line = babeld_line(babeld))) {
		if (!strcmp(line, "ok"))
			return true;
		if (version && begins_with(line, "version "))
			snprintf(version, size, "%s", line + strlen("version "));
	}
	return false;
}

void add_version(struct json_object *nodeinfo) {
	char version[64] = "";
	struct json_object *software, *daemon;
	struct babeld babeld;

	if (!babeld_open(&babeld))
		return;
	if (babeld_greets(&babeld, version, sizeof(version)) && *version) {
		daemon = json_object_new_object();
		add_text(daemon, "version", version);
		software = json_object_new_object();
		json_object_object_add(software, "babeld", daemon);
		json_object_object_add(nodeinfo, "software", software);
	}
	dialogue_close(&babeld.dialogue);
}

/* Split a line at its blanks; return how many words there are, WORDS at most. */
static int split(char *line, char *words[WORDS]) {
	int count = 0;
	char *rest;

	for (char *word = strtok_r(line, " ", &rest); word && count < WORDS; word = strtok_r(NULL, " ", &rest))
		words[count++] = word;
	return count;
}

/* The word behind a name; NULL if there is none. */
static const char *value_of(char *words[WORDS], int count, const char *name) {
	for (int i = 2; i + 1 < count; i++) {
		if (!strcmp(words[i], name))
			return words[i + 1];
	}
	return NULL;
}

/* The number of 16 bits behind a name, -1 if there is none. */
static int number_of(char *words[WORDS], int count, const char *name, int base) {
	const char *text = value_of(words, count, name);
	unsigned long number;
	char *end;

	if (!text || !strchr("0123456789abcdef", *text))
		return -1;
	number = strtoul(text, &end, base);
	return *end || number > INFINITE ? -1 : (int)number;
}

static bool is_link_local(const char *text, struct in6_addr *address) {
	return text && inet_pton(AF_INET6, text, address) == 1 && IN6_IS_ADDR_LINKLOCAL(address);
}

/* The object of a device in the answer, made if it is not there. */
static struct json_object *device_in(struct json_object *devices, const char *name) {
	struct json_object *device;

	if (!json_object_object_get_ex(devices, name, &device)) {
		device = json_object_new_object();
		add_text(device, "protocol", "babel");
		json_object_object_add(device, "neighbours", json_object_new_object());
		json_object_object_add(devices, name, device);
	}
	return device;
}

/* add interface mesh0 up true ipv6 fe80::1 */
static void take_interface(struct json_object *devices, char *words[WORDS], int count) {
	const char *address = value_of(words, count, "ipv6");
	struct in6_addr parsed;

	if (count > 2 && strlen(words[2]) < IF_NAMESIZE && is_link_local(address, &parsed))
		add_text(device_in(devices, words[2]), "ll-addr", address);
}

/* add neighbour 55b47a4f40e0 address fe80::2 if mesh0 reach ffff ureach 0000 rxcost 96 txcost 96 cost 96 */
static void take_neighbour(struct json_object *devices, char *words[WORDS], int count) {
	static const char *const costs[] = { "rxcost", "txcost", "cost" };
	const char *text = value_of(words, count, "address"), *name = value_of(words, count, "if");
	int number = number_of(words, count, "cost", 10);
	struct json_object *neighbours, *neighbour;
	struct in6_addr address;
	char mac[MAC_TEXT];

	if (!is_link_local(text, &address) || !name || strlen(name) >= IF_NAMESIZE || number < 0 || number == INFINITE)
		return;
	neighbour = json_object_new_object();
	for (size_t i = 0; i < LENGTH(costs); i++) {
		number = number_of(words, count, costs[i], 10);
		json_object_object_add(neighbour, costs[i], json_object_new_int(number < 0 ? INFINITE : number));
	}
	number = number_of(words, count, "reach", 16);
	json_object_object_add(neighbour, "reachability", json_object_new_int(number < 0 ? 0 : number));
	add_text(neighbour, "ifname", name);
	if (mac_of_address(&address, mac))
		add_text(neighbour, "mac", mac);
	json_object_object_get_ex(device_in(devices, name), "neighbours", &neighbours);
	json_object_object_add(neighbours, text, neighbour);
}

/* Take the dump's lines up to its routes or its end; false if neither comes. */
static bool take_dump(struct babeld *babeld, struct json_object *devices) {
	char *line, *words[WORDS];
	int count;

	while ((line = babeld_line(babeld))) {
		if (!strcmp(line, "ok") || begins_with(line, "add route ") || begins_with(line, "add xroute "))
			return true;
		if (!begins_with(line, "add ")) // it refuses
			return false;
		count = split(line, words);
		if (count > 1 && !strcmp(words[1], "interface"))
			take_interface(devices, words, count);
		else if (count > 1 && !strcmp(words[1], "neighbour"))
			take_neighbour(devices, words, count);
	}
	return false;
}

struct json_object *ask_neighbours(void) {
	struct json_object *devices = NULL;
	struct babeld babeld;

	if (!babeld_open(&babeld))
		return NULL;
	if (babeld_greets(&babeld, NULL, 0) && dialogue_say(&babeld.dialogue, "dump\nquit\n")) {
		devices = json_object_new_object();
		if (!take_dump(&babeld, devices)) {
			json_object_put(devices);
			devices = NULL;
		}
		// babeld complains in the log of who goes before he has heard its routes
		while (devices && dialogue_hear(&babeld.dialogue, babeld.bytes, sizeof(babeld.bytes)) > 0)
			;
	}
	dialogue_close(&babeld.dialogue);
	return devices;
}
