/* SPDX-License-Identifier: GPL-2.0-only */
/* observe, enforce, confirm, pause: what the gate does with the unlisted, and until when. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "live.h"
#include "when.h"

/* One command under way. */
struct switching {
    const struct cmd_context *ctx;
    struct change change;
    struct mode_plan before; /* as if the lists called for a gate, also when they do not */
    struct mode_plan after;
    bool any; /* there is an entry, of any list */
    struct live live;
    json_t *kicked;
};

static void cleanup_switching(struct switching *switching)
{
    change_end(&switching->change);
    live_free(&switching->live);
    json_decref(switching->kicked);
}

#define _cleanup_switching_ __attribute__((cleanup(cleanup_switching)))

static int begin(struct switching *switching, struct err *e)
{
    struct store_rules rules = {0};
    int r = cmd_begin(switching->ctx, &switching->change, e);

    if (r == 0)
        r = store_read_rules(switching->change.store, &rules, e);
    if (r < 0)
        return r;
    switching->any = rules.host || rules.accounts;
    switching->before = switching->after =
        mode_at(true, &switching->change.before.plan, switching->change.now);
    return 0;
}

static bool plans_differ(const struct mode_plan *a, const struct mode_plan *b)
{
    return a->mode != b->mode || a->until != b->until || (a->until && a->then != b->then);
}

/* What happens to the unlisted, after this. */
static void say_plan(const struct switching *switching)
{
    const struct cmd_context *ctx = switching->ctx;
    const struct mode_plan *plan = &switching->after;
    const char *is = ctx->dry_run ? "would be" : "is now";
    char until[CMD_PLAN_MAX];

    out_done(&ctx->out, "mode %s %s%s\n", is, mode_name(plan->mode),
             cmd_plan_end(plan, switching->change.now, until));
    if (!switching->any)
        out_note(&ctx->out, "the list is empty: the gate stays off until the first entry\n");
    else if (!switching->change.before.on)
        out_note(&ctx->out, "the gate itself is off, as accounts without a list may come from"
                            " anywhere; the mode holds for the lists of accounts\n");
    if (plan->until && plan->mode == SG_MODE_ENFORCE)
        out_note(&ctx->out, "to stay with it: smtpgate confirm\n");
}

/* The time begins with the answer, not with the question. */
static int restart_time(struct switching *switching, struct err *e)
{
    struct change *change = &switching->change;
    int64_t late = gate_now(change->gate, change->before.clock) - change->now;

    if (!switching->after.until || late <= 0)
        return 0;
    change->now += late;
    switching->after.until += late;
    return store_set_plan(change->store, &switching->after, e);
}

static int finish(struct switching *switching, struct err *e)
{
    const struct cmd_context *ctx = switching->ctx;
    const struct mode_plan *after = &switching->after;
    bool changed = plans_differ(&switching->before, after);
    json_t *answer;
    bool kick = ctx->options[OPT_KICK];
    int r = changed ? store_set_plan(switching->change.store, after, e) : 0;

    if (r == 0)
        r = live_confirm(ctx, &switching->change, LIVE_AS_IS, LIVE_ASK, &switching->live, e);
    if (r == 0)
        r = restart_time(switching, e);
    if (r == 0 && !ctx->dry_run)
        r = change_commit(&switching->change, e);
    if (r < 0)
        return r;
    if (changed)
        say_plan(switching);
    else
        out_done(&ctx->out, "mode is %s already\n", mode_name(after->mode));
    if (kick)
        r = live_kick_dropped(ctx, &switching->change, &switching->kicked, e);
    else
        live_say_hanging(ctx, &switching->live);
    if (r < 0)
        return r;
    answer =
        json_pack("{s:b, s:b, s:s, s:o, s:o}", "changed", changed, "dry_run", ctx->dry_run, "mode",
                  mode_name(after->mode), "mode_until", out_json_time(after->until), "mode_then",
                  after->until ? json_string(mode_name(after->then)) : json_null());
    if (switching->kicked)
        json_object_set(answer, "kicked", switching->kicked);
    out_json(&ctx->out, answer);
    return 0;
}

