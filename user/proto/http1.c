// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.0 and 1.1 (RFC 9112): two byte streams framed exactly, and a queue of requests whose
 * answers are outstanding. An answer belongs to the queue's front, so everything hangs on the
 * two streams being in step. Where bytes are missing outside a body, that is not known any more:
 * the connection is `unsure`, requests seen then are counted as lost, and answers belong to
 * nobody, until a request arrives directly after answer bytes with nothing else outstanding
 * (see may_sync()). An answer is never given to a request that may not be its own.
 *
 * Each request whose bytes came here is reported or counted as lost, once. Requests that
 * never came here were counted by the kernel's half; answers to them are skipped silently.
 *
 * flow_data.note, the kernel half's word: bit 63 says "just before these bytes the stream stands at
 * the start of a chunk-size line, and bits 0..62 are the payload bytes of this chunked body so far".
 * It heals a hole in a chunked body; elsewhere it is not needed and not believed.
 *
 * error.type is a closed list: the status of an answer that is an error (5xx on a server, 4xx and
 * 5xx on a client), or how the connection ended before the answer did: peer_closed, peer_reset,
 * local_closed, timeout, connection_lost. On a client all of these are failures, also its own
 * cancelling (local_closed). On a server only 5xx and local_closed are its own; a client that goes
 * away, by whatever sign, is not the server's error. A body that ends with the connection is
 * complete unless something shows that it was cut (reset, timeout, a client that closes first).
 */
#include <stdio.h>

#include "user/proto/http1_head.h"
#include "user/proto/proto.h"

#define NOTE_CHUNK (1ULL << 63)
#define HEAD_MAX (64 << 10)
#define OUTSTANDING_MAX 256
#define HELD_MAX (256 << 10)   /* bytes of outstanding requests, per connection */
#define PARK_MAX (16 << 10)    /* answer bytes that came before their request */
#define USER_AGENT_MAX 512
#define STRIKES_MAX 16	       /* looks at a connection joined late that shows nothing */
#define QUIET_NS 1000000000ULL
#define RACE_NS 100000000ULL   /* how much later than its answer a request may show */

enum mode {
	M_HEAD, /* at a message's start, or inside its head */
	M_BODY, /* `remaining` bytes to go */
	M_CHUNK_SIZE,
	M_CHUNK_EXT,
	M_CHUNK_LF,   /* behind the CR of a chunk-size line */
	M_CHUNK_DATA, /* `remaining` bytes to go */
	M_CHUNK_END,  /* the line end behind a chunk's data */
	M_TRAILER,
	M_CLOSE,  /* body up to the connection's end */
	M_NOTE,	  /* a chunked body with a hole: only a note tells where we are */
	M_SEARCH, /* skip, but a message may start where a piece starts */
	M_DEAD,	  /* not HTTP any longer: skip all */
};

/* A head that may turn out to be none. */
enum tentative { T_NONE, T_SEARCH, T_BODY };

enum role_known { DIR_UNKNOWN = 2 };

struct stream {
	uint64_t remaining;
	uint64_t body;	   /* payload bytes of this message so far */
	uint64_t start_ns; /* first byte of this message */
	uint64_t wait_ns;
	uint64_t last_ns;
	uint32_t pid, tid;
	uint8_t *buf; /* part of a head */
	uint32_t len;
	uint32_t cap;
	size_t scanned;
	uint8_t mode;
	uint8_t tentative;
	uint8_t body_mode; /* T_BODY: what to go back to */
	uint8_t digits;	   /* chunk-size line: digits; chunk end and trailer: sub-state */
	bool line_ok;	   /* the part begins with a whole, valid first line */
	bool may_sync;
	bool orphan;	   /* answer to a request that is not in the queue */
	bool expect;	   /* request: waits for 100 (Continue) */
	bool refusable;	   /* request: it was answered without it, the body may never come */
	bool hole;	   /* bytes were missing before the role was known */
	bool seen;	   /* a piece or a hole came */
	bool ended;
};

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
	uint8_t request_minor, answer_minor;
	uint8_t scheme;
	bool is_head, is_connect, upgrade, expect;
	bool lost; /* counted as lost and dropped; holds its place in the order */
	struct str method, original, path, query, host, user_agent;
	struct trace_parent parent;
	char text[];
};

