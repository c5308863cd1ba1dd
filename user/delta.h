/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The prefixes that a change of the list adds to and removes from the tries: what the store
 * collects in a transaction and the gate applies. Knows neither of them.
 */
#ifndef SMTPGATE_DELTA_H
#define SMTPGATE_DELTA_H

#include <stdbool.h>
#include <stddef.h>

#include "prefix.h"

struct delta_item {
    struct prefix prefix;
    int step; /* +1 the prefix came, -1 it went */
};

/* Zero-initialise; free with delta_free(). */
struct delta {
    struct delta_item *items;
    size_t count;
    size_t room;
};

/* Records a step. -ENOMEM leaves the delta as it was. */
int delta_push(struct delta *delta, const struct prefix *prefix, int step);

/*
 * Sorts by prefix and sums the steps, so that each prefix stands there once and what came and went
 * within the change is gone. Steps of one prefix alternate, so a sum is -1, 0 or +1.
 */
void delta_settle(struct delta *delta);

void delta_free(struct delta *delta);

#define _cleanup_delta_ __attribute__((cleanup(delta_free)))

#endif
