/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See ruleset.h: what iptables-save and ip6tables-save print. A rule is a line of options; each
 * table has its own chains, those in capitals are where packets come.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ruleset_eval.h"

#define WORDS_MAX 128

struct reader {
    struct rs_set set;
    enum addr_family family;
    const char *table;
    struct rs_rule rule;              /* of the line being read */
    bool negated;                     /* a "!" stood before */
    struct rs_candidates *candidates; /* NULL: not wanted */
};

/* A word at @at, cut off in place; @ret_next is behind it. Quotes as iptables-save sets them. */
static char *take_word(char *at, char **ret_next)
{
    char *word, *to;
    bool quoted;

    at += strspn(at, " \t");
    if (!*at)
        return NULL;
    quoted = *at == '"';
    word = to = at + quoted;
    at = word;
    while (*at && (quoted ? *at != '"' : *at != ' ' && *at != '\t')) {
        if (quoted && *at == '\\' && at[1])
            at++;
        *to++ = *at++;
    }
    *ret_next = *at ? at + 1 : at;
    *to = '\0';
    return word;
}

static void narrow(struct reader *reader, struct rs_match match)
{
    reader->rule.match = rs_both(reader->rule.match, match);
}

/* The next of "25", "25:30", "25,465:470"; false: that is none. */
static bool take_ports(const char **list, unsigned int *ret_low, unsigned int *ret_high)
{
    unsigned long low, high;
    char *end;

    low = strtoul(*list, &end, 10);
    high = low;
    if (*end == ':')
        high = end[1] && isdigit((unsigned char)end[1]) ? strtoul(end + 1, &end, 10) : 65535;
    while (*end == ':')
        end++;
    if ((*end && *end != ',') || low > 65535 || high > 65535)
        return false;
    *ret_low = (unsigned int)low;
    *ret_high = (unsigned int)high;
    *list = *end ? end + 1 : end;
    return true;
}

static struct rs_match match_ports(const struct reader *reader, const char *list)
{
    uint32_t cases = 0;
    unsigned int low, high;

    while (*list) {
        if (!take_ports(&list, &low, &high))
            return rs_who_knows(reader->set.host);
        cases |= rs_port_cases(reader->set.host, low, high);
    }
    return rs_only(reader->set.host, cases, reader->negated);
}

static struct rs_match match_protocol(const struct reader *reader, const char *name)
{
    bool tcp = !strcmp(name, "tcp") || !strcmp(name, "6") || !strcmp(name, "all");

    return rs_only(reader->set.host, tcp ? RS_IP4 | RS_IP6 : 0, reader->negated);
}

/* "192.0.2.0/24"; iptables-save prints masks with holes as "192.0.2.0/255.0.255.0". */
static bool parse_network(const char *text, enum addr_family family, struct addr *ret_first,
                          struct addr *ret_last)
{
    char buf[ADDR_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    unsigned long bits = addr_len(family) * 8;
    struct addr addr;
    char *end;

    if (len >= sizeof(buf))
        return false;
    memcpy(buf, text, len);
    buf[len] = '\0';
    if (addr_parse(buf, &addr, NULL) < 0 || addr.family != family)
        return false;
    if (slash) {
        unsigned long given = strtoul(slash + 1, &end, 10);

        if (*end || end == slash + 1 || given > bits)
            return false;
        bits = given;
    }
    rs_bounds(&addr, (unsigned int)bits, ret_first, ret_last);
    return true;
}

static struct rs_match match_destination(const struct reader *reader, const char *text)
{
    const struct ruleset_host *host = reader->set.host;
    struct addr first, last;

    if (!parse_network(text, reader->family, &first, &last))
        return rs_who_knows(host);
    return rs_share(host, rs_own_hits(host, &first, &last), rs_count_own(host, reader->family),
                    reader->negated);
}

static struct rs_match match_source(const struct reader *reader, const char *text)
{
    size_t len = strlen(text);

    if (len > 2 && !strcmp(text + len - 2, "/0"))
        return rs_only(reader->set.host, RS_IP4 | RS_IP6, reader->negated);
    return rs_sources(reader->set.host, reader->negated);
}

static struct rs_match match_iface(const struct reader *reader, const char *name)
{
    const struct ruleset_host *host = reader->set.host;

    return rs_ifaces(host, rs_iface_hits(host, name, '+'), !strcmp(name, "lo"), reader->negated);
}

/* Whether "A,B,C" holds @word. */
static bool list_holds(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (; list; list = strchr(list, ',')) {
        list += *list == ',';
        if (!strncasecmp(list, word, len) && (list[len] == ',' || !list[len]))
            return true;
    }
    return false;
}

static struct rs_match match_word(const struct reader *reader, const char *list, const char *word)
{
    return rs_only(reader->set.host, list_holds(list, word) ? RS_IP4 | RS_IP6 : 0, reader->negated);
}

/* What --tcp-flags MASK COMP says of the first packet of a connection. */
static struct rs_match match_flags(const struct reader *reader, const char *mask, const char *comp)
{
    bool masked = list_holds(mask, "SYN") || list_holds(mask, "ALL");
    bool set = list_holds(comp, "SYN") && !strchr(comp, ',');
    bool none = !strcasecmp(comp, "NONE");

