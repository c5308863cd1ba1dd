/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See store.h. Rollback journal and synchronous=EXTRA (FULL, and the directory is synced after the
 * journal is gone): a commit that returned is on the disk, and stays committed.
 * Rows are validated when read: a damaged or foreign file ends in an error, never in a wrong list.
 */
#include "store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define STORE_FILE       "smtpgate.db"
#define STORE_APP_ID     0x534d5447 /* "SMTG" in the file's header */
#define STORE_VERSION    1
#define STORE_BUSY_MS    5000
#define STORE_LIMIT_INIT 10

/*
 * entry.first/last are the addresses in network byte order, 4 or 16 bytes, so that BLOB order is
 * address order. prefix has a row for each entry that needs the prefix: the rows are the reference
 * count, and they lead from an address to its entry.
 */
static const char schema[] =
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
    " mode INTEGER NOT NULL, wanted INTEGER NOT NULL) STRICT;";

struct store {
    sqlite3 *db;
    char path[4096];
    bool in_transaction;
    int changes_before; /* sqlite3_total_changes() when it began */
    bool kernel_changed;
    struct delta delta;
};

static void cleanup_stmt(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
}

#define _cleanup_stmt_ __attribute__((cleanup(cleanup_stmt)))

static int fail(const struct store *store, int rc, struct err *e)
{
    const char *path = store->path;
    int os_error = sqlite3_system_errno(store->db);

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
        err_set(e, 0, EXIT_REFUSED,
                "the store %s is damaged (%s); nothing changed, the gate stays"
                " as it is",
                path, sqlite3_errmsg(store->db));
        err_hint(e, "put back a copy of %s from a backup, then: smtpgate sync", path);
        return -EUCLEAN;
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
                   sqlite3_errmsg(store->db), os_error ? ": " : "",
                   os_error ? strerror(os_error) : "");
}

/* A row that this version never writes. */
static int fail_row(const struct store *store, const char *table, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the store %s is damaged (a row of table %s makes no sense);"
            " nothing changed, the gate stays as it is",
            store->path, table);
    err_hint(e, "put back a copy of %s from a backup, then: smtpgate sync", store->path);
    return -EUCLEAN;
}

static int exec(struct store *store, const char *sql, struct err *e)
{
    int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : fail(store, rc, e);
}

static int prepare(struct store *store, const char *sql, sqlite3_stmt **ret_stmt, struct err *e)
{
    int rc = sqlite3_prepare_v2(store->db, sql, -1, ret_stmt, NULL);

    /* "no such table" and the like: not one of our files, whatever its header says. */
    if (rc == SQLITE_ERROR)
        return fail(store, SQLITE_CORRUPT, e);
    return rc == SQLITE_OK ? 0 : fail(store, rc, e);
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
    snprintf(sql, sizeof(sql),
             "INSERT INTO setting VALUES (1, %lld, 1, 0, %d, %d);"
             "PRAGMA application_id = %d; PRAGMA user_version = %d;",
             (long long)id, SG_MODE_OFF, STORE_LIMIT_INIT, STORE_APP_ID, STORE_VERSION);
    r = exec(store, sql, e);
    return r < 0 ? r : store_set_ports(store, ports, ARRAY_SIZE(ports), e);
}

/* Makes the tables in an empty file; a file that is not ours is refused. */
static int check_schema(struct store *store, bool may_create, struct err *e)
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
    if (app_id == STORE_APP_ID && version > STORE_VERSION) {
        err_set(e, 0, EXIT_REFUSED,
                "the store %s was written by a newer smtpgate (format %lld, this one reads %d);"
                " nothing changed, the gate stays as it is",
                store->path, (long long)version, STORE_VERSION);
        err_hint(e, "install the newer smtpgate again");
        return -ENOTSUP;
    }
    r = query_int(store, "SELECT count(*) FROM sqlite_schema", &tables, e);
    if (r < 0)
        return r;
    if (app_id || version || tables) {
        err_set(e, 0, EXIT_REFUSED,
                "%s is another program's database, not a store of smtpgate; nothing changed, the"
                " gate stays as it is",
                store->path);
        err_hint(e, "put back a copy of %s from a backup, then: smtpgate sync", store->path);
        return -EUCLEAN;
    }
    if (!may_create)
        return -ENOENT;
    r = exec(store, "BEGIN IMMEDIATE", e);
    if (r < 0)
        return r;
    r = make_schema(store, e);
    if (r == 0)
        r = exec(store, "COMMIT", e);
    if (r < 0)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/*
 * Readers open read-write too where they may: a journal left by a killed writer can only be rolled
 * back by someone who may write.
 */
