// LINK:
// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parser on the host, under the sanitizers. What each kind of packet must come out as is the
 * business of tests/bpf/test_packets.py, in the kernel; here is what cannot be asked there: frames
 * shorter than an Ethernet header, every cut of every frame at every byte, reads beyond the end,
 * and properties that hold for any bytes at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/types.h>

#include "parse.h"

/* Ethernet, two tags, IPv6, hop-by-hop, routing, atomic fragment, AH, options, SYN to port 587. */
static const __u8 long_frame[] = {
    2,    0,    0,    0, 0, 1, 2,    0,   0, 0,  0,    2, 0x88, 0xa8, 0,    7,    0x81, 0x00, 0, 0,
    0x86, 0xdd, 0x60, 0, 0, 0, 0,    0,   0, 64, 0x20, 1, 0xd,  0xb8, 0,    0,    0,    0,    0, 0,
    0,    0,    0,    0, 0, 1, 0x20, 1,   0, 0,  0,    0, 0,    0,    0,    0,    0,    0,    0, 0,
    0,    2,    43,   0, 1, 4, 0,    0,   0, 0,  44,   1, 4,    0,    0,    0,    0,    0,    0, 0,
    0,    0,    0,    0, 0, 0, 51,   255, 0, 0,  0,    0, 0,    1,    60,   1,    0,    0,    0, 0,
    0,    0,    0,    0, 0, 0, 6,    0,   1, 4,  0,    0, 0,    0,    0x9c, 0x40, 2,    75,   0, 0,
    0,    1,    0,    0, 0, 0, 0x50, 2,   0, 0,  0,    0, 0,    0,
};

enum { IP_AT = 22, CHAIN_AT = 62, TCP_AT = 114 };

/* Parses a copy in memory of exactly this size, so that one byte too far is found. */
static enum sg_reason parse_bytes(const __u8 *data, size_t len, struct flow *flow)
{
    __u8 *copy = malloc(len ? len : 1);
    struct pkt pkt = {.data = copy + (len ? 0 : 1), .len = len};
    struct flow slow = {.len = len};
    enum sg_reason reason;

    assert_non_null(copy);
    memcpy(copy, data, len);
    memset(flow, 0, sizeof(*flow));
    reason = parse(&pkt, flow);
    assert_int_equal(flow->len, len);
    assert_int_equal(parse_any(&pkt, &slow), reason);
    assert_memory_equal(flow, &slow, sizeof(slow));
    free(copy);
    return reason;
}

static size_t append(__u8 *frame, size_t at, const void *bytes, size_t len)
{
    memcpy(frame + at, bytes, len);
    return at + len;
}

/* Ethernet and the fixed IPv4 header for 198.51.100.10, without payload. */
static size_t ip4_frame(__u8 *frame, __u8 protocol, __u16 fragment, __u16 total)
{
    static const __u8 bytes[] = {2, 0, 0, 0, 0, 1,  2, 0, 0, 0,   0,  2,   8,  0,   0x45, 0, 0,
                                 0, 0, 1, 0, 0, 64, 0, 0, 0, 198, 51, 100, 10, 192, 0,    2, 1};
    size_t len = append(frame, 0, bytes, sizeof(bytes));

    frame[16] = (__u8)(total >> 8);
    frame[17] = (__u8)total;
    frame[20] = (__u8)(fragment >> 8);
    frame[21] = (__u8)fragment;
    frame[23] = protocol;
    return len;
}

static const __u8 syn25[] = {0x9c, 0x40, 0, 25, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0};

/* Whether the short way was taken. */
static bool is_plain(const __u8 *data, size_t len)
{
    struct pkt pkt = {.data = data, .len = len};
    struct flow flow = {0};

    return data[12] == 8 ? parse_plain4(&pkt, &flow) : parse_plain6(&pkt, &flow);
}

