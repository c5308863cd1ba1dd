/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store's SQL: tables, the way from an older version to this one, and the statements that are
 * worth keeping prepared. Text only, for store.c alone; knows nothing of how it is run.
 */
#ifndef SMTPGATE_STORE_SQL_H
#define SMTPGATE_STORE_SQL_H

#define STORE_APP_ID  0x534d5447 /* "SMTG" in the file's header */
#define STORE_VERSION 4

/*
 * entry.first/last are the addresses in network byte order, 4 or 16 bytes, so that BLOB order is
 * address order. prefix has a row for each entry that needs the prefix: the rows are the reference
 * count, and they lead from an address to its entry, within a list (primary key) and over all lists
 * (prefix_union, which is what the kernel gets). Accounts compare as account.h says: NOCASE.
 */
#define PREFIX_TABLE                                                                      \
    "CREATE TABLE prefix (account TEXT NOT NULL COLLATE NOCASE, family INTEGER NOT NULL," \
    " addr BLOB NOT NULL, len INTEGER NOT NULL, entry INTEGER NOT NULL,"                  \
    " PRIMARY KEY (account, family, addr, len, entry)) STRICT, WITHOUT ROWID;"
#define PREFIX_INDEX "CREATE INDEX prefix_union ON prefix (family, addr, len);"
/* How many prefixes of each length all lists together have, so that no other length is tried. */
#define LENGTH_TABLE                                                      \
    "CREATE TABLE length (family INTEGER NOT NULL, len INTEGER NOT NULL," \
    " prefixes INTEGER NOT NULL, PRIMARY KEY (family, len)) STRICT, WITHOUT ROWID;"
#define COUNT_LENGTHS                                                                   \
    "SELECT family, len, count(*) FROM (SELECT DISTINCT family, addr, len FROM prefix)" \
    " GROUP BY family, len"
/*
 * How many entries there are, of each kind and in each list, so that nobody has to count a million:
 * status and metrics cost the same at any size.
 */
#define TALLY_TABLES                                                                           \
    "CREATE TABLE tally (kind INTEGER PRIMARY KEY, entries INTEGER NOT NULL, temporary"        \
    " INTEGER NOT NULL) STRICT;"                                                               \
    "CREATE TABLE list (account TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, entries INTEGER NOT" \
    " NULL) STRICT, WITHOUT ROWID;"
#define COUNT_KINDS "SELECT kind, count(*), sum(expires > 0) FROM entry GROUP BY kind"
#define COUNT_LISTS "SELECT account, count(*) FROM entry GROUP BY account"
#define ENTRY_TABLE                                                                               \
    "CREATE TABLE entry (id INTEGER PRIMARY KEY AUTOINCREMENT,"                                   \
    " account TEXT NOT NULL COLLATE NOCASE, family INTEGER NOT NULL, first BLOB NOT NULL,"        \
    " last BLOB NOT NULL, kind INTEGER NOT NULL, remark TEXT NOT NULL, created INTEGER NOT NULL," \
    " expires INTEGER NOT NULL DEFAULT 0, UNIQUE (account, family, first, last, kind)) STRICT;"

/* What expires, by when. */
#define TEMPORARY_INDEX "CREATE INDEX entry_temporary ON entry (expires) WHERE expires > 0;"

/*
 * The history. A change has the settings as they were before it, and in table image what entries
 * were before it deleted or edited them; what it added has the numbers first_new..last_new, or, put
 * back under an old number, an image that says "absent". So taking back the newest change gives the
 * state before it exactly, at the cost of what it touched. target: of a change that takes back
 * others, the oldest of them; else 0. Which are taken back follows from that.
 */
#define CHANGE_TABLE                                                                               \
    "CREATE TABLE change (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,"              \
    " uid INTEGER NOT NULL, who TEXT NOT NULL, origin TEXT NOT NULL, command TEXT NOT NULL,"       \
    " kind INTEGER NOT NULL, target INTEGER NOT NULL DEFAULT 0, added INTEGER NOT NULL DEFAULT 0," \
    " deleted INTEGER NOT NULL DEFAULT 0, edited INTEGER NOT NULL DEFAULT 0,"                      \
    " images INTEGER NOT NULL DEFAULT 0, first_new INTEGER NOT NULL DEFAULT 0,"                    \
    " last_new INTEGER NOT NULL DEFAULT 0, is_on INTEGER NOT NULL, mode INTEGER NOT NULL,"         \
    " mode_then INTEGER NOT NULL, mode_until INTEGER NOT NULL, list_limit INTEGER NOT NULL,"       \
    " others INTEGER NOT NULL, realm TEXT NOT NULL, ports TEXT NOT NULL) STRICT;"
