// LINK: change sync mode delta prefix addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What packets meet while a change goes from the store to the kernel, and while sync makes the two
 * equal: after each single step a model of the gate is asked about every source and port. Who may
 * pass before and after passes all along, who may not before and after never does, and "applied"
 * says a revision only while exactly that one is in force. Steps fail in turn, too: then all is as
 * it was.
 *
 * The gate and the store are models, a few lines each; change.c and sync.c are the ones in use.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "change.h"
#include "iface.h"
#include "lock.h"
#include "sync.h"

#define SOURCES 4
#define LINKS   3
#define ROUNDS  3000

/* Moments at which somebody comes; ends lie between them. */
static const int64_t moments[] = {0, 150, 250};
static const int64_t ends[] = {UNTIL_ABSENT, UNTIL_ABSENT, 100, 200, 300, UNTIL_FOREVER};
static const uint16_t some_ports[] = {25, 465, 587};
static const enum sg_mode modes[] = {SG_MODE_ENFORCE, SG_MODE_ENFORCE, SG_MODE_OFF,
                                     SG_MODE_OBSERVE};

/* What decides about packets. */
struct state {
    int64_t until[SOURCES];
    bool guarded[ARRAY_SIZE(some_ports)];
    enum sg_mode mode;
};

struct gate {
    struct state now;
    uint64_t applied, store_id;
    bool filled;
    enum gate_link_state links[LINKS];
    bool current[LINKS];
    /* The summary in front of the list, once there is one. */
    bool summary, told[SOURCES];
    uint64_t stale;
};

struct gate_blocks {
    bool told[SOURCES];
};

struct store {
    struct state committed, pending;
    uint64_t revision, pending_revision;
    struct delta delta;
};

/* The two, and what a step must keep to. */
static struct {
    struct gate gate;
    struct store store;
    struct state before, after;
    uint64_t revision_before, revision_after;
    bool watching;
    unsigned int steps;   /* that changed something in the kernel */
    unsigned int fail_at; /* the step that has no memory; 0 none */
    bool commit_fails;
    bool writable; /* as the gate was opened */
    bool damaged;  /* the store, if somebody looks closely */
} world;

static bool passes(const struct state *state, size_t source, size_t port, int64_t now)
{
    return !state->guarded[port] || !mode_drops(state->mode) || state->until[source] > now;
}

/* Who is not told of is not looked for. */
static bool gate_passes(const struct gate *gate, size_t source, size_t port, int64_t now)
{
    struct state state = gate->now;

    if (gate->summary && !gate->told[source])
        state.until[source] = UNTIL_ABSENT;
    return passes(&state, source, port, now);
}

static bool same_state(const struct state *a, const struct state *b)
{
    return !memcmp(a->until, b->until, sizeof(a->until)) &&
           !memcmp(a->guarded, b->guarded, sizeof(a->guarded)) && a->mode == b->mode;
}

/* After each step. */
static void look(void)
{
    const struct gate *gate = &world.gate;

    if (!world.watching)
        return;
    for (size_t s = 0; s < SOURCES; s++)
        for (size_t p = 0; p < ARRAY_SIZE(some_ports); p++)
            for (size_t m = 0; m < ARRAY_SIZE(moments); m++) {
                bool was = passes(&world.before, s, p, moments[m]);

                if (was == passes(&world.after, s, p, moments[m]))
                    assert_int_equal(was, gate_passes(gate, s, p, moments[m]));
            }
    if (gate->applied == world.revision_after)
        assert_true(same_state(&gate->now, &world.after));
    else if (gate->applied)
        assert_true(gate->applied == world.revision_before &&
                    same_state(&gate->now, &world.before));
}

/* ---- the gate's model ---- */

static size_t index_of(const struct prefix *prefix)
{
    assert_int_equal(prefix->len, 32);
    return prefix->addr.bytes[3];
}

static struct prefix prefix_at(size_t index)
{
    return (struct prefix){.addr = {.family = ADDR_IP4, .bytes = {192, 0, 2, (uint8_t)index}},
                           .len = 32};
}

static int step_done(void)
{
    assert_true(world.writable);
    world.steps++;
    look();
    return 0;
}

