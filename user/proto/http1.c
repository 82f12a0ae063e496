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
 * never came here were counted by the kernel's half; answers to them are skipped silently.
 *
 * The kernel half's word (bpf/shared/note.h) is believed where bytes are missing. NOTE_CHUNK heals a hole in a
 * chunked body. NOTE_HEAD is where a message begins, and there only: `ticket` is a request of which that came
 * and that is neither in the queue nor counted. While messages are numbered, the connection is never
 * unsure: from the first loss on (`torn`) an answer belongs to the request of its number, and a hole costs the
 * messages that it touches and nothing else. Without losses the order of the bytes decides: the
 * kernel's half may take a body for a message, and its numbers are given up when they contradict.
 */
#include "bpf/shared/note.h"
#include "user/proto/http1_call.h"

#define HEAD_MAX	(64 << 10)
#define OUTSTANDING_MAX 256
#define HELD_MAX	(256 << 10) /* bytes of outstanding requests, per connection */
#define PARK_MAX	(16 << 10)  /* answer bytes that came before their request */
#define STRIKES_MAX	16 /* looks at a connection joined late that shows nothing */
#define QUIET_NS	1000000000ULL
#define RACE_NS		100000000ULL /* how much later than its answer a request may show */

enum mode {
	M_HEAD, /* at a message's start, or inside its head */
	M_BODY, /* `remaining` bytes to go */
	M_CHUNK_SIZE,
	M_CHUNK_EXT,
	M_CHUNK_LF,   /* behind the CR of a chunk-size line */
	M_CHUNK_DATA, /* `remaining` bytes to go */
	M_CHUNK_END,  /* the line end behind a chunk's data */
	M_TRAILER,
	M_CLOSE,  /* body up to the connection's end */
	M_NOTE,	  /* a chunked body with a hole: only a note tells where we are */
	M_SEARCH, /* skip, but a message may start where a piece starts */
	M_DEAD,	  /* not HTTP any longer: skip all */
};

/* A head that may turn out to be none. */
enum tentative { T_NONE, T_SEARCH, T_BODY };

#define DIR_UNKNOWN 2 /* h1.req_dir */

struct stream {
	uint64_t remaining;
	uint64_t body;	   /* payload bytes of this message so far */
	uint64_t start_ns; /* first byte of this message */
	uint64_t wait_ns;
	uint64_t last_ns;
	uint32_t pid, tid;
	uint8_t *buf; /* part of a head */
	uint32_t len;
	uint32_t cap;
	size_t scanned;
	uint8_t mode;
	uint8_t tentative;
	uint8_t body_mode; /* T_BODY: what to go back to */
	uint8_t digits;	   /* chunk-size line: digits; chunk end and trailer: sub-state */
	bool line_ok;	   /* the part begins with a whole, valid first line */
	bool may_sync;
	bool orphan;	/* answer to a request that is not in the queue */
	bool expect;	/* request: waits for 100 (Continue) */
	bool refusable; /* request: it was answered without it, the body may never come */
	bool hole;	/* bytes were missing before the role was known */
	bool hole_last; /* and none came since */
	bool seen;	/* a piece or a hole came */
	bool ended;
	bool ticket; /* request: it is known that it began, it is neither in the queue nor counted */
	bool gap;    /* records were lost since the last piece or hole */
	uint32_t number;
};

