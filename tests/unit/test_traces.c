// SPDX-License-Identifier: Apache-2.0
/* Span identity and sampling. Trace ids for the ratio tests come from a fixed seed: the counts are exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "user/base/clock.h"
#include "user/traces/traces.h"

static const uint8_t zero[16];

static struct call make_call(void)
{
	return (struct call){ .start_ns = 5000000000, .end_ns = 5000123457, .role = ROLE_SERVER, .comm = "x" };
}

static struct call with_parent(uint8_t flags)
{
	struct call c = make_call();

	c.parent = (struct trace_parent){ .valid = true, .flags = flags, .state = STR("vendor=1,other=2") };
	memset(c.parent.trace_id, 0xab, sizeof(c.parent.trace_id));
	memset(c.parent.span_id, 0xcd, sizeof(c.parent.span_id));
	return c;
}

static struct traces *make(int sampler, double arg)
{
	struct config c = { .sampler = sampler, .sampler_arg = arg };
	struct traces *t = traces_new(&c);

	assert_non_null(t);
	return t;
}

static void test_root(void **state)
{
	struct traces *t = make(SAMPLER_PARENT_ALWAYS_ON, 1);
	struct call c = make_call();
	uint64_t wall = clock_mono_to_wall(c.start_ns);
	struct span *s = traces_span(t, &c, "GET /x");

	assert_non_null(s);
	assert_string_equal(s->name, "GET /x");
	assert_memory_not_equal(s->trace_id, zero, 16);
	assert_memory_not_equal(s->span_id, zero, 8);
	assert_false(s->has_parent);
	assert_memory_equal(s->parent_id, zero, 8);
	assert_int_equal(s->flags, 0x03);
	assert_int_equal(s->end_wall_ns - s->start_wall_ns, 123457);
	/* the distance of the two clocks may be measured again between the two, no more */
	assert_true(llabs((long long)(s->start_wall_ns - wall)) < (long long)NSEC_PER_MSEC);
	span_unref(s);
	traces_free(t);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, 8);
}

static void test_ids_differ(void **state)
{
	enum { N = 20000 };
	struct traces *t = make(SAMPLER_ALWAYS_ON, 1), *u = make(SAMPLER_ALWAYS_ON, 1);
	uint8_t(*ids)[8] = malloc(4 * N * sizeof(*ids));
	struct call c = make_call();

	for (int i = 0; i < 2 * N; i++) {
		struct span *s = traces_span(i % 2 ? t : u, &c, "x");

		memcpy(ids[2 * i], s->span_id, 8);
		memcpy(ids[2 * i + 1], s->trace_id + 8, 8);
		span_unref(s);
	}
	qsort(ids, 4 * N, sizeof(*ids), by_bytes);
	for (int i = 1; i < 4 * N; i++)
		assert_memory_not_equal(ids[i - 1], ids[i], 8);
	free(ids);
	traces_free(t);
	traces_free(u);
}

static void test_parent(void **state)
{
	static const uint8_t flags[][2] = { { 0x01, 0x01 }, { 0x03, 0x03 }, { 0xfd, 0x01 }, { 0xff, 0x03 } };
	struct traces *t = make(SAMPLER_PARENT_ALWAYS_ON, 1);

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct call c = with_parent(flags[i][0]);
		struct span *s = traces_span(t, &c, "x");

		assert_memory_equal(s->trace_id, c.parent.trace_id, 16);
		assert_true(s->has_parent);
		assert_memory_equal(s->parent_id, c.parent.span_id, 8);
		assert_memory_not_equal(s->span_id, c.parent.span_id, 8);
		assert_memory_not_equal(s->span_id, zero, 8);
		assert_int_equal(s->flags, flags[i][1]);
		assert_true(str_is(s->call.parent.state, "vendor=1,other=2"));
		span_unref(s);
	}
	traces_free(t);
}

