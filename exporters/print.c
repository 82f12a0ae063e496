// SPDX-License-Identifier: Apache-2.0
/*
 * One line per call on standard output, for people or as JSON: --print and `sonde tail`.
 * What its reader does not take in time is dropped, counted, and said where it would have stood.
 */
#include "exporters/print.h"

#include <stdlib.h>

#include "exporters/exporter.h"
#include "exporters/wire/lines.h"
#include "user/base/clock.h"
#include "user/base/log.h"

struct exporter {
	struct lines *lines;
	bool json, colour;
};

static struct call_filter filter;
static bool filter_set;

void exporter_print_set_filter(const struct call_filter *f)
{
	filter = *f;
	filter_set = true;
}

static void dropped_text(struct buf *b, uint64_t n)
{
	buf_printf(b, "… %llu lines dropped: the terminal is too slow\n", (unsigned long long)n);
}

static void dropped_json(struct buf *b, uint64_t n)
{
	log_warn_limited("%llu lines dropped: the reader of standard output is too slow", (unsigned long long)n);
}

static bool wants_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb");
}

static int print_start(const struct exporter_host *host, struct exporter **ret)
{
	_free_ struct exporter *e = NULL;
	int err;

	if (host->config->print == PRINT_NONE)
		return 1;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->json = host->config->print == PRINT_JSON;
	e->colour = !e->json && wants_colour();
	lines_reset();
	err = lines_new(&e->lines, e->json ? dropped_json : dropped_text);
	if (err)
		return err;
	*ret = TAKE_PTR(e);
	return 0;
}

static void print_call(struct exporter *e, const struct call *c)
{
	uint64_t wall = c->end_ns ? clock_mono_to_wall(c->end_ns) : clock_wall_ns();
	struct buf *b;

	if (lines_closed() || (filter_set && !call_filter_match(&filter, c)))
		return;
	b = lines_begin(e->lines);
	if (!b)
		return;
	if (e->json)
		call_line_json(b, c, wall);
	else
		call_line_text(b, c, wall, e->colour);
	lines_end(e->lines);
}

static size_t print_stats(struct exporter *e, struct exporter_stats out[EXPORTER_SIGNALS_MAX])
{
	struct lines_stats s;

	lines_get_stats(e->lines, &s);
	out[0] = (struct exporter_stats){
		.signal = "lines",
		.sent = s.sent,
		.failed = s.failed,
		.dropped = s.dropped,
		.queue_len = s.held,
	};
	return 1;
}

static void print_stop(struct exporter *e, uint64_t deadline_ns)
{
	lines_stop(e->lines, deadline_ns);
	free(e);
}

extern const struct exporter_ops exporter_print;
const struct exporter_ops exporter_print = {
	.name = "print",
	.start = print_start,
	.call = print_call,
	.stats = print_stats,
	.stop = print_stop,
};
