// LINK: repeats listfile account addr who_why when text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files that contradict themselves, against looking at every pair of lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "repeats.h"

#define LINES 40

/* Does a line say of the entry what an earlier one says otherwise? The earliest that says it. */
static unsigned long clash_of(const struct listfile_entry *entries, unsigned long at)
{
    const struct listfile_entry *one = &entries[at];

    for (int what = 0; what < 2; what++) {
        for (unsigned long i = 0; i < at; i++) {
            const struct listfile_entry *other = &entries[i];

            if (other->who.kind != one->who.kind || !who_same_set(&other->who, &one->who) ||
                !account_equal(other->account, one->account))
                continue;
            if (what == 0 ? !one->has_remark || !other->has_remark
                          : !one->has_until || !other->has_until)
                continue;
            if (what == 0 ? strcmp(one->remark, other->remark) != 0 : one->until != other->until)
                return i + 1;
            break; /* those behind it agreed with it, or were refused */
        }
    }
    return 0;
}

static void make_entry(struct listfile_entry *entry)
{
    static const char *const whos[] = {"192.0.2.1", "192.0.2.1/32", "192.0.2.1-192.0.2.1",
                                       "2001:db8::/64", "192.0.2.2"};
    static const char *const accounts[] = {"", "alice", "ALICE", "alice@mail.example",
                                           "j\xc3\xbcrgen"};

    memset(entry, 0, sizeof(*entry));
    assert_int_equal(who_parse(whos[rand() % 5], &entry->who, NULL), 0);
    snprintf(entry->account, sizeof(entry->account), "%s", accounts[rand() % 5]);
    entry->has_remark = rand() % 3 == 0;
    if (entry->has_remark)
        snprintf(entry->remark, sizeof(entry->remark), "%s", rand() % 4 ? "a" : "");
    entry->has_until = rand() % 3 == 0;
    if (entry->has_until)
        entry->until = 1000 + rand() % 8 / 7;
}

static void test_against_pairs(void **state)
{
    struct listfile_entry entries[LINES];
    unsigned int agreed = 0, refused = 0;

    (void)state;
    srand(1);
    for (int round = 0; round < 3000; round++) {
        _cleanup_repeats_ struct repeats repeats = {0};
        unsigned long kept = 0, count = 1 + (unsigned long)rand() % LINES;
        struct listfile_entry all[LINES];
        bool any;

        for (unsigned long i = 0; i < count; i++) {
            make_entry(&all[i]);
            assert_int_equal(repeats_note(&repeats, &all[i]), 0);
        }
        assert_int_equal(repeats_settle(&repeats, &any), 0);
        for (unsigned long i = 0; i < count; i++) {
            char place[32];
            struct err e = {0};
            unsigned long clash;
            bool good = repeats_agree(&repeats, &all[i], kept + 1, &e);

            entries[kept] = all[i];
            clash = clash_of(entries, kept);
            assert_int_equal(good, !clash);
            if (good) {
                kept++; /* what is refused says nothing to those behind it */
                agreed++;
                continue;
            }
            assert_true(any);
            snprintf(place, sizeof(place), "in line %lu with", clash);
            assert_non_null(strstr(e.message, place));
            assert_int_equal(e.code, EXIT_USAGE);
            refused++;
        }
    }
    assert_true(agreed > 1000 && refused > 1000);
}

static void test_nothing_twice(void **state)
{
    _cleanup_repeats_ struct repeats repeats = {0};
    struct listfile_entry entry = {.has_remark = true};
    char text[WHO_TEXT_MAX];
    bool any = true;

    (void)state;
    for (unsigned int i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "10.0.%u.%u", i >> 8, i & 0xff);
        assert_int_equal(who_parse(text, &entry.who, NULL), 0);
        assert_int_equal(repeats_note(&repeats, &entry), 0);
    }
    assert_int_equal(repeats_settle(&repeats, &any), 0);
    assert_false(any);
    assert_true(repeats_agree(&repeats, &entry, 1, NULL));
}

static void test_none(void **state)
{
    _cleanup_repeats_ struct repeats repeats = {0};
    bool any = true;

    (void)state;
    assert_int_equal(repeats_settle(&repeats, &any), 0);
    assert_false(any);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_pairs),
        cmocka_unit_test(test_nothing_twice),
        cmocka_unit_test(test_none),
    };

    return cmocka_run_group_tests_name("repeats", tests, NULL, NULL);
}