#define IMAGE_TABLE                                                                            \
    "CREATE TABLE image (change INTEGER NOT NULL, entry INTEGER NOT NULL, absent INTEGER NOT " \
    "NULL, account TEXT, family INTEGER, first BLOB, last BLOB, kind INTEGER, remark TEXT,"    \
    " created INTEGER, expires INTEGER, PRIMARY KEY (change, entry)) STRICT, WITHOUT ROWID;"

/*
 * setting.is_on: the lists call for a gate. mode, mode_then, mode_until: what it does then (struct
 * mode_plan). clock: the time of the last change, Unix seconds.
 */
static const char schema[] =
    "CREATE TABLE setting (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL,"
    " revision INTEGER NOT NULL, serial INTEGER NOT NULL, list_limit INTEGER NOT NULL,"
    " others INTEGER NOT NULL DEFAULT 0, realm TEXT NOT NULL DEFAULT '',"
    " is_on INTEGER NOT NULL DEFAULT 0, mode INTEGER NOT NULL DEFAULT 0,"
    " mode_then INTEGER NOT NULL DEFAULT 0, mode_until INTEGER NOT NULL DEFAULT 0,"
    " clock INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE port (port INTEGER PRIMARY KEY, slot INTEGER NOT NULL UNIQUE,"
    " guarded INTEGER NOT NULL) STRICT;" ENTRY_TABLE TEMPORARY_INDEX PREFIX_TABLE PREFIX_INDEX
        LENGTH_TABLE TALLY_TABLES CHANGE_TABLE IMAGE_TABLE
    "CREATE TABLE interface (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
    " mode INTEGER NOT NULL, wanted INTEGER NOT NULL) STRICT;";

/*
 * Version 1 had the host list only, and found prefixes by (family, addr, len, entry). The counter
 * of entry numbers goes along: a number is never given twice.
 */
static const char migration_1_to_2[] =
    "ALTER TABLE setting ADD COLUMN others INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE setting ADD COLUMN realm TEXT NOT NULL DEFAULT '';"
    "DROP INDEX prefix_entry;"
    "ALTER TABLE prefix RENAME TO prefix_1; ALTER TABLE entry RENAME TO entry_1;" ENTRY_TABLE
        PREFIX_TABLE
    "INSERT INTO entry (id, account, family, first, last, kind, remark, created, expires)"
    " SELECT id, account, family, first, last, kind, remark, created, expires FROM entry_1;"
    "INSERT INTO prefix (account, family, addr, len, entry)"
    " SELECT account, p.family, addr, len, entry FROM prefix_1 p JOIN entry_1 e ON e.id = "
    "p.entry;" PREFIX_INDEX "UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM sqlite_sequence"
    " WHERE name IN ('entry', 'entry_1')) WHERE name = 'entry';"
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'entry', seq FROM sqlite_sequence"
    " WHERE name = 'entry_1' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'entry');"
    "DROP TABLE prefix_1; DROP TABLE entry_1;" LENGTH_TABLE "INSERT INTO length " COUNT_LENGTHS ";"
    "PRAGMA user_version = 2;";

/* Version 2 knew two modes (0 enforcing, 1 off), no history, and nothing that ends. */
static const char migration_2_to_3[] =
    "ALTER TABLE setting ADD COLUMN is_on INTEGER NOT NULL DEFAULT 0;"
    "UPDATE setting SET is_on = (mode = 0), mode = 0;"
    "ALTER TABLE setting ADD COLUMN mode_then INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE setting ADD COLUMN mode_until INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE setting ADD COLUMN clock INTEGER NOT NULL DEFAULT 0;" TEMPORARY_INDEX CHANGE_TABLE
        IMAGE_TABLE "PRAGMA user_version = 3;";

/* Version 3 counted when it was asked. */
static const char migration_3_to_4[] = TALLY_TABLES "INSERT INTO tally " COUNT_KINDS ";"
                                                    "INSERT INTO list " COUNT_LISTS ";"
                                                    "PRAGMA user_version = 4;";

#define FOREVER_SQL "9223372036854775807" /* UNTIL_FOREVER */

