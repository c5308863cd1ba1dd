/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See store.h. Rollback journal and synchronous=EXTRA (FULL, and the directory is synced after the
 * journal is gone): a commit that returned is on the disk, and stays committed.
 * Rows are validated when read: a damaged or foreign file ends in an error, never in a wrong list.
 */
#include "store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "store_sql.h"
#include "trust.h"

#define STORE_FILE       "smtpgate.db"
#define STORE_BUSY_MS    5000
#define STORE_LIMIT_INIT 10
#define STORE_CACHE_KIB  16384
#define PAGE_ENTRIES     256

/* What no row of a store comes near: one made to fill the memory is refused. */
#define STORE_VALUE_MAX (1 << 20)
/*
 * Steps of SQLite's machine that one statement may take, whatever the size, and for each byte: a
 * check of the whole file takes less than one a byte. Where pages lead to the same ones over and
 * over again, a walk would have no end. Looked at every STORE_STEPS_LOOK.
 */
#define STORE_STEPS      1000000
#define STORE_STEPS_BYTE 20
#define STORE_STEPS_LOOK 100000

#define STRING_OF(x) #x
#define STRING(x)    STRING_OF(x)

enum kept {
#define X(name, sql) KEPT_##name,
    KEPT_STATEMENTS(X)
#undef X
        KEPT_COUNT
};

/* What the open transaction's row in the history will say. */
struct log {
    bool kept; /* somebody is the author; else there will be no row */
    uint32_t uid;
    char who[64], origin[64], command[256];
    int64_t now;
    int64_t id; /* of the row; 0: nothing was changed yet */
    enum store_change_kind kind;
    int64_t target; /* the oldest change that it takes back; 0 none */
    int64_t added, deleted, edited, images;
    int64_t first_new, last_new; /* numbers of the entries it added; 0 none */
};

struct store {
    sqlite3 *db;
    char path[4096];
    struct stat opened; /* the file, when it was opened */
    int64_t steps;      /* of the statement that runs */
    bool endless;       /* one of them took too many */
    bool in_transaction;
    int changes_before; /* sqlite3_total_changes() when it began */
    bool kernel_changed;
    struct delta delta;
    /* Prefixes that came and went, by family (IPv4 first) and length; not written yet. */
    int64_t lengths[2][129];
    bool lengths_changed;
    /* Entries likewise: by kind, those of them with an end, those of the host list. */
    struct {
        int64_t kinds[WHO_RANGE + 1], temporary[WHO_RANGE + 1], host;
        bool changed;
    } tally;
    struct log log;
    sqlite3_stmt *kept[KEPT_COUNT];
};

static void cleanup_stmt(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
}

#define _cleanup_stmt_ __attribute__((cleanup(cleanup_stmt)))

/* A kept statement lets go of its locks and of what was bound to it. */
static void cleanup_reset(sqlite3_stmt **stmt)
{
    if (!*stmt)
        return;
    sqlite3_reset(*stmt);
    sqlite3_clear_bindings(*stmt);
}

#define _cleanup_reset_ __attribute__((cleanup(cleanup_reset)))

/* Words of the file are in it, and a file may hold any. */
static const char *words_of(const char *text, char buf[200])
{
    return text_escape(text ? text : "no answer", buf, 200);
}

static int fail_damaged(const struct store *store, const char *what, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the store %s is damaged (%s); nothing changed, the gate stays as"
            " it is",
            store->path, what);
    err_hint(e, "remove %s-journal, put back a copy of %s from a backup, then: smtpgate sync",
             store->path, store->path);
    return -EUCLEAN;
}

static int fail(const struct store *store, int rc, struct err *e)
{
    const char *path = store->path;
    int os_error = sqlite3_system_errno(store->db);
    char words[200];

    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        err_set(e, 0, EXIT_BUSY, "the store %s is in use by another process", path);
        err_hint(e, "try again; fuser %s names the process", path);
        return -EBUSY;
    case SQLITE_FULL:
        err_set(e, 0, EXIT_REFUSED, "the disk that holds %s is full; nothing changed", path);
        err_hint(e, "df -h %s", path);
        return -ENOSPC;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT: /* as no row that makes sense does */
    case SQLITE_TOOBIG:
        return fail_damaged(store, words_of(sqlite3_errmsg(store->db), words), e);
    case SQLITE_INTERRUPT:
        return fail_damaged(store, "there is no end to what it holds", e);
    case SQLITE_READONLY:
        err_set(e, 0, EXIT_REFUSED, "the store %s is read-only; nothing changed", path);
        err_hint(e, "remount the file system read-write, or check: ls -l %s", path);
        return -EROFS;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        if (os_error == EACCES || os_error == EPERM) {
            err_set(e, 0, EXIT_DENIED, "not permitted to open the store %s", path);
            err_hint(e, "run it as root (sudo)");
            return -EACCES;
        }
        break;
    default:
        break;
    }
    return err_set(e, -EIO, EXIT_REFUSED, "the store %s: %s%s%s; nothing changed", path,
                   words_of(sqlite3_errmsg(store->db), words), os_error ? ": " : "",
                   os_error ? strerror(os_error) : "");
}

/* A row that this version never writes. */
static int fail_row(const struct store *store, const char *table, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the store %s is damaged (a row of table %s makes no sense);"
            " nothing changed, the gate stays as it is",
            store->path, table);
    err_hint(e, "remove %s-journal, put back a copy of %s from a backup, then: smtpgate sync",
             store->path, store->path);
    return -EUCLEAN;
}

static int exec(struct store *store, const char *sql, struct err *e)
{
    int rc;

    store->steps = 0;
    rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : fail(store, rc, e);
}

static int prepare(struct store *store, const char *sql, sqlite3_stmt **ret_stmt, struct err *e)
{
    int rc;

    store->steps = 0;
    rc = sqlite3_prepare_v2(store->db, sql, -1, ret_stmt, NULL);

    /* "no such table" and the like: not one of our files, whatever its header says. */
    if (rc == SQLITE_ERROR)
        return fail(store, SQLITE_CORRUPT, e);
    return rc == SQLITE_OK ? 0 : fail(store, rc, e);
}

/* The statement belongs to the store: declare it _cleanup_reset_. */
static int keep(struct store *store, enum kept which, sqlite3_stmt **ret_stmt, struct err *e)
{
    static const char *const sql[KEPT_COUNT] = {
#define X(name, text) [KEPT_##name] = (text),
        KEPT_STATEMENTS(X)
#undef X
    };
    int r = store->kept[which] ? 0 : prepare(store, sql[which], &store->kept[which], e);

    store->steps = 0;
    if (r == 0)
        *ret_stmt = store->kept[which];
    return r;
}

/* 1 a row, 0 no more, -errno. */
static int step(const struct store *store, sqlite3_stmt *stmt, struct err *e)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : fail(store, rc, e);
}

static int step_done(const struct store *store, sqlite3_stmt *stmt, struct err *e)
{
    int r = step(store, stmt, e);

    return r < 0 ? r : 0;
}

static int query_int(struct store *store, const char *sql, int64_t *ret_value, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, sql, &stmt, e);

    if (r < 0)
        return r;
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    *ret_value = r ? sqlite3_column_int64(stmt, 0) : 0;
    return 0;
}

static int set_number(struct store *store, const char *sql, int64_t number, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, sql, &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, number);
    return step_done(store, stmt, e);
}

static void bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
    sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC);
}

/* Both spellings, as parameters 1 and 2. */
static void bind_account(sqlite3_stmt *stmt, const struct account *account)
{
    bind_text(stmt, 1, account->name);
    bind_text(stmt, 2, account->other);
}

static void bind_addr(sqlite3_stmt *stmt, int at, const struct addr *addr)
{
    sqlite3_bind_blob(stmt, at, addr->bytes, (int)addr_len(addr->family), SQLITE_STATIC);
}

static bool column_addr(sqlite3_stmt *stmt, int at, int64_t family, struct addr *addr)
{
    const void *blob = sqlite3_column_blob(stmt, at);
    int size = sqlite3_column_bytes(stmt, at);

    if ((family != ADDR_IP4 && family != ADDR_IP6) || !blob ||
        size != (int)addr_len((enum addr_family)family))
        return false;
    memset(addr, 0, sizeof(*addr));
    addr->family = (enum addr_family)family;
    memcpy(addr->bytes, blob, (size_t)size);
    return true;
}

static bool column_text(sqlite3_stmt *stmt, int at, char *buf, size_t size)
{
    const unsigned char *text = sqlite3_column_text(stmt, at);
    int len = sqlite3_column_bytes(stmt, at);

    if (!text || len < 0 || (size_t)len >= size || memchr(text, '\0', (size_t)len))
        return false;
    memcpy(buf, text, (size_t)len);
    buf[len] = '\0';
    return true;
}

/* Unix seconds, or 0. */
static bool column_time(sqlite3_stmt *stmt, int at, int64_t *ret_time)
{
    int64_t time = sqlite3_column_int64(stmt, at);

    if (sqlite3_column_type(stmt, at) != SQLITE_INTEGER || time < 0)
        return false;
    *ret_time = time;
    return true;
}

/* ---- opening ---- */

static int make_schema(struct store *store, struct err *e)
{
#define X(port) port,
    static const uint16_t ports[] = {SG_DEFAULT_PORTS(X)};
#undef X
    char sql[512];
    int64_t id = 0;
    int r;

    while (id <= 0) {
        if (getrandom(&id, sizeof(id), 0) != sizeof(id))
            return err_set(e, -EIO, EXIT_REFUSED, "no random number from the kernel");
        id &= INT64_MAX;
    }
    r = exec(store, schema, e);
    if (r < 0)
        return r;
    snprintf(
        sql, sizeof(sql),
        "INSERT INTO setting (one, id, revision, serial, list_limit) VALUES (1, %lld, 1, 0, %d);"
        "PRAGMA application_id = %d; PRAGMA user_version = %d;",
        (long long)id, STORE_LIMIT_INIT, STORE_APP_ID, STORE_VERSION);
    r = exec(store, sql, e);
    return r < 0 ? r : store_set_ports(store, ports, ARRAY_SIZE(ports), e);
}

static int fail_newer(const struct store *store, int64_t version, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the store %s was written by a newer smtpgate (format %lld, this one reads %d);"
            " nothing changed, the gate stays as it is",
            store->path, (long long)version, STORE_VERSION);
    err_hint(e, "install the newer smtpgate again");
    return -ENOTSUP;
}

/* All in one transaction; @work makes the changes. */
static int transact(struct store *store, int (*work)(struct store *store, struct err *e),
                    struct err *e)
{
    int r = exec(store, "BEGIN IMMEDIATE", e);

