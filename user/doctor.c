/* SPDX-License-Identifier: GPL-2.0-only */
/* See doctor.h. */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "util.h"

#define MX_PORT 25

void doctor_free_list(struct doctor_list *list)
{
    free(list->items);
    *list = (struct doctor_list){0};
}

static struct doctor_result *find_same(const struct doctor_list *list,
                                       const struct doctor_result *wanted)
{
    size_t i;

    for (i = 0; i < list->count; i++)
        if (list->items[i].number == wanted->number && list->items[i].port == wanted->port &&
            !strcmp(list->items[i].message, wanted->message))
            return &list->items[i];
    return NULL;
}

static bool make_room(struct doctor_list *list)
{
    struct doctor_result *items = reallocarray(list->items, list->count + 1, sizeof(*items));

    if (items)
        list->items = items;
    return items;
}

struct doctor_result *doctor_add(struct doctor_list *list, enum doctor_status status, uint16_t port,
                                 const char *fmt, ...)
{
    struct doctor_result result = {.number = list->number, .status = status, .port = port};
    struct doctor_result *same;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(result.message, sizeof(result.message), fmt, ap);
    va_end(ap);
    same = find_same(list, &result);
    if (same)
        return same;
    if (!make_room(list)) {
        list->failed = true;
        return NULL;
    }
    list->items[list->count] = result;
    return &list->items[list->count++];
}

void doctor_set_remedy(struct doctor_result *result, const char *fmt, ...)
{
    va_list ap;

    if (!result)
        return;
    va_start(ap, fmt);
    vsnprintf(result->remedy, sizeof(result->remedy), fmt, ap);
    va_end(ap);
}

/* Names are nearly any bytes. */
bool doctor_is_plain(const char *name)
{
    return *name && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-") ==
               strlen(name);
}

void doctor_set_interface(struct doctor_result *result, const char *name)
{
    if (result)
        snprintf(result->interface, sizeof(result->interface), "%s", name);
}

static bool is_outweighed(const struct doctor_list *list, const struct doctor_result *result)
{
    size_t i;

    if (result->status != DOCTOR_OK || !result->port)
        return false;
    for (i = 0; i < list->count; i++)
        if (list->items[i].number == result->number && list->items[i].port == result->port &&
            list->items[i].status != DOCTOR_OK)
            return true;
    return false;
}

void doctor_drop_outweighed(struct doctor_list *list)
{
    size_t i, kept = 0;

    /* What is moved is never what outweighs: that stays, further up. */
    for (i = 0; i < list->count; i++)
        if (!is_outweighed(list, &list->items[i]))
            list->items[kept++] = list->items[i];
    list->count = kept;
}

bool doctor_is_healthy(const struct doctor_list *list)
{
    size_t i;

    for (i = 0; i < list->count; i++)
        if (list->items[i].status == DOCTOR_FAIL || list->items[i].status == DOCTOR_UNKNOWN)
            return false;
    return true;
}

bool doctor_guards(const struct doctor_ports *ports, uint16_t port)
{
    unsigned int i;

    for (i = 0; i < ports->count; i++)
        if (ports->items[i] == port)
            return true;
    return false;
}

const char *doctor_print_ports(const uint16_t *ports, unsigned int n, const char *separator,
                               char buf[DOCTOR_PORTS_MAX])
{
    size_t used = 0;
    unsigned int i;

    buf[0] = '\0';
    for (i = 0; i < n && used < DOCTOR_PORTS_MAX; i++)
        used += (size_t)snprintf(buf + used, DOCTOR_PORTS_MAX - used, "%s%u", i ? separator : "",
                                 ports[i]);
    return buf;
}

/* ---- remedies ---- */

/* Debian's master.cf calls its services by the names of /etc/services. */
static const char *service_note(uint16_t port)
{
    switch (port) {
    case 25:
        return "   # or smtp/inet, as master.cf calls it";
    case 465:
        return "   # or smtps/inet or submissions/inet, as master.cf calls it";
    case 587:
        return "   # or submission/inet, as master.cf calls it";
    default:
        return "";
    }
}

static void set_postfix_remedy(struct doctor_result *result, uint16_t port, const char *setting)
{
    doctor_set_remedy(result, "postconf -P %u/inet/%s && postfix reload%s", port, setting,
                      service_note(port));
}

/* ---- a guarded port ---- */

/* What is said where no SMTP was spoken. */
static const char *outcome_words(const struct probe_facts *facts)
{
    switch (facts->outcome) {
    case PROBE_NO_CONNECTION:
        return "no connection";
    case PROBE_SILENT:
        return "nothing is said there";
    case PROBE_OTHER:
        return "no SMTP is spoken there";
    case PROBE_BROKEN:
    case PROBE_SMTP:
    default:
        return "it greets and then fails";
    }
}

