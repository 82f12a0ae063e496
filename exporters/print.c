/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines on standard output, one per call. The capture thread formats into one of two
 * buffers, a writer thread swaps them and writes: a slow terminal never holds capture up. A full
 * buffer drops lines and says how many when there is room again.
 */
#include "exporters/print.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "exporters/exporter.h"
#include "user/base/clock.h"
#include "user/base/log.h"

#define BUFFER_MAX (2 << 20) /* there are two */
#define FLUSH_US 20000

struct exporter {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t more;
	struct buf lines; /* under mutex */
	uint64_t held;	  /* lines in it */
	uint64_t dropped_now;
	uint64_t sent, dropped;
	bool json, colour, stopping;
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
	while (n) {
		ssize_t w = write(STDOUT_FILENO, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			if (errno != EPIPE)
				log_err("standard output: %s", strerror(errno));
			__atomic_store_n(&closed, true, __ATOMIC_RELAXED);
			return false;
		}
		p += w;
		n -= w;
	}
	return true;
}

static void *writer(void *arg)
{
	struct exporter *e = arg;
	struct buf out = BUF_INIT;

	pthread_mutex_lock(&e->mutex);
	while (!e->stopping || e->lines.len) {
		struct buf swap = out;
		uint64_t n = e->held;

		if (!e->lines.len) {
			pthread_cond_wait(&e->more, &e->mutex);
			continue;
		}
		out = e->lines;
		e->lines = swap;
		buf_clear(&e->lines);
		e->held = 0;
		pthread_mutex_unlock(&e->mutex);
		if (!exporter_print_closed())
			write_all(out.data, out.len);
		if (out.len < BUFFER_MAX / 8 && !e->stopping)
			usleep(FLUSH_US);
		pthread_mutex_lock(&e->mutex);
		e->sent += n;
	}
	pthread_mutex_unlock(&e->mutex);
	buf_done(&out);
	return NULL;
}

static int print_start(const struct exporter_host *host, struct exporter **ret)
{
	const char *term = getenv("TERM");
	struct exporter *e;
	int err;

	if (host->config->print == PRINT_NONE)
		return 1;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->json = host->config->print == PRINT_JSON;
	e->colour = !e->json && isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && term && strcmp(term, "dumb");
	pthread_mutex_init(&e->mutex, NULL);
	pthread_cond_init(&e->more, NULL);
	err = pthread_create(&e->thread, NULL, writer, e);
	if (err) {
		free(e);
		return log_err_r(-err, "no thread for the lines: %s", strerror(err));
	}
	*ret = e;
	return 0;
}

static void say_dropped(struct exporter *e)
{
	if (!e->json)
		buf_printf(&e->lines, "… %llu lines were dropped: the reader is too slow\n", (unsigned long long)e->dropped_now);
	e->dropped_now = 0;
}

static void print_call(struct exporter *e, const struct call *c)
{
	uint64_t wall = c->end_ns ? clock_mono_to_wall(c->end_ns) : clock_wall_ns();

	if (exporter_print_closed() || (filter_set && !call_filter_match(&filter, c)))
		return;
	pthread_mutex_lock(&e->mutex);
	if (e->lines.len > BUFFER_MAX) {
		e->dropped++;
		e->dropped_now++;
	} else {
		if (e->dropped_now && e->lines.len < BUFFER_MAX / 2)
			say_dropped(e);
		if (e->json)
			call_line_json(&e->lines, c, wall);
		else
			call_line_text(&e->lines, c, wall, e->colour);
		e->held++;
		pthread_cond_signal(&e->more);
	}
	pthread_mutex_unlock(&e->mutex);
}

static size_t print_stats(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX])
{
	pthread_mutex_lock(&e->mutex);
	out[0] = (struct exporter_stats){ .signal = "lines", .sent = e->sent, .dropped = e->dropped };
	pthread_mutex_unlock(&e->mutex);
	return 1;
}

static void print_stop(struct exporter *e, uint64_t deadline_ns)
{
	struct timespec until = { deadline_ns / NSEC_PER_SEC, deadline_ns % NSEC_PER_SEC };
	int late;

	pthread_mutex_lock(&e->mutex);
	e->stopping = true;
	if (e->dropped_now)
		say_dropped(e);
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->mutex);
	late = pthread_clockjoin_np(e->thread, NULL, CLOCK_MONOTONIC, &until);
	if (late)
		return; /* its reader hangs: the process ends without it */
	buf_done(&e->lines);
	free(e);
}

extern const struct exporter_ops exporter_print;
const struct exporter_ops exporter_print = {
	.name = "print",
	.start = print_start,
	.call = print_call,
	.stats = print_stats,
	.stop = print_stop,
};
