/* SPDX-License-Identifier: ISC */
/* What loading and attaching share. */
#ifndef SIIT_ATTACH_H
#define SIIT_ATTACH_H

#include <linux/bpf.h>

#define SIIT_FAST_NAME "siit_fast" /* of the program and the maps, by which a later daemon knows them */

/* bpf(2); a negative errno, or what it returns. */
int siit_bpf(int command, union bpf_attr *attr);

#endif
