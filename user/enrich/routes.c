// SPDX-License-Identifier: Apache-2.0
/*
 * A trie of templates per service. A path is cut into segments, each segment
 * becomes its template (segment.c), and the trie is walked; the node at the end holds
 * the route. New nodes are made for answers that are not 404 only, so that guessing
 * scanners leave nothing behind.
 *
 * A node that gets too many different children folds: they are merged, with all that is
 * below them, into one child "{param}". Folding gives budget back. Routes that nobody has asked for in a
 * million look-ups make room for new ones when the budget is used up.
 */
#include "user/base/hmap.h"
#include "user/base/log.h"
#include "user/enrich/routes.h"
#include "user/enrich/segment.h"

#define DEPTH_MAX 16 /* segments; what is deeper is "*" */
#define FOLD_ROOT 40 /* different children: the first segment names parts of a program, of which there are more */
#define FOLD_BELOW 20
#define SITES_MAX 4096 /* services */
#define NODES_MAX 65536 /* over all services, about 10 MB */
#define NODES_PER_ROUTE 8
#define PATTERN_MAX 512 /* bytes */
#define IDLE_LOOKUPS (1ULL << 20)
#define RECLAIM_EVERY 4096 /* look-ups */

struct edge {
	uint32_t hash;
	struct node *node;
};

struct node {
	struct node *parent; /* NULL: the root, which has no text */
	struct edge *edges;
	uint32_t n_edges, cap_edges;
	uint32_t n_open; /* edges to open nodes */
	uint32_t hash;
	bool open; /* the text is one of any number; see segment_template() */
	bool terminal; /* a route ends here */
	bool folded; /* open segments go to "{param}" */
	uint64_t used; /* terminal: number of the look-up that asked for it last */
	char *route; /* rendered when asked for; NULL: not yet, or the path to here has changed */
	size_t route_len;
	uint32_t len;
	char text[];
};

struct pattern {
	char *service; /* glob */
	char *text;
};

/* What is known of one service. */
struct site {
	struct hmap_node hnode;
	struct site *newer, *older; /* by last use */
	uint32_t service_id;
	struct node *root;
	size_t n_routes, n_nodes;
	uint64_t lookups, next_reclaim;
	uint64_t patterns_version;
	const struct pattern **patterns; /* those for this service, in order */
	size_t n_patterns;
};

struct routes {
	size_t limit;
	struct hmap sites;
	struct site *newest, *oldest;
	size_t n_nodes, n_routes;
	struct pattern *patterns;
	size_t n_patterns;
	uint64_t patterns_version;
};

struct segment {
	struct str text;
	uint32_t hash;
	bool open;
	char space[SEGMENT_MAX + 16];
};

struct segments {
	size_t n;
	struct segment v[DEPTH_MAX + 1];
};

static const struct segment seg_param = { .text = { "{param}", 7 }, .hash = 1 };
static const struct segment seg_rest = { .text = { "*", 1 }, .hash = 2 };

/* FNV-1a: texts are a few bytes, and a collision costs no more than a comparison. */
static uint32_t text_hash(struct str s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (uint8_t)s.p[i]) * 16777619u;
	return h;
}

/* `path` begins with '/'. Parameters of a segment (";jsessionid=…") are no part of it. */
static void cut_path(struct str path, struct segments *ret)
{
	const char *at = path.p + 1, *end = path.p + path.len;

	for (ret->n = 0; ret->n < DEPTH_MAX; ret->n++) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		struct segment *seg = &ret->v[ret->n];
		struct str s = { at, (size_t)((slash ? slash : end) - at) };
		const char *params = memchr(s.p, ';', s.len);

		if (params)
			s.len = (size_t)(params - s.p);
		seg->text = segment_template(s, seg->space, &seg->open);
		seg->hash = text_hash(seg->text);
		if (!slash) {
			ret->n++;
			return;
		}
		at = slash + 1;
	}
	ret->v[ret->n++] = seg_rest;
}

static struct node *find_child(const struct node *n, struct str text, uint32_t hash)
{
	for (size_t i = 0; i < n->n_edges; i++) {
		struct node *child = n->edges[i].node;

		if (n->edges[i].hash == hash && child->len == text.len && !memcmp(child->text, text.p, text.len))
			return child;
	}
	return NULL;
}

static struct node *step(const struct node *n, struct str text, uint32_t hash, bool open)
{
	if (open && n->folded)
		return find_child(n, seg_param.text, seg_param.hash);
	return find_child(n, text, hash);
}

/* As deep as the trie goes; *ret_depth segments were found. */
static struct node *walk(struct node *n, const struct segments *s, size_t *ret_depth)
{
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct node *child = step(n, s->v[i].text, s->v[i].hash, s->v[i].open);

		if (!child)
			break;
		n = child;
	}
	*ret_depth = i;
	return n;
}

