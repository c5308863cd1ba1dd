/* SPDX-License-Identifier: GPL-2.0-only */
/* set: the settings that belong to the list. */
#include <stdio.h>
#include <string.h>

#include "admit.h"
#include "cmd.h"
#include "iface.h"
#include "live.h"

#define LIMIT_MAX 8000000 /* below what the kernel's tables take */

static const char *const others_names[] = {
    [STORE_OTHERS_ANYWHERE] = "anywhere",
    [STORE_OTHERS_NOWHERE] = "nowhere",
};

static json_t *settings_json(const struct cmd_context *ctx, const struct store_settings *settings,
                             bool changed)
{
    json_t *ports = json_array();
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded)
            json_array_append_new(ports, json_integer(settings->ports[i].port));
    return json_pack(
        "{s:b, s:b, s:o, s:o, s:s, s:o}", "changed", changed, "dry_run", ctx->dry_run, "ports",
        ports, "limit",
        settings->limit == STORE_LIMIT_NONE ? json_null() : json_integer(settings->limit), "others",
        others_names[settings->others], "realm", out_json_text(settings->realm));
}

static void settings_text(const struct cmd_context *ctx, const struct store_settings *settings)
{
    const char *would = ctx->dry_run && ctx->n_args ? "would be: " : "";
    char ports[CMD_PORTS_MAX];

    out_text(&ctx->out, "%sports   %s\n", would, cmd_ports(settings, ports));
    if (settings->limit == STORE_LIMIT_NONE)
        out_text(&ctx->out, "%slimit   none\n", would);
    else
        out_text(&ctx->out, "%slimit   %u\n", would, settings->limit);
    out_text(&ctx->out, "%sothers  %s\n", would, others_names[settings->others]);
    out_text(&ctx->out, "%srealm   %s\n", would, *settings->realm ? settings->realm : "none");
}

static int show(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    struct store_settings settings;
    int r = cmd_open_store(ctx, &store, &gate, e);

    if (r == 0)
        r = store_read_settings(store, &settings, e);
    if (r < 0)
        return r;
    settings_text(ctx, &settings);
    out_json(&ctx->out, settings_json(ctx, &settings, false));
    return 0;
}

/* A number without sign, leading zeros or anything behind. */
static int parse_number(const char *text, size_t len, unsigned long max, unsigned long *ret_number)
{
    unsigned long number = 0;
    size_t i;

    if (len == 0 || len > 9 || (len > 1 && text[0] == '0'))
        return -EINVAL;
    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        number = number * 10 + (unsigned long)(text[i] - '0');
    }
    if (number > max)
        return -ERANGE;
    *ret_number = number;
    return 0;
}

static int fail_ports(const char *text, const char *why, struct err *e)
{
    char shown[80];

    err_set(e, 0, EXIT_USAGE, "%s: %s; nothing changed",
            *text ? text_escape(text, shown, sizeof(shown)) : "\"\"", why);
    err_hint(e, "smtpgate set ports 25,465,587");
    return -EINVAL;
}

static int parse_ports(const char *text, uint16_t *ports, unsigned int *ret_count, struct err *e)
{
    unsigned int count = 0, i;
    const char *at = text;

    for (;;) {
        size_t len = strcspn(at, ",");
        unsigned long port;

        if (parse_number(at, len, UINT16_MAX, &port) < 0 || port == 0)
            return fail_ports(text, "ports are numbers from 1 to 65535 with commas between", e);
        for (i = 0; i < count; i++)
            if (ports[i] == port)
                return fail_ports(text, "a port stands there twice", e);
        if (count == SG_PORTS_MAX)
            return fail_ports(text, "at most 16 ports can be guarded", e);
        ports[count++] = (uint16_t)port;
        if (!at[len])
            break;
        at += len + 1;
    }
    *ret_count = count;
    return 0;
}

static void warn_ephemeral(const struct cmd_context *ctx, const uint16_t *ports, unsigned int n)
{
    unsigned int i, low, high;

    for (i = 0; i < n; i++)
        if (iface_port_is_ephemeral(ports[i], &low, &high))
            out_warn(&ctx->out,
                     "this host takes port %u for its own outgoing connections too (%u-%u), and"
                     " guarding it cuts the answers to those; to keep the host off it:\n"
                     "  sysctl net.ipv4.ip_local_reserved_ports=%u\n",
                     ports[i], low, high, ports[i]);
}

/* The way in when all else fails. */
static void warn_ssh(const struct cmd_context *ctx, const struct store_settings *settings)
{
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].port == 22 && settings->ports[i].guarded)
            out_warn(&ctx->out, "port 22 is SSH's: from an address that is not listed nobody can"
                                " log in to mend anything\n");
}

