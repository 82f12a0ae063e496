// SPDX-License-Identifier: Apache-2.0
/* user/model: attributes, calls, services, label sets, snapshots, spans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "user/model/metric.h"
#include "user/model/span.h"

/* The Prometheus label is the name with '.' as '_'. */
static void labels_follow_names(void **state)
{
	static const struct attr_key *const keys[] = {
		&attr_error_type,
		&attr_server_address,
		&attr_server_port,
		&attr_client_address,
		&attr_network_peer_address,
		&attr_network_peer_port,
		&attr_network_local_address,
		&attr_network_local_port,
		&attr_network_transport,
		&attr_network_protocol_name,
		&attr_network_protocol_version,
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char *label = strdup(keys[i]->name);

		for (char *p = label; *p; p++)
			*p = *p == '.' ? '_' : *p;
		assert_string_equal(label, keys[i]->label);
		free(label);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(keys[i]->name, keys[j]->name);
	}
}

static void call_attributes(void **state)
{
	struct call c = {0};

	assert_null(call_attr(&c, &attr_error_type));
	assert_true(call_add_str(&c, &attr_error_type, STR("timeout")));
	assert_true(call_add_int(&c, &attr_server_port, -1));
	assert_int_equal(call_attr(&c, &attr_server_port)->type, ATTR_INT);
	assert_int_equal(call_attr(&c, &attr_server_port)->i, -1);
	assert_int_equal(call_attr(&c, &attr_error_type)->type, ATTR_STR);
	assert_true(str_is(call_attr(&c, &attr_error_type)->s, "timeout"));
	while (c.n_attrs < CALL_ATTRS_MAX)
		assert_true(call_add_int(&c, &attr_network_peer_port, 1));
	assert_false(call_add_int(&c, &attr_client_address, 1));
	assert_false(call_add_str(&c, &attr_client_address, STR("x")));
	assert_int_equal(c.n_attrs, CALL_ATTRS_MAX);
	assert_null(call_attr(&c, &attr_client_address));
}

