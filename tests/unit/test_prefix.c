// LINK: prefix addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Range to prefixes against two oracles that share nothing with the code under test:
 *
 *  - from the definition: the prefixes are aligned, ascending, disjoint, adjacent, and cover
 * exactly the range; on small spaces every address is looked at;
 *  - minimal: the least count is computed by splitting the whole space like a binary trie, where
 *    only the blocks that stick out of the range are split.
 *
 * A small space is a window of low bits below a fixed front, so that both families and the borders
 * between bytes are reached.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "prefix.h"

typedef unsigned __int128 u128; /* the oracles' own arithmetic: numbers, where the code has bytes */

static unsigned int width_of(enum addr_family family)
{
    return family == ADDR_IP4 ? 32 : 128;
}

static struct addr addr_of(enum addr_family family, u128 number)
{
    struct addr addr = {.family = family};
    unsigned int bytes = width_of(family) / 8;

    for (unsigned int i = 0; i < bytes; i++)
        addr.bytes[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
    return addr;
}

static u128 number_of(const struct addr *addr)
{
    u128 number = 0;

    for (unsigned int i = 0; i < width_of(addr->family) / 8; i++)
        number = number << 8 | addr->bytes[i];
    return number;
}

static u128 ones(unsigned int bits)
{
    return bits >= 128 ? ~(u128)0 : ((u128)1 << bits) - 1;
}

static struct who range_of(enum addr_family family, u128 first, u128 last)
{
    return (struct who){WHO_RANGE, addr_of(family, first), addr_of(family, last)};
}

/* The least number of aligned blocks, by trie: a block within the range is one, others split. */
static unsigned int least_count(u128 first, u128 last, u128 block, unsigned int bits)
{
    u128 end = block + ones(bits);

    if (end < first || block > last)
        return 0;
    if (block >= first && end <= last)
        return 1;
    return least_count(first, last, block, bits - 1) +
           least_count(first, last, block + ((u128)1 << (bits - 1)), bits - 1);
}

/* By definition; returns the count. */
static unsigned int check_range(enum addr_family family, u128 first, u128 last)
{
    struct who who = range_of(family, first, last);
    struct prefix prefixes[PREFIX_MAX];
    unsigned int width = width_of(family), count;
    char text[WHO_TEXT_MAX];
    u128 expected = first;

    count = prefix_from_who(&who, prefixes);
    if (!count || count > 2 * width - 2)
        fail_msg("%s: %u prefixes", who_print(&who, text), count);
    for (unsigned int i = 0; i < count; i++) {
        u128 start = number_of(&prefixes[i].addr), size = ones(width - prefixes[i].len);

        if (prefixes[i].addr.family != family || prefixes[i].len > width)
            fail_msg("%s: prefix %u is none", who_print(&who, text), i);
        for (unsigned int b = width / 8; b < 16; b++)
            if (prefixes[i].addr.bytes[b])
                fail_msg("%s: prefix %u has bytes beyond its family", who_print(&who, text), i);
        if (start & size)
            fail_msg("%s: prefix %u has host bits", who_print(&who, text), i);
        if (start != expected)
            fail_msg("%s: prefix %u leaves a gap or overlaps", who_print(&who, text), i);
        expected = start + size + 1;
        if (i + 1 == count && start + size != last)
            fail_msg("%s: ends elsewhere", who_print(&who, text));
    }
    if (count != least_count(first, last, 0, width))
        fail_msg("%s: %u prefixes, the least is %u", who_print(&who, text), count,
                 least_count(first, last, 0, width));
    return count;
}

/* Every range within @bits low bits after @base. */
static void check_window(enum addr_family family, u128 base, unsigned int bits)
{
    for (u128 first = 0; first <= ones(bits); first++)
        for (u128 last = first; last <= ones(bits); last++)
            check_range(family, base + first, base + last);
}

static bool bit_of(const struct addr *addr, unsigned int bit)
{
    return addr->bytes[bit / 8] >> (7 - bit % 8) & 1;
}

/* How many of the prefixes have all their bits in common with the address. */
static unsigned int matches_of(const struct prefix *prefixes, unsigned int count,
                               const struct addr *addr)
{
    unsigned int matches = 0;

    for (unsigned int i = 0; i < count; i++) {
        unsigned int bit = 0;

        while (bit < prefixes[i].len && bit_of(addr, bit) == bit_of(&prefixes[i].addr, bit))
            bit++;
        matches += bit == prefixes[i].len;
    }
    return matches;
}

/* The same with no arithmetic on prefixes at all: every address is looked up bit by bit. */
static void check_marks(enum addr_family family, u128 base, unsigned int size)
{
    for (unsigned int first = 0; first < size; first++) {
        for (unsigned int last = first; last < size; last++) {
            struct who who = range_of(family, base + first, base + last);
            struct prefix prefixes[PREFIX_MAX];
            unsigned int count = prefix_from_who(&who, prefixes);

            for (unsigned int at = 0; at < size; at++) {
                struct addr addr = addr_of(family, base + at);
                unsigned int matches = matches_of(prefixes, count, &addr);

                if (matches != (at >= first && at <= last))
                    fail_msg("range %u-%u: %u is matched %u times", first, last, at, matches);
            }
        }
    }
}

/* best[n]: the fewest aligned blocks that tile first..first+n-1, over all choices of the last. */
static void check_minimum(enum addr_family family, u128 base, unsigned int size)
{
    unsigned int best[257];

    assert_true(size <= 256);
    for (unsigned int first = 0; first < size; first++) {
        best[0] = 0;
        for (unsigned int n = 1; first + n <= size; n++) {
            struct who who = range_of(family, base + first, base + first + n - 1);
            struct prefix prefixes[PREFIX_MAX];

            best[n] = ~0U;
            for (unsigned int block = 1; block <= n; block *= 2)
                if ((base + first + n - block) % block == 0 && best[n - block] + 1 < best[n])
                    best[n] = best[n - block] + 1;
            if (prefix_from_who(&who, prefixes) != best[n])
                fail_msg("range %u+%u: not %u prefixes", first, n, best[n]);
        }
    }
}

static const u128 doc6 = (u128)0x20010db8 << 96;

static void test_every_range_in_8_bits_ip4(void **state)
{
    (void)state;
    check_window(ADDR_IP4, 0xc0000200, 8);
}

static void test_every_range_in_8_bits_ip6(void **state)
{
    (void)state;
    check_window(ADDR_IP6, doc6, 8);
}

static void test_every_range_at_both_ends_of_the_space(void **state)
{
    (void)state;
    check_window(ADDR_IP4, 0, 7);
    check_window(ADDR_IP4, 0xffffff80, 7);
    check_window(ADDR_IP6, 0, 7);
    check_window(ADDR_IP6, ones(128) - 0x7f, 7);
}

static void test_every_range_across_byte_borders(void **state)
{
    (void)state;
    check_window(ADDR_IP4, 0xc0000280, 8);
    check_window(ADDR_IP4, 0xc000ff80, 8);
    check_window(ADDR_IP4, 0x7fffff80, 8);
    check_window(ADDR_IP6, doc6 + 0xff80, 8);
    check_window(ADDR_IP6, doc6 + ones(64) - 0x7f, 8);
    check_window(ADDR_IP6, ones(127) - 0x7f, 8);
}

static void test_every_address_of_every_range_is_matched_once(void **state)
{
    (void)state;
    check_marks(ADDR_IP4, 0xc00002e0, 64);
    check_marks(ADDR_IP6, doc6 + 0xffe0, 64);
    check_marks(ADDR_IP4, 0xffffffc0, 64);
}

static void test_minimum_by_dynamic_programming(void **state)
{
    (void)state;
    check_minimum(ADDR_IP4, 0xc0000200, 256);
    check_minimum(ADDR_IP4, 0xc0000280, 256);
    check_minimum(ADDR_IP6, doc6 + 0xff80, 256);
    check_minimum(ADDR_IP6, 0, 256);
}

static u128 random_number(unsigned int *seed, unsigned int bits)
{
    u128 number = 0;

    for (int i = 0; i < 16; i++)
        number = number << 8 | (u128)(rand_r(seed) >> 7 & 0xff);
    return number & ones(bits);
}

/* Uniform ranges are almost all huge; half of them are narrowed to a random number of bits. */
static void test_random_ranges(void **state)
{
    const char *given = getenv("TEST_SEED");
    unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 10) : 1;

