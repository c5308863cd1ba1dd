/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who runs this command and from where, as far as this process can tell: for the history, and to
 * warn those who would cut themselves off. A help to honest people's memory, no proof: whoever is
 * root can have put anything into an environment. Knows processes; nothing of the list or the gate.
 */
#ifndef SMTPGATE_ACTOR_H
#define SMTPGATE_ACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

#define ACTOR_TEXT_MAX 64

struct actor {
    uint32_t uid;              /* the person's: before sudo or su, if known */
    char name[ACTOR_TEXT_MAX]; /* safe to show; "uid 1001" when there is no name */
    char from[ACTOR_TEXT_MAX]; /* safe to show: the address of the SSH client, else the terminal
                                * ("pts/3"), else "" */
    bool has_ssh_client;
    struct addr ssh_client; /* the rest is set only if @has_ssh_client */
    uint16_t ssh_port;      /* the server's, on this host */
};

/*
 * The person is whom sudo names, else who logged in (audit's login uid), else the process's user.
 * SSH_CONNECTION is this process's, else that of the nearest of its ancestors that has one, as sudo
 * drops it. In a terminal multiplexer that may be an earlier session's. Never fails.
 */
void actor_read(struct actor *ret_actor);

#endif
