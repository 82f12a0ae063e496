// SPDX-License-Identifier: Apache-2.0
/*
 * Each fact has two sources, /proc and the exec event, and is missing only where both fail:
 * a process may be gone, or hidden, before it is read.
 */
#include <limits.h>

#include "user/enrich/cgroups.h"
#include "user/enrich/facts.h"
#include "user/enrich/identity.h"
#include "user/enrich/rules.h"

#define CMDLINE_MAX	 (64 << 10)
#define ENVIRON_MAX	 (128 << 10)
#define CGROUP_MAX	 (16 << 10)
#define FILE_MAX	 (64 << 10)
#define COMMAND_ARGS_MAX 4096

void facts_unref(struct facts *f)
{
	if (!f || --f->refs)
		return;
	for (size_t i = 0; i < f->n_env_attrs; i++) {
		free(f->env_attrs[i].name);
		free(f->env_attrs[i].value);
	}
	free(f->env_attrs);
	free(f->exe);
	free(f->cgroup);
	free(f->container_id);
	free(f->unit);
	free(f->container_name);
	free(f->host_unit);
	free(f->env_name);
	free(f->env_namespace);
	free(f->env_instance);
	free(f->given);
	free(f->command);
	free(f->command_args);
	free(f->env_matches);
	free(f);
}

static void unref_facts(struct facts **f)
{
	facts_unref(*f);
}

void facts_reader_done(struct facts_reader *r)
{
	buf_done(&r->args);
	buf_done(&r->environ);
	buf_done(&r->misc);
}

struct reading {
	struct facts_reader *r;
	int dir_fd;
	const struct process_seed *seed;
	struct identity_input in;
	char exe[PATH_MAX], cwd[PATH_MAX];
};

static struct str read_or(struct reading *g, const char *name, size_t max, struct buf *b, struct str otherwise)
{
	if (g->dir_fd >= 0 && !procfs_read(g->dir_fd, name, max, b) && b->len)
		return buf_view(b);
	return otherwise;
}

/* An exec event names the script where the kernel put its interpreter in front: argv is "INTERPRETER [ARG] SCRIPT …".
 */
static struct str seed_exe(const struct process_seed *seed)
{
	struct str exe = str_of(seed->exe), rest = seed->args, first = {0}, arg;

	if (!exe.len || !str_split(&rest, 0, &first) || !first.len || first.p[0] != '/')
		return exe;
	for (int i = 0; i < 2 && str_split(&rest, 0, &arg); i++) {
		if (str_eq(arg, exe))
			return first;
	}
	return exe;
}

static void read_exe(struct reading *g)
{
	const struct str deleted = STR(" (deleted)");
	struct str *exe = &g->in.exe;

	if (g->dir_fd >= 0 && !procfs_link(g->dir_fd, "exe", g->exe, sizeof(g->exe)))
		*exe = str_of(g->exe);
	else if (g->seed)
		*exe = seed_exe(g->seed);
	if (exe->len > deleted.len && !memcmp(exe->p + exe->len - deleted.len, deleted.p, deleted.len))
		exe->len -= deleted.len;
}

/* The working directory as the process sees it: without the root it was put into. */
static void read_cwd(struct reading *g)
{
	char root[PATH_MAX];
	size_t len;

	if (g->dir_fd < 0 || procfs_link(g->dir_fd, "cwd", g->cwd, sizeof(g->cwd)))
		return;
	g->in.cwd = str_of(g->cwd);
	if (procfs_link(g->dir_fd, "root", root, sizeof(root)))
		return;
	len = strlen(root);
	if (len > 1 && !strncmp(g->cwd, root, len) && (g->cwd[len] == '/' || !g->cwd[len]))
		g->in.cwd = g->cwd[len] ? str_of(g->cwd + len) : STR("/");
}

static int read_file(void *ctx, const char *path, struct buf *out)
{
	const struct reading *g = ctx;

	return procfs_read_file(g->dir_fd, path, FILE_MAX, out);
}

