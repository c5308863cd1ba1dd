// LINK: store account addr who_why prefix delta text trust err
// LIBS: -lsqlite3
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store on real files, against oracles that share nothing with it: entries in an array that are
 * all looked at, prefixes split from numbers, counts made by SQL over a connection of the test's
 * own. Files of older versions are made by the statements that made them then; writes fail or end
 * the process at each moment of a migration and of a commit.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/wait.h>

#include "store_oracle.h"

#define NOBODY 65534

/* Of the old files. */
#define ID_OLD       77
#define REVISION_OLD 41

#define VERSION_NOW 4

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

/* ---- random changes ---- */

/* One command's worth of changes, kept or taken back. */
static void change_list(struct store *store, struct list *list, const char *realm, bool grow)
{
    static struct list before;
    static struct blocks old, new;

    before = *list;
    unite(list, &old);
    assert_int_equal(store_begin(store, NULL), 0);
    for (int i = rand() % 12; i >= 0; i--) {
        if (rand() % 3 == 0)
            edit_random(store, list);
        else if (rand() % 8 < (grow ? 6 : 2))
            add_random(store, list, realm);
        else
            delete_random(store, list);
        if (rand() % 8 == 0) /* looking in between changes nothing */
            store_delta(store);
    }
    unite(list, &new);
    check_delta(store, &old, &new);
    if (rand() % 2) { /* looking writes what was put off, so not each time */
        check_counts(store, list, &new);
        check_prefixes(store, &new);
        check_entries(store, list);
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
        check_lengths(place);
        unite(&list, &blocks);
        check_counts(store, &list, &blocks);
        check_prefixes(store, &blocks);
        check_entries(store, &list);
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

/* One prefix in three lists is let in until the last of its ends; each step shows what changes. */
static void test_ends(void **state)
{
    static const struct {
        const char *account;
        char what; /* add, edit, delete */
        int64_t expires, before, after;
    } steps[] = {
        {"alice", 'a', 100, UNTIL_ABSENT, 100},
        {"bob", 'a', 50, 0, 0},
        {"bob", 'e', 200, 100, 200},
        {"alice", 'd', 0, 0, 0},
        {"bob", 'e', 0, 200, UNTIL_FOREVER},
        {"", 'a', 300, 0, 0},
        {"bob", 'd', 0, UNTIL_FOREVER, 300},
        {"", 'e', 299, 300, 299},
        {"", 'd', 0, 299, UNTIL_ABSENT},
    };
    const struct place *place = *state;
    struct store *store;
    struct who who;

    assert_int_equal(who_parse("192.0.2.0/24", &who, NULL), 0);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct store_entry entry = {.who = who, .expires = steps[i].expires};
        const struct delta *delta;
        struct account account;
        int64_t id;

        account_resolve(steps[i].account, "", &account);
        assert_int_equal(store_begin(store, NULL), 0);
        if (steps[i].what == 'a')
            assert_int_equal(store_add_entry(store, &entry, &account, &id, NULL), 0);
        else
            assert_int_equal(store_find_who(store, &who, &account, &entry, NULL), 0);
        if (steps[i].what == 'e')
            assert_int_equal(store_set_expires(store, &entry, steps[i].expires, NULL), 0);
        if (steps[i].what == 'd')
            assert_int_equal(store_delete_entry(store, &entry, NULL), 0);
        delta = store_delta(store);
        assert_int_equal(delta->count, steps[i].before != steps[i].after);
        if (delta->count) {
            assert_int_equal(delta->items[0].before, steps[i].before);
            assert_int_equal(delta->items[0].after, steps[i].after);
        }
        assert_int_equal(store_commit(store, NULL), 0);
    }
    store_close(store);
}

/* An end before all ends would be one here and none there. */
static void test_negative_end(void **state)
{
    const struct place *place = *state;
    struct err e = {0};
    struct list list;
    struct store *store;
    const struct item *next = list.items;
    sqlite3 *db;

    next_id(place);
    assert_int_equal(store_open(place->dir, STORE_READ, &store, NULL), 0);
    assert_int_equal(store_verify(store, NULL), 0);
    db = open_sql(place);
    run(db, "UPDATE entry SET expires = -1");
    sqlite3_close(db);
    assert_int_equal(store_verify(store, &e), -EUCLEAN);
    assert_non_null(strstr(e.message, "table entry"));
    assert_int_equal(store_each_entry(store, NULL, STORE_BY_ID, compare_entry, &next, NULL),
                     -EUCLEAN);
    store_close(store);
}

/* What is counted apart has to fit. */
static void test_counts_that_lie(void **state)
{
    static const char *const lies[][2] = {
        {"UPDATE tally SET entries = entries + 1 WHERE kind = 1",
         "UPDATE tally SET entries = entries - 1 WHERE kind = 1"},
        {"UPDATE tally SET temporary = 1 WHERE kind = 1",
         "UPDATE tally SET temporary = 0 WHERE kind = 1"},
        {"DELETE FROM tally WHERE kind = 0", "INSERT INTO tally VALUES (0, 1, 0)"},
        {"DELETE FROM list", "INSERT INTO list VALUES ('', 2)"},
        {"UPDATE tally SET kind = 7 WHERE kind = 0", "UPDATE tally SET kind = 0 WHERE kind = 7"},
        {"UPDATE list SET entries = entries - 1", "UPDATE list SET entries = entries + 1"},
        {"INSERT INTO list VALUES ('nobody', 2)", "DELETE FROM list WHERE account = 'nobody'"},
    };
    const struct place *place = *state;
    struct account host = {0};
    struct store *store;
    struct err e = {0};
    int64_t id;

    clear(place);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        struct store_entry entry = {.created = 1};

        assert_int_equal(who_parse(i ? "192.0.2.0/24" : "192.0.2.1", &entry.who, NULL), 0);
        assert_int_equal(store_add_entry(store, &entry, &host, &id, NULL), 0);
    }
    assert_int_equal(store_commit(store, NULL), 0);
    assert_int_equal(store_verify(store, NULL), 0);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        sqlite3 *db = open_sql(place);

        run(db, lies[i][0]);
        assert_int_equal(store_verify(store, &e), -EUCLEAN);
        run(db, lies[i][1]);
        sqlite3_close(db);
        assert_int_equal(store_verify(store, NULL), 0);
    }
    store_close(store);
}

