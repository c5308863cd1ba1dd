/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Adding entries: what add, import and apply share, from the lock to what is said after. Knows no
 * files and no command-line words.
 *
 *     additions_begin()     lock, store, transaction
 *     additions_add()       each entry
 *     additions_settle()    limits; closes the gate where the lists now allow it
 *     change_commit()
 *     additions_say()
 */
#ifndef SMTPGATE_ADDITIONS_H
#define SMTPGATE_ADDITIONS_H

#include "cmd.h"
#include "live.h"
#include "outcome.h"

/* One entry that is wanted. Strings belong to the caller. */
struct addition {
    struct who who;
    const char *account; /* a good name, or "" */
    const char *remark;  /* a good remark; NULL: none given, one that is there stays */
    struct cmd_end end;  /* not given: one that is there stays */
};

/* One command under way: zero, with @change.lock -1; cleanup_additions() at its end. */
struct additions {
    const struct cmd_context *ctx;
    struct change change;
    struct outcome outcome;
    struct live live;
    bool ask_wide;                  /* about the first very wide entry that is new */
    int64_t highest;                /* entry's number before: what is above it is new */
    unsigned int ended;             /* listed already, and their time is over */
    int64_t first_ended;            /* number of the first of them */
    unsigned int new_lists;         /* accounts that had no list of their own before */
    char new_list[ACCOUNT_MAX + 1]; /* the first of them */
};

void cleanup_additions(struct additions *additions);
#define _cleanup_additions_ __attribute__((cleanup(cleanup_additions)))

/* Asks about entries that let in much of the internet. -y or no such: 0. */
int additions_confirm_wide(const struct cmd_context *ctx, const struct addition *addition,
                           struct err *e);

int additions_begin(struct additions *additions, const struct cmd_context *ctx, struct err *e);
/* Adds it, or gives the one that is there what is given; @ret_id is its number. */
int additions_add(struct additions *additions, const struct addition *addition, int64_t *ret_id,
                  struct err *e);
int additions_settle(struct additions *additions, struct err *e);
void additions_say(const struct additions *additions);

#endif
