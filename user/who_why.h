/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why a WHO was refused, in words. For addr.c only; everyone else calls addr_parse or who_parse.
 */
#ifndef SMTPGATE_WHO_WHY_H
#define SMTPGATE_WHO_WHY_H

#include <stdbool.h>

#include "err.h"

/*
 * Fills @e (may be NULL) with one sentence on why @text, which the parser just refused, is not a
 * WHO (or, with @address_only, not an address) and with a hint. Always -EINVAL, EXIT_USAGE.
 */
int who_explain(const char *text, bool address_only, struct err *e);

#endif
