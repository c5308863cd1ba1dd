/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Times and durations as a person types them, and times as a file holds them. Knows the calendar
 * and the host's time zone; must not know what time it is: whether a time has passed is for the
 * caller to judge. Pure.
 *
 * A time is in Unix seconds, above 0 (0 is "never" wherever times are kept) and within WHEN_MAX.
 */
#ifndef SMTPGATE_WHEN_H
#define SMTPGATE_WHEN_H

#include <stdint.h>

#include "err.h"

/* The end of 9999, the last year with four digits. */
#define WHEN_MAX INT64_C(253402300799)

/* The longest duration, in seconds: 3650 days. */
#define WHEN_DURATION_MAX INT64_C(315360000)

#define WHEN_TEXT_MAX 32

/*
 * "90s", "15m", "8h", "7d": one number and one unit, from 1s to 3650d, without sign, space or
 * leading zero. -EINVAL, EXIT_USAGE.
 */
int when_parse_duration(const char *text, int64_t *ret_seconds, struct err *e);

/*
 * RFC 3339: "2026-12-01T18:00:00Z", "2026-12-01T19:00:00+01:00". A fraction of a second is cut off;
 * a leap second is refused. T and Z may be small letters. -EINVAL, EXIT_USAGE.
 */
int when_parse_rfc3339(const char *text, int64_t *ret_unix, struct err *e);

/*
 * RFC 3339, or local time: "2026-12-01 18:00", or "2026-12-01", which is its beginning, 00:00. A
 * local time that the clock skips is refused; of one that it shows twice, the first is meant.
 * -EINVAL, EXIT_USAGE.
 */
int when_parse_time(const char *text, int64_t *ret_unix, struct err *e);

/* RFC 3339 in UTC, "2026-12-01T18:00:00Z"; "" for 0. Returns @buf. */
const char *when_print(int64_t unix_seconds, char buf[WHEN_TEXT_MAX]);

#endif
