/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes: low-cardinality templates learned from paths. Segments that look like
 * numbers, UUIDs, hashes, dates or long tokens become {id}, {uuid}, …; a position with
 * too many different values becomes a parameter. Patterns from the configuration win.
 * One budget per service; past it the route is ROUTE_OVERFLOW. Capture thread only.
 */
#pragma once

#include "user/config.h"
#include "user/model/process.h"

struct routes;

#define ROUTE_OVERFLOW "{overflow}" /* never a template: the caller records in the overflow series */

struct routes *routes_new(size_t limit_per_service);
void routes_free(struct routes *r);
/* Compiles the configuration's patterns; what was learned is kept. */
int routes_configure(struct routes *r, const struct config *c);
/*
 * The template of `path` (no query) for this service; valid until the next call.
 * Stable: a path seen again gives the same template unless its position has meanwhile
 * become a parameter. `answered_404`: an unknown path of a scanner; may be folded
 * earlier. Empty for an empty path.
 */
struct str routes_learn(struct routes *r, const struct service *s, struct str path, bool answered_404);
/* Forgets a service that is gone. */
void routes_forget(struct routes *r, uint32_t service_id);
size_t routes_count(const struct routes *r);
