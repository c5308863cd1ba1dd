/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Doing something again and again, evenly, and knowing how long it really was in between: rates are
 * by that. Knows nothing of what is done.
 */
#ifndef SMTPGATE_PACE_H
#define SMTPGATE_PACE_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t pace_now(void);

struct pace {
    int64_t every_ms;
    int64_t last_ms, next_ms; /* CLOCK_MONOTONIC */
};

void pace_begin(struct pace *pace, int64_t every_ms);

/* How long it is until the next turn, ms; 0 when it has come. */
int64_t pace_left(const struct pace *pace);

/* Sleeps until then. */
void pace_wait(const struct pace *pace);

/* Begins the next turn. Returns how long the last one was, ms, at least 1. */
int64_t pace_turn(struct pace *pace);

#endif
