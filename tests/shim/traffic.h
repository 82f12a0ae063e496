/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random but valid HTTP/1 connections (RFC 9112), with the truth about them and with the system calls by which
 * one end of the connection would see them pass.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIDE_REQUESTS, SIDE_ANSWERS };

struct exchange {
	char method[16];
	char path[64];
	int status;
	bool early; /* the answer may be over before the request is: then the call is, too */
	uint64_t request_bytes, response_bytes;
	size_t head_end; /* of the request */
	size_t gate;	 /* so much of the requests' side passes before its answer begins */
	size_t answer_at;
};

/* A read or write: bytes [from, to) of one side. */
struct passing {
	int side;
	size_t from, to;
};

struct bytes {
	uint8_t *p;
	size_t n, room;
};

struct traffic {
	struct bytes side[2];
	struct exchange *x;
	size_t n_x, room_x;
	struct passing *ev;
	size_t n_ev, room_ev;
	bool by_close; /* the last answer ends with the connection */
	bool refused;  /* the body of the last request was not wanted: the next head does not come byte by byte */
	bool leaves;   /* the last exchange made it another protocol: what follows is no HTTP */
	uint64_t rng;
	size_t *cuts[2]; /* where a program's own writes end */
	size_t n_cuts[2], room_cuts[2];
};

/* Equal seeds make equal traffic. calls: at most so many exchanges. */
void traffic_make(struct traffic *t, uint64_t seed, size_t calls);
void traffic_free(struct traffic *t);

/* xorshift64*; [0, n) */
uint64_t rng_next(uint64_t *rng);
size_t rng_below(uint64_t *rng, size_t n);
void bytes_add(struct bytes *b, const void *p, size_t n);
