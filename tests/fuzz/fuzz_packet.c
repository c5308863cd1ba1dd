// LINK:
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of the packet parser on the host. The first two bytes say how many of the rest stand
 * behind the frame. What parse.h promises holds for any bytes; what was found without a cut stays
 * found whatever stands behind the frame; what no receiver looks at changes nothing; and one tag
 * more in front is one tag more.
 */
#include <linux/types.h>

#include "fuzz.h"
#include "parse.h"

struct answer {
    enum sg_reason reason;
    struct flow flow;
};

/* Of a copy in memory of exactly this size. */
static struct answer ask(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    struct pkt pkt = {.data = copy + (size ? 0 : 1), .len = size};
    struct answer answer;

    MUST(copy);
    if (size)
        memcpy(copy, data, size);
    memset(&answer, 0, sizeof(answer));
    answer.reason = parse(&pkt, &answer.flow);
    free(copy);
    return answer;
}

static bool is_same(const struct answer *a, const struct answer *b)
{
    return a->reason == b->reason && a->flow.family == b->flow.family &&
           a->flow.has_source == b->flow.has_source && a->flow.syn == b->flow.syn &&
           a->flow.dport == b->flow.dport &&
           !memcmp(a->flow.source, b->flow.source, sizeof(a->flow.source));
}

/* The data did not suffice; with more of it there may be another answer. */
static bool is_cut(enum sg_reason reason)
{
    return reason == SG_REASON_l2_cut || reason == SG_REASON_ip_header ||
           reason == SG_REASON_chain_cut || reason == SG_REASON_tcp_cut ||
           reason == SG_REASON_first_fragment;
}

static void check_promises(const struct answer *answer)
{
    enum sg_reason reason = answer->reason;
    const struct flow *flow = &answer->flow;

    MUST((int)reason >= 0 && reason <= PARSED_TCP);
    MUST(reason != SG_REASON_other_port && reason != SG_REASON_listed);
    MUST(reason != SG_REASON_unlisted && reason != SG_REASON_expired);
    MUST(flow->family < SG_FAMILY_COUNT);
    MUST(!flow->has_source || flow->family != SG_FAMILY_NONE);
    MUST(reason == PARSED_TCP ? flow->has_source : !flow->syn && !flow->dport);
    if (reason == SG_REASON_not_ip || reason == SG_REASON_l2_cut || reason == SG_REASON_vlan_depth)
        MUST(flow->family == SG_FAMILY_NONE);
    else
        MUST(flow->family == SG_FAMILY_IP4 || flow->family == SG_FAMILY_IP6);
    MUST(flow->has_source || reason == SG_REASON_ip_header || flow->family == SG_FAMILY_NONE);
}

/* A longer frame with the same beginning: only what was cut may become something else. */
static void check_longer(const struct answer *shorter, const struct answer *longer)
{
    if (shorter->flow.has_source)
        MUST(longer->flow.has_source && longer->flow.family == shorter->flow.family &&
             !memcmp(longer->flow.source, shorter->flow.source, sizeof(longer->flow.source)));
    if (is_cut(shorter->reason))
        return;
    MUST(longer->reason == shorter->reason && longer->flow.dport == shorter->flow.dport);
    MUST(longer->flow.syn || !shorter->flow.syn);
}

/* The beginning of the IP header as the parser saw it: behind the tags. */
static size_t ip_at(const uint8_t *data, size_t size)
{
    size_t at = 12;

    while (at + 2 <= size && ((data[at] == 0x81 && data[at + 1] == 0x00) ||
                              (data[at] == 0x88 && data[at + 1] == 0xa8)))
        at += 4;
    return at + 2;
}

static void flip(uint8_t *data, size_t size, size_t from, size_t count)
{
    for (size_t i = from; i < from + count && i < size; i++)
        data[i] ^= 0xff;
}

/* Addresses of the link, of the receiver, class, id, hop limit, checksum: nobody decides by them.
 */
static void check_ignored(const uint8_t *data, size_t size, const struct answer *answer)
{
    uint8_t *copy = (uint8_t *)fuzz_text(data, size);
    size_t at = ip_at(data, size);
    struct answer other;

    flip(copy, size, 0, 12);
    if (answer->flow.family == SG_FAMILY_IP4) {
        flip(copy, size, at + 1, 1);
        flip(copy, size, at + 4, 2);
        flip(copy, size, at + 8, 1);
        flip(copy, size, at + 10, 2);
        flip(copy, size, at + 16, 4);
        if (at + 7 < size && !(data[at + 6] & 0x20)) /* no fragment: its length is not believed */
            flip(copy, size, at + 2, 2);
    } else if (answer->flow.family == SG_FAMILY_IP6) {
        flip(copy, size, at + 1, 3);
        flip(copy, size, at + 7, 1);
        flip(copy, size, at + 24, 16);
    }
    other = ask(copy, size);
    MUST(is_same(answer, &other));
    free(copy);
}

static void check_tagged(const uint8_t *data, size_t size, const struct answer *answer)
{
    static const uint8_t tag[] = {0x81, 0x00, 0x00, 0x07};
    uint8_t *tagged = malloc(size + sizeof(tag));
    struct answer other;

    MUST(tagged);
    memcpy(tagged, data, 12);
    memcpy(tagged + 12, tag, sizeof(tag));
    memcpy(tagged + 16, data + 12, size - 12);
    other = ask(tagged, size + 4);
    MUST(is_same(answer, &other) || other.reason == SG_REASON_vlan_depth);
    MUST(other.reason != SG_REASON_vlan_depth || ip_at(data, size) >= 14 + 4 * VLAN_MAX);
    free(tagged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct answer answer, again, longer;
    size_t behind;

    if (size < 2)
        return 0;
    behind = (size_t)data[0] << 8 | data[1];
    data += 2;
    size -= 2;
    behind = behind < size ? behind : size;
    answer = ask(data, size - behind);
    again = ask(data, size - behind);
    longer = ask(data, size);
    check_promises(&answer);
    check_promises(&longer);
    MUST(is_same(&answer, &again));
    check_longer(&answer, &longer);
    check_ignored(data, size, &longer);
    if (size >= 12)
        check_tagged(data, size, &longer);
    return 0;
}
