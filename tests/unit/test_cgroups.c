// SPDX-License-Identifier: Apache-2.0
/* Real shapes of /proc/PID/cgroup, by runtime and hierarchy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "user/enrich/cgroups.h"

#define ID1  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID2  "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define TASK "0123456789abcdef0123456789abcdef"

static void assert_str(struct str s, const char *expected)
{
	char text[512];

	assert_true(s.len < sizeof(text));
	memcpy(text, s.len ? s.p : "", s.len);
	text[s.len] = 0;
	assert_string_equal(text, expected);
}

static const struct {
	const char *path, *id, *name, *unit;
} paths[] = {
	{"/", "", "", ""},
	{"/system.slice/nginx.service", "", "", "nginx.service"},
	{"/system.slice/system-shop.slice/shop@eu.service", "", "", "shop@eu.service"},
	{"/system.slice/my\\x2dapp.service", "", "", "my\\x2dapp.service"},
	{"/user.slice/user-1000.slice/session-3.scope", "", "", ""},
	{"/user.slice/user-1000.slice/user@1000.service/init.scope", "", "", ""},
	{"/user.slice/user-1000.slice/user@1000.service/app.slice/notes.service", "", "", "notes.service"},
	{"/system.slice/nginx.service/workers", "", "", "nginx.service"},
	{"/docker/" ID1, ID1, "", ""},
	{"/system.slice/docker-" ID1 ".scope", ID1, "", ""},
	{"/system.slice/docker-" ID1 ".scope/init.scope", ID1, "", ""},
	{"/docker/" ID1 "/docker/" ID2, ID2, "", ""},
	{"/docker/" ID1 "/system.slice/nginx.service", ID1, "", "nginx.service"},
	{"/kubepods/besteffort/pod8f1e2a3b-0000-1111-2222-333344445555/" ID1, ID1, "", ""},
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8f1e.slice/cri-containerd-" ID1 ".scope", ID1,
	 "", ""},
	{"/kubepods.slice/kubepods-pod1.slice/crio-" ID1 ".scope", ID1, "", ""},
	{"/kubepods.slice/kubepods-pod1.slice/crio-conmon-" ID1 ".scope", "", "", ""},
	{"/machine.slice/libpod-" ID1 ".scope", ID1, "", ""},
	{"/machine.slice/libpod-" ID1 ".scope/container", ID1, "", ""},
	{"/machine.slice/libpod-conmon-" ID1 ".scope", "", "", ""},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID1 ".scope", ID1, "", ""},
	{"/system.slice/shop.service/libpod-payload-" ID1, ID1, "", "shop.service"},
	{"/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:" ID1, ID1, "", ""},
	{"/system.slice/containerd.service", "", "", "containerd.service"},
	{"/docker/buildkit/abcdefghijklmnopqrstuvwx0", "abcdefghijklmnopqrstuvwx0", "", ""},
	{"/buildkit/" ID1, ID1, "", ""},
	{"/ecs/" TASK "/" ID1, ID1, "", ""},
	{"/ecs/" TASK "/" TASK "-1234567890", TASK "-1234567890", "", ""},
	{"/ecs/" TASK, "", "", ""},
	{"/process/" TASK "-1234567890", "", "", ""},
	{"/lxc.payload.web", "", "web", ""},
	{"/lxc.payload.web/system.slice/nginx.service", "", "web", "nginx.service"},
	{"/lxc.payload/web", "", "web", ""},
	{"/lxc/web", "", "web", ""},
	{"/lxc.monitor.web", "", "", ""},
	{"/../../docker-" ID1 ".scope", ID1, "", ""},
	{"/../nginx.service", "", "", "nginx.service"},
	/* look alike */
	{"/docker/0123456789abcdef", "", "", ""},
	{"/x" ID1, "", "", ""},
	{"/" ID1 "0", "", "", ""},
	{"/docker/0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", "", "", ""},
	{"/.service", "", "", ""},
	{"/process_api/0a74cc7e9bacabe715b2ad17a54d0c86", "", "", ""},
};

