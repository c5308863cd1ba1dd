// LINK: text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Escaping and remarks, against expectations written by hand. The one property that matters most
 * (no byte that could fool a terminal comes out) is also tried on random bytes.
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

#include "text.h"

struct escape_case {
    const char *in;
    const char *text;  /* text_escape */
    const char *ascii; /* text_escape_ascii; NULL: the same */
};

static const struct escape_case escape_cases[] = {
    {"", "", NULL},
    {"plain text", "plain text", NULL},
    {"back\\slash", "back\\slash", NULL},
    {"\x1b[31m", "\\x1b[31m", NULL},
    {"a\tb\nc\rd", "a\\x09b\\x0ac\\x0dd", NULL},
    {"\x01\x1f\x7f", "\\x01\\x1f\\x7f", NULL},
    {"B\xc3\xbcro", "B\xc3\xbcro", "B\\xc3\\xbcro"},
    {"\xe2\x82\xac", "\xe2\x82\xac", "\\xe2\\x82\\xac"},
    {"\xf0\x9f\x93\xa7", "\xf0\x9f\x93\xa7", "\\xf0\\x9f\\x93\\xa7"},
    {"\xc2\x80\xc2\x9f", "\\xc2\\x80\\xc2\\x9f", NULL},                   /* C1 */
    {"\xc2\xa0", "\xc2\xa0", "\\xc2\\xa0"},                               /* just after C1 */
    {"\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9", NULL}, /* separators */
    {"\xe2\x80\xaa", "\\xe2\\x80\\xaa", NULL},                            /* U+202A */
    {"\xe2\x80\xae", "\\xe2\\x80\\xae", NULL},                            /* U+202E */
    {"\xe2\x80\xa7", "\xe2\x80\xa7", "\\xe2\\x80\\xa7"},                  /* U+2027 is fine */
    {"\xe2\x80\xaf", "\xe2\x80\xaf", "\\xe2\\x80\\xaf"},                  /* U+202F is fine */
    {"\xe2\x81\xa6\xe2\x81\xa9", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9", NULL}, /* U+2066, 2069 */
    {"a\xe2\x80\x8bz", "a\\xe2\\x80\\x8bz", NULL},                        /* U+200B */
    {"\xe2\x80\x8c\xe2\x80\x8d", "\xe2\x80\x8c\xe2\x80\x8d",
     "\\xe2\\x80\\x8c\\xe2\\x80\\x8d"}, /* U+200C, 200D are fine */
    {"\xe2\x80\x8e\xe2\x80\x8f", "\\xe2\\x80\\x8e\\xe2\\x80\\x8f", NULL}, /* U+200E, 200F */
    {"\xef\xbb\xbf", "\\xef\\xbb\\xbf", NULL},                            /* U+FEFF */
    {"\xff\xfe", "\\xff\\xfe", NULL},                                     /* never UTF-8 */
    {"\x80", "\\x80", NULL},                                              /* stray */
    {"\xc0\xaf", "\\xc0\\xaf", NULL},                                     /* overlong */
    {"\xe0\x80\xaf", "\\xe0\\x80\\xaf", NULL},                            /* overlong */
    {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf", NULL},                   /* overlong */
    {"\xed\xa0\x80", "\\xed\\xa0\\x80", NULL},                            /* surrogate */
    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", NULL},                   /* > U+10FFFF */
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf", "\\xf4\\x8f\\xbf\\xbf"},     /* U+10FFFF */
    {"\xe2\x82", "\\xe2\\x82", NULL},                                     /* cut by the end */
    {"\xe2\x82z", "\\xe2\\x82z", NULL},                                   /* cut by a letter */
    {"\xe2\x82\xe2\x82\xac", "\\xe2\\x82\xe2\x82\xac", "\\xe2\\x82\\xe2\\x82\\xac"},
};

static void test_escape(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(escape_cases) / sizeof(escape_cases[0]); i++) {
        const struct escape_case *c = &escape_cases[i];
        char buf[128];

        assert_ptr_equal(text_escape(c->in, buf, sizeof(buf)), buf);
        assert_string_equal(buf, c->text);
        assert_string_equal(text_escape_ascii(c->in, buf, sizeof(buf)),
                            c->ascii ? c->ascii : c->text);
    }
}

static void expect_clip(const char *in, size_t size, const char *want)
{
    char buf[64];

    memset(buf, '#', sizeof(buf));
    text_escape(in, buf, size);
    assert_string_equal(buf, want);
    for (size_t i = size; i < sizeof(buf); i++)
        assert_int_equal(buf[i], '#');
}

static void test_clip(void **state)
{
    (void)state;
    expect_clip("abcdefgh", 9, "abcdefgh");
    expect_clip("abcdefgh", 8, "abcd...");
    expect_clip("abcdefgh", 5, "a...");
    expect_clip("abcdefgh", 4, "...");
    expect_clip("abcdefgh", 3, "");
    expect_clip("abcdefgh", 1, "");
    expect_clip("", 1, "");
    /* Never within a character or an escape. */
    expect_clip("ab\xe2\x82\xac\xe2\x82\xac", 9, "ab\xe2\x82\xac\xe2\x82\xac");
    expect_clip("ab\xe2\x82\xac\xe2\x82\xac", 8, "ab...");
    expect_clip("\x1b\x1b\x1b", 12, "\\x1b\\x1b...");
    expect_clip("\x1b\x1b\x1b", 11, "\\x1b...");
    expect_clip("\x1b\x1b\x1b", 13, "\\x1b\\x1b\\x1b");
}

static void test_clip_of_size_zero_writes_nothing(void **state)
{
    char buf[2] = "#";

    (void)state;
    text_escape("abc", buf, 0);
    assert_string_equal(buf, "#");
}

/* Random bytes: what comes out is valid UTF-8 that no terminal acts on, at every buffer size. */
static void test_escape_random(void **state)
{
    const char *given = getenv("TEST_SEED");
    unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 10) : 1;

    (void)state;
    printf("# TEST_SEED=%u\n", seed);
    for (int round = 0; round < 20000; round++) {
        char in[40], buf[200];
        size_t len = (size_t)rand_r(&seed) % sizeof(in), size;
        struct err e;

        for (size_t i = 0; i < len; i++)
            in[i] = (char)(1 + rand_r(&seed) % 255);
        in[len < sizeof(in) ? len : sizeof(in) - 1] = '\0';
        size = 1 + (size_t)rand_r(&seed) % sizeof(buf);
        text_escape(in, buf, size);
        assert_true(strlen(buf) < size);
        assert_int_equal(remark_check(buf, &e), 0);
        text_escape_ascii(in, buf, size);
        for (const char *s = buf; *s; s++)
            assert_in_range(*s, 0x20, 0x7e);
    }
}

