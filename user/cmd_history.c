/* SPDX-License-Identifier: GPL-2.0-only */
/* history, undo: what was changed by whom, and taking it back. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "live.h"
#include "outcome.h"

/* ---- history ---- */

/* Lines for a person; all of them with -v. */
#define SHOWN_CHANGES 50

struct telling {
    const struct cmd_context *ctx;
    struct out_stream stream;
    unsigned int shown;
};

static json_t *change_json(const struct store_change *change)
{
    return json_pack("{s:I, s:s, s:s, s:i, s:o, s:s, s:I, s:I, s:I, s:b, s:o}", "id",
                     (json_int_t)change->id, "time", "", "who", change->who, "uid",
                     (int)change->uid, "from", out_json_text(change->origin), "command",
                     change->command, "added", (json_int_t)change->added, "deleted",
                     (json_int_t)change->deleted, "edited", (json_int_t)change->edited, "undone",
                     change->undone != 0, "undone_by",
                     change->undone ? json_integer((json_int_t)change->undone) : json_null());
}

static int tell_change(const struct store_change *change, void *arg)
{
    struct telling *telling = arg;
    const struct out *out = &telling->ctx->out;
    char time[OUT_TIME_MAX], counts[64] = "", undone[48] = "";
    json_t *row = change_json(change);

    json_object_set_new(row, "time", out_json_time(change->at));
    out_stream_item(&telling->stream, row);
    if (telling->shown++ == 0)
        out_text(out, "%-6s %-16s %-24s %-12s %s\n", "CHANGE", "TIME", "WHO", "ENTRIES", "COMMAND");
    out_local_time(change->at, time);
    if (change->added || change->deleted || change->edited)
        snprintf(counts, sizeof(counts), "+%llu -%llu ~%llu", (unsigned long long)change->added,
                 (unsigned long long)change->deleted, (unsigned long long)change->edited);
    if (change->undone)
        snprintf(undone, sizeof(undone), "  (taken back by #%lld)", (long long)change->undone);
    out_text(out, "#%-5lld %-16s %s%s%-*s %-12s %s%s\n", (long long)change->id, time, change->who,
             *change->origin ? " from " : "",
             24 - (int)strlen(change->who) - (*change->origin ? 6 : 0), change->origin, counts,
             change->command, undone);
    return 0;
}

int cmd_history(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    struct telling telling = {.ctx = ctx};
    bool all = ctx->out.json || ctx->verbose;
    int r = cmd_open_store(ctx, &store, &gate, e);

    if (r < 0)
        return r;
    out_stream_begin(&telling.stream, &ctx->out, NULL, "changes");
    r = store_each_change(store, all ? 0 : SHOWN_CHANGES, tell_change, &telling, e);
    out_stream_end(&telling.stream, r < 0 ? e : NULL);
    if (r < 0)
        return ctx->out.json ? (int)e->code : r;
    if (!telling.shown)
        out_text(&ctx->out, "nothing was changed yet\n");
    else if (!all && telling.shown == SHOWN_CHANGES)
        out_note(&ctx->out, "the last %d changes are shown; -v shows all that are kept\n",
                 SHOWN_CHANGES);
    return 0;
}

/* ---- undo ---- */

struct undoing {
    const struct cmd_context *ctx;
    struct change change;
    struct outcome outcome;
    struct store_counts before, after;
    struct store_settings settings; /* as they will be */
    struct mode_plan plan;          /* and what is in force then */
    int64_t id;                     /* back to what was before this change */
    int64_t wider;                  /* a change that took back others before that one; 0 none */
    int64_t passed;                 /* newest change that undo passes over; 0 none */
    char passed_command[256];
    json_t *taken; /* the changes that are taken back */
    struct live live;
};

static void cleanup_undoing(struct undoing *undoing)
{
    change_end(&undoing->change);
    live_free(&undoing->live);
    outcome_free(&undoing->outcome);
    json_decref(undoing->taken);
}

/* "3", or "#12"; nothing is 1. */
static int parse_target(const struct cmd_context *ctx, unsigned int *ret_count, int64_t *ret_id,
                        struct err *e)
{
    const char *text = ctx->n_args ? ctx->args[0] : "1";
    bool by_id = text[0] == '#';
    char shown[64], *end;
    long long number;

    errno = 0;
    number = strtoll(text + by_id, &end, 10);
    if (text[by_id] >= '0' && text[by_id] <= '9' && !*end && !errno && number >= 1 &&
        (by_id || number <= INT_MAX)) {
        *ret_id = by_id ? number : 0;
        *ret_count = by_id ? 0 : (unsigned int)number;
        return 0;
    }
    err_set(e, 0, EXIT_USAGE, "\"%s\" is neither a number of changes nor the number of one",
            text_escape(text, shown, sizeof(shown)));
    err_hint(e, "smtpgate undo, smtpgate undo 3, or by its number in smtpgate history: smtpgate"
                " undo '#12'");
    return -EINVAL;
}