struct h1 {
	struct stream s[2]; /* by enum flow_dir */
	struct req *first, *last;
	struct req *sending; /* the request whose body is under way; NULL: none, or its call is over */
	uint8_t *park;	     /* struct parked + bytes, repeated */
	uint32_t park_len, park_cap;
	uint32_t outstanding, held;
	uint32_t n_unsure, m_unsure; /* requests and answers since unsure */
	uint64_t early_ns;	     /* an answer, or bytes of one, came before its request; 0: none did */
	uint64_t last_ns;	     /* of anything */
	uint8_t req_dir;
	uint8_t strikes;
	bool confirmed; /* a status line was seen */
	bool synced;	/* answers that come before their request are worth waiting for */
	bool unsure;
	bool exact;	    /* nothing is missing: n_unsure says all */
	bool unsure_head;   /* among those a HEAD: the framing of answers may be wrong */
	bool resynced;	    /* was unsure before */
	bool overlap;	    /* a request came between answers to earlier ones: it does not tell that these are over */
	bool overlap_maybe; /* it seems so, unless the rest of the answer under way is lost */
	bool answer_since;  /* answer bytes came since the last request bytes */
	bool hole_since;    /* request bytes went missing since the last ones that came */
	bool may_upgrade;   /* a CONNECT or Upgrade was sent: anything may follow */
	bool peer_fin;
	bool noted;	  /* message starts are told: there is none where none is told */
	bool numbered;	  /* and messages are numbered */
	bool torn;	  /* something is missing: only numbers tell what belongs together */
	bool answers_gap; /* answers may have gone by since the last one that began */
	uint32_t next_request, next_answer; /* numbers behind the last ones that began */
	bool leave; /* the connection stops being HTTP */
	char peer_text[HTTP1_PEER_TEXT];
};
_Static_assert(sizeof(struct h1) <= 512, "state of a connection is kept small");

struct parked {
	uint64_t start_ns, end_ns;
	uint64_t len;
	uint64_t note;
	bool hole;
};

/* What one call of the decoder works on. */
struct cx {
	struct h1 *h;
	const struct flow *flow;
	struct call_sink *sink;
	const struct flow_data *in;
	bool at_start; /* nothing but line ends of the piece was taken yet */
};

static int feed(struct cx *x, struct stream *s, const uint8_t *p, size_t n);
static void replay(struct cx *x);
static void park(struct cx *x, const uint8_t *p, size_t n, uint64_t hole);

/* --- calls --- */

static enum call_role role_of(const struct h1 *h)
{
	return h->req_dir == FLOW_RECV ? ROLE_SERVER : ROLE_CLIENT;
}

static struct stream *requests(struct h1 *h)
{
	return &h->s[h->req_dir];
}

static struct stream *answers(struct h1 *h)
{
	return &h->s[!h->req_dir];
}

static struct http1_calls calls_of(const struct cx *x)
{
	return (struct http1_calls){x->flow, x->sink, role_of(x->h), x->h->peer_text};
}

static void begin_call(struct cx *x, struct req *r)
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

static struct req *req_new(const struct stream *s, const struct http1_head *head)
{
	struct req *r = http1_req_new(head);

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
	x->sink->lost(x->sink, x->flow, why, 1);
}

/* --- the queue of outstanding requests --- */

static bool is_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* Answers are told by their numbers, no longer by their order. */
static bool by_number(const struct h1 *h)
{
	return h->numbered && h->torn;
}

static void pop(struct h1 *h)
{
	struct req *r = h->first;

	h->first = r->next;
	if (!h->first)
		h->last = NULL;
	if (h->sending == r)
		h->sending = NULL;
	h->outstanding--;
	h->held -= r->size;
	free(r);
}

static void lose_call(struct cx *x, struct req *r, enum call_loss why)
{
	if (r->lost)
		return;
	r->lost = true;
	drop_call(x, r);
	lost(x, why);
}

static void lose_first(struct cx *x, enum call_loss why)
{
	lose_call(x, x->h->first, why);
	pop(x->h);
}

/* A request whose head is not, or will not be, in the queue. */
static void lose_head(struct cx *x, struct stream *s, enum call_loss why)
{
	if (x->h->noted && !s->ticket)
		return;
	s->ticket = false;
	lost(x, why);
}

/* The first in the queue is over. */
static void end_first(struct cx *x, uint64_t end_ns, struct str error)
{
	struct h1 *h = x->h;

	if (h->sending == h->first && requests(h)->gap)
		lose_call(x, h->first, CALL_LOSS_HOLE); /* how much of its body passed is not known */
	else if (!h->first->lost)
		end_call(x, h->first, end_ns, error);
	pop(h);
}

/* --- losses --- */

static void free_part(struct stream *s)
{
	free(s->buf);
	s->buf = NULL;
	s->len = s->cap = 0;
	s->scanned = 0;
	s->line_ok = false;
	s->tentative = T_NONE;
}