static int reserve_edges(struct node *n, size_t extra)
{
	size_t cap = MAX(n->n_edges + extra, MIN((size_t)n->cap_edges * 2, (size_t)n->cap_edges + 16));
	struct edge *edges;

	if (n->n_edges + extra <= n->cap_edges)
		return 0;
	edges = realloc(n->edges, cap * sizeof(*edges));
	if (!edges)
		return -ENOMEM;
	n->edges = edges;
	n->cap_edges = (uint32_t)cap;
	return 0;
}

static int attach(struct node *parent, struct node *n)
{
	int err = reserve_edges(parent, 1);

	if (err)
		return err;
	parent->edges[parent->n_edges++] = (struct edge){ n->hash, n };
	parent->n_open += n->open;
	n->parent = parent;
	return 0;
}

static struct node *node_new(struct routes *r, struct site *site, struct node *parent, const struct segment *seg)
{
	struct node *n = calloc(1, sizeof(*n) + seg->text.len);

	if (!n)
		return NULL;
	n->hash = seg->hash;
	n->open = seg->open;
	n->len = (uint32_t)seg->text.len;
	if (n->len)
		memcpy(n->text, seg->text.p, n->len);
	if (parent && attach(parent, n)) {
		free(n);
		return NULL;
	}
	site->n_nodes++;
	r->n_nodes++;
	return n;
}

/* One node, without its children. */
static void node_free(struct routes *r, struct site *site, struct node *n)
{
	site->n_nodes--;
	r->n_nodes--;
	free(n->edges);
	free(n->route);
	free(n);
}

static void set_terminal(struct routes *r, struct site *site, struct node *n, bool terminal)
{
	if (n->terminal == terminal)
		return;
	n->terminal = terminal;
	site->n_routes += terminal ? 1 : (size_t)-1;
	r->n_routes += terminal ? 1 : (size_t)-1;
}

/* Recursion in this file is as deep as a trie, DEPTH_MAX + 1. */
static void tree_free(struct routes *r, struct site *site, struct node *n)
{
	for (size_t i = 0; i < n->n_edges; i++)
		tree_free(r, site, n->edges[i].node);
	set_terminal(r, site, n, false);
	node_free(r, site, n);
}

static void forget_rendered(struct node *n)
{
	free(n->route);
	n->route = NULL;
	for (size_t i = 0; i < n->n_edges; i++)
		forget_rendered(n->edges[i].node);
}

static int fold(struct routes *r, struct site *site, struct node *n);

/* Moves all that is at and below `src` to `dst`; src is gone afterwards. What finds no memory is forgotten. */
static void merge(struct routes *r, struct site *site, struct node *dst, struct node *src)
{
	bool must_fold = src->folded && !dst->folded;

	dst->used = MAX(dst->used, src->used);
	if (src->terminal) {
		set_terminal(r, site, src, false);
		set_terminal(r, site, dst, true);
	}
	for (size_t i = 0; i < src->n_edges; i++) {
		struct node *child = src->edges[i].node;
		struct node *same = step(dst, (struct str){ child->text, child->len }, child->hash, child->open);

		if (same)
			merge(r, site, same, child);
		else if (attach(dst, child))
			tree_free(r, site, child);
		else
			forget_rendered(child);
	}
	node_free(r, site, src);
	if (must_fold || dst->n_open > FOLD_BELOW)
		(void)fold(r, site, dst);
}

static int fold(struct routes *r, struct site *site, struct node *n)
{
	struct node *param = find_child(n, seg_param.text, seg_param.hash);
	struct edge *edges = n->edges;
	size_t n_edges, kept = 0;

	if (!param)
		param = node_new(r, site, n, &seg_param);
	if (!param)
		return -ENOMEM;
	edges = n->edges;
	n_edges = n->n_edges;
	n->folded = true;
	n->n_open = 0;
	for (size_t i = 0; i < n_edges; i++) {
		if (edges[i].node->open)
			merge(r, site, param, edges[i].node);
		else
			edges[kept++] = edges[i];
	}
	n->n_edges = (uint32_t)kept;
	return 0;
}

/* Takes back routes that were not asked for in a long time. True: the node itself is of no use any more. */
static bool reclaim(struct routes *r, struct site *site, struct node *n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n->n_edges; i++) {
		struct node *child = n->edges[i].node;

		if (!reclaim(r, site, child)) {
			n->edges[kept++] = n->edges[i];
			continue;
		}
		n->n_open -= child->open;
		node_free(r, site, child);
	}
	n->n_edges = (uint32_t)kept;
	if (n->terminal && site->lookups - n->used > IDLE_LOOKUPS)
		set_terminal(r, site, n, false);
	/* the parameter of a folded node must stay: it is where its children go */
	return !n->terminal && !kept && n->parent && n->hash != seg_param.hash;
}

