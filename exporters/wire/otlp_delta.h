/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delta temporality: what the far end already has of every series. The table holds what
 * the last snapshot held and no more. A point's delta counts as delivered only when it
 * is committed, so that an export that failed is made up for by the next one.
 */
#pragma once

#include "user/base/hmap.h"
#include "user/model/metric.h"

/* What was delivered of one series. */
struct otlp_series {
	struct hmap_node node;
	const struct instrument *inst;
	uint32_t service_id;
	struct labels *labels; /* owned reference */
	uint64_t round;	       /* of otlp_delta_attach(): when it was last seen */
	uint64_t until_ns;     /* wall clock: the delivered values reach to here */
	double value;	       /* of a counter; a histogram's sum */
	uint64_t count;
	size_t n_buckets;
	uint64_t buckets[];
};

/* One point on its way out. All but `since` is borrowed from the snapshot. */
struct otlp_point {
	const struct service *service; /* never NULL unless there is no self either */
	const struct family *family;
	const struct point *point;
	struct otlp_series *since; /* a delta against this; NULL: cumulative */
};

struct otlp_delta;

/*
 * lowmemory: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE's word; counters about sonde itself
 * are read, not counted along ("asynchronous"), and stay cumulative.
 */
struct otlp_delta *otlp_delta_new(bool lowmemory, const struct service *self);
void otlp_delta_free(struct otlp_delta *d); /* NULL is fine */

/*
 * Gives counters and histograms their `since`, takes series that did not move out of the
 * array, forgets series that are not in it. Returns how many points remain; *ret_lost: how many
 * could not be followed (no memory) and were taken out too.
 */
size_t otlp_delta_attach(struct otlp_delta *d, struct otlp_point *p, size_t n, size_t *ret_lost);
/* These points were delivered. */
void otlp_delta_commit(const struct otlp_point *p, size_t n, uint64_t wall_ns);
size_t otlp_delta_count(const struct otlp_delta *d);
