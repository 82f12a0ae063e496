// SPDX-License-Identifier: Apache-2.0
/*
 * The table of series and their owners. Everything that is in the table is also in a
 * dense array, for snapshots and eviction. Three budgets, so that none can starve another: series
 * of services (the configured one), overflow series, series about sonde itself.
 */
#include "user/base/clock.h"
#include "user/metrics/table.h"

static const struct label overflow_label = { "otel.metric.overflow", "true" };

static uint64_t owner_hash(const struct service *s)
{
	uint64_t h = hash_bytes(s->name, strlen(s->name), 1);

	h = hash_bytes(s->namespace_, strlen(s->namespace_), h);
	return hash_bytes(s->instance, strlen(s->instance), h);
}

static bool same_service(const struct service *a, const struct service *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->namespace_, b->namespace_) && !strcmp(a->instance, b->instance);
}

static void owner_remember(struct metrics *m, struct owner *o, uint32_t service_id)
{
	m->owner_cache[service_id % OWNER_CACHE] = o;
	m->owner_cache_id[service_id % OWNER_CACHE] = service_id;
}

/* NULL: this service has no series. Ids are never reused, so that the cache needs no comparison of names. */
static struct owner *owner_find(struct metrics *m, struct service *s)
{
	struct hmap_node *n;
	uint64_t hash;

	if (!s)
		return &m->nobody;
	if (likely(m->owner_cache[s->id % OWNER_CACHE] && m->owner_cache_id[s->id % OWNER_CACHE] == s->id))
		return m->owner_cache[s->id % OWNER_CACHE];
	hash = owner_hash(s);
	for (n = hmap_first(&m->owners, hash); n; n = hmap_next_same(n)) {
		struct owner *o = container_of(n, struct owner, node);

		if (!same_service(o->service, s))
			continue;
		/* the same service started again: its attributes are the newer ones */
		if (s->id > o->service->id) {
			service_unref(o->service);
			o->service = service_ref(s);
		}
		owner_remember(m, o, s->id);
		return o;
	}
	return NULL;
}

static struct owner *owner_new(struct metrics *m, struct service *s)
{
	struct owner *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	if (hmap_insert(&m->owners, &o->node, owner_hash(s))) {
		free(o);
		return NULL;
	}
	o->service = service_ref(s);
	o->id = ++m->last_owner_id;
	owner_remember(m, o, s->id);
	return o;
}

static void owner_release(struct metrics *m, struct owner *o)
{
	if (o == &m->nobody || o->n_series)
		return;
	for (size_t i = 0; i < OWNER_CACHE; i++) {
		if (m->owner_cache[i] == o)
			m->owner_cache[i] = NULL;
	}
	hmap_remove(&m->owners, &o->node);
	service_unref(o->service);
	free(o);
}

static const uint8_t *series_key(const struct series *s)
{
	return (const uint8_t *)&s->words[s->shape->n_words];
}

static struct series *find(struct metrics *m, const struct key *k, uint64_t hash)
{
	struct hmap_node *n;

	for (n = hmap_first(&m->table, hash); n; n = hmap_next_same(n)) {
		struct series *s = container_of(n, struct series, node);

		if (s->key_len == k->len && !memcmp(series_key(s), k->b, k->len))
			return s;
	}
	return NULL;
}

/* The labels that a key spells: values in the order of the shape's keys, or name and value in turn. */
static struct labels *make_labels(const struct shape *sh, const struct key *k, bool overflow)
{
	char text[2 * LABELS_MAX][VALUE_MAX + 1];
	struct label l[LABELS_MAX + ARRAY_SIZE(sh->fixed) + 1];
	size_t n = 0, at = KEY_HEAD;

	for (; n < sh->n_fixed; n++)
		l[n] = sh->fixed[n];
	if (overflow)
		l[n++] = overflow_label;
	for (size_t i = 0; !overflow && i < LABELS_MAX; i++) {
		const char *name = sh->inst ? text[2 * i] : i < sh->n_keys ? sh->keys[i]->name : NULL;

		if (!name || (sh->inst && !key_text(k, &at, text[2 * i])) || !key_text(k, &at, text[2 * i + 1]))
			break;
		if (text[2 * i + 1][0])
			l[n++] = (struct label){ name, text[2 * i + 1] };
	}
	return labels_new(l, n);
}

static int add_to_all(struct metrics *m, struct series *s)
{
	if (m->n_all == m->cap_all) {
		size_t cap = m->cap_all ? m->cap_all * 2 : 64;
		struct series **all = realloc(m->all, cap * sizeof(struct series *));

		if (!all)
			return -ENOMEM;
		m->all = all;
		m->cap_all = cap;
	}
	s->index = m->n_all;
	m->all[m->n_all++] = s;
	return 0;
}

