// LINK: account text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of the matching rule: a login, a realm and another login, one a line. No spelling makes a
 * name match two accounts, or none, and no name overruns its room.
 */
#include "account.h"
#include "fuzz.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *one = fuzz_take_line(&data, &size), *realm = fuzz_take_line(&data, &size);
    char *two = fuzz_take_line(&data, &size);
    struct err e = {0};

    if (account_check(one, &e) < 0)
        fuzz_must_explain(&e);
    else
        MUST(*one && strlen(one) <= ACCOUNT_MAX && !strpbrk(one, "\r\n\t\x1b\x7f"));
    if (*realm && account_check_realm(realm, &e) < 0) {
        fuzz_must_explain(&e);
    } else {
        MUST(!strchr(realm, '@') && strlen(realm) <= ACCOUNT_MAX);
        compare(one, realm, two);
    }
    free(one);
    free(realm);
    free(two);
    return 0;
}
