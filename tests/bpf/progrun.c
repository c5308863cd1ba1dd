// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the XDP program on packets given by hand, without any interface, and tells what came out
 * and which counters moved. For tests: commands on stdin, one line of answer each on stdout.
 *
 * It must know nothing of packets. Its maps are its own, fresh, never pinned, so that the program
 * is tested and not the code that fills its maps; only the cells of the summary are marked as user/
 * marks them.
 *
 *   progrun [frags] [tries] [stats]
 *                                frags: multi-buffer, as the loader does from 5.18 on; tries:
 * without the summary in front of them; stats: what the verifier says of the program, on stderr
 *
 *   mode N [NEXT MS]             the mode, and which one follows when
 *   abi N                        who filled the settings; 1 from the start
 *   port P SLOT|off              guard a port
 *   allow ADDRESS/LEN [MS]       into the trie, as it is; with an end
 *   until ADDRESS/LEN MS         sets an end by sg_set_until: PASS|DROP
 *                                (MS: from now, may be negative; 0 never)
 *   clear                        empty both tries
 *   quietly ADDRESS/LEN          takes it out of the trie, and tells the program nothing
 *   entry ADDRESS/LEN            seen=NS connections=N
 *   raw ADDRESS/LEN N            into the trie with that word as its end
 *   run HEX                      PASS|DROP, then each reason cell that moved as
 *                                REASON/VERDICT/FAMILY=PACKETS/BYTES and each port cell as
 *                                port SLOT/VERDICT/FAMILY=PACKETS/BYTES/ATTEMPTS
 *   batch N                      N frames follow, as bytes, each with its length in front (__u32);
 *                                answers with a struct batch_answer for each
 *   flood N AT LEN HEX           the frame N times, each with other bytes (LEN of them) at AT
 *   total                        sum of packets over all reason cells
 *   sources                      "N rows, M packets"
 *   source ADDRESS PORT          packets=N attempts=N verdict=V first=NS last=NS, or "none"
 *   untracked                    pass=N drop=N would_drop=N
 *   forget                       empty the table of sources and all that limits it
 *   fill N                       N rows of sources, put there by hand
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf.h>

#include "blocks.h"
#include "smtpgate_abi.h"
#include "smtpgate.skel.h"

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

#define FRAME_MAX (1 << 17)

static const char *const reason_names[] = {
#define X(name, class, text) #name,
    SG_REASONS(X)
#undef X
};
static const char *const verdict_names[SG_VERDICT_COUNT] = {"pass", "drop", "would_drop"};
static const char *const family_names[SG_FAMILY_COUNT] = {"none", "ip4", "ip6"};

static struct smtpgate_bpf *skel;
static struct sg_config *settings;
static union {
    struct sg_blocks_head head;
    __u8 bits[BLOCKS_BYTES];
} * blocks;
static struct sg_counters *per_cpu;
static int cpus;

