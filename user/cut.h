/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a change means for who is connected now: the sources of the open sessions, split by whether
 * the gate lets them in before and after it, in text and JSON. Knows sessions and who runs the
 * command; who is let in its callers tell. Asks nobody, prints nothing.
 */
#ifndef SMTPGATE_CUT_H
#define SMTPGATE_CUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "actor.h"
#include "addr.h"
#include "err.h"
#include "session.h"

/* Is @address let in on @port (guarded or not)? 1 yes, 0 no, or -errno with @e filled. */
struct cut_rule {
    int (*lets_in)(void *context, const struct addr *address, uint16_t port, struct err *e);
    void *context;
};

enum cut_fate {
    CUT_CUT,      /* let in before, not after */
    CUT_KEPT,     /* before and after */
    CUT_ADMITTED, /* not before, after */
    CUT_HANGING,  /* neither: open, and no packet of it gets through */
    CUT_FATES,
};

/* Those of one address that share a fate. */
struct cut_source {
    struct addr address;
    enum cut_fate fate;
    size_t sessions;
    uint16_t ports[SESSION_PORTS_MAX]; /* ascending */
    unsigned int n_ports;
};

struct cut {
    struct cut_source *sources; /* by fate, then most sessions first, then by address */
    size_t count;
    size_t n_sources[CUT_FATES];
    size_t n_sessions[CUT_FATES];
};

/*
 * Unproven sessions are left out: in a flood of forged handshakes nobody would find the others.
 * Each address and port is asked for once. -ENOMEM, or what a rule returned.
 */
int cut_split(const struct session *sessions, size_t count, const struct cut_rule *before,
              const struct cut_rule *after, struct cut *ret_cut, struct err *e);

void cut_free(struct cut *cut);
#define _cleanup_cut_ __attribute__((cleanup(cut_free)))

/*
 * Lines for a person, the first ten sources of a fate: "  198.51.100.7  2 sessions (465, 587)" and
 * "  and 7 more sources with 12 sessions". "" if there are none. Returns @buf.
 */
#define CUT_LINES_MAX 10
#define CUT_TEXT_MAX  4096
const char *cut_print(const struct cut *cut, enum cut_fate fate, char buf[CUT_TEXT_MAX]);

/*
 * All of a fate: [{"address": "198.51.100.7", "sessions": 2, "ports": [465, 587]}, ...]. The caller
 * owns it; NULL: no memory.
 */
json_t *cut_json(const struct cut *cut, enum cut_fate fate);

/* What the change means for the address from which the command is run. */
struct cut_self {
    uint16_t ports[SESSION_PORTS_MAX]; /* that it loses, ascending; n_ports 0: none */
    unsigned int n_ports;
    bool shell; /* among them the one of the SSH session that the command runs in */
};

/* @ports: what is guarded before or after, ascending. Without an SSH client nothing is lost. */
int cut_judge_self(const struct actor *actor, const uint16_t *ports, size_t n_ports,
                   const struct cut_rule *before, const struct cut_rule *after,
                   struct cut_self *ret_self, struct err *e);

/* One sentence about it, without a full stop; "" if nothing is lost. Returns @buf. */
#define CUT_SELF_MAX 512
const char *cut_print_self(const struct actor *actor, const struct cut_self *self,
                           char buf[CUT_SELF_MAX]);

#endif
