// SPDX-License-Identifier: Apache-2.0
/*
 * Lines on standard output, one per call. The capture thread formats into one of two
 * buffers, a writer thread swaps them and writes: a slow terminal never holds capture up. A full
 * buffer drops lines, counts them and says so where they would have stood.
 */
#include "exporters/print.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "exporters/exporter.h"
#include "user/base/clock.h"
#include "user/base/log.h"

#define BUFFER_MAX ((size_t)2 << 20)
#define FLUSH_US   20000 /* between two writes; the first line after a pause leaves at once */

struct exporter {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct buf lines; /* under lock, like all below */
	uint64_t held;	  /* lines in it */
	uint64_t unsaid;  /* dropped, and nobody was told yet */
	uint64_t sent, failed, dropped;
	bool stopping;
	bool json, colour; /* fixed */
	struct buf out;	   /* the writer's */
};

static struct call_filter filter;
static bool filter_set;
static bool closed; /* atomic */

void exporter_print_set_filter(const struct call_filter *f)
{
	filter = *f;
	filter_set = true;
}

bool exporter_print_closed(void)
{
	return __atomic_load_n(&closed, __ATOMIC_RELAXED);
}

static bool write_all(const char *p, size_t n)
{
	while (n && !exporter_print_closed()) {
		ssize_t w = write(STDOUT_FILENO, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0) {
			/* a reader that has seen enough (`sonde tail | head`) is no error */
			if (errno != EPIPE)
				log_err("lines cannot be printed to standard output: %s", strerror(errno));
			__atomic_store_n(&closed, true, __ATOMIC_RELAXED);
			break;
		}
		p += w;
		n -= (size_t)w;
	}
	return !n;
}

/* What was dropped was dropped behind the lines that were just taken out. */
static void say_dropped(struct exporter *e)
{
	if (e->unsaid && e->json)
		log_warn_limited("%llu lines dropped: the reader of standard output is too slow",
				 (unsigned long long)e->unsaid);
	else if (e->unsaid)
		buf_printf(&e->lines, "… %llu lines dropped: the terminal is too slow\n",
			   (unsigned long long)e->unsaid);
	e->unsaid = 0;
}

static uint64_t take_lines(struct exporter *e)
{
	struct buf empty = e->out;
	uint64_t n = e->held;

	e->out = e->lines;
	e->lines = empty;
	buf_clear(&e->lines);
	e->lines.max = 2 * BUFFER_MAX;
	e->held = 0;
	say_dropped(e);
	return n;
}

static void *print_lines(void *arg)
{
	struct exporter *e = arg;

	pthread_mutex_lock(&e->lock);
	while (!e->stopping || e->lines.len) {
		uint64_t n;
		bool pause, ok;

		if (!e->lines.len) {
			pthread_cond_wait(&e->more, &e->lock);
			continue;
		}
		n = take_lines(e);
		pause = !e->stopping;
		pthread_mutex_unlock(&e->lock);
		ok = write_all(e->out.data, e->out.len);
		if (pause)
			usleep(FLUSH_US);
		pthread_mutex_lock(&e->lock);
		*(ok ? &e->sent : &e->failed) += n;
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

static bool wants_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb");
}

static int start_writer(struct exporter *e)
{
	sigset_t all, old;
	int err;

	/* SIGPIPE would end the process before write() can say EPIPE */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&e->thread, NULL, print_lines, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

static void print_free(struct exporter *e)
{
	buf_done(&e->lines);
	buf_done(&e->out);
	pthread_cond_destroy(&e->more);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

static int print_start(const struct exporter_host *host, struct exporter **ret)
{
	struct exporter *e;
	int err;

	if (host->config->print == PRINT_NONE)
		return 1;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->json = host->config->print == PRINT_JSON;
	e->colour = !e->json && wants_colour();
	e->lines.max = 2 * BUFFER_MAX;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->more, NULL);
	__atomic_store_n(&closed, false, __ATOMIC_RELAXED);
	err = start_writer(e);
	if (err) {
		print_free(e);
		return log_err_r(err, "no thread to print lines: %s", strerror(-err));
	}
	*ret = e;
	return 0;
}

/* Under lock. False: there is no room, and nothing was added. */
static bool add_line(struct exporter *e, const struct call *c)
{
	uint64_t wall = c->end_ns ? clock_mono_to_wall(c->end_ns) : clock_wall_ns();
	size_t before = e->lines.len;

	if (before > BUFFER_MAX)
		return false;
	if (e->json)
		call_line_json(&e->lines, c, wall);
	else
		call_line_text(&e->lines, c, wall, e->colour);
	if (!e->lines.err)
		return true;
	e->lines.err = 0;
	e->lines.len = before;
	return false;
}

static void print_call(struct exporter *e, const struct call *c)
{
	if (exporter_print_closed() || (filter_set && !call_filter_match(&filter, c)))
		return;
	pthread_mutex_lock(&e->lock);
	if (add_line(e, c)) {
		e->held++;
		pthread_cond_signal(&e->more);
	} else {
		e->dropped++;
		e->unsaid++;
	}
	pthread_mutex_unlock(&e->lock);
}

static size_t print_stats(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX])
{
	pthread_mutex_lock(&e->lock);
	out[0] = (struct exporter_stats){
		.signal = "lines",
		.sent = e->sent,
		.failed = e->failed,
		.dropped = e->dropped,
		.queue_len = e->held,
	};
	pthread_mutex_unlock(&e->lock);
	return 1;
}

static void print_stop(struct exporter *e, uint64_t deadline_ns)
{
	struct timespec until = {(time_t)(deadline_ns / NSEC_PER_SEC), (long)(deadline_ns % NSEC_PER_SEC)};

	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	say_dropped(e);
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->lock);
	if (pthread_clockjoin_np(e->thread, NULL, CLOCK_MONOTONIC, &until)) {
		/* standard output takes nothing: the thread hangs in write(), which is a cancellation point */
		pthread_cancel(e->thread);
		pthread_join(e->thread, NULL);
	}
	print_free(e);
}

extern const struct exporter_ops exporter_print;
const struct exporter_ops exporter_print = {
	.name = "print",
	.start = print_start,
	.call = print_call,
	.stats = print_stats,
	.stop = print_stop,
};
