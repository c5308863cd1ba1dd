/* SPDX-License-Identifier: GPL-2.0-only */
/* add: lets sources in. See cmd.h and change.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admit.h"
#include "cmd.h"
#include "outcome.h"

/* All values are of one format; says which two are not. */
static int parse_values(const struct cmd_context *ctx, struct who *values, struct err *e)
{
    size_t i;
    int r;

    for (i = 0; i < ctx->n_args; i++) {
        r = who_parse(ctx->args[i], &values[i], e);
        if (r < 0)
            return r;
        if (values[i].kind == values[0].kind)
            continue;
        err_set(e, 0, EXIT_USAGE, "one format per add: %s is %s %s, %s %s %s; nothing changed",
                ctx->args[0], values[0].kind == WHO_ADDRESS ? "an" : "a",
                who_kind_name(values[0].kind), ctx->args[i],
                values[i].kind == WHO_ADDRESS ? "an" : "a", who_kind_name(values[i].kind));
        err_hint(e, "use one add for the addresses, one for the segments, one for the ranges");
        return -EINVAL;
    }
    return 0;
}

static int confirm_wide(const struct cmd_context *ctx, const struct who *values, struct err *e)
{
    char who[WHO_TEXT_MAX], what[256];
    size_t i;

    for (i = 0; i < ctx->n_args; i++) {
        if (!who_is_very_wide(&values[i]))
            continue;
        snprintf(what, sizeof(what), "%s is very wide: it lets in much of the internet.",
                 who_print(&values[i], who));
        return cmd_confirm(ctx, what, e);
    }
    return 0;
}

/* One add under way. */
struct adding {
    const struct cmd_context *ctx;
    struct change change;
    struct account account; /* whose list; "" the host's */
    struct outcome outcome;
    bool new_list; /* the account had no list of its own before */
};

static int add_value(struct adding *adding, const struct who *who, struct err *e)
{
    const char *remark = adding->ctx->options[OPT_REMARK];
    struct store *store = adding->change.store;
    struct outcome *outcome = &adding->outcome;
    struct store_entry entry;
    int64_t id;
    int r, found;

    r = store_add_entry(store, who, &adding->account, remark ? remark : "", time(NULL), &id, e);
    if (r < 0 && r != -EEXIST)
        return r;
    found = store_find_id(store, id, &entry, e);
    if (found < 0)
        return found;
    if (r == 0) {
        outcome->added++;
        outcome_add(outcome, "added", &entry);
        return 0;
    }
    if (remark && strcmp(remark, entry.remark) != 0) {
        r = store_set_remark(store, id, remark, e);
        if (r < 0)
            return r;
        snprintf(entry.remark, sizeof(entry.remark), "%s", remark);
        outcome->edited++;
        outcome_add(outcome, "edited", &entry);
        return 0;
    }
    outcome_add(outcome, "already listed", &entry);
    return 0;
}

static int check_limit(const struct adding *adding, struct err *e)
{
    const char *account = adding->account.name;
    uint32_t limit = adding->change.before.limit;
    uint64_t count;
    int r = store_count_entries(adding->change.store, &adding->account, &count, e);

    if (r < 0)
        return r;
    if (limit == STORE_LIMIT_NONE || !adding->outcome.added || count <= limit)
        return 0;
    err_set(e, 0, EXIT_USAGE,
            "the list%s%.100s takes %u entries and would have %llu; nothing changed",
            *account ? " of account " : "", account, limit, (unsigned long long)count);
    err_hint(e, "smtpgate set limit %llu, or smtpgate set limit none", (unsigned long long)count);
    return -EDQUOT;
}

/* Adding only ever closes the gate. */
static int close_gate(struct adding *adding, struct err *e)
{
    const struct store_settings *before = &adding->change.before;
    struct store_rules rules = {0};
    int r = store_read_rules(adding->change.store, &rules, e);

    if (r < 0 || before->mode != SG_MODE_OFF || !admit_may_close(&rules))
        return r;
    r = store_set_mode(adding->change.store, SG_MODE_ENFORCE, e);
    if (r == 0)
        adding->outcome.mode_after = SG_MODE_ENFORCE;
    return r;
}

static int add_values(struct adding *adding, const struct who *values, struct err *e)
{
    struct change *change = &adding->change;
    bool listed = false;
    size_t i;
    int r;

    cmd_account(adding->ctx, change->before.realm, &adding->account);
    adding->outcome.mode_before = adding->outcome.mode_after = change->before.mode;
    r = store_has_entries(change->store, &adding->account, &listed, e);
    for (i = 0; r == 0 && i < adding->ctx->n_args; i++)
        r = add_value(adding, &values[i], e);
    if (r == 0)
        r = check_limit(adding, e);
    if (r == 0)
        r = close_gate(adding, e);
    if (r < 0)
        return r;
    adding->new_list = !listed;
    return change_commit(change, e);
}

/* From its first entry on an account follows the host list no more: that may cut it off. */
static void say_new_list(const struct adding *adding)
{
    const struct cmd_context *ctx = adding->ctx;
    char name[CMD_ACCOUNT_MAX];

    if (!*adding->account.name || !adding->new_list)
        return;
    text_escape(adding->account.name, name, sizeof(name));
    out_warn(&ctx->out,
             "this is the first entry of account %s: by the relay's policy service (smtpgate help"
             " policy) it %s from its own list only\n",
             name, ctx->dry_run ? "could send" : "can now send");
    if (adding->outcome.mode_after == SG_MODE_OFF)
        out_note(&ctx->out, "the gate itself stays off, as accounts without a list may come from"
                            " anywhere; to change that: smtpgate add WHO, or smtpgate set others"
                            " nowhere\n");
}

static int add(struct adding *adding, const struct who *values, struct err *e)
{
    const struct cmd_context *ctx = adding->ctx;
    int r = cmd_begin(ctx, &adding->change, e);

    if (r == 0)
        r = add_values(adding, values, e);
    if (r < 0)
        return r;
    outcome_say_entries(ctx, &adding->outcome);
    outcome_say_mode(ctx, &adding->change, &adding->outcome);
    say_new_list(adding);
    outcome_say_unattached(ctx, &adding->change);
    outcome_say_json(ctx, &adding->outcome);
    return 0;
}

static void cleanup_adding(struct adding *adding)
{
    change_end(&adding->change);
    outcome_free(&adding->outcome);
}

int cmd_add(const struct cmd_context *ctx, struct err *e)
{
    __attribute__((cleanup(cleanup_adding))) struct adding adding = {
        .ctx = ctx, .change = {.lock = -1}, .outcome = {.entries = json_array()}};
    _cleanup_free_ struct who *values = calloc(ctx->n_args, sizeof(*values));
    const char *remark = ctx->options[OPT_REMARK];
    int r;

    if (!values || !adding.outcome.entries)
        return cmd_fail_memory(e);
    r = parse_values(ctx, values, e);
    if (r == 0 && remark)
        r = remark_check(remark, e);
    if (r == 0)
        r = cmd_check_account(ctx, e);
    if (r == 0)
        r = confirm_wide(ctx, values, e);
    return r == 0 ? add(&adding, values, e) : r;
}
