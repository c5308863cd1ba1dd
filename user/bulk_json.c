/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Entries as JSON: an object each, one behind the other (JSON Lines), in an array, or in the array
 * "entries" of the one object that "smtpgate -j list" prints. Read byte by byte, as that object may
 * be longer than memory; a parser of our own, as a problem is wanted with its place. Pure. Must not
 * know what the entries are for.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bulk_formats.h"

/* Of a key or a value that matters, with the NUL: above all that an entry takes. */
#define TEXT_SIZE 512

/* Values within values that do not matter. */
#define DEPTH_MAX 32

/* Functions return 0, or -EINVAL: this is no JSON, or the sink has had enough. */
struct json {
    struct bulk_input *in;
    int sink; /* what it returned, if that is below 0 */
    struct err problem;
    struct bulk_mark mark; /* of the problem, or of the value last read */
    size_t len;
};

enum member {
    MEMBER_WHO,
    MEMBER_ACCOUNT,
    MEMBER_REMARK,
    MEMBER_UNTIL,
    MEMBER_ENTRIES,
    MEMBER_SCHEMA,
    MEMBER_OK,
    MEMBER_PASSED_OVER,
    MEMBER_ERROR,
    MEMBER_UNKNOWN,
};

struct object {
    struct listfile_entry entry;
    struct bulk_mark begin, who;
    size_t who_len;
    unsigned int seen; /* bits 1 << MEMBER_... */
    bool bad;          /* said */
};

/* ---- problems ---- */

static int broken(struct json *json, struct bulk_mark mark, const char *why, const char *hint)
{
    json->mark = mark;
    json->len = 1;
    err_set(&json->problem, 0, EXIT_USAGE, "%s", why);
    err_hint(&json->problem, "%s", hint);
    return -EINVAL;
}

static int broken_here(struct json *json, const char *why)
{
    int c = bulk_peek(json->in);

    if (c == BULK_NOTHING)
        return broken(json, bulk_here(json->in), "the file ends within an object",
                      "is it complete?");
    return broken(json, bulk_here(json->in), why,
                  c ? "an entry is: {\"who\": \"192.0.2.1\", \"remark\": \"text\"}"
                    : "this is no text file");
}

/* What is there is JSON, but not what is wanted; the rest can be read. */
static int say(struct json *json, struct bulk_mark mark, size_t len)
{
    json->sink = bulk_problem(json->in, mark, len, &json->problem, false);
    return json->sink < 0 ? -EINVAL : 0;
}

/* At the value last read. */
static int say_value(struct json *json, struct object *object)
{
    object->bad = true;
    return say(json, json->mark, json->len);
}

/* ---- the language ---- */

static int next_byte(struct json *json)
{
    int c;

    while ((c = bulk_peek(json->in)) == ' ' || c == '\t' || c == '\n' || c == '\r')
        bulk_next(json->in);
    return c;
}

static int expect(struct json *json, char c, const char *why)
{
    if (next_byte(json) != c)
        return broken_here(json, why);
    bulk_next(json->in);
    return 0;
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int take_hex(struct json *json, uint32_t *ret_code)
{
    uint32_t code = 0;

    for (int i = 0; i < 4; i++) {
        int digit = hex_value(bulk_peek(json->in));

        if (digit < 0)
            return broken_here(json, "behind \\u come four hexadecimal digits");
        bulk_next(json->in);
        code = code << 4 | (uint32_t)digit;
    }
    *ret_code = code;
    return 0;
}

/* Behind "\u"; two of them where the first is half a character. */
static int take_code(struct json *json, uint32_t *ret_code)
{
    static const char half[] = "half a character: \\ud800 to \\udfff come in pairs";
    struct bulk_mark mark = bulk_here(json->in);
    uint32_t code, low;
    int r = take_hex(json, &code);

    if (r < 0)
        return r;
    if (code == 0)
        return broken(json, mark, "a NUL (\\u0000) in a text", "leave it out");
    if (code >= 0xdc00 && code <= 0xdfff)
        return broken(json, mark, half, "leave it out");
    if (code >= 0xd800 && code <= 0xdbff) {
        const char *next;

        if (bulk_ahead(json->in, 2, &next) < 2 || memcmp(next, "\\u", 2) != 0)
            return broken(json, mark, half, "leave it out");
        bulk_next(json->in);
        bulk_next(json->in);
        r = take_hex(json, &low);
        if (r < 0)
            return r;
        if (low < 0xdc00 || low > 0xdfff)
            return broken(json, mark, half, "leave it out");
        code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
    }
    *ret_code = code;
    return 0;
}

static size_t put_utf8(uint32_t code, char bytes[4])
{
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = len; i-- > 1; code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)(lead[len] | code);
    return len;
}

