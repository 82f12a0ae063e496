// SPDX-License-Identifier: Apache-2.0
/*
 * The ways in which bytes pass a socket, one small function each. Where a way could move a whole message at once it is
 * made to do what is hard to follow: vectors of single bytes with empty elements between, looks ahead, calls of no
 * bytes, urgent data in mid stream.
 */
#include <errno.h>
#include <linux/aio_abi.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/e2e/apps/ways/ways.h"

#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif
#define VEC_MAX 64

void wait_ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	if (poll(&p, 1, 10000) != 1)
		die("poll: not ready within 10 s");
}

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* `buf` in pieces of 1, 2, 3 … bytes, an empty one before every third; the rest in the last. */
static int cut(struct iovec *v, char *buf, size_t n, size_t piece)
{
	int used = 0;

	while (n && used < VEC_MAX) {
		size_t len = used == VEC_MAX - 1 ? n : min(n, piece);

		if (used % 3 == 0 && used < VEC_MAX - 1)
			v[used++] = (struct iovec){buf, 0};
		v[used++] = (struct iovec){buf, len};
		buf += len;
		n -= len;
		piece = piece % 7 + 1;
	}
	return used;
}

/* --- reading --- */

static ssize_t r_read(struct end *e, char *buf, size_t n)
{
	return read(e->fd, buf, n);
}

static ssize_t r_readv(struct end *e, char *buf, size_t n)
{
	struct iovec v[VEC_MAX];

	return readv(e->fd, v, cut(v, buf, n, 1));
}

static ssize_t r_preadv2(struct end *e, char *buf, size_t n)
{
	struct iovec v[VEC_MAX];

	return preadv2(e->fd, v, cut(v, buf, n, 5), -1, 0);
}

static ssize_t r_recv(struct end *e, char *buf, size_t n)
{
	return recv(e->fd, buf, n, 0);
}

static ssize_t r_recvfrom(struct end *e, char *buf, size_t n)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	return recvfrom(e->fd, buf, min(n, 100 + e->turn++ % 50), 0, (void *)&a, &len);
}

static ssize_t r_recvmsg(struct end *e, char *buf, size_t n)
{
	struct iovec v[VEC_MAX];
	struct msghdr m = {.msg_iov = v};

	m.msg_iovlen = cut(v, buf, n, e->turn++ % 7 + 1);
	return recvmsg(e->fd, &m, 0);
}

static ssize_t recv_many(struct end *e, char *buf, size_t n, unsigned many)
{
	struct iovec v[4];
	struct mmsghdr m[4] = {0};
	size_t done = 0, each = many > 1 ? min(n / many, 90) : n;
	int got;

	for (unsigned i = 0; i < many; i++) {
		v[i] = (struct iovec){buf + i * each, each};
		m[i].msg_hdr = (struct msghdr){.msg_iov = v + i, .msg_iovlen = 1};
	}
	got = recvmmsg(e->fd, m, many, MSG_WAITFORONE, NULL);
	for (int i = 0; i < got; i++) {
		memmove(buf + done, v[i].iov_base, m[i].msg_len);
		done += m[i].msg_len;
	}
	return got < 0 ? -1 : (ssize_t)done;
}

static ssize_t r_recvmmsg(struct end *e, char *buf, size_t n)
{
	return recv_many(e, buf, n, 1);
}

static ssize_t r_recvmmsg4(struct end *e, char *buf, size_t n)
{
	return recv_many(e, buf, n, 4);
}

static ssize_t r_peek(struct end *e, char *buf, size_t n)
{
	if (recv(e->fd, buf, n, MSG_PEEK) < 0)
		return -1;
	return read(e->fd, buf, n);
}

/* Looks of different kinds, between reads of a part of what was seen. */
static ssize_t r_peek_often(struct end *e, char *buf, size_t n)
{
	struct iovec v = {buf, n};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t seen;

	if (recv(e->fd, buf, 1, MSG_PEEK) < 0 || recvmsg(e->fd, &m, MSG_PEEK | MSG_DONTWAIT) < 0)
		return -1;
	seen = recvfrom(e->fd, buf, n, MSG_PEEK | MSG_TRUNC, NULL, NULL);
	return seen > 0 ? recv(e->fd, buf, min((size_t)seen, 61), 0) : seen;
}

static ssize_t r_waitall(struct end *e, char *buf, size_t n)
{
	return recv(e->fd, buf, e->body_left ? min(n, e->body_left) : n, e->body_left ? MSG_WAITALL : 0);
}

static ssize_t r_nonblock(struct end *e, char *buf, size_t n)
{
	for (;;) {
		ssize_t r = recv(e->fd, buf, n, MSG_DONTWAIT);

		if (r >= 0 || errno != EAGAIN)
			return r;
		wait_ready(e->fd, POLLIN);
	}
}

