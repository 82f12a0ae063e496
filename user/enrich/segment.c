// SPDX-License-Identifier: Apache-2.0
/*
 * Classes of path segments. One pass counts what kinds of bytes a segment has; most
 * segments are plain words and are done after it. The rules prefer a literal when in doubt: a
 * position that holds values is found by their number anyway, a word that was
 * taken for a value is lost.
 */
#include <string.h>

#include "user/base/buf.h"
#include "user/enrich/segment.h"

enum byte_kind {
	B_DIGIT = 1,
	B_HEX = 2, /* a-f */
	B_ALPHA = 4, /* all letters */
	B_UPPER = 8,
	B_WORD = 16, /* - _ ~ */
	B_NUMBER = 32, /* . : , and again -: what numbers, dates and addresses are written with */
	B_HIGH = 64, /* not ASCII */
	B_BAD = 128, /* never in a path unescaped, or has a meaning in templates */
};

static const uint8_t kinds[256] = {
	[0 ... 0x20] = B_BAD,
	[0x7f] = B_BAD,
	[0x80 ... 0xff] = B_HIGH,
	['0' ... '9'] = B_DIGIT,
	['a' ... 'f'] = B_ALPHA | B_HEX,
	['A' ... 'F'] = B_ALPHA | B_HEX | B_UPPER,
	['g' ... 'z'] = B_ALPHA,
	['G' ... 'Z'] = B_ALPHA | B_UPPER,
	['-'] = B_WORD | B_NUMBER,
	['_'] = B_WORD,
	['~'] = B_WORD,
	['.'] = B_NUMBER,
	[':'] = B_NUMBER,
	[','] = B_NUMBER,
	['"'] = B_BAD,
	['<'] = B_BAD,
	['>'] = B_BAD,
	['\\'] = B_BAD,
	['^'] = B_BAD,
	['`'] = B_BAD,
	['{'] = B_BAD,
	['|'] = B_BAD,
	['}'] = B_BAD,
	['*'] = B_BAD,
};

struct counts {
	uint8_t all; /* kinds that some byte has */
	size_t digits, hex, dots, escapes, digit_runs, longest_run;
	bool lower;
};

static struct counts count(struct str s)
{
	struct counts c = { 0 };
	size_t run = 0;

	for (size_t i = 0; i < s.len; i++) {
		uint8_t k = kinds[(uint8_t)s.p[i]];
		bool digit = k & B_DIGIT;

		c.all |= k;
		c.digits += digit;
		c.hex += !!(k & (B_DIGIT | B_HEX));
		c.dots += s.p[i] == '.';
		c.escapes += s.p[i] == '%';
		c.lower |= (k & (B_ALPHA | B_UPPER)) == B_ALPHA;
		c.digit_runs += digit && !run;
		run = digit ? run + 1 : 0;
		c.longest_run = MAX(c.longest_run, run);
	}
	return c;
}

/* 'd' digit, 'x' hex digit, 'T' T or blank, anything else itself. */
static bool shaped(struct str s, const char *shape)
{
	if (s.len < strlen(shape))
		return false;
	for (size_t i = 0; shape[i]; i++) {
		uint8_t k = kinds[(uint8_t)s.p[i]];

		if (shape[i] == 'd' ? !(k & B_DIGIT) : shape[i] == 'x' ? !(k & (B_DIGIT | B_HEX)) : s.p[i] != shape[i])
			return false;
	}
	return true;
}

