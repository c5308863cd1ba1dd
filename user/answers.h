/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How often the policy service gave which answer: counters in a file of a fixed size, that its
 * processes (one for each of the relay's, perhaps) add to without waiting for each other, and that
 * metrics reads. Knows nothing of what the counters mean.
 *
 * The file is not made here: whoever counts has no right to make one. An empty file that root made
 * for the service (tmpfiles.d) is filled by the first that counts; without it nothing is counted,
 * and nothing fails. Who may write to it can make the numbers anything, and, by cutting it off
 * again and again, end a process that is about to count: so nobody but the service and root may.
 */
#ifndef SMTPGATE_ANSWERS_H
#define SMTPGATE_ANSWERS_H

#include <stdint.h>

#define ANSWERS_FILE "policy.counts"
#define ANSWERS_MAX  14

struct answers;

/* To count in the file in @state, now or as soon as there is one. NULL: out of memory. */
struct answers *answers_open(const char *state);
/* @answers may be NULL. */
void answers_count(struct answers *answers, unsigned int which);
void answers_close(struct answers *answers);

/* All zero where there is none, or none that can be read. */
void answers_read(const char *state, uint64_t ret_counts[ANSWERS_MAX]);

#endif
