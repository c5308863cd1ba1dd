// LINK: addr who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is accepted as a WHO and how it is printed; and of everything that is refused, that the
 * message names the text and the cause, that the hint says what was meant, and that the caller's
 * variable is left alone. A hint that proposes a text is pasted back: the parser must take it.
 */
#include <arpa/inet.h>
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

#include "addr.h"

struct accepted_case {
    const char *text;
    enum who_kind kind;
    const char *printed; /* NULL: as typed */
};

static const struct accepted_case accepted[] = {
    {"192.0.2.10", WHO_ADDRESS, NULL},
    {"0.0.0.0", WHO_ADDRESS, NULL},
    {"255.255.255.255", WHO_ADDRESS, NULL},
    {"1.20.255.0", WHO_ADDRESS, NULL},
    {"192.0.2.0/24", WHO_SEGMENT, NULL},
    {"192.0.2.10/32", WHO_SEGMENT, NULL},
    {"192.0.2.10/31", WHO_SEGMENT, NULL},
    {"0.0.0.0/0", WHO_SEGMENT, NULL},
    {"128.0.0.0/1", WHO_SEGMENT, NULL},
    {"0.0.0.0/32", WHO_SEGMENT, NULL},
    {"192.0.2.10-192.0.2.40", WHO_RANGE, NULL},
    {"192.0.2.10-192.0.2.10", WHO_RANGE, NULL},
    {"192.0.2.0-192.0.2.255", WHO_RANGE, NULL}, /* stays a range */
    {"0.0.0.0-255.255.255.255", WHO_RANGE, NULL},
    {"9.255.255.255-10.0.0.0", WHO_RANGE, NULL},
    {"::", WHO_ADDRESS, NULL},
    {"::1", WHO_ADDRESS, NULL},
    {"2001:db8::", WHO_ADDRESS, NULL},
    {"2001:db8::10", WHO_ADDRESS, NULL},
    {"2001:0db8:0000:0000:0000:0000:0000:0010", WHO_ADDRESS, "2001:db8::10"},
    {"2001:DB8::ABCD", WHO_ADDRESS, "2001:db8::abcd"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", WHO_ADDRESS, NULL},
    {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", WHO_ADDRESS,
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"64:ff9b::192.0.2.33", WHO_ADDRESS, "64:ff9b::c000:221"},
    {"::192.0.2.1", WHO_ADDRESS, "::c000:201"},
    {"::fffe:192.0.2.1", WHO_ADDRESS, "::fffe:c000:201"},
    {"::/0", WHO_SEGMENT, NULL},
    {"8000::/1", WHO_SEGMENT, NULL},
    {"2001:db8::/32", WHO_SEGMENT, NULL},
    {"2001:db8::/127", WHO_SEGMENT, NULL},
    {"2001:db8::1/128", WHO_SEGMENT, NULL},
    {"::/80", WHO_SEGMENT, NULL},
    {"2001:0DB8:0:0::/64", WHO_SEGMENT, "2001:db8::/64"},
    {"2001:db8::10-2001:db8::40", WHO_RANGE, NULL},
    {"2001:db8::10-2001:0db8::0040", WHO_RANGE, "2001:db8::10-2001:db8::40"},
    {"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", WHO_RANGE, NULL},
    {"2001:db8::ffff-2001:db8::1:0", WHO_RANGE, NULL},
    {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.254-ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
     WHO_RANGE, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
};

static void test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        const struct accepted_case *c = &accepted[i];
        const char *printed = c->printed ? c->printed : c->text;
        char buf[WHO_TEXT_MAX];
        struct who who, again;
        struct err e;

        if (who_parse(c->text, &who, &e) < 0)
            fail_msg("%s", e.message);
        assert_int_equal(who.kind, c->kind);
        assert_int_equal(who.first.family, strchr(c->text, ':') ? ADDR_IP6 : ADDR_IP4);
        assert_int_equal(who.last.family, who.first.family);
        assert_true(addr_cmp(&who.first, &who.last) <= 0);
        assert_ptr_equal(who_print(&who, buf), buf);
        assert_string_equal(buf, printed);
        assert_int_equal(who_parse(buf, &again, NULL), 0);
        assert_memory_equal(&again, &who, sizeof(who));
    }
}

static void expect_bounds(const char *text, const char *first, const char *last)
{
    char buf[ADDR_TEXT_MAX];
    struct who who;

    assert_int_equal(who_parse(text, &who, NULL), 0);
    assert_string_equal(addr_print(&who.first, buf), first);
    assert_string_equal(addr_print(&who.last, buf), last);
}

