/* SPDX-License-Identifier: GPL-2.0-only */
/* See out.h. */
#include "out.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>

#include "logsock.h"
#include "text.h"
#include "util.h"

#define SCHEMA 1

/* As many digits of a real as mean something: 2.002, not 2.0019999999999998. */
#define JSON_FORM (JSON_COMPACT | JSON_REAL_PRECISION(9))

#define PRINT(stream, fmt)          \
    do {                            \
        va_list _ap;                \
        va_start(_ap, fmt);         \
        vfprintf(stream, fmt, _ap); \
        va_end(_ap);                \
    } while (0)

void out_text(const struct out *out, const char *fmt, ...)
{
    if (!out->json)
        PRINT(stdout, fmt);
}

void out_done(const struct out *out, const char *fmt, ...)
{
    if (!out->json && !out->quiet)
        PRINT(stdout, fmt);
}

void out_note(const struct out *out, const char *fmt, ...)
{
    if (out->quiet)
        return;
    fflush(stdout); /* so that both read in order on a terminal */
    fputs("smtpgate: note: ", stderr);
    PRINT(stderr, fmt);
}

void out_warn(const struct out *out, const char *fmt, ...)
{
    (void)out;
    fflush(stdout);
    fputs("smtpgate: warning: ", stderr);
    PRINT(stderr, fmt);
}

#define PROGRESS_FIRST_MS 500
#define PROGRESS_EVERY_MS 200

static int64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void out_progress_begin(struct out_progress *progress, const struct out *out)
{
    bool wanted = !out->json && !out->quiet && isatty(STDERR_FILENO);

    *progress = (struct out_progress){.out = out};
    progress->next_ms = wanted ? monotonic_ms() + PROGRESS_FIRST_MS : INT64_MAX;
}

void out_progress(struct out_progress *progress, const char *what, uint64_t count)
{
    /* The clock is not asked for each of a million. */
    if (progress->next_ms == INT64_MAX || count % 256 || monotonic_ms() < progress->next_ms)
        return;
    progress->next_ms = monotonic_ms() + PROGRESS_EVERY_MS;
    progress->shown = true;
    fprintf(stderr, "\r\033[K%s: %llu ", what, (unsigned long long)count);
    fflush(stderr);
}

void out_progress_end(struct out_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}

/* Columns, where standard error is no terminal. */
#define PLACE_WIDTH  100
#define PLACE_INDENT 2

static size_t terminal_columns(void)
{
    struct winsize size = {0};

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col <= PLACE_INDENT)
        return PLACE_WIDTH;
    return size.ws_col;
}

void out_place(const char *message, const char *line, size_t at, size_t len, const char *hint)
{
    struct text_view view;
    char shown[1024];

    text_mark(line, at, len, terminal_columns() - PLACE_INDENT, &view);
    fflush(stdout);
    fprintf(stderr, "%s\n", text_escape(message, shown, sizeof(shown)));
    fprintf(stderr, "%*s%s\n%*s%s\n", PLACE_INDENT, "", view.shown, PLACE_INDENT, "", view.mark);
    if (*hint)
        fprintf(stderr, "%*shint: %s\n", PLACE_INDENT, "", text_escape(hint, shown, sizeof(shown)));
}

void out_log(const char *fmt, ...)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    char text[1024], shown[1024], line[1100];
    struct stat st;
    va_list ap;
    int len;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    text_escape(text, shown, sizeof(shown));
    if (logsock_takes(LOGSOCK_SYSLOG))
        syslog(LOG_MAIL | LOG_WARNING, "smtpgate: %s", shown);
    /* One write that fits a pipe, and only if it takes one: a reader that sleeps stops nobody. */
    len = snprintf(line, sizeof(line), "smtpgate: %s\n", shown);
    if (fstat(STDERR_FILENO, &st) == 0 && !S_ISSOCK(st.st_mode) && poll(&out, 1, 0) == 1 &&
        (out.revents & POLLOUT))
        (void)!write(STDERR_FILENO, line, (size_t)len);
}

/* Errors quote what was typed and found: nothing of it reaches a terminal as it is. */
struct shown_error {
    char message[sizeof(((struct err *)0)->message) * 2];
    char hint[sizeof(((struct err *)0)->hint) * 2];
};

static void show_error(const struct err *e, struct shown_error *shown)
{
    text_escape(e->message, shown->message, sizeof(shown->message));
    text_escape(e->hint, shown->hint, sizeof(shown->hint));
}

static json_t *error_json(const struct err *e)
{
    struct shown_error shown;

    show_error(e, &shown);
    return json_pack("{s:i, s:s, s:o}", "code", (int)e->code, "message", shown.message, "hint",
                     shown.hint[0] ? json_string(shown.hint) : json_null());
}

/* Takes @object over; @e NULL: ok. */
static json_t *envelope(const struct err *e, json_t *object)
{
    json_t *all = json_pack("{s:i, s:b}", "schema", SCHEMA, "ok", !e);

    if (all && object)
        json_object_update(all, object);
    if (all && e)
        json_object_set_new(all, "error", error_json(e));
    json_decref(object);
    return all;
}

static void dump_line(json_t *object)
{
    if (object)
        json_dumpf(object, stdout, JSON_FORM);
    fputc('\n', stdout);
    json_decref(object);
}

void out_json(const struct out *out, json_t *object)
{
    if (out->json)
        dump_line(envelope(NULL, object));
    else
        json_decref(object);
}

