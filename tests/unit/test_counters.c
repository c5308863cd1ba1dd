// LINK: counters
/* SPDX-License-Identifier: GPL-2.0-only */
/* Sums of counters against additions made another way: each cell has a number of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "counters.h"

static struct sg_counters filled;

/* Sums over families tell these apart: each dimension has decimal places of its own. */
static uint64_t cell_value(unsigned int row, unsigned int verdict, unsigned int family)
{
    return (uint64_t)(row + 1) * 100000000 + (verdict + 1) * 1000000ULL + (family + 1) * 10000ULL;
}

static int fill(void **state)
{
    unsigned int row, v, f;

    (void)state;
    for (v = 0; v < SG_VERDICT_COUNT; v++)
        for (f = 0; f < SG_FAMILY_COUNT; f++) {
            for (row = 0; row < SG_REASON_SLOTS; row++)
                filled.reason[row][v][f] =
                    (struct sg_cell){cell_value(row, v, f), cell_value(row, v, f) + 1};
            for (row = 0; row < SG_PORT_SLOTS; row++)
                filled.port[row][v][f] = (struct sg_port_cell){
                    cell_value(row, v, f), cell_value(row, v, f) + 1, cell_value(row, v, f) + 2};
        }
    return 0;
}

/* 1 + 2 + ... + n */
static uint64_t triangle(uint64_t n)
{
    return n * (n + 1) / 2;
}

static void test_reason(void **state)
{
    struct sg_cell sum = counters_sum_reason(&filled, SG_REASON_unlisted, SG_VERDICT_DROP);
    uint64_t families = SG_FAMILY_COUNT;
    uint64_t expected = families * (SG_REASON_unlisted + 1) * 100000000 + families * 2 * 1000000 +
                        triangle(families) * 10000;

    (void)state;
    assert_int_equal(sum.packets, expected);
    assert_int_equal(sum.bytes, expected + families);
}

static void test_family(void **state)
{
    struct sg_cell sum = counters_sum_family(&filled, SG_FAMILY_IP6, SG_VERDICT_WOULD_DROP);
    uint64_t rows = SG_REASON_SLOTS;
    uint64_t expected =
        triangle(rows) * 100000000 + rows * 3 * 1000000 + rows * (SG_FAMILY_IP6 + 1) * 10000;

    (void)state;
    assert_int_equal(sum.packets, expected);
    assert_int_equal(sum.bytes, expected + rows);
}

static void test_verdict(void **state)
{
    struct sg_cell sum = counters_sum_verdict(&filled, SG_VERDICT_PASS);
    uint64_t rows = SG_REASON_SLOTS, families = SG_FAMILY_COUNT;
    uint64_t expected = families * triangle(rows) * 100000000 + rows * families * 1000000 +
                        rows * triangle(families) * 10000;

    (void)state;
    assert_int_equal(sum.packets, expected);
    assert_int_equal(sum.bytes, expected + rows * families);
}

static void test_port(void **state)
{
    struct sg_port_cell sum = counters_sum_port(&filled, SG_PORT_SLOTS - 1, SG_VERDICT_DROP);
    uint64_t families = SG_FAMILY_COUNT;
    uint64_t expected = families * SG_PORT_SLOTS * 100000000ULL + families * 2 * 1000000 +
                        triangle(families) * 10000;

    (void)state;
    assert_int_equal(sum.packets, expected);
    assert_int_equal(sum.bytes, expected + families);
    assert_int_equal(sum.attempts, expected + families * 2);
}

static void test_add(void **state)
{
    static struct sg_counters sum;
    unsigned int v, f;

    (void)state;
    memset(&sum, 0, sizeof(sum));
    counters_add(&sum, &filled);
    counters_add(&sum, &filled);
    for (v = 0; v < SG_VERDICT_COUNT; v++)
        for (f = 0; f < SG_FAMILY_COUNT; f++) {
            assert_int_equal(sum.reason[7][v][f].bytes, 2 * (cell_value(7, v, f) + 1));
            assert_int_equal(sum.port[9][v][f].attempts, 2 * (cell_value(9, v, f) + 2));
        }
}

/* The names are contract. What a packet cannot get is what PACKETS and the classes say. */
static void test_names(void **state)
{
    unsigned int reason, judged = 0;

    (void)state;
    assert_string_equal(counters_verdict_name(SG_VERDICT_PASS), "pass");
    assert_string_equal(counters_verdict_name(SG_VERDICT_DROP), "drop");
    assert_string_equal(counters_verdict_name(SG_VERDICT_WOULD_DROP), "would_drop");
    assert_string_equal(counters_verdict_name(99), "unknown");
    assert_string_equal(counters_family_name(SG_FAMILY_NONE), "none");
    assert_string_equal(counters_family_name(SG_FAMILY_IP4), "ip4");
    assert_string_equal(counters_family_name(SG_FAMILY_IP6), "ip6");
    assert_string_equal(counters_family_name(99), "unknown");
    assert_string_equal(counters_reason_name(SG_REASON_unlisted), "unlisted");
    assert_true(strlen(counters_reason_text(SG_REASON_expired)) > 10);
    for (reason = 0; reason < SG_REASON_COUNT; reason++) {
        assert_true(counters_can_happen(reason, SG_VERDICT_PASS));
        assert_int_equal(counters_can_happen(reason, SG_VERDICT_DROP),
                         counters_can_happen(reason, SG_VERDICT_WOULD_DROP));
        judged += counters_can_happen(reason, SG_VERDICT_DROP);
    }
    assert_false(counters_can_happen(SG_REASON_listed, SG_VERDICT_DROP));
    assert_false(counters_can_happen(SG_REASON_other_port, SG_VERDICT_DROP));
    assert_true(counters_can_happen(SG_REASON_vlan_depth, SG_VERDICT_DROP));
    assert_int_equal(judged, 8); /* unlisted, expired and the six unclear ones */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reason),  cmocka_unit_test(test_family),
        cmocka_unit_test(test_verdict), cmocka_unit_test(test_port),
        cmocka_unit_test(test_add),     cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
