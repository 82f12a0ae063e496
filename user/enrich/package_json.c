// SPDX-License-Identifier: Apache-2.0
/*
 * A scanner, not a parser: it walks over strings, knows how deep it is, and stops at the
 * first string of depth one that is a key and reads "name". Anything it does not
 * understand is walked over; the depth is a counter, so nesting costs nothing.
 */
#include "user/enrich/package_json.h"

struct scan {
	struct str rest;
};

static char next(struct scan *s)
{
	char c;

	if (!s->rest.len)
		return 0;
	c = *s->rest.p++;
	s->rest.len--;
	return c;
}

static void skip_blanks(struct scan *s)
{
	while (s->rest.len && strchr(" \t\r\n", *s->rest.p) && *s->rest.p)
		next(s);
}

/* Behind the opening quote. A package's name needs no escapes but "\/"; others spoil it. */
static bool string(struct scan *s, char *dst, size_t cap)
{
	size_t n = 0;
	bool good = true;

	while (s->rest.len) {
		char c = next(s);

		if (c == '"') {
			dst[n] = 0;
			return good;
		}
		if (c == '\\') {
			c = next(s);
			good &= c == '/' || c == '"' || c == '\\';
		}
		if (n < cap - 1)
			dst[n++] = c;
		else
			good = false;
	}
	return false;
}

/* Behind a key of depth one. */
static bool value(struct scan *s, char *ret, size_t cap)
{
	char text[256];

	skip_blanks(s);
	if (next(s) != '"' || !string(s, text, sizeof(text)) || !*text || strlen(text) >= cap)
		return false;
	strcpy(ret, text);
	return true;
}

bool package_json_name(struct str json, char *ret, size_t cap)
{
	struct scan s = {json};
	char text[16];
	int depth = 0;

	while (s.rest.len) {
		char c = next(&s);

		if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		if (c != '"')
			continue;
		if (!string(&s, text, sizeof(text)) || depth != 1 || strcmp(text, "name") != 0)
			continue;
		skip_blanks(&s);
		if (next(&s) == ':')
			return value(&s, ret, cap);
	}
	return false;
}
