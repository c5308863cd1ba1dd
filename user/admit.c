/* SPDX-License-Identifier: GPL-2.0-only */
/* See admit.h. */
#include "admit.h"

bool admit_may_close(const struct store_lists *lists, enum store_others others)
{
    return lists->host || (lists->accounts && others == STORE_OTHERS_NOWHERE);
}

/* By the entries of @account's list. */
static int admit_by_list(struct store *store, const struct account *account,
                         const struct addr *address, int64_t now, struct admission *admission,
                         struct err *e)
{
    int r = address
                ? store_find_covering(store, account, address, address, now, &admission->entry, e)
                : -ENOENT;

    if (r < 0 && r != -ENOENT)
        return r;
    admission->allowed = admission->covered = r == 0;
    return 0;
}

int admit_account(struct store *store, const char *login, const struct addr *address, int64_t now,
                  struct admission *ret_admission, struct err *e)
{
    static const struct account host;
    struct admission admission = {.by = ADMIT_BY_OWN};
    struct store_settings settings;
    struct store_lists lists = {0};
    struct account account;
    bool own = false;
    int r = store_read_settings(store, &settings, e);

    if (r == 0)
        r = store_read_lists(store, &lists, e);
    if (r == 0 && account_resolve(login, settings.realm, &account))
        r = store_has_entries(store, &account, &own, e);
    if (r < 0)
        return r;
    if (own) {
        r = admit_by_list(store, &account, address, now, &admission, e);
    } else if (lists.host) {
        admission.by = ADMIT_BY_HOST;
        r = admit_by_list(store, &host, address, now, &admission, e);
    } else {
        admission.by = lists.accounts ? ADMIT_BY_OTHERS : ADMIT_BY_NONE;
        admission.allowed = !lists.accounts || settings.others == STORE_OTHERS_ANYWHERE;
    }
    if (r < 0)
        return r;
    *ret_admission = admission;
    return 0;
}