static void add_not_known(struct doctor_list *list, const struct probe_target *target,
                          const struct probe_facts *facts)
{
    char at[ADDR_TEXT_MAX];
    struct doctor_result *result =
        doctor_add(list, DOCTOR_UNKNOWN, target->port, "port %u: %s (asked at %s: %s)",
                   target->port, outcome_words(facts), addr_print(&target->address, at),
                   facts->why[0] ? facts->why : "no answer in time");

    if (facts->outcome == PROBE_NO_CONNECTION && list->on_lo)
        doctor_set_remedy(result, "smtpgate check %s   # on an attached lo this host is judged too",
                          at);
    else if (facts->outcome == PROBE_NO_CONNECTION)
        doctor_set_remedy(
            result,
            "ss -ltnp sport = :%u   # does it still listen there? If so: does a packet"
            " filter drop it (check 13)?",
            target->port);
    else
        doctor_set_remedy(result, "ss -ltnp sport = :%u   # who listens there?", target->port);
}

/*
 * The relay trusts loopback as a rule, and nothing else could be asked from: that it takes a
 * recipient says nothing of strangers.
 */
static void add_trusted(struct doctor_list *list, const struct probe_target *target)
{
    char at[ADDR_TEXT_MAX];
    struct doctor_result *result =
        doctor_add(list, DOCTOR_UNKNOWN, target->port,
                   "port %u: takes a recipient without a password from %s, which relays trust as a"
                   " rule; this host has no other address to ask from",
                   target->port, addr_print(&target->address, at));

    doctor_set_remedy(result, "ip address show up   # give it its address, then: smtpgate doctor");
}

static void add_open_relay(struct doctor_list *list, const struct probe_target *target)
{
    char at[ADDR_TEXT_MAX];
    struct doctor_result *result =
        doctor_add(list, DOCTOR_FAIL, target->port,
                   "port %u: an open relay: it takes mail to any domain without a password from"
                   " this host's own address %s (mynetworks may be the cause)",
                   target->port, addr_print(&target->address, at));

    set_postfix_remedy(result, target->port,
                       target->port == MX_PORT
                           ? "smtpd_relay_restrictions=permit_sasl_authenticated,"
                             "reject_unauth_destination"
                           : "smtpd_relay_restrictions=permit_sasl_authenticated,reject");
}

/* On the MX port that is what other mail servers come for. */
static void add_local_taken(struct doctor_list *list, const struct probe_target *target)
{
    char at[ADDR_TEXT_MAX];
    struct doctor_result *result;

    if (target->port != MX_PORT) {
        result = doctor_add(list, DOCTOR_FAIL, target->port,
                            "port %u: takes mail for this server's own users without a password"
                            " from this host's own address %s (mynetworks may be the cause)",
                            target->port, addr_print(&target->address, at));
        set_postfix_remedy(result, target->port,
                           "smtpd_relay_restrictions=permit_sasl_authenticated,reject");
        return;
    }
    result = doctor_add(list, DOCTOR_WARN, target->port,
                        "port %u: takes mail for this server's own users without a password, as an"
                        " MX does; guarding it keeps out every mail server that is not listed",
                        target->port);
    if (result)
        result->advice = DOCTOR_PORTS_TAKE_25;
}

/* No recipient was taken: for want of a password, or for another reason that will pass? */
static void add_refusal(struct doctor_list *list, const struct probe_target *target,
                        const struct probe_facts *facts)
{
    const struct probe_reply *outside = &facts->outside, *local = &facts->local;
    const struct probe_reply *odd = outside->answer == PROBE_DENIED ? local : outside;
    unsigned int port = target->port;
    struct doctor_result *result;

    if (local->answer == PROBE_DENIED) {
        doctor_add(list, DOCTOR_OK, target->port, "port %u: takes no recipient without a password",
                   port);
        return;
    }
    if (target->port == MX_PORT && outside->answer == PROBE_DENIED) {
        doctor_add(list, DOCTOR_OK, target->port, "port %u: relays nothing without a password",
                   port);
        return;
    }
    result = doctor_add(list, DOCTOR_UNKNOWN, target->port,
                        "port %u: took no recipient, but not for want of a password: %s", port,
                        odd->text[0] ? odd->text : "it hung up");
    doctor_set_remedy(result,
                      "smtpgate doctor   # ask again later; the relay's log has the reason");
}

