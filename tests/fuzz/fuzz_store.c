// LINK: store account addr delta prefix mode trust who_why text err
// LIBS: -lsqlite3
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of the store's file: whatever it holds, each way to open it and each call ends in an
 * error of the usual form or in something that makes sense, and leaves neither memory nor an open
 * file behind. Inputs are made by changing a database's pages, so that they stay databases.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "store.h"

#define NOW INT64_C(1796148000)

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

/* ---- a place in memory for the file ---- */

static char place[64];

static const char *file_in_place(const char *end, char buf[128])
{
    snprintf(buf, 128, "%s/smtpgate.db%s", place, end);
    return buf;
}

static void clear_place(void)
{
    static const char *const ends[] = {"", "-journal", "-wal", "-shm"};
    char path[128];

    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        unlink(file_in_place(ends[i], path));
}

static void remove_place(void)
{
    clear_place();
    rmdir(place);
}

__attribute__((constructor)) static void make_place(void)
{
    snprintf(place, sizeof(place), "/dev/shm/smtpgate-fuzz.XXXXXX");
    if (!mkdtemp(place)) {
        snprintf(place, sizeof(place), "/tmp/smtpgate-fuzz.XXXXXX");
        MUST(mkdtemp(place));
    }
    atexit(remove_place);
}

