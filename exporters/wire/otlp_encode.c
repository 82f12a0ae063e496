// SPDX-License-Identifier: Apache-2.0
/*
 * A request is built as a tree of protobuf-c messages in an arena, packed, and the arena is
 * reset. How much fits is decided beforehand, by a cheap estimate. An allocation that
 * fails makes the builders return NULL and sticks in `err`; such a tree is never packed.
 */
#include "exporters/wire/otlp_encode.h"

#include "exporters/wire/otlp.pb-c.h"
#include "user/base/clock.h"
#include "user/proto/proto.h"

#define CHUNK_BYTES (64U << 10)
#define REPLACEMENT "\xef\xbf\xbd"

/* W3C flags stand in the low byte; these two say whether the parent is known to be of another process. */
#define FLAG_HAS_IS_REMOTE 0x100U
#define FLAG_IS_REMOTE	   0x200U

struct chunk {
	struct chunk *next;
	size_t used, size;
	_Alignas(16) char data[];
};

struct otlp_encoder {
	struct chunk *chunks;
	struct buf scratch;
	int err;
	char *version;
};

#define NEW(e, Type, name)                                                                                             \
	({                                                                                                             \
		Sonde__Otlp__##Type *m_ = alloc((e), sizeof(Sonde__Otlp__##Type));                                     \
		if (m_)                                                                                                \
			sonde__otlp__##name##__init(m_);                                                               \
		m_;                                                                                                    \
	})

/* ---- memory ---- */

struct otlp_encoder *otlp_encoder_new(const char *version)
{
	struct otlp_encoder *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->version = strdup(version);
	if (!e->version) {
		free(e);
		return NULL;
	}
	return e;
}

/* One chunk is kept for the next request. */
static void reset(struct otlp_encoder *e)
{
	struct chunk *c;

	while ((c = e->chunks) && c->next) {
		e->chunks = c->next;
		free(c);
	}
	if (c)
		c->used = 0;
	e->err = 0;
}

void otlp_encoder_free(struct otlp_encoder *e)
{
	if (!e)
		return;
	reset(e);
	free(e->chunks);
	buf_done(&e->scratch);
	free(e->version);
	free(e);
}

static void *alloc(struct otlp_encoder *e, size_t size)
{
	struct chunk *c = e->chunks;
	void *p;

	size = (size + 15) & ~(size_t)15;
	if (!c || c->size - c->used < size) {
		size_t room = MAX(size, (size_t)CHUNK_BYTES);

		c = malloc(sizeof(*c) + room);
		if (!c) {
			e->err = -ENOMEM;
			return NULL;
		}
		*c = (struct chunk){.next = e->chunks, .size = room};
		e->chunks = c;
	}
	p = memset(c->data + c->used, 0, size);
	c->used += size;
	return p;
}

struct pack_target {
	ProtobufCBuffer base;
	struct buf *out;
};

static void pack_append(ProtobufCBuffer *b, size_t len, const uint8_t *data)
{
	buf_add(((struct pack_target *)b)->out, data, len);
}

static int pack(struct otlp_encoder *e, const ProtobufCMessage *m, struct buf *out)
{
	struct pack_target t = {{pack_append}, out};

	if (e->err)
		return e->err;
	buf_clear(out);
	protobuf_c_message_pack_to_buffer(m, &t.base);
	return out->err;
}

/* ---- values ---- */

/* A terminated copy that is valid UTF-8; a NUL inside would cut it, so it is replaced like other broken bytes. */
static char *text(struct otlp_encoder *e, struct str s)
{
	struct str part;
	char *copy;

	buf_clear(&e->scratch);
	while (str_split(&s, 0, &part)) {
		buf_utf8(&e->scratch, part);
		if (part.p + part.len < s.p)
			buf_puts(&e->scratch, REPLACEMENT);
	}
	if (e->scratch.err) {
		e->err = e->scratch.err;
		return NULL;
	}
	copy = alloc(e, e->scratch.len + 1);
	if (copy && e->scratch.len)
		memcpy(copy, e->scratch.data, e->scratch.len);
	return copy;
}

/* Room for a known number of attributes. */
struct attr_list {
	Sonde__Otlp__KeyValue **v;
	size_t n, max;
};

static struct attr_list attr_list(struct otlp_encoder *e, size_t max)
{
	struct attr_list l = {.v = alloc(e, max * sizeof(*l.v))};

	l.max = l.v ? max : 0;
	return l;
}

