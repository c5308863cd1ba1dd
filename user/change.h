/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frame of every command that changes something: lock, open, heal what an earlier kill left,
 * one transaction, kernel and store together or neither.
 *
 *     change_begin()            lock, store, transaction, gate; heals
 *     store_...()               what the command wants
 *     change_commit()           additions to the kernel -> commit -> the rest to the kernel
 *     change_end()              takes back what was not committed
 *
 * Order in change_commit(): only adding to the tries can fail for want of memory or room, so it
 * happens before the commit, while everything can still be taken back. All that closes something
 * comes after it, with the store already saying so: a kill leaves the kernel with a revision that
 * is not the store's (0), which status reports and the next change or sync mends.
 */
#ifndef SMTPGATE_CHANGE_H
#define SMTPGATE_CHANGE_H

#include "events.h"
#include "gate.h"
#include "store.h"

struct change {
    int lock;
    struct store *store;
    struct gate *gate; /* NULL when there is nothing in the kernel to change, or -n */
    struct store_settings before;
    int64_t now; /* Unix seconds, by the clock that deadlines are kept by */
    bool dry_run;
    bool committed;
    bool attached;  /* an interface is remembered as attached */
    bool guarding;  /* and the gate is on one */
    uint64_t fixed; /* prefixes that healing corrected */
    bool healed;    /* an interrupted change was completed first */
    struct events_author author;
    struct err problem; /* an interface that healing could not attach; no message: none */
};

struct change_options {
    const char *state, *bpffs;
    const struct store_author *author; /* for history and log; NULL: no history is kept */
    bool dry_run;
    bool store_only; /* with dry_run: who may not look at the kernel is told what the store says */
    bool need_gate;  /* make the kernel's maps if they are missing (attach, sync) */
    bool no_heal;    /* leave the list in the kernel as it is, whatever it is (detach);
                      * with no store, work on one in memory */
    bool adopt;      /* take over a kernel state made from another store (sync -y) */
};

/*
 * The store, as store_open(), but one that is missing or empty while @gate holds a list is an error
 * (-ESTALE, EXIT_REFUSED), and with STORE_READ and no gate it is an empty one in memory.
 */
int change_open_store(const char *state, const struct gate *gate, enum store_access mode,
                      struct store **ret_store, struct err *e);

/* The kernel has a revision in force that the store with these settings never had. */
bool change_is_ahead(const struct gate *gate, const struct store_settings *settings);

/* Says that the store is gone while the kernel holds a list made from it; -ESTALE. */
int change_fail_no_store(const char *state, struct err *e);

/*
 * On success end with change_end(). A gate in the kernel that was made from another store, or one
 * without any store, is never changed (unless adopt): -ESTALE, EXIT_REFUSED.
 */
int change_begin(const struct change_options *options, struct change *ret_change, struct err *e);

/*
 * The state as it is, to look at: heals nothing, waits for nobody who is about to change it, and
 * keeps nobody from it for longer than until change_end().
 */
int change_begin_read(const char *state, const char *bpffs, struct change *ret_change,
                      struct err *e);

/* The mode in force at the beginning, and what follows. */
struct mode_plan change_mode_before(const struct change *change);

/* With dry_run: takes everything back and returns 0. */
int change_commit(struct change *change, struct err *e);

void change_end(struct change *change);
#define _cleanup_change_ __attribute__((cleanup(change_end)))

#endif
