// SPDX-License-Identifier: Apache-2.0
/*
 * Records as no kernel should send them: each is counted, none is believed, and what the others tell stays
 * true: requests made = calls + losses. Every record lies in memory of exactly its size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include <linux/types.h>

#include "bpf/shared/event.h"
#include "bpf/shared/note.h"
#include "user/flow.h"

#define GET	"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
#define OK	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define GET_LEN (sizeof(GET) - 1)
#define OK_LEN	(sizeof(OK) - 1)
#define FAR	(1ULL << 63)
#define SERVER	(CONN_SERVER | CONN_FROM_START)

static char empty_proc[] = "/tmp/test_flow.XXXXXX"; /* no process can be read */

static int make_proc(void **state)
{
	return mkdtemp(empty_proc) ? 0 : -1;
}

static int remove_proc(void **state)
{
	return rmdir(empty_proc);
}

struct world {
	struct config *config;
	struct processes *processes;
	struct routes *routes;
	struct metrics *metrics;
	struct flow_table *t;
	unsigned calls, answered, failed;
};

static void on_call(void *ctx, const struct call *c, struct span *span)
{
	struct world *w = ctx;

	w->calls++;
	w->answered += c->answered;
	w->failed += c->error_type.len > 0;
}

static void world_init(struct world *w, const char *option)
{
	char *argv[] = {"sonde", "--config.file=/dev/null", (char *)option, NULL};
	struct metrics_options m = {.max_series = 100};
	struct flow_rooms r = {.call = on_call, .ctx = w};
	int rest;

	*w = (struct world){0};
	assert_int_equal(config_load(&w->config, option ? 3 : 2, argv, &rest), 0);
	m.duration_bounds = w->config->buckets.v;
	m.n_duration_bounds = w->config->buckets.n;
	m.size_bounds = w->config->size_buckets.v;
	m.n_size_bounds = w->config->size_buckets.n;
	r.config = w->config;
	r.processes = w->processes = processes_new(w->config, empty_proc);
	r.routes = w->routes = routes_new(10);
	r.metrics = w->metrics = metrics_new(&m);
	assert_true(w->processes && w->routes && w->metrics);
	w->t = flow_table_new(&r);
	assert_non_null(w->t);
}

static void world_done(struct world *w)
{
	flow_table_free(w->t);
	metrics_free(w->metrics);
	routes_free(w->routes);
	processes_free(w->processes);
	config_free(w->config);
}

static struct flow_stats stats_of(const struct world *w)
{
	struct flow_stats s;

	flow_get_stats(w->t, &s);
	assert_int_equal(s.calls, w->calls);
	return s;
}

static uint64_t lost_of(const struct world *w)
{
	struct flow_stats s = stats_of(w);
	uint64_t n = s.lost_table;

	for (int i = 0; i < CALL_LOSS_MAX; i++)
		n += s.lost[i];
	return n;
}

static void expect(const struct world *w, unsigned calls, unsigned lost, unsigned malformed)
{
	assert_int_equal(w->calls, calls);
	assert_int_equal(lost_of(w), lost);
	assert_int_equal(stats_of(w).malformed, malformed);
}

/* --- records --- */

static void deliver(struct world *w, int (*on)(void *, void *, size_t), const void *rec, size_t size)
{
	void *p = malloc(size);

	assert_non_null(p);
	memcpy(p, rec, size);
	assert_int_equal(on(w->t, p, size), 0);
	free(p);
}

static struct ev_conn conn_rec(uint64_t id, uint16_t flags)
{
	struct ev_conn e = {
		.h = {.kind = EV_CONN, .size = sizeof(e), .ts = 1},
		.conn = id,
		.tgid = 1,
		.family = AF_INET,
		.flags = flags,
		.lport = 80,
		.rport = 4000,
	};

	return e;
}

static void announce(struct world *w, uint64_t id)
{
	struct ev_conn e = conn_rec(id, SERVER);

	deliver(w, flow_on_data, &e, sizeof(e));
}

