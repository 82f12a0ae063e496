/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of HTTP/1's decoder, see http1.c: what a connection is made of, and what each part does for
 * the others. Times, numbers and bytes are those of the piece that is looked at (cx.in).
 */
#pragma once

#include "bpf/shared/note.h"
#include "user/proto/http1_call.h"

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
	struct proto_budget *budget;
	struct stream s[2]; /* by enum flow_dir */
	struct req *first, *last;
	struct req *sending; /* the request whose body is under way; NULL: none, or it is answered */
	struct req *over;    /* its answer has ended, its own body has not: told when that has; not in the queue */
	uint64_t over_ns, over_bytes; /* of that answer */
	uint8_t *park;	     /* struct parked + bytes, repeated */
	uint32_t park_len, park_cap;
	uint32_t outstanding, held;
	uint32_t n_unsure, m_unsure; /* requests and answers since unsure */
	uint64_t early_ns;	     /* an answer, or bytes of one, came before its request; 0: none did */
	uint64_t last_ns;	     /* of anything */
	uint8_t req_dir;
	uint8_t strikes;
	bool confirmed;	    /* a status line was seen */
	bool synced;	    /* answers that come before their request are worth waiting for */
	bool early_refused; /* what came early had no room to wait in */
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
	bool noted;			    /* message starts are told: there is none where none is told */
	bool numbered;			    /* and messages are numbered */
	bool torn;			    /* something is missing: only numbers tell what belongs together */
	bool answers_gap;		    /* answers may have gone by since the last one that began */
	uint32_t next_request, next_answer; /* numbers behind the last ones that began */
	uint32_t unproved[CALL_LOSS_MAX];   /* losses, while it may still turn out not to be HTTP */
	bool leave;			    /* the connection stops being HTTP */
	char peer_text[HTTP1_PEER_TEXT];
};
_Static_assert(sizeof(struct h1) <= 512, "state of a connection is kept small");

/* What one call of the decoder works on. */
struct cx {
	struct h1 *h;
	const struct flow *flow;
	struct call_sink *sink;
	const struct flow_data *in;
	bool at_start; /* nothing but line ends of the piece was taken yet */
};

static inline enum call_role role_of(const struct h1 *h)
{
	return h->req_dir == FLOW_RECV ? ROLE_SERVER : ROLE_CLIENT;
}

static inline struct stream *requests(struct h1 *h)
{
	return &h->s[h->req_dir];
}

static inline struct stream *answers(struct h1 *h)
{
	return &h->s[!h->req_dir];
}

static inline bool is_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* Answers are told by their numbers, no longer by their order. */
static inline bool by_number(const struct h1 *h)
{
	return h->numbered && h->torn;
}

/* --- http1_queue.c: outstanding requests, and what is lost --- */

struct req *h1_req_new(const struct h1 *h, const struct stream *s, const struct http1_head *head);
void h1_queue_push(struct h1 *h, struct req *r);
void h1_begin_call(struct cx *x, struct req *r);
/* The first in the queue is over; `error`: how the connection ended before its answer did. */
void h1_end_first(struct cx *x, uint64_t end_ns, struct str error);
void h1_first_answered(struct cx *x, uint64_t end_ns);
void h1_tell_over(struct cx *x);
void h1_lose_over(struct cx *x);
void h1_drop_first(struct cx *x);
void h1_lose_call(struct cx *x, struct req *r, enum call_loss why);
void h1_lose_first(struct cx *x, enum call_loss why);
void h1_lose_head(struct cx *x, struct stream *s, enum call_loss why);
void h1_lose_request(struct cx *x, struct stream *s);
void h1_lose_answers(struct cx *x, struct stream *s, enum call_loss why);
void h1_tell_losses(struct cx *x);
void h1_set_unsure(struct h1 *h);
void h1_stop_numbers(struct cx *x);
void h1_came_early(struct h1 *h, uint64_t ns, bool refused);
void h1_free_part(const struct h1 *h, struct stream *s);
void h1_search(const struct h1 *h, struct stream *s);

/* --- http1_message.c: what a whole head means, and a message's end --- */

void h1_request_begins(struct cx *x, struct stream *s);
void h1_request_head(struct cx *x, struct stream *s, const struct http1_head *head);
void h1_request_done(struct cx *x, struct stream *s);
void h1_answer_head(struct cx *x, struct stream *s, const struct http1_head *head);
void h1_answer_done(struct cx *x, struct stream *s, uint64_t end_ns);
void h1_in_step(struct h1 *h);

/* --- http1_start.c: where a message starts --- */

/* How many bytes were taken, or -EPROTO: not HTTP. */
ssize_t h1_on_head(struct cx *x, struct stream *s, const uint8_t *p, size_t n);
void h1_back_to_body(struct cx *x, struct stream *s);
void h1_set_role(struct cx *x, uint8_t req_dir);

/* --- http1_chunk.c --- */

/* One byte of what frames chunks: 0, 1: the message ends with it, -EPROTO: it cannot be. */
int h1_chunk_byte(struct stream *s, uint8_t c);

/* --- http1_park.c: answers that come before their request --- */

bool h1_must_park(struct h1 *h);
/* `n` bytes, or a hole of that many. */
void h1_park(struct cx *x, const uint8_t *p, size_t n, uint64_t hole);
void h1_park_expire(struct cx *x, const struct stream *s);
void h1_replay(struct cx *x);
void h1_drop_park(struct h1 *h);

/* --- http1.c: streams --- */

int h1_feed(struct cx *x, struct stream *s, const uint8_t *p, size_t n);
void h1_piece(struct cx *x, struct stream *s);
void h1_hole_stream(struct cx *x, struct stream *s, uint64_t len);
