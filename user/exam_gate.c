/* SPDX-License-Identifier: GPL-2.0-only */
/* See exam.h: the gate in the kernel beside the store. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "digest.h"
#include "exam.h"
#include "lock.h"
#include "majority.h"
#include "pace.h"

/* A change under way looks like one that was killed; it gets this long to end, a few times. */
#define CHANGE_WAIT_MS 2000
#define ROUNDS_MAX     3
#define ROUNDS_MS      6000 /* then no third one: long lists take seconds each */

static void take_default_ports(struct exam *x)
{
    static const uint16_t ports[] = {
#define X(port) port,
        SG_DEFAULT_PORTS(X)
#undef X
    };

    memcpy(x->ports.items, ports, sizeof(ports));
    x->ports.count = ARRAY_SIZE(ports);
}

static void take_ports(struct exam *x, const struct store_settings *settings)
{
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded && x->ports.count < SG_PORTS_MAX)
            x->ports.items[x->ports.count++] = settings->ports[i].port;
}

/* ---- links ---- */

/* Attached is where a live link of this list is. */
static void take_attached(struct exam *x, const struct sync_ifaces *ifaces)
{
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].link.state == GATE_LINK_HERE && ifaces->items[i].link.in_force) {
            x->attached[x->n_attached++] = ifaces->items[i].link.ifindex;
            x->results.on_lo |= !strcmp(ifaces->items[i].link.name, "lo");
        }
}

static void take_link(struct exam *x, const struct sync_iface *iface)
{
    struct doctor_link *link = &x->links[x->n_links++];
    const char *name = iface->link.state == GATE_LINK_HERE ? iface->link.name : iface->row.name;

    *link = (struct doctor_link){.iface = *iface, .inert = !strcmp(name, "lo")};
    iface_read_driver(name, link->driver);
    link->mtu = iface_read_mtu(name);
    if (iface->open_here)
        gate_read_device(if_nametoindex(iface->row.name), &link->other);
}

static int take_links(struct exam *x, const struct sync_ifaces *ifaces, struct err *e)
{
    size_t i;

    x->attached = calloc(ifaces->count + 1, sizeof(*x->attached));
    x->links = calloc(ifaces->count + 1, sizeof(*x->links));
    if (!x->attached || !x->links)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    take_attached(x, ifaces);
    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].row.wanted)
            take_link(x, &ifaces->items[i]);
    return 0;
}

/* ---- both lists, one walk of each ---- */

struct walk {
    const struct gate *gate;
    struct digest stored, live;
    uint64_t living4, living6; /* of the store: that have not ended */
    int64_t now;
    struct majority majority;
};

static int add_stored(const struct prefix *prefix, int64_t until, void *arg)
{
    struct walk *walk = arg;

    digest_add(&walk->stored, prefix, gate_round_until(walk->gate, until));
    if (until <= walk->now) /* lets nobody in */
        return 0;
    if (prefix->addr.family == ADDR_IP4)
        walk->living4++;
    else
        walk->living6++;
    return 0;
}

static bool is_single(const struct prefix *prefix)
{
    return prefix->len == addr_len(prefix->addr.family) * 8;
}

static int add_live(const struct prefix *prefix, int64_t until, const struct gate_use *use,
                    void *arg)
{
    struct walk *walk = arg;

    digest_add(&walk->live, prefix, until);
    if (is_single(prefix))
        majority_add(&walk->majority, &prefix->addr, use->connections);
    else
        walk->majority.total += use->connections;
    return 0;
}

static int walk_both(struct store *store, struct gate *gate, int64_t now, struct walk *walk,
                     struct err *e)
{
    uint64_t key = 0;
    int r;

    (void)!getrandom(&key, sizeof(key), GRND_NONBLOCK); /* none at boot: nobody chooses then */
    *walk = (struct walk){
        .gate = gate, .stored = digest_begin(key), .live = digest_begin(key), .now = now};
    r = store_each_prefix(store, add_stored, walk, e);
    if (r == 0 && gate_is_whole(gate))
        r = gate_each_use(gate, add_live, walk, e);
    return r;
}

/* Compares once; @ret_settings as of before. */
static int compare(struct exam *x, struct store *store, struct gate *gate, struct walk *walk,
                   struct store_settings *ret_settings, struct err *e)
{
    int r = store_read_settings(store, ret_settings, e);

