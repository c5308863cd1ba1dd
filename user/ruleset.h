/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a packet filter's rules, as nft -j and iptables-save print them, do to a new connection from
 * outside to a guarded port. Pure: text in, findings out; knows neither who printed it nor the
 * gate.
 *
 * The rules are followed as the kernel follows them, for all ports and both families at once. What
 * a rule asks that is not understood, or cannot be known beforehand (a rate, a mark), is taken in
 * favour of the rules: it drops nothing, and what it accepts is accepted. So a finding is one.
 * Two things are told beside: the rules that drop some, with the sources that they name, and the
 * ports that are not guarded and are sent on to one that is.
 *
 * Text is the host's, but names and comments in it may be anybody's: it is escaped here.
 */
#ifndef SMTPGATE_RULESET_H
#define SMTPGATE_RULESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

#define RULESET_PORTS_MAX  16
#define RULESET_IFACES_MAX 32
#define RULESET_NAME_MAX   16

/* What the connections are that the rules are asked about. */
struct ruleset_host {
    uint16_t ports[RULESET_PORTS_MAX];
    unsigned int n_ports;
    bool ip4, ip6;          /* families by which they come */
    const struct addr *own; /* addresses that they go to */
    size_t n_own;
    /* Interfaces they come by, other than loopback; none: not known. */
    char ifaces[RULESET_IFACES_MAX][RULESET_NAME_MAX];
    unsigned int n_ifaces;
    uint16_t guarded[RULESET_PORTS_MAX]; /* among them @ports */
    unsigned int n_guarded;
};

struct ruleset_finding {
    uint32_t cases; /* as ruleset_eval.h counts them: what the next three say */
    bool input;     /* dropped where a translated packet is another one by then */
    uint16_t ports[RULESET_PORTS_MAX]; /* that are dropped */
    unsigned int n_ports;
    bool ip4, ip6;   /* in which families */
    bool some;       /* some sources or ways are let in */
    char place[192]; /* "table inet filter, chain input"; escaped */
    char rule[192];  /* "rule with handle 7", the rule as iptables-save has it; "" its policy */
    char look[160];  /* a command that shows it */
};

/* What some connections are dropped by: the first rule of its chain that does. */
struct ruleset_spare {
    struct ruleset_finding by;
    char who[128]; /* "198.51.100.0/24, 203.0.113.7, ..."; "" not told by an address */
};

/* A source that is dropped; @spare: where, of ruleset_findings. */
struct ruleset_source {
    struct who who;
    size_t spare;
};

/* A port that is not guarded, and leads to one that is. */
struct ruleset_lead {
    uint32_t cases;
    uint16_t from, to;
    bool wide; /* and so do others, which the rule does not name one by one */
    char place[192], rule[192], look[160];
};

#define RULESET_FINDINGS_MAX 16
#define RULESET_SPARES_MAX   8
#define RULESET_SOURCES_MAX  512
#define RULESET_LEADS_MAX    8

/* Zero-initialise; several readings for one host add to one. */
struct ruleset_findings {
    struct ruleset_finding items[RULESET_FINDINGS_MAX];
    size_t count;
    uint32_t moved; /* cases that are sent to another port or host before they come in */
    bool more;      /* than fit */
    bool unread;    /* the rules were too many or too deeply nested to be followed */
    struct ruleset_spare spares[RULESET_SPARES_MAX]; /* without ports: not after all */
    size_t n_spares;
    struct ruleset_source sources[RULESET_SOURCES_MAX];
    size_t n_sources;
    struct ruleset_lead leads[RULESET_LEADS_MAX];
    size_t n_leads;
    bool more_leads;
    bool compat4; /* the text holds rules of iptables (ip6tables) that nft cannot tell: they are */
    bool compat6; /* left out, and wanted as iptables-save (ip6tables-save) prints them */
};

/*
 * @text: nft -j list ruleset; @terse: with -t, without what the sets hold. -EINVAL (no error set):
 * it is not that. -ENOMEM.
 */
int ruleset_read_nft(const char *text, bool terse, const struct ruleset_host *host,
                     struct ruleset_findings *findings);

/*
 * @text: iptables-save, or ip6tables-save with ADDR_IP6; @command: "iptables", to be shown.
 * Likewise.
 */
int ruleset_read_iptables(const char *text, enum addr_family family, const char *command,
                          const struct ruleset_host *host, struct ruleset_findings *findings);

#endif
