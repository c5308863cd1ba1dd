// SPDX-License-Identifier: GPL-2.0-only
/*
 * The least that does a gate's work: finds the TCP port behind plain headers, looks the source up
 * in a trie. No tags, no extension headers, no fragments, no counters, no ends, no modes. What a
 * gate on top of a kernel's trie cannot beat.
 */
#include <stdbool.h>

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PREFIXES_MAX (1U << 23)

struct key4 {
    __u32 length;
    __u32 address;
};

struct key6 {
    __u32 length;
    __u32 address[4];
};

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, PREFIXES_MAX);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct key4);
    __type(value, __u8);
} plain4 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, PREFIXES_MAX);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct key6);
    __type(value, __u8);
} plain6 SEC(".maps");

static __always_inline bool guarded(const __u8 *tcp)
{
    __u16 port = bpf_ntohs(*(const __u16 *)(tcp + 2));

    return port == 25 || port == 465 || port == 587;
}

static __always_inline int judge4(const __u8 *ip, const __u8 *end)
{
    struct key4 key = {.length = 32};

    if (ip + 24 > end || ip[0] != 0x45 || ip[9] != 6 || !guarded(ip + 20))
        return XDP_PASS;
    key.address = *(const __u32 *)(ip + 12);
    return bpf_map_lookup_elem(&plain4, &key) ? XDP_PASS : XDP_DROP;
}

static __always_inline int judge6(const __u8 *ip, const __u8 *end)
{
    struct key6 key = {.length = 128};

    if (ip + 44 > end || ip[6] != 6 || !guarded(ip + 40))
        return XDP_PASS;
    __builtin_memcpy(key.address, ip + 8, sizeof(key.address));
    return bpf_map_lookup_elem(&plain6, &key) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int plain(struct xdp_md *ctx)
{
    const __u8 *data = (void *)(long)ctx->data;
    const __u8 *end = (void *)(long)ctx->data_end;

    if (data + 14 > end)
        return XDP_PASS;
    switch (*(const __u16 *)(data + 12)) {
    case bpf_htons(0x0800):
        return judge4(data + 14, end);
    case bpf_htons(0x86dd):
        return judge6(data + 14, end);
    default:
        return XDP_PASS;
    }
}

char LICENSE[] SEC("license") = "GPL";
