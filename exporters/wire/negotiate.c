// SPDX-License-Identifier: Apache-2.0
/*
 * A header is a list of names with parameters; the most specific name that fits says the
 * weight. Weights are thousandths: the RFC gives them three digits.
 */
#include "exporters/wire/negotiate.h"

#define NOT_NAMED (-1)

/* "0.75" → 750; what is no weight is refused: 0. */
static int parse_weight(struct str s)
{
	int v = 0, scale = 1000;

	if (!s.len || s.len > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.len > 1 && s.p[1] != '.'))
		return 0;
	v = (s.p[0] - '0') * 1000;
	for (size_t i = 2; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		scale /= 10;
		v += (s.p[i] - '0') * scale;
	}
	return MIN(v, 1000);
}

/* Value of a parameter, without quotes; false: not there. */
static bool param(struct str params, struct str name, struct str *ret)
{
	struct str part, key;

	while (str_split(&params, ';', &part)) {
		if (!str_split(&part, '=', &key) || !str_eq_nocase(str_trim(key), name))
			continue;
		part = str_trim(part);
		if (part.len >= 2 && part.p[0] == '"' && part.p[part.len - 1] == '"')
			part = (struct str){part.p + 1, part.len - 2};
		*ret = part;
		return true;
	}
	return false;
}

/* The next element of a list: its name; `*ret_params` is what stands behind. */
static bool next(struct str *list, struct str *ret_name, struct str *ret_params)
{
	struct str element;

	if (!str_split(list, ',', &element))
		return false;
	*ret_params = element;
	*ret_name = (struct str){0};
	str_split(ret_params, ';', ret_name);
	*ret_name = str_trim(*ret_name);
	return true;
}

static int weight(struct str params)
{
	struct str q;

	return param(params, STR("q"), &q) ? parse_weight(q) : 1000;
}

static bool version_is(struct str params, const char *version)
{
	struct str v;

	return !param(params, STR("version"), &v) || str_is(v, version);
}

enum prom_format negotiate_format(const char *accept)
{
	int open = NOT_NAMED, plain = NOT_NAMED, text = NOT_NAMED, any = NOT_NAMED;
	struct str list = str_of(accept), name, params;

	while (next(&list, &name, &params)) {
		int q = weight(params);

		if (str_eq_nocase(name, STR("application/openmetrics-text")) && version_is(params, "1.0.0"))
			open = MAX(open, q);
		else if (str_eq_nocase(name, STR("text/plain")) && version_is(params, "0.0.4"))
			plain = MAX(plain, q);
		else if (str_eq_nocase(name, STR("text/*")))
			text = MAX(text, q);
		else if (str_is(name, "*/*"))
			any = MAX(any, q);
	}
	if (plain == NOT_NAMED)
		plain = text != NOT_NAMED ? text : any;
	return open > 0 && open >= plain ? PROM_OPENMETRICS : PROM_TEXT;
}

bool negotiate_gzip(const char *accept_encoding)
{
	int gzip = NOT_NAMED, any = NOT_NAMED;
	struct str list = str_of(accept_encoding), name, params;

	while (next(&list, &name, &params)) {
		if (str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip")))
			gzip = MAX(gzip, weight(params));
		else if (str_is(name, "*"))
			any = weight(params);
	}
	return (gzip != NOT_NAMED ? gzip : any) > 0;
}
