/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes and the services they belong to. Fed by exec/fork/exit events and by
 * look-ups of unknown pids; reads /proc; applies the configuration's rules. Capture
 * thread only. A process is identified by pid and start time, so that a reused pid is
 * a new process. A record outlives its process by a grace time, for events that are
 * still on their way.
 */
#pragma once

#include "user/config.h"
#include "user/model/process.h"

enum process_verdict {
	VERDICT_INCLUDE,
	VERDICT_EXCLUDE, /* by a rule */
};

struct process {
	uint32_t pid;
	uint32_t ppid;
	uint64_t start_ns;	/* since boot, from /proc/PID/stat or the exec event; 0: unknown */
	uint32_t uid;
	char comm[16];
	char *exe;		/* path as the process sees it, without " (deleted)"; "" when unknown */
	char *executable_name;	/* its last part */
	char *cgroup;		/* path in the hierarchy that tells most; "" when unknown */
	char *container_id;	/* 64 (12) hex digits; NULL: none */
	char *systemd_unit;	/* "nginx.service"; NULL: none */
	struct service *service;
	enum process_verdict verdict;
	bool exited;
};

/* What an exec event brings, for processes that are gone before /proc is read. Borrowed; "" where unknown. */
struct process_seed {
	uint32_t pid, ppid, uid;
	uint64_t start_ns;
	const char *comm;
	const char *exe;
	struct str args;   /* NUL-separated, as in /proc/PID/cmdline; may be cut */
	struct str environ; /* NUL-separated; may be cut */
};

struct processes;

struct processes *processes_new(const struct config *c, const char *proc_root /* "/proc" */);
void processes_free(struct processes *p);
/* The rules were reloaded: judges and names every process again. Comes before any other call after a reload of *c. */
void processes_reconfigure(struct processes *p, const struct config *c);

/* exec: (re-)reads the process; never fails for good: what cannot be read comes from the seed. */
struct process *processes_exec(struct processes *p, const struct process_seed *seed, uint64_t now_ns);
/* fork without exec: the child inherits. */
struct process *processes_fork(struct processes *p, uint32_t ppid, uint32_t pid, uint64_t now_ns);
void processes_exit(struct processes *p, uint32_t pid, uint64_t now_ns);
/* The process with this pid, read from /proc when it is not known yet; a record "unknown" when that fails; NULL only on ENOMEM. */
struct process *processes_get(struct processes *p, uint32_t pid, uint64_t now_ns);
/* Start-up: reads all of /proc, calling `each` for every process. */
int processes_scan(struct processes *p, void (*each)(void *ctx, struct process *), void *ctx, uint64_t now_ns);
/* Drops records whose grace time is over, and the oldest exited ones past the budget. Once a second. */
void processes_expire(struct processes *p, uint64_t now_ns);
size_t processes_count(const struct processes *p);
/* True when a rule that includes or excludes asks what only user space knows (exe, environment, a glob of cgroups). */
bool processes_rules_need_user(const struct config *c);
/*
 * The rules for one connection: a server's local port, a client's peer port. The process's own
 * `verdict` never judged a rule with a port; a process that such a rule may include is VERDICT_INCLUDE and each
 * connection has to be asked here. RULE_NONE: no rule holds, and none includes others instead.
 */
enum rule_action processes_judge_port(const struct processes *p, const struct process *proc, uint16_t port);
/* Processes that the budget did not let in: they were reported as "unknown". */
uint64_t processes_refused(const struct processes *p);
/* Services in use; for tests and self metrics. */
size_t processes_service_count(const struct processes *p);

/*
 * host.name, host.id (/etc/machine-id) and the host-describing part of resource.attributes are on
 * every service as attributes, besides process.pid (of the service's root process),
 * process.executable.name, process.command (argv[0] only), container.id, … as the
 * semantic conventions name them.
 */
