/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * policy: answers the relay's question whether an account may send from an address, on standard
 * input and output (Postfix's spawn(8), a systemd unit with Accept=yes) or for all who connect to
 * the listening sockets that systemd hands over. One process, one thread, no state but the open
 * store: it may be killed at any moment.
 *
 * Runs without privileges: it reads the store and knows nothing of the kernel half. Under spawn(8)
 * standard error is the client's connection too, so nothing is written there once it has started;
 * see out_log().
 *
 * Fails closed: what is not known is answered DEFER_IF_PERMIT, and never OK, which would end the
 * relay's own restrictions.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "admit.h"
#include "answers.h"
#include "cmd.h"
#include "handover.h"
#include "metrics.h"
#include "policy.h"

/* Postfix has 100 smtpd processes unless told otherwise, each with a connection of its own. */
#define CLIENTS_MAX 512

/*
 * For another process's write lock: well below the relay's time-out. Once for all: who asks while
 * it lasts is answered at once, or many who ask would wait for each other.
 */
#define PATIENCE_MS 2000

struct client {
    int in, out;
    bool is_socket;
    time_t active;
    char bytes[4096];
    size_t count, taken; /* of @bytes: read, and of those parsed */
    char answer[POLICY_ANSWER_MAX];
    size_t length, sent;
    struct policy_parser parser;
};

struct service {
    const struct cmd_context *ctx;
    const char *trouble;     /* the action when the list cannot be read */
    struct store *store;     /* NULL: to be opened with the next request */
    bool reading;            /* a transaction is open, for all that is asked in one round */
    bool in_trouble;         /* said in the log; no second word before it is over */
    struct answers *answers; /* counts them; may be NULL */
    time_t complained;       /* of a client's requests: once in a second, whoever sends them */
    int listeners[HANDOVER_MAX];
    size_t n_listeners;
    struct client *clients[CLIENTS_MAX];
    size_t n_clients;
};

/* ---- the decision ---- */

static void end_reading(struct service *service)
{
    if (service->reading)
        store_rollback(service->store);
    service->reading = false;
}

static void forget_store(struct service *service)
{
    end_reading(service);
    store_close(TAKE_PTR(service->store));
}

static void say_trouble(struct service *service, const struct err *e)
{
    if (!service->in_trouble)
        out_log("policy: %s", e->message[0] ? e->message : "the store cannot be read");
    service->in_trouble = true;
}

static unsigned int patience(const struct service *service)
{
    return service->in_trouble ? 0 : PATIENCE_MS;
}

/* The store may have been replaced by a copy, or removed, while it was open; or just written. */
static int need_store(struct service *service, struct err *e)
{
    int r;

    if (service->store && store_is_stale(service->store))
        forget_store(service);
    if (service->store)
        return 0;
    r = store_open_within(service->ctx->state, STORE_READ, patience(service), &service->store, e);
    if (r == -ENOENT)
        err_set(e, r, EXIT_REFUSED, "there is no store in %s", service->ctx->state);
    return r;
}

/*
 * An address as the relay gives it. A v4-mapped one came over IPv4, to a socket that takes both
 * (Linux drops packets with such a source). NULL what is no address, as Postfix's "unknown".
 */
static const struct addr *read_address(const char *text, struct addr *addr)
{
    static const char mapped[] = "::ffff:";
    bool is_mapped = !strncasecmp(text, mapped, sizeof(mapped) - 1) && strchr(text, '.') != NULL;

    if (addr_parse(is_mapped ? text + sizeof(mapped) - 1 : text, addr, NULL) < 0)
        return NULL;
    return !is_mapped || addr->family == ADDR_IP4 ? addr : NULL;
}

/*
 * Locking and looking whether the file has changed is half of the work of a decision, so it is done
 * once for all requests that are there together: the lock is gone before the next poll(2).
 */
static int begin_reading(struct service *service, struct err *e)
{
    int r = service->reading ? 0 : need_store(service, e);

    if (r < 0 || service->reading)
        return r;
    store_set_patience(service->store, patience(service));
    service->reading = true;
    return store_begin_read(service->store, e);
}

static int ask_store(struct service *service, const struct policy_request *request,
                     struct admission *ret_admission, struct err *e)
{
    struct addr addr;
    const struct addr *address = read_address(request->address, &addr);
    int r = begin_reading(service, e);

    if (r == 0)
        r = admit_account(service->store, request->login, address, time(NULL), ret_admission, e);
    if (r == -EBUSY)
        end_reading(service);
    else if (r < 0)
        forget_store(service);
    return r;
}

static size_t answer_refusal(const struct policy_request *request, char answer[POLICY_ANSWER_MAX])
{
    char login[CMD_ACCOUNT_MAX], address[POLICY_ADDRESS_MAX + 1], text[POLICY_ANSWER_MAX];

    text_escape_ascii(request->login, login, sizeof(login));
    text_escape_ascii(request->address, address, sizeof(address));
    snprintf(text, sizeof(text),
             "5.7.1 account %s may not send from %s; ask the mail administrator to list it", login,
             *address ? address : "an unknown address");
    return policy_answer("REJECT", text, answer);
}

static size_t answer_trouble(const char *action, const char *what, char answer[POLICY_ANSWER_MAX])
{
    char text[POLICY_ANSWER_MAX];

    if (!strcmp(action, "DUNNO"))
        return policy_answer(action, "", answer);
    snprintf(text, sizeof(text), "%s %s", !strcmp(action, "REJECT") ? "5.3.0" : "4.3.0", what);
    return policy_answer(action, text, answer);
}

/* Strangers do not fill the log. */
static void complain(struct service *service, const char *what)
{
    time_t now = time(NULL);

    if (now != service->complained)
        out_log("policy: %s", what);
    service->complained = now;
}

static size_t answer_request(struct service *service, const struct policy_request *request,
                             char answer[POLICY_ANSWER_MAX])
{
    bool opens = !strcmp(service->trouble, "DUNNO");
    struct admission admission;
    struct err e = {0};
    char why[128];

    /* Made so by whoever sends, perhaps: never a way around the list, whatever is set. */
    if (request->malformed) {
        snprintf(why, sizeof(why), "malformed request: %s", request->why);
        complain(service, why);
        answers_count(service->answers, METRICS_MALFORMED);
        return answer_trouble(opens ? "DEFER_IF_PERMIT" : service->trouble,
                              "the request cannot be understood", answer);
    }
    if (!*request->login) {
        answers_count(service->answers, METRICS_NO_LOGIN);
        return policy_answer("DUNNO", "", answer);
    }
    if (ask_store(service, request, &admission, &e) < 0) {
        say_trouble(service, &e);
        answers_count(service->answers, METRICS_TROUBLE);
        return answer_trouble(service->trouble,
                              strcmp(service->trouble, "REJECT") != 0
                                  ? "the list of allowed senders cannot be read; try again later"
                                  : "the list of allowed senders cannot be read",
                              answer);
    }
    if (service->in_trouble)
        out_log("policy: the store can be read again");
    service->in_trouble = false;
    answers_count(service->answers, admission.allowed ? METRICS_ALLOW : METRICS_REJECT);
    return admission.allowed ? policy_answer("DUNNO", "", answer) : answer_refusal(request, answer);
}

/* ---- one connection ---- */

static struct client *new_client(int in, int out)
{
    struct client *client = calloc(1, sizeof(*client));

    if (!client)
        return NULL;
    client->in = in;
    client->out = out;
    client->active = time(NULL);
    return client;
}

static void free_client(struct client *client)
{
    if (client->is_socket)
        close(client->in);
    free(client);
}

/* 1 all is sent, 0 the rest later, -errno. */
static int send_answer(struct client *client)
{
    while (client->sent < client->length) {
        ssize_t n =
            write(client->out, client->answer + client->sent, client->length - client->sent);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        client->sent += (size_t)n;
    }
    client->length = client->sent = 0;
    return 1;
}

/* 1 there are bytes, 0 none now, -errno; the end is -ENODATA. */
static int read_bytes(struct client *client)
{
    ssize_t n = read(client->in, client->bytes, sizeof(client->bytes));

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0 && !client->is_socket && policy_is_amid(&client->parser))
        out_log("policy: the input ended inside a request, which an empty line ends");
    client->count = (size_t)n;
    client->taken = 0;
    client->active = time(NULL);
    return n ? 1 : -ENODATA;
}

