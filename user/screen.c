/* SPDX-License-Identifier: GPL-2.0-only */
/* See screen.h. */
#include "screen.h"

#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <term.h>
#include <termios.h>
#include <time.h>
#include <wchar.h>

#include "counters.h"
#include "text.h"

/* Names that term.h takes for itself. */
#undef columns
#undef lines

/* Keys that terminals send as several bytes come within this; a bare Esc is known after it. */
#define ESC_DELAY_MS 50
/* There is something to read, and then there is not: so often only at the end of input. */
#define UNREAD_MAX 100

/* A terminal may say that it is of any size; ncurses keeps all of it in memory. */
#define HEIGHT_MAX 1000
#define WIDTH_MAX  2000

enum pair {
    PAIR_GOOD = 1,
    PAIR_BAD,
    PAIR_WARN,
};

struct screen {
    SCREEN *term;
    int signals;
    sigset_t mask, mask_before;
    struct sigaction interrupt_before;
    bool colour, utf8;
    unsigned int unread;
};

/* ---- the terminal ---- */

static bool has_string(const char *name)
{
    char buf[16];
    const char *value;

    snprintf(buf, sizeof(buf), "%s", name); /* it wants one that it may write to */
    value = tigetstr(buf);
    return value && (intptr_t)value != -1;
}

static bool read_size(struct winsize *ret_size)
{
    struct winsize size = {0};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
        return false;
    *ret_size = size;
    return true;
}

static bool is_endless(void)
{
    struct winsize size;

    return read_size(&size) && (size.ws_row > HEIGHT_MAX || size.ws_col > WIDTH_MAX);
}

/* ncurses itself would draw on any terminal, and end the process where it knows none. */
static bool can_draw(void)
{
    bool can;
    int found;

    if (is_endless() || setupterm(NULL, STDOUT_FILENO, &found) != OK)
        return false;
    can = has_string("cup") && has_string("clear");
    del_curterm(cur_term);
    return can;
}

static const int watched[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};

static int block_signals(struct screen *screen)
{
    size_t i;

    screen->signals = -1;
    sigemptyset(&screen->mask);
    for (i = 0; i < ARRAY_SIZE(watched); i++)
        sigaddset(&screen->mask, watched[i]);
    sigaction(SIGINT, NULL, &screen->interrupt_before);
    if (sigprocmask(SIG_BLOCK, &screen->mask, &screen->mask_before) < 0)
        return -errno;
    screen->signals = signalfd(-1, &screen->mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return screen->signals < 0 ? -errno : 0;
}

/* What ncurses sets handlers for is not its business here. */
static SCREEN *new_term(void)
{
    struct sigaction before[ARRAY_SIZE(watched)];
    SCREEN *term;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(watched); i++)
        sigaction(watched[i], NULL, &before[i]);
    term = newterm(NULL, stdout, stdin);
    for (i = 0; i < ARRAY_SIZE(watched); i++)
        sigaction(watched[i], &before[i], NULL);
    return term;
}

static void set_up(struct screen *screen)
{
    const char *no_color = secure_getenv("NO_COLOR");

    raw();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(ESC_DELAY_MS);
    curs_set(0);
    screen->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    screen->colour = !(no_color && *no_color) && has_colors() && start_color() == OK &&
                     use_default_colors() == OK;
    if (!screen->colour)
        return;
    init_pair(PAIR_GOOD, COLOR_GREEN, -1);
    init_pair(PAIR_BAD, COLOR_RED, -1);
    init_pair(PAIR_WARN, COLOR_YELLOW, -1);
}

int screen_open(struct screen **ret_screen, struct err *e)
{
    _cleanup_(screen_close) struct screen *screen = NULL;
    int r;

    if (!can_draw())
        return -ENOTTY;
    screen = calloc(1, sizeof(*screen));
    if (!screen)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    setlocale(LC_CTYPE, "");
    r = block_signals(screen);
    if (r < 0)
        return err_set(e, r, EXIT_REFUSED, "cannot wait for signals (%s)", strerror(-r));
    screen->term = new_term();
    if (!screen->term)
        return -ENOTTY;
    set_up(screen);
    *ret_screen = TAKE_PTR(screen);
    return 0;
}

void screen_close(struct screen *screen)
{
    if (!screen)
        return;
    if (screen->term) {
        endwin();
        delscreen(screen->term);
    }
    if (screen->signals >= 0)
        close(screen->signals);
    sigprocmask(SIG_SETMASK, &screen->mask_before, NULL);
    free(screen);
}

