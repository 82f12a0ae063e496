// SPDX-License-Identifier: Apache-2.0
/*
 * Recording. The end of a call builds the key of its series on the stack (protocol,
 * role, service, label values), finds the series with one look-up and adds to each of
 * its slots. Memory is taken only when a series is new. The place of the active gauge
 * and of the waits is kept where it is needed again, so that they need no look-up.
 */
#include <math.h>

#include "user/base/clock.h"
#include "user/metrics/table.h"

static double *copy_bounds(const double *b, size_t n)
{
	double *r = malloc((n ? n : 1) * sizeof(*r));

	if (r && n)
		memcpy(r, b, n * sizeof(*r));
	return r;
}

struct metrics *metrics_new(const struct metrics_options *o)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->duration_bounds = copy_bounds(o->duration_bounds, o->n_duration_bounds);
	m->n_duration_bounds = o->n_duration_bounds;
	m->size_bounds = copy_bounds(o->size_bounds, o->n_size_bounds);
	m->n_size_bounds = o->n_size_bounds;
	m->server_address_on_server = o->server_address_on_server;
	m->ttl_ns = o->ttl_ns;
	m->stats.max_series = o->max_series;
	m->scratch.max = 16 * VALUE_MAX;
	if (!m->duration_bounds || !m->size_bounds || shapes_init(m)) {
		metrics_free(m);
		errno = ENOMEM;
		return NULL;
	}
	return m;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	table_done(m);
	shapes_done(m);
	buf_done(&m->scratch);
	free(m->duration_bounds);
	free(m->size_bounds);
	free(m);
}

void metrics_set_ttl(struct metrics *m, uint64_t ttl_ns)
{
	m->ttl_ns = ttl_ns;
	m->next_expiry_ns = 0;
}

static const struct schema *schema_of(const struct metrics *m, const struct call *c)
{
	static const struct schema none;

	if (c->proto <= PROTO_UNKNOWN || c->proto >= PROTO_MAX || c->role >= ROLE_MAX)
		return &none;
	return &m->schema[c->proto][c->role];
}

static struct str decimal(int64_t v, char dst[24])
{
	uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
	char *at = dst + 24;

	do
		*--at = (char)('0' + u % 10);
	while (u /= 10);
	if (v < 0)
		*--at = '-';
	return (struct str){ at, (size_t)(dst + 24 - at) };
}

static struct str label_value(const struct shape *sh, const struct attr_key *key, const struct call *c, char num[24])
{
	const struct attr *a;

	if (key == sh->proto->route_key && c->route.len)
		return c->route;
	if (key == &attr_error_type && c->error_type.len)
		return c->error_type;
	a = call_attr(c, key);
	if (!a)
		return (struct str){ 0 };
	return a->type == ATTR_INT ? decimal(a->i, num) : a->s;
}

static struct series *call_series(struct metrics *m, const struct shape *sh, const struct call *c)
{
	struct key k;
	char num[24];

	if (unlikely(c->route_overflow))
		return series_overflow(m, sh, c->service);
	key_begin(&k, sh, KEY_PLAIN);
	for (size_t i = 0; i < sh->n_keys; i++)
		key_push(m, &k, label_value(sh, sh->keys[i], c, num));
	return series_get_or_overflow(m, sh, c->service, &k);
}

/* A value equal to a bound belongs to that bound's bucket. Few bounds: counting them all beats branches. */
static void hist_add(const struct family_def *f, uint64_t *w, double v)
{
	size_t b = 0;

	for (size_t i = 0; i < f->n_bounds; i++)
		b += v > f->bounds[i];
	w[HIST_COUNT]++;
	w[HIST_SUM] = double_word(word_double(w[HIST_SUM]) + v);
	w[HIST_BUCKETS + b]++;
}

