/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the host's network says: whether an interface can carry the gate, who listens, which
 * addresses there are and what lies below an interface, which ports the host itself uses. Reads
 * only; knows nothing of BPF.
 */
#ifndef SMTPGATE_IFACE_H
#define SMTPGATE_IFACE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "err.h"

/*
 * @ret_ifindex of an interface of this network namespace that has Ethernet headers. A name that
 * does not exist: EXIT_USAGE; a device without Ethernet headers (the program would misread every
 * packet): EXIT_REFUSED, both with a hint.
 */
int iface_check(const char *name, uint32_t *ret_ifindex, struct err *e);

/*
 * Whether @name means the device that is called @called: it may be an alternative name
 * (ip-link(8) property altname; udev gives them), which the kernel takes wherever a name is wanted.
 * Two names of no device are compared as they are written.
 */
bool iface_is_called(const char *name, const char *called);

/* A TCP socket that listens. One on "::" may take IPv4 too. */
struct iface_listener {
    struct addr address; /* v4-mapped ones come as IPv4 */
    uint16_t port;
};

/* Ascending by port, each port and address once. The caller frees @ret_listeners. */
int iface_read_listeners(struct iface_listener **ret_listeners, size_t *ret_count, struct err *e);

/* An address of an interface that is up. */
struct iface_address {
    char name[IF_NAMESIZE];
    uint32_t ifindex;
    struct addr address;
    uint8_t len;      /* of the network that it is in there: 24, 64 */
    bool on_loopback; /* the interface is lo, whatever the address */
};

/* The caller frees @ret_addresses. */
int iface_read_addresses(struct iface_address **ret_addresses, size_t *ret_count, struct err *e);

/* 0.0.0.0 or :: */
bool iface_is_any(const struct addr *address);
/* 127.0.0.0/8 or ::1 */
bool iface_is_loopback(const struct addr *address);
/* fe80::/10 */
bool iface_is_link_local(const struct addr *address);

enum iface_kind {
    IFACE_OWN,   /* what it receives is first seen there */
    IFACE_UPPER, /* VLAN, bridge, bond and the like: the devices below it see the frames first, as
                  * they are (what comes out of a tunnel or of MACsec they do not see) */
    IFACE_INERT, /* nothing arrives on it from outside: loopback, dummy */
};

enum iface_kind iface_find_kind(const char *name);

/* The driver's name as ethtool -i prints it, "" unknown. */
#define IFACE_DRIVER_MAX 33
void iface_read_driver(const char *name, char ret_driver[IFACE_DRIVER_MAX]);

/* 0 unknown. */
unsigned int iface_read_mtu(const char *name);

/* Interface numbers of the devices right below; -E2BIG when there are more than fit. */
#define IFACE_LOWER_MAX 64
int iface_read_lower(const char *name, uint32_t ret_lower[IFACE_LOWER_MAX], size_t *ret_count);

/* Somebody listens on TCP @port (host order) on another address than loopback. */
bool iface_port_is_open(uint16_t port);

/*
 * The host takes @port for its own outgoing connections (ip_local_port_range less
 * ip_local_reserved_ports): guarding it cuts the replies. Fills the range.
 */
bool iface_port_is_ephemeral(uint16_t port, unsigned int *ret_low, unsigned int *ret_high);

#endif