struct h1 {
	struct stream s[2]; /* by enum flow_dir */
	struct req *first, *last;
	struct req *sending; /* the request whose body is under way; NULL: none, or its call is over */
	uint8_t *park;	     /* struct parked + bytes, repeated */
	uint32_t park_len, park_cap;
	uint32_t outstanding, held;
	uint32_t n_unsure, m_unsure; /* requests and answers since unsure */
	uint64_t early_ns;	     /* an answer, or bytes of one, came before its request; 0: none did */
	uint64_t last_ns;	     /* of anything */
	uint8_t req_dir;
	uint8_t strikes;
	bool confirmed; /* a status line was seen */
	bool synced;	/* answers that come before their request are worth waiting for */
	bool unsure;
	bool exact;	   /* nothing is missing: n_unsure says all */
	bool unsure_head;  /* among those a HEAD: the framing of answers may be wrong */
	bool resynced;	   /* was unsure before */
	bool overlap;	   /* a request came between answers to earlier ones: it does not tell that these are over */
	bool answer_since; /* answer bytes came since the last request bytes */
	bool hole_since;   /* request bytes went missing since the last ones that came */
	bool may_upgrade;  /* a CONNECT or Upgrade was sent: anything may follow */
	bool peer_fin;
	bool leave; /* the connection stops being HTTP */
	char peer_text[48];
};
_Static_assert(sizeof(struct h1) <= 512, "state of a connection is kept small");

struct parked {
	uint64_t start_ns, end_ns, wait_ns;
	uint64_t len;
	uint64_t note;
	uint32_t pid, tid;
	bool hole;
};

/* What one call of the decoder works on. */
struct cx {
	struct h1 *h;
	const struct flow *flow;
	struct call_sink *sink;
	const struct flow_data *in;
	bool at_start; /* nothing but line ends of the piece was taken yet */
};

static int feed(struct cx *x, struct stream *s, const uint8_t *p, size_t n);
static void set_unsure(struct h1 *h);

/* --- telemetry --- */

#define KEY(var, name_, label_) static const struct attr_key var = { name_, label_ }
KEY(key_method, "http.request.method", "http_request_method");
KEY(key_original, "http.request.method_original", "http_request_method_original");
KEY(key_status, "http.response.status_code", "http_response_status_code");
KEY(key_route, "http.route", "http_route");
KEY(key_request_size, "http.request.body.size", "http_request_body_size");
KEY(key_response_size, "http.response.body.size", "http_response_body_size");
KEY(key_path, "url.path", "url_path");
KEY(key_query, "url.query", "url_query");
KEY(key_scheme, "url.scheme", "url_scheme");
KEY(key_user_agent, "user_agent.original", "user_agent_original");

static const struct attr_key *const server_labels[] = {
	&key_method, &key_route, &key_status, &attr_error_type, &key_scheme, &attr_network_protocol_version, NULL,
};
static const struct attr_key *const client_labels[] = {
	&key_method, &key_status, &attr_error_type, &attr_server_address,
	&attr_server_port, &key_scheme, &attr_network_protocol_version, NULL,
};
static const struct attr_key *const server_active[] = { &key_method, &key_scheme, NULL };
static const struct attr_key *const client_active[] = {
	&key_method, &key_scheme, &attr_server_address, &attr_server_port, NULL,
};

#define INSTRUMENT(var, name, unit, help, kind) static const struct instrument var = { name, unit, help, kind }
INSTRUMENT(server_duration, "http.server.request.duration", "s", "Duration of HTTP server requests.", INST_HISTOGRAM);
INSTRUMENT(server_request, "http.server.request.body.size", "By", "Size of HTTP server request bodies.", INST_HISTOGRAM);
INSTRUMENT(server_response, "http.server.response.body.size", "By", "Size of HTTP server response bodies.",
	   INST_HISTOGRAM);
INSTRUMENT(server_requests, "http.server.active_requests", "{request}", "Number of active HTTP server requests.",
	   INST_UPDOWN);
INSTRUMENT(client_duration, "http.client.request.duration", "s", "Duration of HTTP client requests.", INST_HISTOGRAM);
INSTRUMENT(client_request, "http.client.request.body.size", "By", "Size of HTTP client request bodies.", INST_HISTOGRAM);
INSTRUMENT(client_response, "http.client.response.body.size", "By", "Size of HTTP client response bodies.",
	   INST_HISTOGRAM);
