// SPDX-License-Identifier: Apache-2.0
/* user/config*.c: sources and their order, every type, every complaint word by word, reload, documentation. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/config_internal.h"

#define SEC	 NSEC_PER_SEC
#define ARGS_MAX 16

static char dir[] = "/tmp/sonde-config-XXXXXX";
static struct config *c;
static char said[1 << 16]; /* the messages of the last load, one per line */
static int saved_err, capture;

/* ---- helpers ---- */

static void capture_begin(int fd)
{
	fflush(stdout);
	saved_err = dup(fd);
	capture = memfd_create("out", 0);
	assert_true(capture >= 0);
	dup2(capture, fd);
}

static size_t capture_end(int fd, char *out, size_t size)
{
	ssize_t n;

	fflush(stdout);
	n = pread(capture, out, size - 1, 0);
	dup2(saved_err, fd);
	close(saved_err);
	close(capture);
	assert_true(n >= 0);
	out[n] = 0;
	return (size_t)n;
}

/* From log lines to "level: message" lines. */
static void keep_messages(void)
{
	char *in = said, *out = said;

	while ((in = strstr(in, " level="))) {
		in += 7;
		while (*in != ' ')
			*out++ = *in++;
		*out++ = ':';
		*out++ = ' ';
		for (in += sizeof(" msg=\"") - 1; *in != '"'; in++) {
			if (*in == '\\' && (in[1] == '"' || in[1] == '\\'))
				in++;
			*out++ = *in;
		}
		*out++ = '\n';
	}
	*out = 0;
}

static int vload(struct config *live, int *ret_rest, char **ret_argv, va_list ap)
{
	char *args[ARGS_MAX] = {"sonde"};
	int argc = 1, rest = -1, err;

	while ((args[argc] = va_arg(ap, char *)))
		argc++;
	capture_begin(STDERR_FILENO);
	if (live)
		err = config_reload(live, argc, args);
	else
		err = config_load(&c, argc, args, &rest);
	capture_end(STDERR_FILENO, said, sizeof(said));
	keep_messages();
	if (ret_rest)
		*ret_rest = rest;
	if (ret_argv)
		memcpy(ret_argv, args, sizeof(args));
	return err;
}

static void forget(void)
{
	config_free(c);
	c = NULL;
}

/* Loads with these flags, into `c`; the former `c` goes. */
static int load(void *unused, ...)
{
	va_list ap;
	int err;

	forget();
	va_start(ap, unused);
	err = vload(NULL, NULL, NULL, ap);
	va_end(ap);
	return err;
}
#define LOAD(...) load(NULL, ##__VA_ARGS__, NULL)

static int reload(void *unused, ...)
{
	va_list ap;
	int err;

	va_start(ap, unused);
	err = vload(c, NULL, NULL, ap);
	va_end(ap);
	return err;
}
#define RELOAD(...) reload(NULL, ##__VA_ARGS__, NULL)

