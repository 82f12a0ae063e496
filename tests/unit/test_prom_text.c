// SPDX-License-Identifier: Apache-2.0
/* Expositions byte for byte, and whatever the snapshot holds: valid for promtool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <sys/wait.h>

#include "exporters/wire/prom_text.h"
#include "user/base/clock.h"

static const double bounds[] = { 0, 0.00005, 0.5, 1, 1048576 };

static const struct instrument i_seconds = { "x.request.duration", "s", "Duration of \"requests\".\nSecond line \\ end.", INST_HISTOGRAM };
static const struct instrument i_counter = { "sonde.events.lost", "{event}", "Lost events.", INST_COUNTER };
static const struct instrument i_run = { "a.run", "s", "Run time.", INST_COUNTER };
static const struct instrument i_updown = { "x.active_requests", "{request}", "Active.", INST_UPDOWN };
static const struct instrument i_gauge = { "z.size", "By", "Size.", INST_GAUGE };
static const struct instrument i_info = { "sonde_build_info", "", "Version.", INST_INFO };

struct world {
	struct snapshot s;
	struct family f[8];
	struct point p[16];
	size_t n_points;
	struct service *shop, *self;
	struct buf out;
};

static struct point *add(struct world *w, const struct instrument *inst, struct service *s, const struct label *l, size_t n)
{
	struct family *f = w->s.n_families ? &w->f[w->s.n_families - 1] : NULL;
	struct point *p = &w->p[w->n_points++];

	if (!f || f->inst != inst) {
		f = &w->f[w->s.n_families++];
		*f = (struct family){ .inst = inst, .points = p };
		if (inst->kind == INST_HISTOGRAM) {
			f->bounds = bounds;
			f->n_bounds = ARRAY_SIZE(bounds);
		}
	}
	f->n_points++;
	*p = (struct point){ .service = s, .labels = labels_new(l, n) };
	return p;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->s.families = w->f;
	w->shop = service_new("shop", "store", "c0ffee");
	w->shop->id = 1;
	service_add_attr(w->shop, "host.name", "node1");
	service_add_attr(w->shop, "process.command", "");
	w->self = service_new("sonde", "", "1");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < w->n_points; i++)
		labels_unref(w->p[i].labels);
	service_unref(w->shop);
	service_unref(w->self);
	buf_done(&w->out);
	free(w);
	return 0;
}

static const char *text_of(struct world *w, enum prom_format format, const struct service *self)
{
	buf_clear(&w->out);
	prom_text_write(&w->out, &w->s, self, format);
	assert_int_equal(w->out.err, 0);
	assert_int_equal(strlen(w->out.data), w->out.len);
	return w->out.data;
}

static const struct label method[] = { { "x.request.method", "GET" } };
static const uint64_t counts[] = { 1, 2, 0, 3, 0, 4 };

static void fill(struct world *w)
{
	struct service *services[] = { w->shop };
	static struct service *kept[1];
	struct point *p;

	add(w, &i_gauge, NULL, NULL, 0)->value = -1.5;
	p = add(w, &i_seconds, w->shop, method, 1);
	p->hist.buckets = counts;
	p->hist.count = 10;
	p->hist.sum = 12.25;
	add(w, &i_updown, w->shop, NULL, 0)->value = 3;
	add(w, &i_counter, NULL, (struct label[]){ { "reason", "ring" } }, 1)->value = 12345678901234567.0;
	add(w, &i_counter, NULL, (struct label[]){ { "reason", "a\"b\\c\nd" } }, 1)->value = 0;
	add(w, &i_run, NULL, NULL, 0)->value = 0.25;
	add(w, &i_info, NULL, (struct label[]){ { "version", "0.1.0" } }, 1)->value = 7;
	kept[0] = services[0];
	w->s.services = kept;
	w->s.n_services = 1;
}

#define SHOP "service_name=\"shop\",service_namespace=\"store\",service_instance_id=\"c0ffee\""
#define CALLS SHOP ",x_request_method=\"GET\""

static void text_format(void **state)
{
	struct world *w = *state;

	fill(w);
	assert_string_equal(text_of(w, PROM_TEXT, w->self),
		"# HELP a_run_seconds_total Run time.\n"
		"# TYPE a_run_seconds_total counter\n"
		"a_run_seconds_total 0.25\n"
		"# HELP sonde_build_info Version.\n"
		"# TYPE sonde_build_info gauge\n"
		"sonde_build_info{version=\"0.1.0\"} 1\n"
		"# HELP sonde_events_lost_total Lost events.\n"
		"# TYPE sonde_events_lost_total counter\n"
		"sonde_events_lost_total{reason=\"ring\"} 12345678901234568\n"
		"sonde_events_lost_total{reason=\"a\\\"b\\\\c\\nd\"} 0\n"
		"# HELP target_info Attributes of the service: its OpenTelemetry resource.\n"
		"# TYPE target_info gauge\n"
		"target_info{" SHOP ",host_name=\"node1\"} 1\n"
		"target_info{service_name=\"sonde\",service_instance_id=\"1\"} 1\n"
		"# HELP x_active_requests Active.\n"
		"# TYPE x_active_requests gauge\n"
		"x_active_requests{" SHOP "} 3\n"
		"# HELP x_request_duration_seconds Duration of \"requests\".\\nSecond line \\\\ end.\n"
		"# TYPE x_request_duration_seconds histogram\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"0\"} 1\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"5e-05\"} 3\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"0.5\"} 3\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"1\"} 6\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"1.048576e+06\"} 6\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"+Inf\"} 10\n"
		"x_request_duration_seconds_sum{" CALLS "} 12.25\n"
		"x_request_duration_seconds_count{" CALLS "} 10\n"
		"# HELP z_size_bytes Size.\n"
		"# TYPE z_size_bytes gauge\n"
		"z_size_bytes -1.5\n");
}

static void openmetrics_format(void **state)
{
	struct world *w = *state;

	fill(w);
	assert_string_equal(text_of(w, PROM_OPENMETRICS, w->self),
		"# HELP a_run_seconds Run time.\n"
		"# TYPE a_run_seconds counter\n"
		"# UNIT a_run_seconds seconds\n"
		"a_run_seconds_total 0.25\n"
		"# HELP sonde_build Version.\n"
		"# TYPE sonde_build info\n"
		"sonde_build_info{version=\"0.1.0\"} 1\n"
		"# HELP sonde_events_lost Lost events.\n"
		"# TYPE sonde_events_lost counter\n"
		"sonde_events_lost_total{reason=\"ring\"} 12345678901234568\n"
		"sonde_events_lost_total{reason=\"a\\\"b\\\\c\\nd\"} 0\n"
		"# HELP target Attributes of the service: its OpenTelemetry resource.\n"
		"# TYPE target info\n"
		"target_info{" SHOP ",host_name=\"node1\"} 1\n"
		"target_info{service_name=\"sonde\",service_instance_id=\"1\"} 1\n"
		"# HELP x_active_requests Active.\n"
		"# TYPE x_active_requests gauge\n"
		"x_active_requests{" SHOP "} 3\n"
		"# HELP x_request_duration_seconds Duration of \\\"requests\\\".\\nSecond line \\\\ end.\n"
		"# TYPE x_request_duration_seconds histogram\n"
		"# UNIT x_request_duration_seconds seconds\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"0.0\"} 1\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"5e-05\"} 3\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"0.5\"} 3\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"1.0\"} 6\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"1.048576e+06\"} 6\n"
		"x_request_duration_seconds_bucket{" CALLS ",le=\"+Inf\"} 10\n"
		"x_request_duration_seconds_sum{" CALLS "} 12.25\n"
		"x_request_duration_seconds_count{" CALLS "} 10\n"
		"# HELP z_size_bytes Size.\n"
		"# TYPE z_size_bytes gauge\n"
		"# UNIT z_size_bytes bytes\n"
		"z_size_bytes -1.5\n"
		"# EOF\n");
}

static void names(void **state)
{
	static const struct {
		struct instrument inst;
		const char *name;
	} cases[] = {
		{ { "http.server.request.duration", "s", "", INST_HISTOGRAM }, "http_server_request_duration_seconds" },
		{ { "a.body.size", "By", "", INST_HISTOGRAM }, "a_body_size_bytes" },
		{ { "a.bytes", "By", "", INST_COUNTER }, "a_bytes" },
		{ { "a_seconds", "s", "", INST_GAUGE }, "a_seconds" },
		{ { "seconds", "s", "", INST_GAUGE }, "seconds_seconds" },
		{ { "a.total", "", "", INST_COUNTER }, "a" },
		{ { "a.total", "s", "", INST_COUNTER }, "a_seconds" },
		{ { "a.total", "", "", INST_GAUGE }, "a_total" },
		{ { "a.ratio", "1", "", INST_GAUGE }, "a_ratio" },
		{ { "a", "{thing}", "", INST_GAUGE }, "a" },
		{ { "a", NULL, "", INST_GAUGE }, "a" },
		{ { "a.lag", "ms", "", INST_GAUGE }, "a_lag_milliseconds" },
		{ { "1-\xc3\xa4-b", "", "", INST_GAUGE }, "_1_b" },
		{ { "a__b", "", "", INST_GAUGE }, "a__b" },
		{ { "x_info", "s", "", INST_INFO }, "x_info" },
	};
	char dst[PROM_NAME_MAX], longer[1000];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(prom_name(&cases[i].inst, dst), cases[i].name);
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	prom_name(&(struct instrument){ longer, "s", "", INST_GAUGE }, dst);
	assert_true(strlen(dst) < PROM_NAME_MAX);
	assert_non_null(strstr(dst, "a_seconds"));
}

/* Go's %g: what Prometheus's own libraries write. */
static void bound_texts(void **state)
{
	static const double b[] = { 1e-10, 0.00001, 0.0001, 0.00025, 0.1, 0.123456789, 10, 128, 65536, 100000, 999999, 1e6, 16777216, 1e21 };
	static const char *const want[] = { "1e-10", "1e-05", "0.0001", "0.00025", "0.1", "0.123456789", "10", "128", "65536",
					    "100000", "999999", "1e+06", "1.6777216e+07", "1e+21", "+Inf" };
	static const char *const open[] = { "1e-10", "1e-05", "0.0001", "0.00025", "0.1", "0.123456789", "10.0", "128.0", "65536.0",
					    "100000.0", "999999.0", "1e+06", "1.6777216e+07", "1e+21", "+Inf" };
	uint64_t none[ARRAY_SIZE(b) + 1] = { 0 };
	struct world *w = *state;
	char line[64];

	add(w, &i_seconds, NULL, NULL, 0)->hist.buckets = none;
	w->f[0].bounds = b;
	w->f[0].n_bounds = ARRAY_SIZE(b);
	for (int format = PROM_TEXT; format <= PROM_OPENMETRICS; format++) {
		const char *at = text_of(w, format, NULL);

		for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
			snprintf(line, sizeof(line), "_bucket{le=\"%s\"} 0\n", (format == PROM_TEXT ? want : open)[i]);
			at = strstr(at, line);
			assert_non_null(at);
		}
	}
}

