/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads the kernel's half. Which programs there are, which feature each needs and what is
 * done without it stands in one table; everything else is the order in which things must
 * happen: settings before load, process hooks before the scan for the scopes' process
 * trees, that before the socket hooks.
 */
#include "user/load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "bpf/shared/event.h"
#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/enrich/processes.h"
#include "user/features.h"
#include "user/scope.h"
#include "sonde.skel.h"

enum stage { STAGE_PROCESS, STAGE_SOCKET, STAGE_ITER };

struct capture {
	struct sonde_bpf *skel;
	struct ring_buffer *data, *control;
	struct procmap *procs;
	int epoll_fd;
	struct capture_options o;
	struct sonde_settings settings;
	struct str_list scope_pids;
	int n_cpus;
};

static const struct {
	const char *program;
	enum feature feature;
	enum stage stage;
} programs[] = {
	{ "process_fork", FEAT_PROCESS_EVENTS, STAGE_PROCESS },
	{ "process_exec", FEAT_PROCESS_EVENTS, STAGE_PROCESS },
	{ "process_exit", FEAT_PROCESS_EVENTS, STAGE_PROCESS },
	{ "process_cgroup", FEAT_CGROUP_MOVES, STAGE_PROCESS },
	{ "tcp_set_state", FEAT_SET_STATE, STAGE_SOCKET },
	{ "tcp_destroyed", FEAT_SET_STATE, STAGE_SOCKET },
	{ "sock_data_ready", FEAT_DATA_READY, STAGE_SOCKET },
	{ "sock_send_start", FEAT_SEND_START, STAGE_SOCKET },
	{ "sock_spliced", FEAT_SPLICE, STAGE_SOCKET },
	{ "sock_send", FEAT_SOCK_LENGTH, STAGE_SOCKET },
	{ "sock_recv", FEAT_SOCK_LENGTH, STAGE_SOCKET },
	{ "iter_listeners", FEAT_ITER_LISTENERS, STAGE_ITER },
	{ "iter_conns", FEAT_ITER_CONNS, STAGE_ITER },
};

static int libbpf_log(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char line[8192];
	size_t len;

	if (level == LIBBPF_DEBUG || !log_enabled(LOG_DEBUG))
		return 0;
	vsnprintf(line, sizeof(line), fmt, args);
	len = strlen(line);
	if (len && line[len - 1] == '\n')
		line[len - 1] = 0;
	log_debug("libbpf: %s", line);
	return 0;
}

/* Index of a cgroup v1 controller in the kernel's css_set.subsys; -1 when it is none. */
static int subsys_of(const char *controller)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const struct btf_type *t;
	char name[64];
	int ret = -1, id;

	if (libbpf_get_error(btf))
		return -1;
	snprintf(name, sizeof(name), "%s_cgrp_id", controller);
	id = btf__find_by_name_kind(btf, "cgroup_subsys_id", BTF_KIND_ENUM);
	t = id > 0 ? btf__type_by_id(btf, id) : NULL;
	for (int i = 0; t && i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_enum(t)[i].name_off), name))
			ret = btf_enum(t)[i].val;
	btf__free(btf);
	return ret;
}

/* Which hierarchy a cgroup directory belongs to, from the mount that holds it: -1 unified, ≥ 0 v1; -EINVAL. */
static int cgroup_subsys(const char *path, int *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, real[4096];
	size_t cap = 0, best = 0;
	int found = -EINVAL;

	if (!f || !realpath(path, real)) {
		if (f)
			fclose(f);
		return -errno;
	}
	while (getline(&line, &cap, f) > 0) {
		char mnt[4096], type[64], opts[1024] = "", *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*s %*s %*s %*s %4095s", mnt) != 1 ||
		    sscanf(dash + 3, "%63s %*s %1023s", type, opts) < 1 || strncmp(type, "cgroup", 6))
			continue;
		if (strncmp(real, mnt, strlen(mnt)) || (real[strlen(mnt)] && real[strlen(mnt)] != '/') || strlen(mnt) < best)
			continue;
		best = strlen(mnt);
		found = 0;
		*ret = -1;
		if (strcmp(type, "cgroup2")) {
			for (char *save, *o = strtok_r(opts, ",", &save); o && *ret < 0; o = strtok_r(NULL, ",", &save))
				*ret = subsys_of(!strcmp(o, "cpuacct") ? "cpuacct" : !strcmp(o, "blkio") ? "io" : o);
			if (*ret < 0)
				found = -ENOTSUP;
		}
	}
	free(line);
	fclose(f);
	return found;
}