int screen_height(void)
{
    return LINES;
}

static void follow_size(void)
{
    struct winsize size;

    if (read_size(&size))
        resizeterm(size.ws_row < HEIGHT_MAX ? size.ws_row : HEIGHT_MAX,
                   size.ws_col < WIDTH_MAX ? size.ws_col : WIDTH_MAX);
}

/* Signals are sent to the group by the one who presses ^Z, and to this process alone by others. */
static void stop(struct screen *screen)
{
    sigset_t stops;

    sigemptyset(&stops);
    sigaddset(&stops, SIGTSTP);
    endwin();
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &stops, NULL); /* here it stops */
    sigprocmask(SIG_BLOCK, &screen->mask, NULL);
    screen_return(screen);
}

void screen_suspend(struct screen *screen)
{
    kill(0, SIGTSTP);
    stop(screen);
}

void screen_beep(void)
{
    beep();
}

/* What waits for an answer is interrupted; nothing else is. */
static void interrupt(int number)
{
    (void)number;
}

void screen_leave(struct screen *screen)
{
    const struct sigaction catching = {.sa_handler = interrupt};

    endwin();
    sigaction(SIGINT, &catching, NULL);
    tcflush(STDIN_FILENO, TCIFLUSH); /* keys that were for the screen answer no question */
    sigprocmask(SIG_SETMASK, &screen->mask_before, NULL);
}

void screen_return(struct screen *screen)
{
    sigprocmask(SIG_BLOCK, &screen->mask, NULL);
    sigaction(SIGINT, &screen->interrupt_before, NULL);
    follow_size();
    clearok(stdscr, TRUE);
    refresh();
}

/* ---- keys ---- */

static enum screen_event take_signal(struct screen *screen)
{
    struct signalfd_siginfo info;

    if (read(screen->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return SCREEN_KEYS;
    if (info.ssi_signo == SIGTSTP)
        stop(screen);
    else if (info.ssi_signo == SIGWINCH)
        follow_size();
    else
        return SCREEN_END;
    return SCREEN_KEYS;
}

enum screen_event screen_wait(struct screen *screen, int64_t ms)
{
    struct pollfd fds[] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = screen->signals, .events = POLLIN},
    };
    int n = poll(fds, ARRAY_SIZE(fds), (int)ms);

    if (n <= 0)
        return SCREEN_TIME;
    if (fds[1].revents)
        return take_signal(screen);
    if (fds[0].revents & ~POLLIN || screen->unread++ > UNREAD_MAX)
        return SCREEN_END;
    return SCREEN_KEYS;
}

static uint32_t key_of(wint_t code)
{
    switch (code) {
    case KEY_UP:
        return SCREEN_UP;
    case KEY_DOWN:
        return SCREEN_DOWN;
    case KEY_PPAGE:
        return SCREEN_PAGE_UP;
    case KEY_NPAGE:
        return SCREEN_PAGE_DOWN;
    case KEY_HOME:
        return SCREEN_HOME;
    case KEY_END:
        return SCREEN_LAST;
    case KEY_BACKSPACE:
        return SCREEN_BACKSPACE;
    case KEY_ENTER:
        return '\r';
    default:
        return 0;
    }
}

bool screen_key(struct screen *screen, uint32_t *ret_key)
{
    wint_t code;
    int kind = get_wch(&code);

    if (kind == ERR)
        return false;
    screen->unread = 0;
    *ret_key = kind == KEY_CODE_YES ? key_of(code) : (uint32_t)code;
    return true;
}

bool screen_any_key(struct screen *screen)
{
    enum screen_event event = SCREEN_TIME;
    char keys[64];

    sigprocmask(SIG_BLOCK, &screen->mask, NULL);
    tcflush(STDIN_FILENO, TCIFLUSH);
    reset_prog_mode();
    while (event == SCREEN_TIME) {
        struct pollfd fds[] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = screen->signals, .events = POLLIN},
        };
        struct signalfd_siginfo info;

        if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
            continue;
        if (fds[0].revents)
            event = read(STDIN_FILENO, keys, sizeof(keys)) > 0 ? SCREEN_KEYS : SCREEN_END;
        else if (read(screen->signals, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
                 info.ssi_signo != SIGWINCH && info.ssi_signo != SIGTSTP)
            event = SCREEN_END;
    }
    return event == SCREEN_KEYS;
}

/* ---- text ---- */

