/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns first, then details: time, service, role, method, path, status, duration, sizes,
 * peer. Everything that came from traffic is escaped; nothing is made up: what is not
 * known is '-' or '?' for people and null in JSON.
 */
#include "exporters/wire/call_line.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/proto/proto.h"

void call_filter_init(struct call_filter *f)
{
	memset(f, 0, sizeof(*f));
	f->role = -1;
}

static int set_status(struct call_filter *f, const char *v)
{
	if (strlen(v) == 3 && v[0] >= '1' && v[0] <= '5' && !strcmp(v + 1, "xx")) {
		f->status_min = (v[0] - '0') * 100;
		f->status_max = f->status_min + 99;
		return 0;
	}
	if (strlen(v) == 3 && strspn(v, "0123456789") == 3 && v[0] != '0') {
		f->status_min = f->status_max = atoi(v);
		return 0;
	}
	return log_err_r(-EINVAL, "--status=%s: give a status (404) or a class (5xx)", v);
}

static int set_min_duration(struct call_filter *f, const char *v)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = { { "ns", 1 }, { "us", 1e3 }, { "µs", 1e3 }, { "ms", 1e6 }, { "s", 1e9 } };
	char *end;
	double n = strtod(v, &end);

	for (size_t i = 0; end != v && n >= 0 && n < 1e9 && i < ARRAY_SIZE(units); i++) {
		if (!strcmp(end, units[i].unit)) {
			f->min_ns = n * units[i].ns;
			return 0;
		}
	}
	return log_err_r(-EINVAL, "--min-duration=%s: give a number with a unit: 500us, 10ms, 2s", v);
}

int call_filter_set(struct call_filter *f, const char *name, const char *value)
{
	if (!strcmp(name, "status"))
		return set_status(f, value);
	if (!strcmp(name, "min-duration"))
		return set_min_duration(f, value);
	if (!strcmp(name, "role")) {
		f->role = !strcmp(value, "server") ? ROLE_SERVER : !strcmp(value, "client") ? ROLE_CLIENT : -1;
		return f->role >= 0 ? 0 : log_err_r(-EINVAL, "--role=%s: give server or client", value);
	}
	if (!strcmp(name, "service"))
		snprintf(f->service, sizeof(f->service), "%s", value);
	else if (!strcmp(name, "path"))
		snprintf(f->path, sizeof(f->path), "%s", value);
	else if (!strcmp(name, "method"))
		snprintf(f->method, sizeof(f->method), "%s", value);
	else
		return log_err_r(-EINVAL, "--%s: there is no such filter", name);
	return 0;
}

struct shown {
	struct str method, target;
	int64_t status; /* 0: none */
	uint64_t ns;	/* TIME_UNKNOWN */
};

static struct shown shown_of(const struct call *c)
{
	struct shown s = { .ns = TIME_UNKNOWN };

	proto_table[c->proto]->summary(c, &s.method, &s.target, &s.status);
	if (c->start_ns && c->end_ns && c->end_ns >= c->start_ns)
		s.ns = MAX(c->end_ns - c->start_ns, 1ULL);
	return s;
}

bool call_filter_match(const struct call_filter *f, const struct call *c)
{
	struct shown s = shown_of(c);

	return (f->role < 0 || f->role == (int)c->role) &&
	       (!*f->service || str_glob(f->service, str_of(c->service ? c->service->name : ""))) &&
	       (!*f->path || str_glob(f->path, c->path)) &&
	       (!*f->method || (s.method.len == strlen(f->method) && !strncasecmp(s.method.p, f->method, s.method.len))) &&
	       (!f->status_min || (s.status >= f->status_min && s.status <= f->status_max)) &&
	       (!f->min_ns || (s.ns != TIME_UNKNOWN && s.ns >= f->min_ns));
}

/* --- for people --- */

