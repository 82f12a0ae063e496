/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a TCP socket knows itself about the bytes that passed. */
#pragma once

#include "bpf/lib/conn.h"

static __always_inline __u32 tcp_seq_of(const struct tcp_sock *tp, __u32 dir)
{
	return dir == DIR_RECV ? tp->copied_seq : tp->write_seq;
}

/*
 * The socket's own sequence numbers tell what passed unseen before the last n bytes; returns how many did.
 */
static __always_inline __u32 see_gap(struct tcp_sock *tp, struct sonde_conn *c, __u32 dir, __u32 n)
{
	struct sonde_half *h = &c->half[dir & 1];
	__u32 missed = tcp_seq_of(tp, dir) - h->tcp_seq - n;

	/* one may be urgent data or a FIN; more than half the space: another thread was faster, not a gap */
	if (!h->tcp_seq || missed <= 1 || missed >= (1U << 31))
		return 0;
	if (c->held.len && c->held_dir == dir)
		conn_release(c, h->pos, h->last_ns);
	h->pos += missed;
	h->tcp_seq += missed;
	/* when they passed is not known either */
	c->unseen = 1;
	c->gap = 1;
	stat_add(STAT_SPLICED_BYTES, missed);
	proc_flag(c->tgid, PROC_SPLICED);
	return missed;
}

/*
 * The peer has finished and we have seen the program read it all (its FIN takes one number). The socket's own
 * copied_seq will not do: a FIN that comes while the program reads is worked off inside the read,
 * before the read's hook.
 */
static __always_inline bool all_read(struct sock *sk, const struct sonde_conn *c)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	__u32 seen;

	if (!tp)
		return false;
	seen = c->half[DIR_RECV].tcp_seq;
	if (!seen)
		seen = tp->rcv_nxt - (__u32)tp->bytes_received; /* nothing was told yet */
	return tp->rcv_nxt - seen <= 1;
}
