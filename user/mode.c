/* SPDX-License-Identifier: GPL-2.0-only */
/* See mode.h. Pure. */
#include "mode.h"

struct mode_plan mode_at(bool on, const struct mode_plan *plan, int64_t now)
{
    if (!on)
        return (struct mode_plan){.mode = SG_MODE_OFF, .then = SG_MODE_OFF};
    if (!plan->until)
        return (struct mode_plan){.mode = plan->mode, .then = plan->mode};
    if (now >= plan->until)
        return (struct mode_plan){.mode = plan->then, .then = plan->then};
    return *plan;
}

bool mode_drops(enum sg_mode mode)
{
    return mode != SG_MODE_OFF && mode != SG_MODE_OBSERVE && mode != SG_MODE_PAUSED;
}

const char *mode_name(enum sg_mode mode)
{
    switch (mode) {
    case SG_MODE_OFF:
        return "off";
    case SG_MODE_OBSERVE:
        return "observe";
    case SG_MODE_PAUSED:
        return "paused";
    case SG_MODE_ENFORCE:
    default:
        return "enforce";
    }
}
