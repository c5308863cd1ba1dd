// LINK: lint prefix addr who_why account text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is found in a list, against a model that compares every entry with every other one and
 * knows addresses as numbers; in corners of the spaces small enough that entries nest, touch and
 * repeat. Cases by hand at both ends of both spaces, and a list of a million.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lint.h"
#include "util.h"

#define NOW      1000
#define CORNER   64 /* addresses */
#define MAX      48 /* entries of a random list */
#define FOUND    (4 * MAX)
#define NO_LIMIT SIZE_MAX

/* ---- what is found, kept ---- */

struct found {
    enum lint_kind kind;
    uint64_t count;
    int64_t ids[LINT_IDS_MAX];
    size_t n;
    char account[ACCOUNT_MAX + 1], who[WHO_TEXT_MAX], other[WHO_TEXT_MAX];
    int64_t end;
    char remark[REMARK_MAX + 1];
    bool has_remark;
    const char *special;
};

struct finds {
    struct found *items;
    size_t n;
    size_t limit; /* the callback fails then */
};

static int keep(const struct lint_advice *advice, void *arg)
{
    struct finds *finds = arg;
    struct found *found = &finds->items[finds->n];

    if (finds->n >= finds->limit)
        return -EPIPE;
    assert_true(finds->n < FOUND);
    finds->n++;
    *found = (struct found){.kind = advice->kind,
                            .count = advice->count,
                            .n = advice->ids.n,
                            .end = advice->end,
                            .special = advice->special};
    assert_true(advice->ids.n >= 1 && advice->ids.n <= LINT_IDS_MAX);
    memcpy(found->ids, advice->ids.items, advice->ids.n * sizeof(*found->ids));
    snprintf(found->account, sizeof(found->account), "%s", advice->account ? advice->account : "");
    who_print(&advice->who, found->who);
    if (advice->kind == LINT_COVERED || advice->kind == LINT_ADJACENT)
        who_print(&advice->other, found->other);
    found->has_remark = advice->remark != NULL;
    snprintf(found->remark, sizeof(found->remark), "%s", advice->remark ? advice->remark : "");
    return 0;
}

static const struct lint_options plain = {.now = NOW, .idle_before = INT64_MIN, .advice = keep};

static struct finds new_finds(void)
{
    struct finds finds = {.items = calloc(FOUND, sizeof(struct found)), .limit = NO_LIMIT};

    assert_non_null(finds.items);
    return finds;
}

static int look(struct lint_options options, const struct lint_entry *entries, size_t n,
                struct finds *finds)
{
    struct lint *lint;
    int r = 0;

    options.arg = finds;
    lint = lint_new(&options);
    assert_non_null(lint);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = lint_add(lint, &entries[i]);
    if (r == 0)
        r = lint_finish(lint);
    lint_free(lint);
    return r;
}

static size_t count_of(const struct finds *finds, enum lint_kind kind)
{
    size_t count = 0;

    for (size_t i = 0; i < finds->n; i++)
        count += finds->items[i].kind == kind;
    return count;
}

static const struct found *find(const struct finds *finds, enum lint_kind kind)
{
    for (size_t i = 0; i < finds->n; i++)
        if (finds->items[i].kind == kind)
            return &finds->items[i];
    fail_msg("not found: %d", (int)kind);
    return NULL;
}

/* ---- the model ---- */

/* An entry of the corner, by numbers. */
struct item {
    int64_t id, end;
    int list; /* index of @lists */
    unsigned int first, last;
    enum who_kind kind;
    int remark;
    bool ip6;
};

static const char *const lists[] = {"", "alice", "bob"};
static const char *const remarks[] = {"", "office", "shop"};

static struct addr corner(bool ip6, bool top, unsigned int number)
{
    struct addr addr = {.family = ip6 ? ADDR_IP6 : ADDR_IP4};
    size_t len = ip6 ? 16 : 4;

    if (top)
        memset(addr.bytes, 0xff, len);
    addr.bytes[len - 1] = (uint8_t)(top ? 256 - CORNER + number : number);
    return addr;
}

static int compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    return x->list != y->list     ? x->list - y->list
           : x->ip6 != y->ip6     ? (int)x->ip6 - (int)y->ip6
           : x->first != y->first ? (x->first < y->first ? -1 : 1)
           : x->last != y->last   ? (x->last < y->last ? -1 : 1)
                                  : (int)x->kind - (int)y->kind;
}

