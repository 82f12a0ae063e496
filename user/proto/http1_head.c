// SPDX-License-Identifier: Apache-2.0
/*
 * One pass over the lines of a head. The request line is judged strictly, because it
 * is what tells HTTP from everything else that happens to begin with a word and a
 * blank; of the fields only those that frame the body or are reported are looked at.
 * Lines may end with a bare LF (RFC 9112, 2.2) and may be folded (5.2).
 */
#include "user/proto/http1_head.h"

/* IANA's registry of methods; PRI is HTTP/2's. The first nine are those of the conventions. */
#define METHODS_KNOWN 9
static const struct str methods[] = {
	STR("GET"),
	STR("POST"),
	STR("HEAD"),
	STR("PUT"),
	STR("DELETE"),
	STR("OPTIONS"),
	STR("PATCH"),
	STR("CONNECT"),
	STR("TRACE"),
	STR("ACL"),
	STR("BASELINE-CONTROL"),
	STR("BIND"),
	STR("CHECKIN"),
	STR("CHECKOUT"),
	STR("COPY"),
	STR("LABEL"),
	STR("LINK"),
	STR("LOCK"),
	STR("MERGE"),
	STR("MKACTIVITY"),
	STR("MKCALENDAR"),
	STR("MKCOL"),
	STR("MKREDIRECTREF"),
	STR("MKWORKSPACE"),
	STR("MOVE"),
	STR("ORDERPATCH"),
	STR("PROPFIND"),
	STR("PROPPATCH"),
	STR("QUERY"),
	STR("REBIND"),
	STR("REPORT"),
	STR("SEARCH"),
	STR("UNBIND"),
	STR("UNCHECKOUT"),
	STR("UNLINK"),
	STR("UNLOCK"),
	STR("UPDATE"),
	STR("UPDATEREDIRECTREF"),
	STR("VERSION-CONTROL"),
};
#define METHOD_MAX 32 /* of an unknown one */

static bool is_tchar(uint8_t c)
{
	/* RFC 9110, 5.6.2: one bit per character of 0x20..0x7f */
	static const uint32_t set[3] = {0x03ff6cfa, 0xc7fffffe, 0x57ffffff};

	return c >= 0x20 && c < 0x80 && set[(c >> 5) - 1] >> (c & 31) & 1;
}

static bool is_alpha(uint8_t c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* `name` is in lower case. */
static bool is_name(const uint8_t *p, const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t c = p[i];

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		if (c != (uint8_t)name[i])
			return false;
	}
	return true;
}

static int find_method(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (methods[i].len == n && methods[i].p[0] == (char)p[0] && !memcmp(methods[i].p, p, n))
			return (int)i;
	return -1;
}

static bool begins_method(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (methods[i].len >= n && !memcmp(methods[i].p, p, n))
			return true;
	return false;
}

/* Length of the method; 0: more is needed. */
static ssize_t method(const uint8_t *p, size_t n, bool any_method, struct http1_head *h)
{
	size_t len = 0;
	int id;

	while (len < n && len <= METHOD_MAX && is_tchar(p[len]))
		len++;
	if (len > METHOD_MAX)
		return -EPROTO;
	if (len == n)
		return any_method || begins_method(p, n) ? 0 : -EPROTO;
	if (!len || p[len] != ' ')
		return -EPROTO;
	id = find_method(p, len);
	if (id < 0 && (!any_method || (len == 3 && !memcmp(p, "PRI", 3))))
		return -EPROTO;
	h->method = (struct str){(const char *)p, len};
	h->registered = id >= 0;
	h->known = id >= 0 && id < METHODS_KNOWN;
	h->is_head = id == 2;
	h->is_connect = id == 7;
	return (ssize_t)len;
}

static void split_query(struct http1_head *h)
{
	const char *q = memchr(h->path.p, '?', h->path.len);

	if (!q)
		return;
	h->query = (struct str){q + 1, h->path.len - (size_t)(q + 1 - h->path.p)};
	h->path.len = (size_t)(q - h->path.p);
}

