// SPDX-License-Identifier: Apache-2.0
/*
 * /proc is cheap to trust and the process behind it is not: a file of its own is opened
 * inside its root (openat2), without blocking, only when it is a regular file, and only
 * where its mount table shows no file system that answers when somebody else pleases.
 * Where such a file system is mounted anywhere, no symbolic link is followed at all,
 * since it may lead there.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "user/base/clock.h"
#include "user/enrich/procfs.h"

#define MOUNTINFO_MAX (256 << 10)
#define PF_KTHREAD    0x00200000

int procfs_open(int proc_fd, uint32_t pid)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "%u", pid);
	fd = openat(proc_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int procfs_open_dir(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

bool procfs_gone(int err)
{
	return err == -ENOENT || err == -ESRCH;
}

static int read_fd(int fd, size_t max, struct buf *out)
{
	char chunk[4096];

	buf_clear(out);
	while (out->len < max) {
		ssize_t n = read(fd, chunk, MIN(sizeof(chunk), max - out->len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		buf_add(out, chunk, (size_t)n);
		if (out->err)
			return out->err;
	}
	return 0;
}

int procfs_read(int dir_fd, const char *name, size_t max, struct buf *out)
{
	_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	buf_clear(out);
	return fd < 0 ? -errno : read_fd(fd, max, out);
}

int procfs_link(int dir_fd, const char *name, char *dst, size_t cap)
{
	ssize_t n = readlinkat(dir_fd, name, dst, cap - 1);

	if (n < 0)
		return -errno;
	dst[n] = 0;
	return 0;
}

uint64_t procfs_tick_ns(void)
{
	static uint64_t tick;

	if (!tick) {
		long hz = sysconf(_SC_CLK_TCK);

		tick = NSEC_PER_SEC / (uint64_t)(hz > 0 ? hz : 100);
	}
	return tick;
}

/* The name in parentheses may hold blanks and parentheses itself: it ends at the last one. */
int procfs_parse_stat(struct str text, struct procfs_stat *ret)
{
	const char *open = text.len ? memchr(text.p, '(', text.len) : NULL;
	const char *close = text.len ? memrchr(text.p, ')', text.len) : NULL;
	struct procfs_stat s = {0};
	struct str rest, part;
	uint64_t v = 0;

	if (!open || !close || close < open)
		return -EINVAL;
	memcpy(s.comm, open + 1, MIN((size_t)(close - open - 1), sizeof(s.comm) - 1));
	rest = (struct str){close + 1, text.len - (size_t)(close + 1 - text.p)};
	rest = str_trim(rest);
	/* proc_pid_stat(5) counts from 1 and the state is 3 */
	for (int field = 3; field <= 22; field++) {
		if (!str_split(&rest, ' ', &part))
			return -EINVAL;
		if (field == 3)
			s.state = part.len ? part.p[0] : '?';
		if (field != 4 && field != 9 && field != 22)
			continue;
		if (part.len && part.p[part.len - 1] == '\n')
			part.len--;
		if (str_to_u64(part, &v))
			return -EINVAL;
		if (field == 4)
			s.ppid = (uint32_t)v;
		else if (field == 9)
			s.kernel_thread = v & PF_KTHREAD;
		else
			s.start_ns = v * procfs_tick_ns();
	}
	*ret = s;
	return 0;
}

int procfs_stat(int dir_fd, struct procfs_stat *ret)
{
	_buf_ struct buf b = BUF_INIT;
	int err = procfs_read(dir_fd, "stat", 1024, &b);

	return err ? err : procfs_parse_stat(buf_view(&b), ret);
}

int procfs_uid(int dir_fd, uint32_t *ret)
{
	_buf_ struct buf b = BUF_INIT;
	struct str rest, line, part;
	uint64_t v;
	int err = procfs_read(dir_fd, "status", 4096, &b);

	if (err)
		return err;
	rest = buf_view(&b);
	while (str_split(&rest, '\n', &line)) {
		if (line.len < 5 || memcmp(line.p, "Uid:\t", 5))
			continue;
		line.p += 5;
		line.len -= 5;
		if (!str_split(&line, '\t', &part) || str_to_u64(part, &v) || v > UINT32_MAX)
			return -EINVAL;
		*ret = (uint32_t)v;
		return 0;
	}
	return -EINVAL;
}