INSTRUMENT(client_requests, "http.client.active_requests", "{request}", "Number of active HTTP client requests.",
	   INST_UPDOWN);

static const struct proto_metric metrics[] = {
	{ ROLE_SERVER, SRC_DURATION, &server_duration },      { ROLE_SERVER, SRC_REQUEST_BYTES, &server_request },
	{ ROLE_SERVER, SRC_RESPONSE_BYTES, &server_response }, { ROLE_SERVER, SRC_ACTIVE, &server_requests },
	{ ROLE_CLIENT, SRC_DURATION, &client_duration },      { ROLE_CLIENT, SRC_REQUEST_BYTES, &client_request },
	{ ROLE_CLIENT, SRC_RESPONSE_BYTES, &client_response }, { ROLE_CLIENT, SRC_ACTIVE, &client_requests },
	{ 0 },
};

static struct str attr_text(const struct call *c, const struct attr_key *key)
{
	const struct attr *a = call_attr(c, key);

	return a && a->type == ATTR_STR ? a->s : (struct str){ 0 };
}

static const char *span_name(const struct call *c, char *dst, size_t size)
{
	struct str method = attr_text(c, &key_method);

	if (str_is(method, "_OTHER"))
		method = STR("HTTP");
	if (c->role == ROLE_SERVER && c->route.len)
		snprintf(dst, size, "%.*s %.*s", (int)method.len, method.p, (int)c->route.len, c->route.p);
	else
		snprintf(dst, size, "%.*s", (int)method.len, method.p);
	return dst;
}

static void summary(const struct call *c, struct str *ret_method, struct str *ret_target, int64_t *ret_status)
{
	const struct attr *status = call_attr(c, &key_status);
	struct str original = attr_text(c, &key_original), path = attr_text(c, &key_path);

	*ret_method = original.len ? original : attr_text(c, &key_method);
	*ret_target = path.len ? path : attr_text(c, &attr_server_address);
	*ret_status = status ? status->i : 0;
}

/* --- calls --- */

static enum call_role role_of(const struct h1 *h)
{
	return h->req_dir == FLOW_RECV ? ROLE_SERVER : ROLE_CLIENT;
}

static struct stream *requests(struct h1 *h)
{
	return &h->s[h->req_dir];
}

static struct stream *answers(struct h1 *h)
{
	return &h->s[!h->req_dir];
}

static struct str peer_text(struct cx *x)
{
	char text[NET_ADDR_TEXT];
	struct h1 *h = x->h;

	if (x->flow->peer.family == NET_UNIX)
		return (struct str){ x->flow->peer.path, strnlen(x->flow->peer.path, sizeof(x->flow->peer.path)) };
	if (!h->peer_text[0])
		snprintf(h->peer_text, sizeof(h->peer_text), "%.46s", net_addr_text(&x->flow->peer, text));
	return str_of(h->peer_text);
}

static void add_str(struct call *c, const struct attr_key *key, struct str s)
{
	if (s.len)
		call_add_str(c, key, s);
}

static void add_port(struct call *c, const struct attr_key *key, uint16_t port)
{
	if (port)
		call_add_int(c, key, port);
}

/* What both ends of a connection know of the server: the client has the peer as a last resort. */
static void fill_addresses(struct cx *x, const struct req *r, struct call *c)
{
	struct str peer = peer_text(x);
	bool client = c->role == ROLE_CLIENT;

	add_str(c, &attr_server_address, r->host.len || !client ? r->host : peer);
	add_port(c, &attr_server_port, r->port || !client ? r->port : x->flow->peer.port);
	if (!client)
		add_str(c, &attr_client_address, peer);
	add_str(c, &attr_network_peer_address, peer);
	add_port(c, &attr_network_peer_port, x->flow->peer.port);
}