void out_stream_begin(struct out_stream *stream, const struct out *out, json_t *object,
                      const char *array)
{
    _cleanup_free_ char *text = NULL;
    json_t *head;

    *stream = (struct out_stream){.out = out};
    if (!out->json) {
        json_decref(object);
        return;
    }
    head = envelope(NULL, object);
    json_object_del(head, "ok");
    text = json_dumps(head, JSON_FORM);
    json_decref(head);
    /* Open the object again: its closing brace is the last character. */
    if (text)
        fprintf(stdout, "%.*s,\"%s\":[", (int)strlen(text) - 1, text, array);
}

void out_stream_item(struct out_stream *stream, json_t *item)
{
    if (stream->out->json && item) {
        if (stream->any)
            fputc(',', stdout);
        json_dumpf(item, stdout, JSON_FORM);
        stream->any = true;
    }
    json_decref(item);
}

void out_item_begin(struct out_stream *stream)
{
    if (!stream->out->json)
        return;
    if (stream->any)
        putc_unlocked(',', stdout);
    putc_unlocked('{', stdout);
    stream->any = stream->first = true;
}

static void put_key(struct out_stream *stream, const char *key)
{
    if (!stream->first)
        putc_unlocked(',', stdout);
    stream->first = false;
    putc_unlocked('"', stdout);
    fputs_unlocked(key, stdout);
    fputs_unlocked("\":", stdout);
}

static void put_member(struct out_stream *stream, const char *key, const char *value)
{
    if (!stream->out->json)
        return;
    put_key(stream, key);
    fputs_unlocked(value, stdout);
}

void out_item_int(struct out_stream *stream, const char *key, int64_t value)
{
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    char text[24], *at = text + sizeof(text) - 1;

    *at = '\0';
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--at = '-';
    put_member(stream, key, at);
}

void out_item_bool(struct out_stream *stream, const char *key, bool value)
{
    put_member(stream, key, value ? "true" : "false");
}

void out_item_null(struct out_stream *stream, const char *key)
{
    put_member(stream, key, "null");
}

/* Stands in JSON as it is. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((signed char)*text < ' ' || *text == '"' || *text == '\\')
            return false;
    return true;
}

void out_item_text(struct out_stream *stream, const char *key, const char *value)
{
    json_t *string;

    if (!stream->out->json)
        return;
    put_key(stream, key);
    if (is_plain(value)) {
        putc_unlocked('"', stdout);
        fputs_unlocked(value, stdout);
        putc_unlocked('"', stdout);
        return;
    }
    string = json_string(value);
    if (!string || json_dumpf(string, stdout, JSON_COMPACT | JSON_ENCODE_ANY) < 0)
        fputs_unlocked("null", stdout);
    json_decref(string);
}

void out_item_time(struct out_stream *stream, const char *key, int64_t seconds)
{
    if (!stream->out->json)
        return;
    if (!seconds) {
        out_item_null(stream, key);
        return;
    }
    if (seconds != stream->told) {
        when_print(seconds, stream->told_as);
        stream->told = seconds;
    }
    out_item_text(stream, key, stream->told_as);
}

void out_item_end(struct out_stream *stream)
{
    if (stream->out->json)
        putc_unlocked('}', stdout);
}

void out_stream_end(struct out_stream *stream, const struct err *e)
{
    _cleanup_free_ char *text = NULL;
    json_t *tail;

    if (!stream->out->json)
        return;
    tail = envelope(e, NULL);
    json_object_del(tail, "schema");
    text = json_dumps(tail, JSON_FORM);
    json_decref(tail);
    if (text)
        fprintf(stdout, "],%s\n", text + 1);
}

void out_error(const struct out *out, const char *command, const struct err *e)
{
    struct shown_error shown;

    fflush(stdout);
    if (out->json) {
        dump_line(envelope(e, NULL));
        return;
    }
    show_error(e, &shown);
    fprintf(stderr, "smtpgate: %s%s%s\n", command ? command : "", command ? ": " : "",
            shown.message);
    if (shown.hint[0])
        fprintf(stderr, "  hint: %s\n", shown.hint);
}

bool out_can_ask(void)
{
    pid_t front;

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    /* In the background reading would stop the process; a terminal that is not its own does not. */
    front = tcgetpgrp(STDIN_FILENO);
    return front < 0 || front == getpgrp();
}

int out_ask(const char *question)
{
    struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
    char answer[16];
    int n;

    if (!out_can_ask())
        return -ENOTTY;
    fflush(stdout);
    fprintf(stderr, "%s [y/N] ", question);
    n = poll(&keys, 1, OUT_ASK_S * 1000);
    if (n == 0)
        fprintf(stderr, "\nno answer in %d s\n", OUT_ASK_S);
    /* Where ^C does not end the process, it is a No. */
    if (n < 0)
        fputc('\n', stderr);
    if (n <= 0)
        return 0;
    if (!fgets(answer, sizeof(answer), stdin)) {
        fputc('\n', stderr);
        return 0;
    }
    return !strcasecmp(answer, "y\n") || !strcasecmp(answer, "yes\n");
}

int out_flush(void)
{
    return fflush(stdout) < 0 || ferror(stdout) ? -(errno ? errno : EIO) : 0;
}

const char *out_local_time(int64_t seconds, char buf[OUT_TIME_MAX])
{
    time_t t = (time_t)seconds;
    struct tm tm;

    buf[0] = '\0';
    if (seconds && localtime_r(&t, &tm))
        strftime(buf, OUT_TIME_MAX, "%Y-%m-%d %H:%M", &tm);
    return buf;
}

json_t *out_json_text(const char *text)
{
    return *text ? json_string(text) : json_null();
}

json_t *out_json_time(int64_t seconds)
{
    char buf[OUT_TIME_MAX];

    return seconds ? json_string(when_print(seconds, buf)) : json_null();
}
