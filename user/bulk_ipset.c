/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What "ipset save" prints, and what people write by hand for "ipset restore": sets of addresses or
 * networks. What changes which addresses a set holds, or for how long, is taken into account or
 * refused; what only counts or marks packets is left out. Pure. Must not know the kernel's sets.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bulk_formats.h"

/* As ipset has it, with the NUL. */
#define NAME_SIZE 32
#define SETS_MAX  64

struct set {
    char name[NAME_SIZE];
    int64_t timeout; /* of entries without one; 0: they stay */
    int64_t netmask; /* an address stands for its network of so many bits; 0: for itself */
    bool refused;    /* said once, where it was created */
};

struct ipset {
    struct set sets[SETS_MAX];
    size_t count;
    char taken[NAME_SIZE];      /* the set whose entries came first */
    bool said_sets, said_marks; /* notices that come once in a file */
};

/* Everything about one line. */
struct row {
    struct bulk_input *in;
    struct bulk_line *line;
    struct ipset *ipset;
    size_t at;
    struct bulk_part part; /* of the last word */
    struct err problem;
    int sink; /* what it returned for a notice */
};

/* 1 an entry, 0 nothing to take, -EINVAL a problem at the last word. */
typedef int take_fn(struct row *row, struct listfile_entry *entry, struct bulk_part *ret_part);

static bool is_flag(const char *word)
{
    return !strcmp(word, "-exist") || !strcmp(word, "-!");
}

/* "-exist" may stand anywhere, and says nothing here. */
static char *next_word(struct row *row)
{
    char *word;

    do
        word = bulk_word(row->line, &row->at, &row->part);
    while (word && is_flag(word));
    return word;
}

__attribute__((format(printf, 3, 4))) static int fail(struct row *row, const char *hint,
                                                      const char *fmt, ...)
{
    char why[200], shown[sizeof(why)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    err_set(&row->problem, 0, EXIT_USAGE, "%s", text_escape(why, shown, sizeof(shown)));
    err_hint(&row->problem, "%s", hint);
    return -EINVAL;
}

static void notice(struct row *row, const char *hint, const char *why)
{
    char shown[256];
    struct err said;

    err_set(&said, 0, EXIT_USAGE, "%s", text_escape(why, shown, sizeof(shown)));
    err_hint(&said, "%s", hint);
    if (row->sink == 0)
        row->sink = bulk_line_problem(row->in, row->line, row->part, &said, true);
}

static int take_number(struct row *row, const char *what, int64_t max, int64_t *ret_number)
{
    const char *s = next_word(row);
    int64_t number = 0;

    if (!s)
        return fail(row, "the line ends too early", "%s wants a number", what);
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return fail(row, "digits alone, as ipset prints it", "%s wants a number", what);
        number = number * 10 + (*s - '0');
        if (number > max)
            return fail(row, "leave it out for an entry that stays", "%s: more than %lld", what,
                        (long long)max);
    }
    *ret_number = number;
    return 0;
}

/* ---- create ---- */

static struct set *find_set(struct ipset *ipset, const char *name)
{
    for (size_t i = 0; i < ipset->count; i++)
        if (!strcmp(ipset->sets[i].name, name))
            return &ipset->sets[i];
    return NULL;
}

static int new_set(struct row *row, const char *name, struct set **ret_set)
{
    struct ipset *ipset = row->ipset;
    struct set *set = find_set(ipset, name);

    if (strlen(name) >= NAME_SIZE)
        return fail(row, "a set's name has 31 bytes at most", "\"%.40s\" is no set's name", name);
    if (!set && ipset->count == SETS_MAX)
        return fail(row, "ipset save NAME prints one set", "more than %d sets in one file",
                    SETS_MAX);
    if (!set)
        set = &ipset->sets[ipset->count++];
    *set = (struct set){0};
    snprintf(set->name, sizeof(set->name), "%s", name);
    *ret_set = set;
    return 0;
}

static bool is_one_of(const char *word, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(word, *names))
            return true;
    return false;
}

