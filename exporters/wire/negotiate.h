/* SPDX-License-Identifier: Apache-2.0 */
/* Content negotiation as RFC 9110 (12.5) has it. Pure; a header that is missing is "". */
#pragma once

#include "exporters/wire/prom_text.h"

/*
 * OpenMetrics when the client names it (version 1.0.0, or none) with a weight that is
 * not below that of plain text. What cannot be satisfied gets plain text, as every
 * exporter does, not 406.
 */
enum prom_format negotiate_format(const char *accept);
/* gzip has a weight above 0, by name or by '*'. */
bool negotiate_gzip(const char *accept_encoding);