    if (r < 0)
        return r;
    r = work(store, e);
    if (r == 0)
        r = exec(store, "COMMIT", e);
    if (r < 0)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/* Asks again, now that nobody else can write: another process may have been quicker. */
static int migrate(struct store *store, struct err *e)
{
    int64_t version;
    int r = query_int(store, "PRAGMA user_version", &version, e);

    if (r < 0 || version == STORE_VERSION)
        return r;
    if (version < 1 || version > STORE_VERSION)
        return fail_newer(store, version, e);
    if (version < 2)
        r = exec(store, migration_1_to_2, e);
    if (r == 0 && version < 3)
        r = exec(store, migration_2_to_3, e);
    return r == 0 ? exec(store, migration_3_to_4, e) : r;
}

/* A file of an older version is brought up to date by a command that changes things anyway. */
static int fail_older(const struct store *store, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the store %s was written by an older smtpgate and is not brought up to date yet;"
            " nothing changed, the gate stays as it is",
            store->path);
    err_hint(e, "as root: smtpgate sync, or any command that changes something");
    return -ENOTSUP;
}

/* Makes the tables in an empty file; a file that is not ours is refused. */
static int check_schema(struct store *store, enum store_access mode, struct err *e)
{
    int64_t app_id, version, tables;
    int r;

    r = query_int(store, "PRAGMA application_id", &app_id, e);
    if (r < 0)
        return r;
    r = query_int(store, "PRAGMA user_version", &version, e);
    if (r < 0)
        return r;
    if (app_id == STORE_APP_ID && version == STORE_VERSION)
        return 0;
    if (app_id == STORE_APP_ID && version > STORE_VERSION)
        return fail_newer(store, version, e);
    if (app_id == STORE_APP_ID && version >= 1)
        return mode == STORE_WRITE && sqlite3_db_readonly(store->db, "main") == 0
                   ? transact(store, migrate, e)
                   : fail_older(store, e);
    r = query_int(store, "SELECT count(*) FROM sqlite_schema", &tables, e);
    if (r < 0)
        return r;
    if (app_id || version || tables) {
        err_set(e, 0, EXIT_REFUSED,
                "%s is another program's database, not a store of smtpgate; nothing changed, the"
                " gate stays as it is",
                store->path);
        err_hint(e, "remove %s-journal, put back a copy of %s from a backup, then: smtpgate sync",
                 store->path, store->path);
        return -EUCLEAN;
    }
    return mode == STORE_READ ? -ENOENT : transact(store, make_schema, e);
}

/*
 * Readers open read-write too where they may: a journal left by a killed writer can only be rolled
 * back by someone who may write. Used by one thread, so without SQLite's own locks between threads.
 */
static int open_to_read(struct store *store, sqlite3 **ret_db, struct err *e)
{
    sqlite3 *db;
    int rc = sqlite3_open_v2(store->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc != SQLITE_OK) {
        sqlite3_close(db);
        rc = sqlite3_open_v2(store->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    }
    if (rc == SQLITE_OK) {
        *ret_db = db;
        return 0;
    }
    store->db = db; /* has the words, and is closed with the store */
    return fail(store, rc, e);
}

static int open_memory(struct store *store, struct err *e)
{
    int rc =
        sqlite3_open_v2(store->path, &store->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_MEMORY, NULL);

    return rc == SQLITE_OK ? 0 : fail(store, rc, e);
}

/* What would be changed is a copy, in memory: -n keeps nobody from the file, and waits for few. */
static int open_copy(struct store *store, unsigned int patience_ms, struct err *e)
{
    sqlite3 *source = NULL;
    sqlite3_backup *backup;
    int rc, r = open_to_read(store, &source, e);

    if (r < 0)
        return r;
    sqlite3_busy_timeout(source, (int)patience_ms);
    r = open_memory(store, e);
    backup = r == 0 ? sqlite3_backup_init(store->db, "main", source, "main") : NULL;
    if (backup) {
        sqlite3_backup_step(backup, -1);
        rc = sqlite3_backup_finish(backup);
        r = rc == SQLITE_OK ? 0 : fail(store, rc, e);
    } else if (r == 0) {
        r = fail(store, sqlite3_errcode(store->db), e);
    }
    sqlite3_close(source);
    return r;
}

static int open_db(struct store *store, enum store_access mode, unsigned int patience_ms,
                   struct err *e)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_CREATE;
    struct stat st;
    bool none;
    int rc;

    if (mode == STORE_WRITE) {
        rc = sqlite3_open_v2(store->path, &store->db, flags, NULL);
        return rc == SQLITE_OK ? 0 : fail(store, rc, e);
    }
    /* Neither a reader nor -n makes tables in an empty file. */
    none = stat(store->path, &st) < 0 ? errno == ENOENT : !st.st_size;
    if (mode == STORE_READ)
        return none ? -ENOENT : open_to_read(store, &store->db, e);
    return none || mode == STORE_EMPTY ? open_memory(store, e) : open_copy(store, patience_ms, e);
}

/* Whether to end a statement that runs: it took more steps than anything of this size can want. */
static int look_at_steps(void *arg)
{
    struct store *store = arg;
    int cached = 0, highest;
    struct stat st;
    int64_t size;

    store->steps += STORE_STEPS_LOOK;
    if (store->endless || store->steps <= STORE_STEPS)
        return store->endless;
    /* What is not written yet is in the cache, and a store in memory is nowhere else. */
    sqlite3_db_status(store->db, SQLITE_DBSTATUS_CACHE_USED, &cached, &highest, 0);
    size = stat(store->path, &st) < 0 ? 0 : st.st_size;
    store->endless = (store->steps - STORE_STEPS) / STORE_STEPS_BYTE > size + cached;
    return store->endless;
}

/* The file's own code (views, triggers) never runs, and nothing in it takes time or memory at will.
 */
static void distrust(struct store *store)
{
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, STORE_VALUE_MAX);
    sqlite3_progress_handler(store->db, STORE_STEPS_LOOK, look_at_steps, store);
}

int store_open(const char *dir, enum store_access mode, struct store **ret_store, struct err *e)
{
    return store_open_within(dir, mode, STORE_BUSY_MS, ret_store, e);
}

/*
 * Before SQLite reads any of it: a journal beside the file is replayed, whoever put it there, and
 * one may name further files, to be deleted.
 */
static int check_trust(const char *dir, const struct store *store, struct err *e)
{
    static const char *const endings[] = {"", "-journal", "-wal"};
    char path[sizeof(store->path) + 16];
    int r = trust_dir(dir, e);
    size_t i;

    for (i = 0; r == 0 && i < ARRAY_SIZE(endings); i++) {
        snprintf(path, sizeof(path), "%s%s", store->path, endings[i]);
        r = trust_file(path, e);
    }
    return r;
}

int store_open_within(const char *dir, enum store_access mode, unsigned int patience_ms,
                      struct store **ret_store, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    mode_t mask;
    int r;

    store = calloc(1, sizeof(*store));
    if (!store)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    if (snprintf(store->path, sizeof(store->path), "%s/%s", dir, STORE_FILE) >=
        (int)sizeof(store->path))
        return err_set(e, -ENAMETOOLONG, EXIT_USAGE, "the state directory's name is too long");
    r = mode == STORE_EMPTY ? 0 : check_trust(dir, store, e);
    if (r < 0)
        return r;
    mask = umask(027); /* readable by the directory's group, if that is given one */
    if (stat(store->path, &store->opened) < 0)
        store->opened = (struct stat){0};
    r = open_db(store, mode, patience_ms, e);
    if (r == 0) {
        distrust(store);
        store_set_patience(store, patience_ms);
        /* Temporary tables in memory: at boot, under a sandbox, there is no place for files. */
        r = exec(store,
                 "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                 "PRAGMA synchronous = EXTRA; PRAGMA cache_spill = OFF;"
                 "PRAGMA temp_store = MEMORY;"
                 "PRAGMA cache_size = -" STRING(STORE_CACHE_KIB),
                 e);
    }
    if (r == 0)
        r = check_schema(store, mode, e);
    umask(mask);
    if (r < 0)
        return r;
    *ret_store = TAKE_PTR(store);
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    delta_free(&store->delta);
    for (size_t i = 0; i < KEPT_COUNT; i++)
        sqlite3_finalize(store->kept[i]);
    sqlite3_close(store->db); /* rolls back what was not committed */
    free(store);
}

void store_set_patience(struct store *store, unsigned int ms)
{
    sqlite3_busy_timeout(store->db, (int)ms);
}

bool store_is_stale(struct store *store)
{
    struct stat now;

    return stat(store->path, &now) < 0 || now.st_dev != store->opened.st_dev ||
           now.st_ino != store->opened.st_ino || now.st_size != store->opened.st_size ||
           now.st_ctim.tv_sec != store->opened.st_ctim.tv_sec ||
           now.st_ctim.tv_nsec != store->opened.st_ctim.tv_nsec;
}

int store_verify(struct store *store, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    char words[200];
    const char *text;
    int64_t differ;
    int r = prepare(store, "PRAGMA integrity_check(1)", &stmt, e);

    if (r < 0)
        return r;
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    text = r ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (!text || strcmp(text, "ok") != 0) {
        if (text && strrchr(text, '\n')) /* a heading stands in front */
            text = strrchr(text, '\n') + 1;
        return fail_damaged(store, words_of(text, words), e);
    }
    /* A length that is not counted is not looked for: its entries would let nobody in. */
    r = query_int(store,
                  "SELECT EXISTS (" COUNT_LENGTHS
                  " EXCEPT SELECT family, len, prefixes FROM length)"
                  " OR EXISTS (SELECT family, len, prefixes FROM length WHERE prefixes <> 0"
                  " EXCEPT " COUNT_LENGTHS ")",
                  &differ, e);
    if (r < 0 || differ)
        return r < 0 ? r : fail_damaged(store, "table length does not fit", e);
    r = query_int(store,
                  "SELECT EXISTS (" COUNT_KINDS " EXCEPT SELECT * FROM tally)"
                  " OR EXISTS (SELECT * FROM tally WHERE entries <> 0 OR temporary <> 0"
                  " EXCEPT " COUNT_KINDS ")"
                  " OR EXISTS (" COUNT_LISTS " EXCEPT SELECT account, entries FROM list)"
                  " OR EXISTS (SELECT account, entries FROM list WHERE entries <> 0"
                  " EXCEPT " COUNT_LISTS ")",
                  &differ, e);
    if (r < 0 || differ)
        return r < 0 ? r : fail_damaged(store, "the entries are not as many as it says", e);
    /* Such an end would count as one here, as none there. */
    r = query_int(store, "SELECT EXISTS (SELECT 1 FROM entry WHERE expires < 0)", &differ, e);
    return r == 0 && differ ? fail_row(store, "entry", e) : r;
}

