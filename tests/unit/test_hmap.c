// SPDX-License-Identifier: Apache-2.0
/* user/base/hmap.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "user/base/hmap.h"

struct item {
	struct hmap_node node;
	uint64_t key;
	bool there;
};

#define N 5000

static struct item *find(const struct hmap *m, uint64_t key, uint64_t hash)
{
	struct hmap_node *n;

	for (n = hmap_first(m, hash); n; n = hmap_next_same(n)) {
		struct item *it = container_of(n, struct item, node);

		if (it->key == key)
			return it;
	}
	return NULL;
}

static void finds_what_was_inserted(void **state)
{
	struct item *items = calloc(N, sizeof(*items));
	struct hmap m = HMAP_INIT;

	assert_null(hmap_first(&m, 1));
	for (uint64_t i = 0; i < N; i++) {
		items[i].key = i;
		assert_int_equal(hmap_insert(&m, &items[i].node, hash_u64(i)), 0);
		assert_int_equal(m.count, i + 1);
	}
	for (uint64_t i = 0; i < N; i += 2)
		hmap_remove(&m, &items[i].node);
	assert_int_equal(m.count, N / 2);
	for (uint64_t i = 0; i < N; i++)
		assert_ptr_equal(find(&m, i, hash_u64(i)), i % 2 ? &items[i] : NULL);
	/* chains stay short: one node per bucket on the average */
	assert_true(m.mask + 1 >= N / 2);
	hmap_done(&m);
	hmap_done(&m);
	assert_null(hmap_first(&m, 1));
	free(items);
}

static void same_hash_is_no_same_key(void **state)
{
	struct item items[40] = {0};
	struct hmap m = HMAP_INIT;
	size_t n = 0;

	for (uint64_t i = 0; i < ARRAY_SIZE(items); i++) {
		items[i].key = i;
		/* two full hashes, all in one bucket */
		assert_int_equal(hmap_insert(&m, &items[i].node, (i % 2) << 32), 0);
	}
	for (uint64_t i = 0; i < ARRAY_SIZE(items); i++)
		assert_ptr_equal(find(&m, i, (i % 2) << 32), &items[i]);
	for (struct hmap_node *x = hmap_first(&m, 1ULL << 32); x; x = hmap_next_same(x))
		n++;
	assert_int_equal(n, ARRAY_SIZE(items) / 2);
	hmap_remove(&m, &items[7].node);
	hmap_remove(&m, &items[7].node);
	assert_int_equal(m.count, ARRAY_SIZE(items) - 1);
	hmap_done(&m);
}

static void iterates_while_removing(void **state)
{
	struct item *items = calloc(N, sizeof(*items));
	struct hmap m = HMAP_INIT;
	struct hmap_node *n;
	size_t seen = 0;

	hmap_each (n, &m)
		fail();
	for (uint64_t i = 0; i < N; i++) {
		items[i].key = i;
		assert_int_equal(hmap_insert(&m, &items[i].node, hash_u64(i)), 0);
	}
	hmap_each (n, &m) {
		struct item *it = container_of(n, struct item, node);

		assert_false(it->there);
		it->there = true;
		seen++;
		if (it->key % 3 == 0) {
			hmap_remove(&m, n);
			memset(n, 0xff, sizeof(*n));
		}
	}
	assert_int_equal(seen, N);
	seen = 0;
	hmap_each (n, &m)
		seen++;
	assert_int_equal(seen, m.count);
	assert_int_equal(seen, N - (N + 2) / 3);
	hmap_done(&m);
	free(items);
}

static void hashes_depend_on_all(void **state)
{
	assert_true(hash_bytes("abc", 3, 0) == hash_bytes("abc", 3, 0));
	assert_true(hash_bytes("abc", 3, 0) != hash_bytes("abc", 3, 1));
	assert_true(hash_bytes("abc", 3, 0) != hash_bytes("abd", 3, 0));
	assert_true(hash_bytes("abc", 3, 0) != hash_bytes("abc", 2, 0));
	assert_true(hash_bytes("", 0, 0) == hash_bytes(NULL, 0, 0));
}

/* The program again, as another process: same input, another hash. */
static char *self;

static void seed_differs_per_process(void **state)
{
	char command[4200], line[64], mine[64];
	FILE *f;

	snprintf(command, sizeof(command), "'%s' --print-hash", self);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_int_equal(pclose(f), 0);
	snprintf(mine, sizeof(mine), "%016llx\n", (unsigned long long)hash_bytes("abc", 3, 0));
	assert_int_equal(strlen(line), strlen(mine));
	assert_string_not_equal(line, mine);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_inserted),  cmocka_unit_test(same_hash_is_no_same_key),
		cmocka_unit_test(iterates_while_removing),  cmocka_unit_test(hashes_depend_on_all),
		cmocka_unit_test(seed_differs_per_process),
	};

	if (argc > 1) {
		printf("%016llx\n", (unsigned long long)hash_bytes("abc", 3, 0));
		return 0;
	}
	self = argv[0];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
