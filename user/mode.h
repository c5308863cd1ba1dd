/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Modes over time: what is in force now, what follows and when. Pure; knows nothing of where it is
 * stored or how the kernel keeps it.
 */
#ifndef SMTPGATE_MODE_H
#define SMTPGATE_MODE_H

#include <stdbool.h>
#include <stdint.h>

#include "smtpgate_types.h"

/* What the gate does while its lists call for one: @mode, and from @until on @then. */
struct mode_plan {
    enum sg_mode mode, then; /* ENFORCE, OBSERVE or (not @then) PAUSED */
    int64_t until;           /* Unix seconds; 0: @mode stays, @then has no meaning */
};

/*
 * The plan as of @now: a deadline that has passed is gone from it. Not @on: the lists call for no
 * gate, and the mode is OFF for good.
 */
struct mode_plan mode_at(bool on, const struct mode_plan *plan, int64_t now);

/* In this mode a source that is not listed is dropped. */
bool mode_drops(enum sg_mode mode);

/* "enforce", "off", "observe", "paused"; contract */
const char *mode_name(enum sg_mode mode);

#endif
