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
/* Pieces of one event: one for each message or chunk in it, however small they are. */
#define STEPS_MAX (1 << 17)

struct step {
	struct payload pay;
	struct walk *w;
	struct sonde_conn *c;
	__u64 start_ns, wait_ns, now;
	__u64 pos; /* of the event's first byte */
	__u32 n, off, dir;
	__u32 mark; /* a message ended since the last record: its time must be told */
	__u32 lost;
};

static __always_inline __u8 detect(void)
{
#define X(id, name) if (name##_detect()) return PROTO_##id;
	SONDE_PROTOCOLS(X)
#undef X
	return PROTO_UNKNOWN;
}

static __always_inline __u32 skip(__u8 proto, __u32 left)
{
	switch (proto) {
#define X(id, name) case PROTO_##id: return name##_skip();
	SONDE_PROTOCOLS(X)
#undef X
	}
	return left;
}

static __always_inline __u32 walk(__u8 proto, __u32 left)
{
	switch (proto) {
#define X(id, name) case PROTO_##id: return name##_walk();
	SONDE_PROTOCOLS(X)
#undef X
	}
	return left;
}

static __always_inline void gap(__u8 proto)
{
	switch (proto) {
#define X(id, name) case PROTO_##id: name##_gap(); break;
	SONDE_PROTOCOLS(X)
#undef X
	}
}

static __always_inline int send_piece(struct step *st, __u32 len, __u64 note, __u32 heads)
{
	struct sonde_conn *c = st->c;
	struct ev_data *e = &st->w->ev;
	__u64 ids = bpf_get_current_pid_tgid();

	if (len > PIECE_MAX)
		len = PIECE_MAX;
	e->h.kind = EV_DATA;
	e->h.flags = c->flags & CONN_GAP ? DATA_GAP : 0;
	e->h.size = sizeof(*e) + len;
	e->h.ts = st->now;
	e->conn = c->id;
	e->pos = st->pos + st->off;
	e->start_ns = st->start_ns;
	e->wait_ns = st->wait_ns;
	e->note = note;
	e->tgid = ids >> 32;
	e->tid = ids;
	e->len = len;
	e->heads = heads;
	e->dir = st->dir;
	e->proto = c->proto;
	if (!(c->flags & CONN_ANNOUNCED) || emit(e, sizeof(*e) + len, STAT_EV_DATA)) {
		/* a record without a request's beginning loses no request; its call is missed in user space, by the hole */
		stat_add(STAT_LOST_RING, heads);
		c->flags |= CONN_GAP;
		return -1;
	}
	c->flags &= ~CONN_GAP;
	st->mark = 0;
	return 0;
}

static int step(__u32 i, struct step *st)
{
	struct sonde_conn *c = st->c;
	struct walk *w = st->w;
	__u32 left = st->n - st->off, take, want;
	int got;

	if (!left || left > st->n)
		return 1;
	w->left = left;
	w->done = 0;
	w->unseen = !(c->flags & CONN_FROM_START) || c->flags & CONN_UNSEEN;
	take = skip(c->proto, left);
	if (w->done)
		st->mark = 1;
	if (take) {
		st->off += take;
		return 0;
	}
	want = left < PIECE_FIRST ? left : PIECE_FIRST;
	for (int round = 0; round < 2; round++) {
		got = payload_copy(&st->pay, w, st->off, want);
		if (got <= 0) {
			stat_add(STAT_UNREADABLE_BYTES, left);
			proc_flag(c->tgid, PROC_UNREADABLE);
			c->flags |= CONN_UNSEEN;
			gap(c->proto);
			st->off = st->n;
			return 1;
		}
		w->cap = got;
		w->emit = 0;
		w->note = 0;
		w->heads = 0;
		w->leave = 0;
		take = walk(c->proto, left);
		if (take)
			break;
		want = left < PIECE_MAX ? left : PIECE_MAX;
	}
	if (!take) {
		/* it wants more than there can be: the rest is a hole */
		c->flags |= CONN_UNSEEN;
		st->off = st->n;
		return 1;
	}
	if (w->done)
		st->mark = 1;
	if (w->emit)
		send_piece(st, w->emit, w->note, w->heads);
	st->off += take;
	if (w->leave) {
		c->flags |= CONN_IGNORED;
		return 1;
	}
	return 0;
}

