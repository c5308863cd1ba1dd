/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP sessions that are open now, and how to end one: the kernel's own table, asked by sock_diag
 * (only here). Knows addresses and ports; must not know the list, the gate or what a session's end
 * means to anybody.
 *
 * What the table does not show: sessions of another network namespace (a server in a container has
 * them there, and what the host only forwards has none here); which interface a session's packets
 * come in by. Of an MPTCP session each subflow is listed by itself, as the gate judges it.
 */
#ifndef SMTPGATE_SESSION_H
#define SMTPGATE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "err.h"
#include "smtpgate_types.h"

struct session {
    struct addr remote; /* v4-mapped ones come as IPv4, here and in @local */
    struct addr local;
    uint16_t remote_port; /* host order, as @local_port */
    uint16_t local_port;
    uint32_t inode; /* 0: no process has it (not accepted yet, or closed already) */
    uint32_t uid;
    uint8_t state;      /* TCP_ESTABLISHED and so on, of netinet/tcp.h */
    uint32_t ifindex;   /* the one it is bound to, 0 mostly */
    uint32_t cookie[2]; /* the kernel's number of the socket: no later one is mistaken for it */
};

/* What is guarded before and after a change. */
#define SESSION_PORTS_MAX (2 * SG_PORTS_MAX)

/*
 * Sessions on local @ports with other hosts: what comes by loopback, from 127.0.0.0/8, ::1 or an
 * address of this host, never meets the gate. From a handshake begun by the other side (SYN_RECV)
 * to what the other side has still to close; not TIME_WAIT and the like, which no process has any
 * more. Ordered by remote address, local port, remote port. The caller frees @ret_sessions.
 * Wants no privileges.
 */
int session_list(const uint16_t *ports, size_t n_ports, struct session **ret_sessions,
                 size_t *ret_count, struct err *e);

/* The other side has answered the handshake: its address is not forged. */
bool session_is_proven(const struct session *session);

/*
 * Ends it at once, whatever its server does; the other side gets a reset. (An MPTCP session without
 * subflows keeps its server waiting for net.mptcp.close_timeout, a minute.) 0 also when it has
 * ended by itself meanwhile. Not root: -EPERM, EXIT_DENIED; a kernel that cannot: -EOPNOTSUPP,
 * EXIT_REFUSED, with what helps instead.
 */
int session_destroy(const struct session *session, struct err *e);

#endif