static int cgroup_id(const char *path, uint64_t *ret)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + 8];
	} u = { .h.handle_bytes = 8 };
	int mount;

	if (name_to_handle_at(AT_FDCWD, path, &u.h, &mount, 0))
		return -errno;
	memcpy(ret, u.h.f_handle, 8);
	return 0;
}

static int add_scope(struct capture *c, const char *scope)
{
	struct sonde_settings *s = &c->settings;
	char path[4096];
	uint64_t id;
	int subsys, err;

	if (!strncmp(scope, "pid:", 4)) {
		char proc[64];

		snprintf(proc, sizeof(proc), "/proc/%s", scope + 4);
		if (access(proc, F_OK))
			return log_err_r(-ESRCH, "--scope=%s: there is no process %s: give the id of a running process", scope, scope + 4);
		s->scope_by_tree = 1;
		return 0;
	}
	if (s->n_scope_cgroups == SONDE_SCOPES_MAX)
		return log_err_r(-E2BIG, "--scope: more than %d cgroups: name a common parent", SONDE_SCOPES_MAX);
	scope_cgroup_path(scope + strlen("cgroup:"), path, sizeof(path));
	err = cgroup_id(path, &id);
	if (!err)
		err = cgroup_subsys(path, &subsys);
	if (err)
		return log_err_r(err, "--scope=%s: not a cgroup (%s): give the directory below /sys/fs/cgroup", scope, strerror(-err));
	s->scope[s->n_scope_cgroups++] = (struct sonde_scope_cgroup){ .id = id, .subsys = subsys };
	return 0;
}

static int make_settings(struct capture *c)
{
	const struct config *cfg = c->o.config;
	struct sonde_settings *s = &c->settings;

	s->self_tgid = getpid();
	s->has_send_start = feature_has(FEAT_SEND_START);
	s->has_data_ready = feature_has(FEAT_DATA_READY);
	s->force_wakeup_bytes = cfg->ring_size / 4;
	for (size_t i = 0; i < cfg->scope.n; i++) {
		int err = add_scope(c, cfg->scope.v[i]);

		if (err)
			return err;
	}
	return 0;
}

static int check_required(void)
{
	for (int f = 0; f < FEAT_MAX; f++) {
		const struct feature_row *r = feature_row(f);

		if (r->required && !feature_has(f))
			return log_err_r(-ENOTSUP, "%s is missing: %s (run `sonde doctor` for the whole list)", r->what, r->without);
	}
	return 0;
}

static int open_maps(struct capture *c)
{
	const struct bpf_map *procs = c->skel->maps.procs;

	c->data = ring_buffer__new(bpf_map__fd(c->skel->maps.ring), c->o.on_data, c->o.ctx, NULL);
	c->control = ring_buffer__new(bpf_map__fd(c->skel->maps.ctl_ring), c->o.on_control, c->o.ctx, NULL);
	if (!c->data || !c->control)
		return log_err_r(errno ? -errno : -ENOMEM, "the ring buffers cannot be mapped: %s: a smaller --capture.ring-size may help",
				 strerror(errno ?: ENOMEM));
	c->procs = procmap_new(bpf_map__fd(procs), bpf_map__max_entries(procs));
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!c->procs || c->epoll_fd < 0)
		return log_err_r(-errno, "out of memory or file descriptors at start: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		int fd = ring_buffer__epoll_fd(i ? c->data : c->control);
		struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

		if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
			return log_err_r(-errno, "epoll: %s", strerror(errno));
	}
	return 0;
}

