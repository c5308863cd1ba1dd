/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the fuzz targets share: a check that cannot be compiled out, texts in blocks of their own so
 * that one byte too far is found, and what holds for every message. Knows no module but err.
 */
#ifndef SMTPGATE_FUZZ_H
#define SMTPGATE_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

#define MUST(condition)       \
    do {                      \
        if (!(condition))     \
            __builtin_trap(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy with a NUL behind it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);

    MUST(text);
    if (size)
        memcpy(text, data, size);
    return text;
}

/* The next line, without its end. */
static inline char *fuzz_take_line(const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size ? memchr(*data, '\n', *size) : NULL;
    size_t len = end ? (size_t)(end - *data) : *size;
    char *line = fuzz_text(*data, len);

    *data += len + (end != NULL);
    *size -= len + (end != NULL);
    return line;
}

/* Nothing in it moves a cursor. */
static inline void fuzz_must_be_plain(const char *text)
{
    for (; *text; text++)
        MUST((unsigned char)*text >= 0x20 && *text != 0x7f);
}

/* A refusal of what a person wrote: one sentence, and what to do. */
static inline void fuzz_must_explain(const struct err *e)
{
    MUST(e->code == EXIT_USAGE && *e->message && *e->hint);
    fuzz_must_be_plain(e->message);
    fuzz_must_be_plain(e->hint);
}

#endif
