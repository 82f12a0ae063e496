// SPDX-License-Identifier: Apache-2.0
/*
 * A table of interpreters. Those with options in the manner of getopt(3) share one
 * walk over their arguments, told by data which options take a value, so that
 * `python -W ignore app.py` is "app" and not "ignore". What an option does is of no
 * interest. A script whose base name says nothing (index.js, manage.py) goes by its
 * directory, or by its package's name where the ecosystem has one.
 */
#include <limits.h>
#include <stdio.h>

#include "user/enrich/interpreters.h"
#include "user/enrich/package_json.h"

typedef const char *const words[];

enum found { FOUND_NOTHING, FOUND_SCRIPT, FOUND_MODULE };

struct options {
	const char *value;    /* letters with a value: the rest of the word, or the next word */
	const char *attached; /* letters that eat the rest of their word */
	const char *code;     /* letters after which no script comes: -c CODE */
	const char *module;
	const char *script;	       /* letters whose value is the script: php -f */
	const char *const *long_value; /* "--x VALUE" (and "--x=VALUE") */
	const char *const *long_code;
};

struct job {
	const struct args *args;
	const struct identity_input *in;
	struct identity_program *ret;
};

static bool in_words(struct str s, const char *const *list)
{
	for (; list && *list; list++) {
		if (str_is(s, *list))
			return true;
	}
	return false;
}

static struct str from(struct str s, size_t at)
{
	return (struct str){s.p + at, s.len - at};
}

static bool starts(struct str s, const char *head)
{
	size_t len = strlen(head);

	return s.len >= len && !memcmp(s.p, head, len);
}

static bool ends(struct str s, const char *end)
{
	size_t len = strlen(end);

	return s.len >= len && !memcmp(s.p + s.len - len, end, len);
}

static bool letter(char c, const char *set)
{
	return c && set && strchr(set, c);
}

/* One word of short options; *i moves on when it takes the next word. False: what follows is no script. */
static bool short_options(const struct args *a, size_t *i, const struct options *o, enum found *ret,
			  struct str *ret_value)
{
	struct str w = a->v[*i];

	for (size_t at = 1; at < w.len; at++) {
		bool is_module = letter(w.p[at], o->module), is_script = letter(w.p[at], o->script);

		if (letter(w.p[at], o->code))
			return false;
		if (letter(w.p[at], o->attached))
			return true;
		if (!is_module && !is_script && !letter(w.p[at], o->value))
			continue;
		*ret_value = at + 1 < w.len ? from(w, at + 1) : (struct str){0};
		if (!ret_value->len && *i + 1 < a->n)
			*ret_value = a->v[++*i];
		if (is_module || is_script)
			*ret = is_module ? FOUND_MODULE : FOUND_SCRIPT;
		return true;
	}
	return true;
}

static bool long_option(const struct args *a, size_t *i, const struct options *o)
{
	struct str w = a->v[*i], name = w;
	const char *eq = memchr(w.p, '=', w.len);

	if (eq)
		name.len = (size_t)(eq - w.p);
	if (in_words(name, o->long_code))
		return false;
	if (!eq && in_words(name, o->long_value))
		++*i;
	return true;
}

/* Walks from word `*i`; on success *ret_value is the script or module and *i the word behind it. */
static enum found walk(const struct args *a, size_t *i, const struct options *o, struct str *ret_value)
{
	enum found found = FOUND_NOTHING;

	for (; *i < a->n; ++*i) {
		struct str w = a->v[*i];

		if (str_is(w, "--") && *i + 1 < a->n)
			w = a->v[++*i];
		else if (str_is(w, "-"))
			return FOUND_NOTHING;
		else if (w.len > 1 && (w.p[0] == '-' || w.p[0] == '+')) {
			if (starts(w, "--") || in_words(w, o->long_value) || in_words(w, o->long_code)) {
				if (!long_option(a, i, o))
					return FOUND_NOTHING;
			} else if (!short_options(a, i, o, &found, ret_value)) {
				return FOUND_NOTHING;
			}
			if (found == FOUND_NOTHING)
				continue;
			++*i;
			return ret_value->len ? found : FOUND_NOTHING;
		}
		*ret_value = w;
		++*i;
		return w.len ? FOUND_SCRIPT : FOUND_NOTHING;
	}
	return FOUND_NOTHING;
}

