/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See answers.h.
 *
 * The file is mapped, so that one atomic addition counts. A mapping of a file that is too short, or
 * whose block cannot be had on a full disk, kills who touches it: so the room is taken and written
 * by system calls, which can fail, before it is mapped.
 */
#include "answers.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "util.h"

#define MAGIC   UINT64_C(0x6774706d74730a1a)
#define VERSION 1

struct answers {
    uint64_t magic, version;
    uint64_t counts[ANSWERS_MAX];
};

static const struct answers empty = {.magic = MAGIC, .version = VERSION};

/* O_NONBLOCK: it may be a pipe by now, whose other end nobody opens. */
static int open_file(const char *state, int flags)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/" ANSWERS_FILE, state) >= (int)sizeof(path))
        return -1;
    return open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static bool read_head(int fd, struct answers *ret_all)
{
    return pread(fd, ret_all, sizeof(*ret_all), 0) == (ssize_t)sizeof(*ret_all) &&
           ret_all->version == VERSION && ret_all->magic == MAGIC;
}

/* Several may do so at once: all write the same, and none over a counter. */
static bool fill(int fd)
{
    const ssize_t head = offsetof(struct answers, counts);

    return posix_fallocate(fd, 0, sizeof(empty)) == 0 && pwrite(fd, &empty, head, 0) == head;
}

/* Empty, or with room and no head yet: another process is about to write it. */
static bool is_new(int fd, off_t size)
{
    struct answers all = {0};

    if (size == (off_t)sizeof(all) && pread(fd, &all, sizeof(all), 0) != (ssize_t)sizeof(all))
        return false;
    return (!size || size == (off_t)sizeof(all)) && !all.magic && !all.version;
}

struct answers *answers_open(const char *state)
{
    _cleanup_close_ int fd = open_file(state, O_RDWR);
    struct answers all;
    struct stat st;
    void *map;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    if (is_new(fd, st.st_size) && !fill(fd))
        return NULL;
    if (fstat(fd, &st) < 0 || st.st_size != (off_t)sizeof(all) || !read_head(fd, &all))
        return NULL;
    map = mmap(NULL, sizeof(all), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return map == MAP_FAILED ? NULL : map;
}

void answers_count(struct answers *answers, unsigned int which)
{
    if (answers && which < ANSWERS_MAX)
        __atomic_fetch_add(&answers->counts[which], 1, __ATOMIC_RELAXED);
}

void answers_close(struct answers *answers)
{
    if (answers)
        munmap(answers, sizeof(*answers));
}

void answers_read(const char *state, uint64_t ret_counts[ANSWERS_MAX])
{
    _cleanup_close_ int fd = open_file(state, O_RDONLY);
    struct answers all;
    struct stat st;

    memset(ret_counts, 0, ANSWERS_MAX * sizeof(*ret_counts));
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t)sizeof(all) ||
        pread(fd, &all, sizeof(all), 0) != (ssize_t)sizeof(all) || all.magic != MAGIC ||
        all.version != VERSION)
        return;
    memcpy(ret_counts, all.counts, sizeof(all.counts));
}