static struct item random_item(int ends)
{
    static const int64_t choices[] = {LINT_FOREVER, 2000, 3000, 4000, NOW, NOW + 1};
    struct item item = {.list = rand() % 4 ? 0 : rand() % 3,
                        .ip6 = rand() % 3 == 0,
                        .end = choices[rand() % ends],
                        .remark = rand() % 4 ? 0 : rand() % 3};
    unsigned int size = 1U << rand() % 5;

    item.first = (unsigned int)rand() % CORNER;
    switch (rand() % 3) {
    case 0:
        item.kind = WHO_ADDRESS;
        item.last = item.first;
        break;
    case 1:
        item.kind = WHO_SEGMENT;
        item.first -= item.first % size;
        item.last = item.first + size - 1;
        break;
    default:
        item.kind = WHO_RANGE;
        item.last = item.first + (unsigned int)rand() % size;
        item.last = item.last < CORNER ? item.last : CORNER - 1;
    }
    return item;
}

/* In order, without repeats, as a store has them; numbers in the order of being added. */
static size_t random_list(struct item items[MAX], int ends)
{
    size_t n = 1 + (size_t)rand() % MAX, kept = 0;

    for (size_t i = 0; i < n; i++) {
        items[i] = random_item(ends);
        items[i].id = (int64_t)i + 1;
    }
    qsort(items, n, sizeof(*items), compare);
    for (size_t i = 0; i < n; i++)
        if (!kept || compare(&items[kept - 1], &items[i]) != 0)
            items[kept++] = items[i];
    return kept;
}

static bool holds(const struct item *outer, const struct item *inner)
{
    return outer != inner && outer->list == inner->list && outer->ip6 == inner->ip6 &&
           outer->first <= inner->first && inner->last <= outer->last && outer->end >= inner->end &&
           outer->end > NOW && inner->end > NOW;
}

/* Of two that hold each other the first one stays. */
static bool is_covered(const struct item *items, size_t n, size_t i)
{
    for (size_t j = 0; j < n; j++)
        if (holds(&items[j], &items[i]) && (!holds(&items[i], &items[j]) || j < i))
            return true;
    return false;
}

static const struct item *by_id(const struct item *items, size_t n, int64_t id)
{
    for (size_t i = 0; i < n; i++)
        if (items[i].id == id)
            return &items[i];
    fail_msg("no entry of that number");
    return NULL;
}