static void same_labels_add_up(void **state)
{
	struct service *twin = service_new("shop", "store", "c0ffee");
	static const uint64_t more[] = { 0, 0, 0, 0, 0, 5 };
	struct world *w = *state;
	struct service *services[] = { w->shop, twin };
	struct point *p;

	twin->id = 2;
	service_add_attr(twin, "host.name", "node2");
	w->s.services = services;
	w->s.n_services = 2;
	add(w, &i_counter, w->shop, method, 1)->value = 2;
	add(w, &i_counter, twin, method, 1)->value = 3;
	add(w, &i_counter, twin, NULL, 0)->value = 1;
	add(w, &i_counter, w->shop, method, 1)->value = 4;
	add(w, &i_gauge, w->shop, NULL, 0)->value = 1;
	add(w, &i_gauge, twin, NULL, 0)->value = 2;
	p = add(w, &i_seconds, w->shop, NULL, 0);
	p->hist.buckets = counts;
	p->hist.sum = 1;
	p = add(w, &i_seconds, twin, NULL, 0);
	p->hist.buckets = more;
	p->hist.sum = 2.5;
	text_of(w, PROM_TEXT, NULL);
	assert_non_null(strstr(w->out.data, "counter\nsonde_events_lost_total{" CALLS "} 9\nsonde_events_lost_total{" SHOP "} 1\n#"));
	assert_non_null(strstr(w->out.data, "z_size_bytes{" SHOP "} 1\n"));
	assert_null(strstr(w->out.data, "z_size_bytes{" SHOP "} 2\n"));
	assert_non_null(strstr(w->out.data, SHOP ",le=\"1.048576e+06\"} 6\n"));
	assert_non_null(strstr(w->out.data, SHOP ",le=\"+Inf\"} 15\nx_request_duration_seconds_sum{" SHOP "} 3.5\n"
						 "x_request_duration_seconds_count{" SHOP "} 15\n"));
	/* the younger one's attributes */
	assert_non_null(strstr(w->out.data, "gauge\ntarget_info{" SHOP ",host_name=\"node2\"} 1\n# "));
	service_unref(twin);
}

