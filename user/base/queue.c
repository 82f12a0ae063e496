// SPDX-License-Identifier: Apache-2.0
/*
 * A ring of pointers under one mutex. The pushing side is the capture thread, so it
 * wakes the popping side only when a whole batch is there: one wake-up per batch,
 * none per item.
 */
#include <pthread.h>
#include <time.h>

#include "user/base/clock.h"
#include "user/base/queue.h"

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	size_t head, len, capacity;
	size_t want; /* least number that a waiting thread asks for; SIZE_MAX: nobody waits */
	unsigned waiting;
	bool woken;
	void *items[];
};

struct queue *queue_new(size_t capacity)
{
	struct queue *q;

	if (!capacity || capacity > (SIZE_MAX - sizeof(*q)) / sizeof(void *)) {
		errno = EINVAL;
		return NULL;
	}
	q = calloc(1, sizeof(*q) + capacity * sizeof(void *));
	if (!q)
		return NULL;
	q->capacity = capacity;
	q->want = SIZE_MAX;
	pthread_mutex_init(&q->lock, NULL);
	clock_cond_init(&q->cond);
	return q;
}

static void *take(struct queue *q)
{
	void *item = q->items[q->head];

	q->head = q->head + 1 == q->capacity ? 0 : q->head + 1;
	q->len--;
	return item;
}

void queue_free(struct queue *q, void (*free_item)(void *))
{
	if (!q)
		return;
	while (q->len) {
		void *item = take(q);

		if (free_item)
			free_item(item);
	}
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

int queue_push(struct queue *q, void *item)
{
	int err = 0;

	pthread_mutex_lock(&q->lock);
	if (q->len == q->capacity) {
		err = -ENOSPC;
	} else {
		size_t at = q->head + q->len;

		q->items[at >= q->capacity ? at - q->capacity : at] = item;
		q->len++;
		if (q->len >= q->want)
			pthread_cond_broadcast(&q->cond);
	}
	pthread_mutex_unlock(&q->lock);
	return err;
}

static void wait_for(struct queue *q, size_t want, uint64_t deadline_ns)
{
	struct timespec until = {(time_t)(deadline_ns / NSEC_PER_SEC), (long)(deadline_ns % NSEC_PER_SEC)};

	q->waiting++;
	q->want = MIN(q->want, want);
	while (q->len < want && !q->woken) {
		if (pthread_cond_timedwait(&q->cond, &q->lock, &until))
			break;
	}
	if (!--q->waiting)
		q->want = SIZE_MAX;
}

size_t queue_pop(struct queue *q, void **items, size_t max, size_t want, uint64_t deadline_ns)
{
	size_t n = 0;

	pthread_mutex_lock(&q->lock);
	/* more than fits would never come */
	want = MIN(MIN(want, max), q->capacity);
	if (q->len < want && !q->woken)
		wait_for(q, want, deadline_ns);
	q->woken = false;
	while (n < max && q->len)
		items[n++] = take(q);
	pthread_mutex_unlock(&q->lock);
	return n;
}

void queue_wake(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->woken = true;
	pthread_cond_broadcast(&q->cond);
	pthread_mutex_unlock(&q->lock);
}

size_t queue_len(struct queue *q)
{
	size_t n;

	pthread_mutex_lock(&q->lock);
	n = q->len;
	pthread_mutex_unlock(&q->lock);
	return n;
}

size_t queue_capacity(const struct queue *q)
{
	return q->capacity;
}
