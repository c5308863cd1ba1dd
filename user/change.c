/* SPDX-License-Identifier: GPL-2.0-only */
/* See change.h. */
#include "change.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "lock.h"
#include "sync.h"

/* A revision that this store never had is in force: the file is an older copy. */
bool change_is_ahead(const struct gate *gate, const struct store_settings *settings)
{
    struct gate_state state;

    gate_read_state(gate, &state);
    return state.applied > settings->revision;
}

static int fail_older_store(struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the store is older than the list that is in force (a copy put"
            " back?); nothing changed, the gate stays as it is");
    err_hint(e, "put the newer store back, then: smtpgate sync; or to go back to this one: smtpgate"
                " sync -y");
    return -ESTALE;
}

static int fail_other_store(struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the gate in the kernel was made from another store than this one;"
            " nothing changed, the gate stays as it is");
    err_hint(e, "put the right store back, then: smtpgate sync; or to make the kernel equal to this"
                " store: smtpgate sync -y");
    return -ESTALE;
}

int change_fail_no_store(const char *state, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "the store in %s is missing or empty, but the kernel holds a gate made from"
            " one; nothing changed, the gate stays as it is",
            state);
    err_hint(e, "is --state right? Else put back a copy from a backup, then: smtpgate sync; or to "
                "start anew with an empty"
                " list, which opens the gate: smtpgate sync -y");
    return -ESTALE;
}

int change_open_store(const char *state, const struct gate *gate, enum store_access mode,
                      struct store **ret_store, struct err *e)
{
    int r = store_open(state, STORE_READ, ret_store, e);

    if (r == -ENOENT && gate_is_hidden(gate))
        return gate_fail_hidden(e); /* an empty list may be a wrong answer */
    if (r == -ENOENT && gate_is_claimed(gate))
        return change_fail_no_store(state, e);
    if (r == -ENOENT && mode == STORE_READ)
        return store_open(state, STORE_DRY, ret_store, e);
    if (r < 0 && r != -ENOENT && r != -ENOTSUP)
        return r;
    if (r == 0)
        store_close(TAKE_PTR(*ret_store));
    return store_open(state, mode, ret_store, e); /* one of an older version is there too */
}

/* For detach, which must work without a store too, and makes none. */
static int open_any_store(const char *state, enum store_access mode, struct store **ret_store,
                          struct err *e)
{
    int r = store_open(state, STORE_READ, ret_store, e);

    if (r < 0 && r != -ENOENT && r != -ENOTSUP)
        return r;
    if (r == 0)
        store_close(TAKE_PTR(*ret_store));
    return store_open(state, r == -ENOENT ? STORE_DRY : mode, ret_store, e);
}

static int open_both(const struct change_options *options, struct change *change, struct err *e)
{
    enum store_access mode = options->dry_run ? STORE_DRY : STORE_WRITE;
    const bool writable = !options->dry_run;
    int r = options->store_only ? gate_open_if_permitted(options->bpffs, &change->gate, e)
            : options->no_heal  ? gate_open_any(options->bpffs, writable, &change->gate, e)
                                : gate_open(options->bpffs, writable, &change->gate, e);

    if (r == 0 && !options->dry_run && !options->no_heal)
        r = gate_check_owner(change->gate, e);
    if (r == 0 && options->need_gate)
        r = gate_need_bpffs(change->gate, e); /* before anything is stored */
    if (r < 0)
        return r;
    if (options->no_heal)
        r = open_any_store(options->state, mode, &change->store, e);
    else if (options->adopt)
        r = store_open(options->state, mode, &change->store, e);
    else
        r = change_open_store(options->state, change->gate, mode, &change->store, e);
    if (r == 0)
        r = store_begin(change->store, e);
    if (r == 0)
        r = store_read_settings(change->store, &change->before, e);
    return r;
}

/* Whether the kernel is at the store's last revision, on every interface. */
static int is_behind(struct change *change, bool *ret_behind, struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    struct gate_state state;
    bool deadlines = false;
    int r;

    if (!gate_is_whole(change->gate)) {
        *ret_behind = true;
        return 0;
    }
    r = sync_read_ifaces(change->store, change->gate, &ifaces, e);
    if (r == 0)
        r = store_has_deadlines(change->store, &deadlines, e);
    if (r < 0)
        return r;
    gate_read_state(change->gate, &state);
    *ret_behind = state.applied != change->before.revision || state.store_id != change->before.id ||
                  sync_has_stale_link(&ifaces) || gate_lacks_maps(change->gate) ||
                  (deadlines && gate_clock_is_behind(change->gate, change->before.clock));
    return 0;
}

