/* SPDX-License-Identifier: Apache-2.0 */
/* Real processes of our own: a parent, its child and grandchild. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "user/scope.h"

struct family {
	int parent, child, grandchild, other;
};

static int sleeper(void)
{
	int pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static int setup(void **state)
{
	struct family *f = calloc(1, sizeof(*f));
	int pipes[2], pids[2];

	assert_int_equal(pipe(pipes), 0);
	f->other = sleeper();
	f->parent = fork();
	if (!f->parent) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pids[0] = fork();
		if (!pids[0]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pids[0] = getpid();
			pids[1] = sleeper();
			(void)!write(pipes[1], pids, sizeof(pids));
		}
		for (;;)
			pause();
	}
	assert_int_equal(read(pipes[0], pids, sizeof(pids)), sizeof(pids));
	close(pipes[0]);
	close(pipes[1]);
	f->child = pids[0];
	f->grandchild = pids[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct family *f = *state;

	kill(f->parent, SIGKILL);
	kill(f->other, SIGKILL);
	waitpid(f->parent, NULL, 0);
	waitpid(f->other, NULL, 0);
	free(f);
	return 0;
}

static struct str_list list(char (*room)[32], char **v, size_t n, const int *pids)
{
	for (size_t i = 0; i < n; i++) {
		snprintf(room[i], sizeof(room[i]), "pid:%d", pids[i]);
		v[i] = room[i];
	}
	return (struct str_list){.v = v, .n = n};
}

#define SCOPES(name, ...)                                                                                              \
	const int name##_pids[] = {__VA_ARGS__};                                                                       \
	char name##_room[ARRAY_SIZE(name##_pids)][32];                                                                 \
	char *name##_v[ARRAY_SIZE(name##_pids)];                                                                       \
	struct str_list name = list(name##_room, name##_v, ARRAY_SIZE(name##_pids), name##_pids)

static void a_process_and_its_descendants(void **state)
{
	struct family *f = *state;
	struct scope_pids p = {0};
	SCOPES(s, f->child, f->parent);

	assert_int_equal(scope_processes(&s, &p), 0);
	assert_int_equal(p.n, 3); /* each once */
	assert_true(scope_has(&p, f->parent));
	assert_true(scope_has(&p, f->child));
	assert_true(scope_has(&p, f->grandchild));
	assert_false(scope_has(&p, f->other));
	assert_false(scope_has(&p, getpid()));
	for (size_t i = 1; i < p.n; i++)
		assert_true(p.v[i - 1] < p.v[i]);
	scope_pids_done(&p);
	scope_pids_done(&p);
	assert_int_equal(scope_parent_of(f->grandchild), f->child);
	assert_int_equal(scope_parent_of(f->parent), getpid());
	assert_int_equal(scope_parent_of(4194304), -1);
}

static void nobody(void **state)
{
	const struct str_list none = {0};
	struct scope_pids p = {0};
	SCOPES(gone, 4194304);

	assert_int_equal(scope_processes(&none, &p), 0);
	assert_int_equal(p.n, 0);
	assert_false(scope_has(&p, getpid()));
	scope_pids_done(&p);
	assert_int_equal(scope_processes(&gone, &p), 0);
	assert_int_equal(p.n, 0);
	scope_pids_done(&p);
}

static void what_two_share(void **state)
{
	struct family *f = *state;
	const struct str_list machine = {0};
	SCOPES(above, f->other, f->parent);
	SCOPES(below, f->grandchild);
	SCOPES(other, f->other);
	SCOPES(gone, 4194304);

	assert_string_equal(scope_overlap(&above, &below), above.v[1]);
	assert_string_equal(scope_overlap(&below, &above), below.v[0]);
	assert_null(scope_overlap(&other, &below));
	assert_null(scope_overlap(&gone, &below));
	assert_string_equal(scope_overlap(&machine, &below), "");
	assert_string_equal(scope_overlap(&below, &machine), "");
	assert_string_equal(scope_overlap(&machine, &machine), "");
}

/* cgroups by their names alone: nobody is in these, and one that is gone holds nobody. */
static void cgroups(void **state)
{
	char *root[] = {"cgroup:/"}, *gone[] = {"cgroup:/no/such/cgroup"};
	struct str_list all = {root, 1}, none = {gone, 1};
	char path[4096];

	assert_null(scope_overlap(&none, &none));
	scope_cgroup_path("/no/such/cgroup", path, sizeof(path));
	assert_string_equal(path, "/no/such/cgroup");
	scope_cgroup_path("/", path, sizeof(path));
	if (access("/sys/fs/cgroup/cgroup.procs", F_OK) && access("/sys/fs/cgroup/unified/cgroup.procs", F_OK))
		skip();
	assert_string_equal(scope_overlap(&all, &all), "cgroup:/");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_process_and_its_descendants, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(what_two_share, setup, teardown),
		cmocka_unit_test(cgroups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