    if (r == 0)
        r = sync_compare(store, gate, ret_settings, 0, &x->step.check, e);
    if (r == 0)
        r = walk_both(store, gate, gate_now(gate, ret_settings->clock), walk, e);
    if (r < 0)
        return r;
    x->step.equal = digest_is_equal(&walk->stored, &walk->live);
    x->step.prefixes = walk->stored.count;
    /* How they differ, where that is not much to look for. */
    if (!x->step.equal)
        r = sync_compare(store, gate, ret_settings, SYNC_COMPARE_MAX, &x->step.check, e);
    return r;
}

static bool in_step(const struct doctor_step *step)
{
    const struct sync_check *check = &step->check;

    return !check->present ||
           (step->equal && check->same_store && check->applied && check->settings);
}

/* A difference counts when it is there twice with the same revision and nobody changes anything. */
static int compare_steadily(struct exam *x, const struct cmd_context *ctx, struct store *store,
                            struct gate *gate, struct walk *walk, struct err *e)
{
    struct store_settings settings;
    uint64_t revision = 0;
    int64_t end = pace_now() + ROUNDS_MS;
    unsigned int round;

    for (round = 0; round < 2 || (round < ROUNDS_MAX && pace_now() < end); round++) {
        int r = compare(x, store, gate, walk, &settings, e);

        if (r < 0 || in_step(&x->step) || (round && settings.revision == revision))
            return r;
        revision = settings.revision;
        x->step.busy = lock_wait(ctx->state, CHANGE_WAIT_MS) == -EBUSY;
        if (x->step.busy)
            return 0;
    }
    x->step.busy = true;
    return 0;
}

/* ---- who has the most connections ---- */

static int add_source(const struct gate_source *source, void *arg)
{
    majority_add(arg, &source->addr, source->attempts);
    return 0;
}

static int count_live(const struct prefix *prefix, int64_t until, const struct gate_use *use,
                      void *arg)
{
    struct doctor_leader *leader = arg;

    (void)until;
    if (is_single(prefix) && !addr_cmp(&prefix->addr, &leader->address))
        leader->count += use->connections;
    return 0;
}

static int count_source(const struct gate_source *source, void *arg)
{
    struct doctor_leader *leader = arg;

    if (!addr_cmp(&source->addr, &leader->address))
        leader->count += source->attempts;
    return 0;
}

/* Who is named by the vote need not have what it takes: counted anew, if it can be. */
static int read_leader(struct exam *x, struct gate *gate, struct majority *majority, struct err *e)
{
    struct doctor_leader leader = {.known = true};
    int r = gate_each_source(gate, add_source, majority, e);

    leader.address = majority->candidate;
    leader.total = majority->total;
    if (r == 0 && majority->lead > majority->total / 2)
        r = gate_each_use(gate, count_live, &leader, e);
    if (r == 0 && majority->lead > majority->total / 2)
        r = gate_each_source(gate, count_source, &leader, e);
    if (r == 0)
        x->leader = leader;
    return r;
}

/* ---- reading ---- */

static int read_clock(struct exam *x, struct store *store, struct gate *gate,
                      const struct store_settings *settings, struct err *e)
{
    x->clock.behind = gate_is_whole(gate) && gate_clock_is_behind(gate, settings->clock);
    x->clock.ahead = gate_now(gate, settings->clock) - time(NULL);
    return store_has_deadlines(store, &x->clock.deadlines, e);
}

/* The walks may fail and leave the rest known. */
static void read_list(struct exam *x, const struct cmd_context *ctx, struct store *store,
                      struct gate *gate)
{
    struct err *e = &x->step.error;
    struct walk walk = {0};
    int r = compare_steadily(x, ctx, store, gate, &walk, e);

    if (r < 0)
        return;
    x->families.prefixes4 = walk.living4;
    x->families.prefixes6 = walk.living6;
    if (gate_is_whole(gate))
        (void)read_leader(x, gate, &walk.majority, NULL);
}

/* "2026-12-01 18:00 (in 2 min)" */
static void print_end(const struct mode_plan *plan, int64_t now, char *buf, size_t size)
{
    char time_text[OUT_TIME_MAX], left[32];

    snprintf(buf, size, "%s (%s)", out_local_time(plan->until, time_text),
             cmd_time_left(plan->until - now, left));
}

