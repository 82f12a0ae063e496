// SPDX-License-Identifier: Apache-2.0
/* The server against good, many, slow and hostile clients, on loopback; with its time-outs shortened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>

#define SILENT_SECONDS 1u
#define REQUEST_SECONDS 2u
#include "exporters/prometheus.c"

#define BIG_POINTS 40000

struct world {
	struct exporter_host host;
	struct config config;
	char *listen[3];
	struct exporter *e;
	uint16_t port;
	/* what the host does when it is asked for a snapshot */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool held, none, ready;
	size_t asked;
	size_t n_points;
};

static const struct instrument i_counter = { "test.events", "", "Events.", INST_COUNTER };

static struct snapshot *make_snapshot(size_t n)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	struct family *f;
	char text[32];

	atomic_init(&s->refs, 1);
	s->arena = calloc(1, sizeof(*f) + n * sizeof(struct point));
	s->families = f = s->arena;
	s->n_families = 1;
	*f = (struct family){ .inst = &i_counter, .points = (struct point *)(f + 1), .n_points = n };
	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%zu", i);
		f->points[i].labels = labels_new(&(struct label){ "number", text }, 1);
		f->points[i].value = (double)i;
	}
	return s;
}

static struct snapshot *host_snapshot(void *ctx)
{
	struct world *w = ctx;
	struct snapshot *s;

	pthread_mutex_lock(&w->lock);
	w->asked++;
	pthread_cond_broadcast(&w->cond);
	while (w->held)
		pthread_cond_wait(&w->cond, &w->lock);
	s = w->none ? NULL : make_snapshot(w->n_points);
	pthread_mutex_unlock(&w->lock);
	return s;
}

static bool host_ready(void *ctx)
{
	return ((struct world *)ctx)->ready;
}

static void hold(struct world *w, bool on)
{
	pthread_mutex_lock(&w->lock);
	w->held = on;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static int start(struct world *w)
{
	int ret = exporter_prometheus.start(&w->host, &w->e);

	if (!ret)
		w->port = MHD_get_daemon_info(w->e->daemons[0], MHD_DAEMON_INFO_BIND_PORT)->port;
	return ret;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->listen[0] = "127.0.0.1:0";
	w->config.web_listen = (struct str_list){ w->listen, 1 };
	w->config.web_path = "/metrics";
	w->config.web_max_requests = 8;
	w->host = (struct exporter_host){ w, host_snapshot, host_ready, &w->config, "1.2.3<", NULL };
	w->n_points = 3;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	*state = w;
	return 0;
}

static int setup_started(void **state)
{
	setup(state);
	return start(*state);
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->e)
		exporter_prometheus.stop(w->e, 0);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->cond);
	free(w);
	return 0;
}

static struct exporter_stats stats_of(struct world *w)
{
	struct exporter_stats s[EXPORTER_SIGNALS_MAX];

	assert_int_equal(exporter_prometheus.stats(w->e, s), 1);
	assert_string_equal(s[0].signal, "scrapes");
	return s[0];
}

/* Counted when libmicrohttpd has let go of the request, a moment behind its last byte. */
static void expect_stats(struct world *w, uint64_t sent, uint64_t failed, uint64_t dropped)
{
	for (uint64_t until = clock_mono_ns() + 20 * NSEC_PER_SEC; clock_mono_ns() < until; usleep(1000)) {
		int64_t open;

		pthread_mutex_lock(&w->e->lock);
		open = w->e->open;
		pthread_mutex_unlock(&w->e->lock);
		if (!open)
			break;
	}
	assert_int_equal(stats_of(w).sent, sent);
	assert_int_equal(stats_of(w).failed, failed);
	assert_int_equal(stats_of(w).dropped, dropped);
}

/* --- a client --- */

