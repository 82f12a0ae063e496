// SPDX-License-Identifier: Apache-2.0
/*
 * Everything that is written about the options, made from the one table: --help, the
 * manual's section, the reference and the example file. Options stand in groups by the
 * first part of their name, groups in the order in which the table begins them.
 */
#include <ctype.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "user/config_internal.h"

#define HELP_COLUMN	34
#define WORDS_SHOWN_MAX 30 /* longer lists of words move from the flag into the text */

static struct str group_of(const struct opt_row *row)
{
	struct str name = str_of(row->flag);
	const char *dot = strchr(row->flag, '.');

	/* "scope" and "print" stand with the file in the first group */
	return dot ? (struct str){name.p, (size_t)(dot - name.p)} : STR("config");
}

static const char *group_title(struct str group)
{
	static const char *const titles[][2] = {
		{"config", "General"},	 {"web", "Serving /metrics"},	  {"capture", "Capture"},
		{"metrics", "Metrics"},	 {"resource", "Who is reported"}, {"traces", "Spans"},
		{"otlp", "OTLP export"}, {"self", "About sonde itself"},  {"log", "Log"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(titles); i++) {
		if (str_is(group, titles[i][0]))
			return titles[i][1];
	}
	return "Other";
}

/* Whether `row` is the first of its group. */
static bool begins_group(const struct opt_row *row)
{
	for (const struct opt_row *r = opt_rows; r < row; r++) {
		if (str_eq(group_of(r), group_of(row)))
			return false;
	}
	return true;
}

/* Calls `title` once per group and `option` for each row of it. */
static void each_option(void (*title)(const char *), void (*option)(const struct opt_row *))
{
	for (size_t g = 0; g < n_opt_rows; g++) {
		if (!begins_group(&opt_rows[g]))
			continue;
		title(group_title(group_of(&opt_rows[g])));
		for (size_t i = g; i < n_opt_rows; i++) {
			if (str_eq(group_of(&opt_rows[i]), group_of(&opt_rows[g])))
				option(&opt_rows[i]);
		}
	}
}

static bool has_words(const struct opt_row *row)
{
	return row->type == OPT_ENUM || row->type == OPT_WORDS;
}

static bool long_words(const struct opt_row *row)
{
	return has_words(row) && strlen(row->words) > WORDS_SHOWN_MAX;
}

static const char *placeholder(const struct opt_row *row)
{
	return long_words(row) ? "WORD" : row->words;
}

/* "One of a, b, c." for the words that the placeholder does not show. */
static void add_words(struct buf *b, const struct opt_row *row)
{
	struct str rest = str_of(row->words), word;
	const char *sep = " One of ";

	if (!long_words(row))
		return;
	while (str_split(&rest, '|', &word)) {
		buf_puts(b, sep);
		buf_str(b, word);
		sep = ", ";
	}
	buf_addc(b, '.');
}

/* ---- --help ---- */

static size_t screen_width(void)
{
	struct winsize ws;
	const char *columns = getenv("COLUMNS");
	uint64_t n;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_col)
		n = ws.ws_col;
	else if (!columns || str_to_u64(str_of(columns), &n))
		n = 80;
	return CLAMP(n, 60, 100);
}

/* The next piece that stays together: up to a blank, or up to a comma inside a long list. */
static struct str take_piece(struct str *text)
{
	struct str piece = {text->p, 0};

	while (text->len) {
		char c = *text->p++;

		text->len--;
		piece.len++;
		if (c == ' ' || c == ',')
			break;
	}
	return piece;
}

/* `text` from column HELP_COLUMN on; the cursor stands there already. */
static void print_wrapped(struct str text, size_t width)
{
	size_t at = HELP_COLUMN, gap = 0;

	while (text.len) {
		struct str piece = take_piece(&text), word = str_trim(piece);

		if (at > HELP_COLUMN && at + gap + word.len > width) {
			printf("\n%*s", HELP_COLUMN, "");
			at = HELP_COLUMN;
			gap = 0;
		}
		at += (size_t)printf("%*s%.*s", (int)gap, "", (int)word.len, word.p);
		gap = piece.len - word.len;
	}
	putchar('\n');
}

static void help_title(const char *title)
{
	printf("\n%s:\n", title);
}

