/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the host's network says: whether an interface can carry the gate, who listens, which ports
 * the host itself uses. Reads only; knows nothing of BPF.
 */
#ifndef SMTPGATE_IFACE_H
#define SMTPGATE_IFACE_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/*
 * @ret_ifindex of an interface of this network namespace that has Ethernet headers. A name that
 * does not exist: EXIT_USAGE; a device without Ethernet headers (the program would misread every
 * packet): EXIT_REFUSED, both with a hint.
 */
int iface_check(const char *name, uint32_t *ret_ifindex, struct err *e);

/* Somebody listens on TCP @port (host order) on another address than loopback. */
bool iface_port_is_open(uint16_t port);

/*
 * The host takes @port for its own outgoing connections (ip_local_port_range less
 * ip_local_reserved_ports): guarding it cuts the replies. Fills the range.
 */
bool iface_port_is_ephemeral(uint16_t port, unsigned int *ret_low, unsigned int *ret_high);

#endif