struct data_rec {
	struct ev_data e;
	char bytes[512];
};

static struct data_rec data_rec(uint64_t id, int dir, uint64_t pos, const char *bytes, uint64_t note)
{
	struct data_rec r = {.e = {
				     .h = {.kind = EV_DATA, .ts = 2},
				     .conn = id,
				     .pos = pos,
				     .start_ns = 1,
				     .wait_ns = WAIT_UNKNOWN,
				     .note = note,
				     .tgid = 1,
				     .tid = 1,
				     .len = (__u32)strlen(bytes),
				     .dir = (__u8)dir,
				     .proto = PROTO_HTTP1,
			     }};

	r.e.span = r.e.len;
	r.e.h.size = sizeof(r.e) + r.e.len;
	r.e.heads = note & NOTE_HEAD && note & NOTE_REQUEST;
	memcpy(r.bytes, bytes, r.e.len);
	return r;
}

static void send_rec(struct world *w, const struct data_rec *r)
{
	deliver(w, flow_on_data, r, r->e.h.size);
}

static struct data_rec request_rec(uint64_t id, uint64_t pos, uint32_t n)
{
	return data_rec(id, DIR_RECV, pos, GET, NOTE_HEAD | NOTE_NUMBER | NOTE_REQUEST | n);
}

static struct data_rec answer_rec(uint64_t id, uint64_t pos, uint32_t n)
{
	return data_rec(id, DIR_SEND, pos, OK, NOTE_HEAD | NOTE_NUMBER | n);
}

/* The n-th request or answer where it belongs. */
static void ask(struct world *w, uint64_t id, uint32_t n)
{
	struct data_rec r = request_rec(id, n * GET_LEN, n);

	send_rec(w, &r);
}

static void answer(struct world *w, uint64_t id, uint32_t n)
{
	struct data_rec r = answer_rec(id, n * OK_LEN, n);

	send_rec(w, &r);
}

static struct ev_end end_rec(uint64_t id, uint64_t pos_in, uint64_t pos_out, uint16_t how)
{
	struct ev_end e = {
		.h = {.kind = EV_END, .size = sizeof(e), .ts = 3},
		.conn = id,
		.pos = {pos_in, pos_out},
		.last_ns = {2, 2},
		.tgid = 1,
		.how = how,
	};

	return e;
}

/* After so many requests and answers. */
static void finish(struct world *w, uint64_t id, uint32_t requests, uint32_t answers)
{
	struct ev_end e = end_rec(id, requests * GET_LEN, answers * OK_LEN, END_LOCAL_CLOSE | END_CLOSED);

	deliver(w, flow_on_data, &e, sizeof(e));
	flow_settle(w->t, UINT64_MAX);
}

static void nothing_is_left(struct world *w)
{
	assert_int_equal(stats_of(w).conns, 0);
	assert_int_equal(stats_of(w).conns_unix, 0);
	assert_int_equal(stats_of(w).decode_bytes, 0);
}

/* --- tests --- */

static void test_in_order(void **state)
{
	struct world w;

	world_init(&w, NULL);
	announce(&w, 1);
	assert_int_equal(stats_of(&w).decode_bytes, 0); /* an idle connection is an entry only */
	ask(&w, 1, 0);
	assert_true(stats_of(&w).decode_bytes > 0);
	answer(&w, 1, 0);
	ask(&w, 1, 1);
	finish(&w, 1, 2, 1);
	expect(&w, 2, 0, 0);
	assert_int_equal(w.answered, 1);
	assert_int_equal(w.failed, 1);
	nothing_is_left(&w);
	world_done(&w);
}

