// SPDX-License-Identifier: Apache-2.0
/*
 * An attribute is set once and the first source wins: the operator's word about the host,
 * then what sonde sees itself, then what the process says about itself in its environment, then the
 * operator's word about everything else. A process can so describe itself but not pass for another.
 */
#include <stdio.h>

#include "user/enrich/identity.h"
#include "user/enrich/resource.h"

static bool machine_id(struct resource_host *h, const struct buf *b)
{
	struct str id = str_trim(buf_view(b)), line;

	if (!str_split(&id, '\n', &line) || line.len != 32)
		return false;
	identity_clean(h->id, sizeof(h->id), line);
	return true;
}

void resource_host_read(struct resource_host *ret, int proc_fd)
{
	static const char *const files[] = {"etc/machine-id", "var/lib/dbus/machine-id"};
	_buf_ struct buf b = BUF_INIT;
	_close_ int slash = -1;
	_close_ int init = -1;

	*ret = (struct resource_host){0};
	if (gethostname(ret->name, sizeof(ret->name) - 1) || !ret->name[0])
		strcpy(ret->name, "localhost");
	/* in a container that sees the host's processes, the host's own is behind process 1 */
	init = procfs_open(proc_fd, 1);
	if (init >= 0 && !procfs_read_file(init, "/etc/machine-id", 256, &b) && machine_id(ret, &b))
		return;
	slash = procfs_open_dir("/");
	for (size_t i = 0; slash >= 0 && i < ARRAY_SIZE(files); i++) {
		if (!procfs_read(slash, files[i], 256, &b) && machine_id(ret, &b))
			return;
	}
}

static void base36(char dst[16], uint64_t v)
{
	char tmp[16];
	size_t at = sizeof(tmp), n;

	do {
		tmp[--at] = "0123456789abcdefghijklmnopqrstuvwxyz"[v % 36];
		v /= 36;
	} while (v);
	n = sizeof(tmp) - at;
	memcpy(dst, tmp + at, n);
	dst[n] = 0;
}

const char *resource_instance(char dst[RESOURCE_INSTANCE_MAX], const struct resource_host *h, const struct facts *f,
			      const struct resource_root *root)
{
	const char *box = f->container_name ? f->container_name : "", *sep = *box ? "/" : "";
	char start[16];

	if (f->env_instance || f->container_id) {
		snprintf(dst, RESOURCE_INSTANCE_MAX, "%s", f->env_instance ? f->env_instance : f->container_id);
	} else if (f->host_unit) {
		snprintf(dst, RESOURCE_INSTANCE_MAX, "%s:%s%s%s", h->name, box, sep, f->host_unit);
	} else if (f->container_name) {
		snprintf(dst, RESOURCE_INSTANCE_MAX, "%s:%s", h->name, box);
	} else if (root->start_ns) {
		/* pids come again, a pid together with its start does not */
		base36(start, root->start_ns / procfs_tick_ns());
		snprintf(dst, RESOURCE_INSTANCE_MAX, "%s:%u:%s", h->name, root->pid, start);
	} else {
		snprintf(dst, RESOURCE_INSTANCE_MAX, "%s:%u", h->name, root->pid);
	}
	return dst;
}

static int add(struct service *s, const char *name, const char *value)
{
	if (!value || !*value)
		return 0;
	for (size_t i = 0; i < s->n_attrs; i++) {
		if (!strcmp(s->attrs[i].name, name))
			return 0;
	}
	return service_add_attr(s, name, value);
}

/* The part of resource.attributes that holds for everything on this host. */
static int add_operators(struct service *s, const struct config *c, const char *const *globs, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < c->resource_attributes.n && !err; i++) {
		const struct kv *kv = &c->resource_attributes.v[i];
		bool wanted = false;

		for (size_t g = 0; g < n; g++)
			wanted |= str_glob(globs[g], str_of(kv->key));
		if (wanted)
			err = add(s, kv->key, kv->value);
	}
	return err;
}

int resource_attributes(struct service *s, const struct config *c, const struct resource_host *h, const struct facts *f,
			const struct resource_root *root, const char *comm)
{
	static const char *const host[] = {"host.*"};
	static const char *const rest[] = {"cloud.*", "deployment.*", "k8s.node.name", "k8s.cluster.name"};
	struct str exe = identity_base(str_of(f->exe));
	char pid[16], name[IDENTITY_NAME_MAX], container[IDENTITY_NAME_MAX];
	int err;

	snprintf(pid, sizeof(pid), "%u", root->pid);
	identity_clean(name, sizeof(name), exe.len ? exe : str_of(comm));
	identity_clean(container, sizeof(container), str_of(f->container_name));
	err = add_operators(s, c, host, ARRAY_SIZE(host));
	err = err ?: add(s, "host.name", h->name);
	err = err ?: add(s, "host.id", h->id);
	err = err ?: add(s, "os.type", "linux");
	err = err ?: add(s, "process.pid", root->pid ? pid : "");
	err = err ?: add(s, "process.executable.name", name);
	err = err ?: add(s, "process.command", f->command);
	err = err ?: add(s, "process.command_args", f->command_args);
	err = err ?: add(s, "process.runtime.name", f->runtime);
	err = err ?: add(s, "container.id", f->container_id);
	err = err ?: add(s, "container.name", container);
	for (size_t i = 0; i < f->n_env_attrs && !err; i++)
		err = add(s, f->env_attrs[i].name, f->env_attrs[i].value);
	return err ?: add_operators(s, c, rest, ARRAY_SIZE(rest));
}