/* ---- files made to do harm ---- */

#define ENDLESS \
    "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n)"

static int read_everything(struct store *store, struct err *e)
{
    struct store_settings settings;
    struct store_counts counts;
    struct item item;
    const struct item *next = &item;
    int r = store_read_settings(store, &settings, e);

    memset(&item, 0, sizeof(item));
    if (r == 0)
        r = store_read_counts(store, &counts, e);
    return r == 0 ? store_each_entry(store, NULL, STORE_BY_ID, compare_entry, &next, e) : r;
}

/* What a file brings along never runs, takes no time or memory at will, and moves no cursor. */
static void test_hostile(void **state)
{
    static const char *const schemas[] = {
        "DROP TABLE length; CREATE VIEW length (family, len, prefixes) AS SELECT 4, 32, " ENDLESS,
        "DROP TABLE port; CREATE TABLE port (port INTEGER PRIMARY KEY, slot AS (0),"
        " guarded AS (hex(zeroblob(100000000)))); INSERT INTO port VALUES (25)",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = char(27) || '[2J'"
        " WHERE name = 'entry'",
        /* a segment that is none, an address that is two, a range that could not be typed */
        "INSERT INTO entry VALUES (1, '', 4, x'c0000201', x'c00002ff', 1, '', 1, 0)",
        "INSERT INTO entry VALUES (1, '', 4, x'c0000201', x'c0000202', 0, '', 1, 0)",
        "INSERT INTO entry VALUES (1, '', 6, x'00000000000000000000ffff00000001',"
        " x'00000000000000000000ffff00000002', 2, '', 1, 0)",
    };
    const struct place *place = *state;

    for (size_t i = 0; i < sizeof(schemas) / sizeof(*schemas); i++) {
        struct err e = {0};
        struct store *store;
        sqlite3 *db;
        int r;

        clear(place);
        assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
        store_close(store);
        db = open_sql(place);
        run(db, schemas[i]);
        sqlite3_close(db);
        sqlite3_memory_highwater(1);
        r = store_open(place->dir, STORE_READ, &store, &e);
        if (r == 0) {
            r = read_everything(store, &e);
            store_close(store);
        }
        assert_int_equal(r, -EUCLEAN);
        assert_non_null(strstr(e.message, "is damaged"));
        assert_null(strchr(e.message, 27));
        assert_true(sqlite3_memory_highwater(0) < 32 << 20);
    }
}

