// SPDX-License-Identifier: Apache-2.0
/*
 * Every decoder of the protocol table against hostile input: the bytes are read as a sequence of
 * operations (data, hole, end) on one connection. What must hold whatever comes: each begun call is
 * ended or dropped once, and nothing is left after done().
 *
 * With clang: clang -fsanitize=fuzzer,address,undefined -DLIBFUZZER … tests/fuzz/fuzz_proto.c
 * Else a driver of its own: fuzz_proto [SECONDS [SEED]], or fuzz_proto -f FILE… to repeat a finding.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "user/proto/proto.h"

struct state {
	struct call_sink sink;
	uint64_t begun, over, lost;
	uint8_t open[1 << 16];
};

static void require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static volatile unsigned sum;

/* Reads all that a call borrows, for the address checks. */
static void read_call(const struct call *c)
{
	char name[128];

	for (size_t i = 0; i < c->n_attrs; i++) {
		if (c->attrs[i].type != ATTR_STR)
			continue;
		for (size_t k = 0; k < c->attrs[i].s.len; k++)
			sum += (unsigned char)c->attrs[i].s.p[k];
	}
	for (size_t k = 0; k < c->path.len; k++)
		sum += (unsigned char)c->path.p[k];
	for (size_t k = 0; k < c->parent.state.len; k++)
		sum += (unsigned char)c->parent.state.p[k];
	proto_table[c->proto]->span_name(c, name, sizeof(name));
	require(strlen(name) < sizeof(name), "span name is terminated");
	require(c->n_attrs <= CALL_ATTRS_MAX, "attributes fit");
}

static void on_begin(struct call_sink *sink, const struct flow *f, struct call *c)
{
	struct state *s = container_of(sink, struct state, sink);

	read_call(c);
	require(!c->active, "a new call is not active");
	c->active = (void *)(uintptr_t)(++s->begun);
	s->open[s->begun % sizeof(s->open)] = 1;
}

static void call_over(struct call_sink *sink, const struct flow *f, struct call *c)
{
	struct state *s = container_of(sink, struct state, sink);
	uint64_t id = (uintptr_t)c->active;

	read_call(c);
	require(id && id <= s->begun && s->open[id % sizeof(s->open)], "begun, and over once");
	s->open[id % sizeof(s->open)] = 0;
	s->over++;
}

static void on_lost(struct call_sink *sink, const struct flow *f, enum call_loss why, uint64_t n)
{
	require(why < CALL_LOSS_MAX, "a reason that there is");
	container_of(sink, struct state, sink)->lost += n;
}

static int one_op(const struct proto *p, void *conn, const struct flow *flow, struct state *s, const uint8_t **in,
		  size_t *n, uint64_t now)
{
	uint8_t op = *(*in)++, arg = --*n ? *(*in)++ : 0;
	struct flow_data d = {
		.dir = op & 1, .start_ns = now, .end_ns = now + 1, .wait_ns = WAIT_UNKNOWN, .pid = 1, .tid = 1};
	uint8_t *copy;
	int err;

	if (*n)
		--*n;
	if ((op & 0xf0) == 0xf0)
		return p->hole(conn, flow, op & 1, (uint64_t)arg << (op & 0xe), now, &s->sink);
	if ((op & 0xf8) == 0xe8)
		return p->end(conn, flow, arg % (FLOW_END_UNKNOWN + 1), now, &s->sink);
	if ((op & 0xf8) == 0xe0)
		d.note = 1ULL << 63 | arg;
	d.len = MIN((size_t)arg + 1, *n);
	if (!d.len)
		return 0;
	copy = malloc(d.len); /* of exact size: reads behind it are seen */
	require(copy, "memory");
	memcpy(copy, *in, d.len);
	d.data = copy;
	*in += d.len;
	*n -= d.len;
	err = p->data(conn, flow, &d, &s->sink);
	free(copy);
	return err;
}

