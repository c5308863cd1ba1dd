/* SPDX-License-Identifier: GPL-2.0-only */
/* See files.h. */
#include "files.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- opening ---- */

void source_close(struct source *source)
{
    if (source->file && source->own)
        fclose(source->file);
    repeats_free(&source->repeats);
    source->repeats = (struct repeats){0};
}

static int fail_read(const struct source *source, int r, struct err *e)
{
    err_set(e, r, r == -EISDIR ? EXIT_USAGE : EXIT_REFUSED, "cannot read %s: %s; nothing changed",
            source->name, strerror(-r));
    err_hint(e, "name a file that can be read, or - for standard input");
    return r;
}

static int open_path(struct source *source, const char *path, struct err *e)
{
    int r;

    if (!strcmp(path, "-")) {
        source->name = "standard input";
        source->file = stdin;
        if (isatty(STDIN_FILENO))
            out_note(&source->ctx->out,
                     "reads lines of the form: WHO until=TIME account=NAME # remark; the end of"
                     " input (^D) ends it\n");
        return 0;
    }
    source->name = path;
    source->file = fopen(path, "re");
    source->own = true;
    if (source->file)
        return 0;
    r = -errno;
    err_set(e, r, r == -EACCES || r == -EPERM ? EXIT_DENIED : EXIT_USAGE,
            "cannot open %s: %s; nothing changed", path, strerror(-r));
    err_hint(e, "name a file that can be read, or - for standard input");
    return r;
}

static int fail_copy(const struct source *source, int r, struct err *e)
{
    err_set(e, r, EXIT_REFUSED, "no copy of %s can be kept in /tmp: %s; nothing changed",
            source->name, strerror(-r));
    err_hint(e, "df -h /tmp; or write it to a file elsewhere, and name that instead");
    return r;
}

static int copy_all(const struct source *source, FILE *to, struct err *e)
{
    char piece[65536];
    size_t n;

    while ((n = fread(piece, 1, sizeof(piece), source->file)) > 0)
        if (fwrite(piece, 1, n, to) != n)
            return fail_copy(source, -errno, e);
    if (ferror(source->file))
        return fail_read(source, errno ? -errno : -EIO, e);
    return fflush(to) ? fail_copy(source, -errno, e) : 0;
}

/* A pipe is read once only: what comes out of it is kept in a file that has no name. */
static int make_seekable(struct source *source, struct err *e)
{
    FILE *copy;
    int r;

    source->start = ftell(source->file);
    if (source->start >= 0)
        return 0;
    copy = tmpfile();
    if (!copy)
        return fail_copy(source, -errno, e);
    r = copy_all(source, copy, e);
    rewind(copy);
    source_close(source);
    source->file = copy;
    source->own = true;
    source->start = 0;
    return r;
}

/* ---- the first time: what is wrong with it ---- */

static int tell_problem(const struct bulk_place *place, const struct err *problem, bool notice,
                        void *arg)
{
    struct source *source = arg;
    unsigned long *count = notice ? &source->notices : &source->bad_lines;
    struct err whole;

    err_set(&whole, 0, EXIT_USAGE, "%s:%lu:%zu: %s", source->name, place->line, place->column,
            problem->message);
    err_hint(&whole, "%s", problem->hint);
    if (!notice && !source->bad_lines)
        source->first = whole;
    if ((*count)++ < CMD_REPORTED_LINES || source->ctx->verbose)
        out_place(whole.message, place->text, place->at, place->len, whole.hint);
    return 0;
}

/* It is a remark like any other, and nearly always a slip: the entry goes into the host list. */
static void warn_remark(struct source *source, const struct listfile_entry *entry,
                        const struct bulk_place *place)
{
    char name[256];

    if (*entry->account || !entry->has_remark || !strstr(entry->remark, "account=") ||
        source->warned++ >= CMD_REPORTED_LINES)
        return;
    out_warn(&source->ctx->out,
             "%s:%lu: account= stands in the remark, so the entry is for the host list; to name an"
             " account, write it in front of the #\n",
             text_escape(source->name, name, sizeof(name)), place->line);
}

