// LINK: store account addr who_why prefix delta text err
// LIBS: -lsqlite3
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store on real files, against oracles that share nothing with it: entries in an array that are
 * all looked at, prefixes split from numbers, counts made by SQL over a connection of the test's
 * own. Files of version 1 are made by the statements that made them then; writes fail or end the
 * process at each moment of a migration and of a commit.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store.h"

typedef unsigned __int128 u128; /* the oracles' own arithmetic */

#define NOBODY     65534
#define ID_V1      77
#define REVISION_1 41

/* ---- the directory of a test ---- */

struct place {
    char dir[64];
    char file[96];
};

static int setup(void **state)
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

static void clear(const struct place *place)
{
    char journal[128];

    snprintf(journal, sizeof(journal), "%s-journal", place->file);
    unlink(place->file);
    unlink(journal);
}

static int teardown(void **state)
{
    struct place *place = *state;
    int r;

    clear(place);
    r = rmdir(place->dir);
    free(place);
    return r;
}

/* ---- the test's own SQL ---- */

static sqlite3 *open_sql(const struct place *place)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(place->file, &db), SQLITE_OK);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

/* The first column of the first row. */
static int64_t number(const struct place *place, const char *sql)
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

static void set_number(const struct place *place, const char *sql, int64_t a, int64_t b)
{
    sqlite3 *db = open_sql(place);
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    sqlite3_bind_int64(stmt, 1, a);
    sqlite3_bind_int64(stmt, 2, b);
    assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

/* The two differ in no row; lengths that nothing has any more may stay at 0. */
static void check_lengths(const struct place *place)
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

static unsigned int width_of(enum addr_family family)
{
    return family == ADDR_IP4 ? 32 : 128;
}

static struct addr addr_of(enum addr_family family, u128 n)
{
    struct addr addr = {.family = family};
    unsigned int bytes = width_of(family) / 8;

    for (unsigned int i = 0; i < bytes; i++)
        addr.bytes[i] = (uint8_t)(n >> 8 * (bytes - 1 - i));
    return addr;
}

static u128 number_of(const struct addr *addr)
{
    u128 n = 0;

    for (unsigned int i = 0; i < width_of(addr->family) / 8; i++)
        n = n << 8 | addr->bytes[i];
    return n;
}

static u128 ones(unsigned int bits)
{
    return bits >= 128 ? ~(u128)0 : ((u128)1 << bits) - 1;
}

/* ---- the oracle's list ---- */

struct item {
    int64_t id;
    struct who who;
    u128 first, last;
    char account[32];
    int64_t expires;
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
};

/* Without duplicates, ascending. */
struct blocks {
    struct block all[ITEMS_MAX * 64];
    size_t count;
};

static int block_cmp(const void *a, const void *b)
{
    const struct block *x = a, *y = b;

    if (x->family != y->family)
        return x->family < y->family ? -1 : 1;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (int)x->len - (int)y->len;
}

/* The block of @bits low bits at @start, as far as it lies within first..last. */
static void split(struct blocks *blocks, const struct who *who, u128 start, unsigned int bits)
{
    u128 first = number_of(&who->first), last = number_of(&who->last), end = start + ones(bits);

    if (start > last || end < first)
        return;
    if (start >= first && end <= last) {
        assert_true(blocks->count < sizeof(blocks->all) / sizeof(blocks->all[0]));
        blocks->all[blocks->count++] =
            (struct block){who->first.family, start, width_of(who->first.family) - bits};
        return;
    }
    split(blocks, who, start, bits - 1);
    split(blocks, who, start + ((u128)1 << (bits - 1)), bits - 1);
}

/* What all lists together need. */
static void unite(const struct list *list, struct blocks *blocks)
{
    size_t from, to = 0;

    blocks->count = 0;
    for (size_t i = 0; i < list->count; i++)
        split(blocks, &list->items[i].who, 0, width_of(list->items[i].who.first.family));
    qsort(blocks->all, blocks->count, sizeof(blocks->all[0]), block_cmp);
    for (from = 0; from < blocks->count; from++)
        if (!to || block_cmp(&blocks->all[to - 1], &blocks->all[from]))
            blocks->all[to++] = blocks->all[from];
    blocks->count = to;
}

static bool in_list(const struct item *item, const struct account *account)
{
    if (!account)
        return true;
    return !strcasecmp(item->account, account->name) || !strcasecmp(item->account, account->other);
}

static struct item item_of(int64_t id, const struct who *who)
{
    return (struct item){
        .id = id, .who = *who, .first = number_of(&who->first), .last = number_of(&who->last)};
}

static bool covers(const struct item *item, enum addr_family family, u128 first, u128 last,
                   int64_t now)
{
    return item->who.first.family == family && item->first <= first && item->last >= last &&
           (!item->expires || item->expires > now);
}

/* Begins later, or ends earlier. */
static bool is_closer(const struct item *item, const struct item *than)
{
    return item->first != than->first ? item->first > than->first : item->last < than->last;
}

static const struct item *find_best(const struct list *list, const struct account *account,
                                    const struct addr *first, const struct addr *last, int64_t now)
{
    u128 from = number_of(first), to = number_of(last);
    const struct item *best = NULL;

    for (size_t i = 0; i < list->count; i++) {
        const struct item *item = &list->items[i];

        if (covers(item, first->family, from, to, now) && in_list(item, account) &&
            (!best || is_closer(item, best)))
            best = item;
    }
    return best;
}

static const struct item *find_id(const struct list *list, int64_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].id == id)
            return &list->items[i];
    return NULL;
}

