/* SPDX-License-Identifier: GPL-2.0-only */
/* See ruleset_match.h. */
#include "ruleset_match.h"

#include <stdlib.h>
#include <string.h>

#define SET_DEPTH_MAX 8

/* An element of a set, against an item of the ruleset passed over. */
#define ELEMENT_COST 8

#define TCP_SYN 0x02

const char *nft_text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

const char *nft_only_key(json_t *object, json_t **ret_value)
{
    void *at = json_object_iter(object);

    *ret_value = at ? json_object_iter_value(at) : NULL;
    return at ? json_object_iter_key(at) : "";
}

/* ---- values ---- */

/* Walks what stands on the right: a value, a list, a set, a set with a name. */
struct values {
    const struct nft_reader *reader;
    void (*fn)(json_t *value, void *arg);
    void *arg;
    bool unknown; /* not all could be met */
};

static void each_value(struct values *values, json_t *right, unsigned int depth);

static void each_item(struct values *values, json_t *array, unsigned int depth)
{
    json_t *item;
    size_t i;

    json_array_foreach (array, i, item) {
        if ((*values->reader->left -= ELEMENT_COST) < 0) {
            values->unknown = true;
            return;
        }
        each_value(values, item, depth + 1);
    }
}

json_t *nft_find_named(const struct nft_reader *reader, const char *kind, const char *name)
{
    json_t *item;
    size_t i;

    json_array_foreach (reader->all, i, item) {
        json_t *set = json_object_get(item, kind);

        if (--*reader->left < 0)
            return NULL;
        if (set && !strcmp(nft_text_of(set, "name"), name) &&
            !strcmp(nft_text_of(set, "table"), reader->chain->table) &&
            !strcmp(nft_text_of(set, "family"), reader->chain->family))
            return set;
    }
    return NULL;
}

static void each_named(struct values *values, const char *name, unsigned int depth)
{
    json_t *set = nft_find_named(values->reader, "set", name);

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

bool nft_is_text(const json_t *value, const char *wanted)
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
    const struct nft_reader *reader;
    const char *words[3]; /* any of them is a hit */
    long long number;     /* so is this */
    uint32_t cases;
    size_t hits;
    bool hit;
    bool all;      /* a source of any kind */
    bool loopback; /* among the interfaces, and nothing else */
    bool unknown;
};

