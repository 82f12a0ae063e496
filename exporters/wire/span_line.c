// SPDX-License-Identifier: Apache-2.0
/*
 * The fields have OpenTelemetry's names in JSON's usual spelling; ids are hexadecimal, as
 * traceparent has them. What came from traffic is escaped.
 */
#include "exporters/wire/span_line.h"

#include <time.h>

#include "user/base/clock.h"

static void put_text(struct buf *b, struct str text)
{
	buf_addc(b, '"');
	buf_json(b, text);
	buf_addc(b, '"');
}

static void put_hex(struct buf *b, const char *key, const uint8_t *p, size_t n)
{
	buf_printf(b, ",\"%s\":\"", key);
	for (size_t i = 0; i < n; i++)
		buf_printf(b, "%02x", p[i]);
	buf_addc(b, '"');
}

static void put_time(struct buf *b, const char *key, uint64_t wall_ns)
{
	time_t sec = (time_t)(wall_ns / NSEC_PER_SEC);
	struct tm tm;

	gmtime_r(&sec, &tm);
	buf_printf(b, ",\"%s\":\"%04d-%02d-%02dT%02d:%02d:%02d.%09lluZ\"", key, tm.tm_year + 1900, tm.tm_mon + 1,
		   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned long long)(wall_ns % NSEC_PER_SEC));
}

/* Behind an opening brace, or behind another pair. */
static void put_key(struct buf *b, const char *key)
{
	if (b->len && b->data[b->len - 1] != '{')
		buf_addc(b, ',');
	put_text(b, str_of(key));
	buf_addc(b, ':');
}

static void put_pair(struct buf *b, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	put_key(b, key);
	put_text(b, str_of(value));
}

static void put_resource(struct buf *b, const struct service *s)
{
	buf_puts(b, ",\"resource\":{");
	put_pair(b, "service.name", s->name);
	put_pair(b, "service.namespace", s->namespace_);
	put_pair(b, "service.instance.id", s->instance);
	for (size_t i = 0; i < s->n_attrs; i++)
		put_pair(b, s->attrs[i].name, s->attrs[i].value);
	buf_addc(b, '}');
}

static void put_attributes(struct buf *b, const struct call *c)
{
	buf_puts(b, ",\"attributes\":{");
	for (size_t i = 0; i < c->n_attrs; i++) {
		const struct attr *a = &c->attrs[i];

		put_key(b, a->key->name);
		if (a->type == ATTR_INT)
			buf_printf(b, "%lld", (long long)a->i);
		else
			put_text(b, a->s);
	}
	buf_addc(b, '}');
}

void span_line_json(struct buf *b, const struct span *s)
{
	buf_puts(b, "{\"name\":");
	put_text(b, str_of(s->name));
	buf_printf(b, ",\"kind\":\"%s\"", s->call.role == ROLE_SERVER ? "server" : "client");
	put_hex(b, "traceId", s->trace_id, sizeof(s->trace_id));
	put_hex(b, "spanId", s->span_id, sizeof(s->span_id));
	if (s->has_parent)
		put_hex(b, "parentSpanId", s->parent_id, sizeof(s->parent_id));
	put_time(b, "startTime", s->start_wall_ns);
	put_time(b, "endTime", s->end_wall_ns);
	buf_printf(b, ",\"status\":\"%s\"", s->call.failed ? "error" : "unset");
	if (s->call.service)
		put_resource(b, s->call.service);
	put_attributes(b, &s->call);
	buf_puts(b, "}\n");
}
