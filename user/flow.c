/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every record is checked before it is believed. A record's stream position tells what
 * was not captured before it: that is handed to the decoder as a hole of exact length.
 * A decoder's state is made when the first bytes of a connection come, so that an idle
 * connection costs a table entry only.
 */
#include "user/flow.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "bpf/shared/event.h"
#include "user/base/clock.h"
#include "user/base/hmap.h"
#include "user/base/log.h"

#define STREAM_MAX (1ULL << 56) /* bytes */

struct conn {
	struct hmap_node node; /* by flow.id */
	struct flow flow;
	const struct proto *proto;
	void *state;	       /* NULL: no bytes yet, or not a protocol (any longer) */
	struct service *owner; /* counted in the active connections of; owned */
	uint64_t pos[2];
	uint32_t tgid;
	uint16_t flags; /* enum sonde_conn_flags */
	bool seen[2];	/* a record of this direction came, or its beginning is known */
	bool unknown;	/* bytes are ignored from here on */
	struct ev_end *sudden; /* ends when this is settled; in flow_table.sudden */
	struct conn *next_sudden;
	bool live;	/* mark of the sweep; a new connection is */
	uint32_t tick;	/* of the last record */
};

struct flow_table {
	struct flow_rooms r;
	struct call_sink sink;
	struct hmap conns;
	struct conn *sudden; /* connections that were reset a moment ago */
	struct conn *last; /* that was looked up */
	struct proto_budget budget;
	struct flow_stats stats;
	uint64_t lost_ends, lost_records;
	uint64_t now_ns; /* of the record that is looked at, or of the tick: a clock is not read for each of them */
	uint32_t tick, loss_tick; /* now; when records were last seen to be lost, 0: never */
	bool need_user;
};

static const struct instrument tcp_opened = {
	"sonde.tcp.connections.opened", "{connection}", "TCP connections that the service opened.", INST_COUNTER
};
static const struct instrument tcp_accepted = {
	"sonde.tcp.connections.accepted", "{connection}", "TCP connections that the service accepted.", INST_COUNTER
};
static const struct instrument tcp_active = {
	"sonde.tcp.connections.active", "{connection}", "TCP connections that are open.", INST_UPDOWN
};
static const struct instrument tcp_failed = {
	"sonde.tcp.connections.failed", "{connection}", "TCP connections that could not be opened.", INST_COUNTER
};
static const struct instrument tcp_connect_time = {
	"sonde.tcp.connect.duration", "s", "Time from the first SYN to an established connection.", INST_HISTOGRAM
};

static struct process *process_of(struct flow_table *t, uint32_t tgid)
{
	struct process *p = processes_get(t->r.processes, tgid, t->now_ns);

	/* an exec or fork that is still in the control ring comes first */
	if (p && p->exited && t->r.capture && capture_consume_control(t->r.capture) > 0)
		p = processes_get(t->r.processes, tgid, t->now_ns);
	return p;
}

static int malformed(struct flow_table *t)
{
	t->stats.malformed++;
	return 0;
}

/* --- calls --- */

/* Rules with a port are judged per connection: the server's port, whichever end this is. */
static bool port_excluded(const struct flow_table *t, const struct process *p, uint16_t port)
{
	return t->r.config->n_rules && processes_judge_port(t->r.processes, p, port) == RULE_EXCLUDE;
}

static bool path_excluded(const struct flow_table *t, struct str path)
{
	const struct str_list *globs = &t->r.config->exclude_self_paths;

	for (size_t i = 0; path.len && i < globs->n; i++)
		if (str_glob(globs->v[i], path))
			return true;
	return false;
}

/* False: a rule of the user's leaves this call out. */
static bool enrich(struct flow_table *t, const struct flow *flow, struct call *c)
{
	struct process *p = process_of(t, c->pid);
	const struct proto *proto = proto_table[c->proto];
	struct str method, target;
	uint16_t port = c->role == ROLE_SERVER ? flow->local.port : flow->peer.port;
	int64_t status = 0;

	c->conn_id = flow->id;
	c->local = flow->local;
	c->peer = flow->peer;
	if (path_excluded(t, c->path) || (p && port_excluded(t, p, port)))
		return false;
	if (!p)
		return true;
	c->service = p->service;
	c->comm = p->comm;
	if (c->role != ROLE_SERVER || !proto->route_key || !c->path.len || !c->answered)
		return true;
	proto->summary(c, &method, &target, &status);
	c->route = routes_learn(t->r.routes, p->service, c->path, status == 404);
	c->route_overflow = str_is(c->route, ROUTE_OVERFLOW);
	return true;
}

