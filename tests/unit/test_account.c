// LINK: account text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which login names are one account. A table written by hand, then properties over random names:
 * the rule is an equivalence, however the names are spelled.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "account.h"

/* @len times @fill, then @tail. */
static const char *repeat(char fill, size_t len, const char *tail, char buf[1200])
{
    memset(buf, fill, len);
    snprintf(buf + len, 1200 - len, "%s", tail);
    return buf;
}

static bool same(const char *login, const char *realm, const char *listed)
{
    struct account account;

    assert_true(account_resolve(login, realm, &account));
    assert_string_equal(account.name, login);
    return account_is(&account, listed);
}

static const struct match_case {
    const char *login, *realm, *listed;
    bool same;
} match_cases[] = {
    /* case: the 26 letters, and no other byte */
    {"alice", "", "alice", true},
    {"ALICE", "", "alice", true},
    {"aLiCe", "", "AlIcE", true},
    {"alice", "", "alic", false},
    {"alic", "", "alice", false},
    {"alice", "", "bob", false},
    {"a", "", "b", false},
    {"z[\\]^_`{|}~@", "", "Z[\\]^_`{|}~@", true},
    {"@", "", "`", false},
    {"[", "", "{", false},
    {"b\xc3\xbcro", "", "B\xc3\xbcRO", true},
    {"b\xc3\xbcro", "", "b\xc3\x9cro", false},
    {"\xe0", "", "\xc0", false},
    {"\xff", "", "\xff", true},
    {"\xff", "", "\xdf", false},
    {"alice ", "", "alice", false},
    {" alice", "", "alice", false},
    /* without a realm, what stands behind the @ is part of the name */
    {"alice@mail.example", "", "alice", false},
    {"alice", "", "alice@mail.example", false},
    {"alice@mail.example", "", "Alice@MAIL.example", true},
    /* with one */
    {"alice", "mail.example", "alice@mail.example", true},
    {"alice@mail.example", "mail.example", "alice", true},
    {"Alice@Mail.Example", "mail.example", "aLICE", true},
    {"alice@mail.example", "MAIL.EXAMPLE", "alice", true},
    {"ALICE", "mail.example", "alice@MAIL.example", true},
    {"alice@other.example", "mail.example", "alice", false},
    {"alice@other.example", "mail.example", "alice@mail.example", false},
    {"alice", "mail.example", "alice@other.example", false},
    {"alice@mail.exampl", "mail.example", "alice", false},
    {"alice@mail.examplee", "mail.example", "alice", false},
    {"alice@.mail.example", "mail.example", "alice", false},
    {"alice@mail.example.", "mail.example", "alice", false},
    {"alicemail.example", "mail.example", "alice", false},
    /* only one @, and not the first byte: nothing else is ever cut off */
    {"a@b@mail.example", "mail.example", "a@b", false},
    {"a@b", "mail.example", "a@b@mail.example", false},
    {"a@mail.example@mail.example", "mail.example", "a@mail.example", false},
    {"a@mail.example@mail.example", "mail.example", "a", false},
    {"@mail.example", "mail.example", "", false},
    {"@mail.example", "mail.example", "@mail.example", true},
    {"@@mail.example", "mail.example", "@", false},
    {"mail.example", "mail.example", "", false},
    {"mail.example", "mail.example", "mail.example@mail.example", true},
    {"alice@", "mail.example", "alice", false},
    {"alice@", "mail.example", "alice@mail.example", false},
    {"@", "mail.example", "", false},
    {"@alice", "mail.example", "@alice@mail.example", false},
    /* the host list is nobody's account */
    {"", "", "", true},
    {"", "mail.example", "", true},
    {"", "mail.example", "@mail.example", false},
    {"", "", "alice", false},
    {"alice", "", "", false},
    {"alice", "mail.example", "", false},
};

static void test_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(match_cases) / sizeof(match_cases[0]); i++) {
        const struct match_case *c = &match_cases[i];

        if (same(c->login, c->realm, c->listed) != c->same)
            fail_msg("login %s, realm %s, listed %s: expected %s", c->login, c->realm, c->listed,
                     c->same ? "the same" : "another");
    }
}

static void test_other_spelling(void **state)
{
    static const char *const cases[][3] = {
        {"alice", "mail.example", "alice@mail.example"},
        {"alice@MAIL.example", "mail.example", "alice"},
        {"a@b@mail.example", "mail.example", "a@b@mail.example"},
        {"@mail.example", "mail.example", "@mail.example"},
        {"alice", "", "alice"},
        {"", "mail.example", ""},
    };
    struct account account;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(account_resolve(cases[i][0], cases[i][1], &account));
        assert_string_equal(account.name, cases[i][0]);
        assert_string_equal(account.other, cases[i][2]);
    }
}

static void test_longest_logins(void **state)
{
    char login[1200], realm[1200], longer[1200];
    struct account account = {.name = "untouched"};

    (void)state;
    repeat('r', ACCOUNT_MAX, "", realm);
    /* both of them and the @ just fit */
    repeat('n', ACCOUNT_MAX, "", login);
    assert_true(account_resolve(login, realm, &account));
    assert_int_equal(strlen(account.other), ACCOUNT_LOGIN_MAX);
    assert_true(account_is(&account, login));
    snprintf(longer, sizeof(longer), "%.255s@%.255s", login, realm);
    assert_true(account_is(&account, longer));
    assert_true(same(longer, realm, login));
    /* a name that cannot be listed grows no realm, and is never cut down to one that can */
    repeat('n', ACCOUNT_MAX + 1, "", login);
    assert_true(account_resolve(login, realm, &account));
    assert_string_equal(account.other, login);
    login[ACCOUNT_MAX] = '\0';
    assert_false(account_is(&account, login));
    /* the longest login at all, and one byte more */
    repeat('n', ACCOUNT_LOGIN_MAX, "", login);
    assert_true(account_resolve(login, "", &account));
    assert_string_equal(account.name, login);
    assert_true(account_resolve(login, realm, &account));
    assert_string_equal(account.other, login);
    repeat('n', ACCOUNT_LOGIN_MAX + 1, "", login);
    memset(&account, 'u', sizeof(account));
    assert_false(account_resolve(login, "", &account));
    assert_int_equal(account.name[0], 'u');
    repeat('n', ACCOUNT_LOGIN_MAX, "@r", login);
    assert_false(account_resolve(login, "r", &account));
}

