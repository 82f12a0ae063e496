/* SPDX-License-Identifier: Apache-2.0 */
/* A borrowed piece of text: not terminated, never owned. Length 0 means absent. */
#pragma once

#include <string.h>

#include "user/base/err.h"

struct str {
	const char *p;
	size_t len;
};

#define STR(literal) ((struct str){ (literal), sizeof(literal) - 1 })

static inline struct str str_of(const char *s)
{
	return (struct str){ s, s ? strlen(s) : 0 };
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.len == b.len && (!a.len || !memcmp(a.p, b.p, a.len));
}

static inline bool str_is(struct str a, const char *s)
{
	return str_eq(a, str_of(s));
}

bool str_eq_nocase(struct str a, struct str b);
bool str_starts_nocase(struct str a, struct str prefix);
/* Without blanks and tabs at both ends (RFC 9110 OWS). */
struct str str_trim(struct str s);
/* Splits off what stands before `sep`; `*rest` moves behind it. False when `*rest` is used up. */
bool str_split(struct str *rest, char sep, struct str *ret_part);
/* A decimal number and nothing else; -EINVAL, or -ERANGE past UINT64_MAX. */
int str_to_u64(struct str s, uint64_t *ret);
/* Shell-style pattern (* ? [..]); '*' also matches '/'. */
bool str_glob(const char *pattern, struct str s);
/* strdup with length; NULL on ENOMEM. */
char *str_dup(struct str s);
