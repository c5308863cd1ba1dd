/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of the store share: a directory, SQL over a connection of the test's own, and a
 * list that works by looking at every entry, with prefixes split from numbers. Has nothing in
 * common with the store but the words of its interface.
 */
#ifndef SMTPGATE_STORE_ORACLE_H
#define SMTPGATE_STORE_ORACLE_H

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "store.h"

typedef unsigned __int128 u128; /* the oracle's own arithmetic */

/* ---- the directory of a test ---- */

struct place {
    char dir[64];
    char file[96];
};

static inline int setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    if (!place)
        return -1;
    /* In memory, where there is such a place: what is tested waits for no disk. */
    snprintf(place->dir, sizeof(place->dir), "%s/smtpgate-store-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(place->dir) || chmod(place->dir, 0755) < 0)
        return -1;
    snprintf(place->file, sizeof(place->file), "%s/smtpgate.db", place->dir);
    *state = place;
    return 0;
}

static inline void clear(const struct place *place)
{
    char journal[128];

    snprintf(journal, sizeof(journal), "%s-journal", place->file);
    unlink(place->file);
    unlink(journal);
}

static inline int teardown(void **state)
{
    struct place *place = *state;
    int r;

    clear(place);
    r = rmdir(place->dir);
    free(place);
    return r;
}

/* ---- the test's own SQL ---- */

static inline sqlite3 *open_sql(const struct place *place)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(place->file, &db), SQLITE_OK);
    return db;
}

static inline void run(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

/* The first column of the first row. */
static inline int64_t number(const struct place *place, const char *sql)
{
    sqlite3 *db = open_sql(place);
    sqlite3_stmt *stmt;
    int64_t value;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return value;
}

/* The two differ in no row; lengths that nothing has any more may stay at 0. */
static inline void check_lengths(const struct place *place)
{
    static const char counted[] = "SELECT family, len, count(*) FROM"
                                  " (SELECT DISTINCT family, addr, len FROM prefix)"
                                  " GROUP BY family, len";
    static const char kept[] = "SELECT family, len, prefixes FROM length WHERE prefixes <> 0";
    char sql[512];

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM (%s EXCEPT %s)", counted, kept);
    assert_int_equal(number(place, sql), 0);
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM (%s EXCEPT %s)", kept, counted);
    assert_int_equal(number(place, sql), 0);
}

/* ---- numbers and addresses ---- */

static inline unsigned int width_of(enum addr_family family)
{
    return family == ADDR_IP4 ? 32 : 128;
}

static inline struct addr addr_of(enum addr_family family, u128 n)
{
    struct addr addr = {.family = family};
    unsigned int bytes = width_of(family) / 8;

    for (unsigned int i = 0; i < bytes; i++)
        addr.bytes[i] = (uint8_t)(n >> 8 * (bytes - 1 - i));
    return addr;
}

static inline u128 number_of(const struct addr *addr)
{
    u128 n = 0;

    for (unsigned int i = 0; i < width_of(addr->family) / 8; i++)
        n = n << 8 | addr->bytes[i];
    return n;
}

static inline u128 ones(unsigned int bits)
{
    return bits >= 128 ? ~(u128)0 : ((u128)1 << bits) - 1;
}

/* ---- the oracle's list ---- */

struct item {
    int64_t id;
    struct who who;
    u128 first, last;
    char account[32], remark[16];
    int64_t created, expires;
};

#define ITEMS_MAX 160

struct list {
    struct item items[ITEMS_MAX];
    size_t count;
};

struct block {
    enum addr_family family;
    u128 start;
    unsigned int len;
    int64_t until;
};

/* Without duplicates, ascending. */
struct blocks {
    struct block all[ITEMS_MAX * 64];
    size_t count;
};

static inline int block_cmp(const void *a, const void *b)
{
    const struct block *x = a, *y = b;

    if (x->family != y->family)
        return x->family < y->family ? -1 : 1;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (int)x->len - (int)y->len;
}

/* The block of @bits low bits at @start, as far as it lies within the item. */
static inline void split(struct blocks *blocks, const struct item *item, u128 start,
                         unsigned int bits)
{
    enum addr_family family = item->who.first.family;
    u128 end = start + ones(bits);

    if (start > item->last || end < item->first)
        return;
    if (start >= item->first && end <= item->last) {
        assert_true(blocks->count < sizeof(blocks->all) / sizeof(blocks->all[0]));
        blocks->all[blocks->count++] =
            (struct block){.family = family,
                           .start = start,
                           .len = width_of(family) - bits,
                           .until = item->expires ? item->expires : UNTIL_FOREVER};
        return;
    }
    split(blocks, item, start, bits - 1);
    split(blocks, item, start + ((u128)1 << (bits - 1)), bits - 1);
}

/* What all lists together need, each until the last that needs it ends. */
static inline void unite(const struct list *list, struct blocks *blocks)
{
    size_t from, to = 0;

    blocks->count = 0;
    for (size_t i = 0; i < list->count; i++)
        split(blocks, &list->items[i], 0, width_of(list->items[i].who.first.family));
    qsort(blocks->all, blocks->count, sizeof(blocks->all[0]), block_cmp);
    for (from = 0; from < blocks->count; from++)
        if (!to || block_cmp(&blocks->all[to - 1], &blocks->all[from]))
            blocks->all[to++] = blocks->all[from];
        else if (blocks->all[from].until > blocks->all[to - 1].until)
            blocks->all[to - 1].until = blocks->all[from].until;
    blocks->count = to;
}

static inline bool in_list(const struct item *item, const struct account *account)
{
    if (!account)
        return true;
    return !strcasecmp(item->account, account->name) || !strcasecmp(item->account, account->other);
}

static inline struct item item_of(int64_t id, const struct who *who)
{
    return (struct item){
        .id = id, .who = *who, .first = number_of(&who->first), .last = number_of(&who->last)};
}

static inline const struct item *find_id(const struct list *list, int64_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].id == id)
            return &list->items[i];
    return NULL;
}

