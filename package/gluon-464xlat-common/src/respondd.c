// SPDX-License-Identifier: ISC
/* What respondd tells of a node under statistics.xlat464: its roles, the PLAT in use and why, what the roaming daemon
 * counts, and what the translators dropped. Daemons are asked at their Unix sockets, with a time limit, and no program
 * is started; one that does not answer is left out.
 */
#include "respondd-common.h"
#include "respondd-xlat464.h"

#include <respondd.h>

#include <json-c/json.h>
#include <string.h>

enum {
	SETTINGS_BYTES = 4096, // a role's, one line
	VALUE_BYTES = 128,
};

static const char *const roles[] = { "clat", "plat" };
// the counters of siit that count no drop, by their first letters: siit/src/siit.h and pump.h have them all
static const char *const no_drops[] = {
	"translated", "fragmented", "in4_", "in6_", "out4_", "out6_", "reassembled", "coalesced", "icmp_sent", "icmp_suppressed",
};

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

/* What the kernel dropped at the translator's device, whichever translator it is. */
static int64_t device_drops(const char *device) {
	return read_device_number(device, "statistics/rx_dropped") + read_device_number(device, "statistics/tx_dropped");
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
	struct json_object *status, *devices, *counters = NULL;

	snprintf(command, sizeof(command), "stat %s\n", device);
	status = ask(socket, command);
	devices = member(status, "devices", json_type_array);
	if (devices && json_object_array_length(devices) == 1)
		counters = member(json_object_array_get_idx(devices, 0), "counters", json_type_object);
	if (counters) {
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

	add_exit(statistics, xlat464);
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
