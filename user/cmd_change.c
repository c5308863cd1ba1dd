/* SPDX-License-Identifier: GPL-2.0-only */
/* edit, delete, disable: what changes entries that are there. See cmd.h and change.h. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "live.h"
#include "losses.h"
#include "outcome.h"

/* One command under way. */
struct editing {
    const struct cmd_context *ctx;
    struct change change;
    struct account account; /* of --account; "" the host list */
    struct outcome outcome;
    struct live live;
    struct losses losses;
    json_t *kicked;
};

static void cleanup_editing(struct editing *editing)
{
    change_end(&editing->change);
    live_free(&editing->live);
    losses_free(&editing->losses);
    json_decref(editing->kicked);
    outcome_free(&editing->outcome);
}

#define _cleanup_editing_ __attribute__((cleanup(cleanup_editing)))

static int begin(struct editing *editing, struct err *e)
{
    int r = cmd_begin(editing->ctx, &editing->change, e);

    if (r < 0)
        return r;
    cmd_account(editing->ctx, editing->change.before.realm, &editing->account);
    editing->losses.keep_sets = editing->ctx->options[OPT_KICK];
    editing->outcome.mode_before = editing->outcome.mode_after =
        change_mode_before(&editing->change).mode;
    return store_read_rules(editing->change.store, &editing->outcome.left, e);
}

/* ---- finding the entry that is meant ---- */

/* "#12" */
static int parse_id(const char *text, int64_t *ret_id, struct err *e)
{
    char *end;

    errno = 0;
    *ret_id = strtoll(text + 1, &end, 10);
    if (text[1] >= '0' && text[1] <= '9' && !*end && !errno)
        return 0;
    err_set(e, 0, EXIT_USAGE, "\"%s\" is not an entry's number", text);
    err_hint(e, "smtpgate list shows them: #1, #2, ...");
    return -EINVAL;
}

/* What edit was to do, for a hint; NULL it is not edit. */
static const char *edit_words(const struct cmd_context *ctx)
{
    return ctx->options[OPT_REMARK]    ? "--remark TEXT"
           : ctx->options[OPT_FOR]     ? "--for DURATION"
           : ctx->options[OPT_UNTIL]   ? "--until TIME"
           : ctx->options[OPT_FOREVER] ? "--forever"
                                       : NULL;
}

/* What is said where the thing asked for is part of @entry. */
static int fail_part(const struct editing *editing, const char *text,
                     const struct store_entry *entry, struct err *e)
{
    char shown[CMD_ENTRY_MAX], name[WHO_TEXT_MAX];
    const char *change = edit_words(editing->ctx);

    err_set(e, 0, EXIT_NO, "%s is no entry of its own: it is let in by %s; nothing changed", text,
            cmd_entry(entry, shown));
    /* By number where there is an account: a name may hold what a shell does not take as it is. */
    if (*entry->account)
        snprintf(name, sizeof(name), "'#%lld'", (long long)entry->id);
    else
        who_print(&entry->who, name);
    if (change)
        err_hint(e, "smtpgate edit %s %s changes that entry", name, change);
    else
        err_hint(e, "smtpgate delete %s removes all of that entry", name);
    return -ENOENT;
}

/* Only other lists have it: that is said, and nothing about deleting it there. */
static int fail_elsewhere(const char *text, const struct who *who, const struct store_entry *entry,
                          struct err *e)
{
    char shown[CMD_ENTRY_MAX];

    err_set(e, 0, EXIT_NO, "%s is not in the host list, but %s %s; nothing changed", text,
            who_same_set(who, &entry->who) ? "there is" : "let in by", cmd_entry(entry, shown));
    err_hint(e, "for the list of an account: --account NAME, or the entry's number '#%lld'",
             (long long)entry->id);
    return -ENOENT;
}

/* Not there; names what lets it in, if that is in the list that was meant, or the host list was. */
static int fail_not_listed(const struct editing *editing, const char *text, const struct who *who,
                           struct err *e)
{
    struct store *store = editing->change.store;
    const char *account = editing->account.name;
    struct store_entry entry;
    bool any = false;
    int r = who ? store_find_covering(store, &editing->account, &who->first, &who->last,
                                      editing->change.now, &entry, e)
                : -ENOENT;

    if (r == 0)
        return fail_part(editing, text, &entry, e);
    if (r == -ENOENT && who && !*account) {
        r = store_find_covering(store, NULL, &who->first, &who->last, editing->change.now, &entry,
                                e);
        if (r == 0)
            return fail_elsewhere(text, who, &entry, e);
    }
    if (r == -ENOENT && *account)
        r = store_has_entries(store, &editing->account, &any, e);
    if (r < 0 && r != -ENOENT)
        return r;
    if (*account && !any)
        err_set(e, 0, EXIT_NO, "account %.100s has no list of its own; nothing changed", account);
    else
        err_set(e, 0, EXIT_NO, "%s is not in the list%s%.100s; nothing changed", text,
                *account ? " of account " : "", account);
    err_hint(e, *account && !any ? "smtpgate list --accounts" : "smtpgate list");
    return -ENOENT;
}

