/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where to listen, as typed, and listening there. Names are never resolved. Knows nothing of what
 * is spoken there.
 */
#ifndef SMTPGATE_ENDPOINT_H
#define SMTPGATE_ENDPOINT_H

#include <stdint.h>

#include "addr.h"
#include "err.h"

struct endpoint {
    struct addr address;
    uint16_t port;
};

/* "127.0.0.1:10465", "[::1]:10465". -EINVAL, EXIT_USAGE. */
int endpoint_parse(const char *text, struct endpoint *ret_endpoint, struct err *e);

/* A socket that listens there and does not block. "::" takes IPv4 too. */
int endpoint_listen(const struct endpoint *endpoint, int *ret_fd, struct err *e);

#endif
