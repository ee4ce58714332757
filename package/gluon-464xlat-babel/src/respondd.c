// SPDX-License-Identifier: ISC
/* What respondd tells of a node of a babel mesh, in the words that maps and Gluon's status page know. */
#include "babel.h"

#include <json-c/json.h>
#include <respondd.h>

static struct json_object *respondd_provider_nodeinfo(void) {
	struct json_object *nodeinfo = json_object_new_object();

	add_network(nodeinfo);
	add_version(nodeinfo);
	return nodeinfo;
}

static struct json_object *respondd_provider_statistics(void) {
	struct json_object *statistics = json_object_new_object();

	add_bridge(statistics);
	return statistics;
}

static struct json_object *respondd_provider_neighbours(void) {
	struct json_object *neighbours = json_object_new_object();
	struct json_object *babel = ask_neighbours();

	if (babel)
		json_object_object_add(neighbours, "babel", babel);
	return neighbours;
}

__attribute__((visibility("default"))) const struct respondd_provider_info respondd_providers[] = {
	{ "nodeinfo", respondd_provider_nodeinfo },
	{ "statistics", respondd_provider_statistics },
	{ "neighbours", respondd_provider_neighbours },
	{ NULL, NULL },
};
