// LINK: policy text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy protocol. Every stream of bytes is written down as the events it gives, and must give
 * the same ones however it is cut. What is expected stands beside the stream, written by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"

#define START "request=smtpd_access_policy\n"

/* What came out of a stream, as text that can be compared and read. */
struct record {
    char text[65536];
    size_t used;
    bool abuse;
};

static void note(struct record *record, const char *a, const char *b, const char *c)
{
    int n = snprintf(record->text + record->used, sizeof(record->text) - record->used, "%s%s%s|", a,
                     b, c);

    assert_true(n >= 0 && record->used + (size_t)n < sizeof(record->text));
    record->used += (size_t)n;
}

static void note_request(struct record *record, const struct policy_request *request)
{
    if (request->malformed)
        note(record, "malformed", ": ", request->why);
    else
        note(record, request->has_login ? request->login : "-", " ",
             request->has_address ? request->address : "-");
}

/* One read(2)'s worth of bytes, in a block of its own so that a look beyond it is seen. */
static void feed(struct policy_parser *parser, const char *bytes, size_t len, struct record *record)
{
    char *copy = malloc(len ? len : 1);
    size_t at = 0;

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    while (at < len && !record->abuse) {
        size_t taken = SIZE_MAX;
        enum policy_event event = policy_parse(parser, copy + at, len - at, &taken);

        assert_true(taken <= len - at);
        at += taken;
        if (event == POLICY_MORE) {
            assert_int_equal(at, len);
        } else if (event == POLICY_REQUEST) {
            assert_true(taken > 0);
            note_request(record, &parser->request);
            policy_next(parser);
            assert_false(policy_is_amid(parser));
            assert_false(parser->request.malformed);
            assert_false(parser->request.has_request);
            assert_false(parser->request.has_login);
            assert_false(parser->request.has_address);
            assert_string_equal(parser->request.login, "");
            assert_string_equal(parser->request.address, "");
            assert_null(parser->request.why);
        } else {
            assert_int_equal(event, POLICY_ABUSE);
            note(record, "abuse", "", "");
            record->abuse = true;
        }
    }
    free(copy);
}

static void finish(const struct policy_parser *parser, struct record *record)
{
    if (!record->abuse && policy_is_amid(parser))
        note(record, "amid", "", "");
}

/* Cut after @first bytes, then into pieces of @step. */
static void parse_cut(const char *bytes, size_t len, size_t first, size_t step,
                      struct record *record)
{
    struct policy_parser parser = {0};
    size_t at = first < len ? first : len;

    memset(record, 0, sizeof(*record));
    feed(&parser, bytes, at, record);
    for (; at < len && !record->abuse; at += step)
        feed(&parser, bytes + at, len - at < step ? len - at : step, record);
    finish(&parser, record);
}

static void parse_whole(const char *bytes, size_t len, struct record *record)
{
    parse_cut(bytes, len, len, 1, record);
}

static void expect_same(const struct record *expected, const struct record *record)
{
    assert_int_equal(record->used, expected->used);
    assert_memory_equal(record->text, expected->text, expected->used);
}

/* In one piece, in two at each byte, byte by byte, and in some sizes more. */
static void expect(const char *bytes, size_t len, const char *events)
{
    static struct record whole, cut;

    parse_whole(bytes, len, &whole);
    assert_string_equal(whole.text, events);
    for (size_t at = 0; at <= len; at++) {
        parse_cut(bytes, len, at, len, &cut);
        expect_same(&whole, &cut);
    }
    for (size_t step = 1; step <= 5; step++) {
        parse_cut(bytes, len, 0, step, &cut);
        expect_same(&whole, &cut);
    }
}

#define EXPECT(stream, events) expect(stream, sizeof(stream) - 1, events)

static void test_requests(void **state)
{
    (void)state;
    EXPECT("", "");
    EXPECT(START "\n", "- -|");
    EXPECT(START "sasl_username=alice\nclient_address=192.0.2.1\n\n", "alice 192.0.2.1|");
    EXPECT("client_address=192.0.2.1\nsasl_username=alice\n" START "\n", "alice 192.0.2.1|");
    EXPECT(START "sasl_username=\nclient_address=\n\n", " |");
    EXPECT(START "protocol_state=RCPT\nsender=a@b=c\nccert_subject=\nsasl_username=a=b\n\n",
           "a=b -|");
    EXPECT(START "sasl_username= alice \n\n", " alice  -|");
    /* names are what stands in front of the first =, and nothing else */
    EXPECT(START "Sasl_Username=alice\n\n", "- -|");
    EXPECT(START " sasl_username=alice\n\n", "- -|");
    EXPECT(START "sasl_username =alice\n\n", "- -|");
    EXPECT(START "sasl_usernames=alice\nsasl_username2=bob\nxsasl_username=eve\n\n", "- -|");
    EXPECT(START "=alice\n=\n\n", "- -|");
    EXPECT(START "reverse_client_address=192.0.2.9\nclient_address=192.0.2.1\n\n", "- 192.0.2.1|");
}

