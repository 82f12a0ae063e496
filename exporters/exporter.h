/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an exporter is. Exporters see the model only; each runs its own thread. From
 * the host they get snapshots (any thread may ask) and, when they want them, spans
 * (capture thread; must return at once: take a reference, queue it or drop and count).
 */
#pragma once

#include "user/config.h"
#include "user/model/metric.h"
#include "user/model/span.h"

struct exporter_host {
	void *ctx;
	/* A fresh snapshot, waiting at most a second for the capture thread; owned by the caller. NULL: -errno in errno. */
	struct snapshot *(*snapshot)(void *ctx);
	bool (*ready)(void *ctx);     /* capture is attached and running */
	const struct config *config;  /* lives as long as the exporter */
	const char *version;
	struct service *self;	      /* sonde's own resource */
};

struct exporter; /* opaque: each exporter's own */

/* One line of sonde_exporter_{sent,failed,dropped}_total{exporter,signal}. */
struct exporter_stats {
	const char *signal; /* "traces", "metrics", "scrapes", "lines" */
	uint64_t sent, failed, dropped; /* spans, points, scrapes, lines */
	uint64_t queue_len, queue_cap;	/* 0: no queue */
};
#define EXPORTER_SIGNALS_MAX 4

struct exporter_ops {
	const char *name; /* "prometheus", "otlp", "console", "print" */
	/* 1: nothing to do by this configuration; 0: started, *ret set; -errno, logged. */
	int (*start)(const struct exporter_host *host, struct exporter **ret);
	/* NULL: wants no spans/calls. */
	void (*span)(struct exporter *e, struct span *s);
	bool (*wants_spans)(struct exporter *e); /* NULL: always, when there is span() */
	/* Every call, sampled or not, capture thread, must not block: the live view. NULL: not wanted. */
	void (*call)(struct exporter *e, const struct call *c);
	/* Once per second from the capture thread; NULL: not wanted. */
	void (*tick)(struct exporter *e, uint64_t now_ns);
	size_t (*stats)(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX]); /* any thread */
	/* Flushes until `deadline_ns` (monotonic), stops the thread, frees. */
	void (*stop)(struct exporter *e, uint64_t deadline_ns);
};
