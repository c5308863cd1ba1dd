/* SPDX-License-Identifier: GPL-2.0-only */
/* See sync.h. */
#include "sync.h"

#include <stdio.h>
#include <string.h>

#include "iface.h"

/* ---- the list ---- */

struct listed {
    struct prefix prefix;
    int64_t until;
};

struct prefix_list {
    struct listed *items;
    size_t count, room, max;
};

static void prefix_list_free(struct prefix_list *list)
{
    free(list->items);
}

#define _cleanup_prefix_list_ __attribute__((cleanup(prefix_list_free)))

/* -E2BIG beyond max (0: no bound). */
static int collect_prefix(const struct prefix *prefix, int64_t until, void *arg)
{
    struct prefix_list *list = arg;

    if (list->max && list->count == list->max)
        return -E2BIG;
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        struct listed *items = reallocarray(list->items, room, sizeof(*items));

        if (!items)
            return -ENOMEM;
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = (struct listed){.prefix = *prefix, .until = until};
    return 0;
}

static int compare_listed(const void *a, const void *b)
{
    return prefix_cmp(&((const struct listed *)a)->prefix, &((const struct listed *)b)->prefix);
}

/* Walks both sorted lists; @delta gets what makes the kernel's equal to the store's. */
static int diff_lists(const struct prefix_list *store, const struct prefix_list *kernel,
                      struct delta *delta)
{
    size_t i = 0, j = 0;
    int r = 0;

    while (r == 0 && (i < store->count || j < kernel->count)) {
        const struct listed *want = i < store->count ? &store->items[i] : NULL;
        const struct listed *have = j < kernel->count ? &kernel->items[j] : NULL;
        int order = !want ? 1 : !have ? -1 : prefix_cmp(&want->prefix, &have->prefix);

        if (order < 0)
            r = delta_push(delta, &want->prefix, UNTIL_ABSENT, want->until);
        else if (order > 0)
            r = delta_push(delta, &have->prefix, have->until, UNTIL_ABSENT);
        else if (want->until != have->until)
            r = delta_push(delta, &want->prefix, have->until, want->until);
        i += order <= 0;
        j += order >= 0;
    }
    return r;
}

static int read_store(struct store *store, struct prefix_list *ret_list, struct err *e)
{
    int r = store_each_prefix(store, collect_prefix, ret_list, e);

    if (r == -ENOMEM)
        err_set(e, r, EXIT_REFUSED, "out of memory");
    return r;
}

/* What makes the kernel equal to @in_store, whose ends become such as the gate would tell them. */
static int compare_lists(struct prefix_list *in_store, struct gate *gate, struct delta *ret_delta,
                         struct err *e)
{
    _cleanup_prefix_list_ struct prefix_list in_kernel = {.max = in_store->max};
    size_t i;
    int r = gate_each_prefix(gate, collect_prefix, &in_kernel, e);

    if (r == 0 && in_kernel.count)
        qsort(in_kernel.items, in_kernel.count, sizeof(*in_kernel.items), compare_listed);
    for (i = 0; i < in_store->count; i++)
        in_store->items[i].until = gate_round_until(gate, in_store->items[i].until);
    if (r == 0)
        r = diff_lists(in_store, &in_kernel, ret_delta);
    if (r == -ENOMEM)
        err_set(e, r, EXIT_REFUSED, "out of memory");
    return r;
}

static void port_slots(const struct store_settings *settings, uint8_t slots[65536])
{
    unsigned int i;

    memset(slots, 0, 65536);
    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded)
            slots[settings->ports[i].port] = (uint8_t)(settings->ports[i].slot + 1);
}

/* What the kernel is to do: what the lists do not call for it does not, for good. */
static struct mode_plan plan_of(const struct store_settings *settings)
{
    const struct mode_plan off = {.mode = SG_MODE_OFF, .then = SG_MODE_OFF};

    return settings->on ? settings->plan : off;
}

void sync_put_settings(struct gate *gate, const struct store_settings *settings)
{
    const struct mode_plan plan = plan_of(settings);
    uint8_t slots[65536];

    port_slots(settings, slots);
    /* A port that comes with a mode that lets all pass must not meet the old one in between. */
    if (!mode_drops(plan.mode))
        gate_set_mode(gate, &plan);
    gate_set_ports(gate, slots);
    gate_set_mode(gate, &plan);
}