static int absolute_form(struct http1_head *h)
{
	struct str t = h->target;
	size_t i = 0, at;

	while (i < t.len && (is_alpha((uint8_t)t.p[i]) ||
			     (i && (is_digit((uint8_t)t.p[i]) || t.p[i] == '+' || t.p[i] == '-' || t.p[i] == '.'))))
		i++;
	if (!i || t.len < i + 4 || memcmp(t.p + i, "://", 3))
		return -EPROTO;
	if (str_eq_nocase((struct str){t.p, i}, STR("http")))
		h->scheme = SCHEME_HTTP;
	else if (str_eq_nocase((struct str){t.p, i}, STR("https")))
		h->scheme = SCHEME_HTTPS;
	at = i += 3;
	while (i < t.len && t.p[i] != '/' && t.p[i] != '?')
		i++;
	if (i == at)
		return -EPROTO;
	h->authority = (struct str){t.p + at, i - at};
	h->path = (struct str){t.p + i, t.len - i};
	split_query(h);
	if (!h->path.len)
		h->path = STR("/");
	return 0;
}

/* RFC 9112, 3.2: one of the four forms. */
static int target(struct http1_head *h)
{
	struct str t = h->target, host;
	uint16_t port;

	for (size_t i = 0; i < t.len; i++)
		if ((uint8_t)t.p[i] <= 0x20 || t.p[i] == 0x7f)
			return -EPROTO;
	if (!t.len)
		return -EPROTO;
	if (h->is_connect) {
		h->authority = t;
		return http1_split_host(t, &host, &port) && port ? 0 : -EPROTO;
	}
	if (t.p[0] == '/') {
		h->path = t;
		split_query(h);
		return 0;
	}
	if (t.len == 1 && t.p[0] == '*')
		return 0;
	return absolute_form(h);
}

static bool version(const uint8_t *p, size_t n, uint8_t *ret_minor)
{
	if (n < 8 || memcmp(p, "HTTP/1.", 7) || (p[7] != '0' && p[7] != '1'))
		return false;
	*ret_minor = p[7] - '0';
	return true;
}

/* What of the target is there must be printable. */
static ssize_t line_goes_on(const uint8_t *p, size_t n)
{
	const uint8_t *blank = memchr(p, ' ', n);
	size_t len = blank ? (size_t)(blank - p) : n;

	for (size_t i = 0; i < len; i++)
		if (p[i] < 0x20 || p[i] == 0x7f)
			return -EPROTO;
	if (blank && (n - len > 11 || memcmp(blank + 1, "HTTP/1.", MIN(n - len - 1, 7))))
		return -EPROTO;
	return 0;
}

ssize_t http1_request_line(const uint8_t *p, size_t n, bool any_method, struct http1_head *ret)
{
	const uint8_t *lf, *at, *blank;
	ssize_t len;
	size_t end;

	memset(ret, 0, sizeof(*ret));
	ret->request = true;
	len = method(p, n, any_method, ret);
	if (len <= 0)
		return len;
	at = p + len + 1;
	lf = memchr(at, '\n', n - (size_t)(at - p));
	if (!lf)
		return line_goes_on(at, n - (size_t)(at - p));
	end = (size_t)(lf - at);
	if (end && at[end - 1] == '\r')
		end--;
	blank = memchr(at, ' ', end);
	if (!blank || at + end - blank != 9 || !version(blank + 1, 8, &ret->minor))
		return -EPROTO;
	ret->target = (struct str){(const char *)at, (size_t)(blank - at)};
	return target(ret) ? -EPROTO : lf + 1 - p;
}

