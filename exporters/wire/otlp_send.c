// SPDX-License-Identifier: Apache-2.0
/*
 * libcurl's multi interface with a single transfer: it keeps the connection between requests and
 * can be woken from another thread, so that shutting down never waits for a far end.
 *
 * gRPC without TLS needs care: libcurl speaks HTTP/2 at once only on a connection that it
 * opens with "prior knowledge", and fails when that setting meets a connection which it
 * reuses (seen with 7.88). So this file keeps track of the socket: while it is open and
 * quiet the connection is reused, else a new one is made.
 */
#include <curl/curl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <zlib.h>

#include "exporters/wire/otlp_send.h"
#include "user/base/clock.h"
#include "user/base/hmap.h"
#include "user/base/log.h"

#define SOCKETS_MAX	  8
#define REUSE_MAX_NS	  (100 * NSEC_PER_SEC) /* below CURLOPT_MAXAGE_CONN's default, 118 s */
#define BACKOFF_DOUBLINGS 4
#define POLL_MAX_MS	  60000

static const struct {
	const char *name, *path, *service;
} signals[] = {
	[OTLP_TRACES] = {"traces", "/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"},
	[OTLP_METRICS] = {"metrics", "/v1/metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"},
};

struct otlp_sender {
	enum otlp_signal signal;
	bool grpc, tls, gzip;
	char *url, *shown;
	struct curl_slist *headers; /* all but grpc-timeout */
	uint64_t timeout_ns, backoff_ns;
	CURLM *multi;
	CURL *easy;
	char curl_error[CURL_ERROR_SIZE];

	z_stream deflate;
	bool deflate_ready;
	struct buf packed; /* as it goes out */
	struct otlp_answer answer;

	int sockets[SOCKETS_MAX]; /* that libcurl has open; -1: free */
	uint64_t idle_since_ns;	  /* the last exchange ended in order; 0: it did not */
	uint64_t not_before_ns;	  /* the endpoint asked for a pause */
	_Atomic uint64_t stop_ns; /* UINT64_MAX: not stopping */

	uint64_t failed_attempts; /* in a row */
	bool down;
	struct otlp_sender_stats stats;
};

const char *otlp_signal_name(enum otlp_signal signal)
{
	return signals[signal].name;
}

/* ---- URLs ---- */

static int set_path(CURLU *u, enum otlp_signal signal, bool grpc)
{
	char path[2048], *old = NULL;
	size_t len;

	if (grpc) {
		if (curl_url_set(u, CURLUPART_QUERY, NULL, 0))
			return -ENOMEM;
		return curl_url_set(u, CURLUPART_PATH, signals[signal].service, 0) ? -ENOMEM : 0;
	}
	if (curl_url_get(u, CURLUPART_PATH, &old, 0))
		return -ENOMEM;
	len = strlen(old);
	while (len && old[len - 1] == '/')
		len--;
	len = (size_t)snprintf(path, sizeof(path), "%.*s%s", (int)len, old, signals[signal].path);
	curl_free(old);
	if (len >= sizeof(path))
		return -EINVAL;
	return curl_url_set(u, CURLUPART_PATH, path, 0) ? -ENOMEM : 0;
}

static bool scheme_is_http(CURLU *u)
{
	char *scheme = NULL;
	bool ok;

	if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0))
		return false;
	ok = !strcmp(scheme, "http") || !strcmp(scheme, "https");
	curl_free(scheme);
	return ok;
}

static int url_text(CURLU *u, char **ret)
{
	char *text = NULL, *copy;

	if (curl_url_get(u, CURLUPART_URL, &text, 0))
		return -EINVAL;
	copy = strdup(text);
	curl_free(text);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

int otlp_url(const char *endpoint, enum otlp_signal signal, bool grpc, bool general, char **ret_url)
{
	CURLU *u = curl_url();
	char full[2048];
	int err = -EINVAL;

	if (!u)
		return -ENOMEM;
	if (snprintf(full, sizeof(full), "%s%s", strstr(endpoint, "://") ? "" : "http://", endpoint) <
		    (int)sizeof(full) &&
	    !curl_url_set(u, CURLUPART_URL, full, 0) && scheme_is_http(u)) {
		curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
		err = grpc || general ? set_path(u, signal, grpc) : 0;
		if (!err)
			err = url_text(u, ret_url);
	}
	curl_url_cleanup(u);
	return err;
}

char *otlp_url_shown(const char *url)
{
	CURLU *u = curl_url();
	char *shown = NULL;

	if (!u)
		return NULL;
	if (curl_url_set(u, CURLUPART_URL, url, 0) || curl_url_set(u, CURLUPART_USER, NULL, 0) ||
	    curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) || curl_url_set(u, CURLUPART_QUERY, NULL, 0) ||
	    url_text(u, &shown))
		shown = NULL;
	curl_url_cleanup(u);
	return shown;
}