/* Exactly @ports are guarded already. */
static bool are_guarded(const struct store_settings *settings, const uint16_t *ports,
                        unsigned int n)
{
    unsigned int i, j, guarded = 0;

    for (i = 0; i < settings->n_ports; i++) {
        if (!settings->ports[i].guarded)
            continue;
        guarded++;
        for (j = 0; j < n && ports[j] != settings->ports[i].port; j++)
            ;
        if (j == n)
            return false;
    }
    return guarded == n;
}

/* What is to be set; NULL: stays. */
struct wish {
    const uint16_t *ports;
    unsigned int n_ports;
    const uint32_t *limit;
    const enum store_others *others;
    const char *realm; /* "" none */
};

/* Two lists that become one let their account in from where either says. */
static int confirm_twins(const struct cmd_context *ctx, struct change *change, const char *realm,
                         struct err *e)
{
    char name[ACCOUNT_MAX + 1], shown[CMD_ACCOUNT_MAX], question[512];
    int r = *realm ? store_find_twins(change->store, realm, name, e) : -ENOENT;

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    text_escape(name, shown, sizeof(shown));
    snprintf(question, sizeof(question),
             "%s and %s@%.100s have a list each: as one account it may send from where either list"
             " says.",
             shown, shown, realm);
    return cmd_confirm(ctx, question, e);
}

/* A login that was held to the list of its other spelling may have no list without the realm. */
static int confirm_realm(const struct cmd_context *ctx, struct change *change, const char *realm,
                         struct err *e)
{
    const char *before = change->before.realm;
    struct store_rules rules = {0};
    char question[512];
    int r = store_read_rules(change->store, &rules, e);

    if (r == 0 && *before && rules.accounts) {
        snprintf(
            question, sizeof(question),
            "NAME and NAME@%.100s will be two accounts: who logs in by the spelling that has no"
            " list is not held to the other's list any more.",
            before);
        r = cmd_confirm(ctx, question, e);
    }
    return r == 0 ? confirm_twins(ctx, change, realm, e) : r;
}

/* The gate closes or opens with what is set for the others; opening it is asked before. */
static int settle_mode(const struct cmd_context *ctx, struct change *change,
                       enum store_others others, struct err *e)
{
    bool closed = change->before.on, close;
    struct store_rules rules = {0};
    int r = store_read_rules(change->store, &rules, e);

    if (r < 0)
        return r;
    rules.others = others;
    close = admit_may_close(&rules);
    if (closed && !close)
        r = cmd_confirm(ctx,
                        "This turns the gate off: accounts without a list of their own may then"
                        " send from anywhere.",
                        e);
    if (r < 0 || close == closed)
        return r;
    return store_set_on(change->store, close, e);
}

/* Only what differs is written. */
static int write_wish(const struct cmd_context *ctx, struct change *change, const struct wish *wish,
                      struct err *e)
{
    const struct store_settings *before = &change->before;
    int r = 0;

    if (wish->ports && !are_guarded(before, wish->ports, wish->n_ports))
        r = store_set_ports(change->store, wish->ports, wish->n_ports, e);
    if (r == 0 && wish->limit && *wish->limit != before->limit)
        r = store_set_limit(change->store, *wish->limit, e);
    if (r == 0 && wish->others && *wish->others != before->others) {
        r = settle_mode(ctx, change, *wish->others, e);
        if (r == 0)
            r = store_set_others(change->store, *wish->others, e);
    }
    if (r == 0 && wish->realm && !account_equal(wish->realm, before->realm)) {
        r = confirm_realm(ctx, change, wish->realm, e);
        if (r == 0)
            r = store_set_realm(change->store, wish->realm, e);
    }
    return r;
}

static void say_mode(const struct cmd_context *ctx, const struct change *change,
                     const struct store_settings *after)
{
    const struct store_settings *before = &change->before;
    const char *is = ctx->dry_run ? "would be" : "is now";
    enum sg_mode mode = mode_at(after->on, &after->plan, change->now).mode;
    char ports[CMD_PORTS_MAX];

    cmd_ports(after, ports);
    if (!before->on && after->on && !mode_drops(mode))
        out_warn(&ctx->out, "the gate %s on, but drops nothing (%s; smtpgate status)\n", is,
                 mode_name(mode));
    else if (!before->on && after->on)
        out_warn(&ctx->out,
                 "the gate %s on%s: every source that is in no list is dropped on ports %s;"
                 " accounts without a list of their own may send from nowhere\n",
                 is, change->guarding ? "" : ", once attached", ports);
    if (before->on && !after->on)
        out_warn(&ctx->out, "the gate %s off, and every source reaches ports %s\n", is, ports);
}

static bool differ(const struct store_settings *a, const struct store_settings *b)
{
    return a->limit != b->limit || a->others != b->others || strcmp(a->realm, b->realm) != 0 ||
           a->n_ports != b->n_ports || memcmp(a->ports, b->ports, sizeof(a->ports)) != 0;
}

