/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Load for a policy service, and the least that could answer it.
 *
 *     policy_load load SOCKET FILE CONNECTIONS SECONDS RATE
 *
 * asks the requests of FILE (each ends with an empty line) over so many connections, each with one
 * question open at a time, as Postfix does, and prints one line of numbers: requests, seconds, the
 * 50th and 99th percentile and the maximum of the time to an answer (microseconds), answers DUNNO,
 * REJECT, others. With RATE 0 each connection asks again at once. Else so many questions a second
 * come due, whatever became of those before, and their time counts from then: a service that is
 * late has to account for those that waited.
 *
 *     policy_load respond
 *
 * answers DUNNO at once to whoever connects to the listening descriptor 3: what cannot be beaten
 * with these system calls. Knows nothing of lists.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1000
#define SAMPLES_MAX     (1U << 24)
#define EVENTS          64

static int die(const char *what)
{
    fprintf(stderr, "policy_load: %s: %s\n", what, strerror(errno));
    return 1;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static int watch(int poll, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = what}};

    return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

/* ---- load ---- */

struct text {
    const char *at;
    size_t len;
};

struct requests {
    struct text *all;
    size_t count;
};

struct connection {
    int fd;
    size_t next; /* request */
    uint64_t due, asked;
    bool waits; /* for an answer */
    char answer[1024];
    size_t got;
};

struct result {
    uint32_t *samples; /* nanoseconds */
    size_t count;
    unsigned long dunno, reject, other;
};

static int read_requests(const char *path, struct requests *ret_requests)
{
    struct requests requests = {0};
    struct stat st;
    char *text, *at, *end;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    text = calloc(1, (size_t)st.st_size + 1);
    requests.all = calloc((size_t)st.st_size / 8 + 1, sizeof(*requests.all));
    if (!text || !requests.all || read(fd, text, (size_t)st.st_size) != st.st_size)
        return -1;
    close(fd);
    for (at = text; (end = strstr(at, "\n\n")); at = end + 2)
        requests.all[requests.count++] = (struct text){at, (size_t)(end - at) + 2};
    *ret_requests = requests;
    return requests.count ? 0 : -1;
}

static int ask(struct connection *connection, const struct requests *requests)
{
    const struct text *text = &requests->all[connection->next];

    connection->next = (connection->next + 1) % requests->count;
    connection->got = 0;
    connection->waits = true;
    connection->asked = connection->due ? connection->due : now_ns();
    return write(connection->fd, text->at, text->len) == (ssize_t)text->len ? 0 : -1;
}

/* 1 the answer is complete, 0 not yet. */
static int take_answer(struct connection *connection, struct result *result)
{
    ssize_t n = read(connection->fd, connection->answer + connection->got,
                     sizeof(connection->answer) - connection->got);
    uint64_t took;

    if (n <= 0)
        return -1;
    connection->got += (size_t)n;
    if (connection->got < 2 || memcmp(connection->answer + connection->got - 2, "\n\n", 2) != 0)
        return 0;
    connection->waits = false;
    took = now_ns() - connection->asked;
    if (result->count < SAMPLES_MAX)
        result->samples[result->count++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    if (!memcmp(connection->answer, "action=DUNNO\n", 13))
        result->dunno++;
    else if (!memcmp(connection->answer, "action=REJECT ", 14))
        result->reject++;
    else
        result->other++;
    return 1;
}

static int open_connection(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -1;
    return fd;
}

/* Takes the answers that are there; -1 also when a next question cannot be asked. */
static int take_answers(int poll, int patience_ms, const struct requests *requests, bool ask_again,
                        struct result *result)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(poll, events, EVENTS, patience_ms);

    for (int i = 0; i < n; i++) {
        int r = take_answer(events[i].data.ptr, result);

        if (r < 0 || (r && ask_again && ask(events[i].data.ptr, requests) < 0))
            return -1;
    }
    return 0;
}

static int run(int poll, const struct requests *requests, uint64_t end, struct result *result)
{
    while (now_ns() < end)
        if (take_answers(poll, 1000, requests, true, result) < 0)
            return -1;
    return 0;
}

