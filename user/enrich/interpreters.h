/* SPDX-License-Identifier: Apache-2.0 */
/* What an interpreter was told to run. Pure but for identity_input.read_file. */
#pragma once

#include "user/enrich/identity.h"

#define ARGS_MAX 512

struct args {
	struct str v[ARGS_MAX];
	size_t n;
};

/*
 * The name of the program that `exe` (base name) interprets: true, and *ret holds it.
 * False: not an interpreter, or none that was given a program by name; ret->name is then the
 * interpreter's own name without its version, or empty when it is none.
 */
bool interpreters_program(struct str exe, const struct args *args, const struct identity_input *in,
			  struct identity_program *ret);
