// SPDX-License-Identifier: Apache-2.0
/*
 * A cgroup path is read from left to right and later components win: in a container
 * inside a container the inner one is the process's own. Nothing depends on where the
 * path begins, so paths seen from inside a cgroup namespace ("/../..") work too. What
 * counts as a container is the shape of the component (runtimes end it in 64 hex
 * digits), not the runtime's name, except where an id looks different.
 */
#include "user/enrich/cgroups.h"

static bool all_of(struct str s, const char *set)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!s.p[i] || !strchr(set, s.p[i]))
			return false;
	}
	return s.len > 0;
}

#define HEX    "0123456789abcdef"
#define DIGITS "0123456789"
#define BASE36 "0123456789abcdefghijklmnopqrstuvwxyz"

static bool ends(struct str s, struct str end)
{
	return s.len >= end.len && !memcmp(s.p + s.len - end.len, end.p, end.len);
}

static bool starts(struct str s, struct str head)
{
	return s.len >= head.len && !memcmp(s.p, head.p, head.len);
}

static struct str head(struct str s, size_t len)
{
	return (struct str){s.p, len};
}

static struct str tail(struct str s, size_t len)
{
	return (struct str){s.p + s.len - len, len};
}

/* "<64 hex>", "docker-<64 hex>.scope", "…slice:cri-containerd:<64 hex>" */
static struct str hex_id(struct str part)
{
	struct str id, before;

	if (ends(part, STR(".scope")))
		part.len -= strlen(".scope");
	if (part.len < 64)
		return (struct str){0};
	id = tail(part, 64);
	before = head(part, part.len - 64);
	if (!all_of(id, HEX) || (before.len && !ends(before, STR("-")) && !ends(before, STR(":"))))
		return (struct str){0};
	/* the monitor of a container runs beside it, not in it */
	if (ends(before, STR("conmon-")))
		return (struct str){0};
	return id;
}

/* ECS on Fargate: "<32 hex of the task>-<digits>" */
static bool ecs_id(struct str part)
{
	return part.len > 33 && part.len < CONTAINER_ID_MAX && part.p[32] == '-' && all_of(head(part, 32), HEX) &&
	       all_of(tail(part, part.len - 33), DIGITS);
}

static struct str container_id(struct str part, struct str parent, struct str top)
{
	struct str id = hex_id(part);

	if (id.len)
		return id;
	if (str_is(parent, "buildkit") && part.len == 25 && all_of(part, BASE36))
		return part;
	if (str_is(top, "ecs") && ecs_id(part))
		return part;
	return (struct str){0};
}

/* "lxc.payload.NAME" (LXC 4), "lxc.payload/NAME" (LXC 3), "lxc/NAME" (before) */
static struct str lxc_name(struct str part, struct str parent)
{
	const struct str payload = STR("lxc.payload.");

	if (starts(part, payload) && part.len > payload.len)
		return tail(part, part.len - payload.len);
	if (str_is(parent, "lxc") || str_is(parent, "lxc.payload"))
		return part;
	return (struct str){0};
}

/* A user's service manager is not a service; what it starts has units of its own below. */
static bool is_unit(struct str part)
{
	return part.len > strlen(".service") && ends(part, STR(".service")) && !starts(part, STR("user@"));
}

/* With the wrong cgroup driver containers sit below the unit of the daemon that made them. */
static bool is_container_daemon(struct str unit)
{
	static const char *const daemons[] = {"containerd.service", "docker.service",	   "crio.service",
					      "podman.service",	    "kubelet.service",	   "k3s.service",
					      "k3s-agent.service",  "rke2-server.service", "rke2-agent.service",
					      "buildkit.service",   "lxc.service",	   "lxd.service"};

	for (size_t i = 0; i < ARRAY_SIZE(daemons); i++) {
		if (str_is(unit, daemons[i]))
			return true;
	}
	return false;
}

void cgroups_parse_path(struct str path, struct cgroup_facts *ret)
{
	struct str rest = path, part, parent = {0}, top = {0}, found;
	struct cgroup_facts f = {.path = path};

	while (str_split(&rest, '/', &part)) {
		if (!part.len || str_is(part, ".."))
			continue;
		if (!top.len)
			top = part;
		if ((found = container_id(part, parent, top)).len)
			f.container_id = found;
		else if ((found = lxc_name(part, parent)).len)
			f.container_name = found;
		else if (is_unit(part))
			f.unit = part;
		if (found.len && is_container_daemon(f.unit))
			f.unit = (struct str){0};
		parent = part;
	}
	*ret = f;
}

static int telling(const struct cgroup_facts *f)
{
	return (f->container_id.len || f->container_name.len ? 4 : 0) + (f->unit.len ? 2 : 0) + (f->path.len > 1);
}

/* "ID:CONTROLLERS:PATH" */
static bool split_line(struct str line, struct str *ret_controllers, struct str *ret_path)
{
	struct str id, controllers = {0};
	const char *colon;

	if (!str_split(&line, ':', &id))
		return false;
	colon = line.len ? memchr(line.p, ':', line.len) : NULL;
	if (!colon)
		return false;
	controllers = head(line, (size_t)(colon - line.p));
	/* "name=systemd": a hierarchy's name may not hold a colon, a path may */
	*ret_controllers = controllers;
	*ret_path = tail(line, line.len - controllers.len - 1);
	return ret_path->len && ret_path->p[0] == '/';
}

/* Takes a fact from the line that tells most among those that know it. */
static void take(struct str *fact, int *fact_score, struct str found, int score)
{
	if (!found.len || score <= *fact_score)
		return;
	*fact = found;
	*fact_score = score;
}

void cgroups_parse(struct str text, struct cgroup_facts *ret)
{
	struct str line, controllers, path;
	struct cgroup_facts best = {0}, f;
	int by_path = -1, by_id = -1, by_name = -1, by_unit = -1;

	while (str_split(&text, '\n', &line)) {
		int score;

		if (!split_line(line, &controllers, &path))
			continue;
		cgroups_parse_path(path, &f);
		/* among equals: the unified hierarchy, then systemd's own, then the first */
		score = telling(&f) * 4 + (controllers.len ? str_is(controllers, "name=systemd") : 2);
		take(&best.path, &by_path, f.path, score);
		take(&best.container_id, &by_id, f.container_id, score);
		take(&best.container_name, &by_name, f.container_name, score);
		take(&best.unit, &by_unit, f.unit, score);
	}
	/* where the hierarchies are split, the one without limits shows who made the container */
	if ((best.container_id.len || best.container_name.len) && is_container_daemon(best.unit))
		best.unit = (struct str){0};
	*ret = best;
}
