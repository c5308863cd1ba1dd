/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a file contradicts itself: the same WHO, of the same list, with two remarks or two ends.
 * What is said twice in the same way, or once only, is none. Pure; knows neither formats nor files.
 *
 * A file is read twice for it, so that it costs eight bytes an entry, and a few more for those only
 * that come again. Entries are told apart by 64 mixed bits.
 */
#ifndef SMTPGATE_REPEATS_H
#define SMTPGATE_REPEATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "listfile.h"

struct repeats_said;

/* Zero to begin with. */
struct repeats {
    uint64_t *keys; /* of the entries; settled: of those that come more than once, ascending */
    size_t count, room;
    struct repeats_said *said; /* for each of the keys; once settled */
};

void repeats_free(struct repeats *repeats);
#define _cleanup_repeats_ __attribute__((cleanup(repeats_free)))

/* For each entry, the first time. -ENOMEM. */
int repeats_note(struct repeats *repeats, const struct listfile_entry *entry);
/* Whether any comes again, so that a second time is worth while. -ENOMEM. */
int repeats_settle(struct repeats *repeats, bool *ret_any);

/*
 * For each entry, the second time, in the same order; @line is where it stands. False when it says
 * what was not said before; @e is then the sentence and what to do.
 */
bool repeats_agree(struct repeats *repeats, const struct listfile_entry *entry, unsigned long line,
                   struct err *e);

#endif