static void write_bytes(const char *data, size_t len)
{
	int fd = open("c.yaml", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

static void write_file(const char *yaml)
{
	write_bytes(yaml, strlen(yaml));
}

static int load_yaml(const char *yaml)
{
	write_file(yaml);
	return LOAD("--config.file=c.yaml");
}

static void clear_env(void)
{
	for (size_t i = 0; i < n_opt_rows; i++) {
		if (opt_rows[i].env)
			unsetenv(opt_rows[i].env);
	}
	/* no /etc/sonde/sonde.yaml of this machine: an empty file stands in */
	write_bytes("", 0);
	setenv("SONDE_CONFIG_FILE", "c.yaml", 1);
}

static int each_setup(void **state)
{
	clear_env();
	return 0;
}

static int each_teardown(void **state)
{
	forget();
	return 0;
}

static int group_setup(void **state)
{
	log_setup(LOG_INFO, LOG_LOGFMT);
	return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static int group_teardown(void **state)
{
	unlink("c.yaml");
	unlink("cert.pem");
	return chdir("/") || rmdir(dir);
}

/* ---- the table itself ---- */

static void table_is_sound(void **state)
{
	for (size_t i = 0; i < n_opt_rows; i++) {
		struct str a = str_of(opt_rows[i].flag);

		assert_true(strlen(opt_rows[i].help) > 10);
		assert_true((opt_rows[i].type == OPT_BOOL) == !opt_rows[i].words[0]);
		assert_ptr_equal(opt_find(a), &opt_rows[i]);
		for (size_t j = 0; j < n_opt_rows; j++) {
			struct str b = str_of(opt_rows[j].flag);

			if (i == j)
				continue;
			/* a key is no group of others: YAML could not hold both */
			assert_false(b.len > a.len && b.p[a.len] == '.' && !memcmp(a.p, b.p, a.len));
			if (opt_rows[i].env && opt_rows[j].env)
				assert_string_not_equal(opt_rows[i].env, opt_rows[j].env);
		}
	}
}

static void defaults(void **state)
{
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "");
	assert_int_equal(c->scope.n, 0);
	assert_int_equal(c->print, PRINT_NONE);
	assert_int_equal(c->web_listen.n, 1);
	assert_string_equal(c->web_listen.v[0], "127.0.0.1:9960");
	assert_int_equal(c->ring_size, 4 << 20);
	assert_int_equal(c->buckets.n, 17);
	assert_true(c->buckets.v[0] == 0.00005 && c->buckets.v[16] == 10);
	assert_int_equal(c->size_buckets.n, 7);
	assert_int_equal(c->max_series, 10000);
	assert_int_equal(c->series_ttl, 900 * SEC);
	assert_false(c->command_args);
	assert_int_equal(c->traces_exporter, EXPORTER_AUTO);
	assert_int_equal(c->otlp_protocol, OTLP_HTTP);
	assert_int_equal(c->otlp_traces_protocol, OTLP_INHERIT);
	assert_int_equal(c->otlp_compression, COMPRESSION_NONE);
	assert_int_equal(c->otlp_metrics_compression, COMPRESSION_INHERIT);
	assert_int_equal(c->otlp_timeout, 10 * SEC);
	assert_int_equal(c->temporality, TEMPORALITY_CUMULATIVE);
	assert_int_equal(c->metric_interval, 60 * SEC);
	assert_int_equal(c->bsp_batch, 512);
	assert_int_equal(c->sampler, SAMPLER_PARENT_ALWAYS_ON);
	assert_true(c->sampler_arg == 1);
	assert_string_equal(c->self_name, "sonde");
	assert_string_equal(c->otlp_endpoint, "");
	assert_int_equal(c->otlp_headers.n, 0);
	assert_int_equal(c->log_level, LOG_INFO);
	assert_int_equal(c->log_format, LOG_LOGFMT);
	assert_int_equal(c->n_rules, 0);
}

/* ---- order of sources ---- */

static void flags_over_environment_over_file(void **state)
{
	write_file("log: {level: error}\nself.service-name: file\nprint: json\n");
	setenv("OTEL_SERVICE_NAME", "env", 1);
	setenv("SONDE_PRINT", "text", 1);
	assert_int_equal(LOAD("--print=none"), 0);
	assert_int_equal(c->log_level, LOG_ERROR);
	assert_string_equal(c->self_name, "env");
	assert_int_equal(c->print, PRINT_NONE);
	/* one source gone after the other */
	assert_int_equal(LOAD(), 0);
	assert_int_equal(c->print, PRINT_TEXT);
	unsetenv("SONDE_PRINT");
	unsetenv("OTEL_SERVICE_NAME");
	assert_int_equal(LOAD(), 0);
	assert_int_equal(c->print, PRINT_JSON);
	assert_string_equal(c->self_name, "file");
	assert_int_equal(LOAD("--config.file="), 0);
	assert_int_equal(c->print, PRINT_NONE);
	assert_string_equal(c->self_name, "sonde");
}

static void lists_replace_lower_sources(void **state)
{
	write_file("scope: [\"pid:1\", \"pid:2\"]\n");
	assert_int_equal(LOAD(), 0);
	assert_int_equal(c->scope.n, 2);
	setenv("SONDE_SCOPE", "pid:3", 1);
	assert_int_equal(LOAD(), 0);
	assert_int_equal(c->scope.n, 1);
	assert_string_equal(c->scope.v[0], "pid:3");
	assert_int_equal(LOAD("--scope=pid:4,pid:5", "--scope", "cgroup:/x"), 0);
	assert_int_equal(c->scope.n, 3);
	assert_string_equal(c->scope.v[0], "pid:4");
	assert_string_equal(c->scope.v[1], "pid:5");
	assert_string_equal(c->scope.v[2], "cgroup:/x");
	assert_int_equal(LOAD("--otlp.headers=a=1,b=2", "--otlp.headers=b=3"), 0);
	assert_int_equal(c->otlp_headers.n, 2);
	assert_string_equal(c->otlp_headers.v[1].key, "b");
	assert_string_equal(c->otlp_headers.v[1].value, "3");
	/* a single value: the last one counts */
	assert_int_equal(LOAD("--print=text", "--print=json"), 0);
	assert_int_equal(c->print, PRINT_JSON);
}

static void file_by_flag_then_environment(void **state)
{
	write_file("print: text\n");
	setenv("SONDE_CONFIG_FILE", "/nowhere.yaml", 1);
	assert_int_equal(LOAD("--config.file=c.yaml"), 0);
	assert_int_equal(c->print, PRINT_TEXT);
	assert_string_equal(c->config_file, "c.yaml");
	assert_int_equal(LOAD(), -ENOENT);
	assert_string_equal(said, "error: /nowhere.yaml: the configuration file cannot be opened: No such file or "
				  "directory; correct the path or its rights\n");
	assert_null(c);
	/* empty is not set: then the usual place, where a file need not be */
	setenv("SONDE_CONFIG_FILE", "", 1);
	if (access(CONFIG_DEFAULT_FILE, F_OK)) {
		assert_int_equal(LOAD(), 0);
		assert_int_equal(c->print, PRINT_NONE);
	}
	assert_int_equal(LOAD("--config.file=/tmp"), -EISDIR);
	assert_string_equal(said, "error: /tmp: cannot be read: Is a directory; give a YAML file\n");
}

static void empty_variables_are_not_set(void **state)
{
	write_file("print: text\notlp.endpoint: http://file:4318\n");
	setenv("SONDE_PRINT", "", 1);
	setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "", 1);
	setenv("OTEL_SDK_DISABLED", "", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "");
	assert_int_equal(c->print, PRINT_TEXT);
	assert_string_equal(c->otlp_endpoint, "http://file:4318");
}

/* ---- flags ---- */

static void load_rest(const char *want_rest, const char *want_argv, ...)
{
	char *args[ARGS_MAX], got[512] = "";
	va_list ap;
	int rest;

	forget();
	va_start(ap, want_argv);
	assert_int_equal(vload(NULL, &rest, args, ap), 0);
	va_end(ap);
	for (int i = 0; args[i]; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "", args[i]);
	assert_string_equal(got, want_argv);
	if (want_rest)
		assert_string_equal(args[rest], want_rest);
	else
		assert_null(args[rest]);
}

static void what_is_no_flag_moves_back(void **state)
{
	load_rest(NULL, "sonde", NULL);
	load_rest(NULL, "sonde --print=text", "--print=text", NULL);
	load_rest("tail", "sonde --print json tail x -", "tail", "--print", "json", "x", "-", NULL);
	assert_int_equal(c->print, PRINT_JSON);
	load_rest("tail", "sonde --print=text -- tail ls --print=json -l", "tail", "--print=text", "--", "ls",
		  "--print=json", "-l", NULL);
	assert_int_equal(c->print, PRINT_TEXT);
	/* a second run over the same arguments changes nothing: SIGHUP reads them again */
	load_rest("tail", "sonde --print=text -- tail ls --print=json -l", "--print=text", "--", "tail", "ls",
		  "--print=json", "-l", NULL);
}

static void switches(void **state)
{
	assert_int_equal(LOAD("--resource.command-args", "--no-otlp.disabled"), 0);
	assert_true(c->command_args);
	assert_false(c->sdk_disabled);
	write_file("otlp.disabled: true\n");
	assert_int_equal(LOAD("--no-otlp.disabled"), 0);
	assert_false(c->sdk_disabled);
	assert_int_equal(LOAD("--otlp.disabled=no"), 0);
	assert_false(c->sdk_disabled);
	assert_int_equal(LOAD("--otlp.disabled=YES"), 0);
	assert_true(c->sdk_disabled);
}

static void wrong_flags(void **state)
{
	static const struct {
		char *arg, *want;
	} cases[] = {
		{"--web.listen-adress=:1", "--web.listen-adress: there is no such flag; did you mean "
					   "--web.listen-address? sonde --help lists all"},
		{"--listen-address=:1", "--listen-address: there is no such flag; did you mean --web.listen-address? "
					"sonde --help lists all"},
		{"--qqqqqqqqqqqqqqqqqq", "--qqqqqqqqqqqqqqqqqq: there is no such flag; sonde --help lists all"},
		{"--=x", "--: there is no such flag; sonde --help lists all"},
		{"-x", "-x: there is no such flag; sonde --help lists all"},
		{"--no-print", "--no-print: there is no such flag; sonde --help lists all"},
		{"--no-otlp.disabled=1", "--no-otlp.disabled=1: takes no value; write --otlp.disabled=true or "
					 "--otlp.disabled=false"},
		{"--scope", "--scope: needs a value; write --scope=cgroup:PATH|pid:PID"},
		{"--rules=x", "--rules: there is no such flag; sonde --help lists all"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[300];

		snprintf(want, sizeof(want), "error: %s\n", cases[i].want);
		assert_int_equal(LOAD(cases[i].arg), -EINVAL);
		assert_string_equal(said, want);
		assert_null(c);
	}
	/* the next flag is no value */
	assert_int_equal(LOAD("--scope", "--print=text"), -EINVAL);
	assert_string_equal(said, "error: --scope: needs a value; write --scope=cgroup:PATH|pid:PID\n");
}

/* ---- values ---- */

struct value_case {
	char *arg;
	const char *why; /* what stands behind the quoted value */
};

/* Each of these is refused, by a flag, with these words. */
static void bad_values(void **state)
{
	static const struct value_case cases[] = {
		{"print=xml", "is not known; write one of none, text, json"},
		{"resource.command-args=maybe", "is neither true nor false; write true or false"},
		{"metrics.max-series=", "is not a whole number; write one such as 1000"},
		{"metrics.max-series=1e3", "is not a whole number; write one such as 1000"},
		{"metrics.max-series=--3", "is not a whole number; write one such as 1000"},
		{"metrics.max-series=9223372036854775808", "is too large; write a smaller one"},
		{"metrics.max-series=0", "is out of range; write one from 1 to 10000000"},
		{"metrics.max-series=-5", "is out of range; write one from 1 to 10000000"},
		{"web.max-requests=2000", "is out of range; write one from 1 to 1024"},
		{"metrics.series-ttl=15", "is not a duration; write a number with a unit (ms, s, m, h, d) such as 15m"},
		{"metrics.series-ttl=", "is not a duration; write a number with a unit (ms, s, m, h, d) such as 15m"},
		{"metrics.series-ttl=-5s",
		 "is not a duration; write a number with a unit (ms, s, m, h, d) such as 15m"},
		{"metrics.series-ttl=5 parsecs",
		 "is not a duration; write a number with a unit (ms, s, m, h, d) such as 15m"},
		{"metrics.series-ttl=0x", "is not a duration; write a number with a unit (ms, s, m, h, d) such as 15m"},
		{"metrics.series-ttl=1h30",
		 "is not a duration; write a number with a unit (ms, s, m, h, d) such as 15m"},
		{"metrics.series-ttl=10ms", "is out of range; write one from 1s to 8760h"},
		{"metrics.series-ttl=99999999999999999d", "is too large; write a smaller one"},
		{"otlp.timeout=soon", "is not a duration; write a number with a unit such as 10s, or milliseconds"},
		{"otlp.timeout=0", "is out of range; write one from 1ms to 24h"},
		{"capture.ring-size=4 apples", "is not a size; write bytes, or a number with k, M or G such as 4MiB"},
		{"capture.ring-size=99999999999G", "is too large; write a smaller one"},
		{"capture.ring-size=3MiB",
		 "is not possible for a ring buffer; write a power of two from 64KiB to 256MiB, such as 4MiB"},
		{"capture.ring-size=32k",
		 "is not possible for a ring buffer; write a power of two from 64KiB to 256MiB, such as 4MiB"},
		{"capture.ring-size=512MiB",
		 "is not possible for a ring buffer; write a power of two from 64KiB to 256MiB, such as 4MiB"},
		{"capture.ring-size=0",
		 "is not possible for a ring buffer; write a power of two from 64KiB to 256MiB, such as 4MiB"},
		{"traces.sampler-arg=0x1", "is not a number; write one such as 0.25"},
		{"traces.sampler-arg=nan", "is not a number; write one such as 0.25"},
		{"traces.sampler-arg=1e999", "is not a number; write one such as 0.25"},
		{"traces.sampler-arg=1.5", "is not a ratio; write a number from 0 to 1"},
		{"traces.sampler-arg=-0.1", "is not a ratio; write a number from 0 to 1"},
		{"metrics.duration-buckets=1,x",
		 "is not a list of numbers; write them ascending with commas, such as 0.1,0.5,1"},
		{"metrics.duration-buckets=", "has the wrong number of bounds; write from 1 to 64"},
		{"metrics.duration-buckets=1,1", "is not ascending; write each bound greater than the one before"},
		{"metrics.duration-buckets=2,1", "is not ascending; write each bound greater than the one before"},
		{"metrics.duration-buckets=0,1", "has a bound that is not positive; write bounds greater than 0"},
		{"metrics.size-buckets=-1,1", "has a negative bound; write bounds from 0 on"},
		{"web.listen-address=9960", "is not ADDRESS:PORT; write 127.0.0.1:9960, [::1]:9960, :9960 or none"},
		{"web.listen-address=::1:9960", "is not ADDRESS:PORT; write 127.0.0.1:9960, [::1]:9960, :9960 or none"},
		{"web.listen-address=[::g]:9960",
		 "is not ADDRESS:PORT; write 127.0.0.1:9960, [::1]:9960, :9960 or none"},
		{"web.listen-address=1.2.3.4:65536",
		 "is not ADDRESS:PORT; write 127.0.0.1:9960, [::1]:9960, :9960 or none"},
		{"web.listen-address=1.2.3:80", "is not ADDRESS:PORT; write 127.0.0.1:9960, [::1]:9960, :9960 or none"},
		{"web.listen-address=http://x:80",
		 "is not ADDRESS:PORT; write 127.0.0.1:9960, [::1]:9960, :9960 or none"},
		{"web.listen-address=none,:1", "names 'none' beside an address; write either"},
		{"web.listen-address=", "names no address; write 127.0.0.1:9960, or none to serve nothing"},
		{"web.telemetry-path=metrics", "does not begin with '/'; write a path such as /metrics"},
		{"web.telemetry-path=/", "is served with something else; write another path, such as /metrics"},
		{"web.telemetry-path=/a?b", "holds a character that a path cannot; write one such as /metrics"},
		{"scope=1234", "is not a scope; write cgroup:/PATH (as in /proc/PID/cgroup) or pid:PID"},
		{"scope=pid:0", "is not a scope; write cgroup:/PATH (as in /proc/PID/cgroup) or pid:PID"},
		{"scope=pid:1x", "is not a scope; write cgroup:/PATH (as in /proc/PID/cgroup) or pid:PID"},
		{"scope=cgroup:x", "is not a scope; write cgroup:/PATH (as in /proc/PID/cgroup) or pid:PID"},
		{"scope=pid:1,uid:2", "is not a scope; write cgroup:/PATH (as in /proc/PID/cgroup) or pid:PID"},
		{"metrics.exclude-paths=health", "has a pattern that no path can match; begin each with '/' or '*'"},
		{"otlp.endpoint=localhost:4318",
		 "is not an http:// or https:// URL; write one such as http://localhost:4318"},
		{"otlp.endpoint=http://", "is not an http:// or https:// URL; write one such as http://localhost:4318"},
		{"otlp.endpoint=https:///x",
		 "is not an http:// or https:// URL; write one such as http://localhost:4318"},
		{"otlp.traces.endpoint=http://a b",
		 "holds a blank or control character; write a URL such as http://localhost:4318"},
		{"otlp.certificate=/nowhere.pem",
		 "cannot be read: No such file or directory; write the path of a PEM file"},
		{"resource.attributes=a", "has a part that is not KEY=VALUE; write KEY=VALUE,KEY=VALUE and ',' inside "
					  "a value as %2C"},
		{"resource.attributes==b", "has a part that is not KEY=VALUE; write KEY=VALUE,KEY=VALUE and ',' "
					   "inside a value as %2C"},
		{"resource.attributes=a=%", "has a '%' that two hexadecimal digits (not 00) do not follow; write a "
					    "plain '%' as %25"},
		{"resource.attributes=a=%4", "has a '%' that two hexadecimal digits (not 00) do not follow; write a "
					     "plain '%' as %25"},
		{"resource.attributes=a=%zz", "has a '%' that two hexadecimal digits (not 00) do not follow; write a "
					      "plain '%' as %25"},
		{"resource.attributes=a=%00", "has a '%' that two hexadecimal digits (not 00) do not follow; write a "
					      "plain '%' as %25"},
		{"self.service-name=", "is empty; write a name"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char arg[200], want[500];
		const char *value = strchr(cases[i].arg, '=') + 1;

		snprintf(arg, sizeof(arg), "--%s", cases[i].arg);
		snprintf(want, sizeof(want), "error: --%.*s: '%s' %s\n", (int)(value - 1 - cases[i].arg), cases[i].arg,
			 value, cases[i].why);
		assert_int_equal(LOAD(arg), -EINVAL);
		assert_string_equal(said, want);
		assert_null(c);
	}
}

static void secrets_are_not_shown(void **state)
{
	assert_int_equal(LOAD("--otlp.headers=authorization=secret%"), -EINVAL);
	assert_string_equal(said, "error: --otlp.headers: the value (not shown) has a '%' that two hexadecimal digits "
				  "(not 00) do not follow; write a plain '%' as %25\n");
	assert_int_equal(LOAD("--otlp.traces.headers=a=b%0d%0aevil: 1"), -EINVAL);
	assert_string_equal(said, "error: --otlp.traces.headers: the value (not shown) has a control character in a "
				  "header's value; take it out\n");
	assert_int_equal(LOAD("--otlp.headers=a b=c"), -EINVAL);
	assert_string_equal(said, "error: --otlp.headers: the value (not shown) has a header name that is no HTTP "
				  "token; use letters, digits and '-'\n");
}

static void long_values_are_cut(void **state)
{
	char arg[400] = "--print=";

	memset(arg + 8, 'x', 99);
	strcpy(arg + 8 + 99, "\xc3\xbc and much more of it");
	assert_int_equal(LOAD(arg), -EINVAL);
	assert_non_null(strstr(said, "xxx…' is not known"));
	assert_null(strstr(said, "\\x"));
}

static void durations(void **state)
{
	static const struct {
		char *text;
		uint64_t ns;
	} cases[] = {
		{"1h30m", 5400 * SEC},
		{"1500ms", 1500 * NSEC_PER_MSEC},
		{"1.5s", 1500 * NSEC_PER_MSEC},
		{"1d", 86400 * SEC},
		{" 2m ", 120 * SEC},
		{"1h 5s", 3605 * SEC},
		{"2000000us", 2 * SEC},
		{"2000000\xc2\xb5s", 2 * SEC},
		{"2000000\xce\xbcs", 2 * SEC},
		{"3000000000ns", 3 * SEC},
		{".5h", 1800 * SEC},
	};
	char arg[100];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(arg, sizeof(arg), "--metrics.series-ttl=%s", cases[i].text);
		assert_int_equal(LOAD(arg), 0);
		assert_int_equal(c->series_ttl, cases[i].ns);
	}
	assert_int_equal(LOAD("--otlp.timeout=2500", "--otlp.traces.timeout=0", "--otlp.metrics.timeout=1m"), 0);
	assert_int_equal(c->otlp_timeout, 2500 * NSEC_PER_MSEC);
	assert_int_equal(c->otlp_traces_timeout, 0);
	assert_int_equal(c->otlp_metrics_timeout, 60 * SEC);
}

static void sizes(void **state)
{
	static const struct {
		char *text;
		uint64_t bytes;
	} cases[] = {
		{"65536", 65536}, {"64k", 65536},	 {"64KiB", 65536},     {"64Ki", 65536},	     {"65536B", 65536},
		{"1M", 1 << 20},  {"256mib", 256 << 20}, {"128 KiB", 1 << 17}, {"131072b", 1 << 17},
	};
	char arg[100];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(arg, sizeof(arg), "--capture.ring-size=%s", cases[i].text);
		assert_int_equal(LOAD(arg), 0);
		assert_int_equal(c->ring_size, cases[i].bytes);
	}
}

static void good_values(void **state)
{
	assert_int_equal(LOAD("--web.listen-address=[::1]:9960,:9960", "--web.listen-address=localhost:0",
			      "--metrics.exclude-paths=/healthz, *ready ,", "--metrics.duration-buckets= 0.1, 1e1",
			      "--traces.sampler-arg=0.25", "--traces.sampler=TraceIdRatio",
			      "--otlp.endpoint=HTTPS://collector:4318/x?y", "--metrics.max-series=+12"),
			 0);
	assert_string_equal(said, "");
	assert_int_equal(c->web_listen.n, 3);
	assert_string_equal(c->web_listen.v[0], "[::1]:9960");
	assert_string_equal(c->web_listen.v[2], "localhost:0");
	assert_int_equal(c->exclude_self_paths.n, 2);
	assert_string_equal(c->exclude_self_paths.v[1], "*ready");
	assert_int_equal(c->buckets.n, 2);
	assert_true(c->buckets.v[0] == 0.1 && c->buckets.v[1] == 10);
	assert_true(c->sampler_arg == 0.25);
	assert_int_equal(c->sampler, SAMPLER_RATIO);
	assert_int_equal(c->max_series, 12);
	assert_int_equal(LOAD("--web.listen-address=none"), 0);
	assert_string_equal(c->web_listen.v[0], "none");
}

static void pairs_are_percent_decoded(void **state)
{
	setenv("OTEL_RESOURCE_ATTRIBUTES",
	       "deployment.environment=a%2Cb%3D%25, host.name = x+y ,k%2e=gr%C3%BC%c3%9f,e=,", 1);
	setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic dXNlcjpwYXNz==,x-tenant=a%20b", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "");
	assert_int_equal(c->resource_attributes.n, 4);
	assert_string_equal(c->resource_attributes.v[0].key, "deployment.environment");
	assert_string_equal(c->resource_attributes.v[0].value, "a,b=%");
	assert_string_equal(c->resource_attributes.v[1].key, "host.name");
	assert_string_equal(c->resource_attributes.v[1].value, "x+y");
	assert_string_equal(c->resource_attributes.v[2].key, "k.");
	assert_string_equal(c->resource_attributes.v[2].value, "gr\xc3\xbc\xc3\x9f");
	assert_string_equal(c->resource_attributes.v[3].value, "");
	assert_int_equal(c->otlp_headers.n, 2);
	assert_string_equal(c->otlp_headers.v[0].value, "Basic dXNlcjpwYXNz==");
	assert_string_equal(c->otlp_headers.v[1].value, "a b");
}

/* ---- what the OpenTelemetry specification forgives ---- */

static void otel_variables_warn(void **state)
{
	static const struct {
		const char *name, *value, *want;
	} cases[] = {
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json",
		 "'http/json' is not known; write one of http/protobuf, grpc; ignored until then"},
		{"OTEL_TRACES_SAMPLER", "jaeger_remote",
		 "'jaeger_remote' is not known; write one of always_on, always_off, traceidratio, "
		 "parentbased_always_on, parentbased_always_off, parentbased_traceidratio; ignored until then"},
		{"OTEL_TRACES_SAMPLER_ARG", "2", "'2' is not a ratio; write a number from 0 to 1; ignored until then"},
		{"OTEL_TRACES_SAMPLER_ARG", "half",
		 "'half' is not a number; write one such as 0.25; ignored until then"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "many",
		 "'many' is not a whole number; write one such as 1000; ignored until then"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "-1",
		 "'-1' is out of range; write one from 1 to 1000000; ignored until then"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "x",
		 "'x' is not a duration; write a number with a unit such as 10s, or milliseconds; ignored until then"},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=1,b",
		 "'a=1,b' has a part that is not KEY=VALUE; write "
		 "KEY=VALUE,KEY=VALUE and ',' inside a value as %2C; ignored until "
		 "then"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "key=%",
		 "the value (not shown) has a '%' that two hexadecimal digits "
		 "(not 00) do not follow; write a plain '%' as %25; ignored until "
		 "then"},
	};

	write_file("traces.sampler-arg: 0.5\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[400];

		setenv(cases[i].name, cases[i].value, 1);
		snprintf(want, sizeof(want), "warn: environment variable %s: %s\n", cases[i].name, cases[i].want);
		assert_int_equal(LOAD(), 0);
		assert_string_equal(said, want);
		unsetenv(cases[i].name);
		/* what stood below stays */
		assert_true(c->sampler_arg == 0.5);
		assert_int_equal(c->otlp_protocol, OTLP_HTTP);
		assert_int_equal(c->sampler, SAMPLER_PARENT_ALWAYS_ON);
		assert_int_equal(c->bsp_queue, 4096);
		assert_int_equal(c->otlp_timeout, 10 * SEC);
		assert_int_equal(c->resource_attributes.n, 0);
		assert_int_equal(c->otlp_headers.n, 0);
	}
}

