/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A number for a source, by which the table of the unlisted and the memory of the listed find their
 * places. Pure.
 */
#ifndef SMTPGATE_HASH_H
#define SMTPGATE_HASH_H

#include "parse.h"
#include "smtpgate_blocks.h"

/*
 * Whatever the port. Its upper half depends on all bits of the address; two sources that differ in
 * only one half of the address, or in the family alone, never have the same.
 */
static __always_inline __u64 source_hash(const struct flow *flow)
{
    __u64 half[2], hash;

    __builtin_memcpy(half, flow->source, sizeof(half));
    hash = ((half[1] * SG_MIX_1 + half[0]) ^ flow->family) * SG_MIX_2;
    return (hash ^ hash >> 32) * SG_MIX_1;
}

#endif /* SMTPGATE_HASH_H */
