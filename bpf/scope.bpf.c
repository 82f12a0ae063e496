// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Who may be read: the one gate before any byte. A verdict is made once per process and
 * rules' generation, and kept in the process map.
 */
#include "bpf/lib/task.h"

#define CGROUP_DEPTH 24

/* Global, with the task as a number: verified once, not once per caller. */
int in_cgroup(__u64 task, int subsys, __u64 id);
int in_cgroup(__u64 task, int subsys, __u64 id)
{
	struct cgroup *cg = task_cgroup((struct task_struct *)task, subsys);

	for (int i = 0; i < CGROUP_DEPTH && cg; i++) {
		if (BPF_CORE_READ(cg, kn, id) == id)
			return 1;
		/* a css's parent is the css of the parent cgroup; cgroup.self is the first member */
		cg = (struct cgroup *)BPF_CORE_READ(cg, self.parent);
	}
	return 0;
}

static __always_inline bool in_scope(struct task_struct *task, const struct sonde_proc *p)
{
	if (!settings.n_scope_cgroups && !settings.scope_by_tree)
		return true;
	if (p && p->flags & PROC_IN_TREE)
		return true;
	for (__u32 i = 0; i < SONDE_SCOPES_MAX; i++) {
		if (i >= settings.n_scope_cgroups)
			break;
		if (in_cgroup((__u64)task, settings.scope[i].subsys, settings.scope[i].id))
			return true;
	}
	return false;
}

static __always_inline bool rule_holds(struct task_struct *task, const struct sonde_rule *r, __u32 uid)
{
	return (r->uid < 0 || r->uid == (__s32)uid) && (!r->cgroup || in_cgroup((__u64)task, r->subsys, r->cgroup));
}

/*
 * The rules that need nothing but uid and cgroup. An include by port is a promise: no later rule
 * excludes the whole process, each connection is asked about.
 */
static __noinline int judge_rules(struct task_struct *task)
{
	__u32 uid = BPF_CORE_READ(task, cred, uid.val);
	bool by_port = false;

	for (__u32 i = 0; i < SONDE_RULES_MAX; i++) {
		__u32 key = i;
		struct sonde_rule *r = bpf_map_lookup_elem(&rules, &key);

		if (!r || r->action == KRULE_NONE)
			break;
		if (!rule_holds(task, r, uid))
			continue;
		if (r->port)
			by_port |= r->action == KRULE_INCLUDE;
		else
			return r->action == KRULE_EXCLUDE && !by_port ? VERDICT_SKIP : VERDICT_READ;
	}
	return live.has_include && !by_port ? VERDICT_SKIP : VERDICT_READ;
}

int judge_port(__u32 port, __u32 other)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 uid = BPF_CORE_READ(task, cred, uid.val);
	bool include = false;

	for (__u32 i = 0; i < SONDE_RULES_MAX; i++) {
		__u32 key = i;
		struct sonde_rule *r = bpf_map_lookup_elem(&rules, &key);

		if (!r || r->action == KRULE_NONE)
			break;
		include |= r->action == KRULE_INCLUDE;
		if ((r->port && r->port != port && r->port != other) || !rule_holds(task, r, uid))
			continue;
		return r->action == KRULE_EXCLUDE ? VERDICT_SKIP : VERDICT_READ;
	}
	return include ? VERDICT_SKIP : VERDICT_READ;
}

int judge(__u64 task_addr, __u32 tgid)
{
	struct task_struct *task = (struct task_struct *)task_addr;
	struct sonde_proc *p = bpf_map_lookup_elem(&procs, &tgid);
	struct sonde_proc made = {};

	if (p && p->verdict && p->gen == live.rules_gen)
		return p->verdict;
	if (p)
		made.flags = p->flags;
	made.gen = live.rules_gen;
	if (tgid == settings.self_tgid)
		made.verdict = VERDICT_SKIP;
	else if (!in_scope(task, p))
		made.verdict = VERDICT_OUT;
	else if (live.need_user)
		made.verdict = VERDICT_PENDING;
	else
		made.verdict = live.has_rules ? judge_rules(task) : VERDICT_READ;
	/* without a place it is judged again and again */
	if (bpf_map_update_elem(&procs, &tgid, &made, BPF_ANY) && !p)
		stat_add(STAT_PROCS_REFUSED, 1);
	return made.verdict;
}
