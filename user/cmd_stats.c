/* SPDX-License-Identifier: GPL-2.0-only */
/* stats: the counters, once or every second. Reads only. */
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "counters.h"
#include "pace.h"
#include "view.h"

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* ---- as JSON ---- */

static json_t *cell_json(const struct sg_cell *cell)
{
    return json_pack("{s:o, s:o}", "packets", number(cell->packets), "bytes", number(cell->bytes));
}

/* Those that there were packets of. */
static json_t *reason_families_json(const struct sg_cell cells[SG_FAMILY_COUNT])
{
    json_t *families = json_object();
    unsigned int family;

    for (family = 0; family < SG_FAMILY_COUNT; family++)
        if (cells[family].packets)
            json_object_set_new(families, counters_family_name(family), cell_json(&cells[family]));
    return families;
}

static json_t *reasons_json(const struct sg_counters *counters)
{
    json_t *rows = json_array();
    unsigned int reason, verdict;

    for (reason = 0; reason < SG_REASON_COUNT; reason++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            struct sg_cell sum = counters_sum_reason(counters, reason, verdict);

            if (counters_can_happen(reason, verdict) || sum.packets)
                json_array_append_new(
                    rows,
                    json_pack("{s:s, s:s, s:o, s:o, s:o}", "reason", counters_reason_name(reason),
                              "verdict", counters_verdict_name(verdict), "packets",
                              number(sum.packets), "bytes", number(sum.bytes), "families",
                              reason_families_json(counters->reason[reason][verdict])));
        }
    return rows;
}

static json_t *port_families_json(const struct sg_port_cell cells[SG_FAMILY_COUNT])
{
    json_t *families = json_object();
    unsigned int family;

    for (family = 0; family < SG_FAMILY_COUNT; family++)
        if (cells[family].packets)
            json_object_set_new(
                families, counters_family_name(family),
                json_pack("{s:o, s:o, s:o}", "packets", number(cells[family].packets), "bytes",
                          number(cells[family].bytes), "attempts", number(cells[family].attempts)));
    return families;
}

static json_t *ports_json(const struct view *view, const struct sg_counters *counters)
{
    json_t *rows = json_array();
    unsigned int i, verdict;

    for (i = 0; i < view->settings.n_ports; i++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            const struct store_port *port = &view->settings.ports[i];
            struct sg_port_cell sum = counters_sum_port(counters, port->slot, verdict);

            json_array_append_new(
                rows,
                json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "port", (int)port->port, "verdict",
                          counters_verdict_name(verdict), "packets", number(sum.packets), "bytes",
                          number(sum.bytes), "attempts", number(sum.attempts), "families",
                          port_families_json(counters->port[port->slot][verdict])));
        }
    return rows;
}

static json_t *ifaces_json(const struct view *view)
{
    json_t *all = json_array();
    char label[CMD_NAME_MAX];
    size_t i;

    for (i = 0; i < view->ifaces.count; i++)
        json_array_append_new(all, json_pack("{s:s, s:o, s:o}", "name",
                                             cmd_iface_label(&view->ifaces.items[i], label),
                                             "reasons", reasons_json(&view->counters[i]), "ports",
                                             ports_json(view, &view->counters[i])));
    return all;
}

static json_t *stats_json(const struct view *view)
{
    return json_pack("{s:o, s:o, s:o}", "reasons", reasons_json(&view->total), "ports",
                     ports_json(view, &view->total), "interfaces", ifaces_json(view));
}

/* ---- as text ---- */

static void reasons_text(const struct out *out, const struct view *view)
{
    uint64_t seen = 0;
    unsigned int i, verdict;

    out_text(out, "%-15s %-10s %12s %14s\n", "REASON", "VERDICT", "PACKETS", "BYTES");
    for (i = 0; i < SG_REASON_COUNT; i++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            struct sg_cell sum = counters_sum_reason(&view->total, i, verdict);

            seen += sum.packets;
            if (sum.packets)
                out_text(out, "%-15s %-10s %12llu %14llu  %s\n", counters_reason_name(i),
                         counters_verdict_name(verdict), (unsigned long long)sum.packets,
                         (unsigned long long)sum.bytes, counters_reason_text(i));
        }
    out_text(out, "%-15s %-10s %12llu\n", "seen", "", (unsigned long long)seen);
}

static void ports_text(const struct out *out, const struct view *view)
{
    unsigned int i, verdict;

    out_text(out, "%-15s %-10s %12s %14s\n", "PORT", "VERDICT", "PACKETS", "CONNECTIONS");
    for (i = 0; i < view->settings.n_ports; i++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            const struct store_port *port = &view->settings.ports[i];
            struct sg_port_cell sum = counters_sum_port(&view->total, port->slot, verdict);

            if (sum.packets || (port->guarded && verdict != SG_VERDICT_WOULD_DROP))
                out_text(out, "%-15u %-10s %12llu %14llu\n", port->port,
                         counters_verdict_name(verdict), (unsigned long long)sum.packets,
                         (unsigned long long)sum.attempts);
        }
}

