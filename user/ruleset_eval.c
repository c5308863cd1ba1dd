/* SPDX-License-Identifier: GPL-2.0-only */
/* See ruleset_eval.h. */
#include "ruleset_eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Rules looked at in all, and chains within each other: a ruleset that jumps about has an end. */
#define STEPS_MAX 2000000
#define DEPTH_MAX 16 /* the kernel's own */

void rs_free(struct rs_set *set)
{
    size_t i;

    for (i = 0; i < set->count; i++)
        free(set->chains[i].rules);
    free(set->chains);
    free(set->index);
}

/* ---- chains by their names: there may be tens of thousands ---- */

static uint64_t add_hash(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3; /* FNV-1a */
    while (*text++);
    return hash;
}

/* Where the search for it begins. */
static size_t slot_of(const struct rs_set *set, const char *family, const char *table,
                      const char *name)
{
    return (size_t)(add_hash(add_hash(add_hash(0xcbf29ce484222325, name), table), family) %
                    set->slots);
}

/* At the end of those that share the slot: of two with one name the first is found. */
static void enter(struct rs_set *set, size_t number)
{
    const struct rs_chain *chain = &set->chains[number];
    size_t slot = slot_of(set, chain->family, chain->table, chain->name);

    while (set->index[slot])
        slot = (slot + 1) % set->slots;
    set->index[slot] = number + 1;
}

/* For one more, with half of the slots empty. */
static bool make_slots(struct rs_set *set)
{
    size_t i, slots = set->slots ? set->slots * 4 : 64;
    size_t *index;

    if ((set->count + 1) * 2 <= set->slots)
        return true;
    index = calloc(slots, sizeof(*index));
    if (!index)
        return false;
    free(set->index);
    set->index = index;
    set->slots = slots;
    for (i = 0; i < set->count; i++)
        enter(set, i);
    return true;
}

struct rs_chain *rs_add_chain(struct rs_set *set, const struct rs_chain *chain)
{
    if (!make_slots(set))
        return NULL;
    if (set->count == set->room) {
        size_t room = set->room ? set->room * 2 : 16;
        struct rs_chain *chains = reallocarray(set->chains, room, sizeof(*chains));

        if (!chains)
            return NULL;
        set->chains = chains;
        set->room = room;
    }
    set->chains[set->count] = *chain;
    enter(set, set->count);
    return &set->chains[set->count++];
}

struct rs_chain *rs_find_chain(const struct rs_set *set, const char *family, const char *table,
                               const char *name)
{
    size_t slot = set->slots ? slot_of(set, family, table, name) : 0;

    for (; set->slots && set->index[slot]; slot = (slot + 1) % set->slots) {
        struct rs_chain *chain = &set->chains[set->index[slot] - 1];

        if (!strcmp(chain->name, name) && !strcmp(chain->table, table) &&
            !strcmp(chain->family, family))
            return chain;
    }
    return NULL;
}

int rs_add_rule(struct rs_chain *chain, const struct rs_rule *rule)
{
    if (chain->count == chain->room) {
        size_t room = chain->room ? chain->room * 2 : 8;
        struct rs_rule *rules = reallocarray(chain->rules, room, sizeof(*rules));

        if (!rules)
            return -ENOMEM;
        chain->rules = rules;
        chain->room = room;
    }
    chain->rules[chain->count++] = *rule;
    return 0;
}

/* ---- matches ---- */

struct rs_match rs_everything(const struct ruleset_host *host)
{
    uint32_t ports = (1U << host->n_ports) - 1;

    return (struct rs_match){.cases = (host->ip4 ? ports : 0) |
                                      (host->ip6 ? ports << RS_FAMILY_BITS : 0)};
}

struct rs_match rs_nothing(void)
{
    return (struct rs_match){0};
}

struct rs_match rs_who_knows(const struct ruleset_host *host)
{
    struct rs_match match = rs_everything(host);

