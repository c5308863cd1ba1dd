/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything a person or a script reads: text or one JSON object, never both on stdout. The only
 * file beside main.c that prints. Knows nothing of the product.
 */
#ifndef SMTPGATE_OUT_H
#define SMTPGATE_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "when.h"

struct out {
    bool json;
    bool quiet;
};

/* What was asked for, on stdout; nothing with -j. */
void out_text(const struct out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What was done, on stdout; nothing with -j or -q. */
void out_done(const struct out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Good to know, on stderr; nothing with -q. */
void out_note(const struct out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Must be known, on stderr, always. */
void out_warn(const struct out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * How far a long command has come, on a terminal's stderr, from half a second after
 * out_progress_begin() on; "" takes it away. Nothing with -j or -q.
 */
struct out_progress {
    const struct out *out;
    int64_t next_ms;
    bool shown;
};

void out_progress_begin(struct out_progress *progress, const struct out *out);
void out_progress(struct out_progress *progress, const char *what, uint64_t count);
void out_progress_end(struct out_progress *progress);

/*
 * A place in somebody's file, on stderr: @message, @line with its bytes @at.. marked, @len of them,
 * and @hint. A line too long for the terminal is cut, but not there.
 */
void out_place(const char *message, const char *line, size_t at, size_t len, const char *hint);

/*
 * Into the mail log, by syslog(3), for what has no terminal; and on stderr, unless that is a
 * socket, as it is under spawn(8), where it is the client's.
 */
void out_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * With -j: prints @object with "schema" and "ok" in front. Takes @object over in any case; NULL is
 * out of memory.
 */
void out_json(const struct out *out, json_t *object);

/*
 * One JSON object with a long array, item by item. "ok" comes last, as only then it is known: an
 * error on the way ends the array and stands behind it. @object (taken over) holds the members in
 * front.
 */
struct out_stream {
    const struct out *out;
    bool any;
    bool first;       /* of the members of an item */
    int64_t told;     /* the time that was told last, */
    char told_as[32]; /* and how: many have the same */
};

void out_stream_begin(struct out_stream *stream, const struct out *out, json_t *object,
                      const char *array);
void out_stream_item(struct out_stream *stream, json_t *item);
/*
 * An item of which there are a million: member by member, without a tree. Nothing without -j. The
 * keys are plain ASCII.
 */
void out_item_begin(struct out_stream *stream);
void out_item_int(struct out_stream *stream, const char *key, int64_t value);
void out_item_bool(struct out_stream *stream, const char *key, bool value);
void out_item_text(struct out_stream *stream, const char *key, const char *value);
void out_item_time(struct out_stream *stream, const char *key, int64_t seconds); /* 0: null */
void out_item_null(struct out_stream *stream, const char *key);
void out_item_end(struct out_stream *stream);
/* @e NULL: all went well. */
void out_stream_end(struct out_stream *stream, const struct err *e);

/* With -j the error object on stdout, else sentence and hint on stderr. @command may be NULL. */
void out_error(const struct out *out, const char *command, const struct err *e);

/*
 * Asks on the terminal, default no. 1 yes, 0 no, -ENOTTY when stdin or stderr is no terminal. Who
 * asks holds the lock that all other changes wait for, so no answer in a minute is no.
 */
#define OUT_ASK_S 60
int out_ask(const char *question);
/* There is a terminal to ask on. */
bool out_can_ask(void);

/* 0, or -errno when stdout could not take everything (a full disk behind a redirection). */
int out_flush(void);

#define OUT_TIME_MAX WHEN_TEXT_MAX

/* Of Unix seconds, for a person: "2026-11-23 10:20", local time; "" for 0. Returns @buf. */
const char *out_local_time(int64_t seconds, char buf[OUT_TIME_MAX]);

/* A JSON string; null for "". */
json_t *out_json_text(const char *text);

/* "2026-11-23T10:20:30Z", a JSON string; null for 0. */
json_t *out_json_time(int64_t seconds);

#endif
