// LINK: addr prefix who_why text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of WHO: a text, or, when the first byte is '=', the bytes of two bounds. What is accepted
 * is compared with a second reading of the grammar on 128-bit numbers; what is printed is read
 * back; the prefixes cover exactly what was meant, and no fewer would.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "addr.h"
#include "fuzz.h"
#include "prefix.h"

typedef unsigned __int128 u128;

/* A set of addresses: what a WHO means. */
struct span {
    int bits; /* 32 or 128 */
    u128 first, last;
};

static u128 ones(int count)
{
    return count >= 128 ? ~(u128)0 : ((u128)1 << count) - 1;
}

static u128 number_of(const struct addr *addr)
{
    u128 number = 0;

    for (size_t i = 0; i < addr_len(addr->family); i++)
        number = number << 8 | addr->bytes[i];
    return number;
}

static struct span span_of(const struct who *who)
{
    MUST(who->first.family == who->last.family);
    return (struct span){who->first.family == ADDR_IP4 ? 32 : 128, number_of(&who->first),
                         number_of(&who->last)};
}

/* ---- the grammar once more ---- */

/* The C library refuses leading zeros, and all but four numbers, as the contract does. */
static bool read_ip4(const char *text, u128 *ret_number)
{
    struct in_addr in;

    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    *ret_number = ntohl(in.s_addr);
    return true;
}

/* RFC 4291, 2.2, groups from the left; the number of groups, -1 when it is none. */
static int read_groups(const char *text, size_t len, u128 *ret_number)
{
    int groups = 0;

    *ret_number = 0;
    while (len) {
        size_t size = 0;
        unsigned int group = 0;
        u128 ip4;

        while (size < len && text[size] != ':')
            size++;
        if (size == len && memchr(text, '.', len)) {
            if (!read_ip4(text, &ip4))
                return -1;
            *ret_number = *ret_number << 32 | ip4;
            return groups + 2;
        }
        if (size < 1 || size > 4 || strspn(text, "0123456789abcdefABCDEF") < size ||
            sscanf(text, "%4x", &group) != 1)
            return -1;
        *ret_number = *ret_number << 16 | group;
        text += size;
        len -= size;
        groups++;
        if (len == 1 || groups > 8) /* a colon with nothing behind it */
            return -1;
        text += len > 0;
        len -= len > 0;
    }
    return groups;
}

static bool read_ip6(const char *text, u128 *ret_number)
{
    const char *gap = strstr(text, "::");
    size_t len = strlen(text);
    u128 head, tail = 0;
    int before, behind = 0;

    before = read_groups(text, gap ? (size_t)(gap - text) : len, &head);
    if (gap)
        behind = read_groups(gap + 2, strlen(gap + 2), &tail);
    if (before < 0 || behind < 0 || (gap ? before + behind > 7 : before != 8))
        return false;
    /* A dotted part ends the address, and nothing else. */
    if (gap && memchr(text, '.', (size_t)(gap - text)))
        return false;
    *ret_number = (before ? head << 16 * (8 - before) : 0) | tail;
    return *ret_number >> 32 != 0xffff; /* v4-mapped */
}

static bool read_addr(const char *text, size_t len, int *ret_bits, u128 *ret_number)
{
    char one[64];

    if (len >= sizeof(one))
        return false;
    memcpy(one, text, len);
    one[len] = '\0';
    *ret_bits = strchr(one, ':') ? 128 : 32;
    return *ret_bits == 32 ? read_ip4(one, ret_number) : read_ip6(one, ret_number);
}

static bool read_length(const char *text, int bits, int *ret_len)
{
    char back[8];

    *ret_len = -1;
    if (strlen(text) > 3 || sscanf(text, "%3d", ret_len) != 1)
        return false;
    snprintf(back, sizeof(back), "%d", *ret_len);
    return !strcmp(text, back) && *ret_len >= 0 && *ret_len <= bits;
}

static bool read_who(const char *text, struct span *ret_span)
{
    size_t len = strcspn(text, "/-");
    int bits, other, prefix_len;

    if (!read_addr(text, len, &bits, &ret_span->first))
        return false;
    ret_span->bits = bits;
    ret_span->last = ret_span->first;
    if (!text[len])
        return true;
    if (text[len] == '-')
        return read_addr(text + len + 1, strlen(text + len + 1), &other, &ret_span->last) &&
               other == bits && ret_span->first <= ret_span->last;
    if (!read_length(text + len + 1, bits, &prefix_len))
        return false;
    ret_span->last |= ones(bits - prefix_len);
    return !(ret_span->first & ones(bits - prefix_len));
}

/* ---- what must hold ---- */

