/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One lock for everything that changes the list or the kernel: flock on <state>/lock. Knows nothing
 * of what it protects.
 */
#ifndef SMTPGATE_LOCK_H
#define SMTPGATE_LOCK_H

#include "err.h"

/*
 * Makes the state directory (0700, and what is above it is there) if missing and takes the lock,
 * waiting up to 5 s: then -EBUSY, EXIT_BUSY, naming the holder. The lock goes with @ret_fd.
 */
int lock_take(const char *dir, int *ret_fd, struct err *e);

/* Waits up to @ms for a change under way to end; 0 when nobody holds the lock now, else -errno. */
int lock_wait(const char *dir, unsigned int ms);

#endif
