/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conventions of the whole tree: functions return 0 or -errno, constructors return
 * NULL and set errno, a `ret_x` output stays untouched on failure. Cleanup
 * attributes free what goes out of scope; TAKE_PTR hands ownership on.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CLAMP(x, lo, hi) MIN(MAX(x, lo), hi)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define __printf(a, b) __attribute__((format(printf, a, b)))
#define __unused __attribute__((unused))

#define _cleanup_(f) __attribute__((cleanup(f)))
#define TAKE_PTR(p)                    \
	({                             \
		typeof(p) p_ = (p);    \
		(p) = NULL;            \
		p_;                    \
	})

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define _free_ _cleanup_(freep)
#define _close_ _cleanup_(closep)