/* Joins with the working directory and takes out "." and ".."; false: relative, and nobody knows to what. */
static bool absolute(const struct job *j, struct str path, char ret[PATH_MAX])
{
	struct str parts[2] = {j->in->cwd, path}, part;
	size_t n = 0;

	if (path.len && path.p[0] == '/')
		parts[0] = (struct str){0};
	else if (!j->in->cwd.len || j->in->cwd.p[0] != '/')
		return false;
	for (size_t i = 0; i < 2; i++) {
		while (str_split(&parts[i], '/', &part)) {
			if (!part.len || str_is(part, "."))
				continue;
			if (str_is(part, "..")) {
				while (n && ret[--n] != '/')
					;
				continue;
			}
			if (n + part.len + 2 > PATH_MAX)
				return false;
			ret[n++] = '/';
			memcpy(ret + n, part.p, part.len);
			n += part.len;
		}
	}
	ret[n] = 0;
	return true;
}

static void cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = 0;
}

static void set_name(const struct job *j, struct str name)
{
	identity_clean(j->ret->name, sizeof(j->ret->name), name);
}

/* Names the program after the directory `path`, or the next one above it that is not mere structure. */
static bool name_by_directory(const struct job *j, char *path)
{
	static words structure = {"dist", "build", "src", "lib", "out", "bin", "public", "scripts", NULL};

	for (; *path; cut_last(path)) {
		struct str base = identity_base(str_of(path));

		if (in_words(base, structure))
			continue;
		set_name(j, base);
		return true;
	}
	return false;
}

static struct str stem(struct str script, const char *const *suffixes)
{
	struct str base;

	while (script.len > 1 && script.p[script.len - 1] == '/')
		script.len--;
	base = identity_base(script);
	for (; *suffixes; suffixes++) {
		if (ends(base, *suffixes) && base.len > strlen(*suffixes)) {
			base.len -= strlen(*suffixes);
			break;
		}
	}
	return base;
}

/* The script's base name without suffix; its directory's where that says nothing. */
static bool name_by_script(const struct job *j, struct str script, const char *const *suffixes, const char *const *dull)
{
	struct str base = stem(script, suffixes);
	char path[PATH_MAX];

	if (in_words(base, dull) && absolute(j, script, path)) {
		cut_last(path);
		if (name_by_directory(j, path))
			return true;
	}
	if (str_is(base, ".") || str_is(base, "..") || !base.len)
		return absolute(j, script, path) && name_by_directory(j, path);
	set_name(j, base);
	return true;
}

/* Python */

static bool word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

/* "shop.main" */
static bool is_module_name(struct str s)
{
	bool begin = true;

	for (size_t i = 0; i < s.len; i++) {
		if (begin ? !word_char(s.p[i]) || (s.p[i] >= '0' && s.p[i] <= '9')
			  : !word_char(s.p[i]) && s.p[i] != '.')
			return false;
		begin = s.p[i] == '.';
	}
	return s.len && !begin;
}

/* "shop.main:app", "shop:create_app()" → the module; "localhost:8000" and "unix:/x" are none */
static bool app_reference(struct str w, struct str *ret_module)
{
	struct str rest = w, module;

	if (!memchr(w.p, ':', w.len) || !str_split(&rest, ':', &module) || !is_module_name(module))
		return false;
	if (!rest.len || !word_char(rest.p[0]) || (rest.p[0] >= '0' && rest.p[0] <= '9') ||
	    memchr(rest.p, '/', rest.len))
		return false;
	*ret_module = module;
	return true;
}