static Sonde__Otlp__AnyValue *put(struct otlp_encoder *e, struct attr_list *l, const char *key)
{
	Sonde__Otlp__KeyValue *kv;

	if (l->n == l->max)
		return NULL;
	kv = NEW(e, KeyValue, key_value);
	if (!kv)
		return NULL;
	kv->value = NEW(e, AnyValue, any_value);
	kv->key = text(e, str_of(key));
	l->v[l->n++] = kv;
	return kv->value;
}

static void put_str(struct otlp_encoder *e, struct attr_list *l, const char *key, struct str value)
{
	Sonde__Otlp__AnyValue *v = put(e, l, key);

	if (!v)
		return;
	v->value_case = SONDE__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
	v->string_value = text(e, value);
}

static void put_int(struct otlp_encoder *e, struct attr_list *l, const char *key, int64_t value)
{
	Sonde__Otlp__AnyValue *v = put(e, l, key);

	if (!v)
		return;
	v->value_case = SONDE__OTLP__ANY_VALUE__VALUE_INT_VALUE;
	v->int_value = value;
}

static void put_double(struct otlp_encoder *e, struct attr_list *l, const char *key, double value)
{
	Sonde__Otlp__AnyValue *v = put(e, l, key);

	if (!v)
		return;
	v->value_case = SONDE__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE;
	v->double_value = value;
}

static bool ends_with(struct str s, struct str end)
{
	return s.len >= end.len && !memcmp(s.p + s.len - end.len, end.p, end.len);
}

/*
 * Labels and resource attributes are text in the model. The conventions make ports,
 * process ids and numeric status codes integers; a value that is no plain number stays text.
 */
static void put_label(struct otlp_encoder *e, struct attr_list *l, const char *key, const char *value)
{
	static const struct str numbers[] = {STR(".port"), STR(".pid"), STR(".parent_pid"), STR(".status_code")};
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (ends_with(str_of(key), numbers[i]) && !str_to_u64(str_of(value), &n) && n <= UINT32_MAX) {
			put_int(e, l, key, (int64_t)n);
			return;
		}
	}
	put_str(e, l, key, str_of(value));
}

/* ---- resource and scope ---- */

static bool has_resource_attr(const struct service *s, const char *name)
{
	for (size_t i = 0; s && i < s->n_attrs; i++) {
		if (!strcmp(s->attrs[i].name, name))
			return true;
	}
	return false;
}

static Sonde__Otlp__Resource *make_resource(struct otlp_encoder *e, const struct service *s)
{
	Sonde__Otlp__Resource *r = NEW(e, Resource, resource);
	struct attr_list l = attr_list(e, 5 + (s ? s->n_attrs : 0));

	if (!r)
		return NULL;
	put_str(e, &l, "service.name", str_of(s ? s->name : "sonde"));
	if (s && *s->namespace_)
		put_str(e, &l, "service.namespace", str_of(s->namespace_));
	if (s && *s->instance)
		put_str(e, &l, "service.instance.id", str_of(s->instance));
	for (size_t i = 0; s && i < s->n_attrs; i++)
		put_label(e, &l, s->attrs[i].name, s->attrs[i].value);
	if (!has_resource_attr(s, "telemetry.distro.name"))
		put_str(e, &l, "telemetry.distro.name", STR("sonde"));
	if (!has_resource_attr(s, "telemetry.distro.version"))
		put_str(e, &l, "telemetry.distro.version", str_of(e->version));
	r->attributes = l.v;
	r->n_attributes = l.n;
	return r;
}

static Sonde__Otlp__InstrumentationScope *make_scope(struct otlp_encoder *e)
{
	Sonde__Otlp__InstrumentationScope *s = NEW(e, InstrumentationScope, instrumentation_scope);

	if (!s)
		return NULL;
	s->name = "sonde";
	s->version = text(e, str_of(e->version));
	return s;
}

/* ---- spans ---- */

static int compare_spans(const void *a, const void *b)
{
	const struct span *x = *(struct span *const *)a, *y = *(struct span *const *)b;
	uint32_t i = x->call.service ? x->call.service->id : 0, j = y->call.service ? y->call.service->id : 0;

	if (i != j)
		return i < j ? -1 : 1;
	if (x->start_wall_ns != y->start_wall_ns)
		return x->start_wall_ns < y->start_wall_ns ? -1 : 1;
	return 0;
}

void otlp_sort_spans(struct span **spans, size_t n)
{
	qsort(spans, n, sizeof(*spans), compare_spans);
}

