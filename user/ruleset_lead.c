/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of ruleset.h: ports that are not guarded and are sent on to one that is, which the gate
 * does not see, as it stands before all translation. Knows no syntax.
 */
#include <string.h>

#include "ruleset_eval.h"

#define USUAL_OTHER_PORT 2525

bool rs_is_guarded(const struct ruleset_host *host, unsigned int port)
{
    unsigned int i;

    for (i = 0; i < host->n_guarded; i++)
        if (host->guarded[i] == port)
            return true;
    return false;
}

/* ---- candidates ---- */

static void add(struct rs_candidates *candidates, unsigned int port, bool wide)
{
    unsigned int i;

    for (i = 0; i < candidates->count && candidates->ports[i] != port; i++)
        ;
    if (i == RULESET_PORTS_MAX) {
        candidates->more = true;
        return;
    }
    candidates->ports[i] = (uint16_t)port;
    candidates->wide |= (wide ? 1U : 0) << i;
    candidates->count += i == candidates->count;
}

void rs_add_candidate(struct rs_candidates *candidates, const struct ruleset_host *host,
                      unsigned int low, unsigned int high)
{
    bool wide = low < high;

    if (!low)
        low = 1;
    while (low <= high && rs_is_guarded(host, low))
        low++;
    if (low <= high && high <= UINT16_MAX)
        add(candidates, low, wide);
}

void rs_add_any_candidate(struct rs_candidates *candidates, const struct ruleset_host *host)
{
    rs_add_candidate(candidates, host, USUAL_OTHER_PORT, UINT16_MAX);
}

struct ruleset_host rs_candidate_host(const struct rs_candidates *candidates,
                                      const struct ruleset_host *host)
{
    struct ruleset_host other = *host;

    memcpy(other.ports, candidates->ports, sizeof(other.ports));
    other.n_ports = candidates->count;
    return other;
}

/* ---- leads ---- */

static struct ruleset_lead *find_lead(struct ruleset_findings *findings, uint16_t from, uint16_t to)
{
    size_t i;

    for (i = 0; i < findings->n_leads; i++)
        if (findings->leads[i].from == from && findings->leads[i].to == to)
            return &findings->leads[i];
    return NULL;
}

static void add_lead(struct ruleset_findings *findings, const struct ruleset_lead *lead)
{
    struct ruleset_lead *same = find_lead(findings, lead->from, lead->to);

    if (same)
        same->cases |= lead->cases;
    else if (findings->n_leads == RULESET_LEADS_MAX)
        findings->more_leads = true;
    else
        findings->leads[findings->n_leads++] = *lead;
}

void rs_add_leads(const struct rs_set *set, const struct rs_chain *chain,
                  const struct rs_rule *rule, uint32_t hit, struct ruleset_findings *findings)
{
    const struct ruleset_host *host = set->host;
    struct ruleset_finding at = {0};
    struct ruleset_lead lead = {.to = rule->to};
    unsigned int i;

    rs_print_place(set, chain, rule, &at);
    memcpy(lead.place, at.place, sizeof(lead.place));
    memcpy(lead.rule, at.rule, sizeof(lead.rule));
    memcpy(lead.look, at.look, sizeof(lead.look));
    for (i = 0; i < host->n_ports; i++) {
        lead.cases = hit & (1U << i | 1U << (i + RS_FAMILY_BITS));
        lead.from = host->ports[i];
        if (lead.cases && !rs_is_guarded(host, lead.from))
            add_lead(findings, &lead);
    }
}

/* Cases that are dropped before they are sent anywhere. */
static uint32_t dropped_before(const struct ruleset_findings *findings)
{
    uint32_t cases = 0;
    size_t i;

    for (i = 0; i < findings->count; i++)
        if (!findings->items[i].input && !findings->items[i].some)
            cases |= findings->items[i].cases;
    return cases;
}

void rs_take_leads(struct ruleset_findings *findings, const struct ruleset_findings *second,
                   const struct rs_candidates *candidates)
{
    uint32_t dropped = dropped_before(second);
    unsigned int port;
    size_t i;

    for (i = 0; i < second->n_leads; i++) {
        struct ruleset_lead lead = second->leads[i];

        for (port = 0; port < candidates->count; port++)
            if (candidates->ports[port] == lead.from)
                lead.wide = candidates->wide & 1U << port;
        if (lead.cases & ~dropped)
            add_lead(findings, &lead);
    }
    findings->more_leads |= second->more_leads || candidates->more;
    findings->unread |= second->unread;
}
