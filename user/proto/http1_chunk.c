// SPDX-License-Identifier: Apache-2.0
/*
 * The framing of a chunked body (RFC 9112, 7.1), byte by byte: size lines, the line ends behind the data, trailers. The
 * data itself is stepped over by its length elsewhere.
 */
#include "user/proto/http1_internal.h"

static void chunk_line_end(struct stream *s)
{
	s->digits = 0;
	s->mode = s->remaining ? M_CHUNK_DATA : M_TRAILER;
}

static bool chunk_size_byte(struct stream *s, uint8_t c)
{
	uint8_t low = c | 0x20, v;

	if (c >= '0' && c <= '9')
		v = c - '0';
	else if (low >= 'a' && low <= 'f')
		v = low - 'a' + 10;
	else if (!s->digits)
		return false;
	else {
		if (c == '\n')
			chunk_line_end(s);
		else if (c == '\r')
			s->mode = M_CHUNK_LF;
		else if (c == ';' || c == ' ' || c == '\t')
			s->mode = M_CHUNK_EXT;
		else
			return false;
		return true;
	}
	if (s->digits == 16 || s->remaining >> 59)
		return false;
	s->digits++;
	s->remaining = s->remaining << 4 | v;
	return true;
}

enum { AT_LINE_START, IN_LINE, AFTER_CR };

/* Behind the last chunk: fields, then an empty line. True at its end. */
static bool trailer_byte(struct stream *s, uint8_t c)
{
	if (c == '\n') {
		if (s->digits != IN_LINE)
			return true;
		s->digits = AT_LINE_START;
	} else {
		s->digits = c == '\r' && s->digits == AT_LINE_START ? AFTER_CR : IN_LINE;
	}
	return false;
}

int h1_chunk_byte(struct stream *s, uint8_t c)
{
	switch (s->mode) {
	case M_CHUNK_SIZE:
		return chunk_size_byte(s, c) ? 0 : -EPROTO;
	case M_CHUNK_EXT:
		if (c == '\n')
			chunk_line_end(s);
		return 0;
	case M_CHUNK_LF:
		if (c != '\n')
			return -EPROTO;
		chunk_line_end(s);
		return 0;
	case M_CHUNK_END:
		if (c == '\r' && !s->digits) {
			s->digits = AFTER_CR;
			return 0;
		}
		s->mode = M_CHUNK_SIZE;
		s->digits = 0;
		return c == '\n' ? 0 : -EPROTO;
	default:
		return trailer_byte(s, c);
	}
}
