/* SPDX-License-Identifier: Apache-2.0 */
/* The helpers that bpf/lib and classify call; those that do something stand in shim/kernel.c. */
#pragma once

#include "tests/shim/shim.h"

#define __uint(name, val) int (*name)[val]
#define __type(name, val) val *name

__u64 bpf_ktime_get_ns(void);
__u64 bpf_get_current_pid_tgid(void);
long bpf_probe_read_user(void *dst, __u32 size, const void *src);
long bpf_ringbuf_output(void *ring, void *data, __u64 size, __u64 flags);
void *bpf_map_lookup_elem(void *map, const void *key);
struct task_struct *bpf_get_current_task_btf(void);
long bpf_task_pt_regs(struct task_struct *task);

static inline __u64 bpf_ringbuf_query(void *ring, __u64 what)
{
	return 0;
}

static inline __u64 bpf_get_current_uid_gid(void)
{
	return 0;
}

static inline __u32 bpf_get_smp_processor_id(void)
{
	return 0;
}

static inline __u32 bpf_get_prandom_u32(void)
{
	return 1;
}

static inline void *bpf_sk_storage_get(void *map, void *sk, void *value, __u64 flags)
{
	return NULL;
}

static inline long bpf_probe_read_kernel(void *dst, __u32 size, const void *src)
{
	__builtin_memcpy(dst, src, size);
	return 0;
}
