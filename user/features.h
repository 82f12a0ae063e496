/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this kernel and these rights allow: one table, each row asked once and cached.
 * The names are those that the log, `sonde doctor` and /metrics use.
 */
#pragma once

#include "user/base/buf.h"

enum feature {
	FEAT_ROOT,
	FEAT_HOST_PID,
	FEAT_BTF,
	FEAT_KERNEL_READ,
	FEAT_SOCK_LENGTH,
	FEAT_SET_STATE,
	FEAT_PROCESS_EVENTS,
	FEAT_CGROUP_MOVES,
	FEAT_DATA_READY,
	FEAT_SEND_START,
	FEAT_SPLICE,
	FEAT_ITER_LISTENERS,
	FEAT_ITER_CONNS,
	FEAT_MAX,
};

struct feature_row {
	const char *name;    /* "sock_length" */
	const char *what;    /* for people */
	const char *since;   /* upstream kernel; "" where it is not a kernel's */
	const char *without; /* what is lost without it, and the way out */
	bool required;
};

const struct feature_row *feature_row(enum feature f);
bool feature_has(enum feature f);
/* The ladder's rung that this kernel can carry, "1 (socket tracepoints)"; NULL: none. */
const char *feature_rung(void);
/* "a,b,c" of all that is there. */
void feature_list(struct buf *b);
