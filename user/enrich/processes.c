// SPDX-License-Identifier: Apache-2.0
/*
 * A table by pid. What an exec made of a process (struct facts) is read once and shared
 * with the children that it forks, so a fork costs one small allocation and no system call.
 * A process joins its parent's service when both run the same program under the same name in
 * the same cgroup; otherwise it is the root of a service of its own. Events can be lost or come late:
 * so a record of an exited process is asked about again after a while, and a slow sweep finds the dead whose exit
 * nobody told.
 */
#include <dirent.h>
#include <fcntl.h>

#include "user/base/clock.h"
#include "user/base/hmap.h"
#include "user/enrich/facts.h"
#include "user/enrich/identity.h"
#include "user/enrich/processes.h"
#include "user/enrich/resource.h"
#include "user/enrich/rules.h"

#define GRACE_NS   (30 * NSEC_PER_SEC)
#define RECHECK_NS NSEC_PER_SEC
#define SWEEP_MAX  64 /* records per call of processes_expire() that are checked against /proc */
#define DEPTH_MAX  64 /* generations that are looked up in a row */

struct entry {
	struct process pub;
	struct hmap_node node;
	struct facts *facts;
	struct resource_root root;
	uint64_t exited_ns, checked_ns;
	struct entry *older, *newer; /* among the exited */
	uint32_t generation;	     /* of the rules that named it */
	bool in_proc;		     /* /proc showed it once */
	bool uid_known;
};

struct processes {
	const struct config *config;
	int proc_fd;
	struct hmap map;
	struct services *services;
	struct facts_reader reader;
	struct resource_host host;
	struct entry *oldest, *newest; /* exited */
	struct entry unknown;	       /* stands for whom we know nothing about; in no table */
	uint32_t generation;
	size_t sweep_bucket;
	uint64_t refused;
	bool no_reading; /* the table is being walked: nothing may come into it or go */
};

/* What a process goes by; borrowed from its facts or a rule. */
struct naming {
	const char *name, *namespace_;
};

static struct entry *entry_of(const struct process *pub)
{
	return container_of(pub, struct entry, pub);
}

static struct entry *find(const struct processes *p, uint32_t pid)
{
	struct hmap_node *n = hmap_first(&p->map, hash_u64(pid));

	for (; n; n = hmap_next_same(n)) {
		struct entry *e = container_of(n, struct entry, node);

		if (e->pub.pid == pid)
			return e;
	}
	return NULL;
}

/* The list of the exited, oldest first */

static void unlist(struct processes *p, struct entry *e)
{
	if (!e->pub.exited)
		return;
	*(e->older ? &e->older->newer : &p->oldest) = e->newer;
	*(e->newer ? &e->newer->older : &p->newest) = e->older;
	e->older = e->newer = NULL;
	e->pub.exited = false;
}

static void mark_exited(struct processes *p, struct entry *e, uint64_t now_ns)
{
	if (e->pub.exited)
		return;
	e->pub.exited = true;
	e->exited_ns = e->checked_ns = now_ns;
	e->older = p->newest;
	*(p->newest ? &p->newest->newer : &p->oldest) = e;
	p->newest = e;
}

/* Records */

static void entry_clear(struct processes *p, struct entry *e)
{
	services_put(p->services, TAKE_PTR(e->pub.service));
	facts_unref(TAKE_PTR(e->facts));
}

static void drop(struct processes *p, struct entry *e)
{
	unlist(p, e);
	hmap_remove(&p->map, &e->node);
	entry_clear(p, e);
	free(e);
}

/*
 * A record for `pid`, empty, in the table; takes the place of an older one. NULL and ENOSPC when the budget is
 * used up by the living. May drop any exited record.
 */
static struct entry *entry_new(struct processes *p, uint32_t pid)
{
	struct entry *e = find(p, pid);

