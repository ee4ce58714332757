// SPDX-License-Identifier: ISC
/* What respondd tells of a node under statistics.xlat464: its roles, the PLAT in use, its metric, and what the roaming
 * daemon counts. Both daemons are asked at their Unix sockets, with a time limit; one that does not answer is left out.
 */
#include <respondd.h>

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	TIMEOUT_MS = 300,
	ANSWER_BYTES = 256 * 1024, // prefixd with 500 PLATs says 150 KB
	CHUNK_BYTES = 4096,
};

/* Connect to the Unix socket at path, waiting at most TIMEOUT_MS for each step; -1 if nobody is there. */
static int open_socket(const char *path) {
	const struct timeval limit = { .tv_usec = TIMEOUT_MS * 1000 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Ask one command and return the JSON object that comes back, NULL if none does. */
static struct json_object *ask(const char *path, const char *command) {
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *answer = NULL;
	char chunk[CHUNK_BYTES];
	ssize_t got;
	size_t total = 0;
	int fd = open_socket(path);

	if (fd >= 0 && tokener && send(fd, command, strlen(command), MSG_NOSIGNAL) == (ssize_t)strlen(command)) {
		while (!answer && total < ANSWER_BYTES && (got = recv(fd, chunk, sizeof(chunk), 0)) > 0) {
			total += got;
			answer = json_tokener_parse_ex(tokener, chunk, got);
			if (!answer && json_tokener_get_error(tokener) != json_tokener_continue)
				break;
		}
	}
	if (fd >= 0)
		close(fd);
	if (tokener)
		json_tokener_free(tokener);
	if (answer && !json_object_is_type(answer, json_type_object)) {
		json_object_put(answer);
		answer = NULL;
	}
	return answer;
}

/* Copy a member of one object to another under a name, if it is there. */
static void copy(struct json_object *to, const char *name, struct json_object *from, const char *member) {
	struct json_object *value;

	if (json_object_object_get_ex(from, member, &value))
		json_object_object_add(to, name, json_object_get(value));
}

static void add_prefixd(struct json_object *to) {
	struct json_object *status = ask("/var/run/prefixd.sock", "status\n");
	struct json_object *plats, *plat, *chosen;

	if (!status)
		return;
	copy(to, "plat", status, "chosen");
	copy(to, "plats", status, "candidates");
	if (json_object_object_get_ex(status, "plats", &plats) && json_object_is_type(plats, json_type_array)) {
		for (size_t i = 0; i < (size_t)json_object_array_length(plats); i++) {
			plat = json_object_array_get_idx(plats, i);
			if (json_object_object_get_ex(plat, "chosen", &chosen) && json_object_get_boolean(chosen))
				copy(to, "metric", plat, "metric");
		}
	}
	json_object_put(status);
}

static void add_roaming(struct json_object *to) {
	struct json_object *status = ask("/var/run/l3roamd.sock", "get_status\n");

	if (!status)
		return;
	copy(to, "roaming", status, "counters");
	json_object_put(status);
}

/* Whether a role is up: its settings are written last. */
static void add_role(struct json_object *to, const char *name, const char *settings) {
	json_object_object_add(to, name, json_object_new_boolean(access(settings, F_OK) == 0));
}

static struct json_object *respondd_provider_statistics(void) {
	struct json_object *statistics = json_object_new_object();
	struct json_object *xlat464 = json_object_new_object();

	add_prefixd(xlat464);
	add_roaming(xlat464);
	add_role(xlat464, "is_clat", "/var/run/464xlat/clat.settings");
	add_role(xlat464, "is_plat", "/var/run/464xlat/plat.settings");
	json_object_object_add(statistics, "xlat464", xlat464);
	return statistics;
}

__attribute__((visibility("default"))) const struct respondd_provider_info respondd_providers[] = {
	{ "statistics", respondd_provider_statistics },
	{ NULL, NULL },
};
