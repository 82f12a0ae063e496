// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.0 and 1.1 (RFC 9112): two byte streams framed exactly, and a queue of requests whose
 * answers are outstanding. An answer belongs to the queue's front, so everything hangs on the
 * two streams being in step. Where bytes are missing outside a body, that is not known any more:
 * the connection is `unsure`, requests seen then are counted as lost, and answers belong to
 * nobody, until a request arrives directly after answer bytes with nothing else outstanding
 * (see may_sync()). An answer is never given to a request that may not be its own.
 *
 * Each request whose bytes came here is reported or counted as lost, once. Requests that
 * never came here were counted by the kernel's half; answers to them are skipped silently. Until an answer
 * or the connection's end proves that this is HTTP, losses are only noted down: what never was HTTP has none.
 *
 * The kernel half's word (bpf/shared/note.h) is believed where bytes are missing. NOTE_CHUNK heals a hole in a
 * chunked body. NOTE_HEAD is where a message begins, and there only: `ticket` is a request of which that came
 * and that is neither in the queue nor counted. While messages are numbered, the connection is never
 * unsure: from the first loss on (`torn`) an answer belongs to the request of its number, and a hole costs the
 * messages that it touches and nothing else. Without losses the order of the bytes decides: the
 * kernel's half may take a body for a message, and its numbers are given up when they contradict.
 *
 * Here: the streams and the contract. http1_start.c finds heads, http1_head.c parses them, http1_message.c does what
 * they say, http1_chunk.c frames chunks, http1_queue.c keeps outstanding requests and counts losses, http1_park.c lets
 * answers wait for their request, http1_call.c makes calls.
 */
#include "user/proto/http1_internal.h"

/* --- bodies --- */

static void message_end(struct cx *x, struct stream *s)
{
	if (s == requests(x->h))
		h1_request_done(x, s);
	else
		h1_answer_done(x, s, x->in->end_ns);
}

static void lose_message(struct cx *x, struct stream *s)
{
	if (s == requests(x->h))
		h1_lose_request(x, s);
	else
		h1_lose_answers(x, s, CALL_LOSS_HOLE);
}

static ssize_t on_body(struct cx *x, struct stream *s, size_t n)
{
	n = MIN(n, s->remaining);
	s->remaining -= n;
	s->body += n;
	if (!s->remaining)
		message_end(x, s);
	return (ssize_t)n;
}

static ssize_t on_chunk(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	int ret;

	if (s->mode == M_CHUNK_DATA) {
		n = MIN(n, s->remaining);
		s->remaining -= n;
		s->body += n;
		if (!s->remaining)
			s->mode = M_CHUNK_END;
		return (ssize_t)n;
	}
	ret = h1_chunk_byte(s, *p);
	if (ret > 0)
		message_end(x, s);
	if (ret >= 0)
		return 1;
	lose_message(x, s);
	return (ssize_t)n;
}

/* --- streams --- */

static ssize_t step(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	switch (s->mode) {
	case M_HEAD:
		return h1_on_head(x, s, p, n);
	case M_BODY:
		return on_body(x, s, n);
	case M_CLOSE:
		s->body += n;
		s->last_ns = x->in->end_ns;
		return (ssize_t)n;
	case M_SEARCH:
		if (!x->at_start || (x->h->noted && !(x->in->note & NOTE_HEAD)))
			return (ssize_t)n;
		s->mode = M_HEAD;
		s->tentative = T_SEARCH;
		return 0;
	case M_NOTE:
	case M_DEAD:
		return (ssize_t)n;
	default:
		return on_chunk(x, s, p, n);
	}
}

int h1_feed(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	while (n && !x->h->leave) {
		ssize_t used;

		/* RFC 9112, 2.2: empty lines before a message */
		if (s->mode == M_HEAD && !s->len && s->tentative != T_BODY && (*p == '\r' || *p == '\n')) {
			p++;
			n--;
			continue;
		}
		used = step(x, s, p, n);
		if (used < 0)
			return (int)used;
		if (used)
			x->at_start = false;
		p += used;
		n -= (size_t)used;
	}
	return 0;
}

/* Behind a hole in a chunked body: do these bytes belong to it? */
static void chunk_note(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	uint64_t note = x->in->note;
	bool same = h->numbered ? NOTE_CHUNK_NUMBER(note) == (uint16_t)s->number : !s->gap;

	if (!(note & NOTE_CHUNK) || !same) {
		lose_message(x, s);
		return;
	}
	if (s == answers(h))
		h->answers_gap = false;
	s->mode = M_CHUNK_SIZE;
	s->body = NOTE_CHUNK_BODY(note);
	s->remaining = 0;
	s->digits = 0;
}