/* What an application server was told to serve: by reference, else a bare module that is no option's value. */
static bool served_app(const struct args *a, size_t i, struct str *ret_module)
{
	static words alone = {"--reload",	 "--preload",	    "--daemon",		"-D",		"--factory",
			      "--no-access-log", "--proxy-headers", "--capture-output", "--use-colors", NULL};
	struct str bare = {0};

	for (size_t k = i; k < a->n; k++) {
		struct str before = k > i ? a->v[k - 1] : (struct str){0};
		bool is_value = before.len && before.p[0] == '-' && !memchr(before.p, '=', before.len) &&
				!in_words(before, alone);

		if (!a->v[k].len || a->v[k].p[0] == '-')
			continue;
		if (app_reference(a->v[k], ret_module))
			return true;
		if (!is_value && is_module_name(a->v[k]))
			bare = a->v[k];
	}
	*ret_module = bare;
	return bare.len > 0;
}

/* "--app shop", "--app=shop", "-A shop" */
static bool app_option(const struct args *a, size_t i, struct str *ret)
{
	for (; i < a->n; i++) {
		if (starts(a->v[i], "--app=")) {
			*ret = from(a->v[i], strlen("--app="));
			return ret->len > 0;
		}
		if ((str_is(a->v[i], "--app") || str_is(a->v[i], "-A")) && i + 1 < a->n) {
			*ret = a->v[i + 1];
			return ret->len > 0;
		}
	}
	return false;
}

/* flask, celery: "shop.main:app", "src/shop.py" */
static struct str app_module(struct str app)
{
	static words py = {".py", NULL};
	struct str module;

	if (!str_split(&app, ':', &module))
		return app;
	return stem(module, py);
}

/* `name`: the server's; words behind it start at `i`. False: it is no application server, or serves nobody knows what.
 */
static bool python_server(const struct job *j, struct str name, size_t i)
{
	static words by_reference = {"gunicorn",       "uvicorn",  "hypercorn", "daphne",
				     "waitress-serve", "waitress", "granian",	NULL};
	static words by_option = {"flask", "celery", NULL};
	struct str app = {0};

	if (in_words(name, by_reference) && served_app(j->args, i, &app)) {
		set_name(j, app);
		return true;
	}
	if (!in_words(name, by_option))
		return false;
	if (!app_option(j->args, i, &app) &&
	    !(str_is(name, "flask") && identity_env(j->in->environ, "FLASK_APP", &app)))
		return false;
	app = app_module(app);
	set_name(j, app);
	return app.len > 0;
}

/* "gunicorn: master [shop.main:app]": arguments are gone once a title was set */
static bool python_title(const struct job *j)
{
	struct str title = j->args->n ? j->args->v[0] : (struct str){0}, part;
	struct str module;

	if (!starts(title, "gunicorn: "))
		return false;
	if (!str_split(&title, '[', &part) || !title.len || !str_split(&title, ']', &part))
		return false;
	if (!str_split(&part, ':', &module))
		return false;
	set_name(j, module);
	return module.len > 0;
}

static bool python(const struct job *j)
{
	static words long_value = {"--check-hash-based-pycs", NULL};
	static const struct options options = {.value = "WXQ", .code = "c", .module = "m", .long_value = long_value};
	static words py = {".py", ".pyc", ".pyw", ".pyz", NULL};
	static words dull = {"__main__", "manage", NULL};
	struct str what = {0};
	size_t i = 1;

	if (python_title(j))
		return true;
	for (size_t k = 1; k + 1 < j->args->n; k++) {
		/* how Python's own process pools start their workers */
		if (str_is(j->args->v[k], "-c"))
			j->ret->as_parent = starts(j->args->v[k + 1], "from multiprocessing.");
	}
	switch (walk(j->args, &i, &options, &what)) {
	case FOUND_MODULE:
		if (!python_server(j, what, i))
			set_name(j, what);
		return true;
	case FOUND_SCRIPT:
		return python_server(j, stem(what, py), i) || name_by_script(j, what, py, dull);
	default:
		return false;
	}
}

/* JavaScript */

#define PACKAGE_MAX    (64 << 10)
#define PACKAGE_LEVELS 5 /* the script's directory and four above it */

