/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the unlisted sources did between two readings of the kernel's table of them. Values in,
 * values out: knows nothing of how the table is read or of how the answer is shown.
 */
#ifndef SMTPGATE_TALLY_H
#define SMTPGATE_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "smtpgate_types.h"

/* A source at one of the ports, up to the reading. */
struct tally_source {
    struct addr addr;
    uint16_t port;           /* 0: could not be known */
    enum sg_verdict verdict; /* of the last packet */
    uint64_t packets, attempts;
    int64_t first_seen, last_seen; /* Unix seconds */
};

/* One reading: tally_add() each source in any order, then tally_sort(). */
struct tally_table {
    struct tally_source *items; /* by address and port */
    size_t count, room;
    int64_t clock; /* what the times are told by: Unix seconds less those of a clock never set */
};

int tally_add(struct tally_table *table, const struct tally_source *source);
void tally_sort(struct tally_table *table);
void tally_free(struct tally_table *table);

/* Below, at or above 0: the order of address and port. */
int tally_order(const struct tally_source *a, const struct tally_source *b);

struct tally_step {
    uint64_t packets, attempts;
};

/*
 * What the source of @now did since @before, the row of the same source in the reading before;
 * NULL: it had none. A row that was forgotten and came anew (it counts less, or was first seen
 * later) counts from its beginning. @shift: by how many seconds the tables' clock was set forward
 * between.
 */
struct tally_step tally_since(const struct tally_source *before, const struct tally_source *now,
                              int64_t shift);

/* Walks two readings side by side, of which each may lack what the other has. */
struct tally_walk {
    const struct tally_table *before, *now;
    size_t at_before, at_now;
};

/* The next source of @now, and its row in @before or NULL; false at the end. */
bool tally_next(struct tally_walk *walk, const struct tally_source **ret_before,
                const struct tally_source **ret_now);

#define TALLY_MOST 50

struct tally_row {
    const struct tally_source *source; /* in the later reading */
    struct tally_step since;
};

/* The sources that were blocked, or would have been, most packets first. */
struct tally {
    struct tally_row rows[TALLY_MOST];
    size_t count;
    size_t others; /* sources beyond those */
    struct tally_step others_since;
};

void tally_make(const struct tally_table *before, const struct tally_table *now,
                struct tally *ret_tally);

/* Counters at one reading; what grew is what happened between. */
struct tally_counts {
    uint64_t packets[SG_VERDICT_COUNT];
    uint64_t attempts[SG_VERDICT_COUNT]; /* at the guarded ports */
    uint64_t untracked;                  /* packets dropped or to be, whose source is in no table */
};

/* By how much each grew; one that went back (the gate was made anew) by nothing. */
struct tally_counts tally_grown(const struct tally_counts *before, const struct tally_counts *now);

#endif
