/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The elements of nft sets: what "nft list set" and "nft list ruleset" print, and "add element" as
 * people write it. Read word by word, since a set's elements may stand in one line of any length.
 * Of the language no more is known than where sets and their elements are; all else is passed over
 * in braces, and said. Pure. Must not know the kernel's sets.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bulk_formats.h"

/* Of a word or a quoted text, with the NUL; longer than any name, address or comment. */
#define WORD_SIZE 512

#define NEVER (-1)

/* Words of a statement that matter, and as much of each. */
#define WORDS_MAX 8
#define NAME_SIZE 64

enum token_kind {
    TOKEN_END,
    TOKEN_WORD,
    TOKEN_TEXT, /* quoted */
    TOKEN_LINE, /* its end, or ; */
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_EQUALS,
    TOKEN_BAD, /* and the problem */
};

struct token {
    enum token_kind kind;
    struct bulk_mark mark;
    size_t len;
    char text[WORD_SIZE];
};

enum block {
    BLOCK_FILE,
    BLOCK_TABLE,
    BLOCK_SET,
    BLOCK_ELEMENTS,
};

/* What an element waits for. */
enum option {
    OPTION_NONE,
    OPTION_TIMEOUT,
    OPTION_EXPIRES,
    OPTION_COMMENT,
    OPTION_STATEMENT, /* a counter, a limit: words up to the next option */
};

struct element {
    struct listfile_entry entry;
    struct bulk_mark mark;
    size_t len;
    bool has_key, bad;
    enum option option;
    bool has_timeout, has_expires;
    int64_t timeout, expires; /* seconds, or NEVER */
};

struct set {
    char name[NAME_SIZE];
    bool refused;      /* no addresses in it; said */
    bool has_elements; /* so that what follows comes too late for them */
    int64_t timeout;   /* of elements without one; or NEVER */
};

struct nft {
    struct bulk_input *in;
    struct token token;
    struct err problem;

    enum block blocks[BLOCK_ELEMENTS + 1]; /* the last one is where we are */
    size_t depth;
    size_t passed_over; /* braces open in what does not matter */

    char words[WORDS_MAX][NAME_SIZE]; /* of the statement */
    size_t n_words;
    struct bulk_mark mark; /* of its first */
    size_t len;
    bool dot, equals;
    bool passed; /* a block of it was passed over, and that said */

    struct set set;
    struct element element;
    char taken[NAME_SIZE]; /* the set whose elements came first */
    bool said_sets, said_rules, said_statements;
};

/* ---- saying it ---- */