/* Parses what has been read, one answer at a time: a client that does not read gets no further. */
static int answer_bytes(struct service *service, struct client *client)
{
    while (client->taken < client->count) {
        size_t taken;
        enum policy_event event = policy_parse(&client->parser, client->bytes + client->taken,
                                               client->count - client->taken, &taken);
        int r;

        client->taken += taken;
        if (event == POLICY_ABUSE) {
            complain(service, "a request without end; the connection is closed");
            return -EPROTO;
        }
        if (event == POLICY_MORE)
            continue;
        client->length = answer_request(service, &client->parser.request, client->answer);
        policy_next(&client->parser);
        if (!client->is_socket)
            end_reading(service); /* writing may block, for as long as the client likes */
        r = send_answer(client);
        if (r <= 0)
            return r;
    }
    return 0;
}

/* When poll(2) says that something can be done. A negative value ends the connection. */
static int serve_client(struct service *service, struct client *client)
{
    int r = 1;

    if (client->length)
        r = send_answer(client);
    if (r == 1 && client->taken == client->count)
        r = read_bytes(client);
    return r == 1 ? answer_bytes(service, client) : r;
}

/* ---- all connections ---- */

static void drop_client(struct service *service, size_t at)
{
    free_client(service->clients[at]);
    service->clients[at] = service->clients[--service->n_clients];
}

