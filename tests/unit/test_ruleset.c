// LINK: ruleset_eval ruleset_lead ruleset_match ruleset_nft ruleset_ipt addr who_why text err
// LIBS: -ljansson
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What packet filters' rules do to a new connection, from texts as nft and iptables-save print
 * them; what asks for something unknown; and texts that are cut, deep, endless or none of it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ruleset.h"
#include "util.h"

static const struct addr own[] = {
    {ADDR_IP4, {192, 0, 2, 25}},
    {ADDR_IP6, {0x20, 0x01, 0x0d, 0xb8, [15] = 0x25}},
};

static const struct ruleset_host host = {
    .ports = {25, 465, 587},
    .n_ports = 3,
    .ip4 = true,
    .ip6 = true,
    .own = own,
    .n_own = ARRAY_SIZE(own),
    .ifaces = {"eth0", "eth0.5"},
    .n_ifaces = 2,
    .guarded = {25, 465, 587, 2500},
    .n_guarded = 4,
};

/* "25,587/46~ RULE; ..." : ports, families, ~ if some are let in, what drops them. */
static char *summary(const struct ruleset_findings *findings)
{
    static char text[8192];
    size_t i, used = 0;
    unsigned int j;

    text[0] = '\0';
    for (i = 0; i < findings->count; i++) {
        const struct ruleset_finding *one = &findings->items[i];

        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s", i ? "; " : "");
        for (j = 0; j < one->n_ports; j++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u", j ? "," : "",
                                     one->ports[j]);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "/%s%s%s %s",
                                 one->ip4 ? "4" : "", one->ip6 ? "6" : "", one->some ? "~" : "",
                                 one->rule[0] ? one->rule : "policy");
    }
    return text;
}

/* ---- nft ---- */

#define CHAIN_OF(family, name, rest)                                         \
    "{\"chain\":{\"family\":\"" family "\",\"table\":\"t\",\"name\":\"" name \
    "\",\"handle\":1" rest "}}"
#define INPUT(policy)         \
    CHAIN_OF("inet", "input", \
             ",\"type\":\"filter\",\"hook\":\"input\",\"prio\":0,\"policy\":\"" policy "\"")
#define TABLE(flags) "{\"table\":{\"family\":\"inet\",\"name\":\"t\",\"flags\":" flags "}}"
#define RULE_IN(chain, handle, expr)                                                             \
    ",{\"rule\":{\"family\":\"inet\",\"table\":\"t\",\"chain\":\"" chain "\",\"handle\":" handle \
    ",\"expr\":[" expr "]}}"
#define RULE(handle, expr) RULE_IN("input", handle, expr)
#define MATCH(op, left, right) \
    "{\"match\":{\"op\":\"" op "\",\"left\":" left ",\"right\":" right "}}"
#define FIELD(protocol, field) \
    "{\"payload\":{\"protocol\":\"" protocol "\",\"field\":\"" field "\"}}"
#define META(key)   "{\"meta\":{\"key\":\"" key "\"}}"
#define CT(key)     "{\"ct\":{\"key\":\"" key "\"}}"
#define PORT(right) MATCH("==", FIELD("tcp", "dport"), right)
#define FIB_OIF     "{\"fib\":{\"result\":\"oif\",\"flags\":[\"saddr\",\"iif\"]}}"
#define MARK        MATCH("==", META("mark"), "5")
#define DROP        "{\"drop\":null}"
#define ACCEPT      "{\"accept\":null}"
#define ALSO        ","
#define H(handle)   "the rule with handle " handle

