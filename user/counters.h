/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the counters of an interface mean: sums over families and reasons, and the names that
 * reasons, verdicts and families have outside. Values in, values out: knows nothing of how they are
 * read or shown.
 */
#ifndef SMTPGATE_COUNTERS_H
#define SMTPGATE_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "smtpgate_types.h"

/* "pass", "drop", "would_drop"; "unknown" beyond. */
const char *counters_verdict_name(unsigned int verdict);
/* "none", "ip4", "ip6" */
const char *counters_family_name(unsigned int family);
/* Below SG_REASON_COUNT: "unlisted", and in words. */
const char *counters_reason_name(unsigned int reason);
const char *counters_reason_text(unsigned int reason);

/* False: no packet gets that verdict for that reason. */
bool counters_can_happen(unsigned int reason, unsigned int verdict);

/* Adds all of @more to @sum. */
void counters_add(struct sg_counters *sum, const struct sg_counters *more);

/* Over all families. */
struct sg_cell counters_sum_reason(const struct sg_counters *counters, unsigned int reason,
                                   unsigned int verdict);
/* Over all reasons. */
struct sg_cell counters_sum_family(const struct sg_counters *counters, unsigned int family,
                                   unsigned int verdict);
/* Over all reasons and families. */
struct sg_cell counters_sum_verdict(const struct sg_counters *counters, unsigned int verdict);
/* Over all families; @slot is the port's. */
struct sg_port_cell counters_sum_port(const struct sg_counters *counters, unsigned int slot,
                                      unsigned int verdict);

#endif
