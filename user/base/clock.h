/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durations come from CLOCK_MONOTONIC (what bpf_ktime_get_ns() reads), time stamps
 * for people and back ends follow the wall clock.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC 1000000000ULL

uint64_t clock_mono_ns(void);
uint64_t clock_wall_ns(void);
/* Wall-clock time of a monotonic instant, by the offset of this moment (re-read at most every second). */
uint64_t clock_mono_to_wall(uint64_t mono_ns);
/* A condition whose timed waits are until a time of clock_mono_ns(). */
void clock_cond_init(pthread_cond_t *cond);