/* Frames that are nearly plain, each bit of each changed: parse_bytes() compares the two ways. */
static void test_plain(void **state)
{
    static const __u8 ip6[] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64, 0x20, 1};
    __u8 frame[128] = {0};
    struct flow flow;
    unsigned int plain = 0;

    (void)state;
    for (int family = 0; family < 2; family++) {
        size_t len = family ? append(frame, 54, syn25, sizeof(syn25))
                            : append(frame, ip4_frame(frame, 6, 0, 40), syn25, sizeof(syn25));

        if (family)
            memcpy(frame + 12, ip6, sizeof(ip6));
        assert_true(is_plain(frame, len));
        assert_false(is_plain(frame, len - 7)); /* without the flags */
        for (size_t bit = 0; bit < len * 8; bit++) {
            frame[bit / 8] ^= (__u8)(1 << bit % 8);
            parse_bytes(frame, len, &flow);
            plain += is_plain(frame, len);
            frame[bit / 8] ^= (__u8)(1 << bit % 8);
        }
    }
    assert_true(plain > 200);
}

static void test_layout(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct ip4), 20);
    assert_int_equal(sizeof(struct ip6), 40);
    assert_int_equal(sizeof(struct extension), 4);
    assert_int_equal(sizeof(struct tcp_ports), 4);
    assert_int_equal(offsetof(struct ip4, source), 12);
    assert_int_equal(offsetof(struct ip6, source), 8);
    /* the packing of offsets into 16 bits: the deepest header still fits */
    assert_true(14 + VLAN_TAG_LEN * VLAN_MAX + 60 + CHAIN_MAX * 2048 <= 0xff00);
}

static void test_whole_frame(void **state)
{
    struct flow flow;

    (void)state;
    assert_int_equal(sizeof(long_frame), TCP_AT + 20);
    assert_int_equal(parse_bytes(long_frame, sizeof(long_frame), &flow), PARSED_TCP);
    assert_int_equal(flow.family, SG_FAMILY_IP6);
    assert_true(flow.has_source);
    assert_memory_equal(flow.source, long_frame + IP_AT + 8, 16);
    assert_int_equal(flow.dport, 587);
    assert_true(flow.syn);
}

static void test_every_cut(void **state)
{
    struct flow flow;

    (void)state;
    for (size_t len = 0; len < sizeof(long_frame); len++) {
        enum sg_reason reason = parse_bytes(long_frame, len, &flow);

        if (len < IP_AT)
            assert_int_equal(reason, SG_REASON_l2_cut);
        else if (len < CHAIN_AT)
            assert_int_equal(reason, SG_REASON_ip_header);
        else if (len < TCP_AT)
            assert_int_equal(reason, SG_REASON_chain_cut);
        else if (len < TCP_AT + 4)
            assert_int_equal(reason, SG_REASON_tcp_cut);
        else
            assert_int_equal(reason, PARSED_TCP);
        assert_int_equal(flow.has_source, len >= CHAIN_AT);
        assert_int_equal(flow.syn, len >= TCP_AT + 14);
        assert_int_equal(flow.dport, len >= TCP_AT + 4 ? 587 : 0);
    }
}

/* As above, with the atomic fragment header made a first fragment's, in a frame that has it all. */
static void test_every_payload_length(void **state)
{
    __u8 frame[sizeof(long_frame)];
    struct flow flow;

    (void)state;
    memcpy(frame, long_frame, sizeof(frame));
    frame[CHAIN_AT + 24 + 3] |= 1;
    for (unsigned int len = 0; len < 65536; len++) {
        enum sg_reason reason;

        frame[IP_AT + 4] = (__u8)(len >> 8);
        frame[IP_AT + 5] = (__u8)len;
        reason = parse_bytes(frame, sizeof(frame), &flow);
        if (len < TCP_AT + 4 - CHAIN_AT)
            assert_int_equal(reason, SG_REASON_first_fragment);
        else
            assert_int_equal(reason, PARSED_TCP);
        assert_int_equal(flow.syn, len >= TCP_AT + 14 - CHAIN_AT);
    }
}

