/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `ways` share: one end of a connection, and the ways in which it moves bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define BUF_SIZE   (256 << 10)
#define PHASES_MAX 8

struct end;
typedef ssize_t (*move_fn)(struct end *e, char *buf, size_t n);

/* Moves up to n > 0 bytes as recv() and send() do, but never 0 bytes before the stream's end, nor EAGAIN. */
struct way {
	const char *name;
	move_fn move;
	void (*prepare)(struct end *e); /* once per connection; may be NULL */
	_Atomic size_t bytes;		/* that it moved in all */
};

struct phase {
	struct way *reads, *writes;
	unsigned messages;
};

/* Of one connection, in one process; each direction belongs to one thread. */
struct end {
	int fd, dup_fd, pipe[2];
	bool is_unix;
	const struct phase *phases;
	struct way *reads, *writes; /* now */
	struct uring *uring[2];	    /* for reads, for writes */
	size_t body_left;	    /* bytes of the body under way that are still to be read, where that is known */
	size_t head_left;	    /* bytes of the head under way that are still to be written */
	size_t sent;		    /* bytes of the message under way that are written */
	bool urgent_sent;	    /* in the message under way */
	unsigned turn;		    /* a way that varies what it does counts here */
	char *buf;		    /* what was read and not used yet */
	size_t at, len;
};

/* One message, read or to be written. */
struct message {
	char first[256]; /* its first line */
	char method[16], target[200];
	int status;
	size_t body;
};

/* move.c */
struct way *way_find(const char *name, bool reads);
void ways_print(FILE *f);
void wait_ready(int fd, short events);

/* uring.c; empty lists where the program was built without it. A list ends with an entry without a name. */
extern struct way uring_reads[], uring_writes[];
void uring_close(struct end *e);

/* talk.c */
struct end *end_new(int fd, bool is_unix, const struct phase *phases);
void end_free(struct end *e);
void end_phase(struct end *e, unsigned message);
int read_message(struct end *e, struct message *ret, bool answer, bool no_body);
void write_all(struct end *e, const char *buf, size_t head, size_t n);
size_t make_request(char *buf, size_t cap, const char *plan, const char *mark, unsigned number, size_t *ret_head,
		    struct message *ret);
size_t make_answer(char *buf, size_t cap, const struct message *request, size_t *ret_head, struct message *ret);
void log_call(const char *role, const struct message *request, const struct message *answer);
void die(const char *what) __attribute__((noreturn));

/* duplex.c: both directions of one connection at the same time */
struct load {
	const char *plan, *mark;
	unsigned number; /* of the first request, in its target */
	unsigned count;
	unsigned pause; /* after so many requests of a connection; 0: never */
};
void duplex_client(struct end *e, const struct load *load);
void duplex_server(struct end *e);
void halves_client(struct end *e, const struct load *load);
