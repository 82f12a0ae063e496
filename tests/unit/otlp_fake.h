/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A far end that does as it is told: one thread, one connection at a time on a loopback port, HTTP/1.1. Each
 * request takes the next reply of the script; the last one is repeated.
 */
#pragma once

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#include "user/base/buf.h"

enum fake_kind { FAKE_ANSWER, FAKE_HANG, FAKE_RESET, FAKE_ENDLESS };

struct fake_reply {
	enum fake_kind kind;
	const char *head; /* without the empty line; NULL: "HTTP/1.1 200 OK" */
	const void *body;
	size_t body_len;
};

struct fake {
	int listener;
	uint16_t port;
	const struct fake_reply *script;
	size_t n_script;
	pthread_t thread;
	atomic_uint requests, connections;
	pthread_mutex_t lock;  /* the two below */
	struct buf head, body; /* of the last request */
};

static inline bool fake_read_head(int fd, struct buf *head)
{
	char c;

	buf_clear(head);
	while (recv(fd, &c, 1, 0) == 1) {
		buf_addc(head, c);
		if (head->len >= 4 && !memcmp(head->data + head->len - 4, "\r\n\r\n", 4))
			return true;
	}
	return false;
}

static inline bool fake_read_body(int fd, const struct buf *head, struct buf *body)
{
	const char *at = strcasestr(head->data, "content-length:");
	size_t left = at ? strtoul(at + 15, NULL, 10) : 0;
	char chunk[4096];

	buf_clear(body);
	while (left) {
		ssize_t n = recv(fd, chunk, MIN(left, sizeof(chunk)), 0);

		if (n <= 0)
			return false;
		buf_add(body, chunk, (size_t)n);
		left -= (size_t)n;
	}
	return true;
}

/* False: the connection is to be closed. */
static inline bool fake_reply(int fd, const struct fake_reply *r)
{
	struct linger hard = {1, 0};
	_buf_ struct buf b = BUF_INIT;
	char junk[4096];

	switch (r->kind) {
	case FAKE_HANG:
		while (recv(fd, junk, sizeof(junk), 0) > 0)
			;
		return false;
	case FAKE_RESET:
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		return false;
	case FAKE_ENDLESS:
		memset(junk, 'x', sizeof(junk));
		buf_puts(&b, "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n");
		send(fd, b.data, b.len, MSG_NOSIGNAL);
		while (send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0)
			;
		return false;
	case FAKE_ANSWER:
		break;
	}
	buf_printf(&b, "%s\r\nContent-Length: %zu\r\n\r\n", r->head ?: "HTTP/1.1 200 OK", r->body_len);
	buf_add(&b, r->body, r->body_len);
	return send(fd, b.data, b.len, MSG_NOSIGNAL) == (ssize_t)b.len;
}

static inline bool fake_serve_one(struct fake *f, int fd)
{
	_buf_ struct buf head = BUF_INIT;
	_buf_ struct buf body = BUF_INIT;
	unsigned int i;

	if (!fake_read_head(fd, &head) || !fake_read_body(fd, &head, &body))
		return false;
	pthread_mutex_lock(&f->lock);
	buf_clear(&f->head);
	buf_clear(&f->body);
	buf_add(&f->head, head.data, head.len);
	buf_add(&f->body, body.data, body.len);
	pthread_mutex_unlock(&f->lock);
	i = atomic_fetch_add(&f->requests, 1);
	return fake_reply(fd, &f->script[MIN(i, f->n_script - 1)]);
}

static inline void *fake_thread(void *arg)
{
	struct fake *f = arg;
	int fd;

	while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
		atomic_fetch_add(&f->connections, 1);
		while (fake_serve_one(f, fd))
			;
		close(fd);
	}
	return NULL;
}

static inline void fake_start(struct fake *f, const struct fake_reply *script, size_t n)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	*f = (struct fake){.script = script, .n_script = n, .lock = PTHREAD_MUTEX_INITIALIZER};
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(f->listener, (struct sockaddr *)&a, sizeof(a)) || listen(f->listener, 8) ||
	    getsockname(f->listener, (struct sockaddr *)&a, &len) || pthread_create(&f->thread, NULL, fake_thread, f))
		abort();
	f->port = ntohs(a.sin_port);
}

/* The client has gone: a connection that is still served ends with it. */
static inline void fake_stop(struct fake *f)
{
	shutdown(f->listener, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	close(f->listener);
	buf_done(&f->head);
	buf_done(&f->body);
}