/* Where the next piece of a line goes, and how it looks. */
struct pen {
    const struct screen *screen;
    int y, x;
    attr_t attr;
};

/* What a terminal that is told another width by its locale would do is unknown: '?'. */
static int width_of(wchar_t *character)
{
    int width = wcwidth(*character);

    if (width >= 0)
        return width;
    *character = L'?';
    return 1;
}

/* From the pen's place to the end of the line at most. */
static void put_wide(struct pen *pen, const wchar_t *text)
{
    attr_set(pen->attr & ~A_COLOR, (short)PAIR_NUMBER(pen->attr), NULL);
    for (; *text; text++) {
        wchar_t character[] = {*text, L'\0'};
        int width = width_of(&character[0]);

        if (pen->x + width > COLS)
            break;
        mvaddwstr(pen->y, pen->x, character);
        pen->x += width;
    }
    attr_set(A_NORMAL, 0, NULL);
}

static void put(struct pen *pen, const char *text)
{
    wchar_t wide[1024] = {0};
    char ascii[2048];
    const char *at = text;
    mbstate_t state = {0};

    if (pen->y < 0 || pen->y >= LINES)
        return;
    if (!pen->screen->utf8)
        at = text_escape_ascii(text, ascii, sizeof(ascii));
    if (mbsrtowcs(wide, &at, ARRAY_SIZE(wide) - 1, &state) == (size_t)-1)
        return;
    put_wide(pen, wide);
}

static void put_right(struct pen *pen, const char *text)
{
    int x = COLS - (int)strlen(text);

    if (x <= pen->x)
        return;
    pen->x = x;
    put(pen, text);
}

static attr_t colour(const struct screen *screen, enum pair pair)
{
    return screen->colour ? (attr_t)COLOR_PAIR(pair) : A_NORMAL;
}

static void put_line(const struct screen *screen, int y, attr_t attr, const char *text)
{
    struct pen pen = {.screen = screen, .y = y, .attr = attr};

    put(&pen, text);
}

int screen_lines(const char *text)
{
    return strlen(text) > (size_t)COLS ? 2 : 1;
}

/* Broken between words, where there are two lines for it. */
static void put_lines(const struct screen *screen, int y, int lines, attr_t attr, const char *text)
{
    size_t at = (size_t)COLS;
    char first[512];

    if (lines < 2 || strlen(text) <= at || at >= sizeof(first)) {
        put_line(screen, y, attr, text);
        return;
    }
    while (at && text[at] != ' ')
        at--;
    at = at ? at : (size_t)COLS;
    snprintf(first, sizeof(first), "%.*s", (int)at, text);
    put_line(screen, y, attr, first);
    put_line(screen, y + 1, attr, text + at + (text[at] == ' '));
}

/* ---- what is above the sources ---- */

static void time_text(int64_t seconds, const char *format, char *buf, size_t size)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    buf[0] = '\0';
    if (seconds && localtime_r(&t, &tm) && !strftime(buf, size, format, &tm))
        buf[0] = '\0';
}

static void draw_title(const struct screen *screen, int y, const struct screen_view *view)
{
    struct pen pen = {.screen = screen, .y = y, .attr = A_BOLD};
    char time[32];

    time_text(view->time, "%Y-%m-%d %H:%M:%S", time, sizeof(time));
    put(&pen, "smtpgate watch");
    pen.attr = A_NORMAL;
    put_right(&pen, time);
}

static void put_spark(struct pen *pen, const uint8_t *levels, unsigned int columns)
{
    static const wchar_t blocks[BOARD_LEVELS + 1] = L" \u2581\u2582\u2583\u2584\u2585\u2586\u2587"
                                                    L"\u2588";
    static const wchar_t ascii[BOARD_LEVELS + 1] = L" .:-=+*%#";
    wchar_t line[BOARD_COLUMNS_MAX + 1];
    unsigned int i;

    for (i = 0; i < columns; i++)
        line[i] = pen->screen->utf8 ? blocks[levels[i]] : ascii[levels[i]];
    line[columns] = L'\0';
    put_wide(pen, line);
}

/* Two readings in a column: two minutes on 80 columns, five on 200. */
#define SPARK_EACH 2
/* "would drop   12345/s  " in front of it, "  peak 12345/s" behind it. */
#define SPARK_LEFT    22
#define SPARK_RIGHT   14
#define SPARK_COLUMNS 12

