// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1: scripts of two streams and what must come of them, as text. Scripts whose outcome may not
 * depend on how the bytes were cut are run again with every cut and byte by byte, each
 * piece flush against a page that must not be touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "bpf/shared/note.h"
#include "user/base/buf.h"
#include "user/proto/http1_head.h"
#include "user/proto/proto.h"

/* scripts leave their last fields out */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define NOTE NOTE_CHUNK
#define NOTE_NTH (NOTE_HEAD | NOTE_NUMBER)

enum kind { E_DATA = 1, E_HOLE, E_LOST, E_END, E_FULL, E_FREE };

struct ev {
	enum kind kind;
	enum flow_dir dir;
	const char *bytes;
	uint64_t len; /* of data: 0 means strlen */
	uint64_t note;
	enum flow_end how;
};

#define R(b)                                                                                                           \
	{                                                                                                              \
		E_DATA, FLOW_RECV, b, 0, 0, 0                                                                          \
	}
#define S(b)                                                                                                           \
	{                                                                                                              \
		E_DATA, FLOW_SEND, b, 0, 0, 0                                                                          \
	}
#define RL(b)                                                                                                          \
	{                                                                                                              \
		E_DATA, FLOW_RECV, b, sizeof(b) - 1, 0, 0                                                              \
	}
#define RN(b, n)                                                                                                       \
	{                                                                                                              \
		E_DATA, FLOW_RECV, b, 0, NOTE | (n), 0                                                                 \
	}
#define SN(b, n)                                                                                                       \
	{                                                                                                              \
		E_DATA, FLOW_SEND, b, 0, NOTE | (n), 0                                                                 \
	}
/* the n-th request, an answer to it, its last chunk, what begins nothing; and a hole by lost records */
#define QUERY(n, b)                                                                                                    \
	{                                                                                                              \
		E_DATA, FLOW_RECV, b, 0, NOTE_NTH | NOTE_REQUEST | (n), 0                                              \
	}
#define REPLY(n, b)                                                                                                    \
	{                                                                                                              \
		E_DATA, FLOW_SEND, b, 0, NOTE_NTH | (n), 0                                                             \
	}
#define LAST(n, len, b)                                                                                                \
	{                                                                                                              \
		E_DATA, FLOW_SEND, b, 0, NOTE_NUMBER | NOTE_CHUNK_MAKE(len, n), 0                                      \
	}
#define REST(dir, b)                                                                                                   \
	{                                                                                                              \
		E_DATA, dir, b, 0, NOTE_REST, 0                                                                        \
	}
#define LOST(dir, n)                                                                                                   \
	{                                                                                                              \
		E_LOST, dir, NULL, n, 0, 0                                                                             \
	}
#define HR(n)                                                                                                          \
	{                                                                                                              \
		E_HOLE, FLOW_RECV, NULL, n, 0, 0                                                                       \
	}
#define HS(n)                                                                                                          \
	{                                                                                                              \
		E_HOLE, FLOW_SEND, NULL, n, 0, 0                                                                       \
	}
#define END(how)                                                                                                       \
	{                                                                                                              \
		E_END, 0, NULL, 0, 0, FLOW_END_##how                                                                   \
	}
/* others fill the budget, and leave it */
#define FULL                                                                                                           \
	{                                                                                                              \
		E_FULL, 0, NULL, 0, 0, 0                                                                               \
	}
#define FREE                                                                                                           \
	{                                                                                                              \
		E_FREE, 0, NULL, 0, 0, 0                                                                               \
	}
#define EVS_MAX 24
#define BUDGET	(8 << 20)

struct script {
	const char *name;
	struct ev e[EVS_MAX];
	const char *want;
	bool late;     /* joined late */
	bool no_split; /* the outcome may depend on the cuts */
};

#define GET(p)	   "GET " p " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(p, n) "POST " p " HTTP/1.1\r\nHost: a\r\nContent-Length: " #n "\r\n\r\n"
#define CHUNKED(p) "POST " p " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
#define OK(n)	   "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n\r\n"
#define OK_CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define STATUS(s)  "HTTP/1.1 " #s " X\r\nContent-Length: 0\r\n\r\n"

/* --- the sink that writes what happens --- */

struct rec {
	struct call_sink sink;
	struct buf out;
	unsigned begun, ended, calls, lost, active;
	uintptr_t next;
	char seen[4096];				 /* by the value in call->active: begun and not yet over */
	void (*look)(struct rec *, const struct call *); /* at the end of a call */
	uint64_t wait;
	uint32_t pid, tid;
};

static struct str text_of(const struct call *c, const char *name)
{
	for (size_t i = 0; i < c->n_attrs; i++)
		if (!strcmp(c->attrs[i].key->name, name) && c->attrs[i].type == ATTR_STR)
			return c->attrs[i].s;
	return (struct str){0};
}

static void on_begin(struct call_sink *sink, const struct flow *f, struct call *c)
{
	struct rec *r = container_of(sink, struct rec, sink);

	assert_null(c->active);
	assert_true(text_of(c, "http.request.method").len > 0);
	assert_true(text_of(c, "url.scheme").len > 0);
	assert_false(c->answered);
	r->begun++;
	r->active++;
	c->active = (void *)++r->next;
	r->seen[r->next % sizeof(r->seen)] = 1;
}

static void over(struct rec *r, struct call *c)
{
	uintptr_t id = (uintptr_t)c->active;

	assert_true(id > 0 && id <= r->next);
	assert_int_equal(r->seen[id % sizeof(r->seen)], 1);
	r->seen[id % sizeof(r->seen)] = 0;
	r->active--;
	r->ended++;
}

static void on_end(struct call_sink *sink, const struct flow *f, struct call *c)
{
	struct rec *r = container_of(sink, struct rec, sink);
	int64_t status = 0;
	struct str m, t;

	over(r, c);
	proto_table[PROTO_HTTP1]->summary(c, &m, &t, &status);
	assert_int_equal(c->answered, status != 0);
	assert_true(str_eq(c->error_type, text_of(c, "error.type")));
	r->calls++;
	r->wait = c->wait_ns;
	r->pid = c->pid;
	r->tid = c->tid;
	if (r->look) {
		r->look(r, c);
		return;
	}
	buf_printf(&r->out, "%s %.*s %.*s %lld %llu-%llu-%llu %llu/%llu", c->role == ROLE_SERVER ? "S" : "C",
		   (int)m.len, m.p, (int)t.len, t.p, (long long)status, (unsigned long long)c->start_ns,
		   (unsigned long long)c->first_ns, (unsigned long long)c->end_ns, (unsigned long long)c->request_bytes,
		   (unsigned long long)c->response_bytes);
	if (c->error_type.len)
		buf_printf(&r->out, " %.*s%s", (int)c->error_type.len, c->error_type.p, c->failed ? "!" : "");
	else
		assert_false(c->failed);
	buf_puts(&r->out, "\n");
}

static void on_drop(struct call_sink *sink, const struct flow *f, struct call *c)
{
	struct rec *r = container_of(sink, struct rec, sink);

	over(r, c);
	buf_printf(&r->out, "drop %.*s\n", (int)c->path.len, c->path.p);
}

static void on_lost(struct call_sink *sink, const struct flow *f, enum call_loss why, uint64_t n)
{
	static const char *const names[] = {"hole", "large", "pipeline", "memory", "budget", "left"};
	struct rec *r = container_of(sink, struct rec, sink);

	assert_true(why < CALL_LOSS_MAX);
	r->lost += n;
	buf_printf(&r->out, "lost %s %llu\n", names[why], (unsigned long long)n);
}

static void rec_init(struct rec *r)
{
	*r = (struct rec){.sink = {on_begin, on_end, on_drop, on_lost}};
}

/* --- running --- */

static uint8_t *guard_end; /* first byte that must not be touched */
#define GUARD_ROOM (1 << 20)

static int make_guard(void **state)
{
	uint8_t *p = mmap(NULL, GUARD_ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + GUARD_ROOM, 4096, PROT_NONE))
		return -1;
	guard_end = p + GUARD_ROOM;
	return 0;
}

struct conn {
	struct flow flow;
	struct proto_budget budget; /* its own, unless a test says otherwise */
	void *state;
	struct rec rec;
	int ret;
};

static struct flow make_flow(bool late)
{
	struct flow f = {.id = 7, .from_start = !late};

	f.local = (struct net_addr){.family = NET_INET, .port = 8080, .ip = {127, 0, 0, 1}};
	f.peer = (struct net_addr){.family = NET_INET, .port = 40000, .ip = {192, 0, 2, 9}};
	return f;
}

static void conn_init(struct conn *c, bool late)
{
	*c = (struct conn){.flow = make_flow(late), .budget.max = BUDGET};
	c->flow.budget = &c->budget;
	rec_init(&c->rec);
	c->state = calloc(1, proto_table[PROTO_HTTP1]->state_size);
	assert_non_null(c->state);
	assert_int_equal(proto_table[PROTO_HTTP1]->init(c->state), 0);
}

static int conn_data(struct conn *c, enum flow_dir dir, const void *bytes, size_t len, uint64_t ns, uint64_t note)
{
	struct flow_data d = {
		.dir = dir,
		.data = guard_end - len,
		.len = len,
		.start_ns = ns,
		.end_ns = ns,
		.wait_ns = ns * 10,
		.pid = 42,
		.tid = (uint32_t)(100 + ns),
		.note = note,
	};

	assert_true(len <= GUARD_ROOM);
	memcpy(guard_end - len, bytes, len);
	c->ret = proto_table[PROTO_HTTP1]->data(c->state, &c->flow, &d, &c->rec.sink);
	return c->ret;
}

static void conn_done(struct conn *c)
{
	proto_table[PROTO_HTTP1]->done(c->state, &c->flow, &c->rec.sink);
	proto_table[PROTO_HTTP1]->done(c->state, &c->flow, &c->rec.sink);
	free(c->state);
	assert_int_equal(c->budget.used, 0);
	assert_int_equal(c->rec.active, 0);
	assert_int_equal(c->rec.begun, c->rec.ended);
	if (c->ret == -EPROTO)
		buf_puts(&c->rec.out, "EPROTO\n");
	else
		assert_int_equal(c->ret, 0);
}

/* `step` 0: pieces as written; else pieces of that length. `cut_event` ≥ 0: that one is cut at `cut`. */
static void run(const struct script *sc, size_t step, int cut_event, size_t cut, struct buf *ret)
{
	const struct proto *p = proto_table[PROTO_HTTP1];
	struct conn c;

	conn_init(&c, sc->late);
	for (int i = 0; i < EVS_MAX && sc->e[i].kind && !c.ret; i++) {
		const struct ev *e = &sc->e[i];
		size_t len = e->len ? e->len : e->bytes ? strlen(e->bytes) : 0, at = 0;
		uint64_t ns = (uint64_t)i + 1;

		c.flow.gap = e->kind == E_LOST;
		c.budget.max = e->kind == E_FULL ? c.budget.used : e->kind == E_FREE ? BUDGET : c.budget.max;
		if (e->kind == E_HOLE || e->kind == E_LOST)
			c.ret = p->hole(c.state, &c.flow, e->dir, e->len, ns, &c.rec.sink);
		else if (e->kind == E_END)
			c.ret = p->end(c.state, &c.flow, e->how, ns, &c.rec.sink);
		while (e->kind == E_DATA && at < len && !c.ret) {
			size_t n = step ? MIN(step, len - at) : i == cut_event && at < cut ? cut : len - at;

			conn_data(&c, e->dir, e->bytes + at, n, ns, at ? 0 : e->note);
			at += n;
		}
	}
	conn_done(&c);
	*ret = c.rec.out;
}

