/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What config.c (sources and their order), config_value.c (types and checks),
 * config_file.c (YAML) and config_print.c (documentation) share. Nobody else
 * includes this.
 */
#pragma once

#include "user/base/buf.h"
#include "user/config.h"

#define CONFIG_DEFAULT_FILE "/etc/sonde/sonde.yaml"
#define CONFIG_FILE_MAX	    (1U << 20)

enum opt_type {
	OPT_BOOL,
	OPT_INT,
	OPT_SIZE,
	OPT_DURATION,
	OPT_DURATION_MS,
	OPT_DOUBLE,
	OPT_STR,
	OPT_LIST,
	OPT_DOUBLES,
	OPT_KV,
	OPT_ENUM,
	OPT_WORDS,
};

/* One line of options.h. */
struct opt_row {
	const char *flag; /* also the YAML key */
	const char *env;  /* NULL: none */
	const char *def;
	const char *words;
	const char *help;
	enum opt_type type;
	bool reload;
	size_t offset; /* of the field in struct config */
};

extern const struct opt_row opt_rows[];
extern const size_t n_opt_rows;

/* A value while it is on its way into its field. */
union opt_value {
	bool b;
	int64_t i;
	uint64_t u;
	double d;
	char *s;
	struct str_list list;
	struct double_list doubles;
	struct kv_list kv;
	int e;
};

/* Where a value comes from; also the order of precedence. */
enum opt_source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENV, SOURCE_FLAG };

struct opt_origin {
	enum opt_source source;
	unsigned line; /* SOURCE_FILE */
};

/* A configuration that is being put together. */
struct loader {
	struct config *c;
	struct opt_origin *from; /* one per row */
	const char *file;	 /* borrowed */
};

/* config.c */
void *opt_field(struct config *c, const struct opt_row *row);
const struct opt_row *opt_find(struct str name);
/* The known name that `name` was probably meant to be; NULL: none is near. */
const char *nearest_word(struct str name, const char *const *words, size_t n);
const char *nearest_key(struct str name);
int config_set_text(struct loader *l, const struct opt_row *row, struct opt_origin origin, struct str text);
/* Checks `v` and moves it into its field; `v` is consumed in any case. `text` is for the message. */
int config_set_value(struct loader *l, const struct opt_row *row, struct opt_origin origin, union opt_value *v,
		     struct str text);

/* config_value.c: `why` gets what follows the quoted value in a message: reason and way out. */
int value_parse(const struct opt_row *row, struct str text, union opt_value *ret, struct buf *why);
int value_check(const struct opt_row *row, const union opt_value *v, struct buf *why);
bool value_is_list(enum opt_type type);
/* One item of a list into `v`; -EINVAL (in `why`), -E2BIG, -ENOMEM. */
int value_add_item(const struct opt_row *row, union opt_value *v, struct str item, struct buf *why);
size_t value_size(enum opt_type type);
bool value_equal(enum opt_type type, const void *a, const void *b);
void value_done(enum opt_type type, void *v);
bool value_is_secret(const struct opt_row *row);
int list_add(struct str_list *l, struct str item); /* copies */
int kv_set(struct kv_list *l, struct str key, struct str value); /* copies; replaces */
void kv_remove(struct kv_list *l, const char *key);
void add_quoted_value(struct buf *b, struct str text); /* 'text', cut when long */
void add_duration(struct buf *b, uint64_t ns);

/* config_file.c: reads l->file into l->c; logs. A file that is not there is no error when nobody asked for it. */
int config_read_file(struct loader *l, bool asked);
void config_rules_done(struct config *c);
