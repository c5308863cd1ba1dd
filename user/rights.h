/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Giving up root's rights, for good, before a stranger's words are read; and what of another user's
 * environment root listens to. Knows nothing of what the process does with the rest of its life.
 */
#ifndef SMTPGATE_RIGHTS_H
#define SMTPGATE_RIGHTS_H

#include <stdbool.h>

/*
 * Where the process is root, its environment keeps what smtpgate looks at, and nothing that leads a
 * library to files: what sudo may be told to let through, a user wrote.
 */
void rights_clean_environment(void);

/*
 * The process is "nobody" from here on, or never was root; it can still print to its terminal, but
 * not type into it, and start no program with more rights. False where that is refused (a user
 * namespace without a nobody, a unit without CAP_SETUID).
 */
bool rights_drop(void);

/*
 * The process is @user, or "nobody" where there is no such user, or who it was if that was not
 * root; it has no capability, and no program that it could start would get any. False where that is
 * refused.
 */
bool rights_drop_all(const char *user);

#endif