    (void)state;
    printf("# TEST_SEED=%u\n", seed);
    for (int i = 0; i < 20000; i++) {
        enum addr_family family = i & 1 ? ADDR_IP6 : ADDR_IP4;
        unsigned int width = width_of(family);
        u128 a = random_number(&seed, width);
        unsigned int bits = i & 2 ? width : (unsigned int)rand_r(&seed) % (width + 1);
        u128 b = (a & ~ones(bits)) | random_number(&seed, bits);

        check_range(family, a < b ? a : b, a < b ? b : a);
    }
}

static void test_whole_space(void **state)
{
    struct prefix prefixes[PREFIX_MAX];
    struct who all4 = range_of(ADDR_IP4, 0, ones(32));
    struct who all6 = range_of(ADDR_IP6, 0, ones(128));

    (void)state;
    assert_int_equal(prefix_from_who(&all4, prefixes), 1);
    assert_int_equal(prefixes[0].len, 0);
    assert_int_equal(prefixes[0].addr.family, ADDR_IP4);
    assert_int_equal(prefix_from_who(&all6, prefixes), 1);
    assert_int_equal(prefixes[0].len, 0);
    assert_int_equal(prefixes[0].addr.family, ADDR_IP6);
    check_range(ADDR_IP4, 0, ones(32));
    check_range(ADDR_IP6, 0, ones(128));
}

