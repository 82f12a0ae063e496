// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * HTTP/1.0 and 1.1 (RFC 9112), the kernel's half: sends heads, leaves bodies out. A head is
 * scanned once, eight bytes at a time, for its end and for the three fields that frame a body; only a line
 * that is split between two events goes byte by byte through a small machine.
 * Bodies of known length and chunks are stepped over by arithmetic; of a chunked body only its
 * last chunk and trailers are sent, with a note that tells how much data went before.
 * Messages are numbered (bpf/shared/note.h), so that lost records cost only the messages they belong to.
 *
 * Which answers have no body depends on their requests: one bit per outstanding request
 * remembers HEAD. Where the order cannot be trusted (an answer seen before its request, more
 * than 64 outstanding with a HEAD among the others, a refused 100-continue) the bytes where a body should begin are looked
 * at, and a message start there wins over the arithmetic.
 */
#include "bpf/proto/proto.h"

#define PARTIAL_MAX (128 << 10) /* of a longer head (or trailer) the rest is not sent */

enum mode {
	M_HEAD,	 /* at a message's start, or inside its head */
	M_SKIP,	 /* body, `remaining` bytes to go */
	M_CHUNK, /* chunked body; `remaining` bytes of data and CRLF before the next size line */
	M_TRAIL, /* behind the last chunk's line */
	M_CLOSE, /* body up to the connection's end */
};

enum dir_flags {
	F_LENGTH = 1 << 0,  /* the head has a Content-Length (in `remaining`) */
	F_CHUNKED = 1 << 1,
	F_NO_BODY = 1 << 2, /* 1xx, 204, 304, answer to HEAD */
	F_SWITCH = 1 << 3,  /* after this head: not HTTP any longer */
	F_MAYBE = 1 << 4,   /* no byte of the body has passed yet: it may not be there */
	F_EXPECT = 1 << 5,  /* a request whose body may be refused */
};

/* Where in a head's line an event ended. Between the named values: so many bytes of the field's name fit. */
enum line {
	L_OTHER, /* in a line of no interest */
	L_START,
	L_CR,	 /* a CR and nothing else */
	L_LENGTH_VALUE,
	L_CODING_VALUE,
	L_LENGTH = 32,
	L_CODING = 64,
	L_EXPECT = 96,
};
#define FIELD_MAX 32

struct h1_dir {
	__u64 remaining;
	union {
		__u64 body;	/* M_CHUNK: data so far */
		__u64 first;	/* M_HEAD: a request's bytes 0–7, an answer's bytes 4–11 */
		__u8 first_bytes[8];
	};
	__u32 partial; /* bytes of the head in earlier events */
	__u8 mode;
	__u8 line;
	__u8 flags;
	__u8 digits;   /* chunk-size line in progress */
};

/*
 * One direction's half of a connection's state. The other direction reads it while it may be changing: `count` is
 * last, so that what it covers is there when it is seen.
 */
struct h1 {
	struct h1_dir d;
	/* of the direction of requests */
	__u64 no_body;	 /* bit n modulo 64: the answer to request n has no body */
	__u32 connect;	 /* the number behind that of the last CONNECT; 0: there was none */
	/* of both */
	__u32 uncertain; /* requests and answers may be out of step */
	__u32 noise;	 /* bytes came that begin no message: how many messages they were is not known */
	__u32 count;	 /* requests, or final answers, so far; wraps. Answers may be ahead: they came before their requests */
};
_Static_assert(sizeof(struct h1) <= CONN_HALF_STATE, "HTTP/1 state does not fit");

static __always_inline struct h1 *own(struct walk *w)
{
	return (struct h1 *)w->own;
}

static __always_inline const struct h1 *other(const struct walk *w)
{
	return (const struct h1 *)w->other;
}

static __always_inline bool is_request(const struct walk *w)
{
	return w->dir == w->req_dir;
}

static __always_inline bool is_uncertain(struct walk *w)
{
	return own(w)->uncertain || other(w)->uncertain;
}

static __always_inline __s32 outstanding(struct walk *w)
{
	__s32 n = own(w)->count - other(w)->count;

	return is_request(w) ? n : -n;
}