static void put_once(struct otlp_encoder *e, struct attr_list *l, const struct call *c, const struct attr_key *key,
		     struct str value)
{
	if (value.len && !call_attr(c, key))
		put_str(e, l, key->name, value);
}

static void put_peer(struct otlp_encoder *e, struct attr_list *l, const struct call *c)
{
	char addr[NET_ADDR_TEXT];

	put_once(e, l, c, &attr_network_peer_address, str_of(net_addr_text(&c->peer, addr)));
	if (c->peer.port && !call_attr(c, &attr_network_peer_port))
		put_int(e, l, attr_network_peer_port.name, c->peer.port);
	if (c->local.family == NET_UNIX || c->peer.family == NET_UNIX)
		put_once(e, l, c, &attr_network_transport, STR("unix"));
}

/* What a span says beyond the call's own attributes, at most. */
#define EXTRA_ATTRS 8

static struct attr_list span_attrs(struct otlp_encoder *e, const struct call *c)
{
	const struct proto *p = c->proto < PROTO_MAX ? proto_table[c->proto] : NULL;
	struct attr_list l = attr_list(e, c->n_attrs + EXTRA_ATTRS);

	for (size_t i = 0; i < c->n_attrs; i++) {
		if (c->attrs[i].type == ATTR_INT)
			put_int(e, &l, c->attrs[i].key->name, c->attrs[i].i);
		else
			put_str(e, &l, c->attrs[i].key->name, c->attrs[i].s);
	}
	if (p && p->route_key && c->role == ROLE_SERVER)
		put_once(e, &l, c, p->route_key, c->route);
	put_once(e, &l, c, &attr_error_type, c->error_type);
	put_peer(e, &l, c);
	if (c->tid)
		put_int(e, &l, "thread.id", c->tid);
	if (c->wait_ns != WAIT_UNKNOWN)
		put_double(e, &l, "sonde.request.wait", (double)c->wait_ns / NSEC_PER_SEC);
	return l;
}

static ProtobufCBinaryData bytes(const uint8_t *p, size_t len)
{
	return (ProtobufCBinaryData){len, (uint8_t *)p};
}

/* The parent came in on the request, from another process. */
static bool parent_is_remote(const struct span *s)
{
	return s->has_parent && s->call.parent.valid &&
	       !memcmp(s->parent_id, s->call.parent.span_id, sizeof(s->parent_id));
}

static Sonde__Otlp__Span *make_span(struct otlp_encoder *e, const struct span *s)
{
	Sonde__Otlp__Span *m = NEW(e, Span, span);
	struct attr_list l = span_attrs(e, &s->call);

	if (!m)
		return NULL;
	m->trace_id = bytes(s->trace_id, sizeof(s->trace_id));
	m->span_id = bytes(s->span_id, sizeof(s->span_id));
	if (s->has_parent)
		m->parent_span_id = bytes(s->parent_id, sizeof(s->parent_id));
	if (s->call.parent.valid)
		m->trace_state = text(e, s->call.parent.state);
	m->flags = s->flags | FLAG_HAS_IS_REMOTE | (parent_is_remote(s) ? FLAG_IS_REMOTE : 0);
	m->name = text(e, str_of(s->name));
	m->kind = s->call.role == ROLE_SERVER ? SONDE__OTLP__SPAN__SPAN_KIND__SPAN_KIND_SERVER
					      : SONDE__OTLP__SPAN__SPAN_KIND__SPAN_KIND_CLIENT;
	m->start_time_unix_nano = s->start_wall_ns;
	m->end_time_unix_nano = s->end_wall_ns;
	m->attributes = l.v;
	m->n_attributes = l.n;
	if (s->call.failed && (m->status = NEW(e, Status, status)))
		m->status->code = SONDE__OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR;
	return m;
}

static size_t service_bytes(const struct service *s)
{
	size_t n = 300;

	if (!s)
		return n;
	n += strlen(s->name) + strlen(s->namespace_) + strlen(s->instance);
	for (size_t i = 0; i < s->n_attrs; i++)
		n += strlen(s->attrs[i].name) + strlen(s->attrs[i].value) + 10;
	return n;
}

static size_t span_bytes(const struct span *s)
{
	size_t n = 300 + strlen(s->name) + s->call.route.len + s->call.parent.state.len;

	for (size_t i = 0; i < s->call.n_attrs; i++)
		n += 50 + (s->call.attrs[i].type == ATTR_STR ? s->call.attrs[i].s.len : 0);
	return n;
}

