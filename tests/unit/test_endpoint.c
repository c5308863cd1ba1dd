// LINK: endpoint addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/* What is an address and port to listen on, what is not, and that a socket listens there. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "endpoint.h"

static void test_good(void **state)
{
    static const struct {
        const char *text, *address;
        unsigned int port;
    } rows[] = {
        {"127.0.0.1:10465", "127.0.0.1", 10465}, {"0.0.0.0:1", "0.0.0.0", 1},
        {"192.0.2.1:65535", "192.0.2.1", 65535}, {"[::]:80", "::", 80},
        {"[2001:db8::7]:9", "2001:db8::7", 9},
    };
    char text[ADDR_TEXT_MAX];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct endpoint endpoint;

        assert_int_equal(endpoint_parse(rows[i].text, &endpoint, NULL), 0);
        assert_string_equal(addr_print(&endpoint.address, text), rows[i].address);
        assert_int_equal(endpoint.port, rows[i].port);
    }
}

static void test_bad(void **state)
{
    static const char *const rows[] = {
        "",
        ":",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:080",
        "127.0.0.1:65536",
        "127.0.0.1:4294967376",
        "127.0.0.1:+80",
        "127.0.0.1:80 ",
        "127.0.0.1 :80",
        "localhost:80",
        "[127.0.0.1]:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "[]:80",
        "[[::1]]:80",
        "[fe80::1%eth0]:80",
        "\xff:80",
        "0000000000000000000000000000000000000000000000000000000000000000000000000:80",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct endpoint endpoint = {.port = 7};
        struct err e = {0};

        assert_int_equal(endpoint_parse(rows[i], &endpoint, &e), -EINVAL);
        assert_int_equal(e.code, EXIT_USAGE);
        assert_int_equal(endpoint.port, 7);
        assert_non_null(strstr(e.hint, "--listen"));
    }
}

/* A port that is free right now: by asking for any. */
static uint16_t free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    close(fd);
    return ntohs(name.sin_port);
}

static void test_listen(void **state)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct endpoint endpoint;
    struct err e = {0};
    int fd, second, client = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(addr_parse("127.0.0.1", &endpoint.address, NULL), 0);
    endpoint.port = free_port();
    name.sin_port = htons(endpoint.port);
    assert_int_equal(endpoint_listen(&endpoint, &fd, &e), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(endpoint_listen(&endpoint, &second, &e), -EADDRINUSE);
    assert_int_equal(e.code, EXIT_REFUSED);
    assert_non_null(strstr(e.message, "127.0.0.1 port"));
    assert_int_equal(addr_parse("192.0.2.254", &endpoint.address, NULL), 0);
    assert_int_equal(endpoint_listen(&endpoint, &second, &e), -EADDRNOTAVAIL);
    close(client);
    close(fd);
}

/* IPv6's "any" takes IPv4 too, as the sockets of systemd do, whatever this host's default is. */
static void test_any(void **state)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd, client = socket(AF_INET, SOCK_STREAM, 0);
    struct endpoint endpoint;
    struct err e = {0};

    (void)state;
    assert_int_equal(addr_parse("::", &endpoint.address, NULL), 0);
    endpoint.port = free_port();
    name.sin_port = htons(endpoint.port);
    if (endpoint_listen(&endpoint, &fd, &e) == -EAFNOSUPPORT) {
        close(client);
        skip(); /* a kernel without IPv6 */
    }
    assert_int_equal(connect(client, (struct sockaddr *)&name, sizeof(name)), 0);
    close(client);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_any),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
