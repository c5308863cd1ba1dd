/* SPDX-License-Identifier: GPL-2.0-only */
/* See endpoint.h. */
#include "endpoint.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "text.h"
#include "util.h"

/* "1" to "65535", without sign or leading zero; 0: none of these. */
static uint16_t parse_port(const char *text)
{
    size_t len = strlen(text);
    unsigned long port;

    if (!len || len > 5 || strspn(text, "0123456789") != len || *text == '0')
        return 0;
    port = strtoul(text, NULL, 10);
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* An IPv6 address stands in brackets, and only one: its colons would be the port's else. */
static bool split(const char *text, struct endpoint *ret_endpoint)
{
    const char *colon = strrchr(text, ':');
    char host[ADDR_TEXT_MAX];
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';

    if (brackets) {
        text++;
        len -= 2;
    }
    if (!len || len >= sizeof(host))
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    ret_endpoint->port = parse_port(colon + 1);
    return ret_endpoint->port && addr_parse(host, &ret_endpoint->address, NULL) == 0 &&
           brackets == (ret_endpoint->address.family == ADDR_IP6);
}

int endpoint_parse(const char *text, struct endpoint *ret_endpoint, struct err *e)
{
    struct endpoint endpoint;
    char shown[80];

    if (split(text, &endpoint)) {
        *ret_endpoint = endpoint;
        return 0;
    }
    err_set(e, 0, EXIT_USAGE, "\"%s\" is no address and port to listen on",
            text_escape(text, shown, sizeof(shown)));
    err_hint(e, "--listen 127.0.0.1:10465, or --listen '[::1]:10465'; names are not looked up");
    return -EINVAL;
}

static socklen_t fill_sockaddr(const struct endpoint *endpoint, struct sockaddr_storage *ret_name)
{
    struct sockaddr_in ip4 = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
    struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};

    memset(ret_name, 0, sizeof(*ret_name));
    if (endpoint->address.family == ADDR_IP4) {
        memcpy(&ip4.sin_addr, endpoint->address.bytes, sizeof(ip4.sin_addr));
        memcpy(ret_name, &ip4, sizeof(ip4));
        return sizeof(ip4);
    }
    memcpy(&ip6.sin6_addr, endpoint->address.bytes, sizeof(ip6.sin6_addr));
    memcpy(ret_name, &ip6, sizeof(ip6));
    return sizeof(ip6);
}

static int fail_listen(const struct endpoint *endpoint, int error, struct err *e)
{
    bool ip6 = endpoint->address.family == ADDR_IP6;
    char text[ADDR_TEXT_MAX];

    addr_print(&endpoint->address, text);
    err_set(e, 0, error == EACCES || error == EPERM ? EXIT_DENIED : EXIT_REFUSED,
            "cannot listen on %s%s%s port %u: %s", ip6 ? "[" : "", text, ip6 ? "]" : "",
            endpoint->port, strerror(error));
    if (error == EADDRINUSE)
        err_hint(e, "who has it: ss -ltnp 'sport = :%u'; or take another port", endpoint->port);
    else if (error == EADDRNOTAVAIL)
        err_hint(e, "this host has no such address: ip address show");
    return -error;
}

int endpoint_listen(const struct endpoint *endpoint, int *ret_fd, struct err *e)
{
    struct sockaddr_storage name;
    socklen_t len = fill_sockaddr(endpoint, &name);
    _cleanup_close_ int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1, off = 0;

    if (fd < 0)
        return fail_listen(endpoint, errno, e);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (name.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, (struct sockaddr *)&name, len) < 0 || listen(fd, SOMAXCONN) < 0)
        return fail_listen(endpoint, errno, e);
    *ret_fd = TAKE_FD(fd);
    return 0;
}
