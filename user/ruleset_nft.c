/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See ruleset.h: what nft -j list ruleset prints (libnftables-json(5)). A rule is a list of
 * statements, of which matches narrow it and verdicts end it.
 */
#include <stdlib.h>
#include <string.h>

#include "ruleset_match.h"

/* At sets and what is in them, by all rules: a second's work. */
#define LOOKS_MAX 20000000L

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

static void find_compat(struct nft_reader *reader)
{
    json_t *item, *rule;
    size_t i;

    json_array_foreach (reader->all, i, item) {
        rule = json_object_get(item, "rule");
        if (!rule || !has_extension(rule))
            continue;
        if (is_compat_table(nft_text_of(rule, "family"), nft_text_of(rule, "table"))) {
            reader->compat4 |= !strcmp(nft_text_of(rule, "family"), "ip");
            reader->compat6 |= !strcmp(nft_text_of(rule, "family"), "ip6");
        }
    }
}

static bool is_left_out(const struct nft_reader *reader, const json_t *item)
{
    const char *family = nft_text_of(item, "family");

    return (!strcmp(family, "ip") ? reader->compat4 : reader->compat6) &&
           is_compat_table(family, nft_text_of(item, "table"));
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
        {"dnat", RS_MOVE},     {"queue", RS_ACCEPT}, {"redirect", RS_MOVE},
        {"tproxy", RS_ACCEPT}, {"fwd", RS_ACCEPT},   {"synproxy", RS_ACCEPT},
    };
    size_t i;

    for (i = 0; i < RS_SIZE(known); i++)
        if (!strcmp(known[i].kind, kind))
            return known[i].verdict;
    return RS_GO_ON;
}

/* @rule, which may be a copy of the reader's, of the chain that is being read. */
static int add_rule(struct nft_reader *reader, const struct rs_rule *rule)
{
    const struct rs_chain *chain = reader->chain;

    return rs_add_rule(rs_find_chain(&reader->set, chain->family, chain->table, chain->name), rule);
}

/* A port, or the last of {"concat": [address, port]}; 0: neither. */
static uint16_t port_of(json_t *value)
{
    json_t *parts = json_object_get(value, "concat");
    json_t *port = parts ? json_array_get(parts, json_array_size(parts) - 1) : value;

    return json_is_integer(port) && json_integer_value(port) > 0 &&
                   json_integer_value(port) <= UINT16_MAX
               ? (uint16_t)json_integer_value(port)
               : 0;
}

/*
 * "redirect to tcp dport map { 2525 : 587 }": as one rule for each pair, since who is in none goes
 * on to the next rule. A map that cannot be read may move anybody.
 */
static int add_mapped(struct nft_reader *reader, json_t *map, const struct rs_rule *like)
{
    json_t *key = json_object_get(map, "key"), *data = json_object_get(map, "data"), *pairs, *pair;
    const char *name = json_string_value(data);
    size_t i;
    int r = 0;

    pairs = json_object_get(data, "set");
    if (name && *name == '@' && !reader->terse)
        pairs = json_object_get(nft_find_named(reader, "map", name + 1), "elem");
    if (!json_is_array(pairs)) {
        struct rs_rule rule = *like;

        rule.match = rs_both(rule.match, rs_who_knows(reader->set.host));
        return add_rule(reader, &rule);
    }
    json_array_foreach (pairs, i, pair) {
        struct rs_rule rule = *like;

        rule.to = port_of(json_array_get(pair, 1));
        if (!rs_is_guarded(reader->set.host, rule.to))
            rule.to = 0;
        rule.match = rs_both(rule.match, nft_match(reader, key, "==", json_array_get(pair, 0)));
        if (reader->candidates && rule.to)
            nft_name_values(reader, json_array_get(pair, 0));
        r = add_rule(reader, &rule);
        if (r < 0)
            break;
    }
    return r;
}