    match.reach = RS_UNKNOWN;
    return match;
}

struct rs_match rs_both(struct rs_match a, struct rs_match b)
{
    return (struct rs_match){.cases = a.cases & b.cases,
                             .reach = a.reach > b.reach ? a.reach : b.reach};
}

uint32_t rs_port_cases(const struct ruleset_host *host, unsigned int low, unsigned int high)
{
    uint32_t ports = 0;
    unsigned int i;

    for (i = 0; i < host->n_ports; i++)
        if (host->ports[i] >= low && host->ports[i] <= high)
            ports |= 1U << i;
    return ports | ports << RS_FAMILY_BITS;
}

struct rs_match rs_only(const struct ruleset_host *host, uint32_t cases, bool negated)
{
    struct rs_match match = rs_everything(host);

    match.cases &= negated ? ~cases : cases;
    return match;
}

struct rs_match rs_sources(const struct ruleset_host *host, bool negated)
{
    struct rs_match match = rs_everything(host);

    match.reach = negated ? RS_MOST : RS_SOME;
    return match;
}

struct rs_match rs_share(const struct ruleset_host *host, size_t hits, size_t total, bool negated)
{
    struct rs_match match = rs_everything(host);

    if (negated)
        hits = hits < total ? total - hits : 0;
    if (!hits)
        return rs_nothing();
    match.reach = hits < total ? RS_WAYS : RS_ALL;
    return match;
}

size_t rs_count_own(const struct ruleset_host *host, enum addr_family family)
{
    size_t i, count = 0;

    for (i = 0; i < host->n_own; i++)
        count += host->own[i].family == family;
    return count;
}

size_t rs_own_hits(const struct ruleset_host *host, const struct addr *first,
                   const struct addr *last)
{
    size_t i, hits = 0;

    for (i = 0; i < host->n_own; i++)
        hits += addr_cmp(&host->own[i], first) >= 0 && addr_cmp(&host->own[i], last) <= 0;
    return hits;
}

size_t rs_iface_hits(const struct ruleset_host *host, const char *name, char wild)
{
    size_t len = strlen(name), hits = 0;
    unsigned int i;
    bool begins = len && name[len - 1] == wild;

    for (i = 0; i < host->n_ifaces; i++)
        hits += begins ? !strncmp(host->ifaces[i], name, len - 1) : !strcmp(host->ifaces[i], name);
    return hits;
}

struct rs_match rs_ifaces(const struct ruleset_host *host, size_t hits, bool loopback_only,
                          bool negated)
{
    struct rs_match match = rs_everything(host);

    if (host->n_ifaces || loopback_only)
        return rs_share(host, loopback_only ? 0 : hits, host->n_ifaces ? host->n_ifaces : 1,
                        negated);
    match.reach = RS_WAYS;
    return match;
}

void rs_bounds(const struct addr *addr, unsigned int len, struct addr *ret_first,
               struct addr *ret_last)
{
    unsigned int bit, bits = (unsigned int)addr_len(addr->family) * 8;

    *ret_first = *ret_last = *addr;
    for (bit = len; bit < bits; bit++) {
        ret_first->bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
        ret_last->bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    }
}

/* ---- following ---- */

struct follower {
    struct rs_set *set;
    struct ruleset_findings *findings;
    uint32_t let_some; /* cases of which some packets were accepted */
    unsigned int steps;
};

static bool is_plain(const char *name)
{
    return *name && *name != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               strlen(name);
}

static void print_place(const struct rs_set *set, const struct rs_chain *chain,
                        struct ruleset_finding *finding)
{
    const char *command = set->command;
    char table[64], name[64];