/* ---- set-up ---- */

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	struct otlp_sender *s = ctx;

	return otlp_answer_header(&s->answer, (struct str){data, size * n}) ? size * n : 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct otlp_sender *s = ctx;

	return otlp_answer_body(&s->answer, data, size * n) ? size * n : 0;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct otlp_sender *s = ctx;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);

	for (size_t i = 0; fd >= 0 && i < SOCKETS_MAX; i++) {
		if (s->sockets[i] < 0) {
			s->sockets[i] = fd;
			break;
		}
	}
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int on_close(void *ctx, curl_socket_t fd)
{
	struct otlp_sender *s = ctx;

	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		if (s->sockets[i] == fd)
			s->sockets[i] = -1;
	}
	return close(fd);
}

static bool header_text_ok(const char *s, bool name)
{
	if (name && !*s)
		return false;
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == 0x7f || (c < 0x20 && c != '\t') || (name && (c <= 0x20 || c >= 0x7f || c == ':' || c == ';')))
			return false;
	}
	return true;
}

static int add_header(struct curl_slist **list, const char *name, const char *value)
{
	_buf_ struct buf b = BUF_INIT;
	struct curl_slist *more;

	/* libcurl's way to send a header without a value ends in ';' */
	buf_printf(&b, *value ? "%s: %s" : "%s;", name, value);
	more = b.err ? NULL : curl_slist_append(*list, b.data);
	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

/* The headers that the protocol needs; a user's header of the same name is not sent twice. */
static int own_headers(struct otlp_sender *s)
{
	static const struct {
		const char *name, *value;
		bool http, grpc, gzip;
	} own[] = {
		{"Content-Type", "application/x-protobuf", true, false, false},
		{"Content-Encoding", "gzip", true, false, true},
		{"Content-Type", "application/grpc", false, true, false},
		{"TE", "trailers", false, true, false},
		{"grpc-encoding", "gzip", false, true, true},
	};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(own); i++) {
		if ((s->grpc ? own[i].grpc : own[i].http) && (!own[i].gzip || s->gzip))
			err = add_header(&s->headers, own[i].name, own[i].value);
	}
	/* no pause for "100 Continue" in front of a large body */
	if (!err) {
		struct curl_slist *more = curl_slist_append(s->headers, "Expect:");

		s->headers = more ?: s->headers;
		err = more ? 0 : -ENOMEM;
	}
	return err;
}

static bool reserved_header(const char *name)
{
	static const char *const reserved[] = {"content-type",	"content-encoding", "content-length",	"te", "expect",
					       "grpc-encoding", "grpc-timeout",	    "transfer-encoding"};

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
		if (str_eq_nocase(str_of(name), str_of(reserved[i])))
			return true;
	}
	return false;
}

static int user_headers(struct otlp_sender *s, const struct kv_list *l)
{
	int err = own_headers(s);

	for (size_t i = 0; !err && l && i < l->n; i++) {
		/* the value may be a secret: never logged */
		if (!header_text_ok(l->v[i].key, true) || !header_text_ok(l->v[i].value, false))
			return log_err_r(-EINVAL,
					 "OTLP %s: header %s cannot be sent: its name or value has a character "
					 "that HTTP forbids",
					 signals[s->signal].name, l->v[i].key);
		if (reserved_header(l->v[i].key))
			log_warn("OTLP %s: header %s is set by the protocol and ignored", signals[s->signal].name,
				 l->v[i].key);
		else
			err = add_header(&s->headers, l->v[i].key, l->v[i].value);
	}
	return err;
}

static void set_file(CURL *c, CURLoption option, const char *file)
{
	if (file && *file)
		curl_easy_setopt(c, option, file);
}

static int setup_curl(struct otlp_sender *s, const struct otlp_target *t)
{
	CURL *c = s->easy = curl_easy_init();
	char agent[64];

	s->multi = curl_multi_init();
	if (!c || !s->multi)
		return -ENOMEM;
	curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, 1L);
	snprintf(agent, sizeof(agent), "OTel-OTLP-Exporter-sonde/%s", t->version);
	curl_easy_setopt(c, CURLOPT_USERAGENT, agent);
	if (curl_easy_setopt(c, CURLOPT_URL, s->url))
		return -ENOMEM;
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a resolver that hangs */
#endif
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, s->curl_error);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, s);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, s);
	curl_easy_setopt(c, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(c, CURLOPT_CLOSESOCKETDATA, s);
	set_file(c, CURLOPT_CAINFO, t->ca);
	set_file(c, CURLOPT_SSLCERT, t->cert);
	set_file(c, CURLOPT_SSLKEY, t->key);
	return 0;
}