static void fail(const char *what)
{
    fprintf(stderr, "progrun: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static void load(bool frags, bool stats)
{
    static char log[1 << 16];
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    setrlimit(RLIMIT_MEMLOCK, &unlimited); /* for kernels before 5.11; else not needed */
    libbpf_set_print(quiet);
    skel = smtpgate_bpf__open();
    if (!skel)
        fail("open");
    if (stats) {
        bpf_program__set_log_buf(skel->progs.smtpgate, log, sizeof(log));
        bpf_program__set_log_level(skel->progs.smtpgate, 4);
    }
    if (frags) {
        skel->rodata->sg_frags = true;
        if (bpf_program__set_flags(skel->progs.smtpgate, BPF_F_XDP_HAS_FRAGS))
            fail("flags");
    }
    if (smtpgate_bpf__load(skel))
        fail("load");
    if (stats)
        fprintf(stderr, "%s", log);
    settings = mmap(NULL, sizeof(*settings), PROT_READ | PROT_WRITE, MAP_SHARED,
                    bpf_map__fd(skel->maps.config), 0);
    blocks = mmap(NULL, BLOCKS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                  bpf_map__fd(skel->maps.blocks), 0);
    if (settings == MAP_FAILED || blocks == MAP_FAILED)
        fail("mmap");
    blocks->head.seed = 0x5eed5eed5eed5eedULL;
    cpus = libbpf_num_possible_cpus();
    if (cpus < 1)
        fail("number of CPUs");
    per_cpu = calloc((size_t)cpus, sizeof(*per_cpu));
    if (!per_cpu)
        fail("memory");
    settings->abi = SG_ABI;
}

/* All cells are __u64, so the sum over the CPUs needs no names. */
static void read_counters(struct sg_counters *sum)
{
    const __u32 zero = 0;

    memset(sum, 0, sizeof(*sum));
    if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.count), &zero, per_cpu))
        fail("read of count");
    for (int cpu = 0; cpu < cpus; cpu++)
        for (size_t i = 0; i < sizeof(*sum) / sizeof(__u64); i++)
            ((__u64 *)sum)[i] += ((const __u64 *)&per_cpu[cpu])[i];
}

static void print_port_cells(const struct sg_counters *old, const struct sg_counters *now)
{
    for (int slot = 0; slot < SG_PORT_SLOTS; slot++)
        for (int verdict = 0; verdict < SG_VERDICT_COUNT; verdict++)
            for (int family = 0; family < SG_FAMILY_COUNT; family++) {
                const struct sg_port_cell *a = &old->port[slot][verdict][family];
                const struct sg_port_cell *b = &now->port[slot][verdict][family];

                if (memcmp(a, b, sizeof(*a)))
                    printf(" port %d/%s/%s=%llu/%llu/%llu", slot, verdict_names[verdict],
                           family_names[family], b->packets - a->packets, b->bytes - a->bytes,
                           b->attempts - a->attempts);
            }
}

static void print_reason_cells(const struct sg_counters *old, const struct sg_counters *now)
{
    for (int reason = 0; reason < SG_REASON_SLOTS; reason++)
        for (int verdict = 0; verdict < SG_VERDICT_COUNT; verdict++)
            for (int family = 0; family < SG_FAMILY_COUNT; family++) {
                const struct sg_cell *a = &old->reason[reason][verdict][family];
                const struct sg_cell *b = &now->reason[reason][verdict][family];

                if (memcmp(a, b, sizeof(*a)))
                    printf(" %s/%s/%s=%llu/%llu",
                           reason < SG_REASON_COUNT ? reason_names[reason] : "?",
                           verdict_names[verdict], family_names[family], b->packets - a->packets,
                           b->bytes - a->bytes);
            }
}

static char *cut_word(char *text)
{
    char *rest = strchr(text, ' ');

    if (rest)
        *rest++ = '\0';
    return rest;
}

/* -1: no digit. */
static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* By hand: sscanf() measures all of the rest for each byte, which takes long in an emulator. */
static size_t from_hex(const char *hex, __u8 *out)
{
    size_t len = 0;

    while (len < FRAME_MAX && digit(hex[0]) >= 0 && digit(hex[1]) >= 0) {
        out[len++] = (__u8)(digit(hex[0]) << 4 | digit(hex[1]));
        hex += 2;
    }
    return len;
}

static void cmd_run(char *hex)
{
    static struct sg_counters old, now;
    static __u8 frame[FRAME_MAX];
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .repeat = 1);
    int error;

    opts.data_size_in = (__u32)from_hex(hex, frame);
    read_counters(&old);
    error = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.smtpgate), &opts);
    if (error) {
        printf("error %s\n", strerror(-error));
        return;
    }
    read_counters(&now);
    if (opts.retval == XDP_PASS || opts.retval == XDP_DROP)
        printf("%s", opts.retval == XDP_PASS ? "PASS" : "DROP");
    else
        printf("RETVAL %u", opts.retval);
    print_reason_cells(&old, &now);
    print_port_cells(&old, &now);
    printf("\n");
}