/* Calls of no bytes, with and without some to read. */
static ssize_t r_recv0(struct end *e, char *buf, size_t n)
{
	ssize_t r;

	if (recv(e->fd, buf, 0, MSG_DONTWAIT) > 0 || read(e->fd, buf, 0) > 0)
		return -1;
	wait_ready(e->fd, POLLIN);
	if (recv(e->fd, buf, 0, 0) > 0)
		return -1;
	r = recv(e->fd, buf, n, 0);
	if (r > 0 && recv(e->fd, buf + r, 0, MSG_DONTWAIT) > 0)
		return -1;
	return r;
}

/* Asks for urgent data and for errors, whether there are any or not. */
static ssize_t r_oob(struct end *e, char *buf, size_t n)
{
	char control[256], one;
	struct msghdr m = {.msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t r;

	recv(e->fd, &one, 1, MSG_OOB | MSG_DONTWAIT);
	recvmsg(e->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
	r = recv(e->fd, buf, n, 0);
	recv(e->fd, &one, 1, MSG_OOB | MSG_DONTWAIT);
	return r;
}

static ssize_t r_dup(struct end *e, char *buf, size_t n)
{
	return read(e->turn++ % 2 ? e->dup_fd : e->fd, buf, n);
}

/* A head exactly: what follows it stays in the socket. */
static ssize_t read_head(struct end *e, char *buf, size_t n)
{
	ssize_t seen = recv(e->fd, buf, n, MSG_PEEK);
	char *head_end;

	if (seen <= 0)
		return seen;
	head_end = memmem(buf, (size_t)seen, "\r\n\r\n", 4);
	return recv(e->fd, buf, head_end ? (size_t)(head_end + 4 - buf) : (size_t)seen, 0);
}

/* A unix socket knows no MSG_TRUNC: it is a plain read there. */
static ssize_t discard(struct end *e, char *buf, size_t n)
{
	return recv(e->fd, e->is_unix ? buf : NULL, n, MSG_TRUNC);
}

static ssize_t r_trunc_body(struct end *e, char *buf, size_t n)
{
	return e->body_left ? discard(e, buf, min(n, e->body_left)) : read_head(e, buf, n);
}

static ssize_t r_trunc(struct end *e, char *buf, size_t n)
{
	ssize_t seen = recv(e->fd, buf, n, MSG_PEEK);

	return seen <= 0 || e->is_unix ? recv(e->fd, buf, n, MSG_TRUNC) : discard(e, NULL, (size_t)seen);
}

static ssize_t r_splice(struct end *e, char *buf, size_t n)
{
	ssize_t r = splice(e->fd, NULL, e->pipe[1], NULL, min(n, 16384), 0);

	return r > 0 ? read(e->pipe[0], buf, (size_t)r) : r;
}

static ssize_t r_splice_body(struct end *e, char *buf, size_t n)
{
	return e->body_left ? r_splice(e, buf, min(n, e->body_left)) : read_head(e, buf, n);
}

static ssize_t aio(int fd, char *buf, size_t n, int opcode)
{
	struct iocb cb = {.aio_lio_opcode = opcode, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = n};
	struct iocb *list = &cb;
	struct io_event done;
	static __thread aio_context_t ctx;

	if (!ctx && syscall(SYS_io_setup, 4, &ctx))
		die("io_setup");
	if (syscall(SYS_io_submit, ctx, 1, &list) != 1 || syscall(SYS_io_getevents, ctx, 1, 1, &done, NULL) != 1)
		return -1;
	return (ssize_t)done.res;
}

static ssize_t r_aio(struct end *e, char *buf, size_t n)
{
	return aio(e->fd, buf, n, IOCB_CMD_PREAD);
}

/* include/uapi/linux/tcp.h: struct tcp_zerocopy_receive, with the copy that small reads take */
struct zero_copy {
	uint64_t address;
	uint32_t length, recv_skip_hint, inq;
	int32_t err;
	uint64_t copybuf_address;
	int32_t copybuf_len;
	uint32_t flags;
	uint64_t msg_control, msg_controllen;
	uint32_t msg_flags, reserved;
};

static ssize_t r_zerocopy(struct end *e, char *buf, size_t n)
{
	enum { TCP_ZEROCOPY = 35 };
	struct zero_copy z = {.copybuf_address = (uintptr_t)buf, .copybuf_len = (int32_t)min(n, 65536)};
	socklen_t len = sizeof(z);
	char *map = mmap(NULL, 65536, PROT_READ, MAP_SHARED, e->fd, 0);
	ssize_t r = 0;

	if (map == MAP_FAILED)
		die("mmap of a socket");
	z.address = (uintptr_t)map;
	z.length = 65536;
	wait_ready(e->fd, POLLIN);
	if (!getsockopt(e->fd, IPPROTO_TCP, TCP_ZEROCOPY, &z, &len))
		r = z.copybuf_len > 0 ? z.copybuf_len : 0;
	else if (errno != EIO) /* the stream's end */
		die("TCP_ZEROCOPY_RECEIVE");
	munmap(map, 65536);
	/* nothing was handed out this way */
	return r ? r : recv(e->fd, buf, n, 0);
}

/* --- writing --- */

static ssize_t w_write(struct end *e, char *buf, size_t n)
{
	return write(e->fd, buf, n);
}

static ssize_t w_writev(struct end *e, char *buf, size_t n)
{
	struct iovec v[VEC_MAX];

	return writev(e->fd, v, cut(v, buf, n, 1));
}

static ssize_t w_pwritev2(struct end *e, char *buf, size_t n)
{
	struct iovec v[VEC_MAX];

	return pwritev2(e->fd, v, cut(v, buf, n, 5), -1, 0);
}

static ssize_t w_send(struct end *e, char *buf, size_t n)
{
	return send(e->fd, buf, n, MSG_NOSIGNAL);
}

static ssize_t w_sendto(struct end *e, char *buf, size_t n)
{
	return sendto(e->fd, buf, min(n, 100 + e->turn++ % 50), 0, NULL, 0);
}

static ssize_t w_sendmsg(struct end *e, char *buf, size_t n)
{
	struct iovec v[VEC_MAX];
	struct msghdr m = {.msg_iov = v};

	m.msg_iovlen = cut(v, buf, n, e->turn++ % 7 + 1);
	return sendmsg(e->fd, &m, 0);
}

static ssize_t send_many(struct end *e, char *buf, size_t n, unsigned many)
{
	struct iovec v[4];
	struct mmsghdr m[4] = {0};
	size_t done = 0;
	int got;

	for (unsigned i = 0; i < many; i++) {
		v[i] = (struct iovec){buf + n * i / many, n * (i + 1) / many - n * i / many};
		m[i].msg_hdr = (struct msghdr){.msg_iov = v + i, .msg_iovlen = 1};
	}
	got = sendmmsg(e->fd, m, many, 0);
	for (int i = 0; i < got; i++)
		done += m[i].msg_len;
	return got < 0 ? -1 : (ssize_t)done;
}

static ssize_t w_sendmmsg(struct end *e, char *buf, size_t n)
{
	return send_many(e, buf, n, 1);
}

static ssize_t w_sendmmsg4(struct end *e, char *buf, size_t n)
{
	return send_many(e, buf, n, 4);
}

static ssize_t w_more(struct end *e, char *buf, size_t n)
{
	return send(e->fd, buf, min(n, 37), n > 37 ? MSG_MORE : 0);
}

static ssize_t w_send0(struct end *e, char *buf, size_t n)
{
	if (send(e->fd, buf, 0, 0) || write(e->fd, buf, 0))
		return -1;
	return send(e->fd, buf, min(n, 500), 0);
}

static void small_buffers(struct end *e)
{
	/* with less, TCP would wait for delayed acknowledgements */
	int size = e->is_unix ? 4096 : 40000;

	setsockopt(e->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (fcntl(e->fd, F_SETFL, O_NONBLOCK))
		die("O_NONBLOCK");
}

static ssize_t w_nonblock(struct end *e, char *buf, size_t n)
{
	for (;;) {
		ssize_t r = write(e->fd, buf, n);

		if (r >= 0 || errno != EAGAIN)
			return r;
		wait_ready(e->fd, POLLOUT);
	}
}

/*
 * One urgent byte in each message: before it, in its head, or behind that. A second one would make the first an
 * ordinary byte unless it was read.
 */
static ssize_t w_oob(struct end *e, char *buf, size_t n)
{
	size_t place = !e->sent ? 0 : e->head_left ? 1 : 2;

	e->turn += !e->sent;
	if (e->turn % 3 == place && !e->urgent_sent) {
		e->urgent_sent = true;
		if (send(e->fd, "!", 1, MSG_OOB) != 1)
			return -1;
	}
	if (!e->head_left)
		return send(e->fd, buf, n, 0);
	return send(e->fd, buf, min(e->head_left, e->sent ? n : 29), 0);
}

/* A message's first bytes go with the urgent one that ends their send. */
static ssize_t w_oob_tail(struct end *e, char *buf, size_t n)
{
	char first[21];

	if (e->sent)
		return send(e->fd, buf, n, 0);
	memcpy(first, buf, 20);
	first[20] = '!';
	return send(e->fd, first, 21, MSG_OOB) == 21 ? 20 : -1;
}

static void allow_zerocopy(struct end *e)
{
	int one = 1;

	if (setsockopt(e->fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		die("SO_ZEROCOPY");
}

/* The completion is read from the error queue before the buffer is used again, as one must. */
static ssize_t w_zerocopy(struct end *e, char *buf, size_t n)
{
	ssize_t r = send(e->fd, buf, n, MSG_ZEROCOPY);
	char control[256], none[64];
	struct iovec v = {none, sizeof(none)};

	while (r > 0) {
		struct msghdr m = {
			.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

		if (recvmsg(e->fd, &m, MSG_ERRQUEUE) >= 0)
			break;
		if (errno != EAGAIN)
			return -1;
		wait_ready(e->fd, 0);
	}
	return r;
}

static ssize_t w_dup(struct end *e, char *buf, size_t n)
{
	return write(e->turn++ % 2 ? e->fd : e->dup_fd, buf, min(n, 1000));
}

static ssize_t w_sendfile(struct end *e, char *buf, size_t n)
{
	int file = memfd_create("ways", 0);
	off_t at = 0;
	ssize_t r;

	if (file < 0 || write(file, buf, n) != (ssize_t)n)
		die("memfd");
	r = sendfile(e->fd, file, &at, n);
	close(file);
	return r;
}

static ssize_t w_sendfile_body(struct end *e, char *buf, size_t n)
{
	return e->head_left ? write(e->fd, buf, e->head_left) : w_sendfile(e, buf, n);
}

static ssize_t w_splice(struct end *e, char *buf, size_t n)
{
	ssize_t in = write(e->pipe[1], buf, min(n, 16384)), out, done = 0;

	while (done < in) {
		out = splice(e->pipe[0], NULL, e->fd, NULL, (size_t)(in - done), 0);
		if (out <= 0)
			return -1;
		done += out;
	}
	return in;
}

static ssize_t w_splice_body(struct end *e, char *buf, size_t n)
{
	return e->head_left ? write(e->fd, buf, e->head_left) : w_splice(e, buf, n);
}

static ssize_t w_aio(struct end *e, char *buf, size_t n)
{
	return aio(e->fd, buf, n, IOCB_CMD_PWRITE);
}

/* --- the list --- */

static struct way reads[] = {
	{"read", r_read},
	{"readv", r_readv},
	{"preadv2", r_preadv2},
	{"recv", r_recv},
	{"recvfrom", r_recvfrom},
	{"recvmsg", r_recvmsg},
	{"recvmmsg", r_recvmmsg},
	{"recvmmsg4", r_recvmmsg4},
	{"peek", r_peek},
	{"peek-often", r_peek_often},
	{"waitall", r_waitall},
	{"nonblock", r_nonblock},
	{"recv0", r_recv0},
	{"oob", r_oob},
	{"dup", r_dup},
	{"trunc-body", r_trunc_body},
	{"trunc", r_trunc},
	{"splice", r_splice},
	{"splice-body", r_splice_body},
	{"aio", r_aio},
	{"zerocopy", r_zerocopy},
	{0},
};

static struct way writes[] = {
	{"write", w_write},
	{"writev", w_writev},
	{"pwritev2", w_pwritev2},
	{"send", w_send},
	{"sendto", w_sendto},
	{"sendmsg", w_sendmsg},
	{"sendmmsg", w_sendmmsg},
	{"sendmmsg4", w_sendmmsg4},
	{"more", w_more},
	{"send0", w_send0},
	{"nonblock", w_nonblock, small_buffers},
	{"oob", w_oob},
	{"oob-tail", w_oob_tail},
	{"zerocopy", w_zerocopy, allow_zerocopy},
	{"dup", w_dup},
	{"sendfile", w_sendfile},
	{"sendfile-body", w_sendfile_body},
	{"splice", w_splice},
	{"splice-body", w_splice_body},
	{"aio", w_aio},
	{0},
};

static struct way *find(struct way *w, const char *name)
{
	for (; w->name; w++)
		if (!strcmp(w->name, name))
			return w;
	return NULL;
}

struct way *way_find(const char *name, bool to_read)
{
	struct way *w = find(to_read ? reads : writes, name);

	return w ? w : find(to_read ? uring_reads : uring_writes, name);
}

static void print(FILE *f, const char *what, const struct way *w)
{
	for (; w->name; w++)
		if (w->bytes)
			fprintf(f, "bytes %s %s %zu\n", what, w->name, (size_t)w->bytes);
}

void ways_print(FILE *f)
{
	print(f, "read", reads);
	print(f, "read", uring_reads);
	print(f, "write", writes);
	print(f, "write", uring_writes);
}
