// LINK: session iface addr who_why text err
// LIBS: -Wl,--wrap=recvmsg
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's sessions, asked for in a network namespace of the test's own that a cable joins to
 * another one. What has to be listed is known from the clients' sockets, which the code under test
 * never sees. What the kernel does only under pressure is put between it and the code.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "session.h"

#define MAIL4   "192.0.2.1"
#define MAIL6   "2001:db8::1"
#define CLIENT4 "192.0.2.10"
#define CLIENT6 "2001:db8::10"

#define MAIL_MAC   "02:00:00:00:00:01"
#define CLIENT_MAC "02:00:00:00:00:10"

static const uint16_t guarded[] = {25, 587};

/* ---- what may come between ---- */

enum trouble {
    TROUBLE_NONE,
    TROUBLE_CHANGED,   /* the table changed meanwhile */
    TROUBLE_FULL,      /* answers were lost */
    TROUBLE_SIGNAL,    /* a signal came */
    TROUBLE_TOO_LONG,  /* a message was cut */
    TROUBLE_STRANGER,  /* a message not from the kernel */
    TROUBLE_REFUSED,   /* an error message, of number */
    TROUBLE_END,       /* a dump that ends in an error, of number */
    TROUBLE_SHORT,     /* a message that promises more than it is */
    TROUBLE_SHORT_ONE, /* a message too short for a session */
};

static struct {
    enum trouble trouble;
    int number;
    int times; /* left */
    int calls;
} net;

static int mail_ns, client_ns, mail_port4, mail_port6;

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

static ssize_t make_message(struct msghdr *message, uint16_t type, uint32_t claimed, int number)
{
    struct {
        struct nlmsghdr header;
        int number;
        char rest[64];
    } made = {.header = {.nlmsg_type = type, .nlmsg_len = claimed}, .number = number};

    memcpy(message->msg_iov[0].iov_base, &made, sizeof(made));
    ((struct sockaddr_nl *)message->msg_name)->nl_pid = 0;
    message->msg_flags = 0;
    return NLMSG_LENGTH(sizeof(int));
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t n;

    net.calls++;
    if (net.times <= 0)
        return __real_recvmsg(fd, message, flags);
    net.times--;
    switch (net.trouble) {
    case TROUBLE_FULL:
        errno = ENOBUFS;
        return -1;
    case TROUBLE_SIGNAL:
        errno = EINTR;
        return -1;
    case TROUBLE_CHANGED:
        n = __real_recvmsg(fd, message, flags);
        ((struct nlmsghdr *)message->msg_iov[0].iov_base)->nlmsg_flags |= NLM_F_DUMP_INTR;
        return n;
    case TROUBLE_TOO_LONG:
        n = __real_recvmsg(fd, message, flags);
        message->msg_flags |= MSG_TRUNC;
        return n;
    case TROUBLE_STRANGER:
        n = make_message(message, NLMSG_ERROR, NLMSG_LENGTH(sizeof(int)), -EIO);
        ((struct sockaddr_nl *)message->msg_name)->nl_pid = 4711;
        return n;
    case TROUBLE_REFUSED:
        return make_message(message, NLMSG_ERROR, NLMSG_LENGTH(sizeof(int)), net.number);
    case TROUBLE_END:
        return make_message(message, NLMSG_DONE, NLMSG_LENGTH(sizeof(int)), net.number);
    case TROUBLE_SHORT:
        return make_message(message, SOCK_DIAG_BY_FAMILY, 4000, 0);
    case TROUBLE_SHORT_ONE:
        return make_message(message, SOCK_DIAG_BY_FAMILY, NLMSG_LENGTH(sizeof(int)), 0);
    default:
        return __real_recvmsg(fd, message, flags);
    }
}

static void trouble(enum trouble kind, int number, int times)
{
    net.trouble = kind;
    net.number = number;
    net.times = times;
    net.calls = 0;
}

/* ---- two hosts and a cable ---- */