/* Brings the kernel to the store's last revision before anything new is put on top. */
static int heal(const struct change_options *options, struct change *change, struct err *e)
{
    bool whole = gate_is_whole(change->gate), behind = false;
    uint64_t id = gate_store_id(change->gate);
    int r;

    if (id && id != change->before.id && !options->adopt)
        return fail_other_store(e);
    if (id && change_is_ahead(change->gate, &change->before) && !options->adopt)
        return fail_older_store(e);
    r = store_any_wanted(change->store, &change->attached, e);
    if (r < 0)
        return r;
    if (!gate_is_claimed(change->gate) && !change->attached && !options->need_gate) {
        gate_close(TAKE_PTR(change->gate));
        return 0;
    }
    r = is_behind(change, &behind, e);
    if (r < 0 || !behind || change->dry_run) {
        /* Without deadlines nothing was made with it. */
        if (r == 0 && !change->dry_run)
            gate_adjust_clock(change->gate, change->before.clock);
        return r;
    }
    r = store_verify(change->store, e); /* before any of it is put in force */
    if (r == 0)
        r = gate_make_maps(change->gate, e);
    if (r == 0)
        r = sync_list(change->store, change->gate, false, &change->fixed, e);
    if (r == 0)
        r = sync_live_links(change->store, change->gate, e);
    /* An interface that is missing now is no reason to refuse a change of the list. */
    if (r == 0 && !whole && !options->need_gate)
        sync_all_ifaces(change->store, change->gate, NULL, NULL, NULL, &change->problem);
    change->healed = r == 0 && (whole || change->attached);
    return r;
}

/* Whether an interface that is remembered carries the gate: the pins may be gone. */
static int read_guarding(struct change *change, struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    int r = change->gate ? sync_read_ifaces(change->store, change->gate, &ifaces, e) : 0;

    change->guarding = r == 0 && sync_has_live_link(&ifaces);
    return r;
}

static void take_author(struct change *change, const struct store_author *author)
{
    struct events_author *own = &change->author;

    own->uid = author->uid;
    text_escape(author->who, own->who, sizeof(own->who));
    text_escape(author->origin, own->origin, sizeof(own->origin));
    text_escape(author->command, own->command, sizeof(own->command));
}

int change_begin(const struct change_options *options, struct change *ret_change, struct err *e)
{
    struct change change = {.lock = -1, .dry_run = options->dry_run};
    int r = 0;

    if (options->author)
        take_author(&change, options->author);
    if (!change.dry_run)
        r = lock_take(options->state, &change.lock, e);
    if (r == 0)
        r = open_both(options, &change, e);
    if (r == 0 && !options->no_heal)
        r = heal(options, &change, e);
    if (r == 0)
        r = read_guarding(&change, e);
    if (r == 0)
        change.now = gate_now(change.gate, change.before.clock);
    if (r == 0 && options->author)
        store_set_author(change.store, options->author, change.now);
    if (r < 0) {
        change_end(&change);
        return r;
    }
    if (change.healed)
        events_send_heal(&change.author, change.fixed);
    *ret_change = change;
    return 0;
}

static int look(const char *state, const char *bpffs, struct change *change, struct err *e)
{
    int r = gate_open(bpffs, false, &change->gate, e);

    if (r == 0)
        r = change_open_store(state, change->gate, STORE_READ, &change->store, e);
    if (r == 0)
        r = store_begin_read(change->store, e);
    if (r == 0)
        r = store_read_settings(change->store, &change->before, e);
    if (r == 0)
        r = read_guarding(change, e);
    if (r == 0)
        change->now = gate_now(change->gate, change->before.clock);
    return r;
}

int change_begin_read(const char *state, const char *bpffs, struct change *ret_change,
                      struct err *e)
{
    struct change change = {.lock = -1, .dry_run = true};
    int r = look(state, bpffs, &change, e);

    if (r < 0) {
        change_end(&change);
        return r;
    }
    *ret_change = change;
    return 0;
}

struct mode_plan change_mode_before(const struct change *change)
{
    return mode_at(change->before.on, &change->before.plan, change->now);
}

/* ---- committing ---- */

static bool lets_in_more(const struct delta_item *item)
{
    return item->after > item->before;
}

/* @done is what was new, or longer than before. */
static void take_back(struct change *change, const struct delta *done)
{
    struct err ignored;
    size_t i;
    int r = 0;

    for (i = 0; i < done->count; i++) {
        struct delta_item back = done->items[i];

        back.after = done->items[i].before;
        back.before = done->items[i].after;
        r |= sync_apply_item(change->gate, &back, &ignored);
    }
    if (r == 0)
        gate_set_applied(change->gate, change->before.revision);
}

