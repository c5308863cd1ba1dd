/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One walk in the order of first addresses. Whether an entry is covered can be told when it comes,
 * by those before it that reach as far; only those of the same first address may come behind it,
 * since the shorter one comes first. See lint.h. Pure.
 */
#include "lint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prefix.h"

/* An entry that later ones may lie in: it is held until the walk is past it. */
struct held_entry {
    int64_t id;
    struct who who;
    int64_t end;
};

/*
 * Of the entries so far, those that no other one reaches beyond in both respects, last address and
 * end: an entry that lies in any lies in one of these. By last address, the nearest at the end of
 * the array, so that the ends grow towards there too.
 */
struct held_list {
    struct held_entry *items;
    size_t n, room;
};

/*
 * Entries of one end that touch each other and are not covered: each begins and ends behind the one
 * before. The newest, @top, is not joined to the rest until it is known to be not covered.
 */
struct run {
    int64_t end;
    struct who first; /* of the first entry */
    struct addr last; /* of all but @top */
    uint64_t count;   /* without @top */
    struct lint_ids ids;
    char remark[REMARK_MAX + 1];
    bool mixed; /* remarks differ */

    bool has_top;
    int64_t top_id;
    struct who top;
    char top_remark[REMARK_MAX + 1];
};

struct run_list {
    struct run *items;
    size_t n, room;
};

/* Entries that are told of together. */
struct group {
    uint64_t count;
    struct lint_ids ids;
    struct who first;
};

struct lint {
    struct lint_options options;
    char account[ACCOUNT_MAX + 1]; /* of the list under way */
    struct held_list held;
    struct run_list runs;
    struct group special;
    const struct special *block; /* of @special */
    struct group unused, ended;
};

struct lint *lint_new(const struct lint_options *options)
{
    struct lint *lint = calloc(1, sizeof(*lint));

    if (lint)
        lint->options = *options;
    return lint;
}

void lint_free(struct lint *lint)
{
    size_t i;

    if (!lint)
        return;
    for (i = 0; i < lint->runs.n; i++)
        free(lint->runs.items[i].ids.items);
    free(lint->runs.items);
    free(lint->held.items);
    free(lint->special.ids.items);
    free(lint->unused.ids.items);
    free(lint->ended.ids.items);
    free(lint);
}

/* Room for one more; @items points to a pointer to an array. */
static int grow(void *items, size_t n, size_t *room, size_t size)
{
    size_t more = *room ? *room * 2 : 4;
    void *grown;

    if (n < *room)
        return 0;
    grown = reallocarray(*(void **)items, more, size);
    if (!grown)
        return -ENOMEM;
    *(void **)items = grown;
    *room = more;
    return 0;
}

static int ids_push(struct lint_ids *ids, int64_t id)
{
    int r;

    if (ids->n == LINT_IDS_MAX)
        return 0;
    r = grow(&ids->items, ids->n, &ids->room, sizeof(*ids->items));
    if (r == 0)
        ids->items[ids->n++] = id;
    return r;
}

static int give(struct lint *lint, const struct lint_advice *advice)
{
    return lint->options.advice(advice, lint->options.arg);
}

/* @b is the address behind @a; behind the last one of a family is none. */
static bool is_next(const struct addr *a, const struct addr *b)
{
    struct addr next = *a;

    for (size_t i = addr_len(a->family); i > 0; i--)
        if (++next.bytes[i - 1])
            return addr_cmp(&next, b) == 0;
    return false;
}

/* ---- groups ---- */

static int group_add(struct group *group, const struct lint_entry *entry)
{
    if (group->count++ == 0)
        group->first = entry->who;
    return ids_push(&group->ids, entry->id);
}

static int group_give(struct lint *lint, struct group *group, struct lint_advice advice)
{
    int r;

    if (!group->count)
        return 0;
    advice.count = group->count;
    advice.ids = group->ids;
    advice.who = group->first;
    r = give(lint, &advice);
    group->count = group->ids.n = 0;
    return r;
}

/* ---- addresses that are not of the Internet at large ---- */

struct special {
    enum addr_family family;
    uint8_t first[16], last[16]; /* the rest is zero */
    const char *what;            /* NULL: is as good as any other */
};

