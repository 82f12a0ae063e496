/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two daemons that observe the same programs report their calls twice. Each daemon
 * holds a file without a name (a memfd) with its scopes; one that starts looks for these files among
 * the processes called "sonde". Names in a file system or a network namespace would not do: daemons in
 * containers have their own, but all see the host's processes (the host_pid feature). The files are
 * gone with their process, whatever its end.
 */
#include "user/peers.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "user/base/log.h"
#include "user/scope.h"

#define COMM	   "sonde"
#define MEMFD	   "sonde-scope"
#define SCOPES_MAX (64 << 10) /* bytes of them */
#define TRIES	   100	      /* of 10 ms */

static bool is_called_sonde(int pid)
{
	char path[64], comm[32];
	_close_ int fd = -1;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, comm, sizeof(comm) - 1);
	comm[MAX(n, 0)] = 0;
	/* anybody may take the name; only root's word counts */
	return !strcmp(comm, COMM "\n") && !fstat(fd, &st) && !st.st_uid;
}

/* One scope per line. False: this process announces nothing. */
static bool read_scopes(int pid, char text[SCOPES_MAX])
{
	char path[64], target[64];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
		_close_ int file = -1;

		target[MAX(n, 0)] = 0;
		if (strcmp(target, "/memfd:" MEMFD " (deleted)"))
			continue;
		file = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC);
		n = file < 0 ? -1 : pread(file, text, SCOPES_MAX - 1, 0);
		text[MAX(n, 0)] = 0;
		found = n >= 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static void split(char *text, char **v, struct str_list *ret)
{
	*ret = (struct str_list){.v = v};
	for (char *save, *word = strtok_r(text, "\n", &save); word && ret->n < SCOPES_MAX / 8;
	     word = strtok_r(NULL, "\n", &save))
		v[ret->n++] = word;
}

static int compare(const struct str_list *scope, int pid, char *text)
{
	_free_ char **v = calloc(SCOPES_MAX / 8, sizeof(*v));
	struct str_list theirs;
	const char *what;

	if (!v)
		return -ENOMEM;
	split(text, v, &theirs);
	what = scope_overlap(&theirs, scope);
	if (!what)
		return 0;
	return log_err_r(
		-EEXIST,
		"another sonde (process %d) already observes %s: stop it first (`systemctl stop sonde`, or `kill %d`), "
		"look at calls beside it with `sonde tail`, or have calls reported by both with --allow-overlap",
		pid,
		*what && theirs.n ? what
		: theirs.n	  ? "a part of this machine"
				  : "this machine",
		pid);
}

static int look_around(const struct str_list *scope)
{
	_free_ char *text = malloc(SCOPES_MAX);
	DIR *dir = opendir("/proc");
	struct dirent *e;
	int err = text ? 0 : -ENOMEM;

	while (!err && dir && (e = readdir(dir))) {
		int pid = atoi(e->d_name);

		if (pid > 0 && pid != getpid() && is_called_sonde(pid) && read_scopes(pid, text))
			err = compare(scope, pid, text);
	}
	if (dir)
		closedir(dir);
	return err;
}

static int write_scopes(const struct str_list *scope)
{
	_close_ int fd = memfd_create(MEMFD, MFD_CLOEXEC);
	int ret;

	for (size_t i = 0; fd >= 0 && i < scope->n; i++)
		if (dprintf(fd, "%s\n", scope->v[i]) < 0)
			return -errno;
	ret = fd < 0 ? -errno : fd;
	fd = -1;
	return ret;
}

/* Of two that start at once one looks first: both lock a file that all of them see. Anybody may lock it: never wait
 * long. */
static int take_turn(void)
{
	int fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < TRIES && flock(fd, LOCK_EX | LOCK_NB); i++)
		usleep(10000);
	return fd;
}

int peers_announce(const struct str_list *scope, bool allow, int *ret_fd)
{
	_close_ int turn = take_turn();
	int err = allow ? 0 : look_around(scope), fd;

	if (err)
		return err;
	prctl(PR_SET_NAME, COMM);
	fd = write_scopes(scope);
	if (fd < 0)
		return log_err_r(fd, "other daemons cannot be told of this one: %s", strerror(-fd));
	*ret_fd = fd;
	return 0;
}
