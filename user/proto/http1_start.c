// SPDX-License-Identifier: Apache-2.0
/*
 * Where a message starts, or seems to: a head is kept until it is whole, its first line is judged as soon as it
 * can be, and what turns out to be no head is a body that was announced, noise to search through, or the
 * end of HTTP on this connection.
 */
#include "user/proto/http1_internal.h"

#define HEAD_MAX    (64 << 10)
#define STRIKES_MAX 16 /* looks at a connection joined late that shows nothing */

static void mark_start(struct cx *x, struct stream *s)
{
	const struct flow_data *in = x->in;

	s->start_ns = in->start_ns;
	s->wait_ns = x->at_start && in->dir == FLOW_RECV ? in->wait_ns : WAIT_UNKNOWN;
	s->pid = in->pid;
	s->tid = in->tid;
	s->may_sync = false;
	if (x->h->req_dir != DIR_UNKNOWN && s == requests(x->h))
		h1_request_begins(x, s);
}

void h1_set_role(struct cx *x, uint8_t req_dir)
{
	struct h1 *h = x->h;
	struct stream *other = &h->s[!x->in->dir];

	h->req_dir = req_dir;
	if (!x->flow->from_start && !other->len)
		other->mode = M_SEARCH;
	h->answers_gap |= answers(h)->hole;
	if (requests(h)->hole) {
		h1_set_unsure(h);
		h->hole_since = requests(h)->hole_last;
	}
}

/* The first line; while the role is not known it decides it. */
static ssize_t first_line(struct cx *x, struct stream *s, const uint8_t *p, size_t n, struct http1_head *ret)
{
	struct h1 *h = x->h;
	ssize_t r;

	if (h->req_dir == DIR_UNKNOWN) {
		r = http1_request_line(p, n, false, ret);
		if (r > 0)
			h1_set_role(x, x->in->dir);
		if (r >= 0)
			return r;
		r = http1_status_line(p, n, ret);
		if (r > 0)
			h1_set_role(x, !x->in->dir);
		return r;
	}
	if (s == requests(h))
		return http1_request_line(p, n, (h->confirmed || x->flow->from_start) && s->tentative == T_NONE, ret);
	return http1_status_line(p, n, ret);
}

/* Parses and acts. How many bytes the head took, 0: it is not complete, -EPROTO: this is none. */
static ssize_t head(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	struct http1_head head;
	struct h1 *h = x->h;
	bool body = s->tentative == T_BODY;
	ssize_t line = first_line(x, s, p, n, &head), fields;

	if (line <= 0)
		return line;
	fields = http1_fields(p + line, n - (size_t)line, head.request && !h->confirmed, &head);
	if (fields < 0)
		return -EPROTO;
	s->line_ok = true;
	if (!fields)
		return 0;
	s->line_ok = false;
	s->tentative = T_NONE;
	if (head.request) {
		h1_park_expire(x, s);
		h1_request_head(x, s, &head);
	} else {
		if (h1_must_park(h) && !body) {
			/* it began when the role was not known */
			struct flow_data in = *x->in;
			struct cx y = {h, x->flow, x->sink, &in, false};

			in.start_ns = s->start_ns; /* where the head began */
			h1_park(&y, p, (size_t)(line + fields), 0);
			s->mode = M_HEAD;
			return line + fields;
		}
		h1_answer_head(x, s, &head);
	}
	return line + fields;
}

/* These bytes were looked at for a request, but they are the body that was announced. */
void h1_back_to_body(struct cx *x, struct stream *s)
{
	size_t len = s->len, cap = s->cap;
	uint8_t *buf = TAKE_PTR(s->buf);

	h1_free_part(x->h, s);
	s->refusable = false;
	s->ticket = false;
	h1_stop_numbers(x);
	s->mode = s->body_mode;
	if (len && h1_feed(x, s, buf, len))
		x->h->leave = true;
	proto_free(x->h->budget, buf, cap);
}

/* Not the message that must begin here. What is left of the piece, or -EPROTO. */
static ssize_t no_request(struct cx *x, struct stream *s, size_t n)
{
	struct h1 *h = x->h;

	if (!h->first || !(h->confirmed || h->may_upgrade))
		return -EPROTO;
	h1_search(h, s);
	/* after a CONNECT or Upgrade the answer tells; else the answers that are due may still come */
	if (!h->may_upgrade)
		s->mode = M_DEAD;
	return (ssize_t)n;
}

static ssize_t no_message(struct cx *x, struct stream *s, size_t n)
{
	struct h1 *h = x->h;
	bool unknown = h->req_dir == DIR_UNKNOWN, searching = s->tentative == T_SEARCH;

	if (s->tentative == T_BODY) {
		n = s->len ? n : 0;
		h1_back_to_body(x, s);
		return (ssize_t)n;
	}
	if (!h->confirmed && ++h->strikes > STRIKES_MAX)
		return -EPROTO;
	if (unknown && x->flow->from_start && !searching)
		return -EPROTO;
	if (unknown || (searching && s == requests(h))) {
		h1_search(h, s);
		return (ssize_t)n;
	}
	if (s == requests(h))
		return no_request(x, s, n);
	if (!h->confirmed && !searching)
		return -EPROTO;
	if (h->first)
		h1_lose_answers(x, s, CALL_LOSS_HOLE);
	h1_search(h, s);
	return (ssize_t)n;
}

