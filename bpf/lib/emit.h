/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The only writer of the rings. Wake-ups are not sent: user space reads on a timer, a
 * default wake-up costs the traced program 4–12 µs per record. One is forced when the
 * unread data crosses a quarter of the ring.
 */
#pragma once

#include "bpf/maps.h"

static __always_inline void stat_add(__u32 id, __u64 n)
{
	__u64 *v = bpf_map_lookup_elem(&stats, &id);

	if (v)
		*v += n;
}

static __always_inline int emit(void *rec, __u64 size, __u32 stat)
{
	__u64 unread = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (unread > live.ring_high)
		live.ring_high = unread;
	if (unread < settings.force_wakeup_bytes && unread + size >= settings.force_wakeup_bytes)
		flags = BPF_RB_FORCE_WAKEUP;
	if (bpf_ringbuf_output(&ring, rec, size, flags)) {
		stat_add(STAT_LOST_RECORDS, 1);
		return -1;
	}
	stat_add(stat, 1);
	return 0;
}

/*
 * Runs of the programs, and the time of one run in SONDE_RUN_SAMPLE: clock reads of our own, since
 * BPF's statistics are machine-wide.
 */
static __always_inline __u64 run_begin(__u32 id)
{
	struct sonde_run_stat *r = bpf_map_lookup_elem(&runs, &id);

	if (!r)
		return 0;
	r->runs++;
	if (r->next) {
		r->next--;
		return 0;
	}
	r->next = SONDE_RUN_SAMPLE - 1;
	return bpf_ktime_get_ns();
}

static __always_inline void run_end(__u32 id, __u64 begin)
{
	struct sonde_run_stat *r;

	if (!begin)
		return;
	r = bpf_map_lookup_elem(&runs, &id);
	if (r) {
		r->samples++;
		r->ns += bpf_ktime_get_ns() - begin;
	}
}
