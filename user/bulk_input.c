/* SPDX-License-Identifier: GPL-2.0-only */
/* See bulk_input.h. Pure. */
#include "bulk_input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char blanks[] = " \t";

/* ---- bytes ---- */

/* Makes room behind the last byte; what was taken long ago is forgotten. */
static void slide(struct bulk_input *in)
{
    size_t drop = in->at > BULK_KEPT ? in->at - BULK_KEPT : 0;

    memmove(in->buf, in->buf + drop, in->end - drop);
    in->base += drop;
    in->at -= drop;
    in->end -= drop;
}

size_t bulk_ahead(struct bulk_input *in, size_t size, const char **ret_bytes)
{
    while (in->end - in->at < size && !in->ended) {
        size_t got;

        if (in->end == sizeof(in->buf))
            slide(in);
        got = in->fill(in->fill_arg, in->buf + in->end, sizeof(in->buf) - in->end);
        in->ended = got == 0;
        in->end += got;
    }
    *ret_bytes = in->buf + in->at;
    return in->end - in->at;
}

int bulk_peek(struct bulk_input *in)
{
    const char *next;

    if (in->at == in->end && !bulk_ahead(in, 1, &next))
        return BULK_NOTHING;
    return (unsigned char)in->buf[in->at];
}

int bulk_next(struct bulk_input *in)
{
    int c = bulk_peek(in);

    if (c == BULK_NOTHING)
        return c;
    in->at++;
    if (c == '\n') {
        in->line++;
        in->line_start = in->base + in->at;
    }
    return c;
}

void bulk_begin(struct bulk_input *in)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    const char *bytes;

    in->line = 1;
    if (bulk_ahead(in, sizeof(mark), &bytes) < sizeof(mark) || memcmp(bytes, mark, sizeof(mark)))
        return;
    in->at += sizeof(mark);
    in->line_start = in->base + in->at;
}

struct bulk_mark bulk_here(const struct bulk_input *in)
{
    return (struct bulk_mark){
        .line = in->line, .line_start = in->line_start, .at = in->base + in->at};
}

/* ---- places ---- */

/*
 * The line around @mark, as much of it as is kept. What may be gone, as it depends on the pieces in
 * which bytes came, is not shown.
 */
static struct bulk_place around(struct bulk_input *in, struct bulk_mark mark, size_t len)
{
    size_t before = (size_t)(mark.at - mark.line_start), used;
    struct bulk_place place = {
        .line = mark.line, .column = before + 1, .text = in->shown, .len = len};
    const char *bytes, *start, *end;
    char *nul;

    in->shown[0] = '\0';
    if (in->base + in->at - mark.at > BULK_KEPT - BULK_AROUND)
        return place;
    before = before < BULK_AROUND ? before : BULK_AROUND;
    bulk_ahead(in, BULK_AROUND, &bytes);
    start = in->buf + (mark.at - in->base) - before;
    used = (size_t)(in->buf + in->end - start);
    used = used < before + BULK_AROUND ? used : before + BULK_AROUND;
    end = memchr(start, '\n', used);
    used = end ? (size_t)(end - start) : used;
    memcpy(in->shown, start, used);
    used -= used > before && in->shown[used - 1] == '\r';
    in->shown[used] = '\0';
    while ((nul = memchr(in->shown, '\0', used)))
        *nul = '?';
    place.at = before;
    return place;
}

int bulk_entry(struct bulk_input *in, const struct listfile_entry *entry, struct bulk_mark mark,
               size_t len)
{
    struct bulk_place place = around(in, mark, len);

    in->entries++;
    return in->sink->entry(entry, &place, in->sink->arg);
}

int bulk_problem(struct bulk_input *in, struct bulk_mark mark, size_t len,
                 const struct err *problem, bool notice)
{
    struct bulk_place place = around(in, mark, len);

    return in->sink->problem(&place, problem, notice, in->sink->arg);
}

/* ---- a line at a time ---- */

static struct bulk_place line_place(const struct bulk_line *line, struct bulk_part part)
{
    return (struct bulk_place){.line = line->number,
                               .column = part.at + 1,
                               .text = line->text,
                               .at = part.at,
                               .len = part.len};
}

