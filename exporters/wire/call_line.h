/* SPDX-License-Identifier: Apache-2.0 */
/* One call as one line, for people or as JSON; and which calls are wanted. Pure. */
#pragma once

#include "user/base/buf.h"
#include "user/model/call.h"

struct call_filter {
	char service[128]; /* glob; "" any */
	char path[256];	   /* glob */
	char method[32];
	int status_min, status_max; /* 0, 0: any */
	uint64_t min_ns;
	int role; /* -1 any */
};

void call_filter_init(struct call_filter *f);
/* name: service, status (404 or 5xx), method, path, min-duration, role. -EINVAL, logged with what is allowed. */
int call_filter_set(struct call_filter *f, const char *name, const char *value);
bool call_filter_match(const struct call_filter *f, const struct call *c);

/* Appends the line with its newline. wall_ns: when the call ended. */
void call_line_text(struct buf *b, const struct call *c, uint64_t wall_ns, bool colour);
void call_line_json(struct buf *b, const struct call *c, uint64_t wall_ns);
