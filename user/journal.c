/* SPDX-License-Identifier: GPL-2.0-only */
/* See journal.h. */
#include "journal.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "logsock.h"
#include "util.h"

/* sd_journal_sendv(3) writes to it, and is not worth loading where it is not there. */
#define SOCKET  "/run/systemd/journal/socket"
#define LIBRARY "libsystemd.so.0"

/* Names beginning so are ours; what stands behind is the field's name in a line of syslog. */
#define OURS "SMTPGATE_"

/* Of these a value in a line of syslog needs no quotes. */
#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:+,/@#"

void journal_begin(struct journal *journal, int priority, const char *id)
{
    *journal = (struct journal){.priority = priority};
    journal_add(journal, "MESSAGE_ID", "%s", id);
    journal_add(journal, "PRIORITY", "%d", priority);
    journal_add(journal, "SYSLOG_FACILITY", "%d", LOG_FAC(LOG_MAIL));
    journal_add(journal, "SYSLOG_IDENTIFIER", "smtpgate");
}

void journal_say(struct journal *journal, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(journal->message, sizeof(journal->message), fmt, ap);
    va_end(ap);
}

void journal_add(struct journal *journal, const char *name, const char *fmt, ...)
{
    size_t room = sizeof(journal->text) - journal->used;
    char *at = journal->text + journal->used;
    int len = snprintf(at, room, "%s=", name), more = 0;
    va_list ap;

    if (len > 0 && (size_t)len < room) {
        va_start(ap, fmt);
        more = vsnprintf(at + len, room - (size_t)len, fmt, ap);
        va_end(ap);
    }
    if (len < 0 || more < 0 || (size_t)len + (size_t)more >= room ||
        journal->count == JOURNAL_FIELDS)
        return;
    journal->starts[journal->count++] = journal->used;
    journal->used += (size_t)len + (size_t)more + 1;
}

/* False: it did not get there. */
static bool send_to_journal(const struct journal *journal)
{
    char message[sizeof(journal->message) + sizeof("MESSAGE=")];
    struct iovec fields[JOURNAL_FIELDS + 1];
    int (*sendv)(const struct iovec *iov, int n);
    void *library, *symbol;
    size_t i;

    library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    symbol = library ? dlsym(library, "sd_journal_sendv") : NULL;
    if (!symbol)
        return false;                       /* what was loaded stays: the process ends soon */
    memcpy(&sendv, &symbol, sizeof(sendv)); /* POSIX: dlsym(3) */
    snprintf(message, sizeof(message), "MESSAGE=%s", journal->message);
    fields[0] = (struct iovec){.iov_base = message, .iov_len = strlen(message)};
    for (i = 0; i < journal->count; i++) {
        const char *field = journal->text + journal->starts[i];

        fields[i + 1] = (struct iovec){.iov_base = (void *)field, .iov_len = strlen(field)};
    }
    return sendv(fields, (int)journal->count + 1) == 0;
}

/*
 * " added=1", " command=\"add 192.0.2.1\"": the name in small letters without what all have in
 * common. No value can look like the next field.
 */
static size_t print_field(const char *field, char *buf, size_t size)
{
    const char *value = strchr(field, '=') + 1;
    const char *quote = *value && strspn(value, PLAIN) == strlen(value) ? "" : "\"";
    int len = snprintf(buf, size, " %.*s%s%s%s", (int)(value - field - (ptrdiff_t)strlen(OURS)),
                       field + strlen(OURS), quote, value, quote);
    char *at = buf + 1, *end;

    if (len < 0 || (size_t)len >= size)
        return 0;
    for (; *at != '='; at++)
        *at = (char)tolower((unsigned char)*at);
    end = buf + len - (*quote ? 1 : 0);
    for (at += *quote ? 2 : 1; at < end; at++)
        if (*at == '"')
            *at = '\'';
    return (size_t)len;
}

/* The words, and in brackets what belongs to us alone. */
static void send_to_syslog(const struct journal *journal)
{
    char fields[JOURNAL_TEXT + 4 * JOURNAL_FIELDS] = "";
    size_t i, used = 0;

    for (i = 0; i < journal->count; i++) {
        const char *field = journal->text + journal->starts[i];

        if (!strncmp(field, OURS, strlen(OURS)))
            used += print_field(field, fields + used, sizeof(fields) - used);
    }
    syslog(LOG_MAIL | journal->priority, "smtpgate: %s [%s]", journal->message,
           used ? fields + 1 : "");
}

void journal_send(const struct journal *journal)
{
    bool is_there = access(SOCKET, W_OK) == 0;

    if (!logsock_takes(is_there ? SOCKET : LOGSOCK_SYSLOG))
        return;
    if (!is_there || !send_to_journal(journal))
        send_to_syslog(journal);
}
