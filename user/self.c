/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sonde's metrics about sonde. Sources keep plain counters; here they are copied into
 * the series table when somebody asks for a snapshot, so that they cost nothing else.
 */
#include "user/self.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>

#include "user/base/clock.h"
#include "user/features.h"

#define INST(var, name, unit, kind, help) static const struct instrument var = { name, unit, help, kind }

INST(i_build, "sonde_build_info", "", INST_INFO, "Version of sonde.");
INST(i_capture, "sonde_capture_info", "", INST_INFO, "How this kernel is read: the ladder's rung and the kernel features that were found.");
INST(i_events, "sonde.events", "", INST_COUNTER, "Records that the kernel's half sent.");
INST(i_lost, "sonde.events.lost", "", INST_COUNTER,
     "Messages (requests) that were made and are not reported, by reason.");
INST(i_lost_records, "sonde.records.lost", "", INST_COUNTER,
     "Records that found no room in a ring or made no sense. A message lost with them is counted in sonde_events_lost_total.");
INST(i_unjudged, "sonde.events.unjudged", "", INST_COUNTER, "Reads and writes of processes that no rule had judged yet.");
INST(i_unreadable, "sonde.unreadable", "By", INST_COUNTER, "Bytes that passed and cannot be read, by reason.");
INST(i_conns_unread, "sonde.connections.unread", "", INST_COUNTER, "Connections whose protocol is not read, by reason.");
INST(i_run_seconds, "sonde.bpf.program.run", "s", INST_COUNTER, "Time spent in BPF programs, extrapolated from a sample of the runs.");
INST(i_runs, "sonde.bpf.program.runs", "", INST_COUNTER, "Runs of BPF programs.");
INST(i_misses, "sonde.bpf.recursion.misses", "", INST_COUNTER, "Runs that the kernel left out because the program was already running on that CPU.");
INST(i_ring, "sonde.ring.size", "By", INST_GAUGE, "Size of the data ring.");
INST(i_ring_high, "sonde.ring.high.water", "By", INST_GAUGE, "Most bytes that were unread in the data ring since the last snapshot.");
INST(i_maps, "sonde.bpf.map.memory", "By", INST_GAUGE, "Kernel memory of the BPF maps.");
INST(i_table, "sonde.table.entries", "", INST_GAUGE, "Entries of a table.");
INST(i_limit, "sonde.table.limit", "", INST_GAUGE, "The budget of a table.");
INST(i_refused, "sonde.table.refused", "", INST_COUNTER, "Entries that a table's budget refused.");
INST(i_overflow, "sonde.metrics.overflowed", "", INST_COUNTER, "Recordings that went into an overflow series.");
INST(i_calls, "sonde.calls", "", INST_COUNTER, "Calls reported.");
INST(i_processes, "sonde.processes", "", INST_GAUGE, "Processes known to the kernel's half, by state.");
INST(i_spans, "sonde.spans", "", INST_COUNTER, "What became of finished calls as spans.");
INST(i_exp_sent, "sonde.exporter.sent", "", INST_COUNTER, "Items that an exporter delivered.");
INST(i_exp_failed, "sonde.exporter.failed", "", INST_COUNTER, "Items that a back end refused or that could not be delivered.");
INST(i_exp_dropped, "sonde.exporter.dropped", "", INST_COUNTER, "Items dropped because a queue was full.");
INST(i_exp_queue, "sonde.exporter.queue.length", "", INST_GAUGE, "Items that wait.");
INST(i_exp_cap, "sonde.exporter.queue.capacity", "", INST_GAUGE, "Room for items that wait.");
INST(i_cpu, "process.cpu", "s", INST_COUNTER, "Total user and system CPU time spent in seconds.");
INST(i_rss, "process.resident.memory", "By", INST_GAUGE, "Resident memory size in bytes.");
INST(i_anon, "sonde.resident.anonymous.memory", "By", INST_GAUGE, "Resident memory without the ring's pages and files.");
INST(i_vm, "process.virtual.memory", "By", INST_GAUGE, "Virtual memory size in bytes.");
INST(i_fds, "process.open.fds", "", INST_GAUGE, "Number of open file descriptors.");
INST(i_max_fds, "process.max.fds", "", INST_GAUGE, "Maximum number of open file descriptors.");
INST(i_start, "process.start.time", "s", INST_GAUGE, "Start time of the process since unix epoch in seconds.");

static void set(const struct self_sources *s, const struct instrument *i, const char *k1, const char *v1, const char *k2,
		const char *v2, double value, uint64_t now)
{
	struct label l[2] = { { k1, v1 }, { k2, v2 } };

	metrics_set(s->metrics, i, NULL, l, !!k1 + !!k2, value, now);
}

