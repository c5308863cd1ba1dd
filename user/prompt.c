/* SPDX-License-Identifier: GPL-2.0-only */
/* See prompt.h. */
#include "prompt.h"

#include <stdbool.h>
#include <string.h>

#define CTRL(letter) ((letter)&0x1f)
#define ESC          0x1b
#define DEL          0x7f

static size_t encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static void cut(struct prompt *prompt, size_t len)
{
    memset(prompt->text + len, 0, sizeof(prompt->text) - len);
    prompt->len = len;
}

static void erase_character(struct prompt *prompt)
{
    size_t len = prompt->len;

    while (len && ((unsigned char)prompt->text[--len] & 0xc0) == 0x80)
        ;
    cut(prompt, len);
}

static void erase_word(struct prompt *prompt)
{
    while (prompt->len && prompt->text[prompt->len - 1] == ' ')
        cut(prompt, prompt->len - 1);
    while (prompt->len && prompt->text[prompt->len - 1] != ' ')
        cut(prompt, prompt->len - 1);
}

/* False: there is no room for it. */
static bool append(struct prompt *prompt, uint32_t code)
{
    char bytes[4];
    size_t len;

    if (code < ' ' || code == DEL || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return true;
    len = encode(code, bytes);
    if (prompt->len + len > REMARK_MAX)
        return false;
    memcpy(prompt->text + prompt->len, bytes, len);
    prompt->len += len;
    return true;
}

enum prompt_state prompt_type(struct prompt *prompt, uint32_t code)
{
    switch (code) {
    case '\r':
    case '\n':
        return PROMPT_DONE;
    case ESC:
    case CTRL('c'):
        return PROMPT_CANCELLED;
    case CTRL('h'):
    case DEL:
        erase_character(prompt);
        break;
    case CTRL('u'):
        cut(prompt, 0);
        break;
    case CTRL('w'):
        erase_word(prompt);
        break;
    default:
        if (!append(prompt, code))
            return PROMPT_FULL;
    }
    return PROMPT_GOES_ON;
}
