/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer with an upper bound. The first failure (memory or bound)
 * sticks in `err`, so that a writer checks once at the end. Always
 * NUL-terminated behind `len` once something was written.
 */
#pragma once

#include <stdarg.h>

#include "user/base/str.h"

struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t max; /* 0: no bound */
	int err;    /* 0, -ENOMEM or -ENOBUFS */
};

#define BUF_INIT ((struct buf){ 0 })
#define _buf_ _cleanup_(buf_done)

void buf_done(struct buf *b); /* twice is fine; the buffer is empty and usable afterwards */
void buf_clear(struct buf *b); /* keeps the memory */
void buf_add(struct buf *b, const void *data, size_t len);
void buf_addc(struct buf *b, char c);
void buf_str(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __printf(2, 3);
/* Shortest decimal that reads back as the same double; "+Inf", "-Inf", "NaN". */
void buf_double(struct buf *b, double v);
void buf_u64(struct buf *b, uint64_t v);
/* The text inside a JSON string (no quotes): escapes control characters, quotes, and bytes that are not UTF-8. */
void buf_json(struct buf *b, struct str s);
/* For terminals and logs: printable UTF-8 as it is, everything else as \xNN. */
void buf_escaped(struct buf *b, struct str s);
/* As buf_escaped, for use between double quotes: '"' and '\\' get a '\\' in front. */
void buf_quoted(struct buf *b, struct str s);
/* Valid UTF-8, with U+FFFD for what is not. */
void buf_utf8(struct buf *b, struct str s);
static inline struct str buf_view(const struct buf *b)
{
	return (struct str){ b->data, b->len };
}
