/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On a real BPF map, so it needs the right to make one; without it the tests are skipped. What is
 * counted is compared in both ways of walking, and the time of a full map is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>
#include <bpf/bpf.h>

#include "user/base/clock.h"
#include "user/procmap.h"

#define BUDGET 32768
#define T(n)   ((n)*NSEC_PER_SEC)

static int make_map(unsigned budget)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "procs", sizeof(__u32), sizeof(struct sonde_proc), budget, &opts);

	if (fd < 0) {
		print_message("no BPF map can be made: %s\n", strerror(errno));
		skip();
	}
	return fd;
}

static void put(int fd, __u32 tgid, __u8 verdict, __u8 flags)
{
	struct sonde_proc p = {.verdict = verdict, .flags = flags};

	assert_int_equal(bpf_map_update_elem(fd, &tgid, &p, BPF_ANY), 0);
}

static struct procmap *walker(int fd, size_t budget, bool by_key)
{
	struct procmap *m = procmap_new(fd, budget);

	assert_non_null(m);
	if (by_key)
		procmap_without_batches(m);
	return m;
}

static void counts_what_is_there(void **state)
{
	for (int by_key = 0; by_key < 2; by_key++) {
		_close_ int fd = make_map(BUDGET);
		struct procmap *m = walker(fd, BUDGET, by_key);
		struct procmap_counts c;
		__u32 pending[8];

		procmap_count(m, &c, T(1));
		assert_int_equal(c.total, 0);
		assert_int_equal(c.budget, BUDGET);
		for (__u32 i = 1; i <= 3000; i++)
			put(fd, i, VERDICT_READ, i % 3 ? 0 : PROC_SAW_TLS);
		put(fd, 5001, VERDICT_SKIP, 0);
		put(fd, 5002, VERDICT_PENDING, PROC_SPLICED);
		put(fd, 5003, VERDICT_PENDING, PROC_UNREADABLE);
		/* not twice in a second */
		procmap_count(m, &c, T(2) - 1);
		assert_int_equal(c.total, 0);
		procmap_count(m, &c, T(2));
		assert_int_equal(c.total, 3003);
		assert_int_equal(c.verdict[VERDICT_READ], 3000);
		assert_int_equal(c.verdict[VERDICT_SKIP], 1);
		assert_int_equal(c.verdict[VERDICT_PENDING], 2);
		assert_int_equal(c.tls, 1000);
		assert_int_equal(c.spliced, 1);
		assert_int_equal(c.unreadable, 1);
		/* who judges asks for what is true now, and it serves who counts */
		put(fd, 5002, VERDICT_READ, 0);
		assert_int_equal(procmap_pending(m, pending, 8, T(2) + 1), 1);
		assert_int_equal(pending[0], 5003);
		procmap_count(m, &c, T(2) + 2);
		assert_int_equal(c.verdict[VERDICT_READ], 3001);
		put(fd, 5004, VERDICT_PENDING, 0);
		assert_int_equal(procmap_pending(m, pending, 1, T(3)), 1);
		procmap_free(m);
	}
}

/* More than one call looks at: the counts are the last whole walk's, and every pending one is met once. */
static void goes_on_where_it_was(void **state)
{
	enum { N = 80000, LARGE = 100000 };

	for (int by_key = 0; by_key < 2; by_key++) {
		_close_ int fd = make_map(LARGE);
		struct procmap *m = walker(fd, LARGE, by_key);
		struct procmap_counts c;
		__u32 pending[256];
		size_t met = 0;

		for (__u32 i = 1; i <= N; i++)
			put(fd, i, i % 1000 ? VERDICT_READ : VERDICT_PENDING, 0);
		for (int call = 0; call < 3; call++)
			met += procmap_pending(m, pending, 256, T(1));
		assert_int_equal(met, N / 1000);
		procmap_count(m, &c, T(1) + 1);
		assert_int_equal(c.total, N);
		for (__u32 i = 1; i <= N; i += 2)
			bpf_map_delete_elem(fd, &i);
		procmap_count(m, &c, T(2));
		assert_true(c.total == N || c.total == N / 2);
		procmap_count(m, &c, T(3));
		assert_int_equal(c.total, N / 2);
		procmap_free(m);
	}
}

static uint64_t time_of(int fd, bool by_key)
{
	struct procmap *m = walker(fd, BUDGET, by_key);
	uint64_t best = UINT64_MAX;
	struct procmap_counts c;

	for (int i = 0; i < 5; i++) {
		uint64_t begin = clock_mono_ns();

		procmap_count(m, &c, T(i + 1));
		best = MIN(best, clock_mono_ns() - begin);
		assert_int_equal(c.total, BUDGET);
	}
	procmap_free(m);
	return best;
}

static void a_full_map(void **state)
{
	_close_ int fd = make_map(BUDGET);
	uint64_t batch, key;

	for (__u32 i = 1; i <= BUDGET; i++)
		put(fd, i, VERDICT_READ, 0);
	batch = time_of(fd, false);
	key = time_of(fd, true);
	print_message("%d entries: %.2f ms in batches, %.2f ms key by key\n", BUDGET, batch / 1e6, key / 1e6);
	assert_true(batch < key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_what_is_there),
		cmocka_unit_test(goes_on_where_it_was),
		cmocka_unit_test(a_full_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
