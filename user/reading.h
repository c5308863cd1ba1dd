/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that watch looks at, read once: the state (view.h), the counters and the table of
 * unlisted sources. Changes nothing, prints nothing, and must not know what was read before.
 */
#ifndef SMTPGATE_READING_H
#define SMTPGATE_READING_H

#include "change.h"
#include "tally.h"
#include "view.h"

struct reading {
    struct view view;
    struct tally_table sources;
    struct tally_counts counts;
    int64_t time; /* Unix seconds, by the wall clock */
};

/* @compare_max: see view_open(). A store that is gone while there is a gate is an error. */
int reading_take(const char *state, const char *bpffs, size_t compare_max,
                 struct reading *ret_reading, struct err *e);
void reading_free(struct reading *reading);
#define _cleanup_reading_ __attribute__((cleanup(reading_free)))

#endif
