/* SPDX-License-Identifier: GPL-2.0-only */
/* See exam.h: what else on the host decides who gets through. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exam.h"
#include "firewall.h"
#include "span.h"

/* ---- families ---- */

static bool has_address(const struct exam *x, enum addr_family family)
{
    size_t i;

    for (i = 0; i < x->n_addresses; i++)
        if (x->addresses[i].address.family == family &&
            !iface_is_loopback(&x->addresses[i].address) &&
            !iface_is_link_local(&x->addresses[i].address))
            return true;
    return false;
}

static void add_port(struct doctor_ports *ports, uint16_t port)
{
    if (!doctor_guards(ports, port) && ports->count < SG_PORTS_MAX)
        ports->items[ports->count++] = port;
}

/* A listener on :: mostly takes IPv4 too. */
static void read_families(struct exam *x)
{
    bool ip4 = has_address(x, ADDR_IP4), ip6 = has_address(x, ADDR_IP6);
    size_t i;

    for (i = 0; i < x->n_listeners; i++) {
        const struct addr *address = &x->listeners[i].address;
        bool is_ip6 = address->family == ADDR_IP6;

        if (ip6 && is_ip6 && !iface_is_link_local(address))
            add_port(&x->families.ports6, x->listeners[i].port);
        if (ip4 && (!is_ip6 || iface_is_any(address)))
            add_port(&x->families.ports4, x->listeners[i].port);
    }
}

/* ---- packet filters ---- */

/* The ports that somebody listens on; if nobody does on any, all. */
static void take_ports(struct exam *x, struct ruleset_host *host)
{
    struct doctor_ports ports = {0};
    size_t i;

    _Static_assert(RULESET_PORTS_MAX >= SG_PORTS_MAX, "all guarded ports fit");
    for (i = 0; i < x->n_listeners; i++)
        add_port(&ports, x->listeners[i].port);
    if (!ports.count)
        ports = x->ports;
    memcpy(host->ports, ports.items, ports.count * sizeof(host->ports[0]));
    host->n_ports = ports.count;
    memcpy(host->guarded, x->ports.items, x->ports.count * sizeof(host->guarded[0]));
    host->n_guarded = x->ports.count;
    x->firewall.ports = ports;
    x->firewall.listening = x->n_listeners;
}

/* The interfaces that lead to them, of those the gate is on or above if there are any. */
static void take_ifaces(const struct exam *x, struct ruleset_host *host)
{
    bool covered = false;
    size_t i;

    for (i = 0; i < x->n_rows; i++)
        covered |= !x->rows[i].n_missing;
    for (i = 0; i < x->n_rows && host->n_ifaces < RULESET_IFACES_MAX; i++)
        if (!covered || !x->rows[i].n_missing)
            snprintf(host->ifaces[host->n_ifaces++], RULESET_NAME_MAX, "%s", x->rows[i].name);
}

/* @own has room for all addresses. */
static void take_addresses(const struct exam *x, struct addr *own, struct ruleset_host *host)
{
    size_t i;

    for (i = 0; i < x->n_addresses; i++)
        if (!iface_is_loopback(&x->addresses[i].address))
            own[host->n_own++] = x->addresses[i].address;
    host->own = own;
    host->ip4 = has_address(x, ADDR_IP4);
    host->ip6 = has_address(x, ADDR_IP6);
}

static void set_missing(struct doctor_firewall *firewall, const char *tool, const char *package)
{
    if (firewall->error.message[0])
        return;
    err_set(&firewall->error, 0, EXIT_REFUSED, "reading its rules wants %s, which is not installed",
            tool);
    err_hint(&firewall->error, "apt install %s", package);
}

/* What a reading came to. */
static void take_reading(struct doctor_firewall *firewall, int r, const char *tool)
{
    if (r == 0 || firewall->error.message[0])
        return;
    err_set(&firewall->error, r, EXIT_REFUSED, "what %s prints is not understood", tool);
    err_hint(&firewall->error, "%s", tool);
}

