/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Adding entries: what add and import share, from the question before to what is said after. Knows
 * no files and no command-line words.
 */
#ifndef SMTPGATE_ADDITIONS_H
#define SMTPGATE_ADDITIONS_H

#include "cmd.h"

/* One entry that is wanted. Strings belong to the caller. */
struct addition {
    struct who who;
    const char *account; /* a good name, or "" */
    const char *remark;  /* a good remark; NULL: none given, one that is there stays */
    struct cmd_end end;  /* not given: one that is there stays */
};

/*
 * Adds all of them or none, closes the gate where the lists now allow it, and says what was done:
 * each entry, or with @brief their number.
 */
int additions_apply(const struct cmd_context *ctx, const struct addition *additions, size_t count,
                    bool brief, struct err *e);

#endif