int capture_load(struct capture **ret, const struct capture_options *o)
{
	struct capture *c;
	int err = check_required();

	if (err)
		return err;
	libbpf_set_print(libbpf_log);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->o = *o;
	c->epoll_fd = -1;
	c->n_cpus = MAX(libbpf_num_possible_cpus(), 1);
	err = make_settings(c);
	if (err)
		goto fail;
	c->skel = sonde_bpf__open();
	if (!c->skel) {
		err = -errno;
		log_err("the BPF object cannot be opened: %s", strerror(-err));
		goto fail;
	}
	memcpy((void *)&c->skel->rodata->settings, &c->settings, sizeof(c->settings));
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(c->skel->obj, programs[i].program);

		if (p)
			bpf_program__set_autoload(p, feature_has(programs[i].feature));
	}
	bpf_map__set_max_entries(c->skel->maps.ring, o->config->ring_size);
	bpf_map__set_max_entries(c->skel->maps.procs, o->config->max_processes);
	err = sonde_bpf__load(c->skel);
	if (err) {
		log_err("the kernel refused a BPF program: %s%s", strerror(-err),
			err == -EPERM ? ": sonde needs CAP_BPF and CAP_PERFMON (or root)"
				      : ": run with --log.level=debug for the verifier's words, and `sonde doctor`");
		goto fail;
	}
	err = open_maps(c);
	if (err)
		goto fail;
	err = capture_set_rules(c, o->config);
	if (err)
		goto fail;
	*ret = c;
	return 0;
fail:
	capture_free(c);
	return err;
}

static int attach_stage(struct capture *c, enum stage stage)
{
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		struct bpf_program *p = bpf_object__find_program_by_name(c->skel->obj, programs[i].program);
		struct bpf_link *link;

		if (!p || programs[i].stage != stage || !feature_has(programs[i].feature))
			continue;
		link = bpf_program__attach(p);
		if (libbpf_get_error(link))
			return log_err_r(-errno, "%s cannot be attached: %s: run `sonde doctor`", programs[i].program, strerror(errno));
		/* kept in the skeleton's table, so that destroying it detaches */
		for (int k = 0; k < c->skel->skeleton->prog_cnt; k++)
			if (!strcmp(c->skel->skeleton->progs[k].name, programs[i].program))
				*c->skel->skeleton->progs[k].link = link;
	}
	return 0;
}

static bool in_tree(struct capture *c, uint32_t pid)
{
	struct sonde_proc p;

	return !bpf_map_lookup_elem(bpf_map__fd(c->skel->maps.procs), &pid, &p) && p.flags & PROC_IN_TREE;
}

static void put_in_tree(struct capture *c, uint32_t pid)
{
	struct sonde_proc p = { .flags = PROC_IN_TREE };

	bpf_map_update_elem(bpf_map__fd(c->skel->maps.procs), &pid, &p, BPF_ANY);
}

/* Children that were there before the fork hook; those born meanwhile, the hook adds. Until nothing is new. */
static void scan_trees(struct capture *c)
{
	const struct str_list *scope = &c->o.config->scope;
	bool grew = c->settings.scope_by_tree;

	for (size_t i = 0; i < scope->n; i++)
		if (!strncmp(scope->v[i], "pid:", 4))
			put_in_tree(c, atoi(scope->v[i] + 4));
	while (grew) {
		DIR *d = opendir("/proc");
		struct dirent *e;

		grew = false;
		while (d && (e = readdir(d))) {
			int pid = atoi(e->d_name), ppid = pid > 0 ? scope_parent_of(pid) : -1;

			if (ppid > 0 && in_tree(c, ppid) && !in_tree(c, pid)) {
				put_in_tree(c, pid);
				grew = true;
			}
		}
		if (d)
			closedir(d);
	}
}

/* Reads an iterator to its end; what it writes is appended to `b` (may be NULL). */
static int run_iter(struct bpf_link *link, struct buf *b)
{
	_close_ int fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	char room[8192];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, room, sizeof(room))) > 0 || (n < 0 && errno == EINTR))
		if (b && n > 0)
			buf_add(b, room, n);
	return n < 0 ? -errno : b ? b->err : 0;
}

