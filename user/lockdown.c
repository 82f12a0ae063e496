/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mode stands in a file of securityfs, which not everybody mounts. Then the kernel is
 * asked in another way: by a mount of securityfs that no directory has, gone with its descriptor;
 * where that is not allowed, by what it refuses (a program that reads kernel memory) and by what it
 * was started with. Nothing is changed by asking.
 */
#include "user/lockdown.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/magic.h>

#include "user/base/err.h"

#define MOUNT_POINT "/sys/kernel/security"

enum how { USUAL, ASKED, NO_LSM, REFUSES, STARTED, NOT_CONFIDENTIAL, UNKNOWN };

/* The words of docs/status.md. */
static const char *const how_words[] = {
	[USUAL] = "",
	[ASKED] = "asked of the kernel: securityfs is not mounted",
	[NO_LSM] = "this kernel has no lockdown",
	[REFUSES] = "the kernel refuses a program that reads its memory",
	[STARTED] = "or more, by the kernel's command line: securityfs is not mounted",
	[NOT_CONFIDENTIAL] = "none or integrity, by what it allows: securityfs is not mounted, and asking the kernel needs CAP_SYS_ADMIN",
	[UNKNOWN] = "securityfs is not mounted, and asking the kernel needs CAP_SYS_ADMIN",
};

static struct {
	char mode[32];
	enum how how;
} known;

static bool set(const char *mode, enum how how)
{
	snprintf(known.mode, sizeof(known.mode), "%s", mode);
	known.how = how;
	return true;
}

/* "none [integrity] confidentiality" below the directory `dir`, which is a securityfs. */
static bool read_file(int dir, enum how how)
{
	_close_ int fd = openat(dir, "lockdown", O_RDONLY | O_CLOEXEC);
	char text[128], *at, *end;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT && set("none", NO_LSM);
	n = read(fd, text, sizeof(text) - 1);
	text[MAX(n, 0)] = 0;
	at = strchr(text, '[');
	end = at ? strchr(at, ']') : NULL;
	if (!end)
		return false;
	*end = 0;
	return set(at + 1, how);
}

static bool by_mounted(void)
{
	_close_ int dir = open(MOUNT_POINT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	return dir >= 0 && !fstatfs(dir, &fs) && fs.f_type == SECURITYFS_MAGIC && read_file(dir, USUAL);
}

static bool by_own_mount(void)
{
	_close_ int fs = fsopen("securityfs", FSOPEN_CLOEXEC), dir = -1;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return false;
	dir = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return dir >= 0 && read_file(dir, ASKED);
}

static bool loads(const struct bpf_insn *insns, size_t n)
{
	_close_ int fd = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "lockdown", "GPL", insns, n, NULL);

	return fd >= 0;
}

/* bpf_probe_read_kernel() is taken away by "confidentiality", without a word in the kernel's log; never run. */
static bool by_trial(void)
{
	static const struct bpf_insn reads[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_1, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	if (!loads(reads + 5, 2)) /* not even one that does nothing */
		return false;
	if (!loads(reads, ARRAY_SIZE(reads)))
		return set("confidentiality", REFUSES);
	return set("unknown", NOT_CONFIDENTIAL);
}

/* lockdown=MODE; more than that may have been asked for since. */
static bool by_command_line(void)
{
	_close_ int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	char text[4096], *save;
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[MAX(n, 0)] = 0;
	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (!strcmp(word, "lockdown=confidentiality"))
			return set("confidentiality", STARTED);
		if (!strcmp(word, "lockdown=integrity"))
			return set("integrity", STARTED);
	}
	return false;
}

const char *lockdown_mode(void)
{
	if (known.mode[0])
		return known.mode;
	if (!by_mounted() && !by_own_mount() && !by_trial())
		set("unknown", UNKNOWN);
	/* what it was started with still holds: a mode is never lowered */
	if (!strcmp(known.mode, "unknown"))
		by_command_line();
	return known.mode;
}

const char *lockdown_how(void)
{
	lockdown_mode();
	return how_words[known.how];
}
