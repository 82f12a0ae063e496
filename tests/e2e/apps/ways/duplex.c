// SPDX-License-Identifier: Apache-2.0
/*
 * Both directions of one connection at the same time, a thread for each.
 *
 * duplex: a chunked request streams while its answer does; the answer begins behind the request's head, the next
 *   request when all is over.
 * halves: one thread of the client writes requests, up to WINDOW ahead, another reads their answers.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/apps/ways/ways.h"

#define PIECES	    60
#define PIECE_LINES 40
#define LINE	    32
#define BODY	    ((size_t)PIECES * PIECE_LINES * LINE)
#define WINDOW	    8

/* PIECES writes of PIECE_LINES chunks each, behind a head of its own write. */
static void stream(struct end *e, const char *head)
{
	char piece[PIECE_LINES * (LINE + 8)], *p = piece;

	for (int i = 0; i < PIECE_LINES; i++)
		p += sprintf(p, "%x\r\n%0*d\r\n", LINE, LINE, i);
	write_all(e, head, strlen(head), strlen(head));
	for (int i = 0; i < PIECES; i++)
		write_all(e, piece, 0, (size_t)(p - piece));
	write_all(e, "0\r\n\r\n", 0, 5);
}

struct side {
	struct end *e;
	pthread_barrier_t turn;
	const struct load *load;
};

static void request_of(const struct load *load, unsigned i, struct message *ret)
{
	memset(ret, 0, sizeof(*ret));
	strcpy(ret->method, "POST");
	snprintf(ret->target, sizeof(ret->target), "/duplex?t=%s%u", load->mark, load->number + i);
	ret->body = BODY;
}

static void *client_writes(void *arg)
{
	struct side *s = arg;

	for (unsigned i = 0; i < s->load->count; i++) {
		struct message m;
		char head[512];

		request_of(s->load, i, &m);
		snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: ways\r\nTransfer-Encoding: chunked\r\n\r\n",
			 m.target);
		stream(s->e, head);
		pthread_barrier_wait(&s->turn);
	}
	return NULL;
}

void duplex_client(struct end *e, const struct load *load)
{
	struct side s = {.e = e, .load = load};
	struct message request, answer;
	pthread_t writer;

	pthread_barrier_init(&s.turn, NULL, 2);
	pthread_create(&writer, NULL, client_writes, &s);
	for (unsigned i = 0; i < load->count; i++) {
		if (read_message(e, &answer, true, false))
			die("no answer");
		request_of(load, i, &request);
		log_call("client", &request, &answer);
		pthread_barrier_wait(&s.turn);
	}
	pthread_join(writer, NULL);
	pthread_barrier_destroy(&s.turn);
}

static void *server_writes(void *e)
{
	stream(e, "HTTP/1.1 200 Said\r\nTransfer-Encoding: chunked\r\n\r\n");
	return NULL;
}

/* Some bytes of the next request; they may have come with the end of the last. */
static bool has_begun(struct end *e)
{
	ssize_t r;

	if (e->at < e->len)
		return true;
	r = e->reads->move(e, e->buf, 1000);
	if (r <= 0)
		return false;
	e->at = 0;
	e->len = (size_t)r;
	e->reads->bytes += (size_t)r;
	return true;
}

/* The answer begins as soon as there is a byte of the request. */
void duplex_server(struct end *e)
{
	struct message request, answer = {.status = 200, .body = BODY};

	while (has_begun(e)) {
		pthread_t writer;

		pthread_create(&writer, NULL, server_writes, e);
		if (read_message(e, &request, false, false))
			die("no request");
		pthread_join(writer, NULL);
		log_call("server", &request, &answer);
	}
}

struct halves {
	struct end *e;
	const struct load *load;
	struct message sent[WINDOW];
	sem_t free, used;
};

static void *halves_write(void *arg)
{
	struct halves *h = arg;
	char *buf = malloc(BUF_SIZE);

	for (unsigned i = 0; buf && i < h->load->count; i++) {
		size_t head, n;

		sem_wait(&h->free);
		n = make_request(buf, BUF_SIZE, h->load->plan, h->load->mark, h->load->number + i, &head,
				 &h->sent[i % WINDOW]);
		sem_post(&h->used);
		write_all(h->e, buf, head, n);
	}
	free(buf);
	return NULL;
}

void halves_client(struct end *e, const struct load *load)
{
	struct halves h = {.e = e, .load = load};
	pthread_t writer;

	sem_init(&h.free, 0, WINDOW);
	sem_init(&h.used, 0, 0);
	pthread_create(&writer, NULL, halves_write, &h);
	for (unsigned i = 0; i < load->count; i++) {
		struct message *m = &h.sent[i % WINDOW], answer;

		sem_wait(&h.used);
		if (read_message(e, &answer, true, !strcmp(m->method, "HEAD")))
			die("no answer");
		log_call("client", m, &answer);
		sem_post(&h.free);
	}
	pthread_join(writer, NULL);
}