/* Every length that a record may be cut to, whether its header says so or not. */
static void test_short(void **state)
{
	struct ev_conn conn = conn_rec(1, SERVER);
	struct data_rec data = request_rec(1, 0, 0);
	struct ev_end end = end_rec(1, 0, 0, END_CLOSED);
	struct ev_tcp_fail fail = {.h = {.kind = EV_TCP_FAIL, .size = sizeof(fail)}};
	struct ev_proc fork = {.h = {.kind = EV_FORK, .size = sizeof(fork)}, .tgid = 9, .ppid = 8};
	struct ev_proc leave = {.h = {.kind = EV_EXIT, .size = sizeof(leave)}, .tgid = 9};
	struct ev_exec exec = {.h = {.kind = EV_EXEC, .size = sizeof(exec)}, .tgid = 9};
	const struct {
		int (*on)(void *, void *, size_t);
		void *rec;
		size_t size;
	} all[] = {
		{flow_on_data, &conn, sizeof(conn)},	{flow_on_data, &data, data.e.h.size},
		{flow_on_data, &end, sizeof(end)},	{flow_on_data, &fail, sizeof(fail)},
		{flow_on_control, &fork, sizeof(fork)}, {flow_on_control, &leave, sizeof(leave)},
		{flow_on_control, &exec, sizeof(exec)},
	};
	unsigned n = 0;
	struct world w;

	world_init(&w, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct ev_hdr *h = all[i].rec;

		for (size_t size = 0; size < all[i].size; size++) {
			deliver(&w, all[i].on, all[i].rec, size);
			expect(&w, 0, 0, ++n);
			h->size = (__u32)size;
			if (size >= sizeof(*h)) {
				deliver(&w, all[i].on, all[i].rec, size);
				expect(&w, 0, 0, ++n);
			}
			deliver(&w, all[i].on, all[i].rec, all[i].size); /* all is there, and the header says less */
			expect(&w, 0, 0, ++n);
			h->size = (__u32)all[i].size;
		}
		h->size = 0xffffffff;
		deliver(&w, all[i].on, all[i].rec, all[i].size);
		expect(&w, 0, 0, ++n);
	}
	nothing_is_left(&w);
	world_done(&w);
}

static void test_lies(void **state)
{
	struct data_rec r = request_rec(1, 0, 0);
	const __u32 lens[] = {r.e.len + 1, 0x7fffffff, 0xffffffff, (__u32) - sizeof(r.e)};
	const __u8 dirs[] = {2, 3, 255};
	struct ev_conn c = conn_rec(2, SERVER);
	unsigned n = 0;
	struct world w;

	world_init(&w, NULL);
	announce(&w, 1);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		r = request_rec(1, 0, 0);
		r.e.len = r.e.span = lens[i];
		deliver(&w, flow_on_data, &r, r.e.h.size);
		expect(&w, 0, 0, ++n);
	}
	r = request_rec(1, 0, 0);
	r.e.span = r.e.len - 1;
	send_rec(&w, &r);
	expect(&w, 0, 0, ++n);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		r = request_rec(1, 0, 0);
		r.e.dir = dirs[i];
		send_rec(&w, &r);
		expect(&w, 0, 0, ++n);
	}
	c.family = 77;
	deliver(&w, flow_on_data, &c, sizeof(c));
	expect(&w, 0, 0, ++n);
	c.family = AF_UNIX;
	memset(c.path, 'x', sizeof(c.path)); /* without an end */
	deliver(&w, flow_on_data, &c, sizeof(c));
	expect(&w, 0, 0, n);
	assert_int_equal(stats_of(&w).conns_unix, 1);
	for (uint64_t id = 1; id <= 2; id++) {
		ask(&w, id, 0);
		answer(&w, id, 0);
		finish(&w, id, 1, 1);
	}
	expect(&w, 2, 0, n);
	nothing_is_left(&w);
	world_done(&w);
}