__hidden int conn_announce(struct sock *sk, struct sonde_conn *c, __u64 connect_ns)
{
	struct ev_conn e = {};

	if (c->flags & CONN_ANNOUNCED)
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
	c->flags |= CONN_ANNOUNCED;
	return 0;
}

__hidden int conn_end(struct sonde_conn *c, __u32 how, __u32 err)
{
	struct ev_end e = {};
	/* framing that was not read may hide an answer's end */
	__u16 doubt = CONN_GAP | CONN_UNSEEN;

	if (!(c->flags & CONN_ANNOUNCED) || c->flags & CONN_ENDED)
		return 0;
	e.h.kind = EV_END;
	e.h.flags = c->flags & doubt ? DATA_GAP : 0;
	e.h.size = sizeof(e);
	e.h.ts = bpf_ktime_get_ns();
	e.conn = c->id;
	e.pos[0] = c->pos[0];
	e.pos[1] = c->pos[1];
	e.last_ns[0] = c->last_ns[0];
	e.last_ns[1] = c->last_ns[1];
	e.tgid = c->tgid;
	e.how = how;
	e.err = err;
	if (how & END_CLOSED)
		c->flags |= CONN_ENDED;
	if (emit(&e, sizeof(e), STAT_EV_END)) {
		stat_add(STAT_LOST_ENDS, 1);
		return -1;
	}
	return 0;
}

static __always_inline bool is_own_peer(struct sock *sk)
{
	struct tuple_key k = {};

	if (sk->__sk_common.skc_family == AF_UNIX)
		return false;
	sock_tuple(sk, &k, false);
	return bpf_map_lookup_elem(&own_peers, &k);
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
	__u32 want = st->n < PIECE_FIRST ? st->n : PIECE_FIRST;
	int got;

	if (is_own_peer(sk) || port_excluded(sk, c)) {
		c->flags |= CONN_IGNORED;
		return -1;
	}
	got = payload_copy(&st->pay, st->w, 0, want);
	if (got <= 0) {
		/* io_uring, sendfile, a 32-bit call: what follows may be readable, but not from its start */
		stat_add(STAT_UNREADABLE_BYTES, st->n);
		proc_flag(c->tgid, PROC_UNREADABLE);
		c->flags = (c->flags & ~CONN_FROM_START) | CONN_UNSEEN;
	} else {
		st->w->cap = got;
		st->w->left = st->n;
		c->proto = detect();
		if (c->proto)
			return 0;
		if (st->w->data[0] == 0x16 && st->w->data[1] == 0x03 && c->flags & CONN_FROM_START) {
			c->flags |= CONN_TLS;
			stat_add(STAT_TLS_CONNS, 1);
			proc_flag(c->tgid, PROC_SAW_TLS);
		}
	}
	if (c->flags & CONN_FROM_START || c->turns++ > LATE_TURNS_MAX) {
		c->flags |= CONN_IGNORED;
		stat_add(STAT_IGNORED_CONNS, 1);
	}
	return -1;
}

__hidden int conn_bytes(struct sock *sk, struct sonde_conn *c, const struct passed *p)
{
	__u32 dir = p->dir & 1, n = p->n, turned = c->last_dir != dir + 1;
	struct step st = { .c = c, .n = n, .dir = dir, .start_ns = p->start_ns, .wait_ns = p->wait_ns };

	st.now = p->now;
	st.pos = c->pos[dir];
	c->pos[dir] += n;
	c->last_ns[dir] = st.now;
	c->last_dir = dir + 1;
	if (!c->proto && !(c->flags & CONN_FROM_START) && !turned)
		return 0;
	st.w = walk_get();
	if (!st.w)
		return 0;
	payload_find(&st.pay);
	__builtin_memcpy(st.w->state, c->proto_state, sizeof(st.w->state));
	st.w->dir = dir;
	if (!c->proto && classify(sk, &st))
		return 0;
	/* with no room for it, the bytes are walked all the same: the state stays right and what is lost is counted */
	conn_announce(sk, c, 0);
	bpf_loop(STEPS_MAX, step, &st, 0);
	if (st.mark) {
		st.off = n;
		send_piece(&st, 0, 0, 0);
	}
	__builtin_memcpy(c->proto_state, st.w->state, sizeof(st.w->state));
	return 0;
}