static void one_proto(const struct proto *p, const uint8_t *in, size_t n)
{
	static struct state s;
	struct flow flow = {.id = 1, .from_start = n && in[0] & 1, .tls = n && in[0] & 2};
	void *conn = calloc(1, p->state_size);
	uint64_t now = 1;

	flow.peer = (struct net_addr){.family = NET_INET, .port = 1, .ip = {192, 0, 2, 1}};
	s = (struct state){.sink = {on_begin, call_over, call_over, on_lost}};
	require(conn && !p->init(conn), "state");
	while (n && !one_op(p, conn, &flow, &s, &in, &n, now++))
		;
	p->done(conn, &flow, &s.sink);
	p->done(conn, &flow, &s.sink);
	require(s.begun == s.over, "nothing is left");
	free(conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int i = 0; i < PROTO_MAX; i++)
		if (proto_table[i])
			one_proto(proto_table[i], data, size);
	return 0;
}

#ifndef LIBFUZZER
/* What makes random input get anywhere. */
static const char *const words[] = {
	"GET / HTTP/1.1\r\n",
	"POST /a?sig=1 HTTP/1.0\r\n",
	"HEAD /h HTTP/1.1\r\n",
	"CONNECT h:1 HTTP/1.1\r\n",
	"\r\n",
	"\n",
	"HTTP/1.1 200 OK\r\n",
	"HTTP/1.1 100 C\r\n",
	"HTTP/1.0 304 N\r\n",
	"HTTP/1.1 101 S\r\n",
	"Content-Length: 5\r\n",
	"Content-Length: 0\r\n",
	"Transfer-Encoding: chunked\r\n",
	"Expect: 100-continue\r\n",
	"Host: a:1\r\n",
	"5\r\nhello\r\n",
	"0\r\n\r\n",
	"hello",
	"Upgrade: x\r\n",
	"tracestate: a=b\r\n",
	" ",
	":",
	"ffff",
	"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
};

static uint64_t rng = 1;

static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 33) % n;
}

static size_t make_data(uint8_t *to)
{
	size_t len = 0;

	for (uint32_t k = 1 + rnd(6); k; k--) {
		const char *w = words[rnd(ARRAY_SIZE(words))];

		if (len + strlen(w) > 256)
			break;
		memcpy(to + len, w, strlen(w));
		len += strlen(w);
	}
	if (!rnd(6))
		to[rnd((uint32_t)len)] = (uint8_t)rnd(256);
	return len;
}

static size_t make_input(uint8_t *in, size_t max)
{
	size_t n = 0;

	while (n + 300 < max && rnd(40)) {
		uint8_t op = rnd(12) ? (uint8_t)rnd(0xe0) : (uint8_t)(0xe0 + rnd(32));

		in[n] = op;
		in[n + 1] = (uint8_t)rnd(256);
		if (op < 0xe8) {
			size_t len = make_data(in + n + 2);

			in[n + 1] = (uint8_t)(len - 1);
			n += len;
		}
		n += 2;
	}
	return n;
}

static int run_file(const char *path)
{
	static uint8_t in[1 << 20];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		return 1;
	n = fread(in, 1, sizeof(in), f);
	fclose(f);
	return LLVMFuzzerTestOneInput(in, n);
}

int main(int argc, char **argv)
{
	static uint8_t in[16384];
	time_t stop = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	uint64_t runs = 0;
	int err = 0;

	if (argc > 1 && !strcmp(argv[1], "-f")) {
		for (int i = 2; i < argc; i++)
			err |= run_file(argv[i]);
		return err;
	}
	rng = argc > 2 ? strtoull(argv[2], NULL, 0) | 1 : 88172645463325252ULL;
	do {
		for (int i = 0; i < 1000; i++, runs++)
			LLVMFuzzerTestOneInput(in, make_input(in, sizeof(in)));
	} while (time(NULL) < stop);
	printf("%llu connections\n", (unsigned long long)runs);
	return 0;
}
#endif
