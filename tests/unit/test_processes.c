// SPDX-License-Identifier: Apache-2.0
/*
 * Against a /proc made here, where every race and every container can be had, and against the
 * real one with children of this test. Each test frees its table; the leak check is the
 * sanitizer's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "user/base/clock.h"
#include "user/base/buf.h"
#include "user/enrich/processes.h"
#include "user/enrich/procfs.h"
#include "user/enrich/rules.h"

#define ID1  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SEC  NSEC_PER_SEC
#define TICK (NSEC_PER_SEC / 100)

/* The fake /proc */

static char root[64];

static void put(uint32_t pid, const char *name, const char *data, size_t len)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u", root, pid);
	(void)mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%u/%s", root, pid, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void put_link(uint32_t pid, const char *name, const char *target)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%u/%s", root, pid, name);
	(void)unlink(path);
	assert_int_equal(symlink(target, path), 0);
}

struct fake {
	uint32_t pid, ppid, uid;
	uint64_t ticks;
	const char *comm, *exe, *args /* blanks become NUL */, *environ /* the same */, *cgroup;
	unsigned int flags;
};

static void put_words(uint32_t pid, const char *name, const char *words)
{
	char text[1024];
	size_t len = words ? strlen(words) : 0;

	for (size_t i = 0; i <= len && words; i++)
		text[i] = words[i] == ' ' ? 0 : words[i];
	put(pid, name, text, words ? len + 1 : 0);
}

static void fake(struct fake f)
{
	char text[512];
	int n;

	n = snprintf(text, sizeof(text), "%u (%s) S %u 1 1 0 -1 %u 0 0 0 0 0 0 0 0 20 0 1 0 %llu 1 1 1\n", f.pid,
		     f.comm ?: "x", f.ppid, f.flags, (unsigned long long)f.ticks);
	put(f.pid, "stat", text, (size_t)n);
	n = snprintf(text, sizeof(text), "Name:\tx\nUid:\t%u\t99\t99\t99\nGid:\t0\n", f.uid);
	put(f.pid, "status", text, (size_t)n);
	put_words(f.pid, "cmdline", f.args);
	put_words(f.pid, "environ", f.environ);
	n = snprintf(text, sizeof(text), "0::%s\n", f.cgroup ?: "/");
	put(f.pid, "cgroup", text, (size_t)n);
	if (f.exe)
		put_link(f.pid, "exe", f.exe);
}

static void gone(uint32_t pid)
{
	static const char *const files[] = {"stat", "status", "cmdline", "environ",  "cgroup",
					    "exe",  "cwd",    "root",	 "mountinfo"};
	char path[256];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%u/%s", root, pid, files[i]);
		(void)unlink(path);
	}
	snprintf(path, sizeof(path), "%s/%u", root, pid);
	assert_int_equal(rmdir(path), 0);
}

