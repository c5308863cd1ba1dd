/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of the kernel's UAPI that the XDP program uses, written by hand: see README.md for why
 * this is no dump of a running kernel's types. tests/bpf/test_vmlinux.py compares every value with
 * <linux/bpf.h>.
 *
 * It must know nothing of smtpgate, and holds nothing that differs between architectures or
 * kernels.
 */
#ifndef SMTPGATE_VMLINUX_H
#define SMTPGATE_VMLINUX_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

/* Used by the helpers' prototypes in <bpf/bpf_helpers.h>. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

enum bpf_map_type {
    BPF_MAP_TYPE_ARRAY = 2,
    BPF_MAP_TYPE_PROG_ARRAY = 3,
    BPF_MAP_TYPE_PERCPU_ARRAY = 6,
    BPF_MAP_TYPE_LRU_HASH = 9,
    BPF_MAP_TYPE_LPM_TRIE = 11,
};

enum bpf_update_flags {
    BPF_NOEXIST = 1,
};

enum bpf_map_flags {
    BPF_F_NO_PREALLOC = 1,
    BPF_F_MMAPABLE = 1024,
};

enum xdp_action {
    XDP_DROP = 1,
    XDP_PASS = 2,
};

struct xdp_md {
    __u32 data;
    __u32 data_end;
    __u32 data_meta;
    __u32 ingress_ifindex;
    __u32 rx_queue_index;
    __u32 egress_ifindex;
};

#endif /* SMTPGATE_VMLINUX_H */
