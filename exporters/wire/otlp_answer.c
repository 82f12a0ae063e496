// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP: the status decides, Retry-After says when. gRPC: the status stands in the trailers, or
 * in the head when there was nothing else to say; the pause stands in a RetryInfo
 * inside a base64 header. A success whose body is no OTLP answer (a login page with
 * status 200) is no success.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <zlib.h>

#include "exporters/wire/otlp.pb-c.h"
#include "exporters/wire/otlp_answer.h"
#include "user/base/clock.h"

#define DETAILS_MAX 8192

/* gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
static const char *const grpc_names[] = {
	"OK",	     "CANCELLED",	"UNKNOWN",	     "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
	"NOT_FOUND", "ALREADY_EXISTS",	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
	"ABORTED",   "OUT_OF_RANGE",	"UNIMPLEMENTED",     "INTERNAL",	   "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
};
enum {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15
};

void otlp_answer_clear(struct otlp_answer *a)
{
	struct buf body = a->body;

	free(a->grpc_details);
	buf_clear(&body);
	body.max = OTLP_BODY_MAX;
	*a = (struct otlp_answer){.body = body};
}

void otlp_answer_done(struct otlp_answer *a)
{
	free(a->grpc_details);
	buf_done(&a->body);
	*a = (struct otlp_answer){0};
}

static void keep(char *dst, size_t size, struct str value)
{
	size_t n = MIN(value.len, size - 1);

	memcpy(dst, value.p, n);
	dst[n] = 0;
}

/* A new head: that of an interim answer (1xx) means nothing. */
static void start_head(struct otlp_answer *a)
{
	a->content_type[0] = a->retry_after[0] = a->grpc_status[0] = a->grpc_message[0] = 0;
	free(TAKE_PTR(a->grpc_details));
}

bool otlp_answer_header(struct otlp_answer *a, struct str line)
{
	struct str name;

	a->header_bytes += line.len;
	if (a->header_bytes > OTLP_HEADERS_MAX) {
		a->too_large = true;
		return false;
	}
	while (line.len && (line.p[line.len - 1] == '\n' || line.p[line.len - 1] == '\r'))
		line.len--;
	if (str_starts_nocase(line, STR("HTTP/"))) {
		start_head(a);
		return true;
	}
	if (!str_split(&line, ':', &name) || !(line = str_trim(line)).len)
		return true;
	if (str_eq_nocase(name, STR("content-type")))
		keep(a->content_type, sizeof(a->content_type), line);
	else if (str_eq_nocase(name, STR("retry-after")))
		keep(a->retry_after, sizeof(a->retry_after), line);
	else if (str_eq_nocase(name, STR("grpc-status")))
		keep(a->grpc_status, sizeof(a->grpc_status), line);
	else if (str_eq_nocase(name, STR("grpc-message")))
		keep(a->grpc_message, sizeof(a->grpc_message), line);
	else if (str_eq_nocase(name, STR("grpc-status-details-bin")) && line.len <= DETAILS_MAX && !a->grpc_details)
		a->grpc_details = str_dup(line);
	return true;
}

bool otlp_answer_body(struct otlp_answer *a, const void *data, size_t len)
{
	if (a->body.len + len > OTLP_BODY_MAX) {
		a->too_large = true;
		return false;
	}
	buf_add(&a->body, data, len);
	return !a->body.err;
}

/* ---- pauses ---- */

static uint64_t seconds_to_wait(uint64_t seconds)
{
	return MIN(seconds, OTLP_WAIT_MAX_NS / NSEC_PER_SEC) * NSEC_PER_SEC;
}

static uint64_t retry_after(const char *value, uint64_t wall_ns)
{
	uint64_t seconds;
	time_t when, now = (time_t)(wall_ns / NSEC_PER_SEC);
	int err = str_to_u64(str_of(value), &seconds);

	if (!err)
		return seconds_to_wait(seconds);
	if (err == -ERANGE)
		return OTLP_WAIT_MAX_NS;
	when = curl_getdate(value, NULL);
	return when > now ? seconds_to_wait((uint64_t)(when - now)) : 0;
}

/* Standard or URL-safe alphabet, padded or not. Returns the number of bytes, -1 when it is no base64. */
static ssize_t base64_decode(const char *s, uint8_t *dst)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0, have = 0;
	ssize_t n = 0;

	for (; *s && *s != '='; s++) {
		const char *at = strchr(alphabet, *s == '-' ? '+' : *s == '_' ? '/' : *s);

		if (!at)
			return -1;
		bits = bits << 6 | (uint32_t)(at - alphabet);
		have += 6;
		if (have >= 8) {
			have -= 8;
			dst[n++] = (uint8_t)(bits >> have);
		}
	}
	return n;
}

