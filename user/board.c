/* SPDX-License-Identifier: GPL-2.0-only */
/* See board.h. */
#include "board.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void board_free(struct board *board)
{
    free(board->rows);
    free(board->order);
    tally_free(&board->table);
    *board = (struct board){0};
}

/* ---- rows ---- */

static uint64_t last_step(const struct board_row *row, uint64_t reading)
{
    return row->steps[reading % BOARD_RECENT];
}

/* Its row of the reading before, as @rows and the table of that reading have the same order. */
static void take_row(const struct board *board, struct board_row *row,
                     const struct tally_source *before, const struct tally_source *now,
                     int64_t shift)
{
    struct tally_step step = tally_since(before, now, shift);

    *row = before ? board->rows[before - board->table.items] : (struct board_row){0};
    row->source = *now;
    row->recent -= last_step(row, board->readings);
    /* What was there at the first reading came before anybody looked. */
    row->steps[board->readings % BOARD_RECENT] = board->readings ? step.packets : 0;
    row->recent += last_step(row, board->readings);
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a > b ? -1 : a < b;
}

static int compare(const void *a, const void *b, void *arg)
{
    const struct board *board = arg;
    const struct board_row *one = &board->rows[*(const uint32_t *)a];
    const struct board_row *two = &board->rows[*(const uint32_t *)b];
    int order = 0;

    if (board->sort == BOARD_BY_PACKETS)
        order = compare_numbers(one->source.packets, two->source.packets);
    else if (board->sort == BOARD_BY_RECENT)
        order = compare_numbers(one->recent, two->recent);
    else if (board->sort == BOARD_BY_LAST_SEEN)
        order = compare_numbers((uint64_t)one->source.last_seen, (uint64_t)two->source.last_seen);
    /* Rows are by address and port. */
    return order ? order : one > two ? 1 : one < two ? -1 : 0;
}

static void sort(struct board *board)
{
    if (board->count)
        qsort_r(board->order, board->count, sizeof(*board->order), compare, board);
}

/* Where that source stands now; where it stood, or the last place, if it is gone. */
static size_t find(const struct board *board, const struct tally_source *source)
{
    size_t i;

    for (i = 0; i < board->count; i++)
        if (tally_order(&board->rows[board->order[i]].source, source) == 0)
            return i;
    return board->selected < board->count ? board->selected : board->count - (board->count ? 1 : 0);
}

static void sort_and_follow(struct board *board, const struct tally_source *selected)
{
    sort(board);
    if (selected)
        board->selected = find(board, selected);
    else if (!board->held)
        board->selected = board->first = 0;
}

static void add_samples(struct board *board, const struct tally_counts *grown, int64_t ms,
                        uint64_t times)
{
    const uint64_t sums[BOARD_SERIES] = {
        [BOARD_PASSED] = grown->packets[SG_VERDICT_PASS],
        [BOARD_DROPPED] = grown->packets[SG_VERDICT_DROP],
        [BOARD_WOULD_DROP] = grown->packets[SG_VERDICT_WOULD_DROP],
        [BOARD_LET_IN] = grown->attempts[SG_VERDICT_PASS] + grown->attempts[SG_VERDICT_WOULD_DROP],
        [BOARD_KEPT_OUT] = grown->attempts[SG_VERDICT_DROP],
    };
    unsigned int i;

    for (; times; times--, board->samples++)
        for (i = 0; i < BOARD_SERIES; i++)
            board->history[i][board->samples % BOARD_HISTORY] =
                (float)((double)sums[i] * 1000 / (double)ms);
}

static void take_counts(struct board *board, const struct tally_counts *counts, int64_t ms,
                        int64_t every_ms)
{
    struct tally_counts grown = tally_grown(&board->counts, counts);
    int64_t times = (ms + every_ms / 2) / every_ms;

    if (board->readings) {
        add_samples(board, &grown, ms,
                    (uint64_t)(times < 1               ? 1
                               : times > BOARD_HISTORY ? BOARD_HISTORY
                                                       : times));
        board->untracked += grown.untracked;
    }
    board->counts = *counts;
}

int board_take(struct board *board, struct tally_table *table, const struct tally_counts *counts,
               int64_t ms, int64_t every_ms)
{
    struct tally_walk walk = {.before = &board->table, .now = table};
    struct board_row *rows = calloc(table->count + 1, sizeof(*rows));
    uint32_t *order = calloc(table->count + 1, sizeof(*order));
    int64_t shift = table->clock - board->table.clock;
    bool follow = board->held && board_selected(board);
    struct tally_source selected = {0};
    const struct tally_source *before, *now;
    size_t i = 0;

    if (!rows || !order) {
        free(rows);
        free(order);
        return -ENOMEM;
    }
    if (follow)
        selected = board_selected(board)->source;
    for (; tally_next(&walk, &before, &now); i++) {
        take_row(board, &rows[i], before, now, shift);
        order[i] = (uint32_t)i;
    }
    take_counts(board, counts, ms, every_ms);
    free(board->rows);
    free(board->order);
    tally_free(&board->table);
    board->rows = rows;
    board->order = order;
    board->count = i;
    board->table = *table;
    *table = (struct tally_table){0};
    board->readings++;
    sort_and_follow(board, follow ? &selected : NULL);
    return 0;
}

void board_sort_by(struct board *board, enum board_sort by)
{
    const struct board_row *row = board_selected(board);

    board->sort = by;
    sort_and_follow(board, row && board->held ? &row->source : NULL);
}