/* A list, as the specification has it; a word that is not known would leave telemetry out in silence. */
static void exporters_are_lists(void **state)
{
	static const struct {
		const char *value, *want;
	} bad[] = {
		{"zipkin", "'zipkin' is not known; write one of auto, otlp, none, console, or several with commas"},
		{"otlp,loging", "'otlp,loging' is not known; write one of auto, otlp, none, console, or several with commas"},
		{"otlp,none", "'otlp,none' names another exporter beside auto or none; write either"},
		{"auto,console", "'auto,console' names another exporter beside auto or none; write either"},
		{",", "',' names no exporter; write none for none"},
	};

	assert_int_equal(LOAD(), 0);
	assert_int_equal(c->traces_exporter, EXPORTER_AUTO);
	assert_int_equal(c->metrics_exporter, EXPORTER_AUTO);
	setenv("OTEL_TRACES_EXPORTER", "otlp, Console", 1);
	setenv("OTEL_METRICS_EXPORTER", "none", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "");
	assert_int_equal(c->traces_exporter, EXPORTER_OTLP | EXPORTER_CONSOLE);
	assert_int_equal(c->metrics_exporter, EXPORTER_NONE);
	assert_int_equal(LOAD("--metrics.exporter=prometheus,otlp"), 0);
	assert_int_equal(c->metrics_exporter & ~EXPORTER_OTLP, 1 << 4);
	unsetenv("OTEL_METRICS_EXPORTER");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char want[400];

		setenv("OTEL_TRACES_EXPORTER", bad[i].value, 1);
		snprintf(want, sizeof(want), "error: environment variable OTEL_TRACES_EXPORTER: %s\n", bad[i].want);
		assert_int_equal(LOAD(), -EINVAL);
		assert_string_equal(said, want);
	}
	unsetenv("OTEL_TRACES_EXPORTER");
	assert_int_equal(load_yaml("traces:\n  exporter: [console, otlp]\nmetrics: {exporter: console}\n"), 0);
	assert_int_equal(c->traces_exporter, EXPORTER_OTLP | EXPORTER_CONSOLE);
	assert_int_equal(c->metrics_exporter, EXPORTER_CONSOLE);
	assert_int_equal(load_yaml("traces:\n  exporter:\n  - otlp\n  - zipkin\n"), -EINVAL);
	assert_string_equal(said, "error: c.yaml:4: traces.exporter: 'zipkin' is not known; write one of auto, otlp, none, "
				  "console, or several with commas\n");
}