/* Of {"dnat": {"addr": ..., "port": 587}} and the like; NULL: it is not by a map. */
static json_t *map_of(json_t *value)
{
    json_t *port = json_object_get(value, "port");

    return json_object_get(port ? port : json_object_get(value, "addr"), "map");
}

/* To which port? */
static void find_target(struct nft_reader *reader, json_t *value, struct rs_rule *rule)
{
    rule->to = port_of(json_object_get(value, "port"));
    if (!rs_is_guarded(reader->set.host, rule->to))
        rule->to = 0;
    else if (reader->candidates)
        nft_name_ports(reader, (json_t *)rule->origin);
}

static int add_verdict(struct nft_reader *reader, json_t *statement, struct rs_match by)
{
    json_t *value;
    enum rs_verdict verdict = verdict_of(nft_only_key(statement, &value));
    struct rs_rule rule = reader->rule;

    if (verdict == RS_GO_ON)
        return 0;
    rule.match = rs_both(rule.match, by);
    rule.verdict = verdict;
    rule.target = nft_text_of(value, "target");
    if (verdict == RS_MOVE || verdict == RS_ACCEPT) {
        if (map_of(value))
            return add_mapped(reader, map_of(value), &rule);
        find_target(reader, value, &rule);
    }
    return add_rule(reader, &rule);
}

/* [[key, verdict], ...]; a key may be an {"elem": ...} of its own, or "*". */
static int read_verdicts(struct nft_reader *reader, json_t *key, json_t *pairs)
{
    json_t *pair;
    size_t i;
    int r = 0;

    json_array_foreach (pairs, i, pair) {
        json_t *value = json_array_get(pair, 0);
        struct rs_match by = nft_is_text(value, "*") ? rs_everything(reader->set.host)
                                                     : nft_match(reader, key, "==", value);

        r = add_verdict(reader, json_array_get(pair, 1), by);
        if (r < 0)
            return r;
    }
    return r;
}

/* Some of its elements may let in. */
static int add_unread_map(struct nft_reader *reader)
{
    struct rs_rule rule = reader->rule;

    rule.match = rs_both(rule.match, rs_who_knows(reader->set.host));
    rule.verdict = RS_ACCEPT;
    return add_rule(reader, &rule);
}

