/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files of entries as a change of the list, for import, apply, diff and preview. A file is read
 * twice: first to find everything that is wrong with it, while nothing is locked; then into the
 * change. So memory does not grow with it, and a slow pipe keeps nobody out. Knows the formats only
 * as bulk.h.
 */
#ifndef SMTPGATE_FILES_H
#define SMTPGATE_FILES_H

#include "additions.h"
#include "bulk.h"
#include "losses.h"
#include "repeats.h"

struct source {
    const struct cmd_context *ctx;
    const char *name; /* for messages */
    FILE *file;
    bool own; /* to be closed */
    long start;
    enum bulk_format format;
    int64_t now; /* what times that are relative count from */
    uint64_t entries;
    bool is_empty; /* not a byte */
    unsigned long bad_lines, notices, warned;
    struct repeats repeats;
    struct err first; /* of the bad lines */
};

void source_close(struct source *source);
#define _cleanup_source_ __attribute__((cleanup(source_close)))

/*
 * Opens @path ("-": standard input) and reads it once. Bad lines are told on stderr with their
 * places, and are an error (EXIT_USAGE); so are two that contradict each other, and what cannot be
 * carried over and would change what the rest means. What can be left out is named. What cannot be
 * read twice is copied to a temporary file.
 */
int source_open(const struct cmd_context *ctx, const char *path, struct source *ret_source,
                struct err *e);

/* The numbers of the entries that a file named. */
struct source_ids {
    int64_t *items;
    size_t count, room;
};

void source_ids_free(struct source_ids *ids);
#define _cleanup_source_ids_ __attribute__((cleanup(source_ids_free)))

/* Adds all of it to the change that @additions began; @ids (may be NULL) gets their numbers. */
int source_add(struct source *source, struct additions *additions, struct source_ids *ids,
               struct err *e);

/* Deletes every entry, of any list, that is not among @ids, which get sorted. */
int source_delete_others(struct additions *additions, struct source_ids *ids, struct losses *losses,
                         struct err *e);

#endif
