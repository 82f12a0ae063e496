// SPDX-License-Identifier: Apache-2.0
/*
 * The OTLP exporter: one thread per signal, so that a slow endpoint of one never holds up the
 * other. Spans wait in a bounded queue between the capture thread and theirs; metrics need none,
 * their thread asks for a snapshot when it is time. What is not sent is counted: `dropped`
 * never left (queue full, shut-down), `failed` was not taken by the endpoint.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "exporters/exporter.h"
#include "exporters/list.h"
#include "exporters/wire/otlp_encode.h"
#include "exporters/wire/otlp_send.h"
#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/base/queue.h"

#define SPANS_MAX 65536

extern const struct exporter_ops exporter_otlp;

/* What a signal's thread owns, and its counters. */
struct channel {
	bool on;
	enum otlp_signal signal;
	pthread_t thread;
	struct otlp_sender *sender;
	struct otlp_encoder *encoder;
	struct buf request;
	_Atomic uint64_t sent, failed, dropped;
};

struct exporter {
	struct exporter_host host;
	struct channel traces, metrics;
	_Atomic uint64_t stop_ns; /* UINT64_MAX: running */

	struct queue *spans;
	struct span **batch;
	size_t batch_max;

	struct otlp_delta *delta; /* NULL: cumulative */
	pthread_mutex_t lock;	  /* the two below, for the metrics thread's sleep */
	pthread_cond_t wake;
	struct snapshot *last; /* taken by stop() */
};

static void count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static uint64_t stop_ns(struct exporter *e)
{
	return atomic_load(&e->stop_ns);
}

/* From now on for `timeout_ns`; 0 means without limit. Shutting down ends everything. */
static uint64_t deadline(struct exporter *e, uint64_t timeout_ns)
{
	uint64_t end;

	if (!timeout_ns || __builtin_add_overflow(clock_mono_ns(), timeout_ns, &end))
		end = UINT64_MAX;
	return MIN(end, stop_ns(e));
}

/* Sends c->request, which holds n items. True: delivered, or refused for good. */
static bool deliver(struct channel *c, size_t n, uint64_t deadline_ns)
{
	uint64_t rejected = 0;
	int err = otlp_send(c->sender, &c->request, deadline_ns, &rejected);

	if (err) {
		count(&c->failed, n);
		return err == -EREMOTEIO;
	}
	rejected = MIN(rejected, (uint64_t)n);
	count(&c->sent, n - rejected);
	count(&c->failed, rejected);
	return true;
}

/* ---- traces ---- */

static void free_span(void *s)
{
	span_unref(s);
}

static void export_batch(struct exporter *e, struct span **spans, size_t n)
{
	uint64_t end = deadline(e, e->host.config->bsp_timeout);
	size_t at = 0, used = 0;

	otlp_sort_spans(spans, n);
	for (; at < n; at += used) {
		if (otlp_encode_spans(e->traces.encoder, spans + at, n - at, &e->traces.request, &used))
			break;
		deliver(&e->traces, used, end);
	}
	count(&e->traces.dropped, n - at);
	for (size_t i = 0; i < n; i++)
		span_unref(spans[i]);
}

static void *traces_thread(void *arg)
{
	struct exporter *e = arg;
	uint64_t delay = e->host.config->bsp_delay;
	size_t n;

	while (stop_ns(e) == UINT64_MAX) {
		n = queue_pop(e->spans, (void **)e->batch, e->batch_max, e->batch_max, clock_mono_ns() + delay);
		if (n)
			export_batch(e, e->batch, n);
	}
	while (clock_mono_ns() < stop_ns(e) && (n = queue_pop(e->spans, (void **)e->batch, e->batch_max, 0, 0)))
		export_batch(e, e->batch, n);
	return NULL;
}

static void otlp_span(struct exporter *e, struct span *s)
{
	if (!e->traces.on)
		return;
	if (queue_push(e->spans, span_ref(s))) {
		span_unref(s);
		count(&e->traces.dropped, 1);
	}
}

static bool otlp_wants_spans(struct exporter *e)
{
	return e->traces.on;
}

/* ---- metrics ---- */