/* ---- asking the store the same ---- */

static void show(const char *what, const struct account *account, const struct addr *first,
                 const struct addr *last)
{
    char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];

    print_message("%s: list %s (%s), %s to %s\n", what, account ? account->name : "(any)",
                  account ? account->other : "", addr_print(first, a), addr_print(last, b));
}

static void check_covering(struct store *store, const struct list *list,
                           const struct account *account, const struct addr *first,
                           const struct addr *last, int64_t now)
{
    const struct item *best = find_best(list, account, first, last, now), *found;
    struct store_entry entry;
    bool covered = !best;
    int r = store_find_covering(store, account, first, last, now, &entry, NULL);

    if (r != (best ? 0 : -ENOENT)) {
        show("find_covering", account, first, last);
        fail_msg("%d, expected %s", r, best ? "an entry" : "none");
    }
    if (best) {
        found = find_id(list, entry.id);
        if (!found || !in_list(found, account) ||
            !covers(found, first->family, number_of(first), number_of(last), now) ||
            is_closer(best, found)) {
            show("find_covering", account, first, last);
            fail_msg("#%lld, expected #%lld", (long long)entry.id, (long long)best->id);
        }
        assert_true(who_same_set(&entry.who, &found->who));
        assert_int_equal(entry.who.kind, found->who.kind);
        assert_string_equal(entry.account, found->account);
    }
    if (addr_cmp(first, last) != 0)
        return;
    assert_int_equal(store_covers(store, account, first, now, &covered, NULL), 0);
    if (covered != (best != NULL)) {
        show("covers", account, first, last);
        fail_msg("%d", covered);
    }
}

static const char *const logins[] = {"",    "alice", "ALICE@Mail.Example", "alice@mail.example",
                                     "bob", "Bob",   "carol@mail.example", "nobody"};

/* At the borders of one entry and beside them, in every list. */
static void check_around(struct store *store, const struct list *list, const struct who *who,
                         const char *realm, int64_t now)
{
    u128 max = ones(width_of(who->first.family));
    u128 first = number_of(&who->first), last = number_of(&who->last);
    const u128 points[] = {first ? first - 1 : 0, first, first + (last - first) / 2, last,
                           last < max ? last + 1 : max};

    for (size_t i = 0; i <= sizeof(logins) / sizeof(logins[0]); i++) {
        struct account account = {0}, *asked = i ? &account : NULL;

        if (i)
            assert_true(account_resolve(logins[i - 1], realm, &account));
        for (size_t j = 0; j < sizeof(points) / sizeof(points[0]); j++) {
            struct addr addr = addr_of(who->first.family, points[j]);

            check_covering(store, list, asked, &addr, &addr, now);
        }
        check_covering(store, list, asked, &who->first, &who->last, now);
        if (first < last) {
            struct addr inner = addr_of(who->first.family, first + 1);

            check_covering(store, list, asked, &inner, &who->last, now);
        }
        if (last < max) {
            struct addr outer = addr_of(who->first.family, last + 1);

            check_covering(store, list, asked, &who->first, &outer, now);
        }
    }
}

static int add_entry(struct store *store, const struct who *who, const struct account *account,
                     const char *remark, int64_t now, int64_t *ret_id)
{
    struct store_entry entry = {.who = *who, .created = now};

    snprintf(entry.remark, sizeof(entry.remark), "%s", remark);
    return store_add_entry(store, &entry, account, ret_id, NULL);
}

static int compare_prefix(const struct prefix *prefix, int64_t until, void *arg)
{
    (void)until;
    const struct block **next = arg;

    assert_int_equal(prefix->addr.family, (*next)->family);
    assert_true(number_of(&prefix->addr) == (*next)->start);
    assert_int_equal(prefix->len, (*next)->len);
    (*next)++;
    return 0;
}

