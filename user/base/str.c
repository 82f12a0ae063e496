// SPDX-License-Identifier: Apache-2.0
/*
 * Borrowed text. Case is ASCII case: protocols and configuration know no other, and
 * the locale must not change what a header is called.
 */
#include "user/base/str.h"

static unsigned char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

bool str_eq_nocase(struct str a, struct str b)
{
	return a.len == b.len && str_starts_nocase(a, b);
}

bool str_starts_nocase(struct str a, struct str prefix)
{
	if (a.len < prefix.len)
		return false;
	for (size_t i = 0; i < prefix.len; i++) {
		if (lower(a.p[i]) != lower(prefix.p[i]))
			return false;
	}
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
	while (s.len && blank(s.p[0])) {
		s.p++;
		s.len--;
	}
	while (s.len && blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

bool str_split(struct str *rest, char sep, struct str *ret_part)
{
	const char *at;

	if (!rest->len)
		return false;
	at = memchr(rest->p, sep, rest->len);
	if (!at) {
		*ret_part = *rest;
		rest->p += rest->len;
		rest->len = 0;
		return true;
	}
	*ret_part = (struct str){rest->p, (size_t)(at - rest->p)};
	rest->len -= ret_part->len + 1;
	rest->p = at + 1;
	return true;
}

int str_to_u64(struct str s, uint64_t *ret)
{
	bool over = false;
	uint64_t v = 0;

	if (!s.len)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -EINVAL;
		over |= __builtin_mul_overflow(v, 10, &v);
		over |= __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v);
	}
	if (over)
		return -ERANGE;
	*ret = v;
	return 0;
}

/*
 * One bracket expression at `p` (which is '['). Returns what stands behind it, or
 * NULL when the bracket is never closed: then '[' means itself.
 */
static const char *match_set(const char *p, unsigned char c, bool *ret_hit)
{
	bool negated = false, hit = false;

	p++;
	if (*p == '!' || *p == '^') {
		negated = true;
		p++;
	}
	/* a ']' in first place is a member */
	for (bool first = true; *p && (first || *p != ']'); first = false) {
		unsigned char lo, hi;

		if (*p == '\\' && p[1])
			p++;
		lo = hi = (unsigned char)*p++;
		if (*p == '-' && p[1] && p[1] != ']') {
			p++;
			if (*p == '\\' && p[1])
				p++;
			hi = (unsigned char)*p++;
		}
		hit |= c >= lo && c <= hi;
	}
	if (*p != ']')
		return NULL;
	*ret_hit = hit != negated;
	return p + 1;
}

/* One pattern element other than '*' against one byte; NULL: no match. */
static const char *match_one(const char *p, char c)
{
	if (*p == '?')
		return p + 1;
	if (*p == '[') {
		bool hit = false;
		const char *next = match_set(p, (unsigned char)c, &hit);

		if (next)
			return hit ? next : NULL;
	}
	if (*p == '\\' && p[1])
		p++;
	return *p == c ? p + 1 : NULL;
}

/*
 * Only the last '*' is ever taken back: an earlier one cannot help where a later one
 * failed. So the worst case is the product of both lengths, never exponential.
 */
bool str_glob(const char *pattern, struct str s)
{
	const char *p = pattern, *star = NULL, *next;
	size_t i = 0, star_at = 0;

	while (i < s.len) {
		if (*p == '*') {
			star = ++p;
			star_at = i;
			if (!*p)
				return true;
		} else if (*p && (next = match_one(p, s.p[i]))) {
			p = next;
			i++;
		} else if (star) {
			p = star;
			i = ++star_at;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return !*p;
}

char *str_dup(struct str s)
{
	char *d = malloc(s.len + 1);

	if (!d)
		return NULL;
	if (s.len)
		memcpy(d, s.p, s.len);
	d[s.len] = 0;
	return d;
}
