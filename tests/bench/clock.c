// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long a command takes as a whole process, from fork to its end, without the shell or the
 * Python around it: milliseconds, one line for each run. What it prints is thrown away, by way of a
 * pipe where PIPE is given, as a reader would have it.
 *
 *   clock RUNS pipe|null COMMAND...
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void become(char **argv, int output)
{
    if (dup2(output, STDOUT_FILENO) < 0)
        _exit(126);
    execvp(argv[0], argv);
    _exit(127);
}

static void drain(int fd)
{
    static char bytes[1 << 16];

    while (read(fd, bytes, sizeof(bytes)) > 0)
        ;
}

static int run(char **argv, int piped, double *ret_ms)
{
    double start = now_ms();
    int ends[2] = {-1, -1}, status;
    pid_t child;

    if (piped ? pipe2(ends, O_CLOEXEC) < 0
              : (ends[1] = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)
        return -1;
    child = fork();
    if (child < 0)
        return -1;
    if (child == 0)
        become(argv, ends[1]);
    close(ends[1]);
    if (piped) {
        drain(ends[0]);
        close(ends[0]);
    }
    if (waitpid(child, &status, 0) != child)
        return -1;
    *ret_ms = now_ms() - start;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    long runs = argc > 3 ? strtol(argv[1], NULL, 10) : 0;

    if (runs < 1) {
        fprintf(stderr, "clock RUNS pipe|null COMMAND...\n");
        return 2;
    }
    while (runs-- > 0) {
        double ms = 0;
        int code = run(argv + 3, !strcmp(argv[2], "pipe"), &ms);

        /* 1: "no", an answer like others. */
        if (code != 0 && code != 1) {
            fprintf(stderr, "clock: %s: %s\n", argv[3], code < 0 ? strerror(errno) : "failed");
            return 2;
        }
        printf("%.3f\n", ms);
    }
    return 0;
}