#define IP6_REST 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff

/* IANA's registries of special-purpose addresses; ascending and apart, but for the NULL one. */
static const struct special specials[] = {
    {ADDR_IP4, {0}, {0, 255, 255, 255}, "\"this network\""},
    {ADDR_IP4, {10}, {10, 255, 255, 255}, "private (RFC 1918)"},
    {ADDR_IP4, {100, 64}, {100, 127, 255, 255}, "a carrier's, behind its NAT (RFC 6598)"},
    {ADDR_IP4, {127}, {127, 255, 255, 255}, "loopback"},
    {ADDR_IP4, {169, 254}, {169, 254, 255, 255}, "link-local"},
    {ADDR_IP4, {172, 16}, {172, 31, 255, 255}, "private (RFC 1918)"},
    {ADDR_IP4, {192, 0, 0}, {192, 0, 0, 255}, "for protocols (RFC 6890)"},
    {ADDR_IP4, {192, 0, 2}, {192, 0, 2, 255}, "for documentation"},
    {ADDR_IP4, {192, 88, 99}, {192, 88, 99, 255}, "of 6to4 relays, no longer in use"},
    {ADDR_IP4, {192, 168}, {192, 168, 255, 255}, "private (RFC 1918)"},
    {ADDR_IP4, {198, 18}, {198, 19, 255, 255}, "for benchmarks"},
    {ADDR_IP4, {198, 51, 100}, {198, 51, 100, 255}, "for documentation"},
    {ADDR_IP4, {203, 0, 113}, {203, 0, 113, 255}, "for documentation"},
    {ADDR_IP4, {224}, {239, 255, 255, 255}, "multicast, which is never a source"},
    {ADDR_IP4, {240}, {255, 255, 255, 255}, "reserved"},
    /* Stateless translators show IPv4 clients so to a host that has IPv6 only. */
    {ADDR_IP6, {0, 0x64, 0xff, 0x9b}, {0, 0x64, 0xff, 0x9b, [12] = 0xff, 0xff, 0xff, 0xff}, NULL},
    {ADDR_IP6,
     {0},
     {0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST},
     "loopback or reserved"},
    {ADDR_IP6, {0x20, 1, 0, 2}, {0x20, 1, 0, 2, 0, 0, 0xff, 0xff, IP6_REST}, "for benchmarks"},
    {ADDR_IP6,
     {0x20, 1, 0x0d, 0xb8},
     {0x20, 1, 0x0d, 0xb8, 0xff, 0xff, 0xff, 0xff, IP6_REST},
     "for documentation"},
    {ADDR_IP6,
     {0x3f, 0xff},
     {0x3f, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST},
     "for documentation"},
    {ADDR_IP6, {0x40}, {0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST}, "reserved"},
    {ADDR_IP6,
     {0xfc},
     {0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST},
     "private (unique local, RFC 4193)"},
    {ADDR_IP6, {0xfe}, {0xfe, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST}, "reserved"},
    {ADDR_IP6,
     {0xfe, 0x80},
     {0xfe, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST},
     "link-local"},
    {ADDR_IP6,
     {0xfe, 0xc0},
     {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST},
     "private (site-local, no longer in use)"},
    {ADDR_IP6,
     {0xff},
     {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, IP6_REST},
     "multicast, which is never a source"},
};