static int read_vmap(struct nft_reader *reader, json_t *vmap)
{
    json_t *data = json_object_get(vmap, "data"), *set = json_object_get(data, "set");
    const char *name = json_string_value(data);

    if (name && reader->terse)
        return add_unread_map(reader);
    if (name && *name == '@')
        set = json_object_get(nft_find_named(reader, "map", name + 1), "elem");
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
static int read_statement(struct nft_reader *reader, json_t *statement)
{
    json_t *value;
    const char *kind = nft_only_key(statement, &value);
    struct rs_match by = rs_everything(reader->set.host);
    int r;

    if (verdict_of(kind) != RS_GO_ON) {
        r = add_verdict(reader, statement, by);
        return r < 0 ? r : 1;
    }
    if (!strcmp(kind, "vmap"))
        return read_vmap(reader, value);
    if (!strcmp(kind, "match"))
        by = nft_match(reader, json_object_get(value, "left"), nft_text_of(value, "op"),
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
    return nft_is_text(flag, "dormant") || nft_is_text(flag, "owner") ||
           nft_is_text(flag, "persist");
}

/* A table that is switched off as a whole. */
static int check_table(struct nft_reader *reader, const json_t *item)
{
    json_t *flags = json_object_get(item, "flags"), *flag;
    bool off = nft_is_text(flags, "dormant");
    size_t i;

    if (flags && !json_is_array(flags) && !is_known_flag(flags))
        return -EINVAL;
    json_array_foreach (flags, i, flag) {
        if (!is_known_flag(flag))
            return -EINVAL;
        off |= nft_is_text(flag, "dormant");
    }
    return off && json_array_append(reader->dormant, (json_t *)item) < 0 ? -ENOMEM : 0;
}

static bool is_dormant(const struct nft_reader *reader, const char *family, const char *name)
{
    json_t *table;
    size_t i;

    json_array_foreach (reader->dormant, i, table)
        if (!strcmp(nft_text_of(table, "family"), family) &&
            !strcmp(nft_text_of(table, "name"), name))
            return true;
    return false;
}

static int read_chain(struct nft_reader *reader, const json_t *item)
{
    struct rs_chain chain = {
        .family = nft_text_of(item, "family"),
        .table = nft_text_of(item, "table"),
        .name = nft_text_of(item, "name"),
        .base = is_way_in(nft_text_of(item, "hook")),
        .input = !strcmp(nft_text_of(item, "hook"), "input"),
        .drops = !strcmp(nft_text_of(item, "policy"), "drop"),
    };
    json_t *device = json_object_get(item, "dev");

    if (is_left_out(reader, item) || is_dormant(reader, chain.family, chain.table))
        return 0;
    chain.match = rs_only(reader->set.host, cases_of(chain.family), false);
    if (device)
        chain.match = rs_both(chain.match, nft_match_iface(reader, "==", device));
    return rs_add_chain(&reader->set, &chain) ? 0 : -ENOMEM;
}

static int read_rule(struct nft_reader *reader, const json_t *item)
{
    json_t *expr = json_object_get(item, "expr"), *statement;
    size_t i;
    int r = 0;

    reader->chain = rs_find_chain(&reader->set, nft_text_of(item, "family"),
                                  nft_text_of(item, "table"), nft_text_of(item, "chain"));
    if (!reader->chain)
        return 0;
    reader->rule = (struct rs_rule){
        .match = rs_everything(reader->set.host),
        .handle = json_integer_value(json_object_get(item, "handle")),
        .origin = expr,
    };
    json_array_foreach (expr, i, statement) {
        r = read_statement(reader, statement);
        if (r)
            break;
    }
    return r < 0 ? r : 0;
}

/* All chains first: a rule may stand before the chain that it jumps to. */
static int read_items(struct nft_reader *reader, const char *kind,
                      int (*take)(struct nft_reader *reader, const json_t *item))
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

/* For connections to @host; @candidates NULL: none are looked for. */
static int read_all(json_t *all, bool terse, const struct ruleset_host *host,
                    struct rs_candidates *candidates, struct ruleset_findings *findings)
{
    long left = LOOKS_MAX;
    struct nft_reader reader = {.set = {.host = host, .each_source = nft_each_source},
                                .all = all,
                                .dormant = json_array(),
                                .left = &left,
                                .terse = terse,
                                .candidates = candidates};
    int r = reader.dormant ? 0 : -ENOMEM;

    find_compat(&reader);
    if (r == 0)
        r = read_items(&reader, "table", check_table);
    if (r == 0)
        r = read_items(&reader, "chain", read_chain);
    if (r == 0)
        r = read_items(&reader, "rule", read_rule);
    if (r == 0)
        rs_follow(&reader.set, findings);
    findings->unread |= left < 0;
    findings->compat4 |= reader.compat4;
    findings->compat6 |= reader.compat6;
    rs_free(&reader.set);
    json_decref(reader.dormant);
    return r;
}

int ruleset_read_nft(const char *text, bool terse, const struct ruleset_host *host,
                     struct ruleset_findings *findings)
{
    struct rs_candidates candidates = {0};
    json_t *root = json_loads(text, 0, NULL), *all = json_object_get(root, "nftables");
    int r = json_is_array(all) ? read_all(all, terse, host, &candidates, findings) : -EINVAL;

    if (r == 0 && candidates.count) {
        struct ruleset_host other = rs_candidate_host(&candidates, host);
        struct ruleset_findings second = {0};

        r = read_all(all, terse, &other, NULL, &second);
        rs_take_leads(findings, &second, &candidates);
    }
    json_decref(root);
    return r;
}
