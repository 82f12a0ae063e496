/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one exec made of a process: read once, immutable but for the rules' answers, shared by all
 * children that it forks. Capture thread only.
 */
#pragma once

#include "user/enrich/processes.h"
#include "user/enrich/procfs.h"
#include "user/enrich/services.h"

struct facts {
	unsigned int refs;
	/* "" or NULL as in struct process */
	char *exe, *cgroup, *container_id, *unit;
	char *container_name; /* NULL: none */
	char *host_unit;      /* the unit, when it names a service; NULL: none */
	/* from the process's environment; NULL: not set */
	char *env_name, *env_namespace, *env_instance;
	struct resource_attr *env_attrs;
	size_t n_env_attrs;
	char *given;	     /* the name by unit, container or program; never empty */
	char *command;	     /* argv[0], without what a rewritten title adds; "" when unknown */
	char *command_args;  /* NULL unless the configuration wants it */
	const char *runtime; /* static; NULL: unknown */
	bool as_parent;
	uint8_t *env_matches; /* see rules_match_env() */
};

/* Buffers that are used again and again. */
struct facts_reader {
	struct buf args, environ, misc;
};

/* Reads what /proc gives (dir_fd < 0: nothing) and takes the rest from `seed` (may be NULL). NULL on ENOMEM. */
struct facts *facts_read(struct facts_reader *r, const struct config *c, int dir_fd, const char *comm,
			 const struct process_seed *seed);
/* Asks the rules' environment conditions again; what cannot be read matches nothing. */
int facts_match_env(struct facts_reader *r, const struct config *c, int dir_fd, struct facts *f);
void facts_reader_done(struct facts_reader *r);
static inline struct facts *facts_ref(struct facts *f)
{
	f->refs++;
	return f;
}
void facts_unref(struct facts *f); /* NULL is fine */
