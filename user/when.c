/* SPDX-License-Identifier: GPL-2.0-only */
/* See when.h. Pure, but that localtime_r() knows the time zone. */
#include "when.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text.h"

#define MINUTE INT64_C(60)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define SHOWN_MAX 80

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- durations ---- */

static int64_t unit_seconds(char unit)
{
    switch (unit) {
    case 's':
        return 1;
    case 'm':
        return MINUTE;
    case 'h':
        return HOUR;
    case 'd':
        return DAY;
    default:
        return 0;
    }
}

__attribute__((format(printf, 4, 5))) static int refuse(const char *text, const char *hint,
                                                        struct err *e, const char *fmt, ...)
{
    char why[160], shown[SHOWN_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    err_set(e, 0, EXIT_USAGE, "\"%s\" %s", text_escape(text, shown, sizeof(shown)), why);
    err_hint(e, "%s", hint);
    return -EINVAL;
}

/* Units that other programs know, and what to write here. */
static int refuse_unit(const char *text, int64_t number, const char *unit, struct err *e)
{
    char hint[160];

    if (!*unit && number < 10000)
        snprintf(hint, sizeof(hint),
                 "seconds, minutes, hours or days? %llds, %lldm, %lldh or %lldd", (long long)number,
                 (long long)number, (long long)number, (long long)number);
    else if (*unit == 'w' && number <= 3650 / 7)
        snprintf(hint, sizeof(hint), "a week is 7d: write %lldd", (long long)number * 7);
    else if (*unit == 'y' && number <= 3650 / 365)
        snprintf(hint, sizeof(hint), "a year is 365d: write %lldd", (long long)number * 365);
    else
        snprintf(hint, sizeof(hint), "one number and one unit: 90s, 15m, 8h or 7d");
    return refuse(text, hint, e, "is no duration: behind the number stands s, m, h or d");
}

int when_parse_duration(const char *text, int64_t *ret_seconds, struct err *e)
{
    static const char usual[] = "one number and one unit: 90s, 15m, 8h or 7d";
    const char *s = text;
    int64_t number = 0, unit;

    if (!is_digit(*s))
        return refuse(text, usual, e, "is no duration");
    if (*s == '0' && is_digit(s[1]))
        return refuse(text, usual, e, "is no duration: a leading zero");
    /* What is larger than the most seconds is too long in any unit. */
    for (; is_digit(*s); s++)
        if (number <= WHEN_DURATION_MAX)
            number = number * 10 + (*s - '0');
    unit = unit_seconds(*s);
    if (unit && is_digit(s[1]))
        return refuse(text, "one number and one unit: 90m for an hour and a half", e,
                      "is no duration: a second number");
    if (!unit || s[1])
        return refuse_unit(text, number, s, e);
    if (number == 0)
        return refuse(text, "the shortest is 1s", e, "is no time at all");
    if (number > WHEN_DURATION_MAX / unit)
        return refuse(text, "the longest is 3650d", e, "is too long");
    *ret_seconds = number * unit;
    return 0;
}

/* ---- times ---- */

/* What was typed, before the calendar has seen it. */
struct stamp {
    int year, month, day, hour, minute, second;
    bool has_second, has_zone;
    char separator; /* between date and time; '\0' a date alone */
    int64_t offset; /* of the zone, seconds east of UTC */
};

/* @count digits at @s. */
static bool take_number(const char **s, int count, int *ret_number)
{
    int number = 0;

    for (int i = 0; i < count; i++, (*s)++) {
        if (!is_digit(**s))
            return false;
        number = number * 10 + (**s - '0');
    }
    *ret_number = number;
    return true;
}

static bool take_char(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static bool take_fraction(const char **s)
{
    if (!take_char(s, '.'))
        return true;
    if (!is_digit(**s))
        return false;
    while (is_digit(**s))
        (*s)++;
    return true;
}

static bool take_zone(const char **s, struct stamp *stamp)
{
    int hours, minutes;
    char sign = **s;

    stamp->has_zone = true;
    if (take_char(s, 'Z') || take_char(s, 'z'))
        return true;
    if (sign != '+' && sign != '-')
        return false;
    (*s)++;
    if (!take_number(s, 2, &hours) || !take_char(s, ':') || !take_number(s, 2, &minutes))
        return false;
    stamp->offset = hours * HOUR + minutes * MINUTE;
    if (sign == '-')
        stamp->offset = -stamp->offset;
    return hours <= 23 && minutes <= 59;
}

/* Anything from a date alone to a time with seconds and zone: the shape only. */
static bool take_stamp(const char *s, struct stamp *ret_stamp)
{
    struct stamp stamp = {0};

    if (!take_number(&s, 4, &stamp.year) || !take_char(&s, '-') ||
        !take_number(&s, 2, &stamp.month) || !take_char(&s, '-') || !take_number(&s, 2, &stamp.day))
        return false;
    if (*s) {
        stamp.separator = *s++;
        if (stamp.separator != ' ' && stamp.separator != 'T' && stamp.separator != 't')
            return false;
        if (!take_number(&s, 2, &stamp.hour) || !take_char(&s, ':') ||
            !take_number(&s, 2, &stamp.minute))
            return false;
        stamp.has_second = take_char(&s, ':');
        if (stamp.has_second && (!take_number(&s, 2, &stamp.second) || !take_fraction(&s)))
            return false;
        if (*s && (!take_zone(&s, &stamp) || *s))
            return false;
    }
    *ret_stamp = stamp;
    return true;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static int check_calendar(const char *text, const struct stamp *stamp, struct err *e)
{
    static const char hint[] = "as in 2026-12-01T18:00:00Z";

    if (stamp->year < 1970)
        return refuse(text, "years go from 1970 to 9999", e, "is no time: the year %d",
                      stamp->year);
    if (stamp->month < 1 || stamp->month > 12)
        return refuse(text, "a date is written YEAR-MONTH-DAY: 2026-12-01", e,
                      "is no time: there is no month %d", stamp->month);
    if (stamp->day < 1 || stamp->day > days_in(stamp->year, stamp->month))
        return refuse(text, "a date is written YEAR-MONTH-DAY: 2026-12-01", e,
                      "is no time: %d-%02d has %d days", stamp->year, stamp->month,
                      days_in(stamp->year, stamp->month));
    if (stamp->hour == 24)
        return refuse(text, "midnight is 00:00 of the next day", e,
                      "is no time: there is no hour"
                      " 24");
    if (stamp->hour > 23 || stamp->minute > 59)
        return refuse(text, hint, e, "is no time: hours go to 23 and minutes to 59");
    if (stamp->second == 60)
        return refuse(text, "write 59, or the minute that follows", e,
                      "is no time: leap seconds are not known here");
    if (stamp->second > 60)
        return refuse(text, hint, e, "is no time: seconds go to 59");
    return 0;
}

/* Days since 1970-01-01 of the civil calendar. */
static int64_t days_before(const struct stamp *stamp)
{
    int64_t years = stamp->year - 1, days;

    days = years * 365 + years / 4 - years / 100 + years / 400 - 719162;
    for (int month = 1; month < stamp->month; month++)
        days += days_in(stamp->year, month);
    return days + stamp->day - 1;
}

/* As if it had been said in UTC. */
static int64_t flat_seconds(const struct stamp *stamp)
{
    return days_before(stamp) * DAY + stamp->hour * HOUR + stamp->minute * MINUTE + stamp->second;
}

static int in_range(const char *text, int64_t seconds, int64_t *ret_unix, struct err *e)
{
    if (seconds < 1 || seconds > WHEN_MAX)
        return refuse(text, "times go from 1970 to the end of 9999, in UTC", e, "is out of range");
    *ret_unix = seconds;
    return 0;
}

static bool offset_at(int64_t seconds, int64_t *ret_offset)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    if (!localtime_r(&t, &tm))
        return false;
    *ret_offset = tm.tm_gmtoff;
    return true;
}

/* Does a local clock show @flat at @seconds? */
static bool shows(int64_t seconds, int64_t flat)
{
    int64_t offset;

    return offset_at(seconds, &offset) && seconds + offset == flat;
}

/*
 * Not mktime(3): for a time that the clock shows twice or never, that answers what it likes. The
 * clock is off UTC as it is off a good day before or after.
 */
static int from_local(const char *text, const struct stamp *stamp, int64_t *ret_unix, struct err *e)
{
    int64_t flat = flat_seconds(stamp), offset = 0, best = 0;
    const int64_t around[] = {flat - 36 * HOUR, flat + 36 * HOUR};
    bool found = false;

    for (int i = 0; i < 2; i++) {
        if (!offset_at(around[i], &offset) || !shows(flat - offset, flat))
            continue;
        if (!found || flat - offset < best)
            best = flat - offset;
        found = true;
    }
    if (!found)
        return refuse(text, "an hour later or earlier, or with a zone: 2026-12-01T18:00:00Z", e,
                      "does not exist in local time: the clock is put forward there");
    return in_range(text, best, ret_unix, e);
}

static const char shapes[] =
    "2026-12-01T18:00:00Z, or in local time \"2026-12-01 18:00\" or 2026-12-01";

int when_parse_rfc3339(const char *text, int64_t *ret_unix, struct err *e)
{
    static const char shape[] = "date, T, time and zone: 2026-12-01T18:00:00Z";
    struct stamp stamp;
    int r;

    if (!take_stamp(text, &stamp))
        return refuse(text, shape, e, "is no time of RFC 3339");
    if (!stamp.has_zone || !stamp.has_second || stamp.separator == ' ')
        return refuse(text, shape, e, "is no time of RFC 3339: %s",
                      !stamp.separator         ? "the time and the zone are missing"
                      : stamp.separator == ' ' ? "a T stands between date and time"
                      : !stamp.has_second      ? "the seconds are missing"
                                               : "the zone is missing");
    r = check_calendar(text, &stamp, e);
    return r == 0 ? in_range(text, flat_seconds(&stamp) - stamp.offset, ret_unix, e) : r;
}

int when_parse_time(const char *text, int64_t *ret_unix, struct err *e)
{
    struct stamp stamp;
    int r;

    if (!take_stamp(text, &stamp))
        return refuse(text, shapes, e, "is no time");
    if (stamp.separator == 'T' || stamp.separator == 't')
        return when_parse_rfc3339(text, ret_unix, e);
    if (stamp.has_zone || stamp.has_second)
        return refuse(text, shapes, e,
                      "is no time: a T stands between a date and a time with"
                      " seconds and zone");
    r = check_calendar(text, &stamp, e);
    return r == 0 ? from_local(text, &stamp, ret_unix, e) : r;
}

const char *when_print(int64_t unix_seconds, char buf[WHEN_TEXT_MAX])
{
    time_t t = (time_t)unix_seconds;
    struct tm tm;

    buf[0] = '\0';
    if (unix_seconds && gmtime_r(&t, &tm))
        strftime(buf, WHEN_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return buf;
}
