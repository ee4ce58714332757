// SPDX-License-Identifier: ISC
/* What respondd tells of a node under statistics.xlat464: its roles, the PLAT in use, its metric, what the roaming
 * daemon counts, and what the translators dropped. Daemons are asked at their Unix sockets, with a time limit, and no
 * program is started; one that does not answer is left out.
 */
#include <respondd.h>

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	TIMEOUT_MS = 300,
	ANSWER_BYTES = 256 * 1024, // prefixd with 500 PLATs says 150 KB
	CHUNK_BYTES = 4096,
	SETTINGS_BYTES = 4096, // a role's, one line
	VALUE_BYTES = 128,
};

static const char *const roles[] = { "clat", "plat" };
// the counters of siit that count no drop, by their first letters: siit/src/siit.h and pump.h have them all
static const char *const no_drops[] = {
	"translated", "fragmented", "in4_", "in6_", "out4_", "out6_", "coalesced", "icmp_sent", "icmp_suppressed",
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

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

/* Read a role's settings, "NAME=VALUE NAME=VALUE ..."; false if it is not up: they are written last. */
static bool read_settings(const char *role, char *line) {
	char path[VALUE_BYTES];
	FILE *file;
	bool is_read;

	snprintf(path, sizeof(path), "/var/run/464xlat/%s.settings", role);
	file = fopen(path, "r");
	if (!file)
		return false;
	is_read = fgets(line, SETTINGS_BYTES, file);
	fclose(file);
	return is_read;
}

/* Copy a setting's value, VALUE_BYTES with its end; false if there is none, or a longer one. */
static bool find_setting(const char *line, const char *name, char *value) {
	size_t length = strlen(name), end;

	for (; *line && *line != '\n'; line += end + (line[end] == ' ')) {
		end = strcspn(line, " \n");
		if (!strncmp(line, name, length) && line[length] == '=' && end > length + 1 && end - length <= VALUE_BYTES) {
			memcpy(value, line + length + 1, end - length - 1);
			value[end - length - 1] = '\0';
			return true;
		}
	}
	return false;
}

/* Add a number, unless it is 0. */
static void add_count(struct json_object *to, const char *name, int64_t count) {
	if (count > 0)
		json_object_object_add(to, name, json_object_new_int64(count));
}

/* What the kernel dropped at the translator's device, whichever translator it is. */
static int64_t device_drops(const char *device) {
	static const char *const directions[] = { "rx", "tx" };
	char path[2 * VALUE_BYTES];
	long long count, sum = 0;
	FILE *file;

	for (size_t i = 0; i < LENGTH(directions); i++) {
		snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s_dropped", device, directions[i]);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%lld", &count) == 1)
			sum += count;
		fclose(file);
	}
	return sum;
}

static bool is_drop(const char *counter) {
	for (size_t i = 0; i < LENGTH(no_drops); i++) {
		if (!strncmp(counter, no_drops[i], strlen(no_drops[i])))
			return false;
	}
	return true;
}

/* What siit dropped at one device, by reason. Nobody listens at the control file of nat46, which counts no drops. */
static void add_siit_drops(struct json_object *to, const char *socket, const char *device) {
	char command[VALUE_BYTES + 8];
	struct json_object *status, *devices, *counters;

	snprintf(command, sizeof(command), "stat %s\n", device);
	status = ask(socket, command);
	if (status && json_object_object_get_ex(status, "devices", &devices) &&
		json_object_is_type(devices, json_type_array) && json_object_array_length(devices) == 1 &&
		json_object_object_get_ex(json_object_array_get_idx(devices, 0), "counters", &counters)) {
		json_object_object_foreach(counters, name, count) {
			if (is_drop(name))
				add_count(to, name, json_object_get_int64(count));
		}
	}
	json_object_put(status);
}

static void add_role(struct json_object *to, struct json_object *drops, const char *role) {
	char line[SETTINGS_BYTES], device[VALUE_BYTES], target[VALUE_BYTES], name[VALUE_BYTES];
	bool is_up = read_settings(role, line);
	struct json_object *reasons;

	snprintf(name, sizeof(name), "is_%s", role);
	json_object_object_add(to, name, json_object_new_boolean(is_up));
	if (!is_up || !find_setting(line, "device", device))
		return;
	reasons = json_object_new_object();
	add_count(reasons, "device", device_drops(device));
	if (find_setting(line, "target", target))
		add_siit_drops(reasons, target, device);
	json_object_object_add(drops, role, reasons);
}

static struct json_object *respondd_provider_statistics(void) {
	struct json_object *statistics = json_object_new_object();
	struct json_object *xlat464 = json_object_new_object();
	struct json_object *drops = json_object_new_object();

	add_prefixd(xlat464);
	add_roaming(xlat464);
	for (size_t i = 0; i < LENGTH(roles); i++)
		add_role(xlat464, drops, roles[i]);
	json_object_object_add(xlat464, "drops", drops);
	json_object_object_add(statistics, "xlat464", xlat464);
	return statistics;
}

__attribute__((visibility("default"))) const struct respondd_provider_info respondd_providers[] = {
	{ "statistics", respondd_provider_statistics },
	{ NULL, NULL },
};