static void draw_spark(const struct screen *screen, int y, const char *name,
                       enum board_series series, enum pair pair, const struct screen_view *view)
{
    struct pen pen = {.screen = screen, .y = y};
    int columns = COLS - SPARK_LEFT - SPARK_RIGHT;
    bool with_peak = columns >= SPARK_COLUMNS;
    uint8_t levels[BOARD_COLUMNS_MAX];
    char rate[16], text[64];
    double peak;

    if (!with_peak)
        columns = COLS - SPARK_LEFT;
    if (columns > BOARD_COLUMNS_MAX)
        columns = BOARD_COLUMNS_MAX;
    snprintf(text, sizeof(text), "%-10s %7s/s  ", name,
             board_rate_text(board_rate(view->board, series), rate));
    put(&pen, text);
    if (columns < 1)
        return;
    peak = board_spark(view->board, series, (unsigned int)columns, SPARK_EACH, levels);
    pen.attr = colour(screen, pair);
    put_spark(&pen, levels, (unsigned int)columns);
    if (!with_peak)
        return;
    pen.attr = A_DIM;
    snprintf(text, sizeof(text), "  peak %5s/s", board_rate_text(peak, rate));
    put(&pen, text);
}

static void draw_sparks(const struct screen *screen, int y, const struct screen_view *view)
{
    if (!view->layout.sparks)
        return;
    draw_spark(screen, y++, "passed", BOARD_PASSED, PAIR_GOOD, view);
    draw_spark(screen, y++, "dropped", BOARD_DROPPED, PAIR_BAD, view);
    if (view->layout.sparks > 2)
        draw_spark(screen, y, "would drop", BOARD_WOULD_DROP, PAIR_WARN, view);
}

static void draw_rates(const struct screen *screen, int y, const struct screen_view *view)
{
    const struct board *board = view->board;
    char dropped[16], passed[16], would[16], let_in[16], out[16], untracked[16], text[256];

    board_rate_text(board_rate(board, BOARD_DROPPED), dropped);
    board_rate_text(board_rate(board, BOARD_PASSED), passed);
    board_rate_text(board_rate(board, BOARD_WOULD_DROP), would);
    board_rate_text(board_rate(board, BOARD_LET_IN), let_in);
    board_rate_text(board_rate(board, BOARD_KEPT_OUT), out);
    board_number((double)board->untracked, untracked);
    if (view->layout.sparks)
        snprintf(text, sizeof(text), "attempts   let in %s/s, kept out %s/s; untracked packets %s",
                 let_in, out, untracked);
    else if (board_any(board, BOARD_WOULD_DROP))
        snprintf(text, sizeof(text), "would drop %s/s, passed %s/s, dropped %s/s, untracked %s",
                 would, passed, dropped, untracked);
    else
        snprintf(text, sizeof(text), "dropped %s/s, passed %s/s, attempts %s/s in, %s/s out",
                 dropped, passed, let_in, out);
    put_line(screen, y, A_NORMAL, text);
}

/* ---- the sources ---- */

enum column {
    COLUMN_ADDRESS,
    COLUMN_PORT,
    COLUMN_PACKETS,
    COLUMN_RECENT,
    COLUMN_ATTEMPTS,
    COLUMN_VERDICT,
    COLUMN_LAST,
    COLUMN_FIRST,
    COLUMNS,
};

/* Which columns there are, and how wide; 0: not there. */
struct widths {
    int of[COLUMNS];
    bool long_times;
};

#define ADDRESS_MIN 15
#define WIDE_SCREEN 120
#define TIME_WIDTH  11
#define LONG_TIME   19

/* Those that matter most are there first. */
static struct widths choose_columns(int address, int columns)
{
    static const enum column first_to_last[] = {
        COLUMN_ADDRESS, COLUMN_PORT, COLUMN_PACKETS, COLUMN_RECENT,
        COLUMN_VERDICT, COLUMN_LAST, COLUMN_FIRST,   COLUMN_ATTEMPTS,
    };
    bool long_times = columns >= WIDE_SCREEN;
    const int wanted[COLUMNS] = {
        [COLUMN_ADDRESS] = address,
        [COLUMN_PORT] = 5,
        [COLUMN_PACKETS] = 7,
        [COLUMN_RECENT] = 7,
        [COLUMN_ATTEMPTS] = 8,
        [COLUMN_VERDICT] = 10,
        [COLUMN_LAST] = long_times ? LONG_TIME : TIME_WIDTH,
        [COLUMN_FIRST] = long_times ? LONG_TIME : TIME_WIDTH,
    };
    struct widths widths = {.long_times = long_times};
    int left = columns - 1; /* the mark in front */
    size_t i;