static void test_worst_cases(void **state)
{
    (void)state;
    assert_int_equal(PREFIX_MAX, 254);
    assert_int_equal(check_range(ADDR_IP4, 1, ones(32) - 1), 62);
    assert_int_equal(check_range(ADDR_IP6, 1, ones(128) - 1), 254);
    assert_int_equal(check_range(ADDR_IP4, 0, ones(32) - 1), 32);
    assert_int_equal(check_range(ADDR_IP4, 1, ones(32)), 32);
    assert_int_equal(check_range(ADDR_IP6, 0, ones(128) - 1), 128);
    assert_int_equal(check_range(ADDR_IP6, 1, ones(128)), 128);
}

static void expect_prefixes(const char *text, const char *want)
{
    struct prefix prefixes[PREFIX_MAX];
    char got[4096] = "", one[ADDR_TEXT_MAX];
    unsigned int count;
    struct who who;

    assert_int_equal(who_parse(text, &who, NULL), 0);
    count = prefix_from_who(&who, prefixes);
    for (unsigned int i = 0; i < count; i++) {
        size_t used = strlen(got);

        snprintf(got + used, sizeof(got) - used, "%s%s/%u", used ? " " : "",
                 addr_print(&prefixes[i].addr, one), prefixes[i].len);
    }
    assert_string_equal(got, want);
}

static void test_by_hand(void **state)
{
    (void)state;
    expect_prefixes("192.0.2.10", "192.0.2.10/32");
    expect_prefixes("2001:db8::10", "2001:db8::10/128");
    expect_prefixes("192.0.2.0/24", "192.0.2.0/24");
    expect_prefixes("192.0.2.7/32", "192.0.2.7/32");
    expect_prefixes("2001:db8::/32", "2001:db8::/32");
    expect_prefixes("0.0.0.0/0", "0.0.0.0/0");
    expect_prefixes("::/0", "::/0");
    expect_prefixes("192.0.2.10-192.0.2.10", "192.0.2.10/32");
    expect_prefixes("192.0.2.0-192.0.2.255", "192.0.2.0/24");
    expect_prefixes("192.0.2.10-192.0.2.40", "192.0.2.10/31 192.0.2.12/30 192.0.2.16/28 "
                                             "192.0.2.32/29 192.0.2.40/32");
    expect_prefixes("192.0.2.255-192.0.3.0", "192.0.2.255/32 192.0.3.0/32");
    expect_prefixes("2001:db8::1-2001:db8::4", "2001:db8::1/128 2001:db8::2/127 2001:db8::4/128");
    expect_prefixes("2001:db8::ffff-2001:db8::1:0", "2001:db8::ffff/128 2001:db8::1:0/128");
    expect_prefixes("0.0.0.0-0.0.0.0", "0.0.0.0/32");
    expect_prefixes("255.255.255.255-255.255.255.255", "255.255.255.255/32");
}

/* Every segment length of both families is one prefix: itself. */
static void test_every_segment_is_one_prefix(void **state)
{
    (void)state;
    for (int family = ADDR_IP4; family <= ADDR_IP6; family += ADDR_IP6 - ADDR_IP4) {
        unsigned int width = width_of((enum addr_family)family);

        for (unsigned int len = 0; len <= width; len++) {
            u128 first = ones(width) & ~ones(width - len);
            struct who who = range_of((enum addr_family)family, first, ones(width));
            struct prefix prefixes[PREFIX_MAX];

            who.kind = WHO_SEGMENT;
            assert_int_equal(prefix_from_who(&who, prefixes), 1);
            assert_int_equal(prefixes[0].len, len);
            assert_true(number_of(&prefixes[0].addr) == first);
        }
    }
}

static void test_cmp(void **state)
{
    struct prefix a = {addr_of(ADDR_IP4, 0xc0000200), 24};
    struct prefix longer = {addr_of(ADDR_IP4, 0xc0000200), 25};
    struct prefix next = {addr_of(ADDR_IP4, 0xc0000300), 24};
    struct prefix low6 = {addr_of(ADDR_IP6, 0), 0};

    (void)state;
    assert_int_equal(prefix_cmp(&a, &a), 0);
    assert_true(prefix_cmp(&a, &longer) < 0 && prefix_cmp(&longer, &a) > 0);
    assert_true(prefix_cmp(&longer, &next) < 0 && prefix_cmp(&next, &longer) > 0);
    assert_true(prefix_cmp(&next, &low6) < 0 && prefix_cmp(&low6, &next) > 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_range_in_8_bits_ip4),
        cmocka_unit_test(test_every_range_in_8_bits_ip6),
        cmocka_unit_test(test_every_range_at_both_ends_of_the_space),
        cmocka_unit_test(test_every_range_across_byte_borders),
        cmocka_unit_test(test_every_address_of_every_range_is_matched_once),
        cmocka_unit_test(test_minimum_by_dynamic_programming),
        cmocka_unit_test(test_random_ranges),
        cmocka_unit_test(test_whole_space),
        cmocka_unit_test(test_worst_cases),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_every_segment_is_one_prefix),
        cmocka_unit_test(test_cmp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