static void otel_disabled_knows_one_truth(void **state)
{
	setenv("OTEL_SDK_DISABLED", "TRUE", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "");
	assert_true(c->sdk_disabled);
	setenv("OTEL_SDK_DISABLED", "1", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "warn: environment variable OTEL_SDK_DISABLED: '1' counts as false; write true or "
				  "false\n");
	assert_false(c->sdk_disabled);
	setenv("OTEL_SDK_DISABLED", "False", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "");
	assert_false(c->sdk_disabled);
}

static void otel_numbers_are_milliseconds(void **state)
{
	setenv("OTEL_METRIC_EXPORT_INTERVAL", "500", 1);
	setenv("OTEL_BSP_SCHEDULE_DELAY", "250", 1);
	setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta", 1);
	setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", 1);
	assert_int_equal(LOAD(), 0);
	assert_int_equal(c->metric_interval, 500 * NSEC_PER_MSEC);
	assert_int_equal(c->bsp_delay, 250 * NSEC_PER_MSEC);
	assert_int_equal(c->temporality, TEMPORALITY_DELTA);
	assert_int_equal(c->otlp_traces_protocol, OTLP_GRPC);
}

/* The same mistake in our own variables, in a flag or in the file ends the start; so does text that means a place. */
static void other_sources_are_strict(void **state)
{
	setenv("SONDE_PRINT", "xml", 1);
	assert_int_equal(LOAD(), -EINVAL);
	assert_string_equal(said,
			    "error: environment variable SONDE_PRINT: 'xml' is not known; write one of none, text, "
			    "json\n");
	unsetenv("SONDE_PRINT");
	assert_int_equal(LOAD("--otlp.protocol=http/json"), -EINVAL);
	assert_int_equal(load_yaml("otlp:\n  protocol: http/json\n"), -EINVAL);
	assert_string_equal(said,
			    "error: c.yaml:2: otlp.protocol: 'http/json' is not known; write one of http/protobuf, "
			    "grpc\n");
	write_file("");
	setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", 1);
	assert_int_equal(LOAD(), -EINVAL);
	assert_string_equal(said, "error: environment variable OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' is not an "
				  "http:// or https:// URL; write one such as http://localhost:4318\n");
}

