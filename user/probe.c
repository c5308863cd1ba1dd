/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See probe.h.
 *
 * libcurl's CONNECT_ONLY carries a connection through greeting, EHLO, STARTTLS and the second EHLO;
 * the lines come by its header function. What follows is sent and received here. One loop drives
 * all connections, so that one limit in time holds for all of them.
 *
 * libcurl brings some thirty libraries along. They are loaded when a question is asked, not at each
 * start of a small privileged program.
 */
#include "probe.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "pace.h"
#include "text.h"
#include "util.h"

#define LIBRARY "libcurl.so.4"

/* Milliseconds for one way (plain or TLS) of asking one port. */
#define PATIENCE 3000
/* For the first way: some servers let a client wait before they greet it (sendmail's greet_pause).
 */
#define PATIENCE_FIRST 7000
/* Once it has greeted: postscreen(8) of Postfix lets a client wait 6 s behind its first line. */
#define PATIENCE_GREETED 10000
#define PATIENCE_QUIT    1000
#define PATIENCE_ALL     13000

/* No honest server says more before a login. */
#define RECEIVED_MAX 16384

#define OUTSIDE "postmaster@smtpgate-doctor.invalid"

/* ---- libcurl, when it is wanted ---- */

#define CURL_FUNCTIONS(X)  \
    X(global_init)         \
    X(global_cleanup)      \
    X(version_info)        \
    X(easy_init)           \
    X(easy_cleanup)        \
    X(easy_setopt)         \
    X(easy_getinfo)        \
    X(easy_strerror)       \
    X(easy_send)           \
    X(easy_recv)           \
    X(multi_init)          \
    X(multi_cleanup)       \
    X(multi_add_handle)    \
    X(multi_remove_handle) \
    X(multi_perform)       \
    X(multi_info_read)     \
    X(multi_poll)

struct curl_api {
#define X(name) __typeof__(curl_##name) *name;
    CURL_FUNCTIONS(X)
#undef X
};

static const struct {
    const char *name;
    size_t offset;
} curl_symbols[] = {
#define X(name) {"curl_" #name, offsetof(struct curl_api, name)},
    CURL_FUNCTIONS(X)
#undef X
};

static int fail_no_library(const char *why, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED, "%s, which asks the mail server", why);
    err_hint(e, "apt install libcurl4");
    return -ENOPKG;
}

static bool speaks_smtp(const struct curl_api *curl)
{
    const char *const *protocol = curl->version_info(CURLVERSION_NOW)->protocols;

    for (; *protocol; protocol++)
        if (!strcmp(*protocol, "smtps"))
            return true;
    return false;
}

/* The library stays loaded: what it brought along leaves handlers for the process's end. */
static int load_curl(struct curl_api *ret_curl, struct err *e)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    struct curl_api curl;
    size_t i;

    if (!library)
        return fail_no_library("there is no usable " LIBRARY " here", e);
    for (i = 0; i < ARRAY_SIZE(curl_symbols); i++) {
        void *symbol = dlsym(library, curl_symbols[i].name);

        if (!symbol)
            return fail_no_library("the " LIBRARY " here is too old", e);
        memcpy((char *)&curl + curl_symbols[i].offset, &symbol, sizeof(symbol));
    }
    if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !speaks_smtp(&curl))
        return fail_no_library("the " LIBRARY " here was built without SMTP over TLS", e);
    *ret_curl = curl;
    return 0;
}

/* ---- one connection ---- */

/* What is said once libcurl is through with EHLO and STARTTLS. */
enum step {
    STEP_CONNECT,
    STEP_MAIL,
    STEP_OUTSIDE,
    STEP_LOCAL,
    STEP_RESET,
    STEP_QUIT,
};

struct attempt {
    const struct curl_api *curl;
    CURLM *multi;
    CURL *easy; /* NULL: over */
    const struct probe_target *target;
    struct probe_facts *facts;
    struct probe_facts first; /* what the first way came to, once the second is tried */
    bool tls;                 /* from the first byte */
    bool second;
    int64_t begun, deadline, last_deadline;
    enum step step;
    size_t received;
    bool greeting_over, hello_taken, reply_begun;
    char domain[256]; /* the server's name for itself, if it looks like one */
    char line[512];   /* of a reply that is coming in */
    size_t line_len;
    char out[512];
    size_t out_len, out_sent;
};

static void set_deadline(struct attempt *a, int64_t deadline)
{
    a->deadline = deadline < a->last_deadline ? deadline : a->last_deadline;
}