static void enter(int ns)
{
    assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static int new_host(void)
{
    int fd;

    assert_int_equal(unshare(CLONE_NEWNET), 0);
    fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(system("ip link set lo up"), 0); // NOLINT(cert-env33-c)
    return fd;
}

static void ip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void ip(const char *fmt, ...)
{
    char command[256] = "ip ";
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(command + 3, sizeof(command) - 3, fmt, ap);
    va_end(ap);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
}

static int socket_in(int ns, int family)
{
    const struct timeval patience = {.tv_sec = 5};
    int fd, yes = 1;

    enter(ns);
    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    enter(mail_ns);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return fd;
}

static socklen_t fill(struct sockaddr_storage *ret, const char *text, uint16_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    if (strchr(text, ':')) {
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        memcpy(ret, &in6, sizeof(in6));
        return sizeof(in6);
    }
    assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
    memcpy(ret, &in, sizeof(in));
    return sizeof(in);
}

static void bind_to(int fd, const char *text, uint16_t port)
{
    struct sockaddr_storage address;
    socklen_t len = fill(&address, text, port);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
}

/* The port of a socket's own address, or of its peer's; @ret_six: it is an IPv6 one. */
static uint16_t port_of(int fd, bool peer, bool *ret_six)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int r = peer ? getpeername(fd, (struct sockaddr *)&address, &len)
                 : getsockname(fd, (struct sockaddr *)&address, &len);

    assert_int_equal(r, 0);
    *ret_six = address.ss_family == AF_INET6;
    return ntohs(*ret_six ? ((struct sockaddr_in6 *)&address)->sin6_port
                          : ((struct sockaddr_in *)&address)->sin_port);
}

static int listen_on(int ns, const char *text, uint16_t port)
{
    int fd = socket_in(ns, strchr(text, ':') ? AF_INET6 : AF_INET), no = 0;

    if (strchr(text, ':'))
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)), 0);
    bind_to(fd, text, port);
    assert_int_equal(listen(fd, 4096), 0);
    return fd;
}

struct pair {
    int client;
    int server;
    uint16_t port; /* the client's; two may have the same to different ports or addresses */
    uint16_t to;
    bool six;
};

static int connect_to(int ns, const char *from, uint16_t from_port, const char *to, uint16_t port)
{
    int fd = socket_in(ns, strchr(to, ':') ? AF_INET6 : AF_INET);
    struct sockaddr_storage address;
    socklen_t len = fill(&address, to, port);

    if (from)
        bind_to(fd, from, from_port);
    if (connect(fd, (struct sockaddr *)&address, len) < 0)
        fail_msg("connect to %s port %u: %s", to, port, strerror(errno));
    return fd;
}

/* @listener -1: not to be accepted. */
static struct pair make_pair(int listener, int client)
{
    struct pair pair = {.client = client, .server = -1};

    pair.port = port_of(client, false, &pair.six);
    pair.to = port_of(client, true, &pair.six);
    if (listener < 0)
        return pair;
    pair.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(pair.server >= 0);
    return pair;
}

/* With a reset, so that nothing of it stays. */
static void close_hard(int fd)
{
    const struct linger linger = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

static void close_pair(const struct pair *pair)
{
    close_hard(pair->client);
    close_hard(pair->server);
}

/* The other side has sent a reset (or is about to: a moment is allowed). */
static bool was_reset(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;

    assert_int_equal(poll(&wait, 1, 5000), 1);
    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET;
}

static bool lives(const struct pair *pair)
{
    struct pollfd wait = {.fd = pair->server, .events = POLLIN};
    char byte = 0;

    return send(pair->client, "x", 1, MSG_NOSIGNAL) == 1 && poll(&wait, 1, 5000) == 1 &&
           recv(pair->server, &byte, 1, 0) == 1 && byte == 'x';
}

/* An IPv6 address is usable when the kernel has noticed the cable and, later still, has a route. */
static void until_usable(int ns, const char *text)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct sockaddr_storage address;
    socklen_t len = fill(&address, text, 0);
    int fd = socket_in(ns, AF_INET6), i;
    char command[128];

    snprintf(command, sizeof(command), "ip -6 route get %s | grep -q ^local", text);
    enter(ns);
    for (i = 0; i < 1000; i++) {
        // NOLINTNEXTLINE(cert-env33-c)
        if (bind(fd, (struct sockaddr *)&address, len) == 0 && system(command) == 0)
            break;
        close(fd);
        fd = socket_in(ns, AF_INET6);
        enter(ns);
        nanosleep(&pause, NULL);
    }
    assert_in_range(i, 0, 999);
    enter(mail_ns);
    close(fd);
}