/* ---- what two options say together ---- */

static void batch_fits_its_queue(void **state)
{
	assert_int_equal(LOAD("--traces.batch.queue-size=100"), 0);
	assert_string_equal(said, "");
	assert_int_equal(c->bsp_batch, 100);
	assert_int_equal(LOAD("--traces.batch.queue-size=100", "--traces.batch.size=101"), -EINVAL);
	assert_string_equal(said, "error: --traces.batch.size: '101' is more than traces.batch.queue-size (100); write "
				  "that or less\n");
	setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10", 1);
	setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(said, "warn: environment variable OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '20' is more than "
				  "traces.batch.queue-size (10); write that or less; ignored until then\n");
	assert_int_equal(c->bsp_batch, 10);
}

static void client_key_needs_certificate(void **state)
{
	int fd = open("cert.pem", O_WRONLY | O_CREAT, 0600);

	close(fd);
	assert_int_equal(LOAD("--otlp.client-key=cert.pem"), -EINVAL);
	assert_string_equal(said,
			    "error: otlp.client-key is set without otlp.client-certificate: mutual TLS needs both; "
			    "set the other\n");
	assert_int_equal(LOAD("--otlp.client-certificate=cert.pem"), -EINVAL);
	assert_int_equal(LOAD("--otlp.client-key=cert.pem", "--otlp.client-certificate=cert.pem"), 0);
}

static void service_name_among_attributes(void **state)
{
	setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=mine,host.name=h", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(c->self_name, "mine");
	assert_int_equal(c->resource_attributes.n, 1);
	assert_string_equal(c->resource_attributes.v[0].key, "host.name");
	setenv("OTEL_SERVICE_NAME", "wins", 1);
	assert_int_equal(LOAD(), 0);
	assert_string_equal(c->self_name, "wins");
	assert_int_equal(c->resource_attributes.n, 1);
}

/* ---- the file ---- */

static void nested_flat_and_mixed_keys(void **state)
{
	assert_int_equal(load_yaml("# comment\n"
				   "web:\n"
				   "  listen-address:\n"
				   "    - 127.0.0.1:1\n"
				   "    - '[::1]:2'\n"
				   "  telemetry-path: /m\n"
				   "web.max-requests: 3\n"
				   "otlp:\n"
				   "  traces.timeout: 3s\n"
				   "  metrics: {timeout: 4000, temporality: delta}\n"
				   "  headers: {authorization: \"Bearer a,b=%\", x-empty: }\n"
				   "  endpoint: http://c:4318\n"
				   "traces:\n"
				   "  batch:\n"
				   "    size: 7\n"
				   "metrics:\n"
				   "  duration-buckets: [0.5, 1, \"2\"]\n"
				   "  size-buckets: 0,10\n"
				   "  exclude-paths: [\"/a,b\", /c]\n"
				   "resource:\n"
				   "  command-args: on\n"
				   "  attributes: deployment.environment=x%2Cy,host.type=z\n"),
			 0);
	assert_string_equal(said, "");
	assert_int_equal(c->web_listen.n, 2);
	assert_string_equal(c->web_listen.v[1], "[::1]:2");
	assert_string_equal(c->web_path, "/m");
	assert_int_equal(c->web_max_requests, 3);
	assert_int_equal(c->otlp_traces_timeout, 3 * SEC);
	assert_int_equal(c->otlp_metrics_timeout, 4 * SEC);
	assert_int_equal(c->temporality, TEMPORALITY_DELTA);
	assert_int_equal(c->otlp_headers.n, 2);
	/* a mapping's values are what they are: nothing is decoded */
	assert_string_equal(c->otlp_headers.v[0].value, "Bearer a,b=%");
	assert_string_equal(c->otlp_headers.v[1].value, "");
	assert_int_equal(c->bsp_batch, 7);
	assert_int_equal(c->buckets.n, 3);
	assert_true(c->buckets.v[2] == 2);
	assert_int_equal(c->size_buckets.n, 2);
	/* nor is an item split */
	assert_int_equal(c->exclude_self_paths.n, 2);
	assert_string_equal(c->exclude_self_paths.v[0], "/a,b");
	assert_true(c->command_args);
	assert_int_equal(c->resource_attributes.n, 2);
	assert_string_equal(c->resource_attributes.v[0].value, "x,y");
}

static void empty_files_and_keys(void **state)
{
	static const char *const files[] = {
		"",
		"\n\n",
		"# only a comment\n",
		"---\n",
		"---\n...\n",
		"~\n",
		"{}\n",
		"web:\n",
		"web: {}\n",
		"rules:\nroutes:\n",
		"rules: []\nroutes: []\n",
		"print:\nmetrics.max-series: ~\nscope: null\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		assert_int_equal(load_yaml(files[i]), 0);
		assert_string_equal(said, "");
		assert_int_equal(c->print, PRINT_NONE);
		assert_int_equal(c->max_series, 10000);
	}
	/* quoted, it is a value: an empty list, an empty text */
	assert_int_equal(load_yaml("metrics.exclude-paths: \"\"\notlp.endpoint: ''\n"), 0);
	assert_int_equal(load_yaml("metrics.max-series: ''\n"), -EINVAL);
}

