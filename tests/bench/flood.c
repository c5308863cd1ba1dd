// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parts of the flood bench that Python is too slow for. flood.py says what they are for.
 *
 *   flood list 4|6 COUNT              prints the list
 *   flood hold limit|plain IFACE 4|6 COUNT   attaches the program, until stdin ends
 *   flood send 4|6 COUNT MAC CPU      does what it is told on stdin, a line each:
 *   (CPU -1: any, and no faster than others let it be)
 *       sources KIND                  "ok"
 *       run IFINDEX MS                sends flat out; "SENT NANOSECONDS"
 *       count IFINDEX N               sends so many frames; "N NANOSECONDS"
 *
 * Frames are made by BPF_PROG_RUN: each is run through the sender's program, which gives it the
 * next source and redirects it to the device.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
#include "plain.skel.h"

#define WARM_UP 20000
/* Few enough for all the pages to stay in the pool's own cache. */
#define BATCH       32
#define DEVICES_MAX 256

static void wait_for_end(void)
{
    char byte;

    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

static void attach(const struct bpf_program *program, const char *iface)
{
    LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = 1U << 2 /* XDP_FLAGS_DRV_MODE */);

    if (bpf_link_create(bpf_program__fd(program), (int)if_nametoindex(iface), BPF_XDP, &opts) < 0)
        fail(iface);
    puts("ok");
    fflush(stdout);
    wait_for_end();
}

static int hold(const char *name, const char *iface, const struct list *list)
{
    if (!strcmp(name, "plain")) {
        struct plain_bpf *plain = plain_bpf__open_and_load();

        if (!plain)
            fail("plain");
        if (plain_fill(plain, list))
            fail("the list");
        attach(plain->progs.plain, iface);
    } else {
        struct flood_bpf *flood = flood_bpf__open_and_load();

        if (!flood)
            fail("limit");
        attach(flood->progs.nothing, iface);
    }
    return 0;
}

struct sender {
    struct flood_bpf *flood;
    const struct list *list;
    void *sources;
    uint8_t frame[FRAME_MAX];
    size_t length;
    uint64_t each[DEVICES_MAX]; /* ns, by device, of the last run */
};

/*
 * The time is what the kernel says: making and freeing the pages, some 20 ms a call, is not in it,
 * nor is what others did while this process did not run.
 */
static uint64_t send_frames(const struct sender *sender, unsigned int device, uint64_t count)
{
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = sender->frame,
                .data_size_in = (__u32)sender->length, .repeat = (int)count,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

    sender->flood->bss->device = device;
    if (bpf_prog_test_run_opts(bpf_program__fd(sender->flood->progs.sender), &opts))
        fail("run");
    return (uint64_t)opts.duration * count;
}

static void set_sources(const struct sender *sender, const char *name)
{
    int kind = 0;

    while (kind < KIND_COUNT && strcmp(kind_names[kind], name) != 0)
        kind++;
    if (kind == KIND_COUNT) {
        errno = EINVAL;
        fail(name);
    }
    sources_make(sender->list, (enum kind)kind, sender->sources);
    puts("ok");
}

static void run(struct sender *sender, unsigned int device, uint64_t ms)
{
    uint64_t *each = &sender->each[device % DEVICES_MAX];
    uint64_t count, took;

    if (!*each)
        *each = send_frames(sender, device, WARM_UP) / WARM_UP + 1;
    count = ms * 1000000U / *each + 1;
    took = send_frames(sender, device, count);
    *each = took / count + 1;
    printf("%lu %lu\n", count, took);
}

static void obey(struct sender *sender, const char *line)
{
    char name[32];
    unsigned long device, number;

    if (sscanf(line, "sources %31s", name) == 1) {
        set_sources(sender, name);
    } else if (sscanf(line, "run %lu %lu", &device, &number) == 2) {
        run(sender, (unsigned int)device, number);
    } else if (sscanf(line, "count %lu %lu", &device, &number) == 2) {
        uint64_t took = send_frames(sender, (unsigned int)device, number);

        printf("%lu %lu\n", number, took);
    } else {
        errno = EINVAL;
        fail(line);
    }
    fflush(stdout);
}

static int serve(const struct list *list, const char *mac, long cpu)
{
    struct sender sender = {.flood = flood_bpf__open_and_load(), .list = list};
    char line[128];

    if (!sender.flood)
        fail("sender");
    sender.length = frame_make(list->ip6, mac, 25, FRAME_SYN, sender.frame);
    if (!sender.length)
        fail(mac);
    sender.flood->bss->ip6 = list->ip6;
    sender.sources = mmap(NULL, SOURCES_MAX * 16UL, PROT_READ | PROT_WRITE, MAP_SHARED,
                          bpf_map__fd(sender.flood->maps.sources), 0);
    if (sender.sources == MAP_FAILED)
        fail("sources");
    sources_make(list, KIND_RANDOM, sender.sources);
    if (cpu >= 0)
        take_cpu(cpu);
    puts("ok");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin))
        obey(&sender, line);
    return 0;
}

int main(int argc, char **argv)
{
    struct list list;

    if (argc == 4 && !strcmp(argv[1], "list")) {
        list_make(*argv[2] == '6', strtoul(argv[3], NULL, 10), &list);
        list_print(&list);
        return 0;
    }
    if (argc == 6 && !strcmp(argv[1], "hold")) {
        list_make(*argv[4] == '6', strtoul(argv[5], NULL, 10), &list);
        return hold(argv[2], argv[3], &list);
    }
    if (argc == 6 && !strcmp(argv[1], "send")) {
        list_make(*argv[2] == '6', strtoul(argv[3], NULL, 10), &list);
        return serve(&list, argv[4], strtol(argv[5], NULL, 10));
    }
    fprintf(stderr, "flood list 4|6 COUNT | hold limit|plain IFACE 4|6 COUNT | "
                    "send 4|6 COUNT MAC CPU\n");
    return 2;
}
