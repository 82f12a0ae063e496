// SPDX-License-Identifier: Apache-2.0
/* See user/flow.c: holes come before data, a record without bytes only moves the position. */
#include "tests/shim/receiver.h"

#include <stdio.h>
#include <stdlib.h>

static void on_begin(struct call_sink *sink, const struct flow *flow, struct call *c)
{
	struct receiver *r = container_of(sink, struct receiver, sink);

	r->begun++;
	c->active = r;
}

static void on_end(struct call_sink *sink, const struct flow *flow, struct call *c)
{
	struct receiver *r = container_of(sink, struct receiver, sink);
	struct str method, target;
	struct seen_call *s;

	if (c->active != r)
		abort();
	r->ended++;
	if (getenv("VERBOSE"))
		fprintf(stderr, "recv: a call ended\n");
	if (r->n_calls == r->room) {
		r->room = r->room ? 2 * r->room : 64;
		r->calls = realloc(r->calls, r->room * sizeof(*r->calls));
	}
	s = &r->calls[r->n_calls++];
	memset(s, 0, sizeof(*s));
	r->proto->summary(c, &method, &target, &s->status);
	snprintf(s->method, sizeof(s->method), "%.*s", (int)method.len, method.p);
	snprintf(s->path, sizeof(s->path), "%.*s", (int)c->path.len, c->path.len ? c->path.p : "");
	snprintf(s->error, sizeof(s->error), "%.*s", (int)c->error_type.len, c->error_type.len ? c->error_type.p : "");
	s->request_bytes = c->request_bytes;
	s->response_bytes = c->response_bytes;
	s->start_ns = c->start_ns;
	s->first_ns = c->first_ns;
	s->end_ns = c->end_ns;
	s->answered = c->answered;
}

static void on_drop(struct call_sink *sink, const struct flow *flow, struct call *c)
{
	struct receiver *r = container_of(sink, struct receiver, sink);

	if (c->active != r)
		abort();
	r->dropped++;
}

static void on_lost(struct call_sink *sink, const struct flow *flow, enum call_loss why, uint64_t n)
{
	container_of(sink, struct receiver, sink)->lost[why] += n;
	if (getenv("VERBOSE"))
		fprintf(stderr, "recv: lost %llu, reason %d\n", (unsigned long long)n, why);
}

void receiver_init(struct receiver *r)
{
	memset(r, 0, sizeof(*r));
	r->sink = (struct call_sink){ .begin = on_begin, .end = on_end, .drop = on_drop, .lost = on_lost };
	r->flow.local.family = NET_INET;
	r->flow.peer.family = NET_INET;
	r->flow.from_start = true;
}

static void forget(struct receiver *r)
{
	if (r->state)
		r->proto->done(r->state, &r->flow, &r->sink);
	free(r->state);
	r->state = NULL;
}

void receiver_done(struct receiver *r)
{
	forget(r);
	free(r->calls);
	r->calls = NULL;
}

static int start(struct receiver *r, enum sonde_proto proto)
{
	r->proto = proto_table[proto];
	if (!r->proto)
		return -EPROTO;
	r->state = calloc(1, r->proto->state_size);
	return r->proto->init(r->state);
}

static int pass_hole(struct receiver *r, int dir, uint64_t pos, uint64_t ns)
{
	uint64_t len = pos - r->pos[dir];

	if (pos <= r->pos[dir])
		return 0;
	r->pos[dir] = pos;
	return r->proto->hole(r->state, &r->flow, dir, len, ns, &r->sink);
}

static void became_unknown(struct receiver *r, int err)
{
	if (!err)
		return;
	if (getenv("VERBOSE"))
		fprintf(stderr, "recv: unknown from here on\n");
	forget(r);
	r->unknown = true;
}

static void on_data(struct receiver *r, const struct ev_data *e)
{
	struct flow_data d = {
		.dir = e->dir, .data = (const uint8_t *)(e + 1), .len = e->len, .start_ns = e->start_ns,
		.end_ns = e->after && e->start_ns ? e->start_ns : e->h.ts, .wait_ns = e->wait_ns, .pid = e->tgid, .tid = e->tid, .note = e->note,
	};
	int err = 0;

	r->records++;
	r->bytes += e->len;
	if (!r->known) {
		r->lost_table += e->heads;
		return;
	}
	if (r->unknown)
		return;
	r->flow.gap = e->h.flags & DATA_GAP;
	if (!r->state) {
		err = start(r, e->proto);
		r->pos[e->dir] = r->flow.from_start ? 0 : e->pos;
		r->pos[!e->dir] = 0;
	}
	if (!err)
		err = pass_hole(r, e->dir, e->pos, e->h.flags & DATA_GAP ? TIME_UNKNOWN : e->h.ts);
	if (!err && e->len) {
		r->pos[e->dir] = e->pos + e->span;
		err = r->proto->data(r->state, &r->flow, &d, &r->sink);
	}
	r->flow.gap = false;
	if (!err && e->after)
		err = pass_hole(r, e->dir, r->pos[e->dir] + e->after, e->h.ts);
	became_unknown(r, err);
}

void receiver_end(struct receiver *r, enum flow_end how, uint64_t ns)
{
	if (r->state)
		became_unknown(r, r->proto->end(r->state, &r->flow, how, ns, &r->sink));
}

void receiver_swept(struct receiver *r)
{
	r->flow.gap = true;
	receiver_end(r, FLOW_END_UNKNOWN, 1ULL << 40);
	forget(r);
}

static void on_conn_end(struct receiver *r, const struct ev_end *e)
{
	int err = 0;

	r->flow.gap = e->h.flags & DATA_GAP;
	memcpy(r->flow.end_note, e->note, sizeof(r->flow.end_note));
	for (int dir = 0; dir < 2 && r->state && !err; dir++)
		err = !end_covers(e->how, dir) ? 0 : pass_hole(r, dir, e->pos[dir], e->h.flags & DATA_GAP ? TIME_UNKNOWN : e->last_ns[dir]);
	became_unknown(r, err);
	receiver_end(r, (e->how & ~END_CLOSED) == END_PEER_FIN ? FLOW_END_PEER_FIN : FLOW_END_LOCAL_CLOSE, e->h.ts);
	if (e->how & END_CLOSED)
		forget(r);
}

void receiver_record(struct receiver *r, const struct ev_hdr *rec)
{
	if (rec->kind == EV_CONN) {
		r->known = true;
		r->flow.from_start = ((const struct ev_conn *)rec)->flags & CONN_FROM_START;
	} else if (rec->kind == EV_DATA) {
		on_data(r, (const struct ev_data *)rec);
	} else if (rec->kind == EV_END && r->known) {
		on_conn_end(r, (const struct ev_end *)rec);
	}
}

void receiver_bytes(struct receiver *r, enum sonde_proto proto, int dir, const void *p, size_t n, uint64_t ns)
{
	struct flow_data d = {
		.dir = dir, .data = p, .len = n, .start_ns = ns, .end_ns = ns, .wait_ns = WAIT_UNKNOWN, .pid = 1000, .tid = 1001,
	};

	if (r->unknown)
		return;
	if (!r->state && start(r, proto))
		abort();
	became_unknown(r, r->proto->data(r->state, &r->flow, &d, &r->sink));
}

uint64_t receiver_lost(const struct receiver *r)
{
	uint64_t n = r->lost_table;

	for (int i = 0; i < CALL_LOSS_MAX; i++)
		n += r->lost[i];
	return n;
}
