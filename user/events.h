/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is worth a line in the system's log: who changed the list, the mode or the settings; where
 * the gate was put on or taken off; what was healed. docs/LOG.md says what fields there are. Knows
 * what changed; nothing of how.
 */
#ifndef SMTPGATE_EVENTS_H
#define SMTPGATE_EVENTS_H

#include "store.h"

/* Who it was; safe to show. No @who: not known, as at boot. */
struct events_author {
    uint32_t uid;
    char who[64], origin[64], command[256];
};

/* What a change came to. */
struct events_change {
    const struct store_settings *before, *after;
    unsigned int added, deleted, edited; /* entries */
    int64_t id;                          /* of the history; 0 none */
    int64_t now;                         /* Unix seconds */
};

/* One event for each of list, mode and settings that is another now. */
void events_send_change(const struct events_author *author, const struct events_change *change);

/* The kernel was behind the store and is not any more; @fixed prefixes were corrected. */
void events_send_heal(const struct events_author *author, uint64_t fixed);

/* @name and @problem are safe to show. @xdp_mode: "native", "generic". */
void events_send_attach(const struct events_author *author, const char *name, const char *xdp_mode,
                        bool replaced);
void events_send_failed_attach(const char *name, const char *problem);
void events_send_detach(const struct events_author *author, const char *name);

#endif