static int set_up(void **state)
{
	strcpy(root, "/tmp/sonde-test-proc-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

/* Configuration */

static struct config config_with(struct rule *rules, size_t n)
{
	return (struct config){.max_processes = 1000, .rules = rules, .n_rules = n};
}

#define ANY .uid = -1, .port = -1

static const char *attr(const struct service *s, const char *name)
{
	for (size_t i = 0; i < s->n_attrs; i++) {
		if (!strcmp(s->attrs[i].name, name))
			return s->attrs[i].value;
	}
	return NULL;
}

static const char *host(void)
{
	static char name[256];

	gethostname(name, sizeof(name) - 1);
	return name;
}

static void assert_instance(const struct service *s, const char *fmt, ...) __printf(2, 3);
static void assert_instance(const struct service *s, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_string_equal(s->instance, text);
}

static struct processes *make(const struct config *c)
{
	struct processes *p = processes_new(c, root);

	assert_non_null(p);
	return p;
}

/* Tests */

static void test_stat_line(void **state)
{
	struct procfs_stat s;

	assert_int_equal(
		procfs_parse_stat(STR("7 (a) b) (c) Z 3 1 1 0 -1 2097216 0 0 0 0 0 0 0 0 20 0 1 0 1234 1 1\n"), &s), 0);
	assert_string_equal(s.comm, "a) b) (c");
	assert_int_equal(s.state, 'Z');
	assert_int_equal(s.ppid, 3);
	assert_true(s.kernel_thread);
	assert_int_equal(s.start_ns, 1234 * procfs_tick_ns());
	assert_int_equal(procfs_parse_stat(STR("7 (x) S 3 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99\n"), &s), 0);
	assert_int_equal(s.start_ns, 99 * procfs_tick_ns());
	assert_int_equal(procfs_parse_stat(STR("7 (x) S 3 1"), &s), -EINVAL);
	assert_int_equal(procfs_parse_stat(STR(")("), &s), -EINVAL);
	assert_int_equal(procfs_parse_stat(STR(""), &s), -EINVAL);
	assert_int_equal(procfs_parse_stat(STR("7 (x) S y 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 "), &s), -EINVAL);
}

static void test_reads_everything(void **state)
{
	struct kv kv[] = {{"deployment.environment.name", "prod"},
			  {"service.name", "sonde"},
			  {"cloud.region", "x"},
			  {"k8s.node.name", "n1"},
			  {"team", "me"}};
	struct config c = config_with(NULL, 0);
	struct processes *p;
	struct process *proc;

	c.resource_attributes = (struct kv_list){kv, ARRAY_SIZE(kv)};
	fake((struct fake){
		.pid = 10,
		.ppid = 1,
		.uid = 33,
		.ticks = 500,
		.comm = "my (prog)",
		.exe = "/opt/shop/shopd (deleted)",
		.args = "/opt/shop/shopd --password=secret",
		.environ = "A=b OTEL_RESOURCE_ATTRIBUTES=service.version=1.2,team=x,process.pid=99,cloud.region=y,"
			   "telemetry.sdk.name=theirs"});
	p = make(&c);
	proc = processes_get(p, 10, 0);
	assert_int_equal(proc->pid, 10);
	assert_int_equal(proc->ppid, 1);
	assert_int_equal(proc->uid, 33);
	assert_int_equal(proc->start_ns, 500 * procfs_tick_ns());
	assert_string_equal(proc->comm, "my (prog)");
	assert_string_equal(proc->exe, "/opt/shop/shopd");
	assert_string_equal(proc->executable_name, "shopd");
	assert_string_equal(proc->cgroup, "/");
	assert_null(proc->container_id);
	assert_null(proc->systemd_unit);
	assert_int_equal(proc->verdict, VERDICT_INCLUDE);
	assert_string_equal(proc->service->name, "shopd");
	assert_string_equal(proc->service->namespace_, "");
	assert_instance(proc->service, "%s:10:dw", host());
	assert_string_equal(attr(proc->service, "process.pid"), "10");
	assert_string_equal(attr(proc->service, "process.executable.name"), "shopd");
	assert_string_equal(attr(proc->service, "process.command"), "/opt/shop/shopd");
	assert_null(attr(proc->service, "process.command_args"));
	assert_string_equal(attr(proc->service, "host.name"), host());
	assert_string_equal(attr(proc->service, "os.type"), "linux");
	assert_string_equal(attr(proc->service, "service.version"), "1.2");
	assert_string_equal(attr(proc->service, "team"), "x");
	assert_string_equal(attr(proc->service, "cloud.region"), "y");
	assert_string_equal(attr(proc->service, "deployment.environment.name"), "prod");
	assert_string_equal(attr(proc->service, "k8s.node.name"), "n1");
	assert_null(attr(proc->service, "service.name"));
	assert_null(attr(proc->service, "telemetry.sdk.name"));
	/* known now: the same record */
	assert_ptr_equal(processes_get(p, 10, 0), proc);
	processes_free(p);

	c.command_args = true;
	p = make(&c);
	assert_string_equal(attr(processes_get(p, 10, 0)->service, "process.command_args"),
			    "/opt/shop/shopd --password=secret");
	processes_free(p);
}

/* Own variables, then rules, then unit, then container's name, then program: each wins over all behind it. */
static void test_order_of_names(void **state)
{
	struct rule rules[] = {
		{ANY, .exe = "/usr/bin/prog", .service_name = "by-rule", .service_namespace = "rule-ns"}};
	struct config with = config_with(rules, 1), without = config_with(NULL, 0);
	struct fake f = {.pid = 10,
			 .ppid = 1,
			 .ticks = 1,
			 .exe = "/usr/bin/prog",
			 .args = "prog",
			 .cgroup = "/lxc.payload.box/system.slice/unit.service",
			 .environ = "OTEL_RESOURCE_ATTRIBUTES=service.name=by-attr,service.namespace=ns,service."
				    "instance.id=i-1 OTEL_SERVICE_NAME=by-env"};
	static const struct {
		const char *environ, *cgroup, *name, *ns;
		bool rules;
	} steps[] = {
		{"OTEL_RESOURCE_ATTRIBUTES=service.name=by-attr,service.namespace=ns OTEL_SERVICE_NAME=by-env",
		 "/x.service", "by-env", "ns", true},
		{"OTEL_RESOURCE_ATTRIBUTES=service.name=by%2Dattr OTEL_SERVICE_NAME=", "/x.service", "by-attr",
		 "rule-ns", true},
		{"OTEL_RESOURCE_ATTRIBUTES=broken", "/x.service", "by-rule", "rule-ns", true},
		{"", "/lxc.payload.box/x.service", "x", "", false},
		{"", "/lxc.payload.box", "box", "", false},
		{"", "/ssh.service", "prog", "", false},
	};

	fake(f);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct processes *p;
		struct service *s;

		f.environ = steps[i].environ;
		f.cgroup = steps[i].cgroup;
		fake(f);
		p = make(steps[i].rules ? &with : &without);
		s = processes_get(p, 10, 0)->service;
		assert_string_equal(s->name, steps[i].name);
		assert_string_equal(s->namespace_, steps[i].ns);
		processes_free(p);
	}
}

static void test_instances(void **state)
{
	static const struct {
		const char *cgroup, *environ, *instance; /* %s: the host's name */
	} rows[] = {
		{"/docker/" ID1, "", ID1},
		{"/docker/" ID1 "/system.slice/nginx.service", "", ID1},
		{"/system.slice/shop@a.service", "", "%s:shop@a.service"},
		{"/lxc.payload.box/system.slice/nginx.service", "", "%s:box/nginx.service"},
		{"/lxc.payload.box", "", "%s:box"},
		{"/system.slice/ssh.service", "", "%s:10:zz"},
		{"/docker/" ID1, "OTEL_RESOURCE_ATTRIBUTES=service.instance.id=mine", "mine"},
	};
	struct config c = config_with(NULL, 0);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct processes *p;
		char expected[512];

		fake((struct fake){.pid = 10,
				   .ppid = 1,
				   .ticks = 35 * 36 + 35,
				   .exe = "/bin/x",
				   .args = "x",
				   .cgroup = rows[i].cgroup,
				   .environ = rows[i].environ});
		p = make(&c);
		snprintf(expected, sizeof(expected), rows[i].instance, host());
		assert_string_equal(processes_get(p, 10, 0)->service->instance, expected);
		processes_free(p);
	}
}

static void test_containers(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct process *a, *b, *other;

	/* two processes that nobody relates to each other, in one container */
	fake((struct fake){
		.pid = 10, .ppid = 1, .ticks = 1, .exe = "/usr/bin/shop", .args = "shop", .cgroup = "/docker/" ID1});
	fake((struct fake){
		.pid = 20, .ppid = 1, .ticks = 2, .exe = "/usr/bin/shop", .args = "shop", .cgroup = "/docker/" ID1});
	fake((struct fake){
		.pid = 30, .ppid = 1, .ticks = 2, .exe = "/usr/bin/side", .args = "side", .cgroup = "/docker/" ID1});
	a = processes_get(p, 10, 0);
	b = processes_get(p, 20, 0);
	other = processes_get(p, 30, 0);
	assert_string_equal(a->container_id, ID1);
	assert_string_equal(attr(a->service, "container.id"), ID1);
	assert_ptr_equal(a->service, b->service);
	assert_ptr_not_equal(a->service, other->service);
	assert_string_equal(a->service->instance, other->service->instance);
	processes_free(p);
}