static int attach_iters(struct capture *c)
{
	union bpf_iter_link_info info = {};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));

	if (feature_has(FEAT_ITER_LISTENERS)) {
		c->skel->links.iter_listeners = bpf_program__attach_iter(c->skel->progs.iter_listeners, NULL);
		if (run_iter(c->skel->links.iter_listeners, NULL))
			log_warn("listeners that are open already were not found: %s", strerror(errno));
	}
	if (feature_has(FEAT_ITER_CONNS)) {
		info.map.map_fd = bpf_map__fd(c->skel->maps.conns);
		c->skel->links.iter_conns = bpf_program__attach_iter(c->skel->progs.iter_conns, &opts);
	}
	return 0;
}

int capture_attach(struct capture *c)
{
	int err = attach_stage(c, STAGE_PROCESS);

	if (err)
		return err;
	scan_trees(c);
	err = attach_stage(c, STAGE_SOCKET);
	return err ?: attach_iters(c);
}

void capture_free(struct capture *c)
{
	if (!c)
		return;
	procmap_free(c->procs);
	ring_buffer__free(c->data);
	ring_buffer__free(c->control);
	if (c->epoll_fd >= 0)
		close(c->epoll_fd);
	sonde_bpf__destroy(c->skel);
	free(c);
}

int capture_epoll_fd(struct capture *c)
{
	return c->epoll_fd;
}

int capture_consume_control(struct capture *c)
{
	return ring_buffer__consume(c->control);
}

int capture_consume(struct capture *c)
{
	int control = ring_buffer__consume(c->control), data = ring_buffer__consume(c->data);

	return control < 0 ? control : data < 0 ? data : control + data;
}

/* False: not a rule about reading. What only user space can know keeps its place. */
static bool kernel_rule(const struct rule *r, struct sonde_rule *ret)
{
	bool user = r->exe || r->env || (r->cgroup && strpbrk(r->cgroup, "*?["));
	char path[4096];

	if (r->action == RULE_NONE)
		return false;
	*ret = (struct sonde_rule){
		.action = user ? KRULE_USER : r->action == RULE_INCLUDE ? KRULE_INCLUDE : KRULE_EXCLUDE,
		.uid = r->uid < 0 ? -1 : (int)r->uid,
		.port = r->port > 0 ? r->port : 0,
		.subsys = -1,
	};
	if (!r->cgroup || user)
		return true;
	scope_cgroup_path(r->cgroup, path, sizeof(path));
	if (cgroup_id(path, (uint64_t *)&ret->cgroup) || cgroup_subsys(path, &ret->subsys)) {
		log_warn("rule with cgroup %s: there is no such cgroup now; the rule matches nothing until the next reload", r->cgroup);
		ret->cgroup = ~0ULL;
	}
	return true;
}

int capture_set_rules(struct capture *c, const struct config *config)
{
	int fd = bpf_map__fd(c->skel->maps.rules);
	struct sonde_live live = c->skel->bss->live;
	struct sonde_rule k;
	__u32 n = 0;

	live.need_user = processes_rules_need_user(config);
	live.has_rules = live.has_port_rules = live.has_include = 0;
	for (size_t i = 0; i < config->n_rules; i++) {
		if (!kernel_rule(&config->rules[i], &k))
			continue;
		if (n == SONDE_RULES_MAX - 1) {
			log_warn("more than %d rules: the rest is left out", SONDE_RULES_MAX - 1);
			break;
		}
		bpf_map_update_elem(fd, &n, &k, BPF_ANY);
		n++;
		live.has_rules = 1;
		live.has_port_rules |= k.port != 0;
		live.has_include |= k.action == KRULE_INCLUDE && !k.port;
	}
	memset(&k, 0, sizeof(k));
	bpf_map_update_elem(fd, &n, &k, BPF_ANY);
	c->skel->bss->live.need_user = live.need_user;
	c->skel->bss->live.has_rules = live.has_rules;
	c->skel->bss->live.has_port_rules = live.has_port_rules;
	c->skel->bss->live.has_include = live.has_include;
	__sync_fetch_and_add(&c->skel->bss->live.rules_gen, 1);
	__sync_fetch_and_add(&c->skel->bss->live.conn_gen, 1);
	return 0;
}