/* Behind the backslash. */
static int take_escape(struct json *json, char bytes[4], size_t *ret_len)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    int c = bulk_peek(json->in), r;
    const char *letter = c > 0 ? strchr(letters, c) : NULL;
    uint32_t code;

    if (letter) {
        bulk_next(json->in);
        bytes[0] = meant[letter - letters];
        *ret_len = 1;
        return 0;
    }
    if (c != 'u')
        return broken_here(json, "behind a \\ in a text comes one of \" \\ / b f n r t u");
    bulk_next(json->in);
    r = take_code(json, &code);
    if (r == 0)
        *ret_len = put_utf8(code, bytes);
    return r;
}

/* A text at the quote. @text NULL: passed over. @ret_whole: false when it did not fit. */
static int take_text(struct json *json, char *text, bool *ret_whole)
{
    struct bulk_mark mark = bulk_here(json->in);
    bool whole = true;
    size_t used = 0;
    int c;

    bulk_next(json->in);
    while ((c = bulk_peek(json->in)) != '"') {
        char bytes[4] = {(char)c};
        size_t len = 1;

        if (c == BULK_NOTHING || c < 0x20)
            return broken_here(json, "a text that does not end in this line");
        bulk_next(json->in);
        if (c == '\\' && take_escape(json, bytes, &len) < 0)
            return -EINVAL;
        whole = whole && used + len < TEXT_SIZE;
        if (text && whole)
            memcpy(text + used, bytes, len);
        used += whole ? len : 0;
    }
    bulk_next(json->in);
    if (text)
        text[used] = '\0';
    *ret_whole = whole;
    json->mark = mark;
    json->len = (size_t)(bulk_here(json->in).at - mark.at);
    return 0;
}

static bool at_digit(struct json *json)
{
    int c = bulk_peek(json->in);

    return c >= '0' && c <= '9';
}

static int pass_digits(struct json *json)
{
    if (!at_digit(json))
        return broken_here(json, "a number that lacks a digit");
    while (at_digit(json))
        bulk_next(json->in);
    return 0;
}

static int pass_number(struct json *json)
{
    int r, c;

    if (bulk_peek(json->in) == '-')
        bulk_next(json->in);
    if (bulk_peek(json->in) == '0') {
        bulk_next(json->in);
        if (at_digit(json))
            return broken_here(json, "a number with a leading zero");
    } else {
        r = pass_digits(json);
        if (r < 0)
            return r;
    }
    if (bulk_peek(json->in) == '.') {
        bulk_next(json->in);
        r = pass_digits(json);
        if (r < 0)
            return r;
    }
    c = bulk_peek(json->in);
    if (c != 'e' && c != 'E')
        return 0;
    bulk_next(json->in);
    c = bulk_peek(json->in);
    if (c == '+' || c == '-')
        bulk_next(json->in);
    return pass_digits(json);
}

static int pass_word(struct json *json, const char *word)
{
    for (; *word; word++)
        if (bulk_next(json->in) != *word)
            return broken(json, json->mark, "no value of JSON: a text stands in quotes",
                          "true, false, null, a number, or \"text\"");
    return 0;
}

static int pass_value(struct json *json, unsigned int depth);

/* An object or an array at its bracket. */
static int pass_many(struct json *json, char close, unsigned int depth)
{
    bool whole;
    int r = 0;

    if (depth == DEPTH_MAX)
        return broken_here(json, "too many values within values");
    bulk_next(json->in);
    if (next_byte(json) == close) {
        bulk_next(json->in);
        return 0;
    }
    for (;;) {
        if (close == '}') {
            r = next_byte(json) == '"' ? take_text(json, NULL, &whole)
                                       : broken_here(json, "a key is wanted: \"who\"");
            if (r == 0)
                r = expect(json, ':', "a : is wanted behind a key");
        }
        if (r == 0)
            r = pass_value(json, depth + 1);
        if (r < 0)
            return r;
        if (next_byte(json) == close)
            break;
        r = expect(json, ',', "a , is wanted between values");
    }
    bulk_next(json->in);
    return 0;
}

/* Any value; it is then the last one read. */
static int pass_value(struct json *json, unsigned int depth)
{
    int c = next_byte(json), r;
    struct bulk_mark mark = bulk_here(json->in);
    bool whole;

    json->mark = mark;
    if (c == '"')
        r = take_text(json, NULL, &whole);
    else if (c == '{' || c == '[')
        r = pass_many(json, c == '{' ? '}' : ']', depth);
    else if (c == '-' || (c >= '0' && c <= '9'))
        r = pass_number(json);
    else if (c == 't' || c == 'f')
        r = pass_word(json, c == 't' ? "true" : "false");
    else if (c == 'n')
        r = pass_word(json, "null");
    else
        r = broken_here(json, "a value is wanted");
    if (r < 0)
        return r;
    json->mark = mark;
    json->len = (size_t)(bulk_here(json->in).at - mark.at);
    return 0;
}