/* Nobody has to be looked for: under load that takes seconds, or fails. */
static void give_addresses(const char *device, const char *own4, const char *own6,
                           const char *other4, const char *other6, const char *mac)
{
    ip("address add %s/24 dev %s", own4, device);
    ip("address add %s/64 dev %s nodad", own6, device);
    ip("neighbour add %s lladdr %s dev %s nud permanent", other4, mac, device);
    ip("neighbour add %s lladdr %s dev %s nud permanent", other6, mac, device);
}

/* Two hosts for each test: what one that failed left open is no other's. */
static int set_up(void **state)
{
    (void)state;
    trouble(TROUBLE_NONE, 0, 0);
    if (geteuid() != 0)
        return 0;
    mail_ns = new_host();
    client_ns = new_host();
    ip("link add c0 address " CLIENT_MAC " type veth peer name m0 address " MAIL_MAC
       " netns /proc/%d/fd/%d",
       (int)getpid(), mail_ns);
    ip("link set c0 up");
    enter(mail_ns);
    ip("link set m0 up");
    give_addresses("m0", MAIL4, MAIL6, CLIENT4, CLIENT6, CLIENT_MAC);
    enter(client_ns);
    give_addresses("c0", CLIENT4, CLIENT6, MAIL4, MAIL6, MAIL_MAC);
    enter(mail_ns);
    until_usable(mail_ns, MAIL6);
    until_usable(client_ns, CLIENT6);
    mail_port4 = listen_on(mail_ns, "0.0.0.0", 25);
    mail_port6 = listen_on(mail_ns, "::", 587);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return 0;
    close(mail_port4);
    close(mail_port6);
    close(mail_ns);
    close(client_ns);
    return 0;
}

/* cmocka's skip() would count as a failure. */
#define NEED(there, what)                          \
    do {                                           \
        if (!(there)) {                            \
            print_message("# no " what " here\n"); \
            return;                                \
        }                                          \
    } while (0)
#define NEED_ROOT() NEED(geteuid() == 0, "root")

/* ---- helpers of the list ---- */

struct list {
    struct session *items;
    size_t count;
};

static struct list list(void)
{
    struct list all = {0};
    struct err e = {0};

    if (session_list(guarded, 2, &all.items, &all.count, &e) < 0)
        fail_msg("%s", e.message);
    return all;
}

static const struct session *find(const struct list *all, const struct pair *pair)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct session *one = &all->items[i];

        if (one->remote_port == pair->port && one->local_port == pair->to &&
            (one->remote.family == ADDR_IP6) == pair->six)
            return one;
    }
    return NULL;
}

static size_t count_now(void)
{
    struct list all = list();

    free(all.items);
    return all.count;
}

/* Waits for something the network has still to do. */
static void until_count(size_t count)
{
    const struct timespec pause = {.tv_nsec = 5000000};

    for (int i = 0; i < 1000 && count_now() != count; i++)
        nanosleep(&pause, NULL);
    assert_int_equal(count_now(), count);
}

static void assert_session(const struct session *s, const char *remote, const char *local,
                           uint16_t local_port, const struct pair *pair)
{
    char text[ADDR_TEXT_MAX];
    struct stat st;

    assert_non_null(s);
    assert_int_equal(fstat(pair->server, &st), 0);
    assert_string_equal(addr_print(&s->remote, text), remote);
    assert_string_equal(addr_print(&s->local, text), local);
    assert_int_equal(s->local_port, local_port);
    assert_int_equal(s->remote_port, pair->port);
    assert_int_equal(s->inode, st.st_ino);
    assert_int_equal(s->uid, 0);
    assert_int_equal(s->state, TCP_ESTABLISHED);
    assert_true(session_is_proven(s));
}

