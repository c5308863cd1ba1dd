/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interfaces lead to a listener, and whether the gate stands on each of them or on all that
 * lies below it. Knows addresses and interface numbers; nothing of BPF, the store or the relay.
 */
#ifndef SMTPGATE_COVER_H
#define SMTPGATE_COVER_H

#include "iface.h"
#include "smtpgate_types.h"

#define COVER_MISSING_MAX 16

/* An interface through which listeners can be reached. */
struct cover_row {
    char name[IF_NAMESIZE];
    uint16_t ports[SG_PORTS_MAX]; /* of the listeners, ascending */
    unsigned int n_ports;
    char missing[COVER_MISSING_MAX][IF_NAMESIZE]; /* where the gate is wanted and is not */
    unsigned int n_missing;                       /* 0: covered */
};

struct cover_input {
    const struct iface_listener *listeners; /* ascending by port; loopback ones are passed over */
    size_t n_listeners;
    const struct iface_address *addresses;
    size_t n_addresses;
    const uint32_t *attached; /* interface numbers */
    size_t n_attached;
};

/* One row for each interface with an address; -ENOMEM. The caller frees @ret_rows. */
int cover_find(const struct cover_input *input, struct cover_row **ret_rows, size_t *ret_count,
               struct err *e);

#endif
