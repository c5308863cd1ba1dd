// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gives each packet another source before it goes where the bench wants it: BPF_PROG_TEST_RUN runs
 * one and the same frame again and again, and a flood is no flood when it has one source.
 *
 * It must know nothing of the gate. The frame is Ethernet and IPv4 without options, or IPv6 without
 * extension headers, and TCP.
 */
#include <stdbool.h>

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SOURCE_AT   26
#define SOURCES_MAX (1U << 20)

/* Where the words that change stand in the frame. */
#define IP4_SUM    24
#define IP4_SOURCE 26
#define IP4_TCPSUM 50
#define IP6_SOURCE 22
#define IP6_TCPSUM 70

/* How many different sources "flood" makes; 0: any of the 2^32. */
volatile __u32 pool = 0;
/* Where they go on: one of the programs in @next. */
volatile __u32 target = 0;
/* For "picked" and "sender": what the frame is. */
volatile __u32 ip6 = 0;
/* Where "sender" sends to. */
volatile __u32 device = 0;
/* How many were picked. One CPU runs this, so plain addition will do. */
volatile __u32 turn = 0;

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u32);
} next SEC(".maps");

struct address {
    __u32 word[4];
};

/*
 * The sources of "picked" and "sender", taken one after the other: in what order they stand is the
 * bench's choice, and the next is in the cache already.
 */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, SOURCES_MAX);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct address);
} sources SEC(".maps");

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

/* What one word less and another more do to a sum, not folded yet (RFC 1624). */
static __always_inline __u64 change(__u32 old, __u32 new)
{
    return (__u64)(__u32)~old + new;
}

static __always_inline void mend(__u16 *sum, __u64 by)
{
    by += (__u16) ~*sum;
    by = (by & 0xffffffff) + (by >> 32);
    by = (by & 0xffff) + (by >> 16);
    by = (by & 0xffff) + (by >> 16);
    by = (by & 0xffff) + (by >> 16);
    *sum = (__u16)~by;
}

/* False where the frame is not what was promised. */
static __always_inline bool pick(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data;
    __u8 *end = (void *)(long)ctx->data_end;
    __u32 at = turn++ % SOURCES_MAX;
    const struct address *source = bpf_map_lookup_elem(&sources, &at);
    __u64 by = 0;
    __u32 *words;

    if (!source)
        return false;
    if (!ip6) {
        if (data + IP4_TCPSUM + 2 > end)
            return false;
        words = (__u32 *)(data + IP4_SOURCE);
        by = change(*words, source->word[0]);
        *words = source->word[0];
        mend((__u16 *)(data + IP4_SUM), by);
        mend((__u16 *)(data + IP4_TCPSUM), by);
        return true;
    }
    if (data + IP6_TCPSUM + 2 > end)
        return false;
    words = (__u32 *)(data + IP6_SOURCE);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        by += change(words[i], source->word[i]);
        words[i] = source->word[i];
    }
    mend((__u16 *)(data + IP6_TCPSUM), by);
    return true;
}

SEC("xdp")
int picked(struct xdp_md *ctx)
{
    if (pick(ctx))
        bpf_tail_call(ctx, &next, target);
    return XDP_PASS;
}

SEC("xdp")
int sender(struct xdp_md *ctx)
{
    return pick(ctx) ? (int)bpf_redirect(device, 0) : XDP_DROP;
}

/* The limit: what nothing can beat. */
SEC("xdp")
int nothing(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
