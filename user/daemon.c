/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One capture thread: it reads the rings on a timer (2–5 ms under load, slower when
 * nothing comes; the kernel wakes it when a ring is a quarter full), once a second
 * it expires what is old, and between two reads it answers whoever asked for a snapshot.
 * Exporters live in threads of their own.
 */
#include "user/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "exporters/list.h"
#include "exporters/wire/lines.h"
#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/features.h"
#include "user/lockdown.h"
#include "user/peers.h"
#include "user/self.h"

#define X(name) extern const struct exporter_ops exporter_##name;
SONDE_EXPORTERS(X)
#undef X

static const struct exporter_ops *const exporter_list[] = {
#define X(name) &exporter_##name,
	SONDE_EXPORTERS(X)
#undef X
};
#define N_EXPORTERS ARRAY_SIZE(exporter_list)

#define POLL_BUSY_MS 20
#define POLL_IDLE_MS 64
#define CAPTURE_NICE -15
#define AUTOGROUP_NICE -10
#define STOP_NS (4 * NSEC_PER_SEC) /* of the 5 s that SIGTERM may take */
#define CHILD_END_NS (2 * NSEC_PER_SEC) /* of them, for a command to end by itself */
#define CHILD_LOOK_NS (250 * NSEC_PER_MSEC)

struct daemon {
	const struct daemon_options *o;
	struct config *config;
	struct capture *capture;
	struct flow_table *flow;
	struct processes *processes;
	struct routes *routes;
	struct metrics *metrics;
	struct traces *traces;
	struct service *self;
	struct exporter_host host;
	struct exporter *exporters[N_EXPORTERS];
	int epoll_fd, signal_fd, event_fd, peers_fd;
	uint64_t start_wall_ns, next_tick;
	bool running, attached, wants_spans;
	int status;
	uint64_t overflowed; /* recordings over the budget of series, at the last tick */
	bool overflowing;

	/* tail -- COMMAND */
	bool child_ended, hangup_ignored;
	uint64_t child_look_ns, child_until_ns; /* 0: not asked to end */

	/* a snapshot asked for by another thread */
	pthread_mutex_t mutex;
	pthread_cond_t answered;
	unsigned asked, served;
	struct snapshot *snapshot;
};

/* --- snapshots --- */

static struct snapshot *host_snapshot(void *ctx)
{
	struct daemon *d = ctx;
	struct snapshot *s = NULL;
	struct timespec until;
	uint64_t one = 1;
	unsigned mine;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 1;
	pthread_mutex_lock(&d->mutex);
	mine = ++d->asked;
	if (write(d->event_fd, &one, sizeof(one)) < 0)
		log_debug("snapshot: %s", strerror(errno));
	while ((int)(d->served - mine) < 0)
		if (pthread_cond_timedwait(&d->answered, &d->mutex, &until))
			break;
	if ((int)(d->served - mine) >= 0 && d->snapshot)
		s = snapshot_ref(d->snapshot);
	pthread_mutex_unlock(&d->mutex);
	if (!s)
		errno = ETIMEDOUT;
	return s;
}

