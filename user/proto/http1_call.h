/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP/1 request that waits for its answer, and what is told about it: see http1_call.c. */
#pragma once

#include "user/proto/http1_head.h"
#include "user/proto/proto.h"

#define HTTP1_PEER_TEXT 48

/* An outstanding request. Its strings stand behind it. */
struct req {
	struct req *next;
	void *active;
	uint64_t start_ns, first_ns, wait_ns;
	uint64_t request_bytes;
	uint32_t pid, tid;
	uint32_t size;
	uint16_t status; /* 0: no answer yet */
	uint16_t port;	 /* of the Host; 0: none */
	uint32_t number;
	uint8_t request_minor, answer_minor;
	uint8_t scheme;
	bool is_head, is_connect, upgrade, expect;
	bool odd;  /* its method is not registered: only an answer proves that it is HTTP */
	bool lost; /* counted as lost and dropped; holds its place in the order */
	struct str method, original, path, query, host, user_agent;
	struct trace_parent parent;
	char text[];
};

/* Of which connection calls are told, and to whom. */
struct http1_calls {
	const struct flow *flow;
	struct call_sink *sink;
	enum call_role role;
	char *peer_text; /* [HTTP1_PEER_TEXT]; the peer's address, made when it is first wanted */
};

/* With all that the head says, for proto_free(); NULL: no memory. The caller knows times, tasks and the number. */
struct req *http1_req_new(struct proto_budget *budget, const struct http1_head *head);

void http1_call_begin(const struct http1_calls *k, struct req *r);
void http1_call_drop(const struct http1_calls *k, struct req *r);
/* `error`: how the connection ended before the answer did; empty: the answer is complete. */
void http1_call_end(const struct http1_calls *k, struct req *r, uint64_t end_ns, uint64_t response_bytes, struct str error);

extern const struct attr_key http1_route_key;
extern const struct attr_key *const http1_server_labels[], *const http1_client_labels[];
extern const struct attr_key *const http1_server_active[], *const http1_client_active[];
extern const struct proto_metric http1_metrics[];
const char *http1_span_name(const struct call *c, char *dst, size_t size);
void http1_summary(const struct call *c, struct str *ret_method, struct str *ret_target, int64_t *ret_status);
