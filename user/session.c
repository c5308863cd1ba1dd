/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See session.h. The kernel picks the ports, so that a web server's hundred thousand sessions are
 * not copied; what is of this host is left out here.
 */
#include "session.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "iface.h"
#include "util.h"

/* A table that changes while it is read, or comes faster than it is read, is read again. */
#define ATTEMPTS 5

/* The kernel's own largest piece of a dump. */
#define BUFFER_SIZE 32768

#define STATES                                                                                \
    (1U << TCP_SYN_RECV | 1U << TCP_ESTABLISHED | 1U << TCP_FIN_WAIT1 | 1U << TCP_FIN_WAIT2 | \
     1U << TCP_CLOSE_WAIT | 1U << TCP_LAST_ACK | 1U << TCP_CLOSING)

/* inet_diag_msg.idiag_timer of what is left of a session that both or our side closed. */
#define TIMER_TIME_WAIT 3

#define OPS_PER_PORT 5

struct sessions {
    struct session *items;
    size_t count;
    size_t room;
};

static void free_sessions(struct sessions *all)
{
    free(all->items);
}

#define _cleanup_sessions_ __attribute__((cleanup(free_sessions)))

static int push(struct sessions *all, const struct session *one)
{
    if (all->count == all->room) {
        size_t room = all->room ? all->room * 2 : 64;
        struct session *items = reallocarray(all->items, room, sizeof(*items));

        if (!items)
            return -ENOMEM;
        all->items = items;
        all->room = room;
    }
    all->items[all->count++] = *one;
    return 0;
}

/* ---- talking to the kernel ---- */

static int open_socket(int *ret_fd)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

static int send_request(int fd, const void *request, size_t size)
{
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t n;

    do
        n = sendto(fd, request, size, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* What the kernel, and nobody else, has sent. */
static int receive(int fd, void *buffer, unsigned int *ret_len)
{
    struct sockaddr_nl from = {0};
    struct iovec part = {.iov_base = buffer, .iov_len = BUFFER_SIZE};
    ssize_t n;

    for (;;) {
        struct msghdr message = {
            .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1};

        n = recvmsg(fd, &message, 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n < 0 || from.nl_pid != 0)
            continue;
        if (message.msg_flags & MSG_TRUNC)
            return -EMSGSIZE;
        *ret_len = (unsigned int)n;
        return 0;
    }
}

/* 0 or -errno: an acknowledgement, a refusal, or how a dump ended. */
static int read_outcome(const struct nlmsghdr *header)
{
    int outcome = 0;

    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(outcome)))
        return header->nlmsg_type == NLMSG_DONE ? 0 : -EBADMSG;
    memcpy(&outcome, NLMSG_DATA(header), sizeof(outcome));
    return outcome < 0 ? outcome : 0;
}

/* ---- the list ---- */

/*
 * The kernel's small machine for filters: an instruction says how many bytes to go on by when its
 * condition holds and when not. Going to the end lets the socket through, going past it does not.
 */
static size_t write_filter(const uint16_t *ports, size_t n_ports, struct inet_diag_bc_op *ops)
{
    const unsigned int size = sizeof(*ops), block = OPS_PER_PORT * size;

    for (size_t i = 0; i < n_ports; i++, ops += OPS_PER_PORT) {
        unsigned int end = (unsigned int)(n_ports - i) * block;
        unsigned int other = i + 1 == n_ports ? end + size : block;

        ops[0] = (struct inet_diag_bc_op){INET_DIAG_BC_S_GE, 2 * size, (uint16_t)other};
        ops[1] = (struct inet_diag_bc_op){.no = ports[i]};
        ops[2] =
            (struct inet_diag_bc_op){INET_DIAG_BC_S_LE, 2 * size, (uint16_t)(other - 2 * size)};
        ops[3] = (struct inet_diag_bc_op){.no = ports[i]};
        ops[4] = (struct inet_diag_bc_op){INET_DIAG_BC_JMP, size, (uint16_t)(end - 4 * size)};
    }
    return n_ports * block;
}

static int send_dump(int fd, uint8_t family, const uint16_t *ports, size_t n_ports)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
        struct nlattr filter;
        struct inet_diag_bc_op ops[SESSION_PORTS_MAX * OPS_PER_PORT];
    } request = {
        .header = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = STATES},
        .filter = {.nla_type = INET_DIAG_REQ_BYTECODE},
    };
    size_t filter = sizeof(request.filter) + write_filter(ports, n_ports, request.ops);
    size_t size = sizeof(request.header) + sizeof(request.body) + filter;

    request.filter.nla_len = (uint16_t)filter;
    request.header.nlmsg_len = (uint32_t)size;
    return send_request(fd, &request, size);
}

