// SPDX-License-Identifier: Apache-2.0
/*
 * Connections whose end meets what is still being written: a server thread on one CPU, a client that spins on
 * another and ends its side as soon as the first byte of the answer is there. races WAY COUNT; prints how many requests
 * it made. Ways: half-close, close, pipeline (half-close; two answers in three writes), reconnect (one socket, an
 * answer is left unread each time).
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPIN_MAX 3000

static struct sockaddr_in address = { .sin_family = AF_INET };
static int listener, count;
static bool pipelined;

static void run_on(int cpu)
{
	cpu_set_t s;

	CPU_ZERO(&s);
	CPU_SET(cpu, &s);
	sched_setaffinity(0, sizeof(s), &s);
}

static void put(int fd, const char *text)
{
	send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void *serve(void *unused)
{
	char buf[4096];

	(void)unused;
	run_on(0);
	for (int i = 0; i < count; i++) {
		int fd = accept(listener, NULL, NULL), one = 1;

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (recv(fd, buf, sizeof(buf), 0) > 0) {
			if (pipelined) {
				put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
				put(fd, "helloHTTP/1.1 201 OK\r\nContent-Length: 6\r\n\r\n");
				put(fd, "worlds");
			} else {
				put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello");
			}
			while (recv(fd, buf, sizeof(buf), 0) > 0)
				;
		}
		close(fd);
	}
	return NULL;
}

static int ask(int fd, bool both)
{
	const char *q = "GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n";

	if (connect(fd, (void *)&address, sizeof(address)))
		return -1;
	return send(fd, q, both ? strlen(q) : strlen(q) / 2, MSG_NOSIGNAL) > 0 ? 0 : -1;
}

static int reconnect(void)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char c;

	for (int i = 0; i < count; i++) {
		if (ask(fd, false))
			return -1;
		recv(fd, &c, 1, MSG_PEEK);
		connect(fd, &none, sizeof(none));
	}
	return close(fd);
}

static int race(bool half)
{
	char buf[4096];

	for (int i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (ask(fd, pipelined))
			return -1;
		while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_PEEK) <= 0)
			;
		for (volatile int k = rand() % SPIN_MAX; k > 0; k--)
			;
		if (half)
			shutdown(fd, SHUT_WR);
		/* the other way: all of the answer is read, then it closes at once */
		while (half ? recv(fd, buf, sizeof(buf), 0) > 0 : recv(fd, buf, sizeof(buf), 0) < 0)
			;
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	socklen_t len = sizeof(address);
	pthread_t server;
	int err;

	if (argc != 3)
		return 2;
	count = atoi(argv[2]);
	pipelined = !strcmp(argv[1], "pipeline");
	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (void *)&address, len) || listen(listener, 500) || getsockname(listener, (void *)&address, &len))
		return 1;
	if (pthread_create(&server, NULL, serve, NULL))
		return 1;
	run_on(1);
	err = strcmp(argv[1], "reconnect") ? race(strcmp(argv[1], "close")) : reconnect();
	if (err) {
		perror(argv[1]);
		return 1;
	}
	pthread_join(server, NULL);
	printf("%d\n", count * (pipelined ? 2 : 1));
	return 0;
}