    text_escape(chain->table, table, sizeof(table));
    text_escape(chain->name, name, sizeof(name));
    if (command)
        snprintf(finding->place, sizeof(finding->place), "%s, table %s, chain %s", command, table,
                 name);
    else
        snprintf(finding->place, sizeof(finding->place), "nft, table %s %s, chain %s",
                 chain->family, table, name);
    if (!is_plain(chain->table) || !is_plain(chain->name))
        snprintf(finding->look, sizeof(finding->look), "%s",
                 command ? "iptables-save" : "nft -a list ruleset");
    else if (command)
        snprintf(finding->look, sizeof(finding->look), "%s -t %s -vnL %s --line-numbers", command,
                 table, name);
    else
        snprintf(finding->look, sizeof(finding->look), "nft -a list chain %s %s %s", chain->family,
                 table, name);
}

static void print_rule(const struct rs_rule *rule, struct ruleset_finding *finding)
{
    if (rule && rule->text)
        text_escape(rule->text, finding->rule, sizeof(finding->rule));
    else if (rule)
        snprintf(finding->rule, sizeof(finding->rule), "the rule with handle %lld", rule->handle);
}

void rs_print_place(const struct rs_set *set, const struct rs_chain *chain,
                    const struct rs_rule *rule, struct ruleset_finding *finding)
{
    print_place(set, chain, finding);
    print_rule(rule, finding);
}

static void spell_cases(const struct ruleset_host *host, struct ruleset_finding *finding)
{
    uint32_t cases = finding->cases, ports = (cases | cases >> RS_FAMILY_BITS) & RS_IP4;
    unsigned int i;

    finding->ip4 = (cases & RS_IP4) != 0;
    finding->ip6 = (cases & RS_IP6) != 0;
    finding->n_ports = 0;
    for (i = 0; i < host->n_ports; i++)
        if (ports & 1U << i)
            finding->ports[finding->n_ports++] = host->ports[i];
}

/* A packet that was sent elsewhere meets no rule for the port that it came to. */
static void settle_one(const struct ruleset_host *host, struct ruleset_finding *finding,
                       uint32_t moved)
{
    if (finding->input)
        finding->cases &= ~moved;
    spell_cases(host, finding);
}

static void settle(const struct ruleset_host *host, struct ruleset_findings *findings)
{
    size_t i, kept = 0;

    for (i = 0; i < findings->count; i++) {
        struct ruleset_finding *finding = &findings->items[i];

        settle_one(host, finding, findings->moved);
        if (finding->cases)
            findings->items[kept++] = *finding;
    }
    findings->count = kept;
    for (i = 0; i < findings->n_spares; i++)
        settle_one(host, &findings->spares[i].by, findings->moved);
}

/* The one that says the same rule, or a new one; NULL: no room. */
static struct ruleset_finding *place_of(struct ruleset_findings *all,
                                        const struct ruleset_finding *wanted)
{
    size_t i;

    for (i = 0; i < all->count; i++)
        if (!strcmp(all->items[i].place, wanted->place) &&
            !strcmp(all->items[i].rule, wanted->rule))
            return &all->items[i];
    if (all->count == RULESET_FINDINGS_MAX)
        return NULL;
    all->items[all->count] = *wanted;
    return &all->items[all->count++];
}

/* @rule NULL: the chain's policy. */
static void add_finding(struct follower *follower, const struct rs_chain *chain,
                        const struct rs_rule *rule, uint32_t cases, enum rs_reach reach)
{
    struct ruleset_finding wanted = {0}, *finding;

    follower->steps += 8; /* what it costs */
    rs_print_place(follower->set, chain, rule, &wanted);
    finding = place_of(follower->findings, &wanted);
    if (!finding) {
        follower->findings->more = true;
        return;
    }
    finding->some |= reach != RS_ALL || (cases & follower->let_some);
    finding->input = chain->input;
    finding->cases |= cases;
}

/* ---- rules that drop some ---- */

struct named {
    struct ruleset_findings *findings;
    size_t spare;
    size_t told; /* of the first rule's */
    bool first;
    bool all_dropped; /* nothing in front of it lets some of them in */
};

