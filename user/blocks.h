/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cells of the summary in front of the tries (smtpgate_blocks.h): which of them say that a
 * prefix is there. Pure; knows nothing of maps, and not who asks the cells while packets come: that
 * is bpf/summary.h.
 */
#ifndef SMTPGATE_BLOCKS_USER_H
#define SMTPGATE_BLOCKS_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "prefix.h"
#include "smtpgate_types.h"

/* Of all cells, the head's place included. */
#define BLOCKS_BYTES ((size_t)SG_CELLS_END / 4)

/*
 * Sets the cells of @prefix among @cells, of BLOCKS_BYTES, one whole byte after the other: the
 * program may be reading them. What they said before they go on saying.
 */
void blocks_mark(uint8_t *cells, uint64_t seed, const struct prefix *prefix);

/* Whether blocks_mark() would change nothing. */
bool blocks_tell(const uint8_t *cells, uint64_t seed, const struct prefix *prefix);

/*
 * Whether the cells send the program on to the trie for @addr. @read_cell: SG_BLOCK_*, or -errno,
 * which is handed on. 0 no, 1 yes.
 */
int blocks_send_on(int (*read_cell)(uint32_t cell, void *arg), void *arg, uint64_t seed,
                   const struct addr *addr);

#endif
