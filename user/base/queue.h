/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded queue of pointers between threads. Pushing never blocks: a full queue
 * refuses (-ENOSPC) and the caller drops and counts.
 */
#pragma once

#include "user/base/err.h"

struct queue;

struct queue *queue_new(size_t capacity);
void queue_free(struct queue *q, void (*free_item)(void *)); /* NULL is fine */
int queue_push(struct queue *q, void *item);
/*
 * Takes up to `max` items. Waits until at least `want` are there, `deadline_ns`
 * (CLOCK_MONOTONIC) has passed or queue_wake() was called; returns how many were taken.
 */
size_t queue_pop(struct queue *q, void **items, size_t max, size_t want, uint64_t deadline_ns);
void queue_wake(struct queue *q);
size_t queue_len(struct queue *q);
size_t queue_capacity(const struct queue *q);
