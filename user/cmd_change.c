/* SPDX-License-Identifier: GPL-2.0-only */
/* add, edit, delete, disable: what changes the list. See cmd.h and change.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"

static int fail_memory(struct err *e)
{
    return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory; nothing changed");
}

/* What a change did, for text and JSON. */
struct outcome {
    unsigned int added, deleted, edited;
    json_t *entries; /* in the order given: {id, who, remark, result} */
    enum sg_mode mode_before, mode_after;
};

static void cleanup_outcome(struct outcome *outcome)
{
    json_decref(outcome->entries);
}

#define _cleanup_outcome_ __attribute__((cleanup(cleanup_outcome)))

static void outcome_add(struct outcome *outcome, const char *result,
                        const struct store_entry *entry)
{
    char who[WHO_TEXT_MAX];

    json_array_append_new(outcome->entries,
                          json_pack("{s:I, s:s, s:s, s:s}", "id", (json_int_t)entry->id, "who",
                                    who_print(&entry->who, who), "remark", entry->remark, "result",
                                    result));
}

static bool is_change(const char *result)
{
    return strcmp(result, "already listed") != 0 && strcmp(result, "unchanged") != 0;
}

/* After the change is in force: nothing is said of one that failed. */
static void outcome_text(const struct cmd_context *ctx, const struct outcome *outcome)
{
    const char *who, *remark, *result;
    json_int_t id;
    json_t *item;
    size_t i;

    json_array_foreach (outcome->entries, i, item) {
        if (json_unpack(item, "{s:I, s:s, s:s, s:s}", "id", &id, "who", &who, "remark", &remark,
                        "result", &result) < 0)
            continue;
        out_done(&ctx->out, "%s%s #%lld %s%s%s%s\n",
                 ctx->dry_run && is_change(result) ? "would be " : "", result, (long long)id, who,
                 *remark ? " (" : "", remark, *remark ? ")" : "");
    }
}

static void outcome_json(const struct cmd_context *ctx, const struct outcome *outcome)
{
    bool changed = outcome->added || outcome->deleted || outcome->edited ||
                   outcome->mode_before != outcome->mode_after;

    out_json(&ctx->out, json_pack("{s:b, s:i, s:i, s:i, s:b, s:s, s:O}", "changed", changed,
                                  "added", (int)outcome->added, "deleted", (int)outcome->deleted,
                                  "edited", (int)outcome->edited, "dry_run", ctx->dry_run, "mode",
                                  cmd_mode_name(outcome->mode_after), "entries", outcome->entries));
}

/* Said once the change is in force. */
static void say_mode(const struct cmd_context *ctx, const struct change *change,
                     const struct outcome *outcome)
{
    bool on = outcome->mode_before == SG_MODE_OFF && outcome->mode_after == SG_MODE_ENFORCE;
    bool off = outcome->mode_before == SG_MODE_ENFORCE && outcome->mode_after == SG_MODE_OFF;
    char ports[CMD_PORTS_MAX];

    cmd_ports(&change->before, ports);
    if (on && !ctx->dry_run && !change->attached)
        out_warn(&ctx->out,
                 "this is the first entry: once attached, the gate drops every other source on"
                 " ports %s\n",
                 ports);
    else if (on)
        out_warn(&ctx->out,
                 "this is the first entry: the gate %s on, and every other source is dropped on"
                 " ports %s\n",
                 ctx->dry_run ? "would be" : "is now", ports);
    if (off)
        out_warn(&ctx->out,
                 ctx->dry_run
                     ? "the list would be empty: the gate would be off, and every source would"
                       " reach ports %s\n"
                     : "the list is empty: the gate is now off, and every source reaches ports"
                       " %s\n",
                 ports);
}

static void say_unattached(const struct cmd_context *ctx, const struct change *change)
{
    if (!change->attached && !ctx->dry_run)
        out_note(&ctx->out, "stored, but the gate is attached to no interface yet:"
                            " smtpgate attach IFACE\n");
}

/* ---- add ---- */

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

static int add_value(const struct cmd_context *ctx, struct change *change, const struct who *who,
                     struct outcome *outcome, struct err *e)
{
    const char *remark = ctx->options[OPT_REMARK];
    struct store_entry entry;
    int64_t id;
    int r, found;

