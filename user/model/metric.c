// SPDX-License-Identifier: Apache-2.0
/*
 * Label sets and snapshots: immutable, counted references. A label set is one block
 * (array first, strings behind it). A snapshot is two: the struct and its arena.
 */
#include "user/model/metric.h"

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

static const char *put(char **at, const char *s)
{
	size_t size = strlen(s) + 1;
	char *dst = memcpy(*at, s, size);

	*at += size;
	return dst;
}

struct labels *labels_new(const struct label *l, size_t n)
{
	size_t size = sizeof(struct labels) + n * sizeof(struct label);
	struct labels *r;
	char *at;

	for (size_t i = 0; i < n; i++)
		size += strlen(l[i].name) + strlen(l[i].value) + 2;
	r = malloc(size);
	if (!r)
		return NULL;
	atomic_init(&r->refs, 1);
	r->n = (uint32_t)n;
	at = (char *)&r->l[n];
	for (size_t i = 0; i < n; i++) {
		const char *name = put(&at, l[i].name);

		r->l[i] = (struct label){name, put(&at, l[i].value)};
	}
	qsort(r->l, n, sizeof(r->l[0]), by_name);
	return r;
}

void labels_unref(struct labels *l)
{
	if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
		free(l);
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
	if (s)
		atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t f = 0; f < s->n_families; f++) {
		for (size_t i = 0; i < s->families[f].n_points; i++) {
			service_unref(s->families[f].points[i].service);
			labels_unref(s->families[f].points[i].labels);
		}
	}
	for (size_t i = 0; i < s->n_services; i++)
		service_unref(s->services[i]);
	free(s->arena);
	free(s);
}
