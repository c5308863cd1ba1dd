// LINK:
// SPDX-License-Identifier: GPL-2.0-only
/*
 * The limits of the table of unlisted sources, on the host, where the clock is the test's: who is
 * written down in a flood and how soon, how much of it is looked at, how many come in. What is
 * written down of a packet is the business of tests/bpf/test_sources.py, in the kernel.
 *
 * The table is a plain one that forgets nobody, so what it holds is all that ever came in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <linux/types.h>

#define SEC(name)
#define __uint(name, value) int(*(name))[value]
#define __type(name, value) typeof(value) *(name)

static void *lookup(const void *map, const void *key);
static long update(const void *key, const void *value, __u64 flags);
static __u64 boot_ns(void);
static __u64 jiffies(void);

#define bpf_map_lookup_elem(map, key)               lookup((map), (key))
#define bpf_map_update_elem(map, key, value, flags) update((key), (value), (flags))
#define bpf_ktime_get_boot_ns()                     boot_ns()
#define bpf_jiffies64()                             jiffies()

#include "sources.h"

#define SECOND   1000000000ULL
#define CPUS_MAX 4
#define ROWS     (1U << 18)

/* ---- the kernel's half ---- */

static struct {
    __u64 now, hz;
    unsigned int cpu;
    struct sg_budget budgets[CPUS_MAX];
    struct sg_newcomers newcomers;
    struct {
        bool used;
        struct sg_source_key key;
        struct sg_source value;
    } rows[ROWS];
    __u64 touches; /* packets for which more was done than for a drop alone */
    __u64 inserted;
} kernel;

static __u64 boot_ns(void)
{
    return kernel.now;
}

static __u64 jiffies(void)
{
    return 4294937296U + kernel.now / (SECOND / kernel.hz);
}

/* The row of a key, or the free one where it would be. */
static __u32 find_row(const struct sg_source_key *key)
{
    __u32 at = 0;

    for (size_t i = 0; i < sizeof(*key); i++)
        at = at * 16777619U ^ ((const __u8 *)key)[i];
    at = (at ^ at >> 15) % ROWS;
    while (kernel.rows[at].used && memcmp(&kernel.rows[at].key, key, sizeof(*key)) != 0)
        at = (at + 1) % ROWS;
    return at;
}

static void *lookup(const void *map, const void *key)
{
    __u32 at;

    if (map == &budget)
        return &kernel.budgets[kernel.cpu];
    if (map == &newcomers)
        return &kernel.newcomers;
    at = find_row(key);
    return kernel.rows[at].used ? &kernel.rows[at].value : NULL;
}

static long update(const void *key, const void *value, __u64 flags)
{
    __u32 at = find_row(key);

    if (kernel.rows[at].used && flags == BPF_NOEXIST)
        return -1;
    assert_true(kernel.inserted < ROWS / 2);
    kernel.rows[at].used = true;
    memcpy(&kernel.rows[at].key, key, sizeof(kernel.rows[at].key));
    memcpy(&kernel.rows[at].value, value, sizeof(kernel.rows[at].value));
    kernel.inserted++;
    return 0;
}

/* Up for an hour, with nothing seen yet. */
static void boot(__u64 hz)
{
    memset(&kernel, 0, sizeof(kernel));
    kernel.now = 3600 * SECOND;
    kernel.hz = hz;
}

/* ---- packets ---- */

static __u64 sent;

static __u32 next_number(void)
{
    static __u64 state = 88172645463325252ULL;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (__u32)(state >> 20);
}

static struct flow flow_from(__u32 source, __u16 port)
{
    struct flow flow = {.family = SG_FAMILY_IP4, .has_source = true, .syn = true, .dport = port};

    memcpy(flow.source, &source, sizeof(source));
    return flow;
}

static void packet_from(__u32 source)
{
    const struct flow flow = flow_from(source, 25);
    __u64 before = kernel.budgets[kernel.cpu].touches;

    note_source(&flow, SG_VERDICT_DROP);
    kernel.touches += kernel.budgets[kernel.cpu].touches != before;
    sent++;
}

static const struct sg_source *written_down(__u32 source)
{
    const struct flow flow = flow_from(source, 25);
    struct sg_source_key key = {.port = 25, .family = SG_FAMILY_IP4};

    memcpy(key.addr, flow.source, sizeof(key.addr));
    return lookup(&sources, &key);
}

static __u64 untracked(void)
{
    __u64 sum = 0;

    for (unsigned int cpu = 0; cpu < CPUS_MAX; cpu++)
        sum += kernel.budgets[cpu].untracked[SG_VERDICT_DROP];
    return sum;
}

static __u64 recorded(void)
{
    __u64 sum = 0;

    for (__u32 at = 0; at < ROWS; at++)
        sum += kernel.rows[at].value.packets;
    return sum;
}

