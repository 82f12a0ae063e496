/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the kernel's map of processes for those who count them and for those who judge
 * them. Capture thread only: one call looks at a bounded number of entries.
 */
#pragma once

#include <linux/types.h>

#include "bpf/shared/config.h"
#include "user/base/err.h"

/* Processes by verdict; of them, what was seen that cannot be read. */
struct procmap_counts {
	size_t verdict[VERDICT_PENDING + 1];
	size_t tls, spliced, unreadable, in_tree, total, budget;
};

struct procmap;

/* `fd` (borrowed): a hash map of __u32 → struct sonde_proc. NULL: errno. */
struct procmap *procmap_new(int fd, size_t budget);
void procmap_free(struct procmap *m); /* NULL is fine */

/* What the last whole walk counted; the map is walked at most once a second for it. */
void procmap_count(struct procmap *m, struct procmap_counts *ret, uint64_t now_ns);
/* Processes that wait for a verdict now, as far as this call has walked; how many. */
size_t procmap_pending(struct procmap *m, __u32 *tgids, size_t max, uint64_t now_ns);
/* Processes that live now and are in a process tree of the scope; a whole walk. */
size_t procmap_in_tree(struct procmap *m, uint64_t now_ns);
/* Key by key, as on a kernel without batches; for tests. */
void procmap_without_batches(struct procmap *m);
