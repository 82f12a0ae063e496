// SPDX-License-Identifier: Apache-2.0
/*
 * Keys. A label value is cleaned before it becomes part of a key, never after: two
 * raw values that look the same in the exposition are then one series. Clean means valid
 * UTF-8 without NUL and at most VALUE_MAX bytes; what is longer is cut between two characters and
 * ends in "…". Nearly all values are short ASCII and are copied as they are.
 */
#include "user/metrics/table.h"

#define ELLIPSIS "\xe2\x80\xa6"
#define REPLACEMENT "\xef\xbf\xbd"

struct key_head {
	uint32_t shape, owner, flags;
};
_Static_assert(sizeof(struct key_head) == KEY_HEAD, "no padding in keys");

void key_begin(struct key *k, const struct shape *sh, enum key_flags flags)
{
	struct key_head h = { .shape = sh->id, .flags = flags };

	memcpy(k->b, &h, sizeof(h));
	k->len = KEY_HEAD;
}

void key_set_owner(struct key *k, const struct owner *o)
{
	memcpy(k->b + offsetof(struct key_head, owner), &o->id, sizeof(o->id));
}

/* Bytes 0x01 to 0x7f only. */
static bool plain(struct str s)
{
	uint8_t high = 0;
	bool nul = false;

	for (size_t i = 0; i < s.len; i++) {
		high |= (uint8_t)s.p[i];
		nul |= !s.p[i];
	}
	return high < 0x80 && !nul;
}

/* Replaces what is not UTF-8, and NUL, which would end the text early. */
static struct str clean(struct buf *scratch, struct str s)
{
	struct str part;

	buf_clear(scratch);
	while (str_split(&s, 0, &part)) {
		buf_utf8(scratch, part);
		if (part.p + part.len != s.p)
			buf_puts(scratch, REPLACEMENT);
	}
	return scratch->err ? STR(REPLACEMENT) : buf_view(scratch);
}

static size_t cut(struct str s)
{
	size_t len = VALUE_MAX - strlen(ELLIPSIS);

	while (len && ((uint8_t)s.p[len] & 0xc0) == 0x80)
		len--;
	return len;
}

void key_push(struct metrics *m, struct key *k, struct str value)
{
	uint8_t *at = k->b + k->len;
	size_t len;

	if (unlikely(k->len + 1 + VALUE_MAX > sizeof(k->b)))
		return;
	/* cleaning never shortens, so that nothing behind this can be in the value */
	value.len = MIN(value.len, (size_t)4 * VALUE_MAX);
	if (unlikely(!plain(value)))
		value = clean(&m->scratch, value);
	len = value.len;
	if (unlikely(len > VALUE_MAX)) {
		len = cut(value);
		memcpy(at + 1 + len, ELLIPSIS, strlen(ELLIPSIS));
		memcpy(at + 1, value.p, len);
		len += strlen(ELLIPSIS);
	} else if (len) {
		memcpy(at + 1, value.p, len);
	}
	at[0] = (uint8_t)len;
	k->len += 1 + len;
}

bool key_text(const struct key *k, size_t *at, char dst[VALUE_MAX + 1])
{
	size_t len;

	if (*at >= k->len)
		return false;
	len = k->b[*at];
	memcpy(dst, k->b + *at + 1, len);
	dst[len] = 0;
	*at += 1 + len;
	return true;
}