static void search(struct stream *s)
{
	free_part(s);
	s->mode = M_SEARCH;
}

static void drop_park(struct h1 *h)
{
	free(h->park);
	h->park = NULL;
	h->park_len = h->park_cap = 0;
}

/* From here on it is not known how many requests and answers went by. */
static void set_unsure(struct h1 *h)
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
static void lose_request(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;

	if (h->noted ? s->ticket : s->mode == M_HEAD && s->len) /* what is kept of a head can always be a request's */
		lose_head(x, s, CALL_LOSS_HOLE);
	else if (s->mode != M_HEAD && h->sending)
		lose_call(x, h->sending, CALL_LOSS_HOLE);
	h->sending = NULL;
	s->refusable = false;
	search(s);
	set_unsure(h);
}

/* The answer under way is lost; the next one's number tells which others were. */
static void lose_answer(struct cx *x, struct stream *s, enum call_loss why)
{
	struct h1 *h = x->h;
	struct req *q = s->orphan ? NULL : h->first;

	if (q && (q->status || (s->mode == M_HEAD && s->len && q->number == s->number)))
		lose_first(x, why);
	h->torn = true;
	h->answers_gap = true;
	s->orphan = false;
	search(s);
}

/* The kernel's half was mistaken, or has not seen all bytes: numbers tell nothing from here on. */
static void stop_numbers(struct cx *x)
{
	struct h1 *h = x->h;

	if (!h->numbered)
		return;
	h->numbered = false;
	if (!h->torn)
		return;
	while (h->answers_gap && h->first)
		lose_first(x, CALL_LOSS_HOLE);
	set_unsure(h);
}

static uint64_t known_or_late(uint64_t ns)
{
	return ns != TIME_UNKNOWN ? ns : UINT64_MAX;
}

/*
 * The same of the answer direction. Any number of answers may have gone by, so that none of the
 * requests that wait for one can be sure of the next. With nothing outstanding the bytes belong to a
 * request that did not come here yet, or to none.
 */
static void lose_answers(struct cx *x, struct stream *s, enum call_loss why)
{
	struct h1 *h = x->h;
	const struct stream *r = requests(h);

	if (h->numbered) {
		lose_answer(x, s, why);
		return;
	}
	if (h->first || h->unsure || (r->mode == M_HEAD && r->len))
		set_unsure(h);
	else if (role_of(h) == ROLE_CLIENT)
		h->early_ns = known_or_late(x->in->end_ns);
	while (h->first) {
		lose_first(x, why);
		why = CALL_LOSS_HOLE;
	}
	s->orphan = false;
	h->overlap_maybe = false;
	search(s);
}

/* --- requests --- */

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

static void request_begins(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	bool clean = x->at_start && h->answer_since && !h->hole_since;

	if (h->unsure)
		s->may_sync = may_sync(x, clean);
	else if (clean && h->first)
		h->overlap_maybe = true;
}

