// LINK: cut session iface addr who_why text err
// LIBS: -ljansson
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is cut off, against expectations written by hand, and random sessions against counting one by
 * one. Sessions and rules are made up; nothing is asked of the kernel.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cut.h"

/* ---- made-up rules and sessions ---- */

/* Lets in what is on it: addresses as text, NULL at the end; @port: only there, 0 everywhere. */
struct fake {
    const char *const *addresses;
    uint16_t port;
    int error;
    int calls;
};

static int fake_lets_in(void *context, const struct addr *address, uint16_t port, struct err *e)
{
    struct fake *fake = context;
    char text[ADDR_TEXT_MAX];

    fake->calls++;
    if (fake->error)
        return err_set(e, fake->error, EXIT_REFUSED, "made up");
    for (const char *const *one = fake->addresses; one && *one; one++)
        if (!strcmp(*one, addr_print(address, text)) || !strcmp(*one, "all"))
            return !fake->port || fake->port == port;
    return 0;
}

static struct session session(const char *remote, uint16_t port)
{
    struct session one = {.local_port = port, .remote_port = 50000, .state = TCP_ESTABLISHED};

    assert_int_equal(addr_parse(remote, &one.remote, NULL), 0);
    return one;
}

static const char *const all[] = {"all", NULL};
static const char *const nobody[] = {NULL};

static struct cut split(const struct session *sessions, size_t count, struct fake *before,
                        struct fake *after)
{
    const struct cut_rule rules[] = {{fake_lets_in, before}, {fake_lets_in, after}};
    struct err e = {0};
    struct cut cut;

    assert_int_equal(cut_split(sessions, count, &rules[0], &rules[1], &cut, &e), 0);
    return cut;
}

static void assert_json(const struct cut *cut, enum cut_fate fate, const char *expected)
{
    json_t *json = cut_json(cut, fate);
    char *text = json_dumps(json, JSON_COMPACT);

    assert_string_equal(text, expected);
    free(text);
    json_decref(json);
}

static void assert_text(const struct cut *cut, enum cut_fate fate, const char *expected)
{
    char text[CUT_TEXT_MAX];

    assert_string_equal(cut_print(cut, fate, text), expected);
}

/* ---- the split ---- */

static void test_nobody(void **state)
{
    struct fake rule = {.addresses = all};
    struct cut cut;

    (void)state;
    cut = split(NULL, 0, &rule, &rule);
    assert_int_equal(cut.count, 0);
    assert_int_equal(rule.calls, 0);
    for (enum cut_fate fate = 0; fate < CUT_FATES; fate++) {
        assert_text(&cut, fate, "");
        assert_json(&cut, fate, "[]");
    }
    cut_free(&cut);
    cut_free(&cut);
}

static void test_fates(void **state)
{
    static const char *const before_list[] = {"198.51.100.7", "2001:db8::7", NULL};
    static const char *const after_list[] = {"198.51.100.9", "2001:db8::7", NULL};
    struct fake before = {.addresses = before_list}, after = {.addresses = after_list};
    const struct session sessions[] = {
        session("2001:db8::7", 587),  session("198.51.100.7", 587), session("198.51.100.9", 25),
        session("198.51.100.7", 465), session("203.0.113.1", 25),   session("198.51.100.7", 587),
    };
    struct cut cut;

    (void)state;
    cut = split(sessions, 6, &before, &after);
    assert_int_equal(cut.count, 4);
    assert_int_equal(cut.n_sources[CUT_CUT], 1);
    assert_int_equal(cut.n_sessions[CUT_CUT], 3);
    assert_int_equal(cut.n_sessions[CUT_KEPT], 1);
    assert_int_equal(cut.n_sessions[CUT_ADMITTED], 1);
    assert_int_equal(cut.n_sessions[CUT_HANGING], 1);
    assert_text(&cut, CUT_CUT, "  198.51.100.7  3 sessions (465, 587)\n");
    assert_text(&cut, CUT_KEPT, "  2001:db8::7  1 session (587)\n");
    assert_text(&cut, CUT_ADMITTED, "  198.51.100.9  1 session (25)\n");
    assert_text(&cut, CUT_HANGING, "  203.0.113.1  1 session (25)\n");
    assert_json(&cut, CUT_CUT,
                "[{\"address\":\"198.51.100.7\",\"sessions\":3,\"ports\":[465,587]}]");
    /* Five pairs of address and port, each asked for once. */
    assert_int_equal(before.calls, 5);
    assert_int_equal(after.calls, 5);
    cut_free(&cut);
}

