// LINK: listfile account addr who_why when text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of a list file's lines: a line, or, when the first byte is '=', an entry's account and
 * remark, a line each. What is read can be printed and is read back the same, and so is an entry
 * whose parts are good; every problem has a place in its line.
 */
#include <stdio.h>

#include "fuzz.h"
#include "listfile.h"

static void check_same(const struct listfile_entry *a, const struct listfile_entry *b)
{
    MUST(!memcmp(&a->who, &b->who, sizeof(a->who)));
    MUST(!strcmp(a->account, b->account) && !strcmp(a->remark, b->remark));
    MUST(a->until == b->until);
}

static void print_and_read(const struct listfile_entry *entry)
{
    char text[LISTFILE_TEXT_MAX], again[LISTFILE_TEXT_MAX];
    struct listfile_entry back = {0};
    struct listfile_place place;

    MUST(strlen(listfile_print(entry, text)) < sizeof(text));
    MUST(strlen(text) <= LISTFILE_LINE_MAX && !strchr(text, '\n'));
    MUST(listfile_parse(text, &back, &place, NULL) == 1);
    check_same(entry, &back);
    MUST(back.has_until == (entry->until != 0) && back.has_remark == (*entry->remark != '\0'));
    listfile_print(entry, text);
    MUST(!strcmp(listfile_print(&back, again), text));
}

static void try_line(const uint8_t *data, size_t size)
{
    char *line = fuzz_text(data, size < LISTFILE_LINE_MAX ? size : LISTFILE_LINE_MAX);
    struct listfile_place place = {SIZE_MAX, SIZE_MAX};
    size_t len = strlen(line);
    struct listfile_entry entry;
    struct err e = {0};
    int r = listfile_parse(line, &entry, &place, &e);

    MUST(r == 1 || r == 0 || r < 0);
    if (r < 0) {
        fuzz_must_explain(&e);
        MUST(place.at < len && place.len >= 1 && place.len <= len - place.at);
    } else if (r == 1) {
        MUST(!*entry.account || account_check(entry.account, NULL) == 0);
        MUST(remark_check(entry.remark, NULL) == 0);
        MUST(entry.has_until ? entry.until >= 1 && entry.until <= WHEN_MAX : !entry.until);
        MUST(entry.has_remark || !*entry.remark);
        print_and_read(&entry);
    }
    free(line);
}

/* Two lines: an account's name and a remark; the number of bytes is the time. */
static void try_entry(const uint8_t *data, size_t size)
{
    struct listfile_entry entry = {.until = (int64_t)size * 86399};
    char *account = fuzz_take_line(&data, &size), *remark = fuzz_take_line(&data, &size);

    MUST(who_parse("2001:db8::1-2001:db8::ffff", &entry.who, NULL) == 0);
    if ((!*account || account_check(account, NULL) == 0) && remark_check(remark, NULL) == 0) {
        snprintf(entry.account, sizeof(entry.account), "%s", account);
        snprintf(entry.remark, sizeof(entry.remark), "%s", remark);
        MUST(!strcmp(entry.account, account) && !strcmp(entry.remark, remark));
        print_and_read(&entry);
    }
    free(account);
    free(remark);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && *data == '=')
        try_entry(data + 1, size - 1);
    else
        try_line(data, size);
    return 0;
}
