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

/* Of all bits, the head's place included. */
#define BLOCKS_BYTES ((size_t)SG_BITS_END / 8)

/*
 * Sets the bits of @prefix among @bits, of BLOCKS_BYTES, one after the other: the program may be
 * reading them. What they said before they go on saying.
 */
void blocks_mark(uint8_t *bits, uint64_t seed, const struct prefix *prefix);

/*
 * Whether blocks_mark() would change nothing: 0 no, 1 yes. @read_bit: 0, 1 or -errno, which is
 * handed on.
 */
int blocks_tell(int (*read_bit)(uint32_t bit, void *arg), void *arg, uint64_t seed,
                const struct prefix *prefix);

/* Whether the bits send the program on to the trie for @addr: likewise. */
int blocks_send_on(int (*read_bit)(uint32_t bit, void *arg), void *arg, uint64_t seed,
                   const struct addr *addr);

#endif
