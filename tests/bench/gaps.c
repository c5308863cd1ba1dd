// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long a CPU does nothing else: a thread of real-time priority on each wakes up every
 * millisecond, and the most that it comes late is the longest that something in the kernel kept the
 * CPU to itself.
 *
 *   gaps         at each line on stdin: one number for each CPU, the most microseconds since the
 *                last line
 *
 * A virtual machine's CPU also stands still when the host has others to serve: compare with a while
 * in which nothing was done.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 1000000
#define SECOND_NS 1000000000
#define CPUS_MAX  256

static uint64_t latest[CPUS_MAX];

static uint64_t late_by(const struct timespec *due)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((now.tv_sec - due->tv_sec) * (int64_t)SECOND_NS + now.tv_nsec -
                      due->tv_nsec) /
           1000;
}

static void *watch(void *most)
{
    struct timespec due;

    clock_gettime(CLOCK_MONOTONIC, &due);
    for (;;) {
        uint64_t late;

        due.tv_nsec += PERIOD_NS;
        if (due.tv_nsec >= SECOND_NS) {
            due.tv_nsec -= SECOND_NS;
            due.tv_sec++;
        }
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL))
            ;
        late = late_by(&due);
        if (late > __atomic_load_n((uint64_t *)most, __ATOMIC_RELAXED))
            __atomic_store_n((uint64_t *)most, late, __ATOMIC_RELAXED);
        if (late > PERIOD_NS / 1000) /* what was missed is told already */
            clock_gettime(CLOCK_MONOTONIC, &due);
    }
    return NULL;
}

static int start(long cpu)
{
    const struct sched_param priority = {.sched_priority = 50};
    pthread_attr_t how;
    pthread_t thread;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    pthread_attr_init(&how);
    pthread_attr_setaffinity_np(&how, sizeof(cpus), &cpus);
    pthread_attr_setinheritsched(&how, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&how, SCHED_FIFO);
    pthread_attr_setschedparam(&how, &priority);
    return pthread_create(&thread, &how, watch, &latest[cpu]);
}

int main(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    char line[16];

    for (long cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++) {
        int r = start(cpu);

        if (r) {
            fprintf(stderr, "gaps: %s\n", strerror(r));
            return 2;
        }
    }
    while (fgets(line, sizeof(line), stdin)) {
        for (long cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++)
            printf("%lu ", __atomic_exchange_n(&latest[cpu], 0, __ATOMIC_RELAXED));
        puts("");
        fflush(stdout);
    }
    return 0;
}
