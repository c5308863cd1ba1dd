/* SPDX-License-Identifier: GPL-2.0-only */
/* import, apply, diff, export: whole lists from and to files. All or nothing. See files.h. */
#include <stdio.h>
#include <string.h>

#include "files.h"

/* What apply empties a list by, for the question before. */
static const struct losses_verb applying = {
    .everything = "deletes all entries",
    .host = "deletes all entries of the host list",
    .account = "deletes all entries of",
};

/* One command under way. */
struct bulk {
    const struct cmd_context *ctx;
    struct source source;
    struct additions additions;
    struct source_ids ids;
    struct losses losses;
    json_t *kicked;
};

static void cleanup_bulk(struct bulk *bulk)
{
    cleanup_additions(&bulk->additions);
    source_close(&bulk->source);
    source_ids_free(&bulk->ids);
    losses_free(&bulk->losses);
    json_decref(bulk->kicked);
}

#define _cleanup_bulk_ __attribute__((cleanup(cleanup_bulk)))

/* What a command leaves that failed in front of the pipe; with -y it would open the gate. */
static int fail_empty(const struct source *source, struct err *e)
{
    char name[128];

    err_set(e, 0, EXIT_USAGE, "%s is empty, and the list would be too; nothing changed",
            text_escape(source->name, name, sizeof(name)));
    err_hint(e, "did what should fill it fail? To clear all lists: smtpgate disable --all");
    return -EINVAL;
}

/* Reads the file into a change; @ctx is what the change is made with. */
static int fill(struct bulk *bulk, const struct cmd_context *ctx, bool equal, struct err *e)
{
    struct additions *additions = &bulk->additions;
    int r = source_open(ctx, ctx->args[0], &bulk->source, e);

    bulk->ctx = ctx;
    if (r == 0 && equal && bulk->source.is_empty)
        r = fail_empty(&bulk->source, e);
    if (r == 0)
        r = additions_begin(additions, ctx, e);
    if (r < 0)
        return r;
    additions->ask_wide = true;
    additions->outcome.brief = true;
    additions->outcome.lines = ctx->dry_run ? &ctx->out : NULL;
    bulk->losses.keep_sets = ctx->options[OPT_KICK];
    r = source_add(&bulk->source, additions, equal ? &bulk->ids : NULL, e);
    if (r == 0 && equal)
        r = source_delete_others(additions, &bulk->ids, &bulk->losses, e);
    return r == 0 ? additions_settle(additions, e) : r;
}

static int commit(struct bulk *bulk, struct err *e)
{
    const struct cmd_context *ctx = bulk->ctx;
    struct additions *additions = &bulk->additions;
    int r = losses_settle(&bulk->losses, ctx, &additions->change, &additions->outcome,
                          additions->change.before.others, &applying, e);

    if (r == 0)
        r = live_confirm(ctx, &additions->change, LIVE_AS_IS, LIVE_WARN, &additions->live, e);
    if (r == 0 && !ctx->dry_run)
        r = change_commit(&additions->change, e);
    if (r < 0)
        return r;
    additions_say(additions);
    if (ctx->options[OPT_KICK])
        return live_kick_deleted(ctx, &additions->change, bulk->losses.sets, bulk->losses.n_sets,
                                 &bulk->kicked, e);
    live_say_hanging(ctx, &additions->live);
    return 0;
}

static int run(const struct cmd_context *ctx, bool equal, struct err *e)
{
    _cleanup_bulk_ struct bulk bulk = {.additions = {.change = {.lock = -1}}};
    int r = fill(&bulk, ctx, equal, e);

    if (r == 0)
        r = commit(&bulk, e);
    if (r < 0)
        return r;
    outcome_say_json_with(ctx, &bulk.additions.outcome, "kicked", bulk.kicked);
    return 0;
}

int cmd_import(const struct cmd_context *ctx, struct err *e)
{
    return run(ctx, false, e);
}

int cmd_apply(const struct cmd_context *ctx, struct err *e)
{
    return run(ctx, true, e);
}

int cmd_diff(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_bulk_ struct bulk bulk = {.additions = {.change = {.lock = -1}}};
    const struct outcome *outcome = &bulk.additions.outcome;
    struct cmd_context reading = *ctx;
    int r;

    reading.dry_run = true;
    reading.store_only = true;
    reading.yes = true;
    r = fill(&bulk, &reading, true, e);
    if (r < 0)
        return r;
    if (!(outcome->added + outcome->deleted + outcome->edited))
        out_done(&ctx->out, "the list is equal to %s\n", bulk.source.name);
    outcome_say_json(&reading, outcome);
    return outcome->added + outcome->deleted + outcome->edited ? EXIT_NO : 0;
}

/* ---- export ---- */

struct exporting {
    const struct cmd_context *ctx;
    enum bulk_format format;
};

static int export_entry(const struct store_entry *entry, void *arg)
{
    const struct exporting *exporting = arg;
    struct bulk_row row = {.id = entry->id, .created = entry->created};
    char text[BULK_TEXT_MAX];

    row.entry.who = entry->who;
    row.entry.until = entry->expires;
    row.entry.has_until = entry->expires != 0;
    row.entry.has_remark = *entry->remark;
    snprintf(row.entry.account, sizeof(row.entry.account), "%s", entry->account);
    snprintf(row.entry.remark, sizeof(row.entry.remark), "%s", entry->remark);
    out_text(&exporting->ctx->out, "%s\n", bulk_print(exporting->format, &row, text));
    return 0;
}

static int parse_format(const char *text, enum bulk_format *ret_format, struct err *e)
{
    int r = bulk_format_parse(text, ret_format, e);

    if (r < 0 || *ret_format == BULK_LIST || *ret_format == BULK_CSV || *ret_format == BULK_JSON)
        return r;
    err_set(e, 0, EXIT_USAGE, "%s can be read, but not written", text);
    err_hint(e, "--format list, --format csv or --format json");
    return -EINVAL;
}

int cmd_export(const struct cmd_context *ctx, struct err *e)
{
    struct exporting exporting = {.ctx = ctx, .format = BULK_LIST};
    const char *format = ctx->options[OPT_FORMAT];
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    const char *header;
    int r = format ? parse_format(format, &exporting.format, e) : 0;

    if (r == 0 && ctx->out.json)
        return cmd_list(ctx, e); /* the same entries as one object */
    if (r == 0)
        r = cmd_open_store(ctx, &store, &gate, e);
    if (r < 0)
        return r;
    header = bulk_header(exporting.format);
    if (header)
        out_text(&ctx->out, "%s\n", header);
    return store_each_entry(store, NULL, STORE_BY_ACCOUNT, export_entry, &exporting, e);
}
