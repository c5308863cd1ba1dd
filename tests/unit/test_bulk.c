// LINK: bulk bulk_csv bulk_formats bulk_input bulk_ipset bulk_json bulk_nft bulk_postfix
// LINK: bulk_print span listfile account addr who_why when text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is read from files of every format, said line by line: "+" an entry, "!" a problem, "-"
 * a notice, each with line, column and the marked text. Expectations are written by hand. What is
 * printed is read back, with random entries.
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

#include "bulk.h"

/* 2026-12-01T18:00:00Z */
#define NOW INT64_C(1796148000)

struct said {
    char text[65536];
    size_t used;
    size_t entries, problems, notices;
};

__attribute__((format(printf, 2, 3))) static void say(struct said *said, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    said->used +=
        (size_t)vsnprintf(said->text + said->used, sizeof(said->text) - said->used, fmt, ap);
    va_end(ap);
    assert_true(said->used < sizeof(said->text));
}

/* Every place lies within its text. */
static void say_place(struct said *said, const char *mark, const struct bulk_place *place)
{
    size_t len = strlen(place->text), shown;

    assert_true(place->line >= 1 && place->column >= 1);
    assert_true(place->at <= len);
    assert_null(strchr(place->text, '\n'));
    shown = place->len < len - place->at ? place->len : len - place->at;
    say(said, "%s %lu:%zu [%.*s] ", mark, place->line, place->column, (int)shown,
        place->text + place->at);
}

static int on_entry(const struct listfile_entry *entry, const struct bulk_place *place, void *arg)
{
    struct said *said = arg;
    char text[LISTFILE_TEXT_MAX];

    said->entries++;
    assert_int_equal(entry->has_until, entry->until != 0);
    assert_int_equal(entry->has_remark, *entry->remark != '\0');
    say_place(said, "+", place);
    say(said, "%s\n", listfile_print(entry, text));
    return 0;
}

static int on_problem(const struct bulk_place *place, const struct err *problem, bool notice,
                      void *arg)
{
    struct said *said = arg;

    *(notice ? &said->notices : &said->problems) += 1;
    assert_true(*problem->message);
    assert_true(notice || *problem->hint);
    say_place(said, notice ? "-" : "!", place);
    say(said, "%s\n", problem->message);
    return 0;
}

static enum bulk_format read_bytes(enum bulk_format format, const char *bytes, size_t len,
                                   struct said *said)
{
    const struct bulk_sink sink = {.entry = on_entry, .problem = on_problem, .arg = said};
    enum bulk_format got = BULK_AUTO;
    FILE *file = len ? fmemopen((void *)bytes, len, "r") : fopen("/dev/null", "r");
    struct err e = {0};

    assert_non_null(file);
    if (bulk_read(file, format, NOW, &sink, &got, &e) != 0)
        fail_msg("%s", e.message);
    fclose(file);
    return got;
}

static const char *const names[] = {
    [BULK_LIST] = "list",   [BULK_CSV] = "csv", [BULK_JSON] = "json",
    [BULK_IPSET] = "ipset", [BULK_NFT] = "nft", [BULK_POSTFIX] = "postfix",
};

static void expect(enum bulk_format format, const char *text, const char *want)
{
    struct said said = {0};

    assert_int_equal(read_bytes(format, text, strlen(text), &said), format);
    if (strcmp(said.text, want) != 0)
        fail_msg("%s of\n%s\nis\n%snot\n%s", names[format], text, said.text, want);
}

static void test_list(void **state)
{
    (void)state;
    expect(
        BULK_LIST,
        "# comment\n\n  \t\n192.0.2.1\n 192.0.2.0/24\tuntil=2027-01-01T00:00:00Z  account=a%20b # "
        "office\r\n# more\n2001:db8::1-2001:db8::9 #x\n",
        "+ 4:1 [192.0.2.1] 192.0.2.1\n"
        "+ 5:2 [192.0.2.0/24] 192.0.2.0/24  until=2027-01-01T00:00:00Z  account=a%20b  # office\n"
        "+ 7:1 [2001:db8::1-2001:db8::9] 2001:db8::1-2001:db8::9  # x\n");
    expect(
        BULK_LIST,
        "192.0.2.300\n192.0.2.9 until=2027-01-01\n192.0.2.9 until=2027-01-01T00:00:00Z"
        " until=2027-01-01T00:00:00Z\nfe80::1 x\n10.0.0.1",
        "! 1:1 [192.0.2.300] 192.0.2.300: \"300\" is more than 255\n"
        "! 2:11 [until=2027-01-01] \"2027-01-01\" is no time of RFC 3339: the time and the zone are"
        " missing\n"
        "! 3:38 [until=2027-01-01T00:00:00Z] a second until= in one line\n"
        "! 4:9 [x] \"x\" is not known here\n"
        "+ 5:1 [10.0.0.1] 10.0.0.1\n");
    expect(BULK_LIST,
           "\xef\xbb\xbf"
           "10.0.0.1\n",
           "+ 1:1 [10.0.0.1] 10.0.0.1\n");
    expect(BULK_LIST, "", "");
    expect(BULK_LIST, "\n#\n", "");
}

static void test_csv(void **state)
{
    (void)state;
    expect(BULK_CSV,
           "who,account,until,remark\r\n192.0.2.1,,,\r\n"
           "192.0.2.0/24,alice,2027-01-01T00:00:00Z,\"a, \"\"b\"\"\"\r\n",
           "+ 2:1 [192.0.2.1] 192.0.2.1\n"
           "+ 3:1 [192.0.2.0/24] 192.0.2.0/24  until=2027-01-01T00:00:00Z  account=alice  # a, "
           "\"b\"\n");
    /* any order, any case, blanks around cells, what is passed over, a row that begins with # */
    expect(BULK_CSV,
           "# made by hand\nRemark , id,\"WHO\", expires ,kind,created,last_seen,connections\n"
           "\n#1 office, 7 , \"10.0.0.1\" ,2027-01-01T00:00:00+01:00,address,x,,0\n"
           "\" kept \",,10.0.0.2,,,,,\n",
           "+ 4:16 [\"10.0.0.1\"] 10.0.0.1  until=2026-12-31T23:00:00Z  # #1 office\n"
           "+ 5:11 [10.0.0.2] 10.0.0.2  #  kept \n");
    expect(BULK_CSV,
           "who,remark\n10.0.0.1\n10.0.0.1,a,b\n10.0.0.1,\"a\n10.0.0.1,a\"b\n10.0.0.1,\"a\"b\n"
           ",a\n10.0.0.1,\xff\n10.0.0.5,ok\n",
           "! 2:9 [] 1 cell, and the first line names 2\n"
           "! 3:12 [b] 3 cells, and the first line names 2\n"
           "! 4:10 [\"a] a quoted cell that does not end in this line\n"
           "! 5:10 [a\"b] a \" in a cell that does not begin with one\n"
           "! 6:10 [\"a\"] text behind a quoted cell\n"
           "! 7:1 [] an empty text, where an address is wanted\n"
           "! 8:10 [\xff] remark: invalid UTF-8 at character 1 (byte \\xff)\n"
           "+ 9:1 [10.0.0.5] 10.0.0.5  # ok\n");
    expect(BULK_CSV, "who,until,expires\n10.0.0.1,,\n",
           "! 1:11 [expires] a second column \"until\"\n");
    expect(BULK_CSV, "who,colour\n10.0.0.1,red\n",
           "! 1:5 [colour] there is no column \"colour\"\n");
    expect(BULK_CSV, "who;remark\n", "! 1:1 [who;remark] there is no column \"who;remark\"\n");
    expect(BULK_CSV,
           "who,remark,account,until,id,kind,created,last_seen,connections,a,b,c,d,e,f,g,h\n",
           "! 1:78 [h] too many cells in one line\n");
}

