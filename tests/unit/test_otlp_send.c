// SPDX-License-Identifier: Apache-2.0
/* OTLP transport: what answers mean, when to try again, bounds. gRPC over a real server: tests/e2e/collector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <zlib.h>

#include "exporters/wire/otlp.pb-c.h"
#include "exporters/wire/otlp_send.h"
#include "tests/unit/otlp_fake.h"
#include "user/base/clock.h"
#include "user/base/log.h"

#define WALL (1795256872ULL * NSEC_PER_SEC) /* Sat, 21 Nov 2026 10:27:52 GMT */
#define SEC  NSEC_PER_SEC

/* ---- meaning of answers ---- */

static struct otlp_judgement judge(bool grpc, long status, const char *const *headers, const void *body, size_t len)
{
	struct otlp_answer a = {.http_status = status};
	struct otlp_judgement j;

	otlp_answer_clear(&a);
	a.http_status = status;
	for (; headers && *headers; headers++)
		assert_true(otlp_answer_header(&a, str_of(*headers)));
	assert_true(otlp_answer_body(&a, body, len));
	otlp_judge(&a, OTLP_TRACES, grpc, WALL, &j);
	otlp_answer_done(&a);
	return j;
}

#define H(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_http_statuses(void **state)
{
	static const struct {
		long status;
		enum otlp_verdict want;
	} cases[] = {
		{200, OTLP_ACCEPTED}, {202, OTLP_ACCEPTED}, {204, OTLP_ACCEPTED}, {301, OTLP_REFUSED},
		{307, OTLP_REFUSED},  {400, OTLP_REFUSED},  {401, OTLP_REFUSED},  {404, OTLP_REFUSED},
		{413, OTLP_REFUSED},  {429, OTLP_RETRY},    {500, OTLP_REFUSED},  {501, OTLP_REFUSED},
		{502, OTLP_RETRY},    {503, OTLP_RETRY},    {504, OTLP_RETRY},	  {999, OTLP_REFUSED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(judge(false, cases[i].status, NULL, NULL, 0).verdict, cases[i].want);
}

static void test_retry_after(void **state)
{
	assert_int_equal(judge(false, 429, H("Retry-After: 7\r\n"), NULL, 0).wait_ns, 7 * SEC);
	assert_int_equal(judge(false, 503, H("retry-after:Sat, 21 Nov 2026 10:28:02 GMT"), NULL, 0).wait_ns, 10 * SEC);
	assert_int_equal(judge(false, 503, H("Retry-After: Sat, 21 Nov 2020 10:28:02 GMT"), NULL, 0).wait_ns, 0);
	assert_int_equal(judge(false, 503, H("Retry-After: soon"), NULL, 0).wait_ns, 0);
	assert_int_equal(judge(false, 503, H("Retry-After: -1"), NULL, 0).wait_ns, 0);
	assert_int_equal(judge(false, 503, H("Retry-After: 99999999999999999999999"), NULL, 0).wait_ns,
			 OTLP_WAIT_MAX_NS);
	assert_int_equal(judge(false, 503, H("Retry-After: 86400"), NULL, 0).wait_ns, OTLP_WAIT_MAX_NS);
	/* what an interim answer said does not count */
	assert_int_equal(judge(false, 503, H("HTTP/1.1 103 x", "Retry-After: 7", "HTTP/1.1 503 x"), NULL, 0).wait_ns,
			 0);
}

static size_t partial(uint8_t *dst, int64_t rejected, const char *message)
{
	Sonde__Otlp__ExportTraceServiceResponse r = SONDE__OTLP__EXPORT_TRACE_SERVICE_RESPONSE__INIT;
	Sonde__Otlp__ExportTracePartialSuccess p = SONDE__OTLP__EXPORT_TRACE_PARTIAL_SUCCESS__INIT;

	r.partial_success = &p;
	p.rejected_spans = rejected;
	p.error_message = (char *)message;
	return sonde__otlp__export_trace_service_response__pack(&r, dst);
}

static void test_http_bodies(void **state)
{
	const char *pb = "Content-Type: application/x-protobuf; v=1";
	struct otlp_judgement j;
	uint8_t body[256];
	size_t n = partial(body, 3, "no");

	j = judge(false, 200, H(pb), body, n);
	assert_int_equal(j.verdict, OTLP_ACCEPTED);
	assert_int_equal(j.rejected, 3);
	assert_string_equal(j.reason, "no");
	n = partial(body, -1, "");
	assert_int_equal(judge(false, 200, H(pb), body, n).rejected, 0);
	assert_int_equal(judge(false, 200, H(pb), NULL, 0).verdict, OTLP_ACCEPTED);
	assert_int_equal(judge(false, 200, H(pb), "\xff\xff\xff", 3).verdict, OTLP_REFUSED);
	assert_int_equal(judge(false, 200, H("Content-Type: application/json"), "{}", 2).verdict, OTLP_ACCEPTED);
	assert_int_equal(judge(false, 200, H("Content-Type: text/html"), "<html>", 6).verdict, OTLP_REFUSED);
}

static void test_http_error_message(void **state)
{
	Sonde__Otlp__RpcStatus st = SONDE__OTLP__RPC_STATUS__INIT;
	uint8_t body[64];
	size_t n;

	st.message = (char *)"quota";
	n = sonde__otlp__rpc_status__pack(&st, body);
	assert_string_equal(judge(false, 400, H("Content-Type: application/x-protobuf"), body, n).reason,
			    "HTTP status 400: quota");
	assert_string_equal(judge(false, 400, H("Content-Type: application/x-protobuf"), "\xff", 1).reason,
			    "HTTP status 400");
}

static void test_grpc_statuses(void **state)
{
	static const bool retry[] = {[1] = 1, [4] = 1, [10] = 1, [11] = 1, [14] = 1, [15] = 1, [16] = 0};
	char text[32];

	for (unsigned int i = 1; i < ARRAY_SIZE(retry); i++) {
		snprintf(text, sizeof(text), "grpc-status: %u", i);
		assert_int_equal(judge(true, 200, H("HTTP/2 200", text), NULL, 0).verdict,
				 retry[i] ? OTLP_RETRY : OTLP_REFUSED);
	}
	assert_int_equal(judge(true, 503, NULL, NULL, 0).verdict, OTLP_RETRY);
	assert_int_equal(judge(true, 200, NULL, NULL, 0).verdict, OTLP_REFUSED);
	assert_int_equal(judge(true, 200, H("content-type: text/html"), NULL, 0).verdict, OTLP_REFUSED);
	assert_int_equal(judge(true, 200, H("content-type: application/grpc"), NULL, 0).verdict, OTLP_RETRY);
	assert_int_equal(judge(true, 404, NULL, NULL, 0).verdict, OTLP_REFUSED);
	assert_int_equal(judge(true, 200, H("grpc-status: x"), NULL, 0).verdict, OTLP_REFUSED);
	assert_string_equal(judge(true, 200, H("grpc-status: 14", "grpc-message: gone"), NULL, 0).reason,
			    "gRPC status 14 UNAVAILABLE: gone");
}

static size_t gzip_of(const void *data, size_t len, uint8_t *dst, size_t size)
{
	z_stream z = {.next_in = (uint8_t *)data, .avail_in = (uInt)len, .next_out = dst, .avail_out = (uInt)size};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static void test_grpc_bodies(void **state)
{
	const char *const *ok = H("grpc-status: 0");
	uint8_t plain[300] = {0}, zipped[300] = {1}, bomb[4096] = {1};
	size_t n = partial(plain + 5, 2, "m");
	_free_ char *zeros = calloc(1, 1 << 20);

	plain[4] = (uint8_t)n;
	assert_int_equal(judge(true, 200, ok, plain, 5 + n).rejected, 2);
	assert_int_equal(judge(true, 200, ok, "\0\0\0\0\0", 5).verdict, OTLP_ACCEPTED);
	assert_int_equal(judge(true, 200, ok, NULL, 0).verdict, OTLP_REFUSED);
	assert_int_equal(judge(true, 200, ok, plain, 4 + n).verdict, OTLP_REFUSED);
	assert_int_equal(judge(true, 200, ok, "\0\xff\xff\xff\xff", 5).verdict, OTLP_REFUSED);
	zipped[4] = (uint8_t)gzip_of(plain + 5, n, zipped + 5, sizeof(zipped) - 5);
	assert_int_equal(judge(true, 200, ok, zipped, 5u + zipped[4]).rejected, 2);
	zipped[20] ^= 0xff;
	assert_int_equal(judge(true, 200, ok, zipped, 5u + zipped[4]).verdict, OTLP_REFUSED);
	n = gzip_of(zeros, 1 << 20, bomb + 5, sizeof(bomb) - 5);
	bomb[3] = (uint8_t)(n >> 8);
	bomb[4] = (uint8_t)n;
	assert_int_equal(judge(true, 200, ok, bomb, 5 + n).verdict, OTLP_REFUSED);
}

static void base64(const uint8_t *p, size_t n, char *dst)
{
	static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0, have = 0;

	for (size_t i = 0; i < n; i++)
		for (bits = bits << 8 | p[i], have += 8; have >= 6; have -= 6)
			*dst++ = abc[bits >> (have - 6) & 63];
	if (have)
		*dst++ = abc[bits << (6 - have) & 63];
	*dst = 0;
}

static void details(char *dst, int64_t seconds, int32_t nanos)
{
	Sonde__Otlp__RpcStatus st = SONDE__OTLP__RPC_STATUS__INIT;
	Sonde__Otlp__Any any = SONDE__OTLP__ANY__INIT, *list = &any;
	Sonde__Otlp__RetryInfo info = SONDE__OTLP__RETRY_INFO__INIT;
	Sonde__Otlp__Duration d = SONDE__OTLP__DURATION__INIT;
	uint8_t inner[64], raw[256];

	d.seconds = seconds;
	d.nanos = nanos;
	info.retry_delay = &d;
	any.type_url = (char *)"type.googleapis.com/google.rpc.RetryInfo";
	any.value.data = inner;
	any.value.len = sonde__otlp__retry_info__pack(&info, inner);
	st.details = &list;
	st.n_details = 1;
	base64(raw, sonde__otlp__rpc_status__pack(&st, raw), dst + sprintf(dst, "grpc-status-details-bin: "));
}

static void test_grpc_retry_info(void **state)
{
	struct otlp_judgement j;
	char line[512];

	details(line, 3, 5);
	j = judge(true, 200, H("grpc-status: 8", line), NULL, 0);
	assert_int_equal(j.verdict, OTLP_RETRY);
	assert_int_equal(j.wait_ns, 3 * SEC + 5);
	details(line, INT64_MAX, INT32_MAX);
	assert_int_equal(judge(true, 200, H("grpc-status: 14", line), NULL, 0).wait_ns, OTLP_WAIT_MAX_NS);
	details(line, -3, 5);
	assert_int_equal(judge(true, 200, H("grpc-status: 14", line), NULL, 0).wait_ns, 0);
	assert_int_equal(judge(true, 200, H("grpc-status: 8"), NULL, 0).verdict, OTLP_REFUSED);
	assert_int_equal(judge(true, 200, H("grpc-status: 8", "grpc-status-details-bin: !!"), NULL, 0).verdict,
			 OTLP_REFUSED);
	assert_int_equal(judge(true, 200, H("grpc-status: 8", "grpc-status-details-bin: AAAA"), NULL, 0).verdict,
			 OTLP_REFUSED);
}

static void test_answer_bounds(void **state)
{
	struct otlp_answer a = {0};
	char line[1024];
	size_t lines = 0;

	otlp_answer_clear(&a);
	memset(line, 'h', sizeof(line));
	while (otlp_answer_header(&a, (struct str){line, sizeof(line)}))
		lines++;
	assert_int_equal(lines, OTLP_HEADERS_MAX / sizeof(line));
	otlp_answer_clear(&a);
	lines = 0;
	while (otlp_answer_body(&a, line, sizeof(line)))
		lines++;
	assert_int_equal(lines, OTLP_BODY_MAX / sizeof(line));
	assert_int_equal(a.body.len, OTLP_BODY_MAX);
	otlp_answer_done(&a);
	otlp_answer_done(&a);
}

/* ---- URLs ---- */

static void check_url(const char *endpoint, bool grpc, bool general, const char *want)
{
	_free_ char *url = NULL;

	assert_int_equal(otlp_url(endpoint, OTLP_TRACES, grpc, general, &url), want ? 0 : -EINVAL);
	if (want)
		assert_string_equal(url, want);
}

static void test_urls(void **state)
{
	static const char service[] = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
	_free_ char *shown = otlp_url_shown("https://me:secret@h:1/v1/traces?key=secret");
	char want[256];

	check_url("http://h:4318", false, true, "http://h:4318/v1/traces");
	check_url("http://h:4318/", false, true, "http://h:4318/v1/traces");
	check_url("https://h/base/", false, true, "https://h/base/v1/traces");
	check_url("https://h/base/", false, false, "https://h/base/");
	check_url("http://h:4318", false, false, "http://h:4318/");
	check_url("h:4318", false, true, "http://h:4318/v1/traces");
	snprintf(want, sizeof(want), "http://h:4317/%s", service);
	check_url("h:4317", true, true, want);
	check_url("http://h:4317/ignored?x=y", true, false, want);
	check_url("unix:///run/x", false, true, NULL);
	check_url("file:///etc/passwd", false, true, NULL);
	check_url("http://h:99999", false, true, NULL);
	check_url("http://", false, true, NULL);
	assert_string_equal(shown, "https://h:1/v1/traces");
}

/* ---- over a socket ---- */

struct link {
	struct fake far;
	struct otlp_sender *s;
	uint64_t rejected;
};

static struct kv header_list[] = {{(char *)"x-key", (char *)"s3cret value"}, {(char *)"Content-Type", (char *)"no"}};
static const struct kv_list headers = {header_list, 2};
static const uint8_t payload[] = "not really OTLP, but bytes";
static const struct buf body = {.data = (char *)payload, .len = sizeof(payload)};

static void link_up(struct link *l, const struct fake_reply *script, size_t n, bool gzip)
{
	_free_ char *url = NULL;
	char endpoint[64];
	struct otlp_target t = {.signal = OTLP_TRACES,
				.gzip = gzip,
				.headers = &headers,
				.version = "1.2.3",
				.backoff_ns = 10 * NSEC_PER_MSEC,
				.timeout_ns = SEC};

	fake_start(&l->far, script, n);
	snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", l->far.port);
	assert_int_equal(otlp_url(endpoint, OTLP_TRACES, false, true, &url), 0);
	t.url = url;
	l->s = otlp_sender_new(&t);
	l->rejected = 0;
	assert_non_null(l->s);
}

static void link_down(struct link *l)
{
	otlp_sender_free(l->s);
	fake_stop(&l->far);
}

static int send_for(struct link *l, uint64_t ns)
{
	return otlp_send(l->s, &body, clock_mono_ns() + ns, &l->rejected);
}

static void test_request(void **state)
{
	static const struct fake_reply script[] = {{0}};
	struct link l;

	link_up(&l, script, 1, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_for(&l, 5 * SEC), 0);
	assert_int_equal(l.far.requests, 3);
	assert_int_equal(l.far.connections, 1);
	assert_int_equal(otlp_sender_stats(l.s).attempts, 3);
	assert_int_equal(l.far.body.len, sizeof(payload));
	assert_memory_equal(l.far.body.data, payload, sizeof(payload));
	assert_ptr_equal(strstr(l.far.head.data, "POST /v1/traces HTTP/1.1\r\n"), l.far.head.data);
	assert_non_null(strstr(l.far.head.data, "\r\nContent-Type: application/x-protobuf\r\n"));
	assert_non_null(strstr(l.far.head.data, "\r\nUser-Agent: OTel-OTLP-Exporter-sonde/1.2.3\r\n"));
	assert_non_null(strstr(l.far.head.data, "\r\nx-key: s3cret value\r\n"));
	assert_null(strstr(l.far.head.data, "Content-Type: no"));
	assert_null(strstr(l.far.head.data, "Content-Encoding"));
	assert_null(strstr(l.far.head.data, "Expect"));
	link_down(&l);
}

static void test_gzip(void **state)
{
	static const struct fake_reply script[] = {{0}};
	struct link l;
	uint8_t plain[128];
	z_stream z = {.next_out = plain, .avail_out = sizeof(plain)};

	link_up(&l, script, 1, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(send_for(&l, 5 * SEC), 0);
	assert_non_null(strstr(l.far.head.data, "\r\nContent-Encoding: gzip\r\n"));
	z.next_in = (uint8_t *)l.far.body.data;
	z.avail_in = (uInt)l.far.body.len;
	assert_int_equal(inflateInit2(&z, 31), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, sizeof(payload));
	assert_memory_equal(plain, payload, sizeof(payload));
	inflateEnd(&z);
	link_down(&l);
}

static void test_retries(void **state)
{
	static const struct fake_reply script[] = {
		{.head = "HTTP/1.1 503 Busy"}, {.head = "HTTP/1.1 502 x"}, {.kind = FAKE_RESET}, {0}};
	struct link l;

	link_up(&l, script, 4, false);
	assert_int_equal(send_for(&l, 20 * SEC), 0);
	assert_int_equal(l.far.requests, 4);
	link_down(&l);
}

static void test_refusals(void **state)
{
	static const struct fake_reply script[] = {
		{.head = "HTTP/1.1 400 Bad"},
		{.head = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/"},
		{.head = "HTTP/1.1 200 OK\r\nContent-Type: text/html", .body = "<html>", .body_len = 6},
		{.head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf", .body = "\xff\xff", .body_len = 2},
		{.kind = FAKE_ENDLESS},
		{.head = "SSH-2.0-OpenSSH_9.2"},
	};
	struct link l;

	link_up(&l, script, ARRAY_SIZE(script), false);
	for (unsigned int i = 0; i < ARRAY_SIZE(script); i++) {
		assert_int_equal(send_for(&l, 20 * SEC), -EREMOTEIO);
		assert_int_equal(l.far.requests, i + 1);
	}
	link_down(&l);
}

static void test_partial_success(void **state)
{
	uint8_t bytes[64];
	struct fake_reply script = {.head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf", .body = bytes};
	struct link l;

	script.body_len = partial(bytes, 5, "too old \x1b[31m");
	link_up(&l, &script, 1, false);
	assert_int_equal(send_for(&l, 20 * SEC), 0);
	assert_int_equal(l.rejected, 5);
	link_down(&l);
}

static void test_retry_after_is_kept(void **state)
{
	static const struct fake_reply script[] = {{.head = "HTTP/1.1 429 Slow\r\nRetry-After: 1"}, {0}};
	uint64_t start = clock_mono_ns();
	struct link l;

	link_up(&l, script, 2, false);
	assert_int_equal(send_for(&l, 20 * SEC), 0);
	assert_true(clock_mono_ns() - start >= SEC);
	assert_int_equal(l.far.requests, 2);
	link_down(&l);
}

static void test_retry_after_beyond_the_deadline(void **state)
{
	static const struct fake_reply script[] = {{.head = "HTTP/1.1 429 Slow\r\nRetry-After: 300"}};
	uint64_t start = clock_mono_ns();
	struct link l;

	link_up(&l, script, 1, false);
	assert_int_equal(send_for(&l, 2 * SEC), -ETIMEDOUT);
	assert_true(clock_mono_ns() - start < 2 * SEC);
	/* the pause holds for the next request too, which does not go out */
	start = clock_mono_ns();
	assert_int_equal(send_for(&l, 200 * NSEC_PER_MSEC), -ETIMEDOUT);
	assert_true(clock_mono_ns() - start >= 190 * NSEC_PER_MSEC);
	assert_int_equal(l.far.requests, 1);
	link_down(&l);
}

static void test_hang(void **state)
{
	static const struct fake_reply script[] = {{.kind = FAKE_HANG}};
	uint64_t start = clock_mono_ns();
	struct link l;

	link_up(&l, script, 1, false);
	assert_int_equal(send_for(&l, 300 * NSEC_PER_MSEC), -ETIMEDOUT);
	assert_in_range(clock_mono_ns() - start, 300 * NSEC_PER_MSEC, 900 * NSEC_PER_MSEC);
	assert_int_equal(otlp_sender_stats(l.s).attempts, 1);
	link_down(&l);
}

static void test_nobody_listens(void **state)
{
	struct otlp_target t = {.signal = OTLP_METRICS,
				.url = "http://127.0.0.1:1/",
				.version = "1",
				.backoff_ns = 20 * NSEC_PER_MSEC,
				.timeout_ns = SEC};
	struct otlp_sender *s = otlp_sender_new(&t);
	uint64_t rejected;

	assert_int_equal(otlp_send(s, &body, clock_mono_ns() + 300 * NSEC_PER_MSEC, &rejected), -ETIMEDOUT);
	assert_in_range(otlp_sender_stats(s).attempts, 3, 12); /* 20, 40, 80, 160 ms, each with jitter */
	otlp_sender_free(s);
}

static void *send_in_thread(void *arg)
{
	return (void *)(intptr_t)send_for(arg, 60 * SEC);
}

/* Shutting down ends an exchange that hangs, and a pause. */
static void check_stop(const struct fake_reply *script)
{
	uint64_t start;
	pthread_t thread;
	struct link l;
	void *result;

	link_up(&l, script, 1, false);
	assert_int_equal(pthread_create(&thread, NULL, send_in_thread, &l), 0);
	while (!atomic_load(&l.far.requests))
		sched_yield();
	start = clock_mono_ns();
	otlp_sender_stop(l.s, start + 100 * NSEC_PER_MSEC);
	pthread_join(thread, &result);
	assert_int_equal((int)(intptr_t)result, -ETIMEDOUT);
	assert_true(clock_mono_ns() - start < 800 * NSEC_PER_MSEC);
	link_down(&l);
}

static void test_stop(void **state)
{
	static const struct fake_reply hang = {.kind = FAKE_HANG};
	static const struct fake_reply pause = {.head = "HTTP/1.1 503 x\r\nRetry-After: 30"};

	check_stop(&hang);
	check_stop(&pause);
}

static void test_headers_that_cannot_be_sent(void **state)
{
	struct kv bad[] = {
		{(char *)"a b", (char *)"x"}, {(char *)"a", (char *)"x\r\nHost: y"}, {(char *)"", (char *)"x"}};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct kv_list l = {&bad[i], 1};
		struct otlp_target t = {.url = "http://h/", .version = "1", .headers = &l};

		assert_null(otlp_sender_new(&t));
		assert_int_equal(errno, EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_statuses),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_http_bodies),
		cmocka_unit_test(test_http_error_message),
		cmocka_unit_test(test_grpc_statuses),
		cmocka_unit_test(test_grpc_bodies),
		cmocka_unit_test(test_grpc_retry_info),
		cmocka_unit_test(test_answer_bounds),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_retries),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_partial_success),
		cmocka_unit_test(test_retry_after_is_kept),
		cmocka_unit_test(test_retry_after_beyond_the_deadline),
		cmocka_unit_test(test_hang),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_headers_that_cannot_be_sent),
	};
	int rc;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	curl_global_cleanup();
	return rc;
}
