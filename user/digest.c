/* SPDX-License-Identifier: GPL-2.0-only */
/* See digest.h. */
#include "digest.h"

#include <string.h>

struct digest digest_begin(uint64_t key)
{
    return (struct digest){.key = key};
}

/* Each bit of the result depends on each one of @state and @word: multiply, fold, twice. */
static uint64_t mix(uint64_t state, uint64_t word)
{
    state = (state ^ word) * UINT64_C(0x9fb21c651e98df25);
    state = (state ^ state >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return state ^ state >> 29;
}

void digest_add(struct digest *digest, const struct prefix *prefix, int64_t until)
{
    uint64_t words[2], state = digest->key;

    memcpy(words, prefix->addr.bytes, sizeof(words));
    state = mix(state, (uint64_t)prefix->addr.family << 8 | prefix->len);
    state = mix(state, words[0]);
    state = mix(state, words[1]);
    state = mix(state, (uint64_t)until);
    /* Once more with the key: what goes in last must not reach the sum by known steps only. */
    digest->sum += mix(state, digest->key >> 32 | digest->key << 32);
    digest->count++;
}

bool digest_is_equal(const struct digest *a, const struct digest *b)
{
    return a->count == b->count && a->sum == b->sum;
}
