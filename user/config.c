// SPDX-License-Identifier: Apache-2.0
/*
 * The options engine: rows made from options.h, four sources laid one over the
 * other (defaults, file, environment, flags), each value parsed, checked and moved
 * into its field by one function that also knows how to complain: where the value
 * stands, what it is, why it is refused, what would be right. A value in an OTEL_*
 * variable that the specification wants ignored is a warning; everything else an error.
 */
#include <ctype.h>
#include <stdio.h>

#include "user/base/log.h"
#include "user/config_internal.h"

#define NO  false
#define YES true

const struct opt_row opt_rows[] = {
#define X(field_, type_, flag_, env_, def_, reload_, words_, help_)                                                    \
	{.flag = flag_,                                                                                                \
	 .env = env_,                                                                                                  \
	 .def = def_,                                                                                                  \
	 .words = words_,                                                                                              \
	 .help = help_,                                                                                                \
	 .type = OPT_##type_,                                                                                          \
	 .reload = reload_,                                                                                            \
	 .offset = offsetof(struct config, field_)},
	SONDE_OPTIONS(X)
#undef X
};
const size_t n_opt_rows = ARRAY_SIZE(opt_rows);

#undef NO
#undef YES

#define ROW_MAX	 ARRAY_SIZE(opt_rows)
#define WORD_MAX 64

/* The flags found in argv, in order. */
struct given_flag {
	const struct opt_row *row;
	const char *value;
};

struct given_flags {
	struct given_flag *v;
	size_t n;
	int rest;
};

void *opt_field(struct config *c, const struct opt_row *row)
{
	return (char *)c + row->offset;
}

const struct opt_row *opt_find(struct str name)
{
	for (size_t i = 0; i < n_opt_rows; i++) {
		if (str_is(name, opt_rows[i].flag))
			return &opt_rows[i];
	}
	return NULL;
}

/* ---- suggestions ---- */

/* Levenshtein distance; both at most WORD_MAX long. */
static unsigned distance(struct str a, struct str b)
{
	unsigned row[WORD_MAX + 1], diagonal, above;

	for (size_t j = 0; j <= b.len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a.len; i++) {
		diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b.len; j++) {
			above = row[j];
			row[j] = MIN(MIN(above, row[j - 1]) + 1, diagonal + (a.p[i - 1] != b.p[j - 1]));
			diagonal = above;
		}
	}
	return row[b.len];
}

/* "listen-address" means "web.listen-address". */
static bool is_last_part(struct str name, struct str word)
{
	return name.len && word.len > name.len + 1 && word.p[word.len - name.len - 1] == '.' &&
	       !memcmp(word.p + word.len - name.len, name.p, name.len);
}

const char *nearest_word(struct str name, const char *const *words, size_t n)
{
	unsigned best = (unsigned)MAX(name.len / 3, (size_t)2) + 1;
	const char *found = NULL;

	if (name.len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		struct str word = str_of(words[i]);
		unsigned d = word.len > WORD_MAX ? best : distance(name, word);

		if (is_last_part(name, word))
			d = MIN(d, 1u);
		if (d < best) {
			best = d;
			found = words[i];
		}
	}
	return found;
}

const char *nearest_key(struct str name)
{
	const char *words[ROW_MAX + 2];
	size_t n = 0;

	for (; n < ROW_MAX; n++)
		words[n] = opt_rows[n].flag;
	words[n++] = "rules";
	words[n++] = "routes";
	return nearest_word(name, words, n);
}

/* ---- one value ---- */

static void add_where(struct buf *b, const struct loader *l, const struct opt_row *row, struct opt_origin from)
{
	switch (from.source) {
	case SOURCE_FILE:
		buf_printf(b, "%s:%u: %s", l->file, from.line, row->flag);
		break;
	case SOURCE_ENV:
		buf_printf(b, "environment variable %s", row->env);
		break;
	case SOURCE_FLAG:
		buf_printf(b, "--%s", row->flag);
		break;
	case SOURCE_DEFAULT:
		buf_printf(b, "default of --%s", row->flag);
		break;
	}
}

static bool is_otel_env(const struct opt_row *row, struct opt_origin from)
{
	return from.source == SOURCE_ENV && !strncmp(row->env, "OTEL_", 5);
}

/* What the specification tells implementations to warn about and ignore: all that is more than plain text, but exporters. */
static bool is_forgiven(const struct opt_row *row, struct opt_origin from)
{
	return is_otel_env(row, from) && row->type != OPT_STR && row->type != OPT_LIST && row->type != OPT_WORDS;
}

