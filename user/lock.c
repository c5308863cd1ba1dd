/* SPDX-License-Identifier: GPL-2.0-only */
/* See lock.h. The kernel drops the lock with its holder, however that one ends. */
#include "lock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "trust.h"
#include "util.h"

#define LOCK_WAIT_MS 5000
#define LOCK_POLL_MS 20

static int fail(const char *what, const char *path, struct err *e)
{
    int r = -errno;

    if (r == -EACCES || r == -EPERM) {
        err_set(e, r, EXIT_DENIED, "not permitted to %s %s", what, path);
        err_hint(e, "run it as root (sudo)");
        return r;
    }
    err_set(e, r, EXIT_REFUSED, "cannot %s %s: %s; nothing changed", what, path, strerror(-r));
    if (r == -EROFS)
        err_hint(e, "remount the file system read-write");
    if (r == -ENOENT && strrchr(path, '/') && strrchr(path, '/') != path)
        err_hint(e, "mkdir -p %.*s", (int)(strrchr(path, '/') - path), path);
    return r;
}

static int flock_poll(int fd, int how, unsigned int ms)
{
    const struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000000L};
    unsigned int waited;

    for (waited = 0;; waited += LOCK_POLL_MS) {
        if (flock(fd, how | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (waited >= ms)
            return -EBUSY;
        nanosleep(&pause, NULL);
    }
}

/* The holder wrote its process id; only for the message, it may be stale. */
static int fail_busy(int fd, struct err *e)
{
    char pid[16] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    if (kill((pid_t)strtol(pid, NULL, 10), 0) < 0 && errno == ESRCH)
        pid[0] = '\0'; /* not written by the holder */
    err_set(e, 0, EXIT_BUSY, "another smtpgate command%s%s%s is changing the list; nothing changed",
            *pid ? " (process " : "", pid, *pid ? ")" : "");
    err_hint(e, "try again when it has ended");
    return -EBUSY;
}

int lock_take(const char *dir, int *ret_fd, struct err *e)
{
    _cleanup_close_ int fd = -1;
    char path[4096];
    int r;

    if (snprintf(path, sizeof(path), "%s/lock", dir) >= (int)sizeof(path))
        return err_set(e, -ENAMETOOLONG, EXIT_USAGE, "the state directory's name is too long");
    if (mkdir(dir, 0750) < 0 && errno != EEXIST)
        return fail("make the state directory", dir, e);
    r = trust_dir(dir, e); /* a lock planted there may be another file's second name */
    if (r < 0)
        return r;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        (void)!fchmod(fd, 0600);  /* of an older version: who can open it can hold it */
    if (fd < 0 && errno == EROFS) /* the list can still be put in force: sync */
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail("open the lock", path, e);
    r = flock_poll(fd, LOCK_EX, LOCK_WAIT_MS);
    if (r == -EBUSY)
        return fail_busy(fd, e);
    if (r < 0) {
        errno = -r;
        return fail("lock", path, e);
    }
    /* Best effort: on a full or read-only disk the lock holds all the same. */
    if (ftruncate(fd, 0) == 0)
        (void)!dprintf(fd, "%d\n", (int)getpid());
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int lock_wait(const char *dir, unsigned int ms)
{
    _cleanup_close_ int fd = -1;
    char path[4096];

    snprintf(path, sizeof(path), "%s/lock", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : flock_poll(fd, LOCK_SH, ms);
}