static int sender_init(struct otlp_sender *s, const struct otlp_target *t)
{
	int err;

	*s = (struct otlp_sender){
		.signal = t->signal,
		.grpc = t->grpc,
		.gzip = t->gzip,
		.tls = !strncmp(t->url, "https:", 6),
		.timeout_ns = t->timeout_ns,
		.backoff_ns = t->backoff_ns ?: NSEC_PER_SEC,
		.url = strdup(t->url),
		.shown = otlp_url_shown(t->url),
		.stop_ns = UINT64_MAX,
	};
	for (size_t i = 0; i < SOCKETS_MAX; i++)
		s->sockets[i] = -1;
	if (!s->url || !s->shown)
		return -ENOMEM;
	err = user_headers(s, t->headers);
	if (err)
		return err;
	if (t->gzip && deflateInit2(&s->deflate, 5, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	s->deflate_ready = t->gzip;
	return setup_curl(s, t);
}

struct otlp_sender *otlp_sender_new(const struct otlp_target *t)
{
	struct otlp_sender *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return NULL;
	err = sender_init(s, t);
	if (err) {
		otlp_sender_free(s);
		errno = -err;
		return NULL;
	}
	return s;
}

void otlp_sender_free(struct otlp_sender *s)
{
	if (!s)
		return;
	if (s->easy)
		curl_easy_cleanup(s->easy);
	if (s->multi)
		curl_multi_cleanup(s->multi);
	curl_slist_free_all(s->headers);
	if (s->deflate_ready)
		deflateEnd(&s->deflate);
	buf_done(&s->packed);
	otlp_answer_done(&s->answer);
	free(s->url);
	free(s->shown);
	free(s);
}

void otlp_sender_stop(struct otlp_sender *s, uint64_t deadline_ns)
{
	atomic_store(&s->stop_ns, deadline_ns);
	curl_multi_wakeup(s->multi);
}

struct otlp_sender_stats otlp_sender_stats(const struct otlp_sender *s)
{
	return s->stats;
}

/* ---- the bytes ---- */

static int add_gzip(struct otlp_sender *s, const struct buf *body)
{
	z_stream *z = &s->deflate;
	uint8_t chunk[16384];
	int rc;

	if (deflateReset(z) != Z_OK)
		return -EINVAL;
	z->next_in = (uint8_t *)body->data;
	z->avail_in = (uInt)body->len;
	do {
		z->next_out = chunk;
		z->avail_out = sizeof(chunk);
		rc = deflate(z, Z_FINISH);
		buf_add(&s->packed, chunk, sizeof(chunk) - z->avail_out);
	} while (rc == Z_OK);
	return rc == Z_STREAM_END ? s->packed.err : -EINVAL;
}

/* gRPC puts one byte (compressed?) and a length in front of a message. */
static int pack(struct otlp_sender *s, const struct buf *body)
{
	size_t len, prefix = s->grpc ? 5 : 0;
	int err = 0;

	buf_clear(&s->packed);
	buf_add(&s->packed, "\0\0\0\0\0", prefix);
	if (s->gzip)
		err = add_gzip(s, body);
	else
		buf_add(&s->packed, body->data, body->len);
	if (err || s->packed.err)
		return err ?: s->packed.err;
	len = s->packed.len - prefix;
	if (s->grpc) {
		s->packed.data[0] = s->gzip;
		for (int i = 0; i < 4; i++)
			s->packed.data[1 + i] = (char)(len >> (24 - 8 * i));
	}
	return 0;
}

/* ---- one attempt ---- */

/* The one connection is open, and the far end has not sent anything (a farewell) since the last answer. */
static bool connection_is_usable(const struct otlp_sender *s, uint64_t now)
{
	struct pollfd p = {.fd = -1, .events = POLLIN | POLLRDHUP};

	if (!s->idle_since_ns || now - s->idle_since_ns > REUSE_MAX_NS)
		return false;
	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		if (s->sockets[i] >= 0 && p.fd >= 0)
			return false;
		if (s->sockets[i] >= 0)
			p.fd = s->sockets[i];
	}
	return p.fd >= 0 && !poll(&p, 1, 0);
}

static void choose_version(struct otlp_sender *s, bool reuse)
{
	long version = CURL_HTTP_VERSION_1_1;

	if (s->tls)
		version = CURL_HTTP_VERSION_2TLS;
	else if (s->grpc)
		version = reuse ? CURL_HTTP_VERSION_2_0 : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
	curl_easy_setopt(s->easy, CURLOPT_HTTP_VERSION, version);
	curl_easy_setopt(s->easy, CURLOPT_FRESH_CONNECT, s->grpc && !s->tls && !reuse ? 1L : 0L);
}

static int poll_ms(uint64_t now, uint64_t until)
{
	uint64_t ms = until > now ? (until - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC : 0;

	return (int)MIN(ms, (uint64_t)POLL_MAX_MS);
}

/* Runs the transfer until it is over or `until_ns`, or the shut-down's deadline, has come. */
static CURLcode run(struct otlp_sender *s, uint64_t until_ns)
{
	CURLcode code = CURLE_OPERATION_TIMEDOUT;
	int running, left;
	CURLMsg *msg;

	if (curl_multi_add_handle(s->multi, s->easy))
		return CURLE_FAILED_INIT;
	for (;;) {
		uint64_t now, limit;

		if (curl_multi_perform(s->multi, &running)) {
			code = CURLE_FAILED_INIT;
			break;
		}
		if ((msg = curl_multi_info_read(s->multi, &left)) && msg->msg == CURLMSG_DONE) {
			code = msg->data.result;
			break;
		}
		now = clock_mono_ns();
		limit = MIN(until_ns, atomic_load(&s->stop_ns));
		if (now >= limit) {
			snprintf(s->curl_error, sizeof(s->curl_error), "no answer in time");
			break;
		}
		curl_multi_poll(s->multi, NULL, 0, poll_ms(now, limit), NULL);
	}
	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &s->answer.http_status);
	curl_multi_remove_handle(s->multi, s->easy);
	return code;
}

/* "grpc-timeout: 1000m", at most eight digits; without a limit worth telling, no header. */
static bool timeout_header(uint64_t now, uint64_t until_ns, char text[48])
{
	uint64_t ms = until_ns > now ? (until_ns - now) / NSEC_PER_MSEC : 0;

	snprintf(text, 48, "grpc-timeout: %llum", (unsigned long long)MAX(ms, 1ULL));
	return ms <= 99999999;
}

static CURLcode exchange(struct otlp_sender *s, uint64_t until_ns, bool reuse, long *ret_connects)
{
	struct curl_slist timeout = {.next = s->headers};
	char text[48];
	CURLcode code;

	otlp_answer_clear(&s->answer);
	s->curl_error[0] = 0;
	choose_version(s, reuse);
	timeout.data = text;
	curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER,
			 s->grpc && timeout_header(clock_mono_ns(), until_ns, text) ? &timeout : s->headers);
	curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)s->packed.len);
	curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, s->packed.data);
	code = run(s, until_ns);
	curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers); /* `timeout` ends here */
	curl_easy_getinfo(s->easy, CURLINFO_NUM_CONNECTS, ret_connects);
	s->stats.connections += (uint64_t)*ret_connects;
	s->idle_since_ns = code ? 0 : clock_mono_ns();
	return code;
}

