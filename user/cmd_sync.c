/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sync: store -> kernel, as a person, the boot (smtpgate-pre.service, smtpgate.service) and udev
 * call it. How the two are made equal is for sync.c; here is who is waited for, and what is said.
 */
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "live.h"
#include "sync.h"
#include "when.h"

struct report {
    const struct cmd_context *ctx;
    struct sync_scope scope;
    json_t *interfaces;
    bool failed; /* the first failure is the command's error */
};

static void report_iface(const struct sync_result *result, const struct err *problem, void *arg)
{
    struct report *report = arg;
    char name[CMD_NAME_MAX];

    if (result->absent) {
        text_escape(result->name, name, sizeof(name));
        out_done(&report->ctx->out, "%s: not there yet; guarded when it appears\n", name);
        json_array_append_new(report->interfaces,
                              json_pack("{s:s, s:b, s:s, s:b}", "name", name, "attached", false,
                                        "xdp_mode", "none", "replaced", false));
        return;
    }
    if (!problem) {
        cmd_say_attached(report->ctx, result);
        json_array_append_new(report->interfaces, cmd_attached_json(result));
        return;
    }
    text_escape(result->name, name, sizeof(name));
    if (report->failed)
        out_warn(&report->ctx->out, "%s: %s\n", name, problem->message);
    report->failed = true;
    json_array_append_new(report->interfaces,
                          json_pack("{s:s, s:b, s:s, s:s}", "name", name, "attached", false,
                                    "xdp_mode", "none", "problem", problem->message));
}

/*
 * Once all links are in force: a log that has stopped reading holds up each event, and no interface
 * shall wait for that.
 */
static void send_events(const struct report *report)
{
    json_t *item;
    size_t i;

    json_array_foreach (report->interfaces, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        const char *problem = json_string_value(json_object_get(item, "problem"));

        if (problem)
            events_send_failed_attach(name, problem);
        else if (json_is_true(json_object_get(item, "attached")) &&
                 !json_is_true(json_object_get(item, "replaced")))
            events_send_attach(NULL, name, json_string_value(json_object_get(item, "xdp_mode")),
                               false);
    }
}

/* The time of the last change is written down that often, if nothing else is. */
#define CLOCK_SAVED_S 3600

/* What had ended by the clock that was ahead may begin again. */
static void say_clock_back(const struct cmd_context *ctx, int64_t from, int64_t to)
{
    char before[OUT_TIME_MAX], now[OUT_TIME_MAX];

    if (from - to > 1)
        out_warn(&ctx->out,
                 "the clock is taken as it is, back from %s to %s: what ended in between lets in"
                 " again\n",
                 out_local_time(from, before), out_local_time(to, now));
}

/*
 * With -y the wall clock is right wherever it stands. Else it is noted from time to time, so that a
 * clock that is dead after the next boot makes nothing that has ended begin again; a store that is
 * read-only goes without.
 */
static int settle_clock(struct change *change, bool accept, struct err *e)
{
    int64_t now = time(NULL);

    if (!accept && now > change->before.clock + CLOCK_SAVED_S)
        store_set_clock(change->store, now, NULL);
    if (!accept)
        return 0;
    change->now = now;
    return store_set_clock(change->store, now, e);
}

/* The list and the settings, entry by entry. @ret_was: how far off the settings were. */
static int sync_whole_list(struct change *change, bool accept, struct sync_check *ret_was,
                           uint64_t *ret_fixed, struct err *e)
{
    int r = store_verify(change->store, e);

    if (r == 0)
        r = settle_clock(change, accept, e);
    if (r == 0)
        r = sync_compare(change->store, change->gate, &change->before, 0, ret_was, e);
    if (r == 0)
        r = sync_list(change->store, change->gate, accept, ret_fixed, e);
    return r;
}

