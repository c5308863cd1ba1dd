/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of ruleset.h: rules of any packet filter in one form, and following them. Knows no syntax.
 */
#ifndef SMTPGATE_RULESET_EVAL_H
#define SMTPGATE_RULESET_EVAL_H

#include <errno.h>

#include "ruleset.h"

#define RS_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* One bit for each port in each family: what a rule or a verdict is about. */
#define RS_FAMILY_BITS 16
#define RS_IP4         0x0000ffffU
#define RS_IP6         0xffff0000U

/* Of the packets of a case, whom a match takes. The later, the less; of two that hold, the later.
 */
enum rs_reach {
    RS_ALL,     /* every source, by every way */
    RS_MOST,    /* every source but some */
    RS_WAYS,    /* what comes by some of the interfaces, or to some of the host's addresses */
    RS_SOME,    /* some sources */
    RS_UNKNOWN, /* who knows */
};

struct rs_match {
    uint32_t cases; /* that it can match at all */
    enum rs_reach reach;
};

enum rs_verdict {
    RS_GO_ON,
    RS_ACCEPT,
    RS_MOVE, /* accepted, as a packet to another port or host */
    RS_DROP,
    RS_RETURN,
    RS_JUMP,
    RS_GOTO,
};

/* Strings belong to whoever reads the text. */
struct rs_rule {
    struct rs_match match;
    enum rs_verdict verdict;
    const char *target; /* JUMP and GOTO */
    const char *text;   /* NULL: by its handle */
    long long handle;
    const void *origin; /* for each_source */
    uint16_t to;        /* the port that it sends to; 0: none that is told */
};

struct rs_chain {
    const char *family, *table, *name;
    bool base;  /* packets come here by themselves: @match of them */
    bool input; /* behind the translation of their destination */
    struct rs_match match;
    bool drops; /* its policy */
    struct rs_rule *rules;
    size_t count, room;
};

/* Returns false when it has heard enough. */
typedef bool rs_source_fn(const struct who *who, void *arg);

struct rs_set {
    const struct ruleset_host *host;
    const char *command; /* NULL: nft */
    /* The sources of which @rule of @chain takes those it takes. */
    void (*each_source)(struct rs_set *set, const struct rs_chain *chain,
                        const struct rs_rule *rule, rs_source_fn *fn, void *arg);
    struct rs_chain *chains;
    size_t count, room;
    size_t *index; /* by their names: number + 1, 0 is empty */
    size_t slots;
};

void rs_free(struct rs_set *set);

/* NULL: no memory. Valid until the next one is added. */
struct rs_chain *rs_add_chain(struct rs_set *set, const struct rs_chain *chain);
struct rs_chain *rs_find_chain(const struct rs_set *set, const char *family, const char *table,
                               const char *name);
int rs_add_rule(struct rs_chain *chain, const struct rs_rule *rule);

/* Follows all base chains. */
void rs_follow(struct rs_set *set, struct ruleset_findings *findings);
void rs_print_place(const struct rs_set *set, const struct rs_chain *chain,
                    const struct rs_rule *rule, struct ruleset_finding *finding);

/* ---- leads (ruleset_lead.c) ---- */

/*
 * Ports that rules which send to a guarded port name: the rules are followed once more with these.
 * Where they name none, one stands for all.
 */
struct rs_candidates {
    uint16_t ports[RULESET_PORTS_MAX];
    uint32_t wide; /* a bit for each: it stands for others too */
    unsigned int count;
    bool more;
};

bool rs_is_guarded(const struct ruleset_host *host, unsigned int port);
/* @low to @high are named, by a rule that sends to a guarded port. */
void rs_add_candidate(struct rs_candidates *candidates, const struct ruleset_host *host,
                      unsigned int low, unsigned int high);
void rs_add_any_candidate(struct rs_candidates *candidates, const struct ruleset_host *host);
/* The host that the rules are followed for once more. */
struct ruleset_host rs_candidate_host(const struct rs_candidates *candidates,
                                      const struct ruleset_host *host);
/* @rule sends @hit to its port. */
void rs_add_leads(const struct rs_set *set, const struct rs_chain *chain,
                  const struct rs_rule *rule, uint32_t hit, struct ruleset_findings *findings);
/* What the second time came to. */
void rs_take_leads(struct ruleset_findings *findings, const struct ruleset_findings *second,
                   const struct rs_candidates *candidates);

/* ---- matches ---- */

struct rs_match rs_everything(const struct ruleset_host *host);
struct rs_match rs_nothing(void);
struct rs_match rs_who_knows(const struct ruleset_host *host);
struct rs_match rs_both(struct rs_match a, struct rs_match b);

uint32_t rs_port_cases(const struct ruleset_host *host, unsigned int low, unsigned int high);
/* Either all of @match.cases' complement or what is left of its reach. */
struct rs_match rs_only(const struct ruleset_host *host, uint32_t cases, bool negated);
/* A match of some sources. */
struct rs_match rs_sources(const struct ruleset_host *host, bool negated);
/* @hits of @total addresses or interfaces are meant. */
struct rs_match rs_share(const struct ruleset_host *host, size_t hits, size_t total, bool negated);

size_t rs_count_own(const struct ruleset_host *host, enum addr_family family);
size_t rs_own_hits(const struct ruleset_host *host, const struct addr *first,
                   const struct addr *last);
/* @name may end in @wild ('*' or '+'). */
size_t rs_iface_hits(const struct ruleset_host *host, const char *name, char wild);
struct rs_match rs_ifaces(const struct ruleset_host *host, size_t hits, bool loopback_only,
                          bool negated);

/* The first and the last address of @addr/@len. */
void rs_bounds(const struct addr *addr, unsigned int len, struct addr *ret_first,
               struct addr *ret_last);

#endif
