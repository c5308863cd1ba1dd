/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A line that is typed on the live screen. Values in, values out: knows nothing of terminals or of
 * what the line is for; whether its text is a good one is for others to judge.
 */
#ifndef SMTPGATE_PROMPT_H
#define SMTPGATE_PROMPT_H

#include <stddef.h>
#include <stdint.h>

#include "text.h"

struct prompt {
    char text[REMARK_MAX + 1]; /* UTF-8 */
    size_t len;
};

enum prompt_state {
    PROMPT_GOES_ON,
    PROMPT_DONE,      /* Enter */
    PROMPT_CANCELLED, /* Esc, ^C */
    PROMPT_FULL,      /* goes on, without that character: there is no room for it */
};

/* One character as it was typed; ^H, ^U and ^W take away. */
enum prompt_state prompt_type(struct prompt *prompt, uint32_t code);

#endif