/* A port that comes on guard: one address is cut on it, and kept on the others. */
static void test_port(void **state)
{
    struct fake before = {.addresses = all}, after = {.addresses = all, .port = 25};
    const struct session sessions[] = {
        session("198.51.100.7", 25),  session("198.51.100.7", 465), session("198.51.100.7", 587),
        session("198.51.100.8", 587), session("198.51.100.8", 25),
    };
    struct cut cut;

    (void)state;
    cut = split(sessions, 5, &before, &after);
    assert_text(&cut, CUT_CUT,
                "  198.51.100.7  2 sessions (465, 587)\n"
                "  198.51.100.8  1 session (587)\n");
    assert_text(&cut, CUT_KEPT,
                "  198.51.100.7  1 session (25)\n"
                "  198.51.100.8  1 session (25)\n");
    cut_free(&cut);
}

static void test_unproven(void **state)
{
    struct fake before = {.addresses = all}, after = {.addresses = nobody};
    struct session sessions[] = {session("198.51.100.7", 25), session("198.51.100.7", 25),
                                 session("198.51.100.8", 25)};
    struct cut cut;

    (void)state;
    sessions[1].state = TCP_SYN_RECV;
    sessions[2].state = TCP_SYN_RECV;
    cut = split(sessions, 3, &before, &after);
    assert_text(&cut, CUT_CUT, "  198.51.100.7  1 session (25)\n");
    assert_int_equal(before.calls, 1);
    cut_free(&cut);
}

static void test_error(void **state)
{
    struct fake good = {.addresses = all}, bad = {.error = -EIO};
    const struct cut_rule rules[] = {{fake_lets_in, &good}, {fake_lets_in, &bad}};
    const struct session one = session("198.51.100.7", 25);
    const struct actor actor = {.has_ssh_client = true, .ssh_client = one.remote};
    struct cut cut = {.count = 4711};
    struct cut_self self = {.n_ports = 4711};
    const uint16_t port = 25;
    struct err e = {0};

    (void)state;
    assert_int_equal(cut_split(&one, 1, &rules[0], &rules[1], &cut, &e), -EIO);
    assert_string_equal(e.message, "made up");
    assert_int_equal(cut_split(&one, 1, &rules[1], &rules[0], &cut, &e), -EIO);
    assert_int_equal(cut.count, 4711);
    assert_int_equal(cut_judge_self(&actor, &port, 1, &rules[0], &rules[1], &self, &e), -EIO);
    assert_int_equal(self.n_ports, 4711);
}

/* ---- long lists ---- */

/* @sources addresses, number i with i % 3 + 1 sessions. */
static struct cut split_many(size_t sources)
{
    struct fake before = {.addresses = all}, after = {.addresses = nobody};
    struct session *sessions = calloc(3 * sources + 1, sizeof(*sessions));
    size_t count = 0;
    struct cut cut;

    assert_non_null(sessions);
    for (size_t i = 0; i < sources; i++)
        for (size_t j = 0; j <= i % 3; j++) {
            char text[ADDR_TEXT_MAX];

            snprintf(text, sizeof(text), "198.51.%zu.%zu", i / 250, i % 250);
            sessions[count++] = session(text, 25);
        }
    cut = split(sessions, count, &before, &after);
    free(sessions);
    return cut;
}

