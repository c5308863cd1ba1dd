/* SPDX-License-Identifier: GPL-2.0-only */
/* status: state and health. Reads only. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "counters.h"
#include "view.h"

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

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

static const char *step_words(const struct view *view, char *buf, size_t size)
{
    const struct sync_check *check = &view->check;

    if (view_in_sync(view))
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
        snprintf(buf, size, "attached, %s mode, but NOT TO THIS LIST", gate_xdp_name(link->xdp));
    else if (!link->current)
        snprintf(buf, size, "attached, %s mode, but what it counts goes elsewhere",
                 gate_xdp_name(link->xdp));
    else if (iface->open_here)
        snprintf(buf, size,
                 "attached, %s mode; ANOTHER interface is called %s now, and has no gate",
                 gate_xdp_name(link->xdp), text_escape(iface->row.name, was, sizeof(was)));
    else
        snprintf(buf, size, "attached, %s mode%s%s%s", gate_xdp_name(link->xdp),
                 renamed ? " (was " : "",
                 renamed ? text_escape(iface->row.name, was, sizeof(was)) : "", renamed ? ")" : "");
    return buf;
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
    return !view_in_sync(view);
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
    snprintf(buf, size, "; until %s (%s), then %s%s", time, left, mode_name(plan->then),
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
    const char *name = mode_name(plan.mode);
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

/* "enforce: unlisted sources are dropped", and what follows. */
static const char *mode_line(const struct view *view, char *buf, size_t size)
{
    struct mode_plan plan = view_mode(view);
    char later[192];

    snprintf(buf, size, "%s: %s%s", mode_name(plan.mode),
             plan.mode == SG_MODE_ENFORCE && !sync_has_live_link(&view->ifaces)
                 ? "but attached nowhere, so nothing is dropped"
                 : mode_words(plan.mode, view),
             plan_words(view, &plan, later, sizeof(later)));
    return buf;
}

static void status_text(const struct cmd_context *ctx, const struct view *view)
{
    const struct out *out = &ctx->out;
    char ports[CMD_PORTS_MAX], words[160], label[CMD_NAME_MAX], accounts[96];
    char ended[64], mode[CMD_MODE_LINE_MAX];
    unsigned long long entries = view->counts.entries, prefixes = view->counts.prefixes, would;
    size_t i;

    out_text(out, "mode     %s\n", mode_line(view, mode, sizeof(mode)));
    say_set_mode(out, view);
    out_text(out, "list     %llu %s%s%s, %llu %s; %s\n", entries,
             entries == 1 ? "entry" : "entries", accounts_words(view, accounts, sizeof(accounts)),
             ended_words(view, ended, sizeof(ended)), prefixes,
             prefixes == 1 ? "prefix" : "prefixes", step_words(view, words, sizeof(words)));
    say_clock(out, view);
    out_text(out, "ports    %s\n", cmd_ports(&view->settings, ports));
    if (!view_any_wanted(view))
        out_text(out, "iface    none: nothing is guarded (smtpgate attach IFACE)\n");
    for (i = 0; i < view->ifaces.count; i++)
        if (view->ifaces.items[i].row.wanted)
            out_text(out, "iface    %s: %s\n", cmd_iface_label(&view->ifaces.items[i], label),
                     iface_words(&view->ifaces.items[i], words, sizeof(words)));
    would = counters_sum_verdict(&view->total, SG_VERDICT_WOULD_DROP).packets;
    if (would)
        snprintf(words, sizeof(words), " (%llu would have been dropped)", would);
    out_text(
        out, "packets  %llu passed%s, %llu dropped\n",
        (unsigned long long)(counters_sum_verdict(&view->total, SG_VERDICT_PASS).packets + would),
        would ? words : "",
        (unsigned long long)counters_sum_verdict(&view->total, SG_VERDICT_DROP).packets);
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
        json_array_append_new(all, json_pack("{s:s, s:b, s:s, s:b, s:s}", "name",
                                             cmd_iface_label(iface, label), "attached", attached,
                                             "xdp_mode",
                                             attached ? gate_xdp_name(iface->link.xdp) : "none",
                                             "good", sync_iface_is_good(iface), "state",
                                             iface_words(iface, words, sizeof(words))));
    }
    return all;
}

