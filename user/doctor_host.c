/* SPDX-License-Identifier: GPL-2.0-only */
/* See doctor_host.h. */
#include "doctor_host.h"

#include <stdio.h>
#include <string.h>

#include "text.h"
#include "util.h"

/* ---- families ---- */

static void add_family(struct doctor_list *list, const struct doctor_ports *ports,
                       const char *family, const char *other, const char *record)
{
    char text[DOCTOR_PORTS_MAX];
    struct doctor_result *result = doctor_add(
        list, DOCTOR_WARN, 0,
        "port%s %s can be reached by %s, and the list has %s addresses only: every"
        " client that comes by %s is dropped",
        ports->count == 1 ? "" : "s", doctor_print_ports(ports->items, ports->count, ", ", text),
        family, other, family);

    doctor_set_remedy(result,
                      "smtpgate add PREFIX   # the clients' %s networks; or take the %s record of"
                      " this host out of the DNS",
                      family, record);
}

void doctor_judge_families(struct doctor_list *list, const struct doctor_families *families)
{
    bool deaf6 = families->ports6.count && !families->prefixes6 && families->prefixes4;
    bool deaf4 = families->ports4.count && !families->prefixes4 && families->prefixes6;

    if (!families->drops)
        doctor_add(list, DOCTOR_OK, 0, "the gate is off, so no family is kept out");
    else if (deaf6)
        add_family(list, &families->ports6, "IPv6", "IPv4", "AAAA");
    else if (deaf4)
        add_family(list, &families->ports4, "IPv4", "IPv6", "A");
    else
        doctor_add(list, DOCTOR_OK, 0,
                   "the list has addresses of each family by which guarded ports can be reached");
}

/* ---- another packet filter ---- */

static const char *family_words(const struct ruleset_finding *finding)
{
    return finding->ip4 && finding->ip6 ? "IPv4, IPv6" : finding->ip6 ? "IPv6" : "IPv4";
}

static void add_finding(struct doctor_list *list, const struct ruleset_finding *finding)
{
    char ports[DOCTOR_PORTS_MAX];
    struct doctor_result *result = doctor_add(
        list, DOCTOR_WARN, finding->n_ports == 1 ? finding->ports[0] : 0,
        "another packet filter drops port%s %s (%s) for %s, listed or not: %s: %s",
        finding->n_ports == 1 ? "" : "s",
        doctor_print_ports(finding->ports, finding->n_ports, ", ", ports), family_words(finding),
        finding->some ? "all but some sources or ways in" : "every source", finding->place,
        finding->rule[0] ? finding->rule : "its policy, as no rule accepts");

    doctor_set_remedy(result, "%s   # let the guarded ports pass there", finding->look);
}

/* A listed source that a rule for some sources drops. */
static void add_overlap(struct doctor_list *list, const struct doctor_firewall *firewall)
{
    const struct ruleset_finding *by = &firewall->findings.spares[firewall->dropped.spare].by;
    char who[WHO_TEXT_MAX], ports[DOCTOR_PORTS_MAX];
    struct doctor_result *result = doctor_add(
        list, DOCTOR_WARN, by->n_ports == 1 ? by->ports[0] : 0,
        "another packet filter drops port%s %s (%s) for %s, and the list lets some or all of that"
        " in: %s",
        by->n_ports == 1 ? "" : "s", doctor_print_ports(by->ports, by->n_ports, ", ", ports),
        family_words(by), who_print(&firewall->dropped.who, who), by->place);

    doctor_set_remedy(result, "%s   # a ban of a listed source? take it back there", by->look);
}