static void test_every_total_length(void **state)
{
    __u8 frame[128];
    struct flow flow;

    (void)state;
    for (unsigned int total = 0; total < 65536; total++) {
        size_t len = ip4_frame(frame, PROTO_TCP, FRAGMENT4_MORE, (__u16)total);
        enum sg_reason reason;

        len = append(frame, len, syn25, sizeof(syn25));
        reason = parse_bytes(frame, len, &flow);
        if (total < 24)
            assert_int_equal(reason, SG_REASON_first_fragment);
        else
            assert_int_equal(reason, PARSED_TCP);
        assert_true(flow.has_source);
        assert_int_equal(flow.syn, total >= 34);
    }
}

static void test_every_fragment_field(void **state)
{
    __u8 frame[128];
    struct flow flow;

    (void)state;
    for (unsigned int field = 0; field < 65536; field++) {
        size_t len = ip4_frame(frame, PROTO_TCP, (__u16)field, 40);
        enum sg_reason reason;

        len = append(frame, len, syn25, sizeof(syn25));
        reason = parse_bytes(frame, len, &flow);
        /* offset 0 with any of the three bits above it */
        if (field % 0x2000 == 0)
            assert_int_equal(reason, PARSED_TCP);
        else
            assert_int_equal(reason, SG_REASON_later_fragment);
    }
}

static void test_every_fragment6_field(void **state)
{
    __u8 frame[sizeof(long_frame)];
    struct flow flow;

    (void)state;
    memcpy(frame, long_frame, sizeof(frame));
    frame[IP_AT + 5] = sizeof(frame) - CHAIN_AT;
    for (unsigned int field = 0; field < 65536; field++) {
        frame[CHAIN_AT + 24 + 2] = (__u8)(field >> 8);
        frame[CHAIN_AT + 24 + 3] = (__u8)field;
        if (field < 8)
            assert_int_equal(parse_bytes(frame, sizeof(frame), &flow), PARSED_TCP);
        else
            assert_int_equal(parse_bytes(frame, sizeof(frame), &flow), SG_REASON_later_fragment);
    }
}

/* Every length byte of every kind of header: the port is found exactly where the header ends. */
static void test_every_extension_length(void **state)
{
    static const struct {
        __u8 type;
        unsigned int unit, base;
    } kinds[] = {
        {PROTO_HOPOPTS, 8, 8}, {PROTO_ROUTING, 8, 8},  {PROTO_DSTOPTS, 8, 8},
        {PROTO_AH, 4, 8},      {PROTO_FRAGMENT, 0, 8},
    };
    static __u8 frame[4096];
    struct flow flow;

    (void)state;
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++) {
        for (unsigned int byte = 0; byte < 256; byte++) {
            size_t size = kinds[kind].base + kinds[kind].unit * byte;

            memset(frame, 0, sizeof(frame));
            memcpy(frame, long_frame, 12);
            frame[12] = 0x86;
            frame[13] = 0xdd;
            frame[14] = 0x60;
            frame[20] = kinds[kind].type;
            frame[54] = PROTO_TCP;
            frame[55] = (__u8)byte;
            memcpy(frame + 54 + size, syn25, sizeof(syn25));
            assert_int_equal(parse_bytes(frame, 54 + size + 4, &flow), PARSED_TCP);
            assert_int_equal(flow.dport, 25);
            assert_int_equal(parse_bytes(frame, 54 + size + 3, &flow), SG_REASON_tcp_cut);
            assert_int_equal(parse_bytes(frame, 54 + size - 1, &flow), SG_REASON_chain_cut);
        }
    }
}

static void test_every_protocol(void **state)
{
    __u8 frame[128];
    struct flow flow;

    (void)state;
    for (unsigned int protocol = 0; protocol < 256; protocol++) {
        size_t len = ip4_frame(frame, (__u8)protocol, 0, 40);

        /* nothing behind the IP header: only what might be TCP is unclear */
        if (protocol == PROTO_TCP)
            assert_int_equal(parse_bytes(frame, len, &flow), SG_REASON_tcp_cut);
        else if (protocol == PROTO_AH)
            assert_int_equal(parse_bytes(frame, len, &flow), SG_REASON_chain_cut);
        else
            assert_int_equal(parse_bytes(frame, len, &flow), SG_REASON_other_protocol);
    }
}