/* One request after the other; an endpoint that does not take the first is not asked about the rest. */
static void export_points(struct exporter *e, const struct otlp_point *p, size_t n, uint64_t wall_ns)
{
	uint64_t end = deadline(e, e->host.config->metric_timeout);
	size_t at = 0, used = 0;

	for (; at < n; at += used) {
		if (otlp_encode_points(e->metrics.encoder, p + at, n - at, wall_ns, &e->metrics.request, &used)) {
			count(&e->metrics.dropped, n - at);
			return;
		}
		if (!deliver(&e->metrics, used, end)) {
			count(&e->metrics.failed, n - at - used);
			return;
		}
		otlp_delta_commit(p + at, used, wall_ns);
	}
}

static void export_snapshot(struct exporter *e, const struct snapshot *s)
{
	_free_ struct otlp_point *points = NULL;
	size_t n = 0, lost = 0;

	if (otlp_index_points(s, e->host.self, &points, &n)) {
		log_warn_limited("OTLP metrics: no memory for an export");
		return;
	}
	if (e->delta)
		n = otlp_delta_attach(e->delta, points, n, &lost);
	count(&e->metrics.dropped, lost);
	export_points(e, points, n, s->wall_ns);
}

static bool sleep_until(struct exporter *e, uint64_t until_ns)
{
	struct timespec ts = {(time_t)(until_ns / NSEC_PER_SEC), (long)(until_ns % NSEC_PER_SEC)};

	pthread_mutex_lock(&e->lock);
	while (stop_ns(e) == UINT64_MAX && clock_mono_ns() < until_ns)
		pthread_cond_timedwait(&e->wake, &e->lock, &ts);
	pthread_mutex_unlock(&e->lock);
	return stop_ns(e) == UINT64_MAX;
}

static void *metrics_thread(void *arg)
{
	struct exporter *e = arg;
	uint64_t interval = MAX(e->host.config->metric_interval, NSEC_PER_MSEC);
	uint64_t next = clock_mono_ns() + interval;
	struct snapshot *s;

	while (sleep_until(e, next)) {
		s = e->host.snapshot(e->host.ctx);
		if (s)
			export_snapshot(e, s);
		else if (stop_ns(e) == UINT64_MAX)
			log_warn_limited("OTLP metrics: an export is left out: %s", strerror(errno));
		snapshot_unref(s);
		/* in step with the interval; what a slow endpoint made us miss is not made up for */
		next = MAX(next, clock_mono_ns() - interval) + interval;
	}
	/* stop() has the lock until the last snapshot is there */
	pthread_mutex_lock(&e->lock);
	s = TAKE_PTR(e->last);
	pthread_mutex_unlock(&e->lock);
	if (s)
		export_snapshot(e, s);
	snapshot_unref(s);
	return NULL;
}

/* ---- start, stop ---- */

/* One signal's settings, its own before the general ones. */
struct settings {
	const char *endpoint;
	bool general, grpc, gzip;
	const struct kv_list *headers;
	uint64_t timeout_ns;
	const char *ca;
};

static bool wanted(int exporters, const char *own, const char *all)
{
	return exporters & EXPORTER_OTLP || (exporters & EXPORTER_AUTO && ((own && *own) || (all && *all)));
}

static struct settings settings_of(const struct config *c, enum otlp_signal signal)
{
	bool tr = signal == OTLP_TRACES;
	const char *own = tr ? c->otlp_traces_endpoint : c->otlp_metrics_endpoint;
	int protocol = tr ? c->otlp_traces_protocol : c->otlp_metrics_protocol;
	int compression = tr ? c->otlp_traces_compression : c->otlp_metrics_compression;
	const struct kv_list *headers = tr ? &c->otlp_traces_headers : &c->otlp_metrics_headers;
	const char *ca = tr ? c->otlp_traces_certificate : c->otlp_metrics_certificate;
	uint64_t timeout = tr ? c->otlp_traces_timeout : c->otlp_metrics_timeout;
	struct settings s = {
		.endpoint = own && *own ? own : c->otlp_endpoint,
		.general = !own || !*own,
		.grpc = (protocol == OTLP_INHERIT ? c->otlp_protocol : protocol) == OTLP_GRPC,
		.gzip = (compression == COMPRESSION_INHERIT ? c->otlp_compression : compression) == COMPRESSION_GZIP,
		.headers = headers->n ? headers : &c->otlp_headers,
		.timeout_ns = timeout ?: c->otlp_timeout,
		.ca = ca && *ca ? ca : c->otlp_certificate,
	};

