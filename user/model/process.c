// SPDX-License-Identifier: Apache-2.0
/*
 * A service owns its strings; whoever drops the last reference, in whatever thread,
 * frees them.
 */
#include "user/model/process.h"

struct service *service_new(const char *name, const char *namespace_, const char *instance)
{
	static atomic_uint next_id = 1;
	struct service *s;

	if (!name || !*name) {
		errno = EINVAL;
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	s->name = strdup(name);
	s->namespace_ = strdup(namespace_ ? namespace_ : "");
	s->instance = strdup(instance ? instance : "");
	if (!s->name || !s->namespace_ || !s->instance) {
		service_unref(s);
		errno = ENOMEM;
		return NULL;
	}
	s->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
	return s;
}

int service_add_attr(struct service *s, const char *name, const char *value)
{
	struct resource_attr *attrs = realloc(s->attrs, (s->n_attrs + 1) * sizeof(*attrs));
	struct resource_attr a;

	if (!attrs)
		return -ENOMEM;
	s->attrs = attrs;
	a = (struct resource_attr){strdup(name), strdup(value)};
	if (!a.name || !a.value) {
		free(a.name);
		free(a.value);
		return -ENOMEM;
	}
	s->attrs[s->n_attrs++] = a;
	return 0;
}

void service_unref(struct service *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < s->n_attrs; i++) {
		free(s->attrs[i].name);
		free(s->attrs[i].value);
	}
	free(s->attrs);
	free(s->name);
	free(s->namespace_);
	free(s->instance);
	free(s);
}
