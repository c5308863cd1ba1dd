/* SPDX-License-Identifier: GPL-2.0-only */
/* See exam.h: who listens, whether the relay asks for a password, whether the gate stands before.
 */
#include <stdio.h>
#include <string.h>

#include "exam.h"

/* ---- reading ---- */

static void drop_loopback(struct exam *x)
{
    size_t i, kept = 0;

    for (i = 0; i < x->n_listeners; i++)
        if (!iface_is_loopback(&x->listeners[i].address))
            x->listeners[kept++] = x->listeners[i];
    x->n_listeners = kept;
}

static bool is_attached(const struct exam *x, uint32_t ifindex)
{
    size_t i;

    for (i = 0; i < x->n_attached; i++)
        if (x->attached[i] == ifindex)
            return true;
    return false;
}

/*
 * How well an address of this host serves to ask a listener on 0.0.0.0 or :: from: not loopback,
 * which relays trust, and one by which strangers come. 0: not at all.
 */
static unsigned int rank_address(const struct exam *x, const struct iface_listener *listener,
                                 const struct iface_address *own)
{
    bool ip6 = own->address.family == ADDR_IP6;
    unsigned int rank = 1;

    if (iface_is_loopback(&own->address) || (ip6 && listener->address.family == ADDR_IP4))
        return 0;
    if (ip6 == (listener->address.family == ADDR_IP6))
        rank += 4;
    if (iface_is_link_local(&own->address))
        rank = 1; /* rather IPv4, which a listener on :: mostly takes too */
    if (!own->on_loopback)
        rank += 1;
    if (is_attached(x, own->ifindex))
        rank += 1;
    return rank;
}

static void choose_address(const struct exam *x, const struct iface_listener *listener,
                           struct probe_target *target)
{
    static const struct addr loopback4 = {ADDR_IP4, {127, 0, 0, 1}};
    static const struct addr loopback6 = {ADDR_IP6, {[15] = 1}};
    bool any = iface_is_any(&listener->address);
    unsigned int rank, best = 0;
    size_t i;

    if (any)
        target->address = listener->address.family == ADDR_IP4 ? loopback4 : loopback6;
    else
        target->address = listener->address;
    for (i = 0; i < x->n_addresses; i++) {
        const struct iface_address *own = &x->addresses[i];

        if (any)
            rank = rank_address(x, listener, own);
        else
            rank = !addr_cmp(&own->address, &listener->address);
        if (rank <= best)
            continue;
        best = rank;
        target->address = own->address;
        target->scope = iface_is_link_local(&own->address) ? own->ifindex : 0;
    }
}

static bool has_target(const struct exam *x, const struct probe_target *probe)
{
    size_t i;

    for (i = 0; i < x->n_targets; i++)
        if (x->targets[i].probe.port == probe->port &&
            !addr_cmp(&x->targets[i].probe.address, &probe->address))
            return true;
    return false;
}

static void add_target(struct exam *x, const struct iface_listener *listener)
{
    bool guarded = doctor_guards(&x->ports, listener->port);
    struct probe_target probe = {
        .port = listener->port,
        .tls_first = listener->port == 465,
        .thorough = guarded,
    };

    choose_address(x, listener, &probe);
    if (has_target(x, &probe))
        return;
    if (x->n_targets < PROBE_MAX) {
        x->targets[x->n_targets++] = (struct exam_target){.probe = probe, .guarded = guarded};
        return;
    }
    if (x->n_left_out < ARRAY_SIZE(x->left_out))
        x->left_out[x->n_left_out] = listener->port;
    x->n_left_out++;
}

static bool is_mail_port(uint16_t port)
{
    return port == 25 || port == 465 || port == 587 || port == 2525;
}

/* Guarded ports first, then where mail servers are likely, then the rest. */
static void choose_targets(struct exam *x)
{
    unsigned int round;
    size_t i;

    for (round = 0; round < 3; round++)
        for (i = 0; i < x->n_listeners; i++) {
            const struct iface_listener *listener = &x->listeners[i];
            unsigned int wanted = doctor_guards(&x->ports, listener->port) ? 0
                                  : is_mail_port(listener->port)           ? 1
                                                                           : 2;

            if (wanted == round)
                add_target(x, listener);
        }
}

