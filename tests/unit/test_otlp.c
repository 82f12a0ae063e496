// SPDX-License-Identifier: Apache-2.0
/* The OTLP exporter as a whole: when it is on, its threads, its counters, its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <time.h>

#include "exporters/exporter.h"
#include "exporters/wire/otlp.pb-c.h"
#include "tests/unit/otlp_fake.h"
#include "user/base/clock.h"

#define SEC  NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

extern const struct exporter_ops exporter_otlp;

static const struct instrument requests = {"test.requests", "{request}", "Requests.", INST_COUNTER};
static struct service *service;
static atomic_uint snapshots;

static struct snapshot *take_snapshot(void *ctx)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	struct family *f = calloc(1, sizeof(*f) + sizeof(struct point));

	*s = (struct snapshot){.refs = 1, .wall_ns = clock_wall_ns(), .families = f, .n_families = 1, .arena = f};
	*f = (struct family){.inst = &requests, .points = (struct point *)(f + 1), .n_points = 1};
	f->points[0] = (struct point){service_ref(service), labels_new(NULL, 0), 1, {.value = 5}};
	atomic_fetch_add(&snapshots, 1);
	return s;
}

static char no_text[] = "";

struct setup {
	struct config config;
	struct exporter_host host;
	struct exporter *e;
	char traces_url[64], metrics_url[64];
};

static void defaults(struct setup *s)
{
	*s = (struct setup){.config = {.traces_exporter = EXPORTER_AUTO,
				       .metrics_exporter = EXPORTER_AUTO,
				       .otlp_endpoint = no_text,
				       .otlp_traces_endpoint = no_text,
				       .otlp_metrics_endpoint = no_text,
				       .otlp_certificate = no_text,
				       .otlp_traces_certificate = no_text,
				       .otlp_metrics_certificate = no_text,
				       .otlp_client_certificate = no_text,
				       .otlp_client_key = no_text,
				       .otlp_traces_protocol = OTLP_INHERIT,
				       .otlp_metrics_protocol = OTLP_INHERIT,
				       .otlp_traces_compression = COMPRESSION_INHERIT,
				       .otlp_metrics_compression = COMPRESSION_INHERIT,
				       .otlp_timeout = 10 * SEC,
				       .bsp_delay = 20 * MSEC,
				       .bsp_timeout = 30 * SEC,
				       .bsp_queue = 100,
				       .bsp_batch = 10,
				       .metric_interval = 3600 * SEC,
				       .metric_timeout = 30 * SEC}};
	s->host = (struct exporter_host){
		.snapshot = take_snapshot, .config = &s->config, .version = "1", .self = service};
}

/* The URL of a fake as the endpoint of one signal. */
static void aim(char dst[64], char **option, const struct fake *f, const char *path)
{
	snprintf(dst, 64, "http://127.0.0.1:%u%s", f->port, path);
	*option = dst;
}

static void start(struct setup *s)
{
	assert_int_equal(exporter_otlp.start(&s->host, &s->e), 0);
	atomic_store(&snapshots, 0);
}

static void give_spans(struct setup *s, unsigned int n)
{
	struct call c = {.role = ROLE_SERVER, .wait_ns = WAIT_UNKNOWN, .comm = "x", .service = service};

	for (unsigned int i = 0; i < n; i++) {
		struct span *span = span_new(&c, "GET");

		exporter_otlp.span(s->e, span);
		span_unref(span);
	}
}

static struct exporter_stats stats(struct setup *s, const char *signal)
{
	struct exporter_stats st[EXPORTER_SIGNALS_MAX];
	size_t n = exporter_otlp.stats(s->e, st);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(st[i].signal, signal))
			return st[i];
	fail_msg("no signal %s", signal);
	return st[0];
}

/* Waits for a condition, ten seconds at most. */
#define wait_for(cond)                                                                                                 \
	do {                                                                                                           \
		uint64_t until_ = clock_mono_ns() + 10 * SEC;                                                          \
		while (!(cond) && clock_mono_ns() < until_)                                                            \
			nanosleep(&(struct timespec){0, 1000000}, NULL);                                               \
		assert_true(cond);                                                                                     \
	} while (0)

