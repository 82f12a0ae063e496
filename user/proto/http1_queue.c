// SPDX-License-Identifier: Apache-2.0
/*
 * The requests whose answers are outstanding, in their order, and how each of them gets out: told as a call, or
 * counted as lost. What is lost beside it: heads that never came into the queue, and the knowledge which
 * answer belongs to which request (h1_set_unsure()).
 */
#include "user/proto/http1_internal.h"

static struct http1_calls calls_of(const struct cx *x)
{
	return (struct http1_calls){x->flow, x->sink, role_of(x->h), x->h->peer_text};
}

void h1_begin_call(struct cx *x, struct req *r)
{
	struct http1_calls k = calls_of(x);

	http1_call_begin(&k, r);
}

static void drop_call(struct cx *x, struct req *r)
{
	struct http1_calls k = calls_of(x);

	http1_call_drop(&k, r);
}

static void end_call(struct cx *x, struct req *r, uint64_t end_ns, struct str error)
{
	struct http1_calls k = calls_of(x);

	if (x->h->sending == r)
		r->request_bytes = requests(x->h)->body;
	http1_call_end(&k, r, end_ns, answers(x->h)->body, error);
}

struct req *h1_req_new(const struct h1 *h, const struct stream *s, const struct http1_head *head)
{
	struct req *r = http1_req_new(h->budget, head);

	if (!r)
		return NULL;
	r->start_ns = s->start_ns;
	r->wait_ns = s->wait_ns;
	r->pid = s->pid;
	r->tid = s->tid;
	r->number = s->number;
	return r;
}

static void lost(struct cx *x, enum call_loss why)
{
	if (x->h->confirmed)
		x->sink->lost(x->sink, x->flow, why, 1);
	else
		x->h->unproved[why]++;
}

/* It is HTTP, as far as anybody will know. */
void h1_tell_losses(struct cx *x)
{
	for (int i = 0; i < CALL_LOSS_MAX; i++) {
		if (x->h->unproved[i])
			x->sink->lost(x->sink, x->flow, i, x->h->unproved[i]);
		x->h->unproved[i] = 0;
	}
}

static struct req *take_first(struct h1 *h)
{
	struct req *r = h->first;

	h->first = r->next;
	if (!h->first)
		h->last = NULL;
	if (h->sending == r)
		h->sending = NULL;
	h->outstanding--;
	h->held -= r->size;
	return r;
}

static void pop(struct h1 *h)
{
	struct req *r = take_first(h);

	proto_free(h->budget, r, r->size);
}

void h1_lose_call(struct cx *x, struct req *r, enum call_loss why)
{
	if (r->lost)
		return;
	r->lost = true;
	drop_call(x, r);
	lost(x, why);
}

void h1_lose_first(struct cx *x, enum call_loss why)
{
	h1_lose_call(x, x->h->first, why);
	pop(x->h);
}

/* It was no request. */
void h1_drop_first(struct cx *x)
{
	if (!x->h->first->lost)
		drop_call(x, x->h->first);
	pop(x->h);
}

/* A request whose head is not, or will not be, in the queue. */
void h1_lose_head(struct cx *x, struct stream *s, enum call_loss why)
{
	if (x->h->noted && !s->ticket)
		return;
	s->ticket = false;
	lost(x, why);
}

/* The first in the queue is over. */
void h1_end_first(struct cx *x, uint64_t end_ns, struct str error)
{
	struct h1 *h = x->h;

	if (h->sending == h->first && requests(h)->gap)
		h1_lose_call(x, h->first, CALL_LOSS_HOLE); /* how much of its body passed is not known */
	else if (!h->first->lost)
		end_call(x, h->first, end_ns, error);
	pop(h);
}

/* The first in the queue is answered. If its own body is still under way, that decides how large it is. */
void h1_first_answered(struct cx *x, uint64_t end_ns)
{
	struct h1 *h = x->h;

	if (h->sending != h->first || h->first->lost || requests(h)->refusable || requests(h)->gap || requests(h)->ended) {
		h1_end_first(x, end_ns, (struct str){0});
		return;
	}
	h->over_ns = end_ns;
	h->over_bytes = answers(h)->body;
	h->over = take_first(h);
}

