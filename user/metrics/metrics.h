/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The series table: calls in, snapshots out. Belongs to the capture thread; only the
 * snapshots that it makes cross threads. Recording does one look-up per call: all
 * instruments of one (service, protocol, role, label values) stand in one group.
 *
 * Budgets: max_series label sets; what goes over is recorded in one overflow group per
 * service, role and protocol, labelled otel_metric_overflow="true", so totals stay right
 * (the overflow groups themselves are bounded by the number of services, and past a
 * second bound by one overflow group without service).
 */
#pragma once

#include "user/model/call.h"
#include "user/model/metric.h"
#include "user/proto/proto.h"

struct metrics;

struct metrics_options {
	const double *duration_bounds; /* seconds */
	size_t n_duration_bounds;
	const double *size_bounds; /* bytes */
	size_t n_size_bounds;
	size_t max_series;
	uint64_t ttl_ns; /* 0: series stay for good */
	bool server_address_on_server; /* attr_server_address/port on ROLE_SERVER too */
};

struct metrics *metrics_new(const struct metrics_options *o); /* arrays are copied */
void metrics_free(struct metrics *m);
void metrics_set_ttl(struct metrics *m, uint64_t ttl_ns);

/* The active gauge: begin counts one up and stores the place in c->active; end or drop count it down. */
void metrics_call_begin(struct metrics *m, struct call *c);
void metrics_call_drop(struct metrics *m, struct call *c);
/* Counts the call, and the active gauge down. now_ns: monotonic. */
void metrics_call_end(struct metrics *m, struct call *c, uint64_t now_ns);

/*
 * Sums that are not calls (TCP connections, losses, …): a counter, gauge or histogram
 * by instrument, service (may be NULL: about sonde) and labels. `inst` is static storage and
 * its address is its identity. Histograms use the duration bounds.
 */
void metrics_add(struct metrics *m, const struct instrument *inst, struct service *s,
		 const struct label *labels, size_t n_labels, double delta, uint64_t now_ns);
void metrics_set(struct metrics *m, const struct instrument *inst, struct service *s,
		 const struct label *labels, size_t n_labels, double value, uint64_t now_ns);
void metrics_observe(struct metrics *m, const struct instrument *inst, struct service *s,
		     const struct label *labels, size_t n_labels, double value, uint64_t now_ns);

/* Evicts what is older than the ttl; cheap, call once a second. Series about sonde itself and active gauges > 0 stay. */
void metrics_expire(struct metrics *m, uint64_t now_ns);
/* A copy of everything as it is now; NULL and errno. */
struct snapshot *metrics_snapshot(struct metrics *m, uint64_t now_ns);

struct metrics_stats {
	size_t series, max_series;
	uint64_t overflowed;	 /* calls and sums recorded in an overflow group */
	uint64_t untimed;	 /* calls kept out of the duration histogram: a time is unknown */
	uint64_t evicted;	 /* groups evicted by age */
	uint64_t lost;		 /* calls and sums that are in no series: no memory for one, or a gauge past the budget */
	uint64_t refused;	 /* values no sum can hold: NaN, infinity, a counter going down */
};
void metrics_get_stats(const struct metrics *m, struct metrics_stats *ret);

/* sonde_server_request_wait_seconds: recorded by metrics_call_end when c->wait_ns is known. */
