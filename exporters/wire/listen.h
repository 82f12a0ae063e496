/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets from what --web.listen-address says. */
#pragma once

/*
 * "127.0.0.1:9960", "[::1]:9960", "localhost:9960" (its IPv4 address if it has one), ":9960" (all
 * addresses, IPv4 and IPv6). A non-blocking listening socket, or -errno, logged in one line that names
 * address, reason and way out.
 */
int listen_open(const char *address);
