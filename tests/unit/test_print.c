// SPDX-License-Identifier: Apache-2.0
/* Standard output is a pipe here, and its reader is quick, slow, gone or asleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "exporters/exporter.h"
#include "exporters/print.h"
#include "exporters/wire/lines.h"
#include "user/base/buf.h"
#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/proto/proto.h"

extern const struct exporter_ops exporter_print;

static void toy_summary(const struct call *c, struct str *ret_method, struct str *ret_target, int64_t *ret_status)
{
	*ret_method = STR("GET");
	*ret_target = c->path;
	*ret_status = 200;
}

static const struct proto toy = { .name = "toy", .summary = toy_summary };
const struct proto *const proto_table[PROTO_MAX] = { [1] = &toy };

struct world {
	struct config config;
	struct exporter_host host;
	struct exporter *e;
	struct service *shop;
	int old_out, reader;
};

/* Standard output is a pipe until restore(). */
static void redirect(struct world *w)
{
	int pipes[2];

	fflush(stdout);
	w->old_out = dup(STDOUT_FILENO);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	dup2(pipes[1], STDOUT_FILENO);
	close(pipes[1]);
	w->reader = pipes[0];
}

static void restore(struct world *w)
{
	if (w->old_out < 0)
		return;
	dup2(w->old_out, STDOUT_FILENO);
	close(w->old_out);
	w->old_out = -1;
}

