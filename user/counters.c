/* SPDX-License-Identifier: GPL-2.0-only */
/* See counters.h. */
#include "counters.h"

#include <stddef.h>

static const char *const verdict_names[SG_VERDICT_COUNT] = {
    [SG_VERDICT_PASS] = "pass",
    [SG_VERDICT_DROP] = "drop",
    [SG_VERDICT_WOULD_DROP] = "would_drop",
};

static const char *const family_names[SG_FAMILY_COUNT] = {
    [SG_FAMILY_NONE] = "none",
    [SG_FAMILY_IP4] = "ip4",
    [SG_FAMILY_IP6] = "ip6",
};

static const struct {
    const char *name, *text;
    enum { CLASS_PASS, CLASS_JUDGE, CLASS_UNCLEAR } class;
} reasons[SG_REASON_COUNT] = {
#define X(reason, kind, words) {#reason, words, CLASS_##kind},
    SG_REASONS(X)
#undef X
};

const char *counters_verdict_name(unsigned int verdict)
{
    return verdict < SG_VERDICT_COUNT ? verdict_names[verdict] : "unknown";
}

const char *counters_family_name(unsigned int family)
{
    return family < SG_FAMILY_COUNT ? family_names[family] : "unknown";
}

const char *counters_reason_name(unsigned int reason)
{
    return reasons[reason].name;
}

const char *counters_reason_text(unsigned int reason)
{
    return reasons[reason].text;
}

bool counters_can_happen(unsigned int reason, unsigned int verdict)
{
    if (verdict == SG_VERDICT_PASS)
        return true;
    return reasons[reason].class != CLASS_PASS && reason != SG_REASON_listed;
}

void counters_add(struct sg_counters *sum, const struct sg_counters *more)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    size_t i;

    _Static_assert(sizeof(*sum) % sizeof(*to) == 0, "only 64-bit counters");
    for (i = 0; i < sizeof(*sum) / sizeof(*to); i++)
        to[i] += from[i];
}

static void add_cell(struct sg_cell *sum, const struct sg_cell *more)
{
    sum->packets += more->packets;
    sum->bytes += more->bytes;
}

struct sg_cell counters_sum_reason(const struct sg_counters *counters, unsigned int reason,
                                   unsigned int verdict)
{
    struct sg_cell sum = {0};
    unsigned int family;

    for (family = 0; family < SG_FAMILY_COUNT; family++)
        add_cell(&sum, &counters->reason[reason][verdict][family]);
    return sum;
}

struct sg_cell counters_sum_family(const struct sg_counters *counters, unsigned int family,
                                   unsigned int verdict)
{
    struct sg_cell sum = {0};
    unsigned int reason;

    for (reason = 0; reason < SG_REASON_SLOTS; reason++)
        add_cell(&sum, &counters->reason[reason][verdict][family]);
    return sum;
}

struct sg_cell counters_sum_verdict(const struct sg_counters *counters, unsigned int verdict)
{
    struct sg_cell sum = {0};
    unsigned int family;

    for (family = 0; family < SG_FAMILY_COUNT; family++) {
        struct sg_cell one = counters_sum_family(counters, family, verdict);

        add_cell(&sum, &one);
    }
    return sum;
}

struct sg_port_cell counters_sum_port(const struct sg_counters *counters, unsigned int slot,
                                      unsigned int verdict)
{
    struct sg_port_cell sum = {0};
    unsigned int family;

    for (family = 0; family < SG_FAMILY_COUNT; family++) {
        const struct sg_port_cell *cell = &counters->port[slot][verdict][family];

        sum.packets += cell->packets;
        sum.bytes += cell->bytes;
        sum.attempts += cell->attempts;
    }
    return sum;
}
