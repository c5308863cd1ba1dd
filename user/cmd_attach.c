/* SPDX-License-Identifier: GPL-2.0-only */
/* attach, detach, sync: the gate on its interfaces. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "iface.h"
#include "live.h"
#include "sync.h"

static void say_attached(const struct cmd_context *ctx, const struct sync_result *result)
{
    const struct gate_attached *attached = &result->attached;
    char name[CMD_NAME_MAX];

    text_escape(result->name, name, sizeof(name));
    if (attached->xdp == GATE_XDP_NONE) {
        out_done(&ctx->out, "%s: replaced in place, in another network namespace\n", name);
        return;
    }
    if (!strcmp(name, "lo"))
        out_note(&ctx->out, "lo carries this host's own connections: local submission is judged"
                            " too now; list 127.0.0.1 and ::1 if it shall work\n");
    out_done(&ctx->out, "%s: %s, %s mode\n", name,
             attached->replaced ? "replaced in place" : "attached", gate_xdp_name(attached->xdp));
    if (attached->native_error)
        out_note(&ctx->out,
                 "%s: no native mode (%s), so generic, which is slower and has the same verdicts\n",
                 result->name,
                 attached->native_error == EOPNOTSUPP ? "the driver has none"
                                                      : strerror(attached->native_error));
}

static json_t *attached_json(const struct sync_result *result)
{
    char name[CMD_NAME_MAX];

    return json_pack("{s:s, s:b, s:s, s:b}", "name", text_escape(result->name, name, sizeof(name)),
                     "attached", true, "xdp_mode", gate_xdp_name(result->attached.xdp), "replaced",
                     result->attached.replaced);
}

static void log_attached(const struct events_author *author, const struct sync_result *result)
{
    char name[CMD_NAME_MAX];

    events_send_attach(author, text_escape(result->name, name, sizeof(name)),
                       gate_xdp_name(result->attached.xdp), result->attached.replaced);
}

static bool guards(const struct store_settings *settings, uint16_t port)
{
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].port == port && settings->ports[i].guarded)
            return true;
    return false;
}

/* A host that also receives mail: other mail servers come to port 25 too. */
static void say_mx(const struct cmd_context *ctx, const struct store_settings *settings)
{
    if (!guards(settings, 25) || !iface_port_is_open(25))
        return;
    out_note(&ctx->out,
             "a server listens on port 25 here. If this host also receives mail for a domain (MX),"
             " guarding 25 keeps out every mail server that is not listed. To guard only the ports"
             " that customers send through:\n  smtpgate set ports 465,587\n");
}

static void say_state(const struct cmd_context *ctx, const struct store_settings *settings)
{
    char ports[CMD_PORTS_MAX];

    if (!settings->on)
        out_note(&ctx->out,
                 "the list is empty, so the gate is off and lets everyone in; the first entry turns"
                 " it on for ports %s: smtpgate add WHO\n",
                 cmd_ports(settings, ports));
}

static int parse_mode(const struct cmd_context *ctx, enum store_iface_mode *ret_mode, struct err *e)
{
    static const char *const names[] = {
        [STORE_IFACE_AUTO] = "auto",
        [STORE_IFACE_NATIVE] = "native",
        [STORE_IFACE_GENERIC] = "generic",
    };
    const char *text = ctx->options[OPT_MODE];
    char shown[64];
    size_t i;

    if (!text)
        return 0;
    for (i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(text, names[i])) {
            *ret_mode = (enum store_iface_mode)i;
            return 0;
        }
    err_set(e, 0, EXIT_USAGE, "\"%s\" is no mode", text_escape(text, shown, sizeof(shown)));
    err_hint(e, "--mode auto, --mode native or --mode generic");
    return -EINVAL;
}

/* ---- attach ---- */

static bool carries(const struct sync_ifaces *ifaces, const char *name)
{
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].link.state == GATE_LINK_HERE &&
            !strcmp(ifaces->items[i].link.name, name))
            return true;
    return false;
}

/*
 * Asks where an interface gets the gate that had none. Which one a session comes in by the kernel
 * does not tell: some that are named may have been cut off on another one before.
 */
