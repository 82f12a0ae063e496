// SPDX-License-Identifier: Apache-2.0
/* Lines byte for byte; hostile bytes; filters. The protocol is made up: call_line.c knows none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>

#include "exporters/wire/call_line.h"
#include "user/base/log.h"
#include "user/proto/proto.h"

static const struct attr_key key_method = { "toy.method", "toy_method" };
static const struct attr_key key_status = { "toy.status", "toy_status" };
static const struct attr_key key_query = { "url.query", "url_query" };

static void toy_summary(const struct call *c, struct str *ret_method, struct str *ret_target, int64_t *ret_status)
{
	const struct attr *method = call_attr(c, &key_method), *status = call_attr(c, &key_status);

	*ret_method = method ? method->s : (struct str){ 0 };
	*ret_target = c->path;
	*ret_status = status ? status->i : 0;
}

static const struct proto toy = { .name = "toy", .summary = toy_summary };
const struct proto *const proto_table[PROTO_MAX] = { [1] = &toy };

#define WALL (1763716282123456789ULL) /* 2025-11-21T09:11:22.123456789Z */

static struct service *shop;

static struct call example(void)
{
	struct call c = {
		.proto = (enum sonde_proto)1,
		.role = ROLE_SERVER,
		.start_ns = 1000,
		.end_ns = 1000 + 1240000,
		.wait_ns = 2100000,
		.answered = true,
		.request_bytes = 12,
		.response_bytes = 1340,
		.path = STR("/a/b"),
		.local = { .family = NET_INET, .port = 80, .ip = { 127, 0, 0, 1 } },
		.peer = { .family = NET_INET, .port = 54321, .ip = { 192, 0, 2, 7 } },
		.pid = 1234,
		.tid = 1235,
		.service = shop,
		.comm = "shopd",
	};

	call_add_str(&c, &key_method, STR("GET"));
	call_add_int(&c, &key_status, 200);
	return c;
}

static int setup(void **state)
{
	setenv("TZ", "UTC", 1);
	tzset();
	shop = service_new("shop", "", "1");
	return !shop;
}

static int teardown(void **state)
{
	service_unref(shop);
	return 0;
}

static void expect_text(const struct call *c, bool colour, const char *want)
{
	struct buf b = BUF_INIT;

	call_line_text(&b, c, WALL, colour);
	assert_int_equal(b.err, 0);
	assert_string_equal(b.data, want);
	buf_done(&b);
}

static void expect_json(const struct call *c, const char *want)
{
	struct buf b = BUF_INIT;

	call_line_json(&b, c, WALL);
	assert_int_equal(b.err, 0);
	assert_string_equal(b.data, want);
	buf_done(&b);
}

#define WHO "09:11:22.123  shop[1234]          "

static void text(void **state)
{
	struct call c = example();

	expect_text(&c, false, WHO " <- GET /a/b                         200  1.24ms   wait 2.1ms    12B/1.34kB  192.0.2.7:54321\n");
	c.role = ROLE_CLIENT;
	c.wait_ns = WAIT_UNKNOWN;
	c.end_ns = TIME_UNKNOWN;
	c.n_attrs = 1;
	c.peer = (struct net_addr){ .family = NET_INET6, .port = 443, .ip = { 0x20, 1, 0x0d, 0xb8, [15] = 1 } };
	expect_text(&c, false, WHO " -> GET /a/b                         -    ?                      12B/1.34kB  [2001:db8::1]:443\n");
	c.error_type = STR("peer_closed");
	c.peer = (struct net_addr){ .family = NET_UNIX, .path = "/run/a.sock" };
	expect_text(&c, false, WHO " -> GET /a/b                         peer_closed  ?                      12B/1.34kB  unix:/run/a.sock\n");
	c.peer.family = NET_NONE;
	call_add_int(&c, &key_status, 200);
	expect_text(&c, false, WHO " -> GET /a/b                         200 peer_closed  ?                      12B/1.34kB  -\n");
	c.n_attrs = 1;
	call_add_int(&c, &key_status, 503);
	c.error_type = (struct str){ "5039", 3 }; /* not terminated behind its length */
	expect_text(&c, false, WHO " -> GET /a/b                         503  ?                      12B/1.34kB  -\n");
}

