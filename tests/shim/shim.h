/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a protocol's kernel half needs to be an ordinary C program: the kernel's integer types, the
 * compiler's attributes, bpf_loop. The walk is one static object (shim/kernel.c), there is one CPU.
 */
#pragma once

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __hidden __attribute__((visibility("hidden")))
#define __weak __attribute__((weak))
#define SEC(name)

struct walk;
struct walk *walk_get(void);

/* Callbacks have the type of their own context. */
#define bpf_loop(n, fn, ctx, flags) shim_loop(n, (shim_loop_fn *)(fn), ctx)
typedef int shim_loop_fn(__u32 i, void *ctx);

static inline long shim_loop(__u32 n, shim_loop_fn *fn, void *ctx)
{
	__u32 i = 0;

	while (i < n)
		if (fn(i++, ctx))
			break;
	return i;
}
