// SPDX-License-Identifier: Apache-2.0
/*
 * Snapshots: one pass over the dense array of series, each slot copied to the next
 * free point of its family. The table knows how many series feed each family, so that all
 * memory is one block of known size. Label sets and services are shared by reference.
 */
#include "user/base/clock.h"
#include "user/metrics/table.h"

/* Where a family's copy goes; points and buckets advance as it fills. */
struct target {
	struct family *family;
	uint64_t *buckets;
};

struct sizes {
	size_t families, points, words, bounds;
};

static struct sizes measure(const struct metrics *m)
{
	struct sizes z = { 0 };

	for (size_t i = 0; i < m->n_families; i++) {
		const struct family_def *f = &m->families[i];

		if (!f->n_series)
			continue;
		z.families++;
		z.points += f->n_series;
		z.bounds += f->n_bounds;
		z.words += f->bounds ? f->n_series * (f->n_bounds + 1) : 0;
	}
	return z;
}

/* Cuts the arena into its arrays and gives each family its part. */
static void lay_out(const struct metrics *m, const struct sizes *z, struct snapshot *snap, struct target *targets)
{
	struct point *points = (struct point *)((struct family *)snap->arena + z->families);
	double *bounds = (double *)(points + z->points);
	uint64_t *words = (uint64_t *)(bounds + z->bounds);

	snap->families = snap->arena;
	snap->services = (struct service **)(words + z->words);
	for (size_t i = 0; i < m->n_families; i++) {
		const struct family_def *f = &m->families[i];
		struct family *dst = &snap->families[snap->n_families];

		if (!f->n_series)
			continue;
		*dst = (struct family){ .inst = f->inst, .points = points };
		points += f->n_series;
		targets[i] = (struct target){ .family = dst, .buckets = words };
		if (f->bounds) {
			dst->bounds = bounds;
			dst->n_bounds = f->n_bounds;
			memcpy(bounds, f->bounds, f->n_bounds * sizeof(*bounds));
			bounds += f->n_bounds;
			words += f->n_series * (f->n_bounds + 1);
		}
		snap->n_families++;
	}
}

/* False: there is nothing to say, a histogram without observations. */
static bool copy_slot(const struct series *s, const struct slot *slot, struct target *t, struct point *p)
{
	const uint64_t *w = &s->words[slot->word];

	if (!t->family->bounds) {
		p->value = slot->source == SRC_ACTIVE ? (double)s->users : word_double(w[0]);
		return true;
	}
	if (!w[HIST_COUNT])
		return false;
	p->hist.count = w[HIST_COUNT];
	p->hist.sum = word_double(w[HIST_SUM]);
	p->hist.buckets = t->buckets;
	memcpy(t->buckets, &w[HIST_BUCKETS], (t->family->n_bounds + 1) * sizeof(*w));
	t->buckets += t->family->n_bounds + 1;
	return true;
}

static void copy_series(struct snapshot *snap, struct series *s, struct target *targets)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->shape->n_slots; i++) {
		struct target *t = &targets[s->shape->slots[i].family];
		struct point *p = &t->family->points[t->family->n_points];

		if (!copy_slot(s, &s->shape->slots[i], t, p))
			continue;
		p->service = s->owner->service;
		p->labels = s->labels;
		p->start_ns = MIN(s->start_ns, snap->wall_ns);
		t->family->n_points++;
		n++;
	}
	if (!n)
		return;
	/* one addition for all points of the series */
	atomic_fetch_add_explicit(&s->labels->refs, n, memory_order_relaxed);
	if (s->owner->service)
		atomic_fetch_add_explicit(&s->owner->service->refs, n, memory_order_relaxed);
}

static void drop_empty_families(struct snapshot *snap)
{
	size_t n = 0;

	for (size_t i = 0; i < snap->n_families; i++) {
		if (snap->families[i].n_points)
			snap->families[n++] = snap->families[i];
	}
	snap->n_families = n;
}

/* Owners live as long as their series. */
static void copy_services(const struct metrics *m, struct snapshot *snap)
{
	struct hmap_node *n;

	hmap_each(n, &m->owners)
		snap->services[snap->n_services++] = service_ref(container_of(n, struct owner, node)->service);
}

struct snapshot *metrics_snapshot(struct metrics *m, uint64_t now_ns)
{
	struct sizes z = measure(m);
	_free_ struct target *targets = calloc(m->n_families + 1, sizeof(*targets));
	_free_ struct snapshot *snap = calloc(1, sizeof(*snap));

	m->now_ns = now_ns;
	if (!targets || !snap)
		goto nomem;
	snap->arena = malloc(z.families * sizeof(struct family) + z.points * sizeof(struct point) +
			     z.bounds * sizeof(double) + z.words * sizeof(uint64_t) +
			     m->owners.count * sizeof(struct service *) + 1);
	if (!snap->arena)
		goto nomem;
	atomic_init(&snap->refs, 1);
	snap->wall_ns = clock_mono_to_wall(now_ns);
	lay_out(m, &z, snap, targets);
	for (size_t i = 0; i < m->n_all; i++)
		copy_series(snap, m->all[i], targets);
	drop_empty_families(snap);
	copy_services(m, snap);
	return TAKE_PTR(snap);
nomem:
	errno = ENOMEM;
	return NULL;
}
