// SPDX-License-Identifier: Apache-2.0
/*
 * /metrics over libmicrohttpd. Its one thread per address only moves bytes, so that /healthz
 * answers at once whatever else goes on: a scrape is suspended and handed to a worker thread,
 * which takes one snapshot for all that wait, writes their texts and resumes them.
 *
 * What a client can cost is bounded: connections by number, their heads by memory, scrapes by
 * --web.max-requests until their last byte has left, and every request by time: libmicrohttpd
 * closes a connection that is silent, the worker one that is merely slow.
 */
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <zlib.h>

#include "exporters/exporter.h"
#include "exporters/wire/listen.h"
#include "exporters/wire/negotiate.h"
#include "exporters/wire/prom_text.h"
#include "user/base/clock.h"
#include "user/base/log.h"

#define CONNECTIONS_MAX	  128u
#define CONNECTION_MEMORY ((size_t)16 << 10)
#define SEND_BUFFER	  (128 << 10)
#define TEXT_MAX	  ((size_t)256 << 20)
#define TYPE_TEXT	  "text/plain; charset=utf-8"
#ifndef SILENT_SECONDS
#define SILENT_SECONDS 10u /* without a byte */
#endif
#ifndef REQUEST_SECONDS
#define REQUEST_SECONDS 30u /* for one request, however the bytes trickle */
#endif

/* A connection, to be closed when it takes too long. */
struct client {
	struct client *next, **at; /* under lock */
	int fd;
	uint64_t since_ns; /* when it came, or its last request arrived or ended; under lock */
};

enum scrape_state { SCRAPE_WAITING, SCRAPE_DONE };

struct scrape {
	struct exporter *e;
	struct scrape *next;
	struct MHD_Connection *conn;
	enum prom_format format;
	bool gzip, gzipped;
	enum scrape_state state; /* the worker's until it resumes the connection */
	unsigned status;
	struct buf body; /* owned, until the answer takes it */
};

struct exporter {
	const struct exporter_host *host;
	struct MHD_Daemon **daemons;
	size_t n_daemons;
	pthread_t worker;
	bool working;
	pthread_mutex_t lock;
	pthread_cond_t more;
	bool stopping;		      /* under lock */
	struct scrape *first, **last; /* under lock: scrapes that wait for the worker */
	int64_t open;		      /* under lock: scrapes from their head to their last byte */
	struct client *clients;	      /* under lock */
	atomic_ullong sent, failed, dropped;
};

/* Connections and requests without a scrape still need something to hang at `*state`. */
static struct scrape no_scrape;

/* --- the worker --- */

static int gzip_buf(struct buf *b)
{
	z_stream z = {.next_in = (Bytef *)b->data, .avail_in = (uInt)b->len};
	struct buf packed = BUF_INIT;
	int end;

	if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	packed.cap = deflateBound(&z, b->len);
	packed.data = malloc(packed.cap);
	if (!packed.data) {
		deflateEnd(&z);
		return -ENOMEM;
	}
	z.next_out = (Bytef *)packed.data;
	z.avail_out = (uInt)packed.cap;
	end = deflate(&z, Z_FINISH);
	packed.len = z.total_out;
	deflateEnd(&z);
	if (end != Z_STREAM_END) {
		buf_done(&packed);
		return -EIO;
	}
	buf_done(b);
	*b = packed;
	return 0;
}

