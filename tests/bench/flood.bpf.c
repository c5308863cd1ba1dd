// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gives each packet a forged source before it goes where the bench wants it: BPF_PROG_TEST_RUN runs
 * one and the same frame again and again, and a flood is no flood when it has one source.
 *
 * It must know nothing of the gate. The frame is Ethernet and IPv4 without options.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SOURCE_AT 26

/* How many different sources; 0: any of the 2^32. */
volatile __u32 pool = 0;
/* Where they go on: one of the programs in @next. */
volatile __u32 target = 0;

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} next SEC(".maps");

SEC("xdp")
int flood(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data;
    __u32 source = bpf_get_prandom_u32();

    if (data + SOURCE_AT + sizeof(source) > (__u8 *)(long)ctx->data_end)
        return XDP_PASS;
    if (pool)
        source = source % pool * 2654435761U; /* odd: as many sources as numbers */
    __builtin_memcpy(data + SOURCE_AT, &source, sizeof(source));
    bpf_tail_call(ctx, &next, target);
    return XDP_PASS;
}

SEC("xdp")
int nothing(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