/* A number belongs to one list; with --account it has to be that one. */
static int check_list(const struct editing *editing, const struct store_entry *entry, struct err *e)
{
    char shown[CMD_ENTRY_MAX];

    if (!*editing->account.name || account_is(&editing->account, entry->account))
        return 0;
    err_set(e, 0, EXIT_NO, "%s is not in the list of account %.100s; nothing changed",
            cmd_entry(entry, shown), editing->account.name);
    err_hint(e, "smtpgate list");
    return -ENOENT;
}

/* By number or by WHO; @text was given by a person. */
static int find_entry(const struct editing *editing, const char *text,
                      struct store_entry *ret_entry, struct err *e)
{
    struct store *store = editing->change.store;
    struct who who;
    int64_t id;
    int r;

    if (text[0] == '#') {
        r = parse_id(text, &id, e);
        if (r == 0)
            r = store_find_id(store, id, ret_entry, e);
        if (r == -ENOENT)
            return fail_not_listed(editing, text, NULL, e);
        return r == 0 ? check_list(editing, ret_entry, e) : r;
    }
    r = who_parse(text, &who, e);
    if (r == 0)
        r = store_find_who(store, &who, &editing->account, ret_entry, e);
    return r == -ENOENT ? fail_not_listed(editing, text, &who, e) : r;
}

/* Bad spelling is found before anything is opened or made. */
static int check_spelling(const struct cmd_context *ctx, struct err *e)
{
    struct who who;
    int64_t id;
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < ctx->n_args; i++) {
        const char *text = ctx->args[i];

        r = text[0] == '#' ? parse_id(text, &id, e) : who_parse(text, &who, e);
        if (r < 0 && strlen(text) < 20 && *text && text[strspn(text, "0123456789")] == '\0')
            err_hint(e, "'#%s', with the quotes, if that is an entry's number: smtpgate list",
                     text);
    }
    return r == 0 ? cmd_check_account(ctx, e) : r;
}

/* ---- edit ---- */

static int edit_entry(struct editing *editing, const struct cmd_end *end, struct err *e)
{
    const char *remark = editing->ctx->options[OPT_REMARK];
    struct store *store = editing->change.store;
    struct outcome *outcome = &editing->outcome;
    struct store_entry entry;
    int64_t expires;
    int r = find_entry(editing, editing->ctx->args[0], &entry, e);

    if (r == 0)
        r = cmd_resolve_end(end, editing->change.now, &expires, e);
    if (r < 0)
        return r;
    if (remark && strcmp(entry.remark, remark) != 0) {
        r = store_set_remark(store, entry.id, remark, e);
        snprintf(entry.remark, sizeof(entry.remark), "%s", remark);
        outcome->edited = 1;
    }
    if (r == 0 && end->given && expires != entry.expires) {
        r = store_set_expires(store, &entry, expires, e);
        entry.expires = expires;
        outcome->edited = 1;
    }
    if (r < 0)
        return r;
    outcome_add(outcome, outcome->edited ? "edited" : "unchanged", &entry);
    return change_commit(&editing->change, e);
}

int cmd_edit(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_editing_ struct editing editing = {
        .ctx = ctx, .change = {.lock = -1}, .outcome = {.entries = json_array()}};
    struct cmd_end end = {0};
    int r;

    if (!editing.outcome.entries)
        return cmd_fail_memory(e);
    r = cmd_parse_end(ctx, &end, e);
    if (r == 0 && !ctx->options[OPT_REMARK] && !end.given) {
        err_set(e, 0, EXIT_USAGE, "nothing to change: neither --remark nor an end was given");
        err_hint(e, "smtpgate edit WHO --remark TEXT, or --for 8h, --until TIME, --forever");
        return -EINVAL;
    }
    if (r == 0 && ctx->options[OPT_REMARK])
        r = remark_check(ctx->options[OPT_REMARK], e);
    if (r == 0)
        r = check_spelling(ctx, e);
    if (r == 0)
        r = begin(&editing, e);
    if (r == 0)
        r = edit_entry(&editing, &end, e);
    if (r < 0)
        return r;
    outcome_say_entries(ctx, &editing.outcome);
    outcome_say_json(ctx, &editing.outcome);
    return 0;
}

/* ---- what goes with the last entry of a list ---- */

static int delete_entry(struct editing *editing, const struct store_entry *entry, struct err *e)
{
    return losses_delete(&editing->losses, &editing->change, &editing->outcome, entry, e);
}

