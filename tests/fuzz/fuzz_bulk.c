// LINK: bulk_csv bulk_formats bulk_input bulk_ipset bulk_json bulk_nft bulk_postfix bulk_print
// LINK: span listfile account addr who_why when text err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of the files that lists come from: the first byte is the format, the second how the rest
 * is cut into pieces. However it is cut, the same is said; every place lies in its text; what is
 * taken is an entry that could have been typed, and comes back from each format of ours as it was.
 */
#include <stdio.h>

#include "bulk_formats.h"
#include "fuzz.h"

#define NOW INT64_C(1796148000)

/* What was said comes down to a number that any difference changes. */
struct digest {
    uint64_t sum;
    struct listfile_entry entry; /* the last one */
    size_t entries, problems, places;
    size_t again; /* so many entries are printed and read back */
};

static void add_bytes(struct digest *digest, const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < len; i++)
        digest->sum = (digest->sum ^ byte[i]) * 0x100000001b3U;
}

static void add_text(struct digest *digest, const char *text)
{
    add_bytes(digest, text, strlen(text) + 1);
}

static void add_place(struct digest *digest, const struct bulk_place *place)
{
    const uint64_t numbers[] = {place->line, place->column, place->at, place->len};
    struct text_view view;

    MUST(place->line >= 1 && place->column >= 1);
    MUST(place->at <= strlen(place->text) && !strchr(place->text, '\n'));
    add_bytes(digest, numbers, sizeof(numbers));
    if (digest->places++ >= 8)
        return;
    add_text(digest, place->text);
    text_mark(place->text, place->at, place->len, 80, &view);
    MUST(strlen(view.mark) <= 80 && strchr(view.mark, '^'));
}

/* Bytes, and how many come at once. */
struct pieces {
    const uint8_t *data;
    size_t size, most;
    uint32_t random;
};

static size_t fill(void *arg, char *buf, size_t size)
{
    struct pieces *pieces = arg;
    size_t len = pieces->size < size ? pieces->size : size;

    MUST(size > 0);
    pieces->random = pieces->random * 1103515245U + 12345U;
    if (len > pieces->most)
        len = 1 + (pieces->random >> 16) % pieces->most;
    memcpy(buf, pieces->data, len);
    pieces->data += len;
    pieces->size -= len;
    return len;
}

static void read_pieces(enum bulk_format format, struct pieces pieces, struct digest *digest);

static void print_and_read(enum bulk_format format, const struct listfile_entry *entry)
{
    const struct bulk_row row = {.entry = *entry, .id = 1, .created = NOW};
    struct digest back = {0};
    char text[2 * BULK_TEXT_MAX], line[BULK_TEXT_MAX];

    snprintf(text, sizeof(text), "%s%s%s\n", bulk_header(format) ? bulk_header(format) : "",
             bulk_header(format) ? "\n" : "", bulk_print(format, &row, line));
    MUST(strlen(line) <= LISTFILE_LINE_MAX || format == BULK_JSON);
    read_pieces(BULK_AUTO,
                (struct pieces){.data = (uint8_t *)text, .size = strlen(text), .most = SIZE_MAX},
                &back);
    MUST(back.problems == 0 && back.entries == 1);
    MUST(!memcmp(&back.entry.who, &entry->who, sizeof(entry->who)));
    MUST(back.entry.until == entry->until);
    MUST(!strcmp(back.entry.account, entry->account) && !strcmp(back.entry.remark, entry->remark));
}

static int take_entry(const struct listfile_entry *entry, const struct bulk_place *place, void *arg)
{
    struct digest *digest = arg;
    char who[WHO_TEXT_MAX];
    struct who parsed;

    add_place(digest, place);
    add_text(digest, who_print(&entry->who, who));
    add_text(digest, entry->account);
    add_text(digest, entry->remark);
    add_bytes(digest, &entry->until, sizeof(entry->until));
    digest->entry = *entry;
    digest->entries++;
    MUST(who_parse(who, &parsed, NULL) == 0 && !memcmp(&parsed, &entry->who, sizeof(parsed)));
    MUST(!*entry->account || account_check(entry->account, NULL) == 0);
    MUST(remark_check(entry->remark, NULL) == 0);
    MUST(entry->has_until ? entry->until > 0 && entry->until <= WHEN_MAX : !entry->until);
    if (!digest->again)
        return 0;
    digest->again--;
    for (int format = BULK_LIST; format <= BULK_JSON; format++)
        print_and_read((enum bulk_format)format, entry);
    return 0;
}

static int take_problem(const struct bulk_place *place, const struct err *problem, bool notice,
                        void *arg)
{
    struct digest *digest = arg;

    add_place(digest, place);
    add_bytes(digest, &notice, sizeof(notice));
    add_text(digest, problem->message);
    digest->problems++;
    MUST(problem->code == EXIT_USAGE && *problem->message && (notice || *problem->hint));
    fuzz_must_be_plain(problem->message);
    fuzz_must_be_plain(problem->hint);
    return 0;
}

static void read_pieces(enum bulk_format format, struct pieces pieces, struct digest *digest)
{
    static int (*const readers[])(struct bulk_input * in) = {
        [BULK_LIST] = bulk_read_list, [BULK_CSV] = bulk_read_csv,
        [BULK_JSON] = bulk_read_json, [BULK_IPSET] = bulk_read_ipset,
        [BULK_NFT] = bulk_read_nft,   [BULK_POSTFIX] = bulk_read_postfix,
    };
    const struct bulk_sink sink = {.entry = take_entry, .problem = take_problem, .arg = digest};
    struct bulk_input *in = malloc(sizeof(*in));

    MUST(in);
    memset(in, 0,
           offsetof(struct bulk_input, buf)); /* what is behind is as large as it is unread */
    in->fill = fill;
    in->fill_arg = &pieces;
    in->sink = &sink;
    in->now = NOW;
    bulk_begin(in);
    if (format == BULK_AUTO)
        format = bulk_detect(in);
    add_bytes(digest, &format, sizeof(format));
    MUST(readers[format](in) == 0);
    MUST(bulk_peek(in) == BULK_NOTHING || digest->problems);
    free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest whole = {.again = 4}, cut = {0};
    enum bulk_format format;

    if (size < 2)
        return 0;
    format = (enum bulk_format)(data[0] % (BULK_POSTFIX + 1));
    read_pieces(format, (struct pieces){.data = data + 2, .size = size - 2, .most = SIZE_MAX},
                &whole);
    read_pieces(format, (struct pieces){.data = data + 2, .size = size - 2, .most = 1U + data[1]},
                &cut);
    MUST(whole.sum == cut.sum && whole.entries == cut.entries);
    return 0;
}
