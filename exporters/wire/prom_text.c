// SPDX-License-Identifier: Apache-2.0
/*
 * One pass per family. First each point's labels are put together, once, in one buffer; rows
 * that come to the same labels are chained (a duplicate series makes a whole scrape invalid).
 * Then each row is written, and a histogram's lines share their labels and the family's
 * ready-made `le` texts: a line costs a few memcpy.
 */
#include "exporters/wire/prom_text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "user/base/hmap.h"
#include "user/base/log.h"

#define LABELS_MAX 128 /* of one series; OpenTelemetry's own limit of attributes */

/* One label of the series at hand. */
struct part {
	size_t name_at, name_len; /* in writer.names */
	const char *value;
	int same_as; /* index of the first part with this name; -1: this is the first */
};

/* One series of the family at hand. */
struct row {
	size_t at, len; /* in writer.labels */
	uint64_t hash;
	const struct point *p;
	uint32_t next; /* 1 + index of the row with the same labels; 0: none */
	bool shadowed; /* is in another row's chain */
};

struct writer {
	struct buf *out;
	enum prom_format format;
	struct buf labels, names, clean, bounds;
	struct part parts[LABELS_MAX];
	size_t n_parts;
	struct row *rows;
	size_t n_rows, cap_rows;
	uint32_t *slots; /* open addressing: 1 + index of a row; a power of two, at least twice the rows */
	size_t n_slots;
};

/* A family under its Prometheus name. */
struct named {
	char name[PROM_NAME_MAX];
	size_t base_len; /* of the family's own name: OpenMetrics leaves out _total and _info */
	const struct family *f;
};

static const struct instrument target_info = {
	.name = "target_info",
	.unit = "",
	.help = "Attributes of the service: its OpenTelemetry resource.",
	.kind = INST_INFO,
};

