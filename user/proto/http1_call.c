// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1's telemetry: a request's own copy of what its head says, the call that is made of it, and the names that
 * OpenTelemetry's conventions (1.37.0) give.
 *
 * error.type is a closed list: the status of an answer that is an error (5xx on a server, 4xx and
 * 5xx on a client), or how the connection ended before the answer did: peer_closed, peer_reset,
 * local_closed, timeout, connection_lost. On a client all of these are failures, also its own
 * cancelling (local_closed). On a server only 5xx and local_closed are its own; a client that goes
 * away, by whatever sign, is not the server's error. A body that ends with the connection is
 * complete unless something shows that it was cut (reset, timeout, a client that closes first).
 */
#include "user/proto/http1_call.h"

#include <stdio.h>

#define USER_AGENT_MAX 512

/* --- telemetry --- */

#define KEY(var, name_, label_) static const struct attr_key var = {name_, label_}
KEY(key_method, "http.request.method", "http_request_method");
KEY(key_original, "http.request.method_original", "http_request_method_original");
KEY(key_status, "http.response.status_code", "http_response_status_code");
const struct attr_key http1_route_key = {"http.route", "http_route"};
KEY(key_request_size, "http.request.body.size", "http_request_body_size");
KEY(key_response_size, "http.response.body.size", "http_response_body_size");
KEY(key_path, "url.path", "url_path");
KEY(key_query, "url.query", "url_query");
KEY(key_scheme, "url.scheme", "url_scheme");
KEY(key_user_agent, "user_agent.original", "user_agent_original");

const struct attr_key *const http1_server_labels[] = {
	&key_method, &http1_route_key, &key_status, &attr_error_type, &key_scheme, &attr_network_protocol_version, NULL,
};
const struct attr_key *const http1_client_labels[] = {
	&key_method,
	&key_status,
	&attr_error_type,
	&attr_server_address,
	&attr_server_port,
	&key_scheme,
	&attr_network_protocol_version,
	NULL,
};
const struct attr_key *const http1_server_active[] = {&key_method, &key_scheme, NULL};
const struct attr_key *const http1_client_active[] = {
	&key_method, &key_scheme, &attr_server_address, &attr_server_port, NULL,
};

#define INSTRUMENT(var, name, unit, help, kind) static const struct instrument var = {name, unit, help, kind}
INSTRUMENT(server_duration, "http.server.request.duration", "s", "Duration of HTTP server requests.", INST_HISTOGRAM);
INSTRUMENT(server_request, "http.server.request.body.size", "By", "Size of HTTP server request bodies.",
	   INST_HISTOGRAM);
INSTRUMENT(server_response, "http.server.response.body.size", "By", "Size of HTTP server response bodies.",
	   INST_HISTOGRAM);
INSTRUMENT(server_requests, "http.server.active_requests", "{request}", "Number of active HTTP server requests.",
	   INST_UPDOWN);
INSTRUMENT(client_duration, "http.client.request.duration", "s", "Duration of HTTP client requests.", INST_HISTOGRAM);
INSTRUMENT(client_request, "http.client.request.body.size", "By", "Size of HTTP client request bodies.",
	   INST_HISTOGRAM);
INSTRUMENT(client_response, "http.client.response.body.size", "By", "Size of HTTP client response bodies.",
	   INST_HISTOGRAM);
INSTRUMENT(client_requests, "http.client.active_requests", "{request}", "Number of active HTTP client requests.",
	   INST_UPDOWN);

const struct proto_metric http1_metrics[] = {
	{ROLE_SERVER, SRC_DURATION, &server_duration},
	{ROLE_SERVER, SRC_REQUEST_BYTES, &server_request},
	{ROLE_SERVER, SRC_RESPONSE_BYTES, &server_response},
	{ROLE_SERVER, SRC_ACTIVE, &server_requests},
	{ROLE_CLIENT, SRC_DURATION, &client_duration},
	{ROLE_CLIENT, SRC_REQUEST_BYTES, &client_request},
	{ROLE_CLIENT, SRC_RESPONSE_BYTES, &client_response},
	{ROLE_CLIENT, SRC_ACTIVE, &client_requests},
	{0},
};

static struct str attr_text(const struct call *c, const struct attr_key *key)
{
	const struct attr *a = call_attr(c, key);

	return a && a->type == ATTR_STR ? a->s : (struct str){0};
}

const char *http1_span_name(const struct call *c, char *dst, size_t size)
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

void http1_summary(const struct call *c, struct str *ret_method, struct str *ret_target, int64_t *ret_status)
{
	const struct attr *status = call_attr(c, &key_status);
	struct str original = attr_text(c, &key_original), path = attr_text(c, &key_path);

	*ret_method = original.len ? original : attr_text(c, &key_method);
	*ret_target = path.len ? path : attr_text(c, &attr_server_address);
	*ret_status = status ? status->i : 0;
}

/* --- what is kept of a request --- */

/* Copies text behind a request. */
static struct str keep(char **at, struct str s)
{
	struct str ret = {*at, s.len};

	if (!s.len)
		return (struct str){0};
	memcpy(*at, s.p, s.len);
	*at += s.len;
	return ret;
}

