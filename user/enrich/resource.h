/* SPDX-License-Identifier: Apache-2.0 */
/* From facts to an OpenTelemetry resource: the instance's id and the attributes. */
#pragma once

#include "user/enrich/facts.h"

struct resource_host {
	char name[256]; /* host.name */
	char id[256];	/* host.id, from /etc/machine-id; "": unknown */
};

struct resource_root {
	uint32_t pid;
	uint64_t start_ns;
};

void resource_host_read(struct resource_host *ret, int proc_fd);
#define RESOURCE_INSTANCE_MAX 1024
/* service.instance.id of a process tree with this root; returns dst. */
const char *resource_instance(char dst[RESOURCE_INSTANCE_MAX], const struct resource_host *h, const struct facts *f,
			      const struct resource_root *root);
/* Adds the attributes; -ENOMEM. `comm` stands in for an unknown executable. */
int resource_attributes(struct service *s, const struct config *c, const struct resource_host *h, const struct facts *f,
			const struct resource_root *root, const char *comm);
