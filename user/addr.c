/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is accepted as a WHO, and how it is printed. Only the strict grammar is here, small enough
 * to be checked by eye; why a text was refused, and what was probably meant, is who_why's business
 * and cannot widen what is accepted. Must not know prefixes, entries or the resolver.
 */
#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "who_why.h"

size_t addr_len(enum addr_family family)
{
    return family == ADDR_IP4 ? 4 : 16;
}

int addr_cmp(const struct addr *a, const struct addr *b)
{
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return memcmp(a->bytes, b->bytes, addr_len(a->family));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A decimal number up to @max without sign, leading zero or anything else at the front. */
static bool parse_number(const char **text, unsigned int max, unsigned int *ret_number)
{
    const char *s = *text;
    unsigned int number = 0;

    if (!is_digit(*s) || (*s == '0' && is_digit(s[1])))
        return false;
    for (; is_digit(*s); s++) {
        number = number * 10 + (unsigned int)(*s - '0');
        if (number > max)
            return false;
    }
    *text = s;
    *ret_number = number;
    return true;
}

static bool parse_ip4(const char *text, struct addr *ret_addr)
{
    struct addr addr = {.family = ADDR_IP4};

    for (int i = 0; i < 4; i++) {
        unsigned int octet;

        if (i > 0 && *text++ != '.')
            return false;
        if (!parse_number(&text, 255, &octet))
            return false;
        addr.bytes[i] = (uint8_t)octet;
    }
    if (*text)
        return false;
    *ret_addr = addr;
    return true;
}

static bool is_v4_mapped(const struct addr *addr)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    return addr->family == ADDR_IP6 && !memcmp(addr->bytes, mapped, sizeof(mapped));
}

static bool parse_ip6(const char *text, struct addr *ret_addr)
{
    struct addr addr = {.family = ADDR_IP6};

    if (text[strspn(text, "0123456789abcdefABCDEF:.")])
        return false;
    if (inet_pton(AF_INET6, text, addr.bytes) != 1 || is_v4_mapped(&addr))
        return false;
    *ret_addr = addr;
    return true;
}

static bool parse_addr(const char *text, size_t len, struct addr *ret_addr)
{
    char one[ADDR_TEXT_MAX];

    if (len >= sizeof(one))
        return false;
    memcpy(one, text, len);
    one[len] = '\0';
    return strchr(one, ':') ? parse_ip6(one, ret_addr) : parse_ip4(one, ret_addr);
}

/* Splits @addr at prefix length @len: false when a bit beyond is set, else the last address. */
static bool segment_last(const struct addr *addr, unsigned int len, struct addr *ret_last)
{
    struct addr last = *addr;

    for (size_t i = 0; i < addr_len(addr->family); i++) {
        unsigned int bits = len > 8 * i ? len - 8 * (unsigned int)i : 0;
        uint8_t host = bits >= 8 ? 0 : (uint8_t)(0xff >> bits);

        if (addr->bytes[i] & host)
            return false;
        last.bytes[i] |= host;
    }
    *ret_last = last;
    return true;
}

static bool parse_segment(const char *text, const char *slash, struct who *ret_who)
{
    struct who who = {.kind = WHO_SEGMENT};
    const char *s = slash + 1;
    unsigned int len;

    if (!parse_addr(text, (size_t)(slash - text), &who.first))
        return false;
    if (!parse_number(&s, 8 * (unsigned int)addr_len(who.first.family), &len) || *s)
        return false;
    if (!segment_last(&who.first, len, &who.last))
        return false;
    *ret_who = who;
    return true;
}

static bool parse_range(const char *text, const char *dash, struct who *ret_who)
{
    struct who who = {.kind = WHO_RANGE};

    if (!parse_addr(text, (size_t)(dash - text), &who.first))
        return false;
    if (!parse_addr(dash + 1, strlen(dash + 1), &who.last))
        return false;
    if (who.first.family != who.last.family || addr_cmp(&who.first, &who.last) > 0)
        return false;
    *ret_who = who;
    return true;
}

static bool parse_who(const char *text, struct who *ret_who)
{
    struct who who = {.kind = WHO_ADDRESS};
    const char *mark = strpbrk(text, "/-");

    if (mark)
        return *mark == '/' ? parse_segment(text, mark, ret_who) : parse_range(text, mark, ret_who);
    if (!parse_addr(text, strlen(text), &who.first))
        return false;
    who.last = who.first;
    *ret_who = who;
    return true;
}

int addr_parse(const char *text, struct addr *ret_addr, struct err *e)
{
    if (!parse_addr(text, strlen(text), ret_addr))
        return who_explain(text, true, e);
    return 0;
}

