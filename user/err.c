/* SPDX-License-Identifier: GPL-2.0-only */
/* See err.h. Formats only; must never print or exit. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *e, int ret, enum exit_code code, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return ret;
    e->code = code;
    e->hint[0] = '\0';
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof(e->message), fmt, ap);
    va_end(ap);
    return ret;
}

void err_hint(struct err *e, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return;
    va_start(ap, fmt);
    vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
    va_end(ap);
}