static int sync_everything(const struct cmd_context *ctx, const struct change_options *options,
                           struct report *report, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    struct store_counts counts;
    char ports[CMD_PORTS_MAX];
    const bool accept = options->adopt || ctx->yes;
    struct sync_check was = {0};
    uint64_t fixed = 0;
    int64_t told;
    int r, ifaces;

    r = change_begin(options, &change, e);
    told = change.now;
    /* For single interfaces a list that is in step need not be read: change_begin() has healed one
     * that is not, and there may be a million entries and traffic waiting. */
    if (r == 0 && !report->scope.n_names)
        r = sync_whole_list(&change, accept, &was, &fixed, e);
    if (r == 0)
        r = store_read_counts(change.store, &counts, e);
    if (r < 0)
        return r;
    ifaces = sync_all_ifaces(change.store, change.gate, &report->scope, report_iface, report, e);
    r = sync_live_links(change.store, change.gate, ifaces < 0 ? NULL : e);
    if (r == 0)
        r = change_commit(&change, ifaces < 0 ? NULL : e);
    send_events(report);
    if (fixed || (was.present && !was.settings))
        events_send_heal(&change.author, fixed);
    if (r < 0 && ifaces == 0)
        return r;
    if (accept)
        say_clock_back(ctx, told, change.now);
    out_done(&ctx->out, "list: %llu %s in force, %llu corrected; %s\n",
             (unsigned long long)counts.prefixes, counts.prefixes == 1 ? "prefix" : "prefixes",
             (unsigned long long)(fixed + change.fixed),
             mode_name(change_mode_before(&change).mode));
    if (options->adopt && !change.before.on)
        out_warn(&ctx->out,
                 "the list is empty: the gate is now off, and every source reaches ports %s\n",
                 cmd_ports(&change.before, ports));
    if (ifaces < 0)
        return ifaces;
    out_json(&ctx->out,
             json_pack("{s:b, s:I, s:I, s:O}", "in_sync", true, "prefixes",
                       (json_int_t)counts.prefixes, "corrected", (json_int_t)(fixed + change.fixed),
                       "interfaces", report->interfaces));
    return 0;
}

/*
 * Whether the kernel's gate was made from another store than the one that is there now, or none. No
 * store and no gate: there is nothing to put in force, and none is invented (/var may just not be
 * mounted yet).
 */
static int is_foreign(const struct cmd_context *ctx, bool *ret_foreign, bool *ret_missing,
                      struct err *e)
{
    _cleanup_(gate_close) struct gate *gate = NULL;
    _cleanup_(store_close) struct store *store = NULL;
    struct store_settings settings;
    int r = gate_open(ctx->bpffs, false, &gate, e);

    if (r < 0)
        return r;
    r = store_open(ctx->state, STORE_READ, &store, e);
    if (r == -ENOENT && !gate_is_claimed(gate)) {
        err_set(e, 0, EXIT_REFUSED, "there is no store in %s: nothing to put in force", ctx->state);
        err_hint(e, "smtpgate attach IFACE and smtpgate add WHO begin one");
        return r;
    }
    if (r ==
        -ENOTSUP) /* of another version: change_begin() brings it up to date, or says why not */
        return 0;
    if (r < 0 && r != -ENOENT)
        return r;
    *ret_missing = r == -ENOENT;
    if (!*ret_missing)
        r = store_read_settings(store, &settings, e);
    if (r < 0 && !*ret_missing)
        return r;
    *ret_foreign = *ret_missing || (gate_store_id(gate) && (gate_store_id(gate) != settings.id ||
                                                            change_is_ahead(gate, &settings)));
    return 0;
}

/* ---- waiting ---- */

#define POLL_MS    100
#define WAIT_MAX_S 3600

static int64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* @ret_deadline: on the monotonic clock; without --wait it is over already. */
static int parse_wait(const struct cmd_context *ctx, int64_t *ret_deadline, struct err *e)
{
    int64_t seconds = 0;
    int r = ctx->options[OPT_WAIT] ? when_parse_duration(ctx->options[OPT_WAIT], &seconds, e) : 0;

    if (r == 0 && seconds > WAIT_MAX_S) {
        r = err_set(e, -EINVAL, EXIT_USAGE, "nothing is waited for that long");
        err_hint(e, "--wait 30s; 1h at most");
    }
    if (r < 0)
        return r;
    *ret_deadline = monotonic_ms() + seconds * 1000;
    return 0;
}

/* How many of those that are meant there are, and how many of these are not there. */
static int look_for(const struct cmd_context *ctx, const struct sync_scope *scope,
                    size_t *ret_meant, size_t *ret_absent, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    size_t i, meant = 0, absent = 0;
    int r = change_begin_read(ctx->state, ctx->bpffs, &change, e);

    if (r == 0)
        r = sync_read_ifaces(change.store, change.gate, &ifaces, e);
    if (r < 0)
        return r;
    for (i = 0; i < ifaces.count; i++) {
        if (!sync_iface_is_meant(&ifaces.items[i], scope))
            continue;
        meant++;
        absent += sync_iface_is_absent(&ifaces.items[i]);
    }
    *ret_meant = meant;
    *ret_absent = absent;
    return 0;
}

/*
 * Until those that are meant are there, or the time is over; holds no lock, so that each can be
 * guarded by another sync as it appears. 1 when none is meant. What cannot be read now is for
 * sync_everything() to tell.
 */
