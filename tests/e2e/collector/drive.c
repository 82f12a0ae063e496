// SPDX-License-Identifier: Apache-2.0
/*
 * Runs the OTLP exporter alone: reads sonde's configuration as the daemon does, gives it
 * SPANS spans of two services and snapshots of known values, stops it and prints its counters
 * as one JSON line. For check.py; needs no rights.
 *
 *   drive SPANS PAUSE_MS [sonde's flags]      PAUSE_MS between each 100 spans
 */
#include <stdio.h>
#include <time.h>

#include "exporters/exporter.h"
#include "user/base/clock.h"
#include "user/base/log.h"

extern const struct exporter_ops exporter_otlp;

static const struct attr_key key_number = {"test.number", "test_number"};
static const struct attr_key key_bytes = {"test.bytes", "test_bytes"};
static const struct instrument requests = {"test.requests", "{request}", "Requests.", INST_COUNTER};
static const struct instrument active = {"test.active", "{request}", "Active requests.", INST_UPDOWN};
static const struct instrument fill = {"test.fill", "1", "Fill.", INST_GAUGE};
static const struct instrument duration = {"test.duration", "s", "Durations.", INST_HISTOGRAM};
static const struct instrument *const instruments[] = {&requests, &active, &fill, &duration};
static struct service *services[2];
static uint64_t start_ns;

struct arena {
	struct family families[4];
	struct point points[4][2];
	double bounds[2];
	uint64_t buckets[2][3];
};

static struct snapshot *take_snapshot(void *ctx)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	struct arena *a = calloc(1, sizeof(*a));
	struct label l = {"http.response.status_code", "200"};

	s->refs = 1;
	s->wall_ns = clock_wall_ns();
	s->arena = a;
	s->families = a->families;
	s->n_families = 4;
	a->bounds[0] = 0.1;
	a->bounds[1] = 1;
	for (int f = 0; f < 4; f++) {
		a->families[f] = (struct family){.inst = instruments[f], .points = a->points[f], .n_points = 2};
		for (int i = 0; i < 2; i++) {
			struct point *p = &a->points[f][i];

			*p = (struct point){
				service_ref(services[i]), labels_new(&l, 1), start_ns, {.value = 10 * f + i + 7}};
			if (f < 3)
				continue;
			a->families[f].bounds = a->bounds;
			a->families[f].n_bounds = 2;
			a->buckets[i][0] = 1;
			a->buckets[i][1] = 2;
			a->buckets[i][2] = (uint64_t)i;
			p->hist.count = 3 + (uint64_t)i;
			p->hist.sum = 2.5;
			p->hist.buckets = a->buckets[i];
		}
	}
	return s;
}

static struct span *make_span(unsigned int i)
{
	struct call c = {.role = i % 2 ? ROLE_CLIENT : ROLE_SERVER,
			 .wait_ns = 250000,
			 .comm = "drive",
			 .pid = 1,
			 .tid = 4321,
			 .failed = i % 10 == 0,
			 .service = services[i % 2]};
	struct span *s;

	c.peer = (struct net_addr){.family = NET_INET, .port = 40000, .ip = {192, 0, 2, 1}};
	call_add_int(&c, &key_number, i);
	call_add_str(&c, &key_bytes, (struct str){"a\xff\x00z", 4});
	s = span_new(&c, "GET /x/{id}");
	memset(s->trace_id, 0xab, sizeof(s->trace_id));
	memset(s->span_id, 0xcd, sizeof(s->span_id));
	memcpy(s->span_id, &i, sizeof(i));
	s->flags = 1;
	s->start_wall_ns = start_ns + i;
	s->end_wall_ns = start_ns + i + 1000;
	return s;
}

static bool ready(void *ctx)
{
	return true;
}

static void print_stats(const struct exporter_stats *st, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%s\"%s\": {\"sent\": %llu, \"failed\": %llu, \"dropped\": %llu}", i ? ", " : "{", st[i].signal,
		       (unsigned long long)st[i].sent, (unsigned long long)st[i].failed,
		       (unsigned long long)st[i].dropped);
	printf("}\n");
}

/* What was handed over is counted only when its thread has sent it. */
static void wait_for_spans(struct exporter *e, uint64_t total, uint64_t until_ns)
{
	struct exporter_stats st[EXPORTER_SIGNALS_MAX];
	struct timespec ms = {0, 1000000};

	while (clock_mono_ns() < until_ns) {
		if (!exporter_otlp.stats(e, st) || st[0].sent + st[0].failed + st[0].dropped >= total)
			return;
		nanosleep(&ms, NULL);
	}
}

int main(int argc, char **argv)
{
	struct exporter_stats st[EXPORTER_SIGNALS_MAX];
	struct exporter_host host = {.snapshot = take_snapshot, .ready = ready, .version = "0.0.0-test"};
	unsigned int spans = argc > 2 ? (unsigned int)atoi(argv[1]) : 0;
	long pause_ms = argc > 2 ? atol(argv[2]) : 0;
	struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
	struct config *config = NULL;
	struct exporter *e = NULL;
	int rest, err;

	if (argc < 3 || config_load(&config, argc - 2, argv + 2, &rest))
		return 1;
	services[0] = service_new("alpha", "test", "alpha-1");
	services[1] = service_new("beta", "", "beta-1");
	service_add_attr(services[0], "process.pid", "77");
	start_ns = clock_wall_ns() - NSEC_PER_SEC;
	host.config = config;
	host.self = services[0];
	err = exporter_otlp.start(&host, &e);
	if (err) {
		printf("{\"start\": %d}\n", err);
		config_free(config);
		return err > 0 ? 0 : 1;
	}
	for (unsigned int i = 0; i < spans; i++) {
		struct span *s = make_span(i);

		exporter_otlp.span(e, s);
		span_unref(s);
		if (i % 100 == 99 && pause_ms)
			nanosleep(&pause, NULL);
	}
	wait_for_spans(e, spans, clock_mono_ns() + 20 * NSEC_PER_SEC);
	print_stats(st, exporter_otlp.stats(e, st));
	exporter_otlp.stop(e, clock_mono_ns() + 5 * NSEC_PER_SEC);
	for (int i = 0; i < 2; i++)
		service_unref(services[i]);
	config_free(config);
	return 0;
}
