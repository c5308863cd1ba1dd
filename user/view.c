/* SPDX-License-Identifier: GPL-2.0-only */
/* See view.h. */
#include "view.h"

#include <string.h>

#include "counters.h"
#include "lock.h"

#define CHANGE_WAIT_MS 2000

void view_close(struct view *view)
{
    free(TAKE_PTR(view->counters));
    sync_ifaces_free(&view->ifaces);
    gate_close(TAKE_PTR(view->gate));
    store_close(TAKE_PTR(view->store));
}

static int read_counters(struct view *view, struct err *e)
{
    size_t i;
    int r;

    memset(&view->total, 0, sizeof(view->total));
    view->counters = calloc(view->ifaces.count + 1, sizeof(*view->counters));
    if (!view->counters)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    for (i = 0; i < view->ifaces.count; i++) {
        r = gate_read_counters(view->gate, view->ifaces.items[i].row.id, &view->counters[i], e);
        if (r < 0)
            return r;
        counters_add(&view->total, &view->counters[i]);
    }
    return 0;
}

static int read_store(struct view *view, const char *state, struct err *e)
{
    int r = store_open(state, STORE_READ, &view->store, e);

    view->stored = r != -ENOENT;
    if (r == -ENOENT) /* said in the text, beside the rest */
        r = store_open(state, STORE_DRY, &view->store, e);
    if (r == 0)
        r = store_read_settings(view->store, &view->settings, e);
    return r == 0 ? store_read_counts(view->store, &view->counts, e) : r;
}

/* All else, once the store is open. */
static int read_rest(struct view *view, const char *bpffs, size_t compare_max, struct err *e)
{
    int r = gate_open(bpffs, false, &view->gate, e);

    if (r < 0)
        return r;
    view->now = gate_now(view->gate, view->settings.clock);
    r = sync_compare(view->store, view->gate, &view->settings, compare_max, &view->check, e);
    if (r == 0)
        r = sync_read_ifaces(view->store, view->gate, &view->ifaces, e);
    return r == 0 ? read_counters(view, e) : r;
}

static int read_all(struct view *view, const char *state, const char *bpffs, size_t compare_max,
                    struct err *e)
{
    int r = read_store(view, state, e);

    /* That there are too many is known without reading as many. */
    if (view->counts.prefixes > compare_max)
        compare_max = 0;
    return r == 0 ? read_rest(view, bpffs, compare_max, e) : r;
}

int view_open_kernel(const char *bpffs, struct view *ret_view, struct err *e)
{
    _cleanup_view_ struct view view = {0};
    int r = store_open("", STORE_EMPTY, &view.store, e);

    if (r == 0)
        r = store_read_settings(view.store, &view.settings, e);
    if (r == 0)
        r = read_rest(&view, bpffs, 0, e);
    if (r == 0 && !gate_is_claimed(view.gate))
        r = err_set(e, -ENOENT, EXIT_REFUSED, "there is no gate in the kernel");
    if (r < 0)
        return r;
    *ret_view = view;
    view = (struct view){0};
    return 0;
}

int view_open(const char *state, const char *bpffs, size_t compare_max, struct view *ret_view,
              struct err *e)
{
    _cleanup_view_ struct view view = {0};
    int r = read_all(&view, state, bpffs, compare_max, e);

    if (r == 0 && !view_in_sync(&view)) {
        lock_wait(state, CHANGE_WAIT_MS);
        view_close(&view);
        view = (struct view){0};
        r = read_all(&view, state, bpffs, compare_max, e);
    }
    if (r < 0)
        return r;
    *ret_view = view;
    view = (struct view){0};
    return 0;
}

struct view_sums view_sum_up(const struct view *view)
{
    struct view_sums sums = {0};
    unsigned int i, verdict;

    for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
        struct sg_cell cell = counters_sum_verdict(&view->total, verdict);

        sums.packets[verdict] = cell.packets;
        sums.bytes[verdict] = cell.bytes;
        for (i = 0; i < view->settings.n_ports; i++)
            sums.attempts[verdict] +=
                counters_sum_port(&view->total, view->settings.ports[i].slot, verdict).attempts;
    }
    return sums;
}

int view_count_ended(struct view *view, struct err *e)
{
    return store_count_ended(view->store, view->now, &view->ended, e);
}

bool view_any_wanted(const struct view *view)
{
    size_t i;

    for (i = 0; i < view->ifaces.count; i++)
        if (view->ifaces.items[i].row.wanted)
            return true;
    return false;
}

bool view_in_sync(const struct view *view)
{
    if (!gate_is_present(view->gate) && !view_any_wanted(view))
        return true;
    return sync_is_equal(&view->check);
}

bool view_is_good(const struct view *view)
{
    size_t i;

    for (i = 0; i < view->ifaces.count; i++)
        if (view->ifaces.items[i].row.wanted && !sync_iface_is_good(&view->ifaces.items[i]))
            return false;
    return view_any_wanted(view) && view_in_sync(view);
}

struct mode_plan view_mode(const struct view *view)
{
    if (view->check.present)
        return gate_mode(view->gate);
    return mode_at(view->settings.on, &view->settings.plan, view->now);
}
