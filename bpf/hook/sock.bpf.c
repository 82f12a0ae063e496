// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Rung 1: the socket layer's own tracepoints (kernel 6.3: "net: sock: add tracepoint for send recv length"). They fire for
 * sockets only, whichever system call or kernel path moved the bytes, with the socket in hand.
 */
#include "bpf/lib/tcp.h"
#include "bpf/lib/unix.h"

/* Whether a connection that we meet in the middle has in truth only now begun. */
static __always_inline bool is_fresh(struct sock *sk, __u32 dir, __u32 n)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	__u32 received, sent;

	if (!tp)
		return false;
	/* each counter may hold the SYN or FIN too */
	received = tp->copied_seq - (tp->rcv_nxt - (__u32)tp->bytes_received);
	sent = tp->write_seq - (tp->snd_una - (__u32)tp->bytes_acked);
	if (dir == DIR_RECV)
		received -= n;
	else
		sent -= n;
	return received <= 1 && sent <= 1;
}

static __always_inline bool may_read(struct sonde_conn *c, __u32 tgid)
{
	int verdict;

	if (c && c->tgid == tgid && c->gen == live.conn_gen && c->id)
		return true;
	verdict = judge(bpf_get_current_task(), tgid);
	if (verdict == VERDICT_PENDING)
		stat_add(STAT_UNJUDGED, 1);
	return verdict == VERDICT_READ;
}

static __always_inline struct sonde_conn *conn_join(struct sock *sk, struct sonde_conn *c, __u32 tgid, __u32 dir, __u32 n)
{
	if (!c && !sock_is_kernels(sk))
		c = conn_make(sk);
	if (!c)
		return NULL;
	c->tgid = tgid;
	c->gen = live.conn_gen;
	if (!c->id) {
		c->id = conn_new_id();
		if (sk->__sk_common.skc_family != AF_UNIX && is_fresh(sk, dir, n))
			c->flags |= CONN_FROM_START;
	}
	return c;
}

/* The peer's end was read: if it has closed its socket, nobody else tells so. */
static __always_inline void unix_peer_closed(struct sock *sk)
{
	struct unix_sock *u = bpf_skc_to_unix_sock(sk);
	struct sock *peer = u ? u->peer : NULL;
	struct sonde_conn *c;

	if (!peer || !unix_closed(peer))
		return;
	c = conn_of(peer);
	if (c)
		unix_end(c);
}

/* On sends the tracepoint has no flags. */
static __always_inline bool sends_urgent(void)
{
	struct syscall_regs r;

	syscall_regs_get(bpf_get_current_task_btf(), &r);
	switch (r.nr) {
	case NR_sendto: case NR_sendmmsg: return r.arg3 & MSG_OOB;
	case NR_sendmsg: return r.arg2 & MSG_OOB;
	}
	return false;
}

/* Has the program read all there is, or is this only a read of no bytes? */
static __always_inline bool at_end(struct sock *sk)
{
	return sk->sk_shutdown & RCV_SHUTDOWN && !sk->sk_receive_queue.qlen;
}

/* hidden: see struct passed */
static __always_inline int moved(struct sock *sk, int ret, int flags, __u32 dir, __u32 hidden)
{
	struct passed p = { .dir = dir, .n = ret, .wait_ns = ~0ULL, .hidden = hidden };
	struct tcp_sock *tp;
	struct sonde_conn *c;
	__u32 tgid, seq = 0;

	if (flags & (MSG_OOB | MSG_ERRQUEUE) || (dir == DIR_RECV && flags & MSG_PEEK) || !sock_is_stream(sk))
		return 0;
	c = conn_of(sk);
	if (c && c->ignored)
		return 0;
	if (ret < 0) {
		if (c && dir == DIR_SEND)
			c->send_ns = 0;
		return 0;
	}
	if (!ret) {
		if (dir != DIR_RECV || !at_end(sk))
			return 0;
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp && c && c->announced && !c->ignored)
			see_gap(tp, c, DIR_RECV, 0);
		/* the peer's end was read; on a unix socket the only sign of it */
		if (c && c->announced)
			conn_peer_fin(c);
		if (sk->__sk_common.skc_family == AF_UNIX)
			unix_peer_closed(sk);
		return 0;
	}
	tgid = bpf_get_current_pid_tgid() >> 32;
	if (!tgid)
		return 0;
	if (!may_read(c, tgid)) {
		if (c) {
			/* bytes of an excluded program on a socket that it shares with one that is read */
			c->half[dir & 1].pos += ret;
			c->half[dir & 1].tcp_seq = 0;
			if (dir == DIR_SEND)
				c->send_ns = 0;
		}
		return 0;
	}
	c = conn_join(sk, c, tgid, dir, ret);
	if (!c)
		return 0;
	p.now = bpf_ktime_get_ns();
	tp = bpf_skc_to_tcp_sock(sk);
	/* no part of the stream; where it is more than one byte, the rest will be seen as a gap */
	if (dir == DIR_SEND && (tp && settings.has_send_start ? c->urgent : sends_urgent())) {
		c->urgent = 0;
		c->send_ns = 0;
		return 0;
	}
	if (tp) {
		p.missed = see_gap(tp, c, dir, ret);
		seq = tcp_seq_of(tp, dir);
	}
	if (dir == DIR_RECV) {
		p.start_ns = p.now;
		if (c->ready_ns && c->ready_ns != ~0ULL && p.now > c->ready_ns)
			p.wait_ns = p.now - c->ready_ns;
		/* what is left in the socket has come at a time that we do not know */
		c->ready_ns = tp && tp->copied_seq != tp->rcv_nxt ? ~0ULL : 0;
	} else {
		/* without the hook on the send's beginning, a send that fits a socket buffer began just now */
		p.start_ns = c->send_ns ? c->send_ns : (__u32)ret <= 16384 ? p.now : 0;
	}
	conn_bytes(sk, c, &p);
	/* last: a FIN or reset that is worked off on another CPU looks here for what was told */
	c->half[dir & 1].tcp_seq = seq;
	if (dir == DIR_SEND)
		c->send_ns = 0;
	return 0;
}