	if (!s.endpoint || !*s.endpoint)
		s.endpoint = s.grpc ? "http://localhost:4317" : "http://localhost:4318";
	return s;
}

static int check_file(const char *what, const char *file)
{
	if (!file || !*file || !access(file, R_OK))
		return 0;
	return log_err_r(-errno, "OTLP: cannot read the %s %s: %s", what, file, strerror(errno));
}

static int channel_init(struct channel *c, const struct exporter_host *host, enum otlp_signal signal)
{
	const struct config *cfg = host->config;
	struct settings s = settings_of(cfg, signal);
	_free_ char *url = NULL, *shown = NULL;
	struct otlp_target t;
	int err;

	err = otlp_url(s.endpoint, signal, s.grpc, s.general, &url);
	if (err == -EINVAL)
		return log_err_r(err, "OTLP %s: the endpoint is no URL; write http://HOST:PORT or https://HOST:PORT",
				 otlp_signal_name(signal));
	err = err ?: check_file("CA certificates", s.ca);
	err = err ?: check_file("client certificate", cfg->otlp_client_certificate);
	err = err ?: check_file("client key", cfg->otlp_client_key);
	if (err)
		return err;
	t = (struct otlp_target){.signal = signal,
				 .grpc = s.grpc,
				 .gzip = s.gzip,
				 .url = url,
				 .headers = s.headers,
				 .timeout_ns = s.timeout_ns,
				 .ca = s.ca,
				 .cert = cfg->otlp_client_certificate,
				 .key = cfg->otlp_client_key,
				 .version = host->version};
	c->signal = signal;
	c->sender = otlp_sender_new(&t);
	if (!c->sender)
		return -errno;
	c->encoder = otlp_encoder_new(host->version);
	shown = otlp_url_shown(url);
	if (!c->encoder || !shown)
		return -ENOMEM;
	log_info("OTLP %s go to %s by %s%s%s", otlp_signal_name(signal), shown, s.grpc ? "gRPC" : "HTTP",
		 s.gzip ? ", gzip" : "", strstr(s.endpoint, "://") ? "" : " (no scheme in the endpoint: plain http)");
	c->on = true;
	return 0;
}

static int init_traces(struct exporter *e)
{
	const struct config *c = e->host.config;
	size_t capacity = (size_t)CLAMP(c->bsp_queue, 1, SPANS_MAX);

	e->batch_max = (size_t)CLAMP(c->bsp_batch, 1, (int64_t)capacity);
	e->spans = queue_new(capacity);
	e->batch = calloc(e->batch_max, sizeof(*e->batch));
	if (!e->spans || !e->batch)
		return -ENOMEM;
	return channel_init(&e->traces, &e->host, OTLP_TRACES);
}

static int init_metrics(struct exporter *e)
{
	const struct config *c = e->host.config;

	if (c->temporality != TEMPORALITY_CUMULATIVE) {
		e->delta = otlp_delta_new(c->temporality == TEMPORALITY_LOWMEMORY, e->host.self);
		if (!e->delta)
			return -ENOMEM;
	}
	return channel_init(&e->metrics, &e->host, OTLP_METRICS);
}

static struct exporter *exporter_new(const struct exporter_host *host)
{
	struct exporter *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->host = *host;
	e->stop_ns = UINT64_MAX;
	pthread_mutex_init(&e->lock, NULL);
	clock_cond_init(&e->wake);
	return e;
}

static void channel_done(struct channel *c)
{
	otlp_sender_free(c->sender);
	otlp_encoder_free(c->encoder);
	buf_done(&c->request);
}

static void exporter_free(struct exporter *e)
{
	channel_done(&e->traces);
	channel_done(&e->metrics);
	queue_free(e->spans, free_span);
	free(e->batch);
	otlp_delta_free(e->delta);
	snapshot_unref(e->last);
	pthread_cond_destroy(&e->wake);
	pthread_mutex_destroy(&e->lock);
	free(e);
	curl_global_cleanup();
}