static void assert_all_counted(void)
{
    assert_int_equal(recorded() + untracked(), sent);
}

/* ---- floods ---- */

#define ORDINARY_MAX   100
#define ORDINARY(i)    (0x0000feedU + ((__u32)(i) << 16))
#define UNTIL_RECORDED 120 /* s */

struct traffic {
    __u64 rate;        /* forged packets a second */
    __u32 pool;        /* of that many sources; 0: any */
    unsigned int cpus; /* they come in on */
    unsigned int ordinary;
    __u64 gap; /* ns between an ordinary sender's packets, on average */
};

static __u64 due[ORDINARY_MAX];

static void send_forged(const struct traffic *traffic)
{
    __u32 source = next_number();

    if (traffic->pool) /* odd factor: as many sources as numbers */
        source = source % traffic->pool * 2654435761U;
    kernel.cpu = (source >> 7) % traffic->cpus;
    packet_from(source);
}

static void send_ordinary(const struct traffic *traffic)
{
    for (unsigned int i = 0; i < traffic->ordinary; i++) {
        if (kernel.now < due[i])
            continue;
        due[i] = kernel.now + traffic->gap / 2 + next_number() % traffic->gap;
        kernel.cpu = i % traffic->cpus;
        packet_from(ORDINARY(i));
    }
}

/* @traffic for some seconds; the ordinary senders begin where they like within the first gap. */
static void run(const struct traffic *traffic, __u64 seconds)
{
    __u64 end = kernel.now + seconds * SECOND;
    __u64 step = traffic->rate ? SECOND / traffic->rate : 1000000;

    for (unsigned int i = 0; i < traffic->ordinary; i++)
        due[i] = kernel.now + next_number() % traffic->gap;
    for (__u64 beat = 0; kernel.now < end; beat++, kernel.now += step) {
        if (traffic->rate)
            send_forged(traffic);
        if (traffic->ordinary && beat % 64 == 0)
            send_ordinary(traffic);
    }
}

static unsigned int count_ordinary(void)
{
    unsigned int found = 0;

    for (unsigned int i = 0; i < ORDINARY_MAX; i++)
        found += written_down(ORDINARY(i)) != NULL;
    return found;
}

static int begin(void **state)
{
    (void)state;
    sent = 0;
    boot(250);
    return 0;
}

/* ---- without a flood ---- */

static void test_everybody(void **state)
{
    const struct traffic traffic = {.cpus = 2, .ordinary = ORDINARY_MAX, .gap = SECOND / 3};

    (void)state;
    run(&traffic, 30);
    assert_int_equal(count_ordinary(), ORDINARY_MAX);
    assert_int_equal(untracked(), 0);
    assert_all_counted();
}

/* All of a quarter of the table at once, and each of their packets. */
static void test_many_newcomers(void **state)
{
    (void)state;
    for (__u32 round = 0; round < 3; round++)
        for (__u32 i = 0; i < NEWCOMERS_FREE; i++, kernel.now += SECOND / 60000)
            packet_from(i * 2654435761U);
    assert_int_equal(kernel.inserted, NEWCOMERS_FREE);
    assert_int_equal(untracked(), 0);
    assert_all_counted();
}

/* As many as are forgiven in a second, on and on: no source in 50,000 has to come twice. */
static void test_steady_newcomers(void **state)
{
    (void)state;
    for (__u32 i = 0; i < 50000; i++, kernel.now += SECOND / 230)
        packet_from(i * 2654435761U);
    assert_int_equal(untracked(), 0);
}

/* One source alone may send what it likes: it is looked at as far as the budget goes. */
static void test_one_source(void **state)
{
    (void)state;
    for (__u32 i = 0; i < 1000000; i++, kernel.now += SECOND / 1000000)
        packet_from(7);
    assert_int_equal(kernel.inserted, 1);
    assert_true(written_down(7)->packets > 110000);
    assert_int_equal(written_down(7)->packets + untracked(), sent);
    assert_int_equal(written_down(7)->attempts, written_down(7)->packets);
}

/*
 * A mail server's burst, in which a jiffy begins: what was not spent in the last one is not lost
 * with it, however short a while ago that began.
 */
static void test_burst_over_jiffies(void **state)
{
    (void)state;
    for (__u64 before = 1; before <= 64; before *= 2) {
        boot(250);
        kernel.now += SECOND / 250 - before * 1000; /* so many us before a jiffy ends */
        for (unsigned int i = 0; i < 100; i++) {
            packet_from(9);
            kernel.now += 1000;
        }
        assert_int_equal(written_down(9)->packets, 100);
        assert_int_equal(untracked(), 0);
    }
}

/* ---- in a flood ---- */