/* ---- transactions ---- */

static int note_change(struct store *store, enum store_change_kind kind, struct err *e);
static int end_log(struct store *store, struct err *e);

static void forget_changes(struct store *store)
{
    store->kernel_changed = false;
    store->delta.count = 0;
    memset(store->lengths, 0, sizeof(store->lengths));
    store->lengths_changed = false;
    memset(&store->tally, 0, sizeof(store->tally));
    store->log = (struct log){0};
}

int store_begin(struct store *store, struct err *e)
{
    /* A read-only store can still be put in force (sync at boot); writing to it fails later. */
    bool read_only = sqlite3_db_readonly(store->db, "main") == 1;
    int r = exec(store, read_only ? "BEGIN" : "BEGIN IMMEDIATE", e);

    if (r < 0)
        return r;
    store->in_transaction = true;
    store->changes_before = sqlite3_total_changes(store->db);
    forget_changes(store);
    return 0;
}

static int run_kept(struct store *store, enum kept which, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, which, &stmt, e);

    return r == 0 ? step_done(store, stmt, e) : r;
}

int store_begin_read(struct store *store, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int64_t version;
    int r = run_kept(store, KEPT_BEGIN, e);

    if (r < 0)
        return r;
    store->in_transaction = true;
    r = keep(store, KEPT_VERSION, &stmt, e);
    if (r == 0)
        r = step(store, stmt, e);
    if (r < 0)
        return r;
    version = sqlite3_column_int64(stmt, 0);
    if (version == STORE_VERSION)
        return 0;
    return version > STORE_VERSION ? fail_newer(store, version, e) : fail_older(store, e);
}

static int write_length(struct store *store, enum addr_family family, int len, int64_t step,
                        struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_ADD_LENGTH, &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int(stmt, 1, family);
    sqlite3_bind_int(stmt, 2, len);
    sqlite3_bind_int64(stmt, 3, step);
    return step_done(store, stmt, e);
}

/* Once for a whole change, as a long list has few lengths. */
static int write_lengths(struct store *store, struct err *e)
{
    int len, r = 0;

    if (!store->lengths_changed)
        return 0;
    for (len = 0; r == 0 && len <= 128; len++) {
        if (store->lengths[0][len])
            r = write_length(store, ADDR_IP4, len, store->lengths[0][len], e);
        if (r == 0 && store->lengths[1][len])
            r = write_length(store, ADDR_IP6, len, store->lengths[1][len], e);
    }
    memset(store->lengths, 0, sizeof(store->lengths));
    store->lengths_changed = false;
    return r;
}

static int add_to_kind(struct store *store, unsigned int kind, int64_t entries, int64_t temporary,
                       struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_ADD_KIND, &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int(stmt, 1, (int)kind);
    sqlite3_bind_int64(stmt, 2, entries);
    sqlite3_bind_int64(stmt, 3, temporary);
    return step_done(store, stmt, e);
}

static int drop_empty_list(struct store *store, const char *account, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_DROP_LIST, &stmt, e);

    if (r < 0)
        return r;
    bind_text(stmt, 1, account);
    return step_done(store, stmt, e);
}

static int add_to_list(struct store *store, const char *account, int64_t entries, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_ADD_LIST, &stmt, e);

    if (r < 0)
        return r;
    bind_text(stmt, 1, account);
    sqlite3_bind_int64(stmt, 2, entries);
    r = step_done(store, stmt, e);
    return r == 0 && entries < 0 ? drop_empty_list(store, account, e) : r;
}

/* An entry came (@step 1) or went (-1). Most are of the host list: those wait for write_tally(). */
static int note_entry(struct store *store, const struct store_entry *entry, int step, struct err *e)
{
    store->tally.changed = true;
    store->tally.kinds[entry->who.kind] += step;
    store->tally.temporary[entry->who.kind] += entry->expires ? step : 0;
    if (*entry->account)
        return add_to_list(store, entry->account, step, e);
    store->tally.host += step;
    return 0;
}

/* As write_lengths(). */
static int write_tally(struct store *store, struct err *e)
{
    unsigned int kind;
    int r = 0;

    if (!store->tally.changed)
        return 0;
    for (kind = 0; r == 0 && kind <= WHO_RANGE; kind++)
        r = add_to_kind(store, kind, store->tally.kinds[kind], store->tally.temporary[kind], e);
    if (r == 0 && store->tally.host)
        r = add_to_list(store, "", store->tally.host, e);
    memset(&store->tally, 0, sizeof(store->tally));
    return r;
}

/*
 * A COMMIT may fail after it has taken effect (in the last sync of the directory). The serial
 * number tells which it was, so that "nothing changed" is true when it is said.
 */
int store_commit(struct store *store, struct err *e)
{
    static const char read_serial[] = "SELECT serial FROM setting";
    bool changed = sqlite3_total_changes(store->db) != store->changes_before;
    int64_t serial = 0, now = 0;
    int r = write_lengths(store, e);

    if (r == 0)
        r = write_tally(store, e);
    if (r == 0 && store->log.id)
        r = end_log(store, e);
    if (r == 0 && changed)
        r = set_number(store, "UPDATE setting SET serial = serial + 1, clock = max(clock, ?)",
                       store->log.now, e);

    if (r == 0 && changed)
        r = query_int(store, read_serial, &serial, e);
    if (r == 0)
        r = exec(store, "COMMIT", e);
    if (r < 0 && serial) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
        if (query_int(store, read_serial, &now, NULL) == 0 && now == serial)
            r = 0;
    }
    if (r < 0)
        return r;
    store->in_transaction = false;
    return 0;
}

void store_rollback(struct store *store)
{
    if (!store->in_transaction)
        return;
    run_kept(store, KEPT_ROLLBACK, NULL);
    store->in_transaction = false;
    forget_changes(store);
}

const struct delta *store_delta(struct store *store)
{
    delta_settle(&store->delta);
    return &store->delta;
}

bool store_kernel_changed(const struct store *store)
{
    return store->kernel_changed;
}

/* ---- settings ---- */

static bool column_plan(sqlite3_stmt *stmt, int at, struct mode_plan *ret_plan)
{
    int64_t mode = sqlite3_column_int64(stmt, at), then = sqlite3_column_int64(stmt, at + 1);
    int64_t until = sqlite3_column_int64(stmt, at + 2);

    if ((mode != SG_MODE_ENFORCE && mode != SG_MODE_OBSERVE && mode != SG_MODE_PAUSED) ||
        (then != SG_MODE_ENFORCE && then != SG_MODE_OBSERVE) || until < 0 ||
        (mode == SG_MODE_PAUSED && !until))
        return false;
    *ret_plan =
        (struct mode_plan){.mode = (enum sg_mode)mode, .then = (enum sg_mode)then, .until = until};
    return true;
}

static int read_ports(struct store *store, struct store_settings *settings, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_PORTS, &stmt, e);

    if (r < 0)
        return r;
    while ((r = step(store, stmt, e)) > 0) {
        int64_t port = sqlite3_column_int64(stmt, 0), slot = sqlite3_column_int64(stmt, 1);

        if (port < 1 || port > UINT16_MAX || slot < 0 || slot >= SG_PORT_SLOTS ||
            settings->n_ports == SG_PORT_SLOTS)
            return fail_row(store, "port", e);
        settings->ports[settings->n_ports++] =
            (struct store_port){.port = (uint16_t)port,
                                .slot = (uint8_t)slot,
                                .guarded = sqlite3_column_int64(stmt, 2) != 0};
    }
    return r;
}

/* What is set for the others, and the realm, from two columns of a row. */
static bool column_rules(sqlite3_stmt *stmt, int at, enum store_others *ret_others,
                         char ret_realm[ACCOUNT_MAX + 1])
{
    int64_t others = sqlite3_column_int64(stmt, at);

    *ret_others = (enum store_others)others;
    return (others == STORE_OTHERS_ANYWHERE || others == STORE_OTHERS_NOWHERE) &&
           column_text(stmt, at + 1, ret_realm, ACCOUNT_MAX + 1) &&
           text_check_line(ret_realm, "realm", NULL) == 0;
}

int store_read_settings(struct store *store, struct store_settings *ret_settings, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    struct store_settings settings = {0};
    int64_t id, revision, limit, on;
    int r;

    r = keep(store, KEPT_SETTING, &stmt, e);
    if (r < 0)
        return r;
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    if (r == 0)
        return fail_row(store, "setting", e);
    id = sqlite3_column_int64(stmt, 0);
    revision = sqlite3_column_int64(stmt, 1);
    limit = sqlite3_column_int64(stmt, 2);
    on = sqlite3_column_int64(stmt, 5);
    settings.clock = sqlite3_column_int64(stmt, 9);
    if (id <= 0 || revision <= 0 || limit < 0 || limit > UINT32_MAX || (on != 0 && on != 1) ||
        !column_rules(stmt, 3, &settings.others, settings.realm) ||
        !column_plan(stmt, 6, &settings.plan))
        return fail_row(store, "setting", e);
    settings.id = (uint64_t)id;
    settings.revision = (uint64_t)revision;
    settings.on = on != 0;
    settings.limit = (uint32_t)limit;
    r = read_ports(store, &settings, e);
    if (r < 0)
        return r;
    *ret_settings = settings;
    return 0;
}

int store_read_counts(struct store *store, struct store_counts *ret_counts, struct err *e)
{
    static const struct {
        const char *sql;
        size_t at;
    } queries[] = {
        {"SELECT ifnull(sum(entries), 0) FROM tally", offsetof(struct store_counts, entries)},
        {"SELECT ifnull(sum(entries), 0) FROM list WHERE account = ''",
         offsetof(struct store_counts, host_entries)},
        {"SELECT count(*) FROM list WHERE account > ''", offsetof(struct store_counts, accounts)},
        {"SELECT ifnull(sum(prefixes), 0) FROM length", offsetof(struct store_counts, prefixes)},
        {"SELECT ifnull(sum(temporary), 0) FROM tally", offsetof(struct store_counts, temporary)},
        {"SELECT ifnull(sum(entries), 0) FROM tally WHERE kind = 0",
         offsetof(struct store_counts, kinds[WHO_ADDRESS])},
        {"SELECT ifnull(sum(entries), 0) FROM tally WHERE kind = 1",
         offsetof(struct store_counts, kinds[WHO_SEGMENT])},
        {"SELECT ifnull(sum(entries), 0) FROM tally WHERE kind = 2",
         offsetof(struct store_counts, kinds[WHO_RANGE])},
        {"SELECT ifnull(sum(prefixes), 0) FROM length WHERE family = 4",
         offsetof(struct store_counts, prefixes4)},
        {"SELECT ifnull(sum(prefixes), 0) FROM length WHERE family = 6",
         offsetof(struct store_counts, prefixes6)},
    };
    struct store_counts counts = {0};
    int64_t count;
    size_t i;
    int r = write_lengths(store, e);

    if (r == 0)
        r = write_tally(store, e);
    if (r < 0)
        return r;
    for (i = 0; i < ARRAY_SIZE(queries); i++) {
        r = query_int(store, queries[i].sql, &count, e);
        if (r < 0)
            return r;
        *(uint64_t *)((char *)&counts + queries[i].at) = (uint64_t)count;
    }
    *ret_counts = counts;
    return 0;
}