static struct series *series_alloc(const struct shape *sh, const struct key *k, bool overflow)
{
	struct series *s = calloc(1, sizeof(*s) + sh->n_words * sizeof(uint64_t) + k->len);

	if (!s)
		return NULL;
	s->labels = make_labels(sh, k, overflow);
	if (!s->labels) {
		free(s);
		return NULL;
	}
	s->shape = sh;
	s->overflow = overflow;
	s->key_len = (uint32_t)k->len;
	memcpy(&s->words[sh->n_words], k->b, k->len);
	return s;
}

static size_t *budget_of(struct metrics *m, const struct series *s)
{
	return s->overflow ? &m->n_overflow : s->own ? &m->n_own : &m->stats.series;
}

/* Takes the series into the table; frees it on failure. */
static struct series *series_enter(struct metrics *m, struct series *s, struct owner *o, uint64_t hash)
{
	if (add_to_all(m, s)) {
		labels_unref(s->labels);
		free(s);
		return NULL;
	}
	if (hmap_insert(&m->table, &s->node, hash)) {
		m->n_all--;
		labels_unref(s->labels);
		free(s);
		return NULL;
	}
	s->owner = o;
	o->n_series++;
	s->own = o == &m->nobody && s->shape->inst;
	s->touched_ns = m->now_ns;
	s->start_ns = clock_mono_to_wall(m->now_ns);
	(*budget_of(m, s))++;
	for (size_t i = 0; i < s->shape->n_slots; i++)
		m->families[s->shape->slots[i].family].n_series++;
	/* it can be too old before any other that was there when the time was worked out */
	if (m->ttl_ns)
		m->next_expiry_ns = MIN(m->next_expiry_ns, m->now_ns + m->ttl_ns);
	return s;
}

static struct series *series_add(struct metrics *m, const struct shape *sh, struct service *svc, struct key *k,
				 bool overflow)
{
	struct owner *o = owner_find(m, svc);
	struct series *s;

	if (!o)
		o = owner_new(m, svc);
	if (!o)
		goto nomem;
	key_set_owner(k, o);
	s = series_alloc(sh, k, overflow);
	if (s)
		s = series_enter(m, s, o, key_hash(k));
	if (s)
		return s;
	owner_release(m, o);
nomem:
	errno = ENOMEM;
	return NULL;
}

struct series *series_get(struct metrics *m, const struct shape *sh, struct service *svc, struct key *k)
{
	struct owner *o = owner_find(m, svc);
	struct series *s;

	if (likely(o)) {
		key_set_owner(k, o);
		s = find(m, k, key_hash(k));
		if (likely(s)) {
			s->touched_ns = m->now_ns;
			return s;
		}
	}
	if (!svc && sh->inst ? m->n_own >= OWN_MAX : m->stats.series >= m->stats.max_series) {
		errno = ENOSPC;
		return NULL;
	}
	return series_add(m, sh, svc, k, false);
}

struct series *series_overflow(struct metrics *m, const struct shape *sh, struct service *svc)
{
	struct owner *o = owner_find(m, svc);
	struct series *s;
	struct key k;

	key_begin(&k, sh, KEY_OVERFLOW);
	if (o) {
		key_set_owner(&k, o);
		s = find(m, &k, key_hash(&k));
		if (s) {
			s->touched_ns = m->now_ns;
			return s;
		}
	}
	/* nobody's are as many as there are shapes: no bound needed */
	if (svc && m->n_overflow >= OVERFLOW_MAX)
		return series_overflow(m, sh, NULL);
	return series_add(m, sh, svc, &k, true);
}

struct series *series_get_or_overflow(struct metrics *m, const struct shape *sh, struct service *svc, struct key *k)
{
	struct series *s = series_get(m, sh, svc, k);

	return s || errno != ENOSPC ? s : series_overflow(m, sh, svc);
}

void series_free(struct metrics *m, struct series *s)
{
	struct series *last = m->all[--m->n_all];

	m->all[s->index] = last;
	last->index = s->index;
	hmap_remove(&m->table, &s->node);
	for (size_t i = 0; i < s->shape->n_slots; i++)
		m->families[s->shape->slots[i].family].n_series--;
	(*budget_of(m, s))--;
	if (s->wait)
		s->wait->users--;
	s->owner->n_series--;
	owner_release(m, s->owner);
	labels_unref(s->labels);
	free(s);
}

void table_done(struct metrics *m)
{
	/* users do not matter any more, and a `wait` may go before the series that uses it */
	for (size_t i = 0; i < m->n_all; i++)
		m->all[i]->wait = NULL;
	while (m->n_all)
		series_free(m, m->all[m->n_all - 1]);
	free(m->all);
	m->all = NULL;
	m->cap_all = 0;
	hmap_done(&m->table);
	hmap_done(&m->owners);
}
