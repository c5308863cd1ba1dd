/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What could be better in a list: entries that change nothing, entries that could be one, addresses
 * that no stranger has, entries that nobody uses. Finds and hands on, entry by entry; the words and
 * the commands are the caller's. Pure; knows nothing of the store, the kernel or output.
 *
 * What is found is safe to follow: whoever is let in stays let in, as long, when the entries that
 * are covered are deleted, or those that could be one are replaced by it.
 *
 * Entries come in the order (list, family, first address, last address, format). Memory goes with
 * how many entries with different ends lie over one address (for a list without ends that is one),
 * not with how many there are.
 */
#ifndef SMTPGATE_LINT_H
#define SMTPGATE_LINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "addr.h"
#include "text.h"

enum lint_kind {
    LINT_COVERED,  /* another entry of the list holds all of it, and ends no earlier */
    LINT_ADJACENT, /* they touch each other and end together: one entry would do */
    LINT_WIDE,     /* who_is_very_wide() */
    LINT_PRIVATE,  /* private, or reserved for another use: not of the Internet at large */
    LINT_UNUSED,   /* let nobody in for long */
    LINT_ENDED,    /* its time is over */
};

/* Of an end that never comes. */
#define LINT_FOREVER INT64_MAX

struct lint_entry {
    int64_t id;
    struct who who;
    const char *account; /* "" the host list */
    const char *remark;
    int64_t end;  /* Unix seconds, or LINT_FOREVER */
    int64_t used; /* when it last let somebody in, or could not have; Unix seconds */
};

/* Of those that an advice is about, at most so many are named. */
#define LINT_IDS_MAX 1000

struct lint_ids {
    int64_t *items; /* ascending by address; of LINT_COVERED: the covered one, the covering one */
    size_t n;
    size_t room;
};

/* Valid during the callback. */
struct lint_advice {
    enum lint_kind kind;
    uint64_t count; /* of entries it is about; may be more than are named */
    struct lint_ids ids;
    const char *account; /* of their list; NULL for LINT_UNUSED and LINT_ENDED, which come at the
                          * end, once for all lists */
    struct who who;      /* of the first entry */
    struct who
        other;   /* LINT_COVERED: of the covering entry. LINT_ADJACENT: what could stand there */
    int64_t end; /* LINT_ADJACENT: of all of them */
    const char *remark;  /* LINT_ADJACENT: of all of them; NULL when they differ */
    const char *special; /* LINT_PRIVATE: what these addresses are */
};

struct lint_options {
    int64_t now;         /* Unix seconds */
    int64_t idle_before; /* unused: last used at this time or before; INT64_MIN not looked for */
    /* Anything but 0 ends the walk and is returned. */
    int (*advice)(const struct lint_advice *advice, void *arg);
    void *arg;
};

struct lint;

/* NULL: out of memory. */
struct lint *lint_new(const struct lint_options *options);
void lint_free(struct lint *lint);

/* 0, -ENOMEM, or what the callback returned. */
int lint_add(struct lint *lint, const struct lint_entry *entry);
/* After the last entry. */
int lint_finish(struct lint *lint);

#endif
