// SPDX-License-Identifier: Apache-2.0
/*
 * Columns first, then details: time, service, role, method, path, status, duration, sizes,
 * peer. Everything that came from traffic is escaped; nothing is made up: what is not
 * known is '-' or '?' for people and null in JSON.
 */
#include "exporters/wire/call_line.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/proto/proto.h"

/* Longer texts are cut for people, never for programs. */
#define SERVICE_MAX 60
#define METHOD_MAX  24
#define TARGET_MAX  200

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
	if (strlen(v) == 3 && strspn(v, "0123456789") == 3 && v[0] >= '1' && v[0] <= '5') {
		f->status_min = f->status_max = atoi(v);
		return 0;
	}
	return log_err_r(-EINVAL, "--status=%s: give a status (404) or a class (1xx to 5xx)", v);
}

static int set_min_duration(struct call_filter *f, const char *v)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}};
	char *end;
	double n = strtod(v, &end);

	for (size_t i = 0; end != v && n >= 0 && n < 1e9 && i < ARRAY_SIZE(units); i++) {
		if (!strcmp(end, units[i].unit)) {
			f->min_ns = (uint64_t)(n * units[i].ns);
			return 0;
		}
	}
	return log_err_r(-EINVAL, "--min-duration=%s: give a number with a unit: 500us, 10ms, 2s", v);
}

static int set_text(char *dst, size_t size, const char *name, const char *v)
{
	if (!*v || strlen(v) >= size)
		return log_err_r(-EINVAL, "--%s=%s: give 1 to %zu characters", name, v, size - 1);
	memcpy(dst, v, strlen(v) + 1);
	return 0;
}

static int set_role(struct call_filter *f, const char *v)
{
	if (strcmp(v, "server") && strcmp(v, "client"))
		return log_err_r(-EINVAL, "--role=%s: give server or client", v);
	f->role = !strcmp(v, "server") ? ROLE_SERVER : ROLE_CLIENT;
	return 0;
}

int call_filter_set(struct call_filter *f, const char *name, const char *value)
{
	if (!strcmp(name, "status"))
		return set_status(f, value);
	if (!strcmp(name, "min-duration"))
		return set_min_duration(f, value);
	if (!strcmp(name, "role"))
		return set_role(f, value);
	if (!strcmp(name, "service"))
		return set_text(f->service, sizeof(f->service), name, value);
	if (!strcmp(name, "path"))
		return set_text(f->path, sizeof(f->path), name, value);
	if (!strcmp(name, "method"))
		return set_text(f->method, sizeof(f->method), name, value);
	return log_err_r(-EINVAL, "--%s: there is no such filter", name);
}

struct shown {
	struct str method, target;
	int64_t status; /* 0: none */
	uint64_t ns;	/* TIME_UNKNOWN */
};

static struct shown shown_of(const struct call *c)
{
	struct shown s = {.ns = TIME_UNKNOWN};

	if (proto_table[c->proto])
		proto_table[c->proto]->summary(c, &s.method, &s.target, &s.status);
	if (c->start_ns && c->end_ns && c->end_ns >= c->start_ns)
		s.ns = MAX(c->end_ns - c->start_ns, 1ULL);
	return s;
}

static bool match_text(const struct call_filter *f, const struct call *c, const struct shown *s)
{
	if (*f->service && !str_glob(f->service, str_of(c->service ? c->service->name : "")))
		return false;
	if (*f->method && !str_eq_nocase(str_of(f->method), s->method))
		return false;
	return !*f->path || str_glob(f->path, c->path.len ? c->path : s->target);
}

bool call_filter_match(const struct call_filter *f, const struct call *c)
{
	struct shown s = shown_of(c);

	if (f->role >= 0 && f->role != (int)c->role)
		return false;
	if (f->status_min && (s.status < f->status_min || s.status > f->status_max))
		return false;
	/* a duration that is not known is not known to be long */
	if (f->min_ns && (s.ns == TIME_UNKNOWN || s.ns < f->min_ns))
		return false;
	return match_text(f, c, &s);
}

/* --- for people --- */

/* Three digits, without zeros behind the point: "85", "1.24", "12.4". */
static void put_number(struct buf *b, double v, const char *unit)
{
	char text[32];
	size_t n;

	n = (size_t)snprintf(text, sizeof(text), "%.*f", v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2, v);
	if (memchr(text, '.', n)) {
		while (text[n - 1] == '0')
			n--;
		if (text[n - 1] == '.')
			n--;
	}
	buf_add(b, text, n);
	buf_puts(b, unit);
}

/* In the biggest unit of which there is one; what would be rounded to 1000 is one of the next. */
static void put_scaled(struct buf *b, uint64_t n, const char *const *units, size_t n_units)
{
	double v = (double)n;
	size_t u = 0;

	for (; v >= 999.5 && u + 1 < n_units; u++)
		v /= 1000;
	put_number(b, v, units[u]);
}

static void put_duration(struct buf *b, uint64_t ns)
{
	static const char *const units[] = {"ns", "µs", "ms", "s"};

	put_scaled(b, ns, units, ARRAY_SIZE(units));
}

static void put_size(struct buf *b, uint64_t n)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};

	put_scaled(b, n, units, ARRAY_SIZE(units));
}