/* A few bytes, so that equal names and realms come up by chance. */
static void random_name(char *buf, size_t max)
{
    static const char bytes[] = "aAbB@.";
    size_t len = (size_t)rand() % (max + 1);

    for (size_t i = 0; i < len; i++)
        buf[i] = bytes[(size_t)rand() % (sizeof(bytes) - 1)];
    buf[len] = '\0';
}

static void lower(char *s)
{
    for (; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
}

/* The rule in the words of the header, on lower-case copies. */
static void canonical(const char *name, const char *realm, char *buf, size_t size)
{
    char end[64];
    size_t len, tail;

    snprintf(buf, size, "%s", name);
    snprintf(end, sizeof(end), "@%s", realm);
    lower(buf);
    lower(end);
    len = strlen(buf);
    tail = strlen(end);
    if (*realm && len > tail && !strcmp(buf + len - tail, end) &&
        strchr(buf, '@') == buf + len - tail)
        buf[len - tail] = '\0';
}

static void test_equivalence(void **state)
{
    (void)state;
    srand(20240607);
    for (int i = 0; i < 200000; i++) {
        char one[16], two[16], realm[8], a[32], b[32];
        bool expected;

        random_name(one, 6);
        random_name(two, 6);
        do
            random_name(realm, 2);
        while (strchr(realm, '@'));
        canonical(one, realm, a, sizeof(a));
        canonical(two, realm, b, sizeof(b));
        expected = !strcmp(a, b);
        if (same(one, realm, two) != expected || same(two, realm, one) != expected)
            fail_msg("%s and %s with realm %s: expected %s", one, two, realm,
                     expected ? "the same" : "two");
    }
}

static void refused(int (*check)(const char *text, struct err *e), const char *text,
                    const char *word)
{
    struct err e = {0};

    assert_int_equal(check(text, &e), -EINVAL);
    assert_int_equal(e.code, EXIT_USAGE);
    if (!strstr(e.message, word))
        fail_msg("\"%s\" does not say \"%s\"", e.message, word);
    for (const char *s = e.message; *s; s++)
        assert_true((unsigned char)*s >= 0x20);
    assert_int_equal(check(text, NULL), -EINVAL);
}

static void test_names(void **state)
{
    static const char *const good[] = {
        "alice", "alice@mail.example", "a", "@", "a b", "b\xc3\xbcro", "x-", "'\"\\%s", "**", "a=b",
        "#3"};
    char buf[1200];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(account_check(good[i], NULL), 0);
    assert_int_equal(account_check(repeat('x', ACCOUNT_MAX, "", buf), NULL), 0);
    refused(account_check, "", "empty");
    refused(account_check, "-x", "\"-x\"");
    refused(account_check, " alice", "\" alice\"");
    refused(account_check, "alice ", "\"alice \"");
    refused(account_check, "*", "\"*\"");
    refused(account_check, repeat('x', ACCOUNT_MAX + 1, "", buf), "256 bytes");
    refused(account_check, repeat('x', ACCOUNT_MAX - 1, "\xc3\xbc", buf), "256 bytes");
    refused(account_check, "al\nice", "U+000A at character 3");
    refused(account_check, "al\rice", "U+000D");
    refused(account_check, "al\x7fice", "U+007F");
    refused(account_check, "al\xffice", "invalid UTF-8 at character 3");
    refused(account_check, "al\xc3", "invalid UTF-8");
    refused(account_check,
            "a\xe2\x80\xae"
            "b",
            "direction override");
    refused(account_check,
            "a\xe2\x80\xa8"
            "b",
            "line separator");
}

static void test_realms(void **state)
{
    char buf[1200];

    (void)state;
    assert_int_equal(account_check_realm("mail.example", NULL), 0);
    assert_int_equal(account_check_realm("r", NULL), 0);
    assert_int_equal(account_check_realm("b\xc3\xbcro.example", NULL), 0);
    assert_int_equal(account_check_realm(repeat('x', ACCOUNT_MAX, "", buf), NULL), 0);
    refused(account_check_realm, "", "no realm");
    refused(account_check_realm, "@", "no realm");
    refused(account_check_realm, "a@b", "no realm");
    refused(account_check_realm, "@mail.example", "no realm");
    refused(account_check_realm, "mail example", "no realm");
    refused(account_check_realm, repeat('x', ACCOUNT_MAX + 1, "", buf), "no realm");
    refused(account_check_realm, "a\nb", "U+000A");
    refused(account_check_realm, "a\tb", "U+0009");
    refused(account_check_realm, "a\xff", "invalid UTF-8");
    refused(account_check_realm, "\n@\x1b[31m", "no realm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),          cmocka_unit_test(test_other_spelling),
        cmocka_unit_test(test_longest_logins), cmocka_unit_test(test_equivalence),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_realms),
    };

    return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
