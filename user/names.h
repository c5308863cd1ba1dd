/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The names of addresses, as the host's resolver tells them (/etc/hosts, DNS): only for who asks to
 * see them, never to decide anything. Who answers is a stranger, or nobody: each name is asked for
 * by a process of its own, without root's rights, and all of them have one limit in time. Knows
 * addresses; nothing of why they are of interest.
 */
#ifndef SMTPGATE_NAMES_H
#define SMTPGATE_NAMES_H

#include <stddef.h>

#include "addr.h"

/* Asked at once; the rest is not asked for. */
#define NAMES_MAX 100

#define NAMES_TEXT_MAX 256

/*
 * The name of each address that has one and is told in time, else ""; @ret_names holds @count of
 * them. As they came: not fit for a terminal.
 */
void names_find(const struct addr *addresses, size_t count, char (*ret_names)[NAMES_TEXT_MAX]);

#endif