__attribute__((format(printf, 3, 4))) static void because(struct nft *nft, const char *hint,
                                                          const char *fmt, ...)
{
    char why[300], shown[sizeof(why)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    err_set(&nft->problem, 0, EXIT_USAGE, "%s", text_escape(why, shown, sizeof(shown)));
    err_hint(&nft->problem, "%s", hint);
}

static int say_token(struct nft *nft, bool notice)
{
    return bulk_problem(nft->in, nft->token.mark, nft->token.len, &nft->problem, notice);
}

static int say_statement(struct nft *nft, bool notice)
{
    return bulk_problem(nft->in, nft->mark, nft->len, &nft->problem, notice);
}

/* ---- words ---- */

static bool is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool ends_word(int c)
{
    return c <= 0 || is_blank(c) || strchr("\n;{},=\"#", c);
}

static void take_char(struct nft *nft, char *text)
{
    int c = bulk_next(nft->in);

    if (nft->token.len < WORD_SIZE - 1)
        text[nft->token.len] = (char)c;
    nft->token.len++;
}

static void end_token(struct nft *nft, const char *what)
{
    struct token *token = &nft->token;

    token->text[token->len < WORD_SIZE ? token->len : WORD_SIZE - 1] = '\0';
    if (token->len < WORD_SIZE)
        return;
    token->kind = TOKEN_BAD;
    because(nft, "is it the output of nft list set?", "%s of more than %d bytes", what,
            WORD_SIZE - 1);
    token->len = 1;
}

static void read_word(struct nft *nft)
{
    nft->token.kind = TOKEN_WORD;
    while (!ends_word(bulk_peek(nft->in)))
        take_char(nft, nft->token.text);
    end_token(nft, "a word");
}

/* Behind the quote; nothing is escaped within. */
static void read_text(struct nft *nft)
{
    int c;

    nft->token.kind = TOKEN_TEXT;
    while ((c = bulk_peek(nft->in)) > 0 && c != '"' && c != '\n')
        take_char(nft, nft->token.text);
    end_token(nft, "a quoted text");
    if (c == '"') {
        bulk_next(nft->in);
        nft->token.len += nft->token.kind == TOKEN_TEXT ? 2 : 0; /* the quotes */
        return;
    }
    nft->token.kind = TOKEN_BAD;
    nft->token.len = 1;
    because(nft, "close it with a \"", "a quoted text that does not end in this line");
}

/* Blanks, comments, and lines that go on behind a backslash. */
static void pass_blanks(struct nft *nft)
{
    const char *bytes;
    int c;

    while ((c = bulk_peek(nft->in)) != BULK_NOTHING) {
        if (c == '#') {
            while ((c = bulk_peek(nft->in)) > 0 && c != '\n')
                bulk_next(nft->in);
            continue;
        }
        if (c == '\\' && bulk_ahead(nft->in, 2, &bytes) >= 2 && bytes[1] == '\n')
            bulk_next(nft->in);
        else if (!is_blank(c))
            return;
        bulk_next(nft->in);
    }
}

static enum token_kind punctuation(int c)
{
    switch (c) {
    case '\n':
    case ';':
        return TOKEN_LINE;
    case '{':
        return TOKEN_OPEN;
    case '}':
        return TOKEN_CLOSE;
    case ',':
        return TOKEN_COMMA;
    case '=':
        return TOKEN_EQUALS;
    default:
        return TOKEN_WORD;
    }
}

static void next_token(struct nft *nft)
{
    struct token *token = &nft->token;
    int c;

    pass_blanks(nft);
    c = bulk_peek(nft->in);
    token->mark = bulk_here(nft->in);
    token->len = 0;
    token->text[0] = '\0';
    if (c == BULK_NOTHING) {
        token->kind = TOKEN_END;
        return;
    }
    token->kind = punctuation(c);
    if (c == '\0') {
        bulk_next(nft->in);
        token->kind = TOKEN_BAD;
        token->len = 1;
        because(nft, "nft list set prints a text", "a NUL byte: this is no text file");
    } else if (token->kind != TOKEN_WORD) {
        bulk_next(nft->in);
        token->len = 1;
    } else if (c == '"') {
        bulk_next(nft->in);
        read_text(nft);
    } else {
        read_word(nft);
    }
}

/* ---- times: "1d2h3m4s500ms", or seconds alone ---- */

static int64_t unit_ms(const char **s)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (!strncmp(*s, units[i].name, strlen(units[i].name))) {
            *s += strlen(units[i].name);
            return units[i].ms;
        }
    return **s ? 0 : 1000;
}

/* A part of a second counts as a whole one: what is in force is not taken for over. */
static bool take_duration(const char *text, int64_t *ret_seconds)
{
    const int64_t max = WHEN_DURATION_MAX * 1000;
    int64_t total = 0;

    if (!*text)
        return false;
    while (*text) {
        int64_t number = 0, unit;

        if (*text < '0' || *text > '9')
            return false;
        for (; *text >= '0' && *text <= '9'; text++)
            if (number <= max)
                number = number * 10 + (*text - '0');
        unit = unit_ms(&text);
        if (!unit || number > (max - total) / unit)
            return false;
        total += number * unit;
    }
    *ret_seconds = (total + 999) / 1000;
    return true;
}

static bool read_duration(struct nft *nft, const char *text, int64_t *ret_seconds)
{
    if (take_duration(text, ret_seconds))
        return true;
    because(nft, "as nft prints it: 1d2h3m4s, at most 3650 days", "\"%.60s\" is no duration", text);
    return false;
}

/* ---- elements ---- */

/* The whole element is out; its remaining words are passed over. */
static int spoil(struct nft *nft)
{
    nft->element.bad = true;
    return say_token(nft, false);
}

