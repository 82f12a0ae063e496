// SPDX-License-Identifier: Apache-2.0
/*
 * We open the socket ourselves: libmicrohttpd only says that it did not work, and not
 * why. One address, one socket; two sockets for one name would be two things to fail.
 */
#include "exporters/wire/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "user/base/log.h"
#include "user/base/str.h"

#define BACKLOG 64

struct address {
	char host[256]; /* "" is all */
	char port[8];
};

static int split(const char *text, struct address *ret)
{
	const char *colon = strrchr(text, ':');
	struct str host;
	uint64_t port;

	if (!colon || str_to_u64(str_of(colon + 1), &port) || port > UINT16_MAX)
		return -EINVAL;
	host = (struct str){text, (size_t)(colon - text)};
	if (host.len >= 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
		host = (struct str){host.p + 1, host.len - 2};
	else if (host.len && memchr(host.p, ':', host.len)) /* where does the port begin? */
		return -EINVAL;
	if (host.len >= sizeof(ret->host))
		return -EINVAL;
	snprintf(ret->host, sizeof(ret->host), "%.*s", (int)host.len, host.p ?: "");
	snprintf(ret->port, sizeof(ret->port), "%u", (unsigned)port);
	return 0;
}

static int open_one(const struct addrinfo *a, bool all)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, only6 = !all, err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, sizeof(only6));
	if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, BACKLOG))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static int try_family(const struct address *a, int family, int *ret_gai)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list = NULL;
	int fd;

	*ret_gai = getaddrinfo(*a->host ? a->host : NULL, a->port, &hints, &list);
	if (*ret_gai)
		return -EADDRNOTAVAIL;
	fd = open_one(list, !*a->host);
	freeaddrinfo(list);
	return fd;
}

static int refuse(const char *text, int err, int gai)
{
	const char *why = strerror(-err), *way_out = "";

	if (gai) {
		why = gai == EAI_SYSTEM ? strerror(errno) : gai_strerror(gai);
		way_out = ": give an address of this machine";
	} else if (err == -EADDRINUSE) {
		why = "the port is taken by another program";
		way_out = ": stop it, or choose another port";
	} else if (err == -EADDRNOTAVAIL) {
		way_out = ": give an address of this machine";
	} else if (err == -EACCES) {
		way_out = ": ports below 1024 need root";
	}
	return log_err_r(err, "--web.listen-address=%s: %s%s", text, why, way_out);
}

int listen_open(const char *text)
{
	struct address a;
	int gai, fd;

	if (split(text, &a))
		return log_err_r(-EINVAL,
				 "--web.listen-address=%s: give ADDRESS:PORT, [IPV6-ADDRESS]:PORT, :PORT for all "
				 "addresses, or none",
				 text);
	fd = try_family(&a, *a.host ? AF_INET : AF_INET6, &gai);
	/* a name or number that is not IPv4; or a kernel without IPv6 */
	if (gai || fd == -EAFNOSUPPORT || (fd == -EADDRNOTAVAIL && !*a.host))
		fd = try_family(&a, *a.host ? AF_INET6 : AF_INET, &gai);
	return fd < 0 ? refuse(text, fd, gai) : fd;
}
