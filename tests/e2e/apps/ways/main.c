// SPDX-License-Identifier: Apache-2.0
/*
 * One end of HTTP/1.1 connections whose bytes pass by given ways, and which tells what it saw: a line `call ROLE
 * METHOD TARGET STATUS REQUEST_BODY RESPONSE_BODY PID` per call, and at the end `bytes read|write WAY COUNT`.
 *
 *   ways server|client --at=PLACE[,PLACE…] --conn=READ/WRITE*MESSAGES[,…] [--conn=…] [OPTIONS]
 *
 * PLACE: tcp4:ADDRESS:PORT, tcp6:ADDRESS:PORT, unix:PATH (@NAME: abstract), fd: the listening socket that is standard
 * input.
 * --conn: the ways of one connection, in turn; connections take them in turn. A client opens one after the other at
 * each place, says `done` when all have their answers, and keeps them open until it gets a line on standard input. At a
 * line both say `closed`; they end with their standard input.
 *
 *   --plan=mixed|length|big   what is asked                    --mark=TEXT   in every target
 *   --pause=N    client: after N requests on each connection it says `paused` and waits for a line
 *   --mptcp      sockets of that kind
 *   --fastopen   TCP Fast Open: a client's first bytes go with its SYN, where the machine lets them
 *   --mode=duplex             both ends: request and answer at the same time, on two threads
 *   --mode=halves             client: one thread writes, one reads
 *   --mode=fork               after the first message of a connection a child process goes on with it
 *   --mode=pass               server: connections are handed over to another process (SCM_RIGHTS)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/apps/ways/ways.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define CONNS_MAX 32

enum mode { PLAIN, DUPLEX, HALVES, FORK, PASS };

static struct phase conns[CONNS_MAX][PHASES_MAX + 1];
static unsigned n_conns;
static char *places;
static bool mptcp, fastopen;
static enum mode mode;
static struct load load = {.plan = "mixed", .mark = ""};

/* --- sockets --- */

union any_addr {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static socklen_t parse_unix(const char *path, struct sockaddr_un *ret)
{
	size_t n = strlen(path);

	ret->sun_family = AF_UNIX;
	if (n >= sizeof(ret->sun_path))
		die("unix path");
	memcpy(ret->sun_path, path, n);
	if (path[0] != '@')
		return sizeof(*ret);
	ret->sun_path[0] = 0;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

static socklen_t parse_place(char *place, union any_addr *ret)
{
	char *port = strrchr(place, ':');

	memset(ret, 0, sizeof(*ret));
	if (!strncmp(place, "unix:", 5))
		return parse_unix(place + 5, &ret->un);
	if (!port || strlen(place) < 5)
		die("place");
	*port++ = 0;
	if (!strncmp(place, "tcp6:", 5)) {
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = htons((uint16_t)atoi(port));
		return inet_pton(AF_INET6, place + 5, &ret->in6.sin6_addr) == 1 ? sizeof(ret->in6) : 0;
	}
	ret->in.sin_family = AF_INET;
	ret->in.sin_port = htons((uint16_t)atoi(port));
	return inet_pton(AF_INET, place + 5, &ret->in.sin_addr) == 1 ? sizeof(ret->in) : 0;
}

static int open_socket(int family)
{
	int one = 1, fd = socket(family, SOCK_STREAM, mptcp && family != AF_UNIX ? IPPROTO_MPTCP : 0);

	if (fd < 0)
		die("socket");
	if (family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	return fd;
}

static int listen_at(char *place)
{
	union any_addr a;
	socklen_t len;
	int fd;

	if (!strcmp(place, "fd"))
		return dup(0);
	len = parse_place(place, &a);
	fd = open_socket(a.any.sa_family);
	if (fastopen)
		setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &(int){16}, sizeof(int));
	if (bind(fd, &a.any, len) || listen(fd, 64))
		die("listen");
	return fd;
}

static struct end *connect_to(char *place, const struct phase *phases)
{
	union any_addr a;
	socklen_t len = parse_place(place, &a);
	int fd = open_socket(a.any.sa_family);

