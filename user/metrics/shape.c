// SPDX-License-Identifier: Apache-2.0
/*
 * Shapes: what the protocols' tables say about labels and instruments, worked out
 * once, so that recording a call is a walk over an array. Protocols that share their
 * table of metrics (versions of one protocol) share the shapes as well: otherwise two overflow
 * series of one service would carry the same labels.
 */
#include "user/metrics/table.h"

static const struct instrument inst_wait = {
	.name = "sonde.server.request.wait",
	.unit = "s",
	.help = "Time between the arrival of a request's first byte at the socket and the program reading it.",
	.kind = INST_HISTOGRAM,
};

static const struct instrument inst_untimed = {
	.name = "sonde.calls.untimed",
	.unit = "{call}",
	.help = "Calls kept out of the duration histogram because their start or end is not known.",
	.kind = INST_COUNTER,
};

static struct shape *shape_new(struct metrics *m)
{
	struct shape **shapes = realloc(m->shapes, (m->n_shapes + 1) * sizeof(struct shape *));
	struct shape *sh;

	if (!shapes)
		return NULL;
	m->shapes = shapes;
	sh = calloc(1, sizeof(*sh));
	if (!sh)
		return NULL;
	m->shapes[m->n_shapes++] = sh;
	sh->id = (uint32_t)m->n_shapes;
	return sh;
}

static int family_get(struct metrics *m, const struct instrument *inst, enum metric_source source)
{
	bool size = source == SRC_REQUEST_BYTES || source == SRC_RESPONSE_BYTES;
	struct family_def *families;

	for (size_t i = 0; i < m->n_families; i++) {
		if (m->families[i].inst == inst)
			return (int)i;
	}
	families = realloc(m->families, (m->n_families + 1) * sizeof(*families));
	if (!families)
		return -ENOMEM;
	m->families = families;
	families[m->n_families] = (struct family_def){ .inst = inst };
	if (inst->kind == INST_HISTOGRAM) {
		families[m->n_families].bounds = size ? m->size_bounds : m->duration_bounds;
		families[m->n_families].n_bounds = size ? m->n_size_bounds : m->n_duration_bounds;
	}
	return (int)m->n_families++;
}

static int shape_slot(struct metrics *m, struct shape *sh, const struct instrument *inst, enum metric_source source)
{
	int f;

	if (sh->n_slots == SLOTS_MAX)
		return -ENOSPC;
	f = family_get(m, inst, source);
	if (f < 0)
		return f;
	sh->slots[sh->n_slots++] = (struct slot){
		.family = (uint32_t)f,
		.word = (uint32_t)sh->n_words,
		.source = source,
	};
	sh->n_words += m->families[f].bounds ? HIST_BUCKETS + m->families[f].n_bounds + 1 : 1;
	return 0;
}

struct shape *shape_generic(struct metrics *m, const struct instrument *inst)
{
	uint64_t hash = hash_u64((uintptr_t)inst);
	struct hmap_node *n;
	struct shape *sh;

	for (n = hmap_first(&m->generic, hash); n; n = hmap_next_same(n)) {
		sh = container_of(n, struct shape, node);
		if (sh->inst == inst)
			return sh;
	}
	sh = shape_new(m);
	if (!sh)
		return NULL;
	sh->inst = inst;
	/* A shape that could not be finished stays in the list for shapes_done(), unknown to look-ups. */
	if (shape_slot(m, sh, inst, SRC_DURATION) || hmap_insert(&m->generic, &sh->node, hash))
		return NULL;
	return sh;
}

static bool has_key(const struct shape *sh, const struct attr_key *key)
{
	for (size_t i = 0; i < sh->n_keys; i++) {
		if (sh->keys[i] == key)
			return true;
	}
	return false;
}

static void add_key(struct shape *sh, const struct attr_key *key)
{
	if (key && sh->n_keys < LABELS_MAX && !has_key(sh, key))
		sh->keys[sh->n_keys++] = key;
}