static void test_bounds(void **state)
{
    (void)state;
    expect_bounds("192.0.2.10", "192.0.2.10", "192.0.2.10");
    expect_bounds("192.0.2.0/24", "192.0.2.0", "192.0.2.255");
    expect_bounds("192.0.2.64/27", "192.0.2.64", "192.0.2.95");
    expect_bounds("10.0.0.0/8", "10.0.0.0", "10.255.255.255");
    expect_bounds("10.0.0.0/7", "10.0.0.0", "11.255.255.255");
    expect_bounds("0.0.0.0/0", "0.0.0.0", "255.255.255.255");
    expect_bounds("192.0.2.9/32", "192.0.2.9", "192.0.2.9");
    expect_bounds("2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
    expect_bounds("2001:db8::/63", "2001:db8::", "2001:db8:0:1:ffff:ffff:ffff:ffff");
    expect_bounds("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    expect_bounds("192.0.2.10-192.0.3.1", "192.0.2.10", "192.0.3.1");
}

/* Every length of both families: accepted with the host bits clear, refused with one set. */
static void test_every_prefix_length(void **state)
{
    (void)state;
    for (unsigned int len = 0; len <= 128; len++) {
        char text[WHO_TEXT_MAX], addr_text[ADDR_TEXT_MAX], printed[WHO_TEXT_MAX];
        struct addr addr = {.family = ADDR_IP6};
        struct who who;

        for (unsigned int family = len <= 32 ? 0 : 1; family < 2; family++) {
            unsigned int width = family ? 128 : 32;

            addr.family = family ? ADDR_IP6 : ADDR_IP4;
            memset(addr.bytes, 0, sizeof(addr.bytes));
            for (unsigned int bit = 0; bit < len; bit++)
                addr.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
            snprintf(text, sizeof(text), "%s/%u", addr_print(&addr, addr_text), len);
            assert_int_equal(who_parse(text, &who, NULL), 0);
            assert_int_equal(who.kind, WHO_SEGMENT);
            assert_string_equal(who_print(&who, printed), text);
            for (unsigned int bit = len; bit < width; bit++) {
                addr.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
                snprintf(text, sizeof(text), "%s/%u", addr_print(&addr, addr_text), len);
                assert_int_equal(who_parse(text, &who, NULL), -EINVAL);
                addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
            }
        }
    }
}

struct refused_case {
    const char *text;
    const char *message; /* fragment */
    const char *hint;    /* fragment */
};

static const char everything[] = "write an address (192.0.2.10), a segment (192.0.2.0/24)";

static const struct refused_case refused[] = {
    {"", "empty text", everything},

    /* host bits */
    {"192.0.2.10/24", "192.0.2.10/24: bits are set beyond the first 24",
     "192.0.2.0/24 is the segment, 192.0.2.10 the address"},
    {"192.0.2.1/0", "bits are set beyond the first 0", "0.0.0.0/0 is the segment"},
    {"192.0.2.1/31", "bits are set beyond the first 31", "192.0.2.0/31 is the segment"},
    {"2001:db8::1/64", "bits are set beyond the first 64",
     "2001:db8::/64 is the segment, 2001:db8::1 the address"},
    {"2001:DB8::8/124", "bits are set beyond the first 124", "2001:db8::/124 is the segment"},

    /* leading zeros */
    {"192.0.02.1", "192.0.02.1: leading zero in \"02\"", "did you mean 192.0.2.1?"},
    {"192.000.002.001", "leading zero in \"000\"", "did you mean 192.0.2.1?"},
    {"010.0.0.1", "leading zero in \"010\"", "did you mean 10.0.0.1?"},
    {"00.0.0.0", "leading zero in \"00\"", "did you mean 0.0.0.0?"},
    {"10.0.0.0/08", "leading zero in \"08\"", "did you mean 10.0.0.0/8?"},
    {"10.0.0.0/00", "leading zero in \"00\"", "0.0.0.0/0 is the segment"},
    {"2001:db8::/032", "leading zero in \"032\"", "did you mean 2001:db8::/32?"},
    {"192.0.2.010-192.0.2.020", "leading zero in \"010\"", "did you mean 192.0.2.10-192.0.2.20?"},
    {"2001:db8::192.0.02.1", "leading zero in \"02\"", "did you mean 2001:db8::192.0.2.1?"},

    /* ranges */
    {"192.0.2.40-192.0.2.10", "the range is reversed",
     "did you mean 192.0.2.10-192.0.2.40? (swapped)"},
    {"2001:db8::2-2001:db8::1", "the range is reversed",
     "did you mean 2001:db8::1-2001:db8::2? (swapped)"},
    {"192.0.2.1-2001:db8::1", "a range from IPv4 to IPv6", "one range for each family"},
    {"::1-192.0.2.1", "a range from IPv4 to IPv6", "one range for each family"},
    {"192.0.2.10-40", "both ends of a range are written in full",
     "did you mean 192.0.2.10-192.0.2.40?"},
    {"192.0.2.10-3.40", "both ends of a range are written in full",
     "did you mean 192.0.2.10-192.0.3.40?"},
    {"192.0.2.10-1.3.40", "both ends of a range", "did you mean 192.0.2.10-192.1.3.40?"},
    {"192.0.2.40-10", "both ends of a range", "did you mean 192.0.2.10-192.0.2.40? (swapped)"},
    {"192.0.2.10-300", "both ends of a range", everything},
    {"2001:db8::10-4f", "both ends of a range", "did you mean 2001:db8::10-2001:db8::4f?"},
    {"192.0.2.0/24-192.0.3.0/24", "not from segment to segment",
     "did you mean 192.0.2.0-192.0.3.255?"},
    {"192.0.2.0/24-192.0.3.9", "not from segment to segment", "did you mean 192.0.2.0-192.0.3.9?"},
    {"192.0.2.1-192.0.3.0/24", "not from segment to segment",
     "did you mean 192.0.2.1-192.0.3.255?"},
    {"2001:db8::/64-2001:db8:1::/64", "not from segment to segment",
     "did you mean 2001:db8::-2001:db8:1:0:ffff:ffff:ffff:ffff?"},
    {"192.0.2.1-192.0.2.2-192.0.2.3", "more than one \"-\"", everything},
    {"192.0.2.1-", "a range without its last address", everything},
    {"-192.0.2.1", "a range without its first address", everything},
    {"-", "a range without its first address", everything},
    {"192.0.2.1..192.0.2.9", "a range is written with \"-\"", "did you mean 192.0.2.1-192.0.2.9?"},
    {"192.0.2.1-192.0.2.256", "\"256\" is more than 255", everything},
    {"192.0.2.256-192.0.2.1", "\"256\" is more than 255", everything},
    {"192.0.2.1 - 192.0.2.9", "a space in it", "did you mean 192.0.2.1-192.0.2.9?"},

    /* v4-mapped */
    {"::ffff:192.0.2.1", "v4-mapped", "did you mean 192.0.2.1?"},
    {"::FFFF:c000:201", "v4-mapped", "did you mean 192.0.2.1?"},
    {"0:0:0:0:0:ffff:192.0.2.1", "v4-mapped", "did you mean 192.0.2.1?"},
    {"::ffff:192.0.2.0/120", "v4-mapped", "did you mean 192.0.2.0/24?"},
    {"::ffff:192.0.2.1/128", "v4-mapped", "did you mean 192.0.2.1/32?"},
    {"::ffff:0:0/96", "v4-mapped", "did you mean 0.0.0.0/0?"},
    {"::ffff:192.0.2.9/120", "v4-mapped", "192.0.2.0/24 is the segment, 192.0.2.9 the address"},
    {"::ffff:192.0.2.0/24", "v4-mapped", everything},
    {"::ffff:192.0.2.1-::ffff:192.0.2.9", "v4-mapped", "did you mean 192.0.2.1-192.0.2.9?"},
    {"192.0.2.1-::ffff:192.0.2.9", "v4-mapped", "did you mean 192.0.2.1-192.0.2.9?"},
    {"::1-::ffff:192.0.2.9", "v4-mapped", "one range for each family"},

    /* zone ids */
    {"fe80::1%eth0", "a zone id", "did you mean fe80::1?"},
    {"fe80::1%2", "a zone id", "did you mean fe80::1?"},
    {"fe80::%eth0/64", "a zone id", "did you mean fe80::/64?"},
    {"fe80::1%eth0-fe80::9%eth0", "a zone id", "did you mean fe80::1-fe80::9?"},

    /* names */
    {"mail.example.com", "not an IP address, and names are never looked up",
     "getent ahosts mail.example.com"},
    {"mail-1.example.com", "names are never looked up", "getent ahosts mail-1.example.com"},
    {"localhost", "names are never looked up", "getent ahosts localhost"},
    {"mail.example.com:587", "names are never looked up", "getent ahosts mail.example.com"},
    {"mail.example.com/24", "names are never looked up", "getent ahosts mail.example.com"},
    {"https://mail.example.com/", "names are never looked up", "getent ahosts mail.example.com"},
    {"beef", "names are never looked up", "getent ahosts beef"},
    {"any", "names are never looked up", "getent ahosts any"},
    {"user@example.com", "names are never looked up", "use the address"},
    {"$(reboot)", "names are never looked up", "use the address"},
    {"a'b", "names are never looked up", "use the address"},

    /* prefix lengths */
    {"192.0.2.0/33", "prefix length \"33\" is more than 32", "a number from 0 to 32"},
    {"2001:db8::/129", "prefix length \"129\" is more than 128", "a number from 0 to 128"},
    {"192.0.2.0/4294967320", "is more than 32", "a number from 0 to 32"},
    {"192.0.2.0/18446744073709551640", "is more than 32", "a number from 0 to 32"},
    {"192.0.2.0/", "no prefix length after the \"/\"", "a number from 0 to 32"},
    {"2001:db8::/", "no prefix length after the \"/\"", "a number from 0 to 128"},
    {"192.0.2.0/+8", "\"+8\" is not a prefix length", "a number from 0 to 32"},
    {"192.0.2.0/-8", "\"-8\" is not a prefix length", "a number from 0 to 32"},
    {"192.0.2.0/24x", "\"24x\" is not a prefix length", "a number from 0 to 32"},
    {"192.0.2.0/0x18", "\"0x18\" is not a prefix length", "a number from 0 to 32"},
    {"192.0.2.0/2.4", "\"2.4\" is not a prefix length", "a number from 0 to 32"},
    {"192.0.2.0/24/24", "more than one \"/\"", "a number from 0 to 32"},
    {"192.0.2.0//24", "more than one \"/\"", "a number from 0 to 32"},
    {"/24", "no address before the \"/\"", everything},
    {"/", "no address before the \"/\"", everything},

    /* netmasks */
    {"192.0.2.0/255.255.255.0", "a netmask", "did you mean 192.0.2.0/24?"},
    {"192.0.2.10/255.255.255.0", "a netmask", "192.0.2.0/24 is the segment, 192.0.2.10"},
    {"192.0.2.10/255.255.255.255", "a netmask", "did you mean 192.0.2.10/32?"},
    {"0.0.0.0/0.0.0.0", "a netmask", "did you mean 0.0.0.0/0?"},
    {"192.0.2.0/0.0.0.255", "a netmask", "did you mean 192.0.2.0/24?"},
    {"192.0.2.0/255.0.255.0", "neither a prefix length nor a netmask", everything},
    {"2001:db8::/255.255.255.0", "is not a prefix length", "a number from 0 to 128"},

    /* not four numbers */
    {"10.1", "an IPv4 address has 4 numbers, this has 2", "did you mean 10.1.0.0/16?"},
    {"192.0.2", "an IPv4 address has 4 numbers, this has 3", "did you mean 192.0.2.0/24?"},
    {"10.1/16", "an IPv4 address has 4 numbers, this has 2", "did you mean 10.1.0.0/16?"},
    {"10/8", "an IPv4 address has 4 numbers, this has 1", "did you mean 10.0.0.0/8?"},
    {"10", "an IPv4 address has 4 numbers, this has 1", everything},
    {"192.0.2.1.5", "an IPv4 address has 4 numbers, this has 5", everything},
    {"3221225985", "is more than 255", everything},
    {"192.0.2.256", "192.0.2.256: \"256\" is more than 255", everything},
    {"999.0.2.1", "\"999\" is more than 255", everything},
    {"192.0.2.4294967297", "is more than 255", everything},
    {"192.0..1", "a number is missing before or after a dot", everything},
    {".192.0.2.1", "a number is missing before or after a dot", everything},
    {".", "a number is missing", everything},
    {"192.0.2.10.", "a dot at the end", "did you mean 192.0.2.10?"},
    {"192.0.2.", "a dot at the end", "did you mean 192.0.2.0/24?"},
    {"192.0.2.10./32", "a dot at the end", "did you mean 192.0.2.10/32?"},
    {"0x7f.0.0.1", "hexadecimal", "four decimal numbers"},
    {"0xC0000201", "hexadecimal", "four decimal numbers"},
    {"+192.0.2.1", "unexpected \"+\"", everything},
    {"#3", "unexpected \"#\"", everything},
    {"\"192.0.2.1\"", "unexpected \"\"\"", everything},

    /* wildcards */
    {"192.0.2.*", "wildcards are not understood", "did you mean 192.0.2.0/24?"},
    {"192.0.*.*", "wildcards are not understood", "did you mean 192.0.0.0/16?"},
    {"10.*", "wildcards are not understood", "did you mean 10.0.0.0/8?"},
    {"192.0.2.x", "wildcards are not understood", "did you mean 192.0.2.0/24?"},
    {"192.0.02.*", "wildcards are not understood", "did you mean 192.0.2.0/24?"},
    {"192.*.2.1", "wildcards are not understood", "write a segment"},
    {"2001:db8:*", "wildcards are not understood", "write a segment"},
    {"*", "wildcards are not understood", "0.0.0.0/0 is every IPv4 address"},
    {"*.*.*.*", "wildcards are not understood", "0.0.0.0/0 is every IPv4 address"},

    /* what mail software adds */
    {"192.0.2.1:25", "a port after the address", "did you mean 192.0.2.1?"},
    {"192.0.2.1:smtp", "a port after the address", "did you mean 192.0.2.1?"},
    {"[2001:db8::1]", "brackets are not part of an address", "did you mean 2001:db8::1?"},
    {"[2001:db8::1]:587", "brackets are not part of an address", "did you mean 2001:db8::1?"},
    {"[192.0.2.1]", "brackets are not part of an address", "did you mean 192.0.2.1?"},
    {"[192.0.02.1]:25", "brackets are not part of an address", "did you mean 192.0.2.1?"},
    {"[2001:db8::]/32", "brackets are not part of an address", "did you mean 2001:db8::/32?"},
    {"[IPv6:2001:db8::1]", "brackets are not part", "did you mean 2001:db8::1?"},
    {"IPv6:2001:db8::1", "\"IPv6:\" is not part of an address", "did you mean 2001:db8::1?"},
    {"[mail.example.com]", "brackets are not part", "getent ahosts mail.example.com"},
    {"]", "brackets are not part", everything},

    /* spaces and separators */
    {" 192.0.2.1", "a space in it", "did you mean 192.0.2.1? (without spaces)"},
    {"192.0.2.1 ", "a space in it", "did you mean 192.0.2.1? (without spaces)"},
    {"192.0.2.0 /24", "a space in it", "did you mean 192.0.2.0/24?"},
    {"192.0.2.1   -  192.0.2.9", "a space in it", "did you mean 192.0.2.1-192.0.2.9?"},
    {"192.0.2.1 192.0.2.2", "a space in it", "arguments of their own"},
    {"10.0.0.1 1", "a space in it", "arguments of their own"},
    {" ", "a space in it", everything},
    {"192.0.2.1,192.0.2.2", "a \",\" in it", "192.0.2.1 192.0.2.2"},
    {"192.0.2.1;192.0.2.2", "a \";\" in it", "192.0.2.1 192.0.2.2"},

    /* bytes that must not be shown */
    {"192.0.2.1\n", "192.0.2.1\\x0a: control character \\x0a at position 10",
     "did you mean 192.0.2.1?"},
    {"192.0.2.1\r", "control character \\x0d at position 10", "did you mean 192.0.2.1?"},
    {"\t192.0.2.1", "control character \\x09 at position 1", "did you mean 192.0.2.1?"},
    {"192.0.2.1\x1b[2J", "192.0.2.1\\x1b[2J: control character \\x1b", everything},
    {"192.0.2.1\x7f", "control character \\x7f", everything},
    {"192.0.2.1\xff", "192.0.2.1\\xff: byte \\xff at position 10 is not ASCII", everything},
    {"\xd9\xa1.2.3.4", "\\xd9\\xa1.2.3.4: character U+0661 at position 1", everything},
    {"m\xc3\xbcller.example", "m\\xc3\\xbcller.example: character U+00FC", everything},
    {"192.0.2.1\xe2\x80\x93"
     "192.0.2.9",
     "the dash at position 10 is U+2013", "did you mean 192.0.2.1-192.0.2.9?"},
    {"192.0.2.1\xe2\x80\x94"
     "9",
     "the dash at position 10 is U+2014", "did you mean 192.0.2.1-192.0.2.9?"},
    {"192.0.2.1\xe2\x88\x92"
     "192.0.2.9",
     "U+2212", "did you mean 192.0.2.1-192.0.2.9?"},
    {"192.0.2.1 \xe2\x80\x93 192.0.2.9", "U+2013", "did you mean 192.0.2.1-192.0.2.9?"},
    {"\xef\xbb\xbf"
     "192.0.2.1",
     "U+FEFF", "did you mean 192.0.2.1?"},
    {"192.0.2.1\xc2\xa0", "U+00A0", "did you mean 192.0.2.1?"},

    /* IPv6 */
    {"2001:db8::1::2", "more than one \"::\"", everything},
    {"2001:db8:::1", "more than one \"::\"", everything},
    {"2001:db8::12345", "the group \"12345\" has more than 4 digits", everything},
    {"2001:db8", "this has 2", everything},
    {"1:2:3:4:5:6:7", "this has 7", everything},
    {"1:2:3:4:5:6:7:8:9", "an IPv6 address has 8 groups, this has more", everything},
    {"1:2:3:4:5:6:7::8", "an IPv6 address has 8 groups, this has more", everything},
    {"1:2:3:4:5:6:7:192.0.2.1", "an IPv6 address has 8 groups, this has more", everything},
    {":1:2:3:4:5:6:7", "a single \":\" at the start", everything},
    {"1:2:3:4:5:6:7:", "a single \":\" at the end", everything},
    {":", "a single \":\" at the start", everything},
    {"2001:db8::g", "unexpected \"g\" in an IPv6 address", everything},
    {"2001:db8::192.0.2", "an IPv4 address has 4 numbers, this has 3", everything},
    {"192.0.2.1::", "a dot in an IPv6 address", everything},
    {"1.2::192.0.2.1", "the groups and colons do not make an IPv6 address", everything},
    {"00:11:22:33:44:55", "a hardware (MAC) address", everything},
};

static void expect_clean(const char *text)
{
    for (const char *s = text; *s; s++)
        assert_in_range(*s, 0x20, 0x7e);
}

/* "did you mean X?": X must be accepted. */
static void expect_pasteable(const char *hint)
{
    static const char lead[] = "did you mean ";
    char text[WHO_TEXT_MAX];
    struct who who;

    if (strncmp(hint, lead, sizeof(lead) - 1) != 0)
        return;
    hint += sizeof(lead) - 1;
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(hint, "?"), hint);
    if (who_parse(text, &who, NULL) < 0)
        fail_msg("the hint proposes \"%s\"", text);
}

static void expect_fragment(const char *text, const char *got, const char *want)
{
    if (!strstr(got, want))
        fail_msg("%s: \"%s\" lacks \"%s\"", text, got, want);
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const struct refused_case *c = &refused[i];
        struct who who, before;
        struct err e;

        memset(&who, 0xa5, sizeof(who));
        before = who;
        memset(&e, 0xa5, sizeof(e));
        if (who_parse(c->text, &who, &e) != -EINVAL)
            fail_msg("%s: accepted", c->text);
        assert_memory_equal(&who, &before, sizeof(who));
        assert_int_equal(e.code, EXIT_USAGE);
        expect_fragment(c->text, e.message, c->message);
        expect_fragment(c->text, e.hint, c->hint);
        expect_clean(e.message);
        expect_clean(e.hint);
        expect_pasteable(e.hint);
        assert_int_equal(who_parse(c->text, &who, NULL), -EINVAL);
    }
}

