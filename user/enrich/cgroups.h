/* SPDX-License-Identifier: Apache-2.0 */
/* What the text of /proc/PID/cgroup tells: container, systemd unit, and the path that tells most. Pure. */
#pragma once

#include "user/base/str.h"

#define CONTAINER_ID_MAX 80

struct cgroup_facts {
	struct str path;	   /* into the text; empty: none */
	struct str container_id;   /* 64 hex digits, or the runtime's own kind; empty: none */
	struct str container_name; /* LXC names its cgroup; empty: none */
	struct str unit;	   /* "nginx.service", still escaped; empty: none */
};

/* Everything in *ret borrows from `text`. Lines that are cut or malformed are left out. */
void cgroups_parse(struct str text, struct cgroup_facts *ret);
/* One path of one hierarchy. */
void cgroups_parse_path(struct str path, struct cgroup_facts *ret);
