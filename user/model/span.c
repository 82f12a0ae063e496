// SPDX-License-Identifier: Apache-2.0
/*
 * A call borrows everything; a span outlives it. The copy is one block: the struct,
 * then every string one behind the other. Freeing is one free().
 */
#include "user/model/span.h"

/* Moves one borrowed text behind the struct; the terminating NUL is for those who want a C string. */
static struct str put(char **at, struct str s)
{
	char *dst = *at;

	if (s.len)
		memcpy(dst, s.p, s.len);
	dst[s.len] = 0;
	*at += s.len + 1;
	return (struct str){dst, s.len};
}

static size_t text_size(const struct call *c, const char *name)
{
	size_t size = strlen(name) + 1 + c->error_type.len + 1 + c->path.len + 1 + c->route.len + 1 +
		      c->parent.state.len + 1 + str_of(c->comm).len + 1;

	for (size_t i = 0; i < c->n_attrs; i++) {
		if (c->attrs[i].type == ATTR_STR)
			size += c->attrs[i].s.len + 1;
	}
	return size;
}

struct span *span_new(const struct call *c, const char *name)
{
	struct span *s = malloc(sizeof(*s) + text_size(c, name));
	char *at;

	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	atomic_init(&s->refs, 1);
	at = (char *)(s + 1);
	s->name = put(&at, str_of(name)).p;
	s->call = *c;
	s->call.error_type = put(&at, c->error_type);
	s->call.path = put(&at, c->path);
	s->call.route = put(&at, c->route);
	s->call.parent.state = put(&at, c->parent.state);
	s->call.comm = put(&at, str_of(c->comm)).p;
	s->call.service = service_ref(c->service);
	s->call.active = NULL;
	for (size_t i = 0; i < c->n_attrs; i++) {
		if (c->attrs[i].type == ATTR_STR)
			s->call.attrs[i].s = put(&at, c->attrs[i].s);
	}
	return s;
}

void span_unref(struct span *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	service_unref(s->call.service);
	free(s);
}
