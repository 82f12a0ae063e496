// SPDX-License-Identifier: Apache-2.0
/*
 * Two clocks and the distance between them. The distance moves when the wall clock
 * is stepped, so it is measured again once a second; between two measurements a
 * conversion is one addition.
 */
#include <stdatomic.h>
#include <time.h>

#include "user/base/clock.h"

static uint64_t read_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
	return read_ns(CLOCK_REALTIME);
}

uint64_t clock_mono_to_wall(uint64_t mono_ns)
{
	static _Atomic uint64_t valid_until, offset;
	uint64_t now = clock_mono_ns();

	/* Threads may measure at the same time: each stores a good offset before the time that vouches for it. */
	if (now >= atomic_load_explicit(&valid_until, memory_order_acquire)) {
		atomic_store_explicit(&offset, clock_wall_ns() - now, memory_order_relaxed);
		atomic_store_explicit(&valid_until, now + NSEC_PER_SEC, memory_order_release);
	}
	return mono_ns + atomic_load_explicit(&offset, memory_order_relaxed);
}

void clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}