int gate_add_prefix(struct gate *gate, const struct prefix *prefix, int64_t until, bool *ret_added,
                    struct err *e)
{
    int64_t *at = &gate->now.until[index_of(prefix)];
    bool is_new = *at == UNTIL_ABSENT;

    if (world.fail_at == world.steps + 1)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "no memory");
    if (is_new) {
        gate->told[index_of(prefix)] = true;
        *at = until;
    }
    if (ret_added)
        *ret_added = is_new;
    return step_done();
}

int gate_set_until(struct gate *gate, const struct prefix *prefix, int64_t until, struct err *e)
{
    (void)e;
    assert_int_not_equal(gate->now.until[index_of(prefix)], UNTIL_ABSENT);
    gate->now.until[index_of(prefix)] = until;
    return step_done();
}

int gate_delete_prefix(struct gate *gate, const struct prefix *prefix, struct err *e)
{
    (void)e;
    gate->now.until[index_of(prefix)] = UNTIL_ABSENT;
    gate->stale++;
    return step_done();
}

bool gate_has_blocks(const struct gate *gate)
{
    (void)gate;
    return true;
}

uint64_t gate_stale_blocks(const struct gate *gate)
{
    return gate->summary ? gate->stale : UINT64_MAX;
}

int gate_new_blocks(const struct gate *gate, struct gate_blocks **ret_blocks, struct err *e)
{
    (void)gate, (void)e;
    *ret_blocks = calloc(1, sizeof(**ret_blocks));
    assert_non_null(*ret_blocks);
    return 0;
}

void gate_free_blocks(struct gate_blocks *blocks)
{
    free(blocks);
}

void gate_add_to_blocks(struct gate_blocks *blocks, const struct prefix *prefix)
{
    blocks->told[index_of(prefix)] = true;
}

void gate_put_blocks(struct gate *gate, const struct gate_blocks *blocks)
{
    memcpy(gate->told, blocks->told, sizeof(gate->told));
    gate->summary = true;
    gate->stale = 0;
    step_done();
}

int gate_read_blocks(const struct gate *gate, struct gate_blocks **ret_blocks, struct err *e)
{
    *ret_blocks = NULL;
    if (!gate->summary)
        return 0;
    gate_new_blocks(gate, ret_blocks, e);
    memcpy((*ret_blocks)->told, gate->told, sizeof(gate->told));
    return 0;
}

int gate_blocks_tell(struct gate_blocks *blocks, const struct prefix *prefix)
{
    return blocks->told[index_of(prefix)];
}

int gate_tells(const struct gate *gate, const struct prefix *prefix, struct err *e)
{
    (void)e;
    return !gate->summary || gate->told[index_of(prefix)];
}

int gate_each_prefix(struct gate *gate,
                     int (*fn)(const struct prefix *prefix, int64_t until, void *arg), void *arg,
                     struct err *e)
{
    (void)e;
    for (size_t i = SOURCES; i-- > 0;) { /* in no order */
        struct prefix prefix = prefix_at(i);

        if (gate->now.until[i] != UNTIL_ABSENT)
            assert_int_equal(fn(&prefix, gate->now.until[i], arg), 0);
    }
    return 0;
}

/* The real one's own order: what is guarded before and after is so all along. */
void gate_set_ports(struct gate *gate, const uint8_t *slots)
{
    for (int guard = 1; guard >= 0; guard--)
        for (size_t i = 0; i < ARRAY_SIZE(some_ports); i++)
            if (!slots[some_ports[i]] == !guard) {
                gate->now.guarded[i] = guard;
                step_done();
            }
}

bool gate_ports_are(const struct gate *gate, const uint8_t *slots)
{
    for (size_t i = 0; i < ARRAY_SIZE(some_ports); i++)
        if (gate->now.guarded[i] != (slots[some_ports[i]] == i + 1))
            return false;
    return true;
}

void gate_set_mode(struct gate *gate, const struct mode_plan *plan)
{
    gate->now.mode = plan->mode;
    step_done();
}

bool gate_mode_is(const struct gate *gate, const struct mode_plan *plan)
{
    return gate->now.mode == plan->mode;
}

void gate_set_applied(struct gate *gate, uint64_t revision)
{
    gate->applied = revision;
    step_done();
}

void gate_set_store_id(struct gate *gate, uint64_t store_id)
{
    gate->store_id = store_id;
}