void doctor_judge_password(struct doctor_list *list, const struct probe_target *target,
                           const struct probe_facts *facts)
{
    bool outside = facts->outside.answer == PROBE_TAKEN;
    bool local = facts->local.answer == PROBE_TAKEN;

    if (facts->outcome != PROBE_SMTP)
        add_not_known(list, target, facts);
    else if ((outside || local) && iface_is_loopback(&target->address))
        add_trusted(list, target);
    else if (outside)
        add_open_relay(list, target);
    else if (local)
        add_local_taken(list, target);
    else
        add_refusal(list, target, facts);
}

static void add_clear_auth(struct doctor_list *list, const struct probe_target *target,
                           const struct probe_facts *facts)
{
    struct doctor_result *result =
        doctor_add(list, DOCTOR_FAIL, target->port,
                   "port %u: offers AUTH without TLS%s: passwords cross the network in clear",
                   target->port, facts->offers_tls ? "" : " and has no TLS");

    set_postfix_remedy(result, target->port,
                       facts->offers_tls ? "smtpd_tls_auth_only=yes"
                                         : "smtpd_tls_security_level=encrypt");
}

/* STARTTLS is offered, but did not come about: what is offered behind it is not known. */
static bool is_tls_broken(const struct probe_facts *facts)
{
    return facts->outcome == PROBE_BROKEN || (facts->offers_tls && !facts->tls);
}

void doctor_judge_auth(struct doctor_list *list, const struct probe_target *target,
                       const struct probe_facts *facts)
{
    unsigned int port = target->port;
    struct doctor_result *result;

    if (facts->auth_plain) {
        add_clear_auth(list, target, facts);
    } else if (facts->auth_tls) {
        doctor_add(list, DOCTOR_OK, target->port, "port %u: offers AUTH only over TLS", port);
    } else if (is_tls_broken(facts)) {
        result = doctor_add(list, DOCTOR_UNKNOWN, target->port,
                            "port %u: TLS fails, so whether it offers AUTH is not known: %s", port,
                            facts->why[0] ? facts->why : "no answer in time");
        doctor_set_remedy(result, "postconf smtpd_tls_cert_file smtpd_tls_key_file");
    } else if (facts->outcome == PROBE_SMTP && target->port == MX_PORT) {
        doctor_add(list, DOCTOR_OK, target->port, "port %u: offers no AUTH", port);
    } else if (facts->outcome == PROBE_SMTP) {
        result = doctor_add(list, DOCTOR_WARN, target->port,
                            "port %u: offers no AUTH: nobody can log in here", port);
        set_postfix_remedy(result, target->port, "smtpd_sasl_auth_enable=yes");
    }
}

/* ---- a port that is not guarded ---- */

static void add_unguarded(struct doctor_list *list, const struct probe_target *target)
{
    unsigned int port = target->port;
    struct doctor_result *result =
        doctor_add(list, DOCTOR_FAIL, target->port,
                   "port %u: is not guarded and offers AUTH: a leaked password works there", port);

    /* Guarding the port of an MX would keep out other mail servers. */
    if (target->port == MX_PORT)
        set_postfix_remedy(result, target->port, "smtpd_sasl_auth_enable=no");
    else if (result)
        result->advice = DOCTOR_PORTS_ADD;
}

bool doctor_judge_unguarded(struct doctor_list *list, const struct probe_target *target,
                            const struct probe_facts *facts)
{
    if (facts->auth_plain || facts->auth_tls)
        add_unguarded(list, target);
    else if (facts->outcome == PROBE_NO_CONNECTION || is_tls_broken(facts))
        add_not_known(list, target, facts);
    else
        return false;
    return true;
}

/* ---- which ports to guard ---- */

/* Ascending. False: they are too many. */
static bool add_port(struct doctor_ports *ports, uint16_t port)
{
    unsigned int at = ports->count;

    if (doctor_guards(ports, port))
        return true;
    if (ports->count == SG_PORTS_MAX)
        return false;
    for (; at && ports->items[at - 1] > port; at--)
        ports->items[at] = ports->items[at - 1];
    ports->items[at] = port;
    ports->count++;
    return true;
}

static void take_25(const struct doctor_ports *ports, struct doctor_ports *ret_ports)
{
    unsigned int i;

    *ret_ports = (struct doctor_ports){0};
    for (i = 0; i < ports->count; i++)
        if (ports->items[i] != MX_PORT)
            add_port(ret_ports, ports->items[i]);
    if (!ret_ports->count)
        *ret_ports = (struct doctor_ports){.items = {465, 587}, .count = 2};
}