static int set_clean(char **field, struct str value)
{
	char text[IDENTITY_NAME_MAX];

	identity_clean(text, sizeof(text), value);
	if (!*text)
		return 0;
	free(*field);
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

struct env_sink {
	struct facts *f;
	int err;
};

static void env_attribute(void *ctx, const char *key, const char *value)
{
	struct env_sink *sink = ctx;
	struct facts *f = sink->f;
	struct resource_attr *attrs, a;

	if (!strcmp(key, "service.name"))
		sink->err = sink->err ?: set_clean(&f->env_name, str_of(value));
	else if (!strcmp(key, "service.namespace"))
		sink->err = sink->err ?: set_clean(&f->env_namespace, str_of(value));
	else if (!strcmp(key, "service.instance.id"))
		sink->err = sink->err ?: set_clean(&f->env_instance, str_of(value));
	/* the SDK in the process does not make this telemetry */
	if (!strncmp(key, "telemetry.", strlen("telemetry.")) || !strcmp(key, "service.name") ||
	    !strcmp(key, "service.namespace") || !strcmp(key, "service.instance.id"))
		return;
	attrs = realloc(f->env_attrs, (f->n_env_attrs + 1) * sizeof(*attrs));
	if (!attrs) {
		sink->err = -ENOMEM;
		return;
	}
	f->env_attrs = attrs;
	a = (struct resource_attr){strdup(key), strdup(value)};
	f->env_attrs[f->n_env_attrs++] = a;
	if (!a.name || !a.value)
		sink->err = -ENOMEM;
}

static int read_env(struct facts *f, struct str environ)
{
	struct env_sink sink = {f, 0};
	struct str value;

	if (identity_env(environ, "OTEL_RESOURCE_ATTRIBUTES", &value))
		(void)identity_attributes(value, env_attribute, &sink);
	if (identity_env(environ, "OTEL_SERVICE_NAME", &value))
		sink.err = sink.err ?: set_clean(&f->env_name, str_trim(value));
	return sink.err;
}

static char *dup_or_null(struct str s)
{
	return s.len ? str_dup(s) : NULL;
}

static int read_cgroup(struct reading *g, struct facts *f, char given[IDENTITY_NAME_MAX])
{
	struct str text = read_or(g, "cgroup", CGROUP_MAX, &g->r->misc, (struct str){0});
	struct cgroup_facts cg;

	given[0] = 0;
	cgroups_parse(text, &cg);
	f->cgroup = str_dup(cg.path);
	f->container_id = dup_or_null(cg.container_id);
	f->container_name = dup_or_null(cg.container_name);
	f->unit = dup_or_null(cg.unit);
	if (identity_unit(cg.unit, given)) {
		f->host_unit = str_dup(cg.unit);
		if (!f->host_unit)
			return -ENOMEM;
	} else if (cg.container_name.len) {
		identity_clean(given, IDENTITY_NAME_MAX, cg.container_name);
	}
	if (!f->cgroup || (cg.container_id.len && !f->container_id) || (cg.container_name.len && !f->container_name) ||
	    (cg.unit.len && !f->unit))
		return -ENOMEM;
	return 0;
}

/* A rewritten title ("nginx: master process /usr/sbin/nginx -c …") may hold arguments: only its first word. */
static char *command(const struct identity_input *in)
{
	struct str rest = in->args, first = {0};
	char text[IDENTITY_NAME_MAX];
	const char *blank;

	str_split(&rest, 0, &first);
	blank = first.len ? memchr(first.p, ' ', first.len) : NULL;
	if (blank && !str_eq(first, in->exe)) {
		first.len = (size_t)(blank - first.p);
		if (first.len && first.p[first.len - 1] == ':')
			first.len--;
	}
	identity_clean(text, sizeof(text), first);
	return strdup(text);
}

static char *command_args(struct str args)
{
	_buf_ struct buf b = {.max = COMMAND_ARGS_MAX};
	char text[COMMAND_ARGS_MAX];
	struct str arg;

	while (str_split(&args, 0, &arg) && b.len + arg.len + 1 < COMMAND_ARGS_MAX) {
		if (b.len)
			buf_addc(&b, ' ');
		buf_str(&b, arg);
	}
	identity_clean(text, sizeof(text), buf_view(&b));
	return strdup(text);
}

static int fill(struct reading *g, const struct config *c, struct facts *f)
{
	char by_cgroup[IDENTITY_NAME_MAX];
	struct identity_program program;
	int err;

	err = read_env(f, g->in.environ);
	err = err ?: rules_match_env(c, g->in.environ, &f->env_matches);
	err = err ?: read_cgroup(g, f, by_cgroup);
	if (err)
		return err;
	identity_program(&g->in, &program);
	f->given = strdup(by_cgroup[0] ? by_cgroup : program.name);
	f->runtime = program.runtime;
	f->as_parent = program.as_parent;
	f->exe = str_dup(g->in.exe);
	f->command = command(&g->in);
	if (c->command_args && !(f->command_args = command_args(g->in.args)))
		return -ENOMEM;
	return f->given && f->exe && f->command ? 0 : -ENOMEM;
}

struct facts *facts_read(struct facts_reader *r, const struct config *c, int dir_fd, const char *comm,
			 const struct process_seed *seed)
{
	struct reading g = {.r = r, .dir_fd = dir_fd, .seed = seed};
	_cleanup_(unref_facts) struct facts *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->refs = 1;
	g.in.comm = str_of(comm);
	g.in.args = read_or(&g, "cmdline", CMDLINE_MAX, &r->args, seed ? seed->args : (struct str){0});
	g.in.environ = read_or(&g, "environ", ENVIRON_MAX, &r->environ, seed ? seed->environ : (struct str){0});
	read_exe(&g);
	read_cwd(&g);
	if (dir_fd >= 0) {
		g.in.read_file = read_file;
		g.in.ctx = &g;
	}
	return fill(&g, c, f) ? NULL : TAKE_PTR(f);
}

int facts_match_env(struct facts_reader *r, const struct config *c, int dir_fd, struct facts *f)
{
	uint8_t *bits = NULL;
	int err;

	if (rules_ask_env(c) && dir_fd >= 0 && !procfs_read(dir_fd, "environ", ENVIRON_MAX, &r->environ)) {
		err = rules_match_env(c, buf_view(&r->environ), &bits);
		if (err)
			return err;
	}
	free(f->env_matches);
	f->env_matches = bits;
	return 0;
}
