/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See ruleset.h: what nft -j list ruleset prints (libnftables-json(5)). A rule is a list of
 * statements, of which matches narrow it and verdicts end it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ruleset_eval.h"

#define SET_DEPTH_MAX 8

#define TCP_SYN 0x02

struct reader {
    struct rs_set set;
    json_t *all; /* the array of tables, chains, sets and rules */
    bool terse;
    bool compat4, compat6;
    struct rs_chain *chain; /* of the rule being read */
    struct rs_rule rule;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* The one member of {"name": value}. */
static const char *only_key(json_t *object, json_t **ret_value)
{
    void *at = json_object_iter(object);

    *ret_value = at ? json_object_iter_value(at) : NULL;
    return at ? json_object_iter_key(at) : "";
}

/* ---- what iptables made ---- */

/* The tables that iptables-nft keeps its rules in. */
static bool is_compat_table(const char *family, const char *table)
{
    static const char *const names[] = {"filter", "raw", "mangle", "nat", "security"};
    size_t i;

    if (strcmp(family, "ip") != 0 && strcmp(family, "ip6") != 0)
        return false;
    for (i = 0; i < RS_SIZE(names); i++)
        if (!strcmp(table, names[i]))
            return true;
    return false;
}

static bool has_extension(const json_t *rule)
{
    json_t *expr = json_object_get(rule, "expr");
    json_t *statement;
    size_t i;

    json_array_foreach (expr, i, statement)
        if (json_object_get(statement, "xt"))
            return true;
    return false;
}

static void find_compat(struct reader *reader)
{
    json_t *item, *rule;
    size_t i;

    json_array_foreach (reader->all, i, item) {
        rule = json_object_get(item, "rule");
        if (!rule || !has_extension(rule))
            continue;
        if (is_compat_table(text_of(rule, "family"), text_of(rule, "table"))) {
            reader->compat4 |= !strcmp(text_of(rule, "family"), "ip");
            reader->compat6 |= !strcmp(text_of(rule, "family"), "ip6");
        }
    }
}

static bool is_left_out(const struct reader *reader, const json_t *item)
{
    const char *family = text_of(item, "family");

    return (!strcmp(family, "ip") ? reader->compat4 : reader->compat6) &&
           is_compat_table(family, text_of(item, "table"));
}

/* ---- values ---- */

/* Walks what stands on the right: a value, a list, a set, a set with a name. */
struct values {
    const struct reader *reader;
    void (*fn)(json_t *value, void *arg);
    void *arg;
    bool unknown; /* not all could be met */
};

static void each_value(struct values *values, json_t *right, unsigned int depth);

static void each_item(struct values *values, json_t *array, unsigned int depth)
{
    json_t *item;
    size_t i;

    json_array_foreach (array, i, item)
        each_value(values, item, depth + 1);
}

/* A set or a map of this table, by its name. */
static json_t *find_named(const struct reader *reader, const char *kind, const char *name)
{
    json_t *item;
    size_t i;

    json_array_foreach (reader->all, i, item) {
        json_t *set = json_object_get(item, kind);

        if (set && !strcmp(text_of(set, "name"), name) &&
            !strcmp(text_of(set, "table"), reader->chain->table) &&
            !strcmp(text_of(set, "family"), reader->chain->family))
            return set;
    }
    return NULL;
}

static void each_named(struct values *values, const char *name, unsigned int depth)
{
    json_t *set = find_named(values->reader, "set", name);

    if (!set || values->reader->terse)
        values->unknown = true;
    else
        each_item(values, json_object_get(set, "elem"), depth);
}

static void each_value(struct values *values, json_t *right, unsigned int depth)
{
    const char *text = json_string_value(right);
    json_t *inner;

    if (depth > SET_DEPTH_MAX)
        values->unknown = true;
    else if (text && *text == '@')
        each_named(values, text + 1, depth);
    else if (json_is_array(right))
        each_item(values, right, depth);
    else if ((inner = json_object_get(right, "set")))
        each_value(values, inner, depth + 1);
    else if ((inner = json_object_get(right, "elem")))
        each_value(values, json_object_get(inner, "val"), depth + 1);
    else
        values->fn(right, values->arg);
}

static bool is_number(const json_t *value, long long wanted)
{
    return json_is_integer(value) && json_integer_value(value) == wanted;
}

static bool is_text(const json_t *value, const char *wanted)
{
    return json_is_string(value) && !strcmp(json_string_value(value), wanted);
}

/* {"range": [a, b]}, or a number as both. */
static bool bounds_of(json_t *value, json_t **ret_low, json_t **ret_high)
{
    json_t *range = json_object_get(value, "range");

    *ret_low = range ? json_array_get(range, 0) : value;
    *ret_high = range ? json_array_get(range, 1) : value;
    return *ret_low && *ret_high;
}

/* ---- one kind of match each ---- */

/* What the values on the right come to. */
struct sum {
    const struct reader *reader;
    const char *words[3]; /* any of them is a hit */
    long long number;     /* so is this */
    enum addr_family family;
    uint32_t cases;
    size_t hits;
    bool hit;
    bool all;      /* a source of any kind */
    bool loopback; /* among the interfaces, and nothing else */
    bool unknown;
};

static struct values walk(struct sum *sum, void (*fn)(json_t *value, void *arg), json_t *right)
{
    struct values values = {.reader = sum->reader, .fn = fn, .arg = sum};

