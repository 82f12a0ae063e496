/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics as data, without a wire format. An instrument carries its OpenTelemetry
 * name and UCUM unit; exporters derive the Prometheus name from both. A snapshot is
 * an immutable, reference-counted copy of every series at one moment: exporters read
 * it in their own thread and never touch the live table.
 */
#pragma once

#include <stdatomic.h>

#include "user/model/attr.h"
#include "user/model/process.h"

enum instrument_kind {
	INST_COUNTER,	/* monotonic sum; Prometheus name ends in _total */
	INST_UPDOWN,	/* sum that goes both ways */
	INST_GAUGE,
	INST_HISTOGRAM, /* explicit bounds */
	INST_INFO,	/* Prometheus: gauge with the value 1, name as given */
};

struct instrument {
	const char *name; /* "http.server.request.duration"; names of sonde's own: "sonde.events.lost" */
	const char *unit; /* UCUM: "s", "By", "{request}", "1" */
	const char *help;
	enum instrument_kind kind;
};

/* A label of a series: both strings belong to the label set. Values are valid UTF-8. */
struct label {
	const char *name;  /* OpenTelemetry spelling, dots and all */
	const char *value;
};

/* Immutable, one allocation, reference-counted with atomics. Sorted by name. */
struct labels {
	atomic_uint refs;
	uint32_t n;
	struct label l[];
};
struct labels *labels_new(const struct label *l, size_t n); /* copies; sorts */
static inline struct labels *labels_ref(struct labels *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}
void labels_unref(struct labels *l); /* NULL is fine */

struct point {
	struct service *service; /* owned reference; NULL: about sonde itself */
	struct labels *labels;	 /* owned reference; without the service's own labels */
	uint64_t start_ns;	 /* wall clock: since when the sum counts */
	union {
		double value;
		struct {
			uint64_t count;
			double sum;
			const uint64_t *buckets; /* family.n_bounds + 1, not cumulative; inside the snapshot */
		} hist;
	};
};

struct family {
	const struct instrument *inst; /* static storage */
	const double *bounds;	       /* histograms: upper bounds, ascending, +Inf left out */
	size_t n_bounds;
	struct point *points;
	size_t n_points;
};

struct snapshot {
	atomic_uint refs;
	uint64_t wall_ns;
	struct family *families;
	size_t n_families;
	struct service **services; /* all services that have a point, or were seen lately: for target_info */
	size_t n_services;
	void *arena; /* one malloc() block with families, bounds, points, buckets and the services array in it */
};
/*
 * Ownership: the maker allocates the struct and the arena by malloc() and takes one
 * reference per point on its service (unless NULL) and its labels, and one per entry of
 * `services`. The last snapshot_unref() gives all of them back and frees both blocks.
 * Nothing in a snapshot may point into the live table, except family.inst.
 */
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* NULL is fine */