static void expect_remark_refused(const char *remark, const char *fragment)
{
    struct err e = {0};

    assert_int_equal(remark_check(remark, &e), -EINVAL);
    assert_int_equal(e.code, EXIT_USAGE);
    if (!strstr(e.message, fragment))
        fail_msg("\"%s\" is not in \"%s\"", fragment, e.message);
    assert_true(e.hint[0]);
    assert_int_equal(remark_check(remark, NULL), -EINVAL);
    for (const char *s = e.message; *s; s++)
        assert_in_range(*s, 0x20, 0x7e);
}

static void expect_mark(const char *line, size_t at, size_t len, size_t width, const char *shown,
                        const char *mark)
{
    struct text_view view;

    text_mark(line, at, len, width, &view);
    assert_string_equal(view.shown, shown);
    assert_string_equal(view.mark, mark);
}

static void test_mark(void **state)
{
    (void)state;
    expect_mark("one two three", 4, 3, 80, "one two three", "    ^~~");
    expect_mark("one", 0, 3, 80, "one", "^~~");
    expect_mark("one", 3, 0, 80, "one", "   ^");
    expect_mark("", 0, 0, 80, "", "^");
    expect_mark("one", 1, 100, 80, "one", " ^~");
    expect_mark("one", 100, 1, 80, "one", "   ^");
    /* an escaped byte is as wide as it is shown, a character of several bytes is one column */
    expect_mark("\x1b[31m bad", 6, 3, 80, "\\x1b[31m bad", "         ^~~");
    expect_mark("B\xc3\xbcro bad", 6, 3, 80, "B\xc3\xbcro bad", "     ^~~");
    expect_mark("a\x1bz", 1, 1, 80, "a\\x1bz", " ^~~~");
    expect_mark("\xc3\xbc", 1, 1, 80, "\xc3\xbc", "^"); /* amid a character */
    /* 30 columns, cut at the right, at both ends, at the left */
    expect_mark("0123456789012345678901234567890123456789", 2, 3, 30,
                "012345678901234567890123456...", "  ^~~");
    expect_mark("0123456789012345678901234567890123456789012345678901234567890123456789", 35, 3, 30,
                "...345678901234567890123456...", "               ^~~");
    expect_mark("0123456789012345678901234567890123456789", 38, 2, 30,
                "...345678901234567890123456789", "                            ^~");
    expect_mark("0123456789012345678901234567890123456789", 40, 1, 30,
                "...45678901234567890123456789", "                             ^");
    /* an escape is not cut into what looks like text */
    expect_mark("0123456789012345678901234\x1b 34567890", 2, 1, 30,
                "0123456789012345678901234.....", "  ^");
}