static int confirm_attach(const struct cmd_context *ctx, struct change *change,
                          struct live *ret_live, struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    int r = change->gate ? sync_read_ifaces(change->store, change->gate, &ifaces, e) : 0;
    size_t i;

    for (i = 0; r == 0 && i < ctx->n_args; i++)
        if (!carries(&ifaces, ctx->args[i]))
            return live_confirm(ctx, change, LIVE_AS_ATTACHED, LIVE_WARN, ret_live, e);
    return r;
}

/* All or nothing: what this command attached anew is taken off again. */
static int attach_all(const struct cmd_context *ctx, struct change *change,
                      const enum store_iface_mode *mode, struct sync_result *results,
                      struct live *ret_live, struct err *e)
{
    size_t i, done;
    int r = confirm_attach(ctx, change, ret_live, e);

    for (done = 0; r == 0 && done < ctx->n_args; done++) {
        r = sync_attach(change->store, change->gate, ctx->args[done], mode, &results[done], e);
        if (r < 0)
            break;
    }
    if (r == 0)
        r = change_commit(change, e);
    for (i = 0; r < 0 && i < done; i++)
        gate_undo_attach(change->gate, results[i].id, &results[i].attached);
    if (r < 0 && !change->attached)
        gate_drop_new_maps(change->gate);
    return r;
}

static int check_names(const struct cmd_context *ctx, struct err *e)
{
    uint32_t ifindex;
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < ctx->n_args; i++)
        r = iface_check(ctx->args[i], &ifindex, e);
    return r;
}

static int say_would_attach(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_live_ struct live live = {0};
    json_t *names;
    char name[CMD_NAME_MAX];
    size_t i;
    int r = change_begin_read(ctx->state, ctx->bpffs, &change, e);

    if (r == 0)
        r = confirm_attach(ctx, &change, &live, e);
    if (r < 0)
        return r;
    names = json_array();
    for (i = 0; i < ctx->n_args; i++) {
        text_escape(ctx->args[i], name, sizeof(name));
        out_done(&ctx->out, "%s: would be attached\n", name);
        json_array_append_new(names, json_pack("{s:s, s:b}", "name", name, "attached", false));
    }
    out_json(&ctx->out,
             json_pack("{s:b, s:b, s:o}", "changed", true, "dry_run", true, "interfaces", names));
    return 0;
}

int cmd_attach(const struct cmd_context *ctx, struct err *e)
{
    const struct change_options options = {
        .state = ctx->state,
        .bpffs = ctx->bpffs,
        .need_gate = true,
    };
    _cleanup_free_ struct sync_result *results = calloc(ctx->n_args, sizeof(*results));
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_live_ struct live live = {0};
    enum store_iface_mode mode = STORE_IFACE_AUTO;
    json_t *names;
    size_t i;
    int r;

    if (!results)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    r = parse_mode(ctx, &mode, e);
    if (r == 0)
        r = check_names(ctx, e);
    if (r == 0 && ctx->dry_run)
        return say_would_attach(ctx, e);
    if (r == 0)
        r = cmd_begin_with(ctx, &options, &change, e);
    if (r == 0)
        r = attach_all(ctx, &change, ctx->options[OPT_MODE] ? &mode : NULL, results, &live, e);
    if (r < 0)
        return r;
    names = json_array();
    for (i = 0; i < ctx->n_args; i++) {
        say_attached(ctx, &results[i]);
        log_attached(&change.author, &results[i]);
        json_array_append_new(names, attached_json(&results[i]));
    }
    say_mx(ctx, &change.before);
    say_state(ctx, &change.before);
    live_say_hanging(ctx, &live);
    out_json(&ctx->out, json_pack("{s:b, s:o}", "changed", true, "interfaces", names));
    return 0;
}

/* ---- detach ---- */

/* A device that has this name now. */
static bool has_name(const struct sync_iface *iface, const char *name)
{
    return iface->link.state == GATE_LINK_HERE && !strcmp(name, iface->link.name);
}

/*
 * The interface that is called @name now; if none is, the one that is remembered by it. A renamed
 * one's old name may be another's now.
 */
