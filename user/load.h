/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's half, loaded and attached: which programs, by the table in load.c, and
 * the maps behind calls with names. One capture per process. Capture thread only,
 * unless said otherwise.
 */
#pragma once

#include <linux/types.h>

#include "bpf/shared/config.h"
#include "bpf/shared/stats.h"
#include "user/config.h"
#include "user/procmap.h"

struct capture;

/* Called for every record; the data is valid during the call only. */
typedef int (*capture_record_fn)(void *ctx, void *data, size_t size);

struct capture_options {
	const struct config *config;
	capture_record_fn on_data, on_control;
	void *ctx;
};

/* Loads and verifies, attaches nothing. Logs the reason and the way out; -errno. */
int capture_load(struct capture **ret, const struct capture_options *o);
/*
 * Attaches process hooks, puts the scopes' process trees into the map, then attaches the
 * socket hooks and finds listeners that are open. From here on records come.
 */
int capture_attach(struct capture *c);
void capture_free(struct capture *c); /* NULL is fine */

int capture_epoll_fd(struct capture *c); /* readable on a forced wake-up */
/* Reads control records, then data records; the number read, or -errno. */
int capture_consume(struct capture *c);
int capture_consume_control(struct capture *c);

/* Rules of the configuration that the kernel judges itself; verdicts are made anew. */
int capture_set_rules(struct capture *c, const struct config *config);
int capture_set_verdict(struct capture *c, __u32 tgid, enum sonde_verdict v);

/* Sums over the CPUs. */
void capture_stats(struct capture *c, __u64 ret[STAT_MAX]);
void capture_runs(struct capture *c, struct sonde_run_stat ret[RUN_MAX]);
/* See user/procmap.h. */
void capture_procs(struct capture *c, struct procmap_counts *ret);
size_t capture_pending(struct capture *c, __u32 *tgids, size_t max);
size_t capture_in_tree(struct capture *c);
/* The most bytes that were unread in the data ring since the last call, and its size. */
void capture_ring(struct capture *c, size_t *ret_high, size_t *ret_size);
/* The live connections' ids, in `ids` (uint64_t[], grown); -ENOTSUP when there is no iterator. */
int capture_live_conns(struct capture *c, uint64_t **ret_ids, size_t *ret_n);
/* Runs that the kernel left out because a program was already running on that CPU. */
uint64_t capture_recursion_misses(struct capture *c);
size_t capture_map_bytes(struct capture *c);