static void stop(struct world *w, uint64_t within_ns)
{
	exporter_print.stop(TAKE_PTR(w->e), clock_mono_ns() + within_ns);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct call_filter all;

	call_filter_init(&all);
	exporter_print_set_filter(&all);
	log_setup(LOG_ERROR, LOG_LOGFMT);
	w->config.print = PRINT_TEXT;
	w->host.config = &w->config;
	w->shop = service_new("shop", "", "1");
	w->reader = -1;
	redirect(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	restore(w);
	closep(&w->reader);
	if (w->e)
		stop(w, 0);
	service_unref(w->shop);
	free(w);
	return 0;
}

static void call_path(struct world *w, const char *path)
{
	struct call c = {
		.proto = (enum sonde_proto)1,
		.start_ns = 1,
		.end_ns = clock_mono_ns(),
		.wait_ns = WAIT_UNKNOWN,
		.path = str_of(path),
		.service = w->shop,
		.pid = 7,
	};

	exporter_print.call(w->e, &c);
}

static struct exporter_stats stats_of(struct world *w)
{
	struct exporter_stats s[EXPORTER_SIGNALS_MAX];

	assert_int_equal(exporter_print.stats(w->e, s), 1);
	assert_string_equal(s[0].signal, "lines");
	return s[0];
}

/* The next bytes, waiting for them. */
static size_t hear(struct world *w, char *dst, size_t size)
{
	struct pollfd p = { .fd = w->reader, .events = POLLIN };
	ssize_t n;

	assert_int_equal(poll(&p, 1, 10000), 1);
	n = read(w->reader, dst, size - 1);
	assert_true(n >= 0);
	dst[n] = 0;
	return (size_t)n;
}

/* What is left, behind stop() and restore(). */
static struct buf hear_all(struct world *w)
{
	struct buf b = BUF_INIT;
	char part[65536];
	ssize_t n;

	while ((n = read(w->reader, part, sizeof(part))) > 0)
		buf_add(&b, part, (size_t)n);
	return b;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void nothing_to_do(void **state)
{
	struct world *w = *state;

	w->config.print = PRINT_NONE;
	assert_int_equal(exporter_print.start(&w->host, &w->e), 1);
	assert_null(w->e);
}

static void lines(void **state)
{
	struct world *w = *state;
	char text[4096];

	assert_int_equal(exporter_print.start(&w->host, &w->e), 0);
	call_path(w, "/first");
	hear(w, text, sizeof(text));
	/* no colours in a pipe */
	assert_null(strchr(text, '\033'));
	assert_non_null(strstr(text, "shop[7]"));
	assert_non_null(strstr(text, "<- GET /first "));
	assert_int_equal(text[strlen(text) - 1], '\n');
	call_path(w, "/\033[2J");
	hear(w, text, sizeof(text));
	assert_non_null(strstr(text, "/\\x1b[2J "));
	stop(w, NSEC_PER_SEC);
}

static void json_lines(void **state)
{
	struct world *w = *state;
	char text[4096];

	w->config.print = PRINT_JSON;
	assert_int_equal(exporter_print.start(&w->host, &w->e), 0);
	call_path(w, "/x");
	hear(w, text, sizeof(text));
	assert_int_equal(strncmp(text, "{\"time\":\"20", 11), 0);
	assert_string_equal(text + strlen(text) - 3, "}}\n");
}

static void filtered(void **state)
{
	struct world *w = *state;
	struct call_filter f;
	struct buf b;

	call_filter_init(&f);
	call_filter_set(&f, "path", "/yes*");
	exporter_print_set_filter(&f);
	assert_int_equal(exporter_print.start(&w->host, &w->e), 0);
	call_path(w, "/no");
	call_path(w, "/yes");
	stop(w, NSEC_PER_SEC);
	restore(w);
	b = hear_all(w);
	assert_int_equal(count(b.data, "\n"), 1);
	assert_int_equal(count(b.data, "/yes"), 1);
	buf_done(&b);
}

/* Stopping prints what is there. */
static void all_is_printed(void **state)
{
	struct world *w = *state;
	struct buf b;
	char path[32];

	assert_int_equal(exporter_print.start(&w->host, &w->e), 0);
	fcntl(w->reader, F_SETPIPE_SZ, 1 << 20);
	for (int i = 0; i < 1000; i++) {
		snprintf(path, sizeof(path), "/call-%d.", i);
		call_path(w, path);
	}
	stop(w, 10 * NSEC_PER_SEC);
	restore(w);
	b = hear_all(w);
	assert_int_equal(count(b.data, "\n"), 1000);
	assert_non_null(strstr(b.data, "/call-0."));
	assert_non_null(strstr(b.data, "/call-999."));
	buf_done(&b);
}

static void *read_lines(void *arg)
{
	struct world *w = arg;
	struct buf *b = calloc(1, sizeof(*b));

	*b = hear_all(w);
	return b;
}

/* Nobody reads, then somebody does: printed and dropped are all there is, and the screen says so. */
static void slow_reader(void **state)
{
	struct world *w = *state;
	struct exporter_stats s;
	pthread_t t;
	struct buf *b;
	uint64_t made = 0, begin;
	char said[128];
	void *ret;

	assert_int_equal(exporter_print.start(&w->host, &w->e), 0);
	while (stats_of(w).dropped < 123 && made < 1000000) {
		call_path(w, "/flood");
		made++;
	}
	s = stats_of(w);
	assert_int_equal(s.dropped, 123);
	begin = clock_mono_ns();
	assert_int_equal(pthread_create(&t, NULL, read_lines, w), 0);
	/* it recovers without another call */
	while (stats_of(w).queue_len && clock_mono_ns() - begin < 10 * NSEC_PER_SEC)
		usleep(1000);
	call_path(w, "/last");
	made++;
	stop(w, 10 * NSEC_PER_SEC);
	restore(w);
	pthread_join(t, &ret);
	b = ret;
	snprintf(said, sizeof(said), "… 123 lines dropped: the terminal is too slow\n");
	assert_int_equal(count(b->data, said), 1);
	assert_int_equal(count(b->data, "/flood") + count(b->data, "/last") + 123, made);
	assert_true(strstr(b->data, said) < strstr(b->data, "/last"));
	/* at its place: behind all lines that had room */
	assert_null(strstr(strstr(b->data, said), "/flood"));
	buf_done(b);
	free(b);
}

/* The lines are counted as failed, nothing is killed, and the host learns that it may end. */
static void reader_gone(void **state)
{
	struct world *w = *state;
	uint64_t begin = clock_mono_ns();

	signal(SIGPIPE, SIG_DFL);
	assert_int_equal(exporter_print.start(&w->host, &w->e), 0);
	assert_false(lines_closed());
	close(w->reader);
	w->reader = -1;
	call_path(w, "/x");
	while (!lines_closed() && clock_mono_ns() - begin < 10 * NSEC_PER_SEC)
		usleep(1000);
	assert_true(lines_closed());
	while (!stats_of(w).failed && clock_mono_ns() - begin < 10 * NSEC_PER_SEC)
		usleep(1000);
	assert_int_equal(stats_of(w).failed, 1);
	assert_int_equal(stats_of(w).sent, 0);
	call_path(w, "/y");
	stop(w, NSEC_PER_SEC);
}

/* A terminal on hold (Ctrl-S) does not keep the daemon from ending. */
static void reader_asleep(void **state)
{
	struct world *w = *state;
	uint64_t begin;

	assert_int_equal(exporter_print.start(&w->host, &w->e), 0);
	for (int i = 0; i < 5000; i++)
		call_path(w, "/more-than-a-pipe-holds");
	begin = clock_mono_ns();
	stop(w, 50 * NSEC_PER_MSEC);
	assert_true(clock_mono_ns() - begin < 5 * NSEC_PER_SEC);
	assert_false(lines_closed());
}

#define with(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with(nothing_to_do), with(lines),	with(json_lines),  with(filtered),
		with(all_is_printed), with(slow_reader), with(reader_gone), with(reader_asleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
