/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * watch: who is blocked, line by line; on a terminal cmd_watch_live.c takes over. Reads only.
 * docs/WATCH.md is the contract of the lines.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "counters.h"
#include "pace.h"
#include "reading.h"
#include "when.h"

#define EVERY_MAX_S 86400

static int parse_every(const struct cmd_context *ctx, int64_t *ret_seconds, struct err *e)
{
    const char *text = ctx->options[OPT_EVERY];
    int64_t seconds = 1;
    char shown[64];

    if (!text || (when_parse_duration(text, &seconds, NULL) == 0 && seconds <= EVERY_MAX_S)) {
        *ret_seconds = seconds;
        return 0;
    }
    err_set(e, 0, EXIT_USAGE, "--every wants a duration from 1s to 1d, not \"%s\"",
            text_escape(text, shown, sizeof(shown)));
    err_hint(e, "smtpgate watch --every 60s");
    return -EINVAL;
}

/* ---- one interval ---- */

/* What happened in it. */
struct interval {
    struct tally tally;
    struct tally_counts counts;
    enum sg_mode mode; /* at its end */
    int64_t time;      /* of its end */
    int64_t ms;
};

/* Something was dropped, or would have been. */
static bool is_quiet(const struct interval *interval)
{
    return !interval->tally.count && !interval->counts.untracked &&
           !interval->counts.packets[SG_VERDICT_DROP] &&
           !interval->counts.packets[SG_VERDICT_WOULD_DROP];
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *source_json(const struct tally_row *row, int64_t time)
{
    char address[ADDR_TEXT_MAX];

    return json_pack("{s:s, s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "event", "source", "time",
                     out_json_time(time), "address", addr_print(&row->source->addr, address),
                     "port", row->source->port ? json_integer(row->source->port) : json_null(),
                     "verdict", counters_verdict_name(row->source->verdict), "packets",
                     number(row->since.packets), "attempts", number(row->since.attempts),
                     "first_seen", out_json_time(row->source->first_seen), "last_seen",
                     out_json_time(row->source->last_seen));
}

static void say_json(const struct out *out, const struct interval *interval)
{
    const struct tally *tally = &interval->tally;
    const struct tally_counts *counts = &interval->counts;
    size_t i;

    for (i = 0; i < tally->count; i++)
        out_json(out, source_json(&tally->rows[i], interval->time));
    if (tally->others || counts->untracked)
        out_json(out, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "event", "others", "time",
                                out_json_time(interval->time), "sources", number(tally->others),
                                "packets", number(tally->others_since.packets), "attempts",
                                number(tally->others_since.attempts), "untracked",
                                number(counts->untracked)));
    out_json(out, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:f}", "event", "total", "time",
                            out_json_time(interval->time), "passed",
                            number(counts->packets[SG_VERDICT_PASS]), "dropped",
                            number(counts->packets[SG_VERDICT_DROP]), "would_drop",
                            number(counts->packets[SG_VERDICT_WOULD_DROP]), "untracked",
                            number(counts->untracked), "mode", mode_name(interval->mode), "seconds",
                            (double)interval->ms / 1000));
}