static void check_covered(const struct item *items, size_t n, const struct finds *finds)
{
    unsigned int told[MAX + 1] = {0};

    for (size_t i = 0; i < finds->n; i++) {
        const struct found *found = &finds->items[i];

        if (found->kind != LINT_COVERED)
            continue;
        assert_int_equal(found->n, 2);
        assert_int_equal(found->count, 1);
        assert_true(holds(by_id(items, n, found->ids[1]), by_id(items, n, found->ids[0])));
        told[found->ids[0]]++;
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(told[items[i].id], is_covered(items, n, i));
}

/* The run that begins with @i: all that is left of its end and touches; 0 when @i continues one. */
static size_t run_of(const struct item *items, size_t n, size_t i, int64_t ids[MAX],
                     unsigned int *ret_last)
{
    unsigned int last = items[i].last;
    size_t count = 0;

    for (size_t j = 0; j < n; j++) {
        if (items[j].list != items[i].list || items[j].ip6 != items[i].ip6 ||
            items[j].end != items[i].end || is_covered(items, n, j))
            continue;
        if (j < i && items[j].last + 1 >= items[i].first)
            return 0;
        if (j < i || items[j].first > last + 1)
            continue;
        ids[count++] = items[j].id;
        last = items[j].last > last ? items[j].last : last;
    }
    *ret_last = last;
    return count;
}

/* An aligned power of two. */
static bool is_segment(unsigned int first, unsigned int last)
{
    unsigned int size = last - first + 1;

    return (size & (size - 1)) == 0 && first % size == 0;
}

static void expect_run(const struct item *items, size_t n, size_t i, bool top,
                       const struct finds *finds)
{
    const struct found *found = NULL;
    int64_t ids[MAX];
    unsigned int last;
    size_t count = run_of(items, n, i, ids, &last);
    struct who who = {.first = corner(items[i].ip6, top, items[i].first)};
    char text[WHO_TEXT_MAX];
    bool mixed = false;

    for (size_t j = 0; j < finds->n; j++)
        if (finds->items[j].kind == LINT_ADJACENT && finds->items[j].ids[0] == items[i].id)
            found = &finds->items[j];
    if (count < 2) {
        assert_null(found);
        return;
    }
    assert_non_null(found);
    assert_int_equal(found->count, count);
    assert_int_equal(found->n, count);
    assert_memory_equal(found->ids, ids, count * sizeof(*ids));
    assert_int_equal(found->end, items[i].end);
    assert_string_equal(found->account, lists[items[i].list]);
    who.last = corner(items[i].ip6, top, last);
    who.kind = is_segment(items[i].first, last) ? WHO_SEGMENT : WHO_RANGE;
    assert_string_equal(found->other, who_print(&who, text));
    for (size_t j = 1; j < count; j++)
        mixed |= by_id(items, n, ids[j])->remark != items[i].remark;
    assert_int_equal(found->has_remark, !mixed);
    if (!mixed)
        assert_string_equal(found->remark, remarks[items[i].remark]);
}

static void check_runs(const struct item *items, size_t n, bool top, const struct finds *finds)
{
    size_t runs = 0;

    for (size_t i = 0; i < n; i++) {
        int64_t ids[MAX];
        unsigned int last;

        if (items[i].end <= NOW || is_covered(items, n, i))
            continue;
        expect_run(items, n, i, top, finds);
        runs += run_of(items, n, i, ids, &last) >= 2;
    }
    assert_int_equal(count_of(finds, LINT_ADJACENT), runs);
}

static void check_ended(const struct item *items, size_t n, const struct finds *finds)
{
    uint64_t ended = 0;

    for (size_t i = 0; i < n; i++)
        ended += items[i].end <= NOW;
    assert_int_equal(count_of(finds, LINT_ENDED), ended > 0);
    if (ended)
        assert_int_equal(find(finds, LINT_ENDED)->count, ended);
}

/* Until when @items lets in @number; those that are @left out aside. */
static int64_t lets_in(const struct item *items, size_t n, const bool *left, int list, bool ip6,
                       unsigned int number)
{
    int64_t until = NOW;

    for (size_t i = 0; i < n; i++)
        if (!left[items[i].id] && items[i].list == list && items[i].ip6 == ip6 &&
            items[i].first <= number && number <= items[i].last && items[i].end > until)
            until = items[i].end;
    return until;
}

/* Whoever deletes all that is covered changes nothing. */
static void check_safe(const struct item *items, size_t n, const struct finds *finds)
{
    const bool none[MAX + 1] = {false};
    bool left[MAX + 1] = {false};

    for (size_t i = 0; i < finds->n; i++)
        if (finds->items[i].kind == LINT_COVERED)
            left[finds->items[i].ids[0]] = true;
    for (int list = 0; list < 3; list++)
        for (unsigned int at = 0; at < 2 * CORNER; at++)
            assert_int_equal(lets_in(items, n, none, list, at & 1, at / 2),
                             lets_in(items, n, left, list, at & 1, at / 2));
}

static void test_against_model(void **state)
{
    struct finds finds = new_finds();

    (void)state;
    for (unsigned int round = 0; round < 6000; round++) {
        struct lint_entry entries[MAX];
        struct item items[MAX];
        bool top = round & 1;
        size_t n;

        srand(round);
        n = random_list(items, 1 + (int)round / 2 % 6);
        for (size_t i = 0; i < n; i++)
            entries[i] = (struct lint_entry){
                .id = items[i].id,
                .who = {.kind = items[i].kind,
                        .first = corner(items[i].ip6, top, items[i].first),
                        .last = corner(items[i].ip6, top, items[i].last)},
                .account = lists[items[i].list],
                .remark = remarks[items[i].remark],
                .end = items[i].end,
            };
        finds.n = 0;
        assert_int_equal(look(plain, entries, n, &finds), 0);
        check_covered(items, n, &finds);
        check_runs(items, n, top, &finds);
        check_ended(items, n, &finds);
        check_safe(items, n, &finds);
    }
    free(finds.items);
}

/* ---- by hand ---- */

/* Looks at a list of these, in the order of a store; numbers are 1, 2, ... */
static struct finds look_at(const char *const *whos, size_t n)
{
    struct finds finds = new_finds();
    struct lint_entry entries[16];

    assert_true(n <= ARRAY_SIZE(entries));
    for (size_t i = 0; i < n; i++) {
        entries[i] = (struct lint_entry){
            .id = (int64_t)i + 1, .account = "", .remark = "", .end = LINT_FOREVER};
        assert_int_equal(who_parse(whos[i], &entries[i].who, NULL), 0);
    }
    assert_int_equal(look(plain, entries, n, &finds), 0);
    return finds;
}

#define LOOK_AT(...)                            \
    look_at((const char *const[]){__VA_ARGS__}, \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *const))