/* root, parent sampled, parent not sampled */
static void test_samplers(void **state)
{
	static const struct {
		int sampler;
		double arg;
		bool root, yes, no;
	} cases[] = {
		{ SAMPLER_ALWAYS_ON, 0, true, true, true },
		{ SAMPLER_ALWAYS_OFF, 1, false, false, false },
		{ SAMPLER_RATIO, 1, true, true, true },
		{ SAMPLER_RATIO, 0, false, false, false },
		{ SAMPLER_PARENT_ALWAYS_ON, 0, true, true, false },
		{ SAMPLER_PARENT_ALWAYS_OFF, 1, false, true, false },
		{ SAMPLER_PARENT_RATIO, 1, true, true, false },
		{ SAMPLER_PARENT_RATIO, 0, false, true, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct traces *t = make(cases[i].sampler, cases[i].arg);
		struct call c[] = { make_call(), with_parent(1), with_parent(0xfe) };
		bool want[] = { cases[i].root, cases[i].yes, cases[i].no };
		struct traces_stats st;
		uint64_t made = 0;

		for (int k = 0; k < 3; k++) {
			struct span *s = traces_span(t, &c[k], "x");

			assert_int_equal(errno, 0);
			if (!!s != want[k])
				fail_msg("case %zu, call %d", i, k);
			made += want[k];
			assert_true(!s || (s->flags & 1));
			span_unref(s);
		}
		traces_get_stats(t, &st);
		assert_int_equal(st.made, made);
		assert_int_equal(st.sampled_out, 3 - made);
		traces_free(t);
	}
}

/* xorshift: the same ids in each run */
static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static bool takes(struct traces *t, uint64_t high, uint64_t low)
{
	struct call c = with_parent(0);
	struct span *s;
	bool r;

	for (int i = 0; i < 8; i++) {
		c.parent.trace_id[i] = (uint8_t)(high >> (56 - 8 * i));
		c.parent.trace_id[8 + i] = (uint8_t)(low >> (56 - 8 * i));
	}
	s = traces_span(t, &c, "x");
	r = s;
	span_unref(s);
	return r;
}

static void test_ratio(void **state)
{
	static const double ratios[] = { 0, 0.001, 0.1, 0.5, 0.9, 1 };
	struct traces *t[ARRAY_SIZE(ratios)];
	uint64_t seed = 42, taken[ARRAY_SIZE(ratios)] = { 0 };

	for (size_t k = 0; k < ARRAY_SIZE(ratios); k++)
		t[k] = make(SAMPLER_RATIO, ratios[k]);
	for (int i = 0; i < 100000; i++) {
		uint64_t high = next_random(&seed), low = next_random(&seed);
		bool before = false;

		for (size_t k = 0; k < ARRAY_SIZE(ratios); k++) {
			bool now = takes(t[k], high, low);

			assert_true(now || !before); /* a higher ratio takes what a lower one takes */
			taken[k] += now;
			before = now;
		}
	}
	/* within four standard deviations; the seed is fixed, so that this either holds or does not */
	for (size_t k = 0; k < ARRAY_SIZE(ratios); k++) {
		double mean = 100000 * ratios[k], off = (double)taken[k] - mean;

		assert_true(off * off <= 16 * mean * (1 - ratios[k]));
		traces_free(t[k]);
	}
	assert_int_equal(taken[0], 0);
	assert_int_equal(taken[ARRAY_SIZE(ratios) - 1], 100000);
}

/* Only the rightmost 56 bits count, and the threshold is where the specification puts it. */
static void test_ratio_edges(void **state)
{
	struct traces *half = make(SAMPLER_RATIO, 0.5), *least = make(SAMPLER_RATIO, 0x1p-56);
	struct traces *wrong[] = { make(SAMPLER_RATIO, 7), make(SAMPLER_RATIO, 0.0 / 0.0), make(SAMPLER_RATIO, -1) };

	assert_true(takes(half, 0, 0x0080000000000000));
	assert_false(takes(half, UINT64_MAX, 0xff7fffffffffffff));
	assert_true(takes(least, 0, 0x00ffffffffffffff));
	assert_false(takes(least, 0, 0xfffffffffffffffe));
	assert_true(takes(wrong[0], 0, 1));
	assert_true(takes(wrong[1], 0, 1));
	assert_false(takes(wrong[2], UINT64_MAX, UINT64_MAX));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		traces_free(wrong[i]);
	traces_free(half);
	traces_free(least);
}

static void test_unknown_times(void **state)
{
	struct traces *t = make(SAMPLER_ALWAYS_ON, 1);
	struct traces_stats st;
	struct call c = make_call();

	c.start_ns = TIME_UNKNOWN;
	assert_null(traces_span(t, &c, "x"));
	assert_int_equal(errno, 0);
	c = make_call();
	c.end_ns = TIME_UNKNOWN;
	assert_null(traces_span(t, &c, "x"));
	c.end_ns = c.start_ns - 1;
	assert_null(traces_span(t, &c, "x"));
	traces_get_stats(t, &st);
	assert_int_equal(st.untimed, 3);
	assert_int_equal(st.made, 0);
	traces_free(t);
}

static void test_configure(void **state)
{
	struct config c = { .sampler = SAMPLER_ALWAYS_OFF };
	struct traces *t = make(SAMPLER_ALWAYS_ON, 1);
	struct call call = make_call();
	struct span *s = traces_span(t, &call, "x");

	assert_non_null(s);
	span_unref(s);
	traces_configure(t, &c);
	assert_null(traces_span(t, &call, "x"));
	traces_free(t);
	traces_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root),	  cmocka_unit_test(test_ids_differ),
		cmocka_unit_test(test_parent),	  cmocka_unit_test(test_samplers),
		cmocka_unit_test(test_ratio),	  cmocka_unit_test(test_ratio_edges),
		cmocka_unit_test(test_unknown_times), cmocka_unit_test(test_configure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
