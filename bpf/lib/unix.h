/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Unix stream sockets: what has no hook. */
#pragma once

#include "bpf/lib/conn.h"

/* close() has no hook, and the socket's memory stays until its peer is closed, too. */
static __always_inline bool unix_closed(const struct sock *sk)
{
	return sk->__sk_common.skc_family == AF_UNIX && sk->__sk_common.skc_state == TCP_CLOSE;
}

/* splice() out of it has no hook: something arrived, no read took it. Or the program never wanted it: that cannot be told. */
static __always_inline void unix_end(struct sonde_conn *c)
{
	bool doubt = c->ready_ns && c->ready_ns != ~0ULL;

	if (doubt && !c->ended)
		c->gap = 1;
	conn_end(c, (doubt ? END_GONE : END_LOCAL_CLOSE) | END_CLOSED, 0);
}
