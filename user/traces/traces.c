// SPDX-License-Identifier: Apache-2.0
/*
 * Identity and sampling of spans. Ids come from xoshiro256** (Blackman and Vigna),
 * seeded by the kernel: ids need to be unlikely to meet, not hard to guess. A valid
 * traceparent gives trace and parent, everything else starts a trace.
 *
 * Sampling by ratio compares the 56 random bits of the trace id (W3C Trace Context
 * Level 2: the rightmost seven bytes) with a threshold, as OpenTelemetry's consistent probability
 * sampling does: whoever else does so takes the same traces, and a lower ratio takes
 * a part of what a higher one takes.
 */
#include <sys/random.h>

#include "user/base/clock.h"
#include "user/traces/traces.h"

#define FLAG_SAMPLED 0x01
#define FLAG_RANDOM 0x02
#define RANDOM_BITS_END (1ULL << 56)

struct traces {
	uint64_t rng[4];
	int sampler;
	uint64_t threshold; /* sampled when the random bits are not below; 0: all, 2^56: none */
	struct traces_stats stats;
};

static uint64_t rotl(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static uint64_t rng_next(uint64_t s[4])
{
	uint64_t r = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return r;
}

static int rng_seed(uint64_t s[4])
{
	ssize_t n = getrandom(s, 4 * sizeof(*s), 0);

	if (n != 4 * sizeof(*s))
		return n < 0 ? -errno : -EIO;
	s[0] |= !(s[0] | s[1] | s[2] | s[3]); /* the one state that it cannot leave */
	return 0;
}

/* `size` is 8 or 16; never all zero, which W3C and OTLP call invalid. */
static void new_id(struct traces *t, uint8_t *id, size_t size)
{
	uint64_t any = 0;

	while (!any) {
		for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
			uint64_t v = rng_next(t->rng);

			memcpy(id + i, &v, sizeof(v));
			any |= v;
		}
	}
}

static uint64_t ratio_threshold(double ratio)
{
	if (!(ratio < 1)) /* NaN too: the default */
		return 0;
	if (ratio <= 0)
		return RANDOM_BITS_END;
	return RANDOM_BITS_END - (uint64_t)(ratio * (double)RANDOM_BITS_END + 0.5);
}

void traces_configure(struct traces *t, const struct config *c)
{
	t->sampler = c->sampler;
	t->threshold = ratio_threshold(c->sampler_arg);
}

struct traces *traces_new(const struct config *c)
{
	struct traces *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return NULL;
	err = rng_seed(t->rng);
	if (err) {
		free(t);
		errno = -err;
		return NULL;
	}
	traces_configure(t, c);
	return t;
}

void traces_free(struct traces *t)
{
	free(t);
}

static bool by_ratio(const struct traces *t, const uint8_t trace_id[16])
{
	uint64_t random = 0;

	for (int i = 9; i < 16; i++)
		random = random << 8 | trace_id[i];
	return random >= t->threshold;
}

/* A parent-based sampler follows the parent where there is one, and is its root's sampler elsewhere. */
static bool sampled(const struct traces *t, const struct trace_parent *parent, const uint8_t trace_id[16])
{
	if (t->sampler >= SAMPLER_PARENT_ALWAYS_ON && parent->valid)
		return parent->flags & FLAG_SAMPLED;
	switch (t->sampler) {
	case SAMPLER_ALWAYS_OFF:
	case SAMPLER_PARENT_ALWAYS_OFF:
		return false;
	case SAMPLER_RATIO:
	case SAMPLER_PARENT_RATIO:
		return by_ratio(t, trace_id);
	default:
		return true;
	}
}

static bool call_timed(const struct call *c)
{
	return c->start_ns != TIME_UNKNOWN && c->end_ns != TIME_UNKNOWN && c->end_ns >= c->start_ns;
}

struct span *traces_span(struct traces *t, const struct call *c, const char *name)
{
	const struct trace_parent *parent = &c->parent;
	uint8_t trace_id[16];
	struct span *s;

	errno = 0;
	if (!call_timed(c)) {
		t->stats.untimed++;
		return NULL;
	}
	if (parent->valid)
		memcpy(trace_id, parent->trace_id, sizeof(trace_id));
	else
		new_id(t, trace_id, sizeof(trace_id));
	if (!sampled(t, parent, trace_id)) {
		t->stats.sampled_out++;
		return NULL;
	}
	s = span_new(c, name);
	if (!s) {
		t->stats.failed++;
		errno = ENOMEM;
		return NULL;
	}
	memcpy(s->trace_id, trace_id, sizeof(s->trace_id));
	new_id(t, s->span_id, sizeof(s->span_id));
	s->has_parent = parent->valid;
	if (parent->valid)
		memcpy(s->parent_id, parent->span_id, sizeof(s->parent_id));
	/* whether a trace id is random is known to who made it */
	s->flags = FLAG_SAMPLED | (parent->valid ? parent->flags & FLAG_RANDOM : FLAG_RANDOM);
	s->start_wall_ns = clock_mono_to_wall(c->start_ns);
	s->end_wall_ns = s->start_wall_ns + (c->end_ns - c->start_ns);
	t->stats.made++;
	return s;
}

void traces_get_stats(const struct traces *t, struct traces_stats *ret)
{
	*ret = t->stats;
}