static void colours(void **state)
{
	static const struct {
		int status;
		const char *want;
	} cases[] = { { 200, "\033[32m200\033[0m" }, { 304, "\033[36m304\033[0m" }, { 404, "\033[33m404\033[0m" }, { 500, "\033[31m500\033[0m" } };
	struct buf b = BUF_INIT;
	struct call c = example();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		c.attrs[1].i = cases[i].status;
		buf_clear(&b);
		call_line_text(&b, &c, WALL, true);
		assert_non_null(strstr(b.data, cases[i].want));
	}
	c.n_attrs = 1;
	c.error_type = STR("timeout");
	buf_clear(&b);
	call_line_text(&b, &c, WALL, true);
	assert_non_null(strstr(b.data, "\033[31mtimeout\033[0m"));
	buf_clear(&b);
	call_line_text(&b, &c, WALL, false);
	assert_null(strchr(b.data, '\033'));
	buf_done(&b);
}

static void durations(void **state)
{
	static const struct {
		uint64_t ns;
		const char *want;
	} cases[] = {
		{ 0, "1ns " },		    { 999, "999ns " },		 { 1000, "1µs " },	   { 85000, "85µs " },
		{ 85340, "85.3µs " },	    { 999499, "999µs " },	 { 999500, "1ms " },	   { 1240000, "1.24ms " },
		{ 1245678901, "1.25s " },   { 2100000000, "2.1s " },	 { 99960000, "100ms " },   { 9996000, "10ms " },
		{ 3600000000000, "3600s " }, { 99949999, "99.9ms " },
	};
	struct buf b = BUF_INIT;
	struct call c = example();

	c.wait_ns = WAIT_UNKNOWN;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		c.end_ns = c.start_ns + cases[i].ns;
		buf_clear(&b);
		call_line_text(&b, &c, WALL, false);
		if (strncmp(strstr(b.data, "200  ") + 5, cases[i].want, strlen(cases[i].want)))
			fail_msg("%llu ns: %s", (unsigned long long)cases[i].ns, b.data);
	}
	/* an end before its start is no duration */
	c.end_ns = c.start_ns - 1;
	buf_clear(&b);
	call_line_text(&b, &c, WALL, false);
	assert_non_null(strstr(b.data, "200  ? "));
	buf_done(&b);
}

static void sizes(void **state)
{
	static const struct {
		uint64_t n;
		const char *want;
	} cases[] = {
		{ 0, " 0B/0B " },	      { 999, " 999B/999B " },	      { 1000, " 1kB/1kB " },
		{ 10000000, " 10MB/10MB " },  { 12345, " 12.3kB/12.3kB " },   { 5000000000000000, " 5000TB/5000TB " },
	};
	struct buf b = BUF_INIT;
	struct call c = example();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		c.request_bytes = c.response_bytes = cases[i].n;
		buf_clear(&b);
		call_line_text(&b, &c, WALL, false);
		assert_non_null(strstr(b.data, cases[i].want));
	}
	buf_done(&b);
}

/* Short waits are noise on a screen. */
static void waits(void **state)
{
	struct call c = example();
	struct buf b = BUF_INIT;

	c.wait_ns = 999;
	call_line_text(&b, &c, WALL, false);
	assert_null(strstr(b.data, "wait"));
	buf_clear(&b);
	c.wait_ns = 1000;
	call_line_text(&b, &c, WALL, false);
	assert_non_null(strstr(b.data, " wait 1µs "));
	buf_done(&b);
}