static int take_set_option(struct row *row, struct set *set, const char *word)
{
    static const char *const values[] = {"family", "hashsize", "maxelem", "bucketsize", "initval",
                                         "range",  "probes",   "resize",  NULL};
    static const char *const flags[] = {"counters", "comment", "skbinfo", "forceadd", NULL};

    if (!strcmp(word, "timeout"))
        return take_number(row, word, WHEN_DURATION_MAX, &set->timeout);
    if (!strcmp(word, "netmask"))
        return take_number(row, word, 128, &set->netmask);
    if (is_one_of(word, flags) || (is_one_of(word, values) && next_word(row)))
        return 0;
    return fail(row, "list the addresses in a file of their own, one a line",
                "the set's option \"%.40s\" is not known here", word);
}

/* A set that cannot be taken is a problem once; its entries are passed over. */
static int take_create(struct row *row, struct listfile_entry *entry, struct bulk_part *ret_part)
{
    static const char *const types[] = {"hash:ip", "hash:net", "bitmap:ip", NULL};
    const char *name = next_word(row), *word;
    struct set *set = NULL;
    int r;

    (void)entry;
    (void)ret_part;
    if (!name)
        return fail(row, "create NAME hash:net", "a set without a name");
    r = new_set(row, name, &set);
    if (r < 0)
        return r;
    set->refused = true;
    word = next_word(row);
    if (!word)
        return fail(row, "create NAME hash:net", "set %s has no type", name);
    if (!is_one_of(word, types))
        return fail(row,
                    "hash:ip, hash:net and bitmap:ip can be taken; ipset save NAME prints one set",
                    "set %s is a %.40s, which holds more than addresses", name, word);
    while ((word = next_word(row))) {
        r = take_set_option(row, set, word);
        if (r < 0)
            return r;
    }
    set->refused = false;
    return 0;
}

/* ---- add ---- */

/* Cuts the comment out of the line: all between the quotes, in which nothing is escaped. */
static int take_comment(struct row *row, struct listfile_entry *entry)
{
    char text[LISTFILE_LINE_MAX + 1];
    const char *word = next_word(row), *end;
    struct err why;

    if (!word)
        return fail(row, "comment \"text\"", "a comment is missing");
    snprintf(text, sizeof(text), "%s", row->line->text + row->part.at);
    if (*text == '"') {
        end = strchr(text + 1, '"');
        if (!end)
            return fail(row, "close it with a \"", "a comment that does not end in this line");
        row->part.len = (size_t)(end - text) + 1;
        row->at = row->part.at + row->part.len;
        text[end - text] = '\0';
    } else {
        text[row->part.len] = '\0';
    }
    if (bulk_set_remark(entry, text + (*text == '"'), &why) < 0)
        notice(row, why.hint, "the comment is not taken over: it is too long, or no plain text");
    return 0;
}

static int take_option(struct row *row, struct listfile_entry *entry, const char *word,
                       int64_t *timeout)
{
    static const char *const counters[] = {"packets", "bytes", NULL};
    static const char *const marks[] = {"skbmark", "skbprio", "skbqueue", NULL};

    if (!strcmp(word, "timeout"))
        return take_number(row, word, WHEN_DURATION_MAX, timeout);
    if (!strcmp(word, "comment"))
        return take_comment(row, entry);
    if (!strcmp(word, "nomatch"))
        return fail(
            row, "write the wider entry as ranges that leave these addresses out",
            "an exception (nomatch): a list has none, and what is around it would let it in");
    if (is_one_of(word, marks)) {
        if (!row->ipset->said_marks)
            notice(row, "", "marks of packets are not taken over");
        row->ipset->said_marks = true;
        next_word(row);
        return 0;
    }
    if (is_one_of(word, counters) && next_word(row))
        return 0;
    return fail(row, "as ipset save prints it: add NAME 192.0.2.1 timeout 60 comment \"text\"",
                "\"%.60s\" is not known here", word);
}

static int take_who(struct row *row, const struct set *set, const char *word, struct who *ret_who)
{
    char text[WHO_TEXT_MAX + 8];
    int r;

    if (strchr(word, ','))
        return fail(row, "sets of addresses or networks alone can be taken",
                    "\"%.80s\" is more than an address", word);
    r = who_parse(word, ret_who, &row->problem);
    if (r < 0 || !set || !set->netmask)
        return r;
    if (ret_who->kind != WHO_ADDRESS)
        return fail(row, "a set with netmask holds networks, as ipset save prints them",
                    "a segment or a range in a set with netmask");
    snprintf(text, sizeof(text), "%.*s/%lld", WHO_TEXT_MAX - 1, word, (long long)set->netmask);
    return who_parse(text, ret_who, &row->problem);
}

