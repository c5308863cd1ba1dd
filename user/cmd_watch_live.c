/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * watch on a terminal: what the keys do, and when what is read. How it looks is screen.c's, what is
 * shown board.c's. Reads only; what it lets in goes the way of add.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "board.h"
#include "cmd.h"
#include "pace.h"
#include "prompt.h"
#include "reading.h"
#include "screen.h"

#define CTRL(letter) ((letter)&0x1f)
#define PAGE_OVERLAP 1

struct live {
    const struct cmd_context *ctx;
    struct screen *screen;
    struct board board;
    struct reading reading; /* the last one that succeeded; its table is the board's */
    struct cmd_health health;
    struct pace pace;
    int64_t every_s;
    int64_t unread_ms; /* since that one */
    int page;          /* rows that a page has, as it was drawn */
    bool paused, help, end;
    char notice[128]; /* until the next key */
    bool asking;      /* a remark for @wanted */
    bool full;        /* no room for what was typed last */
    struct addr wanted;
    struct prompt prompt;
};

static const char *const help_lines[] = {
    "s            sort: packets, recent, last seen, address",
    "p, space     pause: the screen stands still",
    "up down j k  select a source (PgUp, PgDn, Home, End)",
    "a            let the selected source in, as smtpgate add does",
    "q            quit",
    "",
    "Sources are those that were not listed when they came, by address and port.",
    "drop: the last packet was dropped; would_drop: counted (observe); pass: let",
    "through (off, paused); let in now: an entry covers it. untracked: packets of",
    "sources that were too many to write down, since this began.",
    "",
    "any key goes back",
    NULL,
};

static void live_free(struct live *live)
{
    screen_close(TAKE_PTR(live->screen));
    board_free(&live->board);
    reading_free(&live->reading);
}

/* ---- reading ---- */

static int take_reading(struct live *live, struct err *e)
{
    _cleanup_reading_ struct reading now = {0};
    int r = reading_take(live->ctx->state, live->ctx->bpffs, SYNC_COMPARE_MAX, &now, e);

    live->unread_ms += pace_turn(&live->pace);
    if (r == 0)
        r = view_count_ended(&now.view, e); /* which the mode is told with */
    if (r == 0 && board_take(&live->board, &now.sources, &now.counts, live->unread_ms,
                             live->every_s * 1000) < 0)
        r = err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    if (r < 0)
        return r;
    live->unread_ms = 0;
    reading_free(&live->reading);
    live->reading = now;
    now = (struct reading){0};
    cmd_read_health(&live->reading.view, &live->health);
    return 0;
}

/* What cannot be read now may be read the next time: it is said, and the screen stays. */
static void read_again(struct live *live)
{
    struct err e = {0};

    if (live->paused) {
        live->unread_ms += pace_turn(&live->pace);
        return;
    }
    if (take_reading(live, &e) == 0)
        return;
    live->health.good = false;
    snprintf(live->health.text, sizeof(live->health.text), "cannot read: %.490s", e.message);
}

/* ---- showing ---- */

/* The list as it is now, for those that are in sight. A question that fails has no answer. */
static void judge(struct live *live, size_t rows)
{
    struct view *view = &live->reading.view;
    size_t i;

    for (i = 0; i < rows; i++) {
        struct board_row *row = board_row_at(&live->board, i);

        row->listed = false;
        (void)store_covers(view->store, NULL, &row->source.addr, view->now, &row->listed, NULL);
    }
}

static void show(struct live *live)
{
    bool seeing = sync_has_live_link(&live->reading.view.ifaces);
    char address[ADDR_TEXT_MAX], ask[96], keys[96];
    struct screen_view view = {
        .board = &live->board,
        .mode = live->health.mode,
        .health = live->health.text,
        .trouble = !live->health.good,
        .help = live->help ? help_lines : NULL,
        .keys = keys,
        .none = seeing ? " no source that is not listed has come yet" : "",
        .few_keys = "s p a ? q",
        .state = live->paused ? " PAUSED " : "",
        .notice = live->notice,
        .ask = live->asking ? ask : NULL,
        .ask_keys = "Enter adds, Esc cancels",
        .prompt = &live->prompt,
        .time = live->reading.time,
        .every_s = live->every_s,
    };
    const struct board_wishes wishes = {
        .mode = screen_lines(live->health.mode),
        .health = screen_lines(live->health.text),
        .sparks = board_any(&live->board, BOARD_WOULD_DROP) ? 3 : 2,
        .trouble = !live->health.good,
    };

    snprintf(keys, sizeof(keys), "s sort (%s)  p %s  a allow  ? help  q quit",
             board_sort_name(live->board.sort), live->paused ? "go on" : "pause");
    if (live->full)
        snprintf(ask, sizeof(ask), "%d bytes at most: ", REMARK_MAX);
    else if (live->asking)
        snprintf(ask, sizeof(ask), "let in %s; remark: ", addr_print(&live->wanted, address));
    view.layout = board_layout(screen_height(), &wishes);
    live->page = view.layout.rows > 2 ? view.layout.rows - PAGE_OVERLAP : 1;
    view.rows = board_fit(&live->board, (size_t)view.layout.rows);
    judge(live, view.rows);
    screen_draw(live->screen, &view);
}

/* ---- letting in ---- */

/* As add would be typed: history shows it. A long remark is cut, between characters. */
static void write_line(const struct live *live, char *address, char *line, size_t size)
{
    char remark[151];

    snprintf(line, size, "watch: add %s%s%s%s", address, live->prompt.len ? " --remark '" : "",
             text_escape(live->prompt.text, remark, sizeof(remark)), live->prompt.len ? "'" : "");
}