static int complain(const struct loader *l, const struct opt_row *row, struct opt_origin from, struct str text,
		    const struct buf *why)
{
	_buf_ struct buf m = BUF_INIT;

	add_where(&m, l, row, from);
	buf_puts(&m, ": ");
	if (value_is_secret(row))
		buf_puts(&m, "the value (not shown)");
	else
		add_quoted_value(&m, text);
	buf_printf(&m, " %s", why->len ? why->data : "cannot be held: out of memory");
	if (m.err)
		return log_err_r(-ENOMEM, "configuration: out of memory");
	if (is_forgiven(row, from)) {
		log_warn("%s; ignored until then", m.data);
		return 0;
	}
	return log_err_r(-EINVAL, "%s", m.data);
}

/* A repeated flag adds to the list that the first one began: `old` moves in front of `v`. */
static int prepend(enum opt_type type, union opt_value *old, union opt_value *v)
{
	int err = 0;

	if (type == OPT_LIST) {
		for (size_t i = 0; i < v->list.n && !err; i++)
			err = list_add(&old->list, str_of(v->list.v[i]));
	} else {
		for (size_t i = 0; i < v->kv.n && !err; i++)
			err = kv_set(&old->kv, str_of(v->kv.v[i].key), str_of(v->kv.v[i].value));
	}
	if (!err) {
		union opt_value sum = {0};

		memcpy(&sum, old, value_size(type));
		memset(old, 0, value_size(type));
		value_done(type, v);
		*v = sum;
	}
	return err;
}

int config_set_value(struct loader *l, const struct opt_row *row, struct opt_origin origin, union opt_value *v,
		     struct str text)
{
	struct opt_origin *from = &l->from[row - opt_rows];
	void *field = opt_field(l->c, row);
	_buf_ struct buf why = BUF_INIT;
	int err = 0;

	if (origin.source == SOURCE_FLAG && from->source == SOURCE_FLAG &&
	    (row->type == OPT_LIST || row->type == OPT_KV)) {
		err = prepend(row->type, field, v);
		if (err == -E2BIG)
			buf_puts(&why, "makes too long a list; give at most 4096 items");
	}
	if (!err)
		err = value_check(row, v, &why);
	if (err) {
		value_done(row->type, v);
		return complain(l, row, origin, text, &why);
	}
	value_done(row->type, field);
	memcpy(field, v, value_size(row->type));
	*from = origin;
	return 0;
}

/* The specification knows one true value; everything else is false. */
static int set_otel_bool(struct loader *l, const struct opt_row *row, struct opt_origin origin, struct str text)
{
	union opt_value v = {.b = str_eq_nocase(text, STR("true"))};

	if (!v.b && !str_eq_nocase(text, STR("false")))
		log_warn("environment variable %s: '%.*s' counts as false; write true or false", row->env,
			 (int)MIN(text.len, (size_t)100), text.p);
	return config_set_value(l, row, origin, &v, text);
}

int config_set_text(struct loader *l, const struct opt_row *row, struct opt_origin origin, struct str text)
{
	_buf_ struct buf why = BUF_INIT;
	union opt_value v = {0};

	if (row->type == OPT_BOOL && is_otel_env(row, origin))
		return set_otel_bool(l, row, origin, text);
	if (value_parse(row, text, &v, &why))
		return complain(l, row, origin, text, &why);
	return config_set_value(l, row, origin, &v, text);
}

/* ---- flags ---- */

/* The row that `name` (without dashes, up to '=') stands for; *ret_no: it was --no-NAME. */
static const struct opt_row *flag_row(struct str name, bool *ret_no)
{
	const struct opt_row *row = opt_find(name);

	*ret_no = false;
	if (row || !str_starts_nocase(name, STR("no-")))
		return row;
	row = opt_find((struct str){name.p + 3, name.len - 3});
	*ret_no = row && row->type == OPT_BOOL;
	return *ret_no ? row : NULL;
}

static int unknown_flag(struct str name)
{
	const char *near = nearest_key(name);

	if (near && opt_find(str_of(near)))
		return log_err_r(-EINVAL, "--%.*s: there is no such flag; did you mean --%s? sonde --help lists all",
				 (int)MIN(name.len, (size_t)100), name.p, near);
	return log_err_r(-EINVAL, "--%.*s: there is no such flag; sonde --help lists all",
			 (int)MIN(name.len, (size_t)100), name.p);
}

