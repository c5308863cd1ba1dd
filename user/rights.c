/* SPDX-License-Identifier: GPL-2.0-only */
/* See rights.h. */
#include "rights.h"

#include <grp.h>
#include <unistd.h>

/* "nobody", on every Linux. */
#define NOBODY 65534

bool rights_drop(void)
{
    return geteuid() != 0 || (setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
                              setresuid(NOBODY, NOBODY, NOBODY) == 0);
}