static void same_family_names(void **state)
{
	static const struct instrument twin = { "sonde_events.lost", "", "Twin.", INST_COUNTER };
	static const struct instrument other = { "sonde.events.lost", "", "Another kind.", INST_HISTOGRAM };
	struct world *w = *state;

	add(w, &i_counter, NULL, NULL, 0)->value = 2;
	add(w, &twin, NULL, NULL, 0)->value = 3;
	add(w, &twin, NULL, method, 1)->value = 4;
	text_of(w, PROM_TEXT, NULL);
	assert_non_null(strstr(w->out.data, "counter\nsonde_events_lost_total 5\nsonde_events_lost_total{x_request_method=\"GET\"} 4\n"));
	assert_null(strstr(strstr(w->out.data, "# TYPE") + 1, "# TYPE"));
	add(w, &other, NULL, NULL, 0)->hist.buckets = counts;
	text_of(w, PROM_OPENMETRICS, NULL);
	assert_null(strstr(strstr(w->out.data, "# TYPE") + 1, "# TYPE"));
}

static void label_names(void **state)
{
	const struct label l[] = { { "a.b", "1" },	     { "a_b", "2" },	       { "a-b", "\"3" }, { "le", "x" },
				   { "1st", "y" },	     { "__name__", "z" },      { "empty", "" },
				   { "service.name", "evil" } };
	struct world *w = *state;

	add(w, &i_seconds, w->shop, l, ARRAY_SIZE(l))->hist.buckets = counts;
	text_of(w, PROM_TEXT, NULL);
	assert_non_null(strstr(w->out.data,
			       "_count{service_name=\"shop;evil\",service_namespace=\"store\",service_instance_id=\"c0ffee\","
			       "key_1st=\"y\",key__name__=\"z\",a_b=\"\\\"3;1;2\",exported_le=\"x\"} 10\n"));
	assert_non_null(strstr(w->out.data, ",exported_le=\"x\",le=\"+Inf\"} 10\n"));
}

