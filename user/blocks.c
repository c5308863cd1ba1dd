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

/* The cells of the block of @level that @number is in, and how many. */
static size_t cells_of(const struct level *level, uint64_t seed, const struct number *number,
                       uint32_t cells[2])
{
    unsigned int rest = number->bits - level->len;
    uint64_t high = number->high, low = number->low, hash;

    if (level->first) {
        cells[0] =
            level->first + (uint32_t)(number->bits == 32 ? low >> rest : high >> (64 - level->len));
        return 1;
    }
    if (rest >= 64) {
        low = 0;
        high = high >> (rest - 64) << (rest - 64);
    } else {
        low = low >> rest << rest;
    }
    hash = sg_hash_block(seed, level->len, high, low);
    cells[0] = sg_hashed_cell(hash);
    cells[1] = sg_hashed_cell(sg_hash_again(hash));
    return 2;
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

struct visit {
    bool (*fn)(uint32_t bit, void *arg); /* false ends it */
    void *arg;
    uint64_t seed;
};

/* The second plane first: who finds something must not be sent deeper in vain. */
static bool visit_block(const struct visit *visit, const struct level *level,
                        const struct number *number, bool ask)
{
    uint32_t cells[2];
    size_t i, count = cells_of(level, visit->seed, number, cells);

    for (i = 0; ask && i < count; i++)
        if (!visit->fn(cells[i] + SG_ASK_PLANE, visit->arg))
            return false;
    for (i = 0; i < count; i++)
        if (!visit->fn(cells[i], visit->arg))
            return false;
    return true;
}

/* The bits of a prefix one by one, the longest level first. */
static bool visit_prefix(const struct visit *visit, const struct prefix *prefix)
{
    struct number number = number_of(&prefix->addr);
    size_t i, count;
    const struct level *levels = levels_of(&number, &count);
    size_t last = pick_level(levels, count, prefix->len);
    uint8_t len = levels[last].len;
    uint32_t spread = len > prefix->len ? 1U << (len - prefix->len) : 1;

    for (; spread > 0; spread--) {
        if (!visit_block(visit, &levels[last], &number, true))
            return false;
        if (spread > 1)
            step_on(&number, len);
    }
    number = number_of(&prefix->addr);
    for (i = last; i-- > 0;)
        if (!visit_block(visit, &levels[i], &number, false))
            return false;
    return true;
}

static bool set_bit(uint32_t bit, void *arg)
{
    uint8_t *bits = arg, mask = (uint8_t)(1 << bit % 8);

    if (!(__atomic_load_n(&bits[bit / 8], __ATOMIC_RELAXED) & mask))
        __atomic_fetch_or(&bits[bit / 8], mask, __ATOMIC_RELEASE);
    return true;
}

void blocks_mark(uint8_t *bits, uint64_t seed, const struct prefix *prefix)
{
    struct visit visit = {.fn = set_bit, .seed = seed};

    visit.arg = bits;
    visit_prefix(&visit, prefix);
}

struct asking {
    int (*read_bit)(uint32_t bit, void *arg);
    void *arg;
    int last; /* answer */
};

static bool ask_bit(uint32_t bit, void *arg)
{
    struct asking *asking = arg;

    asking->last = asking->read_bit(bit, asking->arg);
    return asking->last == 1;
}

int blocks_tell(int (*read_bit)(uint32_t bit, void *arg), void *arg, uint64_t seed,
                const struct prefix *prefix)
{
    struct asking asking = {read_bit, arg, 0};
    const struct visit visit = {ask_bit, &asking, seed};

    visit_prefix(&visit, prefix);
    return asking.last;
}

/* Whether that bit of all @cells is set: 0 no, 1 yes. */
static int read_all(int (*read_bit)(uint32_t bit, void *arg), void *arg, const uint32_t *cells,
                    size_t count, uint32_t plane)
{
    size_t i;
    int r = 1;

    for (i = 0; r == 1 && i < count; i++)
        r = read_bit(cells[i] + plane, arg);
    return r;
}

int blocks_send_on(int (*read_bit)(uint32_t bit, void *arg), void *arg, uint64_t seed,
                   const struct addr *addr)
{
    const struct number number = number_of(addr);
    size_t i, count;
    const struct level *levels = levels_of(&number, &count);

    for (i = 0; i < count; i++) {
        uint32_t cells[2];
        size_t n = cells_of(&levels[i], seed, &number, cells);
        int r = read_all(read_bit, arg, cells, n, 0);

        if (r <= 0)
            return r;
        r = read_all(read_bit, arg, cells, n, SG_ASK_PLANE);
        if (r)
            return r;
    }
    return 1;
}