/* Runs on the plain terminal, where add may ask and warn. */
static void allow(struct live *live)
{
    struct cmd_context ctx = *live->ctx;
    char address[ADDR_TEXT_MAX], line[256];
    char *args[] = {address, NULL};
    struct err e = {0};

    addr_print(&live->wanted, address);
    write_line(live, address, line, sizeof(line));
    memset(ctx.options, 0, sizeof(ctx.options));
    ctx.options[OPT_REMARK] = live->prompt.len ? live->prompt.text : NULL;
    ctx.args = args;
    ctx.n_args = 1;
    ctx.line = line;
    screen_leave(live->screen);
    /* The one before may still stand there. */
    out_text(&ctx.out, "\nsmtpgate %s\n", line + strlen("watch: "));
    if (cmd_add(&ctx, &e) < 0)
        out_error(&ctx.out, "add", &e);
    out_text(&ctx.out, "\n(any key goes back to watch)\n");
    if (out_flush() < 0 || !screen_any_key(live->screen)) {
        live->end = true;
        return;
    }
    screen_return(live->screen);
    read_again(live);
}

/* The entry of the host list that let it in until it ended. What cannot be read now is no entry. */
static bool has_ended(const struct view *view, const struct addr *addr,
                      struct store_entry *ret_entry)
{
    struct account host;

    account_resolve("", view->settings.realm, &host);
    return store_find_covering(view->store, &host, addr, addr, view->now, ret_entry, NULL) ==
               -ENOENT &&
           store_find_covering(view->store, &host, addr, addr, 0, ret_entry, NULL) == 0;
}

/* Why there is nothing to ask; "" there is. */
static void refuse(struct live *live, const struct board_row *row)
{
    const struct view *view = &live->reading.view;
    struct store_entry entry;
    bool listed = false;

    if (!row) {
        snprintf(live->notice, sizeof(live->notice), "no source is selected");
        return;
    }
    (void)store_covers(view->store, NULL, &row->source.addr, view->now, &listed, NULL);
    if (listed)
        snprintf(live->notice, sizeof(live->notice), "already let in");
    else if (has_ended(view, &row->source.addr, &entry))
        snprintf(live->notice, sizeof(live->notice),
                 "its entry has ended: smtpgate edit '#%lld' --forever, or --for 8h",
                 (long long)entry.id);
}

static void ask(struct live *live)
{
    const struct board_row *row = board_selected(&live->board);

    refuse(live, row);
    if (*live->notice)
        return;
    live->asking = true;
    live->wanted = row->source.addr;
    live->prompt = (struct prompt){.len = 0};
}

static void take_character(struct live *live, uint32_t key)
{
    live->full = false;
    switch (prompt_type(&live->prompt, key == SCREEN_BACKSPACE ? '\b' : key)) {
    case PROMPT_CANCELLED:
        live->asking = false;
        break;
    case PROMPT_DONE:
        live->asking = false;
        allow(live);
        break;
    case PROMPT_FULL:
        live->full = true;
        screen_beep();
        break;
    case PROMPT_GOES_ON:
    default:
        break;
    }
}

/* ---- keys ---- */

static bool move_selection(struct live *live, uint32_t key)
{
    struct board *board = &live->board;

    if (key == SCREEN_UP || key == 'k')
        board_move(board, -1);
    else if (key == SCREEN_DOWN || key == 'j')
        board_move(board, 1);
    else if (key == SCREEN_PAGE_UP)
        board_move(board, -live->page);
    else if (key == SCREEN_PAGE_DOWN)
        board_move(board, live->page);
    else if (key == SCREEN_LAST || key == 'G')
        board_move(board, (int64_t)board->count);
    else if (key == SCREEN_HOME || key == 'g')
        board_to_top(board);
    else
        return false;
    return true;
}

static void take_command(struct live *live, uint32_t key)
{
    switch (key) {
    case 'q':
    case CTRL('c'):
        live->end = true;
        break;
    case CTRL('z'):
        screen_suspend(live->screen);
        break;
    case 's':
        board_sort_by(&live->board, (live->board.sort + 1) % BOARD_SORTS);
        break;
    case 'p':
    case ' ':
        live->paused = !live->paused;
        break;
    case 'a':
        ask(live);
        break;
    case '?':
    case 'h':
        live->help = true;
        break;
    default:
        break;
    }
}

static void take_keys(struct live *live)
{
    uint32_t key;

    while (!live->end && screen_key(live->screen, &key)) {
        live->notice[0] = '\0';
        if (live->asking)
            take_character(live, key);
        else if (live->help && key && key != CTRL('c') && key != 'q')
            live->help = false;
        else if (!move_selection(live, key))
            take_command(live, key);
    }
}

int cmd_watch_live(const struct cmd_context *ctx, int64_t every_s, struct err *e)
{
    __attribute__((cleanup(live_free))) struct live live = {.ctx = ctx, .every_s = every_s};
    int r;

    pace_begin(&live.pace, every_s * 1000);
    r = take_reading(&live, e);
    if (r == 0)
        r = screen_open(&live.screen, e);
    if (r < 0)
        return r;
    while (!live.end) {
        show(&live);
        switch (screen_wait(live.screen, pace_left(&live.pace))) {
        case SCREEN_END:
            live.end = true;
            break;
        case SCREEN_KEYS:
            take_keys(&live);
            break;
        case SCREEN_TIME:
        default:
            break;
        }
        if (!live.end && pace_left(&live.pace) == 0)
            read_again(&live);
    }
    return 0;
}