/* Those of @delta that let in more, or those that let in less. */
static int apply_items(struct gate *gate, const struct delta *delta, bool more, struct err *e)
{
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < delta->count; i++)
        if ((delta->items[i].after > delta->items[i].before) == more)
            r = sync_apply_item(gate, &delta->items[i], e);
    return r;
}

int sync_apply_item(struct gate *gate, const struct delta_item *item, struct err *e)
{
    if (item->after == UNTIL_ABSENT)
        return gate_delete_prefix(gate, &item->prefix, e);
    if (item->before == UNTIL_ABSENT)
        return gate_add_prefix(gate, &item->prefix, item->after, NULL, e);
    return gate_set_until(gate, &item->prefix, item->after, e);
}

static int renew_blocks(struct gate *gate, const struct prefix_list *in_store, struct err *e)
{
    _cleanup_(gate_free_blocks) struct gate_blocks *blocks = NULL;
    size_t i;
    int r = gate_has_blocks(gate) ? gate_new_blocks(gate, &blocks, e) : 0;

    if (!blocks)
        return r;
    for (i = 0; i < in_store->count; i++)
        gate_add_to_blocks(blocks, &in_store->items[i].prefix);
    gate_put_blocks(gate, blocks);
    return 0;
}

/* So many prefixes may go before the summary is made anew, beside one in four of those there are.
 */
#define STALE_MAX 1000

int sync_tidy(struct store *store, struct gate *gate, struct err *e)
{
    _cleanup_prefix_list_ struct prefix_list in_store = {0};
    uint64_t stale = gate_stale_blocks(gate);
    struct store_counts counts;
    int r = 0;

    if (stale <= STALE_MAX)
        return 0;
    r = store_read_counts(store, &counts, e);
    if (r < 0 || stale <= STALE_MAX + counts.prefixes / 4)
        return r;
    r = read_store(store, &in_store, e);
    return r < 0 ? r : renew_blocks(gate, &in_store, e);
}

int sync_list(struct store *store, struct gate *gate, bool reset_clock, uint64_t *ret_fixed,
              struct err *e)
{
    _cleanup_prefix_list_ struct prefix_list in_store = {0};
    _cleanup_delta_ struct delta delta = {0};
    struct store_settings settings;
    int r = store_read_settings(store, &settings, e);

    if (r == 0)
        r = read_store(store, &in_store, e); /* a store that is damaged changes nothing */
    if (r < 0)
        return r;
    gate_set_applied(gate, 0); /* from here on the deadlines are not what the clock says */
    if (reset_clock)
        gate_reset_clock(gate);
    else
        gate_adjust_clock(gate, settings.clock);
    r = compare_lists(&in_store, gate, &delta, e);
    if (r == 0)
        r = apply_items(gate, &delta, true, e);
    if (r < 0)
        return r;
    sync_put_settings(gate, &settings);
    gate_set_store_id(gate, settings.id);
    r = apply_items(gate, &delta, false, e);
    if (r == 0)
        r = renew_blocks(gate, &in_store, e);
    if (r < 0)
        return r;
    gate_set_filled(gate);
    *ret_fixed = delta.count;
    return 0;
}

/* So many are asked for one by one; for more the whole summary is read. */
#define ASK_ONE_BY_ONE 2000

/* Prefixes of which the summary does not tell: it keeps the program from looking for them. */
static int count_untold(const struct gate *gate, const struct prefix_list *in_store,
                        uint64_t *ret_untold, struct err *e)
{
    _cleanup_(gate_free_blocks) struct gate_blocks *blocks = NULL;
    bool copy = in_store->count > ASK_ONE_BY_ONE;
    uint64_t untold = 0;
    size_t i;
    int r = copy ? gate_read_blocks(gate, &blocks, e) : 0;

    for (i = 0; r >= 0 && i < in_store->count; i++) {
        const struct prefix *prefix = &in_store->items[i].prefix;

        r = blocks ? gate_blocks_tell(blocks, prefix) : copy ? 1 : gate_tells(gate, prefix, e);
        untold += r == 0;
    }
    if (r < 0)
        return r;
    *ret_untold = untold;
    return 0;
}