/* How many from the front make one request, and under how many resources. */
static size_t spans_that_fit(struct span *const *spans, size_t n, size_t *ret_services)
{
	size_t size = 0, services = 0, i;

	for (i = 0; i < n; i++) {
		bool new_service = !i || spans[i]->call.service != spans[i - 1]->call.service;

		size += span_bytes(spans[i]) + (new_service ? service_bytes(spans[i]->call.service) : 0);
		if (i && size > OTLP_REQUEST_BYTES)
			break;
		services += new_service;
	}
	*ret_services = services;
	return i;
}

/* The spans at the front that share one service. */
static Sonde__Otlp__ResourceSpans *make_resource_spans(struct otlp_encoder *e, struct span *const *spans, size_t n,
						       size_t *ret_used)
{
	Sonde__Otlp__ResourceSpans *rs = NEW(e, ResourceSpans, resource_spans);
	Sonde__Otlp__ScopeSpans *ss = NEW(e, ScopeSpans, scope_spans);
	size_t used = 0;

	while (used < n && spans[used]->call.service == spans[0]->call.service)
		used++;
	*ret_used = used;
	if (!rs || !ss || !(rs->scope_spans = alloc(e, sizeof(ss))) ||
	    !(ss->spans = alloc(e, used * sizeof(*ss->spans))))
		return NULL;
	rs->resource = make_resource(e, spans[0]->call.service);
	rs->schema_url = ss->schema_url = SEMCONV_SCHEMA_URL;
	rs->scope_spans[0] = ss;
	rs->n_scope_spans = 1;
	ss->scope = make_scope(e);
	for (size_t i = 0; i < used; i++)
		ss->spans[i] = make_span(e, spans[i]);
	ss->n_spans = used;
	return rs;
}

int otlp_encode_spans(struct otlp_encoder *e, struct span *const *spans, size_t n, struct buf *out, size_t *ret_used)
{
	Sonde__Otlp__ExportTraceServiceRequest req = SONDE__OTLP__EXPORT_TRACE_SERVICE_REQUEST__INIT;
	size_t services, used = spans_that_fit(spans, n, &services), at = 0, step;
	int err;

	reset(e);
	req.resource_spans = alloc(e, services * sizeof(*req.resource_spans));
	while (!e->err && at < used) {
		req.resource_spans[req.n_resource_spans++] = make_resource_spans(e, spans + at, used - at, &step);
		at += step;
	}
	err = pack(e, &req.base, out);
	reset(e);
	if (!err)
		*ret_used = used;
	return err;
}

/* ---- metrics ---- */

static int compare_points(const void *a, const void *b)
{
	const struct otlp_point *x = a, *y = b;

	if (x->service != y->service) {
		uint32_t i = x->service ? x->service->id : 0, j = y->service ? y->service->id : 0;

		if (i != j)
			return i < j ? -1 : 1;
	}
	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	return x->point < y->point ? -1 : x->point > y->point;
}

int otlp_index_points(const struct snapshot *s, const struct service *self, struct otlp_point **ret, size_t *ret_n)
{
	struct otlp_point *p;
	size_t n = 0;

	for (size_t f = 0; f < s->n_families; f++)
		n += s->families[f].inst->kind == INST_INFO ? 0 : s->families[f].n_points;
	p = calloc(MAX(n, (size_t)1), sizeof(*p));
	if (!p)
		return -ENOMEM;
	n = 0;
	for (size_t f = 0; f < s->n_families; f++) {
		const struct family *fam = &s->families[f];

		for (size_t i = 0; fam->inst->kind != INST_INFO && i < fam->n_points; i++) {
			const struct service *owner = fam->points[i].service;

			p[n++] = (struct otlp_point){owner ? owner : self, fam, &fam->points[i], NULL};
		}
	}
	qsort(p, n, sizeof(*p), compare_points);
	*ret = p;
	*ret_n = n;
	return 0;
}

static void point_attrs(struct otlp_encoder *e, const struct point *p, Sonde__Otlp__KeyValue ***ret, size_t *ret_n)
{
	struct attr_list l = attr_list(e, p->labels ? p->labels->n : 0);

	for (uint32_t i = 0; p->labels && i < p->labels->n; i++)
		put_label(e, &l, p->labels->l[i].name, p->labels->l[i].value);
	*ret = l.v;
	*ret_n = l.n;
}

