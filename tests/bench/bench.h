/* SPDX-License-Identifier: GPL-2.0-only */
/* What the benches in C have in common: they fail at once, and run alone on their CPU. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void fail(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* So that what else runs on the machine is no part of the numbers. */
static inline void take_cpu(long cpu)
{
    const struct sched_param priority = {.sched_priority = 1};
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) || sched_setscheduler(0, SCHED_FIFO, &priority))
        fail("CPU");
}

#endif