static struct addr read_addr(uint8_t family, const uint32_t words[4])
{
    struct addr addr = {.family = family == AF_INET ? ADDR_IP4 : ADDR_IP6};
    struct in6_addr in6;

    memcpy(&in6, words, sizeof(in6));
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6)) {
        addr.family = ADDR_IP4;
        memcpy(addr.bytes, &in6.s6_addr[12], 4);
    } else {
        memcpy(addr.bytes, words, addr_len(addr.family));
    }
    return addr;
}

static int add_session(const struct inet_diag_msg *message, struct sessions *all)
{
    struct session one = {
        .remote = read_addr(message->idiag_family, message->id.idiag_dst),
        .local = read_addr(message->idiag_family, message->id.idiag_src),
        .remote_port = ntohs(message->id.idiag_dport),
        .local_port = ntohs(message->id.idiag_sport),
        .inode = message->idiag_inode,
        .uid = message->idiag_uid,
        .state = message->idiag_state,
        .ifindex = message->id.idiag_if,
        .cookie = {message->id.idiag_cookie[0], message->id.idiag_cookie[1]},
    };

    return message->idiag_timer == TIMER_TIME_WAIT ? 0 : push(all, &one);
}

/* One message of a dump: 1 it was the last, 0 there are more. */
static int read_message(const struct nlmsghdr *header, struct sessions *all)
{
    int r;

    if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
        r = read_outcome(header);
        return r < 0 ? r : 1;
    }
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return 0;
    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
        return -EBADMSG;
    return add_session(NLMSG_DATA(header), all);
}