    r = store_add_entry(change->store, who, "", remark ? remark : "", time(NULL), &id, e);
    if (r < 0 && r != -EEXIST)
        return r;
    found = store_find_id(change->store, id, &entry, e);
    if (found < 0)
        return found;
    if (r == 0) {
        outcome->added++;
        outcome_add(outcome, "added", &entry);
        return 0;
    }
    if (remark && strcmp(remark, entry.remark) != 0) {
        r = store_set_remark(change->store, id, remark, e);
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

static int check_limit(const struct change *change, const struct outcome *outcome, struct err *e)
{
    uint32_t limit = change->before.limit;
    uint64_t count;
    int r = store_count_entries(change->store, "", &count, e);

    if (r < 0)
        return r;
    if (limit == STORE_LIMIT_NONE || !outcome->added || count <= limit)
        return 0;
    err_set(e, 0, EXIT_USAGE, "the list takes %u entries and would have %llu; nothing changed",
            limit, (unsigned long long)count);
    err_hint(e, "smtpgate set limit %llu, or smtpgate set limit none", (unsigned long long)count);
    return -EDQUOT;
}

static int add_values(const struct cmd_context *ctx, struct change *change,
                      const struct who *values, struct outcome *outcome, struct err *e)
{
    size_t i;
    int r;

    for (i = 0; i < ctx->n_args; i++) {
        r = add_value(ctx, change, &values[i], outcome, e);
        if (r < 0)
            return r;
    }
    r = check_limit(change, outcome, e);
    if (r < 0)
        return r;
    if (change->before.mode == SG_MODE_OFF) {
        r = store_set_mode(change->store, SG_MODE_ENFORCE, e);
        if (r < 0)
            return r;
        outcome->mode_after = SG_MODE_ENFORCE;
    }
    return change_commit(change, e);
}

int cmd_add(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_outcome_ struct outcome outcome = {.entries = json_array()};
    _cleanup_free_ struct who *values = calloc(ctx->n_args, sizeof(*values));
    const char *remark = ctx->options[OPT_REMARK];
    int r;

    if (!values || !outcome.entries)
        return fail_memory(e);
    r = parse_values(ctx, values, e);
    if (r == 0 && remark)
        r = remark_check(remark, e);
    if (r == 0)
        r = confirm_wide(ctx, values, e);
    if (r == 0)
        r = cmd_begin(ctx, &change, e);
    if (r < 0)
        return r;
    outcome.mode_before = outcome.mode_after = change.before.mode;
    r = add_values(ctx, &change, values, &outcome, e);
    if (r < 0)
        return r;
    outcome_text(ctx, &outcome);
    say_mode(ctx, &change, &outcome);
    say_unattached(ctx, &change);
    outcome_json(ctx, &outcome);
    return 0;
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

/* Not there; names the wider entry that lets it in, if there is one. */
static int fail_not_listed(struct store *store, const char *text, const struct who *who,
                           struct err *e)
{
    char wider[CMD_ENTRY_MAX], name[WHO_TEXT_MAX];
    struct store_entry entry;
    int r;

    r = who ? store_find_covering(store, &who->first, &who->last, &entry, e) : -ENOENT;
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == -ENOENT) {
        err_set(e, 0, EXIT_NO, "%s is not in the list; nothing changed", text);
        err_hint(e, "smtpgate list");
        return -ENOENT;
    }
    err_set(e, 0, EXIT_NO, "%s is no entry of its own: it is let in by %s; nothing changed", text,
            cmd_entry(&entry, wider));
    err_hint(e, "smtpgate delete %s removes all of that entry", who_print(&entry.who, name));
    return -ENOENT;
}

/* By number or by WHO; @text was given by a person. */
static int find_entry(struct store *store, const char *text, struct store_entry *ret_entry,
                      struct err *e)
{
    struct who who;
    int64_t id;
    int r;

    if (text[0] == '#') {
        r = parse_id(text, &id, e);
        if (r == 0)
            r = store_find_id(store, id, ret_entry, e);
        return r == -ENOENT ? fail_not_listed(store, text, NULL, e) : r;
    }
    r = who_parse(text, &who, e);
    if (r == 0)
        r = store_find_who(store, &who, "", ret_entry, e);
    return r == -ENOENT ? fail_not_listed(store, text, &who, e) : r;
}

/* Bad spelling is found before anything is opened or made. */
static int check_spelling(const struct cmd_context *ctx, struct err *e)
{
    struct who who;
    int64_t id;
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < ctx->n_args; i++)
        r = ctx->args[i][0] == '#' ? parse_id(ctx->args[i], &id, e)
                                   : who_parse(ctx->args[i], &who, e);
    return r;
}

/* ---- edit ---- */

static int edit_entry(const struct cmd_context *ctx, struct change *change, struct outcome *outcome,
                      struct err *e)
{
    const char *remark = ctx->options[OPT_REMARK];
    struct store_entry entry;
    int r = find_entry(change->store, ctx->args[0], &entry, e);

