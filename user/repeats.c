/* SPDX-License-Identifier: GPL-2.0-only */
/* See repeats.h. Pure. */
#include "repeats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What lines of a file said of one entry so far, and which did first; line 0: none. */
struct repeats_said {
    uint64_t remark;
    int64_t until;
    unsigned long remark_line, until_line;
};

void repeats_free(struct repeats *repeats)
{
    free(repeats->keys);
    free(repeats->said);
}

/* FNV-1a, without regard to the case of ASCII letters if @fold. */
static uint64_t mix(uint64_t sum, const void *bytes, size_t len, bool fold)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = byte[i];

        if (fold && c >= 'A' && c <= 'Z')
            c = (unsigned char)(c - 'A' + 'a');
        sum = (sum ^ c) * 0x100000001b3U;
    }
    return sum;
}

#define MIX_BEGIN 0xcbf29ce484222325U

/* The same for what the store takes as the same: kind, bounds, and the account as account.h says.
 */
static uint64_t key_of(const struct listfile_entry *entry)
{
    const struct who *who = &entry->who;
    const unsigned char shape[] = {(unsigned char)who->kind, (unsigned char)who->first.family};
    size_t len = addr_len(who->first.family);
    uint64_t sum = mix(MIX_BEGIN, shape, sizeof(shape), false);

    sum = mix(sum, who->first.bytes, len, false);
    sum = mix(sum, who->last.bytes, len, false);
    return mix(sum, entry->account, strlen(entry->account), true);
}

int repeats_note(struct repeats *repeats, const struct listfile_entry *entry)
{
    size_t room = repeats->room ? repeats->room * 2 : 1024;
    uint64_t *more;

    if (repeats->count == repeats->room) {
        more = reallocarray(repeats->keys, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        repeats->keys = more;
        repeats->room = room;
    }
    repeats->keys[repeats->count++] = key_of(entry);
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, two = *(const uint64_t *)b;

    return (one > two) - (one < two);
}

int repeats_settle(struct repeats *repeats, bool *ret_any)
{
    uint64_t *keys = repeats->keys;
    size_t i, n = 0;

    if (repeats->count)
        qsort(keys, repeats->count, sizeof(*keys), compare_keys);
    for (i = 1; i < repeats->count; i++)
        if (keys[i] == keys[i - 1] && (!n || keys[n - 1] != keys[i]))
            keys[n++] = keys[i];
    repeats->count = n;
    if (n) {
        repeats->said = calloc(n, sizeof(*repeats->said));
        if (!repeats->said)
            return -ENOMEM;
    }
    *ret_any = n > 0;
    return 0;
}

static bool refuse(unsigned long line, const char *what, struct err *e)
{
    err_set(e, 0, EXIT_USAGE, "the same entry stands in line %lu with another %s", line, what);
    err_hint(e, "an entry has one %s: leave out one of the two, or make them alike", what);
    return false;
}

bool repeats_agree(struct repeats *repeats, const struct listfile_entry *entry, unsigned long line,
                   struct err *e)
{
    uint64_t key = key_of(entry), remark;
    const uint64_t *found =
        repeats->count ? bsearch(&key, repeats->keys, repeats->count, sizeof(key), compare_keys)
                       : NULL;
    struct repeats_said *said;

    if (!found)
        return true;
    said = &repeats->said[found - repeats->keys];
    remark = mix(MIX_BEGIN, entry->remark, strlen(entry->remark), false);
    if (entry->has_remark && said->remark_line && said->remark != remark)
        return refuse(said->remark_line, "remark", e);
    if (entry->has_until && said->until_line && said->until != entry->until)
        return refuse(said->until_line, "end", e);
    if (entry->has_remark && !said->remark_line) {
        said->remark = remark;
        said->remark_line = line;
    }
    if (entry->has_until && !said->until_line) {
        said->until = entry->until;
        said->until_line = line;
    }
    return true;
}
