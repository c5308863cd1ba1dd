/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the readers of all formats share: the bytes of a file with their places, and the ways to say
 * "an entry" or "a problem". Pure: bytes come from a callback. Must not know any format.
 *
 * A few thousand bytes behind and before the place are kept, so that a problem can be shown with
 * what stands around it, in a line of any length, wherever the pieces were cut.
 */
#ifndef SMTPGATE_BULK_INPUT_H
#define SMTPGATE_BULK_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "listfile.h"

/* An entry is what a line of a list file says, whatever the format. */

/* Where something stands. @text is the line, or what of it is around the place. */
struct bulk_place {
    unsigned long line; /* from 1 */
    size_t column;      /* in bytes, from 1 */
    const char *text;   /* without its end; only until the callback returns */
    size_t at, len;     /* within @text */
};

/* A result below 0 ends the reading. */
struct bulk_sink {
    int (*entry)(const struct listfile_entry *entry, const struct bulk_place *place, void *arg);
    /* @notice: not taken over, and no harm done; else the file cannot be used as it is. */
    int (*problem)(const struct bulk_place *place, const struct err *problem, bool notice,
                   void *arg);
    void *arg;
};

#define BULK_PIECE   65536 /* the buffer */
#define BULK_AROUND  512   /* shown on either side of a place */
#define BULK_KEPT    4096  /* behind the next byte: a word and what stands before it */
#define BULK_NOTHING (-1)  /* the end of the file */

struct bulk_input {
    size_t (*fill)(void *arg, char *buf, size_t size); /* 0: the end, or an error of the caller's */
    void *fill_arg;
    const struct bulk_sink *sink;
    int64_t now;
    uint64_t entries; /* handed on so far */

    bool ended;
    uint64_t base; /* of buf[0] in the file */
    size_t at, end;
    unsigned long line;
    uint64_t line_start;
    char buf[BULK_PIECE];
    char shown[2 * BULK_AROUND + 1];
};

/* A byte that can be come back to in messages, as long as it is not BULK_KEPT bytes away. */
struct bulk_mark {
    unsigned long line;
    uint64_t line_start;
    uint64_t at;
};

/* To begin with: no bytes yet. A mark of UTF-8 at the beginning is passed over. */
void bulk_begin(struct bulk_input *in);

/* The next byte, or BULK_NOTHING. */
int bulk_peek(struct bulk_input *in);
int bulk_next(struct bulk_input *in);

/* Sees to it that @size bytes (less than BULK_KEPT) can be seen, if there are; returns how many. */
size_t bulk_ahead(struct bulk_input *in, size_t size, const char **ret_bytes);

struct bulk_mark bulk_here(const struct bulk_input *in);

/* To hand on. The result is the sink's. @len bytes from @mark are the place. */
int bulk_entry(struct bulk_input *in, const struct listfile_entry *entry, struct bulk_mark mark,
               size_t len);
int bulk_problem(struct bulk_input *in, struct bulk_mark mark, size_t len,
                 const struct err *problem, bool notice);

/* ---- a line at a time ---- */

struct bulk_line {
    unsigned long number;
    bool no_comments;                 /* set by a format where a # may begin what counts */
    char text[LISTFILE_LINE_MAX + 1]; /* as it is in the file */
    char cut[LISTFILE_LINE_MAX + 1];  /* the same, to be cut into words */
};

/* A part of a line. */
struct bulk_part {
    size_t at, len;
};

/* What a reader of lines returns to say: enough. */
#define BULK_STOP 1

/*
 * All lines but empty ones and comments, which begin with a #. A line that is too long, or holds a
 * NUL, is a problem and not handed on. 0, or what @take returned.
 */
int bulk_each_line(struct bulk_input *in, struct bulk_line *line,
                   int (*take)(struct bulk_input *in, struct bulk_line *line, void *arg),
                   void *arg);

int bulk_line_entry(struct bulk_input *in, const struct bulk_line *line, struct bulk_part part,
                    const struct listfile_entry *entry);
int bulk_line_problem(struct bulk_input *in, const struct bulk_line *line, struct bulk_part part,
                      const struct err *problem, bool notice);

/*
 * The next word of @line->cut at or behind *@at, ended by a blank: NULL at the end. @ret_part is
 * its place, *@at behind it.
 */
char *bulk_word(struct bulk_line *line, size_t *at, struct bulk_part *ret_part);

/* ---- an entry's parts; each -EINVAL with @e ---- */

int bulk_set_account(struct listfile_entry *entry, const char *text, struct err *e);
int bulk_set_remark(struct listfile_entry *entry, const char *text, struct err *e);
int bulk_set_until(struct listfile_entry *entry, const char *text, struct err *e);
/* So many seconds from now. */
int bulk_set_timeout(const struct bulk_input *in, struct listfile_entry *entry, int64_t seconds,
                     struct err *e);

#endif