static void file_complaints(void **state)
{
	static const struct {
		const char *yaml, *want;
	} cases[] = {
		{"print: text\n\nwebb: 1\n", "3: webb: there is no such key; docs/configuration.md lists all"},
		{"web:\n  listen-adress: x\n", "2: web.listen-adress: there is no such key; did you mean "
					       "web.listen-address? docs/configuration.md lists all"},
		{"web:\n  zzzzzzzzzzzzzzzz: x\n",
		 "2: web.zzzzzzzzzzzzzzzz: there is no such key; docs/configuration.md lists all"},
		{"rule: []\n", "1: rule: there is no such key; did you mean rules? docs/configuration.md lists all"},
		{"max_series: 1\n", "1: max_series: there is no such key; docs/configuration.md lists all"},
		{"max-series: 1\n", "1: max-series: there is no such key; did you mean metrics.max-series? "
				    "docs/configuration.md lists all"},
		{"config.file: x\n", "1: config.file: cannot be set in the file itself; use --config.file or "
				     "SONDE_CONFIG_FILE"},
		{"web: 1\n", "1: web: is given a value, but is a group of keys; write them below it"},
		{"web: [1]\n", "1: web: is given a value, but is a group of keys; write them below it"},
		{"print: text\nprint: json\n", "2: print: is set twice, in line 1 before; keep one"},
		{"log:\n  level: info\nlog.level: info\n", "3: log.level: is set twice, in line 2 before; keep one"},
		{"print: [text]\n", "1: print: is given a list; write one value"},
		{"print: {a: b}\n", "1: print: is given a mapping; write one value"},
		{"scope: {a: b}\n", "1: scope: is given a mapping; write a list"},
		{"otlp.headers: [a]\n", "1: otlp.headers: is given a list; write a mapping or KEY=VALUE,KEY=VALUE"},
		{"otlp.headers: {a: [b]}\n", "1: otlp.headers: the value of a is not plain text; write a: VALUE"},
		{"scope:\n  - pid:1\n  - [x]\n", "3: scope: an item is not plain text; write one value per item"},
		{"scope:\n  - pid:1\n  -\n", "3: scope: an item is not plain text; write one value per item"},
		{"metrics:\n  duration-buckets:\n    - 1\n    - two\n",
		 "4: metrics.duration-buckets: 'two' is not a number; write one such as 0.25"},
		{"scope: [pid:1, uid:2]\n", "1: scope: 'pid:1,uid:2' is not a scope; write cgroup:/PATH (as in "
					    "/proc/PID/cgroup) or pid:PID"},
		{"metrics:\n  max-series: many\n",
		 "2: metrics.max-series: 'many' is not a whole number; write one such as 1000"},
		{"otlp.endpoint: \"http://a\\0b\"\n", "1: otlp.endpoint: 'http://a" /* cut at the NUL; see below */},
		{"scope: [\"pid:1\\0\"]\n", "1: scope: an item holds a NUL byte; leave it out"},
		{"otlp.headers: {a: \"b\\0\"}\n", "1: otlp.headers: a holds a NUL byte; leave it out"},
		{"- a\n", "1: is not a mapping of keys to values; write KEY: VALUE lines"},
		{"text\n", "1: is not a mapping of keys to values; write KEY: VALUE lines"},
		{"[a]: b\n", "1: a key is not plain text; write KEY: VALUE"},
		{"print: text\n---\nprint: json\n", "2: holds a second YAML document; keep one"},
		{"web: &a {max-requests: 1}\ncapture: *a\n", "1: a YAML anchor (&name) or alias (*name) is used; they "
							     "are not supported, write the value out"},
		{"a: \"x\n", "2: is not valid YAML: found unexpected end of stream; check quotes, indents and brackets "
			     "there"},
		{"web:\n\tmax-requests: 1\n", "2: is not valid YAML: found character that cannot start any token; "
					      "check quotes, indents and brackets there"},
		{"print: text\n  json: x\n", "2: is not valid YAML: mapping values are not allowed in this context; "
					     "check quotes, indents and brackets there"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[400];
		bool cut = strstr(cases[i].yaml, "http://a\\0");

		snprintf(want, sizeof(want), "error: c.yaml:%s%s", cases[i].want, cut ? "" : "\n");
		assert_int_equal(load_yaml(cases[i].yaml), -EINVAL);
		if (cut)
			assert_memory_equal(said, want, strlen(want));
		else
			assert_string_equal(said, want);
		assert_null(c);
	}
	assert_int_equal(load_yaml("print: \xff\n"), -EINVAL);
	assert_string_equal(said,
			    "error: c.yaml: is not valid YAML at byte 7: invalid leading UTF-8 octet; correct it or "
			    "save it as UTF-8\n");
}

/* ---- rules and routes ---- */

static void rules_and_routes(void **state)
{
	assert_int_equal(
		load_yaml("rules:\n"
			  "  - match: {exe: \"/usr/sbin/nginx*\", port: 8080, cgroup: \"/system.slice/*\", uid: 0, "
			  "env: \"APP=shop*\"}\n"
			  "    action: exclude\n"
			  "  - match:\n"
			  "      exe: \"*gunicorn*\"\n"
			  "    action: include\n"
			  "    service_name: shop\n"
			  "    service_namespace: web\n"
			  "routes:\n"
			  "  - service: \"shop*\"\n"
			  "    patterns: [\"/users/{id}\", \"/static/*\"]\n"
			  "  - patterns:\n"
			  "      - /x\n"),
		0);
	assert_int_equal(c->n_rules, 2);
	assert_string_equal(c->rules[0].exe, "/usr/sbin/nginx*");
	assert_int_equal(c->rules[0].port, 8080);
	assert_string_equal(c->rules[0].cgroup, "/system.slice/*");
	assert_int_equal(c->rules[0].uid, 0);
	assert_string_equal(c->rules[0].env, "APP=shop*");
	assert_int_equal(c->rules[0].action, RULE_EXCLUDE);
	assert_null(c->rules[0].service_name);
	assert_string_equal(c->rules[1].exe, "*gunicorn*");
	assert_int_equal(c->rules[1].port, -1);
	assert_int_equal(c->rules[1].uid, -1);
	assert_null(c->rules[1].cgroup);
	assert_null(c->rules[1].env);
	assert_int_equal(c->rules[1].action, RULE_INCLUDE);
	assert_string_equal(c->rules[1].service_name, "shop");
	assert_string_equal(c->rules[1].service_namespace, "web");
	assert_int_equal(c->n_routes, 2);
	assert_string_equal(c->routes[0].service, "shop*");
	assert_int_equal(c->routes[0].patterns.n, 2);
	assert_string_equal(c->routes[0].patterns.v[1], "/static/*");
	assert_string_equal(c->routes[1].service, "*");
	assert_string_equal(c->routes[1].patterns.v[0], "/x");
}

static void rule_complaints(void **state)
{
	static const struct {
		const char *yaml, *want;
	} cases[] = {
		{"rules: x\n", "1: rules: is not a list; write one '- ' per entry"},
		{"rules: {match: {exe: x}}\n", "1: rules: is not a list; write one '- ' per entry"},
		{"rules:\n  - x\n", "2: rules: an entry is not a mapping; write '- KEY: VALUE'"},
		{"rules:\n  - action: exclude\n", "2: rules: a rule without a condition; write match: with one of exe, "
						  "port, cgroup, uid, env (every program: exe: \"*\")"},
		{"rules:\n  - match: {exe: x}\n",
		 "2: rules: a rule that does nothing; write action, service_name or service_namespace"},
		{"rules:\n  - match: {exe: x}\n    action: drop\n",
		 "3: rules.action: 'drop' is not known; write include or exclude"},
		{"rules:\n  - match: {exe: x}\n    action: [a]\n",
		 "3: rules.action: '' is not known; write include or exclude"},
		{"rules:\n  - match: {exe: x}\n    actoin: exclude\n",
		 "3: rules: there is no key 'actoin', did you mean action?; write one of match, action, service_name, "
		 "service_namespace"},
		{"rules:\n  - match: {exec: x}\n",
		 "2: rules.match: there is no key 'exec', did you mean exe?; write one of "
		 "exe, port, cgroup, uid, env"},
		{"rules:\n  - match: {zzzzzz: x}\n",
		 "2: rules.match: there is no key 'zzzzzz'; write one of exe, port, cgroup, uid, env"},
		{"rules:\n  - match: x\n", "2: rules.match: is not a mapping; write one such as {exe: \"/usr/bin/*\"}"},
		{"rules:\n  - match:\n      port: 0\n",
		 "3: rules.match.port: '0' is not a number from 1 to 65535; write one"},
		{"rules:\n  - match:\n      port: [80]\n",
		 "3: rules.match.port: '' is not a number from 1 to 65535; write one"},
		{"rules:\n  - match: {uid: root}\n",
		 "2: rules.match.uid: 'root' is not a number from 0 to 4294967294; write one"},
		{"rules:\n  - match: {uid: 1, uid: 2}\n", "2: rules.match.uid: is set twice; keep one"},
		{"rules:\n  - match: {exe: a, exe: b}\n", "2: rules.match.exe: is set twice; keep one"},
		{"rules:\n  - match: {exe: }\n", "2: rules.match.exe: is empty or not plain text; write one value"},
		{"rules:\n  - match: {exe: \"a\\0\"}\n", "2: rules.match.exe: holds a NUL byte; leave it out"},
		{"rules:\n  - match: {env: SHOP}\n",
		 "2: rules.match.env: 'SHOP' is not NAME=VALUE; write one such as APP=shop*"},
		{"rules:\n  - match: {exe: x}\n    action: include\n    action: exclude\n",
		 "4: rules.action: is set twice; keep one"},
		{"rules:\n  - &r {match: {exe: x}, action: include}\n  - *r\n",
		 "2: a YAML anchor (&name) or alias (*name) is used; they are not supported, write the value out"},
		{"rules:\n  - {match: {exe: x}, action: include}\nrules: []\n",
		 "3: rules: is set twice; keep one list"},
		{"routes: /x\n", "1: routes: is not a list; write one '- ' per entry"},
		{"routes:\n  - service: x\n",
		 "2: routes: an entry without patterns; write patterns: [\"/users/{id}\"]"},
		{"routes:\n  - patterns: /x\n",
		 "2: routes.patterns: is not a list; write one such as [\"/users/{id}\"]"},
		{"routes:\n  - patterns:\n      - /x\n      - y\n",
		 "4: routes.patterns: 'y' does not begin with '/'; write one such as /users/{id}"},
		{"routes:\n  - pattern: [/x]\n",
		 "2: routes: there is no key 'pattern', did you mean patterns?; write one "
		 "of service, patterns"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[400];

		snprintf(want, sizeof(want), "error: c.yaml:%s\n", cases[i].want);
		assert_int_equal(load_yaml(cases[i].yaml), -EINVAL);
		assert_string_equal(said, want);
		assert_null(c);
	}
}

/* ---- SIGHUP ---- */

static void reload_takes_over_what_it_may(void **state)
{
	write_file("log.level: info\nprint: text\nmetrics.exclude-paths: [/a]\n"
		   "rules: [{match: {exe: a}, action: exclude}]\n");
	assert_int_equal(LOAD("--log.format=json"), 0);
	write_file("log.level: debug\nprint: json\nmetrics: {exclude-paths: [/b, /c], series-ttl: 1m, max-series: 5}\n"
		   "rules: [{match: {exe: b}, action: include}, {match: {uid: 1}, service_name: x}]\n"
		   "routes: [{patterns: [/r]}]\n"
		   "log.format: logfmt\n");
	assert_int_equal(RELOAD("--log.format=json"), 0);
	assert_string_equal(said,
			    "warn: print has changed, but needs a restart; the old value stays until then\n"
			    "info: metrics.exclude-paths has changed\n"
			    "warn: metrics.max-series has changed, but needs a restart; the old value stays until "
			    "then\n"
			    "info: metrics.series-ttl has changed\n"
			    "info: log.level has changed\n");
	assert_int_equal(c->log_level, LOG_DEBUG);
	assert_int_equal(c->print, PRINT_TEXT);
	assert_int_equal(c->max_series, 10000);
	assert_int_equal(c->series_ttl, 60 * SEC);
	assert_int_equal(c->exclude_self_paths.n, 2);
	assert_string_equal(c->exclude_self_paths.v[1], "/c");
	assert_int_equal(c->log_format, LOG_JSON);
	assert_int_equal(c->n_rules, 2);
	assert_string_equal(c->rules[0].exe, "b");
	assert_int_equal(c->n_routes, 1);
	/* what was taken over is no difference any longer; back to nothing */
	write_file("");
	assert_int_equal(RELOAD("--log.format=json"), 0);
	assert_string_equal(said, "warn: print has changed, but needs a restart; the old value stays until then\n"
				  "info: metrics.exclude-paths has changed\n"
				  "info: metrics.series-ttl has changed\n"
				  "info: log.level has changed\n");
	assert_int_equal(c->exclude_self_paths.n, 0);
	assert_int_equal(c->n_rules, 0);
	assert_int_equal(c->n_routes, 0);
	assert_int_equal(RELOAD("--print=text", "--log.format=json"), 0);
	assert_string_equal(said, "");
}

static void reload_of_every_row(void **state)
{
	static const struct {
		const char *yaml;
		bool reload;
	} cases[] = {
		{"metrics.exclude-paths: [/q]", true},
		{"metrics.series-ttl: 2m", true},
		{"metrics.routes-per-service: 7", true},
		{"traces.sampler: always_off", true},
		{"traces.sampler-arg: 0.5", true},
		{"log.level: warn", true},
		{"log.format: json", true},
		{"scope: [pid:1]", false},
		{"web.telemetry-path: /q", false},
		{"capture.ring-size: 1M", false},
		{"metrics.duration-buckets: [1]", false},
		{"otlp.headers: {a: b}", false},
		{"otlp.endpoint: http://q", false},
		{"otlp.timeout: 1s", false},
		{"otlp.disabled: true", false},
		{"otlp.protocol: grpc", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_file("");
		assert_int_equal(LOAD(), 0);
		write_file(cases[i].yaml);
		assert_int_equal(RELOAD(), 0);
		assert_memory_equal(said, cases[i].reload ? "info" : "warn", 4);
		/* taken over: quiet from now on */
		assert_int_equal(RELOAD(), 0);
		assert_int_equal(said[0] == 0, cases[i].reload);
	}
}

static void broken_reload_changes_nothing(void **state)
{
	static const char *const broken[] = {
		"log.level: debug\nrules: [{match: {exe: b}, action: include}]\nprint: xml\n",
		"log.level: debug\nmetrics.series-ttl: 1m\n: : :\n",
		"log.level: debug\nrules:\n  - match: {}\n",
		"log.level: debug\nroutes:\n  - patterns: [x]\n",
	};
	struct rule *rules;

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		write_file("log.level: error\nrules: [{match: {exe: a}, action: exclude}]\n");
		assert_int_equal(LOAD(), 0);
		rules = c->rules;
		write_file(broken[i]);
		assert_int_equal(RELOAD(), -EINVAL);
		assert_memory_equal(said, "error: ", 7);
		assert_int_equal(c->log_level, LOG_ERROR);
		assert_int_equal(c->series_ttl, 900 * SEC);
		assert_ptr_equal(c->rules, rules);
		assert_int_equal(c->n_rules, 1);
		assert_string_equal(c->rules[0].exe, "a");
	}
	unlink("c.yaml");
	assert_int_equal(RELOAD(), -ENOENT);
	assert_int_equal(c->log_level, LOG_ERROR);
}

/* ---- hostile files ---- */

static uint64_t mixed(uint64_t i)
{
	i = (i + 1) * 0x9e3779b97f4a7c15;
	i = (i ^ (i >> 30)) * 0xbf58476d1ce4e5b9;
	i = (i ^ (i >> 27)) * 0x94d049bb133111eb;
	return i ^ (i >> 31);
}

static int load_bytes(const char *data, size_t len)
{
	write_bytes(data, len);
	return LOAD("--config.file=c.yaml");
}

static void random_bytes_never_crash(void **state)
{
	char data[256];

	for (uint64_t round = 0; round < 2000; round++) {
		size_t len = mixed(round) % sizeof(data);
		int err;

		for (size_t i = 0; i < len; i++) {
			data[i] = (char)mixed(round * 1000 + i);
			if (round % 2)
				data[i] = " \n:-[]{}&*!|>'\"%@`#,?ab1.~\t"[(uint8_t)data[i] % 27];
		}
		err = load_bytes(data, len);
		assert_true(err == 0 || err == -EINVAL);
		assert_int_equal(err == 0, c != NULL);
	}
}

/* Words that belong into a configuration, in any order. */
static void word_salad_never_crashes(void **state)
{
	static const char *const words[] = {
		"rules",
		"routes",
		"match",
		"exe",
		"port",
		"uid",
		"env",
		"action",
		"exclude",
		"service_name",
		"patterns",
		"web",
		"otlp",
		"headers",
		"scope",
		"print",
		"text",
		"metrics",
		"duration-buckets",
		"resource.attributes",
		"traces.sampler-arg",
		"0.5",
		"80",
		"\"/a\"",
		"A=b",
		"a=%41",
		": ",
		": ",
		": ",
		":\n  ",
		"\n",
		"\n",
		"\n- ",
		"\n  - ",
		"\n    ",
		"{",
		"}",
		"[",
		"]",
		", ",
		"&a ",
		"*a",
		"? ",
		"|\n",
		"~",
		"---\n",
		"\"\\0\"",
		"log.level: info\n",
		"rules:\n  - match: {exe: x}\n    action: include\n",
		"scope: [pid:1]\n",
	};
	size_t good = 0;

	for (uint64_t round = 0; round < 4000; round++) {
		_buf_ struct buf b = BUF_INIT;
		size_t n = mixed(round) % 30;
		int err;

		for (size_t i = 0; i < n; i++)
			buf_puts(&b, words[mixed(round * 100 + i) % ARRAY_SIZE(words)]);
		err = load_bytes(b.data ? b.data : "", b.len);
		assert_true(err == 0 || err == -EINVAL);
		good += !err;
		if (!err)
			assert_int_equal(RELOAD("--config.file=c.yaml"), 0);
	}
	/* the salad does reach the inside */
	assert_true(good > 50);
}

static void repeat(struct buf *b, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_puts(b, s);
}

static void deep_nesting_is_bounded(void **state)
{
	static const char *const parts[] = {"[", "{a: ", "{a: [", "? ", "- ", "[[[{", "a: {", "\"a\": [", "[a,"};
	uint64_t start = clock_mono_ns();

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		_buf_ struct buf b = BUF_INIT;

		repeat(&b, parts[i], 150000);
		assert_int_equal(load_bytes(b.data, b.len), -EINVAL);
		buf_clear(&b);
		/* where a value may stand */
		buf_puts(&b, "rules: ");
		repeat(&b, parts[i], 150000);
		assert_int_equal(load_bytes(b.data, b.len), -EINVAL);
	}
	assert_true(clock_mono_ns() - start < 10 * SEC);
}

static void alias_bombs_are_refused(void **state)
{
	assert_int_equal(load_yaml("scope: &s [pid:1]\n"), -EINVAL);
	assert_int_equal(load_yaml("print: &p text\n"), -EINVAL);
	assert_int_equal(load_yaml("print: *nowhere\n"), -EINVAL);
	assert_int_equal(load_yaml("scope: &s [pid:1]\nrules: [*s]\n"), -EINVAL);
	assert_int_equal(load_yaml("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"), -EINVAL);
	assert_int_equal(load_yaml("rules: &r\n  - *r\n"), -EINVAL);
	assert_int_equal(load_yaml("&r rules: *r\n"), -EINVAL);
	assert_int_equal(load_yaml("&root\nweb: *root\n"), -EINVAL);
	assert_int_equal(load_yaml("otlp.headers: {&k a: *k}\n"), -EINVAL);
}

static void size_is_bounded(void **state)
{
	_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, "print: text\n#");
	repeat(&b, "x", CONFIG_FILE_MAX - b.len);
	assert_int_equal(load_bytes(b.data, b.len), 0);
	assert_int_equal(c->print, PRINT_TEXT);
	buf_puts(&b, "x");
	assert_int_equal(load_bytes(b.data, b.len), -EINVAL);
	assert_string_equal(said, "error: c.yaml: is larger than 1 MiB; give a smaller file\n");
	assert_int_equal(LOAD("--config.file=/dev/zero"), -EINVAL);
	assert_string_equal(said, "error: /dev/zero: is larger than 1 MiB; give a smaller file\n");
}