static void check_prefixes(struct store *store, const struct blocks *blocks)
{
    const struct block *next = blocks->all;

    assert_int_equal(store_each_prefix(store, compare_prefix, &next, NULL), 0);
    assert_int_equal(next - blocks->all, blocks->count);
}

static void check_counts(struct store *store, const struct list *list, const struct blocks *blocks)
{
    struct store_counts counts;
    size_t host = 0;

    for (size_t i = 0; i < list->count; i++)
        host += !*list->items[i].account;
    assert_int_equal(store_read_counts(store, &counts, NULL), 0);
    assert_int_equal(counts.entries, list->count);
    assert_int_equal(counts.host_entries, host);
    assert_int_equal(counts.prefixes, blocks->count);
}

/* The delta holds what is in one of them only. */
static void check_delta(struct store *store, const struct blocks *before,
                        const struct blocks *after)
{
    const struct delta *delta = store_delta(store);
    size_t i = 0, j = 0, n = 0;

    while (i < before->count || j < after->count) {
        const struct block *old = i < before->count ? &before->all[i] : NULL;
        const struct block *new = j < after->count ? &after->all[j] : NULL;
        int order = !old ? 1 : !new ? -1 : block_cmp(old, new);
        const struct block *block = order < 0 ? old : new;

        i += order <= 0;
        j += order >= 0;
        if (!order)
            continue;
        assert_true(n < delta->count);
        assert_int_equal(delta->items[n].after > delta->items[n].before, order > 0);
        assert_int_equal(delta->items[n].prefix.addr.family, block->family);
        assert_true(number_of(&delta->items[n].prefix.addr) == block->start);
        assert_int_equal(delta->items[n].prefix.len, block->len);
        n++;
    }
    assert_int_equal(delta->count, n);
}

/* ---- random changes ---- */

/* Entries meet, nest and touch: few low bits vary, below one of a few fronts. */
static struct who random_who(void)
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

static void add_random(struct store *store, struct list *list, const char *realm)
{
    const char *login = logins[(size_t)rand() % (sizeof(logins) / sizeof(logins[0]) - 1)];
    struct who who = random_who();
    struct store_entry entry;
    struct item *item;
    const struct item *same = NULL;
    struct account account;
    int64_t id = -1;
    int r;

    if (list->count == ITEMS_MAX)
        return;
    assert_true(account_resolve(login, realm, &account));
    for (size_t i = 0; i < list->count; i++)
        if (in_list(&list->items[i], &account) && list->items[i].who.kind == who.kind &&
            who_same_set(&list->items[i].who, &who))
            same = &list->items[i];
    r = add_entry(store, &who, &account, "remark", 1000, &id);
    assert_int_equal(r, same ? -EEXIST : 0);
    if (same) {
        same = find_id(list, id);
        assert_true(same && in_list(same, &account));
        return;
    }
    assert_null(find_id(list, id));
    assert_int_equal(store_find_id(store, id, &entry, NULL), 0);
    assert_true(is_spelling(list, &account, entry.account));
    item = &list->items[list->count++];
    *item = item_of(id, &who);
    snprintf(item->account, sizeof(item->account), "%.31s", entry.account);
}

static void delete_random(struct store *store, struct list *list)
{
    struct store_entry entry;
    size_t at;

    if (!list->count)
        return;
    at = (size_t)rand() % list->count;
    assert_int_equal(store_find_id(store, list->items[at].id, &entry, NULL), 0);
    assert_string_equal(entry.account, list->items[at].account);
    assert_int_equal(store_delete_entry(store, &entry, NULL), 0);
    memmove(&list->items[at], &list->items[at + 1], (--list->count - at) * sizeof(list->items[0]));
}

/* As a later command will set them: some past, some to come. */
static void expire_random(const struct place *place, struct list *list)
{
    static const int64_t times[] = {0, 1, 1999, 2000, 2001, 3000};

    for (size_t i = 0; i < list->count; i++) {
        if (rand() % 4)
            continue;
        list->items[i].expires = times[(size_t)rand() % (sizeof(times) / sizeof(times[0]))];
        set_number(place, "UPDATE entry SET expires = ? WHERE id = ?", list->items[i].expires,
                   list->items[i].id);
    }
}

/* One command's worth of changes, kept or taken back. */
static void change_list(struct store *store, struct list *list, const char *realm, bool grow)
{
    static struct list before;
    static struct blocks old, new;

    before = *list;
    unite(list, &old);
    assert_int_equal(store_begin(store, NULL), 0);
    for (int i = rand() % 12; i >= 0; i--)
        if (rand() % 8 < (grow ? 6 : 2))
            add_random(store, list, realm);
        else
            delete_random(store, list);
    unite(list, &new);
    check_delta(store, &old, &new);
    if (rand() % 2) { /* looking writes what was put off, so not each time */
        check_counts(store, list, &new);
        check_prefixes(store, &new);
        if (list->count)
            check_around(store, list, &list->items[(size_t)rand() % list->count].who, realm, 2000);
    }
    if (rand() % 4) {
        assert_int_equal(store_commit(store, NULL), 0);
        return;
    }
    store_rollback(store);
    assert_int_equal(store_delta(store)->count, 0);
    *list = before;
}