/* Another ABI is for tests/e2e/test_upgrade.py. */
void gate_drop_older(const struct gate *gate)
{
    (void)gate;
}

void gate_set_filled(struct gate *gate)
{
    gate->filled = true;
}

void gate_read_state(const struct gate *gate, struct gate_state *ret_state)
{
    *ret_state = (struct gate_state){.store_id = gate->store_id, .applied = gate->applied};
}

bool gate_is_whole(const struct gate *gate)
{
    return gate->filled;
}

int64_t gate_round_until(const struct gate *gate, int64_t until)
{
    (void)gate;
    return until;
}

int gate_list_links(struct gate *gate, uint32_t **ret_ids, size_t *ret_count, struct err *e)
{
    uint32_t *ids = calloc(LINKS, sizeof(*ids));

    (void)e;
    assert_non_null(ids);
    *ret_count = 0;
    for (uint32_t i = 0; i < LINKS; i++)
        if (gate->links[i] != GATE_LINK_ABSENT)
            ids[(*ret_count)++] = i + 1;
    *ret_ids = ids;
    return 0;
}

int gate_read_link(struct gate *gate, uint32_t id, struct gate_link *ret_link, struct err *e)
{
    (void)e;
    *ret_link = (struct gate_link){.state = gate->links[id - 1], .current = gate->current[id - 1]};
    if (ret_link->state == GATE_LINK_HERE)
        ret_link->ifindex = 100 + id;
    return 0;
}

int gate_attach(struct gate *gate, uint32_t id, uint32_t ifindex, const char *name,
                enum gate_xdp want, struct gate_attached *ret_attached, struct err *e)
{
    (void)name, (void)want, (void)e;
    assert_int_equal(ifindex, gate->links[id - 1] == GATE_LINK_HERE ? 100 + id : 0);
    assert_int_equal(gate->applied, 0); /* until the last link has it */
    gate->current[id - 1] = true;
    *ret_attached = (struct gate_attached){.replaced = true};
    return 0;
}

/* ---- the store's model ---- */

int store_read_settings(struct store *store, struct store_settings *ret_settings, struct err *e)
{
    struct store_settings settings = {.id = 7,
                                      .revision = store->pending_revision,
                                      .on = store->pending.mode != SG_MODE_OFF,
                                      .n_ports = ARRAY_SIZE(some_ports)};

    (void)e;
    settings.plan.mode = settings.on ? store->pending.mode : SG_MODE_ENFORCE;
    for (size_t i = 0; i < ARRAY_SIZE(some_ports); i++)
        settings.ports[i] = (struct store_port){
            .port = some_ports[i], .slot = (uint8_t)i, .guarded = store->pending.guarded[i]};
    *ret_settings = settings;
    return 0;
}

const struct delta *store_delta(struct store *store)
{
    return &store->delta;
}

bool store_kernel_changed(const struct store *store)
{
    (void)store;
    return true;
}

int store_bump_revision(struct store *store, struct err *e)
{
    (void)e;
    store->pending_revision++;
    return 0;
}

int store_commit(struct store *store, struct err *e)
{
    if (world.commit_fails)
        return err_set(e, -ENOSPC, EXIT_REFUSED, "the disk is full");
    store->committed = store->pending;
    store->revision = store->pending_revision;
    return 0;
}

void store_rollback(struct store *store)
{
    store->pending = store->committed;
    store->pending_revision = store->revision;
}

void store_read_touched(const struct store *store, unsigned int *ret_added,
                        unsigned int *ret_deleted, unsigned int *ret_edited)
{
    (void)store;
    *ret_added = *ret_deleted = *ret_edited = 0;
}

int64_t store_change_id(const struct store *store)
{
    (void)store;
    return 1;
}

int store_each_prefix(struct store *store,
                      int (*fn)(const struct prefix *prefix, int64_t until, void *arg), void *arg,
                      struct err *e)
{
    (void)e;
    for (size_t i = 0; i < SOURCES; i++) {
        struct prefix prefix = prefix_at(i);

        if (store->committed.until[i] != UNTIL_ABSENT)
            assert_int_equal(fn(&prefix, store->committed.until[i], arg), 0);
    }
    return 0;
}

int store_read_counts(struct store *store, struct store_counts *ret_counts, struct err *e)
{
    (void)store, (void)e;
    *ret_counts = (struct store_counts){.prefixes = 4000};
    return 0;
}

