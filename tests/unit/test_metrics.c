// SPDX-License-Identifier: Apache-2.0
/*
 * The series table against exact numbers. The protocol here is made up, so that the test
 * says what the table does with any protocol's data; it takes the place of the real table of protocols.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "user/base/buf.h"
#include "user/base/clock.h"
#include "user/base/queue.h"
#include "user/metrics/metrics.h"

#define MS NSEC_PER_MSEC
#define T0 (1000 * NSEC_PER_SEC)
#define TTL (60 * NSEC_PER_SEC)
#define TOY ((enum sonde_proto)(PROTO_UNKNOWN + 1))

static const struct attr_key key_verb = { "toy.verb", "toy_verb" };
static const struct attr_key key_code = { "toy.code", "toy_code" };
static const struct attr_key key_route = { "toy.route", "toy_route" };

static const struct instrument server_duration = { "toy.server.duration", "s", "d", INST_HISTOGRAM };
static const struct instrument server_request = { "toy.server.request.size", "By", "q", INST_HISTOGRAM };
static const struct instrument server_response = { "toy.server.response.size", "By", "r", INST_HISTOGRAM };
static const struct instrument server_active = { "toy.server.active", "{call}", "a", INST_UPDOWN };
static const struct instrument client_duration = { "toy.client.duration", "s", "d", INST_HISTOGRAM };

static const struct attr_key *const server_labels[] = { &key_verb, &key_route, &key_code, &attr_error_type,
							&attr_server_address, NULL };
static const struct attr_key *const client_labels[] = { &key_verb, &key_code, &attr_error_type, &attr_server_address,
							&attr_server_port, NULL };
static const struct attr_key *const active_labels[] = { &key_verb, NULL };

static const struct proto_metric toy_metrics[] = {
	{ ROLE_SERVER, SRC_DURATION, &server_duration },
	{ ROLE_SERVER, SRC_REQUEST_BYTES, &server_request },
	{ ROLE_SERVER, SRC_RESPONSE_BYTES, &server_response },
	{ ROLE_SERVER, SRC_ACTIVE, &server_active },
	{ ROLE_CLIENT, SRC_DURATION, &client_duration },
	{ 0 },
};

static const struct proto toy = {
	.name = "toy",
	.labels = { [ROLE_SERVER] = server_labels, [ROLE_CLIENT] = client_labels },
	.active_labels = { [ROLE_SERVER] = active_labels },
	.metrics = toy_metrics,
	.route_key = &key_route,
};

const struct proto *const proto_table[PROTO_MAX] = { [PROTO_UNKNOWN + 1] = &toy };

static const double durations[] = { 0.001, 0.01, 0.1 };
static const double sizes[] = { 0, 100 };

static struct metrics *make(size_t max_series, bool address_on_server)
{
	struct metrics_options o = {
		.duration_bounds = durations,
		.n_duration_bounds = ARRAY_SIZE(durations),
		.size_bounds = sizes,
		.n_size_bounds = ARRAY_SIZE(sizes),
		.max_series = max_series,
		.ttl_ns = TTL,
		.server_address_on_server = address_on_server,
	};
	struct metrics *m = metrics_new(&o);

	assert_non_null(m);
	return m;
}

static struct call make_call(struct service *s, enum call_role role, const char *route, int code, uint64_t duration_ns)
{
	struct call c = {
		.proto = TOY,
		.role = role,
		.start_ns = T0,
		.end_ns = T0 + duration_ns,
		.wait_ns = WAIT_UNKNOWN,
		.answered = code != 0,
		.request_bytes = 0,
		.response_bytes = 100,
		.route = str_of(route),
		.service = s,
	};

	call_add_str(&c, &key_verb, STR("GET"));
	if (code)
		call_add_int(&c, &key_code, code);
	return c;
}

static void record(struct metrics *m, struct service *s, const char *route, int code, uint64_t duration_ns)
{
	struct call c = make_call(s, ROLE_SERVER, route, code, duration_ns);

	metrics_call_end(m, &c, T0);
}

static const struct family *family(const struct snapshot *snap, const char *name)
{
	for (size_t i = 0; i < snap->n_families; i++) {
		if (!strcmp(snap->families[i].inst->name, name))
			return &snap->families[i];
	}
	return NULL;
}

/* "a=1,b=2" */
static void labels_text(const struct labels *l, struct buf *b)
{
	buf_clear(b);
	buf_puts(b, "");
	for (uint32_t i = 0; i < l->n; i++)
		buf_printf(b, "%s%s=%s", i ? "," : "", l->l[i].name, l->l[i].value);
}