static int open_db(struct store *store, enum store_access mode, struct err *e)
{
    int flags = SQLITE_OPEN_READWRITE | (mode == STORE_WRITE ? SQLITE_OPEN_CREATE : 0);
    struct stat st;
    int rc;

    /* Neither a reader nor -n makes tables in an empty file. */
    if (mode != STORE_WRITE && (stat(store->path, &st) < 0 ? errno == ENOENT : !st.st_size)) {
        if (mode == STORE_READ)
            return -ENOENT;
        flags |= SQLITE_OPEN_MEMORY;
    }
    rc = sqlite3_open_v2(store->path, &store->db, flags, NULL);
    if (mode == STORE_READ && rc != SQLITE_OK) {
        sqlite3_close(store->db);
        rc = sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READONLY, NULL);
    }
    return rc == SQLITE_OK ? 0 : fail(store, rc, e);
}

int store_open(const char *dir, enum store_access mode, struct store **ret_store, struct err *e)
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
    mask = umask(077);
    r = open_db(store, mode, e);
    if (r == 0) {
        sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
        r = exec(store,
                 "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                 "PRAGMA foreign_keys = ON; PRAGMA synchronous = EXTRA",
                 e);
    }
    if (r == 0)
        r = check_schema(store, mode != STORE_READ, e);
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
    sqlite3_close(store->db); /* rolls back what was not committed */
    free(store);
}

int store_verify(struct store *store, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    const char *text;
    int r = prepare(store, "PRAGMA quick_check(1)", &stmt, e);

    if (r < 0)
        return r;
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    text = r ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (text && !strcmp(text, "ok"))
        return 0;
    if (text && strrchr(text, '\n')) /* a heading stands in front */
        text = strrchr(text, '\n') + 1;
    err_set(e, 0, EXIT_REFUSED,
            "the store %s is damaged (%s); nothing changed, the gate stays as"
            " it is",
            store->path, text ? text : "no answer");
    err_hint(e, "put back a copy of %s from a backup, then: smtpgate sync", store->path);
    return -EUCLEAN;
}

/* ---- transactions ---- */