int store_has_deadlines(struct store *store, bool *ret_any, struct err *e)
{
    (void)store, (void)e;
    *ret_any = true;
    return 0;
}

int store_each_iface(struct store *store, int (*fn)(const struct store_iface *iface, void *arg),
                     void *arg, struct err *e)
{
    (void)store, (void)fn, (void)arg, (void)e;
    return 0;
}

void events_send_change(const struct events_author *author, const struct events_change *change)
{
    (void)author, (void)change;
}

void gate_close(struct gate *gate)
{
    (void)gate;
}

void store_close(struct store *store)
{
    (void)store;
}

bool gate_clock_is_behind(const struct gate *gate, int64_t floor)
{
    (void)gate, (void)floor;
    return false;
}

void gate_adjust_clock(struct gate *gate, int64_t floor)
{
    (void)gate, (void)floor;
}

/* ---- how a change begins ---- */

int lock_take(const char *dir, int *ret_fd, struct err *e)
{
    (void)dir, (void)e;
    *ret_fd = -1;
    return 0;
}

int gate_open(const char *bpffs, bool writable, struct gate **ret_gate, struct err *e)
{
    (void)bpffs, (void)e;
    world.writable = writable;
    *ret_gate = &world.gate;
    return 0;
}

int gate_need_bpffs(const struct gate *gate, struct err *e)
{
    (void)gate, (void)e;
    return 0;
}

int gate_check_owner(const struct gate *gate, struct err *e)
{
    (void)gate, (void)e;
    return 0;
}

bool gate_is_hidden(const struct gate *gate)
{
    (void)gate;
    return false;
}

int gate_make_maps(struct gate *gate, struct err *e)
{
    (void)gate, (void)e;
    return 0;
}

bool gate_lacks_maps(const struct gate *gate)
{
    (void)gate;
    return false;
}

bool gate_is_claimed(const struct gate *gate)
{
    (void)gate;
    return true;
}

uint64_t gate_store_id(const struct gate *gate)
{
    return gate->store_id;
}

int64_t gate_now(const struct gate *gate, int64_t floor)
{
    (void)gate, (void)floor;
    return 0;
}

int store_open(const char *dir, enum store_access mode, struct store **ret_store, struct err *e)
{
    (void)dir, (void)mode, (void)e;
    *ret_store = &world.store;
    return 0;
}

int store_begin(struct store *store, struct err *e)
{
    (void)store, (void)e;
    return 0;
}

int store_verify(struct store *store, struct err *e)
{
    (void)store;
    return world.damaged ? err_set(e, -EUCLEAN, EXIT_REFUSED, "damaged") : 0;
}

int store_any_wanted(struct store *store, bool *ret_any, struct err *e)
{
    (void)store, (void)e;
    *ret_any = true;
    return 0;
}

void events_send_heal(const struct events_author *author, uint64_t fixed)
{
    (void)author, (void)fixed;
}

/* The rest is linked and not called here. */

#define NEVER(type, name, ...) \
    type name(__VA_ARGS__)     \
    {                          \
        abort();               \
    }

/* NOLINTBEGIN(misc-unused-parameters) */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
NEVER(int, store_put_iface, struct store *store, const struct store_iface *iface, uint32_t *ret_id,
      struct err *e)
NEVER(int, gate_open_any, const char *bpffs, bool writable, struct gate **ret_gate, struct err *e)
NEVER(int, gate_open_if_permitted, const char *bpffs, struct gate **ret_gate, struct err *e)
NEVER(int, gate_fail_hidden, struct err *e)
NEVER(int, store_begin_read, struct store *store, struct err *e)
NEVER(void, store_set_author, struct store *store, const struct store_author *author, int64_t now)
NEVER(void, gate_reset_clock, struct gate *gate)
NEVER(int, gate_detach, struct gate *gate, uint32_t id, struct err *e)
NEVER(int, iface_check, const char *name, uint32_t *ret_ifindex, struct err *e)
NEVER(bool, iface_is_called, const char *name, const char *called)
#pragma GCC diagnostic pop
/* NOLINTEND(misc-unused-parameters) */

/* ---- rounds ---- */

