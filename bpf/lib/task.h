/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Who may be read.
 */
#pragma once

#include "bpf/lib/compat.h"
#include "bpf/lib/emit.h"

/*
 * scope.bpf.c: the verdict on a process (enum sonde_verdict). `task` is its task_struct's address: a
 * global function is verified once and alone, and takes no pointers on old kernels.
 */
int judge(__u64 task, __u32 tgid);
/* Rules about a connection of the current task: VERDICT_SKIP or VERDICT_READ. `other`: may be the server's port as well. */
int judge_port(__u32 port, __u32 other);

static __always_inline void proc_flag(__u32 tgid, __u8 flag)
{
	struct sonde_proc *p = bpf_map_lookup_elem(&procs, &tgid);

	if (p && !(p->flags & flag))
		p->flags |= flag;
}
