/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Says why a WHO was refused and what was probably meant. Apart from the grammar (addr.c) so that
 * guessing never widens what is accepted: every guess goes back through the strict parser before
 * it becomes a hint. A guess that has a fault of its own is explained in turn, so that one hint
 * mends several faults. Must not know who asks, and must show no byte of the text unescaped.
 */
#include "who_why.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "addr.h"
#include "text.h"

#define DIGITS "0123456789"
#define HEX    DIGITS "abcdefABCDEF"

/* Of the text, in a message; the rest becomes "...". */
#define SHOWN_MAX 80

/* Room for a text with any of its parts replaced. */
#define GUESS_MAX (2 * WHO_TEXT_MAX)

/* Faults that one hint mends at most; also what ends the recursion. */
#define DEPTH_MAX 6

struct refusal {
    const char *text;
    bool address_only;
    unsigned int depth;
    struct err *e;
};

/* A piece of refusal.text. */
struct part {
    const char *start;
    size_t len;
};

static int explain(const struct refusal *r);

static void default_hint(const struct refusal *r)
{
    if (r->address_only)
        err_hint(r->e, "an address is written like 192.0.2.10 or 2001:db8::10");
    else
        err_hint(r->e, "write an address (192.0.2.10), a segment (192.0.2.0/24) or a range "
                       "(192.0.2.10-192.0.2.40), IPv4 or IPv6");
}

/* Sets the message and the hint of last resort. Always true: "explained". */
__attribute__((format(printf, 2, 3))) static bool because(const struct refusal *r, const char *fmt,
                                                          ...)
{
    char shown[SHOWN_MAX], cause[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cause, sizeof(cause), fmt, ap);
    va_end(ap);
    err_set(r->e, -EINVAL, EXIT_USAGE, "%s: %s", text_escape_ascii(r->text, shown, sizeof(shown)),
            cause);
    default_hint(r);
    return true;
}

static bool acceptable(const struct refusal *r, const char *guess)
{
    struct addr addr;
    struct who who;

    return r->address_only ? !addr_parse(guess, &addr, NULL) : !who_parse(guess, &who, NULL);
}

/* Hints at @guess if that would be accepted, or at what mends @guess in turn. */
static void suggest(const struct refusal *r, const char *guess, const char *note)
{
    struct err nested;
    struct refusal next = {guess, r->address_only, r->depth + 1, &nested};

    if (acceptable(r, guess)) {
        err_hint(r->e, "did you mean %s?%s", guess, note);
    } else if (next.depth < DEPTH_MAX) {
        explain(&next);
        err_hint(r->e, "%s", nested.hint);
    }
}

/* Suggests the text with @old replaced. */
static void suggest_part(const struct refusal *r, struct part old, const char *new)
{
    char guess[GUESS_MAX];
    int len = snprintf(guess, sizeof(guess), "%.*s%s%s", (int)(old.start - r->text), r->text, new,
                       old.start + old.len);

    if (len < (int)sizeof(guess))
        suggest(r, guess, "");
}

static bool only(struct part part, const char *set)
{
    return strspn(part.start, set) >= part.len;
}

static bool has(struct part part, char c)
{
    return memchr(part.start, c, part.len) != NULL;
}

static unsigned int count_of(struct part part, char c)
{
    unsigned int count = 0;

    for (size_t i = 0; i < part.len; i++)
        count += part.start[i] == c;
    return count;
}

static bool copy_part(struct part part, char *buf, size_t size)
{
    if (part.len >= size)
        return false;
    memcpy(buf, part.start, part.len);
    buf[part.len] = '\0';
    return true;
}

static bool parse_part(struct part part, struct addr *ret_addr)
{
    char one[ADDR_TEXT_MAX];

    return copy_part(part, one, sizeof(one)) && !addr_parse(one, ret_addr, NULL);
}

