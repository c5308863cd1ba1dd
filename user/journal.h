/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One event into the system's log, with fields: the journal where there is one, else syslog(3),
 * where the fields stand behind the words. The only user of libsystemd, which is loaded when it is
 * needed. Knows nothing of what the events are about.
 *
 * Never fails: what cannot be logged was done all the same. A log that has stopped reading is
 * waited for for a second, and then goes without: who logs holds the lock.
 */
#ifndef SMTPGATE_JOURNAL_H
#define SMTPGATE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#define JOURNAL_FIELDS 24
#define JOURNAL_TEXT   2048

struct journal {
    int priority; /* LOG_... */
    char message[512];
    char text[JOURNAL_TEXT]; /* "NAME=value", each with a NUL behind */
    size_t starts[JOURNAL_FIELDS];
    size_t used, count;
};

/* @id: the kind of event for good, 32 hexadecimal digits (MESSAGE_ID of systemd.journal-fields). */
void journal_begin(struct journal *journal, int priority, const char *id);

/* What a person reads: one line, safe to show. */
void journal_say(struct journal *journal, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* @name in capitals; the value is safe to show. One that does not fit is left out. */
void journal_add(struct journal *journal, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void journal_send(const struct journal *journal);

#endif