/* In step again: the answers' stream is at a message's start, whatever it was taken for. */
static void in_step(struct h1 *h)
{
	struct stream *a = answers(h);

	h->unsure = false;
	h->resynced = true;
	requests(h)->may_sync = false;
	a->orphan = false;
	if (a->mode != M_HEAD || a->len)
		search(a);
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

static void queue_push(struct h1 *h, struct req *r)
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

static void push_request(struct cx *x, struct stream *s, const struct http1_head *head, bool readable)
{
	struct h1 *h = x->h;
	enum call_loss why = CALL_LOSS_PIPELINE;
	struct req *r = NULL;

	if (h->outstanding < OUTSTANDING_MAX && h->held <= HELD_MAX) {
		r = req_new(s, head);
		why = CALL_LOSS_MEMORY;
	}
	if (!r) {
		lose_head(x, s, why);
		set_unsure(h);
		h->exact = true;
		h->n_unsure = 1;
		h->unsure_head = head->is_head || head->is_connect;
		return;
	}
	queue_push(h, r);
	h->may_upgrade |= r->upgrade || r->is_connect;
	r->lost = !readable;
	if (r->lost)
		lose_head(x, s, CALL_LOSS_HOLE);
	else
		begin_call(x, r);
	s->ticket = false;
}

static void request_done(struct h1 *h, struct stream *s)
{
	if (h->sending)
		h->sending->request_bytes = s->body;
	h->sending = NULL;
	s->refusable = false;
	s->mode = M_HEAD;
}

static void request_head(struct cx *x, struct stream *s, const struct http1_head *head)
{
	bool readable = !head->te_other && (head->chunked || !head->bad_length);
	struct h1 *h = x->h;

	h->sending = NULL;
	s->expect = head->expect_continue;
	s->refusable = false;
	s->body = 0;
	if (h->unsure && s->may_sync)
		in_step(h);
	if (h->unsure) {
		lose_head(x, s, h->exact ? CALL_LOSS_PIPELINE : CALL_LOSS_HOLE);
		h->n_unsure++;
		h->unsure_head |= head->is_head || head->is_connect;
	} else if (came_late(h, s)) {
		lose_head(x, s, CALL_LOSS_HOLE);
	} else {
		push_request(x, s, head, readable);
	}
	s->remaining = 0;
	s->digits = 0;
	if (!readable) {
		h->sending = NULL;
		search(s);
		set_unsure(h);
	} else if (head->chunked) {
		s->mode = M_CHUNK_SIZE;
	} else if (head->length) {
		s->mode = M_BODY;
		s->remaining = head->length;
	} else {
		request_done(h, s);
	}
}

/* --- answers --- */

static void answer_done(struct cx *x, struct stream *s, uint64_t end_ns)
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
	end_first(x, end_ns, (struct str){0});
	h->synced = !h->unsure;
	h->leave |= switched || (!h->first && requests(h)->mode == M_DEAD);
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
		h->early_ns = known_or_late(s->start_ns ? s->start_ns : x->in->end_ns);
	if (r->mode == M_HEAD && r->len)
		set_unsure(h); /* it answers the request whose head is still coming */
	if (h->resynced && role_of(h) == ROLE_SERVER) {
		/* one too many: the guess that brought us in step was wrong here */
		h->overlap = true;
		set_unsure(h);
	}
}

static void answer_begins(struct cx *x, struct stream *s, const struct http1_head *head)
{
	struct h1 *h = x->h;
	struct stream *r = requests(h);
	struct req *q = h->first;

	s->body = 0;
	h->answers_gap = false;
	h->next_answer = s->number + 1;
	if (q && h->numbered && q->number != s->number) {
		if (h->torn) {
			s->orphan = true;
			return;
		}
		stop_numbers(x);
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

static void answer_head(struct cx *x, struct stream *s, const struct http1_head *head)
{
	struct h1 *h = x->h;
	struct stream *r = requests(h);

	h->confirmed = true;
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
			lose_request(x, r); /* this is its answer */
		h->leave = true;
	}
	if (s->orphan && by_number(h)) {
		/* whether it has a body is not known: to the next message */
		s->orphan = false;
		search(s);
		return;
	}
	if (!has_body(s->orphan ? NULL : h->first, head))
		answer_done(x, s, x->in->end_ns);
	else if (head->chunked)
		s->mode = M_CHUNK_SIZE;
	else if (head->te_other)
		s->mode = M_CLOSE;
	else if (head->bad_length)
		lose_answers(x, s, CALL_LOSS_HOLE);
	else if (!head->has_length)
		s->mode = M_CLOSE;
	else if (!head->length)
		answer_done(x, s, x->in->end_ns);
	else {
		s->mode = M_BODY;
		s->remaining = head->length;
	}
}

/* --- answers that come before their request: two threads of a client --- */

static void hole_stream(struct cx *x, struct stream *s, uint64_t len);
static void piece(struct cx *x, struct stream *s);

static bool must_park(struct h1 *h)
{
	if (by_number(h))
		return h->req_dir == FLOW_SEND && h->synced && !h->first && !is_before(answers(h)->number, h->next_request);
	return h->req_dir == FLOW_SEND && h->synced && !h->first && !h->unsure && !h->early_ns;
}

static struct parked park_first(const struct h1 *h)
{
	struct parked k;

	memcpy(&k, h->park, sizeof(k));
	return k;
}

/* Takes what waited as if it came now. */
static void replay(struct cx *x)
{
	struct h1 *h = x->h;
	_free_ uint8_t *buf = TAKE_PTR(h->park);
	uint32_t len = h->park_len, at = 0;
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
			hole_stream(&y, answers(h), k.len);
		else if (h->park_len)
			park(&y, in.data, in.len, 0);
		else
			piece(&y, answers(h));
	}
}

