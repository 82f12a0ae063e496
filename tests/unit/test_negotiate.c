// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "exporters/wire/negotiate.h"

#define OM "application/openmetrics-text"

static void formats(void **state)
{
	static const struct {
		const char *accept;
		enum prom_format want;
	} cases[] = {
		{ "", PROM_TEXT },
		{ "*/*", PROM_TEXT },
		{ "text/plain", PROM_TEXT },
		{ "application/json", PROM_TEXT },
		{ OM, PROM_OPENMETRICS },
		{ OM ";version=1.0.0", PROM_OPENMETRICS },
		{ OM "; version=\"1.0.0\" ; charset=utf-8", PROM_OPENMETRICS },
		{ "Application/OpenMetrics-Text; Version=1.0.0", PROM_OPENMETRICS },
		{ OM ";version=0.0.1", PROM_TEXT },
		{ OM ";q=0", PROM_TEXT },
		{ OM ";q=0.5, text/plain;q=0.5", PROM_OPENMETRICS },
		{ OM ";q=0.499, text/plain;q=0.5", PROM_TEXT },
		{ OM ";q=0.5,text/*;q=0.6", PROM_TEXT },
		{ OM ";q=0.5,*/*;q=0.6", PROM_TEXT },
		{ OM ";q=0.5,text/plain;q=0.1,*/*;q=0.6", PROM_OPENMETRICS },
		{ OM ";q=rubbish", PROM_TEXT },
		{ OM ";q=-1", PROM_TEXT },
		{ OM ";q=", PROM_TEXT },
		{ OM ";q=1e9", PROM_TEXT },
		{ OM ";charset=q;=;;,,;q=1,", PROM_OPENMETRICS },
		/* Prometheus 2 and 3 */
		{ OM ";version=1.0.0," OM ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PROM_OPENMETRICS },
		{ OM ";version=1.0.0;escaping=allow-utf-8;q=0.6," OM ";version=0.0.1;q=0.5,text/plain;version=1.0.0;"
		     "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", PROM_OPENMETRICS },
		{ "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
		  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PROM_TEXT },
		{ "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", PROM_TEXT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (negotiate_format(cases[i].accept) != cases[i].want)
			fail_msg("Accept: %s", cases[i].accept);
	}
}

static void codings(void **state)
{
	static const struct {
		const char *accept;
		bool want;
	} cases[] = {
		{ "", false },		 { "gzip", true },	      { "GZIP;q=1.0", true },	 { "x-gzip", true },
		{ "gzip;q=0", false },	 { "gzip;q=0.000", false },   { "gzip;q=0.001", true },	 { "deflate, br", false },
		{ "identity", false },	 { "*", true },		      { "*;q=0", false },	 { "*, gzip;q=0", false },
		{ "gzip;q=0, *", false }, { "br;q=1, gzip;q=0.5", true }, { "gzip, *;q=0", true }, { "gzipped", false },
		{ "gzip ; q = 0", false }, { ",;=,", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (negotiate_gzip(cases[i].accept) != cases[i].want)
			fail_msg("Accept-Encoding: %s", cases[i].accept);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(formats), cmocka_unit_test(codings) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
