/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Facts about a socket. */
#pragma once

#include "bpf/lib/compat.h"
#include "bpf/maps.h"

/* TCP, MPTCP's connection (not its subflows) and unix streams. */
static __always_inline bool sock_is_stream(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	if (family == AF_INET || family == AF_INET6)
		return sk->sk_protocol == IPPROTO_TCP || sk->sk_protocol == IPPROTO_MPTCP;
	return family == AF_UNIX && sk->sk_type == SOCK_STREAM;
}

/* A socket of the kernel's own (a network file system), used in some program's name. */
static __always_inline bool sock_is_kernels(const struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD(sk, sk_kern_sock);
}

static __always_inline void sock_addrs(const struct sock *sk, __u8 *laddr, __u8 *raddr)
{
	if (sk->__sk_common.skc_family == AF_INET) {
		*(__u32 *)laddr = sk->__sk_common.skc_rcv_saddr;
		*(__u32 *)raddr = sk->__sk_common.skc_daddr;
	} else if (sk->__sk_common.skc_family == AF_INET6) {
		__builtin_memcpy(laddr, &sk->__sk_common.skc_v6_rcv_saddr, 16);
		__builtin_memcpy(raddr, &sk->__sk_common.skc_v6_daddr, 16);
	}
}

static __always_inline __u16 sock_lport(const struct sock *sk)
{
	return sk->__sk_common.skc_num;
}

static __always_inline __u16 sock_rport(const struct sock *sk)
{
	return bpf_ntohs(sk->__sk_common.skc_dport);
}

static __always_inline __u32 sock_netns(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->ns.inum;
}

/* An address as sock_tuple() spells it: 127.0.0.0/8 or ::1. */
static __always_inline bool is_loopback(const __u8 *a)
{
	const __u32 *w = (const __u32 *)a;

	if (w[1] | w[2] | w[3])
		return !(w[0] | w[1] | w[2]) && w[3] == bpf_htonl(1);
	return a[0] == 127;
}

/* The tuple as this socket spells it; v4 in v6 sockets is spelled as v4, so that both ends agree. */
static __always_inline void sock_tuple(const struct sock *sk, struct tuple_key *k, bool mirrored)
{
	__u8 *l = mirrored ? k->raddr : k->laddr, *r = mirrored ? k->laddr : k->raddr;

	sock_addrs(sk, l, r);
	if (sk->__sk_common.skc_family == AF_INET6 && !*(__u64 *)l && *(__u32 *)(l + 8) == (__u32)bpf_htonl(0xffff)) {
		*(__u32 *)l = *(__u32 *)(l + 12);
		*(__u32 *)r = *(__u32 *)(r + 12);
		*(__u64 *)(l + 8) = 0;
		*(__u64 *)(r + 8) = 0;
	}
	k->lport = mirrored ? sock_rport(sk) : sock_lport(sk);
	k->rport = mirrored ? sock_lport(sk) : sock_rport(sk);
	/* the far end may stand in another namespace, but not that of a loopback address */
	k->netns = is_loopback(l) ? sock_netns(sk) : 0;
}
