// SPDX-License-Identifier: Apache-2.0
/*
 * The YAML file, in two passes. The first reads events and refuses what would make the
 * second expensive: deep nesting (libyaml's time grows with its square) and aliases (a few
 * lines of them describe gigabytes). The second has libyaml build the tree, and walks it
 * down only where a known key leads.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

#include "user/base/log.h"
#include "user/config_internal.h"

struct walk {
	struct loader *l;
	yaml_document_t *doc;
};

#define DEPTH_MAX   32
#define PATTERN_MAX 512 /* bytes; what user/enrich/routes.c takes */

/* Called for each pair of a mapping. */
typedef int (*pair_fn)(struct walk *w, void *ctx, struct str key, unsigned line, yaml_node_t *value);

static unsigned line_of(const yaml_node_t *n)
{
	return (unsigned)n->start_mark.line + 1;
}

static int file_error(const struct walk *w, unsigned line, const char *fmt, ...) __printf(3, 4);
static int file_error(const struct walk *w, unsigned line, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return log_err_r(-EINVAL, "%s:%u: %s", w->l->file, line, text);
}

static int no_memory(const struct walk *w)
{
	return log_err_r(-ENOMEM, "%s: out of memory while it was read", w->l->file);
}

/* `%.*s` with a bound. */
#define SHOW(s) (int)MIN((s).len, (size_t)100), (s).p

static struct str scalar(const yaml_node_t *n)
{
	return (struct str){(const char *)n->data.scalar.value, n->data.scalar.length};
}

/* "key:" with nothing behind it, or null: the same as no key. */
static bool is_null(const yaml_node_t *n)
{
	struct str s;

	if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	s = scalar(n);
	return !s.len || str_is(s, "~") || str_is(s, "null");
}

static int each_pair(struct walk *w, yaml_node_t *map, pair_fn fn, void *ctx)
{
	yaml_node_pair_t *p;

	for (p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
		yaml_node_t *key = yaml_document_get_node(w->doc, p->key);
		int err;

		if (key->type != YAML_SCALAR_NODE)
			return file_error(w, line_of(key), "a key is not plain text; write KEY: VALUE");
		err = fn(w, ctx, scalar(key), line_of(key), yaml_document_get_node(w->doc, p->value));
		if (err)
			return err;
	}
	return 0;
}

/* The scalar items of a sequence, or the one scalar itself. */
static int each_item(struct walk *w, yaml_node_t *n, const char *what,
		     int (*fn)(struct walk *w, void *ctx, struct str item, unsigned line), void *ctx)
{
	yaml_node_item_t *it;

	for (it = n->data.sequence.items.start; it < n->data.sequence.items.top; it++) {
		yaml_node_t *item = yaml_document_get_node(w->doc, *it);
		int err;

		if (item->type != YAML_SCALAR_NODE || is_null(item))
			return file_error(w, line_of(item), "%s: an item is not plain text; write one value per item",
					  what);
		if (memchr(scalar(item).p, 0, scalar(item).len))
			return file_error(w, line_of(item), "%s: an item holds a NUL byte; leave it out", what);
		err = fn(w, ctx, scalar(item), line_of(item));
		if (err)
			return err;
	}
	return 0;
}

/* ---- options ---- */

/* A sequence or mapping that becomes the value of one row. */
struct gather {
	const struct opt_row *row;
	union opt_value v;
	struct buf text; /* for messages */
};

static int gather_failed(struct walk *w, struct gather *g, unsigned line, int err)
{
	if (err == -E2BIG)
		return file_error(w, line, "%s: too long a list; write at most 4096 items", g->row->flag);
	return no_memory(w);
}

static int gather_item(struct walk *w, void *ctx, struct str item, unsigned line)
{
	_buf_ struct buf why = BUF_INIT;
	struct gather *g = ctx;
	int err;

	buf_printf(&g->text, "%s%.*s", g->text.len ? "," : "", SHOW(item));
	err = value_add_item(g->row, &g->v, item, &why);
	if (err == -EINVAL)
		return file_error(w, line, "%s: '%.*s' %s", g->row->flag, SHOW(item), why.data ?: "");
	return err ? gather_failed(w, g, line, err) : 0;
}