int sync_compare(struct store *store, struct gate *gate, const struct store_settings *settings,
                 size_t compare_max, struct sync_check *ret_check, struct err *e)
{
    _cleanup_prefix_list_ struct prefix_list in_store = {.max = compare_max};
    _cleanup_delta_ struct delta delta = {0};
    struct sync_check check = {.present = gate_is_whole(gate)};
    struct gate_state state;
    struct mode_plan plan;
    uint8_t slots[65536];
    bool deadlines;
    size_t i;
    int r;

    if (!check.present) {
        *ret_check = check;
        return 0;
    }
    gate_read_state(gate, &state);
    port_slots(settings, slots);
    plan = plan_of(settings);
    check.same_store = state.store_id == settings->id;
    check.applied = state.applied == settings->revision;
    check.settings = gate_mode_is(gate, &plan) && gate_ports_are(gate, slots);
    r = store_has_deadlines(store, &deadlines, e);
    if (r < 0)
        return r;
    check.clock = !deadlines || !gate_clock_is_behind(gate, settings->clock);
    r = compare_max ? read_store(store, &in_store, e) : -E2BIG;
    if (r == 0)
        r = compare_lists(&in_store, gate, &delta, e);
    if (r == 0)
        r = count_untold(gate, &in_store, &check.missing, e);
    if (r < 0 && r != -E2BIG)
        return r;
    check.counted = r == 0;
    for (i = 0; i < delta.count; i++)
        if (delta.items[i].before == UNTIL_ABSENT)
            check.missing++;
        else if (delta.items[i].after == UNTIL_ABSENT)
            check.surplus++;
        else
            check.differing++;
    *ret_check = check;
    return 0;
}

bool sync_is_equal(const struct sync_check *check)
{
    return check->present && check->same_store && check->applied && check->settings &&
           check->clock && !check->missing && !check->surplus && !check->differing;
}

/* ---- interfaces ---- */

void sync_ifaces_free(struct sync_ifaces *ifaces)
{
    free(ifaces->items);
    memset(ifaces, 0, sizeof(*ifaces));
}

static int collect_iface(const struct store_iface *row, void *arg)
{
    struct sync_ifaces *ifaces = arg;
    struct sync_iface *items =
        reallocarray(ifaces->items, ifaces->count + 1, sizeof(*ifaces->items));

    if (!items)
        return -ENOMEM;
    ifaces->items = items;
    items[ifaces->count++] = (struct sync_iface){.row = *row};
    return 0;
}

static bool has_row(const struct sync_ifaces *ifaces, uint32_t id)
{
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].row.id == id)
            return true;
    return false;
}

/* Rows for pinned links that have none. */
static int collect_strays(struct gate *gate, struct sync_ifaces *ifaces, struct err *e)
{
    _cleanup_free_ uint32_t *ids = NULL;
    size_t i, count;
    int r = gate_list_links(gate, &ids, &count, e);

    for (i = 0; r == 0 && i < count; i++) {
        struct store_iface row = {.id = ids[i]};

        if (has_row(ifaces, ids[i]))
            continue;
        snprintf(row.name, sizeof(row.name), SG_PIN_LINK_FMT, ids[i]);
        r = collect_iface(&row, ifaces);
    }
    return r;
}

static bool link_is_live(const struct gate_link *link)
{
    return link->state == GATE_LINK_HERE || link->state == GATE_LINK_ELSEWHERE;
}

/* The item whose link is on device @ifindex of this namespace, or NULL. */
static struct sync_iface *find_on_device(const struct sync_ifaces *ifaces, uint32_t ifindex)
{
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].link.state == GATE_LINK_HERE &&
            ifaces->items[i].link.ifindex == ifindex)
            return &ifaces->items[i];
    return NULL;
}

static int read_links(struct gate *gate, struct sync_ifaces *ifaces, struct err *e)
{
    size_t i;
    int r;

    for (i = 0; i < ifaces->count; i++) {
        struct sync_iface *iface = &ifaces->items[i];

        r = gate_read_link(gate, iface->row.id, &iface->link, e);
        if (r < 0)
            return r;
        if (!iface->row.wanted && iface->link.state == GATE_LINK_HERE)
            snprintf(iface->row.name, sizeof(iface->row.name), "%s", iface->link.name);
        iface->row.wanted |= link_is_live(&iface->link);
    }
    for (i = 0; i < ifaces->count; i++) {
        struct sync_iface *iface = &ifaces->items[i];
        uint32_t ifindex = if_nametoindex(iface->row.name);

        iface->open_here = ifindex && !find_on_device(ifaces, ifindex);
    }
    return 0;
}