/* As in Python's "8B": what came of one frame of a batch. */
struct batch_answer {
    __u8 retval;
    __u8 reasons; /* reason cells that moved by one packet of this frame's bytes: must be 1 */
    __u8 reason;
    __u8 verdict;
    __u8 family;
    __u8 slots; /* port cells that moved so: 0 or 1, and they agree with the reason cell */
    __u8 slot;
    __u8 attempts;
};

/* Any other move than by one packet of so many bytes makes the number of moves wrong. */
static __u8 moved(const __u64 *old, const __u64 *now, __u64 bytes)
{
    if (old[0] == now[0] && old[1] == now[1])
        return 0;
    return now[0] == old[0] + 1 && now[1] == old[1] + bytes ? 1 : 100;
}

static void compare_cells(const struct sg_counters *old, const struct sg_counters *now, __u64 bytes,
                          int verdict, int family, struct batch_answer *answer)
{
    for (int reason = 0; reason < SG_REASON_SLOTS; reason++) {
        const __u8 moves = moved(&old->reason[reason][verdict][family].packets,
                                 &now->reason[reason][verdict][family].packets, bytes);

        if (!moves)
            continue;
        answer->reasons += moves;
        answer->reason = (__u8)reason;
        answer->verdict = (__u8)verdict;
        answer->family = (__u8)family;
    }
    for (int slot = 0; slot < SG_PORT_SLOTS; slot++) {
        const struct sg_port_cell *a = &old->port[slot][verdict][family];
        const struct sg_port_cell *b = &now->port[slot][verdict][family];
        const __u8 moves = moved(&a->packets, &b->packets, bytes);

        if (!moves && a->attempts == b->attempts)
            continue;
        answer->slots +=
            moves && answer->reasons == 1 && answer->verdict == verdict && answer->family == family
                ? moves
                : 100;
        answer->slot = (__u8)slot;
        answer->attempts += (__u8)(b->attempts - a->attempts);
    }
}

static struct batch_answer run_one(const __u8 *frame, __u32 len, const struct sg_counters *old,
                                   struct sg_counters *now)
{
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .repeat = 1);
    struct batch_answer answer = {0};

    if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.smtpgate), &opts))
        fail("run");
    read_counters(now);
    answer.retval = (__u8)opts.retval;
    for (int verdict = 0; verdict < SG_VERDICT_COUNT; verdict++)
        for (int family = 0; family < SG_FAMILY_COUNT; family++)
            compare_cells(old, now, len, verdict, family, &answer);
    return answer;
}

static void cmd_batch(char *text)
{
    static struct sg_counters counters[2];
    static __u8 frame[FRAME_MAX];
    size_t count = strtoul(text, NULL, 10);
    struct batch_answer *answers = calloc(count ? count : 1, sizeof(*answers));
    __u32 len;

    if (!answers)
        fail("memory");
    read_counters(&counters[0]);
    for (size_t i = 0; i < count; i++) {
        if (fread(&len, sizeof(len), 1, stdin) != 1 || len > sizeof(frame) ||
            fread(frame, 1, len, stdin) != len)
            fail("batch");
        answers[i] = run_one(frame, len, &counters[i % 2], &counters[(i + 1) % 2]);
    }
    fwrite(answers, sizeof(*answers), count, stdout);
    free(answers);
}

/* xorshift64: the same numbers each time. */
static __u64 next_number(void)
{
    static __u64 state = 88172645463325252ULL;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void cmd_flood(char *text)
{
    static __u8 frame[FRAME_MAX];
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .repeat = 1);
    unsigned int number, at, len;
    int start;

    if (sscanf(text, "%u %u %u %n", &number, &at, &len, &start) != 3) {
        printf("error no flood\n");
        return;
    }
    opts.data_size_in = (__u32)from_hex(text + start, frame);
    if (at + len > opts.data_size_in) {
        printf("error beyond the frame\n");
        return;
    }
    while (number-- > 0) {
        for (unsigned int i = 0; i < len; i++)
            frame[at + i] = (__u8)(next_number() >> 32);
        if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.smtpgate), &opts))
            fail("run");
    }
    printf("ok\n");
}