static int gather_pair(struct walk *w, void *ctx, struct str key, unsigned line, yaml_node_t *value)
{
	struct gather *g = ctx;
	int err;

	if (value->type != YAML_SCALAR_NODE)
		return file_error(w, line, "%s: the value of %.*s is not plain text; write %.*s: VALUE", g->row->flag,
				  SHOW(key), SHOW(key));
	if (memchr(key.p, 0, key.len) || memchr(scalar(value).p, 0, scalar(value).len))
		return file_error(w, line, "%s: %.*s holds a NUL byte; leave it out", g->row->flag, SHOW(key));
	buf_printf(&g->text, "%s%.*s=", g->text.len ? "," : "", SHOW(key));
	if (!is_null(value))
		buf_printf(&g->text, "%.*s", SHOW(scalar(value)));
	err = kv_set(&g->v.kv, key, is_null(value) ? STR("") : scalar(value));
	return err ? gather_failed(w, g, line, err) : 0;
}

static int set_collection(struct walk *w, const struct opt_row *row, unsigned line, yaml_node_t *n)
{
	struct gather g = {.row = row};
	int err;

	if (n->type == YAML_SEQUENCE_NODE)
		err = each_item(w, n, row->flag, gather_item, &g);
	else
		err = each_pair(w, n, gather_pair, &g);
	if (err)
		value_done(row->type, &g.v);
	else
		err = config_set_value(w->l, row, (struct opt_origin){SOURCE_FILE, line}, &g.v, buf_view(&g.text));
	buf_done(&g.text);
	return err;
}

static int set_row(struct walk *w, const struct opt_row *row, unsigned line, yaml_node_t *n)
{
	const struct opt_origin *from = &w->l->from[row - opt_rows];

	if (row->offset == offsetof(struct config, config_file))
		return file_error(w, line, "%s: cannot be set in the file itself; use --config.file or %s", row->flag,
				  row->env);
	if (from->source == SOURCE_FILE)
		return file_error(w, line, "%s: is set twice, in line %u before; keep one", row->flag, from->line);
	if (is_null(n))
		return 0;
	if (n->type == YAML_SCALAR_NODE)
		return config_set_text(w->l, row, (struct opt_origin){SOURCE_FILE, line}, scalar(n));
	if (n->type == YAML_SEQUENCE_NODE && !value_is_list(row->type))
		return file_error(w, line, "%s: is given a list; write %s", row->flag,
				  row->type == OPT_KV ? "a mapping or KEY=VALUE,KEY=VALUE" : "one value");
	if (n->type == YAML_MAPPING_NODE && row->type != OPT_KV)
		return file_error(w, line, "%s: is given a mapping; write %s", row->flag,
				  value_is_list(row->type) ? "a list" : "one value");
	return set_collection(w, row, line, n);
}

/* Whether keys begin with `prefix` and a dot. */
static bool is_prefix(struct str prefix)
{
	for (size_t i = 0; i < n_opt_rows; i++) {
		struct str flag = str_of(opt_rows[i].flag);

		if (flag.len > prefix.len && flag.p[prefix.len] == '.' && !memcmp(flag.p, prefix.p, prefix.len))
			return true;
	}
	return false;
}

static int unknown_key(struct walk *w, struct str key, unsigned line)
{
	const char *near = nearest_key(key);

	if (near)
		return file_error(w, line,
				  "%.*s: there is no such key; did you mean %s? docs/configuration.md lists all",
				  SHOW(key), near);
	return file_error(w, line, "%.*s: there is no such key; docs/configuration.md lists all", SHOW(key));
}

static int read_rules(struct walk *w, unsigned line, yaml_node_t *n);
static int read_routes(struct walk *w, unsigned line, yaml_node_t *n);