/* A scan's parameters and results, in walk.tmp. */
struct scan {
	__u64 length;	  /* in, out: Content-Length */
	__u32 flags;	  /* out: F_LENGTH, F_CHUNKED, F_EXPECT */
	__u32 line;	  /* in, out: enum line */
	__u32 first_only; /* in: the first line's end is all that is wanted */
	__u32 end;	  /* out: length of the head; 0: not ended */
	__u32 eol;	  /* out: end of the first line (its LF); ~0: none */
	__u32 last;	  /* out: where the last line begins; ~0: not in this piece */
	__u32 at;
	__u32 framing;	  /* out: where the field that frames the body begins */
	__u16 framing_len; /* out: its length, with the line's end; 0: not of the plain form */
	__u16 n_framing;  /* out: how many there are */
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

/*
 * A line begins at `pos`: the head's end, or a field that frames the body? A line that the piece does not hold as far
 * as its value's end is left to line_step.
 */
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
	/* a folded line may belong to any field */
	if (c == ' ' || c == '\t')
		s->n_framing = 2;
	c |= 0x20;
	if (c != 'c' && c != 't' && c != 'e')
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

			if (pos + 15 + i >= wk->cap)
				return 0;
			if (d >= '0' && d <= '9')
				v = v * 10 + (d - '0');
			else if (d == '\r' && p[16 + i] == '\n' && i) {
				s->framing_len = 17 + i;
				break;
			} else if (d != ' ' && d != '\t')
				break;
		}
		s->length = v;
		s->flags |= F_LENGTH;
		s->framing = pos;
		s->n_framing++;
	} else if (w == word('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') && pos + 18 <= wk->cap) {
		if ((word_at(p + 8) | LOWER) == word('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') && (p[16] | 0x20) == 'g' &&
		    p[17] == ':') {
			s->flags |= F_CHUNKED;
			s->framing = pos;
			s->n_framing++;
			if (word_at(p + 18) == word(' ', 'c', 'h', 'u', 'n', 'k', 'e', 'd') && p[26] == '\r' && p[27] == '\n')
				s->framing_len = 28;
		}
	} else if ((w & 0x00ffffffffffffffULL) == (word('e', 'x', 'p', 'e', 'c', 't', ':', 0)) && pos + 7 <= wk->cap) {
		s->flags |= F_EXPECT;
	}
	return 0;
}

static const char fields[4][FIELD_MAX] = { "", "content-length:", "transfer-encoding:", "expect:" };

/* One byte of a split line that began as L_LENGTH, L_CODING or L_EXPECT; returns the new state. */
static __always_inline __u32 name_step(__u32 line, __u8 c, struct scan *s)
{
	const char *field = fields[line / FIELD_MAX & 3];
	__u32 k = line & (FIELD_MAX - 1);

	/* '-' and ':' have this bit set already */
	if ((c | 0x20) != field[k])
		return L_OTHER;
	if (c != ':')
		return line + 1;
	if (line >= L_CODING) {
		s->flags |= line >= L_EXPECT ? F_EXPECT : F_CHUNKED;
		return L_OTHER;
	}
	s->flags |= F_LENGTH;
	s->length = 0;
	return L_LENGTH_VALUE;
}

static __always_inline __u32 value_step(__u8 c, struct scan *s)
{
	if (c >= '0' && c <= '9')
		s->length = s->length * 10 + (c - '0');
	else if (c != ' ' && c != '\t')
		return L_OTHER;
	return L_LENGTH_VALUE;
}

static __always_inline __u32 line_starts(__u8 c)
{
	switch (c | 0x20) {
	case '\r' | 0x20: return c == '\r' ? L_CR : L_OTHER;
	case 'c': return L_LENGTH + 1;
	case 't': return L_CODING + 1;
	case 'e': return L_EXPECT + 1;
	}
	return L_OTHER;
}

static int line_step(__u32 i, void *unused)
{
	struct walk *w = walk_get();
	struct scan *s;
	__u32 pos;
	__u8 c;

	if (!w)
		return 1;
	s = (struct scan *)w->tmp;
	pos = s->at + i;
	if (pos >= w->cap)
		return 1;
	c = w->data[pos & PIECE_MASK];
	if (c == '\n') {
		if (s->line == L_START || s->line == L_CR)
			s->end = pos + 1;
		return 1;
	}
	if (s->line == L_START)
		s->line = line_starts(c);
	else if (s->line == L_LENGTH_VALUE)
		s->line = value_step(c, s);
	else if (s->line >= L_LENGTH)
		s->line = name_step(s->line, c, s);
	else
		s->line = L_OTHER;
	return s->line == L_OTHER;
}

