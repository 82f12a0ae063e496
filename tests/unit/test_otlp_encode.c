// SPDX-License-Identifier: Apache-2.0
/*
 * OTLP encoding and delta temporality, read back by protobuf-c. With OTLP_SAMPLES=DIR it also writes
 * what it encoded into DIR, for tests/e2e/otlp_descriptors.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "exporters/wire/otlp.pb-c.h"
#include "exporters/wire/otlp_encode.h"
#include "user/base/clock.h"
#include "user/proto/proto.h"

#define WALL 1800000000000000000ULL

static const struct attr_key key_text = {"test.text", "test_text"};
static const struct attr_key key_number = {"test.number", "test_number"};
static const struct instrument requests = {"test.requests", "{request}", "Requests.", INST_COUNTER};
static const struct instrument active = {"test.active", "{request}", "Active.", INST_UPDOWN};
static const struct instrument fill = {"test.fill", "1", "Fill.", INST_GAUGE};
static const struct instrument info = {"test.info", "1", "Info.", INST_INFO};
static const struct instrument duration = {"test.duration", "s", "Durations.", INST_HISTOGRAM};
static const double bounds[] = {0.1, 1};

struct fixture {
	struct otlp_encoder *e;
	struct service *alpha, *beta;
	struct buf out;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->e = otlp_encoder_new("9.8.7");
	f->alpha = service_new("alpha", "shop", "alpha-1");
	f->beta = service_new("beta", "", "");
	service_add_attr(f->alpha, "process.pid", "77");
	service_add_attr(f->alpha, "host.name", "h\xff");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	otlp_encoder_free(f->e);
	service_unref(f->alpha);
	service_unref(f->beta);
	buf_done(&f->out);
	free(f);
	return 0;
}

static void sample(const char *name, const struct buf *b)
{
	const char *dir = getenv("OTLP_SAMPLES");
	char path[512];
	FILE *file;

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/%s.bin", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(b->data, 1, b->len, file), b->len);
	assert_int_equal(fclose(file), 0);
}

static const Sonde__Otlp__AnyValue *find(Sonde__Otlp__KeyValue **v, size_t n, const char *key)
{
	const Sonde__Otlp__AnyValue *found = NULL;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(v[i]->key, key))
			continue;
		assert_null(found); /* once */
		found = v[i]->value;
	}
	return found;
}

#define assert_text(list, key, want)                                                                                   \
	do {                                                                                                           \
		const Sonde__Otlp__AnyValue *v_ = find((list)->attributes, (list)->n_attributes, key);                 \
		assert_non_null(v_);                                                                                   \
		assert_int_equal(v_->value_case, SONDE__OTLP__ANY_VALUE__VALUE_STRING_VALUE);                          \
		assert_string_equal(v_->string_value, want);                                                           \
	} while (0)
#define assert_number(list, key, want)                                                                                 \
	do {                                                                                                           \
		const Sonde__Otlp__AnyValue *v_ = find((list)->attributes, (list)->n_attributes, key);                 \
		assert_non_null(v_);                                                                                   \
		assert_int_equal(v_->value_case, SONDE__OTLP__ANY_VALUE__VALUE_INT_VALUE);                             \
		assert_int_equal(v_->int_value, want);                                                                 \
	} while (0)
#define assert_absent(list, key) assert_null(find((list)->attributes, (list)->n_attributes, key))

/* ---- spans ---- */

static struct call plain_call(struct service *s)
{
	return (struct call){
		.proto = PROTO_HTTP1, .role = ROLE_SERVER, .wait_ns = WAIT_UNKNOWN, .comm = "x", .service = s};
}

static struct span *span_of(const struct call *c, uint8_t id)
{
	struct span *s = span_new(c, "GET /x");

	memset(s->trace_id, 0xaa, sizeof(s->trace_id));
	memset(s->span_id, id, sizeof(s->span_id));
	s->flags = 1;
	s->start_wall_ns = WALL + id;
	s->end_wall_ns = WALL + id + 500;
	return s;
}

static struct span *full_span(struct service *s)
{
	struct call c = plain_call(s);
	struct span *sp;

