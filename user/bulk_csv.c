/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CSV (RFC 4180), as spreadsheets write it. The first line names the columns. A row is one line:
 * no cell of ours holds a line end. Pure. Must not know what the entries are for.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bulk_formats.h"

enum column {
    COLUMN_WHO,
    COLUMN_ACCOUNT,
    COLUMN_UNTIL,
    COLUMN_REMARK,
    COLUMN_PASSED_OVER, /* this and all that follow */
};

/* In the order of enum column, as far as that goes. */
static const struct {
    const char *name;
    int column;
} columns[] = {
    {"who", COLUMN_WHO},
    {"account", COLUMN_ACCOUNT},
    {"until", COLUMN_UNTIL},
    {"remark", COLUMN_REMARK},
    {"id", COLUMN_PASSED_OVER},
    {"kind", COLUMN_PASSED_OVER + 1},
    {"created", COLUMN_PASSED_OVER + 2},
    {"last_seen", COLUMN_PASSED_OVER + 3},
    {"connections", COLUMN_PASSED_OVER + 4},
    {"expires", COLUMN_UNTIL},
};

/* More cells than there are names are too many in any file. */
#define CELLS_MAX 16

struct cell {
    char *text, *end; /* unquoted, in line->cut */
    struct bulk_part part;
};

struct csv {
    int order[CELLS_MAX]; /* enum column, or beyond, of each cell */
    size_t count;         /* of cells; 0: the header is to come */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Behind the opening quote at @s; writes the cell in place. Returns what stands behind it. */
static char *unquote(char *s, char **ret_end)
{
    char *to = s;

    for (; *s; s++) {
        if (*s == '"' && s[1] != '"') {
            *ret_end = to;
            return s + 1;
        }
        s += *s == '"';
        *to++ = *s;
    }
    return NULL;
}

static int refuse(struct err *e, const char *why, const char *hint)
{
    err_set(e, 0, EXIT_USAGE, "%s", why);
    err_hint(e, "%s", hint);
    return -EINVAL;
}

/* The cell that begins at @s. @ret_next is the comma behind it, or the end. */
static int take_cell(const char *line, char *s, struct cell *ret_cell, char **ret_next,
                     struct err *e)
{
    char *next;

    while (is_blank(*s))
        s++;
    ret_cell->part = (struct bulk_part){.at = (size_t)(s - line), .len = strcspn(s, ",")};
    ret_cell->text = s;
    if (*s == '"') {
        ret_cell->text = s + 1;
        next = unquote(s + 1, &ret_cell->end);
        if (!next)
            return refuse(e, "a quoted cell that does not end in this line",
                          "close it with a \"; a \" within it is written twice: \"\"");
        ret_cell->part.len = (size_t)(next - line) - ret_cell->part.at;
        while (is_blank(*next))
            next++;
        if (*next && *next != ',')
            return refuse(e, "text behind a quoted cell",
                          "a \" within a quoted cell is written twice: \"\"");
    } else {
        next = ret_cell->end = s + ret_cell->part.len;
        while (ret_cell->end > s && is_blank(ret_cell->end[-1]))
            ret_cell->end--;
        ret_cell->part.len = (size_t)(ret_cell->end - s);
        if (memchr(s, '"', ret_cell->part.len))
            return refuse(e, "a \" in a cell that does not begin with one",
                          "put the whole cell into quotes, and write each \" in it twice");
    }
    *ret_next = next;
    return 0;
}

/* Cuts the line into cells; not before all have been read, as a comma may be where one ends. */
static int take_cells(struct bulk_line *line, struct cell cells[CELLS_MAX], size_t *ret_count,
                      struct bulk_part *ret_part, struct err *e)
{
    char *s = line->cut;
    size_t count = 0;