static void slot_add(const struct metrics *m, struct series *s, const struct slot *slot, double v)
{
	const struct family_def *f = &m->families[slot->family];
	uint64_t *w = &s->words[slot->word];

	if (f->bounds)
		hist_add(f, w, v);
	else
		w[0] = double_word(word_double(w[0]) + v);
}

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NSEC_PER_SEC;
}

static bool call_timed(const struct call *c)
{
	return c->start_ns != TIME_UNKNOWN && c->end_ns != TIME_UNKNOWN && c->end_ns >= c->start_ns;
}

static void record_call(const struct metrics *m, struct series *s, const struct call *c)
{
	for (size_t i = 0; i < s->shape->n_slots; i++) {
		const struct slot *slot = &s->shape->slots[i];

		switch (slot->source) {
		case SRC_DURATION:
			if (call_timed(c))
				slot_add(m, s, slot, seconds(c->end_ns - c->start_ns));
			break;
		case SRC_REQUEST_BYTES:
			slot_add(m, s, slot, (double)c->request_bytes);
			break;
		case SRC_RESPONSE_BYTES:
			if (c->answered)
				slot_add(m, s, slot, (double)c->response_bytes);
			break;
		case SRC_ACTIVE:
			break;
		}
	}
}

static void record_untimed(struct metrics *m, const struct schema *sc, const struct call *c)
{
	struct series *s;
	struct key k;

	m->stats.untimed++;
	key_begin(&k, sc->untimed, KEY_PLAIN);
	s = series_get_or_overflow(m, sc->untimed, c->service, &k);
	if (s)
		slot_add(m, s, &s->shape->slots[0], 1);
	else
		m->stats.lost++;
}

static void record_wait(struct metrics *m, const struct schema *sc, struct series *s, const struct call *c)
{
	if (unlikely(!s->wait)) {
		s->wait = s->overflow ? series_overflow(m, sc->wait, s->owner->service) :
					call_series(m, sc->wait, c);
		if (!s->wait) {
			m->stats.lost++;
			return;
		}
		s->wait->users++;
	}
	s->wait->touched_ns = m->now_ns;
	slot_add(m, s->wait, &s->wait->shape->slots[0], seconds(c->wait_ns));
}

void metrics_call_begin(struct metrics *m, struct call *c)
{
	const struct schema *sc = schema_of(m, c);
	struct series *s;

	if (!sc->active || c->active)
		return;
	if (!m->now_ns)
		m->now_ns = clock_mono_ns();
	s = call_series(m, sc->active, c);
	if (!s)
		return;
	s->users++;
	c->active = s;
}

void metrics_call_drop(struct metrics *m, struct call *c)
{
	struct series *s = c->active;

	if (!s)
		return;
	s->users--;
	s->touched_ns = m->now_ns;
	c->active = NULL;
}

void metrics_call_end(struct metrics *m, struct call *c, uint64_t now_ns)
{
	const struct schema *sc = schema_of(m, c);
	struct series *s;

	m->now_ns = now_ns;
	metrics_call_drop(m, c);
	if (unlikely(!sc->call))
		return;
	s = call_series(m, sc->call, c);
	if (unlikely(!s)) {
		m->stats.lost++;
		return;
	}
	m->stats.overflowed += s->overflow;
	record_call(m, s, c);
	if (unlikely(!call_timed(c)))
		record_untimed(m, sc, c);
	if (sc->wait && c->wait_ns != WAIT_UNKNOWN)
		record_wait(m, sc, s, c);
}

/* Sorted by name, so that the order in which a caller lists labels makes no difference. */
static void push_labels(struct metrics *m, struct key *k, const struct label *labels, size_t n)
{
	const struct label *sorted[LABELS_MAX];

	n = MIN(n, (size_t)LABELS_MAX);
	for (size_t i = 0; i < n; i++) {
		size_t j = i;

		for (; j && strcmp(sorted[j - 1]->name, labels[i].name) > 0; j--)
			sorted[j] = sorted[j - 1];
		sorted[j] = &labels[i];
	}
	for (size_t i = 0; i < n; i++) {
		key_push(m, k, str_of(sorted[i]->name));
		key_push(m, k, str_of(sorted[i]->value));
	}
}

