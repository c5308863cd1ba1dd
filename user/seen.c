/* SPDX-License-Identifier: GPL-2.0-only */
/* See seen.h. */
#include "seen.h"

#include <stdio.h>
#include <string.h>

#include "counters.h"
#include "out.h"

#define SEEN_LINES 10

void seen_free(struct seen *seen)
{
    free(seen->items);
    memset(seen, 0, sizeof(*seen));
}

static int collect(const struct gate_source *source, void *arg)
{
    struct seen *seen = arg;
    size_t room = seen->room ? seen->room * 2 : 256;
    struct seen_source *more;

    if (seen->count == seen->room) {
        more = reallocarray(seen->items, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        seen->items = more;
        seen->room = room;
    }
    seen->items[seen->count++] = (struct seen_source){.source = *source};
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct seen_source *one = a, *two = b;
    int order;

    if (one->let_in != two->let_in)
        return one->let_in ? 1 : -1;
    if (one->source.packets != two->source.packets)
        return one->source.packets > two->source.packets ? -1 : 1;
    order = addr_cmp(&one->source.addr, &two->source.addr);
    return order ? order : (int)one->source.port - (int)two->source.port;
}

/* An entry that would let it in, were its time not over. */
static int find_ended(struct store *store, struct seen_source *row, struct err *e)
{
    const struct addr *address = &row->source.addr;
    struct store_entry entry;
    int r = store_find_covering(store, NULL, address, address, 0, &entry, e);

    if (r == 0)
        row->ended_entry = entry.id;
    return r == -ENOENT ? 0 : r;
}

static int judge(struct store *store, int64_t now, struct seen *seen, struct err *e)
{
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < seen->count; i++) {
        struct seen_source *row = &seen->items[i];

        r = store_covers(store, NULL, &row->source.addr, now, &row->let_in, e);
        if (r == 0 && !row->let_in)
            r = find_ended(store, row, e);
    }
    return r;
}

static void sort(struct seen *seen)
{
    if (seen->count)
        qsort(seen->items, seen->count, sizeof(*seen->items), compare);
}

static int read_table(struct gate *gate, struct seen *seen, struct err *e)
{
    uint64_t untracked[SG_VERDICT_COUNT] = {0};
    unsigned int i;
    int r = gate_each_source(gate, collect, seen, e);

    if (r == -ENOMEM)
        return err_set(e, r, EXIT_REFUSED, "out of memory");
    if (r == 0)
        r = gate_read_untracked(gate, untracked, e);
    for (i = 0; r == 0 && i < SG_VERDICT_COUNT; i++)
        seen->untracked += untracked[i];
    return r;
}

int seen_read(struct change *change, struct seen *ret_seen, struct err *e)
{
    _cleanup_seen_ struct seen seen = {0};
    size_t i;
    int r = change->gate ? read_table(change->gate, &seen, e) : 0;

    if (r == 0)
        r = judge(change->store, change->now, &seen, e);
    if (r < 0)
        return r;
    for (i = 0; i < seen.count; i++)
        seen.n_out += !seen.items[i].let_in;
    sort(&seen);
    *ret_seen = seen;
    seen = (struct seen){0};
    return 0;
}

static void keep_blocked(struct seen *seen, int64_t since)
{
    size_t i, kept = 0;

    for (i = 0; i < seen->count; i++) {
        const struct gate_source *source = &seen->items[i].source;

        if (source->verdict != SG_VERDICT_PASS && (int64_t)source->last_seen >= since)
            seen->items[kept++] = seen->items[i];
    }
    seen->count = kept;
}

int seen_read_blocked(struct store *store, struct gate *gate, int64_t now, int64_t since,
                      size_t top, struct seen *ret_seen, size_t *ret_total, struct err *e)
{
    _cleanup_seen_ struct seen seen = {0};
    size_t total;
    int r = read_table(gate, &seen, e);

    if (r < 0)
        return r;
    keep_blocked(&seen, since);
    sort(&seen);
    total = seen.count;
    if (top && seen.count > top)
        seen.count = top;
    r = judge(store, now, &seen, e);
    if (r < 0)
        return r;
    *ret_total = total;
    *ret_seen = seen;
    seen = (struct seen){0};
    return 0;
}

static const char *port_words(uint16_t port, char buf[24])
{
    if (port)
        snprintf(buf, 24, "port %u", port);
    else
        snprintf(buf, 24, "port not known");
    return buf;
}

const char *seen_print(const struct seen *seen, char buf[SEEN_TEXT_MAX])
{
    char address[ADDR_TEXT_MAX], time[OUT_TIME_MAX], port[24];
    size_t i, used = 0;

    buf[0] = '\0';
    for (i = 0; i < seen->n_out && i < SEEN_LINES; i++) {
        const struct gate_source *source = &seen->items[i].source;

        used +=
            (size_t)snprintf(buf + used, SEEN_TEXT_MAX - used, "  %s  %s, %llu packet%s, last %s\n",
                             addr_print(&source->addr, address), port_words(source->port, port),
                             (unsigned long long)source->packets, source->packets == 1 ? "" : "s",
                             out_local_time((int64_t)source->last_seen, time));
    }
    if (seen->n_out > SEEN_LINES)
        snprintf(buf + used, SEEN_TEXT_MAX - used, "  and %zu more\n", seen->n_out - SEEN_LINES);
    return buf;
}

json_t *seen_json(const struct seen *seen, size_t most)
{
    json_t *rows = json_array();
    char address[ADDR_TEXT_MAX];
    size_t i;

    for (i = 0; i < seen->count && i < most; i++) {
        const struct gate_source *source = &seen->items[i].source;

        json_array_append_new(
            rows, json_pack("{s:s, s:o, s:I, s:I, s:o, s:o, s:s, s:b, s:o}", "address",
                            addr_print(&source->addr, address), "port",
                            source->port ? json_integer(source->port) : json_null(), "packets",
                            (json_int_t)source->packets, "attempts", (json_int_t)source->attempts,
                            "first_seen", out_json_time((int64_t)source->first_seen), "last_seen",
                            out_json_time((int64_t)source->last_seen), "verdict",
                            counters_verdict_name(source->verdict), "let_in", seen->items[i].let_in,
                            "ended_entry",
                            seen->items[i].ended_entry ? json_integer(seen->items[i].ended_entry)
                                                       : json_null()));
    }
    return rows;
}
