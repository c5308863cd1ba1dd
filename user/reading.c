/* SPDX-License-Identifier: GPL-2.0-only */
/* See reading.h. */
#include "reading.h"

#include <string.h>
#include <time.h>

void reading_free(struct reading *reading)
{
    view_close(&reading->view);
    tally_free(&reading->sources);
}

static int take_source(const struct gate_source *source, void *arg)
{
    const struct tally_source row = {
        .addr = source->addr,
        .port = source->port,
        .verdict = source->verdict,
        .packets = source->packets,
        .attempts = source->attempts,
        .first_seen = (int64_t)source->first_seen,
        .last_seen = (int64_t)source->last_seen,
    };

    return tally_add(arg, &row);
}

static int read_sources(struct reading *reading, struct err *e)
{
    struct tally_table *sources = &reading->sources;
    uint64_t untracked[SG_VERDICT_COUNT] = {0};
    struct timespec since_boot;
    int r = gate_each_source(reading->view.gate, take_source, sources, e);

    if (r == -ENOMEM)
        return err_set(e, r, EXIT_REFUSED, "out of memory");
    if (r == 0)
        r = gate_read_untracked(reading->view.gate, untracked, e);
    if (r < 0)
        return r;
    clock_gettime(CLOCK_BOOTTIME, &since_boot);
    sources->clock = gate_now(reading->view.gate, 0) - (int64_t)since_boot.tv_sec;
    reading->counts.untracked = untracked[SG_VERDICT_DROP] + untracked[SG_VERDICT_WOULD_DROP];
    tally_sort(sources);
    return 0;
}

static void take_sums(struct reading *reading)
{
    struct view_sums sums = view_sum_up(&reading->view);

    memcpy(reading->counts.packets, sums.packets, sizeof(sums.packets));
    memcpy(reading->counts.attempts, sums.attempts, sizeof(sums.attempts));
}

int reading_take(const char *state, const char *bpffs, size_t compare_max,
                 struct reading *ret_reading, struct err *e)
{
    _cleanup_reading_ struct reading reading = {0};
    int r = view_open(state, bpffs, compare_max, &reading.view, e);

    if (r < 0)
        return r;
    /* The interfaces' numbers went with the store: zeros would be a wrong answer. */
    if (!reading.view.stored && gate_is_claimed(reading.view.gate))
        return change_fail_no_store(state, e);
    r = read_sources(&reading, e);
    if (r < 0)
        return r;
    take_sums(&reading);
    reading.time = time(NULL);
    *ret_reading = reading;
    reading = (struct reading){0};
    return 0;
}
