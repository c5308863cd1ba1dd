/* SPDX-License-Identifier: GPL-2.0-only */
/* preview: who would be cut off if the list were enforced. Changes nothing. */
#include <stdio.h>
#include <string.h>

#include "files.h"
#include "names.h"
#include "seen.h"

/* ---- names, if they are asked for ---- */

struct naming {
    json_t *sources[NAMES_MAX];
    struct addr addresses[NAMES_MAX];
    char names[NAMES_MAX][NAMES_TEXT_MAX];
    size_t count;
};

/* The first of them, as many as half of what can be asked for. */
static void collect(struct naming *naming, json_t *sources)
{
    json_t *source;
    size_t i;

    json_array_foreach (sources, i, source) {
        const char *text = json_string_value(json_object_get(source, "address"));

        if (i == NAMES_MAX / 2)
            return;
        if (!text || addr_parse(text, &naming->addresses[naming->count], NULL) < 0)
            continue;
        naming->sources[naming->count++] = source;
    }
}

/* A "name" for each of the sources, null where there is none. */
static int add_names(json_t *kept, json_t *cut, struct err *e)
{
    _cleanup_free_ struct naming *naming = calloc(1, sizeof(*naming));
    char shown[NAMES_TEXT_MAX];
    size_t i;

    if (!naming)
        return cmd_fail_memory(e);
    collect(naming, cut);
    collect(naming, kept);
    names_find(naming->addresses, naming->count, naming->names);
    for (i = 0; i < naming->count; i++)
        json_object_set_new(
            naming->sources[i], "name",
            out_json_text(text_escape_ascii(naming->names[i], shown, sizeof(shown))));
    return 0;
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

/* Sources that came without an entry, in JSON. */
#define SEEN_ROWS 1000

/* What the judgement is of. */
struct previewed {
    struct live live;
    struct seen seen;
    bool enforced; /* it is what the kernel does now */
};

static void cleanup_previewed(struct previewed *previewed)
{
    live_free(&previewed->live);
    seen_free(&previewed->seen);
}

static void say_seen(const struct out *out, const struct seen *seen)
{
    char lines[SEEN_TEXT_MAX];

    out_text(out,
             "came without an entry before, by address and port: %zu that would be kept out\n%s",
             seen->n_out, seen_print(seen, lines));
    if (seen->count > seen->n_out)
        out_text(out, "  and %zu that would be let in now\n", seen->count - seen->n_out);
    if (seen->untracked)
        out_text(out, "  %llu packets of others were too many to write down\n",
                 (unsigned long long)seen->untracked);
}

static void say(const struct cmd_context *ctx, const struct previewed *previewed, json_t *kept,
                json_t *cut)
{
    const struct live *live = &previewed->live;
    char own[CUT_SELF_MAX];

    if (live->known) {
        out_text(&ctx->out, "connected now; %s:\n",
                 previewed->enforced ? "by the list, in mode enforce"
                                     : "if the list were enforced");
        say_side(ctx, &live->cut, CUT_KEPT, "kept", kept);
        say_side(ctx, &live->cut, CUT_CUT, "cut off", cut);
    } else {
        out_text(&ctx->out, "connected now: not known\n");
    }
    say_seen(&ctx->out, &previewed->seen);
    if (*cut_print_self(&live->actor, &live->self, own))
        out_text(&ctx->out, "%s\n", own);
}

static int show(const struct cmd_context *ctx, const struct previewed *previewed, struct err *e)
{
    const struct live *live = &previewed->live;
    json_t *kept = cut_json(&live->cut, CUT_KEPT), *cut = cut_json(&live->cut, CUT_CUT);
    int r = ctx->options[OPT_NAMES] ? add_names(kept, cut, e) : 0;

    if (r == 0)
        say(ctx, previewed, kept, cut);
    if (r == 0)
        out_json(&ctx->out,
                 json_pack("{s:b, s:O, s:O, s:b, s:o, s:I}", "known", live->known, "kept", kept,
                           "cut", cut, "own_address_cut", live->self.n_ports > 0, "seen",
                           seen_json(&previewed->seen, SEEN_ROWS), "untracked",
                           (json_int_t)previewed->seen.untracked));
    json_decref(kept);
    json_decref(cut);
    return r;
}

/* An empty list would keep out everybody, and is never enforced. */
static int say_empty(const struct cmd_context *ctx, struct change *change, struct err *e)
{
    struct store_rules rules = {0};
    int r = store_read_rules(change->store, &rules, e);

    if (r == 0 && !rules.host && !rules.accounts)
        out_note(&ctx->out, "the list is empty: the gate stays off until the first entry\n");
    return r;
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

static int judge(const struct cmd_context *ctx, struct previewed *ret_previewed, struct err *e)
{
    _cleanup_additions_ struct additions additions = {.change = {.lock = -1}};
    const char *file = ctx->options[OPT_WITH];
    struct cmd_context reading = *ctx;
    int r;

    reading.dry_run = true;
    reading.yes = true;
    r = file ? apply_file(&reading, file, &additions, e)
             : change_begin_read(ctx->state, ctx->bpffs, &additions.change, e);
    if (r == 0)
        ret_previewed->enforced =
            !file && change_mode_before(&additions.change).mode == SG_MODE_ENFORCE;
    if (r == 0)
        r = say_empty(ctx, &additions.change, e);
    if (r == 0)
        r = live_judge(ctx, &additions.change, LIVE_AS_ENFORCING, &ret_previewed->live, e);
    return r == 0 ? seen_read(&additions.change, &ret_previewed->seen, e) : r;
}

/* Names may take their time, in which others want to change something: the store is closed. */
int cmd_preview(const struct cmd_context *ctx, struct err *e)
{
    __attribute__((cleanup(cleanup_previewed))) struct previewed previewed = {0};
    int r;

    if (ctx->options[OPT_FORMAT] && !ctx->options[OPT_WITH]) {
        err_set(e, 0, EXIT_USAGE, "--format is the format of a file, and goes with --with FILE");
        err_hint(e, "smtpgate preview --with FILE --format csv");
        return -EINVAL;
    }
    r = judge(ctx, &previewed, e);

    return r == 0 ? show(ctx, &previewed, e) : r;
}