/* Statements that are worth keeping: run for each entry of a long change, or each decision. */
#define KEPT_STATEMENTS(X)                                                                       \
    X(BEGIN, "BEGIN")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                      \
    X(VERSION, "PRAGMA user_version")                                                            \
    X(SETTING, "SELECT id, revision, list_limit, others, realm, is_on, mode, mode_then,"         \
               " mode_until, clock FROM setting")                                                \
    X(PORTS, "SELECT port, slot, guarded FROM port ORDER BY port")                               \
    X(HAS_ENTRIES, "SELECT EXISTS (SELECT 1 FROM entry WHERE account = ?1)"                      \
                   " OR EXISTS (SELECT 1 FROM entry WHERE account = ?2)")                        \
    X(RULES, "SELECT EXISTS (SELECT 1 FROM entry WHERE account = ''),"                           \
             " EXISTS (SELECT 1 FROM entry WHERE account > ''), others, realm, mode, mode_then," \
             " mode_until, clock FROM setting")                                                  \
    X(FIND_ID, "SELECT " ENTRY_COLUMNS " FROM entry WHERE id = ?1")                              \
    X(FIND_EXACT, "SELECT id FROM entry WHERE account = ?1 AND family = ?2 AND first = ?3"       \
                  " AND last = ?4 AND kind = ?5")                                                \
    X(FIND_SPELLING, "SELECT account FROM entry WHERE account IN (?1, ?2) LIMIT 1")              \
    X(INSERT_ENTRY, "INSERT INTO entry (account, family, first, last, kind, remark, created,"    \
                    " expires, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")                 \
    X(SET_REMARK, "UPDATE entry SET remark = ?2 WHERE id = ?1")                                  \
    X(SET_EXPIRES, "UPDATE entry SET expires = ?2 WHERE id = ?1")                                \
    X(ADD_IMAGE, "INSERT OR IGNORE INTO image SELECT ?1, id, 0, account, family, first, last,"   \
                 " kind, remark, created, expires FROM entry WHERE id = ?2")                     \
    X(ADD_ABSENT, "INSERT OR IGNORE INTO image (change, entry, absent) VALUES (?1, ?2, 1)")      \
    X(DELETE_ENTRY, "DELETE FROM entry WHERE id = ?1")                                           \
    X(INSERT_PREFIX,                                                                             \
      "INSERT INTO prefix (family, addr, len, account, entry) VALUES (?1, ?2, ?3, ?4, ?5)")      \
    X(DELETE_PREFIX,                                                                             \
      "DELETE FROM prefix WHERE family = ?1 AND addr = ?2 AND len = ?3 AND account = ?4"         \
      " AND entry = ?5")                                                                         \
    X(PREFIX_UNTIL, "SELECT max(CASE expires WHEN 0 THEN " FOREVER_SQL " ELSE expires END)"      \
                    " FROM prefix CROSS JOIN entry ON id = entry"                                \
                    " WHERE prefix.family = ?1 AND addr = ?2 AND len = ?3")                      \
    X(ADD_KIND, "INSERT INTO tally VALUES (?1, ?2, ?3) ON CONFLICT (kind) DO UPDATE"             \
                " SET entries = entries + ?2, temporary = temporary + ?3")                       \
    X(ADD_LIST, "INSERT INTO list VALUES (?1, ?2) ON CONFLICT (account) DO UPDATE"               \
                " SET entries = entries + ?2")                                                   \
    X(DROP_LIST, "DELETE FROM list WHERE account = ?1 AND entries = 0")                          \
    X(LENGTHS, "SELECT len FROM length WHERE family = ?1 AND prefixes > 0")                      \
    X(ADD_LENGTH, "INSERT INTO length VALUES (?1, ?2, ?3)"                                       \
                  " ON CONFLICT (family, len) DO UPDATE SET prefixes = prefixes + ?3")           \
    X(NEAREST, "SELECT addr, len FROM prefix WHERE family = ?1 AND (addr, len) <= (?2, ?3)"      \
               " ORDER BY addr DESC, len DESC LIMIT 1")                                          \
    X(NEAREST_IN_LIST, "SELECT addr, len FROM prefix WHERE account = ?4 AND family = ?1"         \
                       " AND (addr, len) <= (?2, ?3) ORDER BY addr DESC, len DESC LIMIT 1")      \
    X(COVERING, COVERING_ENTRIES(""))                                                            \
    X(COVERING_IN_LIST, COVERING_ENTRIES("account = ?4 AND "))

/* Columns of an entry, as read_entry() takes them. */
#define ENTRY_COLUMNS "id, family, first, last, kind, remark, account, created, expires"
/*
 * The entries that need a prefix. Without IN and ORDER BY, each of which makes a table
 * of its own each time: that costs more than all else of a decision.
 */
#define COVERING_ENTRIES(in_list)                                                  \
    "SELECT " ENTRY_COLUMNS " FROM (SELECT entry AS of FROM prefix WHERE " in_list \
    "family = ?1 AND addr = ?2 AND len = ?3) CROSS JOIN entry ON id = of"          \
    " WHERE last >= ?5 AND (expires = 0 OR expires > ?6)"

#endif