/* The realm changes on the way: lists become one, and two again. */
static void compare_with_oracle(const struct place *place, unsigned int seed)
{
    static struct list list;
    static struct blocks blocks;
    struct store *store;

    print_message("seed %u\n", seed);
    srand(seed);
    list.count = 0;
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    for (int round = 0; round < 40; round++) {
        const char *realm = rand() % 3 ? "mail.example" : "";

        change_list(store, &list, realm, round < 24);
        expire_random(place, &list);
        check_lengths(place);
        unite(&list, &blocks);
        check_counts(store, &list, &blocks);
        check_prefixes(store, &blocks);
        if (round % 8 != 7)
            continue;
        for (size_t i = round / 8 % 2; i < list.count; i += 2)
            check_around(store, &list, &list.items[i].who, realm, 2000);
        for (int i = 0; i < 10; i++) {
            struct who who = random_who();

            check_around(store, &list, &who, realm, 2000);
        }
    }
    assert_int_equal(store_verify(store, NULL), 0);
    store_close(store);
    clear(place);
}

static void test_oracle(void **state)
{
    for (unsigned int seed = 1; seed <= 3; seed++)
        compare_with_oracle(*state, seed);
}

/* The same prefix in three lists comes once, and goes with the last. */
static void test_references(void **state)
{
    const struct place *place = *state;
    static const char *const names[] = {"", "alice", "bob"};
    struct store_entry entries[3];
    struct store *store;
    struct account account;
    struct who who;
    int64_t id;

    assert_int_equal(who_parse("192.0.2.0/24", &who, NULL), 0);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_begin(store, NULL), 0);
        account_resolve(names[i], "", &account);
        assert_int_equal(add_entry(store, &who, &account, "", 1, &id), 0);
        assert_int_equal(store_delta(store)->count, i == 0);
        assert_int_equal(store_find_id(store, id, &entries[i], NULL), 0);
        assert_int_equal(store_commit(store, NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_begin(store, NULL), 0);
        assert_int_equal(store_delete_entry(store, &entries[i], NULL), 0);
        assert_int_equal(store_delta(store)->count, i == 2);
        assert_int_equal(store_commit(store, NULL), 0);
        check_lengths(place);
    }
    /* What goes and comes within one transaction is no change. */
    assert_int_equal(store_begin(store, NULL), 0);
    account_resolve("alice", "", &account);
    assert_int_equal(add_entry(store, &who, &account, "", 1, &id), 0);
    assert_int_equal(store_find_id(store, id, &entries[0], NULL), 0);
    assert_int_equal(store_delete_entry(store, &entries[0], NULL), 0);
    assert_int_equal(store_delta(store)->count, 0);
    assert_int_equal(store_commit(store, NULL), 0);
    check_lengths(place);
    store_close(store);
}

/* ---- a file of version 1 ---- */

static const char schema_1[] =
    "CREATE TABLE setting (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL,"
    " revision INTEGER NOT NULL, serial INTEGER NOT NULL, mode INTEGER NOT NULL, list_limit "
    "INTEGER NOT NULL) STRICT;"
    "CREATE TABLE port (port INTEGER PRIMARY KEY, slot INTEGER NOT NULL UNIQUE,"
    " guarded INTEGER NOT NULL) STRICT;"
    "CREATE TABLE entry (id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL,"
    " family INTEGER NOT NULL, first BLOB NOT NULL, last BLOB NOT NULL, kind INTEGER NOT NULL,"
    " remark TEXT NOT NULL, created INTEGER NOT NULL,"
    " expires INTEGER NOT NULL DEFAULT 0, UNIQUE (account, family, first, last, kind)) STRICT;"
    "CREATE TABLE prefix (family INTEGER NOT NULL, addr BLOB NOT NULL, len INTEGER NOT NULL,"
    " entry INTEGER NOT NULL REFERENCES entry (id), PRIMARY KEY (family, addr, len, entry))"
    " STRICT, WITHOUT ROWID;"
    "CREATE INDEX prefix_entry ON prefix (entry);"
    "CREATE TABLE interface (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
    " mode INTEGER NOT NULL, wanted INTEGER NOT NULL) STRICT;"
    "PRAGMA application_id = 0x534d5447; PRAGMA user_version = 1;"
    "INSERT INTO setting VALUES (1, 77, 41, 9, 0, 123);"
    "INSERT INTO port VALUES (25, 0, 0), (465, 1, 1), (587, 2, 1), (2525, 3, 1);"
    "INSERT INTO interface VALUES (1, 'eth0', 1, 1), (3, 'eth1', 2, 0);";