int bulk_line_entry(struct bulk_input *in, const struct bulk_line *line, struct bulk_part part,
                    const struct listfile_entry *entry)
{
    struct bulk_place place = line_place(line, part);

    in->entries++;
    return in->sink->entry(entry, &place, in->sink->arg);
}

int bulk_line_problem(struct bulk_input *in, const struct bulk_line *line, struct bulk_part part,
                      const struct err *problem, bool notice)
{
    struct bulk_place place = line_place(line, part);

    return in->sink->problem(&place, problem, notice, in->sink->arg);
}

/* The next line, without its end: 1, 0 none, -EINVAL with what is there of it. */
static int take_line(struct bulk_input *in, struct bulk_line *line, struct err *e)
{
    size_t used = 0;
    bool nul = false;
    int c = bulk_peek(in);

    line->number = in->line;
    if (c == BULK_NOTHING)
        return 0;
    while ((c = bulk_next(in)) != BULK_NOTHING && c != '\n') {
        nul |= c == '\0';
        if (used <= LISTFILE_LINE_MAX)
            line->cut[used++] = (char)c;
    }
    if (used > LISTFILE_LINE_MAX) {
        line->cut[LISTFILE_LINE_MAX] = '\0';
        err_set(e, 0, EXIT_USAGE, "the line is longer than %d bytes", LISTFILE_LINE_MAX);
        err_hint(e, "an entry is far shorter: is it a file of another format?");
        return -EINVAL;
    }
    if (used && line->cut[used - 1] == '\r')
        used--;
    line->cut[used] = '\0';
    if (!nul)
        return 1;
    err_set(e, 0, EXIT_USAGE, "a NUL byte: this is no text file");
    err_hint(e, "iconv -f UTF-16 -t UTF-8 converts a file that was saved as \"Unicode\"");
    return -EINVAL;
}

int bulk_each_line(struct bulk_input *in, struct bulk_line *line,
                   int (*take)(struct bulk_input *in, struct bulk_line *line, void *arg), void *arg)
{
    struct err problem;
    int got, r;

    while ((got = take_line(in, line, &problem)) != 0) {
        char first = line->cut[strspn(line->cut, blanks)];

        if (got > 0 && (!first || (first == '#' && !line->no_comments)))
            continue;
        snprintf(line->text, sizeof(line->text), "%s", line->cut);
        if (got > 0)
            r = take(in, line, arg);
        else
            r = bulk_line_problem(in, line, (struct bulk_part){0}, &problem, false);
        if (r != 0)
            return r;
    }
    return 0;
}

char *bulk_word(struct bulk_line *line, size_t *at, struct bulk_part *ret_part)
{
    char *word = line->cut + *at;
    size_t len;

    word += strspn(word, blanks);
    len = strcspn(word, blanks);
    *ret_part = (struct bulk_part){.at = (size_t)(word - line->cut), .len = len};
    *at = ret_part->at + len;
    if (!len)
        return NULL;
    if (word[len]) {
        word[len] = '\0';
        (*at)++;
    }
    return word;
}

/* ---- an entry's parts ---- */

int bulk_set_account(struct listfile_entry *entry, const char *text, struct err *e)
{
    int r = account_check(text, e);

    if (r == 0)
        snprintf(entry->account, sizeof(entry->account), "%s", text);
    return r;
}

int bulk_set_remark(struct listfile_entry *entry, const char *text, struct err *e)
{
    int r = remark_check(text, e);

    if (r < 0)
        return r;
    snprintf(entry->remark, sizeof(entry->remark), "%s", text);
    entry->has_remark = *text != '\0';
    return 0;
}

int bulk_set_until(struct listfile_entry *entry, const char *text, struct err *e)
{
    int r = when_parse_rfc3339(text, &entry->until, e);

    entry->has_until |= r == 0;
    return r;
}

int bulk_set_timeout(const struct bulk_input *in, struct listfile_entry *entry, int64_t seconds,
                     struct err *e)
{
    if (seconds < 0 || seconds > WHEN_DURATION_MAX || in->now < 1 ||
        in->now > WHEN_MAX - WHEN_DURATION_MAX) {
        err_set(e, 0, EXIT_USAGE, "the timeout is too long");
        err_hint(e, "the longest is 3650 days; leave it out for an entry that stays");
        return -EINVAL;
    }
    entry->until = in->now + seconds;
    entry->has_until = true;
    return 0;
}
