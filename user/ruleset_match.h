/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of ruleset.h: what a match of nft's says of a new connection. Knows no statements.
 */
#ifndef SMTPGATE_RULESET_MATCH_H
#define SMTPGATE_RULESET_MATCH_H

#include <jansson.h>

#include "ruleset_eval.h"

struct nft_reader {
    struct rs_set set;
    json_t *all;     /* the array of tables, chains, sets and rules */
    json_t *dormant; /* tables that are switched off */
    long *left;      /* what may be looked at until it is too much; negative: it was */
    bool terse;
    bool compat4, compat6;
    const struct rs_chain *chain; /* of the rule being read */
    struct rs_rule rule;
    struct rs_candidates *candidates; /* NULL: not wanted */
};

/* "" for a member that is missing or no text. */
const char *nft_text_of(const json_t *object, const char *key);
/* The one member of {"name": value}. */
const char *nft_only_key(json_t *object, json_t **ret_value);
bool nft_is_text(const json_t *value, const char *wanted);
/* A set or a map of the table of the reader's chain, by its name; NULL: there is none. */
json_t *nft_find_named(const struct nft_reader *reader, const char *kind, const char *name);

/* {"match": {"op": @op, "left": @left, "right": @right}} */
struct rs_match nft_match(const struct nft_reader *reader, json_t *left, const char *op,
                          json_t *right);
/* rs_set's, by the statements that a rule has for its origin; @set is a reader's. */
void nft_each_source(struct rs_set *set, const struct rs_chain *chain, const struct rs_rule *rule,
                     rs_source_fn *fn, void *arg);
/* The ports that these statements name; or that they name none. */
void nft_name_ports(const struct nft_reader *reader, json_t *statements);
/* All of these values are such ports. */
void nft_name_values(const struct nft_reader *reader, json_t *values);
/* The same of an interface that packets come by. */
struct rs_match nft_match_iface(const struct nft_reader *reader, const char *op, json_t *right);

#endif
