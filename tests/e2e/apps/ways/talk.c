// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.1 as far as the tests need it: messages are composed and read here, the ways of move.c carry their bytes.
 * What an answer holds stands in the request's target, /KIND/SIZE?t=MARKNUMBER, so that both ends know all
 * sizes; what is logged is what was really read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/e2e/apps/ways/ways.h"

#define CHUNK 1000

void die(const char *what)
{
	int err = errno;

	fprintf(stderr, "ways: %s: %s\n", what, strerror(err));
	_exit(1);
}

struct end *end_new(int fd, bool is_unix, const struct phase *phases)
{
	struct end *e = calloc(1, sizeof(*e));

	if (!e || !(e->buf = malloc(BUF_SIZE + 1)))
		die("memory");
	e->fd = fd;
	e->dup_fd = fcntl(fd, F_DUPFD_CLOEXEC, 200);
	e->is_unix = is_unix;
	e->phases = phases;
	if (e->dup_fd < 0 || pipe(e->pipe))
		die("dup, pipe");
	end_phase(e, 0);
	return e;
}

void end_free(struct end *e)
{
	uring_close(e);
	close(e->fd);
	close(e->dup_fd);
	close(e->pipe[0]);
	close(e->pipe[1]);
	free(e->buf);
	free(e);
}

/* Message `number` of this connection begins: by which ways? The last phase lasts. */
void end_phase(struct end *e, unsigned number)
{
	const struct phase *p = e->phases;

	while (number >= p->messages && p[1].reads) {
		number -= p->messages;
		p++;
	}
	if (e->reads == p->reads && e->writes == p->writes)
		return;
	uring_close(e);
	fcntl(e->fd, F_SETFL, 0);
	e->reads = p->reads;
	e->writes = p->writes;
	if (e->reads->prepare)
		e->reads->prepare(e);
	if (e->writes->prepare)
		e->writes->prepare(e);
}

/* --- reading --- */

/* More bytes behind those that are there; false at the stream's end. */
static bool fill(struct end *e)
{
	ssize_t r;

	if (e->at == e->len)
		e->at = e->len = 0;
	if (e->len == BUF_SIZE) {
		memmove(e->buf, e->buf + e->at, e->len - e->at);
		e->len -= e->at;
		e->at = 0;
	}
	r = e->reads->move(e, e->buf + e->len, BUF_SIZE - e->len);
	if (r < 0)
		die(e->reads->name);
	e->len += (size_t)r;
	e->reads->bytes += (size_t)r;
	return r > 0;
}

/* Up to and with `mark`: its first byte, for as long as nothing more is read. NULL at the stream's end. */
static char *take_until(struct end *e, const char *mark)
{
	for (;;) {
		char *start = e->buf + e->at, *hit = memmem(start, e->len - e->at, mark, strlen(mark));

		if (hit) {
			*hit = 0;
			e->at = (size_t)(hit - e->buf) + strlen(mark);
			return start;
		}
		if (!fill(e))
			return NULL;
	}
}

static void take(struct end *e, size_t n, bool counted)
{
	while (n) {
		size_t got = e->len - e->at;

		if (got > n)
			got = n;
		e->at += got;
		n -= got;
		e->body_left = counted ? n : 0;
		if (n && !fill(e)) {
			errno = ECONNRESET;
			die("body");
		}
	}
	e->body_left = 0;
}

static size_t take_chunks(struct end *e)
{
	size_t all = 0, n;

	do {
		char *line = take_until(e, "\r\n");

		if (!line)
			die("chunk");
		n = strtoul(line, NULL, 16);
		take(e, n + 2, false);
		all += n;
	} while (n);
	return all;
}

static void first_line(const char *head, struct message *ret, bool answer)
{
	snprintf(ret->first, sizeof(ret->first), "%.*s", (int)strcspn(head, "\r"), head);
	if (answer) {
		if (sscanf(head, "HTTP/1.1 %d ", &ret->status) != 1)
			die("not an answer");
	} else if (sscanf(head, "%15s %199s HTTP/1.1", ret->method, ret->target) != 2) {
		die("not a request");
	}
}

/* 0; -1 when the stream ended before it. */
int read_message(struct end *e, struct message *ret, bool answer, bool no_body)
{
	char *head = take_until(e, "\r\n\r\n"), *length;

	memset(ret, 0, sizeof(*ret));
	if (!head)
		return -1;
	first_line(head, ret, answer);
	length = strstr(head, "\r\nContent-Length: ");
	if (no_body || ret->status == 204)
		return 0;
	if (strstr(head, "\r\nTransfer-Encoding: chunked")) {
		ret->body = take_chunks(e);
	} else if (length) {
		ret->body = strtoul(length + 18, NULL, 10);
		take(e, ret->body, true);
	}
	return 0;
}

/* --- writing --- */