static bool means(const struct sync_ifaces *ifaces, const char *name,
                  const struct sync_iface *iface)
{
    size_t i;

    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].row.wanted && has_name(&ifaces->items[i], name))
            return has_name(iface, name);
    return !strcmp(name, iface->row.name);
}

static bool is_named(const struct cmd_context *ctx, const struct sync_ifaces *ifaces,
                     const struct sync_iface *iface)
{
    size_t i;

    for (i = 0; i < ctx->n_args; i++)
        if (means(ifaces, ctx->args[i], iface))
            return true;
    return ctx->options[OPT_ALL];
}

/* Every name must mean one; else nothing is taken off. */
static int check_known(const struct cmd_context *ctx, const struct sync_ifaces *ifaces,
                       struct err *e)
{
    char shown[64];
    size_t i, j;

    for (i = 0; i < ctx->n_args; i++) {
        for (j = 0; j < ifaces->count; j++)
            if (ifaces->items[j].row.wanted && means(ifaces, ctx->args[i], &ifaces->items[j]))
                break;
        if (j < ifaces->count)
            continue;
        err_set(e, 0, EXIT_NO, "the gate is not attached to %s; nothing changed",
                text_escape(ctx->args[i], shown, sizeof(shown)));
        err_hint(e, "smtpgate status shows the interfaces");
        return -ENOENT;
    }
    return 0;
}

/*
 * The store first: if that fails, nothing has changed. Killed in between, the link lives on and is
 * taken as wanted, which is the closed side.
 */
static int forget_all(const struct cmd_context *ctx, struct change *change,
                      const struct sync_ifaces *ifaces, struct err *e)
{
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < ifaces->count; i++) {
        struct store_iface row = ifaces->items[i].row;

        if (!row.wanted || !is_named(ctx, ifaces, &ifaces->items[i]))
            continue;
        row.wanted = false;
        r = store_put_iface(change->store, &row, &row.id, e);
    }
    return r == 0 ? change_commit(change, e) : r;
}

/* Some are off already: that is the state left, whatever the reason was. */
static int fail_half_detached(int r, const json_t *done, const char *failed, struct err *e)
{
    const char *first = json_string_value(json_object_get(json_array_get(done, 0), "name"));
    size_t more = json_array_size(done) - 1;

    err_set(e, r, EXIT_REFUSED, "detached from %s%s, then the kernel refused %s: %s",
            first ? first : "an interface", more ? " and others" : "", failed, strerror(-r));
    err_hint(e, "smtpgate status shows what is attached");
    return r;
}

static int detach_all(const struct cmd_context *ctx, struct change *change,
                      const struct sync_ifaces *ifaces, json_t *names, bool *ret_opened,
                      struct err *e)
{
    size_t i;
    int r = check_known(ctx, ifaces, e);

    if (r == 0)
        r = forget_all(ctx, change, ifaces, e);
    for (i = 0; r == 0 && i < ifaces->count; i++) {
        const struct sync_iface *iface = &ifaces->items[i];
        char name[CMD_NAME_MAX];

        if (!iface->row.wanted || !is_named(ctx, ifaces, iface))
            continue;
        if (!ctx->dry_run)
            r = gate_detach(change->gate, iface->row.id, e);
        if (r < 0)
            return json_array_size(names)
                       ? fail_half_detached(r, names, cmd_iface_label(iface, name), e)
                       : r;
        cmd_iface_label(iface, name);
        if (!ctx->dry_run)
            events_send_detach(&change->author, name);
        *ret_opened |= iface->link.state == GATE_LINK_HERE;
        json_array_append_new(names,
                              json_pack("{s:s, s:b}", "name", name, "attached", ctx->dry_run));
    }
    return r;
}

/* Off in the kernel, which counts, or if nothing is there, in the store. */
static bool is_off(const struct change *change)
{
    return gate_is_whole(change->gate) ? gate_mode(change->gate).mode == SG_MODE_OFF
                                       : !change->before.on;
}

