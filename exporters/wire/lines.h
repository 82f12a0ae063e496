/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines to standard output from a thread that must not block: into one of two buffers; a
 * writer thread swaps them and writes. A full buffer drops lines and counts them.
 */
#pragma once

#include "user/base/buf.h"

struct lines;

struct lines_stats {
	uint64_t sent, failed, dropped, held; /* held: not written yet */
};

/* Called with the buffer behind the lines that were dropped, and how many; may add a line about it. */
typedef void (*lines_dropped_fn)(struct buf *b, uint64_t n);

/* -ENOMEM or what threads need; logged. */
int lines_new(struct lines **ret, lines_dropped_fn on_dropped);
/* The buffer to add one line to, locked until lines_end(); NULL: there is no room, it is counted as dropped. */
struct buf *lines_begin(struct lines *l);
void lines_end(struct lines *l); /* a line that could not be added whole is taken back and dropped */
void lines_get_stats(struct lines *l, struct lines_stats *ret);
/* Writes what is there until `deadline_ns` and frees. */
void lines_stop(struct lines *l, uint64_t deadline_ns);

/* Writes at once, in one piece between others' lines; blocks. False: standard output is gone. */
bool lines_write(const char *p, size_t n);
/* Standard output is gone: nobody reads any more, or it cannot be written (logged). */
bool lines_closed(void);
bool lines_failed(void); /* for the second reason */
void lines_reset(void);	 /* for tests: it is back */