static void long_texts(void **state)
{
	struct service *s;
	struct call c = example();
	struct buf b = BUF_INIT;
	char path[5000], name[300];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	/* two-byte characters: the cut is between two of them */
	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i ? "\xc3\xa4"[(i - 1) % 2] : '/';
	s = service_new(name, "", "1");
	c.service = s;
	c.path = (struct str){ path, sizeof(path) };
	c.attrs[0].s = (struct str){ path, sizeof(path) };
	call_line_text(&b, &c, WALL, false);
	assert_non_null(strstr(b.data, "nnn…[1234] <- /"));
	assert_non_null(strstr(b.data, "ä… 200  1.24ms"));
	assert_null(strstr(b.data, "\\x"));
	assert_true(b.len < 500);
	/* bytes that only look like the middle of characters are cut all the same */
	memset(path, 0x80, sizeof(path));
	buf_clear(&b);
	call_line_text(&b, &c, WALL, false);
	assert_true(b.len < 1500);
	assert_non_null(strstr(b.data, "\\x80… 200"));
	buf_done(&b);
	service_unref(s);
}

#define HEAD                                                                                                    \
	"{\"time\":\"2025-11-21T09:11:22.123456789Z\",\"role\":\"server\",\"protocol\":\"toy\",\"service\":\"shop\"," \
	"\"pid\":1234,\"tid\":1235,\"comm\":\"shopd\",\"method\":\"GET\",\"path\":\"/a/b\","

static void json(void **state)
{
	struct call c = example();

	expect_json(&c, HEAD "\"status\":200,\"duration_seconds\":0.001240000,\"wait_seconds\":0.002100000,"
			     "\"request_body_bytes\":12,\"response_body_bytes\":1340,\"peer_address\":\"192.0.2.7\",\"peer_port\":54321,"
			     "\"local_address\":\"127.0.0.1\",\"local_port\":80,"
			     "\"attributes\":{\"toy.method\":\"GET\",\"toy.status\":200}}\n");
	c.n_attrs = 1;
	call_add_str(&c, &key_query, STR("a=1&b"));
	c.route = STR("/a/{id}");
	c.error_type = STR("timeout");
	c.start_ns = TIME_UNKNOWN;
	c.wait_ns = WAIT_UNKNOWN;
	c.peer = (struct net_addr){ .family = NET_UNIX, .path = "@x" };
	c.local.family = NET_NONE;
	c.parent = (struct trace_parent){ .valid = true, .trace_id = { 0xab, [15] = 1 }, .span_id = { 0xcd, [7] = 2 } };
	expect_json(&c, HEAD "\"query\":\"a=1&b\",\"route\":\"/a/{id}\",\"status\":null,\"error_type\":\"timeout\","
			     "\"duration_seconds\":null,\"wait_seconds\":null,\"request_body_bytes\":12,\"response_body_bytes\":1340,"
			     "\"peer_address\":\"@x\",\"trace_id\":\"ab000000000000000000000000000001\",\"parent_span_id\":\"cd00000000000002\","
			     "\"attributes\":{\"toy.method\":\"GET\",\"url.query\":\"a=1&b\"}}\n");
}

/* Every byte, and pieces of UTF-8, in each field that traffic or a program fills. */
static void hostile(void **state)
{
	char bytes[256 + 4];
	struct service *s;
	struct call c = example();
	struct buf b = BUF_INIT;

	for (int i = 0; i < 256; i++)
		bytes[i] = (char)(i + 1);
	memcpy(bytes + 255, "\xed\xa0\x80\xf0", 5);
	s = service_new(bytes, bytes, bytes);
	c.service = s;
	c.comm = bytes;
	c.path = c.route = c.attrs[0].s = (struct str){ bytes, sizeof(bytes) };
	c.error_type = (struct str){ "\n\"", 2 };
	memset(c.peer.path, '\n', sizeof(c.peer.path));
	c.peer.family = NET_UNIX;
	call_add_str(&c, &key_query, (struct str){ bytes, sizeof(bytes) });
	for (int as_json = 0; as_json < 2; as_json++) {
		buf_clear(&b);
		if (as_json)
			call_line_json(&b, &c, WALL);
		else
			call_line_text(&b, &c, WALL, false);
		assert_int_equal(b.err, 0);
		for (size_t i = 0; i + 1 < b.len; i++)
			assert_true((unsigned char)b.data[i] >= 0x20 && b.data[i] != 0x7f);
		assert_int_equal(b.data[b.len - 1], '\n');
	}
	if (system("command -v python3 >/dev/null")) {
		print_message("SKIPPED: no python3 to read the JSON with\n");
	} else {
		FILE *f = popen("python3 -c 'import json,sys\nd=json.loads(sys.stdin.buffer.read())\n"
				"assert d[\"error_type\"]==\"\\n\\\"\" and d[\"path\"]==d[\"query\"] and d[\"comm\"][:10]==\"\".join(map(chr,range(1,11)))'",
				"w");

		fwrite(b.data, 1, b.len, f);
		assert_int_equal(pclose(f), 0);
	}
	buf_done(&b);
	service_unref(s);
}

