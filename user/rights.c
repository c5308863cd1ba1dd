/* SPDX-License-Identifier: GPL-2.0-only */
/* See rights.h. */
#include "rights.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

/* "nobody", on every Linux. */
#define NOBODY 65534

/*
 * Left out are TMPDIR, HOME, TERMINFO, OPENSSL_CONF and whatever else some library opens a file by,
 * known or to come. TZ is a name of a zone: with a slash in front it would be a file's.
 */
static bool may_stay(const char *variable)
{
    static const char *const names[] = {
        "SMTPGATE_STATE=",
        "SMTPGATE_BPFFS=",
        "SUDO_",
        "SSH_CONNECTION=",
        "LISTEN_",
        "NOTIFY_SOCKET=",
        "JOURNAL_STREAM=",
        "TERM=",
        "NO_COLOR=",
        "LANG=",
        "LC_",
        "COLUMNS=",
        "LINES=",
        "TZ=",
    };
    size_t i;

    if (!strncmp(variable, "TZ=/", 4) || !strncmp(variable, "TZ=:", 4))
        return false;
    for (i = 0; i < ARRAY_SIZE(names); i++)
        if (!strncmp(variable, names[i], strlen(names[i])))
            return true;
    return false;
}

void rights_clean_environment(void)
{
    char **from = environ, **to = environ;

    if (!environ || geteuid() != 0)
        return;
    for (; *from; from++)
        if (may_stay(*from))
            *to++ = *from;
    *to = NULL;
}

static bool become(uid_t uid, gid_t gid)
{
    return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 &&
           setresuid(uid, uid, uid) == 0;
}

/*
 * Who has a terminal could make it type, and root's shell reads what was typed. Not the leader of a
 * session: that would hang up on the others.
 */
static void leave_terminal(void)
{
    _cleanup_close_ int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);

    if (fd >= 0 && getsid(0) != getpid())
        (void)!ioctl(fd, TIOCNOTTY);
}

bool rights_drop(void)
{
    leave_terminal();
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return geteuid() != 0 || become(NOBODY, NOBODY);
}

/* Another user's process may have been started with some. */
static bool drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
           syscall(SYS_capset, &head, none) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool rights_drop_all(const char *user)
{
    const struct passwd *row = geteuid() == 0 ? getpwnam(user) : NULL;

    if (geteuid() == 0 && !become(row ? row->pw_uid : NOBODY, row ? row->pw_gid : NOBODY))
        return false;
    return geteuid() != 0 && drop_capabilities();
}
