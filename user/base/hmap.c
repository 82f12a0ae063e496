// SPDX-License-Identifier: Apache-2.0
/*
 * Chains of intrusive nodes behind a power-of-two array, one node per bucket on the
 * average. Growing is best effort: when there is no memory for a bigger array the
 * chains get longer and nothing is lost.
 */
#include <sys/random.h>
#include <time.h>

#include <xxhash.h>

#include "user/base/hmap.h"

#define BUCKETS_MIN 16

static uint64_t process_seed;

/* Before main(), so that no thread ever sees two seeds. */
__attribute__((constructor)) static void make_seed(void)
{
	struct timespec ts;

	if (getrandom(&process_seed, sizeof(process_seed), GRND_NONBLOCK) == sizeof(process_seed))
		return;
	/* early boot: address layout and the clock still tell two runs apart */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	process_seed = ((uint64_t)ts.tv_nsec << 32) ^ (uint64_t)ts.tv_sec ^ (uintptr_t)&ts ^ (uintptr_t)&process_seed;
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed ^ process_seed);
}

static int resize(struct hmap *m, size_t n_buckets)
{
	struct hmap_node **buckets = calloc(n_buckets, sizeof(*buckets));
	struct hmap_node *n;

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; m->buckets && i <= m->mask; i++) {
		while ((n = m->buckets[i])) {
			m->buckets[i] = n->next;
			n->next = buckets[n->hash & (n_buckets - 1)];
			buckets[n->hash & (n_buckets - 1)] = n;
		}
	}
	free(m->buckets);
	m->buckets = buckets;
	m->mask = n_buckets - 1;
	return 0;
}

int hmap_insert(struct hmap *m, struct hmap_node *n, uint64_t hash)
{
	struct hmap_node **slot;

	if (!m->buckets) {
		if (resize(m, BUCKETS_MIN))
			return -ENOMEM;
	} else if (m->count > m->mask) {
		(void)resize(m, (m->mask + 1) * 2);
	}
	slot = &m->buckets[hash & m->mask];
	n->hash = hash;
	n->next = *slot;
	*slot = n;
	m->count++;
	return 0;
}

void hmap_remove(struct hmap *m, struct hmap_node *n)
{
	struct hmap_node **at;

	if (!m->buckets)
		return;
	for (at = &m->buckets[n->hash & m->mask]; *at; at = &(*at)->next) {
		if (*at == n) {
			*at = n->next;
			n->next = NULL;
			m->count--;
			return;
		}
	}
}

void hmap_done(struct hmap *m)
{
	free(m->buckets);
	*m = HMAP_INIT;
}

struct hmap_node *hmap_iter_next(const struct hmap *m, struct hmap_iter *it)
{
	struct hmap_node *n = it->next;

	while (!n && m->buckets && it->bucket <= m->mask)
		n = m->buckets[it->bucket++];
	it->next = n ? n->next : NULL;
	return n;
}
