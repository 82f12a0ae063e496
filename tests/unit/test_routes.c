// SPDX-License-Identifier: Apache-2.0
/* Learned routes: what a segment becomes, what folds, what a scanner can do, what patterns win. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "user/enrich/routes.h"

static struct service *shop;

static int make_service(void **state)
{
	shop = service_new("shop", "", "i");
	return shop ? 0 : -1;
}

static int drop_service(void **state)
{
	service_unref(shop);
	return 0;
}

static void expect_for(struct routes *r, const struct service *s, const char *path, bool not_found, const char *want)
{
	struct str got = routes_learn(r, s, str_of(path), not_found);

	if (!str_is(got, want))
		fail_msg("%s: \"%.*s\", not \"%s\"", path, (int)got.len, got.p, want);
}

static void expect(struct routes *r, const char *path, const char *want)
{
	expect_for(r, shop, path, false, want);
}

static void test_segments(void **state)
{
	static const char *const cases[][2] = {
		{ "/", "/" },
		{ "/users", "/users" },
		{ "/users/", "/users/" },
		{ "/users/42", "/users/{id}" },
		{ "/users/42/orders/7", "/users/{id}/orders/{id}" },
		{ "/users/42/", "/users/{id}/" },
		{ "/users/-1", "/users/{id}" },
		{ "/a//b", "/a//b" },
		{ "/api/v1/x", "/api/v1/x" },
		{ "/api/1.0/x", "/api/1.0/x" },
		{ "/api/2.0.11/x", "/api/2.0.11/x" },
		{ "/o/550e8400-e29b-41d4-a716-446655440000", "/o/{uuid}" },
		{ "/o/550E8400-E29B-41D4-A716-446655440000/x", "/o/{uuid}/x" },
		{ "/o/507f1f77bcf86cd799439011", "/o/{hash}" },
		{ "/o/deadbeefdeadbeef", "/o/{hash}" },
		{ "/o/deadbeef", "/o/deadbeef" },
		{ "/d/2025-03-09", "/d/{date}" },
		{ "/d/2025-03", "/d/{date}" },
		{ "/d/2025-03-09T10:11:12.345Z", "/d/{date}" },
		{ "/d/2025-03-09T10:11:12+02:00", "/d/{date}" },
		{ "/h/192.0.2.17", "/h/{ip}" },
		{ "/h/2001:db8::17", "/h/{ip}" },
		{ "/h/300.0.2.17", "/h/{id}" },
		{ "/t/MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NQ", "/t/{token}" },
		{ "/t/01ARZ3NDEKTSV4RRFFQ69G5FAV0", "/t/{token}" },
		{ "/t/jo@example.org", "/t/{token}" },
		{ "/t/jo%40example.org", "/t/{token}" },
		{ "/t/%D0%BF%D1%80%D0%B8", "/t/{token}" },
		{ "/t/order-1029384", "/t/{id}" },
		{ "/@vite/client", "/@vite/client" },
		{ "/a%20b", "/a%20b" },
		{ "/getUserProfileByEmailAddressV2", "/getUserProfileByEmailAddressV2" },
		{ "/static/site.css", "/static/site.css" },
		{ "/static/app.3f2a9c1b.js", "/static/app.{hash}.js" },
		{ "/static/index-BkT3xQ9a.js", "/static/index-{hash}.js" },
		{ "/static/jquery-3.6.0.min.js", "/static/jquery-3.6.0.min.js" },
		{ "/img/1234.jpg", "/img/{id}.jpg" },
		{ "/img/550e8400-e29b-41d4-a716-446655440000.png", "/img/{uuid}.png" },
		{ "/.well-known/security.txt", "/.well-known/security.txt" },
		{ "/cart;jsessionid=1A2B3C", "/cart" },
		{ "/gr\xc3\xbc\xc3\x9f" "e", "/gr\xc3\xbc\xc3\x9f" "e" },
		{ "/bad\xff\xfe", "/{token}" },
		{ "/tab\tnew\nline", "/{token}" },
		{ "/users/{id}", "/users/{token}" },
		{ "/search?q=1", "/search" },
		{ "*", "*" },
		{ "", "" },
		{ "host:443", "" },
		{ "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16",
		  "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}" },
		{ "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/*" },
	};
	struct routes *r = routes_new(1000);

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
			expect(r, cases[i][0], cases[i][1]);
	}
	routes_free(r);
}

static void test_long_segment(void **state)
{
	struct routes *r = routes_new(10);
	char path[9000];

	memset(path, 'z', sizeof(path));
	memcpy(path, "/x/", 3);
	path[3 + 64] = 0;
	expect(r, path, path);
	path[3 + 64] = 'z';
	path[3 + 65] = 0;
	expect(r, path, "/x/{token}");
	path[3 + 65] = 'z';
	path[sizeof(path) - 1] = 0;
	expect(r, path, "/x/{token}");
	memset(path, '/', sizeof(path) - 1);
	expect(r, path, "/////////////////*");
	routes_free(r);
}

/* The input ends where readable memory ends. */
static void test_guard_page(void **state)
{
	static const char *const paths[] = { "/", "/users/42", "/a/b.c", "/a;b", "/550e8400-e29b-41d4-a716-446655440000",
					     "/2025-03-09T", "/x%40", "/a.", "/.a", "/\xc3" };
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct routes *r = routes_new(1000);

	assert_int_equal(mprotect(page + 4096, 4096, PROT_NONE), 0);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		for (size_t len = 0; len <= strlen(paths[i]); len++) {
			struct str s = { page + 4096 - len, len };

			memcpy(page + 4096 - len, paths[i], len);
			assert_true(len == 0 || routes_learn(r, shop, s, false).len > 0);
		}
	}
	routes_free(r);
	munmap(page, 8192);
}

