/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One struct service per (name, namespace, instance), as long as anybody holds it: also
 * a series or a span in another thread, so that no two objects ever stand for one identity.
 */
#pragma once

#include "user/model/process.h"

struct services;

struct services *services_new(void);
void services_free(struct services *sv); /* NULL is fine; references that others hold stay good */
/* A reference for the caller, or NULL. */
struct service *services_find(struct services *sv, const char *name, const char *namespace_, const char *instance);
/* Takes `s` in and the caller's reference stays the caller's. Its identity must not be there yet. */
int services_add(struct services *sv, struct service *s);
/* Gives a reference back; the service goes at once when it was the last one. */
void services_put(struct services *sv, struct service *s);
/* Drops the services that nobody holds any more. */
void services_sweep(struct services *sv);
size_t services_count(const struct services *sv);
