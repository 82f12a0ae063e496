// SPDX-License-Identifier: Apache-2.0
/*
 * A writer never checks each step: after the first failure every further write does
 * nothing and `err` tells why. The three escapes (JSON, terminal, plain UTF-8) share one walk
 * over well-formed UTF-8, so that all agree on what "well-formed" is (RFC 3629: no
 * overlong forms, no surrogates, nothing past U+10FFFF).
 */
#include <math.h>
#include <stdio.h>

#include "user/base/buf.h"

void buf_done(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
	b->err = 0;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->err = 0;
	if (b->data)
		b->data[0] = 0;
}

/* Room for `extra` bytes and a NUL. */
static bool reserve(struct buf *b, size_t extra)
{
	size_t need, cap;
	char *data;

	if (b->err)
		return false;
	if (__builtin_add_overflow(b->len, extra, &need) || need > SIZE_MAX / 2 || (b->max && need > b->max)) {
		b->err = -ENOBUFS;
		return false;
	}
	if (need < b->cap)
		return true;
	cap = MAX(b->cap * 2, MAX(need + 1, (size_t)64));
	if (b->max)
		cap = MIN(cap, b->max + 1);
	data = realloc(b->data, cap);
	if (!data) {
		b->err = -ENOMEM;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	if (!reserve(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = 0;
}

void buf_addc(struct buf *b, char c)
{
	if (!reserve(b, 1))
		return;
	b->data[b->len++] = c;
	b->data[b->len] = 0;
}

void buf_str(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.len);
}

void buf_puts(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->err = b->err ?: -ENOMEM;
		return;
	}
	if (!reserve(b, (size_t)n))
		return;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void buf_u64(struct buf *b, uint64_t v)
{
	char tmp[20];
	size_t at = sizeof(tmp);

	do {
		tmp[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	buf_add(b, tmp + at, sizeof(tmp) - at);
}

/*
 * Every decimal of up to 15 digits survives the way through a normal double, so 15
 * digits without trailing zeros are already the shortest form when they read back;
 * subnormals have fewer bits and need the search from one digit on.
 */
static void add_shortest(struct buf *b, double v)
{
	char tmp[32];

	for (int digits = fpclassify(v) == FP_SUBNORMAL ? 1 : 15; digits <= 17; digits++) {
		snprintf(tmp, sizeof(tmp), "%.*g", digits, v);
		if (digits == 17 || strtod(tmp, NULL) == v)
			break;
	}
	buf_puts(b, tmp);
}

void buf_double(struct buf *b, double v)
{
	if (isnan(v)) {
		buf_puts(b, "NaN");
	} else if (isinf(v)) {
		buf_puts(b, v > 0 ? "+Inf" : "-Inf");
	} else if (fabs(v) < 1e15 && v == (double)(int64_t)v) {
		/* most values are counts */
		if (signbit(v))
			buf_addc(b, '-');
		buf_u64(b, (uint64_t)fabs(v));
	} else {
		add_shortest(b, v);
	}
}

/* Length of the well-formed sequence at `p` and its code point; 0: not well-formed. */
static size_t utf8_next(const uint8_t *p, size_t len, uint32_t *ret_cp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t cp;
	size_t n;

	if (p[0] < 0x80) {
		*ret_cp = p[0];
		return 1;
	}
	n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4 || n > len)
		return 0;
	cp = p[0] & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	*ret_cp = cp;
	return n;
}

/* Controls, and the invisible characters that reorder or break a line of a terminal. */
static bool unprintable(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x61c || cp == 0x200e || cp == 0x200f ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

/* How one well-formed character is written when it cannot stand as it is; false: as it is. */
typedef bool (*escape_fn)(struct buf *b, uint32_t cp, struct str raw);

static void walk(struct buf *b, struct str s, escape_fn escape, void (*broken)(struct buf *, uint8_t))
{
	const uint8_t *p = (const uint8_t *)s.p;
	size_t i = 0, plain = 0; /* [plain, i) is to be copied as it is */

	while (i < s.len) {
		uint32_t cp = 0;
		size_t n = utf8_next(p + i, s.len - i, &cp);

		if (n && (!escape || (cp >= 0x20 && cp < 0x7f && cp != '"' && cp != '\\'))) {
			i += n;
			continue;
		}
		buf_add(b, p + plain, i - plain);
		if (!n)
			broken(b, p[i]);
		else if (!escape(b, cp, (struct str){s.p + i, n}))
			buf_add(b, p + i, n);
		i += n ? n : 1;
		plain = i;
	}
	if (i > plain)
		buf_add(b, p + plain, i - plain);
}

static bool json_char(struct buf *b, uint32_t cp, struct str raw)
{
	static const char short_form[] = "\b\t\n\f\r\"\\", letter[] = "btnfr\"\\";
	const char *at = cp && cp < 0x80 ? strchr(short_form, (int)cp) : NULL;

	if (at)
		buf_printf(b, "\\%c", letter[at - short_form]);
	else if (unprintable(cp))
		buf_printf(b, "\\u%04x", cp);
	return at || unprintable(cp);
}

static void json_broken(struct buf *b, uint8_t byte)
{
	buf_puts(b, "\\ufffd");
}

static void hex_broken(struct buf *b, uint8_t byte)
{
	buf_printf(b, "\\x%02x", byte);
}

static bool terminal_char(struct buf *b, uint32_t cp, struct str raw)
{
	if (!unprintable(cp))
		return false;
	for (size_t i = 0; i < raw.len; i++)
		hex_broken(b, (uint8_t)raw.p[i]);
	return true;
}

static bool quoted_char(struct buf *b, uint32_t cp, struct str raw)
{
	if (cp != '"' && cp != '\\')
		return terminal_char(b, cp, raw);
	buf_addc(b, '\\');
	buf_addc(b, (char)cp);
	return true;
}

static void utf8_broken(struct buf *b, uint8_t byte)
{
	buf_puts(b, "\xef\xbf\xbd");
}

void buf_json(struct buf *b, struct str s)
{
	walk(b, s, json_char, json_broken);
}

void buf_escaped(struct buf *b, struct str s)
{
	walk(b, s, terminal_char, hex_broken);
}

void buf_quoted(struct buf *b, struct str s)
{
	walk(b, s, quoted_char, hex_broken);
}

void buf_utf8(struct buf *b, struct str s)
{
	walk(b, s, NULL, utf8_broken);
}
