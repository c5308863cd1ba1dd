// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the table of unlisted sources and the counters cost a dropped packet, in a flood of forged
 * sources: the same program with both, without the table, and with neither (the bare verdict), in
 * turn, by BPF_PROG_TEST_RUN. Numbers, not a test.
 *
 * The empty program drops at once: what it takes is the bench's own (a forged source, a tail call)
 * and stands here for what a driver takes.
 *
 *   verdict [ROUNDS]
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flood.skel.h"
#include "smtpgate_abi.h"
#include "smtpgate.skel.h"

#define ROUNDS_MAX 101
#define SLICE_NS   200000000

enum target {
    ALL,     /* as it is */
    COUNTED, /* without the table of sources */
    BARE,    /* nor counters */
    NOTHING,
    TARGETS,
};

struct bench {
    struct smtpgate_bpf *gate[NOTHING];
    struct flood_bpf *flood;
};

static void fail(const char *what)
{
    fprintf(stderr, "verdict: %s: %s\n", what, strerror(errno));
    exit(2);
}

/*
 * Alone on one CPU, as the kernel is with packets: what may be spent on the table grows with time,
 * also while other programs have the CPU.
 */
static void take_cpu(void)
{
    const struct sched_param priority = {.sched_priority = 1};
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) || sched_setscheduler(0, SCHED_FIFO, &priority))
        fprintf(stderr, "verdict: no CPU for itself: %s\n", strerror(errno));
}

static struct smtpgate_bpf *load_gate(enum target target)
{
    struct smtpgate_bpf *gate = smtpgate_bpf__open();
    static struct sg_config settings = {.abi = SG_ABI, .mode = SG_MODE_ENFORCE};
    const __u32 zero = 0;

    if (!gate)
        fail("open");
    gate->rodata->sg_sources = target == ALL;
    gate->rodata->sg_counting = target != BARE;
    if (smtpgate_bpf__load(gate))
        fail("load");
    settings.ports[25] = 1;
    if (bpf_map_update_elem(bpf_map__fd(gate->maps.config), &zero, &settings, BPF_ANY))
        fail("settings");
    return gate;
}

static void load(struct bench *bench)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    __u32 key;

    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    for (key = ALL; key < NOTHING; key++)
        bench->gate[key] = load_gate((enum target)key);
    bench->flood = flood_bpf__open_and_load();
    if (!bench->flood)
        fail("load of the flood");
    for (key = 0; key < TARGETS; key++) {
        int fd = bpf_program__fd(key == NOTHING ? bench->flood->progs.nothing
                                                : bench->gate[key]->progs.smtpgate);

        if (bpf_map_update_elem(bpf_map__fd(bench->flood->maps.next), &key, &fd, BPF_ANY))
            fail("tail calls");
    }
}

/* Prefixes in which no source of a flood lies more often than by chance. */
static void fill(const struct bench *bench, unsigned int prefixes)
{
    const struct sg_allow value = {0};

    srandom(7);
    while (prefixes-- > 0) {
        struct sg_key4 key = {.prefixlen = 32};

        for (size_t i = 0; i < sizeof(key.addr); i++)
            key.addr[i] = (__u8)(random() >> 8);
        for (int gate = ALL; gate < NOTHING; gate++)
            bpf_map_update_elem(bpf_map__fd(bench->gate[gate]->maps.allow4), &key, &value, BPF_ANY);
    }
}

static unsigned int run_once(const struct bench *bench, enum target target, unsigned int repeat)
{
    static __u8 frame[64] = {[12] = 8, [14] = 0x45, [23] = 6, [37] = 25, [46] = 0x50, [47] = 2};
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
                .repeat = (int)repeat);

    bench->flood->bss->target = target;
    if (bpf_prog_test_run_opts(bpf_program__fd(bench->flood->progs.flood), &opts))
        fail("run");
    if (opts.retval != XDP_DROP) {
        fprintf(stderr, "verdict: verdict %u\n", opts.retval);
        exit(2);
    }
    return opts.duration;
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Sorts @numbers, too: the first is the least. */
static int median(int *numbers, unsigned int count)
{
    qsort(numbers, count, sizeof(*numbers), compare);
    return numbers[count / 2];
}

/* One line: the medians, and what was paid for the table and for counting, in turns side by side.
 */
static void measure(const struct bench *bench, const char *name, unsigned int pool,
                    unsigned int rounds)
{
    int ns[TARGETS][ROUNDS_MAX], middle[TARGETS], table[ROUNDS_MAX], counting[ROUNDS_MAX];
    unsigned int round, repeat;
    int paid;

    bench->flood->bss->pool = pool;
    repeat = SLICE_NS / run_once(bench, COUNTED, 1000000);
    run_once(bench, ALL, 5 * repeat); /* as in the midst of a flood: what is free is used up */
    for (round = 0; round < rounds; round++) {
        for (int target = 0; target < TARGETS; target++)
            ns[target][round] = (int)run_once(bench, (enum target)target, repeat);
        table[round] = ns[ALL][round] - ns[COUNTED][round];
        counting[round] = ns[COUNTED][round] - ns[BARE][round];
    }
    for (int target = 0; target < TARGETS; target++)
        middle[target] = median(ns[target], rounds);
    paid = median(table, rounds);
    printf("| %-34s | %5d | %5d | %5d | %5d | %+4d | %+5d | %+6.1f %% |\n", name, middle[NOTHING],
           middle[BARE], middle[COUNTED], middle[ALL], median(counting, rounds), paid,
           100.0 * paid / middle[COUNTED]);
}

int main(int argc, char **argv)
{
    unsigned int rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 21;
    const unsigned int lists[] = {10, 1000, 100000};
    struct bench bench = {0};
    char name[64];

    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: verdict [ROUNDS]\n");
        return 2;
    }
    take_cpu();
    load(&bench);
    printf("| %-34s | empty | bare | counted | all | counting | table | table |\n"
           "|---|---:|---:|---:|---:|---:|---:|---:|\n",
           "ns a packet");
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        fill(&bench, lists[i]);
        snprintf(name, sizeof(name), "%u prefixes, any source", lists[i]);
        measure(&bench, name, 0, rounds);
        snprintf(name, sizeof(name), "%u prefixes, a million sources", lists[i]);
        measure(&bench, name, 1000000, rounds);
        snprintf(name, sizeof(name), "%u prefixes, one source", lists[i]);
        measure(&bench, name, 1, rounds);
    }
    return 0;
}