/* `ctx` is the key so far, "" at the top. */
static int option_pair(struct walk *w, void *ctx, struct str key, unsigned line, yaml_node_t *value)
{
	const struct opt_row *row;
	struct buf path = BUF_INIT;
	struct str full;
	int err;

	buf_printf(&path, "%s%s", (const char *)ctx, *(const char *)ctx ? "." : "");
	buf_str(&path, key);
	full = buf_view(&path);
	row = opt_find(full);
	if (path.err)
		err = no_memory(w);
	else if (row)
		err = set_row(w, row, line, value);
	else if (str_is(full, "rules"))
		err = read_rules(w, line, value);
	else if (str_is(full, "routes"))
		err = read_routes(w, line, value);
	else if (!is_prefix(full))
		err = unknown_key(w, full, line);
	else if (value->type == YAML_MAPPING_NODE)
		err = each_pair(w, value, option_pair, path.data);
	else if (is_null(value))
		err = 0;
	else
		err = file_error(w, line, "%.*s: is given a value, but is a group of keys; write them below it",
				 SHOW(full));
	buf_done(&path);
	return err;
}

/* ---- rules and routes ---- */

static const char *const match_keys[] = {"exe", "port", "cgroup", "uid", "env"};
static const char *const rule_keys[] = {"match", "action", "service_name", "service_namespace"};
static const char *const route_keys[] = {"service", "patterns"};

static int unknown_word(struct walk *w, unsigned line, const char *where, struct str key, const char *const *words,
			size_t n)
{
	const char *near = nearest_word(key, words, n);
	_buf_ struct buf all = BUF_INIT;

	for (size_t i = 0; i < n; i++)
		buf_printf(&all, "%s%s", i ? ", " : "", words[i]);
	return file_error(w, line, "%s: there is no key '%.*s'%s%s%s; write one of %s", where, SHOW(key),
			  near ? ", did you mean " : "", near ? near : "", near ? "?" : "", all.data ? all.data : "");
}

static int take_text(struct walk *w, unsigned line, const char *what, yaml_node_t *n, char **field)
{
	if (*field)
		return file_error(w, line, "%s: is set twice; keep one", what);
	if (n->type != YAML_SCALAR_NODE || !scalar(n).len || is_null(n))
		return file_error(w, line, "%s: is empty or not plain text; write one value", what);
	if (memchr(scalar(n).p, 0, scalar(n).len))
		return file_error(w, line, "%s: holds a NUL byte; leave it out", what);
	*field = str_dup(scalar(n));
	return *field ? 0 : no_memory(w);
}

static int take_number(struct walk *w, unsigned line, const char *what, yaml_node_t *n, uint64_t least, uint64_t most,
		       int64_t *ret)
{
	struct str s = n->type == YAML_SCALAR_NODE ? scalar(n) : (struct str){0};
	uint64_t v;

	if (*ret >= 0)
		return file_error(w, line, "%s: is set twice; keep one", what);
	if (str_to_u64(s, &v) || v < least || v > most)
		return file_error(w, line, "%s: '%.*s' is not a number from %llu to %llu; write one", what, SHOW(s),
				  (unsigned long long)least, (unsigned long long)most);
	*ret = (int64_t)v;
	return 0;
}

static int match_pair(struct walk *w, void *ctx, struct str key, unsigned line, yaml_node_t *value)
{
	struct rule *r = ctx;
	int64_t port = r->port;
	int err;

	if (str_is(key, "exe"))
		return take_text(w, line, "rules.match.exe", value, &r->exe);
	if (str_is(key, "cgroup"))
		return take_text(w, line, "rules.match.cgroup", value, &r->cgroup);
	if (str_is(key, "uid"))
		return take_number(w, line, "rules.match.uid", value, 0, UINT32_MAX - 1, &r->uid);
	if (str_is(key, "port")) {
		err = take_number(w, line, "rules.match.port", value, 1, 65535, &port);
		r->port = (int32_t)port;
		return err;
	}
	if (!str_is(key, "env"))
		return unknown_word(w, line, "rules.match", key, match_keys, ARRAY_SIZE(match_keys));
	err = take_text(w, line, "rules.match.env", value, &r->env);
	if (!err && (!strchr(r->env, '=') || r->env[0] == '='))
		return file_error(w, line, "rules.match.env: '%.100s' is not NAME=VALUE; write one such as APP=shop*",
				  r->env);
	return err;
}

