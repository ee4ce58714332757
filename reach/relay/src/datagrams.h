/* SPDX-License-Identifier: ISC
 * A batch of datagrams: received in one system call, sent in as few as possible. There is one batch at a time.
 */
#ifndef REACH_RELAY_DATAGRAMS_H
#define REACH_RELAY_DATAGRAMS_H

#include "relay.h"

#include <stddef.h>

extern union address senders[BATCH];

int receive(int fd, bool with_senders, bool with_control); /* how many, up to BATCH */
size_t length_of(int i);
union address asked(int i); /* where it was sent to; of no family when the kernel has not said */
void pass_on(int i);        /* from now on it is one to be sent, of which only its bytes stay */
void pass_to(int i, const union address *to, const union address *from); /* the same, from one of our addresses */

/*
 * Send first to last-1. One that cannot be sent is dropped, as a router would, and the others go on. *max_segment is the
 * largest datagram that may be part of a super-packet this way, and is learned here.
 */
void transmit(int fd, int first, int last, size_t *max_segment);

#endif
