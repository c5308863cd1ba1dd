/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the lists mean: when the kernel may close, and whether an account may send from an address
 * (the relay's half of the gate). The one place for that rule; the policy service, check and the
 * changing commands ask here. Reads the store; knows nothing of the kernel or of protocols.
 *
 *     own list has entries   -> only from what its entries cover
 *     else the host list has -> only from what the host list's entries cover
 *     else no entry anywhere -> from anywhere: the gate is off
 *     else                   -> as set: others anywhere, or nowhere
 *
 * An expired entry covers nothing, and its list goes on being a list: expiry opens nothing. While
 * the gate observes or is paused, from anywhere.
 */
#ifndef SMTPGATE_ADMIT_H
#define SMTPGATE_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

/*
 * With these lists the kernel may drop what no list covers. Not while accounts without a list may
 * come from anywhere: it sees no accounts.
 */
bool admit_may_close(const struct store_rules *rules);

enum admit_by {
    ADMIT_BY_OWN,    /* the account's own list */
    ADMIT_BY_HOST,   /* the host list, which it follows */
    ADMIT_BY_OTHERS, /* neither has entries: what is set for the others */
    ADMIT_BY_NONE,   /* there is no entry at all */
    ADMIT_BY_MODE,   /* lists are not enforced now: observe, paused */
};

struct admission {
    bool allowed;
    enum admit_by by;
    struct account list; /* BY_OWN, BY_HOST: whose entries decided */
};

/*
 * Whether the account that logged in as @login may send from @address (NULL: from one that is not
 * known, which no entry covers) at @now (Unix seconds; if the last change was later, at that).
 * Within a transaction, for one answer from one state.
 */
int admit_account(struct store *store, const char *login, const struct addr *address, int64_t now,
                  struct admission *ret_admission, struct err *e);

#endif