int store_begin(struct store *store, struct err *e)
{
    /* A read-only store can still be put in force (sync at boot); writing to it fails later. */
    bool read_only = sqlite3_db_readonly(store->db, "main") == 1;
    int r = exec(store, read_only ? "BEGIN" : "BEGIN IMMEDIATE", e);

    if (r < 0)
        return r;
    store->in_transaction = true;
    store->changes_before = sqlite3_total_changes(store->db);
    store->kernel_changed = false;
    store->delta.count = 0;
    return 0;
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
    int r = changed ? exec(store, "UPDATE setting SET serial = serial + 1", e) : 0;

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
    sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    store->in_transaction = false;
    store->kernel_changed = false;
    store->delta.count = 0;
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

static bool mode_is_known(int64_t mode)
{
    return mode == SG_MODE_ENFORCE || mode == SG_MODE_OFF;
}

static int read_ports(struct store *store, struct store_settings *settings, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, "SELECT port, slot, guarded FROM port ORDER BY port", &stmt, e);

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

int store_read_settings(struct store *store, struct store_settings *ret_settings, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct store_settings settings = {0};
    int64_t id, revision, mode, limit;
    int r;

    r = prepare(store, "SELECT id, revision, mode, list_limit FROM setting", &stmt, e);
    if (r < 0)
        return r;
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    if (r == 0)
        return fail_row(store, "setting", e);
    id = sqlite3_column_int64(stmt, 0);
    revision = sqlite3_column_int64(stmt, 1);
    mode = sqlite3_column_int64(stmt, 2);
    limit = sqlite3_column_int64(stmt, 3);
    if (id <= 0 || revision <= 0 || limit < 0 || limit > UINT32_MAX || !mode_is_known(mode))
        return fail_row(store, "setting", e);
    settings.id = (uint64_t)id;
    settings.revision = (uint64_t)revision;
    settings.mode = (enum sg_mode)mode;
    settings.limit = (uint32_t)limit;
    r = read_ports(store, &settings, e);
    if (r < 0)
        return r;
    *ret_settings = settings;
    return 0;
}

int store_read_counts(struct store *store, struct store_counts *ret_counts, struct err *e)
{
    int64_t entries, prefixes;
    int r = query_int(store, "SELECT count(*) FROM entry", &entries, e);

    if (r < 0)
        return r;
    r = query_int(store, "SELECT count(*) FROM (SELECT DISTINCT family, addr, len FROM prefix)",
                  &prefixes, e);
    if (r < 0)
        return r;
    ret_counts->entries = (uint64_t)entries;
    ret_counts->prefixes = (uint64_t)prefixes;
    return 0;
}

int store_count_entries(struct store *store, const char *account, uint64_t *ret_count,
                        struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, "SELECT count(*) FROM entry WHERE account = ?", &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_text(stmt, 1, account, -1, SQLITE_STATIC);
    r = step(store, stmt, e);
    if (r < 0)
        return r;
    *ret_count = (uint64_t)sqlite3_column_int64(stmt, 0);
    return 0;
}

int store_bump_revision(struct store *store, struct err *e)
{
    return exec(store, "UPDATE setting SET revision = revision + 1", e);
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

int store_set_mode(struct store *store, enum sg_mode mode, struct err *e)
{
    store->kernel_changed = true;
    return set_number(store, "UPDATE setting SET mode = ?", mode, e);
}

int store_set_limit(struct store *store, uint32_t limit, struct err *e)
{
    return set_number(store, "UPDATE setting SET list_limit = ?", limit, e);
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
    int r = exec(store, "UPDATE port SET guarded = 0", e);

    for (i = 0; r == 0 && i < n; i++)
        r = guard_port(store, ports[i], e);
    store->kernel_changed = true;
    return r;
}

/* ---- entries ---- */

static const char prefix_exists[] =
    "SELECT 1 FROM prefix WHERE family = ? AND addr = ? AND len = ? LIMIT 1";

static void bind_prefix(sqlite3_stmt *stmt, const struct prefix *prefix)
{
    sqlite3_bind_int(stmt, 1, prefix->addr.family);
    bind_addr(stmt, 2, &prefix->addr);
    sqlite3_bind_int(stmt, 3, prefix->len);
}

/*
 * Runs @sql (insert or delete of one prefix row) for each prefix of @who and records the prefixes
 * that no other entry holds. Inserting looks before the row is there, deleting after it is gone.
 */
static int change_prefixes(struct store *store, const char *sql, const struct who *who,
                           int64_t entry, int direction, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *change = NULL, *exists = NULL;
    struct prefix prefixes[PREFIX_MAX];
    unsigned int i, n = prefix_from_who(who, prefixes);
    int r, held = 0;

    r = prepare(store, sql, &change, e);
    if (r < 0)
        return r;
    r = prepare(store, prefix_exists, &exists, e);
    if (r < 0)
        return r;
    for (i = 0; i < n; i++) {
        bind_prefix(change, &prefixes[i]);
        sqlite3_bind_int64(change, 4, entry);
        bind_prefix(exists, &prefixes[i]);
        if (direction > 0)
            held = step(store, exists, e);
        r = held < 0 ? held : step_done(store, change, e);
        if (r < 0)
            return r;
        if (direction < 0)
            held = step(store, exists, e);
        if (held < 0)
            return held;
        sqlite3_reset(change);
        sqlite3_reset(exists);
        if (!held && delta_push(&store->delta, &prefixes[i], direction) < 0)
            return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory; nothing changed");
    }
    store->kernel_changed = true;
    return 0;
}

static int find_exact(struct store *store, const struct who *who, const char *account,
                      int64_t *ret_id, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store,
                    "SELECT id FROM entry WHERE account = ? AND family = ? AND first = ?"
                    " AND last = ? AND kind = ?",
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_text(stmt, 1, account, -1, SQLITE_STATIC);
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

int store_add_entry(struct store *store, const struct who *who, const char *account,
                    const char *remark, int64_t now, int64_t *ret_id, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int64_t id;
    int r = find_exact(store, who, account, ret_id, e);

    if (r != -ENOENT)
        return r < 0 ? r : -EEXIST;
    r = prepare(store,
                "INSERT INTO entry (account, family, first, last, kind, remark, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                &stmt, e);
    if (r < 0)
        return r;
    sqlite3_bind_text(stmt, 1, account, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 2, who->first.family);
    bind_addr(stmt, 3, &who->first);
    bind_addr(stmt, 4, &who->last);
    sqlite3_bind_int(stmt, 5, who->kind);
    sqlite3_bind_text(stmt, 6, remark, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 7, now);
    r = step_done(store, stmt, e);
    if (r < 0)
        return r;
    id = sqlite3_last_insert_rowid(store->db);
    r = change_prefixes(store, "INSERT INTO prefix VALUES (?, ?, ?, ?)", who, id, +1, e);
    if (r < 0)
        return r;
    *ret_id = id;
    return 0;
}

int store_delete_entry(struct store *store, const struct store_entry *entry, struct err *e)
{
    int r = change_prefixes(
        store, "DELETE FROM prefix WHERE family = ? AND addr = ? AND len = ? AND entry = ?",
        &entry->who, entry->id, -1, e);

    if (r < 0)
        return r;
    return set_number(store, "DELETE FROM entry WHERE id = ?", entry->id, e);
}

int store_set_remark(struct store *store, int64_t id, const char *remark, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, "UPDATE entry SET remark = ? WHERE id = ?", &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_text(stmt, 1, remark, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, id);
    return step_done(store, stmt, e);
}

#define ENTRY_COLUMNS "id, family, first, last, kind, remark, account, created, expires"

static int read_entry(const struct store *store, sqlite3_stmt *stmt, struct store_entry *entry,
                      struct err *e)
{
    int64_t family = sqlite3_column_int64(stmt, 1), kind = sqlite3_column_int64(stmt, 4);
    struct who *who = &entry->who;

    entry->id = sqlite3_column_int64(stmt, 0);
    entry->created = sqlite3_column_int64(stmt, 7);
    entry->expires = sqlite3_column_int64(stmt, 8);
    if (kind < WHO_ADDRESS || kind > WHO_RANGE || !column_addr(stmt, 2, family, &who->first) ||
        !column_addr(stmt, 3, family, &who->last) || addr_cmp(&who->first, &who->last) > 0 ||
        !column_text(stmt, 5, entry->remark, sizeof(entry->remark)) ||
        remark_check(entry->remark, NULL) < 0 ||
        !column_text(stmt, 6, entry->account, sizeof(entry->account)))
        return fail_row(store, "entry", e);
    who->kind = (enum who_kind)kind;
    return 0;
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
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store, "SELECT " ENTRY_COLUMNS " FROM entry WHERE id = ?", &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_int64(stmt, 1, id);
    return step_entry(store, stmt, ret_entry, e);
}

int store_find_who(struct store *store, const struct who *who, const char *account,
                   struct store_entry *ret_entry, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r = prepare(store,
                    "SELECT " ENTRY_COLUMNS " FROM entry WHERE account = ? AND family = ?"
                    " AND first = ? AND last = ? ORDER BY kind <> ?, id LIMIT 1",
                    &stmt, e);

    if (r < 0)
        return r;
    sqlite3_bind_text(stmt, 1, account, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 2, who->first.family);
    bind_addr(stmt, 3, &who->first);
    bind_addr(stmt, 4, &who->last);
    sqlite3_bind_int(stmt, 5, who->kind);
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

/*
 * Any entry that covers @first holds, among its prefixes, one that contains it: so at most 33 (129)
 * look-ups find all candidates, at any size of the list.
 */
int store_find_covering(struct store *store, const struct addr *first, const struct addr *last,
                        struct store_entry *ret_entry, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct store_entry entry, best;
    bool found = false;
    int len, r;

    r = prepare(store,
                "SELECT " ENTRY_COLUMNS " FROM entry WHERE id IN"
                " (SELECT entry FROM prefix WHERE family = ? AND addr = ? AND len = ?)"
                " AND last >= ? ORDER BY first DESC, last, id LIMIT 1",
                &stmt, e);
    if (r < 0)
        return r;
    for (len = (int)addr_len(first->family) * 8; len >= 0; len--) {
        struct prefix prefix = {.addr = mask_addr(first, (unsigned int)len), .len = (uint8_t)len};

        bind_prefix(stmt, &prefix);
        bind_addr(stmt, 4, last);
        r = step_entry(store, stmt, &entry, e);
        sqlite3_reset(stmt);
        if (r == -ENOENT)
            continue;
        if (r < 0)
            return r;
        if (!found || addr_cmp(&entry.who.first, &best.who.first) > 0 ||
            (!addr_cmp(&entry.who.first, &best.who.first) &&
             addr_cmp(&entry.who.last, &best.who.last) < 0))
            best = entry;
        found = true;
    }
    if (!found)
        return -ENOENT;
    *ret_entry = best;
    return 0;
}

int store_each_entry(struct store *store, int (*fn)(const struct store_entry *entry, void *arg),
                     void *arg, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    struct store_entry entry;
    int r = prepare(store, "SELECT " ENTRY_COLUMNS " FROM entry ORDER BY id", &stmt, e);

    if (r < 0)
        return r;
    while ((r = step_entry(store, stmt, &entry, e)) == 0) {
        r = fn(&entry, arg);
        if (r)
            return r;
    }
    return r == -ENOENT ? 0 : r;
}

int store_each_prefix(struct store *store, int (*fn)(const struct prefix *prefix, void *arg),
                      void *arg, struct err *e)
{
    _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
    int r =
        prepare(store, "SELECT DISTINCT family, addr, len FROM prefix ORDER BY family, addr, len",
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
        r = fn(&prefix, arg);
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
