/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lists of the benches, and the sources that come to them. Both are random and the same each
 * time: they depend on the family, the size and nothing else.
 *
 * It must know nothing of the gate or of the packets.
 */
#ifndef BENCH_ADDRESSES_H
#define BENCH_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOURCES_MAX (1U << 20)
#define ACTIVE      1000

/* An address as a number; IPv4 in the low 32 bits. */
typedef unsigned __int128 address_t;

struct prefix {
    address_t first, last;
    unsigned int length;
};

struct list {
    bool ip6;
    size_t count;
    struct prefix *all; /* by address, none within another */
};

/* Where the sources of a flood lie. */
enum kind {
    KIND_RANDOM,    /* anywhere, unlisted */
    KIND_CLOSE,     /* unlisted, in the same /24 as a listed prefix, with IPv6 in the same /32 */
    KIND_NEIGHBOUR, /* the unlisted address just before or behind a prefix */
    KIND_LISTED,    /* listed, all the list */
    KIND_ACTIVE,    /* listed, ACTIVE of them */
    KIND_COUNT
};

extern const char *const kind_names[KIND_COUNT];

/* Ends the process where there is no memory. */
void list_make(bool ip6, size_t count, struct list *ret_list);

void list_print(const struct list *list);

/* SOURCES_MAX addresses in network order, 16 bytes each, of which IPv4 uses four. */
void sources_make(const struct list *list, enum kind kind, uint8_t (*sources)[16]);

/* As bytes in network order. */
void address_bytes(bool ip6, address_t address, uint8_t bytes[16]);

#endif