static int dial4(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static int dial6(uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything until the end; also when the end is a reset. Closes. */
static struct buf hear(int fd)
{
	struct buf b = BUF_INIT;
	char part[65536];
	ssize_t n;

	while ((n = recv(fd, part, sizeof(part), 0)) > 0)
		buf_add(&b, part, (size_t)n);
	buf_addc(&b, 0);
	b.len--;
	close(fd);
	return b;
}

static struct buf ask(struct world *w, const char *method, const char *path, const char *headers)
{
	char text[1024];
	int fd = dial4(w->port);

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", method, path, headers);
	say(fd, text);
	return hear(fd);
}

static const char *body_of(const struct buf *b)
{
	const char *at = strstr(b->data, "\r\n\r\n");

	assert_non_null(at);
	return at + 4;
}

static size_t body_len(const struct buf *b)
{
	return b->len - (size_t)(body_of(b) - b->data);
}

static void expect(struct world *w, const char *method, const char *path, const char *headers, int status, const char *want)
{
	struct buf b = ask(w, method, path, headers);
	char line[32];

	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	if (strncmp(b.data, line, strlen(line)) || !strstr(b.data, want))
		fail_msg("%s %s: wanted %d and \"%s\", got: %s", method, path, status, want, b.data);
	buf_done(&b);
}

#define TEXT "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
#define METRICS                                                                                              \
	"# HELP test_events_total Events.\n# TYPE test_events_total counter\ntest_events_total{number=\"0\"} 0\n" \
	"test_events_total{number=\"1\"} 1\ntest_events_total{number=\"2\"} 2\n"

/* --- tests --- */

static void pages(void **state)
{
	struct world *w = *state;

	expect(w, "GET", "/metrics", "", 200, "\r\n\r\n" METRICS);
	expect(w, "GET", "/metrics?x=1", "", 200, TEXT);
	expect(w, "GET", "/healthz", "", 200, "\r\n\r\nok\n");
	expect(w, "GET", "/readyz", "", 503, "not attached");
	w->ready = true;
	expect(w, "GET", "/readyz", "", 200, "\r\n\r\nok\n");
	expect(w, "GET", "/", "", 200, "<a href=\"/metrics\">");
	expect(w, "GET", "/", "", 200, "<h1>sonde 1.2.3&#60;</h1>");
	expect(w, "GET", "/metrics/", "", 404, "not found\n");
	expect(w, "GET", "/nothing", "", 404, "not found\n");
	expect(w, "POST", "/metrics", "Content-Length: 0\r\n", 405, "\r\nAllow: GET, HEAD\r\n");
	expect(w, "DELETE", "/", "", 405, "GET or HEAD\n");
	expect(w, "POST", "/metrics", "Content-Length: 1000000000\r\n", 405, "\r\nAllow: GET, HEAD\r\n");
	expect_stats(w, 2, 0, 0);
}

static void head(void **state)
{
	struct world *w = *state;
	struct buf b = ask(w, "HEAD", "/metrics", "");
	char want[64];

	snprintf(want, sizeof(want), "\r\nContent-Length: %zu\r\n", strlen(METRICS));
	assert_non_null(strstr(b.data, want));
	assert_non_null(strstr(b.data, TEXT));
	assert_int_equal(body_len(&b), 0);
	buf_done(&b);
	b = ask(w, "HEAD", "/healthz", "");
	assert_int_equal(body_len(&b), 0);
	buf_done(&b);
	expect_stats(w, 1, 0, 0);
}

static void negotiation(void **state)
{
	struct world *w = *state;

	expect(w, "GET", "/metrics", "Accept: application/openmetrics-text\r\n", 200,
	       "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n");
	expect(w, "GET", "/metrics", "Accept: application/openmetrics-text\r\n", 200, "{number=\"2\"} 2\n# EOF\n");
	expect(w, "GET", "/metrics", "Accept: application/openmetrics-text;q=0.1, text/plain\r\n", 200, TEXT);
	expect(w, "GET", "/metrics", "Accept-Encoding: gzip;q=0\r\n", 200, "\r\n\r\n" METRICS);
}

static void gzip_round_trip(void **state)
{
	struct world *w = *state;
	z_stream z = { 0 };
	char plain[4096];
	struct buf b;

	b = ask(w, "GET", "/metrics", "Accept-Encoding: deflate, gzip\r\n");
	assert_non_null(strstr(b.data, "\r\nContent-Encoding: gzip\r\n"));
	z.next_in = (Bytef *)body_of(&b);
	z.avail_in = (uInt)body_len(&b);
	z.next_out = (Bytef *)plain;
	z.avail_out = sizeof(plain);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	assert_int_equal(z.total_out, strlen(METRICS));
	assert_memory_equal(plain, METRICS, strlen(METRICS));
	inflateEnd(&z);
	buf_done(&b);
}

static void no_snapshot(void **state)
{
	struct world *w = *state;

	w->none = true;
	expect(w, "GET", "/metrics", "Accept: application/openmetrics-text\r\nAccept-Encoding: gzip\r\n", 503, "\r\n\r\nno snapshot");
	expect_stats(w, 0, 1, 0);
}

static void keep_alive(void **state)
{
	struct world *w = *state;
	int fd = dial4(w->port);
	struct buf b;

	say(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
		"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	b = hear(fd);
	assert_non_null(strstr(b.data, METRICS "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(b.data, "ok\nHTTP/1.1 200 OK\r\n"));
	assert_string_equal(b.data + b.len - strlen(METRICS), METRICS);
	buf_done(&b);
	expect_stats(w, 2, 0, 0);
}

static void *scrape_often(void *arg)
{
	struct world *w = arg;
	uintptr_t good = 0;

	for (int i = 0; i < 25; i++) {
		struct buf b = ask(w, "GET", "/metrics", "");

		good += !strncmp(b.data, "HTTP/1.1 200 ", 13) && !strcmp(body_of(&b), METRICS);
		buf_done(&b);
	}
	return (void *)good;
}

static void concurrent(void **state)
{
	struct world *w = *state;
	pthread_t t[8];
	uintptr_t good = 0;

	/* a request counts a moment longer than its client sees: room for that */
	w->config.web_max_requests = 2 * ARRAY_SIZE(t);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, scrape_often, w), 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		void *ret;

		pthread_join(t[i], &ret);
		good += (uintptr_t)ret;
	}
	assert_int_equal(good, 25 * ARRAY_SIZE(t));
	expect_stats(w, 25 * ARRAY_SIZE(t), 0, 0);
}

static void wait_open(struct world *w, int64_t want)
{
	int64_t open = -1;

	for (uint64_t until = clock_mono_ns() + 10 * NSEC_PER_SEC; open != want && clock_mono_ns() < until; usleep(1000)) {
		pthread_mutex_lock(&w->e->lock);
		open = w->e->open;
		pthread_mutex_unlock(&w->e->lock);
	}
	assert_int_equal(open, want);
}

#define SCRAPE "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void too_many(void **state)
{
	struct world *w = *state;
	struct buf b[2];
	int fd[2];

	w->config.web_max_requests = 2;
	hold(w, true);
	for (int i = 0; i < 2; i++) {
		fd[i] = dial4(w->port);
		say(fd[i], SCRAPE);
	}
	wait_open(w, 2);
	expect(w, "GET", "/metrics", "", 503, "\r\n\r\ntoo many scrapes");
	expect(w, "GET", "/healthz", "", 200, "ok\n");
	hold(w, false);
	for (int i = 0; i < 2; i++) {
		b[i] = hear(fd[i]);
		assert_string_equal(body_of(&b[i]), METRICS);
		buf_done(&b[i]);
	}
	expect_stats(w, 2, 0, 1);
	expect(w, "GET", "/metrics", "", 200, METRICS);
}

static void client_leaves(void **state)
{
	struct world *w = *state;
	int fd = dial4(w->port);

	hold(w, true);
	say(fd, SCRAPE);
	wait_open(w, 1);
	close(fd);
	hold(w, false);
	wait_open(w, 0);
	expect(w, "GET", "/metrics", "", 200, METRICS);
}

/* It costs one connection and one scrape of eight, until it is given up. */
static void never_reads(void **state)
{
	struct world *w = *state;
	int fd = dial4(w->port);

	w->n_points = BIG_POINTS;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
	say(fd, SCRAPE);
	wait_open(w, 1);
	pthread_mutex_lock(&w->lock);
	while (!w->asked)
		pthread_cond_wait(&w->cond, &w->lock);
	w->n_points = 3;
	pthread_mutex_unlock(&w->lock);
	expect(w, "GET", "/metrics", "", 200, METRICS);
	expect(w, "GET", "/healthz", "", 200, "ok\n");
	expect_stats(w, 1, 1, 0);
	close(fd);
}

/* Takes 200 kB a second of a text that it could have at once: never silent, and not done in time. */
static void reads_slowly(void **state)
{
	struct world *w = *state;
	uint64_t begin = clock_mono_ns();
	int fd = dial4(w->port);
	char part[20000];
	size_t got = 0;
	ssize_t n;

	w->n_points = BIG_POINTS;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ 65536 }, sizeof(int));
	say(fd, SCRAPE);
	while ((n = recv(fd, part, sizeof(part), MSG_WAITALL)) > 0) {
		got += (size_t)n;
		usleep(100000);
	}
	assert_true(clock_mono_ns() - begin >= REQUEST_SECONDS * NSEC_PER_SEC);
	assert_true(got > sizeof(part));
	assert_true(got < BIG_POINTS * strlen("test_events_total{number=\"0\"} 0\n"));
	close(fd);
	expect_stats(w, 0, 1, 0);
}

static void silent_head(void **state)
{
	struct world *w = *state;
	struct buf b;
	int fd = dial4(w->port);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	say(fd, "GET /metrics HTT");
	expect(w, "GET", "/metrics", "", 200, METRICS);
	assert_int_equal(poll(&p, 1, 10000), 1);
	b = hear(fd);
	assert_int_equal(b.len, 0);
	buf_done(&b);
}

static void trickling_head(void **state)
{
	struct world *w = *state;
	uint64_t begin = clock_mono_ns();
	int fd = dial4(w->port);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	say(fd, "GET /metrics HTTP/1.1\r\nX: ");
	/* one byte each 100 ms is never silence */
	while (!poll(&p, 1, 100) && clock_mono_ns() - begin < 20 * NSEC_PER_SEC)
		send(fd, "a", 1, MSG_NOSIGNAL);
	assert_true(clock_mono_ns() - begin >= REQUEST_SECONDS * NSEC_PER_SEC);
	assert_true(clock_mono_ns() - begin < 20 * NSEC_PER_SEC);
	close(fd);
	expect(w, "GET", "/metrics", "", 200, METRICS);
}

static void huge_head(void **state)
{
	struct world *w = *state;
	struct buf b = BUF_INIT, got;
	int fd = dial4(w->port);

	buf_puts(&b, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ");
	for (int i = 0; i < 100000; i++)
		buf_addc(&b, 'a');
	buf_puts(&b, "\r\n\r\n");
	/* it may be refused before all is sent */
	for (size_t at = 0; at < b.len;) {
		ssize_t n = send(fd, b.data + at, b.len - at, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	got = hear(fd);
	assert_null(strstr(got.data, "200 OK"));
	buf_done(&got);
	buf_done(&b);
	expect(w, "GET", "/metrics", "", 200, METRICS);
	expect_stats(w, 1, 0, 0);
}

/* More than there is room for: they go by time-out, and the next in the queue is served. */
static void crowd(void **state)
{
	struct world *w = *state;
	int fd[CONNECTIONS_MAX + 30];

	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = dial4(w->port);
	expect(w, "GET", "/healthz", "", 200, "ok\n");
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	expect(w, "GET", "/metrics", "", 200, METRICS);
}

static void *stop_it(void *arg)
{
	exporter_prometheus.stop(arg, 0);
	return NULL;
}

static void stops_with_scrapes(void **state)
{
	struct world *w = *state;
	int fd = dial4(w->port), idle = dial4(w->port);
	pthread_t t;

	hold(w, true);
	say(fd, SCRAPE);
	wait_open(w, 1);
	assert_int_equal(pthread_create(&t, NULL, stop_it, TAKE_PTR(w->e)), 0);
	hold(w, false);
	pthread_join(t, NULL);
	close(fd);
	close(idle);
}

/* --- start --- */

/* What start says on standard error. */
static int start_heard(struct world *w, char said[1024])
{
	int old = dup(STDERR_FILENO), pipes[2], ret;
	ssize_t n;

	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(pipes[1], STDERR_FILENO);
	ret = start(w);
	dup2(old, STDERR_FILENO);
	n = read(pipes[0], said, 1023);
	said[MAX(n, 0)] = 0;
	close(old);
	close(pipes[0]);
	close(pipes[1]);
	return ret;
}

static size_t count(const char *s, char c)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == c;
	return n;
}

static void nothing_to_do(void **state)
{
	struct world *w = *state;

	w->listen[0] = "none";
	assert_int_equal(start(w), 1);
	w->config.web_listen.n = 0;
	assert_int_equal(start(w), 1);
}

static void refused(void **state)
{
	static const struct {
		const char *address;
		int err;
	} cases[] = {
		{ "9960", -EINVAL },		{ "", -EINVAL },	     { "127.0.0.1", -EINVAL },	  { "127.0.0.1:", -EINVAL },
		{ "127.0.0.1:65536", -EINVAL }, { "127.0.0.1:-1", -EINVAL }, { "::1:9960", -EINVAL },	  { "127.0.0.1:x", -EINVAL },
		{ "192.0.2.1:0", -EADDRNOTAVAIL }, { "[192.0.2:0", -EADDRNOTAVAIL },
	};
	struct world *w = *state;
	char said[1024];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		w->listen[0] = (char *)cases[i].address;
		assert_int_equal(start_heard(w, said), cases[i].err);
		assert_non_null(strstr(said, cases[i].address));
		assert_non_null(strstr(said, "give "));
		assert_int_equal(count(said, '\n'), 1);
	}
	w->listen[0] = "127.0.0.1:0";
	w->config.web_path = "metrics";
	assert_int_equal(start_heard(w, said), -EINVAL);
	assert_non_null(strstr(said, "--web.telemetry-path=metrics"));
}

static void port_taken(void **state)
{
	struct world *w = *state;
	char taken[32], said[1024];
	struct exporter *first;

	assert_int_equal(start(w), 0);
	first = TAKE_PTR(w->e);
	snprintf(taken, sizeof(taken), "127.0.0.1:%u", w->port);
	/* the first address is free: what was opened is closed again */
	w->listen[1] = taken;
	w->config.web_listen.n = 2;
	assert_int_equal(start_heard(w, said), -EADDRINUSE);
	assert_null(w->e);
	assert_non_null(strstr(said, taken));
	assert_non_null(strstr(said, "taken"));
	assert_non_null(strstr(said, "choose another port"));
	assert_int_equal(count(said, '\n'), 1);
	exporter_prometheus.stop(first, 0);
	assert_int_equal(start(w), 0);
}

static void several_addresses(void **state)
{
	struct world *w = *state;

	w->listen[1] = "localhost:0";
	w->config.web_listen.n = 2;
	assert_int_equal(start(w), 0);
	assert_int_equal(w->e->n_daemons, 2);
	expect(w, "GET", "/metrics", "", 200, METRICS);
	w->port = MHD_get_daemon_info(w->e->daemons[1], MHD_DAEMON_INFO_BIND_PORT)->port;
	expect(w, "GET", "/metrics", "", 200, METRICS);
	expect_stats(w, 2, 0, 0);
}

static void all_addresses(void **state)
{
	struct world *w = *state;
	struct buf b;
	int fd;

	w->listen[0] = ":0";
	assert_int_equal(start(w), 0);
	expect(w, "GET", "/metrics", "", 200, METRICS);
	fd = dial6(w->port);
	if (fd < 0) {
		print_message("SKIPPED: no IPv6 here\n");
		skip();
	}
	say(fd, SCRAPE);
	b = hear(fd);
	assert_string_equal(body_of(&b), METRICS);
	buf_done(&b);
}

static void ipv6_only(void **state)
{
	struct world *w = *state;
	struct buf b;
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a))) {
		closep(&fd);
		print_message("SKIPPED: no IPv6 here\n");
		skip();
	}
	close(fd);
	w->listen[0] = "[::1]:0";
	assert_int_equal(start(w), 0);
	fd = dial6(w->port);
	assert_true(fd >= 0);
	say(fd, SCRAPE);
	b = hear(fd);
	assert_string_equal(body_of(&b), METRICS);
	buf_done(&b);
}

#define started(f) cmocka_unit_test_setup_teardown(f, setup_started, teardown)
#define stopped(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		started(pages),	       started(head),	       started(negotiation),	   started(gzip_round_trip),
		started(no_snapshot),  started(keep_alive),    started(concurrent),	   started(too_many),
		started(client_leaves), started(never_reads),  started(reads_slowly),	   started(silent_head),
		started(trickling_head), started(huge_head),   started(crowd),		   started(stops_with_scrapes),
		stopped(nothing_to_do), stopped(refused),      stopped(port_taken),	   stopped(several_addresses),
		stopped(all_addresses), stopped(ipv6_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
