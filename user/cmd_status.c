/* SPDX-License-Identifier: GPL-2.0-only */
/* status, stats: state, health and counters. Reads only. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "lock.h"
#include "sync.h"

/* A change under way looks like one that was killed; it gets this long to end. */
#define CHANGE_WAIT_MS 2000

static const char *const verdict_names[SG_VERDICT_COUNT] = {
    [SG_VERDICT_PASS] = "pass",
    [SG_VERDICT_DROP] = "drop",
    [SG_VERDICT_WOULD_DROP] = "would_drop",
};

static const struct {
    const char *name, *text;
    enum { CLASS_PASS, CLASS_JUDGE, CLASS_UNCLEAR } class;
} reasons[SG_REASON_COUNT] = {
#define X(reason, kind, words) {#reason, words, CLASS_##kind},
    SG_REASONS(X)
#undef X
};

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static struct sg_cell sum_cell(const struct sg_counters *counters, unsigned int reason,
                               unsigned int verdict)
{
    struct sg_cell sum = {0};
    unsigned int family;

    for (family = 0; family < SG_FAMILY_COUNT; family++) {
        sum.packets += counters->reason[reason][verdict][family].packets;
        sum.bytes += counters->reason[reason][verdict][family].bytes;
    }
    return sum;
}

static uint64_t sum_verdict(const struct sg_counters *counters, unsigned int verdict)
{
    uint64_t sum = 0;
    unsigned int reason;

    for (reason = 0; reason < SG_REASON_SLOTS; reason++)
        sum += sum_cell(counters, reason, verdict).packets;
    return sum;
}

/* ---- what both read ---- */

struct view {
    struct store *store;
    struct gate *gate;
    struct store_settings settings;
    struct store_counts counts;
    struct sync_check check;
    struct sync_ifaces ifaces;
    struct sg_counters total; /* over all interfaces that ever were attached */
    bool stored;              /* there is a store */
    int64_t now;              /* Unix seconds, by the clock that ends are kept by */
    uint64_t ended;           /* entries whose end has come by then */
};

static void view_close(struct view *view)
{
    sync_ifaces_free(&view->ifaces);
    gate_close(TAKE_PTR(view->gate));
    store_close(TAKE_PTR(view->store));
}

#define _cleanup_view_ __attribute__((cleanup(view_close)))

static void add_total(struct sg_counters *sum, const struct sg_counters *more)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    size_t i;

    for (i = 0; i < sizeof(*sum) / sizeof(*to); i++)
        to[i] += from[i];
}

static int read_total(struct view *view, struct err *e)
{
    struct sg_counters one;
    size_t i;
    int r;

    memset(&view->total, 0, sizeof(view->total));
    for (i = 0; i < view->ifaces.count; i++) {
        r = gate_read_counters(view->gate, view->ifaces.items[i].row.id, &one, e);
        if (r < 0)
            return r;
        add_total(&view->total, &one);
    }
    return 0;
}

static int view_read(struct view *view, const struct cmd_context *ctx, struct err *e)
{
    int r;

    r = store_open(ctx->state, STORE_READ, &view->store, e);
    view->stored = r != -ENOENT;
    if (r == -ENOENT) /* said in the text, beside the rest */
        r = store_open(ctx->state, STORE_DRY, &view->store, e);
    if (r == 0)
        r = store_read_settings(view->store, &view->settings, e);
    if (r == 0)
        r = store_read_counts(view->store, &view->counts, e);
    if (r == 0)
        r = gate_open(ctx->bpffs, false, &view->gate, e);
    if (r < 0)
        return r;
    view->now = gate_now(view->gate, view->settings.clock);
    r = store_count_ended(view->store, view->now, &view->ended, e);
    if (r == 0)
        r = sync_compare(view->store, view->gate, &view->settings, &view->check, e);
    if (r == 0)
        r = sync_read_ifaces(view->store, view->gate, &view->ifaces, e);
    if (r == 0)
        r = read_total(view, e);
    return r;
}

static bool any_wanted(const struct view *view)
{
    size_t i;

    for (i = 0; i < view->ifaces.count; i++)
        if (view->ifaces.items[i].row.wanted)
            return true;
    return false;
}

/* Nothing attached and nothing in the kernel is in step too: there is nothing to differ. */
static bool in_sync(const struct view *view)
{
    if (!gate_is_present(view->gate) && !any_wanted(view))
        return true;
    return sync_is_equal(&view->check);
}

static bool all_good(const struct view *view)
{
    size_t i;

    for (i = 0; i < view->ifaces.count; i++)
        if (view->ifaces.items[i].row.wanted && !sync_iface_is_good(&view->ifaces.items[i]))
            return false;
    return any_wanted(view) && in_sync(view);
}