int store_has_entries(struct store *store, const struct account *account, bool *ret_any,
                      struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_HAS_ENTRIES, &stmt, e);

    if (r < 0)
        return r;
    bind_account(stmt, account);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    *ret_any = sqlite3_column_int64(stmt, 0) != 0;
    return 0;
}

int store_read_rules(struct store *store, struct store_rules *ret_rules, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    struct store_rules rules;
    int r = keep(store, KEPT_RULES, &stmt, e);

    if (r == 0)
        r = step(store, stmt, e);
    if (r < 0)
        return r;
    if (r == 0 || !column_rules(stmt, 2, &rules.others, rules.realm) ||
        !column_plan(stmt, 4, &rules.plan))
        return fail_row(store, "setting", e);
    rules.host = sqlite3_column_int64(stmt, 0) != 0;
    rules.accounts = sqlite3_column_int64(stmt, 1) != 0;
    rules.clock = sqlite3_column_int64(stmt, 7);
    *ret_rules = rules;
    return 0;
}

int store_bump_revision(struct store *store, struct err *e)
{
    return exec(store, "UPDATE setting SET revision = revision + 1", e);
}

/* A setting, with what it was before in the history. */
static int set_setting(struct store *store, const char *sql, int64_t number, struct err *e)
{
    int r = note_change(store, STORE_CHANGE_LIST, e);

    return r == 0 ? set_number(store, sql, number, e) : r;
}

int store_set_on(struct store *store, bool on, struct err *e)
{
    store->kernel_changed = true;
    return set_setting(store, "UPDATE setting SET is_on = ?", on, e);
}

int store_set_plan(struct store *store, const struct mode_plan *plan, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = note_change(store, STORE_CHANGE_LIST, e);

    if (r == 0)
        r = prepare(store, "UPDATE setting SET mode = ?1, mode_then = ?2, mode_until = ?3", &stmt,
                    e);
    if (r < 0)
        return r;
    sqlite3_bind_int(stmt, 1, plan->mode);
    sqlite3_bind_int64(stmt, 2, plan->until ? plan->then : SG_MODE_ENFORCE);
    sqlite3_bind_int64(stmt, 3, plan->until);
    store->kernel_changed = true;
    return step_done(store, stmt, e);
}

int store_set_clock(struct store *store, int64_t now, struct err *e)
{
    return set_number(store, "UPDATE setting SET clock = ?", now, e);
}

int store_has_deadlines(struct store *store, bool *ret_any, struct err *e)
{
    int64_t any;
    int r = query_int(store,
                      "SELECT mode_until > 0 OR EXISTS (SELECT 1 FROM entry WHERE expires > 0)"
                      " FROM setting",
                      &any, e);

    if (r == 0)
        *ret_any = any != 0;
    return r;
}

/* One number that depends on another. */
static int query_at(struct store *store, const char *sql, int64_t at, int64_t *ret, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, sql, &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, at);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    *ret = r ? sqlite3_column_int64(stmt, 0) : 0;
    return 0;
}

int store_count_ended(struct store *store, int64_t now, uint64_t *ret_count, struct err *e)
{
    int64_t count;
    int r = query_at(store, "SELECT count(*) FROM entry WHERE expires > 0 AND expires <= ?", now,
                     &count, e);

    if (r == 0)
        *ret_count = (uint64_t)count;
    return r;
}

int store_next_end(struct store *store, int64_t now, int64_t *ret_expires, struct err *e)
{
    return query_at(store,
                    "SELECT ifnull(min(expires), 0) FROM entry WHERE expires > ?"
                    " AND expires > 0",
                    now, ret_expires, e);
}

int store_set_limit(struct store *store, uint32_t limit, struct err *e)
{
    return set_setting(store, "UPDATE setting SET list_limit = ?", limit, e);
}

int store_set_others(struct store *store, enum store_others others, struct err *e)
{
    return set_setting(store, "UPDATE setting SET others = ?", others, e);
}

int store_set_realm(struct store *store, const char *realm, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = note_change(store, STORE_CHANGE_LIST, e);

    if (r == 0)
        r = prepare(store, "UPDATE setting SET realm = ?", &stmt, e);
    if (r < 0)
        return r;
    bind_text(stmt, 1, realm);
    return step_done(store, stmt, e);
}

int store_find_twins(struct store *store, const char *realm, char ret_name[ACCOUNT_MAX + 1],
                     struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store,
                    "SELECT account FROM (SELECT DISTINCT account FROM entry WHERE account > '') a"
                    " WHERE instr(account, '@') = 0 AND EXISTS"
                    " (SELECT 1 FROM entry WHERE account = a.account || '@' || ?1) LIMIT 1",
                    &stmt, e);

    if (r < 0)
        return r;
    bind_text(stmt, 1, realm);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    if (r && !column_text(stmt, 0, ret_name, ACCOUNT_MAX + 1))
        return fail_row(store, "entry", e);
    return r ? 0 : -ENOENT;
}

/* A slot that no port ever had. */
static int free_slot(const struct store_settings *settings)
{
    bool used[SG_PORT_SLOTS] = {false};
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        used[settings->ports[i].slot] = true;
    for (i = 0; i < SG_PORT_SLOTS; i++)
        if (!used[i])
            return (int)i;
    return -ENOSPC;
}

static int guard_port(struct store *store, uint16_t port, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct store_settings settings;
    int r, slot;

    r = store_read_settings(store, &settings, e);
    if (r < 0)
        return r;
    slot = free_slot(&settings);
    r = prepare(store,
                "INSERT INTO port VALUES (?, ?, 1) ON CONFLICT (port) DO UPDATE SET guarded = 1",
                &stmt, e);
    if (r < 0)
        return r;
    for (unsigned int i = 0; i < settings.n_ports; i++)
        if (settings.ports[i].port == port)
            slot = settings.ports[i].slot;
    if (slot < 0)
        return err_set(e, -ENOSPC, EXIT_REFUSED,
                       "%d different ports have been guarded so far and each keeps its counters;"
                       " there is no room for port %u; nothing changed",
                       SG_PORT_SLOTS, port);
    sqlite3_bind_int(stmt, 1, port);
    sqlite3_bind_int(stmt, 2, slot);
    return step_done(store, stmt, e);
}

int store_set_ports(struct store *store, const uint16_t *ports, unsigned int n, struct err *e)
{
    unsigned int i;
    int r = note_change(store, STORE_CHANGE_LIST, e);

    if (r == 0)
        r = exec(store, "UPDATE port SET guarded = 0", e);
    for (i = 0; r == 0 && i < n; i++)
        r = guard_port(store, ports[i], e);
    store->kernel_changed = true;
    return r;
}

/* ---- entries ---- */

static void bind_prefix(sqlite3_stmt *stmt, const struct prefix *prefix)
{
    sqlite3_bind_int(stmt, 1, prefix->addr.family);
    bind_addr(stmt, 2, &prefix->addr);
    sqlite3_bind_int(stmt, 3, prefix->len);
}

/* Until when any list lets it in. */
static int prefix_until(struct store *store, const struct prefix *prefix, int64_t *ret_until,
                        struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_PREFIX_UNTIL, &stmt, e);

    if (r < 0)
        return r;
    bind_prefix(stmt, prefix);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    *ret_until = r == 0 || sqlite3_column_type(stmt, 0) == SQLITE_NULL
                     ? UNTIL_ABSENT
                     : sqlite3_column_int64(stmt, 0);
    return 0;
}

static int change_prefix(struct store *store, enum kept sql, const struct prefix *prefix,
                         const char *account, int64_t entry, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, sql, &stmt, e);

    if (r < 0)
        return r;
    bind_prefix(stmt, prefix);
    bind_text(stmt, 4, account);
    sqlite3_bind_int64(stmt, 5, entry);
    return step_done(store, stmt, e);
}

static int note_prefix(struct store *store, const struct prefix *prefix, int64_t before,
                       int64_t after, struct err *e)
{
    store->kernel_changed = true;
    if (before == after)
        return 0;
    if (delta_push(&store->delta, prefix, before, after) < 0)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory; nothing changed");
    if (before != UNTIL_ABSENT && after != UNTIL_ABSENT)
        return 0;
    store->lengths[prefix->addr.family == ADDR_IP6][prefix->len] += before == UNTIL_ABSENT ? 1 : -1;
    store->lengths_changed = true;
    return 0;
}

static int64_t entry_until(const struct store_entry *entry)
{
    return entry->expires ? entry->expires : UNTIL_FOREVER;
}

/*
 * Inserts or deletes the prefix rows of an entry and records what that changes for the union of all
 * lists: which is asked while the row is not there.
 */
static int change_prefixes(struct store *store, const struct store_entry *entry, int direction,
                           struct err *e)
{
    enum kept sql = direction > 0 ? KEPT_INSERT_PREFIX : KEPT_DELETE_PREFIX;
    struct prefix prefixes[PREFIX_MAX];
    unsigned int i, n = prefix_from_who(&entry->who, prefixes);
    int64_t own = entry_until(entry), without, with;
    int r;

