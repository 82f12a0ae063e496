/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of HTTP/1.0 and 1.1 messages (RFC 9112), without state: bytes in, pointers into
 * them out. Every parser returns how many bytes it took, 0 when the end is not there
 * yet, or -EPROTO when these bytes cannot be it, whatever follows. *ret holds something
 * only when bytes were taken.
 */
#pragma once

#include <sys/types.h>

#include "user/model/call.h"

#define HTTP1_TRACESTATE_MAX	512
#define HTTP1_TRACESTATE_FIELDS 8

enum http1_scheme { SCHEME_NONE, SCHEME_HTTP, SCHEME_HTTPS };

struct http1_head {
	bool request;
	uint8_t minor; /* HTTP/1.minor */

	struct str method; /* as it was sent */
	bool registered;   /* in IANA's registry of methods */
	bool known;	   /* one of the conventions' methods; else reported as _OTHER */
	bool is_head, is_connect;
	struct str target;
	struct str path; /* empty: CONNECT and '*' */
	struct str query;
	struct str authority; /* of the target: absolute-form and CONNECT */
	enum http1_scheme scheme;

	uint16_t status;

	/* framing */
	bool chunked;  /* the last transfer coding */
	bool te_other; /* there are codings, and chunked is not the last */
	bool has_length;
	bool bad_length; /* not a number, or two that differ */
	uint64_t length;

	/* fields of a request; values may hold folded lines (CR LF SP) */
	bool expect_continue;
	bool upgrade;
	struct str host;
	struct str user_agent;
	struct str traceparent;
	unsigned n_traceparent;
	struct str tracestate[HTTP1_TRACESTATE_FIELDS];
	unsigned n_tracestate; /* may be more than what is kept */
};

/* `any_method`: a token that no registry knows is a method too. */
ssize_t http1_request_line(const uint8_t *p, size_t n, bool any_method, struct http1_head *ret);
ssize_t http1_status_line(const uint8_t *p, size_t n, struct http1_head *ret);
/* The lines behind the first one, with the empty line. `strict`: a line that is no field is -EPROTO, else it is
 * ignored. */
ssize_t http1_fields(const uint8_t *p, size_t n, bool strict, struct http1_head *h);
/* Length of the head at `p`, which was searched up to *scanned before; 0: no end yet. */
size_t http1_head_end(const uint8_t *p, size_t n, size_t *scanned);

/* "host:port", "[::1]:80", with or without user info and port; *ret_port 0: none. False: no valid host. */
bool http1_split_host(struct str s, struct str *ret_host, uint16_t *ret_port);
/* W3C Trace Context, "traceparent" of level 1 and 2. Leaves ret->state alone. */
bool http1_traceparent(struct str s, struct trace_parent *ret);
/*
 * The query without the values that the semantic conventions call secret. Returns the
 * length; writes only when dst is not NULL.
 */
size_t http1_redact_query(struct str query, char *dst);