static void on_begin(struct call_sink *sink, const struct flow *flow, struct call *c)
{
	struct flow_table *t = container_of(sink, struct flow_table, sink);

	if (enrich(t, flow, c) && c->service)
		metrics_call_begin(t->r.metrics, c);
}

static void on_end(struct call_sink *sink, const struct flow *flow, struct call *c)
{
	struct flow_table *t = container_of(sink, struct flow_table, sink);
	struct span *span = NULL;
	char name[256];

	if (!enrich(t, flow, c)) {
		metrics_call_drop(t->r.metrics, c);
		return;
	}
	if (!c->service) {
		metrics_call_drop(t->r.metrics, c);
		t->stats.lost[CALL_LOSS_MEMORY]++;
		return;
	}
	t->stats.calls++;
	metrics_call_end(t->r.metrics, c, t->now_ns);
	if (t->r.traces)
		span = traces_span(t->r.traces, c, proto_table[c->proto]->span_name(c, name, sizeof(name)));
	t->r.call(t->r.ctx, c, span);
	span_unref(span);
}

static void on_drop(struct call_sink *sink, const struct flow *flow, struct call *c)
{
	metrics_call_drop(container_of(sink, struct flow_table, sink)->r.metrics, c);
}

static void on_lost(struct call_sink *sink, const struct flow *flow, enum call_loss why, uint64_t n)
{
	struct flow_table *t = container_of(sink, struct flow_table, sink);

	if (why < CALL_LOSS_MAX)
		t->stats.lost[why] += n;
	log_debug("connection %llx: %llu messages lost, reason %d", (unsigned long long)flow->id, (unsigned long long)n, why);
}

/* --- connections --- */

static struct conn *conn_find(struct flow_table *t, uint64_t id)
{
	struct hmap_node *n;

	if (t->last && t->last->flow.id == id)
		return t->last;
	for (n = hmap_first(&t->conns, hash_u64(id)); n; n = hmap_next_same(n)) {
		struct conn *c = container_of(n, struct conn, node);

		if (c->flow.id == id)
			return t->last = c;
	}
	return NULL;
}

static void conn_forget_proto(struct flow_table *t, struct conn *c)
{
	if (!c->state)
		return;
	c->proto->done(c->state, &c->flow, &t->sink);
	free(c->state);
	c->state = NULL;
}

/* The port that tells what a connection is for: the server's. */
static size_t tcp_labels(const struct conn *c, struct label l[2], char port[8])
{
	bool client = c->flags & CONN_CLIENT;

	snprintf(port, 8, "%u", client ? c->flow.peer.port : c->flow.local.port);
	l[0] = (struct label){ "sonde.role", client ? "client" : "server" };
	l[1] = (struct label){ "server.port", port };
	return 2;
}

static void tcp_count(struct flow_table *t, struct conn *c, const struct instrument *inst, double by)
{
	struct label l[2];
	char port[8];
	size_t n = tcp_labels(c, l, port);

	metrics_add(t->r.metrics, inst, c->owner, l + (inst != &tcp_active), n - (inst != &tcp_active), by, t->now_ns);
}

static bool is_tcp_end(const struct conn *c)
{
	return c->flow.local.family != NET_UNIX && c->flags & (CONN_CLIENT | CONN_SERVER);
}

static void conn_remove(struct flow_table *t, struct conn *c)
{
	struct conn **at = &t->sudden;

	while (c->sudden && *at && *at != c)
		at = &(*at)->next_sudden;
	if (c->sudden && *at)
		*at = c->next_sudden;
	free(c->sudden);
	conn_forget_proto(t, c);
	if (c->owner && is_tcp_end(c))
		tcp_count(t, c, &tcp_active, -1);
	if (c->flow.local.family == NET_UNIX)
		t->stats.conns_unix--;
	service_unref(c->owner);
	if (t->last == c)
		t->last = NULL;
	hmap_remove(&t->conns, &c->node);
	free(c);
}

