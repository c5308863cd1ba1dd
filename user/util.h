/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ownership in the open: _cleanup_ attributes free what a function owns on every way out, TAKE
 * hands it on. Knows nothing of the product.
 */
#ifndef SMTPGATE_UTIL_H
#define SMTPGATE_UTIL_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define _cleanup_free_  __attribute__((cleanup(cleanup_free)))
#define _cleanup_close_ __attribute__((cleanup(cleanup_close)))

/* Declares _cleanup_(f) for a pointer type with a NULL-safe destructor @func. */
#define DEFINE_CLEANUP(type, func)             \
    static inline void cleanup_##func(type *p) \
    {                                          \
        func(*p);                              \
    }
#define _cleanup_(func) __attribute__((cleanup(cleanup_##func)))

#define TAKE_PTR(p)                \
    ({                             \
        __typeof__(p) _take = (p); \
        (p) = NULL;                \
        _take;                     \
    })

#define TAKE_FD(fd)       \
    ({                    \
        int _take = (fd); \
        (fd) = -1;        \
        _take;            \
    })

#endif