static void expect_as(enum bulk_format format, const char *text, const char *want)
{
    struct said said = {0};

    read_bytes(format, text, strlen(text), &said);
    if (strcmp(said.text, want) != 0)
        fail_msg("%s of\n%s\nis\n%snot\n%s", names[format], text, said.text, want);
}

static void test_json(void **state)
{
    (void)state;
    expect(BULK_JSON,
           "{\"who\":\"10.0.0.1\"}\n\n  {\"id\":7,\"who\":\"10.0.0.0/8\",\"kind\":\"segment\","
           "\"account\":\"al\\u00efce\",\"remark\":\"a \\\"b\\\" \\ud83d\\ude00\","
           "\"created\":\"x\",\"expires\":\"2027-01-01T00:00:00Z\",\"last_seen\":null,"
           "\"connections\":-0.5e+3}\n",
           "+ 1:8 [\"10.0.0.1\"] 10.0.0.1\n"
           "+ 3:17 [\"10.0.0.0/8\"] 10.0.0.0/8  until=2027-01-01T00:00:00Z  account=al\xc3\xaf"
           "ce"
           "  # a \"b\" \xf0\x9f\x98\x80\n");
    expect(BULK_JSON,
           "{\"schema\":1,\"entries\":[{\"who\":\"10.0.0.1\",\"account\":null,\"remark\":\"\","
           "\"until\":null},\n{\"who\":\"10.0.0.2\"} ],\"ok\":true}\n",
           "+ 1:31 [\"10.0.0.1\"] 10.0.0.1\n+ 2:8 [\"10.0.0.2\"] 10.0.0.2\n");
    expect(BULK_JSON, "[ {\"who\":\"10.0.0.1\"}, {\"who\":\"10.0.0.2\"}]\n[]",
           "+ 1:10 [\"10.0.0.1\"] 10.0.0.1\n+ 1:30 [\"10.0.0.2\"] 10.0.0.2\n");
    expect(BULK_JSON, "{\"schema\":1,\"ok\":true,\"entries\":[]}", "");
    expect(BULK_JSON, "# of 2026\n\n{\"who\":\"10.0.0.1\"}", "+ 3:8 [\"10.0.0.1\"] 10.0.0.1\n");
    /* it can be read, and is not what is wanted */
    expect(
        BULK_JSON,
        "{\"who\":\"10.0.0.300\"}\n{\"remark\":\"x\"}\n{}\n{\"who\":7}\n"
        "{\"who\":\"10.0.0.1\",\"color\":{\"a\":[1,true,null,{}]}}\n"
        "{\"who\":\"10.0.0.1\",\"who\":\"10.0.0.2\"}\n"
        "{\"who\":\"10.0.0.1\",\"until\":\"2027-01-01\"}\n"
        "{\"who\":\"10.0.0.1\",\"remark\":\"a\\nb\"}\n{\"who\":null}\n"
        "{\"until\":null,\"who\":\"10.0.0.1\",\"expires\":null}\n",
        "! 1:8 [\"10.0.0.300\"] 10.0.0.300: \"300\" is more than 255\n"
        "! 2:1 [{] an entry without \"who\"\n"
        "! 3:1 [{] an entry without \"who\"\n"
        "! 4:8 [7] who: a text is wanted\n"
        "! 5:19 [\"color\"] there is no key \"color\"\n"
        "! 6:19 [\"who\"] a second \"who\"\n"
        "! 7:27 [\"2027-01-01\"] \"2027-01-01\" is no time of RFC 3339: the time and the zone are"
        " missing\n"
        "! 8:28 [\"a\\nb\"] remark: control character U+000A at character 2\n"
        "! 9:8 [null] an empty text, where an address is wanted\n"
        "! 10:32 [\"expires\"] a second \"expires\"\n");
    expect(BULK_JSON,
           "{\"schema\":2,\"entries\":[]}\n{\"entries\":[],\"ok\":false,\"error\":{\"code\":5}}\n"
           "{\"entries\":[{\"entries\":[]}]}\n{\"entries\":[],\"who\":\"10.0.0.1\"}\n",
           "! 1:11 [2] a schema that this version does not know\n"
           "! 2:20 [false] the list is not complete: it ends in an error\n"
           "! 2:34 [{\"code\":5}] the list is not complete: it ends in an error\n"
           "! 3:14 [\"entries\"] there is no key \"entries\"\n"
           "! 4:1 [{] an entry and a list of entries in one object\n");
    expect_as(BULK_JSON, "x\n", "! 1:1 [x] an entry is wanted: { ... }\n");
}

