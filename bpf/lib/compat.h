/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The only file that asks about the kernel. One accessor per difference, with the
 * commit that made it.
 */
#pragma once

#include "vmlinux/vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000

#define RCV_SHUTDOWN 1
#define SEND_SHUTDOWN 2
#define SHUTDOWN_MASK 3

#define EAGAIN 11
#define ECONNRESET 104
#define EPIPE 32
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113
#define ENETUNREACH 101

#if defined(__TARGET_ARCH_x86)
/* arch/x86/entry/syscalls/syscall_64.tbl */
#define NR_read 0
#define NR_write 1
#define NR_readv 19
#define NR_writev 20
#define NR_sendto 44
#define NR_recvfrom 45
#define NR_sendmsg 46
#define NR_recvmsg 47
#define NR_splice 275
#define NR_recvmmsg 299
#define NR_sendmmsg 307
#define NR_preadv2 327
#define NR_pwritev2 328

/* arch/x86/include/asm/thread_info.h: the system call came through a 32-bit entry */
#define TS_COMPAT 0x0002

static __always_inline bool task_is_compat(struct task_struct *task)
{
	return task->thread_info.status & TS_COMPAT;
}

struct syscall_regs {
	long nr;
	__u64 fd;
	__u64 arg1, arg2, arg3;
};

/* The registers of the system call that the current task is in: its user frame, valid inside the call. */
static __always_inline void syscall_regs_get(struct task_struct *task, struct syscall_regs *ret)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	ret->nr = regs->orig_ax;
	ret->fd = regs->di;
	ret->arg1 = regs->si;
	ret->arg2 = regs->dx;
	ret->arg3 = regs->r10;
}
#endif

/* include/linux/sched.h */
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000

/* What stands behind one of the task's file descriptors: a socket's file leads to its struct socket. */
static __always_inline __u64 task_file_data(struct task_struct *task, __u64 fd)
{
	struct files_struct *files = BPF_CORE_READ(task, files);
	struct fdtable *t = BPF_CORE_READ(files, fdt);
	struct file **at = BPF_CORE_READ(t, fd), *file = NULL;

	if (fd >= BPF_CORE_READ(t, max_fds) || bpf_probe_read_kernel(&file, sizeof(file), at + fd) || !file)
		return 0;
	return (__u64)BPF_CORE_READ(file, private_data);
}

/*
 * cgroup v1's subsystems and the unified hierarchy alike: the kernfs id of a task's cgroup is compared
 * from the leaf upwards.
 */
static __always_inline struct cgroup *task_cgroup(struct task_struct *task, int subsys)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css;

	if (subsys < 0)
		return BPF_CORE_READ(set, dfl_cgrp);
	bpf_probe_read_kernel(&css, sizeof(css), &set->subsys[subsys & 15]);
	return BPF_CORE_READ(css, cgroup);
}
