/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text from outside, made safe to show: a terminal reader must see what is there, and no byte of a
 * stranger's may move the cursor or turn the writing around. Pure: no I/O, no locale, no
 * allocation. Knows nothing of addresses, entries or output formats.
 */
#ifndef SMTPGATE_TEXT_H
#define SMTPGATE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* Bytes of a remark, without the NUL; contract. */
#define REMARK_MAX 200

/*
 * Decodes one character. Returns its bytes (1..4; 1 for the NUL too) and sets @ret_code, or 0 when
 * @text does not start with valid UTF-8 (overlong forms, surrogates and cut sequences are not).
 */
size_t text_utf8_next(const char *text, uint32_t *ret_code);

/*
 * Copies @in to @buf for showing: control characters, what turns the writing around or is not seen
 * (but for what joins or parts letters, U+200C and U+200D), and bytes that are not UTF-8 become
 * \xNN; what does not fit is cut between characters and ends in "...". Returns @buf.
 */
const char *text_escape(const char *in, char *buf, size_t size);

/* The same, and everything beyond ASCII is escaped too: for text that should have been ASCII. */
const char *text_escape_ascii(const char *in, char *buf, size_t size);

/* Columns of a view, at most. */
#define TEXT_COLUMNS_MAX 400

struct text_view {
    char shown[4 * TEXT_COLUMNS_MAX + 1];
    char mark[TEXT_COLUMNS_MAX + 1]; /* to stand below: spaces, ^ and ~ */
};

/*
 * A line with a place in it (its bytes @at.., @len of them) for @width columns: escaped as by
 * text_escape(), and cut at one end or both ("...") so that the place stays in sight.
 */
void text_mark(const char *line, size_t at, size_t len, size_t width, struct text_view *ret_view);

/*
 * One line of UTF-8 without control characters, line separators or direction overrides. -EINVAL,
 * EXIT_USAGE, naming the offending character and its position; @what ("remark") names the text.
 */
int text_check_line(const char *text, const char *what, struct err *e);

/*
 * The same for a text that a person gives now, and nothing in it that is not seen: zero-width
 * characters and marks of direction. What is stored already may hold them, and is shown escaped.
 */
int text_check_given(const char *text, const char *what, struct err *e);

/*
 * A remark that is given: at most REMARK_MAX bytes, as text_check_given(). -EINVAL, EXIT_USAGE,
 * naming the offending character and its position.
 */
int remark_check(const char *remark, struct err *e);

#endif
