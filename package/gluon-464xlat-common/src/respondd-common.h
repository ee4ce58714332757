// SPDX-License-Identifier: ISC
/* What the respondd modules of this feed share. respondd has one thread: nothing here waits for longer than it says,
 * whoever is at the other end, and nothing takes more memory for a longer answer.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

enum {
	ASK_MS = 1000, // what one dialogue may take from its first step to its last
	SILENCE_MS = 300, // and how long nothing may come meanwhile
	MAC_TEXT = sizeof("00:00:00:00:00:00"),
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct json_object;

struct dialogue {
	int fd;
	int64_t until_ms;
};

/* Connect to a local daemon. False if nobody is there, or has no time. */
bool dialogue_open_path(struct dialogue *dialogue, const char *path);
bool dialogue_open_port(struct dialogue *dialogue, uint16_t port);
/* Say a few bytes. False if the other end does not take them at once: it never has to wait for so few. */
bool dialogue_say(struct dialogue *dialogue, const char *words);
/* Wait for bytes. Returns how many there are, 0 at the end, or -1 when the time is over. */
ssize_t dialogue_hear(struct dialogue *dialogue, void *bytes, size_t size);
void dialogue_close(struct dialogue *dialogue);

/* Open a device's file below /sys/class/net, NULL if there is none. */
FILE *open_device_file(const char *device, const char *name);
/* Read the number in such a file, 0 if there is none. */
int64_t read_device_number(const char *device, const char *name);

/* Write the MAC of a modified EUI-64 (RFC 4291 appendix A), the last 64 bits of an address. False if it is made of none. */
bool mac_of_address(const struct in6_addr *address, char text[MAC_TEXT]);
void format_mac(const uint8_t mac[6], char text[MAC_TEXT]);

/* Add a text, a number; what is NULL or 0 not. */
void add_text(struct json_object *to, const char *name, const char *text);
void add_count(struct json_object *to, const char *name, int64_t count);
/* Add an object; an empty one not. It is consumed. */
void add_object(struct json_object *to, const char *name, struct json_object *object);