ssize_t http1_status_line(const uint8_t *p, size_t n, struct http1_head *ret)
{
	const uint8_t *lf;

	memset(ret, 0, sizeof(*ret));
	if (memcmp(p, "HTTP/1.", MIN(n, 7)) || (n > 7 && !version(p, n, &ret->minor)) || (n > 8 && p[8] != ' '))
		return -EPROTO;
	for (size_t i = 9; i < n && i < 12; i++)
		if (!is_digit(p[i]) || (i == 9 && p[i] == '0'))
			return -EPROTO;
	if (n > 12 && p[12] != ' ' && p[12] != '\r' && p[12] != '\n')
		return -EPROTO;
	lf = n > 12 ? memchr(p + 12, '\n', n - 12) : NULL;
	if (!lf)
		return 0;
	ret->status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
	return lf + 1 - p;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Folded lines count as blanks. */
static struct str trim(struct str s)
{
	while (s.len && is_blank(s.p[0])) {
		s.p++;
		s.len--;
	}
	while (s.len && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

/* RFC 9112, 6.3: equal values, in one field or in several, are one. */
static void content_length(struct http1_head *h, struct str v)
{
	struct str part;
	uint64_t len;

	if (!v.len || v.p[v.len - 1] == ',')
		h->bad_length = true;
	while (str_split(&v, ',', &part)) {
		if (str_to_u64(trim(part), &len) || len > INT64_MAX || (h->has_length && len != h->length)) {
			h->bad_length = true;
			return;
		}
		h->has_length = true;
		h->length = len;
	}
}

static void transfer_encoding(struct http1_head *h, struct str v)
{
	struct str part, name;

	while (str_split(&v, ',', &part)) {
		if (!str_split(&part, ';', &name))
			continue;
		name = trim(name);
		if (!name.len || str_eq_nocase(name, STR("identity")))
			continue;
		h->chunked = str_eq_nocase(name, STR("chunked"));
		h->te_other = !h->chunked;
	}
}

static void request_field(struct http1_head *h, const uint8_t *p, size_t n, struct str v)
{
	switch (n) {
	case 4:
		if (is_name(p, "host", 4) && !h->host.len)
			h->host = trim(v);
		break;
	case 6:
		if (is_name(p, "expect", 6))
			h->expect_continue |= str_eq_nocase(trim(v), STR("100-continue"));
		break;
	case 7:
		if (is_name(p, "upgrade", 7))
			h->upgrade = true;
		break;
	case 10:
		if (is_name(p, "user-agent", 10)) {
			if (!h->user_agent.len)
				h->user_agent = trim(v);
		} else if (is_name(p, "tracestate", 10)) {
			v = trim(v);
			if (v.len && h->n_tracestate++ < HTTP1_TRACESTATE_FIELDS)
				h->tracestate[h->n_tracestate - 1] = v;
		}
		break;
	case 11:
		if (is_name(p, "traceparent", 11)) {
			h->n_traceparent++;
			h->traceparent = trim(v);
		}
		break;
	}
}

/* Most fields of most messages are none of ours: the first letter tells, or where the colon is not. */
static bool may_matter(const struct http1_head *h, const uint8_t *p, size_t n)
{
	uint8_t c = p[0] | 0x20;

	if (!h->request)
		return (n > 14 && p[14] == ':') || (n > 17 && p[17] == ':');
	return c == 'c' || c == 't' || c == 'h' || c == 'u' || c == 'e';
}

static int field(struct http1_head *h, const uint8_t *p, const uint8_t *end, bool strict)
{
	const uint8_t *colon;
	struct str v;
	size_t n;

	if (!strict && !may_matter(h, p, (size_t)(end - p)))
		return 0;
	colon = memchr(p, ':', (size_t)(end - p));
	n = colon ? (size_t)(colon - p) : 0;
	if (strict) {
		for (size_t i = 0; i < n; i++)
			if (!is_tchar(p[i]))
				return -EPROTO;
	}
	if (!n)
		return strict ? -EPROTO : 0;
	v = (struct str){(const char *)colon + 1, (size_t)(end - colon - 1)};
	if (n == 14 && is_name(p, "content-length", 14))
		content_length(h, trim(v));
	else if (n == 17 && is_name(p, "transfer-encoding", 17))
		transfer_encoding(h, v);
	else if (h->request)
		request_field(h, p, n, v);
	return 0;
}

ssize_t http1_fields(const uint8_t *p, size_t n, bool strict, struct http1_head *h)
{
	const uint8_t *at = p, *stop = p + n, *lf;

	while (at < stop) {
		if (*at == '\n')
			return at + 1 - p;
		if (*at == '\r' && at + 1 < stop && at[1] == '\n')
			return at + 2 - p;
		lf = memchr(at, '\n', (size_t)(stop - at));
		while (lf && lf + 1 < stop && (lf[1] == ' ' || lf[1] == '\t'))
			lf = memchr(lf + 1, '\n', (size_t)(stop - lf - 1));
		if (!lf || lf + 1 == stop)
			return 0;
		if (field(h, at, lf, strict))
			return -EPROTO;
		at = lf + 1;
	}
	return 0;
}

size_t http1_head_end(const uint8_t *p, size_t n, size_t *scanned)
{
	/* "\n\n" or "\n\r\n" may lie across the place where the last search ended */
	size_t at = *scanned > 2 ? *scanned - 2 : 0;
	const uint8_t *lf;

	while (at < n && (lf = memchr(p + at, '\n', n - at))) {
		at = (size_t)(lf - p) + 1;
		if (at < n && p[at] == '\n')
			return at + 1;
		if (at + 1 < n && p[at] == '\r' && p[at + 1] == '\n')
			return at + 2;
	}
	*scanned = n;
	return 0;
}

bool http1_split_host(struct str s, struct str *ret_host, uint16_t *ret_port)
{
	const char *at = s.len ? memrchr(s.p, '@', s.len) : NULL, *colon;
	struct str port = {0};
	uint64_t v = 0;

	if (at)
		s = (struct str){at + 1, s.len - (size_t)(at + 1 - s.p)};
	if (!s.len || s.len > 255 + 8)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if ((uint8_t)s.p[i] <= 0x20 || s.p[i] == 0x7f || s.p[i] == '/' || s.p[i] == ',')
			return false;
	if (s.p[0] == '[') {
		colon = memchr(s.p, ']', s.len);
		if (!colon || (colon + 1 < s.p + s.len && colon[1] != ':'))
			return false;
		port = (struct str){colon + 2, s.p + s.len > colon + 2 ? (size_t)(s.p + s.len - colon - 2) : 0};
		s = (struct str){s.p + 1, (size_t)(colon - s.p - 1)};
	} else if ((colon = memchr(s.p, ':', s.len))) {
		port = (struct str){colon + 1, s.len - (size_t)(colon + 1 - s.p)};
		s.len = (size_t)(colon - s.p);
	}
	if (!s.len || (port.len && (str_to_u64(port, &v) || v > UINT16_MAX)))
		return false;
	*ret_host = s;
	*ret_port = (uint16_t)v;
	return true;
}

/* Lower-case hexadecimal only; the result of all zeros is refused where the caller says so. */
static bool hex(const char *p, uint8_t *dst, size_t n, bool zero_ok)
{
	uint8_t any = 0;

	for (size_t i = 0; i < 2 * n; i++) {
		uint8_t v;

		if (is_digit((uint8_t)p[i]))
			v = (uint8_t)(p[i] - '0');
		else if (p[i] >= 'a' && p[i] <= 'f')
			v = (uint8_t)(p[i] - 'a' + 10);
		else
			return false;
		dst[i / 2] = i & 1 ? dst[i / 2] << 4 | v : v;
		any |= v;
	}
	return zero_ok || any;
}

bool http1_traceparent(struct str s, struct trace_parent *ret)
{
	struct trace_parent t = {.valid = true, .state = ret->state};
	uint8_t v;

	if (s.len < 55 || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-' || !hex(s.p, &v, 1, true) || v == 0xff)
		return false;
	/* a later version may have more behind another dash */
	if (s.len > 55 && (!v || s.p[55] != '-'))
		return false;
	if (!hex(s.p + 3, t.trace_id, 16, false) || !hex(s.p + 36, t.span_id, 8, false) ||
	    !hex(s.p + 53, &t.flags, 1, true))
		return false;
	*ret = t;
	return true;
}

static uint8_t nibble(uint8_t c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0xff;
}

/* Semantic conventions, url.query: these keys' values are secret. "%73ig" is "sig" to every server. */
static bool is_secret(struct str key)
{
	static const struct str secrets[] = {
		STR("AWSAccessKeyId"),
		STR("Signature"),
		STR("sig"),
		STR("X-Goog-Signature"),
	};
	char plain[16];
	size_t n = 0;

	for (size_t i = 0; i < key.len; i++) {
		uint8_t c = (uint8_t)key.p[i], hi, lo;

		if (n == sizeof(plain))
			return false;
		if (c == '%' && i + 2 < key.len) {
			hi = nibble((uint8_t)key.p[i + 1]);
			lo = nibble((uint8_t)key.p[i + 2]);
			if (hi < 16 && lo < 16) {
				c = hi << 4 | lo;
				i += 2;
			}
		}
		plain[n++] = (char)c;
	}
	for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
		if (str_eq((struct str){plain, n}, secrets[i]))
			return true;
	return false;
}

static size_t put(char *dst, size_t at, struct str s)
{
	if (dst && s.len)
		memcpy(dst + at, s.p, s.len);
	return at + s.len;
}

size_t http1_redact_query(struct str query, char *dst)
{
	size_t at = 0;
	struct str part;

	while (str_split(&query, '&', &part)) {
		const char *eq = part.len ? memchr(part.p, '=', part.len) : NULL;
		struct str key = {part.p, eq ? (size_t)(eq - part.p) : part.len};

		if (eq && key.len + 1 < part.len && is_secret(key)) {
			at = put(dst, at, (struct str){part.p, key.len + 1});
			at = put(dst, at, STR("REDACTED"));
		} else {
			at = put(dst, at, part);
		}
		if (part.p + part.len != query.p) /* there was a separator */
			at = put(dst, at, STR("&"));
	}
	return at;
}
