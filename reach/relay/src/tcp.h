/* SPDX-License-Identifier: ISC
 * A TCP connection: two sockets, and what one sends the other gets. pump.c moves the bytes, tcp.c does the rest.
 */
#ifndef REACH_RELAY_TCP_H
#define REACH_RELAY_TCP_H

#include "relay.h"

#include <stddef.h>

enum { CALLER, TARGET };

struct side {
	struct watch watch; /* first: an event points to it */
	struct connection *connection;
	uint8_t *kept; /* for this side, from the other */
	uint32_t kept_from, kept_to;
	bool readable, writable, hung_up, has_ended, is_shut, is_slow, was_urgent;
};

struct connection {
	struct timed timed; /* first: a ring's member is a connection */
	struct side sides[2];
	struct rule *rule;
	struct source *source;
	struct connection *next; /* of the dead, or of those with more to do */
	bool is_connected, is_dead, is_waiting;
};

/* pump.c */
enum outcome { IS_OVER, WAITS, HAS_MORE, FAILED };

enum outcome pump(struct connection *connection); /* both ways, while it can and has its turn */
bool keep(struct side *to, const uint8_t *bytes, size_t length);
void drop_kept(struct side *side);

#endif
