/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder table, made from the list of protocols. */
#include "user/proto/proto.h"

#define X(id, name) extern const struct proto proto_##name;
SONDE_PROTOCOLS(X)
#undef X

const struct proto *const proto_table[PROTO_MAX] = {
#define X(id, name) [PROTO_##id] = &proto_##name,
	SONDE_PROTOCOLS(X)
#undef X
};