static void addr_set(struct net_addr *a, uint16_t family, const __u8 ip[16], uint16_t port)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	a->port = port;
	if (family == AF_INET) {
		a->family = NET_INET;
		memcpy(a->ip, ip, 4);
	} else if (!memcmp(ip, mapped, sizeof(mapped))) {
		a->family = NET_INET;
		memcpy(a->ip, ip + 12, 4);
	} else {
		a->family = NET_INET6;
		memcpy(a->ip, ip, 16);
	}
}

static void conn_set_addrs(struct conn *c, const struct ev_conn *e)
{
	if (e->family == AF_UNIX) {
		c->flow.local.family = NET_UNIX;
		c->flow.peer.family = NET_UNIX;
		snprintf(c->flow.local.path, sizeof(c->flow.local.path), "%.*s", (int)sizeof(e->path), e->path);
		memcpy(c->flow.peer.path, c->flow.local.path, sizeof(c->flow.peer.path));
		return;
	}
	addr_set(&c->flow.local, e->family, e->laddr, e->lport);
	addr_set(&c->flow.peer, e->family, e->raddr, e->rport);
}

static void tcp_opened_or_accepted(struct flow_table *t, struct conn *c, const struct ev_conn *e)
{
	struct process *p = is_tcp_end(c) ? process_of(t, e->tgid) : NULL;

	if (!p || port_excluded(t, p, c->flags & CONN_CLIENT ? e->rport : e->lport))
		return;
	c->owner = service_ref(p->service);
	tcp_count(t, c, &tcp_active, 1);
	tcp_count(t, c, c->flags & CONN_CLIENT ? &tcp_opened : &tcp_accepted, 1);
	if (e->connect_ns && c->flags & CONN_CLIENT) {
		struct label l[2];
		char port[8];

		tcp_labels(c, l, port);
		metrics_observe(t->r.metrics, &tcp_connect_time, c->owner, l + 1, 1, e->connect_ns / 1e9, t->now_ns);
	}
}

