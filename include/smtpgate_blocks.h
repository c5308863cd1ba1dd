/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The summary in front of the tries: where in a table of two-bit cells a block of addresses is told
 * of. The program reads it before it asks a trie, the user program writes it; both find a cell by
 * this file. What a cell says and in which order they are read is bpf/summary.h, what is written
 * user/blocks.c.
 *
 * It must know nothing of maps or of lists. The includer provides the __u32 and __u64 types.
 *
 * Cells are numbered through: SG_BLOCK_CELLS of them in each element of the map "blocks", the first
 * element is the head.
 */
#ifndef SMTPGATE_BLOCKS_H
#define SMTPGATE_BLOCKS_H

#define SG_BLOCK_CELLS 256U
#define SG_BLOCK_BYTES (SG_BLOCK_CELLS / 4)

/*
 * What is known of a block of addresses. Anything but NONE is a hint to look further; NONE alone
 * says for certain that no prefix in a trie covers any address of the block. A cell that says too
 * much costs time, one that says too little shuts somebody out, and none lets anybody in.
 */
enum sg_block {
    SG_BLOCK_NONE = 0,
    SG_BLOCK_DEEPER =
        1,            /* only prefixes of the next level's length or longer: its cell says more */
    SG_BLOCK_ASK = 2, /* the trie knows; with SG_BLOCK_DEEPER or without */
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
#define SG_LEVELS_IP6(X) X(20, SG_CELLS_IP6_20) X(32, 0) X(48, 0) X(56, 0) X(64, 0) X(128, 0)

#define SG_CELLS_IP4_16 SG_BLOCK_CELLS
#define SG_CELLS_IP4_20 (SG_CELLS_IP4_16 + (1U << 16))
#define SG_CELLS_IP4_24 (SG_CELLS_IP4_20 + (1U << 20))
#define SG_CELLS_IP6_20 (SG_CELLS_IP4_24 + (1U << 24))
#define SG_CELLS_HASHED (SG_CELLS_IP6_20 + (1U << 20))
#define SG_HASHED_BITS  24
#define SG_CELLS_END    (SG_CELLS_HASHED + (1U << SG_HASHED_BITS))

#define SG_BLOCK_ELEMENTS (SG_CELLS_END / SG_BLOCK_CELLS)

/* Odd numbers with as many ones as zeros, in no order. */
#define SG_MIX_1 0x9e3779b97f4a7c15ULL
#define SG_MIX_2 0xd6e8feb86659fd93ULL

/*
 * The cell of a hashed level: @high and @low are the block's address as numbers (network order;
 * IPv4 in @low) with the bits beyond the level zero. @seed is the gate's own, so that nobody
 * outside can look for addresses that share a cell with a listed one.
 */
static inline __u32 sg_hashed_cell(__u64 seed, __u32 level, __u64 high, __u64 low)
{
    __u64 mixed = (((high * SG_MIX_1 + low) ^ seed) + level * SG_MIX_1) * SG_MIX_2;

    return SG_CELLS_HASHED + (__u32)(mixed >> (64 - SG_HASHED_BITS));
}

#endif /* SMTPGATE_BLOCKS_H */
