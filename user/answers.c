/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See answers.h.
 *
 * The file is mapped, so that one atomic addition counts. To touch what is mapped beyond the end of
 * a file kills, and so does a block that a full disk cannot give: so the room is taken and written
 * by system calls, which can fail, and the file's size is looked at before each addition: somebody
 * may have emptied it to begin anew.
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

/* The file. */
struct counts {
    uint64_t magic, version;
    uint64_t counts[ANSWERS_MAX];
};

struct answers {
    char path[PATH_MAX];
    int fd;
    struct counts *map; /* NULL: nowhere to count */
};

static const struct counts empty = {.magic = MAGIC, .version = VERSION};

/* O_NONBLOCK: it may be a pipe by now, whose other end nobody opens. */
static int open_file(const char *path, int flags)
{
    return open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static bool has_size(int fd, off_t size)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size && st.st_nlink;
}

static bool read_counts(int fd, struct counts *ret_counts)
{
    return has_size(fd, sizeof(*ret_counts)) &&
           pread(fd, ret_counts, sizeof(*ret_counts), 0) == (ssize_t)sizeof(*ret_counts);
}

static bool is_ours(const struct counts *counts)
{
    return counts->version == VERSION && counts->magic == MAGIC;
}

/* Several may do so at once: all write the same, and none over a counter. */
static bool fill(int fd)
{
    const ssize_t head = offsetof(struct counts, counts);

    return posix_fallocate(fd, 0, sizeof(empty)) == 0 && pwrite(fd, &empty, head, 0) == head;
}

/* Empty, or with room and no head yet: another process is about to write it. */
static bool is_new(int fd)
{
    struct counts counts;

    return has_size(fd, 0) || (read_counts(fd, &counts) && !counts.magic && !counts.version);
}

static void map_file(struct answers *answers)
{
    _cleanup_close_ int fd = open_file(answers->path, O_RDWR);
    struct counts counts;
    void *map;

    if (fd < 0 || (is_new(fd) && !fill(fd)) || !read_counts(fd, &counts) || !is_ours(&counts))
        return;
    map = mmap(NULL, sizeof(counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return;
    answers->map = map;
    answers->fd = TAKE_FD(fd);
}

static void unmap_file(struct answers *answers)
{
    if (!answers->map)
        return;
    munmap(answers->map, sizeof(*answers->map));
    answers->map = NULL;
    close(answers->fd);
}

static bool make_path(const char *state, char path[PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s/" ANSWERS_FILE, state) < PATH_MAX;
}

struct answers *answers_open(const char *state)
{
    struct answers *answers = calloc(1, sizeof(*answers));

    if (answers && !make_path(state, answers->path))
        answers->path[0] = '\0'; /* which is no file */
    return answers;
}

void answers_count(struct answers *answers, unsigned int which)
{
    if (!answers || which >= ANSWERS_MAX)
        return;
    if (answers->map && !has_size(answers->fd, sizeof(*answers->map)))
        unmap_file(answers);
    if (!answers->map)
        map_file(answers);
    if (answers->map)
        __atomic_fetch_add(&answers->map->counts[which], 1, __ATOMIC_RELAXED);
}

void answers_close(struct answers *answers)
{
    if (!answers)
        return;
    unmap_file(answers);
    free(answers);
}

void answers_read(const char *state, uint64_t ret_counts[ANSWERS_MAX])
{
    char path[PATH_MAX];
    _cleanup_close_ int fd = make_path(state, path) ? open_file(path, O_RDONLY) : -1;
    struct counts counts;

    memset(ret_counts, 0, ANSWERS_MAX * sizeof(*ret_counts));
    if (fd >= 0 && read_counts(fd, &counts) && is_ours(&counts))
        memcpy(ret_counts, counts.counts, sizeof(counts.counts));
}
