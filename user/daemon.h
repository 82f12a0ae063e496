/* SPDX-License-Identifier: Apache-2.0 */
/* The capture loop: everything that `sonde` and `sonde tail` have in common. */
#pragma once

#include "user/config.h"

struct daemon_options {
	struct config *config;
	int argc; /* the flags, for a reload */
	char **argv;
	bool tail;	      /* no lock, no servers: lines only */
	int child;	      /* tail -- COMMAND: its pid; the loop ends with it and its descendants. 0: none */
	int child_go;	      /* gets a byte when capture is attached, and lets the child go on; -1 */
};

/* Runs until SIGTERM, SIGINT, or the child's end. The process' exit status. */
int daemon_run(const struct daemon_options *o);