static const struct {
    const char *items, *expected;
} nft_cases[] = {
    /* ports: single, set, range, named set, inequality, of any transport */
    {INPUT("accept"), ""},
    {INPUT("accept") RULE("2", PORT("25") ALSO DROP), "25/46 " H("2")},
    {INPUT("accept") RULE("2", PORT("26") ALSO DROP), ""},
    {INPUT("accept") RULE("2", PORT("{\"set\":[25,{\"range\":[465,470]}]}") ALSO
                          "{\"reject\":{\"type\":\"tcp reset\"}}"),
     "25,465/46 " H("2")},
    {INPUT("accept") RULE("2", PORT("{\"range\":[400,600]}") ALSO DROP), "465,587/46 " H("2")},
    {INPUT("accept") ",{\"set\":{\"family\":\"inet\",\"name\":\"p\",\"table\":\"t\",\"type\":"
                     "\"inet_service\",\"handle\":5,\"elem\":[{\"elem\":{\"val\":25,"
                     "\"comment\":\"x\"}},{\"range\":[400,500]}]}}" RULE("2",
                                                                         PORT("\"@p\"") ALSO DROP),
     "25,465/46 " H("2")},
    {INPUT("accept") RULE("2", PORT("\"@gone\"") ALSO DROP), ""},
    {INPUT("accept") RULE("2", MATCH("!=", FIELD("tcp", "dport"), "22") ALSO DROP),
     "25,465,587/46 " H("2")},
    {INPUT("accept") RULE("2", MATCH("<", FIELD("tcp", "dport"), "465") ALSO DROP),
     "25/46 " H("2")},
    {INPUT("accept") RULE("2", MATCH(">=", FIELD("tcp", "dport"), "465") ALSO DROP),
     "465,587/46 " H("2")},
    {INPUT("accept") RULE("2", MATCH("==", FIELD("th", "dport"), "587") ALSO DROP),
     "587/46 " H("2")},
    {INPUT("accept") RULE("2", MATCH("==", FIELD("udp", "dport"), "587") ALSO DROP), ""},
    {INPUT("accept") RULE("2", MATCH("==", FIELD("tcp", "sport"), "587") ALSO DROP), ""},
    {INPUT("accept")
         RULE("2", "{\"vmap\":{\"key\":" FIELD(
                       "tcp", "dport") ",\"data\":{\"set\":[["
                                       "25,{\"drop\":null}],[587,{\"accept\":null}]]}}}"),
     "25/46 " H("2")},
    /* families */
    {INPUT("accept") RULE("2", MATCH("==", META("nfproto"), "\"ipv6\"") ALSO PORT("25") ALSO DROP),
     "25/6 " H("2")},
    {INPUT("accept") RULE("2", MATCH("==", FIELD("ip", "protocol"), "\"tcp\"") ALSO DROP),
     "25,465,587/4 " H("2")},
    {CHAIN_OF("ip6", "input", ",\"hook\":\"input\",\"policy\":\"drop\""), "25,465,587/6 policy"},
    {CHAIN_OF("bridge", "input", ",\"hook\":\"input\",\"policy\":\"drop\""), ""},
    {CHAIN_OF("arp", "input", ",\"hook\":\"input\",\"policy\":\"drop\""), ""},
    /* hooks */
    {CHAIN_OF("inet", "f", ",\"hook\":\"forward\",\"policy\":\"drop\""), ""},
    {CHAIN_OF("inet", "f", ",\"hook\":\"output\",\"policy\":\"drop\""), ""},
    {CHAIN_OF("inet", "p", ",\"hook\":\"prerouting\",\"policy\":\"drop\""), "25,465,587/46 policy"},
    {CHAIN_OF("netdev", "i", ",\"hook\":\"ingress\",\"dev\":\"eth1\",\"policy\":\"drop\""), ""},
    {CHAIN_OF("netdev", "i",
              ",\"hook\":\"ingress\",\"dev\":[\"eth0\",\"eth9\"],\"policy\":"
              "\"drop\""),
     "25,465,587/46~ policy"},
    /* sources, ways */
    {INPUT("accept")
         RULE("2", MATCH("==", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO PORT("25") ALSO DROP),
     ""},
    {INPUT("accept")
         RULE("2", MATCH("!=", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO PORT("25") ALSO DROP),
     "25/4~ " H("2")},
    {INPUT("accept") RULE("2", MATCH("==", FIELD("ip", "saddr"),
                                     "{\"prefix\":{\"addr\":\"0.0.0.0\""
                                     ",\"len\":0}}") ALSO PORT("25") ALSO DROP),
     "25/4 " H("2")},
    {INPUT("accept")
         RULE("2", MATCH("==", "{\"concat\":[" FIELD("ip", "saddr") "," FIELD("tcp", "dport") "]}",
                         "{\"set\":[{\"concat\":[\"198.51.100.1\",25]}]}") ALSO DROP),
     ""},
    {INPUT("accept")
         RULE("2", MATCH("==", "{\"concat\":[" META("iifname") "," FIELD("tcp", "dport") "]}",
                         "{\"set\":[{\"concat\":[\"eth0\",25]},{\"concat\":[\"lo\","
                         "587]}]}") ALSO DROP),
     "25/46~ " H("2")},
    {INPUT("accept")
         RULE("2", MATCH("==", FIELD("ip", "daddr"), "\"192.0.2.25\"") ALSO PORT("25") ALSO DROP),
     "25/4 " H("2")},
    {INPUT("accept") RULE("2", MATCH("==", FIELD("ip", "daddr"),
                                     "{\"prefix\":{\"addr\":"
                                     "\"224.0.0.0\",\"len\":4}}") ALSO DROP),
     ""},
    {INPUT("accept") RULE("2", MATCH("==", META("iifname"), "\"lo\"") ALSO DROP), ""},
    {INPUT("accept") RULE("2", MATCH("!=", META("iifname"), "\"lo\"") ALSO PORT("25") ALSO DROP),
     "25/46 " H("2")},
    {INPUT("accept") RULE("2", MATCH("==", META("iifname"), "\"eth*\"") ALSO PORT("25") ALSO DROP),
     "25/46 " H("2")},
    {INPUT("accept") RULE("2", MATCH("==", META("iifname"), "\"wg0\"") ALSO DROP), ""},
    /* policies, and who is let in before */
    {INPUT("drop"), "25,465,587/46 policy"},
    {TABLE("[\"dormant\"]") "," INPUT("drop"), ""},
    {TABLE("\"dormant\"") "," INPUT("drop"), ""},
    {TABLE("[\"owner\",\"persist\"]") "," INPUT("drop"), "25,465,587/46 policy"},
    {INPUT("drop") RULE("2", MATCH("in", CT("state"), "[\"established\",\"related\"]") ALSO ACCEPT)
         RULE("3", MATCH("==", META("iifname"), "\"lo\"") ALSO ACCEPT)
             RULE("4", PORT("{\"set\":[22,25,587]}") ALSO ACCEPT),
     "465/46 policy"},
    {INPUT("drop") RULE("2", MATCH("==", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO PORT("25")
                                 ALSO ACCEPT) RULE("3", PORT("{\"set\":[465,587]}") ALSO ACCEPT),
     "25/46~ policy"},
    {INPUT("drop") RULE("2", MATCH("==", META("iifname"), "\"wg0\"") ALSO ACCEPT),
     "25,465,587/46 policy"},
    {INPUT("drop") RULE("2", MATCH("==", META("iifname"), "\"eth0\"") ALSO ACCEPT), ""},
    {INPUT("drop") RULE(
         "2", "{\"vmap\":{\"key\":" CT(
                  "state") ",\"data\":{\"set\":[["
                           "\"established\",{\"accept\":null}],[\"invalid\",{\"drop\":null}]]}}}")
         RULE("3", MATCH("==", FIELD("icmp", "type"), "\"echo-request\"") ALSO ACCEPT)
             RULE("4", MATCH("==", META("l4proto"), "{\"set\":[\"tcp\",\"udp\"]}") ALSO ACCEPT),
     ""},
    /* what asks more than is known drops nothing, and accepts */
    {INPUT("accept") RULE("2", PORT("25") ALSO
                          "{\"limit\":{\"rate\":10,\"per\":\"second\",\"inv\":true}}" ALSO DROP),
     ""},
    {INPUT("drop") RULE("2", "{\"limit\":{\"rate\":10,\"per\":\"second\"}}" ALSO ACCEPT), ""},
    {INPUT("accept") RULE("2", MATCH("==", META("mark"), "5") ALSO DROP), ""},
    {INPUT("accept") RULE("2", "{\"made of tomorrow\":{\"x\":1}}" ALSO DROP), ""},
    /* the first packet of a connection */
    {INPUT("accept") RULE("2", MATCH("==", CT("state"), "\"invalid\"") ALSO DROP), ""},
    {INPUT("accept") RULE("2", MATCH("!=",
                                     "{\"&\":[" FIELD("tcp", "flags") ",[\"fin\",\"syn\","
                                                                      "\"rst\",\"ack\"]]}",
                                     "\"syn\"") ALSO MATCH("in", CT("state"), "\"new\"") ALSO DROP),
     ""},
    {INPUT("accept") RULE("2", MATCH("==",
                                     "{\"&\":[" FIELD("tcp", "flags") ",{\"|\":[\"fin\","
                                                                      "\"syn\"]}]}",
                                     "{\"|\":[\"fin\",\"syn\"]}") ALSO DROP),
     ""},
    {INPUT("accept")
         RULE("2", MATCH("in", FIELD("tcp", "flags"), "\"syn\"") ALSO PORT("25") ALSO DROP),
     "25/46 " H("2")},
    {INPUT("accept") RULE("2", MATCH("==",
                                     "{\"fib\":{\"result\":\"oif\",\"flags\":[\"saddr\","
                                     "\"iif\"]}}",
                                     "false") ALSO DROP),
     ""},
    {INPUT("drop") RULE("2", MATCH("==", FIB_OIF, "true") ALSO ACCEPT), ""},
    {INPUT("accept") RULE("2", MATCH("!=", FIB_OIF, "0") ALSO PORT("25") ALSO DROP),
     "25/46 " H("2")},
    {INPUT("drop") RULE("2", MATCH("==", FIB_OIF, "\"lo\"") ALSO ACCEPT), "25,465,587/46 policy"},
    {INPUT("drop") RULE("2", MATCH("==", FIB_OIF, "\"eth0\"") ALSO ACCEPT), ""},
    {INPUT("drop") RULE("2", MATCH("==", "{\"fib\":{\"result\":\"type\",\"flags\":\"daddr\"}}",
                                   "\"local\"") ALSO ACCEPT),
     ""},
    /* chains */
    {INPUT("accept") "," CHAIN_OF("inet", "sub", "")
         RULE("2", MATCH("==", META("l4proto"), "\"tcp\"") ALSO "{\"jump\":{\"target\":\"sub\"}}")
             RULE_IN("sub", "3", PORT("25") ALSO "{\"counter\":{\"packets\":0}}" ALSO DROP)
                 RULE_IN("sub", "4", PORT("587") ALSO ACCEPT)
                     RULE("5", PORT("{\"range\":[1,999]}") ALSO DROP),
     "25/46 " H("3") "; 465/46 " H("5")},
    {INPUT("drop") "," CHAIN_OF("inet", "sub", "") RULE("2", "{\"goto\":{\"target\":\"sub\"}}")
         RULE("3", ACCEPT) RULE_IN("sub", "4", PORT("25") ALSO ACCEPT),
     "465,587/46 policy"},
    {INPUT("accept") "," CHAIN_OF("inet", "sub", "") RULE("2", "{\"jump\":{\"target\":\"sub\"}}")
         RULE("3", PORT("25") ALSO DROP) RULE_IN("sub", "4", PORT("25") ALSO "{\"return\":null}")
             RULE_IN("sub", "5", PORT("25") ALSO DROP),
     "25/46 " H("3")},
    {INPUT("accept") "," CHAIN_OF("inet", "sub", "")
         RULE("2", MATCH("==", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO
              "{\"jump\":{\"target\":\"sub\"}}") RULE_IN("sub", "3", DROP),
     ""},
    {INPUT("accept") RULE("2", "{\"jump\":{\"target\":\"gone\"}}") RULE("3", PORT("25") ALSO DROP),
     "25/46 " H("3")},
    /* who may have left a chain is not dropped there, but accepted, or dropped behind it */
    {INPUT("accept") "," CHAIN_OF("inet", "sub", "") RULE("2", "{\"jump\":{\"target\":\"sub\"}}")
         RULE("3", DROP) RULE_IN("sub", "4", MARK ALSO "{\"return\":null}")
             RULE_IN("sub", "5", PORT("465") ALSO DROP) RULE_IN("sub", "6", PORT("25") ALSO ACCEPT),
     "465,587/46 " H("3")},
    {INPUT("accept") "," CHAIN_OF("inet", "sub", "")
         RULE("2", MARK ALSO "{\"goto\":{\"target\":\"sub\"}}")
             RULE_IN("sub", "3", PORT("25") ALSO ACCEPT) RULE("4", DROP),
     ""},
    {INPUT("drop") "," CHAIN_OF("inet", "sub", "")
         RULE("2", MARK ALSO "{\"goto\":{\"target\":\"sub\"}}")
             RULE_IN("sub", "3", PORT("25") ALSO ACCEPT),
     "465,587/46 policy"},
    {INPUT("accept") "," CHAIN_OF("inet", "sub", "") RULE("2", "{\"jump\":{\"target\":\"sub\"}}")
         RULE("3", PORT("25") ALSO DROP)
             RULE_IN("sub", "4",
                     MATCH("!=", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO "{\"return\":null}")
                 RULE_IN("sub", "5", MATCH("==", META("nfproto"), "\"ipv4\"") ALSO ACCEPT),
     "25/46~ " H("3")},
    {INPUT("accept") "," CHAIN_OF("inet", "sub", "")
         RULE("2", MATCH("==", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO
              "{\"goto\":{\"target\":\"sub\"}}") RULE("3", PORT("25") ALSO DROP),
     "25/46~ " H("3")},
    /* what is sent elsewhere meets no rule of its port's where it comes in, but before */
    {INPUT("drop") "," CHAIN_OF("inet", "nat", ",\"hook\":\"prerouting\"")
         RULE_IN("nat", "2", PORT("25") ALSO "{\"redirect\":{\"port\":2525}}")
             RULE_IN("nat", "3",
                     MATCH("==", META("nfproto"), "\"ipv4\"") ALSO PORT("465") ALSO
                     "{\"dnat\":{\"addr\":\"172.17.0.2\",\"port\":465}}"),
     "465,587/46 policy"},
    {INPUT("accept") "," CHAIN_OF("inet", "raw", ",\"hook\":\"prerouting\"") RULE_IN(
         "raw", "2", PORT("25") ALSO DROP) "," CHAIN_OF("inet", "nat", ",\"hook\":\"prerouting\"")
         RULE_IN("nat", "3", "{\"redirect\":{\"port\":2525}}") RULE("4", DROP),
     "25/46 " H("2")},
    {INPUT("drop") "," CHAIN_OF("inet", "nat", ",\"hook\":\"prerouting\"")
         RULE_IN("nat", "2",
                 MATCH("==", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO
                 "{\"redirect\":{\"port\":2525}}"),
     "25,465,587/46 policy"},
};

static void read_nft(const char *items, bool terse, struct ruleset_findings *findings)
{
    static char text[16384];

    snprintf(text, sizeof(text), "{\"nftables\":[{\"metainfo\":{\"json_schema_version\":1}},%s]}",
             items);
    *findings = (struct ruleset_findings){0};
    assert_int_equal(ruleset_read_nft(text, terse, &host, findings), 0);
}

static void test_nft(void **state)
{
    struct ruleset_findings findings;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(nft_cases); i++) {
        read_nft(nft_cases[i].items, false, &findings);
        if (strcmp(summary(&findings), nft_cases[i].expected))
            fail_msg("case %zu: \"%s\", expected \"%s\"\n%s", i, summary(&findings),
                     nft_cases[i].expected, nft_cases[i].items);
        assert_false(findings.unread);
    }
}

static void test_nft_words(void **state)
{
    struct ruleset_findings findings;

    (void)state;
    read_nft(INPUT("accept") RULE("7", PORT("25") ALSO DROP), false, &findings);
    assert_string_equal(findings.items[0].place, "nft, table inet t, chain input");
    assert_string_equal(findings.items[0].look, "nft -a list chain inet t input");
    /* Names come from anybody who may make a table. */
    read_nft("{\"chain\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"a;b\\u001b[2J\",\"hook\":"
             "\"input\",\"policy\":\"drop\"}}",
             false, &findings);
    assert_string_equal(findings.items[0].place, "nft, table inet t, chain a;b\\x1b[2J");
    assert_string_equal(findings.items[0].look, "nft -a list ruleset");
    /* Without what is in the sets nothing is said of them. */
    read_nft(INPUT("accept") ",{\"set\":{\"family\":\"inet\",\"name\":\"p\",\"table\":\"t\","
                             "\"type\":\"inet_service\",\"handle\":5}}" RULE("2", PORT("\"@p\"")
                                                                                      ALSO DROP),
             true, &findings);
    assert_int_equal(findings.count, 0);
    read_nft(INPUT("drop")
                 RULE("2", "{\"vmap\":{\"key\":" FIELD("tcp", "dport") ",\"data\":\"@m\"}}"),
             true, &findings);
    assert_int_equal(findings.count, 0);
    read_nft(INPUT("accept")
                 RULE("2", MATCH("==", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO DROP),
             false, &findings);
    assert_int_equal(findings.n_spares, 1);
}

/* ---- ports that lead to guarded ones ---- */

/* "2525>587 RULE; 2000+>25 ...": + where it stands for others too. */
static char *leads_of(const struct ruleset_findings *findings)
{
    static char text[4096];
    size_t i, used = 0;

    text[0] = '\0';
    for (i = 0; i < findings->n_leads; i++) {
        const struct ruleset_lead *one = &findings->leads[i];

        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u%s>%u %s", i ? "; " : "",
                                 one->from, one->wide ? "+" : "", one->to, one->rule);
    }
    return text;
}

#define NAT              CHAIN_OF("inet", "nat", ",\"type\":\"nat\",\"hook\":\"prerouting\",\"prio\":-100")
#define TO(handle, expr) RULE_IN("nat", handle, expr)
#define REDIRECT(port)   "{\"redirect\":{\"port\":" port "}}"
#define DNAT(port)       "{\"dnat\":{\"family\":\"ip\",\"addr\":\"192.0.2.99\",\"port\":" port "}}"
#define MAPPED(port) \
    "{\"map\":{\"key\":" FIELD("tcp", "dport") ",\"data\":{\"set\":[[2525," port "],[80,8080]]}}}"

static const struct {
    const char *items, *expected;
} nft_leads[] = {
    {NAT TO("2", PORT("2525") ALSO REDIRECT("587")), "2525>587 " H("2")},
    {NAT TO("2", PORT("{\"set\":[25,2525,2526]}") ALSO DNAT("587")),
     "2525>587 " H("2") "; 2526>587 " H("2")},
    {NAT TO("2", PORT("2525") ALSO "{\"tproxy\":{\"port\":465}}"), "2525>465 " H("2")},
    /* to one that is not guarded, or stays, or is guarded and comes from one that is */
    {NAT TO("2", PORT("2525") ALSO REDIRECT("2526")), ""},
    {NAT TO("2", PORT("25") ALSO REDIRECT("587")), ""},
    {NAT TO("2", PORT("2500") ALSO REDIRECT("587")), ""},
    {NAT TO("2", PORT("2525") ALSO "{\"redirect\":null}"), ""},
    {NAT TO("2", PORT("2525") ALSO ACCEPT), ""},
    {NAT TO("2", MATCH("==", FIELD("udp", "dport"), "2525") ALSO REDIRECT("587")), ""},
    /* ranges, exceptions, all */
    {NAT TO("2", PORT("{\"range\":[587,600]}") ALSO REDIRECT("587")), "588+>587 " H("2")},
    {NAT TO("2", REDIRECT("587")), "2525+>587 " H("2")},
    {NAT TO("2", MATCH("!=", FIELD("tcp", "dport"), "22") ALSO REDIRECT("25")), "2525+>25 " H("2")},
    {NAT TO("2", MATCH("!=", FIELD("tcp", "dport"), "2525") ALSO REDIRECT("25")), ""},
    /* where packets come, and as far as they come */
    {NAT "," CHAIN_OF("inet", "sub", "") RULE_IN("sub", "2", PORT("2525") ALSO REDIRECT("587")),
     ""},
    {NAT "," CHAIN_OF("inet", "sub", "") TO("1", "{\"jump\":{\"target\":\"sub\"}}")
         RULE_IN("sub", "2", PORT("2525") ALSO REDIRECT("587")),
     "2525>587 " H("2")},
    {NAT TO("1", PORT("2525") ALSO ACCEPT) TO("2", PORT("2525") ALSO REDIRECT("587")), ""},
    {NAT TO("2", MARK ALSO PORT("2525") ALSO REDIRECT("587")), ""},
    {NAT TO("2", MATCH("==", META("iifname"), "\"eth9\"") ALSO PORT("2525") ALSO REDIRECT("587")),
     ""},
    {NAT TO("2", MATCH("==", FIELD("ip", "saddr"), "\"198.51.100.1\"") ALSO PORT("2525")
                     ALSO REDIRECT("587")),
     "2525>587 " H("2")},
    {CHAIN_OF("inet", "nat", ",\"hook\":\"output\"") TO("2", PORT("2525") ALSO REDIRECT("587")),
     ""},
    {CHAIN_OF("inet", "raw", ",\"hook\":\"prerouting\"") RULE_IN(
         "raw", "1", PORT("2525") ALSO DROP) "," NAT TO("2", PORT("2525") ALSO REDIRECT("587")),
     ""},
    {INPUT("accept")
         RULE("1", PORT("2525") ALSO DROP) "," NAT TO("2", PORT("2525") ALSO REDIRECT("587")),
     "2525>587 " H("2")},
    /* by a map, of ports or of addresses and ports */
    {NAT TO("2", REDIRECT(MAPPED("587"))), "2525>587 " H("2")},
    {NAT TO("2", REDIRECT(MAPPED("5870"))), ""},
    /* who is not in the map goes on to the next rule */
    {NAT TO("2", REDIRECT(MAPPED("5870"))) TO("3", PORT("2526") ALSO REDIRECT("587")),
     "2526>587 " H("3")},
    {NAT TO("2", REDIRECT(MAPPED("465"))) TO("3", PORT("2526") ALSO DNAT("587")),
     "2525>465 " H("2") "; 2526>587 " H("3")},
    {NAT TO("2", REDIRECT(MAPPED("5870"))) TO("3", PORT("2525") ALSO REDIRECT("587")), ""},
    {NAT TO("2", "{\"dnat\":{\"family\":\"ip\",\"addr\":" MAPPED(
                     "{\"concat\":[\"192.0.2.99\",587]}") "}}"),
     "2525>587 " H("2")},
};

static const struct {
    const char *text, *expected;
} ipt_leads[] = {
    {"-A PREROUTING -p tcp -m tcp --dport 2525 -j REDIRECT --to-ports 587", "2525>587"},
    {"-A PREROUTING -p tcp -m multiport --dports 25,2525,2600:2700 -j DNAT --to-destination"
     " 192.0.2.9:465",
     "2525>465 2600+>465"},
    {"-A PREROUTING -p tcp -m tcp --dport 2525 -j DNAT --to-destination 192.0.2.9", ""},
    {"-A PREROUTING -p tcp -m tcp --dport 2525 -j REDIRECT --to-ports 5870", ""},
    {"-A PREROUTING -p tcp -m tcp --dport 2525 -j TPROXY --on-port 25 --on-ip 0.0.0.0", "2525>25"},
    {"-A PREROUTING -p tcp -m tcp ! --dport 22 -j REDIRECT --to-ports 25", "2525+>25"},
    {"-A PREROUTING -p tcp -m tcp --dport 2525 -m comment --comment \"--to-ports 587\" -j ACCEPT",
     ""},
    {"-A PREROUTING ! -s 198.51.100.0/24 -p tcp -m tcp --dport 2525 -j REDIRECT --to-ports 587-590",
     "2525>587"},
    {"-A OUTPUT -p tcp -m tcp --dport 2525 -j REDIRECT --to-ports 587", ""},
};

static void test_leads(void **state)
{
    struct ruleset_findings findings;
    char text[512], found[512];
    size_t i, j, used;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(nft_leads); i++) {
        read_nft(nft_leads[i].items, false, &findings);
        if (strcmp(leads_of(&findings), nft_leads[i].expected) != 0)
            fail_msg("case %zu: \"%s\", expected \"%s\"\n%s", i, leads_of(&findings),
                     nft_leads[i].expected, nft_leads[i].items);
    }
    for (i = 0; i < ARRAY_SIZE(ipt_leads); i++) {
        memset(&findings, 0, sizeof(findings));
        snprintf(text, sizeof(text),
                 "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n%s\nCOMMIT\n",
                 ipt_leads[i].text);
        assert_int_equal(ruleset_read_iptables(text, ADDR_IP4, "iptables", &host, &findings), 0);
        found[0] = '\0';
        for (j = used = 0; j < findings.n_leads; j++)
            used += (size_t)snprintf(found + used, sizeof(found) - used, "%s%u%s>%u", j ? " " : "",
                                     findings.leads[j].from, findings.leads[j].wide ? "+" : "",
                                     findings.leads[j].to);
        if (strcmp(found, ipt_leads[i].expected) != 0)
            fail_msg("case %zu: \"%s\", expected \"%s\"\n%s", i, found, ipt_leads[i].expected,
                     ipt_leads[i].text);
    }
    memset(&findings, 0, sizeof(findings));
    assert_int_equal(ruleset_read_iptables("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m"
                                           " tcp --dport 2525 -j DNAT --to-destination"
                                           " [2001:db8::1]:587\nCOMMIT\n",
                                           ADDR_IP6, "ip6tables", &host, &findings),
                     0);
    assert_int_equal(findings.n_leads, 1);
}

/* ---- rules that drop some ---- */

/* "RULE (WHO) @ALL", with all sources that are dropped for certain. */
static char *spared_of(const struct ruleset_findings *findings)
{
    static char text[4096];
    char who[WHO_TEXT_MAX];
    size_t i, used = 0;

    text[0] = '\0';
    for (i = 0; i < findings->n_spares; i++)
        if (findings->spares[i].by.n_ports)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s (%s)",
                                     findings->spares[i].by.rule, findings->spares[i].who);
    for (i = 0; i < findings->n_sources; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, " @%s",
                                 who_print(&findings->sources[i].who, who));
    return text;
}

#define SOURCE(right) MATCH("==", FIELD("ip", "saddr"), right)
#define BANS(elem)                                                                             \
    ",{\"set\":{\"family\":\"inet\",\"name\":\"bans\",\"table\":\"t\",\"type\":\"ipv4_addr\"," \
    "\"handle\":5,\"elem\":" elem "}}"

static void test_spared(void **state)
{
    static const struct {
        const char *items, *expected;
    } cases[] = {
        {INPUT("accept") RULE("2", SOURCE("\"198.51.100.1\"") ALSO DROP),
         H("2") " (198.51.100.1) @198.51.100.1"},
        {INPUT("accept") RULE("2", SOURCE("{\"prefix\":{\"addr\":\"198.51.100.0\",\"len\":24}}")
                                       ALSO PORT("25") ALSO DROP)
             RULE("3", SOURCE("{\"range\":[\"203.0.113.1\",\"203.0.113.9\"]}") ALSO DROP),
         H("2") " (198.51.100.0/24) @198.51.100.0/24 @203.0.113.1-203.0.113.9"},
        {INPUT("accept") BANS("[\"192.0.2.1\",\"192.0.2.2\",{\"elem\":{\"val\":\"192.0.2.3\","
                              "\"timeout\":600}},\"192.0.2.4\"]")
             RULE("2", SOURCE("\"@bans\"") ALSO DROP),
         H("2") " (192.0.2.1, 192.0.2.2, 192.0.2.3, ...) @192.0.2.1 @192.0.2.2 @192.0.2.3"
                " @192.0.2.4"},
        /* not a guarded port's; a rate, whoever it is; who was let in before */
        {INPUT("accept") RULE("2", SOURCE("\"198.51.100.1\"") ALSO PORT("22") ALSO DROP), ""},
        {INPUT("accept") RULE("2", PORT("25") ALSO "{\"limit\":{\"rate\":10,\"per\":\"second\","
                                                   "\"inv\":true}}" ALSO DROP),
         H("2") " ()"},
        {INPUT("accept") RULE("2", SOURCE("\"198.51.100.1\"") ALSO ACCEPT)
             RULE("3", SOURCE("{\"prefix\":{\"addr\":\"198.51.100.0\",\"len\":24}}") ALSO DROP),
         H("3") " (198.51.100.0/24)"},
    };
    struct ruleset_findings findings;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        read_nft(cases[i].items, false, &findings);
        if (strcmp(spared_of(&findings), cases[i].expected) != 0)
            fail_msg("case %zu: \"%s\", expected \"%s\"", i, spared_of(&findings),
                     cases[i].expected);
        assert_int_equal(findings.count, 0);
    }
    memset(&findings, 0, sizeof(findings));
    assert_int_equal(
        ruleset_read_iptables("*filter\n:INPUT ACCEPT [0:0]\n:f2b - [0:0]\n-A INPUT -p tcp -m"
                              " multiport --dports 25,587 -j f2b\n-A f2b -s 192.0.2.7/32 -j REJECT"
                              "\n-A f2b -m iprange --src-range 203.0.113.1-203.0.113.9 -j DROP\n-A"
                              " f2b -j RETURN\nCOMMIT\n",
                              ADDR_IP4, "iptables", &host, &findings),
        0);
    assert_string_equal(spared_of(&findings),
                        "-A f2b -s 192.0.2.7/32 -j REJECT (192.0.2.7) @192.0.2.7"
                        " @203.0.113.1-203.0.113.9");
    assert_string_equal(findings.spares[0].by.place, "iptables, table filter, chain f2b");
    assert_int_equal(findings.spares[0].by.n_ports, 2);
}

/* Rules of iptables-nft that nft cannot tell are left to iptables-save, the whole table. */
static void test_compat(void **state)
{
    struct ruleset_findings findings;

    (void)state;
    read_nft("{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":\"INPUT\",\"hook\":"
             "\"input\",\"policy\":\"drop\"}},{\"rule\":{\"family\":\"ip\",\"table\":\"filter\","
             "\"chain\":\"INPUT\",\"handle\":3,\"expr\":[{\"xt\":{\"type\":\"match\",\"name\":"
             "\"multiport\"}},{\"accept\":null}]}}," INPUT("drop"),
             false, &findings);
    assert_true(findings.compat4);
    assert_false(findings.compat6);
    assert_string_equal(summary(&findings), "25,465,587/46 policy");
    /* What is read second may say that packets never get to what was read first. */
    assert_int_equal(ruleset_read_iptables("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DNAT"
                                           " --to-destination 172.17.0.2\nCOMMIT\n",
                                           ADDR_IP4, "iptables", &host, &findings),
                     0);
    assert_string_equal(summary(&findings), "25,465,587/6 policy");
}

/* ---- iptables ---- */

#define FILTER(policy, rules)                                                       \
    "# Generated by iptables-save v1.8.9 (nf_tables) on Thu Nov 26 22:05:33 2026\n" \
    "*filter\n:INPUT " policy " [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n" \
    ":sub - [0:0]\n" rules "COMMIT\n# Completed on Thu Nov 26 22:05:33 2026\n"

static const struct {
    const char *text, *expected;
} ipt_cases[] = {
    {"", ""},
    {FILTER("ACCEPT", ""), ""},
    {FILTER("DROP", ""), "25,465,587/4 policy"},
    {FILTER("ACCEPT", "-A INPUT -p tcp -m tcp --dport 25 -j DROP\n"),
     "25/4 -A INPUT -p tcp -m tcp --dport 25 -j DROP"},
    {FILTER("ACCEPT", "-A INPUT -p udp -m udp --dport 25 -j DROP\n"), ""},
    {FILTER("ACCEPT", "-A INPUT -p tcp -m multiport --dports 465,587,2000:3000 -j REJECT"
                      " --reject-with icmp-port-unreachable\n"),
     "465,587/4 -A INPUT -p tcp -m multiport --dports 465,587,2000:3000 -j REJECT --reject-with"
     " icmp-port-unreachable"},
    {FILTER("ACCEPT", "-A INPUT -p tcp -m tcp --dport 20:600 -j DROP\n"),
     "25,465,587/4 -A INPUT -p tcp -m tcp --dport 20:600 -j DROP"},
    {FILTER("ACCEPT", "-A INPUT -p tcp -m tcp ! --dport 25 -j DROP\n"),
     "465,587/4 -A INPUT -p tcp -m tcp ! --dport 25 -j DROP"},
    {FILTER("ACCEPT", "-A INPUT ! -p tcp -j DROP\n"), ""},
    {FILTER("ACCEPT", "-A INPUT -s 198.51.100.0/24 -p tcp -m tcp --dport 25 -j DROP\n"), ""},
    {FILTER("ACCEPT", "-A INPUT ! -s 198.51.100.0/24 -p tcp -m tcp --dport 25 -j DROP\n"),
     "25/4~ -A INPUT ! -s 198.51.100.0/24 -p tcp -m tcp --dport 25 -j DROP"},
    {FILTER("ACCEPT", "-A INPUT -d 192.0.2.25/32 -p tcp -m tcp --dport 25 -j DROP\n"),
     "25/4 -A INPUT -d 192.0.2.25/32 -p tcp -m tcp --dport 25 -j DROP"},
    {FILTER("ACCEPT", "-A INPUT -d 224.0.0.0/4 -j DROP\n-A INPUT -i lo -j DROP\n"
                      "-A INPUT -i docker0 -j DROP\n"),
     ""},
    {FILTER("ACCEPT", "-A INPUT -i eth+ -j DROP\n"), "25,465,587/4 -A INPUT -i eth+ -j DROP"},
    {FILTER("ACCEPT", "-A INPUT -p tcp -m hashlimit --hashlimit-above 5/sec --hashlimit-name x"
                      " -j DROP\n-A INPUT -m recent --update --seconds 5 --name y --mask"
                      " 255.255.255.255 --rsource -j DROP\n"
                      "-A INPUT -m set --match-set bad src -j DROP\n"),
     ""},
    {FILTER("ACCEPT", "-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack"
                      " --ctstate NEW -j DROP\n-A INPUT -m conntrack --ctstate INVALID -j DROP\n"
                      "-A INPUT -f -j DROP\n-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN FIN,SYN"
                      " -j DROP\n-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE"
                      " -j DROP\n"),
     ""},
    {FILTER("DROP", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
                    "-A INPUT -i lo -j ACCEPT\n-A INPUT -p icmp -j ACCEPT\n"
                    "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"
                    "-A INPUT -p tcp -m multiport --dports 25,587 -m comment --comment \"mail -j"
                    " DROP \\\"x\\\"\" -j ACCEPT\n"),
     "465/4 policy"},
    {FILTER("DROP", "-A INPUT -s 198.51.100.0/24 -j ACCEPT\n"), "25,465,587/4~ policy"},
    /* fail2ban */
    {FILTER("ACCEPT", "-A INPUT -p tcp -m multiport --dports 25,465,587 -j sub\n"
                      "-A sub -s 198.51.100.7/32 -j REJECT --reject-with icmp-port-unreachable\n"
                      "-A sub -j RETURN\n"),
     ""},
    {FILTER("ACCEPT", "-A INPUT -p tcp -j sub\n-A INPUT -p tcp -m tcp --dport 465 -j DROP\n"
                      "-A sub -m limit --limit 3/min -j LOG --log-prefix \"[UFW BLOCK] \"\n"
                      "-A sub -m addrtype --dst-type BROADCAST -j DROP\n"
                      "-A sub -p tcp -m tcp --dport 25 -j DROP\n"
                      "-A sub -p tcp -m tcp --dport 465 -j ACCEPT\n"),
     "25/4 -A sub -p tcp -m tcp --dport 25 -j DROP"},
    {FILTER("DROP", "-A INPUT -m addrtype --dst-type LOCAL -g sub\n-A INPUT -j ACCEPT\n"
                    "-A sub -p tcp -m tcp --dport 25 -j ACCEPT\n"),
     "465,587/4 policy"},
    {"*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n-A PREROUTING -p tcp -m tcp --dport 587"
     " -j DROP\nCOMMIT\n*nat\n:PREROUTING ACCEPT [1:2]\n-A PREROUTING -p tcp -m tcp --dport 25 -j"
     " REDIRECT --to-ports 2525\n-A PREROUTING -p tcp -j CHAIN_THAT_IS_NONE\nCOMMIT\n",
     "587/4 -A PREROUTING -p tcp -m tcp --dport 587 -j DROP"},
    /* a container's published port, past a filter of the host's */
    {FILTER("DROP", "") "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype"
                        " --dst-type LOCAL -j DOCKER\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport"
                        " 25 -j DNAT --to-destination 172.17.0.2:25\nCOMMIT\n",
     "465,587/4 policy"},
    {FILTER("ACCEPT", "-A INPUT -j sub\n-A INPUT -p tcp -j DROP\n-A sub -m recent --rcheck --name x"
                      " --mask 255.255.255.255 --rsource -j RETURN\n-A sub -j ACCEPT\n"),
     ""},
    {"# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n", ""},
};

static void test_iptables(void **state)
{
    struct ruleset_findings findings;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ipt_cases); i++) {
        findings = (struct ruleset_findings){0};
        assert_int_equal(
            ruleset_read_iptables(ipt_cases[i].text, ADDR_IP4, "iptables", &host, &findings), 0);
        if (strcmp(summary(&findings), ipt_cases[i].expected))
            fail_msg("case %zu: \"%s\", expected \"%s\"\n%s", i, summary(&findings),
                     ipt_cases[i].expected, ipt_cases[i].text);
    }
}

static void test_iptables_words(void **state)
{
    const char *rule = FILTER("ACCEPT", "-A INPUT -m comment --comment \"\x1b[2J\" -j DROP\n");
    struct ruleset_findings findings = {0};

    (void)state;
    assert_int_equal(ruleset_read_iptables(rule, ADDR_IP6, "ip6tables-legacy", &host, &findings),
                     0);
    assert_string_equal(summary(&findings),
                        "25,465,587/6 -A INPUT -m comment --comment \"\\x1b[2J\" -j DROP");
    assert_string_equal(findings.items[0].place, "ip6tables-legacy, table filter, chain INPUT");
    assert_string_equal(findings.items[0].look,
                        "ip6tables-legacy -t filter -vnL INPUT --line-numbers");
}

/* ---- hostile ---- */

static const char *const odd_texts[] = {
    "",
    "{",
    "[]",
    "null",
    "{\"nftables\":{}}",
    "{\"nftables\":5}",
    "{\"nftables\":[",
    "{\"nftables\":[{\"table\":{\"flags\":\"t\"}}]}",
    "*filter\nx",
};

static void test_other_texts(void **state)
{
    struct ruleset_findings findings = {0};
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(odd_texts); i++)
        assert_int_equal(ruleset_read_nft(odd_texts[i], false, &host, &findings), -EINVAL);
    assert_int_equal(ruleset_read_iptables("-A INPUT -j DROP\n", ADDR_IP4, "x", &host, &findings),
                     -EINVAL);
    assert_int_equal(
        ruleset_read_iptables("*filter\n-A INPUT -j DROP\n", ADDR_IP4, "x", &host, &findings),
        -EINVAL);
    assert_int_equal(ruleset_read_iptables("*filter\n:INPUT\n", ADDR_IP4, "x", &host, &findings),
                     -EINVAL);
    assert_int_equal(findings.count, 0);
}

/* Members that are missing, or of another kind, anywhere. */
static void test_odd_members(void **state)
{
    static const char *const odd[] = {
        "null",           "5",          "\"x\"", "[]",          "{}",
        "[[]]",           "{\"x\":{}}", "-1",    "[null,null]", "{\"set\":null}",
        "{\"range\":[1]}"};
    struct ruleset_findings findings;
    char items[2048];
    size_t i, j;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(odd); i++)
        for (j = 0; j < ARRAY_SIZE(odd); j++) {
            snprintf(items, sizeof(items),
                     INPUT("accept") ",{\"rule\":%s},{\"chain\":%s},{\"set\":%s}" RULE(
                         "2", "{\"match\":{\"op\":\"==\",\"left\":%s,\"right\":%s}}" ALSO DROP)
                         RULE("3", MATCH("==", FIELD("tcp", "dport"), "%s") ALSO
                              "{\"jump\":%s}" ALSO "%s")
                             RULE("4", MATCH("==", "{\"concat\":%s}", "{\"set\":[{\"concat\":%s}]}")
                                           ALSO "{\"vmap\":{\"key\":%s,\"data\":%s}}"),
                     odd[i], odd[i], odd[i], odd[i], odd[j], odd[i], odd[j], odd[i], odd[i], odd[j],
                     odd[i], odd[j]);
            read_nft(items, false, &findings);
        }
}

