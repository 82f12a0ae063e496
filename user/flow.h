/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From records to calls: the table of connections, their decoders, and what happens to
 * a call when it begins and ends (enrichment, metrics, span, exporters). Capture thread
 * only.
 */
#pragma once

#include "user/enrich/processes.h"
#include "user/enrich/routes.h"
#include "user/load.h"
#include "user/metrics/metrics.h"
#include "user/proto/proto.h"
#include "user/traces/traces.h"

struct flow_table;

struct flow_rooms {
	const struct config *config;
	struct processes *processes;
	struct routes *routes;
	struct metrics *metrics;
	struct traces *traces;
	struct capture *capture; /* for verdicts and live connections; set after it is loaded */
	/* A call has ended; span is NULL when it was not sampled. */
	void (*call)(void *ctx, const struct call *c, struct span *span);
	void *ctx;
};

struct flow_table *flow_table_new(const struct flow_rooms *rooms);
void flow_table_free(struct flow_table *t); /* NULL is fine */
void flow_table_set_capture(struct flow_table *t, struct capture *c);

/* Records as they come from the rings; capture_record_fn. Malformed ones are counted, never trusted. */
int flow_on_data(void *table, void *data, size_t size);
int flow_on_control(void *table, void *data, size_t size);

/* After each reading of the rings: what waits for records that might still come. */
void flow_settle(struct flow_table *t, uint64_t now_ns);
/* Once a second: ends of connections that nobody told us. */
void flow_tick(struct flow_table *t, uint64_t now_ns);
/* Every process in /proc is judged and its verdict told to the kernel; after attach and after a reload. */
void flow_judge_all(struct flow_table *t);

struct flow_stats {
	size_t conns, conns_max, conns_unix;
	uint64_t conns_refused;
	uint64_t conns_unknown;			/* given up by their decoder: not its protocol, or not any longer */
	size_t decode_bytes, decode_max;	/* memory of the decoders, all connections together */
	uint64_t decode_refused;
	uint64_t malformed;			/* records that made no sense */
	uint64_t lost_table;			/* messages on connections that the table had no room for */
	uint64_t lost[CALL_LOSS_MAX];		/* messages, by the decoders */
	uint64_t calls;
};
void flow_get_stats(const struct flow_table *t, struct flow_stats *ret);