/* A whole dump; @ret_changed: the table changed on the way, something may be missing. */
static int read_dump(int fd, void *buffer, struct sessions *all, bool *ret_changed)
{
    bool changed = false;

    for (;;) {
        const struct nlmsghdr *header = buffer;
        unsigned int len;
        int r = receive(fd, buffer, &len);

        if (r < 0)
            return r;
        for (; NLMSG_OK(header, len); header = NLMSG_NEXT(header, len)) {
            changed |= (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            r = read_message(header, all);
            if (r < 0)
                return r;
            if (r == 0)
                continue;
            *ret_changed = changed;
            return 0;
        }
        if (len)
            return -EBADMSG;
    }
}

/* What is left of an attempt that failed goes with its socket. */
static int dump_once(uint8_t family, const uint16_t *ports, size_t n_ports, struct sessions *all,
                     bool *ret_changed)
{
    _cleanup_free_ void *buffer = malloc(BUFFER_SIZE);
    _cleanup_close_ int fd = -1;
    int r = buffer ? open_socket(&fd) : -ENOMEM;

    if (r == 0)
        r = send_dump(fd, family, ports, n_ports);
    if (r == 0)
        r = read_dump(fd, buffer, all, ret_changed);
    return r;
}

/* Of a table that never stands still what was there must do. */
static int dump(uint8_t family, const uint16_t *ports, size_t n_ports, struct sessions *all)
{
    const size_t before = all->count;
    bool changed = true;
    int i, r = 0;

    for (i = 0; i < ATTEMPTS && (r == -ENOBUFS || (r == 0 && changed)); i++) {
        all->count = before;
        r = dump_once(family, ports, n_ports, all, &changed);
    }
    return r;
}

static int fail_list(int r, struct err *e)
{
    if (r == -ENOMEM)
        return err_set(e, r, EXIT_REFUSED, "out of memory");
    if (r == -ENOENT || r == -EPROTONOSUPPORT || r == -EAFNOSUPPORT) {
        err_set(e, r, EXIT_REFUSED, "this kernel cannot list its TCP sessions: it has no tcp_diag");
        err_hint(e, "modprobe tcp_diag");
        return r;
    }
    return err_set(e, r, r == -EPERM || r == -EACCES ? EXIT_DENIED : EXIT_REFUSED,
                   "cannot read the kernel's TCP sessions: %s", strerror(-r));
}

/* ---- what is of this host, or there twice ---- */

static int compare_addresses(const void *a, const void *b)
{
    return addr_cmp(&((const struct iface_address *)a)->address,
                    &((const struct iface_address *)b)->address);
}

static int drop_own(struct sessions *all, struct err *e)
{
    _cleanup_free_ struct iface_address *own = NULL;
    size_t i, n_own, kept = 0;
    int r = iface_read_addresses(&own, &n_own, e);

    if (r < 0)
        return r;
    qsort(own, n_own, sizeof(*own), compare_addresses);
    for (i = 0; i < all->count; i++) {
        const struct iface_address key = {.address = all->items[i].remote};

        if (!iface_is_loopback(&key.address) &&
            !bsearch(&key, own, n_own, sizeof(*own), compare_addresses))
            all->items[kept++] = all->items[i];
    }
    all->count = kept;
    return 0;
}

static int compare_sessions(const void *a, const void *b)
{
    const struct session *one = a, *two = b;
    int order = addr_cmp(&one->remote, &two->remote);

    if (!order)
        order = (int)one->local_port - (int)two->local_port;
    if (!order)
        order = (int)one->remote_port - (int)two->remote_port;
    if (!order)
        order = addr_cmp(&one->local, &two->local);
    return order ? order : memcmp(one->cookie, two->cookie, sizeof(one->cookie));
}

/* A dump comes in pieces, and a socket that moved between two is in both. */
static void sort_once(struct sessions *all)
{
    size_t i, kept = 0;

    if (!all->count)
        return;
    qsort(all->items, all->count, sizeof(*all->items), compare_sessions);
    for (i = 1; i < all->count; i++)
        if (compare_sessions(&all->items[kept], &all->items[i]))
            all->items[++kept] = all->items[i];
    all->count = kept + 1;
}

int session_list(const uint16_t *ports, size_t n_ports, struct session **ret_sessions,
                 size_t *ret_count, struct err *e)
{
    _cleanup_sessions_ struct sessions all = {0};
    int r = 0;

    if (n_ports > SESSION_PORTS_MAX)
        return err_set(e, -EINVAL, EXIT_USAGE, "more than %d ports", SESSION_PORTS_MAX);
    if (n_ports)
        r = dump(AF_INET, ports, n_ports, &all);
    if (n_ports && r == 0)
        r = dump(AF_INET6, ports, n_ports, &all);
    if (r < 0)
        return fail_list(r, e);
    r = drop_own(&all, e);
    if (r < 0)
        return r;
    sort_once(&all);
    *ret_count = all.count;
    *ret_sessions = TAKE_PTR(all.items);
    return 0;
}

bool session_is_proven(const struct session *session)
{
    return session->state != TCP_SYN_RECV;
}

/* ---- the end of one ---- */

/* An IPv6 socket with an IPv4 session is found by its IPv4 addresses just as well. */
static int send_destroy(int fd, const struct session *session)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
    } request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = SOCK_DESTROY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .body = {.sdiag_family = session->remote.family == ADDR_IP4 ? AF_INET : AF_INET6,
                 .sdiag_protocol = IPPROTO_TCP,
                 .id = {.idiag_sport = htons(session->local_port),
                        .idiag_dport = htons(session->remote_port),
                        .idiag_if = session->ifindex,
                        .idiag_cookie = {session->cookie[0], session->cookie[1]}}},
    };

    memcpy(request.body.id.idiag_src, session->local.bytes, addr_len(session->local.family));
    memcpy(request.body.id.idiag_dst, session->remote.bytes, addr_len(session->remote.family));
    return send_request(fd, &request, sizeof(request));
}

static int destroy(const struct session *session)
{
    _cleanup_free_ void *buffer = malloc(BUFFER_SIZE);
    _cleanup_close_ int fd = -1;
    unsigned int len = 0;
    int r = buffer ? open_socket(&fd) : -ENOMEM;

    if (r == 0)
        r = send_destroy(fd, session);
    if (r == 0)
        r = receive(fd, buffer, &len);
    if (r < 0)
        return r;
    return NLMSG_OK((const struct nlmsghdr *)buffer, len) ? read_outcome(buffer) : -EBADMSG;
}

int session_destroy(const struct session *session, struct err *e)
{
    char from[ADDR_TEXT_MAX];
    int r = destroy(session);

    switch (r) {
    case 0:
    case -ENOENT: /* it has ended, or its place is another session's */
    case -ESTALE:
        return 0;
    case -EOPNOTSUPP:
        err_set(e, r, EXIT_REFUSED,
                "this kernel cannot end a session (it was built without INET_DIAG_DESTROY)");
        err_hint(e, "restart the mail server: that ends all its sessions");
        return r;
    case -EPERM:
    case -EACCES:
        err_set(e, r, EXIT_DENIED, "not permitted to end a session");
        err_hint(e, "run it as root (sudo)");
        return r;
    default:
        return err_set(e, r, EXIT_REFUSED, "cannot end the session of %s port %u: %s",
                       addr_print(&session->remote, from), session->remote_port, strerror(-r));
    }
}