    each_value(&values, right, 0);
    sum->unknown |= values.unknown;
    return values;
}

static void sum_port(json_t *value, void *arg)
{
    struct sum *sum = arg;
    json_t *low, *high;

    if (!bounds_of(value, &low, &high) || !json_is_integer(low) || !json_is_integer(high) ||
        json_integer_value(low) < 0 || json_integer_value(high) > 65535) {
        sum->unknown = true;
        return;
    }
    sum->cases |= rs_port_cases(sum->reader->set.host, (unsigned int)json_integer_value(low),
                                (unsigned int)json_integer_value(high));
}

static void sum_word(json_t *value, void *arg)
{
    struct sum *sum = arg;
    json_t *low, *high;
    size_t i;

    for (i = 0; i < RS_SIZE(sum->words) && sum->words[i]; i++)
        sum->hit |= is_text(value, sum->words[i]);
    sum->hit |= is_number(value, sum->number);
    if (json_object_get(value, "range") && bounds_of(value, &low, &high) &&
        json_integer_value(low) <= sum->number && json_integer_value(high) >= sum->number)
        sum->hit = true;
}

static void sum_iface(json_t *value, void *arg)
{
    struct sum *sum = arg;
    const char *name = json_string_value(value);

    if (!name) {
        sum->unknown = true;
        return;
    }
    if (!strcmp(name, "lo"))
        return;
    sum->loopback = false;
    sum->hits += rs_iface_hits(sum->reader->set.host, name, '*');
}

/* "192.0.2.1", {"prefix": {"addr": "192.0.2.0", "len": 24}}, {"range": [...]} */
static bool addresses_of(json_t *value, struct addr *ret_first, struct addr *ret_last)
{
    json_t *prefix = json_object_get(value, "prefix"), *low, *high;
    long long len = json_integer_value(json_object_get(prefix, "len"));
    struct addr addr;

    if (prefix) {
        if (addr_parse(text_of(prefix, "addr"), &addr, NULL) < 0 || len < 0 ||
            len > (long long)addr_len(addr.family) * 8)
            return false;
        rs_bounds(&addr, (unsigned int)len, ret_first, ret_last);
        return true;
    }
    return bounds_of(value, &low, &high) && json_is_string(low) && json_is_string(high) &&
           addr_parse(json_string_value(low), ret_first, NULL) == 0 &&
           addr_parse(json_string_value(high), ret_last, NULL) == 0;
}

static void sum_destination(json_t *value, void *arg)
{
    struct sum *sum = arg;
    struct addr first, last;

    if (addresses_of(value, &first, &last))
        sum->hits += rs_own_hits(sum->reader->set.host, &first, &last);
    else
        sum->unknown = true;
}

static void sum_source(json_t *value, void *arg)
{
    struct sum *sum = arg;
    json_t *len = json_object_get(json_object_get(value, "prefix"), "len");

    sum->hit = true;
    sum->all |= is_number(len, 0);
}

static struct rs_match match_ports(const struct reader *reader, const char *op, json_t *right)
{
    const struct ruleset_host *host = reader->set.host;
    struct sum sum = {.reader = reader};
    long long than = json_integer_value(right);

