/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The records that cross the ring buffers. Times are bpf_ktime_get_ns()
 * (CLOCK_MONOTONIC), ports are in host byte order, addresses in network byte order.
 * Every record starts with struct ev_hdr; `size` is the record's whole length.
 */
#pragma once

enum sonde_event_kind {
	EV_NONE = 0,
	/* data ring, in the order in which they happened on one connection */
	EV_CONN,     /* struct ev_conn: a connection is there; always before its other records */
	EV_DATA,     /* struct ev_data + bytes */
	EV_END,	     /* struct ev_end: one or both directions ended */
	EV_TCP_FAIL, /* struct ev_tcp_fail: connect() that did not succeed */
	/* control ring */
	EV_EXEC,     /* struct ev_exec + args + environment */
	EV_FORK,     /* struct ev_proc */
	EV_EXIT,     /* struct ev_proc */
};

struct ev_hdr {
	__u16 kind;
	__u16 flags;
	__u32 size;
	__u64 ts;
};

enum sonde_dir { DIR_RECV = 0, DIR_SEND = 1 };

enum sonde_conn_flags {
	CONN_SERVER = 1 << 0,	  /* accepted */
	CONN_CLIENT = 1 << 1,	  /* connected */
	CONN_FROM_START = 1 << 2, /* both streams are seen from their first byte */
	CONN_LISTENER = 1 << 3,	  /* a listening socket; its children inherit the storage */
	CONN_OWN = 1 << 4,	  /* sonde's own socket */
	CONN_TLS = 1 << 5,
};

struct ev_conn {
	struct ev_hdr h;
	__u64 conn;
	__u64 connect_ns; /* client: SYN sent → established; 0 unknown */
	__u32 tgid;
	__u32 netns;
	__u16 family; /* AF_INET, AF_INET6, AF_UNIX */
	__u16 flags;  /* enum sonde_conn_flags */
	__u16 lport;
	__u16 rport;
	__u8 laddr[16]; /* IPv4 in the first four bytes */
	__u8 raddr[16];
	char path[108]; /* unix; [0] = '@' for abstract names */
	__u8 proto;	/* enum sonde_proto; PROTO_UNKNOWN until classified */
	__u8 pad[3];
};

enum sonde_data_flags {
	DATA_GAP = 1 << 0, /* a record of this connection was lost before this one: times of what lies between are not known */
};

struct ev_data {
	struct ev_hdr h;
	__u64 conn;
	__u64 pos;	/* of data[0] in its direction's stream, as far as it was seen */
	__u64 start_ns; /* the first byte passed; h.ts: the last one did, with those of `after` */
	__u64 wait_ns;	/* ~0: unknown */
	__u64 note;	/* the protocol half's word about the bytes, see note.h */
	__u64 after;	/* so many bytes passed behind them that nobody needs to see: a hole that has come to its end */
	__u32 tgid;
	__u32 tid;
	__u32 len;	/* bytes of data; 0: only the position moves */
	__u32 span;	/* bytes of the stream that they stand for: more than len where the protocol's half abridged them */
	__u32 pad;
	__u16 heads;	/* requests that begin here, as far as the kernel's half can tell */
	__u8 dir;
	__u8 proto;
};

enum sonde_end_how {
	END_PEER_FIN = 1,
	END_LOCAL_FIN,
	END_LOCAL_CLOSE,
	END_PEER_RESET,
	END_TIMEOUT,
	END_GONE,
	END_CLOSED = 0x80, /* flag: the socket is closed, nothing follows */
};

/* Which direction has ended. The other one's numbers in struct ev_end may be ahead of its records: a call of it may be under way. */
static inline int end_covers(unsigned int how, int dir)
{
	return how != (dir == DIR_RECV ? END_LOCAL_FIN : END_PEER_FIN);
}

struct ev_end {
	struct ev_hdr h;
	__u64 conn;
	__u64 pos[2];
	__u64 last_ns[2]; /* when the last byte of each direction passed; 0: none did */
	__u64 note[2];	  /* the protocol half's word on where each direction stands, see note.h */
	__u32 tgid;
	__u16 how; /* enum sonde_end_how */
	__u16 err; /* sk_err */
};

enum sonde_tcp_fail { TCP_FAIL_REFUSED = 1, TCP_FAIL_TIMEOUT, TCP_FAIL_RESET, TCP_FAIL_UNREACHABLE, TCP_FAIL_ABANDONED };

struct ev_tcp_fail {
	struct ev_hdr h;
	__u64 connect_ns;
	__u32 tgid;
	__u16 family;
	__u16 rport;
	__u8 raddr[16];
	__u16 reason;
	__u16 err;
	__u32 pad;
};

struct ev_proc {
	struct ev_hdr h;
	__u32 tgid;
	__u32 ppid;
};

#define EXEC_ARGS_MAX 1024
#define EXEC_ENV_MAX 4096
#define EXEC_FILE_MAX 256

struct ev_exec {
	struct ev_hdr h;
	__u32 tgid;
	__u32 ppid;
	__u32 uid;
	__u32 pad;
	__u64 start_ns; /* of the process, since boot (CLOCK_BOOTTIME) */
	char comm[16];
	char file[EXEC_FILE_MAX];
	__u16 args_len;
	__u16 env_len;
	__u32 pad2;
	/* args, then environment, both NUL-separated and cut at their maximum */
};
