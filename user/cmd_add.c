/* SPDX-License-Identifier: GPL-2.0-only */
/* add: lets sources in. See additions.h. */
#include <stdio.h>
#include <string.h>

#include "additions.h"
#include "bulk.h"

/* The values of one command. */
struct values {
    const struct cmd_context *ctx;
    struct addition *items;
    size_t count, room;
    unsigned long bad_lines; /* of standard input */
};

static void cleanup_values(struct values *values)
{
    free(values->items);
}

/* They are of one format; says which two are not. */
static int push(struct values *values, const struct who *who, struct err *e)
{
    enum who_kind first = values->count ? values->items[0].who.kind : who->kind;
    size_t room = values->room ? values->room * 2 : 16;
    char one[WHO_TEXT_MAX], other[WHO_TEXT_MAX];
    struct addition *more;

    if (who->kind != first) {
        err_set(e, 0, EXIT_USAGE, "one format per add: %s is %s %s, %s %s %s; nothing changed",
                who_print(&values->items[0].who, one), first == WHO_ADDRESS ? "an" : "a",
                who_kind_name(first), who_print(who, other), who->kind == WHO_ADDRESS ? "an" : "a",
                who_kind_name(who->kind));
        err_hint(e, "use one add for the addresses, one for the segments, one for the ranges");
        return -EINVAL;
    }
    if (values->count == values->room) {
        more = reallocarray(values->items, room, sizeof(*more));
        if (!more)
            return cmd_fail_memory(e);
        values->items = more;
        values->room = room;
    }
    values->items[values->count++] = (struct addition){.who = *who};
    return 0;
}

/* ---- from standard input ---- */

static int take_problem(const struct bulk_place *place, const struct err *problem, bool notice,
                        void *arg)
{
    struct values *values = arg;
    char message[sizeof(problem->message) + 64];

    (void)notice;
    snprintf(message, sizeof(message), "standard input:%lu:%zu: %s", place->line, place->column,
             problem->message);
    if (values->bad_lines++ < CMD_REPORTED_LINES || values->ctx->verbose)
        out_place(message, place->text, place->at, place->len, problem->hint);
    return 0;
}

/* What an entry of a file may have beside is given here for all of them. */
static int take_entry(const struct listfile_entry *entry, const struct bulk_place *place, void *arg)
{
    struct values *values = arg;
    struct err problem = {0};

    if (*entry->account || entry->has_until || entry->has_remark) {
        err_set(&problem, 0, EXIT_USAGE, "add - reads one WHO a line, and no more");
        err_hint(&problem, "smtpgate import - reads list files");
    } else if (push(values, &entry->who, &problem) == -ENOMEM) {
        return -ENOMEM;
    }
    return problem.message[0] ? take_problem(place, &problem, false, arg) : 0;
}

static int read_stdin(struct values *values, struct err *e)
{
    const struct bulk_sink sink = {.entry = take_entry, .problem = take_problem, .arg = values};
    int r;

    if (isatty(STDIN_FILENO))
        out_note(&values->ctx->out, "reads one WHO a line; the end of input (^D) ends it\n");
    r = bulk_read(stdin, BULK_LIST, 0, &sink, NULL, e);
    if (r < 0)
        return r;
    if (values->bad_lines) {
        err_set(e, 0, EXIT_USAGE, "%lu bad line%s; nothing changed", values->bad_lines,
                values->bad_lines == 1 ? "" : "s");
        err_hint(e, "one WHO a line: an address, a segment or a range");
        return -EINVAL;
    }
    if (values->count)
        return 0;
    err_set(e, 0, EXIT_USAGE, "standard input has no WHO; nothing changed");
    err_hint(e, "smtpgate help add");
    return -EINVAL;
}

/* ---- the command ---- */

/* "18:00" */
static bool is_clock_time(const char *text)
{
    return strlen(text) <= 8 && strchr(text, ':') && strspn(text, "0123456789:") == strlen(text);
}

static int read_words(struct values *values, struct err *e)
{
    const struct cmd_context *ctx = values->ctx;
    struct who who;
    size_t i;
    int r = 0;

    if (ctx->n_args == 1 && !strcmp(ctx->args[0], "-"))
        return read_stdin(values, e);
    for (i = 0; r == 0 && i < ctx->n_args; i++) {
        r = who_parse(ctx->args[i], &who, e);
        if (r < 0 && ctx->options[OPT_UNTIL] && is_clock_time(ctx->args[i]))
            err_hint(e, "a time with a space in it wants quotes: --until '%.40s %s'",
                     ctx->options[OPT_UNTIL], ctx->args[i]);
        if (r == 0)
            r = push(values, &who, e);
    }
    return r;
}

static int complete(struct values *values, struct err *e)
{
    const struct cmd_context *ctx = values->ctx;
    const char *account = ctx->options[OPT_ACCOUNT];
    struct cmd_end end = {0};
    size_t i;
    int r = ctx->options[OPT_REMARK] ? remark_check(ctx->options[OPT_REMARK], e) : 0;

    if (r == 0)
        r = cmd_parse_end(ctx, &end, e);
    if (r == 0)
        r = cmd_check_account(ctx, e);
    for (i = 0; r == 0 && i < values->count; i++) {
        values->items[i].account = account ? account : "";
        values->items[i].remark = ctx->options[OPT_REMARK];
        values->items[i].end = end;
    }
    return r;
}

/* Before the lock is taken: one answer is for all of them. */
static int confirm(const struct values *values, struct err *e)
{
    size_t i;

    for (i = 0; i < values->count; i++)
        if (who_is_very_wide(&values->items[i].who))
            return additions_confirm_wide(values->ctx, &values->items[i], e);
    return 0;
}

static int add_all(struct additions *additions, const struct values *values, struct err *e)
{
    int64_t id;
    size_t i;
    int r = additions_begin(additions, values->ctx, e);

    for (i = 0; r == 0 && i < values->count; i++)
        r = additions_add(additions, &values->items[i], &id, e);
    if (r == 0)
        r = additions_settle(additions, e);
    if (r == 0)
        r = live_confirm(values->ctx, &additions->change, LIVE_AS_IS, LIVE_WARN, &additions->live,
                         e);
    return r == 0 ? change_commit(&additions->change, e) : r;
}

int cmd_add(const struct cmd_context *ctx, struct err *e)
{
    __attribute__((cleanup(cleanup_values))) struct values values = {.ctx = ctx};
    _cleanup_additions_ struct additions additions = {.change = {.lock = -1}};
    int r = read_words(&values, e);

    if (r == 0)
        r = complete(&values, e);
    if (r == 0)
        r = confirm(&values, e);
    if (r == 0)
        r = add_all(&additions, &values, e);
    if (r < 0)
        return r;
    additions_say(&additions);
    live_say_hanging(ctx, &additions.live);
    outcome_say_json(ctx, &additions.outcome);
    return 0;
}