static int find_target(struct undoing *undoing, unsigned int count, struct err *e)
{
    unsigned int found = 0;
    int r = count ? store_find_undo(undoing->change.store, count, &undoing->id, &found, e) : 0;

    if (r != -ENOENT)
        return r;
    if (found)
        err_set(e, 0, EXIT_NO, "there %s only %u change%s to take back; nothing changed",
                found == 1 ? "is" : "are", found, found == 1 ? "" : "s");
    else
        err_set(e, 0, EXIT_NO, "there is nothing to take back; nothing changed");
    err_hint(e, "smtpgate history");
    return r;
}

/* What was taken back together with changes that stay so is told by the change before. */
static int find_wider(const struct store_change *change, void *arg)
{
    struct undoing *undoing = arg;

    if (change->id >= undoing->id || change->kind == STORE_CHANGE_OTHER)
        return 0;
    undoing->wider = change->undone >= undoing->id ? change->undone : 0;
    return 1;
}

/*
 * Of the changes that took back others, only the one that is of consequence: what the others took
 * back is taken back still.
 */
static int note_taken(const struct store_change *change, void *arg)
{
    struct undoing *undoing = arg;
    bool counts = change->kind == STORE_CHANGE_LIST || change->id == undoing->wider;

    if (change->id < undoing->id)
        return 1; /* the rest is older */
    if (change->kind == STORE_CHANGE_OTHER && !undoing->passed) {
        undoing->passed = change->id;
        snprintf(undoing->passed_command, sizeof(undoing->passed_command), "%s", change->command);
    }
    if (counts && !change->undone)
        json_array_append_new(undoing->taken, json_pack("{s:I, s:s}", "id", (json_int_t)change->id,
                                                        "command", change->command));
    return 0;
}

static int take_back(struct undoing *undoing, struct err *e)
{
    int r = store_each_change(undoing->change.store, 0, find_wider, undoing, e);

    if (r >= 0)
        r = store_each_change(undoing->change.store, 0, note_taken, undoing, e);
    if (r < 0)
        return r;
    r = store_undo_to(undoing->change.store, undoing->id, e);
    if (r == 0 && !json_array_size(undoing->taken)) {
        err_set(
            e, 0, EXIT_NO,
            "from change #%lld on nothing is in force that could be taken back; nothing changed",
            (long long)undoing->id);
        err_hint(e, "smtpgate history");
        return -ENOENT;
    }
    if (r != -ENOENT)
        return r;
    err_set(e, 0, EXIT_NO, "change #%lld is not there, or too long ago; nothing changed",
            (long long)undoing->id);
    err_hint(e, "smtpgate history; the last %d changes can be taken back", STORE_KEPT_CHANGES);
    return r;
}

/* Whoever was held to a list that goes may come from elsewhere again. */
static int confirm_loss(struct undoing *undoing, struct err *e)
{
    const struct store_counts *before = &undoing->before, *after = &undoing->after;

    if (undoing->change.before.on && !undoing->settings.on)
        return cmd_confirm(undoing->ctx,
                           "This turns the gate off: every source could use a stolen password"
                           " again.",
                           e);
    if (*undoing->change.before.realm && before->accounts &&
        strcmp(undoing->change.before.realm, undoing->settings.realm) != 0)
        return cmd_confirm(undoing->ctx,
                           "This changes the realm: NAME and NAME@REALM will be two accounts, and"
                           " who logs in by the spelling that has no list is not held to the"
                           " other's.",
                           e);
    if ((before->host_entries && !after->host_entries) || after->accounts < before->accounts)
        return cmd_confirm(undoing->ctx,
                           "This leaves a list without entries: whoever was held to it may then"
                           " send from elsewhere.",
                           e);
    return 0;
}

/* A number names one change, and means all since: at a terminal that is made sure of. */
static int confirm_many(struct undoing *undoing, unsigned int count, struct err *e)
{
    size_t taken = json_array_size(undoing->taken);
    char what[128];

    if (count || taken < 2 || !out_can_ask())
        return 0;
    snprintf(what, sizeof(what), "This takes back %zu changes, all since #%lld.", taken,
             (long long)undoing->id);
    return cmd_confirm(undoing->ctx, what, e);
}

static int undo_all(struct undoing *undoing, unsigned int count, struct err *e)
{
    struct change *change = &undoing->change;
    int r = cmd_begin(undoing->ctx, change, e);

    if (r == 0)
        r = store_read_counts(change->store, &undoing->before, e);
    if (r == 0)
        r = find_target(undoing, count, e);
    if (r == 0)
        r = take_back(undoing, e);
    if (r == 0)
        r = store_read_counts(change->store, &undoing->after, e);
    if (r == 0)
        r = store_read_settings(change->store, &undoing->settings, e);
    if (r < 0)
        return r;
    undoing->outcome.mode_before = change_mode_before(change).mode;
    undoing->plan = mode_at(undoing->settings.on, &undoing->settings.plan, change->now);
    undoing->outcome.mode_after = undoing->plan.mode;
    undoing->outcome.left.accounts = undoing->after.accounts > 0;
    store_read_touched(change->store, &undoing->outcome.added, &undoing->outcome.deleted,
                       &undoing->outcome.edited);
    r = confirm_many(undoing, count, e);
    if (r == 0)
        r = confirm_loss(undoing, e);
    if (r == 0)
        r = live_confirm(undoing->ctx, change, LIVE_AS_IS, LIVE_WARN, &undoing->live, e);
    return r == 0 ? change_commit(change, e) : r;
}

