/* SPDX-License-Identifier: GPL-2.0-only */
/* import, export: whole lists from and to files. All or nothing. See listfile.h, additions.h. */
#include <stdio.h>
#include <string.h>

#include "additions.h"
#include "listfile.h"

/* Bad lines that are reported; all of them with -v. */
#define REPORTED_LINES 20

/* ---- import ---- */

struct import {
    const struct cmd_context *ctx;
    const char *name; /* of the file, for messages */
    FILE *file;       /* NULL: standard input, which is the caller's */
    unsigned long line;
    unsigned long bad_lines, warned;
    struct err first; /* of the bad lines */
    struct addition *additions;
    size_t count, room;
};

static void cleanup_import(struct import *import)
{
    size_t i;

    for (i = 0; i < import->count; i++) {
        free((char *)import->additions[i].account);
        free((char *)import->additions[i].remark);
    }
    free(import->additions);
    if (import->file)
        fclose(import->file);
}

/* FILE:LINE:COL: cause, the line with the place below it, the hint. */
static void report(struct import *import, const char *text, const struct listfile_place *place,
                   const struct err *problem)
{
    const struct cmd_context *ctx = import->ctx;
    struct err whole;

    err_set(&whole, 0, EXIT_USAGE, "%s:%lu:%zu: %s", import->name, import->line, place->at + 1,
            problem->message);
    err_hint(&whole, "%s", problem->hint);
    if (import->bad_lines++ == 0)
        import->first = whole;
    if (import->bad_lines <= REPORTED_LINES || ctx->verbose)
        out_place(whole.message, text, place->at, place->len, whole.hint);
}

static int push(struct import *import, const struct listfile_entry *entry)
{
    struct addition addition = {.who = entry->who};
    size_t room = import->room ? import->room * 2 : 256;
    struct addition *more;

    if (import->count == import->room) {
        more = reallocarray(import->additions, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        import->additions = more;
        import->room = room;
    }
    addition.account = strdup(entry->account);
    addition.remark = entry->has_remark ? strdup(entry->remark) : NULL;
    if (!addition.account || (entry->has_remark && !addition.remark)) {
        free((char *)addition.account);
        free((char *)addition.remark);
        return -ENOMEM;
    }
    import->additions[import->count++] = addition;
    return 0;
}

/* The next line without its end (and without the CR of other systems): 1, 0 none, -EINVAL. */
static int read_line(FILE *file, char line[LISTFILE_LINE_MAX + 1], struct err *e)
{
    bool nul = false, any = false;
    size_t used = 0;
    int c;

    while ((c = getc_unlocked(file)) != EOF && c != '\n') {
        any = true;
        nul |= c == '\0';
        if (used <= LISTFILE_LINE_MAX)
            line[used++] = (char)c;
    }
    if (c == EOF && !any)
        return 0;
    if (used > LISTFILE_LINE_MAX) {
        line[LISTFILE_LINE_MAX] = '\0';
        return err_set(e, -EINVAL, EXIT_USAGE, "the line is longer than %d bytes",
                       LISTFILE_LINE_MAX);
    }
    if (used && line[used - 1] == '\r')
        used--;
    line[used] = '\0';
    return nul ? err_set(e, -EINVAL, EXIT_USAGE, "a NUL byte: this is no text file") : 1;
}

/* It is a remark like any other, and nearly always a slip: the entry goes into the host list. */
static void warn_remark(struct import *import, const struct listfile_entry *entry)
{
    char name[256];

    if (*entry->account || !strstr(entry->remark, "account=") || import->warned++ >= REPORTED_LINES)
        return;
    out_warn(&import->ctx->out,
             "%s:%lu: account= stands in the remark, so the entry is for the host list; to name an"
             " account, write it in front of the #\n",
             text_escape(import->name, name, sizeof(name)), import->line);
}

/* The list does not keep it yet: an entry must not stay that was meant to end. */
static int refuse_until(const char *text, struct listfile_place *ret_place, struct err *e)
{
    const char *word = strstr(text, "until=");

    *ret_place = (struct listfile_place){.at = word ? (size_t)(word - text) : 0};
    ret_place->len = strcspn(text + ret_place->at, " \t");
    err_set(e, 0, EXIT_USAGE, "this version knows no entries that expire");
    err_hint(e, "leave until= out, and delete the entry when its time has come");
    return -EINVAL;
}

static int take_line(struct import *import, char line[LISTFILE_LINE_MAX + 1], int got,
                     struct err *problem)
{
    struct listfile_place place = {0};
    struct listfile_entry entry;
    char text[LISTFILE_LINE_MAX + 1];
    int r = got;

    snprintf(text, sizeof(text), "%s", line);
    if (r > 0)
        r = listfile_parse(line, &entry, &place, problem);
    if (r > 0 && entry.has_until)
        r = refuse_until(text, &place, problem);
    if (r < 0)
        report(import, text, &place, problem);
    if (r <= 0 || import->bad_lines)
        return 0;
    warn_remark(import, &entry);
    return push(import, &entry);
}

static int read_file(struct import *import, FILE *file, struct err *e)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, as some editors begin a file */
    char line[LISTFILE_LINE_MAX + 1];
    struct err problem = {0};
    int got, r;

    while ((got = read_line(file, line, &problem)) != 0) {
        if (++import->line == 1 && !strncmp(line, mark, 3))
            memmove(line, line + 3, strlen(line + 3) + 1);
        r = take_line(import, line, got, &problem);
        if (r < 0)
            return cmd_fail_memory(e);
        problem = (struct err){0};
    }
    if (ferror(file))
        return err_set(e, -EIO, errno == EISDIR ? EXIT_USAGE : EXIT_REFUSED,
                       "cannot read %s: %s; nothing changed", import->name, strerror(errno));
    return 0;
}

