// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * From bytes to records: which protocol a connection speaks (asked once, of its first
 * bytes), and which of its bytes user space must see. A protocol steps through an event
 * piece by piece; what it does not ask for is only counted. Connections of protocols that
 * we do not know are marked and cost one look-up from then on.
 */
#include "bpf/lib/conn.h"
#include "bpf/lib/payload.h"
#include "bpf/proto/proto.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct sonde_settings settings = {};
struct sonde_live live = {};

/* A connection joined late is looked at when its direction turns, this many times. */
#define LATE_TURNS_MAX 4096
/* The two ends of a connection learn of it within two seconds; in the ids' unit. */
#define OWN_PEER_AGE (2000000000ULL << 8)
/* Pieces of one event: one for each message in it, however small they are. What is behind them is not looked at. */
#ifndef STEPS_MAX
#define STEPS_MAX (1 << 15)
#endif

struct step {
	struct walk *w;
	struct sonde_conn *c;
	__u64 start_ns, wait_ns, now;
	__u64 pos; /* of the event's first byte */
	__u32 n, off, dir;
	__u32 mark; /* a message ended since the last record: its time must be told */
	__u32 hidden;
};

/* <name>_<entry>() of a connection's protocol */
#define PROTO_CALL(proto, entry, otherwise)                  \
	({                                                   \
		__u32 ret_ = otherwise;                      \
		switch (proto) { SONDE_PROTOCOLS(X_##entry) } \
		ret_;                                        \
	})
#define X_skip(id, name) case PROTO_##id: ret_ = name##_skip(); break;
#define X_walk(id, name) case PROTO_##id: ret_ = name##_walk(); break;
#define X_gap(id, name) case PROTO_##id: ret_ = name##_gap(); break;

static __always_inline __u8 detect(void)
{
#define X(id, name) if (name##_detect()) return PROTO_##id;
	SONDE_PROTOCOLS(X)
#undef X
	return PROTO_UNKNOWN;
}

struct held_record {
	struct ev_data ev;
	__u8 data[CONN_HELD_MAX];
};

/* Where the connection ends in a softirq, another program may be at its walk: this record is put together on the stack. */
__hidden int conn_release(struct sonde_conn *c, __u64 pos, __u64 ns)
{
	struct held_record r = {};
	struct sonde_held *k = &c->held;
	__u32 len = __sync_lock_test_and_set(&k->len, 0);

	if (!len || len > CONN_HELD_MAX)
		return 0;
	r.ev.h.kind = EV_DATA;
	r.ev.h.flags = c->gap ? DATA_GAP : 0;
	c->gap = 0;
	r.ev.h.size = sizeof(r.ev) + len;
	r.ev.h.ts = ns;
	r.ev.conn = c->id;
	r.ev.pos = k->pos;
	r.ev.start_ns = k->start_ns;
	r.ev.wait_ns = ~0ULL;
	r.ev.note = k->note;
	r.ev.after = pos - k->pos - k->span;
	r.ev.tgid = k->tgid;
	r.ev.tid = k->tid;
	r.ev.len = len;
	r.ev.span = k->span;
	r.ev.dir = c->held_dir;
	r.ev.proto = c->proto;
	__builtin_memcpy(r.data, k->data, sizeof(r.data));
	if (!c->announced || emit(&r, sizeof(r.ev) + len, STAT_EV_DATA)) {
		c->gap = 1;
		return -1;
	}
	return 0;
}

static __always_inline void hold(struct step *st)
{
	struct sonde_held *k = &st->c->held;
	struct walk *w = st->w;
	__u64 ids = bpf_get_current_pid_tgid();

	k->pos = st->pos + st->off;
	k->start_ns = st->start_ns;
	k->note = w->note;
	k->tgid = ids >> 32;
	k->tid = ids;
	k->span = w->span ? w->span : w->emit;
	__builtin_memcpy(k->data, w->data, sizeof(k->data));
	st->c->held_dir = st->dir;
	__sync_lock_test_and_set(&k->len, w->emit);
	/* it ended at this moment, and saw nothing held */
	if (st->c->ended)
		conn_release(st->c, k->pos + k->span, st->now);
}

static __always_inline void send_piece(struct step *st, __u32 len)
{
	struct sonde_conn *c = st->c;
	struct walk *w = st->w;
	struct ev_data *e = &w->ev;
	__u64 ids = bpf_get_current_pid_tgid();

	if (len > PIECE_MAX)
		len = PIECE_MAX;
	e->h.kind = EV_DATA;
	e->h.flags = c->gap ? DATA_GAP : 0;
	/* before the record goes: what the other direction loses from now on comes behind it */
	c->gap = 0;
	e->h.size = sizeof(*e) + len;
	e->h.ts = st->now;
	e->conn = c->id;
	e->pos = st->pos + st->off;
	e->start_ns = st->start_ns;
	e->wait_ns = st->wait_ns;
	e->note = w->note;
	e->after = 0;
	e->tgid = ids >> 32;
	e->tid = ids;
	e->len = len;
	e->span = w->span ? w->span : len;
	e->heads = w->heads;
	e->dir = st->dir;
	e->proto = c->proto;
	if (!c->announced || emit(e, sizeof(*e) + len, STAT_EV_DATA)) {
		/* a record without a request's beginning loses no request; its call is missed in user space, by the hole */
		stat_add(STAT_LOST_RING, w->heads);
		c->gap = 1;
	} else {
		st->mark = 0;
	}
}

/* The protocol's word on the next bytes: how many it took; 0: they cannot be read, or are too much. */
static __always_inline __u32 take_piece(struct step *st, __u32 left)
{
	__u32 want = left < PIECE_FIRST ? left : PIECE_FIRST, take = 0;
	struct walk *w = st->w;

	for (int round = 0; round < 2 && !take; round++) {
		int got = payload_look(st->off, want);

		if (got <= 0)
			return 0;
		w->cap = got;
		w->emit = 0;
		w->note = 0;
		w->heads = 0;
		w->span = 0;
		w->hold = 0;
		w->leave = 0;
		take = PROTO_CALL(st->c->proto, walk, left);
		want = left < PIECE_MAX ? left : PIECE_MAX;
	}
	return take;
}

/* Bytes that cannot be read. */
static __always_inline void count_unread(struct step *st, __u32 n)
{
	bool spliced = st->hidden == STAT_SPLICED_BYTES;

	stat_add(spliced ? STAT_SPLICED_BYTES : STAT_UNREADABLE_BYTES, n);
	proc_flag(st->c->tgid, spliced ? PROC_SPLICED : PROC_UNREADABLE);
	st->c->unseen = 1;
}

/* From here on the event is not looked at. */
static __always_inline void lose_rest(struct step *st, __u32 left)
{
	count_unread(st, left);
	st->w->left = left;
	PROTO_CALL(st->c->proto, gap, 0);
	st->off = st->n;
}

/* What passed unseen before the event: a body goes on by arithmetic, else only a message's start is certain. */
static __always_inline void step_over(struct step *st, __u32 missed)
{
	st->w->left = missed;
	st->w->done = 0;
	if (PROTO_CALL(st->c->proto, skip, 0) < missed)
		PROTO_CALL(st->c->proto, gap, 0);
}

static int step(__u32 i, struct step *st)
{
	__u32 left = st->n - st->off, take;
	struct sonde_conn *c = st->c;
	struct walk *w = st->w;

	if (!left || left > st->n)
		return 1;
	w->left = left;
	w->done = 0;
	w->emit = 0;
	w->leave = 0;
	w->unseen = !(c->flags & CONN_FROM_START) || c->unseen;
	take = PROTO_CALL(c->proto, skip, left);
	if (!take)
		take = take_piece(st, left);
	if (c->held.len && c->held_dir == st->dir && (w->done || w->emit || !take)) {
		/* its message is over, or something else comes behind it */
		conn_release(c, st->pos + st->off + (w->emit ? 0 : take), st->now);
		w->done = 0;
	}
	st->mark |= w->done;
	if (w->emit && w->hold && !c->held.len && !c->ended && w->emit <= CONN_HELD_MAX)
		hold(st);
	else if (w->emit)
		send_piece(st, w->emit);
	st->off += take;
	if (!take)
		lose_rest(st, left);
	if (!w->leave)
		return 0;
	c->ignored = 1;
	return 1;
}

__hidden int conn_announce(struct sock *sk, struct sonde_conn *c, __u64 connect_ns)
{
	struct ev_conn e = {};

	if (c->announced)
		return 0;
	e.h.kind = EV_CONN;
	e.h.size = sizeof(e);
	e.h.ts = bpf_ktime_get_ns();
	e.conn = c->id;
	e.connect_ns = connect_ns;
	e.tgid = c->tgid;
	e.family = sk->__sk_common.skc_family;
	e.flags = c->flags;
	e.proto = c->proto;
	if (e.family == AF_UNIX) {
		struct unix_sock *u = (struct unix_sock *)sk;
		struct unix_address *a = BPF_CORE_READ(u, addr);

		/* a client has no name of its own: the peer's is the interesting one */
		if (!a) {
			u = (struct unix_sock *)BPF_CORE_READ(u, peer);
			a = BPF_CORE_READ(u, addr);
		} else {
			e.flags |= CONN_SERVER;
		}
		if (a) {
			/* an abstract name ends with its length, not with a zero */
			__u32 n = (BPF_CORE_READ(a, len) - sizeof(short)) & 127;

			if (n > sizeof(e.path) - 1)
				n = sizeof(e.path) - 1;
			bpf_probe_read_kernel(e.path, n, &a->name[0].sun_path);
			if (!e.path[0])
				e.path[0] = '@';
		}
	} else {
		e.netns = sock_netns(sk);
		e.lport = sock_lport(sk);
		e.rport = sock_rport(sk);
		sock_addrs(sk, e.laddr, e.raddr);
	}
	if (emit(&e, sizeof(e), STAT_EV_CONN))
		return -1;
	c->announced = 1;
	return 0;
}

__hidden int conn_end(struct sonde_conn *c, __u32 how, __u32 err)
{
	struct ev_end e = {};

	if (!c->announced || c->ended)
		return 0;
	/* before what is held is looked at: hold() looks here behind it */
	if (how & END_CLOSED)
		c->ended = 1;
	if (how & END_CLOSED || (c->held.len && end_covers(how, c->held_dir))) {
		/* an iterator may not index by a variable */
		const struct sonde_half *h = c->held_dir ? &c->half[1] : &c->half[0];

		conn_release(c, h->pos, h->last_ns);
	}
	e.h.kind = EV_END;
	/* framing that was not read may hide an answer's end */
	e.h.flags = c->gap || c->unseen ? DATA_GAP : 0;
	e.h.size = sizeof(e);
	e.h.ts = bpf_ktime_get_ns();
	e.conn = c->id;
	for (int dir = 0; dir < 2; dir++) {
		e.pos[dir] = c->half[dir].pos;
		e.last_ns[dir] = c->half[dir].last_ns;
		e.note[dir] = c->half[dir].note;
	}
	e.tgid = c->tgid;
	e.how = how;
	e.err = err;
	if (emit(&e, sizeof(e), STAT_EV_END)) {
		stat_add(STAT_LOST_ENDS, 1);
		return -1;
	}
	return 0;
}

/* The far end of a connection of ours? A mark that is older than the connection is of another one, with the same ports. */
static __always_inline bool is_own_peer(struct sock *sk, const struct sonde_conn *c)
{
	struct tuple_key k = {};
	__u64 *since;

	if (sk->__sk_common.skc_family == AF_UNIX)
		return false;
	sock_tuple(sk, &k, false);
	since = bpf_map_lookup_elem(&own_peers, &k);
	return since && *since + OWN_PEER_AGE > c->id;
}

/* Rules with a port: the server's, whichever end this is. */
static __always_inline bool port_excluded(struct sock *sk, struct sonde_conn *c)
{
	__u16 lport = sock_lport(sk), rport = sock_rport(sk);
	bool known = c->flags & (CONN_CLIENT | CONN_SERVER);

	if (!live.has_port_rules)
		return false;
	if (c->flags & CONN_CLIENT)
		lport = rport;
	return judge_port(lport, known ? lport : rport) == VERDICT_SKIP;
}

/* The first bytes of a connection, or of a turn of one joined late. 0: go on with these bytes. */
static __always_inline int classify(struct sock *sk, struct step *st)
{
	struct sonde_conn *c = st->c;
	struct walk *w = st->w;
	int got;

	if (is_own_peer(sk, c) || port_excluded(sk, c)) {
		c->ignored = 1;
		return -1;
	}
	got = payload_look(0, st->n < PIECE_FIRST ? st->n : PIECE_FIRST);
	if (got <= 0) {
		/* io_uring, sendfile, a 32-bit call: what follows may be readable, but not from its start */
		count_unread(st, st->n);
		c->flags &= ~CONN_FROM_START;
	} else {
		w->cap = got;
		w->left = st->n;
		c->proto = detect();
		if (c->proto) {
			c->req_dir = w->req_dir;
			return 0;
		}
		if (w->data[0] == 0x16 && w->data[1] == 0x03 && c->flags & CONN_FROM_START) {
			c->flags |= CONN_TLS;
			stat_add(STAT_TLS_CONNS, 1);
			proc_flag(c->tgid, PROC_SAW_TLS);
		}
	}
	if (c->flags & CONN_FROM_START || c->turns++ > LATE_TURNS_MAX) {
		c->ignored = 1;
		stat_add(STAT_IGNORED_CONNS, 1);
	}
	return -1;
}

__hidden int conn_bytes(struct sock *sk, struct sonde_conn *c, const struct passed *p)
{
	__u32 dir = p->dir & 1, n = p->n, turned = c->last_dir != dir + 1;
	struct step st = { .c = c, .n = n, .dir = dir, .start_ns = p->start_ns, .wait_ns = p->wait_ns };
	struct sonde_half *own = &c->half[dir], *other = &c->half[!dir];
	struct walk *w;

	st.now = p->now;
	st.pos = own->pos;
	own->pos += n;
	own->last_ns = st.now;
	c->last_dir = dir + 1;
	st.hidden = p->hidden;
	if (!c->proto && !(c->flags & CONN_FROM_START) && !turned) {
		/* the message that could not be read goes on */
		if (c->unseen)
			count_unread(&st, n);
		return 0;
	}
	w = st.w = walk_get();
	if (!w)
		return 0;
	__builtin_memcpy(w->own, own->proto_state, sizeof(w->own));
	__builtin_memcpy(w->other, other->proto_state, sizeof(w->other));
	w->end_note = own->note;
	w->dir = dir;
	w->req_dir = c->req_dir;
	w->pay.found = !!p->hidden;
	w->pay.ok = 0;
	w->pay.socket = (__u64)sk->sk_socket;
	if (p->missed && c->proto)
		step_over(&st, p->missed);
	if (!c->proto && classify(sk, &st))
		return 0;
	/* with no room for it, the bytes are walked all the same: the state stays right and what is lost is counted */
	if (!c->announced)
		conn_announce(sk, c, 0);
	bpf_loop(STEPS_MAX, step, &st, 0);
	if (st.off < n && !c->ignored)
		lose_rest(&st, n - st.off);
	if (st.mark) {
		st.off = n;
		w->note = 0;
		w->heads = 0;
		w->span = 0;
		send_piece(&st, 0);
	}
	__builtin_memcpy(own->proto_state, w->own, sizeof(w->own));
	own->note = w->end_note;
	/* the end of a unix connection may come without a hook */
	if (sk->__sk_common.skc_family == AF_UNIX && c->held.len && c->held_dir == dir)
		conn_release(c, own->pos, st.now);
	return 0;
}
