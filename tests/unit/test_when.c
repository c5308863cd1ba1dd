// LINK: when text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Times and durations, against tables written by hand and against the C library's own calendar.
 * Time zones are given as rules (POSIX TZ), so that none needs to be installed.
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
#include <time.h>

#include <cmocka.h>

#include "when.h"

#define BERLIN    "CET-1CEST,M3.5.0,M10.5.0/3"
#define NEW_YORK  "EST5EDT,M3.2.0,M11.1.0"
#define LORD_HOWE "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"

static void set_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

static void refused(int (*parse)(const char *text, int64_t *ret, struct err *e), const char *text,
                    const char *word)
{
    struct err e = {0};
    int64_t value = -7;

    if (parse(text, &value, &e) != -EINVAL)
        fail_msg("\"%s\" is taken", text);
    assert_int_equal(value, -7);
    assert_int_equal(e.code, EXIT_USAGE);
    assert_true(*e.hint);
    if (!strstr(e.message, word) && !strstr(e.hint, word))
        fail_msg("\"%s\": \"%s\", \"%s\" do not say \"%s\"", text, e.message, e.hint, word);
    for (const char *s = e.message; *s; s++)
        assert_true((unsigned char)*s >= 0x20);
    assert_int_equal(parse(text, &value, NULL), -EINVAL);
}

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {
        {"1s", 1},
        {"90s", 90},
        {"15m", 900},
        {"8h", 28800},
        {"7d", 604800},
        {"1m", 60},
        {"3650d", 315360000},
        {"87600h", 315360000},
        {"5256000m", 315360000},
        {"315360000s", 315360000},
        {"100d", 8640000},
    };
    static const char *const bad[][2] = {
        {"", "90s"},
        {"s", "no duration"},
        {"90", "90s, 90m, 90h or 90d"},
        {"0s", "shortest"},
        {"0d", "shortest"},
        {"05m", "leading zero"},
        {"00s", "leading zero"},
        {"-5m", "no duration"},
        {"+5m", "no duration"},
        {" 5m", "no duration"},
        {"5m ", "no duration"},
        {"5 m", "no duration"},
        {"5M", "no duration"},
        {"1h30m", "one number"},
        {"1w", "7d"},
        {"2weeks", "14d"},
        {"2y", "730d"},
        {"5min", "no duration"},
        {"1.5h", "no duration"},
        {"3651d", "longest"},
        {"315360001s", "longest"},
        {"87601h", "longest"},
        {"5256001m", "longest"},
        {"9999999999999999999999d", "longest"},
        {"18446744073709551617s", "longest"},
        {"99999999999999999999w", "no duration"},
        {"1s\n", "no duration"},
        {"\x1b[31m", "\\x1b"},
        {"0", "no duration"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t seconds = 0;

        assert_int_equal(when_parse_duration(good[i].text, &seconds, NULL), 0);
        assert_int_equal(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(when_parse_duration, bad[i][0], bad[i][1]);
}

struct time_case {
    const char *text;
    int64_t seconds;
};

static void test_rfc3339(void **state)
{
    static const struct time_case good[] = {
        {"2026-12-01T18:00:00Z", 1796148000},        {"2026-12-01t18:00:00z", 1796148000},
        {"2026-12-01T19:00:00+01:00", 1796148000},   {"2026-12-01T13:30:00-04:30", 1796148000},
        {"2026-12-01T18:00:00-00:00", 1796148000},   {"2026-12-01T18:00:00.999Z", 1796148000},
        {"2026-12-01T18:00:00.0+00:00", 1796148000}, {"1970-01-01T00:00:01Z", 1},
        {"2000-02-29T00:00:00Z", 951782400},         {"2038-01-19T03:14:08Z", 2147483648},
        {"9999-12-31T23:59:59Z", 253402300799},      {"2024-02-29T12:00:00Z", 1709208000},
        {"9999-12-31T23:59:59+00:01", 253402300739},
    };
    static const char *const bad[][2] = {
        {"", "RFC 3339"},
        {"now", "RFC 3339"},
        {"2026-12-01", "the time and the zone are missing"},
        {"2026-12-01 18:00", "a T stands"},
        {"2026-12-01 18:00:00Z", "a T stands"},
        {"2026-12-01T18:00Z", "seconds are missing"},
        {"2026-12-01T18:00:00", "zone is missing"},
        {"2026-12-01T18:00:00.Z", "RFC 3339"},
        {"2026-12-01T18:00:00+0100", "RFC 3339"},
        {"2026-12-01T18:00:00+01", "RFC 3339"},
        {"2026-12-01T18:00:00+24:00", "RFC 3339"},
        {"2026-12-01T18:00:00+01:60", "RFC 3339"},
        {"2026-12-01T18:00:00Z ", "RFC 3339"},
        {" 2026-12-01T18:00:00Z", "RFC 3339"},
        {"2026-12-01T18:00:00ZZ", "RFC 3339"},
        {"26-12-01T18:00:00Z", "RFC 3339"},
        {"02026-12-01T18:00:00Z", "RFC 3339"},
        {"2026-1-01T18:00:00Z", "RFC 3339"},
        {"2026-12-01T8:00:00Z", "RFC 3339"},
        {"2026/12/01T18:00:00Z", "RFC 3339"},
        {"2026-02-29T00:00:00Z", "2026-02 has 28 days"},
        {"2026-02-30T00:00:00Z", "2026-02 has 28 days"},
        {"2100-02-29T00:00:00Z", "2100-02 has 28 days"},
        {"2026-04-31T00:00:00Z", "2026-04 has 30 days"},
        {"2026-00-01T00:00:00Z", "no month 0"},
        {"2026-13-01T00:00:00Z", "no month 13"},
        {"2026-12-00T00:00:00Z", "has 31 days"},
        {"2026-12-01T24:00:00Z", "next day"},
        {"2026-12-01T25:00:00Z", "hours go to 23"},
        {"2026-12-01T18:60:00Z", "minutes to 59"},
        {"2026-12-31T23:59:60Z", "leap second"},
        {"2026-12-31T23:59:61Z", "seconds go to 59"},
        {"1969-12-31T23:59:59Z", "1970"},
        {"0000-01-01T00:00:00Z", "1970"},
        {"1970-01-01T00:00:00Z", "out of range"},
        {"1970-01-01T00:30:00+01:00", "out of range"},
        {"9999-12-31T23:59:59-00:01", "out of range"},
        {"\x1b]0;x", "\\x1b"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t seconds = 0;

        if (when_parse_rfc3339(good[i].text, &seconds, NULL) || seconds != good[i].seconds)
            fail_msg("%s: %lld", good[i].text, (long long)seconds);
        assert_int_equal(when_parse_time(good[i].text, &seconds, NULL), 0);
        assert_int_equal(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(when_parse_rfc3339, bad[i][0], bad[i][1]);
}

static void expect_time(const char *text, int64_t want)
{
    int64_t seconds = 0;
    struct err e = {0};

    if (when_parse_time(text, &seconds, &e) < 0)
        fail_msg("%s: %s", text, e.message);
    if (seconds != want)
        fail_msg("%s: %lld, not %lld", text, (long long)seconds, (long long)want);
}

static void test_local(void **state)
{
    static const char *const bad[] = {
        "2026-12-01 18:00:00",
        "2026-12-01 18:00Z",
        "2026-12-01 18",
        "2026-12-01 ",
        "2026-12-01T18:00",
        "2026-12-01  18:00",
        "2026-12-01_18:00",
        "18:00",
        "tomorrow",
        "2026-12",
        "20261201",
        "2026-12-01 1800",
        "1796148000",
        "2026-02-30",
        "2026-02-30 10:00",
        "2026-12-01 24:00",
        "1969-12-31",
        "",
    };

    (void)state;
    set_zone("UTC0");
    expect_time("2026-12-01", 1796083200);
    expect_time("2026-12-01 18:00", 1796148000);
    set_zone(BERLIN);
    expect_time("2026-12-01", 1796079600);
    expect_time("2026-12-01 18:00", 1796144400);
    expect_time("2026-07-01 18:00", 1782921600);
    expect_time("2026-12-01T18:00:00Z", 1796148000);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(when_parse_time, bad[i], "no time");
    refused(when_parse_time, "1970-01-01", "out of range");
    set_zone(NEW_YORK);
    expect_time("1970-01-01", 18000);
    refused(when_parse_time, "9999-12-31 23:59", "out of range");
}

static void test_clock_changes(void **state)
{
    (void)state;
    set_zone(BERLIN); /* 2026-03-29 01:00 UTC forward, 2026-10-25 01:00 UTC back */
    expect_time("2026-03-29 01:59", 1774745940);
    refused(when_parse_time, "2026-03-29 02:00", "does not exist");
    refused(when_parse_time, "2026-03-29 02:30", "does not exist");
    refused(when_parse_time, "2026-03-29 02:59", "does not exist");
    expect_time("2026-03-29 03:00", 1774746000);
    expect_time("2026-10-25 01:59", 1792886340);
    expect_time("2026-10-25 02:00", 1792886400); /* the first of two */
    expect_time("2026-10-25 02:59", 1792889940);
    expect_time("2026-10-25 03:00", 1792893600);
    set_zone(LORD_HOWE); /* half an hour */
    refused(when_parse_time, "2026-10-04 02:15", "does not exist");
    expect_time("2026-10-04 02:30", 1791041400);
    set_zone("UTC0");
}

/* Every minute of the days around a change comes back as it was said, if the clock shows it. */
static void test_local_round_trip(void **state)
{
    static const char *const zones[] = {BERLIN, NEW_YORK, LORD_HOWE, "UTC0", "<+14>-14", "<-12>12"};

    (void)state;
    srand(1);
    for (size_t z = 0; z < sizeof(zones) / sizeof(zones[0]); z++) {
        set_zone(zones[z]);
        for (int i = 0; i < 40000; i++) {
            int64_t seconds = 0;
            time_t t = 1767225600 + (time_t)(rand() % (366 * 24 * 60)) * 60, back;
            char text[32], again[32];
            struct tm tm;

            assert_non_null(localtime_r(&t, &tm));
            strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm);
            assert_int_equal(when_parse_time(text, &seconds, NULL), 0);
            back = (time_t)seconds;
            assert_non_null(localtime_r(&back, &tm));
            strftime(again, sizeof(again), "%Y-%m-%d %H:%M", &tm);
            assert_string_equal(text, again);
            assert_true(seconds == t || (seconds < t && t - seconds <= 3600));
        }
    }
    set_zone("UTC0");
}

/* The C library's calendar knows the same days. */
static void test_calendar(void **state)
{
    (void)state;
    for (int64_t day = 1; day <= WHEN_MAX / 86400; day++) {
        time_t t = (time_t)day * 86400 + 86399;
        char text[WHEN_TEXT_MAX], want[WHEN_TEXT_MAX];
        int64_t seconds = 0;
        struct tm tm;

        when_print(t, text);
        assert_int_equal(when_parse_rfc3339(text, &seconds, NULL), 0);
        if (seconds != t)
            fail_msg("%s: %lld, not %lld", text, (long long)seconds, (long long)t);
        assert_non_null(gmtime_r(&t, &tm));
        strftime(want, sizeof(want), "%FT%TZ", &tm);
        assert_string_equal(text, want);
    }
}

static void test_print(void **state)
{
    char buf[WHEN_TEXT_MAX];

    (void)state;
    assert_ptr_equal(when_print(1796148000, buf), buf);
    assert_string_equal(buf, "2026-12-01T18:00:00Z");
    assert_string_equal(when_print(0, buf), "");
    assert_string_equal(when_print(1, buf), "1970-01-01T00:00:01Z");
    assert_string_equal(when_print(WHEN_MAX, buf), "9999-12-31T23:59:59Z");
    assert_string_equal(when_print(INT64_MAX, buf), "");
    assert_string_equal(when_print(INT64_MIN, buf), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_clock_changes),
        cmocka_unit_test(test_local_round_trip),
        cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_print),
    };

    return cmocka_run_group_tests_name("when", tests, NULL, NULL);
}