/* Enough waited for: nobody's answer. Its request will be late, and counted. */
static void park_give_up(struct cx *x)
{
	struct h1 *h = x->h;

	h->early_ns = known_or_late(h->park_len ? park_first(h).end_ns : x->in->end_ns);
	h->synced = false;
	replay(x);
}

static void park(struct cx *x, const uint8_t *p, size_t n, uint64_t hole)
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
		buf = need <= PARK_MAX ? realloc(h->park, cap) : NULL;
		if (!buf) {
			park_give_up(x);
			if (hole)
				hole_stream(x, answers(h), hole);
			else if (feed(x, answers(h), p, n))
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
static void park_expire(struct cx *x, const struct stream *s)
{
	struct h1 *h = x->h;

	if (!h->park_len || h->first || by_number(h) || !s->start_ns || s->start_ns <= park_first(h).end_ns + RACE_NS)
		return;
	h->synced = false;
	replay(x);
}

/* --- heads --- */

static void mark_start(struct cx *x, struct stream *s)
{
	const struct flow_data *in = x->in;

	s->start_ns = in->start_ns;
	s->wait_ns = x->at_start && in->dir == FLOW_RECV ? in->wait_ns : WAIT_UNKNOWN;
	s->pid = in->pid;
	s->tid = in->tid;
	s->may_sync = false;
	if (x->h->req_dir != DIR_UNKNOWN && s == requests(x->h))
		request_begins(x, s);
}

static void set_role(struct cx *x, uint8_t req_dir)
{
	struct h1 *h = x->h;
	struct stream *other = &h->s[!x->in->dir];

	h->req_dir = req_dir;
	if (!x->flow->from_start && !other->len)
		other->mode = M_SEARCH;
	h->answers_gap |= answers(h)->hole;
	if (requests(h)->hole) {
		set_unsure(h);
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
			set_role(x, x->in->dir);
		if (r >= 0)
			return r;
		r = http1_status_line(p, n, ret);
		if (r > 0)
			set_role(x, !x->in->dir);
		return r;
	}
	if (s == requests(h))
		return http1_request_line(p, n, h->confirmed && s->tentative == T_NONE, ret);
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
		park_expire(x, s);
		request_head(x, s, &head);
	} else {
		if (must_park(h) && !body) {
			/* it began when the role was not known */
			struct flow_data in = *x->in;
			struct cx y = {h, x->flow, x->sink, &in, false};

			in.start_ns = s->start_ns; /* where the head began */
			park(&y, p, (size_t)(line + fields), 0);
			s->mode = M_HEAD;
			return line + fields;
		}
		answer_head(x, s, &head);
	}
	return line + fields;
}

/* These bytes were looked at for a request, but they are the body that was announced. */
static void back_to_body(struct cx *x, struct stream *s)
{
	_free_ uint8_t *buf = TAKE_PTR(s->buf);
	size_t len = s->len;

	free_part(s);
	s->refusable = false;
	s->ticket = false;
	stop_numbers(x);
	s->mode = s->body_mode;
	if (len && feed(x, s, buf, len))
		x->h->leave = true;
}