/* ---- listing ---- */

static void test_list(void **state)
{
    struct pair four, mapped, six;
    struct list all;

    (void)state;
    NEED_ROOT();
    four = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    mapped = make_pair(mail_port6, connect_to(client_ns, NULL, 0, MAIL4, 587));
    six = make_pair(mail_port6, connect_to(client_ns, NULL, 0, MAIL6, 587));
    all = list();
    assert_int_equal(all.count, 3);
    /* In this order: by address, then port. */
    assert_session(&all.items[0], CLIENT4, MAIL4, 25, &four);
    assert_session(&all.items[1], CLIENT4, MAIL4, 587, &mapped);
    assert_session(&all.items[2], CLIENT6, MAIL6, 587, &six);
    free(all.items);
    close_pair(&four);
    close_pair(&mapped);
    close_pair(&six);
    until_count(0);
}

/* One port, many, none; of them only the guarded ones. */
static void test_ports(void **state)
{
    static const uint16_t one[] = {587}, others[] = {24, 26, 586, 588, 0, 65535};
    uint16_t many[SESSION_PORTS_MAX + 1];
    struct session *items = NULL;
    int listeners[3], edges[3];
    struct pair pair, edge[3];
    size_t i, count = 99;
    struct err e = {0};

    (void)state;
    NEED_ROOT();
    pair = make_pair(mail_port6, connect_to(client_ns, NULL, 0, MAIL4, 587));
    for (i = 0; i < 3; i++) {
        static const uint16_t ports[] = {24, 26, 65535};

        listeners[i] = listen_on(mail_ns, "0.0.0.0", ports[i]);
        edges[i] = connect_to(client_ns, NULL, 0, MAIL4, ports[i]);
        edge[i] = make_pair(listeners[i], edges[i]);
    }
    assert_int_equal(count_now(), 1);
    assert_int_equal(session_list(one, 1, &items, &count, &e), 0);
    assert_int_equal(count, 1);
    free(items);
    assert_int_equal(session_list(others, 6, &items, &count, &e), 0);
    assert_int_equal(count, 3);
    assert_int_equal(items[0].local_port, 24);
    assert_int_equal(items[1].local_port, 26);
    assert_int_equal(items[2].local_port, 65535);
    free(items);
    for (i = 0; i < SESSION_PORTS_MAX; i++)
        many[i] = (uint16_t)(587 + SESSION_PORTS_MAX - 1 - i);
    assert_int_equal(session_list(many, SESSION_PORTS_MAX, &items, &count, &e), 0);
    assert_int_equal(count, 1);
    free(items);
    assert_int_equal(session_list(many, SESSION_PORTS_MAX - 1, &items, &count, &e), 0);
    assert_int_equal(count, 0);
    free(items);
    assert_int_equal(session_list(NULL, 0, &items, &count, &e), 0);
    assert_int_equal(count, 0);
    free(items);
    items = NULL;
    assert_int_equal(session_list(many, SESSION_PORTS_MAX + 1, &items, &count, &e), -EINVAL);
    assert_null(items);
    for (i = 0; i < 3; i++) {
        close_pair(&edge[i]);
        close(listeners[i]);
    }
    close_pair(&pair);
    until_count(0);
}

