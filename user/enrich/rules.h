/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration's rules against one process. Pure. */
#pragma once

#include "user/config.h"

/* What rules ask of a process. */
struct rule_subject {
	struct str exe;
	struct str cgroup;
	uint32_t uid;
	bool uid_known;
	const uint8_t *env_matches; /* from rules_match_env(); NULL: no environment condition holds */
};

struct rule_verdict {
	bool exclude;	  /* no connection of this process can be wanted */
	const char *name; /* borrowed from the rule; NULL: not renamed */
	const char *namespace_;
};

bool rules_ask_env(const struct config *c);
/*
 * One bit per rule: its environment condition holds. NULL and 0 when no bit is set; *ret is the
 * caller's to free.
 */
int rules_match_env(const struct config *c, struct str environ, uint8_t **ret);
/* A rule with a port names nothing, and excludes nothing before its port is known. */
void rules_judge(const struct config *c, const struct rule_subject *s, struct rule_verdict *ret);
/* The action of the first rule that holds; without one RULE_EXCLUDE where any rule includes, else RULE_NONE. */
enum rule_action rules_judge_port(const struct config *c, const struct rule_subject *s, uint16_t port);
