/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exporter: metrics over HTTP. Two processes over a pair of sockets:
 *
 *   parent  keeps the rights that reading BPF maps needs; writes the metrics down when it is asked
 *           to by one byte, which says the format; never reads anything that a stranger wrote
 *   child   has given up all rights before it loads the HTTP library; speaks to the network, and
 *           keeps what it was told for a second, however many ask
 *
 * Each ends when the other does. No signal is caught: there is nothing to clean up.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cmd.h"
#include "endpoint.h"
#include "handover.h"
#include "http.h"
#include "pace.h"
#include "rights.h"
#include "scrape.h"

/* Whose rights the child has, if there is such a user: not one who may read the list. */
#define CHILD_USER "smtpgate-exporter"

#define FRESH_MS 1000

/* Waiting for the other process to read or write; a store that is locked takes some seconds. */
#define PATIENCE_S 60

/* More than any number of interfaces comes to. */
#define TEXT_MAX (16U << 20)

/* What the parent answers; @length bytes follow. */
struct reply_head {
    uint32_t failed, length;
};

/* ---- over the pair ---- */

static bool send_all(int fd, const void *bytes, size_t length)
{
    const char *from = bytes;

    while (length) {
        ssize_t n = send(fd, from, length, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        length -= (size_t)n;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t length)
{
    char *to = bytes;

    while (length) {
        ssize_t n = recv(fd, to, length, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        length -= (size_t)n;
    }
    return true;
}

/* ---- the child ---- */

struct page {
    bool filled, failed;
    int64_t at; /* ms of CLOCK_MONOTONIC */
    char *text;
    size_t length;
};

struct front {
    int channel;
    struct page pages[METRICS_OPENMETRICS + 1]; /* by format */
};

static bool ask_parent(int channel, enum metrics_format format, struct page *page)
{
    const char byte = (char)format;
    struct reply_head head;
    char *text;

    if (!send_all(channel, &byte, 1) || !receive_all(channel, &head, sizeof(head)) ||
        head.length > TEXT_MAX)
        return false;
    text = malloc(head.length + 1);
    if (!text || !receive_all(channel, text, head.length)) {
        free(text);
        return false;
    }
    free(page->text);
    page->text = text;
    page->length = head.length;
    page->failed = head.failed;
    page->at = pace_now();
    page->filled = true;
    return true;
}

static void answer_metrics(struct front *front, enum metrics_format format,
                           struct http_answer *ret_answer)
{
    static const char failed[] = "the metrics cannot be read; the host's log says why\n";
    static const char *const types[] = {
        [METRICS_PROMETHEUS] = "text/plain; version=0.0.4; charset=utf-8",
        [METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8"};
    struct page *page = &front->pages[format];

    /* Without a parent to ask, this is the last answer: the end of the channel ends the process. */
    if ((!page->filled || pace_now() - page->at >= FRESH_MS) &&
        !ask_parent(front->channel, format, page)) {
        page->failed = true;
        shutdown(front->channel, SHUT_RDWR);
    }
    if (page->failed)
        *ret_answer =
            (struct http_answer){500, "text/plain; charset=utf-8", failed, sizeof(failed) - 1};
    else
        *ret_answer = (struct http_answer){200, types[format], page->text, page->length};
}

static void answer_get(const char *path, const char *accept, struct http_answer *ret_answer,
                       void *arg)
{
    static const char home[] = "<!DOCTYPE html><html lang=\"en\"><title>smtpgate</title>"
                               "<p>smtpgate exporter: <a href=\"/metrics\">metrics</a></html>\n";
    static const char missing[] = "there is only /metrics\n";

    if (!strcmp(path, "/metrics"))
        answer_metrics(arg,
                       strcasestr(accept, "application/openmetrics-text") ? METRICS_OPENMETRICS
                                                                          : METRICS_PROMETHEUS,
                       ret_answer);
    else if (!strcmp(path, "/"))
        *ret_answer = (struct http_answer){200, "text/html; charset=utf-8", home, sizeof(home) - 1};
    else
        *ret_answer =
            (struct http_answer){404, "text/plain; charset=utf-8", missing, sizeof(missing) - 1};
}

/* What the parent prints to, and a terminal that it may have, which could be made to type. */
static int leave_terminal(struct err *e)
{
    _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fd;

    for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (null < 0 || dup2(null, fd) < 0)
            return err_set(e, -errno, EXIT_REFUSED, "cannot open /dev/null: %s", strerror(errno));
    return setsid() < 0 ? err_set(e, -errno, EXIT_REFUSED, "setsid: %s", strerror(errno)) : 0;
}

static int prepare_child(pid_t parent, struct err *e)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    int r = leave_terminal(e);

    if (r < 0)
        return r;
    if (!rights_drop_all(CHILD_USER)) {
        err_set(e, 0, EXIT_REFUSED, "the process that speaks HTTP cannot give up its rights");
        err_hint(e, "in a unit it needs CAP_SETUID and CAP_SETGID, or a User= other than root");
        return -EPERM;
    }
    sigaction(SIGPIPE, &ignore, NULL);
    /* After the change of user, which clears it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        return err_set(e, -ESRCH, EXIT_REFUSED, "the parent process has ended");
    return 0;
}

/* Says first whether it is ready, by an error or one without a code. */
static int run_child(const int *listeners, size_t n, int channel, pid_t parent)
{
    _cleanup_(http_close) struct http *http = NULL;
    struct front front = {.channel = channel};
    struct err e = {0};
    int r = prepare_child(parent, &e);

    if (r == 0)
        r = http_open(listeners, n, answer_get, &front, &http, &e);
    if (r == 0)
        e = (struct err){0};
    if (!send_all(channel, &e, sizeof(e)) || r < 0)
        return 1;
    return http_serve(http, channel, NULL) < 0;
}

/* ---- the parent ---- */

struct back {
    const struct cmd_context *ctx;
    int channel;
    bool in_trouble; /* said in the log; no second word before it is over */
};

static void say(struct back *back, const char *trouble)
{
    if (*trouble && !back->in_trouble)
        out_log("exporter: %s", trouble);
    if (!*trouble && back->in_trouble)
        out_log("exporter: all can be read again");
    back->in_trouble = *trouble != '\0';
}

static bool answer_child(struct back *back, enum metrics_format format)
{
    _cleanup_scrape_ struct metrics metrics = {0};
    _cleanup_free_ char *text = NULL;
    struct err e = {0}, trouble = {0};
    struct reply_head head = {0};
    size_t length = 0;
    int r = scrape(back->ctx->state, back->ctx->bpffs, &metrics, &trouble, &e);

    if (r == 0 && metrics_render(&metrics, format, &text, &length) < 0)
        r = cmd_fail_memory(&e);
    say(back, r < 0 ? e.message : trouble.message);
    if (r < 0 || length > TEXT_MAX) {
        head.failed = 1;
        length = 0;
    }
    head.length = (uint32_t)length;
    return send_all(back->channel, &head, sizeof(head)) && send_all(back->channel, text, length);
}

static int wait_ready(int channel, struct err *e)
{
    struct err said;

    if (!receive_all(channel, &said, sizeof(said)))
        return err_set(e, -ECHILD, EXIT_REFUSED, "the process that speaks HTTP did not start");
    if (said.code == EXIT_DONE)
        return 0;
    said.message[sizeof(said.message) - 1] = said.hint[sizeof(said.hint) - 1] = '\0';
    *e = said;
    return -ECHILD;
}

static bool has_gate(const struct cmd_context *ctx)
{
    _cleanup_(gate_close) struct gate *gate = NULL;

    return gate_open(ctx->bpffs, false, &gate, NULL) == 0 && gate_is_claimed(gate);
}

/* Once, to whoever started it: a scraper would only see that something is not there. */
static void warn_missing(const struct cmd_context *ctx)
{
    _cleanup_scrape_ struct metrics metrics = {0};
    struct err e = {0}, trouble = {0};
    char shown[512], hint[512];

    if (scrape(ctx->state, ctx->bpffs, &metrics, &trouble, &e) < 0)
        out_warn(&ctx->out, "as it is now, every scrape is answered 500: %s%s%s\n",
                 text_escape(e.message, shown, sizeof(shown)), *e.hint ? "; hint: " : "",
                 text_escape(e.hint, hint, sizeof(hint)));
    else if (trouble.message[0])
        out_warn(&ctx->out, "%s; only what the kernel knows is told\n",
                 text_escape(trouble.message, shown, sizeof(shown)));
    else if (!has_gate(ctx))
        out_warn(&ctx->out,
                 "there is no gate in %s that can be read, so what is told is that it is off:"
                 " smtpgate status\n",
                 text_escape(ctx->bpffs, shown, sizeof(shown)));
}

/* Until the child is gone. Waiting for the byte has no limit, so a signal is all that is polled. */
static void serve_child(struct back *back)
{
    char byte;

    for (;;) {
        ssize_t n = recv(back->channel, &byte, 1, 0);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0 || byte < METRICS_PROMETHEUS || byte > METRICS_OPENMETRICS ||
            !answer_child(back, (enum metrics_format)byte))
            return;
    }
}

/* That it was told to end is no failure. */
static int end_child(pid_t child, int channel, bool was_ready, struct err *e)
{
    int status = 0;

    shutdown(channel, SHUT_RDWR);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!was_ready)
        return -ECHILD;
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT))
        return 0;
    return err_set(e, -ECHILD, EXIT_REFUSED, "the process that speaks HTTP has ended");
}

/* ---- starting ---- */

struct sockets {
    int fds[HANDOVER_MAX];
    size_t n;
};

static void close_sockets(struct sockets *sockets)
{
    while (sockets->n)
        close(sockets->fds[--sockets->n]);
}

static int take_sockets(const struct cmd_context *ctx, struct sockets *sockets, struct err *e)
{
    const char *listen = ctx->options[OPT_LISTEN];
    struct endpoint endpoint;
    int r;

    if (!listen) {
        r = handover_take(sockets->fds, &sockets->n, e);
        if (r < 0 || sockets->n)
            return r;
        err_set(e, 0, EXIT_USAGE, "where shall it listen?");
        err_hint(e, "smtpgate exporter --listen 127.0.0.1:10465");
        return -EINVAL;
    }
    r = endpoint_parse(listen, &endpoint, e);
    if (r == 0)
        r = endpoint_listen(&endpoint, &sockets->fds[0], e);
    sockets->n = r == 0;
    return r;
}

static int make_pair(int ret_fds[2], struct err *e)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    int i;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds) < 0)
        return err_set(e, -errno, EXIT_REFUSED, "socketpair: %s", strerror(errno));
    for (i = 0; i < 2; i++) {
        setsockopt(ret_fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(ret_fds[i], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    }
    return 0;
}

int cmd_exporter(const struct cmd_context *ctx, struct err *e)
{
    __attribute__((cleanup(close_sockets))) struct sockets sockets = {0};
    _cleanup_close_ int channel = -1;
    struct back back = {.ctx = ctx};
    pid_t parent = getpid(), child;
    int ends[2], r = take_sockets(ctx, &sockets, e);

    if (r == 0)
        r = make_pair(ends, e);
    if (r < 0)
        return r;
    child = fork();
    if (child == 0) {
        close(ends[0]);
        _exit(run_child(sockets.fds, sockets.n, ends[1], parent));
    }
    close(ends[1]);
    back.channel = channel = ends[0];
    if (child < 0)
        return err_set(e, -errno, EXIT_REFUSED, "cannot start a process: %s", strerror(errno));
    close_sockets(&sockets);
    r = wait_ready(channel, e);
    if (r == 0) {
        if (ctx->options[OPT_LISTEN])
            out_note(&ctx->out, "http://%s/metrics, until it is ended\n", ctx->options[OPT_LISTEN]);
        warn_missing(ctx);
        serve_child(&back);
    }
    return end_child(child, channel, r == 0, e);
}
