// LINK: actor addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who runs a command, asked by real processes: this program starts itself again as a chain of
 * ancestors with environments of their own, whose last one prints what actor_read() says.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "actor.h"

#define OUTPUT_MAX 4096
#define WORDS_MAX  8

/* How a chain is made; what is not set is empty. */
struct chain {
    const char *first;          /* the environment of the furthest ancestor: one variable */
    const char *env[WORDS_MAX]; /* that of the process itself */
    int depth;                  /* ancestors, that one included */
    int uid;
    const char *login; /* audit's login uid */
    int terminal;      /* standard error, if not 0 */
};

/* ---- in the chain ---- */

/* The parent waits and hands the status on; returns in the child only. */
static void go_deeper(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        return;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        _exit(125);
    _exit(WEXITSTATUS(status));
}

/*
 * Arguments: "chain" DEPTH VARIABLE... The first ancestor keeps its environment to itself; the
 * others are started with none. All have an unpleasant name.
 */
static int spawn(char **argv)
{
    char word[] = "links", *none[] = {NULL};
    long left = strtol(argv[2], NULL, 10);

    prctl(PR_SET_NAME, "x) R 1 (y");
    if (!strcmp(argv[1], "chain") && left > 1) {
        go_deeper();
        argv[1] = word;
        execve("/proc/self/exe", argv, none);
        _exit(126);
    }
    if (!strcmp(argv[1], "links"))
        left--;
    for (; left > 0; left--)
        go_deeper();
    memcpy(argv[1], "show", 5);
    execve("/proc/self/exe", argv, argv + 3);
    _exit(126);
}

static int show(void)
{
    struct actor actor;
    char text[ADDR_TEXT_MAX] = "-";

    memset(&actor, 0xff, sizeof(actor));
    actor_read(&actor);
    if (actor.has_ssh_client)
        addr_print(&actor.ssh_client, text);
    printf("%u [%s] [%s] %s %u", actor.uid, actor.name, actor.from, text, actor.ssh_port);
    return 0;
}

/* ---- the tests' side ---- */

static void write_login(const char *login)
{
    int fd = open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, login, strlen(login)) != (ssize_t)strlen(login))
        _exit(77);
    close(fd);
}

static void start(const struct chain *chain, int out)
{
    char depth[16], program[] = "test_actor", word[] = "chain", first[8192] = "", lang[] = "LANG=C";
    char *argv[WORDS_MAX + 4] = {program, word, depth}, *env[] = {lang, first, NULL};
    int i, null = open("/dev/null", O_RDWR | O_CLOEXEC);

    snprintf(depth, sizeof(depth), "%d", chain->depth ? chain->depth : 1);
    snprintf(first, sizeof(first), "%s", chain->first ? chain->first : "");
    for (i = 0; i < WORDS_MAX && chain->env[i]; i++)
        argv[3 + i] = (char *)chain->env[i];
    dup2(null, STDIN_FILENO);
    dup2(chain->terminal ? chain->terminal : out, STDERR_FILENO);
    dup2(out, STDOUT_FILENO);
    if (chain->login)
        write_login(chain->login);
    if (chain->uid && setuid((uid_t)chain->uid) < 0)
        _exit(123);
    execve("/proc/self/exe", argv, env);
    _exit(127);
}

/* What the last process prints; false: this kernel gives no login uid away. */
static bool run(const struct chain *chain, char ret_text[OUTPUT_MAX])
{
    size_t used = 0;
    int status, fds[2];
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        start(chain, fds[1]);
    close(fds[1]);
    while ((n = read(fds[0], ret_text + used, OUTPUT_MAX - 1 - used)) > 0)
        used += (size_t)n;
    ret_text[used] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        return false;
    if (status != 0)
        fail_msg("status %d: %s", status, ret_text);
    return true;
}

