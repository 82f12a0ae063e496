/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an OTLP endpoint's answer means (OTLP specification 1.x, "Failures", "Partial success";
 * gRPC over HTTP/2). Fed by the transport, judged without I/O. The far end is not trusted: everything
 * kept of an answer has a bound.
 */
#pragma once

#include "user/base/buf.h"

#define OTLP_BODY_MAX	 (64U << 10)
#define OTLP_HEADERS_MAX (64U << 10)
#define OTLP_WAIT_MAX_NS (600ULL * 1000000000ULL) /* an endpoint may not silence us for longer than ten minutes */

enum otlp_signal { OTLP_TRACES, OTLP_METRICS };

enum otlp_verdict {
	OTLP_ACCEPTED,
	OTLP_RETRY,   /* the same bytes may be taken later */
	OTLP_REFUSED, /* they never will be */
};

struct otlp_answer {
	long http_status;
	char content_type[64];
	char retry_after[64];
	char grpc_status[16];
	char grpc_message[256];
	char *grpc_details; /* base64; NULL: none */
	size_t header_bytes;
	struct buf body;
	bool too_large;
};

struct otlp_judgement {
	enum otlp_verdict verdict;
	uint64_t wait_ns;  /* what the endpoint asked for; 0: nothing */
	uint64_t rejected; /* partial success: items that it did not take */
	char reason[256];  /* why not; with OTLP_ACCEPTED: the endpoint's warning. "" when there is none. Raw bytes */
};

void otlp_answer_clear(struct otlp_answer *a); /* zeroed memory is a cleared answer */
void otlp_answer_done(struct otlp_answer *a);
/* One line of a head or of trailers. False: too much, give up the transfer. */
bool otlp_answer_header(struct otlp_answer *a, struct str line);
bool otlp_answer_body(struct otlp_answer *a, const void *data, size_t len);
/* `wall_ns` is now, for dates. */
void otlp_judge(const struct otlp_answer *a, enum otlp_signal signal, bool grpc, uint64_t wall_ns,
		struct otlp_judgement *ret);