	if (fastopen && setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){1}, sizeof(int)))
		die("TCP_FASTOPEN_CONNECT");
	if (connect(fd, &a.any, len))
		die("connect");
	return end_new(fd, a.any.sa_family == AF_UNIX, phases);
}

static void say(const char *line)
{
	if (write(1, line, strlen(line)) < 0)
		_exit(1);
}

/* A line of standard input; false at its end. */
static bool wait_for_word(void)
{
	char c = 0;

	while (read(0, &c, 1) == 1)
		if (c == '\n')
			return true;
	return false;
}

static void closed(void)
{
	ways_print(stdout);
	fflush(stdout);
	say("closed\n");
}

/* --- server --- */

static bool serve_one(struct end *e, char *buf, unsigned number)
{
	struct message request, answer;
	size_t head, n;

	end_phase(e, number);
	if (read_message(e, &request, false, false))
		return false;
	n = make_answer(buf, BUF_SIZE, &request, &head, &answer);
	write_all(e, buf, head, n);
	log_call("server", &request, &answer);
	return true;
}

/* The child goes on with the connection, the parent keeps it open and says no more. */
static void go_on_in_child(struct end *e)
{
	pid_t child = fork();

	if (!child)
		return;
	waitpid(child, NULL, 0);
	end_free(e);
	pthread_exit(NULL);
}

static void *serve(void *arg)
{
	struct end *e = arg;
	char *buf = malloc(BUF_SIZE);

	if (mode == DUPLEX)
		duplex_server(e);
	else
		for (unsigned i = 0; serve_one(e, buf, i); i++)
			if (!i && mode == FORK)
				go_on_in_child(e);
	end_free(e);
	free(buf);
	if (mode == FORK)
		_exit(0);
	return NULL;
}

static void hand_over(int channel, int fd)
{
	char c = 'c', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	if (sendmsg(channel, &m, 0) != 1)
		die("SCM_RIGHTS");
	close(fd);
}

static int take_over(int channel)
{
	char c, control[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int fd;

	if (recvmsg(channel, &m, 0) != 1 || !CMSG_FIRSTHDR(&m))
		_exit(0);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	return fd;
}

static void start_serving(int fd, unsigned number)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	pthread_t t;

	if (getsockname(fd, (void *)&a, &len))
		die("getsockname");
	if (pthread_create(&t, NULL, serve, end_new(fd, a.ss_family == AF_UNIX, conns[number % n_conns])))
		die("thread");
	pthread_detach(t);
}

/* The other process, which gets the connections; the channel to it. */
static int start_worker(void)
{
	int channel[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel))
		die("socketpair");
	if (fork()) {
		close(channel[1]);
		return channel[0];
	}
	close(channel[0]);
	for (unsigned i = 0;; i++)
		start_serving(take_over(channel[1]), i);
}

static void accept_one(int listener, int channel)
{
	static unsigned accepted;
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		die("accept");
	if (channel >= 0)
		hand_over(channel, fd);
	else
		start_serving(fd, accepted++);
}

static void server(void)
{
	int channel = mode == PASS ? start_worker() : -1;
	struct pollfd p[8];
	nfds_t n = 0;
	bool inherited = !strcmp(places, "fd");

	for (char *s = strtok(places, ","); s && n < 7; s = strtok(NULL, ","))
		p[n++] = (struct pollfd){.fd = listen_at(s), .events = POLLIN};
	if (!inherited)
		p[n++] = (struct pollfd){.fd = 0, .events = POLLIN};
	say("listening\n");
	for (nfds_t listeners = inherited ? n : n - 1;;) {
		if (poll(p, n, -1) < 0)
			die("poll");
		if (!inherited && p[n - 1].revents) {
			if (!wait_for_word())
				return;
			closed();
		}
		for (nfds_t i = 0; i < listeners; i++)
			if (p[i].revents)
				accept_one(p[i].fd, channel);
	}
}

/* --- client --- */