static void say_undone(const struct undoing *undoing)
{
    const struct cmd_context *ctx = undoing->ctx;
    const struct outcome *outcome = &undoing->outcome;
    const char *command;
    json_t *taken;
    json_int_t id;
    size_t i;

    json_array_foreach (undoing->taken, i, taken)
        if (json_unpack(taken, "{s:I, s:s}", "id", &id, "command", &command) == 0)
            out_done(&ctx->out, "%s #%lld: %s\n", ctx->dry_run ? "would take back" : "taken back",
                     (long long)id, command);
    if (outcome->added || outcome->deleted || outcome->edited)
        out_done(&ctx->out, "entries: %s%u added, %u deleted, %u edited\n",
                 ctx->dry_run ? "would be " : "", outcome->added, outcome->deleted,
                 outcome->edited);
    if (undoing->passed)
        out_note(&ctx->out, "#%lld stays, as it is no change of the list: %s\n",
                 (long long)undoing->passed, undoing->passed_command);
}

/* The settings that are others now; what that opens is said as set would say it. */
static void say_settings(const struct undoing *undoing)
{
    const struct store_settings *before = &undoing->change.before, *after = &undoing->settings;
    const struct out *out = &undoing->ctx->out;
    const char *is = undoing->ctx->dry_run ? "would be" : "now";
    char was[CMD_PORTS_MAX], ports[CMD_PORTS_MAX];

    if (strcmp(cmd_ports(before, was), cmd_ports(after, ports)) != 0)
        out_done(out, "ports %s %s\n", is, ports);
    cmd_say_opened(undoing->ctx, before, after);
    if (before->limit != after->limit && after->limit == STORE_LIMIT_NONE)
        out_done(out, "limit %s none\n", is);
    else if (before->limit != after->limit)
        out_done(out, "limit %s %u\n", is, after->limit);
    if (before->others != after->others)
        out_done(out, "others %s %s\n", is,
                 after->others == STORE_OTHERS_NOWHERE ? "nowhere" : "anywhere");
    if (strcmp(before->realm, after->realm) != 0)
        out_done(out, "realm %s %s\n", is, *after->realm ? after->realm : "none");
}

/* Whom it concerns now that list and mode are what they were. */
static void say_mode(const struct undoing *undoing)
{
    const struct cmd_context *ctx = undoing->ctx;
    const struct outcome *outcome = &undoing->outcome;
    const char *is = ctx->dry_run ? "would be" : "is now";
    char ports[CMD_PORTS_MAX], until[CMD_PLAN_MAX];
    enum sg_mode before = outcome->mode_before, after = outcome->mode_after;

    cmd_plan_end(&undoing->plan, undoing->change.now, until);
    if (before == after)
        return;
    if (before != SG_MODE_OFF && after != SG_MODE_OFF)
        out_done(&ctx->out, "mode %s %s%s\n", is, mode_name(after), until);
    else if (after == SG_MODE_OFF)
        outcome_say_mode(ctx, &undoing->change, outcome);
    else if (!mode_drops(after))
        out_warn(&ctx->out, "the gate %s on again, but drops nothing (%s%s)\n", is,
                 mode_name(after), until);
    else
        out_warn(
            &ctx->out,
            "the gate %s on again%s: every source that is not listed is dropped on ports %s%s\n",
            is, undoing->change.guarding ? "" : ", once attached",
            cmd_ports(&undoing->settings, ports), until);
}

int cmd_undo(const struct cmd_context *ctx, struct err *e)
{
    __attribute__((cleanup(cleanup_undoing))) struct undoing undoing = {
        .ctx = ctx,
        .change = {.lock = -1},
        .outcome = {.entries = json_array(), .brief = true},
        .taken = json_array()};
    const struct outcome *outcome = &undoing.outcome;
    unsigned int count;
    int r;

    if (!undoing.taken || !outcome->entries)
        return cmd_fail_memory(e);
    r = parse_target(ctx, &count, &undoing.id, e);
    if (r == 0)
        r = undo_all(&undoing, count, e);
    if (r < 0)
        return r;
    say_undone(&undoing);
    say_settings(&undoing);
    say_mode(&undoing);
    live_say_hanging(ctx, &undoing.live);
    out_json(&ctx->out, json_pack("{s:b, s:i, s:i, s:i, s:b, s:s, s:O}", "changed", true, "added",
                                  (int)outcome->added, "deleted", (int)outcome->deleted, "edited",
                                  (int)outcome->edited, "dry_run", ctx->dry_run, "mode",
                                  mode_name(outcome->mode_after), "undone", undoing.taken));
    return 0;
}
