/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Counters that the kernel's half keeps, one u64 per CPU each. The second column is
 * the label value in sonde_events_total{kind} or sonde_events_lost_total{reason}, or ""
 * where the counter is shown elsewhere.
 */
#pragma once

/* Records that went into a ring. */
#define SONDE_EVENT_STATS(X) \
	X(STAT_EV_DATA, "data") \
	X(STAT_EV_CONN, "connection") \
	X(STAT_EV_END, "connection_end") \
	X(STAT_EV_TCP_FAIL, "connect_failed") \
	X(STAT_EV_PROC, "process")

/* Losses, in messages (requests): a lost record counts the requests that begin in it. */
#define SONDE_LOSS_STATS(X) \
	X(STAT_LOST_RING, "ring_full") \
	X(STAT_LOST_STATE, "connection_state")

/* The rest: see maps.h for who writes, metrics in docs/metrics.md. */
#define SONDE_OTHER_STATS(X) \
	X(STAT_UNJUDGED, "unjudged") \
	X(STAT_UNREADABLE_BYTES, "unreadable_bytes") \
	X(STAT_SPLICED_BYTES, "spliced_bytes") \
	X(STAT_TLS_CONNS, "tls_connections") \
	X(STAT_IGNORED_CONNS, "unknown_protocol_connections") \
	X(STAT_LOST_RECORDS, "records_lost") \
	X(STAT_LOST_PROC, "process_records_lost") \
	X(STAT_PROCS_REFUSED, "process_verdicts_refused") \
	X(STAT_LOST_ENDS, "connection_end_lost")

enum sonde_stat {
#define X(id, label) id,
	SONDE_EVENT_STATS(X) SONDE_LOSS_STATS(X) SONDE_OTHER_STATS(X)
#undef X
	STAT_MAX,
};

/* Programs whose run time is sampled: one run in so many is timed. A prime, so that no pattern of a program's calls meets it. */
#define SONDE_RUN_SAMPLE 61
#define SONDE_PROGRAMS(X) \
	X(RUN_SOCK_SEND, "sock_send") \
	X(RUN_SOCK_RECV, "sock_recv") \
	X(RUN_DATA_READY, "sk_data_ready") \
	X(RUN_SEND_START, "tcp_sendmsg_locked") \
	X(RUN_SET_STATE, "inet_sock_set_state")

enum sonde_run {
#define X(id, label) id,
	SONDE_PROGRAMS(X)
#undef X
	RUN_MAX,
};

struct sonde_run_stat {
	__u64 runs;
	__u64 samples;
	__u64 ns;
	__u64 next; /* runs until the next sample */
};