static int take_action(struct walk *w, unsigned line, yaml_node_t *n, struct rule *r)
{
	struct str s = n->type == YAML_SCALAR_NODE ? scalar(n) : (struct str){0};

	if (r->action != RULE_NONE)
		return file_error(w, line, "rules.action: is set twice; keep one");
	if (str_is(s, "include"))
		r->action = RULE_INCLUDE;
	else if (str_is(s, "exclude"))
		r->action = RULE_EXCLUDE;
	else
		return file_error(w, line, "rules.action: '%.*s' is not known; write include or exclude", SHOW(s));
	return 0;
}

static int rule_pair(struct walk *w, void *ctx, struct str key, unsigned line, yaml_node_t *value)
{
	struct rule *r = ctx;

	if (str_is(key, "action"))
		return take_action(w, line, value, r);
	if (str_is(key, "service_name"))
		return take_text(w, line, "rules.service_name", value, &r->service_name);
	if (str_is(key, "service_namespace"))
		return take_text(w, line, "rules.service_namespace", value, &r->service_namespace);
	if (!str_is(key, "match"))
		return unknown_word(w, line, "rules", key, rule_keys, ARRAY_SIZE(rule_keys));
	if (value->type != YAML_MAPPING_NODE)
		return file_error(w, line, "rules.match: is not a mapping; write one such as {exe: \"/usr/bin/*\"}");
	return each_pair(w, value, match_pair, r);
}

static int check_rule(struct walk *w, unsigned line, const struct rule *r)
{
	if (!r->exe && !r->cgroup && !r->env && r->uid < 0 && r->port < 0)
		return file_error(w, line,
				  "rules: a rule without a condition; write match: with one of exe, port, "
				  "cgroup, uid, env (every program: exe: \"*\")");
	if (r->action == RULE_NONE && !r->service_name && !r->service_namespace)
		return file_error(w, line,
				  "rules: a rule that does nothing; write action, service_name or "
				  "service_namespace");
	return 0;
}

/* A list of mappings: `add` makes room for one entry, which `pair` fills and `check` judges. */
static int read_entries(struct walk *w, unsigned line, yaml_node_t *n, const char *name, void *(*add)(struct config *),
			pair_fn pair, int (*check)(struct walk *, unsigned, void *))
{
	yaml_node_item_t *it;

	if (is_null(n))
		return 0;
	if (n->type != YAML_SEQUENCE_NODE)
		return file_error(w, line, "%s: is not a list; write one '- ' per entry", name);
	for (it = n->data.sequence.items.start; it < n->data.sequence.items.top; it++) {
		yaml_node_t *item = yaml_document_get_node(w->doc, *it);
		void *entry;
		int err;

		if (item->type != YAML_MAPPING_NODE)
			return file_error(w, line_of(item), "%s: an entry is not a mapping; write '- KEY: VALUE'",
					  name);
		entry = add(w->l->c);
		if (!entry)
			return no_memory(w);
		err = each_pair(w, item, pair, entry);
		if (!err)
			err = check(w, line_of(item), entry);
		if (err)
			return err;
	}
	return 0;
}

static void *add_rule(struct config *c)
{
	struct rule *v = realloc(c->rules, (c->n_rules + 1) * sizeof(*v));

	if (!v)
		return NULL;
	c->rules = v;
	v[c->n_rules] = (struct rule){.uid = -1, .port = -1};
	return &v[c->n_rules++];
}

static int judge_rule(struct walk *w, unsigned line, void *entry)
{
	return check_rule(w, line, entry);
}

