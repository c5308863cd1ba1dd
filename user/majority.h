/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which address has more than half of something, if any has: in one walk and constant memory
 * (Boyer and Moore's vote, with weights). Pure. Who is named need not have it: count it in a second
 * walk.
 */
#ifndef SMTPGATE_MAJORITY_H
#define SMTPGATE_MAJORITY_H

#include <stdint.h>

#include "addr.h"

/* Zero-initialise. */
struct majority {
    struct addr candidate;
    uint64_t lead;
    uint64_t total; /* of all votes; a caller may add to it what is nobody's */
};

void majority_add(struct majority *majority, const struct addr *addr, uint64_t votes);

#endif