static void test_pipelined(void **state)
{
    (void)state;
    EXPECT(START "sasl_username=a\n\n" START "sasl_username=b\nclient_address=c\n\n" START "\n",
           "a -|b c|- -|");
    /* what is malformed spoils one request, and not the next */
    EXPECT(START "junk\n\n" START "sasl_username=b\n\n", "malformed: a line without =|b -|");
    EXPECT(START "sasl_username=a\n\n\n" START "\n", "a -|malformed: no request attribute|- -|");
    /* what is amid is told from what is not */
    EXPECT(START "sasl_username=a\n\n" START, "a -|amid|");
    EXPECT(START "\nr", "- -|amid|");
    EXPECT(START, "amid|");
    EXPECT("r", "amid|");
}

static void test_malformed(void **state)
{
    (void)state;
    EXPECT("\n", "malformed: no request attribute|");
    EXPECT("\n\n\n", "malformed: no request attribute|malformed: no request attribute|"
                     "malformed: no request attribute|");
    EXPECT("sasl_username=alice\n\n", "malformed: no request attribute|");
    EXPECT("request=\n\n", "malformed: it is no smtpd_access_policy request|");
    EXPECT("request=SMTPD_ACCESS_POLICY\n\n", "malformed: it is no smtpd_access_policy request|");
    EXPECT("request=smtpd_access_policy \n\n", "malformed: it is no smtpd_access_policy request|");
    EXPECT("request=smtpd_access_policysmtpd_access_policy\n\n", "malformed: a value is too long|");
    EXPECT("request\n\n", "malformed: a line without =|");
    /* twice, the second time the same or not, or empty */
    EXPECT(START START "\n", "malformed: an attribute stands there twice|");
    EXPECT("request=x\n" START "\n", "malformed: it is no smtpd_access_policy request|");
    EXPECT(START "sasl_username=alice\nsasl_username=bob\n\n",
           "malformed: an attribute stands there twice|");
    EXPECT(START "sasl_username=\nsasl_username=bob\n\n",
           "malformed: an attribute stands there twice|");
    EXPECT(START "sasl_username=bob\nsasl_username=\n\n",
           "malformed: an attribute stands there twice|");
    EXPECT(START "client_address=192.0.2.1\nclient_address=192.0.2.1\n\n",
           "malformed: an attribute stands there twice|");
    /* twice is fine for what nobody looks at */
    EXPECT(START "sender=a\nsender=b\n\n", "- -|");
    /* a NUL ends no value */
    EXPECT(START "sasl_username=al\0ice\n\n", "malformed: a NUL byte|");
    EXPECT(START "\0\n\n", "malformed: a NUL byte|");
    EXPECT(START "sender=\0\n\n", "malformed: a NUL byte|");
    EXPECT(START "sasl_username=alice\0\n\n", "malformed: a NUL byte|");
    /* CRLF ends no line: the CR belongs to the value, and a line of it alone is none */
    EXPECT("request=smtpd_access_policy\r\n\r\n\n",
           "malformed: it is no smtpd_access_policy request|");
    EXPECT(START "\r\n\n", "malformed: a line without =|");
    EXPECT(START "sasl_username=alice\r\nclient_address=192.0.2.1\r\n\n", "alice\r 192.0.2.1\r|");
    EXPECT(START "GET / HTTP/1.0\n\n", "malformed: a line without =|");
    EXPECT("\xff\xfe=\x80\n" START "\n", "- -|");
}

/* Without the NUL: the streams are bytes. */
static size_t put_text(char *buf, const char *text)
{
    size_t len = 0;

    for (; text[len]; len++)
        buf[len] = text[len];
    return len;
}

/* "NAME=" and x up to a line of @len bytes, and its end. */
static size_t put_line(char *buf, const char *name, size_t len)
{
    memset(buf, 'x', len);
    put_text(buf, name);
    buf[len] = '\n';
    return len + 1;
}