static int take_key(struct nft *nft)
{
    struct element *element = &nft->element;
    const char *word = nft->token.text;

    element->has_key = true;
    element->mark = nft->token.mark;
    element->len = nft->token.len;
    if (nft->set.refused)
        return 0;
    if (nft->token.kind == TOKEN_TEXT)
        because(nft, "nft list set NAME prints one set", "\"%.60s\" is no address", word);
    else if (*word == '$' || *word == '@')
        because(nft, "nft list set prints the addresses themselves",
                "\"%.60s\" stands for something that is not known here", word);
    else if (!strcmp(word, "*"))
        because(nft, "smtpgate add 0.0.0.0/0 ::/0, if that is meant",
                "the element * is every address there is");
    else if (who_parse(word, &element->entry.who, &nft->problem) == 0)
        return 0;
    return spoil(nft);
}

static int take_comment(struct nft *nft)
{
    struct err why;

    if (bulk_set_remark(&nft->element.entry, nft->token.text, &why) == 0)
        return 0;
    because(nft, why.hint, "the comment is not taken over: it is too long, or no plain text");
    return say_token(nft, true);
}

static int take_time(struct nft *nft, int64_t least, int64_t *seconds)
{
    const char *word = nft->token.text;

    if (!strcmp(word, "never")) {
        *seconds = NEVER;
        return 0;
    }
    if (!read_duration(nft, word, seconds))
        return spoil(nft);
    if (*seconds >= least)
        return 0;
    because(nft, "leave it out for one that stays", "a timeout of 0 is no time at all");
    return spoil(nft);
}

static int take_value(struct nft *nft, enum option option)
{
    struct element *element = &nft->element;

    if (option == OPTION_COMMENT)
        return take_comment(nft);
    if (option == OPTION_TIMEOUT) {
        element->has_timeout = true;
        return take_time(nft, 1, &element->timeout);
    }
    element->has_expires = true;
    return take_time(nft, 0, &element->expires);
}

