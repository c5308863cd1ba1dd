// LINK: account text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of the matching rule: a login, a realm and another login, one a line. No spelling makes a
 * name match two accounts, or none, and no name overruns its room.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"

#define MUST(condition)       \
    do {                      \
        if (!(condition))     \
            __builtin_trap(); \
    } while (0)

/* The next line, in a block of its own. */
static char *take_line(const uint8_t **data, size_t *size)
{
    const uint8_t *end = memchr(*data, '\n', *size);
    size_t len = end ? (size_t)(end - *data) : *size;
    char *line = malloc(len + 1);

    MUST(line);
    memcpy(line, *data, len);
    line[len] = '\0';
    *data += len + (end != NULL);
    *size -= len + (end != NULL);
    return line;
}

static void compare(const char *one, const char *realm, const char *two)
{
    struct account a, b;
    bool same;

    if (!account_resolve(one, realm, &a)) {
        MUST(strlen(one) > ACCOUNT_LOGIN_MAX);
        return;
    }
    MUST(!strcmp(a.name, one) && strlen(a.other) <= ACCOUNT_LOGIN_MAX);
    MUST(account_is(&a, one) && account_is(&a, a.other));
    MUST(!*one == !*a.other);
    MUST(*realm || !strcmp(a.name, a.other));
    if (!account_resolve(two, realm, &b))
        return;
    same = account_is(&a, two);
    MUST(same == account_is(&b, one));
    MUST(same == (account_is(&a, b.name) || account_is(&a, b.other)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *one = take_line(&data, &size), *realm = take_line(&data, &size);
    char *two = take_line(&data, &size);
    struct err e = {0};

    if (account_check(one, &e) == 0)
        MUST(*one && strlen(one) <= ACCOUNT_MAX && !strpbrk(one, "\r\n\t\x1b\x7f"));
    if (!*realm || account_check_realm(realm, &e) == 0) {
        MUST(!strchr(realm, '@') && strlen(realm) <= ACCOUNT_MAX);
        compare(one, realm, two);
    }
    for (const char *s = e.message; *s; s++)
        MUST((unsigned char)*s >= 0x20 && *s != 0x7f);
    free(one);
    free(realm);
    free(two);
    return 0;
}