const char *prom_content_type(enum prom_format format)
{
	return format == PROM_TEXT ? "text/plain; version=0.0.4; charset=utf-8"
				   : "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

/* --- names --- */

/* UCUM to Prometheus; annotations ({request}) and "1" have no word. */
static const char *unit_word(const char *unit)
{
	static const struct {
		const char *ucum, *word;
	} units[] = {
		{"s", "seconds"},      {"ms", "milliseconds"}, {"us", "microseconds"}, {"ns", "nanoseconds"},
		{"min", "minutes"},    {"h", "hours"},	       {"d", "days"},	       {"By", "bytes"},
		{"KiBy", "kibibytes"}, {"MiBy", "mebibytes"},  {"kBy", "kilobytes"},   {"MBy", "megabytes"},
		{"%", "percent"},      {"Cel", "celsius"},     {"Hz", "hertz"},	       {"By/s", "bytes_per_second"},
	};

	for (size_t i = 0; unit && i < ARRAY_SIZE(units); i++) {
		if (!strcmp(units[i].ucum, unit))
			return units[i].word;
	}
	return "";
}

static bool ends_with(const char *s, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len > n && s[len - n - 1] == '_' && !memcmp(s + len - n, word, n);
}

const char *prom_name(const struct instrument *inst, char dst[PROM_NAME_MAX])
{
	const char *unit = inst->kind == INST_INFO ? "" : unit_word(inst->unit);
	size_t n = 0;

	if (isdigit((unsigned char)*inst->name))
		dst[n++] = '_';
	for (const char *p = inst->name; *p && n < PROM_NAME_MAX - 32; p++) {
		char c = isalnum((unsigned char)*p) || *p == ':' ? *p : '_';

		/* several invalid characters in a row become one underscore */
		if (c != '_' || *p == '_' || !n || dst[n - 1] != '_')
			dst[n++] = c;
	}
	/* the unit stands before _total */
	if (inst->kind == INST_COUNTER && ends_with(dst, n, "total"))
		n -= strlen("_total");
	dst[n] = 0;
	if (*unit && !ends_with(dst, n, unit))
		snprintf(dst + n, PROM_NAME_MAX - n, "_%s", unit);
	return dst;
}

/* --- labels --- */

static void add_part(struct writer *w, const char *name, const char *value)
{
	struct part *p = &w->parts[w->n_parts];

	/* an empty label is no label */
	if (!*value || w->n_parts == LABELS_MAX)
		return;
	*p = (struct part){.name_at = w->names.len, .value = value, .same_as = -1};
	if (isdigit((unsigned char)*name))
		buf_puts(&w->names, "key_");
	else if (name[0] == '_' && name[1] == '_') /* reserved for Prometheus itself */
		buf_puts(&w->names, "key");
	for (; *name; name++)
		buf_addc(&w->names, isalnum((unsigned char)*name) ? *name : '_');
	if (w->names.err)
		return;
	p->name_len = w->names.len - p->name_at;
	for (size_t i = 0; i < w->n_parts && p->same_as < 0; i++) {
		const struct part *o = &w->parts[i];

		if (o->name_len == p->name_len && o->same_as < 0 &&
		    !memcmp(w->names.data + o->name_at, w->names.data + p->name_at, p->name_len))
			p->same_as = (int)i;
	}
	w->n_parts++;
}

static void add_service_parts(struct writer *w, const struct service *s)
{
	add_part(w, "service_name", s->name);
	add_part(w, "service_namespace", s->namespace_);
	add_part(w, "service_instance_id", s->instance);
}

static void put_escaped(struct buf *b, const char *v, size_t len, bool quotes)
{
	for (size_t i = 0; i < len; i++) {
		if (v[i] == '\n') {
			buf_puts(b, "\\n");
			continue;
		}
		if (v[i] == '\\' || (v[i] == '"' && quotes))
			buf_addc(b, '\\');
		buf_addc(b, v[i]);
	}
}

static void put_label_value(struct writer *w, const char *v)
{
	size_t len = 0;
	bool plain = true;

	for (; v[len]; len++)
		plain = plain && (signed char)v[len] >= ' ' && v[len] != '"' && v[len] != '\\';
	if (plain) {
		buf_add(&w->labels, v, len);
		return;
	}
	/* a resource may come from a program's environment: any bytes */
	buf_clear(&w->clean);
	buf_utf8(&w->clean, (struct str){v, len});
	put_escaped(&w->labels, w->clean.data ?: "", w->clean.len, true);
}

/* Histograms have a label of their own with this name. */
static bool is_le(const struct writer *w, const struct part *p)
{
	return p->name_len == 2 && !memcmp(w->names.data + p->name_at, "le", 2);
}

/* The parts as `a="x",b="y"` at the end of w->labels. */
static void put_parts(struct writer *w, bool histogram)
{
	for (size_t i = 0; i < w->n_parts; i++) {
		const struct part *p = &w->parts[i];

		if (p->same_as >= 0)
			continue;
		if (i)
			buf_addc(&w->labels, ',');
		if (histogram && is_le(w, p))
			buf_puts(&w->labels, "exported_");
		buf_add(&w->labels, w->names.data + p->name_at, p->name_len);
		buf_add(&w->labels, "=\"", 2);
		put_label_value(w, p->value);
		for (size_t k = i + 1; k < w->n_parts; k++) {
			if (w->parts[k].same_as != (int)i)
				continue;
			buf_addc(&w->labels, ';');
			put_label_value(w, w->parts[k].value);
		}
		buf_addc(&w->labels, '"');
	}
}

/* --- rows --- */

static int reserve_rows(struct writer *w, size_t n)
{
	size_t slots = 16;

	while (slots < n * 2)
		slots *= 2;
	if (n > w->cap_rows) {
		struct row *rows = realloc(w->rows, n * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		w->rows = rows;
		w->cap_rows = n;
	}
	free(w->slots);
	w->slots = calloc(slots, sizeof(*w->slots));
	w->n_slots = w->slots ? slots : 0;
	w->n_rows = 0;
	buf_clear(&w->labels);
	return w->slots ? 0 : -ENOMEM;
}

/* Finds the first row with these labels, or a place for the new one. */
static void chain_row(struct writer *w, struct row *r)
{
	const char *text = w->labels.data;
	size_t i = r->hash & (w->n_slots - 1);
	uint32_t index = (uint32_t)(r - w->rows) + 1;

	for (; w->slots[i]; i = (i + 1) & (w->n_slots - 1)) {
		struct row *o = &w->rows[w->slots[i] - 1];

		if (o->hash != r->hash || o->len != r->len || (r->len && memcmp(text + o->at, text + r->at, r->len)))
			continue;
		r->next = o->next;
		o->next = index;
		r->shadowed = true;
		return;
	}
	w->slots[i] = index;
}

static void add_row(struct writer *w, const struct point *p, const struct instrument *inst)
{
	struct row *r = &w->rows[w->n_rows++];

	w->n_parts = 0;
	buf_clear(&w->names);
	if (p->service)
		add_service_parts(w, p->service);
	for (uint32_t i = 0; p->labels && i < p->labels->n; i++)
		add_part(w, p->labels->l[i].name, p->labels->l[i].value);
	for (size_t i = 0; inst == &target_info && i < p->service->n_attrs; i++)
		add_part(w, p->service->attrs[i].name, p->service->attrs[i].value);
	*r = (struct row){.at = w->labels.len, .p = p};
	put_parts(w, inst->kind == INST_HISTOGRAM);
	if (w->labels.err || w->names.err)
		return;
	r->len = w->labels.len - r->at;
	r->hash = r->len ? hash_bytes(w->labels.data + r->at, r->len, 0) : 0;
	chain_row(w, r);
}

#define row_chain(w, r, i) for (const struct row *i = (r); i; i = i->next ? &(w)->rows[i->next - 1] : NULL)

/* --- lines --- */

static void put_value(struct buf *b, double v)
{
	if (v >= 0 && v < 0x1p63 && v == (double)(uint64_t)v)
		buf_u64(b, (uint64_t)v);
	else
		buf_double(b, v);
}

/*
 * A bound as a label value: the text is its identity, so it is the one that Prometheus's own
 * libraries write (Go's %g, shortest: exponents below 1e-4 and from 1e6 on). OpenMetrics wants
 * to see that it is a float.
 */
static void put_bound(struct buf *b, double v, enum prom_format format)
{
	size_t at = b->len;
	char text[40];
	int digits = 0, exp;

	if (!isfinite(v)) {
		buf_double(b, v);
		return;
	}
	do {
		snprintf(text, sizeof(text), "%.*e", digits, v);
	} while (strtod(text, NULL) != v && digits++ < 17);
	exp = atoi(strchr(text, 'e') + 1);
	if (exp < -4 || exp >= 6)
		buf_puts(b, text);
	else
		buf_printf(b, "%.*f", MAX(digits - exp, 0), v);
	if (format == PROM_OPENMETRICS && !b->err && !strpbrk(b->data + at, ".e"))
		buf_puts(b, ".0");
}

/* The tails of a histogram's bucket lines, each with its NUL: `le="0.5"} `. */
static void put_bounds(struct writer *w, const struct family *f)
{
	buf_clear(&w->bounds);
	for (size_t i = 0; i <= f->n_bounds; i++) {
		buf_puts(&w->bounds, "le=\"");
		put_bound(&w->bounds, i < f->n_bounds ? f->bounds[i] : INFINITY, w->format);
		buf_add(&w->bounds, "\"} ", 4);
	}
}

static void put_series(struct writer *w, struct str name, const char *suffix, const struct row *r)
{
	buf_str(w->out, name);
	buf_puts(w->out, suffix);
	if (r->len) {
		buf_addc(w->out, '{');
		buf_add(w->out, w->labels.data + r->at, r->len);
		buf_addc(w->out, '}');
	}
	buf_addc(w->out, ' ');
}

static void put_histogram(struct writer *w, struct str name, const struct family *f, const struct row *r)
{
	const char *tail = w->bounds.data;
	uint64_t count = 0;
	double sum = 0;

	for (size_t i = 0; i <= f->n_bounds; i++, tail += strlen(tail) + 1) {
		row_chain(w, r, same) count += same->p->hist.buckets[i];
		buf_str(w->out, name);
		buf_add(w->out, "_bucket{", 8);
		if (r->len) {
			buf_add(w->out, w->labels.data + r->at, r->len);
			buf_addc(w->out, ',');
		}
		buf_puts(w->out, tail);
		buf_u64(w->out, count);
		buf_addc(w->out, '\n');
	}
	row_chain(w, r, same) sum += same->p->hist.sum;
	put_series(w, name, "_sum", r);
	put_value(w->out, sum);
	buf_addc(w->out, '\n');
	put_series(w, name, "_count", r);
	buf_u64(w->out, count);
	buf_addc(w->out, '\n');
}

static double value_of(const struct writer *w, const struct row *r, enum instrument_kind kind)
{
	double v = 0;

	if (kind == INST_INFO)
		return 1;
	if (kind == INST_GAUGE)
		return r->p->value;
	row_chain(w, r, same) v += same->p->value;
	return v;
}

static void put_head(struct writer *w, const struct named *n)
{
	const struct instrument *inst = n->f->inst;
	bool om = w->format == PROM_OPENMETRICS, info = om && n->base_len < strlen(n->name);
	const char *type = inst->kind == INST_COUNTER	  ? "counter"
			   : inst->kind == INST_HISTOGRAM ? "histogram"
							  : "gauge";
	const char *total = inst->kind == INST_COUNTER && !om ? "_total" : "";
	const char *unit = inst->kind == INST_INFO ? "" : unit_word(inst->unit);
	int len = (int)n->base_len;

	if (inst->help && *inst->help) {
		buf_printf(w->out, "# HELP %.*s%s ", len, n->name, total);
		put_escaped(w->out, inst->help, strlen(inst->help), om);
		buf_addc(w->out, '\n');
	}
	buf_printf(w->out, "# TYPE %.*s%s %s\n", len, n->name, total, info ? "info" : type);
	if (om && *unit && ends_with(n->name, n->base_len, unit))
		buf_printf(w->out, "# UNIT %.*s %s\n", len, n->name, unit);
}

static void put_rows(struct writer *w, const struct named *n)
{
	const struct family *f = n->f;
	struct str name = str_of(n->name);
	const char *suffix = f->inst->kind == INST_COUNTER ? "_total" : "";

	put_head(w, n);
	if (f->inst->kind == INST_HISTOGRAM)
		put_bounds(w, f);
	if (w->labels.err || w->names.err || w->clean.err || w->bounds.err) {
		w->out->err = w->out->err ?: -ENOMEM;
		return;
	}
	for (size_t i = 0; i < w->n_rows; i++) {
		const struct row *r = &w->rows[i];

		if (r->shadowed)
			continue;
		if (f->inst->kind == INST_HISTOGRAM) {
			put_histogram(w, name, f, r);
			continue;
		}
		put_series(w, name, suffix, r);
		put_value(w->out, value_of(w, r, f->inst->kind));
		buf_addc(w->out, '\n');
	}
}

/* --- families --- */

static int by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	size_t len = MIN(x->base_len, y->base_len);

	return memcmp(x->name, y->name, len) ?: (x->base_len > y->base_len) - (x->base_len < y->base_len);
}

static bool may_join(const struct family *a, const struct family *b)
{
	return a->inst->kind == b->inst->kind && a->n_bounds == b->n_bounds &&
	       (!a->n_bounds || !memcmp(a->bounds, b->bounds, a->n_bounds * sizeof(*a->bounds)));
}

/* Writes the families that share the name of n[0]; `count` of them. */
static void put_group(struct writer *w, const struct named *n, size_t count)
{
	size_t points = 0;

	for (size_t i = 0; i < count; i++) {
		if (may_join(n->f, n[i].f))
			points += n[i].f->n_points;
		else
			log_debug("%s and %s have one name in Prometheus and differ: the second is left out",
				  n->f->inst->name, n[i].f->inst->name);
	}
	if (!points)
		return;
	if (reserve_rows(w, points)) {
		w->out->err = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; may_join(n->f, n[i].f) && k < n[i].f->n_points; k++)
			add_row(w, &n[i].f->points[k], n[i].f->inst);
	}
	put_rows(w, n);
}