static void fill_call(struct cx *x, const struct req *r, struct call *c)
{
	struct str scheme = r->scheme == SCHEME_HTTPS || (!r->scheme && x->flow->tls) ? STR("https") : STR("http");
	uint8_t minor = r->status ? r->answer_minor : r->request_minor;

	/* not the array of attributes: n_attrs tells what of it counts */
	memset(c, 0, offsetof(struct call, attrs));
	c->n_attrs = 0;
	c->active = r->active;
	c->proto = PROTO_HTTP1;
	c->role = role_of(x->h);
	c->kind = CALL_UNARY;
	c->conn_id = x->flow->id;
	c->start_ns = r->start_ns;
	c->wait_ns = r->wait_ns;
	c->local = x->flow->local;
	c->peer = x->flow->peer;
	c->pid = r->pid;
	c->tid = r->tid;
	c->parent = r->parent;
	if (r->path.len && !str_is(r->path, "*"))
		c->path = r->path;
	call_add_str(c, &key_method, r->method);
	add_str(c, &key_original, r->original);
	add_str(c, &key_path, r->path);
	add_str(c, &key_query, r->query);
	call_add_str(c, &key_scheme, scheme);
	call_add_str(c, &attr_network_protocol_version, minor ? STR("1.1") : STR("1.0"));
	fill_addresses(x, r, c);
	add_str(c, &key_user_agent, r->user_agent);
}

static void begin_call(struct cx *x, struct req *r)
{
	struct call c;

	fill_call(x, r, &c);
	x->sink->begin(x->sink, x->flow, &c);
	r->active = c.active;
}

static void drop_call(struct cx *x, struct req *r)
{
	struct call c;

	fill_call(x, r, &c);
	x->sink->drop(x->sink, x->flow, &c);
}

static void lost(struct cx *x, enum call_loss why)
{
	x->sink->lost(x->sink, x->flow, why, 1);
}

/* `error`: how the connection ended before the answer did; empty: the answer is complete. */
static void end_call(struct cx *x, struct req *r, uint64_t end_ns, struct str error)
{
	struct h1 *h = x->h;
	struct call c;
	char text[8];

	if (h->sending == r)
		r->request_bytes = requests(h)->body;
	fill_call(x, r, &c);
	c.answered = r->status;
	c.first_ns = r->first_ns;
	c.end_ns = end_ns;
	c.request_bytes = r->request_bytes;
	c.response_bytes = r->status ? answers(h)->body : 0;
	if (error.len) {
		c.error_type = error;
		c.failed = c.role == ROLE_CLIENT || str_is(error, "local_closed");
	} else if (r->status >= (c.role == ROLE_SERVER ? 500 : 400)) {
		snprintf(text, sizeof(text), "%u", r->status);
		c.error_type = str_of(text);
		c.failed = true;
	}
	if (r->status)
		call_add_int(&c, &key_status, r->status);
	add_str(&c, &attr_error_type, c.error_type);
	call_add_int(&c, &key_request_size, (int64_t)c.request_bytes);
	if (r->status)
		call_add_int(&c, &key_response_size, (int64_t)c.response_bytes);
	x->sink->end(x->sink, x->flow, &c);
}

/* --- the queue of outstanding requests --- */

static void pop(struct h1 *h)
{
	struct req *r = h->first;

	h->first = r->next;
	if (!h->first)
		h->last = NULL;
	if (h->sending == r)
		h->sending = NULL;
	h->outstanding--;
	h->held -= r->size;
	free(r);
}

static void lose_call(struct cx *x, struct req *r, enum call_loss why)
{
	if (r->lost)
		return;
	r->lost = true;
	drop_call(x, r);
	lost(x, why);
}

/* Copies text behind a request; folded lines become blanks (RFC 9112, 5.2). */
static struct str keep(char **at, struct str s)
{
	struct str ret = { *at, s.len };

	if (!s.len)
		return (struct str){ 0 };
	for (size_t i = 0; i < s.len; i++)
		(*at)[i] = s.p[i] == '\r' || s.p[i] == '\n' ? ' ' : s.p[i];
	*at += s.len;
	return ret;
}

static size_t tracestate_size(const struct http1_head *head)
{
	size_t n = 0;

	if (head->n_tracestate > HTTP1_TRACESTATE_FIELDS)
		return 0;
	for (unsigned i = 0; i < head->n_tracestate; i++)
		n += head->tracestate[i].len + (i > 0);
	return n <= HTTP1_TRACESTATE_MAX ? n : 0;
}

static void keep_trace(struct req *r, char **at, const struct http1_head *head)
{
	struct str state = { *at, tracestate_size(head) };

	if (head->n_traceparent != 1 || !http1_traceparent(head->traceparent, &r->parent) || !state.len)
		return;
	for (unsigned i = 0; i < head->n_tracestate; i++) {
		if (i)
			keep(at, STR(","));
		keep(at, head->tracestate[i]);
	}
	r->parent.state = state;
}