/* Reads again, once, after a change under way has ended. */
static int view_open(struct view *view, const struct cmd_context *ctx, struct err *e)
{
    int r = view_read(view, ctx, e);

    if (r < 0 || in_sync(view))
        return r;
    lock_wait(ctx->state, CHANGE_WAIT_MS);
    view_close(view);
    return view_read(view, ctx, e);
}

/* ---- status ---- */

static const char *mode_words(enum sg_mode mode, const struct view *view)
{
    const struct store_counts *counts = &view->counts;

    switch (mode) {
    case SG_MODE_OFF:
        if (counts->accounts)
            return "only accounts have lists, and the others may come from anywhere";
        return "the list is empty: every source is let in";
    case SG_MODE_OBSERVE:
        return "unlisted sources are counted, nothing is dropped";
    case SG_MODE_PAUSED:
        return "everything passes";
    case SG_MODE_ENFORCE:
    default:
        return counts->entries && view->ended == counts->entries
                   ? "all entries have ended, so every source is dropped"
                   : "unlisted sources are dropped";
    }
}

/* What is in force: the kernel's word if there is a gate, whatever the store says. */
static struct mode_plan mode_in_force(const struct view *view)
{
    if (view->check.present)
        return gate_mode(view->gate);
    return mode_at(view->settings.on, &view->settings.plan, view->now);
}

static const char *step_words(const struct view *view, char *buf, size_t size)
{
    const struct sync_check *check = &view->check;

    if (in_sync(view))
        snprintf(buf, size,
                 !check->present  ? "not in the kernel, nothing is attached"
                 : check->counted ? "in step with the kernel"
                                  : "in step with the kernel (revision compared)");
    else if (!view->stored)
        snprintf(buf, size, "OUT OF STEP: the store is missing");
    else if (!check->present)
        snprintf(buf, size, "OUT OF STEP: not in the kernel");
    else if (!check->same_store)
        snprintf(buf, size, "OUT OF STEP: the kernel's gate was made from another store");
    else if (!check->clock)
        snprintf(buf, size, "OUT OF STEP: the clock was set forward, and ends are by the old one");
    else if (check->differing && !check->missing && !check->surplus)
        snprintf(buf, size, "OUT OF STEP: in the kernel %llu end at another time",
                 (unsigned long long)check->differing);
    else if (check->missing || check->surplus)
        snprintf(buf, size, "OUT OF STEP: the kernel lacks %llu and has %llu too many",
                 (unsigned long long)check->missing, (unsigned long long)check->surplus);
    else
        snprintf(buf, size, "OUT OF STEP: %s",
                 check->applied ? "the kernel's settings were changed by somebody else"
                                : "a change was interrupted");
    return buf;
}

static const char *xdp_mode_name(const struct gate_link *link)
{
    return link->xdp == GATE_XDP_NATIVE    ? "native"
           : link->xdp == GATE_XDP_GENERIC ? "generic"
                                           : "none";
}

static const char *iface_words(const struct sync_iface *iface, char *buf, size_t size)
{
    const struct gate_link *link = &iface->link;
    bool renamed = strcmp(link->name, iface->row.name) != 0;
    char was[CMD_NAME_MAX];

    if (iface->open_here && link->state == GATE_LINK_ELSEWHERE)
        snprintf(buf, size,
                 "NOT ATTACHED: the gated device was moved to another network namespace"
                 " and a new one has its name");
    else if (link->state == GATE_LINK_ELSEWHERE)
        snprintf(buf, size, "attached; the device is in another network namespace now");
    else if (link->state == GATE_LINK_DEAD)
        snprintf(buf, size, "NOT ATTACHED: %s",
                 iface->open_here ? "the device was deleted and made anew, or the link cut by force"
                                  : "the device was deleted");
    else if (link->state == GATE_LINK_ABSENT)
        snprintf(buf, size, "NOT ATTACHED%s", iface->open_here ? "" : ": no such interface");
    else if (!link->in_force)
        snprintf(buf, size, "attached, %s mode, but NOT TO THIS LIST", xdp_mode_name(link));
    else if (!link->current)
        snprintf(buf, size, "attached, %s mode, but what it counts goes elsewhere",
                 xdp_mode_name(link));
    else
        snprintf(buf, size, "attached, %s mode%s%s%s", xdp_mode_name(link), renamed ? " (was " : "",
                 renamed ? text_escape(iface->row.name, was, sizeof(was)) : "", renamed ? ")" : "");
    return buf;
}