static void status_json(const struct cmd_context *ctx, const struct view *view)
{
    struct mode_plan plan = view_mode(view);
    char words[160];

    out_json(
        &ctx->out,
        json_pack("{s:s, s:o, s:o, s:b, s:b, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o,"
                  " s:{s:o, s:o, s:o}}",
                  "mode", mode_name(plan.mode), "mode_until", out_json_time(plan.until),
                  "mode_then", plan.until ? json_string(mode_name(plan.then)) : json_null(),
                  "healthy", view_is_good(view), "in_sync", view_in_sync(view), "step",
                  step_words(view, words, sizeof(words)), "entries", number(view->counts.entries),
                  "temporary", number(view->counts.temporary), "expired", number(view->ended),
                  "prefixes", number(view->counts.prefixes), "host_entries",
                  number(view->counts.host_entries), "accounts", number(view->counts.accounts),
                  "others", view->settings.others == STORE_OTHERS_NOWHERE ? "nowhere" : "anywhere",
                  "ports", ports_json(&view->settings), "interfaces", ifaces_json(view), "counters",
                  "passed", number(counters_sum_verdict(&view->total, SG_VERDICT_PASS).packets),
                  "dropped", number(counters_sum_verdict(&view->total, SG_VERDICT_DROP).packets),
                  "would_drop",
                  number(counters_sum_verdict(&view->total, SG_VERDICT_WOULD_DROP).packets)));
}

/* What is wrong comes first: a line of a narrow screen is cut at its end. */
static size_t say_ifaces(const struct view *view, bool good, char *buf, size_t size)
{
    char words[160], label[CMD_NAME_MAX];
    size_t used = 0, i;

    buf[0] = '\0';
    for (i = 0; i < view->ifaces.count && used < size; i++) {
        const struct sync_iface *iface = &view->ifaces.items[i];

        if (iface->row.wanted && sync_iface_is_good(iface) == good)
            used +=
                (size_t)snprintf(buf + used, size - used, "%s: %s; ", cmd_iface_label(iface, label),
                                 iface_words(iface, words, sizeof(words)));
    }
    return used < size ? used : size - 1;
}

void cmd_read_health(const struct view *view, struct cmd_health *ret_health)
{
    char *buf = ret_health->text, words[160], list[256];
    size_t size = sizeof(ret_health->text), used;
    unsigned long long entries = view->counts.entries;

    ret_health->good = view_is_good(view);
    mode_line(view, ret_health->mode, sizeof(ret_health->mode));
    snprintf(list, sizeof(list), "%llu %s, %s", entries, entries == 1 ? "entry" : "entries",
             step_words(view, words, sizeof(words)));
    used = say_ifaces(view, false, buf, size);
    /* The mode says it, unless the list is empty; here is what helps. */
    if (!view_any_wanted(view))
        used = (size_t)snprintf(buf, size, "no interface (smtpgate attach IFACE); ");
    if (!view_any_wanted(view) && !view->check.present)
        snprintf(list, sizeof(list), "%llu %s", entries, entries == 1 ? "entry" : "entries");
    if (sync_would_mend(view))
        used += (size_t)snprintf(buf + used, size - used, "to mend it: smtpgate sync; ");
    if (used < size && !view_in_sync(view))
        used += (size_t)snprintf(buf + used, size - used, "%s; ", list);
    if (used < size)
        used += say_ifaces(view, true, buf + used, size - used);
    if (used < size && view_in_sync(view))
        used += (size_t)snprintf(buf + used, size - used, "%s; ", list);
    buf[used < size ? used - 2 : size - 1] = '\0';
}

int cmd_status(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_view_ struct view view = {0};
    int r = view_open(ctx->state, ctx->bpffs, SYNC_COMPARE_MAX, &view, e);

    if (r == 0)
        r = view_count_ended(&view, e);
    if (r < 0)
        return r;
    if (!ctx->out.quiet || !ctx->options[OPT_CHECK])
        status_text(ctx, &view);
    status_json(ctx, &view);
    return ctx->options[OPT_CHECK] && !view_is_good(&view) ? EXIT_NO : 0;
}