/* ---- asking the store the same ---- */

static inline int compare_entry(const struct store_entry *entry, void *arg)
{
    const struct item **next = arg;

    assert_int_equal(entry->id, (*next)->id);
    assert_int_equal(entry->who.kind, (*next)->who.kind);
    assert_true(who_same_set(&entry->who, &(*next)->who));
    assert_string_equal(entry->account, (*next)->account);
    assert_string_equal(entry->remark, (*next)->remark);
    assert_int_equal(entry->created, (*next)->created);
    assert_int_equal(entry->expires, (*next)->expires);
    (*next)++;
    return 0;
}

static inline void check_entries(struct store *store, const struct list *list)
{
    const struct item *next = list->items;

    assert_int_equal(store_each_entry(store, NULL, STORE_BY_ID, compare_entry, &next, NULL), 0);
    assert_int_equal(next - list->items, list->count);
}

static inline int compare_prefix(const struct prefix *prefix, int64_t until, void *arg)
{
    const struct block **next = arg;

    assert_int_equal(prefix->addr.family, (*next)->family);
    assert_true(number_of(&prefix->addr) == (*next)->start);
    assert_int_equal(prefix->len, (*next)->len);
    assert_int_equal(until, (*next)->until);
    (*next)++;
    return 0;
}

static inline void check_prefixes(struct store *store, const struct blocks *blocks)
{
    const struct block *next = blocks->all;

    assert_int_equal(store_each_prefix(store, compare_prefix, &next, NULL), 0);
    assert_int_equal(next - blocks->all, blocks->count);
}

/* Has the account of the item at @at stood before it? */
static inline bool is_repeated(const struct list *list, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (!strcasecmp(list->items[i].account, list->items[at].account))
            return true;
    return false;
}

/* How many ended, and what is to end next. */
static inline void check_ends(struct store *store, const struct list *list)
{
    for (int64_t now = 1999; now <= 2002; now++) {
        int64_t next, first = 0;
        uint64_t count, ended = 0;

        for (size_t i = 0; i < list->count; i++) {
            int64_t end = list->items[i].expires;

            ended += end && end <= now;
            if (end > now && (!first || end < first))
                first = end;
        }
        assert_int_equal(store_count_ended(store, now, &count, NULL), 0);
        assert_int_equal(count, ended);
        assert_int_equal(store_next_end(store, now, &next, NULL), 0);
        assert_int_equal(next, first);
    }
}

