// SPDX-License-Identifier: Apache-2.0
/*
 * Answers that come before their request: a client's second thread reads while the first has not told us yet what
 * it sent. They wait, with holes and times as they came, until a request shows or waiting makes no sense.
 */
#include "user/proto/http1_internal.h"

#define PARK_MAX (16 << 10)   /* answer bytes that came before their request */
#define RACE_NS	 100000000ULL /* how much later than its answer a request may show */

struct parked {
	uint64_t start_ns, end_ns;
	uint64_t len;
	uint64_t note;
	bool hole;
};

bool h1_must_park(struct h1 *h)
{
	if (by_number(h))
		return h->req_dir == FLOW_SEND && h->synced && !h->first &&
		       !is_before(answers(h)->number, h->next_request);
	return h->req_dir == FLOW_SEND && h->synced && !h->first && !h->unsure && !h->early_ns;
}

static struct parked park_first(const struct h1 *h)
{
	struct parked k;

	memcpy(&k, h->park, sizeof(k));
	return k;
}

/* Takes what waited as if it came now. */
void h1_replay(struct cx *x)
{
	struct h1 *h = x->h;
	uint32_t len = h->park_len, cap = h->park_cap, at = 0;
	uint8_t *buf = TAKE_PTR(h->park);
	struct parked k;

	h->park_len = h->park_cap = 0;
	while (at < len && !h->leave) {
		struct flow_data in = {.dir = !h->req_dir, .data = buf + at + sizeof(k)};
		struct cx y = {h, x->flow, x->sink, &in, true};

		memcpy(&k, buf + at, sizeof(k));
		in.len = k.hole ? 0 : k.len;
		in.start_ns = k.start_ns;
		in.end_ns = k.end_ns;
		in.note = k.note;
		at += sizeof(k) + (uint32_t)in.len;
		if (k.hole)
			h1_hole_stream(&y, answers(h), k.len);
		else if (h->park_len)
			h1_park(&y, in.data, in.len, 0);
		else
			h1_piece(&y, answers(h));
	}
	proto_free(h->budget, buf, cap);
}

/* Enough waited for: nobody's answer. Its request will be late, and counted. */
static void park_give_up(struct cx *x, bool refused)
{
	struct h1 *h = x->h;

	h1_came_early(h, h->park_len ? park_first(h).end_ns : x->in->end_ns, refused);
	h->synced = false;
	h1_replay(x);
}

void h1_park(struct cx *x, const uint8_t *p, size_t n, uint64_t hole)
{
	struct h1 *h = x->h;
	struct parked k = {
		.start_ns = x->in->start_ns,
		.end_ns = x->in->end_ns,
		.len = hole ? hole : n,
		.note = x->at_start ? x->in->note : 0,
		.hole = hole,
	};
	size_t need = h->park_len + sizeof(k) + n, cap = MIN(PARK_MAX, need * 2);
	uint8_t *buf = h->park;

	if (need > h->park_cap) {
		buf = need <= PARK_MAX ? proto_resize(h->budget, h->park, h->park_cap, cap) : NULL;
		if (!buf) {
			park_give_up(x, need <= PARK_MAX);
			if (hole)
				h1_hole_stream(x, answers(h), hole);
			else if (h1_feed(x, answers(h), p, n))
				h->leave = true;
			return;
		}
		h->park = buf;
		h->park_cap = (uint32_t)cap;
	}
	memcpy(buf + h->park_len, &k, sizeof(k));
	if (n)
		memcpy(buf + h->park_len + sizeof(k), p, n);
	h->park_len = (uint32_t)need;
}

/* A request long after an answer is not what that answers (a server's 408 on an idle connection). */
void h1_park_expire(struct cx *x, const struct stream *s)
{
	struct h1 *h = x->h;

	if (!h->park_len || h->first || by_number(h) || !s->start_ns || s->start_ns <= park_first(h).end_ns + RACE_NS)
		return;
	h->synced = false;
	h1_replay(x);
}

void h1_drop_park(struct h1 *h)
{
	proto_free(h->budget, h->park, h->park_cap);
	h->park = NULL;
	h->park_len = h->park_cap = 0;
}