/* Whatever the line: no wider than asked for, nothing that moves a cursor, the place in sight. */
static void test_mark_random(void **state)
{
    (void)state;
    srand(7);
    for (int i = 0; i < 100000; i++) {
        char line[600] = {0}, raw[2] = {0}, shown[8];
        size_t len = (size_t)rand() % 599, at = (size_t)rand() % 600, width = (size_t)rand() % 450;
        size_t most = width < 20 ? 20 : width > TEXT_COLUMNS_MAX ? TEXT_COLUMNS_MAX : width;
        struct text_view view;
        size_t columns = 0, skip;

        for (size_t k = 0; k < len; k++)
            line[k] = (char)(1 + rand() % (i % 2 ? 255 : 126));
        text_mark(line, at, (size_t)rand() % 700, width, &view);
        for (const char *s = view.shown; *s; s++) {
            assert_true((unsigned char)*s >= 0x20 && *s != 0x7f);
            columns += ((unsigned char)*s & 0xc0) != 0x80;
        }
        assert_true(columns <= most);
        assert_true(strlen(view.mark) <= most);
        skip = strspn(view.mark, " ");
        assert_int_equal(view.mark[skip], '^');
        if (i % 2 || at >= len || line[at] < 0x20)
            continue;
        raw[0] = line[at]; /* ASCII: one byte, one column */
        text_escape(raw, shown, sizeof(shown));
        assert_int_equal(view.shown[skip], shown[0]);
    }
}