static void test_workers_share_the_masters_service(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct process *w, *w2, *w3;

	fake((struct fake){.pid = 5, .ppid = 1, .ticks = 1, .exe = "/usr/bin/bash", .args = "bash"});
	fake((struct fake){.pid = 10, .ppid = 5, .ticks = 10, .exe = "/usr/sbin/nginx", .args = "nginx:\tmaster"});
	fake((struct fake){.pid = 11, .ppid = 10, .ticks = 20, .exe = "/usr/sbin/nginx", .args = "nginx:\tworker"});
	fake((struct fake){.pid = 13, .ppid = 10, .ticks = 20, .exe = "/usr/sbin/nginx", .args = "nginx:\tworker"});
	/* the worker is met first, the master through it */
	w = processes_get(p, 11, 0);
	assert_int_equal(processes_count(p), 3);
	assert_string_equal(w->service->name, "nginx");
	assert_instance(w->service, "%s:10:a", host());
	assert_string_equal(attr(w->service, "process.pid"), "10");
	assert_ptr_equal(w->service, processes_get(p, 10, 0)->service);
	assert_string_equal(processes_get(p, 5, 0)->service->name, "bash");
	/* a worker that starts later, one after the master is gone too */
	w2 = processes_fork(p, 10, 12, 0);
	assert_ptr_equal(w2->service, w->service);
	processes_exit(p, 10, SEC);
	w3 = processes_get(p, 13, 2 * SEC);
	assert_ptr_equal(w3->service, w->service);
	assert_int_equal(w2->ppid, 10);
	assert_string_equal(w2->exe, "/usr/sbin/nginx");
	processes_free(p);
}

static void test_other_programs_have_services_of_their_own(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 1, .exe = "/usr/bin/python3", .args = "python3 a.py"});
	fake((struct fake){.pid = 11, .ppid = 10, .ticks = 2, .exe = "/usr/bin/python3", .args = "python3 b.py"});
	fake((struct fake){.pid = 12,
			   .ppid = 10,
			   .ticks = 2,
			   .exe = "/usr/bin/python3",
			   .args = "python3 a.py",
			   .cgroup = "/other"});
	fake((struct fake){.pid = 13, .ppid = 10, .ticks = 2, .exe = "/usr/bin/pypy3", .args = "pypy3 a.py"});
	fake((struct fake){.pid = 14, .ppid = 10, .ticks = 2, .exe = "/usr/bin/python3", .args = "python3 a.py"});
	assert_instance(processes_get(p, 11, 0)->service, "%s:11:2", host());
	assert_instance(processes_get(p, 12, 0)->service, "%s:12:2", host());
	assert_instance(processes_get(p, 13, 0)->service, "%s:13:2", host());
	assert_instance(processes_get(p, 14, 0)->service, "%s:10:1", host());
	processes_free(p);
}

static void test_python_pool_goes_by_its_parents_name(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	static const char code[] = "python3\0-c\0from multiprocessing.spawn import spawn_main\0--multiprocessing-fork";

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 1, .exe = "/usr/bin/python3", .args = "python3 shop.py"});
	fake((struct fake){.pid = 11, .ppid = 10, .ticks = 2, .exe = "/usr/bin/python3"});
	put(11, "cmdline", code, sizeof(code));
	assert_string_equal(processes_get(p, 11, 0)->service->name, "shop");
	assert_ptr_equal(processes_get(p, 11, 0)->service, processes_get(p, 10, 0)->service);
	processes_free(p);
}

static void test_exec_and_seed(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct process_seed seed = {.pid = 10,
				    .ppid = 5,
				    .uid = 7,
				    .start_ns = 300 * TICK + 12345,
				    .comm = "server",
				    .exe = "./server",
				    .args = STR("./server\0-x\0"),
				    .environ = STR("OTEL_SERVICE_NAME=seeded\0")};
	struct process *proc = processes_exec(p, &seed, 0);

	/* nothing in /proc: gone already, or hidden */
	assert_string_equal(proc->service->name, "seeded");
	assert_int_equal(proc->uid, 7);
	assert_int_equal(proc->ppid, 5);
	assert_string_equal(proc->exe, "./server");
	assert_string_equal(proc->executable_name, "server");
	assert_string_equal(proc->comm, "server");
	assert_instance(proc->service, "%s:10:8c", host());
	/* /proc knows more: it wins */
	fake((struct fake){.pid = 10,
			   .ppid = 5,
			   .uid = 8,
			   .ticks = 300,
			   .exe = "/srv/server",
			   .args = "./server -x",
			   .environ = "A=b"});
	proc = processes_exec(p, &seed, 0);
	assert_string_equal(proc->service->name, "server");
	assert_int_equal(proc->uid, 8);
	assert_instance(proc->service, "%s:10:8c", host());
	/* /proc shows a later owner of the pid: only the seed is true */
	fake((struct fake){.pid = 10, .ppid = 5, .uid = 9, .ticks = 900, .exe = "/srv/other", .args = "other"});
	proc = processes_exec(p, &seed, 0);
	assert_string_equal(proc->service->name, "seeded");
	assert_string_equal(proc->exe, "./server");
	/* a script's event names the script; what runs is in argv[0] */
	seed = (struct process_seed){.pid = 77,
				     .start_ns = 1,
				     .comm = "gunicorn",
				     .exe = "/usr/bin/gunicorn",
				     .args = STR("/usr/bin/python3\0/usr/bin/gunicorn\0shop.main:app\0")};
	proc = processes_exec(p, &seed, 0);
	assert_string_equal(proc->exe, "/usr/bin/python3");
	assert_string_equal(proc->service->name, "shop.main");
	processes_free(p);
}

