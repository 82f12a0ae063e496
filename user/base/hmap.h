/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive chained hash map: the node lives in the caller's struct, the caller
 * compares keys. Grows by doubling. Not thread-safe. Hash with hash_bytes(),
 * which is seeded per process, so that traffic cannot aim at one bucket.
 */
#pragma once

#include "user/base/err.h"

struct hmap_node {
	struct hmap_node *next;
	uint64_t hash;
};

struct hmap {
	struct hmap_node **buckets;
	size_t mask; /* number of buckets - 1 */
	size_t count;
};

#define HMAP_INIT ((struct hmap){ 0 })

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
static inline uint64_t hash_u64(uint64_t v)
{
	return hash_bytes(&v, sizeof(v), 0);
}

int hmap_insert(struct hmap *m, struct hmap_node *n, uint64_t hash); /* 0, -ENOMEM: not inserted */
void hmap_remove(struct hmap *m, struct hmap_node *n);
void hmap_done(struct hmap *m); /* frees the buckets, not the nodes */

static inline struct hmap_node *hmap_first(const struct hmap *m, uint64_t hash)
{
	struct hmap_node *n = m->buckets ? m->buckets[hash & m->mask] : NULL;

	while (n && n->hash != hash)
		n = n->next;
	return n;
}

static inline struct hmap_node *hmap_next_same(const struct hmap_node *n)
{
	uint64_t hash = n->hash;

	do
		n = n->next;
	while (n && n->hash != hash);
	return (struct hmap_node *)n;
}

/* Any order; the current node may be removed inside the loop body. */
struct hmap_iter {
	size_t bucket;
	struct hmap_node *next;
};
struct hmap_node *hmap_iter_next(const struct hmap *m, struct hmap_iter *it);
#define hmap_each(node, map)                                                                  \
	for (struct hmap_iter it_##node = { 0 }; ((node) = hmap_iter_next((map), &it_##node));)