static enum option find_option(const char *word)
{
    static const struct {
        const char *name;
        enum option option;
    } options[] = {
        {"timeout", OPTION_TIMEOUT},   {"expires", OPTION_EXPIRES}, {"comment", OPTION_COMMENT},
        {"counter", OPTION_STATEMENT}, {"limit", OPTION_STATEMENT}, {"quota", OPTION_STATEMENT},
        {"last", OPTION_STATEMENT},    {"ct", OPTION_STATEMENT},
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (!strcmp(word, options[i].name))
            return options[i].option;
    return OPTION_NONE;
}

/* A counter only counts; a limit and the like make the element match or not. */
static bool must_say_statement(struct nft *nft, const char *word)
{
    if (nft->said_statements || !strcmp(word, "counter") || !strcmp(word, "last"))
        return false;
    nft->said_statements = true;
    because(nft, "", "\"%.60s\" is not taken over: the address is let in at any rate", word);
    return true;
}

static int take_statement(struct nft *nft)
{
    nft->element.option = OPTION_STATEMENT;
    return must_say_statement(nft, nft->token.text) ? say_token(nft, true) : 0;
}

/* No statement has an address in it: that is the next element, and the comma before it is missing.
 */
static bool is_statement_word(const struct nft *nft)
{
    const char *word = nft->token.text;
    struct who who;
    struct err ignored;

    return strcmp(word, ".") != 0 && *word != ':' && who_parse(word, &who, &ignored) < 0;
}

static int refuse_word(struct nft *nft)
{
    static const char hint[] = "nft list set NAME prints one set: take one of addresses alone";
    const char *word = nft->token.text;

    if (!strcmp(word, "."))
        because(nft, hint, "a concatenation: this set holds more than addresses");
    else if (*word == ':')
        because(nft, hint, "a map's element: something belongs to this address");
    else
        because(nft, "an element is: 192.0.2.1 timeout 1d comment \"text\"",
                "\"%.60s\" is not known here", word);
    return spoil(nft);
}

static int take_element_word(struct nft *nft)
{
    struct element *element = &nft->element;
    enum option option = element->option, next;

    if (!element->has_key)
        return take_key(nft);
    if (element->bad || nft->set.refused)
        return 0;
    if (option != OPTION_NONE && option != OPTION_STATEMENT) {
        element->option = OPTION_NONE;
        return take_value(nft, option);
    }
    next = nft->token.kind == TOKEN_WORD ? find_option(nft->token.text) : OPTION_NONE;
    if (next == OPTION_STATEMENT)
        return take_statement(nft);
    if (next == OPTION_NONE)
        return option == OPTION_STATEMENT && is_statement_word(nft) ? 0 : refuse_word(nft);
    element->option = next;
    return 0;
}

/* Elements of more than one set go into one list: that must be known. */
static int note_set(struct nft *nft)
{
    if (!*nft->taken)
        snprintf(nft->taken, sizeof(nft->taken), "%s", nft->set.name);
    if (nft->said_sets || !strcmp(nft->taken, nft->set.name))
        return 0;
    nft->said_sets = true;
    because(nft, "nft list set FAMILY TABLE NAME prints one set",
            "a second set, %s: the elements of all sets are taken, whatever they were for",
            nft->set.name);
    return bulk_problem(nft->in, nft->element.mark, nft->element.len, &nft->problem, true);
}

/* What is left of its time, if that is said, else all of it. */
static int hand_on(struct nft *nft, struct element *element)
{
    int64_t seconds = element->has_expires   ? element->expires
                      : element->has_timeout ? element->timeout
                                             : nft->set.timeout;
    int r;

    if (seconds != NEVER && bulk_set_timeout(nft->in, &element->entry, seconds, &nft->problem) < 0)
        return bulk_problem(nft->in, element->mark, element->len, &nft->problem, false);
    r = note_set(nft);
    return r == 0 ? bulk_entry(nft->in, &element->entry, element->mark, element->len) : r;
}

static int end_element(struct nft *nft)
{
    struct element *element = &nft->element;
    int r = 0;

    if (!element->has_key || element->bad || nft->set.refused) {
        r = 0;
    } else if (element->option != OPTION_NONE && element->option != OPTION_STATEMENT) {
        because(nft, "an element is: 192.0.2.1 timeout 1d comment \"text\"",
                "the element ends too early");
        r = say_token(nft, false);
    } else {
        r = hand_on(nft, element);
    }
    *element = (struct element){0};
    return r;
}

static int take_in_elements(struct nft *nft)
{
    switch (nft->token.kind) {
    case TOKEN_WORD:
    case TOKEN_TEXT:
        return take_element_word(nft);
    case TOKEN_COMMA:
        return end_element(nft);
    case TOKEN_CLOSE:
        nft->depth--;
        return end_element(nft);
    case TOKEN_OPEN:
        nft->passed_over = 1;
        because(nft, "an element is: 192.0.2.1 timeout 1d comment \"text\"", "a { among elements");
        return spoil(nft);
    default:
        return 0;
    }
}

/* ---- statements ---- */

static const char *word_at(const struct nft *nft, size_t i)
{
    return i < nft->n_words && i < WORDS_MAX ? nft->words[i] : "";
}

static bool word_is(const struct nft *nft, size_t i, const char *word)
{
    return !strcmp(word_at(nft, i), word);
}

static bool word_is_one_of(const struct nft *nft, size_t i, const char *const *names)
{
    for (; *names; names++)
        if (word_is(nft, i, *names))
            return true;
    return false;
}

static void forget_statement(struct nft *nft)
{
    nft->n_words = 0;
    nft->dot = nft->equals = nft->passed = false;
}

static void take_statement_word(struct nft *nft)
{
    const struct token *token = &nft->token;

    if (nft->n_words == 0) {
        nft->mark = token->mark;
        nft->len = token->len;
    }
    if (nft->n_words < WORDS_MAX)
        snprintf(nft->words[nft->n_words], NAME_SIZE, "%.*s", NAME_SIZE - 1, token->text);
    nft->n_words++;
    nft->dot |= token->kind == TOKEN_WORD && !strcmp(token->text, ".");
}

/* "add", "create" in front says no more than the rest. */
static size_t verb_words(const struct nft *nft)
{
    static const char *const verbs[] = {"add", "create", "insert", "replace", NULL};

    return word_is_one_of(nft, 0, verbs);
}

static int note_rules(struct nft *nft)
{
    if (nft->said_rules)
        return 0;
    nft->said_rules = true;
    because(nft, "", "not taken over: rules and all else but the elements of sets");
    return say_statement(nft, true);
}

static void enter(struct nft *nft, enum block block)
{
    nft->blocks[++nft->depth] = block;
}

/* The last word is the name: "set inet filter allowed". */
static void begin_set(struct nft *nft)
{
    size_t last = nft->n_words < WORDS_MAX ? nft->n_words : WORDS_MAX;

    nft->set = (struct set){.timeout = NEVER};
    snprintf(nft->set.name, sizeof(nft->set.name), "%s", word_at(nft, last ? last - 1 : 0));
}

static int open_map(struct nft *nft)
{
    size_t last = nft->n_words < WORDS_MAX ? nft->n_words : WORDS_MAX;

    nft->passed_over = 1;
    because(nft, "", "not taken over: map %s is no set of addresses", word_at(nft, last - 1));
    return say_statement(nft, true);
}

static int open_change(struct nft *nft)
{
    nft->passed_over = 1;
    because(nft, "nft list set prints what the set holds now",
            "\"%s\" changes a set: a list of elements is wanted", word_at(nft, 0));
    return say_statement(nft, false);
}

static int open_in_file(struct nft *nft)
{
    static const char *const changes[] = {"delete", "destroy", "reset", "get", NULL};
    size_t at = verb_words(nft);

    if (word_is_one_of(nft, 0, changes))
        return open_change(nft);
    if (word_is(nft, at, "table")) {
        enter(nft, BLOCK_TABLE);
        return 0;
    }
    if (word_is(nft, at, "set") || word_is(nft, at, "element")) {
        begin_set(nft);
        enter(nft, word_is(nft, at, "set") ? BLOCK_SET : BLOCK_ELEMENTS);
        return 0;
    }
    if (word_is(nft, at, "elements") && nft->equals) {
        nft->set = (struct set){.timeout = NEVER};
        enter(nft, BLOCK_ELEMENTS);
        return 0;
    }
    if (word_is(nft, at, "map"))
        return open_map(nft);
    nft->passed_over = 1;
    return nft->n_words ? note_rules(nft) : say_token(nft, false);
}

static int open_in_table(struct nft *nft)
{
    if (word_is(nft, 0, "set")) {
        begin_set(nft);
        enter(nft, BLOCK_SET);
        return 0;
    }
    if (word_is(nft, 0, "map"))
        return open_map(nft);
    nft->passed_over = 1;
    return note_rules(nft);
}

static int open_in_set(struct nft *nft)
{
    if (word_is(nft, 0, "elements") && nft->equals) {
        nft->set.has_elements = true;
        enter(nft, BLOCK_ELEMENTS);
        return 0;
    }
    nft->passed_over = 1;
    return note_rules(nft);
}

static int open_block(struct nft *nft)
{
    int r;

    because(nft, "nft list set prints: table inet NAME { set NAME { ... } }",
            "a { that nothing stands in front of");
    switch (nft->blocks[nft->depth]) {
    case BLOCK_FILE:
        r = open_in_file(nft);
        break;
    case BLOCK_TABLE:
        r = open_in_table(nft);
        break;
    default:
        r = open_in_set(nft);
        break;
    }
    nft->passed = nft->passed_over > 0;
    if (!nft->passed)
        forget_statement(nft);
    return r;
}

static int close_block(struct nft *nft)
{
    forget_statement(nft);
    if (nft->depth) {
        nft->depth--;
        return 0;
    }
    because(nft, "is the beginning of the file missing?", "a } that closes nothing");
    return say_token(nft, false);
}

/* ---- the end of a statement ---- */

static int refuse_type(struct nft *nft)
{
    nft->set.refused = true;
    because(nft, "", "not taken over: set %s holds other things than addresses (%s%s)",
            nft->set.name, word_at(nft, 1), nft->dot ? " and more" : "");
    return say_statement(nft, true);
}

/* typeof ip saddr, typeof ip6 daddr */
static bool is_address_expression(const struct nft *nft)
{
    static const char *const protocols[] = {"ip", "ip6", NULL};
    static const char *const fields[] = {"saddr", "daddr", NULL};

    return nft->n_words == 3 && word_is_one_of(nft, 1, protocols) && word_is_one_of(nft, 2, fields);
}

/* Within tables and sets too. */
static int refuse_include(struct nft *nft)
{
    because(nft, "nft list ruleset prints all files in one", "another file is not read");
    return say_statement(nft, false);
}

static int end_in_set(struct nft *nft)
{
    static const char *const types[] = {"ipv4_addr", "ipv6_addr", NULL};

    if (word_is(nft, 0, "elements")) {
        because(nft, "nft list set prints the addresses themselves",
                "elements that are not listed here");
        return say_statement(nft, false);
    }
    if (nft->set.has_elements &&
        (word_is(nft, 0, "type") || word_is(nft, 0, "typeof") || word_is(nft, 0, "timeout"))) {
        because(nft, "put it in front of the elements, as nft list set does",
                "\"%s\" behind the elements comes too late", word_at(nft, 0));
        return say_statement(nft, false);
    }
    if (word_is(nft, 0, "type") && (nft->n_words != 2 || !word_is_one_of(nft, 1, types)))
        return refuse_type(nft);
    if (word_is(nft, 0, "typeof") && !is_address_expression(nft))
        return refuse_type(nft);
    if (word_is(nft, 0, "timeout") && !read_duration(nft, word_at(nft, 1), &nft->set.timeout)) {
        nft->set.refused = true;
        return say_statement(nft, false);
    }
    /* Of every element of the set. */
    if (find_option(word_at(nft, 0)) == OPTION_STATEMENT &&
        must_say_statement(nft, word_at(nft, 0)))
        return say_statement(nft, true);
    return 0;
}

static int end_in_file(struct nft *nft)
{
    static const char *const silent[] = {"define", "undefine", "redefine", "table", NULL};
    static const char *const changes[] = {"flush", "delete", "destroy", "reset", "rename", NULL};
    size_t at = verb_words(nft);

    if (word_is(nft, at, "element") || word_is(nft, at, "elements"))
        because(nft, "nft list set prints the addresses themselves",
                "elements that are not listed here");
    else if (word_is_one_of(nft, 0, changes) && nft->in->entries)
        because(nft, "nft list ruleset prints what is there now",
                "\"%s\" behind elements: a list of elements is wanted", word_at(nft, 0));
    else if (at || word_is_one_of(nft, 0, changes))
        return note_rules(nft);
    else if (word_is_one_of(nft, 0, silent))
        return 0;
    else
        because(nft, "nft list set prints: table inet NAME { set NAME { ... } }",
                "\"%s\" is not known here", word_at(nft, 0));
    return say_statement(nft, false);
}

static int end_statement(struct nft *nft)
{
    int r = 0;

    if (!nft->n_words || nft->passed)
        r = 0;
    else if (word_is(nft, 0, "include"))
        r = refuse_include(nft);
    else if (nft->blocks[nft->depth] == BLOCK_FILE)
        r = end_in_file(nft);
    else if (nft->blocks[nft->depth] == BLOCK_SET)
        r = end_in_set(nft);
    forget_statement(nft);
    return r;
}

static int take_in_block(struct nft *nft)
{
    int r;

    switch (nft->token.kind) {
    case TOKEN_WORD:
    case TOKEN_TEXT:
        take_statement_word(nft);
        return 0;
    case TOKEN_EQUALS:
        nft->equals = true;
        return 0;
    case TOKEN_LINE:
        return end_statement(nft);
    case TOKEN_OPEN:
        return open_block(nft);
    case TOKEN_CLOSE:
        r = end_statement(nft);
        return r == 0 ? close_block(nft) : r;
    default:
        return 0;
    }
}

/* ---- all of it ---- */

static int take_token(struct nft *nft)
{
    if (nft->token.kind == TOKEN_BAD)
        return nft->blocks[nft->depth] == BLOCK_ELEMENTS ? spoil(nft) : say_token(nft, false);
    if (nft->passed_over) {
        nft->passed_over += nft->token.kind == TOKEN_OPEN;
        nft->passed_over -= nft->token.kind == TOKEN_CLOSE;
        return 0;
    }
    return nft->blocks[nft->depth] == BLOCK_ELEMENTS ? take_in_elements(nft) : take_in_block(nft);
}

static int take_end(struct nft *nft)
{
    int r = 0;

    if (nft->blocks[nft->depth] != BLOCK_ELEMENTS)
        r = end_statement(nft);
    if (r < 0 || (!nft->depth && !nft->passed_over))
        return r;
    because(nft, "is it complete? nft list set closes every {", "the file ends within { }");
    return say_token(nft, false);
}

int bulk_read_nft(struct bulk_input *in)
{
    struct nft nft = {.in = in, .blocks = {BLOCK_FILE}};
    int r = 0;

    do {
        next_token(&nft);
        r = nft.token.kind == TOKEN_END ? take_end(&nft) : take_token(&nft);
    } while (r == 0 && nft.token.kind != TOKEN_END);
    return r;
}
