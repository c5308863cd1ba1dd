/* SPDX-License-Identifier: GPL-2.0-only */
/* See pace.h. */
#include "pace.h"

#include <time.h>

int64_t pace_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void pace_begin(struct pace *pace, int64_t every_ms)
{
    int64_t now = pace_now();

    *pace = (struct pace){.every_ms = every_ms, .last_ms = now, .next_ms = now + every_ms};
}

int64_t pace_left(const struct pace *pace)
{
    int64_t left = pace->next_ms - pace_now();

    return left > 0 ? left : 0;
}

void pace_wait(const struct pace *pace)
{
    int64_t left;

    while ((left = pace_left(pace)) > 0) {
        const struct timespec rest = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};

        nanosleep(&rest, NULL);
    }
}

int64_t pace_turn(struct pace *pace)
{
    int64_t now = pace_now(), took = now - pace->last_ms;

    pace->last_ms = now;
    if (now >= pace->next_ms) /* else it is one out of turn */
        pace->next_ms += pace->every_ms;
    if (pace->next_ms <= now) /* a turn took longer, or the process was stopped */
        pace->next_ms = now + pace->every_ms;
    return took > 0 ? took : 1;
}
