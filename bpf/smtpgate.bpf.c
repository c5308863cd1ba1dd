// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate: classify -> verdict -> count -> return, one exit. Which packet gets which verdict is
 * decided here and nowhere else; how packets look is parse.h, what the maps hold smtpgate_abi.h.
 *
 * It must know nothing of entries, accounts, interfaces or files, and never returns XDP_ABORTED:
 * a drop is a verdict, not an accident.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "smtpgate_abi.h"
#include "summary.h"
#include "known.h"
#include "maps.h"
#include "parse.h"
#include "sources.h"

/*
 * A number of which the compiler knows nothing, so that it keeps the check of its bounds, and on
 * this very register: the verifier does not see that a copy of it was checked.
 */
static __always_inline __u64 opaque(__u64 number)
{
    asm volatile("" : "+r"(number));
    return number;
}

/* Guarded, but has no counter slot. */
#define PORT_NO_SLOT 0xff

#define IS_UNCLEAR_PASS    0U
#define IS_UNCLEAR_JUDGE   0U
#define IS_UNCLEAR_UNCLEAR 1U

/* A bit for each reason of class UNCLEAR. */
enum {
#define X(name, class, text) | IS_UNCLEAR_##class << SG_REASON_##name
    UNCLEAR_REASONS = 0 SG_REASONS(X)
#undef X
};

_Static_assert(SG_REASON_COUNT <= SG_REASON_SLOTS, "no room for a counter of each reason");
/* An element of a trie is 40 bytes, the key without its first 4, the value. */
_Static_assert(sizeof(struct sg_key4) % 8 == 4 && sizeof(struct sg_key6) % 8 == 4,
               "values are not aligned");
_Static_assert(SG_PORT_SLOTS < PORT_NO_SLOT, "slots and PORT_NO_SLOT in one byte");

/*
 * The settings, or NULL when there are none: never filled, or not by this ABI. (The element of an
 * array cannot be missing, but the verifier wants to hear it.) Without settings the gate stands as
 * it stands by default, enforcing on 25, 465 and 587: a lost map opens nothing, and shuts nobody
 * out of any other service.
 */
static __always_inline const struct sg_config *find_config(void)
{
    const __u32 zero = 0;
    const struct sg_config *found = bpf_map_lookup_elem(&config, &zero);

    return found && READ_ONCE(found->abi) == SG_ABI ? found : NULL;
}

/* 0: not guarded, else 1 + counter slot. */
static __always_inline __u8 guarded(const struct sg_config *settings, __u16 port)
{
    /* Linux 5.10's verifier does not know that 16 bits are no more than 16 after ntohs(). */
    if (settings)
        return READ_ONCE(settings->ports[opaque(port) & 0xffff]);
#define X(number) || port == number
    return 0 SG_DEFAULT_PORTS(X) ? PORT_NO_SLOT : 0;
#undef X
}

/* Whether that moment, in ms of CLOCK_BOOTTIME, has come; 0 never comes. */
static __always_inline bool is_over(__u64 deadline)
{
    return deadline && bpf_ktime_get_boot_ns() / 1000000 >= deadline;
}

/* What happens to a packet that is not to pass. Only a mode known to be open lets it. */
static __always_inline enum sg_verdict refuse(const struct sg_config *settings)
{
    __u64 mode = settings ? READ_ONCE(settings->mode) : SG_MODE_ENFORCE;

    if (is_over(mode >> SG_MODE_DEADLINE_SHIFT))
        mode >>= SG_MODE_NEXT_SHIFT;
    mode &= SG_MODE_MASK;
    if (mode == SG_MODE_OFF || mode == SG_MODE_PAUSED)
        return SG_VERDICT_PASS;
    return mode == SG_MODE_OBSERVE ? SG_VERDICT_WOULD_DROP : SG_VERDICT_DROP;
}

/*
 * From an element that has ended: the length to look with again. -1: no shorter one is left, or it
 * does not say how long it is (then it lets nobody in).
 */
static __always_inline int shorter(__u64 until, __u32 than)
{
    __u32 len = until & SG_UNTIL_LEN_MASK;

    return len <= than ? (int)len - 1 : -1;
}

/*
 * The element of a trie that lets the source in: the longest that has not ended. Each turn looks
 * with a shorter length, so there is one for each length at most. @found: there was any.
 */
#define FIND_LIVING(map, key, bits, found)                               \
    ({                                                                   \
        struct sg_allow *_living = NULL;                                 \
        int _turn;                                                       \
                                                                         \
        for (_turn = 0; _turn <= (bits); _turn++) {                      \
            struct sg_allow *_entry = bpf_map_lookup_elem((map), (key)); \
            __u64 _until;                                                \
            int _len;                                                    \
                                                                         \
            if (!_entry)                                                 \
                break;                                                   \
            *(found) = true;                                             \
            _until = READ_ONCE(_entry->until);                           \
            if (!is_over(_until >> SG_UNTIL_DEADLINE_SHIFT)) {           \
                _living = _entry;                                        \
                break;                                                   \
            }                                                            \
            _len = shorter(_until, (key)->prefixlen);                    \
            if (_len < 0)                                                \
                break;                                                   \
            (key)->prefixlen = (__u32)_len;                              \
        }                                                                \
        _living;                                                         \
    })

