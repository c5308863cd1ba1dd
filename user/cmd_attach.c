/* SPDX-License-Identifier: GPL-2.0-only */
/* attach, detach: the gate on its interfaces. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "iface.h"
#include "live.h"
#include "sync.h"

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
            iface_is_called(name, ifaces->items[i].link.name))
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

/* What was attached anew could not be taken off again: whatever was said, that is the state left.
 */
static void say_left_attached(struct change *change, const struct sync_result *result,
                              struct err *e)
{
    struct gate_link link = {0};
    char message[sizeof(e->message)], name[CMD_NAME_MAX];

    if (result->attached.replaced || gate_read_link(change->gate, result->id, &link, NULL) < 0 ||
        link.state != GATE_LINK_HERE)
        return;
    snprintf(message, sizeof(message), "%.*s", (int)strcspn(e->message, ";"), e->message);
    err_set(e, 0, e->code,
            "%s; the program could not be taken off %s again either, which is guarded now", message,
            text_escape(result->name, name, sizeof(name)));
    err_hint(e, "smtpgate detach %s", name);
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
    for (i = 0; r < 0 && i < done; i++) {
        gate_undo_attach(change->gate, results[i].id, &results[i].attached);
        say_left_attached(change, &results[i], e);
    }
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
        cmd_say_attached(ctx, &results[i]);
        log_attached(&change.author, &results[i]);
        json_array_append_new(names, cmd_attached_json(&results[i]));
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
    return iface->link.state == GATE_LINK_HERE && iface_is_called(name, iface->link.name);
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
    return iface_is_called(name, iface->row.name);
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

/*
 * The one that was refused stays guarded, and is taken as wanted. Some may be off already: that is
 * the state left, whatever the reason was.
 */
static int fail_half_detached(int r, const json_t *done, const char *failed, struct err *e)
{
    const char *first = json_string_value(json_object_get(json_array_get(done, 0), "name"));
    size_t more = json_array_size(done) - 1;

    if (!json_array_size(done)) {
        err_set(e, r, e->code, "%s to take the program off %s (%s), which stays guarded",
                e->code == EXIT_DENIED ? "not permitted" : "the kernel refused", failed,
                strerror(-r));
        err_hint(e, "smtpgate status shows what is attached");
        return r;
    }
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
            return fail_half_detached(r, names, cmd_iface_label(iface, name), e);
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
