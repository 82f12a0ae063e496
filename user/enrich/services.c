// SPDX-License-Identifier: Apache-2.0
/*
 * A map that holds one reference of its own. A count of one therefore means "only the map",
 * and stays one, because only this thread hands out references from nothing.
 */
#include "user/base/hmap.h"
#include "user/enrich/services.h"

struct slot {
	struct hmap_node node;
	struct service *service;
};

struct services {
	struct hmap map;
};

struct services *services_new(void)
{
	return calloc(1, sizeof(struct services));
}

static void drop(struct services *sv, struct slot *slot)
{
	hmap_remove(&sv->map, &slot->node);
	service_unref(slot->service);
	free(slot);
}

void services_free(struct services *sv)
{
	struct hmap_node *n;

	if (!sv)
		return;
	hmap_each (n, &sv->map)
		drop(sv, container_of(n, struct slot, node));
	hmap_done(&sv->map);
	free(sv);
}

static uint64_t hash(const char *name, const char *namespace_, const char *instance)
{
	uint64_t h = hash_bytes(name, strlen(name), 0);

	h = hash_bytes(namespace_, strlen(namespace_), h);
	return hash_bytes(instance, strlen(instance), h);
}

static struct slot *find(struct services *sv, const char *name, const char *namespace_, const char *instance)
{
	struct hmap_node *n = hmap_first(&sv->map, hash(name, namespace_, instance));

	for (; n; n = hmap_next_same(n)) {
		struct slot *slot = container_of(n, struct slot, node);
		const struct service *s = slot->service;

		if (!strcmp(s->name, name) && !strcmp(s->namespace_, namespace_) && !strcmp(s->instance, instance))
			return slot;
	}
	return NULL;
}

struct service *services_find(struct services *sv, const char *name, const char *namespace_, const char *instance)
{
	struct slot *slot = find(sv, name, namespace_, instance);

	return slot ? service_ref(slot->service) : NULL;
}

int services_add(struct services *sv, struct service *s)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	if (!slot || hmap_insert(&sv->map, &slot->node, hash(s->name, s->namespace_, s->instance))) {
		free(slot);
		return -ENOMEM;
	}
	slot->service = service_ref(s);
	return 0;
}

static bool only_ours(const struct service *s)
{
	return atomic_load_explicit(&s->refs, memory_order_acquire) == 1;
}

void services_put(struct services *sv, struct service *s)
{
	struct slot *slot;

	if (!s)
		return;
	slot = find(sv, s->name, s->namespace_, s->instance);
	service_unref(s);
	if (slot && slot->service == s && only_ours(s))
		drop(sv, slot);
}

void services_sweep(struct services *sv)
{
	struct hmap_node *n;

	hmap_each (n, &sv->map) {
		struct slot *slot = container_of(n, struct slot, node);

		if (only_ours(slot->service))
			drop(sv, slot);
	}
}

size_t services_count(const struct services *sv)
{
	return sv->map.count;
}
