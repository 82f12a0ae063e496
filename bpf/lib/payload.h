/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One view of a payload, wherever it lies: a buffer or an I/O vector of the traced
 * program, found through the registers of the system call that the task is in.
 */
#pragma once

#include "bpf/lib/compat.h"
#include "bpf/maps.h"

#define IOVS_MAX 1024 /* UIO_MAXIOV, include/uapi/linux/uio.h */

enum payload_kind { PAYLOAD_NONE, PAYLOAD_OK, PAYLOAD_MANY };

/*
 * PAYLOAD_NONE: the bytes cannot be read (sendfile, splice, io_uring, 32-bit calls, kernel threads).
 * PAYLOAD_MANY: sendmmsg/recvmmsg with several messages: each fires with the same registers,
 * so that the first message would be read again and again.
 */
static __always_inline int payload_find(struct payload *p)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct user_msghdr hdr;
	struct syscall_regs r;

	p->iovs = 0;
	p->first = 0;
	p->first_off = 0;
	p->found = 1;
	p->ok = 0;
	if (task->flags & (PF_KTHREAD | PF_IO_WORKER) || task_is_compat(task))
		return PAYLOAD_NONE;
	syscall_regs_get(task, &r);
	/* io_uring may do its work inside any system call of the program */
	if (task->io_uring && task_file_data(task, r.fd) != p->socket)
		return PAYLOAD_NONE;
	switch (r.nr) {
	case NR_read:
	case NR_write:
	case NR_sendto:
	case NR_recvfrom:
		p->base = r.arg1;
		break;
	case NR_readv:
	case NR_writev:
	case NR_preadv2:
	case NR_pwritev2:
		p->base = r.arg1;
		p->iovs = r.arg2;
		break;
	case NR_sendmmsg:
	case NR_recvmmsg:
		if (r.arg2 > 1)
			return PAYLOAD_MANY;
		/* struct mmsghdr begins with its msghdr */
	case NR_sendmsg:
	case NR_recvmsg:
		if (bpf_probe_read_user(&hdr, sizeof(hdr), (void *)r.arg1))
			return PAYLOAD_NONE;
		p->base = (__u64)hdr.msg_iov;
		p->iovs = hdr.msg_iovlen;
		break;
	default:
		return PAYLOAD_NONE;
	}
	if (!p->base)
		return PAYLOAD_NONE;
	/* a vector of one is a buffer */
	if (p->iovs == 1) {
		struct iovec iov;

		if (bpf_probe_read_user(&iov, sizeof(iov), (void *)p->base))
			return PAYLOAD_NONE;
		p->base = (__u64)iov.iov_base;
		p->iovs = 0;
	}
	p->ok = 1;
	return PAYLOAD_OK;
}

struct iov_copy {
	__u64 vec;
	__u32 first;
	__u32 n;
	__u32 skip; /* bytes from the vector's element on, before the wanted ones */
	__u32 want;
	__u32 done;
	__u32 passed;	    /* elements stepped over */
	__u32 passed_bytes;
	__s32 err;
};

static int copy_iov(__u32 i, struct iov_copy *c)
{
	struct iovec iov;
	struct walk *s;
	__u32 at, len;

	if (c->first + i >= c->n || c->done >= c->want)
		return 1;
	if (bpf_probe_read_user(&iov, sizeof(iov), (void *)(c->vec + (c->first + i) * sizeof(iov)))) {
		c->err = -1;
		return 1;
	}
	if (iov.iov_len <= c->skip) {
		c->skip -= iov.iov_len;
		/* an empty element between others is no prefix */
		c->passed += !c->done;
		c->passed_bytes += iov.iov_len;
		return 0;
	}
	s = walk_get();
	if (!s)
		return 1;
	len = c->want - c->done;
	if (iov.iov_len - c->skip < len)
		len = iov.iov_len - c->skip;
	if (len > PIECE_MAX)
		len = PIECE_MAX;
	at = c->done & (PIECE_MAX - 1);
	if (bpf_probe_read_user(&s->data[at], len, (void *)((__u64)iov.iov_base + c->skip))) {
		c->err = -1;
		return 1;
	}
	c->skip = 0;
	c->done += len;
	return 0;
}

/*
 * Copies `want` (≤ PIECE_MAX) bytes from `off` of the event's payload into the walk; returns how many, or -1. Global, as
 * the protocols' entries are: verified once.
 */
int payload_look(__u32 off, __u32 want);
__weak int payload_look(__u32 off, __u32 want)
{
	struct walk *w = walk_get();
	struct iov_copy c = {};
	struct payload *p;

	if (!w)
		return -1;
	p = &w->pay;
	if (!p->found)
		payload_find(p);
	if (!p->ok)
		return -1;
	if (want > PIECE_MAX)
		want = PIECE_MAX;
	if (!p->iovs) {
		if (bpf_probe_read_user(w->data, want, (void *)(p->base + off)))
			return -1;
		return want;
	}
	c.vec = p->base;
	c.first = p->first;
	c.n = p->iovs;
	c.skip = off - p->first_off;
	c.want = want;
	bpf_loop(IOVS_MAX, copy_iov, &c, 0);
	p->first += c.passed;
	p->first_off += c.passed_bytes;
	return c.err || !c.done ? -1 : (int)c.done;
}