static void test_fold(void **state)
{
	struct routes *r = routes_new(100);
	char path[64];

	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "/u/name%c", 'a' + i);
		expect(r, path, path);
	}
	expect(r, "/u/namea/posts", "/u/namea/posts");
	expect(r, "/u/nameb/posts", "/u/nameb/posts");
	expect(r, "/u/nameb/likes", "/u/nameb/likes");
	assert_int_equal(routes_count(r), 23);
	/* the 21st: a parameter, and what was below the others is below it */
	expect(r, "/u/other", "/u/{param}");
	assert_int_equal(routes_count(r), 3);
	expect(r, "/u/namea", "/u/{param}");
	expect(r, "/u/namea/posts", "/u/{param}/posts");
	expect(r, "/u/zoe/posts", "/u/{param}/posts");
	expect(r, "/u/zoe/likes", "/u/{param}/likes");
	expect(r, "/u/17", "/u/{id}"); /* classes keep their name */
	expect(r, "/v/other", "/v/other");
	assert_int_equal(routes_count(r), 5);
	for (int i = 0; i < 10000; i++) {
		snprintf(path, sizeof(path), "/u/n%c%c%c/posts", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676);
		expect(r, path, "/u/{param}/posts");
	}
	assert_int_equal(routes_count(r), 5);
	routes_free(r);
}

/* Two levels fold, the upper one last: the merge of the lower ones must be folded too. */
static void test_fold_merges_folds(void **state)
{
	struct routes *r = routes_new(1000);
	char path[64];

	for (int i = 0; i < 41; i++) {
		for (int j = 0; j < 19; j++) {
			snprintf(path, sizeof(path), "/t%c%c/k%c%c/end", 'a' + i / 26, 'a' + i % 26, 'a' + i % 26, 'a' + j);
			routes_learn(r, shop, str_of(path), false);
		}
	}
	expect(r, "/taa/kaa/end", "/{param}/{param}/end");
	expect(r, "/new/kqq/end", "/{param}/{param}/end");
	assert_int_equal(routes_count(r), 1);
	routes_free(r);
}

static void test_root_is_wider(void **state)
{
	struct routes *r = routes_new(100);
	char path[64];

	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "/page%c%c", 'a' + i / 26, 'a' + i % 26);
		expect(r, path, path);
	}
	expect(r, "/pageaa", "/pageaa");
	expect(r, "/another", "/{param}");
	expect(r, "/pageaa", "/{param}");
	assert_int_equal(routes_count(r), 1);
	routes_free(r);
}

