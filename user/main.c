/* SPDX-License-Identifier: Apache-2.0 */
/* The command: which of sonde's parts is wanted. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <curl/curl.h>

#include "exporters/print.h"
#include "user/base/log.h"
#include "user/daemon.h"
#include "user/doctor.h"

static const char usage[] =
	"sonde sees every HTTP request that the programs of this machine serve and send,\n"
	"without changing them.\n\n"
	"Usage:\n"
	"  sonde [OPTION...]                  observe, serve /metrics, export by OTLP\n"
	"  sonde tail [-p PID] [FILTER...]    print one line per call as it ends\n"
	"  sonde tail [FILTER...] -- COMMAND  the same for a command that is started, and its children\n"
	"  sonde doctor [--json]              what this kernel and these rights allow\n"
	"  sonde check-config [OPTION...]     read the configuration and say what is wrong\n"
	"  sonde --version | --help\n\n"
	"Filters of tail:\n"
	"  --service=GLOB --status=5xx|404 --method=NAME --path=GLOB --min-duration=10ms --role=server|client\n"
	"  --json   one JSON object per line\n\n"
	"Options:\n";

static bool take_flag(int *argc, char **argv, const char *flag)
{
	for (int i = 1; i < *argc && strcmp(argv[i], "--"); i++) {
		if (strcmp(argv[i], flag))
			continue;
		memmove(&argv[i], &argv[i + 1], (*argc - i) * sizeof(*argv));
		(*argc)--;
		return true;
	}
	return false;
}

/* "--name=value" or "--name value"; the words are taken out of argv. NULL: not there. */
static const char *take_value(int *argc, char **argv, const char *name)
{
	size_t len = strlen(name);

	for (int i = 1; i < *argc && strcmp(argv[i], "--"); i++) {
		const char *value = NULL;
		int words = 1;

		if (!strncmp(argv[i], name, len) && argv[i][len] == '=') {
			value = argv[i] + len + 1;
		} else if (!strcmp(argv[i], name) && i + 1 < *argc) {
			value = argv[i + 1];
			words = 2;
		}
		if (!value)
			continue;
		memmove(&argv[i], &argv[i + words], (*argc - i - words + 1) * sizeof(*argv));
		*argc -= words;
		return value;
	}
	return NULL;
}

static int no_more_words(int rest, int argc, char **argv)
{
	if (rest < argc)
		return log_err_r(-EINVAL, "unknown command or word \"%s\": see `sonde --help`", argv[rest]);
	return 0;
}

static int need_root(void)
{
	if (geteuid())
		return log_err_r(-EPERM, "sonde must run as root to load BPF programs: run it with sudo (`sonde doctor` tells more)");
	return 0;
}

static int run_daemon(int argc, char **argv)
{
	struct config *config = NULL;
	int rest, ret = 1;

	if (config_load(&config, argc, argv, &rest))
		return 1;
	log_setup(config->log_level, config->log_format);
	if (!no_more_words(rest, argc, argv) && !need_root()) {
		const struct daemon_options o = { .config = config, .argc = rest, .argv = argv, .child_go = -1 };

		ret = daemon_run(&o);
	}
	config_free(config);
	return ret;
}

/* --- tail --- */

static bool id_of(const char *name, id_t *ret)
{
	const char *text = getenv(name);
	uint64_t v;

	if (!text || str_to_u64(str_of(text), &v) || v >= UINT32_MAX)
		return false;
	*ret = (id_t)v;
	return true;
}

/* As if the user who called sudo had called the command: user, groups, home. */
static int become_invoker(void)
{
	static const char *const sudo[] = { "SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND", "SUDO_HOME" };
	struct passwd *pw;
	id_t uid, gid;

	if (!id_of("SUDO_UID", &uid) || !id_of("SUDO_GID", &gid))
		return 0;
	pw = getpwuid(uid);
	if (pw ? initgroups(pw->pw_name, gid) : setgroups(1, &gid))
		return -errno;
	if (pw && (setenv("HOME", pw->pw_dir, 1) || setenv("USER", pw->pw_name, 1) || setenv("LOGNAME", pw->pw_name, 1) ||
		   setenv("SHELL", *pw->pw_shell ? pw->pw_shell : "/bin/sh", 1)))
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(sudo); i++)
		unsetenv(sudo[i]);
	return setresgid(gid, gid, gid) || setresuid(uid, uid, uid) ? -errno : 0;
}