static void test_json_broken(void **state)
{
    static const char *const broken[][2] = {
        {"{", "! 1:2 [] the file ends within an object\n"},
        {"{\"who\"", "! 1:7 [] the file ends within an object\n"},
        {"{\"who\":\"10.0.0.1\"", "! 1:18 [] the file ends within an object\n"},
        {"{\"who\":\"10.0.0.1", "! 1:17 [] the file ends within an object\n"},
        {"{\"who\":\"10.0.0.1\",}", "! 1:19 [}] a key is wanted: \"who\"\n"},
        {"{\"who\" \"10.0.0.1\"}", "! 1:8 [\"] a : is wanted behind a key\n"},
        {"{\"who\":\"10.0.0.1\" \"id\":1}", "! 1:19 [\"] a , is wanted between members\n"},
        {"{who:1}", "! 1:2 [w] a key is wanted: \"who\"\n"},
        {"{\"id\":01}", "! 1:8 [1] a number with a leading zero\n"},
        {"{\"id\":-}", "! 1:8 [}] a number that lacks a digit\n"},
        {"{\"id\":1.}", "! 1:9 [}] a number that lacks a digit\n"},
        {"{\"id\":1e}", "! 1:9 [}] a number that lacks a digit\n"},
        {"{\"id\":tru}", "! 1:7 [t] no value of JSON: a text stands in quotes\n"},
        {"{\"id\":NaN}", "! 1:7 [N] a value is wanted\n"},
        {"{\"id\":[1 2]}", "! 1:10 [2] a , is wanted between values\n"},
        {"{\"id\":{1:2}}", "! 1:8 [1] a key is wanted: \"who\"\n"},
        {"{\"who\":\"\\u0000\"}", "! 1:11 [0] a NUL (\\u0000) in a text\n"},
        {"{\"who\":\"\\ud800x\"}",
         "! 1:11 [d] half a character: \\ud800 to \\udfff come in pairs\n"},
        {"{\"who\":\"\\ude00\"}",
         "! 1:11 [d] half a character: \\ud800 to \\udfff come in pairs\n"},
        {"{\"who\":\"\\u12g4\"}", "! 1:13 [g] behind \\u come four hexadecimal digits\n"},
        {"{\"who\":\"\\x\"}",
         "! 1:10 [x] behind a \\ in a text comes one of \" \\ / b f n r t u\n"},
        {"{\"who\":\"a\tb\"}", "! 1:10 [\t] a text that does not end in this line\n"},
        {"{\"entries\":{}}", "! 1:12 [{] a list of entries is wanted: [ ... ]\n"},
        {"{\"entries\":[1]}", "! 1:13 [1] an entry is wanted: { ... }\n"},
        {"{\"entries\":[{\"who\":\"10.0.0.1\"}", "+ 1:20 [\"10.0.0.1\"] 10.0.0.1\n"
                                                 "! 1:31 [] the file ends within an object\n"},
        {"{}}", "! 1:1 [{] an entry without \"who\"\n! 1:3 [}] an entry is wanted: { ... }\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        char text[256], want[512];

        expect_as(BULK_JSON, broken[i][0], broken[i][1]);
        if (strstr(broken[i][1], "file ends"))
            continue;
        /* the next line is read again, when it begins with an object */
        snprintf(text, sizeof(text), "%s\n ,\n{\"who\":\"10.0.0.9\"}\n", broken[i][0]);
        snprintf(want, sizeof(want), "%s+ 3:8 [\"10.0.0.9\"] 10.0.0.9\n", broken[i][1]);
        expect_as(BULK_JSON, text, want);
    }
}

static void test_ipset(void **state)
{
    (void)state;
    expect(BULK_IPSET,
           "create a hash:ip family inet hashsize 1024 maxelem 65536 timeout 300 counters comment"
           " bucketsize 12 initval 0x8262a844\n"
           "add a 192.0.2.10 timeout 59 packets 3 bytes 9\n"
           "add a 192.0.2.2 timeout 0 packets 0 bytes 0 comment \"for  ever timeout 1\"\n"
           "add a 192.0.2.3\n"
           "add a 192.0.2.4 comment \"\" -exist\n"
           "-exist add a 192.0.2.8-192.0.2.11\n",
           "+ 2:7 [192.0.2.10] 192.0.2.10  until=2026-12-01T18:00:59Z\n"
           "+ 3:7 [192.0.2.2] 192.0.2.2  # for  ever timeout 1\n"
           "+ 4:7 [192.0.2.3] 192.0.2.3  until=2026-12-01T18:05:00Z\n"
           "+ 5:7 [192.0.2.4] 192.0.2.4  until=2026-12-01T18:05:00Z\n"
           "+ 6:14 [192.0.2.8-192.0.2.11] 192.0.2.8-192.0.2.11  until=2026-12-01T18:05:00Z\n");
    expect(
        BULK_IPSET,
        "create n hash:net\nflush n\nadd n 10.0.0.0/8\nadd n 10.1.0.0/16 nomatch\n"
        "create m hash:ip family inet netmask 24\nadd m 10.1.2.0\nadd m 10.1.2.1\n"
        "add m 10.1.2.0-10.1.2.9\ncreate b bitmap:ip range 10.0.0.0-10.0.0.255\nadd b 10.0.0.5\n"
        "COMMIT\n",
        "- 2:1 [flush] not taken over: the list is not emptied by this line\n"
        "+ 3:7 [10.0.0.0/8] 10.0.0.0/8\n"
        "! 4:19 [nomatch] an exception (nomatch): a list has none, and what is around it would let"
        " it in\n"
        "- 6:7 [10.1.2.0] a second set, m: the entries of all sets are taken, whatever they were"
        " for\n"
        "+ 6:7 [10.1.2.0] 10.1.2.0/24\n"
        "! 7:7 [10.1.2.1] 10.1.2.1/24: bits are set beyond the first 24\n"
        "! 8:7 [10.1.2.0-10.1.2.9] a segment or a range in a set with netmask\n"
        "+ 10:7 [10.0.0.5] 10.0.0.5\n");
    /* sets that cannot be taken are named, once */
    expect(
        BULK_IPSET,
        "create p hash:ip,port family inet\nadd p 1.2.3.4,tcp:25\ncreate l list:set size 8\n"
        "add l p\ncreate x hash:ip bitmask 255.255.255.0\nadd x 10.0.0.1\ncreate y hash:ip forceadd"
        " skbinfo\nadd y 10.0.0.1 skbmark 0x1111/0xff00ffff skbprio 1:10\nadd y 10.0.0.2 skbqueue "
        "3\n",
        "! 1:10 [hash:ip,port] set p is a hash:ip,port, which holds more than addresses\n"
        "! 3:10 [list:set] set l is a list:set, which holds more than addresses\n"
        "! 5:18 [bitmask] the set's option \"bitmask\" is not known here\n"
        "- 8:16 [skbmark] marks of packets are not taken over\n"
        "+ 8:7 [10.0.0.1] 10.0.0.1\n+ 9:7 [10.0.0.2] 10.0.0.2\n");
    expect(
        BULK_IPSET,
        "add a 10.0.0.1\nflush a\ndel a 10.0.0.1\nswap a b\nadd a\nadd\nadd a 10.0.0.1 timeout\n"
        "add a 10.0.0.1 timeout 1d\nadd a 10.0.0.1 timeout 999999999\nadd a 10.0.0.1 comment \"x\n"
        "add a 10.0.0.1 what\nadd a 1.2.3.4,tcp:25\nadd a mail.example\nlist a\ncreate\ncreate z\n"
        "add a 10.0.0.1 packets\n",
        "+ 1:7 [10.0.0.1] 10.0.0.1\n"
        "! 2:1 [flush] \"flush\" changes a set: a list of entries is wanted\n"
        "! 3:1 [del] \"del\" changes a set: a list of entries is wanted\n"
        "! 4:1 [swap] \"swap\" changes a set: a list of entries is wanted\n"
        "! 5:6 [] an entry without a set or an address\n"
        "! 6:4 [] an entry without a set or an address\n"
        "! 7:23 [] timeout wants a number\n"
        "! 8:24 [1d] timeout wants a number\n"
        "! 9:24 [999999999] timeout: more than 315360000\n"
        "! 10:24 [\"x] a comment that does not end in this line\n"
        "! 11:16 [what] \"what\" is not known here\n"
        "! 12:7 [1.2.3.4,tcp:25] \"1.2.3.4,tcp:25\" is more than an address\n"
        "! 13:7 [mail.example] mail.example: not an IP address, and names are never looked up\n"
        "! 14:1 [list] \"list\" is not known here\n"
        "! 15:7 [] a set without a name\n"
        "! 16:9 [] set z has no type\n"
        "! 17:23 [] \"packets\" is not known here\n");
}

static void test_nft(void **state)
{
    (void)state;
    /* as nft 1.0.6 prints it */
    expect(BULK_NFT,
           "table inet t {\n\tset s {\n\t\ttype ipv4_addr\n\t\tflags interval,timeout\n"
           "\t\tcomment \"the set\"\n"
           "\t\telements = { 10.0.0.1-10.0.0.9 timeout 1d2h expires 3h2m996ms, 192.0.2.1,\n"
           "\t\t\t     192.0.2.128/25 counter packets 0 bytes 0 timeout 1d expires 23h59m59s996ms"
           " comment \"x, y }\", 198.51.100.0-198.51.100.4 }\n\t}\n}\n",
           "+ 6:16 [10.0.0.1-10.0.0.9] 10.0.0.1-10.0.0.9  until=2026-12-01T21:02:01Z\n"
           "+ 6:66 [192.0.2.1] 192.0.2.1\n"
           "+ 7:9 [192.0.2.128/25] 192.0.2.128/25  until=2026-12-02T18:00:00Z  # x, y }\n"
           "+ 7:102 [198.51.100.0-198.51.100.4] 198.51.100.0-198.51.100.4\n");
    expect(BULK_NFT,
           "flush ruleset\ntable inet t { set a { typeof ip6 saddr; timeout 1h\nelements = {"
           " 2001:db8::1, 2001:db8::2 timeout 90, 2001:db8::3 expires 0s, 2001:db8::4 timeout "
           "never,}\n"
           "}; }\n",
           "- 1:1 [flush] not taken over: rules and all else but the elements of sets\n"
           "+ 3:14 [2001:db8::1] 2001:db8::1  until=2026-12-01T19:00:00Z\n"
           "+ 3:27 [2001:db8::2] 2001:db8::2  until=2026-12-01T18:01:30Z\n"
           "+ 3:51 [2001:db8::3] 2001:db8::3  until=2026-12-01T18:00:00Z\n"
           "+ 3:75 [2001:db8::4] 2001:db8::4\n");
    /* by hand */
    expect(
        BULK_NFT,
        "# ours\nadd element inet t s { 10.0.0.1, # one\n10.0.0.2 comment \"two\" }\n"
        "create element inet t s { 10.0.0.3 }; add set ip t u { type ipv4_addr; elements = {"
        " 10.0.0.4 } }\nelements = { 10.0.0.5 }\n",
        "+ 2:24 [10.0.0.1] 10.0.0.1\n+ 3:1 [10.0.0.2] 10.0.0.2  # two\n"
        "+ 4:27 [10.0.0.3] 10.0.0.3\n"
        "- 4:85 [10.0.0.4] a second set, u: the elements of all sets are taken, whatever they were"
        " for\n"
        "+ 4:85 [10.0.0.4] 10.0.0.4\n+ 5:14 [10.0.0.5] 10.0.0.5\n");
    /* what is no set of addresses is named */
    expect(BULK_NFT,
           "table ip t {\nset c { type ipv4_addr . inet_service; elements = { 1.2.3.4 . 25 } ; }\n"
           "set p { type inet_service\nelements = { 22, 100-200, ssh } }\n"
           "set n { type ifname\nelements = { \"eth0\" }\n}\n"
           "set o { typeof tcp dport\nelements = { 25 }\n}\n"
           "map m { type ipv4_addr : verdict\nelements = { 9.9.9.9 : accept }\n}\n"
           "chain i { type filter hook input priority filter; policy accept;\n"
           "ip saddr { 1.1.1.1, 2.2.2.0/24 } tcp dport 25 accept comment \"foo { bar\"\n}\n"
           "chain j { }\nset s { type ipv4_addr\nelements = { 10.0.0.1 }\n}\n}\n"
           "add rule ip t i ip saddr { 3.3.3.3 } accept\n",
           "- 2:9 [type] not taken over: set c holds other things than addresses (ipv4_addr and "
           "more)\n"
           "- 3:9 [type] not taken over: set p holds other things than addresses (inet_service)\n"
           "- 5:9 [type] not taken over: set n holds other things than addresses (ifname)\n"
           "- 8:9 [typeof] not taken over: set o holds other things than addresses (tcp)\n"
           "- 11:1 [map] not taken over: map m is no set of addresses\n"
           "- 14:1 [chain] not taken over: rules and all else but the elements of sets\n"
           "+ 19:14 [10.0.0.1] 10.0.0.1\n");
}

static void test_nft_problems(void **state)
{
    (void)state;
    expect(
        BULK_NFT,
        "add element inet t s { 10.0.0.300, 10.0.0.1/24, $x, @y, *, 1.2.3.4 . 25, 9.9.9.9 : drop,"
        " \"eth0\", 10.0.0.1 what, 10.0.0.1 timeout x, 10.0.0.1 timeout 0s, 10.0.0.1 timeout, {"
        " 1 }, 10.0.0.1 timeout 9999d, 10.0.0.2 }\n",
        "! 1:24 [10.0.0.300] 10.0.0.300: \"300\" is more than 255\n"
        "! 1:36 [10.0.0.1/24] 10.0.0.1/24: bits are set beyond the first 24\n"
        "! 1:49 [$x] \"$x\" stands for something that is not known here\n"
        "! 1:53 [@y] \"@y\" stands for something that is not known here\n"
        "! 1:57 [*] the element * is every address there is\n"
        "! 1:68 [.] a concatenation: this set holds more than addresses\n"
        "! 1:82 [:] a map's element: something belongs to this address\n"
        "! 1:90 [\"eth0\"] \"eth0\" is no address\n"
        "! 1:107 [what] \"what\" is not known here\n"
        "! 1:130 [x] \"x\" is no duration\n"
        "! 1:150 [0s] a timeout of 0 is no time at all\n"
        "! 1:170 [,] the element ends too early\n"
        "! 1:172 [{] a { among elements\n"
        "! 1:196 [9999d] \"9999d\" is no duration\n"
        "+ 1:203 [10.0.0.2] 10.0.0.2\n");
    expect(BULK_NFT, "table ip t { set s { elements = { 10.0.0.1 }\ntimeout 1h\n} }\n",
           "+ 1:35 [10.0.0.1] 10.0.0.1\n"
           "! 2:1 [timeout] \"timeout\" behind the elements comes too late\n");
    expect(BULK_NFT,
           "include \"x\"\nadd element ip t s $x\nadd element ip t s { 10.0.0.1 }\n"
           "delete element ip t s { 10.0.0.1 }\nflush set ip t s\nwhat\n}\n{ 10.0.0.1 }\n"
           "add element ip t s { 10.0.0.2 }\n",
           "! 1:1 [include] another file is not read\n"
           "! 2:1 [add] elements that are not listed here\n"
           "+ 3:22 [10.0.0.1] 10.0.0.1\n"
           "! 4:1 [delete] \"delete\" changes a set: a list of elements is wanted\n"
           "! 5:1 [flush] \"flush\" behind elements: a list of elements is wanted\n"
           "! 6:1 [what] \"what\" is not known here\n"
           "! 7:1 [}] a } that closes nothing\n"
           "! 8:1 [{] a { that nothing stands in front of\n"
           "+ 9:22 [10.0.0.2] 10.0.0.2\n");
    expect(BULK_NFT, "table ip t { set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2\n",
           "+ 1:51 [10.0.0.1] 10.0.0.1\n! 2:1 [] the file ends within { }\n");
    expect(BULK_NFT, "add element ip t s { 10.0.0.1 comment \"x, 10.0.0.2\n}\n",
           "! 1:39 [\"] a quoted text that does not end in this line\n");
    expect(BULK_NFT, "elements = {\r", "! 1:14 [] the file ends within { }\n");
    expect(BULK_NFT, "table ip t { set s { elements = $x; }; }",
           "! 1:22 [elements] elements that are not listed here\n");
    /* a comma is missing: what follows is no part of the counter */
    expect(
        BULK_NFT,
        "elements = { 10.0.0.1 counter packets 3 bytes 180\n10.0.0.2, 10.0.0.3 limit rate 5/second"
        " burst 5 packets 2001:db8::/32 }\n",
        "! 2:1 [10.0.0.2] \"10.0.0.2\" is not known here\n"
        "- 2:20 [limit] \"limit\" is not taken over: the address is let in at any rate\n"
        "! 2:56 [2001:db8::/32] \"2001:db8::/32\" is not known here\n");
    expect(BULK_NFT,
           "table ip t {\ninclude \"x\"\nset s {\ninclude \"y\"\ntype ipv4_addr; ct count over 3\n"
           "elments = { 10.0.0.1 }\nelements = { 10.0.0.2 }\n}\n}\n",
           "! 2:1 [include] another file is not read\n"
           "! 4:1 [include] another file is not read\n"
           "- 5:17 [ct] \"ct\" is not taken over: the address is let in at any rate\n"
           "- 6:1 [elments] not taken over: rules and all else but the elements of sets\n"
           "+ 7:14 [10.0.0.2] 10.0.0.2\n");
}

static void test_postfix(void **state)
{
    (void)state;
    expect(BULK_POSTFIX,
           "# Rule order matters.\n192.168.1.1\tOK\n192.168.2.0/24 ok # the office\n"
           "[10.0.0.0]/8 permit\n10.1.0.1 1234567890 \n[2001:db8::1] OK\n192.168.0.0/16 REJECT\n"
           "2001:db8::/32 550 5.7.1 no\n0.0.0.0/0 REJECT unlisted\n",
           "+ 2:1 [192.168.1.1] 192.168.1.1\n"
           "+ 3:1 [192.168.2.0/24] 192.168.2.0/24  # the office\n"
           "+ 4:1 [[10.0.0.0]/8] 10.0.0.0/8\n"
           "+ 5:1 [10.1.0.1] 10.1.0.1\n"
           "+ 6:1 [[2001:db8::1]] 2001:db8::1\n"
           "- 7:16 [REJECT] not taken over: REJECT is no permit\n"
           "- 8:15 [550] not taken over: 550 is no permit\n"
           "- 9:11 [REJECT] not taken over: REJECT is no permit\n");
    /* the first match decides: what stands in front takes from what follows */
    expect(
        BULK_POSTFIX,
        "10.1.0.0/16 DUNNO\n10.0.0.0/8 OK\n10.1.2.3 OK\n10.2.0.0/16 OK\n11.0.0.0/8 450\n"
        "11.1.1.1 OK\n12.0.0.0/8 permit_mynetworks, reject\n12.0.0.1 permit, reject\n"
        "13.0.0.1 permit,reject\n14.0.0.1 RELAYX\n15.0.0.1 OK,x\n",
        "- 1:13 [DUNNO] not taken over: DUNNO is no permit\n"
        "! 2:1 [10.0.0.0/8] a row in front of this one settles some of these addresses otherwise,"
        " and a list has no exceptions\n"
        "! 3:1 [10.1.2.3] a row in front of this one settles some of these addresses otherwise,"
        " and a list has no exceptions\n"
        "+ 4:1 [10.2.0.0/16] 10.2.0.0/16\n"
        "- 5:12 [450] not taken over: 450 is no permit\n"
        "! 6:1 [11.1.1.1] a row in front of this one settles some of these addresses otherwise,"
        " and a list has no exceptions\n"
        "- 7:12 [permit_mynetworks,] not taken over: permit_mynetworks is no permit\n"
        "! 8:1 [12.0.0.1] a row in front of this one settles some of these addresses otherwise,"
        " and a list has no exceptions\n"
        "+ 9:1 [13.0.0.1] 13.0.0.1\n"
        "- 10:10 [RELAYX] not taken over: RELAYX is no permit\n"
        "- 11:10 [OK,x] not taken over: OK,x is no permit\n");
    expect(
        BULK_POSTFIX,
        "if 10.0.0.0/8\n10.0.0.1 OK\nendif\n!10.0.0.0/8 OK\n10.0.0.1/8 OK\n010.0.0.1 OK\n10.0.0.9\n"
        "10.0.0.1-10.0.0.5 OK\nmail.example OK\n  more\n\n# x\n10.0.0.8\n  OK\n\t# no comment\n"
        "  of mine\n",
        "! 1:1 [if] \"if\": conditions cannot be taken over\n"
        "+ 2:1 [10.0.0.1] 10.0.0.1\n"
        "! 3:1 [endif] \"endif\": conditions cannot be taken over\n"
        "! 4:1 [!10.0.0.0/8] \"!\" means every other address, which a list does not have\n"
        "! 5:1 [10.0.0.1/8] 10.0.0.1/8: bits are set beyond the first 8\n"
        "! 6:1 [010.0.0.1] 010.0.0.1: leading zero in \"010\"\n"
        "! 7:1 [10.0.0.9] a row without a result\n"
        "! 8:1 [10.0.0.1-10.0.0.5] \"10.0.0.1-10.0.0.5\" is a range, which a cidr: table does not"
        " have\n"
        "! 9:1 [mail.example] mail.example: not an IP address, and names are never looked up\n"
        "+ 13:1 [10.0.0.8] 10.0.0.8  # of mine\n");
    expect_as(BULK_POSTFIX, "  10.0.0.1 OK\n",
              "! 1:1 [  10.0.0.1 OK] this goes on with a row, and there is none\n");
}

/* ---- all formats ---- */

static void test_detect(void **state)
{
    static const struct {
        enum bulk_format format;
        const char *text;
    } cases[] = {
        {BULK_LIST, ""},
        {BULK_LIST, "\n\n# x\n"},
        {BULK_LIST, "192.0.2.1"},
        {BULK_LIST, "\xef\xbb\xbf# x\r\n192.0.2.1 # OK\n"},
        {BULK_LIST, "192.0.2.1 account=x\n"},
        {BULK_LIST, "192.0.2.1 berlin\n"},
        {BULK_LIST, "whatever\n"},
        {BULK_LIST, "192.0.2.1 # x,who,remark\n"},
        {BULK_LIST, "::/0 # create, add, who\n"},
        {BULK_CSV, "who\n"},
        {BULK_CSV, "# x\n\"who\",remark\n"},
        {BULK_CSV, "remark,\"Who\"\r\n"},
        {BULK_CSV, "who;remark\n"},
        {BULK_JSON, "\n  {\"who\":1}"},
        {BULK_JSON, "[\n"},
        {BULK_IPSET, "create x hash:ip\n"},
        {BULK_IPSET, "add allowed 192.0.2.1\n"},
        {BULK_IPSET, "flush x\n"},
        {BULK_IPSET, "-exist create x hash:ip\n"},
        {BULK_NFT, "table inet t {\n"},
        {BULK_NFT, "#!/usr/sbin/nft -f\nflush ruleset\n"},
        {BULK_NFT, "add element inet t s { 192.0.2.1 }\n"},
        {BULK_NFT, "add table inet t\n"},
        {BULK_NFT, "elements = { 192.0.2.1 }\n"},
        {BULK_POSTFIX, "192.0.2.1 OK\n"},
        {BULK_POSTFIX, "192.0.2.1 ok\n"},
        {BULK_POSTFIX, "192.0.2.0/24\tREJECT text\n"},
        {BULK_POSTFIX, "192.0.2.0/24 554 text\n"},
        {BULK_POSTFIX, "192.0.2.0/24 permit_mynetworks, reject\n"},
        {BULK_POSTFIX, "!192.0.2.0/24 REJECT\n"},
        {BULK_POSTFIX, "if 192.0.2.0/24\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct said said = {0};
        enum bulk_format got = read_bytes(BULK_AUTO, cases[i].text, strlen(cases[i].text), &said);

        if (got != cases[i].format)
            fail_msg("\"%s\" is read as %s", cases[i].text, names[got]);
    }
}

static void test_names(void **state)
{
    enum bulk_format format = BULK_AUTO;
    struct err e = {0};

    (void)state;
    for (unsigned int i = BULK_LIST; i <= BULK_POSTFIX; i++) {
        assert_int_equal(bulk_format_parse(names[i], &format, &e), 0);
        assert_int_equal(format, i);
    }
    assert_int_equal(bulk_format_parse("auto", &format, &e), -EINVAL);
    assert_int_equal(bulk_format_parse("x\x1b", &format, &e), -EINVAL);
    assert_string_equal(e.message, "\"x\\x1b\" is no format");
    assert_int_equal(format, BULK_POSTFIX);
}

static void test_nul(void **state)
{
    static const char list[] = "10.0.0.1\n10.0.0.2\0x\n10.0.0.3\n";
    static const char json[] = "{\"who\":\"10.\0\"}";
    static const char nft[] = "elements = { 10.0.0.1, 10.0.0.2\0, 10.0.0.3 }";
    struct said said = {0};

    (void)state;
    for (unsigned int i = BULK_LIST; i <= BULK_POSTFIX; i++) {
        static const char nothing[] = {0};

        said = (struct said){0};
        read_bytes((enum bulk_format)i, nothing, 1, &said);
        assert_int_equal(said.problems, 1);
    }
    said = (struct said){0};
    read_bytes(BULK_LIST, list, sizeof(list) - 1, &said);
    assert_string_equal(said.text, "+ 1:1 [10.0.0.1] 10.0.0.1\n"
                                   "! 2:1 [] a NUL byte: this is no text file\n"
                                   "+ 3:1 [10.0.0.3] 10.0.0.3\n");
    said = (struct said){0};
    read_bytes(BULK_JSON, json, sizeof(json) - 1, &said);
    assert_string_equal(said.text, "! 1:12 [?] a text that does not end in this line\n");
    said = (struct said){0};
    read_bytes(BULK_NFT, nft, sizeof(nft) - 1, &said);
    assert_string_equal(said.text, "+ 1:14 [10.0.0.1] 10.0.0.1\n"
                                   "! 1:32 [?] a NUL byte: this is no text file\n"
                                   "+ 1:35 [10.0.0.3] 10.0.0.3\n");
}

static void test_long_lines(void **state)
{
    char line[LISTFILE_LINE_MAX + 8] = "10.0.0.1";
    struct said said = {0};

    (void)state;
    memset(line + 8, ' ', sizeof(line) - 8);
    line[LISTFILE_LINE_MAX] = '\n';
    read_bytes(BULK_LIST, line, LISTFILE_LINE_MAX + 1, &said);
    assert_string_equal(said.text, "+ 1:1 [10.0.0.1] 10.0.0.1\n");
    line[LISTFILE_LINE_MAX] = ' ';
    line[LISTFILE_LINE_MAX + 1] = '\n';
    said = (struct said){0};
    read_bytes(BULK_LIST, line, LISTFILE_LINE_MAX + 2, &said);
    assert_string_equal(said.text, "! 1:1 [] the line is longer than 2047 bytes\n");
    /* also where the format is looked for */
    said = (struct said){0};
    assert_int_equal(read_bytes(BULK_AUTO, line, LISTFILE_LINE_MAX + 2, &said), BULK_LIST);
    assert_int_equal(said.problems, 1);
}

/* Keeps the last problem alone. */
struct tally {
    size_t entries, problems;
    char text[2048];
    size_t column, at, len;
    int answer;
};

static int count_entry(const struct listfile_entry *entry, const struct bulk_place *place,
                       void *arg)
{
    struct tally *tally = arg;

    (void)entry;
    (void)place;
    tally->entries++;
    return tally->answer;
}

static int keep_problem(const struct bulk_place *place, const struct err *problem, bool notice,
                        void *arg)
{
    struct tally *tally = arg;

    (void)problem;
    (void)notice;
    tally->problems++;
    snprintf(tally->text, sizeof(tally->text), "%s", place->text);
    tally->column = place->column;
    tally->at = place->at;
    tally->len = place->len;
    return tally->answer;
}

/* Elements in one line of some megabytes; the last one is wrong, and shown with what is around. */
static void test_one_line(void **state)
{
    const size_t count = 200000, size = count * 20 + 100;
    struct tally tally = {0};
    const struct bulk_sink sink = {.entry = count_entry, .problem = keep_problem, .arg = &tally};
    char *text = malloc(size);
    struct err e = {0};
    size_t used;
    FILE *file;

    (void)state;
    assert_non_null(text);
    used = (size_t)snprintf(text, size, "elements = { ");
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "10.%zu.%zu.%zu, ", i >> 16,
                                 i >> 8 & 255, i & 255);
    snprintf(text + used, size - used, "10.0.0.256 } # end\n");
    file = fmemopen(text, strlen(text), "r");
    assert_non_null(file);
    assert_int_equal(bulk_read(file, BULK_AUTO, NOW, &sink, NULL, &e), 0);
    assert_int_equal(tally.entries, count);
    assert_int_equal(tally.problems, 1);
    assert_int_equal(tally.column, used + 1);
    assert_int_equal(tally.at, BULK_AROUND);
    assert_memory_equal(tally.text, text + used - BULK_AROUND, BULK_AROUND);
    assert_string_equal(tally.text + tally.at, "10.0.0.256 } # end");
    fclose(file);
    free(text);
}

/* What the sink returns ends the reading, at once. */
static void test_sink_ends(void **state)
{
    static const char *const texts[] = {
        [BULK_LIST] = "10.0.0.1\n10.0.0.2\n",
        [BULK_CSV] = "who\n10.0.0.1\n10.0.0.2\n",
        [BULK_JSON] = "{\"who\":\"10.0.0.1\"}\n{\"who\":\"10.0.0.2\"}\n",
        [BULK_IPSET] = "add a 10.0.0.1\nadd a 10.0.0.2\n",
        [BULK_NFT] = "elements = { 10.0.0.1, 10.0.0.2 }\n",
        [BULK_POSTFIX] = "10.0.0.1 OK\n10.0.0.2 OK\n",
    };

    (void)state;
    for (unsigned int i = BULK_LIST; i <= BULK_POSTFIX; i++) {
        struct tally tally = {.answer = -EINVAL};
        const struct bulk_sink sink = {
            .entry = count_entry, .problem = keep_problem, .arg = &tally};
        FILE *file = fmemopen((void *)texts[i], strlen(texts[i]), "r");
        struct err e = {0};

        assert_non_null(file);
        assert_int_equal(bulk_read(file, BULK_AUTO, NOW, &sink, NULL, &e), -EINVAL);
        assert_int_equal(tally.entries, 1);
        assert_int_equal(tally.problems, 0);
        fclose(file);
        file = fmemopen((void *)"\1\n\1\n", 4, "r");
        assert_non_null(file);
        assert_int_equal(bulk_read(file, (enum bulk_format)i, NOW, &sink, NULL, &e), -EINVAL);
        assert_int_equal(tally.problems, 1);
        fclose(file);
    }
}

static void test_unreadable(void **state)
{
    struct tally tally = {0};
    const struct bulk_sink sink = {.entry = count_entry, .problem = keep_problem, .arg = &tally};
    FILE *file = fopen("/", "re");
    struct err e = {0};

    (void)state;
    assert_non_null(file);
    assert_int_equal(bulk_read(file, BULK_AUTO, NOW, &sink, NULL, &e), -EISDIR);
    assert_int_equal(e.code, EXIT_USAGE);
    assert_string_equal(e.message, "cannot read: Is a directory");
    fclose(file);
}

/* A timeout that cannot be counted on from now is no timeout. */
static void test_far_now(void **state)
{
    static const char text[] = "add a 10.0.0.1 timeout 1\nadd a 10.0.0.2\n";
    struct tally tally = {0};
    const struct bulk_sink sink = {.entry = count_entry, .problem = keep_problem, .arg = &tally};
    FILE *file = fmemopen((void *)text, strlen(text), "r");
    struct err e = {0};

    (void)state;
    assert_non_null(file);
    assert_int_equal(bulk_read(file, BULK_IPSET, INT64_MAX, &sink, NULL, &e), 0);
    assert_int_equal(tally.entries, 1);
    assert_int_equal(tally.problems, 1);
    fclose(file);
}

/* ---- what is printed is read back ---- */

static uint32_t random_below(uint32_t n)
{
    return (uint32_t)rand() % n;
}

/* Text of the kind given, at most @max bytes: what the formats have to escape comes often. */
static void random_text(char *buf, size_t max, bool is_account)
{
    static const char *const pieces[] = {"a",
                                         "B",
                                         "9",
                                         " ",
                                         "\"",
                                         "\\",
                                         ",",
                                         "#",
                                         "%",
                                         "'",
                                         "{",
                                         "}",
                                         "account=",
                                         "=",
                                         ";",
                                         "%20",
                                         "\"\"",
                                         "\xc3\xbc",
                                         "\xf0\x9f\x93\xa7",
                                         ":",
                                         "\\u0041",
                                         "until=",
                                         "/",
                                         "$x",
                                         "-"};
    size_t used = 0, want = random_below(8) ? random_below(24) : random_below((uint32_t)max + 1);

    for (;;) {
        const char *piece = pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))];

        if (used + strlen(piece) > want)
            break;
        memcpy(buf + used, piece, strlen(piece));
        used += strlen(piece);
    }
    buf[used] = '\0';
    if (is_account && account_check(buf, NULL) < 0)
        buf[0] = '\0';
}

