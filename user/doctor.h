/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sonde doctor`: what this kernel and these rights allow, and how each running program will be
 * seen. Loads the BPF programs (attaches none). Returns 0: everything, 2: degraded, 1: impossible.
 */
#pragma once

#include "user/config.h"

int doctor_run(const struct config *config, bool json);