static void insert_1(sqlite3 *db, const struct item *item)
{
    static struct blocks blocks;
    const struct who *who = &item->who;
    int size = (int)addr_len(who->first.family);
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(db,
                                        "INSERT INTO entry VALUES (?, '', ?, ?, ?, ?, 'r\xc3\xbc',"
                                        " 1000, ?)",
                                        -1, &stmt, NULL),
                     SQLITE_OK);
    sqlite3_bind_int64(stmt, 1, item->id);
    sqlite3_bind_int(stmt, 2, who->first.family);
    sqlite3_bind_blob(stmt, 3, who->first.bytes, size, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 4, who->last.bytes, size, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 5, who->kind);
    sqlite3_bind_int64(stmt, 6, item->expires);
    assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    blocks.count = 0;
    split(&blocks, who, 0, width_of(who->first.family));
    assert_int_equal(
        sqlite3_prepare_v2(db, "INSERT INTO prefix VALUES (?, ?, ?, ?)", -1, &stmt, NULL),
        SQLITE_OK);
    for (size_t i = 0; i < blocks.count; i++) {
        struct addr addr = addr_of(blocks.all[i].family, blocks.all[i].start);

        sqlite3_bind_int(stmt, 1, addr.family);
        sqlite3_bind_blob(stmt, 2, addr.bytes, size, SQLITE_STATIC);
        sqlite3_bind_int(stmt, 3, (int)blocks.all[i].len);
        sqlite3_bind_int64(stmt, 4, item->id);
        assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
}

/* @entries of them; the last number given out is @last (0: none ever was). */
static void make_version_1(const struct place *place, struct list *list, size_t entries,
                           int64_t last)
{
    sqlite3 *db;

    clear(place);
    db = open_sql(place);
    run(db, "BEGIN");
    run(db, schema_1);
    list->count = 0;
    while (list->count < entries) {
        struct who who = random_who();
        struct item item = item_of((int64_t)list->count * 2 + 1, &who);
        bool there = false;

        for (size_t i = 0; i < list->count; i++)
            there |=
                list->items[i].who.kind == item.who.kind && who_same_set(&list->items[i].who, &who);
        if (there)
            continue;
        item.expires = rand() % 5 ? 0 : 2000 + rand() % 2;
        insert_1(db, &item);
        list->items[list->count++] = item;
    }
    if (last) {
        struct item gone = {.id = last};

        assert_int_equal(who_parse("203.0.113.255", &gone.who, NULL), 0);
        insert_1(db, &gone);
        run(db, "DELETE FROM prefix WHERE entry = (SELECT max(id) FROM entry);"
                "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)");
    }
    run(db, "COMMIT");
    sqlite3_close(db);
}

static int compare_entry(const struct store_entry *entry, void *arg)
{
    const struct item **next = arg;

    assert_int_equal(entry->id, (*next)->id);
    assert_int_equal(entry->who.kind, (*next)->who.kind);
    assert_true(who_same_set(&entry->who, &(*next)->who));
    assert_string_equal(entry->remark, "r\xc3\xbc");
    assert_string_equal(entry->account, "");
    assert_int_equal(entry->created, 1000);
    assert_int_equal(entry->expires, (*next)->expires);
    (*next)++;
    return 0;
}

static int collect_iface(const struct store_iface *iface, void *arg)
{
    char *text = arg;

    snprintf(text + strlen(text), 100 - strlen(text), "%u %s %d %d;", iface->id, iface->name,
             iface->mode, iface->wanted);
    return 0;
}

static void check_settings(struct store *store)
{
    struct store_settings settings;
    char ifaces[100] = "";

    assert_int_equal(store_read_settings(store, &settings, NULL), 0);
    assert_int_equal(settings.id, ID_V1);
    assert_int_equal(settings.revision, REVISION_1);
    assert_true(settings.on);
    assert_int_equal(settings.plan.mode, SG_MODE_ENFORCE);
    assert_int_equal(settings.limit, 123);
    assert_int_equal(settings.others, STORE_OTHERS_ANYWHERE);
    assert_string_equal(settings.realm, "");
    assert_int_equal(settings.n_ports, 4);
    for (unsigned int i = 0; i < 4; i++)
        assert_int_equal(settings.ports[i].slot, i);
    assert_int_equal(settings.ports[0].port, 25);
    assert_false(settings.ports[0].guarded);
    assert_int_equal(settings.ports[3].port, 2525);
    assert_true(settings.ports[3].guarded);
    assert_int_equal(store_each_iface(store, collect_iface, ifaces, NULL), 0);
    assert_string_equal(ifaces, "1 eth0 1 1;3 eth1 2 0;");
}