/* The "name" of the next package.json at or above the directory `path`. */
static bool name_by_package(const struct job *j, const char *path)
{
	_buf_ struct buf b = BUF_INIT;
	char dir[PATH_MAX], file[PATH_MAX + 16], name[IDENTITY_NAME_MAX];

	if (!j->in->read_file)
		return false;
	strcpy(dir, path);
	for (int level = 0; level < PACKAGE_LEVELS; level++) {
		snprintf(file, sizeof(file), "%s/package.json", dir);
		if (!j->in->read_file(j->in->ctx, file, &b) && package_json_name(buf_view(&b), name, sizeof(name))) {
			set_name(j, str_of(name));
			return true;
		}
		if (!dir[0])
			return false;
		cut_last(dir);
	}
	return false;
}

/* A tool out of node_modules runs on behalf of the package above; an installed one is itself the program. */
static bool name_by_node_modules(const struct job *j, char *path)
{
	static const char modules[] = "/node_modules/";
	char *at = strstr(path, modules), *name, *end;

	if (!at)
		return false;
	*at = 0;
	if (name_by_package(j, path))
		return true;
	*at = '/';
	while ((name = strstr(at + 1, modules)))
		at = name;
	name = at + strlen(modules);
	if (!strncmp(name, ".bin/", 5))
		name += 5;
	end = strchr(name, '/');
	if (end && *name == '@')
		end = strchr(end + 1, '/');
	if (end)
		*end = 0;
	set_name(j, str_of(name));
	return *name;
}

static bool name_by_javascript(const struct job *j, struct str script)
{
	static words js = {".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx", NULL};
	static words dull = {"index", "main", "app", NULL};
	char path[PATH_MAX];
	struct str base;
	const char *at;

	if (starts(script, "file://"))
		script = from(script, strlen("file://"));
	at = memmem(script.p, script.len, "://", 3);
	if (at || !absolute(j, script, path))
		return name_by_script(j, script, js, dull);
	if (name_by_node_modules(j, path))
		return true;
	base = stem(script, js);
	/* "node ." names a directory, "node server" may: what has no suffix is looked into as well */
	if (name_by_package(j, path))
		return true;
	cut_last(path);
	if (!str_is(base, ".") && name_by_package(j, path))
		return true;
	return name_by_script(j, script, js, dull);
}

static bool node(const struct job *j)
{
	static words long_value = {"--require",
				   "--import",
				   "--loader",
				   "--experimental-loader",
				   "--conditions",
				   "--title",
				   "--inspect-port",
				   "--debug-port",
				   "--input-type",
				   "--icu-data-dir",
				   "--openssl-config",
				   "--redirect-warnings",
				   "--trace-event-categories",
				   "--diagnostic-dir",
				   "--watch-path",
				   "--experimental-default-type",
				   "--env-file",
				   "--stack-trace-limit",
				   NULL};
	static words long_code = {"--eval", "--print", "--interactive", "--test", "--run", NULL};
	static const struct options options = {
		.value = "rC", .code = "epi", .long_value = long_value, .long_code = long_code};
	struct str what = {0};
	size_t i = 1;

	if (walk(j->args, &i, &options, &what) != FOUND_SCRIPT)
		return false;
	if (str_is(what, "inspect") && i < j->args->n)
		what = j->args->v[i];
	return name_by_javascript(j, what);
}

/* deno and bun: like node, with subcommands in front */
static bool deno_bun(const struct job *j)
{
	static words long_value = {"--config", "--import-map", "--preload", "--env-file", "--cwd", NULL};
	static words long_code = {"--eval", "--print", NULL};
	static const struct options options = {
		.value = "cL", .code = "ep", .long_value = long_value, .long_code = long_code};
	static words runs = {"run", "serve", NULL};
	static words others = {"eval",	  "repl",   "task",  "test",  "install", "add",	    "x",       "fmt", "lint",
			       "compile", "bench",  "cache", "build", "upgrade", "lsp",	    "jupyter", "pm",  "i",
			       "init",	  "create", "check", "info",  "doc",	 "publish", NULL};
	struct str what = {0};
	size_t i = 1;

	if (walk(j->args, &i, &options, &what) != FOUND_SCRIPT || in_words(what, others))
		return false;
	if (in_words(what, runs) && walk(j->args, &i, &options, &what) != FOUND_SCRIPT)
		return false;
	return name_by_javascript(j, what);
}

