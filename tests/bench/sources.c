// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the table of unlisted sources costs a dropped packet, in a flood of forged sources: the same
 * program with the table and without, in turn, by BPF_PROG_TEST_RUN. Numbers, not a test.
 *
 *   sources [ROUNDS]
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flood.skel.h"
#include "smtpgate_abi.h"
#include "smtpgate.skel.h"

#define ROUNDS_MAX 101
#define REPEAT     2000000

enum target {
    WITH,
    WITHOUT,
    NOTHING,
    TARGETS,
};

struct bench {
    struct smtpgate_bpf *gate[2]; /* WITH, WITHOUT */
    struct flood_bpf *flood;
};

static void fail(const char *what)
{
    fprintf(stderr, "sources: %s: %s\n", what, strerror(errno));
    exit(2);
}

static struct smtpgate_bpf *load_gate(bool sources)
{
    struct smtpgate_bpf *gate = smtpgate_bpf__open();
    static struct sg_config settings = {.abi = SG_ABI, .mode = SG_MODE_ENFORCE};
    const __u32 zero = 0;

    if (!gate)
        fail("open");
    gate->rodata->sg_sources = sources;
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
    for (key = WITH; key <= WITHOUT; key++)
        bench->gate[key] = load_gate(key == WITH);
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
        for (int gate = WITH; gate <= WITHOUT; gate++)
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
        fprintf(stderr, "sources: verdict %u\n", opts.retval);
        exit(2);
    }
    return opts.duration;
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int median(int *numbers, unsigned int count)
{
    qsort(numbers, count, sizeof(*numbers), compare);
    return numbers[count / 2];
}

static void measure(const struct bench *bench, const char *name, unsigned int pool,
                    unsigned int rounds)
{
    int ns[TARGETS][ROUNDS_MAX], cost[ROUNDS_MAX], base;
    unsigned int round;

    bench->flood->bss->pool = pool;
    run_once(bench, WITH, 4 * REPEAT); /* the table is full, and so are its limits */
    for (round = 0; round < rounds; round++) {
        for (int target = 0; target < TARGETS; target++)
            ns[target][round] = (int)run_once(bench, (enum target)target, REPEAT);
        cost[round] = ns[WITH][round] - ns[WITHOUT][round];
    }
    base = median(ns[NOTHING], rounds);
    median(ns[WITHOUT], rounds);
    median(ns[WITH], rounds);
    printf("min: empty %d without %d with %d; p25 %d %d %d\n", ns[NOTHING][0], ns[WITHOUT][0],
           ns[WITH][0], ns[NOTHING][rounds / 4], ns[WITHOUT][rounds / 4], ns[WITH][rounds / 4]);
    printf("%-28s empty %3d  without %4d  with %4d  table %+3d ns (median of %u)  %+5.1f %%  "
           "above the empty program %+5.1f %%\n",
           name, base, median(ns[WITHOUT], rounds), median(ns[WITH], rounds), median(cost, rounds),
           rounds, 100.0 * median(cost, rounds) / median(ns[WITHOUT], rounds),
           100.0 * median(cost, rounds) / (median(ns[WITHOUT], rounds) - base));
}

int main(int argc, char **argv)
{
    unsigned int rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 31;
    const unsigned int lists[] = {10};
    struct bench bench = {0};
    char name[64];

    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: sources [ROUNDS]\n");
        return 2;
    }
    load(&bench);
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        fill(&bench, lists[i]);
        snprintf(name, sizeof(name), "%u prefixes, any source", lists[i]);
        measure(&bench, name, 0, rounds);
        snprintf(name, sizeof(name), "%u prefixes, a million", lists[i]);
        measure(&bench, name, 1000000, rounds);
        snprintf(name, sizeof(name), "%u prefixes, one source", lists[i]);
        measure(&bench, name, 1, rounds);
    }
    return 0;
}
