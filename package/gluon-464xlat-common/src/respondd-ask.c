// SPDX-License-Identifier: ISC
/* Ask one of our daemons at its Unix socket, and read the JSON object that it answers with. */
#include "respondd-common.h"
#include "respondd-xlat464.h"

#include <json-c/json.h>

enum {
	ANSWER_BYTES = 256 * 1024, // l3roamd_py says 300 of each client
	CHUNK_BYTES = 4096,
	TEXT_BYTES = 256, // the longest text that is passed on
};

struct json_object *ask(const char *path, const char *command) {
	struct json_tokener *tokener;
	struct json_object *answer = NULL;
	struct dialogue dialogue;
	char chunk[CHUNK_BYTES];
	ssize_t got;
	size_t total = 0;

	if (!dialogue_open_path(&dialogue, path))
		return NULL;
	tokener = json_tokener_new();
	if (tokener && dialogue_say(&dialogue, command)) {
		while (!answer && total < ANSWER_BYTES && (got = dialogue_hear(&dialogue, chunk, sizeof(chunk))) > 0) {
			total += got;
			answer = json_tokener_parse_ex(tokener, chunk, got);
			if (!answer && json_tokener_get_error(tokener) != json_tokener_continue)
				break;
		}
	}
	dialogue_close(&dialogue);
	if (tokener)
		json_tokener_free(tokener);
	if (answer && !json_object_is_type(answer, json_type_object)) {
		json_object_put(answer);
		answer = NULL;
	}
	return answer;
}

struct json_object *member(struct json_object *object, const char *name, int type) {
	struct json_object *found;

	if (!json_object_is_type(object, json_type_object) || !json_object_object_get_ex(object, name, &found) ||
		!json_object_is_type(found, type))
		return NULL;
	return found;
}

const char *member_text(struct json_object *object, const char *name) {
	struct json_object *found = member(object, name, json_type_string);

	return found && json_object_get_string_len(found) <= TEXT_BYTES ? json_object_get_string(found) : NULL;
}
