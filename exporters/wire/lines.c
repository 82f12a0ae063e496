// SPDX-License-Identifier: Apache-2.0
/*
 * A slow terminal never holds capture up: what adds lines holds a lock for as long as it formats,
 * the writer swaps the buffers under it and writes outside of it. Standard output itself has
 * a lock of its own, so that lines of several writers do not mix.
 */
#include "exporters/wire/lines.h"

#include <pthread.h>
#include <signal.h>

#include "user/base/clock.h"
#include "user/base/log.h"

#define BUFFER_MAX ((size_t)2 << 20)
#define FLUSH_US   20000 /* between two writes; the first line after a pause leaves at once */

struct lines {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct buf lines; /* under lock, like all below */
	size_t before;	  /* lines.len when the line began */
	uint64_t held;	  /* lines in it */
	uint64_t unsaid;  /* dropped, and nobody was told yet */
	uint64_t sent, failed, dropped;
	bool stopping;
	lines_dropped_fn on_dropped; /* fixed */
	struct buf out;		     /* the writer's */
};

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static bool closed, failed; /* atomic */

bool lines_closed(void)
{
	return __atomic_load_n(&closed, __ATOMIC_RELAXED);
}

bool lines_failed(void)
{
	return __atomic_load_n(&failed, __ATOMIC_RELAXED);
}

void lines_reset(void)
{
	__atomic_store_n(&failed, false, __ATOMIC_RELAXED);
	__atomic_store_n(&closed, false, __ATOMIC_RELAXED);
}

static void unlock_output(void *arg)
{
	pthread_mutex_unlock(&output);
}

static bool write_all(const char *p, size_t n)
{
	while (n && !lines_closed()) {
		ssize_t w = write(STDOUT_FILENO, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0) {
			/* a reader that has seen enough (`sonde tail | head`) is no error */
			if (errno != EPIPE) {
				log_err("lines cannot be printed to standard output: %s", strerror(errno));
				__atomic_store_n(&failed, true, __ATOMIC_RELAXED);
			}
			__atomic_store_n(&closed, true, __ATOMIC_RELAXED);
			break;
		}
		p += w;
		n -= (size_t)w;
	}
	return !n;
}

bool lines_write(const char *p, size_t n)
{
	bool ok;

	pthread_mutex_lock(&output);
	/* write() is where a thread that hangs is cancelled */
	pthread_cleanup_push(unlock_output, NULL);
	ok = write_all(p, n);
	pthread_cleanup_pop(1);
	return ok;
}

static void say_dropped(struct lines *l)
{
	if (l->unsaid)
		l->on_dropped(&l->lines, l->unsaid);
	l->unsaid = 0;
}

/* What was dropped was dropped behind the lines that are taken out here. */
static uint64_t take_lines(struct lines *l)
{
	struct buf empty = l->out;
	uint64_t n = l->held;

	l->out = l->lines;
	l->lines = empty;
	buf_clear(&l->lines);
	l->lines.max = 2 * BUFFER_MAX;
	l->held = 0;
	say_dropped(l);
	return n;
}

static void *write_lines(void *arg)
{
	struct lines *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->stopping || l->lines.len) {
		uint64_t n;
		bool pause, ok;

		if (!l->lines.len) {
			pthread_cond_wait(&l->more, &l->lock);
			continue;
		}
		n = take_lines(l);
		pause = !l->stopping;
		pthread_mutex_unlock(&l->lock);
		ok = lines_write(l->out.data, l->out.len);
		if (pause)
			usleep(FLUSH_US);
		pthread_mutex_lock(&l->lock);
		*(ok ? &l->sent : &l->failed) += n;
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

static int start_writer(struct lines *l)
{
	sigset_t all, old;
	int err;

	/* SIGPIPE would end the process before write() can say EPIPE */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&l->thread, NULL, write_lines, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

static void lines_free(struct lines *l)
{
	buf_done(&l->lines);
	buf_done(&l->out);
	pthread_cond_destroy(&l->more);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int lines_new(struct lines **ret, lines_dropped_fn on_dropped)
{
	struct lines *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->on_dropped = on_dropped;
	l->lines.max = 2 * BUFFER_MAX;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->more, NULL);
	err = start_writer(l);
	if (err) {
		lines_free(l);
		return log_err_r(err, "no thread to print lines: %s", strerror(-err));
	}
	*ret = l;
	return 0;
}

struct buf *lines_begin(struct lines *l)
{
	pthread_mutex_lock(&l->lock);
	l->before = l->lines.len;
	if (l->before <= BUFFER_MAX)
		return &l->lines;
	l->dropped++;
	l->unsaid++;
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

void lines_end(struct lines *l)
{
	if (l->lines.err) {
		l->lines.err = 0;
		l->lines.len = l->before;
		l->dropped++;
		l->unsaid++;
	} else {
		l->held++;
		pthread_cond_signal(&l->more);
	}
	pthread_mutex_unlock(&l->lock);
}

void lines_get_stats(struct lines *l, struct lines_stats *ret)
{
	pthread_mutex_lock(&l->lock);
	*ret = (struct lines_stats){.sent = l->sent, .failed = l->failed, .dropped = l->dropped, .held = l->held};
	pthread_mutex_unlock(&l->lock);
}

void lines_stop(struct lines *l, uint64_t deadline_ns)
{
	struct timespec until = {(time_t)(deadline_ns / NSEC_PER_SEC), (long)(deadline_ns % NSEC_PER_SEC)};

	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	say_dropped(l);
	pthread_cond_signal(&l->more);
	pthread_mutex_unlock(&l->lock);
	if (pthread_clockjoin_np(l->thread, NULL, CLOCK_MONOTONIC, &until)) {
		/* standard output takes nothing: the thread hangs in write(), which is a cancellation point */
		pthread_cancel(l->thread);
		pthread_join(l->thread, NULL);
	}
	lines_free(l);
}
