/* SPDX-License-Identifier: GPL-2.0-only */
/* blocked: who was dropped, as the kernel wrote it down (bpf/sources.h). Reads only. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "counters.h"
#include "seen.h"
#include "when.h"

#define TOP_DEFAULT 20

struct wish {
    int64_t since; /* Unix seconds; 0: ever */
    size_t top;    /* 0: all */
};

static int parse_top(const struct cmd_context *ctx, size_t *ret_top, struct err *e)
{
    const char *text = ctx->options[OPT_TOP];
    char shown[64];
    unsigned long top;

    if (!text) {
        *ret_top = ctx->out.json ? 0 : TOP_DEFAULT;
        return 0;
    }
    top = strlen(text) <= 6 && strspn(text, "0123456789") == strlen(text) ? strtoul(text, NULL, 10)
                                                                          : 0;
    if (top) {
        *ret_top = top;
        return 0;
    }
    err_set(e, 0, EXIT_USAGE, "--top wants a number from 1 to 999999, not \"%s\"",
            text_escape(text, shown, sizeof(shown)));
    err_hint(e, "smtpgate blocked --top 100");
    return -EINVAL;
}

/* How long ago, or when. */
static int parse_since(const struct cmd_context *ctx, int64_t now, int64_t *ret_since,
                       struct err *e)
{
    const char *text = ctx->options[OPT_SINCE];
    int64_t seconds, since = 0;
    int r = 0;

    if (text && when_parse_duration(text, &seconds, NULL) == 0)
        since = now - seconds;
    else if (text)
        r = when_parse_time(text, &since, e);
    if (r < 0)
        err_hint(e, "--since 15m, --since 2d, or --since '2026-12-01 18:00'");
    if (r == 0)
        *ret_since = since;
    return r;
}

static int read_now(struct store *store, struct gate *gate, int64_t *ret_now, struct err *e)
{
    struct store_rules rules = {0};
    int r = store_read_rules(store, &rules, e);

    if (r == 0)
        *ret_now = gate_now(gate, rules.clock);
    return r;
}

/* Of the column of addresses: IPv6 ones may be long. */
static int address_width(const struct seen *seen)
{
    char address[ADDR_TEXT_MAX];
    size_t i, len, width = sizeof("255.255.255.255") - 1;

    for (i = 0; i < seen->count; i++) {
        len = strlen(addr_print(&seen->items[i].source.addr, address));
        width = len > width ? len : width;
    }
    return (int)width;
}

static void say_row(const struct out *out, const struct seen_source *row, int width)
{
    const struct gate_source *source = &row->source;
    char address[ADDR_TEXT_MAX], port[8] = "-", first[OUT_TIME_MAX], last[OUT_TIME_MAX];
    char note[48] = "";

    if (row->let_in)
        snprintf(note, sizeof(note), ", let in now");
    else if (row->ended_entry)
        snprintf(note, sizeof(note), ", entry #%lld has ended", (long long)row->ended_entry);
    if (source->port)
        snprintf(port, sizeof(port), "%u", source->port);
    out_text(out, "%-*s %5s %10llu %10llu  %-16s %-16s %s%s\n", width,
             addr_print(&source->addr, address), port, (unsigned long long)source->packets,
             (unsigned long long)source->attempts,
             out_local_time((int64_t)source->first_seen, first),
             out_local_time((int64_t)source->last_seen, last),
             counters_verdict_name(source->verdict), note);
}

/* From a source that was blocked to an entry. */
static void say_hint(const struct out *out, const struct seen *seen)
{
    const struct seen_source *row;
    char address[ADDR_TEXT_MAX];
    size_t i;

    for (i = 0; i < seen->count && seen->items[i].let_in; i++)
        ;
    if (i == seen->count)
        return;
    row = &seen->items[i];
    if (row->ended_entry)
        out_done(out, "to let it in again: smtpgate edit '#%lld' --for 7d, or --forever\n",
                 (long long)row->ended_entry);
    else
        out_done(out, "to let one in: smtpgate add %s --remark 'who that is'\n",
                 addr_print(&row->source.addr, address));
}

static void say(const struct cmd_context *ctx, const struct gate *gate, const struct seen *seen,
                size_t total)
{
    const struct out *out = &ctx->out;
    int width = address_width(seen);
    size_t i;

    if (seen->count)
        out_text(out, "%-*s %5s %10s %10s  %-16s %-16s %s\n", width, "ADDRESS", "PORT", "PACKETS",
                 "ATTEMPTS", "FIRST SEEN", "LAST SEEN", "VERDICT");
    else if (!gate_is_whole(gate))
        out_text(out, "the gate is not in the kernel: nothing is written down\n");
    else
        out_text(out, "no source was blocked%s%s\n", ctx->options[OPT_SINCE] ? " since " : "",
                 ctx->options[OPT_SINCE] ? ctx->options[OPT_SINCE] : "");
    for (i = 0; i < seen->count; i++)
        say_row(out, &seen->items[i], width);
    if (total > seen->count)
        out_text(out, "and %zu more: smtpgate blocked --top %zu\n", total - seen->count, total);
    if (seen->untracked)
        out_text(out, "%llu packets of others were too many to write down\n",
                 (unsigned long long)seen->untracked);
    say_hint(out, seen);
}

int cmd_blocked(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    _cleanup_seen_ struct seen seen = {0};
    struct wish wish = {0};
    size_t total = 0;
    int64_t now = 0;
    int r = parse_top(ctx, &wish.top, e);

    if (r == 0)
        r = parse_since(ctx, 0, &wish.since, e); /* before anything is opened */
    if (r == 0)
        r = cmd_open_both(ctx, &store, &gate, e);
    if (r == 0)
        r = read_now(store, gate, &now, e);
    if (r == 0)
        r = parse_since(ctx, now, &wish.since, e);
    if (r == 0)
        r = seen_read_blocked(store, gate, now, wish.since, wish.top, &seen, &total, e);
    if (r < 0)
        return r;
    say(ctx, gate, &seen, total);
    out_json(&ctx->out,
             json_pack("{s:o, s:I, s:I}", "sources", seen_json(&seen, seen.count), "total",
                       (json_int_t)total, "untracked", (json_int_t)seen.untracked));
    return 0;
}
