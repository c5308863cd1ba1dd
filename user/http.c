/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See http.h.
 *
 * One thread: libmicrohttpd hands out the descriptor that becomes readable when it has something to
 * do, and does it when it is told to. Whoever connects gets so much time, memory and connections
 * and no more.
 */
#include "http.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define LIBRARY "libmicrohttpd.so.12"

#define LISTENERS_MAX 8

/* Of one listener. Prometheus keeps one connection open; the others wait in the kernel's queue. */
#define CONNECTIONS_MAX 128U
/* One address shall not keep the others out. */
#define CONNECTIONS_EACH 32U
/* Silent for longer, and a connection is closed; longer than the usual 60 s between two scrapes. */
#define IDLE_SECONDS 75U
/* Of a connection, its request's head included. */
#define CONNECTION_MEMORY ((size_t)16 * 1024)

/* ---- libmicrohttpd ---- */

#define FUNCTIONS(X)               \
    X(start_daemon)                \
    X(stop_daemon)                 \
    X(run)                         \
    X(get_timeout)                 \
    X(get_daemon_info)             \
    X(lookup_connection_value)     \
    X(create_response_from_buffer) \
    X(add_response_header)         \
    X(queue_response)              \
    X(destroy_response)

struct api {
#define X(name) __typeof__(MHD_##name) *name;
    FUNCTIONS(X)
#undef X
};

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
#define X(name) {"MHD_" #name, offsetof(struct api, name)},
    FUNCTIONS(X)
#undef X
};

struct http {
    struct api mhd;
    struct MHD_Daemon *daemons[LISTENERS_MAX];
    size_t n_daemons;
    http_get_fn *get;
    void *arg;
};

static int load(struct api *ret_api, struct err *e)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    bool found = library != NULL;
    size_t i;

    for (i = 0; found && i < ARRAY_SIZE(symbols); i++) {
        void *symbol = dlsym(library, symbols[i].name);

        found = symbol != NULL;
        memcpy((char *)ret_api + symbols[i].offset, &symbol, sizeof(symbol));
    }
    if (found)
        return 0;
    err_set(e, 0, EXIT_REFUSED, "there is no usable " LIBRARY " here, which speaks HTTP");
    err_hint(e, "apt install libmicrohttpd12; or without it: smtpgate metrics --textfile FILE");
    return -ENOPKG;
}

/* ---- one request ---- */

static enum MHD_Result reply(struct http *http, struct MHD_Connection *connection,
                             const struct http_answer *answer)
{
    struct MHD_Response *response = http->mhd.create_response_from_buffer(
        answer->length, (void *)answer->body, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result done;

    if (!response)
        return MHD_NO;
    http->mhd.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
    http->mhd.add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        http->mhd.add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    done = http->mhd.queue_response(connection, answer->status, response);
    http->mhd.destroy_response(response);
    return done;
}

/*
 * libmicrohttpd calls it with the request's head, then with each part of a body, which means
 * nothing here, and then, *state being set, for the answer.
 */
static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    static const char refused[] = "GET and HEAD only\n";
    struct http *http = arg;
    struct http_answer answer = {MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", refused,
                                 sizeof(refused) - 1};
    const char *accept;

    (void)version;
    (void)upload;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return reply(http, connection, &answer);
    if (!*state || *upload_size) {
        *state = http;
        *upload_size = 0; /* taken, and forgotten */
        return MHD_YES;
    }
    accept = http->mhd.lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    http->get(url, accept ? accept : "", &answer, http->arg);
    return reply(http, connection, &answer);
}

/* ---- all of them ---- */

static int start(struct http *http, int listener, struct err *e)
{
    struct MHD_Daemon *daemon = http->mhd.start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, handle, http, MHD_OPTION_LISTEN_SOCKET, listener,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        CONNECTIONS_EACH, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_END);

    if (!daemon) {
        close(listener);
        return err_set(e, -EIO, EXIT_REFUSED, "libmicrohttpd cannot serve: %s", strerror(errno));
    }
    http->daemons[http->n_daemons++] = daemon;
    return 0;
}

int http_open(const int *listeners, size_t n, http_get_fn *get, void *arg, struct http **ret_http,
              struct err *e)
{
    _cleanup_(http_close) struct http *http = calloc(1, sizeof(*http));
    size_t i;
    int r;

    if (!http)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    http->get = get;
    http->arg = arg;
    r = load(&http->mhd, e);
    for (i = 0; r == 0 && i < n && i < LISTENERS_MAX; i++)
        r = start(http, listeners[i], e);
    if (r == 0)
        *ret_http = TAKE_PTR(http);
    return r;
}

static size_t count_connections(struct http *http)
{
    size_t i, count = 0;

    for (i = 0; i < http->n_daemons; i++)
        count += http->mhd.get_daemon_info(http->daemons[i], MHD_DAEMON_INFO_CURRENT_CONNECTIONS)
                     ->num_connections;
    return count;
}

/*
 * Whether one more may connect, after as many as may be, is decided at the beginning of a round, so
 * one that closed some is followed by another: else nothing would wake the process up for those who
 * wait to be let in.
 */
static void serve(struct http *http)
{
    size_t i, before;

    do {
        before = count_connections(http);
        for (i = 0; i < http->n_daemons; i++)
            http->mhd.run(http->daemons[i]);
    } while (count_connections(http) < before);
}

/* Until the first connection's time is over, in milliseconds; -1: there is none. */
static int patience(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG ms, least = 60000;
    bool any = false;
    size_t i;

    for (i = 0; i < http->n_daemons; i++)
        if (http->mhd.get_timeout(http->daemons[i], &ms) == MHD_YES) {
            least = ms < least ? ms : least;
            any = true;
        }
    return any ? (int)least : -1;
}

int http_serve(struct http *http, int until, struct err *e)
{
    struct pollfd polls[LISTENERS_MAX + 1] = {{.fd = until, .events = POLLIN}};
    size_t i;

    for (i = 0; i < http->n_daemons; i++)
        polls[i + 1] = (struct pollfd){
            .fd = http->mhd.get_daemon_info(http->daemons[i], MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
            .events = POLLIN};
    do {
        if (poll(polls, http->n_daemons + 1, patience(http)) < 0 && errno != EINTR)
            return err_set(e, -errno, EXIT_REFUSED, "poll: %s", strerror(errno));
        serve(http);
    } while (!polls[0].revents);
    return 0;
}

void http_close(struct http *http)
{
    size_t i;

    if (!http)
        return;
    for (i = 0; i < http->n_daemons; i++)
        http->mhd.stop_daemon(http->daemons[i]);
    free(http);
}