/* Host, else the target's own authority. */
static uint16_t find_host(const struct http1_head *head, struct str *ret_host)
{
	uint16_t port = 0;

	if (!http1_split_host(head->host, ret_host, &port))
		http1_split_host(head->authority, ret_host, &port);
	return port;
}

static void keep_strings(struct req *r, const struct http1_head *head, struct str path, struct str host)
{
	char *at = r->text;

	r->method = keep(&at, head->method);
	if (!head->known) {
		r->original = r->method;
		r->method = STR("_OTHER");
	}
	r->path = keep(&at, path);
	r->query = (struct str){ at, http1_redact_query(head->query, at) };
	at += r->query.len;
	r->host = keep(&at, host);
	r->user_agent = keep(&at, (struct str){ head->user_agent.p, MIN(head->user_agent.len, USER_AGENT_MAX) });
	keep_trace(r, &at, head);
}

static struct req *req_new(const struct stream *s, const struct http1_head *head)
{
	struct str host = { 0 }, path = str_is(head->target, "*") ? head->target : head->path;
	uint16_t port = find_host(head, &host);
	size_t size = sizeof(struct req) + head->method.len + path.len + http1_redact_query(head->query, NULL) +
		      host.len + MIN(head->user_agent.len, USER_AGENT_MAX) + tracestate_size(head);
	struct req *r = malloc(size);

	if (!r)
		return NULL;
	*r = (struct req){
		.start_ns = s->start_ns, .wait_ns = s->wait_ns, .pid = s->pid, .tid = s->tid, .size = (uint32_t)size,
		.port = port, .request_minor = head->minor, .scheme = head->scheme, .is_head = head->is_head,
		.is_connect = head->is_connect, .upgrade = head->upgrade, .expect = head->expect_continue,
	};
	keep_strings(r, head, path, host);
	return r;
}

/* --- losses --- */

static void free_part(struct stream *s)
{
	free(s->buf);
	s->buf = NULL;
	s->len = s->cap = 0;
	s->scanned = 0;
	s->line_ok = false;
	s->tentative = T_NONE;
}

static void search(struct stream *s)
{
	free_part(s);
	s->mode = M_SEARCH;
}

static void drop_park(struct h1 *h)
{
	free(h->park);
	h->park = NULL;
	h->park_len = h->park_cap = 0;
}

/* From here on it is not known how many requests and answers went by. */
static void set_unsure(struct h1 *h)
{
	h->unsure = true;
	h->exact = false;
	h->unsure_head = false;
	h->n_unsure = h->m_unsure = 0;
	h->synced = false;
	if (h->req_dir != DIR_UNKNOWN)
		requests(h)->may_sync = false;
}

/* Bytes of the request direction are missing, or cannot be understood. */
static void lose_request(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;

	if (s->mode == M_HEAD && s->len && (s->tentative == T_NONE || s->line_ok))
		lost(x, CALL_LOSS_HOLE);
	else if (s->mode != M_HEAD && h->sending)
		lose_call(x, h->sending, CALL_LOSS_HOLE);
	h->sending = NULL;
	s->refusable = false;
	search(s);
	set_unsure(h);
}

/*
 * The same of the answer direction. Any number of answers may have gone by, so that none of the
 * requests that wait for one can be sure of the next. With nothing outstanding the bytes belong to a
 * request that did not come here yet, or to none.
 */
static void lose_answers(struct cx *x, struct stream *s, enum call_loss why)
{
	struct h1 *h = x->h;
	const struct stream *r = requests(h);

	if (h->first || h->unsure || (r->mode == M_HEAD && r->len))
		set_unsure(h);
	else
		h->early_ns = x->in->end_ns;
	while (h->first) {
		lose_call(x, h->first, why);
		why = CALL_LOSS_HOLE;
		pop(h);
	}
	s->orphan = false;
	search(s);
}

/* --- requests --- */

/*
 * Whether a request that begins now can be sure of its answer although others went by unseen:
 * nothing is outstanding that we know, and answer bytes came before it with no hole between. That
 * is how clients behave that wait for all answers before they go on (nearly all, also
 * when they pipeline). On a connection where this was seen not to hold, a second of silence must come first.
 */