static int count_entry(const struct listfile_entry *entry, const struct bulk_place *place,
                       void *arg)
{
    struct source *source = arg;

    source->entries++;
    warn_remark(source, entry, place);
    return repeats_note(&source->repeats, entry);
}

/* All are on standard error; with -j the first is in the error too. */
static int fail_lines(const struct source *source, struct err *e)
{
    const struct cmd_context *ctx = source->ctx;

    if (source->bad_lines > CMD_REPORTED_LINES && !ctx->verbose)
        out_note(&ctx->out, "the first %d bad lines are shown; -v shows all\n", CMD_REPORTED_LINES);
    err_set(e, 0, EXIT_USAGE, "%lu bad %s%s%.300s; nothing changed", source->bad_lines,
            source->bad_lines == 1 ? "line" : "lines", ctx->out.json ? ", the first is " : "",
            ctx->out.json ? source->first.message : "");
    if (ctx->out.json)
        err_hint(e, "%s", source->first.hint);
    return -EINVAL;
}

static void say_notices(const struct source *source)
{
    if (source->notices > CMD_REPORTED_LINES && !source->ctx->verbose)
        out_note(&source->ctx->out,
                 "the first %d lines that are not carried over are shown; -v"
                 " shows all\n",
                 CMD_REPORTED_LINES);
    if (source->notices)
        out_warn(&source->ctx->out, "%lu line%s not carried over\n", source->notices,
                 source->notices == 1 ? " is" : "s are");
}

static int compare_entry(const struct listfile_entry *entry, const struct bulk_place *place,
                         void *arg)
{
    struct source *source = arg;
    struct err problem;

    return repeats_agree(&source->repeats, entry, place->line, &problem)
               ? 0
               : tell_problem(place, &problem, false, source);
}

static int pass_over(const struct bulk_place *place, const struct err *problem, bool notice,
                     void *arg)
{
    (void)place, (void)problem, (void)notice, (void)arg;
    return 0;
}

/* The order of two lines must not decide what an entry is: they would be swapped one day. */
static int check_repeats(struct source *source, struct err *e)
{
    const struct bulk_sink sink = {.entry = compare_entry, .problem = pass_over, .arg = source};
    bool any;
    int r = repeats_settle(&source->repeats, &any);

    if (r == 0 && any)
        r = fseek(source->file, source->start, SEEK_SET) < 0 ? -errno : 0;
    if (r == 0 && any)
        r = bulk_read(source->file, source->format, source->now, &sink, NULL, e);
    if (r < 0)
        return r == -ENOMEM ? cmd_fail_memory(e) : fail_read(source, r, e);
    return source->bad_lines ? fail_lines(source, e) : 0;
}

static int check(struct source *source, struct err *e)
{
    const struct bulk_sink sink = {.entry = count_entry, .problem = tell_problem, .arg = source};
    int r = bulk_read(source->file, source->format, source->now, &sink, &source->format, e);

    if (r < 0)
        return r == -ENOMEM ? cmd_fail_memory(e) : fail_read(source, r, e);
    if (source->bad_lines)
        return fail_lines(source, e);
    source->is_empty = ftell(source->file) == source->start;
    r = check_repeats(source, e);
    if (r == 0)
        say_notices(source);
    return r;
}

int source_open(const struct cmd_context *ctx, const char *path, struct source *ret_source,
                struct err *e)
{
    struct source source = {.ctx = ctx, .format = BULK_AUTO, .now = time(NULL)};
    const char *format = ctx->options[OPT_FORMAT];
    int r = format ? bulk_format_parse(format, &source.format, e) : 0;

    if (r == 0)
        r = open_path(&source, path, e);
    if (r == 0)
        r = make_seekable(&source, e);
    if (r == 0)
        r = check(&source, e);
    if (r < 0) {
        source_close(&source);
        return r;
    }
    *ret_source = source;
    return 0;
}

/* ---- the second time: into the change ---- */

