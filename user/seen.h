/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sources that came and were not listed then, as the kernel wrote them down, and whether the
 * list lets them in now. Knows the gate's table and the store; prints nothing.
 */
#ifndef SMTPGATE_SEEN_H
#define SMTPGATE_SEEN_H

#include <jansson.h>

#include "change.h"

struct seen_source {
    struct gate_source source;
    bool let_in;         /* by an entry of any list, as it is in the change */
    int64_t ended_entry; /* not let in: number of an entry that would, but has ended; 0 none */
};

struct seen {
    struct seen_source *items; /* those that are kept out first, then most packets first */
    size_t count, room;
    size_t n_out;       /* how many are kept out */
    uint64_t untracked; /* packets of unlisted sources that were not written down */
};

/* Of sources whose packets passed too. Nothing in the kernel: nothing seen. */
int seen_read(struct change *change, struct seen *ret_seen, struct err *e);
void seen_free(struct seen *seen);
#define _cleanup_seen_ __attribute__((cleanup(seen_free)))

/*
 * Only those whose last packet was dropped, or would have been, at @since (Unix seconds) or later;
 * most packets first, the first @top of them (0: all). @now: see store_covers(). n_out is not told.
 * @ret_total: how many there are.
 */
int seen_read_blocked(struct store *store, struct gate *gate, int64_t now, int64_t since,
                      size_t top, struct seen *ret_seen, size_t *ret_total, struct err *e);

/* Lines for a person, of the first ten that are kept out; "" if there are none. Returns @buf. */
#define SEEN_TEXT_MAX 4096
const char *seen_print(const struct seen *seen, char buf[SEEN_TEXT_MAX]);

/* The first @most; the caller owns it. */
json_t *seen_json(const struct seen *seen, size_t most);

#endif
