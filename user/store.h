/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store: the list, the settings and the interfaces, durable in one SQLite file. It is the
 * truth; all kernel state can be made anew from it. The only user of SQLite; knows nothing of the
 * kernel.
 *
 * Within a transaction the store collects which prefixes came and went (store_delta), so a change
 * costs as much as what it touches, whatever the size of the list.
 */
#ifndef SMTPGATE_STORE_H
#define SMTPGATE_STORE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "account.h"
#include "addr.h"
#include "delta.h"
#include "err.h"
#include "mode.h"
#include "smtpgate_types.h"
#include "text.h"
#include "util.h"

struct store;

enum store_access {
    STORE_READ,  /* -ENOENT (no error set) where there is none or an empty file */
    STORE_WRITE, /* makes the file if missing, and brings one of an older version up to date; the
                  * directory is there (lock_take) */
    STORE_DRY, /* for -n: a copy of the store in memory, or an empty one where there is none; keeps
                * nobody from the file */
    STORE_EMPTY, /* an empty one in memory, whatever there is */
};

#define STORE_LIMIT_NONE 0

struct store_port {
    uint16_t port;
    uint8_t slot; /* counter slot, its own for life */
    bool guarded;
};

/* Where accounts without a list of their own may send from while the host list is empty. */
enum store_others {
    STORE_OTHERS_ANYWHERE,
    STORE_OTHERS_NOWHERE,
};

struct store_settings {
    uint64_t id;           /* of this store; random, made once, never 0 */
    uint64_t revision;     /* grows with each change that concerns the kernel; starts at 1 */
    bool on;               /* the lists call for a gate (admit_may_close); set with them */
    struct mode_plan plan; /* what it does then */
    int64_t clock;         /* of the last change, Unix seconds; time never stands before it */
    uint32_t limit;        /* entries a list takes; STORE_LIMIT_NONE */
    enum store_others others;
    char realm[ACCOUNT_MAX + 1]; /* of login names without one; "" none */
    struct store_port ports[SG_PORT_SLOTS];
    unsigned int n_ports; /* in use in @ports, guarded or not; ascending by port */
};

struct store_entry {
    int64_t id;
    struct who who;
    char remark[REMARK_MAX + 1];
    char account[ACCOUNT_MAX + 1]; /* as typed; "" is the host list */
    int64_t created;               /* Unix seconds */
    int64_t expires;               /* Unix seconds; 0 never */
};

struct store_counts {
    uint64_t entries; /* of all lists */
    uint64_t prefixes;
    uint64_t host_entries;
    uint64_t accounts;             /* that have a list of their own, by their spelling */
    uint64_t temporary;            /* entries that have an end, whether it has come or not */
    uint64_t kinds[WHO_RANGE + 1]; /* entries, by enum who_kind */
    uint64_t prefixes4, prefixes6;
};

/* What the lists mean: which have entries, expired ones included, and what is set beside. */
struct store_rules {
    bool host, accounts; /* the host list, any other list */
    enum store_others others;
    char realm[ACCOUNT_MAX + 1];
    struct mode_plan plan; /* of store_settings */
    int64_t clock;
};

enum store_iface_mode {
    STORE_IFACE_AUTO,
    STORE_IFACE_NATIVE,
    STORE_IFACE_GENERIC,
};

/* An interface that was attached at least once; @wanted: it shall be attached now. */
struct store_iface {
    uint32_t id;
    char name[IF_NAMESIZE];
    enum store_iface_mode mode;
    bool wanted;
};

/*
 * Errors of all calls: EXIT_DENIED (no permission), EXIT_BUSY (locked by another), EXIT_REFUSED
 * (disk full, read-only, damaged, written by a newer version). The file is never repaired or
 * replaced on its own.
 */
int store_open(const char *dir, enum store_access mode, struct store **ret_store, struct err *e);
/* The same, waiting @patience_ms for another process's lock instead of a few seconds. */
int store_open_within(const char *dir, enum store_access mode, unsigned int patience_ms,
                      struct store **ret_store, struct err *e);