static void ask_one(struct end *e, char *buf, unsigned number, unsigned i)
{
	struct message request, answer;
	size_t head, n;

	end_phase(e, i);
	n = make_request(buf, BUF_SIZE, load.plan, load.mark, number, &head, &request);
	write_all(e, buf, head, n);
	if (read_message(e, &answer, true, !strcmp(request.method, "HEAD")))
		die("no answer");
	log_call("client", &request, &answer);
}

static unsigned messages_of(const struct phase *p)
{
	unsigned n = 0;

	for (; p->reads; p++)
		n += p->messages;
	return n;
}

/* Requests from..to of a connection. */
static void ask(struct end *e, unsigned number, unsigned from, unsigned to)
{
	static char buf[BUF_SIZE];

	if (mode == DUPLEX || mode == HALVES) {
		load.number = number + from;
		load.count = to - from;
		(mode == DUPLEX ? duplex_client : halves_client)(e, &load);
		return;
	}
	for (unsigned i = from; i < to; i++) {
		if (mode == FORK && i == 1) {
			int status;
			pid_t child = fork();

			if (child) {
				if (waitpid(child, &status, 0) != child || status)
					die("child");
				return;
			}
		}
		ask_one(e, buf, number + i, i);
	}
	if (mode == FORK)
		_exit(0);
}

static void client(void)
{
	struct end *e[CONNS_MAX * 3];
	unsigned first[CONNS_MAX * 3], n = 0, number = 0;

	for (char *s = strtok(places, ","); s; s = strtok(NULL, ",")) {
		for (unsigned i = 0; i < n_conns; i++) {
			char place[200];

			snprintf(place, sizeof(place), "%s", s);
			first[n] = number;
			e[n++] = connect_to(place, conns[i]);
			ask(e[n - 1], number, 0, load.pause ? load.pause : messages_of(conns[i]));
			number += messages_of(conns[i]);
		}
	}
	if (load.pause) {
		say("paused\n");
		wait_for_word();
		for (unsigned i = 0; i < n; i++)
			ask(e[i], first[i], load.pause, messages_of(e[i]->phases));
	}
	say("done\n");
	wait_for_word();
	while (n)
		end_free(e[--n]);
	closed();
	wait_for_word();
}

/* --- options --- */

static void parse_conn(char *text)
{
	struct phase *p = conns[n_conns++];
	char *save, *s = strtok_r(text, ",", &save);

	for (int i = 0; s && i < PHASES_MAX; i++, s = strtok_r(NULL, ",", &save)) {
		char reads[32], writes[32];

		if (sscanf(s, "%31[^/]/%31[^*]*%u", reads, writes, &p[i].messages) != 3)
			die("--conn");
		p[i].reads = way_find(reads, true);
		p[i].writes = way_find(writes, false);
		if (!p[i].reads || !p[i].writes)
			die("no such way");
	}
}

static enum mode parse_mode(const char *text)
{
	static const char *const names[] = {"plain", "duplex", "halves", "fork", "pass"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i], text))
			return i;
	die("--mode");
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"at", 1, NULL, 'a'},	    {"conn", 1, NULL, 'c'},  {"plan", 1, NULL, 'p'},
		{"mark", 1, NULL, 'm'},	    {"pause", 1, NULL, 'w'}, {"mptcp", 0, NULL, 'M'},
		{"fastopen", 0, NULL, 'F'}, {"mode", 1, NULL, 'o'},  {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'a':
			places = optarg;
			break;
		case 'c':
			parse_conn(optarg);
			break;
		case 'p':
			load.plan = optarg;
			break;
		case 'm':
			load.mark = optarg;
			break;
		case 'w':
			load.pause = (unsigned)atoi(optarg);
			break;
		case 'M':
			mptcp = true;
			break;
		case 'F':
			fastopen = true;
			break;
		case 'o':
			mode = parse_mode(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (!places || !n_conns || optind + 1 != argc)
		exit(2);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	parse(argc, argv);
	if (!strcmp(argv[optind], "server"))
		server();
	else
		client();
	return 0;
}