static const struct losses_verb deleting = {
    .everything = "deletes the last entry",
    .host = "deletes the last entry of the host list",
    .account = "deletes the last entry of",
};

static const struct losses_verb disabling = {
    .everything = "clears the whole list",
    .host = "clears the host list",
    .account = "clears the list of",
};

/* Asks for those who are connected, and commits. With -n the change stays to be looked at. */
static int finish_closing(struct editing *editing, struct err *e)
{
    const struct cmd_context *ctx = editing->ctx;
    int r = live_confirm(ctx, &editing->change, LIVE_AS_IS, LIVE_WARN, &editing->live, e);

    return r == 0 && !ctx->dry_run ? change_commit(&editing->change, e) : r;
}

/* ---- delete ---- */

struct expiring {
    struct editing *editing;
    struct err *e;
};

static int delete_if_over(const struct store_entry *entry, void *arg)
{
    struct expiring *expiring = arg;
    int r;

    if (!entry->expires || entry->expires > expiring->editing->change.now)
        return 0;
    r = delete_entry(expiring->editing, entry, expiring->e);
    if (r == 0)
        outcome_add(&expiring->editing->outcome, "deleted", entry);
    return r;
}

/* Of the list that is named, or of all. */
static int delete_expired(struct editing *editing, struct err *e)
{
    const struct account *list = editing->ctx->options[OPT_ACCOUNT] ? &editing->account : NULL;
    struct expiring expiring = {.editing = editing, .e = e};

    return store_each_entry(editing->change.store, list, STORE_BY_ID, delete_if_over, &expiring, e);
}

static bool is_of_list(const struct account *list, const char *account)
{
    return account ? !strcmp(account, list->name) || !strcmp(account, list->other) : !*list->name;
}

/* WHO is given a second time, perhaps once as a number, and went with the first. */
static bool is_deleted(const struct editing *editing, const char *text)
{
    struct who who, gone;
    bool by_value = who_parse(text, &who, NULL) == 0;
    json_t *item;
    size_t i;

    json_array_foreach (editing->outcome.entries, i, item) {
        const char *account = json_string_value(json_object_get(item, "account"));
        const char *shown = json_string_value(json_object_get(item, "who"));
        char number[32];

        snprintf(number, sizeof(number), "#%lld",
                 (long long)json_integer_value(json_object_get(item, "id")));
        if (!strcmp(number, text) ||
            (by_value && shown && who_parse(shown, &gone, NULL) == 0 && who_same_set(&who, &gone) &&
             is_of_list(&editing->account, account)))
            return true;
    }
    return false;
}

static int delete_entries(struct editing *editing, struct err *e)
{
    const struct cmd_context *ctx = editing->ctx;
    struct store_entry entry = {0};
    size_t i;
    int r = ctx->options[OPT_EXPIRED] ? delete_expired(editing, e) : 0;

    if (r < 0)
        return r;
    for (i = 0; i < ctx->n_args; i++) {
        r = find_entry(editing, ctx->args[i], &entry, e);
        if (r == -ENOENT && is_deleted(editing, ctx->args[i]))
            continue;
        if (r == 0)
            r = delete_entry(editing, &entry, e);
        if (r < 0)
            return r;
        outcome_add(&editing->outcome, "deleted", &entry);
    }
    r = losses_settle(&editing->losses, ctx, &editing->change, &editing->outcome,
                      editing->change.before.others, &deleting, e);
    return r == 0 ? finish_closing(editing, e) : r;
}

/* Entries that are looked up again: a person deletes a few, and reads what is said of them. */
#define DELETED_NOTES 10

/* What another entry, of any list, still lets in. */
static void say_still_in(const struct editing *editing)
{
    const struct cmd_context *ctx = editing->ctx;
    char shown[CMD_ENTRY_MAX];
    size_t i;

    for (i = 0; !ctx->dry_run && i < ctx->n_args && ctx->n_args <= DELETED_NOTES; i++) {
        struct store_entry entry;
        struct who who;

        if (who_parse(ctx->args[i], &who, NULL) == 0 &&
            store_find_covering(editing->change.store, NULL, &who.first, &who.last,
                                editing->change.now, &entry, NULL) == 0)
            out_note(&ctx->out, "%s still reaches the ports: %s\n", ctx->args[i],
                     cmd_entry(&entry, shown));
    }
}

