/* SPDX-License-Identifier: Apache-2.0 */
/* What one segment of a path looks like. Inside enrich/ only. */
#pragma once

#include "user/base/str.h"

#define SEGMENT_MAX 64 /* longer ones are tokens */

/*
 * The segment as it stands in a template: itself, or "{id}", "{uuid}", "{hash}",
 * "{date}", "{ip}", "{token}", or a file name with such a part ("main.{hash}.js"), which is
 * written into dst. *ret_open is false when the text comes from a short closed list, so
 * that any number of different segments gives no more than these texts.
 */
struct str segment_template(struct str s, char dst[SEGMENT_MAX + 16], bool *ret_open);
