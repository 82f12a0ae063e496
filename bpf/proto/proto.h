/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a protocol is to the kernel's half. It is an optimiser, not the authority on framing: it
 * recognises a connection and decides which bytes user space need not see. Copying too much
 * costs, copying too little is a hole that user space sees and counts; neither makes a wrong call.
 *
 * <name>_detect: looks at the first bytes of an event; 1: this is it, and w->req_dir is told.
 *   Called once or a few times per connection.
 * <name>_skip: how many of the next `left` bytes of this direction need not be seen; advances the state by
 *   them. w->done becomes 1 when a message ended with them.
 * <name>_walk: data[0..cap) are the next bytes (left ≥ cap in the event). Returns how many were
 *   taken, or 0 to ask for more (only if cap < left and cap < PIECE_MAX). What is to be
 *   emitted of them stands in w->emit: a prefix, or what it made of them in place (w->span).
 *
 * <name>_gap: the next `left` bytes of this direction passed and cannot be read: where the stream stands
 *   behind them is not known unless the state tells.
 *
 * Pure functions on the walk's state and bytes, compiled natively by the shim tests. Each entry is
 * a global BPF function: the verifier checks it once and alone, so that the twentieth protocol
 * costs what the first did. (Such functions take no pointers on old kernels: the walk is looked up.)
 */
#pragma once

#ifdef SONDE_SHIM
#include "tests/shim/shim.h"
#else
#include "vmlinux/vmlinux.h"
#include <bpf/bpf_helpers.h>
#endif
#include "bpf/shared/conn.h"
#include "bpf/shared/event.h"
#include "bpf/shared/note.h"
#include "bpf/shared/protocols.h"

/*
 * Where an event is walked and its record put together; one per CPU. PIECE_MAX is a power of two and
 * the data is twice as long, so that the verifier sees every masked index plus a bounded
 * length inside (a per-CPU value may have 32 KiB at most).
 */
#define PIECE_FIRST 1024
#define PIECE_MAX 8192
#define PIECE_MASK (PIECE_MAX - 1)

/* Where an event's bytes lie in the program's memory, see lib/payload.h. */
struct payload {
	__u64 base; /* buffer; or vector */
	__u64 iovs; /* 0: base is the buffer itself */
	__u32 found; /* it was looked for */
	__u32 ok;
	/* an event is walked forwards: where the last copy began */
	__u32 first;	 /* index into the vector */
	__u32 first_off; /* of its first byte in the message */
	__u64 socket;	 /* whose bytes they are: a struct socket's address */
};

struct walk {
	__u64 own[CONN_HALF_STATE / 8];	  /* this direction's state, copied in and out */
	__u64 other[CONN_HALF_STATE / 8]; /* the other one's, to look at: it may move on at this moment */
	__u64 note;  /* out: ev_data.note of what is emitted, see bpf/shared/note.h */
	__u32 cap;
	__u32 left;
	__u32 dir;
	__u32 req_dir; /* the direction of requests; out: of detect */
	__u32 emit;  /* out: how many of data to send to user space */
	__u32 span;  /* out: data was abridged to `emit`, and stands for so many bytes of the stream; 0: it was not */
	__u32 hold;  /* out: what follows of the message need not be seen, and its end will be told by `done`: the record may wait for it */
	__u32 heads; /* out: requests that begin in what is emitted */
	__u32 done;  /* out: a message ended with what was taken */
	__u32 leave; /* out: after these bytes the connection stops being this protocol */
	__u32 unseen; /* in: of this connection bytes have passed that nobody looked at: it was joined late, or they could not be read */
	__u64 end_note; /* in, out: ev_end.note if the connection ended behind these bytes */
	__u64 tmp[6]; /* the protocol's own, for one call */
	struct payload pay;
	struct ev_data ev; /* data follows it in the record */
	__u8 data[2 * PIECE_MAX];
};

#ifndef SONDE_SHIM
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks __weak SEC(".maps");

static __always_inline struct walk *walk_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&walks, &zero);
}
#endif

/* Inner parts of a protocol that branch much are made global functions in the same way. */
#define PROTO_ENTRY(fn)                        \
	__u32 fn(void);                        \
	__u32 fn(void)                         \
	{                                      \
		struct walk *w = walk_get();   \
					       \
		return w ? do_##fn(w) : 0;     \
	}

#define X(id, name)             \
	__u32 name##_detect(void); \
	__u32 name##_skip(void);   \
	__u32 name##_walk(void);   \
	__u32 name##_gap(void);
SONDE_PROTOCOLS(X)
#undef X
