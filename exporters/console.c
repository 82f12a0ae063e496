// SPDX-License-Identifier: Apache-2.0
/*
 * OTEL_TRACES_EXPORTER=console and OTEL_METRICS_EXPORTER=console: a look at what would be
 * exported, on standard output. Spans as they come, one JSON object per line; metrics as
 * Prometheus's text, once per export interval and at the end.
 */
#include <pthread.h>
#include <signal.h>

#include "exporters/exporter.h"
#include "exporters/list.h"
#include "exporters/wire/lines.h"
#include "exporters/wire/prom_text.h"
#include "exporters/wire/span_line.h"
#include "user/base/clock.h"
#include "user/base/log.h"

#define TEXT_MAX ((size_t)256 << 20)

extern const struct exporter_ops exporter_console;

struct exporter {
	const struct exporter_host *host;
	struct lines *spans; /* NULL: not wanted */
	bool metrics;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;	       /* under lock */
	struct snapshot *last; /* under lock: taken by stop() */
	struct buf text;       /* the metrics thread's */
	uint64_t sent, failed; /* atomic: points */
};

static void dropped_spans(struct buf *b, uint64_t n)
{
	log_warn_limited("%llu spans dropped: the reader of standard output is too slow", (unsigned long long)n);
}

static void console_span(struct exporter *e, struct span *s)
{
	struct buf *b = e->spans && !lines_closed() ? lines_begin(e->spans) : NULL;

	if (!b)
		return;
	span_line_json(b, s);
	lines_end(e->spans);
}

static bool console_wants_spans(struct exporter *e)
{
	return e->spans;
}

static void print_snapshot(struct exporter *e, const struct snapshot *s)
{
	uint64_t n = 0;
	bool ok;

	buf_clear(&e->text);
	e->text.err = 0;
	e->text.max = TEXT_MAX;
	prom_text_write(&e->text, s, e->host->self, PROM_TEXT);
	buf_addc(&e->text, '\n');
	for (size_t i = 0; i < s->n_families; i++)
		n += s->families[i].n_points;
	ok = !e->text.err && lines_write(e->text.data, e->text.len);
	__atomic_fetch_add(ok ? &e->sent : &e->failed, n, __ATOMIC_RELAXED);
}

/* Until `until_ns`; false: it is over. */
static bool sleep_until(struct exporter *e, uint64_t until_ns)
{
	struct timespec ts = {(time_t)(until_ns / NSEC_PER_SEC), (long)(until_ns % NSEC_PER_SEC)};
	bool stopping;

	pthread_mutex_lock(&e->lock);
	while (!e->stopping && clock_mono_ns() < until_ns)
		pthread_cond_timedwait(&e->wake, &e->lock, &ts);
	stopping = e->stopping;
	pthread_mutex_unlock(&e->lock);
	return !stopping;
}

static void *metrics_thread(void *arg)
{
	struct exporter *e = arg;
	uint64_t interval = e->host->config->metric_interval, next = clock_mono_ns() + interval;
	struct snapshot *s;

	while (sleep_until(e, next)) {
		s = e->host->snapshot(e->host->ctx);
		if (s)
			print_snapshot(e, s);
		snapshot_unref(s);
		next = MAX(next, clock_mono_ns() - interval) + interval;
	}
	pthread_mutex_lock(&e->lock);
	s = TAKE_PTR(e->last);
	pthread_mutex_unlock(&e->lock);
	if (s)
		print_snapshot(e, s);
	snapshot_unref(s);
	return NULL;
}

static struct exporter *exporter_new(const struct exporter_host *host)
{
	struct exporter *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->host = host;
	pthread_mutex_init(&e->lock, NULL);
	clock_cond_init(&e->wake);
	return e;
}

static int start_metrics(struct exporter *e)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&e->thread, NULL, metrics_thread, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	e->metrics = !err;
	return err ? log_err_r(-err, "no thread to print metrics: %s", strerror(err)) : 0;
}

static void stop_metrics(struct exporter *e, uint64_t deadline_ns)
{
	struct timespec until = {(time_t)(deadline_ns / NSEC_PER_SEC), (long)(deadline_ns % NSEC_PER_SEC)};

	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	/* here and not in the thread, which may be in its write() until it is cancelled */
	e->last = e->host->snapshot(e->host->ctx);
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
	if (pthread_clockjoin_np(e->thread, NULL, CLOCK_MONOTONIC, &until)) {
		pthread_cancel(e->thread);
		pthread_join(e->thread, NULL);
	}
}

static void console_stop(struct exporter *e, uint64_t deadline_ns)
{
	if (e->metrics)
		stop_metrics(e, deadline_ns);
	if (e->spans)
		lines_stop(e->spans, deadline_ns);
	snapshot_unref(e->last);
	buf_done(&e->text);
	pthread_cond_destroy(&e->wake);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

static int console_start(const struct exporter_host *host, struct exporter **ret)
{
	bool traces = host->config->traces_exporter & EXPORTER_CONSOLE,
	     metrics = host->config->metrics_exporter & EXPORTER_CONSOLE;
	struct exporter *e;
	int err = 0;

	if (host->config->sdk_disabled || (!traces && !metrics))
		return 1;
	e = exporter_new(host);
	if (!e)
		return -ENOMEM;
	if (traces)
		err = lines_new(&e->spans, dropped_spans);
	if (!err && metrics)
		err = start_metrics(e);
	if (err) {
		console_stop(e, 0);
		return err;
	}
	*ret = e;
	return 0;
}

static size_t console_stats(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX])
{
	struct lines_stats s;
	size_t n = 0;

	if (e->spans) {
		lines_get_stats(e->spans, &s);
		out[n++] = (struct exporter_stats){.signal = "traces",
						   .sent = s.sent,
						   .failed = s.failed,
						   .dropped = s.dropped,
						   .queue_len = s.held};
	}
	if (e->metrics)
		out[n++] = (struct exporter_stats){.signal = "metrics",
						   .sent = __atomic_load_n(&e->sent, __ATOMIC_RELAXED),
						   .failed = __atomic_load_n(&e->failed, __ATOMIC_RELAXED)};
	return n;
}

const struct exporter_ops exporter_console = {
	.name = "console",
	.start = console_start,
	.span = console_span,
	.wants_spans = console_wants_spans,
	.stats = console_stats,
	.stop = console_stop,
};