    for (i = 0; i < n; i++) {
        r = direction < 0 ? change_prefix(store, sql, &prefixes[i], entry->account, entry->id, e)
                          : 0;
        if (r == 0)
            r = prefix_until(store, &prefixes[i], &without, e);
        if (r == 0 && direction > 0)
            r = change_prefix(store, sql, &prefixes[i], entry->account, entry->id, e);
        if (r < 0)
            return r;
        with = without > own ? without : own;
        r = direction > 0 ? note_prefix(store, &prefixes[i], without, with, e)
                          : note_prefix(store, &prefixes[i], with, without, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Under one spelling. To ask for both at once makes a table of its own each time. */
static int find_spelled(struct store *store, const struct who *who, const char *account,
                        int64_t *ret_id, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_FIND_EXACT, &stmt, e);

    if (r < 0)
        return r;
    bind_text(stmt, 1, account);
    sqlite3_bind_int(stmt, 2, who->first.family);
    bind_addr(stmt, 3, &who->first);
    bind_addr(stmt, 4, &who->last);
    sqlite3_bind_int(stmt, 5, who->kind);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    if (r == 0)
        return -ENOENT;
    *ret_id = sqlite3_column_int64(stmt, 0);
    return 0;
}

static int find_exact(struct store *store, const struct who *who, const struct account *account,
                      int64_t *ret_id, struct err *e)
{
    int r = find_spelled(store, who, account->name, ret_id, e);

    if (r == -ENOENT && strcmp(account->name, account->other) != 0)
        r = find_spelled(store, who, account->other, ret_id, e);
    return r;
}

/* How the account is written in the list it has, or as it was given. */
static int find_spelling(struct store *store, const struct account *account,
                         char ret_name[ACCOUNT_MAX + 1], struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_FIND_SPELLING, &stmt, e);

    if (r < 0)
        return r;
    bind_account(stmt, account);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    if (r && !column_text(stmt, 0, ret_name, ACCOUNT_MAX + 1))
        return fail_row(store, "entry", e);
    if (!r)
        snprintf(ret_name, ACCOUNT_MAX + 1, "%.*s", ACCOUNT_MAX, account->name);
    return 0;
}

/* @entry->id 0: the next number, which @ret_id is then. */
static int insert_entry(struct store *store, const struct store_entry *entry, int64_t *ret_id,
                        struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_INSERT_ENTRY, &stmt, e);

    if (r < 0)
        return r;
    bind_text(stmt, 1, entry->account);
    sqlite3_bind_int(stmt, 2, entry->who.first.family);
    bind_addr(stmt, 3, &entry->who.first);
    bind_addr(stmt, 4, &entry->who.last);
    sqlite3_bind_int(stmt, 5, entry->who.kind);
    bind_text(stmt, 6, entry->remark);
    sqlite3_bind_int64(stmt, 7, entry->created);
    sqlite3_bind_int64(stmt, 8, entry->expires);
    if (entry->id)
        sqlite3_bind_int64(stmt, 9, entry->id);
    r = step_done(store, stmt, e);
    if (r < 0)
        return r;
    *ret_id = sqlite3_last_insert_rowid(store->db);
    return note_entry(store, entry, +1, e);
}

/* ---- what the history keeps ---- */

/*
 * Called before the first change of a transaction: keeps the settings as they are. Later calls only
 * tell of which kind it is.
 */
static int note_change(struct store *store, enum store_change_kind kind, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct log *log = &store->log;
    int r;

    if (!log->kept)
        return 0;
    if (log->id) {
        if (log->kind == STORE_CHANGE_OTHER)
            log->kind = kind;
        return 0;
    }
    r = prepare(store,
                "INSERT INTO change (at, uid, who, origin, command, kind, is_on, mode, mode_then,"
                " mode_until, list_limit, others, realm, ports)"
                " SELECT ?1, ?2, ?3, ?4, ?5, 0, is_on, mode, mode_then, mode_until, list_limit,"
                " others, realm, ifnull((SELECT group_concat(port) FROM (SELECT port FROM port"
                " WHERE guarded ORDER BY port)), '') FROM setting",
                &stmt, e);
    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, log->now);
    sqlite3_bind_int64(stmt, 2, log->uid);
    bind_text(stmt, 3, log->who);
    bind_text(stmt, 4, log->origin);
    bind_text(stmt, 5, log->command);
    r = step_done(store, stmt, e);
    if (r < 0)
        return r;
    log->id = sqlite3_last_insert_rowid(store->db);
    log->kind = kind;
    return 0;
}

/* Keeps an entry as it is before it is deleted or edited, or that there is none of that number. */
static int note_image(struct store *store, int64_t id, bool absent, bool *ret_first, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    struct log *log = &store->log;
    int r = note_change(store, STORE_CHANGE_LIST, e);

    *ret_first = false;
    if (r < 0 || !log->id || (log->first_new && id >= log->first_new))
        return r;
    r = keep(store, absent ? KEPT_ADD_ABSENT : KEPT_ADD_IMAGE, &stmt, e);
    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, log->id);
    sqlite3_bind_int64(stmt, 2, id);
    r = step_done(store, stmt, e);
    if (r < 0)
        return r;
    *ret_first = sqlite3_changes(store->db) > 0;
    log->images += *ret_first;
    return 0;
}

/* What changes touched may be taken back as long as there is room for it. */
#define KEPT_IMAGES 2000000
/* Rows of the history. */
#define KEPT_ROWS 10000

/* Forgets what old changes touched, beginning with the oldest; never what the last one did. */
static int prune_log(struct store *store, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int64_t newest = store->log.id, oldest = newest - STORE_KEPT_CHANGES + 1, sum = 0;
    int r =
        prepare(store, "SELECT id, images FROM change WHERE id >= ? ORDER BY id DESC", &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, oldest);
    while ((r = step(store, stmt, e)) > 0) {
        int64_t id = sqlite3_column_int64(stmt, 0), images = sqlite3_column_int64(stmt, 1);

        sum += images > 0 ? images : 0;
        if (sum > KEPT_IMAGES && id < newest) {
            oldest = id + 1;
            break;
        }
    }
    if (r < 0)
        return r;
    r = set_number(store, "DELETE FROM image WHERE change < ?", oldest, e);
    if (r == 0)
        r = set_number(store, "UPDATE change SET images = -1 WHERE id < ? AND images >= 0", oldest,
                       e);
    return r == 0 ? set_number(store, "DELETE FROM change WHERE id <= ?", newest - KEPT_ROWS, e)
                  : r;
}

static int end_log(struct store *store, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    const struct log *log = &store->log;
    int r = prepare(store,
                    "UPDATE change SET kind = ?2, added = ?3, deleted = ?4, edited = ?5,"
                    " images = ?6, first_new = ?7, last_new = ?8, target = ?9 WHERE id = ?1",
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, log->id);
    sqlite3_bind_int(stmt, 2, log->kind);
    sqlite3_bind_int64(stmt, 3, log->added);
    sqlite3_bind_int64(stmt, 4, log->deleted);
    sqlite3_bind_int64(stmt, 5, log->edited);
    sqlite3_bind_int64(stmt, 6, log->images);
    sqlite3_bind_int64(stmt, 7, log->first_new);
    sqlite3_bind_int64(stmt, 8, log->last_new);
    sqlite3_bind_int64(stmt, 9, log->target);
    r = step_done(store, stmt, e);
    return r == 0 ? prune_log(store, e) : r;
}

/* ---- changing entries ---- */

int store_add_entry(struct store *store, const struct store_entry *entry,
                    const struct account *account, int64_t *ret_id, struct err *e)
{
    struct store_entry row = *entry;
    int r = find_exact(store, &row.who, account, ret_id, e);

    if (r != -ENOENT)
        return r < 0 ? r : -EEXIST;
    row.id = 0;
    row.account[0] = '\0';
    r = *account->name ? find_spelling(store, account, row.account, e) : 0;
    if (r == 0)
        r = note_change(store, STORE_CHANGE_LIST, e);
    if (r == 0)
        r = insert_entry(store, &row, &row.id, e);
    if (r == 0)
        r = change_prefixes(store, &row, +1, e);
    if (r < 0)
        return r;
    store->log.added++;
    store->log.last_new = row.id;
    if (!store->log.first_new)
        store->log.first_new = row.id;
    *ret_id = row.id;
    return 0;
}

int store_highest_id(struct store *store, int64_t *ret_id, struct err *e)
{
    return query_int(store, "SELECT ifnull(max(id), 0) FROM entry", ret_id, e);
}

int store_find_overfull(struct store *store, uint32_t limit, int64_t above,
                        char ret_account[ACCOUNT_MAX + 1], uint64_t *ret_count, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store,
                    "SELECT account, count(*) FROM entry WHERE account IN"
                    " (SELECT account FROM entry WHERE id > ?2) GROUP BY account"
                    " HAVING count(*) > ?1 LIMIT 1",
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, limit);
    sqlite3_bind_int64(stmt, 2, above);
    r = step(store, stmt, e);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    if (!column_text(stmt, 0, ret_account, ACCOUNT_MAX + 1))
        return fail_row(store, "entry", e);
    *ret_count = (uint64_t)sqlite3_column_int64(stmt, 1);
    return 0;
}

int store_delete_entry(struct store *store, const struct store_entry *entry, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    bool first;
    int r = note_image(store, entry->id, false, &first, e);

    if (r == 0)
        r = change_prefixes(store, entry, -1, e);
    if (r == 0)
        r = note_entry(store, entry, -1, e);
    if (r == 0)
        r = keep(store, KEPT_DELETE_ENTRY, &stmt, e);
    if (r < 0)
        return r;
    store->log.deleted++;
    sqlite3_bind_int64(stmt, 1, entry->id);
    return step_done(store, stmt, e);
}

int store_set_remark(struct store *store, int64_t id, const char *remark, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    bool first;
    int r = note_image(store, id, false, &first, e);

    if (r == 0)
        r = keep(store, KEPT_SET_REMARK, &stmt, e);
    if (r < 0)
        return r;
    store->log.edited += first;
    sqlite3_bind_int64(stmt, 1, id);
    bind_text(stmt, 2, remark);
    return step_done(store, stmt, e);
}

static int write_expires(struct store *store, const struct store_entry *entry, int64_t expires,
                         struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_SET_EXPIRES, &stmt, e);

    if (r < 0)
        return r;
    store->tally.changed = true;
    store->tally.temporary[entry->who.kind] += (expires != 0) - (entry->expires != 0);
    sqlite3_bind_int64(stmt, 1, entry->id);
    sqlite3_bind_int64(stmt, 2, expires);
    return step_done(store, stmt, e);
}

int store_set_expires(struct store *store, const struct store_entry *entry, int64_t expires,
                      struct err *e)
{
    struct prefix prefixes[PREFIX_MAX];
    int64_t before[PREFIX_MAX], after;
    unsigned int i, n = prefix_from_who(&entry->who, prefixes);
    bool first;
    int r = note_image(store, entry->id, false, &first, e);

    for (i = 0; r == 0 && i < n; i++)
        r = prefix_until(store, &prefixes[i], &before[i], e);
    if (r == 0)
        r = write_expires(store, entry, expires, e);
    for (i = 0; r == 0 && i < n; i++) {
        r = prefix_until(store, &prefixes[i], &after, e);
        if (r == 0)
            r = note_prefix(store, &prefixes[i], before[i], after, e);
    }
    if (r == 0)
        store->log.edited += first;
    return r;
}

