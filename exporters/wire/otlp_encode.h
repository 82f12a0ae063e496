/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans and metrics as OTLP requests: the model in, bytes out, no I/O and no clock. What comes
 * from traffic may hold any bytes; what leaves is valid UTF-8. One encoder per thread: it
 * keeps its memory between requests.
 *
 * A request stays near OTLP_REQUEST_BYTES, so that a full table costs several requests
 * and neither much memory here nor the 4 MiB that gRPC servers take by default: each encoder call
 * takes as many items from the front as fit, at least one, and tells how many.
 */
#pragma once

#include "exporters/wire/otlp_delta.h"
#include "user/base/buf.h"
#include "user/model/span.h"

#define OTLP_REQUEST_BYTES (1U << 20)

struct otlp_encoder;

struct otlp_encoder *otlp_encoder_new(const char *version); /* NULL on ENOMEM */
void otlp_encoder_free(struct otlp_encoder *e);		    /* NULL is fine */

/* By service, then by start: spans of one service must stand together to share one resource. */
void otlp_sort_spans(struct span **spans, size_t n);
/* An ExportTraceServiceRequest in `out` (cleared first). 0, or -ENOMEM. */
int otlp_encode_spans(struct otlp_encoder *e, struct span *const *spans, size_t n, struct buf *out, size_t *ret_used);

/*
 * The points of a snapshot by service, then by family; points about sonde itself come under
 * `self`. INST_INFO is left out: it says what the resource says. The array is one block,
 * valid as long as the snapshot.
 */
int otlp_index_points(const struct snapshot *s, const struct service *self, struct otlp_point **ret, size_t *ret_n);
/* An ExportMetricsServiceRequest; `wall_ns` is the snapshot's time. Points with `since` become deltas. */
int otlp_encode_points(struct otlp_encoder *e, const struct otlp_point *p, size_t n, uint64_t wall_ns, struct buf *out,
		       size_t *ret_used);