/* A message begins where another is not over. */
static void cut_message(struct cx *x, struct stream *s)
{
	bool none = !s->body && (s->mode == M_BODY || (s->mode == M_CHUNK_SIZE && !s->digits));

	if (none && s == requests(x->h)) {
		/* its body was refused and did not come */
		h1_lose_over(x);
		x->h->sending = NULL;
		s->refusable = false;
		h1_search(x->h, s);
	} else {
		lose_message(x, s);
	}
}

/* A body may not come: after a refused 100 (Continue), or because an answer to a request not seen is one to HEAD. */
static bool may_have_no_body(const struct stream *s)
{
	return (s->refusable || s->orphan) && !s->body &&
	       (s->mode == M_BODY || (s->mode == M_CHUNK_SIZE && !s->digits));
}

static void head_note(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	uint64_t note = x->in->note;

	if (s->mode == M_DEAD)
		return;
	if (!(note & NOTE_NUMBER))
		h1_stop_numbers(x);
	if (h->req_dir != DIR_UNKNOWN && s->mode != M_SEARCH && (s->mode != M_HEAD || s->len) && !may_have_no_body(s)) {
		if (s->mode != M_NOTE && !h->torn) {
			h1_stop_numbers(x); /* a body that looks like a message */
			return;
		}
		cut_message(x, s);
	}
	s->number = NOTE_HEAD_NUMBER(note);
	s->ticket = note & NOTE_REQUEST;
	if (!h->numbered)
		return;
	if (s->ticket)
		h->next_request = s->number + 1;
	/* those before it were answered unseen */
	while (by_number(h) && !s->ticket && h->first && is_before(h->first->number, s->number))
		h1_lose_first(x, CALL_LOSS_HOLE);
}

/* The next bytes of one direction. */
void h1_piece(struct cx *x, struct stream *s)
{
	if (x->in->note & NOTE_HEAD)
		head_note(x, s);
	else if (s->mode == M_NOTE)
		chunk_note(x, s);
	/* RFC 9110 10.1.1: a client goes on with its next request */
	if (may_have_no_body(s) && (!x->h->noted || x->in->note & NOTE_HEAD)) {
		s->body_mode = s->mode;
		s->mode = M_HEAD;
		s->tentative = T_BODY;
	}
	if (h1_feed(x, s, x->in->data, x->in->len))
		x->h->leave = true;
	s->gap = false;
}

static void hole_in_search(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;

	if (h->numbered) {
		lose_message(x, s);
		return;
	}
	/* joined late: what passed before is nobody's loss */
	if (!x->flow->from_start && !s->seen && h->outstanding <= 1)
		return;
	if (s == requests(h)) {
		h1_set_unsure(h);
		h->hole_since = true;
	} else if (h->first || h->unsure) {
		h1_lose_answers(x, s, CALL_LOSS_HOLE);
	}
}

void h1_hole_stream(struct cx *x, struct stream *s, uint64_t len)
{
	struct h1 *h = x->h;

	/* was it the body, or was that refused and messages went by? */
	if (s == requests(h) && s->gap && (s->expect || s->refusable) && !s->body && s->mode != M_HEAD)
		h1_lose_request(x, s);
	while (len && !h->leave && (s->mode == M_BODY || s->mode == M_CHUNK_DATA)) {
		uint64_t n = MIN(len, s->remaining);

		if (s->mode == M_CHUNK_DATA && len > s->remaining) {
			s->mode = M_NOTE;
			break;
		}
		len -= n;
		if (s->mode == M_BODY)
			on_body(x, s, n);
		else
			on_chunk(x, s, NULL, n);
	}
	if (!len || h->leave)
		return;
	switch (s->mode) {
	case M_CLOSE:
		s->body += len;
		s->last_ns = x->in->end_ns;
		return;
	case M_DEAD:
		return;
	case M_SEARCH:
		hole_in_search(x, s);
		return;
	case M_HEAD:
	case M_TRAILER:
		lose_message(x, s);
		h->hole_since |= s == requests(h);
		return;
	default:
		s->mode = M_NOTE;
		/* its end and more may be in it */
		h->answers_gap |= s->gap && s == answers(h);
	}
}

/* --- the contract --- */

static int init(void *state)
{
	struct h1 *h = state;

	h->req_dir = DIR_UNKNOWN;
	return 0;
}

/* Not HTTP any longer, or gone. Answers to what is outstanding will not be seen; if there ever was one, these are
 * requests. */