static void test_exec_lies(void **state)
{
	struct {
		struct ev_exec e;
		char text[16];
	} x = {.e = {.h = {.kind = EV_EXEC, .size = sizeof(x)}, .tgid = 9, .args_len = 8, .env_len = 8},
	       .text = "a\0b\0c\0d\0A=1\0B=2"};
	struct world w;

	world_init(&w, NULL);
	deliver(&w, flow_on_control, &x, sizeof(x));
	expect(&w, 0, 0, 0);
	x.e.env_len = 9;
	deliver(&w, flow_on_control, &x, sizeof(x));
	x.e.args_len = x.e.env_len = 0xffff;
	deliver(&w, flow_on_control, &x, sizeof(x));
	x.e.args_len = x.e.env_len = 0;
	memset(x.e.comm, 'c', sizeof(x.e.comm));
	deliver(&w, flow_on_control, &x, sizeof(x));
	x.e.comm[0] = 0;
	memset(x.e.file, 'f', sizeof(x.e.file));
	deliver(&w, flow_on_control, &x, sizeof(x));
	expect(&w, 0, 0, 4);
	world_done(&w);
}

static void test_kinds(void **state)
{
	static const __u16 data[] = {EV_NONE, EV_EXEC, EV_FORK, EV_EXIT, EV_EXIT + 1, 0x7fff, 0xffff};
	static const __u16 control[] = {EV_NONE, EV_CONN, EV_DATA, EV_END, EV_TCP_FAIL, EV_EXIT + 1, 0xffff};
	char rec[1024] = {0};
	struct ev_hdr *h = (void *)rec;
	struct world w;

	world_init(&w, NULL);
	h->size = sizeof(rec);
	for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
		h->kind = data[i];
		deliver(&w, flow_on_data, rec, sizeof(rec));
		h->kind = control[i];
		deliver(&w, flow_on_control, rec, sizeof(rec));
	}
	expect(&w, 0, 0, 2 * ARRAY_SIZE(data));
	world_done(&w);
}

static void test_never_announced(void **state)
{
	struct data_rec r = request_rec(7, 0, 0);
	struct world w;

	world_init(&w, NULL);
	r.e.heads = 3;
	send_rec(&w, &r);
	answer(&w, 7, 0);
	finish(&w, 7, 3, 1);
	expect(&w, 0, 3, 0);
	assert_int_equal(stats_of(&w).lost_table, 3);
	world_done(&w);
}

static void test_announced_twice(void **state)
{
	struct world w;

	world_init(&w, NULL);
	announce(&w, 1);
	ask(&w, 1, 0);
	announce(&w, 1);
	answer(&w, 1, 0);
	finish(&w, 1, 1, 1);
	expect(&w, 1, 0, 1);
	/* gone: that is another one */
	announce(&w, 1);
	ask(&w, 1, 0);
	answer(&w, 1, 0);
	finish(&w, 1, 1, 1);
	expect(&w, 2, 0, 1);
	nothing_is_left(&w);
	world_done(&w);
}

static void test_ends(void **state)
{
	static const uint16_t hows[] = {0,	     END_PEER_FIN, END_LOCAL_FIN, END_LOCAL_CLOSE, END_PEER_RESET,
					END_TIMEOUT, END_GONE,	   0x7f,	  0xff7f};
	struct world w;
	unsigned n = 0;

	world_init(&w, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(hows); i++) {
		struct ev_end first = end_rec(1, 0, 0, hows[i]), again = end_rec(1, GET_LEN, OK_LEN, hows[i]);

		/* before any data, twice, then the data, then again */
		announce(&w, 1);
		deliver(&w, flow_on_data, &first, sizeof(first));
		deliver(&w, flow_on_data, &first, sizeof(first));
		ask(&w, 1, 0);
		answer(&w, 1, 0);
		deliver(&w, flow_on_data, &again, sizeof(again));
		deliver(&w, flow_on_data, &again, sizeof(again));
		finish(&w, 1, 1, 1);
		finish(&w, 1, 1, 1);
		expect(&w, ++n, 0, 0);
	}
	/* closed: what comes then belongs to nobody */
	announce(&w, 1);
	finish(&w, 1, 0, 0);
	ask(&w, 1, 0);
	answer(&w, 1, 0);
	expect(&w, n, 1, 0);
	nothing_is_left(&w);
	world_done(&w);
}