/* "an X where one address is wanted": fine as a WHO, but not here. */
static bool explain_kind(const struct refusal *r)
{
    char first[ADDR_TEXT_MAX];
    struct who who;

    if (!r->address_only || who_parse(r->text, &who, NULL) < 0)
        return false;
    because(r, "a %s, where a single address is wanted", who_kind_name(who.kind));
    err_hint(r->e, "name one of its addresses, for example %s", addr_print(&who.first, first));
    return true;
}

/* What a foreign character probably stands for; NULL when there is no telling. */
static const char *plain_form(uint32_t code)
{
    if ((code >= 0x2010 && code <= 0x2015) || code == 0x2212 || code == 0xfe58 || code == 0xfe63 ||
        code == 0xff0d)
        return "-";
    if (code == 0x2044 || code == 0x2215 || code == 0xff0f)
        return "/";
    if (code == '\t' || code == '\n' || code == '\r' || code == 0xa0 || code == 0x202f)
        return " ";
    if (code == 0xad || (code >= 0x200b && code <= 0x200f) || code == 0x2060 || code == 0xfeff)
        return "";
    return NULL;
}

static bool explain_foreign(const struct refusal *r)
{
    for (const char *s = r->text; *s; s++) {
        uint32_t code = 0;
        size_t len = text_utf8_next(s, &code);
        const char *plain;

        if (len == 1 && code >= 0x20 && code != 0x7f)
            continue;
        plain = len ? plain_form(code) : NULL;
        if (!len)
            because(r, "byte \\x%02x at position %zu is not ASCII", (unsigned char)*s,
                    (size_t)(s - r->text) + 1);
        else if (len == 1)
            because(r, "control character \\x%02x at position %zu", code,
                    (size_t)(s - r->text) + 1);
        else if (plain && *plain == '-')
            because(r, "the dash at position %zu is U+%04X, not a plain \"-\"",
                    (size_t)(s - r->text) + 1, code);
        else
            because(r, "character U+%04X at position %zu is not ASCII", code,
                    (size_t)(s - r->text) + 1);
        if (plain)
            suggest_part(r, (struct part){s, len}, plain);
        return true;
    }
    return false;
}

/* Spaces at the ends and around "-" and "/" are noise; one between two words separates them. */
static bool explain_space(const struct refusal *r)
{
    char guess[WHO_TEXT_MAX];
    size_t used = 0;

    if (!strchr(r->text, ' '))
        return false;
    for (const char *s = r->text; *s; s++) {
        bool inside = used && s[strspn(s, " ")];

        if (*s != ' ')
            guess[used++] = *s;
        else if (inside && !strchr("-/ ", guess[used - 1]) && !strchr("-/", s[strspn(s, " ")]))
            guess[used++] = ' ';
    }
    guess[used] = '\0';
    because(r, "a space in it");
    if (strchr(guess, ' '))
        err_hint(r->e, "give several as arguments of their own, each without a space in it");
    else
        suggest(r, guess, " (without spaces)");
    return true;
}

static bool explain_separator(const struct refusal *r)
{
    char several[WHO_TEXT_MAX], shown[SHOWN_MAX];

    if (!strpbrk(r->text, ",;"))
        return false;
    snprintf(several, sizeof(several), "%s", r->text);
    for (char *s = several; *s; s++)
        if (strchr(",;", *s))
            *s = ' ';
    because(r, "a \"%c\" in it", *strpbrk(r->text, ",;"));
    err_hint(r->e, "separate several by spaces: %s",
             text_escape_ascii(several, shown, sizeof(shown)));
    return true;
}

/* [2001:db8::1], [192.0.2.1]:25, [IPv6:2001:db8::1], as mail software writes them. */
static bool explain_brackets(const struct refusal *r)
{
    char guess[WHO_TEXT_MAX];
    size_t used = 0;

    if (!strpbrk(r->text, "[]"))
        return false;
    for (const char *s = r->text; *s; s++) {
        if (*s == ']' && s[1] == ':')
            s += 1 + strspn(s + 2, DIGITS);
        else if (!strchr("[]", *s))
            guess[used++] = *s;
    }
    guess[used] = '\0';
    because(r, "brackets are not part of an address");
    suggest(r, guess, "");
    return true;
}

