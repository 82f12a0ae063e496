/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a protocol is to user space: a decoder of two byte streams and a page of
 * data about its telemetry. No other room names a protocol.
 *
 * A decoder is the authority on framing. The kernel's half only decides which bytes
 * are not worth copying; what it leaves out arrives as a hole whose length is exact.
 * A hole inside a body of known length costs nothing; a hole anywhere else loses the
 * message, which the decoder counts, and it resynchronises at the next message.
 *
 * Decoders are pure: no clock, no I/O, no globals. One thread. Input is hostile.
 */
#pragma once

#include "user/model/call.h"
#include "user/model/metric.h"

enum flow_dir { FLOW_RECV, FLOW_SEND }; /* as the traced process sees it */

/* What decoders hold, on all connections together, in bytes; NULL where a pointer to it stands: without limit. */
struct proto_budget {
	size_t used, max;
	uint64_t refused;
};

/*
 * All memory of a decoder comes and goes here; `have`: the size that `p` was given with. NULL: refused, `p` is
 * as it was; what it was for is then a CALL_LOSS_BUDGET.
 */
void *proto_resize(struct proto_budget *b, void *p, size_t have, size_t want);
void proto_free(struct proto_budget *b, void *p, size_t have); /* NULL is fine */

/* What is known about the connection; the decoder's view of who talks to whom. */
struct flow {
	uint64_t id;
	struct net_addr local, peer;
	struct proto_budget *budget; /* the same in all calls for a connection */
	bool from_start; /* both streams are seen from their first byte */
	bool gap;	 /* records were lost between the last call of the decoder and this one, in either direction */
	uint64_t end_note[2]; /* at end(): what the kernel's half says of each direction, see bpf/shared/note.h; 0: nothing */
	bool tls;	 /* the bytes are plaintext of a TLS session: url.scheme is https */
};

struct flow_data {
	enum flow_dir dir;
	const uint8_t *data;
	size_t len;
	uint64_t start_ns; /* when the first of these bytes was read or written; TIME_UNKNOWN */
	uint64_t end_ns;   /* when the last one was */
	uint64_t wait_ns;  /* FLOW_RECV: how long the first byte had waited in the socket; WAIT_UNKNOWN */
	uint32_t pid, tid;
	/*
	 * What the kernel's half says about these bytes, see bpf/shared/note.h; 0: nothing.
	 */
	uint64_t note;
};

/* How a connection, or one of its directions, ended. */
enum flow_end {
	FLOW_END_PEER_FIN,   /* the peer has finished sending; FLOW_RECV ended in order */
	FLOW_END_LOCAL_FIN,  /* shutdown(SHUT_WR); FLOW_SEND ended in order */
	FLOW_END_LOCAL_CLOSE, /* close(): both ended by this end */
	FLOW_END_PEER_RESET, /* reset by the peer */
	FLOW_END_TIMEOUT,    /* the kernel gave up (ETIMEDOUT) */
	FLOW_END_PROCESS_EXIT, /* not known better than: its process is gone */
	FLOW_END_UNKNOWN,    /* the socket is gone, how is not known */
};

/* Why a message that was made is not reported as a call. In messages, see docs/metrics.md. */
enum call_loss {
	CALL_LOSS_HOLE,		/* bytes of its head or framing are missing: ring full, unreadable memory, splice */
	CALL_LOSS_HEAD_TOO_LARGE,
	CALL_LOSS_PIPELINE,	/* more outstanding requests than the budget */
	CALL_LOSS_MEMORY,
	CALL_LOSS_BUDGET,	/* no room in struct proto_budget */
	CALL_LOSS_LEFT,		/* the connection stopped being this protocol before the answer came */
	CALL_LOSS_MAX,
};

/*
 * What a decoder reports, through the sink that it is given with every call.
 * begin: the head of a request is complete (call: role, kind, start, attributes of
 * the request, path); the sink may store something in call->active, which the
 * decoder must hand back in the same field at end or drop. Each begin is followed by
 * exactly one end or drop.
 * end: the call is complete. drop: it was begun and is not to be reported (lost, or
 * not this protocol after all). lost: n messages are lost by reason; a begun call that
 * is lost is dropped and lost. A connection that turns out never to have been this protocol has
 * neither calls nor losses.
 */
struct call_sink {
	void (*begin)(struct call_sink *, const struct flow *, struct call *);
	void (*end)(struct call_sink *, const struct flow *, struct call *);
	void (*drop)(struct call_sink *, const struct flow *, struct call *);
	void (*lost)(struct call_sink *, const struct flow *, enum call_loss, uint64_t n);
};

/* Which value of a call a metric records. */
enum metric_source { SRC_DURATION, SRC_REQUEST_BYTES, SRC_RESPONSE_BYTES, SRC_ACTIVE };

struct proto_metric {
	enum call_role role;
	enum metric_source source;
	const struct instrument *inst;
};

#define PROTO_LABELS_MAX 12

struct proto {
	const char *name; /* "http": value of the protocol label, of --print, of docs */
	size_t state_size;
	int (*init)(void *state); /* the memory is zeroed; 0 or -errno */
	/*
	 * 0; -EPROTO: this is not the protocol, or not any longer (an upgraded
	 * connection): the connection becomes unknown, done() follows; -ENOMEM.
	 */
	int (*data)(void *state, const struct flow *, const struct flow_data *, struct call_sink *);
	/* `len` bytes of one direction were not captured; `ns`: when the last of them passed. */
	int (*hole)(void *state, const struct flow *, enum flow_dir, uint64_t len, uint64_t ns, struct call_sink *);
	int (*end)(void *state, const struct flow *, enum flow_end, uint64_t ns, struct call_sink *);
	/*
	 * Nothing more will come: what is open is lost, through the sink; free all that the state
	 * holds. Twice is fine.
	 */
	void (*done)(void *state, const struct flow *, struct call_sink *);

	/* Labels of this protocol's metrics, per role; NULL-terminated. */
	const struct attr_key *const *labels[ROLE_MAX];
	const struct attr_key *const *active_labels[ROLE_MAX];
	const struct proto_metric *metrics; /* ends with inst == NULL */
	const struct attr_key *route_key;   /* gets call.route, when there is one; NULL: no routes */
	/* Low-cardinality span name; writes at most `size` bytes with NUL, returns dst. */
	const char *(*span_name)(const struct call *c, char *dst, size_t size);
	/* One line for people: what stands between the service and the status ("GET /x"); escaped by the caller. */
	void (*summary)(const struct call *c, struct str *ret_method, struct str *ret_target, int64_t *ret_status);
};

/* Indexed by enum sonde_proto; [PROTO_UNKNOWN] is NULL. */
extern const struct proto *const proto_table[PROTO_MAX];