/* All that version 1 held, and what is new beside it. */
static void check_migrated(const struct place *place, const struct list *list)
{
    static struct blocks blocks;
    const struct item *next = list->items;
    struct store *store;

    assert_int_equal(store_open(place->dir, STORE_READ, &store, NULL), 0);
    assert_int_equal(store_verify(store, NULL), 0);
    check_settings(store);
    assert_int_equal(store_each_entry(store, NULL, STORE_BY_ID, compare_entry, &next, NULL), 0);
    assert_int_equal(next - list->items, list->count);
    unite(list, &blocks);
    check_prefixes(store, &blocks);
    check_counts(store, list, &blocks);
    for (size_t i = 0; i < list->count; i += 29)
        check_around(store, list, &list->items[i].who, "", 2000);
    store_close(store);
    check_lengths(place);
    assert_int_equal(number(place, "PRAGMA user_version"), 2);
}

static int64_t next_id(const struct place *place)
{
    struct account host = {0};
    struct store *store;
    struct who who;
    int64_t id;

    assert_int_equal(who_parse("203.0.113.254", &who, NULL), 0);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(add_entry(store, &who, &host, "", 1, &id), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    store_close(store);
    return id;
}

static void read_objects(const struct place *place, char *buf, size_t size)
{
    sqlite3 *db = open_sql(place);
    sqlite3_stmt *stmt;

    buf[0] = '\0';
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT type || ' ' || name || ' ' || tbl_name || ';' FROM"
                                        " sqlite_schema ORDER BY 1",
                                        -1, &stmt, NULL),
                     SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW)
        snprintf(buf + strlen(buf), size - strlen(buf), "%s", sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static void test_migration(void **state)
{
    static const struct {
        size_t entries;
        int64_t last, next;
    } cases[] = {{0, 0, 1}, {1, 0, 2}, {0, 90, 91}, {20, 0, 40}, {20, 500, 501}, {150, 0, 300}};
    const struct place *place = *state;
    static struct list list;
    char migrated[2000], fresh[2000];

    srand(3);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct store *store;

        make_version_1(place, &list, cases[i].entries, cases[i].last);
        /* Only what changes things anyway, under its lock, brings it up to date. */
        assert_int_equal(store_open(place->dir, STORE_READ, &store, NULL), -ENOTSUP);
        assert_int_equal(store_open(place->dir, STORE_DRY, &store, NULL), -ENOTSUP);
        assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
        store_close(store);
        check_migrated(place, &list);
        assert_int_equal(next_id(place), cases[i].next);
    }
    read_objects(place, migrated, sizeof(migrated));
    clear(place);
    next_id(place);
    read_objects(place, fresh, sizeof(fresh));
    assert_string_equal(migrated, fresh);
}