/* NULL: counted as lost. A value that is set cannot share a series with others: `may_overflow` is for sums. */
static struct series *generic_series(struct metrics *m, const struct instrument *inst, struct service *svc,
				     const struct label *labels, size_t n, bool may_overflow)
{
	const struct shape *sh = shape_generic(m, inst);
	struct series *s = NULL;
	struct key k;

	if (sh) {
		key_begin(&k, sh, KEY_PLAIN);
		push_labels(m, &k, labels, n);
		s = may_overflow ? series_get_or_overflow(m, sh, svc, &k) : series_get(m, sh, svc, &k);
	}
	if (!s)
		m->stats.lost++;
	else
		m->stats.overflowed += s->overflow;
	return s;
}

void metrics_add(struct metrics *m, const struct instrument *inst, struct service *s, const struct label *labels,
		 size_t n_labels, double delta, uint64_t now_ns)
{
	struct series *r;

	m->now_ns = now_ns;
	if (!isfinite(delta) || (delta < 0 && inst->kind == INST_COUNTER) || inst->kind == INST_HISTOGRAM) {
		m->stats.refused++;
		return;
	}
	r = generic_series(m, inst, s, labels, n_labels, true);
	if (r)
		slot_add(m, r, &r->shape->slots[0], delta);
}

void metrics_set(struct metrics *m, const struct instrument *inst, struct service *s, const struct label *labels,
		 size_t n_labels, double value, uint64_t now_ns)
{
	struct series *r;

	m->now_ns = now_ns;
	if (inst->kind == INST_HISTOGRAM) {
		m->stats.refused++;
		return;
	}
	r = generic_series(m, inst, s, labels, n_labels, false);
	if (r)
		r->words[0] = double_word(value);
}

void metrics_observe(struct metrics *m, const struct instrument *inst, struct service *s, const struct label *labels,
		     size_t n_labels, double value, uint64_t now_ns)
{
	struct series *r;

	m->now_ns = now_ns;
	if (!isfinite(value) || value < 0 || inst->kind != INST_HISTOGRAM) {
		m->stats.refused++;
		return;
	}
	r = generic_series(m, inst, s, labels, n_labels, true);
	if (r)
		slot_add(m, r, &r->shape->slots[0], value);
}

/* Series about sonde and sums of what is there now stay however old they are. */
static bool may_go(const struct metrics *m, const struct series *s)
{
	const struct family_def *f = &m->families[s->shape->slots[0].family];

	if (s->users || s->own)
		return false;
	return !s->shape->inst || f->inst->kind != INST_UPDOWN || word_double(s->words[0]) == 0;
}

/*
 * Looks at every series, but only when one can have become too old: the oldest touch
 * seen in one walk says when the next is due.
 */
void metrics_expire(struct metrics *m, uint64_t now_ns)
{
	uint64_t oldest = now_ns;

	m->now_ns = now_ns;
	if (!m->ttl_ns || now_ns < m->next_expiry_ns)
		return;
	for (size_t i = m->n_all; i-- > 0;) {
		struct series *s = m->all[i];

		if (!may_go(m, s))
			continue;
		if (now_ns >= s->touched_ns && now_ns - s->touched_ns >= m->ttl_ns) {
			/* its last user gone, the series of its waits is next */
			if (s->wait)
				oldest = MIN(oldest, s->wait->touched_ns);
			series_free(m, s);
			m->stats.evicted++;
		} else {
			oldest = MIN(oldest, s->touched_ns);
		}
	}
	m->next_expiry_ns = oldest + m->ttl_ns;
}

void metrics_get_stats(const struct metrics *m, struct metrics_stats *ret)
{
	*ret = m->stats;
}