static int read_entry(const struct store *store, sqlite3_stmt *stmt, struct store_entry *entry,
                      struct err *e)
{
    int64_t family = sqlite3_column_int64(stmt, 1), kind = sqlite3_column_int64(stmt, 4);
    struct who *who = &entry->who;

    entry->id = sqlite3_column_int64(stmt, 0);
    if (entry->id <= 0 || !column_time(stmt, 7, &entry->created) ||
        !column_time(stmt, 8, &entry->expires) || kind < WHO_ADDRESS || kind > WHO_RANGE ||
        !column_addr(stmt, 2, family, &who->first) || !column_addr(stmt, 3, family, &who->last) ||
        !column_text(stmt, 5, entry->remark, sizeof(entry->remark)) ||
        text_check_line(entry->remark, "remark", NULL) < 0 ||
        !column_text(stmt, 6, entry->account, sizeof(entry->account)) ||
        text_check_line(entry->account, "account", NULL) < 0)
        return fail_row(store, "entry", e);
    who->kind = (enum who_kind)kind;
    return who_is_sound(who) ? 0 : fail_row(store, "entry", e);
}

/* Steps once and reads; -ENOENT when there is no row. */
static int step_entry(const struct store *store, sqlite3_stmt *stmt, struct store_entry *ret_entry,
                      struct err *e)
{
    int r = step(store, stmt, e);

    if (r < 0)
        return r;
    return r ? read_entry(store, stmt, ret_entry, e) : -ENOENT;
}

int store_find_id(struct store *store, int64_t id, struct store_entry *ret_entry, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = keep(store, KEPT_FIND_ID, &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, id);
    return step_entry(store, stmt, ret_entry, e);
}

int store_find_who(struct store *store, const struct who *who, const struct account *account,
                   struct store_entry *ret_entry, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store,
                    "SELECT " ENTRY_COLUMNS " FROM entry WHERE account IN (?1, ?2) AND family = ?3"
                    " AND first = ?4 AND last = ?5 ORDER BY kind <> ?6, id LIMIT 1",
                    &stmt, e);

    if (r < 0)
        return r;
    bind_account(stmt, account);
    sqlite3_bind_int(stmt, 3, who->first.family);
    bind_addr(stmt, 4, &who->first);
    bind_addr(stmt, 5, &who->last);
    sqlite3_bind_int(stmt, 6, who->kind);
    return step_entry(store, stmt, ret_entry, e);
}

/* The bits of @addr beyond @len cleared. */
static struct addr mask_addr(const struct addr *addr, unsigned int len)
{
    struct addr masked = *addr;
    size_t i;

    for (i = 0; i < addr_len(addr->family); i++, len -= len < 8 ? len : 8)
        if (len < 8)
            masked.bytes[i] &= (uint8_t)(0xff00 >> len);
    return masked;
}

/* How many leading bits two addresses of a family share. */
static unsigned int common_bits(const struct addr *a, const struct addr *b)
{
    unsigned int bits = (unsigned int)addr_len(a->family) * 8, i;

    for (i = 0; i < bits; i++)
        if ((a->bytes[i / 8] ^ b->bytes[i / 8]) & 0x80 >> i % 8)
            return i;
    return bits;
}

static bool prefix_contains(const struct prefix *prefix, const struct addr *addr)
{
    return common_bits(&prefix->addr, addr) >= prefix->len;
}

/* The last prefix at or before @from, in the order of address and length; -ENOENT none. */
static int find_nearest(struct store *store, const char *account, const struct prefix *from,
                        struct prefix *ret_prefix, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    struct prefix prefix;
    int64_t len;
    int r = keep(store, account ? KEPT_NEAREST_IN_LIST : KEPT_NEAREST, &stmt, e);

    if (r < 0)
        return r;
    bind_prefix(stmt, from);
    if (account)
        bind_text(stmt, 4, account);
    r = step(store, stmt, e);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    len = sqlite3_column_int64(stmt, 1);
    if (!column_addr(stmt, 0, from->addr.family, &prefix.addr) || len < 0 ||
        len > (int64_t)addr_len(from->addr.family) * 8)
        return fail_row(store, "prefix", e);
    prefix.len = (uint8_t)len;
    *ret_prefix = prefix;
    return 0;
}

struct covering {
    const char *account; /* one spelling; NULL any list */
    const struct addr *first, *last;
    int64_t now;
    bool any;          /* the first entry found will do */
    bool lengths[129]; /* that any list has */
    struct store_entry best;
    bool found;
};

static int read_lengths(struct store *store, struct covering *covering, struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    int r = write_lengths(store, e);

    if (r == 0)
        r = keep(store, KEPT_LENGTHS, &stmt, e);
    if (r < 0)
        return r;
    sqlite3_bind_int(stmt, 1, covering->first->family);
    while ((r = step(store, stmt, e)) > 0) {
        int64_t len = sqlite3_column_int64(stmt, 0);

        if (len < 0 || len > 128)
            return fail_row(store, "length", e);
        covering->lengths[len] = true;
    }
    return r;
}

/* Begins later, ends earlier, or was there first. */
static bool is_closer(const struct store_entry *entry, const struct store_entry *than)
{
    int first = addr_cmp(&entry->who.first, &than->who.first);
    int last = addr_cmp(&entry->who.last, &than->who.last);

    return first ? first > 0 : last ? last < 0 : entry->id < than->id;
}

/* The best entry of those that need just @prefix. */
static int try_prefix(struct store *store, const struct prefix *prefix, struct covering *covering,
                      struct err *e)
{
    _cleanup_reset_ sqlite3_stmt *stmt = NULL;
    struct store_entry entry;
    int r = keep(store, covering->account ? KEPT_COVERING_IN_LIST : KEPT_COVERING, &stmt, e);

    if (r < 0)
        return r;
    bind_prefix(stmt, prefix);
    if (covering->account)
        bind_text(stmt, 4, covering->account);
    bind_addr(stmt, 5, covering->last);
    sqlite3_bind_int64(stmt, 6, covering->now);
    while ((r = step_entry(store, stmt, &entry, e)) == 0) {
        if (!covering->found || is_closer(&entry, &covering->best))
            covering->best = entry;
        covering->found = true;
        if (covering->any)
            return 0;
    }
    return r == -ENOENT ? 0 : r;
}

/*
 * Every entry that covers @first has a prefix that contains it. Those prefixes are found from the
 * longest to the shortest: the last row at or before (first, longest) is one of them, or shows how
 * long the next one can be at most. For if a prefix P contains the address and the nearest row Q,
 * which stands between P and the address, does not, then P contains Q's address too, so P is no
 * longer than what both addresses share. Each step is one search in an index, the length falls with
 * each, and lengths that no prefix has are passed over.
 */
static int find_covering(struct store *store, struct covering *covering, struct err *e)
{
    int len = (int)addr_len(covering->first->family) * 8;
    struct prefix from, found;
    int r;

    for (;; len--) {
        while (len >= 0 && !covering->lengths[len])
            len--;
        if (len < 0)
            return 0;
        from = (struct prefix){.addr = mask_addr(covering->first, (unsigned int)len),
                               .len = (uint8_t)len};
        r = find_nearest(store, covering->account, &from, &found, e);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
        if (!prefix_contains(&found, covering->first)) {
            /* Less than now: of the same length and more, only @from itself contains it. */
            len = (int)common_bits(&found.addr, covering->first) + 1;
            continue;
        }
        r = try_prefix(store, &found, covering, e);
        if (r < 0 || (covering->found && covering->any))
            return r;
        len = found.len;
    }
}

static int find_in_list(struct store *store, const struct account *account,
                        struct covering *covering, struct err *e)
{
    int r = read_lengths(store, covering, e);

    covering->account = account ? account->name : NULL;
    if (r == 0)
        r = find_covering(store, covering, e);
    if (r < 0 || (covering->found && covering->any) || !account ||
        !strcmp(account->name, account->other))
        return r;
    covering->account = account->other;
    return find_covering(store, covering, e);
}

int store_find_covering(struct store *store, const struct account *account,
                        const struct addr *first, const struct addr *last, int64_t now,
                        struct store_entry *ret_entry, struct err *e)
{
    struct covering covering = {.first = first, .last = last, .now = now};
    int r = find_in_list(store, account, &covering, e);

    if (r < 0)
        return r;
    if (!covering.found)
        return -ENOENT;
    *ret_entry = covering.best;
    return 0;
}

int store_covers(struct store *store, const struct account *account, const struct addr *addr,
                 int64_t now, bool *ret_covered, struct err *e)
{
    struct covering covering = {.first = addr, .last = addr, .now = now, .any = true};
    int r = find_in_list(store, account, &covering, e);

    if (r == 0)
        *ret_covered = covering.found;
    return r;
}

/*
 * A list is walked by number in pages, and the index that has its entries together has them in
 * another order: each page looks at the whole list. What is longer than this is found by walking
 * through all lists once instead.
 */
#define SORTED_MAX 4096

static int is_long(struct store *store, const struct account *account, bool *ret_long,
                   struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, "SELECT ifnull(sum(entries), 0) FROM list WHERE account IN (?1, ?2)",
                    &stmt, e);

    if (r < 0)
        return r;
    bind_account(stmt, account);
    r = step(store, stmt, e);
    if (r > 0)
        *ret_long = sqlite3_column_int64(stmt, 0) > SORTED_MAX;
    return r < 0 ? r : 0;
}

/* As the walk's ORDER BY has it; in a damaged file the same rows may come again and again. */
static bool comes_behind(const struct store_entry *entry, const struct store_entry *before,
                         enum store_order order)
{
    const struct who *a = &entry->who, *b = &before->who;
    int differ;

    if (order == STORE_BY_ID || !before->id)
        return entry->id > before->id;
    differ = sqlite3_stricmp(entry->account, before->account);
    if (!differ)
        differ = addr_cmp(&a->first, &b->first);
    if (!differ)
        differ = addr_cmp(&a->last, &b->last);
    return differ ? differ > 0 : a->kind > b->kind;
}

