/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends OTLP requests of one signal to one endpoint, by HTTP/protobuf or gRPC, and tries
 * again as the OTLP specification says. One sender belongs to one thread; only otlp_sender_stop()
 * may come from another. Whether the endpoint takes what it gets is logged once per change.
 * curl_global_init() has been called by the owner.
 */
#pragma once

#include "exporters/wire/otlp_answer.h"
#include "user/config.h"

struct otlp_target {
	enum otlp_signal signal;
	bool grpc, gzip;
	const char *url; /* made by otlp_url() */
	const struct kv_list *headers;
	uint64_t timeout_ns;	     /* of one attempt; 0: the deadline only */
	uint64_t backoff_ns;	     /* first pause between attempts, doubled up to its sixteenfold; 0: one second */
	const char *ca, *cert, *key; /* PEM files; NULL or "": none */
	const char *version;
};

struct otlp_sender;

/*
 * The URL to send to. `general`: the endpoint is that of all signals, and the signal's path is added; else it
 * is used as it is. gRPC takes scheme, host and port and has its own path. Without a scheme it is http.
 * -EINVAL: not http or https, or no URL; -ENOMEM. *ret_url is the caller's.
 */
int otlp_url(const char *endpoint, enum otlp_signal signal, bool grpc, bool general, char **ret_url);
/* For logs: no user, password, query. Owned by the caller, NULL on ENOMEM. */
char *otlp_url_shown(const char *url);
const char *otlp_signal_name(enum otlp_signal signal);

/* Copies what it needs. NULL: errno is ENOMEM, or EINVAL for a header that cannot be sent (logged by name). */
struct otlp_sender *otlp_sender_new(const struct otlp_target *t);
void otlp_sender_free(struct otlp_sender *s); /* NULL is fine */
/*
 * Sends one request, waits for the answer, tries again until `deadline_ns` (monotonic). 0: taken, all but
 * *ret_rejected; -EREMOTEIO: refused for good; -ETIMEDOUT: given up, it may or may not have arrived; -ENOMEM.
 */
int otlp_send(struct otlp_sender *s, const struct buf *body, uint64_t deadline_ns, uint64_t *ret_rejected);
/* From now on nothing lasts beyond `deadline_ns`, and an endpoint that cannot be reached is not tried again. */
void otlp_sender_stop(struct otlp_sender *s, uint64_t deadline_ns);

struct otlp_sender_stats {
	uint64_t attempts, connections;
};
struct otlp_sender_stats otlp_sender_stats(const struct otlp_sender *s); /* the sender's thread */
