/* SPDX-License-Identifier: Apache-2.0 */
/* The exporters: one line each. X(name) makes `exporter_<name>` (exporters/<name>.c). */
#pragma once

#define SONDE_EXPORTERS(X) \
	X(prometheus)      \
	X(otlp)            \
	X(console)         \
	X(print)
