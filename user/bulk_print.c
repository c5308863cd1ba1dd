/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One line of one entry, as our own formats write it. What these lines say is what the readers take
 * from them. Pure. Must not know where lines go.
 */
#include <stdio.h>
#include <string.h>

#include "bulk_formats.h"

/* Appends to @text, which has BULK_TEXT_MAX bytes: enough for whatever an entry can hold. */
static void append(char *text, const char *more)
{
    size_t used = strlen(text);

    snprintf(text + used, BULK_TEXT_MAX - used, "%s", more);
}

/* ---- CSV ---- */

static bool wants_quotes(const char *text)
{
    size_t len = strlen(text);

    return text[strcspn(text, ",\"")] || *text == ' ' || (len && text[len - 1] == ' ');
}

static void append_cell(char *text, const char *cell)
{
    size_t used = strlen(text);

    if (!wants_quotes(cell)) {
        append(text, cell);
        return;
    }
    text[used++] = '"';
    for (; *cell && used + 4 < BULK_TEXT_MAX; cell++) {
        if (*cell == '"')
            text[used++] = '"';
        text[used++] = *cell;
    }
    text[used++] = '"';
    text[used] = '\0';
}

static void print_csv(const struct bulk_row *row, char text[BULK_TEXT_MAX])
{
    char who[WHO_TEXT_MAX], until[WHEN_TEXT_MAX];

    append(text, who_print(&row->entry.who, who));
    append(text, ",");
    append_cell(text, row->entry.account);
    append(text, ",");
    append(text, when_print(row->entry.until, until));
    append(text, ",");
    append_cell(text, row->entry.remark);
}

/* ---- JSON ---- */

static void append_string(char *text, const char *string)
{
    size_t used = strlen(text);

    text[used++] = '"';
    for (; *string && used + 8 < BULK_TEXT_MAX; string++) {
        unsigned char c = (unsigned char)*string;

        if (c < 0x20 || c == 0x7f) {
            used += (size_t)snprintf(text + used, 7, "\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\')
            text[used++] = '\\';
        text[used++] = (char)c;
    }
    text[used++] = '"';
    text[used] = '\0';
}

static void append_member(char *text, const char *name, const char *string)
{
    append(text, *text == '{' && !text[1] ? "\"" : ",\"");
    append(text, name);
    append(text, "\":");
    if (string)
        append_string(text, string);
    else
        append(text, "null");
}

static void append_time(char *text, const char *name, int64_t seconds)
{
    char buf[WHEN_TEXT_MAX];

    append_member(text, name, seconds ? when_print(seconds, buf) : NULL);
}

static void print_json(const struct bulk_row *row, char text[BULK_TEXT_MAX])
{
    const struct listfile_entry *entry = &row->entry;
    char who[WHO_TEXT_MAX];

    append(text, "{");
    if (row->id)
        snprintf(text + 1, BULK_TEXT_MAX - 1, "\"id\":%lld", (long long)row->id);
    append_member(text, "who", who_print(&entry->who, who));
    append_member(text, "kind", who_kind_name(entry->who.kind));
    append_member(text, "account", *entry->account ? entry->account : NULL);
    append_member(text, "remark", entry->remark);
    if (row->created)
        append_time(text, "created", row->created);
    append_time(text, "expires", entry->until);
    append(text, "}");
}

const char *bulk_print(enum bulk_format format, const struct bulk_row *row, char buf[BULK_TEXT_MAX])
{
    _Static_assert(BULK_TEXT_MAX > LISTFILE_TEXT_MAX, "a line of a list fits");

    buf[0] = '\0';
    if (format == BULK_CSV)
        print_csv(row, buf);
    else if (format == BULK_JSON)
        print_json(row, buf);
    else
        listfile_print(&row->entry, buf);
    return buf;
}

const char *bulk_header(enum bulk_format format)
{
    return format == BULK_CSV ? "who,account,until,remark" : NULL;
}
