/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel decides who is in scope. Here the same is found out from /proc and the
 * cgroups' files, for those who ask about the scope itself: the doctor, and a daemon that looks whether
 * another one observes the same. It is the state of a moment.
 */
#include "user/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 32

void scope_cgroup_path(const char *given, char *dst, size_t size)
{
	static const char *const roots[] = {"", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	char pids[4096];

	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		snprintf(dst, size, "%s%s", roots[i], given);
		snprintf(pids, sizeof(pids), "%s/cgroup.procs", dst);
		if (!access(pids, F_OK))
			return;
	}
	snprintf(dst, size, "%s", given);
}

int scope_parent_of(int pid)
{
	char path[64], text[1024], *end;
	_close_ int fd = -1;
	ssize_t n;
	int ppid;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = 0;
	end = strrchr(text, ')');
	return end && sscanf(end + 1, " %*c %d", &ppid) == 1 ? ppid : -1;
}

static void add_pid(struct buf *b, __u32 pid)
{
	buf_add(b, &pid, sizeof(pid));
}

/* Everything in a cgroup and below it. */
static void add_cgroup(struct buf *b, const char *path, int depth)
{
	char name[4096];
	struct dirent *e;
	unsigned pid;
	DIR *dir;
	FILE *f;

	snprintf(name, sizeof(name), "%s/cgroup.procs", path);
	f = fopen(name, "re");
	while (f && fscanf(f, "%u", &pid) == 1)
		add_pid(b, pid);
	if (f)
		fclose(f);
	dir = depth ? opendir(path) : NULL;
	while (dir && (e = readdir(dir))) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		add_cgroup(b, name, depth - 1);
	}
	if (dir)
		closedir(dir);
}

struct parent {
	__u32 pid, parent;
	bool in;
};

static int by_pid(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b; /* pid is the first of struct parent, too */

	return x < y ? -1 : x > y;
}

/* All processes and their parents, sorted; into a buffer of struct parent. */
static void read_parents(struct buf *b)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		int pid = atoi(e->d_name), parent = pid > 0 ? scope_parent_of(pid) : -1;
		struct parent p = {.pid = pid, .parent = MAX(parent, 0)};

		if (parent >= 0)
			buf_add(b, &p, sizeof(p));
	}
	if (dir)
		closedir(dir);
	if (b->len)
		qsort(b->data, b->len / sizeof(struct parent), sizeof(struct parent), by_pid);
}

static struct parent *find(struct parent *v, size_t n, __u32 pid)
{
	return n ? bsearch(&pid, v, n, sizeof(*v), by_pid) : NULL;
}

/* A process and its descendants. */
static void add_tree(struct buf *b, __u32 root)
{
	_buf_ struct buf all = BUF_INIT;
	struct parent *v;
	bool grew = true;
	size_t n;

	read_parents(&all);
	v = (struct parent *)all.data;
	n = all.len / sizeof(*v);
	while (grew) {
		grew = false;
		for (size_t i = 0; i < n; i++) {
			struct parent *up = find(v, n, v[i].parent);

			if (v[i].in || (v[i].pid != root && !(up && up->in)))
				continue;
			v[i].in = grew = true;
			add_pid(b, v[i].pid);
		}
	}
}

int scope_processes(const struct str_list *scopes, struct scope_pids *ret)
{
	_buf_ struct buf b = BUF_INIT;
	char path[4096];
	__u32 *v;
	size_t n;

	for (size_t i = 0; i < scopes->n; i++) {
		if (!strncmp(scopes->v[i], "pid:", 4)) {
			add_tree(&b, (__u32)atoi(scopes->v[i] + 4));
		} else {
			scope_cgroup_path(scopes->v[i] + strlen("cgroup:"), path, sizeof(path));
			add_cgroup(&b, path, DEPTH_MAX);
		}
	}
	if (b.err)
		return b.err;
	v = (__u32 *)TAKE_PTR(b.data);
	n = b.len / sizeof(*v);
	if (n)
		qsort(v, n, sizeof(*v), by_pid);
	ret->v = v;
	ret->n = 0;
	for (size_t i = 0; i < n; i++)
		if (!i || v[i] != v[i - 1])
			v[ret->n++] = v[i];
	return 0;
}

bool scope_has(const struct scope_pids *p, __u32 pid)
{
	return p->n && bsearch(&pid, p->v, p->n, sizeof(*p->v), by_pid);
}

void scope_pids_done(struct scope_pids *p)
{
	free(p->v);
	*p = (struct scope_pids){0};
}

static bool is_above(const char *a, const char *b)
{
	size_t n = strlen(a);

	return !strncmp(a, b, n) && (!b[n] || b[n] == '/');
}

/* One of two cgroups is, or holds, the other. */
static bool cgroups_overlap(const char *a, const char *b)
{
	char given[4096], x[4096], y[4096];

	scope_cgroup_path(a + strlen("cgroup:"), given, sizeof(given));
	if (!realpath(given, x))
		return false;
	scope_cgroup_path(b + strlen("cgroup:"), given, sizeof(given));
	return realpath(given, y) && (is_above(x, y) || is_above(y, x));
}

static bool one_overlaps(const char *a, const struct str_list *b, const struct scope_pids *in_b)
{
	struct str_list only = {.v = (char **)&a, .n = 1};
	struct scope_pids in_a = {0};
	bool both = false;

	for (size_t i = 0; i < b->n; i++)
		if (!strncmp(a, "cgroup:", 7) && !strncmp(b->v[i], "cgroup:", 7) && cgroups_overlap(a, b->v[i]))
			return true;
	if (scope_processes(&only, &in_a))
		return false;
	for (size_t i = 0; i < in_a.n && !both; i++)
		both = scope_has(in_b, in_a.v[i]);
	scope_pids_done(&in_a);
	return both;
}

const char *scope_overlap(const struct str_list *a, const struct str_list *b)
{
	struct scope_pids in_b = {0};
	const char *found = NULL;

	if (!a->n || !b->n)
		return "";
	if (scope_processes(b, &in_b))
		return NULL;
	for (size_t i = 0; i < a->n && !found; i++)
		if (one_overlaps(a->v[i], b, &in_b))
			found = a->v[i];
	scope_pids_done(&in_b);
	return found;
}