static void test_bounded(void **state)
{
    struct cut cut;

    (void)state;
    cut = split_many(10);
    assert_text(&cut, CUT_CUT,
                "  198.51.0.2  3 sessions (25)\n"
                "  198.51.0.5  3 sessions (25)\n"
                "  198.51.0.8  3 sessions (25)\n"
                "  198.51.0.1  2 sessions (25)\n"
                "  198.51.0.4  2 sessions (25)\n"
                "  198.51.0.7  2 sessions (25)\n"
                "  198.51.0.0  1 session (25)\n"
                "  198.51.0.3  1 session (25)\n"
                "  198.51.0.6  1 session (25)\n"
                "  198.51.0.9  1 session (25)\n");
    cut_free(&cut);
    cut = split_many(11);
    assert_text(&cut, CUT_CUT,
                "  198.51.0.2   3 sessions (25)\n"
                "  198.51.0.5   3 sessions (25)\n"
                "  198.51.0.8   3 sessions (25)\n"
                "  198.51.0.1   2 sessions (25)\n"
                "  198.51.0.4   2 sessions (25)\n"
                "  198.51.0.7   2 sessions (25)\n"
                "  198.51.0.10  2 sessions (25)\n"
                "  198.51.0.0   1 session (25)\n"
                "  198.51.0.3   1 session (25)\n"
                "  198.51.0.6   1 session (25)\n"
                "  and 1 more source with 1 session\n");
    cut_free(&cut);
    cut = split_many(12);
    assert_int_equal(cut.n_sessions[CUT_CUT], 24);
    assert_json(&cut, CUT_KEPT, "[]");
    cut_free(&cut);
    cut = split_many(1000);
    assert_int_equal(cut.count, 1000);
    assert_int_equal(cut.n_sessions[CUT_CUT], 1999);
    cut_free(&cut);
}

/* The longest text there can be fits, and ends with its last line. */
static void test_longest(void **state)
{
    struct fake before = {.addresses = all}, after = {.addresses = nobody};
    const size_t sources = 200, count = sources * SESSION_PORTS_MAX;
    struct session *sessions = calloc(count, sizeof(*sessions));
    char text[CUT_TEXT_MAX], address[ADDR_TEXT_MAX];
    struct cut cut;

    (void)state;
    assert_non_null(sessions);
    for (size_t i = 0; i < count; i++) {
        snprintf(address, sizeof(address), "2001:db8:1111:2222:3333:4444:5555:1%03zx",
                 i / SESSION_PORTS_MAX);
        sessions[i] = session(address, (uint16_t)(65535 - i % SESSION_PORTS_MAX));
    }
    cut = split(sessions, count, &before, &after);
    free(sessions);
    assert_int_equal(cut.count, sources);
    cut_print(&cut, CUT_CUT, text);
    assert_non_null(strstr(text, "\n  and 190 more sources with 6080 sessions\n"));
    assert_string_equal(strrchr(text, ' '), " sessions\n");
    cut_free(&cut);
}

/* ---- random ones, counted one by one ---- */

#define RANDOM_MAX 60

static bool bit_lets_in(uint32_t seed, const struct addr *address, uint16_t port)
{
    return ((seed >> (address->bytes[3] % 8)) ^ (seed >> (8 + port % 5))) & 1;
}

static int random_lets_in(void *context, const struct addr *address, uint16_t port, struct err *e)
{
    (void)e;
    return bit_lets_in(*(const uint32_t *)context, address, port);
}

static size_t count_source(const struct session *sessions, size_t count,
                           const struct cut_source *source, uint32_t before, uint32_t after)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        const struct session *s = &sessions[i];
        bool was = bit_lets_in(before, &s->remote, s->local_port);
        bool is = bit_lets_in(after, &s->remote, s->local_port);
        enum cut_fate fate = was ? (is ? CUT_KEPT : CUT_CUT) : (is ? CUT_ADMITTED : CUT_HANGING);

        if (s->state != TCP_SYN_RECV && fate == source->fate &&
            !addr_cmp(&s->remote, &source->address))
            n++;
    }
    return n;
}