static void expect_join(struct finds finds, uint64_t count, const char *other)
{
    const struct found *found = find(&finds, LINT_ADJACENT);

    assert_int_equal(count_of(&finds, LINT_ADJACENT), 1);
    assert_int_equal(count_of(&finds, LINT_COVERED), 0);
    assert_int_equal(found->count, count);
    assert_string_equal(found->other, other);
    free(finds.items);
}

static void expect_no_join(struct finds finds)
{
    assert_int_equal(count_of(&finds, LINT_ADJACENT), 0);
    free(finds.items);
}

static void expect_covered(struct finds finds, int64_t covered, int64_t covering)
{
    const struct found *found = find(&finds, LINT_COVERED);

    assert_int_equal(count_of(&finds, LINT_COVERED), 1);
    assert_int_equal(found->ids[0], covered);
    assert_int_equal(found->ids[1], covering);
    free(finds.items);
}

static void test_joins(void **state)
{
    (void)state;
    expect_join(LOOK_AT("8.8.4.0/25", "8.8.4.128/25"), 2, "8.8.4.0/24");
    expect_join(LOOK_AT("8.8.4.1", "8.8.4.2", "8.8.4.3", "8.8.4.4"), 4, "8.8.4.1-8.8.4.4");
    expect_join(LOOK_AT("8.8.4.0-8.8.4.9", "8.8.4.5-8.8.4.15"), 2, "8.8.4.0/28");
    expect_join(LOOK_AT("8.8.4.255", "8.8.5.0"), 2, "8.8.4.255-8.8.5.0");
    expect_no_join(LOOK_AT("8.8.4.1", "8.8.4.3"));
    expect_no_join(LOOK_AT("8.8.4.0/24", "8.8.4.7"));
    /* At the ends, and not over them. */
    expect_join(LOOK_AT("0.0.0.0/1", "128.0.0.0/1"), 2, "0.0.0.0/0");
    expect_join(LOOK_AT("0.0.0.0", "0.0.0.1"), 2, "0.0.0.0/31");
    expect_join(LOOK_AT("255.255.255.254", "255.255.255.255"), 2, "255.255.255.254/31");
    expect_join(LOOK_AT("::/1", "8000::/1"), 2, "::/0");
    expect_join(LOOK_AT("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
                        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                2, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127");
    expect_no_join(LOOK_AT("0.0.0.0", "255.255.255.255"));
    expect_no_join(LOOK_AT("255.255.255.255", "::"));
    expect_no_join(LOOK_AT("255.255.255.255", "::1"));
    expect_no_join(LOOK_AT("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
}

static void test_covered(void **state)
{
    (void)state;
    expect_covered(LOOK_AT("8.8.4.0/24", "8.8.4.7"), 2, 1);
    expect_covered(LOOK_AT("8.8.4.0", "8.8.4.0/24"), 1, 2);
    expect_covered(LOOK_AT("8.8.4.0/24", "8.8.4.255"), 2, 1);
    expect_covered(LOOK_AT("8.8.4.0/24", "8.8.4.0-8.8.4.255"), 2, 1);
    expect_covered(LOOK_AT("0.0.0.0/0", "255.255.255.255"), 2, 1);
    expect_covered(LOOK_AT("0.0.0.0", "0.0.0.0/0"), 1, 2);
    expect_covered(LOOK_AT("::", "::/0"), 1, 2);
    expect_covered(LOOK_AT("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 2, 1);
}

/* Both in the same list, the letters of whose name may differ. */
static void test_lists(void **state)
{
    struct lint_entry entries[2] = {
        {.id = 1, .account = "Alice", .remark = "", .end = LINT_FOREVER},
        {.id = 2, .account = "alice", .remark = "", .end = LINT_FOREVER}};
    struct finds finds = new_finds();

    (void)state;
    assert_int_equal(who_parse("8.8.4.0/24", &entries[0].who, NULL), 0);
    assert_int_equal(who_parse("8.8.4.8", &entries[1].who, NULL), 0);
    assert_int_equal(look(plain, entries, 2, &finds), 0);
    assert_int_equal(count_of(&finds, LINT_COVERED), 1);
    entries[1].account = "bob";
    finds.n = 0;
    assert_int_equal(look(plain, entries, 2, &finds), 0);
    assert_int_equal(finds.n, 0);
    free(finds.items);
}

static const char *special_of(const char *who)
{
    struct finds finds = look_at(&who, 1);
    const char *special = NULL;

    if (count_of(&finds, LINT_PRIVATE))
        special = find(&finds, LINT_PRIVATE)->special;
    free(finds.items);
    return special;
}

static void test_special(void **state)
{
    static const char *const yes[] = {
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0/8",
        "10.255.255.255",
        "100.64.0.0/10",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.0/12",
        "172.31.255.255",
        "192.0.2.1",
        "192.168.0.0/16",
        "198.18.0.0-198.19.255.255",
        "198.51.100.7",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "1fff::/16",
        "2001:db8::/32",
        "fc00::/7",
        "fdff:ffff::1",
        "fe80::1",
        "febf::1",
        "fec0::/10",
        "ff02::1",
        "4000::/2",
        "64:ff9b:1::/48",
        "3fff::/20",
        "100::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    };
    static const char *const no[] = {
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "192.168.0.0-192.169.0.0",
        "9.255.255.255-10.0.0.0",
        "2000::",
        "3ffe:ffff::1",
        "2001:db7::1",
        "2001:db9::1",
        "64:ff9b::808:404",
        "64:ff9b::/96",
        "2a00::/16",
        "0.0.0.0/0",
        "::/0",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        if (!special_of(yes[i]))
            fail_msg("%s is as good as any other", yes[i]);
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        if (special_of(no[i]))
            fail_msg("%s is %s", no[i], special_of(no[i]));
}

/* One advice for each block, in each list. */
static void test_special_together(void **state)
{
    struct finds finds = LOOK_AT("10.0.0.1", "10.0.0.3", "10.1.0.0/16", "172.16.0.1", "fe80::1");

    (void)state;
    assert_int_equal(count_of(&finds, LINT_PRIVATE), 3);
    assert_int_equal(finds.items[0].count, 3);
    assert_string_equal(finds.items[0].who, "10.0.0.1");
    assert_int_equal(finds.items[0].ids[2], 3);
    assert_int_equal(finds.items[1].count, 1);
    assert_string_equal(finds.items[2].special, "link-local");
    free(finds.items);
}

static void test_wide(void **state)
{
    struct finds finds = LOOK_AT("1.0.0.0/8", "2.0.0.0/7", "2a00::/19", "2c00::/18");

    (void)state;
    assert_int_equal(count_of(&finds, LINT_WIDE), 2);
    assert_string_equal(find(&finds, LINT_WIDE)->who, "2.0.0.0/7");
    free(finds.items);
}

static void test_unused(void **state)
{
    struct lint_options options = {.now = NOW, .idle_before = 500, .advice = keep};
    struct lint_entry entries[4] = {
        {.id = 1, .account = "", .remark = "", .end = LINT_FOREVER, .used = 500},
        {.id = 2, .account = "", .remark = "", .end = LINT_FOREVER, .used = 501},
        {.id = 3, .account = "", .remark = "", .end = NOW, .used = 1}, /* told of as ended */
        {.id = 4, .account = "bob", .remark = "", .end = NOW + 1, .used = 1},
    };
    struct finds finds = new_finds();

    (void)state;
    for (size_t i = 0; i < 4; i++)
        entries[i].who.first = entries[i].who.last =
            (struct addr){.family = ADDR_IP4, .bytes = {8, 8, 4, (uint8_t)(2 * i)}};
    assert_int_equal(look(options, entries, 4, &finds), 0);
    assert_int_equal(finds.n, 2);
    assert_int_equal(finds.items[0].kind, LINT_UNUSED);
    assert_int_equal(finds.items[0].count, 2);
    assert_int_equal(finds.items[0].ids[0], 1);
    assert_int_equal(finds.items[0].ids[1], 4);
    assert_int_equal(finds.items[1].kind, LINT_ENDED);
    assert_int_equal(finds.items[1].ids[0], 3);
    free(finds.items);
}

/* What the callback returns ends the walk, wherever that is. */
static void test_stopped(void **state)
{
    static const char *const whos[] = {"0.0.0.0/0", "8.8.4.0", "8.8.4.0/31", "10.0.0.1",   "::1",
                                       "::2",       "2a00::1", "2a00::2",    "2a00::2/127"};
    struct lint_entry entries[ARRAY_SIZE(whos)];
    struct finds finds = new_finds();
    size_t all;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(whos); i++) {
        entries[i] = (struct lint_entry){
            .id = (int64_t)i + 1, .account = "", .remark = "", .end = LINT_FOREVER};
        assert_int_equal(who_parse(whos[i], &entries[i].who, NULL), 0);
    }
    entries[8].account = "bob";
    entries[8].end = NOW;
    assert_int_equal(look(plain, entries, ARRAY_SIZE(whos), &finds), 0);
    all = finds.n;
    assert_true(all > 6);
    for (finds.limit = 0; finds.limit < all; finds.limit++) {
        finds.n = 0;
        assert_int_equal(look(plain, entries, ARRAY_SIZE(whos), &finds), -EPIPE);
    }
    free(finds.items);
}

/* ---- a million ---- */

struct tally {
    uint64_t counts[LINT_ENDED + 1];
};

static int count_only(const struct lint_advice *advice, void *arg)
{
    struct tally *tally = arg;

    tally->counts[advice->kind] += advice->count;
    assert_true(advice->ids.n <= LINT_IDS_MAX);
    return 0;
}

/* Each of a million, by its number; 256 to a /24. */
static void million(struct tally *tally, unsigned int step, int64_t ends)
{
    const struct lint_options options = {
        .now = NOW, .idle_before = INT64_MIN, .advice = count_only, .arg = tally};
    struct lint *lint = lint_new(&options);

    assert_non_null(lint);
    for (uint32_t i = 0; i < 1000000; i++) {
        uint32_t at = 0x20000000 + i * step;
        struct addr addr = {
            .family = ADDR_IP4,
            .bytes = {(uint8_t)(at >> 24), (uint8_t)(at >> 16), (uint8_t)(at >> 8), (uint8_t)at}};
        struct lint_entry entry = {.id = i + 1,
                                   .who = {.kind = WHO_ADDRESS, .first = addr, .last = addr},
                                   .account = "",
                                   .remark = "",
                                   .end = ends ? NOW + 1 + i % ends : LINT_FOREVER};

        assert_int_equal(lint_add(lint, &entry), 0);
    }
    assert_int_equal(lint_finish(lint), 0);
    lint_free(lint);
}

static void test_million(void **state)
{
    struct tally tally = {0};

    (void)state;
    million(&tally, 1, 0);
    assert_int_equal(tally.counts[LINT_ADJACENT], 1000000);
    million(&tally, 2, 0);
    assert_int_equal(tally.counts[LINT_ADJACENT], 1000000);
    million(&tally, 1, 1000000); /* each with an end of its own */
    assert_int_equal(tally.counts[LINT_ADJACENT], 1000000);
    assert_int_equal(tally.counts[LINT_COVERED], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model), cmocka_unit_test(test_joins),
        cmocka_unit_test(test_covered),       cmocka_unit_test(test_lists),
        cmocka_unit_test(test_special),       cmocka_unit_test(test_special_together),
        cmocka_unit_test(test_wide),          cmocka_unit_test(test_unused),
        cmocka_unit_test(test_stopped),       cmocka_unit_test(test_million),
    };

    return cmocka_run_group_tests_name("lint", tests, NULL, NULL);
}
