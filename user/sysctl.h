/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The running kernel's settings below /proc/sys, and its version. Reads only; knows nothing of what
 * a value is good for.
 */
#ifndef SMTPGATE_SYSCTL_H
#define SMTPGATE_SYSCTL_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

/* @name as "net/core/somaxconn". -ENOENT: there is none; or another -errno. */
int sysctl_read(const char *name, long *ret_value);

struct sysctl_iface {
    char name[IF_NAMESIZE];
    long value;
};

/*
 * The setting of each interface that has it: net/@family/conf/IFACE/@key, "all", "default" and lo
 * left out. At most @max of them; returns how many.
 */
size_t sysctl_read_ifaces(const char *family, const char *key, struct sysctl_iface *ret_ifaces,
                          size_t max);

/* "6.1.0-23-amd64", and the two numbers that it begins with; both 0: it does not. */
#define SYSCTL_RELEASE_MAX 65
void sysctl_read_release(char ret_release[SYSCTL_RELEASE_MAX], unsigned int *ret_major,
                         unsigned int *ret_minor);

#endif