/* Directory there, files not: what hidepid=1 and a lack of rights look like. */
static void test_unreadable_files(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct process_seed seed = {.pid = 10,
				    .ppid = 1,
				    .start_ns = 5 * TICK,
				    .comm = "shopd",
				    .exe = "/opt/shopd",
				    .args = STR("/opt/shopd\0")};
	char path[128];
	struct process *proc;

	snprintf(path, sizeof(path), "%s/10", root);
	assert_int_equal(mkdir(path, 0755), 0);
	proc = processes_exec(p, &seed, 0);
	assert_string_equal(proc->service->name, "shopd");
	/* hidden processes are not taken for dead */
	for (int i = 1; i < 100; i++)
		processes_expire(p, (uint64_t)i * SEC);
	assert_ptr_equal(processes_get(p, 10, 100 * SEC), proc);
	assert_false(proc->exited);
	/* only the status line can be read: the command's name is all there is */
	fake((struct fake){.pid = 20, .ppid = 1, .ticks = 5, .comm = "shy"});
	assert_string_equal(processes_get(p, 20, 0)->service->name, "shy");
	assert_string_equal(processes_get(p, 20, 0)->exe, "");
	processes_free(p);
}

static void test_unknown(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct process *proc = processes_get(p, 4242, 0);

	assert_non_null(proc);
	assert_string_equal(proc->service->name, "unknown");
	assert_string_equal(proc->exe, "");
	assert_ptr_equal(processes_get(p, 4243, 0), proc);
	assert_int_equal(processes_count(p), 0);
	assert_int_equal(processes_judge_port(p, proc, 80), RULE_NONE);
	processes_exit(p, 4242, 0);
	processes_free(p);
}

static void test_re_exec_keeps_the_instance(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct process_seed seed = {.pid = 11, .ppid = 10, .start_ns = 20 * TICK, .comm = "x", .exe = ""};
	struct service *s;

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 10, .exe = "/usr/bin/prog", .args = "prog"});
	fake((struct fake){.pid = 11, .ppid = 10, .ticks = 20, .exe = "/usr/bin/prog", .args = "prog"});
	s = processes_get(p, 11, 0)->service;
	assert_ptr_equal(s, processes_get(p, 10, 0)->service);
	/* its parent is gone, then it starts itself anew */
	processes_exit(p, 10, 0);
	gone(10);
	fake((struct fake){.pid = 11, .ppid = 1, .ticks = 20, .exe = "/usr/bin/prog", .args = "prog --reloaded"});
	processes_expire(p, 31 * SEC);
	assert_int_equal(processes_count(p), 1);
	assert_ptr_equal(processes_exec(p, &seed, 32 * SEC)->service, s);
	/* something else now */
	fake((struct fake){.pid = 11, .ppid = 1, .ticks = 20, .exe = "/usr/bin/else", .args = "else"});
	assert_string_equal(processes_exec(p, &seed, 33 * SEC)->service->name, "else");
	assert_instance(processes_get(p, 11, 33 * SEC)->service, "%s:11:k", host());
	processes_free(p);
}

static void test_pid_reuse(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct process_seed seed = {.pid = 10,
				    .ppid = 1,
				    .start_ns = 77 * TICK,
				    .comm = "new",
				    .exe = "/usr/bin/new",
				    .args = STR("new\0")};
	struct process *proc;

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 10, .exe = "/usr/bin/old", .args = "old"});
	processes_get(p, 10, 0);
	processes_exit(p, 10, SEC);
	/* events that are late still find it */
	assert_string_equal(processes_get(p, 10, SEC + 1)->service->name, "old");
	assert_true(processes_get(p, 10, SEC + 1)->exited);
	/* a new process, and we are told */
	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 77, .exe = "/usr/bin/new", .args = "new"});
	proc = processes_exec(p, &seed, 2 * SEC);
	assert_string_equal(proc->service->name, "new");
	assert_false(proc->exited);
	assert_int_equal(processes_count(p), 1);
	/* and another one, and we are not: found by looking again after a second */
	processes_exit(p, 10, 3 * SEC);
	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 99, .exe = "/usr/bin/third", .args = "third"});
	assert_string_equal(processes_get(p, 10, 3 * SEC + 1)->service->name, "new");
	assert_string_equal(processes_get(p, 10, 4 * SEC)->service->name, "third");
	/* its exit is lost as well: the sweep sees another start */
	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 111, .exe = "/usr/bin/fourth", .args = "fourth"});
	processes_expire(p, 5 * SEC);
	assert_true(processes_get(p, 10, 5 * SEC)->exited);
	assert_string_equal(processes_get(p, 10, 6 * SEC)->service->name, "fourth");
	processes_free(p);
}

/* A parent's pid that has a new owner, younger than the child, is no parent. */
static void test_reused_parent_pid(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 500, .exe = "/usr/bin/prog", .args = "prog"});
	fake((struct fake){.pid = 11, .ppid = 10, .ticks = 20, .exe = "/usr/bin/prog", .args = "prog"});
	assert_instance(processes_get(p, 11, 0)->service, "%s:11:k", host());
	processes_free(p);
}

static void test_parents_in_a_circle(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);

	fake((struct fake){.pid = 10, .ppid = 11, .ticks = 1, .exe = "/usr/bin/prog", .args = "prog"});
	fake((struct fake){.pid = 11, .ppid = 10, .ticks = 1, .exe = "/usr/bin/prog", .args = "prog"});
	fake((struct fake){.pid = 12, .ppid = 12, .ticks = 1, .exe = "/usr/bin/prog", .args = "prog"});
	assert_string_equal(processes_get(p, 10, 0)->service->name, "prog");
	assert_string_equal(processes_get(p, 12, 0)->service->name, "prog");
	processes_reconfigure(p, &c);
	assert_string_equal(processes_get(p, 11, 0)->service->name, "prog");
	/* a chain that is longer than is followed */
	for (uint32_t i = 100; i < 300; i++)
		fake((struct fake){.pid = i, .ppid = i - 1, .ticks = 1, .exe = "/usr/bin/chain", .args = "chain"});
	assert_string_equal(processes_get(p, 299, 0)->service->name, "chain");
	processes_free(p);
}