static bool retry_info_delay(const ProtobufCBinaryData *value, uint64_t *ret)
{
	Sonde__Otlp__RetryInfo *r = sonde__otlp__retry_info__unpack(NULL, value->len, value->data);
	const Sonde__Otlp__Duration *d = r ? r->retry_delay : NULL;

	if (!r)
		return false;
	*ret = 0;
	if (d && d->seconds >= 0 && d->nanos >= 0)
		*ret = MIN(seconds_to_wait((uint64_t)d->seconds) + (uint64_t)d->nanos, OTLP_WAIT_MAX_NS);
	sonde__otlp__retry_info__free_unpacked(r, NULL);
	return true;
}

/* True when the details hold a RetryInfo. */
static bool find_retry_info(const char *details, uint64_t *ret_wait)
{
	static const struct str type = STR("/google.rpc.RetryInfo");
	uint8_t raw[DETAILS_MAX];
	Sonde__Otlp__RpcStatus *st;
	bool found = false;
	ssize_t n;

	n = details ? base64_decode(details, raw) : -1;
	st = n >= 0 ? sonde__otlp__rpc_status__unpack(NULL, (size_t)n, raw) : NULL;
	for (size_t i = 0; st && i < st->n_details && !found; i++) {
		struct str url = str_of(st->details[i]->type_url);

		if (url.len >= type.len && !memcmp(url.p + url.len - type.len, type.p, type.len))
			found = retry_info_delay(&st->details[i]->value, ret_wait);
	}
	if (st)
		sonde__otlp__rpc_status__free_unpacked(st, NULL);
	return found;
}

/* ---- verdicts ---- */

static void refuse(struct otlp_judgement *j, enum otlp_verdict verdict, const char *fmt, ...) __printf(3, 4);
static void refuse(struct otlp_judgement *j, enum otlp_verdict verdict, const char *fmt, ...)
{
	va_list ap;

	j->verdict = verdict;
	va_start(ap, fmt);
	vsnprintf(j->reason, sizeof(j->reason), fmt, ap);
	va_end(ap);
}

static void partial_success(struct otlp_judgement *j, int64_t rejected, const char *message)
{
	j->rejected = rejected > 0 ? (uint64_t)rejected : 0;
	snprintf(j->reason, sizeof(j->reason), "%s", message);
}

/* False: these bytes are no answer to an export. */
static bool read_success(struct otlp_judgement *j, enum otlp_signal signal, const uint8_t *data, size_t len)
{
	if (signal == OTLP_TRACES) {
		Sonde__Otlp__ExportTraceServiceResponse *r =
			sonde__otlp__export_trace_service_response__unpack(NULL, len, data);

		if (r && r->partial_success)
			partial_success(j, r->partial_success->rejected_spans, r->partial_success->error_message);
		if (r)
			sonde__otlp__export_trace_service_response__free_unpacked(r, NULL);
		return r;
	}
	Sonde__Otlp__ExportMetricsServiceResponse *r =
		sonde__otlp__export_metrics_service_response__unpack(NULL, len, data);

	if (r && r->partial_success)
		partial_success(j, r->partial_success->rejected_data_points, r->partial_success->error_message);
	if (r)
		sonde__otlp__export_metrics_service_response__free_unpacked(r, NULL);
	return r;
}

static bool type_is(const struct otlp_answer *a, const char *type)
{
	struct str rest = str_of(a->content_type), t;

	return str_split(&rest, ';', &t) && str_eq_nocase(str_trim(t), str_of(type));
}

static void judge_http_success(const struct otlp_answer *a, enum otlp_signal signal, struct otlp_judgement *j)
{
	if (a->too_large) {
		refuse(j, OTLP_REFUSED, "the answer is longer than %u bytes: no OTLP endpoint", OTLP_BODY_MAX);
		return;
	}
	/* some back ends answer in JSON or with a word: taken, but not to be read */
	if (!a->body.len || type_is(a, "application/json") || type_is(a, "text/plain"))
		return;
	if (*a->content_type && !type_is(a, "application/x-protobuf") && !type_is(a, "application/protobuf") &&
	    !type_is(a, "application/octet-stream"))
		refuse(j, OTLP_REFUSED, "answers with %s: no OTLP endpoint", a->content_type);
	else if (!read_success(j, signal, (const uint8_t *)a->body.data, a->body.len))
		refuse(j, OTLP_REFUSED, "answers with bytes that are no OTLP");
}

/* The message of a google.rpc.Status, which OTLP/HTTP sends with errors. */
static void add_rpc_message(const struct otlp_answer *a, struct otlp_judgement *j)
{
	Sonde__Otlp__RpcStatus *st;
	size_t at = strlen(j->reason);

	if (!a->body.len || !type_is(a, "application/x-protobuf"))
		return;
	st = sonde__otlp__rpc_status__unpack(NULL, a->body.len, (const uint8_t *)a->body.data);
	if (!st)
		return;
	if (*st->message)
		snprintf(j->reason + at, sizeof(j->reason) - at, ": %s", st->message);
	sonde__otlp__rpc_status__free_unpacked(st, NULL);
}