static Sonde__Otlp__NumberDataPoint *make_number(struct otlp_encoder *e, const struct otlp_point *p, uint64_t wall_ns)
{
	Sonde__Otlp__NumberDataPoint *m = NEW(e, NumberDataPoint, number_data_point);

	if (!m)
		return NULL;
	point_attrs(e, p->point, &m->attributes, &m->n_attributes);
	if (p->family->inst->kind != INST_GAUGE)
		m->start_time_unix_nano = p->since ? p->since->until_ns : p->point->start_ns;
	m->time_unix_nano = wall_ns;
	m->value_case = SONDE__OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE;
	m->as_double = p->point->value - (p->since ? p->since->value : 0);
	return m;
}

static Sonde__Otlp__HistogramDataPoint *make_histogram(struct otlp_encoder *e, const struct otlp_point *p,
						       uint64_t wall_ns)
{
	Sonde__Otlp__HistogramDataPoint *m = NEW(e, HistogramDataPoint, histogram_data_point);
	const struct otlp_series *s = p->since;
	size_t n = p->family->n_bounds + 1;

	if (!m || !(m->bucket_counts = alloc(e, n * sizeof(*m->bucket_counts))))
		return NULL;
	point_attrs(e, p->point, &m->attributes, &m->n_attributes);
	m->start_time_unix_nano = s ? s->until_ns : p->point->start_ns;
	m->time_unix_nano = wall_ns;
	m->count = p->point->hist.count - (s ? s->count : 0);
	m->optional_sum_case = SONDE__OTLP__HISTOGRAM_DATA_POINT__OPTIONAL_SUM_SUM;
	m->sum = p->point->hist.sum - (s ? s->value : 0);
	for (size_t i = 0; i < n; i++)
		m->bucket_counts[i] = p->point->hist.buckets[i] - (s ? s->buckets[i] : 0);
	m->n_bucket_counts = n;
	m->explicit_bounds = (double *)p->family->bounds;
	m->n_explicit_bounds = p->family->n_bounds;
	return m;
}

static Sonde__Otlp__AggregationTemporality temporality(const struct otlp_point *p)
{
	return p->since ? SONDE__OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_DELTA
			: SONDE__OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE;
}

static Sonde__Otlp__NumberDataPoint **make_numbers(struct otlp_encoder *e, const struct otlp_point *p, size_t n,
						   uint64_t wall_ns)
{
	Sonde__Otlp__NumberDataPoint **v = alloc(e, n * sizeof(*v));

	for (size_t i = 0; v && i < n; i++)
		v[i] = make_number(e, &p[i], wall_ns);
	return v;
}

static void fill_gauge(struct otlp_encoder *e, Sonde__Otlp__Metric *m, const struct otlp_point *p, size_t n,
		       uint64_t wall_ns)
{
	Sonde__Otlp__Gauge *g = m->gauge = NEW(e, Gauge, gauge);

	if (!g)
		return;
	m->data_case = SONDE__OTLP__METRIC__DATA_GAUGE;
	g->data_points = make_numbers(e, p, n, wall_ns);
	g->n_data_points = n;
}

static void fill_sum(struct otlp_encoder *e, Sonde__Otlp__Metric *m, const struct otlp_point *p, size_t n,
		     uint64_t wall_ns)
{
	Sonde__Otlp__Sum *s = m->sum = NEW(e, Sum, sum);

	if (!s)
		return;
	m->data_case = SONDE__OTLP__METRIC__DATA_SUM;
	s->aggregation_temporality = temporality(p);
	s->is_monotonic = p->family->inst->kind == INST_COUNTER;
	s->data_points = make_numbers(e, p, n, wall_ns);
	s->n_data_points = n;
}

static void fill_histogram(struct otlp_encoder *e, Sonde__Otlp__Metric *m, const struct otlp_point *p, size_t n,
			   uint64_t wall_ns)
{
	Sonde__Otlp__Histogram *h = m->histogram = NEW(e, Histogram, histogram);

	if (!h || !(h->data_points = alloc(e, n * sizeof(*h->data_points))))
		return;
	m->data_case = SONDE__OTLP__METRIC__DATA_HISTOGRAM;
	h->aggregation_temporality = temporality(p);
	for (size_t i = 0; i < n; i++)
		h->data_points[i] = make_histogram(e, &p[i], wall_ns);
	h->n_data_points = n;
}