static int read_rules(struct walk *w, unsigned line, yaml_node_t *n)
{
	if (w->l->c->n_rules)
		return file_error(w, line, "rules: is set twice; keep one list");
	return read_entries(w, line, n, "rules", add_rule, rule_pair, judge_rule);
}

static int add_pattern(struct walk *w, void *ctx, struct str item, unsigned line)
{
	struct route_patterns *r = ctx;
	int err;

	if (!item.len || item.p[0] != '/')
		return file_error(w, line,
				  "routes.patterns: '%.*s' does not begin with '/'; write one such as /users/{id}",
				  SHOW(item));
	if (item.len > PATTERN_MAX)
		return file_error(w, line, "routes.patterns: a pattern is too long; write at most %d bytes",
				  PATTERN_MAX);
	err = list_add(&r->patterns, item);
	if (err == -E2BIG)
		return file_error(w, line, "routes.patterns: too long a list; write at most 4096 patterns");
	return err ? no_memory(w) : 0;
}

static int route_pair(struct walk *w, void *ctx, struct str key, unsigned line, yaml_node_t *value)
{
	struct route_patterns *r = ctx;

	if (str_is(key, "service"))
		return take_text(w, line, "routes.service", value, &r->service);
	if (!str_is(key, "patterns"))
		return unknown_word(w, line, "routes", key, route_keys, ARRAY_SIZE(route_keys));
	if (r->patterns.n)
		return file_error(w, line, "routes.patterns: is set twice; keep one");
	if (value->type != YAML_SEQUENCE_NODE)
		return file_error(w, line, "routes.patterns: is not a list; write one such as [\"/users/{id}\"]");
	return each_item(w, value, "routes.patterns", add_pattern, r);
}

static void *add_route(struct config *c)
{
	struct route_patterns *v = realloc(c->routes, (c->n_routes + 1) * sizeof(*v));

	if (!v)
		return NULL;
	c->routes = v;
	v[c->n_routes] = (struct route_patterns){0};
	return &v[c->n_routes++];
}

static int judge_route(struct walk *w, unsigned line, void *entry)
{
	struct route_patterns *r = entry;

	if (!r->patterns.n)
		return file_error(w, line, "routes: an entry without patterns; write patterns: [\"/users/{id}\"]");
	if (!r->service)
		r->service = strdup("*");
	return r->service ? 0 : no_memory(w);
}

static int read_routes(struct walk *w, unsigned line, yaml_node_t *n)
{
	if (w->l->c->n_routes)
		return file_error(w, line, "routes: is set twice; keep one list");
	return read_entries(w, line, n, "routes", add_route, route_pair, judge_route);
}

void config_rules_done(struct config *c)
{
	for (size_t i = 0; i < c->n_rules; i++) {
		struct rule *r = &c->rules[i];

		free(r->exe);
		free(r->cgroup);
		free(r->env);
		free(r->service_name);
		free(r->service_namespace);
	}
	for (size_t i = 0; i < c->n_routes; i++) {
		free(c->routes[i].service);
		value_done(OPT_LIST, &c->routes[i].patterns);
	}
	free(c->rules);
	free(c->routes);
	c->rules = NULL;
	c->routes = NULL;
	c->n_rules = c->n_routes = 0;
}

/* ---- the file ---- */

static int slurp(const char *path, int fd, struct buf *out)
{
	char chunk[16384];

	out->max = CONFIG_FILE_MAX;
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return log_err_r(-errno, "%s: cannot be read: %s; give a YAML file", path, strerror(errno));
		if (!n)
			return 0;
		buf_add(out, chunk, (size_t)n);
		if (out->err == -ENOBUFS)
			return log_err_r(-EINVAL, "%s: is larger than 1 MiB; give a smaller file", path);
		if (out->err)
			return log_err_r(-ENOMEM, "%s: out of memory while it was read", path);
	}
}