static const char *iface_label(const struct sync_iface *iface, char buf[CMD_NAME_MAX])
{
    return text_escape(iface->link.state == GATE_LINK_HERE ? iface->link.name : iface->row.name,
                       buf, CMD_NAME_MAX);
}

/* Not where all that is wrong is a device that is not there. */
static bool sync_would_mend(const struct view *view)
{
    size_t i;

    for (i = 0; i < view->ifaces.count; i++) {
        const struct sync_iface *iface = &view->ifaces.items[i];

        if (iface->row.wanted && !sync_iface_is_good(iface) &&
            (iface->open_here || iface->link.state == GATE_LINK_HERE ||
             iface->link.state == GATE_LINK_ELSEWHERE))
            return true;
    }
    return !in_sync(view);
}

/* " (2 of them for 1 account; others: nowhere)", or nothing where no account has a list. */
static const char *accounts_words(const struct view *view, char *buf, size_t size)
{
    const struct store_counts *counts = &view->counts;
    const char *others = counts->host_entries                            ? ""
                         : view->settings.others == STORE_OTHERS_NOWHERE ? "; others: nowhere"
                                                                         : "; others: anywhere";

    buf[0] = '\0';
    if (counts->accounts)
        snprintf(buf, size, " (%llu for %llu %s%s)",
                 (unsigned long long)(counts->entries - counts->host_entries),
                 (unsigned long long)counts->accounts,
                 counts->accounts == 1 ? "account" : "accounts", others);
    return buf;
}

/* ", 2 ended (smtpgate list --expired)", or nothing. */
static const char *ended_words(const struct view *view, char *buf, size_t size)
{
    buf[0] = '\0';
    if (view->ended)
        snprintf(buf, size, ", %llu ended (smtpgate list --expired)",
                 (unsigned long long)view->ended);
    return buf;
}

/* What comes then: "; until 2026-12-01 18:00 (in 2 min), then observe" and how to prevent it. */
static const char *plan_words(const struct view *view, const struct mode_plan *plan, char *buf,
                              size_t size)
{
    char time[OUT_TIME_MAX], left[32];

    buf[0] = '\0';
    if (!plan->until)
        return buf;
    out_local_time(plan->until, time);
    cmd_time_left(plan->until - view->now, left);
    snprintf(buf, size, "; until %s (%s), then %s%s", time, left, cmd_mode_name(plan->then),
             plan->mode == SG_MODE_ENFORCE ? " (to stay: smtpgate confirm)" : "");
    return buf;
}

/* The clock was set back, or is dead since the boot: ends are kept all the same. */
static void say_clock(const struct out *out, const struct view *view)
{
    char text[OUT_TIME_MAX];

    if (view->now - time(NULL) > CMD_CLOCK_AHEAD_S)
        out_text(
            out,
            "clock    the gate goes by %s, which this host's clock has not reached yet; if that"
            " clock is right: smtpgate sync -y\n",
            out_local_time(view->now, text));
}

/*
 * While the kernel half is off, what is set for when it is not; and where only accounts have lists,
 * what the relay's half does with them now.
 */
static void say_set_mode(const struct out *out, const struct view *view)
{
    struct mode_plan plan = mode_at(true, &view->settings.plan, view->now);
    const char *name = cmd_mode_name(plan.mode);
    char later[192];

    if (view->settings.on || (plan.mode == SG_MODE_ENFORCE && !plan.until))
        return;
    plan_words(view, &plan, later, sizeof(later));
    if (view->counts.accounts)
        out_text(out, "accounts %s: their lists are %s%s\n", name,
                 mode_drops(plan.mode) ? "enforced" : "not enforced, all may send from anywhere",
                 later);
    else
        out_text(out, "then     %s: from the first entry on%s\n", name, later);
}

