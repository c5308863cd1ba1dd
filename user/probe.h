/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an SMTP server says before anybody has logged in: does it offer AUTH, over TLS only, and
 * does it take a recipient without a password. No mail is ever sent (there is no DATA). The only
 * user of libcurl; knows nothing of the gate, the store or what the answers are good for.
 *
 * Whatever a server says is a stranger's: bounded in time and size, escaped, never trusted.
 */
#ifndef SMTPGATE_PROBE_H
#define SMTPGATE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "err.h"

/* Asked at once. */
#define PROBE_MAX 64

struct probe_target {
    struct addr address;
    uint32_t scope; /* interface number of a link-local address, else 0 */
    uint16_t port;
    bool tls_first; /* try TLS before plain, else the other way round */
    bool thorough;  /* ask for recipients too */
};

enum probe_outcome {
    PROBE_SMTP,          /* all that follows is known */
    PROBE_BROKEN,        /* it greeted as SMTP does and failed later; flags may be incomplete */
    PROBE_OTHER,         /* it speaks something else, or closes at once */
    PROBE_SILENT,        /* it said nothing in time, neither in plain nor over TLS */
    PROBE_NO_CONNECTION, /* nobody answered the connection */
};

enum probe_answer {
    PROBE_NOT_ASKED,
    PROBE_TAKEN,   /* without a password */
    PROBE_DENIED,  /* for want of a password or of a permission */
    PROBE_REFUSED, /* for another reason, perhaps only now */
};

#define PROBE_TEXT_MAX 160

struct probe_reply {
    enum probe_answer answer;
    char text[PROBE_TEXT_MAX]; /* the server's words, escaped */
};

struct probe_facts {
    enum probe_outcome outcome;
    bool offers_tls;            /* STARTTLS, or TLS from the first byte */
    bool tls;                   /* and it works */
    bool auth_plain;            /* AUTH is offered without TLS */
    bool auth_tls;              /* AUTH is offered over TLS */
    struct probe_reply outside; /* a recipient of a domain that is nobody's */
    struct probe_reply local;   /* postmaster at the server's own name */
    char why[PROBE_TEXT_MAX];   /* what stood in the way, escaped; may be empty */
};

/*
 * Asks all @n targets (PROBE_MAX at most) at once, some 13 s at most. -ENOPKG when libcurl is not
 * installed, with the hint; other errors are the host's (memory). Names are never resolved.
 */
int probe_ports(const struct probe_target *targets, size_t n, struct probe_facts *ret_facts,
                struct err *e);

#endif