static const struct point *point(const struct snapshot *snap, const char *name, const struct service *s,
				 const char *labels)
{
	const struct family *f = family(snap, name);
	const struct point *found = NULL;
	_buf_ struct buf b = BUF_INIT;

	for (size_t i = 0; f && i < f->n_points; i++) {
		labels_text(f->points[i].labels, &b);
		if (f->points[i].service != s || strcmp(b.data, labels))
			continue;
		assert_null(found); /* a label set stands once in a family */
		found = &f->points[i];
	}
	return found;
}

static uint64_t total(const struct snapshot *snap, const char *name)
{
	const struct family *f = family(snap, name);
	uint64_t n = 0;

	for (size_t i = 0; f && i < f->n_points; i++)
		n += f->points[i].hist.count;
	return n;
}

static struct metrics_stats stats(const struct metrics *m)
{
	struct metrics_stats st;

	metrics_get_stats(m, &st);
	return st;
}

static void test_bucket_edges(void **state)
{
	static const uint64_t ns[] = { 0, MS, MS + 1, 10 * MS, 100 * MS, 100 * MS + 1, 5000 * MS };
	struct metrics *m = make(100, false);
	struct service *s = service_new("shop", "", "i");
	const struct point *p;
	struct snapshot *snap;

	for (size_t i = 0; i < ARRAY_SIZE(ns); i++)
		record(m, s, "/a", 200, ns[i]);
	snap = metrics_snapshot(m, T0);
	p = point(snap, "toy.server.duration", s, "toy.code=200,toy.route=/a,toy.verb=GET");
	assert_non_null(p);
	assert_int_equal(p->hist.count, 7);
	assert_int_equal(p->hist.buckets[0], 2);
	assert_int_equal(p->hist.buckets[1], 2);
	assert_int_equal(p->hist.buckets[2], 1);
	assert_int_equal(p->hist.buckets[3], 2);
	assert_true(p->hist.sum > 5.2120000019 && p->hist.sum < 5.2120000021);
	p = point(snap, "toy.server.request.size", s, "toy.code=200,toy.route=/a,toy.verb=GET");
	assert_int_equal(p->hist.buckets[0], 7);
	p = point(snap, "toy.server.response.size", s, "toy.code=200,toy.route=/a,toy.verb=GET");
	assert_int_equal(p->hist.buckets[1], 7);
	assert_true(p->hist.sum == 700);
	assert_int_equal(family(snap, "toy.server.duration")->n_bounds, 3);
	assert_int_equal(snap->n_families, 3);
	assert_int_equal(snap->n_services, 1);
	assert_ptr_equal(snap->services[0], s);
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

static void test_labels_per_role(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct call c = make_call(s, ROLE_CLIENT, "/a", 503, MS);
	struct snapshot *snap;

	c.error_type = STR("503");
	call_add_str(&c, &attr_server_address, STR("db.example"));
	call_add_int(&c, &attr_server_port, 5432);
	metrics_call_end(m, &c, T0);
	c.role = ROLE_SERVER;
	metrics_call_end(m, &c, T0);
	/* no answer: no code, and the size of an answer is not known */
	c = make_call(s, ROLE_SERVER, "", 0, MS);
	c.error_type = STR("local_closed");
	metrics_call_end(m, &c, T0);
	snap = metrics_snapshot(m, T0);
	assert_non_null(point(snap, "toy.client.duration", s,
			      "error.type=503,server.address=db.example,server.port=5432,toy.code=503,toy.verb=GET"));
	assert_non_null(
		point(snap, "toy.server.duration", s, "error.type=503,toy.code=503,toy.route=/a,toy.verb=GET"));
	assert_non_null(point(snap, "toy.server.duration", s, "error.type=local_closed,toy.verb=GET"));
	assert_non_null(point(snap, "toy.server.request.size", s, "error.type=local_closed,toy.verb=GET"));
	assert_null(point(snap, "toy.server.response.size", s, "error.type=local_closed,toy.verb=GET"));
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

static void test_server_address_on_demand(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, true);
	struct call c = make_call(s, ROLE_SERVER, "/a", 200, MS);
	struct snapshot *snap;

	call_add_str(&c, &attr_server_address, STR("shop.example"));
	call_add_int(&c, &attr_server_port, 80);
	metrics_call_end(m, &c, T0);
	snap = metrics_snapshot(m, T0);
	assert_non_null(point(snap, "toy.server.duration", s,
			      "server.address=shop.example,server.port=80,toy.code=200,toy.route=/a,toy.verb=GET"));
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

static void record_verb(struct metrics *m, struct service *s, struct str verb)
{
	struct call c = make_call(s, ROLE_SERVER, "", 0, MS);

	c.attrs[0].s = verb;
	metrics_call_end(m, &c, T0);
}

static void test_hostile_values(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	char ascii[300], euros[300], junk[5000], expect[200], *at = expect;
	struct snapshot *snap;

	memset(ascii, 'x', sizeof(ascii));
	for (size_t i = 0; i < sizeof(euros); i++)
		euros[i] = "\xe2\x82\xac"[i % 3];
	record_verb(m, s, (struct str){ ascii, 128 });
	record_verb(m, s, (struct str){ ascii, 129 });
	record_verb(m, s, (struct str){ ascii, 300 }); /* cut, the same as the one before */
	record_verb(m, s, (struct str){ euros, 300 });
	record_verb(m, s, (struct str){ "a\xff\xc3(", 4 });
	record_verb(m, s, (struct str){ "a\xfe\xc3(", 4 }); /* different bytes, the same text */
	record_verb(m, s, (struct str){ "a\0b\0", 4 });
	record_verb(m, s, (struct str){ "\xed\xa0\x80", 3 }); /* a surrogate is not UTF-8 */
	record_verb(m, s, (struct str){ "a\"\n\\", 4 });
	record_verb(m, s, (struct str){ "", 0 }); /* absent */
	memset(junk, 0xff, sizeof(junk));
	record_verb(m, s, (struct str){ junk, sizeof(junk) });
	snap = metrics_snapshot(m, T0);
	assert_int_equal(family(snap, "toy.server.duration")->n_points, 9);
	snprintf(expect, sizeof(expect), "toy.verb=%.128s", ascii);
	assert_int_equal(point(snap, "toy.server.duration", s, expect)->hist.count, 1);
	snprintf(expect, sizeof(expect), "toy.verb=%.125s\xe2\x80\xa6", ascii);
	assert_int_equal(point(snap, "toy.server.duration", s, expect)->hist.count, 2);
	snprintf(expect, sizeof(expect), "toy.verb=%.123s\xe2\x80\xa6", euros);
	assert_int_equal(point(snap, "toy.server.duration", s, expect)->hist.count, 1);
	assert_int_equal(point(snap, "toy.server.duration", s, "toy.verb=a\xef\xbf\xbd\xef\xbf\xbd(")->hist.count, 2);
	assert_non_null(point(snap, "toy.server.duration", s, "toy.verb=a\xef\xbf\xbd" "b\xef\xbf\xbd"));
	assert_non_null(point(snap, "toy.server.duration", s, "toy.verb=\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
	assert_non_null(point(snap, "toy.server.duration", s, "toy.verb=a\"\n\\"));
	at = stpcpy(at, "toy.verb=");
	for (int i = 0; i < 41; i++)
		at = stpcpy(at, "\xef\xbf\xbd");
	stpcpy(at, "\xe2\x80\xa6");
	assert_non_null(point(snap, "toy.server.duration", s, expect));
	assert_non_null(point(snap, "toy.server.duration", s, ""));
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

/* 100,000 different routes: the budget holds, and nothing is missing from the total. */
static void test_overflow_keeps_totals(void **state)
{
	struct service *s[3] = { service_new("a", "", "1"), service_new("b", "", "1"), service_new("c", "", "1") };
	struct metrics *m = make(50, false);
	uint64_t in_overflow = 0;
	struct snapshot *snap;
	char route[32];

	for (int i = 0; i < 100000; i++) {
		snprintf(route, sizeof(route), "/%d", i);
		record(m, s[i % 3], route, 200, MS);
	}
	snap = metrics_snapshot(m, T0);
	assert_int_equal(total(snap, "toy.server.duration"), 100000);
	assert_int_equal(total(snap, "toy.server.request.size"), 100000);
	assert_int_equal(family(snap, "toy.server.duration")->n_points, 53);
	for (int i = 0; i < 3; i++)
		in_overflow += point(snap, "toy.server.duration", s[i], "otel.metric.overflow=true")->hist.count;
	assert_int_equal(in_overflow, 100000 - 50);
	assert_int_equal(stats(m).overflowed, in_overflow);
	assert_int_equal(stats(m).series, 50);
	assert_int_equal(stats(m).lost, 0);
	/* what has a series keeps it */
	record(m, s[0], "/0", 200, MS);
	assert_int_equal(stats(m).overflowed, in_overflow);
	snapshot_unref(snap);
	metrics_free(m);
	for (int i = 0; i < 3; i++)
		service_unref(s[i]);
}

static void test_overflow_series_are_bounded(void **state)
{
	struct metrics *m = make(0, false);
	struct snapshot *snap;
	char name[16];

	for (int i = 0; i < 3000; i++) {
		struct service *s;

		snprintf(name, sizeof(name), "s%d", i);
		s = service_new(name, "", "1");
		record(m, s, "/", 200, MS);
		record(m, s, "/", 200, MS);
		service_unref(s);
	}
	snap = metrics_snapshot(m, T0);
	assert_int_equal(total(snap, "toy.server.duration"), 6000);
	assert_int_equal(family(snap, "toy.server.duration")->n_points, 1025);
	assert_int_equal(point(snap, "toy.server.duration", NULL, "otel.metric.overflow=true")->hist.count,
			 6000 - 2 * 1024);
	assert_int_equal(snap->n_services, 1024);
	assert_int_equal(stats(m).series, 0);
	snapshot_unref(snap);
	metrics_free(m);
}

static void test_route_overflow(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct call c = make_call(s, ROLE_SERVER, "{overflow}", 200, MS);
	struct snapshot *snap;

	c.route_overflow = true;
	c.wait_ns = 2 * MS;
	metrics_call_end(m, &c, T0);
	record(m, s, "/a", 200, MS);
	snap = metrics_snapshot(m, T0);
	assert_int_equal(family(snap, "toy.server.duration")->n_points, 2);
	assert_int_equal(point(snap, "toy.server.duration", s, "otel.metric.overflow=true")->hist.count, 1);
	assert_int_equal(point(snap, "sonde.server.request.wait", s, "otel.metric.overflow=true,protocol=toy")->hist.count,
			 1);
	assert_int_equal(stats(m).overflowed, 1);
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

static void test_eviction_and_return(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	uint64_t first_start;
	struct snapshot *snap;
	struct call c;

	record(m, s, "/a", 200, MS);
	record(m, s, "/a", 200, MS);
	snap = metrics_snapshot(m, T0);
	first_start = family(snap, "toy.server.duration")->points[0].start_ns;
	snapshot_unref(snap);
	metrics_expire(m, T0 + TTL - 1);
	assert_int_equal(stats(m).series, 1);
	metrics_expire(m, T0 + TTL);
	assert_int_equal(stats(m).series, 0);
	assert_int_equal(stats(m).evicted, 1);
	snap = metrics_snapshot(m, T0 + TTL);
	assert_int_equal(snap->n_families, 0);
	assert_int_equal(snap->n_services, 0);
	snapshot_unref(snap);

	c = make_call(s, ROLE_SERVER, "/a", 200, MS);
	metrics_call_end(m, &c, T0 + 2 * TTL);
	snap = metrics_snapshot(m, T0 + 2 * TTL);
	assert_int_equal(total(snap, "toy.server.duration"), 1);
	assert_true(family(snap, "toy.server.duration")->points[0].start_ns >= first_start + TTL);
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

static void test_ttl(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct call c;

	record(m, s, "/a", 200, MS);
	record(m, s, "/b", 200, MS);
	metrics_expire(m, T0 + TTL / 2);
	/* touched meanwhile: stays */
	c = make_call(s, ROLE_SERVER, "/a", 200, MS);
	metrics_call_end(m, &c, T0 + TTL / 2);
	metrics_expire(m, T0 + TTL);
	assert_int_equal(stats(m).series, 1);
	metrics_set_ttl(m, 0);
	metrics_expire(m, T0 + 100 * TTL);
	assert_int_equal(stats(m).series, 1);
	metrics_set_ttl(m, TTL / 4);
	metrics_expire(m, T0 + 3 * TTL / 4);
	assert_int_equal(stats(m).series, 0);
	metrics_free(m);
	service_unref(s);
}

static double active(struct metrics *m, struct service *s, const char *labels)
{
	struct snapshot *snap = metrics_snapshot(m, T0);
	const struct point *p = point(snap, "toy.server.active", s, labels);
	double v = p ? p->value : -1;

	snapshot_unref(snap);
	return v;
}

static void test_active_gauge(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct call a = make_call(s, ROLE_SERVER, "/a", 200, MS), b = a, client = a;

	assert_true(active(m, s, "toy.verb=GET") == -1);
	metrics_call_begin(m, &a);
	metrics_call_begin(m, &b);
	metrics_call_begin(m, &b); /* twice is once */
	assert_true(active(m, s, "toy.verb=GET") == 2);
	/* far past the ttl, and still there: an answer may take hours */
	metrics_expire(m, T0 + 100 * TTL);
	assert_true(active(m, s, "toy.verb=GET") == 2);
	metrics_call_end(m, &a, T0 + 100 * TTL);
	assert_null(a.active);
	metrics_call_drop(m, &b);
	metrics_call_drop(m, &b);
	assert_true(active(m, s, "toy.verb=GET") == 0);
	metrics_call_end(m, &b, T0 + 100 * TTL); /* never begun: counted, the gauge untouched */
	assert_true(active(m, s, "toy.verb=GET") == 0);
	client.role = ROLE_CLIENT;
	metrics_call_begin(m, &client); /* has no such gauge */
	assert_null(client.active);
	metrics_expire(m, T0 + 300 * TTL);
	assert_int_equal(stats(m).series, 0);
	metrics_free(m);
	service_unref(s);
}

static void test_active_gauge_over_budget(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(1, false);
	struct call c[10];

	record(m, s, "/a", 200, MS);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = make_call(s, ROLE_SERVER, "/a", 200, MS);
		metrics_call_begin(m, &c[i]);
	}
	assert_true(active(m, s, "otel.metric.overflow=true") == 10);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		metrics_call_end(m, &c[i], T0);
	assert_true(active(m, s, "otel.metric.overflow=true") == 0);
	metrics_free(m);
	service_unref(s);
}

static void test_untimed(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct call c = make_call(s, ROLE_SERVER, "/a", 200, MS);
	struct snapshot *snap;

	metrics_call_end(m, &c, T0);
	c.start_ns = TIME_UNKNOWN;
	metrics_call_end(m, &c, T0);
	c.start_ns = T0;
	c.end_ns = TIME_UNKNOWN;
	metrics_call_end(m, &c, T0);
	c.end_ns = T0 - 1; /* clocks of two processors: not a duration */
	metrics_call_end(m, &c, T0);
	snap = metrics_snapshot(m, T0);
	assert_int_equal(total(snap, "toy.server.duration"), 1);
	assert_int_equal(total(snap, "toy.server.request.size"), 4);
	assert_true(point(snap, "sonde.calls.untimed", s, "protocol=toy,role=server")->value == 3);
	assert_int_equal(stats(m).untimed, 3);
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

static void test_wait(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct call c = make_call(s, ROLE_SERVER, "/a", 200, MS);
	const struct point *p;
	struct snapshot *snap;

	metrics_call_end(m, &c, T0); /* unknown */
	c.wait_ns = 0;
	metrics_call_end(m, &c, T0);
	c.attrs[1].i = 500; /* another series of durations, the same of waits */
	c.wait_ns = MS;
	metrics_call_end(m, &c, T0);
	c.role = ROLE_CLIENT;
	metrics_call_end(m, &c, T0);
	snap = metrics_snapshot(m, T0);
	p = point(snap, "sonde.server.request.wait", s, "protocol=toy,toy.route=/a");
	assert_int_equal(p->hist.count, 2);
	assert_int_equal(p->hist.buckets[0], 2);
	assert_true(p->hist.sum == 0.001);
	assert_int_equal(family(snap, "sonde.server.request.wait")->n_points, 1);
	snapshot_unref(snap);
	/* goes with the last of its users */
	metrics_expire(m, T0 + TTL);
	metrics_expire(m, T0 + TTL);
	assert_int_equal(stats(m).series, 0);
	metrics_free(m);
	service_unref(s);
}

static void test_generic(void **state)
{
	static const struct instrument counter = { "x.count", "1", "c", INST_COUNTER };
	static const struct instrument updown = { "x.open", "1", "u", INST_UPDOWN };
	static const struct instrument gauge = { "x.gauge", "1", "g", INST_GAUGE };
	static const struct instrument hist = { "x.time", "s", "h", INST_HISTOGRAM };
	struct label ab[] = { { "a", "1" }, { "b", "2" } }, ba[] = { { "b", "2" }, { "a", "1" } };
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct snapshot *snap;

	metrics_add(m, &counter, s, ab, 2, 2, T0);
	metrics_add(m, &counter, s, ba, 2, 3, T0);
	metrics_add(m, &counter, s, ba, 2, -1, T0);
	metrics_add(m, &counter, s, ba, 2, 0.0 / 0.0, T0);
	metrics_add(m, &updown, s, NULL, 0, 2, T0);
	metrics_add(m, &updown, s, NULL, 0, -1, T0);
	metrics_set(m, &gauge, NULL, ab, 1, 7, T0);
	metrics_set(m, &gauge, NULL, ab, 1, 5, T0);
	metrics_observe(m, &hist, s, ab, 1, 0.01, T0);
	metrics_observe(m, &hist, s, ab, 1, 0.2, T0);
	metrics_observe(m, &hist, s, ab, 1, -0.2, T0);
	assert_int_equal(stats(m).refused, 3);
	snap = metrics_snapshot(m, T0);
	assert_true(point(snap, "x.count", s, "a=1,b=2")->value == 5);
	assert_true(point(snap, "x.open", s, "")->value == 1);
	assert_true(point(snap, "x.gauge", NULL, "a=1")->value == 5);
	assert_int_equal(point(snap, "x.time", s, "a=1")->hist.buckets[1], 1);
	assert_int_equal(point(snap, "x.time", s, "a=1")->hist.buckets[3], 1);
	snapshot_unref(snap);
	/* about sonde itself, and something that is still open */
	metrics_expire(m, T0 + 2 * TTL);
	snap = metrics_snapshot(m, T0 + 2 * TTL);
	assert_int_equal(snap->n_families, 2);
	assert_non_null(family(snap, "x.open"));
	assert_non_null(family(snap, "x.gauge"));
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

static void test_generic_budgets(void **state)
{
	static const struct instrument counter = { "x.count", "1", "c", INST_COUNTER };
	static const struct instrument gauge = { "x.gauge", "1", "g", INST_GAUGE };
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(10, false);
	struct snapshot *snap;
	char value[16];
	struct label l = { "n", value };

	for (int i = 0; i < 100; i++) {
		snprintf(value, sizeof(value), "%d", i);
		metrics_add(m, &counter, s, &l, 1, 1, T0);
	}
	/* traffic has used up its budget; what sonde says of itself is not touched by that */
	for (int i = 0; i < 2000; i++) {
		snprintf(value, sizeof(value), "%d", i);
		metrics_add(m, &counter, NULL, &l, 1, 1, T0);
	}
	/* a value that is set has no sum to go to */
	metrics_set(m, &gauge, s, NULL, 0, 1, T0);
	snap = metrics_snapshot(m, T0);
	assert_true(point(snap, "x.count", s, "otel.metric.overflow=true")->value == 90);
	assert_true(point(snap, "x.count", NULL, "otel.metric.overflow=true")->value == 2000 - 1024);
	assert_int_equal(family(snap, "x.count")->n_points, 10 + 1 + 1024 + 1);
	assert_null(family(snap, "x.gauge"));
	assert_int_equal(stats(m).lost, 1);
	assert_int_equal(stats(m).series, 10);
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(s);
}

/* A restarted service is the same series, told with its newer attributes. */
static void test_restarted_service(void **state)
{
	struct service *old = service_new("shop", "eu", "unit"), *new = service_new("shop", "eu", "unit");
	struct service *other = service_new("shop", "us", "unit");
	struct metrics *m = make(100, false);
	struct snapshot *snap;

	record(m, old, "/a", 200, MS);
	record(m, new, "/a", 200, MS);
	record(m, old, "/a", 200, MS); /* a late one */
	record(m, other, "/a", 200, MS);
	snap = metrics_snapshot(m, T0);
	assert_int_equal(family(snap, "toy.server.duration")->n_points, 2);
	assert_int_equal(snap->n_services, 2);
	assert_int_equal(point(snap, "toy.server.duration", new, "toy.code=200,toy.route=/a,toy.verb=GET")->hist.count,
			 3);
	assert_int_equal(atomic_load(&old->refs), 1);
	snapshot_unref(snap);
	metrics_free(m);
	service_unref(old);
	service_unref(new);
	service_unref(other);
}

static void test_snapshot_is_a_copy(void **state)
{
	struct service *s = service_new("shop", "", "i");
	struct metrics *m = make(100, false);
	struct snapshot *snap;
	const struct point *p;

	record(m, s, "/a", 200, MS);
	snap = metrics_snapshot(m, T0);
	record(m, s, "/a", 200, MS);
	metrics_free(m);
	service_unref(s);
	p = point(snap, "toy.server.duration", snap->services[0], "toy.code=200,toy.route=/a,toy.verb=GET");
	assert_int_equal(p->hist.count, 1);
	assert_int_equal(p->hist.buckets[0], 1);
	assert_true(family(snap, "toy.server.duration")->bounds[2] == 0.1);
	/* one label set for all families of the series, and no other owner left */
	assert_int_equal(atomic_load(&p->labels->refs), 3);
	assert_int_equal(atomic_load(&p->service->refs), 4);
	assert_true(p->start_ns <= snap->wall_ns);
	snapshot_unref(snap);
}

struct reader {
	struct queue *q;
	uint64_t snapshots, points;
};

/* Reads every string and gives the snapshot back while the table goes on evicting and making series. */
static void *reader_main(void *arg)
{
	struct reader *r = arg;
	_buf_ struct buf b = BUF_INIT;
	void *item;

	while (queue_pop(r->q, &item, 1, 1, clock_mono_ns() + 10 * NSEC_PER_SEC) == 1 && item != r) {
		struct snapshot *snap = item;

		for (size_t f = 0; f < snap->n_families; f++) {
			for (size_t i = 0; i < snap->families[f].n_points; i++) {
				labels_text(snap->families[f].points[i].labels, &b);
				r->points += strcmp(snap->families[f].points[i].service->name, "shop") == 0;
			}
		}
		r->snapshots++;
		snapshot_unref(snap);
	}
	return NULL;
}

static void test_snapshots_cross_threads(void **state)
{
	struct reader r = { .q = queue_new(401) };
	struct metrics *m = make(100, false);
	uint64_t points = 0;
	pthread_t thread;
	char route[32];

	assert_int_equal(pthread_create(&thread, NULL, reader_main, &r), 0);
	for (uint64_t i = 0; i < 400; i++) {
		uint64_t now = T0 + i * TTL / 10;
		struct service *s = service_new("shop", "", i % 2 ? "odd" : "even");
		struct snapshot *snap;
		struct call c;

		snprintf(route, sizeof(route), "/%d", (int)(i % 30));
		c = make_call(s, ROLE_SERVER, route, 200, MS);
		metrics_call_begin(m, &c);
		metrics_call_end(m, &c, now);
		metrics_expire(m, now);
		snap = metrics_snapshot(m, now);
		for (size_t f = 0; f < snap->n_families; f++)
			points += snap->families[f].n_points;
		service_unref(s);
		assert_int_equal(queue_push(r.q, snap), 0);
	}
	assert_int_equal(queue_push(r.q, &r), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.snapshots, 400);
	assert_int_equal(r.points, points);
	queue_free(r.q, NULL);
	metrics_free(m);
}

static void test_unknown_protocol(void **state)
{
	struct metrics *m = make(10, false);
	struct call c = make_call(NULL, ROLE_SERVER, "/", 200, MS);

	c.proto = PROTO_UNKNOWN;
	metrics_call_begin(m, &c);
	metrics_call_end(m, &c, T0);
	c.proto = PROTO_MAX;
	metrics_call_end(m, &c, T0);
	assert_int_equal(stats(m).series, 0);
	/* a call of nobody is recorded all the same */
	c.proto = TOY;
	metrics_call_end(m, &c, T0);
	assert_int_equal(stats(m).series, 1);
	metrics_free(m);
	metrics_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket_edges),
		cmocka_unit_test(test_labels_per_role),
		cmocka_unit_test(test_server_address_on_demand),
		cmocka_unit_test(test_hostile_values),
		cmocka_unit_test(test_overflow_keeps_totals),
		cmocka_unit_test(test_overflow_series_are_bounded),
		cmocka_unit_test(test_route_overflow),
		cmocka_unit_test(test_eviction_and_return),
		cmocka_unit_test(test_ttl),
		cmocka_unit_test(test_active_gauge),
		cmocka_unit_test(test_active_gauge_over_budget),
		cmocka_unit_test(test_untimed),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_generic),
		cmocka_unit_test(test_generic_budgets),
		cmocka_unit_test(test_restarted_service),
		cmocka_unit_test(test_snapshot_is_a_copy),
		cmocka_unit_test(test_snapshots_cross_threads),
		cmocka_unit_test(test_unknown_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
