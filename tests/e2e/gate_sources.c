// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prints what gate_each_source() and gate_read_untracked() bring, for tests that compare it with
 * what bpftool reads from the same maps:
 *
 *   gate_sources BPFFS [ROUNDS]
 *
 * A line for each source: ADDRESS PORT VERDICT PACKETS ATTEMPTS FIRST LAST; then "untracked PASS
 * DROP WOULD_DROP". ROUNDS: reads the table so often and prints the last one only; fails when a
 * source is met twice in one round.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate.h"

static const char *const verdict_names[SG_VERDICT_COUNT] = {"pass", "drop", "would_drop"};

struct met {
    struct gate_source *items;
    size_t count;
};

static int collect(const struct gate_source *source, void *arg)
{
    struct met *met = arg;

    if (met->count == SG_SOURCES_MAX)
        return -E2BIG;
    met->items[met->count++] = *source;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct gate_source *one = a, *two = b;
    int order = addr_cmp(&one->addr, &two->addr);

    return order ? order : one->port - two->port;
}

static int fail(const char *what)
{
    fprintf(stderr, "gate_sources: %s\n", what);
    return 2;
}

static bool has_twins(const struct met *met)
{
    for (size_t i = 1; i < met->count; i++)
        if (compare(&met->items[i - 1], &met->items[i]) == 0)
            return true;
    return false;
}

static void print(const struct met *met, const uint64_t untracked[SG_VERDICT_COUNT])
{
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < met->count; i++) {
        const struct gate_source *source = &met->items[i];

        printf("%s %u %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
               addr_print(&source->addr, text), source->port, verdict_names[source->verdict],
               source->packets, source->attempts, source->first_seen, source->last_seen);
    }
    printf("untracked %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", untracked[SG_VERDICT_PASS],
           untracked[SG_VERDICT_DROP], untracked[SG_VERDICT_WOULD_DROP]);
}

int main(int argc, char **argv)
{
    _cleanup_(gate_close) struct gate *gate = NULL;
    unsigned long round, rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    uint64_t untracked[SG_VERDICT_COUNT];
    _cleanup_free_ struct gate_source *items = calloc(SG_SOURCES_MAX, sizeof(*items));
    struct met met = {.items = items};
    struct err e = {0};

    if (argc < 2 || !items)
        return fail("gate_sources BPFFS [ROUNDS]");
    if (gate_open(argv[1], false, &gate, &e) < 0)
        return fail(e.message);
    for (round = 0; round < rounds; round++) {
        met.count = 0;
        if (gate_each_source(gate, collect, &met, &e) < 0)
            return fail(e.message);
        qsort(items, met.count, sizeof(*items), compare);
        if (has_twins(&met))
            return fail("a source was met twice");
    }
    if (gate_read_untracked(gate, untracked, &e) < 0)
        return fail(e.message);
    print(&met, untracked);
    return 0;
}
