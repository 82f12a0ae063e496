/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attribute keys are objects, compared by address: a protocol declares its own
 * beside its decoder, those that more than one room uses stand here. Names are
 * those of the OpenTelemetry semantic conventions, version SEMCONV_VERSION; the
 * Prometheus label is the name with every '.' turned into '_' (conventions,
 * "Prometheus compatibility").
 */
#pragma once

#include "user/base/str.h"

#define SEMCONV_VERSION "1.37.0"
#define SEMCONV_SCHEMA_URL "https://opentelemetry.io/schemas/" SEMCONV_VERSION

struct attr_key {
	const char *name; /* "http.request.method" */
	const char *label; /* "http_request_method" */
};

enum attr_type { ATTR_STR, ATTR_INT };

struct attr {
	const struct attr_key *key;
	enum attr_type type;
	union {
		struct str s; /* borrowed from whoever made the attribute; may hold any bytes */
		int64_t i;
	};
};

/* The attributes that are not one protocol's own (defined in attr.c). */
extern const struct attr_key attr_error_type;
extern const struct attr_key attr_server_address;
extern const struct attr_key attr_server_port;
extern const struct attr_key attr_client_address;
extern const struct attr_key attr_network_peer_address;
extern const struct attr_key attr_network_peer_port;
extern const struct attr_key attr_network_local_address;
extern const struct attr_key attr_network_local_port;
extern const struct attr_key attr_network_transport;
extern const struct attr_key attr_network_protocol_name;
extern const struct attr_key attr_network_protocol_version;