static void test_grace(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 1, .exe = "/usr/bin/a", .args = "a"});
	processes_get(p, 10, 0);
	processes_exit(p, 10, 5 * SEC);
	processes_exit(p, 10, 9 * SEC); /* told twice: the first counts */
	processes_expire(p, 35 * SEC - 1);
	assert_int_equal(processes_count(p), 1);
	processes_expire(p, 35 * SEC);
	assert_int_equal(processes_count(p), 0);
	/* lost exit: found by the sweep, then the same grace */
	processes_get(p, 10, 36 * SEC);
	processes_fork(p, 10, 11, 36 * SEC);
	gone(10);
	processes_expire(p, 40 * SEC);
	assert_int_equal(processes_count(p), 2);
	assert_true(processes_get(p, 11, 40 * SEC)->exited);
	processes_expire(p, 70 * SEC);
	assert_int_equal(processes_count(p), 0);
	processes_free(p);
}

static void test_late_fork_event(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 1, .exe = "/usr/bin/bash", .args = "bash"});
	fake((struct fake){.pid = 11, .ppid = 10, .ticks = 5, .exe = "/usr/bin/prog", .args = "prog"});
	processes_get(p, 11, 0);
	/* the record is further on than the event */
	assert_string_equal(processes_fork(p, 10, 11, 0)->service->name, "prog");
	/* a fork of a parent that was never seen */
	fake((struct fake){.pid = 21, .ppid = 20, .ticks = 5, .exe = "/usr/bin/prog2", .args = "prog2"});
	assert_string_equal(processes_fork(p, 20, 21, 0)->service->name, "prog2");
	/* and one whose child is gone as well */
	assert_string_equal(processes_fork(p, 30, 31, 0)->service->name, "unknown");
	processes_free(p);
}

static void test_budget(void **state)
{
	struct config c = config_with(NULL, 0);
	struct process_seed seed = {.ppid = 1, .comm = "p", .exe = "/usr/bin/p"};
	struct processes *p;
	struct process *proc;

	c.max_processes = 3;
	p = make(&c);
	for (seed.pid = 100; seed.pid < 103; seed.pid++)
		processes_exec(p, &seed, 0);
	/* all alive: refused, and said so */
	proc = processes_exec(p, &seed, 0);
	assert_string_equal(proc->service->name, "unknown");
	assert_string_equal(processes_fork(p, 100, 200, 0)->service->name, "unknown");
	assert_int_equal(processes_count(p), 3);
	assert_int_equal(processes_refused(p), 2);
	/* the one that exited first makes room */
	processes_exit(p, 101, SEC);
	processes_exit(p, 100, 2 * SEC);
	assert_int_equal(processes_exec(p, &seed, 0)->pid, 103);
	assert_string_equal(processes_get(p, 101, SEC)->service->name, "unknown");
	assert_int_equal(processes_get(p, 100, SEC)->pid, 100);
	/* the parent itself is the one that has to go: its child inherits all the same */
	proc = processes_fork(p, 100, 200, SEC);
	assert_int_equal(proc->pid, 200);
	assert_string_equal(proc->exe, "/usr/bin/p");
	assert_int_equal(processes_count(p), 3);
	processes_free(p);
}

static void test_services_are_shared_and_freed(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	struct service *held;
	uint32_t id;

	fake((struct fake){
		.pid = 10, .ppid = 1, .ticks = 1, .exe = "/bin/a", .args = "a", .cgroup = "/system.slice/a.service"});
	held = service_ref(processes_get(p, 10, 0)->service);
	id = held->id;
	assert_int_equal(processes_service_count(p), 2); /* and "unknown" */
	processes_exit(p, 10, 0);
	processes_expire(p, 40 * SEC);
	assert_int_equal(processes_count(p), 0);
	/* a series still holds it: the unit comes back as the same object */
	assert_int_equal(processes_service_count(p), 2);
	fake((struct fake){
		.pid = 11, .ppid = 1, .ticks = 9, .exe = "/bin/a", .args = "a", .cgroup = "/system.slice/a.service"});
	assert_ptr_equal(processes_get(p, 11, 41 * SEC)->service, held);
	processes_exit(p, 11, 41 * SEC);
	processes_expire(p, 80 * SEC);
	/* the last one lets go, in whatever thread: the next expiry drops it */
	service_unref(held);
	processes_expire(p, 81 * SEC);
	assert_int_equal(processes_service_count(p), 1);
	assert_int_not_equal(processes_get(p, 11, 82 * SEC)->service->id, id);
	/* references outlive the table */
	held = service_ref(processes_get(p, 11, 82 * SEC)->service);
	processes_free(p);
	assert_string_equal(held->name, "a");
	service_unref(held);
}

static void test_churn(void **state)
{
	struct config c = config_with(NULL, 0);
	struct process_seed seed = {.ppid = 1, .comm = "job"};
	struct processes *p;
	char exe[32];

	c.max_processes = 2000;
	p = make(&c);
	for (uint32_t i = 0; i < 50000; i++) {
		uint64_t now = i * (SEC / 10000);

		seed.pid = 1000 + i % 30000;
		seed.start_ns = (i + 1) * TICK;
		snprintf(exe, sizeof(exe), "/bin/job-%u", i);
		seed.exe = exe;
		assert_string_equal(processes_exec(p, &seed, now)->executable_name, exe + 5);
		assert_int_equal(processes_fork(p, seed.pid, 60000 + i % 100, now)->ppid, seed.pid);
		processes_exit(p, 60000 + i % 100, now);
		processes_exit(p, seed.pid, now);
		assert_true(processes_count(p) <= 2000);
		assert_true(processes_service_count(p) <= 2001);
		if (i % 10000 == 0)
			processes_expire(p, now);
	}
	assert_int_equal(processes_count(p), 2000);
	assert_int_equal(processes_refused(p), 0);
	processes_expire(p, 100 * SEC);
	assert_int_equal(processes_count(p), 0);
	assert_int_equal(processes_service_count(p), 1);
	processes_free(p);
}

