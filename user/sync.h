/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Store -> kernel: the one reconcile path. Boot, upgrade, repair and healing after a kill are all
 * these calls. Knows store and gate and nothing of the command line.
 */
#ifndef SMTPGATE_SYNC_H
#define SMTPGATE_SYNC_H

#include "gate.h"
#include "store.h"

/*
 * Makes tries, ports and mode in the kernel equal to the store, in place: all missing prefixes
 * first, then ports and mode, then the surplus ones go (likewise ends: later ones first). The clock
 * that deadlines are kept by is set right before, with @reset_clock to the wall clock wherever it
 * stands. A source allowed before and after is never dropped in between, one denied before and
 * after never let in. A store that cannot be read changes nothing. gate_make_maps() comes first.
 * @ret_fixed: prefixes added and removed. The revision is not in force before sync_live_links().
 */
int sync_list(struct store *store, struct gate *gate, bool reset_clock, uint64_t *ret_fixed,
              struct err *e);

/*
 * Moves every live link that does not use the pinned maps over to them; then, and only then, the
 * store's revision is in force.
 */
int sync_live_links(struct store *store, struct gate *gate, struct err *e);

/* What of the kernel's state differs from the store's. */
struct sync_check {
    bool present;       /* shared maps are there and filled */
    bool same_store;    /* and were made from this store */
    bool applied;       /* this revision of it */
    bool settings;      /* ports and mode are what the store says */
    bool clock;         /* deadlines were made with the time as it is */
    bool counted;       /* the prefixes were compared one by one (not done for very long lists) */
    uint64_t missing;   /* in the store only */
    uint64_t surplus;   /* in the kernel only */
    uint64_t differing; /* in both, with another end */
};

/*
 * @settings as just read from @store. The prefixes are compared one by one if there are no more
 * than
 * @compare_max, 0: never.
 */
#define SYNC_COMPARE_MAX 20000 /* takes some 20 ms */
int sync_compare(struct store *store, struct gate *gate, const struct store_settings *settings,
                 size_t compare_max, struct sync_check *ret_check, struct err *e);
bool sync_is_equal(const struct sync_check *check);

/*
 * Makes the summary in front of the tries anew if much of it is out of date (see gate.h): it costs
 * time to packets, and never a verdict. The tries must hold what the store says.
 */
int sync_tidy(struct store *store, struct gate *gate, struct err *e);

/* Ports and mode; each is one word to the packets. */
void sync_put_settings(struct gate *gate, const struct store_settings *settings);

/* One prefix, whatever has to be done with it. */
int sync_apply_item(struct gate *gate, const struct delta_item *item, struct err *e);

/* ---- interfaces ---- */

/* A remembered interface beside what the kernel has of it. */
struct sync_iface {
    struct store_iface row;
    struct gate_link link;
    bool open_here; /* a device of that name is here and the gate is not on it */
};

struct sync_ifaces {
    struct sync_iface *items;
    size_t count;
};

/* Which interfaces are meant. */
struct sync_scope {
    char *const *names; /* those that are called so now, or are remembered so; none: all */
    size_t n_names;
    bool later; /* one that is not there is no failure */
};

void sync_ifaces_free(struct sync_ifaces *ifaces);
#define _cleanup_ifaces_ __attribute__((cleanup(sync_ifaces_free)))

/*
 * All remembered interfaces and all pinned links. A live link without a row, or whose row says it
 * is not wanted (an attach or a detach that was killed), comes as wanted: the closed side wins.
 */
int sync_read_ifaces(struct store *store, struct gate *gate, struct sync_ifaces *ret_ifaces,
                     struct err *e);

/* The gate is on some interface, of this network namespace or another. */
bool sync_has_live_link(const struct sync_ifaces *ifaces);

/* A live link uses other maps than those that are pinned. */
bool sync_has_stale_link(const struct sync_ifaces *ifaces);

/* It is remembered, no link lives, and there is no interface of that name here. */
bool sync_iface_is_absent(const struct sync_iface *iface);

/* It is wanted, and @scope (NULL: all) means it. */
bool sync_iface_is_meant(const struct sync_iface *iface, const struct sync_scope *scope);

/* The gate is on it, with the maps that are pinned now. */
bool sync_iface_is_good(const struct sync_iface *iface);

/* What one interface got. */
struct sync_result {
    char name[IF_NAMESIZE];
    uint32_t id;
    bool absent; /* the interface is not there, and that is fine: nothing was done */
    struct gate_attached attached;
};

/*
 * Attaches interface @name, or replaces the program on it in place; @mode NULL: as remembered. Call
 * within a transaction; on failure nothing new stays attached.
 */
int sync_attach(struct store *store, struct gate *gate, const char *name,
                const enum store_iface_mode *mode, struct sync_result *ret_result, struct err *e);

/*
 * Puts the present program on all wanted interfaces that @scope means (NULL: all), follows renamed
 * ones, clears dead pins. Goes on after a failure and returns the first one; @fn (may be NULL)
 * hears of every interface, with @problem NULL where all is well.
 */
int sync_all_ifaces(struct store *store, struct gate *gate, const struct sync_scope *scope,
                    void (*fn)(const struct sync_result *result, const struct err *problem,
                               void *arg),
                    void *arg, struct err *e);

#endif
