/* SPDX-License-Identifier: ISC */
/* A stand-in for the header of Gluon's respondd: what a module of it has to define. */
#ifndef SDK_IPK_RESPONDD_H
#define SDK_IPK_RESPONDD_H

struct json_object;

struct respondd_provider_info {
	const char *request;
	struct json_object *(*const provider)(void);
};

extern const struct respondd_provider_info respondd_providers[];

#endif