static void serve_snapshot(struct daemon *d)
{
	const struct self_sources sources = {
		.capture = d->capture, .flow = d->flow, .metrics = d->metrics, .processes = d->processes,
		.traces = d->traces, .ops = exporter_list, .exporters = d->exporters,
		.n_exporters = d->running ? N_EXPORTERS : 0, /* they are being freed when the loop has ended */
		.start_wall_ns = d->start_wall_ns,
		.max_processes = d->config->max_processes,
	};
	struct snapshot *s, *old;
	uint64_t n, now = clock_mono_ns();
	unsigned asked;

	if (read(d->event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_debug("snapshot: %s", strerror(errno));
	pthread_mutex_lock(&d->mutex);
	asked = d->asked;
	pthread_mutex_unlock(&d->mutex);
	if (asked == d->served)
		return;
	self_update(&sources, now);
	s = metrics_snapshot(d->metrics, now);
	pthread_mutex_lock(&d->mutex);
	old = d->snapshot;
	d->snapshot = s;
	d->served = asked;
	pthread_cond_broadcast(&d->answered);
	pthread_mutex_unlock(&d->mutex);
	snapshot_unref(old);
}

static bool host_ready(void *ctx)
{
	return __atomic_load_n(&((struct daemon *)ctx)->attached, __ATOMIC_ACQUIRE);
}

/* --- calls --- */

static void on_call(void *ctx, const struct call *c, struct span *span)
{
	struct daemon *d = ctx;

	for (size_t i = 0; i < N_EXPORTERS; i++) {
		if (!d->exporters[i])
			continue;
		if (exporter_list[i]->call)
			exporter_list[i]->call(d->exporters[i], c);
		if (span && exporter_list[i]->span)
			exporter_list[i]->span(d->exporters[i], span);
	}
}

/* --- start --- */

static int setup_loop(struct daemon *d)
{
	struct sigaction hangup;
	sigset_t mask;

	pthread_mutex_init(&d->mutex, NULL);
	clock_cond_init(&d->answered);
	/* threads inherit the mask: signals come to the loop only; SIGUSR1 and 2 are taken and ignored */
	sigemptyset(&mask);
	if (d->o->child)
		sigaddset(&mask, SIGQUIT);
	d->hangup_ignored = !sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler == SIG_IGN;
	for (const int *s = (const int[]){ SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGCHLD, 0 }; *s; s++)
		sigaddset(&mask, *s);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	d->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (d->signal_fd < 0 || d->event_fd < 0 || d->epoll_fd < 0)
		return log_err_r(-errno, "no file descriptor is left: %s: raise LimitNOFILE", strerror(errno));
	return 0;
}

static int watch(struct daemon *d, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int make_rooms(struct daemon *d)
{
	const struct config *c = d->config;
	const struct metrics_options mo = {
		.duration_bounds = c->buckets.v, .n_duration_bounds = c->buckets.n,
		.size_bounds = c->size_buckets.v, .n_size_bounds = c->size_buckets.n,
		.max_series = c->max_series, .ttl_ns = c->series_ttl,
		.server_address_on_server = c->server_address_label,
	};

	d->processes = processes_new(c, "/proc");
	d->routes = routes_new(c->route_limit);
	d->metrics = metrics_new(&mo);
	if (!d->processes || !d->routes || !d->metrics)
		return log_err_r(-ENOMEM, "out of memory at start");
	if (routes_configure(d->routes, c))
		return -EINVAL;
	return 0;
}

static int make_flow(struct daemon *d)
{
	const struct flow_rooms rooms = {
		.config = d->config, .processes = d->processes, .routes = d->routes, .metrics = d->metrics,
		.traces = d->traces, .call = on_call, .ctx = d,
	};
	const struct capture_options co = {
		.config = d->config,
		.on_data = flow_on_data, .on_control = flow_on_control,
	};
	struct capture_options with_ctx = co;
	int err;

	d->flow = flow_table_new(&rooms);
	if (!d->flow)
		return -ENOMEM;
	with_ctx.ctx = d->flow;
	err = capture_load(&d->capture, &with_ctx);
	if (err)
		return err;
	flow_table_set_capture(d->flow, d->capture);
	return 0;
}

static int start_exporters(struct daemon *d)
{
	char instance[64];

	snprintf(instance, sizeof(instance), "%d", getpid());
	d->self = service_new(d->config->self_name, "", instance);
	if (!d->self)
		return -ENOMEM;
	d->host = (struct exporter_host){
		.ctx = d, .snapshot = host_snapshot, .ready = host_ready, .config = d->config,
		.version = SONDE_VERSION, .self = d->self,
	};
	for (size_t i = 0; i < N_EXPORTERS; i++) {
		int err;

		if (d->o->tail && strcmp(exporter_list[i]->name, "print"))
			continue;
		err = exporter_list[i]->start(&d->host, &d->exporters[i]);
		if (err < 0)
			return err;
		if (!err && exporter_list[i]->span)
			d->wants_spans |= !exporter_list[i]->wants_spans || exporter_list[i]->wants_spans(d->exporters[i]);
	}
	return 0;
}

static void say_where(const struct config *c)
{
	_buf_ struct buf where = BUF_INIT;

	for (size_t i = 0; i < c->web_listen.n && strcmp(c->web_listen.v[i], "none"); i++)
		buf_printf(&where, "%shttp://%s%s%s", i ? ", " : "", c->web_listen.v[i][0] == ':' ? "localhost" : "",
			   c->web_listen.v[i], c->web_path);
	if (where.len)
		log_info("metrics are at %s", where.data);
}

static void say_ready(struct daemon *d, uint64_t begin)
{
	struct buf features = BUF_INIT;

	feature_list(&features);
	log_info("capture is attached: rung %s, features %s, lockdown %s, %llu ms after start", feature_rung(), features.data,
		 lockdown_mode(), (unsigned long long)((clock_mono_ns() - begin) / NSEC_PER_MSEC));
	if (!d->o->tail)
		say_where(d->config);
	for (int f = 0; f < FEAT_MAX; f++)
		if (!feature_has(f))
			log_warn("%s is missing: %s", feature_row(f)->what, feature_row(f)->without);
	buf_done(&features);
}

static int start(struct daemon *d)
{
	uint64_t begin = clock_mono_ns();
	int err = d->o->tail ? 0 : peers_announce(&d->config->scope, d->config->allow_overlap, &d->peers_fd);

	err = err ?: setup_loop(d);
	err = err ?: make_rooms(d);
	if (err)
		return err;
	err = start_exporters(d);
	if (err)
		return err;
	if (d->wants_spans) {
		d->traces = traces_new(d->config);
		if (!d->traces)
			return -ENOMEM;
	}
	err = make_flow(d);
	err = err ?: capture_attach(d->capture);
	if (err)
		return err;
	flow_judge_all(d->flow);
	err = watch(d, capture_epoll_fd(d->capture)) ?: watch(d, d->signal_fd) ?: watch(d, d->event_fd);
	if (err)
		return err;
	__atomic_store_n(&d->attached, true, __ATOMIC_RELEASE);
	say_ready(d, begin);
	if (d->o->child_go >= 0 && (write(d->o->child_go, "", 1) != 1 || close(d->o->child_go)))
		return log_err_r(-EPIPE, "the command was ended before it began");
	return 0;
}

/* --- run --- */

static void reload(struct daemon *d)
{
	if (config_reload(d->config, d->o->argc, d->o->argv)) {
		log_warn("the configuration was not reloaded: the old settings stay");
		return;
	}
	log_setup(d->config->log_level, d->config->log_format);
	metrics_set_ttl(d->metrics, d->config->series_ttl);
	routes_configure(d->routes, d->config);
	if (d->traces)
		traces_configure(d->traces, d->config);
	processes_reconfigure(d->processes, d->config);
	capture_set_rules(d->capture, d->config);
	flow_judge_all(d->flow);
	log_info("the configuration was reloaded");
}

static void child_ended(struct daemon *d)
{
	int status;

	while (d->o->child && waitpid(-1, &status, WNOHANG) == d->o->child) {
		d->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		d->child_ended = true;
	}
}

/* The command and whatever it left running: a server that went into the background is followed. */
static void look_after_child(struct daemon *d, uint64_t now)
{
	bool first = !d->child_look_ns;

	if (!d->child_ended && d->child_until_ns && now >= d->child_until_ns) {
		d->status = 128 + SIGTERM;
		d->running = false;
	}
	if (!d->child_ended || now < d->child_look_ns)
		return;
	d->child_look_ns = now + CHILD_LOOK_NS;
	if (d->child_until_ns || !capture_in_tree(d->capture))
		d->running = false;
	else if (first)
		log_warn("the command has ended with status %d; what it started is still followed: Ctrl-C ends", d->status);
}

/* What ends sonde. A command that it follows gets it first; from a terminal it has got it already. */
static void asked_to_end(struct daemon *d, const struct signalfd_siginfo *si)
{
	bool interrupt = si->ssi_signo == SIGINT || si->ssi_signo == SIGQUIT;

	if (!d->o->child || d->child_ended) {
		d->running = false;
		return;
	}
	if (si->ssi_code != SI_KERNEL)
		kill(d->o->child, (int)si->ssi_signo);
	/* an interrupt is the command's: it may go on, as an interpreter does */
	if (!interrupt && !d->child_until_ns)
		d->child_until_ns = clock_mono_ns() + CHILD_END_NS;
}

static void on_signal(struct daemon *d)
{
	struct signalfd_siginfo si;

	while (read(d->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGTERM:
		case SIGINT:
		case SIGQUIT:
			asked_to_end(d, &si);
			break;
		case SIGHUP:
			if (!d->o->tail)
				reload(d);
			else if (!d->hangup_ignored)
				asked_to_end(d, &si);
			break;
		case SIGCHLD:
			child_ended(d);
			break;
		}
	}
}

/* Once each time that the budget begins to refuse. */
static void warn_overflow(struct daemon *d)
{
	struct metrics_stats m;

	metrics_get_stats(d->metrics, &m);
	if (m.overflowed != d->overflowed && !d->overflowing)
		log_warn("the budget of %lld series is used up: new services, routes and statuses are counted in series with "
			 "otel_metric_overflow=\"true\"; --metrics.max-series raises it", (long long)d->config->max_series);
	d->overflowing = m.overflowed != d->overflowed;
	d->overflowed = m.overflowed;
}

static void tick(struct daemon *d, uint64_t now)
{
	warn_overflow(d);
	d->next_tick = now + NSEC_PER_SEC;
	flow_tick(d->flow, now);
	metrics_expire(d->metrics, now);
	processes_expire(d->processes, now);
	for (size_t i = 0; i < N_EXPORTERS; i++)
		if (d->exporters[i] && exporter_list[i]->tick)
			exporter_list[i]->tick(d->exporters[i], now);
	if (lines_closed()) {
		d->running = false;
		if (lines_failed())
			d->status = 1;
	}
}

/*
 * The capture thread works little but must not be late: behind busy programs a ring fills in
 * milliseconds. Nice counts inside a scheduling group only; the kernel makes one of every session
 * (sched(7), "The autogroup feature"), and systemd one of every unit (CPUWeight= in ours).
 */
static void set_priority(const struct daemon *d)
{
	char text[16];
	_close_ int fd = -1;

	if (setpriority(PRIO_PROCESS, 0, CAPTURE_NICE))
		log_warn("the capture thread keeps its priority (%s): on a busy machine more may be lost", strerror(errno));
	if (d->o->tail)
		return; /* a command that it starts is in the same session */
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	snprintf(text, sizeof(text), "%d", AUTOGROUP_NICE);
	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		log_debug("autogroup: %s", strerror(errno));
}

static int loop(struct daemon *d)
{
	int wait = POLL_BUSY_MS;

	set_priority(d);
	d->running = true;
	child_ended(d); /* before its signal was asked for */
	while (d->running) {
		struct epoll_event ev[4];
		int n = epoll_wait(d->epoll_fd, ev, ARRAY_SIZE(ev), wait), got;
		uint64_t now;

		if (n < 0 && errno != EINTR)
			return log_err_r(-errno, "epoll: %s", strerror(errno));
		got = capture_consume(d->capture);
		if (got < 0)
			return log_err_r(got, "the ring buffer cannot be read: %s", strerror(-got));
		for (int i = 0; i < n; i++) {
			if (ev[i].data.fd == d->signal_fd)
				on_signal(d);
			else if (ev[i].data.fd == d->event_fd)
				serve_snapshot(d);
		}
		now = clock_mono_ns();
		flow_settle(d->flow, now);
		if (now >= d->next_tick)
			tick(d, now);
		look_after_child(d, now);
		wait = got ? POLL_BUSY_MS : MIN(wait * 2, POLL_IDLE_MS);
	}
	/* what is in the ring was seen before we were told to stop */
	capture_consume(d->capture);
	flow_settle(d->flow, UINT64_MAX);
	return 0;
}

static void *serve_while_stopping(void *ctx)
{
	struct daemon *d = ctx;

	/* the exporters' last export asks for a snapshot, and the loop has ended */
	while (__atomic_load_n(&d->attached, __ATOMIC_ACQUIRE)) {
		serve_snapshot(d);
		usleep(2000);
	}
	return NULL;
}

/* What this run saw and what it could not report, in one line. */
static void say_totals(struct daemon *d)
{
	__u64 stats[STAT_MAX];
	struct flow_stats f;
	uint64_t decoders = 0;

	if (!d->capture)
		return;
	capture_stats(d->capture, stats);
	flow_get_stats(d->flow, &f);
	for (int i = 0; i < CALL_LOSS_MAX; i++)
		decoders += f.lost[i];
	log_info("stopped: %llu calls reported; messages lost: %llu ring full, %llu in gaps, %llu without a place in the table; %llu records lost",
		 (unsigned long long)f.calls, (unsigned long long)stats[STAT_LOST_RING], (unsigned long long)decoders,
		 (unsigned long long)f.lost_table, (unsigned long long)stats[STAT_LOST_RECORDS]);
}

static void stop(struct daemon *d)
{
	uint64_t deadline = clock_mono_ns() + STOP_NS - (d->child_until_ns ? CHILD_END_NS : 0);
	pthread_t server;
	bool serving = d->attached && !pthread_create(&server, NULL, serve_while_stopping, d);

	for (size_t i = 0; i < N_EXPORTERS; i++) {
		struct exporter *e = TAKE_PTR(d->exporters[i]);

		if (e)
			exporter_list[i]->stop(e, deadline);
	}
	__atomic_store_n(&d->attached, false, __ATOMIC_RELEASE);
	if (serving)
		pthread_join(server, NULL);
	say_totals(d);
	flow_table_free(d->flow);
	capture_free(d->capture);
	traces_free(d->traces);
	snapshot_unref(d->snapshot);
	if (d->metrics)
		metrics_free(d->metrics);
	if (d->routes)
		routes_free(d->routes);
	if (d->processes)
		processes_free(d->processes);
	service_unref(d->self);
	closep(&d->signal_fd);
	closep(&d->event_fd);
	closep(&d->epoll_fd);
	closep(&d->peers_fd);
}

int daemon_run(const struct daemon_options *o)
{
	struct daemon d = {
		.o = o, .config = o->config, .epoll_fd = -1, .signal_fd = -1, .event_fd = -1, .peers_fd = -1,
		.start_wall_ns = clock_wall_ns(),
	};
	int err = start(&d);

	if (!err)
		err = loop(&d);
	stop(&d);
	return err ? 1 : d.status;
}