/* Where there is more than one, which of them it was. */
static void ifaces_text(const struct out *out, const struct view *view)
{
    char label[CMD_NAME_MAX];
    unsigned int verdict;
    size_t i;

    if (view->ifaces.count < 2)
        return;
    out_text(out, "\n%-15s %-10s %12s %14s\n", "INTERFACE", "VERDICT", "PACKETS", "BYTES");
    for (i = 0; i < view->ifaces.count; i++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            struct sg_cell sum = counters_sum_verdict(&view->counters[i], verdict);

            if (sum.packets || verdict != SG_VERDICT_WOULD_DROP)
                out_text(out, "%-15s %-10s %12llu %14llu\n",
                         cmd_iface_label(&view->ifaces.items[i], label),
                         counters_verdict_name(verdict), (unsigned long long)sum.packets,
                         (unsigned long long)sum.bytes);
        }
}

static void stats_text(const struct out *out, const struct view *view)
{
    reasons_text(out, view);
    out_text(out, "\n");
    ports_text(out, view);
    ifaces_text(out, view);
}

/* ---- every second ---- */

/* In a second; counters that went back (the gate was made anew) have no rate. */
static double rate(uint64_t before, uint64_t after, int64_t ms)
{
    return after < before ? 0 : (double)(after - before) * 1000 / (double)ms;
}

static json_t *rates_json(const struct view_sums *before, const struct view_sums *after, int64_t ms)
{
    json_t *rows = json_array();
    unsigned int i;

    for (i = 0; i < SG_VERDICT_COUNT; i++)
        json_array_append_new(
            rows, json_pack("{s:s, s:f, s:f, s:f}", "verdict", counters_verdict_name(i), "packets",
                            rate(before->packets[i], after->packets[i], ms), "bytes",
                            rate(before->bytes[i], after->bytes[i], ms), "attempts",
                            rate(before->attempts[i], after->attempts[i], ms)));
    return rows;
}

#define HEAD_EVERY 20

static void rates_text(const struct out *out, const struct view_sums *before,
                       const struct view_sums *after, int64_t ms, uint64_t turn)
{
    time_t now = time(NULL);
    char clock[16] = "";
    struct tm tm;

    if (localtime_r(&now, &tm))
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    if (turn % HEAD_EVERY == 0)
        out_text(out, "%-8s %12s %12s %14s %14s %14s\n", "TIME", "PASSED/s", "DROPPED/s",
                 "WOULD DROP/s", "LET IN/s", "KEPT OUT/s");
    out_text(
        out, "%-8s %12.0f %12.0f %14.0f %14.0f %14.0f\n", clock,
        rate(before->packets[SG_VERDICT_PASS], after->packets[SG_VERDICT_PASS], ms),
        rate(before->packets[SG_VERDICT_DROP], after->packets[SG_VERDICT_DROP], ms),
        rate(before->packets[SG_VERDICT_WOULD_DROP], after->packets[SG_VERDICT_WOULD_DROP], ms),
        rate(before->attempts[SG_VERDICT_PASS], after->attempts[SG_VERDICT_PASS], ms),
        rate(before->attempts[SG_VERDICT_DROP], after->attempts[SG_VERDICT_DROP], ms));
}

static int read_view(const struct cmd_context *ctx, struct view *ret_view, struct err *e)
{
    _cleanup_view_ struct view view = {0};
    int r = view_open(ctx->state, ctx->bpffs, 0, &view, e);

    if (r < 0)
        return r;
    /* The interfaces' numbers went with the store: zeros would be a wrong answer. */
    if (!view.stored && gate_is_claimed(view.gate))
        return change_fail_no_store(ctx->state, e);
    *ret_view = view;
    view = (struct view){0};
    return 0;
}

/* Ends when nobody reads any more, or with an error. */
static int watch(const struct cmd_context *ctx, struct view_sums before, struct err *e)
{
    struct pace pace;
    uint64_t turn;

    pace_begin(&pace, 1000);
    for (turn = 0;; turn++) {
        _cleanup_view_ struct view view = {0};
        struct view_sums after;
        json_t *object;
        int64_t ms;
        int r;

        pace_wait(&pace);
        r = read_view(ctx, &view, e);
        if (r < 0)
            return r;
        ms = pace_turn(&pace);
        after = view_sum_up(&view);
        object = ctx->out.json ? stats_json(&view) : NULL;
        if (object) {
            json_object_set_new(object, "time", out_json_time(time(NULL)));
            json_object_set_new(object, "seconds", json_real((double)ms / 1000));
            json_object_set_new(object, "rates", rates_json(&before, &after, ms));
        }
        rates_text(&ctx->out, &before, &after, ms, turn);
        out_json(&ctx->out, object);
        if (out_flush() < 0)
            return 0; /* main says so */
        before = after;
    }
}

int cmd_stats(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_view_ struct view view = {0};
    int r = read_view(ctx, &view, e);

    if (r < 0)
        return r;
    if (ctx->options[OPT_WATCH]) {
        struct view_sums sums = view_sum_up(&view);

        view_close(&view);
        return watch(ctx, sums, e);
    }
    stats_text(&ctx->out, &view);
    out_json(&ctx->out, stats_json(&view));
    return 0;
}