static void fill(struct scrape *s, const struct snapshot *snap)
{
	s->body.max = TEXT_MAX;
	if (snap) {
		s->status = MHD_HTTP_OK;
		prom_text_write(&s->body, snap, s->e->host->self, s->format);
		/* without memory to pack it, it goes as it is */
		s->gzipped = !s->body.err && s->gzip && !gzip_buf(&s->body);
	} else {
		s->status = MHD_HTTP_SERVICE_UNAVAILABLE;
		buf_puts(&s->body, "no snapshot within a second: sonde is overloaded or is stopping\n");
	}
	if (s->body.err) {
		log_warn_limited("a scrape needs more memory than there is: %s", strerror(-s->body.err));
		buf_done(&s->body);
		s->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

static void serve(struct exporter *e, struct scrape *list)
{
	struct snapshot *snap = e->host->snapshot(e->host->ctx);

	while (list) {
		struct scrape *s = list;

		list = s->next;
		fill(s, snap);
		s->state = SCRAPE_DONE;
		/* from here on it belongs to the other thread again */
		MHD_resume_connection(s->conn);
	}
	snapshot_unref(snap);
}

/* Its own thread closes the descriptor, behind on_connection(): under the lock it is the client's still. */
static void close_late(struct exporter *e, uint64_t now)
{
	/* a reset: what the client has not taken yet is not kept for it either */
	const struct linger reset = {.l_onoff = 1};

	for (struct client *c = e->clients; c; c = c->next) {
		if (now - c->since_ns <= REQUEST_SECONDS * NSEC_PER_SEC)
			continue;
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		shutdown(c->fd, SHUT_RDWR);
	}
}

static void wait_for_work(struct exporter *e)
{
	uint64_t at = clock_mono_ns() + NSEC_PER_SEC;
	struct timespec until = {(time_t)(at / NSEC_PER_SEC), (long)(at % NSEC_PER_SEC)};

	if (e->clients)
		pthread_cond_timedwait(&e->more, &e->lock, &until);
	else
		pthread_cond_wait(&e->more, &e->lock);
}

static void *work(void *arg)
{
	struct exporter *e = arg;

	pthread_mutex_lock(&e->lock);
	while (!e->stopping || e->first) {
		struct scrape *list = e->first;

		if (!list) {
			wait_for_work(e);
			close_late(e, clock_mono_ns());
			continue;
		}
		e->first = NULL;
		e->last = &e->first;
		pthread_mutex_unlock(&e->lock);
		serve(e, list);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* --- answers --- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, struct buf *body,
			      bool gzipped)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
		body->len, body->data ?: "", body->data ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	enum MHD_Result ret;

	if (!r) {
		buf_done(body);
		return MHD_NO;
	}
	*body = BUF_INIT; /* the response frees it */
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(r, "Retry-After", "1");
	if (gzipped)
		MHD_add_response_header(r, "Content-Encoding", "gzip");
	ret = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return ret;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status, const char *text)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, text);
	return answer(c, status, TYPE_TEXT, &b, false);
}

static const char *header(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name) ?: "";
}

/* Hands the connection to the worker; false: there are too many. */
static bool suspend(struct exporter *e, struct scrape *s)
{
	bool room;

	pthread_mutex_lock(&e->lock);
	room = !e->stopping && e->open < e->host->config->web_max_requests;
	if (room) {
		e->open++;
		MHD_suspend_connection(s->conn);
		*e->last = s;
		e->last = &s->next;
		pthread_cond_signal(&e->more);
	}
	pthread_mutex_unlock(&e->lock);
	return room;
}

static enum MHD_Result begin_scrape(struct exporter *e, struct MHD_Connection *c, void **state)
{
	struct scrape *s = calloc(1, sizeof(*s));

	if (!s)
		return MHD_NO;
	s->e = e;
	s->conn = c;
	s->format = negotiate_format(header(c, "Accept"));
	s->gzip = negotiate_gzip(header(c, "Accept-Encoding"));
	if (suspend(e, s)) {
		*state = s;
		return MHD_YES;
	}
	free(s);
	atomic_fetch_add(&e->dropped, 1);
	return answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, "too many scrapes at the same time (--web.max-requests)\n");
}

static enum MHD_Result end_scrape(struct scrape *s)
{
	const char *type = s->status == MHD_HTTP_OK ? prom_content_type(s->format) : TYPE_TEXT;

	return answer(s->conn, s->status, type, &s->body, s->gzipped);
}

