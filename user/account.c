/* SPDX-License-Identifier: GPL-2.0-only */
/* See account.h. Pure. */
#include "account.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

/* Not tolower(3), which asks the locale. */
static unsigned int fold(char c)
{
    unsigned int byte = (unsigned char)c;

    return byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte;
}

bool account_equal(const char *a, const char *b)
{
    while (*a && fold(*a) == fold(*b)) {
        a++;
        b++;
    }
    return fold(*a) == fold(*b);
}

int account_check(const char *name, struct err *e)
{
    size_t len = strlen(name);
    char shown[80];
    int r;

    if (len == 0)
        err_set(e, 0, EXIT_USAGE, "the account's name is empty");
    else if (len > ACCOUNT_MAX)
        err_set(e, 0, EXIT_USAGE, "the account's name is %zu bytes long, at most %d can be listed",
                len, ACCOUNT_MAX);
    if (len == 0 || len > ACCOUNT_MAX) {
        err_hint(e,
                 "it is the SMTP login name, as in: --account alice, or account=alice in a file");
        return -EINVAL;
    }
    r = text_check_given(name, "account", e);
    if (r < 0)
        return r;
    /* A word of the command line that went astray, nearly always. */
    if (*name != '-' && *name != ' ' && name[len - 1] != ' ' && strcmp(name, "*") != 0)
        return 0;
    err_set(e, 0, EXIT_USAGE, "\"%s\" is no account's name",
            text_escape(name, shown, sizeof(shown)));
    err_hint(e, "a name has no space at its ends and no - in front; entries without an account are"
                " for all that have no list");
    return -EINVAL;
}

int account_check_realm(const char *realm, struct err *e)
{
    char shown[80];

    if (*realm && strlen(realm) <= ACCOUNT_MAX && !strpbrk(realm, "@ "))
        return text_check_given(realm, "realm", e);
    err_set(e, 0, EXIT_USAGE, "\"%s\" is no realm: what stands behind the @ of a login name",
            text_escape(realm, shown, sizeof(shown)));
    err_hint(e, "smtpgate set realm mail.example, or smtpgate set realm none");
    return -EINVAL;
}

/* The length of @name without "@realm", or 0 when it does not end so. */
static size_t without_realm(const char *name, const char *realm)
{
    const char *at = strchr(name, '@');

    return at && at > name && account_equal(at + 1, realm) ? (size_t)(at - name) : 0;
}

/* Not where that would be longer than any name that is looked up. */
static void append_realm(char name[ACCOUNT_LOGIN_MAX + 1], const char *realm)
{
    size_t used = strlen(name), len = strlen(realm);

    if (used + 1 + len > ACCOUNT_LOGIN_MAX)
        return;
    name[used] = '@';
    memcpy(name + used + 1, realm, len + 1);
}

bool account_resolve(const char *name, const char *realm, struct account *ret_account)
{
    struct account account;
    size_t bare;

    if (strlen(name) > ACCOUNT_LOGIN_MAX)
        return false;
    snprintf(account.name, sizeof(account.name), "%s", name);
    snprintf(account.other, sizeof(account.other), "%s", name);
    bare = *realm ? without_realm(name, realm) : 0;
    if (bare)
        account.other[bare] = '\0';
    else if (*name && *realm && !strchr(name, '@'))
        append_realm(account.other, realm);
    *ret_account = account;
    return true;
}

bool account_is(const struct account *account, const char *name)
{
    return account_equal(account->name, name) || account_equal(account->other, name);
}
