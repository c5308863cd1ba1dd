/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Postfix cidr: tables (cidr_table(5), access(5)). The first row that matches an address decides,
 * so a row that permits counts only for what no row in front of it has settled: where such a row
 * touches it, the permit cannot be taken over as it stands. Pure. Must not know what Postfix does
 * with the table.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bulk_formats.h"
#include "span.h"

struct postfix {
    struct bulk_line row; /* goes on in lines that begin with a blank */
    bool has_row;
    struct span_set settled; /* by rows that do not permit */
    bool full;               /* said that there are too many of those */
    struct err problem;
};

static const char blanks[] = " \t";

__attribute__((format(printf, 3, 4))) static int fail(struct postfix *postfix, const char *hint,
                                                      const char *fmt, ...)
{
    char why[200], shown[sizeof(why)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    err_set(&postfix->problem, 0, EXIT_USAGE, "%s", text_escape(why, shown, sizeof(shown)));
    err_hint(&postfix->problem, "%s", hint);
    return -EINVAL;
}

/* ---- what a row says ---- */

/* "[192.0.2.0]/24" and "[2001:db8::1]" are written so too. */
static int take_pattern(struct postfix *postfix, char *word, struct who *ret_who)
{
    char *close = *word == '[' ? strchr(word, ']') : NULL;

    if (close) {
        memmove(close, close + 1, strlen(close));
        memmove(word, word + 1, strlen(word));
    }
    if (strchr(word, '-'))
        return fail(postfix, "write it as 192.0.2.0/24, or in a list file of its own",
                    "\"%.80s\" is a range, which a cidr: table does not have", word);
    return who_parse(word, ret_who, &postfix->problem);
}

/* "450", as in "450 try later". Alone, Postfix takes it for a number, hence OK; nobody means that.
 */
static bool is_reply(const char *word)
{
    return (*word == '4' || *word == '5') && strlen(word) == 3;
}

/* @word is the first of the @result; what follows a comma are more restrictions. */
static bool permits(const char *result, const char *word)
{
    size_t len = strlen(word);
    const char *rest = result + len + strspn(result + len, blanks);

    if (!word[strspn(word, "0123456789")])
        return !*rest && !is_reply(word);
    return !strcasecmp(word, "OK") || !strcasecmp(word, "permit") ||
           !strncasecmp(word, "permit,", strlen("permit,"));
}

/* What stands behind OK says nothing to Postfix; people note there whose address it is. */
static int take_rest(struct bulk_input *in, struct postfix *postfix, const char *rest,
                     struct bulk_part part, struct listfile_entry *entry)
{
    char text[LISTFILE_LINE_MAX + 1];
    size_t len = strlen(rest);
    struct err why;

    while (len && strchr(blanks, rest[len - 1]))
        len--;
    snprintf(text, sizeof(text), "%.*s", (int)len, rest);
    rest = text + strspn(text, " \t#");
    if (bulk_set_remark(entry, rest, &why) == 0)
        return 0;
    err_set(&postfix->problem, 0, EXIT_USAGE,
            "the text behind it is not taken over: it is too long, or no plain text");
    err_hint(&postfix->problem, "%s", why.hint);
    return bulk_line_problem(in, &postfix->row, part, &postfix->problem, true);
}

/* ---- rows that permit, and rows that do not ---- */

static int take_permit(struct bulk_input *in, struct postfix *postfix, struct bulk_part part,
                       const struct listfile_entry *entry)
{
    if (postfix->full || span_touches(&postfix->settled, &entry->who)) {
        fail(postfix, "put this row in front of those, or leave their addresses out of it",
             "a row in front of this one settles some of these addresses otherwise, and a list has"
             " no exceptions");
        return bulk_line_problem(in, &postfix->row, part, &postfix->problem, false);
    }
    return bulk_line_entry(in, &postfix->row, part, entry);
}

static int take_other(struct bulk_input *in, struct postfix *postfix, struct bulk_part part,
                      const struct who *who, const char *action)
{
    int r = span_add(&postfix->settled, who), action_len = (int)strlen(action);

    if (action[action_len - 1] == ',')
        action_len--;

    if (r == -E2BIG && !postfix->full) {
        postfix->full = true;
        fail(postfix, "put the rows that permit in front, or into a file of their own",
             "more than %d rows that do not permit", SPAN_MAX);
        return bulk_line_problem(in, &postfix->row, part, &postfix->problem, false);
    }
    if (r < 0 && r != -E2BIG)
        return r;
    fail(postfix, "what no entry lets in is dropped", "not taken over: %.*s is no permit",
         action_len, action);
    return bulk_line_problem(in, &postfix->row, part, &postfix->problem, true);
}

/* Without an address to it: 0 go on, else what to return, the problem said. */
static int refuse_structure(struct postfix *postfix, const char *word)
{
    static const char hint[] = "list the addresses in a file of their own, one a line";

    if (*word == '!')
        return fail(postfix, hint, "\"!\" means every other address, which a list does not have");
    if (!strcasecmp(word, "if") || !strcasecmp(word, "endif"))
        return fail(postfix, hint, "\"%s\": conditions cannot be taken over", word);
    return 0;
}

static int take_row(struct bulk_input *in, struct postfix *postfix)
{
    struct bulk_line *row = &postfix->row;
    struct listfile_entry entry = {0};
    struct bulk_part who, action;
    char *word, *result;
    size_t at = 0;
    int r;

    postfix->has_row = false;
    word = bulk_word(row, &at, &who);
    r = refuse_structure(postfix, word);
    if (r == 0)
        r = take_pattern(postfix, word, &entry.who);
    if (r < 0)
        return bulk_line_problem(in, row, who, &postfix->problem, false);
    result = row->text + at + strspn(row->text + at, blanks);
    word = bulk_word(row, &at, &action);
    if (!word) {
        fail(postfix, "a row is: 192.0.2.0/24 OK", "a row without a result");
        return bulk_line_problem(in, row, who, &postfix->problem, false);
    }
    if (!permits(result, word))
        return take_other(in, postfix, action, &entry.who, word);
    if (!strcasecmp(word, "OK"))
        r = take_rest(in, postfix, result + strlen(word), action, &entry);
    return r == 0 ? take_permit(in, postfix, who, &entry) : r;
}

/* ---- lines ---- */

/* What a row goes on with is part of its result. */
static int take_more(struct bulk_input *in, struct postfix *postfix, struct bulk_line *line)
{
    struct bulk_line *row = &postfix->row;
    size_t used = strlen(row->cut), len = strlen(line->cut);
    struct bulk_part whole = {.len = len};

    if (!postfix->has_row) {
        fail(postfix, "a row begins without a blank", "this goes on with a row, and there is none");
        return bulk_line_problem(in, line, whole, &postfix->problem, false);
    }
    if (used + len > LISTFILE_LINE_MAX) {
        fail(postfix, "an action is far shorter", "the row is longer than %d bytes",
             LISTFILE_LINE_MAX);
        return bulk_line_problem(in, line, whole, &postfix->problem, false);
    }
    memcpy(row->cut + used, line->cut, len + 1);
    memcpy(row->text + used, line->text, len + 1);
    return 0;
}

static int take_line(struct bulk_input *in, struct bulk_line *line, void *arg)
{
    struct postfix *postfix = arg;
    int r = 0;

    if (strchr(blanks, line->cut[0]))
        return take_more(in, postfix, line);
    if (postfix->has_row)
        r = take_row(in, postfix);
    postfix->row = *line;
    postfix->has_row = true;
    return r;
}

int bulk_read_postfix(struct bulk_input *in)
{
    struct postfix postfix = {0};
    struct bulk_line line;
    int r;

    line.no_comments = false;
    r = bulk_each_line(in, &line, take_line, &postfix);
    if (r == 0 && postfix.has_row)
        r = take_row(in, &postfix);
    span_free(&postfix.settled);
    return r;
}
