/* SPDX-License-Identifier: GPL-2.0-only */
/* See additions.h. */
#include "additions.h"

#include <stdio.h>
#include <string.h>

#include "admit.h"

void cleanup_additions(struct additions *additions)
{
    change_end(&additions->change);
    live_free(&additions->live);
    outcome_free(&additions->outcome);
}

int additions_confirm_wide(const struct cmd_context *ctx, const struct addition *addition,
                           struct err *e)
{
    char who[WHO_TEXT_MAX], what[256];

    if (!who_is_very_wide(&addition->who))
        return 0;
    snprintf(what, sizeof(what), "%s is very wide: it lets in much of the internet%s.",
             who_print(&addition->who, who),
             *addition->account ? ", and for the kernel half that is for every account" : "");
    return cmd_confirm(ctx, what, e);
}

/* The entry of that number is there already; it gets what is given and differs. */
static int keep_entry(struct additions *additions, const char *remark, const int64_t *expires,
                      struct store_entry *entry, struct err *e)
{
    struct store *store = additions->change.store;
    bool new_remark = remark && strcmp(remark, entry->remark) != 0;
    bool new_end = expires && *expires != entry->expires;
    int r = 0;

    if (new_remark)
        r = store_set_remark(store, entry->id, remark, e);
    if (r == 0 && new_end)
        r = store_set_expires(store, entry, *expires, e);
    if (r < 0)
        return r;
    if (new_remark)
        snprintf(entry->remark, sizeof(entry->remark), "%s", remark);
    if (new_end)
        entry->expires = *expires;
    if (entry->expires && entry->expires <= additions->change.now && additions->ended++ == 0)
        additions->first_ended = entry->id;
    additions->outcome.edited += new_remark || new_end;
    outcome_add(&additions->outcome, new_remark || new_end ? "edited" : "already listed", entry);
    return 0;
}

int additions_add(struct additions *additions, const struct addition *addition, int64_t *ret_id,
                  struct err *e)
{
    struct store *store = additions->change.store;
    struct store_entry entry = {.who = addition->who, .created = additions->change.now};
    struct account account;
    bool listed = false;
    int64_t id = 0, expires;
    int r, found;

    account_resolve(addition->account, additions->change.before.realm, &account);
    r = *account.name ? store_has_entries(store, &account, &listed, e) : 0;
    if (r < 0)
        return r;
    snprintf(entry.remark, sizeof(entry.remark), "%s", addition->remark ? addition->remark : "");
    r = cmd_resolve_end(&addition->end, additions->change.now, &entry.expires, e);
    if (r == 0)
        r = store_add_entry(store, &entry, &account, &id, e);
    if (r < 0 && r != -EEXIST)
        return r;
    expires = entry.expires;
    entry.id = id;
    /* As it is there, or is spelled there. */
    found = r == -EEXIST || *account.name ? store_find_id(store, id, &entry, e) : 0;
    if (found < 0)
        return found;
    *ret_id = id;
    if (r == -EEXIST)
        return keep_entry(additions, addition->remark, addition->end.given ? &expires : NULL,
                          &entry, e);
    if (additions->ask_wide && who_is_very_wide(&entry.who)) {
        additions->ask_wide = false; /* once */
        found = additions_confirm_wide(additions->ctx, addition, e);
        if (found < 0)
            return found;
    }
    additions->outcome.added++;
    outcome_add(&additions->outcome, "added", &entry);
    if (*account.name && !listed && additions->new_lists++ == 0)
        snprintf(additions->new_list, sizeof(additions->new_list), "%s", entry.account);
    return 0;
}

/* Only lists that grew have to keep the limit: one that was lowered later throws nobody out. */
static int check_limit(const struct additions *additions, struct err *e)
{
    uint32_t limit = additions->change.before.limit;
    char account[ACCOUNT_MAX + 1];
    uint64_t count;
    int r;

    if (limit == STORE_LIMIT_NONE)
        return 0;
    r = store_find_overfull(additions->change.store, limit, additions->highest, account, &count, e);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    err_set(e, 0, EXIT_USAGE, "the list%s%.100s takes %u %s and would have %llu; nothing changed",
            *account ? " of account " : "", account, limit, limit == 1 ? "entry" : "entries",
            (unsigned long long)count);
    err_hint(e, "smtpgate set limit %llu, or smtpgate set limit none", (unsigned long long)count);
    return -EDQUOT;
}

/* Adding only ever closes the gate. */
static int close_gate(struct additions *additions, struct err *e)
{
    struct store_rules rules = {0};
    int r = store_read_rules(additions->change.store, &rules, e);

    if (r < 0 || additions->change.before.on || !admit_may_close(&rules))
        return r;
    r = store_set_on(additions->change.store, true, e);
    if (r == 0)
        additions->outcome.mode_after =
            mode_at(true, &additions->change.before.plan, additions->change.now).mode;
    return r;
}

int additions_begin(struct additions *additions, const struct cmd_context *ctx, struct err *e)
{
    int r;

    additions->ctx = ctx;
    additions->outcome.entries = json_array();
    if (!additions->outcome.entries)
        return cmd_fail_memory(e);
    r = cmd_begin(ctx, &additions->change, e);
    if (r < 0)
        return r;
    additions->outcome.mode_before = additions->outcome.mode_after =
        change_mode_before(&additions->change).mode;
    return store_highest_id(additions->change.store, &additions->highest, e);
}

int additions_settle(struct additions *additions, struct err *e)
{
    int r = check_limit(additions, e);

    return r == 0 ? close_gate(additions, e) : r;
}

static bool is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return !*text;
}

/* From its first entry on an account follows the host list no more: that may cut it off. */
static void say_new_lists(const struct additions *additions)
{
    const struct cmd_context *ctx = additions->ctx;
    char name[CMD_ACCOUNT_MAX], more[32] = "";

    if (!additions->new_lists)
        return;
    text_escape(additions->new_list, name, sizeof(name));
    if (additions->new_lists > 1)
        snprintf(more, sizeof(more), " and %u more", additions->new_lists - 1);
    out_warn(&ctx->out,
             "this is the first entry of account %s%s: by the relay's policy service (smtpgate help"
             " policy) it %s from its own list only\n",
             name, more, ctx->dry_run ? "could send" : "can now send");
    if (!is_ascii(additions->new_list))
        out_note(&ctx->out,
                 "a name beyond ASCII: see to it that the relay hands it on unchanged (in"
                 " Postfix: smtputf8_enable = yes)\n");
    if (additions->outcome.mode_after == SG_MODE_OFF)
        out_note(&ctx->out, "the gate itself stays off, as accounts without a list may come from"
                            " anywhere; to change that: smtpgate add WHO, or smtpgate set others"
                            " nowhere\n");
}

/* "Already listed" reads as if it were let in. */
static void say_ended(const struct additions *additions)
{
    const struct out *out = &additions->ctx->out;
    long long first = additions->first_ended;

    if (additions->ended == 1)
        out_warn(
            out,
            "#%lld has ended and lets nobody in: smtpgate edit '#%lld' --forever, or --for 8h\n",
            first, first);
    else if (additions->ended)
        out_warn(out,
                 "%u of them, as #%lld, have ended and let nobody in: smtpgate list --expired\n",
                 additions->ended, first);
}

void additions_say(const struct additions *additions)
{
    const struct cmd_context *ctx = additions->ctx;

    outcome_say_entries(ctx, &additions->outcome);
    say_ended(additions);
    outcome_say_mode(ctx, &additions->change, &additions->outcome);
    say_new_lists(additions);
    outcome_say_unattached(ctx, &additions->change, &additions->outcome);
}
