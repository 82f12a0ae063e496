// SPDX-License-Identifier: Apache-2.0
/*
 * What the decoding of a call costs, without a kernel: recorded pieces go through a decoder of
 * the table into a sink that only counts. Prints calls per second and nanoseconds per call,
 * best and median of several runs.
 *
 * replay [CALLS [CONNECTIONS]]
 */
#include <stdio.h>
#include <string.h>

#include "user/base/clock.h"
#include "user/proto/proto.h"

static const char request[] =
	"GET /api/items/42?limit=10 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: bench/1.0\r\n"
	"Accept: */*\r\nConnection: keep-alive\r\n\r\n";
static const char small_request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char answer[] =
	"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"
	"Content-Type: text/plain\r\nContent-Length: 15\r\nLast-Modified: Sat, 21 Nov 2026 09:00:00 GMT\r\n"
	"Connection: keep-alive\r\nETag: \"63a0-f\"\r\nAccept-Ranges: bytes\r\n\r\n";
static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

struct record {
	enum flow_dir dir;
	const char *bytes; /* NULL: a hole */
	size_t len;
	uint64_t note;
};

struct trace {
	const char *name;
	struct record r[6];
};

#define BYTES(dir, b)                                                                                                  \
	{                                                                                                              \
		dir, b, sizeof(b) - 1, 0                                                                               \
	}
static const struct trace traces[] = {
	{"smallest, server", {BYTES(FLOW_RECV, small_request), BYTES(FLOW_SEND, answer), {FLOW_SEND, NULL, 15, 0}}},
	{"plain, server", {BYTES(FLOW_RECV, request), BYTES(FLOW_SEND, answer), {FLOW_SEND, NULL, 15, 0}}},
	{"plain, client", {BYTES(FLOW_SEND, request), BYTES(FLOW_RECV, answer), {FLOW_RECV, NULL, 15, 0}}},
	{"chunked, server",
	 {BYTES(FLOW_RECV, request),
	  BYTES(FLOW_SEND, chunked),
	  {FLOW_SEND, NULL, 100000, 0},
	  {FLOW_SEND, "0\r\n\r\n", 5, 1ULL << 63 | 99000}}},
};

struct counter {
	struct call_sink sink;
	uint64_t begun, ended, other, bytes;
};

static void on_begin(struct call_sink *s, const struct flow *f, struct call *c)
{
	container_of(s, struct counter, sink)->begun++;
}

static void on_end(struct call_sink *s, const struct flow *f, struct call *c)
{
	struct counter *n = container_of(s, struct counter, sink);

	n->ended++;
	n->bytes += c->response_bytes;
}

static void on_drop(struct call_sink *s, const struct flow *f, struct call *c)
{
	container_of(s, struct counter, sink)->other++;
}

static void on_lost(struct call_sink *s, const struct flow *f, enum call_loss why, uint64_t n)
{
	container_of(s, struct counter, sink)->other += n;
}

static int one_call(const struct proto *p, void *state, const struct flow *f, const struct trace *t,
		    struct call_sink *sink, uint64_t now)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(t->r) && t->r[i].len && !err; i++) {
		const struct record *r = &t->r[i];
		struct flow_data d = {
			.dir = r->dir,
			.data = (const uint8_t *)r->bytes,
			.len = r->len,
			.start_ns = now + i,
			.end_ns = now + i,
			.wait_ns = 10,
			.pid = 1,
			.tid = 1,
			.note = r->note,
		};

		err = r->bytes ? p->data(state, f, &d, sink) : p->hole(state, f, r->dir, r->len, now + i, sink);
	}
	return err;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

#define RUNS 9

static int bench(const struct proto *p, const struct trace *t, uint64_t calls, size_t conns)
{
	struct counter n = {.sink = {on_begin, on_end, on_drop, on_lost}};
	struct flow f = {.from_start = true, .peer = {.family = NET_INET, .port = 40000, .ip = {192, 0, 2, 1}}};
	_free_ uint8_t *states = calloc(conns, p->state_size);
	double ns[RUNS];
	int err = 0;

	if (!states)
		return -ENOMEM;
	for (size_t i = 0; i < conns && !err; i++)
		err = p->init(states + i * p->state_size);
	for (int run = 0; run < RUNS && !err; run++) {
		uint64_t begin = clock_mono_ns();

		for (uint64_t i = 0; i < calls && !err; i++)
			err = one_call(p, states + i % conns * p->state_size, &f, t, &n.sink, 1000 + i * 10);
		ns[run] = (double)(clock_mono_ns() - begin) / (double)calls;
	}
	for (size_t i = 0; i < conns; i++)
		p->done(states + i * p->state_size, &f, &n.sink);
	if (err || n.other || n.ended != calls * RUNS || n.begun != n.ended) {
		fprintf(stderr, "%s: %s: %llu of %llu calls\n", p->name, t->name, (unsigned long long)n.ended,
			(unsigned long long)(calls * RUNS));
		return err ? err : -EIO;
	}
	qsort(ns, RUNS, sizeof(ns[0]), by_value);
	printf("%-6s %-18s %8.0f calls/s  %6.1f ns/call best  %6.1f median\n", p->name, t->name, 1e9 / ns[RUNS / 2],
	       ns[0], ns[RUNS / 2]);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t calls = argc > 1 ? strtoull(argv[1], NULL, 0) : 200000;
	size_t conns = argc > 2 ? strtoull(argv[2], NULL, 0) : 64;
	int err = 0;

	if (!calls || !conns)
		return 2;
	for (size_t i = 0; i < ARRAY_SIZE(traces); i++)
		err |= bench(proto_table[PROTO_HTTP1], &traces[i], calls, conns);
	return err ? 1 : 0;
}