/* The same texts are no address either, whatever addr_parse says about them. */
static void test_refused_as_address(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct addr addr, before;
        struct err e = {0};

        memset(&addr, 0xa5, sizeof(addr));
        before = addr;
        assert_int_equal(addr_parse(refused[i].text, &addr, &e), -EINVAL);
        assert_memory_equal(&addr, &before, sizeof(addr));
        assert_int_equal(e.code, EXIT_USAGE);
        assert_true(e.message[0] && e.hint[0]);
        expect_clean(e.message);
        expect_clean(e.hint);
    }
}

static void expect_no_address(const char *text, const char *message, const char *hint)
{
    struct addr addr;
    struct err e = {0};

    assert_int_equal(addr_parse(text, &addr, &e), -EINVAL);
    expect_fragment(text, e.message, message);
    expect_fragment(text, e.hint, hint);
}

static void test_one_address_wanted(void **state)
{
    (void)state;
    expect_no_address("192.0.2.0/24", "192.0.2.0/24: a segment, where a single address is wanted",
                      "for example 192.0.2.0");
    expect_no_address("192.0.2.1-192.0.2.9", "a range, where a single address is wanted",
                      "for example 192.0.2.1");
    expect_no_address("192.0.2.1:25", "a port", "did you mean 192.0.2.1?");
    expect_no_address("::ffff:192.0.2.1", "v4-mapped", "did you mean 192.0.2.1?");
    /* What would be a segment is no proposal here. */
    expect_no_address("192.0.2", "an IPv4 address has 4 numbers, this has 3", "192.0.2.0");
    expect_no_address("", "empty text", "an address is written like");
    expect_no_address("*", "wildcards", "an address is written like");
}