/* From this host itself, and by this host to others: nothing that the gate would see come in. */
static void test_not_from_outside(void **state)
{
    static const char *const own[][2] = {
        {NULL, "127.0.0.1"}, {"127.0.0.7", "127.0.0.9"}, {NULL, "::1"}, {NULL, MAIL4},
        {NULL, MAIL6},       {MAIL4, "127.0.0.1"},
    };
    struct pair pairs[6], out;
    int away;

    (void)state;
    NEED_ROOT();
    for (size_t i = 0; i < 6; i++)
        pairs[i] = make_pair(mail_port6, connect_to(mail_ns, own[i][0], 0, own[i][1], 587));
    away = listen_on(client_ns, "0.0.0.0", 25);
    out = make_pair(away, connect_to(mail_ns, NULL, 0, CLIENT4, 25));
    assert_int_equal(count_now(), 0);
    for (size_t i = 0; i < 6; i++)
        close_pair(&pairs[i]);
    close_pair(&out);
    close(away);
}

static void test_states(void **state)
{
    struct pair half, closing, gone, kept, shy;
    int patient = 60, no = 0;
    struct list all;
    char byte;

    (void)state;
    NEED_ROOT();
    /* The client has ended its half. */
    half = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    assert_int_equal(shutdown(half.client, SHUT_WR), 0);
    assert_int_equal(recv(half.server, &byte, 1, 0), 0);
    /* The server has, and still holds it. */
    closing = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    assert_int_equal(shutdown(closing.server, SHUT_WR), 0);
    assert_int_equal(recv(closing.client, &byte, 1, 0), 0);
    /* The server has left it altogether, the client stays. */
    gone = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    close(gone.server);
    assert_int_equal(recv(gone.client, &byte, 1, 0), 0);
    /* Both ended, the server first: TIME_WAIT. */
    kept = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    close(kept.server);
    assert_int_equal(recv(kept.client, &byte, 1, 0), 0);
    close(kept.client);
    /* A handshake that lacks its last step: the kernel waits for data with it. */
    setsockopt(mail_port6, IPPROTO_TCP, TCP_DEFER_ACCEPT, &patient, sizeof(patient));
    shy = make_pair(-1, connect_to(client_ns, NULL, 0, MAIL4, 587));
    until_count(3);
    all = list();
    assert_int_equal(find(&all, &half)->state, TCP_CLOSE_WAIT);
    assert_in_range(find(&all, &closing)->state, TCP_FIN_WAIT1, TCP_FIN_WAIT2);
    assert_null(find(&all, &gone));
    assert_null(find(&all, &kept));
    assert_int_equal(find(&all, &shy)->state, TCP_SYN_RECV);
    assert_false(session_is_proven(find(&all, &shy)));
    assert_int_equal(find(&all, &shy)->inode, 0);
    /* Also such a one can be ended. */
    assert_int_equal(session_destroy(find(&all, &shy), NULL), 0);
    free(all.items);
    until_count(2);
    close_hard(shy.client);
    setsockopt(mail_port6, IPPROTO_TCP, TCP_DEFER_ACCEPT, &no, sizeof(no));
    close_hard(gone.client);
    close_pair(&half);
    close_pair(&closing);
    until_count(0);
}

static void test_many(void **state)
{
    const size_t wanted = 2000;
    struct rlimit files = {8192, 8192};
    struct pair *pairs;
    struct list all;
    size_t i;

    (void)state;
    NEED_ROOT();
    NEED(setrlimit(RLIMIT_NOFILE, &files) == 0, "right to so many files");
    pairs = calloc(wanted, sizeof(*pairs));
    assert_non_null(pairs);
    for (i = 0; i < wanted; i++) {
        bool four = i % 3 == 0;

        pairs[i] =
            make_pair(four ? mail_port4 : mail_port6,
                      connect_to(client_ns, NULL, 0, i % 3 == 2 ? MAIL6 : MAIL4, four ? 25 : 587));
    }
    all = list();
    assert_int_equal(all.count, wanted);
    for (i = 1; i < wanted; i++) {
        const struct session *one = &all.items[i - 1], *two = &all.items[i];
        int order = addr_cmp(&one->remote, &two->remote);

        assert_true(order < 0 || (order == 0 && one->local_port <= two->local_port));
    }
    for (i = 0; i < wanted; i += 2)
        assert_int_equal(session_destroy(&all.items[i], NULL), 0);
    free(all.items);
    assert_int_equal(count_now(), wanted / 2);
    for (i = 0; i < wanted; i++)
        close_pair(&pairs[i]);
    free(pairs);
    until_count(0);
}