    for (;;) {
        char *next;
        int r;

        if (count == CELLS_MAX) {
            *ret_part = (struct bulk_part){.at = (size_t)(s - line->cut), .len = 1};
            return refuse(e, "too many cells in one line",
                          "a cell with a comma in it is put into quotes: \"a, b\"");
        }
        r = take_cell(line->cut, s, &cells[count], &next, e);
        *ret_part = cells[count].part;
        if (r < 0)
            return r;
        count++;
        if (!*next)
            break;
        s = next + 1;
    }
    for (size_t i = 0; i < count; i++)
        *cells[i].end = '\0';
    *ret_count = count;
    return 0;
}

/* ---- the header ---- */

static int column_of(const char *name)
{
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        if (!strcasecmp(columns[i].name, name))
            return columns[i].column;
    return -1;
}

static int take_name(struct csv *csv, const char *name, struct err *e)
{
    int column = column_of(name);
    char shown[80];

    if (column < 0) {
        err_set(e, 0, EXIT_USAGE, "there is no column \"%s\"",
                text_escape(name, shown, sizeof(shown)));
        err_hint(e, strchr(name, ';') ? "cells are separated by commas: who,account,until,remark"
                                      : "the first line names the columns: who,account,until,"
                                        "remark; leave others out");
        return -EINVAL;
    }
    for (size_t i = 0; i < csv->count; i++)
        if (csv->order[i] == column) {
            err_set(e, 0, EXIT_USAGE, "a second column \"%s\"", columns[column].name);
            err_hint(e, "leave one of them out (expires is another name of until)");
            return -EINVAL;
        }
    csv->order[csv->count++] = column;
    return 0;
}

/* Without knowing the columns nothing that follows can be read. */
static int take_header(struct bulk_input *in, struct bulk_line *line, struct csv *csv,
                       const struct cell *cells, size_t count)
{
    struct bulk_part whole = {.len = strlen(line->text)};
    struct err problem;
    bool has_who = false;
    int r;

    for (size_t i = 0; i < count; i++) {
        if (take_name(csv, cells[i].text, &problem) < 0) {
            r = bulk_line_problem(in, line, cells[i].part, &problem, false);
            return r < 0 ? r : BULK_STOP;
        }
        has_who |= csv->order[i] == COLUMN_WHO;
    }
    line->no_comments = true;
    if (has_who)
        return 0;
    err_set(&problem, 0, EXIT_USAGE, "there is no column \"who\"");
    err_hint(&problem, "the first line names the columns: who,account,until,remark");
    r = bulk_line_problem(in, line, whole, &problem, false);
    return r < 0 ? r : BULK_STOP;
}

/* ---- the rows ---- */

static int take_value(struct listfile_entry *entry, int column, const char *text, struct err *e)
{
    if (column == COLUMN_WHO)
        return who_parse(text, &entry->who, e);
    if (!*text)
        return 0;
    if (column == COLUMN_ACCOUNT)
        return bulk_set_account(entry, text, e);
    if (column == COLUMN_UNTIL)
        return bulk_set_until(entry, text, e);
    return column == COLUMN_REMARK ? bulk_set_remark(entry, text, e) : 0;
}

static int refuse_count(const struct csv *csv, size_t count, struct err *e)
{
    err_set(e, 0, EXIT_USAGE, "%zu cell%s, and the first line names %zu", count,
            count == 1 ? "" : "s", csv->count);
    err_hint(e, "a cell with a comma in it is put into quotes: \"a, b\"");
    return -EINVAL;
}

static int take_row(struct bulk_input *in, struct bulk_line *line, const struct csv *csv,
                    const struct cell *cells, size_t count)
{
    struct bulk_part who = {0}, end = {.at = strlen(line->text)};
    struct listfile_entry entry = {0};
    struct err problem;

    if (count != csv->count) {
        refuse_count(csv, count, &problem);
        return bulk_line_problem(in, line, count > csv->count ? cells[csv->count].part : end,
                                 &problem, false);
    }
    for (size_t i = 0; i < count; i++) {
        if (take_value(&entry, csv->order[i], cells[i].text, &problem) < 0)
            return bulk_line_problem(in, line, cells[i].part, &problem, false);
        if (csv->order[i] == COLUMN_WHO)
            who = cells[i].part;
    }
    return bulk_line_entry(in, line, who, &entry);
}

static int take_line(struct bulk_input *in, struct bulk_line *line, void *arg)
{
    struct cell cells[CELLS_MAX];
    struct csv *csv = arg;
    struct bulk_part part;
    struct err problem;
    size_t count;
    int r;

    if (take_cells(line, cells, &count, &part, &problem) < 0) {
        r = bulk_line_problem(in, line, part, &problem, false);
        return r == 0 && !csv->count ? BULK_STOP : r;
    }
    return csv->count ? take_row(in, line, csv, cells, count)
                      : take_header(in, line, csv, cells, count);
}

int bulk_read_csv(struct bulk_input *in)
{
    struct csv csv = {0};
    struct bulk_line line;
    int r;

    line.no_comments =
        false; /* in front of the header; behind it, what begins a row may be a cell */
    r = bulk_each_line(in, &line, take_line, &csv);

    return r < 0 ? r : 0;
}