static struct span span_of_prefix(const struct prefix *prefix)
{
    int bits = prefix->addr.family == ADDR_IP4 ? 32 : 128;
    u128 first = number_of(&prefix->addr), hosts;

    MUST(prefix->len <= bits);
    hosts = ones(bits - prefix->len);
    MUST(!(first & hosts));
    return (struct span){bits, first, first | hosts};
}

/* Exactly the span, in order; and two halves of a larger one never stand beside each other. */
static void check_prefixes(const struct who *who)
{
    struct span span = span_of(who), one;
    struct prefix prefixes[PREFIX_MAX];
    unsigned int count = prefix_from_who(who, prefixes);
    u128 next = span.first;

    MUST(count >= 1 && count <= 2U * (unsigned int)span.bits - 2);
    for (unsigned int i = 0; i < count; i++) {
        one = span_of_prefix(&prefixes[i]);
        MUST(one.bits == span.bits && one.first == next && one.last <= span.last);
        next = one.last + 1;
        if (i == 0)
            continue;
        MUST(prefix_cmp(&prefixes[i - 1], &prefixes[i]) < 0);
        MUST(prefixes[i - 1].len != prefixes[i].len ||
             !(one.first >> (span.bits - prefixes[i].len) & 1));
    }
    MUST(one.last == span.last);
}

static void check_who(const struct who *who)
{
    struct span span = span_of(who);
    char text[WHO_TEXT_MAX], again[WHO_TEXT_MAX];
    struct who back;
    struct span read;

    MUST(span.first <= span.last);
    MUST(who->kind != WHO_ADDRESS || span.first == span.last);
    MUST(strlen(who_print(who, text)) < WHO_TEXT_MAX);
    MUST(who_parse(text, &back, NULL) == 0 && !memcmp(&back, who, sizeof(back)));
    MUST(!strcmp(who_print(&back, again), text));
    MUST(read_who(text, &read) && read.first == span.first && read.last == span.last);
    MUST(who_same_set(who, &back));
    /* As many addresses as a /8 or a /19 has are not too many. */
    MUST(who_is_very_wide(who) == (span.last - span.first > ones(span.bits == 32 ? 24 : 109)));
    check_prefixes(who);
}

/* A hint that asks "did you mean X?" can be pasted. */
static void check_hint(const char *hint)
{
    static const char asks[] = "did you mean ";
    char guess[sizeof(((struct err *)0)->hint)];
    struct who who;

    if (strncmp(hint, asks, sizeof(asks) - 1) != 0)
        return;
    hint += sizeof(asks) - 1;
    snprintf(guess, sizeof(guess), "%.*s", (int)strcspn(hint, "? "), hint);
    MUST(who_parse(guess, &who, NULL) == 0);
}

static void try_text(const char *text)
{
    struct err e = {0};
    struct who who;
    struct span span;
    bool good = read_who(text, &span);
    int r = who_parse(text, &who, &e);

    MUST((r == 0) == good);
    if (good) {
        MUST(span_of(&who).first == span.first && span_of(&who).last == span.last);
        MUST(span_of(&who).bits == span.bits);
        check_who(&who);
        return;
    }
    fuzz_must_explain(&e);
    check_hint(e.hint);
}

static void try_addr(const char *text)
{
    struct err e = {0};
    struct addr addr;
    char back[ADDR_TEXT_MAX];
    int bits;
    u128 number;
    bool good = read_addr(text, strlen(text), &bits, &number);

    MUST((addr_parse(text, &addr, &e) == 0) == good);
    if (!good) {
        fuzz_must_explain(&e);
        return;
    }
    MUST(number_of(&addr) == number);
    MUST(strlen(addr_print(&addr, back)) < sizeof(back));
    MUST(addr_parse(back, &addr, NULL) == 0 && number_of(&addr) == number);
}

/* The bounds from bytes; the family from the number of them. */
static void try_bounds(const uint8_t *data, size_t size)
{
    struct who who = {.kind = WHO_RANGE};
    size_t len = size >= 32 ? 16 : 4;

    if (size < 2 * len)
        return;
    who.first.family = who.last.family = len == 4 ? ADDR_IP4 : ADDR_IP6;
    memcpy(who.first.bytes, data, len);
    memcpy(who.last.bytes, data + len, len);
    if (addr_cmp(&who.first, &who.last) > 0) {
        struct addr first = who.last;

        who.last = who.first;
        who.first = first;
    }
    if (len == 16 &&
        (number_of(&who.first) >> 32 == 0xffff || number_of(&who.last) >> 32 == 0xffff))
        return; /* cannot be typed */
    check_who(&who);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size && *data == '=') {
        try_bounds(data + 1, size - 1);
        return 0;
    }
    text = fuzz_text(data, size);
    try_text(text);
    try_addr(text);
    free(text);
    return 0;
}
