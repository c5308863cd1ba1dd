/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A set of addresses that grows, and answers whether a WHO touches it: what the rows of somebody's
 * table have settled so far. Bounded in memory, quick at any size. Pure; knows nothing of tables.
 */
#ifndef SMTPGATE_SPAN_H
#define SMTPGATE_SPAN_H

#include <stdbool.h>
#include <stddef.h>

#include "addr.h"

/* Spans that a set holds at most; some 10 MB. Those that touch are one. */
#define SPAN_MAX (256 * 1024)

struct span {
    struct addr first, last;
};

/* In order, apart from each other. */
struct span_list {
    struct span *items;
    size_t count, room;
};

/* Begins as {0}. New spans go into a small list, which goes into the large one when it is full. */
struct span_set {
    struct span_list large, small;
};

void span_free(struct span_set *set);

/* -ENOMEM, or -E2BIG when there are too many. */
int span_add(struct span_set *set, const struct who *who);

bool span_touches(const struct span_set *set, const struct who *who);

#endif
