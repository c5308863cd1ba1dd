/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who can be told to be unlisted without asking a trie, which walks to a leaf for every packet and
 * misses the cache at each step: all but the neighbours of those who are listed.
 *
 * It must know nothing of verdicts. Pure but for the accessor, as parse.h: the same code runs on
 * the host, against the user program that fills the cells.
 */
#ifndef SMTPGATE_SUMMARY_H
#define SMTPGATE_SUMMARY_H

#include <stdbool.h>

#include "parse.h"
#include "smtpgate_blocks.h"

#ifdef __bpf__

#include "maps.h"

/* A missing element, which cannot be, knows nothing. */
static __always_inline bool bit_at(__u32 bit)
{
    const __u32 element = bit / SG_BLOCK_BITS;
    const struct sg_blocks *found = bpf_map_lookup_elem(&blocks, &element);

    return !found || READ_ONCE(found->bits[bit / 8 % SG_BLOCK_BYTES]) >> bit % 8 & 1;
}

#else

/* Given by whoever includes this on the host. */
static bool bit_at(__u32 bit);

#endif

static inline __u64 be64(const __u8 bytes[8])
{
    __u64 number;

    __builtin_memcpy(&number, bytes, sizeof(number));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    number = __builtin_bswap64(number);
#endif
    return number;
}

static __always_inline enum sg_block block_at(__u32 cell)
{
    if (!bit_at(cell))
        return SG_BLOCK_NONE;
    return bit_at(cell + SG_ASK_PLANE) ? SG_BLOCK_ASK : SG_BLOCK_DEEPER;
}

static __always_inline enum sg_block hashed_block_at(__u64 hash)
{
    __u32 one = sg_hashed_cell(hash), other = sg_hashed_cell(sg_hash_again(hash));

    if (!bit_at(one) || !bit_at(other))
        return SG_BLOCK_NONE;
    return bit_at(one + SG_ASK_PLANE) && bit_at(other + SG_ASK_PLANE) ? SG_BLOCK_ASK
                                                                      : SG_BLOCK_DEEPER;
}

/* What the first level that does not send further says. */
static __always_inline enum sg_block walk_ip4(__u64 seed, __u32 addr)
{
    enum sg_block block = block_at(SG_CELLS_IP4_16 + (addr >> 16));

    if (block == SG_BLOCK_DEEPER)
        block = block_at(SG_CELLS_IP4_20 + (addr >> 12));
    if (block == SG_BLOCK_DEEPER)
        block = block_at(SG_CELLS_IP4_24 + (addr >> 8));
    if (block == SG_BLOCK_DEEPER)
        block = hashed_block_at(sg_hash_block(seed, 28, 0, addr & ~0xfU));
    if (block == SG_BLOCK_DEEPER)
        block = hashed_block_at(sg_hash_block(seed, 32, 0, addr));
    return block;
}

static __always_inline enum sg_block walk_ip6(__u64 seed, __u64 high, __u64 low)
{
    enum sg_block block = block_at(SG_CELLS_IP6_20 + (__u32)(high >> 44));

    if (block == SG_BLOCK_DEEPER)
        block = block_at(SG_CELLS_IP6_24 + (__u32)(high >> 40));
    if (block == SG_BLOCK_DEEPER)
        block = hashed_block_at(sg_hash_block(seed, 32, high & ~0ULL << 32, 0));
    if (block == SG_BLOCK_DEEPER)
        block = hashed_block_at(sg_hash_block(seed, 48, high & ~0ULL << 16, 0));
    if (block == SG_BLOCK_DEEPER)
        block = hashed_block_at(sg_hash_block(seed, 56, high & ~0ULL << 8, 0));
    if (block == SG_BLOCK_DEEPER)
        block = hashed_block_at(sg_hash_block(seed, 64, high, 0));
    if (block == SG_BLOCK_DEEPER)
        block = hashed_block_at(sg_hash_block(seed, 128, high, low));
    return block;
}

/* False: the source is not listed, for certain. */
static __always_inline bool may_be_listed(__u64 seed, const struct flow *flow)
{
    __u64 high = be64(flow->source);

    if (flow->family == SG_FAMILY_IP4)
        return walk_ip4(seed, (__u32)(high >> 32)) != SG_BLOCK_NONE;
    return walk_ip6(seed, high, be64(flow->source + 8)) != SG_BLOCK_NONE;
}

#endif /* SMTPGATE_SUMMARY_H */