/* The same of a field that may be folded: line ends become blanks (RFC 9112, 5.2). */
static struct str keep_unfolded(char **at, struct str s)
{
	char *to = *at;

	for (size_t i = 0; i < s.len; i++)
		to[i] = s.p[i] == '\r' || s.p[i] == '\n' ? ' ' : s.p[i];
	*at += s.len;
	return (struct str){to, s.len};
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
	struct str state = {*at, tracestate_size(head)};

	if (head->n_traceparent != 1 || !http1_traceparent(head->traceparent, &r->parent) || !state.len)
		return;
	for (unsigned i = 0; i < head->n_tracestate; i++) {
		if (i)
			keep(at, STR(","));
		keep_unfolded(at, head->tracestate[i]);
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
	if (head->query.len) {
		r->query = (struct str){at, http1_redact_query(head->query, at)};
		at += r->query.len;
	}
	r->host = keep(&at, host);
	r->user_agent = keep_unfolded(&at, (struct str){head->user_agent.p, MIN(head->user_agent.len, USER_AGENT_MAX)});
	keep_trace(r, &at, head);
}

struct req *http1_req_new(struct proto_budget *budget, const struct http1_head *head)
{
	struct str host = {0}, path = str_is(head->target, "*") ? head->target : head->path;
	uint16_t port = find_host(head, &host);
	size_t size = sizeof(struct req) + head->method.len + path.len + http1_redact_query(head->query, NULL) +
		      host.len + MIN(head->user_agent.len, USER_AGENT_MAX) + tracestate_size(head);
	struct req *r = proto_resize(budget, NULL, 0, size);

	if (!r)
		return NULL;
	*r = (struct req){
		.size = (uint32_t)size,
		.port = port,
		.request_minor = head->minor,
		.scheme = head->scheme,
		.is_head = head->is_head,
		.is_connect = head->is_connect,
		.upgrade = head->upgrade,
		.expect = head->expect_continue,
		.odd = !head->registered,
	};
	keep_strings(r, head, path, host);
	return r;
}

/* --- calls --- */

static struct str peer_text(const struct http1_calls *k)
{
	char text[NET_ADDR_TEXT];

	if (k->flow->peer.family == NET_UNIX)
		return (struct str){k->flow->peer.path, strnlen(k->flow->peer.path, sizeof(k->flow->peer.path))};
	if (!k->peer_text[0])
		snprintf(k->peer_text, HTTP1_PEER_TEXT, "%.46s", net_addr_text(&k->flow->peer, text));
	return str_of(k->peer_text);
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
static void fill_addresses(const struct http1_calls *k, const struct req *r, struct call *c)
{
	struct str peer = peer_text(k);
	bool client = c->role == ROLE_CLIENT;

	add_str(c, &attr_server_address, r->host.len || !client ? r->host : peer);
	add_port(c, &attr_server_port, r->port || !client ? r->port : k->flow->peer.port);
	if (!client)
		add_str(c, &attr_client_address, peer);
	add_str(c, &attr_network_peer_address, peer);
	add_port(c, &attr_network_peer_port, k->flow->peer.port);
}

static void fill_call(const struct http1_calls *k, const struct req *r, struct call *c)
{
	struct str scheme = r->scheme == SCHEME_HTTPS || (!r->scheme && k->flow->tls) ? STR("https") : STR("http");
	uint8_t minor = r->status ? r->answer_minor : r->request_minor;

	/* not the addresses and the array of attributes: most of the struct, and written or not looked at */
	memset(c, 0, offsetof(struct call, local));
	memset(&c->pid, 0, offsetof(struct call, attrs) - offsetof(struct call, pid));
	c->n_attrs = 0;
	c->active = r->active;
	c->proto = PROTO_HTTP1;
	c->role = k->role;
	c->kind = CALL_UNARY;
	c->conn_id = k->flow->id;
	c->start_ns = r->start_ns;
	c->wait_ns = r->wait_ns;
	c->local = k->flow->local;
	c->peer = k->flow->peer;
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
	fill_addresses(k, r, c);
	add_str(c, &key_user_agent, r->user_agent);
}

void http1_call_begin(const struct http1_calls *k, struct req *r)
{
	struct call c;

	fill_call(k, r, &c);
	k->sink->begin(k->sink, k->flow, &c);
	r->active = c.active;
}

void http1_call_drop(const struct http1_calls *k, struct req *r)
{
	struct call c;

	fill_call(k, r, &c);
	k->sink->drop(k->sink, k->flow, &c);
}

void http1_call_end(const struct http1_calls *k, struct req *r, uint64_t end_ns, uint64_t response_bytes, struct str error)
{
	struct call c;
	char text[8];

	fill_call(k, r, &c);
	c.answered = r->status;
	c.first_ns = r->first_ns;
	c.end_ns = end_ns;
	if (r->first_ns && r->start_ns > r->first_ns)
		c.start_ns = TIME_UNKNOWN; /* the stamp of a send that was reported behind its answer */
	c.request_bytes = r->request_bytes;
	c.response_bytes = r->status ? response_bytes : 0;
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
	k->sink->end(k->sink, k->flow, &c);
}