static void put_duration(struct buf *b, uint64_t ns)
{
	if (ns < 1000)
		buf_printf(b, "%lluns", (unsigned long long)ns);
	else if (ns < 10 * NSEC_PER_MSEC / 10)
		buf_printf(b, "%.0fµs", ns / 1e3);
	else if (ns < NSEC_PER_SEC)
		buf_printf(b, "%.*fms", ns < 100 * NSEC_PER_MSEC ? 2 : 0, ns / 1e6);
	else
		buf_printf(b, "%.2fs", ns / 1e9);
}

static void put_size(struct buf *b, uint64_t n)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
	double v = n;
	size_t u = 0;

	while (v >= 1000 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1000;
		u++;
	}
	buf_printf(b, "%.*f%s", u && v < 10 ? 1 : 0, v, units[u]);
}

/* Fills up to `width` columns counted from `from`; what is longer stays whole. */
static void pad_to(struct buf *b, size_t from, size_t width)
{
	size_t columns = 0;

	for (size_t i = from; i < b->len; i++)
		columns += (b->data[i] & 0xc0) != 0x80;
	for (; columns < width; columns++)
		buf_addc(b, ' ');
}

static const char *status_colour(const struct call *c, int64_t status)
{
	if (c->error_type.len && !status)
		return "\033[31m";
	return status >= 500 ? "\033[31m" : status >= 400 ? "\033[33m" : status >= 300 ? "\033[36m" : "\033[32m";
}

static void put_status(struct buf *b, const struct call *c, const struct shown *s, bool colour)
{
	size_t at;

	if (colour)
		buf_puts(b, status_colour(c, s->status));
	at = b->len;
	if (s->status)
		buf_printf(b, "%lld", (long long)s->status);
	else if (!c->error_type.len)
		buf_puts(b, "-");
	if (c->error_type.len && (!s->status || strspn(c->error_type.p, "0123456789") < c->error_type.len)) {
		if (s->status)
			buf_addc(b, ' ');
		buf_escaped(b, c->error_type);
	}
	pad_to(b, at, 3);
	if (colour)
		buf_puts(b, "\033[0m");
}

static void put_peer(struct buf *b, const struct net_addr *a)
{
	char text[NET_ADDR_TEXT];

	if (a->family == NET_UNIX) {
		buf_puts(b, "unix:");
		buf_escaped(b, str_of(a->path));
	} else if (a->family == NET_INET6) {
		buf_printf(b, "[%s]:%u", net_addr_text(a, text), a->port);
	} else if (a->family == NET_INET) {
		buf_printf(b, "%s:%u", net_addr_text(a, text), a->port);
	} else {
		buf_addc(b, '-');
	}
}

void call_line_text(struct buf *b, const struct call *c, uint64_t wall_ns, bool colour)
{
	struct shown s = shown_of(c);
	time_t sec = wall_ns / NSEC_PER_SEC;
	struct tm tm;
	size_t at;

	localtime_r(&sec, &tm);
	buf_printf(b, "%02d:%02d:%02d.%03u  ", tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(wall_ns / NSEC_PER_MSEC % 1000));
	at = b->len;
	buf_escaped(b, str_of(c->service ? c->service->name : "?"));
	buf_printf(b, "[%u]", c->pid);
	pad_to(b, at, 20);
	at = b->len;
	buf_puts(b, c->role == ROLE_SERVER ? " <- " : " -> ");
	buf_escaped(b, s.method);
	buf_addc(b, ' ');
	buf_escaped(b, (struct str){ s.target.p, MIN(s.target.len, 200) });
	if (s.target.len > 200)
		buf_puts(b, "…");
	pad_to(b, at, 36);
	buf_addc(b, ' ');
	put_status(b, c, &s, colour);
	buf_puts(b, "  ");
	at = b->len;
	if (s.ns == TIME_UNKNOWN)
		buf_addc(b, '?');
	else
		put_duration(b, s.ns);
	pad_to(b, at, 8);
	at = b->len;
	if (c->wait_ns != WAIT_UNKNOWN && c->wait_ns >= 1000) {
		buf_puts(b, " wait ");
		put_duration(b, c->wait_ns);
	}
	pad_to(b, at, 13);
	buf_puts(b, "  ");
	at = b->len;
	put_size(b, c->request_bytes);
	buf_puts(b, "/");
	put_size(b, c->response_bytes);
	pad_to(b, at, 11);
	buf_addc(b, ' ');
	put_peer(b, &c->peer);
	buf_addc(b, '\n');
}

