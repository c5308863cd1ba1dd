/* SPDX-License-Identifier: GPL-2.0-only */
/* See scrape.h. */
#include "scrape.h"

#include <stdio.h>
#include <string.h>

#include "answers.h"
#include "counters.h"
#include "text.h"
#include "view.h"

void scrape_free(struct metrics *metrics)
{
    free(metrics->ifaces);
    metrics->ifaces = NULL;
}

/* ---- interfaces ---- */

/* How the gate is on a device of another network namespace cannot be seen; that it is, can. */
static enum metrics_xdp attached_as(const struct sync_iface *iface)
{
    const struct gate_link *link = &iface->link;

    if (iface->open_here)
        return METRICS_XDP_NONE;
    if (link->state == GATE_LINK_ELSEWHERE)
        return iface->row.mode == STORE_IFACE_NATIVE ? METRICS_XDP_NATIVE : METRICS_XDP_GENERIC;
    if (link->state != GATE_LINK_HERE)
        return METRICS_XDP_NONE;
    return link->xdp == GATE_XDP_NATIVE    ? METRICS_XDP_NATIVE
           : link->xdp == GATE_XDP_GENERIC ? METRICS_XDP_GENERIC
                                           : METRICS_XDP_NONE;
}

/* That of the name, or a new one. */
static struct metrics_iface *find_iface(struct metrics *metrics, const char *name)
{
    struct metrics_iface *iface;
    size_t i;

    for (i = 0; i < metrics->n_ifaces; i++)
        if (!strcmp(metrics->ifaces[i].name, name))
            return &metrics->ifaces[i];
    iface = &metrics->ifaces[metrics->n_ifaces++];
    snprintf(iface->name, sizeof(iface->name), "%s", name);
    return iface;
}

/*
 * Two devices may have had one name, one after the other: their counts are one series then, as two
 * of the same labels would be no valid text.
 */
static int fill_ifaces(const struct view *view, struct metrics *metrics, struct err *e)
{
    size_t i;

    metrics->ifaces = calloc(view->ifaces.count + 1, sizeof(*metrics->ifaces));
    if (!metrics->ifaces)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    for (i = 0; i < view->ifaces.count; i++) {
        const struct sync_iface *from = &view->ifaces.items[i];
        bool here = from->link.state == GATE_LINK_HERE;
        char name[METRICS_NAME_MAX];
        struct metrics_iface *to;

        text_escape(here ? from->link.name : from->row.name, name, sizeof(name));
        to = find_iface(metrics, name);
        to->wanted |= from->row.wanted;
        if (from->row.wanted && attached_as(from) != METRICS_XDP_NONE)
            to->attached = attached_as(from);
        counters_add(&to->counters, &view->counters[i]);
    }
    return 0;
}

/* ---- ports ---- */

static void add_port(struct metrics *metrics, uint16_t port, uint8_t slot)
{
    if (metrics->n_ports < SG_PORT_SLOTS && slot < SG_PORT_SLOTS)
        metrics->ports[metrics->n_ports++] = (struct metrics_port){port, slot};
}

/* Which port counts where is the store's to say; of a gate that another store made, the gate's. */
static void fill_ports(const struct view *view, struct metrics *metrics)
{
    uint8_t slots[65536];
    uint32_t port;
    size_t i;

    if (!view->check.present || view->check.same_store) {
        for (i = 0; i < view->settings.n_ports; i++)
            add_port(metrics, view->settings.ports[i].port, view->settings.ports[i].slot);
        return;
    }
    gate_read_ports(view->gate, slots);
    for (port = 0; port <= UINT16_MAX; port++)
        if (slots[port])
            add_port(metrics, (uint16_t)port, slots[port] - 1);
}

/* ---- the list ---- */

/* Newest first: the first of the list or the settings is the one. */
static int take_change(const struct store_change *change, void *arg)
{
    int64_t *at = arg;

    if (change->kind == STORE_CHANGE_OTHER)
        return 0;
    *at = change->at;
    return 1;
}

static int fill_list(const struct view *view, struct metrics_list *list, struct err *e)
{
    const struct store_counts *counts = &view->counts;
    int r;

    list->kinds[METRICS_ADDRESS] = counts->kinds[WHO_ADDRESS];
    list->kinds[METRICS_SEGMENT] = counts->kinds[WHO_SEGMENT];
    list->kinds[METRICS_RANGE] = counts->kinds[WHO_RANGE];
    list->host_entries = counts->host_entries;
    list->limit = view->settings.limit;
    list->temporary = counts->temporary;
    list->prefixes4 = counts->prefixes4;
    list->prefixes6 = counts->prefixes6;
    r = store_next_end(view->store, view->now, &list->next_end, e);
    if (r == 0)
        r = store_each_change(view->store, 0, take_change, &list->last_change, e);
    return r < 0 ? r : 0;
}

/* ---- all of it ---- */

static int fill_untracked(const struct view *view, struct metrics *metrics, struct err *e)
{
    uint64_t packets[SG_VERDICT_COUNT];
    int r = gate_read_untracked(view->gate, packets, e);

    if (r == 0)
        metrics->untracked = packets[SG_VERDICT_DROP] + packets[SG_VERDICT_WOULD_DROP];
    return r;
}

static int fill(const struct view *view, struct metrics *metrics, struct err *e)
{
    struct mode_plan plan = view_mode(view);
    int r;

    metrics->mode = plan.mode;
    metrics->mode_until = plan.until;
    metrics->in_sync = view_in_sync(view);
    metrics->has_list = view->stored || !gate_is_claimed(view->gate);
    fill_ports(view, metrics);
    r = fill_ifaces(view, metrics, e);
    if (r == 0 && metrics->has_list)
        r = fill_list(view, &metrics->list, e);
    return r == 0 ? fill_untracked(view, metrics, e) : r;
}

static int look(const char *state, const char *bpffs, struct view *ret_view,
                struct err *ret_trouble, struct err *e)
{
    int r = view_open(state, bpffs, 0, ret_view, e);

    if (r < 0 && view_open_kernel(bpffs, ret_view, NULL) == 0) {
        *ret_trouble = *e;
        return 0;
    }
    if (r == 0 && !ret_view->stored && gate_is_claimed(ret_view->gate))
        err_set(ret_trouble, 0, EXIT_REFUSED, "the store in %s is missing or empty", state);
    return r;
}

int scrape(const char *state, const char *bpffs, struct metrics *ret_metrics,
           struct err *ret_trouble, struct err *e)
{
    _cleanup_scrape_ struct metrics metrics = {.version = SG_VERSION};
    _cleanup_view_ struct view view = {0};
    uint64_t counts[ANSWERS_MAX];
    int r;

    *ret_trouble = (struct err){0};
    r = look(state, bpffs, &view, ret_trouble, e);
    if (r == 0)
        r = fill(&view, &metrics, e);
    if (r < 0)
        return r;
    _Static_assert(METRICS_RESULT_COUNT <= ANSWERS_MAX, "room for each result");
    answers_read(state, counts);
    memcpy(metrics.results, counts, sizeof(metrics.results));
    *ret_metrics = metrics;
    metrics.ifaces = NULL;
    return 0;
}