static int open_item(struct change *change, const struct delta_item *item, struct delta *done,
                     struct err *e)
{
    bool is_new = true;
    int r = item->before == UNTIL_ABSENT
                ? gate_add_prefix(change->gate, &item->prefix, item->after, &is_new, e)
                : gate_set_until(change->gate, &item->prefix, item->after, e);
    struct delta_item back = {.prefix = item->prefix, .before = item->after, .after = item->before};

    if (r < 0)
        return r;
    if (is_new && delta_push(done, &item->prefix, item->before, item->after) < 0) {
        sync_apply_item(change->gate, &back, e);
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory; nothing changed");
    }
    return 0;
}

/* All that lets in more; only this can fail for want of memory or room. */
static int open_items(struct change *change, const struct delta *delta, struct delta *done,
                      struct err *e)
{
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < delta->count; i++)
        if (lets_in_more(&delta->items[i]))
            r = open_item(change, &delta->items[i], done, e);
    return r;
}

static int finish_kernel(struct change *change, const struct delta *delta,
                         const struct store_settings *after, struct err *e)
{
    struct err ignored;
    size_t i;
    int r = 0;

    sync_put_settings(change->gate, after);
    for (i = 0; r == 0 && i < delta->count; i++)
        if (!lets_in_more(&delta->items[i]))
            r = sync_apply_item(change->gate, &delta->items[i], e);
    if (r < 0) {
        err_set(e, r, EXIT_REFUSED, "the change is stored, but the kernel refused part of it (%s)",
                strerror(-r));
        err_hint(e, "smtpgate sync");
        return r;
    }
    gate_set_applied(change->gate, after->revision);
    sync_tidy(change->store, change->gate, &ignored); /* the change is in force without */
    return 0;
}

static int commit_both(struct change *change, struct err *e)
{
    const struct delta *delta = store_delta(change->store);
    _cleanup_delta_ struct delta done = {0};
    struct store_settings after;
    int r = store_read_settings(change->store, &after, e);

    if (r < 0)
        return r;
    gate_set_applied(change->gate, 0);
    r = open_items(change, delta, &done, e);
    if (r == 0)
        r = store_commit(change->store, e);
    if (r < 0) {
        take_back(change, &done);
        return r;
    }
    change->committed = true;
    return finish_kernel(change, delta, &after, e);
}

/* What a person or a shell sends, on purpose or by closing a window. */
static void fill_signals(sigset_t *set, bool stop)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
    if (stop)
        sigaddset(set, SIGTSTP);
}

/*
 * A ^C between store and kernel would leave the two apart, and whoever was deleted let in, with
 * nobody told. Once begun it is carried through: what came meanwhile came too late, and the answer
 * says what was done. Only ^Z still stops it then.
 */
static int commit_unbroken(struct change *change, struct err *e)
{
    const struct timespec at_once = {0};
    sigset_t held, late, before;
    int r;

    fill_signals(&held, true);
    fill_signals(&late, false);
    sigprocmask(SIG_BLOCK, &held, &before);
    r = commit_both(change, e);
    while (sigtimedwait(&late, NULL, &at_once) > 0)
        ;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

static int commit(struct change *change, struct err *e)
{
    int r;

    if (store_kernel_changed(change->store)) {
        r = store_bump_revision(change->store, e);
        if (r < 0)
            return r;
        if (change->gate)
            return commit_unbroken(change, e);
    }
    r = store_commit(change->store, e);
    change->committed = r == 0;
    return r;
}

int change_commit(struct change *change, struct err *e)
{
    struct events_change done = {.before = &change->before, .now = change->now};
    struct store_settings after;
    int r;

    if (change->dry_run) {
        store_rollback(change->store);
        return 0;
    }
    store_read_touched(change->store, &done.added, &done.deleted, &done.edited);
    done.id = store_change_id(change->store);
    r = store_read_settings(change->store, &after, e);
    if (r == 0)
        r = commit(change, e);
    done.after = &after;
    if (change->committed) /* the kernel may have refused part of it */
        events_send_change(&change->author, &done);
    return r;
}

void change_end(struct change *change)
{
    if (change->store && !change->committed)
        store_rollback(change->store);
    store_close(TAKE_PTR(change->store));
    gate_close(TAKE_PTR(change->gate));
    cleanup_close(&change->lock);
    change->lock = -1;
}