/* Rules */

static enum process_verdict verdict(struct rule *rules, size_t n, uint32_t pid)
{
	struct config c = config_with(rules, n);
	struct processes *p = make(&c);
	enum process_verdict v = processes_get(p, pid, 0)->verdict;

	processes_free(p);
	return v;
}

static void test_rules(void **state)
{
	struct rule exclude_all = {ANY, .exe = "*", .action = RULE_EXCLUDE};
	struct rule include_shop = {ANY, .exe = "/opt/shop*", .action = RULE_INCLUDE};
	struct rule other_uid = {.uid = 34, .port = -1, .action = RULE_EXCLUDE};
	struct rule this_uid = {.uid = 33, .port = -1, .action = RULE_EXCLUDE};
	struct rule in_slice = {ANY, .cgroup = "/a.slice", .action = RULE_EXCLUDE};
	struct rule near_slice = {ANY, .cgroup = "/a.sli", .action = RULE_EXCLUDE};
	struct rule odd_cgroup = {ANY, .cgroup = "/a.slice/b\\x2dc.service", .action = RULE_EXCLUDE};
	struct rule env = {ANY, .env = "APP=shop*", .action = RULE_EXCLUDE};
	struct rule both = {.uid = 33, .port = -1, .env = "APP=bank", .action = RULE_EXCLUDE};
	struct rule port = {.uid = -1, .port = 80, .action = RULE_EXCLUDE};
	struct rule port_in = {.uid = -1, .port = 80, .exe = "/opt/shop*", .action = RULE_INCLUDE};

	fake((struct fake){.pid = 10,
			   .ppid = 1,
			   .uid = 33,
			   .ticks = 1,
			   .exe = "/opt/shop/shopd",
			   .args = "shopd",
			   .environ = "X=1 APP=shop-eu",
			   .cgroup = "/a.slice/b\\x2dc.service"});
	fake((struct fake){.pid = 11, .ppid = 1, .uid = 0, .ticks = 1, .exe = "/usr/bin/other", .args = "other"});

	assert_int_equal(verdict(&exclude_all, 1, 10), VERDICT_EXCLUDE);
	assert_int_equal(verdict(&include_shop, 1, 10), VERDICT_INCLUDE);
	assert_int_equal(verdict(&include_shop, 1, 11), VERDICT_EXCLUDE);
	assert_int_equal(verdict((struct rule[]){include_shop, exclude_all}, 2, 10), VERDICT_INCLUDE);
	assert_int_equal(verdict((struct rule[]){exclude_all, include_shop}, 2, 10), VERDICT_EXCLUDE);
	assert_int_equal(verdict(&other_uid, 1, 10), VERDICT_INCLUDE);
	assert_int_equal(verdict(&this_uid, 1, 10), VERDICT_EXCLUDE);
	assert_int_equal(verdict(&in_slice, 1, 10), VERDICT_EXCLUDE);
	assert_int_equal(verdict(&near_slice, 1, 10), VERDICT_INCLUDE);
	assert_int_equal(verdict(&odd_cgroup, 1, 10), VERDICT_EXCLUDE);
	assert_int_equal(verdict(&env, 1, 10), VERDICT_EXCLUDE);
	assert_int_equal(verdict(&env, 1, 11), VERDICT_INCLUDE);
	assert_int_equal(verdict(&both, 1, 10), VERDICT_INCLUDE);
	/* a port is not a process's */
	assert_int_equal(verdict(&port, 1, 10), VERDICT_INCLUDE);
	assert_int_equal(verdict((struct rule[]){port_in, exclude_all}, 2, 10), VERDICT_INCLUDE);
	assert_int_equal(verdict((struct rule[]){port_in, exclude_all}, 2, 11), VERDICT_EXCLUDE);
	assert_int_equal(verdict(&port_in, 1, 11), VERDICT_INCLUDE);
}

static void test_rules_with_ports(void **state)
{
	struct rule rules[] = {
		{.uid = -1, .port = 80, .exe = "/opt/shop*", .action = RULE_INCLUDE},
		{.uid = -1, .port = 81, .env = "APP=shop", .action = RULE_EXCLUDE},
		{.uid = -1, .port = 82, .service_name = "no"},
		{ANY, .exe = "/opt/*", .action = RULE_EXCLUDE},
	};
	struct config c = config_with(rules, 4), only_exclude = config_with(rules + 1, 1);
	struct processes *p = make(&c);
	struct process *proc;

	fake((struct fake){
		.pid = 10, .ppid = 1, .ticks = 1, .exe = "/opt/shop/shopd", .args = "shopd", .environ = "APP=shop"});
	fake((struct fake){.pid = 11, .ppid = 1, .ticks = 1, .exe = "/usr/bin/x", .args = "x"});
	proc = processes_get(p, 10, 0);
	assert_string_equal(proc->service->name, "shopd");
	assert_int_equal(processes_judge_port(p, proc, 80), RULE_INCLUDE);
	assert_int_equal(processes_judge_port(p, proc, 81), RULE_EXCLUDE);
	assert_int_equal(processes_judge_port(p, proc, 83), RULE_EXCLUDE);
	/* no rule speaks of it, but some include: only what they name is wanted */
	assert_int_equal(processes_judge_port(p, processes_get(p, 11, 0), 80), RULE_EXCLUDE);
	processes_free(p);

	p = make(&only_exclude);
	proc = processes_get(p, 10, 0);
	assert_int_equal(processes_judge_port(p, proc, 80), RULE_NONE);
	assert_int_equal(processes_judge_port(p, proc, 81), RULE_EXCLUDE);
	processes_free(p);
}