/* A port that is not guarded and is sent on to one that is: the gate sees what is in the packet. */
static void add_lead(struct doctor_list *list, const struct ruleset_lead *lead)
{
    struct doctor_result *result;

    if (lead->wide) {
        result = doctor_add(list, DOCTOR_FAIL, 0,
                            "ports that are not guarded (%u is one) are redirected to the guarded"
                            " %u: a leaked password works there: %s: %s",
                            lead->from, lead->to, lead->place, lead->rule);
        doctor_set_remedy(result, "%s   # redirect none but ports that are guarded too",
                          lead->look);
        return;
    }
    result = doctor_add(list, DOCTOR_FAIL, lead->from,
                        "port %u is redirected to the guarded %u and is not guarded itself: a"
                        " leaked password works there: %s: %s",
                        lead->from, lead->to, lead->place, lead->rule);
    if (result)
        result->advice = DOCTOR_PORTS_ADD;
}

/* The first rule that drops some; NULL: there is none. */
static const struct ruleset_spare *first_spare(const struct ruleset_findings *findings)
{
    size_t i;

    for (i = 0; i < findings->n_spares; i++)
        if (findings->spares[i].by.n_ports)
            return &findings->spares[i];
    return NULL;
}

static void add_none(struct doctor_list *list, const struct doctor_firewall *firewall)
{
    const struct ruleset_spare *spare = first_spare(&firewall->findings);
    char ports[DOCTOR_PORTS_MAX], looked[DOCTOR_PORTS_MAX + 64] = "guarded ports";

    if (firewall->listening)
        snprintf(looked, sizeof(looked), "the guarded port%s that somebody listens on (%s)",
                 firewall->ports.count == 1 ? "" : "s",
                 doctor_print_ports(firewall->ports.items, firewall->ports.count, ", ", ports));
    if (!spare) {
        doctor_add(list, DOCTOR_OK, 0, "no rule of another packet filter drops %s", looked);
        return;
    }
    doctor_add(list, DOCTOR_OK, 0,
               "no rule of another packet filter drops %s for every source; some connections are"
               " dropped by their source, rate or the like, first by %s: %s%s%s%s",
               looked, spare->by.place, spare->by.rule, spare->who[0] ? " (" : "", spare->who,
               spare->who[0] ? ")" : "");
}

static void add_unread(struct doctor_list *list, const struct doctor_firewall *firewall)
{
    struct doctor_result *result;

    if (firewall->error.message[0]) {
        result = doctor_add(list, DOCTOR_UNKNOWN, 0,
                            "whether another packet filter drops guarded ports is not known: %s",
                            firewall->error.message);
        doctor_set_remedy(result, "%s", firewall->error.hint);
    } else {
        result = doctor_add(list, DOCTOR_UNKNOWN, 0,
                            "whether another packet filter drops guarded ports is not known: its"
                            " rules are too many, or lead into each other too deeply");
        doctor_set_remedy(result, "nft list ruleset");
    }
}

void doctor_judge_firewall(struct doctor_list *list, const struct doctor_firewall *firewall)
{
    const struct ruleset_findings *findings = &firewall->findings;
    struct doctor_result *result;
    size_t i;

    for (i = 0; i < findings->n_leads; i++)
        add_lead(list, &findings->leads[i]);
    for (i = 0; i < findings->count; i++)
        add_finding(list, &findings->items[i]);
    if (findings->more || findings->more_leads) {
        result = doctor_add(list, DOCTOR_WARN, 0, "and so do more rules than are named here");
        doctor_set_remedy(result, "nft list ruleset; iptables-save; ip6tables-save");
    }
    if (firewall->overlaps)
        add_overlap(list, firewall);
    if (firewall->error.message[0] || findings->unread)
        add_unread(list, firewall);
    else if (firewall->none)
        doctor_add(list, DOCTOR_OK, 0, "there is no other packet filter in the kernel");
    else if (!findings->count && !firewall->overlaps)
        add_none(list, firewall);
}

/* ---- everything from one address ---- */

/* Of fewer nothing can be told; from this share on, in percent, it is "everything". */
#define LEADER_LEAST 100
#define LEADER_SHARE 95