/* Nobody needs the others any more. */
static void keep_guarded(struct exam *x)
{
    size_t i, kept = 0;

    for (i = 0; i < x->n_listeners; i++)
        if (doctor_guards(&x->ports, x->listeners[i].port))
            x->listeners[kept++] = x->listeners[i];
    x->n_listeners = kept;
}

static int find_rows(struct exam *x, struct err *e)
{
    struct cover_input input = {x->listeners,   x->n_listeners, x->addresses,
                                x->n_addresses, x->attached,    x->n_attached};

    return cover_find(&input, &x->rows, &x->n_rows, e);
}

int exam_read_relay(struct exam *x, struct err *e)
{
    int r = iface_read_listeners(&x->listeners, &x->n_listeners, e);

    if (r == 0)
        r = iface_read_addresses(&x->addresses, &x->n_addresses, e);
    if (r < 0)
        return r;
    drop_loopback(x);
    choose_targets(x);
    keep_guarded(x);
    return find_rows(x, e);
}

/* ---- the checks ---- */

/* The ports could not be asked at all. True: said, or there was nothing to ask. */
static bool add_not_asked(struct exam *x, bool guarded, const char *what)
{
    struct doctor_result *result;
    size_t i;

    for (i = 0; i < x->n_targets && x->targets[i].guarded != guarded; i++)
        ;
    if (i == x->n_targets || !x->probe_error.message[0])
        return i == x->n_targets;
    result = doctor_add(&x->results, DOCTOR_UNKNOWN, 0, "%s: %s", what, x->probe_error.message);
    doctor_set_remedy(result, "%s", x->probe_error.hint);
    return true;
}

static bool listens(const struct exam *x, uint16_t port)
{
    size_t i;

    for (i = 0; i < x->n_listeners; i++)
        if (x->listeners[i].port == port)
            return true;
    return false;
}

static void add_no_listener(struct exam *x)
{
    char text[DOCTOR_PORTS_MAX];
    struct doctor_result *result;
    unsigned int i, open = 0;

    for (i = 0; i < x->ports.count; i++)
        open += listens(x, x->ports.items[i]);
    if (!open) {
        result = doctor_add(&x->results, DOCTOR_WARN, 0,
                            "nothing listens on a guarded port (%s): is the relay running, and"
                            " on these?",
                            doctor_print_ports(x->ports.items, x->ports.count, ", ", text));
        doctor_set_remedy(result, "ss -ltnp   # who listens where; then: smtpgate set ports LIST");
    }
    for (i = 0; open && i < x->ports.count; i++)
        if (!listens(x, x->ports.items[i]))
            doctor_add(&x->results, DOCTOR_OK, x->ports.items[i], "port %u: nothing listens there",
                       x->ports.items[i]);
}

void exam_check_password(struct exam *x)
{
    size_t i;

    add_no_listener(x);
    if (add_not_asked(x, true, "whether the guarded ports ask for a password is not known"))
        return;
    for (i = 0; i < x->n_targets; i++)
        if (x->targets[i].guarded)
            doctor_judge_password(&x->results, &x->targets[i].probe, &x->facts[i]);
}

void exam_check_auth(struct exam *x)
{
    size_t i;

    if (add_not_asked(x, true, "whether passwords go over TLS only is not known"))
        return;
    for (i = 0; i < x->n_targets; i++)
        if (x->targets[i].guarded)
            doctor_judge_auth(&x->results, &x->targets[i].probe, &x->facts[i]);
}

static void add_left_out(struct exam *x)
{
    char text[DOCTOR_PORTS_MAX];
    size_t shown =
        x->n_left_out < ARRAY_SIZE(x->left_out) ? x->n_left_out : ARRAY_SIZE(x->left_out);
    struct doctor_result *result;

    if (!x->n_left_out)
        return;
    result = doctor_add(&x->results, DOCTOR_UNKNOWN, 0,
                        "%zu of the listening ports were not asked (at most %d"
                        " are): %s%s",
                        x->n_left_out, PROBE_MAX,
                        doctor_print_ports(x->left_out, (unsigned int)shown, ", ", text),
                        shown < x->n_left_out ? ", ..." : "");
    doctor_set_remedy(result, "ss -ltnp   # is one of them a mail server?");
}

