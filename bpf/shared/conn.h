/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * State of one connection, in its socket's storage: it is charged to the program's own
 * socket option memory (net.core.optmem_max), so it is kept small, and it dies with the
 * socket.
 *
 * No lock is taken. A connection may be read and written on two CPUs at the same time, so each direction has
 * its half, and only that direction's hook writes it (sends take turns among themselves in every program that means something
 * by them, and so do reads). What both write are whole bytes that are only ever set, or where the last one wins.
 */
#pragma once

#define CONN_HALF_STATE 48
#define CONN_HELD_MAX 64

struct sonde_half {
	__u64 pos;     /* bytes that passed */
	__u64 last_ns; /* when the last of them did; 0: none did */
	__u64 note;    /* what ev_end.note says if the connection ends here */
	__u32 tcp_seq; /* copied_seq / write_seq after the last hook */
	__u32 pad;
	__u64 proto_state[CONN_HALF_STATE / 8];
};

/*
 * A record whose message goes on with bytes that nobody needs to see: it waits for the message's end, so that both
 * make one record. Only one direction of a protocol may ask for it. Who exchanges `len` for 0 has it.
 */
struct sonde_held {
	__u64 pos;
	__u64 start_ns;
	__u64 note;
	__u32 tgid;
	__u32 tid;
	__u32 len; /* 0: there is none */
	__u32 span;
	__u8 data[CONN_HELD_MAX];
};

struct sonde_conn {
	__u64 id;	  /* unique in this run; 0: not a connection yet (a listener) */
	struct sonde_half half[2]; /* by enum sonde_dir */
	struct sonde_held held;
	__u64 ready_ns;	  /* first unread byte arrived; 0: nothing unread; ~0: not known */
	__u64 send_ns;	  /* the send call under way began; client before it is established: SYN sent */
	__u32 tgid;	  /* whose verdict let the last bytes be read */
	__u32 gen;	  /* live.conn_gen at that verdict */
	__u16 flags;	  /* enum sonde_conn_flags; changes before the first bytes and when they are classified */
	__u16 turns;	  /* unsuccessful looks at a connection that was joined late */
	__u8 proto;	  /* enum sonde_proto */
	__u8 req_dir;	  /* the direction of requests, set with proto */
	__u8 last_dir;
	__u8 held_dir;
	/* false or true */
	__u8 ignored;	  /* no protocol that we know: costs one look-up from now on */
	__u8 announced;	  /* EV_CONN is in the ring */
	__u8 ended;	  /* EV_END with END_CLOSED was sent */
	__u8 peer_fin;	  /* EV_END with END_PEER_FIN was sent */
	__u8 gap;	  /* a record of this connection was lost since the last one */
	__u8 unseen;	  /* bytes passed that could not be read */
	__u8 urgent;	  /* the send call under way is of urgent data */
	__u8 end_how;	  /* the end that waits until the program has read, or written, what is under way; 0: none does */
	__u16 end_err;
	__u8 pad[6];
};