    return rs_only(reader->set.host, (masked ? set : none) ? RS_IP4 | RS_IP6 : 0, reader->negated);
}

/* ---- options ---- */

enum option {
    OPT_IGNORED, /* says nothing of the packet */
    OPT_PROTOCOL,
    OPT_PORTS,
    OPT_SOURCE,
    OPT_DESTINATION,
    OPT_IFACE,
    OPT_STATE,
    OPT_DST_TYPE,
    OPT_PKT_TYPE,
    OPT_SYN,
    OPT_FLAGS,
    OPT_FRAGMENT,
    OPT_SET,
    OPT_MODULE,
    OPT_JUMP,
    OPT_GOTO,
};

static const struct option_row {
    const char *name;
    enum option option;
    unsigned int words; /* behind it */
} options[] = {
    {"-p", OPT_PROTOCOL, 1},
    {"--dport", OPT_PORTS, 1},
    {"--dports", OPT_PORTS, 1},
    {"--ports", OPT_PORTS, 1},
    {"-s", OPT_SOURCE, 1},
    {"--src-range", OPT_SOURCE, 1},
    {"--source-country", OPT_SOURCE, 1},
    {"--src-cc", OPT_SOURCE, 1},
    {"--mac-source", OPT_SOURCE, 1},
    {"-d", OPT_DESTINATION, 1},
    {"-i", OPT_IFACE, 1},
    {"--ctstate", OPT_STATE, 1},
    {"--state", OPT_STATE, 1},
    {"--dst-type", OPT_DST_TYPE, 1},
    {"--pkt-type", OPT_PKT_TYPE, 1},
    {"--syn", OPT_SYN, 0},
    {"--tcp-flags", OPT_FLAGS, 2},
    {"-f", OPT_FRAGMENT, 0},
    {"--match-set", OPT_SET, 2},
    {"--comment", OPT_IGNORED, 1},
    {"-c", OPT_IGNORED, 2},
    {"-m", OPT_MODULE, 1},
    {"-j", OPT_JUMP, 1},
    {"-g", OPT_GOTO, 1},
};

/* Those that ask nothing by themselves, or only by options that are known above. */
static const char *const modules[] = {
    "tcp",     "multiport", "conntrack", "state",   "comment", "addrtype",
    "pkttype", "set",       "iprange",   "country", "geoip",   "mac",
};

static struct rs_match match_module(const struct reader *reader, const char *name)
{
    static const char *const others[] = {"udp", "udplite", "sctp", "dccp", "icmp", "icmp6"};
    size_t i;