static void expect_long(const char *unit, size_t len)
{
    char text[4096];
    struct err e;
    struct who who;

    assert_true(len < sizeof(text));
    for (size_t i = 0; i < len; i++)
        text[i] = unit[i % strlen(unit)];
    text[len] = '\0';
    assert_int_equal(who_parse(text, &who, &e), -EINVAL);
    assert_true(strlen(e.message) < 300);
    expect_clean(e.message);
    expect_clean(e.hint);
    if (len >= WHO_TEXT_MAX)
        expect_fragment(text, e.message, "...: too long for an address, a segment or a range");
}

static void test_long_texts(void **state)
{
    static const char *const units[] = {"1",    "a",  ":",        ".",  "/", "-", "\xff",
                                        "\x1b", "1.", "1.2.3.4-", "::", "[", " "};

    (void)state;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        for (size_t len = 40; len < 200; len++)
            expect_long(units[i], len);
        expect_long(units[i], 4095);
    }
}

/*
 * Texts made of the characters that matter: nothing crashes (sanitizers watch), everything refused
 * has a clean message and an honest hint, everything accepted survives a round trip and, if it is
 * an address, inet_pton agrees.
 */
static void try_text(const char *text)
{
    char printed[WHO_TEXT_MAX];
    uint8_t bytes[16];
    struct who who, again;
    struct err e = {0};

    if (who_parse(text, &who, &e) < 0) {
        if (!e.message[0] || !e.hint[0])
            fail_msg("%s: refused without a word", text);
        expect_clean(e.message);
        expect_clean(e.hint);
        expect_pasteable(e.hint);
        return;
    }
    assert_int_equal(who_parse(who_print(&who, printed), &again, NULL), 0);
    assert_memory_equal(&again, &who, sizeof(who));
    if (who.kind == WHO_ADDRESS) {
        int af = who.first.family == ADDR_IP4 ? AF_INET : AF_INET6;

        assert_int_equal(inet_pton(af, text, bytes), 1);
        assert_memory_equal(who.first.bytes, bytes, addr_len(who.first.family));
    }
}

