/* SPDX-License-Identifier: GPL-2.0-only */
/* See handover.h. */
#include "handover.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"

/* As sd_listen_fds(3) counts. */
#define FIRST 3

/* How many descriptors, from FIRST on. */
static size_t count_fds(void)
{
    const char *pid = secure_getenv("LISTEN_PID"), *fds = secure_getenv("LISTEN_FDS");
    unsigned long count;

    if (!pid || !fds || strtoul(pid, NULL, 10) != (unsigned long)getpid())
        return 0;
    count = strtoul(fds, NULL, 10);
    return count > HANDOVER_MAX ? HANDOVER_MAX : count;
}

int handover_take(int ret_fds[HANDOVER_MAX], size_t *ret_count, struct err *e)
{
    size_t i, n = count_fds();

    for (i = 0; i < n; i++) {
        int fd = FIRST + (int)i, listens = 0;
        socklen_t len = sizeof(listens);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || !listens) {
            err_set(e, 0, EXIT_USAGE, "descriptor %d from systemd is no listening socket", fd);
            err_hint(e, "in the socket unit: ListenStream= and Accept=no");
            return -EINVAL;
        }
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return err_set(e, -errno, EXIT_REFUSED, "descriptor %d: %s", fd, strerror(errno));
        ret_fds[i] = fd;
    }
    *ret_count = n;
    return 0;
}
