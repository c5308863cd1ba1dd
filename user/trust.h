/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether what lies in the file system is only root's to change, or the caller's own: what another
 * user can write to must not decide what root does. Knows owners and modes; must not know what a
 * file is good for.
 *
 * Beside the contents it is about names: who can plant a file beside SQLite's has its journal
 * replayed, and the files deleted that the journal names.
 */
#ifndef SMTPGATE_TRUST_H
#define SMTPGATE_TRUST_H

#include "err.h"

/*
 * @dir and every directory above it belong to root or to this process's user, and nobody else can
 * write to them, or replace them (as /tmp sees to). What is not there, or cannot be looked at, is
 * left to who opens it. -EPERM, EXIT_REFUSED.
 */
int trust_dir(const char *dir, struct err *e);

/* A regular file likewise, in a directory that is trusted. None is fine. */
int trust_file(const char *path, struct err *e);

#endif
