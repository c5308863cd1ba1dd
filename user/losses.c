/* SPDX-License-Identifier: GPL-2.0-only */
/* See losses.h. */
#include "losses.h"

#include <stdio.h>
#include <string.h>

#include "admit.h"

void losses_free(struct losses *losses)
{
    free(losses->sets);
}

static int remember_set(struct losses *losses, const struct who *who)
{
    size_t room = losses->room ? losses->room * 2 : 16;
    struct who *more;

    if (losses->n_sets == losses->room) {
        more = reallocarray(losses->sets, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        losses->sets = more;
        losses->room = room;
    }
    losses->sets[losses->n_sets++] = *who;
    return 0;
}

int losses_delete(struct losses *losses, struct change *change, struct outcome *outcome,
                  const struct store_entry *entry, struct err *e)
{
    struct account account;
    bool any = false;
    int r = store_delete_entry(change->store, entry, e);

    if (r == 0 && losses->keep_sets && remember_set(losses, &entry->who) < 0)
        return cmd_fail_memory(e);
    account_resolve(entry->account, change->before.realm, &account);
    if (r == 0)
        r = store_has_entries(change->store, &account, &any, e);
    if (r < 0)
        return r;
    outcome->deleted++;
    if (any)
        return 0;
    if (!*entry->account)
        losses->host_emptied = true;
    else if (losses->accounts_emptied++ == 0)
        snprintf(losses->emptied, sizeof(losses->emptied), "%s", entry->account);
    return 0;
}

/* @left is what will hold. */
static void describe_loss(const struct losses *losses, const struct change *change,
                          const struct store_rules *left, bool opens,
                          const struct losses_verb *verb, char question[512])
{
    bool anywhere = left->others == STORE_OTHERS_ANYWHERE || !left->accounts;
    const char *whence = left->host ? "where the host list says"
                         : anywhere ? "anywhere"
                                    : "nowhere";
    char accounts[CMD_ACCOUNT_MAX + 64] = "", name[CMD_ACCOUNT_MAX];

    if (losses->accounts_emptied > 1)
        snprintf(accounts, sizeof(accounts), "account %s and %u more",
                 text_escape(losses->emptied, name, sizeof(name)), losses->accounts_emptied - 1);
    else if (losses->accounts_emptied)
        snprintf(accounts, sizeof(accounts), "account %s",
                 text_escape(losses->emptied, name, sizeof(name)));
    if (opens && !left->accounts) {
        snprintf(question, 512,
                 "This %s and turns the gate off: every source could use a stolen password again.",
                 verb->everything);
        return;
    }
    if (!losses->host_emptied && losses->accounts_emptied) {
        snprintf(question, 512, "This %s %s, which may then send from %s.", verb->account, accounts,
                 whence);
        return;
    }
    snprintf(question, 512,
             "This %s%s%s: accounts without a list of their own%s%s may then send from %s.",
             losses->host_emptied ? verb->host : "sets others back to anywhere",
             losses->host_emptied && left->others != change->before.others
                 ? ", sets others back to anywhere"
                 : "",
             opens ? " and turns the gate off" : "", *accounts ? ", and now " : "", accounts,
             whence);
}

int losses_settle(const struct losses *losses, const struct cmd_context *ctx, struct change *change,
                  struct outcome *outcome, enum store_others others, const struct losses_verb *verb,
                  struct err *e)
{
    struct store_rules left = {0};
    char question[512];
    bool opens;
    int r = store_read_rules(change->store, &left, e);

    if (r < 0)
        return r;
    left.others = others;
    outcome->left = left;
    opens = change->before.on && !admit_may_close(&left);
    if (opens || losses->host_emptied || losses->accounts_emptied) {
        describe_loss(losses, change, &left, opens, verb, question);
        r = cmd_confirm(ctx, question, e);
    }
    if (r < 0 || !opens)
        return r;
    outcome->mode_after = SG_MODE_OFF;
    return store_set_on(change->store, false, e);
}