static bool route_budget(struct routes *r, struct site *site)
{
	if (site->n_routes < r->limit)
		return true;
	if (site->lookups < site->next_reclaim)
		return false;
	site->next_reclaim = site->lookups + RECLAIM_EVERY;
	reclaim(r, site, site->root);
	return site->n_routes < r->limit;
}

static void site_free(struct routes *r, struct site *site);

static bool node_budget(struct routes *r, struct site *site, size_t need)
{
	if (site->n_nodes + need > r->limit * NODES_PER_ROUTE + 64)
		return false;
	while (r->n_nodes + need > NODES_MAX && r->oldest != site)
		site_free(r, r->oldest);
	return r->n_nodes + need <= NODES_MAX;
}

/* Makes the missing nodes and the route; NULL: no budget or no memory. */
static struct node *grow(struct routes *r, struct site *site, const struct segments *s)
{
	size_t depth;
	struct node *n = walk(site->root, s, &depth);

	while (depth < s->n && s->v[depth].open && n->n_open >= (n->parent ? FOLD_BELOW : FOLD_ROOT)) {
		if (fold(r, site, n))
			return NULL;
		n = walk(site->root, s, &depth);
	}
	if (depth == s->n && n->terminal)
		return n;
	if (!route_budget(r, site))
		return NULL;
	n = walk(site->root, s, &depth); /* what was reclaimed may have been on the way */
	if (!node_budget(r, site, s->n - depth))
		return NULL;
	for (; depth < s->n; depth++) {
		n = node_new(r, site, n, &s->v[depth]);
		if (!n)
			return NULL;
	}
	set_terminal(r, site, n, true);
	return n;
}

static struct str render(struct node *n)
{
	size_t len = 0;

	if (n->route)
		return (struct str){ n->route, n->route_len };
	for (struct node *at = n; at->parent; at = at->parent)
		len += 1 + at->len;
	n->route = malloc(len + 1);
	if (!n->route)
		return STR(ROUTE_OVERFLOW);
	n->route_len = len;
	n->route[len] = 0;
	for (struct node *at = n; at->parent; at = at->parent) {
		len -= at->len;
		memcpy(n->route + len, at->text, at->len);
		n->route[--len] = '/';
	}
	return (struct str){ n->route, n->route_len };
}

static struct str next_segment(struct str *rest)
{
	const char *slash = rest->len ? memchr(rest->p, '/', rest->len) : NULL;
	struct str s = { rest->p, slash ? (size_t)(slash - rest->p) : rest->len };

	rest->p += s.len + !!slash;
	rest->len -= s.len + !!slash;
	return s;
}

/* "{x}" matches one segment, a '*' at the end the rest; both begin with '/'. */
static bool pattern_match(const char *pattern, struct str path)
{
	struct str want = str_of(pattern);
	bool more_want = true, more_path = true;

	while (more_want) {
		struct str rest = path;
		struct str w, s;

		more_want = memchr(want.p, '/', want.len);
		w = next_segment(&want);
		if (!more_path)
			return false;
		if (!more_want && w.len && w.p[w.len - 1] == '*')
			return rest.len >= w.len - 1 && !memcmp(rest.p, w.p, w.len - 1);
		more_path = memchr(path.p, '/', path.len);
		s = next_segment(&path);
		if (w.len >= 2 && w.p[0] == '{' && w.p[w.len - 1] == '}' ? !s.len : !str_eq(w, s))
			return false;
	}
	return !more_path;
}

static void patterns_free(struct pattern *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(p[i].service);
		free(p[i].text);
	}
	free(p);
}

static int pattern_add(struct pattern *p, const char *service, const char *text)
{
	if (text[0] != '/' || strlen(text) > PATTERN_MAX)
		return log_err_r(-EINVAL, "routes: pattern \"%s\" must begin with '/' and have at most %d bytes", text,
				 PATTERN_MAX);
	p->service = strdup(service ? service : "*");
	p->text = strdup(text);
	return p->service && p->text ? 0 : -ENOMEM;
}

int routes_configure(struct routes *r, const struct config *c)
{
	struct pattern *patterns;
	size_t n = 0, max = 0;
	int err = 0;

	for (size_t i = 0; i < c->n_routes; i++)
		max += c->routes[i].patterns.n;
	patterns = calloc(max + 1, sizeof(*patterns));
	if (!patterns)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_routes && !err; i++) {
		for (size_t j = 0; j < c->routes[i].patterns.n && !err; j++)
			err = pattern_add(&patterns[n++], c->routes[i].service, c->routes[i].patterns.v[j]);
	}
	if (err) {
		patterns_free(patterns, n);
		return err;
	}
	patterns_free(r->patterns, r->n_patterns);
	r->patterns = patterns;
	r->n_patterns = n;
	r->patterns_version++;
	if (c->route_limit > 0)
		r->limit = MIN((size_t)c->route_limit, (size_t)NODES_MAX);
	return 0;
}

