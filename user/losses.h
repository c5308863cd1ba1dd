/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deleting entries: what goes with the last entry of a list, for every command that deletes. Asks
 * before, opens the gate where the lists that are left call for it. Knows no files and no
 * command-line words.
 */
#ifndef SMTPGATE_LOSSES_H
#define SMTPGATE_LOSSES_H

#include "cmd.h"
#include "outcome.h"

/* Of one command. Zero-initialise. */
struct losses {
    /* Lists that lost their last entry. */
    bool host_emptied;
    unsigned int accounts_emptied;
    char emptied[ACCOUNT_MAX + 1]; /* the first of those accounts */
    /* What the deleted entries let in, if @keep_sets. */
    bool keep_sets;
    struct who *sets;
    size_t n_sets, room;
};

void losses_free(struct losses *losses);

int losses_delete(struct losses *losses, struct change *change, struct outcome *outcome,
                  const struct store_entry *entry, struct err *e);

/* What a list is emptied by, for the question before. */
struct losses_verb {
    const char *everything, *host, *account;
};

/*
 * After the last deletion. Asks where a list lost its last entry or the gate opens, and opens it.
 * @others is what will hold for accounts without a list.
 */
int losses_settle(const struct losses *losses, const struct cmd_context *ctx, struct change *change,
                  struct outcome *outcome, enum store_others others, const struct losses_verb *verb,
                  struct err *e);

#endif