/* Nobody is thrown out by a lower limit. */
static int say_overfull(const struct cmd_context *ctx, struct change *change, uint32_t limit,
                        struct err *e)
{
    char account[ACCOUNT_MAX + 1], name[CMD_ACCOUNT_MAX];
    uint64_t count;
    int r = limit == STORE_LIMIT_NONE
                ? -ENOENT
                : store_find_overfull(change->store, limit, -1, account, &count, e);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    out_note(&ctx->out, "the list%s%s has %llu entries; they stay, but no more can be added\n",
             *account ? " of account " : "", text_escape(account, name, sizeof(name)),
             (unsigned long long)count);
    return 0;
}

static int apply(const struct cmd_context *ctx, const struct wish *wish, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    _cleanup_live_ struct live live = {0};
    struct store_settings after;
    int r = cmd_begin(ctx, &change, e);

    if (r == 0)
        r = write_wish(ctx, &change, wish, e);
    if (r == 0)
        r = store_read_settings(change.store, &after, e);
    if (r == 0 && wish->limit)
        r = say_overfull(ctx, &change, *wish->limit, e);
    if (r == 0)
        r = live_confirm(ctx, &change, LIVE_AS_IS, LIVE_WARN, &live, e);
    if (r == 0)
        r = change_commit(&change, e);
    if (r < 0)
        return r;
    if (!ctx->out.quiet)
        settings_text(ctx, &after);
    if (wish->ports && !ctx->dry_run)
        cmd_say_opened(ctx, &change.before, &after);
    if (wish->ports)
        warn_ssh(ctx, &after);
    if (wish->ports)
        warn_ephemeral(ctx, wish->ports, wish->n_ports);
    say_mode(ctx, &change, &after);
    live_say_hanging(ctx, &live);
    out_json(&ctx->out, settings_json(ctx, &after, differ(&change.before, &after)));
    return 0;
}

static int set_ports(const struct cmd_context *ctx, struct err *e)
{
    uint16_t ports[SG_PORTS_MAX];
    struct wish wish = {.ports = ports};
    int r = parse_ports(ctx->args[1], ports, &wish.n_ports, e);

    return r < 0 ? r : apply(ctx, &wish, e);
}

static int set_limit(const struct cmd_context *ctx, struct err *e)
{
    uint32_t limit = STORE_LIMIT_NONE;
    unsigned long number;
    char shown[80];

    if (strcmp(ctx->args[1], "none") != 0) {
        if (parse_number(ctx->args[1], strlen(ctx->args[1]), LIMIT_MAX, &number) < 0 || !number) {
            err_set(e, 0, EXIT_USAGE, "\"%s\" is no limit: a number from 1 to %d, or none",
                    text_escape(ctx->args[1], shown, sizeof(shown)), LIMIT_MAX);
            err_hint(e, "smtpgate set limit 100");
            return -EINVAL;
        }
        limit = (uint32_t)number;
    }
    return apply(ctx, &(struct wish){.limit = &limit}, e);
}

static int set_others(const struct cmd_context *ctx, struct err *e)
{
    enum store_others others;
    char shown[80];
    size_t i;

    for (i = 0; i < ARRAY_SIZE(others_names); i++) {
        if (strcmp(ctx->args[1], others_names[i]) != 0)
            continue;
        others = (enum store_others)i;
        return apply(ctx, &(struct wish){.others = &others}, e);
    }
    err_set(e, 0, EXIT_USAGE, "\"%s\" is neither anywhere nor nowhere",
            text_escape(ctx->args[1], shown, sizeof(shown)));
    err_hint(e, "smtpgate set others nowhere");
    return -EINVAL;
}

static int set_realm(const struct cmd_context *ctx, struct err *e)
{
    const char *realm = account_equal(ctx->args[1], "none") ? "" : ctx->args[1];
    int r = *realm || !*ctx->args[1] ? account_check_realm(realm, e) : 0;

    return r < 0 ? r : apply(ctx, &(struct wish){.realm = realm}, e);
}

static const struct setting {
    const char *name;
    int (*set)(const struct cmd_context *ctx, struct err *e);
} settings_table[] = {
    {"ports", set_ports},
    {"limit", set_limit},
    {"others", set_others},
    {"realm", set_realm},
};

int cmd_set(const struct cmd_context *ctx, struct err *e)
{
    char shown[64];
    size_t i;

    if (ctx->n_args == 0)
        return show(ctx, e);
    for (i = 0; i < ARRAY_SIZE(settings_table); i++)
        if (!strcmp(ctx->args[0], settings_table[i].name))
            break;
    if (i == ARRAY_SIZE(settings_table)) {
        err_set(e, 0, EXIT_USAGE, "there is no setting \"%s\"",
                text_escape(ctx->args[0], shown, sizeof(shown)));
        err_hint(e, "smtpgate set shows them: ports, limit, others, realm");
        return -EINVAL;
    }
    if (ctx->n_args == 1) {
        err_set(e, 0, EXIT_USAGE, "set %s wants a value", ctx->args[0]);
        err_hint(e, "smtpgate help set");
        return -EINVAL;
    }
    return settings_table[i].set(ctx, e);
}