/* The connection is closed without a word: what had to be said was said before. */
static void attempt_close(struct attempt *a)
{
    if (!a->easy)
        return;
    a->curl->multi_remove_handle(a->multi, a->easy);
    a->curl->easy_cleanup(TAKE_PTR(a->easy));
}

/* "[192.0.2.25]" or "[IPv6:2001:db8::25]": a name of its own that needs no resolver. */
static const char *literal(const struct addr *address, char buf[ADDR_TEXT_MAX + 8])
{
    char text[ADDR_TEXT_MAX];

    snprintf(buf, ADDR_TEXT_MAX + 8, "[%s%s]", address->family == ADDR_IP6 ? "IPv6:" : "",
             addr_print(address, text));
    return buf;
}

/* The path is what EHLO says; the client has the server's address, as it is the same host. */
static void make_url(const struct attempt *a, char *buf, size_t size)
{
    bool ip6 = a->target->address.family == ADDR_IP6;
    char text[ADDR_TEXT_MAX];

    addr_print(&a->target->address, text);
    snprintf(buf, size, "smtp%s://%s%s%s:%u/%%5B%s%s%%5D", a->tls ? "s" : "", ip6 ? "[" : "", text,
             ip6 ? "]" : "", a->target->port, ip6 ? "IPv6:" : "", text);
}

static size_t take_header(char *data, size_t size, size_t count, void *arg);

/* The certificate is not looked at: who answers at this host's own address is this host. */
static bool set_options(struct attempt *a)
{
    const struct curl_api *curl = a->curl;
    char url[3 * ADDR_TEXT_MAX];
    bool bad = false;

    make_url(a, url, sizeof(url));
#define SET(option, value) (bad |= curl->easy_setopt(a->easy, option, value) != CURLE_OK)
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PRIVATE, (void *)a);
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_USE_SSL, (long)CURLUSESSL_TRY);
    SET(CURLOPT_SSL_VERIFYPEER, 0L);
    SET(CURLOPT_SSL_VERIFYHOST, 0L);
    SET(CURLOPT_CAINFO, (char *)NULL);
    SET(CURLOPT_CAPATH, (char *)NULL);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_ADDRESS_SCOPE, (long)a->target->scope);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, (void *)a);
#undef SET
    return !bad;
}

static int attempt_begin(struct attempt *a)
{
    int patience = a->second ? PATIENCE : PATIENCE_FIRST;

    *a->facts = (struct probe_facts){.outcome = PROBE_SILENT, .offers_tls = a->tls};
    a->step = STEP_CONNECT;
    a->received = a->line_len = a->out_len = a->out_sent = 0;
    a->greeting_over = a->hello_taken = a->reply_begun = false;
    a->domain[0] = '\0';
    a->begun = pace_now();
    set_deadline(a, a->begun + patience);
    a->easy = a->curl->easy_init();
    if (!a->easy)
        return -ENOMEM;
    if (!set_options(a) || a->curl->multi_add_handle(a->multi, a->easy) != CURLM_OK) {
        a->curl->easy_cleanup(TAKE_PTR(a->easy));
        return -ENOMEM;
    }
    return 0;
}

/* ---- what the server says before the dialogue ---- */

