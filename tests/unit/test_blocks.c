// LINK: blocks prefix addr who_why text err
// SPDX-License-Identifier: GPL-2.0-only
/*
 * The summary in front of the tries, both halves of it: the bits that the user program marks, read
 * by the very code that runs in the kernel. Nobody who is listed may be told to be unlisted; and
 * most of those who are not must be, or it is good for nothing.
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

#include "blocks.h"
#include "smtpgate_types.h"
#include "util.h"

#include "summary.h"

static uint8_t *bits;
static uint64_t seed;

static bool bit_at(__u32 bit)
{
    assert_true(bit >= SG_BLOCK_BITS && bit < SG_BITS_END);
    return bits[bit / 8] >> bit % 8 & 1;
}

static int read_bit(uint32_t bit, void *arg)
{
    (void)arg;
    return bit_at(bit);
}

static int setup(void **state)
{
    (void)state;
    bits = calloc(1, BLOCKS_BYTES);
    seed = 0x0123456789abcdefULL;
    srandom(5);
    return !bits;
}

static int teardown(void **state)
{
    (void)state;
    free(bits);
    return 0;
}

/* What the program would do, and what the user program says that it would. */
static bool sends_on(const struct addr *addr)
{
    struct flow flow = {.family = addr->family == ADDR_IP4 ? SG_FAMILY_IP4 : SG_FAMILY_IP6};
    bool on;

    memcpy(flow.source, addr->bytes, sizeof(flow.source));
    on = may_be_listed(seed, &flow);
    assert_int_equal(blocks_send_on(read_bit, NULL, seed, addr), on);
    return on;
}

static struct prefix prefix_of(const char *text)
{
    struct prefix prefixes[PREFIX_MAX];
    struct who who;

    assert_int_equal(who_parse(text, &who, NULL), 0);
    assert_int_equal(prefix_from_who(&who, prefixes), 1);
    return prefixes[0];
}

static void set_bits(struct addr *addr, unsigned int from, bool random_ones, bool ones)
{
    for (unsigned int bit = from; bit < addr_len(addr->family) * 8; bit++) {
        uint8_t mask = (uint8_t)(0x80 >> bit % 8);

        if (random_ones ? random() & 1 : ones)
            addr->bytes[bit / 8] |= mask;
        else
            addr->bytes[bit / 8] &= (uint8_t)~mask;
    }
}

static void check_covered(const struct prefix *prefix)
{
    struct addr addr = prefix->addr;

    assert_true(sends_on(&addr));
    set_bits(&addr, prefix->len, false, true);
    assert_true(sends_on(&addr));
    for (int i = 0; i < 20; i++) {
        set_bits(&addr, prefix->len, true, false);
        assert_true(sends_on(&addr));
    }
}

static struct prefix random_prefix(enum addr_family family, unsigned int len)
{
    struct prefix prefix = {.addr.family = family, .len = (uint8_t)len};

    set_bits(&prefix.addr, 0, true, false);
    set_bits(&prefix.addr, len, false, false);
    return prefix;
}

/* Every length alone: all of it is looked for, from the first address to the last. */
static void test_every_length(void **state)
{
    (void)state;
    for (int family = ADDR_IP4; family <= ADDR_IP6; family += ADDR_IP6 - ADDR_IP4)
        for (unsigned int len = 0; len <= (family == ADDR_IP4 ? 32 : 128); len++) {
            struct prefix prefix = random_prefix((enum addr_family)family, len);

            memset(bits, 0, BLOCKS_BYTES);
            assert_false(blocks_tell(read_bit, NULL, seed, &prefix));
            blocks_mark(bits, seed, &prefix);
            assert_true(blocks_tell(read_bit, NULL, seed, &prefix));
            check_covered(&prefix);
        }
}

