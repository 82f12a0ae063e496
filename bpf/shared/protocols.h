/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The list of protocols: one line each, in the order in which the detectors are
 * asked about the first bytes of a connection. X(ID, name): the line makes
 * PROTO_ID, the kernel's <name>_detect()/<name>_walk() (bpf/proto/<name>.bpf.c)
 * and user space's `proto_<name>` (user/proto/<name>.c).
 */
#pragma once

#define SONDE_PROTOCOLS(X) \
	X(HTTP1, http1)

enum sonde_proto {
	PROTO_UNKNOWN = 0,
#define X(id, name) PROTO_##id,
	SONDE_PROTOCOLS(X)
#undef X
	PROTO_MAX,
};
