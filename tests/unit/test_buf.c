// SPDX-License-Identifier: Apache-2.0
/* user/base/buf.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "user/base/buf.h"

static void grows_and_terminates(void **state)
{
	_buf_ struct buf b = BUF_INIT;

	for (int i = 0; i < 1000; i++) {
		buf_addc(&b, 'x');
		assert_int_equal(b.data[b.len], 0);
	}
	buf_puts(&b, "end");
	buf_add(&b, NULL, 0);
	buf_printf(&b, "%d-%s", 42, "abc");
	assert_int_equal(b.err, 0);
	assert_int_equal(b.len, 1000 + 3 + 6);
	assert_string_equal(b.data + 1000, "end42-abc");
	assert_true(str_is(buf_view(&b), b.data));
	buf_clear(&b);
	assert_int_equal(b.len, 0);
	assert_true(b.cap > 1000);
	buf_done(&b);
	buf_done(&b);
	buf_puts(&b, "again");
	assert_string_equal(b.data, "again");
}

static void bound_sticks(void **state)
{
	_buf_ struct buf b = {.max = 8};

	buf_puts(&b, "12345678");
	assert_int_equal(b.err, 0);
	assert_int_equal(b.len, 8);
	buf_addc(&b, '9');
	assert_int_equal(b.err, -ENOBUFS);
	buf_puts(&b, "");
	buf_printf(&b, "%d", 1);
	buf_u64(&b, 1);
	assert_string_equal(b.data, "12345678");
	assert_int_equal(b.err, -ENOBUFS);
	buf_clear(&b);
	assert_int_equal(b.err, 0);
	buf_printf(&b, "%s", "123456789");
	assert_int_equal(b.err, -ENOBUFS);
	assert_int_equal(b.len, 0);
	buf_clear(&b);
	buf_printf(&b, "%s", "12345678");
	assert_string_equal(b.data, "12345678");
}

static void huge_length_is_refused(void **state)
{
	_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, "x");
	buf_add(&b, "y", SIZE_MAX - 1);
	assert_int_equal(b.err, -ENOBUFS);
	assert_string_equal(b.data, "x");
}

static void whole_numbers(void **state)
{
	static const uint64_t values[] = {0, 9, 10, 4294967296ULL, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		_buf_ struct buf b = BUF_INIT;
		char want[32];

		snprintf(want, sizeof(want), "%llu", (unsigned long long)values[i]);
		buf_u64(&b, values[i]);
		assert_string_equal(b.data, want);
	}
}

static void doubles_are_shortest(void **state)
{
	static const struct {
		double v;
		const char *text;
	} cases[] = {
		{0, "0"},
		{-0.0, "-0"},
		{1, "1"},
		{-17, "-17"},
		{0.1, "0.1"},
		{0.00005, "5e-05"},
		{0.1 + 0.2, "0.30000000000000004"},
		{1.0 / 3, "0.3333333333333333"},
		{999999999999999, "999999999999999"},
		{1e15, "1e+15"},
		{1e22, "1e+22"},
		{9007199254740993.0, "9007199254740992"},
		{5e-324, "5e-324"},
		{DBL_MIN, "2.2250738585072014e-308"},
		{DBL_MAX, "1.7976931348623157e+308"},
		{INFINITY, "+Inf"},
		{-INFINITY, "-Inf"},
		{NAN, "NaN"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_buf_ struct buf b = BUF_INIT;

		buf_double(&b, cases[i].v);
		assert_string_equal(b.data, cases[i].text);
	}
}

/* The same numbers in every run (SplitMix64). */
static uint64_t mixed(uint64_t i)
{
	i = (i + 1) * 0x9e3779b97f4a7c15;
	i = (i ^ (i >> 30)) * 0xbf58476d1ce4e5b9;
	i = (i ^ (i >> 27)) * 0x94d049bb133111eb;
	return i ^ (i >> 31);
}

static int significant(const char *text)
{
	int n = 0;

	for (text += strspn(text, "-0."); *text && *text != 'e'; text++)
		n += *text != '.';
	return n;
}

static void doubles_read_back(void **state)
{
	_buf_ struct buf b = BUF_INIT;

	for (uint64_t i = 0; i < 100000; i++) {
		uint64_t bits = mixed(i), back_bits;
		double v, back;
		char shorter[40];

		memcpy(&v, &bits, sizeof(v));
		if (!isfinite(v))
			continue;
		buf_clear(&b);
		buf_double(&b, v);
		back = strtod(b.data, NULL);
		memcpy(&back_bits, &back, sizeof(back));
		assert_true(back_bits == bits);
		/* whole numbers are written out */
		if (v == floor(v) && fabs(v) < 1e15)
			continue;
		/* one digit less names another number */
		snprintf(shorter, sizeof(shorter), "%.*g", significant(b.data) - 1, v);
		if (strtod(shorter, NULL) == v)
			fail_msg("%s is longer than %s", b.data, shorter);
	}
}

