// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * HTTP/1.0 and 1.1 (RFC 9112), the kernel's half: sends heads, leaves bodies out. A head is
 * scanned once, eight bytes at a time, for its end and for the two fields that frame a body.
 * Bodies of known length and chunks are stepped over by arithmetic; of a chunked body only its
 * last chunk and trailers are sent, with a note that tells how much data went before
 * (NOTE_CHUNK, see user/proto/http1.c, which is the authority).
 *
 * Which answers have no body depends on their requests: one bit per outstanding request
 * remembers HEAD and CONNECT. Where the order cannot be trusted (an answer seen
 * before its request, more than 64 outstanding, a refused 100-continue) the next event's
 * first bytes are looked at, and a message start there wins over the arithmetic.
 */
#include "bpf/proto/proto.h"

#define NOTE_CHUNK (1ULL << 63)
#define PARTIAL_MAX (128 << 10) /* a head longer than this is not HTTP's */

enum mode {
	M_HEAD,	 /* at a message's start, or inside its head */
	M_SKIP,	 /* body, `remaining` bytes to go */
	M_CHUNK, /* chunked body; `remaining` bytes of data and CRLF before the next size line */
	M_CLOSE, /* body up to the connection's end */
	M_COPY,	 /* framing not certain: everything is sent until an event begins with a message */
};

enum dir_flags {
	F_LENGTH = 1 << 0,	 /* the head has a Content-Length (in `remaining`) */
	F_CHUNKED = 1 << 1,
	F_NO_BODY = 1 << 2,	 /* 1xx, 204, 304, answer to HEAD */
	F_INTERIM = 1 << 3,	 /* 1xx */
	F_SWITCH = 1 << 4,	 /* after this head: not HTTP any longer */
	F_CUT_LINE = 1 << 5,	 /* the head was split inside a line: a framing field may have been missed */
};

/* What the bytes before this event ended with: a line may go on across events. */
enum tail { T_MIDDLE, T_LINE_START, T_CR };

struct h1_dir {
	__u64 remaining;
	__u64 body;    /* chunk data so far */
	__u32 partial; /* bytes of the head in earlier events */
	__u8 mode;
	__u8 tail;
	__u8 flags;
	__u8 digits;   /* chunk-size line in progress: digits seen + 1; 0: none */
};

struct h1 {
	struct h1_dir d[2];
	__u64 no_body; /* bit n: the n-th outstanding request's answer has no body */
	__u8 req_dir;
	__s8 outstanding; /* negative: answers came before their requests */
	__u8 uncertain;
	__u8 connect;	/* a CONNECT is outstanding */
	__u32 pad;
};
_Static_assert(sizeof(struct h1) <= CONN_PROTO_STATE + 0, "HTTP/1 state does not fit");

/* A scan's parameters and results, in walk.tmp. */
struct scan {
	__u32 tail;	  /* in: enum tail */
	__u32 first_only; /* in: the first line's end is all that is wanted */
	__u32 end;	  /* out: length of the head; 0: not ended */
	__u32 line;	  /* out: end of the first line (its LF); ~0: none */
	__u64 length;	  /* in, out: Content-Length */
	__u32 flags;	  /* out: F_LENGTH, F_CHUNKED */
	__u32 pad;
};
_Static_assert(sizeof(struct scan) <= sizeof(((struct walk *)0)->tmp), "scan does not fit");

#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL
#define LOWER 0x2020202020202020ULL

static __always_inline __u64 word_at(const __u8 *p)
{
	__u64 w;

	/* the verifier allows unaligned loads where the CPU does; clang must not split it into bytes */
#ifdef SONDE_SHIM
	__builtin_memcpy(&w, p, 8);
#else
	w = *(volatile const __u64 *)p;
#endif
	return w;
}


