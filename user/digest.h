/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether two long lists of prefixes with their ends are the same, though they come in different
 * orders: a number and a sum for each list, in constant memory. Pure; knows neither store nor gate.
 *
 * The sum is over 64 bits mixed with a key that is drawn anew for each comparison: nobody can
 * choose entries whose sums meet, and by chance two lists meet once in 2^64.
 */
#ifndef SMTPGATE_DIGEST_H
#define SMTPGATE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "prefix.h"

struct digest {
    uint64_t key;
    uint64_t sum;
    uint64_t count;
};

/* With the same random @key for both lists. */
struct digest digest_begin(uint64_t key);
void digest_add(struct digest *digest, const struct prefix *prefix, int64_t until);
bool digest_is_equal(const struct digest *a, const struct digest *b);

#endif
