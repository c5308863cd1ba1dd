/* SPDX-License-Identifier: GPL-2.0-only */
/* See delta.h. Pure. */
#include "delta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int delta_push(struct delta *delta, const struct prefix *prefix, int64_t before, int64_t after)
{
    struct delta_item *items;
    size_t room;

    if (delta->count == delta->room) {
        room = delta->room ? delta->room * 2 : 64;
        items = reallocarray(delta->items, room, sizeof(*items));
        if (!items)
            return -ENOMEM;
        delta->items = items;
        delta->room = room;
    }
    delta->items[delta->count] = (struct delta_item){
        .prefix = *prefix, .before = before, .after = after, .order = delta->count};
    delta->count++;
    return 0;
}

static int item_cmp(const void *a, const void *b)
{
    const struct delta_item *left = a, *right = b;
    int order = prefix_cmp(&left->prefix, &right->prefix);

    return order ? order : (left->order > right->order) - (left->order < right->order);
}

void delta_settle(struct delta *delta)
{
    size_t from, to = 0;

    if (delta->count)
        qsort(delta->items, delta->count, sizeof(*delta->items), item_cmp);
    for (from = 0; from < delta->count;) {
        struct delta_item sum = delta->items[from++];

        while (from < delta->count && !prefix_cmp(&sum.prefix, &delta->items[from].prefix))
            sum.after = delta->items[from++].after;
        sum.order = to;
        if (sum.before != sum.after)
            delta->items[to++] = sum;
    }
    delta->count = to;
}

void delta_free(struct delta *delta)
{
    free(delta->items);
    memset(delta, 0, sizeof(*delta));
}
