/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * List files, a line at a time: WHO  [until=TIME]  [account=NAME]  [# remark]. What is printed is
 * read back as the same entry. Pure; knows nothing of files, the store or the command line.
 *
 * Words are separated by spaces and tabs. A name that holds one of these, a # or a %, is written
 * with %XX for those bytes. A remark begins behind the "# " that begins a word, and goes to the end
 * of the line; a line that begins so is a comment. A time is one of RFC 3339: a file means the same
 * on every host.
 */
#ifndef SMTPGATE_LISTFILE_H
#define SMTPGATE_LISTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "addr.h"
#include "err.h"
#include "text.h"
#include "when.h"

/* Of a line that can be read, without its end; the longest entry is well below. */
#define LISTFILE_LINE_MAX 2047

struct listfile_entry {
    struct who who;
    char account[ACCOUNT_MAX + 1]; /* "" the host list */
    char remark[REMARK_MAX + 1];
    bool has_remark;
    bool has_until;
    int64_t until; /* Unix seconds; 0 never */
};

/* The offending part of a line: bytes from its beginning, and how many. */
struct listfile_place {
    size_t at, len;
};

/*
 * 1 an entry, 0 nothing (empty, comment), -EINVAL with @e and @ret_place. @line is cut into words.
 */
int listfile_parse(char *line, struct listfile_entry *ret_entry, struct listfile_place *ret_place,
                   struct err *e);

#define LISTFILE_TEXT_MAX (WHO_TEXT_MAX + WHEN_TEXT_MAX + 3 * ACCOUNT_MAX + REMARK_MAX + 32)

/* One line without its end; returns @buf. */
const char *listfile_print(const struct listfile_entry *entry, char buf[LISTFILE_TEXT_MAX]);

#endif
