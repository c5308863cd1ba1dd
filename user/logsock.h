/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the socket of the system's log takes a message now: syslog(3) and sd_journal_sendv(3)
 * wait for ever for a logger that has stopped reading. Knows nothing of what is logged.
 */
#ifndef SMTPGATE_LOGSOCK_H
#define SMTPGATE_LOGSOCK_H

#include <stdbool.h>

/* That of syslog(3). */
#define LOGSOCK_SYSLOG "/dev/log"

/*
 * False: its reader has left no room for a second. True also where nobody listens at all, as then
 * nothing waits.
 */
bool logsock_takes(const char *path);

#endif