    if (*op == '<' || *op == '>') {
        if (!json_is_integer(right) || than < 0 || than > 65535)
            return rs_who_knows(host);
        than += !strcmp(op, "<=") ? 1 : !strcmp(op, ">=") ? -1 : 0;
        sum.cases = *op == '<' ? rs_port_cases(host, 0, than > 0 ? (unsigned int)than - 1 : 0)
                               : rs_port_cases(host, (unsigned int)(than + 1), 65535);
    } else {
        walk(&sum, sum_port, right);
    }
    return sum.unknown ? rs_who_knows(host) : rs_only(host, sum.cases, !strcmp(op, "!="));
}

/* A field that has one value in all packets of @cases, which @words and @number spell. */
static struct rs_match match_word(const struct reader *reader, const char *op, json_t *right,
                                  const char *const words[3], long long number, uint32_t cases)
{
    const struct ruleset_host *host = reader->set.host;
    struct sum sum = {.reader = reader, .number = number};

    memcpy(sum.words, words, sizeof(sum.words));
    if (*op == '<' || *op == '>')
        return rs_who_knows(host);
    walk(&sum, sum_word, right);
    if (sum.unknown)
        return rs_who_knows(host);
    return rs_only(host, sum.hit ? cases : 0, !strcmp(op, "!="));
}

/* The protocol of both families: the cases of each by its own number. */
static struct rs_match match_family(const struct reader *reader, const char *op, json_t *right,
                                    const char *const ip4[3], long long number4,
                                    const char *const ip6[3], long long number6)
{
    bool negated = !strcmp(op, "!=");
    struct rs_match one = match_word(reader, "==", right, ip4, number4, RS_IP4);
    struct rs_match two = match_word(reader, "==", right, ip6, number6, RS_IP6);

    if (one.reach || two.reach)
        return rs_who_knows(reader->set.host);
    return rs_only(reader->set.host, one.cases | two.cases, negated);
}

static struct rs_match match_iface(const struct reader *reader, const char *op, json_t *right)
{
    struct sum sum = {.reader = reader, .loopback = true};

