/* SPDX-License-Identifier: GPL-2.0-only */
/* See use.h. */
#include "use.h"

#include <time.h>

#include "prefix.h"
#include "sync.h"

int use_read(struct gate *gate, const struct store_entry *entry, struct gate_use *ret_use,
             struct err *e)
{
    struct prefix prefixes[PREFIX_MAX];
    unsigned int i, n = gate ? prefix_from_who(&entry->who, prefixes) : 0;
    struct gate_use sum = {0}, one;

    for (i = 0; i < n; i++) {
        int r = gate_lookup(gate, &prefixes[i], &one, e);

        if (r == -ENOENT)
            continue;
        if (r < 0)
            return r;
        if ((int64_t)one.last_seen < entry->created)
            continue;
        sum.connections += one.connections;
        if (one.last_seen > sum.last_seen)
            sum.last_seen = one.last_seen;
    }
    *ret_use = sum;
    return 0;
}

int64_t use_last(const struct store_entry *entry, const struct gate_use *use)
{
    return use->last_seen ? (int64_t)use->last_seen : entry->created;
}

int use_known_since(struct store *store, struct gate *gate, int64_t now, int64_t *ret_since,
                    struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    struct timespec up;
    int r;

    if (!gate) {
        *ret_since = now + 1;
        return 0;
    }
    r = sync_read_ifaces(store, gate, &ifaces, e);
    if (r < 0)
        return r;
    clock_gettime(CLOCK_BOOTTIME, &up);
    *ret_since = sync_has_live_link(&ifaces) ? now - (int64_t)up.tv_sec : now + 1;
    return 0;
}