static void cmd_sources(void)
{
    unsigned long long rows = 0, packets = 0;
    struct sg_source_key key, next;
    struct sg_source value;
    int fd = bpf_map__fd(skel->maps.sources);

    for (bool first = true; !bpf_map_get_next_key(fd, first ? NULL : &key, &next); first = false) {
        if (bpf_map_lookup_elem(fd, &next, &value))
            fail("read of sources");
        rows++;
        packets += value.packets;
        key = next;
    }
    printf("%llu rows, %llu packets\n", rows, packets);
}

static void cmd_source(char *text)
{
    struct sg_source_key key = {.family = SG_FAMILY_IP4};
    char *port = cut_word(text);
    struct sg_source value;

    if (inet_pton(AF_INET, text, key.addr) != 1)
        key.family = SG_FAMILY_IP6;
    if (!port || (key.family == SG_FAMILY_IP6 && inet_pton(AF_INET6, text, key.addr) != 1)) {
        printf("error no address and port\n");
        return;
    }
    key.port = (__u16)strtoul(port, NULL, 10);
    if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.sources), &key, &value))
        printf("none\n");
    else
        printf("packets=%llu attempts=%llu verdict=%s first=%llu last=%llu\n", value.packets,
               value.attempts,
               value.verdict < SG_VERDICT_COUNT ? verdict_names[value.verdict] : "?",
               value.first_seen, value.last_seen);
}

static void cmd_untracked(void)
{
    const __u32 zero = 0;
    struct sg_budget *budgets = calloc((size_t)cpus, sizeof(*budgets));
    __u64 sum[SG_VERDICT_COUNT] = {0};

    if (!budgets || bpf_map_lookup_elem(bpf_map__fd(skel->maps.budget), &zero, budgets))
        fail("read of budget");
    for (int cpu = 0; cpu < cpus; cpu++)
        for (int verdict = 0; verdict < SG_VERDICT_COUNT; verdict++)
            sum[verdict] += budgets[cpu].untracked[verdict];
    free(budgets);
    for (int verdict = 0; verdict < SG_VERDICT_COUNT; verdict++)
        printf("%s%s=%llu", verdict ? " " : "", verdict_names[verdict], sum[verdict]);
    printf("\n");
}

static void cmd_forget(void)
{
    const __u32 zero = 0;
    struct sg_budget *budgets = calloc((size_t)cpus, sizeof(*budgets));
    struct sg_newcomers *nobody = calloc(1, sizeof(*nobody));
    struct sg_source_key key, next;
    int fd = bpf_map__fd(skel->maps.sources);
    bool more;

    if (!budgets || !nobody ||
        bpf_map_update_elem(bpf_map__fd(skel->maps.budget), &zero, budgets, BPF_ANY) ||
        bpf_map_update_elem(bpf_map__fd(skel->maps.newcomers), &zero, nobody, BPF_ANY))
        fail("forget");
    more = !bpf_map_get_next_key(fd, NULL, &key);
    while (more) {
        more = !bpf_map_get_next_key(fd, &key, &next);
        if (bpf_map_delete_elem(fd, &key))
            fail("forget");
        key = next;
    }
    free(budgets);
    free(nobody);
    printf("ok\n");
}

static void cmd_fill(char *text)
{
    const struct sg_source value = {.first_seen = 1, .last_seen = 1, .packets = 1};
    __u32 number = (__u32)strtoul(text, NULL, 10);

    for (__u32 i = 0; i < number; i++) {
        struct sg_source_key key = {.family = SG_FAMILY_IP6, .port = 25};

        memcpy(key.addr, &i, sizeof(i));
        if (bpf_map_update_elem(bpf_map__fd(skel->maps.sources), &key, &value, BPF_ANY))
            fail("fill");
    }
    printf("ok\n");
}

