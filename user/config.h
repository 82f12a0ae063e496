/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration: one read-only struct, made from defaults < file < environment <
 * flags. What options there are stands in options.h; rules and route patterns are
 * lists of mappings in the YAML file only:
 *
 *   rules:                          # first match wins per action kind
 *     - match: {exe: "/usr/sbin/nginx*", port: 8080, cgroup: "/system.slice/x.service", uid: 33, env: "APP=shop*"}
 *       action: exclude             # include | exclude
 *     - match: {exe: "*gunicorn*"}
 *       service_name: shop          # rename; also service_namespace
 *   routes:
 *     - service: "shop*"            # glob, default "*"
 *       patterns: ["/users/{id}", "/files/{name}"]
 */
#pragma once

#include "user/base/str.h"
#include "user/options.h"

struct str_list {
	char **v;
	size_t n;
};

struct double_list {
	double *v;
	size_t n;
};

struct kv {
	char *key, *value;
};

struct kv_list {
	struct kv *v;
	size_t n;
};

enum rule_action { RULE_NONE, RULE_INCLUDE, RULE_EXCLUDE };

struct rule {
	/* conditions, all must hold; NULL/-1: not asked. exe, cgroup, env ("NAME=VALUE") are globs */
	char *exe, *cgroup, *env;
	int64_t uid;
	int32_t port; /* local port of a server, peer port of a client */
	enum rule_action action;
	char *service_name, *service_namespace; /* NULL: not renamed */
};

struct route_patterns {
	char *service;
	struct str_list patterns;
};

#define OPT_T_BOOL bool
#define OPT_T_INT int64_t
#define OPT_T_SIZE uint64_t
#define OPT_T_DURATION uint64_t /* ns */
#define OPT_T_DURATION_MS uint64_t /* ns */
#define OPT_T_DOUBLE double
#define OPT_T_STR char *
#define OPT_T_LIST struct str_list
#define OPT_T_DOUBLES struct double_list
#define OPT_T_KV struct kv_list
#define OPT_T_ENUM int
#define OPT_T_WORDS int

struct config {
#define X(field, type, flag, env, def, reload, words, help) OPT_T_##type field;
	SONDE_OPTIONS(X)
#undef X
	struct rule *rules;
	size_t n_rules;
	struct route_patterns *routes;
	size_t n_routes;
};

enum { PRINT_NONE, PRINT_TEXT, PRINT_JSON };
enum { EXPORTER_AUTO = 1 << 0, EXPORTER_OTLP = 1 << 1, EXPORTER_NONE = 1 << 2, EXPORTER_CONSOLE = 1 << 3 };
enum { OTLP_HTTP, OTLP_GRPC, OTLP_INHERIT };
enum { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_INHERIT };
enum { TEMPORALITY_CUMULATIVE, TEMPORALITY_DELTA, TEMPORALITY_LOWMEMORY };
enum {
	SAMPLER_ALWAYS_ON, SAMPLER_ALWAYS_OFF, SAMPLER_RATIO,
	SAMPLER_PARENT_ALWAYS_ON, SAMPLER_PARENT_ALWAYS_OFF, SAMPLER_PARENT_RATIO,
};

/*
 * Reads defaults, file, environment and the flags in argv (argv[0] is skipped; what
 * is not a flag is left in order at the end and *ret_rest is its index). On failure
 * one line that names file, line, key, value and what is allowed has been logged;
 * -EINVAL, -ENOENT (a file that was asked for), -ENOMEM. *ret_config is owned by the
 * caller. A value that the OpenTelemetry specification tells implementations to ignore
 * (an unknown OTEL_* enum) warns and keeps the default; an exporter that is not known is an error all the
 * same, as nobody would see what is missing.
 */
int config_load(struct config **ret_config, int argc, char **argv, int *ret_rest);
/*
 * Reads file and environment again. Takes over into `live` what SIGHUP may change
 * and logs each other difference as "needs a restart". On a broken file -errno, and
 * nothing has changed. To be called in the thread that reads the options that SIGHUP
 * may change: old lists, rules and routes are freed.
 */
int config_reload(struct config *live, int argc, char **argv);
void config_free(struct config *c); /* NULL is fine */

void config_print_help(void);	  /* the options, for --help */
void config_print_manual(void);	  /* the OPTIONS part of the manual page, roff */
void config_print_reference(void); /* docs/configuration.md */
void config_print_example(void);   /* an example sonde.yaml: every key with its default, commented out */
