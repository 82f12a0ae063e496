// SPDX-License-Identifier: Apache-2.0
/*
 * A map from (instrument, service, label set) to the values that were delivered. A series
 * that started anew (it was evicted and came back, or its sum went down) is set to
 * zero here, so that the encoder only ever subtracts.
 */
#include "exporters/wire/otlp_delta.h"

struct otlp_delta {
	struct hmap series;
	uint64_t round;
	bool lowmemory;
	const struct service *self;
};

struct otlp_delta *otlp_delta_new(bool lowmemory, const struct service *self)
{
	struct otlp_delta *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->lowmemory = lowmemory;
	d->self = self;
	return d;
}

static void forget(struct otlp_delta *d, struct otlp_series *s)
{
	hmap_remove(&d->series, &s->node);
	labels_unref(s->labels);
	free(s);
}

/* Everything that was not seen in round `round`. */
static void forget_unseen(struct otlp_delta *d, uint64_t round)
{
	struct hmap_node *n;

	hmap_each (n, &d->series) {
		struct otlp_series *s = container_of(n, struct otlp_series, node);

		if (s->round != round)
			forget(d, s);
	}
}

void otlp_delta_free(struct otlp_delta *d)
{
	if (!d)
		return;
	forget_unseen(d, UINT64_MAX);
	hmap_done(&d->series);
	free(d);
}

static bool wants_delta(const struct otlp_delta *d, const struct otlp_point *p)
{
	switch (p->family->inst->kind) {
	case INST_HISTOGRAM:
		return true;
	case INST_COUNTER:
		return !d->lowmemory || p->service != d->self;
	default:
		return false;
	}
}

static uint64_t point_hash(const struct otlp_point *p)
{
	uint64_t h = hash_bytes(&p->family->inst, sizeof(p->family->inst), p->service ? p->service->id : 0);
	const struct labels *l = p->point->labels;

	for (uint32_t i = 0; l && i < l->n; i++) {
		h = hash_bytes(l->l[i].name, strlen(l->l[i].name), h);
		h = hash_bytes(l->l[i].value, strlen(l->l[i].value), h);
	}
	return h;
}

static bool same_labels(const struct labels *a, const struct labels *b)
{
	if (a == b)
		return true;
	if (!a || !b || a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		if (strcmp(a->l[i].name, b->l[i].name) || strcmp(a->l[i].value, b->l[i].value))
			return false;
	}
	return true;
}

static size_t bucket_count(const struct otlp_point *p)
{
	return p->family->inst->kind == INST_HISTOGRAM ? p->family->n_bounds + 1 : 0;
}

static struct otlp_series *find(struct otlp_delta *d, const struct otlp_point *p, uint64_t hash)
{
	struct hmap_node *n;

	for (n = hmap_first(&d->series, hash); n; n = hmap_next_same(n)) {
		struct otlp_series *s = container_of(n, struct otlp_series, node);

		if (s->inst == p->family->inst && s->service_id == (p->service ? p->service->id : 0) &&
		    s->n_buckets == bucket_count(p) && same_labels(s->labels, p->point->labels))
			return s;
	}
	return NULL;
}

static void start_anew(struct otlp_series *s, const struct point *p)
{
	s->until_ns = p->start_ns;
	s->value = 0;
	s->count = 0;
	memset(s->buckets, 0, s->n_buckets * sizeof(s->buckets[0]));
}

static struct otlp_series *add(struct otlp_delta *d, const struct otlp_point *p, uint64_t hash)
{
	struct otlp_series *s = calloc(1, sizeof(*s) + bucket_count(p) * sizeof(s->buckets[0]));

	if (!s)
		return NULL;
	s->inst = p->family->inst;
	s->service_id = p->service ? p->service->id : 0;
	s->n_buckets = bucket_count(p);
	if (hmap_insert(&d->series, &s->node, hash)) {
		free(s);
		return NULL;
	}
	if (p->point->labels)
		s->labels = labels_ref(p->point->labels);
	start_anew(s, p->point);
	return s;
}

static bool went_down(const struct otlp_series *s, const struct otlp_point *p)
{
	if (!s->n_buckets)
		return p->point->value < s->value;
	if (p->point->hist.count < s->count)
		return true;
	for (size_t i = 0; i < s->n_buckets; i++) {
		if (p->point->hist.buckets[i] < s->buckets[i])
			return true;
	}
	return false;
}

static bool moved(const struct otlp_series *s, const struct otlp_point *p)
{
	return s->n_buckets ? p->point->hist.count != s->count : p->point->value != s->value;
}

/* False: the point is not to be sent. */
static bool attach(struct otlp_delta *d, struct otlp_point *p, size_t *lost)
{
	uint64_t hash = point_hash(p);
	struct otlp_series *s = find(d, p, hash);

	if (!s)
		s = add(d, p, hash);
	if (!s) {
		(*lost)++;
		return false;
	}
	if (p->point->start_ns > s->until_ns || went_down(s, p))
		start_anew(s, p->point);
	s->round = d->round;
	p->since = s;
	return moved(s, p);
}

size_t otlp_delta_attach(struct otlp_delta *d, struct otlp_point *p, size_t n, size_t *ret_lost)
{
	size_t kept = 0, lost = 0;

	d->round++;
	for (size_t i = 0; i < n; i++) {
		struct otlp_point at = p[i];

		if (!wants_delta(d, &at) || attach(d, &at, &lost))
			p[kept++] = at;
	}
	forget_unseen(d, d->round);
	*ret_lost = lost;
	return kept;
}

void otlp_delta_commit(const struct otlp_point *p, size_t n, uint64_t wall_ns)
{
	for (size_t i = 0; i < n; i++) {
		struct otlp_series *s = p[i].since;

		if (!s)
			continue;
		s->until_ns = wall_ns;
		if (!s->n_buckets) {
			s->value = p[i].point->value;
			continue;
		}
		s->value = p[i].point->hist.sum;
		s->count = p[i].point->hist.count;
		memcpy(s->buckets, p[i].point->hist.buckets, s->n_buckets * sizeof(s->buckets[0]));
	}
}

size_t otlp_delta_count(const struct otlp_delta *d)
{
	return d->series.count;
}
