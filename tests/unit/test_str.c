// SPDX-License-Identifier: Apache-2.0
/* user/base/str.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "user/base/clock.h"
#include "user/base/str.h"

static void case_is_ascii_only(void **state)
{
	assert_true(str_eq_nocase(STR("Content-Length"), STR("content-LENGTH")));
	assert_false(str_eq_nocase(STR("a"), STR("ab")));
	assert_false(str_eq_nocase(STR("ab"), STR("a")));
	assert_true(str_eq_nocase((struct str){0}, STR("")));
	/* '@' and '`', '[' and '{' differ by the case bit alone */
	assert_false(str_eq_nocase(STR("@["), STR("`{")));
	assert_false(str_eq_nocase(STR("\xc4"), STR("\xe4")));
	assert_true(str_starts_nocase(STR("HTTP/1.1"), STR("http/")));
	assert_true(str_starts_nocase(STR("x"), STR("")));
	assert_false(str_starts_nocase(STR("htt"), STR("http")));
}

static void equality_is_exact(void **state)
{
	assert_true(str_eq((struct str){0}, STR("")));
	assert_true(str_is(STR("abc"), "abc"));
	assert_false(str_is(STR("abc"), "ab"));
	assert_false(str_is(STR("a\0b"), "a"));
	assert_true(str_is((struct str){0}, NULL));
}

static void trims_blanks_and_tabs(void **state)
{
	assert_true(str_is(str_trim(STR(" \t a b\t ")), "a b"));
	assert_int_equal(str_trim(STR(" \t")).len, 0);
	assert_int_equal(str_trim((struct str){0}).len, 0);
	assert_true(str_is(str_trim(STR("\na")), "\na"));
}

static void splits_until_used_up(void **state)
{
	struct str rest = STR("a,,bc,"), part;

	assert_true(str_split(&rest, ',', &part));
	assert_true(str_is(part, "a"));
	assert_true(str_split(&rest, ',', &part));
	assert_int_equal(part.len, 0);
	assert_true(str_split(&rest, ',', &part));
	assert_true(str_is(part, "bc"));
	assert_false(str_split(&rest, ',', &part));
	assert_true(str_is(part, "bc"));
	rest = (struct str){0};
	assert_false(str_split(&rest, ',', &part));
}

static void numbers_are_strict(void **state)
{
	static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1e3", "\xd9\xa1"};
	uint64_t v = 77;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(str_to_u64(str_of(bad[i]), &v), -EINVAL);
	assert_int_equal(str_to_u64(STR("18446744073709551616"), &v), -ERANGE);
	assert_int_equal(str_to_u64(STR("99999999999999999999999999"), &v), -ERANGE);
	/* not a number at all, however long */
	assert_int_equal(str_to_u64(STR("99999999999999999999999x"), &v), -EINVAL);
	assert_int_equal(v, 77);
	assert_int_equal(str_to_u64(STR("18446744073709551615"), &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(str_to_u64(STR("00042"), &v), 0);
	assert_int_equal(v, 42);
}

struct glob_case {
	const char *pattern, *text;
	bool hit;
};

static void globs(void **state)
{
	static const struct glob_case cases[] = {
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"*", "", true},
		{"*", "/any/thing", true},
		{"**", "x", true},
		{"/usr/*/nginx", "/usr/local/sbin/nginx", true},
		{"/usr/*/nginx", "/usr/nginx", false},
		{"*gunicorn*", "/opt/gunicorn-3", true},
		{"*ab", "aab", true},
		{"*ab", "aabc", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"?", "", false},
		{"?", "x", true},
		{"?", "/", true},
		{"a?c", "abc", true},
		{"[a-c]x", "bx", true},
		{"[a-c]x", "dx", false},
		{"[!a-c]x", "dx", true},
		{"[^a-c]x", "ax", false},
		{"[]]", "]", true},
		{"[!]]", "]", false},
		{"[!]]", "a", true},
		{"[a-]", "-", true},
		{"[-a]", "-", true},
		{"[\\]a]", "]", true},
		{"[z-a]", "m", false},
		{"[abc", "[abc", true},
		{"[abc", "a", false},
		{"[", "[", true},
		{"*[", "x[", true},
		{"\\*", "*", true},
		{"\\*", "x", false},
		{"\\[a]", "[a]", true},
		{"a\\", "a\\", true},
		{"[0-9]*[0-9]", "1x2", true},
		{"[0-9]*[0-9]", "1x", false},
		{"[\xc0-\xff]", "\xe4", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (str_glob(cases[i].pattern, str_of(cases[i].text)) != cases[i].hit)
			fail_msg("'%s' against '%s' should be %d", cases[i].pattern, cases[i].text, cases[i].hit);
	}
	/* text is not terminated, may hold NUL */
	assert_true(str_glob("a*c", (struct str){"a\0cd", 3}));
	assert_false(str_glob("a", (struct str){"a\0", 2}));
	assert_true(str_glob("a?", (struct str){"a\0", 2}));
	assert_true(str_glob("*", (struct str){0}));
}

/* Exponential matchers need years for this one: 24 stars before what never comes. */
static void globs_are_not_exponential(void **state)
{
	char text[4096];
	uint64_t start = clock_mono_ns();

	memset(text, 'a', sizeof(text));
	assert_false(str_glob("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", (struct str){text, sizeof(text)}));
	assert_true(clock_mono_ns() - start < NSEC_PER_SEC);
}

static void duplicates_terminated(void **state)
{
	char *d = str_dup((struct str){"abcd", 2});

	assert_string_equal(d, "ab");
	free(d);
	d = str_dup((struct str){0});
	assert_string_equal(d, "");
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_is_ascii_only),	     cmocka_unit_test(equality_is_exact),
		cmocka_unit_test(trims_blanks_and_tabs),     cmocka_unit_test(splits_until_used_up),
		cmocka_unit_test(numbers_are_strict),	     cmocka_unit_test(globs),
		cmocka_unit_test(globs_are_not_exponential), cmocka_unit_test(duplicates_terminated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
