// LINK: delta prefix addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a change does to the prefixes: cases by hand, and random steps against a table with a cell
 * for each prefix, where the order of the steps is plain.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "delta.h"

#define A UNTIL_ABSENT
#define F UNTIL_FOREVER

static struct prefix prefix_of(const char *text)
{
    struct prefix prefixes[PREFIX_MAX];
    struct who who;

    assert_int_equal(who_parse(text, &who, NULL), 0);
    assert_int_equal(prefix_from_who(&who, prefixes), 1);
    return prefixes[0];
}

/* A step, or what is left of them. @prefix NULL: the end. */
struct step {
    const char *prefix;
    int64_t before, after;
};

static void test_settle(void **state)
{
    static const struct {
        struct step pushed[8], settled[8];
    } cases[] = {
        {{{NULL, 0, 0}}, {{NULL, 0, 0}}},
        {{{"192.0.2.1", A, F}}, {{"192.0.2.1", A, F}}},
        /* Steps of one prefix are joined. */
        {{{"192.0.2.1", A, 5}, {"192.0.2.1", 5, F}}, {{"192.0.2.1", A, F}}},
        {{{"192.0.2.1", 9, 5}, {"192.0.2.1", 5, A}, {"192.0.2.1", A, 7}}, {{"192.0.2.1", 9, 7}}},
        {{{"192.0.2.1", F, A}, {"192.0.2.1", A, 3}}, {{"192.0.2.1", F, 3}}},
        /* What is as it was is gone. */
        {{{"192.0.2.1", A, F}, {"192.0.2.1", F, A}}, {{NULL, 0, 0}}},
        {{{"192.0.2.1", 5, 9}, {"192.0.2.1", 9, 5}, {"192.0.2.2", 1, 2}}, {{"192.0.2.2", 1, 2}}},
        {{{"192.0.2.1", F, F}}, {{NULL, 0, 0}}},
        /* IPv4 before IPv6, then by address, then by length; each its own. */
        {{{"2001:db8::1", A, F},
          {"192.0.2.0/25", A, 1},
          {"::/0", A, F},
          {"192.0.2.0/24", A, 2},
          {"0.0.0.0/0", F, A},
          {"10.0.0.0/8", 4, 3}},
         {{"0.0.0.0/0", F, A},
          {"10.0.0.0/8", 4, 3},
          {"192.0.2.0/24", A, 2},
          {"192.0.2.0/25", A, 1},
          {"::/0", A, F},
          {"2001:db8::1", A, F}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct delta delta = {0};
        size_t n = 0;

        for (const struct step *step = cases[i].pushed; step->prefix; step++) {
            struct prefix prefix = prefix_of(step->prefix);

            assert_int_equal(delta_push(&delta, &prefix, step->before, step->after), 0);
        }
        /* Settling what is settled changes nothing. */
        for (int times = 0; times < 2; times++) {
            delta_settle(&delta);
            n = 0;
            for (const struct step *step = cases[i].settled; step->prefix; step++, n++) {
                struct prefix prefix = prefix_of(step->prefix);

                assert_true(n < delta.count);
                assert_int_equal(prefix_cmp(&delta.items[n].prefix, &prefix), 0);
                assert_int_equal(delta.items[n].before, step->before);
                assert_int_equal(delta.items[n].after, step->after);
            }
            assert_int_equal(delta.count, n);
        }
        delta_free(&delta);
        assert_null(delta.items);
        assert_int_equal(delta.count, 0);
    }
}

#define CELLS 64

struct cell {
    int64_t before, now;
};

/* Cells in the order that the delta has: the address grows, then the length. */
static struct prefix prefix_of_cell(unsigned int cell)
{
    char text[32];

    if (cell < CELLS / 2)
        snprintf(text, sizeof(text), "192.%u.0.0/%u", cell / 2 * 8, cell % 2 ? 24U : 16U);
    else
        snprintf(text, sizeof(text), "2001:%x::/%u", cell / 2, cell % 2 ? 64U : 48U);
    return prefix_of(text);
}

static void check_cells(const struct delta *delta, const struct cell cells[CELLS])
{
    size_t n = 0;

    for (unsigned int i = 0; i < CELLS; i++) {
        struct prefix prefix = prefix_of_cell(i);

        if (cells[i].before == cells[i].now)
            continue;
        assert_true(n < delta->count);
        assert_int_equal(prefix_cmp(&delta->items[n].prefix, &prefix), 0);
        assert_int_equal(delta->items[n].before, cells[i].before);
        assert_int_equal(delta->items[n].after, cells[i].now);
        n++;
    }
    assert_int_equal(delta->count, n);
}

/* Many steps for few prefixes, looked at in between. */
static void test_random(void **state)
{
    static const int64_t untils[] = {A, A, F, 1, 2, 3};

    (void)state;
    for (unsigned int seed = 1; seed <= 20; seed++) {
        unsigned int used = 1 + seed * 3;
        struct cell cells[CELLS];
        struct delta delta = {0};

        srand(seed);
        for (unsigned int i = 0; i < CELLS; i++)
            cells[i].before = cells[i].now = untils[(size_t)rand() % 6];
        for (int i = 0; i < 1500; i++) {
            unsigned int at = (unsigned int)rand() % used;
            struct prefix prefix = prefix_of_cell(at);
            int64_t after = untils[(size_t)rand() % 6];

            assert_int_equal(delta_push(&delta, &prefix, cells[at].now, after), 0);
            cells[at].now = after;
            if (rand() % 400)
                continue;
            delta_settle(&delta);
            check_cells(&delta, cells);
        }
        delta_settle(&delta);
        check_cells(&delta, cells);
        delta_free(&delta);
    }
}

/* The sanitizer lets an allocation fail instead of ending the test. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_no_memory(void **state)
{
    struct prefix prefix = prefix_of("192.0.2.1");
    size_t full = SIZE_MAX / 4;
    struct delta delta = {.count = full, .room = full};

    (void)state;
    assert_int_equal(delta_push(&delta, &prefix, A, F), -ENOMEM);
    assert_null(delta.items);
    assert_int_equal(delta.count, full);
    assert_int_equal(delta.room, full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settle),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests_name("delta", tests, NULL, NULL);
}