static void test_backwards(void **state)
{
	struct world w;

	world_init(&w, NULL);
	/* the second request's record comes first */
	announce(&w, 1);
	ask(&w, 1, 1);
	ask(&w, 1, 0);
	expect(&w, 0, 1, 1);
	answer(&w, 1, 0);
	answer(&w, 1, 1);
	ask(&w, 1, 2);
	answer(&w, 1, 2);
	finish(&w, 1, 3, 3);
	expect(&w, 2, 1, 1);
	/* an answer's record comes twice: that is nobody's request */
	announce(&w, 2);
	ask(&w, 2, 0);
	answer(&w, 2, 0);
	answer(&w, 2, 0);
	ask(&w, 2, 1);
	answer(&w, 2, 1);
	finish(&w, 2, 2, 2);
	expect(&w, 4, 1, 2);
	/* the end says less than what came */
	announce(&w, 3);
	ask(&w, 3, 0);
	answer(&w, 3, 0);
	finish(&w, 3, 0, 0);
	expect(&w, 5, 1, 4);
	nothing_is_left(&w);
	world_done(&w);
}

static void test_far(void **state)
{
	struct data_rec r;
	struct world w;

	world_init(&w, NULL);
	announce(&w, 1);
	ask(&w, 1, 0);
	answer(&w, 1, 0);
	/* one of three requests is said to lie where no stream goes */
	r = request_rec(1, GET_LEN + FAR, 1);
	send_rec(&w, &r);
	expect(&w, 1, 1, 1);
	answer(&w, 1, 1);
	ask(&w, 1, 2);
	answer(&w, 1, 2);
	expect(&w, 2, 1, 1);
	/* bytes behind an answer that cannot have been */
	ask(&w, 1, 3);
	r = answer_rec(1, 3 * OK_LEN, 3);
	r.e.after = FAR;
	send_rec(&w, &r);
	expect(&w, 2, 1, 2);
	/* an end out there is still an end: whether the answer came is not known, that it was not seen is */
	r.e.after = 0;
	struct ev_end e = end_rec(1, FAR, UINT64_MAX, END_LOCAL_CLOSE | END_CLOSED);
	deliver(&w, flow_on_data, &e, sizeof(e));
	expect(&w, 3, 1, 4);
	assert_int_equal(w.failed, 1);
	nothing_is_left(&w);
	world_done(&w);
}

/* A record that claims to stand for more than it holds moves its stream; what follows is behind it. */
static void test_span(void **state)
{
	struct data_rec r = request_rec(1, 0, 0);
	struct world w;

	world_init(&w, NULL);
	announce(&w, 1);
	r.e.span = 0xffffffff;
	send_rec(&w, &r);
	answer(&w, 1, 0);
	ask(&w, 1, 1);
	answer(&w, 1, 1);
	finish(&w, 1, 2, 2);
	expect(&w, 1, 1, 2); /* the record and the end */
	nothing_is_left(&w);
	world_done(&w);
}

static void test_no_protocol(void **state)
{
	static const __u8 protos[] = {PROTO_UNKNOWN, PROTO_MAX, 255};
	struct data_rec r;
	struct world w;

	world_init(&w, NULL);
	for (uint64_t i = 0; i < ARRAY_SIZE(protos); i++) {
		announce(&w, i + 1);
		r = request_rec(i + 1, 0, 0);
		r.e.proto = protos[i];
		send_rec(&w, &r);
		answer(&w, i + 1, 0);
		finish(&w, i + 1, 1, 1);
	}
	expect(&w, 0, 0, 0);
	nothing_is_left(&w);
	world_done(&w);
}

