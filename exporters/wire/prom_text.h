/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot as Prometheus text: format 0.0.4, or OpenMetrics 1.0.0. Pure. Names follow the
 * OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility": dots become
 * underscores, the unit is a suffix, counters end in _total. Every series has the labels
 * service_name, service_namespace (when there is one) and service_instance_id, target_info
 * has them too, so that both join.
 *
 * Whatever the snapshot holds, the output is valid: a family and a series appear once (sums
 * that come to the same labels are added up), labels that come to the same name are joined
 * by ';', an empty label is left out, buckets and counts agree.
 */
#pragma once

#include "user/base/buf.h"
#include "user/model/metric.h"

enum prom_format { PROM_TEXT, PROM_OPENMETRICS };

#define PROM_NAME_MAX 256

/* The name without _total; returns dst. */
const char *prom_name(const struct instrument *inst, char dst[PROM_NAME_MAX]);
/* Appends. `self` (may be NULL) gets a target_info of its own. Check b->err. */
void prom_text_write(struct buf *b, const struct snapshot *s, const struct service *self, enum prom_format format);
const char *prom_content_type(enum prom_format format);