	c.failed = true;
	c.error_type = STR("peer_reset");
	c.route = STR("/x/{id}");
	c.tid = 4321;
	c.wait_ns = 250000;
	c.peer = (struct net_addr){.family = NET_INET, .port = 40000, .ip = {192, 0, 2, 1}};
	c.parent = (struct trace_parent){.valid = true, .span_id = {1, 2, 3, 4, 5, 6, 7, 8}, .state = STR("k=v\xfe")};
	call_add_str(&c, &key_text, (struct str){"a\xff\0z", 4});
	call_add_int(&c, &key_number, -5);
	sp = span_of(&c, 1);
	sp->has_parent = true;
	memcpy(sp->parent_id, c.parent.span_id, 8);
	return sp;
}

static Sonde__Otlp__ExportTraceServiceRequest *encode_spans(struct fixture *f, struct span **s, size_t n, size_t *used)
{
	Sonde__Otlp__ExportTraceServiceRequest *r;

	assert_int_equal(otlp_encode_spans(f->e, s, n, &f->out, used), 0);
	r = sonde__otlp__export_trace_service_request__unpack(NULL, f->out.len, (uint8_t *)f->out.data);
	assert_non_null(r);
	return r;
}

static void check_full_span(const Sonde__Otlp__Span *s)
{
	const Sonde__Otlp__AnyValue *wait;
	uint8_t parent[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	assert_int_equal(s->trace_id.len, 16);
	assert_int_equal(s->span_id.len, 8);
	assert_int_equal(s->parent_span_id.len, 8);
	assert_memory_equal(s->parent_span_id.data, parent, 8);
	assert_string_equal(s->trace_state, "k=v\xef\xbf\xbd");
	assert_int_equal(s->flags, 0x301);
	assert_string_equal(s->name, "GET /x");
	assert_int_equal(s->kind, SONDE__OTLP__SPAN__SPAN_KIND__SPAN_KIND_SERVER);
	assert_true(s->start_time_unix_nano == WALL + 1 && s->end_time_unix_nano == WALL + 501);
	assert_int_equal(s->status->code, SONDE__OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR);
	assert_text(s, "test.text", "a\xef\xbf\xbd\xef\xbf\xbdz");
	assert_number(s, "test.number", -5);
	assert_text(s, proto_table[PROTO_HTTP1]->route_key->name, "/x/{id}");
	assert_text(s, "error.type", "peer_reset");
	assert_text(s, "network.peer.address", "192.0.2.1");
	assert_number(s, "network.peer.port", 40000);
	assert_number(s, "thread.id", 4321);
	wait = find(s->attributes, s->n_attributes, "sonde.request.wait");
	assert_int_equal(wait->value_case, SONDE__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE);
	assert_true(wait->double_value == 0.00025);
	assert_int_equal(s->n_attributes, 8);
}

static void test_span(void **state)
{
	struct fixture *f = *state;
	struct span *s = full_span(f->alpha);
	size_t used = 0;
	Sonde__Otlp__ExportTraceServiceRequest *r = encode_spans(f, &s, 1, &used);
	Sonde__Otlp__ResourceSpans *rs = r->resource_spans[0];

	sample("traces", &f->out);
	assert_int_equal(used, 1);
	assert_int_equal(r->n_resource_spans, 1);
	assert_string_equal(rs->schema_url, SEMCONV_SCHEMA_URL);
	assert_text(rs->resource, "service.name", "alpha");
	assert_text(rs->resource, "service.namespace", "shop");
	assert_text(rs->resource, "service.instance.id", "alpha-1");
	assert_text(rs->resource, "host.name", "h\xef\xbf\xbd");
	assert_number(rs->resource, "process.pid", 77);
	assert_text(rs->resource, "telemetry.distro.name", "sonde");
	assert_text(rs->resource, "telemetry.distro.version", "9.8.7");
	assert_string_equal(rs->scope_spans[0]->scope->name, "sonde");
	assert_string_equal(rs->scope_spans[0]->scope->version, "9.8.7");
	check_full_span(rs->scope_spans[0]->spans[0]);
	sonde__otlp__export_trace_service_request__free_unpacked(r, NULL);
	span_unref(s);
}

static void test_span_without_extras(void **state)
{
	struct fixture *f = *state;
	struct call c = plain_call(f->beta);
	struct span *s;
	size_t used = 0;
	Sonde__Otlp__ExportTraceServiceRequest *r;
	Sonde__Otlp__Span *m;

	c.role = ROLE_CLIENT;
	c.route = STR("/x");
	c.peer = (struct net_addr){.family = NET_UNIX, .path = "/run/x.sock"};
	s = span_of(&c, 2);
	r = encode_spans(f, &s, 1, &used);
	m = r->resource_spans[0]->scope_spans[0]->spans[0];
	assert_absent(r->resource_spans[0]->resource, "service.namespace");
	assert_absent(r->resource_spans[0]->resource, "service.instance.id");
	assert_int_equal(m->kind, SONDE__OTLP__SPAN__SPAN_KIND__SPAN_KIND_CLIENT);
	assert_null(m->status);
	assert_int_equal(m->parent_span_id.len, 0);
	assert_int_equal(m->flags, 0x101);
	assert_text(m, "network.peer.address", "/run/x.sock");
	assert_text(m, "network.transport", "unix");
	assert_int_equal(m->n_attributes, 2); /* no route on a client, no port, no wait, no thread */
	sonde__otlp__export_trace_service_request__free_unpacked(r, NULL);
	span_unref(s);
}

static void test_services_and_order(void **state)
{
	struct fixture *f = *state;
	struct call a = plain_call(f->alpha), b = plain_call(f->beta);
	struct span *s[] = {span_of(&b, 4), span_of(&a, 3), span_of(&b, 2), span_of(&a, 1)};
	size_t used = 0;
	Sonde__Otlp__ExportTraceServiceRequest *r;

	otlp_sort_spans(s, 4);
	r = encode_spans(f, s, 4, &used);
	assert_int_equal(used, 4);
	assert_int_equal(r->n_resource_spans, 2);
	for (int i = 0; i < 2; i++) {
		Sonde__Otlp__ScopeSpans *ss = r->resource_spans[i]->scope_spans[0];

		assert_text(r->resource_spans[i]->resource, "service.name", i ? "beta" : "alpha");
		assert_int_equal(ss->n_spans, 2);
		assert_int_equal(ss->spans[0]->span_id.data[0], i ? 2 : 1);
		assert_int_equal(ss->spans[1]->span_id.data[0], i ? 4 : 3);
	}
	sonde__otlp__export_trace_service_request__free_unpacked(r, NULL);
	for (int i = 0; i < 4; i++)
		span_unref(s[i]);
}

static void test_large_batches_are_split(void **state)
{
	enum { N = 100, SIZE = 100000 };
	struct fixture *f = *state;
	char *text = malloc(SIZE);
	struct call c = plain_call(f->alpha);
	struct span *s[N];
	size_t at = 0, requests_made = 0, used;

	memset(text, 'x', SIZE);
	call_add_str(&c, &key_text, (struct str){text, SIZE});
	for (int i = 0; i < N; i++)
		s[i] = span_of(&c, (uint8_t)i);
	for (; at < N; at += used, requests_made++) {
		assert_int_equal(otlp_encode_spans(f->e, s + at, N - at, &f->out, &used), 0);
		assert_in_range(used, 1, 10);
		assert_true(f->out.len <= OTLP_REQUEST_BYTES);
	}
	assert_int_equal(requests_made, 10);
	for (int i = 0; i < N; i++)
		span_unref(s[i]);
	free(text);
}

/* ---- metrics ---- */

/* Values of one moment: of alpha, two label sets; one point about sonde itself. */
struct values {
	double requests[2], active, self;
	uint64_t buckets[3];
	double sum;
	uint64_t start_ns, wall_ns;
	size_t n; /* points of `requests`: 2, or 1 when the second series is gone */
};

struct arena {
	struct family families[5];
	struct point points[5][3];
	double bounds[2];
	uint64_t buckets[3];
};

static struct point point(struct service *s, const char *name, const char *value, uint64_t start, double v)
{
	struct label l = {name, value};

	return (struct point){service_ref(s), labels_new(&l, name ? 1 : 0), start, {.value = v}};
}

static void fill_family(struct arena *a, int i, const struct instrument *inst, size_t n)
{
	a->families[i] = (struct family){.inst = inst, .points = a->points[i], .n_points = n};
}

static struct snapshot *snapshot_of(const struct fixture *f, const struct values *v)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	struct arena *a = calloc(1, sizeof(*a));
	struct point *h = &a->points[3][0];

	*s = (struct snapshot){.refs = 1, .wall_ns = v->wall_ns, .families = a->families, .n_families = 5, .arena = a};
	fill_family(a, 0, &requests, v->n + 1);
	a->points[0][0] = point(f->alpha, "http.response.status_code", "200", v->start_ns, v->requests[0]);
	a->points[0][v->n] = point(NULL, NULL, NULL, v->start_ns, v->self);
	if (v->n == 2)
		a->points[0][1] = point(f->alpha, "error.type", "timeout", v->start_ns, v->requests[1]);
	fill_family(a, 1, &active, 1);
	a->points[1][0] = point(f->alpha, "server.port", "8080", v->start_ns, v->active);
	fill_family(a, 2, &fill, 1);
	a->points[2][0] = point(f->beta, "x", "y", v->start_ns, 0.5);
	fill_family(a, 3, &duration, 1);
	*h = point(f->alpha, "x", "y", v->start_ns, 0);
	memcpy(a->buckets, v->buckets, sizeof(a->buckets));
	memcpy(a->bounds, bounds, sizeof(a->bounds));
	h->hist.buckets = a->buckets;
	h->hist.sum = v->sum;
	h->hist.count = v->buckets[0] + v->buckets[1] + v->buckets[2];
	a->families[3].bounds = a->bounds;
	a->families[3].n_bounds = 2;
	fill_family(a, 4, &info, 1);
	a->points[4][0] = point(f->alpha, "x", "y", v->start_ns, 1);
	return s;
}