    walk(&sum, sum_iface, right);
    if (sum.unknown)
        return rs_who_knows(reader->set.host);
    return rs_ifaces(reader->set.host, sum.hits, sum.loopback, !strcmp(op, "!="));
}

static struct rs_match match_address(const struct reader *reader, const char *field, const char *op,
                                     json_t *right, enum addr_family family)
{
    const struct ruleset_host *host = reader->set.host;
    struct sum sum = {.reader = reader};
    bool negated = !strcmp(op, "!=");

    if (!strcmp(field, "daddr")) {
        walk(&sum, sum_destination, right);
        return sum.unknown ? rs_who_knows(host)
                           : rs_share(host, sum.hits, rs_count_own(host, family), negated);
    }
    walk(&sum, sum_source, right);
    if (sum.all || (!sum.hit && !sum.unknown)) /* all of them, or an empty set */
        return rs_only(host, sum.all ? RS_IP4 | RS_IP6 : 0, negated);
    return rs_sources(host, negated);
}

static int flag_bits(json_t *value, unsigned int depth)
{
    static const char *const names[] = {"fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"};
    json_t *items = json_is_array(value) ? value : json_object_get(value, "|"), *item;
    int bits = 0;
    size_t i;

    for (i = 0; i < RS_SIZE(names); i++)
        if (is_text(value, names[i]))
            return 1 << i;
    if (json_is_integer(value))
        return (int)(json_integer_value(value) & 0xff);
    if (!json_is_array(items) || depth > SET_DEPTH_MAX)
        return -1;
    json_array_foreach (items, i, item) {
        int more = flag_bits(item, depth + 1);

        if (more < 0)
            return -1;
        bits |= more;
    }
    return bits;
}

/* Of the first packet of a connection, which has SYN alone. @mask NULL: all flags. */
static struct rs_match match_flags(const struct reader *reader, const char *op, json_t *mask,
                                   json_t *right)
{
    int masked = mask ? flag_bits(mask, 0) : 0xff, wanted = flag_bits(right, 0);
    bool holds;

    if (masked < 0 || wanted < 0)
        return rs_who_knows(reader->set.host);
    holds = !strcmp(op, "in") ? TCP_SYN & masked & wanted : (TCP_SYN & masked) == wanted;
    return rs_only(reader->set.host, holds ? RS_IP4 | RS_IP6 : 0, !strcmp(op, "!="));
}

/* ---- matches ---- */

static const char *const tcp_words[3] = {"tcp"};
static const char *const nothing_words[3] = {NULL};

/* One of a transport protocol that is not TCP does not match. */
static bool is_other_transport(const char *protocol)
{
    static const char *const names[] = {"udp",  "udplite", "sctp", "dccp", "icmp", "icmpv6",
                                        "igmp", "esp",     "ah",   "comp", "arp"};
    size_t i;

    for (i = 0; i < RS_SIZE(names); i++)
        if (!strcmp(protocol, names[i]))
            return true;
    return false;
}

static struct rs_match match_transport(const struct reader *reader, const char *field,
                                       const char *op, json_t *right)
{
    if (!strcmp(field, "dport"))
        return match_ports(reader, op, right);
    if (!strcmp(field, "flags"))
        return match_flags(reader, op, NULL, right);
    return rs_who_knows(reader->set.host);
}

static struct rs_match match_ip(const struct reader *reader, const char *field, const char *op,
                                json_t *right, enum addr_family family)
{
    const struct ruleset_host *host = reader->set.host;
    struct rs_match own = rs_only(host, family == ADDR_IP4 ? RS_IP4 : RS_IP6, false);

    if (!strcmp(field, "saddr") || !strcmp(field, "daddr"))
        return rs_both(own, match_address(reader, field, op, right, family));
    if (!strcmp(field, "protocol") || !strcmp(field, "nexthdr"))
        return rs_both(own, match_word(reader, op, right, tcp_words, 6, RS_IP4 | RS_IP6));
    return rs_both(own, rs_who_knows(host));
}

static struct rs_match match_payload(const struct reader *reader, json_t *payload, const char *op,
                                     json_t *right)
{
    static const char *const ip4[3] = {"ip"}, *const ip6[3] = {"ip6"};
    const char *protocol = text_of(payload, "protocol"), *field = text_of(payload, "field");

    if (!strcmp(protocol, "tcp") || !strcmp(protocol, "th"))
        return match_transport(reader, field, op, right);
    if (!strcmp(protocol, "ip"))
        return match_ip(reader, field, op, right, ADDR_IP4);
    if (!strcmp(protocol, "ip6"))
        return match_ip(reader, field, op, right, ADDR_IP6);
    if (!strcmp(protocol, "ether") && !strcmp(field, "type"))
        return match_family(reader, op, right, ip4, 0x0800, ip6, 0x86dd);
    if (is_other_transport(protocol))
        return rs_nothing();
    return rs_who_knows(reader->set.host);
}

static struct rs_match match_meta(const struct reader *reader, const char *key, const char *op,
                                  json_t *right)
{
    static const char *const ipv4[3] = {"ipv4"}, *const ipv6[3] = {"ipv6"};
    static const char *const ip4[3] = {"ip"}, *const ip6[3] = {"ip6"};
    static const char *const host[3] = {"host", "unicast"};

    if (!strcmp(key, "l4proto"))
        return match_word(reader, op, right, tcp_words, 6, RS_IP4 | RS_IP6);
    if (!strcmp(key, "nfproto"))
        return match_family(reader, op, right, ipv4, 2, ipv6, 10);
    if (!strcmp(key, "protocol"))
        return match_family(reader, op, right, ip4, 0x0800, ip6, 0x86dd);
    if (!strcmp(key, "iif") || !strcmp(key, "iifname"))
        return match_iface(reader, op, right);
    if (!strcmp(key, "pkttype"))
        return match_word(reader, op, right, host, 0, RS_IP4 | RS_IP6);
    return rs_who_knows(reader->set.host);
}

/* A new connection, of which nothing was translated. */
static struct rs_match match_conntrack(const struct reader *reader, const char *key, const char *op,
                                       json_t *right)
{
    static const char *const state[3] = {"new"}, *const direction[3] = {"original"};

    if (!strcmp(key, "state"))
        return match_word(reader, op, right, state, 8, RS_IP4 | RS_IP6);
    if (!strcmp(key, "direction"))
        return match_word(reader, op, right, direction, 0, RS_IP4 | RS_IP6);
    if (!strcmp(key, "status"))
        return match_word(reader, op, right, nothing_words, -1, RS_IP4 | RS_IP6);
    return rs_who_knows(reader->set.host);
}

/* To an address of this host, by a way that leads back. */
static struct rs_match match_fib(const struct reader *reader, json_t *fib, const char *op,
                                 json_t *right)
{
    static const char *const local[3] = {"local"}, *const unicast[3] = {"unicast"};
    json_t *flags = json_object_get(fib, "flags"), *flag;
    bool to_us = is_text(flags, "daddr");
    size_t i;

    json_array_foreach (flags, i, flag)
        to_us |= is_text(flag, "daddr");
    if (!strcmp(text_of(fib, "result"), "type"))
        return match_word(reader, op, right, to_us ? local : unicast, -1, RS_IP4 | RS_IP6);
    /* "fib saddr . iif oif missing", or 0, or false: not of a packet that could be answered. */
    return rs_only(reader->set.host, 0, !strcmp(op, "!="));
}

static struct rs_match match(const struct reader *reader, json_t *left, const char *op,
                             json_t *right);

/* "ip saddr . tcp dport { a . b, ... }": what any element may take. */
struct concat {
    const struct reader *reader;
    json_t *parts;
    struct rs_match match;
};

static void add_concat(json_t *value, void *arg)
{
    struct concat *concat = arg;
    json_t *values = json_object_get(value, "concat"), *part;
    struct rs_match one = rs_everything(concat->reader->set.host);
    size_t i;

    if (json_array_size(values) != json_array_size(concat->parts))
        one = rs_who_knows(concat->reader->set.host);
    json_array_foreach (concat->parts, i, part) {
        if (json_array_get(values, i))
            one = rs_both(one, match(concat->reader, part, "==", json_array_get(values, i)));
    }
    if (!one.cases)
        return;
    concat->match.cases |= one.cases;
    if (one.reach > concat->match.reach)
        concat->match.reach = one.reach;
}

static struct rs_match match_concat(const struct reader *reader, json_t *parts, const char *op,
                                    json_t *right)
{
    struct concat concat = {.reader = reader, .parts = parts};
    struct values values = {.reader = reader, .fn = add_concat, .arg = &concat};

    if (!strcmp(op, "!="))
        return rs_who_knows(reader->set.host);
    each_value(&values, right, 0);
    return values.unknown ? rs_who_knows(reader->set.host) : concat.match;
}

/* "tcp flags & (fin | syn) == syn", "ip saddr & 255.0.255.0 == ..." */
static struct rs_match match_masked(const struct reader *reader, json_t *parts, const char *op,
                                    json_t *right)
{
    json_t *payload = json_object_get(json_array_get(parts, 0), "payload");
    const char *field = text_of(payload, "field");

    if (!strcmp(text_of(payload, "protocol"), "tcp") && !strcmp(field, "flags"))
        return match_flags(reader, op, json_array_get(parts, 1), right);
    if (!strcmp(field, "saddr"))
        return rs_sources(reader->set.host, !strcmp(op, "!="));
    return rs_who_knows(reader->set.host);
}

static struct rs_match match(const struct reader *reader, json_t *left, const char *op,
                             json_t *right)
{
    json_t *value;
    const char *kind = only_key(left, &value);

    if (!strcmp(kind, "payload"))
        return match_payload(reader, value, op, right);
    if (!strcmp(kind, "meta"))
        return match_meta(reader, text_of(value, "key"), op, right);
    if (!strcmp(kind, "ct"))
        return match_conntrack(reader, text_of(value, "key"), op, right);
    if (!strcmp(kind, "fib"))
        return match_fib(reader, value, op, right);
    if (!strcmp(kind, "concat"))
        return match_concat(reader, value, op, right);
    if (!strcmp(kind, "&"))
        return match_masked(reader, value, op, right);
    return rs_who_knows(reader->set.host);
}

/* ---- statements ---- */

/* RS_GO_ON: none. */
static enum rs_verdict verdict_of(const char *kind)
{
    static const struct {
        const char *kind;
        enum rs_verdict verdict;
    } known[] = {
        {"drop", RS_DROP},     {"reject", RS_DROP},  {"accept", RS_ACCEPT},
        {"return", RS_RETURN}, {"jump", RS_JUMP},    {"goto", RS_GOTO},
        {"dnat", RS_ACCEPT},   {"queue", RS_ACCEPT}, {"redirect", RS_ACCEPT},
        {"tproxy", RS_ACCEPT}, {"fwd", RS_ACCEPT},   {"synproxy", RS_ACCEPT},
    };
    size_t i;

