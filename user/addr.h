/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * WHO: an address, a segment or a range, as a person types it. Parses strictly and prints the
 * canonical spelling (RFC 5952 for IPv6). Pure: no I/O, no resolver, no allocation.
 */
#ifndef SMTPGATE_ADDR_H
#define SMTPGATE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum addr_family {
    ADDR_IP4 = 4,
    ADDR_IP6 = 6,
};

/* Bytes in network order; an IPv4 address uses the first four, the others are zero. */
struct addr {
    enum addr_family family;
    uint8_t bytes[16];
};

enum who_kind {
    WHO_ADDRESS, /* 192.0.2.10 */
    WHO_SEGMENT, /* 192.0.2.0/24, also /32 and /128 */
    WHO_RANGE,   /* 192.0.2.10-192.0.2.40, also a-a */
};

/* first <= last, same family. A segment's bounds are its first and last address. */
struct who {
    enum who_kind kind;
    struct addr first;
    struct addr last;
};

/* Longest text of a WHO: two IPv6 addresses and a dash, with the NUL. */
#define WHO_TEXT_MAX  96
#define ADDR_TEXT_MAX 46

/* 4 or 16. */
size_t addr_len(enum addr_family family);

/*
 * Strict: dotted quad without leading zeros, or RFC 4291 IPv6 text without a zone id; v4-mapped
 * IPv6 is refused (the gate looks IPv6 sources up as IPv6 only). -EINVAL, EXIT_USAGE, with a hint.
 */
int addr_parse(const char *text, struct addr *ret_addr, struct err *e);

/* Writes the canonical text; returns @buf. */
const char *addr_print(const struct addr *addr, char buf[ADDR_TEXT_MAX]);

/* memcmp order within a family; IPv4 sorts before IPv6. */
int addr_cmp(const struct addr *a, const struct addr *b);

/*
 * Strict: no host bits beyond the mask, no reversed or mixed-family range, no spaces, never DNS.
 * Every refusal is one sentence that names the text and, where there is one, the likely meaning as
 * a hint ("did you mean 192.0.2.0/24?"). -EINVAL, EXIT_USAGE.
 */
int who_parse(const char *text, struct who *ret_who, struct err *e);

/* Canonical text; a range stays a range, a segment keeps its length. Returns @buf. */
const char *who_print(const struct who *who, char buf[WHO_TEXT_MAX]);

/* "address", "segment", "range": contract, JSON and metrics rely on them. */
const char *who_kind_name(enum who_kind kind);

/* Wider than /8 (IPv4) or /19 (IPv6) in number of addresses, ranges included: wants a -y. */
bool who_is_very_wide(const struct who *who);

/* Its bounds are what its kind says, so that it could have been typed: for what a file holds. */
bool who_is_sound(const struct who *who);

/* The same set of addresses, whatever the spelling. */
bool who_same_set(const struct who *a, const struct who *b);

#endif