/* ---- an entry ---- */

/* A text, or "" of null. 1 when it is something else, or too long, and that is said. */
static int take_member_text(struct json *json, struct object *object, const char *key,
                            char text[TEXT_SIZE])
{
    int c = next_byte(json), r;
    bool whole = true;

    text[0] = '\0';
    if (c == '"') {
        r = take_text(json, text, &whole);
    } else {
        r = pass_value(json, 0);
    }
    if (r < 0)
        return r;
    if (c == '"' && whole)
        return 0;
    if (c == 'n')
        return 0;
    if (c == '"')
        err_set(&json->problem, 0, EXIT_USAGE, "%s: the text is longer than %d bytes", key,
                TEXT_SIZE - 1);
    else
        err_set(&json->problem, 0, EXIT_USAGE, "%s: a text is wanted", key);
    err_hint(&json->problem, "write it in quotes: \"%s\": \"text\"", key);
    r = say_value(json, object);
    return r < 0 ? r : 1;
}

static int set_member(struct json *json, struct object *object, enum member member,
                      const char *text)
{
    struct listfile_entry *entry = &object->entry;

    if (member == MEMBER_WHO) {
        object->who = json->mark;
        object->who_len = json->len;
        return who_parse(text, &entry->who, &json->problem);
    }
    if (!*text)
        return 0;
    if (member == MEMBER_ACCOUNT)
        return bulk_set_account(entry, text, &json->problem);
    if (member == MEMBER_REMARK)
        return bulk_set_remark(entry, text, &json->problem);
    return bulk_set_until(entry, text, &json->problem);
}

static int take_text_member(struct json *json, struct object *object, enum member member,
                            const char *key)
{
    char text[TEXT_SIZE];
    int r = take_member_text(json, object, key, text);

    if (r != 0)
        return r < 0 ? r : 0;
    return set_member(json, object, member, text) < 0 ? say_value(json, object) : 0;
}

/* "ok": false stands behind a list that was cut short; "error" beside it says why. */
static int take_envelope(struct json *json, struct object *object, enum member member)
{
    int c = next_byte(json), r = pass_value(json, 0);

    if (r < 0 || (member == MEMBER_OK && c == 't') ||
        (member == MEMBER_SCHEMA && c == '1' && json->len == 1))
        return r;
    if (member == MEMBER_SCHEMA)
        err_set(&json->problem, 0, EXIT_USAGE, "a schema that this version does not know");
    else
        err_set(&json->problem, 0, EXIT_USAGE, "the list is not complete: it ends in an error");
    err_hint(&json->problem, "make the file again: smtpgate -j list");
    return say_value(json, object);
}

static int take_entries(struct json *json);

static enum member find_member(const char *key)
{
    static const struct {
        const char *name;
        enum member member;
    } members[] = {
        {"who", MEMBER_WHO},
        {"account", MEMBER_ACCOUNT},
        {"remark", MEMBER_REMARK},
        {"until", MEMBER_UNTIL},
        {"expires", MEMBER_UNTIL},
        {"entries", MEMBER_ENTRIES},
        {"schema", MEMBER_SCHEMA},
        {"ok", MEMBER_OK},
        {"error", MEMBER_ERROR},
        {"id", MEMBER_PASSED_OVER},
        {"expired", MEMBER_PASSED_OVER},
        {"kind", MEMBER_PASSED_OVER},
        {"created", MEMBER_PASSED_OVER},
        {"last_seen", MEMBER_PASSED_OVER},
        {"connections", MEMBER_PASSED_OVER},
    };

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (!strcmp(key, members[i].name))
            return members[i].member;
    return MEMBER_UNKNOWN;
}

/* At the key; its value is passed over. */
static int refuse_key(struct json *json, struct object *object, const char *key, const char *why)
{
    struct bulk_mark mark = json->mark;
    size_t len = json->len;
    char shown[80];
    int r = pass_value(json, 0);

    if (r < 0)
        return r;
    err_set(&json->problem, 0, EXIT_USAGE, "%s \"%s\"", why,
            text_escape(key, shown, sizeof(shown)));
    err_hint(&json->problem, "keys are who, account, remark and expires; leave others out");
    object->bad = true;
    return say(json, mark, len);
}

