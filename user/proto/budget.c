// SPDX-License-Identifier: Apache-2.0
/*
 * Memory of all decoders together, counted to the byte. Many connections that each hold a little must not
 * take more than one may, and must not starve those that need next to nothing: a piece may be as large as a
 * sixteenth of what is free. So large pieces are refused first, and an ordinary request still has
 * its place when thousands of half-sent ones wait.
 */
#include "user/proto/proto.h"

#define SHARE 16

/* A flow without a budget is without a limit: tests. */
static bool has_room(const struct proto_budget *b, size_t have, size_t want)
{
	size_t used = b->used - have; /* what the piece takes now becomes free */

	return used < b->max && want <= (b->max - used) / SHARE;
}

void *proto_resize(struct proto_budget *b, void *p, size_t have, size_t want)
{
	void *to = NULL;

	if (!b || has_room(b, have, want))
		to = realloc(p, want);
	if (!b)
		return to;
	if (to)
		b->used += want - have;
	else
		b->refused++;
	return to;
}

void proto_free(struct proto_budget *b, void *p, size_t have)
{
	free(p);
	if (b && p)
		b->used -= have;
}