static void test_rules_that_need_user_space(void **state)
{
	struct rule exe = {ANY, .exe = "x", .action = RULE_EXCLUDE}, env = {ANY, .env = "x", .action = RULE_INCLUDE};
	struct rule rename = {ANY, .exe = "x", .service_name = "y"},
		    uid = {.uid = 1, .port = -1, .action = RULE_EXCLUDE};
	struct rule cgroup = {ANY, .cgroup = "/a", .action = RULE_EXCLUDE},
		    glob = {ANY, .cgroup = "/a*", .action = RULE_EXCLUDE};
	struct {
		struct rule *r;
		bool need;
	} rows[] = {{&exe, 1}, {&env, 1}, {&rename, 0}, {&uid, 0}, {&cgroup, 0}, {&glob, 1}};
	struct config none = config_with(NULL, 0);

	assert_false(processes_rules_need_user(&none));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct config c = config_with(rows[i].r, 1);

		assert_int_equal(processes_rules_need_user(&c), rows[i].need);
	}
}

static void test_reconfigure(void **state)
{
	struct rule rename[] = {
		{ANY, .exe = "/nothing", .action = RULE_EXCLUDE},
		{ANY, .exe = "/nothing2", .action = RULE_EXCLUDE},
		{ANY, .exe = "/nothing3", .action = RULE_EXCLUDE},
		{ANY, .env = "APP=shop", .service_name = "shop", .service_namespace = "eu"},
		{ANY, .exe = "/usr/bin/other", .action = RULE_EXCLUDE},
	};
	struct config before = config_with(NULL, 0), after = config_with(rename, ARRAY_SIZE(rename));
	struct processes *p = make(&before);
	struct service *old;

	fake((struct fake){
		.pid = 10, .ppid = 1, .ticks = 1, .exe = "/usr/bin/prog", .args = "prog", .environ = "APP=shop"});
	fake((struct fake){.pid = 11, .ppid = 1, .ticks = 1, .exe = "/usr/bin/other", .args = "other"});
	fake((struct fake){.pid = 13,
			   .ppid = 1,
			   .ticks = 1,
			   .exe = "/usr/bin/named",
			   .args = "named",
			   .environ = "APP=shop OTEL_SERVICE_NAME=mine"});
	processes_get(p, 10, 0);
	processes_get(p, 11, 0);
	processes_get(p, 13, 0);
	processes_fork(p, 10, 12, 0);
	old = service_ref(processes_get(p, 10, 0)->service);

	processes_reconfigure(p, &after);
	assert_string_equal(processes_get(p, 10, 0)->service->name, "shop");
	assert_string_equal(processes_get(p, 10, 0)->service->namespace_, "eu");
	assert_ptr_equal(processes_get(p, 12, 0)->service, processes_get(p, 10, 0)->service);
	assert_int_equal(processes_get(p, 11, 0)->verdict, VERDICT_EXCLUDE);
	assert_string_equal(processes_get(p, 13, 0)->service->name, "mine");
	assert_string_equal(old->name, "prog");

	/* and back: the same object as before, for somebody still has it */
	processes_reconfigure(p, &before);
	assert_ptr_equal(processes_get(p, 10, 0)->service, old);
	assert_ptr_equal(processes_get(p, 12, 0)->service, old);
	assert_int_equal(processes_get(p, 11, 0)->verdict, VERDICT_INCLUDE);
	service_unref(old);
	processes_free(p);
}

/* Files of the process's own */

static const char mounts[] = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /mnt\\040x rw shared:1 - nfs4 h:/ rw\n";

static void node_in(const char *cwd, const char *mountinfo, const char *expected)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = make(&c);
	char dir[128];

	fake((struct fake){.pid = 10, .ppid = 1, .ticks = 1, .exe = "/usr/bin/node", .args = "node x.js"});
	snprintf(dir, sizeof(dir), "%s/box", root);
	put_link(10, "root", dir);
	put_link(10, "cwd", cwd);
	put(10, "mountinfo", mountinfo, strlen(mountinfo));
	assert_string_equal(processes_get(p, 10, 0)->service->name, expected);
	processes_free(p);
}

static void box(const char *command)
{
	char line[512];

	snprintf(line, sizeof(line), "mkdir -p %s/box && cd %s/box && %s", root, root, command);
	assert_int_equal(system(line), 0);
}

static void test_package_json_in_a_container(void **state)
{
	static const char local[] = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
	char path[128];
	int fifo;

	box("mkdir -p app linked fifo big 'mnt x/app' out && echo '{\"name\": \"boxed\"}' > app/package.json");
	node_in("/app", local, "boxed");
	/* a link leads to where it leads inside the process's root, never outside */
	box("ln -s /app/package.json linked/package.json && ln -s ../../../../app/package.json out/package.json");
	node_in("/linked", local, "boxed");
	node_in("/out", local, "boxed");
	box("ln -sf package.json app/loop && rm -f linked/package.json && ln -s package.json linked/package.json");
	node_in("/linked", local, "x");
	box("ln -sf /etc/hostname linked/package.json");
	node_in("/linked", local, "x");
	/* what is no file is not opened */
	box("mkfifo fifo/package.json");
	node_in("/fifo", local, "x");
	snprintf(path, sizeof(path), "%s/box/fifo/package.json", root);
	fifo = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(write(fifo, "{\"name\": \"piped\"}", 17), 17);
	node_in("/fifo", local, "x");
	close(fifo);
	/* only the first 64 KiB are read */
	box("(printf '{\"a\": \"'; head -c 70000 /dev/zero | tr '\\0' x; echo '\", \"name\": \"late\"}') > "
	    "big/package.json");
	node_in("/big", local, "x");
	/* a network's file system, or one that the process made itself, may answer never */
	box("cp app/package.json 'mnt x/app/'");
	node_in("/mnt x/app", local, "boxed");
	node_in("/mnt x/app", mounts, "x");
	node_in("/app", mounts, "boxed");
	box("ln -sf /app/package.json linked/package.json");
	node_in("/linked", mounts, "x");
	node_in("/app", "22 1 0:9 / / rw - fuse.thing x rw\n", "x");
	node_in("/app", "22 1 0:9 / / rw - fuse.thing x rw\n24 22 8:1 / /app rw - ext4 x rw\n", "boxed");
}