    for (i = 0; i < COLUMNS; i++) {
        enum column column = first_to_last[i];
        int needs = wanted[column] + (i ? 2 : 0);

        if (i && left < needs)
            break;
        widths.of[column] = wanted[column];
        left -= needs;
    }
    return widths;
}

static bool is_left(enum column column)
{
    return column == COLUMN_ADDRESS || column >= COLUMN_VERDICT;
}

/* In its column; right next to the one before. */
static void put_cell(struct pen *pen, const struct widths *widths, enum column column,
                     const char *text)
{
    char cell[64];
    int width = widths->of[column];

    if (!width)
        return;
    snprintf(cell, sizeof(cell), "%s%*s", column == COLUMN_ADDRESS ? "" : "  ",
             is_left(column) ? -width : width, text);
    put(pen, cell);
}

static void draw_head(const struct screen *screen, int y, const struct widths *widths,
                      const struct screen_view *view)
{
    static const char *const sorted_by[BOARD_SORTS] = {
        [BOARD_BY_PACKETS] = "PACKETS",
        [BOARD_BY_RECENT] = "IN ",
        [BOARD_BY_LAST_SEEN] = "LAST SEEN",
        [BOARD_BY_ADDRESS] = "ADDRESS",
    };
    struct pen pen = {.screen = screen, .y = y, .x = 1};
    int64_t span = view->every_s * BOARD_RECENT;
    char recent[24];
    const char *const heads[COLUMNS] = {
        [COLUMN_ADDRESS] = "ADDRESS", [COLUMN_PORT] = "PORT",         [COLUMN_PACKETS] = "PACKETS",
        [COLUMN_RECENT] = recent,     [COLUMN_ATTEMPTS] = "ATTEMPTS", [COLUMN_VERDICT] = "VERDICT",
        [COLUMN_LAST] = "LAST SEEN",  [COLUMN_FIRST] = "FIRST SEEN",
    };
    const char *by = sorted_by[view->board->sort];
    unsigned int i;

    if (span < 600)
        snprintf(recent, sizeof(recent), "IN %d s", (int)span);
    else if (span < 100 * 60)
        snprintf(recent, sizeof(recent), "IN %d m", (int)(span / 60));
    else
        snprintf(recent, sizeof(recent), "IN %d h", (int)(span / 3600));
    for (i = 0; i < COLUMNS; i++) {
        pen.attr = strncmp(heads[i], by, strlen(by)) ? A_DIM : A_BOLD;
        put_cell(&pen, widths, i, heads[i]);
    }
}

static void put_time(struct pen *pen, const struct widths *widths, enum column column,
                     int64_t seconds, int64_t now)
{
    char text[32], today[16], day[16];

    time_text(now, "%F", today, sizeof(today));
    time_text(seconds, "%F", day, sizeof(day));
    time_text(seconds,
              widths->long_times        ? "%F %H:%M:%S"
              : strcmp(today, day) != 0 ? "%m-%d %H:%M"
                                        : "%H:%M:%S",
              text, sizeof(text));
    put_cell(pen, widths, column, text);
}

static attr_t verdict_look(const struct screen *screen, const struct board_row *row)
{
    if (row->listed || row->source.verdict == SG_VERDICT_PASS)
        return colour(screen, PAIR_GOOD);
    return colour(screen, row->source.verdict == SG_VERDICT_DROP ? PAIR_BAD : PAIR_WARN);
}

static void draw_row(const struct screen *screen, int y, const struct widths *widths,
                     const struct board_row *row, const struct screen_view *view)
{
    const struct tally_source *source = &row->source;
    bool selected = row == board_selected(view->board);
    attr_t look = selected ? A_REVERSE : A_NORMAL;
    struct pen pen = {.screen = screen, .y = y, .attr = look};
    char address[ADDR_TEXT_MAX], number[16], port[8] = "-";

    if (source->port)
        snprintf(port, sizeof(port), "%u", source->port);
    if (selected) {
        attr_set(look, 0, NULL);
        mvhline(y, 0, ' ', COLS);
        attr_set(A_NORMAL, 0, NULL);
    }
    put(&pen, selected ? ">" : " ");
    put_cell(&pen, widths, COLUMN_ADDRESS, addr_print(&source->addr, address));
    put_cell(&pen, widths, COLUMN_PORT, port);
    put_cell(&pen, widths, COLUMN_PACKETS, board_number((double)source->packets, number));
    put_cell(&pen, widths, COLUMN_RECENT, board_number((double)row->recent, number));
    put_cell(&pen, widths, COLUMN_ATTEMPTS, board_number((double)source->attempts, number));
    pen.attr = look | verdict_look(screen, row);
    put_cell(&pen, widths, COLUMN_VERDICT,
             row->listed ? "let in now" : counters_verdict_name(source->verdict));
    pen.attr = look;
    put_time(&pen, widths, COLUMN_LAST, source->last_seen, view->time);
    put_time(&pen, widths, COLUMN_FIRST, source->first_seen, view->time);
}