static inline void check_counts(struct store *store, const struct list *list,
                                const struct blocks *blocks)
{
    size_t host = 0, accounts = 0, temporary = 0, kinds[WHO_RANGE + 1] = {0}, prefixes4 = 0;
    struct store_counts counts;
    bool deadlines;

    for (size_t i = 0; i < blocks->count; i++)
        prefixes4 += blocks->all[i].family == ADDR_IP4;

    for (size_t i = 0; i < list->count; i++) {
        host += !*list->items[i].account;
        accounts += *list->items[i].account && !is_repeated(list, i);
        temporary += list->items[i].expires != 0;
        kinds[list->items[i].who.kind]++;
    }
    assert_int_equal(store_read_counts(store, &counts, NULL), 0);
    assert_int_equal(counts.entries, list->count);
    assert_int_equal(counts.host_entries, host);
    assert_int_equal(counts.accounts, accounts);
    assert_int_equal(counts.temporary, temporary);
    assert_int_equal(counts.prefixes, blocks->count);
    assert_int_equal(counts.prefixes4, prefixes4);
    assert_int_equal(counts.prefixes6, blocks->count - prefixes4);
    for (int kind = WHO_ADDRESS; kind <= WHO_RANGE; kind++)
        assert_int_equal(counts.kinds[kind], kinds[kind]);
    check_ends(store, list);
    assert_int_equal(store_has_deadlines(store, &deadlines, NULL), 0);
    assert_true(deadlines || !temporary);
}

/* The delta holds what the two differ in. */
static inline void check_delta(struct store *store, const struct blocks *before,
                               const struct blocks *after)
{
    const struct delta *delta = store_delta(store);
    size_t i = 0, j = 0, n = 0;

    while (i < before->count || j < after->count) {
        const struct block *old = i < before->count ? &before->all[i] : NULL;
        const struct block *new = j < after->count ? &after->all[j] : NULL;
        int order = !old ? 1 : !new ? -1 : block_cmp(old, new);
        const struct block *block = order < 0 ? old : new;
        int64_t was = order > 0 ? UNTIL_ABSENT : old->until;
        int64_t will = order < 0 ? UNTIL_ABSENT : new->until;

        i += order <= 0;
        j += order >= 0;
        if (was == will)
            continue;
        assert_true(n < delta->count);
        assert_int_equal(delta->items[n].before, was);
        assert_int_equal(delta->items[n].after, will);
        assert_int_equal(delta->items[n].prefix.addr.family, block->family);
        assert_true(number_of(&delta->items[n].prefix.addr) == block->start);
        assert_int_equal(delta->items[n].prefix.len, block->len);
        n++;
    }
    assert_int_equal(delta->count, n);
}

/* ---- random changes ---- */

/* Entries meet, nest and touch: few low bits vary, below one of a few fronts. */
static inline struct who random_who(void)
{
    enum addr_family family = rand() % 2 ? ADDR_IP4 : ADDR_IP6;
    unsigned int width = width_of(family), bits = 9, up = family == ADDR_IP6 ? rand() % 3 * 55 : 0;
    u128 front = family == ADDR_IP4 ? (u128)0xc0000200 : (u128)0x20010db8 << 96;
    u128 a = (u128)(rand() % (1 << bits)) << up, b = (u128)(rand() % (1 << bits)) << up;
    struct who who = {.kind = WHO_RANGE};

    switch (rand() % 8) {
    case 0: /* one address */
        who = (struct who){WHO_ADDRESS, addr_of(family, front + a), addr_of(family, front + a)};
        break;
    case 1: /* very wide, or all there is */
        a = (u128)(rand() % 4) << (width - 2);
        b = rand() % 2 ? ones(width) : a | ones(width - 2);
        who = (struct who){WHO_RANGE, addr_of(family, rand() % 2 ? 0 : a), addr_of(family, b)};
        break;
    case 2:
    case 3:
    case 4: { /* a segment */
        unsigned int low = up + (unsigned int)rand() % (bits + 1);

        a = (front + a) & ~ones(low);
        who = (struct who){WHO_SEGMENT, addr_of(family, a), addr_of(family, a | ones(low))};
        break;
    }
    default:
        who.first = addr_of(family, front + (a < b ? a : b));
        who.last = addr_of(family, front + (a < b ? b : a) + (rand() % 2 ? ones(up) : 0));
        break;
    }
    return who;
}

