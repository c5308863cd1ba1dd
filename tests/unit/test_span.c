// LINK: span addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A set of spans against a table of bits, in a corner of the IPv4 space small enough to be one; and
 * at the size where it is full.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "span.h"

#define SPACE 65536U

static struct who who_of(uint32_t first, uint32_t last)
{
    struct who who = {.kind = WHO_RANGE,
                      .first = {.family = ADDR_IP4, .bytes = {10}},
                      .last = {.family = ADDR_IP4, .bytes = {10}}};

    for (int i = 1; i < 4; i++) {
        who.first.bytes[i] = (uint8_t)(first >> (8 * (3 - i)));
        who.last.bytes[i] = (uint8_t)(last >> (8 * (3 - i)));
    }
    return who;
}

static struct who random_span(uint32_t *ret_first, uint32_t *ret_last)
{
    uint32_t first = (uint32_t)rand() % SPACE;
    uint32_t size = rand() % 50 ? 1 + (uint32_t)rand() % 4 : 1 + (uint32_t)rand() % 500;
    uint32_t last = first + size - 1 < SPACE ? first + size - 1 : SPACE - 1;

    *ret_first = first;
    *ret_last = last;
    return who_of(first, last);
}

static void test_against_bits(void **state)
{
    static bool bits[SPACE];

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct span_set set = {0};

        srand((unsigned int)round);
        memset(bits, 0, sizeof(bits));
        for (int i = 0; i < 12000; i++) {
            uint32_t first, last;
            struct who who = random_span(&first, &last);
            bool touches = false;

            for (uint32_t at = first; at <= last; at++)
                touches |= bits[at];
            assert_int_equal(span_touches(&set, &who), touches);
            if (rand() % 2)
                continue;
            assert_int_equal(span_add(&set, &who), 0);
            memset(bits + first, 1, last - first + 1);
            assert_true(span_touches(&set, &who));
        }
        span_free(&set);
    }
}

static void test_families(void **state)
{
    struct span_set set = {0};
    struct who all4, all6, one6;

    (void)state;
    assert_int_equal(who_parse("0.0.0.0/0", &all4, NULL), 0);
    assert_int_equal(who_parse("::/0", &all6, NULL), 0);
    assert_int_equal(who_parse("ffff::1", &one6, NULL), 0);
    assert_false(span_touches(&set, &all4));
    assert_int_equal(span_add(&set, &all4), 0);
    assert_true(span_touches(&set, &all4));
    assert_false(span_touches(&set, &all6));
    assert_int_equal(span_add(&set, &one6), 0);
    assert_true(span_touches(&set, &all6));
    span_free(&set);
    assert_int_equal(span_add(&set, &all6), 0);
    assert_false(span_touches(&set, &all4));
    span_free(&set);
}

static void test_full(void **state)
{
    struct span_set set = {0};
    uint32_t at = 0x7fffff;
    struct who who;

    (void)state;
    srand(1);
    for (size_t i = 0; i < SPAN_MAX; i++) {
        who = who_of(at, at);
        assert_int_equal(span_add(&set, &who), 0);
        at = (at + 2 * 7919) & 0xffffff; /* every second address, far apart */
    }
    who = who_of(at, at);
    assert_false(span_touches(&set, &who));
    assert_int_equal(span_add(&set, &who), -E2BIG);
    who = who_of(0x7fffff, 0x7fffff);
    assert_true(span_touches(&set, &who));
    span_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_bits),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests_name("span", tests, NULL, NULL);
}
