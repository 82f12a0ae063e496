/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What user space tells the kernel's half. `struct sonde_settings` is fixed before load
 * (const volatile); the maps of processes, rules and ports change at run time.
 */
#pragma once

#define SONDE_SCOPES_MAX 16
#define SONDE_RULES_MAX 64

struct sonde_scope_cgroup {
	__u64 id;	/* kernfs id of the cgroup */
	__s32 subsys;	/* index in css_set.subsys (cgroup v1); -1: the unified hierarchy */
	__u32 pad;
};

struct sonde_settings {
	__u32 self_tgid;
	__u32 n_scope_cgroups;
	__u32 scope_by_tree; /* some scope is a process tree: membership stands in the process map */
	__u32 has_send_start;
	__u32 has_data_ready;
	__u32 force_wakeup_bytes;
	__u32 pad[2];
	struct sonde_scope_cgroup scope[SONDE_SCOPES_MAX];
};

enum sonde_verdict {
	VERDICT_NONE = 0,
	VERDICT_READ,	 /* in scope, not excluded */
	VERDICT_SKIP,	 /* excluded by a rule */
	VERDICT_OUT,	 /* out of scope */
	VERDICT_PENDING, /* waits for user space */
};

enum sonde_proc_flags {
	PROC_IN_TREE = 1 << 0,	/* descends from a --scope=pid: process */
	PROC_SAW_TLS = 1 << 1,
	PROC_UNREADABLE = 1 << 2,
	PROC_SPLICED = 1 << 3,
};

/* Value of the process map, key: tgid. Written by both sides. */
struct sonde_proc {
	__u32 gen; /* of the rules that judged it */
	__u8 verdict;
	__u8 flags;
	__u16 pad;
};

/* KRULE_USER: only user space can tell whether it holds; it keeps its place in the order. */
enum sonde_rule_action { KRULE_NONE = 0, KRULE_INCLUDE, KRULE_EXCLUDE, KRULE_USER };

/* Rules that the kernel can judge at once; all given conditions must hold. */
struct sonde_rule {
	__u32 action; /* KRULE_NONE ends the list */
	__s32 uid;    /* -1: any */
	__u64 cgroup; /* 0: any */
	__s32 subsys;
	__u32 port;   /* 0: any; judged per connection */
};

/* .bss: may change while running */
struct sonde_live {
	__u32 rules_gen; /* of the rules: a verdict of an older one is made anew */
	__u32 conn_gen;	 /* verdicts that connections remember are asked for again when it moves */
	__u32 need_user; /* some rule needs user space: new processes are unread until judged */
	__u32 ring_high; /* most bytes that were unread in the data ring, since user space last set it to 0 */
	__u32 has_rules;
	__u32 has_port_rules;
	__u32 has_include;
};