static void lists_are_bounded(void **state)
{
	_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, "metrics.exclude-paths: [");
	repeat(&b, "/,", 4096);
	buf_puts(&b, "/]\n");
	assert_int_equal(load_bytes(b.data, b.len), -EINVAL);
	assert_string_equal(said,
			    "error: c.yaml:1: metrics.exclude-paths: too long a list; write at most 4096 items\n");
	buf_clear(&b);
	buf_puts(&b, "metrics.exclude-paths: \"");
	repeat(&b, "/,", 4097);
	buf_puts(&b, "\"\n");
	assert_int_equal(load_bytes(b.data, b.len), -EINVAL);
	assert_non_null(strstr(said, "is too long a list; write at most 4096 items\n"));
	buf_clear(&b);
	buf_puts(&b, "routes: [{patterns: [/");
	repeat(&b, "x", 512);
	buf_puts(&b, "]}]\n");
	assert_int_equal(load_bytes(b.data, b.len), -EINVAL);
	assert_string_equal(said, "error: c.yaml:1: routes.patterns: a pattern is too long; write at most 512 bytes\n");
}

/* ---- documentation ---- */

static char page[1 << 18];

static size_t print_page(void (*print)(void))
{
	size_t n;

	capture_begin(STDOUT_FILENO);
	print();
	n = capture_end(STDOUT_FILENO, page, sizeof(page));
	assert_true(n > 1000 && n < sizeof(page) - 1);
	return n;
}