static int take_member(struct json *json, struct object *object, const char *key, bool outermost)
{
    enum member member = find_member(key);

    if (member == MEMBER_UNKNOWN || (member == MEMBER_ENTRIES && !outermost))
        return refuse_key(json, object, key, "there is no key");
    if (member != MEMBER_PASSED_OVER && object->seen & 1U << member)
        return refuse_key(json, object, key, "a second");
    object->seen |= 1U << member;
    switch (member) {
    case MEMBER_ENTRIES:
        return take_entries(json);
    case MEMBER_SCHEMA:
    case MEMBER_OK:
    case MEMBER_ERROR:
        return take_envelope(json, object, member);
    case MEMBER_PASSED_OVER:
        return pass_value(json, 0);
    default:
        return take_text_member(json, object, member, key);
    }
}

static int end_object(struct json *json, const struct object *object)
{
    const unsigned int values =
        1U << MEMBER_WHO | 1U << MEMBER_ACCOUNT | 1U << MEMBER_REMARK | 1U << MEMBER_UNTIL;
    bool is_list = object->seen & 1U << MEMBER_ENTRIES;

    if (object->bad || (is_list && !(object->seen & values)))
        return 0;
    if (is_list)
        err_set(&json->problem, 0, EXIT_USAGE, "an entry and a list of entries in one object");
    else if (!(object->seen & 1U << MEMBER_WHO))
        err_set(&json->problem, 0, EXIT_USAGE, "an entry without \"who\"");
    else {
        json->sink = bulk_entry(json->in, &object->entry, object->who, object->who_len);
        return json->sink < 0 ? -EINVAL : 0;
    }
    err_hint(&json->problem, "an entry is: {\"who\": \"192.0.2.1\", \"remark\": \"text\"}");
    return say(json, object->begin, 1);
}

/* A key and its colon; the key stays the place. */
static int take_key(struct json *json, char key[TEXT_SIZE])
{
    struct bulk_mark mark;
    bool whole;
    size_t len;
    int r;

    if (next_byte(json) != '"')
        return broken_here(json, "a key is wanted: \"who\"");
    r = take_text(json, key, &whole);
    if (r < 0)
        return r;
    mark = json->mark;
    len = json->len;
    r = expect(json, ':', "a : is wanted behind a key");
    if (r < 0)
        return r;
    json->mark = mark;
    json->len = len;
    return 0;
}

static int take_members(struct json *json, struct object *object, bool outermost)
{
    char key[TEXT_SIZE];
    int r;

    do {
        r = take_key(json, key);
        if (r == 0)
            r = take_member(json, object, key, outermost);
        if (r < 0 || next_byte(json) == '}')
            return r;
        r = expect(json, ',', "a , is wanted between members");
    } while (r == 0);
    return r;
}

/* At the bracket. */
static int take_object(struct json *json, bool outermost)
{
    struct object object = {.begin = bulk_here(json->in)};
    int r = 0;

    bulk_next(json->in);
    if (next_byte(json) != '}')
        r = take_members(json, &object, outermost);
    if (r < 0)
        return r;
    bulk_next(json->in);
    return end_object(json, &object);
}

/* An array of entries. */
static int take_entries(struct json *json)
{
    int r = expect(json, '[', "a list of entries is wanted: [ ... ]");

    if (r == 0 && next_byte(json) == ']') {
        bulk_next(json->in);
        return 0;
    }
    while (r == 0) {
        r = next_byte(json) == '{' ? take_object(json, false)
                                   : broken_here(json, "an entry is wanted: { ... }");
        if (r < 0)
            return r;
        if (next_byte(json) == ']') {
            bulk_next(json->in);
            return 0;
        }
        r = expect(json, ',', "a , is wanted between entries");
    }
    return r;
}

/* ---- all of it ---- */

/* To the next line that begins with an object: of JSON Lines, the next one. */
static void find_object(struct json *json)
{
    int c;

    do {
        while ((c = bulk_next(json->in)) != '\n' && c != BULK_NOTHING)
            ;
    } while (c != BULK_NOTHING && bulk_peek(json->in) != '{');
}

int bulk_read_json(struct bulk_input *in)
{
    struct json json = {.in = in};
    int c, r;

    while ((c = next_byte(&json)) != BULK_NOTHING) {
        if (c == '{')
            r = take_object(&json, true);
        else if (c == '[')
            r = take_entries(&json);
        else
            r = broken_here(&json, "an entry is wanted: { ... }");
        if (json.sink < 0)
            return json.sink;
        if (r < 0 && say(&json, json.mark, json.len) < 0)
            return json.sink;
        if (r < 0)
            find_object(&json);
    }
    return 0;
}