static void random_state(struct state *state)
{
    for (size_t i = 0; i < SOURCES; i++)
        state->until[i] = ends[(size_t)rand() % ARRAY_SIZE(ends)];
    for (size_t i = 0; i < ARRAY_SIZE(some_ports); i++)
        state->guarded[i] = rand() % 3 > 0;
    state->mode = modes[(size_t)rand() % ARRAY_SIZE(modes)];
}

/* It may tell of more than there is. */
static void make_summary(void)
{
    world.gate.summary = rand() % 2;
    world.gate.stale = rand() % 2 ? 0 : 2500; /* too many, with 4000 prefixes */
    for (size_t i = 0; i < SOURCES; i++)
        world.gate.told[i] = world.before.until[i] != UNTIL_ABSENT || rand() % 2;
}

/* The kernel has @before, the store has it too or is to have @after. */
static void begin_round(bool stored)
{
    free(world.store.delta.items);
    memset(&world, 0, sizeof(world));
    random_state(&world.before);
    random_state(&world.after);
    world.revision_before = 10;
    world.revision_after = 11;
    world.gate = (struct gate){
        .now = world.before, .applied = world.revision_before, .store_id = 7, .filled = true};
    make_summary();
    world.store.committed = stored ? world.after : world.before;
    world.store.revision = stored ? world.revision_after : world.revision_before;
    world.store.pending = world.after;
    world.store.pending_revision = world.store.revision;
    for (size_t i = 0; i < SOURCES; i++) {
        struct prefix prefix = prefix_at(i);

        if (world.before.until[i] != world.after.until[i])
            assert_int_equal(delta_push(&world.store.delta, &prefix, world.before.until[i],
                                        world.after.until[i]),
                             0);
    }
    world.watching = world.writable = true;
}

static int commit_round(void)
{
    struct change change = {.lock = -1, .store = &world.store, .gate = &world.gate};
    struct err e = {0};
    int r;

    change.before.revision = world.revision_before;
    r = change_commit(&change, &e);
    assert_int_equal(r == 0, change.committed);
    if (r < 0)
        store_rollback(&world.store);
    return r;
}

static bool has_stale_link(void)
{
    for (size_t i = 0; i < LINKS; i++)
        if (world.gate.links[i] >= GATE_LINK_HERE && !world.gate.current[i])
            return true;
    return false;
}

static void random_links(void)
{
    for (size_t i = 0; i < LINKS; i++) {
        world.gate.links[i] = (enum gate_link_state)(rand() % 4);
        world.gate.current[i] = rand() % 4 > 0;
    }
}

/* The kernel is at the store's revision, behind or ahead of it, or made from another store. */
static void begin_with(const struct change_options *options)
{
    bool refused, behind;
    struct change change;
    struct err e = {0};
    int r;

    begin_round(true);
    random_links();
    world.damaged = rand() % 4 == 0;
    world.gate.store_id = rand() % 4 ? 7 : 6;
    world.gate.applied = (uint64_t)rand() % 4 + 9;
    if (world.gate.applied == world.revision_after)
        world.gate.now = world.before = world.after;
    make_summary();
    if (world.gate.applied == 9) /* killed in the middle */
        world.gate.applied = 0;
    world.revision_before = world.gate.applied;
    refused =
        !options->adopt && (world.gate.store_id != 7 || world.gate.applied > world.revision_after);
    behind =
        world.gate.applied != world.revision_after || world.gate.store_id != 7 || has_stale_link();

    r = change_begin(options, &change, &e);
    if (refused || !behind || options->dry_run || world.damaged) {
        assert_int_equal(r, refused                                        ? -ESTALE
                            : behind && world.damaged && !options->dry_run ? -EUCLEAN
                                                                           : 0);
        assert_int_equal(world.steps, 0);
    } else {
        assert_int_equal(r, 0);
        assert_true(change.healed);
        assert_true(same_state(&world.gate.now, &world.after));
        assert_int_equal(world.gate.applied, world.revision_after);
        assert_int_equal(world.gate.store_id, 7);
        assert_false(has_stale_link());
    }
    if (refused)
        assert_non_null(strstr(e.message, world.gate.store_id != 7 ? "another store" : "older"));
    if (r == 0)
        change_end(&change);
}

