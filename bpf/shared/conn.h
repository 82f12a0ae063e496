/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * State of one connection, in its socket's storage: it is charged to the program's own
 * socket option memory (net.core.optmem_max), so it is kept small, and it dies with the
 * socket.
 */
#pragma once

#define CONN_PROTO_STATE 72

struct sonde_conn {
	__u64 id;	  /* unique in this run; 0: not a connection yet (a listener) */
	__u64 pos[2];	  /* bytes that passed, per direction */
	__u64 last_ns[2];
	__u64 ready_ns;	  /* first unread byte arrived; 0: nothing unread; ~0: not known */
	__u64 send_ns;	  /* the send call under way began; client before it is established: SYN sent */
	__u32 tcp_seq[2]; /* copied_seq / write_seq after the last hook */
	__u32 tgid;	  /* whose verdict let the last bytes be read */
	__u32 gen;	  /* live.conn_gen at that verdict */
	__u16 flags;	  /* enum sonde_conn_flags */
	__u8 proto;	  /* enum sonde_proto */
	__u8 last_dir;
	__u32 turns;	  /* unsuccessful looks at a connection that was joined late */
	__u64 proto_state[CONN_PROTO_STATE / 8];
};