static void test_every_ethertype(void **state)
{
    __u8 frame[14];
    struct flow flow;

    (void)state;
    memset(frame, 0, sizeof(frame));
    for (unsigned int type = 0; type < 65536; type++) {
        enum sg_reason reason;

        frame[12] = (__u8)(type >> 8);
        frame[13] = (__u8)type;
        reason = parse_bytes(frame, sizeof(frame), &flow);
        if (type == 0x0800 || type == 0x86dd)
            assert_int_equal(reason, SG_REASON_ip_header);
        else if (type == 0x8100 || type == 0x88a8)
            assert_int_equal(reason, SG_REASON_l2_cut);
        else
            assert_int_equal(reason, SG_REASON_not_ip);
        assert_false(flow.has_source);
    }
}

/* What parse() promises its caller for any bytes: a reason that is its to give, a source if IP. */
static void check_promises(enum sg_reason reason, const struct flow *flow)
{
    assert_true((int)reason >= 0 && reason <= PARSED_TCP);
    assert_true(reason != SG_REASON_other_port && reason != SG_REASON_listed &&
                reason != SG_REASON_unlisted);
    assert_true(flow->family < SG_FAMILY_COUNT);
    if (flow->has_source)
        assert_int_not_equal(flow->family, SG_FAMILY_NONE);
    if (reason != PARSED_TCP)
        assert_true(!flow->syn && !flow->dport);
    else
        assert_true(flow->has_source);
    if (reason == SG_REASON_chain_long || reason == SG_REASON_chain_cut ||
        reason == SG_REASON_first_fragment || reason == SG_REASON_tcp_cut)
        assert_true(flow->has_source);
    if (reason == SG_REASON_not_ip || reason == SG_REASON_l2_cut || reason == SG_REASON_vlan_depth)
        assert_int_equal(flow->family, SG_FAMILY_NONE);
}

/* Frames of random bytes, of which the bytes that steer the parser are likely ones. */
static void test_random_frames(void **state)
{
    static const __u8 likely[] = {0x81, 0x00, 0x08, 0x00, 0x86, 0xdd, 0x88, 0xa8, 0x45, 0x60, 0x4f,
                                  0,    6,    17,   43,   44,   51,   60,   255,  1,    0x20, 25};
    unsigned int seen[SG_REASON_COUNT + 1] = {0};
    __u8 frame[256];
    struct flow flow;

    (void)state;
    srand(1);
    for (int round = 0; round < 200000; round++) {
        size_t len = (size_t)rand() % sizeof(frame);
        enum sg_reason reason;

        for (size_t i = 0; i < sizeof(frame); i++)
            frame[i] = rand() % 4 ? likely[(size_t)rand() % sizeof(likely)] : (__u8)rand();
        if (round % 4) { /* get past the first gates */
            memcpy(frame + 12, round & 1 ? "\x08\x00\x45" : "\x86\xdd\x60", 3);
            frame[round & 1 ? 23 : 20] = likely[11 + rand() % 7];
            if (round & 1) {
                frame[20] &= 0x20;
                frame[21] = 0;
            }
        }
        reason = parse_bytes(frame, len, &flow);
        check_promises(reason, &flow);
        seen[reason]++;
    }
    for (int reason = 0; reason <= SG_REASON_COUNT; reason++) {
        bool never = reason == SG_REASON_other_port || reason == SG_REASON_listed ||
                     reason == SG_REASON_unlisted || reason == SG_REASON_expired ||
                     reason == SG_REASON_vlan_depth || reason == SG_REASON_chain_long;

        if (!never && !seen[reason])
            fail_msg("reason %d was never reached", reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_whole_frame),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_every_payload_length),
        cmocka_unit_test(test_every_total_length),
        cmocka_unit_test(test_every_fragment_field),
        cmocka_unit_test(test_every_fragment6_field),
        cmocka_unit_test(test_every_extension_length),
        cmocka_unit_test(test_every_protocol),
        cmocka_unit_test(test_every_ethertype),
        cmocka_unit_test(test_random_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
