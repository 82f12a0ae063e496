// SPDX-License-Identifier: Apache-2.0
/*
 * What the head of a request or an answer means: its place in the queue, how its body is framed (RFC 9112, 6.3),
 * whether the two streams are in step again, and what its end brings.
 */
#include "user/proto/http1_internal.h"

#define OUTSTANDING_MAX 256
#define HELD_MAX	(256 << 10) /* bytes of outstanding requests, per connection */
#define QUIET_NS	1000000000ULL

/*
 * Whether a request that begins now can be sure of its answer although others went by unseen:
 * nothing is outstanding that we know, and answer bytes came before it with no hole between. That
 * is how clients behave that wait for all answers before they go on (nearly all, also
 * when they pipeline). On a connection where this was seen not to hold, a second of silence must come first.
 */
static bool may_sync(struct cx *x, bool clean)
{
	struct h1 *h = x->h;
	const struct stream *a = answers(h);
	uint64_t now = x->in->start_ns;

	if (h->first)
		return false;
	if (h->exact && !h->unsure_head)
		return h->n_unsure == h->m_unsure && !a->orphan && a->mode == M_HEAD && !a->len;
	if (!clean)
		return false;
	if (h->n_unsure > h->m_unsure) {
		/* one came between the answers to others; but a HEAD may have swallowed an answer */
		h->overlap_maybe = !h->unsure_head;
		h->unsure_head = false;
		h->n_unsure = h->m_unsure = 0;
		return false;
	}
	return !h->overlap || (now && h->last_ns && now > h->last_ns && now - h->last_ns >= QUIET_NS);
}

void h1_request_begins(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	bool clean = x->at_start && h->answer_since && !h->hole_since;

	if (h->unsure)
		s->may_sync = may_sync(x, clean);
	else if (clean && h->first)
		h->overlap_maybe = true;
}

/* In step again: the answers' stream is at a message's start, whatever it was taken for. */
void h1_in_step(struct h1 *h)
{
	struct stream *a = answers(h);

	h->unsure = false;
	h->resynced = true;
	requests(h)->may_sync = false;
	a->orphan = false;
	if (a->mode != M_HEAD || a->len)
		h1_search(h, a);
}

/* Its answer, or a part of it, was already skipped. */
static bool came_late(struct h1 *h, const struct stream *s)
{
	uint64_t early = h->early_ns;

	h->early_ns = 0;
	if (by_number(h))
		return is_before(s->number, h->next_answer);
	return early && s->start_ns <= early; /* not known: rather lost than given a wrong answer */
}

static void push_request(struct cx *x, struct stream *s, const struct http1_head *head, bool readable)
{
	struct h1 *h = x->h;
	enum call_loss why = CALL_LOSS_PIPELINE;
	struct req *r = NULL;

	if (h->outstanding < OUTSTANDING_MAX && h->held <= HELD_MAX) {
		r = h1_req_new(h, s, head);
		why = CALL_LOSS_BUDGET;
	}
	if (!r) {
		h1_lose_head(x, s, why);
		h1_set_unsure(h);
		h->exact = true;
		h->n_unsure = 1;
		h->unsure_head = head->is_head || head->is_connect;
		return;
	}
	h1_queue_push(h, r);
	h->may_upgrade |= r->upgrade || r->is_connect;
	r->lost = !readable;
	if (r->lost)
		h1_lose_head(x, s, CALL_LOSS_HOLE);
	else
		h1_begin_call(x, r);
	s->ticket = false;
}

void h1_request_done(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;

	h1_tell_over(x);
	if (h->sending)
		h->sending->request_bytes = s->body;
	h->sending = NULL;
	s->refusable = false;
	s->mode = M_HEAD;
}

void h1_request_head(struct cx *x, struct stream *s, const struct http1_head *head)
{
	bool readable = !head->te_other && (head->chunked || !head->bad_length);
	struct h1 *h = x->h;

	h1_lose_over(x);
	h->sending = NULL;
	s->expect = head->expect_continue;
	s->refusable = false;
	s->body = 0;
	if (h->unsure && s->may_sync)
		h1_in_step(h);
	if (h->unsure) {
		h1_lose_head(x, s, h->exact ? CALL_LOSS_PIPELINE : CALL_LOSS_HOLE);
		h->n_unsure++;
		h->unsure_head |= head->is_head || head->is_connect;
	} else if (came_late(h, s)) {
		h1_lose_head(x, s, h->early_refused ? CALL_LOSS_BUDGET : CALL_LOSS_HOLE);
	} else {
		push_request(x, s, head, readable);
	}
	h->early_refused = false;
	s->remaining = 0;
	s->digits = 0;
	if (!readable) {
		h->sending = NULL;
		h1_search(h, s);
		h1_set_unsure(h);
	} else if (head->chunked) {
		s->mode = M_CHUNK_SIZE;
	} else if (head->length) {
		s->mode = M_BODY;
		s->remaining = head->length;
	} else {
		h1_request_done(x, s);
	}
}