static int on_conn(struct flow_table *t, const struct ev_conn *e)
{
	struct conn *c = conn_find(t, e->conn);

	if (c || (e->family != AF_INET && e->family != AF_INET6 && e->family != AF_UNIX))
		return malformed(t);
	if (t->conns.count >= (size_t)t->r.config->max_connections) {
		t->stats.conns_refused++;
		return 0; /* its messages are counted as they come */
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return 0;
	c->live = true;
	c->flow.id = e->conn;
	c->flow.budget = &t->budget;
	c->flow.from_start = e->flags & CONN_FROM_START;
	c->flags = e->flags;
	c->tgid = e->tgid;
	conn_set_addrs(c, e);
	if (hmap_insert(&t->conns, &c->node, hash_u64(e->conn))) {
		free(c);
		return 0;
	}
	if (e->family == AF_UNIX)
		t->stats.conns_unix++;
	tcp_opened_or_accepted(t, c, e);
	return 0;
}

static int conn_start_proto(struct conn *c, uint8_t proto)
{
	c->proto = NULL;
	if (proto >= PROTO_MAX || !proto_table[proto])
		return -EPROTO;
	c->proto = proto_table[proto];
	/* as many as the table of connections allows, so not from the decoders' budget */
	c->state = calloc(1, c->proto->state_size);
	if (!c->state)
		return -ENOMEM;
	return c->proto->init(c->state);
}

/* The connection is no protocol's, or there is no room for its state: that may be different at its next bytes. */
static void conn_unknown(struct flow_table *t, struct conn *c, uint64_t heads)
{
	bool refused = c->proto && !c->state;

	conn_forget_proto(t, c);
	if (refused)
		t->stats.lost[CALL_LOSS_BUDGET] += heads;
	c->unknown = !refused;
	t->stats.conns_unknown += !refused;
}

static int conn_hole(struct flow_table *t, struct conn *c, int dir, uint64_t pos, uint64_t ns)
{
	uint64_t len = pos - c->pos[dir];

	if (pos > STREAM_MAX || pos < c->pos[dir])
		return malformed(t);
	if (!len)
		return 0;
	c->pos[dir] = pos;
	return c->proto->hole(c->state, &c->flow, dir, len, ns, &t->sink);
}

static void on_bytes(struct flow_table *t, const struct ev_data *e, const uint8_t *bytes)
{
	struct conn *c = conn_find(t, e->conn);
	struct flow_data d = {
		.dir = e->dir, .data = bytes, .len = e->len, .start_ns = e->start_ns,
		.end_ns = e->after && e->start_ns ? e->start_ns : e->h.ts,
		.wait_ns = e->wait_ns, .pid = e->tgid, .tid = e->tid, .note = e->note,
	};
	int err = 0;

	if (!c) {
		t->stats.lost_table += e->heads;
		return;
	}
	c->tick = t->tick;
	if (c->unknown)
		return;
	c->tgid = e->tgid;
	c->flow.gap = e->h.flags & DATA_GAP;
	if (!c->state) {
		err = conn_start_proto(c, e->proto);
		c->seen[0] = c->seen[1] = c->flow.from_start;
	}
	/* joined late: what passed before is nobody's loss */
	if (!c->seen[e->dir]) {
		c->seen[e->dir] = true;
		c->pos[e->dir] = e->pos;
	}
	if (!err)
		err = conn_hole(t, c, e->dir, e->pos, e->h.flags & DATA_GAP ? TIME_UNKNOWN : e->h.ts);
	if (!err && e->len) {
		c->pos[e->dir] = e->pos + e->span;
		err = c->proto->data(c->state, &c->flow, &d, &t->sink);
	}
	/* nothing was lost between a piece and the body behind it */
	c->flow.gap = false;
	if (!err && e->after)
		err = conn_hole(t, c, e->dir, c->pos[e->dir] + e->after, e->h.ts);
	if (err)
		conn_unknown(t, c, e->heads);
}

static enum flow_end end_of(const struct ev_end *e)
{
	switch (e->how & ~END_CLOSED) {
	case END_PEER_FIN: return FLOW_END_PEER_FIN;
	case END_LOCAL_FIN: return FLOW_END_LOCAL_FIN;
	case END_LOCAL_CLOSE: return FLOW_END_LOCAL_CLOSE;
	case END_PEER_RESET: return FLOW_END_PEER_RESET;
	case END_TIMEOUT: return FLOW_END_TIMEOUT;
	}
	return FLOW_END_UNKNOWN;
}

/*
 * A reset may be worked off inside the system call that reads the last bytes, or writes them: the kernel tells it before
 * these. So the end waits for a moment.
 */
#define SETTLE_NS (5 * NSEC_PER_MSEC)

static bool is_sudden(const struct ev_end *e)
{
	int how = e->how & ~END_CLOSED;

	return e->how & END_CLOSED && (how == END_PEER_RESET || how == END_TIMEOUT);
}

static void conn_end(struct flow_table *t, struct conn *c, const struct ev_end *e)
{
	int err = 0;

	c->flow.gap = e->h.flags & DATA_GAP;
	memcpy(c->flow.end_note, e->note, sizeof(c->flow.end_note));
	for (int dir = 0; dir < 2 && c->state && !err; dir++) {
		/* a unix connection may go without another word */
		bool ended = c->flow.local.family == NET_UNIX || end_covers(e->how, dir);
		uint64_t pos = is_sudden(e) ? MAX(e->pos[dir], c->pos[dir]) : e->pos[dir];

		if (ended)
			err = conn_hole(t, c, dir, pos, e->h.flags & DATA_GAP ? TIME_UNKNOWN : e->last_ns[dir]);
	}
	if (c->state && !err)
		err = c->proto->end(c->state, &c->flow, end_of(e), e->h.ts, &t->sink);
	if (err)
		conn_unknown(t, c, 0);
	if (e->how & END_CLOSED)
		conn_remove(t, c);
}

static void on_conn_end(struct flow_table *t, const struct ev_end *e)
{
	struct conn *c = conn_find(t, e->conn);

	if (!c || c->sudden)
		return;
	if (is_sudden(e) && c->state)
		c->sudden = malloc(sizeof(*e));
	if (!c->sudden) {
		conn_end(t, c, e);
		return;
	}
	*c->sudden = *e;
	c->next_sudden = t->sudden;
	t->sudden = c;
}

void flow_settle(struct flow_table *t, uint64_t now_ns)
{
	struct conn *c = t->sudden, *next;

	for (t->sudden = NULL; c; c = next) {
		_free_ struct ev_end *e = c->sudden;

		next = c->next_sudden;
		if (e->h.ts + SETTLE_NS > now_ns) {
			TAKE_PTR(e);
			c->next_sudden = t->sudden;
			t->sudden = c;
			continue;
		}
		c->sudden = NULL;
		conn_end(t, c, e);
	}
}

static void on_connect_failed(struct flow_table *t, const struct ev_tcp_fail *e)
{
	static const char *const reasons[] = { "unknown", "refused", "timeout", "reset", "unreachable", "abandoned" };
	struct process *p = process_of(t, e->tgid);
	struct label l[2];
	char port[8];

	if (!p || port_excluded(t, p, e->rport))
		return;
	snprintf(port, sizeof(port), "%u", e->rport);
	l[0] = (struct label){ "error.type", reasons[e->reason < ARRAY_SIZE(reasons) ? e->reason : 0] };
	l[1] = (struct label){ "server.port", port };
	metrics_add(t->r.metrics, &tcp_failed, p->service, l, 2, 1, t->now_ns);
}

/* --- records --- */

/* Time goes forward; a record from a far future is not asked what time it is. */
static void see_time(struct flow_table *t, uint64_t ts)
{
	if (ts > t->now_ns && ts - t->now_ns < 3600 * NSEC_PER_SEC)
		t->now_ns = ts;
}

/* The record's own size, 0: it cannot be. */
static size_t record_size(const void *data, size_t size)
{
	const struct ev_hdr *h = data;

	return size >= sizeof(*h) && h->size <= size ? h->size : 0;
}

/* Streams go forward, and no further than any stream can have gone. */
static bool position_is_good(struct flow_table *t, const struct ev_data *d)
{
	const struct conn *c = conn_find(t, d->conn);
	bool counted = c && !c->unknown && (c->state ? c->seen[d->dir] : c->flow.from_start);

	return d->pos <= STREAM_MAX && d->after <= STREAM_MAX && (!counted || d->pos >= c->pos[d->dir]);
}

static int on_data(struct flow_table *t, const struct ev_data *d, size_t size)
{
	if (size < sizeof(*d) || d->len > size - sizeof(*d) || d->dir > 1 || d->span < d->len)
		return malformed(t);
	if (!position_is_good(t, d)) {
		t->stats.lost[CALL_LOSS_HOLE] += d->heads;
		return malformed(t);
	}
	on_bytes(t, d, (const uint8_t *)(d + 1));
	return 0;
}

int flow_on_data(void *table, void *data, size_t size)
{
	struct flow_table *t = table;
	const struct ev_hdr *h = data;

	size = record_size(data, size);
	if (size < sizeof(*h))
		return malformed(t);
	see_time(t, h->ts);
	switch (h->kind) {
	case EV_CONN:
		if (size < sizeof(struct ev_conn))
			return malformed(t);
		return on_conn(t, data);
	case EV_DATA:
		return on_data(t, data, size);
	case EV_END:
		if (size < sizeof(struct ev_end))
			return malformed(t);
		on_conn_end(t, data);
		return 0;
	case EV_TCP_FAIL:
		if (size < sizeof(struct ev_tcp_fail))
			return malformed(t);
		on_connect_failed(t, data);
		return 0;
	}
	return malformed(t);
}

/* The pid is the event's: a process that the budget refused has a record that many share. */
static void tell_verdict(struct flow_table *t, uint32_t pid, const struct process *p)
{
	if (t->need_user && p && t->r.capture && !p->exited)
		capture_set_verdict(t->r.capture, pid, p->verdict == VERDICT_EXCLUDE ? VERDICT_SKIP : VERDICT_READ);
}

static int on_exec(struct flow_table *t, const struct ev_exec *e, size_t size)
{
	const char *text = (const char *)(e + 1);
	struct process_seed seed = {
		.pid = e->tgid, .ppid = e->ppid, .uid = e->uid, .start_ns = e->start_ns,
		.comm = e->comm, .exe = e->file,
	};

	if ((size_t)e->args_len + e->env_len > size - sizeof(*e) ||
	    !memchr(e->comm, 0, sizeof(e->comm)) || !memchr(e->file, 0, sizeof(e->file)))
		return malformed(t);
	seed.args = (struct str){ text, e->args_len };
	seed.environ = (struct str){ text + e->args_len, e->env_len };
	tell_verdict(t, e->tgid, processes_exec(t->r.processes, &seed, t->now_ns));
	return 0;
}

int flow_on_control(void *table, void *data, size_t size)
{
	struct flow_table *t = table;
	const struct ev_hdr *h = data;
	const struct ev_proc *p = data;

	size = record_size(data, size);
	if (size < sizeof(*h))
		return malformed(t);
	see_time(t, h->ts);
	if (h->kind == EV_EXEC)
		return size < sizeof(struct ev_exec) ? malformed(t) : on_exec(t, data, size);
	if (size < sizeof(*p))
		return malformed(t);
	if (h->kind == EV_FORK)
		tell_verdict(t, p->tgid, processes_fork(t->r.processes, p->ppid, p->tgid, t->now_ns));
	else if (h->kind == EV_EXIT)
		processes_exit(t->r.processes, p->tgid, t->now_ns);
	else
		return malformed(t);
	return 0;
}

/* --- once a second --- */

static void see_losses(struct flow_table *t)
{
	__u64 stats[STAT_MAX];

	capture_stats(t->r.capture, stats);
	if (stats[STAT_LOST_RECORDS] != t->lost_records)
		t->loss_tick = t->tick;
	t->lost_records = stats[STAT_LOST_RECORDS];
}

/* Which connections are still there? Only asked when one may have gone without a word. */
static void sweep(struct flow_table *t, uint64_t now_ns)
{
	struct hmap_node *n;
	uint64_t *ids = NULL;
	size_t n_ids;

	if (!t->r.capture)
		return;
	hmap_each(n, &t->conns)
		container_of(n, struct conn, node)->live = false;
	if (capture_live_conns(t->r.capture, &ids, &n_ids))
		return;
	see_losses(t);
	/* the last bytes of those that are gone may still be in the ring */
	capture_consume(t->r.capture);
	for (size_t i = 0; i < n_ids; i++) {
		struct conn *c = conn_find(t, ids[i]);

		if (c)
			c->live = true;
	}
	free(ids);
	hmap_each(n, &t->conns) {
		struct conn *c = container_of(n, struct conn, node);

		if (c->live || c->sudden)
			continue;
		/* nothing tells whether its last records were among the lost ones */
		c->flow.gap = t->loss_tick && c->tick <= t->loss_tick;
		if (c->state)
			c->proto->end(c->state, &c->flow, FLOW_END_UNKNOWN, now_ns, &t->sink);
		conn_remove(t, c);
	}
}

/* Those that no event brought to us: moved into the scope, or forked by a process that was pending itself. */
static void judge_pending(struct flow_table *t)
{
	__u32 tgids[256];
	size_t n = capture_pending(t->r.capture, tgids, ARRAY_SIZE(tgids));

	for (size_t i = 0; i < n; i++)
		tell_verdict(t, tgids[i], processes_get(t->r.processes, tgids[i], t->now_ns));
}

void flow_tick(struct flow_table *t, uint64_t now_ns)
{
	__u64 stats[STAT_MAX];

	if (!t->r.capture)
		return;
	t->tick++;
	t->now_ns = now_ns;
	capture_stats(t->r.capture, stats);
	if (t->stats.conns_unix || stats[STAT_LOST_ENDS] != t->lost_ends)
		sweep(t, now_ns);
	t->lost_ends = stats[STAT_LOST_ENDS];
	if (t->need_user)
		judge_pending(t);
}

static void judged(void *table, struct process *p)
{
	tell_verdict(table, p->pid, p);
}

void flow_judge_all(struct flow_table *t)
{
	t->need_user = processes_rules_need_user(t->r.config);
	t->now_ns = clock_mono_ns();
	if (t->need_user)
		processes_scan(t->r.processes, judged, t, t->now_ns);
}

struct flow_table *flow_table_new(const struct flow_rooms *rooms)
{
	struct flow_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->r = *rooms;
	t->sink = (struct call_sink){ .begin = on_begin, .end = on_end, .drop = on_drop, .lost = on_lost };
	t->need_user = processes_rules_need_user(rooms->config);
	t->now_ns = clock_mono_ns();
	t->budget.max = rooms->config->decode_memory;
	return t;
}

void flow_table_set_capture(struct flow_table *t, struct capture *c)
{
	t->r.capture = c;
}

void flow_table_free(struct flow_table *t)
{
	struct hmap_node *n;

	if (!t)
		return;
	hmap_each(n, &t->conns)
		conn_remove(t, container_of(n, struct conn, node));
	hmap_done(&t->conns);
	free(t);
}

void flow_get_stats(const struct flow_table *t, struct flow_stats *ret)
{
	*ret = t->stats;
	ret->conns = t->conns.count;
	ret->conns_max = t->r.config->max_connections;
	ret->decode_bytes = t->budget.used;
	ret->decode_max = t->budget.max;
	ret->decode_refused = t->budget.refused;
}
