/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A finished span: a call with its identity in a trace. One block of memory holds
 * the struct and every string it points to, so that it may cross threads;
 * reference-counted, immutable once made.
 */
#pragma once

#include <stdatomic.h>

#include "user/model/call.h"

struct span {
	atomic_uint refs;
	uint8_t trace_id[16];
	uint8_t span_id[8];
	bool has_parent;
	uint8_t parent_id[8];
	uint8_t flags;	    /* W3C trace flags */
	uint64_t start_wall_ns, end_wall_ns;
	const char *name;
	struct call call;   /* strings point into this block; the service reference is owned */
};

struct span *span_new(const struct call *c, const char *name); /* ids zero; NULL on ENOMEM */
static inline struct span *span_ref(struct span *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}
void span_unref(struct span *s); /* NULL is fine */