static void cmd_total(void)
{
    static struct sg_counters now;
    __u64 packets = 0;

    read_counters(&now);
    for (int reason = 0; reason < SG_REASON_SLOTS; reason++)
        for (int verdict = 0; verdict < SG_VERDICT_COUNT; verdict++)
            for (int family = 0; family < SG_FAMILY_COUNT; family++)
                packets += now.reason[reason][verdict][family].packets;
    printf("%llu\n", packets);
}

/* Either trie's key, and the map's descriptor; -1 for what is no ADDRESS/LEN. */
static int parse_prefix(char *text, struct sg_key6 *key)
{
    char *slash = strchr(text, '/');

    if (!slash)
        return -1;
    *slash = '\0';
    memset(key, 0, sizeof(*key));
    key->prefixlen = (__u32)strtoul(slash + 1, NULL, 10);
    if (inet_pton(AF_INET, text, key->addr) == 1)
        return bpf_map__fd(skel->maps.allow4);
    if (inet_pton(AF_INET6, text, key->addr) == 1)
        return bpf_map__fd(skel->maps.allow6);
    return -1;
}

/* A moment so many ms from now, of CLOCK_BOOTTIME; 0 never. */
static __u64 moment(const char *text)
{
    long long ms = text ? strtoll(text, NULL, 10) : 0;
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return ms ? (__u64)(now.tv_sec * 1000LL + now.tv_nsec / 1000000 + ms) : 0;
}

/* As the gate does before a prefix goes into a trie. */
static void mark(int map, const struct sg_key6 *key)
{
    struct prefix prefix = {.len = (uint8_t)key->prefixlen};

    if (!blocks->head.filled)
        return;
    prefix.addr.family = map == bpf_map__fd(skel->maps.allow4) ? ADDR_IP4 : ADDR_IP6;
    memcpy(prefix.addr.bytes, key->addr, sizeof(prefix.addr.bytes));
    blocks_mark(blocks->bits, blocks->head.seed, &prefix);
}

static void put(char *text, bool raw)
{
    char *rest = cut_word(text);
    struct sg_allow value = {0};
    struct sg_key6 key;
    int map = parse_prefix(text, &key);

    if (map >= 0)
        mark(map, &key);
    blocks->head.generation++; /* it may replace one that ends later */
    value.until =
        raw ? strtoull(rest, NULL, 0) : moment(rest) << SG_UNTIL_DEADLINE_SHIFT | key.prefixlen;
    if (map < 0 || bpf_map_update_elem(map, &key, &value, BPF_ANY))
        printf("error %s\n", map < 0 ? "no prefix" : strerror(errno));
    else
        printf("ok\n");
}

static void cmd_until(char *text)
{
    char *rest = cut_word(text);
    struct sg_set_until wish = {0};
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &wish, .data_size_in = sizeof(wish));
    struct sg_key6 key;
    int map = parse_prefix(text, &key), error;

    wish.family = map == bpf_map__fd(skel->maps.allow4) ? SG_FAMILY_IP4 : SG_FAMILY_IP6;
    wish.until = moment(rest) << SG_UNTIL_DEADLINE_SHIFT | key.prefixlen;
    memcpy(wish.addr, key.addr, sizeof(wish.addr));
    error = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.sg_set_until), &opts);
    blocks->head.generation++;
    if (map < 0 || error)
        printf("error %s\n", map < 0 ? "no prefix" : strerror(-error));
    else
        printf("%s\n", opts.retval == XDP_PASS ? "PASS" : "DROP");
}

static void cmd_mode(char *text)
{
    char *next = cut_word(text), *when = next ? cut_word(next) : NULL;

    settings->mode = strtoull(text, NULL, 0) |
                     (next ? strtoull(next, NULL, 0) << SG_MODE_NEXT_SHIFT : 0) |
                     moment(when) << SG_MODE_DEADLINE_SHIFT;
    printf("ok\n");
}