/* SQLite counts a file's transactions in its header. */
static uint32_t change_counter(const struct place *place)
{
    uint8_t bytes[4] = {0};
    int fd = open(place->file, O_RDONLY | O_CLOEXEC);

    assert_int_equal(pread(fd, bytes, 4, 24), 4);
    close(fd);
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static int wait_for(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Opens as soon as @start is closed; ends with 0 when that went well. */
static pid_t open_in_child(const struct place *place, const int start[2])
{
    struct store *store;
    char byte;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid)
        return pid;
    close(start[1]);
    if (read(start[0], &byte, 1) != 0 || store_open(place->dir, STORE_WRITE, &store, NULL) < 0)
        _exit(1);
    store_close(store);
    _exit(0);
}

static void test_migration_at_once(void **state)
{
    const struct place *place = *state;
    static struct list list;

    srand(5);
    for (int i = 0; i < 10; i++) {
        pid_t children[4];
        uint32_t before;
        int start[2];

        make_version_1(place, &list, 60, 0);
        before = change_counter(place);
        assert_int_equal(pipe(start), 0);
        for (int j = 0; j < 4; j++)
            children[j] = open_in_child(place, start);
        close(start[0]);
        close(start[1]);
        for (int j = 0; j < 4; j++)
            assert_int_equal(wait_for(children[j]), 0);
        assert_int_equal(change_counter(place), before + 1);
        check_migrated(place, &list);
    }
}

static size_t read_file(const struct place *place, char *buf, size_t size)
{
    int fd = open(place->file, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, buf, size);

    assert_true(n > 0 && (size_t)n < size);
    close(fd);
    return (size_t)n;
}

static void write_file(const struct place *place, const char *buf, size_t len)
{
    int fd = open(place->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_int_equal(write(fd, buf, len), len);
    close(fd);
}

/* In a child that is nobody, as root may write to any file. Ends with 0 when it went as it must. */
static int refused_for_nobody(const struct place *place, enum store_access access)
{
    struct store *store = NULL;
    struct err e = {0};
    pid_t pid = fork();
    bool good;

    assert_true(pid >= 0);
    if (pid)
        return wait_for(pid);
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
        _exit(2);
    good = store_open(place->dir, access, &store, &e) == -ENOTSUP && !store &&
           e.code == EXIT_REFUSED && strstr(e.message, "by an older smtpgate") &&
           strstr(e.hint, "smtpgate sync");
    if (!good)
        print_message("%s\n", e.message);
    _exit(good ? 0 : 1);
}

static void test_migration_refused(void **state)
{
    static char before[1 << 20], after[1 << 20];
    const struct place *place = *state;
    static struct list list;
    struct store *store = NULL;
    struct err e = {0};
    size_t len;

    srand(6);
    make_version_1(place, &list, 30, 0);
    len = read_file(place, before, sizeof(before));
    assert_int_equal(store_open(place->dir, STORE_DRY, &store, &e), -ENOTSUP);
    assert_null(store);
    assert_non_null(strstr(e.message, "by an older smtpgate"));
    assert_int_equal(chmod(place->file, 0444), 0);
    assert_int_equal(refused_for_nobody(place, STORE_READ), 0);
    assert_int_equal(refused_for_nobody(place, STORE_WRITE), 0);
    assert_int_equal(refused_for_nobody(place, STORE_DRY), 0);
    assert_int_equal(read_file(place, after, sizeof(after)), len);
    assert_memory_equal(before, after, len);
    /* And it is still all there for who may. */
    assert_int_equal(chmod(place->file, 0644), 0);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    store_close(store);
    check_migrated(place, &list);
}

/* ---- writes that fail, or are the last thing a process does ---- */

enum fault {
    FAULT_NONE,
    FAULT_FULL, /* no space, from then on */
    FAULT_ONCE, /* an I/O error, once */
    FAULT_DIE,  /* the process ends in the middle of it */
};

/* SQLite's own system calls are replaced: there is no other way to pass this to them. */
static struct {
    enum fault fault;
    unsigned int moment; /* the fault strikes at this call, the first is 1 */
    unsigned int calls;
} injection;

/* True when the call fails, errno set. */
static bool strike(void)
{
    unsigned int call = ++injection.calls;

    if (injection.fault == FAULT_FULL && call >= injection.moment) {
        errno = ENOSPC;
        return true;
    }
    if (injection.fault == FAULT_ONCE && call == injection.moment) {
        errno = EIO;
        return true;
    }
    return false;
}

static bool dies(void)
{
    return injection.fault == FAULT_DIE && injection.calls == injection.moment;
}

static ssize_t faulty_write(int fd, const void *buf, size_t len, off_t at)
{
    if (strike())
        return -1;
    if (!dies())
        return pwrite(fd, buf, len, at);
    (void)!pwrite(fd, buf, len / 2, at); /* half of it gets there */
    _exit(42);
}

static int faulty_unlink(const char *path)
{
    if (strike())
        return -1;
    if (dies())
        _exit(42);
    return unlink(path);
}

static int faulty_truncate(int fd, off_t len)
{
    if (strike())
        return -1;
    if (dies())
        _exit(42);
    return ftruncate(fd, len);
}

static void inject(enum fault fault, unsigned int moment)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    bool on = fault != FAULT_NONE;

    injection.fault = fault;
    injection.moment = moment;
    injection.calls = 0;
#define SET(name, f) \
    vfs->xSetSystemCall(vfs, name, on ? (sqlite3_syscall_ptr)(void (*)(void))(f) : NULL)
    SET("pwrite", faulty_write);
    SET("pwrite64", faulty_write);
    SET("unlink", faulty_unlink);
    SET("ftruncate", faulty_truncate);
#undef SET
}

/* In another process; 42 when the fault ended it, else 0 or 1 as @work went. */
static int run_to_death(const struct place *place, unsigned int moment,
                        int (*work)(const struct place *place))
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid)
        return wait_for(pid);
    inject(FAULT_DIE, moment);
    _exit(work(place) < 0 ? 1 : 0);
}

static int open_only(const struct place *place)
{
    struct store *store;
    int r = store_open(place->dir, STORE_WRITE, &store, NULL);

    if (r == 0)
        store_close(store);
    return r;
}

