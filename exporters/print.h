/* SPDX-License-Identifier: Apache-2.0 */
/* The live view's own settings, besides --print; set before it is started. */
#pragma once

#include "exporters/wire/call_line.h"

void exporter_print_set_filter(const struct call_filter *f);