/* The first error is kept. */
static struct err *error_of(struct doctor_firewall *firewall)
{
    return firewall->error.message[0] ? NULL : &firewall->error;
}

static void read_iptables(struct doctor_firewall *firewall, enum firewall_tool tool,
                          enum addr_family family, const char *command,
                          const struct ruleset_host *host)
{
    _cleanup_free_ char *text = NULL;
    int r = firewall_print(tool, &firewall->left_ms, &text, error_of(firewall));

    if (r == -ENOENT)
        set_missing(firewall, command, "iptables");
    else if (r == 0 || r == -EFBIG)
        take_reading(firewall,
                     r ? r
                       : ruleset_read_iptables(text, family, command, host, &firewall->findings),
                     command);
}

static void read_nft(struct doctor_firewall *firewall, const struct ruleset_host *host)
{
    _cleanup_free_ char *text = NULL;
    int r = firewall_print(FIREWALL_NFT, &firewall->left_ms, &text, error_of(firewall));
    bool terse = r == -EFBIG;

    if (terse)
        r = firewall_print(FIREWALL_NFT_TERSE, &firewall->left_ms, &text, error_of(firewall));
    if (r == -ENOENT)
        set_missing(firewall, "nft", "nftables");
    else if (r == 0 || r == -EFBIG)
        take_reading(firewall, r ? r : ruleset_read_nft(text, terse, host, &firewall->findings),
                     "nft list ruleset");
}

static void read_filters(struct doctor_firewall *firewall, const struct ruleset_host *host)
{
    bool nft = firewall_may_have(FIREWALL_NFT) != FIREWALL_NO;
    bool ip4 = firewall_may_have(FIREWALL_IPTABLES_LEGACY) != FIREWALL_NO;
    bool ip6 = firewall_may_have(FIREWALL_IP6TABLES_LEGACY) != FIREWALL_NO;

    firewall->none = !nft && !ip4 && !ip6;
    firewall->left_ms = FIREWALL_MS;
    if (nft)
        read_nft(firewall, host);
    if (firewall->findings.compat4)
        read_iptables(firewall, FIREWALL_IPTABLES, ADDR_IP4, "iptables", host);
    if (firewall->findings.compat6)
        read_iptables(firewall, FIREWALL_IP6TABLES, ADDR_IP6, "ip6tables", host);
    if (ip4)
        read_iptables(firewall, FIREWALL_IPTABLES_LEGACY, ADDR_IP4, "iptables-legacy", host);
    if (ip6)
        read_iptables(firewall, FIREWALL_IP6TABLES_LEGACY, ADDR_IP6, "ip6tables-legacy", host);
}

/* ---- listed sources that are dropped elsewhere ---- */

struct overlap {
    struct doctor_firewall *firewall;
    struct span_set dropped;
};

static void prefix_bounds(const struct prefix *prefix, struct who *ret_who)
{
    unsigned int bit, bits = (unsigned int)addr_len(prefix->addr.family) * 8;

    *ret_who = (struct who){WHO_SEGMENT, prefix->addr, prefix->addr};
    for (bit = prefix->len; bit < bits; bit++)
        ret_who->last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
}

static bool overlap(const struct who *a, const struct who *b)
{
    return a->first.family == b->first.family && addr_cmp(&a->first, &b->last) <= 0 &&
           addr_cmp(&b->first, &a->last) <= 0;
}

/* Ends the walk with 1 at the first that is. */
static int find_dropped(const struct prefix *prefix, int64_t until, void *arg)
{
    struct overlap *o = arg;
    const struct ruleset_findings *findings = &o->firewall->findings;
    struct who listed;
    size_t i;

    (void)until;
    prefix_bounds(prefix, &listed);
    if (!span_touches(&o->dropped, &listed))
        return 0;
    for (i = 0; i < findings->n_sources && !o->firewall->overlaps; i++) {
        o->firewall->overlaps = overlap(&findings->sources[i].who, &listed);
        o->firewall->dropped = findings->sources[i];
    }
    return o->firewall->overlaps;
}