static void status_text(const struct cmd_context *ctx, const struct view *view)
{
    const struct out *out = &ctx->out;
    char ports[CMD_PORTS_MAX], words[160], label[CMD_NAME_MAX], accounts[96], later[192];
    char ended[64];
    struct mode_plan plan = mode_in_force(view);
    unsigned long long entries = view->counts.entries, prefixes = view->counts.prefixes, would;
    size_t i;

    out_text(out, "mode     %s: %s%s\n", cmd_mode_name(plan.mode),
             plan.mode == SG_MODE_ENFORCE && !sync_has_live_link(&view->ifaces)
                 ? "but attached nowhere, so nothing is dropped"
                 : mode_words(plan.mode, view),
             plan_words(view, &plan, later, sizeof(later)));
    say_set_mode(out, view);
    out_text(out, "list     %llu %s%s%s, %llu %s; %s\n", entries,
             entries == 1 ? "entry" : "entries", accounts_words(view, accounts, sizeof(accounts)),
             ended_words(view, ended, sizeof(ended)), prefixes,
             prefixes == 1 ? "prefix" : "prefixes", step_words(view, words, sizeof(words)));
    say_clock(out, view);
    out_text(out, "ports    %s\n", cmd_ports(&view->settings, ports));
    if (!any_wanted(view))
        out_text(out, "iface    none: nothing is guarded (smtpgate attach IFACE)\n");
    for (i = 0; i < view->ifaces.count; i++)
        if (view->ifaces.items[i].row.wanted)
            out_text(out, "iface    %s: %s\n", iface_label(&view->ifaces.items[i], label),
                     iface_words(&view->ifaces.items[i], words, sizeof(words)));
    would = sum_verdict(&view->total, SG_VERDICT_WOULD_DROP);
    if (would)
        snprintf(words, sizeof(words), " (%llu would have been dropped)", would);
    out_text(out, "packets  %llu passed%s, %llu dropped\n",
             (unsigned long long)(sum_verdict(&view->total, SG_VERDICT_PASS) + would),
             would ? words : "", (unsigned long long)sum_verdict(&view->total, SG_VERDICT_DROP));
    if (!view->stored && view->check.present)
        out_text(out,
                 "         to mend it: put back a copy of %s/smtpgate.db from a backup, then:"
                 " smtpgate sync\n",
                 ctx->state);
    else if (sync_would_mend(view))
        out_text(out, "         to mend it: smtpgate sync\n");
}

static json_t *ports_json(const struct store_settings *settings)
{
    json_t *ports = json_array();
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded)
            json_array_append_new(ports, json_integer(settings->ports[i].port));
    return ports;
}

static json_t *ifaces_json(const struct view *view)
{
    json_t *all = json_array();
    char words[160], label[CMD_NAME_MAX];
    size_t i;

    for (i = 0; i < view->ifaces.count; i++) {
        const struct sync_iface *iface = &view->ifaces.items[i];
        bool attached = !iface->open_here && (iface->link.state == GATE_LINK_HERE ||
                                              iface->link.state == GATE_LINK_ELSEWHERE);

        if (!iface->row.wanted)
            continue;
        json_array_append_new(
            all, json_pack(
                     "{s:s, s:b, s:s, s:b, s:s}", "name", iface_label(iface, label), "attached",
                     attached, "xdp_mode", attached ? xdp_mode_name(&iface->link) : "none", "good",
                     sync_iface_is_good(iface), "state", iface_words(iface, words, sizeof(words))));
    }
    return all;
}

static void status_json(const struct cmd_context *ctx, const struct view *view)
{
    struct mode_plan plan = mode_in_force(view);
    char words[160];

    out_json(
        &ctx->out,
        json_pack("{s:s, s:o, s:o, s:b, s:b, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o,"
                  " s:{s:o, s:o, s:o}}",
                  "mode", cmd_mode_name(plan.mode), "mode_until", out_json_time(plan.until),
                  "mode_then", plan.until ? json_string(cmd_mode_name(plan.then)) : json_null(),
                  "healthy", all_good(view), "in_sync", in_sync(view), "step",
                  step_words(view, words, sizeof(words)), "entries", number(view->counts.entries),
                  "temporary", number(view->counts.temporary), "expired", number(view->ended),
                  "prefixes", number(view->counts.prefixes), "host_entries",
                  number(view->counts.host_entries), "accounts", number(view->counts.accounts),
                  "others", view->settings.others == STORE_OTHERS_NOWHERE ? "nowhere" : "anywhere",
                  "ports", ports_json(&view->settings), "interfaces", ifaces_json(view), "counters",
                  "passed", number(sum_verdict(&view->total, SG_VERDICT_PASS)), "dropped",
                  number(sum_verdict(&view->total, SG_VERDICT_DROP)), "would_drop",
                  number(sum_verdict(&view->total, SG_VERDICT_WOULD_DROP))));
}

int cmd_status(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_view_ struct view view = {0};
    int r = view_open(&view, ctx, e);

    if (r < 0)
        return r;
    if (!ctx->out.quiet || !ctx->options[OPT_CHECK])
        status_text(ctx, &view);
    status_json(ctx, &view);
    return ctx->options[OPT_CHECK] && !all_good(&view) ? EXIT_NO : 0;
}

/* ---- stats ---- */

/* Cells that can be other than zero. */
static bool can_happen(unsigned int reason, unsigned int verdict)
{
    if (verdict == SG_VERDICT_PASS)
        return true;
    return reasons[reason].class != CLASS_PASS && reason != SG_REASON_listed;
}