static void no_room(void **state)
{
	struct world *w = *state;
	struct buf small = { .max = 300 };

	fill(w);
	prom_text_write(&small, &w->s, w->self, PROM_TEXT);
	assert_int_equal(small.err, -ENOBUFS);
	buf_done(&small);
}

static void nothing_at_all(void **state)
{
	struct world *w = *state;

	assert_string_equal(text_of(w, PROM_OPENMETRICS, NULL), "# EOF\n");
}

/* --- promtool --- */

static bool have_promtool(void)
{
	return !system("command -v promtool >/dev/null");
}

static void promtool(const struct buf *b)
{
	char path[] = "/tmp/test_prom_text.XXXXXX", command[128], said[512];
	int fd = mkstemp(path), status;
	size_t n;
	FILE *f;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, b->data, b->len), b->len);
	close(fd);
	snprintf(command, sizeof(command), "promtool check metrics <%s 2>&1", path);
	f = popen(command, "r");
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = 0;
	status = pclose(f);
	unlink(path);
	assert_string_equal(said, "");
	assert_int_equal(status, 0);
}

static void promtool_is_silent(void **state)
{
	struct world *w = *state;

	if (!have_promtool()) {
		print_message("SKIPPED: promtool is not installed (package prometheus)\n");
		skip();
	}
	fill(w);
	text_of(w, PROM_TEXT, w->self);
	promtool(&w->out);
}

/* Every byte in values, resources and names; sequences that are not UTF-8 among them. */
static void hostile(void **state)
{
	struct world *w = *state;
	static struct service *services[1];
	char bytes[256], name[300];
	size_t lines = 0;

	for (int i = 0; i < 255; i++)
		bytes[i] = (char)(i + 1);
	bytes[255] = 0;
	snprintf(name, sizeof(name), "n%s", bytes);
	service_add_attr(w->shop, name, bytes);
	service_add_attr(w->shop, "cut", "\xe2\x82");
	for (int i = 0; i < 200; i++) { /* more than fit */
		snprintf(name, sizeof(name), "attr.%d", i);
		service_add_attr(w->shop, name, "v");
	}
	services[0] = w->shop;
	w->s.services = services;
	w->s.n_services = 1;
	add(w, &i_counter, w->shop, (struct label[]){ { "path", "\"} 1\nfake_total 5\n# EOF\n" } }, 1)->value = NAN;
	add(w, &i_gauge, w->shop, (struct label[]){ { "\"} 1\nfake 5", "\\" } }, 1)->value = -INFINITY;
	text_of(w, PROM_TEXT, NULL);
	for (size_t i = 0; i < w->out.len; i++)
		lines += w->out.data[i] == '\n';
	assert_int_equal(lines, 9);
	assert_null(strstr(w->out.data, "\nfake"));
	assert_non_null(strstr(w->out.data, "cut=\"\xef\xbf\xbd\xef\xbf\xbd\""));
	assert_non_null(strstr(w->out.data, "} NaN\n"));
	assert_non_null(strstr(w->out.data, "} -Inf\n"));
	if (have_promtool())
		promtool(&w->out);
	else
		print_message("SKIPPED in part: promtool is not installed (package prometheus)\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(text_format, setup, teardown),
		cmocka_unit_test_setup_teardown(openmetrics_format, setup, teardown),
		cmocka_unit_test_setup_teardown(names, setup, teardown),
		cmocka_unit_test_setup_teardown(bound_texts, setup, teardown),
		cmocka_unit_test_setup_teardown(same_labels_add_up, setup, teardown),
		cmocka_unit_test_setup_teardown(same_family_names, setup, teardown),
		cmocka_unit_test_setup_teardown(label_names, setup, teardown),
		cmocka_unit_test_setup_teardown(no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_at_all, setup, teardown),
		cmocka_unit_test_setup_teardown(promtool_is_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