static void test_off(void **state)
{
	struct setup s;

	defaults(&s);
	assert_int_equal(exporter_otlp.start(&s.host, &s.e), 1);
	s.config.otlp_endpoint = (char *)"http://127.0.0.1:1";
	s.config.sdk_disabled = true;
	assert_int_equal(exporter_otlp.start(&s.host, &s.e), 1);
	s.config.sdk_disabled = false;
	s.config.traces_exporter = s.config.metrics_exporter = EXPORTER_NONE;
	assert_int_equal(exporter_otlp.start(&s.host, &s.e), 1);
	assert_null(s.e);
}

static size_t signals_on(struct setup *s, const char **ret_first)
{
	struct exporter_stats st[EXPORTER_SIGNALS_MAX];
	size_t n;

	start(s);
	n = exporter_otlp.stats(s->e, st);
	*ret_first = st[0].signal;
	exporter_otlp.stop(s->e, clock_mono_ns());
	return n;
}

static void test_which_signals(void **state)
{
	const char *signal;
	struct setup s;

	defaults(&s);
	s.config.otlp_metrics_endpoint = (char *)"http://127.0.0.1:1/x";
	assert_int_equal(signals_on(&s, &signal), 1);
	assert_string_equal(signal, "metrics");
	defaults(&s);
	s.config.traces_exporter = EXPORTER_OTLP;
	assert_int_equal(signals_on(&s, &signal), 1);
	assert_string_equal(signal, "traces");
	defaults(&s);
	s.config.otlp_endpoint = (char *)"127.0.0.1:1";
	s.config.otlp_protocol = OTLP_GRPC;
	assert_int_equal(signals_on(&s, &signal), 2);
}

static void test_bad_settings(void **state)
{
	struct setup s;

	defaults(&s);
	s.config.otlp_endpoint = (char *)"ftp://h/";
	assert_int_equal(exporter_otlp.start(&s.host, &s.e), -EINVAL);
	s.config.otlp_endpoint = (char *)"https://127.0.0.1:1";
	s.config.otlp_certificate = (char *)"/nonexistent/ca.pem";
	assert_int_equal(exporter_otlp.start(&s.host, &s.e), -ENOENT);
}

static void test_spans_arrive(void **state)
{
	static const struct fake_reply script[] = {{0}};
	struct fake f;
	struct setup s;

	fake_start(&f, script, 1);
	defaults(&s);
	aim(s.traces_url, &s.config.otlp_traces_endpoint, &f, "/own");
	start(&s);
	give_spans(&s, 25);
	wait_for(stats(&s, "traces").sent == 25);
	assert_int_equal(stats(&s, "traces").failed + stats(&s, "traces").dropped + stats(&s, "traces").queue_len, 0);
	assert_int_equal(stats(&s, "traces").queue_cap, 100);
	assert_ptr_equal(strstr(f.head.data, "POST /own HTTP/1.1\r\n"), f.head.data);
	exporter_otlp.stop(s.e, clock_mono_ns() + 5 * SEC);
	fake_stop(&f);
}

static size_t spans_in(struct fake *f)
{
	Sonde__Otlp__ExportTraceServiceRequest *r =
		sonde__otlp__export_trace_service_request__unpack(NULL, f->body.len, (uint8_t *)f->body.data);
	size_t n;

	assert_non_null(r);
	n = r->resource_spans[0]->scope_spans[0]->n_spans;
	sonde__otlp__export_trace_service_request__free_unpacked(r, NULL);
	return n;
}

/* What lies in the queue goes out at the end, well before the batch's delay is over. */
static void test_stop_flushes(void **state)
{
	static const struct fake_reply script[] = {{0}};
	uint64_t began;
	struct fake tf, mf;
	struct setup s;

	fake_start(&tf, script, 1);
	fake_start(&mf, script, 1);
	defaults(&s);
	aim(s.traces_url, &s.config.otlp_traces_endpoint, &tf, "/t");
	aim(s.metrics_url, &s.config.otlp_metrics_endpoint, &mf, "/m");
	s.config.bsp_delay = 3600 * SEC;
	start(&s);
	give_spans(&s, 7);
	assert_int_equal(stats(&s, "traces").sent, 0);
	began = clock_mono_ns();
	exporter_otlp.stop(s.e, began + 5 * SEC);
	assert_true(clock_mono_ns() - began < 2 * SEC);
	assert_int_equal(tf.requests, 1);
	assert_int_equal(spans_in(&tf), 7);
	assert_int_equal(mf.requests, 1);
	assert_int_equal(snapshots, 1);
	fake_stop(&tf);
	fake_stop(&mf);
}

