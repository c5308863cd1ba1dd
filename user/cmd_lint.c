/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * list --lint: what could be better in the lists, in words, each with the command that mends it.
 * Finds nothing itself (lint.h) and changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "lint.h"
#include "use.h"
#include "when.h"

#define DEFAULT_UNUSED "90d"

/* Deleted by one command; more make a line that nobody wants to paste. */
#define PASTED_IDS 32

/* An add or edit with all its options, and a delete of PASTED_IDS entries. */
#define HINT_MAX (WHO_TEXT_MAX + 4 * ACCOUNT_MAX + 4 * REMARK_MAX + PASTED_IDS * 24 + 256)
#define TEXT_MAX 1024

struct linting {
    const struct cmd_context *ctx;
    struct store *store;
    struct gate *gate; /* NULL: use is not known */
    bool hidden;       /* as it may not be looked at */
    char realm[ACCOUNT_MAX + 1];
    const char *unused; /* as typed */
    int64_t now, known_since;
    struct lint *lint;
    struct out_stream stream;
    uint64_t fed; /* entries */
    bool any;
    struct err *e;
};

static void cleanup_linting(struct linting *linting)
{
    lint_free(linting->lint);
}

#define _cleanup_linting_ __attribute__((cleanup(cleanup_linting)))

/* Text that grows; what does not fit is cut, which the sizes above rule out. */
struct text {
    char *buf;
    size_t size, used;
};

static void append(struct text *text, const char *piece)
{
    int n = snprintf(text->buf + text->used, text->size - text->used, "%s", piece);

    text->used += (size_t)n < text->size - text->used ? (size_t)n : text->size - text->used - 1;
}

/* One word for a shell, whatever is in it. */
static void append_quoted(struct text *text, const char *word)
{
    append(text, "'");
    for (; *word; word++)
        append(text, *word == '\'' ? "'\\''" : (const char[]){*word, '\0'});
    append(text, "'");
}

static void append_option(struct text *text, const char *option, const char *value)
{
    append(text, option);
    append_quoted(text, value);
}

static void append_id(struct text *text, int64_t id)
{
    char word[32];

    snprintf(word, sizeof(word), " '#%lld'", (long long)id);
    append(text, word);
}

static void append_delete(struct text *text, const int64_t *ids, size_t n)
{
    size_t i;

    append(text, "smtpgate delete");
    for (i = 0; i < n; i++)
        append_id(text, ids[i]);
}

static void append_account(struct text *text, const char *account)
{
    if (account && *account)
        append_option(text, " --account ", account);
}

/* ---- entries that could be one ---- */

/*
 * The entry that stands in the place of the joined one already, and ends earlier (it would cover
 * them): adding it once more would not make it end later. -ENOENT: there is none.
 */
static int find_in_place(struct linting *linting, const struct lint_advice *advice, int64_t *ret_id)
{
    struct store_entry entry;
    struct account account;
    int r;

    account_resolve(advice->account, linting->realm, &account);
    r = store_find_who(linting->store, &advice->other, &account, &entry, linting->e);
    if (r == 0 && entry.who.kind != advice->other.kind)
        return -ENOENT;
    if (r == 0)
        *ret_id = entry.id;
    return r;
}

static int adjacent_hint(struct linting *linting, const struct lint_advice *advice,
                         struct text *hint)
{
    char who[WHO_TEXT_MAX], until[WHEN_TEXT_MAX];
    int64_t in_place = 0;
    int r = find_in_place(linting, advice, &in_place);

    if (r < 0 && r != -ENOENT)
        return r;
    append(hint, r == 0 ? "smtpgate edit" : "smtpgate add ");
    if (r == 0)
        append_id(hint, in_place);
    else
        append(hint, who_print(&advice->other, who));
    if (advice->end != LINT_FOREVER)
        append_option(hint, " --until ", when_print(advice->end, until));
    else if (r == 0)
        append(hint, " --forever");
    if (advice->remark && *advice->remark)
        append_option(hint, " --remark ", advice->remark);
    if (r != 0)
        append_account(hint, advice->account);
    if (advice->count > PASTED_IDS)
        return 0;
    append(hint, " && ");
    append_delete(hint, advice->ids.items, advice->ids.n);
    return 0;
}

/* ---- words ---- */

static const char *kind_word(enum lint_kind kind)
{
    static const char *const words[] = {
        [LINT_COVERED] = "covered", [LINT_ADJACENT] = "adjacent", [LINT_WIDE] = "wide",
        [LINT_PRIVATE] = "private", [LINT_UNUSED] = "unused",     [LINT_ENDED] = "ended",
    };

    return words[kind];
}

