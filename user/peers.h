/* SPDX-License-Identifier: Apache-2.0 */
/* Other daemons on this host. */
#pragma once

#include "user/config.h"

/*
 * Says to daemons that start later what this one observes, until *ret_fd is closed. A daemon
 * that observes some of the same already is -EEXIST and logged, unless `allow`.
 */
int peers_announce(const struct str_list *scope, bool allow, int *ret_fd);