/* "250-AUTH PLAIN" is 250 and not the last line of its reply. 0: no line of SMTP. */
static int reply_code(const char *line, bool *ret_last)
{
    size_t digits = strspn(line, "0123456789");

    if (digits != 3 || (line[3] && !strchr("- \r\n", line[3])))
        return 0;
    *ret_last = line[3] != '-';
    return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

static bool has_keyword(const char *line, const char *keyword)
{
    size_t len = strlen(keyword);

    return strlen(line) > 4 && !strncasecmp(line + 4, keyword, len) &&
           (!line[4 + len] || strchr(" =\r\n", line[4 + len]));
}

/* The first word of an EHLO reply, if it is a domain name. */
static void take_domain(struct attempt *a, const char *line)
{
    size_t len = strlen(line) > 4 ? strcspn(line + 4, " \r\n") : 0;

    a->domain[0] = '\0';
    if (len == 0 || len >= sizeof(a->domain) || !memchr(line + 4, '.', len) ||
        strspn(line + 4, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") < len)
        return;
    memcpy(a->domain, line + 4, len);
    a->domain[len] = '\0';
}

static void take_greeting(struct attempt *a, int code, bool last)
{
    if (code != 220) {
        a->facts->outcome = PROBE_OTHER;
        return;
    }
    if (a->facts->outcome == PROBE_SILENT) {
        a->facts->outcome = PROBE_BROKEN;
        set_deadline(a, a->begun + PATIENCE_GREETED);
    }
    a->greeting_over = last;
    a->facts->tls = a->tls;
}

/* EHLO's keywords, STARTTLS's answer, and EHLO's keywords once more. */
static void take_hello(struct attempt *a, const char *line, int code, bool last)
{
    struct probe_facts *facts = a->facts;

    if (code == 220 && last && a->hello_taken)
        facts->tls = true;
    else if (code == 250 && !a->reply_begun)
        take_domain(a, line);
    else if (code == 250 && has_keyword(line, "AUTH"))
        *(facts->tls ? &facts->auth_tls : &facts->auth_plain) = true;
    else if (code == 250 && has_keyword(line, "STARTTLS"))
        facts->offers_tls = true;
    else if (code >= 500 && !a->hello_taken) /* EHLO and HELO are refused: FTP greets alike */
        facts->outcome = PROBE_OTHER;
    if (code == 250 && last) {
        a->hello_taken = true;
        facts->outcome = PROBE_BROKEN;
    }
    a->reply_begun = !last;
}

/* libcurl's header function: one line. Less than @count ends the connection. */
static size_t take_header(char *data, size_t size, size_t count, void *arg)
{
    struct attempt *a = arg;
    size_t len = count * size < sizeof(a->line) ? count * size : sizeof(a->line) - 1;
    bool last = false;
    int code;

    a->received += count * size;
    if (a->received > RECEIVED_MAX)
        return 0;
    memcpy(a->line, data, len);
    a->line[len] = '\0';
    code = reply_code(a->line, &last);
    if (!a->greeting_over)
        take_greeting(a, code, last);
    else
        take_hello(a, a->line, code, last);
    if (code >= 400 || !code) {
        a->line[strcspn(a->line, "\r\n")] = '\0';
        text_escape_ascii(a->line, a->facts->why, sizeof(a->facts->why));
    }
    return count * size;
}

/* ---- the dialogue ---- */

static void queue_command(struct attempt *a)
{
    char at[ADDR_TEXT_MAX + 8];
    const char *host = a->domain[0] ? a->domain : literal(&a->target->address, at);
    int n = 0;

    switch (a->step) {
    case STEP_MAIL:
        n = snprintf(a->out, sizeof(a->out), "MAIL FROM:<>\r\n");
        break;
    case STEP_OUTSIDE:
        n = snprintf(a->out, sizeof(a->out), "RCPT TO:<" OUTSIDE ">\r\n");
        break;
    case STEP_LOCAL:
        /* Not a bare "postmaster", which Postfix takes from anybody on every port. */
        n = snprintf(a->out, sizeof(a->out), "RCPT TO:<postmaster@%s>\r\n", host);
        break;
    case STEP_RESET:
        n = snprintf(a->out, sizeof(a->out), "RSET\r\n");
        break;
    case STEP_CONNECT:
    case STEP_QUIT:
        n = snprintf(a->out, sizeof(a->out), "QUIT\r\n");
        break;
    }
    a->out_len = (size_t)n;
    a->out_sent = 0;
}

static void begin_step(struct attempt *a, enum step step)
{
    a->step = step;
    queue_command(a);
    if (step == STEP_QUIT && pace_now() + PATIENCE_QUIT < a->deadline)
        a->deadline = pace_now() + PATIENCE_QUIT;
}

/*
 * Refused for want of a password (530, X.7.x) or because it would be relaying. Not if it is about
 * our EHLO or about TLS, and not if it is only for now, such as grey-listing: then nothing is
 * known.
 */
static enum probe_answer classify(int code, const char *text)
{
    static const char *const words[] = {"authenticat", "auth ", "relay",
                                        "log in",      "login", "password"};
    size_t i;

    if (code / 100 == 2)
        return PROBE_TAKEN;
    if (strcasestr(text, "helo command") || strcasestr(text, "starttls"))
        return PROBE_REFUSED;
    if (code == 530 || !strncmp(text + strspn(text, "0123456789- "), "5.7.", 4))
        return PROBE_DENIED;
    for (i = 0; i < ARRAY_SIZE(words); i++)
        if (strcasestr(text, words[i]))
            return PROBE_DENIED;
    return PROBE_REFUSED;
}

static void keep_reply(struct probe_reply *reply, int code, const char *line)
{
    reply->answer = classify(code, line);
    text_escape_ascii(line, reply->text, sizeof(reply->text));
}

/* The last line of a reply. False: all is said. */
static bool take_reply(struct attempt *a, int code)
{
    struct probe_facts *facts = a->facts;

    switch (a->step) {
    case STEP_MAIL:
        if (code / 100 != 2) {
            keep_reply(&facts->outside, code, a->line);
            facts->local = facts->outside;
        }
        begin_step(a, code / 100 == 2 ? STEP_OUTSIDE : STEP_QUIT);
        return true;
    case STEP_OUTSIDE:
        keep_reply(&facts->outside, code, a->line);
        begin_step(a, STEP_LOCAL);
        return code != 421;
    case STEP_LOCAL:
        keep_reply(&facts->local, code, a->line);
        begin_step(a, STEP_RESET);
        return code != 421;
    case STEP_RESET:
        begin_step(a, STEP_QUIT);
        return true;
    case STEP_CONNECT:
    case STEP_QUIT:
        break;
    }
    return false;
}

/* Puts lines together. False: all is said, or it is no SMTP. */
static bool take_bytes(struct attempt *a, const char *data, size_t n)
{
    size_t i;

    a->received += n;
    if (a->received > RECEIVED_MAX)
        return false;
    for (i = 0; i < n; i++) {
        bool last = false;
        int code;

        if (data[i] != '\n') {
            if (data[i] != '\r' && a->line_len + 1 < sizeof(a->line))
                a->line[a->line_len++] = data[i];
            continue;
        }
        a->line[a->line_len] = '\0';
        a->line_len = 0;
        code = reply_code(a->line, &last);
        if (!code || (last && !take_reply(a, code)))
            return false;
    }
    return true;
}

static CURLcode send_rest(struct attempt *a)
{
    CURLcode result = CURLE_OK;
    size_t n;

    while (result == CURLE_OK && a->out_sent < a->out_len) {
        n = 0;
        result = a->curl->easy_send(a->easy, a->out + a->out_sent, a->out_len - a->out_sent, &n);
        a->out_sent += n;
    }
    return result == CURLE_AGAIN ? CURLE_OK : result;
}

/* Goes on until it would have to wait. False: over. */
static bool talk(struct attempt *a)
{
    char data[512];
    size_t n;

    for (;;) {
        CURLcode result = send_rest(a);

        if (result == CURLE_OK)
            result = a->curl->easy_recv(a->easy, data, sizeof(data), &n);
        if (result == CURLE_AGAIN)
            return true;
        if (result != CURLE_OK || !n || !take_bytes(a, data, n))
            return false;
    }
}

/* ---- how it ends ---- */

static bool is_connected(const struct attempt *a)
{
    curl_off_t took = 0;

    a->curl->easy_getinfo(a->easy, CURLINFO_CONNECT_TIME_T, &took);
    return took > 0;
}

/* libcurl gave up (@result), or the time is over (CURLE_OPERATION_TIMEDOUT). */
static void conclude(struct attempt *a, CURLcode result)
{
    struct probe_facts *facts = a->facts;

    if (facts->outcome == PROBE_SILENT && !is_connected(a))
        facts->outcome = PROBE_NO_CONNECTION;
    else if (facts->outcome == PROBE_SILENT && result != CURLE_OPERATION_TIMEDOUT)
        facts->outcome = PROBE_OTHER; /* closed at once, or no TLS where TLS was tried */
    if (result == CURLE_OPERATION_TIMEDOUT)
        snprintf(facts->why, sizeof(facts->why), "no answer in time");
    else if (!facts->why[0])
        text_escape_ascii(a->curl->easy_strerror(result), facts->why, sizeof(facts->why));
}

/* Silence may be a server that waits for TLS, a failed TLS one that does not speak it. */
static bool wants_other_way(const struct attempt *a)
{
    if (a->second)
        return false;
    return a->facts->outcome == (a->tls ? PROBE_OTHER : PROBE_SILENT);
}

static bool found_smtp(const struct probe_facts *facts)
{
    return facts->outcome == PROBE_SMTP || facts->outcome == PROBE_BROKEN;
}

static int attempt_end(struct attempt *a, CURLcode result)
{
    conclude(a, result);
    attempt_close(a);
    if (a->second && !found_smtp(a->facts))
        *a->facts = a->first;
    if (!wants_other_way(a) || pace_now() >= a->last_deadline)
        return 0;
    a->first = *a->facts;
    a->second = true;
    a->tls = !a->tls;
    return attempt_begin(a);
}

/* ---- all of them ---- */

struct session {
    struct curl_api curl;
    CURLM *multi;
    struct attempt attempts[PROBE_MAX];
    struct probe_facts facts[PROBE_MAX];
    size_t count;
};

static void session_free(struct session *session)
{
    size_t i;

    if (!session)
        return;
    for (i = 0; i < session->count; i++)
        attempt_close(&session->attempts[i]);
    if (session->multi) {
        session->curl.multi_cleanup(session->multi);
        session->curl.global_cleanup();
    }
    free(session);
}
DEFINE_CLEANUP(struct session *, session_free)

/* What libcurl has finished: connected up to EHLO over TLS, or failed. */
static int take_finished(struct session *session)
{
    const CURLMsg *message;
    struct attempt *a;
    int left, r = 0;

    while (r == 0 && (message = session->curl.multi_info_read(session->multi, &left))) {
        CURLcode result = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        a = NULL;
        session->curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &a);
        if (result != CURLE_OK) {
            r = attempt_end(a, result);
            continue;
        }
        a->facts->outcome = PROBE_SMTP;
        begin_step(a, a->target->thorough ? STEP_MAIL : STEP_QUIT);
    }
    return r;
}

/* Goes on with a dialogue, or ends what has had its time. */
static int go_on(struct attempt *a)
{
    bool late = pace_now() >= a->deadline;

    if (a->step == STEP_CONNECT)
        return late ? attempt_end(a, CURLE_OPERATION_TIMEDOUT) : 0;
    if (!talk(a) || late)
        attempt_close(a); /* what is not known by now stays so */
    return 0;
}

/* @ret_next: when to look again at the latest; INT64_MAX: all are over. */
static int go_on_all(struct session *session, int64_t *ret_next)
{
    int64_t next = INT64_MAX;
    size_t i;
    int r;

    for (i = 0; i < session->count; i++) {
        struct attempt *a = &session->attempts[i];

        r = a->easy ? go_on(a) : 0;
        if (r < 0)
            return r;
        if (a->easy && a->deadline < next)
            next = a->deadline;
    }
    *ret_next = next;
    return 0;
}

/* Until one of the connections has something to say, or @next. */
static int wait_for_more(struct session *session, int64_t next)
{
    struct curl_waitfd fds[PROBE_MAX];
    int64_t wait = next - pace_now();
    unsigned int n = 0;
    size_t i;

    for (i = 0; i < session->count; i++) {
        const struct attempt *a = &session->attempts[i];
        bool sending = a->out_sent < a->out_len;
        curl_socket_t fd = CURL_SOCKET_BAD;

        if (!a->easy || a->step == STEP_CONNECT)
            continue;
        session->curl.easy_getinfo(a->easy, CURLINFO_ACTIVESOCKET, &fd);
        if (fd == CURL_SOCKET_BAD)
            continue;
        fds[n++] = (struct curl_waitfd){
            .fd = fd, .events = CURL_WAIT_POLLIN | (sending ? CURL_WAIT_POLLOUT : 0)};
    }
    wait = wait < 0 ? 0 : wait > 1000 ? 1000 : wait;
    return session->curl.multi_poll(session->multi, fds, n, (int)wait, NULL) == CURLM_OK ? 0 : -EIO;
}

static int run_session(struct session *session)
{
    int64_t next = 0;
    int running, r;

    for (;;) {
        if (session->curl.multi_perform(session->multi, &running) != CURLM_OK)
            return -EIO;
        r = take_finished(session);
        if (r == 0)
            r = go_on_all(session, &next);
        if (r < 0 || next == INT64_MAX)
            return r;
        r = wait_for_more(session, next);
        if (r < 0)
            return r;
    }
}

static int begin_all(struct session *session, const struct probe_target *targets, size_t n)
{
    int64_t end = pace_now() + PATIENCE_ALL;
    int r = 0;
    size_t i;

    for (i = 0; r == 0 && i < n; i++) {
        session->attempts[i] = (struct attempt){
            .curl = &session->curl,
            .multi = session->multi,
            .target = &targets[i],
            .facts = &session->facts[i],
            .tls = targets[i].tls_first,
            .last_deadline = end,
        };
        session->count++;
        r = attempt_begin(&session->attempts[i]);
    }
    return r;
}

int probe_ports(const struct probe_target *targets, size_t n, struct probe_facts *ret_facts,
                struct err *e)
{
    _cleanup_(session_free) struct session *session = calloc(1, sizeof(*session));
    int r;

    if (!session)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    r = load_curl(&session->curl, e);
    if (r < 0)
        return r;
    session->multi = session->curl.multi_init();
    r = session->multi ? begin_all(session, targets, n < PROBE_MAX ? n : PROBE_MAX) : -ENOMEM;
    if (r == 0)
        r = run_session(session);
    if (r < 0)
        return err_set(e, r, EXIT_REFUSED, "could not ask the ports: %s", strerror(-r));
    memcpy(ret_facts, session->facts, session->count * sizeof(*ret_facts));
    return 0;
}
