/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks for features, never for versions: a tracepoint is there when the kernel's type
 * information has its prototype, an iterator when it has its target function.
 */
#include "user/features.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "user/lockdown.h"

static struct btf *vmlinux_btf(void)
{
	static struct btf *btf;
	static bool asked;

	if (!asked) {
		asked = true;
		btf = btf__load_vmlinux_btf();
		if (libbpf_get_error(btf))
			btf = NULL;
	}
	return btf;
}

static bool has_tracepoint(const char *name)
{
	char type[96];

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return vmlinux_btf() && btf__find_by_name_kind(vmlinux_btf(), type, BTF_KIND_TYPEDEF) > 0;
}

static bool has_function(const char *name)
{
	return vmlinux_btf() && btf__find_by_name_kind(vmlinux_btf(), name, BTF_KIND_FUNC) > 0;
}

static bool probe_root(void)
{
	return geteuid() == 0;
}

/* PROC_PID_INIT_INO, include/linux/proc_ns.h: the kernel's half speaks of processes by their ids there. */
static bool probe_host_pid(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino == 0xEFFFFFFC;
}

static bool probe_btf(void)
{
	return vmlinux_btf();
}

/* Lockdown takes bpf_probe_read_kernel() away (LOCKDOWN_BPF_READ_KERNEL). */
static bool probe_kernel_read(void)
{
	return strcmp(lockdown_mode(), "confidentiality");
}

static const struct {
	struct feature_row row;
	bool (*probe)(void);	    /* or: */
	const char *tracepoints[3]; /* all of them */
	const char *function;
} table[FEAT_MAX] = {
	[FEAT_ROOT] = { { "root", "run as root", "", "run it with sudo, or as a privileged container", true }, probe_root },
	[FEAT_HOST_PID] = { { "host_pid", "see the host's process ids", "",
			      "in a container, give it the host's PID namespace (docker --pid=host, Kubernetes hostPID: true)", true },
			    probe_host_pid },
	[FEAT_BTF] = { { "btf", "kernel type information (/sys/kernel/btf/vmlinux)", "5.2",
			 "the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, as the big distributions' are", true },
		       probe_btf },
	[FEAT_KERNEL_READ] = { { "kernel_read", "BPF programs may read kernel memory", "",
				 "lockdown is \"confidentiality\", which forbids it: boot with lockdown=integrity, which does not", true },
			       probe_kernel_read },
	[FEAT_SOCK_LENGTH] = { { "sock_length", "socket tracepoints sock_send_length and sock_recv_length", "6.3",
				 "no bytes can be read: this version needs kernel 6.3 or newer", true },
			       .tracepoints = { "sock_send_length", "sock_recv_length" } },
	[FEAT_SET_STATE] = { { "set_state", "tracepoint inet_sock_set_state", "4.16",
			       "connections are joined at their first bytes; no TCP metrics", true },
			     .tracepoints = { "inet_sock_set_state" } },
	[FEAT_PROCESS_EVENTS] = { { "process_events", "tracepoints sched_process_fork, _exec, _exit", "3.4",
				    "programs cannot be followed", true },
				  .tracepoints = { "sched_process_fork", "sched_process_exec", "sched_process_exit" } },
	[FEAT_CGROUP_MOVES] = { { "cgroup_moves", "tracepoint cgroup_attach_task", "5.2",
				  "a process that is moved to another cgroup keeps its old verdict", false },
				.tracepoints = { "cgroup_attach_task" } },
	[FEAT_DATA_READY] = { { "data_ready", "tracepoint sk_data_ready", "6.3",
				"no sonde_server_request_wait_seconds", false }, .tracepoints = { "sk_data_ready" } },
	[FEAT_SEND_START] = { { "send_start", "tracepoint tcp_sendmsg_locked", "6.16",
				"the start of a client's request is stamped when its send returns; long sends have no time", false },
			      .tracepoints = { "tcp_sendmsg_locked" } },
	[FEAT_SPLICE] = { { "splice", "tracepoint tcp_rcv_space_adjust", "4.16",
			    "bytes that a program splices out of a socket are noticed late: such calls have no time", false },
			  .tracepoints = { "tcp_rcv_space_adjust" } },
	[FEAT_ITER_LISTENERS] = { { "iter_listeners", "iterator over open files", "5.8",
				    "connections accepted by servers that run already are known from their first read on", false },
				  .function = "bpf_iter_task_file" },
	[FEAT_ITER_CONNS] = { { "iter_conns", "iterator over connections", "5.9",
				"the end of a unix socket is noticed only when it is read", false },
			      .function = "bpf_iter_bpf_sk_storage_map" },
};

static bool probe(enum feature f)
{
	bool has = table[f].probe ? table[f].probe() : table[f].function ? has_function(table[f].function) : true;

	for (size_t i = 0; i < ARRAY_SIZE(table[f].tracepoints) && table[f].tracepoints[i]; i++)
		has &= has_tracepoint(table[f].tracepoints[i]);
	return has;
}

const struct feature_row *feature_row(enum feature f)
{
	return &table[f].row;
}

bool feature_has(enum feature f)
{
	static signed char cache[FEAT_MAX];

	if (!cache[f])
		cache[f] = probe(f) ? 1 : -1;
	return cache[f] > 0;
}

const char *feature_rung(void)
{
	return feature_has(FEAT_BTF) && feature_has(FEAT_SOCK_LENGTH) ? "1 (socket tracepoints)" : NULL;
}

void feature_list(struct buf *b)
{
	for (int f = 0; f < FEAT_MAX; f++)
		if (feature_has(f))
			buf_printf(b, "%s%s", b->len ? "," : "", table[f].row.name);
}