/* Escaped, and not longer than `max` bytes of the original, cut between characters. */
static void put_cut(struct buf *b, struct str s, size_t max)
{
	size_t n = MIN(s.len, max);

	while (n < s.len && n && (s.p[n] & 0xc0) == 0x80)
		n--;
	/* no character is that long: it is not UTF-8 */
	if (n + 4 <= MIN(s.len, max))
		n = MIN(s.len, max);
	buf_escaped(b, (struct str){s.p, n});
	if (n < s.len)
		buf_puts(b, "…");
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

static bool all_digits(struct str s)
{
	uint64_t v;

	return !str_to_u64(s, &v);
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
	/* the error of a 5xx is its status: said once is enough */
	if (c->error_type.len && (!s->status || !all_digits(c->error_type))) {
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
		buf_escaped(b, str_of(net_addr_text(a, text)));
	} else if (a->family == NET_INET6) {
		buf_printf(b, "[%s]:%u", net_addr_text(a, text), a->port);
	} else if (a->family == NET_INET) {
		buf_printf(b, "%s:%u", net_addr_text(a, text), a->port);
	} else {
		buf_addc(b, '-');
	}
}

static void put_who(struct buf *b, const struct call *c, uint64_t wall_ns)
{
	time_t sec = (time_t)(wall_ns / NSEC_PER_SEC);
	struct tm tm = {0};
	size_t at;

	localtime_r(&sec, &tm);
	buf_printf(b, "%02d:%02d:%02d.%03u  ", tm.tm_hour, tm.tm_min, tm.tm_sec,
		   (unsigned)(wall_ns / NSEC_PER_MSEC % 1000));
	at = b->len;
	put_cut(b, str_of(c->service ? c->service->name : "?"), SERVICE_MAX);
	buf_printf(b, "[%u]", c->pid);
	pad_to(b, at, 20);
}

static void put_times(struct buf *b, const struct call *c, const struct shown *s)
{
	size_t at = b->len;

	if (s->ns == TIME_UNKNOWN)
		buf_addc(b, '?');
	else
		put_duration(b, s->ns);
	pad_to(b, at, 8);
	at = b->len;
	if (c->wait_ns != WAIT_UNKNOWN && c->wait_ns >= NSEC_PER_USEC) {
		buf_puts(b, " wait ");
		put_duration(b, c->wait_ns);
	}
	pad_to(b, at, 13);
}

void call_line_text(struct buf *b, const struct call *c, uint64_t wall_ns, bool colour)
{
	struct shown s = shown_of(c);
	size_t at;

	put_who(b, c, wall_ns);
	at = b->len;
	buf_puts(b, c->role == ROLE_SERVER ? " <- " : " -> ");
	put_cut(b, s.method, METHOD_MAX);
	buf_addc(b, ' ');
	put_cut(b, s.target, TARGET_MAX);
	pad_to(b, at, 36);
	buf_addc(b, ' ');
	put_status(b, c, &s, colour);
	buf_puts(b, "  ");
	put_times(b, c, &s);
	buf_puts(b, "  ");
	at = b->len;
	put_size(b, c->request_bytes);
	buf_addc(b, '/');
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
		buf_printf(b, ",\"%s\":%llu.%09llu", key, (unsigned long long)(ns / NSEC_PER_SEC),
			   (unsigned long long)(ns % NSEC_PER_SEC));
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

/* url.query is an attribute of any protocol that has URLs; here it has a place beside the path. */
static void key_query(struct buf *b, const struct call *c)
{
	for (size_t i = 0; i < c->n_attrs; i++) {
		if (c->attrs[i].type == ATTR_STR && !strcmp(c->attrs[i].key->name, "url.query"))
			key_str(b, "query", c->attrs[i].s);
	}
}

static void key_time(struct buf *b, const struct call *c, uint64_t wall_ns)
{
	time_t sec = (time_t)(wall_ns / NSEC_PER_SEC);
	struct tm tm = {0};

	gmtime_r(&sec, &tm);
	buf_printf(b, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%09lluZ\",\"role\":\"%s\"", tm.tm_year + 1900,
		   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		   (unsigned long long)(wall_ns % NSEC_PER_SEC), c->role == ROLE_SERVER ? "server" : "client");
}

static void key_who(struct buf *b, const struct call *c)
{
	key_str(b, "protocol", str_of(proto_table[c->proto] ? proto_table[c->proto]->name : "unknown"));
	key_str(b, "service", str_of(c->service ? c->service->name : ""));
	if (c->service && *c->service->namespace_)
		key_str(b, "service_namespace", str_of(c->service->namespace_));
	buf_printf(b, ",\"pid\":%u,\"tid\":%u", c->pid, c->tid);
	key_str(b, "comm", str_of(c->comm));
}

static void key_attrs(struct buf *b, const struct call *c)
{
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
	buf_addc(b, '}');
}

void call_line_json(struct buf *b, const struct call *c, uint64_t wall_ns)
{
	struct shown s = shown_of(c);

	key_time(b, c, wall_ns);
	key_who(b, c);
	key_str(b, "method", s.method);
	key_str(b, "path", s.target);
	key_query(b, c);
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
	key_attrs(b, c);
	buf_puts(b, "}\n");
}