/* Each connection in turn has a question due every @step. */
static int run_paced(int poll, const struct requests *requests, struct connection *all,
                     long connections, uint64_t start, double rate, uint64_t end,
                     struct result *result)
{
    double step = 1e9 / rate;
    uint64_t number = 0;

    while (now_ns() < end) {
        struct connection *connection = &all[number % (uint64_t)connections];
        uint64_t due = start + (uint64_t)(step * (double)number);

        if (now_ns() >= due && !connection->waits) {
            connection->due = due;
            if (ask(connection, requests) < 0)
                return -1;
            number++;
        }
        if (take_answers(poll, 0, requests, false, result) < 0)
            return -1;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void report(struct result *result, uint64_t took)
{
    size_t n = result->count, last = n - 1, half = n / 2, high = last - n / 100;

    qsort(result->samples, n, sizeof(*result->samples), compare);
    printf("%zu %.3f %.1f %.1f %.1f %lu %lu %lu\n", n, (double)took / 1e9,
           result->samples[half] / 1e3, result->samples[high] / 1e3, result->samples[last] / 1e3,
           result->dunno, result->reject, result->other);
}

static int load(const char *path, const char *file, long connections, double seconds, double rate)
{
    struct connection *all = calloc((size_t)connections, sizeof(*all));
    struct result result = {.samples = calloc(SAMPLES_MAX, sizeof(*result.samples))};
    struct requests requests;
    int poll = epoll_create1(EPOLL_CLOEXEC), r;
    uint64_t start, end;

    if (!all || !result.samples || poll < 0 || read_requests(file, &requests) < 0)
        return die(file);
    for (long i = 0; i < connections; i++) {
        all[i].fd = open_connection(path);
        all[i].next = (size_t)i * 7919 % requests.count;
        if (all[i].fd < 0 || watch(poll, all[i].fd, &all[i]) < 0)
            return die(path);
    }
    start = now_ns();
    end = start + (uint64_t)(seconds * 1e9);
    for (long i = 0; rate <= 0 && i < connections; i++)
        if (ask(&all[i], &requests) < 0)
            return die("write");
    r = rate > 0 ? run_paced(poll, &requests, all, connections, start, rate, end, &result)
                 : run(poll, &requests, end, &result);
    if (r < 0 || !result.count)
        return die("read");
    report(&result, now_ns() - start);
    return 0;
}

/* ---- respond ---- */

/* Nobody here sends more than one request at a time, so its end is where the bytes end. */
static int answer(int fd)
{
    static const char dunno[] = "action=DUNNO\n\n";
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof(bytes));

    if (n <= 0)
        return -1;
    if (n >= 2 && !memcmp(bytes + n - 2, "\n\n", 2))
        return write(fd, dunno, sizeof(dunno) - 1) > 0 ? 0 : -1;
    return 0;
}

static int respond(int listener)
{
    static int fds[CONNECTIONS_MAX * 4];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS];

    signal(SIGPIPE, SIG_IGN);
    if (poll < 0 || watch(poll, listener, &listener) < 0)
        return die("listen");
    for (;;) {
        int n = epoll_wait(poll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            int *fd = events[i].data.ptr;

            if (fd == &listener) {
                int new = accept(listener, NULL, NULL);

                if (new < 0 || new >= CONNECTIONS_MAX * 4)
                    return die("accept");
                fds[new] = new;
                watch(poll, new, &fds[new]);
            } else if (answer(*fd) < 0) {
                close(*fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    long connections = argc == 7 ? strtol(argv[4], NULL, 10) : 0;

    if (argc == 2 && !strcmp(argv[1], "respond"))
        return respond(3);
    if (connections > 0 && connections <= CONNECTIONS_MAX && !strcmp(argv[1], "load"))
        return load(argv[2], argv[3], connections, strtod(argv[5], NULL), strtod(argv[6], NULL));
    fprintf(stderr,
            "policy_load load SOCKET FILE CONNECTIONS SECONDS RATE | policy_load respond\n");
    return 2;
}