void store_close(struct store *store);
/* How long a call waits for another process's lock from now on. */
void store_set_patience(struct store *store, unsigned int ms);
/*
 * The file at the store's path is not the one that was opened, or was written since: removed,
 * another put there, a backup copied over it. SQLite itself would not see the last: it knows a file
 * by a counter that the copy may have too.
 */
bool store_is_stale(struct store *store);
DEFINE_CLEANUP(struct store *, store_close)

/* Checks the file's structure in full; before the kernel is made equal to it. */
int store_verify(struct store *store, struct err *e);

int store_begin(struct store *store, struct err *e);
/* For several reads of one state; ends with store_rollback(). Another version's file: -ENOTSUP. */
int store_begin_read(struct store *store, struct err *e);
int store_commit(struct store *store, struct err *e);
/* No-op outside a transaction; clears the delta. */
void store_rollback(struct store *store);

/* Settled; owned by the store; valid until the transaction ends. */
const struct delta *store_delta(struct store *store);

/* True when something that concerns the kernel changed in this transaction. */
bool store_kernel_changed(const struct store *store);

int store_read_settings(struct store *store, struct store_settings *ret_settings, struct err *e);
int store_read_counts(struct store *store, struct store_counts *ret_counts, struct err *e);
int store_read_rules(struct store *store, struct store_rules *ret_rules, struct err *e);
/* Costs the same at any size of the list. */
int store_has_entries(struct store *store, const struct account *account, bool *ret_any,
                      struct err *e);

/* Within a transaction, and only if something concerns the kernel: the revision grows by one. */
int store_bump_revision(struct store *store, struct err *e);
int store_set_on(struct store *store, bool on, struct err *e);
int store_set_plan(struct store *store, const struct mode_plan *plan, struct err *e);
/* That it is @now, also if it was later already. */
int store_set_clock(struct store *store, int64_t now, struct err *e);
/* Something in the kernel has a deadline: an entry that ends, a mode that is followed by another.
 */
int store_has_deadlines(struct store *store, bool *ret_any, struct err *e);
/* Entries of all lists whose end has come by @now (Unix seconds). */
int store_count_ended(struct store *store, int64_t now, uint64_t *ret_count, struct err *e);
/* The first end that is to come after @now; 0 none. */
int store_next_end(struct store *store, int64_t now, int64_t *ret_expires, struct err *e);
int store_set_limit(struct store *store, uint32_t limit, struct err *e);
int store_set_others(struct store *store, enum store_others others, struct err *e);
int store_set_realm(struct store *store, const char *realm, struct err *e);
/* A name that has a list both as it is and with @realm behind; -ENOENT (no error set) none. */
int store_find_twins(struct store *store, const char *realm, char ret_name[ACCOUNT_MAX + 1],
                     struct err *e);
/* Guards exactly @ports (host order, 1..SG_PORTS_MAX of them, no duplicates). */
int store_set_ports(struct store *store, const uint16_t *ports, unsigned int n, struct err *e);

/*
 * Adds @entry (its @id is of no interest; @account: under the spelling of it that has entries
 * already) and its prefixes. -EEXIST (no error set) when the same kind and set stands in the same
 * list already; @ret_id is then that one.
 */
int store_add_entry(struct store *store, const struct store_entry *entry,
                    const struct account *account, int64_t *ret_id, struct err *e);
/* The number of the newest entry; 0 when there is none. */
int store_highest_id(struct store *store, int64_t *ret_id, struct err *e);
/* A list of more than @limit entries with one above number @above; -ENOENT (no error set) none. */
int store_find_overfull(struct store *store, uint32_t limit, int64_t above,
                        char ret_account[ACCOUNT_MAX + 1], uint64_t *ret_count, struct err *e);
int store_delete_entry(struct store *store, const struct store_entry *entry, struct err *e);
int store_set_remark(struct store *store, int64_t id, const char *remark, struct err *e);
/* @expires: Unix seconds, 0 never. */
int store_set_expires(struct store *store, const struct store_entry *entry, int64_t expires,
                      struct err *e);

/* -ENOENT (no error set) when there is none. */
int store_find_id(struct store *store, int64_t id, struct store_entry *ret_entry, struct err *e);
/* The same kind first; else the one entry of the same set in another spelling. */
int store_find_who(struct store *store, const struct who *who, const struct account *account,
                   struct store_entry *ret_entry, struct err *e);
