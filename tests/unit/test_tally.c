// LINK: tally addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What sources did between two readings, against the events themselves: a table as the kernel keeps
 * it is played through, and every packet that came is written down beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tally.h"

#define SOURCES 120
#define ROUNDS  400

/* A source of the model: its row in the table, and what came from it since the last reading. */
struct actor {
    bool there;
    struct tally_source row;
    uint64_t packets, attempts;
};

static struct tally_source name_source(unsigned int i)
{
    struct tally_source source = {.port = (uint16_t)(i % 3 ? 25 : 587)};

    source.addr.family = i % 2 ? ADDR_IP4 : ADDR_IP6;
    source.addr.bytes[0] = 10;
    source.addr.bytes[i % 2 ? 3 : 15] = (uint8_t)(i / 6);
    source.addr.bytes[1] = (uint8_t)(i % 6 / 2);
    return source;
}

static void forget(struct actor *actor)
{
    actor->there = false;
    actor->packets = actor->attempts = 0;
}

static void come(struct actor *actor, int64_t now, bool attempt)
{
    if (!actor->there) {
        actor->there = true;
        actor->row.packets = actor->row.attempts = 0;
        actor->row.first_seen = now;
    }
    actor->row.packets++;
    actor->row.attempts += attempt;
    actor->row.last_seen = now;
    actor->packets++;
    actor->attempts += attempt;
}

static void shuffle(unsigned int *numbers, unsigned int n)
{
    for (unsigned int i = n - 1; i; i--) {
        unsigned int j = (unsigned int)rand() % (i + 1), kept = numbers[i];

        numbers[i] = numbers[j];
        numbers[j] = kept;
    }
}

static void read_table(struct actor *actors, struct tally_table *table, int64_t clock)
{
    unsigned int numbers[SOURCES];

    for (unsigned int i = 0; i < SOURCES; i++)
        numbers[i] = i;
    shuffle(numbers, SOURCES);
    *table = (struct tally_table){.clock = clock};
    for (unsigned int i = 0; i < SOURCES; i++) {
        struct tally_source row = actors[numbers[i]].row;

        row.first_seen += clock;
        row.last_seen += clock;
        if (actors[numbers[i]].there)
            assert_int_equal(tally_add(table, &row), 0);
    }
    tally_sort(table);
}

static const struct actor *find(const struct actor *actors, const struct tally_source *source)
{
    for (unsigned int i = 0; i < SOURCES; i++)
        if (tally_order(&actors[i].row, source) == 0)
            return &actors[i];
    return NULL;
}

/* Every source that did something is told of with what it did, or is among the others. */
static void compare(const struct actor *actors, const struct tally *tally)
{
    uint64_t packets = 0, attempts = 0, told = 0, told_attempts = 0;
    size_t sources = 0;

    for (unsigned int i = 0; i < SOURCES; i++) {
        if (!actors[i].there || !actors[i].packets || actors[i].row.verdict == SG_VERDICT_PASS)
            continue;
        sources++;
        packets += actors[i].packets;
        attempts += actors[i].attempts;
    }
    assert_int_equal(tally->count, sources < TALLY_MOST ? sources : TALLY_MOST);
    assert_int_equal(tally->others, sources - tally->count);
    for (size_t i = 0; i < tally->count; i++) {
        const struct actor *actor = find(actors, tally->rows[i].source);

        assert_non_null(actor);
        assert_int_equal(tally->rows[i].since.packets, actor->packets);
        assert_int_equal(tally->rows[i].since.attempts, actor->attempts);
        if (i)
            assert_true(tally->rows[i - 1].since.packets >= tally->rows[i].since.packets);
        told += actor->packets;
        told_attempts += actor->attempts;
    }
    assert_int_equal(tally->others_since.packets, packets - told);
    assert_int_equal(tally->others_since.attempts, attempts - told_attempts);
    if (tally->others)
        assert_true(tally->others_since.packets <=
                    tally->others * tally->rows[TALLY_MOST - 1].since.packets);
}

