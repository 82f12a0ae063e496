/* SPDX-License-Identifier: Apache-2.0 */
/* What --scope means outside of the kernel: directories and processes. */
#pragma once

#include <linux/types.h>

#include "user/base/buf.h"
#include "user/config.h"

/* The directory of a cgroup given as an absolute path, or as one below a cgroup mount. */
void scope_cgroup_path(const char *given, char *dst, size_t size);
/* -1: no such process. */
int scope_parent_of(int pid);

/* Processes, sorted by id, each once. */
struct scope_pids {
	__u32 *v;
	size_t n;
};

/* Who is in these scopes at this moment; without a scope nobody is listed. -ENOMEM. */
int scope_processes(const struct str_list *scopes, struct scope_pids *ret);
bool scope_has(const struct scope_pids *p, __u32 pid);
void scope_pids_done(struct scope_pids *p);

/*
 * The first of `a` that shares something with `b`: a cgroup that is the same or above or below the
 * other, or a process that is in both now. "" when all of the machine is observed; NULL: nothing.
 */
const char *scope_overlap(const struct str_list *a, const struct str_list *b);