static unsigned int seed_given(void)
{
    const char *given = getenv("TEST_SEED");
    unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 10) : 1;

    printf("# TEST_SEED=%u\n", seed);
    return seed;
}

static void test_random_texts(void **state)
{
    static const char alphabet[] = "00112259abfx::::....//--* %[]\xe2\x80\x93";
    unsigned int seed = seed_given();

    (void)state;
    for (int i = 0; i < 300000; i++) {
        size_t len = (size_t)rand_r(&seed) % 24;
        char text[32];

        for (size_t j = 0; j < len; j++)
            text[j] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        text[len] = '\0';
        try_text(text);
    }
}

/* Good texts with one byte changed, dropped or put in: closer to what people type. */
static void test_mutated_texts(void **state)
{
    unsigned int seed = seed_given();

    (void)state;
    for (int i = 0; i < 200000; i++) {
        const char *good =
            accepted[(size_t)rand_r(&seed) % (sizeof(accepted) / sizeof(accepted[0]))].text;
        size_t len = strlen(good), at = (size_t)rand_r(&seed) % len;
        char text[128], byte = (char)(1 + rand_r(&seed) % 255);

        snprintf(text, sizeof(text), "%s", good);
        switch (rand_r(&seed) % 3) {
        case 0:
            text[at] = byte;
            break;
        case 1:
            memmove(text + at, text + at + 1, len - at);
            break;
        default:
            memmove(text + at + 1, text + at, len - at + 1);
            text[at] = "0123456789.:/-* "[rand_r(&seed) % 16];
            break;
        }
        try_text(text);
    }
}

