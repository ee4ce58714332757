// SPDX-License-Identifier: ISC
/* What respondd does with a module, for tests: calls the providers of one request and prints what they tell, and with a
 * number behind it that many times in a row, for what leaks.
 */
#include <json-c/json.h>
#include <respondd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
	int times = argc > 2 ? atoi(argv[2]) : 1;

	for (; times > 0; times--) {
		for (const struct respondd_provider_info *info = respondd_providers; info->request; info++) {
			if (strcmp(info->request, argv[1]))
				continue;
			struct json_object *told = info->provider();
			if (!json_object_is_type(told, json_type_object))
				return 1; // respondd would throw away what others told
			puts(json_object_to_json_string_ext(told, JSON_C_TO_STRING_PLAIN));
			json_object_put(told);
		}
	}
	return 0;
}