/* Java */

static struct str behind_last(struct str s, char c)
{
	const char *at = s.len ? memrchr(s.p, c, s.len) : NULL;

	return at ? from(s, (size_t)(at - s.p) + 1) : s;
}

static size_t digits(struct str s, size_t i)
{
	size_t begin = i;

	while (i < s.len && s.p[i] >= '0' && s.p[i] <= '9')
		i++;
	return i - begin;
}

/* Is s[at…] a version? "1.2.3", "1.2.3-SNAPSHOT", "v2.0_1" anywhere; "7" only at the very end. */
static bool is_version(struct str s, size_t at)
{
	bool dotted = false;

	if (at < s.len && s.p[at] == 'v')
		at++;
	if (!digits(s, at))
		return false;
	at += digits(s, at);
	while (at + 1 < s.len && s.p[at] == '.' && digits(s, at + 1)) {
		dotted = true;
		at += 1 + digits(s, at + 1);
	}
	return at == s.len || (dotted && strchr("-+_.", s.p[at]));
}

static struct str without_version(struct str s)
{
	for (size_t i = 1; i + 1 < s.len; i++) {
		if (s.p[i] == '-' && is_version(s, i + 1))
			return (struct str){s.p, i};
	}
	return s;
}

static bool name_by_class(const struct job *j, struct str name)
{
	static words source = {".java", NULL};

	if (str_is(name, "org.apache.catalina.startup.Bootstrap")) {
		set_name(j, STR("tomcat"));
		return true;
	}
	if (ends(name, ".java"))
		return name_by_script(j, name, source, NULL);
	name = behind_last(behind_last(name, '/'), '.');
	set_name(j, name);
	return name.len > 0;
}

static bool java(const struct job *j)
{
	static words with_value = {"-cp",
				   "-classpath",
				   "--class-path",
				   "-p",
				   "--module-path",
				   "--upgrade-module-path",
				   "--add-modules",
				   "--add-opens",
				   "--add-exports",
				   "--add-reads",
				   "--limit-modules",
				   "--patch-module",
				   "--source",
				   "--enable-native-access",
				   "-d",
				   "--describe-module",
				   NULL};
	static words jar = {".jar", ".war", ".ear", NULL};
	const struct args *a = j->args;

	for (size_t i = 1; i < a->n; i++) {
		struct str w = a->v[i];

		if (str_is(w, "-jar") && i + 1 < a->n) {
			struct str base = without_version(stem(a->v[i + 1], jar));

			set_name(j, base);
			return base.len > 0;
		}
		if ((str_is(w, "-m") || str_is(w, "--module")) && i + 1 < a->n)
			return name_by_class(j, a->v[i + 1]);
		if (starts(w, "--module="))
			return name_by_class(j, from(w, strlen("--module=")));
		if (in_words(w, with_value))
			i++;
		else if (w.len && w.p[0] != '-' && w.p[0] != '@')
			return name_by_class(j, w);
	}
	return false;
}

/* The others */

static bool plain_script(const struct job *j, const struct options *o, const char *const *suffixes,
			 const char *const *dull)
{
	struct str what = {0};
	size_t i = 1;

	if (walk(j->args, &i, o, &what) != FOUND_SCRIPT)
		return false;
	return name_by_script(j, what, suffixes, dull);
}

static bool shell(const struct job *j)
{
	static words long_value = {"--rcfile", "--init-file", NULL};
	static const struct options options = {.value = "oO", .code = "cs", .long_value = long_value};
	static words sh = {".sh", ".bash", ".zsh", ".ksh", NULL};

	return plain_script(j, &options, sh, NULL);
}

static bool perl(const struct job *j)
{
	static const struct options options = {.value = "I", .attached = "0CDFilMmVx", .code = "eE"};
	static words pl = {".pl", ".psgi", ".cgi", NULL};

	/* a title, as servers set it: "starman master" */
	if (j->args->n == 1)
		return false;
	return plain_script(j, &options, pl, NULL);
}