/* The split line from `at` on, up to where it is of no more interest. */
static __always_inline void scan_split(struct scan *s, __u32 at)
{
	s->at = at;
	bpf_loop(PIECE_MAX, line_step, NULL, 0);
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
		__u64 x = word_at(w->data + ((base + 8 * k) & PIECE_MASK)) ^ (ONES * '\n');
		/* the high bit of each byte that is a LF, and of no other */
		__u64 m = ~(((x & ~HIGHS) + ~HIGHS) | x | ~HIGHS);

		for (int n = 0; n < 8; n++) {
			__u32 next;
			__u8 c;

			if (!m)
				break;
			/* behind the lowest one: the bytes below it, counted by a multiplication */
			next = base + 8 * k + ((((m & -m) - 1) & ONES) * ONES >> 56);
			m &= m - 1;
			if (next > w->cap)
				return 1;
			if (s->eol == ~0U)
				s->eol = next - 1;
			if (s->first_only)
				return 1;
			s->last = next;
			/* most lines are told by their first letter */
			c = w->data[next & (2 * PIECE_MAX - 1)] | 0x20;
			if (c != 'c' && c != 't' && c != 'e' && c > 0x2f)
				continue;
			if (http1_line_at(next))
				return 1;
		}
	}
	return 0;
}

static __always_inline __u32 do_http1_scan(struct walk *w)
{
	struct scan *s = (struct scan *)w->tmp;

	s->end = 0;
	s->eol = ~0U;
	s->last = ~0U;
	s->flags = 0;
	s->framing_len = 0;
	s->n_framing = 0;
	if (s->line != L_OTHER)
		scan_split(s, 0);
	if (!s->end)
		bpf_loop(PIECE_MAX / SCAN_STEP, scan_step, NULL, 0);
	if (!s->end && s->last != ~0U) {
		s->line = L_START;
		scan_split(s, s->last);
	}
	return 0;
}
PROTO_ENTRY(http1_scan)