/* File systems whose answers depend on another program or machine. */
static bool slow_fs(struct str type)
{
	static const char *const globs[] = {"fuse", "fuse.*",	"fuseblk", "nfs*",    "cifs",	  "smb*",  "9p",
					    "ceph", "afs",	"autofs",  "lustre",  "virtiofs", "gfs2",  "ocfs2",
					    "coda", "orangefs", "gpfs",	   "beegfs*", "vboxsf",	  "*hgfs*"};

	for (size_t i = 0; i < ARRAY_SIZE(globs); i++) {
		if (str_glob(globs[i], type))
			return true;
	}
	return false;
}

/* One line of mountinfo: where and what. The mount point's blanks are written in octal. */
static bool mount_line(struct str line, char point[PATH_MAX], struct str *ret_type)
{
	struct str part = {0};
	size_t n = 0;

	for (int field = 1; field <= 5; field++) {
		if (!str_split(&line, ' ', &part))
			return false;
	}
	for (size_t i = 0; i < part.len && n < PATH_MAX - 1; i++) {
		if (part.p[i] == '\\' && i + 3 < part.len) {
			point[n++] =
				(char)((part.p[i + 1] - '0') * 64 + (part.p[i + 2] - '0') * 8 + part.p[i + 3] - '0');
			i += 3;
		} else {
			point[n++] = part.p[i];
		}
	}
	point[n] = 0;
	while (str_split(&line, ' ', &part)) {
		if (str_is(part, "-"))
			return str_split(&line, ' ', ret_type);
	}
	return false;
}

static bool below(const char *path, const char *point)
{
	size_t len = strlen(point);

	if (len == 1)
		return true;
	return !strncmp(path, point, len) && (!path[len] || path[len] == '/');
}

/* 0 and how to resolve the path; -EXDEV: it lies where reading may wait. */
static int mount_policy(int dir_fd, const char *path, __u64 *ret_resolve)
{
	_buf_ struct buf b = BUF_INIT;
	char point[PATH_MAX];
	struct str rest, line, type;
	size_t longest = 0;
	bool slow = false, any_slow = false;
	int err = procfs_read(dir_fd, "mountinfo", MOUNTINFO_MAX, &b);

	if (err)
		return err;
	if (b.len >= MOUNTINFO_MAX)
		return -EXDEV;
	rest = buf_view(&b);
	while (str_split(&rest, '\n', &line)) {
		bool is_slow;

		if (!mount_line(line, point, &type))
			continue;
		is_slow = slow_fs(type);
		/* systemd's trap for binfmt_misc is on every host and leads nowhere */
		any_slow |= is_slow && strcmp(point, "/proc/sys/fs/binfmt_misc") != 0;
		if (below(path, point) && strlen(point) >= longest) {
			longest = strlen(point);
			slow = is_slow;
		}
	}
	if (slow)
		return -EXDEV;
	*ret_resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (any_slow ? RESOLVE_NO_SYMLINKS : 0);
	return 0;
}

int procfs_read_file(int dir_fd, const char *path, size_t max, struct buf *out)
{
	/* O_PATH first: only opening a device or FIFO for real has effects */
	struct open_how how = {.flags = O_PATH | O_CLOEXEC};
	struct stat st;
	char self[40];
	int err = mount_policy(dir_fd, path, &how.resolve);
	_close_ int root = -1;
	_close_ int found = -1;
	_close_ int fd = -1;

	buf_clear(out);
	if (err)
		return err;
	root = openat(dir_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	found = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (found < 0)
		return -errno;
	if (fstat(found, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", found);
	fd = open(self, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : read_fd(fd, max, out);
}
