/* SPDX-License-Identifier: GPL-2.0-only */
/* See listfile.h. Pure. */
#include "listfile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char blanks[] = " \t";
static const char account_word[] = "account=";
static const char until_word[] = "until=";

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes %XX. @word is shorter than a line. */
static int decode_account(const char *word, char ret_name[LISTFILE_LINE_MAX + 1], struct err *e)
{
    size_t used = 0;

    while (*word) {
        int high, low;

        if (*word == '#') {
            err_set(e, 0, EXIT_USAGE, "a # in an account's name");
            err_hint(e, "write a space in front of a remark's #, or %%23 for a # in a name");
            return -EINVAL;
        }
        if (*word != '%') {
            ret_name[used++] = *word++;
            continue;
        }
        high = hex_digit(word[1]);
        low = high < 0 ? -1 : hex_digit(word[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            err_set(e, 0, EXIT_USAGE,
                    "behind a %% in an account's name come two hexadecimal digits, not 00");
            err_hint(e, "write %%25 for a %% in an account's name");
            return -EINVAL;
        }
        ret_name[used++] = (char)(unsigned char)(high << 4 | low);
        word += 3;
    }
    ret_name[used] = '\0';
    return account_check(ret_name, e);
}

static int take_account(const char *value, struct listfile_entry *entry, struct err *e)
{
    char name[LISTFILE_LINE_MAX + 1];
    int r;

    if (*entry->account) {
        err_set(e, 0, EXIT_USAGE, "a second account= in one line");
        err_hint(e, "an entry belongs to one list: write a line for each account");
        return -EINVAL;
    }
    r = decode_account(value, name, e);
    if (r == 0)
        snprintf(entry->account, sizeof(entry->account), "%.*s", ACCOUNT_MAX, name);
    return r;
}

/* Local times are known, so that the hint can be what was meant. */
static int take_until(const char *value, struct listfile_entry *entry, struct err *e)
{
    char meant[WHEN_TEXT_MAX];
    int64_t local;
    int r;

    if (entry->has_until) {
        err_set(e, 0, EXIT_USAGE, "a second until= in one line");
        err_hint(e, "an entry ends once: leave one of them out");
        return -EINVAL;
    }
    r = when_parse_rfc3339(value, &entry->until, e);
    if (r == 0)
        entry->has_until = true;
    else if (when_parse_time(value, &local, NULL) == 0)
        err_hint(e, "a file says the zone too: until=%s if local time is meant",
                 when_print(local, meant));
    return r;
}

static int take_option(const char *word, struct listfile_entry *entry, struct err *e)
{
    char shown[80];

    if (!strncmp(word, account_word, sizeof(account_word) - 1))
        return take_account(word + sizeof(account_word) - 1, entry, e);
    if (!strncmp(word, until_word, sizeof(until_word) - 1))
        return take_until(word + sizeof(until_word) - 1, entry, e);
    err_set(e, 0, EXIT_USAGE, "\"%s\" is not known here", text_escape(word, shown, sizeof(shown)));
    err_hint(e, "a line is: WHO until=TIME account=NAME # remark; a remark begins with #");
    return -EINVAL;
}

/* Behind the #; one space belongs to it. */
static int take_remark(const char *text, struct listfile_entry *entry, struct err *e)
{
    int r;

    text += *text == ' ';
    r = remark_check(text, e);
    if (r < 0)
        return r;
    snprintf(entry->remark, sizeof(entry->remark), "%s", text);
    entry->has_remark = true;
    return 0;
}

int listfile_parse(char *line, struct listfile_entry *ret_entry, struct listfile_place *ret_place,
                   struct err *e)
{
    struct listfile_entry entry = {0};
    bool has_who = false;
    char *at = line;

    for (;;) {
        size_t len;
        int r;

        at += strspn(at, blanks);
        if (!*at)
            break;
        if (*at == '#' && !has_who)
            return 0;
        len = *at == '#' ? strlen(at) : strcspn(at, blanks);
        *ret_place = (struct listfile_place){.at = (size_t)(at - line), .len = len};
        if (*at == '#') {
            r = take_remark(at + 1, &entry, e);
            if (r < 0)
                return r;
            break;
        }
        if (at[len])
            at[len++] = '\0';
        r = has_who ? take_option(at, &entry, e) : who_parse(at, &entry.who, e);
        if (r < 0)
            return r;
        has_who = true;
        at += len;
    }
    if (!has_who)
        return 0;
    *ret_entry = entry;
    return 1;
}

static void print_account(const char *name, char buf[3 * ACCOUNT_MAX + 1])
{
    size_t used = 0;

    for (; *name; name++)
        if (*name == '%' || *name == '#' || strchr(blanks, *name))
            used += (size_t)snprintf(buf + used, 4, "%%%02X", (unsigned char)*name);
        else
            buf[used++] = *name;
    buf[used] = '\0';
}

const char *listfile_print(const struct listfile_entry *entry, char buf[LISTFILE_TEXT_MAX])
{
    char who[WHO_TEXT_MAX], until[WHEN_TEXT_MAX], account[3 * ACCOUNT_MAX + 1];

    print_account(entry->account, account);
    when_print(entry->until, until);
    snprintf(buf, LISTFILE_TEXT_MAX, "%s%s%s%s%s%s%s", who_print(&entry->who, who),
             *until ? "  until=" : "", until, *account ? "  account=" : "", account,
             *entry->remark ? "  # " : "", entry->remark);
    return buf;
}