static bool ruby(const struct job *j)
{
	static const struct options options = {.value = "CEIr", .attached = "0FiKTWx", .code = "e"};
	static words rb = {".rb", ".ru", NULL};
	static words dull = {"rails", NULL};

	if (j->args->n && starts(j->args->v[0], "puma ")) {
		set_name(j, STR("puma"));
		return true;
	}
	return plain_script(j, &options, rb, dull);
}

static bool php(const struct job *j)
{
	static const struct options options = {.value = "dczt", .code = "rSBREaimv", .script = "fF"};
	static words suffix = {".php", ".phar", NULL};
	static words dull = {"artisan", "console", "index", NULL};

	return plain_script(j, &options, suffix, dull);
}

static bool dotnet(const struct job *j)
{
	static words dll = {".dll", ".exe", NULL};
	static words with_value = {"--fx-version",	"--runtimeconfig", "--depsfile", "--additionalprobingpath",
				   "--additional-deps", "--roll-forward",  NULL};
	const struct args *a = j->args;

	for (size_t i = 1; i < a->n; i++) {
		if (in_words(a->v[i], with_value)) {
			i++;
		} else if (ends(a->v[i], ".dll") || ends(a->v[i], ".exe")) {
			set_name(j, stem(a->v[i], dll));
			return true;
		} else if (a->v[i].len && a->v[i].p[0] != '-' && !str_is(a->v[i], "exec")) {
			return false;
		}
	}
	return false;
}

static const struct interpreter {
	const char *name;
	bool versioned;	   /* "python3.11", "perl5.36.0" are the same */
	const char *alone; /* what it is called when it runs nothing by name; NULL: the executable's name */
	const char *runtime;
	bool (*program)(const struct job *j); /* NULL: always `alone` */
} interpreters[] = {
	{"python", true, "python", "cpython", python},
	{"pypy", true, "python", "pypy", python},
	{"node", true, "node", "nodejs", node},
	{"nodejs", true, "node", "nodejs", node},
	{"deno", false, "deno", "deno", deno_bun},
	{"bun", false, "bun", "bun", deno_bun},
	{"java", false, "java", NULL, java},
	{"ruby", true, "ruby", "ruby", ruby},
	{"perl", true, "perl", "perl", perl},
	{"php", true, "php", "php", php},
	{"php-fpm", true, "php-fpm", "php", NULL},
	{"php-cgi", true, "php-cgi", "php", NULL},
	{"dotnet", false, "dotnet", ".NET", dotnet},
	{"mono", false, "mono", "mono", dotnet},
	{"mono-sgen", false, "mono", "mono", dotnet},
	{"sh", false, NULL, NULL, shell},
	{"bash", false, NULL, NULL, shell},
	{"dash", false, NULL, NULL, shell},
	{"ash", false, NULL, NULL, shell},
	{"ksh", true, NULL, NULL, shell},
	{"zsh", true, NULL, NULL, shell},
};

static bool is_version_tail(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] != '.' && s.p[i] != '-' && !(s.p[i] >= '0' && s.p[i] <= '9'))
			break;
		if (i + 1 == s.len)
			return true;
	}
	/* debug and free-threaded builds: python3.13t, python3-dbg */
	return !s.len || (s.p[0] >= '0' && s.p[0] <= '9' && (ends(s, "t") || ends(s, "d") || ends(s, "-dbg")));
}

static const struct interpreter *find(struct str exe)
{
	for (size_t i = 0; i < ARRAY_SIZE(interpreters); i++) {
		const struct interpreter *in = &interpreters[i];

		if (!starts(exe, in->name))
			continue;
		if (in->versioned ? is_version_tail(from(exe, strlen(in->name))) : str_is(exe, in->name))
			return in;
	}
	return NULL;
}

bool interpreters_program(struct str exe, const struct args *args, const struct identity_input *in,
			  struct identity_program *ret)
{
	const struct interpreter *by = find(exe);
	const struct job j = {args, in, ret};

	if (!by)
		return false;
	ret->runtime = by->runtime;
	if (by->program && by->program(&j) && ret->name[0])
		return true;
	ret->name[0] = 0;
	if (by->alone)
		set_name(&j, str_of(by->alone));
	return false;
}