static void test_chroot(void **state)
{
	char cwd[128];

	box("mkdir -p app && echo '{\"name\": \"boxed\"}' > app/package.json");
	snprintf(cwd, sizeof(cwd), "%s/box/app", root);
	node_in(cwd, "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "boxed");
}

/* The real /proc */

static pid_t start(char *const argv[], char *const envp[])
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execve(argv[0], argv, envp);
		_exit(127);
	}
	/* the pipe closes when the new program runs */
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 0);
	close(ready[0]);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_real_child(void **state)
{
	char *argv[] = {"/bin/sleep", "60", NULL};
	char *envp[] = {"A=b", "OTEL_RESOURCE_ATTRIBUTES=service.namespace=eu,service.version=3",
			"OTEL_SERVICE_NAME=real", NULL};
	struct config c = config_with(NULL, 0);
	struct processes *p = processes_new(&c, "/proc");
	pid_t pid = start(argv, envp);
	struct process *proc = processes_get(p, (uint32_t)pid, 0);
	struct timespec now;

	assert_int_equal(proc->pid, pid);
	assert_int_equal(proc->ppid, getpid());
	assert_int_equal(proc->uid, getuid());
	assert_string_equal(proc->comm, "sleep");
	assert_string_equal(proc->service->name, "real");
	assert_string_equal(proc->service->namespace_, "eu");
	assert_string_equal(attr(proc->service, "service.version"), "3");
	assert_string_equal(attr(proc->service, "process.command"), "/bin/sleep");
	clock_gettime(CLOCK_BOOTTIME, &now);
	assert_true(proc->start_ns <= (uint64_t)now.tv_sec * SEC + (uint64_t)now.tv_nsec);
	assert_true(proc->start_ns + 60 * SEC > (uint64_t)now.tv_sec * SEC);
	/* this test is its parent, and another service */
	assert_ptr_not_equal(processes_get(p, (uint32_t)getpid(), 0)->service, proc->service);
	assert_string_equal(processes_get(p, (uint32_t)getpid(), 0)->executable_name, "test_processes");
	stop(pid);
	processes_exit(p, (uint32_t)pid, 0);
	assert_string_equal(processes_get(p, (uint32_t)pid, 5 * SEC)->service->name, "real");
	processes_free(p);
}

static void test_real_worker(void **state)
{
	struct config c = config_with(NULL, 0);
	struct processes *p = processes_new(&c, "/proc");
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_ptr_equal(processes_get(p, (uint32_t)pid, 0)->service, processes_get(p, (uint32_t)getpid(), 0)->service);
	stop(pid);
	processes_free(p);
}

struct seen {
	struct processes *p;
	uint32_t child;
	int self, child_seen, total;
};

static void see(void *ctx, struct process *proc)
{
	struct seen *s = ctx;

	s->total++;
	s->self += proc->pid == (uint32_t)getpid();
	s->child_seen += proc->pid == s->child;
	assert_non_null(proc->service);
	assert_int_not_equal(proc->service->name[0], 0);
}

static void test_real_scan(void **state)
{
	char *argv[] = {"/bin/sleep", "60", NULL}, *envp[] = {NULL};
	struct config c = config_with(NULL, 0);
	struct seen s = {.p = processes_new(&c, "/proc")};
	pid_t pid = start(argv, envp);

	s.child = (uint32_t)pid;
	c.max_processes = 32768;
	assert_int_equal(processes_scan(s.p, see, &s, 0), 0);
	assert_int_equal(s.self, 1);
	assert_int_equal(s.child_seen, 1);
	assert_true(processes_count(s.p) >= (size_t)s.total);
	stop(pid);
	processes_free(s.p);
}

static void test_scan_leaves_out_kernel_threads(void **state)
{
	struct config c = config_with(NULL, 0);
	struct seen s = {.p = make(&c), .child = 11};

	fake((struct fake){.pid = 10, .ppid = 2, .ticks = 1, .comm = "kworker/0:1", .flags = 0x00200040});
	fake((struct fake){.pid = 11, .ppid = 1, .ticks = 1, .exe = "/usr/bin/x", .args = "x"});
	assert_int_equal(processes_scan(s.p, see, &s, 0), 0);
	assert_int_equal(s.total, 1);
	assert_int_equal(s.child_seen, 1);
	processes_free(s.p);
}

static void test_bad_root(void **state)
{
	struct config c = config_with(NULL, 0);

	errno = 0;
	assert_null(processes_new(&c, "/nonexistent"));
	assert_int_equal(errno, ENOENT);
	processes_free(NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_stat_line),
		T(test_reads_everything),
		T(test_order_of_names),
		T(test_instances),
		T(test_containers),
		T(test_workers_share_the_masters_service),
		T(test_other_programs_have_services_of_their_own),
		T(test_python_pool_goes_by_its_parents_name),
		T(test_exec_and_seed),
		T(test_unreadable_files),
		T(test_unknown),
		T(test_re_exec_keeps_the_instance),
		T(test_pid_reuse),
		T(test_reused_parent_pid),
		T(test_parents_in_a_circle),
		T(test_grace),
		T(test_late_fork_event),
		T(test_budget),
		T(test_services_are_shared_and_freed),
		T(test_churn),
		T(test_rules),
		T(test_rules_with_ports),
		T(test_rules_that_need_user_space),
		T(test_reconfigure),
		T(test_package_json_in_a_container),
		T(test_chroot),
		T(test_real_child),
		T(test_real_worker),
		T(test_real_scan),
		T(test_scan_leaves_out_kernel_threads),
		T(test_bad_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