static void give_up(struct cx *x)
{
	struct h1 *h = x->h;

	h1_tell_over(x);
	while (h->first)
		h1_lose_first(x, CALL_LOSS_LEFT);
	memset(h->unproved, 0, sizeof(h->unproved));
	h1_drop_park(h);
	for (int i = 0; i < 2; i++)
		h1_free_part(h, &h->s[i]);
	h->leave = true;
}

static int verdict(struct cx *x)
{
	struct h1 *h = x->h;

	if (!h->leave && h->park_len && (h->first || h->unsure))
		h1_replay(x);
	if (h->req_dir != DIR_UNKNOWN && requests(h)->mode == M_DEAD && !h->first)
		h->leave = true; /* the answers that were due are over */
	if (!h->leave)
		return 0;
	give_up(x);
	return -EPROTO;
}

static void take_flow(struct h1 *h, const struct flow *flow)
{
	h->budget = flow->budget;
	if (flow->gap)
		h->s[0].gap = h->s[1].gap = h->torn = true;
}

static void first_note(struct cx *x)
{
	struct h1 *h = x->h;
	uint64_t note = x->in->note;

	h->noted |= !!(note & (NOTE_HEAD | NOTE_REST));
	if (h->req_dir != DIR_UNKNOWN || !(note & NOTE_HEAD) || !x->flow->from_start)
		return;
	h->numbered = note & NOTE_NUMBER;
	h1_set_role(x, note & NOTE_REQUEST ? x->in->dir : !x->in->dir);
}

static int data(void *state, const struct flow *flow, const struct flow_data *in, struct call_sink *sink)
{
	struct h1 *h = state;
	struct stream *s = &h->s[in->dir];
	struct cx x = {h, flow, sink, in, true};

	if (h->leave)
		return -EPROTO;
	if (s->ended || !in->len)
		return 0;
	if (!h->s[0].seen && !h->s[1].seen)
		h->synced = flow->from_start;
	take_flow(h, flow);
	first_note(&x);
	if (h->req_dir == DIR_UNKNOWN) {
		h1_piece(&x, s);
		s->hole_last = false;
		h->answer_since = h->req_dir != DIR_UNKNOWN && s == answers(h);
		h->hole_since &= h->answer_since;
	} else if (s == answers(h)) {
		h->answer_since = true;
		if (h->park_len)
			h1_park(&x, in->data, in->len, 0);
		else
			h1_piece(&x, s);
	} else {
		h1_piece(&x, s);
		h->answer_since = false;
		h->hole_since = false;
	}
	s->seen = true;
	h->last_ns = in->end_ns;
	return verdict(&x);
}

static int hole(void *state, const struct flow *flow, enum flow_dir dir, uint64_t len, uint64_t ns,
		struct call_sink *sink)
{
	struct h1 *h = state;
	struct stream *s = &h->s[dir];
	struct flow_data in = {.dir = dir, .start_ns = ns, .end_ns = ns, .wait_ns = WAIT_UNKNOWN};
	struct cx x = {h, flow, sink, &in, false};
	struct http1_head head;

	if (h->leave)
		return -EPROTO;
	if (s->ended || !len)
		return 0;
	if (!h->s[0].seen && !h->s[1].seen)
		h->synced = flow->from_start;
	take_flow(h, flow);
	if (s->tentative == T_BODY && !s->ticket)
		h1_back_to_body(&x, s);
	if (h->req_dir == DIR_UNKNOWN) {
		if (s->ticket || (s->len && http1_request_line(s->buf, s->len, false, &head) >= 0))
			h1_lose_head(&x, s, CALL_LOSS_HOLE);
		h1_search(h, s);
		s->hole = s->hole_last = flow->from_start;
	} else if (s == answers(h)) {
		h->answer_since = true;
		if (h->park_len)
			h1_park(&x, NULL, 0, len);
		else
			h1_hole_stream(&x, s, len);
	} else {
		h1_hole_stream(&x, s, len);
	}
	/* in a chunked body the next piece tells what was lost */
	if (!h->park_len && s->mode != M_NOTE)
		s->gap = false;
	s->seen = true;
	h->last_ns = ns;
	return verdict(&x);
}

static struct str end_reason(const struct h1 *h, enum flow_end how)
{
	switch (how) {
	case FLOW_END_PEER_RESET:
		return STR("peer_reset");
	case FLOW_END_TIMEOUT:
		return STR("timeout");
	default:
		break;
	}
	if (h->peer_fin)
		return STR("peer_closed");
	return how == FLOW_END_UNKNOWN ? STR("connection_lost") : STR("local_closed");
}