/* Signals are for the main thread. */
static int start_thread(pthread_t *t, void *(*main)(void *), struct exporter *e)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(t, NULL, main, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

static void wake_all(struct exporter *e, uint64_t deadline_ns)
{
	atomic_store(&e->stop_ns, deadline_ns);
	if (e->traces.on) {
		otlp_sender_stop(e->traces.sender, deadline_ns);
		queue_wake(e->spans);
	}
	if (e->metrics.on)
		otlp_sender_stop(e->metrics.sender, deadline_ns);
	pthread_cond_signal(&e->wake);
}

static int start_threads(struct exporter *e)
{
	int err = 0;

	if (e->traces.on)
		err = start_thread(&e->traces.thread, traces_thread, e);
	if (err || !e->metrics.on)
		return err;
	err = start_thread(&e->metrics.thread, metrics_thread, e);
	if (err && e->traces.on) {
		wake_all(e, clock_mono_ns());
		pthread_join(e->traces.thread, NULL);
	}
	return err;
}

static int otlp_start(const struct exporter_host *host, struct exporter **ret)
{
	const struct config *c = host->config;
	bool traces = wanted(c->traces_exporter, c->otlp_traces_endpoint, c->otlp_endpoint);
	bool metrics = wanted(c->metrics_exporter, c->otlp_metrics_endpoint, c->otlp_endpoint);
	struct exporter *e;
	int err = 0;

	if (c->sdk_disabled || (!traces && !metrics))
		return 1;
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return log_err_r(-ENOMEM, "OTLP: libcurl does not start");
	e = exporter_new(host);
	if (!e) {
		curl_global_cleanup();
		return log_err_r(-ENOMEM, "OTLP: no memory");
	}
	if (traces)
		err = init_traces(e);
	if (!err && metrics)
		err = init_metrics(e);
	err = err ?: start_threads(e);
	if (err) {
		exporter_free(e);
		return log_err_r(err, "OTLP: the exporter does not start: %s", strerror(-err));
	}
	*ret = e;
	return 0;
}

static size_t otlp_stats(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX])
{
	struct channel *all[] = {&e->traces, &e->metrics};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct channel *c = all[i];

		if (!c->on)
			continue;
		out[n++] = (struct exporter_stats){
			.signal = otlp_signal_name(c->signal),
			.sent = atomic_load_explicit(&c->sent, memory_order_relaxed),
			.failed = atomic_load_explicit(&c->failed, memory_order_relaxed),
			.dropped = atomic_load_explicit(&c->dropped, memory_order_relaxed),
			.queue_len = c == &e->traces ? queue_len(e->spans) : 0,
			.queue_cap = c == &e->traces ? queue_capacity(e->spans) : 0,
		};
	}
	return n;
}

static void log_left(struct exporter *e)
{
	size_t left = e->traces.on ? queue_len(e->spans) : 0;

	count(&e->traces.dropped, left);
	if (left)
		log_warn("OTLP traces: %zu spans are lost: the endpoint did not take them before the end", left);
}

static void otlp_stop(struct exporter *e, uint64_t deadline_ns)
{
	if (!e)
		return;
	/*
	 * The last snapshot is taken here and not in the thread: whoever stops the exporters
	 * may be the capture thread, which would then wait for itself.
	 */
	pthread_mutex_lock(&e->lock);
	wake_all(e, deadline_ns);
	if (e->metrics.on)
		e->last = e->host.snapshot(e->host.ctx);
	pthread_mutex_unlock(&e->lock);
	if (e->traces.on)
		pthread_join(e->traces.thread, NULL);
	if (e->metrics.on)
		pthread_join(e->metrics.thread, NULL);
	log_left(e);
	exporter_free(e);
}

const struct exporter_ops exporter_otlp = {
	.name = "otlp",
	.start = otlp_start,
	.span = otlp_span,
	.wants_spans = otlp_wants_spans,
	.stats = otlp_stats,
	.stop = otlp_stop,
};