/* Which patterns are for this service, asked once per configuration. */
static void site_patterns(struct routes *r, struct site *site, const struct service *s)
{
	struct str name = str_of(s ? s->name : "");

	free(site->patterns);
	site->n_patterns = 0;
	site->patterns_version = r->patterns_version;
	site->patterns = r->n_patterns ? calloc(r->n_patterns, sizeof(*site->patterns)) : NULL;
	for (size_t i = 0; site->patterns && i < r->n_patterns; i++) {
		if (str_glob(r->patterns[i].service, name))
			site->patterns[site->n_patterns++] = &r->patterns[i];
	}
}

static void unlink_site(struct routes *r, struct site *site)
{
	*(site->newer ? &site->newer->older : &r->newest) = site->older;
	*(site->older ? &site->older->newer : &r->oldest) = site->newer;
}

static void link_newest(struct routes *r, struct site *site)
{
	site->newer = NULL;
	site->older = r->newest;
	*(r->newest ? &r->newest->newer : &r->oldest) = site;
	r->newest = site;
}

static void site_free(struct routes *r, struct site *site)
{
	unlink_site(r, site);
	hmap_remove(&r->sites, &site->hnode);
	tree_free(r, site, site->root);
	free(site->patterns);
	free(site);
}

static struct site *site_find(const struct routes *r, uint32_t id)
{
	struct hmap_node *n;

	for (n = hmap_first(&r->sites, hash_u64(id)); n; n = hmap_next_same(n)) {
		struct site *site = container_of(n, struct site, hnode);

		if (site->service_id == id)
			return site;
	}
	return NULL;
}

static struct site *site_new(struct routes *r, uint32_t id)
{
	struct site *site = calloc(1, sizeof(*site));

	if (!site)
		return NULL;
	site->service_id = id;
	site->root = node_new(r, site, NULL, &(struct segment){ 0 });
	if (!site->root || hmap_insert(&r->sites, &site->hnode, hash_u64(id))) {
		if (site->root)
			node_free(r, site, site->root);
		free(site);
		return NULL;
	}
	link_newest(r, site);
	if (r->sites.count > SITES_MAX)
		site_free(r, r->oldest);
	return site;
}

static struct site *site_get(struct routes *r, const struct service *s)
{
	uint32_t id = s ? s->id : 0;
	struct site *site = r->newest && r->newest->service_id == id ? r->newest : site_find(r, id);

	if (!site)
		site = site_new(r, id);
	if (!site)
		return NULL;
	if (site != r->newest) {
		unlink_site(r, site);
		link_newest(r, site);
	}
	if (site->patterns_version != r->patterns_version)
		site_patterns(r, site, s);
	return site;
}

static struct str learned(struct routes *r, struct site *site, struct str path, bool answered_404)
{
	struct segments segs;
	struct node *n;
	size_t depth;

	cut_path(path, &segs);
	n = walk(site->root, &segs, &depth);
	if (unlikely(depth < segs.n || !n->terminal)) {
		if (answered_404)
			return (struct str){ 0 };
		n = grow(r, site, &segs);
		if (!n)
			return STR(ROUTE_OVERFLOW);
	}
	n->used = site->lookups;
	return render(n);
}

struct str routes_learn(struct routes *r, const struct service *s, struct str path, bool answered_404)
{
	struct site *site;

	for (size_t i = 0; i < path.len; i++) {
		if (path.p[i] == '?' || path.p[i] == '#')
			path.len = i;
	}
	if (str_is(path, "*"))
		return STR("*");
	if (!path.len || path.p[0] != '/')
		return (struct str){ 0 };
	site = site_get(r, s);
	if (!site)
		return STR(ROUTE_OVERFLOW);
	site->lookups++;
	for (size_t i = 0; i < site->n_patterns; i++) {
		if (pattern_match(site->patterns[i]->text, path))
			return str_of(site->patterns[i]->text);
	}
	return learned(r, site, path, answered_404);
}

struct routes *routes_new(size_t limit_per_service)
{
	struct routes *r = calloc(1, sizeof(*r));

	if (r)
		r->limit = MIN(limit_per_service, (size_t)NODES_MAX);
	return r;
}

void routes_free(struct routes *r)
{
	if (!r)
		return;
	while (r->oldest)
		site_free(r, r->oldest);
	hmap_done(&r->sites);
	patterns_free(r->patterns, r->n_patterns);
	free(r);
}

void routes_forget(struct routes *r, uint32_t service_id)
{
	struct site *site = site_find(r, service_id);

	if (site)
		site_free(r, site);
}

size_t routes_count(const struct routes *r)
{
	return r->n_routes;
}