static bool explain_ip6_tag(const struct refusal *r)
{
    if (strncasecmp(r->text, "ipv6:", 5) != 0)
        return false;
    because(r, "\"IPv6:\" is not part of an address");
    suggest(r, r->text + 5, "");
    return true;
}

static bool explain_zone(const struct refusal *r)
{
    const char *zone = strchr(r->text, '%');

    if (!zone)
        return false;
    because(r, "a zone id (after the \"%%\"); the gate knows addresses only, the same on every "
               "interface");
    suggest_part(r, (struct part){zone, 1 + strcspn(zone + 1, "/-%")}, "");
    return true;
}

/* The length of "192.0.2." in "192.0.2.*" or "192.0.2.x", with how many numbers; else 0. */
static size_t before_wildcards(const char *text, unsigned int *ret_numbers)
{
    unsigned int numbers = 0, pieces = 0;
    size_t kept = 0;

    for (const char *s = text;; s++) {
        size_t len = strcspn(s, ".");

        if (len && strspn(s, DIGITS) == len && pieces == numbers) {
            numbers++;
            kept = (size_t)(s - text) + len + 1;
        } else if (len != 1 || !strchr("*xX", *s)) {
            return 0;
        }
        pieces++;
        s += len;
        if (!*s)
            break;
    }
    if (!numbers || numbers >= pieces || pieces > 4)
        return 0;
    *ret_numbers = numbers;
    return kept;
}

static bool explain_wildcard(const struct refusal *r)
{
    static const char *const rest[] = {"", "0.0.0/8", "0.0/16", "0/24"};
    unsigned int numbers = 0;
    size_t kept = before_wildcards(r->text, &numbers);
    char guess[GUESS_MAX];

    if (!kept)
        return false;
    because(r, "wildcards are not understood");
    snprintf(guess, sizeof(guess), "%.*s%s", (int)kept, r->text, rest[numbers]);
    suggest(r, guess, "");
    return true;
}

static bool explain_star(const struct refusal *r)
{
    if (!strchr(r->text, '*'))
        return false;
    because(r, "wildcards are not understood");
    if (r->address_only)
        return true;
    if (strspn(r->text, "*.") == strlen(r->text))
        err_hint(r->e, "0.0.0.0/0 is every IPv4 address, ::/0 every IPv6 address");
    else
        err_hint(r->e, "write a segment such as 192.0.2.0/24 or 2001:db8::/32");
    return true;
}

static bool explain_hex(const struct refusal *r)
{
    if (strncasecmp(r->text, "0x", 2) != 0 && !strstr(r->text, ".0x") && !strstr(r->text, ".0X"))
        return false;
    because(r, "hexadecimal numbers are not understood");
    err_hint(r->e, "write an IPv4 address as four decimal numbers, like 192.0.2.10");
    return true;
}

/* The host in "https://host/", "host:25", "host/24"; false when it's not fit to be pasted. */
static bool host_name(const char *text, char buf[WHO_TEXT_MAX])
{
    const char *scheme = strstr(text, "://");
    size_t len;

    if (scheme)
        text = scheme + 3;
    len = strcspn(text, ":/");
    if (!len || *text == '-' ||
        strspn(text, HEX "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ.-") < len)
        return false;
    snprintf(buf, WHO_TEXT_MAX, "%.*s", (int)len, text);
    return true;
}

/*
 * Letters make a name, unless colons say that it is IPv6 with a slip, or digits and dots up to a
 * colon that it is IPv4 with a port.
 */