/* The points at the front that share service and family. */
static Sonde__Otlp__Metric *make_metric(struct otlp_encoder *e, const struct otlp_point *p, size_t n, uint64_t wall_ns)
{
	const struct instrument *inst = p->family->inst;
	Sonde__Otlp__Metric *m = NEW(e, Metric, metric);

	if (!m)
		return NULL;
	m->name = text(e, str_of(inst->name));
	m->description = text(e, str_of(inst->help));
	m->unit = text(e, str_of(inst->unit));
	if (inst->kind == INST_HISTOGRAM)
		fill_histogram(e, m, p, n, wall_ns);
	else if (inst->kind == INST_GAUGE)
		fill_gauge(e, m, p, n, wall_ns);
	else
		fill_sum(e, m, p, n, wall_ns);
	return m;
}

static bool same_metric(const struct otlp_point *a, const struct otlp_point *b)
{
	return a->service == b->service && a->family == b->family;
}

static void fill_scope_metrics(struct otlp_encoder *e, Sonde__Otlp__ScopeMetrics *sm, const struct otlp_point *p,
			       size_t n, uint64_t wall_ns)
{
	size_t families = 0, end;

	for (size_t i = 0; i < n; i++)
		families += !i || !same_metric(&p[i], &p[i - 1]);
	sm->metrics = alloc(e, families * sizeof(*sm->metrics));
	for (size_t at = 0; sm->metrics && at < n; at = end) {
		end = at + 1;
		while (end < n && same_metric(&p[at], &p[end]))
			end++;
		sm->metrics[sm->n_metrics++] = make_metric(e, p + at, end - at, wall_ns);
	}
}

static Sonde__Otlp__ResourceMetrics *make_resource_metrics(struct otlp_encoder *e, const struct otlp_point *p, size_t n,
							   uint64_t wall_ns, size_t *ret_used)
{
	Sonde__Otlp__ResourceMetrics *rm = NEW(e, ResourceMetrics, resource_metrics);
	Sonde__Otlp__ScopeMetrics *sm = NEW(e, ScopeMetrics, scope_metrics);
	size_t used = 0;

	while (used < n && p[used].service == p[0].service)
		used++;
	*ret_used = used;
	if (!rm || !sm || !(rm->scope_metrics = alloc(e, sizeof(sm))))
		return NULL;
	rm->resource = make_resource(e, p[0].service);
	rm->schema_url = sm->schema_url = SEMCONV_SCHEMA_URL;
	rm->scope_metrics[0] = sm;
	rm->n_scope_metrics = 1;
	sm->scope = make_scope(e);
	fill_scope_metrics(e, sm, p, used, wall_ns);
	return rm;
}

static size_t point_bytes(const struct otlp_point *p)
{
	const struct labels *l = p->point->labels;
	size_t n = 60;

	for (uint32_t i = 0; l && i < l->n; i++)
		n += strlen(l->l[i].name) + strlen(l->l[i].value) + 10;
	return n + (p->family->inst->kind == INST_HISTOGRAM ? p->family->n_bounds * 16 + 30 : 0);
}

static size_t points_that_fit(const struct otlp_point *p, size_t n, size_t *ret_services)
{
	size_t size = 0, services = 0, i;

	for (i = 0; i < n; i++) {
		bool new_service = !i || p[i].service != p[i - 1].service;
		bool new_metric = !i || !same_metric(&p[i], &p[i - 1]);

		size += point_bytes(&p[i]) + (new_service ? service_bytes(p[i].service) : 0) + (new_metric ? 200 : 0);
		if (i && size > OTLP_REQUEST_BYTES)
			break;
		services += new_service;
	}
	*ret_services = services;
	return i;
}

int otlp_encode_points(struct otlp_encoder *e, const struct otlp_point *p, size_t n, uint64_t wall_ns, struct buf *out,
		       size_t *ret_used)
{
	Sonde__Otlp__ExportMetricsServiceRequest req = SONDE__OTLP__EXPORT_METRICS_SERVICE_REQUEST__INIT;
	size_t services, used = points_that_fit(p, n, &services), at = 0, step;
	int err;

	reset(e);
	req.resource_metrics = alloc(e, services * sizeof(*req.resource_metrics));
	while (!e->err && at < used) {
		req.resource_metrics[req.n_resource_metrics++] =
			make_resource_metrics(e, p + at, used - at, wall_ns, &step);
		at += step;
	}
	err = pack(e, &req.base, out);
	reset(e);
	if (!err)
		*ret_used = used;
	return err;
}