	if (e)
		drop(p, e);
	if (p->map.count >= (size_t)MAX(p->config->max_processes, 1)) {
		if (!p->oldest) {
			p->refused++;
			errno = ENOSPC;
			return NULL;
		}
		drop(p, p->oldest);
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->pub.pid = pid;
	if (hmap_insert(&p->map, &e->node, hash_u64(pid))) {
		free(e);
		errno = ENOMEM;
		return NULL;
	}
	return e;
}

static void take_facts(struct entry *e, struct facts *f)
{
	const char *slash = strrchr(f->exe, '/');

	facts_unref(e->facts);
	e->facts = f;
	e->pub.exe = f->exe;
	e->pub.executable_name = slash ? (char *)slash + 1 : f->exe;
	e->pub.cgroup = f->cgroup;
	e->pub.container_id = f->container_id;
	e->pub.systemd_unit = f->unit;
}

/* Who it is */

static struct rule_subject subject(const struct entry *e)
{
	return (struct rule_subject){
		.exe = str_of(e->pub.exe),
		.cgroup = str_of(e->pub.cgroup),
		.uid = e->pub.uid,
		.uid_known = e->uid_known,
		.env_matches = e->facts ? e->facts->env_matches : NULL,
	};
}

static struct naming judge(const struct processes *p, struct entry *e)
{
	struct rule_subject s = subject(e);
	struct rule_verdict v;
	struct naming n;