static void help_option(const struct opt_row *row)
{
	_buf_ struct buf text = BUF_INIT;
	int n;

	if (row->type == OPT_BOOL)
		n = printf("  --[no-]%s", row->flag);
	else
		n = printf("  --%s=%s", row->flag, placeholder(row));
	if (n + 2 > HELP_COLUMN)
		printf("\n%*s", HELP_COLUMN, "");
	else
		printf("%*s", HELP_COLUMN - n, "");
	buf_puts(&text, row->help);
	add_words(&text, row);
	if (row->def[0])
		buf_printf(&text, " [default %s]", row->def);
	if (row->env)
		buf_printf(&text, " [$%s]", row->env);
	print_wrapped(buf_view(&text), screen_width());
}

void config_print_help(void)
{
	printf("Options: flags (--NAME=VALUE or --NAME VALUE), keys of the YAML file and, where\n"
	       "one is named, [$VARIABLES]. Flags win over the environment, that over the file.\n");
	each_option(help_title, help_option);
}

/* ---- the manual page ---- */

/* Text as roff wants it: no escapes, no control lines, real hyphens, a break allowed behind each comma. */
static void roff(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		if (*text == '-')
			fputs("\\-", stdout);
		else if (*text == '\\')
			fputs("\\e", stdout);
		else
			putchar(*text);
		if (*text == ',')
			fputs("\\:", stdout);
	}
}

static void manual_title(const char *title)
{
	printf(".SS %s\n", title);
}

static void manual_option(const struct opt_row *row)
{
	_buf_ struct buf words = BUF_INIT;

	printf(".TP\n\\fB");
	roff(row->type == OPT_BOOL ? "--[no-]" : "--");
	roff(row->flag);
	printf("\\fR");
	if (row->type != OPT_BOOL) {
		printf("=\\fI");
		roff(placeholder(row));
		printf("\\fR");
	}
	putchar('\n');
	roff(row->help);
	add_words(&words, row);
	if (words.len)
		roff(words.data);
	putchar('\n');
	if (row->def[0]) {
		printf("Default: ");
		roff(row->def);
		printf(".\n");
	}
	if (row->env) {
		printf("Environment: ");
		roff(row->env);
		printf(".\n");
	}
	if (row->reload)
		printf("SIGHUP changes it.\n");
}

void config_print_manual(void)
{
	printf(".SH OPTIONS\n"
	       "Each option is a flag, and a key of the YAML file by the same name (dots are nesting).\n"
	       "Some can also be set by an environment variable.\n"
	       "Flags win over the environment, the environment over the file, the file over the default.\n");
	each_option(manual_title, manual_option);
}

/* ---- the reference (Markdown) ---- */

static const char *type_name(const struct opt_row *row)
{
	static const char *const names[] = {
		[OPT_BOOL] = "true or false",
		[OPT_INT] = "number",
		[OPT_SIZE] = "size",
		[OPT_DURATION] = "duration",
		[OPT_DURATION_MS] = "duration or ms",
		[OPT_DOUBLE] = "number",
		[OPT_STR] = "text",
		[OPT_LIST] = "list",
		[OPT_DOUBLES] = "list of numbers",
		[OPT_KV] = "mapping",
		[OPT_ENUM] = "word",
		[OPT_WORDS] = "words",
	};

	return names[row->type];
}

static void reference_title(const char *title)
{
	printf("\n### %s\n\n| Key and flag | Environment | Value | Default | SIGHUP | What it is |\n"
	       "|---|---|---|---|---|---|\n",
	       title);
}

/* Text inside a table's cell. */
static void cell(const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		/* else patterns such as host.* would become emphasis */
		if (*text == '*')
			putchar('\\');
		putchar(*text);
	}
}

/* `spread`: a blank behind each comma lets a long list break. */
static void code_cell(const char *text, bool spread)
{
	putchar('`');
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		putchar(*text);
		if (spread && *text == ',')
			putchar(' ');
	}
	putchar('`');
}