    for (i = 0; i < RS_SIZE(known); i++)
        if (!strcmp(known[i].kind, kind))
            return known[i].verdict;
    return RS_GO_ON;
}

static int add_verdict(struct reader *reader, json_t *statement, struct rs_match by)
{
    json_t *value;
    enum rs_verdict verdict = verdict_of(only_key(statement, &value));
    struct rs_rule rule = reader->rule;

    if (verdict == RS_GO_ON)
        return 0;
    rule.match = rs_both(rule.match, by);
    rule.verdict = verdict;
    rule.target = text_of(value, "target");
    return rs_add_rule(reader->chain, &rule);
}

/* [[key, verdict], ...]; a key may be an {"elem": ...} of its own, or "*". */
static int read_verdicts(struct reader *reader, json_t *key, json_t *pairs)
{
    json_t *pair;
    size_t i;
    int r = 0;

    json_array_foreach (pairs, i, pair) {
        json_t *value = json_array_get(pair, 0);
        struct rs_match by =
            is_text(value, "*") ? rs_everything(reader->set.host) : match(reader, key, "==", value);

        r = add_verdict(reader, json_array_get(pair, 1), by);
        if (r < 0)
            return r;
    }
    return r;
}

static int read_vmap(struct reader *reader, json_t *vmap)
{
    json_t *data = json_object_get(vmap, "data"), *set = json_object_get(data, "set");
    const char *name = json_string_value(data);

    if (name && *name == '@' && !reader->terse)
        set = json_object_get(find_named(reader, "map", name + 1), "elem");
    return read_verdicts(reader, json_object_get(vmap, "key"), set);
}

/* Statements that change nothing about where a packet goes. */
static bool is_harmless(const char *kind)
{
    static const char *const names[] = {
        "counter", "last", "log",  "comment",    "mangle",    "notrack",    "nftrace", "continue",
        "flow",    "dup",  "snat", "masquerade", "ct helper", "ct timeout", "secmark"};
    size_t i;

    for (i = 0; i < RS_SIZE(names); i++)
        if (!strcmp(names[i], kind))
            return true;
    return false;
}

/* 1: the rule ends here. */
static int read_statement(struct reader *reader, json_t *statement)
{
    json_t *value;
    const char *kind = only_key(statement, &value);
    struct rs_match by = rs_everything(reader->set.host);
    int r;

    if (verdict_of(kind) != RS_GO_ON) {
        r = add_verdict(reader, statement, by);
        return r < 0 ? r : 1;
    }
    if (!strcmp(kind, "vmap"))
        return read_vmap(reader, value);
    if (!strcmp(kind, "match"))
        by = match(reader, json_object_get(value, "left"), text_of(value, "op"),
                   json_object_get(value, "right"));
    else if (!strcmp(kind, "set") || !strcmp(kind, "map"))
        by = json_object_get(value, "stmt") ? rs_who_knows(reader->set.host) : by;
    else if (!is_harmless(kind))
        by = rs_who_knows(reader->set.host);
    reader->rule.match = rs_both(reader->rule.match, by);
    return 0;
}

/* ---- the ruleset ---- */

static bool is_way_in(const char *hook)
{
    return !strcmp(hook, "ingress") || !strcmp(hook, "prerouting") || !strcmp(hook, "input");
}

/* What of a family's packets is IP. */
static uint32_t cases_of(const char *family)
{
    if (!strcmp(family, "ip"))
        return RS_IP4;
    if (!strcmp(family, "ip6"))
        return RS_IP6;
    return !strcmp(family, "inet") || !strcmp(family, "netdev") ? RS_IP4 | RS_IP6 : 0;
}

/* nft 1.0.6 prints other memory for a table's flags: nothing is known of its tables then. */
static bool is_known_flag(json_t *flag)
{
    return is_text(flag, "dormant") || is_text(flag, "owner") || is_text(flag, "persist");
}

/* A table that is switched off as a whole. */
static int check_table(struct reader *reader, const json_t *item)
{
    json_t *flags = json_object_get(item, "flags"), *flag;
    size_t i;

    (void)reader;
    if (flags && !json_is_array(flags) && !is_known_flag(flags))
        return -EINVAL;
    json_array_foreach (flags, i, flag)
        if (!is_known_flag(flag))
            return -EINVAL;
    return 0;
}

static bool is_dormant(const struct reader *reader, const char *family, const char *name)
{
    json_t *item, *flag;
    size_t i, j;

    json_array_foreach (reader->all, i, item) {
        json_t *table = json_object_get(item, "table"), *flags = json_object_get(table, "flags");
        bool off = is_text(flags, "dormant");

        json_array_foreach (flags, j, flag)
            off |= is_text(flag, "dormant");
        if (off && !strcmp(text_of(table, "family"), family) &&
            !strcmp(text_of(table, "name"), name))
            return true;
    }
    return false;
}

static int read_chain(struct reader *reader, const json_t *item)
{
    struct rs_chain chain = {
        .family = text_of(item, "family"),
        .table = text_of(item, "table"),
        .name = text_of(item, "name"),
        .base = is_way_in(text_of(item, "hook")),
        .drops = !strcmp(text_of(item, "policy"), "drop"),
    };
    json_t *device = json_object_get(item, "dev");

    if (is_left_out(reader, item) || is_dormant(reader, chain.family, chain.table))
        return 0;
    chain.match = rs_only(reader->set.host, cases_of(chain.family), false);
    if (device)
        chain.match = rs_both(chain.match, match_iface(reader, "==", device));
    return rs_add_chain(&reader->set, &chain) ? 0 : -ENOMEM;
}

static int read_rule(struct reader *reader, const json_t *item)
{
    json_t *expr = json_object_get(item, "expr"), *statement;
    size_t i;
    int r = 0;

    reader->chain = rs_find_chain(&reader->set, text_of(item, "family"), text_of(item, "table"),
                                  text_of(item, "chain"));
    if (!reader->chain)
        return 0;
    reader->rule = (struct rs_rule){
        .match = rs_everything(reader->set.host),
        .handle = json_integer_value(json_object_get(item, "handle")),
    };
    json_array_foreach (expr, i, statement) {
        r = read_statement(reader, statement);
        if (r)
            break;
    }
    return r < 0 ? r : 0;
}

/* All chains first: a rule may stand before the chain that it jumps to. */
static int read_items(struct reader *reader, const char *kind,
                      int (*take)(struct reader *reader, const json_t *item))
{
    json_t *item;
    size_t i;
    int r;

    json_array_foreach (reader->all, i, item) {
        const json_t *wanted = json_object_get(item, kind);

        r = wanted ? take(reader, wanted) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

int ruleset_read_nft(const char *text, bool terse, const struct ruleset_host *host,
                     struct ruleset_findings *findings)
{
    struct reader reader = {.set = {.host = host}, .terse = terse};
    json_t *root = json_loads(text, 0, NULL);
    int r = -EINVAL;

    reader.all = json_object_get(root, "nftables");
    if (json_is_array(reader.all)) {
        find_compat(&reader);
        r = read_items(&reader, "table", check_table);
        if (r == 0)
            r = read_items(&reader, "chain", read_chain);
        if (r == 0)
            r = read_items(&reader, "rule", read_rule);
        if (r == 0)
            rs_follow(&reader.set, findings);
        findings->compat4 |= reader.compat4;
        findings->compat6 |= reader.compat6;
    }
    rs_free(&reader.set);
    json_decref(root);
    return r;
}
