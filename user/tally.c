/* SPDX-License-Identifier: GPL-2.0-only */
/* See tally.h. */
#include "tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Times are rounded to seconds, and may come out one apart in two readings. */
#define ROUNDING_S 1

int tally_add(struct tally_table *table, const struct tally_source *source)
{
    size_t room = table->room ? table->room * 2 : 256;
    struct tally_source *more;

    if (table->count == table->room) {
        more = reallocarray(table->items, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        table->items = more;
        table->room = room;
    }
    table->items[table->count++] = *source;
    return 0;
}

void tally_free(struct tally_table *table)
{
    free(table->items);
    *table = (struct tally_table){0};
}

int tally_order(const struct tally_source *a, const struct tally_source *b)
{
    int order = addr_cmp(&a->addr, &b->addr);

    return order ? order : (int)a->port - (int)b->port;
}

static int compare(const void *a, const void *b)
{
    return tally_order(a, b);
}

void tally_sort(struct tally_table *table)
{
    if (table->count)
        qsort(table->items, table->count, sizeof(*table->items), compare);
}

struct tally_step tally_since(const struct tally_source *before, const struct tally_source *now,
                              int64_t shift)
{
    bool anew = !before || now->packets < before->packets || now->attempts < before->attempts ||
                now->first_seen > before->first_seen + shift + ROUNDING_S;

    return (struct tally_step){.packets = now->packets - (anew ? 0 : before->packets),
                               .attempts = now->attempts - (anew ? 0 : before->attempts)};
}

bool tally_next(struct tally_walk *walk, const struct tally_source **ret_before,
                const struct tally_source **ret_now)
{
    const struct tally_source *now;
    int order = 1;

    if (walk->at_now == walk->now->count)
        return false;
    now = &walk->now->items[walk->at_now++];
    while (walk->at_before < walk->before->count) {
        order = tally_order(&walk->before->items[walk->at_before], now);
        if (order >= 0)
            break;
        walk->at_before++;
    }
    *ret_before = order == 0 ? &walk->before->items[walk->at_before] : NULL;
    *ret_now = now;
    return true;
}

static void add_other(struct tally *tally, const struct tally_row *row)
{
    tally->others++;
    tally->others_since.packets += row->since.packets;
    tally->others_since.attempts += row->since.attempts;
}

/* Keeps the rows in order; of equal ones the one that came first stays in front. */
static void insert(struct tally *tally, const struct tally_row *row)
{
    size_t at = tally->count;

    while (at && tally->rows[at - 1].since.packets < row->since.packets)
        at--;
    if (at == TALLY_MOST) {
        add_other(tally, row);
        return;
    }
    if (tally->count == TALLY_MOST)
        add_other(tally, &tally->rows[--tally->count]);
    memmove(&tally->rows[at + 1], &tally->rows[at], (tally->count - at) * sizeof(*row));
    tally->rows[at] = *row;
    tally->count++;
}

void tally_make(const struct tally_table *before, const struct tally_table *now,
                struct tally *ret_tally)
{
    struct tally_walk walk = {.before = before, .now = now};
    const struct tally_source *old;
    struct tally_row row;

    ret_tally->count = ret_tally->others = 0;
    ret_tally->others_since = (struct tally_step){0};
    while (tally_next(&walk, &old, &row.source)) {
        if (row.source->verdict == SG_VERDICT_PASS)
            continue;
        row.since = tally_since(old, row.source, now->clock - before->clock);
        if (row.since.packets)
            insert(ret_tally, &row);
    }
}

static uint64_t grown(uint64_t before, uint64_t now)
{
    return now < before ? 0 : now - before;
}

struct tally_counts tally_grown(const struct tally_counts *before, const struct tally_counts *now)
{
    struct tally_counts sum = {.untracked = grown(before->untracked, now->untracked)};
    unsigned int i;

    for (i = 0; i < SG_VERDICT_COUNT; i++) {
        sum.packets[i] = grown(before->packets[i], now->packets[i]);
        sum.attempts[i] = grown(before->attempts[i], now->attempts[i]);
    }
    return sum;
}
