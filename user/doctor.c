/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor asks the same tables that the daemon uses: features.c for the kernel, the
 * loader itself for the programs, /proc for what runs here.
 */
#include "user/doctor.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <bpf/libbpf.h>

#include "user/base/buf.h"
#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/enrich/processes.h"
#include "user/features.h"
#include "user/load.h"
#include "user/lockdown.h"
#include "user/scope.h"

struct doctor {
	const struct config *config;
	struct buf out;
	struct scope_pids scoped; /* when there are scopes, only these are looked at */
	bool json, degraded, impossible;
	size_t n_programs, n_unread;
};

static int ignore_record(void *ctx, void *data, size_t size)
{
	return 0;
}

static void say_machine(struct doctor *d)
{
	const char *mode = lockdown_mode(), *how = lockdown_how(), *rung = feature_rung();
	struct utsname u;

	uname(&u);
	if (d->json)
		buf_printf(&d->out,
			   "{\"version\":\"%s\",\"kernel\":\"%s\",\"machine\":\"%s\",\"lockdown\":\"%s\",\"lockdown_note\":\"%s\",\"rung\":\"%s\",\"features\":[",
			   SONDE_VERSION, u.release, u.machine, mode, how, rung ?: "");
	else
		buf_printf(&d->out, "sonde %s on Linux %s (%s), lockdown %s%s%s%s\nCapture: rung %s\n\nKernel and rights\n", SONDE_VERSION,
			   u.release, u.machine, mode, *how ? " (" : "", how, *how ? ")" : "", rung ?: "none: nothing can be read here");
}

static void say_features(struct doctor *d)
{
	for (int f = 0; f < FEAT_MAX; f++) {
		const struct feature_row *r = feature_row(f);
		bool has = feature_has(f);

		if (!has && r->required)
			d->impossible = true;
		d->degraded |= !has;
		if (d->json) {
			buf_printf(&d->out, "%s{\"name\":\"%s\",\"present\":%s,\"required\":%s,\"since\":\"%s\",\"without\":\"", f ? "," : "",
				   r->name, has ? "true" : "false", r->required ? "true" : "false", r->since);
			buf_json(&d->out, str_of(r->without));
			buf_puts(&d->out, "\"}");
			continue;
		}
		buf_printf(&d->out, "  %-4s %-16s %s\n", has ? "ok" : r->required ? "NO" : "-", r->name, r->what);
		if (!has)
			buf_printf(&d->out, "       without it: %s%s%s%s\n", r->without, *r->since ? " (kernel " : "", r->since,
				   *r->since ? " and newer have it)" : "");
	}
}

/* The programs themselves are the last word on what the kernel takes. */
static bool say_load(struct doctor *d)
{
	/* whether the kernel takes the programs does not hang on the scope */
	struct config unscoped = *d->config;
	const struct capture_options o = { .config = &unscoped, .on_data = ignore_record, .on_control = ignore_record };
	struct capture *c = NULL;
	uint64_t begin = clock_mono_ns();
	int err;

	unscoped.scope.n = 0;
	err = d->impossible ? -ENOTSUP : capture_load(&c, &o);
	capture_free(c);
	if (err)
		d->impossible = true;
	if (d->json)
		buf_printf(&d->out, "],\"programs_load\":%s,\"load_milliseconds\":%llu", err ? "false" : "true",
			   (unsigned long long)((clock_mono_ns() - begin) / NSEC_PER_MSEC));
	else if (err)
		buf_printf(&d->out, "  NO   %-16s the BPF programs cannot be loaded: %s\n", "programs", strerror(-err));
	else
		buf_printf(&d->out, "  ok   %-16s all BPF programs pass this kernel's verifier (%llu ms)\n", "programs",
			   (unsigned long long)((clock_mono_ns() - begin) / NSEC_PER_MSEC));
	return !err;
}

static bool proc_file_has(uint32_t pid, const char *name, const char *const *words, const char **ret)
{
	char path[64], line[4096];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		for (const char *const *w = words; *w; w++) {
			if (strstr(line, *w)) {
				*ret = *w;
				fclose(f);
				return true;
			}
		}
	}
	if (f)
		fclose(f);
	return false;
}