/* Every beginning of real texts: no crash, and no finding out of nothing. */
static void test_cut(void **state)
{
    const char *text = ipt_cases[ARRAY_SIZE(ipt_cases) - 3].text;
    struct ruleset_findings findings = {0};
    char *cut;
    size_t i;

    (void)state;
    for (i = 0; i <= strlen(text); i++) {
        cut = strndup(text, i);
        (void)ruleset_read_iptables(cut, ADDR_IP4, "x", &host, &findings);
        (void)ruleset_read_nft(cut, false, &host, &findings);
        free(cut);
    }
}

/* Of cluster nodes: tens of thousands of chains, each looked up by its name. */
static void test_many_chains(void **state)
{
    const size_t room = 4 << 20, chains = 20000;
    struct ruleset_findings findings = {0};
    char *text = malloc(room);
    size_t used, i;

    (void)state;
    used = (size_t)snprintf(text, room, "*filter\n:INPUT ACCEPT [0:0]\n");
    for (i = 0; i < chains; i++)
        used += (size_t)snprintf(text + used, room - used, ":c%zu - [0:0]\n", i);
    for (i = 0; i < chains; i++)
        used += (size_t)snprintf(text + used, room - used, "-A INPUT -j c%zu\n", i);
    snprintf(text + used, room - used, "-A c%zu -p tcp --dport 25 -j DROP\n", chains - 1);
    assert_int_equal(ruleset_read_iptables(text, ADDR_IP4, "x", &host, &findings), 0);
    assert_false(findings.unread);
    assert_string_equal(summary(&findings), "25/4 -A c19999 -p tcp --dport 25 -j DROP");
    /* Of two with one name the first is meant. */
    findings = (struct ruleset_findings){0};
    assert_int_equal(ruleset_read_iptables("*raw\n:PREROUTING ACCEPT [0:0]\n:a - [0:0]\n*filter\n"
                                           ":INPUT ACCEPT [0:0]\n:a - [0:0]\n:a - [0:0]\n"
                                           "-A INPUT -j a\n-A a -p tcp --dport 465 -j DROP\n",
                                           ADDR_IP4, "x", &host, &findings),
                     0);
    assert_string_equal(summary(&findings), "465/4 -A a -p tcp --dport 465 -j DROP");
    free(text);
}

