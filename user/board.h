/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the live screen of watch shows, apart from how: the sources and their order, the one that is
 * selected, rates over the last minutes, and which lines a screen of some height has room for.
 * Values in, values out: knows nothing of terminals, the kernel or the store.
 */
#ifndef SMTPGATE_BOARD_H
#define SMTPGATE_BOARD_H

#include "tally.h"

/* Readings that "recent" is counted over. */
#define BOARD_RECENT 10
/* Readings that rates are remembered of. */
#define BOARD_HISTORY 1200

struct board_row {
    struct tally_source source;
    uint64_t steps[BOARD_RECENT]; /* packets between readings, a ring */
    uint64_t recent;              /* their sum */
    bool listed;                  /* the list lets it in now; set by who draws, who asks the list */
};

enum board_sort {
    BOARD_BY_PACKETS,
    BOARD_BY_RECENT,
    BOARD_BY_LAST_SEEN,
    BOARD_BY_ADDRESS,
    BOARD_SORTS,
};

enum board_series {
    BOARD_PASSED,
    BOARD_DROPPED,
    BOARD_WOULD_DROP,
    BOARD_LET_IN, /* attempts */
    BOARD_KEPT_OUT,
    BOARD_SERIES,
};

struct board {
    struct board_row *rows; /* by address and port */
    uint32_t *order;        /* numbers of rows, as they are shown */
    size_t count;
    enum board_sort sort;
    size_t selected;          /* place in @order */
    size_t first;             /* place of the first that is in sight */
    size_t height;            /* rows that were in sight the last time */
    bool held;                /* the selection keeps to its source, else to its place */
    struct tally_table table; /* of the last reading */
    struct tally_counts counts;
    uint64_t readings;
    uint64_t untracked;                         /* since the first reading */
    float history[BOARD_SERIES][BOARD_HISTORY]; /* a second; a ring */
    uint64_t samples;
};

void board_free(struct board *board);

/*
 * One more reading, @ms after the one before and with @every_ms expected; takes @table over. A
 * longer while (it was paused) counts as that many readings in the rates. -ENOMEM: nothing changed.
 */
int board_take(struct board *board, struct tally_table *table, const struct tally_counts *counts,
               int64_t ms, int64_t every_ms);

void board_sort_by(struct board *board, enum board_sort by);
const char *board_sort_name(enum board_sort by);

/* By so many places, to the ends at most. To the first one: the selection stays at that place. */
void board_move(struct board *board, int64_t by);
void board_to_top(struct board *board);
/* NULL: there is none. */
const struct board_row *board_selected(const struct board *board);

/*
 * Of @height rows in sight the selected one is one; returns how many there are. A screen that has
 * grown shows more of what was above.
 */
size_t board_fit(struct board *board, size_t height);
/* The row in sight, @at from the first. */
struct board_row *board_row_at(const struct board *board, size_t at);

/* The last rate, a second. */
double board_rate(const struct board *board, enum board_series series);
/* Some packets of that kind came in the time that is remembered. */
bool board_any(const struct board *board, enum board_series series);

/*
 * A line of @columns columns, @each readings in each of them, the newest to the right: heights of 0
 * (nothing at all) to BOARD_LEVELS, the highest one the peak. Returns the peak.
 */
#define BOARD_LEVELS      8
#define BOARD_COLUMNS_MAX 300
double board_spark(const struct board *board, enum board_series series, unsigned int columns,
                   unsigned int each, uint8_t ret_levels[BOARD_COLUMNS_MAX]);

/* "1234", "12.3M": five characters at most below 1000 T. Returns @buf. */
const char *board_number(double number, char buf[16]);
/* The same of a rate: "0.0", "2.9", "3.0", "12", "12.3M". */
const char *board_rate_text(double rate, char buf[16]);

/* Lines of a screen from the top; those of 0 are not there. The bottom line comes on top of it. */
struct board_layout {
    int title, mode, health, gap, sparks, rates, gap2, head, rows;
};

/* Lines that are wanted for each, if they fit. Of mode and health one is what matters. */
struct board_wishes {
    int mode, health, sparks;
    bool trouble; /* the health matters most */
};

struct board_layout board_layout(int height, const struct board_wishes *wishes);

#endif
