/* SPDX-License-Identifier: GPL-2.0-only */
/* set: the settings that belong to the list. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "iface.h"

#define LIMIT_MAX 8000000 /* below what the kernel's tables take */

static json_t *settings_json(const struct cmd_context *ctx, const struct store_settings *settings,
                             bool changed)
{
    json_t *ports = json_array();
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded)
            json_array_append_new(ports, json_integer(settings->ports[i].port));
    return json_pack(
        "{s:b, s:b, s:o, s:o}", "changed", changed, "dry_run", ctx->dry_run, "ports", ports,
        "limit", settings->limit == STORE_LIMIT_NONE ? json_null() : json_integer(settings->limit));
}

static void settings_text(const struct cmd_context *ctx, const struct store_settings *settings)
{
    char ports[CMD_PORTS_MAX];

    const char *would = ctx->dry_run && ctx->n_args ? "would be: " : "";

    out_text(&ctx->out, "%sports  %s\n", would, cmd_ports(settings, ports));
    if (settings->limit == STORE_LIMIT_NONE)
        out_text(&ctx->out, "%slimit  none\n", would);
    else
        out_text(&ctx->out, "%slimit  %u\n", would, settings->limit);
}

static int show(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    struct store_settings settings;
    int r = cmd_open_both(ctx, &store, &gate, e);

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

/* Stores what @ports (NULL: not given) or @limit says; shows the result. */
static int apply(const struct cmd_context *ctx, const uint16_t *ports, unsigned int n_ports,
                 const uint32_t *limit, struct err *e)
{
    _cleanup_change_ struct change change = {.lock = -1};
    struct store_settings after;
    struct store_counts counts;
    int r = cmd_begin(ctx, &change, e);

    if (r == 0 && ports && !are_guarded(&change.before, ports, n_ports))
        r = store_set_ports(change.store, ports, n_ports, e);
    if (r == 0 && limit && *limit != change.before.limit)
        r = store_set_limit(change.store, *limit, e);
    if (r == 0)
        r = store_read_settings(change.store, &after, e);
    if (r == 0)
        r = store_read_counts(change.store, &counts, e);
    if (r == 0)
        r = change_commit(&change, e);
    if (r < 0)
        return r;
    if (!ctx->out.quiet)
        settings_text(ctx, &after);
    if (ports)
        warn_ephemeral(ctx, ports, n_ports);
    if (limit && after.limit != STORE_LIMIT_NONE && counts.entries > after.limit)
        out_note(&ctx->out, "the list has %llu entries; they stay, but no more can be added\n",
                 (unsigned long long)counts.entries);
    out_json(&ctx->out,
             settings_json(ctx, &after,
                           after.limit != change.before.limit ||
                               after.n_ports != change.before.n_ports ||
                               memcmp(after.ports, change.before.ports, sizeof(after.ports)) != 0));
    return 0;
}

static int set_ports(const struct cmd_context *ctx, struct err *e)
{
    uint16_t ports[SG_PORTS_MAX];
    unsigned int n;
    int r = parse_ports(ctx->args[1], ports, &n, e);

    return r < 0 ? r : apply(ctx, ports, n, NULL, e);
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
    return apply(ctx, NULL, 0, &limit, e);
}

int cmd_set(const struct cmd_context *ctx, struct err *e)
{
    char shown[64];

    if (ctx->n_args == 0)
        return show(ctx, e);
    if (strcmp(ctx->args[0], "ports") != 0 && strcmp(ctx->args[0], "limit") != 0) {
        err_set(e, 0, EXIT_USAGE, "there is no setting \"%s\"",
                text_escape(ctx->args[0], shown, sizeof(shown)));
        err_hint(e, "smtpgate set shows them: ports, limit");
        return -EINVAL;
    }
    if (ctx->n_args == 1) {
        err_set(e, 0, EXIT_USAGE, "set %s wants a value", ctx->args[0]);
        err_hint(e, "smtpgate help set");
        return -EINVAL;
    }
    return !strcmp(ctx->args[0], "ports") ? set_ports(ctx, e) : set_limit(ctx, e);
}