int sync_read_ifaces(struct store *store, struct gate *gate, struct sync_ifaces *ret_ifaces,
                     struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    int r = store_each_iface(store, collect_iface, &ifaces, e);

    if (r == 0)
        r = collect_strays(gate, &ifaces, e);
    if (r == 0)
        r = read_links(gate, &ifaces, e);
    if (r == -ENOMEM)
        return err_set(e, r, EXIT_REFUSED, "out of memory");
    if (r < 0)
        return r;
    *ret_ifaces = ifaces;
    ifaces = (struct sync_ifaces){0};
    return 0;
}

bool sync_iface_is_absent(const struct sync_iface *iface)
{
    return iface->row.wanted && !link_is_live(&iface->link) && !iface->open_here &&
           !if_nametoindex(iface->row.name);
}

bool sync_iface_is_meant(const struct sync_iface *iface, const struct sync_scope *scope)
{
    size_t i;

    if (!iface->row.wanted || !scope || !scope->n_names)
        return iface->row.wanted;
    for (i = 0; i < scope->n_names; i++)
        if (iface_is_called(scope->names[i], iface->row.name) ||
            (iface->link.state == GATE_LINK_HERE &&
             iface_is_called(scope->names[i], iface->link.name)))
            return true;
    return false;
}

bool sync_iface_is_good(const struct sync_iface *iface)
{
    return link_is_live(&iface->link) && iface->link.current && !iface->open_here;
}

bool sync_has_live_link(const struct sync_ifaces *ifaces)
{
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (link_is_live(&ifaces->items[i].link))
            return true;
    return false;
}

static enum gate_xdp wanted_xdp(enum store_iface_mode mode)
{
    return mode == STORE_IFACE_NATIVE    ? GATE_XDP_NATIVE
           : mode == STORE_IFACE_GENERIC ? GATE_XDP_GENERIC
                                         : GATE_XDP_NONE;
}

/* Remembers @row and puts the program on @ifindex. */
static int attach_row(struct store *store, struct gate *gate, const struct store_iface *row,
                      uint32_t ifindex, enum gate_xdp want, struct sync_result *ret_result,
                      struct err *e)
{
    struct sync_result result = {0};
    int r = store_put_iface(store, row, &result.id, e);

    if (r < 0)
        return r;
    snprintf(result.name, sizeof(result.name), "%s", row->name);
    r = gate_attach(gate, result.id, ifindex, row->name, want, &result.attached, e);
    if (r < 0)
        return r;
    *ret_result = result;
    return 0;
}

/* The row to use for a device: the one that is on it, else a free one of that name, else none. */
static const struct sync_iface *find_row(const struct sync_ifaces *ifaces, const char *name,
                                         uint32_t ifindex)
{
    const struct sync_iface *on_device = find_on_device(ifaces, ifindex);
    size_t i;

    if (on_device)
        return on_device;
    for (i = 0; i < ifaces->count; i++)
        if (iface_is_called(ifaces->items[i].row.name, name) &&
            !link_is_live(&ifaces->items[i].link))
            return &ifaces->items[i];
    return NULL;
}

/* Above every row and every pinned link: a killed attach may have left one without a row. */
static uint32_t free_id(const struct sync_ifaces *ifaces)
{
    uint32_t id = 0;
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].row.id > id)
            id = ifaces->items[i].row.id;
    return id + 1;
}

int sync_attach(struct store *store, struct gate *gate, const char *name,
                const enum store_iface_mode *mode, struct sync_result *ret_result, struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    struct store_iface row = {.mode = STORE_IFACE_AUTO, .wanted = true};
    const struct sync_iface *found;
    uint32_t ifindex;
    int r = iface_check(name, &ifindex, e);

    if (r < 0)
        return r;
    r = sync_read_ifaces(store, gate, &ifaces, e);
    if (r < 0)
        return r;
    /* By an alternative name nobody would know it when it appears anew. */
    if (!if_indextoname(ifindex, row.name))
        snprintf(row.name, sizeof(row.name), "%s", name);
    found = find_row(&ifaces, row.name, ifindex);
    row.id = found ? found->row.id : free_id(&ifaces);
    if (mode || found)
        row.mode = mode ? *mode : found->row.mode;
    return attach_row(store, gate, &row, ifindex, wanted_xdp(row.mode), ret_result, e);
}

