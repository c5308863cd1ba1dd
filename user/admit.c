/* SPDX-License-Identifier: GPL-2.0-only */
/* See admit.h. */
#include "admit.h"

bool admit_may_close(const struct store_rules *rules)
{
    return rules->host || (rules->accounts && rules->others == STORE_OTHERS_NOWHERE);
}

int admit_account(struct store *store, const char *login, const struct addr *address, int64_t now,
                  struct admission *ret_admission, struct err *e)
{
    struct admission admission = {.by = ADMIT_BY_OWN};
    struct store_rules rules = {0};
    bool own = false;
    int r = store_read_rules(store, &rules, e);

    if (r == 0 && account_resolve(login, rules.realm, &admission.list))
        r = store_has_entries(store, &admission.list, &own, e);
    if (r < 0)
        return r;
    if (now < rules.clock)
        now = rules.clock;
    if ((rules.host || rules.accounts) && !mode_drops(mode_at(true, &rules.plan, now).mode)) {
        *ret_admission = (struct admission){.allowed = true, .by = ADMIT_BY_MODE};
        return 0;
    }
    if (!own) {
        admission.list = (struct account){0};
        admission.by = rules.host       ? ADMIT_BY_HOST
                       : rules.accounts ? ADMIT_BY_OTHERS
                                        : ADMIT_BY_NONE;
    }
    if (own || rules.host)
        r = address ? store_covers(store, &admission.list, address, now, &admission.allowed, e) : 0;
    else
        admission.allowed = !rules.accounts || rules.others == STORE_OTHERS_ANYWHERE;
    if (r < 0)
        return r;
    *ret_admission = admission;
    return 0;
}
