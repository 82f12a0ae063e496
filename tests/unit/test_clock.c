// SPDX-License-Identifier: Apache-2.0
/* user/base/clock.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <time.h>

#include "user/base/clock.h"

static uint64_t direct(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void clocks_are_the_kernels(void **state)
{
	uint64_t before = direct(CLOCK_MONOTONIC), now = clock_mono_ns(), after = direct(CLOCK_MONOTONIC);

	assert_true(before <= now && now <= after);
	before = direct(CLOCK_REALTIME);
	now = clock_wall_ns();
	after = direct(CLOCK_REALTIME);
	assert_true(before <= now && now <= after);
}

static void converts_to_wall_time(void **state)
{
	uint64_t mono = clock_mono_ns(), wall = clock_mono_to_wall(mono);
	int64_t off = (int64_t)(wall - clock_wall_ns());

	/* this test may be suspended between the two readings, but not for a second */
	assert_true(off > -(int64_t)NSEC_PER_SEC && off < (int64_t)NSEC_PER_SEC);
}

static void keeps_distances(void **state)
{
	uint64_t mono = clock_mono_ns(), base, later;

	/* the offset may be measured again between two calls; not between these three every time */
	for (int i = 0; i < 5; i++) {
		base = clock_mono_to_wall(mono);
		later = clock_mono_to_wall(mono + 12345);
		if (later - base == 12345 && base == clock_mono_to_wall(mono))
			return;
	}
	fail();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clocks_are_the_kernels),
		cmocka_unit_test(converts_to_wall_time),
		cmocka_unit_test(keeps_distances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