static bool may_sync(struct cx *x, bool clean)
{
	struct h1 *h = x->h;
	const struct stream *a = answers(h);
	uint64_t now = x->in->start_ns;

	if (h->first)
		return false;
	if (h->exact && !h->unsure_head)
		return h->n_unsure == h->m_unsure && !a->orphan && a->mode == M_HEAD && !a->len;
	if (!clean)
		return false;
	if (h->n_unsure > h->m_unsure) {
		/* one came between the answers to others; but a HEAD may have swallowed an answer */
		h->overlap |= !h->unsure_head;
		h->unsure_head = false;
		h->n_unsure = h->m_unsure = 0;
		return false;
	}
	return !h->overlap || (now && h->last_ns && now > h->last_ns && now - h->last_ns >= QUIET_NS);
}

static void request_begins(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	bool clean = x->at_start && h->answer_since && !h->hole_since;

	if (h->unsure)
		s->may_sync = may_sync(x, clean);
	else if (clean && h->first)
		h->overlap = true;
}

/* In step again: the answers' stream is at a message's start, whatever it was taken for. */
static void in_step(struct h1 *h)
{
	struct stream *a = answers(h);

	h->unsure = false;
	h->resynced = true;
	requests(h)->may_sync = false;
	a->orphan = false;
	if (a->mode != M_HEAD || a->len)
		search(a);
}

/* Its answer, or a part of it, was already skipped. */
static bool came_late(struct h1 *h, const struct stream *s)
{
	uint64_t early = h->early_ns;

	h->early_ns = 0;
	return early && s->start_ns && s->start_ns <= early;
}

/* A request that has a place in the order but is not reported. */
static void queue_push(struct h1 *h, struct req *r)
{
	if (h->last)
		h->last->next = r;
	else
		h->first = r;
	h->last = r;
	h->outstanding++;
	h->held += r->size;
	h->sending = r;
}

static void push_request(struct cx *x, struct stream *s, const struct http1_head *head, bool readable)
{
	struct h1 *h = x->h;
	enum call_loss why = CALL_LOSS_PIPELINE;
	struct req *r = NULL;

	if (h->outstanding < OUTSTANDING_MAX && h->held <= HELD_MAX) {
		r = req_new(s, head);
		why = CALL_LOSS_MEMORY;
	}
	if (!r) {
		lost(x, why);
		set_unsure(h);
		h->exact = true;
		h->n_unsure = 1;
		h->unsure_head = head->is_head || head->is_connect;
		return;
	}
	queue_push(h, r);
	h->may_upgrade |= r->upgrade || r->is_connect;
	r->lost = !readable;
	if (r->lost)
		lost(x, CALL_LOSS_HOLE);
	else
		begin_call(x, r);
}

static void request_done(struct h1 *h, struct stream *s)
{
	if (h->sending)
		h->sending->request_bytes = s->body;
	h->sending = NULL;
	s->refusable = false;
	s->mode = M_HEAD;
}

static void request_head(struct cx *x, struct stream *s, const struct http1_head *head)
{
	bool readable = !head->te_other && (head->chunked || !head->bad_length);
	struct h1 *h = x->h;

	h->sending = NULL;
	s->expect = head->expect_continue;
	s->refusable = false;
	s->body = 0;
	if (h->unsure && s->may_sync)
		in_step(h);
	if (h->unsure) {
		lost(x, h->exact ? CALL_LOSS_PIPELINE : CALL_LOSS_HOLE);
		h->n_unsure++;
		h->unsure_head |= head->is_head || head->is_connect;
	} else if (came_late(h, s)) {
		lost(x, CALL_LOSS_HOLE);
	} else {
		push_request(x, s, head, readable);
	}
	s->remaining = 0;
	s->digits = 0;
	if (!readable) {
		h->sending = NULL;
		search(s);
		set_unsure(h);
	} else if (head->chunked) {
		s->mode = M_CHUNK_SIZE;
	} else if (head->length) {
		s->mode = M_BODY;
		s->remaining = head->length;
	} else {
		request_done(h, s);
	}
}

/* --- answers --- */