/* One flag at argv[i]; returns how many arguments it took, or -errno. */
static int read_flag(int argc, char **argv, int i, struct given_flag *ret)
{
	struct str rest = str_of(argv[i] + 2), name;
	const char *value = strchr(argv[i], '=');
	const struct opt_row *row;
	bool no;

	name = (struct str){rest.p, value ? (size_t)(value - rest.p) : rest.len};
	row = flag_row(name, &no);
	if (!row)
		return unknown_flag(name);
	if (no && value)
		return log_err_r(-EINVAL, "%s: takes no value; write --%s=true or --%s=false", argv[i], row->flag,
				 row->flag);
	*ret = (struct given_flag){row, value ? value + 1 : no ? "false" : "true"};
	if (value || row->type == OPT_BOOL)
		return 1;
	if (i + 1 >= argc || !strncmp(argv[i + 1], "--", 2))
		return log_err_r(-EINVAL, "--%s: needs a value; write --%s=%s", row->flag, row->flag, row->words);
	ret->value = argv[i + 1];
	return 2;
}

/* Finds the flags and moves what is none behind them; "--" ends the flags. */
static int read_flags(int argc, char **argv, struct given_flags *ret)
{
	_free_ struct given_flag *flags = calloc((size_t)argc + 1, sizeof(*flags));
	_free_ char **rest = calloc((size_t)argc + 1, sizeof(*rest));
	int n_rest = 0, front = argc ? 1 : 0, i = front, took;
	size_t n = 0;

	if (!flags || !rest)
		return log_err_r(-ENOMEM, "configuration: out of memory");
	while (i < argc) {
		if (argv[i][0] != '-' || !argv[i][1]) {
			rest[n_rest++] = argv[i++];
			continue;
		}
		if (argv[i][1] != '-')
			return log_err_r(-EINVAL, "%s: there is no such flag; sonde --help lists all", argv[i]);
		if (!argv[i][2]) {
			argv[front++] = argv[i++];
			break;
		}
		took = read_flag(argc, argv, i, &flags[n]);
		if (took < 0)
			return took;
		for (n++; took; took--)
			argv[front++] = argv[i++];
	}
	/* what is left behind "--" stands where it is */
	memcpy(argv + front, rest, (size_t)n_rest * sizeof(*rest));
	*ret = (struct given_flags){TAKE_PTR(flags), n, front};
	return 0;
}

/* ---- all sources ---- */

static int set_defaults(struct loader *l)
{
	for (size_t i = 0; i < n_opt_rows; i++) {
		int err = config_set_text(l, &opt_rows[i], (struct opt_origin){SOURCE_DEFAULT, 0},
					  str_of(opt_rows[i].def));

		if (err)
			return err;
	}
	return 0;
}

static int read_environment(struct loader *l)
{
	for (size_t i = 0; i < n_opt_rows; i++) {
		const char *value = opt_rows[i].env ? getenv(opt_rows[i].env) : NULL;
		int err;

		/* empty is the same as not set */
		if (!value || !*value)
			continue;
		err = config_set_text(l, &opt_rows[i], (struct opt_origin){SOURCE_ENV, 0}, str_of(value));
		if (err)
			return err;
	}
	return 0;
}

static int apply_flags(struct loader *l, const struct given_flags *flags)
{
	for (size_t i = 0; i < flags->n; i++) {
		int err = config_set_text(l, flags->v[i].row, (struct opt_origin){SOURCE_FLAG, 0},
					  str_of(flags->v[i].value));

		if (err)
			return err;
	}
	return 0;
}

/* The file: by flag, by environment, or the usual place when there is one. An empty flag asks for none. */
static int read_file(struct loader *l, const struct given_flags *flags)
{
	const struct opt_row *row = opt_find(STR("config.file"));
	const char *path = getenv(row->env);
	bool asked = path && *path;

	for (size_t i = 0; i < flags->n; i++) {
		if (flags->v[i].row == row) {
			path = flags->v[i].value;
			asked = true;
		}
	}
	if (asked && !*path)
		return 0;
	l->file = asked ? path : CONFIG_DEFAULT_FILE;
	return config_read_file(l, asked);
}

