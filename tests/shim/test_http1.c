// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1's two halves together. The kernel's (bpf/classify.bpf.c and bpf/proto/http1.bpf.c themselves, compiled
 * natively) chooses what is sent; the decoder must make the same calls of it as of all bytes, and both
 * the calls that were truly made. SEED=n varies the random connections, ROUNDS=n their number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bpf/shared/note.h"
#include "tests/shim/kernel.h"
#include "tests/shim/receiver.h"
#include "tests/shim/traffic.h"

/* --- one connection in the kernel, with its records kept --- */

#define RECORDS_MAX 512

struct kept {
	int dir;
	uint64_t pos, note;
	unsigned heads, gap;
	size_t len, span;
	uint64_t after;
	char text[256]; /* its beginning */
};

struct bench {
	struct sonde_conn c;
	struct kept r[RECORDS_MAX];
	size_t n;
	uint64_t bytes;
	bool full; /* the ring has no room */
};

static int keep(void *ctx, const struct ev_hdr *rec, __u64 size)
{
	const struct ev_data *e = (const struct ev_data *)rec;
	struct bench *b = ctx;
	struct kept *k = &b->r[b->n];

	if (b->full)
		return -1;
	if (rec->kind != EV_DATA)
		return 0;
	assert_true(b->n < RECORDS_MAX);
	assert_int_equal(size, sizeof(*e) + e->len);
	*k = (struct kept){ e->dir, e->pos, e->note, e->heads, e->h.flags & DATA_GAP, e->len, e->span, e->after, "" };
	memcpy(k->text, e + 1, e->len < 255 ? e->len : 255);
	b->bytes += e->len;
	b->n++;
	return 0;
}

static void open_conn(struct bench *b, uint16_t flags)
{
	memset(b, 0, sizeof(*b));
	shim_kernel_init(keep, b);
	shim_conn_open(&b->c, 7, flags);
}

static void passes(struct bench *b, int dir, const void *p, size_t n)
{
	struct shim_iovec v = { p, n };

	shim_conn_bytes(&b->c, dir, &v, 1, n);
}

static void recvs(struct bench *b, const char *text)
{
	passes(b, DIR_RECV, text, strlen(text));
}

static void sends(struct bench *b, const char *text)
{
	passes(b, DIR_SEND, text, strlen(text));
}

/* n bytes of a body */
static void body(struct bench *b, int dir, size_t n)
{
	char *p = calloc(1, n);

	assert_non_null(p);
	passes(b, dir, p, n);
	free(p);
}

static void expect_record(struct bench *b, size_t i, int dir, uint64_t pos, const char *text, unsigned heads)
{
	assert_true(i < b->n);
	assert_int_equal(b->r[i].dir, dir);
	assert_int_equal(b->r[i].pos, pos);
	assert_string_equal(b->r[i].text, text);
	assert_int_equal(b->r[i].len, strlen(text));
	assert_int_equal(b->r[i].heads, heads);
}

/* An abridged answer: `text` was sent of `span` bytes at `pos`, and `after` bytes of its body went by before the record did. */
static void expect_answer(struct bench *b, size_t i, int dir, uint64_t pos, const char *text, size_t span, uint64_t after)
{
	expect_record(b, i, dir, pos, text, 0);
	assert_int_equal(b->r[i].span, span);
	assert_int_equal(b->r[i].after, after);
}

#define FROM_START (CONN_SERVER | CONN_FROM_START)
#define GET "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define OK_SENT "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"

/* --- detect --- */

static bool detected(const void *p, size_t n)
{
	struct bench b;

	open_conn(&b, FROM_START);
	passes(&b, DIR_RECV, p, n);
	assert_true(!b.c.proto == !!(b.c.ignored));
	return b.c.proto == PROTO_HTTP1;
}

static void test_detect_methods(void **state)
{
	static const char *const methods[] = {
		"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "M-SEARCH", "PURGE",
	};
	char text[256];

	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		size_t n = snprintf(text, sizeof(text), "%s /index.html HTTP/1.1\r\nHost: a\r\n\r\n", methods[i]);

		/* the whole, and any beginning of it */
		for (size_t k = 1; k <= n; k++)
			if (!detected(text, k))
				fail_msg("%s: %zu bytes are not recognised", methods[i], k);
	}
	assert_true(detected("GET / HTTP/1.0\n\n", 16));
	assert_true(detected(OK_EMPTY, sizeof(OK_EMPTY) - 1));
}