static void cmd_entry(char *text)
{
    struct sg_allow value;
    struct sg_key6 key;
    int map = parse_prefix(text, &key);

    if (map < 0 || bpf_map_lookup_elem(map, &key, &value))
        printf("error %s\n", map < 0 ? "no prefix" : strerror(errno));
    else
        printf("seen=%llu connections=%llu\n", value.last_seen, value.connections);
}

static void cmd_quietly(char *text)
{
    struct sg_key6 key;
    int map = parse_prefix(text, &key);

    if (map < 0 || bpf_map_delete_elem(map, &key))
        printf("error %s\n", map < 0 ? "no prefix" : strerror(errno));
    else
        printf("ok\n");
}

static void cmd_clear(void)
{
    const int maps[] = {bpf_map__fd(skel->maps.allow4), bpf_map__fd(skel->maps.allow6)};
    struct sg_key6 key;

    for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++)
        while (!bpf_map_get_next_key(maps[i], NULL, &key))
            if (bpf_map_delete_elem(maps[i], &key))
                fail("clear");
    blocks->head.generation++;
    memset(blocks->bits + sizeof(blocks->head), 0, BLOCKS_BYTES - sizeof(blocks->head));
    printf("ok\n");
}

static void cmd_port(char *text)
{
    char slot[8];
    unsigned int port;

    if (sscanf(text, "%u %7s", &port, slot) != 2 || port > 65535) {
        printf("error no port\n");
        return;
    }
    settings->ports[port] = (__u8)(strcmp(slot, "off") ? atoi(slot) + 1 : 0);
    printf("ok\n");
}

static void cmd_abi(char *text)
{
    settings->abi = strtoull(text, NULL, 0);
    printf("ok\n");
}

static void cmd_allow(char *text)
{
    put(text, false);
}

static void cmd_raw(char *text)
{
    put(text, true);
}

static void command(char *line)
{
    static const struct {
        const char *name;
        void (*run)(char *text); /* NULL: @alone, what takes nothing */
        void (*alone)(void);
    } commands[] = {
        {"abi", .run = cmd_abi},           {"allow", .run = cmd_allow},
        {"batch", .run = cmd_batch},       {"clear", .alone = cmd_clear},
        {"entry", .run = cmd_entry},       {"fill", .run = cmd_fill},
        {"flood", .run = cmd_flood},       {"forget", .alone = cmd_forget},
        {"mode", .run = cmd_mode},         {"port", .run = cmd_port},
        {"quietly", .run = cmd_quietly},   {"raw", .run = cmd_raw},
        {"run", .run = cmd_run},           {"source", .run = cmd_source},
        {"sources", .alone = cmd_sources}, {"total", .alone = cmd_total},
        {"until", .run = cmd_until},       {"untracked", .alone = cmd_untracked},
    };
    char *rest = line + strcspn(line, " ");
    size_t i;

    if (*rest)
        *rest++ = '\0';
    for (i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (!strcmp(line, commands[i].name))
            break;
    if (i == sizeof(commands) / sizeof(*commands))
        printf("error no such command\n");
    else if (commands[i].run)
        commands[i].run(rest);
    else
        commands[i].alone();
    fflush(stdout);
}

int main(int argc, char **argv)
{
    bool frags = false, stats = false, tries = false;
    char *line = NULL;
    size_t size = 0;

    for (int i = 1; i < argc; i++) {
        frags |= !strcmp(argv[i], "frags");
        stats |= !strcmp(argv[i], "stats");
        tries |= !strcmp(argv[i], "tries");
    }
    load(frags, stats);
    blocks->head.filled = !tries;
    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        command(line);
    }
    free(line);
    free(per_cpu);
    smtpgate_bpf__destroy(skel);
    return 0;
}