/* Nobody's privileges are enough to list, and not to end. */
static void test_unprivileged(void **state)
{
    struct pair pair;
    int status;
    pid_t pid;

    (void)state;
    NEED_ROOT();
    pair = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct session *items = NULL;
        size_t count = 0;
        struct err e = {0};
        int failed = setgid(65534) < 0 || setuid(65534) < 0;

        failed |= (session_list(guarded, 2, &items, &count, &e) < 0 || count != 1) << 1;
        if (!failed)
            failed |= (session_destroy(items, &e) != -EPERM || e.code != EXIT_DENIED) << 2;
        free(items);
        _exit(failed);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(lives(&pair));
    close_pair(&pair);
    until_count(0);
}

/* ---- ending ---- */

static void test_destroy(void **state)
{
    struct pair pairs[6];
    struct list all;
    char byte;
    int i;

    (void)state;
    NEED_ROOT();
    for (i = 0; i < 6; i++)
        pairs[i] =
            make_pair(i < 2 ? mail_port4 : mail_port6,
                      connect_to(client_ns, NULL, 0, i < 4 ? MAIL4 : MAIL6, i < 2 ? 25 : 587));
    all = list();
    assert_int_equal(all.count, 6);
    for (i = 0; i < 6; i += 2)
        assert_int_equal(session_destroy(find(&all, &pairs[i]), NULL), 0);
    for (i = 0; i < 6; i++) {
        if (i % 2) {
            assert_true(lives(&pairs[i]));
            continue;
        }
        assert_true(was_reset(pairs[i].client));
        assert_int_equal(recv(pairs[i].server, &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, ECONNABORTED);
    }
    assert_int_equal(count_now(), 3);
    /* What has ended already is no failure. */
    for (i = 0; i < 6; i += 2)
        assert_int_equal(session_destroy(find(&all, &pairs[i]), NULL), 0);
    assert_int_equal(count_now(), 3);
    free(all.items);
    for (i = 0; i < 6; i++)
        close_pair(&pairs[i]);
    until_count(0);
}

/* One of multipath TCP is listed by its subflow, which can be ended. */
static void test_multipath(void **state)
{
    struct sockaddr_storage address;
    socklen_t len = fill(&address, MAIL4, 465);
    const uint16_t port = 465;
    struct session *items;
    int listener, client;
    struct pair pair;
    size_t count;

    (void)state;
    NEED_ROOT();
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
    enter(client_ns);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
    enter(mail_ns);
    NEED(listener >= 0 && client >= 0, "multipath TCP");
    bind_to(listener, "0.0.0.0", 465);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
    pair = make_pair(listener, client);
    assert_true(lives(&pair));
    assert_int_equal(session_list(&port, 1, &items, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].remote_port, pair.port);
    assert_int_equal(session_destroy(&items[0], NULL), 0);
    free(items);
    assert_int_equal(session_list(&port, 1, &items, &count, NULL), 0);
    assert_int_equal(count, 0);
    free(items);
    close_pair(&pair);
    close(listener);
}

/* A later session of the same addresses and ports is another one. */
static void test_destroy_the_right_one(void **state)
{
    static const char *const sources[] = {CLIENT4, CLIENT4, CLIENT6};
    static const char *const targets[] = {MAIL4, MAIL4, MAIL6};

    (void)state;
    NEED_ROOT();
    for (int i = 0; i < 3; i++) {
        int listener = i ? mail_port6 : mail_port4;
        uint16_t port = i ? 587 : 25;
        struct pair first, second;
        struct list all;

        first = make_pair(listener, connect_to(client_ns, sources[i], 40000, targets[i], port));
        all = list();
        assert_int_equal(all.count, 1);
        close_pair(&first);
        until_count(0);
        second = make_pair(listener, connect_to(client_ns, sources[i], 40000, targets[i], port));
        assert_int_equal(session_destroy(&all.items[0], NULL), 0);
        assert_true(lives(&second));
        free(all.items);
        close_pair(&second);
        until_count(0);
    }
}

/* ---- trouble ---- */

static void test_read_again(void **state)
{
    static const enum trouble kinds[] = {TROUBLE_CHANGED, TROUBLE_FULL, TROUBLE_SIGNAL,
                                         TROUBLE_STRANGER};
    struct pair pair;
    size_t i;

    (void)state;
    NEED_ROOT();
    pair = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    for (i = 0; i < 4; i++) {
        trouble(kinds[i], 0, 3);
        assert_int_equal(count_now(), 1);
        assert_int_equal(net.times, 0);
        assert_true(net.calls > 3);
    }
    /* A table that never stands still: what is seen of it, and an end. */
    trouble(TROUBLE_CHANGED, 0, 1000000);
    assert_int_equal(count_now(), 1);
    assert_in_range(net.calls, 10, 100);
    trouble(TROUBLE_NONE, 0, 0);
    close_pair(&pair);
    until_count(0);
}

static void test_list_fails(void **state)
{
    static const struct {
        enum trouble kind;
        int number;
        int expected;
        enum exit_code code;
        const char *message;
    } cases[] = {
        {TROUBLE_FULL, 0, -ENOBUFS, EXIT_REFUSED, "No buffer space"},
        {TROUBLE_TOO_LONG, 0, -EMSGSIZE, EXIT_REFUSED, "too long"},
        {TROUBLE_REFUSED, -EIO, -EIO, EXIT_REFUSED, "Input/output error"},
        {TROUBLE_REFUSED, -ENOENT, -ENOENT, EXIT_REFUSED, "no tcp_diag"},
        {TROUBLE_REFUSED, -EPERM, -EPERM, EXIT_DENIED, "not permitted"},
        {TROUBLE_END, -ENOMEM, -ENOMEM, EXIT_REFUSED, "out of memory"},
        {TROUBLE_SHORT, 0, -EBADMSG, EXIT_REFUSED, "Bad message"},
        {TROUBLE_SHORT_ONE, 0, -EBADMSG, EXIT_REFUSED, "Bad message"},
    };

    (void)state;
    NEED_ROOT();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct session *items = NULL;
        size_t count = 99;
        struct err e = {0};

        trouble(cases[i].kind, cases[i].number, 1000);
        assert_int_equal(session_list(guarded, 2, &items, &count, &e), cases[i].expected);
        assert_int_equal(e.code, cases[i].code);
        if (!strcasestr(e.message, cases[i].message))
            fail_msg("case %zu: %s", i, e.message);
        assert_null(items);
        assert_int_equal(count, 99);
    }
    trouble(TROUBLE_NONE, 0, 0);
}

static void test_destroy_fails(void **state)
{
    struct err e = {0};
    struct pair pair;
    struct list all;

    (void)state;
    NEED_ROOT();
    pair = make_pair(mail_port4, connect_to(client_ns, NULL, 0, MAIL4, 25));
    all = list();
    trouble(TROUBLE_REFUSED, -EOPNOTSUPP, 1);
    assert_int_equal(session_destroy(&all.items[0], &e), -EOPNOTSUPP);
    assert_int_equal(e.code, EXIT_REFUSED);
    assert_non_null(strstr(e.message, "this kernel cannot end a session"));
    assert_non_null(strstr(e.hint, "restart the mail server"));
    trouble(TROUBLE_REFUSED, -EIO, 1);
    assert_int_equal(session_destroy(&all.items[0], &e), -EIO);
    assert_non_null(strstr(e.message, CLIENT4));
    trouble(TROUBLE_SHORT, 0, 1);
    assert_int_equal(session_destroy(&all.items[0], &e), -EBADMSG);
    trouble(TROUBLE_NONE, 0, 0);
    free(all.items);
    close_pair(&pair);
    until_count(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_from_outside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_states, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unprivileged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_multipath, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroy_the_right_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroy_fails, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