static const char *clock_text(int64_t seconds, char buf[OUT_TIME_MAX])
{
    time_t t = (time_t)seconds;
    struct tm tm;

    buf[0] = '\0';
    if (localtime_r(&t, &tm))
        strftime(buf, OUT_TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm);
    return buf;
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void say_source(const struct out *out, const struct tally_row *row, const char *time)
{
    char address[ADDR_TEXT_MAX], port[16] = "unknown";

    if (row->source->port)
        snprintf(port, sizeof(port), "%u", row->source->port);
    out_text(out, "%s %-15s port %s %s: %llu packet%s, %llu attempt%s\n", time,
             addr_print(&row->source->addr, address), port,
             counters_verdict_name(row->source->verdict), (unsigned long long)row->since.packets,
             plural(row->since.packets), (unsigned long long)row->since.attempts,
             plural(row->since.attempts));
}

static void say_text(const struct out *out, const struct interval *interval)
{
    const struct tally *tally = &interval->tally;
    uint64_t untracked = interval->counts.untracked;
    char time[OUT_TIME_MAX];
    size_t i;

    clock_text(interval->time, time);
    for (i = 0; i < tally->count; i++)
        say_source(out, &tally->rows[i], time);
    if (tally->others)
        out_text(out, "%s and %zu other source%s, %llu packet%s\n", time, tally->others,
                 plural(tally->others), (unsigned long long)tally->others_since.packets,
                 plural(tally->others_since.packets));
    if (untracked)
        out_text(out, "%s and %llu packet%s of sources that were too many to write down\n", time,
                 (unsigned long long)untracked, plural(untracked));
}

static void say(const struct out *out, const struct interval *interval)
{
    if (is_quiet(interval))
        return;
    if (out->json)
        say_json(out, interval);
    else
        say_text(out, interval);
}

/* ---- one after the other ---- */

/* False: nobody reads any more, though nothing was written that could have told. */
static bool wait_turn(const struct pace *pace)
{
    struct pollfd reader = {.fd = STDOUT_FILENO};
    int64_t left;

    while ((left = pace_left(pace)) > 0) {
        int n = poll(&reader, 1, (int)left);

        if (n > 0)
            return false;
        if (n < 0 && errno != EINTR)
            pace_wait(pace);
    }
    return true;
}

/* The next reading. Somebody who holds the store for long: the interval becomes a longer one. */
static int next_reading(const struct cmd_context *ctx, struct reading *ret_reading, bool *ret_any,
                        struct err *e)
{
    int r = reading_take(ctx->state, ctx->bpffs, 0, ret_reading, e);

    *ret_any = r == 0;
    return r < 0 && e->code == EXIT_BUSY ? 0 : r;
}

static void take_turn(const struct out *out, const struct reading *before,
                      const struct reading *now, int64_t ms)
{
    struct interval interval = {
        .counts = tally_grown(&before->counts, &now->counts),
        .mode = view_mode(&now->view).mode,
        .time = now->time,
        .ms = ms,
    };

    tally_make(&before->sources, &now->sources, &interval.tally);
    say(out, &interval);
}

/* Once: nothing will be said for as long as that is so. */
static void note_unseen(const struct cmd_context *ctx, const struct view *view)
{
    if (!sync_has_live_link(&view->ifaces))
        out_note(&ctx->out,
                 "the gate is on no interface, so there is nothing to see yet: smtpgate %s\n",
                 view_any_wanted(view) ? "sync" : "attach IFACE");
}

static int say_all(const struct cmd_context *ctx, int64_t every_s, struct err *e)
{
    _cleanup_reading_ struct reading before = {0};
    int r = reading_take(ctx->state, ctx->bpffs, 0, &before, e);
    struct pace pace;
    int64_t ms = 0;

    pace_begin(&pace, every_s * 1000);
    if (r == 0)
        note_unseen(ctx, &before.view);
    view_close(&before.view);
    while (r == 0 && wait_turn(&pace)) {
        _cleanup_reading_ struct reading now = {0};
        bool any;

        r = next_reading(ctx, &now, &any, e);
        ms += pace_turn(&pace);
        if (r < 0 || !any)
            continue;
        take_turn(&ctx->out, &before, &now, ms);
        if (out_flush() < 0)
            return 0; /* main says so */
        ms = 0;
        reading_free(&before);
        view_close(&now.view);
        before = now;
        now = (struct reading){0};
    }
    return r;
}

/* Ends when nobody reads any more, or with an error. */
int cmd_watch(const struct cmd_context *ctx, struct err *e)
{
    int64_t every_s;
    int r = parse_every(ctx, &every_s, e);

    if (r < 0)
        return r;
    if (!ctx->out.json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        r = cmd_watch_live(ctx, every_s, e);
        if (r != -ENOTTY)
            return r;
    }
    /* A reader that has gone is no error, also where whoever started this ignores the signal. */
    signal(SIGPIPE, SIG_DFL);
    return say_all(ctx, every_s, e);
}