static const struct values first = {{10, 3}, 4, 99, {1, 2, 3}, 7.5, WALL, WALL + 1000, 2};

/* Index, attach, encode, commit; the caller frees the request. NULL: no point was left. */
static Sonde__Otlp__ExportMetricsServiceRequest *export(struct fixture *f, const struct values *v, struct otlp_delta *d,
							bool commit)
{
	Sonde__Otlp__ExportMetricsServiceRequest *r;
	struct snapshot *s = snapshot_of(f, v);
	struct otlp_point *p;
	size_t n, used = 0, lost = 0;

	assert_int_equal(otlp_index_points(s, f->beta, &p, &n), 0);
	assert_int_equal(n, v->n + 4); /* the info is not among them */
	if (d)
		n = otlp_delta_attach(d, p, n, &lost);
	assert_int_equal(lost, 0);
	assert_int_equal(otlp_encode_points(f->e, p, n, v->wall_ns, &f->out, &used), 0);
	assert_int_equal(used, n);
	if (commit)
		otlp_delta_commit(p, n, v->wall_ns);
	free(p);
	snapshot_unref(s);
	r = sonde__otlp__export_metrics_service_request__unpack(NULL, f->out.len, (uint8_t *)f->out.data);
	assert_non_null(r);
	return r;
}