const char *board_sort_name(enum board_sort by)
{
    static const char *const names[BOARD_SORTS] = {
        [BOARD_BY_PACKETS] = "packets",
        [BOARD_BY_RECENT] = "recent",
        [BOARD_BY_LAST_SEEN] = "last seen",
        [BOARD_BY_ADDRESS] = "address",
    };

    return names[by];
}

/* ---- selection ---- */

void board_move(struct board *board, int64_t by)
{
    int64_t to = (int64_t)board->selected + by;

    if (!board->count)
        return;
    if (to >= (int64_t)board->count)
        to = (int64_t)board->count - 1;
    board->selected = to > 0 ? (size_t)to : 0;
    board->held = true;
}

void board_to_top(struct board *board)
{
    board->selected = board->first = 0;
    board->held = false;
}

const struct board_row *board_selected(const struct board *board)
{
    return board->selected < board->count ? &board->rows[board->order[board->selected]] : NULL;
}

size_t board_fit(struct board *board, size_t height)
{
    size_t most = board->count > height ? board->count - height : 0;
    size_t grown = height > board->height ? height - board->height : 0;

    board->height = height;
    board->first -= board->first < grown ? board->first : grown;
    if (!height) {
        board->first = board->selected;
        return 0;
    }
    if (board->first > board->selected)
        board->first = board->selected;
    if (board->selected >= board->first + height)
        board->first = board->selected - height + 1;
    if (board->first > most)
        board->first = most;
    return board->count < height ? board->count : height;
}

struct board_row *board_row_at(const struct board *board, size_t at)
{
    return &board->rows[board->order[board->first + at]];
}

/* ---- rates ---- */

double board_rate(const struct board *board, enum board_series series)
{
    return board->samples ? board->history[series][(board->samples - 1) % BOARD_HISTORY] : 0;
}

bool board_any(const struct board *board, enum board_series series)
{
    size_t i;

    for (i = 0; i < BOARD_HISTORY; i++)
        if (board->history[series][i] > 0)
            return true;
    return false;
}

/* The mean of readings @from.. of which @each go into a column, as far as they are there. */
static double mean(const struct board *board, enum board_series series, uint64_t from,
                   unsigned int each)
{
    double sum = 0;
    uint64_t i, end = from + each < board->samples ? from + each : board->samples;

    for (i = from; i < end; i++)
        sum += board->history[series][i % BOARD_HISTORY];
    return end > from ? sum / (double)(end - from) : 0;
}

static bool is_kept(const struct board *board, uint64_t sample)
{
    return sample < board->samples && sample + BOARD_HISTORY >= board->samples;
}

double board_spark(const struct board *board, enum board_series series, unsigned int columns,
                   unsigned int each, uint8_t ret_levels[BOARD_COLUMNS_MAX])
{
    /* Columns begin at multiples of @each, so that a reading stays in its column. */
    uint64_t end = (board->samples + each - 1) / each;
    double values[BOARD_COLUMNS_MAX] = {0}, peak = 0;
    unsigned int i;

    if (columns > BOARD_COLUMNS_MAX)
        columns = BOARD_COLUMNS_MAX;
    for (i = 0; i < columns; i++) {
        uint64_t back = columns - i;

        if (back <= end && is_kept(board, (end - back) * each))
            values[i] = mean(board, series, (end - back) * each, each);
        if (values[i] > peak)
            peak = values[i];
    }
    for (i = 0; i < columns; i++) {
        double level = peak > 0 ? values[i] / peak * BOARD_LEVELS + 0.5 : 0;

        ret_levels[i] = (uint8_t)level;
        if (values[i] > 0 && !ret_levels[i])
            ret_levels[i] = 1;
    }
    return peak;
}

const char *board_number(double number, char buf[16])
{
    static const char units[] = {'k', 'M', 'G', 'T'};
    size_t unit = 0;

    if (number < 99999.5) {
        snprintf(buf, 16,
                 number > 0 && number < 9.95 && number != (double)(int)number ? "%.1f" : "%.0f",
                 number);
        return buf;
    }
    number /= 1000;
    while (number >= 999.5 && unit + 1 < sizeof(units)) {
        number /= 1000;
        unit++;
    }
    snprintf(buf, 16, number < 99.95 ? "%.1f%c" : "%.0f%c", number, units[unit]);
    return buf;
}

const char *board_rate_text(double rate, char buf[16])
{
    if (rate >= 9.95)
        return board_number(rate, buf);
    snprintf(buf, 16, "%.1f", rate);
    return buf;
}

/* ---- layout ---- */

/* Takes what is there of @wanted lines, all or nothing, and leaves @keep. */
static int take_lines(int *left, int wanted, int keep)
{
    if (*left - wanted < keep)
        return 0;
    *left -= wanted;
    return wanted;
}

/* What matters most takes its lines first; a few rows of sources come before what is only nice. */
struct board_layout board_layout(int height, const struct board_wishes *wishes)
{
    struct board_layout lay = {0};
    int left = height - 1;

    lay.mode = take_lines(&left, 1, 0);
    if (wishes->trouble)
        lay.health = take_lines(&left, 1, 1);
    lay.rates = take_lines(&left, 1, 1);
    lay.head = take_lines(&left, 1, 3);
    if (!wishes->trouble)
        lay.health = take_lines(&left, 1, 5);
    lay.sparks = take_lines(&left, wishes->sparks, 5);
    lay.mode += take_lines(&left, wishes->mode - 1, 8);
    lay.health += lay.health ? take_lines(&left, wishes->health - 1, 8) : 0;
    lay.title = take_lines(&left, 1, 8);
    lay.gap = take_lines(&left, 1, 10);
    lay.gap2 = take_lines(&left, 1, 10);
    lay.rows = left > 0 ? left : 0;
    return lay;
}
