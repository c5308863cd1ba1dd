// LINK: mode
/* SPDX-License-Identifier: GPL-2.0-only */
/* Modes over time, against a table written by hand: what was planned, when, and what holds then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mode.h"

#define E SG_MODE_ENFORCE
#define O SG_MODE_OBSERVE
#define P SG_MODE_PAUSED
#define F SG_MODE_OFF

static void test_mode_at(void **state)
{
    static const struct {
        bool on;
        struct mode_plan plan;
        int64_t now;
        struct mode_plan expected;
    } cases[] = {
        /* Without a deadline the mode stays; what would follow has no meaning. */
        {true, {E, E, 0}, 0, {E, E, 0}},
        {true, {E, O, 0}, 1000, {E, E, 0}},
        {true, {O, E, 0}, 1000, {O, O, 0}},
        {true, {O, O, 0}, INT64_MAX, {O, O, 0}},
        /* enforce --confirm: one second before, at it, after it. */
        {true, {E, O, 1000}, 0, {E, O, 1000}},
        {true, {E, O, 1000}, 999, {E, O, 1000}},
        {true, {E, O, 1000}, 1000, {O, O, 0}},
        {true, {E, O, 1000}, 1001, {O, O, 0}},
        {true, {E, O, 1000}, INT64_MAX, {O, O, 0}},
        /* A pause, from either mode. */
        {true, {P, E, 1000}, 999, {P, E, 1000}},
        {true, {P, E, 1000}, 1000, {E, E, 0}},
        {true, {P, O, 1000}, 999, {P, O, 1000}},
        {true, {P, O, 1000}, 1000, {O, O, 0}},
        /* A clock before 1970 is before every deadline. */
        {true, {P, E, 1}, -1, {P, E, 1}},
        {true, {P, E, 1}, 1, {E, E, 0}},
        {true, {P, E, INT64_MAX}, INT64_MAX - 1, {P, E, INT64_MAX}},
        {true, {P, E, INT64_MAX}, INT64_MAX, {E, E, 0}},
        /* Where the lists call for no gate, nothing planned counts, now or later. */
        {false, {E, E, 0}, 1000, {F, F, 0}},
        {false, {O, O, 0}, 1000, {F, F, 0}},
        {false, {E, O, 1000}, 999, {F, F, 0}},
        {false, {P, E, 1000}, 999, {F, F, 0}},
        {false, {P, E, 1000}, 1000, {F, F, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mode_plan plan = cases[i].plan;
        struct mode_plan got = mode_at(cases[i].on, &plan, cases[i].now);

        if (got.mode != cases[i].expected.mode || got.then != cases[i].expected.then ||
            got.until != cases[i].expected.until)
            fail_msg("case %zu: %d then %d at %lld", i, got.mode, got.then, (long long)got.until);
        assert_memory_equal(&plan, &cases[i].plan, sizeof(plan));
        /* What holds at a time holds when asked again at that time. */
        got = mode_at(cases[i].on, &got, cases[i].now);
        assert_int_equal(got.mode, cases[i].expected.mode);
        assert_int_equal(got.until, cases[i].expected.until);
    }
}

/* A mode that nobody knows drops, as in the kernel. */
static void test_mode_drops(void **state)
{
    (void)state;
    assert_true(mode_drops(E));
    assert_false(mode_drops(F));
    assert_false(mode_drops(O));
    assert_false(mode_drops(P));
    assert_true(mode_drops((enum sg_mode)4));
    assert_true(mode_drops((enum sg_mode)255));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_at),
        cmocka_unit_test(test_mode_drops),
    };

    return cmocka_run_group_tests_name("mode", tests, NULL, NULL);
}