static void expect_run(const struct script *sc, size_t step, int cut_event, size_t cut)
{
	_buf_ struct buf got = BUF_INIT;

	run(sc, step, cut_event, cut, &got);
	if (strcmp(got.data ? got.data : "", sc->want))
		fail_msg("%s (pieces of %zu, event %d cut at %zu):\n--- got\n%s--- want\n%s", sc->name, step, cut_event,
			 cut, got.data ? got.data : "", sc->want);
}

static void expect_scripts(const struct script *sc, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		expect_run(&sc[k], 0, -1, 0);
		if (sc[k].no_split)
			continue;
		for (size_t step = 1; step < 8; step++)
			expect_run(&sc[k], step, -1, 0);
		for (int i = 0; i < EVS_MAX && sc[k].e[i].kind; i++) {
			const struct ev *e = &sc[k].e[i];
			size_t len = e->len ? e->len : e->bytes ? strlen(e->bytes) : 0;

			for (size_t cut = 1; e->kind == E_DATA && cut < len; cut++)
				expect_run(&sc[k], 0, i, cut);
		}
	}
}

#define EXPECT(scripts) expect_scripts(scripts, ARRAY_SIZE(scripts))

/* --- framing --- */

static void test_framing(void **state)
{
	static const struct script s[] = {
		{"length", {R(GET("/a")), S(OK(5) "hello")}, "S GET /a 200 1-2-2 0/5\n"},
		{"client", {S(GET("/a")), R(OK(5)), R("hello")}, "C GET /a 200 1-2-3 0/5\n"},
		{"empty", {R(GET("/a")), S(OK(0))}, "S GET /a 200 1-2-2 0/0\n"},
		{"body", {R(POST("/a", 3) "abc"), S(OK(0))}, "S POST /a 200 1-2-2 3/0\n"},
		{"keep-alive",
		 {R(GET("/a")), S(OK(1) "x"), R(GET("/b")), S(OK(2) "xy"), R(GET("/c")), S(STATUS(404))},
		 "S GET /a 200 1-2-2 0/1\nS GET /b 200 3-4-4 0/2\nS GET /c 404 5-6-6 0/0\n"},
		{"same length twice",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab")},
		 "S GET /a 200 1-2-2 0/2\n"},
		{"length list",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\ncontent-LENGTH: 2, 2\r\n\r\nab")},
		 "S GET /a 200 1-2-2 0/2\n"},
		{"two lengths",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab")},
		 "drop /a\nlost hole 1\n"},
		{"two lengths of a request",
		 {R("POST /a HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab"), S(STATUS(400))},
		 "lost hole 1\n"},
		{"negative length",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n")},
		 "drop /a\nlost hole 1\n"},
		{"length overflows",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n")},
		 "drop /a\nlost hole 1\n"},
		{"chunked",
		 {R(GET("/a")), S(OK_CHUNKED "5\r\nhello\r\n"), S("6\r\n world\r\n0\r\n\r\n"), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-3 0/11\nS GET /b 200 4-5-5 0/0\n"},
		{"chunk extensions, trailers",
		 {R(GET("/a")), S(OK_CHUNKED "A;x=\"y\";z\r\n0123456789\r\n000 \r\nT: 1\r\nU: 2\r\n\r\n"), R(GET("/b")),
		  S(OK(0))},
		 "S GET /a 200 1-2-2 0/10\nS GET /b 200 3-4-4 0/0\n"},
		{"chunked, bare LF",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n" OK(0))},
		 "S GET /a 200 1-2-2 0/3\n"},
		{"chunked request",
		 {R(CHUNKED("/a") "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), S(OK(0)), R(GET("/b")), S(OK(0))},
		 "S POST /a 200 1-2-2 3/0\nS GET /b 200 3-4-4 0/0\n"},
		{"chunked over length",
		 {R(GET("/a")),
		  S("HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: gzip, "
		    "chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
		  R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/1\nS GET /b 200 3-4-4 0/0\n"},
		{"folded coding",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked\r\n\r\n0\r\n\r\n"),
		  R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
		{"chunked is not last",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc"), END(LOCAL_CLOSE)},
		 "S GET /a 200 1-2-2 0/3\n"},
		{"bad chunk", {R(GET("/a")), S(OK_CHUNKED "xyz\r\n")}, "drop /a\nlost hole 1\n"},
		{"huge chunk", {R(GET("/a")), S(OK_CHUNKED "fffffffffffffffff\r\n")}, "drop /a\nlost hole 1\n"},
		{"a chunk of 2^64-1", {R(GET("/a")), S(OK_CHUNKED "ffffffffffffffff\r\n")}, "drop /a\nlost hole 1\n"},
		{"close-delimited",
		 {R(GET("/a")), S("HTTP/1.0 200 OK\r\n\r\nabc"), S("de"), END(LOCAL_CLOSE)},
		 "S GET /a 200 1-2-3 0/5\n"},
		{"close-delimited client",
		 {S(GET("/a")), R("HTTP/1.0 200 OK\r\n\r\nabc"), R("de"), END(PEER_FIN), END(LOCAL_CLOSE)},
		 "C GET /a 200 1-2-3 0/5\n"},
		{"close-delimited, empty",
		 {S(GET("/a")), R("HTTP/1.0 200 OK\r\n\r\n"), END(PEER_FIN)},
		 "C GET /a 200 1-2-2 0/0\n"},
		{"close-delimited, reset",
		 {S(GET("/a")), R("HTTP/1.0 200 OK\r\n\r\nabc"), END(PEER_RESET)},
		 "C GET /a 200 1-2-3 0/3 peer_reset!\n"},
		{"close-delimited, given up",
		 {S(GET("/a")), R("HTTP/1.0 200 OK\r\n\r\nabc"), END(LOCAL_CLOSE)},
		 "C GET /a 200 1-2-3 0/3 local_closed!\n"},
		{"HEAD",
		 {R("HEAD /a HTTP/1.1\r\n\r\n"), S(OK(500)), R(GET("/b")), S(OK(1) "x")},
		 "S HEAD /a 200 1-2-2 0/0\nS GET /b 200 3-4-4 0/1\n"},
		{"204, 304",
		 {R(GET("/a") GET("/b")), S("HTTP/1.1 204 No\r\n\r\nHTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n"),
		  R(GET("/c")), S(OK(0))},
		 "S GET /a 204 1-2-2 0/0\nS GET /b 304 1-2-2 0/0\nS GET /c 200 3-4-4 0/0\n"},
		{"100",
		 {R("POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
		  S("HTTP/1.1 100 Continue\r\n\r\n"), R("ab"), S(OK(1) "x")},
		 "S POST /a 200 1-4-4 2/1\n"},
		{"103",
		 {R(GET("/a")), S("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
		  S("HTTP/1.1 102 P\r\n\r\n" OK(1) "x")},
		 "S GET /a 200 1-3-3 0/1\n"},
		{"101",
		 {R("GET /a HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
		  S("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x05hello")},
		 "S GET /a 101 1-2-2 0/0\nEPROTO\n"},
		{"upgrade not taken",
		 {R("GET /a HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"), S(OK(0)), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
		{"CONNECT",
		 {R("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"), S("HTTP/1.1 200 OK\r\n\r\n"), RL("\x16\x03\x01")},
		 "S CONNECT h 200 1-2-2 0/0\nEPROTO\n"},
		{"CONNECT, eager",
		 {RL("CONNECT h:443 HTTP/1.1\r\n\r\n\x16\x03\x01\x00"), S("HTTP/1.1 200 OK\r\n\r\n")},
		 "S CONNECT h 200 1-2-2 0/0\nEPROTO\n"},
		{"CONNECT refused",
		 {R("CONNECT h:443 HTTP/1.1\r\n\r\n"), S(STATUS(403)), R(GET("/b")), S(OK(0))},
		 "S CONNECT h 403 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
		{"pipelined",
		 {R(GET("/a") POST("/b", 2) "xy" GET("/c")), S(OK(1) "x" OK(0)), S(STATUS(500))},
		 "S GET /a 200 1-2-2 0/1\nS POST /b 200 1-2-2 2/0\nS GET /c 500 1-3-3 0/0 500!\n"},
		{"answer before the head's end",
		 {R("GET /long?q=1 HTTP/1.1\r\nHost: h\r\nX: yyyy"), S(STATUS(431)), RL("yy")},
		 "S GET /long 431 1-2-2 0/0\n"},
		{"answer before the body's end",
		 {R(POST("/a", 10) "abc"), S(STATUS(413)), R("defghij" GET("/b")), S(OK(0))},
		 "S POST /a 413 1-2-2 10/0\nS GET /b 200 3-4-4 0/0\n"},
		{"answer starts before",
		 {R(POST("/a", 6) "abc"), S(OK(4) "ab"), R("def"), S("cd")},
		 "S POST /a 200 1-2-4 6/4\n"},
		{"answer before a chunked body's end",
		 {R(CHUNKED("/a") "5\r\nabc"), S(STATUS(413)), R("de\r\n0\r\n\r\n" GET("/b")), S(OK(0))},
		 "S POST /a 413 1-2-2 5/0\nS GET /b 200 3-4-4 0/0\n"},
		{"100 refused",
		 {R("PUT /a HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 40\r\n\r\n"), S(STATUS(417)),
		  R(GET("/b")), S(OK(0))},
		 "S PUT /a 417 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
		{"100 refused, body sent",
		 {R("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n"), S(STATUS(417)),
		  R("GETaway" GET("/b")), S(OK(0))},
		 "S PUT /a 417 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
		{"100 refused, chunked",
		 {R("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"), S(STATUS(417)),
		  R(GET("/b")), S(OK(0))},
		 "S PUT /a 417 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
		{"empty lines first",
		 {R("\r\n\n\r\n" GET("/a") "\r\n" GET("/b")), S(OK(0) "\r\n" OK(0))},
		 "S GET /a 200 1-2-2 0/0\nS GET /b 200 1-2-2 0/0\n"},
		{"bare LF",
		 {R("GET /a HTTP/1.1\nHost: b\nContent-Length: 1\n\nx"), S("HTTP/1.1 200 OK\nContent-Length: 1\n\nx"),
		  R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-2 1/1\nS GET /b 200 3-4-4 0/0\n"},
		{"no reason phrase",
		 {R(GET("/a")), S("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")},
		 "S GET /a 200 1-2-2 0/0\n"},
		{"HTTP/1.0",
		 {R("GET /a HTTP/1.0\r\n\r\n"), S("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"), END(LOCAL_CLOSE)},
		 "S GET /a 200 1-2-2 0/1\n"},
		{"half-closed client",
		 {R(GET("/a")), END(PEER_FIN), S(OK(2) "ab"), END(LOCAL_CLOSE)},
		 "S GET /a 200 1-3-3 0/2\n"},
		{"length 0 of request",
		 {R("POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n" GET("/b")), S(OK(0) OK(0))},
		 "S POST /a 200 1-2-2 0/0\nS GET /b 200 1-2-2 0/0\n"},
		{"402 of 401 retry",
		 {S(GET("/a")), R(STATUS(401)), S(GET("/a")), R(OK(0))},
		 "C GET /a 401 1-2-2 0/0 401!\nC GET /a 200 3-4-4 0/0\n"},
		{"no length of a request is no body",
		 {R("POST /a HTTP/1.1\r\n\r\n" GET("/b")), S(OK(0) OK(0))},
		 "S POST /a 200 1-2-2 0/0\nS GET /b 200 1-2-2 0/0\n"},
		{"408 on an idle connection",
		 {R(GET("/a")), S(OK(0)), S(STATUS(408)), END(LOCAL_CLOSE)},
		 "S GET /a 200 1-2-2 0/0\n"},
		{"408 before any request", {S(STATUS(408)), END(LOCAL_CLOSE)}, ""},
		{"408 before any request, client", {R(STATUS(408)), END(PEER_FIN), END(LOCAL_CLOSE)}, ""},
	};

	EXPECT(s);
}

static void test_strict(void **state)
{
	static const struct script s[] = {
		{"redis", {R("*1\r\n$4\r\nPING\r\n")}, "EPROTO\n"},
		{"ssh", {S("SSH-2.0-OpenSSH_9.2\r\n")}, "EPROTO\n"},
		{"tls", {RL("\x16\x03\x01\x02\x00\x01\x00")}, "EPROTO\n"},
		{"h2", {R("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}, "EPROTO\n"},
		{"smtp", {S("220 mail ESMTP\r\n")}, "EPROTO\n"},
		{"method only", {R("GET\r\n")}, "EPROTO\n"},
		{"HTTP/0.9", {R("GET /\r\n")}, "EPROTO\n"},
		{"version 1.2", {R("GET / HTTP/1.2\r\n\r\n")}, "EPROTO\n"},
		{"version 2", {R("GET / HTTP/2.0\r\n\r\n")}, "EPROTO\n"},
		{"lower case", {R("get / HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"unknown method", {R("FROB / HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"rtsp", {R("DESCRIBE rtsp://x/ RTSP/1.0\r\n\r\n")}, "EPROTO\n"},
		{"rtsp options", {R("OPTIONS rtsp://x/ RTSP/1.0\r\n\r\n")}, "EPROTO\n"},
		{"sip", {R("OPTIONS sip:a@b SIP/2.0\r\n\r\n")}, "EPROTO\n"},
		{"two blanks", {R("GET  / HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"blank at the end", {R("GET / HTTP/1.1 \r\n\r\n")}, "EPROTO\n"},
		{"blank in the target", {R("GET /a b HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"control in the target", {R("GET /\x01 HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"NUL in the target", {RL("GET /\0 HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"relative target", {R("GET a/b HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"authority for GET", {R("GET h:80 HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"path for CONNECT", {R("CONNECT /a HTTP/1.1\r\n\r\n")}, "EPROTO\n"},
		{"field name", {R("GET / HTTP/1.1\r\nA b: c\r\n\r\n")}, "EPROTO\n"},
		{"no field", {R("GET / HTTP/1.1\r\nabc\r\n\r\n")}, "EPROTO\n"},
		{"no HTTP answer", {R(GET("/a")), S("+OK\r\n")}, "drop /a\nEPROTO\n"},
		{"HTTP/2 answer", {R(GET("/a")), S("HTTP/2 200\r\n\r\n")}, "drop /a\nEPROTO\n"},
		{"status of two digits", {R(GET("/a")), S("HTTP/1.1 99 X\r\n\r\n")}, "drop /a\nEPROTO\n"},
		{"then garbage", {R(GET("/a") "\x01\x02garbage")}, "drop /a\nEPROTO\n"},
		{"garbage once confirmed", {R(GET("/a")), S(OK(0)), R("xyz\x01")}, "S GET /a 200 1-2-2 0/0\nEPROTO\n"},
		{"garbage with an answer due",
		 {R(GET("/a") GET("/b")), S(OK(0)), R("xy\x01"), S(OK(1)), S("z")},
		 "S GET /a 200 1-2-2 0/0\nS GET /b 200 1-4-5 0/1\nEPROTO\n"},
		{"unknown once confirmed",
		 {R(GET("/a")), S(OK(0)), R("FROB /b HTTP/1.1\r\n\r\n"), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nS FROB /b 200 3-4-4 0/0\n"},
		{"odd field once confirmed",
		 {R(GET("/a")), S("HTTP/1.1 200 OK\r\nodd line\r\nA b: c\r\nContent-Length: 0\r\n\r\n"),
		  R("GET /b HTTP/1.1\r\nA b: c\r\n\r\n"), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
		{"registered",
		 {R("PROPFIND /a HTTP/1.1\r\nHost: x\r\n\r\n"), S(STATUS(207))},
		 "S PROPFIND /a 207 1-2-2 0/0\n"},
		{"absolute", {R("GET http://h/x?y HTTP/1.1\r\nHost: h\r\n\r\n"), S(OK(0))}, "S GET /x 200 1-2-2 0/0\n"},
		{"absolute, no path",
		 {R("GET http://h?y HTTP/1.1\r\nHost: h\r\n\r\n"), S(OK(0))},
		 "S GET / 200 1-2-2 0/0\n"},
		{"asterisk", {R("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), S(OK(0))}, "S OPTIONS * 200 1-2-2 0/0\n"},
		{"a body that was not announced",
		 {R("HEAD /a HTTP/1.1\r\n\r\n"), S(OK(3) "abc"), R(GET("/b")), S(OK(0))},
		 "S HEAD /a 200 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n",
		 .no_split = true},
	};

	EXPECT(s);
}

static void test_ends(void **state)
{
	static const struct script s[] = {
		{"client away", {R(GET("/a")), END(PEER_FIN), END(LOCAL_CLOSE)}, "S GET /a 0 1-0-3 0/0 peer_closed\n"},
		{"client resets", {R(GET("/a")), END(PEER_RESET)}, "S GET /a 0 1-0-2 0/0 peer_reset\n"},
		{"server closes", {R(GET("/a")), END(LOCAL_CLOSE)}, "S GET /a 0 1-0-2 0/0 local_closed!\n"},
		{"server shuts down", {R(GET("/a")), END(LOCAL_FIN)}, "S GET /a 0 1-0-2 0/0 local_closed!\n"},
		{"server dies", {R(GET("/a")), END(PROCESS_EXIT)}, "S GET /a 0 1-0-2 0/0 local_closed!\n"},
		{"timeout", {R(GET("/a")), END(TIMEOUT)}, "S GET /a 0 1-0-2 0/0 timeout\n"},
		{"unknown", {R(GET("/a")), END(UNKNOWN)}, "S GET /a 0 1-0-2 0/0 connection_lost\n"},
		{"server away", {S(GET("/a")), END(PEER_FIN), END(LOCAL_CLOSE)}, "C GET /a 0 1-0-2 0/0 peer_closed!\n"},
		{"server resets", {S(GET("/a")), END(PEER_RESET)}, "C GET /a 0 1-0-2 0/0 peer_reset!\n"},
		{"client gives up", {S(GET("/a")), END(LOCAL_CLOSE)}, "C GET /a 0 1-0-2 0/0 local_closed!\n"},
		{"client half-closes",
		 {S(GET("/a")), END(LOCAL_FIN), R(OK(1) "x"), END(PEER_FIN)},
		 "C GET /a 200 1-3-3 0/1\n"},
		{"client, timeout", {S(GET("/a")), END(TIMEOUT)}, "C GET /a 0 1-0-2 0/0 timeout!\n"},
		{"cut body", {S(GET("/a")), R(OK(10) "abc"), END(PEER_FIN)}, "C GET /a 200 1-2-3 0/3 peer_closed!\n"},
		{"cut chunks",
		 {S(GET("/a")), R(OK_CHUNKED "5\r\nabc"), END(PEER_FIN)},
		 "C GET /a 200 1-2-3 0/3 peer_closed!\n"},
		{"cut 500",
		 {R(GET("/a")), S("HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nabc"), END(PEER_RESET)},
		 "S GET /a 500 1-2-3 0/3 peer_reset\n"},
		{"cut head",
		 {S(GET("/a")), R("HTTP/1.1 200 OK\r\nConte"), END(PEER_FIN)},
		 "C GET /a 0 1-0-3 0/0 peer_closed!\n"},
		{"only interim",
		 {S(GET("/a")), R("HTTP/1.1 103 X\r\n\r\n"), END(PEER_FIN)},
		 "C GET /a 0 1-0-3 0/0 peer_closed!\n"},
		{"cut request head", {R("GET /a HTTP/1.1\r\nHo"), END(PEER_FIN), END(LOCAL_CLOSE)}, ""},
		{"cut request body",
		 {R(POST("/a", 9) "abc"), END(PEER_FIN), S(STATUS(400)), END(LOCAL_CLOSE)},
		 "S POST /a 400 1-3-3 3/0\n"},
		{"several",
		 {R(GET("/a") GET("/b")), S(OK(1)), END(PEER_RESET)},
		 "S GET /a 200 1-2-3 0/0 peer_reset\nS GET /b 0 1-0-3 0/0 peer_reset\n"},
		{"idle", {R(GET("/a")), S(OK(0)), END(PEER_FIN), END(LOCAL_CLOSE)}, "S GET /a 200 1-2-2 0/0\n"},
		{"nothing", {END(PEER_FIN), END(LOCAL_CLOSE)}, ""},
		{"5xx is the server's",
		 {R(GET("/a")), S(STATUS(503)), R(GET("/b")), S(STATUS(404))},
		 "S GET /a 503 1-2-2 0/0 503!\nS GET /b 404 3-4-4 0/0\n"},
		{"4xx is the client's",
		 {S(GET("/a")), R(STATUS(503)), S(GET("/b")), R(STATUS(404))},
		 "C GET /a 503 1-2-2 0/0 503!\nC GET /b 404 3-4-4 0/0 404!\n"},
		{"unix, end not known",
		 {R(GET("/a")), S("HTTP/1.0 200 OK\r\n\r\nabc"), END(UNKNOWN)},
		 "S GET /a 200 1-2-0 0/3\n"},
	};

	EXPECT(s);
}

/* The connection is given up: what was HTTP is lost and counted, what never was is nothing. */
static void test_given_up(void **state)
{
	static const struct script s[] = {
		{"upgraded with another request outstanding",
		 {R("GET /a HTTP/1.1\r\nUpgrade: x\r\n\r\n" GET("/b")), S("HTTP/1.1 101 Switching\r\n\r\n")},
		 "S GET /a 101 1-2-2 0/0\ndrop /b\nlost left 1\nEPROTO\n"},
		{"upgraded, client",
		 {S("GET /a HTTP/1.1\r\nUpgrade: x\r\n\r\n" GET("/b") GET("/c")), R("HTTP/1.1 101 Switching\r\n\r\n")},
		 "C GET /a 101 1-2-2 0/0\ndrop /b\nlost left 1\ndrop /c\nlost left 1\nEPROTO\n"},
		{"a tunnel, and a request that was sent into it early",
		 {R("CONNECT h:80 HTTP/1.1\r\n\r\n" GET("/b")), S("HTTP/1.1 200 OK\r\n\r\n")},
		 "S CONNECT h 200 1-2-2 0/0\ndrop /b\nlost left 1\nEPROTO\n"},
		{"upgraded by an answer to a lost request",
		 {LOST(FLOW_RECV, 30), QUERY(1, GET("/b")), REPLY(0, "HTTP/1.1 101 Switching\r\n\r\n")},
		 "drop /b\nlost left 1\nEPROTO\n"},
		{"garbage, then the answers that are due are lost",
		 {R(GET("/a") GET("/b")), S(OK(0)), R("xy\x01"), HS(50), R(GET("/c"))},
		 "S GET /a 200 1-2-2 0/0\ndrop /b\nlost hole 1\nEPROTO\n"},
		{"gone without an end", {R(GET("/a") GET("/b")), S(OK(0))}, "S GET /a 200 1-2-2 0/0\ndrop /b\nlost left 1\n"},
		{"gone without an end, in an answer", {S(GET("/a")), R(OK(9) "x")}, "drop /a\nlost left 1\n"},
		{"gone without an end, never confirmed", {R(GET("/a") GET("/b"))}, "drop /a\ndrop /b\n"},
		{"never HTTP, several outstanding", {R(GET("/a") GET("/b")), S("+OK\r\n")}, "drop /a\ndrop /b\nEPROTO\n"},
		{"never HTTP, a hole in a head", {R("GET /a HT"), HR(10), S("+OK\r\n")}, "EPROTO\n", .no_split = true},
		{"never HTTP, a hole behind a request",
		 {R(GET("/a")), HR(10), R(GET("/b")), S("+OK\r\n")},
		 "drop /a\nEPROTO\n",
		 .no_split = true},
		{"never HTTP, framing that cannot be",
		 {R("POST /a HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab"), S("+OK\r\n")},
		 "EPROTO\n"},
		{"never answered, a hole in a head", {R("GET /a HT"), HR(10), END(PEER_RESET)}, "lost hole 1\n", .no_split = true},
		{"half-closed is not over",
		 {R("GET /a HT"), HR(10), END(PEER_FIN), S("+OK\r\n")},
		 "EPROTO\n",
		 .no_split = true},
		{"proved by an answer",
		 {R(GET("/a")), HR(10), R(GET("/b")), S("HTTP/1.1 103 X\r\n\r\n"), S(OK(0))},
		 "lost hole 1\nS GET /a 200 1-5-5 0/0\n",
		 .no_split = true},
	};

	EXPECT(s);
}

/* --- what was not captured --- */

static void test_holes(void **state)
{
	static const struct script s[] = {
		{"in a body",
		 {R(POST("/a", 100)), HR(100), S(OK(1000) "x"), HS(998), S("y"), R(GET("/b")), S(OK(0))},
		 "S POST /a 200 1-3-5 100/1000\nS GET /b 200 6-7-7 0/0\n"},
		{"ends a body",
		 {R(GET("/a")), S(OK(1000)), HS(1000), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-3 0/1000\nS GET /b 200 4-5-5 0/0\n"},
		{"until close",
		 {R(GET("/a")), S("HTTP/1.0 200 OK\r\n\r\n"), HS(1000), S("abc"), END(LOCAL_CLOSE)},
		 "S GET /a 200 1-2-4 0/1003\n"},
		{"in a chunk",
		 {R(GET("/a")), S(OK_CHUNKED "100\r\n"), HS(256), S("\r\n0\r\n\r\n"), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-4 0/256\nS GET /b 200 5-6-6 0/0\n"},
		{"healed by a note",
		 {R(GET("/a")), S(OK_CHUNKED "100\r\n"), HS(5000), SN("0\r\n\r\n", 4700), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-4 0/4700\nS GET /b 200 5-6-6 0/0\n"},
		{"whole body, note",
		 {R(GET("/a")), S(OK_CHUNKED), HS(5000), HS(10), SN("3\r\nabc\r\n", 4700), S("0\r\n\r\n"), R(GET("/b")),
		  S(OK(0))},
		 "S GET /a 200 1-2-6 0/4703\nS GET /b 200 7-8-8 0/0\n"},
		{"request, note",
		 {R(CHUNKED("/a")), HR(5000), RN("0\r\n\r\n" GET("/b"), 4700), S(OK(0) OK(0))},
		 "S POST /a 200 1-4-4 4700/0\nS GET /b 200 3-4-4 0/0\n"},
		{"a note that is not needed",
		 {R(GET("/a")), SN(OK_CHUNKED "3\r\nabc\r\n", 0), SN("0\r\n\r\n", 77), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-3 0/3\nS GET /b 200 4-5-5 0/0\n"},
		{"no note",
		 {R(GET("/a")), S(OK_CHUNKED), HS(5000), S("0\r\n\r\n"), R(GET("/b")), S(OK(0))},
		 "drop /a\nlost hole 1\nS GET /b 200 5-6-6 0/0\n",
		 .no_split = true},
		{"in a trailer",
		 {R(GET("/a")), S(OK_CHUNKED "0\r\nA"), HS(9), S("\r\n\r\n"), R(GET("/b")), S(OK(0))},
		 "drop /a\nlost hole 1\nS GET /b 200 5-6-6 0/0\n",
		 .no_split = true},
		{"in an answer's head",
		 {R(GET("/a")), S("HTTP/1.1 200"), HS(30), S("xy"), R(GET("/b")), S(OK(0))},
		 "drop /a\nlost hole 1\nS GET /b 200 5-6-6 0/0\n",
		 .no_split = true},
		{"a whole answer",
		 {R(GET("/a")), HS(50), R(GET("/b")), S(OK(0))},
		 "drop /a\nlost hole 1\nS GET /b 200 3-4-4 0/0\n"},
		{"a whole answer, noticed late",
		 {R(GET("/a")), R(GET("/b")), HS(50), S(OK(0)), R(GET("/c")), S(OK(0))},
		 "drop /a\ndrop /b\nlost hole 2\nS GET /c 200 5-6-6 0/0\n",
		 .no_split = true},
		{"in a request's head",
		 {R("GET /a HT"), HR(10), R("x\r\n\r\n"), S(OK(0)), R(GET("/b")), S(OK(0))},
		 "lost hole 1\nS GET /b 200 5-6-6 0/0\n",
		 .no_split = true},
		/* the request that follows cannot be told from the second half of a pipelined pair */
		{"a whole request",
		 {R(GET("/a")), S(OK(0)), S(OK(0)), HR(30), R(GET("/c")), S(OK(0)), R(GET("/d")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nlost hole 1\nS GET /d 200 7-8-8 0/0\n",
		 .no_split = true},
		{"the first request",
		 {HR(30), S(OK(0)), R(GET("/b")), S(OK(0)), R(GET("/c")), S(OK(0))},
		 "lost hole 1\nS GET /c 200 5-6-6 0/0\n",
		 .no_split = true},
		{"request and answer",
		 {R(GET("/a")), S(OK(0)), HR(30), R(GET("/c")), HS(38), S(OK(0)), R(GET("/d")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nlost hole 1\nS GET /d 200 7-8-8 0/0\n",
		 .no_split = true},
		{"first half of a pipelined pair",
		 {R(GET("/a")), S(OK(0)), HR(30), R(GET("/c")), S(OK(0)), S(OK(0)), R(GET("/d")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nlost hole 1\nS GET /d 200 7-8-8 0/0\n",
		 .no_split = true},
		{"those before a hole are sure",
		 {R(GET("/a") GET("/b")), HR(9), R(GET("/c")), S(OK(0)), S(OK(0) OK(0) OK(0)), R(GET("/d")), S(OK(0))},
		 "lost hole 1\nS GET /a 200 1-4-4 0/0\nS GET /b 200 1-5-5 0/0\nS GET /d 200 6-7-7 0/0\n",
		 .no_split = true},
		{"client's request",
		 {S(GET("/a")), R(OK(0)), R(OK(0)), HS(30), S(GET("/c")), R(OK(0)), S(GET("/d")), R(OK(0))},
		 "C GET /a 200 1-2-2 0/0\nlost hole 1\nC GET /d 200 7-8-8 0/0\n",
		 .no_split = true},
		{"in a chunked request",
		 {R(CHUNKED("/a")), HR(50), R("xx"), S(OK(0)), R(GET("/b")), S(OK(0))},
		 "drop /a\nlost hole 1\nS GET /b 200 5-6-6 0/0\n",
		 .no_split = true},
		/* a client that keeps some outstanding never shows a moment at which all is answered */
		{"always some outstanding",
		 {R(GET("/a") GET("/b")), S(OK(0)), R(GET("/c")), S(OK(0)), R(GET("/d")), HR(30), R(GET("/f")),
		  S(OK(0)), S(OK(0)), R(GET("/g")), S(OK(0)), R(GET("/h")), S(OK(0)), R(GET("/i"))},
		 "S GET /a 200 1-2-2 0/0\nS GET /b 200 1-4-4 0/0\nlost hole 1\nS GET /c 200 3-8-8 0/0\nS GET /d 200 "
		 "5-9-9 0/0\n"
		 "lost hole 1\nlost hole 1\nlost hole 1\n",
		 .no_split = true},
	};

	EXPECT(s);
}

/* What is lost where messages are numbered costs what it touches, and nothing else. */
static void test_numbers(void **state)
{
	static const struct script s[] = {
		{"a whole request",
		 {QUERY(0, GET("/a")), REPLY(0, OK(0)), REPLY(1, OK(0)), LOST(FLOW_RECV, 30), QUERY(2, GET("/c")), REPLY(2, OK(0))},
		 "S GET /a 200 1-2-2 0/0\nS GET /c 200 5-6-6 0/0\n"},
		{"the first request",
		 {LOST(FLOW_RECV, 30), REPLY(0, OK(0)), QUERY(1, GET("/b")), REPLY(1, OK(0))},
		 "S GET /b 200 3-4-4 0/0\n"},
		{"the first half of the first head",
		 {LOST(FLOW_RECV, 9), REST(FLOW_RECV, "GET /x HTTP/1.1\r\n\r\n"), REPLY(0, OK(0)), QUERY(1, GET("/b")), REPLY(1, OK(0))},
		 "S GET /b 200 4-5-5 0/0\n"},
		{"the first head's second half",
		 {QUERY(0, "GET "), LOST(FLOW_RECV, 9), REST(FLOW_RECV, "/1.1\r\n\r\n"), REPLY(0, OK(0)), QUERY(1, GET("/b")),
		  REPLY(1, OK(0))},
		 "lost hole 1\nS GET /b 200 5-6-6 0/0\n"},
		{"first half of a pipelined pair",
		 {QUERY(0, GET("/a")), LOST(FLOW_RECV, 30), QUERY(2, GET("/c")), REPLY(0, OK(1) "x"), REPLY(1, OK(2) "xy"),
		  REPLY(2, OK(3) "xyz")},
		 "S GET /a 200 1-4-4 0/1\nS GET /c 200 3-6-6 0/3\n"},
		{"an answer among others",
		 {QUERY(0, GET("/a")), QUERY(1, GET("/b")), QUERY(2, GET("/c")), REPLY(0, OK(0)), LOST(FLOW_SEND, 40), REPLY(2, OK(0))},
		 "S GET /a 200 1-4-4 0/0\ndrop /b\nlost hole 1\nS GET /c 200 3-6-6 0/0\n"},
		{"numbers wrap",
		 {QUERY(0xffffffff, GET("/a")), LOST(FLOW_RECV, 30), QUERY(1, GET("/c")), REPLY(0, OK(0)), REPLY(1, OK(0))},
		 "drop /a\nlost hole 1\nS GET /c 200 3-5-5 0/0\n"},
		{"the rest of a head is no message",
		 {QUERY(0, GET("/a")), REPLY(0, "HTTP/1.1 200 OK\r\n"), LOST(FLOW_SEND, 20), REST(FLOW_SEND, OK(0)), QUERY(1, GET("/b")),
		  REPLY(1, OK(0))},
		 "drop /a\nlost hole 1\nS GET /b 200 5-6-6 0/0\n"},
		{"another answer's last chunk",
		 {QUERY(0, GET("/a") ), QUERY(1, GET("/b")), REPLY(0, OK_CHUNKED), LOST(FLOW_SEND, 400), LAST(1, 99, "0\r\n\r\n"),
		  QUERY(2, GET("/c")), REPLY(2, OK(0))},
		 "drop /a\nlost hole 1\ndrop /b\nlost hole 1\nS GET /c 200 6-7-7 0/0\n"},
		{"its own last chunk",
		 {QUERY(0, GET("/a")), REPLY(0, OK_CHUNKED), LOST(FLOW_SEND, 400), LAST(0, 99, "0\r\n\r\n")},
		 "S GET /a 200 1-2-4 0/99\n"},
		{"the last chunk and the end",
		 {QUERY(0, GET("/a")), REPLY(0, OK_CHUNKED), LOST(FLOW_SEND, 400), END(LOCAL_CLOSE)},
		 "drop /a\nlost hole 1\n"},
		{"the last answer",
		 {QUERY(0, GET("/a")), REPLY(0, OK(0)), QUERY(1, GET("/b")), LOST(FLOW_SEND, 40), END(PEER_RESET)},
		 "S GET /a 200 1-2-2 0/0\ndrop /b\nlost hole 1\n"},
		{"no answer, nothing lost before the end",
		 {LOST(FLOW_RECV, 30), QUERY(1, GET("/b")), END(PEER_RESET)},
		 "S GET /b 0 2-0-3 0/0 peer_reset\n"},
		{"a refused body or a lost request",
		 {QUERY(0, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n"), REPLY(0, OK(9)),
		  LOST(FLOW_RECV, 50), REST(FLOW_SEND, "012345678"), QUERY(2, GET("/c")), REPLY(1, OK(0)), REPLY(2, OK(0))},
		 "drop /a\nlost hole 1\nS GET /c 200 5-7-7 0/0\n"},
		{"bytes that nobody looked at",
		 {QUERY(0, GET("/a")), HS(40), HR(30),
		  {E_DATA, FLOW_RECV, GET("/b"), 0, NOTE_HEAD | NOTE_REQUEST, 0},
		  {E_DATA, FLOW_SEND, OK(0), 0, NOTE_HEAD, 0},
		  {E_DATA, FLOW_RECV, GET("/c"), 0, NOTE_HEAD | NOTE_REQUEST, 0},
		  {E_DATA, FLOW_SEND, OK(0), 0, NOTE_HEAD, 0}},
		 "drop /a\nlost hole 2\nS GET /c 200 6-7-7 0/0\n"},
		{"a request whose answer was skipped",
		 {QUERY(0, GET("/a")), LOST(FLOW_RECV, 30), REPLY(0, OK(0)), QUERY(2, GET("/c")), REPLY(1, OK(0)), REPLY(3, OK(0)),
		  QUERY(3, GET("/d")), QUERY(4, GET("/e")), REPLY(4, OK(0))},
		 "S GET /a 200 1-3-3 0/0\ndrop /c\nlost hole 1\nlost hole 1\nS GET /e 200 8-9-9 0/0\n"},
		{"a body whose end was lost",
		 {QUERY(0, POST("/a", 50)), LOST(FLOW_SEND, 9), REPLY(0, OK(0))},
		 "drop /a\nlost hole 1\n"},
		{"numbers that contradict",
		 {QUERY(0, GET("/a")), REPLY(1, OK(0)), QUERY(1, GET("/b")), REPLY(2, OK(0))},
		 "S GET /a 200 1-2-2 0/0\nS GET /b 200 3-4-4 0/0\n"},
	};

	EXPECT(s);
}

static void test_late(void **state)
{
	static const struct script s[] = {
		{"at a request",
		 {R(GET("/a")), S(OK(1) "x"), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/1\nS GET /b 200 3-4-4 0/0\n",
		 .late = true},
		{"at an answer", {S(OK(3) "abc"), R(GET("/b")), S(OK(0))}, "S GET /b 200 2-3-3 0/0\n", .late = true},
		{"at an answer without the body",
		 {S(OK(3)), HS(3), HR(99), R(GET("/b")), S(OK(0))},
		 "S GET /b 200 4-5-5 0/0\n",
		 .late = true},
		{"client, at an answer",
		 {R(OK_CHUNKED "1\r\nx\r\n"), R("0\r\n\r\n"), S(GET("/b")), R(OK(0))},
		 "C GET /b 200 3-4-4 0/0\n",
		 .late = true},
		{"in a body",
		 {S("abc GET"), S("x"), R(GET("/b")), S(OK(0))},
		 "S GET /b 200 3-4-4 0/0\n",
		 .late = true,
		 .no_split = true},
		{"what passed before is no loss",
		 {R(GET("/a")), HS(12345), S(OK(0)), R(GET("/b")), S(OK(0))},
		 "S GET /a 200 1-3-3 0/0\nS GET /b 200 4-5-5 0/0\n",
		 .late = true},
		{"at the answer to HEAD",
		 {S(OK(300)), R(GET("/b")), S(OK(0))},
		 "S GET /b 200 2-3-3 0/0\n",
		 .late = true},
		{"never",
		 {R("x"), R("y"), R("x"), R("x"), R("x"), R("x"), R("x"), R("x"), R("x"), R("x"), R("x"), R("x"),
		  R("x"), R("x"), R("x"), R("x"), R("x")},
		 "EPROTO\n",
		 .late = true},
	};

	EXPECT(s);
}

static void test_race(void **state)
{
	static const struct script s[] = {
		{"answer first",
		 {R(OK(2) "ab"), S(GET("/a")), S(GET("/b")), R(OK(0))},
		 "C GET /a 200 0-1-1 0/2\nC GET /b 200 3-4-4 0/0\n"},
		{"answer first, later",
		 {S(GET("/a")), R(OK(0)), R(OK(2)), R("ab"), S(GET("/b")), S(GET("/c")), R(OK(0))},
		 "C GET /a 200 1-2-2 0/0\nC GET /b 200 0-3-4 0/2\nC GET /c 200 6-7-7 0/0\n"},
		{"with a hole in its body",
		 {S(GET("/a")), R(OK(0)), R(OK(5000)), HR(5000), S(GET("/b")), S(GET("/c")), R(OK(0))},
		 "C GET /a 200 1-2-2 0/0\nC GET /b 200 0-3-4 0/5000\nC GET /c 200 6-7-7 0/0\n"},
		{"HEAD",
		 {S(GET("/a")), R(OK(0)), R(OK(7)), S("HEAD /b HTTP/1.1\r\n\r\n"), S(GET("/c")), R(OK(0))},
		 "C GET /a 200 1-2-2 0/0\nC HEAD /b 200 0-3-3 0/0\nC GET /c 200 5-6-6 0/0\n"},
		{"half of the answer",
		 {S(GET("/a")), R(OK(0)), R(OK(4) "ab"), S(GET("/b")), R("cd")},
		 "C GET /a 200 1-2-2 0/0\nC GET /b 200 0-3-5 0/4\n"},
	};

	EXPECT(s);
}

/* --- bounds --- */

static void test_pipeline_budget(void **state)
{
	struct conn c;

	conn_init(&c, false);
	for (int i = 0; i < 300; i++)
		assert_int_equal(conn_data(&c, FLOW_RECV, GET("/a"), strlen(GET("/a")), 1, 0), 0);
	assert_int_equal(c.rec.begun, 256);
	assert_int_equal(c.rec.lost, 0); /* nothing says yet that this is HTTP */
	for (int i = 0; i < 299; i++)
		assert_int_equal(conn_data(&c, FLOW_SEND, OK(0), strlen(OK(0)), 2, 0), 0);
	assert_int_equal(c.rec.ended, 256);
	assert_int_equal(c.rec.lost, 44);
	/* one answer is still due: not in step yet, nothing was missing so that the count says so */
	conn_data(&c, FLOW_RECV, GET("/b"), strlen(GET("/b")), 3, 0);
	assert_int_equal(c.rec.lost, 45);
	conn_data(&c, FLOW_SEND, OK(0) OK(0), 2 * strlen(OK(0)), 4, 0);
	conn_data(&c, FLOW_RECV, GET("/c"), strlen(GET("/c")), 5, 0);
	conn_data(&c, FLOW_SEND, OK(0), strlen(OK(0)), 6, 0);
	assert_int_equal(c.rec.lost, 45);
	assert_int_equal(c.rec.ended, 257);
	assert_non_null(strstr(c.rec.out.data, "S GET /c 200 5-6-6 0/0\n"));
	conn_done(&c);
	buf_done(&c.rec.out);
}

static void send_all(struct conn *c, enum flow_dir dir, const struct buf *b, size_t step, uint64_t ns)
{
	for (size_t at = 0; at < b->len; at += step)
		conn_data(c, dir, b->data + at, MIN(step, b->len - at), ns, 0);
}

static void large_head(struct buf *b, const char *first, size_t size)
{
	buf_puts(b, first);
	while (b->len + 4 < size)
		buf_puts(b, b->len + 104 < size ? "X-Filler: 0123456789012345678901234567890123456789012345678901234567"
						  "890123456789\r\n"
						: "A");
}

static void test_large_heads(void **state)
{
	static const size_t steps[] = {1 << 20, 60000, 1000, 7};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		_buf_ struct buf fits = BUF_INIT, large = BUF_INIT, line = BUF_INIT;
		struct conn c;

		buf_puts(&fits, "GET /");
		while (fits.len < 60000)
			buf_addc(&fits, 'x');
		buf_puts(&fits, " HTTP/1.1\r\n\r\n");
		large_head(&large, "GET /large HTTP/1.1\r\n", 70000);
		buf_puts(&large, "\r\n\r\n");
		large_head(&line, "HTTP/1.1 200 OK\r\n", 70000);
		buf_puts(&line, "\r\n\r\n");
		conn_init(&c, false);
		send_all(&c, FLOW_RECV, &fits, steps[i], 1);
		conn_data(&c, FLOW_SEND, OK(0), strlen(OK(0)), 2, 0);
		assert_int_equal(c.rec.ended, 1);
		buf_clear(&c.rec.out);
		send_all(&c, FLOW_RECV, &large, steps[i], 3);
		conn_data(&c, FLOW_SEND, STATUS(431), strlen(STATUS(431)), 4, 0);
		conn_data(&c, FLOW_RECV, GET("/b"), strlen(GET("/b")), 5, 0);
		send_all(&c, FLOW_SEND, &line, steps[i], 6);
		conn_data(&c, FLOW_RECV, GET("/c"), strlen(GET("/c")), 7, 0);
		conn_data(&c, FLOW_SEND, OK(0), strlen(OK(0)), 8, 0);
		assert_string_equal(c.rec.out.data, "lost large 1\ndrop /b\nlost large 1\nS GET /c 200 7-8-8 0/0\n");
		conn_done(&c);
		buf_done(&c.rec.out);
	}
}

static void test_park_bound(void **state)
{
	_buf_ struct buf big = BUF_INIT;
	struct conn c;

	buf_puts(&big, "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n");
	for (int i = 0; i < 20000; i++)
		buf_addc(&big, 'x');
	conn_init(&c, false);
	conn_data(&c, FLOW_SEND, GET("/a"), strlen(GET("/a")), 1, 0);
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 2, 0);
	send_all(&c, FLOW_RECV, &big, 1000, 10);
	conn_data(&c, FLOW_SEND, GET("/b"), strlen(GET("/b")), 9, 0);
	conn_data(&c, FLOW_SEND, GET("/c"), strlen(GET("/c")), 12, 0);
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 13, 0);
	assert_string_equal(c.rec.out.data, "C GET /a 200 1-2-2 0/0\nlost hole 1\nC GET /c 200 12-13-13 0/0\n");
	conn_done(&c);
	buf_done(&c.rec.out);
}

/* A 408 that came while nothing was asked is not the answer to what is asked much later. */
static void test_park_expires(void **state)
{
	struct conn c;

	conn_init(&c, false);
	conn_data(&c, FLOW_SEND, GET("/a"), strlen(GET("/a")), 1, 0);
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 2, 0);
	conn_data(&c, FLOW_RECV, STATUS(408), strlen(STATUS(408)), 3, 0);
	conn_data(&c, FLOW_SEND, GET("/b"), strlen(GET("/b")), 1000000000, 0);
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 1000000001, 0);
	assert_string_equal(c.rec.out.data,
			    "C GET /a 200 1-2-2 0/0\nC GET /b 200 1000000000-1000000001-1000000001 0/0\n");
	conn_done(&c);
	buf_done(&c.rec.out);
}

/* --- memory --- */

static void test_budget_rule(void **state)
{
	struct proto_budget b = {.max = 1600};
	char *p, *q;

	assert_null(proto_resize(&b, NULL, 0, 101));
	p = proto_resize(&b, NULL, 0, 100);
	assert_non_null(p);
	assert_int_equal(b.used, 100);
	assert_null(proto_resize(&b, NULL, 0, 94)); /* a sixteenth of what is free: 93 */
	q = proto_resize(&b, NULL, 0, 93);
	assert_non_null(q);
	assert_null(proto_resize(&b, p, 100, 101)); /* and `p` is as it was */
	memset(p, 1, 100);
	assert_int_equal(b.used, 193);
	assert_int_equal(b.refused, 3);
	p = proto_resize(&b, p, 100, 94);
	assert_non_null(p);
	proto_free(&b, p, 94);
	proto_free(&b, NULL, 0);
	proto_free(&b, q, 93);
	assert_int_equal(b.used, 0);
	b.max = 0;
	assert_null(proto_resize(&b, NULL, 0, 1));
	p = proto_resize(NULL, NULL, 0, 1 << 20);
	assert_non_null(p);
	proto_free(NULL, p, 1 << 20);
}

/* No room: the message that wanted it is lost, the next one is not. */
static void test_budget_full(void **state)
{
	static const struct script s[] = {
		{"a request's copy",
		 {R(GET("/a")), S(OK(0)), FULL, R(GET("/b")), S(OK(0)), FREE, R(GET("/c")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nlost budget 1\nS GET /c 200 7-8-8 0/0\n",
		 .no_split = true},
		{"half a head",
		 {R(GET("/a")), S(OK(0)), FULL, R("GET /b HTTP/1.1\r\nX: "), R("y\r\n\r\n"), FREE, S(OK(0)), R(GET("/c")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nlost budget 1\nS GET /c 200 8-9-9 0/0\n",
		 .no_split = true},
		{"half a head, those before it are sure",
		 {R(GET("/a")), S(OK(0)), R(GET("/b") "GET /c HTTP/1.1\r\nX: "), FULL, R("y"), R("y\r\n\r\n"), FREE, S(OK(1) "x"),
		  S(OK(2) "xy"), R(GET("/d")), S(OK(0))},
		 "S GET /a 200 1-2-2 0/0\nlost budget 1\nS GET /b 200 3-8-8 0/1\nS GET /d 200 10-11-11 0/0\n",
		 .no_split = true},
		{"numbered, half a head",
		 {QUERY(0, GET("/a")), REPLY(0, OK(0)), FULL, QUERY(1, "GET /b HTTP/1.1\r\nX: "), REST(FLOW_RECV, "y\r\n\r\n"), FREE,
		  QUERY(2, GET("/c")), REPLY(1, OK(1) "x"), REPLY(2, OK(2) "xy")},
		 "S GET /a 200 1-2-2 0/0\nlost budget 1\nS GET /c 200 7-9-9 0/2\n",
		 .no_split = true},
		{"numbered, the first head, proved by its answer",
		 {FULL, QUERY(0, "GET /a HTTP/1.1\r\nX: "), REST(FLOW_RECV, "y\r\n\r\n"), FREE, REPLY(0, OK(0)), QUERY(1, GET("/b")),
		  REPLY(1, OK(0))},
		 "lost budget 1\nS GET /b 200 6-7-7 0/0\n",
		 .no_split = true},
		{"the first head, never answered",
		 {FULL, R("GET /a HTTP/1.1\r\nX: "), R("y"), END(PEER_RESET)},
		 "lost budget 1\n",
		 .no_split = true},
		{"the first line",
		 {FULL, R("GET /aaa"), R("aaa"), FREE, R(" HTTP/1.1\r\n\r\n"), S(OK(0)), R(GET("/b")), S(OK(0))},
		 "lost budget 1\nS GET /b 200 7-8-8 0/0\n",
		 .no_split = true},
		{"what never was HTTP", {FULL, R("GET /aaa"), R("aaa"), S("+OK\r\n")}, "EPROTO\n", .no_split = true},
		{"what might be an answer", {FULL, S("H"), END(PEER_RESET)}, "EPROTO\n"},
		{"half an answer's head",
		 {S(GET("/a")), R(OK(0)), S(GET("/b")), FULL, R("HTTP/1.1 200 OK\r\nCon"), R("tent-Length: 0\r\n\r\n"), FREE,
		  S(GET("/c")), R(OK(0))},
		 "C GET /a 200 1-2-2 0/0\ndrop /b\nlost budget 1\nC GET /c 200 8-9-9 0/0\n",
		 .no_split = true},
		{"numbered, half an answer's head",
		 {QUERY(0, GET("/a") ), QUERY(1, GET("/b")), FULL, REPLY(0, "HTTP/1.1 200 OK\r\nCon"),
		  REST(FLOW_SEND, "tent-Length: 0\r\n\r\n"), FREE, REPLY(1, OK(1) "x")},
		 "drop /a\nlost budget 1\nS GET /b 200 2-7-7 0/1\n",
		 .no_split = true},
	};

	EXPECT(s);
}

/* An answer that came before its request, and there was no room to let it wait: the request, when it shows, is lost. */
static void test_budget_early_answer(void **state)
{
	struct conn c;

	conn_init(&c, false);
	conn_data(&c, FLOW_SEND, GET("/a"), strlen(GET("/a")), 1, 0);
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 2, 0);
	c.budget.max = c.budget.used;
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 4, 0);
	c.budget.max = BUDGET;
	conn_data(&c, FLOW_SEND, GET("/b"), strlen(GET("/b")), 3, 0);
	conn_data(&c, FLOW_SEND, GET("/c"), strlen(GET("/c")), 5, 0);
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 6, 0);
	assert_string_equal(c.rec.out.data, "C GET /a 200 1-2-2 0/0\nlost budget 1\nC GET /c 200 5-6-6 0/0\n");
	conn_done(&c);
	buf_done(&c.rec.out);
}

static void fill_with_heads(struct conn *c, size_t n, struct proto_budget *b)
{
	_buf_ struct buf half = BUF_INIT;

	buf_puts(&half, "GET /slow HTTP/1.1\r\nX-Slow: ");
	while (half.len < 60000)
		buf_addc(&half, 'x');
	for (size_t i = 0; i < n; i++) {
		conn_init(&c[i], false);
		c[i].flow.budget = b;
		for (size_t at = 0; at < half.len; at += 9000) {
			size_t len = MIN((size_t)9000, half.len - at);

			conn_data(&c[i], FLOW_RECV, half.data + at, len, 1, at ? NOTE_REST : NOTE_NTH | NOTE_REQUEST);
			assert_true(b->used <= b->max);
		}
	}
}

/* 600 slow clients and an ordinary one that keeps to itself. */
static void test_budget_shared(void **state)
{
	enum { SLOW = 600 };
	struct proto_budget b = {.max = BUDGET};
	struct conn *slow = calloc(SLOW, sizeof(*slow)), fast;
	unsigned kept = 0, lost = 0;

	assert_non_null(slow);
	fill_with_heads(slow, SLOW, &b);
	conn_init(&fast, false);
	fast.flow.budget = &b;
	for (unsigned i = 0; i < 200; i++) {
		conn_data(&fast, FLOW_RECV, GET("/a"), strlen(GET("/a")), 2, NOTE_NTH | NOTE_REQUEST | i);
		conn_data(&fast, FLOW_SEND, "HTTP/1.1 200 OK\r\n", 17, 3, NOTE_NTH | i);
		conn_data(&fast, FLOW_SEND, "Content-Length: 0\r\n\r\n", 21, 3, NOTE_REST);
	}
	assert_int_equal(fast.rec.calls, 200);
	assert_int_equal(fast.rec.lost, 0);
	/* half of them finish, half go away; then each that finished asks once more */
	for (unsigned i = 0; i < SLOW; i += 2)
		proto_table[PROTO_HTTP1]->end(slow[i].state, &slow[i].flow, FLOW_END_PEER_RESET, 4, &slow[i].rec.sink);
	for (unsigned i = 1; i < SLOW; i += 2) {
		conn_data(&slow[i], FLOW_RECV, "\r\n\r\n", 4, 5, NOTE_REST);
		conn_data(&slow[i], FLOW_SEND, OK(0), strlen(OK(0)), 6, NOTE_NTH);
		conn_data(&slow[i], FLOW_RECV, GET("/b"), strlen(GET("/b")), 7, NOTE_NTH | NOTE_REQUEST | 1);
		conn_data(&slow[i], FLOW_SEND, OK(0), strlen(OK(0)), 8, NOTE_NTH | 1);
		assert_int_equal(slow[i].rec.calls + slow[i].rec.lost, 2);
		assert_true(slow[i].rec.calls >= 1);
		kept += slow[i].rec.calls == 2;
	}
	for (unsigned i = 0; i < SLOW; i++)
		lost += slow[i].rec.lost;
	/* a head of 60000 bytes in room for 65536, as long as a sixteenth of what is free is that much */
	assert_int_equal(lost, SLOW - (BUDGET - 15 * 65536) / 65536);
	assert_int_equal(kept, (BUDGET - 15 * 65536) / 65536 / 2);
	for (unsigned i = 0; i < SLOW; i++) {
		conn_done(&slow[i]);
		buf_done(&slow[i].rec.out);
	}
	conn_done(&fast);
	buf_done(&fast.rec.out);
	free(slow);
	assert_int_equal(b.used, 0);
}

/* --- what a call says --- */

static char seen_attrs[4096];

static void write_attrs(struct rec *r, const struct call *c)
{
	size_t at = 0;
	char name[64];

	for (size_t i = 0; i < c->n_attrs; i++) {
		const struct attr *a = &c->attrs[i];

		if (a->type == ATTR_STR)
			at += snprintf(seen_attrs + at, sizeof(seen_attrs) - at, "%s=%.*s\n", a->key->name,
				       (int)a->s.len, a->s.p);
		else
			at += snprintf(seen_attrs + at, sizeof(seen_attrs) - at, "%s=%lld\n", a->key->name,
				       (long long)a->i);
	}
	at += snprintf(seen_attrs + at, sizeof(seen_attrs) - at, "path=%.*s\nspan=%s\n", (int)c->path.len, c->path.p,
		       proto_table[PROTO_HTTP1]->span_name(c, name, sizeof(name)));
	at += snprintf(seen_attrs + at, sizeof(seen_attrs) - at, "trace=");
	for (int i = 0; c->parent.valid && i < 16; i++)
		at += snprintf(seen_attrs + at, sizeof(seen_attrs) - at, "%02x", c->parent.trace_id[i]);
	if (c->parent.valid)
		at += snprintf(seen_attrs + at, sizeof(seen_attrs) - at, "/%02x..%02x/%02x/%.*s", c->parent.span_id[0],
			       c->parent.span_id[7], c->parent.flags, (int)c->parent.state.len, c->parent.state.p);
}

static void expect_attrs(enum flow_dir dir, bool tls, const char *request, const char *answer, const char *want)
{
	struct conn c;

	conn_init(&c, false);
	c.flow.tls = tls;
	c.rec.look = write_attrs;
	seen_attrs[0] = 0;
	conn_data(&c, dir, request, strlen(request), 1, 0);
	conn_data(&c, !dir, answer, strlen(answer), 2, 0);
	assert_string_equal(seen_attrs, want);
	conn_done(&c);
	buf_done(&c.rec.out);
}

static void test_attributes(void **state)
{
	expect_attrs(
		FLOW_RECV, false,
		"POST /p%20q/x?a=1&sig=s3cr3t&X-Goog-Signature=&AWSAccessKeyId=x&%53ignature=y&b HTTP/1.1\r\n"
		"Host: shop.example:8443\r\nUser-Agent: t/1\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.0 503 X\r\nContent-Length: 3\r\n\r\nabc",
		"http.request.method=POST\nurl.path=/p%20q/x\n"
		"url.query=a=1&sig=REDACTED&X-Goog-Signature=&AWSAccessKeyId=REDACTED&%53ignature=REDACTED&b\n"
		"url.scheme=http\nnetwork.protocol.version=1.0\nserver.address=shop.example\nserver.port=8443\n"
		"client.address=192.0.2.9\nnetwork.peer.address=192.0.2.9\nnetwork.peer.port=40000\n"
		"user_agent.original=t/1\nhttp.response.status_code=503\nerror.type=503\nhttp.request.body.size=2\n"
		"http.response.body.size=3\npath=/p%20q/x\nspan=POST\ntrace=");
	expect_attrs(FLOW_SEND, true, "QUERY /x HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", STATUS(404),
		     "http.request.method=_OTHER\nhttp.request.method_original=QUERY\nurl.path=/x\nurl.scheme=https\n"
		     "network.protocol.version=1.1\nserver.address=2001:db8::1\nserver.port=40000\n"
		     "network.peer.address=192.0.2.9\nnetwork.peer.port=40000\nhttp.response.status_code=404\n"
		     "error.type=404\nhttp.request.body.size=0\nhttp.response.body.size=0\npath=/x\nspan=HTTP\ntrace=");
	expect_attrs(
		FLOW_SEND, true, "GET HTTP://u:p@h:81/x?y HTTP/1.0\r\n\r\n", OK(0),
		"http.request.method=GET\nurl.path=/x\nurl.query=y\nurl.scheme=http\nnetwork.protocol.version=1.1\n"
		"server.address=h\nserver.port=81\nnetwork.peer.address=192.0.2.9\nnetwork.peer.port=40000\n"
		"http.response.status_code=200\nhttp.request.body.size=0\nhttp.response.body.size=0\npath=/"
		"x\nspan=GET\n"
		"trace=");
	expect_attrs(
		FLOW_SEND, false, "OPTIONS * HTTP/1.0\r\nHost: a/b\r\n\r\n", OK(0),
		"http.request.method=OPTIONS\nurl.path=*\nurl.scheme=http\nnetwork.protocol.version=1.1\n"
		"server.address=192.0.2.9\nserver.port=40000\nnetwork.peer.address=192.0.2.9\nnetwork.peer.port=40000\n"
		"http.response.status_code=200\nhttp.request.body.size=0\nhttp.response.body.size=0\npath=\nspan="
		"OPTIONS\n"
		"trace=");
	expect_attrs(
		FLOW_RECV, false, "CONNECT h:443 HTTP/1.1\r\nUser-Agent: a\r\n b\r\n\r\n", STATUS(407),
		"http.request.method=CONNECT\nurl.scheme=http\nnetwork.protocol.version=1.1\nserver.address=h\n"
		"server.port=443\nclient.address=192.0.2.9\nnetwork.peer.address=192.0.2.9\nnetwork.peer.port=40000\n"
		"user_agent.original=a   b\nhttp.response.status_code=407\nhttp.request.body.size=0\n"
		"http.response.body.size=0\npath=\nspan=CONNECT\ntrace=");
}

#define IDS "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"

static void expect_trace(const char *fields, const char *want)
{
	char request[2048];
	struct conn c;

	snprintf(request, sizeof(request), "GET / HTTP/1.1\r\n%s\r\n", fields);
	conn_init(&c, false);
	c.rec.look = write_attrs;
	conn_data(&c, FLOW_RECV, request, strlen(request), 1, 0);
	conn_data(&c, FLOW_SEND, OK(0), strlen(OK(0)), 2, 0);
	assert_int_equal(c.rec.ended, 1);
	assert_string_equal(strstr(seen_attrs, "trace=") + 6, want);
	conn_done(&c);
	buf_done(&c.rec.out);
}

static void test_trace_context(void **state)
{
	static const char *const bad[] = {
		"Traceparent: 00-" IDS "-01-x\r\n",
		"traceparent: 00-" IDS "-0\r\n",
		"traceparent: ff-" IDS "-01\r\n",
		"traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n",
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01\r\n",
		"traceparent: 00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
		"traceparent: 00_" IDS "-01\r\n",
		"traceparent: 0x-" IDS "-01\r\n",
		"traceparent: 01-" IDS "-01x\r\n",
		"traceparent: 00-" IDS "-01\r\ntraceparent: 00-" IDS "-01\r\n",
		"traceparent:\r\n",
		"tracestate: a=b\r\n",
	};
	char state_of_513[600] = "traceparent: 00-" IDS "-01\r\ntracestate: ";

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_trace(bad[i], "");
	expect_trace("traceParent:  00-" IDS "-01 \r\n", "0af7651916cd43dd8448eb211c80319c/b7..31/01/");
	expect_trace("traceparent: 00-" IDS "-00\r\ntracestate: a=1\r\nTraceState: b=2,c=3\r\n",
		     "0af7651916cd43dd8448eb211c80319c/b7..31/00/a=1,b=2,c=3");
	expect_trace("traceparent: cc-" IDS "-03-what\r\n", "0af7651916cd43dd8448eb211c80319c/b7..31/03/");
	memset(state_of_513 + strlen(state_of_513), 'x', 513);
	memcpy(strrchr(state_of_513, 'x') + 1, "\r\n", 3);
	state_of_513[sizeof(state_of_513) - 1] = 0;
	expect_trace(state_of_513, "0af7651916cd43dd8448eb211c80319c/b7..31/01/");
}

static void test_wait_and_tasks(void **state)
{
	struct conn c;

	conn_init(&c, false);
	conn_data(&c, FLOW_RECV, "GET /", 5, 3, 0);
	conn_data(&c, FLOW_RECV, "a HTTP/1.1\r\n\r\n" GET("/b"), 14 + strlen(GET("/b")), 4, 0);
	conn_data(&c, FLOW_SEND, OK(0), strlen(OK(0)), 5, 0);
	assert_int_equal(c.rec.wait, 30);
	assert_int_equal(c.rec.pid, 42);
	assert_int_equal(c.rec.tid, 103);
	/* the second one's first byte may have come after the piece's first byte */
	conn_data(&c, FLOW_SEND, OK(0), strlen(OK(0)), 6, 0);
	assert_true(c.rec.wait == WAIT_UNKNOWN);
	assert_int_equal(c.rec.tid, 104);
	conn_done(&c);
	buf_done(&c.rec.out);

	conn_init(&c, false);
	conn_data(&c, FLOW_SEND, GET("/b"), strlen(GET("/b")), 1, 0);
	conn_data(&c, FLOW_RECV, OK(0), strlen(OK(0)), 2, 0);
	assert_true(c.rec.wait == WAIT_UNKNOWN);
	conn_done(&c);
	buf_done(&c.rec.out);
}

/* --- chance --- */

static uint64_t rng_state;

static uint32_t rnd(uint32_t n)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)(rng_state >> 33) % n;
}

/*
 * A client and a server of which some records are lost, at random. Request n asks for n bytes, so
 * that an answer given to the wrong request shows; and every request made is reported, lost
 * here, or was lost with its first byte (which the kernel's half counts).
 */
struct world {
	struct conn c;
	uint64_t now;
	uint64_t hole[2];
	uint32_t made, unseen, answered;
	uint32_t loss; /* one record in that many */
	bool window;   /* keeps some outstanding */
	bool numbered; /* the kernel's half tells where messages begin */
	bool gap;
};

static void check_pair(struct rec *r, const struct call *c)
{
	char want[32];

	if (!c->answered || (c->error_type.len && !str_is(c->error_type, "503")))
		return;
	snprintf(want, sizeof(want), "/%llu", (unsigned long long)c->response_bytes);
	if (!str_is(c->path, want))
		fail_msg("%.*s was given the answer to %s", (int)c->path.len, c->path.p, want);
}

static void flush_hole(struct world *w, enum flow_dir dir)
{
	w->c.flow.gap = w->gap;
	if (w->hole[dir])
		proto_table[PROTO_HTTP1]->hole(w->c.state, &w->c.flow, dir, w->hole[dir], w->now, &w->c.rec.sink);
	w->hole[dir] = 0;
}

/* Sends one message in random records; the kernel's half begins a new one with each message. */
static void transmit(struct world *w, enum flow_dir dir, const struct buf *b, bool request)
{
	uint64_t head = NOTE_NTH | (request ? NOTE_REQUEST | (w->made - 1) : w->answered - 1);

	for (size_t at = 0, n; at < b->len; at += n) {
		n = rnd(3) ? b->len : 1 + rnd(80);
		n = MIN(n, b->len - at);
		w->now++;
		if (!w->loss || rnd(w->loss)) {
			flush_hole(w, dir);
			conn_data(&w->c, dir, b->data + at, n, w->now, !w->numbered ? 0 : at ? NOTE_REST : head);
			assert_int_equal(w->c.ret, 0);
			w->gap = false;
			continue;
		}
		w->gap = w->numbered;
		w->hole[dir] += n;
		w->unseen += request && !at;
	}
}

static void ask(struct world *w, enum flow_dir dir, unsigned n)
{
	for (; n; n--) {
		_buf_ struct buf b = BUF_INIT;
		unsigned body = rnd(3) ? 0 : rnd(60);

		w->made++;
		if (body)
			buf_printf(&b, "POST /%u HTTP/1.1\r\nHost: x\r\nContent-Length: %u\r\n\r\n%*s", w->made, body,
				   (int)body, "");
		else
			buf_printf(&b, "GET /%u HTTP/1.1\r\nHost: x\r\n\r\n", w->made);
		transmit(w, dir, &b, true);
	}
}

static void answer(struct world *w, enum flow_dir dir, unsigned n)
{
	for (; n; n--) {
		_buf_ struct buf b = BUF_INIT;
		unsigned len = ++w->answered;

		buf_printf(&b, "HTTP/1.1 %u X\r\n", rnd(9) ? 200 : 503);
		if (rnd(2))
			buf_printf(&b, "Content-Length: %u\r\n\r\n%*s", len, (int)len, "");
		else
			buf_printf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%*s\r\n0\r\n\r\n", len, (int)len, "");
		transmit(w, dir, &b, false);
	}
}

static void live(struct world *w, enum flow_dir requests, unsigned turns)
{
	uint32_t loss = w->loss;

	w->loss = 0;
	if (w->window) {
		/* it shows what it is before anything is lost */
		ask(w, requests, 3);
		answer(w, !requests, 1);
		ask(w, requests, 1);
		answer(w, !requests, 1);
	}
	w->loss = loss;
	while (turns--) {
		uint32_t some = 1 + rnd(3), due;

		ask(w, requests, 1 + (rnd(3) ? 0 : rnd(4)));
		due = w->made - w->answered;
		if (w->window)
			due = MIN(some, due - 1);
		answer(w, !requests, due);
	}
	flush_hole(w, requests);
	flush_hole(w, !requests);
	proto_table[PROTO_HTTP1]->end(w->c.state, &w->c.flow, FLOW_END_PEER_RESET, ++w->now, &w->c.rec.sink);
}

static unsigned one_world(enum flow_dir requests, bool window, uint32_t loss, bool numbered)
{
	struct world w = {.window = window, .loss = loss, .numbered = numbered};
	unsigned reported, over_before;

	conn_init(&w.c, false);
	w.c.rec.look = check_pair;
	live(&w, requests, 30);
	buf_clear(&w.c.rec.out);
	over_before = w.c.rec.ended;
	conn_done(&w.c);
	assert_int_equal(over_before, w.c.rec.ended);
	reported = w.made - w.unseen - w.c.rec.lost;
	assert_true(w.made >= w.unseen + w.c.rec.lost);
	assert_int_equal(w.c.rec.calls, reported);
	if (!loss) {
		assert_int_equal(reported, w.made);
	}
	buf_done(&w.c.rec.out);
	return reported * 100 / w.made;
}

static void test_random_losses(void **state)
{
	unsigned kept = 0, numbered = 0;

	rng_state = 0x9e3779b97f4a7c15;
	for (int i = 0; i < 4000; i++) {
		one_world(i & 1, i & 2, 0, i & 4);
		one_world(i & 1, i & 2, 10 + rnd(30), i & 4);
		kept += one_world(i & 1, false, 100, false);
		numbered += one_world(i & 1, i & 2, 100, true);
	}
	/* and it does resynchronise */
	assert_true(kept / 4000 > 85);
	assert_true(numbered / 4000 > 95);
}

static const char *const words[] = {
	"GET / HTTP/1.1\r\n",
	"POST /a HTTP/1.1\r\n",
	"HEAD /h HTTP/1.0\r\n",
	"CONNECT h:1 HTTP/1.1\r\n",
	"\r\n",
	"\r\n\r\n",
	"HTTP/1.1 200 OK\r\n",
	"HTTP/1.1 100 C\r\n\r\n",
	"HTTP/1.0 204 N\r\n\r\n",
	"HTTP/1.1 101 S\r\n\r\n",
	"Content-Length: 5\r\n",
	"Content-Length: 0\r\n",
	"Transfer-Encoding: chunked\r\n",
	"Expect: 100-continue\r\n",
	"Upgrade: x\r\n",
	"5\r\nhello\r\n",
	"0\r\n\r\n",
	"0\r\n",
	"hello",
	"\n",
	"G",
	"H",
	" ",
	":",
	"Host: a\r\n",
	GET("/g"),
	OK(0),
	OK(2) "ab",
	OK_CHUNKED,
	"traceparent: 00-" IDS "-01\r\n",
	"\x00\xff",
	"ffffffffffffffff",
	";",
	" folded\r\n",
};

static void write_nothing(struct rec *r, const struct call *c)
{
}

static uint64_t chance_note(void)
{
	switch (rnd(12)) {
	case 0:
		return NOTE | rnd(9);
	case 1:
		return NOTE_NUMBER | NOTE_CHUNK_MAKE(rnd(9), rnd(4));
	case 2:
		return NOTE_REST;
	case 3:
		return NOTE_HEAD | (rnd(2) ? NOTE_REQUEST : 0);
	case 4:
		return (uint64_t)rnd(1U << 31) << 33 | rnd(9);
	case 5:
	case 6:
	case 7:
		return NOTE_NTH | (rnd(2) ? NOTE_REQUEST : 0) | rnd(9);
	default:
		return 0;
	}
}

static bool chance_step(struct conn *c, uint64_t now)
{
	const struct proto *p = proto_table[PROTO_HTTP1];
	char bytes[512];
	size_t len = 0;

	c->flow.gap = !rnd(30);
	if (!rnd(24))
		c->ret = p->hole(c->state, &c->flow, rnd(2), 1 + rnd(rnd(2) ? 9 : 100000), now, &c->rec.sink);
	else if (!rnd(60))
		c->ret = p->end(c->state, &c->flow, rnd(FLOW_END_UNKNOWN + 1), now, &c->rec.sink);
	else {
		for (uint32_t n = 1 + rnd(5); n && len < 400; n--) {
			const char *word = words[rnd(ARRAY_SIZE(words))];

			memcpy(bytes + len, word, strlen(word));
			len += strlen(word);
		}
		if (len && !rnd(8))
			bytes[rnd((uint32_t)len)] = (char)rnd(256);
		conn_data(c, rnd(2), bytes, MAX(len, (size_t)1), rnd(9) ? now : 0, chance_note());
	}
	return c->ret == 0;
}

static void test_fuzz(void **state)
{
	uint64_t steps = 0;

	rng_state = 88172645463325252ULL;
	while (steps < 1000000) {
		struct conn c;

		conn_init(&c, !rnd(3));
		c.budget.max = rnd(3) ? BUDGET : rnd(20000);
		c.rec.look = write_nothing;
		for (int i = 0; i < 60 && chance_step(&c, steps); i++)
			steps++;
		steps++;
		if (c.ret != -EPROTO)
			assert_int_equal(c.ret, 0);
		conn_done(&c);
		buf_done(&c.rec.out);
	}
}

static void test_tables(void **state)
{
	const struct proto *p = proto_table[PROTO_HTTP1];
	char name[64];
	struct call c = {.role = ROLE_SERVER, .route = STR("/a/{id}")};
	int n = 0;

	assert_true(p->state_size <= 512);
	for (const struct proto_metric *m = p->metrics; m->inst; m++, n++)
		assert_non_null(m->inst->help);
	assert_int_equal(n, 8);
	for (int r = 0; r < ROLE_MAX; r++) {
		for (n = 0; p->labels[r][n]; n++)
			for (int i = 0; i < n; i++)
				assert_ptr_not_equal(p->labels[r][i], p->labels[r][n]);
		assert_true(n <= PROTO_LABELS_MAX);
	}
	assert_string_equal(p->route_key->name, "http.route");
	call_add_str(&c, p->labels[ROLE_SERVER][0], STR("GET"));
	assert_string_equal(p->span_name(&c, name, sizeof(name)), "GET /a/{id}");
	assert_string_equal(p->span_name(&c, name, 6), "GET /");
	c.attrs[0].s = STR("_OTHER");
	assert_string_equal(p->span_name(&c, name, sizeof(name)), "HTTP /a/{id}");
	c.role = ROLE_CLIENT;
	assert_string_equal(p->span_name(&c, name, sizeof(name)), "HTTP");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framing),
		cmocka_unit_test(test_strict),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_pipeline_budget),
		cmocka_unit_test(test_large_heads),
		cmocka_unit_test(test_park_bound),
		cmocka_unit_test(test_park_expires),
		cmocka_unit_test(test_budget_rule),
		cmocka_unit_test(test_budget_full),
		cmocka_unit_test(test_budget_early_answer),
		cmocka_unit_test(test_budget_shared),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_trace_context),
		cmocka_unit_test(test_wait_and_tasks),
		cmocka_unit_test(test_random_losses),
		cmocka_unit_test(test_fuzz),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, make_guard, NULL);
}