static void test_touches(void **state)
{
    static const __u64 hertz[] = {100, 250, 300, 1000};
    const struct traffic traffic = {.rate = 1000000, .cpus = 1};

    (void)state;
    for (size_t i = 0; i < sizeof(hertz) / sizeof(*hertz); i++) {
        boot(hertz[i]);
        run(&traffic, 1);
        assert_true(kernel.touches <= TOUCHES_MAX + (SECOND >> TOUCH_SHIFT));
        assert_true(kernel.touches >= (SECOND >> TOUCH_SHIFT) * 9 / 10);
    }
}

/* However many CPUs and whether they come again or not: so many newcomers and no more. */
static void test_newcomers(void **state)
{
    static const __u32 pools[] = {0, 1000000, 100000};
    const __u64 at_once = NEWCOMERS_FREE + ((STAY + 1) << RETURN_SHIFT);

    (void)state;
    for (size_t i = 0; i < sizeof(pools) / sizeof(*pools); i++)
        for (unsigned int cpus = 1; cpus <= CPUS_MAX; cpus += 3) {
            const struct traffic traffic = {.rate = 150000, .pool = pools[i], .cpus = cpus};

            boot(250);
            sent = 0;
            run(&traffic, 10);
            assert_true(kernel.inserted >= NEWCOMERS_FREE);
            assert_true(kernel.inserted <= at_once + (10 * SECOND >> NEWCOMER_SHIFT) + 1);
            assert_all_counted();
        }
}

/* Every ordinary sender that comes up in the middle of a flood is told apart before long. */
static void expect_all(const struct traffic *flood)
{
    struct traffic both = *flood;
    unsigned int seconds;

    run(flood, 10);
    assert_int_equal(count_ordinary(), 0);
    both.ordinary = ORDINARY_MAX;
    both.gap = SECOND / 3;
    for (seconds = 0; seconds < UNTIL_RECORDED && count_ordinary() < ORDINARY_MAX; seconds += 5)
        run(&both, 5);
    print_message("# %u of %u within %u s\n", count_ordinary(), ORDINARY_MAX, seconds);
    assert_int_equal(count_ordinary(), ORDINARY_MAX);
    assert_all_counted();
}

static void test_ordinary_any(void **state)
{
    const struct traffic flood = {.rate = 300000, .cpus = 1};

    (void)state;
    expect_all(&flood);
}

static void test_ordinary_million(void **state)
{
    const struct traffic flood = {.rate = 300000, .pool = 1000000, .cpus = 1};

    (void)state;
    expect_all(&flood);
}

static void test_ordinary_cpus(void **state)
{
    const struct traffic flood = {.rate = 600000, .pool = 1000000, .cpus = 2};

    (void)state;
    expect_all(&flood);
}

/* Who was there before is written on in a flood, too. */
static void test_before_flood(void **state)
{
    const struct traffic before = {.cpus = 1, .ordinary = ORDINARY_MAX, .gap = SECOND};
    const struct traffic flood = {
        .rate = 500000, .cpus = 1, .ordinary = ORDINARY_MAX, .gap = SECOND / 3};
    __u64 since;

    (void)state;
    run(&before, 3);
    assert_int_equal(count_ordinary(), ORDINARY_MAX);
    since = kernel.now + 5 * SECOND;
    run(&flood, 40);
    for (unsigned int i = 0; i < ORDINARY_MAX; i++)
        assert_true(written_down(ORDINARY(i))->last_seen > since);
}

/* A flood is over when it is over: newcomers come in at once again. */
static void test_after_flood(void **state)
{
    const struct traffic flood = {.rate = 300000, .pool = 100000, .cpus = 1};

    (void)state;
    run(&flood, 10);
    kernel.now += (STAY + 1) * (1ULL << RETURN_SHIFT << NEWCOMER_SHIFT) + SECOND;
    packet_from(ORDINARY(1));
    assert_non_null(written_down(ORDINARY(1)));
}

/* ---- details ---- */

/* Fills what is free, so that from here on a newcomer must come again. */
static void fill(void)
{
    for (__u32 i = 0; i < NEWCOMERS_FREE; i++, kernel.now += SECOND / 100000)
        packet_from(i * 2654435761U);
    kernel.newcomers.recent = NEWCOMERS_FREE + 1000;
    kernel.newcomers.drained = kernel.now;
}

static void test_burst_is_one_visit(void **state)
{
    (void)state;
    fill();
    for (unsigned int i = 0; i < 1000; i++, kernel.now += 1000)
        packet_from(ORDINARY(1));
    assert_null(written_down(ORDINARY(1)));
}

/* With 1000 too many it has to come back four times. */
static void test_returns(void **state)
{
    unsigned int visits = 0;

    (void)state;
    fill();
    while (!written_down(ORDINARY(1)) && visits < 20) {
        packet_from(ORDINARY(1));
        kernel.now += SECOND / 5;
        visits++;
    }
    assert_in_range(visits, 4, 5);
    assert_int_equal(written_down(ORDINARY(1))->packets, 1);
}

