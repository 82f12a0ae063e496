/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /metrics over libmicrohttpd: a fixed pool of its threads per address, so that a slow reader
 * costs a connection of a limited number and never another scrape. The snapshot is asked for
 * by the thread that serves the scrape; capture goes on.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <microhttpd.h>
#include <zlib.h>

#include "exporters/exporter.h"
#include "exporters/wire/prom_text.h"
#include "user/base/log.h"

#define CONNECTIONS_MAX 64
#define CONNECTION_MEMORY (32 << 10)
#define CONNECTION_SECONDS 10
#define TEXT_MAX (256u << 20)

struct exporter {
	const struct exporter_host *host;
	struct MHD_Daemon **daemons;
	size_t n_daemons;
	atomic_int in_flight;
	atomic_ullong sent, failed, refused;
};

/* --- content negotiation (RFC 9110, section 12.5) --- */

/* The weight of a media range or coding, in thousandths. */
static int weight_of(struct str params)
{
	struct str p;

	while (str_split(&params, ';', &p)) {
		p = str_trim(p);
		if (p.len >= 3 && (p.p[0] | 0x20) == 'q' && p.p[1] == '=') {
			char number[8] = "";

			memcpy(number, p.p + 2, MIN(p.len - 2, sizeof(number) - 1));
			return (int)(strtod(number, NULL) * 1000 + 0.5);
		}
	}
	return 1000;
}

static bool has_param(struct str params, const char *want)
{
	struct str p;

	while (str_split(&params, ';', &p))
		if (str_eq_nocase(str_trim(p), str_of(want)))
			return true;
	return false;
}

static enum prom_format choose_format(const char *accept)
{
	struct str rest = str_of(accept), range;
	int text = -1, open = -1, any = -1;

	while (str_split(&rest, ',', &range)) {
		struct str type, params = range;
		int q;

		str_split(&params, ';', &type);
		type = str_trim(type);
		q = weight_of(params);
		if (str_eq_nocase(type, STR("application/openmetrics-text"))) {
			/* without a version any will do; 0.0.1 is what 1.0.0 became */
			if (!memmem(params.p ?: "", params.len, "version", 7) || has_param(params, "version=1.0.0"))
				open = MAX(open, q);
		} else if (str_eq_nocase(type, STR("text/plain")) || str_eq_nocase(type, STR("text/*"))) {
			text = MAX(text, q);
		} else if (str_eq_nocase(type, STR("*/*"))) {
			any = MAX(any, q);
		}
	}
	if (text < 0)
		text = any;
	return open > 0 && open >= text ? PROM_OPENMETRICS : PROM_TEXT;
}

static bool wants_gzip(const char *accept)
{
	struct str rest = str_of(accept), coding;
	int gzip = -1, any = -1;

	while (str_split(&rest, ',', &coding)) {
		struct str name, params = coding;

		str_split(&params, ';', &name);
		name = str_trim(name);
		if (str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip")))
			gzip = weight_of(params);
		else if (str_is(name, "*"))
			any = weight_of(params);
	}
	return (gzip >= 0 ? gzip : any) > 0;
}

static int gzip(const struct buf *in, struct buf *out)
{
	z_stream z = { .next_in = (Bytef *)in->data, .avail_in = in->len };
	size_t bound;
	char *room;
	int err;

	if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	bound = deflateBound(&z, in->len);
	room = malloc(bound);
	if (!room) {
		deflateEnd(&z);
		return -ENOMEM;
	}
	z.next_out = (Bytef *)room;
	z.avail_out = bound;
	err = deflate(&z, Z_FINISH) == Z_STREAM_END ? 0 : -EIO;
	if (!err)
		*out = (struct buf){ .data = room, .len = z.total_out, .cap = bound };
	else
		free(room);
	deflateEnd(&z);
	return err;
}

/* --- answers --- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, struct buf *body, bool gzipped)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(body->len, body->data, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result ret;

	if (!r) {
		buf_done(body);
		return MHD_NO;
	}
	*body = BUF_INIT; /* the response frees it */
	MHD_add_response_header(r, "Content-Type", type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	if (gzipped)
		MHD_add_response_header(r, "Content-Encoding", "gzip");
	ret = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return ret;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status, const char *type, const char *text)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, text);
	return answer(c, status, type, &b, false);
}

static const char *header(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name) ?: "";
}

static enum MHD_Result scrape(struct exporter *e, struct MHD_Connection *c)
{
	enum prom_format format = choose_format(header(c, "Accept"));
	struct snapshot *s = e->host->snapshot(e->host->ctx);
	struct buf text = { .max = TEXT_MAX }, packed = BUF_INIT;

	if (!s) {
		atomic_fetch_add(&e->failed, 1);
		return answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", "no snapshot within a second: sonde is overloaded\n");
	}
	prom_text_write(&text, s, e->host->self, format);
	snapshot_unref(s);
	if (text.err) {
		buf_done(&text);
		atomic_fetch_add(&e->failed, 1);
		return answer_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "out of memory\n");
	}
	atomic_fetch_add(&e->sent, 1);
	if (wants_gzip(header(c, "Accept-Encoding")) && !gzip(&text, &packed)) {
		buf_done(&text);
		return answer(c, MHD_HTTP_OK, prom_content_type(format), &packed, true);
	}
	return answer(c, MHD_HTTP_OK, prom_content_type(format), &text, false);
}

static enum MHD_Result bounded_scrape(struct exporter *e, struct MHD_Connection *c)
{
	enum MHD_Result ret;