/* `head` of the n bytes are the message's head. */
void write_all(struct end *e, const char *buf, size_t head, size_t n)
{
	size_t done = 0;

	e->urgent_sent = false;
	while (done < n) {
		ssize_t r;

		e->head_left = done < head ? head - done : 0;
		e->sent = done;
		r = e->writes->move(e, (char *)buf + done, n - done);
		if (r <= 0)
			die(e->writes->name);
		done += (size_t)r;
		e->writes->bytes += (size_t)r;
	}
}

static size_t put_body(char *p, size_t size, bool chunked)
{
	char *start = p;

	if (!chunked) {
		memset(p, 'x', size);
		return size;
	}
	while (size) {
		size_t n = size < CHUNK ? size : CHUNK;

		p += sprintf(p, "%zx\r\n", n);
		memset(p, 'y', n);
		p += n;
		p += sprintf(p, "\r\n");
		size -= n;
	}
	p += sprintf(p, "0\r\n\r\n");
	return (size_t)(p - start);
}

static size_t put_framing(char *p, size_t size, bool chunked)
{
	return (size_t)(chunked ? sprintf(p, "Transfer-Encoding: chunked\r\n\r\n")
				: sprintf(p, "Content-Length: %zu\r\n\r\n", size));
}

struct step {
	const char *method;
	bool has_body, chunked;
	size_t body;
	const char *answer; /* KIND/SIZE */
};

/* What a connection's requests are in turn. Every plan begins with one that is easily told from the others. */
static const struct step mixed[] = {
	{"GET", .answer = "len/2"},
	{"POST", true, false, 700, "len/10"},
	{"GET", .answer = "chunk/3000"},
	{"POST", true, true, 5000, "len/0"},
	{"HEAD", .answer = "len/1000"},
	{"GET", .answer = "len/20000"},
	{"PUT", true, false, 15000, "chunk/100"},
	{"DELETE", .answer = "none/0"},
	{"GET", .answer = "missing/9"},
	{0},
};

static const struct step length[] = {
	{"GET", .answer = "len/2"},	      {"POST", true, false, 700, "len/10"}, {"GET", .answer = "len/50000"},
	{"PUT", true, false, 15000, "len/0"}, {"DELETE", .answer = "none/0"},	    {0},
};

static const struct step big[] = {
	{"GET", .answer = "len/200000"},
	{"POST", true, false, 200000, "len/1"},
	{"GET", .answer = "chunk/100000"},
	{"POST", true, true, 100000, "chunk/1"},
	{0},
};

static const struct step *step_of(const char *plan, unsigned number)
{
	const struct step *s = !strcmp(plan, "length") ? length : !strcmp(plan, "big") ? big : mixed;
	unsigned n = 0;

	while (s[n].method)
		n++;
	return s + number % n;
}

/* The whole message; `ret` is what it says. */
size_t make_request(char *buf, size_t cap, const char *plan, const char *mark, unsigned number, size_t *ret_head,
		    struct message *ret)
{
	const struct step *s = step_of(plan, number);
	size_t n;

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->method, sizeof(ret->method), "%s", s->method);
	snprintf(ret->target, sizeof(ret->target), "/%s?t=%s%u", s->answer, mark, number);
	ret->body = s->body;
	n = (size_t)snprintf(buf, cap, "%s %s HTTP/1.1\r\nHost: ways\r\nUser-Agent: ways/1\r\n", ret->method,
			     ret->target);
	n += s->has_body ? put_framing(buf + n, s->body, s->chunked) : (size_t)sprintf(buf + n, "\r\n");
	*ret_head = n;
	return s->has_body ? n + put_body(buf + n, s->body, s->chunked) : n;
}

size_t make_answer(char *buf, size_t cap, const struct message *request, size_t *ret_head, struct message *ret)
{
	bool head_only = !strcmp(request->method, "HEAD"), chunked;
	char kind[16];
	size_t size, n;

	memset(ret, 0, sizeof(*ret));
	if (sscanf(request->target, "/%15[a-z]/%zu?", kind, &size) != 2)
		die("target");
	chunked = !strcmp(kind, "chunk");
	ret->status = !strcmp(kind, "none") ? 204 : !strcmp(kind, "missing") ? 404 : 200;
	n = (size_t)snprintf(buf, cap, "HTTP/1.1 %d Said\r\nServer: ways\r\n", ret->status);
	n += ret->status == 204 ? (size_t)sprintf(buf + n, "\r\n") : put_framing(buf + n, size, chunked);
	*ret_head = n;
	if (head_only || ret->status == 204)
		return n;
	ret->body = size;
	return n + put_body(buf + n, size, chunked);
}

/* What this end saw of one call, with the process that did it. One write per line: processes share the file. */
void log_call(const char *role, const struct message *request, const struct message *answer)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "call %s %s %s %d %zu %zu %d\n", role, request->method, request->target,
			 answer->status, request->body, answer->body, (int)getpid());

	if (write(1, line, (size_t)n) != n)
		_exit(1);
}