static void test_value_lengths(void **state)
{
    static char stream[8192], expected[4096];
    const size_t start = sizeof(START) - 1, name = strlen("sasl_username=");
    size_t len;

    (void)state;
    memcpy(stream, START, start);
    len = start + put_line(stream + start, "sasl_username=", name + POLICY_LOGIN_MAX);
    stream[len++] = '\n';
    memset(expected, 'x', POLICY_LOGIN_MAX);
    memcpy(expected + POLICY_LOGIN_MAX, " -|", 4);
    expect(stream, len, expected);
    len = start + put_line(stream + start, "sasl_username=", name + POLICY_LOGIN_MAX + 1);
    stream[len++] = '\n';
    expect(stream, len, "malformed: a value is too long|");
    len = start + put_line(stream + start,
                           "client_address=", strlen("client_address=") + POLICY_ADDRESS_MAX);
    stream[len++] = '\n';
    put_text(expected, "- ");
    memset(expected + 2, 'x', POLICY_ADDRESS_MAX);
    memcpy(expected + 2 + POLICY_ADDRESS_MAX, "|", 2);
    expect(stream, len, expected);
    len = start + put_line(stream + start,
                           "client_address=", strlen("client_address=") + POLICY_ADDRESS_MAX + 1);
    stream[len++] = '\n';
    expect(stream, len, "malformed: a value is too long|");
}

static void test_line_lengths(void **state)
{
    static char stream[3 * POLICY_LINE_MAX];
    const size_t start = sizeof(START) - 1;
    size_t len;

    (void)state;
    memcpy(stream, START, start);
    len = start + put_line(stream + start, "sender=", POLICY_LINE_MAX);
    stream[len++] = '\n';
    expect(stream, len, "- -|");
    len = start + put_line(stream + start, "sender=", POLICY_LINE_MAX + 1);
    stream[len++] = '\n';
    expect(stream, len, "abuse|");
    /* the last byte of the longest line may come alone, and so may the one too many */
    expect(stream, start + POLICY_LINE_MAX, "amid|");
    expect(stream, start + POLICY_LINE_MAX + 1, "abuse|");
    memset(stream, '\0', sizeof(stream));
    expect(stream, sizeof(stream), "abuse|");
}

static void test_attribute_counts(void **state)
{
    static char stream[8192];
    size_t len = 0;

    (void)state;
    len += (size_t)snprintf(stream, sizeof(stream), START);
    for (int i = 1; i < POLICY_ATTRIBUTES_MAX; i++)
        len += (size_t)snprintf(stream + len, sizeof(stream) - len, "a%d=\n", i);
    stream[len] = '\n';
    expect(stream, len + 1, "- -|");
    put_text(stream + len, "a=\n\n");
    expect(stream, len + 4, "abuse|");
    /* nor do lines that are none get around the count */
    len = 0;
    for (int i = 0; i <= POLICY_ATTRIBUTES_MAX; i++)
        len += (size_t)snprintf(stream + len, sizeof(stream) - len, "x\n");
    expect(stream, len - 2, "amid|");
    expect(stream, len, "abuse|");
    /* the count is one request's */
    len = 0;
    for (int i = 0; i < 300; i++)
        len += (size_t)snprintf(stream + len, sizeof(stream) - len, "a=\n%s", i % 100 ? "" : "\n");
    expect(stream, len,
           "malformed: no request attribute|malformed: no request attribute|"
           "malformed: no request attribute|amid|");
}

/* No newline, ever: after one line's worth it is over, however much comes. */
static void test_endless(void **state)
{
    struct policy_parser parser = {0};
    char block[1000];
    size_t taken, total = 0;
    enum policy_event event;

    (void)state;
    memset(block, 'a', sizeof(block));
    for (int i = 0; i < 10; i++) {
        event = policy_parse(&parser, block, sizeof(block), &taken);
        total += taken;
        if (event == POLICY_ABUSE)
            break;
        assert_int_equal(event, POLICY_MORE);
    }
    assert_int_equal(event, POLICY_ABUSE);
    assert_int_equal(total, POLICY_LINE_MAX);
    /* and stays over, without going on */
    assert_int_equal(policy_parse(&parser, block, sizeof(block), &taken), POLICY_ABUSE);
    assert_int_equal(taken, 0);
}