/* Rules of that chain drop guarded ports, when all is read. */
static bool counts(const struct ruleset_findings *findings, const struct ruleset_source *source)
{
    return findings->spares[source->spare].by.n_ports;
}

/* One more walk over the list, where some sources are dropped by rules. */
static void read_overlaps(struct exam *x, const struct cmd_context *ctx)
{
    struct ruleset_findings *findings = &x->firewall.findings;
    struct overlap o = {.firewall = &x->firewall};
    _cleanup_(store_close) struct store *store = NULL;
    size_t i, kept = 0;

    for (i = 0; i < findings->n_sources; i++)
        if (counts(findings, &findings->sources[i]))
            findings->sources[kept++] = findings->sources[i];
    findings->n_sources = kept;
    if (!kept || !x->gate_known || store_open(ctx->state, STORE_READ, &store, NULL) < 0)
        return;
    for (i = 0; i < kept; i++)
        if (span_add(&o.dropped, &findings->sources[i].who) < 0)
            break;
    (void)store_each_prefix(store, find_dropped, &o, NULL);
    span_free(&o.dropped);
}

static void read_firewall(struct exam *x)
{
    _cleanup_free_ struct addr *own = calloc(x->n_addresses + 1, sizeof(*own));
    struct ruleset_host host = {0};

    if (geteuid() != 0) {
        err_set(&x->firewall.error, -EPERM, EXIT_DENIED, "its rules can be read by root only");
        err_hint(&x->firewall.error, "sudo smtpgate doctor");
        return;
    }
    if (!own) {
        x->results.failed = true;
        return;
    }
    take_ports(x, &host);
    take_ifaces(x, &host);
    take_addresses(x, own, &host);
    read_filters(&x->firewall, &host);
}

/* ---- the rest ---- */

static void read_neighbour(struct exam *x)
{
    struct doctor_leader *leader = &x->leader;
    bool own = false;
    size_t i;

    leader->neighbour = doctor_is_private(&leader->address);
    for (i = 0; i < x->n_addresses; i++) {
        const struct iface_address *address = &x->addresses[i];

        own |= !addr_cmp(&address->address, &leader->address);
        leader->neighbour |=
            address->len && doctor_shares(&address->address, &leader->address, address->len);
    }
    leader->neighbour &= !own;
}

static void read_sysctls(struct exam *x)
{
    int id;

    for (id = 0; id < DOCTOR_SYSCTLS; id++) {
        const struct doctor_sysctl_row *row = &doctor_sysctl_rows[id];
        struct doctor_sysctl *setting = &x->sysctls[id];
        char name[96];

        if (row->family)
            snprintf(name, sizeof(name), "net/%s/conf/all/%s", row->family, row->key);
        else
            snprintf(name, sizeof(name), "net/%s", row->key);
        setting->there = sysctl_read(name, &setting->all) == 0;
        if (setting->there && row->family)
            setting->n_ifaces =
                sysctl_read_ifaces(row->family, row->key, setting->ifaces, DOCTOR_SYSCTL_IFACES);
    }
}

void exam_read_host(struct exam *x, const struct cmd_context *ctx)
{
    read_families(x);
    read_firewall(x);
    read_overlaps(x, ctx);
    read_neighbour(x);
    read_sysctls(x);
}

/* ---- the checks ---- */

void exam_check_families(struct exam *x)
{
    if (x->gate_known && !x->step.error.message[0])
        doctor_judge_families(&x->results, &x->families);
}

void exam_check_firewall(struct exam *x)
{
    doctor_judge_firewall(&x->results, &x->firewall);
}

void exam_check_leader(struct exam *x)
{
    doctor_judge_leader(&x->results, &x->leader);
}

void exam_check_sysctls(struct exam *x)
{
    doctor_judge_sysctls(&x->results, x->sysctls);
}
