/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who made a call: a service is the identity under which telemetry is reported
 * (an OpenTelemetry resource); many processes share one. A service is immutable
 * once made and reference-counted with atomics, so that snapshots and spans in
 * other threads may hold it.
 */
#pragma once

#include <stdatomic.h>

#include "user/base/str.h"

struct resource_attr {
	char *name;  /* "process.executable.name" */
	char *value;
};

struct service {
	atomic_uint refs;
	uint32_t id;	     /* unique in this run of sonde, never reused */
	char *name;	     /* service.name, never empty */
	char *namespace_;    /* service.namespace, "" when there is none */
	char *instance;	     /* service.instance.id */
	struct resource_attr *attrs; /* the rest of the resource; without the three above */
	size_t n_attrs;
};

struct service *service_new(const char *name, const char *namespace_, const char *instance);
int service_add_attr(struct service *s, const char *name, const char *value); /* only before it is shared */
static inline struct service *service_ref(struct service *s)
{
	if (s)
		atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}
void service_unref(struct service *s); /* NULL is fine */
