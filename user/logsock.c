/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See logsock.h. A datagram socket that is connected can be written to when the queue of the other
 * one has room, which is what a message of anybody waits for.
 */
#include "logsock.h"

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "pace.h"
#include "util.h"

#define WAIT_MS 1000

/* A signal does not begin the wait anew. */
static bool has_room(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};
    int64_t left, end = pace_now() + WAIT_MS;

    while ((left = end - pace_now()) > 0) {
        int r = poll(&wanted, 1, (int)left);

        if (r < 0 && errno == EINTR)
            continue;
        return r == 1 && (wanted.revents & POLLOUT);
    }
    return false;
}

bool logsock_takes(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int kind = SOCK_DGRAM, i;

    snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    for (i = 0; i < 2; i++) {
        _cleanup_close_ int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
            return true;
        if (connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
            return has_room(fd);
        if (errno != EPROTOTYPE)
            return errno != EAGAIN; /* it has too many callers already */
        kind = SOCK_STREAM;         /* as some loggers have it */
    }
    return true;
}