	if (atomic_fetch_add(&e->in_flight, 1) >= e->host->config->web_max_requests) {
		atomic_fetch_add(&e->refused, 1);
		ret = answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8",
				  "too many scrapes at the same time (--web.max-requests)\n");
	} else {
		ret = scrape(e, c);
	}
	atomic_fetch_sub(&e->in_flight, 1);
	return ret;
}

static enum MHD_Result landing(struct exporter *e, struct MHD_Connection *c)
{
	struct buf b = BUF_INIT;

	buf_printf(&b, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>sonde</title>"
		       "<style>body{font:16px/1.5 system-ui,sans-serif;margin:3em auto;max-width:40em;padding:0 1em}</style>"
		       "<h1>sonde %s</h1><p>Every call that the programs of this machine serve and send.</p><ul>"
		       "<li><a href=\"%s\">Metrics</a></li><li><a href=\"/healthz\">Health</a></li>"
		       "<li><a href=\"/readyz\">Readiness</a>: %s</li></ul>",
		   e->host->version, e->host->config->web_path,
		   e->host->ready(e->host->ctx) ? "capture is attached" : "capture is not attached yet");
	return answer(c, MHD_HTTP_OK, "text/html; charset=utf-8", &b, false);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_size, void **state)
{
	static int seen;
	struct exporter *e = ctx;
	const char *plain = "text/plain; charset=utf-8";

	if (!*state) {
		/* the first call has the head only; a body is read and thrown away */
		*state = &seen;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0;
		return MHD_YES;
	}
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, plain, "GET or HEAD\n");
	if (!strcmp(url, e->host->config->web_path))
		return bounded_scrape(e, c);
	if (!strcmp(url, "/healthz"))
		return answer_text(c, MHD_HTTP_OK, plain, "ok\n");
	if (!strcmp(url, "/readyz")) {
		bool ready = e->host->ready(e->host->ctx);

		return answer_text(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, plain,
				   ready ? "ok\n" : "capture is not attached yet\n");
	}
	if (!strcmp(url, "/"))
		return landing(e, c);
	return answer_text(c, MHD_HTTP_NOT_FOUND, plain, "not found\n");
}

/* --- listening --- */

/* "host:port", "[::1]:port" or ":port"; copies the host ("" for all). */
static int split_address(const char *text, char host[256], char port[16])
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (!colon || strlen(colon + 1) >= 16 || len >= 256)
		return -EINVAL;
	strcpy(port, colon + 1);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	memcpy(host, text, len);
	host[len] = 0;
	return 0;
}

static int open_socket(const struct addrinfo *a, bool both)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, off = 0, err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, both ? &off : &on, sizeof(on));
	if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, 64))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static int listen_on(const char *text)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list = NULL;
	char host[256], port[16];
	int fd = -EADDRNOTAVAIL, err;

	if (split_address(text, host, port))
		return log_err_r(-EINVAL, "--web.listen-address=%s: give ADDRESS:PORT", text);
	if (!*host)
		hints.ai_family = AF_INET6;
	err = getaddrinfo(*host ? host : NULL, port, &hints, &list);
	if (err)
		return log_err_r(-EADDRNOTAVAIL, "--web.listen-address=%s: %s: give an address of this machine", text, gai_strerror(err));
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = open_socket(a, !*host);
	freeaddrinfo(list);
	if (fd == -EAFNOSUPPORT && !*host) {
		char v4[32];

		snprintf(v4, sizeof(v4), "0.0.0.0:%s", port);
		return listen_on(v4); /* a kernel without IPv6 */
	}
	if (fd == -EADDRINUSE)
		log_err("--web.listen-address=%s: the port is taken by another program: stop it, or choose another port", text);
	else if (fd < 0)
		log_err("--web.listen-address=%s: %s", text, strerror(-fd));
	return fd;
}

static void mhd_log(void *ctx, const char *fmt, va_list args)
{
	char line[512];

	if (!log_enabled(LOG_DEBUG))
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	log_debug("http server: %s", line);
}

static int start_daemon(struct exporter *e, int fd)
{
	/* a pool needs two threads; each serves its connections in turn and waits for none of them */
	struct MHD_Daemon *d = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, e,
		MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, 2u,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_SECONDS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);

	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	e->daemons[e->n_daemons++] = d;
	return 0;
}

static void prometheus_stop(struct exporter *e, uint64_t deadline_ns)
{
	for (size_t i = 0; i < e->n_daemons; i++)
		MHD_stop_daemon(e->daemons[i]);
	free(e->daemons);
	free(e);
}

static int prometheus_start(const struct exporter_host *host, struct exporter **ret)
{
	const struct str_list *list = &host->config->web_listen;
	struct exporter *e;

	if (!list->n || (list->n == 1 && !strcmp(list->v[0], "none")))
		return 1;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->host = host;
	e->daemons = calloc(list->n, sizeof(*e->daemons));
	for (size_t i = 0; e->daemons && i < list->n; i++) {
		int fd = listen_on(list->v[i]), err = fd < 0 ? fd : start_daemon(e, fd);

		if (err) {
			prometheus_stop(e, 0);
			return err;
		}
	}
	*ret = e;
	return 0;
}

static size_t prometheus_stats(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX])
{
	out[0] = (struct exporter_stats){
		.signal = "scrapes", .sent = atomic_load(&e->sent), .failed = atomic_load(&e->failed), .dropped = atomic_load(&e->refused),
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