static void put_html(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (strchr("<>&\"'", *s))
			buf_printf(b, "&#%d;", *s);
		else
			buf_addc(b, *s);
	}
}

static enum MHD_Result landing(struct exporter *e, struct MHD_Connection *c)
{
	struct buf b = BUF_INIT;

	buf_puts(&b,
		 "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>sonde</title>"
		 "<style>body{font:16px/1.5 system-ui,sans-serif;margin:3em auto;max-width:40em;padding:0 1em}</style>"
		 "<h1>sonde ");
	put_html(&b, e->host->version);
	buf_puts(&b, "</h1><p>Every call that the programs of this machine serve and send.</p><ul><li><a href=\"");
	put_html(&b, e->host->config->web_path);
	buf_printf(&b,
		   "\">Metrics</a></li><li><a href=\"/healthz\">Health</a></li>"
		   "<li><a href=\"/readyz\">Readiness</a>: capture is %s</li></ul></html>\n",
		   e->host->ready(e->host->ctx) ? "attached" : "not attached yet");
	return answer(c, b.err ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_OK, "text/html; charset=utf-8", &b, false);
}

static enum MHD_Result route(struct exporter *e, struct MHD_Connection *c, const char *url, void **state)
{
	bool ready;

	if (!strcmp(url, e->host->config->web_path))
		return begin_scrape(e, c, state);
	if (!strcmp(url, "/healthz"))
		return answer_text(c, MHD_HTTP_OK, "ok\n");
	if (!strcmp(url, "/"))
		return landing(e, c);
	if (strcmp(url, "/readyz"))
		return answer_text(c, MHD_HTTP_NOT_FOUND, "not found\n");
	ready = e->host->ready(e->host->ctx);
	return answer_text(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
			   ready ? "ok\n" : "capture is not attached yet\n");
}

/* --- libmicrohttpd's callbacks, each in the thread of its address --- */

static void touch(struct exporter *e, struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct client *client = info ? info->socket_context : NULL;

	if (!client)
		return;
	pthread_mutex_lock(&e->lock);
	client->since_ns = clock_mono_ns();
	pthread_mutex_unlock(&e->lock);
}

static void on_connection(void *ctx, struct MHD_Connection *conn, void **socket_ctx,
			  enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *c = *socket_ctx;
	struct exporter *e = ctx;

	if (what == MHD_CONNECTION_NOTIFY_STARTED && info && (c = calloc(1, sizeof(*c)))) {
		*c = (struct client){.fd = info->connect_fd, .since_ns = clock_mono_ns(), .at = &e->clients};
		*socket_ctx = c;
		pthread_mutex_lock(&e->lock);
		c->next = e->clients;
		if (c->next)
			c->next->at = &c->next;
		e->clients = c;
		pthread_cond_signal(&e->more);
		pthread_mutex_unlock(&e->lock);
	} else if (what == MHD_CONNECTION_NOTIFY_CLOSED && c) {
		pthread_mutex_lock(&e->lock);
		*c->at = c->next;
		if (c->next)
			c->next->at = c->at;
		pthread_mutex_unlock(&e->lock);
		*socket_ctx = NULL;
		free(c);
	}
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_size, void **state)
{
	struct exporter *e = ctx;
	struct scrape *s = *state;

	if (s && s != &no_scrape)
		return s->state == SCRAPE_DONE ? end_scrape(s) : MHD_YES;
	if (!s) {
		*state = &no_scrape;
		touch(e, c);
		/* the answer does not wait for a body, of whatever size */
		if (strcmp(method, "GET") && strcmp(method, "HEAD"))
			return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD\n");
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0;
		return MHD_YES;
	}
	return route(e, c, url, state);
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode how)
{
	struct exporter *e = ctx;
	struct scrape *s = *state;

	touch(e, c);
	*state = NULL;
	if (!s || s == &no_scrape)
		return;
	if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK && s->status == MHD_HTTP_OK)
		atomic_fetch_add(&e->sent, 1);
	else
		atomic_fetch_add(&e->failed, 1);
	pthread_mutex_lock(&e->lock);
	e->open--;
	pthread_mutex_unlock(&e->lock);
	buf_done(&s->body);
	free(s);
}

