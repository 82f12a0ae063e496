// SPDX-License-Identifier: Apache-2.0
/* user/base/log.c: what arrives at standard error, byte by byte. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#include "user/base/clock.h"
#include "user/base/log.h"
#include "user/base/str.h"

#define TS_LEN (sizeof("2025-01-31T23:59:59.123Z") - 1)

static int saved_err = -1, capture = -1;
static char text[1 << 20];

static void capture_begin(void)
{
	saved_err = dup(STDERR_FILENO);
	capture = memfd_create("log", 0);
	assert_true(capture >= 0);
	dup2(capture, STDERR_FILENO);
}

/* What was written since, with each time stamp replaced by "TS". */
static const char *capture_end(void)
{
	ssize_t n = pread(capture, text, sizeof(text) - 1, 0);
	char *at = text;

	dup2(saved_err, STDERR_FILENO);
	close(saved_err);
	close(capture);
	assert_true(n >= 0);
	text[n] = 0;
	while ((at = strstr(at, "20")) && strlen(at) >= TS_LEN && at[TS_LEN - 1] == 'Z' && at[4] == '-') {
		memcpy(at, "TS", 2);
		memmove(at + 2, at + TS_LEN, strlen(at + TS_LEN) + 1);
	}
	return text;
}

static void logfmt_lines(void **state)
{
	log_setup(LOG_INFO, LOG_LOGFMT);
	capture_begin();
	log_info("port %d is \"taken\"", 80);
	log_err("path %s", "/a\nts=1 level=error msg=\"forged\"\x1b[2J");
	log_warn("%s", "\xff\\");
	log_debug("not shown");
	assert_string_equal(capture_end(), "ts=TS level=info msg=\"port 80 is \\\"taken\\\"\"\n"
					   "ts=TS level=error msg=\"path /a\\x0ats=1 level=error "
					   "msg=\\\"forged\\\"\\x1b[2J\"\n"
					   "ts=TS level=warn msg=\"\\xff\\\\\"\n");
}

static void json_lines(void **state)
{
	log_setup(LOG_DEBUG, LOG_JSON);
	capture_begin();
	log_debug("a \"b\" %s", "\n\xff\x1b");
	assert_string_equal(capture_end(),
			    "{\"ts\":\"TS\",\"level\":\"debug\",\"msg\":\"a \\\"b\\\" \\n\\ufffd\\u001b\"}\n");
}

static void levels(void **state)
{
	static const char *const want[] = {"e", "ew", "ewi", "ewid"};

	for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		char got[8] = "", *end = got;
		const char *at;

		log_setup((enum log_level)level, LOG_LOGFMT);
		for (int l = LOG_ERROR; l <= LOG_DEBUG; l++)
			assert_int_equal(log_enabled((enum log_level)l), l <= level);
		capture_begin();
		log_err("e");
		log_warn("w");
		log_info("i");
		log_debug("d");
		at = capture_end();
		while ((at = strstr(at, "msg=\""))) {
			at += 5;
			*end++ = *at;
		}
		assert_string_equal(got, want[level]);
	}
}

static void long_messages_are_cut(void **state)
{
	char *big = malloc(100000);
	const char *out;

	memset(big, 'x', 99999);
	big[99999] = 0;
	log_setup(LOG_INFO, LOG_LOGFMT);
	capture_begin();
	log_info("%s", big);
	out = capture_end();
	assert_true(strlen(out) < 5000);
	assert_non_null(strstr(out, "xxx [cut]\"\n"));
	free(big);
}

static void errno_and_result_survive(void **state)
{
	int r;

	log_setup(LOG_INFO, LOG_LOGFMT);
	capture_begin();
	errno = ENOTDIR;
	r = log_err_r(-EBUSY, "busy");
	assert_int_equal(errno, ENOTDIR);
	assert_int_equal(r, -EBUSY);
	assert_string_equal(capture_end(), "ts=TS level=error msg=\"busy\"\n");
}

static void gate_holds_back(void **state)
{
	struct log_gate gate = {0};
	uint64_t held = 77;

	assert_true(log_gate_pass(&gate, &held));
	assert_int_equal(held, 0);
	for (int i = 0; i < 5; i++)
		assert_false(log_gate_pass(&gate, &held));
	assert_true(gate.next_ns > clock_mono_ns() + 9 * NSEC_PER_SEC);
	/* as if ten seconds had passed */
	gate.next_ns = clock_mono_ns();
	assert_true(log_gate_pass(&gate, &held));
	assert_int_equal(held, 5);
	assert_false(log_gate_pass(&gate, &held));
}

static void limited_once(void)
{
	log_warn_limited("traffic");
}

static void limited_lines(void **state)
{
	log_setup(LOG_INFO, LOG_LOGFMT);
	capture_begin();
	for (int i = 0; i < 1000; i++)
		limited_once();
	assert_string_equal(capture_end(), "ts=TS level=warn msg=\"traffic\"\n");
}

#define LINES 500

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_info("thread %c %s", *(char *)arg, "0123456789012345678901234567890123456789");
	return NULL;
}

/* Lines of several threads arrive whole. O_APPEND makes the writes of a file atomic. */
static void threads_do_not_mix(void **state)
{
	pthread_t t[4];
	char names[] = "abcd";
	int seen[4] = {0};
	char *line, *rest;

	log_setup(LOG_INFO, LOG_LOGFMT);
	capture_begin();
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_APPEND), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, write_lines, &names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	capture_end();
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char who = 0, tail[64] = "";

		assert_int_equal(sscanf(line, "ts=TS level=info msg=\"thread %c %63[0-9]\"", &who, tail), 2);
		assert_int_equal(strlen(tail), 40);
		assert_true(who >= 'a' && who <= 'd');
		seen[who - 'a']++;
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(seen[i], LINES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logfmt_lines),
		cmocka_unit_test(json_lines),
		cmocka_unit_test(levels),
		cmocka_unit_test(long_messages_are_cut),
		cmocka_unit_test(errno_and_result_survive),
		cmocka_unit_test(gate_holds_back),
		cmocka_unit_test(limited_lines),
		cmocka_unit_test(threads_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
