// SPDX-License-Identifier: GPL-2.0-only
/* Random lists and random sources. See addresses.h. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addresses.h"

#define ADDRESS_BITS 128

const char *const kind_names[KIND_COUNT] = {"random", "close", "neighbour", "listed", "active"};

/* splitmix64: its period and spread are more than enough, and it is the same everywhere. */
static uint64_t dice(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static void *need(void *memory)
{
    if (memory)
        return memory;
    fprintf(stderr, "bench: no memory\n");
    exit(2);
}

static address_t span(bool ip6, unsigned int length)
{
    return (address_t)1 << ((ip6 ? ADDRESS_BITS : 32) - length);
}

/* IPv4: 1/8 to 223/8 without 10/8 and 127/8. IPv6: all of 2000::/3. */
static address_t any_address(bool ip6, uint64_t *state)
{
    uint32_t ip4;

    if (ip6)
        return (address_t)(dice(state) >> 3 | 1ULL << 61) << 64 | dice(state);
    do
        ip4 = (uint32_t)dice(state);
    while (ip4 >> 24 == 0 || ip4 >> 24 >= 224 || ip4 >> 24 == 10 || ip4 >> 24 == 127);
    return ip4;
}

/* IPv4: 60 % /32, 5 % each /24 to /31. IPv6: 40 % /128, 30 % /64, 15 % each /56 and /48. */
static unsigned int any_length(bool ip6, uint64_t *state)
{
    unsigned int percent = (unsigned int)(dice(state) % 100);

    if (!ip6)
        return percent < 60 ? 32 : 24 + (percent - 60) / 5;
    if (percent < 70)
        return percent < 40 ? 128 : 64;
    return percent < 85 ? 56 : 48;
}

static int compare(const void *a, const void *b)
{
    const struct prefix *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorts, and leaves out what lies within another. */
static void tidy(struct list *list)
{
    size_t kept = 0;

    qsort(list->all, list->count, sizeof(*list->all), compare);
    for (size_t i = 0; i < list->count; i++)
        if (!kept || list->all[i].first > list->all[kept - 1].last)
            list->all[kept++] = list->all[i];
    list->count = kept;
}

void list_make(bool ip6, size_t count, struct list *ret_list)
{
    struct list list = {.ip6 = ip6, .all = need(calloc(count, sizeof(*list.all)))};
    uint64_t state = count * 2 + ip6;

    while (list.count < count) {
        while (list.count < count) {
            struct prefix *prefix = &list.all[list.count++];

            prefix->length = any_length(ip6, &state);
            prefix->first = any_address(ip6, &state) & ~(span(ip6, prefix->length) - 1);
            prefix->last = prefix->first + span(ip6, prefix->length) - 1;
        }
        tidy(&list);
    }
    *ret_list = list;
}

void address_bytes(bool ip6, address_t address, uint8_t bytes[16])
{
    unsigned int count = ip6 ? 16 : 4;

    memset(bytes, 0, 16);
    for (unsigned int i = 0; i < count; i++)
        bytes[i] = (uint8_t)(address >> 8 * (count - 1 - i));
}

void list_print(const struct list *list)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];

    for (size_t i = 0; i < list->count; i++) {
        unsigned int length = list->all[i].length;

        address_bytes(list->ip6, list->all[i].first, bytes);
        if (!inet_ntop(list->ip6 ? AF_INET6 : AF_INET, bytes, text, sizeof(text)))
            abort();
        if (length == (list->ip6 ? 128 : 32))
            printf("%s\n", text);
        else
            printf("%s/%u\n", text, length);
    }
}

static bool listed(const struct list *list, address_t address)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list->all[middle].last < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->count && list->all[low].first <= address;
}

static address_t within(const struct prefix *prefix, uint64_t *state)
{
    address_t random = (address_t)dice(state) << 64 | dice(state);

    return prefix->first + random % (prefix->last - prefix->first + 1);
}

static address_t unlisted(const struct list *list, enum kind kind, uint64_t *state)
{
    const struct prefix *prefix = &list->all[dice(state) % list->count];
    address_t around = span(list->ip6, list->ip6 ? 32 : 24) - 1;
    address_t random = (address_t)dice(state) << 64 | dice(state);

    if (kind == KIND_CLOSE)
        return (prefix->first & ~around) | (random & around);
    if (kind == KIND_NEIGHBOUR)
        return random & 1 ? prefix->last + 1 : prefix->first - 1;
    return any_address(list->ip6, state);
}

static address_t any_source(const struct list *list, enum kind kind, uint64_t *state)
{
    address_t source;

    if (kind == KIND_LISTED)
        return within(&list->all[dice(state) % list->count], state);
    do
        source = unlisted(list, kind, state);
    while (listed(list, source));
    return source;
}

void sources_make(const struct list *list, enum kind kind, uint8_t (*sources)[16])
{
    uint64_t state = 1000 + (uint64_t)kind;
    size_t fresh = kind == KIND_ACTIVE ? ACTIVE : SOURCES_MAX;

    for (size_t i = 0; i < fresh; i++)
        address_bytes(list->ip6, any_source(list, kind == KIND_ACTIVE ? KIND_LISTED : kind, &state),
                      sources[i]);
    for (size_t i = fresh; i < SOURCES_MAX; i++)
        memcpy(sources[i], sources[dice(&state) % fresh], 16);
}