static __always_inline __u64 word(char a, char b, char c, char d, char e, char f, char g, char h)
{
	return (__u64)(__u8)a | (__u64)(__u8)b << 8 | (__u64)(__u8)c << 16 | (__u64)(__u8)d << 24 |
	       (__u64)(__u8)e << 32 | (__u64)(__u8)f << 40 | (__u64)(__u8)g << 48 | (__u64)(__u8)h << 56;
}

/* A line begins at `pos`: the head's end, or a field that frames the body? */
__u32 http1_line_at(__u32 pos);
__u32 http1_line_at(__u32 pos)
{
	struct walk *wk = walk_get();
	struct scan *s;
	const __u8 *p;
	__u64 w;
	__u8 c;

	if (!wk || pos >= wk->cap)
		return 0;
	s = (struct scan *)wk->tmp;
	p = wk->data + (pos & PIECE_MASK);
	c = *p;

	if (c == '\n' || (c == '\r' && pos + 1 < wk->cap && p[1] == '\n')) {
		s->end = pos + (c == '\n' ? 1 : 2);
		return 1;
	}
	c |= 0x20;
	if (c != 'c' && c != 't')
		return 0;
	w = word_at(p) | LOWER;
	if (w == word('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		__u64 v = 0;

		/* "length:" */
		w = (word_at(p + 8) | LOWER) & 0x00ffffffffffffffULL;
		if (w != (word('l', 'e', 'n', 'g', 't', 'h', ':', 0)))
			return 0;
		for (int i = 0; i < 24; i++) {
			__u8 d = p[15 + i];

			if (d >= '0' && d <= '9')
				v = v * 10 + (d - '0');
			else if (d != ' ' && d != '\t')
				break;
		}
		s->length = v;
		s->flags |= F_LENGTH;
	} else if (w == word('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
		if ((word_at(p + 8) | LOWER) == word('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'))
			s->flags |= F_CHUNKED;
	}
	return 0;
}

#define SCAN_STEP 32
static int scan_step(__u32 i, void *unused)
{
	struct walk *w = walk_get();
	__u32 base = i * SCAN_STEP;
	struct scan *s;

	if (!w || base >= w->cap)
		return 1;
	s = (struct scan *)w->tmp;
	for (int k = 0; k < SCAN_STEP / 8; k++) {
		const __u8 *p = w->data + ((base + 8 * k) & PIECE_MASK);
		__u64 x = word_at(p) ^ (ONES * '\n');
		__u64 m = (x - ONES) & ~x & HIGHS;

		if (!m)
			continue;
		for (int b = 0; b < 8; b++) {
			__u32 at = base + 8 * k + b;
			__u8 c;

			/* only the lowest hit is certain: look again */
			if (!(m & (0x80ULL << (8 * b))) || p[b] != '\n' || at >= w->cap)
				continue;
			if (s->line == ~0U)
				s->line = at;
			if (s->first_only)
				return 1;
			/* most lines are told by their first letter */
			c = p[b + 1] | 0x20;
			if (c != 'c' && c != 't' && c > 0x2f)
				continue;
			if (http1_line_at(at + 1))
				return 1;
		}
	}
	return 0;
}

static __always_inline __u32 do_http1_scan(struct walk *w)
{
	struct scan *s = (struct scan *)w->tmp;

	s->end = 0;
	s->line = ~0U;
	s->flags = 0;
	if (s->tail == T_LINE_START && http1_line_at(0))
		return 0;
	if (s->tail == T_CR && w->cap && w->data[0] == '\n') {
		s->end = 1;
		return 0;
	}
	bpf_loop(PIECE_MAX / SCAN_STEP, scan_step, NULL, 0);
	return 0;
}
PROTO_ENTRY(http1_scan)

static __always_inline struct scan *scan(struct walk *w, __u32 tail, __u64 length, bool first_only)
{
	struct scan *s = (struct scan *)w->tmp;

	s->tail = tail;
	s->length = length;
	s->first_only = first_only;
	http1_scan();
	return s;
}

/* An answer's first bytes; a shorter piece must be a prefix. */
static __always_inline bool starts_answer(const __u8 *p, __u32 len)
{
	__u64 w = word_at(p), want = word('H', 'T', 'T', 'P', '/', '1', '.', 0);

	if (len >= 8)
		return (w & 0x00ffffffffffffffULL) == want && (p[7] == '0' || p[7] == '1');
	return len && !((w ^ want) << (64 - 8 * (len & 7)));
}

/* A request line's shape: token in capitals, space, something printable. HTTP/2's preface is not ours. */
static __always_inline bool starts_request(const __u8 *p, __u32 len)
{
	bool letters = false;

	if (p[0] == 'P' && p[1] == 'R' && p[2] == 'I' && p[3] == ' ')
		return false;
	for (__u32 i = 0; i < 24; i++) {
		__u8 c = p[i];

		if (i >= len)
			return letters;
		if ((c >= 'A' && c <= 'Z') || (c == '-' && i)) {
			letters = true;
			continue;
		}
		if (c != ' ' || i < 3)
			return false;
		return i + 1 >= len || (p[i + 1] > ' ' && p[i + 1] < 0x7f);
	}
	return false;
}

enum starts { STARTS_ANSWER = 1, STARTS_REQUEST = 2 };

/* What kind of message the walk's bytes could be the start of. */
static __always_inline __u32 do_http1_starts(struct walk *w)
{
	return (starts_answer(w->data, w->cap) ? STARTS_ANSWER : 0) | (starts_request(w->data, w->cap) ? STARTS_REQUEST : 0);
}
PROTO_ENTRY(http1_starts)

static __always_inline bool starts_message(const struct h1 *h, struct walk *w)
{
	return http1_starts() & (w->dir == h->req_dir ? STARTS_REQUEST : STARTS_ANSWER);
}

static __always_inline __u32 do_http1_detect(struct walk *w)
{
	struct h1 *h = (struct h1 *)w->state;
	__u32 starts = http1_starts();
	const struct scan *s;
	const __u8 *p;

	if (!starts)
		return 0;
	if (starts & STARTS_ANSWER) {
		h->req_dir = !w->dir;
		return 1;
	}
	s = scan(w, T_MIDDLE, 0, true);
	if (s->line != ~0U) {
		/* the first line is here: it must end with the version */
		if (s->line < 14)
			return 0;
		p = w->data + ((s->line - 9) & PIECE_MASK);
		if (p[8] != '\r')
			p++;
		if ((word_at(p) & 0x00ffffffffffffffULL) != word('H', 'T', 'T', 'P', '/', '1', '.', 0))
			return 0;
	}
	h->req_dir = w->dir;
	return 1;
}

static __always_inline __u32 do_http1_skip(struct walk *w)
{
	struct h1 *h = (struct h1 *)w->state;
	struct h1_dir *d = &h->d[w->dir & 1];
	__u32 n;

	if (d->mode == M_CLOSE)
		return w->left;
	if ((d->mode != M_SKIP && d->mode != M_CHUNK) || !d->remaining || d->digits)
		return 0;
	/* a body that may not be there is looked at by walk */
	if (d->mode == M_SKIP && (w->dir == h->req_dir ? h->outstanding <= 0 : h->uncertain))
		return 0;
	n = d->remaining < w->left ? d->remaining : w->left;
	d->remaining -= n;
	if (d->mode == M_SKIP && !d->remaining) {
		d->mode = M_HEAD;
		w->done = 1;
	}
	return n;
}

static __always_inline void request_head(struct h1 *h, const __u8 *p)
{
	__u64 w = word_at(p);
	bool head = (w & 0xffffffffffULL) == (word('H', 'E', 'A', 'D', ' ', 0, 0, 0));
	bool connect = w == word('C', 'O', 'N', 'N', 'E', 'C', 'T', ' ');

	if (connect)
		h->connect = 1;
	if (h->outstanding < 0) {
		h->outstanding++;
		return;
	}
	if (h->outstanding >= 64) {
		h->uncertain = 1;
		return;
	}
	if (head)
		h->no_body |= 1ULL << (h->outstanding & 63);
	h->outstanding++;
}

static __always_inline void answer_head(struct h1 *h, struct h1_dir *d, const __u8 *p)
{
	__u8 a = p[9], b = p[10], c = p[11];

	if (a == '1' && !(b == '0' && c == '1')) {
		d->flags |= F_INTERIM | F_NO_BODY;
		return;
	}
	if (a == '1')
		d->flags |= F_SWITCH;
	if ((a == '2' && b == '0' && c == '4') || (a == '3' && b == '0' && c == '4'))
		d->flags |= F_NO_BODY;
	if (h->connect) {
		h->connect = 0;
		if (a == '2')
			d->flags |= F_SWITCH;
	}
	if (h->outstanding <= 0) {
		h->uncertain = 1;
		if (h->outstanding > -64)
			h->outstanding--;
		return;
	}
	if (h->no_body & 1)
		d->flags |= F_NO_BODY;
	h->no_body >>= 1;
	h->outstanding--;
}

static __always_inline void head_reset(struct h1_dir *d)
{
	d->partial = 0;
	d->flags = 0;
	d->tail = T_MIDDLE;
	d->remaining = 0;
	d->body = 0;
	d->digits = 0;
}

/* The head is complete: what follows it? */
static __always_inline void head_done(struct h1 *h, struct h1_dir *d, bool request)
{
	__u8 f = d->flags;
	__u64 length = d->remaining;

	head_reset(d);
	d->mode = M_HEAD;
	if (f & F_CUT_LINE) {
		d->mode = M_COPY;
	} else if (f & F_NO_BODY) {
	} else if (f & F_CHUNKED) {
		d->mode = M_CHUNK;
	} else if (f & F_LENGTH) {
		if (length) {
			d->mode = M_SKIP;
			d->remaining = length;
		}
	} else if (!request) {
		d->mode = M_CLOSE;
	}
}

static __always_inline __u32 walk_head(struct walk *w, struct h1 *h, struct h1_dir *d)
{
	bool request = w->dir == h->req_dir;
	struct scan *s;
	__u32 take;

	if (d->partial && !request && w->cap >= 12 && starts_answer(w->data, w->cap))
		head_reset(d); /* the earlier part was no head */
	if (!d->partial && !starts_message(h, w) && w->data[0] != '\r' && w->data[0] != '\n') {
		/* not where a message begins: joined late, or a body that was not announced */
		w->emit = 0;
		return w->left;
	}
	s = scan(w, d->partial ? d->tail : T_MIDDLE, d->remaining, false);
	if (!s->end && w->cap < w->left && w->cap < PIECE_MASK + 1)
		return 0;
	if (!d->partial) {
		w->heads = request;
		if (w->cap < 12) {
			d->flags |= F_CUT_LINE;
			h->uncertain = 1;
		}
		if (request)
			request_head(h, w->data);
		else if (w->cap >= 12)
			answer_head(h, d, w->data);
	}
	d->flags |= s->flags;
	d->remaining = s->length;
	take = s->end ? s->end : w->cap;
	w->emit = take;
	if (s->end) {
		w->leave = !!(d->flags & F_SWITCH);
		head_done(h, d, request);
		return take;
	}
	d->partial += take;
	if (d->partial > PARTIAL_MAX)
		w->leave = 1;
	d->tail = w->data[(take - 1) & PIECE_MASK] == '\n' ? T_LINE_START : T_MIDDLE;
	if (take >= 2 && w->data[(take - 1) & PIECE_MASK] == '\r' && w->data[(take - 2) & PIECE_MASK] == '\n')
		d->tail = T_CR;
	if (d->tail == T_MIDDLE)
		d->flags |= F_CUT_LINE;
	return take;
}

/*
 * At a chunk-size line, or inside one that was split (its value so far is in `remaining`). The line
 * of a chunk that is not the last is stepped over unseen; the last one, the trailers and
 * split lines are sent, so that user space reads the same bytes.
 */
#define LINE_MAX 32
#define EXTENSION 0x40 /* in `digits`: the size is over, the line is not */

/* In walk.tmp. */
struct chunk_line {
	__u64 size; /* in: the value so far */
	__u32 ext;  /* in, out: inside an extension */
	__u32 len;  /* out: the line's length; 0: it goes on behind the piece */
};

static __always_inline __u32 do_http1_chunk_line(struct walk *w)
{
	struct chunk_line *l = (struct chunk_line *)w->tmp;

	l->len = 0;
	for (__u32 i = 0; i < LINE_MAX; i++) {
		__u8 c = w->data[i], low = c | 0x20;

		if (i >= w->cap)
			break;
		if (c == '\n') {
			l->len = i + 1;
			break;
		}
		if (l->ext || c == '\r')
			continue;
		if (c >= '0' && c <= '9')
			l->size = l->size << 4 | (c - '0');
		else if (low >= 'a' && low <= 'f')
			l->size = l->size << 4 | (low - 'a' + 10);
		else
			l->ext = 1;
	}
	return 0;
}
PROTO_ENTRY(http1_chunk_line)

static __always_inline __u32 last_chunk(struct walk *w, struct h1_dir *d)
{
	struct scan *s = scan(w, T_MIDDLE, 0, false);

	if (!s->end && w->cap < w->left && w->cap < PIECE_MAX)
		return 0;
	d->digits = 0;
	if (s->end) {
		head_reset(d);
		d->mode = M_HEAD;
	} else {
		d->mode = M_COPY;
	}
	w->emit = s->end ? s->end : w->cap;
	return w->emit;
}

static __always_inline __u32 walk_chunk(struct walk *w, struct h1_dir *d)
{
	struct chunk_line *l = (struct chunk_line *)w->tmp;
	bool fresh = !d->digits;

	if (w->cap < LINE_MAX && w->cap < w->left)
		return 0;
	l->size = fresh ? 0 : d->remaining;
	l->ext = d->digits & EXTENSION;
	http1_chunk_line();
	if (fresh)
		w->note = NOTE_CHUNK | d->body;
	if (!l->len && w->cap < LINE_MAX) {
		d->remaining = l->size;
		d->digits = 1 | (l->ext ? EXTENSION : 0);
		w->emit = w->cap;
		return w->cap;
	}
	if (!l->len) {
		/* a long extension: from here on everything is sent, up to the next message */
		w->emit = w->cap;
		d->mode = M_COPY;
		return w->cap;
	}
	if (!l->size)
		return last_chunk(w, d);
	d->digits = 0;
	d->body += l->size;
	d->remaining = l->size + 2;
	w->emit = fresh ? 0 : l->len;
	return l->len;
}

static __always_inline __u32 do_http1_walk(struct walk *w)
{
	struct h1 *h = (struct h1 *)w->state;
	struct h1_dir *d = &h->d[w->dir & 1];
	__u32 n;

	switch (d->mode) {
	case M_SKIP:
		if (!starts_message(h, w)) {
			n = d->remaining < w->left ? d->remaining : w->left;
			d->remaining -= n;
			if (!d->remaining) {
				d->mode = M_HEAD;
				w->done = 1;
			}
			return n;
		}
		head_reset(d);
		d->mode = M_HEAD;
		return walk_head(w, h, d);
	case M_COPY:
		if (w->cap < 12 || !starts_message(h, w)) {
			w->emit = w->cap;
			return w->cap;
		}
		head_reset(d);
		d->mode = M_HEAD;
		return walk_head(w, h, d);
	case M_CHUNK:
		return walk_chunk(w, d);
	default:
		return walk_head(w, h, d);
	}
}

PROTO_ENTRY(http1_detect)
PROTO_ENTRY(http1_skip)
PROTO_ENTRY(http1_walk)