static const Sonde__Otlp__Metric *metric(const Sonde__Otlp__ExportMetricsServiceRequest *r, const char *service,
					 const char *name)
{
	for (size_t i = 0; i < r->n_resource_metrics; i++) {
		Sonde__Otlp__ResourceMetrics *rm = r->resource_metrics[i];

		if (strcmp(find(rm->resource->attributes, rm->resource->n_attributes, "service.name")->string_value,
			   service))
			continue;
		for (size_t k = 0; k < rm->scope_metrics[0]->n_metrics; k++)
			if (!strcmp(rm->scope_metrics[0]->metrics[k]->name, name))
				return rm->scope_metrics[0]->metrics[k];
	}
	return NULL;
}

static void check_histogram(const Sonde__Otlp__Metric *m, int temporality, uint64_t start, const uint64_t want[3],
			    double sum)
{
	const Sonde__Otlp__HistogramDataPoint *p = m->histogram->data_points[0];

	assert_int_equal(m->data_case, SONDE__OTLP__METRIC__DATA_HISTOGRAM);
	assert_int_equal(m->histogram->aggregation_temporality, temporality);
	assert_true(p->start_time_unix_nano == start);
	assert_int_equal(p->n_bucket_counts, 3);
	assert_int_equal(p->n_explicit_bounds, 2);
	assert_true(p->explicit_bounds[0] == 0.1 && p->explicit_bounds[1] == 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(p->bucket_counts[i], want[i]);
	assert_int_equal(p->count, want[0] + want[1] + want[2]);
	assert_int_equal(p->optional_sum_case, SONDE__OTLP__HISTOGRAM_DATA_POINT__OPTIONAL_SUM_SUM);
	assert_true(p->sum == sum);
}

static void test_cumulative(void **state)
{
	struct fixture *f = *state;
	Sonde__Otlp__ExportMetricsServiceRequest *r = export(f, &first, NULL, false);
	const Sonde__Otlp__Metric *m = metric(r, "alpha", "test.requests");

	sample("metrics", &f->out);
	assert_int_equal(r->n_resource_metrics, 2);
	assert_string_equal(m->unit, "{request}");
	assert_string_equal(m->description, "Requests.");
	assert_int_equal(m->data_case, SONDE__OTLP__METRIC__DATA_SUM);
	assert_true(m->sum->is_monotonic);
	assert_int_equal(m->sum->aggregation_temporality, 2);
	assert_int_equal(m->sum->n_data_points, 2);
	assert_true(m->sum->data_points[0]->as_double == 10);
	assert_true(m->sum->data_points[0]->start_time_unix_nano == WALL);
	assert_true(m->sum->data_points[0]->time_unix_nano == WALL + 1000);
	assert_number(m->sum->data_points[0], "http.response.status_code", 200);
	assert_text(m->sum->data_points[1], "error.type", "timeout");
	m = metric(r, "alpha", "test.active");
	assert_false(m->sum->is_monotonic);
	assert_number(m->sum->data_points[0], "server.port", 8080);
	m = metric(r, "beta", "test.fill");
	assert_int_equal(m->data_case, SONDE__OTLP__METRIC__DATA_GAUGE);
	assert_true(m->gauge->data_points[0]->as_double == 0.5);
	assert_true(metric(r, "beta", "test.requests")->sum->data_points[0]->as_double == 99); /* self */
	assert_null(metric(r, "alpha", "test.info"));
	check_histogram(metric(r, "alpha", "test.duration"), 2, WALL, first.buckets, 7.5);
	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
}

static void test_delta(void **state)
{
	struct fixture *f = *state;
	struct otlp_delta *d = otlp_delta_new(false, f->beta);
	struct values v = first;
	const uint64_t moved[3] = {0, 5, 0};
	Sonde__Otlp__ExportMetricsServiceRequest *r = export(f, &v, d, true);
	const Sonde__Otlp__Metric *m = metric(r, "alpha", "test.requests");

	assert_int_equal(otlp_delta_count(d), 4); /* 3 counters, 1 histogram */
	assert_int_equal(m->sum->aggregation_temporality, 1);
	assert_true(m->sum->data_points[0]->as_double == 10);
	assert_int_equal(metric(r, "alpha", "test.active")->sum->aggregation_temporality, 2);
	check_histogram(metric(r, "alpha", "test.duration"), 1, WALL, first.buckets, 7.5);
	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);

	v.requests[0] = 25; /* the other series stands still */
	v.buckets[1] += 5;
	v.sum = 9;
	v.wall_ns += 1000;
	r = export(f, &v, d, true);
	m = metric(r, "alpha", "test.requests");
	assert_int_equal(m->sum->n_data_points, 1);
	assert_true(m->sum->data_points[0]->as_double == 15);
	assert_true(m->sum->data_points[0]->start_time_unix_nano == WALL + 1000);
	assert_true(m->sum->data_points[0]->time_unix_nano == WALL + 2000);
	assert_null(metric(r, "beta", "test.requests"));
	check_histogram(metric(r, "alpha", "test.duration"), 1, WALL + 1000, moved, 1.5);
	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
	otlp_delta_free(d);
}