static json_t *reasons_json(const struct sg_counters *counters)
{
    json_t *rows = json_array();
    unsigned int reason, verdict;

    for (reason = 0; reason < SG_REASON_COUNT; reason++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            struct sg_cell cell = sum_cell(counters, reason, verdict);

            if (can_happen(reason, verdict) || cell.packets)
                json_array_append_new(
                    rows, json_pack("{s:s, s:s, s:o, s:o}", "reason", reasons[reason].name,
                                    "verdict", verdict_names[verdict], "packets",
                                    number(cell.packets), "bytes", number(cell.bytes)));
        }
    return rows;
}

static struct sg_port_cell sum_port(const struct sg_counters *counters, unsigned int slot,
                                    unsigned int verdict)
{
    struct sg_port_cell sum = {0};
    unsigned int family;

    for (family = 0; family < SG_FAMILY_COUNT; family++) {
        const struct sg_port_cell *cell = &counters->port[slot][verdict][family];

        sum.packets += cell->packets;
        sum.bytes += cell->bytes;
        sum.attempts += cell->attempts;
    }
    return sum;
}

static json_t *port_rows_json(const struct view *view)
{
    json_t *rows = json_array();
    unsigned int i, verdict;

    for (i = 0; i < view->settings.n_ports; i++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            const struct store_port *port = &view->settings.ports[i];
            struct sg_port_cell cell = sum_port(&view->total, port->slot, verdict);

            json_array_append_new(
                rows, json_pack("{s:i, s:s, s:o, s:o, s:o}", "port", (int)port->port, "verdict",
                                verdict_names[verdict], "packets", number(cell.packets), "bytes",
                                number(cell.bytes), "attempts", number(cell.attempts)));
        }
    return rows;
}

static void stats_text(const struct cmd_context *ctx, const struct view *view)
{
    const struct out *out = &ctx->out;
    uint64_t seen = 0;
    unsigned int i, verdict;

    out_text(out, "%-15s %-10s %12s %14s\n", "REASON", "VERDICT", "PACKETS", "BYTES");
    for (i = 0; i < SG_REASON_COUNT; i++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            struct sg_cell cell = sum_cell(&view->total, i, verdict);

            seen += cell.packets;
            if (cell.packets)
                out_text(out, "%-15s %-10s %12llu %14llu  %s\n", reasons[i].name,
                         verdict_names[verdict], (unsigned long long)cell.packets,
                         (unsigned long long)cell.bytes, reasons[i].text);
        }
    out_text(out, "%-15s %-10s %12llu\n\n%-15s %-10s %12s %14s\n", "seen", "",
             (unsigned long long)seen, "PORT", "VERDICT", "PACKETS", "CONNECTIONS");
    for (i = 0; i < view->settings.n_ports; i++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            const struct store_port *port = &view->settings.ports[i];
            struct sg_port_cell cell = sum_port(&view->total, port->slot, verdict);

            if (cell.packets || (port->guarded && verdict != SG_VERDICT_WOULD_DROP))
                out_text(out, "%-15u %-10s %12llu %14llu\n", port->port, verdict_names[verdict],
                         (unsigned long long)cell.packets, (unsigned long long)cell.attempts);
        }
}

static int iface_stats_json(const struct view *view, json_t *all, struct err *e)
{
    char label[CMD_NAME_MAX];
    struct sg_counters one;
    size_t i;

    for (i = 0; i < view->ifaces.count; i++) {
        const struct sync_iface *iface = &view->ifaces.items[i];
        int r = gate_read_counters(view->gate, iface->row.id, &one, e);

        if (r < 0)
            return r;
        json_array_append_new(all, json_pack("{s:s, s:o}", "name", iface_label(iface, label),
                                             "reasons", reasons_json(&one)));
    }
    return 0;
}

int cmd_stats(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_view_ struct view view = {0};
    json_t *ifaces;
    int r = view_open(&view, ctx, e);

    if (r < 0)
        return r;
    /* The interfaces' numbers went with the store: zeros would be a wrong answer. */
    if (!view.stored && gate_is_claimed(view.gate))
        return change_fail_no_store(ctx->state, e);
    ifaces = json_array();
    r = iface_stats_json(&view, ifaces, e);
    if (r < 0) {
        json_decref(ifaces);
        return r;
    }
    stats_text(ctx, &view);
    out_json(&ctx->out, json_pack("{s:o, s:o, s:o}", "reasons", reasons_json(&view.total), "ports",
                                  port_rows_json(&view), "interfaces", ifaces));
    return 0;
}