/* "#2 192.0.2.7 of account alice", "3 entries of account alice from #2 192.0.2.7 on". */
static void append_entries(struct text *text, const struct lint_advice *advice)
{
    bool named = advice->account && *advice->account, one = advice->count == 1;
    char account[CMD_ACCOUNT_MAX] = "", who[WHO_TEXT_MAX], first[WHO_TEXT_MAX + 32];
    char words[sizeof(account) + sizeof(first) + 64];

    if (named)
        text_escape(advice->account, account, sizeof(account));
    snprintf(first, sizeof(first), "#%lld %s", (long long)advice->ids.items[0],
             who_print(&advice->who, who));
    if (one)
        snprintf(words, sizeof(words), "%s%s%s", first, named ? " of account " : "", account);
    else
        snprintf(words, sizeof(words), "%llu entries%s%s from %s on",
                 (unsigned long long)advice->count, named ? " of account " : "", account, first);
    append(text, words);
}

static void covered_words(const struct lint_advice *advice, struct text *text)
{
    char other[WHO_TEXT_MAX], words[WHO_TEXT_MAX + 128];

    snprintf(words, sizeof(words), " %s #%lld %s: without it the same sources are let in",
             who_same_set(&advice->who, &advice->other) ? "has the same addresses as" : "lies in",
             (long long)advice->ids.items[1], who_print(&advice->other, other));
    append(text, words);
}

static void adjacent_words(const struct lint_advice *advice, struct text *text)
{
    char other[WHO_TEXT_MAX];

    append(text, " touch each other and could be one, ");
    append(text, who_print(&advice->other, other));
    if (!advice->remark)
        append(text, "; their remarks differ");
    if (advice->count > PASTED_IDS)
        append(text, "; once it is there, list --lint names them as covered");
}

static void append_words(const struct linting *linting, const struct lint_advice *advice,
                         struct text *text)
{
    bool one = advice->count == 1;

    append_entries(text, advice);
    switch (advice->kind) {
    case LINT_COVERED:
        covered_words(advice, text);
        break;
    case LINT_ADJACENT:
        adjacent_words(advice, text);
        break;
    case LINT_WIDE:
        append(text, " is very wide: add the networks that are meant, then delete it");
        break;
    case LINT_PRIVATE:
        append(text, one ? " has addresses that are " : " have addresses that are ");
        append(text, advice->special);
        append(text, ": only right if such sources reach this host, as in a LAN");
        break;
    case LINT_UNUSED:
        append(text, one ? " has let nobody in for " : " have let nobody in for ");
        append(text, linting->unused);
        break;
    case LINT_ENDED:
        append(text, one ? " has ended and lets nobody in" : " have ended and let nobody in");
        break;
    }
}

static int append_hint(struct linting *linting, const struct lint_advice *advice, struct text *hint)
{
    const char *account = linting->ctx->options[OPT_ACCOUNT];
    char first[ADDR_TEXT_MAX];

    switch (advice->kind) {
    case LINT_ADJACENT:
        return adjacent_hint(linting, advice, hint);
    case LINT_UNUSED:
        append(hint, "smtpgate list --unused ");
        append(hint, linting->unused);
        append_account(hint, account);
        break;
    case LINT_ENDED:
        append(hint, "smtpgate delete --expired");
        append_account(hint, account);
        break;
    case LINT_COVERED:
        append_delete(hint, advice->ids.items, 1);
        break;
    case LINT_WIDE:
    case LINT_PRIVATE: /* whether to delete it takes a look first: remark, last use */
        append(hint, "smtpgate list ");
        append(hint, addr_print(&advice->who.first, first));
        break;
    }
    return 0;
}

static json_t *advice_json(const struct lint_advice *advice, const char *text, const char *hint)
{
    bool whole = advice->kind == LINT_UNUSED || advice->kind == LINT_ENDED;
    char who[WHO_TEXT_MAX];
    json_t *ids = json_array();
    size_t i;

    for (i = 0; i < advice->ids.n; i++)
        json_array_append_new(ids, json_integer(advice->ids.items[i]));
    who_print(advice->kind == LINT_ADJACENT ? &advice->other : &advice->who, who);
    return json_pack("{s:s, s:I, s:o, s:o, s:o, s:s, s:s}", "kind", kind_word(advice->kind),
                     "count", (json_int_t)advice->count, "entries", ids, "who",
                     whole ? json_null() : json_string(who), "account",
                     out_json_text(advice->account ? advice->account : ""), "text", text, "hint",
                     hint);
}

static int show_advice(const struct lint_advice *advice, void *arg)
{
    struct linting *linting = arg;
    const struct out *out = &linting->ctx->out;
    char words[TEXT_MAX], command[HINT_MAX];
    struct text text = {.buf = words, .size = sizeof(words)};
    struct text hint = {.buf = command, .size = sizeof(command)};
    int r;

    append_words(linting, advice, &text);
    r = append_hint(linting, advice, &hint);
    if (r < 0)
        return r;
    linting->any = true;
    out_text(out, "%-9s %s\n          hint: %s\n", kind_word(advice->kind), words, command);
    if (out->json)
        out_stream_item(&linting->stream, advice_json(advice, words, command));
    return 0;
}