static void test_budget(void **state)
{
	struct service *other = service_new("other", "", "i");
	struct routes *r = routes_new(5);

	expect(r, "/a", "/a");
	expect(r, "/b", "/b");
	expect(r, "/c", "/c");
	expect(r, "/d", "/d");
	expect(r, "/e", "/e");
	expect(r, "/f", ROUTE_OVERFLOW);
	expect(r, "/a/b", ROUTE_OVERFLOW);
	expect(r, "/a", "/a");
	expect_for(r, other, "/f", false, "/f");
	assert_int_equal(routes_count(r), 6);
	routes_forget(r, shop->id);
	routes_forget(r, shop->id);
	assert_int_equal(routes_count(r), 1);
	expect(r, "/f", "/f");
	routes_free(r);
	service_unref(other);
}

static void test_not_found_learns_nothing(void **state)
{
	struct routes *r = routes_new(100);

	expect(r, "/users/1", "/users/{id}");
	expect_for(r, shop, "/wp-login.php", true, "");
	expect_for(r, shop, "/users/1/x", true, "");
	expect_for(r, shop, "/users", true, ""); /* on the way to a route, but none */
	expect_for(r, shop, "/users/2", true, "/users/{id}"); /* a known route without such a thing */
	assert_int_equal(routes_count(r), 1);
	routes_free(r);
}

/* xorshift: the same URLs in each run. */
static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void random_path(uint64_t *seed, char *dst, size_t size)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789-_.~%";
	size_t parts = 1 + next_random(seed) % 20, len = 0;

	while (parts-- && len + 20 < size) {
		size_t n = 1 + next_random(seed) % 12;

		dst[len++] = '/';
		while (n--)
			dst[len++] = alphabet[next_random(seed) % (sizeof(alphabet) - 1)];
	}
	dst[len] = 0;
}

/* 100,000 URLs that are all answered as if they existed. */
static void test_scan(void **state)
{
	struct routes *r = routes_new(100);
	uint64_t seed = 42, overflow = 0;
	struct str seen[100];
	size_t n_seen = 0;
	char path[512];

	expect(r, "/login", "/login");
	for (int i = 0; i < 100000; i++) {
		struct str got;

		random_path(&seed, path, sizeof(path));
		got = routes_learn(r, shop, str_of(path), false);
		assert_true(got.len > 0 && (got.p[0] == '/' || str_is(got, ROUTE_OVERFLOW)));
		overflow += str_is(got, ROUTE_OVERFLOW);
		assert_true(routes_count(r) <= 100);
	}
	assert_true(overflow > 0 && overflow < 100000);
	/* after the scan the same paths give the same routes, however often */
	seed = 42;
	for (int i = 0; i < 20000; i++) {
		size_t j;
		struct str got;

		random_path(&seed, path, sizeof(path));
		got = routes_learn(r, shop, str_of(path), false);
		for (j = 0; j < n_seen && !str_eq(seen[j], got); j++)
			;
		if (j == n_seen && !str_is(got, ROUTE_OVERFLOW)) {
			assert_true(n_seen < ARRAY_SIZE(seen));
			seen[n_seen++] = (struct str){ str_dup(got), got.len };
		}
	}
	assert_true(n_seen > 0);
	for (size_t j = 0; j < n_seen; j++)
		free((void *)seen[j].p);
	routes_free(r);
}

/* The budget is for routes in use: what nobody asks for any more makes room, and counts for no folding. */
static void test_idle_routes_make_room(void **state)
{
	struct routes *r = routes_new(20);
	char path[32];

	expect(r, "/a", "/a");
	expect(r, "/b/keep", "/b/keep");
	for (int i = 0; i < 18; i++) {
		snprintf(path, sizeof(path), "/b/old%c/x", 'a' + i);
		expect(r, path, path);
	}
	expect(r, "/e", ROUTE_OVERFLOW);
	for (int i = 0; i < (1 << 19) + 5000; i++) {
		routes_learn(r, shop, STR("/a"), false);
		routes_learn(r, shop, STR("/b/keep"), false);
	}
	expect(r, "/e", "/e");
	assert_int_equal(routes_count(r), 3);
	for (int i = 0; i < 17; i++) {
		snprintf(path, sizeof(path), "/b/new%c", 'a' + i);
		expect(r, path, path);
	}
	expect(r, "/a", "/a");
	expect(r, "/b/keep", "/b/keep");
	routes_free(r);
}