/* --- for programs --- */

static void key_str(struct buf *b, const char *key, struct str v)
{
	buf_printf(b, ",\"%s\":\"", key);
	buf_json(b, v);
	buf_addc(b, '"');
}

static void key_seconds(struct buf *b, const char *key, bool known, uint64_t ns)
{
	if (known)
		buf_printf(b, ",\"%s\":%llu.%09llu", key, (unsigned long long)(ns / NSEC_PER_SEC), (unsigned long long)(ns % NSEC_PER_SEC));
	else
		buf_printf(b, ",\"%s\":null", key);
}

static void key_addr(struct buf *b, const char *end, const struct net_addr *a)
{
	char text[NET_ADDR_TEXT], key[32];

	if (a->family == NET_NONE)
		return;
	snprintf(key, sizeof(key), "%s_address", end);
	key_str(b, key, str_of(net_addr_text(a, text)));
	if (a->family != NET_UNIX)
		buf_printf(b, ",\"%s_port\":%u", end, a->port);
}

static void key_hex(struct buf *b, const char *key, const uint8_t *p, size_t n)
{
	buf_printf(b, ",\"%s\":\"", key);
	for (size_t i = 0; i < n; i++)
		buf_printf(b, "%02x", p[i]);
	buf_addc(b, '"');
}

void call_line_json(struct buf *b, const struct call *c, uint64_t wall_ns)
{
	struct shown s = shown_of(c);
	time_t sec = wall_ns / NSEC_PER_SEC;
	struct tm tm;

	gmtime_r(&sec, &tm);
	buf_printf(b, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%09lluZ\",\"role\":\"%s\"", tm.tm_year + 1900, tm.tm_mon + 1,
		   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned long long)(wall_ns % NSEC_PER_SEC),
		   c->role == ROLE_SERVER ? "server" : "client");
	key_str(b, "protocol", str_of(proto_table[c->proto]->name));
	key_str(b, "service", str_of(c->service ? c->service->name : ""));
	if (c->service && *c->service->namespace_)
		key_str(b, "service_namespace", str_of(c->service->namespace_));
	buf_printf(b, ",\"pid\":%u,\"tid\":%u", c->pid, c->tid);
	key_str(b, "comm", str_of(c->comm ?: ""));
	key_str(b, "method", s.method);
	key_str(b, "path", s.target);
	if (c->route.len)
		key_str(b, "route", c->route);
	if (s.status)
		buf_printf(b, ",\"status\":%lld", (long long)s.status);
	else
		buf_puts(b, ",\"status\":null");
	if (c->error_type.len)
		key_str(b, "error_type", c->error_type);
	key_seconds(b, "duration_seconds", s.ns != TIME_UNKNOWN, s.ns);
	key_seconds(b, "wait_seconds", c->wait_ns != WAIT_UNKNOWN, c->wait_ns);
	buf_printf(b, ",\"request_body_bytes\":%llu,\"response_body_bytes\":%llu", (unsigned long long)c->request_bytes,
		   (unsigned long long)c->response_bytes);
	key_addr(b, "peer", &c->peer);
	key_addr(b, "local", &c->local);
	if (c->parent.valid) {
		key_hex(b, "trace_id", c->parent.trace_id, 16);
		key_hex(b, "parent_span_id", c->parent.span_id, 8);
	}
	buf_puts(b, ",\"attributes\":{");
	for (size_t i = 0; i < c->n_attrs; i++) {
		const struct attr *a = &c->attrs[i];

		buf_printf(b, "%s\"%s\":", i ? "," : "", a->key->name);
		if (a->type == ATTR_INT) {
			buf_printf(b, "%lld", (long long)a->i);
		} else {
			buf_addc(b, '"');
			buf_json(b, a->s);
			buf_addc(b, '"');
		}
	}
	buf_puts(b, "}}\n");
}