static void addresses(void **state)
{
	struct net_addr a = {.family = NET_NONE};
	char text[NET_ADDR_TEXT], want[NET_ADDR_TEXT];

	assert_ptr_equal(net_addr_text(&a, text), text);
	assert_string_equal(text, "");
	a = (struct net_addr){.family = NET_INET, .port = 80, .ip = {192, 0, 2, 1}};
	assert_string_equal(net_addr_text(&a, text), "192.0.2.1");
	a = (struct net_addr){.family = NET_INET6, .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};
	assert_string_equal(net_addr_text(&a, text), "2001:db8::1");
	memset(a.ip, 0xff, sizeof(a.ip));
	assert_string_equal(net_addr_text(&a, text), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	a = (struct net_addr){.family = NET_UNIX};
	assert_string_equal(net_addr_text(&a, text), "");
	strcpy(a.path, "@abstract");
	assert_string_equal(net_addr_text(&a, text), "@abstract");
	/* a full path has no NUL */
	memset(a.path, 'p', sizeof(a.path));
	memset(want, 'p', sizeof(a.path));
	want[sizeof(a.path)] = 0;
	assert_string_equal(net_addr_text(&a, text), want);
}

static void services(void **state)
{
	struct service *a = service_new("shop", NULL, "i-1"), *b = service_new("shop", "web", NULL);
	char value[] = "nginx";

	assert_string_equal(a->name, "shop");
	assert_string_equal(a->namespace_, "");
	assert_string_equal(a->instance, "i-1");
	assert_string_equal(b->namespace_, "web");
	assert_string_equal(b->instance, "");
	assert_true(a->id && a->id < b->id);
	assert_int_equal(service_add_attr(a, "process.executable.name", value), 0);
	value[0] = 'X';
	assert_int_equal(service_add_attr(a, "host.name", "h"), 0);
	assert_int_equal(a->n_attrs, 2);
	assert_string_equal(a->attrs[0].value, "nginx");
	assert_string_equal(a->attrs[1].name, "host.name");
	assert_ptr_equal(service_ref(a), a);
	assert_int_equal(a->refs, 2);
	service_unref(a);
	assert_int_equal(a->refs, 1);
	service_unref(a);
	service_unref(b);
	service_unref(NULL);
	assert_null(service_ref(NULL));
	errno = 0;
	assert_null(service_new("", "", ""));
	assert_int_equal(errno, EINVAL);
	assert_null(service_new(NULL, "", ""));
}

static void label_sets(void **state)
{
	char name[] = "url.scheme", value[] = "http";
	const struct label in[] = {{name, value}, {"error.type", ""}, {"http.route", "/x"}};
	struct labels *l = labels_new(in, ARRAY_SIZE(in));

	name[0] = value[0] = 'X';
	assert_int_equal(l->n, 3);
	assert_string_equal(l->l[0].name, "error.type");
	assert_string_equal(l->l[0].value, "");
	assert_string_equal(l->l[1].name, "http.route");
	assert_string_equal(l->l[2].name, "url.scheme");
	assert_string_equal(l->l[2].value, "http");
	assert_ptr_equal(labels_ref(l), l);
	labels_unref(l);
	assert_string_equal(l->l[1].value, "/x");
	labels_unref(l);
	labels_unref(NULL);
	l = labels_new(NULL, 0);
	assert_int_equal(l->n, 0);
	labels_unref(l);
}

/* Laid out as the header says; ASan tells about every reference and block that is left or freed twice. */
static void snapshots_give_all_back(void **state)
{
	static const struct instrument inst = {"sonde.test", "s", "t", INST_COUNTER};
	struct service *service = service_new("shop", "", ""), *idle = service_new("idle", "", "");
	struct labels *l = labels_new(&(struct label){"a", "b"}, 1);
	struct snapshot *s = calloc(1, sizeof(*s));
	struct {
		struct family families[2];
		struct point points[3];
		struct service *services[2];
	} *arena = calloc(1, sizeof(*arena));

	atomic_init(&s->refs, 1);
	s->arena = arena;
	s->families = arena->families;
	s->n_families = 2;
	s->services = arena->services;
	s->n_services = 2;
	arena->services[0] = service_ref(service);
	arena->services[1] = service_ref(idle);
	arena->families[0] = (struct family){&inst, NULL, 0, arena->points, 2};
	arena->families[1] = (struct family){&inst, NULL, 0, arena->points + 2, 1};
	for (int i = 0; i < 3; i++) {
		arena->points[i].service = i == 2 ? NULL : service_ref(service);
		arena->points[i].labels = labels_ref(l);
	}
	assert_int_equal(service->refs, 4);
	assert_int_equal(l->refs, 4);
	assert_ptr_equal(snapshot_ref(s), s);
	snapshot_unref(s);
	assert_int_equal(service->refs, 4);
	snapshot_unref(s);
	assert_int_equal(service->refs, 1);
	assert_int_equal(idle->refs, 1);
	assert_int_equal(l->refs, 1);
	snapshot_unref(NULL);
	assert_null(snapshot_ref(NULL));
	service_unref(service);
	service_unref(idle);
	labels_unref(l);
}

/* Fills `c` with text on the heap, so that a pointer that was not moved is found by ASan. */
static char *borrow(const char *s)
{
	return strdup(s);
}

static void spans_own_everything(void **state)
{
	char *texts[] = {borrow("timeout"), borrow("/users/7"),	 borrow("/users/{id}"),	   borrow("a=1,b=2"),
			 borrow("nginx"),   borrow("shop.test"), borrow("GET /users/{id}")};
	struct service *service = service_new("shop", "", "");
	struct call c = {.role = ROLE_CLIENT, .start_ns = 5, .end_ns = 9, .service = service, .active = &c};
	struct span *s;

	c.error_type = str_of(texts[0]);
	c.path = str_of(texts[1]);
	c.route = str_of(texts[2]);
	c.parent = (struct trace_parent){.valid = true, .flags = 1, .state = str_of(texts[3])};
	c.comm = texts[4];
	call_add_str(&c, &attr_server_address, str_of(texts[5]));
	call_add_int(&c, &attr_server_port, 8080);
	call_add_str(&c, &attr_network_transport, (struct str){0});
	s = span_new(&c, texts[6]);
	assert_non_null(s);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
	assert_int_equal(service->refs, 2);
	service_unref(service);
	memset(&c, 0xee, sizeof(c));

	assert_string_equal(s->name, "GET /users/{id}");
	assert_true(str_is(s->call.error_type, "timeout"));
	assert_true(str_is(s->call.path, "/users/7"));
	assert_true(str_is(s->call.route, "/users/{id}"));
	assert_true(str_is(s->call.parent.state, "a=1,b=2"));
	assert_true(s->call.parent.valid);
	assert_string_equal(s->call.comm, "nginx");
	assert_string_equal(s->call.service->name, "shop");
	assert_true(str_is(call_attr(&s->call, &attr_server_address)->s, "shop.test"));
	assert_int_equal(call_attr(&s->call, &attr_server_port)->i, 8080);
	assert_int_equal(call_attr(&s->call, &attr_network_transport)->s.len, 0);
	assert_int_equal(s->call.start_ns, 5);
	assert_int_equal(s->call.role, ROLE_CLIENT);
	assert_null(s->call.active);
	assert_false(s->has_parent);
	for (size_t i = 0; i < sizeof(s->trace_id); i++)
		assert_int_equal(s->trace_id[i], 0);
	assert_ptr_equal(span_ref(s), s);
	span_unref(s);
	assert_string_equal(s->name, "GET /users/{id}");
	span_unref(s);
	span_unref(NULL);
}

static void spans_of_bare_calls(void **state)
{
	struct call c = {0};
	struct span *s = span_new(&c, "x");

	assert_null(s->call.service);
	assert_string_equal(s->call.comm, "");
	assert_int_equal(s->call.path.len, 0);
	span_unref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_follow_names),
		cmocka_unit_test(call_attributes),
		cmocka_unit_test(addresses),
		cmocka_unit_test(services),
		cmocka_unit_test(label_sets),
		cmocka_unit_test(snapshots_give_all_back),
		cmocka_unit_test(spans_own_everything),
		cmocka_unit_test(spans_of_bare_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
