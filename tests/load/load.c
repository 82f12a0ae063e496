/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every BPF program must pass this kernel's verifier, each alone; nothing is attached.
 * Prints the instructions that the verifier walked beside its limit. Needs root: without it
 * every program is a skip, said aloud.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/libbpf.h>
#include <linux/types.h>

#include "bpf/shared/config.h"
#include "sonde.skel.h"

static char verifier_log[4 << 20];

static int load_alone(const char *name)
{
	struct sonde_bpf *s = sonde_bpf__open();
	struct bpf_program *p = s ? bpf_object__find_program_by_name(s->obj, name) : NULL;
	const char *words;
	int err;

	if (!p) {
		printf("FAIL %-20s cannot be opened\n", name);
		sonde_bpf__destroy(s);
		return 1;
	}
	verifier_log[0] = 0;
	bpf_program__set_autoload(p, true);
	bpf_program__set_log_buf(p, verifier_log, sizeof(verifier_log));
	bpf_program__set_log_level(p, 4);
	err = sonde_bpf__load(s);
	words = strstr(verifier_log, "processed ");
	if (err)
		printf("FAIL %-20s %s\n%s\n", name, strerror(-err), verifier_log);
	else
		printf("ok   %-20s %.*s\n", name, words ? (int)strcspn(words, "\n") : 0, words ?: "");
	sonde_bpf__destroy(s);
	return err != 0;
}

int main(void)
{
	struct sonde_bpf *s = sonde_bpf__open();
	struct bpf_program *p;
	int passed = 0, failed = 0, skipped = 0;

	libbpf_set_print(NULL);
	if (!s)
		return fprintf(stderr, "the BPF object cannot be opened: %s\n", strerror(errno)), 1;
	bpf_object__for_each_program(p, s->obj) {
		if (geteuid()) {
			printf("skip %-20s not root\n", bpf_program__name(p));
			skipped++;
		} else if (load_alone(bpf_program__name(p))) {
			failed++;
		} else {
			passed++;
		}
	}
	sonde_bpf__destroy(s);
	printf("load: %d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed != 0;
}