static void test_remark_accepted(void **state)
{
    static const char *const good[] = {
        "",
        "office, 3rd floor",
        "B\xc3\xbcro M\xc3\xbcnchen",
        "\xe4\xb8\x9c\xe4\xba\xac",
        "\xd9\x85\xd9\x83\xd8\xaa\xd8\xa8",
        "\xf0\x9f\x93\xa7 newsletter",
        "quotes \" ' \\ # = ; $(x)",
        "\xc2\xa0",
        "\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(remark_check(good[i], NULL), 0);
}

static void test_remark_length(void **state)
{
    char remark[REMARK_MAX + 3];

    (void)state;
    assert_int_equal(REMARK_MAX, 200);
    memset(remark, 'x', sizeof(remark));
    remark[200] = '\0';
    assert_int_equal(remark_check(remark, NULL), 0);
    remark[200] = 'x';
    remark[201] = '\0';
    expect_remark_refused(remark, "201 bytes long, at most 200");
    /* Bytes count, not characters: 100 two-byte letters fit, one more letter does not. */
    for (int i = 0; i < 100; i++)
        memcpy(remark + 2 * i, "\xc3\xbc", 2);
    remark[200] = '\0';
    assert_int_equal(remark_check(remark, NULL), 0);
    remark[200] = 'x';
    remark[201] = '\0';
    expect_remark_refused(remark, "201 bytes");
}

static void test_remark_refused(void **state)
{
    (void)state;
    expect_remark_refused("a\nb", "control character U+000A at character 2");
    expect_remark_refused("\t", "control character U+0009 at character 1");
    expect_remark_refused("abc\x1b[31m", "control character U+001B at character 4");
    expect_remark_refused("\x7f", "control character U+007F at character 1");
    expect_remark_refused("x\xc2\x85", "control character U+0085 at character 2");
    expect_remark_refused("x\xc2\x9by", "control character U+009B at character 2");
    expect_remark_refused("\xc3\xbc\xc3\xbc\r", "control character U+000D at character 3");
    expect_remark_refused("a\xe2\x80\xa8", "line separator U+2028 at character 2");
    expect_remark_refused("a\xe2\x80\xa9", "line separator U+2029 at character 2");
    expect_remark_refused("a\xe2\x80\xaa", "direction override U+202A at character 2");
    expect_remark_refused("a\xe2\x80\xae", "direction override U+202E at character 2");
    expect_remark_refused("a\xe2\x81\xa6", "direction override U+2066 at character 2");
    expect_remark_refused("a\xe2\x81\xa9", "direction override U+2069 at character 2");
    expect_remark_refused("B\xfcro", "invalid UTF-8 at character 2 (byte \\xfc)");
    expect_remark_refused("\xc3\xbc\xc3", "invalid UTF-8 at character 2 (byte \\xc3)");
    expect_remark_refused("\xc0\x80", "invalid UTF-8 at character 1 (byte \\xc0)");
    expect_remark_refused("\xed\xa0\x80", "invalid UTF-8 at character 1 (byte \\xed)");
}

/* Every code point in its shortest form is decoded back; every longer form is refused. */
static void test_utf8_every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 1; code <= 0x110000; code++) {
        char s[8] = {0};
        size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        bool valid = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        uint32_t got = 0xabcdef;

        for (size_t i = len; i-- > 1;)
            s[i] = (char)(0x80 | (code >> 6 * (len - 1 - i) & 0x3f));
        s[0] = (char)(lead[len] | code >> 6 * (len - 1));
        if (text_utf8_next(s, &got) != (valid ? len : 0))
            fail_msg("U+%04X: wrong length", code);
        if (got != (valid ? code : 0xabcdef))
            fail_msg("U+%04X: decoded as U+%04X", code, got);
    }
}

/* By number, so that it does not repeat how they are found: what is refused when it is given now.
 */
static void test_invisible(void **state)
{
    static const uint32_t ranges[][2] = {
        {0x61c, 0x61c}, {0x200b, 0x200b}, {0x200e, 0x200f}, {0x2060, 0x2064}, {0xfeff, 0xfeff}};

    (void)state;
    for (uint32_t code = 0x800; code < 0x10000; code++) {
        const char text[] = {(char)(0xe0 | code >> 12), (char)(0x80 | (code >> 6 & 0x3f)),
                             (char)(0x80 | (code & 0x3f)), '\0'};
        bool hidden = false,
             turns = (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
        char shown[32];

        if (code >= 0xd800 && code < 0xe000)
            continue;
        for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
            hidden |= code >= ranges[i][0] && code <= ranges[i][1];
        assert_int_equal(remark_check(text, NULL), hidden || turns ? -EINVAL : 0);
        assert_int_equal(text_check_line(text, "remark", NULL), turns ? -EINVAL : 0);
        assert_int_equal(!strcmp(text_escape(text, shown, sizeof(shown)), text), !hidden && !turns);
    }
    assert_int_equal(remark_check("\xd8\x9c", NULL), -EINVAL); /* U+061C */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_clip_of_size_zero_writes_nothing),
        cmocka_unit_test(test_escape_random),
        cmocka_unit_test(test_mark),
        cmocka_unit_test(test_mark_random),
        cmocka_unit_test(test_remark_accepted),
        cmocka_unit_test(test_remark_length),
        cmocka_unit_test(test_remark_refused),
        cmocka_unit_test(test_utf8_every_code_point),
        cmocka_unit_test(test_invisible),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