static int address_width(const struct screen_view *view)
{
    char address[ADDR_TEXT_MAX];
    int most = ADDRESS_MIN;
    size_t i;

    for (i = 0; i < view->rows; i++) {
        int len = (int)strlen(addr_print(&board_row_at(view->board, i)->source.addr, address));

        most = len > most ? len : most;
    }
    return most;
}

static void draw_sources(const struct screen *screen, int y, const struct screen_view *view)
{
    struct widths widths = choose_columns(address_width(view), COLS);
    size_t i;

    if (view->layout.head)
        draw_head(screen, y++, &widths, view);
    for (i = 0; i < view->rows; i++)
        draw_row(screen, y + (int)i, &widths, board_row_at(view->board, i), view);
    if (!view->board->count && view->layout.rows)
        put_line(screen, y, A_DIM, view->none);
}

static void draw_help(const struct screen *screen, int y, const char *const *lines)
{
    for (; *lines && y < LINES - 1; lines++)
        put_line(screen, y++, A_NORMAL, *lines);
}

/* ---- the bottom line ---- */

/* Its end stays in sight, where the cursor is. */
static void draw_prompt(const struct screen *screen, const struct screen_view *view)
{
    struct pen pen = {.screen = screen, .y = LINES - 1, .attr = A_BOLD};
    const char *text = view->prompt->text;
    int room, cursor;

    put(&pen, view->ask);
    room = COLS - pen.x - 1;
    if (room < 8) {
        pen.x = 0;
        room = COLS - 1;
        move(pen.y, 0);
        clrtoeol();
    }
    pen.attr = A_NORMAL;
    while (room > 0 && strlen(text) > (size_t)room)
        text++;
    while (((unsigned char)*text & 0xc0) == 0x80)
        text++;
    put(&pen, text);
    cursor = pen.x < COLS ? pen.x : COLS - 1;
    pen.attr = A_DIM;
    pen.x += 2;
    put_right(&pen, view->ask_keys);
    move(pen.y, cursor);
}

static void draw_bottom(const struct screen *screen, const struct screen_view *view)
{
    struct pen pen = {.screen = screen, .y = LINES - 1, .attr = A_REVERSE};
    char place[64] = "";

    if (view->ask) {
        draw_prompt(screen, view);
        return;
    }
    if (*view->notice) {
        pen.attr = A_BOLD;
        put(&pen, view->notice);
        return;
    }
    if (*view->state) {
        put(&pen, view->state);
        pen.x++;
    }
    pen.attr = A_DIM;
    if (view->board->count)
        snprintf(place, sizeof(place), "%zu of %zu", view->board->selected + 1, view->board->count);
    put(&pen,
        pen.x + (int)(strlen(view->keys) + strlen(place)) < COLS ? view->keys : view->few_keys);
    put_right(&pen, place);
}

void screen_draw(struct screen *screen, const struct screen_view *view)
{
    const struct board_layout *layout = &view->layout;
    int y = 0;

    erase();
    if (layout->title)
        draw_title(screen, y++, view);
    if (layout->mode)
        put_lines(screen, y, layout->mode, A_BOLD, view->mode);
    y += layout->mode;
    if (layout->health)
        put_lines(screen, y, layout->health,
                  view->trouble ? A_BOLD | colour(screen, PAIR_BAD) : A_NORMAL, view->health);
    y += layout->health + layout->gap;
    draw_sparks(screen, y, view);
    y += layout->sparks;
    if (layout->rates)
        draw_rates(screen, y++, view);
    y += layout->gap2;
    if (view->help)
        draw_help(screen, y, view->help);
    else
        draw_sources(screen, y, view);
    curs_set(view->ask ? 1 : 0);
    draw_bottom(screen, view);
    refresh();
}