/* `text` without the backslashes of roff. */
static void unroff(char *text)
{
	char *out = text;

	for (; *text; text++) {
		if (*text == '\\' && (text[1] == '-' || text[1] == ':')) {
			if (*++text == '-')
				*out++ = '-';
			continue;
		}
		*out++ = *text;
	}
	*out = 0;
}

static void every_option_is_documented(void **state)
{
	static const struct {
		void (*print)(void);
		bool env, config_file;
	} pages[] = {
		{config_print_help, true, true},
		{config_print_manual, true, true},
		{config_print_reference, true, true},
		{config_print_example, false, false},
	};

	for (size_t p = 0; p < ARRAY_SIZE(pages); p++) {
		print_page(pages[p].print);
		unroff(page);
		for (size_t i = 0; i < n_opt_rows; i++) {
			if (!strcmp(opt_rows[i].flag, "config.file") && !pages[p].config_file)
				continue;
			assert_non_null(strstr(page, opt_rows[i].flag));
			if (pages[p].env && opt_rows[i].env)
				assert_non_null(strstr(page, opt_rows[i].env));
		}
	}
}

static void help_fits_the_screen(void **state)
{
	static const size_t widths[] = {80, 100};

	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		char columns[8], *line, *rest;
		size_t longest = 0;

		snprintf(columns, sizeof(columns), "%zu", widths[i]);
		setenv("COLUMNS", columns, 1);
		print_page(config_print_help);
		for (line = strtok_r(page, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
			/* a name longer than the rest of its line cannot be broken */
			if (strlen(line) > widths[i])
				assert_null(strchr(line + strspn(line, " "), ' '));
			else
				longest = MAX(longest, strlen(line));
		}
		assert_true(longest > widths[i] - 5);
	}
	unsetenv("COLUMNS");
}

/* The example with every '#' taken away is a valid file, and says what the defaults say. */
static void example_holds_the_defaults(void **state)
{
	struct config *plain;
	char *in = page, *out = page;
	bool line_start = true;

	print_page(config_print_example);
	for (; *in; in++) {
		if (!(line_start && *in == '#' && in[1] != ' ' && in[1] != '#' && in[1] != '\n') &&
		    !(line_start && !strncmp(in, "#  ", 3)))
			*out++ = *in;
		line_start = *in == '\n';
	}
	*out = 0;
	assert_int_equal(LOAD("--config.file="), 0);
	plain = c;
	c = NULL;
	assert_int_equal(load_yaml(page), 0);
	assert_string_equal(said, "");
	for (size_t i = 0; i < n_opt_rows; i++) {
		const struct opt_row *row = &opt_rows[i];

		if (strcmp(row->flag, "config.file") &&
		    !value_equal(row->type, opt_field(c, row), opt_field(plain, row)))
			fail_msg("%s differs from its default", row->flag);
	}
	assert_int_equal(c->n_rules, 2);
	assert_int_equal(c->n_routes, 1);
	config_free(plain);
	/* untouched it says nothing at all */
	print_page(config_print_example);
	assert_int_equal(load_yaml(page), 0);
	assert_int_equal(c->n_rules, 0);
}

/* Each example of the reference is valid, too. */
static void reference_examples_load(void **state)
{
	char *at = page, *end;
	size_t n = 0;

	print_page(config_print_reference);
	while ((at = strstr(at, "```yaml\n"))) {
		at += 8;
		end = strstr(at, "```");
		assert_non_null(end);
		assert_int_equal(load_bytes(at, (size_t)(end - at)), 0);
		assert_int_equal(c->n_rules + c->n_routes > 0, true);
		at = end + 3;
		n++;
	}
	assert_int_equal(n, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, each_setup, each_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(table_is_sound),
		TEST(defaults),
		TEST(flags_over_environment_over_file),
		TEST(lists_replace_lower_sources),
		TEST(file_by_flag_then_environment),
		TEST(empty_variables_are_not_set),
		TEST(what_is_no_flag_moves_back),
		TEST(switches),
		TEST(wrong_flags),
		TEST(bad_values),
		TEST(secrets_are_not_shown),
		TEST(long_values_are_cut),
		TEST(durations),
		TEST(sizes),
		TEST(good_values),
		TEST(pairs_are_percent_decoded),
		TEST(otel_variables_warn),
		TEST(exporters_are_lists),
		TEST(otel_disabled_knows_one_truth),
		TEST(otel_numbers_are_milliseconds),
		TEST(other_sources_are_strict),
		TEST(batch_fits_its_queue),
		TEST(client_key_needs_certificate),
		TEST(service_name_among_attributes),
		TEST(nested_flat_and_mixed_keys),
		TEST(empty_files_and_keys),
		TEST(file_complaints),
		TEST(rules_and_routes),
		TEST(rule_complaints),
		TEST(reload_takes_over_what_it_may),
		TEST(reload_of_every_row),
		TEST(broken_reload_changes_nothing),
		TEST(random_bytes_never_crash),
		TEST(word_salad_never_crashes),
		TEST(deep_nesting_is_bounded),
		TEST(alias_bombs_are_refused),
		TEST(size_is_bounded),
		TEST(lists_are_bounded),
		TEST(every_option_is_documented),
		TEST(help_fits_the_screen),
		TEST(example_holds_the_defaults),
		TEST(reference_examples_load),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