static int open_file(struct import *import, const char *path, FILE **ret_file, struct err *e)
{
    int r;

    if (!strcmp(path, "-")) {
        import->name = "standard input";
        *ret_file = stdin;
        if (isatty(STDIN_FILENO))
            out_note(&import->ctx->out,
                     "reads lines of the form: WHO account=NAME # remark; the end"
                     " of input (^D) ends it\n");
        return 0;
    }
    import->name = path;
    *ret_file = import->file = fopen(path, "re");
    if (import->file)
        return 0;
    r = -errno;
    err_set(e, r, r == -EACCES || r == -EPERM ? EXIT_DENIED : EXIT_USAGE,
            "cannot open %s: %s; nothing changed", path, strerror(-r));
    err_hint(e, "smtpgate import FILE, or smtpgate import - for standard input");
    return r;
}

/* All are on standard error; with -j the first is in the error too. */
static int fail_lines(const struct import *import, struct err *e)
{
    const struct cmd_context *ctx = import->ctx;

    if (import->bad_lines > REPORTED_LINES && !ctx->verbose)
        out_note(&ctx->out, "the first %d bad lines are shown; -v shows all\n", REPORTED_LINES);
    err_set(e, 0, EXIT_USAGE, "%lu bad %s%s%.700s; nothing changed", import->bad_lines,
            import->bad_lines == 1 ? "line" : "lines", ctx->out.json ? ", the first is " : "",
            ctx->out.json ? import->first.message : "");
    if (ctx->out.json)
        err_hint(e, "%s", import->first.hint);
    return -EINVAL;
}

int cmd_import(const struct cmd_context *ctx, struct err *e)
{
    __attribute__((cleanup(cleanup_import))) struct import import = {.ctx = ctx};
    FILE *file = NULL;
    int r = open_file(&import, ctx->args[0], &file, e);

    if (r == 0)
        r = read_file(&import, file, e);
    if (r == 0 && import.bad_lines)
        r = fail_lines(&import, e);
    return r == 0 ? additions_apply(ctx, import.additions, import.count, true, e) : r;
}

/* ---- export ---- */

static int export_entry(const struct store_entry *entry, void *arg)
{
    const struct cmd_context *ctx = arg;
    struct listfile_entry line = {.who = entry->who};
    char text[LISTFILE_TEXT_MAX];

    snprintf(line.account, sizeof(line.account), "%s", entry->account);
    snprintf(line.remark, sizeof(line.remark), "%s", entry->remark);
    out_text(&ctx->out, "%s\n", listfile_print(&line, text));
    return 0;
}

int cmd_export(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    int r;

    if (ctx->out.json)
        return cmd_list(ctx, e); /* the same entries as one object */
    r = cmd_open_both(ctx, &store, &gate, e);
    return r == 0 ? store_each_entry(store, NULL, STORE_BY_ACCOUNT, export_entry, (void *)ctx, e)
                  : r;
}