/* Given up by its decoder: counted if there ever was an answer, nothing if not. */
static void test_given_up(void **state)
{
	struct data_rec r;
	struct world w;

	world_init(&w, NULL);
	announce(&w, 1);
	ask(&w, 1, 0);
	ask(&w, 1, 1);
	r = data_rec(1, DIR_SEND, 0, "HTTP/1.1 101 Switching\r\n\r\n", NOTE_HEAD | NOTE_NUMBER);
	send_rec(&w, &r);
	expect(&w, 1, 1, 0);
	assert_int_equal(stats_of(&w).lost[CALL_LOSS_LEFT], 1);
	assert_int_equal(stats_of(&w).decode_bytes, 0);
	ask(&w, 1, 2);
	finish(&w, 1, 3, 1);
	announce(&w, 2);
	ask(&w, 2, 0);
	ask(&w, 2, 1);
	r = data_rec(2, DIR_SEND, 0, "+OK\r\n", NOTE_REST);
	send_rec(&w, &r);
	ask(&w, 2, 2);
	finish(&w, 2, 3, 1);
	expect(&w, 1, 1, 0);
	nothing_is_left(&w);
	world_done(&w);
}

static void test_table_full(void **state)
{
	struct world w;

	world_init(&w, "--capture.max-connections=4");
	for (uint64_t id = 1; id <= 10; id++)
		announce(&w, id);
	assert_int_equal(stats_of(&w).conns, 4);
	assert_int_equal(stats_of(&w).conns_max, 4);
	assert_int_equal(stats_of(&w).conns_refused, 6);
	for (uint64_t id = 1; id <= 10; id++) {
		ask(&w, id, 0);
		answer(&w, id, 0);
	}
	expect(&w, 4, 6, 0);
	assert_int_equal(stats_of(&w).lost_table, 6);
	finish(&w, 3, 1, 1);
	announce(&w, 11);
	ask(&w, 11, 0);
	answer(&w, 11, 0);
	expect(&w, 5, 6, 0);
	for (uint64_t id = 1; id <= 11; id++)
		finish(&w, id, 1, 1);
	expect(&w, 5, 6, 0);
	nothing_is_left(&w);
	world_done(&w);
}

/* More requests under way than the decoders have memory for: each is counted, and its connection goes on with the next. */
static void test_memory_full(void **state)
{
	enum { CONNS = 12000 };
	unsigned kept;
	struct world w;

	world_init(&w, "--capture.decode-memory=1MiB");
	for (uint64_t id = 1; id <= CONNS; id++) {
		announce(&w, id);
		ask(&w, id, 0);
		assert_true(stats_of(&w).decode_bytes <= 1 << 20);
	}
	assert_int_equal(stats_of(&w).decode_max, 1 << 20);
	assert_true(stats_of(&w).decode_refused > 0);
	for (uint64_t id = 1; id <= CONNS; id++)
		answer(&w, id, 0);
	kept = w.calls;
	assert_true(kept > 1000 && kept < CONNS);
	for (uint64_t id = 1; id <= CONNS; id++) {
		ask(&w, id, 1);
		answer(&w, id, 1);
		finish(&w, id, 2, 2);
	}
	expect(&w, kept + CONNS, CONNS - kept, 0);
	nothing_is_left(&w);
	world_done(&w);
}

/* A reset that is told before the bytes of the system call in which it was noticed. */
static void test_reset_before_bytes(void **state)
{
	struct ev_end e = end_rec(1, GET_LEN, 0, END_PEER_RESET | END_CLOSED);
	struct world w;

	world_init(&w, NULL);
	announce(&w, 1);
	ask(&w, 1, 0);
	deliver(&w, flow_on_data, &e, sizeof(e));
	flow_settle(w.t, e.h.ts);
	expect(&w, 0, 0, 0);
	answer(&w, 1, 0);
	expect(&w, 1, 0, 0);
	flow_settle(w.t, UINT64_MAX);
	expect(&w, 1, 0, 0);

	/* and one that comes with nothing behind it */
	announce(&w, 2);
	ask(&w, 2, 0);
	e = end_rec(2, GET_LEN, 0, END_PEER_RESET | END_CLOSED);
	deliver(&w, flow_on_data, &e, sizeof(e));
	expect(&w, 1, 0, 0);
	flow_settle(w.t, UINT64_MAX);
	expect(&w, 2, 0, 0);
	nothing_is_left(&w);
	world_done(&w);
}