static void update_kernel(const struct self_sources *s, uint64_t now)
{
	static const struct {
		const struct instrument *inst;
		const char *label, *value;
	} shown[STAT_MAX] = {
#define X(id, name) [id] = { &i_events, "kind", name },
		SONDE_EVENT_STATS(X)
#undef X
#define X(id, name) [id] = { &i_lost, "reason", name },
		SONDE_LOSS_STATS(X)
#undef X
		[STAT_UNJUDGED] = { &i_unjudged, NULL, NULL },
		[STAT_UNREADABLE_BYTES] = { &i_unreadable, "reason", "memory" },
		[STAT_SPLICED_BYTES] = { &i_unreadable, "reason", "splice" },
		[STAT_TLS_CONNS] = { &i_conns_unread, "reason", "tls" },
		[STAT_IGNORED_CONNS] = { &i_conns_unread, "reason", "unknown_protocol" },
		[STAT_LOST_RECORDS] = { &i_lost_records, "kind", "all" },
		[STAT_LOST_PROC] = { &i_lost_records, "kind", "process" },
		[STAT_PROCS_REFUSED] = { &i_refused, "table", "kernel_processes" },
		[STAT_LOST_ENDS] = { &i_lost_records, "kind", "connection_end" },
	};
	static const char *const programs[] = {
#define X(id, name) [id] = name,
		SONDE_PROGRAMS(X)
#undef X
	};
	struct sonde_run_stat runs[RUN_MAX];
	__u64 stats[STAT_MAX];

	capture_stats(s->capture, stats);
	for (int i = 0; i < STAT_MAX; i++)
		if (shown[i].inst)
			set(s, shown[i].inst, shown[i].label, shown[i].value, NULL, NULL, stats[i], now);
	capture_runs(s->capture, runs);
	for (int i = 0; i < RUN_MAX; i++) {
		double mean = runs[i].samples ? runs[i].ns / 1e9 / runs[i].samples : 0;

		set(s, &i_run_seconds, "program", programs[i], NULL, NULL, mean * runs[i].runs, now);
		set(s, &i_runs, "program", programs[i], NULL, NULL, runs[i].runs, now);
	}
	set(s, &i_misses, NULL, NULL, NULL, NULL, capture_recursion_misses(s->capture), now);
	set(s, &i_maps, NULL, NULL, NULL, NULL, capture_map_bytes(s->capture), now);
}

static void update_processes(const struct self_sources *s, uint64_t now)
{
	struct procmap_counts p;

	capture_procs(s->capture, &p);
	set(s, &i_processes, "state", "seen", NULL, NULL, p.verdict[VERDICT_READ], now);
	set(s, &i_processes, "state", "excluded", NULL, NULL, p.verdict[VERDICT_SKIP], now);
	set(s, &i_processes, "state", "out_of_scope", NULL, NULL, p.verdict[VERDICT_OUT], now);
	set(s, &i_processes, "state", "unjudged", NULL, NULL, p.verdict[VERDICT_PENDING], now);
	set(s, &i_processes, "state", "tls_not_readable", NULL, NULL, p.tls, now);
	set(s, &i_processes, "state", "splice_not_readable", NULL, NULL, p.spliced, now);
	set(s, &i_processes, "state", "not_readable", NULL, NULL, p.unreadable, now);
	set(s, &i_table, "table", "kernel_processes", NULL, NULL, p.total, now);
	set(s, &i_limit, "table", "kernel_processes", NULL, NULL, p.budget, now);
}

