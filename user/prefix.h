/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prefixes: what the tries hold. Turns a WHO into the unique smallest set of prefixes that covers
 * exactly its addresses. Pure: no I/O, no allocation.
 */
#ifndef SMTPGATE_PREFIX_H
#define SMTPGATE_PREFIX_H

#include <stdint.h>

#include "addr.h"

struct prefix {
    struct addr addr; /* bits beyond len are zero */
    uint8_t len;      /* 0..32 or 0..128 */
};

/* A range of n-bit addresses needs at most 2n - 2 prefixes. */
#define PREFIX_MAX 254

/*
 * Writes the prefixes in ascending order to @prefixes and returns how many (1..PREFIX_MAX).
 * The sequence is that of "the largest aligned block that starts here and does not reach beyond".
 */
unsigned int prefix_from_who(const struct who *who, struct prefix prefixes[PREFIX_MAX]);

/* Family, then address, then length; 0 when equal. */
int prefix_cmp(const struct prefix *a, const struct prefix *b);

#endif
