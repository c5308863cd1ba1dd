/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See names.h. The C library's resolver has no limit in time that holds for all it may be set up to
 * ask, and cannot be called off; a process can.
 */
#include "names.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "pace.h"
#include "rights.h"
#include "util.h"

/* A resolver asks a second server when the first has been silent for 5 s. */
#define WAIT_MS 8000

/* What a process tells: less than a pipe takes as a whole. */
struct answer {
    size_t index;
    char name[NAMES_TEXT_MAX];
};

/* ---- in a process of its own ---- */

static bool look_up(const struct addr *address, char name[NAMES_TEXT_MAX])
{
    struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6};
    struct sockaddr_in ip4 = {.sin_family = AF_INET};
    bool is_ip4 = address->family == ADDR_IP4;

    memcpy(&ip4.sin_addr, address->bytes, sizeof(ip4.sin_addr));
    memcpy(&ip6.sin6_addr, address->bytes, sizeof(ip6.sin6_addr));
    return getnameinfo(is_ip4 ? (struct sockaddr *)&ip4 : (struct sockaddr *)&ip6,
                       is_ip4 ? sizeof(ip4) : sizeof(ip6), name, NAMES_TEXT_MAX, NULL, 0,
                       NI_NAMEREQD) == 0;
}

/* @parent: who ends before this runs is not waited for by anybody. */
static void tell(const struct addr *address, size_t index, int fd, pid_t parent)
{
    struct answer answer = {.index = index};

    (void)rights_drop(); /* where that is refused few are left */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        return;
    if (look_up(address, answer.name))
        (void)!write(fd, &answer, sizeof(answer));
}

/* ---- and here ---- */

static pid_t start(const struct addr *address, size_t index, int fd)
{
    pid_t parent = getpid(), child = fork();

    if (child == 0) {
        tell(address, index, fd, parent);
        _exit(0);
    }
    return child;
}

/* Until all have ended, or the time is over. */
static void collect(int fd, size_t count, char (*ret_names)[NAMES_TEXT_MAX])
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    int64_t left, end = pace_now() + WAIT_MS;
    struct answer answer;

    while ((left = end - pace_now()) > 0) {
        int r = poll(&wanted, 1, (int)left);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0 || read(fd, &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
            return;
        if (answer.index < count)
            snprintf(ret_names[answer.index], NAMES_TEXT_MAX, "%.*s", NAMES_TEXT_MAX - 1,
                     answer.name);
    }
}

static void end_all(const pid_t *children, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        if (children[i] > 0)
            kill(children[i], SIGKILL);
    for (i = 0; i < count; i++)
        while (children[i] > 0 && waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
            ;
}

void names_find(const struct addr *addresses, size_t count, char (*ret_names)[NAMES_TEXT_MAX])
{
    _cleanup_close_ int answers = -1, tell_to = -1;
    pid_t children[NAMES_MAX];
    size_t i, asked = count < NAMES_MAX ? count : NAMES_MAX;
    int ends[2];

    for (i = 0; i < count; i++)
        ret_names[i][0] = '\0';
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    answers = ends[0];
    tell_to = ends[1];
    for (i = 0; i < asked; i++)
        children[i] = start(&addresses[i], i, tell_to);
    cleanup_close(&tell_to); /* so that the end of the last one is seen */
    tell_to = -1;
    collect(answers, count, ret_names);
    end_all(children, asked);
}
