// SPDX-License-Identifier: Apache-2.0
/*
 * First match wins, once among the rules with an action and once among those that
 * rename. A rule that includes by port is a promise: a later rule may not exclude the whole
 * process behind its back, so the decision is then left to each connection.
 */
#include "user/enrich/rules.h"

bool rules_ask_env(const struct config *c)
{
	for (size_t i = 0; i < c->n_rules; i++) {
		if (c->rules[i].env)
			return true;
	}
	return false;
}

static bool any_var_matches(const char *glob, struct str environ)
{
	struct str var;

	while (str_split(&environ, 0, &var)) {
		if (var.len && str_glob(glob, var))
			return true;
	}
	return false;
}

int rules_match_env(const struct config *c, struct str environ, uint8_t **ret)
{
	_free_ uint8_t *bits = NULL;

	for (size_t i = 0; i < c->n_rules; i++) {
		if (!c->rules[i].env || !any_var_matches(c->rules[i].env, environ))
			continue;
		if (!bits)
			bits = calloc((c->n_rules + 7) / 8, 1);
		if (!bits)
			return -ENOMEM;
		bits[i / 8] |= (uint8_t)(1 << i % 8);
	}
	*ret = TAKE_PTR(bits);
	return 0;
}

/* A unit's cgroup may hold a backslash of its own ("a\\x2db.service"): written out it means itself. */
static bool cgroup_is(const char *glob, struct str path)
{
	return str_is(path, glob) || str_glob(glob, path);
}

/* A cgroup is matched by its own path or by that of one it lies in. */
static bool cgroup_matches(const char *glob, struct str path)
{
	for (size_t i = 1; i < path.len; i++) {
		if (path.p[i] == '/' && cgroup_is(glob, (struct str){path.p, i}))
			return true;
	}
	return path.len && cgroup_is(glob, path);
}

/* All conditions but the port. */
static bool holds(const struct config *c, size_t i, const struct rule_subject *s)
{
	const struct rule *r = &c->rules[i];

	if (r->uid >= 0 && (!s->uid_known || (uint64_t)r->uid != s->uid))
		return false;
	if (r->exe && (!s->exe.len || !str_glob(r->exe, s->exe)))
		return false;
	if (r->cgroup && !cgroup_matches(r->cgroup, s->cgroup))
		return false;
	return !r->env || (s->env_matches && s->env_matches[i / 8] & (1 << i % 8));
}

void rules_judge(const struct config *c, const struct rule_subject *s, struct rule_verdict *ret)
{
	bool decided = false, by_port = false, has_include = false;
	struct rule_verdict v = {0};

	for (size_t i = 0; i < c->n_rules; i++) {
		const struct rule *r = &c->rules[i];

		has_include |= r->action == RULE_INCLUDE && r->port < 0;
		if (!holds(c, i, s))
			continue;
		if (r->port >= 0) {
			by_port |= r->action == RULE_INCLUDE;
			continue;
		}
		if (r->action != RULE_NONE && !decided) {
			decided = true;
			v.exclude = r->action == RULE_EXCLUDE && !by_port;
		}
		if (!v.name && !v.namespace_) {
			v.name = r->service_name;
			v.namespace_ = r->service_namespace;
		}
	}
	if (!decided)
		v.exclude = has_include && !by_port;
	*ret = v;
}

enum rule_action rules_judge_port(const struct config *c, const struct rule_subject *s, uint16_t port)
{
	bool has_include = false;

	for (size_t i = 0; i < c->n_rules; i++) {
		const struct rule *r = &c->rules[i];

		has_include |= r->action == RULE_INCLUDE;
		if (r->action != RULE_NONE && (r->port < 0 || r->port == port) && holds(c, i, s))
			return r->action;
	}
	return has_include ? RULE_EXCLUDE : RULE_NONE;
}
