/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMTP accounts: the login names under which the relay knows its customers, as SASL gives them
 * ("alice" with Dovecot, "alice@mail.example" with Cyrus). What may be a name, and which two
 * spellings are one account. Pure; knows nothing of lists, entries or the policy protocol.
 *
 * Matching rule: bytes compare as they are, ASCII letters without regard to case. (A relay whose
 * password check takes ALICE for alice may report either; were they two accounts here, writing it
 * large would be a way around alice's list. Letters beyond ASCII are not folded.) With a default
 * realm, "name" and "name@realm" are one account.
 *
 * The store compares with SQLite's NOCASE, which folds the same 26 letters.
 */
#ifndef SMTPGATE_ACCOUNT_H
#define SMTPGATE_ACCOUNT_H

#include <stdbool.h>

#include "err.h"

/* Bytes of a name that can be listed, and of a realm; without the NUL. */
#define ACCOUNT_MAX 255
/* A name that a list may match: both of them and the @. */
#define ACCOUNT_LOGIN_MAX (2 * ACCOUNT_MAX + 1)

/* One account by its two spellings; the same one twice where there is only one. */
struct account {
    char name[ACCOUNT_LOGIN_MAX + 1]; /* as given; "" is the host list */
    char other[ACCOUNT_LOGIN_MAX + 1];
};

/*
 * A name that may be given a list: UTF-8 (as SASL's are, RFC 4616 and RFC 4013), 1 to ACCOUNT_MAX
 * bytes, no control characters, no space at an end, no - in front, not "*". -EINVAL, EXIT_USAGE.
 */
int account_check(const char *name, struct err *e);

/* A realm: as a name, and without @ or spaces. -EINVAL, EXIT_USAGE. */
int account_check_realm(const char *realm, struct err *e);

/*
 * The account that login @name means; @realm "" is none. False when the name is longer than any
 * that a list may match: it has no list of its own.
 */
bool account_resolve(const char *name, const char *realm, struct account *ret_account);

/* The same spelling but for the case of ASCII letters. */
bool account_equal(const char *a, const char *b);

/* The same account by the matching rule; @name is one of its spellings. */
bool account_is(const struct account *account, const char *name);

#endif