static void tell_source(struct named *named, const char *text)
{
    char *who = named->findings->spares[named->spare].who;
    size_t size = sizeof(named->findings->spares[0].who), used = strlen(who);

    if (named->told > 3)
        return;
    if (named->told == 3 || used + strlen(text) + sizeof(", , ...") > size) {
        snprintf(who + used, size - used, ", ...");
        named->told = 4;
        return;
    }
    snprintf(who + used, size - used, "%s%s", used ? ", " : "", text);
    named->told++;
}

static bool is_known_source(const struct ruleset_findings *findings,
                            const struct ruleset_source *source)
{
    size_t i;

    for (i = 0; i < findings->n_sources; i++)
        if (findings->sources[i].spare == source->spare &&
            who_same_set(&findings->sources[i].who, &source->who))
            return true;
    return false;
}

static bool take_source(const struct who *who, void *arg)
{
    struct named *named = arg;
    struct ruleset_findings *findings = named->findings;
    struct ruleset_source source = {*who, named->spare};
    char text[WHO_TEXT_MAX];

    if (named->first)
        tell_source(named, who_print(who, text));
    if (!named->all_dropped || findings->n_sources == RULESET_SOURCES_MAX)
        return named->first && named->told <= 3;
    if (!is_known_source(findings, &source))
        findings->sources[findings->n_sources++] = source;
    return true;
}

/* The one of this chain, or a new one; @wanted says the chain. SIZE_MAX: no room. */
static size_t find_spare(struct ruleset_findings *findings, const struct ruleset_finding *wanted,
                         bool *ret_first)
{
    size_t i;

    *ret_first = false;
    for (i = 0; i < findings->n_spares; i++)
        if (!strcmp(findings->spares[i].by.place, wanted->place))
            return i;
    if (i == RULESET_SPARES_MAX)
        return SIZE_MAX;
    *ret_first = true;
    findings->spares[i] = (struct ruleset_spare){.by = *wanted};
    return findings->n_spares++;
}

static void add_spare(struct follower *follower, const struct rs_chain *chain,
                      const struct rs_rule *rule, uint32_t hit, enum rs_reach reach)
{
    struct named named = {.findings = follower->findings,
                          .all_dropped = reach == RS_SOME && (hit & ~follower->let_some)};
    struct ruleset_finding wanted = {0};

    follower->steps += 8;
    rs_print_place(follower->set, chain, rule, &wanted);
    named.spare = find_spare(follower->findings, &wanted, &named.first);
    if (named.spare == SIZE_MAX)
        return;
    follower->findings->spares[named.spare].by.cases |= hit;
    follower->findings->spares[named.spare].by.input = chain->input;
    if (follower->set->each_source && (named.first || named.all_dropped))
        follower->set->each_source(follower->set, chain, rule, take_source, &named);
}

/* ---- one rule ---- */

/* Where a rule's packets are after it. */
struct course {
    uint32_t live;   /* still in this chain */
    uint32_t unsure; /* of these, who may have left it: what drops them here is no finding */
    uint32_t ended;  /* dropped or accepted */
};

static void meet_drop(struct follower *follower, const struct rs_chain *chain,
                      const struct rs_rule *rule, uint32_t hit, enum rs_reach reach,
                      struct course *course)
{
    if (reach > RS_WAYS) {
        add_spare(follower, chain, rule, hit, reach);
        return;
    }
    add_finding(follower, chain, rule, hit, reach);
    course->live &= ~hit;
    course->ended |= hit;
}

static void meet_accept(struct follower *follower, uint32_t hit, enum rs_reach reach,
                        struct course *course)
{
    if (reach == RS_SOME) {
        follower->let_some |= hit;
        return;
    }
    course->live &= ~hit;
    course->ended |= hit;
}

/* By a return or a goto; @reach is the rule's own, of who is in the chain. */
static void leave_chain(struct follower *follower, uint32_t hit, enum rs_reach reach,
                        struct course *course)
{
    if (reach == RS_UNKNOWN)
        course->unsure |= hit;
    else if (reach != RS_ALL)
        follower->let_some |= hit; /* in the chain or out of it */
    if (reach < RS_SOME)
        course->live &= ~hit;
}