bool doctor_is_private(const struct addr *address)
{
    static const struct {
        struct addr network;
        unsigned int len;
    } networks[] = {
        {{ADDR_IP4, {10}}, 8},          {{ADDR_IP4, {172, 16}}, 12},  {{ADDR_IP4, {192, 168}}, 16},
        {{ADDR_IP4, {100, 64}}, 10},    {{ADDR_IP4, {169, 254}}, 16}, {{ADDR_IP6, {0xfc}}, 7},
        {{ADDR_IP6, {0xfe, 0x80}}, 10},
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(networks); i++)
        if (doctor_shares(address, &networks[i].network, networks[i].len))
            return true;
    return false;
}

bool doctor_shares(const struct addr *a, const struct addr *b, unsigned int len)
{
    unsigned int whole = len / 8, rest = len % 8;

    if (a->family != b->family || memcmp(a->bytes, b->bytes, whole) != 0)
        return false;
    return !rest || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0;
}

void doctor_judge_leader(struct doctor_list *list, const struct doctor_leader *leader)
{
    uint64_t share = leader->total ? leader->count * 100 / leader->total : 0;
    char at[ADDR_TEXT_MAX];
    struct doctor_result *result;

    if (!leader->known)
        return;
    if (leader->total < LEADER_LEAST) {
        doctor_add(list, DOCTOR_OK, 0,
                   "%llu connections so far, too few to tell whether all come from one address",
                   (unsigned long long)leader->total);
        return;
    }
    if (share < LEADER_SHARE || !leader->neighbour) {
        doctor_add(list, DOCTOR_OK, 0, "no neighbour stands in for all others (%llu connections)",
                   (unsigned long long)leader->total);
        return;
    }
    addr_print(&leader->address, at);
    result = doctor_add(list, DOCTOR_WARN, 0,
                        "%llu %% of %llu connections come from %s, a neighbour: a load balancer or"
                        " NAT in front hides who the clients are, and the list can only let in all"
                        " of them or none",
                        (unsigned long long)share, (unsigned long long)leader->total, at);
    doctor_set_remedy(result,
                      "ip neigh show %s   # let it hand on the clients' addresses (transparent mode"
                      " or direct return, not PROXY protocol), or put the gate there",
                      at);
}

/* ---- settings of the kernel ---- */

#define CONF_KEPT "   # and for every boot in /etc/sysctl.d/smtpgate.conf"

const struct doctor_sysctl_row doctor_sysctl_rows[DOCTOR_SYSCTLS] = {
    [DOCTOR_SOURCE_ROUTE] = {"ipv4", "accept_source_route"},
    [DOCTOR_ROUTE_LOCALNET] = {"ipv4", "route_localnet"},
    [DOCTOR_SEG6] = {"ipv6", "seg6_enabled"},
    [DOCTOR_RPL] = {"ipv6", "rpl_seg_enabled"},
    [DOCTOR_FASTOPEN] = {NULL, "ipv4/tcp_fastopen"},
};

/* What follows from it. */
static const char *const consequences[DOCTOR_SYSCTLS] = {
    [DOCTOR_SOURCE_ROUTE] = "answers take the way that the sender chose, so somebody far away can"
                            " connect with a listed source address",
    [DOCTOR_ROUTE_LOCALNET] = "what listens on 127.0.0.1 only, and trusts who asks there, can be"
                              " reached from outside",
    [DOCTOR_SEG6] = "TCP is taken from within IPv6 segment routing headers, which the gate passes",
    [DOCTOR_RPL] = "TCP is taken from within IPv6 RPL routing headers, which the gate passes",
    [DOCTOR_FASTOPEN] = "data is taken from the first packet of a connection, so mail can come from"
                        " a forged listed address that no answer ever reaches",
};

/* As the kernel joins "all" and the interface's own: both have to be set, or one suffices. */
static bool is_joined_by_or(enum doctor_sysctl_id id)
{
    return id == DOCTOR_ROUTE_LOCALNET;
}