static void walk(struct sum *sum, void (*fn)(json_t *value, void *arg), json_t *right)
{
    struct values values = {.reader = sum->reader, .fn = fn, .arg = sum};

    each_value(&values, right, 0);
    sum->unknown |= values.unknown;
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
        sum->hit |= nft_is_text(value, sum->words[i]);
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
        if (addr_parse(nft_text_of(prefix, "addr"), &addr, NULL) < 0 || len < 0 ||
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

static struct rs_match match_ports(const struct nft_reader *reader, const char *op, json_t *right)
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
static struct rs_match match_word(const struct nft_reader *reader, const char *op, json_t *right,
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
static struct rs_match match_family(const struct nft_reader *reader, const char *op, json_t *right,
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

struct rs_match nft_match_iface(const struct nft_reader *reader, const char *op, json_t *right)
{
    struct sum sum = {.reader = reader, .loopback = true};

    walk(&sum, sum_iface, right);
    if (sum.unknown)
        return rs_who_knows(reader->set.host);
    return rs_ifaces(reader->set.host, sum.hits, sum.loopback, !strcmp(op, "!="));
}

static struct rs_match match_address(const struct nft_reader *reader, const char *field,
                                     const char *op, json_t *right, enum addr_family family)
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
        if (nft_is_text(value, names[i]))
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
static struct rs_match match_flags(const struct nft_reader *reader, const char *op, json_t *mask,
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

static struct rs_match match_transport(const struct nft_reader *reader, const char *field,
                                       const char *op, json_t *right)
{
    if (!strcmp(field, "dport"))
        return match_ports(reader, op, right);
    if (!strcmp(field, "flags"))
        return match_flags(reader, op, NULL, right);
    return rs_who_knows(reader->set.host);
}

static struct rs_match match_ip(const struct nft_reader *reader, const char *field, const char *op,
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

static struct rs_match match_payload(const struct nft_reader *reader, json_t *payload,
                                     const char *op, json_t *right)
{
    static const char *const ip4[3] = {"ip"}, *const ip6[3] = {"ip6"};
    const char *protocol = nft_text_of(payload, "protocol"), *field = nft_text_of(payload, "field");

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

static struct rs_match match_meta(const struct nft_reader *reader, const char *key, const char *op,
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
        return nft_match_iface(reader, op, right);
    if (!strcmp(key, "pkttype"))
        return match_word(reader, op, right, host, 0, RS_IP4 | RS_IP6);
    return rs_who_knows(reader->set.host);
}

/* A new connection, of which nothing was translated. */
static struct rs_match match_conntrack(const struct nft_reader *reader, const char *key,
                                       const char *op, json_t *right)
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

/*
 * To an address of this host, by a way that leads back, which is not by loopback. "fib saddr . iif
 * oif exists" is true, "missing" false.
 */
static struct rs_match match_fib(const struct nft_reader *reader, json_t *fib, const char *op,
                                 json_t *right)
{
    static const char *const local[3] = {"local"}, *const unicast[3] = {"unicast"};
    json_t *flags = json_object_get(fib, "flags"), *flag;
    bool to_us = nft_is_text(flags, "daddr");
    size_t i;

    json_array_foreach (flags, i, flag)
        to_us |= nft_is_text(flag, "daddr");
    if (!strcmp(nft_text_of(fib, "result"), "type"))
        return match_word(reader, op, right, to_us ? local : unicast, -1, RS_IP4 | RS_IP6);
    if (!json_is_boolean(right) && !is_number(right, 0) && !nft_is_text(right, "lo"))
        return rs_who_knows(reader->set.host);
    return rs_only(reader->set.host, json_is_true(right) ? RS_IP4 | RS_IP6 : 0, !strcmp(op, "!="));
}

/* "ip saddr . tcp dport { a . b, ... }": what any element may take. */
struct concat {
    const struct nft_reader *reader;
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
            one = rs_both(one, nft_match(concat->reader, part, "==", json_array_get(values, i)));
    }
    if (!one.cases)
        return;
    concat->match.cases |= one.cases;
    if (one.reach > concat->match.reach)
        concat->match.reach = one.reach;
}

static struct rs_match match_concat(const struct nft_reader *reader, json_t *parts, const char *op,
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
static struct rs_match match_masked(const struct nft_reader *reader, json_t *parts, const char *op,
                                    json_t *right)
{
    json_t *payload = json_object_get(json_array_get(parts, 0), "payload");
    const char *field = nft_text_of(payload, "field");

    if (!strcmp(nft_text_of(payload, "protocol"), "tcp") && !strcmp(field, "flags"))
        return match_flags(reader, op, json_array_get(parts, 1), right);
    if (!strcmp(field, "saddr"))
        return rs_sources(reader->set.host, !strcmp(op, "!="));
    return rs_who_knows(reader->set.host);
}

struct rs_match nft_match(const struct nft_reader *reader, json_t *left, const char *op,
                          json_t *right)
{
    json_t *value;
    const char *kind = nft_only_key(left, &value);

    if (!strcmp(kind, "payload"))
        return match_payload(reader, value, op, right);
    if (!strcmp(kind, "meta"))
        return match_meta(reader, nft_text_of(value, "key"), op, right);
    if (!strcmp(kind, "ct"))
        return match_conntrack(reader, nft_text_of(value, "key"), op, right);
    if (!strcmp(kind, "fib"))
        return match_fib(reader, value, op, right);
    if (!strcmp(kind, "concat"))
        return match_concat(reader, value, op, right);
    if (!strcmp(kind, "&"))
        return match_masked(reader, value, op, right);
    return rs_who_knows(reader->set.host);
}

/* ---- what a rule names ---- */

/* {"match": {"op": "==", "left": {"payload": ...}, ...}}: the payload, else NULL. */
static json_t *matched_payload(json_t *statement, json_t **ret_right)
{
    json_t *match = json_object_get(statement, "match"), *payload;

    payload = json_object_get(json_object_get(match, "left"), "payload");
    *ret_right = json_object_get(match, "right");
    return nft_is_text(json_object_get(match, "op"), "==") ? payload : NULL;
}

struct sources {
    rs_source_fn *fn;
    void *arg;
    bool enough;
};

static void tell_source(json_t *value, void *arg)
{
    struct sources *sources = arg;
    struct who who = {.kind = WHO_RANGE};

    if (sources->enough || !addresses_of(value, &who.first, &who.last))
        return;
    if (json_object_get(value, "prefix"))
        who.kind = WHO_SEGMENT;
    else if (!addr_cmp(&who.first, &who.last))
        who.kind = WHO_ADDRESS;
    if (who.first.family == who.last.family && addr_cmp(&who.first, &who.last) <= 0)
        sources->enough = !sources->fn(&who, sources->arg);
}

void nft_each_source(struct rs_set *set, const struct rs_chain *chain, const struct rs_rule *rule,
                     rs_source_fn *fn, void *arg)
{
    /* @set is the first in it; the chain is where names of sets are looked for. */
    struct nft_reader reader = *(const struct nft_reader *)(const void *)set;
    struct sources sources = {.fn = fn, .arg = arg};
    struct values values = {.reader = &reader, .fn = tell_source, .arg = &sources};
    json_t *statement, *right;
    size_t i;

    reader.chain = chain;
    json_array_foreach ((json_t *)rule->origin, i, statement) {
        json_t *payload = matched_payload(statement, &right);

        if (nft_is_text(json_object_get(payload, "field"), "saddr"))
            each_value(&values, right, 0);
    }
}

static void name_port(json_t *value, void *arg)
{
    const struct nft_reader *reader = arg;
    json_t *low, *high;

    if (bounds_of(value, &low, &high) && json_is_integer(low) && json_is_integer(high) &&
        json_integer_value(low) >= 0 && json_integer_value(high) <= UINT16_MAX)
        rs_add_candidate(reader->candidates, reader->set.host,
                         (unsigned int)json_integer_value(low),
                         (unsigned int)json_integer_value(high));
}

void nft_name_values(const struct nft_reader *reader, json_t *values)
{
    struct values walk_of = {.reader = reader, .fn = name_port, .arg = (void *)reader};

    each_value(&walk_of, values, 0);
}

void nft_name_ports(const struct nft_reader *reader, json_t *statements)
{
    json_t *statement, *right;
    bool any = false;
    size_t i;

    json_array_foreach (statements, i, statement) {
        json_t *payload = matched_payload(statement, &right);

        if (!nft_is_text(json_object_get(payload, "field"), "dport"))
            continue;
        any = true;
        nft_name_values(reader, right);
    }
    if (!any)
        rs_add_any_candidate(reader->candidates, reader->set.host);
}