/* Failures of the way, not of the far end's mind: they may pass. */
static bool may_pass(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_SSL_CONNECT_ERROR:
		return true;
	default:
		return false;
	}
}

/* False: there is no answer. */
static bool judge_transfer(struct otlp_sender *s, CURLcode code, struct otlp_judgement *j)
{
	bool answered = !code || (s->answer.too_large && s->answer.http_status);

	if (answered) {
		otlp_judge(&s->answer, s->signal, s->grpc, clock_wall_ns(), j);
		return true;
	}
	*j = (struct otlp_judgement){.verdict = may_pass(code) ? OTLP_RETRY : OTLP_REFUSED};
	snprintf(j->reason, sizeof(j->reason), "%s", *s->curl_error ? s->curl_error : curl_easy_strerror(code));
	return false;
}

/* Returns whether the endpoint answered at all. */
static bool attempt(struct otlp_sender *s, uint64_t until_ns, struct otlp_judgement *j)
{
	bool h2c = s->grpc && !s->tls, reuse = h2c && connection_is_usable(s, clock_mono_ns());
	long connects = 0;
	CURLcode code;

	s->stats.attempts++;
	code = exchange(s, until_ns, reuse, &connects);
	/* The connection went away at the last moment, and what libcurl opened instead began with HTTP/1. */
	if (reuse && connects && !*s->answer.grpc_status)
		code = exchange(s, until_ns, false, &connects);
	return judge_transfer(s, code, j);
}

