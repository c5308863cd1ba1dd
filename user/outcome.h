/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a command did to the list, collected while it works and said once it is in force: nothing
 * is said of a change that failed. One record, text and JSON. Knows no SQL and no kernel.
 */
#ifndef SMTPGATE_OUTCOME_H
#define SMTPGATE_OUTCOME_H

#include "cmd.h"

struct outcome {
    unsigned int added, deleted, edited, unchanged;
    bool brief;              /* only counts are said: of a long list nobody reads the entries */
    const struct out *lines; /* each change as it comes, as a line of a list file, + - or ~ in
                              * front; NULL no. For what changes nothing: it cannot be taken back */
    bool incomplete;         /* there were too many entries to keep them all */
    json_t *entries;         /* in the order given: {id, who, account, remark, result} */
    enum sg_mode mode_before, mode_after;
    struct store_rules left; /* what holds afterwards; edit, delete, disable */
};

void outcome_free(struct outcome *outcome);

/* @result: "added", "already listed", "edited", "unchanged" or "deleted". */
void outcome_add(struct outcome *outcome, const char *result, const struct store_entry *entry);

/* The entries, a line each. */
void outcome_say_entries(const struct cmd_context *ctx, const struct outcome *outcome);

/* That the gate went on or off, and for which ports. */
void outcome_say_mode(const struct cmd_context *ctx, const struct change *change,
                      const struct outcome *outcome);

/* That the change is stored and nothing is guarded, as no interface is attached. */
void outcome_say_unattached(const struct cmd_context *ctx, const struct change *change,
                            const struct outcome *outcome);

void outcome_say_json(const struct cmd_context *ctx, const struct outcome *outcome);
/* With one member more, unless it is NULL; the caller keeps it. */
void outcome_say_json_with(const struct cmd_context *ctx, const struct outcome *outcome,
                           const char *name, json_t *member);

#endif
