// SPDX-License-Identifier: ISC
/* statistics.xlat464 and what follows from it, in parts. Each adds what it finds out, and nothing if its daemon is not
 * there or says nothing of use.
 */
#pragma once

struct json_object;

/* The exit in use, why, and how far it is; to `statistics` the same in the words that maps know: gateway,
 * gateway_nexthop, gateway_tq. */
void add_exit(struct json_object *statistics, struct json_object *xlat464);
/* What the roaming daemon counts, and the clients by kind. */
void add_roaming(struct json_object *xlat464);

/* Ask one command at a Unix socket and return the JSON object that comes back, NULL if none does. */
struct json_object *ask(const char *path, const char *command);
/* A member of that type; NULL if there is none. `type` is an enum json_type. */
struct json_object *member(struct json_object *object, const char *name, int type);
/* A member's text, NULL if it has none, or a longer one than our daemons say. */
const char *member_text(struct json_object *object, const char *name);
