// SPDX-License-Identifier: Apache-2.0
/*
 * A connection is a row of turns: the requests of a turn (one, or a pipelined burst) and their answers. Inside
 * a turn the two sides may interleave as far as a server could do it: an answer begins behind its
 * request's gate (its end; or its head's end, if the server is early). An expected 100 makes a turn of its own.
 * Then each side of a turn is cut into system calls, in one of several manners.
 */
#include "tests/shim/traffic.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define grow(array, n, room)                                                 \
	do {                                                                 \
		if ((n) == (room)) {                                         \
			(room) = (room) ? (room) * 2 : 16;                   \
			(array) = realloc((array), (room) * sizeof(*(array))); \
		}                                                            \
	} while (0)

uint64_t rng_next(uint64_t *rng)
{
	*rng ^= *rng >> 12;
	*rng ^= *rng << 25;
	*rng ^= *rng >> 27;
	return *rng * 0x2545f4914f6cdd1dULL;
}

size_t rng_below(uint64_t *rng, size_t n)
{
	return n ? (rng_next(rng) >> 11) % n : 0;
}

void bytes_add(struct bytes *b, const void *p, size_t n)
{
	while (b->n + n > b->room) {
		b->room = b->room ? b->room * 2 : 1024;
		b->p = realloc(b->p, b->room);
	}
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static size_t below(struct traffic *t, size_t n)
{
	return rng_below(&t->rng, n);
}

static bool one_in(struct traffic *t, size_t n)
{
	return !below(t, n);
}

/* In `side`, a write may end here. */
static void cut_here(struct traffic *t, int side)
{
	grow(t->cuts[side], t->n_cuts[side], t->room_cuts[side]);
	t->cuts[side][t->n_cuts[side]++] = t->side[side].n;
}

__attribute__((format(printf, 3, 4))) static void put(struct traffic *t, int side, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	bytes_add(&t->side[side], line, strlen(line));
}

/* Bodies hold what could be mistaken for framing. */
static void put_body(struct traffic *t, int side, size_t n)
{
	static const char *const texts[] = {
		"x", "AND THE REST IS TEXT ", "\r\n", "0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
		"GET /wrong HTTP/1.1\r\nHost: wrong\r\n\r\n", "{\"a\": [1, 2, 3]}\n", "\x16\x03\x01\x00\xff",
	};
	const char *text = texts[below(t, sizeof(texts) / sizeof(*texts))];
	size_t len = strlen(text), shift = below(t, len);
	struct bytes *b = &t->side[side];

	if (!n)
		return;
	bytes_add(b, text + shift, len - shift < n ? len - shift : n);
	n -= len - shift < n ? len - shift : n;
	for (; n >= len && len; n -= len)
		bytes_add(b, text, len);
	bytes_add(b, text, n);
}

static size_t body_size(struct traffic *t)
{
	switch (below(t, 40)) {
	case 0: return below(t, 200000);
	case 1: case 2: return below(t, 40000);
	case 3: case 4: case 5: case 6: case 7: return below(t, 5000);
	case 8: case 9: case 10: case 11: return 0;
	}
	return below(t, 200);
}

static void put_name(struct traffic *t, int side, const char *name)
{
	char text[32];
	int manner = below(t, 3);
	size_t i;

	for (i = 0; name[i]; i++)
		text[i] = manner == 0 ? name[i] : name[i] >= 'A' && (manner == 1 || one_in(t, 2)) ? name[i] ^ 0x20 : name[i];
	text[i] = 0;
	put(t, side, "%s:%.*s", text, (int)below(t, 4), one_in(t, 3) ? " \t " : "   ");
}

static void put_fields(struct traffic *t, int side, size_t n)
{
	static const char *const fields[] = {
		"Host: example.test", "Content-Type: text/plain", "Cookie: a=b", "X-Content-Length: 99", "Content-Lengthy: 12",
		"Accept: */*", "TE: trailers", "Transfer-Encodings: chunked", "Connection: keep-alive", "Trailer: X",
		"content-language: en", "t: c", "C:", "User-Agent: HTTP/1.1 200 OK", "X-Note: GET / HTTP/1.1", "Cache-Control: a\rb",
	};

	while (n--) {
		put(t, side, "%s", fields[below(t, sizeof(fields) / sizeof(*fields) - 1)]);
		if (one_in(t, 12))
			put(t, side, "; %0*d", (int)below(t, 400) + 1, 7);
		if (one_in(t, 400))
			for (int i = 0; i < 30; i++)
				put(t, side, " %0*d", 400, i);
		put(t, side, "\r\n");
	}
}

static void put_chunked(struct traffic *t, int side, size_t n)
{
	static const size_t most[] = { 5, 100, 2000, 40000 };
	size_t max = most[below(t, n > 20000 ? 4 : 3) | (n > 20000 ? 2 : 0)];

	cut_here(t, side);
	while (n) {
		size_t len = 1 + below(t, n < max ? n : max);

		put(t, side, one_in(t, 2) ? "%zx" : "%zX", len);
		if (one_in(t, 10))
			put(t, side, ";name=\"%0*d\"", (int)below(t, one_in(t, 3) ? 90 : 8) + 1, 1);
		put(t, side, "\r\n");
		put_body(t, side, len);
		put(t, side, "\r\n");
		cut_here(t, side);
		n -= len;
	}
	put(t, side, "%.*s", (int)below(t, 4) + 1, "0000");
	if (one_in(t, 8))
		put(t, side, ";last=\"%0*d\"", (int)below(t, 80) + 1, 0);
	put(t, side, "\r\n");
	if (one_in(t, 3))
		cut_here(t, side);
	put_fields(t, side, one_in(t, 3) ? 1 + below(t, 4) : 0);
	put(t, side, "\r\n");
}

/* The rest of a head. The order of the fields is any. */
static void put_head(struct traffic *t, int side, size_t n, bool chunked)
{
	put_fields(t, side, below(t, 8));
	put_name(t, side, chunked ? "Transfer-Encoding" : "Content-Length");
	put(t, side, chunked ? "chunked\r\n" : "%zu\r\n", n);
	put_fields(t, side, below(t, 5));
	put(t, side, "\r\n");
	cut_here(t, side);
}

static void put_content(struct traffic *t, int side, size_t n, bool chunked)
{
	if (chunked)
		put_chunked(t, side, n);
	else
		put_body(t, side, n);
	cut_here(t, side);
}

static struct exchange *add_exchange(struct traffic *t, const char *method)
{
	struct exchange *x;

	grow(t->x, t->n_x, t->room_x);
	x = &t->x[t->n_x++];
	memset(x, 0, sizeof(*x));
	snprintf(x->method, sizeof(x->method), "%s", method);
	snprintf(x->path, sizeof(x->path), "/call/%zu", t->n_x - 1);
	return x;
}

static void put_request(struct traffic *t, struct exchange *x, bool body)
{
	size_t n = body ? body_size(t) : 0;

	put(t, SIDE_REQUESTS, "%s %s%s HTTP/1.1\r\n", x->method, strcmp(x->method, "CONNECT") ? x->path : "example.test:443",
	    one_in(t, 4) && strcmp(x->method, "CONNECT") ? "?q=HTTP/1.1" : "");
	if (body) {
		bool chunked = one_in(t, 3);

		put_head(t, SIDE_REQUESTS, n, chunked);
		x->head_end = t->side[SIDE_REQUESTS].n;
		put_content(t, SIDE_REQUESTS, n, chunked);
	} else {
		put_fields(t, SIDE_REQUESTS, below(t, 10));
		put(t, SIDE_REQUESTS, "\r\n");
	}
	x->request_bytes = n;
	if (!body)
		x->head_end = t->side[SIDE_REQUESTS].n;
	cut_here(t, SIDE_REQUESTS);
	/* clients of old add an empty line behind a body */
	if (body && one_in(t, 40))
		put(t, SIDE_REQUESTS, "\r\n");
}

static void put_interim(struct traffic *t, int status)
{
	put(t, SIDE_ANSWERS, "HTTP/1.1 %d Interim\r\n", status);
	put_fields(t, SIDE_ANSWERS, below(t, 3));
	put(t, SIDE_ANSWERS, "\r\n");
	cut_here(t, SIDE_ANSWERS);
}

static int some_status(struct traffic *t)
{
	static const int statuses[] = { 200, 200, 200, 201, 204, 206, 301, 304, 400, 404, 418, 500, 503 };

	return statuses[below(t, sizeof(statuses) / sizeof(*statuses))];
}

static void put_answer(struct traffic *t, struct exchange *x)
{
	bool head = !strcmp(x->method, "HEAD");
	bool bare;
	size_t n = body_size(t);

	if (!x->status)
		x->status = some_status(t);
	bare = x->status == 204 || x->status == 304 || head;
	x->answer_at = t->side[SIDE_ANSWERS].n;
	while (one_in(t, 12))
		put_interim(t, one_in(t, 2) ? 103 : 102);
	put(t, SIDE_ANSWERS, "HTTP/1.%d %d %s\r\n", one_in(t, 20) ? 0 : 1, x->status, one_in(t, 5) ? "" : "Some Reason");
	if (bare && one_in(t, 2)) {
		put_fields(t, SIDE_ANSWERS, below(t, 6));
		put(t, SIDE_ANSWERS, "\r\n");
		cut_here(t, SIDE_ANSWERS);
	} else {
		bool chunked = one_in(t, 3);

		put_head(t, SIDE_ANSWERS, n, chunked);
		if (bare)
			return;
		put_content(t, SIDE_ANSWERS, n, chunked);
		x->response_bytes = n;
	}
}

/* --- cutting --- */

enum manner { CUT_NONE, CUT_WRITES, CUT_TINY, CUT_RANDOM, CUT_64K, CUT_BYTE, CUT_MANNERS };

static size_t cut_next(struct traffic *t, int side, enum manner m, size_t from, size_t to)
{
	size_t n = to - from;

	switch (m) {
	case CUT_WRITES:
		for (size_t i = 0; i < t->n_cuts[side]; i++)
			if (t->cuts[side][i] > from && t->cuts[side][i] < to)
				return t->cuts[side][i];
		return to;
	case CUT_TINY: n = 1 + below(t, 40); break;
	case CUT_RANDOM: n = 1 + below(t, (size_t)1 << (1 + below(t, 17))); break;
	case CUT_64K: n = 65536; break;
	case CUT_BYTE: n = 1; break;
	default: break;
	}
	/* nobody reads more than this at once */
	if (n > 128 << 10)
		n = 128 << 10;
	return to - from < n ? to : from + n;
}

static void pass(struct traffic *t, int side, size_t *pos, size_t to, enum manner m)
{
	size_t next = cut_next(t, side, m, *pos, to);

	grow(t->ev, t->n_ev, t->room_ev);
	t->ev[t->n_ev++] = (struct passing){ side, *pos, next };
	*pos = next;
}

static enum manner some_manner(struct traffic *t, size_t n)
{
	enum manner m = below(t, CUT_MANNERS);

	if ((m == CUT_BYTE && n > 3000) || (m == CUT_TINY && n > 20000))
		return CUT_RANDOM;
	return m;
}

/* How far the answers may go when `passed` bytes of the requests did. */
static size_t answers_allowed(const struct traffic *t, size_t first, size_t passed, size_t end)
{
	for (size_t i = first; i < t->n_x; i++)
		if (t->x[i].gate > passed)
			return t->x[i].answer_at < end ? t->x[i].answer_at : end;
	return end;
}

/* What was added to both sides since `from`, exchanges from `first` on, becomes system calls. */
static void end_turn(struct traffic *t, size_t first, size_t from[2])
{
	size_t end[2] = { t->side[0].n, t->side[1].n };
	enum manner m[2] = { some_manner(t, end[0] - from[0]), some_manner(t, end[1] - from[1]) };

	if (t->refused && (m[0] == CUT_BYTE || m[0] == CUT_TINY || m[0] == CUT_RANDOM))
		m[0] = CUT_WRITES;
	t->refused = false;
	while (from[0] < end[0] || from[1] < end[1]) {
		size_t may = answers_allowed(t, first, from[0], end[1]);

		if (from[1] < may && (from[0] == end[0] || one_in(t, 3)))
			pass(t, SIDE_ANSWERS, &from[1], may, m[1]);
		else
			pass(t, SIDE_REQUESTS, &from[0], end[0], m[0]);
	}
}

/* --- turns --- */

static const char *some_method(struct traffic *t, bool *ret_body)
{
	static const char *const methods[] = { "GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH" };
	const char *m = methods[below(t, sizeof(methods) / sizeof(*methods))];

	*ret_body = m[0] == 'P' || one_in(t, 15);
	return m;
}

static void burst(struct traffic *t, size_t n)
{
	size_t from[2] = { t->side[0].n, t->side[1].n }, first = t->n_x;

	for (size_t i = 0; i < n; i++) {
		bool body;
		struct exchange *x = add_exchange(t, some_method(t, &body));

		put_request(t, x, body);
		x->early = body && one_in(t, 6);
		x->gate = x->early ? x->head_end : t->side[SIDE_REQUESTS].n;
	}
	for (size_t i = 0; i < n; i++)
		put_answer(t, &t->x[first + i]);
	end_turn(t, first, from);
}

static void turn_begin(struct traffic *t, size_t from[2])
{
	from[0] = t->side[0].n;
	from[1] = t->side[1].n;
}

/* 100-continue: the body comes after the interim answer, or, refused, not at all. */
static void expect(struct traffic *t)
{
	size_t from[2], first = t->n_x, n = 1 + body_size(t);
	struct exchange *x = add_exchange(t, one_in(t, 2) ? "POST" : "PUT");
	bool refused = one_in(t, 2), chunked = one_in(t, 3);

	turn_begin(t, from);
	put(t, SIDE_REQUESTS, "%s %s HTTP/1.1\r\nExpect: 100-continue\r\n", x->method, x->path);
	put_head(t, SIDE_REQUESTS, n, chunked);
	x->head_end = x->gate = t->side[SIDE_REQUESTS].n;
	x->answer_at = t->side[SIDE_ANSWERS].n;
	if (refused) {
		x->status = one_in(t, 2) ? 417 : 401;
		put_answer(t, x);
		end_turn(t, first, from);
		t->refused = true;
		return;
	}
	put_interim(t, 100);
	end_turn(t, first, from);
	turn_begin(t, from);
	put_content(t, SIDE_REQUESTS, n, chunked);
	x->request_bytes = n;
	x->gate = t->side[SIDE_REQUESTS].n;
	put_answer(t, x);
	end_turn(t, first, from);
}

/* An answer without length. */
static void until_close(struct traffic *t)
{
	size_t from[2], first = t->n_x, n = body_size(t);
	struct exchange *x = add_exchange(t, "GET");

	turn_begin(t, from);
	put_request(t, x, false);
	x->gate = t->side[SIDE_REQUESTS].n;
	x->answer_at = t->side[SIDE_ANSWERS].n;
	x->status = 200;
	put(t, SIDE_ANSWERS, "HTTP/1.%d 200 OK\r\nConnection: close\r\n\r\n", (int)below(t, 2));
	cut_here(t, SIDE_ANSWERS);
	put_body(t, SIDE_ANSWERS, n);
	x->response_bytes = n;
	end_turn(t, first, from);
	t->by_close = true;
}

/* CONNECT, or an upgrade: behind it stands anything. */
static void tunnel(struct traffic *t)
{
	size_t from[2], first = t->n_x;
	bool connect = one_in(t, 2);
	struct exchange *x = add_exchange(t, connect ? "CONNECT" : "GET");

	turn_begin(t, from);
	if (connect)
		x->path[0] = 0;
	put(t, SIDE_REQUESTS, connect ? "CONNECT example.test:443 HTTP/1.1\r\n" : "GET %s HTTP/1.1\r\nUpgrade: websocket\r\n", x->path);
	put_fields(t, SIDE_REQUESTS, below(t, 5));
	put(t, SIDE_REQUESTS, "\r\n");
	x->gate = t->side[SIDE_REQUESTS].n;
	x->answer_at = t->side[SIDE_ANSWERS].n;
	if (connect && one_in(t, 3)) {
		x->status = 403;
		put_answer(t, x);
		end_turn(t, first, from);
		return;
	}
	x->status = connect ? 200 : 101;
	put(t, SIDE_ANSWERS, "HTTP/1.1 %d Go\r\n", x->status);
	put_fields(t, SIDE_ANSWERS, below(t, 5));
	put(t, SIDE_ANSWERS, "\r\n");
	end_turn(t, first, from);
	turn_begin(t, from);
	put_body(t, SIDE_REQUESTS, 1 + below(t, 3000));
	put_body(t, SIDE_ANSWERS, 1 + below(t, 3000));
	end_turn(t, t->n_x, from);
	t->leaves = true;
}

void traffic_make(struct traffic *t, uint64_t seed, size_t calls)
{
	memset(t, 0, sizeof(*t));
	t->rng = seed * 0x9e3779b97f4a7c15ULL | 1;
	for (int i = 0; i < 4; i++)
		rng_next(&t->rng);
	calls = 1 + below(t, calls);
	while (t->n_x < calls) {
		if (one_in(t, 10))
			expect(t);
		else if (one_in(t, 60))
			burst(t, 1 + below(t, 64)); /* as many as the kernel's half can keep apart */
		else
			burst(t, one_in(t, 4) ? 1 + below(t, 8) : 1);
	}
	if (one_in(t, 6))
		until_close(t);
	else if (one_in(t, 6))
		tunnel(t);
}

void traffic_free(struct traffic *t)
{
	for (int i = 0; i < 2; i++) {
		free(t->side[i].p);
		free(t->cuts[i]);
	}
	free(t->x);
	free(t->ev);
	memset(t, 0, sizeof(*t));
}
