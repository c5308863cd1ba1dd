// LINK: digest majority prefix addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Digests of lists in different orders, with every kind of small difference; and who has the
 * majority, against counting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "digest.h"
#include "majority.h"

#define COUNT 300

struct item {
    struct prefix prefix;
    int64_t until;
};

static void fill(struct item *items, unsigned int n)
{
    unsigned int i;

    memset(items, 0, n * sizeof(*items));
    for (i = 0; i < n; i++) {
        items[i].prefix.addr.family = i % 2 ? ADDR_IP4 : ADDR_IP6;
        items[i].prefix.addr.bytes[0] = (uint8_t)i;
        items[i].prefix.addr.bytes[1] = (uint8_t)(i >> 8);
        items[i].prefix.len = (uint8_t)(16 + i % 17);
        items[i].until = i % 3 ? INT64_MAX : 1800000000 + (int64_t)i;
    }
}

static struct digest digest_of(const struct item *items, unsigned int n, uint64_t key)
{
    struct digest digest = digest_begin(key);
    unsigned int i;

    for (i = 0; i < n; i++)
        digest_add(&digest, &items[i].prefix, items[i].until);
    return digest;
}

static void test_order(void **state)
{
    struct item items[COUNT];
    struct digest before;
    unsigned int round, i;

    (void)state;
    srand(1);
    fill(items, COUNT);
    before = digest_of(items, COUNT, 42);
    for (round = 0; round < 20; round++) {
        struct digest after;

        for (i = COUNT - 1; i; i--) {
            unsigned int j = (unsigned int)rand() % (i + 1);
            struct item item = items[i];

            items[i] = items[j];
            items[j] = item;
        }
        after = digest_of(items, COUNT, 42);
        assert_true(digest_is_equal(&before, &after));
    }
}

/* Every single bit of a prefix, its length, its family and its end counts, wherever it stands. */
static void test_each_bit(void **state)
{
    struct item items[4];
    struct digest before, after;
    unsigned int i, bit;

    (void)state;
    fill(items, 4);
    before = digest_of(items, 4, 7);
    for (i = 0; i < 4; i++) {
        for (bit = 0; bit < 128; bit++) {
            items[i].prefix.addr.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            after = digest_of(items, 4, 7);
            items[i].prefix.addr.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_false(digest_is_equal(&before, &after));
        }
        for (bit = 0; bit < 64; bit++) {
            items[i].until ^= (int64_t)(UINT64_C(1) << bit);
            after = digest_of(items, 4, 7);
            items[i].until ^= (int64_t)(UINT64_C(1) << bit);
            assert_false(digest_is_equal(&before, &after));
        }
        for (bit = 0; bit < 8; bit++) {
            items[i].prefix.len ^= (uint8_t)(1 << bit);
            after = digest_of(items, 4, 7);
            items[i].prefix.len ^= (uint8_t)(1 << bit);
            assert_false(digest_is_equal(&before, &after));
        }
    }
}

static void test_not_a_set(void **state)
{
    struct item items[4];
    struct digest once, twice, empty = digest_begin(7), swapped;
    int64_t until;

    (void)state;
    fill(items, 3);
    items[3] = items[0];
    once = digest_of(items, 3, 7);
    twice = digest_of(items, 4, 7);
    assert_false(digest_is_equal(&once, &twice));
    assert_false(digest_is_equal(&once, &empty));
    assert_true(digest_is_equal(&empty, &empty));
    /* The same prefixes and the same ends, but not each its own. */
    until = items[0].until;
    items[0].until = items[1].until;
    items[1].until = until;
    assert_int_not_equal(items[0].until, items[1].until);
    swapped = digest_of(items, 3, 7);
    assert_false(digest_is_equal(&once, &swapped));
}

/* What one key gives says nothing of another: the difference of two items is not a constant. */
static void test_key(void **state)
{
    struct item items[2];
    uint64_t key, first = 0;

    (void)state;
    fill(items, 2);
    for (key = 0; key < 100; key++) {
        struct digest one = digest_of(items, 1, key), other = digest_of(items + 1, 1, key);

        if (!key)
            first = one.sum - other.sum;
        else
            assert_int_not_equal(one.sum - other.sum, first);
    }
}

/* No two of 100,000 neighbours meet, and each bit of the sums is set about half the time. */
static void test_spread(void **state)
{
    const unsigned int n = 100000;
    unsigned int i, bit, set[64] = {0};
    struct item item = {.prefix = {.addr = {.family = ADDR_IP4}, .len = 32}, .until = INT64_MAX};

    (void)state;
    for (i = 0; i < n; i++) {
        struct digest digest;

        item.prefix.addr.bytes[1] = (uint8_t)(i >> 16);
        item.prefix.addr.bytes[2] = (uint8_t)(i >> 8);
        item.prefix.addr.bytes[3] = (uint8_t)i;
        digest = digest_of(&item, 1, 0);
        for (bit = 0; bit < 64; bit++)
            set[bit] += digest.sum >> bit & 1;
    }
    for (bit = 0; bit < 64; bit++)
        assert_in_range(set[bit], n / 2 - n / 50, n / 2 + n / 50);
}

static struct addr numbered(unsigned int number)
{
    return (struct addr){.family = ADDR_IP4, .bytes = {10, 0, 0, (uint8_t)number}};
}

static void test_majority(void **state)
{
    unsigned int round;

    (void)state;
    srand(2);
    for (round = 0; round < 2000; round++) {
        struct majority majority = {0};
        uint64_t counts[4] = {0}, total = 0;
        unsigned int i, n = (unsigned int)rand() % 20, favourite = (unsigned int)rand() % 4;

        for (i = 0; i < n; i++) {
            unsigned int who = rand() % 2 ? favourite : (unsigned int)rand() % 4;
            uint64_t votes = (uint64_t)rand() % 5;
            struct addr addr = numbered(who);

            majority_add(&majority, &addr, votes);
            counts[who] += votes;
            total += votes;
        }
        assert_int_equal(majority.total, total);
        for (i = 0; i < 4; i++)
            if (counts[i] * 2 > total)
                assert_int_equal(majority.candidate.bytes[3], i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),     cmocka_unit_test(test_each_bit),
        cmocka_unit_test(test_not_a_set), cmocka_unit_test(test_key),
        cmocka_unit_test(test_spread),    cmocka_unit_test(test_majority),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
