/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who knocked and was not listed, written down within a budget: a flood of forged sources must not
 * make dropping dear, and must not push out those who really came.
 *
 * It must know nothing of verdicts' reasons, of the list or of packets beyond their flow. Nothing
 * here decides about a packet; whatever fails, the packet is counted as untracked and no more.
 *
 * Three bounds, from the cheapest to ask to the dearest:
 *   touches   how often in a second a CPU looks into the table at all, found or not
 *   returns   who is not in it yet must have come before, the more often the more newcomers there
 *             are: somebody who tries again is told apart from sources that appear once
 *   newcomers how many are added in the long run, on all CPUs together: each may push one out
 */
#ifndef SMTPGATE_SOURCES_H
#define SMTPGATE_SOURCES_H

#include "hash.h"
#include "maps.h"
#include "parse.h"

/* False: the table stays empty, and the verifier leaves all of this out. */
const volatile bool sg_sources = true;

/* A touch in 8.2 us is 122,070 in a second; what is saved up lasts for 16 ms. */
#define TOUCH_SHIFT 13
#define TOUCHES_MAX 2048

/*
 * A newcomer in 4.2 ms is 238 in a second, so that 65,536 rows turn over in 4.6 minutes at worst; a
 * quarter of the table may be filled in one go.
 */
#define NEWCOMER_SHIFT 22
#define NEWCOMERS_FREE 16384
/* Beyond that, one return more for each 256 newcomers: with all it can have (STAY), half of it. */
#define RETURN_SHIFT 8

/* Who waits in a place came at a time in units of 67 ms, and leaves it to others after 4 s. */
#define WAIT_SHIFT 26
#define STAY       60

/*
 * Whether a source that belongs to a place may be in the table: it is looked for there only if one
 * was met within the last 18 to 36 minutes. Never 0 or 1 soon after boot, when all places are 0.
 */
#define KNOWN_SHIFT    40
#define KNOWN_AT(time) ((__u8)(((time) >> KNOWN_SHIFT) + 2))

/* The first packet of a CPU in a jiffy: what time it is, and what may be spent since the last. */
static __always_inline void next_tick(struct sg_budget *own, struct sg_newcomers *shared,
                                      __u64 tick)
{
    __u64 now = bpf_ktime_get_boot_ns();
    __u64 touches = own->touches + ((now - own->now) >> TOUCH_SHIFT);
    __u64 since = READ_ONCE(shared->drained);
    __s64 drained = (__s64)(now - since) >> NEWCOMER_SHIFT;
    __s64 recent = READ_ONCE(shared->recent);

    own->tick = tick;
    own->now = now;
    own->touches = touches < TOUCHES_MAX ? touches : TOUCHES_MAX;
    if (drained <= 0)
        return;
    /* Of two CPUs at once both may do it: a few newcomers more, once in a while. */
    shared->drained = since + ((__u64)drained << NEWCOMER_SHIFT);
    if (recent > 0)
        __sync_fetch_and_add(&shared->recent, recent < drained ? -recent : -drained);
}

/*
 * How often the source came again while it waited in its place. Once in a unit of time, so that a
 * burst is one visit. What two CPUs do there at once costs somebody a return at most.
 */
static __always_inline __u32 count_return(struct sg_place *place, __u16 mark, __u64 now)
{
    __u32 time = now >> WAIT_SHIFT;
    __u32 waited = time - READ_ONCE(place->since);

    if (waited > STAY) {
        place->since = time;
        place->mark = mark;
        place->returns = 0;
        return 0;
    }
    if (place->mark != mark)
        return 0;
    if (waited > place->returns)
        place->returns++;
    return place->returns;
}

static __always_inline bool add_to_known(const struct sg_source_key *key, const struct flow *flow,
                                         enum sg_verdict verdict, __u64 now)
{
    struct sg_source *row = bpf_map_lookup_elem(&sources, key);

    if (!row)
        return false;
    row->last_seen = now;
    row->verdict = verdict;
    __sync_fetch_and_add(&row->packets, 1);
    if (flow->syn)
        __sync_fetch_and_add(&row->attempts, 1);
    return true;
}

static __always_inline bool add_newcomer(const struct sg_source_key *key, const struct flow *flow,
                                         enum sg_verdict verdict, __u64 now)
{
    const struct sg_source row = {
        .first_seen = now,
        .last_seen = now,
        .packets = 1,
        .attempts = flow->syn,
        .verdict = verdict,
    };

    return bpf_map_update_elem(&sources, key, &row, BPF_NOEXIST) == 0;
}

/* True when the packet is written down. */
static __always_inline bool record_source(struct sg_budget *own, struct sg_newcomers *shared,
                                          const struct flow *flow, enum sg_verdict verdict)
{
    struct sg_source_key key = {.port = flow->dport, .family = flow->family};
    __u64 hash = source_hash(flow);
    struct sg_place *place = &shared->places[hash >> (64 - SG_PLACES_BITS)];
    __u64 now = own->now;
    __s64 over;

    __builtin_memcpy(key.addr, flow->source, sizeof(key.addr));
    if ((__u8)(KNOWN_AT(now) - place->known) <= 1 && add_to_known(&key, flow, verdict, now))
        goto known;
    over = READ_ONCE(shared->recent) - NEWCOMERS_FREE;
    if (over >= 0 && count_return(place, hash >> 24, now) <= over >> RETURN_SHIFT)
        return false;
    if (add_newcomer(&key, flow, verdict, now))
        __sync_fetch_and_add(&shared->recent, 1);
    else if (!add_to_known(&key, flow, verdict, now)) /* there after all */
        return false;
known:
    if (place->known != KNOWN_AT(now))
        place->known = KNOWN_AT(now);
    return true;
}

/* A packet that was judged and whose source is not listed. */
static __always_inline void note_source(const struct flow *flow, enum sg_verdict verdict)
{
    const __u32 zero = 0;
    struct sg_budget *own = bpf_map_lookup_elem(&budget, &zero);
    struct sg_newcomers *shared;
    __u64 tick = bpf_jiffies64();

    if (!sg_sources || !flow->has_source || !own)
        return;
    if (own->tick == tick && !own->touches)
        goto untracked;
    shared = bpf_map_lookup_elem(&newcomers, &zero);
    if (!shared)
        return;
    if (own->tick != tick)
        next_tick(own, shared, tick);
    if (own->touches) {
        own->touches--;
        if (record_source(own, shared, flow, verdict))
            return;
    }
untracked:
    own->untracked[verdict]++;
}

#endif /* SMTPGATE_SOURCES_H */