static void random_who(struct who *who)
{
    static const char *const texts[] = {
        "192.0.2.1",       "10.0.0.0/8",    "10.0.0.1-10.0.0.9",
        "0.0.0.0/0",       "192.0.2.7/32",  "10.0.0.1-10.0.0.1",
        "2001:db8::1",     "2001:db8::/32", "2001:db8::1-2001:db8::f",
        "255.255.255.255", "::/0",          "::"};

    assert_int_equal(who_parse(texts[random_below(sizeof(texts) / sizeof(texts[0]))], who, NULL),
                     0);
}

static void random_entry(struct listfile_entry *entry)
{
    *entry = (struct listfile_entry){0};
    random_who(&entry->who);
    random_text(entry->account, ACCOUNT_MAX, true);
    random_text(entry->remark, REMARK_MAX, false);
    entry->has_remark = *entry->remark != '\0';
    if (random_below(2))
        entry->until = random_below(8) ? 1 + (int64_t)random_below(2000000000) : WHEN_MAX;
    entry->has_until = entry->until != 0;
}

#define ENTRIES 500

struct expected {
    struct listfile_entry entries[ENTRIES];
    size_t got;
};

static int compare_entry(const struct listfile_entry *entry, const struct bulk_place *place,
                         void *arg)
{
    struct expected *expected = arg;
    const struct listfile_entry *want = &expected->entries[expected->got++];

    assert_true(expected->got <= ENTRIES);
    if (memcmp(&entry->who, &want->who, sizeof(want->who)) || entry->until != want->until ||
        strcmp(entry->account, want->account) || strcmp(entry->remark, want->remark) ||
        entry->has_remark != want->has_remark || entry->has_until != want->has_until)
        fail_msg("%s is read as something else", place->text);
    return 0;
}