int capture_set_verdict(struct capture *c, __u32 tgid, enum sonde_verdict v)
{
	int fd = bpf_map__fd(c->skel->maps.procs);
	bool scoped = c->settings.n_scope_cgroups || c->settings.scope_by_tree;
	struct sonde_proc p = {};

	if (bpf_map_lookup_elem(fd, &tgid, &p) && errno != ENOENT)
		return -errno;
	/* the scope is the kernel's word: whom it has not met may be outside */
	if (p.verdict == VERDICT_OUT || (scoped && !p.verdict && !(p.flags & PROC_IN_TREE)))
		return 0;
	p.verdict = v;
	p.gen = c->skel->bss->live.rules_gen;
	return bpf_map_update_elem(fd, &tgid, &p, BPF_ANY) ? -errno : 0;
}

void capture_stats(struct capture *c, __u64 ret[STAT_MAX])
{
	_free_ __u64 *v = calloc(c->n_cpus, sizeof(*v));

	for (__u32 i = 0; i < STAT_MAX; i++) {
		ret[i] = 0;
		if (!v || bpf_map_lookup_elem(bpf_map__fd(c->skel->maps.stats), &i, v))
			continue;
		for (int k = 0; k < c->n_cpus; k++)
			ret[i] += v[k];
	}
}

void capture_runs(struct capture *c, struct sonde_run_stat ret[RUN_MAX])
{
	_free_ struct sonde_run_stat *v = calloc(c->n_cpus, sizeof(*v));

	memset(ret, 0, RUN_MAX * sizeof(*ret));
	for (__u32 i = 0; v && i < RUN_MAX; i++) {
		if (bpf_map_lookup_elem(bpf_map__fd(c->skel->maps.runs), &i, v))
			continue;
		for (int k = 0; k < c->n_cpus; k++) {
			ret[i].runs += v[k].runs;
			ret[i].samples += v[k].samples;
			ret[i].ns += v[k].ns;
		}
	}
}

size_t capture_pending(struct capture *c, __u32 *tgids, size_t max)
{
	return procmap_pending(c->procs, tgids, max, clock_mono_ns());
}

size_t capture_in_tree(struct capture *c)
{
	return procmap_in_tree(c->procs, clock_mono_ns());
}

void capture_procs(struct capture *c, struct procmap_counts *ret)
{
	procmap_count(c->procs, ret, clock_mono_ns());
}

void capture_ring(struct capture *c, size_t *ret_high, size_t *ret_size)
{
	*ret_size = bpf_map__max_entries(c->skel->maps.ring);
	*ret_high = __atomic_exchange_n(&c->skel->bss->live.ring_high, 0, __ATOMIC_RELAXED);
}

int capture_live_conns(struct capture *c, uint64_t **ret_ids, size_t *ret_n)
{
	struct buf b = BUF_INIT;
	int err;

	if (!c->skel->links.iter_conns)
		return -ENOTSUP;
	err = run_iter(c->skel->links.iter_conns, &b);
	if (err) {
		buf_done(&b);
		return err;
	}
	*ret_n = b.len / sizeof(uint64_t);
	*ret_ids = (uint64_t *)b.data;
	return 0;
}

uint64_t capture_recursion_misses(struct capture *c)
{
	uint64_t sum = 0;

	for (int k = 0; k < c->skel->skeleton->prog_cnt; k++) {
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);
		int fd = bpf_program__fd(*c->skel->skeleton->progs[k].prog);

		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len))
			sum += info.recursion_misses;
	}
	return sum;
}

/* What the kernel holds for our maps, from their fdinfo. */
size_t capture_map_bytes(struct capture *c)
{
	size_t sum = 0;
	struct bpf_map *m;

	bpf_object__for_each_map(m, c->skel->obj) {
		char path[64], line[128];
		unsigned long long n;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", bpf_map__fd(m));
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "memlock: %llu", &n) == 1)
				sum += n;
		if (f)
			fclose(f);
	}
	return sum;
}