int who_parse(const char *text, struct who *ret_who, struct err *e)
{
    if (!parse_who(text, ret_who))
        return who_explain(text, false, e);
    return 0;
}

/* The longest run of at least two zero groups, the first of equals (RFC 5952, 4.2). */
static void longest_zero_run(const unsigned int groups[8], int *ret_start, int *ret_len)
{
    int best = -1, best_len = 1;

    for (int i = 0; i < 8; i++) {
        int len = 0;

        while (i + len < 8 && !groups[i + len])
            len++;
        if (len > best_len) {
            best = i;
            best_len = len;
        }
        i += len;
    }
    *ret_start = best;
    *ret_len = best < 0 ? 0 : best_len;
}

static void print_ip6(const uint8_t bytes[16], char buf[ADDR_TEXT_MAX])
{
    unsigned int groups[8];
    int start, len, used = 0;

    for (int i = 0; i < 8; i++)
        groups[i] = (unsigned int)bytes[2 * i] << 8 | bytes[2 * i + 1];
    longest_zero_run(groups, &start, &len);
    for (int i = 0; i < 8; i++) {
        if (i == start) {
            used += snprintf(buf + used, ADDR_TEXT_MAX - (size_t)used, "::");
            i += len - 1;
            continue;
        }
        used += snprintf(buf + used, ADDR_TEXT_MAX - (size_t)used, "%s%x",
                         i == 0 || i == start + len ? "" : ":", groups[i]);
    }
}

const char *addr_print(const struct addr *addr, char buf[ADDR_TEXT_MAX])
{
    const uint8_t *b = addr->bytes;

    if (addr->family == ADDR_IP4)
        snprintf(buf, ADDR_TEXT_MAX, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
    else if (is_v4_mapped(addr))
        snprintf(buf, ADDR_TEXT_MAX, "::ffff:%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
    else
        print_ip6(b, buf);
    return buf;
}

/* Bits that the bounds have in common; of a segment, its prefix length. */
static unsigned int common_bits(const struct addr *a, const struct addr *b)
{
    unsigned int bits = 0;

    for (size_t i = 0; i < addr_len(a->family); i++) {
        uint8_t differ = a->bytes[i] ^ b->bytes[i];

        if (differ)
            return bits + (unsigned int)__builtin_clz(differ) - 24;
        bits += 8;
    }
    return bits;
}

const char *who_print(const struct who *who, char buf[WHO_TEXT_MAX])
{
    char first[ADDR_TEXT_MAX], last[ADDR_TEXT_MAX];

    addr_print(&who->first, first);
    switch (who->kind) {
    case WHO_ADDRESS:
        snprintf(buf, WHO_TEXT_MAX, "%s", first);
        break;
    case WHO_SEGMENT:
        snprintf(buf, WHO_TEXT_MAX, "%s/%u", first, common_bits(&who->first, &who->last));
        break;
    case WHO_RANGE:
        snprintf(buf, WHO_TEXT_MAX, "%s-%s", first, addr_print(&who->last, last));
        break;
    }
    return buf;
}

const char *who_kind_name(enum who_kind kind)
{
    switch (kind) {
    case WHO_ADDRESS:
        return "address";
    case WHO_SEGMENT:
        return "segment";
    case WHO_RANGE:
        return "range";
    }
    return "unknown";
}

/* last - first has a bit above those that the widest harmless segment leaves free. */
bool who_is_very_wide(const struct who *who)
{
    unsigned int len = who->first.family == ADDR_IP4 ? 8 : 19;
    uint8_t distance[16] = {0};
    int borrow = 0;

    for (size_t i = addr_len(who->first.family); i > 0; i--) {
        int d = who->last.bytes[i - 1] - who->first.bytes[i - 1] - borrow;

        borrow = d < 0;
        distance[i - 1] = (uint8_t)d;
    }
    for (unsigned int i = 0; i < len; i++)
        if (distance[i / 8] & 0x80 >> i % 8)
            return true;
    return false;
}

bool who_is_sound(const struct who *who)
{
    struct addr last = who->first;

    if (who->first.family != who->last.family || addr_cmp(&who->first, &who->last) > 0 ||
        is_v4_mapped(&who->first))
        return false;
    if (who->kind == WHO_RANGE)
        return !is_v4_mapped(&who->last);
    if (who->kind == WHO_SEGMENT &&
        !segment_last(&who->first, common_bits(&who->first, &who->last), &last))
        return false;
    return addr_cmp(&last, &who->last) == 0;
}

bool who_same_set(const struct who *a, const struct who *b)
{
    return addr_cmp(&a->first, &b->first) == 0 && addr_cmp(&a->last, &b->last) == 0;
}
