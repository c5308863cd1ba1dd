/* SPDX-License-Identifier: GPL-2.0-only */
/* preview: who would be cut off if the list were enforced. Changes nothing. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "files.h"

/* Names asked for, each of which may take its time. */
#define NAMES_MAX 50

/* ---- names, if they are asked for ---- */

static const char *look_up(const struct addr *address, char name[NI_MAXHOST])
{
    struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6};
    struct sockaddr_in ip4 = {.sin_family = AF_INET};
    bool is_ip4 = address->family == ADDR_IP4;
    char found[NI_MAXHOST];

    memcpy(&ip4.sin_addr, address->bytes, sizeof(ip4.sin_addr));
    memcpy(&ip6.sin6_addr, address->bytes, sizeof(ip6.sin6_addr));
    if (getnameinfo(is_ip4 ? (struct sockaddr *)&ip4 : (struct sockaddr *)&ip6,
                    is_ip4 ? sizeof(ip4) : sizeof(ip6), found, sizeof(found), NULL, 0, NI_NAMEREQD))
        found[0] = '\0';
    return text_escape_ascii(found, name, NI_MAXHOST);
}

/* A "name" for each source, null where there is none. */
static void add_names(json_t *sources)
{
    char name[NI_MAXHOST];
    struct addr address;
    json_t *source;
    size_t i;

    json_array_foreach (sources, i, source) {
        const char *text = json_string_value(json_object_get(source, "address"));

        if (i < NAMES_MAX && text && addr_parse(text, &address, NULL) == 0)
            json_object_set_new(source, "name", out_json_text(look_up(&address, name)));
    }
}

/* ---- the answer ---- */

static void say_names(const struct out *out, json_t *sources)
{
    json_t *source;
    size_t i;

    json_array_foreach (sources, i, source) {
        const char *name = json_string_value(json_object_get(source, "name"));

        if (name)
            out_text(out, "  %s is %s\n", json_string_value(json_object_get(source, "address")),
                     name);
    }
}

static void say_side(const struct cmd_context *ctx, const struct cut *cut, enum cut_fate fate,
                     const char *title, json_t *sources)
{
    char lines[CUT_TEXT_MAX];

    out_text(&ctx->out, "%s: %zu session%s of %zu address%s\n%s", title, cut->n_sessions[fate],
             cut->n_sessions[fate] == 1 ? "" : "s", cut->n_sources[fate],
             cut->n_sources[fate] == 1 ? "" : "es", cut_print(cut, fate, lines));
    say_names(&ctx->out, sources);
}

static int show(const struct cmd_context *ctx, const struct live *live)
{
    json_t *kept = cut_json(&live->cut, CUT_KEPT), *cut = cut_json(&live->cut, CUT_CUT);
    char own[CUT_SELF_MAX];

    if (ctx->options[OPT_NAMES]) {
        add_names(kept);
        add_names(cut);
    }
    out_text(&ctx->out, "connected now; if the list were enforced:\n");
    say_side(ctx, &live->cut, CUT_KEPT, "kept", kept);
    say_side(ctx, &live->cut, CUT_CUT, "cut off", cut);
    if (*cut_print_self(&live->actor, &live->self, own))
        out_text(&ctx->out, "%s\n", own);
    out_json(&ctx->out,
             json_pack("{s:b, s:o, s:o, s:o}", "known", live->known, "kept", kept, "cut", cut,
                       "own_address_cut", live->self.n_ports ? json_true() : json_false()));
    return 0;
}

/* As if @path were applied; @additions is left with the change. */
static int apply_file(const struct cmd_context *ctx, const char *path, struct additions *additions,
                      struct err *e)
{
    _cleanup_source_ids_ struct source_ids ids = {0};
    _cleanup_source_ struct source source = {0};
    struct losses losses = {0};
    int r = source_open(ctx, path, &source, e);

    if (r == 0)
        r = additions_begin(additions, ctx, e);
    if (r < 0)
        return r;
    additions->outcome.brief = true;
    r = source_add(&source, additions, &ids, e);
    return r == 0 ? source_delete_others(additions, &ids, &losses, e) : r;
}

int cmd_preview(const struct cmd_context *ctx, struct err *e)
{
    struct cmd_context reading = *ctx;
    _cleanup_additions_ struct additions additions = {.change = {.lock = -1}};
    _cleanup_live_ struct live live = {0};
    int r;

    reading.dry_run = true;
    reading.yes = true;
    r = ctx->options[OPT_WITH] ? apply_file(&reading, ctx->options[OPT_WITH], &additions, e)
                               : additions_begin(&additions, &reading, e);
    if (r == 0)
        r = live_judge(ctx, &additions.change, LIVE_AS_ENFORCING, &live, e);
    return r == 0 ? show(ctx, &live) : r;
}