/* The endpoint hangs: the queue fills, the rest is dropped and counted, and metrics go on. */
static void test_full_queue(void **state)
{
	static const struct fake_reply hang[] = {{.kind = FAKE_HANG}}, ok[] = {{0}};
	uint64_t began;
	struct fake tf, mf;
	struct setup s;

	fake_start(&tf, hang, 1);
	fake_start(&mf, ok, 1);
	defaults(&s);
	aim(s.traces_url, &s.config.otlp_traces_endpoint, &tf, "/t");
	aim(s.metrics_url, &s.config.otlp_metrics_endpoint, &mf, "/m");
	s.config.metric_interval = 10 * MSEC;
	start(&s);
	give_spans(&s, 10);
	wait_for(atomic_load(&tf.requests) == 1); /* ten are on their way and stay there */
	give_spans(&s, 150);
	assert_int_equal(stats(&s, "traces").queue_len, 100);
	assert_int_equal(stats(&s, "traces").dropped, 50);
	assert_int_equal(stats(&s, "traces").sent + stats(&s, "traces").failed, 0);
	wait_for(stats(&s, "metrics").sent >= 3);
	began = clock_mono_ns();
	exporter_otlp.stop(s.e, began + 200 * MSEC);
	assert_true(clock_mono_ns() - began < SEC);
	fake_stop(&tf);
	fake_stop(&mf);
}

static void test_refused_and_partial(void **state)
{
	static const uint8_t partial[] = {0x0a, 0x02, 0x08, 0x04}; /* partial_success { rejected_spans: 4 } */
	static const struct fake_reply script[] = {
		{.head = "HTTP/1.1 400 Bad"},
		{.head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf", .body = partial, .body_len = 4},
	};
	struct fake f;
	struct setup s;

	fake_start(&f, script, 2);
	defaults(&s);
	aim(s.traces_url, &s.config.otlp_traces_endpoint, &f, "/");
	start(&s);
	give_spans(&s, 10);
	wait_for(stats(&s, "traces").failed == 10);
	give_spans(&s, 10);
	wait_for(stats(&s, "traces").sent == 6);
	assert_int_equal(stats(&s, "traces").failed, 14);
	exporter_otlp.stop(s.e, clock_mono_ns() + SEC);
	fake_stop(&f);
}

/* Delta: the point of the first export does not move any more, so nothing follows. */
static void test_delta_metrics(void **state)
{
	static const struct fake_reply script[] = {{0}};
	struct fake f;
	struct setup s;

	fake_start(&f, script, 1);
	defaults(&s);
	aim(s.metrics_url, &s.config.otlp_metrics_endpoint, &f, "/");
	s.config.metric_interval = 5 * MSEC;
	s.config.temporality = TEMPORALITY_DELTA;
	start(&s);
	wait_for(atomic_load(&snapshots) >= 5);
	assert_int_equal(stats(&s, "metrics").sent, 1);
	exporter_otlp.stop(s.e, clock_mono_ns() + SEC);
	assert_int_equal(f.requests, 1);
	fake_stop(&f);
}

/* Nobody there: stopping does not insist. */
static void test_stop_without_far_end(void **state)
{
	uint64_t began;
	struct setup s;

	defaults(&s);
	s.config.otlp_endpoint = (char *)"http://127.0.0.1:1";
	start(&s);
	give_spans(&s, 100);
	began = clock_mono_ns();
	exporter_otlp.stop(s.e, began + 5 * SEC);
	assert_true(clock_mono_ns() - began < 2 * SEC);
}

static int make_service(void **state)
{
	service = service_new("alpha", "", "1");
	return service ? 0 : -1;
}

static int drop_service(void **state)
{
	/* every span and snapshot gave its reference back */
	int left = atomic_load(&service->refs) != 1;

	service_unref(service);
	return left;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_which_signals),
		cmocka_unit_test(test_bad_settings),
		cmocka_unit_test(test_spans_arrive),
		cmocka_unit_test(test_stop_flushes),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_refused_and_partial),
		cmocka_unit_test(test_delta_metrics),
		cmocka_unit_test(test_stop_without_far_end),
	};

	return cmocka_run_group_tests(tests, make_service, drop_service);
}