/* Sets that every rule asks again: given up, and said. */
static void test_many_elements(void **state)
{
    const size_t room = 4 << 20;
    struct ruleset_findings findings = {0};
    char *text = malloc(room);
    size_t used, i;

    (void)state;
    used = (size_t)snprintf(text, room,
                            "{\"nftables\":[{\"chain\":{\"family\":\"inet\",\"table\":\"t\","
                            "\"name\":\"i\",\"type\":\"filter\",\"hook\":\"input\",\"prio\":0,"
                            "\"policy\":\"accept\"}},{\"set\":{\"family\":\"inet\",\"table\":\"t\","
                            "\"name\":\"s\",\"elem\":[1");
    for (i = 0; i < 10000; i++)
        used += (size_t)snprintf(text + used, room - used, ",%zu", i);
    used += (size_t)snprintf(text + used, room - used, "]}}");
    for (i = 0; i < 1000; i++)
        used += (size_t)snprintf(text + used, room - used,
                                 ",{\"rule\":{\"family\":\"inet\",\"table\":\"t\","
                                 "\"chain\":\"i\",\"expr\":[{\"match\":{\"op\":\"==\",\"left\":"
                                 "{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}},"
                                 "\"right\":\"@s\"}},{\"drop\":null}]}}");
    snprintf(text + used, room - used, "]}");
    assert_int_equal(ruleset_read_nft(text, false, &host, &findings), 0);
    assert_true(findings.unread);
    free(text);
}

