/* SPDX-License-Identifier: ISC
 * Moving a connection's bytes, by flags that its events have set. Bytes that a side does not take are kept (at most one
 * read's worth for each direction), and nothing more is read until they are gone, so that a slow reader slows its
 * sender down and costs little. An end of one direction is passed on as one (half-close).
 */
#include "tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES (256 << 10)
#define SLOW_BYTES (32 << 10)   /* for a side that has not taken all before */
#define SHORT_BYTES (4 << 10)   /* for all, when much is kept */
#define MUCH_BYTES (64 << 20)
#define ROUNDS 8                /* reads in a row, then it is the others' turn */

static uint8_t buffer[READ_BYTES];

void drop_kept(struct side *side)
{
	relay.kept_bytes -= side->kept_to - side->kept_from;
	free(side->kept);
	side->kept = NULL;
	side->kept_from = side->kept_to = 0;
}

bool keep(struct side *to, const uint8_t *bytes, size_t length)
{
	if (!length)
		return true;
	if (!(to->kept = malloc(length)))
		return false;
	memcpy(to->kept, bytes, length);
	to->kept_from = 0;
	to->kept_to = (uint32_t)length;
	relay.kept_bytes += length;
	return true;
}

/* Send what is kept. False: an error. */
static bool send_kept(struct side *to)
{
	ssize_t sent = send(to->watch.fd, to->kept + to->kept_from, to->kept_to - to->kept_from, MSG_NOSIGNAL);

	if (sent < 0) {
		to->writable = false;
		return errno == EAGAIN || errno == EINTR;
	}
	to->kept_from += (uint32_t)sent;
	relay.kept_bytes -= (uint64_t)sent;
	if (to->kept_from == to->kept_to)
		drop_kept(to);
	else
		to->writable = false;
	return true;
}

static bool send_new(struct side *to, const uint8_t *bytes, size_t length)
{
	ssize_t sent = to->writable ? send(to->watch.fd, bytes, length, MSG_NOSIGNAL) : 0;

	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return false;
		sent = 0;
	}
	if ((size_t)sent == length)
		return true;
	to->writable = false;
	to->is_slow = true;
	return keep(to, bytes + sent, length - (size_t)sent);
}

static size_t read_size(const struct side *to)
{
	if (relay.kept_bytes > MUCH_BYTES)
		return SHORT_BYTES;
	return to->is_slow ? SLOW_BYTES : READ_BYTES;
}

/* Read once and pass it on; returns false on an error of either side. */
static bool move(struct side *from, struct side *to)
{
	size_t size = read_size(to);
	ssize_t got = recv(from->watch.fd, buffer, size, 0);

	if (got < 0) {
		from->readable = false;
		return errno == EAGAIN || errno == EINTR;
	}
	if (!got) {
		from->has_ended = true;
		return true;
	}
	if ((size_t)got < size && !from->hung_up && !from->was_urgent)
		from->readable = false; /* it is empty; the next byte is an event of its own */
	*(from == &from->connection->sides[CALLER] ? &relay.count.bytes_in : &relay.count.bytes_out) += (uint64_t)got;
	return send_new(to, buffer, (size_t)got);
}

static enum outcome pump_way(struct side *from, struct side *to)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (to->kept) {
			if (!to->writable)
				return WAITS;
			if (!send_kept(to))
				return FAILED;
			continue;
		}
		if (from->has_ended) {
			if (!to->is_shut && !from->is_shut) /* else both ways are over, and close() says so */
				shutdown(to->watch.fd, SHUT_WR);
			to->is_shut = true;
			return WAITS;
		}
		if (!from->readable || !to->writable)
			return WAITS;
		if (!move(from, to))
			return FAILED;
	}
	return HAS_MORE;
}

enum outcome pump(struct connection *connection)
{
	struct side *caller = &connection->sides[CALLER], *target = &connection->sides[TARGET];
	enum outcome in = pump_way(caller, target), out = in == FAILED ? FAILED : pump_way(target, caller);

	if (in == FAILED || out == FAILED)
		return FAILED;
	if (caller->is_shut && target->is_shut)
		return IS_OVER;
	return in == HAS_MORE || out == HAS_MORE ? HAS_MORE : WAITS;
}