static uint64_t rng = 88172645463325252ULL;

static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 33) % n;
}

static void chance_data(struct world *w)
{
	static const char *const pieces[] = {GET, OK, "GET ", "HTTP/1.1 200", "\r\n\r\n", "x", "HTTP/1.1 101 X\r\n\r\n",
					     ""};
	struct data_rec r = data_rec(rnd(10), (int)rnd(2), rnd(300), pieces[rnd(ARRAY_SIZE(pieces))], 0);

	r.e.note = rnd(3) ? NOTE_HEAD | NOTE_NUMBER | (rnd(2) ? NOTE_REQUEST : 0) | rnd(5)
			  : (uint64_t)rnd(16) << 60 | rnd(9);
	r.e.h.flags = (__u16)rnd(2);
	r.e.heads = (__u16)rnd(3);
	r.e.after = rnd(4) ? 0 : rnd(100);
	r.e.span += rnd(4) ? 0 : rnd(9);
	if (!rnd(8))
		((uint8_t *)&r.e)[sizeof(r.e.h) + rnd(sizeof(r.e) - sizeof(r.e.h))] ^= (uint8_t)(1 << rnd(8));
	send_rec(w, &r);
}

static void chance_end(struct world *w)
{
	struct ev_end e = end_rec(rnd(8), rnd(300), rnd(300), (uint16_t)(rnd(8) | (rnd(2) ? END_CLOSED : 0)));

	e.h.flags = (__u16)rnd(2);
	if (!rnd(8))
		((uint8_t *)&e)[sizeof(e.h) + rnd(sizeof(e) - sizeof(e.h))] ^= (uint8_t)(1 << rnd(8));
	deliver(w, flow_on_data, &e, sizeof(e));
}

/* One step of a connection that behaves, mostly. */
static void chance_turn(struct world *w, uint64_t id, uint32_t n[2])
{
	uint32_t what = rnd(20);

	if (!what) {
		finish(w, id, n[0], n[1]);
		n[0] = n[1] = 0;
		announce(w, id);
	} else if (what < 4) {
		chance_data(w);
	} else if (what < 5) {
		chance_end(w);
	} else if (n[0] == n[1] || what < 8) {
		ask(w, id, n[0]++);
	} else {
		answer(w, id, n[1]++);
	}
}

/* Anything in any order: no crash, no leak, and nothing is held for connections that are gone. */
static void test_chance(void **state)
{
	unsigned calls = 0, lost = 0, malformed = 0;
	struct world w;

	for (int round = 0; round < 40; round++) {
		uint32_t n[8][2] = {0};

		world_init(&w, "--capture.max-connections=6");
		for (uint64_t id = 0; id < 8; id++)
			announce(&w, id);
		for (int i = 0; i < 3000; i++) {
			uint32_t id = rnd(8);

			chance_turn(&w, id, n[id]);
		}
		calls += w.calls;
		lost += lost_of(&w);
		malformed += stats_of(&w).malformed;
		for (uint64_t id = 0; id < 8; id++)
			finish(&w, id, 0, 0);
		nothing_is_left(&w);
		world_done(&w);
	}
	/* the chance was one */
	assert_true(calls > 1000 && lost > 1000 && malformed > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_exec_lies),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_never_announced),
		cmocka_unit_test(test_announced_twice),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_backwards),
		cmocka_unit_test(test_far),
		cmocka_unit_test(test_span),
		cmocka_unit_test(test_no_protocol),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_table_full),
		cmocka_unit_test(test_memory_full), cmocka_unit_test(test_reset_before_bytes),
		cmocka_unit_test(test_chance),
	};

	return cmocka_run_group_tests(tests, make_proc, remove_proc);
}