static bool is_on(enum doctor_sysctl_id id, long all, long own)
{
    if (is_joined_by_or(id))
        return all > 0 || own > 0;
    return all > 0 && own > 0;
}

/* Without a cookie, where it is switched on for servers at all. */
#define FASTOPEN_SERVER    0x2
#define FASTOPEN_NO_COOKIE 0x200

static void judge_fastopen(struct doctor_list *list, const struct doctor_sysctl *setting)
{
    struct doctor_result *result;

    if (!(setting->all & FASTOPEN_SERVER) || !(setting->all & FASTOPEN_NO_COOKIE))
        return;
    result = doctor_add(list, DOCTOR_WARN, 0, "net.ipv4.tcp_fastopen is %#lx: %s", setting->all,
                        consequences[DOCTOR_FASTOPEN]);
    doctor_set_remedy(result, "sysctl -w net.ipv4.tcp_fastopen=%ld" CONF_KEPT,
                      setting->all & ~(long)FASTOPEN_NO_COOKIE);
}

/* " net/ipv4/conf/eth0/route_localnet=0" of those that are set, as sysctl takes names with dots. */
static void print_switches(enum doctor_sysctl_id id, const struct doctor_sysctl *setting, char *buf,
                           size_t size)
{
    const struct doctor_sysctl_row *row = &doctor_sysctl_rows[id];
    size_t i, used = (size_t)snprintf(buf, size, "net/%s/conf/all/%s=0", row->family, row->key);

    for (i = 0; is_joined_by_or(id) && i < setting->n_ifaces && used < size / 2; i++)
        if (setting->ifaces[i].value > 0)
            used += (size_t)snprintf(
                buf + used, size - used, " net/%s/conf/%s/%s=0", row->family,
                doctor_is_plain(setting->ifaces[i].name) ? setting->ifaces[i].name : "IFACE",
                row->key);
}

/* The names of at most four interfaces; false: there is none. */
static bool print_ifaces(enum doctor_sysctl_id id, const struct doctor_sysctl *setting, char *buf,
                         size_t size)
{
    char shown[4 * IF_NAMESIZE];
    size_t i, used = 0, count = 0;

    buf[0] = '\0';
    for (i = 0; i < setting->n_ifaces && used < size; i++) {
        if (!is_on(id, setting->all, setting->ifaces[i].value))
            continue;
        if (count++ < 4)
            used += (size_t)snprintf(buf + used, size - used, "%s%s", count > 1 ? ", " : "",
                                     text_escape(setting->ifaces[i].name, shown, sizeof(shown)));
    }
    if (count > 4 && used < size)
        snprintf(buf + used, size - used, ", ...");
    return count;
}

static void judge_switch(struct doctor_list *list, enum doctor_sysctl_id id,
                         const struct doctor_sysctl *setting)
{
    char names[300], switches[400];
    struct doctor_result *result;

    if (!print_ifaces(id, setting, names, sizeof(names)))
        return;
    print_switches(id, setting, switches, sizeof(switches));
    result = doctor_add(list, DOCTOR_WARN, 0, "net/%s/conf/*/%s is set (%s): %s",
                        doctor_sysctl_rows[id].family, doctor_sysctl_rows[id].key, names,
                        consequences[id]);
    doctor_set_remedy(result, "sysctl -w %s" CONF_KEPT, switches);
}

void doctor_judge_sysctls(struct doctor_list *list,
                          const struct doctor_sysctl settings[DOCTOR_SYSCTLS])
{
    size_t before = list->count;
    int id;

    for (id = 0; id < DOCTOR_SYSCTLS; id++) {
        if (!settings[id].there)
            continue;
        if (id == DOCTOR_FASTOPEN)
            judge_fastopen(list, &settings[id]);
        else
            judge_switch(list, (enum doctor_sysctl_id)id, &settings[id]);
    }
    if (list->count == before)
        doctor_add(list, DOCTOR_OK, 0, "no setting of the kernel's leads past the gate");
}