/* server.address of a server is what its callers wrote into the request: only on demand. */
static void add_keys(const struct metrics *m, struct shape *sh, enum call_role role, const struct attr_key *const *keys)
{
	bool no_address = role == ROLE_SERVER && !m->server_address_on_server;

	for (size_t i = 0; keys && keys[i]; i++) {
		if (no_address && (keys[i] == &attr_server_address || keys[i] == &attr_server_port))
			continue;
		add_key(sh, keys[i]);
	}
	if (role == ROLE_SERVER && !no_address) {
		add_key(sh, &attr_server_address);
		add_key(sh, &attr_server_port);
	}
}

static struct shape *shape_of_calls(struct metrics *m, const struct proto *p)
{
	struct shape *sh = shape_new(m);

	if (sh)
		sh->proto = p;
	return sh;
}

/* Calls or the active gauge: all instruments of this role that are, or are not, SRC_ACTIVE. None: *ret is NULL. */
static int instruments_shape(struct metrics *m, const struct proto *p, enum call_role role, bool active,
			     struct shape **ret)
{
	struct shape *sh = NULL;
	int err;

	for (const struct proto_metric *pm = p->metrics; pm && pm->inst; pm++) {
		if (pm->role != role || (pm->source == SRC_ACTIVE) != active)
			continue;
		if (!sh && !(sh = shape_of_calls(m, p)))
			return -ENOMEM;
		err = shape_slot(m, sh, pm->inst, pm->source);
		if (err)
			return err;
	}
	if (sh)
		add_keys(m, sh, role, active ? p->active_labels[role] : p->labels[role]);
	*ret = sh;
	return 0;
}

static struct shape *one_instrument_shape(struct metrics *m, const struct proto *p, const struct instrument *inst)
{
	struct shape *sh = shape_of_calls(m, p);

	if (!sh || shape_slot(m, sh, inst, SRC_DURATION))
		return NULL;
	sh->fixed[sh->n_fixed++] = (struct label){ "protocol", p->name };
	return sh;
}

static int schema_init(struct metrics *m, const struct proto *p, enum call_role role, struct schema *sc)
{
	int err = instruments_shape(m, p, role, false, &sc->call);

	err = err ?: instruments_shape(m, p, role, true, &sc->active);
	if (err || !sc->call)
		return err;
	sc->untimed = one_instrument_shape(m, p, &inst_untimed);
	if (!sc->untimed)
		return -ENOMEM;
	sc->untimed->fixed[sc->untimed->n_fixed++] =
		(struct label){ "role", role == ROLE_SERVER ? "server" : "client" };
	if (role != ROLE_SERVER)
		return 0;
	sc->wait = one_instrument_shape(m, p, &inst_wait);
	if (!sc->wait)
		return -ENOMEM;
	/* A call series keeps the place of its waits: the route must be one and the same for all its calls. */
	if (p->route_key && has_key(sc->call, p->route_key))
		add_key(sc->wait, p->route_key);
	return 0;
}

static const struct schema *twin(const struct metrics *m, size_t id)
{
	const struct proto *p = proto_table[id];

	for (size_t i = 1; i < id; i++) {
		if (proto_table[i] && proto_table[i]->metrics == p->metrics && !strcmp(proto_table[i]->name, p->name))
			return m->schema[i];
	}
	return NULL;
}

int shapes_init(struct metrics *m)
{
	for (size_t id = 1; id < PROTO_MAX; id++) {
		const struct schema *same;

		if (!proto_table[id])
			continue;
		same = twin(m, id);
		for (int role = 0; role < ROLE_MAX; role++) {
			int err = 0;

			if (same)
				m->schema[id][role] = same[role];
			else
				err = schema_init(m, proto_table[id], (enum call_role)role, &m->schema[id][role]);
			if (err)
				return err;
		}
	}
	return 0;
}

void shapes_done(struct metrics *m)
{
	for (size_t i = 0; i < m->n_shapes; i++)
		free(m->shapes[i]);
	free(m->shapes);
	free(m->families);
	hmap_done(&m->generic);
	m->shapes = NULL;
	m->families = NULL;
	m->n_shapes = m->n_families = 0;
}