/* Rounds with few sources and with many; the clock is set forward now and then. */
static void test_random(void **state)
{
    static struct actor actors[SOURCES];
    struct tally_table before;
    int64_t now = 1000, clock = 1700000000;

    (void)state;
    srand(4);
    for (unsigned int i = 0; i < SOURCES; i++)
        actors[i].row = name_source(i);
    read_table(actors, &before, clock);
    for (unsigned int round = 0; round < ROUNDS; round++) {
        unsigned int packets = (unsigned int)rand() % (round % 4 ? 40 : 2000);
        struct tally_table table;
        struct tally tally;

        for (unsigned int i = 0; i < SOURCES; i++) {
            actors[i].packets = actors[i].attempts = 0;
            actors[i].row.verdict = (enum sg_verdict)(rand() % SG_VERDICT_COUNT);
            if (rand() % 20 == 0)
                forget(&actors[i]);
        }
        now += 3; /* one that comes anew was first seen later than what is only rounding */
        for (unsigned int i = 0; i < packets; i++)
            come(&actors[(unsigned int)rand() % SOURCES], now, rand() % 2);
        clock += rand() % 50 ? 0 : 86400;
        read_table(actors, &table, clock);
        tally_make(&before, &table, &tally);
        compare(actors, &tally);
        tally_free(&before);
        before = table;
    }
    tally_free(&before);
}

static void check_since(const struct tally_source *before, struct tally_source now, int64_t shift,
                        uint64_t packets, uint64_t attempts)
{
    struct tally_step step = tally_since(before, &now, shift);

    assert_int_equal(step.packets, packets);
    assert_int_equal(step.attempts, attempts);
}

static void test_anew(void **state)
{
    struct tally_source old = {.packets = 10, .attempts = 4, .first_seen = 5000, .last_seen = 6000};

    (void)state;
    check_since(NULL, (struct tally_source){.packets = 3, .attempts = 1}, 0, 3, 1);
    check_since(&old, old, 0, 0, 0);
    old.last_seen = 6001;
    check_since(&old, (struct tally_source){.packets = 12, .attempts = 5, .first_seen = 5000}, 0, 2,
                1);
    /* A second is rounding; two are not. */
    check_since(&old, (struct tally_source){.packets = 12, .attempts = 5, .first_seen = 5001}, 0, 2,
                1);
    check_since(&old, (struct tally_source){.packets = 12, .attempts = 5, .first_seen = 5002}, 0,
                12, 5);
    check_since(&old, (struct tally_source){.packets = 9, .attempts = 4, .first_seen = 5000}, 0, 9,
                4);
    check_since(&old, (struct tally_source){.packets = 11, .attempts = 3, .first_seen = 5000}, 0,
                11, 3);
    /* The clock was set forward by an hour, or back. */
    check_since(&old, (struct tally_source){.packets = 12, .attempts = 5, .first_seen = 8600}, 3600,
                2, 1);
    check_since(&old, (struct tally_source){.packets = 12, .attempts = 5, .first_seen = 8610}, 3600,
                12, 5);
    check_since(&old, (struct tally_source){.packets = 12, .attempts = 5, .first_seen = 1400},
                -3600, 2, 1);
}

static void test_grown(void **state)
{
    struct tally_counts before = {.packets = {5, 6, 7}, .attempts = {1, 2, 3}, .untracked = 9};
    struct tally_counts now = {.packets = {6, 6, 3}, .attempts = {11, 1, 3}, .untracked = 10};
    struct tally_counts grown = tally_grown(&before, &now);

    (void)state;
    assert_int_equal(grown.packets[0], 1);
    assert_int_equal(grown.packets[1], 0);
    assert_int_equal(grown.packets[2], 0);
    assert_int_equal(grown.attempts[0], 10);
    assert_int_equal(grown.attempts[1], 0);
    assert_int_equal(grown.attempts[2], 0);
    assert_int_equal(grown.untracked, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_anew),
        cmocka_unit_test(test_grown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