static void check_random(const struct session *sessions, size_t count, uint32_t before,
                         uint32_t after)
{
    const struct cut_rule rules[] = {{random_lets_in, &before}, {random_lets_in, &after}};
    size_t i, proven = 0, total = 0;
    struct cut cut;

    for (i = 0; i < count; i++)
        proven += sessions[i].state != TCP_SYN_RECV;
    assert_int_equal(cut_split(sessions, count, &rules[0], &rules[1], &cut, NULL), 0);
    for (i = 0; i < cut.count; i++) {
        const struct cut_source *one = &cut.sources[i];

        assert_int_equal(one->sessions, count_source(sessions, count, one, before, after));
        assert_true(one->sessions >= one->n_ports && one->n_ports > 0);
        total += one->sessions;
        if (i)
            assert_true(one->fate > one[-1].fate ||
                        (one->fate == one[-1].fate && one->sessions <= one[-1].sessions));
    }
    /* Each counted right and none left over: none is there twice, none is missing. */
    assert_int_equal(total, proven);
    cut_free(&cut);
}

static void test_random(void **state)
{
    struct session sessions[RANDOM_MAX];

    (void)state;
    srand(1);
    for (int round = 0; round < 2000; round++) {
        size_t count = (size_t)rand() % RANDOM_MAX;

        for (size_t i = 0; i < count; i++) {
            sessions[i] = session("192.0.2.0", (uint16_t)(25 + rand() % 6));
            sessions[i].remote.bytes[3] = (uint8_t)(rand() % 12);
            sessions[i].state = rand() % 10 ? TCP_ESTABLISHED : TCP_SYN_RECV;
        }
        check_random(sessions, count, (uint32_t)rand(), (uint32_t)rand());
    }
}

/* ---- whoever runs the command ---- */

static void assert_self(const struct actor *actor, const char *const *before,
                        const char *const *after, const char *expected)
{
    static const uint16_t ports[] = {22, 25, 587};
    struct fake fakes[] = {{.addresses = before}, {.addresses = after}};
    const struct cut_rule rules[] = {{fake_lets_in, &fakes[0]}, {fake_lets_in, &fakes[1]}};
    char text[CUT_SELF_MAX];
    struct cut_self self;

    assert_int_equal(cut_judge_self(actor, ports, 3, &rules[0], &rules[1], &self, NULL), 0);
    assert_string_equal(cut_print_self(actor, &self, text), expected);
}

static void test_self(void **state)
{
    static const char *const own[] = {"198.51.100.7", NULL};
    static const char *const other[] = {"198.51.100.8", NULL};
    struct actor actor = {.has_ssh_client = true, .ssh_port = 2222};
    struct fake before = {.addresses = all}, after = {.addresses = all, .port = 25};
    const struct cut_rule rules[] = {{fake_lets_in, &before}, {fake_lets_in, &after}};
    static const uint16_t ports[] = {25, 587};
    struct cut_self self;
    char text[CUT_SELF_MAX];

    (void)state;
    assert_int_equal(addr_parse("198.51.100.7", &actor.ssh_client, NULL), 0);
    assert_self(&actor, all, own, "");
    assert_self(&actor, nobody, nobody, "");
    assert_self(&actor, own, own, "");
    assert_self(&actor, nobody, own, "");
    assert_self(&actor, all, other, "your own address 198.51.100.7 loses ports 22, 25, 587");
    actor.ssh_port = 22;
    assert_self(&actor, own, other,
                "your own address 198.51.100.7 loses ports 22, 25, 587:"
                " this SSH session, on port 22, ends with it");
    assert_int_equal(cut_judge_self(&actor, ports, 2, &rules[0], &rules[1], &self, NULL), 0);
    assert_string_equal(cut_print_self(&actor, &self, text),
                        "your own address 198.51.100.7 loses port 587");
    actor.has_ssh_client = false;
    assert_self(&actor, own, other, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody),  cmocka_unit_test(test_fates),
        cmocka_unit_test(test_port),    cmocka_unit_test(test_unproven),
        cmocka_unit_test(test_error),   cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_longest), cmocka_unit_test(test_random),
        cmocka_unit_test(test_self),
    };

    return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