static void test_paths(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct cgroup_facts f;

		cgroups_parse_path(str_of(paths[i].path), &f);
		print_message("%s\n", paths[i].path);
		assert_str(f.path, paths[i].path);
		assert_str(f.container_id, paths[i].id);
		assert_str(f.container_name, paths[i].name);
		assert_str(f.unit, paths[i].unit);
	}
}

static void parse(const char *text, struct cgroup_facts *f)
{
	cgroups_parse(str_of(text), f);
}

static void test_unified(void **state)
{
	struct cgroup_facts f;

	parse("0::/system.slice/nginx.service\n", &f);
	assert_str(f.path, "/system.slice/nginx.service");
	assert_str(f.unit, "nginx.service");
	/* the kernel ends each line; a text that was cut does not */
	parse("0::/system.slice/nginx.service", &f);
	assert_str(f.unit, "nginx.service");
}

static void test_v1_takes_the_line_that_tells_most(void **state)
{
	struct cgroup_facts f;

	parse("12:pids:/system.slice/nginx.service\n"
	      "3:cpu,cpuacct:/\n"
	      "1:name=systemd:/system.slice/nginx.service\n"
	      "0::/\n",
	      &f);
	assert_str(f.path, "/system.slice/nginx.service");
	assert_str(f.unit, "nginx.service");

	parse("4:memory:/docker/" ID1 "\n1:name=systemd:/docker/" ID1 "\n0::/system.slice/containerd.service\n", &f);
	assert_str(f.container_id, ID1);
	assert_str(f.path, "/docker/" ID1);
	assert_str(f.unit, "");

	parse("9:name=systemd:/\n4:memory:/process_api/0a74\n0::/\n", &f);
	assert_str(f.path, "/process_api/0a74");
	assert_str(f.unit, "");

	parse("9:name=systemd:/\n4:memory:/\n0::/\n", &f);
	assert_str(f.path, "/");
}

static void test_unified_wins_among_equals(void **state)
{
	struct cgroup_facts f;

	parse("2:pids:/a\n1:name=systemd:/b\n0::/c\n", &f);
	assert_str(f.path, "/c");
	parse("2:pids:/a\n1:name=systemd:/b\n", &f);
	assert_str(f.path, "/b");
	parse("2:pids:/a/x.service\n1:name=systemd:/b/y.service\n", &f);
	assert_str(f.path, "/b/y.service");
	assert_str(f.unit, "y.service");
}

static void test_unit_and_container_from_different_lines(void **state)
{
	struct cgroup_facts f;

	parse("4:memory:/docker/" ID1 "\n1:name=systemd:/system.slice/shop.service\n", &f);
	assert_str(f.container_id, ID1);
	assert_str(f.unit, "shop.service");
	assert_str(f.path, "/docker/" ID1);
}

static void test_colons_in_paths(void **state)
{
	struct cgroup_facts f;

	parse("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" ID1 "\n", &f);
	assert_str(f.container_id, ID1);
	assert_str(f.unit, "");
}

static void test_rubbish(void **state)
{
	static const char *const texts[] = {"",
					    "\n",
					    ":",
					    "::",
					    "0:",
					    "0::",
					    "0::x",
					    "nonsense\n\n\n",
					    "0:"
					    "\n"
					    "1:"};
	struct cgroup_facts f;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		parse(texts[i], &f);
		assert_int_equal(f.path.len + f.unit.len + f.container_id.len + f.container_name.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_unified),
		cmocka_unit_test(test_v1_takes_the_line_that_tells_most),
		cmocka_unit_test(test_unified_wins_among_equals),
		cmocka_unit_test(test_unit_and_container_from_different_lines),
		cmocka_unit_test(test_colons_in_paths),
		cmocka_unit_test(test_rubbish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
