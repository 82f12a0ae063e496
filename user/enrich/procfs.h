/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reading of /proc. One process is read through one directory handle, so that
 * a pid that is reused meanwhile gives an error and never another process's data.
 */
#pragma once

#include "user/base/buf.h"

struct procfs_stat {
	char comm[16];
	char state;
	uint32_t ppid;
	bool kernel_thread;
	uint64_t start_ns; /* since boot, to the clock tick */
};

int procfs_open(int proc_fd, uint32_t pid); /* a handle to close(), or -errno; -ENOENT, -ESRCH: there is none */
int procfs_open_dir(const char *path);
bool procfs_gone(int err);
/* The first `max` bytes replace what is in *out. A fixed part of a longer file is no error. */
int procfs_read(int dir_fd, const char *name, size_t max, struct buf *out);
int procfs_link(int dir_fd, const char *name, char *dst, size_t cap);
int procfs_stat(int dir_fd, struct procfs_stat *ret);
int procfs_parse_stat(struct str text, struct procfs_stat *ret);
int procfs_uid(int dir_fd, uint32_t *ret); /* the real one */
uint64_t procfs_tick_ns(void);

/*
 * A regular file by its absolute path as the process sees it. Links are followed inside
 * the process's root only. Never waits: not on a FIFO or device, and not on a file system
 * that the process may have put there itself (FUSE) or that a network can hold up; those are refused.
 */
int procfs_read_file(int dir_fd, const char *path, size_t max, struct buf *out);