/* Not the message that must begin here. What is left of the piece, or -EPROTO. */
static ssize_t no_request(struct cx *x, struct stream *s, size_t n)
{
	struct h1 *h = x->h;

	if (!h->first || !(h->confirmed || h->may_upgrade))
		return -EPROTO;
	search(s);
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
		back_to_body(x, s);
		return (ssize_t)n;
	}
	if (!h->confirmed && ++h->strikes > STRIKES_MAX)
		return -EPROTO;
	if (unknown && x->flow->from_start && !searching)
		return -EPROTO;
	if (unknown || (searching && s == requests(h))) {
		search(s);
		return (ssize_t)n;
	}
	if (s == requests(h))
		return no_request(x, s, n);
	if (!h->confirmed && !searching)
		return -EPROTO;
	if (h->first)
		lose_answers(x, s, CALL_LOSS_HOLE);
	search(s);
	return (ssize_t)n;
}

static ssize_t head_too_large(struct cx *x, struct stream *s, size_t n)
{
	struct http1_head head = {0};
	struct h1 *h = x->h;
	struct req *r;

	if (h->req_dir == DIR_UNKNOWN)
		return no_message(x, s, n);
	if (s != requests(h)) {
		lose_answers(x, s, CALL_LOSS_HEAD_TOO_LARGE);
		return (ssize_t)n;
	}
	lose_head(x, s, CALL_LOSS_HEAD_TOO_LARGE);
	if (h->unsure && s->may_sync)
		in_step(h);
	if (!h->unsure && http1_request_line(s->buf, s->len, true, &head) > 0) {
		/* its answer comes all the same */
		r = req_new(s, &head);
		if (r) {
			r->lost = true;
			queue_push(h, r);
		}
	}
	h->sending = NULL;
	search(s);
	set_unsure(h);
	return (ssize_t)n;
}

static int append(struct stream *s, const uint8_t *p, size_t n)
{
	if (s->len + n > s->cap) {
		size_t cap = CLAMP((s->len + n) * 2, (size_t)256, (size_t)HEAD_MAX);
		uint8_t *buf = realloc(s->buf, cap);

		if (!buf)
			return -ENOMEM;
		s->buf = buf;
		s->cap = (uint32_t)cap;
	}
	memcpy(s->buf + s->len, p, n);
	s->len += (uint32_t)n;
	return 0;
}

static ssize_t no_memory(struct cx *x, struct stream *s, size_t n)
{
	if (x->h->req_dir != DIR_UNKNOWN && s != requests(x->h)) {
		lose_answers(x, s, CALL_LOSS_MEMORY);
	} else {
		lose_head(x, s, CALL_LOSS_MEMORY);
		search(s);
		set_unsure(x->h);
	}
	return (ssize_t)n;
}