static void test_detect_long_target(void **state)
{
	char text[4000];
	size_t n;

	memset(text, 'x', sizeof(text));
	memcpy(text, "GET /", 5);
	for (n = 900; n < 4000; n += 101)
		assert_true(detected(text, n));
}

static void test_detect_nothing(void **state)
{
#define T(text) { text, sizeof(text) - 1 }
	static const struct {
		const char *p;
		size_t n;
	} none[] = {
		T("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), T("*1\r\n$4\r\nPING\r\n"), T("PING\r\n"), T("SET key some value\r\n"),
		T("SSH-2.0-OpenSSH_9.2p1\r\n"), T("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), T("OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
		T("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"), T("INVITE sip:bob@example.test SIP/2.0\r\n\r\n"), T("SIP/2.0 200 OK\r\n\r\n"),
		T("EHLO mail.example.test\r\n"), T("USER anonymous\r\n"), T("\x00\x00\x00\x08\x04\xd2\x16\x2f"), T("AMQP\x00\x00\x09\x01"),
		T("get / HTTP/1.1\r\n\r\n"), T("GET  / HTTP/1.1\r\n\r\n"), T("GET / HTTP/2.0\r\n\r\n"), T("GET /\r\n"), T("HTTP/2 200\r\n\r\n"),
		T("HTTP/1.7 200 OK\r\n\r\n"), T("G\x00T / HTTP/1.1\r\n\r\n"), T("\r\n\r\n"), T(" GET / HTTP/1.1\r\n\r\n"), T("GET\x00/ HTTP/1.1\r\n\r\n"),
		T("\x03\x00\x00\x13\x0e\xe0"), T("{\"jsonrpc\": \"2.0\"}"), T("SELECT 1;\n"), T("1234"), T("AB / HTTP/1.1\r\n"),
	};
#undef T
	uint64_t rng = 42;
	int hits = 0;

	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
		if (detected(none[i].p, none[i].n))
			fail_msg("taken for HTTP: %s", none[i].p);
	for (int i = 0; i < 2000; i++) {
		uint64_t noise[8];

		for (int k = 0; k < 8; k++)
			noise[k] = rng_next(&rng);
		hits += detected(noise, sizeof(noise));
	}
	assert_int_equal(hits, 0);
}

/* --- walk and skip --- */

static void test_lengths(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
	sends(&b, "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH:\t 1000\r\nDate: never\r\n\r\n");
	body(&b, DIR_SEND, 400);
	assert_int_equal(b.n, 2); /* the record waits for the rest */
	body(&b, DIR_SEND, 600);
	recvs(&b, GET);
	assert_int_equal(b.n, 4);
	expect_record(&b, 0, DIR_RECV, 0, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 1);
	expect_record(&b, 1, DIR_RECV, 44, "", 0); /* the body's end tells its time */
	expect_answer(&b, 2, DIR_SEND, 0, "HTTP/1.1 200 \r\ncontent-LENGTH:\t 1000\r\n\r\n", 66, 1000);
	expect_record(&b, 3, DIR_RECV, 44, GET, 1);
}

static void test_chunks(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, GET);
	sends(&b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n");
	sends(&b, OK_EMPTY);
	assert_int_equal(b.n, 4);
	expect_record(&b, 2, DIR_SEND, 47 + 8 + 20, "0\r\n\r\n", 0);
	assert_true(b.r[2].note == (NOTE_NUMBER | NOTE_CHUNK_MAKE(13, 0)));
	expect_answer(&b, 3, DIR_SEND, 80, OK_SENT, 38, 0);
}

/* One answer cut at every byte, or byte by byte: the next message is found, and what is sent has no useless byte. */
static void test_split_everywhere(void **state)
{
	static const char first[] = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
				    "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n"
				    "5;ext=\"a quoted value that is longer than one look\"\r\nhello\r\nb\r\nhello world\r\n"
				    "00;last\r\nContent-Length: 77\r\nTrailer: z\r\n\r\n"
				    "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y\r\n\r\nhello, hello" OK_EMPTY;
	const size_t n = sizeof(first) - 1;
	struct bench b;

	for (size_t cut = 0; cut < n; cut++) {
		uint64_t sent = 0;

		open_conn(&b, FROM_START);
		recvs(&b, GET GET GET);
		if (cut) {
			passes(&b, DIR_SEND, first, cut);
			passes(&b, DIR_SEND, first + cut, n - cut);
		} else {
			for (size_t i = 0; i < n; i++)
				passes(&b, DIR_SEND, first + i, 1);
		}
		sends(&b, OK_EMPTY);
		expect_answer(&b, b.n - 1, DIR_SEND, n, OK_SENT, 38, 0);
		for (size_t i = 3; i < b.n - 1; i++)
			sent += b.r[i].len;
		/* nor, in a whole and plain head, what frames nothing */
		assert_in_range(sent, n - 12 - 16 - 60 - 2 - 8, n - 12 - 16);
	}
}

static void test_no_bodies(void **state)
{
	static const char *const heads[] = {
		"HTTP/1.1 204 No Content\r\nContent-Length: 50\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" OK_EMPTY,
	};
	struct bench b;

	for (size_t i = 0; i < 3; i++) {
		open_conn(&b, FROM_START);
		recvs(&b, GET GET);
		sends(&b, heads[i]);
		sends(&b, OK_EMPTY);
		expect_answer(&b, b.n - 1, DIR_SEND, strlen(heads[i]), OK_SENT, 38, 0);
	}
}

static void test_head(void **state)
{
	static const char get[] = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", head[] = "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n";
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, GET "HEAD / HTTP/1.1\r\n\r\n" GET "HEAD / HTTP/1.1\r\n\r\n");
	sends(&b, get);
	body(&b, DIR_SEND, 50);
	sends(&b, head);
	sends(&b, get);
	body(&b, DIR_SEND, 50);
	sends(&b, head);
	sends(&b, OK_EMPTY);
	assert_int_equal(b.n, 9);
	expect_answer(&b, 4, DIR_SEND, 0, "HTTP/1.1 200 \r\nContent-Length: 50\r\n\r\n", 39, 50);
	expect_answer(&b, 5, DIR_SEND, 89, "HTTP/1.1 200 \r\nContent-Length: 900\r\n\r\n", strlen(head), 0);
	expect_answer(&b, 7, DIR_SEND, 89 + 40 + 89, "HTTP/1.1 200 \r\nContent-Length: 900\r\n\r\n", strlen(head), 0);
	expect_answer(&b, 8, DIR_SEND, 2 * (89 + 40), OK_SENT, 38, 0);
}

/* More requests at once than there are bits for HEAD: what has no body is seen by what stands there. */
static void test_many_outstanding(void **state)
{
	struct bench b;
	const int n = 100;

	open_conn(&b, FROM_START);
	for (int i = 0; i < n; i++)
		recvs(&b, "HEAD / HTTP/1.1\r\n\r\n");
	for (int i = 0; i < n; i++)
		sends(&b, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
	assert_int_equal(b.n, 2 * n);
	for (int i = 0; i < n; i++)
		expect_answer(&b, n + i, DIR_SEND, 43 * i, "HTTP/1.1 200 \r\nContent-Length: 100000\r\n\r\n", 43, 0);
}

static void test_leaves(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
	sends(&b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
	assert_true(b.c.ignored);

	open_conn(&b, FROM_START);
	recvs(&b, GET "CONNECT a:1 HTTP/1.1\r\n\r\n");
	sends(&b, OK_EMPTY);
	assert_false(b.c.ignored);
	sends(&b, "HTTP/1.1 200 OK\r\n\r\n");
	assert_true(b.c.ignored);

	open_conn(&b, FROM_START);
	recvs(&b, "CONNECT a:1 HTTP/1.1\r\n\r\n");
	sends(&b, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
	assert_false(b.c.ignored);
	recvs(&b, GET);
	expect_record(&b, 2, DIR_RECV, 24, GET, 1);
}

static void test_until_close(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, GET);
	sends(&b, "HTTP/1.0 200 OK\r\n\r\n");
	for (int i = 0; i < 10; i++)
		body(&b, DIR_SEND, 100000);
	sends(&b, OK_EMPTY); /* is body */
	assert_int_equal(b.n, 2);
}

/* The refused body does not come; the one that is sent all the same is no message. */
static void test_expect_refused(void **state)
{
	static const char post[] = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n";
	static const char chunked[] = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const char no[] = "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", next[] = "DELETE /b HTTP/1.1\r\n\r\n";
	struct bench b;

	for (int i = 0; i < 2; i++) {
		const char *p = i ? chunked : post;

		open_conn(&b, FROM_START);
		recvs(&b, p);
		sends(&b, no);
		recvs(&b, next);
		sends(&b, OK_EMPTY);
		assert_int_equal(b.n, 4);
		expect_record(&b, 2, DIR_RECV, strlen(p), next, 1);
	}
	open_conn(&b, FROM_START);
	recvs(&b, post);
	sends(&b, no);
	body(&b, DIR_RECV, 250);
	recvs(&b, "GET /is/body HTTP/1.1\r\n\r\n"); /* 25 bytes of it */
	body(&b, DIR_RECV, 225);
	recvs(&b, next);
	assert_int_equal(b.n, 4);
	expect_record(&b, 3, DIR_RECV, strlen(post) + 500, next, 1);
}

static void test_empty_lines(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, GET "\r\n" "HEAD / HTTP/1.1\r\n\r\n");
	recvs(&b, "\r");
	recvs(&b, "\n" GET);
	sends(&b, OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" OK_EMPTY);
	assert_int_equal(b.n, 9);
	expect_record(&b, 2, DIR_RECV, 30, "HEAD / HTTP/1.1\r\n\r\n", 1);
	expect_record(&b, 5, DIR_RECV, 51, GET, 1);
	expect_answer(&b, 8, DIR_SEND, 38 + 38, OK_SENT, 38, 0);
}

/* An answer that is seen before its request: one blocking send ends behind it. */
static void test_answer_first(void **state)
{
	struct bench b;

	open_conn(&b, CONN_CLIENT | CONN_FROM_START);
	sends(&b, GET);
	recvs(&b, OK_EMPTY OK_EMPTY);
	sends(&b, "HEAD /b HTTP/1.1\r\n\r\n");
	sends(&b, "HEAD /c HTTP/1.1\r\n\r\n");
	recvs(&b, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n");
	recvs(&b, OK_EMPTY);
	assert_int_equal(b.n, 7);
	expect_answer(&b, 6, DIR_RECV, 2 * 38 + 39, OK_SENT, 38, 0);
}

static void test_joined_late(void **state)
{
	struct bench b;

	open_conn(&b, CONN_SERVER);
	body(&b, DIR_RECV, 3000);
	body(&b, DIR_RECV, 3000);
	assert_int_equal(b.c.proto, PROTO_UNKNOWN);
	sends(&b, OK_EMPTY);
	assert_int_equal(b.c.proto, PROTO_HTTP1);
	recvs(&b, "HEAD / HTTP/1.1\r\n\r\n");
	sends(&b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	recvs(&b, GET);
	sends(&b, OK_EMPTY);
	assert_int_equal(b.n, 5);
	expect_record(&b, 1, DIR_RECV, 6000, "HEAD / HTTP/1.1\r\n\r\n", 1);
	expect_answer(&b, 4, DIR_SEND, 38 + 47, OK_SENT, 38, 0);
}

/* A head of any length is followed to its end; only its first part is sent. */
static void test_long_heads(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, "GET / HTTP/1.1\r\nCookie: ");
	for (int i = 0; i < 100; i++)
		body(&b, DIR_RECV, 5001);
	recvs(&b, "\r\nContent-Length: 7\r\n\r\nseven b" GET);
	expect_record(&b, b.n - 1, DIR_RECV, 24 + 500100 + 30, GET, 1);
	assert_in_range(b.bytes, 120000, 140000);
	for (size_t i = 1; i < b.n - 1; i++)
		assert_int_equal(b.r[i].heads, 0);
}

/* What cannot be read is a hole; what is lost is counted by the requests that begin in it. */
static void test_full_ring(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, GET);
	b.full = true;
	recvs(&b, GET GET);
	assert_int_equal(shim_stat(STAT_LOST_RING), 2);
	assert_int_equal(shim_stat(STAT_LOST_RECORDS), 2);
	b.full = false;
	recvs(&b, GET GET);
	assert_int_equal(b.n, 3);
	expect_record(&b, 1, DIR_RECV, 3 * 28, GET, 1);
	assert_true(b.r[1].gap);
	assert_false(b.r[2].gap);
}

static void test_unreadable(void **state)
{
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, GET);
	sends(&b, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
	shim_conn_bytes(&b.c, DIR_SEND, NULL, 0, 5000); /* sendfile: a known body needs no look */
	sends(&b, OK_EMPTY);
	assert_int_equal(shim_stat(STAT_UNREADABLE_BYTES), 0);
	expect_answer(&b, 2, DIR_SEND, 5041, OK_SENT, 38, 0);
	shim_conn_bytes(&b.c, DIR_RECV, NULL, 0, 300);
	assert_int_equal(shim_stat(STAT_UNREADABLE_BYTES), 300);
	recvs(&b, GET);
	expect_record(&b, 3, DIR_RECV, 328, GET, 1);
}

/* What is not of the plain form goes as it is. */
static void test_not_abridged(void **state)
{
	static const char *const heads[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length:\r\n 0\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 \nContent-Length: 5\r\nServer: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n",
	};
	struct bench b;

	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		open_conn(&b, FROM_START);
		recvs(&b, GET);
		sends(&b, heads[i]);
		expect_answer(&b, 1, DIR_SEND, 0, heads[i], strlen(heads[i]), 0);
	}
}

/* A record that waits goes when its connection ends, and before anything else of its direction. */
static void test_held(void **state)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", sent[] = "HTTP/1.1 200 \r\nContent-Length: 1000\r\n\r\n";
	struct bench b;

	open_conn(&b, FROM_START);
	recvs(&b, GET);
	sends(&b, ok);
	body(&b, DIR_SEND, 100);
	assert_int_equal(b.n, 1);
	shim_conn_end(&b.c, END_PEER_RESET | END_CLOSED);
	assert_int_equal(b.n, 2);
	expect_answer(&b, 1, DIR_SEND, 0, sent, strlen(ok), 100);

	/* the ring is full when it would go */
	open_conn(&b, FROM_START);
	recvs(&b, GET);
	sends(&b, ok);
	b.full = true;
	body(&b, DIR_SEND, 1000);
	b.full = false;
	assert_int_equal(shim_stat(STAT_LOST_RECORDS), 1);
	recvs(&b, GET);
	assert_int_equal(b.n, 2);
	assert_true(b.r[1].gap);
	sends(&b, OK_EMPTY);
	expect_answer(&b, 2, DIR_SEND, strlen(ok) + 1000, OK_SENT, 38, 0);
	assert_false(b.r[2].gap);

	/* head and body at once make one record */
	open_conn(&b, FROM_START);
	recvs(&b, GET);
	sends(&b, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" OK_EMPTY);
	assert_int_equal(b.n, 3);
	expect_answer(&b, 1, DIR_SEND, 0, "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", 38, 5);
	expect_answer(&b, 2, DIR_SEND, 43, OK_SENT, 38, 0);
}

/* Of one event, so many messages are looked at; the rest is bytes that were not seen, and the next event is looked at again. */
static void test_too_many_pieces(void **state)
{
	struct bytes s = { 0 };
	struct bench b;

	for (int i = 0; i < 5000; i++)
		bytes_add(&s, GET, strlen(GET));
	open_conn(&b, FROM_START);
	b.full = true;
	passes(&b, DIR_RECV, s.p, s.n);
	free(s.p);
	assert_int_equal(shim_stat(STAT_LOST_RING), 4096);
	assert_int_equal(shim_stat(STAT_UNREADABLE_BYTES), (5000 - 4096) * strlen(GET));
	b.full = false;
	recvs(&b, GET);
	assert_int_equal(b.n, 1);
	expect_record(&b, 0, DIR_RECV, 5000 * strlen(GET), GET, 1);
	assert_true(b.r[0].gap);
	assert_false(b.r[0].note & NOTE_NUMBER);
}

/* A thousand chunks of one byte in one write are no thousand looks. */
static void test_small_chunks(void **state)
{
	struct bytes s = { 0 };
	struct bench b;

	bytes_add(&s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47);
	for (int i = 0; i < 1000; i++)
		bytes_add(&s, "1\r\nx\r\n", 6);
	bytes_add(&s, "0\r\n\r\n", 5);
	open_conn(&b, FROM_START);
	recvs(&b, GET);
	passes(&b, DIR_SEND, s.p, s.n);
	assert_int_equal(b.n, 3);
	expect_record(&b, 2, DIR_SEND, 47 + 6000, "0\r\n\r\n", 0);
	assert_true(b.r[2].note == (NOTE_NUMBER | NOTE_CHUNK_MAKE(1000, 0)));
	assert_true(shim_copied() < 3 * s.n);
	free(s.p);
}

/* A 10 MB body in chunks, read in 64 KiB: next to nothing is sent, and little is looked at. */
static void test_little_is_sent(void **state)
{
	const size_t total = 10 << 20, chunk = 16000;
	struct bytes s = { 0 };
	char zeros[16000] = "";
	struct bench b;

	bytes_add(&s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47);
	for (size_t n = 0; n < total; n += chunk) {
		bytes_add(&s, "3e80\r\n", 6);
		bytes_add(&s, zeros, chunk);
		bytes_add(&s, "\r\n", 2);
	}
	bytes_add(&s, "0\r\n\r\n", 5);
	open_conn(&b, FROM_START);
	recvs(&b, GET);
	for (size_t at = 0; at < s.n; at += 65536)
		passes(&b, DIR_SEND, s.p + at, s.n - at < 65536 ? s.n - at : 65536);
	assert_true(b.bytes < 200);
	assert_true(b.n < 8);
	assert_true(shim_copied() < s.n / 10);
	free(s.p);
}

/* --- the two halves, on random connections --- */

static uint64_t seed_of(void)
{
	const char *s = getenv("SEED");

	return s ? strtoull(s, NULL, 0) : 20251;
}

static size_t rounds_of(size_t n)
{
	const char *s = getenv("ROUNDS");

	return s ? strtoull(s, NULL, 0) : n;
}

struct pipe {
	struct receiver r;
	struct sonde_conn c;
	uint64_t rng;
	unsigned drop; /* one record in so many is refused; 0: none */
	unsigned burst; /* and up to so many behind it */
	unsigned full;	/* records still to be refused */
	bool first;	/* also the first ones: the connection's, its first bytes' */
};

/* The ring has no room for this one. */
static bool refuses(struct pipe *p, const struct ev_hdr *rec)
{
	if (!p->drop || (!p->first && !p->r.records))
		return false;
	if (p->full)
		return p->full--;
	/* the end is spared: without it, a sweep of the table would have to tell of it */
	if (rec->kind == EV_END || rng_below(&p->rng, p->drop))
		return false;
	p->full = p->burst ? rng_below(&p->rng, p->burst) : 0;
	return true;
}

static int to_receiver(void *ctx, const struct ev_hdr *rec, __u64 size)
{
	struct pipe *p = ctx;
	bool refused = refuses(p, rec);

	if (getenv("VERBOSE") && rec->kind == EV_DATA) {
		const struct ev_data *e = (const void *)rec;

		fprintf(stderr, "%s%s %llu +%u note %llx heads %u: %.*s\n", refused ? "LOST " : "", e->dir ? "send" : "recv",
			(unsigned long long)e->pos, e->len, (unsigned long long)e->note, e->heads, e->len > 60 ? 60 : (int)e->len,
			(const char *)(e + 1));
	}
	if (refused)
		return -1;
	receiver_record(&p->r, rec);
	return 0;
}

static void pass_event(struct pipe *p, const struct traffic *t, const struct passing *e, int dir)
{
	const uint8_t *data = t->side[e->side].p + e->from;
	struct shim_iovec v[8];
	size_t n = e->to - e->from, at = 0;
	int i = 0;

	if (rng_below(&p->rng, 4)) {
		v[0] = (struct shim_iovec){ data, n };
		shim_conn_bytes(&p->c, dir, v, 1, n);
		return;
	}
	/* as writev would give it, with empty parts too */
	for (; i < 7; i++) {
		size_t len = rng_below(&p->rng, n - at + 1);

		v[i] = (struct shim_iovec){ data + at, len };
		at += len;
	}
	v[i++] = (struct shim_iovec){ data + at, n - at };
	shim_conn_bytes(&p->c, dir, v, i, n);
}

/* All of a connection through the kernel's half into the decoder; and past it into another, if `all`. */
static void run(struct pipe *p, const struct traffic *t, uint64_t seed, bool server, struct receiver *all)
{
	struct pipe how = *p;

	memset(p, 0, sizeof(*p));
	p->drop = how.drop;
	p->burst = how.burst;
	p->first = how.first;
	p->rng = seed * 77 + 1;
	receiver_init(&p->r);
	shim_kernel_init(to_receiver, p);
	shim_conn_open(&p->c, seed, CONN_FROM_START | (server ? CONN_SERVER : CONN_CLIENT));
	for (size_t i = 0; i < t->n_ev; i++) {
		const struct passing *e = &t->ev[i];
		int dir = (e->side == SIDE_REQUESTS) == server ? DIR_RECV : DIR_SEND;

		pass_event(p, t, e, dir);
		if (all)
			receiver_bytes(all, PROTO_HTTP1, dir, t->side[e->side].p + e->from, e->to - e->from, i + 1);
	}
	/* who closes: the one that sends the answers */
	if (!server)
		shim_conn_end(&p->c, END_PEER_FIN);
	shim_conn_end(&p->c, END_LOCAL_CLOSE | END_CLOSED);
	if (shim_stat(STAT_LOST_ENDS))
		receiver_swept(&p->r);
	if (all) {
		if (!server)
			receiver_end(all, FLOW_END_PEER_FIN, t->n_ev + 1);
		receiver_end(all, FLOW_END_LOCAL_CLOSE, t->n_ev + 1);
	}
}

/* VERBOSE=1 tells what happened, also of the last connection before a failure. */
static bool is_exchange(const struct seen_call *c, const struct exchange *x)
{
	return !strcmp(c->method, x->method) && !strcmp(c->path, x->path) && c->status == x->status && c->answered &&
	       (x->early ? c->request_bytes <= x->request_bytes : c->request_bytes == x->request_bytes) &&
	       c->response_bytes == x->response_bytes;
}

static void print_events(const struct traffic *t)
{
	for (size_t i = 0; getenv("VERBOSE") && i < t->n_ev; i++) {
		const struct passing *e = &t->ev[i];

		fprintf(stderr, "%s %zu..%zu: %.*s\n---\n", e->side ? "answers" : "requests", e->from, e->to,
			(int)(e->to - e->from > 300 ? 300 : e->to - e->from), t->side[e->side].p + e->from);
	}
}

static void print_call(const char *who, const struct seen_call *c)
{
	fprintf(stderr, "%s: %s %s %lld, %llu and %llu bytes%s%s\n", who, c->method, c->path, (long long)c->status,
		(unsigned long long)c->request_bytes, (unsigned long long)c->response_bytes, c->answered ? "" : ", no answer ", c->error);
}

static void print_exchange(const struct exchange *x)
{
	fprintf(stderr, "made: %s %s %d, %llu and %llu bytes\n", x->method, x->path, x->status, (unsigned long long)x->request_bytes,
		(unsigned long long)x->response_bytes);
}

static void check_truth(const char *who, const struct receiver *r, const struct traffic *t, uint64_t seed)
{
	for (size_t i = 0; i < r->n_calls && i < t->n_x; i++) {
		if (is_exchange(&r->calls[i], &t->x[i]))
			continue;
		print_events(t);
		print_exchange(&t->x[i]);
		print_call(who, &r->calls[i]);
		fail_msg("SEED=%llu: %s: call %zu is wrong", (unsigned long long)seed, who, i);
	}
	if (r->n_calls != t->n_x || receiver_lost(r)) {
		print_events(t);
		fail_msg("SEED=%llu: %s: %zu calls, %llu lost, %zu were made", (unsigned long long)seed, who, r->n_calls,
			 (unsigned long long)receiver_lost(r), t->n_x);
	}
}

static void test_differential(void **state)
{
	uint64_t seed = seed_of(), calls = 0, passed = 0, sent = 0;
	size_t rounds = rounds_of(1500);

	for (size_t i = 0; i < rounds; i++, seed++) {
		struct pipe p = { 0 };
		struct receiver all;
		struct traffic t;

		traffic_make(&t, seed, 20);
		receiver_init(&all);
		run(&p, &t, seed, seed & 1, &all);
		check_truth("decoder", &all, &t, seed);
		check_truth("both halves", &p.r, &t, seed);
		assert_int_equal(p.r.begun, p.r.ended + p.r.dropped);
		assert_int_equal(shim_stat(STAT_UNREADABLE_BYTES), 0);
		calls += t.n_x;
		passed += t.side[0].n + t.side[1].n;
		sent += p.r.bytes;
		receiver_done(&p.r);
		receiver_done(&all);
		traffic_free(&t);
	}
	print_message("%llu calls, %llu bytes passed, %llu were sent\n", (unsigned long long)calls, (unsigned long long)passed,
		      (unsigned long long)sent);
}

/* --- losses --- */

/* A call that is reported is one that was made, with its own answer. */
static bool pairs_are_right(const struct receiver *r, const struct traffic *t, uint64_t seed)
{
	size_t x = 0;

	for (size_t i = 0; i < r->n_calls; i++) {
		while (x < t->n_x && !is_exchange(&r->calls[i], &t->x[x]))
			x++;
		if (x++ < t->n_x)
			continue;
		print_events(t);
		for (size_t k = 0; k < t->n_x; k++)
			if (!strcmp(t->x[k].path, r->calls[i].path))
				print_exchange(&t->x[k]);
		print_call("reported", &r->calls[i]);
		fprintf(stderr, "SEED=%llu: call %zu was never made like this\n", (unsigned long long)seed, i);
		return false;
	}
	return true;
}

struct losses {
	uint64_t made, reported, in_kernel, in_decoder, wrong;
};

/* One connection through a ring that is full at times: each request is reported as it was, or counted as lost, once. */
static void lossy(struct losses *l, uint64_t seed, unsigned drop, unsigned burst)
{
	struct pipe p = { .drop = drop, .burst = burst, .first = seed % 3 != 0 };
	uint64_t kernel;
	struct traffic t;
	bool right;

	traffic_make(&t, seed, 40);
	run(&p, &t, seed, seed & 1, NULL);
	right = pairs_are_right(&p.r, &t, seed);
	kernel = shim_stat(STAT_LOST_RING);
	if (p.r.n_calls + receiver_lost(&p.r) + kernel != t.n_x || p.r.begun != p.r.ended + p.r.dropped) {
		print_events(&t);
		fprintf(stderr, "SEED=%llu: %zu were made; %zu reported, %llu + %llu lost\n", (unsigned long long)seed, t.n_x,
			p.r.n_calls, (unsigned long long)kernel, (unsigned long long)receiver_lost(&p.r));
		right = false;
	}
	l->wrong += !right;
	l->made += t.n_x;
	l->reported += p.r.n_calls;
	l->in_kernel += kernel;
	l->in_decoder += receiver_lost(&p.r);
	receiver_done(&p.r);
	traffic_free(&t);
}

static void check_losses(const struct losses *l, size_t rounds)
{
	print_message("%llu made, %llu reported, lost: %llu in the kernel, %llu in the decoder\n", (unsigned long long)l->made,
		      (unsigned long long)l->reported, (unsigned long long)l->in_kernel, (unsigned long long)l->in_decoder);
	if (l->wrong)
		fail_msg("%llu of %zu lossy connections came out wrong", (unsigned long long)l->wrong, rounds);
}

static void test_losses(void **state)
{
	static const unsigned drops[] = { 2, 5, 20, 100, 400 };
	uint64_t seed = seed_of() + 1000000;
	size_t rounds = rounds_of(1500);
	struct losses l = { 0 };

	for (size_t i = 0; i < rounds; i++, seed++)
		lossy(&l, seed, drops[seed % 5], 0);
	check_losses(&l, rounds);
	/* a lost record costs little more than the request that it belongs to */
	assert_true(l.reported > l.made / 2);
}

/* What a ring that is full does: many records in a row. */
static void test_bursts(void **state)
{
	static const unsigned bursts[] = { 4, 16, 64 };
	uint64_t seed = seed_of() + 2000000;
	size_t rounds = rounds_of(1500);
	struct losses l = { 0 };

	for (size_t i = 0; i < rounds; i++, seed++)
		lossy(&l, seed, 4 * bursts[seed % 3], bursts[seed % 3]);
	check_losses(&l, rounds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_detect_methods), cmocka_unit_test(test_detect_long_target),
		cmocka_unit_test(test_detect_nothing), cmocka_unit_test(test_lengths), cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_split_everywhere), cmocka_unit_test(test_no_bodies), cmocka_unit_test(test_head),
		cmocka_unit_test(test_many_outstanding), cmocka_unit_test(test_leaves), cmocka_unit_test(test_until_close),
		cmocka_unit_test(test_expect_refused), cmocka_unit_test(test_empty_lines), cmocka_unit_test(test_answer_first),
		cmocka_unit_test(test_joined_late), cmocka_unit_test(test_long_heads), cmocka_unit_test(test_full_ring),
		cmocka_unit_test(test_unreadable), cmocka_unit_test(test_not_abridged), cmocka_unit_test(test_held), cmocka_unit_test(test_too_many_pieces), cmocka_unit_test(test_small_chunks),
		cmocka_unit_test(test_little_is_sent), cmocka_unit_test(test_differential),
		cmocka_unit_test(test_losses), cmocka_unit_test(test_bursts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
