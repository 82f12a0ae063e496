/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside metrics/ only: keys, series and their table.
 *
 * A shape says what a series of one kind consists of: which families it feeds (slots)
 * and what labels it has. Calls of one protocol and role have one shape with a slot per
 * instrument, so that a call costs one look-up; each generic instrument has a shape of its own
 * with one slot. A series is one block: header, key, and an array of 64-bit words that
 * the slots lie in.
 *
 * An owner is a service as metrics see it: by name, namespace and instance. A service that
 * restarts is a new object with the same three; its series go on instead of showing
 * up twice.
 */
#pragma once

#include "user/base/buf.h"
#include "user/base/hmap.h"
#include "user/metrics/metrics.h"

#define VALUE_MAX 128 /* bytes of a label value */
#define LABELS_MAX 16 /* labels of a series */
#define SLOTS_MAX 8
#define OVERFLOW_MAX 1024 /* overflow series that belong to a service */
#define OWN_MAX 1024 /* series about sonde itself; traffic cannot push them out */
#define OWNER_CACHE 256

#define KEY_HEAD 12
#define KEY_MAX (KEY_HEAD + 2 * LABELS_MAX * (1 + VALUE_MAX))

/* What makes a series the one that it is, flat: head, then length and bytes of each text. */
struct key {
	size_t len;
	uint8_t b[KEY_MAX];
};

enum key_flags { KEY_PLAIN, KEY_OVERFLOW };

struct family_def {
	const struct instrument *inst;
	const double *bounds; /* NULL: a plain value */
	size_t n_bounds;
	size_t n_series;
};

struct slot {
	uint32_t family; /* index */
	uint32_t word; /* where it starts in series.words */
	enum metric_source source;
};

struct shape {
	struct hmap_node node; /* generic instruments: by address */
	uint32_t id;
	const struct instrument *inst; /* generic instruments; else NULL */
	const struct proto *proto; /* shapes of calls; else NULL */
	const struct attr_key *keys[LABELS_MAX];
	size_t n_keys;
	struct label fixed[2]; /* labels that every series of the shape has, overflow too */
	size_t n_fixed;
	struct slot slots[SLOTS_MAX];
	size_t n_slots;
	size_t n_words;
};

/* A histogram in a series: count, sum (a double), then n_bounds + 1 buckets. A plain value: one double. */
enum { HIST_COUNT, HIST_SUM, HIST_BUCKETS };

struct owner {
	struct hmap_node node;
	struct service *service; /* owned; NULL: nobody (m->nobody) */
	uint32_t id;
	uint32_t n_series;
};

struct series {
	struct hmap_node node;
	const struct shape *shape;
	struct owner *owner;
	struct labels *labels;
	struct series *wait; /* of a call series: where its waits go; holds a user */
	uint64_t start_ns; /* wall clock */
	uint64_t touched_ns; /* monotonic */
	size_t index; /* in m->all */
	uint32_t users; /* active calls, or series whose `wait` this is: not evicted while > 0 */
	bool overflow, own;
	uint32_t key_len;
	uint64_t words[]; /* shape->n_words, then the key */
};

/* The shapes of one protocol and role. Protocols that share their tables share these. */
struct schema {
	struct shape *call, *active, *wait, *untimed;
};

struct metrics {
	double *duration_bounds, *size_bounds;
	size_t n_duration_bounds, n_size_bounds;
	bool server_address_on_server;
	uint64_t ttl_ns;
	uint64_t now_ns; /* the latest monotonic time that was given */
	uint64_t next_expiry_ns; /* nothing can be too old before */
	struct metrics_stats stats; /* .series: all but overflow and own */
	size_t n_overflow, n_own;

	struct schema schema[PROTO_MAX][ROLE_MAX];
	struct shape **shapes;
	size_t n_shapes;
	struct hmap generic; /* shapes by instrument */
	struct family_def *families;
	size_t n_families;

	struct hmap table; /* series by key */
	struct series **all; /* the same, dense */
	size_t n_all, cap_all;

	struct hmap owners;
	struct owner *owner_cache[OWNER_CACHE]; /* by service id */
	uint32_t owner_cache_id[OWNER_CACHE];
	struct owner nobody;
	uint32_t last_owner_id;

	struct buf scratch; /* for label values that are not plain ASCII */
};

static inline double word_double(uint64_t w)
{
	double d;

	memcpy(&d, &w, sizeof(d));
	return d;
}

static inline uint64_t double_word(double d)
{
	uint64_t w;

	memcpy(&w, &d, sizeof(w));
	return w;
}

/* key.c */
void key_begin(struct key *k, const struct shape *sh, enum key_flags flags);
/* The value as it will stand in the label; empty: the label is absent. */
void key_push(struct metrics *m, struct key *k, struct str value);
void key_set_owner(struct key *k, const struct owner *o);
static inline uint64_t key_hash(const struct key *k)
{
	return hash_bytes(k->b, k->len, 0);
}
/* Reads texts back, one by one, starting with *at == KEY_HEAD; copies with NUL into dst. False at the end. */
bool key_text(const struct key *k, size_t *at, char dst[VALUE_MAX + 1]);

/* shape.c */
int shapes_init(struct metrics *m); /* the schemas of all protocols */
void shapes_done(struct metrics *m);
struct shape *shape_generic(struct metrics *m, const struct instrument *inst); /* NULL: no memory */

/* table.c */
void table_done(struct metrics *m);
/*
 * The series of this key (whose owner need not be set yet), touched; made when it is new.
 * NULL: no memory (ENOMEM in errno) or no room in the budget (ENOSPC).
 */
struct series *series_get(struct metrics *m, const struct shape *sh, struct service *svc, struct key *k);
/* The overflow series of this service, or the one of nobody. NULL: no memory. */
struct series *series_overflow(struct metrics *m, const struct shape *sh, struct service *svc);
/* The one, else the other. */
struct series *series_get_or_overflow(struct metrics *m, const struct shape *sh, struct service *svc, struct key *k);
void series_free(struct metrics *m, struct series *s);