static int detach_report(const struct cmd_context *ctx, const struct change *change, json_t *names,
                         bool opened)
{
    char ports[CMD_PORTS_MAX];
    json_t *item;
    size_t i;

    json_array_foreach (names, i, item)
        out_done(&ctx->out, "%s: %s\n", json_string_value(json_object_get(item, "name")),
                 ctx->dry_run ? "would be detached" : "detached");
    if (!json_array_size(names))
        out_done(&ctx->out, "the gate is attached nowhere\n");
    else if (opened && !is_off(change) && !ctx->dry_run)
        out_warn(&ctx->out, "ports %s are open to every source there now; the list stays stored\n",
                 cmd_ports(&change->before, ports));
    out_json(&ctx->out, json_pack("{s:b, s:b, s:O}", "changed", json_array_size(names) > 0,
                                  "dry_run", ctx->dry_run, "interfaces", names));
    return 0;
}

int cmd_detach(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    bool opened = false;
    json_t *names;
    int r;

    if (!ctx->n_args == !ctx->options[OPT_ALL]) {
        err_set(e, 0, EXIT_USAGE, "detach wants the interfaces' names, or --all");
        err_hint(e, "smtpgate status shows the interfaces");
        return -EINVAL;
    }
    const struct change_options options = {
        .state = ctx->state, .bpffs = ctx->bpffs, .dry_run = ctx->dry_run, .no_heal = true};

    r = cmd_begin_with(ctx, &options, &change, e);
    if (r == 0)
        r = sync_read_ifaces(change.store, change.gate, &ifaces, e);
    if (r == -EUCLEAN) /* whoever detaches may be locked out, with no backup at hand */
        err_hint(e,
                 "put back a copy of %s/smtpgate.db from a backup; or, to open the ports now: rm"
                 " %s/link_*",
                 ctx->state, ctx->bpffs);
    if (r < 0)
        return r;
    names = json_array();
    r = detach_all(ctx, &change, &ifaces, names, &opened, e);
    if (r == 0)
        r = detach_report(ctx, &change, names, opened);
    json_decref(names);
    return r;
}

/* ---- sync ---- */

struct report {
    const struct cmd_context *ctx;
    json_t *interfaces;
    bool failed; /* the first failure is the command's error */
};

static void report_iface(const struct sync_result *result, const struct err *problem, void *arg)
{
    struct report *report = arg;
    char name[CMD_NAME_MAX];

    if (!problem) {
        say_attached(report->ctx, result);
        json_array_append_new(report->interfaces, attached_json(result));
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
        else if (!json_is_true(json_object_get(item, "replaced")))
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
    if (r == 0)
        r = store_verify(change.store, e);
    if (r == 0)
        r = settle_clock(&change, accept, e);
    if (r == 0)
        r = sync_compare(change.store, change.gate, &change.before, 0, &was, e);
    if (r == 0)
        r = sync_list(change.store, change.gate, accept, &fixed, e);
    if (r == 0)
        r = store_read_counts(change.store, &counts, e);
    if (r < 0)
        return r;
    ifaces = sync_all_ifaces(change.store, change.gate, report_iface, report, e);
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

int cmd_sync(const struct cmd_context *ctx, struct err *e)
{
    struct change_options options = {.state = ctx->state, .bpffs = ctx->bpffs, .need_gate = true};
    struct report report = {.ctx = ctx};
    bool foreign = false, missing = false;
    int r;

    if (ctx->dry_run)
        return cmd_status(ctx, e);
    r = is_foreign(ctx, &foreign, &missing, e);
    if (r == 0 && foreign) {
        r = cmd_confirm(
            ctx,
            missing
                ? "The store is missing or empty, but the kernel holds a gate made"
                  " from one; an empty list would take its place, which opens the"
                  " gate."
                : "The gate in the kernel was made from another store than this"
                  " one, or a newer copy; its list would be replaced by this one's, which may open"
                  " the gate.",
            e);
        if (r < 0 && e->code == EXIT_CONFIRM)
            err_hint(e, "put back a copy of the right store from a backup, then: smtpgate sync; or"
                        " repeat it with -y");
        options.adopt = true;
    }
    if (r < 0)
        return r;
    report.interfaces = json_array();
    r = sync_everything(ctx, &options, &report, e);
    json_decref(report.interfaces);
    return r;
}
