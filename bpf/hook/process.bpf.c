// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Processes: who descends from whom (--scope=pid), and what user space needs to name a program that
 * may be gone before it looks. Only processes in scope make records.
 */
#include "bpf/lib/task.h"

static __always_inline void say(void *rec, __u64 size)
{
	/* rare, and naming a short-lived program is a race: wake at once */
	if (bpf_ringbuf_output(&ctl_ring, rec, size, BPF_RB_FORCE_WAKEUP))
		stat_add(STAT_LOST_PROC, 1);
	else
		stat_add(STAT_EV_PROC, 1);
}

static __always_inline bool wanted(int verdict)
{
	return verdict == VERDICT_READ || verdict == VERDICT_PENDING;
}

SEC("?tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct ev_proc e = { .h.kind = EV_FORK, .h.size = sizeof(e) };
	__u32 ppid = parent->tgid, pid = child->tgid;
	struct sonde_proc *p, made;

	if (child->pid != child->tgid)
		return 0; /* a thread */
	p = bpf_map_lookup_elem(&procs, &ppid);
	if (!p)
		return 0;
	made = *p;
	made.flags &= PROC_IN_TREE;
	if (ppid == settings.self_tgid)
		return 0;
	/* without a place it falls out of a scope that is a process tree */
	if (bpf_map_update_elem(&procs, &pid, &made, BPF_ANY))
		stat_add(STAT_PROCS_REFUSED, 1);
	if (!wanted(made.verdict))
		return 0;
	e.h.ts = bpf_ktime_get_ns();
	e.tgid = pid;
	e.ppid = ppid;
	say(&e, sizeof(e));
	return 0;
}

SEC("?tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	__u32 tgid = task->tgid, zero = 0;
	struct sonde_proc *p = bpf_map_lookup_elem(&procs, &tgid);
	struct exec_scratch *s;
	struct mm_struct *mm = task->mm;
	__u64 from, len, env;

	/* a new program: judged anew, but still in its tree */
	if (p) {
		p->verdict = VERDICT_NONE;
		__sync_fetch_and_add(&live.conn_gen, 1);
	}
	if (!wanted(judge(bpf_get_current_task(), tgid)))
		return 0;
	s = bpf_map_lookup_elem(&exec_scratch_map, &zero);
	if (!s || !mm)
		return 0;
	s->ev.h.kind = EV_EXEC;
	s->ev.h.ts = bpf_ktime_get_ns();
	s->ev.tgid = tgid;
	s->ev.ppid = task->real_parent->tgid;
	s->ev.uid = BPF_CORE_READ(task, cred, uid.val);
	s->ev.start_ns = task->group_leader->start_boottime;
	bpf_get_current_comm(s->ev.comm, sizeof(s->ev.comm));
	bpf_probe_read_kernel_str(s->ev.file, sizeof(s->ev.file), BPF_CORE_READ(bprm, filename));
	from = mm->arg_start;
	len = mm->arg_end - from;
	if (len > EXEC_ARGS_MAX)
		len = EXEC_ARGS_MAX;
	if (bpf_probe_read_user(s->data, len, (void *)from))
		len = 0;
	s->ev.args_len = len;
	from = mm->env_start;
	env = mm->env_end - from;
	if (env > EXEC_ENV_MAX)
		env = EXEC_ENV_MAX;
	if (bpf_probe_read_user(s->data + (len & 0x7ff), env, (void *)from))
		env = 0;
	s->ev.env_len = env;
	len = sizeof(s->ev) + len + env;
	s->ev.h.size = len;
	if (len <= sizeof(*s))
		say(s, len);
	return 0;
}

SEC("?tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct ev_proc e = { .h.kind = EV_EXIT, .h.size = sizeof(e) };
	__u32 tgid = task->tgid;
	struct sonde_proc *p;

	if (task->signal->live.counter > 0)
		return 0; /* threads are left */
	p = bpf_map_lookup_elem(&procs, &tgid);
	if (!p)
		return 0;
	if (wanted(p->verdict)) {
		e.h.ts = bpf_ktime_get_ns();
		e.tgid = tgid;
		say(&e, sizeof(e));
	}
	bpf_map_delete_elem(&procs, &tgid);
	return 0;
}

/* Moved to another cgroup: judged anew. */
SEC("?tp_btf/cgroup_attach_task")
int BPF_PROG(process_cgroup, struct cgroup *dst, const char *path, struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct sonde_proc *p = bpf_map_lookup_elem(&procs, &tgid);

	if (p) {
		p->verdict = VERDICT_NONE;
		__sync_fetch_and_add(&live.conn_gen, 1);
	}
	return 0;
}