/*
 * The entry that covers all of @first..@last and has not expired by @now (Unix seconds); of several
 * the one that begins last, then ends first. @account NULL: in any list. Costs a few look-ups at
 * any size of the list.
 */
int store_find_covering(struct store *store, const struct account *account,
                        const struct addr *first, const struct addr *last, int64_t now,
                        struct store_entry *ret_entry, struct err *e);

/* Whether any entry does, which is quicker to say. */
int store_covers(struct store *store, const struct account *account, const struct addr *addr,
                 int64_t now, bool *ret_covered, struct err *e);

enum store_order {
    STORE_BY_ID,
    STORE_BY_ACCOUNT, /* the host list first, then by name without regard to case; by address */
};

/*
 * @account NULL: of all lists. Callbacks return 0 to go on; anything else ends the walk and is
 * returned. They are called between reads, so that one that prints to a slow reader keeps no lock:
 * outside of a transaction, what is changed meanwhile may or may not be met.
 */
int store_each_entry(struct store *store, const struct account *account, enum store_order order,
                     int (*fn)(const struct store_entry *entry, void *arg), void *arg,
                     struct err *e);
/*
 * Every prefix once, ascending as prefix_cmp() orders, and until when an entry of any list lets it
 * in (UNTIL_FOREVER, or Unix seconds, perhaps past).
 */
int store_each_prefix(struct store *store,
                      int (*fn)(const struct prefix *prefix, int64_t until, void *arg), void *arg,
                      struct err *e);
int store_each_iface(struct store *store, int (*fn)(const struct store_iface *iface, void *arg),
                     void *arg, struct err *e);

/* ---- history ---- */

enum store_change_kind {
    STORE_CHANGE_LIST,  /* of the list or the settings */
    STORE_CHANGE_UNDO,  /* that took back others */
    STORE_CHANGE_OTHER, /* of neither: interfaces; there is nothing to take back */
};

/* Who changes something. Texts are safe to show, and fit into struct store_change. */
struct store_author {
    uint32_t uid;
    const char *who, *origin, *command;
};

struct store_change {
    int64_t id;
    int64_t at; /* Unix seconds */
    uint32_t uid;
    char who[64], origin[64], command[256];
    enum store_change_kind kind;
    int64_t undone; /* number of the change that took it back; 0 none */
    uint64_t added, deleted, edited;
};

/*
 * Of the transaction that is open, before anything is changed in it. Without an author nothing is
 * kept. @now: Unix seconds.
 */
void store_set_author(struct store *store, const struct store_author *author, int64_t now);

/* How many entries the open transaction added, deleted and edited so far. */
void store_read_touched(const struct store *store, unsigned int *ret_added,
                        unsigned int *ret_deleted, unsigned int *ret_edited);
/* Its number in the history; 0 as long as nothing is changed. */
int64_t store_change_id(const struct store *store);

/* Newest first, as store_each_entry(); @limit 0: all. */
int store_each_change(struct store *store, unsigned int limit,
                      int (*fn)(const struct store_change *change, void *arg), void *arg,
                      struct err *e);

/*
 * The oldest change that has to be taken back to undo the last @count ones (those that were taken
 * back already, and what took them back, do not count). -ENOENT (no error set): there are fewer;
 * @ret_id is then the oldest there is, or 0. @ret_count: how many there are.
 */
int store_find_undo(struct store *store, unsigned int count, int64_t *ret_id,
                    unsigned int *ret_count, struct err *e);

/*
 * Makes list and settings what they were before change @id, newest change first, as the first thing
 * in a transaction; this is a change too. -ENOENT (no error set): no such change, or it is too long
 * ago (STORE_KEPT_CHANGES, and what they touched).
 */
#define STORE_KEPT_CHANGES 100
int store_undo_to(struct store *store, int64_t id, struct err *e);

/* An interface is remembered that shall be attached. */
int store_any_wanted(struct store *store, bool *ret_any, struct err *e);

/* Inserts (id 0, @ret_id is the new one; or a given id that is free) or updates the row of that id.
 */
int store_put_iface(struct store *store, const struct store_iface *iface, uint32_t *ret_id,
                    struct err *e);

#endif