/* @ret_found: an element covers the source, if only one that has ended. */
static __always_inline struct sg_allow *find_entry(const struct flow *flow, bool *ret_found)
{
    if (flow->family == SG_FAMILY_IP4) {
        struct sg_key4 key = {.prefixlen = 32};

        __builtin_memcpy(key.addr, flow->source, sizeof(key.addr));
        return FIND_LIVING(&allow4, &key, 32, ret_found);
    } else {
        struct sg_key6 key = {.prefixlen = 128};

        __builtin_memcpy(key.addr, flow->source, sizeof(key.addr));
        return FIND_LIVING(&allow6, &key, 128, ret_found);
    }
}

/* The value is shared by all CPUs; of two connections at once, either may be the last one seen. */
static __always_inline void let_in(struct sg_allow *entry)
{
    entry->last_seen = bpf_ktime_get_boot_ns();
    __sync_fetch_and_add(&entry->connections, 1);
}

enum standing {
    UNLISTED,
    ENDED, /* listed once */
    LISTED,
};

/*
 * From the cheapest to ask to the dearest. A connection that begins is noted down with its entry,
 * so the trie is asked for it in any case.
 */
static __always_inline enum standing find_standing(const struct flow *flow)
{
    const __u32 zero = 0;
    const struct sg_blocks_head *head = bpf_map_lookup_elem(&blocks, &zero);
    __u64 hash, generation;
    struct sg_allow *entry;
    bool found = false;

    if (!flow->has_source || !head)
        return UNLISTED;
    if (READ_ONCE(head->filled) && !may_be_listed(head->seed, flow))
        return UNLISTED;
    hash = source_hash(flow);
    generation = read_generation(head);
    if (!flow->syn && is_known(flow, hash, generation))
        return LISTED;
    entry = find_entry(flow, &found);
    if (!entry)
        return found ? ENDED : UNLISTED;
    if (flow->syn)
        let_in(entry);
    if (!(READ_ONCE(entry->until) >> SG_UNTIL_DEADLINE_SHIFT))
        remember(flow, hash, generation);
    return LISTED;
}

/* False: nothing is counted. For "make bench" alone, which says what counting costs. */
const volatile bool sg_counting = true;

/*
 * One reason cell for each packet, and the port's cell if it was for a guarded port. Per CPU, and
 * the program is not interrupted by itself there, so plain additions are exact. Were the element
 * missing, the packet would not be counted, and its verdict stays what it is.
 */
static __always_inline void count_packet(enum sg_reason reason, enum sg_verdict verdict,
                                         const struct flow *flow, __u8 port)
{
    const __u32 zero = 0;
    struct sg_counters *counters = bpf_map_lookup_elem(&count, &zero);
    __u64 slot = opaque(port - 1U);
    __u64 family = opaque(flow->family);
    __u64 row = opaque(reason);

    if (!sg_counting || !counters || row >= SG_REASON_SLOTS || family >= SG_FAMILY_COUNT)
        return;
    counters->reason[row][verdict][family].packets++;
    counters->reason[row][verdict][family].bytes += flow->len;
    if (slot >= SG_PORT_SLOTS)
        return;
    counters->port[slot][verdict][family].packets++;
    counters->port[slot][verdict][family].bytes += flow->len;
    counters->port[slot][verdict][family].attempts += flow->syn;
}

SEC("xdp")
int smtpgate(struct xdp_md *ctx)
{
    const struct sg_config *settings = find_config();
    enum sg_verdict verdict = SG_VERDICT_PASS;
    enum standing standing;
    struct flow flow = {};
    enum sg_reason reason;
    __u8 port = 0;

    reason = parse(ctx, &flow);
    if (reason == (enum sg_reason)PARSED_TCP) {
        port = guarded(settings, flow.dport);
        reason = port ? SG_REASON_unlisted : SG_REASON_other_port;
    }
    if (reason == SG_REASON_unlisted || UNCLEAR_REASONS >> reason & 1) {
        standing = find_standing(&flow);
        if (standing != LISTED) {
            verdict = refuse(settings);
            if (standing == ENDED && reason == SG_REASON_unlisted)
                reason = SG_REASON_expired;
            note_source(&flow, verdict);
        } else if (reason == SG_REASON_unlisted) {
            reason = SG_REASON_listed;
        }
    }
    count_packet(reason, verdict, &flow, port);
    return verdict == SG_VERDICT_DROP ? XDP_DROP : XDP_PASS;
}

/* Not attached anywhere: run by the user program on a struct sg_set_until, which says why. */
SEC("xdp")
int sg_set_until(struct xdp_md *ctx)
{
    const struct sg_set_until *wish = (const void *)(long)ctx->data;
    struct sg_allow *entry;
    __u64 until;

    if ((const void *)(wish + 1) > (const void *)(long)ctx->data_end)
        return XDP_DROP;
    if (wish->family == SG_FAMILY_IP4) {
        struct sg_key4 key = {.prefixlen = wish->until & SG_UNTIL_LEN_MASK};

        __builtin_memcpy(key.addr, wish->addr, sizeof(key.addr));
        entry = bpf_map_lookup_elem(&allow4, &key);
    } else {
        struct sg_key6 key = {.prefixlen = wish->until & SG_UNTIL_LEN_MASK};

        __builtin_memcpy(key.addr, wish->addr, sizeof(key.addr));
        entry = bpf_map_lookup_elem(&allow6, &key);
    }
    if (!entry)
        return XDP_DROP;
    until = READ_ONCE(entry->until);
    /* Another, shorter one that was found; 0 is an element without an end or a length. */
    if (until && (until ^ wish->until) & SG_UNTIL_LEN_MASK)
        return XDP_DROP;
    *(volatile __u64 *)&entry->until = wish->until;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
