/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Part of doctor.h: what the facts about the host around the gate mean.
 */
#ifndef SMTPGATE_DOCTOR_HOST_H
#define SMTPGATE_DOCTOR_HOST_H

#include "doctor.h"
#include "ruleset.h"
#include "sysctl.h"

/* By which families guarded ports can be reached, and for which the list has anything. */
struct doctor_families {
    bool drops;                         /* the gate drops who is not listed, now or later */
    uint64_t prefixes4, prefixes6;      /* in the list */
    struct doctor_ports ports4, ports6; /* that listeners take connections on */
};

void doctor_judge_families(struct doctor_list *list, const struct doctor_families *families);

struct doctor_firewall {
    bool none;                 /* there is no other packet filter in the kernel */
    struct doctor_ports ports; /* that were looked at */
    bool listening;            /* which somebody listens on; else all that are guarded */
    struct ruleset_findings findings;
    bool overlaps; /* the list lets in something of this source, which the rules drop */
    struct ruleset_source dropped;
    struct err error; /* no message: all rules were read */
    int64_t left_ms;  /* for reading them */
};

void doctor_judge_firewall(struct doctor_list *list, const struct doctor_firewall *firewall);

/* Who has the most of all connections, let in or not. */
struct doctor_leader {
    struct addr address;
    uint64_t count, total;
    bool neighbour; /* in a network of this host's own, or a private one */
    bool known;     /* all was counted */
};

void doctor_judge_leader(struct doctor_list *list, const struct doctor_leader *leader);

/* In a private network, or one that providers use behind NAT, or link-local. */
bool doctor_is_private(const struct addr *address);
/* Both in @len bits of the same network. */
bool doctor_shares(const struct addr *a, const struct addr *b, unsigned int len);

#define DOCTOR_SYSCTL_IFACES 64

/* A setting that can lead past the gate, or past what it stands for. */
enum doctor_sysctl_id {
    DOCTOR_SOURCE_ROUTE,
    DOCTOR_ROUTE_LOCALNET,
    DOCTOR_SEG6,
    DOCTOR_RPL,
    DOCTOR_FASTOPEN,
    DOCTOR_SYSCTLS,
};

/* Where it is read: net/FAMILY/conf/{all,IFACE}/KEY, or, without a family, net/KEY. */
struct doctor_sysctl_row {
    const char *family, *key;
};

extern const struct doctor_sysctl_row doctor_sysctl_rows[DOCTOR_SYSCTLS];

struct doctor_sysctl {
    bool there; /* the kernel has it */
    long all;   /* its value for all interfaces, or the value */
    struct sysctl_iface ifaces[DOCTOR_SYSCTL_IFACES];
    size_t n_ifaces;
};

void doctor_judge_sysctls(struct doctor_list *list,
                          const struct doctor_sysctl settings[DOCTOR_SYSCTLS]);

#endif
