/* SPDX-License-Identifier: GPL-2.0-only */
/* See bulk_formats.h: list files, and which format it is. Pure. */
#include "bulk_formats.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- list files ---- */

static int take_line(struct bulk_input *in, struct bulk_line *line, void *arg)
{
    struct listfile_entry entry;
    struct listfile_place place = {0};
    struct bulk_part part;
    struct err problem;
    size_t at = 0;
    int r = listfile_parse(line->cut, &entry, &place, &problem);

    (void)arg;
    if (r < 0) {
        part = (struct bulk_part){.at = place.at, .len = place.len};
        return bulk_line_problem(in, line, part, &problem, false);
    }
    if (r == 0)
        return 0;
    snprintf(line->cut, sizeof(line->cut), "%s", line->text);
    bulk_word(line, &at, &part);
    return bulk_line_entry(in, line, part, &entry);
}

int bulk_read_list(struct bulk_input *in)
{
    struct bulk_line line;

    line.no_comments = false;
    return bulk_each_line(in, &line, take_line, NULL);
}

/* ---- which format ---- */

/* A word as far as it matters. */
#define WORD_MAX 64

struct first_line {
    char text[LISTFILE_LINE_MAX + 1];
    char words[3][WORD_MAX];
};

static bool is_one_of(const char *word, const char *const *names)
{
    for (; *names; names++)
        if (!strcasecmp(word, *names))
            return true;
    return false;
}

static bool is_json(const struct first_line *line)
{
    return line->words[0][0] == '{' || line->words[0][0] == '[';
}

static bool is_nft(const struct first_line *line)
{
    static const char *const alone[] = {"table", "set", "elements", "define", "include", NULL};
    static const char *const verbs[] = {"add",     "create", "flush",  "delete",
                                        "destroy", "reset",  "insert", NULL};
    static const char *const objects[] = {"table", "set",  "element", "map",
                                          "chain", "rule", "ruleset", NULL};

    return is_one_of(line->words[0], alone) ||
           (is_one_of(line->words[0], verbs) && is_one_of(line->words[1], objects));
}

static bool is_ipset(const struct first_line *line)
{
    static const char *const verbs[] = {"create", "add",    "flush",  "del",  "destroy",
                                        "-!",     "-exist", "rename", "swap", "-N",
                                        "-A",     "-F",     "-X",     "n",    NULL};

    return is_one_of(line->words[0], verbs);
}

/* Names of columns alone, quoted or not, and one is "who". A WHO has other characters. */
static bool is_csv(const struct first_line *line)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char around[] = " \t\r\"";
    const char *s = line->text;

    while (*s && (strchr(letters, *s) || strchr(around, *s) || strchr(",;", *s)))
        s++;
    if (*s)
        return false;
    for (s = line->text;;) {
        s += strspn(s, around);
        if (!strncasecmp(s, "who", 3) && strspn(s + 3, around) == strcspn(s + 3, ",;"))
            return true;
        s = strchr(s, ',');
        if (!s)
            return false;
        s++;
    }
}

static bool is_postfix_action(const char *word)
{
    static const char *const actions[] = {
        "OK",
        "REJECT",
        "DUNNO",
        "DEFER",
        "DEFER_IF_REJECT",
        "DEFER_IF_PERMIT",
        "DISCARD",
        "FILTER",
        "HOLD",
        "REDIRECT",
        "BCC",
        "PREPEND",
        "INFO",
        "WARN",
        "permit",
        "defer",
        "reject",
        NULL,
    };
    char name[WORD_MAX];

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, ","), word);
    return *word && (is_one_of(name, actions) || !word[strspn(word, "0123456789")] ||
                     !strncmp(word, "permit_", 7) || !strncmp(word, "reject_", 7) ||
                     !strncmp(word, "check_", 6) || !strncmp(word, "defer_", 6));
}

static bool is_postfix(const struct first_line *line)
{
    return line->words[0][0] == '!' || !strcasecmp(line->words[0], "if") ||
           is_postfix_action(line->words[1]);
}

/* The line without its end; false if it is too long or holds a NUL, which is for a reader to say.
 */
static bool see_line(const char *bytes, size_t len, size_t *ret_taken,
                     char line[LISTFILE_LINE_MAX + 1])
{
    const char *end = memchr(bytes, '\n', len);
    size_t used = end ? (size_t)(end - bytes) : len;

    *ret_taken = used + (end != NULL);
    if (used > LISTFILE_LINE_MAX || memchr(bytes, '\0', used))
        return false;
    memcpy(line, bytes, used);
    line[used] = '\0';
    return true;
}

enum bulk_format bulk_detect(struct bulk_input *in)
{
    static const char blanks[] = " \t\r";
    struct first_line line = {0};
    const char *bytes, *s;
    size_t len, taken;

    do {
        len = bulk_ahead(in, LISTFILE_LINE_MAX + 2, &bytes);
        if (!see_line(bytes, len, &taken, line.text)) {
            /* Only a format that has lines of any length can make sense of it. */
            snprintf(line.text, sizeof(line.text), "%.*s", LISTFILE_LINE_MAX, bytes);
            break;
        }
        s = line.text + strspn(line.text, blanks);
        if (*s && *s != '#')
            break;
        for (size_t i = 0; i < taken; i++)
            bulk_next(in);
    } while (len);
    s = line.text;
    for (int i = 0; i < 3; i++) {
        s += strspn(s, blanks);
        snprintf(line.words[i], WORD_MAX, "%.*s", (int)strcspn(s, blanks), s);
        s += strcspn(s, blanks);
    }
    if (is_json(&line))
        return BULK_JSON;
    if (is_nft(&line))
        return BULK_NFT;
    if (is_ipset(&line))
        return BULK_IPSET;
    if (is_csv(&line))
        return BULK_CSV;
    return is_postfix(&line) ? BULK_POSTFIX : BULK_LIST;
}