/* The kernel's word if there is a gate, as status has it. */
static int read_mode(struct exam *x, struct store *store, struct gate *gate,
                     const struct store_settings *settings, struct err *e)
{
    int64_t now = gate_now(gate, settings->clock);
    struct mode_plan lists = mode_at(true, &settings->plan, now);
    struct doctor_mode *mode = &x->mode;
    struct store_counts counts;
    int r = store_read_counts(store, &counts, e);

    if (r == 0)
        r = store_count_ended(store, now, &mode->ended, e);
    if (r < 0)
        return r;
    mode->plan =
        gate_is_whole(gate) ? gate_mode(gate) : mode_at(settings->on, &settings->plan, now);
    mode->entries = counts.entries;
    mode->accounts_only = counts.accounts && !counts.host_entries;
    mode->accounts_drops = mode_drops(lists.mode);
    mode->ports = x->ports;
    print_end(&mode->plan, now, x->mode_end, sizeof(x->mode_end));
    mode->end = x->mode_end;
    return 0;
}

static int read_all(struct exam *x, const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    struct store_settings settings;
    int r = cmd_open_both(ctx, &store, &gate, e);

    if (r == 0)
        r = store_read_settings(store, &settings, e);
    if (r == 0)
        r = sync_read_ifaces(store, gate, &ifaces, e);
    if (r == 0)
        r = take_links(x, &ifaces, e);
    if (r == 0)
        r = read_clock(x, store, gate, &settings, e);
    if (r < 0)
        return r;
    take_ports(x, &settings);
    r = read_mode(x, store, gate, &settings, e);
    if (r < 0)
        return r;
    gate_read_pins(gate, &x->pins);
    x->families.drops = settings.on;
    x->step.needed = x->n_links || gate_is_present(gate);
    read_list(x, ctx, store, gate);
    return 0;
}

static void read_kernel(struct exam *x)
{
    long jit = 0;
    int r = sysctl_read("net/core/bpf_jit_enable", &jit);

    sysctl_read_release(x->kernel.release, &x->kernel.major, &x->kernel.minor);
    gate_ask_kernel(&x->kernel.can);
    x->kernel.asked = x->kernel.can.xdp || geteuid() == 0;
    x->jit = r == -ENOENT ? DOCTOR_JIT_FIXED
             : r < 0      ? DOCTOR_JIT_UNKNOWN
             : jit        ? DOCTOR_JIT_ON
                          : DOCTOR_JIT_OFF;
}

void exam_read_gate(struct exam *x, const struct cmd_context *ctx)
{
    x->bpffs = ctx->bpffs;
    x->gate_known = read_all(x, ctx, &x->gate_error) == 0;
    if (!x->gate_known)
        take_default_ports(x);
    read_kernel(x);
}

/* ---- the checks ---- */

/* True: it could not be read, and that was said. */
static bool add_unread(struct exam *x, const char *what)
{
    if (!x->gate_known)
        doctor_add_unread(&x->results, what, x->gate_error.code == EXIT_DENIED);
    return !x->gate_known;
}

void exam_check_kernel(struct exam *x)
{
    doctor_judge_kernel(&x->results, &x->kernel);
}

void exam_check_jit(struct exam *x)
{
    doctor_judge_jit(&x->results, x->jit);
}

void exam_check_pins(struct exam *x)
{
    if (!add_unread(x, "what is pinned"))
        doctor_judge_pins(&x->results, &x->pins, x->n_links, x->bpffs);
}

void exam_check_links(struct exam *x)
{
    size_t i;

    if (add_unread(x, "which program is on which interface"))
        return;
    for (i = 0; i < x->n_links; i++)
        doctor_judge_link(&x->results, &x->links[i]);
}

void exam_check_xdp(struct exam *x)
{
    size_t i;

    for (i = 0; i < x->n_links; i++)
        doctor_judge_xdp(&x->results, &x->links[i], x->kernel.can.frags);
}

void exam_check_list(struct exam *x)
{
    if (!add_unread(x, "whether the kernel's list is the store's"))
        doctor_judge_step(&x->results, &x->step);
}

void exam_check_mode(struct exam *x)
{
    if (!add_unread(x, "whether sources that are not listed are dropped"))
        doctor_judge_mode(&x->results, &x->mode);
}

void exam_check_clock(struct exam *x)
{
    if (x->gate_known)
        doctor_judge_clock(&x->results, &x->clock);
}
