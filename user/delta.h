/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The prefixes that a change of the list adds to, changes in and removes from the tries: what the
 * store collects in a transaction and the gate applies. Knows neither of them.
 */
#ifndef SMTPGATE_DELTA_H
#define SMTPGATE_DELTA_H

#include <stddef.h>
#include <stdint.h>

#include "prefix.h"

/* Until when a prefix lets in: Unix seconds, or one of these. Later is more: they compare. */
#define UNTIL_ABSENT  INT64_C(-1) /* it is not there */
#define UNTIL_FOREVER INT64_MAX

/* @after > @before: more is let in; less: less. */
struct delta_item {
    struct prefix prefix;
    int64_t before, after;
    size_t order; /* of being pushed */
};

/* Zero-initialise; free with delta_free(). */
struct delta {
    struct delta_item *items;
    size_t count;
    size_t room;
};

/* Records a step. -ENOMEM leaves the delta as it was. */
int delta_push(struct delta *delta, const struct prefix *prefix, int64_t before, int64_t after);

/*
 * Sorts by prefix and joins the steps of each, so that a prefix stands there once, with what it was
 * before the first and is after the last; what is as it was is gone.
 */
void delta_settle(struct delta *delta);

void delta_free(struct delta *delta);

#define _cleanup_delta_ __attribute__((cleanup(delta_free)))

#endif