/* Longer and shorter ones over each other, in any order; marking is never taken back. */
static void test_many(void **state)
{
    static struct prefix list[3000];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
        enum addr_family family = random() & 1 ? ADDR_IP4 : ADDR_IP6;
        unsigned int most = family == ADDR_IP4 ? 32 : 128;

        list[i] = random_prefix(family, 1 + (unsigned int)random() % most);
        if (i && random() % 2) { /* within or around one that is there */
            const struct prefix *other = &list[(size_t)random() % i];

            list[i].addr = other->addr;
            list[i].len = (uint8_t)(random() % (addr_len(other->addr.family) * 8 + 1));
            set_bits(&list[i].addr, list[i].len, false, false);
        }
        if (list[i].len < 12)
            list[i].len = 12, set_bits(&list[i].addr, 12, false, false);
        blocks_mark(bits, seed, &list[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(list); i++)
        check_covered(&list[i]);
}

/* Exactly, as long as nothing else shares a cell. */
static void test_neighbours(void **state)
{
    static const struct {
        const char *listed, *in, *out;
    } cases[] = {
        {"192.0.2.10", "192.0.2.10", "192.0.2.11"},
        {"192.0.2.10", "192.0.2.10", "192.0.2.9"},
        {"192.0.2.0/28", "192.0.2.15", "192.0.2.16"},
        {"192.0.2.32/29", "192.0.2.39", "192.0.2.40"},
        {"192.0.2.64/27", "192.0.2.95", "192.0.2.96"},
        {"192.0.2.128/25", "192.0.2.255", "192.0.2.127"},
        {"198.51.100.0/24", "198.51.100.255", "198.51.101.0"},
        {"198.51.0.0/21", "198.51.7.255", "198.51.8.0"},
        {"198.48.0.0/13", "198.55.255.255", "198.56.0.0"},
        {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
        {"0.0.0.0/1", "127.255.255.255", "128.0.0.0"},
        {"2001:db8::1", "2001:db8::1", "2001:db8::2"},
        {"2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::"},
        {"2001:db8:0:a0::/60", "2001:db8:0:af:ffff::", "2001:db8:0:b0::"},
        {"2001:db8:0:100::/56", "2001:db8:0:1ff::1", "2001:db8:0:200::"},
        {"2001:db8:1::/48", "2001:db8:1:ffff::", "2001:db8:2::"},
        {"2001:db8::/32", "2001:db8:ffff::", "2001:db9::"},
        {"2001:da0::/28", "2001:daf:ffff::", "2001:db0::"},
        {"2000::/19", "2000:1fff:ffff::", "2000:2000::"},
        {"fc00::/7", "fdff::", "fe00::"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct prefix listed = prefix_of(cases[i].listed), in = prefix_of(cases[i].in),
                      out = prefix_of(cases[i].out);

        memset(bits, 0, BLOCKS_BYTES);
        blocks_mark(bits, seed, &listed);
        assert_true(sends_on(&in.addr));
        if (sends_on(&out.addr))
            fail_msg("%s: the trie is asked for %s", cases[i].listed, cases[i].out);
    }
}

/* With 100,000 prefixes, of 20,000 others: how many are told apart by the bits alone. */
static void test_use(void **state)
{
    static const unsigned int lengths[2][5] = {{32, 32, 32, 28, 24}, {128, 64, 56, 48, 48}};

    (void)state;
    for (int family = 0; family < 2; family++) {
        enum addr_family which = family ? ADDR_IP6 : ADDR_IP4;
        unsigned int asked = 0;

        memset(bits, 0, BLOCKS_BYTES);
        for (int i = 0; i < 100000; i++) {
            struct prefix prefix = random_prefix(which, lengths[family][i % 5]);

            if (family)
                prefix.addr.bytes[0] = 0x20 | (prefix.addr.bytes[0] & 0x1f);
            blocks_mark(bits, seed, &prefix);
        }
        for (int i = 0; i < 20000; i++) {
            struct prefix source = random_prefix(which, family ? 128 : 32);

            if (family)
                source.addr.bytes[0] = 0x20 | (source.addr.bytes[0] & 0x1f);
            asked += sends_on(&source.addr);
        }
        assert_in_range(asked, 0, 200); /* 0.1 % of the IPv4 addresses are listed */
    }
}

/* Another seed, other cells: nobody who does not know it can look for one that is shared. */
static void test_seed(void **state)
{
    struct prefix prefix = prefix_of("192.0.2.10");

    (void)state;
    memset(bits, 0, BLOCKS_BYTES);
    blocks_mark(bits, seed, &prefix);
    seed++;
    assert_false(sends_on(&prefix.addr));
}

static int fail_to_read(uint32_t bit, void *arg)
{
    (void)bit, (void)arg;
    return -EIO;
}

static void test_unreadable(void **state)
{
    struct prefix prefix = prefix_of("192.0.2.10");

    (void)state;
    assert_int_equal(blocks_send_on(fail_to_read, NULL, seed, &prefix.addr), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length), cmocka_unit_test(test_many),
        cmocka_unit_test(test_neighbours),   cmocka_unit_test(test_use),
        cmocka_unit_test(test_seed),         cmocka_unit_test(test_unreadable),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
