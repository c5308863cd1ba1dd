/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A library to preload: for one process the wall clock stands SHIFT_CLOCK seconds off, as if
 * somebody had set it. So that tests need not set the machine's, which all others share. Must know
 * nothing of the program it is loaded into. CLOCK_BOOTTIME and CLOCK_MONOTONIC stay what they are.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Before main: root's programs may forget their environment. */
static time_t seconds;

__attribute__((constructor)) static void read_shift(void)
{
    const char *shift = getenv("SHIFT_CLOCK");

    seconds = shift ? strtol(shift, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock_id, struct timespec *tp)
{
    int r = (int)syscall(SYS_clock_gettime, clock_id, tp);

    if (r == 0 && (clock_id == CLOCK_REALTIME || clock_id == CLOCK_REALTIME_COARSE))
        tp->tv_sec += seconds;
    return r;
}

time_t time(time_t *timer)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_REALTIME, &now);
    if (timer)
        *timer = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    struct timespec now = {0};

    (void)tz;
    clock_gettime(CLOCK_REALTIME, &now);
    *tv = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}