int sync_live_links(struct store *store, struct gate *gate, struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    struct store_settings settings;
    struct gate_attached attached;
    size_t i;
    int r = store_read_settings(store, &settings, e);

    if (r == 0)
        r = sync_read_ifaces(store, gate, &ifaces, e);
    for (i = 0; r == 0 && i < ifaces.count; i++) {
        const struct sync_iface *iface = &ifaces.items[i];

        if (link_is_live(&iface->link) && !iface->link.current)
            r = gate_attach(gate, iface->row.id, iface->link.ifindex, iface->row.name,
                            GATE_XDP_NONE, &attached, e);
    }
    if (r < 0)
        return r;
    gate_drop_older(gate); /* before it counts as done, or nobody would come back for it */
    gate_set_applied(gate, settings.revision);
    return 0;
}

bool sync_has_stale_link(const struct sync_ifaces *ifaces)
{
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (link_is_live(&ifaces->items[i].link) && !ifaces->items[i].link.current)
            return true;
    return false;
}

/* A row whose device is gone and whose name another row's device bears now. */
static int forget_row(struct store *store, struct gate *gate, const struct store_iface *row,
                      struct err *e)
{
    struct store_iface forgotten = *row;
    uint32_t id;
    int r = gate_detach(gate, row->id, e);

    forgotten.wanted = false;
    return r < 0 ? r : store_put_iface(store, &forgotten, &id, e);
}

/* 1 when there was nothing to do. */
static int sync_iface(struct store *store, struct gate *gate, const struct sync_iface *iface,
                      struct sync_result *ret_result, struct err *e)
{
    struct store_iface row = iface->row;
    uint32_t ifindex;
    int r;

    if (iface->link.state == GATE_LINK_HERE) {
        snprintf(row.name, sizeof(row.name), "%s", iface->link.name);
        r = attach_row(store, gate, &row, iface->link.ifindex, GATE_XDP_NONE, ret_result, e);
        if (r < 0 || !iface->open_here)
            return r;
        row = iface->row; /* its name is another device's now: that one is guarded too */
    }
    if (iface->link.state == GATE_LINK_ELSEWHERE && !iface->open_here)
        return attach_row(store, gate, &row, 0, GATE_XDP_NONE, ret_result, e);
    if (if_nametoindex(row.name) && !iface->open_here) {
        r = forget_row(store, gate, &row, e);
        return r < 0 ? r : 1;
    }
    r = iface_check(row.name, &ifindex, e);
    if (r < 0)
        return r;
    if (link_is_live(&iface->link))
        row.id = 0;
    return attach_row(store, gate, &row, ifindex, wanted_xdp(row.mode), ret_result, e);
}

int sync_all_ifaces(struct store *store, struct gate *gate, const struct sync_scope *scope,
                    void (*fn)(const struct sync_result *result, const struct err *problem,
                               void *arg),
                    void *arg, struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    size_t i;
    int first = 0, r = sync_read_ifaces(store, gate, &ifaces, e);

    if (r < 0)
        return r;
    for (i = 0; i < ifaces.count; i++) {
        struct sync_result result = {0};
        struct err problem = {0};

        if (!sync_iface_is_meant(&ifaces.items[i], scope))
            continue;
        snprintf(result.name, sizeof(result.name), "%s", ifaces.items[i].row.name);
        result.absent = scope && scope->later && sync_iface_is_absent(&ifaces.items[i]);
        r = result.absent ? 0 : sync_iface(store, gate, &ifaces.items[i], &result, &problem);
        if (r == 1)
            continue;
        if (r == 0)
            r = read_links(gate, &ifaces, &problem); /* two rows may want the same device */
        if (fn)
            fn(&result, r < 0 ? &problem : NULL, arg);
        if (r < 0 && first == 0) {
            first = r;
            if (e)
                *e = problem;
            /* At boot an interface may simply not be there yet. */
            if (e && e->code == EXIT_USAGE) {
                e->code = EXIT_REFUSED;
                err_hint(e, "smtpgate detach %s, if it is gone for good", result.name);
            }
        }
    }
    return first;
}