static void expect(const struct chain *chain, const char *expected)
{
    char text[OUTPUT_MAX];

    assert_true(run(chain, text));
    assert_string_equal(text, expected);
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

/* Deep enough that no ancestor of the test itself is asked. */
#define ALONE 21

/* "0 [root]": what is said when sudo is not believed. The login uid is that of the tests. */
static void fallback(const char *from, char ret_text[OUTPUT_MAX])
{
    struct chain chain = {.depth = ALONE};
    char text[OUTPUT_MAX];

    assert_true(run(&chain, text));
    assert_non_null(strchr(text, ']'));
    snprintf(ret_text, OUTPUT_MAX, "%.*s %s", (int)(strchr(text, ']') + 1 - text), text, from);
}

static void test_sudo(void **state)
{
    (void)state;
    NEED_ROOT();
    expect(&(struct chain){.env = {"SUDO_USER=daemon", "SUDO_UID=1"}, .depth = ALONE},
           "1 [daemon] [] - 0");
    expect(&(struct chain){.env = {"SUDO_USER=daemon"}, .depth = ALONE}, "1 [daemon] [] - 0");
    /* Somebody whom this host does not know (any more). */
    expect(
        &(struct chain){.env = {"SUDO_USER=no.such-user_x", "SUDO_UID=4000000001"}, .depth = ALONE},
        "4000000001 [no.such-user_x] [] - 0");
    expect(&(struct chain){.env = {"SUDO_USER=EXAMPLE\\alice@example.org", "SUDO_UID=70001"},
                           .depth = ALONE},
           "70001 [EXAMPLE\\alice@example.org] [] - 0");
}

/* What contradicts itself, or is no name, is as if it were not there. */
static void test_sudo_not_believed(void **state)
{
    static const char *const cases[][2] = {
        {"SUDO_USER=daemon", "SUDO_UID=2"},
        {"SUDO_USER=daemon", "SUDO_UID=1x"},
        {"SUDO_USER=daemon", "SUDO_UID=-1"},
        {"SUDO_USER=daemon", "SUDO_UID="},
        {"SUDO_USER=daemon", "SUDO_UID=4294967297"},
        {"SUDO_USER=daemon", "SUDO_UID=18446744073709551617"},
        {"SUDO_USER=no.such-user_x", NULL},
        {"SUDO_USER=no.such-user_x", "SUDO_UID=many"},
        {"SUDO_USER=", "SUDO_UID=70001"},
        {"SUDO_UID=1", NULL},
        {"SUDO_USER=a b", "SUDO_UID=70001"},
        {"SUDO_USER=a\nb", "SUDO_UID=70001"},
        {"SUDO_USER=\x1b[31mroot", "SUDO_UID=70001"},
        {"SUDO_USER=\xe2\x80\xaetoor", "SUDO_UID=70001"},
        {"SUDO_USER=a\x7f", "SUDO_UID=70001"},
        {"SUDO_USER=1234567890123456789012345678901234567890123456789012345678901234",
         "SUDO_UID=70001"},
    };
    char expected[OUTPUT_MAX];

    (void)state;
    NEED_ROOT();
    fallback("[] - 0", expected);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(&(struct chain){.env = {cases[i][0], cases[i][1]}, .depth = ALONE}, expected);
}

/* Who is not root has not come by sudo. */
static void test_not_root(void **state)
{
    char text[OUTPUT_MAX];

    (void)state;
    NEED_ROOT();
    assert_true(run(
        &(struct chain){.env = {"SUDO_USER=daemon", "SUDO_UID=1"}, .depth = ALONE, .uid = 65534},
        text));
    assert_null(strstr(text, "daemon"));
}

static void test_login(void **state)
{
    char text[OUTPUT_MAX];

    (void)state;
    NEED_ROOT();
    NEED(run(&(struct chain){.login = "1"}, text), "login uid to set");
    expect(&(struct chain){.login = "1", .depth = ALONE}, "1 [daemon] [] - 0");
    expect(&(struct chain){.login = "4000000001", .depth = ALONE},
           "4000000001 [uid 4000000001] [] - 0");
    expect(&(struct chain){.login = "1", .uid = 65534, .depth = ALONE}, "1 [daemon] [] - 0");
    /* sudo knows better. */
    expect(&(struct chain){.login = "1", .env = {"SUDO_USER=bin", "SUDO_UID=2"}, .depth = ALONE},
           "2 [bin] [] - 0");
}

/* The process's own SSH_CONNECTION: what is one, and what is not. */
static void test_connection(void **state)
{
    static const char *const cases[][2] = {
        {"198.51.100.7 50312 192.0.2.1 22", "[198.51.100.7] 198.51.100.7 22"},
        {"198.51.100.7 50312 192.0.2.1 2222", "[198.51.100.7] 198.51.100.7 2222"},
        {"2001:DB8:0::7 50312 2001:db8::1 22", "[2001:db8::7] 2001:db8::7 22"},
        {"fe80::7%eth0 50312 fe80::1%eth0 22", "[fe80::7] fe80::7 22"},
        {"UNKNOWN 65535 UNKNOWN 65535", "[] - 0"},
        {"", "[] - 0"},
        {"198.51.100.7", "[] - 0"},
        {"198.51.100.7 50312 192.0.2.1", "[] - 0"},
        {"198.51.100.7 50312 192.0.2.1 0", "[] - 0"},
        {"198.51.100.7 50312 192.0.2.1 65536", "[] - 0"},
        {"198.51.100.7 50312 192.0.2.1 x", "[] - 0"},
        {"198.51.100.7x 50312 192.0.2.1 22", "[] - 0"},
        {"198.51.100.7% 50312 192.0.2.1 22", "[] - 0"},
        {"198.51.100.0/24 50312 192.0.2.1 22", "[] - 0"},
        {"198.51.100.256 50312 192.0.2.1 22", "[] - 0"},
        {"mail.example.org 50312 192.0.2.1 22", "[] - 0"},
        {"\x1b[31m198.51.100.7 50312 192.0.2.1 22", "[] - 0"},
        {"1111111111111111111111111111111111111111111111111.1 1 192.0.2.1 22", "[] - 0"},
    };
    char expected[OUTPUT_MAX], variable[256];

    (void)state;
    NEED_ROOT();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fallback(cases[i][1], expected);
        snprintf(variable, sizeof(variable), "SSH_CONNECTION=%s", cases[i][0]);
        expect(&(struct chain){.env = {"LANG=C", variable}, .depth = ALONE}, expected);
    }
}

