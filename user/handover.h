/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Listening sockets that whoever started the process hands over, as systemd does for a socket unit:
 * sd_listen_fds(3), without its library. Knows nothing of what is spoken there.
 */
#ifndef SMTPGATE_HANDOVER_H
#define SMTPGATE_HANDOVER_H

#include <stddef.h>

#include "err.h"

#define HANDOVER_MAX 8

/* None is no error. They do not block, and are closed in programs started from here. */
int handover_take(int ret_fds[HANDOVER_MAX], size_t *ret_count, struct err *e);

#endif
