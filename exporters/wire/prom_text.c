/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Families are written in the order of their names. The labels of a series are put together once
 * and reused for each of its lines.
 */
#include "exporters/wire/prom_text.h"

#include <ctype.h>
#include <stdio.h>

#define CONTENT_TEXT "text/plain; version=0.0.4; charset=utf-8"
#define CONTENT_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

const char *prom_content_type(enum prom_format format)
{
	return format == PROM_TEXT ? CONTENT_TEXT : CONTENT_OPENMETRICS;
}

/* UCUM → Prometheus base units; annotations ({request}) and "1" have none. */
static const char *unit_word(const char *unit)
{
	static const struct {
		const char *ucum, *word;
	} units[] = {
		{ "s", "seconds" }, { "ms", "milliseconds" }, { "us", "microseconds" }, { "ns", "nanoseconds" },
		{ "By", "bytes" },  { "%", "percent" },	      { "Cel", "celsius" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(units[i].ucum, unit))
			return units[i].word;
	return "";
}

static bool ends_with(const char *s, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len > n && s[len - n - 1] == '_' && !memcmp(s + len - n, word, n);
}

const char *prom_name(const struct instrument *inst, char dst[PROM_NAME_MAX])
{
	const char *unit = unit_word(inst->unit);
	size_t n = 0;

	for (const char *p = inst->name; *p && n < PROM_NAME_MAX - 32; p++)
		dst[n++] = isalnum((unsigned char)*p) || *p == ':' ? *p : '_';
	dst[n] = 0;
	if (*unit && inst->kind != INST_INFO && !ends_with(dst, n, unit))
		snprintf(dst + n, PROM_NAME_MAX - n, "_%s", unit);
	return dst;
}

static void put_label_name(struct buf *b, const char *name)
{
	if (isdigit((unsigned char)*name))
		buf_addc(b, '_');
	for (; *name; name++)
		buf_addc(b, isalnum((unsigned char)*name) ? *name : '_');
}

static void put_escaped(struct buf *b, const char *v, bool quotes)
{
	for (; *v; v++) {
		if (*v == '\n')
			buf_puts(b, "\\n");
		else if (*v == '\\' || (*v == '"' && quotes))
			buf_add(b, (char[]){ '\\', *v }, 2);
		else
			buf_addc(b, *v);
	}
}

static void put_label(struct buf *b, const char *name, const char *value)
{
	if (b->len)
		buf_addc(b, ',');
	put_label_name(b, name);
	buf_puts(b, "=\"");
	put_escaped(b, value, true);
	buf_addc(b, '"');
}

static void put_service(struct buf *b, const struct service *s)
{
	if (!s)
		return;
	put_label(b, "service_name", s->name);
	if (*s->namespace_)
		put_label(b, "service_namespace", s->namespace_);
	put_label(b, "service_instance_id", s->instance);
}

/* The labels without braces, into a cleared buffer. */
static void point_labels(struct buf *b, const struct point *p)
{
	buf_clear(b);
	put_service(b, p->service);
	for (uint32_t i = 0; p->labels && i < p->labels->n; i++)
		put_label(b, p->labels->l[i].name, p->labels->l[i].value);
}

static void put_value(struct buf *b, double v, enum prom_format format)
{
	if (v == (double)(int64_t)v && v > -1e15 && v < 1e15) {
		if (v < 0)
			buf_addc(b, '-');
		buf_u64(b, v < 0 ? (uint64_t)-v : (uint64_t)v);
		if (format == PROM_OPENMETRICS)
			buf_puts(b, ".0");
	} else {
		buf_double(b, v);
	}
	buf_addc(b, '\n');
}

static void put_series(struct buf *b, const char *name, const char *suffix, const struct buf *labels)
{
	buf_puts(b, name);
	buf_puts(b, suffix);
	if (labels->len) {
		buf_addc(b, '{');
		buf_add(b, labels->data, labels->len);
		buf_addc(b, '}');
	}
	buf_addc(b, ' ');
}

/* A bound as the format wants it in `le`: OpenMetrics insists on a float. */
static void put_bound(struct buf *b, double bound, enum prom_format format)
{
	size_t at = b->len;

	buf_double(b, bound);
	if (format == PROM_OPENMETRICS && b->data && !strpbrk(b->data + at, ".eE"))
		buf_puts(b, ".0");
}

static void put_histogram(struct buf *b, const char *name, const struct family *f, const struct point *p,
			  const struct buf *labels, enum prom_format format)
{
	uint64_t sum = 0;

	for (size_t i = 0; i <= f->n_bounds; i++) {
		sum += p->hist.buckets[i];
		buf_puts(b, name);
		buf_puts(b, "_bucket{");
		if (labels->len) {
			buf_add(b, labels->data, labels->len);
			buf_addc(b, ',');
		}
		buf_puts(b, "le=\"");
		if (i == f->n_bounds)
			buf_puts(b, "+Inf");
		else
			put_bound(b, f->bounds[i], format);
		buf_puts(b, "\"} ");
		buf_u64(b, sum);
		buf_addc(b, '\n');
	}
	put_series(b, name, "_sum", labels);
	put_value(b, p->hist.sum, format);
	put_series(b, name, "_count", labels);
	buf_u64(b, sum);
	buf_addc(b, '\n');
}

static void put_head(struct buf *b, const char *name, const struct instrument *inst, enum prom_format format)
{
	bool om = format == PROM_OPENMETRICS, info = inst->kind == INST_INFO;
	const char *total = inst->kind == INST_COUNTER && !om ? "_total" : "";
	const char *type = inst->kind == INST_COUNTER ? "counter" : inst->kind == INST_HISTOGRAM ? "histogram" :
			   info && om ? "info" : "gauge";
	const char *unit = info ? "" : unit_word(inst->unit);
	int len = strlen(name);

	/* OpenMetrics: an info family's name lacks the _info of its sample */
	if (info && om && ends_with(name, len, "info"))
		len -= strlen("_info");
	buf_printf(b, "# HELP %.*s%s ", len, name, total);
	put_escaped(b, inst->help ?: "", om);
	buf_printf(b, "\n# TYPE %.*s%s %s\n", len, name, total, type);
	if (om && *unit && ends_with(name, len, unit))
		buf_printf(b, "# UNIT %.*s %s\n", len, name, unit);
}

static void put_family(struct buf *b, const struct family *f, struct buf *labels, enum prom_format format)
{
	const char *suffix = f->inst->kind == INST_COUNTER ? "_total" : "";
	char name[PROM_NAME_MAX];

	if (!f->n_points)
		return;
	put_head(b, prom_name(f->inst, name), f->inst, format);
	for (size_t i = 0; i < f->n_points; i++) {
		const struct point *p = &f->points[i];

		point_labels(labels, p);
		if (f->inst->kind == INST_HISTOGRAM) {
			put_histogram(b, name, f, p, labels, format);
			continue;
		}
		put_series(b, name, suffix, labels);
		put_value(b, f->inst->kind == INST_INFO ? 1 : p->value, format);
	}
}

static const struct instrument target_info = {
	"target_info", "", "Attributes of the service: its OpenTelemetry resource.", INST_INFO
};

/* Two attributes may become one label name: their values are joined by ';' as the specification says. */
static void put_attrs(struct buf *labels, const struct service *s)
{
	for (size_t i = 0; i < s->n_attrs; i++) {
		struct buf a = BUF_INIT, joined = BUF_INIT;
		bool first = true;

		put_label_name(&a, s->attrs[i].name);
		for (size_t k = 0; k < s->n_attrs; k++) {
			struct buf other = BUF_INIT;

			put_label_name(&other, s->attrs[k].name);
			if (str_eq(buf_view(&a), buf_view(&other))) {
				first = first && k >= i;
				if (joined.len)
					buf_addc(&joined, ';');
				buf_utf8(&joined, str_of(s->attrs[k].value));
			}
			buf_done(&other);
		}
		if (first && a.data)
			put_label(labels, a.data, joined.data ?: "");
		buf_done(&a);
		buf_done(&joined);
	}
}

static void put_target(struct buf *b, const struct service *s, struct buf *labels, enum prom_format format)
{
	buf_clear(labels);
	put_service(labels, s);
	put_attrs(labels, s);
	put_series(b, "target_info", "", labels);
	put_value(b, 1, format);
}

static void put_targets(struct buf *b, const struct snapshot *s, const struct service *self, struct buf *labels,
			enum prom_format format)
{
	if (!s->n_services && !self)
		return;
	put_head(b, target_info.name, &target_info, format);
	if (self)
		put_target(b, self, labels, format);
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i] != self)
			put_target(b, s->services[i], labels, format);
}

static int by_name(const void *a, const void *b)
{
	const struct family *x = *(const struct family *const *)a, *y = *(const struct family *const *)b;
	char xn[PROM_NAME_MAX], yn[PROM_NAME_MAX];

	return strcmp(prom_name(x->inst, xn), prom_name(y->inst, yn));
}

void prom_text_write(struct buf *b, const struct snapshot *s, const struct service *self, enum prom_format format)
{
	const struct family **sorted = calloc(s->n_families + 1, sizeof(*sorted));
	struct buf labels = BUF_INIT;

	if (!sorted) {
		b->err = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < s->n_families; i++)
		sorted[i] = &s->families[i];
	qsort(sorted, s->n_families, sizeof(*sorted), by_name);
	for (size_t i = 0; i < s->n_families; i++)
		put_family(b, sorted[i], &labels, format);
	put_targets(b, s, self, &labels, format);
	if (format == PROM_OPENMETRICS)
		buf_puts(b, "# EOF\n");
	if (labels.err && !b->err)
		b->err = labels.err;
	buf_done(&labels);
	free(sorted);
}