static uint32_t follow_chain(struct follower *follower, const struct rs_chain *chain, uint32_t live,
                             enum rs_reach reach, unsigned int depth);

static void meet_jump(struct follower *follower, const struct rs_chain *chain,
                      const struct rs_rule *rule, uint32_t hit, enum rs_reach reach,
                      unsigned int depth, struct course *course)
{
    const struct rs_chain *target =
        rs_find_chain(follower->set, chain->family, chain->table, rule->target);
    uint32_t ended = 0;

    if (target)
        ended = follow_chain(follower, target, hit, reach, depth + 1);
    course->ended |= ended;
    course->live &= ~ended;
    if (rule->verdict == RS_GOTO)
        leave_chain(follower, hit & ~ended, rule->match.reach, course);
}

static void meet_hit(struct follower *follower, const struct rs_chain *chain,
                     const struct rs_rule *rule, uint32_t hit, enum rs_reach reach,
                     unsigned int depth, struct course *course)
{
    if (!hit)
        return;
    if (rule->to && reach != RS_UNKNOWN)
        rs_add_leads(follower->set, chain, rule, hit, follower->findings);
    switch (rule->verdict) {
    case RS_DROP:
        meet_drop(follower, chain, rule, hit, reach, course);
        break;
    case RS_MOVE:
        if (reach != RS_SOME)
            follower->findings->moved |= hit;
        meet_accept(follower, hit, reach, course);
        break;
    case RS_ACCEPT:
        meet_accept(follower, hit, reach, course);
        break;
    case RS_RETURN:
        leave_chain(follower, hit, rule->match.reach, course);
        break;
    case RS_JUMP:
    case RS_GOTO:
        meet_jump(follower, chain, rule, hit, reach, depth, course);
        break;
    case RS_GO_ON:
    default:
        break;
    }
}

static void meet_rule(struct follower *follower, const struct rs_chain *chain,
                      const struct rs_rule *rule, enum rs_reach around, unsigned int depth,
                      struct course *course)
{
    enum rs_reach reach = rule->match.reach > around ? rule->match.reach : around;
    uint32_t hit = course->live & rule->match.cases, unsure = hit & course->unsure;

    meet_hit(follower, chain, rule, hit & ~unsure, reach, depth, course);
    meet_hit(follower, chain, rule, unsure, RS_UNKNOWN, depth, course);
}

/* Returns the cases that were decided in it. */
static uint32_t follow_chain(struct follower *follower, const struct rs_chain *chain, uint32_t live,
                             enum rs_reach reach, unsigned int depth)
{
    struct course course = {.live = live};
    size_t i;

    if (depth > DEPTH_MAX) {
        follower->findings->unread = true;
        return 0;
    }
    for (i = 0; i < chain->count && course.live; i++) {
        if (++follower->steps > STEPS_MAX) {
            follower->findings->unread = true;
            return live; /* nothing is said of it any more */
        }
        meet_rule(follower, chain, &chain->rules[i], reach, depth, &course);
    }
    return course.ended;
}

void rs_follow(struct rs_set *set, struct ruleset_findings *findings)
{
    struct follower follower = {.set = set, .findings = findings};
    size_t i;

    for (i = 0; i < set->count; i++) {
        const struct rs_chain *chain = &set->chains[i];
        struct rs_match match = rs_both(chain->match, rs_everything(set->host));
        uint32_t left;

        if (!chain->base || !match.cases)
            continue;
        follower.let_some = 0;
        left = match.cases & ~follow_chain(&follower, chain, match.cases, match.reach, 0);
        if (chain->drops && left && match.reach <= RS_WAYS)
            add_finding(&follower, chain, NULL, left, match.reach);
    }
    settle(set->host, findings);
}
