/* SPDX-License-Identifier: GPL-2.0-only */
/* See trust.h. */
#include "trust.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

static bool is_ours(const struct stat *st)
{
    return st->st_uid == 0 || st->st_uid == geteuid();
}

static bool others_write(const struct stat *st)
{
    return st->st_mode & (S_IWGRP | S_IWOTH);
}

static int fail_owner(const char *path, const struct stat *st, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "%s belongs to user %u, who could change what this command does; nothing changed", path,
            (unsigned int)st->st_uid);
    err_hint(e,
             "if that user keeps this list, run it as him: sudo -u '#%u' smtpgate ...; else:"
             " chown root %s",
             (unsigned int)st->st_uid, path);
    return -EPERM;
}

static int fail_mode(const char *path, struct err *e)
{
    err_set(e, 0, EXIT_REFUSED,
            "%s can be written to by others, who could change what this command does; nothing"
            " changed",
            path);
    err_hint(e, "look at what is in it, then: chmod go-w %s", path);
    return -EPERM;
}

/* In a directory like /tmp only the owner of what is in it can replace that. */
static int check_dir(const char *path, bool above, struct err *e)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return 0;
    if (!is_ours(&st))
        return fail_owner(path, &st, e);
    /* A link of root's: where it leads is looked at by itself. */
    if (S_ISDIR(st.st_mode) && others_write(&st) && !(above && (st.st_mode & S_ISVTX)))
        return fail_mode(path, e);
    return 0;
}

/* @path and all above it, as far as the words of @path go. */
static int check_words(const char *path, struct err *e)
{
    char part[PATH_MAX];
    char *slash;
    int r = check_dir(path, false, e);

    if (r < 0 || snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return r;
    while (r == 0 && (slash = strrchr(part, '/'))) {
        slash[slash == part] = '\0'; /* "/" stays */
        r = check_dir(part, true, e);
        if (!strcmp(part, "/"))
            break;
    }
    return r;
}

int trust_dir(const char *dir, struct err *e)
{
    char real[PATH_MAX];
    int r = check_words(dir, e);

    if (r < 0 || !realpath(dir, real) || !strcmp(dir, real))
        return r;
    return check_words(real, e);
}

int trust_file(const char *path, struct err *e)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISREG(st.st_mode)) {
        err_set(e, 0, EXIT_REFUSED, "%s is %s, not a regular file; nothing changed", path,
                S_ISLNK(st.st_mode)   ? "a symbolic link"
                : S_ISDIR(st.st_mode) ? "a directory"
                                      : "a device, a pipe or a socket");
        err_hint(e, "ls -l %s", path);
        return -EPERM;
    }
    if (!is_ours(&st))
        return fail_owner(path, &st, e);
    return others_write(&st) ? fail_mode(path, e) : 0;
}
