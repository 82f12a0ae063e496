/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call: a request and its answer, as one end of the connection saw it. Plain data,
 * made by a protocol's decoder, completed by enrichment, read by metrics, spans and
 * the live view. Everything it points to is borrowed for the time of the callback.
 */
#pragma once

#include "bpf/shared/protocols.h"
#include "user/model/attr.h"
#include "user/model/process.h"

enum call_role { ROLE_SERVER, ROLE_CLIENT, ROLE_MAX };

enum call_kind {
	CALL_UNARY,  /* request and answer */
	CALL_ONEWAY, /* nobody answers */
	CALL_STREAM, /* one request, answer for as long as it likes */
};

enum net_family { NET_NONE, NET_INET, NET_INET6, NET_UNIX };

struct net_addr {
	enum net_family family;
	uint16_t port; /* host byte order; 0 on unix sockets */
	union {
		uint8_t ip[16]; /* network byte order; IPv4 in the first four; v4-mapped IPv6 is given as IPv4 */
		char path[108]; /* unix: NUL-terminated; abstract names begin with '@'; "" when unnamed */
	};
};
#define NET_ADDR_TEXT 128
/* "192.0.2.1", "2001:db8::1", "/run/x.sock"; returns dst. No port. */
const char *net_addr_text(const struct net_addr *a, char dst[NET_ADDR_TEXT]);

/* W3C trace context as it stood on the request. */
struct trace_parent {
	bool valid;
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t flags;
	struct str state; /* tracestate, verbatim; may be empty */
};

#define TIME_UNKNOWN 0ULL
#define WAIT_UNKNOWN UINT64_MAX
#define CALL_ATTRS_MAX 24

struct call {
	enum sonde_proto proto;
	enum call_role role;
	enum call_kind kind;
	uint64_t conn_id;
	uint64_t stream_id; /* 0 where a connection carries one call at a time */

	/* CLOCK_MONOTONIC, nanoseconds; TIME_UNKNOWN is honest and keeps the call out of duration histograms */
	uint64_t start_ns; /* first byte of the request */
	uint64_t first_ns; /* first byte of the answer */
	uint64_t end_ns;   /* last byte of the answer; the end of the connection when there was none */
	uint64_t wait_ns;  /* request's first byte at the socket → the program reads it; WAIT_UNKNOWN */

	bool answered;		 /* the head of an answer was seen */
	uint64_t request_bytes;	 /* body sizes as transferred, without heads and framing */
	uint64_t response_bytes;
	struct str error_type;	 /* empty: no error. A closed list, see docs/metrics.md */
	bool failed;		 /* the error is this end's own: the span's status becomes Error */

	struct str path;	 /* what a route is learned from; empty: no route. Set by the decoder */
	struct str route;	 /* the low-cardinality template; set by enrichment */
	bool route_overflow;	 /* the service's budget of routes is used up: goes to the overflow series; set by enrichment */

	struct net_addr local, peer;
	uint32_t pid, tid;	 /* of the task that read or wrote the request's first byte */
	struct service *service; /* borrowed; never NULL behind enrichment */
	const char *comm;	 /* borrowed; process name for people */

	struct trace_parent parent;
	struct attr attrs[CALL_ATTRS_MAX];
	size_t n_attrs;

	void *active; /* where the active-calls gauge counted it; belongs to metrics/ */
};

/* False (and the attribute is left out) when the table is full. */
bool call_add_str(struct call *c, const struct attr_key *key, struct str value);
bool call_add_int(struct call *c, const struct attr_key *key, int64_t value);
const struct attr *call_attr(const struct call *c, const struct attr_key *key); /* NULL: not there */
