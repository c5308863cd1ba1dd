/* SPDX-License-Identifier: GPL-2.0-only */
/* Fills the plain program's tries. */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include <linux/types.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "addresses.h"
#include "plain.skel.h"

/* Returns -errno as the kernel tells it. */
static inline int plain_fill(const struct plain_bpf *plain, const struct list *list)
{
    int fd = bpf_map__fd(list->ip6 ? plain->maps.plain6 : plain->maps.plain4);
    const __u8 value = 1;
    struct {
        __u32 length;
        __u8 address[16];
    } key;

    for (size_t i = 0; i < list->count; i++) {
        key.length = list->all[i].length;
        address_bytes(list->ip6, list->all[i].first, key.address);
        if (bpf_map_update_elem(fd, &key, &value, BPF_ANY))
            return -1;
    }
    return 0;
}

#endif