static void test_delta_that_failed_is_made_up_for(void **state)
{
	struct fixture *f = *state;
	struct otlp_delta *d = otlp_delta_new(false, f->beta);
	struct values v = first;
	Sonde__Otlp__ExportMetricsServiceRequest *r = export(f, &v, d, false);
	const Sonde__Otlp__Metric *m;

	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
	v.requests[0] = 25;
	v.wall_ns += 1000;
	r = export(f, &v, d, true);
	m = metric(r, "alpha", "test.requests");
	assert_int_equal(m->sum->n_data_points, 2);
	assert_true(m->sum->data_points[0]->as_double == 25);
	assert_true(m->sum->data_points[0]->start_time_unix_nano == WALL);
	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
	otlp_delta_free(d);
}

static void test_delta_reset_and_gone(void **state)
{
	struct fixture *f = *state;
	struct otlp_delta *d = otlp_delta_new(false, f->beta);
	struct values v = first;
	Sonde__Otlp__ExportMetricsServiceRequest *r = export(f, &v, d, true);
	const Sonde__Otlp__Metric *m;

	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
	/* began anew with a larger value: only the start tells; the second series is gone */
	v = (struct values){{12, 0}, 0, 100, {9, 9, 9}, 8, WALL + 1500, WALL + 2000, 1};
	r = export(f, &v, d, true);
	assert_int_equal(otlp_delta_count(d), 3);
	m = metric(r, "alpha", "test.requests");
	assert_int_equal(m->sum->n_data_points, 1);
	assert_true(m->sum->data_points[0]->as_double == 12);
	assert_true(m->sum->data_points[0]->start_time_unix_nano == WALL + 1500);
	check_histogram(metric(r, "alpha", "test.duration"), 1, WALL + 1500, v.buckets, 8);
	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
	otlp_delta_free(d);
}