static void on_log(void *ctx, const char *fmt, va_list args)
{
	char line[512];

	if (!log_enabled(LOG_DEBUG))
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	log_debug("web: %s", line);
}

/* --- start and stop --- */

static int start_daemon(struct exporter *e, const char *address)
{
	int fd = listen_open(address);
	struct MHD_Daemon *d;

	if (fd < 0)
		return fd;
	/* each connection inherits it: what the kernel holds for a client that does not read */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int));
	d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
			     on_request, e, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
			     MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
			     SILENT_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
			     MHD_OPTION_NOTIFY_COMPLETED, on_completed, e, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
			     e, MHD_OPTION_END);
	if (!d) {
		close(fd);
		return log_err_r(-ENOMEM,
				 "--web.listen-address=%s: the server cannot be started: memory or threads are short",
				 address);
	}
	e->daemons[e->n_daemons++] = d;
	return 0;
}

static int start_all(struct exporter *e)
{
	const struct str_list *list = &e->host->config->web_listen;
	int err;

	e->daemons = calloc(list->n, sizeof(struct MHD_Daemon *));
	if (!e->daemons)
		return -ENOMEM;
	err = pthread_create(&e->worker, NULL, work, e);
	if (err)
		return log_err_r(-err, "no thread for scrapes: %s", strerror(err));
	e->working = true;
	for (size_t i = 0; i < list->n; i++) {
		err = start_daemon(e, list->v[i]);
		if (err)
			return err;
	}
	return 0;
}

/*
 * The worker ends first: no connection may be suspended when its daemon stops, and behind
 * `stopping` none is suspended any more. What waits is still answered.
 */
static void prometheus_stop(struct exporter *e, uint64_t deadline_ns)
{
	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->lock);
	if (e->working)
		pthread_join(e->worker, NULL);
	for (size_t i = 0; i < e->n_daemons; i++)
		MHD_stop_daemon(e->daemons[i]);
	pthread_cond_destroy(&e->more);
	pthread_mutex_destroy(&e->lock);
	free(e->daemons);
	free(e);
}

static struct exporter *exporter_new(const struct exporter_host *host)
{
	struct exporter *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->host = host;
	e->last = &e->first;
	pthread_mutex_init(&e->lock, NULL);
	clock_cond_init(&e->more);
	return e;
}

static int prometheus_start(const struct exporter_host *host, struct exporter **ret)
{
	const struct config *c = host->config;
	struct exporter *e;
	sigset_t all, old;
	int err;

	if (!c->web_listen.n || (c->web_listen.n == 1 && !strcmp(c->web_listen.v[0], "none")))
		return 1;
	if (!c->web_path || c->web_path[0] != '/')
		return log_err_r(-EINVAL, "--web.telemetry-path=%s: a path begins with '/'", c->web_path ?: "");
	e = exporter_new(host);
	if (!e)
		return -ENOMEM;
	/* signals are for the main thread: new threads inherit that they are not */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = start_all(e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		prometheus_stop(e, 0);
		return err;
	}
	*ret = e;
	return 0;
}

static size_t prometheus_stats(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX])
{
	out[0] = (struct exporter_stats){
		.signal = "scrapes",
		.sent = atomic_load(&e->sent),
		.failed = atomic_load(&e->failed),
		.dropped = atomic_load(&e->dropped),
	};
	return 1;
}

extern const struct exporter_ops exporter_prometheus;
const struct exporter_ops exporter_prometheus = {
	.name = "prometheus",
	.start = prometheus_start,
	.stats = prometheus_stats,
	.stop = prometheus_stop,
};