/* sudo and su drop it: it is an ancestor's. */
static void test_ancestor(void **state)
{
    static const char far[] = "SSH_CONNECTION=198.51.100.7 50312 192.0.2.1 22";
    char expected[OUTPUT_MAX];

    (void)state;
    NEED_ROOT();
    fallback("[198.51.100.7] 198.51.100.7 22", expected);
    expect(&(struct chain){.first = far, .depth = 1}, expected);
    expect(&(struct chain){.first = far, .depth = 3}, expected);
    expect(&(struct chain){.first = far, .depth = 20}, expected);
    /* What cannot be read is passed over. */
    expect(&(struct chain){.first = far, .env = {"SSH_CONNECTION=nothing"}, .depth = 3}, expected);
    /* The process's own comes first. */
    expect(&(struct chain){.first = "SSH_CONNECTION=203.0.113.9 1 192.0.2.1 22",
                           .env = {far},
                           .depth = 3},
           expected);
    /* No further than twenty, and nothing that only sounds like it. */
    fallback("[] - 0", expected);
    expect(&(struct chain){.first = far, .depth = 21}, expected);
    expect(&(struct chain){.env = {"XSSH_CONNECTION=198.51.100.7 50312 192.0.2.1 22",
                                   "SSH_CONNECTION_X=198.51.100.7 50312 192.0.2.1 22"},
                           .depth = ALONE},
           expected);
    expect(&(struct chain){.first = "XSSH_CONNECTION=198.51.100.7 50312 192.0.2.1 22", .depth = 20},
           expected);
    expect(&(struct chain){.first = "SSH_CONNECTIONX198.51.100.7 50312 192.0.2.1 22", .depth = 20},
           expected);
}

static void test_terminal(void **state)
{
    char expected[OUTPUT_MAX], from[128], path[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY), terminal;

    (void)state;
    NEED_ROOT();
    NEED(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "pseudo terminal");
    assert_int_equal(ptsname_r(master, path, sizeof(path)), 0);
    terminal = open(path, O_RDWR | O_NOCTTY);
    NEED(terminal >= 0, "pseudo terminal");
    assert_memory_equal(path, "/dev/", 5);
    snprintf(from, sizeof(from), "[%s] - 0", path + 5);
    fallback(from, expected);
    expect(&(struct chain){.depth = ALONE, .terminal = terminal}, expected);
    fallback("[198.51.100.7] 198.51.100.7 22", expected);
    expect(&(struct chain){.env = {"SSH_CONNECTION=198.51.100.7 50312 192.0.2.1 22"},
                           .depth = ALONE,
                           .terminal = terminal},
           expected);
    close(terminal);
    close(master);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sudo),       cmocka_unit_test(test_sudo_not_believed),
        cmocka_unit_test(test_not_root),   cmocka_unit_test(test_login),
        cmocka_unit_test(test_connection), cmocka_unit_test(test_ancestor),
        cmocka_unit_test(test_terminal),
    };

    if (argc > 2 && (!strcmp(argv[1], "chain") || !strcmp(argv[1], "links")))
        return spawn(argv);
    if (argc > 2 && !strcmp(argv[1], "show"))
        return show();
    return cmocka_run_group_tests_name("actor", tests, NULL, NULL);
}