/* Many services, each with a deep tree: the oldest are forgotten, memory has an end. */
static void test_services_are_bounded(void **state)
{
	struct routes *r = routes_new(100);
	char path[128];

	for (int i = 0; i < 6000; i++) {
		struct service *s = service_new("s", "", "i");

		for (int j = 0; j < 4; j++) {
			snprintf(path, sizeof(path), "/p%c/a/b/c/d", 'a' + j);
			expect_for(r, s, path, false, path);
		}
		service_unref(s);
	}
	/* 21 nodes a service out of 65,536; the last one made room by itself */
	assert_int_equal(routes_count(r), 4 * (65536 / 21));
	routes_free(r);
}

static void test_patterns(void **state)
{
	char *for_shop[] = { "/users/{id}", "/users/{id}/files/*", "/static/*", "/dl/pre-*", "/exact" };
	char *for_all[] = { "/users/me", "/health" };
	struct route_patterns routes[] = { { "sho*", { for_shop, 5 } }, { "*", { for_all, 2 } } };
	struct config c = { .routes = routes, .n_routes = 2 };
	struct service *other = service_new("other", "", "i");
	struct routes *r = routes_new(100);

	expect(r, "/users/bob", "/users/bob"); /* learned before there were patterns */
	assert_int_equal(routes_configure(r, &c), 0);
	expect(r, "/users/bob", "/users/{id}");
	expect(r, "/users/me", "/users/{id}"); /* the first match wins */
	expect(r, "/users/", "/users/");
	expect(r, "/users/bob/files/a/b", "/users/{id}/files/*");
	expect(r, "/users/bob/files/", "/users/{id}/files/*");
	expect(r, "/users/bob/files", "/users/bob/files");
	expect(r, "/static/1/2/3.css", "/static/*");
	expect(r, "/static", "/static");
	expect(r, "/dl/pre-1/x", "/dl/pre-*");
	expect(r, "/dl/pr", "/dl/pr");
	expect(r, "/exact", "/exact");
	expect(r, "/exact/no", "/exact/no");
	expect_for(r, shop, "/static/none", true, "/static/*");
	expect_for(r, other, "/users/me", false, "/users/me");
	expect_for(r, other, "/users/bob", false, "/users/bob");
	expect_for(r, other, "/health", true, "/health");
	/* a bad pattern changes nothing */
	for_shop[0] = "no-slash";
	assert_int_equal(routes_configure(r, &c), -EINVAL);
	expect(r, "/users/bob", "/users/{id}");
	/* gone with the configuration; what was learned is still there */
	c.n_routes = 0;
	assert_int_equal(routes_configure(r, &c), 0);
	expect(r, "/users/bob", "/users/bob");
	routes_free(r);
	service_unref(other);
}

static void test_limit_is_reloaded(void **state)
{
	struct config c = { .route_limit = 2 };
	struct routes *r = routes_new(1);

	expect(r, "/a", "/a");
	expect(r, "/b", ROUTE_OVERFLOW);
	assert_int_equal(routes_configure(r, &c), 0);
	expect(r, "/b", "/b");
	expect(r, "/c", ROUTE_OVERFLOW);
	routes_free(r);
	routes_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_long_segment),
		cmocka_unit_test(test_guard_page),
		cmocka_unit_test(test_fold),
		cmocka_unit_test(test_fold_merges_folds),
		cmocka_unit_test(test_root_is_wider),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_not_found_learns_nothing),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_idle_routes_make_room),
		cmocka_unit_test(test_services_are_bounded),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_limit_is_reloaded),
	};

	return cmocka_run_group_tests(tests, make_service, drop_service);
}
