// SPDX-License-Identifier: Apache-2.0
/*
 * io_uring: one request in the ring at any time, a ring for each direction of an end. Built without liburing
 * (WAYS_NO_URING) the list is empty.
 */
#include "tests/e2e/apps/ways/ways.h"

#ifdef WAYS_NO_URING
struct way uring_reads[] = {{0}};
struct way uring_writes[] = {{0}};
void uring_close(struct end *e)
{
}
#else
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct uring {
	struct io_uring ring;
	int event_fd;
};

static void ring_open(struct end *e, bool writes, unsigned flags)
{
	struct uring *u = calloc(1, sizeof(*u));
	struct io_uring_params p = {.flags = flags, .sq_thread_idle = 2};

	if (!u || io_uring_queue_init_params(8, &u->ring, &p))
		die("io_uring");
	u->event_fd = eventfd(0, 0);
	e->uring[writes] = u;
}

static void open_read(struct end *e)
{
	ring_open(e, false, 0);
}

static void open_write(struct end *e)
{
	ring_open(e, true, 0);
}

static void open_read_polled(struct end *e)
{
	ring_open(e, false, IORING_SETUP_SQPOLL);
}

static void open_write_polled(struct end *e)
{
	ring_open(e, true, IORING_SETUP_SQPOLL);
}

static void open_read_event(struct end *e)
{
	ring_open(e, false, 0);
	if (io_uring_register_eventfd(&e->uring[0]->ring, e->uring[0]->event_fd))
		die("io_uring_register_eventfd");
}

static struct io_uring_sqe *sqe(struct end *e, bool writes)
{
	return io_uring_get_sqe(&e->uring[writes]->ring);
}

void uring_close(struct end *e)
{
	for (int i = 0; i < 2; i++) {
		struct uring *u = e->uring[i];

		e->uring[i] = NULL;
		if (!u)
			continue;
		io_uring_queue_exit(&u->ring);
		close(u->event_fd);
		free(u);
	}
}

static ssize_t result(struct end *e, bool writes)
{
	struct io_uring_cqe *c;
	ssize_t r;

	if (io_uring_wait_cqe(&e->uring[writes]->ring, &c))
		return -1;
	r = c->res;
	io_uring_cqe_seen(&e->uring[writes]->ring, c);
	if (r < 0)
		errno = (int)-r;
	return r < 0 ? -1 : r;
}

static ssize_t run(struct end *e, bool writes)
{
	io_uring_submit(&e->uring[writes]->ring);
	return result(e, writes);
}

static ssize_t r_recv(struct end *e, char *buf, size_t n)
{
	io_uring_prep_recv(sqe(e, false), e->fd, buf, n, 0);
	return run(e, false);
}

static ssize_t r_read(struct end *e, char *buf, size_t n)
{
	io_uring_prep_read(sqe(e, false), e->fd, buf, (unsigned)n, 0);
	return run(e, false);
}

static ssize_t r_recvmsg(struct end *e, char *buf, size_t n)
{
	struct iovec v[2] = {{buf, 10}, {buf + 10, n - 10}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

	io_uring_prep_recvmsg(sqe(e, false), e->fd, &m, 0);
	return run(e, false);
}

/* Read by one of the ring's own threads. */
static ssize_t r_async(struct end *e, char *buf, size_t n)
{
	struct io_uring_sqe *s = sqe(e, false);

	io_uring_prep_recv(s, e->fd, buf, n, 0);
	io_uring_sqe_set_flags(s, IOSQE_ASYNC);
	return run(e, false);
}

/*
 * The program waits in an ordinary read() of another file. The ring's read is then done inside that system call, whose
 * buffer holds something that looks like a message, and is none.
 */
static ssize_t r_event(struct end *e, char *buf, size_t n)
{
	char stale[256] = "GET /stale HTTP/1.1\r\nHost: stale\r\n\r\nHTTP/1.1 299 Stale\r\nContent-Length: 0\r\n\r\n";

	io_uring_prep_recv(sqe(e, false), e->fd, buf, n, 0);
	io_uring_submit(&e->uring[0]->ring);
	if (read(e->uring[0]->event_fd, stale, sizeof(stale)) != 8)
		return -1;
	return result(e, false);
}

static ssize_t w_send(struct end *e, char *buf, size_t n)
{
	io_uring_prep_send(sqe(e, true), e->fd, buf, n, 0);
	return run(e, true);
}

static ssize_t w_write(struct end *e, char *buf, size_t n)
{
	io_uring_prep_write(sqe(e, true), e->fd, buf, (unsigned)n, 0);
	return run(e, true);
}

static ssize_t w_sendmsg(struct end *e, char *buf, size_t n)
{
	struct iovec v[2] = {{buf, n / 2}, {buf + n / 2, n - n / 2}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

	io_uring_prep_sendmsg(sqe(e, true), e->fd, &m, 0);
	return run(e, true);
}

struct way uring_reads[] = {
	{"uring-recv", r_recv, open_read},
	{"uring-read", r_read, open_read},
	{"uring-recvmsg", r_recvmsg, open_read},
	{"uring-sqpoll", r_recv, open_read_polled},
	{"uring-async", r_async, open_read},
	{"uring-event", r_event, open_read_event},
	{0},
};

struct way uring_writes[] = {
	{"uring-send", w_send, open_write},
	{"uring-write", w_write, open_write},
	{"uring-sendmsg", w_sendmsg, open_write},
	{"uring-sqpoll", w_send, open_write_polled},
	{0},
};
#endif