    if (r < 0)
        return r;
    outcome->edited = strcmp(entry.remark, remark) != 0;
    if (outcome->edited)
        r = store_set_remark(change->store, entry.id, remark, e);
    if (r < 0)
        return r;
    snprintf(entry.remark, sizeof(entry.remark), "%s", remark);
    outcome_add(outcome, outcome->edited ? "edited" : "unchanged", &entry);
    return change_commit(change, e);
}

int cmd_edit(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_outcome_ struct outcome outcome = {.entries = json_array()};
    int r;

    if (!outcome.entries)
        return fail_memory(e);
    if (!ctx->options[OPT_REMARK]) {
        err_set(e, 0, EXIT_USAGE, "nothing to change: no --remark was given");
        err_hint(e, "smtpgate edit %s --remark TEXT", ctx->args[0]);
        return -EINVAL;
    }
    r = remark_check(ctx->options[OPT_REMARK], e);
    if (r == 0)
        r = check_spelling(ctx, e);
    if (r == 0)
        r = cmd_begin(ctx, &change, e);
    if (r < 0)
        return r;
    outcome.mode_before = outcome.mode_after = change.before.mode;
    r = edit_entry(ctx, &change, &outcome, e);
    if (r < 0)
        return r;
    outcome_text(ctx, &outcome);
    outcome_json(ctx, &outcome);
    return 0;
}

/* ---- delete ---- */

static int delete_entries(const struct cmd_context *ctx, struct change *change,
                          struct outcome *outcome, struct err *e)
{
    struct store_entry entry;
    uint64_t left;
    size_t i;
    int r;

    for (i = 0; i < ctx->n_args; i++) {
        r = find_entry(change->store, ctx->args[i], &entry, e);
        if (r == 0)
            r = store_delete_entry(change->store, &entry, e);
        if (r < 0)
            return r;
        outcome->deleted++;
        outcome_add(outcome, "deleted", &entry);
    }
    r = store_count_entries(change->store, "", &left, e);
    if (r < 0)
        return r;
    if (left == 0) {
        r = cmd_confirm(ctx,
                        "This deletes the last entry and turns the gate off: every source could"
                        " use a stolen password again.",
                        e);
        if (r == 0)
            r = store_set_mode(change->store, SG_MODE_OFF, e);
        if (r < 0)
            return r;
        outcome->mode_after = SG_MODE_OFF;
    }
    return change_commit(change, e);
}

int cmd_delete(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_outcome_ struct outcome outcome = {.entries = json_array()};
    int r;

    if (!outcome.entries)
        return fail_memory(e);
    r = check_spelling(ctx, e);
    if (r == 0)
        r = cmd_begin(ctx, &change, e);
    if (r < 0)
        return r;
    outcome.mode_before = outcome.mode_after = change.before.mode;
    r = delete_entries(ctx, &change, &outcome, e);
    if (r < 0)
        return r;
    outcome_text(ctx, &outcome);
    say_mode(ctx, &change, &outcome);
    say_unattached(ctx, &change);
    outcome_json(ctx, &outcome);
    return 0;
}

/* ---- disable ---- */

struct clearing {
    struct change *change;
    struct outcome *outcome;
    struct err *e;
};

static int clear_entry(const struct store_entry *entry, void *arg)
{
    struct clearing *clearing = arg;
    int r = store_delete_entry(clearing->change->store, entry, clearing->e);

    if (r < 0)
        return r;
    clearing->outcome->deleted++;
    return 0;
}

static int clear_list(const struct cmd_context *ctx, struct change *change, struct outcome *outcome,
                      struct err *e)
{
    struct clearing clearing = {.change = change, .outcome = outcome, .e = e};
    int r = store_each_entry(change->store, clear_entry, &clearing, e);

    if (r < 0)
        return r;
    if (outcome->deleted == 0 && change->before.mode == SG_MODE_OFF)
        return change_commit(change, e);
    r = cmd_confirm(ctx,
                    "This clears the whole list and turns the gate off: every source could use a"
                    " stolen password again.",
                    e);
    if (r == 0)
        r = store_set_mode(change->store, SG_MODE_OFF, e);
    if (r < 0)
        return r;
    outcome->mode_after = SG_MODE_OFF;
    return change_commit(change, e);
}

int cmd_disable(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_outcome_ struct outcome outcome = {.entries = json_array()};
    int r;

    if (!outcome.entries)
        return fail_memory(e);
    r = cmd_begin(ctx, &change, e);
    if (r < 0)
        return r;
    outcome.mode_before = outcome.mode_after = change.before.mode;
    r = clear_list(ctx, &change, &outcome, e);
    if (r < 0)
        return r;
    if (outcome.mode_before == SG_MODE_OFF)
        out_done(&ctx->out, "the gate is off already\n");
    else
        out_done(&ctx->out, "%s%u %s deleted\n", ctx->dry_run ? "would be: " : "", outcome.deleted,
                 outcome.deleted == 1 ? "entry" : "entries");
    say_mode(ctx, &change, &outcome);
    outcome_json(ctx, &outcome);
    return 0;
}
