// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Life of TCP connections by their state changes. A listener's storage is cloned into its
 * children (BPF_F_CLONE), so that an accepted connection is known, and the arrival of its
 * first bytes stamped, before the program accepts it.
 */
#include "bpf/lib/tcp.h"

static __always_inline bool is_subflow(const struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);

	return tp && bpf_core_field_exists(tp->is_mptcp) && BPF_CORE_READ_BITFIELD_PROBED(tp, is_mptcp);
}

/* In process context: connect() and listen(). */
static __always_inline void opened(struct sock *sk, __u16 flags)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct sonde_conn *c;

	if (tgid == settings.self_tgid)
		flags |= CONN_OWN;
	else if (judge(bpf_get_current_task(), tgid) != VERDICT_READ)
		return;
	c = conn_make(sk);
	if (!c)
		return;
	/* connect() after connect(AF_UNSPEC): the connection before it is over */
	if (c->id)
		conn_end(c, c->end_how ? c->end_how : END_LOCAL_CLOSE | END_CLOSED, c->end_err);
	__builtin_memset(c, 0, sizeof(*c));
	c->tgid = tgid;
	c->gen = live.conn_gen;
	c->flags = flags;
	if (flags & CONN_CLIENT) {
		c->id = conn_new_id();
		c->send_ns = bpf_ktime_get_ns();
	}
}

/* What leaves the socket unseen before the first hook is a gap, too. */
static __always_inline void watch_from_here(struct sock *sk, struct sonde_conn *c)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (!tp)
		return;
	c->half[DIR_RECV].tcp_seq = tp->copied_seq;
	c->half[DIR_SEND].tcp_seq = tp->write_seq;
}

/* May run in softirq context: `current` is anybody. */
static __always_inline void established(struct sock *sk, struct sonde_conn *c)
{
	__u64 connect_ns = 0;

	if (c->flags & CONN_LISTENER) {
		/* a clone of its listener */
		c->flags = CONN_SERVER | CONN_FROM_START | (c->flags & CONN_OWN);
		c->id = conn_new_id();
	} else if (c->send_ns) {
		connect_ns = bpf_ktime_get_ns() - c->send_ns;
		c->send_ns = 0;
	}
	if (c->flags & CONN_OWN) {
		struct tuple_key k = {};
		__u64 since = conn_new_id();

		sock_tuple(sk, &k, true);
		bpf_map_update_elem(&own_peers, &k, &since, BPF_ANY);
		c->ignored = 1;
		return;
	}
	watch_from_here(sk, c);
	conn_announce(sk, c, connect_ns);
}

static __always_inline void connect_failed(struct sock *sk, struct sonde_conn *c)
{
	struct ev_tcp_fail e = {};
	int err = sk->sk_err;

	if (c->flags & CONN_OWN)
		return;
	e.h.kind = EV_TCP_FAIL;
	e.h.size = sizeof(e);
	e.h.ts = bpf_ktime_get_ns();
	e.connect_ns = c->send_ns ? e.h.ts - c->send_ns : 0;
	e.tgid = c->tgid;
	e.family = sk->__sk_common.skc_family;
	e.rport = sock_rport(sk);
	e.err = err;
	sock_addrs(sk, (__u8[16]){}, e.raddr);
	switch (err) {
	case ECONNREFUSED: e.reason = TCP_FAIL_REFUSED; break;
	case ETIMEDOUT: e.reason = TCP_FAIL_TIMEOUT; break;
	case EHOSTUNREACH:
	case ENETUNREACH: e.reason = TCP_FAIL_UNREACHABLE; break;
	case 0: e.reason = TCP_FAIL_ABANDONED; break;
	default: e.reason = TCP_FAIL_RESET; break;
	}
	emit(&e, sizeof(e), STAT_EV_TCP_FAIL);
}

/* The program closes it, so none of its calls is under way: what went unseen since the last hook? */
static __always_inline void see_last_gaps(struct sock *sk, struct sonde_conn *c)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	/* what nobody looks at has no gaps */
	if (!tp || c->ignored)
		return;
	see_gap(tp, c, DIR_RECV, 0);
	see_gap(tp, c, DIR_SEND, 0);
}

static __always_inline void closing(struct sock *sk, struct sonde_conn *c, int state)
{
	bool closed = (sk->sk_shutdown & SHUTDOWN_MASK) == SHUTDOWN_MASK;
	int err = sk->sk_err;

	switch (state) {
	case TCP_CLOSE_WAIT:
		/* unread bytes come first: then the end is told when it is read */
		if (all_read(sk, c))
			conn_peer_fin(c);
		break;
	case TCP_LAST_ACK:
		if (closed)
			see_last_gaps(sk, c);
		if (all_read(sk, c))
			conn_peer_fin(c);
		conn_end(c, closed ? END_LOCAL_CLOSE | END_CLOSED : END_LOCAL_FIN, 0);
		break;
	case TCP_FIN_WAIT1:
		if (closed)
			see_last_gaps(sk, c);
		conn_end(c, closed ? END_LOCAL_CLOSE | END_CLOSED : END_LOCAL_FIN, 0);
		break;
	case TCP_CLOSE:
		c->end_how = END_CLOSED | (err == ETIMEDOUT ? END_TIMEOUT : err ? END_PEER_RESET : END_LOCAL_CLOSE);
		c->end_err = err;
		/* the program may still read what has come, or is in the middle of a send */
		if (!sk->sk_socket || (all_read(sk, c) && !c->send_ns))
			conn_end(c, c->end_how, err);
		break;
	}
}

/* The last of a TCP socket. */
SEC("?tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroyed, struct sock *sk)
{
	struct sonde_conn *c = conn_of(sk);

	if (c && c->id && c->end_how)
		conn_end(c, c->end_how, c->end_err);
	return 0;
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_set_state, struct sock *sk, int oldstate, int newstate)
{
	__u64 t = run_begin(RUN_SET_STATE);
	struct sonde_conn *c;

	/* a listening subflow of MPTCP: its children may turn out to be plain TCP */
	if (!sock_is_stream(sk) || (newstate != TCP_LISTEN && is_subflow(sk)))
		goto out;
	if (newstate == TCP_SYN_SENT) {
		opened(sk, CONN_CLIENT | CONN_FROM_START);
	} else if (newstate == TCP_LISTEN) {
		opened(sk, CONN_LISTENER);
	} else {
		c = conn_of(sk);
		if (!c)
			goto out;
		if (newstate == TCP_ESTABLISHED)
			established(sk, c);
		else if (oldstate == TCP_SYN_SENT && newstate == TCP_CLOSE)
			connect_failed(sk, c);
		else if (c->id)
			closing(sk, c, newstate);
	}
out:
	run_end(RUN_SET_STATE, t);
	return 0;
}
