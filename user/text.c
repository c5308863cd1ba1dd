/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Escaping for messages and the rules for remarks. One decoder and one list of unwelcome characters
 * serve both, so that whatever a remark may hold is shown as it is. Must not know where text comes
 * from or goes to.
 */
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

size_t text_utf8_next(const char *text, uint32_t *ret_code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    uint32_t code;
    size_t len;

    if (s[0] < 0x80) {
        *ret_code = s[0];
        return 1;
    }
    if ((s[0] & 0xe0) == 0xc0) {
        len = 2;
        code = s[0] & 0x1f;
    } else if ((s[0] & 0xf0) == 0xe0) {
        len = 3;
        code = s[0] & 0x0f;
    } else if ((s[0] & 0xf8) == 0xf0) {
        len = 4;
        code = s[0] & 0x07;
    } else {
        return 0;
    }
    /* The NUL is no continuation byte, so a cut sequence ends here. */
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return len;
}

/* What could fool the reader of a terminal; NULL when the character is welcome. */
static const char *unwelcome(uint32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code < 0xa0))
        return "control character";
    if (code == 0x2028 || code == 0x2029)
        return "line separator";
    if ((code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
        return "text direction override";
    return NULL;
}

/*
 * What is not seen, or turns the writing around it, in a text that somebody gives now: two remarks
 * that look alike would differ. U+200C and U+200D are none of them: Persian is not written without
 * the first, nor many emoji without the second.
 */
static const char *invisible(uint32_t code)
{
    if (code == 0x200e || code == 0x200f || code == 0x061c)
        return "invisible mark of text direction";
    if (code == 0x200b || (code >= 0x2060 && code <= 0x2064) || code == 0xfeff)
        return "invisible character";
    return NULL;
}

/* One character as it will be shown; returns how many bytes of @in it takes. */
static size_t show_one(const char *in, bool ascii_only, char ret_shown[4 * 4 + 1])
{
    uint32_t code;
    size_t len = text_utf8_next(in, &code);

    if (len && !unwelcome(code) && !invisible(code) && (len == 1 || !ascii_only)) {
        memcpy(ret_shown, in, len);
        ret_shown[len] = '\0';
        return len;
    }
    if (!len)
        len = 1;
    for (size_t i = 0; i < len; i++)
        snprintf(ret_shown + 4 * i, 5, "\\x%02x", (unsigned char)in[i]);
    return len;
}

static const char *escape(const char *in, bool ascii_only, char *buf, size_t size)
{
    static const char more[] = "...";
    size_t used = 0, cut = 0;

    if (!size)
        return buf;
    while (*in) {
        char shown[17];
        size_t taken = show_one(in, ascii_only, shown);
        size_t len = strlen(shown);

        if (used + len >= size) {
            /* @cut is the last place between characters that leaves room for the dots. */
            if (size >= sizeof(more))
                memcpy(buf + cut, more, sizeof(more));
            else
                buf[cut] = '\0';
            return buf;
        }
        memcpy(buf + used, shown, len);
        used += len;
        if (used + sizeof(more) <= size)
            cut = used;
        in += taken;
    }
    buf[used] = '\0';
    return buf;
}

const char *text_escape(const char *in, char *buf, size_t size)
{
    return escape(in, false, buf, size);
}

const char *text_escape_ascii(const char *in, char *buf, size_t size)
{
    return escape(in, true, buf, size);
}

/* Columns of one character as shown: escapes are as wide as they are long. */
static size_t shown_columns(const char shown[4 * 4 + 1])
{
    return (unsigned char)shown[0] < 0x80 ? strlen(shown) : 1;
}

/* The column at which byte @at is shown; of its end, that of the end. */
static size_t column_of(const char *line, size_t at)
{
    const char *s = line;
    size_t column = 0;

    while (*s && (size_t)(s - line) < at) {
        char shown[17];
        size_t taken = show_one(s, false, shown);

        if ((size_t)(s - line) + taken > at)
            break; /* amid a character */
        column += shown_columns(shown);
        s += taken;
    }
    return column;
}

/* Columns @from.. of the line up to @to; dots where a character is cut. */
static void show_columns(const char *line, size_t from, size_t to, char *buf)
{
    size_t column = 0;

    while (*line && column < to) {
        char shown[17];
        size_t taken = show_one(line, false, shown), wide = shown_columns(shown);

        for (size_t c = column; c < column + wide && (column < from || column + wide > to); c++)
            if (c >= from && c < to)
                *buf++ = '.';
        if (column >= from && column + wide <= to) {
            memcpy(buf, shown, strlen(shown));
            buf += strlen(shown);
        }
        column += wide;
        line += taken;
    }
    *buf = '\0';
}

/* Columns that "..." takes. */
#define DOTS 3U

void text_mark(const char *line, size_t at, size_t len, size_t width, struct text_view *ret_view)
{
    size_t first = column_of(line, at), last = column_of(line, at + len);
    size_t total = column_of(line, SIZE_MAX), from = 0, left = 0, right = 0, end;
    char *mark = ret_view->mark;

    width = width < 20 ? 20 : width > TEXT_COLUMNS_MAX ? TEXT_COLUMNS_MAX : width;
    total = total > first ? total : first + 1;
    if (total > width) {
        from = first > width / 2 ? first - width / 2 : 0;
        from = from + width > total ? total - width : from;
        left = from ? DOTS : 0;
        right = from + width < total ? DOTS : 0;
    }
    end = (total > width ? from + width : total) - right;
    memcpy(ret_view->shown, "...", left);
    show_columns(line, from + left, end, ret_view->shown + left);
    snprintf(ret_view->shown + strlen(ret_view->shown), DOTS + 1, "%.*s", (int)right, "...");
    memset(mark, ' ', first - from);
    mark += first - from;
    *mark++ = '^';
    for (size_t c = first + 1; c < last && c < end; c++)
        *mark++ = '~';
    *mark = '\0';
}

/* The first character that does not belong into one line of plain text; @what names the text. */
static int check_line(const char *text, const char *what, bool given, struct err *e)
{
    size_t position = 1;

    for (const char *s = text; *s; position++) {
        uint32_t code;
        size_t len = text_utf8_next(s, &code);
        const char *why;

        if (!len) {
            err_set(e, 0, EXIT_USAGE, "%s: invalid UTF-8 at character %zu (byte \\x%02x)", what,
                    position, (unsigned char)*s);
            err_hint(e, "%ss are UTF-8; iconv converts from other encodings", what);
            return -EINVAL;
        }
        why = unwelcome(code);
        if (!why && given)
            why = invisible(code);
        if (why) {
            err_set(e, 0, EXIT_USAGE, "%s: %s U+%04X at character %zu", what, why, code, position);
            err_hint(e, "%s %s is one line of plain text; leave that character out",
                     strchr("aeiou", what[0]) ? "an" : "a", what);
            return -EINVAL;
        }
        s += len;
    }
    return 0;
}

int text_check_line(const char *text, const char *what, struct err *e)
{
    return check_line(text, what, false, e);
}

int text_check_given(const char *text, const char *what, struct err *e)
{
    return check_line(text, what, true, e);
}

int remark_check(const char *remark, struct err *e)
{
    size_t bytes = strlen(remark);

    if (bytes > REMARK_MAX) {
        err_set(e, 0, EXIT_USAGE, "remark: %zu bytes long, at most %d are kept", bytes, REMARK_MAX);
        err_hint(e, "shorten it by %zu byte%s", bytes - REMARK_MAX,
                 bytes - REMARK_MAX == 1 ? "" : "s");
        return -EINVAL;
    }
    return text_check_given(remark, "remark", e);
}