static void set_ports_remedy(struct doctor_result *result, const struct doctor_ports *all,
                             const struct doctor_ports *without_25, bool is_mx)
{
    char text[DOCTOR_PORTS_MAX];

    if (result->advice == DOCTOR_PORTS_TAKE_25)
        doctor_set_remedy(result, "smtpgate set ports %s   # if this host is an MX",
                          doctor_print_ports(without_25->items, without_25->count, ",", text));
    else if (result->advice == DOCTOR_PORTS_ADD && !doctor_guards(all, result->port))
        doctor_set_remedy(result,
                          "ss -ltnp sport = :%u   # no more than %d ports can be guarded:"
                          " move or end this one",
                          result->port, SG_PORTS_MAX);
    else if (result->advice == DOCTOR_PORTS_ADD)
        doctor_set_remedy(result, "smtpgate set ports %s%s",
                          doctor_print_ports(all->items, all->count, ",", text),
                          is_mx ? "   # without 25 if this host is an MX" : "");
}

void doctor_join_ports(struct doctor_list *list, const struct doctor_ports *ports)
{
    struct doctor_ports all = *ports, without_25;
    bool is_mx = false;
    size_t i;

    for (i = 0; i < list->count; i++) {
        is_mx |= list->items[i].advice == DOCTOR_PORTS_TAKE_25;
        if (list->items[i].advice == DOCTOR_PORTS_ADD)
            (void)add_port(&all, list->items[i].port);
    }
    take_25(&all, &without_25);
    for (i = 0; i < list->count; i++)
        set_ports_remedy(&list->items[i], &all, &without_25, is_mx);
}

/* ---- coverage ---- */

/* Those without Ethernet headers cannot carry the gate. */
static const char *find_headless(const struct cover_row *row)
{
    struct err ignored;
    uint32_t ifindex;
    unsigned int i;

    for (i = 0; i < row->n_missing; i++)
        if (iface_check(row->missing[i], &ifindex, &ignored) == -EPROTOTYPE)
            return row->missing[i];
    return NULL;
}

/* What the gate is to be on already is mended by sync; see the check of the links. */
static void set_row_remedy(struct doctor_result *result, const struct cover_row *row,
                           uint32_t to_sync)
{
    char names[COVER_MISSING_MAX * IF_NAMESIZE] = "", ports[DOCTOR_PORTS_MAX];
    const char *headless = find_headless(row);
    unsigned int i;

    if (headless) {
        doctor_set_remedy(result,
                          "nft 'table inet smtpgate { chain input { type filter hook input priority"
                          " 0; iifname \"%s\" tcp dport { %s } drop; }; }'",
                          doctor_is_plain(headless) ? headless : "IFACE",
                          doctor_print_ports(row->ports, row->n_ports, ", ", ports));
        return;
    }
    for (i = 0; i < row->n_missing; i++) {
        size_t used = strlen(names);
        const char *name = row->missing[i];

        if (!(to_sync & 1U << i))
            snprintf(names + used, sizeof(names) - used, " %s",
                     doctor_is_plain(name) ? name : "IFACE");
    }
    doctor_set_remedy(result, "%s%s%s%s", to_sync ? "smtpgate sync" : "",
                      to_sync && names[0] ? " && " : "", names[0] ? "smtpgate attach" : "", names);
}

static const char *missing_words(const struct cover_row *row, char *buf, size_t size)
{
    size_t used = 0;
    unsigned int i;

    buf[0] = '\0';
    if (row->n_missing == 1 && !strcmp(row->missing[0], row->name))
        return "";
    for (i = 0; i < row->n_missing && used < size; i++) {
        char shown[4 * IF_NAMESIZE];

        text_escape(row->missing[i], shown, sizeof(shown));
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : " by way of ", shown);
    }
    return buf;
}

void doctor_judge_row(struct doctor_list *list, const struct cover_row *row, uint32_t to_sync)
{
    char ports[DOCTOR_PORTS_MAX], shown[4 * IF_NAMESIZE], by[200];
    const char *plural = row->n_ports == 1 ? "" : "s";
    struct doctor_result *result;

    text_escape(row->name, shown, sizeof(shown));
    doctor_print_ports(row->ports, row->n_ports, ", ", ports);
    if (!row->n_missing) {
        result = doctor_add(list, DOCTOR_OK, 0, "%s: the gate stands before port%s %s", shown,
                            plural, ports);
    } else {
        result = doctor_add(list, DOCTOR_FAIL, 0, "%s: port%s %s can be reached%s, where %s", shown,
                            plural, ports, missing_words(row, by, sizeof(by)),
                            to_sync ? "the gate is to stand, but not as it should (check 8)"
                                    : "no gate stands");
        if (result)
            set_row_remedy(result, row, to_sync);
    }
    doctor_set_interface(result, row->name);
}