void exam_check_unguarded(struct exam *x)
{
    uint16_t silent[SG_PORTS_MAX];
    unsigned int n_silent = 0;
    size_t i, asked = 0, said = 0;
    char ports[DOCTOR_PORTS_MAX];

    add_left_out(x);
    if (add_not_asked(x, false, "whether a port that is not guarded offers AUTH is not known")) {
        if (!x->probe_error.message[0])
            doctor_add(&x->results, DOCTOR_OK, 0, "nothing listens on ports that are not guarded");
        return;
    }
    for (i = 0; i < x->n_targets; i++) {
        if (x->targets[i].guarded)
            continue;
        asked++;
        if (x->facts[i].outcome == PROBE_SILENT && n_silent < SG_PORTS_MAX &&
            (!n_silent || silent[n_silent - 1] != x->targets[i].probe.port))
            silent[n_silent++] = x->targets[i].probe.port;
        said += doctor_judge_unguarded(&x->results, &x->targets[i].probe, &x->facts[i]);
    }
    if (!said)
        doctor_add(&x->results, DOCTOR_OK, 0,
                   "AUTH is not offered outside the guarded ports (%zu asked%s%s)", asked,
                   n_silent ? "; no greeting on " : "",
                   doctor_print_ports(silent, n_silent, ", ", ports));
}

static void add_gate_unknown(struct exam *x)
{
    bool denied = x->gate_error.code == EXIT_DENIED;
    char ports[DOCTOR_PORTS_MAX];
    struct doctor_result *result = doctor_add(
        &x->results, denied ? DOCTOR_UNKNOWN : DOCTOR_FAIL, 0,
        "where the gate stands and which ports it guards cannot be read, %s were assumed above: %s",
        doctor_print_ports(x->ports.items, x->ports.count, ", ", ports), x->gate_error.message);

    doctor_set_remedy(result, "%s",
                      denied                  ? "sudo smtpgate doctor"
                      : x->gate_error.hint[0] ? x->gate_error.hint
                                              : "smtpgate status");
}

/* The gate is to be on @name already, so attaching it is not what is wanted. */
static bool is_wanted(const struct exam *x, const char *name)
{
    size_t i;

    for (i = 0; i < x->n_links; i++) {
        const struct sync_iface *iface = &x->links[i].iface;

        if (!strcmp(iface->link.state == GATE_LINK_HERE ? iface->link.name : iface->row.name, name))
            return true;
    }
    return false;
}

static void judge_row(struct exam *x, const struct cover_row *row)
{
    uint32_t to_sync = 0;
    unsigned int i;

    for (i = 0; i < row->n_missing; i++)
        if (is_wanted(x, row->missing[i]))
            to_sync |= 1U << i;
    doctor_judge_row(&x->results, row, to_sync);
}

/* Nobody listens, so there is no row to say it. */
static void add_nowhere(struct exam *x)
{
    struct doctor_result *result =
        doctor_add(&x->results, DOCTOR_FAIL, 0,
                   x->n_links ? "the gate is on no interface as it should be (check 8)"
                              : "the gate is attached nowhere");

    doctor_set_remedy(result, x->n_links ? "smtpgate sync" : "smtpgate attach IFACE");
}

void exam_check_coverage(struct exam *x)
{
    size_t i;

    if (!x->gate_known) {
        add_gate_unknown(x);
        return;
    }
    if (!x->n_attached && !x->n_rows)
        add_nowhere(x);
    for (i = 0; i < x->n_rows; i++)
        judge_row(x, &x->rows[i]);
    if (!x->n_rows && x->n_attached)
        doctor_add(&x->results, DOCTOR_OK, 0, "no interface leads to a server on a guarded port");
}