typedef void (*writer)(struct buf *, struct str);

static void check_text(writer w, struct str in, const char *want)
{
	_buf_ struct buf b = BUF_INIT;

	buf_puts(&b, "");
	w(&b, in);
	assert_int_equal(b.err, 0);
	assert_string_equal(b.data, want);
}

static void json_text(void **state)
{
	check_text(buf_json, STR(""), "");
	check_text(buf_json, STR("plain /path?x=1"), "plain /path?x=1");
	check_text(buf_json, STR("a\"b\\c"), "a\\\"b\\\\c");
	check_text(buf_json, STR("\b\t\n\f\r"), "\\b\\t\\n\\f\\r");
	check_text(buf_json, STR("\0\x01\x1f\x7f"), "\\u0000\\u0001\\u001f\\u007f");
	check_text(buf_json, STR("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
		   "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
	check_text(buf_json,
		   STR("\xff"
		       "a\xc3"),
		   "\\ufffda\\ufffd");
	check_text(buf_json, STR("\xc2\x9b\xe2\x80\xae"), "\\u009b\\u202e");
}

static void terminal_text(void **state)
{
	check_text(buf_escaped, STR("GET /\"x\\y\""), "GET /\"x\\y\"");
	check_text(buf_escaped, STR("\x1b[31m\n\0"), "\\x1b[31m\\x0a\\x00");
	check_text(buf_escaped, STR("\xc3\xbc\xff\x7f"), "\xc3\xbc\\xff\\x7f");
	/* C1 control, right-to-left override, byte order mark */
	check_text(buf_escaped, STR("\xc2\x9b\xe2\x80\xae\xef\xbb\xbf"), "\\xc2\\x9b\\xe2\\x80\\xae\\xef\\xbb\\xbf");
	check_text(buf_quoted, STR("say \"x\\y\"\n"), "say \\\"x\\\\y\\\"\\x0a");
}

#define FFFD "\xef\xbf\xbd"

static void utf8_text(void **state)
{
	check_text(buf_utf8, STR("a\n\"\xc3\xbc"), "a\n\"\xc3\xbc");
	check_text(buf_utf8, STR("\xff"), FFFD);
	/* overlong, surrogate, past U+10FFFF, lone continuation, cut short */
	check_text(buf_utf8, STR("\xc0\x80"), FFFD FFFD);
	check_text(buf_utf8, STR("\xe0\x80\x80"), FFFD FFFD FFFD);
	check_text(buf_utf8, STR("\xed\xa0\x80"), FFFD FFFD FFFD);
	check_text(buf_utf8, STR("\xf4\x90\x80\x80"), FFFD FFFD FFFD FFFD);
	check_text(buf_utf8, STR("\x80x"), FFFD "x");
	check_text(buf_utf8, STR("\xe2\x82"), FFFD FFFD);
	check_text(buf_utf8, STR("\xf4\x8f\xbf\xbf\xed\x9f\xbf"), "\xf4\x8f\xbf\xbf\xed\x9f\xbf");
}

/* Whatever comes in, what goes out has no raw control byte; input ends at the end of its memory (ASan). */
static void any_bytes(void **state)
{
	static const writer writers[] = {buf_json, buf_escaped, buf_quoted};

	for (uint64_t round = 0; round < 3000; round++) {
		size_t len = mixed(round) % 24;
		char *in = malloc(len ? len : 1);

		for (size_t i = 0; i < len; i++)
			in[i] = (char)mixed(round * 100 + i);
		for (size_t w = 0; w < ARRAY_SIZE(writers); w++) {
			_buf_ struct buf b = BUF_INIT;

			writers[w](&b, (struct str){in, len});
			assert_int_equal(b.err, 0);
			for (size_t i = 0; i < b.len; i++)
				assert_true((uint8_t)b.data[i] >= 0x20 && b.data[i] != 0x7f);
		}
		free(in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_terminates),
		cmocka_unit_test(bound_sticks),
		cmocka_unit_test(huge_length_is_refused),
		cmocka_unit_test(whole_numbers),
		cmocka_unit_test(doubles_are_shortest),
		cmocka_unit_test(doubles_read_back),
		cmocka_unit_test(json_text),
		cmocka_unit_test(terminal_text),
		cmocka_unit_test(utf8_text),
		cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
