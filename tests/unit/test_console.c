/* SPDX-License-Identifier: Apache-2.0 */
/* Standard output is a pipe here: what a span and a snapshot look like on it, and when there is nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#include "exporters/exporter.h"
#include "exporters/wire/lines.h"
#include "exporters/wire/span_line.h"
#include "user/base/clock.h"
#include "user/base/log.h"

extern const struct exporter_ops exporter_console;

static const struct attr_key method = {"http.request.method", "http_request_method"};
static const struct attr_key status = {"http.response.status_code", "http_response_status_code"};
static const struct instrument events = {"sonde.events", "", "Events.", INST_COUNTER};

struct world {
	struct config config;
	struct exporter_host host;
	struct exporter *e;
	struct service *shop;
	int old_out, reader;
	unsigned asked;
};

static struct snapshot *take_snapshot(void *ctx)
{
	struct world *w = ctx;
	/* as metrics/ makes them: families, points and all in one block */
	struct {
		struct family f;
		struct point p;
	} *room = calloc(1, sizeof(*room));
	struct snapshot *s = calloc(1, sizeof(*s));

	w->asked++;
	room->p.labels = labels_new(NULL, 0);
	room->p.value = 42;
	room->f = (struct family){.inst = &events, .points = &room->p, .n_points = 1};
	*s = (struct snapshot){
		.refs = 1, .wall_ns = NSEC_PER_SEC, .families = &room->f, .n_families = 1, .arena = room};
	return s;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int pipes[2];

	log_setup(LOG_ERROR, LOG_LOGFMT);
	lines_reset();
	w->host = (struct exporter_host){.ctx = w, .snapshot = take_snapshot, .config = &w->config, .version = "1"};
	w->config.metric_interval = 3600 * NSEC_PER_SEC;
	w->shop = service_new("shop", "", "i1");
	fflush(stdout);
	w->old_out = dup(STDOUT_FILENO);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	dup2(pipes[1], STDOUT_FILENO);
	close(pipes[1]);
	w->reader = pipes[0];
	*state = w;
	return 0;
}

static void restore(struct world *w)
{
	if (w->old_out < 0)
		return;
	dup2(w->old_out, STDOUT_FILENO);
	close(w->old_out);
	w->old_out = -1;
}

static int teardown(void **state)
{
	struct world *w = *state;

	restore(w);
	closep(&w->reader);
	service_unref(w->shop);
	free(w);
	return 0;
}

static void stop(struct world *w)
{
	exporter_console.stop(TAKE_PTR(w->e), clock_mono_ns() + NSEC_PER_SEC);
}

/* All that was written, once nobody writes any more. */
static size_t hear_all(struct world *w, char *dst, size_t size)
{
	size_t len = 0;
	ssize_t n;

	restore(w);
	while ((n = read(w->reader, dst + len, size - len - 1)) > 0)
		len += (size_t)n;
	dst[len] = 0;
	return len;
}

static struct span *make_span(struct world *w)
{
	struct call c = {.role = ROLE_SERVER, .service = w->shop, .failed = true};
	struct span *s;

	call_add_str(&c, &method, STR("G\"ET"));
	call_add_int(&c, &status, 503);
	s = span_new(&c, "GET /users/{id}");
	assert_non_null(s);
	memset(s->trace_id, 0xab, sizeof(s->trace_id));
	memset(s->span_id, 1, sizeof(s->span_id));
	s->start_wall_ns = 1700000000 * NSEC_PER_SEC + 5;
	s->end_wall_ns = 1700000001 * NSEC_PER_SEC;
	return s;
}

#define LINE                                                                                                           \
	"{\"name\":\"GET /users/{id}\",\"kind\":\"server\",\"traceId\":\"abababababababababababababababab\","          \
	"\"spanId\":\"0101010101010101\",\"startTime\":\"2023-11-14T22:13:20.000000005Z\","                            \
	"\"endTime\":\"2023-11-14T22:13:21.000000000Z\",\"status\":\"error\","                                         \
	"\"resource\":{\"service.name\":\"shop\",\"service.instance.id\":\"i1\"},"                                     \
	"\"attributes\":{\"http.request.method\":\"G\\\"ET\",\"http.response.status_code\":503}}\n"

static void off_unless_named(void **state)
{
	struct world *w = *state;

	w->config.traces_exporter = EXPORTER_AUTO;
	w->config.metrics_exporter = EXPORTER_OTLP;
	assert_int_equal(exporter_console.start(&w->host, &w->e), 1);
	w->config.traces_exporter = EXPORTER_CONSOLE;
	w->config.sdk_disabled = true;
	assert_int_equal(exporter_console.start(&w->host, &w->e), 1);
	assert_null(w->e);
}

static void a_line_per_span(void **state)
{
	struct exporter_stats st[EXPORTER_SIGNALS_MAX];
	struct world *w = *state;
	char heard[4096];
	struct span *s;

	w->config.traces_exporter = EXPORTER_CONSOLE | EXPORTER_OTLP;
	assert_int_equal(exporter_console.start(&w->host, &w->e), 0);
	assert_true(exporter_console.wants_spans(w->e));
	assert_int_equal(exporter_console.stats(w->e, st), 1);
	assert_string_equal(st[0].signal, "traces");
	s = make_span(w);
	exporter_console.span(w->e, s);
	exporter_console.span(w->e, s);
	span_unref(s);
	stop(w);
	hear_all(w, heard, sizeof(heard));
	assert_string_equal(heard, LINE LINE);
	assert_int_equal(w->asked, 0);
}

static void metrics_at_the_interval_and_the_end(void **state)
{
	struct world *w = *state;
	struct exporter_stats st[EXPORTER_SIGNALS_MAX];
	uint64_t until = clock_mono_ns() + 10 * NSEC_PER_SEC;
	char heard[65536];
	size_t n = 0;

	w->config.metrics_exporter = EXPORTER_CONSOLE;
	w->config.metric_interval = 5 * NSEC_PER_MSEC;
	assert_int_equal(exporter_console.start(&w->host, &w->e), 0);
	assert_false(exporter_console.wants_spans(w->e));
	do {
		assert_int_equal(exporter_console.stats(w->e, st), 1);
	} while (st[0].sent < 2 && clock_mono_ns() < until);
	assert_string_equal(st[0].signal, "metrics");
	stop(w);
	hear_all(w, heard, sizeof(heard));
	for (char *p = heard; (p = strstr(p, "\nsonde_events_total 42\n")); p++)
		n++;
	assert_true(n >= 3);
	assert_int_equal(n, w->asked);
}

/* Nobody reads: it ends all the same, in time. */
static void a_reader_that_sleeps(void **state)
{
	struct world *w = *state;
	uint64_t begin = clock_mono_ns();
	struct span *s;

	w->config.traces_exporter = EXPORTER_CONSOLE;
	assert_int_equal(exporter_console.start(&w->host, &w->e), 0);
	s = make_span(w);
	for (int i = 0; i < 1000; i++)
		exporter_console.span(w->e, s);
	span_unref(s);
	exporter_console.stop(TAKE_PTR(w->e), clock_mono_ns() + 100 * NSEC_PER_MSEC);
	assert_true(clock_mono_ns() - begin < 5 * NSEC_PER_SEC);
	/* and others may write again */
	assert_true(lines_write("", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(off_unless_named, setup, teardown),
		cmocka_unit_test_setup_teardown(a_line_per_span, setup, teardown),
		cmocka_unit_test_setup_teardown(metrics_at_the_interval_and_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reader_that_sleeps, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