int cmd_delete(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_editing_ struct editing editing = {
        .ctx = ctx, .change = {.lock = -1}, .outcome = {.entries = json_array()}};
    int r;

    if (!editing.outcome.entries)
        return cmd_fail_memory(e);
    if (!ctx->options[OPT_EXPIRED] == !ctx->n_args) {
        err_set(e, 0, EXIT_USAGE,
                ctx->n_args ? "--expired deletes all entries that have ended: it goes with no WHO"
                            : "WHO is missing, or --expired");
        if (ctx->n_args)
            err_hint(e, "smtpgate help delete");
        else
            cmd_hint_number("delete", e);
        return -EINVAL;
    }
    r = check_spelling(ctx, e);
    if (r == 0)
        r = begin(&editing, e);
    if (r == 0)
        r = delete_entries(&editing, e);
    if (r < 0)
        return r;
    if (!editing.outcome.deleted)
        out_done(&ctx->out, "no entry's time is over\n");
    outcome_say_entries(ctx, &editing.outcome);
    say_still_in(&editing);
    outcome_say_mode(ctx, &editing.change, &editing.outcome);
    outcome_say_unattached(ctx, &editing.change, &editing.outcome);
    if (ctx->options[OPT_KICK])
        r = live_kick_deleted(ctx, &editing.change, editing.losses.sets, editing.losses.n_sets,
                              &editing.kicked, e);
    else
        live_say_hanging(ctx, &editing.live);
    if (r < 0)
        return r;
    outcome_say_json_with(ctx, &editing.outcome, "kicked", editing.kicked);
    return editing.outcome.deleted ? 0 : EXIT_NO;
}

/* ---- disable ---- */

struct clearing {
    struct editing *editing;
    struct err *e;
};

static int clear_entry(const struct store_entry *entry, void *arg)
{
    struct clearing *clearing = arg;

    return delete_entry(clearing->editing, entry, clearing->e);
}

/*
 * Clearing the host list lets every source in, with the password: so what is set for the others
 * goes back to "anywhere", or accounts that followed the list would be cut off by disabling it.
 */
static int clear_list(struct editing *editing, struct err *e)
{
    const struct store_settings *before = &editing->change.before;
    const struct account *list = editing->ctx->options[OPT_ALL] ? NULL : &editing->account;
    bool host = !*editing->account.name;
    enum store_others others = host ? STORE_OTHERS_ANYWHERE : before->others;
    struct clearing clearing = {.editing = editing, .e = e};
    int r = store_each_entry(editing->change.store, list, STORE_BY_ID, clear_entry, &clearing, e);

    if (r == 0 && !editing->outcome.deleted && !before->on)
        return change_commit(&editing->change, e);
    if (r == 0)
        r = losses_settle(&editing->losses, editing->ctx, &editing->change, &editing->outcome,
                          others, &disabling, e);
    if (r == 0 && others != before->others)
        r = store_set_others(editing->change.store, others, e);
    return r == 0 ? finish_closing(editing, e) : r;
}

static void say_cleared(const struct cmd_context *ctx, const struct editing *editing)
{
    const struct outcome *outcome = &editing->outcome;
    char name[CMD_ACCOUNT_MAX];

    if (*editing->account.name && !outcome->deleted)
        out_done(&ctx->out, "account %s has no list of its own\n",
                 text_escape(editing->account.name, name, sizeof(name)));
    else if (!*editing->account.name && outcome->mode_before == SG_MODE_OFF && !outcome->deleted)
        out_done(&ctx->out, "the gate is off already\n");
    else
        out_done(&ctx->out, "%s%u %s deleted\n", ctx->dry_run ? "would be: " : "", outcome->deleted,
                 outcome->deleted == 1 ? "entry" : "entries");
}

int cmd_disable(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_editing_ struct editing editing = {
        .ctx = ctx, .change = {.lock = -1}, .outcome = {.entries = json_array()}};
    int r;

    if (!editing.outcome.entries)
        return cmd_fail_memory(e);
    if (ctx->options[OPT_ALL] && ctx->options[OPT_ACCOUNT]) {
        err_set(e, 0, EXIT_USAGE, "--all and --account exclude each other");
        err_hint(e, "smtpgate help disable");
        return -EINVAL;
    }
    r = cmd_check_account(ctx, e);
    if (r == 0)
        r = begin(&editing, e);
    if (r == 0)
        r = clear_list(&editing, e);
    if (r < 0)
        return r;
    say_cleared(ctx, &editing);
    outcome_say_mode(ctx, &editing.change, &editing.outcome);
    if (!*editing.account.name && editing.change.before.others == STORE_OTHERS_NOWHERE &&
        editing.outcome.mode_before != editing.outcome.mode_after)
        out_note(&ctx->out, "others %s back at anywhere: smtpgate help set\n",
                 ctx->dry_run ? "would be" : "is");
    if (!*editing.account.name && editing.outcome.left.accounts)
        out_note(&ctx->out, "accounts with a list of their own keep it; to clear those too:"
                            " smtpgate disable --all\n");
    live_say_hanging(ctx, &editing.live);
    outcome_say_json(ctx, &editing.outcome);
    return *editing.account.name && !editing.outcome.deleted ? EXIT_NO : 0;
}
