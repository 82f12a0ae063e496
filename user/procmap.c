/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map may hold millions, and the thread that walks it is the one that must not be
 * late for the rings. So a walk goes in batches, one system call for a thousand entries (two
 * for each entry where the kernel has no batches, before 5.6), and a call ends after STEP_MAX
 * entries: the next one goes on from there. One walk serves who counts and who judges.
 */
#include "user/procmap.h"

#include <string.h>
#include <bpf/bpf.h>

#include "user/base/clock.h"

#define BATCH	    1024
#define STEP_MAX    (32768 + BATCH) /* the default table at once, its end included */
#define PENDING_MAX 256

struct procmap {
	int fd;
	bool by_key, midway, walked;
	__u32 at; /* midway: the batches' position, or the last key */
	uint64_t next_ns;
	struct procmap_counts sum, last;
	__u32 pending[PENDING_MAX];
	size_t n_pending, seen;
	__u32 keys[BATCH];
	struct sonde_proc procs[BATCH];
};

/* An empty batch asks whether there are batches (Linux 5.6). */
static bool has_batches(int fd)
{
	__u32 n = 0, at, key;
	struct sonde_proc p;

	return !bpf_map_lookup_batch(fd, NULL, &at, &key, &p, &n, NULL);
}

struct procmap *procmap_new(int fd, size_t budget)
{
	struct procmap *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->fd = fd;
	m->by_key = !has_batches(fd);
	m->last.budget = budget;
	return m;
}

void procmap_free(struct procmap *m)
{
	free(m);
}

void procmap_without_batches(struct procmap *m)
{
	m->by_key = true;
}

static void add(struct procmap *m, __u32 tgid, const struct sonde_proc *p)
{
	m->sum.total++;
	if (p->verdict <= VERDICT_PENDING)
		m->sum.verdict[p->verdict]++;
	m->sum.tls += !!(p->flags & PROC_SAW_TLS);
	m->sum.spliced += !!(p->flags & PROC_SPLICED);
	m->sum.in_tree += !!(p->flags & PROC_IN_TREE);
	m->sum.unreadable += !!(p->flags & PROC_UNREADABLE);
	if (p->verdict == VERDICT_PENDING && m->n_pending < PENDING_MAX)
		m->pending[m->n_pending++] = tgid;
}

/* False: that was the end of the map. */
static bool walk_batch(struct procmap *m)
{
	__u32 next = 0, n = BATCH;
	bool more = !bpf_map_lookup_batch(m->fd, m->midway ? &m->at : NULL, &next, m->keys, m->procs, &n, NULL);

	if (!more && errno != ENOENT)
		return false; /* nothing was written */
	for (__u32 i = 0; i < n; i++)
		add(m, m->keys[i], &m->procs[i]);
	m->seen += n;
	m->at = next;
	return more;
}

static bool walk_keys(struct procmap *m)
{
	__u32 next;

	for (int i = 0; i < BATCH; i++) {
		if (bpf_map_get_next_key(m->fd, m->midway ? &m->at : NULL, &next))
			return false;
		m->at = next;
		m->midway = true;
		m->seen++;
		if (!bpf_map_lookup_elem(m->fd, &next, &m->procs[0]))
			add(m, next, &m->procs[0]);
	}
	return true;
}

static void step(struct procmap *m, uint64_t now_ns)
{
	size_t from;

	if (!m->midway) {
		m->sum = (struct procmap_counts){.budget = m->last.budget};
		m->seen = 0;
	}
	m->next_ns = now_ns + NSEC_PER_SEC;
	m->n_pending = 0;
	from = m->seen;
	do {
		m->midway = m->by_key ? walk_keys(m) : walk_batch(m);
		/* a key that is deleted under the walk starts it over: no walk is longer than the table */
		m->midway &= m->seen <= m->last.budget;
	} while (m->midway && m->seen - from < STEP_MAX);
	if (m->midway && m->walked)
		return; /* the next call goes on; until its end the last walk holds */
	m->last = m->sum;
	m->walked |= !m->midway;
}

void procmap_count(struct procmap *m, struct procmap_counts *ret, uint64_t now_ns)
{
	if (now_ns >= m->next_ns)
		step(m, now_ns);
	*ret = m->last;
}

size_t procmap_pending(struct procmap *m, __u32 *tgids, size_t max, uint64_t now_ns)
{
	size_t n;

	step(m, now_ns);
	n = MIN(max, m->n_pending);
	memcpy(tgids, m->pending, n * sizeof(*tgids));
	return n;
}

size_t procmap_in_tree(struct procmap *m, uint64_t now_ns)
{
	m->midway = false;
	do
		step(m, now_ns);
	while (m->midway);
	return m->last.in_tree;
}