int cmd_observe(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_switching_ struct switching switching = {.ctx = ctx, .change = {.lock = -1}};
    int r = begin(&switching, e);

    if (r < 0)
        return r;
    switching.after = (struct mode_plan){.mode = SG_MODE_OBSERVE, .then = SG_MODE_OBSERVE};
    return finish(&switching, e);
}

/*
 * Goes back to observing. Not from a pause: its own end would have to be kept beside, and to
 * observe for good after it is not what was there before.
 */
static int enforce_for(struct switching *switching, int64_t seconds, struct err *e)
{
    const struct mode_plan *before = &switching->before;

    if (before->mode == SG_MODE_ENFORCE && !before->until) {
        err_set(e, 0, EXIT_NO,
                "the mode is enforce already: there is nothing to go back to; nothing"
                " changed");
        err_hint(e, "smtpgate observe, then smtpgate enforce --confirm 2m");
        return -EALREADY;
    }
    if (before->mode == SG_MODE_PAUSED) {
        err_set(e, 0, EXIT_NO, "the gate is paused, which cannot be gone back to; nothing changed");
        err_hint(e, "end the pause: smtpgate enforce, or smtpgate observe and then this again");
        return -EALREADY;
    }
    if (!switching->any) {
        err_set(e, 0, EXIT_NO, "the list is empty: there is nothing to try; nothing changed");
        err_hint(e, "smtpgate add WHO, then smtpgate enforce --confirm 2m");
        return -ENOENT;
    }
    switching->after = (struct mode_plan){
        .mode = SG_MODE_ENFORCE, .then = SG_MODE_OBSERVE, .until = switching->change.now + seconds};
    return 0;
}

int cmd_enforce(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_switching_ struct switching switching = {.ctx = ctx, .change = {.lock = -1}};
    const char *confirm = ctx->options[OPT_CONFIRM];
    int64_t seconds = 0;
    int r = confirm ? when_parse_duration(confirm, &seconds, e) : 0;

    if (r == 0)
        r = begin(&switching, e);
    if (r < 0)
        return r;
    switching.after = (struct mode_plan){.mode = SG_MODE_ENFORCE, .then = SG_MODE_ENFORCE};
    if (confirm)
        r = enforce_for(&switching, seconds, e);
    return r == 0 ? finish(&switching, e) : r;
}

int cmd_confirm_mode(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_switching_ struct switching switching = {.ctx = ctx, .change = {.lock = -1}};
    const struct mode_plan *plan = &switching.change.before.plan;
    int r = begin(&switching, e);

    if (r < 0)
        return r;
    if (switching.before.mode != SG_MODE_ENFORCE || !switching.before.until) {
        bool late = plan->until && plan->mode == SG_MODE_ENFORCE;
        char time[OUT_TIME_MAX];

        err_set(e, 0, EXIT_NO, "there is nothing to confirm%s%s; nothing changed",
                late ? ": the time was over at " : "",
                late ? out_local_time(plan->until, time) : "");
        err_hint(e, late ? "smtpgate enforce" : "smtpgate status");
        return -ENOENT;
    }
    switching.after = (struct mode_plan){.mode = SG_MODE_ENFORCE, .then = SG_MODE_ENFORCE};
    return finish(&switching, e);
}

int cmd_pause(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_switching_ struct switching switching = {.ctx = ctx, .change = {.lock = -1}};
    const struct mode_plan *before = &switching.before;
    int64_t seconds;
    int r = when_parse_duration(ctx->args[0], &seconds, e);

    if (r == 0)
        r = begin(&switching, e);
    if (r < 0)
        return r;
    if (!switching.any) {
        err_set(e, 0, EXIT_NO,
                "the list is empty and everything passes: there is nothing to pause;"
                " nothing changed");
        err_hint(e, "smtpgate status");
        return -ENOENT;
    }
    /* After a second pause, or one in the middle of a trial, comes what would have come anyway. */
    switching.after = (struct mode_plan){
        .mode = SG_MODE_PAUSED,
        .then = before->until ? before->then : before->mode,
        .until = switching.change.now + seconds,
    };
    return finish(&switching, e);
}
