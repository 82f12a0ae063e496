/* SPDX-License-Identifier: Apache-2.0 */
/* The one thing that is wanted from a package.json. */
#pragma once

#include "user/base/str.h"

/* The top level's "name"; false when there is none, it is no string, or the text breaks off before it. */
bool package_json_name(struct str json, char *ret, size_t cap);