/* Its body is over, or nothing more of it will come. */
void h1_tell_over(struct cx *x)
{
	struct http1_calls k = calls_of(x);
	struct h1 *h = x->h;
	struct req *r = h->over;

	if (!r)
		return;
	h->over = NULL;
	r->request_bytes = requests(h)->body;
	http1_call_end(&k, r, h->over_ns, h->over_bytes, (struct str){0});
	proto_free(h->budget, r, r->size);
}

/* How much of its body passed is not known. */
void h1_lose_over(struct cx *x)
{
	struct req *r = x->h->over;

	if (!r)
		return;
	x->h->over = NULL;
	h1_lose_call(x, r, CALL_LOSS_HOLE);
	proto_free(x->h->budget, r, r->size);
}

void h1_queue_push(struct h1 *h, struct req *r)
{
	if (h->last)
		h->last->next = r;
	else
		h->first = r;
	h->last = r;
	h->outstanding++;
	h->held += r->size;
	h->sending = r;
}

void h1_free_part(const struct h1 *h, struct stream *s)
{
	proto_free(h->budget, s->buf, s->cap);
	s->buf = NULL;
	s->len = s->cap = 0;
	s->scanned = 0;
	s->line_ok = false;
	s->tentative = T_NONE;
}

void h1_search(const struct h1 *h, struct stream *s)
{
	h1_free_part(h, s);
	s->mode = M_SEARCH;
}

/* From here on it is not known how many requests and answers went by. */
void h1_set_unsure(struct h1 *h)
{
	if (h->numbered) {
		h->torn = true;
		return;
	}
	h->unsure = true;
	h->exact = false;
	h->unsure_head = false;
	h->n_unsure = h->m_unsure = 0;
	h->synced = false;
	if (h->req_dir != DIR_UNKNOWN)
		requests(h)->may_sync = false;
}

/* Bytes of the request direction are missing, or cannot be understood. */
void h1_lose_request(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;

	if (h->noted ? s->ticket : s->mode == M_HEAD && s->len) /* what is kept of a head can always be a request's */
		h1_lose_head(x, s, CALL_LOSS_HOLE);
	else if (s->mode != M_HEAD && h->sending)
		h1_lose_call(x, h->sending, CALL_LOSS_HOLE);
	h1_lose_over(x);
	h->sending = NULL;
	s->refusable = false;
	h1_search(h, s);
	h1_set_unsure(h);
}

/* The answer under way is lost; the next one's number tells which others were. */
static void lose_answer(struct cx *x, struct stream *s, enum call_loss why)
{
	struct h1 *h = x->h;
	struct req *q = s->orphan ? NULL : h->first;
	bool head = s->mode == M_HEAD && (s->len || why == CALL_LOSS_BUDGET);

	if (q && (q->status || (head && q->number == s->number)))
		h1_lose_first(x, why);
	h->torn = true;
	h->answers_gap = true;
	s->orphan = false;
	h1_search(h, s);
}

/* The kernel's half was mistaken, or has not seen all bytes: numbers tell nothing from here on. */
void h1_stop_numbers(struct cx *x)
{
	struct h1 *h = x->h;

	if (!h->numbered)
		return;
	h->numbered = false;
	if (!h->torn)
		return;
	while (h->answers_gap && h->first)
		h1_lose_first(x, CALL_LOSS_HOLE);
	h1_set_unsure(h);
}

static uint64_t known_or_late(uint64_t ns)
{
	return ns != TIME_UNKNOWN ? ns : UINT64_MAX;
}

void h1_came_early(struct h1 *h, uint64_t ns, bool refused)
{
	h->early_refused = refused || (h->early_ns && h->early_refused);
	h->early_ns = known_or_late(ns);
}

/*
 * The same of the answer direction. Any number of answers may have gone by, so that none of the
 * requests that wait for one can be sure of the next. With nothing outstanding the bytes belong to a
 * request that did not come here yet, or to none.
 */
void h1_lose_answers(struct cx *x, struct stream *s, enum call_loss why)
{
	struct h1 *h = x->h;
	const struct stream *r = requests(h);

	if (h->numbered) {
		lose_answer(x, s, why);
		return;
	}
	if (h->first || h->unsure || (r->mode == M_HEAD && r->len))
		h1_set_unsure(h);
	else if (role_of(h) == ROLE_CLIENT)
		h1_came_early(h, x->in->end_ns, why == CALL_LOSS_BUDGET);
	while (h->first) {
		h1_lose_first(x, why);
		why = CALL_LOSS_HOLE;
	}
	s->orphan = false;
	h->overlap_maybe = false;
	h1_search(h, s);
}