static void write_file(const uint8_t *data, size_t size)
{
    char path[128];
    int fd;

    clear_place();
    fd = open(file_in_place("", path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

/* ---- what holds for every call ---- */

/* @e is empty behind it. */
static void must_tell(int r, struct err *e)
{
    if (r >= 0 || (r == -ENOENT && !*e->message))
        return;
    MUST(e->code == EXIT_REFUSED || e->code == EXIT_BUSY || e->code == EXIT_DENIED);
    MUST(*e->message && strlen(e->message) < sizeof(e->message));
    fuzz_must_be_plain(e->message);
    fuzz_must_be_plain(e->hint);
    *e = (struct err){0};
}

struct walk {
    uint64_t entries, prefixes, temporary, host;
    struct store_entry last;
    struct prefix last_prefix;
};

static void check_entry(const struct store_entry *entry)
{
    char text[WHO_TEXT_MAX];
    struct who back;

    MUST(who_parse(who_print(&entry->who, text), &back, NULL) == 0);
    MUST(who_same_set(&back, &entry->who) && back.kind == entry->who.kind);
    MUST(strlen(entry->remark) <= REMARK_MAX && strlen(entry->account) <= ACCOUNT_MAX);
    MUST(entry->created >= 0 && entry->expires >= 0);
    fuzz_must_be_plain(entry->remark);
    fuzz_must_be_plain(entry->account);
}

static int take_entry(const struct store_entry *entry, void *arg)
{
    struct walk *walk = arg;

    check_entry(entry);
    walk->entries++;
    walk->temporary += entry->expires != 0;
    walk->host += !*entry->account;
    walk->last = *entry;
    return 0;
}

static int take_prefix(const struct prefix *prefix, int64_t until, void *arg)
{
    struct walk *walk = arg;

    (void)until;
    MUST(prefix->len <= 8 * addr_len(prefix->addr.family));
    walk->prefixes++;
    walk->last_prefix = *prefix;
    return 0;
}

static int take_iface(const struct store_iface *iface, void *arg)
{
    (void)arg;
    MUST(strnlen(iface->name, sizeof(iface->name)) < sizeof(iface->name));
    MUST(iface->mode <= STORE_IFACE_GENERIC);
    return 0;
}

static int take_change(const struct store_change *change, void *arg)
{
    (void)arg;
    fuzz_must_be_plain(change->who);
    fuzz_must_be_plain(change->origin);
    fuzz_must_be_plain(change->command);
    MUST(change->at >= 0 && change->kind <= STORE_CHANGE_OTHER);
    return 0;
}

static void check_settings(const struct store_settings *settings)
{
    MUST(settings->id && settings->revision && settings->n_ports <= SG_PORT_SLOTS);
    MUST(settings->others <= STORE_OTHERS_NOWHERE && strlen(settings->realm) <= ACCOUNT_MAX);
    for (unsigned int i = 0; i < settings->n_ports; i++)
        MUST(settings->ports[i].port && settings->ports[i].slot < SG_PORT_SLOTS);
}

static void ask_about(struct store *store, const char *text, const char *name)
{
    struct store_entry entry;
    struct account account;
    struct who who;
    struct err e = {0};
    bool any;

    MUST(who_parse(text, &who, NULL) == 0 && account_resolve(name, "mail.example", &account));
    must_tell(store_has_entries(store, &account, &any, &e), &e);
    must_tell(store_find_who(store, &who, &account, &entry, &e), &e);
    must_tell(store_find_covering(store, &account, &who.first, &who.last, NOW, &entry, &e), &e);
    must_tell(store_find_covering(store, NULL, &who.first, &who.last, NOW, &entry, &e), &e);
    must_tell(store_covers(store, &account, &who.first, NOW, &any, &e), &e);
}

/* All that commands read. In a file that was found whole, what is counted is what is there. */
static void read_all(struct store *store, bool whole)
{
    struct store_settings settings;
    struct store_counts counts;
    struct store_rules rules;
    struct store_entry entry;
    struct walk walk = {0}, again = {0};
    char name[ACCOUNT_MAX + 1];
    unsigned int count;
    uint64_t ended;
    int64_t number;
    struct err e = {0};
    bool any;
    int counted, walked;

    if (store_read_settings(store, &settings, &e) == 0)
        check_settings(&settings);
    must_tell(store_read_rules(store, &rules, &e), &e);
    counted = store_read_counts(store, &counts, &e);
    must_tell(counted, &e);
    walked = store_each_entry(store, NULL, STORE_BY_ID, take_entry, &walk, &e);
    must_tell(walked, &e);
    if (whole && counted == 0 && walked == 0)
        MUST(counts.entries == walk.entries && counts.host_entries == walk.host &&
             counts.temporary == walk.temporary);
    must_tell(store_each_entry(store, NULL, STORE_BY_ACCOUNT, take_entry, &again, &e), &e);
    walked = store_each_prefix(store, take_prefix, &walk, &e);
    must_tell(walked, &e);
    if (whole && counted == 0 && walked == 0)
        MUST(counts.prefixes == walk.prefixes);
    must_tell(store_each_iface(store, take_iface, NULL, &e), &e);
    must_tell(store_any_wanted(store, &any, &e), &e);
    must_tell(store_each_change(store, 0, take_change, NULL, &e), &e);
    must_tell(store_find_undo(store, 3, &number, &count, &e), &e);
    must_tell(store_has_deadlines(store, &any, &e), &e);
    must_tell(store_count_ended(store, NOW, &ended, &e), &e);
    must_tell(store_next_end(store, NOW, &number, &e), &e);
    must_tell(store_highest_id(store, &number, &e), &e);
    must_tell(store_find_twins(store, "mail.example", name, &e), &e);
    must_tell(store_find_overfull(store, 1, 0, name, &ended, &e), &e);
    must_tell(store_find_id(store, 1, &entry, &e), &e);
    ask_about(store, "192.0.2.1", "");
    ask_about(store, "198.51.100.0/24", "alice");
    ask_about(store, "2001:db8::1-2001:db8::5", "Bob");
}

/* ---- changing it ---- */

static int add_one(struct store *store, const char *text, const char *name, struct err *e)
{
    struct store_entry entry = {.created = NOW, .expires = NOW + 60, .remark = "new"};
    struct account account;
    int64_t id;
    int r;

    MUST(who_parse(text, &entry.who, NULL) == 0 && account_resolve(name, "", &account));
    r = store_add_entry(store, &entry, &account, &id, e);
    return r == -EEXIST ? 0 : r;
}

static int change_first(struct store *store, struct err *e)
{
    struct store_entry entry;
    int r = store_find_id(store, 1, &entry, e);

    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = store_set_remark(store, 1, "another", e);
    if (r == 0)
        r = store_set_expires(store, &entry, NOW + 600, e);
    if (r == 0)
        r = store_find_id(store, 1, &entry, e);
    return r == 0 ? store_delete_entry(store, &entry, e) : r;
}

static int change_settings(struct store *store, struct err *e)
{
    static const uint16_t ports[] = {25, 2525};
    const struct store_iface iface = {.name = "eth7", .wanted = true};
    const struct mode_plan plan = {.mode = SG_MODE_PAUSED, .then = SG_MODE_ENFORCE, .until = NOW};
    uint32_t id;
    int r = store_set_ports(store, ports, 2, e);

    if (r == 0)
        r = store_set_plan(store, &plan, e);
    if (r == 0)
        r = store_set_limit(store, 7, e);
    return r == 0 ? store_put_iface(store, &iface, &id, e) : r;
}

static int change(struct store *store, struct err *e)
{
    const struct store_author author = {.who = "root", .origin = "", .command = "fuzz"};
    int r = store_begin(store, e);

    if (r < 0)
        return r;
    store_set_author(store, &author, NOW);
    r = add_one(store, "203.0.113.1-203.0.113.200", "", e);
    if (r == 0)
        r = add_one(store, "2001:db8:1::/48", "carol", e);
    if (r == 0)
        r = change_first(store, e);
    if (r == 0)
        r = change_settings(store, e);
    if (r == 0)
        r = store_bump_revision(store, e);
    (void)store_delta(store);
    return r == 0 ? store_commit(store, e) : r;
}

static int undo(struct store *store, struct err *e)
{
    const struct store_author author = {.who = "root", .origin = "", .command = "undo"};
    unsigned int count;
    int64_t id;
    int r = store_find_undo(store, 2, &id, &count, e);

    if (r == -ENOENT && !id)
        return r;
    if (r == 0 || r == -ENOENT)
        r = store_begin(store, e);
    if (r < 0)
        return r;
    store_set_author(store, &author, NOW + 1);
    r = store_undo_to(store, id, e);
    return r == 0 ? store_commit(store, e) : r;
}

static void try_reading(enum store_access access)
{
    _cleanup_(store_close) struct store *store = NULL;
    struct err e = {0};
    bool whole;
    int r = store_open_within(place, access, 0, &store, &e);

    must_tell(r, &e);
    if (r < 0)
        return;
    whole = store_verify(store, &e) == 0;
    must_tell(store_begin_read(store, &e), &e);
    read_all(store, whole);
    store_rollback(store);
}

/* What was whole before a change is whole behind it. */
static void try_writing(void)
{
    _cleanup_(store_close) struct store *store = NULL;
    struct err e = {0};
    bool whole;
    int r = store_open_within(place, STORE_WRITE, 0, &store, &e);

    must_tell(r, &e);
    if (r < 0)
        return;
    whole = store_verify(store, &e) == 0;
    r = change(store, &e);
    must_tell(r, &e);
    if (r < 0)
        store_rollback(store);
    r = undo(store, &e);
    must_tell(r, &e);
    if (r < 0)
        store_rollback(store);
    if (whole)
        MUST(store_verify(store, &e) == 0);
    read_all(store, whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;

    close(before);
    write_file(data, size);
    try_reading(STORE_READ);
    try_reading(STORE_DRY);
    try_writing();
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(after);
    MUST(before == after && sqlite3_memory_used() == 0);
    return 0;
}

/* ---- making new ones ---- */

struct pages {
    uint8_t *data;
    size_t size, count;
    uint32_t random;
};

static uint32_t draw(struct pages *pages, size_t below)
{
    pages->random = pages->random * 1664525U + 1013904223U;
    return (uint32_t)((uint64_t)(pages->random >> 8) * below >> 24);
}

/* Some bytes within a page, most often of its head, where cells are pointed at. */
static void change_bytes(struct pages *pages)
{
    uint8_t *page = pages->data + pages->size * draw(pages, pages->count);
    size_t at = draw(pages, draw(pages, 2) ? 48 : pages->size);
    size_t len = 1 + draw(pages, 24);

    if (len > pages->size - at)
        len = pages->size - at;
    LLVMFuzzerMutate(page + at, len, len);
}

static void copy_page(struct pages *pages)
{
    size_t from = draw(pages, pages->count), to = draw(pages, pages->count);

    if (from != to)
        memcpy(pages->data + pages->size * to, pages->data + pages->size * from, pages->size);
}

/* Four bytes somewhere become the number of a page. */
static void point_at_page(struct pages *pages)
{
    size_t at = pages->size * draw(pages, pages->count) + draw(pages, pages->size - 4);
    uint32_t number = draw(pages, pages->count + 2);
    const uint8_t bytes[] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16),
                             (uint8_t)(number >> 8), (uint8_t)number};

    memcpy(pages->data + at, bytes, sizeof(bytes));
}

/* A word of the schema, or of what it makes, becomes another of the same length. */
static void change_word(struct pages *pages)
{
    static const char *const words[][2] = {
        {"TABLE", "VIEW "},     {"TEXT", "BLOB"},       {"NOT NULL", "DEFAULT "},
        {"STRICT", "      "},   {"PRIMARY", "UNIQUE "}, {"NOCASE", "BINARY"},
        {"INTEGER", "TEXT   "}, {"account", "command"}, {"entry", "image"},
    };
    const char *const *word = words[draw(pages, sizeof(words) / sizeof(*words))];
    size_t all = pages->size * pages->count, len = strlen(word[0]);
    size_t start = draw(pages, all);
    uint8_t *found = memmem(pages->data + start, all - start, word[0], len);

    if (found)
        memcpy(found, word[1], len);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct pages pages = {.data = data, .random = seed};
    int rounds;

    if (size < 512 || draw(&pages, 32) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    pages.size = (size_t)data[16] << 8 | data[17];
    if (pages.size < 512 || pages.size > size || pages.size & (pages.size - 1))
        pages.size = 512;
    pages.count = size / pages.size;
    for (rounds = 1 + (int)draw(&pages, 4); rounds > 0; rounds--)
        switch (draw(&pages, 8)) {
        case 0:
            copy_page(&pages);
            break;
        case 1:
            point_at_page(&pages);
            break;
        case 2:
            change_word(&pages);
            break;
        default:
            change_bytes(&pages);
            break;
        }
    /* Now and then the file is cut, or a page longer. */
    if (draw(&pages, 24) == 0)
        return pages.size * (1 + draw(&pages, pages.count));
    if (draw(&pages, 24) == 0 && size + pages.size <= max_size) {
        memcpy(data + size, data + pages.size * draw(&pages, pages.count), pages.size);
        size += pages.size;
    }
    return size;
}
