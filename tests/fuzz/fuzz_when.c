// LINK: when text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of times and durations, in a zone that puts its clock forward and back. What is accepted
 * is held against the C library's calendar and against what was typed; what is printed is read
 * back.
 */
#include <ctype.h>
#include <stdio.h>
#include <time.h>

#include "fuzz.h"
#include "when.h"

__attribute__((constructor)) static void set_zone(void)
{
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
}

static void check_printed(int64_t seconds)
{
    char text[WHEN_TEXT_MAX];
    int64_t back;

    MUST(seconds >= 1 && seconds <= WHEN_MAX);
    MUST(strlen(when_print(seconds, text)) == strlen("2026-12-01T18:00:00Z"));
    MUST(when_parse_rfc3339(text, &back, NULL) == 0 && back == seconds);
    MUST(when_parse_time(text, &back, NULL) == 0 && back == seconds);
}

/* In its shape, what stands there is what timegm(3) makes of it. */
static void check_rfc3339(const char *text, int64_t seconds)
{
    struct tm tm = {0}, shown;
    int hours = 0, minutes = 0;
    const char *zone = text + strlen("2026-12-01T18:00:00");
    time_t flat;

    MUST(sscanf(text, "%4d-%2d-%2d%*1[Tt]%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                &tm.tm_hour, &tm.tm_min, &tm.tm_sec) == 6);
    tm.tm_year -= 1900;
    tm.tm_mon--;
    shown = tm;
    flat = timegm(&shown);
    MUST(shown.tm_mday == tm.tm_mday && shown.tm_mon == tm.tm_mon && shown.tm_hour == tm.tm_hour);
    MUST(shown.tm_min == tm.tm_min && shown.tm_sec == tm.tm_sec);
    if (*zone == '.')
        zone += 1 + strspn(zone + 1, "0123456789");
    if (toupper(*zone) != 'Z')
        MUST(sscanf(zone + 1, "%2d:%2d", &hours, &minutes) == 2);
    MUST(seconds == flat - (*zone == '-' ? -1 : 1) * (hours * 3600 + minutes * 60));
}

/* A local clock shows what was typed, and showed it at no time before. */
static void check_local(const char *text, int64_t seconds)
{
    char shown[32] = "";
    struct tm tm = {0};
    time_t before = seconds - 3600, t = seconds;

    MUST(localtime_r(&t, &tm) && strftime(shown, sizeof(shown), "%Y-%m-%d %H:%M", &tm));
    MUST(!strncmp(shown, text, strlen(text)) && tm.tm_sec == 0);
    MUST(text[10] || (tm.tm_hour == 0 && tm.tm_min == 0));
    MUST(localtime_r(&before, &tm) && strftime(shown, sizeof(shown), "%Y-%m-%d %H:%M", &tm));
    MUST(!text[10] || strcmp(shown, text) != 0);
}

static void try_time(const char *text)
{
    int64_t strict = 0, seconds = 0;
    struct err e = {0};

    if (when_parse_rfc3339(text, &strict, &e) == 0) {
        check_printed(strict);
        check_rfc3339(text, strict);
        MUST(when_parse_time(text, &seconds, NULL) == 0 && seconds == strict);
        return;
    }
    fuzz_must_explain(&e);
    if (when_parse_time(text, &seconds, &e) == 0) {
        check_printed(seconds);
        check_local(text, seconds);
        return;
    }
    fuzz_must_explain(&e);
}

static void try_duration(const char *text)
{
    int64_t seconds, unit;
    struct err e = {0};
    char back[32], last;

    if (when_parse_duration(text, &seconds, &e) < 0) {
        fuzz_must_explain(&e);
        return;
    }
    MUST(seconds >= 1 && seconds <= WHEN_DURATION_MAX);
    last = text[strlen(text) - 1];
    unit = last == 's' ? 1 : last == 'm' ? 60 : last == 'h' ? 3600 : 86400;
    snprintf(back, sizeof(back), "%lld%c", (long long)(seconds / unit), last);
    MUST(!strcmp(back, text) && seconds % unit == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);

    try_time(text);
    try_duration(text);
    free(text);
    return 0;
}