/* The connection was closed below the program: is everything told now? */
static __always_inline void settle(struct sock *sk, bool over)
{
	struct sonde_conn *c;

	if (sk->__sk_common.skc_state != TCP_CLOSE)
		return;
	c = conn_of(sk);
	if (c && c->end_how && !c->ended && (over || all_read(sk, c)))
		conn_end(c, c->end_how, c->end_err);
}

SEC("?tp_btf/sock_send_length")
int BPF_PROG(sock_send, struct sock *sk, int ret, int flags)
{
	__u64 t = run_begin(RUN_SOCK_SEND);

	moved(sk, ret, flags, DIR_SEND, 0);
	settle(sk, false);
	run_end(RUN_SOCK_SEND, t);
	return 0;
}

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(sock_recv, struct sock *sk, int ret, int flags)
{
	__u64 t = run_begin(RUN_SOCK_RECV);

	/* MSG_TRUNC throws TCP's bytes away: what stands in the buffer is older */
	moved(sk, ret, flags, DIR_RECV, flags & MSG_TRUNC && sk->__sk_common.skc_family != AF_UNIX ? STAT_UNREADABLE_BYTES : 0);
	settle(sk, ret <= 0 && ret != -EAGAIN);
	run_end(RUN_SOCK_RECV, t);
	return 0;
}

/* When data arrives: the wait until the program reads it. 6.3 ("net-tracepoint: introduce sk_data_ready"). */
SEC("?tp_btf/sk_data_ready")
int BPF_PROG(sock_data_ready, struct sock *sk)
{
	__u64 t = run_begin(RUN_DATA_READY);
	struct sonde_conn *c = sock_is_stream(sk) ? conn_of(sk) : NULL;

	if (c && !c->ready_ns && !c->ignored && !(c->flags & CONN_LISTENER))
		c->ready_ns = bpf_ktime_get_ns();
	run_end(RUN_DATA_READY, t);
	return 0;
}

/*
 * splice() out of a socket fires no sock_recv_length; it ends here, like every other read of a
 * TCP socket. Its bytes go to a pipe and cannot be read, but a body's need not be.
 */
SEC("?tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(sock_spliced, struct sock *sk)
{
	struct syscall_regs regs;
	struct sonde_conn *c;
	struct tcp_sock *tp;
	__u32 n;

	syscall_regs_get(bpf_get_current_task_btf(), &regs);
	if (regs.nr != NR_splice)
		return 0;
	c = conn_of(sk);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!c || !tp || !c->half[DIR_RECV].tcp_seq || c->ignored)
		return 0;
	n = tp->copied_seq - c->half[DIR_RECV].tcp_seq;
	if (n && n < (1U << 31))
		moved(sk, n, 0, DIR_RECV, STAT_SPLICED_BYTES);
	return 0;
}

/* When a send begins: sock_send_length fires at its end, behind the answer if the peer is quick. */
SEC("?tp_btf/tcp_sendmsg_locked")
int BPF_PROG(sock_send_start, struct sock *sk, struct msghdr *msg)
{
	__u64 t = run_begin(RUN_SEND_START);
	struct sonde_conn *c = conn_of(sk);

	if (c && !c->send_ns && !c->ignored)
		c->send_ns = bpf_ktime_get_ns();
	if (c && msg->msg_flags & MSG_OOB)
		c->urgent = 1;
	run_end(RUN_SEND_START, t);
	return 0;
}
