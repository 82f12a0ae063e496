/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Unix stream sockets: what has no hook. */
#pragma once

#include "bpf/lib/conn.h"

/* close() has no hook, and the socket's memory stays until its peer is closed, too. */
static __always_inline bool unix_closed(const struct sock *sk)
{
	return sk->__sk_common.skc_family == AF_UNIX && sk->__sk_common.skc_state == TCP_CLOSE;
}