/* Pieces that make requests, near-requests and junk. */
static size_t random_stream(char *buf, size_t size)
{
    static const char *const pieces[] = {
        START,
        START,
        "\n",
        "\n",
        "sasl_username=alice\n",
        "client_address=192.0.2.1\n",
        "sender=",
        "x",
        "=",
        "request=",
        "\r\n",
        "sasl_username=",
        "client_address=2001:db8::1\n",
    };
    size_t len = 0;

    for (int i = rand() % 40; i > 0; i--) {
        const char *piece = pieces[(size_t)rand() % (sizeof(pieces) / sizeof(pieces[0]))];

        if (len + strlen(piece) + 1 >= size)
            break;
        len += put_text(buf + len, piece);
        if (rand() % 30 == 0)
            buf[len++] = (char)(rand() % 256);
    }
    return len;
}

static void test_random_cuts(void **state)
{
    static struct record whole, cut;
    char stream[2048];

    (void)state;
    srand(4711);
    for (int i = 0; i < 2000; i++) {
        struct policy_parser parser = {0};
        size_t len = random_stream(stream, sizeof(stream)), at = 0;

        parse_whole(stream, len, &whole);
        memset(&cut, 0, offsetof(struct record, used));
        cut.used = 0;
        cut.abuse = false;
        while (at < len && !cut.abuse) {
            size_t piece = 1 + (size_t)rand() % 50;

            piece = piece < len - at ? piece : len - at;
            feed(&parser, stream + at, piece, &cut);
            at += piece;
        }
        finish(&parser, &cut);
        expect_same(&whole, &cut);
    }
}

/* ---- answers ---- */

/* "action=WORD[ TEXT]\n\n", printable ASCII but for the end. */
static void expect_well_formed(const char *answer, size_t len)
{
    assert_true(len < POLICY_ANSWER_MAX);
    assert_int_equal(strlen(answer), len);
    assert_true(len > strlen("action=") + 2);
    assert_memory_equal(answer, "action=", strlen("action="));
    assert_string_equal(answer + len - 2, "\n\n");
    for (size_t i = 0; i < len - 2; i++)
        assert_true(answer[i] >= 0x20 && answer[i] < 0x7f);
}

static void test_answers(void **state)
{
    static const char *const cases[][3] = {
        {"DUNNO", "", "action=DUNNO\n\n"},
        {"REJECT", "5.7.1 no", "action=REJECT 5.7.1 no\n\n"},
        {"REJECT", "5.7.1 a\nb", "action=REJECT 5.7.1 a\\x0ab\n\n"},
        {"REJECT", "\n\naction=OK\n\n", "action=REJECT \\x0a\\x0aaction=OK\\x0a\\x0a\n\n"},
        {"DEFER_IF_PERMIT", "a\r\x1b[31m", "action=DEFER_IF_PERMIT a\\x0d\\x1b[31m\n\n"},
        {"REJECT", "b\xc3\xbcro \xff", "action=REJECT b\\xc3\\xbcro \\xff\n\n"},
        {"REJECT", "\x7f\xe2\x80\xae", "action=REJECT \\x7f\\xe2\\x80\\xae\n\n"},
    };
    char answer[POLICY_ANSWER_MAX] = "";

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = policy_answer(cases[i][0], cases[i][1], answer);

        assert_string_equal(answer, cases[i][2]);
        expect_well_formed(answer, len);
    }
}

static void test_long_answers(void **state)
{
    char text[4096], answer[POLICY_ANSWER_MAX] = "";

    (void)state;
    for (size_t len = 0; len < sizeof(text); len += len < 600 ? 1 : 97) {
        memset(text, 'x', len);
        text[len] = '\0';
        expect_well_formed(answer, policy_answer("DEFER_IF_PERMIT", text, answer));
        memset(text, '\n', len);
        expect_well_formed(answer, policy_answer("REJECT", text, answer));
        memset(text, '\xc3', len);
        expect_well_formed(answer, policy_answer("REJECT", text, answer));
    }
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    expect_well_formed(answer, policy_answer(text, text, answer));
}

static void test_random_answers(void **state)
{
    char text[700], answer[POLICY_ANSWER_MAX] = "";

    (void)state;
    srand(815);
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)rand() % sizeof(text);

        for (size_t j = 0; j < len; j++)
            text[j] = (char)(1 + rand() % 255);
        text[len < sizeof(text) ? len : len - 1] = '\0';
        expect_well_formed(answer, policy_answer("REJECT", text, answer));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),       cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_malformed),      cmocka_unit_test(test_value_lengths),
        cmocka_unit_test(test_line_lengths),   cmocka_unit_test(test_attribute_counts),
        cmocka_unit_test(test_endless),        cmocka_unit_test(test_random_cuts),
        cmocka_unit_test(test_answers),        cmocka_unit_test(test_long_answers),
        cmocka_unit_test(test_random_answers),
    };

    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