static void test_lowmemory(void **state)
{
	struct fixture *f = *state;
	struct otlp_delta *d = otlp_delta_new(true, f->beta);
	Sonde__Otlp__ExportMetricsServiceRequest *r = export(f, &first, d, true);

	assert_int_equal(metric(r, "alpha", "test.requests")->sum->aggregation_temporality, 1);
	assert_int_equal(metric(r, "beta", "test.requests")->sum->aggregation_temporality, 2);
	assert_int_equal(metric(r, "alpha", "test.duration")->histogram->aggregation_temporality, 1);
	sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
	otlp_delta_free(d);
}

static void test_many_points_are_split(void **state)
{
	enum { N = 30000 };
	struct fixture *f = *state;
	struct snapshot *s = calloc(1, sizeof(*s));
	struct family *fam = calloc(1, sizeof(*fam) + N * sizeof(struct point));
	struct otlp_point *p;
	size_t n, at = 0, used, seen = 0;

	*s = (struct snapshot){.refs = 1, .families = fam, .n_families = 1, .arena = fam};
	*fam = (struct family){.inst = &requests, .points = (struct point *)(fam + 1), .n_points = N};
	for (int i = 0; i < N; i++)
		fam->points[i] = point(f->alpha, "error.type", "something that is not so short", WALL, i);
	assert_int_equal(otlp_index_points(s, f->beta, &p, &n), 0);
	for (; at < n; at += used) {
		Sonde__Otlp__ExportMetricsServiceRequest *r;

		assert_int_equal(otlp_encode_points(f->e, p + at, n - at, WALL, &f->out, &used), 0);
		assert_true(f->out.len <= OTLP_REQUEST_BYTES);
		r = sonde__otlp__export_metrics_service_request__unpack(NULL, f->out.len, (uint8_t *)f->out.data);
		seen += metric(r, "alpha", "test.requests")->sum->n_data_points;
		sonde__otlp__export_metrics_service_request__free_unpacked(r, NULL);
	}
	assert_int_equal(seen, N);
	free(p);
	snapshot_unref(s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_span),
		T(test_span_without_extras),
		T(test_services_and_order),
		T(test_large_batches_are_split),
		T(test_cumulative),
		T(test_delta),
		T(test_delta_that_failed_is_made_up_for),
		T(test_delta_reset_and_gone),
		T(test_lowmemory),
		T(test_many_points_are_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