void source_ids_free(struct source_ids *ids)
{
    free(ids->items);
}

static int push_id(struct source_ids *ids, int64_t id)
{
    size_t room = ids->room ? ids->room * 2 : 1024;
    int64_t *more;

    if (ids->count == ids->room) {
        more = reallocarray(ids->items, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        ids->items = more;
        ids->room = room;
    }
    ids->items[ids->count++] = id;
    return 0;
}

struct filling {
    struct additions *additions;
    struct source_ids *ids;
    struct out_progress progress;
    uint64_t done;
    struct err *e;
};

static int add_entry(const struct listfile_entry *entry, const struct bulk_place *place, void *arg)
{
    struct filling *filling = arg;
    const struct addition addition = {
        .who = entry->who,
        .account = entry->account,
        .remark = entry->has_remark ? entry->remark : NULL,
        /* One that is over already is taken too: what was exported is imported again. */
        .end = {.given = entry->has_until, .may_be_over = true, .seconds = entry->until},
    };
    int64_t id;
    int r = additions_add(filling->additions, &addition, &id, filling->e);

    (void)place;
    if (r == 0 && filling->ids && push_id(filling->ids, id) < 0)
        r = cmd_fail_memory(filling->e);
    out_progress(&filling->progress, "entries", ++filling->done);
    return r;
}

static int find_change(const struct bulk_place *place, const struct err *problem, bool notice,
                       void *arg)
{
    struct filling *filling = arg;

    (void)place, (void)problem;
    return notice ? 0
                  : err_set(filling->e, -EBUSY, EXIT_USAGE,
                            "the file was changed while it was read; nothing changed");
}

int source_add(struct source *source, struct additions *additions, struct source_ids *ids,
               struct err *e)
{
    struct filling filling = {.additions = additions, .ids = ids, .e = e};
    const struct bulk_sink sink = {.entry = add_entry, .problem = find_change, .arg = &filling};
    int r;

    if (fseek(source->file, source->start, SEEK_SET) < 0)
        return fail_read(source, -errno, e);
    *e = (struct err){0};
    out_progress_begin(&filling.progress, &source->ctx->out);
    r = bulk_read(source->file, source->format, source->now, &sink, NULL, e);
    out_progress_end(&filling.progress);
    if (r < 0 && !e->message[0])
        return fail_read(source, r, e);
    if (r == 0 && filling.done != source->entries)
        return err_set(e, -EBUSY, EXIT_USAGE,
                       "the file was changed while it was read; nothing changed");
    return r;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, two = *(const int64_t *)b;

    return (one > two) - (one < two);
}

struct sweeping {
    struct additions *additions;
    struct source_ids *ids;
    struct losses *losses;
    struct out_progress progress;
    uint64_t done;
    struct err *e;
};

static int delete_other(const struct store_entry *entry, void *arg)
{
    struct sweeping *sweeping = arg;
    struct additions *additions = sweeping->additions;
    const struct source_ids *ids = sweeping->ids;
    int r;

    out_progress(&sweeping->progress, "compared", ++sweeping->done);
    if (ids->count && bsearch(&entry->id, ids->items, ids->count, sizeof(*ids->items), compare_ids))
        return 0;
    r = losses_delete(sweeping->losses, &additions->change, &additions->outcome, entry,
                      sweeping->e);
    if (r == 0)
        outcome_add(&additions->outcome, "deleted", entry);
    return r;
}

int source_delete_others(struct additions *additions, struct source_ids *ids, struct losses *losses,
                         struct err *e)
{
    struct sweeping sweeping = {.additions = additions, .ids = ids, .losses = losses, .e = e};
    int r;

    if (ids->count)
        qsort(ids->items, ids->count, sizeof(*ids->items), compare_ids);
    out_progress_begin(&sweeping.progress, &additions->ctx->out);
    r = store_each_entry(additions->change.store, NULL, STORE_BY_ID, delete_other, &sweeping, e);
    out_progress_end(&sweeping.progress);
    return r;
}