void h1_answer_done(struct cx *x, struct stream *s, uint64_t end_ns)
{
	struct h1 *h = x->h;
	bool switched;

	s->mode = M_HEAD;
	h->overlap |= h->overlap_maybe;
	h->overlap_maybe = false;
	if (s->orphan) {
		s->orphan = false;
		h->m_unsure++;
		return;
	}
	if (!h->first)
		return;
	switched = h->first->status == 101 || (h->first->is_connect && h->first->status / 100 == 2);
	h1_first_answered(x, end_ns);
	h->synced = !h->unsure;
	h->leave |= switched;
	if (!h->first && !switched)
		h->may_upgrade = false;
}

/* An answer to nothing that is outstanding. */
static void orphan_begins(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	const struct stream *r = requests(h);

	s->orphan = true;
	if (h->unsure || by_number(h))
		return;
	if (role_of(h) == ROLE_CLIENT)
		h1_came_early(h, s->start_ns ? s->start_ns : x->in->end_ns, false);
	if (r->mode == M_HEAD && r->len)
		h1_set_unsure(h); /* it answers the request whose head is still coming */
	if (h->resynced && role_of(h) == ROLE_SERVER) {
		/* one too many: the guess that brought us in step was wrong here */
		h->overlap = true;
		h1_set_unsure(h);
	}
}

/* An answer to a head that is not complete (400, 414, 431): of the request, its first line is all there will be. */
static struct req *answered_early(struct cx *x)
{
	struct http1_head head = {0};
	struct h1 *h = x->h;
	struct stream *r = requests(h);

	if (h->unsure || h->torn || r->gap || r->mode != M_HEAD || !r->len || r->tentative != T_NONE ||
	    http1_request_line(r->buf, r->len, true, &head) <= 0)
		return NULL;
	push_request(x, r, &head, true);
	h->sending = NULL;
	r->body = 0;
	h1_search(h, r);
	return h->first;
}

static void answer_begins(struct cx *x, struct stream *s, const struct http1_head *head)
{
	struct h1 *h = x->h;
	struct stream *r = requests(h);
	struct req *q = h->first;

	s->body = 0;
	h->answers_gap = false;
	h->next_answer = s->number + 1;
	if (!q)
		q = answered_early(x);
	if (q && h->numbered && q->number != s->number) {
		if (h->torn) {
			s->orphan = true;
			return;
		}
		h1_stop_numbers(x);
	}
	if (!q) {
		orphan_begins(x, s);
		return;
	}
	s->orphan = false;
	q->status = head->status;
	q->answer_minor = head->minor;
	q->first_ns = s->start_ns;
	if (h->sending == q && r->expect && !r->body)
		r->refusable = true;
}

static bool has_body(const struct req *q, const struct http1_head *head)
{
	if (head->status < 200 || head->status == 204 || head->status == 304)
		return false;
	return !q || !(q->is_head || (q->is_connect && head->status / 100 == 2));
}

void h1_answer_head(struct cx *x, struct stream *s, const struct http1_head *head)
{
	struct h1 *h = x->h;
	struct stream *r = requests(h);

	h->confirmed = true;
	h1_tell_losses(x);
	s->mode = M_HEAD;
	s->last_ns = x->in->end_ns;
	if (head->status < 200 && head->status != 101) {
		if (head->status == 100 && h->sending && h->sending == h->first &&
		    !(by_number(h) && h->first->number != s->number))
			r->expect = false;
		return;
	}
	answer_begins(x, s, head);
	s->remaining = 0;
	s->digits = 0;
	if (s->orphan && head->status == 101) {
		if (r->ticket)
			h1_lose_request(x, r); /* this is its answer */
		h->leave = true;
	}
	if (s->orphan && by_number(h)) {
		/* whether it has a body is not known: to the next message */
		s->orphan = false;
		h1_search(h, s);
		return;
	}
	if (!has_body(s->orphan ? NULL : h->first, head))
		h1_answer_done(x, s, x->in->end_ns);
	else if (head->chunked)
		s->mode = M_CHUNK_SIZE;
	else if (head->te_other)
		s->mode = M_CLOSE;
	else if (head->bad_length)
		h1_lose_answers(x, s, CALL_LOSS_HOLE);
	else if (!head->has_length)
		s->mode = M_CLOSE;
	else if (!head->length)
		h1_answer_done(x, s, x->in->end_ns);
	else {
		s->mode = M_BODY;
		s->remaining = head->length;
	}
}