static bool explain_name(const struct refusal *r)
{
    struct part head = {r->text, strcspn(r->text, "/")};
    unsigned int hex = 0, letters = 0, colons = count_of(head, ':');
    char name[WHO_TEXT_MAX];

    for (size_t i = 0; i < head.len; i++) {
        char c = head.start[i];

        letters += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '@';
        hex += (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    }
    if (!letters || colons > 1 || (colons && letters == hex))
        return false;
    if (colons && r->text[strspn(r->text, DIGITS ".")] == ':')
        return false;
    because(r, "not an IP address, and names are never looked up");
    if (host_name(r->text, name))
        err_hint(r->e, "use the address; this shows it: getent ahosts %s", name);
    else
        err_hint(r->e, "use the address that the connections come from");
    return true;
}

/* Only when it is one for certain: "192.0.2..1" is a slip of another kind. */
static bool explain_dotted_range(const struct refusal *r)
{
    const char *dots = strstr(r->text, "..");
    char guess[GUESS_MAX];

    if (!dots || dots == r->text)
        return false;
    snprintf(guess, sizeof(guess), "%.*s-%s", (int)(dots - r->text), r->text,
             dots + strspn(dots, "."));
    if (!acceptable(r, guess))
        return false;
    because(r, "a range is written with \"-\"");
    suggest(r, guess, "");
    return true;
}

/* The part with every number stripped of its leading zeros. */
static void suggest_without_zeros(const struct refusal *r, struct part part)
{
    char plain[WHO_TEXT_MAX];
    size_t used = 0;

    for (size_t i = 0; i < part.len; i++) {
        bool first = i == 0 || part.start[i - 1] == '.';

        if (first)
            while (i + 1 < part.len && part.start[i] == '0' && part.start[i + 1] != '.')
                i++;
        plain[used++] = part.start[i];
    }
    plain[used] = '\0';
    suggest_part(r, part, plain);
}

/* 10.1 alone is probably 10.1.0.0/16; before a prefix length it wants zeros. */
static void suggest_filled_up(const struct refusal *r, struct part part, unsigned int numbers)
{
    static const char *const zeros[] = {"", ".0.0.0", ".0.0", ".0"};
    bool whole = part.start == r->text && !part.start[part.len];
    char full[GUESS_MAX], length[8] = "";

    if (part.start[part.len] != '/' && (!whole || numbers < 2))
        return;
    if (whole)
        snprintf(length, sizeof(length), "/%u", 8 * numbers);
    snprintf(full, sizeof(full), "%.*s%s%s", (int)part.len, part.start, zeros[numbers], length);
    suggest_part(r, part, full);
}

static bool explain_octet(const struct refusal *r, struct part part, struct part octet)
{
    int len = (int)octet.len;

    if (!octet.len)
        return because(r, "a number is missing before or after a dot");
    if (octet.len > 1 && *octet.start == '0') {
        because(r, "leading zero in \"%.*s\"", len, octet.start);
        suggest_without_zeros(r, part);
        return true;
    }
    if (octet.len > 3 || strtoul(octet.start, NULL, 10) > 255) {
        because(r, "\"%.*s\" is more than 255", len, octet.start);
        return true;
    }
    return false;
}

static bool explain_ip4(const struct refusal *r, struct part part)
{
    size_t digits = strspn(part.start, DIGITS ".");
    unsigned int numbers = count_of(part, '.') + 1;
    const char *end = part.start + part.len;

    if (digits < part.len)
        return because(r, "unexpected \"%c\"", part.start[digits]);
    if (part.len > 1 && end[-1] == '.') {
        because(r, "a dot at the end");
        suggest_part(r, (struct part){end - 1, 1}, "");
        return true;
    }
    for (const char *s = part.start; s <= end; s++) {
        struct part octet = {s, strcspn(s, ".")};

        if (octet.len > (size_t)(end - s))
            octet.len = (size_t)(end - s);
        if (explain_octet(r, part, octet))
            return true;
        s += octet.len;
    }
    if (numbers == 4)
        return false;
    because(r, "an IPv4 address has 4 numbers, this has %u", numbers);
    if (numbers < 4)
        suggest_filled_up(r, part, numbers);
    return true;
}

/* The gate looks an IPv4 packet up as IPv4, so a mapped entry would never match one. */
static bool explain_mapped(const struct refusal *r, struct part part, const uint8_t ip4[4])
{
    const char *slash = part.start + part.len;
    char plain[WHO_TEXT_MAX];
    unsigned long len = 0;
    int used;

    used = snprintf(plain, sizeof(plain), "%u.%u.%u.%u", ip4[0], ip4[1], ip4[2], ip4[3]);
    because(r, "IPv4 written as IPv6 (v4-mapped); such a host reaches the gate as IPv4");
    if (*slash == '/') {
        len = strtoul(slash + 1, NULL, 10);
        if (len < 96 || len > 128)
            return true;
        snprintf(plain + used, sizeof(plain) - (size_t)used, "/%lu", len - 96);
        part.len += strlen(slash);
    }
    suggest_part(r, part, plain);
    return true;
}

/* Groups of a text that holds only hex digits, colons and perhaps a correct dotted tail. */
static bool explain_ip6_groups(const struct refusal *r, struct part part)
{
    const char *end = part.start + part.len;
    unsigned int groups = 0, pairs = 0, gaps = 0;

    for (const char *s = part.start; s < end; s++) {
        size_t len = strspn(s, HEX ".");

        if (s + len > end)
            len = (size_t)(end - s);
        if (len > 4 && !has((struct part){s, len}, '.'))
            return because(r, "the group \"%.*s\" has more than 4 digits", (int)len, s);
        groups += len ? 1 + has((struct part){s, len}, '.') : 0;
        pairs += len == 2;
        gaps += s + 1 < end && s[0] == ':' && s[1] == ':';
        s += len;
        gaps += len && s + 1 < end && s[0] == ':' && s[1] == ':';
    }
    if (pairs == 6 && groups == 6 && !gaps)
        return because(r, "looks like a hardware (MAC) address, not an IP address");
    if (gaps > 1)
        return because(r, "more than one \"::\"");
    if (!gaps && (*part.start == ':' || end[-1] == ':'))
        return because(r, "a single \":\" at the %s", *part.start == ':' ? "start" : "end");
    if (groups > 8 || (gaps && groups == 8))
        return because(r, "an IPv6 address has 8 groups, this has more");
    if (!gaps)
        return because(r, "an IPv6 address has 8 groups, or \"::\" in place of zeros; this has %u",
                       groups);
    return because(r, "the groups and colons do not make an IPv6 address");
}

static bool explain_ip6(const struct refusal *r, struct part part)
{
    size_t known = strspn(part.start, HEX ":.");
    char one[WHO_TEXT_MAX];
    uint8_t bytes[16];

    if (known < part.len)
        return because(r, "unexpected \"%c\" in an IPv6 address", part.start[known]);
    if (has(part, '.')) {
        struct part tail = {part.start + part.len, 0};

        while (tail.start[-1] != ':') {
            tail.start--;
            tail.len++;
        }
        if (!has(tail, '.'))
            return because(r, "a dot in an IPv6 address");
        if (explain_ip4(r, tail))
            return true;
    }
    if (!copy_part(part, one, sizeof(one)) || inet_pton(AF_INET6, one, bytes) != 1)
        return explain_ip6_groups(r, part);
    return explain_mapped(r, part, bytes + 12);
}

/* False when the part is an address. */
static bool explain_addr(const struct refusal *r, struct part part)
{
    struct addr addr;
    size_t digits;

    if (parse_part(part, &addr))
        return false;
    if (!has(part, ':'))
        return explain_ip4(r, part);
    digits = strspn(part.start, DIGITS ".");
    if (count_of(part, ':') == 1 && part.start[digits] == ':' &&
        has((struct part){part.start, digits}, '.')) {
        because(r, "a port after the address; the guarded ports are the same for every source");
        suggest_part(r, (struct part){part.start + digits, part.len - digits}, "");
        return true;
    }
    return explain_ip6(r, part);
}

/* 255.255.255.0, or 0.0.0.255 as some routers write it; -1 when it is no mask. */
static int mask_length(const struct addr *mask)
{
    uint32_t bits = (uint32_t)mask->bytes[0] << 24 | (uint32_t)mask->bytes[1] << 16 |
                    (uint32_t)mask->bytes[2] << 8 | mask->bytes[3];
    int len = 0;

    if (bits && !(bits & 0x80000000))
        bits = ~bits;
    for (; bits & 0x80000000; bits <<= 1)
        len++;
    return bits ? -1 : len;
}

static bool explain_mask(const struct refusal *r, struct part length, const struct addr *mask)
{
    int len = mask_length(mask);
    char number[16];

    if (len < 0)
        return because(r, "\"%.*s\" is neither a prefix length nor a netmask", (int)length.len,
                       length.start);
    because(r, "a netmask, where a prefix length is wanted");
    snprintf(number, sizeof(number), "%d", len);
    suggest_part(r, length, number);
    return true;
}

static void hint_length(const struct refusal *r, const struct addr *addr)
{
    if (addr->family == ADDR_IP4)
        err_hint(r->e, "an IPv4 prefix length is a number from 0 to 32, as in 192.0.2.0/24");
    else
        err_hint(r->e, "an IPv6 prefix length is a number from 0 to 128, as in 2001:db8::/32");
}

static bool explain_length(const struct refusal *r, struct part length, const struct addr *addr)
{
    size_t max = 8 * addr_len(addr->family);
    struct addr mask;
    int len = (int)length.len;

    if (!length.len)
        because(r, "no prefix length after the \"/\"");
    else if (has(length, '/'))
        because(r, "more than one \"/\"");
    else if (addr->family == ADDR_IP4 && parse_part(length, &mask) && mask.family == ADDR_IP4)
        return explain_mask(r, length, &mask);
    else if (!only(length, DIGITS))
        because(r, "\"%.*s\" is not a prefix length", len, length.start);
    else if (length.len > 1 && *length.start == '0') {
        because(r, "leading zero in \"%.*s\"", len, length.start);
        suggest_without_zeros(r, length);
        return true;
    } else if (length.len > 3 || strtoul(length.start, NULL, 10) > max)
        because(r, "prefix length \"%.*s\" is more than %zu", len, length.start, max);
    else
        return false;
    hint_length(r, addr);
    return true;
}

static bool explain_segment(const struct refusal *r, const char *slash)
{
    struct part base = {r->text, (size_t)(slash - r->text)};
    struct part length = {slash + 1, strlen(slash + 1)};
    char first[ADDR_TEXT_MAX], typed[ADDR_TEXT_MAX];
    struct addr addr, start;
    unsigned long len;

    if (!base.len)
        return because(r, "no address before the \"/\"");
    if (explain_addr(r, base))
        return true;
    if (!parse_part(base, &addr) || explain_length(r, length, &addr))
        return true;
    len = strtoul(length.start, NULL, 10);
    start = addr;
    for (size_t i = 0; i < addr_len(addr.family); i++) {
        unsigned long bits = len > 8 * i ? len - 8 * i : 0;

        if (bits < 8)
            start.bytes[i] &= (uint8_t)(0xff00 >> bits);
    }
    because(r, "bits are set beyond the first %lu", len);
    err_hint(r->e, "%s/%lu is the segment, %s the address", addr_print(&start, first), len,
             addr_print(&addr, typed));
    return true;
}

/* 192.0.2.0/24-192.0.3.0/24: a range goes from address to address. */
static bool explain_segment_range(const struct refusal *r, struct part left, struct part right)
{
    char first[ADDR_TEXT_MAX], last[ADDR_TEXT_MAX], one[WHO_TEXT_MAX], guess[GUESS_MAX];
    struct who low, high;

    because(r, "a range goes from address to address, not from segment to segment");
    if (!copy_part(left, one, sizeof(one)) || who_parse(one, &low, NULL) < 0)
        return true;
    if (!copy_part(right, one, sizeof(one)) || who_parse(one, &high, NULL) < 0)
        return true;
    snprintf(guess, sizeof(guess), "%s-%s", addr_print(&low.first, first),
             addr_print(&high.last, last));
    suggest(r, guess, "");
    return true;
}

/* 192.0.2.10-40 and 2001:db8::10-40: the front is taken from the first address. */
static bool explain_short_range(const struct refusal *r, struct part left, struct part right)
{
    struct addr first;
    char full[GUESS_MAX];
    size_t kept = left.len;
    char mark;

    if (!right.len || has(right, ':') || !parse_part(left, &first))
        return false;
    mark = first.family == ADDR_IP4 ? '.' : ':';
    if (!only(right, mark == '.' ? DIGITS "." : HEX) || count_of(right, '.') > 2)
        return false;
    for (unsigned int pieces = count_of(right, mark) + 1; pieces > 0; pieces--) {
        if (kept < left.len)
            kept--;
        while (kept > 0 && left.start[kept - 1] != mark)
            kept--;
    }
    because(r, "both ends of a range are written in full");
    snprintf(full, sizeof(full), "%.*s%.*s", (int)kept, left.start, (int)right.len, right.start);
    suggest_part(r, right, full);
    return true;
}

static bool explain_range(const struct refusal *r, const char *dash)
{
    struct part left = {r->text, (size_t)(dash - r->text)};
    struct part right = {dash + 1, strlen(dash + 1)};
    struct addr first, last;
    char guess[GUESS_MAX];

    if (has(right, '-'))
        return because(r, "more than one \"-\"");
    if (!left.len || !right.len)
        return because(r, "a range without its %s address", left.len ? "last" : "first");
    if (strchr(r->text, '/'))
        return explain_segment_range(r, left, right);
    if (explain_short_range(r, left, right) || explain_addr(r, left) || explain_addr(r, right))
        return true;
    if (!parse_part(left, &first) || !parse_part(right, &last))
        return false;
    if (first.family != last.family) {
        because(r, "a range from IPv4 to IPv6");
        err_hint(r->e, "give one range for each family");
        return true;
    }
    because(r, "the range is reversed, its first address comes after its last");
    snprintf(guess, sizeof(guess), "%.*s-%.*s", (int)right.len, right.start, (int)left.len,
             left.start);
    suggest(r, guess, " (swapped)");
    return true;
}

/* What is left looks like an address, a segment or a range with one of its parts wrong. */
static bool explain_parts(const struct refusal *r)
{
    const char *slash = strchr(r->text, '/');
    const char *dash = strchr(r->text, '-');

    /* "/-8" is a wrong length, not a range. */
    if (dash && !(slash && dash == slash + 1))
        return explain_range(r, dash);
    if (slash)
        return explain_segment(r, slash);
    return explain_addr(r, (struct part){r->text, strlen(r->text)});
}

static int explain(const struct refusal *r)
{
    /* Ordered: each may rely on what those before it have ruled out. */
    static bool (*const faults[])(const struct refusal *) = {
        explain_kind,     explain_foreign, explain_space, explain_separator,
        explain_brackets, explain_ip6_tag, explain_zone,  explain_wildcard,
        explain_hex,      explain_name,    explain_star,  explain_dotted_range,
        explain_parts,
    };

    if (!*r->text) {
        err_set(r->e, -EINVAL, EXIT_USAGE, "an empty text, where an address is wanted");
        default_hint(r);
        return -EINVAL;
    }
    if (strlen(r->text) >= WHO_TEXT_MAX) {
        because(r, "too long for an address, a segment or a range");
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        if (faults[i](r))
            return -EINVAL;
    because(r, "not an address, a segment or a range");
    return -EINVAL;
}

int who_explain(const char *text, bool address_only, struct err *e)
{
    struct refusal r = {text, address_only, 0, e};

    /* The parser itself is asked for guesses without an error: nothing to say then. */
    return e ? explain(&r) : -EINVAL;
}