/* The one that has been silent longest has to go; the relay connects again when it wants to ask. */
static void make_room(struct service *service)
{
    size_t i, idle = 0;

    for (i = 1; i < service->n_clients; i++)
        if (service->clients[i]->active < service->clients[idle]->active)
            idle = i;
    drop_client(service, idle);
}

/* False when there is none. A client that went away before it was accepted is no error. */
static bool accept_client(struct service *service, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *client;

    /* Out of descriptors, poll(2) would come back at once for ever. */
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && service->n_clients)
        make_room(service);
    if (fd < 0)
        return false;
    client = new_client(fd, fd);
    if (!client) {
        close(fd);
        return false;
    }
    client->is_socket = true;
    if (service->n_clients == CLIENTS_MAX)
        make_room(service);
    service->clients[service->n_clients++] = client;
    return true;
}

/*
 * All who wait: one in each round would have the last of a hundred wait for a hundred rounds. Not
 * for ever, though, as who is accepted wants an answer.
 */
static void accept_clients(struct service *service, int listener)
{
    unsigned int accepted = 0;

    while (accepted < CLIENTS_MAX / 4 && accept_client(service, listener))
        accepted++;
}

/* Clients first, then listeners. */
static size_t fill_polls(const struct service *service, struct pollfd *polls)
{
    size_t i, n = 0;

    for (i = 0; i < service->n_clients; i++) {
        const struct client *client = service->clients[i];

        polls[n++] = client->length ? (struct pollfd){.fd = client->out, .events = POLLOUT}
                                    : (struct pollfd){.fd = client->in, .events = POLLIN};
    }
    for (i = 0; i < service->n_listeners; i++)
        polls[n++] = (struct pollfd){.fd = service->listeners[i], .events = POLLIN};
    return n;
}

static int poll_once(struct service *service, struct err *e)
{
    struct pollfd polls[CLIENTS_MAX + HANDOVER_MAX];
    size_t i, n_clients = service->n_clients, n = fill_polls(service, polls);

    if (poll(polls, n, -1) < 0)
        return errno == EINTR ? 0 : err_set(e, -errno, EXIT_REFUSED, "poll: %s", strerror(errno));
    for (i = n_clients; i-- > 0;)
        if (polls[i].revents && serve_client(service, service->clients[i]) < 0)
            drop_client(service, i); /* the last one takes its place, and has been served */
    end_reading(service);
    for (i = 0; i < service->n_listeners; i++)
        if (polls[n_clients + i].revents)
            accept_clients(service, service->listeners[i]);
    return 0;
}

static void cleanup_service(struct service *service)
{
    while (service->n_clients)
        drop_client(service, service->n_clients - 1);
    forget_store(service);
    answers_close(TAKE_PTR(service->answers));
}

/* ---- starting ---- */

static int parse_trouble(const struct cmd_context *ctx, const char **ret_action, struct err *e)
{
    static const char *const actions[][2] = {
        {"defer", "DEFER_IF_PERMIT"}, {"reject", "REJECT"}, {"dunno", "DUNNO"}};
    const char *word = ctx->options[OPT_TROUBLE] ? ctx->options[OPT_TROUBLE] : "defer";
    char shown[64];
    size_t i;

    for (i = 0; i < ARRAY_SIZE(actions); i++)
        if (!strcmp(word, actions[i][0])) {
            *ret_action = actions[i][1];
            return 0;
        }
    err_set(e, 0, EXIT_USAGE, "\"%s\" is no answer to trouble",
            text_escape(word, shown, sizeof(shown)));
    err_hint(e, "--trouble defer, --trouble reject or --trouble dunno");
    return -EINVAL;
}

/* A client that goes away is no reason to end. */
static void ignore_broken_pipes(void)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &ignore, NULL);
}

int cmd_policy(const struct cmd_context *ctx, struct err *e)
{
    __attribute__((cleanup(cleanup_service))) struct service service = {.ctx = ctx};
    int r = parse_trouble(ctx, &service.trouble, e);

    if (r == 0)
        r = handover_take(service.listeners, &service.n_listeners, e);
    if (r < 0)
        return r;
    ignore_broken_pipes();
    service.answers = answers_open(ctx->state);
    if (!service.n_listeners) {
        service.clients[0] = new_client(STDIN_FILENO, STDOUT_FILENO);
        if (!service.clients[0])
            return cmd_fail_memory(e);
        service.n_clients = 1;
        if (isatty(STDIN_FILENO))
            out_note(&ctx->out, "reads Postfix's policy requests (name=value lines, then an empty"
                                " one) and answers them; the end of input ends it\n");
    }
    while (r == 0 && (service.n_listeners || service.n_clients))
        r = poll_once(&service, e);
    return r;
}
