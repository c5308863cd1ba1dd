/* SPDX-License-Identifier: GPL-2.0-only */
/* See majority.h. */
#include "majority.h"

void majority_add(struct majority *majority, const struct addr *addr, uint64_t votes)
{
    majority->total += votes;
    if (majority->lead && !addr_cmp(&majority->candidate, addr)) {
        majority->lead += votes;
    } else if (majority->lead >= votes) {
        majority->lead -= votes;
    } else {
        majority->candidate = *addr;
        majority->lead = votes - majority->lead;
    }
}
