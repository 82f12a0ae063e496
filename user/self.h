/* SPDX-License-Identifier: Apache-2.0 */
/* What sonde says about itself: read on every snapshot, by the capture thread. */
#pragma once

#include "exporters/exporter.h"
#include "user/flow.h"

struct self_sources {
	struct capture *capture;
	struct flow_table *flow;
	struct metrics *metrics;
	struct processes *processes;
	struct traces *traces;
	const struct exporter_ops *const *ops;
	struct exporter *const *exporters; /* NULL where not started */
	size_t n_exporters;
	size_t max_processes;
	uint64_t start_wall_ns;
};

void self_update(const struct self_sources *s, uint64_t now_ns);