static void judge_http(const struct otlp_answer *a, enum otlp_signal signal, uint64_t wall_ns, struct otlp_judgement *j)
{
	long st = a->http_status;

	if (st >= 200 && st < 300) {
		judge_http_success(a, signal, j);
		return;
	}
	if (st == 429 || st == 502 || st == 503 || st == 504) {
		refuse(j, OTLP_RETRY, "HTTP status %ld", st);
		j->wait_ns = retry_after(a->retry_after, wall_ns);
	} else if (st >= 300 && st < 400) {
		refuse(j, OTLP_REFUSED, "HTTP status %ld; redirects are not followed, name the final URL", st);
	} else {
		refuse(j, OTLP_REFUSED, "HTTP status %ld", st);
	}
	add_rpc_message(a, j);
}

/*
 * The code in the trailers; without one, what the HTTP status stands for (gRPC, "HTTP to gRPC Status Code
 * Mapping"). A gRPC answer whose trailers never came is a connection that broke: the server was stopped.
 */
static uint64_t grpc_code(const struct otlp_answer *a)
{
	uint64_t code;

	if (*a->grpc_status)
		return str_to_u64(str_of(a->grpc_status), &code) ? GRPC_UNKNOWN : code;
	switch (a->http_status) {
	case 429:
	case 502:
	case 503:
	case 504:
		return GRPC_UNAVAILABLE;
	case 200:
		return str_starts_nocase(str_of(a->content_type), STR("application/grpc")) ? GRPC_UNAVAILABLE :
											     GRPC_UNKNOWN;
	default:
		return GRPC_UNKNOWN;
	}
}

static bool grpc_retryable(uint64_t code, bool has_retry_info)
{
	switch (code) {
	case GRPC_CANCELLED:
	case GRPC_DEADLINE_EXCEEDED:
	case GRPC_ABORTED:
	case GRPC_OUT_OF_RANGE:
	case GRPC_UNAVAILABLE:
	case GRPC_DATA_LOSS:
		return true;
	case GRPC_RESOURCE_EXHAUSTED:
		return has_retry_info;
	default:
		return false;
	}
}

/* A server answers compressed to a compressed request. False: not gzip, or longer than an answer may be. */
static bool gunzip(const uint8_t *p, size_t len, struct buf *out)
{
	z_stream z = {.next_in = (uint8_t *)p, .avail_in = (uInt)len};
	uint8_t chunk[4096];
	int rc;

	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return false;
	out->max = OTLP_BODY_MAX;
	do {
		z.next_out = chunk;
		z.avail_out = sizeof(chunk);
		rc = inflate(&z, Z_NO_FLUSH);
		buf_add(out, chunk, sizeof(chunk) - z.avail_out);
	} while (rc == Z_OK && !out->err);
	inflateEnd(&z);
	return rc == Z_STREAM_END && !out->err;
}

/* One message: compressed or not, length, bytes. */
static bool read_grpc_message(const struct otlp_answer *a, enum otlp_signal signal, struct otlp_judgement *j)
{
	const uint8_t *p = (const uint8_t *)a->body.data;
	_buf_ struct buf plain = BUF_INIT;
	size_t len;

	if (a->too_large || a->body.len < 5 || p[0] > 1)
		return false;
	len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (len != a->body.len - 5)
		return false;
	if (!p[0])
		return read_success(j, signal, p + 5, len);
	return gunzip(p + 5, len, &plain) && read_success(j, signal, (const uint8_t *)plain.data, plain.len);
}

static void judge_grpc(const struct otlp_answer *a, enum otlp_signal signal, struct otlp_judgement *j)
{
	uint64_t code = grpc_code(a), wait_ns = 0;
	bool has_info;

	if (*a->grpc_status && code == GRPC_OK) {
		if (!read_grpc_message(a, signal, j))
			refuse(j, OTLP_REFUSED, "says OK with bytes that are no OTLP");
		return;
	}
	has_info = find_retry_info(a->grpc_details, &wait_ns);
	if (!*a->grpc_status)
		refuse(j, grpc_retryable(code, has_info) ? OTLP_RETRY : OTLP_REFUSED,
		       "HTTP status %ld without a gRPC status", a->http_status);
	else
		refuse(j, grpc_retryable(code, has_info) ? OTLP_RETRY : OTLP_REFUSED, "gRPC status %llu %s%s%s",
		       (unsigned long long)code, code < ARRAY_SIZE(grpc_names) ? grpc_names[code] : "?",
		       *a->grpc_message ? ": " : "", a->grpc_message);
	j->wait_ns = wait_ns;
}

void otlp_judge(const struct otlp_answer *a, enum otlp_signal signal, bool grpc, uint64_t wall_ns,
		struct otlp_judgement *ret)
{
	*ret = (struct otlp_judgement){.verdict = OTLP_ACCEPTED};
	if (grpc)
		judge_grpc(a, signal, ret);
	else
		judge_http(a, signal, wall_ns, ret);
}
