// SPDX-License-Identifier: Apache-2.0
/* user/base/queue.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>

#include "user/base/clock.h"
#include "user/base/queue.h"

#define MANY	20000
#define FOREVER (clock_mono_ns() + 20 * NSEC_PER_SEC)

static void *item(uintptr_t i)
{
	return (void *)(i + 1);
}

static void refuses_when_full(void **state)
{
	struct queue *q = queue_new(3);
	void *out[5];

	assert_int_equal(queue_capacity(q), 3);
	/* three rounds: the ring wraps */
	for (uintptr_t round = 0; round < 3; round++) {
		for (uintptr_t i = 0; i < 3; i++)
			assert_int_equal(queue_push(q, item(round * 10 + i)), 0);
		assert_int_equal(queue_push(q, item(99)), -ENOSPC);
		assert_int_equal(queue_len(q), 3);
		assert_int_equal(queue_pop(q, out, 2, 0, 0), 2);
		assert_ptr_equal(out[0], item(round * 10));
		assert_ptr_equal(out[1], item(round * 10 + 1));
		assert_int_equal(queue_pop(q, out, 5, 1, 0), 1);
		assert_ptr_equal(out[0], item(round * 10 + 2));
	}
	assert_int_equal(queue_pop(q, out, 5, 0, 0), 0);
	queue_free(q, NULL);
}

static int freed;

static void count_free(void *p)
{
	free(p);
	freed++;
}

static void frees_what_is_left(void **state)
{
	struct queue *q = queue_new(8);

	freed = 0;
	for (int i = 0; i < 5; i++)
		assert_int_equal(queue_push(q, malloc(8)), 0);
	queue_free(q, count_free);
	assert_int_equal(freed, 5);
	queue_free(NULL, count_free);
	errno = 0;
	assert_null(queue_new(0));
	assert_int_equal(errno, EINVAL);
	assert_null(queue_new(SIZE_MAX));
	assert_int_equal(errno, EINVAL);
}

static void deadline_ends_the_wait(void **state)
{
	struct queue *q = queue_new(8);
	uint64_t deadline = clock_mono_ns() + 20 * NSEC_PER_MSEC;
	void *out[8];

	assert_int_equal(queue_push(q, item(1)), 0);
	assert_int_equal(queue_pop(q, out, 8, 4, deadline), 1);
	assert_true(clock_mono_ns() >= deadline);
	/* in the past: at once */
	assert_int_equal(queue_pop(q, out, 8, 4, 1), 0);
	queue_free(q, NULL);
}

static void wake_is_remembered(void **state)
{
	struct queue *q = queue_new(8);
	uint64_t start = clock_mono_ns();
	void *out[8];

	queue_wake(q);
	assert_int_equal(queue_pop(q, out, 8, 1, FOREVER), 0);
	assert_true(clock_mono_ns() - start < 10 * NSEC_PER_SEC);
	/* once */
	assert_int_equal(queue_pop(q, out, 8, 1, clock_mono_ns() + NSEC_PER_MSEC), 0);
	queue_free(q, NULL);
}

static void wanting_more_than_fits_ends(void **state)
{
	struct queue *q = queue_new(2);
	uint64_t start = clock_mono_ns();
	void *out[8];

	assert_int_equal(queue_push(q, item(1)), 0);
	assert_int_equal(queue_push(q, item(2)), 0);
	assert_int_equal(queue_pop(q, out, 8, 5, FOREVER), 2);
	assert_int_equal(queue_push(q, item(1)), 0);
	assert_int_equal(queue_pop(q, out, 1, 2, FOREVER), 1);
	assert_true(clock_mono_ns() - start < 10 * NSEC_PER_SEC);
	queue_free(q, NULL);
}

struct shared {
	struct queue *q;
	uintptr_t refused;
};

static void *push_all(void *arg)
{
	struct shared *s = arg;

	for (uintptr_t i = 0; i < MANY;) {
		if (!queue_push(s->q, item(i)))
			i++;
		else
			s->refused++;
	}
	return NULL;
}

/* Everything arrives once, in order; a waiting thread is woken when its batch is there. */
static void crosses_threads(void **state)
{
	struct shared s = {.q = queue_new(64)};
	uintptr_t next = 0;
	pthread_t t;
	void *out[32];

	assert_int_equal(pthread_create(&t, NULL, push_all, &s), 0);
	while (next < MANY) {
		size_t n = queue_pop(s.q, out, 32, MIN((size_t)(MANY - next), (size_t)16), FOREVER);

		assert_true(n > 0);
		for (size_t i = 0; i < n; i++)
			assert_ptr_equal(out[i], item(next++));
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(queue_len(s.q), 0);
	queue_free(s.q, NULL);
}

#define ROUNDS 200

struct pair {
	struct queue *to, *fro;
};

static void *answer(void *arg)
{
	struct pair *p = arg;
	void *got;

	for (int i = 0; i < ROUNDS; i++) {
		if (queue_pop(p->to, &got, 1, 1, FOREVER) != 1 || queue_push(p->fro, got))
			return arg;
	}
	return NULL;
}

/* Each side waits for exactly what the other pushes; a missed wake-up would wait for its deadline. */
static void the_last_wanted_item_wakes(void **state)
{
	struct pair p = {queue_new(4), queue_new(4)};
	uint64_t start = clock_mono_ns();
	void *got, *failed = &p;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, answer, &p), 0);
	for (uintptr_t i = 0; i < ROUNDS; i++) {
		assert_int_equal(queue_push(p.to, item(i)), 0);
		assert_int_equal(queue_pop(p.fro, &got, 1, 1, FOREVER), 1);
		assert_ptr_equal(got, item(i));
	}
	assert_int_equal(pthread_join(t, &failed), 0);
	assert_null(failed);
	assert_true(clock_mono_ns() - start < 10 * NSEC_PER_SEC);
	queue_free(p.to, NULL);
	queue_free(p.fro, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_when_full),	       cmocka_unit_test(frees_what_is_left),
		cmocka_unit_test(deadline_ends_the_wait),      cmocka_unit_test(wake_is_remembered),
		cmocka_unit_test(wanting_more_than_fits_ends), cmocka_unit_test(crosses_threads),
		cmocka_unit_test(the_last_wanted_item_wakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
