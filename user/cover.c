/* SPDX-License-Identifier: GPL-2.0-only */
/* See cover.h. */
#include "cover.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

/* VLANs on a bond in a bridge are three; what is deeper counts as not covered. */
#define DEPTH_MAX 8

static bool is_attached(const struct cover_input *input, uint32_t ifindex)
{
    size_t i;

    for (i = 0; i < input->n_attached; i++)
        if (input->attached[i] == ifindex)
            return true;
    return false;
}

static void add_missing(struct cover_row *row, const char *name)
{
    unsigned int i;

    for (i = 0; i < row->n_missing; i++)
        if (!strcmp(row->missing[i], name))
            return;
    if (row->n_missing < COVER_MISSING_MAX)
        memcpy(row->missing[row->n_missing++], name, IF_NAMESIZE);
}

/*
 * Adds to @row where the gate is missing at or below an interface. A bridge of which nothing is
 * known, or that is too deep, is missing itself: the closed side. The depth is what bounds it.
 */
static void find_missing(const struct cover_input *input, const char *name, uint32_t ifindex,
                         int depth, struct cover_row *row) /* NOLINT(misc-no-recursion) */
{
    uint32_t lower[IFACE_LOWER_MAX];
    char below[IF_NAMESIZE];
    size_t i, count = 0;

    if (is_attached(input, ifindex) || row->n_missing == COVER_MISSING_MAX)
        return;
    if (depth == DEPTH_MAX || iface_find_kind(name) != IFACE_UPPER ||
        iface_read_lower(name, lower, &count) < 0 || !count) {
        add_missing(row, name);
        return;
    }
    for (i = 0; i < count; i++) {
        memset(below, 0, sizeof(below));
        if (if_indextoname(lower[i], below))
            find_missing(input, below, lower[i], depth + 1, row);
        else /* in another network namespace: what arrives there is not known here */
            add_missing(row, name);
    }
}

/*
 * Linux takes a packet to any of its addresses on any interface (RFC 1122 calls it a weak host), so
 * a listener on the address of one card is reached through the others too.
 */
static bool leads_to(const struct cover_input *input, const char *name,
                     const struct iface_listener *listener)
{
    bool only_ip4 = listener->address.family == ADDR_IP4;
    size_t i;

    for (i = 0; i < input->n_addresses; i++)
        if (!strcmp(input->addresses[i].name, name) &&
            (!only_ip4 || input->addresses[i].address.family == ADDR_IP4))
            return true;
    return false;
}

static void add_port(struct cover_row *row, uint16_t port)
{
    if (row->n_ports && row->ports[row->n_ports - 1] == port)
        return;
    if (row->n_ports < SG_PORTS_MAX)
        row->ports[row->n_ports++] = port;
}

static bool has_row(const struct cover_row *rows, size_t count, const char *name)
{
    size_t i;

    for (i = 0; i < count; i++)
        if (!strcmp(rows[i].name, name))
            return true;
    return false;
}

int cover_find(const struct cover_input *input, struct cover_row **ret_rows, size_t *ret_count,
               struct err *e)
{
    struct cover_row *rows = calloc(input->n_addresses + 1, sizeof(*rows));
    size_t i, k, count = 0;

    if (!rows)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    for (i = 0; i < input->n_addresses; i++) {
        const struct iface_address *own = &input->addresses[i];
        struct cover_row *row = &rows[count];

        if (has_row(rows, count, own->name) || iface_find_kind(own->name) == IFACE_INERT)
            continue;
        *row = (struct cover_row){0};
        memcpy(row->name, own->name, sizeof(row->name));
        for (k = 0; k < input->n_listeners; k++)
            if (!iface_is_loopback(&input->listeners[k].address) &&
                leads_to(input, row->name, &input->listeners[k]))
                add_port(row, input->listeners[k].port);
        if (!row->n_ports)
            continue;
        find_missing(input, row->name, own->ifindex, 0, row);
        count++;
    }
    *ret_rows = rows;
    *ret_count = count;
    return 0;
}