static __always_inline struct scan *scan(struct walk *w, __u32 line, __u64 length, bool first_only)
{
	struct scan *s = (struct scan *)w->tmp;

	s->line = line;
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
		return (w & 0x00ffffffffffffffULL) == want && (p[7] == '0' || p[7] == '1') && (len == 8 || p[8] == ' ');
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

static __always_inline bool starts_message(struct walk *w)
{
	return http1_starts() & (is_request(w) ? STARTS_REQUEST : STARTS_ANSWER);
}

/* The first line of what begins like a request: 1 it ends with the version, 0 it does not, -1 its end is not here. */
static __always_inline int line_ends_well(struct walk *w)
{
	const struct scan *s = scan(w, L_OTHER, 0, true);
	const __u8 *p;

	if (s->eol == ~0U)
		return -1;
	if (s->eol < 14)
		return 0;
	p = w->data + ((s->eol - 9) & PIECE_MASK);
	if (p[8] != '\r')
		p++;
	return (word_at(p) & 0x00ffffffffffffffULL) == word('H', 'T', 'T', 'P', '/', '1', '.', 0);
}

static __always_inline __u32 do_http1_detect(struct walk *w)
{
	__u32 starts = http1_starts();

	if (!starts)
		return 0;
	/* a lone 'H' may be both: connections begin with a request */
	if (starts & STARTS_ANSWER && w->cap > 1) {
		w->req_dir = !w->dir;
		return 1;
	}
	if (!line_ends_well(w))
		return 0;
	w->req_dir = w->dir;
	return 1;
}

/* A body that may not be there: what stands in its place is looked at once. */
static __always_inline bool is_doubtful(struct walk *w)
{
	return own(w)->d.flags & F_MAYBE && (is_request(w) ? outstanding(w) <= 0 : is_uncertain(w));
}

/* Whether the numbers are those of the messages. */
static __always_inline __u64 note_number(struct walk *w)
{
	return w->unseen || own(w)->noise ? 0 : NOTE_NUMBER;
}

/* If a chunked body is cut here, so much of it passed. */
static __always_inline void tell_end(struct walk *w)
{
	const struct h1_dir *d = &own(w)->d;
	__u64 ahead = !d->digits && d->remaining > 2 ? d->remaining - 2 : 0;

	w->end_note = 0;
	if (d->mode == M_CHUNK)
		w->end_note = NOTE_CHUNK_MAKE(d->body - ahead, own(w)->count - 1) | note_number(w);
}

static __always_inline __u32 skip_body(struct walk *w, struct h1_dir *d)
{
	__u32 n = d->remaining < w->left ? d->remaining : w->left;

	d->flags = 0;
	if (d->mode == M_CLOSE)
		return w->left;
	d->remaining -= n;
	tell_end(w);
	if (d->mode == M_SKIP && !d->remaining) {
		d->mode = M_HEAD;
		w->done = 1;
	}
	return n;
}

static __always_inline __u32 do_http1_skip(struct walk *w)
{
	struct h1_dir *d = &own(w)->d;

	if (d->mode == M_CHUNK ? !d->remaining || d->digits : d->mode != M_SKIP && d->mode != M_CLOSE)
		return 0;
	if (d->mode != M_CHUNK && is_doubtful(w))
		return 0;
	return skip_body(w, d);
}

static __always_inline void request_head(struct walk *w, __u64 first)
{
	bool is_head = (first & 0xffffffffffULL) == (word('H', 'E', 'A', 'D', ' ', 0, 0, 0));
	struct h1 *h = own(w);
	__s32 before = outstanding(w);
	__u64 bit = 1ULL << (h->count & 63);

	if (before >= 64) {
		/* the bit is another's that waits */
		h->uncertain |= is_head || h->no_body & bit;
	} else if (before >= 0) {
		h->no_body = is_head ? h->no_body | bit : h->no_body & ~bit;
	}
	if (before >= 0 && first == word('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		h->connect = h->count + 1;
	h->count++;
}

/* first: "/1.1 200" */
static __always_inline void answer_head(struct walk *w, __u64 first)
{
	__u8 a = first >> 40, b = first >> 48, c = first >> 56;
	const struct h1 *ask = other(w);
	struct h1 *h = own(w);
	struct h1_dir *d = &h->d;

	if (a == '1' && !(b == '0' && c == '1')) {
		d->flags |= F_NO_BODY;
		return;
	}
	if (a == '1')
		d->flags |= F_SWITCH | F_NO_BODY;
	if ((a == '2' && b == '0' && c == '4') || (a == '3' && b == '0' && c == '4'))
		d->flags |= F_NO_BODY;
	if (outstanding(w) <= 0) {
		h->uncertain = 1;
	} else {
		if (ask->no_body >> (h->count & 63) & 1)
			d->flags |= F_NO_BODY;
		if (ask->connect == h->count + 1 && a == '2')
			d->flags |= F_SWITCH | F_NO_BODY;
	}
	h->count++;
}

static __always_inline void head_reset(struct h1_dir *d)
{
	d->mode = M_HEAD;
	d->partial = 0;
	d->flags = 0;
	d->line = L_OTHER;
	d->remaining = 0;
	d->body = 0;
	d->digits = 0;
}

/* The head is complete: what follows it? */
static __always_inline void head_done(struct h1_dir *d, bool request)
{
	__u8 f = d->flags;
	__u64 length = d->remaining;

	head_reset(d);
	if (f & F_NO_BODY)
		return;
	if (f & F_CHUNKED) {
		d->mode = M_CHUNK;
	} else if (f & F_LENGTH) {
		if (length)
			d->mode = M_SKIP;
		d->remaining = length;
	} else if (!request) {
		d->mode = M_CLOSE;
	}
	if (d->mode != M_HEAD && (!request || f & F_EXPECT))
		d->flags = F_MAYBE;
}

/*
 * Gathers the eight bytes that tell a message's kind, which may come in any pieces; true when the last of them is in
 * the first `take` bytes.
 */
static __always_inline bool head_first(struct walk *w, struct h1_dir *d, bool request, __u32 take)
{
	__u32 from = request ? 0 : 4;

	if (d->partial >= from + 8)
		return false;
	if (!d->partial && take >= 12) {
		d->first = word_at(w->data + from);
		return true;
	}
	for (__u32 i = 0; i < 8; i++) {
		__u32 at = from + i - d->partial; /* wraps below zero */

		if (at < take && at < 16)
			d->first_bytes[i] = w->data[at & 15];
	}
	return d->partial + take >= from + 8;
}

/* Of an answer's head, the status and the field that frames its body are all that the decoder wants. */
#define STATUS_LEN 13 /* "HTTP/1.1 200 " */
#define KEPT_LINE_MAX (CONN_HELD_MAX - STATUS_LEN - 4)

static __always_inline void put_word(__u8 *p, __u64 v)
{
#ifdef SONDE_SHIM
	__builtin_memcpy(p, &v, 8);
#else
	*(volatile __u64 *)p = v;
#endif
}

/* The whole head is here: shortens it in place, if it is of the plain form, to a head that frames the same. */
static __always_inline void abridge(struct walk *w, const struct scan *s)
{
	__u32 len = s->n_framing ? s->framing_len : 0, from = s->framing;
	__u8 *p = w->data;

	if (s->n_framing > 1 || (s->n_framing && !len) || len > KEPT_LINE_MAX || (len && from < STATUS_LEN + 2) ||
	    p[STATUS_LEN - 1] != ' ' ||
	    s->end < STATUS_LEN + 4 + len)
		return;
	w->span = s->end;
	p += STATUS_LEN;
	p[0] = '\r';
	p[1] = '\n';
	p += 2;
	if (len)
		for (int i = 0; i < KEPT_LINE_MAX + 7; i += 8)
			put_word(p + i, word_at(w->data + ((from + i) & PIECE_MASK)));
	p += len & 63;
	p[0] = '\r';
	p[1] = '\n';
	w->emit = STATUS_LEN + 4 + len;
}

#define LINE_ENDS_MAX 64

static __always_inline __u32 walk_head(struct walk *w)
{
	bool request = is_request(w), whole;
	struct h1 *h = own(w);
	struct h1_dir *d = &h->d;
	struct scan *s;
	__u32 take;

	if (!d->partial && (w->data[0] == '\r' || w->data[0] == '\n')) {
		/* an empty line before a message is allowed (RFC 9112, 2.2), and none of it */
		for (take = 1; take < LINE_ENDS_MAX && take < w->cap; take++)
			if (w->data[take] != '\r' && w->data[take] != '\n')
				break;
		w->emit = take;
		return take;
	}
	if (!d->partial && !starts_message(w)) {
		/* the very first answer is none: the request was not HTTP's either, and user space must see it */
		if (!request && !w->unseen && other(w)->count && !h->count && !other(w)->no_body) {
			w->emit = w->cap < 16 ? w->cap : 16;
			w->leave = 1;
		}
		/* else not where a message begins: joined late, or a body that was not announced. User space must know that it passed */
		h->noise = 1;
		w->done = 1;
		return w->left;
	}
	s = scan(w, d->partial ? d->line : L_OTHER, d->remaining, false);
	if (!s->end && w->cap < w->left && w->cap < PIECE_MAX)
		return 0;
	take = s->end ? s->end : w->cap;
	whole = s->end && !d->partial && !request;
	if (!d->partial) {
		w->heads = request;
		w->note = NOTE_HEAD | (request ? NOTE_REQUEST : 0);
		if (note_number(w))
			w->note |= NOTE_NUMBER | h->count;
	}
	d->flags |= s->flags;
	d->remaining = s->length;
	d->line = s->line;
	if (head_first(w, d, request, take)) {
		if (request)
			request_head(w, d->first);
		else
			answer_head(w, d->first);
	}
	d->partial += take;
	if (d->partial < PARTIAL_MAX)
		w->emit = take;
	else
		d->partial = PARTIAL_MAX;
	if (s->end) {
		w->leave = !!(d->flags & F_SWITCH);
		head_done(d, request);
	}
	if (whole) {
		abridge(w, s);
		w->hold = w->span && d->mode == M_SKIP && !is_uncertain(w);
	}
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
	__u32 at;   /* in: where it begins */
};

static __always_inline __u32 do_http1_chunk_line(struct walk *w)
{
	struct chunk_line *l = (struct chunk_line *)w->tmp;

	l->len = 0;
	for (__u32 i = 0; i < LINE_MAX; i++) {
		__u32 pos = l->at + i;
		__u8 c = w->data[pos & (2 * PIECE_MAX - 1)], low = c | 0x20;

		if (pos >= w->cap)
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

static __always_inline __u32 walk_trailer(struct walk *w, struct h1_dir *d)
{
	struct scan *s = scan(w, d->mode == M_TRAIL ? d->line : L_OTHER, 0, false);
	__u32 take = s->end ? s->end : w->cap;

	if (!s->end && w->cap < w->left && w->cap < PIECE_MAX)
		return 0;
	d->mode = M_TRAIL;
	d->digits = 0;
	d->line = s->line;
	d->partial += take;
	if (d->partial < PARTIAL_MAX)
		w->emit = take;
	else
		d->partial = PARTIAL_MAX;
	if (s->end)
		head_reset(d);
	return take;
}

static __always_inline bool is_hex(__u8 c)
{
	__u8 low = c | 0x20;

	return (c >= '0' && c <= '9') || (low >= 'a' && low <= 'f');
}

/* Over the data of a chunk that ends in this piece, and over the next chunk's line, unless it is the last one. */
static int chunk_step(__u32 i, void *unused)
{
	struct walk *w = walk_get();
	struct chunk_line *l;
	struct h1_dir *d;
	__u32 line, next;

	if (!w)
		return 1;
	l = (struct chunk_line *)w->tmp;
	d = &own(w)->d;
	line = l->at;
	next = line + (__u32)d->remaining;
	if (d->remaining > w->cap || next + LINE_MAX > w->cap || !is_hex(w->data[next & PIECE_MASK]))
		return 1;
	l->at = next;
	l->size = 0;
	l->ext = 0;
	http1_chunk_line();
	if (!l->len || !l->size) {
		l->at = line;
		return 1;
	}
	l->at = next + l->len;
	d->body += l->size;
	d->remaining = l->size + 2;
	return 0;
}

static __always_inline __u32 walk_chunk(struct walk *w, struct h1_dir *d)
{
	struct chunk_line *l = (struct chunk_line *)w->tmp;
	bool fresh = !d->digits;
	__u32 n;

	if (w->cap < LINE_MAX && w->cap < w->left)
		return 0;
	l->size = fresh ? 0 : d->remaining;
	l->ext = d->digits & EXTENSION;
	l->at = 0;
	http1_chunk_line();
	if (fresh)
		w->note = NOTE_CHUNK_MAKE(d->body, own(w)->count - 1) | note_number(w);
	if (!l->len) {
		n = w->cap < LINE_MAX ? w->cap : LINE_MAX;
		d->flags = 0;
		d->remaining = l->size;
		d->digits = 1 | (l->ext ? EXTENSION : 0);
		w->emit = n;
		return n;
	}
	d->flags = 0;
	n = l->len;
	if (!l->size)
		return walk_trailer(w, d);
	w->emit = fresh ? 0 : n;
	d->digits = 0;
	d->body += l->size;
	d->remaining = l->size + 2;
	if (!fresh)
		return n;
	l->at = n;
	bpf_loop(PIECE_MAX / 4, chunk_step, NULL, 0);
	return l->at;
}

/*
 * Where a body should begin or go on, is there a message instead? In a request's place a body may look like one: it takes
 * a whole line, or at least one that goes as far as a path.
 */
static __always_inline bool is_message_instead(struct walk *w, const struct h1_dir *d)
{
	int line;

	if (d->mode == M_CHUNK && !d->digits && !is_hex(w->data[0]))
		return true;
	if (!is_doubtful(w) || !starts_message(w))
		return false;
	if (!is_request(w))
		return true;
	line = line_ends_well(w);
	if (line >= 0)
		return line;
	for (__u32 i = 3; i < 24; i++)
		if (w->data[i] == ' ')
			return i + 1 < w->cap && w->data[i + 1] == '/';
	return false;
}

static __always_inline __u32 walk_any(struct walk *w)
{
	struct h1_dir *d = &own(w)->d;

	w->note = NOTE_REST;
	if ((d->mode == M_SKIP || d->mode == M_CHUNK || d->mode == M_CLOSE) && is_message_instead(w, d))
		head_reset(d);
	switch (d->mode) {
	case M_SKIP:
	case M_CLOSE:
		return skip_body(w, d);
	case M_CHUNK:
		return walk_chunk(w, d);
	case M_TRAIL:
		return walk_trailer(w, d);
	default:
		return walk_head(w);
	}
}

static __always_inline __u32 do_http1_walk(struct walk *w)
{
	__u32 take = walk_any(w);

	tell_end(w);
	return take;
}

PROTO_ENTRY(http1_detect)
PROTO_ENTRY(http1_skip)

/* Framing that passed unread: from here on only a message's start is certain. Known lengths were skipped before. */
static __always_inline __u32 do_http1_gap(struct walk *w)
{
	struct h1 *h = own(w);

	head_reset(&h->d);
	/* nor is it known how many messages these were: none is outstanding */
	h->count = other(w)->count;
	h->no_body = 0;
	h->connect = 0;
	h->uncertain = 1;
	return 0;
}
PROTO_ENTRY(http1_gap)
PROTO_ENTRY(http1_walk)