/* While the role is not known: the beginning of a request decides it, although its line is not complete. */
static void take_role(struct cx *x, const uint8_t *p, size_t n)
{
	struct http1_head head;

	if (x->h->req_dir == DIR_UNKNOWN && http1_request_line(p, n, false, &head) >= 0 &&
	    http1_status_line(p, n, &head) < 0)
		h1_set_role(x, x->in->dir);
}

static ssize_t head_too_large(struct cx *x, struct stream *s, size_t n)
{
	struct http1_head head = {0};
	struct h1 *h = x->h;
	struct req *r;

	take_role(x, s->buf, s->len);
	if (h->req_dir == DIR_UNKNOWN)
		return no_message(x, s, n);
	if (s != requests(h)) {
		h1_lose_answers(x, s, CALL_LOSS_HEAD_TOO_LARGE);
		return (ssize_t)n;
	}
	h1_lose_head(x, s, CALL_LOSS_HEAD_TOO_LARGE);
	if (h->unsure && s->may_sync)
		h1_in_step(h);
	if (!h->unsure && http1_request_line(s->buf, s->len, true, &head) > 0) {
		/* its answer comes all the same */
		r = h1_req_new(h, s, &head);
		if (r) {
			r->lost = true;
			h1_queue_push(h, r);
		}
	}
	h->sending = NULL;
	h1_search(h, s);
	h1_set_unsure(h);
	return (ssize_t)n;
}

static int append(const struct h1 *h, struct stream *s, const uint8_t *p, size_t n)
{
	if (s->len + n > s->cap) {
		size_t cap = CLAMP((s->len + n) * 2, (size_t)256, (size_t)HEAD_MAX);
		uint8_t *buf = proto_resize(h->budget, s->buf, s->cap, cap);

		if (!buf)
			return -ENOMEM;
		s->buf = buf;
		s->cap = (uint32_t)cap;
	}
	memcpy(s->buf + s->len, p, n);
	s->len += (uint32_t)n;
	return 0;
}

/* No room for a head that began with `p`. */
static ssize_t no_memory(struct cx *x, struct stream *s, const uint8_t *p, size_t len, size_t n)
{
	struct h1 *h = x->h;

	take_role(x, p, len);
	if (h->req_dir == DIR_UNKNOWN)
		return no_message(x, s, n);
	if (s != requests(h)) {
		h1_lose_answers(x, s, CALL_LOSS_BUDGET);
		return (ssize_t)n;
	}
	h1_lose_head(x, s, CALL_LOSS_BUDGET);
	h->sending = NULL;
	h1_search(h, s);
	h1_set_unsure(h);
	return (ssize_t)n;
}

/* A head that was split: `p` continues what is kept. */
static ssize_t on_head_rest(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	size_t had = s->len, take = MIN(n, HEAD_MAX - had), end;
	ssize_t r;

	if (append(x->h, s, p, take))
		return no_memory(x, s, s->buf, s->len, n);
	end = http1_head_end(s->buf, s->len, &s->scanned);
	if (end) {
		uint8_t *buf = TAKE_PTR(s->buf);
		uint32_t len = s->len, cap = s->cap;

		s->len = s->cap = 0;
		s->scanned = 0;
		r = head(x, s, buf, end);
		if (r > 0) {
			proto_free(x->h->budget, buf, cap);
			return (ssize_t)(end - had);
		}
		s->buf = buf;
		s->len = len;
		s->cap = cap;
		return no_message(x, s, take);
	}
	/* the first line is judged as soon as it can be, but not again for every byte of a long one */
	if (!s->line_ok && (s->len <= 64 || memchr(p, '\n', take)) && head(x, s, s->buf, s->len) < 0)
		return no_message(x, s, take);
	if (s->len == HEAD_MAX)
		return head_too_large(x, s, take);
	return (ssize_t)take;
}

ssize_t h1_on_head(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	size_t take = MIN(n, (size_t)HEAD_MAX);
	ssize_t r;

	if (s->len)
		return on_head_rest(x, s, p, n);
	if (x->h->req_dir != DIR_UNKNOWN && s == answers(x->h) && h1_must_park(x->h) && s->tentative != T_BODY) {
		h1_park(x, p, n, 0);
		return (ssize_t)n;
	}
	mark_start(x, s);
	r = head(x, s, p, take);
	if (r > 0)
		return r;
	if (r < 0)
		return no_message(x, s, n);
	if (append(x->h, s, p, take))
		return no_memory(x, s, p, take, n);
	s->scanned = s->len;
	return s->len == HEAD_MAX ? head_too_large(x, s, take) : (ssize_t)take;
}
