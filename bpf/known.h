/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of who was found listed: nearly all packets of a mail host's clients belong to
 * connections that are open, and to ask a trie for each of them is the dearest thing the gate does.
 *
 * It must know nothing of tries or verdicts. Every program has a memory of its own, which goes with
 * it and is shared by the CPUs.
 *
 * Three things keep it from letting in anybody who is not listed:
 *   - only sources whose entry has no end are remembered, so that time changes nothing
 *   - what was found in one generation is worth nothing in the next: it is raised after each prefix
 *     that goes, and was read before the trie was asked
 *   - a slot is three words that two CPUs may write at once. The third holds the hash of the other
 *     two: halves of two sources do not fit together.
 */
#ifndef SMTPGATE_KNOWN_H
#define SMTPGATE_KNOWN_H

#include "hash.h"
#include "maps.h"
#include "parse.h"

/* Clients that send at the same time; 0.8 MB for each interface. */
#define KNOWN_BITS 15

struct known_source {
    __u64 addr[2]; /* as in struct flow */
    __u64 proof;   /* source_hash() ^ generation */
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1 << KNOWN_BITS);
    __type(key, __u32);
    __type(value, struct known_source);
} known SEC(".maps");

/*
 * Set by the loader where a CPU may take a later load before an earlier one (all but x86): then the
 * trie could be asked before the generation is read.
 */
const volatile bool sg_loads_reorder = false;

/*
 * Before the trie is asked. The kernel reads its clock between read barriers
 * (include/linux/seqlock.h), and no helper of kernel 5.10 is a barrier by name.
 */
static __always_inline __u64 read_generation(const struct sg_blocks_head *head)
{
    __u64 generation = READ_ONCE(head->generation);

    if (sg_loads_reorder)
        bpf_ktime_get_boot_ns();
    return generation;
}

static __always_inline struct known_source *known_slot(__u64 hash)
{
    const __u32 slot = hash >> (64 - KNOWN_BITS);

    return bpf_map_lookup_elem(&known, &slot);
}

static __always_inline bool is_known(const struct flow *flow, __u64 hash, __u64 generation)
{
    const struct known_source *slot = known_slot(hash);
    __u64 addr[2];

    __builtin_memcpy(addr, flow->source, sizeof(addr));
    return slot && READ_ONCE(slot->addr[0]) == addr[0] && READ_ONCE(slot->addr[1]) == addr[1] &&
           READ_ONCE(slot->proof) == (hash ^ generation);
}

static __always_inline void remember(const struct flow *flow, __u64 hash, __u64 generation)
{
    struct known_source *slot = known_slot(hash);

    if (!slot)
        return;
    __builtin_memcpy(slot->addr, flow->source, sizeof(slot->addr));
    slot->proof = hash ^ generation;
}

#endif /* SMTPGATE_KNOWN_H */