static int fail_problem(const struct bulk_place *place, const struct err *problem, bool notice,
                        void *arg)
{
    (void)notice;
    (void)arg;
    fail_msg("%s: %s", place->text, problem->message);
    return 0;
}

static void print_and_read(enum bulk_format format, struct expected *expected)
{
    const struct bulk_sink sink = {
        .entry = compare_entry, .problem = fail_problem, .arg = expected};
    enum bulk_format got = BULK_AUTO;
    FILE *file = tmpfile();
    struct err e = {0};

    assert_non_null(file);
    if (bulk_header(format))
        fprintf(file, "%s\n", bulk_header(format));
    for (size_t i = 0; i < ENTRIES; i++) {
        struct bulk_row row = {.entry = expected->entries[i]};
        char line[BULK_TEXT_MAX];

        if (random_below(2))
            row.id = 1 + (int64_t)i;
        if (random_below(2))
            row.created = NOW;
        fprintf(file, "%s\n", bulk_print(format, &row, line));
        assert_null(strchr(line, '\n'));
    }
    rewind(file);
    expected->got = 0;
    assert_int_equal(bulk_read(file, BULK_AUTO, NOW, &sink, &got, &e), 0);
    assert_int_equal(got, format);
    assert_int_equal(expected->got, ENTRIES);
    fclose(file);
}