    for (i = 0; i < RS_SIZE(modules); i++)
        if (!strcmp(name, modules[i]))
            return rs_everything(reader->set.host);
    for (i = 0; i < RS_SIZE(others); i++)
        if (!strcmp(name, others[i]))
            return rs_nothing();
    return rs_who_knows(reader->set.host);
}

static void set_verdict(struct reader *reader, const char *target, bool jump)
{
    static const struct {
        const char *target;
        enum rs_verdict verdict;
    } known[] = {
        {"DROP", RS_DROP},      {"REJECT", RS_DROP},     {"TARPIT", RS_DROP},
        {"STEAL", RS_DROP},     {"ACCEPT", RS_ACCEPT},   {"REDIRECT", RS_MOVE},
        {"DNAT", RS_MOVE},      {"TPROXY", RS_ACCEPT},   {"QUEUE", RS_ACCEPT},
        {"NFQUEUE", RS_ACCEPT}, {"SYNPROXY", RS_ACCEPT}, {"RETURN", RS_RETURN},
    };
    size_t i;

    reader->rule.verdict = jump ? RS_JUMP : RS_GOTO;
    reader->rule.target = target; /* a chain that is not there: a target that lets go on */
    for (i = 0; jump && i < RS_SIZE(known); i++)
        if (!strcmp(known[i].target, target))
            reader->rule.verdict = known[i].verdict;
}

static void take_option(struct reader *reader, enum option option, const char *one, const char *two)
{
    const struct ruleset_host *host = reader->set.host;

    switch (option) {
    case OPT_PROTOCOL:
        narrow(reader, match_protocol(reader, one));
        break;
    case OPT_PORTS:
        narrow(reader, match_ports(reader, one));
        break;
    case OPT_SOURCE:
        narrow(reader, match_source(reader, one));
        break;
    case OPT_DESTINATION:
        narrow(reader, match_destination(reader, one));
        break;
    case OPT_IFACE:
        narrow(reader, match_iface(reader, one));
        break;
    case OPT_STATE:
        narrow(reader, match_word(reader, one, "NEW"));
        break;
    case OPT_DST_TYPE:
        narrow(reader, match_word(reader, one, "LOCAL"));
        break;
    case OPT_PKT_TYPE:
        narrow(reader, match_word(reader, one, "host"));
        break;
    case OPT_SYN:
        narrow(reader, rs_only(host, RS_IP4 | RS_IP6, reader->negated));
        break;
    case OPT_FLAGS:
        narrow(reader, match_flags(reader, one, two));
        break;
    case OPT_FRAGMENT:
        narrow(reader, rs_only(host, 0, reader->negated));
        break;
    case OPT_SET:
        narrow(reader, strncmp(two, "src", 3) != 0 ? rs_who_knows(host)
                                                   : rs_sources(host, reader->negated));
        break;
    case OPT_MODULE:
        narrow(reader, match_module(reader, one));
        break;
    case OPT_JUMP:
    case OPT_GOTO:
        set_verdict(reader, one, option == OPT_JUMP);
        break;
    case OPT_IGNORED:
    default:
        break;
    }
}

/* Behind a target are the target's own options. */
static void take_words(struct reader *reader, char **words, unsigned int n)
{
    unsigned int i;
    size_t j;

    for (i = 0; i < n && reader->rule.verdict == RS_GO_ON; i++) {
        const struct option_row *row = NULL;

        reader->negated = !strcmp(words[i], "!") && i + 1 < n;
        i += reader->negated;
        for (j = 0; j < RS_SIZE(options) && !row; j++)
            if (!strcmp(words[i], options[j].name))
                row = &options[j];
        if (!row || i + row->words >= n) {
            narrow(reader, rs_who_knows(reader->set.host));
            continue;
        }
        take_option(reader, row->option, row->words ? words[i + 1] : "",
                    row->words > 1 ? words[i + 2] : "");
        i += row->words;
    }
}

/* ---- where a rule sends to ---- */

/* "--to-ports 587", "--to-destination 192.0.2.1:587", "[2001:db8::1]:587-590", "--on-port 587" */
static unsigned int target_of(const char *option, const char *value)
{
    const char *colon = strrchr(value, ':');
    unsigned long port = 0;

    if (!strcmp(option, "--to-ports") || !strcmp(option, "--on-port"))
        port = strtoul(value, NULL, 10);
    else if (!strcmp(option, "--to-destination") && colon &&
             (colon == strchr(value, ':') || (colon > value && colon[-1] == ']')))
        port = strtoul(colon + 1, NULL, 10);
    return port <= UINT16_MAX ? (unsigned int)port : 0;
}

static void name_ports(struct reader *reader, char **words, unsigned int n)
{
    bool any = false;
    unsigned int i, low, high;

    for (i = 0; i + 1 < n; i++) {
        const char *list = words[i + 1];

        if (strncmp(words[i], "--dport", strlen("--dport")) != 0 || (i && *words[i - 1] == '!'))
            continue;
        any = true;
        while (*list && take_ports(&list, &low, &high))
            rs_add_candidate(reader->candidates, reader->set.host, low, high);
    }
    if (!any)
        rs_add_any_candidate(reader->candidates, reader->set.host);
}

static void find_target(struct reader *reader, char **words, unsigned int n)
{
    enum rs_verdict verdict = reader->rule.verdict;
    unsigned int i, port = 0;

    if (verdict != RS_MOVE && verdict != RS_ACCEPT)
        return;
    for (i = 0; i + 1 < n && !port; i++)
        port = target_of(words[i], words[i + 1]);
    if (!rs_is_guarded(reader->set.host, port))
        return;
    reader->rule.to = (uint16_t)port;
    if (reader->candidates)
        name_ports(reader, words, n);
}

/* ---- sources ---- */

static bool parse_source(const char *text, enum addr_family family, struct who *ret_who)
{
    const char *dash = strchr(text, '-');
    char first[ADDR_TEXT_MAX];

    if (!dash) {
        if (!parse_network(text, family, &ret_who->first, &ret_who->last))
            return false;
        ret_who->kind = addr_cmp(&ret_who->first, &ret_who->last) ? WHO_SEGMENT : WHO_ADDRESS;
        return true;
    }
    ret_who->kind = WHO_RANGE;
    snprintf(first, sizeof(first), "%.*s", (int)(dash - text), text);
    return addr_parse(first, &ret_who->first, NULL) == 0 &&
           addr_parse(dash + 1, &ret_who->last, NULL) == 0 && ret_who->first.family == family &&
           ret_who->last.family == family && addr_cmp(&ret_who->first, &ret_who->last) <= 0;
}

/* By the rule's line, in which one such option stands. */
static void each_source(struct rs_set *set, const struct rs_chain *chain,
                        const struct rs_rule *rule, rs_source_fn *fn, void *arg)
{
    /* @set is the first in it. */
    const struct reader *reader = (const struct reader *)(const void *)set;
    char *copy = strdup(rule->text), *at = copy, *word;
    bool negated = false, source = false, more = true;
    struct who who;

    (void)chain;
    while (copy && more && (word = take_word(at, &at))) {
        if (source && parse_source(word, reader->family, &who))
            more = fn(&who, arg);
        source = !negated && (!strcmp(word, "-s") || !strcmp(word, "--src-range"));
        negated = !strcmp(word, "!");
    }
    free(copy);
}

/* ---- lines ---- */

/* "-A CHAIN ..."; @line is kept as it is to be shown, @copy is cut into words. */
static int read_rule(struct reader *reader, const char *line, char *copy)
{
    char *words[WORDS_MAX], *at = copy + strlen("-A "), *name = take_word(at, &at), *word;
    struct rs_chain *chain;
    unsigned int n = 0;

    chain = name && reader->table ? rs_find_chain(&reader->set, "", reader->table, name) : NULL;
    if (!chain)
        return -EINVAL;
    reader->rule = (struct rs_rule){.match = rs_everything(reader->set.host), .text = line};
    while (n < WORDS_MAX && (word = take_word(at, &at)))
        words[n++] = word;
    take_words(reader, words, n);
    find_target(reader, words, n);
    if (n == WORDS_MAX)
        narrow(reader, rs_who_knows(reader->set.host));
    return rs_add_rule(chain, &reader->rule);
}

/* ":INPUT DROP [0:0]" */
static int read_chain(struct reader *reader, char *copy)
{
    struct rs_chain chain = {.family = "", .table = reader->table};
    char *at = copy + 1, *policy;

    chain.name = take_word(at, &at);
    policy = take_word(at, &at);
    if (!chain.name || !policy || !chain.table)
        return -EINVAL;
    chain.input = !strcmp(chain.name, "INPUT");
    chain.base = chain.input || !strcmp(chain.name, "PREROUTING");
    chain.match = rs_only(reader->set.host, reader->family == ADDR_IP4 ? RS_IP4 : RS_IP6, false);
    chain.drops = !strcmp(policy, "DROP");
    return rs_add_chain(&reader->set, &chain) ? 0 : -ENOMEM;
}

static int read_line(struct reader *reader, const char *line, char *copy)
{
    char *at = copy + 1;

    switch (*line) {
    case '\0':
    case '#':
        return 0;
    case '*':
        reader->table = take_word(at, &at);
        return reader->table ? 0 : -EINVAL;
    case ':':
        return read_chain(reader, copy);
    case '-':
        return strncmp(line, "-A ", 3) != 0 ? -EINVAL : read_rule(reader, line, copy);
    default:
        return strcmp(line, "COMMIT") != 0 ? -EINVAL : 0;
    }
}

static int read_lines(struct reader *reader, char *text, char *copy)
{
    int r = 0;

    while (r == 0 && *text) {
        size_t len = strcspn(text, "\n");
        bool last = !text[len];

        text[len] = copy[len] = '\0';
        r = read_line(reader, text, copy);
        text += len + !last;
        copy += len + !last;
    }
    return r;
}

/* For connections to @host; @candidates NULL: none are looked for. */
static int read_all(const char *text, const struct reader *like, const struct ruleset_host *host,
                    struct rs_candidates *candidates, struct ruleset_findings *findings)
{
    char *lines = strdup(text), *words = strdup(text);
    struct reader reader = *like;
    int r;

    reader.set.host = host;
    reader.candidates = candidates;
    r = lines && words ? read_lines(&reader, lines, words) : -ENOMEM;

    if (r == 0)
        rs_follow(&reader.set, findings);
    rs_free(&reader.set);
    free(lines);
    free(words);
    return r;
}

int ruleset_read_iptables(const char *text, enum addr_family family, const char *command,
                          const struct ruleset_host *host, struct ruleset_findings *findings)
{
    struct reader like = {.set = {.command = command, .each_source = each_source},
                          .family = family};
    struct rs_candidates candidates = {0};
    int r = read_all(text, &like, host, &candidates, findings);

    if (r == 0 && candidates.count) {
        struct ruleset_host other = rs_candidate_host(&candidates, host);
        struct ruleset_findings second = {0};

        r = read_all(text, &like, &other, NULL, &second);
        rs_take_leads(findings, &second, &candidates);
    }
    return r;
}