/* A body without length: is its end the connection's? */
static bool ends_in_order(const struct h1 *h, enum flow_end how)
{
	switch (how) {
	case FLOW_END_PEER_RESET:
	case FLOW_END_TIMEOUT:
		return false;
	case FLOW_END_LOCAL_CLOSE:
	case FLOW_END_PROCESS_EXIT:
		return role_of(h) == ROLE_SERVER;
	default:
		return true;
	}
}

static void end_answers(struct cx *x, enum flow_end how, uint64_t ns)
{
	struct h1 *h = x->h;
	struct stream *a = answers(h);

	if (h->first && h->first->status && !a->orphan && a->mode == M_CLOSE && ends_in_order(h, how))
		h1_answer_done(x, a, how == FLOW_END_UNKNOWN ? TIME_UNKNOWN : a->last_ns);
	while (h->first) {
		if (h->first->odd && !h->confirmed) {
			h1_drop_first(x);
			continue;
		}
		/* an answer whose chunk framing could not be read may have been complete */
		if (h->answers_gap || (x->flow->gap && h->first->status && !a->orphan && a->mode == M_NOTE))
			h1_lose_first(x, CALL_LOSS_HOLE);
		else
			h1_end_first(x, ns, end_reason(h, how));
	}
}

/* It is not known what passed last. */
static void end_unknown(struct cx *x)
{
	struct h1 *h = x->h;

	h->answers_gap = true;
	for (int i = 0; i < 2; i++)
		if (h->s[i].ticket)
			h1_lose_head(x, &h->s[i], CALL_LOSS_HOLE);
}

/* A chunked body that is cut: its framing was left out, but how much of it passed is told. */
static void cut_chunks(struct h1 *h, const struct flow *flow, int dir)
{
	struct stream *s = &h->s[dir];
	uint64_t note = flow->end_note[dir];
	bool same = h->numbered ? NOTE_CHUNK_NUMBER(note) == (uint16_t)s->number : !flow->gap;

	if (note & NOTE_CHUNK && same && (s->mode == M_NOTE || (s->mode >= M_CHUNK_SIZE && s->mode <= M_CHUNK_END)))
		s->body = NOTE_CHUNK_BODY(note);
}

static int end(void *state, const struct flow *flow, enum flow_end how, uint64_t ns, struct call_sink *sink)
{
	struct h1 *h = state;
	bool ends[2] = {how != FLOW_END_LOCAL_FIN, how != FLOW_END_PEER_FIN}; /* RECV, SEND */
	struct flow_data in = {.start_ns = ns, .end_ns = ns, .wait_ns = WAIT_UNKNOWN};
	struct cx x = {h, flow, sink, &in, false};

	if (h->leave)
		return -EPROTO;
	h->peer_fin |= how == FLOW_END_PEER_FIN;
	take_flow(h, flow);
	if (flow->gap && how == FLOW_END_UNKNOWN)
		end_unknown(&x);
	else
		h->s[0].gap = h->s[1].gap = false; /* what is missing at the end was told */
	for (int dir = 0; dir < 2; dir++)
		cut_chunks(h, flow, dir);
	/* on a unix socket nothing tells that bytes were spliced away */
	if (h->over && (flow->gap || (flow->local.family == NET_UNIX && !requests(h)->body)))
		h1_lose_over(&x);
	else
		h1_tell_over(&x);
	if (h->req_dir != DIR_UNKNOWN && ends[!h->req_dir])
		end_answers(&x, how, ns);
	if (h->req_dir != DIR_UNKNOWN ? ends[!h->req_dir] : ends[0] && ends[1])
		h1_tell_losses(&x); /* like the calls that end without an answer */
	for (int i = 0; i < 2; i++) {
		if (!ends[i])
			continue;
		h1_free_part(h, &h->s[i]);
		h->s[i].ended = true;
	}
	if (h->req_dir != DIR_UNKNOWN && ends[!h->req_dir])
		h1_drop_park(h);
	return verdict(&x);
}

static void done(void *state, const struct flow *flow, struct call_sink *sink)
{
	struct cx x = {state, flow, sink, NULL, false};

	give_up(&x);
}

const struct proto proto_http1 = {
	.name = "http",
	.state_size = sizeof(struct h1),
	.init = init,
	.data = data,
	.hole = hole,
	.end = end,
	.done = done,
	.labels = {[ROLE_SERVER] = http1_server_labels, [ROLE_CLIENT] = http1_client_labels},
	.active_labels = {[ROLE_SERVER] = http1_server_active, [ROLE_CLIENT] = http1_client_active},
	.metrics = http1_metrics,
	.route_key = &http1_route_key,
	.span_name = http1_span_name,
	.summary = http1_summary,
};
