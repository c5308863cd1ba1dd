/* SPDX-License-Identifier: GPL-2.0-only */
/* See span.h. Pure. */
#include "span.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* To move it up for each new span costs little; to go through the large list, this often, too. */
#define SMALL_MAX 1024

void span_free(struct span_set *set)
{
    free(set->large.items);
    free(set->small.items);
    *set = (struct span_set){0};
}

/* How many begin at or before @addr. */
static size_t count_up_to(const struct span_list *list, const struct addr *addr)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (addr_cmp(&list->items[middle].first, addr) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Of the spans that begin before @last ends, the last one reaches furthest. */
static bool list_touches(const struct span_list *list, const struct who *who)
{
    size_t n = count_up_to(list, &who->last);

    return n && addr_cmp(&list->items[n - 1].last, &who->first) >= 0;
}

bool span_touches(const struct span_set *set, const struct who *who)
{
    return list_touches(&set->small, who) || list_touches(&set->large, who);
}

static int make_room(struct span_list *list, size_t room)
{
    struct span *more;

    if (room <= list->room)
        return 0;
    more = reallocarray(list->items, room, sizeof(*more));
    if (!more)
        return -ENOMEM;
    list->items = more;
    list->room = room;
    return 0;
}

/* Grows @span by @other, which touches it. */
static void unite(struct span *span, const struct span *other)
{
    if (addr_cmp(&other->first, &span->first) < 0)
        span->first = other->first;
    if (addr_cmp(&other->last, &span->last) > 0)
        span->last = other->last;
}

/* There is room for one more. */
static void insert(struct span_list *list, struct span span)
{
    size_t end = count_up_to(list, &span.last), begin = end;

    while (begin && addr_cmp(&list->items[begin - 1].last, &span.first) >= 0)
        unite(&span, &list->items[--begin]);
    memmove(list->items + begin + 1, list->items + end, (list->count - end) * sizeof(*list->items));
    list->items[begin] = span;
    list->count = list->count - (end - begin) + 1;
}

/* Appends what is not before the end of @list. */
static void append(struct span_list *list, const struct span *span)
{
    struct span *end = list->count ? &list->items[list->count - 1] : NULL;

    if (end && addr_cmp(&span->first, &end->last) <= 0)
        unite(end, span);
    else
        list->items[list->count++] = *span;
}

static int merge(struct span_set *set)
{
    const struct span_list *a = &set->large, *b = &set->small;
    struct span_list both = {0};
    size_t i = 0, j = 0;
    int r = make_room(&both, a->count + b->count);

    if (r < 0)
        return r;
    while (i < a->count || j < b->count)
        if (j == b->count ||
            (i < a->count && addr_cmp(&a->items[i].first, &b->items[j].first) <= 0))
            append(&both, &a->items[i++]);
        else
            append(&both, &b->items[j++]);
    free(set->large.items);
    set->large = both;
    set->small.count = 0;
    return 0;
}

int span_add(struct span_set *set, const struct who *who)
{
    struct span span = {.first = who->first, .last = who->last};
    int r = make_room(&set->small, SMALL_MAX);

    if (r == 0 && set->small.count == SMALL_MAX)
        r = merge(set);
    if (r < 0)
        return r;
    if (set->large.count + set->small.count >= SPAN_MAX)
        return -E2BIG;
    insert(&set->small, span);
    return 0;
}
