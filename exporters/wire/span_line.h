/* SPDX-License-Identifier: Apache-2.0 */
/* One span as one line of JSON. Pure. */
#pragma once

#include "user/base/buf.h"
#include "user/model/span.h"

/* Appends the line with its newline. */
void span_line_json(struct buf *b, const struct span *s);