static int wait_for_ifaces(const struct cmd_context *ctx, const struct sync_scope *scope,
                           int64_t deadline)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    size_t meant, absent;

    while (look_for(ctx, scope, &meant, &absent, NULL) == 0) {
        if (!meant && scope->n_names)
            return 1;
        if (!absent || monotonic_ms() >= deadline)
            return 0;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/*
 * udev's call for a card that goes on without the gate now: nobody reads what it says. One that has
 * the gate (it was renamed, or a person asks) keeps it.
 */
static void send_busy(const struct cmd_context *ctx, const struct sync_scope *scope,
                      const struct err *problem)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    size_t i;

    if (!scope->n_names || change_begin_read(ctx->state, ctx->bpffs, &change, NULL) < 0 ||
        sync_read_ifaces(change.store, change.gate, &ifaces, NULL) < 0)
        return;
    for (i = 0; i < ifaces.count; i++)
        if (ifaces.items[i].open_here && sync_iface_is_meant(&ifaces.items[i], scope))
            events_send_failed_attach(ifaces.items[i].row.name, problem->message);
}

static int confirm_foreign(const struct cmd_context *ctx, bool missing, struct err *e)
{
    int r = cmd_confirm(
        ctx,
        missing ? "The store is missing or empty, but the kernel holds a gate made"
                  " from one; an empty list would take its place, which opens the"
                  " gate."
                : "The gate in the kernel was made from another store than this"
                  " one, or a newer copy; its list would be replaced by this one's, which may open"
                  " the gate.",
        e);

    if (r < 0 && e->code == EXIT_CONFIRM)
        err_hint(e, "put back a copy of the right store from a backup, then: smtpgate sync; or"
                    " repeat it with -y");
    return r;
}

static bool is_meant_by(const struct sync_ifaces *ifaces, char *const *name)
{
    const struct sync_scope scope = {.names = name, .n_names = 1};
    size_t i = 0;

    while (i < ifaces->count && !sync_iface_is_meant(&ifaces->items[i], &scope))
        i++;
    return i < ifaces->count;
}

/* A name that was mistyped may be any other; udev calls with those that never were remembered. */
static void say_left_alone(const struct cmd_context *ctx)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    char name[CMD_NAME_MAX];
    size_t i;

    if (!ctx->n_args || change_begin_read(ctx->state, ctx->bpffs, &change, NULL) < 0 ||
        sync_read_ifaces(change.store, change.gate, &ifaces, NULL) < 0)
        return;
    for (i = 0; i < ctx->n_args; i++)
        if (!is_meant_by(&ifaces, &ctx->args[i]))
            out_done(&ctx->out, "%s: not remembered, left alone (smtpgate attach %s guards it)\n",
                     text_escape(ctx->args[i], name, sizeof(name)), name);
}

/* sync "$IFACE" of a script where that is not set: neither all nor none can be what is meant. */
static int check_names(const struct cmd_context *ctx, struct err *e)
{
    size_t i;

    for (i = 0; i < ctx->n_args; i++) {
        if (*ctx->args[i])
            continue;
        err_set(e, 0, EXIT_USAGE, "an interface's name is empty");
        err_hint(e, "smtpgate sync, without a name, is for all that are remembered");
        return -EINVAL;
    }
    return 0;
}

int cmd_sync(const struct cmd_context *ctx, struct err *e)
{
    struct change_options options = {.state = ctx->state, .bpffs = ctx->bpffs, .need_gate = true};
    struct report report = {
        .ctx = ctx,
        .scope = {.names = ctx->args, .n_names = ctx->n_args, .later = ctx->options[OPT_BOOT]}};
    bool foreign = false, missing = false;
    int64_t deadline;
    int r = check_names(ctx, e);

    if (r == 0)
        r = parse_wait(ctx, &deadline, e);
    if (r < 0)
        return r;
    if (ctx->dry_run)
        return cmd_status(ctx, e);
    r = is_foreign(ctx, &foreign, &missing, e);
    if (r == 0 && foreign) {
        r = confirm_foreign(ctx, missing, e);
        options.adopt = true;
    }
    if (r < 0)
        return r;
    r = wait_for_ifaces(ctx, &report.scope, report.scope.later ? 0 : deadline);
    say_left_alone(ctx);
    if (r == 1) {
        out_json(&ctx->out, json_pack("{s:[]}", "interfaces"));
        return 0;
    }
    report.interfaces = json_array();
    do {
        json_array_clear(report.interfaces); /* what an attempt before said of them */
        report.failed = false;
        r = sync_everything(ctx, &options, &report, e);
    } while (r == -EBUSY && e->code == EXIT_BUSY && monotonic_ms() < deadline);
    json_decref(report.interfaces);
    if (r < 0 && e->code == EXIT_BUSY)
        send_busy(ctx, &report.scope, e);
    return r;
}