static void test_round_trip(void **state)
{
    struct expected *expected = calloc(1, sizeof(*expected));

    (void)state;
    assert_non_null(expected);
    srand(20261201);
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < ENTRIES; i++)
            random_entry(&expected->entries[i]);
        print_and_read(BULK_LIST, expected);
        print_and_read(BULK_CSV, expected);
        print_and_read(BULK_JSON, expected);
    }
    free(expected);
}

static void test_print(void **state)
{
    struct bulk_row row = {.entry = {.account = "a\"b", .remark = "x, \"y\" \\"}};
    char line[BULK_TEXT_MAX];

    (void)state;
    assert_int_equal(who_parse("10.0.0.0/8", &row.entry.who, NULL), 0);
    assert_string_equal(bulk_print(BULK_LIST, &row, line),
                        "10.0.0.0/8  account=a\"b  # x, \"y\" \\");
    assert_string_equal(bulk_print(BULK_CSV, &row, line),
                        "10.0.0.0/8,\"a\"\"b\",,\"x, \"\"y\"\" \\\"");
    assert_string_equal(bulk_print(BULK_JSON, &row, line),
                        "{\"who\":\"10.0.0.0/8\",\"kind\":\"segment\",\"account\":\"a\\\"b\","
                        "\"remark\":\"x, \\\"y\\\" \\\\\",\"expires\":null}");
    row = (struct bulk_row){.entry = {.who = row.entry.who, .until = NOW}, .id = 7, .created = NOW};
    assert_string_equal(bulk_print(BULK_LIST, &row, line),
                        "10.0.0.0/8  until=2026-12-01T18:00:00Z");
    assert_string_equal(bulk_print(BULK_CSV, &row, line), "10.0.0.0/8,,2026-12-01T18:00:00Z,");
    assert_string_equal(bulk_print(BULK_JSON, &row, line),
                        "{\"id\":7,\"who\":\"10.0.0.0/8\",\"kind\":\"segment\",\"account\":null,"
                        "\"remark\":\"\",\"created\":\"2026-12-01T18:00:00Z\","
                        "\"expires\":\"2026-12-01T18:00:00Z\"}");
    assert_string_equal(bulk_header(BULK_CSV), "who,account,until,remark");
    assert_null(bulk_header(BULK_LIST));
    assert_null(bulk_header(BULK_JSON));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),         cmocka_unit_test(test_csv),
        cmocka_unit_test(test_json),         cmocka_unit_test(test_json_broken),
        cmocka_unit_test(test_ipset),        cmocka_unit_test(test_nft),
        cmocka_unit_test(test_nft_problems), cmocka_unit_test(test_postfix),
        cmocka_unit_test(test_detect),       cmocka_unit_test(test_names),
        cmocka_unit_test(test_nul),          cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_one_line),     cmocka_unit_test(test_sink_ends),
        cmocka_unit_test(test_unreadable),   cmocka_unit_test(test_far_now),
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_print),
    };

    return cmocka_run_group_tests_name("bulk", tests, NULL, NULL);
}
