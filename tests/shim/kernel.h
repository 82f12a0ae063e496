/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's half as a library: bpf/classify.bpf.c itself and every protocol, compiled natively, behind
 * a socket that is told which bytes passed. One connection at a time is fed from an "event", as a
 * hook would; its records come back through a function, which may refuse them (a full ring).
 */
#pragma once

#include <linux/types.h>

#include "bpf/shared/conn.h"
#include "bpf/shared/event.h"
#include "bpf/shared/stats.h"

/* A record as it would lie in the ring; 0, or -1: no room. */
typedef int shim_emit_fn(void *ctx, const struct ev_hdr *rec, __u64 size);

struct shim_iovec {
	const void *base;
	__u64 len;
};

/* Clears counters and the clock; `fn` gets the records from now on. */
void shim_kernel_init(shim_emit_fn *fn, void *ctx);
/* A connection, announced as the state hook does it. flags: enum sonde_conn_flags. */
void shim_conn_open(struct sonde_conn *c, __u64 id, __u16 flags);
/* n bytes passed in one system call: from a buffer (n_iov 1) or a vector. n_iov 0: they cannot be read. */
void shim_conn_bytes(struct sonde_conn *c, int dir, const struct shim_iovec *iov, int n_iov, __u32 n);
void shim_conn_end(struct sonde_conn *c, __u32 how);
__u64 shim_stat(enum sonde_stat id);
/* Bytes that were copied out of the program's memory. */
__u64 shim_copied(void);
