// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a packet costs by where its source lies, by BPF_PROG_TEST_RUN: the gate as it stands in the
 * kernel (by the pin of its link), a program with nothing but a trie, and an empty one that parses
 * nothing. Each packet has the next of a million sources, which costs all three the same.
 *
 *   lookup 4|6 COUNT LINK_PIN CPU ROUNDS     a line for each kind of packet: its name, and of each
 *                                            round the nanoseconds of empty, plain and gate
 */
#include <sys/mman.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "addresses.h"
#include "bench.h"
#include "flood.skel.h"
#include "frames.h"
#include "plain.h"

#define SLICE_NS 40000000
#define TRIAL    100000

enum target {
    EMPTY,
    PLAIN,
    GATE,
    TARGETS,
};

static const struct packet {
    const char *name;
    enum kind sources;
    uint16_t port;
    uint8_t flags;
    uint32_t verdict;
} packets[] = {
    {"unlisted, random", KIND_RANDOM, 25, FRAME_SYN, XDP_DROP},
    {"unlisted, close", KIND_CLOSE, 25, FRAME_SYN, XDP_DROP},
    {"unlisted, neighbour", KIND_NEIGHBOUR, 25, FRAME_SYN, XDP_DROP},
    {"listed, 1000 active, SYN", KIND_ACTIVE, 25, FRAME_SYN, XDP_PASS},
    {"listed, 1000 active, data", KIND_ACTIVE, 25, FRAME_ACK, XDP_PASS},
    {"listed, all, SYN", KIND_LISTED, 25, FRAME_SYN, XDP_PASS},
    {"listed, all, data", KIND_LISTED, 25, FRAME_ACK, XDP_PASS},
    {"another port", KIND_RANDOM, 80, FRAME_ACK, XDP_PASS},
};

struct bench {
    struct flood_bpf *flood;
    struct list list;
    uint8_t (*sources)[16];
    uint8_t frame[FRAME_MAX];
    size_t length;
};

static int program_of(const char *pin)
{
    int link = bpf_obj_get(pin), program;
    struct bpf_link_info info = {0};
    __u32 size = sizeof(info);

    if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &size))
        fail(pin);
    program = bpf_prog_get_fd_by_id(info.prog_id);
    if (program < 0)
        fail(pin);
    return program;
}

static void set_up(struct bench *bench, const char *pin)
{
    struct plain_bpf *plain = plain_bpf__open();
    struct flood_bpf *flood = bench->flood = flood_bpf__open();
    int programs[TARGETS];

    if (!flood || !plain)
        fail("open");
    /* As the gate is: only such a program calls it. */
    bpf_program__set_flags(flood->progs.flood, BPF_F_XDP_HAS_FRAGS);
    bpf_program__set_flags(flood->progs.picked, BPF_F_XDP_HAS_FRAGS);
    bpf_program__set_flags(flood->progs.nothing, BPF_F_XDP_HAS_FRAGS);
    bpf_program__set_flags(plain->progs.plain, BPF_F_XDP_HAS_FRAGS);
    if (flood_bpf__load(flood) || plain_bpf__load(plain) || plain_fill(plain, &bench->list))
        fail("load");
    programs[EMPTY] = bpf_program__fd(bench->flood->progs.nothing);
    programs[PLAIN] = bpf_program__fd(plain->progs.plain);
    programs[GATE] = program_of(pin);
    for (__u32 i = 0; i < TARGETS; i++)
        if (bpf_map_update_elem(bpf_map__fd(bench->flood->maps.next), &i, &programs[i], BPF_ANY))
            fail("tail calls");
    bench->sources = mmap(NULL, SOURCES_MAX * 16UL, PROT_READ | PROT_WRITE, MAP_SHARED,
                          bpf_map__fd(bench->flood->maps.sources), 0);
    if (bench->sources == MAP_FAILED)
        fail("sources");
    bench->flood->bss->ip6 = bench->list.ip6;
}

static unsigned int run(struct bench *bench, enum target target, unsigned int repeat,
                        uint32_t verdict)
{
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bench->frame,
                .data_size_in = (__u32)bench->length, .repeat = (int)repeat);

    bench->flood->bss->target = target;
    if (bpf_prog_test_run_opts(bpf_program__fd(bench->flood->progs.picked), &opts))
        fail("run");
    if (opts.retval != (target == EMPTY ? XDP_DROP : verdict)) {
        fprintf(stderr, "bench: program %d: verdict %u\n", target, opts.retval);
        exit(2);
    }
    return opts.duration;
}

static void measure(struct bench *bench, const struct packet *packet, unsigned int rounds)
{
    unsigned int repeat[TARGETS];

    bench->length =
        frame_make(bench->list.ip6, "2:0:0:0:0:25", packet->port, packet->flags, bench->frame);
    sources_make(&bench->list, packet->sources, bench->sources);
    for (int target = EMPTY; target < TARGETS; target++)
        repeat[target] =
            SLICE_NS / (run(bench, (enum target)target, TRIAL, packet->verdict) + 1) + 1;
    printf("%s:", packet->name);
    while (rounds-- > 0)
        for (int target = EMPTY; target < TARGETS; target++)
            printf(" %u", run(bench, (enum target)target, repeat[target], packet->verdict));
    puts("");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};

    if (argc != 6) {
        fprintf(stderr, "lookup 4|6 COUNT LINK_PIN CPU ROUNDS\n");
        return 2;
    }
    list_make(*argv[1] == '6', strtoul(argv[2], NULL, 10), &bench.list);
    set_up(&bench, argv[3]);
    take_cpu(strtol(argv[4], NULL, 10));
    for (size_t i = 0; i < sizeof(packets) / sizeof(*packets); i++)
        measure(&bench, &packets[i], (unsigned int)strtoul(argv[5], NULL, 10));
    return 0;
}