/* One version or the other, whole; and the next one who comes finds all that was there. */
static void check_either_version(const struct place *place, const struct list *list)
{
    int64_t version = number(place, "PRAGMA user_version");

    assert_true(version == 1 || version == 2);
    assert_int_equal(number(place, "SELECT count(*) FROM entry"), list->count);
    assert_int_equal(number(place, "SELECT count(*) FROM pragma_integrity_check"
                                   " WHERE integrity_check = 'ok'"),
                     1);
    assert_int_equal(number(place, "SELECT count(*) FROM sqlite_schema"
                                   " WHERE name IN ('entry_1', 'prefix_1')"),
                     0);
    assert_int_equal(open_only(place), 0);
    check_migrated(place, list);
}

static void test_migration_killed(void **state)
{
    static char template[1 << 20];
    const struct place *place = *state;
    static struct list list;
    unsigned int moment;
    int end = 42;
    size_t len;

    srand(8);
    make_version_1(place, &list, 24, 0);
    len = read_file(place, template, sizeof(template));
    for (moment = 1; end == 42 && moment < 1000; moment++) {
        clear(place);
        write_file(place, template, len);
        end = run_to_death(place, moment, open_only);
        check_either_version(place, &list);
    }
    assert_int_equal(end, 0);
    print_message("killed at %u moments\n", moment - 2);
    assert_true(moment > 10);
}

static void test_migration_failing(void **state)
{
    static const enum fault faults[] = {FAULT_FULL, FAULT_ONCE};
    static char template[1 << 20];
    const struct place *place = *state;
    static struct list list;
    size_t len;

    srand(9);
    make_version_1(place, &list, 24, 0);
    len = read_file(place, template, sizeof(template));
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        unsigned int moment = 0, failures = 0;
        bool struck = true;

        while (struck && ++moment < 1000) {
            struct err e = {0};
            struct store *store = NULL;
            int r;

            clear(place);
            write_file(place, template, len);
            inject(faults[i], moment);
            r = store_open(place->dir, STORE_WRITE, &store, &e);
            struck = injection.calls >= moment;
            store_close(store);
            inject(FAULT_NONE, 0);
            failures += r < 0;
            if (r < 0)
                assert_int_equal(e.code, EXIT_REFUSED);
            else
                assert_int_equal(number(place, "PRAGMA user_version"), 2);
            check_either_version(place, &list);
        }
        assert_false(struck);
        print_message("%u failures\n", failures);
        assert_true(failures > 5);
    }
}

/* ---- the same for a change of the list ---- */

static struct who wanted(unsigned int i)
{
    struct who who;
    char text[64];

    snprintf(text, sizeof(text), "192.0.2.%u-198.51.100.%u", i, i);
    assert_int_equal(who_parse(text, &who, NULL), 0);
    return who;
}

/* Adds entries that need many pages. */
static int add_many(const struct place *place)
{
    struct account alice;
    struct store *store;
    int r;

    account_resolve("alice", "", &alice);
    r = store_open(place->dir, STORE_WRITE, &store, NULL);
    if (r < 0)
        return r;
    r = store_begin(store, NULL);
    for (unsigned int i = 1; r == 0 && i < 20; i++) {
        struct who who = wanted(i);
        int64_t id;

        r = add_entry(store, &who, &alice, "remark", 1, &id);
    }
    if (r == 0)
        r = store_commit(store, NULL);
    store_close(store);
    return r;
}

/* All of them or none; @all -1: either. */
static void check_all_or_none(const struct place *place, int all)
{
    struct store *store;
    int64_t count;

    assert_int_equal(store_open(place->dir, STORE_READ, &store, NULL), 0);
    assert_int_equal(store_verify(store, NULL), 0);
    store_close(store);
    check_lengths(place);
    count = number(place, "SELECT count(*) FROM entry");
    assert_true(count == 1 || count == 20);
    if (all >= 0)
        assert_int_equal(count, all ? 20 : 1);
}

static void test_commit_faults(void **state)
{
    static const enum fault faults[] = {FAULT_DIE, FAULT_FULL, FAULT_ONCE};
    static char template[1 << 20];
    const struct place *place = *state;
    size_t len;

    next_id(place);
    len = read_file(place, template, sizeof(template));
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        unsigned int moment = 0;
        bool struck = true;

        while (struck && ++moment < 1000) {
            int r;

            clear(place);
            write_file(place, template, len);
            if (faults[i] == FAULT_DIE) {
                r = run_to_death(place, moment, add_many);
                struck = r == 42;
                check_all_or_none(place, struck ? -1 : 1);
                continue;
            }
            inject(faults[i], moment);
            r = add_many(place);
            struck = injection.calls >= moment;
            inject(FAULT_NONE, 0);
            check_all_or_none(place, r == 0);
        }
        assert_false(struck);
        assert_true(moment > 5);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_oracle),
        TEST(test_references),
        TEST(test_migration),
        TEST(test_migration_at_once),
        TEST(test_migration_refused),
        TEST(test_migration_killed),
        TEST(test_migration_failing),
        TEST(test_commit_faults),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
