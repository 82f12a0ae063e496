// SPDX-License-Identifier: Apache-2.0
/*
 * A closed loop: CONNECTIONS keep-alive connections, each with one request out at any time, REQUESTS in all.
 * Beside its own stamps around each request it takes the kernel's for the arrival of the answer's last
 * segment (SO_TIMESTAMPNS), so its own wait before it reads is known and not guessed.
 *
 *   closed PORT CONNECTIONS REQUESTS TARGET      "GET TARGETn"; prints one JSON object, times in ns
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNS_MAX 1024

struct conn {
	int fd;
	uint64_t sent;
	size_t have, want; /* of the answer; want 0: its head is not whole yet */
	char head[4096];
};

static struct conn conns[CONNS_MAX];
static uint64_t n_sent, n_done, n_want, sum_time, sum_own_wait, unstamped;
static const char *target;

static void die(const char *what)
{
	fprintf(stderr, "closed: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* the kernel's stamps are of this clock */
static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void ask(struct conn *c)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), "GET %s%llu HTTP/1.1\r\nHost: closed\r\n\r\n", target, (unsigned long long)n_sent++);

	c->have = c->want = 0;
	c->sent = now();
	if (write(c->fd, text, n) != n)
		die("write");
}

static uint64_t stamp_of(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct timespec t;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&t, CMSG_DATA(c), sizeof(t));
		return t.tv_sec * 1000000000ULL + t.tv_nsec;
	}
	return 0;
}

/* Bytes of an answer are there. */
static void answer(struct conn *c)
{
	char control[256], *end, *length;
	struct iovec iov = { c->head + c->have, sizeof(c->head) - 1 - c->have };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(c->fd, &m, 0);
	uint64_t at = now(), arrived;

	if (n <= 0)
		die("the server closed");
	c->have += n;
	c->head[c->have] = 0;
	if (!c->want) {
		end = strstr(c->head, "\r\n\r\n");
		length = strcasestr(c->head, "content-length:");
		if (!end)
			return;
		if (strncmp(c->head, "HTTP/1.1 200 ", 13) || !length)
			die("not a plain 200");
		c->want = end + 4 - c->head + strtoul(length + 15, NULL, 10);
	}
	if (c->have < c->want)
		return;
	arrived = stamp_of(&m);
	n_done++;
	sum_time += at - c->sent;
	if (arrived && arrived <= at)
		sum_own_wait += at - arrived;
	else
		unstamped++;
	if (n_sent < n_want)
		ask(c);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int ep = epoll_create1(0), n = argc == 5 ? atoi(argv[2]) : 0, one = 1;

	if (n < 1 || n > CONNS_MAX) {
		fprintf(stderr, "usage: closed PORT CONNECTIONS REQUESTS TARGET\n");
		return 2;
	}
	to.sin_port = htons(atoi(argv[1]));
	n_want = strtoull(argv[3], NULL, 10);
	target = argv[4];
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &conns[i] };

		conns[i].fd = socket(AF_INET, SOCK_STREAM, 0);
		if (conns[i].fd < 0 || connect(conns[i].fd, (struct sockaddr *)&to, sizeof(to)))
			die("connect");
		setsockopt(conns[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (setsockopt(conns[i].fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) ||
		    epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev))
			die("socket");
	}
	usleep(100000); /* the kernel switches its stamps on in a work queue */
	for (int i = 0; i < n && n_sent < n_want; i++)
		ask(&conns[i]);
	while (n_done < n_want) {
		struct epoll_event ev[64];
		int got = epoll_wait(ep, ev, 64, 10000);

		if (got <= 0)
			die("no answer for 10 s");
		for (int i = 0; i < got; i++)
			answer(ev[i].data.ptr);
	}
	printf("{\"requests\": %llu, \"time\": %llu, \"own_wait\": %llu, \"unstamped\": %llu}\n", (unsigned long long)n_done,
	       (unsigned long long)sum_time, (unsigned long long)sum_own_wait, (unsigned long long)unstamped);
	return 0;
}