static void unknown_protocol(void **state)
{
	struct call c = example();
	struct buf b = BUF_INIT;

	c.proto = PROTO_UNKNOWN;
	c.service = NULL;
	c.comm = NULL;
	call_line_json(&b, &c, WALL);
	call_line_text(&b, &c, WALL, false);
	assert_non_null(strstr(b.data, "\"protocol\":\"unknown\""));
	assert_non_null(strstr(b.data, "?[1234]"));
	buf_done(&b);
}

/* --- filters --- */

static bool passes(const char *name, const char *value, const struct call *c)
{
	struct call_filter f;

	call_filter_init(&f);
	assert_int_equal(call_filter_set(&f, name, value), 0);
	return call_filter_match(&f, c);
}

static void filters(void **state)
{
	struct call c = example();
	struct call_filter all;

	call_filter_init(&all);
	assert_true(call_filter_match(&all, &c));
	assert_true(passes("service", "sh*", &c));
	assert_false(passes("service", "s", &c));
	assert_true(passes("status", "200", &c));
	assert_true(passes("status", "2xx", &c));
	assert_false(passes("status", "201", &c));
	assert_false(passes("status", "5xx", &c));
	assert_true(passes("method", "get", &c));
	assert_false(passes("method", "GE", &c));
	assert_true(passes("path", "/a/*", &c));
	assert_false(passes("path", "/a", &c));
	assert_true(passes("min-duration", "1.24ms", &c));
	assert_true(passes("min-duration", "1240us", &c));
	assert_false(passes("min-duration", "1240001ns", &c));
	assert_false(passes("min-duration", "2s", &c));
	assert_true(passes("role", "server", &c));
	assert_false(passes("role", "client", &c));
	/* what is not known does not pass a filter that asks for it */
	c.n_attrs = 1;
	assert_false(passes("status", "2xx", &c));
	c.start_ns = TIME_UNKNOWN;
	assert_false(passes("min-duration", "1ns", &c));
	c.service = NULL;
	assert_false(passes("service", "shop", &c));
}

static void bad_filters(void **state)
{
	static const char *const bad[][2] = {
		{ "status", "6xx" },	       { "status", "0xx" },	    { "status", "20" },		{ "status", "2000" },
		{ "status", "ok" },	       { "status", "" },	    { "status", "999" },	{ "min-duration", "5" },
		{ "min-duration", "ms" },      { "min-duration", "-1ms" },  { "min-duration", "5 ms" }, { "min-duration", "nans" },
		{ "min-duration", "1e300s" },  { "role", "Server" },	    { "role", "" },		{ "colour", "red" },
		{ "service", "" },	       { "method", "a method that is longer than any" },
	};
	struct call_filter f, before;

	call_filter_init(&f);
	before = f;
	log_setup(LOG_ERROR, LOG_LOGFMT);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(call_filter_set(&f, bad[i][0], bad[i][1]), -EINVAL);
	assert_memory_equal(&f, &before, sizeof(f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text),	   cmocka_unit_test(colours),	 cmocka_unit_test(durations),	     cmocka_unit_test(sizes),
		cmocka_unit_test(waits),   cmocka_unit_test(long_texts), cmocka_unit_test(json),	     cmocka_unit_test(hostile),
		cmocka_unit_test(filters), cmocka_unit_test(bad_filters), cmocka_unit_test(unknown_protocol),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
