/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A WHO as the unique smallest set of prefixes. Works on address bytes with a carry, the same for
 * both families and without a 128-bit integer type. Must not know the tries or the store.
 */
#include "prefix.h"

#include <stdbool.h>

/* The last address of the block that starts at @addr and leaves @host low bits free. */
static void block_last(const struct addr *addr, unsigned int host, struct addr *ret_last)
{
    size_t i = addr_len(addr->family);

    *ret_last = *addr;
    for (; host >= 8; host -= 8)
        ret_last->bytes[--i] = 0xff;
    if (host)
        ret_last->bytes[i - 1] |= (uint8_t)((1U << host) - 1);
}

static unsigned int trailing_zeros(const struct addr *addr)
{
    unsigned int zeros = 0;

    for (size_t i = addr_len(addr->family); i > 0; i--) {
        if (addr->bytes[i - 1])
            return zeros + (unsigned int)__builtin_ctz(addr->bytes[i - 1]);
        zeros += 8;
    }
    return zeros;
}

/* Never called on the last address of the space: there the range has ended. */
static void addr_next(struct addr *addr)
{
    for (size_t i = addr_len(addr->family); i > 0; i--)
        if (++addr->bytes[i - 1])
            return;
}

unsigned int prefix_from_who(const struct who *who, struct prefix prefixes[PREFIX_MAX])
{
    unsigned int width = (unsigned int)(8 * addr_len(who->first.family));
    struct addr start = who->first;
    unsigned int count = 0;

    for (;;) {
        unsigned int host = trailing_zeros(&start);
        struct addr last;

        block_last(&start, host, &last);
        while (addr_cmp(&last, &who->last) > 0)
            block_last(&start, --host, &last);
        prefixes[count].addr = start;
        prefixes[count++].len = (uint8_t)(width - host);
        if (addr_cmp(&last, &who->last) == 0)
            return count;
        start = last;
        addr_next(&start);
    }
}

int prefix_cmp(const struct prefix *a, const struct prefix *b)
{
    int order = addr_cmp(&a->addr, &b->addr);

    return order ? order : (int)a->len - (int)b->len;
}