/* The next page of a walk. */
static int read_page(struct store *store, const struct account *account, enum store_order order,
                     const struct store_entry *after, struct store_entry *page, size_t *ret_count,
                     struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    char sql[512];
    bool whole = false;
    size_t n = 0;
    int r = account && order == STORE_BY_ID ? is_long(store, account, &whole, e) : 0;

    if (r < 0)
        return r;
    /* The plus sign keeps the index out of it. */
    snprintf(sql, sizeof(sql),
             "SELECT " ENTRY_COLUMNS " FROM entry WHERE %s%s%s ORDER BY %s LIMIT %d",
             whole ? "+" : "", account ? "account IN (?1, ?2) AND " : "",
             order == STORE_BY_ID ? "id > ?3"
                                  : "(account, family, first, last, kind) > (?4, ?5, ?6, ?7, ?8)",
             order == STORE_BY_ID ? "id" : "account, family, first, last, kind", PAGE_ENTRIES);
    r = prepare(store, sql, &stmt, e);
    if (r < 0)
        return r;
    if (account)
        bind_account(stmt, account);
    if (order == STORE_BY_ID) {
        sqlite3_bind_int64(stmt, 3, after->id);
    } else {
        bind_text(stmt, 4, after->account);
        sqlite3_bind_int(stmt, 5, after->who.first.family);
        bind_addr(stmt, 6, &after->who.first);
        bind_addr(stmt, 7, &after->who.last);
        sqlite3_bind_int(stmt, 8, after->who.kind);
    }
    while (n < PAGE_ENTRIES && (r = step_entry(store, stmt, &page[n], e)) == 0) {
        if (!comes_behind(&page[n], n ? &page[n - 1] : after, order))
            return fail_row(store, "entry", e);
        n++;
    }
    if (r < 0 && r != -ENOENT)
        return r;
    *ret_count = n;
    return 0;
}

int store_each_entry(struct store *store, const struct account *account, enum store_order order,
                     int (*fn)(const struct store_entry *entry, void *arg), void *arg,
                     struct err *e)
{
    _cleanup_free_ struct store_entry *page = calloc(PAGE_ENTRIES, sizeof(*page));
    struct store_entry after = {0}; /* stands before all entries, in either order */
    size_t i, count;

    if (!page)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    do {
        int r = read_page(store, account, order, &after, page, &count, e);

        for (i = 0; r == 0 && i < count; i++)
            r = fn(&page[i], arg);
        if (r)
            return r;
        if (count)
            after = page[count - 1];
    } while (count == PAGE_ENTRIES);
    return 0;
}

int store_each_prefix(struct store *store,
                      int (*fn)(const struct prefix *prefix, int64_t until, void *arg), void *arg,
                      struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    bool temporary;
    int r = store_has_deadlines(store, &temporary, e);

    /* Without an end anywhere the entries need not be looked at. */
    if (r == 0)
        r = prepare(store,
                    temporary ? "SELECT p.family, addr, len,"
                                " max(CASE expires WHEN 0 THEN " FOREVER_SQL " ELSE expires END)"
                                " FROM prefix p CROSS JOIN entry ON id = p.entry"
                                " GROUP BY p.family, addr, len ORDER BY p.family, addr, len"
                              : "SELECT DISTINCT family, addr, len, " FOREVER_SQL
                                " FROM prefix ORDER BY family, addr, len",
                    &stmt, e);
    if (r < 0)
        return r;
    while ((r = step(store, stmt, e)) > 0) {
        int64_t family = sqlite3_column_int64(stmt, 0), len = sqlite3_column_int64(stmt, 2);
        struct prefix prefix;
        struct addr masked;

        if (!column_addr(stmt, 1, family, &prefix.addr) || len < 0 ||
            len > (int64_t)addr_len(prefix.addr.family) * 8)
            return fail_row(store, "prefix", e);
        masked = mask_addr(&prefix.addr, (unsigned int)len);
        if (addr_cmp(&masked, &prefix.addr))
            return fail_row(store, "prefix", e);
        prefix.len = (uint8_t)len;
        r = fn(&prefix, sqlite3_column_int64(stmt, 3), arg);
        if (r)
            return r;
    }
    return r;
}

/* ---- interfaces ---- */

int store_each_iface(struct store *store, int (*fn)(const struct store_iface *iface, void *arg),
                     void *arg, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, "SELECT id, name, mode, wanted FROM interface ORDER BY id", &stmt, e);

    if (r < 0)
        return r;
    while ((r = step(store, stmt, e)) > 0) {
        struct store_iface iface = {.wanted = sqlite3_column_int64(stmt, 3) != 0};
        int64_t id = sqlite3_column_int64(stmt, 0), mode = sqlite3_column_int64(stmt, 2);

        if (id <= 0 || id > UINT32_MAX || mode < STORE_IFACE_AUTO || mode > STORE_IFACE_GENERIC ||
            !column_text(stmt, 1, iface.name, sizeof(iface.name)))
            return fail_row(store, "interface", e);
        iface.id = (uint32_t)id;
        iface.mode = (enum store_iface_mode)mode;
        r = fn(&iface, arg);
        if (r)
            return r;
    }
    return r;
}

int store_any_wanted(struct store *store, bool *ret_any, struct err *e)
{
    int64_t any;
    int r = query_int(store, "SELECT EXISTS (SELECT 1 FROM interface WHERE wanted)", &any, e);

    if (r == 0)
        *ret_any = any != 0;
    return r;
}

static int has_iface(struct store *store, const struct store_iface *iface, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store,
                    "SELECT 1 FROM interface WHERE id = ? AND name = ? AND mode = ? AND wanted = ?",
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, iface->id);
    sqlite3_bind_text(stmt, 2, iface->name, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 3, iface->mode);
    sqlite3_bind_int(stmt, 4, iface->wanted);
    return step(store, stmt, e);
}

int store_put_iface(struct store *store, const struct store_iface *iface, uint32_t *ret_id,
                    struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = iface->id ? has_iface(store, iface, e) : 0;

    if (r < 0)
        return r;
    if (r > 0) {
        *ret_id = iface->id;
        return 0;
    }
    r = note_change(store, STORE_CHANGE_OTHER, e);
    if (r < 0)
        return r;
    r = prepare(store,
                "INSERT INTO interface VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE"
                " SET name = ?2, mode = ?3, wanted = ?4",
                &stmt, e);

    if (r < 0)
        return r;
    if (iface->id)
        sqlite3_bind_int64(stmt, 1, iface->id);
    sqlite3_bind_text(stmt, 2, iface->name, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 3, iface->mode);
    sqlite3_bind_int(stmt, 4, iface->wanted);
    r = step_done(store, stmt, e);
    if (r < 0)
        return r;
    *ret_id = iface->id ? iface->id : (uint32_t)sqlite3_last_insert_rowid(store->db);
    return 0;
}

/* ---- history ---- */

void store_set_author(struct store *store, const struct store_author *author, int64_t now)
{
    struct log *log = &store->log;

    log->kept = true;
    log->uid = author->uid;
    /* What does not fit is cut between characters: half of one would count as damage later. */
    text_escape(author->who, log->who, sizeof(log->who));
    text_escape(author->origin, log->origin, sizeof(log->origin));
    text_escape(author->command, log->command, sizeof(log->command));
    log->now = now;
}

void store_read_touched(const struct store *store, unsigned int *ret_added,
                        unsigned int *ret_deleted, unsigned int *ret_edited)
{
    *ret_added = (unsigned int)store->log.added;
    *ret_deleted = (unsigned int)store->log.deleted;
    *ret_edited = (unsigned int)store->log.edited;
}

int64_t store_change_id(const struct store *store)
{
    return store->log.id;
}

#define CHANGE_COLUMNS "id, kind, target, at, uid, who, origin, command, added, deleted, edited"

/*
 * Walking from the newest change to the oldest: the last stretch of changes that are taken back,
 * from number @from up to the change that did it. What was in force before @from is then, so a
 * change within the stretch that took back others, earlier, counts for nothing.
 */
struct stretch {
    int64_t from, by;
};

#define NO_STRETCH ((struct stretch){.from = INT64_MAX})

/* The first columns of a row: what the change is, and which one took it back. */
static int read_kind(const struct store *store, sqlite3_stmt *stmt, struct stretch *stretch,
                     struct store_change *change, struct err *e)
{
    int64_t id = sqlite3_column_int64(stmt, 0), kind = sqlite3_column_int64(stmt, 1);
    int64_t target = sqlite3_column_int64(stmt, 2);
    bool undo = kind == STORE_CHANGE_UNDO;

    if (id <= 0 || kind < STORE_CHANGE_LIST || kind > STORE_CHANGE_OTHER || target < undo ||
        target >= (undo ? id : 1))
        return fail_row(store, "change", e);
    change->id = id;
    change->kind = (enum store_change_kind)kind;
    change->undone = id >= stretch->from && kind != STORE_CHANGE_OTHER ? stretch->by : 0;
    if (undo && id < stretch->from)
        *stretch = (struct stretch){.from = target, .by = id};
    return 0;
}

static int read_change(const struct store *store, sqlite3_stmt *stmt, struct stretch *stretch,
                       struct store_change *change, struct err *e)
{
    int64_t uid = sqlite3_column_int64(stmt, 4), added = sqlite3_column_int64(stmt, 8);
    int64_t deleted = sqlite3_column_int64(stmt, 9), edited = sqlite3_column_int64(stmt, 10);
    int r = read_kind(store, stmt, stretch, change, e);

    if (r < 0)
        return r;
    if (!column_time(stmt, 3, &change->at) || uid < 0 || uid > UINT32_MAX || added < 0 ||
        deleted < 0 || edited < 0 || !column_text(stmt, 5, change->who, sizeof(change->who)) ||
        text_check_line(change->who, "name", NULL) < 0 ||
        !column_text(stmt, 6, change->origin, sizeof(change->origin)) ||
        text_check_line(change->origin, "origin", NULL) < 0 ||
        !column_text(stmt, 7, change->command, sizeof(change->command)) ||
        text_check_line(change->command, "command", NULL) < 0)
        return fail_row(store, "change", e);
    change->uid = (uint32_t)uid;
    change->added = (uint64_t)added;
    change->deleted = (uint64_t)deleted;
    change->edited = (uint64_t)edited;
    return 0;
}

/* The changes below @before, newest first, up to a page. */
static int read_changes(struct store *store, int64_t before, struct stretch *stretch,
                        struct store_change *page, size_t *ret_count, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    size_t n = 0;
    int r = prepare(store,
                    "SELECT " CHANGE_COLUMNS " FROM change WHERE id < ?1 ORDER BY id DESC"
                    " LIMIT " STRING(PAGE_ENTRIES),
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, before);
    while (n < PAGE_ENTRIES && (r = step(store, stmt, e)) > 0) {
        r = read_change(store, stmt, stretch, &page[n], e);
        if (r == 0 && page[n].id >= before)
            r = fail_row(store, "change", e);
        if (r < 0)
            return r;
        before = page[n++].id;
    }
    if (r < 0)
        return r;
    *ret_count = n;
    return 0;
}

