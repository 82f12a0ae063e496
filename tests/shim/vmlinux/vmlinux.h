/* SPDX-License-Identifier: Apache-2.0 */
/* Stands before vmlinux/vmlinux.h in the include path: of the kernel's types only what bpf/lib and classify name. */
#pragma once

#include "tests/shim/shim.h"

#ifndef __TARGET_ARCH_x86
#define __TARGET_ARCH_x86 /* numbers of system calls; any will do */
#endif

enum { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_SK_STORAGE };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_CLONE = 2, BPF_ANY = 0, BPF_SK_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2, BPF_RB_AVAIL_DATA = 0 };

struct iovec {
	void *iov_base;
	__u64 iov_len;
};
struct user_msghdr {
	struct iovec *msg_iov;
	__u64 msg_iovlen;
};
struct pt_regs {
	__u64 orig_ax, di, si, dx, r10;
};
struct cgroup {
	int level;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};
struct file {
	void *private_data;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
struct task_struct {
	unsigned int flags;
	struct {
		unsigned long status;
	} thread_info;
	struct css_set *cgroups;
	void *io_uring;
	struct files_struct *files;
};
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
struct sock {
	struct {
		__u16 skc_family;
		__u16 skc_num;
		__u16 skc_dport;
		__u32 skc_rcv_saddr, skc_daddr;
		__u8 skc_v6_rcv_saddr[16], skc_v6_daddr[16];
		struct {
			struct net *net;
		} skc_net;
	} __sk_common;
	__u16 sk_protocol, sk_type;
	__u8 sk_kern_sock : 1;
	void *sk_bpf_storage;
	void *sk_socket;
};
struct unix_address {
	int len;
	struct {
		char sun_path[108];
	} name[1];
};
struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};