/* A head that was split: `p` continues what is kept. */
static ssize_t on_head_rest(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	size_t had = s->len, take = MIN(n, HEAD_MAX - had), end;
	ssize_t r;

	if (append(s, p, take))
		return no_memory(x, s, n);
	end = http1_head_end(s->buf, s->len, &s->scanned);
	if (end) {
		_free_ uint8_t *buf = TAKE_PTR(s->buf);
		uint32_t len = s->len, cap = s->cap;

		s->len = s->cap = 0;
		s->scanned = 0;
		r = head(x, s, buf, end);
		if (r > 0)
			return (ssize_t)(end - had);
		s->buf = TAKE_PTR(buf);
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

static ssize_t on_head(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	size_t take = MIN(n, (size_t)HEAD_MAX);
	ssize_t r;

	if (s->len)
		return on_head_rest(x, s, p, n);
	if (x->h->req_dir != DIR_UNKNOWN && s == answers(x->h) && must_park(x->h) && s->tentative != T_BODY) {
		park(x, p, n, 0);
		return (ssize_t)n;
	}
	mark_start(x, s);
	r = head(x, s, p, take);
	if (r > 0)
		return r;
	if (r < 0)
		return no_message(x, s, n);
	if (append(s, p, take))
		return no_memory(x, s, n);
	s->scanned = s->len;
	return s->len == HEAD_MAX ? head_too_large(x, s, take) : (ssize_t)take;
}

/* --- bodies --- */

static void message_end(struct cx *x, struct stream *s)
{
	if (s == requests(x->h))
		request_done(x->h, s);
	else
		answer_done(x, s, x->in->end_ns);
}

static void lose_message(struct cx *x, struct stream *s)
{
	if (s == requests(x->h))
		lose_request(x, s);
	else
		lose_answers(x, s, CALL_LOSS_HOLE);
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

static void chunk_line_end(struct stream *s)
{
	s->digits = 0;
	s->mode = s->remaining ? M_CHUNK_DATA : M_TRAILER;
}

static bool chunk_size_byte(struct stream *s, uint8_t c)
{
	uint8_t low = c | 0x20, v;

	if (c >= '0' && c <= '9')
		v = c - '0';
	else if (low >= 'a' && low <= 'f')
		v = low - 'a' + 10;
	else if (!s->digits)
		return false;
	else {
		if (c == '\n')
			chunk_line_end(s);
		else if (c == '\r')
			s->mode = M_CHUNK_LF;
		else if (c == ';' || c == ' ' || c == '\t')
			s->mode = M_CHUNK_EXT;
		else
			return false;
		return true;
	}
	if (s->digits == 16 || s->remaining >> 59)
		return false;
	s->digits++;
	s->remaining = s->remaining << 4 | v;
	return true;
}

enum { AT_LINE_START, IN_LINE, AFTER_CR };

/* Behind the last chunk: fields, then an empty line. True at its end. */
static bool trailer_byte(struct stream *s, uint8_t c)
{
	if (c == '\n') {
		if (s->digits != IN_LINE)
			return true;
		s->digits = AT_LINE_START;
	} else {
		s->digits = c == '\r' && s->digits == AT_LINE_START ? AFTER_CR : IN_LINE;
	}
	return false;
}

/* One byte of what frames chunks. False: it cannot be. */
static bool chunk_byte(struct cx *x, struct stream *s, uint8_t c)
{
	switch (s->mode) {
	case M_CHUNK_SIZE:
		return chunk_size_byte(s, c);
	case M_CHUNK_EXT:
		if (c == '\n')
			chunk_line_end(s);
		return true;
	case M_CHUNK_LF:
		if (c == '\n')
			chunk_line_end(s);
		return c == '\n';
	case M_CHUNK_END:
		if (c == '\r' && !s->digits) {
			s->digits = AFTER_CR;
			return true;
		}
		s->mode = M_CHUNK_SIZE;
		s->digits = 0;
		return c == '\n';
	default:
		if (trailer_byte(s, c))
			message_end(x, s);
		return true;
	}
}

static ssize_t on_chunk(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	if (s->mode == M_CHUNK_DATA) {
		n = MIN(n, s->remaining);
		s->remaining -= n;
		s->body += n;
		if (!s->remaining)
			s->mode = M_CHUNK_END;
		return (ssize_t)n;
	}
	if (chunk_byte(x, s, *p))
		return 1;
	lose_message(x, s);
	return (ssize_t)n;
}

/* --- streams --- */

static ssize_t step(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
{
	switch (s->mode) {
	case M_HEAD:
		return on_head(x, s, p, n);
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

static int feed(struct cx *x, struct stream *s, const uint8_t *p, size_t n)
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
		x->h->sending = NULL;
		s->refusable = false;
		search(s);
	} else {
		lose_message(x, s);
	}
}

/* A body may not come: after a refused 100 (Continue), or because an answer to a request not seen is one to HEAD. */
static bool may_have_no_body(const struct stream *s)
{
	return (s->refusable || s->orphan) && !s->body && (s->mode == M_BODY || (s->mode == M_CHUNK_SIZE && !s->digits));
}

static void head_note(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	uint64_t note = x->in->note;

	if (s->mode == M_DEAD)
		return;
	if (!(note & NOTE_NUMBER))
		stop_numbers(x);
	if (h->req_dir != DIR_UNKNOWN && s->mode != M_SEARCH && (s->mode != M_HEAD || s->len) && !may_have_no_body(s)) {
		if (s->mode != M_NOTE && !h->torn) {
			stop_numbers(x); /* a body that looks like a message */
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
		lose_first(x, CALL_LOSS_HOLE);
}

/* The next bytes of one direction. */
static void piece(struct cx *x, struct stream *s)
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
	if (feed(x, s, x->in->data, x->in->len))
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
		set_unsure(h);
		h->hole_since = true;
	} else if (h->first || h->unsure) {
		lose_answers(x, s, CALL_LOSS_HOLE);
	}
}

static void hole_stream(struct cx *x, struct stream *s, uint64_t len)
{
	struct h1 *h = x->h;

	/* was it the body, or was that refused and messages went by? */
	if (s == requests(h) && s->gap && (s->expect || s->refusable) && !s->body && s->mode != M_HEAD)
		lose_request(x, s);
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

static void drop_all(struct cx *x)
{
	struct h1 *h = x->h;

	while (h->first) {
		if (!h->first->lost)
			drop_call(x, h->first);
		pop(h);
	}
	drop_park(h);
	for (int i = 0; i < 2; i++)
		free_part(&h->s[i]);
	h->leave = true;
}

static int verdict(struct cx *x)
{
	struct h1 *h = x->h;

	if (!h->leave && h->park_len && (h->first || h->unsure))
		replay(x);
	if (!h->leave)
		return 0;
	drop_all(x);
	return -EPROTO;
}

static void take_gap(struct h1 *h, const struct flow *flow)
{
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
	set_role(x, note & NOTE_REQUEST ? x->in->dir : !x->in->dir);
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
	take_gap(h, flow);
	first_note(&x);
	if (h->req_dir == DIR_UNKNOWN) {
		piece(&x, s);
		s->hole_last = false;
		h->answer_since = h->req_dir != DIR_UNKNOWN && s == answers(h);
		h->hole_since &= h->answer_since;
	} else if (s == answers(h)) {
		h->answer_since = true;
		if (h->park_len)
			park(&x, in->data, in->len, 0);
		else
			piece(&x, s);
	} else {
		piece(&x, s);
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
	take_gap(h, flow);
	if (s->tentative == T_BODY && !s->ticket)
		back_to_body(&x, s);
	if (h->req_dir == DIR_UNKNOWN) {
		if (s->ticket || (s->len && http1_request_line(s->buf, s->len, false, &head) >= 0))
			lose_head(&x, s, CALL_LOSS_HOLE);
		search(s);
		s->hole = s->hole_last = flow->from_start;
	} else if (s == answers(h)) {
		h->answer_since = true;
		if (h->park_len)
			park(&x, NULL, 0, len);
		else
			hole_stream(&x, s, len);
	} else {
		hole_stream(&x, s, len);
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
		answer_done(x, a, how == FLOW_END_UNKNOWN ? TIME_UNKNOWN : a->last_ns);
	while (h->first) {
		/* an answer whose chunk framing could not be read may have been complete */
		if (h->answers_gap || (x->flow->gap && h->first->status && !a->orphan && a->mode == M_NOTE))
			lose_first(x, CALL_LOSS_HOLE);
		else
			end_first(x, ns, end_reason(h, how));
	}
}

/* It is not known what passed last. */
static void end_unknown(struct cx *x)
{
	struct h1 *h = x->h;

	h->answers_gap = true;
	for (int i = 0; i < 2; i++)
		if (h->s[i].ticket)
			lose_head(x, &h->s[i], CALL_LOSS_HOLE);
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
	take_gap(h, flow);
	if (flow->gap && how == FLOW_END_UNKNOWN)
		end_unknown(&x);
	else
		h->s[0].gap = h->s[1].gap = false; /* what is missing at the end was told */
	if (h->req_dir != DIR_UNKNOWN && ends[!h->req_dir])
		end_answers(&x, how, ns);
	for (int i = 0; i < 2; i++) {
		if (!ends[i])
			continue;
		free_part(&h->s[i]);
		h->s[i].ended = true;
	}
	if (h->req_dir != DIR_UNKNOWN && ends[!h->req_dir])
		drop_park(h);
	return verdict(&x);
}

static void done(void *state, const struct flow *flow, struct call_sink *sink)
{
	struct cx x = {state, flow, sink, NULL, false};

	drop_all(&x);
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