static bool is_uuid(struct str s)
{
	return s.len == 36 && shaped(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

/* ISO 8601: 2025-03, 2025-03-09, 2025-03-09T10:11:12.345Z and with offset. */
static bool is_date(struct str s)
{
	if (!shaped(s, "dddd-dd"))
		return false;
	if (s.len == 7)
		return true;
	return shaped(s, "dddd-dd-dd") && (s.len == 10 || s.p[10] == 'T' || s.p[10] == 't') && s.len <= 40;
}

static bool is_ipv4(struct str s)
{
	struct str part;
	size_t n = 0;

	while (str_split(&s, '.', &part)) {
		uint64_t v;

		if (part.len > 3 || str_to_u64(part, &v) || v > 255)
			return false;
		n++;
	}
	return n == 4;
}

static bool is_ipv6(struct str s, const struct counts *c)
{
	size_t colons = 0;

	for (size_t i = 0; i < s.len; i++)
		colons += s.p[i] == ':';
	return colons >= 2 && colons <= 8 && c->hex + colons == s.len && c->digits;
}

/* "1.0", "2.0.1": up to three short numbers stay; they name an interface more often than a thing. */
static bool is_version(struct str s, const struct counts *c)
{
	return c->dots && c->dots <= 2 && c->digits + c->dots == s.len && c->longest_run <= 3;
}

static bool is_email(struct str s)
{
	const char *at = s.len ? memchr(s.p + 1, '@', s.len - 1) : NULL;
	const char *escaped = memmem(s.p, s.len, "%40", 3);

	return at || (escaped && escaped != s.p);
}

static bool is_utf8(struct str s)
{
	_buf_ struct buf b = BUF_INIT;

	buf_utf8(&b, s);
	return !b.err && str_eq(buf_view(&b), s);
}

static const char *class_of_number(struct str s, const struct counts *c)
{
	if (is_date(s))
		return "{date}";
	if (is_ipv4(s))
		return "{ip}";
	return is_version(s, c) ? NULL : "{id}";
}

/* NULL: a literal. */
static const char *class_of(struct str s, const struct counts *c)
{
	if ((c->all & B_BAD) || s.len > SEGMENT_MAX || c->escapes >= 3 || is_email(s))
		return "{token}";
	if ((c->all & B_HIGH) && !is_utf8(s))
		return "{token}";
	if (!c->digits && c->hex < 16)
		return NULL;
	if (c->digits == s.len)
		return "{id}";
	if (is_uuid(s))
		return "{uuid}";
	if (!(c->all & ~(B_DIGIT | B_NUMBER | B_WORD)) && c->digits)
		return class_of_number(s, c);
	if (c->hex == s.len && s.len >= 16)
		return "{hash}";
	if (is_date(s))
		return "{date}";
	if (is_ipv6(s, c))
		return "{ip}";
	if (c->dots)
		return NULL; /* perhaps a file name */
	if (s.len >= 24 && c->digit_runs >= 2)
		return "{token}";
	return c->longest_run >= 6 ? "{id}" : NULL;
}

/* A part of a file name that a build made: app.3f2a9c1b.js, index-BkT3xQ9a.js, photo-20250309.jpg. */
static const char *class_of_part(struct str s)
{
	struct counts c = count(s);
	bool letters = c.all & B_ALPHA;

	if (c.digits == s.len)
		return s.len >= 4 ? "{id}" : NULL;
	if (s.len < 8 || !c.digits || (c.all & ~(B_DIGIT | B_HEX | B_ALPHA | B_UPPER)))
		return NULL;
	if (c.hex == s.len || c.digit_runs >= 2)
		return "{hash}";
	return letters && c.lower && (c.all & B_UPPER) && !(kinds[(uint8_t)s.p[s.len - 1]] & B_DIGIT) ? "{hash}" : NULL;
}

static bool is_extension(struct str s)
{
	struct counts c = count(s);

	return s.len >= 1 && s.len <= 5 && (c.all & B_ALPHA) && !(c.all & ~(B_DIGIT | B_HEX | B_ALPHA | B_UPPER));
}

static void append(char *dst, size_t *len, struct str s)
{
	s.len = MIN(s.len, (size_t)SEGMENT_MAX + 16 - *len);
	memcpy(dst + *len, s.p, s.len);
	*len += s.len;
}

/* Parts between '.', '-' and '_' of the stem one by one; at most two are replaced, which bounds what dst must hold. */
static struct str file_parts(struct str stem, struct str ext, char *dst)
{
	size_t len = 0, from = 0, replaced = 0;

	for (size_t i = 0; i <= stem.len; i++) {
		struct str part = { stem.p + from, i - from };
		const char *class;

		if (i < stem.len && !strchr(".-_", stem.p[i]))
			continue;
		class = part.len && replaced < 2 ? class_of_part(part) : NULL;
		replaced += !!class;
		append(dst, &len, class ? str_of(class) : part);
		if (i < stem.len)
			append(dst, &len, (struct str){ stem.p + i, 1 });
		from = i + 1;
	}
	append(dst, &len, (struct str){ ext.p - 1, ext.len + 1 });
	return replaced ? (struct str){ dst, len } : (struct str){ 0 };
}

/* "name.ext": a stem that is a value as a whole, or has parts that are. Length 0: neither. */
static struct str file_template(struct str s, char *dst)
{
	const char *dot = memrchr(s.p, '.', s.len);
	struct str stem = { s.p, (size_t)(dot - s.p) };
	struct str ext = { dot + 1, s.len - stem.len - 1 };
	struct counts c = count(stem);
	const char *class;
	size_t len = 0;

	if (!stem.len || !is_extension(ext))
		return (struct str){ 0 };
	class = class_of(stem, &c);
	if (!class)
		return file_parts(stem, ext, dst);
	append(dst, &len, str_of(class));
	append(dst, &len, (struct str){ dot, ext.len + 1 });
	return (struct str){ dst, len };
}

struct str segment_template(struct str s, char dst[SEGMENT_MAX + 16], bool *ret_open)
{
	struct counts c = count(s);
	const char *class = class_of(s, &c);
	struct str file = { 0 };

	*ret_open = !class;
	if (class)
		return str_of(class);
	if (c.dots && c.digits)
		file = file_template(s, dst);
	return file.len ? file : s;
}
