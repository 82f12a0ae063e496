// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel around classify.bpf.c: memory, clock, ring, counters. Bytes behind a copy are made hostile
 * each time, because in the kernel they are what another connection left there.
 */
#define STEPS_MAX 4096
#include "bpf/classify.bpf.c"

#include "tests/shim/kernel.h"

static struct {
	shim_emit_fn *emit;
	void *ctx;
	__u64 clock;
	__u64 stats[STAT_MAX];
	__u64 copied;
	struct walk walk;
	struct task_struct task;
	struct pt_regs regs;
	struct net net;
} kernel;

struct walk *walk_get(void)
{
	return &kernel.walk;
}

__u64 bpf_ktime_get_ns(void)
{
	return ++kernel.clock;
}

__u64 bpf_get_current_pid_tgid(void)
{
	return 1000ULL << 32 | 1001;
}

struct task_struct *bpf_get_current_task_btf(void)
{
	return &kernel.task;
}

long bpf_task_pt_regs(struct task_struct *task)
{
	return (long)&kernel.regs;
}

void *bpf_map_lookup_elem(void *map, const void *key)
{
	return map == &stats ? &kernel.stats[*(const __u32 *)key] : NULL;
}

int judge(__u64 task, __u32 tgid)
{
	return VERDICT_READ;
}

int judge_port(__u32 port, __u32 other)
{
	return VERDICT_READ;
}

long bpf_ringbuf_output(void *map, void *data, __u64 size, __u64 flags)
{
	return kernel.emit(kernel.ctx, data, size);
}

/* What stands behind the bytes just copied. */
static void spoil(__u8 *p)
{
	static const char *const stale[] = {
		"\r\n\r\n", "th: 77777\r\n\r\n", "99\r\n", "HTTP/1.1 204 x\r\n\r\n", "\nContent-Length: 31337\r\n\r\n",
		"g: chunked\r\n\r\n", "0\r\n\r\n", "ffff", " / HTTP/1.1\r\n\r\n",
	};
	static unsigned int turn;
	const char *s = stale[turn++ % (sizeof(stale) / sizeof(*stale))];

	while (*s && p < kernel.walk.data + sizeof(kernel.walk.data))
		*p++ = *s++;
}

long bpf_probe_read_user(void *dst, __u32 size, const void *src)
{
	__u8 *p = dst;

	__builtin_memcpy(dst, src, size);
	if (p < kernel.walk.data || p >= kernel.walk.data + sizeof(kernel.walk.data))
		return 0;
	kernel.copied += size;
	spoil(p + size);
	return 0;
}

void shim_kernel_init(shim_emit_fn *fn, void *ctx)
{
	__builtin_memset(&kernel, 0, sizeof(kernel));
	kernel.emit = fn;
	kernel.ctx = ctx;
	kernel.clock = 1000;
}

static struct sock *socket_of(void)
{
	static struct sock sk;

	sk.__sk_common.skc_family = AF_INET;
	sk.__sk_common.skc_net.net = &kernel.net;
	return &sk;
}

void shim_conn_open(struct sonde_conn *c, __u64 id, __u16 flags)
{
	__builtin_memset(c, 0, sizeof(*c));
	c->id = id;
	c->flags = flags;
	conn_announce(socket_of(), c, 0);
}

void shim_conn_bytes(struct sonde_conn *c, int dir, const struct shim_iovec *iov, int n_iov, __u32 n)
{
	struct passed p = { .dir = dir, .n = n, .start_ns = bpf_ktime_get_ns(), .wait_ns = ~0ULL };

	/* as in hook/sock.bpf.c */
	if (c->ignored)
		return;
	kernel.regs = (struct pt_regs){ .orig_ax = NR_readv, .si = (__u64)iov, .dx = n_iov };
	if (n_iov == 1)
		kernel.regs = (struct pt_regs){ .orig_ax = NR_read, .si = (__u64)iov->base };
	else if (!n_iov)
		kernel.regs = (struct pt_regs){ .orig_ax = ~0ULL };
	conn_bytes(socket_of(), c, &p);
}

void shim_conn_end(struct sonde_conn *c, __u32 how)
{
	conn_end(c, how, 0);
}

__u64 shim_stat(enum sonde_stat id)
{
	return kernel.stats[id];
}

__u64 shim_copied(void)
{
	return kernel.copied;
}
