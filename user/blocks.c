/* SPDX-License-Identifier: GPL-2.0-only */
/* See blocks.h. Pure. */
#include "blocks.h"

struct level {
    uint8_t len;    /* of the blocks */
    uint32_t first; /* cell; 0: hashed */
};

static const struct level levels4[] = {
#define X(len, first) {len, first},
    SG_LEVELS_IP4(X)
#undef X
};

static const struct level levels6[] = {
#define X(len, first) {len, first},
    SG_LEVELS_IP6(X)
#undef X
};

/* An address as the cells take it: 128 bits, or 32 of them in low. */
struct number {
    unsigned int bits;
    uint64_t high, low;
};

static struct number number_of(const struct addr *addr)
{
    struct number number = {.bits = addr->family == ADDR_IP4 ? 32 : 128};
    size_t i;

    for (i = 0; i < number.bits / 8; i++) {
        number.high = number.high << 8 | number.low >> 56;
        number.low = number.low << 8 | addr->bytes[i];
    }
    return number;
}

static const struct level *levels_of(const struct number *number, size_t *ret_count)
{
    *ret_count = number->bits == 32 ? sizeof(levels4) / sizeof(*levels4)
                                    : sizeof(levels6) / sizeof(*levels6);
    return number->bits == 32 ? levels4 : levels6;
}

/* The cell of the block of @level that @number is in. */
static uint32_t cell_of(const struct level *level, uint64_t seed, const struct number *number)
{
    unsigned int rest = number->bits - level->len;
    uint64_t high = number->high, low = number->low;

    if (level->first)
        return level->first +
               (uint32_t)(number->bits == 32 ? low >> rest : high >> (64 - level->len));
    if (rest >= 64) {
        low = 0;
        high = high >> (rest - 64) << (rest - 64);
    } else {
        low = low >> rest << rest;
    }
    return sg_hashed_cell(seed, level->len, high, low);
}

/* The first address of the block of that length which follows. */
static void step_on(struct number *number, unsigned int len)
{
    unsigned int rest = number->bits - len;

    if (rest >= 64)
        number->high += 1ULL << (rest - 64);
    else
        number->low += 1ULL << rest; /* never carries: a prefix's blocks share what is above */
}

/*
 * So many blocks of a longer level are marked for one prefix between two; more, and it is one block
 * of the shorter level, whose other addresses ask the trie in vain.
 */
#define SPREAD_BITS 4

/* The level whose cells are to say "ask". */
static size_t pick_level(const struct level *levels, size_t count, uint8_t len)
{
    size_t i = 0;

    while (i < count - 1 && levels[i].len < len)
        i++;
    if (i && !levels[i].first && levels[i].len > len + SPREAD_BITS)
        i--;
    return i;
}

/* The cells of a prefix one by one, the longest level first; callbacks return false to end it. */
static bool each_cell(uint64_t seed, const struct prefix *prefix,
                      bool (*fn)(uint32_t cell, enum sg_block block, void *arg), void *arg)
{
    struct number number = number_of(&prefix->addr);
    size_t i, count;
    const struct level *levels = levels_of(&number, &count);
    size_t last = pick_level(levels, count, prefix->len);
    uint8_t len = levels[last].len;
    uint32_t spread = len > prefix->len ? 1U << (len - prefix->len) : 1;

    for (; spread > 0; spread--) {
        if (!fn(cell_of(&levels[last], seed, &number), SG_BLOCK_ASK, arg))
            return false;
        if (spread > 1)
            step_on(&number, len);
    }
    number = number_of(&prefix->addr);
    for (i = last; i-- > 0;)
        if (!fn(cell_of(&levels[i], seed, &number), SG_BLOCK_DEEPER, arg))
            return false;
    return true;
}

static uint8_t bit_of(uint32_t cell, enum sg_block block)
{
    return (uint8_t)(block << cell % 4 * 2);
}

static bool mark_cell(uint32_t cell, enum sg_block block, void *arg)
{
    uint8_t *cells = arg, bit = bit_of(cell, block);

    if (!(__atomic_load_n(&cells[cell / 4], __ATOMIC_RELAXED) & bit))
        __atomic_fetch_or(&cells[cell / 4], bit, __ATOMIC_RELEASE);
    return true;
}

/* From the longest level to the shortest: who is sent deeper must find something there. */
void blocks_mark(uint8_t *cells, uint64_t seed, const struct prefix *prefix)
{
    each_cell(seed, prefix, mark_cell, cells);
}

static bool cell_tells(uint32_t cell, enum sg_block block, void *arg)
{
    const uint8_t *const *cells = arg;

    return (*cells)[cell / 4] & bit_of(cell, block);
}

bool blocks_tell(const uint8_t *cells, uint64_t seed, const struct prefix *prefix)
{
    return each_cell(seed, prefix, cell_tells, &cells);
}

int blocks_send_on(int (*read_cell)(uint32_t cell, void *arg), void *arg, uint64_t seed,
                   const struct addr *addr)
{
    const struct number number = number_of(addr);
    size_t i, count;
    const struct level *levels = levels_of(&number, &count);
    int block = SG_BLOCK_DEEPER;

    for (i = 0; i < count && block == SG_BLOCK_DEEPER; i++)
        block = read_cell(cell_of(&levels[i], seed, &number), arg);
    return block < 0 ? block : block != SG_BLOCK_NONE;
}