/* Entries of more than one set go into one list: that must be known. */
static void note_set(struct row *row, const char *name, struct bulk_part who)
{
    struct ipset *ipset = row->ipset;
    char why[128];

    if (!*ipset->taken)
        snprintf(ipset->taken, sizeof(ipset->taken), "%s", name);
    if (ipset->said_sets || !strcmp(ipset->taken, name))
        return;
    ipset->said_sets = true;
    row->part = who;
    snprintf(why, sizeof(why),
             "a second set, %s: the entries of all sets are taken, whatever they were for", name);
    notice(row, "ipset save NAME prints one set", why);
}

static int take_add(struct row *row, struct listfile_entry *entry, struct bulk_part *ret_part)
{
    const char *name = next_word(row), *word = name ? next_word(row) : NULL;
    const struct set *set = name ? find_set(row->ipset, name) : NULL;
    int64_t timeout = set ? set->timeout : 0;
    int r;

    if (!word)
        return fail(row, "add NAME 192.0.2.1", "an entry without a set or an address");
    if (set && set->refused)
        return 0;
    if (strlen(name) >= NAME_SIZE)
        return fail(row, "a set's name has 31 bytes at most", "\"%.40s\" is no set's name", name);
    r = take_who(row, set, word, &entry->who);
    *ret_part = row->part;
    while (r == 0 && (word = next_word(row)))
        r = take_option(row, entry, word, &timeout);
    if (r == 0 && timeout)
        r = bulk_set_timeout(row->in, entry, timeout, &row->problem);
    if (r < 0)
        return r;
    note_set(row, name, *ret_part);
    return 1;
}

/* ---- the rest ---- */

static int take_change(struct row *row, struct listfile_entry *entry, struct bulk_part *ret_part)
{
    (void)entry;
    (void)ret_part;
    return fail(row, "ipset save prints what the sets hold now",
                "\"%s\" changes a set: a list of entries is wanted", row->line->cut + row->part.at);
}

/* Harmless in front of all entries, where people write it. */
static int take_empty(struct row *row, struct listfile_entry *entry, struct bulk_part *ret_part)
{
    if (row->in->entries)
        return take_change(row, entry, ret_part);
    notice(row, "", "not taken over: the list is not emptied by this line");
    return 0;
}

static int take_nothing(struct row *row, struct listfile_entry *entry, struct bulk_part *ret_part)
{
    (void)row;
    (void)entry;
    (void)ret_part;
    return 0;
}

static take_fn *find_command(const char *word)
{
    static const struct {
        const char *name;
        take_fn *take;
    } commands[] = {
        {"add", take_add},     {"-A", take_add},         {"create", take_create},
        {"n", take_create},    {"-N", take_create},      {"flush", take_empty},
        {"-F", take_empty},    {"destroy", take_empty},  {"x", take_empty},
        {"-X", take_empty},    {"del", take_change},     {"-D", take_change},
        {"swap", take_change}, {"w", take_change},       {"rename", take_change},
        {"e", take_change},    {"COMMIT", take_nothing}, {"quit", take_nothing},
    };

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (!strcmp(word, commands[i].name))
            return commands[i].take;
    return NULL;
}

static int take_line(struct bulk_input *in, struct bulk_line *line, void *arg)
{
    struct row row = {.in = in, .line = line, .ipset = arg};
    struct listfile_entry entry = {0};
    struct bulk_part part = {0};
    const char *word = next_word(&row);
    take_fn *take = word ? find_command(word) : take_nothing;
    int r;

    if (take)
        r = take(&row, &entry, &part);
    else
        r = fail(&row, "a line is: add NAME 192.0.2.1, or create NAME hash:net",
                 "\"%.60s\" is not known here", word);
    if (row.sink < 0)
        return row.sink;
    if (r < 0)
        return bulk_line_problem(in, line, row.part, &row.problem, false);
    return r > 0 ? bulk_line_entry(in, line, part, &entry) : 0;
}

int bulk_read_ipset(struct bulk_input *in)
{
    struct ipset ipset = {0};
    struct bulk_line line;

    line.no_comments = false;
    return bulk_each_line(in, &line, take_line, &ipset);
}