static void test_begin(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct change_options options = {
            .state = "state", .bpffs = "bpf", .dry_run = rand() % 2, .adopt = rand() % 2};

        begin_with(&options);
    }
}

static void test_commit(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        begin_round(false);
        assert_int_equal(commit_round(), 0);
        assert_true(same_state(&world.gate.now, &world.after));
        assert_true(same_state(&world.store.committed, &world.after));
        assert_int_equal(world.gate.applied, world.revision_after);
        assert_int_equal(world.store.revision, world.revision_after);
        assert_true(world.gate.summary && world.gate.stale < 2500);
    }
}

/* Each step that wants memory fails once, and the commit: all is as it was. */
static void test_commit_fails(void **state)
{
    unsigned int failed = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        begin_round(false);
        world.fail_at = (unsigned int)rand() % (SOURCES + 2);
        world.commit_fails = !world.fail_at;
        if (commit_round() == 0)
            continue;
        failed++;
        assert_true(same_state(&world.gate.now, &world.before));
        assert_int_equal(world.gate.applied, world.revision_before);
        assert_int_equal(world.store.revision, world.revision_before);
    }
    assert_in_range(failed, ROUNDS / 10, ROUNDS);
}

static unsigned int count_untold(void)
{
    unsigned int untold = 0;

    for (size_t i = 0; i < SOURCES; i++)
        untold += world.gate.summary && !world.gate.told[i] && world.after.until[i] != UNTIL_ABSENT;
    return untold;
}

static struct sync_check compare(void)
{
    struct sync_check check;
    struct store_settings settings;

    assert_int_equal(store_read_settings(&world.store, &settings, NULL), 0);
    assert_int_equal(sync_compare(&world.store, &world.gate, &settings, 100, &check, NULL), 0);
    return check;
}

/* Whatever the kernel has. Not in force before each live link has it. */
static void test_sync(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct sync_check check;
        uint64_t fixed, differ;

        begin_round(true);
        if (rand() % 4 == 0) { /* somebody emptied it */
            memset(world.gate.told, 0, sizeof(world.gate.told));
            world.watching = false;
        }
        world.gate.store_id = (uint64_t)rand() % 2 + 6;
        world.gate.filled = rand() % 2;
        random_links();
        check = compare();
        differ = check.missing + check.surplus + check.differing;
        assert_int_equal(check.present, world.gate.filled);
        if (check.present)
            assert_int_equal(differ, world.store.delta.count + count_untold());
        if (check.present)
            assert_int_equal(check.settings, world.before.mode == world.after.mode &&
                                                 !memcmp(world.before.guarded, world.after.guarded,
                                                         sizeof(world.after.guarded)));
        assert_false(sync_is_equal(&check)); /* another revision */
        assert_int_equal(sync_list(&world.store, &world.gate, false, &fixed, NULL), 0);
        assert_int_equal(fixed, world.store.delta.count);
        for (size_t i = 0; i < SOURCES; i++)
            assert_int_equal(world.gate.told[i], world.after.until[i] != UNTIL_ABSENT);
        assert_int_equal(world.gate.applied, 0);
        assert_int_equal(sync_live_links(&world.store, &world.gate, NULL), 0);
        assert_int_equal(world.gate.applied, world.revision_after);
        assert_true(same_state(&world.gate.now, &world.after));
        assert_false(has_stale_link());
        check = compare();
        assert_true(sync_is_equal(&check));
    }
}

/* No memory on the way: nothing that lets in less was done, and it is told as not in force. */
static void test_sync_fails(void **state)
{
    unsigned int failed = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t fixed;

        begin_round(true);
        world.fail_at = 2 + (unsigned int)rand() % SOURCES;
        if (sync_list(&world.store, &world.gate, false, &fixed, NULL) == 0)
            continue;
        failed++;
        assert_int_equal(world.gate.applied, 0);
        for (size_t i = 0; i < SOURCES; i++)
            assert_true(world.gate.now.until[i] >= world.before.until[i]);
        assert_int_equal(world.gate.now.mode, world.before.mode);
    }
    assert_in_range(failed, ROUNDS / 10, ROUNDS);
    free(world.store.delta.items);
    world.store.delta = (struct delta){0};
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin),        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_commit_fails), cmocka_unit_test(test_sync),
        cmocka_unit_test(test_sync_fails),
    };

    srand(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
