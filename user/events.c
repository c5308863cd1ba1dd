/* SPDX-License-Identifier: GPL-2.0-only */
/* See events.h. The identifiers are for good: filters and alerts go by them. */
#include "events.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "journal.h"
#include "when.h"

#define ID_LIST     "54d3f7fde5aa4e55a656410591279ff4"
#define ID_MODE     "0b9773d0e8b54ebeb0ccc9add367f119"
#define ID_SETTINGS "221d2b6f06c749518a40ad7380db7200"
#define ID_ATTACH   "d1446d8feecb471cbd7b7b61ffe46c9e"
#define ID_DETACH   "216866ace4c243a5999065ec82aa1952"
#define ID_FAILED   "58a12dc800504d1398f6b9ede7e44c82"
#define ID_HEAL     "91f559b2cd30406e89c62079693f1d5b"

static void begin(struct journal *journal, int priority, const char *id, const char *event,
                  const struct events_author *author)
{
    journal_begin(journal, priority, id);
    journal_add(journal, "SMTPGATE_EVENT", "%s", event);
    if (!author || !*author->who)
        return;
    journal_add(journal, "SMTPGATE_USER", "%s", author->who);
    journal_add(journal, "SMTPGATE_UID", "%u", author->uid);
    if (*author->origin)
        journal_add(journal, "SMTPGATE_FROM", "%s", author->origin);
    journal_add(journal, "SMTPGATE_COMMAND", "%s", author->command);
}

/* "alice from 192.0.2.1: " */
static const char *by(const struct events_author *author, char buf[160])
{
    buf[0] = '\0';
    if (author && *author->who)
        snprintf(buf, 160, "%s%s%s: ", author->who, *author->origin ? " from " : "",
                 author->origin);
    return buf;
}

static void send_list(const struct events_author *author, const struct events_change *change)
{
    struct journal journal;
    char who[160];

    begin(&journal, LOG_NOTICE, ID_LIST, "list", author);
    if (change->id)
        journal_add(&journal, "SMTPGATE_CHANGE", "%lld", (long long)change->id);
    journal_add(&journal, "SMTPGATE_ADDED", "%u", change->added);
    journal_add(&journal, "SMTPGATE_DELETED", "%u", change->deleted);
    journal_add(&journal, "SMTPGATE_EDITED", "%u", change->edited);
    by(author, who);
    journal_say(&journal, "%slist changed: %u added, %u deleted, %u edited%s%.200s", who,
                change->added, change->deleted, change->edited, *who ? ": " : "",
                *who ? author->command : "");
    journal_send(&journal);
}

static void send_mode(const struct events_author *author, const struct events_change *change)
{
    struct mode_plan was = mode_at(change->before->on, &change->before->plan, change->now);
    struct mode_plan is = mode_at(change->after->on, &change->after->plan, change->now);
    char who[160], until[WHEN_TEXT_MAX], later[96] = "";
    struct journal journal;

    if (was.mode == is.mode && was.until == is.until && (!is.until || was.then == is.then))
        return;
    begin(&journal, mode_drops(is.mode) ? LOG_NOTICE : LOG_WARNING, ID_MODE, "mode", author);
    journal_add(&journal, "SMTPGATE_MODE", "%s", mode_name(is.mode));
    journal_add(&journal, "SMTPGATE_MODE_BEFORE", "%s", mode_name(was.mode));
    if (is.until) {
        when_print(is.until, until);
        journal_add(&journal, "SMTPGATE_MODE_UNTIL", "%s", until);
        journal_add(&journal, "SMTPGATE_MODE_THEN", "%s", mode_name(is.then));
        snprintf(later, sizeof(later), " until %s, then %s", until, mode_name(is.then));
    }
    journal_say(&journal, "%smode is now %s (was %s)%s", by(author, who), mode_name(is.mode),
                mode_name(was.mode), later);
    journal_send(&journal);
}

/* "25,465" of the guarded ones. */
static const char *print_ports(const struct store_settings *settings, char buf[128])
{
    size_t used = 0;
    unsigned int i;

    buf[0] = '\0';
    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded)
            used += (size_t)snprintf(buf + used, 128 - used, "%s%u", used ? "," : "",
                                     settings->ports[i].port);
    return buf;
}

static const char *others_name(enum store_others others)
{
    return others == STORE_OTHERS_NOWHERE ? "nowhere" : "anywhere";
}

static void send_settings(const struct events_author *author, const struct events_change *change)
{
    const struct store_settings *was = change->before, *is = change->after;
    char who[160], before[128], ports[128];
    struct journal journal;

    print_ports(was, before);
    print_ports(is, ports);
    if (!strcmp(before, ports) && was->limit == is->limit && was->others == is->others &&
        !strcmp(was->realm, is->realm))
        return;
    begin(&journal, LOG_NOTICE, ID_SETTINGS, "settings", author);
    journal_add(&journal, "SMTPGATE_PORTS", "%s", ports);
    journal_add(&journal, "SMTPGATE_PORTS_BEFORE", "%s", before);
    journal_add(&journal, "SMTPGATE_LIMIT", "%u", is->limit); /* 0: none */
    journal_add(&journal, "SMTPGATE_OTHERS", "%s", others_name(is->others));
    journal_say(&journal, "%ssettings changed: ports %s (were %s), limit %u (was %u), others %s",
                by(author, who), ports, before, is->limit, was->limit, others_name(is->others));
    journal_send(&journal);
}

void events_send_change(const struct events_author *author, const struct events_change *change)
{
    if (change->added || change->deleted || change->edited)
        send_list(author, change);
    send_mode(author, change);
    send_settings(author, change);
}

void events_send_heal(const struct events_author *author, uint64_t fixed)
{
    struct journal journal;

    begin(&journal, LOG_WARNING, ID_HEAL, "heal", author);
    journal_add(&journal, "SMTPGATE_CORRECTED", "%llu", (unsigned long long)fixed);
    journal_say(&journal,
                "the kernel was not what the store says and was made so: %llu prefix%s corrected",
                (unsigned long long)fixed, fixed == 1 ? "" : "es");
    journal_send(&journal);
}

void events_send_attach(const struct events_author *author, const char *name, const char *xdp_mode,
                        bool replaced)
{
    struct journal journal;
    char who[160];

    begin(&journal, LOG_NOTICE, ID_ATTACH, "attach", author);
    journal_add(&journal, "SMTPGATE_INTERFACE", "%s", name);
    journal_add(&journal, "SMTPGATE_XDP_MODE", "%s", xdp_mode);
    journal_add(&journal, "SMTPGATE_REPLACED", "%d", replaced);
    journal_say(&journal, "%s%s %s, %s mode", by(author, who),
                replaced ? "gate replaced on" : "gate attached to", name, xdp_mode);
    journal_send(&journal);
}

void events_send_failed_attach(const char *name, const char *problem)
{
    struct journal journal;

    begin(&journal, LOG_ERR, ID_FAILED, "attach_failed", NULL);
    journal_add(&journal, "SMTPGATE_INTERFACE", "%s", name);
    journal_add(&journal, "SMTPGATE_PROBLEM", "%s", problem);
    journal_say(&journal, "gate NOT attached to %s: %s", name, problem);
    journal_send(&journal);
}

void events_send_detach(const struct events_author *author, const char *name)
{
    struct journal journal;
    char who[160];

    begin(&journal, LOG_WARNING, ID_DETACH, "detach", author);
    journal_add(&journal, "SMTPGATE_INTERFACE", "%s", name);
    journal_say(&journal, "%sgate taken off %s", by(author, who), name);
    journal_send(&journal);
}
