/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls become spans: identity, parent from a valid traceparent, sampling. Linking
 * inside a process comes here later. Capture thread only.
 */
#pragma once

#include "user/config.h"
#include "user/model/span.h"

struct traces;

struct traces *traces_new(const struct config *c);
void traces_free(struct traces *t);
void traces_configure(struct traces *t, const struct config *c);
/*
 * The span of a finished call, or NULL: not sampled (errno 0) or ENOMEM. A call
 * without start or end time makes a span only if both can be stated truthfully: start unknown
 * → NULL, counted.
 */
struct span *traces_span(struct traces *t, const struct call *c, const char *name);

struct traces_stats {
	uint64_t made, sampled_out, untimed, failed;
};
void traces_get_stats(const struct traces *t, struct traces_stats *ret);
