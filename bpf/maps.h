/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every map, with who writes and who deletes. Weak, so that each object may define them
 * and the linker keeps one.
 */
#pragma once

#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf/proto/proto.h" /* struct walk and its map */
#include "bpf/shared/config.h"
#include "bpf/shared/conn.h"
#include "bpf/shared/event.h"
#include "bpf/shared/protocols.h"
#include "bpf/shared/stats.h"

extern const volatile struct sonde_settings settings;
extern struct sonde_live live;

/* Connections. Created by the hooks, gone with the socket; a listener's children start with a copy. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct sonde_conn);
} conns __weak SEC(".maps");

/* Verdicts by tgid. Written by the kernel's half (judge, fork) and user space; deleted at exit by the exit hook. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct sonde_proc);
} procs __weak SEC(".maps");

/* Rules that the kernel judges. Written by user space only; live.rules_gen is bumped after a change. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SONDE_RULES_MAX);
	__type(key, __u32);
	__type(value, struct sonde_rule);
} rules __weak SEC(".maps");

/*
 * The far ends of sonde's own connections, as their owner's socket spells the tuple. Written when a socket
 * of ours is established, old ones fall out.
 */
struct tuple_key {
	__u8 laddr[16];
	__u8 raddr[16];
	__u16 lport;
	__u16 rport;
	__u32 netns;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct tuple_key);
	__type(value, __u64); /* when, as conn_new_id() */
} own_peers __weak SEC(".maps");

/* Data: connections and their bytes. Written by lib/emit.h only, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring __weak SEC(".maps");

/* Control: processes. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 << 10);
} ctl_ring __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} stats __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RUN_MAX);
	__type(key, __u32);
	__type(value, struct sonde_run_stat);
} runs __weak SEC(".maps");

struct exec_scratch {
	struct ev_exec ev;
	char data[EXEC_ARGS_MAX + EXEC_ENV_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_scratch);
} exec_scratch_map __weak SEC(".maps");
