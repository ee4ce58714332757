// SPDX-License-Identifier: ISC
#include "respondd-common.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void) {
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait until the socket can be read from or written to; false when the time is over. */
static bool wait_for(const struct dialogue *dialogue, short events) {
	struct pollfd socket = { .fd = dialogue->fd, .events = events };
	int64_t left_ms = dialogue->until_ms - now_ms();

	if (left_ms > SILENCE_MS)
		left_ms = SILENCE_MS;
	return left_ms > 0 && poll(&socket, 1, (int)left_ms) == 1;
}

static bool open_socket(struct dialogue *dialogue, const struct sockaddr *address, socklen_t length) {
	int error = 0;
	socklen_t size = sizeof(error);

	dialogue->until_ms = now_ms() + ASK_MS;
	dialogue->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dialogue->fd < 0)
		return false;
	if (connect(dialogue->fd, address, length) == 0)
		return true;
	if (errno == EINPROGRESS && wait_for(dialogue, POLLOUT) &&
		getsockopt(dialogue->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0)
		return true;
	dialogue_close(dialogue);
	return false;
}

bool dialogue_open_path(struct dialogue *dialogue, const char *path) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return false;
	strcpy(address.sun_path, path);
	return open_socket(dialogue, (const struct sockaddr *)&address, sizeof(address));
}

bool dialogue_open_port(struct dialogue *dialogue, uint16_t port) {
	const struct sockaddr_in6 address = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};

	return open_socket(dialogue, (const struct sockaddr *)&address, sizeof(address));
}

bool dialogue_say(struct dialogue *dialogue, const char *words) {
	return send(dialogue->fd, words, strlen(words), MSG_NOSIGNAL) == (ssize_t)strlen(words);
}

ssize_t dialogue_hear(struct dialogue *dialogue, void *bytes, size_t size) {
	return wait_for(dialogue, POLLIN) ? recv(dialogue->fd, bytes, size, 0) : -1;
}

void dialogue_close(struct dialogue *dialogue) {
	close(dialogue->fd);
	dialogue->fd = -1;
}

FILE *open_device_file(const char *device, const char *name) {
	char path[128];

	if (strchr(device, '/') || snprintf(path, sizeof(path), "/sys/class/net/%s/%s", device, name) >= (int)sizeof(path))
		return NULL;
	return fopen(path, "re");
}

int64_t read_device_number(const char *device, const char *name) {
	FILE *file = open_device_file(device, name);
	long long number = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%lld", &number) != 1)
		number = 0;
	fclose(file);
	return number;
}

void format_mac(const uint8_t mac[6], char text[MAC_TEXT]) {
	snprintf(text, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

bool mac_of_address(const struct in6_addr *address, char text[MAC_TEXT]) {
	const uint8_t *eui = address->s6_addr + 8;
	const uint8_t mac[6] = { eui[0] ^ 2, eui[1], eui[2], eui[5], eui[6], eui[7] };

	if (eui[3] != 0xff || eui[4] != 0xfe)
		return false;
	format_mac(mac, text);
	return true;
}

void add_text(struct json_object *to, const char *name, const char *text) {
	if (text)
		json_object_object_add(to, name, json_object_new_string(text));
}

void add_count(struct json_object *to, const char *name, int64_t count) {
	if (count > 0)
		json_object_object_add(to, name, json_object_new_int64(count));
}

void add_object(struct json_object *to, const char *name, struct json_object *object) {
	if (json_object_object_length(object))
		json_object_object_add(to, name, object);
	else
		json_object_put(object);
}