/* An open file whose link begins like this: "socket:", "anon_inode:[io_uring]". */
static bool has_open(uint32_t pid, const char *kind)
{
	char path[64], target[128];
	bool found = false;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);

		found = n >= (ssize_t)strlen(kind) && !strncmp(target, kind, strlen(kind));
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool is_32_bit(uint32_t pid)
{
	unsigned char ident[EI_NIDENT];
	_close_ int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, ident, sizeof(ident)) == sizeof(ident) && ident[EI_CLASS] == ELFCLASS32;
}

/* The words of docs/status.md: what is seen of a program, and why not the rest. */
static const char *judge(struct process *p, bool *ret_unread)
{
	static const char *const tls[] = { "libssl", "libgnutls", "libnss3", "librustls", NULL };
	static char text[160];
	const char *lib;

	*ret_unread = true;
	if (p->verdict == VERDICT_EXCLUDE)
		return "excluded by a rule";
	if (is_32_bit(p->pid))
		return "32-bit program: seen, not readable";
	if (has_open(p->pid, "anon_inode:[io_uring]"))
		return "uses io_uring: bytes that pass through it are seen, not readable; the rest is read";
	*ret_unread = false;
	if (proc_file_has(p->pid, "maps", tls, &lib)) {
		snprintf(text, sizeof(text), "plain HTTP/1 is read; TLS (%s) is seen, not readable", lib);
		return text;
	}
	return "plain HTTP/1 is read";
}

static void each_process(void *ctx, struct process *p)
{
	struct doctor *d = ctx;
	bool unread;
	const char *words;

	if (d->config->scope.n && !scope_has(&d->scoped, p->pid))
		return;
	if (!p->exe || !*p->exe || p->pid == (uint32_t)getpid() || !has_open(p->pid, "socket:"))
		return;
	words = judge(p, &unread);
	d->n_unread += unread;
	if (d->json) {
		buf_printf(&d->out, "%s{\"pid\":%u,\"service\":\"", d->n_programs ? "," : "", p->pid);
		buf_json(&d->out, str_of(p->service ? p->service->name : ""));
		buf_printf(&d->out, "\",\"readable\":%s,\"status\":\"", unread ? "false" : "true");
		buf_json(&d->out, str_of(words));
		buf_puts(&d->out, "\"}");
	} else {
		size_t at;

		buf_printf(&d->out, "  %7u ", p->pid);
		at = d->out.len;
		buf_escaped(&d->out, str_of(p->service ? p->service->name : "?"));
		buf_printf(&d->out, "%*s %s\n", (int)(24 - MIN(d->out.len - at, 24)), "", words);
	}
	d->n_programs++;
}

static void say_programs(struct doctor *d)
{
	struct processes *p;

	if (scope_processes(&d->config->scope, &d->scoped))
		return;
	p = processes_new(d->config, "/proc");
	if (!p)
		return;
	processes_scan(p, each_process, d, clock_mono_ns());
	processes_free(p);
	if (!d->json && !d->n_programs)
		buf_puts(&d->out, "  (no program with a socket runs here)\n");
}

int doctor_run(const struct config *config, bool json)
{
	struct doctor d = { .config = config, .json = json };
	int ret;

	say_machine(&d);
	say_features(&d);
	say_load(&d);
	buf_puts(&d.out, json ? ",\"programs\":[" : "\nPrograms with sockets\n");
	say_programs(&d);
	ret = d.impossible ? 1 : d.degraded ? 2 : 0;
	if (json)
		buf_printf(&d.out, "],\"result\":\"%s\"}\n", ret == 0 ? "ok" : ret == 2 ? "degraded" : "impossible");
	else
		buf_printf(&d.out, "\n%s\n", ret == 0 ? "Everything that sonde can do works here." :
			   ret == 2 ? "sonde works here, with the restrictions named above." :
				      "sonde cannot work here: see the lines marked NO.");
	fwrite(d.out.data, 1, d.out.len, stdout);
	buf_done(&d.out);
	scope_pids_done(&d.scoped);
	return ret;
}
