/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When and how often an entry let somebody in, and what is not known of that: the kernel counts, by
 * prefix, since the host was booted, and only where the gate stands. Must not know the command line
 * or output.
 */
#ifndef SMTPGATE_USE_H
#define SMTPGATE_USE_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "gate.h"
#include "store.h"

/*
 * The use of the entry's prefixes, whichever list they were let in for; but not of the time before
 * there was the entry. @gate NULL: none.
 */
int use_read(struct gate *gate, const struct store_entry *entry, struct gate_use *ret_use,
             struct err *e);

/* When it last let somebody in, or else was added: never in use since then. Unix seconds. */
int64_t use_last(const struct store_entry *entry, const struct gate_use *use);

/*
 * Since when each use is counted; Unix seconds. The next second when nothing is counted now, as the
 * gate is on no interface, or @gate is NULL.
 */
int use_known_since(struct store *store, struct gate *gate, int64_t now, int64_t *ret_since,
                    struct err *e);

#endif