/* A batch can be no longer than its queue. Only who wrote both numbers is told. */
static int check_batch(struct loader *l)
{
	const struct opt_row *row = opt_find(STR("traces.batch.size"));
	struct opt_origin from = l->from[row - opt_rows];
	_buf_ struct buf why = BUF_INIT;
	_buf_ struct buf text = BUF_INIT;

	if (l->c->bsp_batch <= l->c->bsp_queue)
		return 0;
	if (from.source != SOURCE_DEFAULT) {
		buf_printf(&why, "is more than traces.batch.queue-size (%lld); write that or less",
			   (long long)l->c->bsp_queue);
		buf_printf(&text, "%lld", (long long)l->c->bsp_batch);
		if (complain(l, row, from, buf_view(&text), &why))
			return -EINVAL;
	}
	l->c->bsp_batch = l->c->bsp_queue;
	return 0;
}

static int check_client_pair(struct loader *l)
{
	bool key = l->c->otlp_client_key[0];

	if (key == !!l->c->otlp_client_certificate[0])
		return 0;
	return log_err_r(-EINVAL, "otlp.client-%s is set without otlp.client-%s: mutual TLS needs both; set the other",
			 key ? "key" : "certificate", key ? "certificate" : "key");
}

/* service.name among the resource attributes names sonde itself, unless self.service-name does. */
static int take_self_name(struct loader *l)
{
	const struct opt_row *row = opt_find(STR("self.service-name"));
	struct kv_list *attrs = &l->c->resource_attributes;

	for (size_t i = 0; i < attrs->n; i++) {
		struct kv *a = &attrs->v[i];

		if (strcmp(a->key, "service.name"))
			continue;
		if (a->value[0] && l->from[row - opt_rows].source == SOURCE_DEFAULT) {
			free(l->c->self_name);
			l->c->self_name = TAKE_PTR(a->value);
		}
		kv_remove(attrs, "service.name");
		break;
	}
	return 0;
}

static void config_freep(struct config **c)
{
	config_free(*c);
}

static int load_all(const struct given_flags *flags, struct config **ret)
{
	static int (*const steps[])(struct loader *) = {check_batch, check_client_pair, take_self_name};
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	struct opt_origin from[ROW_MAX] = {0};
	struct loader l = {c, from, ""};
	int err;

	if (!c)
		return log_err_r(-ENOMEM, "configuration: out of memory");
	err = set_defaults(&l);
	if (!err)
		err = read_file(&l, flags);
	if (!err)
		err = read_environment(&l);
	if (!err)
		err = apply_flags(&l, flags);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !err; i++)
		err = steps[i](&l);
	if (err)
		return err;
	*ret = TAKE_PTR(c);
	return 0;
}

int config_load(struct config **ret_config, int argc, char **argv, int *ret_rest)
{
	struct given_flags flags = {0};
	int err = read_flags(argc, argv, &flags);

	if (err)
		return err;
	err = load_all(&flags, ret_config);
	free(flags.v);
	if (!err)
		*ret_rest = flags.rest;
	return err;
}

/* ---- SIGHUP ---- */

static void swap_bytes(void *a, void *b, size_t size)
{
	union opt_value tmp;

	memcpy(&tmp, a, size);
	memcpy(a, b, size);
	memcpy(b, &tmp, size);
}

static void take_over_rows(struct config *live, struct config *fresh)
{
	for (size_t i = 0; i < n_opt_rows; i++) {
		const struct opt_row *row = &opt_rows[i];
		void *old = opt_field(live, row), *new = opt_field(fresh, row);

		if (value_equal(row->type, old, new))
			continue;
		if (row->reload) {
			swap_bytes(old, new, value_size(row->type));
			log_info("%s has changed", row->flag);
		} else {
			log_warn("%s has changed, but needs a restart; the old value stays until then", row->flag);
		}
	}
}

static void take_over_rules(struct config *live, struct config *fresh)
{
	struct config tmp = *live;

	live->rules = fresh->rules;
	live->n_rules = fresh->n_rules;
	live->routes = fresh->routes;
	live->n_routes = fresh->n_routes;
	fresh->rules = tmp.rules;
	fresh->n_rules = tmp.n_rules;
	fresh->routes = tmp.routes;
	fresh->n_routes = tmp.n_routes;
}

int config_reload(struct config *live, int argc, char **argv)
{
	_cleanup_(config_freep) struct config *fresh = NULL;
	int rest, err;

	err = config_load(&fresh, argc, argv, &rest);
	if (err)
		return err;
	/* nothing below can fail */
	take_over_rows(live, fresh);
	take_over_rules(live, fresh);
	return 0;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < n_opt_rows; i++)
		value_done(opt_rows[i].type, opt_field(c, &opt_rows[i]));
	config_rules_done(c);
	free(c);
}
