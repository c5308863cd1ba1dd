/* SPDX-License-Identifier: GPL-2.0-only */
/* See additions.h. */
#include "additions.h"

#include <stdio.h>
#include <string.h>

#include "admit.h"
#include "live.h"
#include "outcome.h"

/* One command under way. */
struct adding {
    const struct cmd_context *ctx;
    bool brief;
    struct change change;
    struct outcome outcome;
    struct live live;
    int64_t highest;                /* entry's number before: what is above it is new */
    unsigned int new_lists;         /* accounts that had no list of their own before */
    char new_list[ACCOUNT_MAX + 1]; /* the first of them */
};

static void cleanup_adding(struct adding *adding)
{
    change_end(&adding->change);
    live_free(&adding->live);
    outcome_free(&adding->outcome);
}

static int confirm_wide(const struct cmd_context *ctx, const struct addition *additions,
                        size_t count, struct err *e)
{
    char who[WHO_TEXT_MAX], what[256];
    size_t i;

    for (i = 0; i < count; i++) {
        if (!who_is_very_wide(&additions[i].who))
            continue;
        snprintf(what, sizeof(what), "%s is very wide: it lets in much of the internet%s.",
                 who_print(&additions[i].who, who),
                 *additions[i].account ? ", and for the kernel half that is for every account"
                                       : "");
        return cmd_confirm(ctx, what, e);
    }
    return 0;
}

/* The entry of that number is there already; it gets what is given and differs. */
static int keep_entry(struct adding *adding, const char *remark, const int64_t *expires,
                      struct store_entry *entry, struct err *e)
{
    struct store *store = adding->change.store;
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
    adding->outcome.edited += new_remark || new_end;
    outcome_add(&adding->outcome, new_remark || new_end ? "edited" : "already listed", entry);
    return 0;
}

static int add_one(struct adding *adding, const struct addition *addition, struct err *e)
{
    struct store *store = adding->change.store;
    struct store_entry entry = {.who = addition->who, .created = adding->change.now};
    struct account account;
    bool listed = false;
    int64_t id, expires;
    int r, found;

    account_resolve(addition->account, adding->change.before.realm, &account);
    r = *account.name ? store_has_entries(store, &account, &listed, e) : 0;
    if (r < 0)
        return r;
    snprintf(entry.remark, sizeof(entry.remark), "%s", addition->remark ? addition->remark : "");
    r = cmd_resolve_end(&addition->end, adding->change.now, &entry.expires, e);
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
    if (r == -EEXIST)
        return keep_entry(adding, addition->remark, addition->end.given ? &expires : NULL, &entry,
                          e);
    adding->outcome.added++;
    outcome_add(&adding->outcome, "added", &entry);
    if (*account.name && !listed && adding->new_lists++ == 0)
        snprintf(adding->new_list, sizeof(adding->new_list), "%s", entry.account);
    return 0;
}

/* Only lists that grew have to keep the limit: one that was lowered later throws nobody out. */
static int check_limit(const struct adding *adding, struct err *e)
{
    uint32_t limit = adding->change.before.limit;
    char account[ACCOUNT_MAX + 1];
    uint64_t count;
    int r;

    if (limit == STORE_LIMIT_NONE)
        return 0;
    r = store_find_overfull(adding->change.store, limit, adding->highest, account, &count, e);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    err_set(e, 0, EXIT_USAGE,
            "the list%s%.100s takes %u entries and would have %llu; nothing changed",
            *account ? " of account " : "", account, limit, (unsigned long long)count);
    err_hint(e, "smtpgate set limit %llu, or smtpgate set limit none", (unsigned long long)count);
    return -EDQUOT;
}

/* Adding only ever closes the gate. */
static int close_gate(struct adding *adding, struct err *e)
{
    struct store_rules rules = {0};
    int r = store_read_rules(adding->change.store, &rules, e);

    if (r < 0 || adding->change.before.on || !admit_may_close(&rules))
        return r;
    r = store_set_on(adding->change.store, true, e);
    if (r == 0)
        adding->outcome.mode_after =
            mode_at(true, &adding->change.before.plan, adding->change.now).mode;
    return r;
}

static int add_all(struct adding *adding, const struct addition *additions, size_t count,
                   struct err *e)
{
    size_t i;
    int r = cmd_begin(adding->ctx, &adding->change, e);

    if (r < 0)
        return r;
    adding->outcome.mode_before = adding->outcome.mode_after =
        change_mode_before(&adding->change).mode;
    r = store_highest_id(adding->change.store, &adding->highest, e);
    for (i = 0; r == 0 && i < count; i++)
        r = add_one(adding, &additions[i], e);
    if (r == 0)
        r = check_limit(adding, e);
    if (r == 0)
        r = close_gate(adding, e);
    if (r == 0)
        r = live_confirm(adding->ctx, &adding->change, LIVE_AS_IS, LIVE_WARN, &adding->live, e);
    return r == 0 ? change_commit(&adding->change, e) : r;
}

static bool is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return !*text;
}

/* From its first entry on an account follows the host list no more: that may cut it off. */
static void say_new_lists(const struct adding *adding)
{
    const struct cmd_context *ctx = adding->ctx;
    char name[CMD_ACCOUNT_MAX], more[32] = "";

    if (!adding->new_lists)
        return;
    text_escape(adding->new_list, name, sizeof(name));
    if (adding->new_lists > 1)
        snprintf(more, sizeof(more), " and %u more", adding->new_lists - 1);
    out_warn(&ctx->out,
             "this is the first entry of account %s%s: by the relay's policy service (smtpgate help"
             " policy) it %s from its own list only\n",
             name, more, ctx->dry_run ? "could send" : "can now send");
    if (!is_ascii(adding->new_list))
        out_note(&ctx->out,
                 "a name beyond ASCII: see to it that the relay hands it on unchanged (in"
                 " Postfix: smtputf8_enable = yes)\n");
    if (adding->outcome.mode_after == SG_MODE_OFF)
        out_note(&ctx->out, "the gate itself stays off, as accounts without a list may come from"
                            " anywhere; to change that: smtpgate add WHO, or smtpgate set others"
                            " nowhere\n");
}

int additions_apply(const struct cmd_context *ctx, const struct addition *additions, size_t count,
                    bool brief, struct err *e)
{
    __attribute__((cleanup(cleanup_adding))) struct adding adding = {
        .ctx = ctx, .change = {.lock = -1}, .outcome = {.entries = json_array(), .brief = brief}};
    int r;

    if (!adding.outcome.entries)
        return cmd_fail_memory(e);
    r = confirm_wide(ctx, additions, count, e);
    if (r == 0)
        r = add_all(&adding, additions, count, e);
    if (r < 0)
        return r;
    outcome_say_entries(ctx, &adding.outcome);
    outcome_say_mode(ctx, &adding.change, &adding.outcome);
    say_new_lists(&adding);
    outcome_say_unattached(ctx, &adding.change, &adding.outcome);
    live_say_hanging(ctx, &adding.live);
    outcome_say_json(ctx, &adding.outcome);
    return 0;
}