static void update_rooms(const struct self_sources *s, uint64_t now)
{
	static const char *const reasons[CALL_LOSS_MAX] = {
		[CALL_LOSS_HOLE] = "gap", [CALL_LOSS_HEAD_TOO_LARGE] = "head_too_large",
		[CALL_LOSS_PIPELINE] = "pipeline_budget", [CALL_LOSS_MEMORY] = "memory",
		[CALL_LOSS_BUDGET] = "decode_memory", [CALL_LOSS_LEFT] = "protocol_left",
	};
	struct metrics_stats m;
	struct traces_stats t;
	struct flow_stats f;
	size_t high, size;

	flow_get_stats(s->flow, &f);
	metrics_get_stats(s->metrics, &m);
	for (int i = 0; i < CALL_LOSS_MAX; i++)
		set(s, &i_lost, "reason", reasons[i], NULL, NULL, f.lost[i], now);
	set(s, &i_conns_unread, "reason", "given_up", NULL, NULL, f.conns_unknown, now);
	set(s, &i_lost, "reason", "connection_table", NULL, NULL, f.lost_table, now);
	set(s, &i_lost_records, "kind", "malformed", NULL, NULL, f.malformed, now);
	set(s, &i_calls, NULL, NULL, NULL, NULL, f.calls, now);
	set(s, &i_table, "table", "connections", NULL, NULL, f.conns, now);
	set(s, &i_limit, "table", "connections", NULL, NULL, f.conns_max, now);
	set(s, &i_refused, "table", "connections", NULL, NULL, f.conns_refused, now);
	set(s, &i_table, "table", "decode_memory_bytes", NULL, NULL, f.decode_bytes, now);
	set(s, &i_limit, "table", "decode_memory_bytes", NULL, NULL, f.decode_max, now);
	set(s, &i_refused, "table", "decode_memory_bytes", NULL, NULL, f.decode_refused, now);
	set(s, &i_table, "table", "series", NULL, NULL, m.series, now);
	set(s, &i_limit, "table", "series", NULL, NULL, m.max_series, now);
	set(s, &i_table, "table", "processes", NULL, NULL, processes_count(s->processes), now);
	set(s, &i_limit, "table", "processes", NULL, NULL, s->max_processes, now);
	set(s, &i_refused, "table", "processes", NULL, NULL, processes_refused(s->processes), now);
	set(s, &i_overflow, NULL, NULL, NULL, NULL, m.overflowed, now);
	capture_ring(s->capture, &high, &size);
	set(s, &i_ring, NULL, NULL, NULL, NULL, size, now);
	set(s, &i_ring_high, NULL, NULL, NULL, NULL, high, now);
	if (s->traces) {
		traces_get_stats(s->traces, &t);
		set(s, &i_spans, "outcome", "made", NULL, NULL, t.made, now);
		set(s, &i_spans, "outcome", "sampled_out", NULL, NULL, t.sampled_out, now);
		set(s, &i_spans, "outcome", "untimed", NULL, NULL, t.untimed, now);
		set(s, &i_spans, "outcome", "failed", NULL, NULL, t.failed, now);
	}
}

static void update_exporters(const struct self_sources *s, uint64_t now)
{
	for (size_t i = 0; i < s->n_exporters; i++) {
		struct exporter_stats st[EXPORTER_SIGNALS_MAX];
		size_t n = s->exporters[i] && s->ops[i]->stats ? s->ops[i]->stats(s->exporters[i], st) : 0;

		for (size_t k = 0; k < n; k++) {
			const char *e = s->ops[i]->name, *g = st[k].signal;

			set(s, &i_exp_sent, "exporter", e, "signal", g, st[k].sent, now);
			set(s, &i_exp_failed, "exporter", e, "signal", g, st[k].failed, now);
			set(s, &i_exp_dropped, "exporter", e, "signal", g, st[k].dropped, now);
			if (!st[k].queue_cap)
				continue;
			set(s, &i_exp_queue, "exporter", e, "signal", g, st[k].queue_len, now);
			set(s, &i_exp_cap, "exporter", e, "signal", g, st[k].queue_cap, now);
		}
	}
}

static uint64_t status_kib(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

static void read_status(char text[4096])
{
	FILE *f = fopen("/proc/self/status", "re");
	size_t n = f ? fread(text, 1, 4095, f) : 0;

	text[n] = 0;
	if (f)
		fclose(f);
}

static size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n > 3 ? n - 3 : 0; /* ., .. and the directory itself */
}

static void update_process(const struct self_sources *s, uint64_t now)
{
	struct rusage u = { 0 };
	struct rlimit lim = { 0 };
	char text[4096];

	read_status(text);
	getrusage(RUSAGE_SELF, &u);
	getrlimit(RLIMIT_NOFILE, &lim);
	set(s, &i_cpu, NULL, NULL, NULL, NULL,
	    u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6, now);
	set(s, &i_rss, NULL, NULL, NULL, NULL, status_kib(text, "VmRSS:"), now);
	set(s, &i_anon, NULL, NULL, NULL, NULL, status_kib(text, "RssAnon:"), now);
	set(s, &i_vm, NULL, NULL, NULL, NULL, status_kib(text, "VmSize:"), now);
	set(s, &i_fds, NULL, NULL, NULL, NULL, count_fds(), now);
	set(s, &i_max_fds, NULL, NULL, NULL, NULL, lim.rlim_cur, now);
	set(s, &i_start, NULL, NULL, NULL, NULL, s->start_wall_ns / 1e9, now);
}

void self_update(const struct self_sources *s, uint64_t now_ns)
{
	struct buf features = BUF_INIT;

	feature_list(&features);
	set(s, &i_build, "version", SONDE_VERSION, NULL, NULL, 1, now_ns);
	set(s, &i_capture, "rung", feature_rung() ?: "none", "features", features.data ?: "", 1, now_ns);
	buf_done(&features);
	update_kernel(s, now_ns);
	update_processes(s, now_ns);
	update_rooms(s, now_ns);
	update_exporters(s, now_ns);
	update_process(s, now_ns);
}