/* RFC 5952 section 4 and 5, by hand. */
static void test_rfc5952(void **state)
{
    static const char *const cases[][2] = {
        {"2001:0db8::0001", "2001:db8::1"},
        {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
        {"2001:db8::0:1", "2001:db8::1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"}, /* one group is not shortened */
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},          /* the longest run */
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},    /* of equals the first */
        {"0:0:1:0:0:0:0:0", "0:0:1::"},
        {"0:0:0:0:0:1:0:0", "::1:0:0"},
        {"1:0:0:0:0:0:0:0", "1::"},
        {"0:0:0:0:0:0:0:0", "::"},
        {"0:1:0:1:0:1:0:1", "0:1:0:1:0:1:0:1"},
        {"1:0:1:0:1:0:1:0", "1:0:1:0:1:0:1:0"},
        {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
        {"0:0:3:4:5:6:7:8", "::3:4:5:6:7:8"},
        {"1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"},
        {"0:2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
        {"2001:DB8::AaAa", "2001:db8::aaaa"},
        {"::5:6:7:8", "::5:6:7:8"},
        {"1:2:3::8", "1:2:3::8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buf[ADDR_TEXT_MAX];
        struct addr addr;

        assert_int_equal(addr_parse(cases[i][0], &addr, NULL), 0);
        assert_ptr_equal(addr_print(&addr, buf), buf);
        assert_string_equal(buf, cases[i][1]);
    }
}

/* A source address comes from packets too, where it may well be v4-mapped. */
static void test_print_mapped(void **state)
{
    struct addr addr = {ADDR_IP6, {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1}};
    char buf[ADDR_TEXT_MAX];

    (void)state;
    assert_string_equal(addr_print(&addr, buf), "::ffff:192.0.2.1");
}

/*
 * Against inet_ntop: all 256 patterns of zero groups, with several values in the others. The two
 * differ only in ::a.b.c.d, an obsolete form that inet_ntop still writes with dots.
 */
static void test_print_like_inet_ntop(void **state)
{
    static const unsigned int values[] = {0x1, 0x10, 0xfff, 0x8000, 0xffff};

    (void)state;
    for (unsigned int pattern = 0; pattern < 256; pattern++) {
        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
            struct addr addr = {.family = ADDR_IP6}, again;
            char got[ADDR_TEXT_MAX], want[INET6_ADDRSTRLEN];

            for (unsigned int i = 0; i < 8; i++) {
                unsigned int group = pattern >> i & 1 ? values[v] : 0;

                addr.bytes[2 * i] = (uint8_t)(group >> 8);
                addr.bytes[2 * i + 1] = (uint8_t)group;
            }
            inet_ntop(AF_INET6, addr.bytes, want, sizeof(want));
            addr_print(&addr, got);
            if (!strchr(want, '.') || strchr(got, '.'))
                assert_string_equal(got, want);
            if (strchr(got, '.'))
                continue;
            assert_int_equal(addr_parse(got, &again, NULL), 0);
            assert_memory_equal(&again, &addr, sizeof(addr));
        }
    }
}

static void test_print_parse_random(void **state)
{
    unsigned int seed = seed_given();

    (void)state;
    for (int i = 0; i < 100000; i++) {
        struct addr addr = {.family = i & 1 ? ADDR_IP6 : ADDR_IP4}, again;
        char got[ADDR_TEXT_MAX], want[INET6_ADDRSTRLEN];

        for (size_t b = 0; b < addr_len(addr.family); b++)
            addr.bytes[b] = rand_r(&seed) & 64 ? 0 : (uint8_t)(rand_r(&seed) >> 7);
        inet_ntop(i & 1 ? AF_INET6 : AF_INET, addr.bytes, want, sizeof(want));
        addr_print(&addr, got);
        if (addr.family == ADDR_IP4 || !strchr(want, '.'))
            assert_string_equal(got, want);
        if (addr.family == ADDR_IP6 && strchr(got, '.'))
            continue;
        assert_int_equal(addr_parse(got, &again, NULL), 0);
        assert_memory_equal(&again, &addr, sizeof(addr));
    }
}

static void test_cmp(void **state)
{
    static const char *const ascending[] = {
        "0.0.0.0",   "1.0.0.0", "9.255.255.255", "10.0.0.0",    "127.255.255.255",
        "128.0.0.0", "::",      "::1",           "::ff",        "::100",
        "1::",       "7fff::",  "8000::",        "ffff::ffff:1"};

    (void)state;
    for (size_t i = 0; i < sizeof(ascending) / sizeof(ascending[0]); i++) {
        for (size_t j = 0; j < sizeof(ascending) / sizeof(ascending[0]); j++) {
            struct addr a, b;
            int order;

            assert_int_equal(addr_parse(ascending[i], &a, NULL), 0);
            assert_int_equal(addr_parse(ascending[j], &b, NULL), 0);
            order = addr_cmp(&a, &b);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
}

static void test_very_wide(void **state)
{
    static const struct {
        const char *text;
        bool wide;
    } cases[] = {
        {"192.0.2.1", false},
        {"10.0.0.0/8", false},
        {"10.0.0.0/7", true},
        {"0.0.0.0/0", true},
        {"0.0.0.0/1", true},
        {"10.0.0.0-10.255.255.255", false},
        {"10.0.0.0-11.0.0.0", true},
        {"9.255.255.255-10.255.255.254", false},
        {"9.255.255.255-10.255.255.255", true},
        {"0.0.0.0-255.255.255.255", true},
        {"::1", false},
        {"2000::/19", false},
        {"2000::/18", true},
        {"2000::/3", true},
        {"::/0", true},
        {"2001:db8::/32", false},
        {"2000::-2000:1fff:ffff:ffff:ffff:ffff:ffff:ffff", false},
        {"2000::-2000:2000::", true},
        {"2000::1-2000:2000::", false},
        {"2000::1-2000:2000::1", true},
        {"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct who who;

        assert_int_equal(who_parse(cases[i].text, &who, NULL), 0);
        if (who_is_very_wide(&who) != cases[i].wide)
            fail_msg("%s: %s", cases[i].text, cases[i].wide ? "not wide" : "wide");
    }
}

static void expect_same(const char *a, const char *b, bool same)
{
    struct who first, second;

    assert_int_equal(who_parse(a, &first, NULL), 0);
    assert_int_equal(who_parse(b, &second, NULL), 0);
    if (who_same_set(&first, &second) != same || who_same_set(&second, &first) != same)
        fail_msg("%s and %s: %s", a, b, same ? "not the same" : "the same");
}

static void test_same_set(void **state)
{
    (void)state;
    expect_same("192.0.2.1", "192.0.2.1", true);
    expect_same("192.0.2.1", "192.0.2.1/32", true);
    expect_same("192.0.2.1", "192.0.2.1-192.0.2.1", true);
    expect_same("192.0.2.0/24", "192.0.2.0-192.0.2.255", true);
    expect_same("2001:db8::1", "2001:0DB8:0::1", true);
    expect_same("2001:db8::/127", "2001:db8::-2001:db8::1", true);
    expect_same("0.0.0.0/0", "0.0.0.0-255.255.255.255", true);
    expect_same("192.0.2.0/24", "192.0.2.0/25", false);
    expect_same("192.0.2.0/24", "192.0.2.0", false);
    expect_same("192.0.2.1", "192.0.2.2", false);
    expect_same("0.0.0.0/0", "::/0", false);
    expect_same("0.0.0.0", "::", false);
    expect_same("::c000:201", "192.0.2.1", false);
}

static void test_kind_names(void **state)
{
    (void)state;
    assert_string_equal(who_kind_name(WHO_ADDRESS), "address");
    assert_string_equal(who_kind_name(WHO_SEGMENT), "segment");
    assert_string_equal(who_kind_name(WHO_RANGE), "range");
    assert_int_equal(addr_len(ADDR_IP4), 4);
    assert_int_equal(addr_len(ADDR_IP6), 16);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_every_prefix_length),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_as_address),
        cmocka_unit_test(test_one_address_wanted),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_mutated_texts),
        cmocka_unit_test(test_rfc5952),
        cmocka_unit_test(test_print_mapped),
        cmocka_unit_test(test_print_like_inet_ntop),
        cmocka_unit_test(test_print_parse_random),
        cmocka_unit_test(test_cmp),
        cmocka_unit_test(test_very_wide),
        cmocka_unit_test(test_same_set),
        cmocka_unit_test(test_kind_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
