/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A whole terminal to draw on: opening it, keys, and giving it back as it was, whatever ends the
 * program. Draws what board.h says. The only user of ncurses; knows nothing of the store or the
 * kernel, and must not know what a key is for.
 *
 * Signals are looked for where the program waits, never in the middle of drawing.
 */
#ifndef SMTPGATE_SCREEN_H
#define SMTPGATE_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "err.h"
#include "prompt.h"
#include "util.h"

struct screen;

/* -ENOTTY (no error set): this terminal cannot place the cursor, or is not known. */
int screen_open(struct screen **ret_screen, struct err *e);
void screen_close(struct screen *screen);
DEFINE_CLEANUP(struct screen *, screen_close)

enum screen_event {
    SCREEN_TIME, /* nothing came */
    SCREEN_KEYS, /* screen_key() may have some, or the size is another one */
    SCREEN_END,  /* somebody wants the program to end, or the terminal is gone */
};

enum screen_event screen_wait(struct screen *screen, int64_t ms);

/* Beyond characters, which are Unicode. */
enum screen_key {
    SCREEN_UP = 0x110000,
    SCREEN_DOWN,
    SCREEN_PAGE_UP,
    SCREEN_PAGE_DOWN,
    SCREEN_HOME,
    SCREEN_LAST,
    SCREEN_BACKSPACE,
};

/* The next key; false: none. */
bool screen_key(struct screen *screen, uint32_t *ret_key);

/* Stops the program as ^Z would; returns when it goes on. */
void screen_suspend(struct screen *screen);

void screen_beep(void);

/*
 * Gives the terminal back for a while: it is as it was before. ^C is a No to what is asked then,
 * and ends nothing.
 */
void screen_leave(struct screen *screen);
/* On the plain terminal: waits for any key. False: as SCREEN_END. */
bool screen_any_key(struct screen *screen);
/* Takes it again. */
void screen_return(struct screen *screen);

int screen_height(void);
/* Lines that a text takes; two at most, what is beyond is left out. */
int screen_lines(const char *text);

/* Texts are UTF-8 and safe to show. */
struct screen_view {
    const struct board *board;
    struct board_layout layout;
    size_t rows; /* in sight, as of board_fit() */
    const char *mode, *health;
    bool trouble;
    const char *const *help;     /* lines instead of the sources; NULL ends them, NULL: no help */
    const char *none;            /* instead of them, where there are none; may be "" */
    const char *keys, *few_keys; /* the bottom line; where there is little room */
    const char *state;           /* in front of it: "PAUSED"; may be "" */
    const char *notice;          /* instead of it: what is to be said; may be "" */
    const char *ask;             /* instead of it: what @prompt is typed for; NULL: nothing */
    const char *ask_keys;        /* behind what is typed, where there is room */
    const struct prompt *prompt;
    int64_t time;    /* Unix seconds */
    int64_t every_s; /* between readings */
};

void screen_draw(struct screen *screen, const struct screen_view *view);

#endif