	rules_judge(p->config, &s, &v);
	e->pub.verdict = v.exclude ? VERDICT_EXCLUDE : VERDICT_INCLUDE;
	n.name = v.name && *v.name ? v.name : e->facts->given;
	n.name = e->facts->env_name ?: n.name;
	n.namespace_ = e->facts->env_namespace ?: v.namespace_ ?: "";
	return n;
}

static bool same_string(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* Does `a`, that has its service, go by the name `n` and run the same program in the same place? An unknown one equals
 * none. */
static bool same_identity(const struct entry *a, const struct entry *b, const struct naming *n)
{
	return a->pub.exe[0] && !strcmp(a->pub.exe, b->pub.exe) && !strcmp(a->pub.cgroup, b->pub.cgroup) &&
	       !strcmp(a->pub.service->name, n->name) && !strcmp(a->pub.service->namespace_, n->namespace_) &&
	       same_string(a->facts->env_instance, b->facts->env_instance) &&
	       same_string(a->facts->container_id, b->facts->container_id);
}

static bool is_helper(const struct entry *child, const struct entry *parent)
{
	return child->facts->as_parent && !child->facts->env_name && child->pub.exe[0] &&
	       !strcmp(child->pub.exe, parent->pub.exe) && !strcmp(child->pub.cgroup, parent->pub.cgroup);
}

static struct service *make_service(struct processes *p, const struct entry *e, const struct naming *n,
				    const char *instance)
{
	struct service *s = service_new(n->name, n->namespace_, instance);

	if (!s)
		return NULL;
	if (resource_attributes(s, p->config, &p->host, e->facts, &e->root, e->pub.comm) ||
	    services_add(p->services, s)) {
		service_unref(s);
		return NULL;
	}
	return s;
}

/* A reference; falls back to the unknown service when there is no memory. */
static struct service *own_service(struct processes *p, const struct entry *e, const struct naming *n)
{
	char instance[RESOURCE_INSTANCE_MAX];
	struct service *s;

	resource_instance(instance, &p->host, e->facts, &e->root);
	s = services_find(p->services, n->name, n->namespace_, instance);
	return s ?: make_service(p, e, n, instance) ?: service_ref(p->unknown.pub.service);
}

static void join(struct processes *p, struct entry *e, const struct entry *other)
{
	struct service *before = e->pub.service;

	e->root = other->root;
	e->pub.service = service_ref(other->pub.service);
	services_put(p->services, before);
}

static struct entry *find_or_read(struct processes *p, uint32_t pid, uint64_t now_ns, int depth);

static void settle(struct processes *p, struct entry *e, uint64_t now_ns, int depth);

/* The parent with its service, or NULL. */
static struct entry *parent_of(struct processes *p, const struct entry *e, uint64_t now_ns, int depth)
{
	struct entry *parent;

	if (e->pub.ppid <= 1 || e->pub.ppid == e->pub.pid || depth >= DEPTH_MAX)
		return NULL;
	parent = p->no_reading ? find(p, e->pub.ppid) : find_or_read(p, e->pub.ppid, now_ns, depth + 1);
	/* younger than its child: the pid is another's by now */
	if (!parent || !parent->facts || (e->pub.start_ns && parent->pub.start_ns > e->pub.start_ns + procfs_tick_ns()))
		return NULL;
	if (parent->generation != p->generation)
		settle(p, parent, now_ns, depth + 1);
	return parent->pub.service ? parent : NULL;
}

/* Judges, and finds the service: the parent's where it is the same, else its own. */
static void settle(struct processes *p, struct entry *e, uint64_t now_ns, int depth)
{
	struct service *before = e->pub.service;
	const struct entry *parent;
	struct naming n;

	e->generation = p->generation;
	n = judge(p, e);
	parent = parent_of(p, e, now_ns, depth);
	if (parent && (parent->facts == e->facts || same_identity(parent, e, &n) || is_helper(e, parent))) {
		join(p, e, parent);
		return;
	}
	/* when the rules change, who joined a root that is gone by now stays with it */
	if (!e->root.pid || parent)
		e->root = (struct resource_root){e->pub.pid, e->pub.start_ns};
	e->pub.service = own_service(p, e, &n);
	services_put(p->services, before);
}

/* Reading */

static bool same_start(uint64_t a, uint64_t b)
{
	return !a || !b || a / procfs_tick_ns() == b / procfs_tick_ns();
}

/* A handle on the process in /proc, or -1 when it is gone, hidden, or another one by now. */
static int open_process(struct processes *p, uint32_t pid, uint64_t start_ns, struct procfs_stat *ret)
{
	int fd = procfs_open(p->proc_fd, pid);

	if (fd < 0)
		return -1;
	if (!procfs_stat(fd, ret) && same_start(start_ns, ret->start_ns))
		return fd;
	close(fd);
	return -1;
}

static void take_stat(struct entry *e, int fd, const struct procfs_stat *st)
{
	memcpy(e->pub.comm, st->comm, sizeof(e->pub.comm));
	e->pub.ppid = st->ppid;
	e->pub.start_ns = st->start_ns;
	e->in_proc = true;
	e->uid_known = !procfs_uid(fd, &e->pub.uid);
}

static void take_seed(struct entry *e, const struct process_seed *seed)
{
	size_t len = seed->comm ? strnlen(seed->comm, sizeof(e->pub.comm) - 1) : 0;

	memset(e->pub.comm, 0, sizeof(e->pub.comm));
	if (len)
		memcpy(e->pub.comm, seed->comm, len);
	e->pub.ppid = seed->ppid;
	e->pub.uid = seed->uid;
	e->uid_known = true;
	if (seed->start_ns)
		e->pub.start_ns = seed->start_ns;
}

/* An existing record, or one read from /proc; NULL: neither (errno is ENOMEM or something else). */
static struct entry *find_or_read(struct processes *p, uint32_t pid, uint64_t now_ns, int depth)
{
	struct entry *e = find(p, pid);
	struct procfs_stat st;
	struct facts *f;
	int fd;

	if (e)
		return e;
	errno = ENOENT;
	fd = open_process(p, pid, 0, &st);
	if (fd < 0)
		return NULL;
	f = facts_read(&p->reader, p->config, fd, st.comm, NULL);
	e = f ? entry_new(p, pid) : NULL;
	if (!e) {
		int err = f ? errno : ENOMEM;

		facts_unref(f);
		close(fd);
		errno = err;
		return NULL;
	}
	take_stat(e, fd, &st);
	close(fd);
	take_facts(e, f);
	settle(p, e, now_ns, depth);
	return e;
}

static struct process *pub_or_unknown(struct processes *p, struct entry *e)
{
	if (e)
		return &e->pub;
	return errno == ENOMEM ? NULL : &p->unknown.pub;
}

/* Life and death */

struct process *processes_exec(struct processes *p, const struct process_seed *seed, uint64_t now_ns)
{
	struct entry *e = find(p, seed->pid), before = {0};
	bool known = e && !e->pub.exited && same_start(e->pub.start_ns, seed->start_ns);
	struct procfs_stat st = {0};
	int fd = open_process(p, seed->pid, seed->start_ns, &st);
	struct facts *f = facts_read(&p->reader, p->config, fd, fd >= 0 ? st.comm : seed->comm ?: "", seed);
	struct naming n;

	if (f && !known)
		e = entry_new(p, seed->pid);
	if (!f || !e) {
		int err = f ? errno : ENOMEM;

		facts_unref(f);
		if (fd >= 0)
			close(fd);
		errno = err;
		return pub_or_unknown(p, NULL);
	}
	if (known && e->facts) {
		before = *e;
		facts_ref(before.facts);
	}
	take_seed(e, seed);
	if (fd >= 0) {
		take_stat(e, fd, &st);
		close(fd);
	}
	take_facts(e, f);
	n = judge(p, e);
	/* the same program over again: nothing changes for its callers, though its parent may be gone */
	if (!before.facts || !same_identity(&before, e, &n)) {
		e->root = (struct resource_root){0};
		settle(p, e, now_ns, 0);
	}
	facts_unref(before.facts);
	return &e->pub;
}

/* The record was read from /proc ahead of the event that tells of its birth. */
static bool read_ahead(struct processes *p, const struct entry *e)
{
	struct procfs_stat st;
	int fd;

	if (e->pub.exited || !e->in_proc || !e->pub.start_ns)
		return false;
	fd = open_process(p, e->pub.pid, e->pub.start_ns, &st);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

struct process *processes_fork(struct processes *p, uint32_t ppid, uint32_t pid, uint64_t now_ns)
{
	struct entry *parent = find(p, ppid), *e = find(p, pid);
	struct entry like;
	struct facts *f;

	if (e && read_ahead(p, e))
		return &e->pub;
	if (!parent || parent == e || !parent->facts) {
		if (e)
			drop(p, e);
		return processes_get(p, pid, now_ns);
	}
	/* making room may drop an exited parent */
	like = *parent;
	f = facts_ref(parent->facts);
	service_ref(like.pub.service);
	e = entry_new(p, pid);
	if (!e) {
		facts_unref(f);
		services_put(p->services, like.pub.service);
		return pub_or_unknown(p, NULL);
	}
	take_facts(e, f);
	memcpy(e->pub.comm, like.pub.comm, sizeof(e->pub.comm));
	e->pub.ppid = ppid;
	e->pub.uid = like.pub.uid;
	e->uid_known = like.uid_known;
	e->pub.service = like.pub.service;
	e->pub.verdict = like.pub.verdict;
	e->root = like.root;
	e->in_proc = like.in_proc;
	e->generation = like.generation;
	return &e->pub;
}

void processes_exit(struct processes *p, uint32_t pid, uint64_t now_ns)
{
	struct entry *e = find(p, pid);

	if (e)
		mark_exited(p, e, now_ns);
}

/* Somebody asks for a process that exited a while ago: perhaps its pid has a new owner that nobody told us about. */
static struct entry *recheck(struct processes *p, struct entry *e, uint64_t now_ns)
{
	struct procfs_stat st;
	bool reused;
	int fd;

	if (now_ns < e->checked_ns + RECHECK_NS)
		return e;
	e->checked_ns = now_ns;
	fd = open_process(p, e->pub.pid, 0, &st);
	if (fd < 0)
		return e;
	close(fd);
	reused = e->pub.start_ns ? !same_start(e->pub.start_ns, st.start_ns) : !strchr("ZX", st.state);
	if (!reused)
		return e;
	drop(p, e);
	return NULL;
}

struct process *processes_get(struct processes *p, uint32_t pid, uint64_t now_ns)
{
	struct entry *e = find(p, pid);

	if (likely(e && !e->pub.exited))
		return &e->pub;
	if (e)
		e = recheck(p, e, now_ns);
	return pub_or_unknown(p, e ?: find_or_read(p, pid, now_ns, 0));
}

static bool is_kernel_thread(struct processes *p, uint32_t pid)
{
	struct procfs_stat st;
	int fd = open_process(p, pid, 0, &st);

	if (fd < 0)
		return false;
	close(fd);
	return st.kernel_thread;
}

int processes_scan(struct processes *p, void (*each)(void *ctx, struct process *), void *ctx, uint64_t now_ns)
{
	int fd = openat(p->proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	int err = 0;

	if (!dir) {
		err = -errno;
		closep(&fd);
		return err;
	}
	while (!err && (d = readdir(dir))) {
		struct entry *e;
		uint64_t pid;

		if (str_to_u64(str_of(d->d_name), &pid) || !pid || pid > INT32_MAX ||
		    is_kernel_thread(p, (uint32_t)pid))
			continue;
		e = find_or_read(p, (uint32_t)pid, now_ns, 0);
		if (e)
			each(ctx, &e->pub);
		else if (errno == ENOMEM)
			err = -ENOMEM;
	}
	closedir(dir);
	return err;
}

/* True: /proc says that the process is gone, or its pid another's. Hidden or unreadable says nothing. */
static bool is_gone(struct processes *p, struct entry *e)
{
	struct procfs_stat st;
	int fd, err;

	fd = procfs_open(p->proc_fd, e->pub.pid);
	if (fd < 0)
		return procfs_gone(fd);
	err = procfs_stat(fd, &st);
	close(fd);
	if (err)
		return procfs_gone(err);
	if (!same_start(e->pub.start_ns, st.start_ns))
		return true;
	/* a fork does not tell it */
	e->pub.start_ns = st.start_ns;
	return false;
}

/* Exits whose event was lost. A few records per call, from where the last call stopped. */
static void sweep(struct processes *p, uint64_t now_ns)
{
	struct hmap_iter it = {.bucket = p->sweep_bucket};
	struct hmap_node *n = NULL;
	int checked = 0;

	while (checked < SWEEP_MAX && (n = hmap_iter_next(&p->map, &it))) {
		struct entry *e = container_of(n, struct entry, node);

		if (e->pub.exited || !e->in_proc)
			continue;
		checked++;
		if (is_gone(p, e))
			mark_exited(p, e, now_ns);
	}
	p->sweep_bucket = n ? it.bucket : 0;
}

void processes_expire(struct processes *p, uint64_t now_ns)
{
	sweep(p, now_ns);
	while (p->oldest &&
	       (p->oldest->exited_ns + GRACE_NS <= now_ns || p->map.count > (size_t)MAX(p->config->max_processes, 1)))
		drop(p, p->oldest);
	services_sweep(p->services);
}

size_t processes_count(const struct processes *p)
{
	return p->map.count;
}

uint64_t processes_refused(const struct processes *p)
{
	return p->refused;
}

size_t processes_service_count(const struct processes *p)
{
	return services_count(p->services);
}

/* Rules */

static bool has_glob(const char *s)
{
	return s && strpbrk(s, "*?[");
}

bool processes_rules_need_user(const struct config *c)
{
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct rule *r = &c->rules[i];

		if (r->action != RULE_NONE && (r->exe || r->env || has_glob(r->cgroup)))
			return true;
	}
	return false;
}

enum rule_action processes_judge_port(const struct processes *p, const struct process *proc, uint16_t port)
{
	struct rule_subject s = subject(entry_of(proc));

	return rules_judge_port(p->config, &s, port);
}

void processes_reconfigure(struct processes *p, const struct config *c)
{
	struct hmap_node *n;

	p->config = c;
	p->generation++;
	/* every bit stands for a rule that is there no longer; facts are shared, so: all away before any new one */
	hmap_each (n, &p->map)
		(void)facts_match_env(&p->reader, c, -1, container_of(n, struct entry, node)->facts);
	hmap_each (n, &p->map) {
		struct entry *e = container_of(n, struct entry, node);
		struct procfs_stat st;
		int fd = rules_ask_env(c) && !e->pub.exited ? open_process(p, e->pub.pid, e->pub.start_ns, &st) : -1;

		if (fd < 0)
			continue;
		(void)facts_match_env(&p->reader, c, fd, e->facts);
		close(fd);
	}
	p->no_reading = true;
	hmap_each (n, &p->map) {
		struct entry *e = container_of(n, struct entry, node);

		if (e->generation != p->generation)
			settle(p, e, 0, 0);
	}
	p->no_reading = false;
}

/* Beginning and end */

static int init_unknown(struct processes *p)
{
	struct entry *e = &p->unknown;
	static char empty[1], name[] = "unknown";

	e->pub.exe = e->pub.executable_name = e->pub.cgroup = empty;
	memcpy(e->pub.comm, name, sizeof(name));
	e->pub.service = service_new(name, "", p->host.name);
	if (!e->pub.service || service_add_attr(e->pub.service, "host.name", p->host.name))
		return -ENOMEM;
	if (p->host.id[0] && service_add_attr(e->pub.service, "host.id", p->host.id))
		return -ENOMEM;
	return services_add(p->services, e->pub.service);
}

struct processes *processes_new(const struct config *c, const char *proc_root)
{
	struct processes *p = calloc(1, sizeof(*p));
	int err = ENOMEM;

	if (!p)
		return NULL;
	p->config = c;
	p->proc_fd = procfs_open_dir(proc_root);
	if (p->proc_fd < 0) {
		err = -p->proc_fd;
		goto fail;
	}
	p->services = services_new();
	if (!p->services)
		goto fail;
	resource_host_read(&p->host, p->proc_fd);
	if (init_unknown(p))
		goto fail;
	return p;
fail:
	processes_free(p);
	errno = err;
	return NULL;
}

void processes_free(struct processes *p)
{
	struct hmap_node *n;

	if (!p)
		return;
	hmap_each (n, &p->map)
		drop(p, container_of(n, struct entry, node));
	hmap_done(&p->map);
	service_unref(p->unknown.pub.service);
	services_free(p->services);
	facts_reader_done(&p->reader);
	closep(&p->proc_fd);
	free(p);
}
