/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about a process → what it should be called. Pure, but for the reader of files that the caller may give. */
#pragma once

#include "user/base/buf.h"

#define IDENTITY_NAME_MAX  256
#define IDENTITY_ATTRS_MAX 64

struct identity_input {
	struct str exe; /* empty where unknown, as the others */
	struct str comm;
	struct str args;    /* NUL-separated */
	struct str environ; /* NUL-separated */
	struct str cwd;
	/* A file by its absolute path as the process sees it; 0 or -errno. NULL: files are not read. */
	int (*read_file)(void *ctx, const char *path, struct buf *out);
	void *ctx;
};

struct identity_program {
	char name[IDENTITY_NAME_MAX]; /* never empty; valid UTF-8 */
	const char *runtime;	      /* process.runtime.name; static; NULL: unknown */
	bool as_parent;		      /* a helper of the program that its parent runs: goes by its parent's name */
};

void identity_program(const struct identity_input *in, struct identity_program *ret);
/* The name of a systemd unit without suffix, instance and escapes; false: the unit names no service. */
bool identity_unit(struct str unit, char ret_name[IDENTITY_NAME_MAX]);
/* The value of a variable; false when it is not there. */
bool identity_env(struct str environ, const char *name, struct str *ret_value);
/*
 * OTEL_RESOURCE_ATTRIBUTES: key=value,… percent-decoded, cleaned to UTF-8. As the specification
 * asks, a malformed value is discarded as a whole: -EINVAL and no call of `each`. Past
 * IDENTITY_ATTRS_MAX attributes the rest is left out.
 */
int identity_attributes(struct str value, void (*each)(void *ctx, const char *key, const char *value), void *ctx);
/* Valid UTF-8, cut to `cap` between characters; control characters become '?'. */
void identity_clean(char *dst, size_t cap, struct str raw);
struct str identity_base(struct str path); /* behind the last '/' */