/* Some past, some to come, some for good; the tests' own present is 2000. */
static inline int64_t random_end(void)
{
    static const int64_t ends[] = {0, 0, 0, 1, 1999, 2000, 2001, 3000, INT64_C(253402300799)};

    return ends[(size_t)rand() % (sizeof(ends) / sizeof(ends[0]))];
}

static const char *const logins[] = {"",    "alice", "ALICE@Mail.Example", "alice@mail.example",
                                     "bob", "Bob",   "carol@mail.example", "nobody"};

/* A new entry is written as one that its list has already, or as it was given. */
static bool is_spelling(const struct list *list, const struct account *account, const char *name)
{
    bool any = false;

    for (size_t i = 0; i < list->count; i++) {
        if (!in_list(&list->items[i], account))
            continue;
        if (!strcmp(list->items[i].account, name))
            return true;
        any = true;
    }
    return !any && !strcmp(name, account->name);
}

static inline const char *random_remark(void)
{
    static const char *const remarks[] = {"", "remark", "r\xc3\xbc", "it's \"so\""};

    return remarks[(size_t)rand() % (sizeof(remarks) / sizeof(remarks[0]))];
}

static inline const struct item *find_same(const struct list *list, const struct who *who,
                                           const struct account *account)
{
    for (size_t i = 0; i < list->count; i++)
        if (in_list(&list->items[i], account) && list->items[i].who.kind == who->kind &&
            who_same_set(&list->items[i].who, who))
            return &list->items[i];
    return NULL;
}

/* True when there is one more. */
static inline bool add_random(struct store *store, struct list *list, const char *realm)
{
    const char *login = logins[(size_t)rand() % (sizeof(logins) / sizeof(logins[0]) - 1)];
    struct store_entry entry = {.who = random_who(), .created = 1000 + rand() % 9};
    const struct item *same;
    struct account account;
    struct item *item;
    int64_t id = -1;
    int r;

    if (list->count == ITEMS_MAX)
        return false;
    assert_true(account_resolve(login, realm, &account));
    entry.expires = random_end();
    snprintf(entry.remark, sizeof(entry.remark), "%s", random_remark());
    same = find_same(list, &entry.who, &account);
    r = store_add_entry(store, &entry, &account, &id, NULL);
    assert_int_equal(r, same ? -EEXIST : 0);
    if (same) {
        same = find_id(list, id);
        assert_true(same && in_list(same, &account) && who_same_set(&same->who, &entry.who));
        return false;
    }
    assert_null(find_id(list, id));
    item = &list->items[list->count];
    *item = item_of(id, &entry.who);
    item->created = entry.created;
    item->expires = entry.expires;
    snprintf(item->remark, sizeof(item->remark), "%.15s", entry.remark);
    assert_int_equal(store_find_id(store, id, &entry, NULL), 0);
    assert_true(is_spelling(list, &account, entry.account));
    snprintf(item->account, sizeof(item->account), "%.31s", entry.account);
    list->count++;
    return true;
}

/* The number of the one that is gone, or 0. */
static inline int64_t delete_random(struct store *store, struct list *list)
{
    struct store_entry entry;
    int64_t id;
    size_t at;

    if (!list->count)
        return 0;
    at = (size_t)rand() % list->count;
    id = list->items[at].id;
    assert_int_equal(store_find_id(store, id, &entry, NULL), 0);
    assert_int_equal(store_delete_entry(store, &entry, NULL), 0);
    memmove(&list->items[at], &list->items[at + 1], (--list->count - at) * sizeof(list->items[0]));
    return id;
}

/* Another end or another remark, perhaps the same again; the number of the entry, or 0. */
static inline int64_t edit_random(struct store *store, struct list *list)
{
    struct store_entry entry;
    struct item *item;

    if (!list->count)
        return 0;
    item = &list->items[(size_t)rand() % list->count];
    if (rand() % 3) {
        assert_int_equal(store_find_id(store, item->id, &entry, NULL), 0);
        item->expires = random_end();
        assert_int_equal(store_set_expires(store, &entry, item->expires, NULL), 0);
    } else {
        snprintf(item->remark, sizeof(item->remark), "%s", random_remark());
        assert_int_equal(store_set_remark(store, item->id, item->remark, NULL), 0);
    }
    return item->id;
}

#endif