static void reference_option(const struct opt_row *row)
{
	printf("| `%s` | ", row->flag);
	if (row->env)
		printf("`%s`", row->env);
	printf(" | %s", type_name(row));
	if (has_words(row)) {
		struct str rest = str_of(row->words), word;
		const char *sep = ": ";

		while (str_split(&rest, '|', &word)) {
			printf("%s`%.*s`", sep, (int)word.len, word.p);
			sep = ", ";
		}
	} else if (row->words[0]) {
		printf(": ");
		code_cell(row->words, false);
	}
	printf(" | ");
	if (row->def[0])
		code_cell(row->def, row->type == OPT_DOUBLES);
	printf(" | %s | ", row->reload ? "yes" : "");
	cell(row->help);
	printf(" |\n");
}

static const char reference_head[] =
	"<!-- Made from user/options.h by `sonde print-docs reference`; do not edit. -->\n"
	"# Configuration\n"
	"\n"
	"sonde needs no configuration. What can be set stands in one table; each option is\n"
	"\n"
	"- a **flag**: `--NAME=VALUE` or `--NAME VALUE`; for true/false also `--NAME` and `--no-NAME`. A list's flag\n"
	"  may be repeated;\n"
	"- a **key of the YAML file**: the flag's name, where dots are nesting: `web.listen-address` is\n"
	"  `listen-address` below `web`. The dotted name works too;\n"
	"- where one is named, an **environment variable**. An empty variable counts as not set.\n"
	"\n"
	"Flags win over the environment, the environment over the file, the file over the default. The file is\n"
	"`/etc/sonde/sonde.yaml` when it exists, or what `--config.file` or `SONDE_CONFIG_FILE` names; an empty\n"
	"`--config.file=` reads none. It may be up to 1 MiB long; YAML aliases are not supported.\n"
	"\n"
	"An unknown key or a bad value ends sonde with one line that names the place, the value and what is allowed;\n"
	"`sonde check-config` says so without starting anything. Only for the `OTEL_*` variables the OpenTelemetry\n"
	"specification asks for a warning instead: a number, duration, word or list of pairs there that cannot be\n"
	"understood is ignored.\n"
	"\n"
	"SIGHUP reads file and environment again. It changes the options marked below, the rules and the routes; for "
	"each other\n"
	"difference the log says that it needs a restart. When something in the file is wrong, nothing changes.\n"
	"\n"
	"## Values\n"
	"\n"
	"| Value | How it is written |\n"
	"|---|---|\n"
	"| duration | numbers with units `ns`, `us`, `ms`, `s`, `m`, `h`, `d`: `15m`, `1h30m`, `0.5s` |\n"
	"| duration or ms | the same; a number without a unit is milliseconds |\n"
	"| size | bytes, or a number with `k`, `M`, `G` (1024) or `kB`, `MB`, `GB` (1000): `4MiB`, `64k` |\n"
	"| list | a YAML list, or text with commas |\n"
	"| mapping | a YAML mapping, or `KEY=VALUE,KEY=VALUE` where `%2C` stands for a comma (percent-encoding, as in "
	"W3C Baggage) |\n"
	"| word | one of the words listed; upper and lower case are the same |\n"
	"\n"
	"## Options\n";