/* The block that all of @who lies in, or NULL. */
static const struct special *find_special(const struct who *who)
{
    size_t i, len = addr_len(who->first.family);

    for (i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
        if (specials[i].family == who->first.family &&
            memcmp(specials[i].first, who->first.bytes, len) <= 0 &&
            memcmp(who->last.bytes, specials[i].last, len) <= 0)
            return specials[i].what ? &specials[i] : NULL;
    return NULL;
}

static int give_special(struct lint *lint)
{
    const struct lint_advice advice = {
        .kind = LINT_PRIVATE,
        .account = lint->account,
        .special = lint->block ? lint->block->what : NULL,
    };

    return group_give(lint, &lint->special, advice);
}

static int look_at_special(struct lint *lint, const struct lint_entry *entry)
{
    const struct special *block = find_special(&entry->who);
    int r = 0;

    if (!block)
        return 0;
    if (block != lint->block)
        r = give_special(lint);
    lint->block = block;
    return r ? r : group_add(&lint->special, entry);
}

/* ---- runs ---- */

/* @top is there to stay. */
static int run_settle(struct run *run)
{
    if (!run->has_top)
        return 0;
    if (run->count++ == 0) {
        run->first = run->top;
        snprintf(run->remark, sizeof(run->remark), "%s", run->top_remark);
    }
    run->mixed |= strcmp(run->remark, run->top_remark) != 0;
    run->last = run->top.last;
    run->has_top = false;
    return ids_push(&run->ids, run->top_id);
}

/* What holds exactly the addresses from @first to @last. */
static struct who join(const struct addr *first, const struct addr *last)
{
    struct who who = {.kind = WHO_RANGE, .first = *first, .last = *last};
    struct prefix prefixes[PREFIX_MAX];

    if (prefix_from_who(&who, prefixes) == 1)
        who.kind = WHO_SEGMENT;
    return who;
}

static int run_give(struct lint *lint, struct run *run)
{
    struct lint_advice advice = {.kind = LINT_ADJACENT, .account = lint->account, .end = run->end};
    int r = run_settle(run);

    if (r || run->count < 2)
        return r;
    advice.count = run->count;
    advice.ids = run->ids;
    advice.who = run->first;
    advice.other = join(&run->first.first, &run->last);
    advice.remark = run->mixed ? NULL : run->remark;
    return give(lint, &advice);
}

/* All entries to come begin at @at or behind it; NULL: none comes. */
static bool run_is_over(const struct run *run, const struct addr *at)
{
    const struct addr *last = run->has_top ? &run->top.last : &run->last;

    return !at || (addr_cmp(last, at) < 0 && !is_next(last, at));
}

static int close_runs(struct lint *lint, const struct addr *at)
{
    struct run_list *runs = &lint->runs;
    size_t i = 0;
    int r = 0;

    while (r == 0 && i < runs->n) {
        if (!run_is_over(&runs->items[i], at)) {
            i++;
            continue;
        }
        r = run_give(lint, &runs->items[i]);
        free(runs->items[i].ids.items);
        memmove(&runs->items[i], &runs->items[i + 1], (--runs->n - i) * sizeof(*runs->items));
    }
    return r;
}

static struct run *find_run(struct lint *lint, int64_t end)
{
    size_t i;

    for (i = 0; i < lint->runs.n; i++)
        if (lint->runs.items[i].end == end)
            return &lint->runs.items[i];
    return NULL;
}

/* @entry is not covered by any before it; a run of its end that is not over, it touches. */
static int run_add(struct lint *lint, const struct lint_entry *entry)
{
    struct run_list *runs = &lint->runs;
    struct run *run = find_run(lint, entry->end);
    int r = 0;

    if (!run) {
        r = grow(&runs->items, runs->n, &runs->room, sizeof(*runs->items));
        if (r < 0)
            return r;
        run = &runs->items[runs->n++];
        *run = (struct run){.end = entry->end};
    }
    r = run_settle(run);
    run->has_top = true;
    run->top_id = entry->id;
    run->top = entry->who;
    snprintf(run->top_remark, sizeof(run->top_remark), "%s", entry->remark);
    return r;
}

/* It is covered by one behind it, which begins at the same address: it is its run's newest still.
 */
static void run_retract(struct lint *lint, const struct held_entry *covered)
{
    struct run *run = find_run(lint, covered->end);

    if (!run || !run->has_top || run->top_id != covered->id)
        return;
    run->has_top = false;
    if (run->count)
        return;
    free(run->ids.items);
    *run = lint->runs.items[--lint->runs.n];
}

/* ---- what covers what ---- */

static int give_covered(struct lint *lint, const struct held_entry *covered,
                        const struct held_entry *covering)
{
    int64_t ids[] = {covered->id, covering->id};
    const struct lint_advice advice = {
        .kind = LINT_COVERED,
        .count = 1,
        .ids = {.items = ids, .n = sizeof(ids) / sizeof(ids[0])},
        .account = lint->account,
        .who = covered->who,
        .other = covering->who,
    };

    return give(lint, &advice);
}

/* How many of those held reach to @last or beyond: these stand in front. */
static size_t count_reaching(const struct held_list *held, const struct addr *last)
{
    size_t low = 0, high = held->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (addr_cmp(&held->items[middle].who.last, last) >= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The entries that lie before @at will not hold any more. */
static void drop_passed(struct held_list *held, const struct addr *at)
{
    while (held->n && addr_cmp(&held->items[held->n - 1].who.last, at) < 0)
        held->n--;
}

/*
 * Those that @entry reaches beyond, in both respects: these stand together, from @begin on. Those
 * that begin where it does are covered.
 */
static int overtake(struct lint *lint, const struct held_entry *entry, size_t begin)
{
    struct held_list *held = &lint->held;
    size_t end = begin;
    int r = 0;

    for (; r == 0 && end < held->n && held->items[end].end <= entry->end; end++) {
        if (addr_cmp(&held->items[end].who.first, &entry->who.first) != 0)
            continue;
        run_retract(lint, &held->items[end]);
        r = give_covered(lint, &held->items[end], entry);
    }
    if (end > begin)
        memmove(held->items + begin, held->items + end, (held->n - end) * sizeof(*held->items));
    held->n -= end - begin;
    return r;
}

/* @ret_covered: by one before it. */
static int look_at_cover(struct lint *lint, const struct lint_entry *entry, bool *ret_covered)
{
    struct held_entry one = {.id = entry->id, .who = entry->who, .end = entry->end};
    struct held_list *held = &lint->held;
    size_t at;
    int r;

    drop_passed(held, &one.who.first);
    at = count_reaching(held, &one.who.last);
    *ret_covered = at > 0 && held->items[at - 1].end >= one.end;
    if (*ret_covered)
        return give_covered(lint, &one, &held->items[at - 1]);
    /* The same last address and an earlier end: it is overtaken too. */
    while (at > 0 && addr_cmp(&held->items[at - 1].who.last, &one.who.last) == 0)
        at--;
    r = overtake(lint, &one, at);
    if (r == 0)
        r = grow(&held->items, held->n, &held->room, sizeof(*held->items));
    if (r)
        return r;
    memmove(held->items + at + 1, held->items + at, (held->n - at) * sizeof(*held->items));
    held->items[at] = one;
    held->n++;
    return 0;
}

/* ---- the walk ---- */

static int end_list(struct lint *lint)
{
    int r = close_runs(lint, NULL);

    lint->held.n = 0;
    return r ? r : give_special(lint);
}

static int begin_list(struct lint *lint, const char *account)
{
    int r;

    if (account_equal(lint->account, account))
        return 0;
    r = end_list(lint);
    snprintf(lint->account, sizeof(lint->account), "%s", account);
    return r;
}

static int look_at_entry(struct lint *lint, const struct lint_entry *entry)
{
    const struct lint_advice wide = {
        .kind = LINT_WIDE,
        .count = 1,
        .ids = {.items = (int64_t[]){entry->id}, .n = 1},
        .account = lint->account,
        .who = entry->who,
    };
    int r = look_at_special(lint, entry);

    if (r == 0 && entry->used <= lint->options.idle_before)
        r = group_add(&lint->unused, entry);
    if (r == 0 && who_is_very_wide(&entry->who))
        r = give(lint, &wide);
    return r;
}

int lint_add(struct lint *lint, const struct lint_entry *entry)
{
    bool covered = false;
    int r = begin_list(lint, entry->account);

    if (r)
        return r;
    if (entry->end <= lint->options.now)
        return group_add(&lint->ended, entry);
    r = close_runs(lint, &entry->who.first);
    if (r == 0)
        r = look_at_entry(lint, entry);
    if (r == 0)
        r = look_at_cover(lint, entry, &covered);
    return r || covered ? r : run_add(lint, entry);
}

int lint_finish(struct lint *lint)
{
    int r = end_list(lint);

    if (r == 0)
        r = group_give(lint, &lint->unused, (struct lint_advice){.kind = LINT_UNUSED});
    if (r == 0)
        r = group_give(lint, &lint->ended, (struct lint_advice){.kind = LINT_ENDED});
    return r;
}