/* ---- policy ---- */

static void mark_down(struct otlp_sender *s, const char *reason)
{
	if (s->down)
		return;
	s->down = true;
	log_warn("OTLP %s: %s does not take them: %s", signals[s->signal].name, s->shown, reason);
}

static void note_failure(struct otlp_sender *s, const char *reason)
{
	s->failed_attempts++;
	log_debug("OTLP %s: attempt failed: %s", signals[s->signal].name, reason);
	/* one failure that the next attempt makes good is not worth a line */
	if (s->failed_attempts >= 2)
		mark_down(s, reason);
}

static void note_success(struct otlp_sender *s)
{
	if (s->down)
		log_info("OTLP %s: %s takes them again, after %llu failed attempts", signals[s->signal].name, s->shown,
			 (unsigned long long)s->failed_attempts);
	s->down = false;
	s->failed_attempts = 0;
}

static void note_partial(struct otlp_sender *s, const struct otlp_judgement *j)
{
	if (j->rejected)
		log_warn_limited("OTLP %s: %s rejected %llu items of a request: %.200s", signals[s->signal].name,
				 s->shown, (unsigned long long)j->rejected, j->reason);
	else if (*j->reason)
		log_warn_limited("OTLP %s: %s warns: %.200s", signals[s->signal].name, s->shown, j->reason);
}

/* Exponential, and never in step with others: between half and one and a half of it. */
static uint64_t backoff(const struct otlp_sender *s, unsigned int failures)
{
	uint64_t base = s->backoff_ns << MIN(failures - 1, (unsigned int)BACKOFF_DOUBLINGS);

	return base / 2 + hash_u64(clock_mono_ns()) % base;
}

/* False: the deadline is earlier. */
static bool pause_until(struct otlp_sender *s, uint64_t until_ns, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t now = clock_mono_ns(), limit = MIN(deadline_ns, atomic_load(&s->stop_ns));

		if (now >= limit || until_ns >= limit)
			return false;
		if (now >= until_ns)
			return true;
		curl_multi_poll(s->multi, NULL, 0, poll_ms(now, until_ns), NULL);
	}
}

static uint64_t attempt_limit(const struct otlp_sender *s, uint64_t deadline_ns)
{
	uint64_t limit;

	if (!s->timeout_ns || __builtin_add_overflow(clock_mono_ns(), s->timeout_ns, &limit))
		return deadline_ns;
	return MIN(limit, deadline_ns);
}

/* After a failure that may pass: true when there is to be another attempt, which is then due. */
static bool wait_for_next(struct otlp_sender *s, const struct otlp_judgement *j, bool answered, unsigned int failures,
			  uint64_t deadline_ns)
{
	uint64_t pause = j->wait_ns ?: backoff(s, failures);
	bool stopping = atomic_load(&s->stop_ns) != UINT64_MAX;

	if (j->wait_ns)
		s->not_before_ns = clock_mono_ns() + j->wait_ns;
	if (stopping && !answered)
		return false;
	return pause_until(s, clock_mono_ns() + pause, deadline_ns);
}

/* A pause that the endpoint asked for earlier; the request waits it out as far as its deadline allows. */
static bool wait_for_turn(struct otlp_sender *s, uint64_t deadline_ns)
{
	if (clock_mono_ns() >= s->not_before_ns)
		return true;
	if (pause_until(s, s->not_before_ns, deadline_ns))
		return true;
	/* so long a pause: hold the queue for as long as this request may take, and no longer */
	pause_until(s, deadline_ns - 1, deadline_ns);
	return false;
}

int otlp_send(struct otlp_sender *s, const struct buf *body, uint64_t deadline_ns, uint64_t *ret_rejected)
{
	int err = pack(s, body);

	if (err)
		return err;
	if (!wait_for_turn(s, deadline_ns))
		return -ETIMEDOUT;
	for (unsigned int failures = 1;; failures++) {
		struct otlp_judgement j;
		bool answered = attempt(s, attempt_limit(s, deadline_ns), &j);

		if (j.verdict == OTLP_ACCEPTED) {
			note_success(s);
			note_partial(s, &j);
			*ret_rejected = j.rejected;
			return 0;
		}
		note_failure(s, j.reason);
		if (j.verdict == OTLP_REFUSED) {
			mark_down(s, j.reason);
			return -EREMOTEIO;
		}
		if (!wait_for_next(s, &j, answered, failures, deadline_ns)) {
			mark_down(s, j.reason);
			return -ETIMEDOUT;
		}
	}
}