int store_each_change(struct store *store, unsigned int limit,
                      int (*fn)(const struct store_change *change, void *arg), void *arg,
                      struct err *e)
{
    _cleanup_free_ struct store_change *page = calloc(PAGE_ENTRIES, sizeof(*page));
    struct stretch stretch = NO_STRETCH;
    int64_t before = INT64_MAX;
    unsigned int told = 0;
    size_t i, count;

    if (!page)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    do {
        int r = read_changes(store, before, &stretch, page, &count, e);

        for (i = 0; r == 0 && i < count && (!limit || told < limit); i++, told++)
            r = fn(&page[i], arg);
        if (r)
            return r;
        if (count)
            before = page[count - 1].id;
    } while (count == PAGE_ENTRIES && (!limit || told < limit));
    return 0;
}

int store_find_undo(struct store *store, unsigned int count, int64_t *ret_id,
                    unsigned int *ret_count, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct stretch stretch = NO_STRETCH;
    struct store_change change;
    unsigned int found = 0;
    int64_t id = 0;
    int r = prepare(store, "SELECT id, kind, target FROM change ORDER BY id DESC", &stmt, e);

    while (r == 0 && found < count && (r = step(store, stmt, e)) > 0) {
        r = read_kind(store, stmt, &stretch, &change, e);
        if (r < 0 || change.kind != STORE_CHANGE_LIST || change.undone)
            continue;
        id = change.id;
        found++;
    }
    if (r < 0)
        return r;
    *ret_id = id;
    *ret_count = found;
    return found == count ? 0 : -ENOENT;
}

/* A row of change, as far as taking it back needs it. */
struct past {
    int64_t id, first_new, last_new, images;
    enum store_change_kind kind;
    struct store_settings settings; /* before it; only what the row holds */
    uint16_t ports[SG_PORTS_MAX];
    unsigned int n_ports;
};

/* "25,465": ascending, and written as they are by note_change(). */
static bool parse_ports(const char *text, struct past *past)
{
    uint32_t last = 0;

    past->n_ports = 0;
    for (;;) {
        const char *start = text;
        uint32_t port = 0;

        while (*text >= '0' && *text <= '9' && port <= UINT16_MAX)
            port = port * 10 + (uint32_t)(*text++ - '0');
        if (*start == '0' || port <= last || port > UINT16_MAX || past->n_ports == SG_PORTS_MAX)
            return false;
        past->ports[past->n_ports++] = (uint16_t)port;
        last = port;
        if (*text != ',')
            return !*text;
        text++;
    }
}

/* The numbers that it gave out: as many as it says that it added, or put back beside them. */
static bool check_numbers(const struct past *past, int64_t added)
{
    int64_t given = 0;

    if (past->first_new < 0 || past->last_new < past->first_new)
        return false;
    if (past->first_new)
        given = past->last_new - past->first_new + 1;
    else if (past->last_new)
        return false;
    return past->kind == STORE_CHANGE_UNDO ? given <= added : given == added;
}

/* -ENOENT: there is none of that number. */
static int read_past(struct store *store, int64_t id, struct past *ret_past, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct past past = {.id = id};
    int64_t limit, kind, on;
    char ports[256];
    int r = prepare(store,
                    "SELECT kind, first_new, last_new, images, list_limit, others, realm, is_on,"
                    " mode, mode_then, mode_until, ports, added FROM change WHERE id = ?",
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, id);
    r = step(store, stmt, e);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    kind = sqlite3_column_int64(stmt, 0);
    past.first_new = sqlite3_column_int64(stmt, 1);
    past.last_new = sqlite3_column_int64(stmt, 2);
    past.images = sqlite3_column_int64(stmt, 3);
    limit = sqlite3_column_int64(stmt, 4);
    on = sqlite3_column_int64(stmt, 7);
    past.kind = (enum store_change_kind)kind;
    if (kind < STORE_CHANGE_LIST || kind > STORE_CHANGE_OTHER ||
        !check_numbers(&past, sqlite3_column_int64(stmt, 12)) || limit < 0 || limit > UINT32_MAX ||
        (on != 0 && on != 1) ||
        !column_rules(stmt, 5, &past.settings.others, past.settings.realm) ||
        !column_plan(stmt, 8, &past.settings.plan) ||
        !column_text(stmt, 11, ports, sizeof(ports)) || !parse_ports(ports, &past))
        return fail_row(store, "change", e);
    past.settings.on = on != 0;
    past.settings.limit = (uint32_t)limit;
    *ret_past = past;
    return 0;
}

static int delete_if_there(struct store *store, int64_t id, struct err *e)
{
    struct store_entry entry;
    int r = store_find_id(store, id, &entry, e);

    return r == 0 ? store_delete_entry(store, &entry, e) : r == -ENOENT ? 0 : r;
}

/* All but what can be edited: that of a number never changes. */
static bool is_same_entry(const struct store_entry *a, const struct store_entry *b)
{
    return a->who.kind == b->who.kind && who_same_set(&a->who, &b->who) &&
           !strcmp(a->account, b->account) && a->created == b->created;
}

/* Under its old number, with all it had. */
static int put_back(struct store *store, const struct store_entry *image, struct err *e)
{
    struct store_entry entry;
    bool first;
    int64_t id;
    int r = store_find_id(store, image->id, &entry, e);

    if (r == 0 && !is_same_entry(&entry, image))
        return fail_row(store, "image", e);
    if (r == 0 && strcmp(entry.remark, image->remark) != 0)
        r = store_set_remark(store, image->id, image->remark, e);
    if (r == 0 && entry.expires != image->expires)
        r = store_set_expires(store, &entry, image->expires, e);
    if (r != -ENOENT)
        return r;
    r = note_image(store, image->id, true, &first, e);
    if (r == 0)
        r = insert_entry(store, image, &id, e);
    if (r == 0)
        r = change_prefixes(store, image, +1, e);
    if (r == 0)
        store->log.added++;
    return r;
}

/* The entries that @past added are deleted again. */
static int undo_additions(struct store *store, const struct past *past, struct err *e)
{
    char sql[128];
    int64_t id = 0;
    int r = 0;

    snprintf(sql, sizeof(sql), "SELECT min(id) FROM entry WHERE id BETWEEN %lld AND %lld",
             (long long)past->first_new, (long long)past->last_new);
    while (r == 0 && past->first_new) {
        r = query_int(store, sql, &id, e);
        if (r < 0 || !id)
            return r;
        r = delete_if_there(store, id, e);
    }
    return r;
}

/*
 * @absent: those that it put back are gone again. Else: those that it deleted or edited are what
 * they were. Its images stay, so the walk is safe. @count grows by as many as there are.
 */
static int undo_images(struct store *store, const struct past *past, bool absent, int64_t *count,
                       struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct store_entry image;
    int r = prepare(store,
                    "SELECT entry, family, first, last, kind, remark, account, created, expires"
                    " FROM image WHERE change = ?1 AND absent = ?2 ORDER BY entry",
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, past->id);
    sqlite3_bind_int(stmt, 2, absent);
    for (; (r = step(store, stmt, e)) > 0; ++*count) {
        if (absent) {
            r = delete_if_there(store, sqlite3_column_int64(stmt, 0), e);
        } else {
            r = read_entry(store, stmt, &image, e);
            if (r == 0)
                r = put_back(store, &image, e);
        }
        if (r < 0)
            return r;
    }
    return r;
}

static bool ports_are(const struct store_settings *settings, const struct past *past)
{
    unsigned int i, guarded = 0;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded &&
            (guarded == past->n_ports || settings->ports[i].port != past->ports[guarded++]))
            return false;
    return guarded == past->n_ports;
}

static int undo_settings(struct store *store, const struct past *past, struct err *e)
{
    const struct store_settings *then = &past->settings;
    struct store_settings now;
    int r = store_read_settings(store, &now, e);

    if (r == 0 && now.on != then->on)
        r = store_set_on(store, then->on, e);
    if (r == 0 && (now.plan.mode != then->plan.mode || now.plan.until != then->plan.until ||
                   (now.plan.until && now.plan.then != then->plan.then)))
        r = store_set_plan(store, &then->plan, e);
    if (r == 0 && now.limit != then->limit)
        r = store_set_limit(store, then->limit, e);
    if (r == 0 && now.others != then->others)
        r = store_set_others(store, then->others, e);
    if (r == 0 && strcmp(now.realm, then->realm) != 0)
        r = store_set_realm(store, then->realm, e);
    if (r == 0 && !ports_are(&now, past))
        r = store_set_ports(store, past->ports, past->n_ports, e);
    return r;
}

static int undo_change(struct store *store, const struct past *past, struct err *e)
{
    int64_t count = 0;
    int r = undo_additions(store, past, e);

    /* What has to go goes first: the same WHO may have stood there under another number. */
    if (r == 0)
        r = undo_images(store, past, true, &count, e);
    if (r == 0)
        r = undo_images(store, past, false, &count, e);
    if (r == 0 && count != past->images)
        return fail_row(store, "image", e);
    return r == 0 ? undo_settings(store, past, e) : r;
}

/* Entries came and went on the way back: what is told is the difference. */
static int count_difference(struct store *store, struct err *e)
{
    static const char query[] =
        "SELECT total(absent AND entry.id IS NOT NULL), total(NOT absent AND entry.id IS NULL),"
        " total(NOT absent AND (entry.remark <> image.remark OR entry.expires <> image.expires))"
        " FROM image LEFT JOIN entry ON entry.id = image.entry WHERE change = ?";
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, query, &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, store->log.id);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    store->log.added = sqlite3_column_int64(stmt, 0);
    store->log.deleted = sqlite3_column_int64(stmt, 1);
    store->log.edited = sqlite3_column_int64(stmt, 2);
    return 0;
}

int store_undo_to(struct store *store, int64_t id, struct err *e)
{
    struct past past;
    int64_t newest, at;
    int r = query_int(store, "SELECT ifnull(max(id), 0) FROM change", &newest, e);

    if (r == 0)
        r = read_past(store, id, &past, e);
    if (r < 0)
        return r;
    if (id <= newest - STORE_KEPT_CHANGES || past.images < 0)
        return -ENOENT;
    r = note_change(store, STORE_CHANGE_UNDO, e);
    for (at = newest; r == 0 && at >= id; at--) {
        r = read_past(store, at, &past, e);
        if (r == 0 && past.kind != STORE_CHANGE_OTHER)
            r = undo_change(store, &past, e);
        if (r == -ENOENT)
            r = 0; /* a number that was never used */
    }
    store->log.target = id;
    return r == 0 ? count_difference(store, e) : r;
}
