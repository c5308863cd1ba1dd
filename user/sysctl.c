/* SPDX-License-Identifier: GPL-2.0-only */
/* See sysctl.h. */
#include "sysctl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "util.h"

int sysctl_read(const char *name, long *ret_value)
{
    _cleanup_close_ int fd = -1;
    char path[160], text[32], *end;
    ssize_t n;
    long value;

    snprintf(path, sizeof(path), "/proc/sys/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    value = strtol(text, &end, 10);
    if (end == text)
        return -EINVAL;
    *ret_value = value;
    return 0;
}

static bool is_iface(const char *name)
{
    return name[0] != '.' && strcmp(name, "all") != 0 && strcmp(name, "default") != 0 &&
           strcmp(name, "lo") != 0 && strlen(name) < IF_NAMESIZE;
}

size_t sysctl_read_ifaces(const char *family, const char *key, struct sysctl_iface *ret_ifaces,
                          size_t max)
{
    char path[160];
    const struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/sys/net/%s/conf", family);
    dir = opendir(path);
    while (dir && count < max && (entry = readdir(dir))) {
        struct sysctl_iface *iface = &ret_ifaces[count];

        if (!is_iface(entry->d_name))
            continue;
        snprintf(path, sizeof(path), "net/%s/conf/%.15s/%s", family, entry->d_name, key);
        snprintf(iface->name, sizeof(iface->name), "%.15s", entry->d_name);
        count += sysctl_read(path, &iface->value) == 0;
    }
    if (dir)
        closedir(dir);
    return count;
}

void sysctl_read_release(char ret_release[SYSCTL_RELEASE_MAX], unsigned int *ret_major,
                         unsigned int *ret_minor)
{
    struct utsname host = {0};

    *ret_major = *ret_minor = 0;
    (void)uname(&host);
    snprintf(ret_release, SYSCTL_RELEASE_MAX, "%.64s", host.release);
    if (sscanf(ret_release, "%u.%u", ret_major, ret_minor) != 2)
        *ret_major = *ret_minor = 0;
}
