/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The way to a connection's state, and the records about connections. */
#pragma once

#include "bpf/lib/sock.h"
#include "bpf/lib/task.h"

static __always_inline struct sonde_conn *conn_of(struct sock *sk)
{
	/* most sockets have none, of anybody */
	return sk->sk_bpf_storage ? bpf_sk_storage_get(&conns, sk, NULL, 0) : NULL;
}

static __always_inline struct sonde_conn *conn_make(struct sock *sk)
{
	struct sonde_conn *c = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!c)
		stat_add(STAT_LOST_STATE, 1);
	return c;
}

/* Unique in a run: the clock, with the CPU in the low bits against two in one tick. */
static __always_inline __u64 conn_new_id(void)
{
	return bpf_ktime_get_ns() << 8 | (bpf_get_smp_processor_id() & 0xff);
}

/* Bytes that passed in one direction. */
struct passed {
	__u32 dir;
	__u32 n;
	__u64 now;
	__u64 start_ns; /* when the first of them did; 0: not known */
	__u64 wait_ns;	/* ~0: not known */
	__u32 missed;	/* so many passed unseen before them */
	__u32 hidden;	/* they are not in the program's memory: 0, or the counter of such bytes (enum sonde_stat) */
};

/* classify.bpf.c: the task's verdict is known. */
__hidden int conn_bytes(struct sock *sk, struct sonde_conn *c, const struct passed *p);
/* classify.bpf.c: sends EV_CONN unless it was sent; 0, or -1 when the ring is full. */
__hidden int conn_announce(struct sock *sk, struct sonde_conn *c, __u64 connect_ns);
__hidden int conn_end(struct sonde_conn *c, __u32 how, __u32 err);
/* classify.bpf.c: the record that waits for its message's end goes now; up to `pos` its bytes have passed, by `ns`. */
__hidden int conn_release(struct sonde_conn *c, __u64 pos, __u64 ns);

/* The peer's end was seen and everything before it was read. */
static __always_inline void conn_peer_fin(struct sonde_conn *c)
{
	if (c->peer_fin)
		return;
	c->peer_fin = 1;
	conn_end(c, END_PEER_FIN, 0);
}