/* Who stays away for long begins anew. */
static void test_stays_away(void **state)
{
    (void)state;
    fill();
    for (unsigned int i = 0; i < 3; i++, kernel.now += 5 * SECOND) {
        kernel.newcomers.recent = NEWCOMERS_FREE + 1;
        kernel.newcomers.drained = kernel.now;
        packet_from(ORDINARY(1));
    }
    assert_null(written_down(ORDINARY(1)));
}

/* Not seen for hours, but still in the table: found again, and not counted as a newcomer. */
static void test_long_absent(void **state)
{
    (void)state;
    packet_from(ORDINARY(1));
    kernel.now += 5 * 3600 * SECOND;
    packet_from(ORDINARY(1));
    packet_from(ORDINARY(1));
    assert_int_equal(kernel.inserted, 1);
    assert_int_equal(written_down(ORDINARY(1))->packets, 3);
    assert_int_equal(written_down(ORDINARY(1))->last_seen, kernel.now);
    assert_int_equal(written_down(ORDINARY(1))->first_seen, 3600 * SECOND);
    assert_int_equal(kernel.newcomers.recent, 0);
}

/* In the table since half an hour ago: found at once in a flood, too; nobody has to come again. */
static void test_known_in_flood(void **state)
{
    (void)state;
    packet_from(ORDINARY(1));
    kernel.now += 1ULL << KNOWN_SHIFT;
    fill();
    packet_from(ORDINARY(1));
    assert_int_equal(written_down(ORDINARY(1))->packets, 2);
}

/* A few forgiven twice, which two CPUs at once can do, close nothing and open nothing for good. */
static void test_below_zero(void **state)
{
    const struct traffic flood = {.rate = 300000, .cpus = 1};

    (void)state;
    kernel.newcomers.recent = -20;
    kernel.newcomers.drained = kernel.now + SECOND;
    run(&flood, 5);
    assert_in_range(kernel.inserted, NEWCOMERS_FREE, NEWCOMERS_FREE + 1300);
}

/* Forgiven up to a moment that this CPU has not reached yet: nothing is taken back. */
static void test_ahead(void **state)
{
    const __u64 ahead = kernel.now + SECOND;

    (void)state;
    kernel.newcomers.recent = 100;
    kernel.newcomers.drained = ahead;
    packet_from(ORDINARY(1));
    assert_int_equal(kernel.newcomers.recent, 101);
    assert_int_equal(kernel.newcomers.drained, ahead);
}

/* The machine slept for a week. */
static void test_long_sleep(void **state)
{
    const struct traffic flood = {.rate = 300000, .cpus = 1};

    (void)state;
    run(&flood, 2);
    kernel.now += 7 * 86400 * SECOND;
    kernel.touches = 0;
    run(&flood, 1);
    assert_true(kernel.touches <= TOUCHES_MAX + (SECOND >> TOUCH_SHIFT));
    assert_true(kernel.inserted <= 2 * NEWCOMERS_FREE + (3 * SECOND >> NEWCOMER_SHIFT) + 1000);
}

/* The hash tells sources apart in its upper half, whichever of their bits differ. */
static void test_hash(void **state)
{
    static __u8 seen[1 << SG_PLACES_BITS];
    unsigned int taken = 0;

    (void)state;
    for (unsigned int shift = 0; shift <= 96; shift += 8) {
        memset(seen, 0, sizeof(seen));
        taken = 0;
        for (__u32 i = 0; i < 1 << 16; i++) {
            struct flow flow = {.family = SG_FAMILY_IP6};
            __u64 place;

            memcpy(flow.source + shift / 8, &i, sizeof(i));
            place = source_hash(&flow) >> (64 - SG_PLACES_BITS);
            taken += !seen[place]++;
        }
        /* 65,536 into 262,144 at random: 57,987. */
        assert_true(taken > 50000);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        TEST(test_everybody),
        TEST(test_many_newcomers),
        TEST(test_steady_newcomers),
        TEST(test_one_source),
        TEST(test_burst_over_jiffies),
        TEST(test_touches),
        TEST(test_newcomers),
        TEST(test_ordinary_any),
        TEST(test_ordinary_million),
        TEST(test_ordinary_cpus),
        TEST(test_before_flood),
        TEST(test_after_flood),
        TEST(test_burst_is_one_visit),
        TEST(test_returns),
        TEST(test_stays_away),
        TEST(test_long_absent),
        TEST(test_known_in_flood),
        TEST(test_below_zero),
        TEST(test_ahead),
        TEST(test_long_sleep),
        TEST(test_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
