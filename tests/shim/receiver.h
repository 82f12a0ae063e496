/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of the ring: what user/flow.c does with the records of one connection, in front of the
 * real decoder, without the rooms behind it. Calls are kept.
 */
#pragma once

#include <linux/types.h>

#include "bpf/shared/event.h"
#include "user/proto/proto.h"

struct seen_call {
	char method[32];
	char path[64];
	int64_t status;
	uint64_t request_bytes, response_bytes, start_ns, first_ns, end_ns;
	bool answered;
	char error[24];
};

struct receiver {
	struct call_sink sink;
	struct flow flow;
	const struct proto *proto;
	void *state;
	uint64_t pos[2];
	bool known, unknown;
	struct seen_call *calls;
	size_t n_calls, room;
	uint64_t begun, ended, dropped, lost[CALL_LOSS_MAX];
	uint64_t lost_table; /* requests of records about a connection that we were not told of */
	uint64_t records, bytes;
};

void receiver_init(struct receiver *r);
void receiver_done(struct receiver *r);
/* One record of the data ring. */
void receiver_record(struct receiver *r, const struct ev_hdr *rec);
/* Past the kernel's half: bytes as they passed; the end. */
void receiver_bytes(struct receiver *r, enum sonde_proto proto, int dir, const void *p, size_t n, uint64_t ns);
/* The end was not told; records may be missing before it. */
void receiver_swept(struct receiver *r);
void receiver_end(struct receiver *r, enum flow_end how, uint64_t ns);
uint64_t receiver_lost(const struct receiver *r);
