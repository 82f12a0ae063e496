// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Read on demand by user space. task_file: listeners that were open before us get their storage, so
 * that the connections that they accept are known from their first byte. conns: which
 * connections still live (the end of a unix socket has no hook).
 */
#include "bpf/lib/unix.h"

SEC("?iter/task_file")
int iter_listeners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *sock;
	struct sonde_conn *c;
	struct sock *sk;
	__u32 tgid;

	if (!task || !file)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock || !sock->sk)
		return 0;
	sk = sock->sk;
	if (sk->__sk_common.skc_state != TCP_LISTEN || !sock_is_stream(sk) || sk->__sk_common.skc_family == AF_UNIX)
		return 0;
	tgid = task->tgid;
	if (judge((__u64)BPF_CORE_READ(task, group_leader), tgid) != VERDICT_READ && tgid != settings.self_tgid)
		return 0;
	c = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c || c->flags)
		return 0;
	c->tgid = tgid;
	c->gen = live.conn_gen;
	c->flags = CONN_LISTENER | (tgid == settings.self_tgid ? CONN_OWN : 0);
	return 0;
}

SEC("?iter/bpf_sk_storage_map")
int iter_conns(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sonde_conn *c = ctx->value;
	struct sock *sk = ctx->sk;

	if (c && sk && unix_closed(sk)) {
		unix_end(c);
		return 0;
	}

	if (c && c->id && c->announced)
		bpf_seq_write(ctx->meta->seq, &c->id, sizeof(c->id));
	return 0;
}