static void run_command(char **command, int go)
{
	int err;
	char c;

	/* no byte: sonde has ended, and said why */
	if (read(go, &c, 1) != 1)
		_exit(126);
	err = become_invoker();
	if (err) {
		fprintf(stderr, "sonde tail: cannot become user %s: %s\n", getenv("SUDO_UID"), strerror(-err));
		_exit(126);
	}
	execvp(command[0], command);
	fprintf(stderr, "sonde tail: %s: %s\n", command[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* The child waits until capture is attached, so that its first byte is seen; as the user who called sudo. */
static int start_child(char **command, int *ret_pid, int *ret_go)
{
	int pipes[2], pid;

	if (pipe2(pipes, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		close(pipes[1]);
		run_command(command, pipes[0]);
	}
	close(pipes[0]);
	*ret_pid = pid;
	*ret_go = pipes[1];
	return 0;
}

static int scope_to(struct config *c, long pid)
{
	char **v = realloc(c->scope.v, (c->scope.n + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	c->scope.v = v;
	if (asprintf(&v[c->scope.n], "pid:%ld", pid) < 0)
		return -ENOMEM;
	c->scope.n++;
	return 0;
}

static int set_filter(int *argc, char **argv)
{
	static const char *const names[] = { "service", "status", "method", "path", "min-duration", "role" };
	struct call_filter filter;

	call_filter_init(&filter);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char flag[32];
		const char *value;

		snprintf(flag, sizeof(flag), "--%s", names[i]);
		value = take_value(argc, argv, flag);
		if (value && call_filter_set(&filter, names[i], value))
			return -EINVAL;
	}
	exporter_print_set_filter(&filter);
	return 0;
}

static int run_tail(int argc, char **argv)
{
	struct config *config = NULL;
	struct daemon_options o = { .tail = true, .child_go = -1 };
	bool json = take_flag(&argc, argv, "--json");
	const char *pid = take_value(&argc, argv, "-p");
	char **command = NULL;
	int rest, ret = 1;
	uint64_t id;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--"))
			continue;
		command = &argv[i + 1];
		argc = i;
		break;
	}
	if (set_filter(&argc, argv) || config_load(&config, argc, argv, &rest))
		return 1;
	log_setup(config->log_level == LOG_INFO ? LOG_WARN : config->log_level, config->log_format);
	config->print = json ? PRINT_JSON : PRINT_TEXT;
	if (no_more_words(rest, argc, argv) || need_root())
		goto out;
	if (pid && (str_to_u64(str_of(pid), &id) || !id || id > INT32_MAX || scope_to(config, (long)id))) {
		log_err("-p %s: not a process id: give a number, as in ps", pid);
		goto out;
	}
	if (command && !command[0]) {
		log_err("--: no command stands behind it: give one, or leave -- out");
		goto out;
	}
	if (command && (start_child(command, &o.child, &o.child_go) || scope_to(config, o.child))) {
		log_err("%s cannot be started: %s", command[0], strerror(errno));
		goto out;
	}
	o.config = config;
	o.argc = rest;
	o.argv = argv;
	ret = daemon_run(&o);
out:
	config_free(config);
	return ret;
}

static int run_doctor(int argc, char **argv)
{
	bool json = take_flag(&argc, argv, "--json");
	struct config *config = NULL;
	int rest, ret = 1;

	if (config_load(&config, argc, argv, &rest))
		return 1;
	if (!no_more_words(rest, argc, argv))
		ret = doctor_run(config, json);
	config_free(config);
	return ret;
}

static int run_check_config(int argc, char **argv)
{
	struct config *config = NULL;
	int rest;

	if (config_load(&config, argc, argv, &rest) || no_more_words(rest, argc, argv))
		return 1;
	config_free(config);
	puts("the configuration is right");
	return 0;
}

/* For the build: the manual and the reference are made from the table of options. */
static int run_print_docs(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} docs[] = {
		{ "help", config_print_help }, { "manual", config_print_manual },
		{ "reference", config_print_reference }, { "example", config_print_example },
	};

	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(docs); i++) {
		if (!strcmp(argv[1], docs[i].name)) {
			docs[i].print();
			return 0;
		}
	}
	fputs("usage: sonde print-docs help|manual|reference|example\n", stderr);
	return 1;
}

/* A file that sonde opens must not become standard output. What is closed stays unusable, but taken. */
static void keep_standard_files(void)
{
	static const int modes[] = { O_RDONLY, O_RDONLY, O_RDWR };

	for (int fd = 0; fd < (int)ARRAY_SIZE(modes); fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
			_exit(1);
}

/* A text that could not be written was not said. */
static int finish(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	log_err("standard output cannot be written: %s", strerror(errno));
	return 1;
}

static int help(void)
{
	fputs(usage, stdout);
	config_print_help();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{ "tail", run_tail }, { "doctor", run_doctor }, { "check-config", run_check_config },
		{ "print-docs", run_print_docs },
	};

	keep_standard_files();
	if (take_flag(&argc, argv, "--version")) {
		printf("sonde %s\n", SONDE_VERSION);
		return finish(0);
	}
	if (take_flag(&argc, argv, "--help") || take_flag(&argc, argv, "-h"))
		return finish(help());
	curl_global_init(CURL_GLOBAL_DEFAULT);
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return finish(commands[i].run(argc - 1, argv + 1));
	return finish(run_daemon(argc, argv));
}
