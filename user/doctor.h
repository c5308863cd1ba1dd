/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the facts mean: a list of results, each with a status, a cause and a remedy to paste. Knows
 * what a probe and a coverage say; asks nobody, prints nothing.
 */
#ifndef SMTPGATE_DOCTOR_H
#define SMTPGATE_DOCTOR_H

#include "cover.h"
#include "probe.h"

enum doctor_status {
    DOCTOR_OK,
    DOCTOR_WARN,
    DOCTOR_FAIL,
    DOCTOR_UNKNOWN,
};

struct doctor_result {
    unsigned int number; /* of the check, from 1 */
    enum doctor_status status;
    uint16_t port;               /* 0: not about one */
    char interface[IF_NAMESIZE]; /* "": not about one */
    char message[512];
    char remedy[512]; /* "" when all is well */
    enum doctor_ports_advice {
        DOCTOR_PORTS_KEEP,
        DOCTOR_PORTS_ADD,     /* the remedy is to guard @port too */
        DOCTOR_PORTS_TAKE_25, /* or not to guard 25 */
    } advice;
};

/* @failed: a result was lost for want of memory. */
struct doctor_list {
    unsigned int number; /* of the check that is running */
    bool on_lo;          /* the gate is on lo too, so it judges what this host asks itself */
    struct doctor_result *items;
    size_t count;
    bool failed;
};

void doctor_free_list(struct doctor_list *list);

/*
 * Adds a result of the check that is running, or finds the one that says the same. Returns it for
 * the remedy; NULL when there is no memory.
 */
struct doctor_result *doctor_add(struct doctor_list *list, enum doctor_status status, uint16_t port,
                                 const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* @result may be NULL. */
void doctor_set_remedy(struct doctor_result *result, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* "an interface" of the result just added; @result may be NULL. */
void doctor_set_interface(struct doctor_result *result, const char *name);

/* A port that is well at one address and not at another is not well. */
void doctor_drop_outweighed(struct doctor_list *list);

/* Nothing failed and nothing is unknown: what could not be found out is no yes. */
bool doctor_is_healthy(const struct doctor_list *list);

/* A name of an interface that may stand in a line that is meant to be pasted. */
bool doctor_is_plain(const char *name);

/* The ports on guard, ascending. */
struct doctor_ports {
    uint16_t items[SG_PORTS_MAX];
    unsigned int count;
};

bool doctor_guards(const struct doctor_ports *ports, uint16_t port);

/* "25, 465" or, with @separator ",", "25,465". Returns @buf. */
#define DOCTOR_PORTS_MAX (SG_PORTS_MAX * 7)
const char *doctor_print_ports(const uint16_t *ports, unsigned int n, const char *separator,
                               char buf[DOCTOR_PORTS_MAX]);

/*
 * The remedies that change which ports are guarded, when all results are there: "set ports" takes
 * all of them at once, so that following one does not undo another.
 */
void doctor_join_ports(struct doctor_list *list, const struct doctor_ports *ports);

/* ---- one listener's facts; @target is what was asked ---- */

/* Does a guarded port take a recipient without a password? */
void doctor_judge_password(struct doctor_list *list, const struct probe_target *target,
                           const struct probe_facts *facts);
/* Does it offer AUTH, and only over TLS? */
void doctor_judge_auth(struct doctor_list *list, const struct probe_target *target,
                       const struct probe_facts *facts);
/* Does a port that is not guarded offer AUTH? True: it had something to say. */
bool doctor_judge_unguarded(struct doctor_list *list, const struct probe_target *target,
                            const struct probe_facts *facts);

/* ---- coverage ---- */

/* @to_sync: a bit for each of @row->missing that the gate is to be on already. */
void doctor_judge_row(struct doctor_list *list, const struct cover_row *row, uint32_t to_sync);

#endif