static const char reference_tail[] =
	"\n"
	"`service.name` inside `resource.attributes` names sonde itself, as `self.service-name` does, and nothing "
	"else.\n"
	"\n"
	"## Two daemons\n"
	"\n"
	"Two daemons that observe the same programs report the same calls twice. So a second one ends at once, with one\n"
	"line that names the first, when it would observe any of the same: without `scope` that is always so; a cgroup\n"
	"shares with itself and with those above and below it; a process tree shares with what holds one of its processes\n"
	"at that moment. Daemons whose scopes share nothing run side by side. `sonde tail` and `sonde doctor` run beside any.\n"
	"`allow-overlap` starts it all the same. Daemons in containers are found, too.\n"
	"\n"
	"## Rules\n"
	"\n"
	"Rules stand in the YAML file only. They include, exclude or rename programs:\n"
	"\n"
	"```yaml\n"
	"rules:\n"
	"  - match: {exe: \"/usr/sbin/nginx*\", port: 8080}\n"
	"    action: exclude\n"
	"  - match: {env: \"APP=shop*\", uid: 33}\n"
	"    service_name: shop\n"
	"    service_namespace: web\n"
	"```\n"
	"\n"
	"| Key | Value | What it is |\n"
	"|---|---|---|\n"
	"| `match.exe` | pattern | path of the executable |\n"
	"| `match.port` | 1 to 65535 | the local port of a server, the peer's port of a client |\n"
	"| `match.cgroup` | pattern | cgroup, as in /proc/PID/cgroup |\n"
	"| `match.uid` | number | user id |\n"
	"| `match.env` | `NAME=PATTERN` | a variable of the program's own environment |\n"
	"| `action` | `include`, `exclude` | whether it is observed |\n"
	"| `service_name`, `service_namespace` | text | the name under which it is reported |\n"
	"\n"
	"All conditions of one rule must hold. A rule needs at least one condition, and an action or a name. Of the "
	"rules\n"
	"that fit a program, the first with an action decides whether it is observed, and the first with a name\n"
	"names it. In a pattern `*` stands for any text (also for `/`), `?` for one character, `[a-z]` for one of a "
	"set.\n"
	"To observe only some programs, include them and end with `match: {exe: \"*\"}`, `action: exclude`.\n"
	"\n"
	"## Routes\n"
	"\n"
	"Routes are learned from traffic; where that is not wanted, the YAML file says what they are:\n"
	"\n"
	"```yaml\n"
	"routes:\n"
	"  - service: \"shop*\"\n"
	"    patterns: [\"/users/{id}\", \"/static/*\"]\n"
	"```\n"
	"\n"
	"`service` is a pattern for the service's name and `*` when left out. In `patterns`, `{NAME}` stands for one "
	"part of the path and\n"
	"a `*` at the end for all that follows.\n"
	"\n"
	"[deploy/sonde.yaml](../deploy/sonde.yaml) is an example with every key.\n";

void config_print_reference(void)
{
	fputs(reference_head, stdout);
	each_option(reference_title, reference_option);
	fputs(reference_tail, stdout);
}

/* ---- the example file ---- */

static void example_title(const char *title)
{
	printf("\n### %s\n", title);
}

static void example_list(const char *def)
{
	struct str rest = str_of(def), item;
	const char *sep = "";

	putchar('[');
	while (str_split(&rest, ',', &item)) {
		printf("%s%.*s", sep, (int)item.len, item.p);
		sep = ", ";
	}
	putchar(']');
}

static void example_option(const struct opt_row *row)
{
	_buf_ struct buf text = BUF_INIT;
	struct str rest, word;
	size_t at = 1;

	/* naming the file inside the file is an error */
	if (row->offset == offsetof(struct config, config_file))
		return;
	buf_puts(&text, row->help);
	if (has_words(row))
		buf_printf(&text, " (%s)", row->words);
	printf("\n#");
	rest = buf_view(&text);
	while (str_split(&rest, ' ', &word)) {
		if (at > 1 && at + 1 + word.len > 100) {
			printf("\n#");
			at = 1;
		}
		at += (size_t)printf(" %.*s", (int)word.len, word.p);
	}
	printf("\n#%s: ", row->flag);
	if (row->type == OPT_DOUBLES)
		example_list(row->def);
	else if (row->type == OPT_KV)
		printf("{}");
	else if (row->type == OPT_LIST)
		printf(row->def[0] ? "[\"%s\"]" : "[]", row->def);
	else if (row->type == OPT_STR)
		printf("\"%s\"", row->def);
	else
		fputs(row->def, stdout);
	putchar('\n');
}

void config_print_example(void)
{
	printf("# sonde.yaml: every key with its default. Made by `sonde print-docs example`.\n"
	       "# Take away the '#' in front of a key to change it; docs/configuration.md explains the values.\n"
	       "# Keys may also be nested: \"web: {listen-address: ...}\".\n");
	each_option(example_title, example_option);
	fputs("\n### Programs to include, exclude or rename\n\n"
	      "#rules:\n"
	      "#  - match: {exe: \"/usr/sbin/nginx*\", port: 8080}\n"
	      "#    action: exclude\n"
	      "#  - match: {env: \"APP=shop*\", uid: 33}\n"
	      "#    service_name: shop\n"
	      "#    service_namespace: web\n"
	      "\n### Routes that need not be learned\n\n"
	      "#routes:\n"
	      "#  - service: \"shop*\"\n"
	      "#    patterns: [\"/users/{id}\", \"/static/*\"]\n",
	      stdout);
}