static int yaml_broken(const struct loader *l, const yaml_parser_t *p)
{
	size_t line = p->problem_mark.line ? p->problem_mark.line : p->context_mark.line;

	if (p->error == YAML_MEMORY_ERROR)
		return log_err_r(-ENOMEM, "%s: out of memory while it was read", l->file);
	/* what is no text at all has an offset instead of a line */
	if (p->error == YAML_READER_ERROR)
		return log_err_r(-EINVAL, "%s: is not valid YAML at byte %zu: %s; correct it or save it as UTF-8",
				 l->file, p->problem_offset, p->problem ? p->problem : "unreadable");
	return log_err_r(-EINVAL, "%s:%zu: is not valid YAML: %s; check quotes, indents and brackets there", l->file,
			 line + 1, p->problem ? p->problem : "unknown problem");
}

static int walk_document(struct loader *l, yaml_document_t *doc)
{
	yaml_node_t *root = yaml_document_get_root_node(doc);
	struct walk w = {l, doc};

	if (!root || is_null(root))
		return 0;
	if (root->type != YAML_MAPPING_NODE)
		return file_error(&w, line_of(root), "is not a mapping of keys to values; write KEY: VALUE lines");
	return each_pair(&w, root, option_pair, "");
}

/* What the first pass has seen. */
struct scan {
	unsigned depth, documents;
	bool end;
};

static int scan_event(const struct walk *w, struct scan *s, const yaml_event_t *e)
{
	unsigned line = (unsigned)e->start_mark.line + 1;
	const yaml_char_t *anchor = NULL;

	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (s->documents++)
			return file_error(w, line, "holds a second YAML document; keep one");
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = e->data.sequence_start.anchor;
		s->depth++;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = e->data.mapping_start.anchor;
		s->depth++;
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		s->depth--;
		break;
	case YAML_SCALAR_EVENT:
		anchor = e->data.scalar.anchor;
		break;
	case YAML_ALIAS_EVENT:
		anchor = e->data.alias.anchor;
		break;
	case YAML_STREAM_END_EVENT:
		s->end = true;
		break;
	default:
		break;
	}
	if (anchor)
		return file_error(w, line,
				  "a YAML anchor (&name) or alias (*name) is used; they are not supported, write "
				  "the value out");
	if (s->depth > DEPTH_MAX)
		return file_error(w, line, "is nested deeper than %d levels; no key is", DEPTH_MAX);
	return 0;
}

static int first_pass(struct loader *l, yaml_parser_t *parser)
{
	struct walk w = {l, NULL};
	struct scan s = {0};
	yaml_event_t e;
	int err = 0;

	while (!err && !s.end) {
		if (!yaml_parser_parse(parser, &e))
			return yaml_broken(l, parser);
		err = scan_event(&w, &s, &e);
		yaml_event_delete(&e);
	}
	return err;
}

static int second_pass(struct loader *l, yaml_parser_t *parser)
{
	yaml_document_t doc;
	int err;

	if (!yaml_parser_load(parser, &doc))
		return yaml_broken(l, parser);
	err = walk_document(l, &doc);
	yaml_document_delete(&doc);
	return err;
}

static int with_parser(struct loader *l, struct str text, int (*pass)(struct loader *, yaml_parser_t *))
{
	yaml_parser_t parser;
	int err;

	if (!yaml_parser_initialize(&parser))
		return log_err_r(-ENOMEM, "%s: out of memory while it was read", l->file);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.len);
	err = pass(l, &parser);
	yaml_parser_delete(&parser);
	return err;
}

int config_read_file(struct loader *l, bool asked)
{
	_buf_ struct buf text = BUF_INIT;
	_close_ int fd = open(l->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int err;

	if (fd < 0) {
		err = -errno;
		if (err == -ENOENT && !asked)
			return 0;
		return log_err_r(err, "%s: the configuration file cannot be opened: %s; correct the path or its rights",
				 l->file, strerror(-err));
	}
	err = slurp(l->file, fd, &text);
	if (!err && text.len)
		err = with_parser(l, buf_view(&text), first_pass);
	if (!err && text.len)
		err = with_parser(l, buf_view(&text), second_pass);
	return err;
}