/* ---- the walk ---- */

static int feed(const struct store_entry *entry, void *arg)
{
    struct linting *linting = arg;
    struct lint_entry one = {
        .id = entry->id,
        .who = entry->who,
        .account = entry->account,
        .remark = entry->remark,
        .end = entry->expires ? entry->expires : LINT_FOREVER,
    };
    struct gate_use use;
    int r = use_read(linting->gate, entry, &use, linting->e);

    if (r < 0)
        return r;
    one.used = use_last(entry, &use);
    if (one.used < linting->known_since)
        one.used = linting->known_since; /* it may have been, before that */
    linting->fed++;
    r = lint_add(linting->lint, &one);
    return r == -ENOMEM ? err_set(linting->e, r, EXIT_REFUSED, "out of memory") : r;
}

static int walk(struct linting *linting, const struct account *account)
{
    int r = store_each_entry(linting->store, account, STORE_BY_ACCOUNT, feed, linting, linting->e);

    if (r == 0)
        r = lint_finish(linting->lint);
    return r == -ENOMEM ? err_set(linting->e, r, EXIT_REFUSED, "out of memory") : r;
}

/* Use that is not counted now is not judged. */
static int prepare(struct linting *linting, int64_t unused, struct err *e)
{
    struct lint_options options = {.advice = show_advice, .arg = linting};
    struct store_rules rules = {0};
    bool counted;
    int r = store_read_rules(linting->store, &rules, e);

    if (r < 0)
        return r;
    snprintf(linting->realm, sizeof(linting->realm), "%s", rules.realm);
    linting->now = options.now = gate_now(linting->gate, rules.clock);
    r = use_known_since(linting->store, linting->gate, options.now, &linting->known_since, e);
    if (r < 0)
        return r;
    counted = linting->known_since <= options.now;
    options.idle_before = counted ? options.now - unused : INT64_MIN;
    if (linting->hidden)
        out_note(&linting->ctx->out, "who is unused is not known: only root may look at the gate in"
                                     " the kernel\n");
    else if (!counted)
        out_note(&linting->ctx->out, "who is unused is not known: the gate is on no interface, and"
                                     " counts nothing\n");
    linting->lint = lint_new(&options);
    return linting->lint ? 0 : err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
}

/* Words that do not go with --lint, which looks at whole lists. */
static int check_words(const struct cmd_context *ctx, struct err *e)
{
    if (!ctx->n_args && !ctx->options[OPT_ACCOUNTS] && !ctx->options[OPT_EXPIRED])
        return 0;
    err_set(e, 0, EXIT_USAGE,
            "--lint looks at whole lists: it goes with no filter, --accounts or --expired");
    err_hint(e, "smtpgate list --lint, or smtpgate list --lint --account NAME");
    return -EINVAL;
}

static int lint_lists(struct linting *linting, int64_t unused, struct err *e)
{
    const struct cmd_context *ctx = linting->ctx;
    struct account account;
    char shown[CMD_ACCOUNT_MAX];
    int r = prepare(linting, unused, e);

    if (r < 0)
        return r;
    cmd_account(ctx, linting->realm, &account);
    out_stream_begin(&linting->stream, &ctx->out, cmd_use_json(linting->known_since, linting->now),
                     "advice");
    r = walk(linting, *account.name ? &account : NULL);
    out_stream_end(&linting->stream, r < 0 ? e : NULL);
    if (r < 0)
        return ctx->out.json ? (int)e->code : r; /* with -j it is said already */
    if (*account.name && !linting->fed)
        out_text(&ctx->out, "account %s has no list of its own\n",
                 text_escape(account.name, shown, sizeof(shown)));
    else if (!linting->any)
        out_text(&ctx->out, "nothing to advise\n");
    return *account.name && !linting->fed ? EXIT_NO : 0;
}

int cmd_lint(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    _cleanup_linting_ struct linting linting = {.ctx = ctx, .unused = DEFAULT_UNUSED, .e = e};
    int64_t unused;
    int r = check_words(ctx, e);

    if (ctx->options[OPT_UNUSED])
        linting.unused = ctx->options[OPT_UNUSED];
    if (r == 0)
        r = when_parse_duration(linting.unused, &unused, e);
    if (r == 0)
        r = cmd_check_account(ctx, e);
    if (r == 0)
        r = cmd_open_store(ctx, &store, &gate, e);
    if (r < 0)
        return r;
    linting.store = store;
    linting.gate = gate_is_whole(gate) ? gate : NULL;
    linting.hidden = gate_is_hidden(gate);
    return lint_lists(&linting, unused, e);
}
