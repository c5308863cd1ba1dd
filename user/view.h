/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of everything at one moment, to look at: settings, how many entries, how the kernel
 * stands to the store, interfaces, counters. What status, stats, metrics and watch show. Changes
 * nothing, prints nothing.
 */
#ifndef SMTPGATE_VIEW_H
#define SMTPGATE_VIEW_H

#include "sync.h"

struct view {
    struct store *store;
    struct gate *gate;
    struct store_settings settings;
    struct store_counts counts;
    struct sync_check check;
    struct sync_ifaces ifaces;
    struct sg_counters *counters; /* of each of @ifaces, which ever were attached */
    struct sg_counters total;
    bool stored;    /* there is a store */
    int64_t now;    /* Unix seconds, by the clock that ends are kept by */
    uint64_t ended; /* entries whose end has come by then; of view_count_ended() */
};

/*
 * A change under way looks like one that was killed: it gets a moment to end, and all is read
 * again. @compare_max: see sync_compare().
 */
int view_open(const char *state, const char *bpffs, size_t compare_max, struct view *ret_view,
              struct err *e);
/*
 * Where the store cannot be read: what the kernel says, beside an empty list. An error where that
 * cannot be read either, or there is no gate.
 */
int view_open_kernel(const char *bpffs, struct view *ret_view, struct err *e);
void view_close(struct view *view);
#define _cleanup_view_ __attribute__((cleanup(view_close)))

/* What rates are made of, by verdict. */
struct view_sums {
    uint64_t packets[SG_VERDICT_COUNT], bytes[SG_VERDICT_COUNT];
    uint64_t attempts[SG_VERDICT_COUNT]; /* at ports that are or were guarded */
};

struct view_sums view_sum_up(const struct view *view);

/* Costs what there are of them, and so is for who shows it. */
int view_count_ended(struct view *view, struct err *e);

/* An interface is remembered as attached. */
bool view_any_wanted(const struct view *view);
/* The kernel has what the store says; also where nothing is attached and nothing in the kernel. */
bool view_in_sync(const struct view *view);
/* It has, and the gate is on each interface that it is to be on, of which there is one. */
bool view_is_good(const struct view *view);
/* What is in force: the kernel's word if there is a gate, whatever the store says. */
struct mode_plan view_mode(const struct view *view);

#endif