static void answer_done(struct cx *x, struct stream *s, uint64_t end_ns)
{
	struct h1 *h = x->h;
	bool switched;

	s->mode = M_HEAD;
	if (s->orphan) {
		s->orphan = false;
		h->m_unsure++;
		return;
	}
	if (!h->first)
		return;
	switched = h->first->status == 101 || (h->first->is_connect && h->first->status / 100 == 2);
	if (!h->first->lost)
		end_call(x, h->first, end_ns, (struct str){ 0 });
	pop(h);
	h->synced = !h->unsure;
	h->leave |= switched || (!h->first && requests(h)->mode == M_DEAD);
	if (!h->first && !switched)
		h->may_upgrade = false;
}

/* An answer to nothing that is outstanding. */
static void orphan_begins(struct cx *x, struct stream *s)
{
	struct h1 *h = x->h;
	const struct stream *r = requests(h);

	s->orphan = true;
	if (h->unsure)
		return;
	h->early_ns = s->start_ns ? s->start_ns : x->in->end_ns;
	if (r->mode == M_HEAD && r->len)
		set_unsure(h); /* it answers the request whose head is still coming */
	if (h->resynced && role_of(h) == ROLE_SERVER) {
		/* one too many: the guess that brought us in step was wrong here */
		h->overlap = true;
		set_unsure(h);
	}
}

static void answer_begins(struct cx *x, struct stream *s, const struct http1_head *head)
{
	struct h1 *h = x->h;
	struct stream *r = requests(h);
	struct req *q = h->first;

	s->body = 0;
	if (!q) {
		orphan_begins(x, s);
		return;
	}
	s->orphan = false;
	q->status = head->status;
	q->answer_minor = head->minor;
	q->first_ns = s->start_ns;
	if (h->sending == q && r->expect && !r->body)
		r->refusable = true;
}

static bool has_body(const struct req *q, const struct http1_head *head)
{
	if (head->status < 200 || head->status == 204 || head->status == 304)
		return false;
	return !q || !(q->is_head || (q->is_connect && head->status / 100 == 2));
}

static void answer_head(struct cx *x, struct stream *s, const struct http1_head *head)
{
	struct h1 *h = x->h;
	struct stream *r = requests(h);

	h->confirmed = true;
	s->mode = M_HEAD;
	if (head->status < 200 && head->status != 101) {
		if (h->sending && h->sending == h->first)
			r->expect = false;
		return;
	}
	answer_begins(x, s, head);
	s->remaining = 0;
	s->digits = 0;
	if (s->orphan && head->status == 101)
		h->leave = true;
	if (!has_body(s->orphan ? NULL : h->first, head))
		answer_done(x, s, x->in->end_ns);
	else if (head->chunked)
		s->mode = M_CHUNK_SIZE;
	else if (head->te_other)
		s->mode = M_CLOSE;
	else if (head->bad_length)
		lose_answers(x, s, CALL_LOSS_HOLE);
	else if (!head->has_length)
		s->mode = M_CLOSE;
	else if (!head->length)
		answer_done(x, s, x->in->end_ns);
	else {
		s->mode = M_BODY;
		s->remaining = head->length;
	}
}

/* --- answers that come before their request: two threads of a client --- */

static bool must_park(const struct h1 *h)
{
	return h->req_dir == FLOW_SEND && !h->first && !h->unsure && h->synced && !h->early_ns;
}

static void replay(struct cx *x);

static void park(struct cx *x, const uint8_t *p, size_t n, uint64_t hole)
{
	struct h1 *h = x->h;
	struct parked k = {
		.start_ns = x->in->start_ns, .end_ns = x->in->end_ns, .wait_ns = x->in->wait_ns, .len = hole ? hole : n,
		.note = x->at_start ? x->in->note : 0, .pid = x->in->pid, .tid = x->in->tid, .hole = hole,
	};
	size_t need = h->park_len + sizeof(k) + n;
	uint8_t *buf;

	if (need > h->park_cap) {
		buf = need <= PARK_MAX ? realloc(h->park, MIN(PARK_MAX, need * 2)) : NULL;
		if (!buf) {
			/* enough waited for: nobody's answer; its request will be late and counted */
			h->early_ns = h->park ? ((struct parked *)h->park)->end_ns : k.end_ns;
			replay(x);
			if (hole)
				return;
			feed(x, answers(h), p, n);
			return;
		}
		h->park = buf;
		h->park_cap = (uint32_t)MIN(PARK_MAX, need * 2);
	}
	memcpy(h->park + h->park_len, &k, sizeof(k));
	memcpy(h->park + h->park_len + sizeof(k), p, n);
	h->park_len = (uint32_t)need;
}