static void name_family(struct named *n, const struct family *f, enum prom_format format)
{
	n->f = f;
	prom_name(f->inst, n->name);
	n->base_len = strlen(n->name);
	if (format == PROM_OPENMETRICS && f->inst->kind == INST_INFO && ends_with(n->name, n->base_len, "info"))
		n->base_len -= strlen("_info");
}

static int by_identity(const void *a, const void *b)
{
	const struct service *x = ((const struct point *)a)->service, *y = ((const struct point *)b)->service;

	return strcmp(x->name, y->name) ?: strcmp(x->namespace_, y->namespace_) ?: strcmp(x->instance, y->instance);
}

static int by_identity_and_age(const void *a, const void *b)
{
	const struct service *x = ((const struct point *)a)->service, *y = ((const struct point *)b)->service;

	return by_identity(a, b) ?: (x->id < y->id) - (x->id > y->id);
}

/* One point per identity, the youngest: two target_info of one service_instance_id would break every join. */
static int make_targets(const struct snapshot *s, const struct service *self, struct family *ret)
{
	struct point *points = calloc(s->n_services + 1, sizeof(*points));
	size_t n = 0, kept = 0;

	if (!points)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_services; i++)
		points[n++].service = s->services[i];
	if (self)
		points[n++].service = (struct service *)self;
	qsort(points, n, sizeof(*points), by_identity_and_age);
	for (size_t i = 0; i < n; i++) {
		if (!i || by_identity(&points[i - 1], &points[i]))
			points[kept++] = points[i];
	}
	*ret = (struct family){.inst = &target_info, .points = points, .n_points = kept};
	return 0;
}