/* Chains that lead to themselves or branch without end: given up, and said. */
static void test_endless(void **state)
{
    struct ruleset_findings findings = {0};
    size_t used = 0, i, j;
    char *text = malloc(65536);

    (void)state;
    used += (size_t)snprintf(text, 65536, "*filter\n:INPUT DROP [0:0]\n");
    for (i = 0; i < 15; i++)
        used += (size_t)snprintf(text + used, 65536 - used, ":c%zu - [0:0]\n", i);
    used += (size_t)snprintf(text + used, 65536 - used, "-A INPUT -j c0\n");
    for (i = 0; i < 14; i++)
        for (j = 0; j < 40; j++)
            used += (size_t)snprintf(text + used, 65536 - used, "-A c%zu -j c%zu\n", i, i + 1);
    assert_int_equal(ruleset_read_iptables(text, ADDR_IP4, "x", &host, &findings), 0);
    assert_true(findings.unread);
    assert_int_equal(findings.count, 0);
    findings = (struct ruleset_findings){0};
    assert_int_equal(ruleset_read_iptables("*filter\n:INPUT DROP [0:0]\n:a - [0:0]\n-A INPUT -j a\n"
                                           "-A a -j a\n",
                                           ADDR_IP4, "x", &host, &findings),
                     0);
    assert_true(findings.unread);
    /* More rules than are named. */
    findings = (struct ruleset_findings){0};
    used = (size_t)snprintf(text, 65536, "*filter\n:INPUT ACCEPT [0:0]\n");
    for (i = 0; i < 100; i++)
        used += (size_t)snprintf(text + used, 65536 - used,
                                 "-A INPUT ! -s 10.0.0.%zu -p tcp -m multiport --dports 25 -m"
                                 " comment --comment %zu -j sub%zu\n",
                                 i, i, i);
    assert_int_equal(ruleset_read_iptables(text, ADDR_IP4, "x", &host, &findings), 0);
    assert_int_equal(findings.count, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nft),
        cmocka_unit_test(test_nft_words),
        cmocka_unit_test(test_leads),
        cmocka_unit_test(test_spared),
        cmocka_unit_test(test_compat),
        cmocka_unit_test(test_iptables),
        cmocka_unit_test(test_iptables_words),
        cmocka_unit_test(test_other_texts),
        cmocka_unit_test(test_odd_members),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_many_chains),
        cmocka_unit_test(test_many_elements),
        cmocka_unit_test(test_endless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
