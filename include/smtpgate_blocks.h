/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The summary in front of the tries: where among many bits a block of addresses is told of. The
 * program reads it before it asks a trie, the user program writes it; both find a block's bits by
 * this file. What they say and in which order they are read is bpf/summary.h, what is written
 * user/blocks.c.
 *
 * It must know nothing of maps or of lists. The includer provides the __u32 and __u64 types.
 *
 * Two planes of cells, a bit each: whether there is anything, and, looked at only then, whether the
 * trie is to be asked at once. In a flood nearly all is told by the first plane, and it is the size
 * of what is read at random that costs: as long as it stays in the cache, little.
 *
 * Bits are numbered through: SG_BLOCK_BITS of them in each element of the map "blocks", the first
 * element is the head.
 */
#ifndef SMTPGATE_BLOCKS_H
#define SMTPGATE_BLOCKS_H

#define SG_BLOCK_BITS  512U
#define SG_BLOCK_BYTES (SG_BLOCK_BITS / 8)

/*
 * What is known of a block of addresses. Anything but NONE is a hint to look further; NONE alone
 * says for certain that no prefix in a trie covers any address of the block. A cell that says too
 * much costs time, one that says too little shuts somebody out, and none lets anybody in.
 */
enum sg_block {
    SG_BLOCK_NONE,   /* not in the first plane */
    SG_BLOCK_DEEPER, /* only prefixes of the next level's length or longer: its cell says more */
    SG_BLOCK_ASK,    /* the trie knows; in both planes */
};

/*
 * The levels: the lengths of the blocks that cells stand for, and the first cell of those that have
 * a cell for each block, in order. Of the longer there are too many (0): their cells are found by a
 * hash and shared.
 *
 * The first is small enough for a CPU's nearest cache, and answers for most of the Internet while
 * the list is short; each further one is asked only where the one before did not know. Steps are
 * short, so that a prefix between two levels is a few blocks of the longer one.
 */
#define SG_LEVELS_IP4(X) \
    X(16, SG_CELLS_IP4_16) X(20, SG_CELLS_IP4_20) X(24, SG_CELLS_IP4_24) X(28, 0) X(32, 0)
#define SG_LEVELS_IP6(X)   \
    X(20, SG_CELLS_IP6_20) \
    X(24, SG_CELLS_IP6_24) X(32, 0) X(48, 0) X(56, 0) X(64, 0) X(128, 0)

#define SG_CELLS_IP4_16 SG_BLOCK_BITS
#define SG_CELLS_IP4_20 (SG_CELLS_IP4_16 + (1U << 16))
#define SG_CELLS_IP4_24 (SG_CELLS_IP4_20 + (1U << 20))
#define SG_CELLS_IP6_20 (SG_CELLS_IP4_24 + (1U << 24))
#define SG_CELLS_IP6_24 (SG_CELLS_IP6_20 + (1U << 20))
#define SG_CELLS_HASHED (SG_CELLS_IP6_24 + (1U << 24))
#define SG_HASHED_BITS  25
#define SG_CELLS_END    (SG_CELLS_HASHED + (1U << SG_HASHED_BITS))

/* A cell's bit of the second plane lies so much behind its bit of the first. */
#define SG_ASK_PLANE (SG_CELLS_END - SG_BLOCK_BITS)
#define SG_BITS_END  (SG_CELLS_END + SG_ASK_PLANE)

#define SG_BLOCK_ELEMENTS (SG_BITS_END / SG_BLOCK_BITS)

/* Odd numbers with as many ones as zeros, in no order. */
#define SG_MIX_1 0x9e3779b97f4a7c15ULL
#define SG_MIX_2 0xd6e8feb86659fd93ULL

/*
 * The cells of a block of a hashed level: it has two, and only what both say is so. One is shared
 * with a block that is told of now and then, both hardly ever; the second is found from the first.
 *
 * @high and @low are the block's address as numbers (network order; IPv4 in @low) with the bits
 * beyond the level zero. @seed is the gate's own, so that nobody outside can look for addresses
 * that share cells with a listed one.
 */
static inline __u64 sg_hash_block(__u64 seed, __u32 level, __u64 high, __u64 low)
{
    return (((high * SG_MIX_1 + low) ^ seed) + level * SG_MIX_1) * SG_MIX_2;
}

static inline __u64 sg_hash_again(__u64 hash)
{
    return (hash ^ hash >> 32) * SG_MIX_1;
}

static inline __u32 sg_hashed_cell(__u64 hash)
{
    return SG_CELLS_HASHED + (__u32)(hash >> (64 - SG_HASHED_BITS));
}

#endif /* SMTPGATE_BLOCKS_H */