static void put_families(struct writer *w, struct named *n, size_t count)
{
	qsort(n, count, sizeof(*n), by_name);
	for (size_t i = 0, k; i < count; i = k) {
		for (k = i + 1; k < count && !by_name(&n[i], &n[k]);)
			k++;
		put_group(w, &n[i], k - i);
	}
}

void prom_text_write(struct buf *b, const struct snapshot *s, const struct service *self, enum prom_format format)
{
	struct writer *w = calloc(1, sizeof(*w));
	struct named *names = malloc((s->n_families + 1) * sizeof(*names));
	struct family targets = {0};

	if (!w || !names || make_targets(s, self, &targets)) {
		b->err = b->err ?: -ENOMEM;
		goto out;
	}
	w->out = b;
	w->format = format;
	for (size_t i = 0; i < s->n_families; i++)
		name_family(&names[i], &s->families[i], format);
	name_family(&names[s->n_families], &targets, format);
	put_families(w, names, s->n_families + 1);
	if (format == PROM_OPENMETRICS)
		buf_puts(b, "# EOF\n");
	buf_done(&w->labels);
	buf_done(&w->names);
	buf_done(&w->clean);
	buf_done(&w->bounds);
	free(w->rows);
	free(w->slots);
out:
	free(targets.points);
	free(names);
	free(w);
}