/* A trigger is nobody's: neither does it run, nor does it keep anybody from a change. */
static void test_trigger(void **state)
{
    const struct place *place = *state;
    struct store_entry entry = {.created = 1};
    struct account host = {0};
    struct store *store;
    sqlite3 *db;
    int64_t id;

    clear(place);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    store_close(store);
    db = open_sql(place);
    run(db,
        "CREATE TRIGGER t AFTER INSERT ON entry BEGIN UPDATE port SET guarded = " ENDLESS "; END");
    sqlite3_close(db);
    assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(who_parse("192.0.2.1", &entry.who, NULL), 0);
    assert_int_equal(store_add_entry(store, &entry, &host, &id, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    store_close(store);
    assert_int_equal(number(place, "SELECT sum(guarded) FROM port"), 3);
}

/* ---- files of older versions ---- */

#define OLD_ENTRY(collate)                                                                       \
    "CREATE TABLE entry (id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL" collate    \
    ", family INTEGER NOT NULL, first BLOB NOT NULL, last BLOB NOT NULL, kind INTEGER NOT NULL," \
    " remark TEXT NOT NULL, created INTEGER NOT NULL,"                                           \
    " expires INTEGER NOT NULL DEFAULT 0, UNIQUE (account, family, first, last, kind)) STRICT;"
#define OLD_OTHERS                                                                 \
    "CREATE TABLE port (port INTEGER PRIMARY KEY, slot INTEGER NOT NULL UNIQUE,"   \
    " guarded INTEGER NOT NULL) STRICT;"                                           \
    "CREATE TABLE interface (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT " \
    "NULL, mode INTEGER NOT NULL, wanted INTEGER NOT NULL) STRICT;"                \
    "INSERT INTO port VALUES (25, 0, 0), (465, 1, 1), (587, 2, 1), (2525, 3, 1);"  \
    "INSERT INTO interface VALUES (1, 'eth0', 1, 1), (3, 'eth1', 2, 0);"           \
    "PRAGMA application_id = 0x534d5447;"

static const char *const old_schemas[] = {
    NULL,
    "CREATE TABLE setting (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL,"
    " revision INTEGER NOT NULL, serial INTEGER NOT NULL, mode INTEGER NOT NULL, list_limit "
    "INTEGER NOT NULL) STRICT;" OLD_ENTRY(
        "") "CREATE TABLE prefix (family INTEGER NOT NULL, addr BLOB NOT NULL, len INTEGER NOT "
            "NULL,"
            " entry INTEGER NOT NULL REFERENCES entry (id), PRIMARY KEY (family, addr, len, entry))"
            " STRICT, WITHOUT ROWID;"
            "CREATE INDEX prefix_entry ON prefix (entry);" OLD_OTHERS
            "INSERT INTO setting VALUES (1, 77, 41, 9, 0, 123);"
            "PRAGMA user_version = 1;",
    "CREATE TABLE setting (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL,"
    " revision INTEGER NOT NULL, serial INTEGER NOT NULL, mode INTEGER NOT NULL, list_limit "
    "INTEGER NOT NULL, others INTEGER NOT NULL DEFAULT 0, realm TEXT NOT NULL DEFAULT '') "
    "STRICT;" OLD_ENTRY(
        " COLLATE NOCASE") "CREATE TABLE prefix (account TEXT NOT NULL COLLATE NOCASE, family "
                           "INTEGER NOT NULL,"
                           " addr BLOB NOT NULL, len INTEGER NOT NULL, entry INTEGER NOT NULL,"
                           " PRIMARY KEY (account, family, addr, len, entry)) STRICT, WITHOUT "
                           "ROWID;"
                           "CREATE INDEX prefix_union ON prefix (family, addr, len);"
                           "CREATE TABLE length (family INTEGER NOT NULL, len INTEGER NOT NULL,"
                           " prefixes INTEGER NOT NULL, PRIMARY KEY (family, len)) STRICT, WITHOUT "
                           "ROWID;" OLD_OTHERS
                           "INSERT INTO setting VALUES (1, 77, 41, 9, 0, 123, 1, 'mail.example');"
                           "PRAGMA user_version = 2;",
    /* Version 3: written as it was made new, not as version 2 became it. */
    "CREATE TABLE setting (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL, revision"
    " INTEGER NOT NULL, serial INTEGER NOT NULL, list_limit INTEGER NOT NULL, others INTEGER NOT "
    "NULL"
    " DEFAULT 0, realm TEXT NOT NULL DEFAULT '', is_on INTEGER NOT NULL DEFAULT 0, mode INTEGER NOT"
    " NULL DEFAULT 0, mode_then INTEGER NOT NULL DEFAULT 0, mode_until INTEGER NOT NULL DEFAULT 0,"
    " clock INTEGER NOT NULL DEFAULT 0) STRICT;" OLD_ENTRY(
        " COLLATE NOCASE") "CREATE INDEX entry_temporary ON entry (expires) WHERE expires > 0;"
                           "CREATE TABLE prefix (account TEXT NOT NULL COLLATE NOCASE, family "
                           "INTEGER NOT NULL, addr BLOB"
                           " NOT NULL, len INTEGER NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY "
                           "(account, family, addr,"
                           " len, entry)) STRICT, WITHOUT ROWID;"
                           "CREATE INDEX prefix_union ON prefix (family, addr, len);"
                           "CREATE TABLE length (family INTEGER NOT NULL, len INTEGER NOT NULL, "
                           "prefixes INTEGER NOT NULL,"
                           " PRIMARY KEY (family, len)) STRICT, WITHOUT ROWID;"
                           "CREATE TABLE change (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER "
                           "NOT NULL, uid INTEGER NOT"
                           " NULL, who TEXT NOT NULL, origin TEXT NOT NULL, command TEXT NOT NULL, "
                           "kind INTEGER NOT NULL,"
                           " target INTEGER NOT NULL DEFAULT 0, added INTEGER NOT NULL DEFAULT 0, "
                           "deleted INTEGER NOT NULL"
                           " DEFAULT 0, edited INTEGER NOT NULL DEFAULT 0, images INTEGER NOT NULL "
                           "DEFAULT 0, first_new"
                           " INTEGER NOT NULL DEFAULT 0, last_new INTEGER NOT NULL DEFAULT 0, "
                           "is_on INTEGER NOT NULL, mode"
                           " INTEGER NOT NULL, mode_then INTEGER NOT NULL, mode_until INTEGER NOT "
                           "NULL, list_limit INTEGER"
                           " NOT NULL, others INTEGER NOT NULL, realm TEXT NOT NULL, ports TEXT "
                           "NOT NULL) STRICT;"
                           "CREATE TABLE image (change INTEGER NOT NULL, entry INTEGER NOT NULL, "
                           "absent INTEGER NOT NULL,"
                           " account TEXT, family INTEGER, first BLOB, last BLOB, kind INTEGER, "
                           "remark TEXT, created"
                           " INTEGER, expires INTEGER, PRIMARY KEY (change, entry)) STRICT, "
                           "WITHOUT ROWID;" OLD_OTHERS "INSERT INTO setting VALUES (1, 77, 41, 9, "
                           "123, 1, 'mail.example', 1, 0, 0, 0, 0);"
                           "PRAGMA user_version = 3;",
};

/* What the old file is like. */
struct old {
    int version;
    bool off; /* its mode is 1 */
    size_t entries;
    int64_t last; /* number given out; 0: no more than there are */
};

static void insert_old(sqlite3 *db, const struct item *item, int version)
{
    static struct blocks blocks;
    const struct who *who = &item->who;
    int size = (int)addr_len(who->first.family);
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                        -1, &stmt, NULL),
                     SQLITE_OK);
    sqlite3_bind_int64(stmt, 1, item->id);
    sqlite3_bind_text(stmt, 2, item->account, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 3, who->first.family);
    sqlite3_bind_blob(stmt, 4, who->first.bytes, size, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 5, who->last.bytes, size, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 6, who->kind);
    sqlite3_bind_text(stmt, 7, item->remark, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 8, item->created);
    sqlite3_bind_int64(stmt, 9, item->expires);
    assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    blocks.count = 0;
    split(&blocks, item, 0, width_of(who->first.family));
    assert_int_equal(sqlite3_prepare_v2(
                         db,
                         version == 1 ? "INSERT INTO prefix VALUES (?1, ?2, ?3, ?4)"
                                      : "INSERT INTO prefix (family, addr, len, entry, account)"
                                        " SELECT ?1, ?2, ?3, ?4, account FROM entry WHERE id = ?4",
                         -1, &stmt, NULL),
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

static void make_list(sqlite3 *db, struct list *list, const struct old *old)
{
    list->count = 0;
    while (list->count < old->entries) {
        struct who who = random_who();
        struct item item = item_of((int64_t)list->count * 2 + 1, &who);
        struct account account;

        if (old->version > 1 && rand() % 2)
            snprintf(item.account, sizeof(item.account), "%s", rand() % 2 ? "alice" : "Bob");
        account_resolve(item.account, "", &account);
        if (find_same(list, &who, &account))
            continue;
        item.created = 1000 + rand() % 9;
        item.expires = rand() % 5 ? 0 : 2000 + rand() % 2;
        snprintf(item.remark, sizeof(item.remark), "%s", random_remark());
        insert_old(db, &item, old->version);
        list->items[list->count++] = item;
    }
}

static void make_old(const struct place *place, struct list *list, const struct old *old)
{
    sqlite3 *db;

    clear(place);
    db = open_sql(place);
    run(db, "BEGIN");
    run(db, old_schemas[old->version]);
    if (old->off)
        run(db, old->version < 3 ? "UPDATE setting SET mode = 1" : "UPDATE setting SET is_on = 0");
    make_list(db, list, old);
    if (old->last) {
        struct who who;
        struct item gone;

        assert_int_equal(who_parse("203.0.113.255", &who, NULL), 0);
        gone = item_of(old->last, &who);
        insert_old(db, &gone, old->version);
        run(db, "DELETE FROM prefix WHERE entry = (SELECT max(id) FROM entry);"
                "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)");
    }
    if (old->version > 1)
        run(db, "INSERT INTO length SELECT family, len, count(*) FROM"
                " (SELECT DISTINCT family, addr, len FROM prefix) GROUP BY family, len");
    run(db, "COMMIT");
    sqlite3_close(db);
}

static int collect_iface(const struct store_iface *iface, void *arg)
{
    char *text = arg;

    snprintf(text + strlen(text), 100 - strlen(text), "%u %s %d %d;", iface->id, iface->name,
             iface->mode, iface->wanted);
    return 0;
}

static void check_settings(struct store *store, const struct old *old)
{
    struct store_settings settings;
    char ifaces[100] = "";

    assert_int_equal(store_read_settings(store, &settings, NULL), 0);
    assert_int_equal(settings.id, ID_OLD);
    assert_int_equal(settings.revision, REVISION_OLD);
    assert_int_equal(settings.on, !old->off);
    assert_int_equal(settings.plan.mode, SG_MODE_ENFORCE);
    assert_int_equal(settings.plan.until, 0);
    assert_int_equal(settings.clock, 0);
    assert_int_equal(settings.limit, 123);
    assert_int_equal(settings.others,
                     old->version == 1 ? STORE_OTHERS_ANYWHERE : STORE_OTHERS_NOWHERE);
    assert_string_equal(settings.realm, old->version == 1 ? "" : "mail.example");
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

/* All that the old file held, and what is new beside it. */
static void check_migrated(const struct place *place, const struct list *list,
                           const struct old *old)
{
    static struct blocks blocks;
    struct store *store;

    assert_int_equal(store_open(place->dir, STORE_READ, &store, NULL), 0);
    assert_int_equal(store_verify(store, NULL), 0);
    check_settings(store, old);
    check_entries(store, list);
    unite(list, &blocks);
    check_prefixes(store, &blocks);
    check_counts(store, list, &blocks);
    for (size_t i = 0; i < list->count; i += 29)
        check_around(store, list, &list->items[i].who, "", 2000);
    store_close(store);
    check_lengths(place);
    assert_int_equal(number(place, "PRAGMA user_version"), VERSION_NOW);
    assert_int_equal(number(place, "SELECT (SELECT count(*) FROM change) +"
                                   " (SELECT count(*) FROM image)"),
                     0);
}

/* Tables, indices and columns. */
static void read_objects(const struct place *place, char *buf, size_t size)
{
    static const char sql[] =
        "SELECT type || ' ' || name || ' ' || tbl_name || ';' FROM sqlite_schema"
        " UNION SELECT m.name || '.' || c.name || ' ' || c.type || c.\"notnull\" || c.pk || ';'"
        " FROM sqlite_schema m, pragma_table_xinfo(m.name) c ORDER BY 1";
    sqlite3 *db = open_sql(place);
    sqlite3_stmt *stmt;

    buf[0] = '\0';
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW)
        snprintf(buf + strlen(buf), size - strlen(buf), "%s", sqlite3_column_text(stmt, 0));
    assert_true(strlen(buf) + 1 < size);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static void test_migration(void **state)
{
    static const struct {
        struct old old;
        int64_t next;
    } cases[] = {
        {{1, false, 0, 0}, 1},      {{1, true, 1, 0}, 2},       {{1, false, 0, 90}, 91},
        {{1, false, 20, 0}, 40},    {{1, true, 20, 500}, 501},  {{1, false, 150, 0}, 300},
        {{2, true, 0, 0}, 1},       {{2, false, 1, 0}, 2},      {{2, true, 0, 90}, 91},
        {{2, false, 20, 500}, 501}, {{2, true, 20, 0}, 40},     {{2, false, 150, 0}, 300},
        {{3, true, 0, 90}, 91},     {{3, false, 20, 500}, 501}, {{3, true, 150, 0}, 300},
    };
    const struct place *place = *state;
    static struct list list;
    char migrated[8000], fresh[8000];

    clear(place);
    next_id(place);
    read_objects(place, fresh, sizeof(fresh));
    srand(3);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct store *store;

        make_old(place, &list, &cases[i].old);
        /* Only what changes things anyway, under its lock, brings it up to date. */
        assert_int_equal(store_open(place->dir, STORE_READ, &store, NULL), -ENOTSUP);
        assert_int_equal(store_open(place->dir, STORE_DRY, &store, NULL), -ENOTSUP);
        assert_int_equal(store_open(place->dir, STORE_WRITE, &store, NULL), 0);
        store_close(store);
        check_migrated(place, &list, &cases[i].old);
        read_objects(place, migrated, sizeof(migrated));
        assert_string_equal(migrated, fresh);
        assert_int_equal(next_id(place), cases[i].next);
    }
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
        struct old old = {.version = 1 + i % 3, .entries = 60};
        pid_t children[4];
        uint32_t before;
        int start[2];

        make_old(place, &list, &old);
        before = change_counter(place);
        assert_int_equal(pipe(start), 0);
        for (int j = 0; j < 4; j++)
            children[j] = open_in_child(place, start);
        close(start[0]);
        close(start[1]);
        for (int j = 0; j < 4; j++)
            assert_int_equal(wait_for(children[j]), 0);
        assert_int_equal(change_counter(place), before + 1);
        check_migrated(place, &list, &old);
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

static void refuse(const struct place *place, const struct old *old)
{
    static char before[1 << 20], after[1 << 20];
    static struct list list;
    struct store *store = NULL;
    struct err e = {0};
    size_t len;

    make_old(place, &list, old);
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
    check_migrated(place, &list, old);
}

static void test_migration_refused(void **state)
{
    static const struct old olds[] = {{.version = 1, .entries = 30},
                                      {.version = 2, .entries = 30},
                                      {.version = 3, .entries = 30}};

    srand(6);
    for (size_t i = 0; i < sizeof(olds) / sizeof(olds[0]); i++)
        refuse(*state, &olds[i]);
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
static void check_either_version(const struct place *place, const struct list *list,
                                 const struct old *old)
{
    int64_t version = number(place, "PRAGMA user_version");

    assert_true(version == old->version || version == VERSION_NOW);
    assert_int_equal(number(place, "SELECT count(*) FROM entry"), list->count);
    assert_int_equal(number(place, "SELECT count(*) FROM pragma_integrity_check"
                                   " WHERE integrity_check = 'ok'"),
                     1);
    assert_int_equal(number(place, "SELECT count(*) FROM sqlite_schema"
                                   " WHERE name IN ('entry_1', 'prefix_1')"),
                     0);
    assert_int_equal(open_only(place), 0);
    check_migrated(place, list, old);
}

static void kill_at_each_moment(const struct place *place, const struct old *old)
{
    static char template[1 << 20];
    static struct list list;
    unsigned int moment;
    int end = 42;
    size_t len;

    make_old(place, &list, old);
    len = read_file(place, template, sizeof(template));
    for (moment = 1; end == 42 && moment < 1000; moment++) {
        clear(place);
        write_file(place, template, len);
        end = run_to_death(place, moment, open_only);
        check_either_version(place, &list, old);
    }
    assert_int_equal(end, 0);
    print_message("killed at %u moments\n", moment - 2);
    assert_true(moment > 10);
}

static void test_migration_killed(void **state)
{
    static const struct old olds[] = {{.version = 1, .entries = 24},
                                      {.version = 3, .off = true, .entries = 24}};

    srand(8);
    kill_at_each_moment(*state, &olds[0]);
    kill_at_each_moment(*state, &olds[1]);
}

static void fail_at_each_moment(const struct place *place, const struct old *old, enum fault fault)
{
    static char template[1 << 20];
    static struct list list;
    unsigned int moment = 0, failures = 0;
    bool struck = true;
    size_t len;

    make_old(place, &list, old);
    len = read_file(place, template, sizeof(template));
    while (struck && ++moment < 1000) {
        struct err e = {0};
        struct store *store = NULL;
        int r;

        clear(place);
        write_file(place, template, len);
        inject(fault, moment);
        r = store_open(place->dir, STORE_WRITE, &store, &e);
        struck = injection.calls >= moment;
        store_close(store);
        inject(FAULT_NONE, 0);
        failures += r < 0;
        if (r < 0)
            assert_int_equal(e.code, EXIT_REFUSED);
        else
            assert_int_equal(number(place, "PRAGMA user_version"), VERSION_NOW);
        check_either_version(place, &list, old);
    }
    assert_false(struck);
    print_message("%u failures\n", failures);
    assert_true(failures > 5);
}

static void test_migration_failing(void **state)
{
    static const struct old olds[] = {{.version = 1, .entries = 24}, {.version = 3, .entries = 24}};

    srand(9);
    for (size_t i = 0; i < sizeof(olds) / sizeof(olds[0]); i++) {
        fail_at_each_moment(*state, &olds[i], FAULT_FULL);
        fail_at_each_moment(*state, &olds[i], FAULT_ONCE);
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
        TEST(test_ends),
        TEST(test_negative_end),
        TEST(test_counts_that_lie),
        TEST(test_hostile),
        TEST(test_trigger),
        TEST(test_migration),
        TEST(test_migration_at_once),
        TEST(test_migration_refused),
        TEST(test_migration_killed),
        TEST(test_migration_failing),
        TEST(test_commit_faults),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
