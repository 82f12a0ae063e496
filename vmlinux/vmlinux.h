/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Picks the kernel types of the target architecture. The files below are made by
 * `bpftool btf dump file /sys/kernel/btf/vmlinux format c` and never edited;
 * CO-RE relocates every access to the kernel that is really running.
 */
#pragma once

#if defined(__TARGET_ARCH_x86)
#include "vmlinux/x86/vmlinux.h"
#else
#error "no vmlinux.h for this architecture yet"
#endif
