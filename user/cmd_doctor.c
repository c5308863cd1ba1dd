/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * doctor: reads settings, interfaces and listeners, has the ports asked, shows what it means
 * (doctor.h). One row of a table for each check. Changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "doctor.h"
#include "rights.h"
#include "sync.h"

struct target {
    struct probe_target probe;
    bool guarded;
};

struct examination {
    /* the gate's side */
    struct doctor_ports ports;
    bool gate_known;
    struct err gate_error; /* unless gate_known */
    uint32_t *attached;    /* interface numbers */
    size_t n_attached;
    /* the host's side */
    struct iface_listener *listeners; /* those that others than this host can reach */
    size_t n_listeners;
    struct iface_address *addresses;
    size_t n_addresses;
    /* what was asked */
    struct target targets[PROBE_MAX];
    struct probe_facts facts[PROBE_MAX];
    size_t n_targets;
    uint16_t left_out[16]; /* the first of the ports that were not asked */
    size_t n_left_out;
    struct err probe_error; /* no message: the ports were asked */
    struct doctor_list results;
};

static void examination_end(struct examination *x)
{
    free(x->attached);
    free(x->listeners);
    free(x->addresses);
    doctor_free_list(&x->results);
}

#define _cleanup_examination_ __attribute__((cleanup(examination_end)))

/* ---- reading the gate ---- */

static void take_default_ports(struct examination *x)
{
    static const uint16_t ports[] = {
#define X(port) port,
        SG_DEFAULT_PORTS(X)
#undef X
    };

    memcpy(x->ports.items, ports, sizeof(ports));
    x->ports.count = ARRAY_SIZE(ports);
}

static void take_ports(struct examination *x, const struct store_settings *settings)
{
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded && x->ports.count < SG_PORTS_MAX)
            x->ports.items[x->ports.count++] = settings->ports[i].port;
}

/* Attached is where a live link of this list is. */
static int take_attached(struct examination *x, const struct sync_ifaces *ifaces, struct err *e)
{
    size_t i;

    x->attached = calloc(ifaces->count + 1, sizeof(*x->attached));
    if (!x->attached)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    for (i = 0; i < ifaces->count; i++)
        if (ifaces->items[i].link.state == GATE_LINK_HERE && ifaces->items[i].link.in_force)
            x->attached[x->n_attached++] = ifaces->items[i].link.ifindex;
    return 0;
}

static int read_gate(struct examination *x, const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    struct store_settings settings;
    int r = cmd_open_both(ctx, &store, &gate, e);

    if (r == 0)
        r = store_read_settings(store, &settings, e);
    if (r == 0)
        r = sync_read_ifaces(store, gate, &ifaces, e);
    if (r == 0)
        r = take_attached(x, &ifaces, e);
    if (r == 0)
        take_ports(x, &settings);
    return r;
}

/* ---- reading the host ---- */

static void drop_loopback(struct examination *x)
{
    size_t i, kept = 0;

    for (i = 0; i < x->n_listeners; i++)
        if (!iface_is_loopback(&x->listeners[i].address))
            x->listeners[kept++] = x->listeners[i];
    x->n_listeners = kept;
}

static bool is_attached(const struct examination *x, uint32_t ifindex)
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
static unsigned int rank_address(const struct examination *x, const struct iface_listener *listener,
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

static void choose_address(const struct examination *x, const struct iface_listener *listener,
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

static bool has_target(const struct examination *x, const struct probe_target *probe)
{
    size_t i;

    for (i = 0; i < x->n_targets; i++)
        if (x->targets[i].probe.port == probe->port &&
            !addr_cmp(&x->targets[i].probe.address, &probe->address))
            return true;
    return false;
}

static void add_target(struct examination *x, const struct iface_listener *listener)
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
        x->targets[x->n_targets++] = (struct target){.probe = probe, .guarded = guarded};
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
static void choose_targets(struct examination *x)
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

static int read_host(struct examination *x, struct err *e)
{
    int r = iface_read_listeners(&x->listeners, &x->n_listeners, e);

    if (r == 0)
        r = iface_read_addresses(&x->addresses, &x->n_addresses, e);
    if (r < 0)
        return r;
    drop_loopback(x);
    choose_targets(x);
    return 0;
}

static void ask(struct examination *x)
{
    struct probe_target probes[PROBE_MAX];
    size_t i;

    if (!x->n_targets)
        return;
    for (i = 0; i < x->n_targets; i++)
        probes[i] = x->targets[i].probe;
    /* From here on strangers' words are read. Where that is refused few rights are left. */
    (void)rights_drop();
    probe_ports(probes, x->n_targets, x->facts, &x->probe_error);
}

/* ---- the checks ---- */

/* The ports could not be asked at all. True: said, or there was nothing to ask. */
static bool add_not_asked(struct examination *x, bool guarded, const char *what)
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

static bool listens(const struct examination *x, uint16_t port)
{
    size_t i;

    for (i = 0; i < x->n_listeners; i++)
        if (x->listeners[i].port == port)
            return true;
    return false;
}

static void add_no_listener(struct examination *x)
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

static void check_password(struct examination *x)
{
    size_t i;

    add_no_listener(x);
    if (add_not_asked(x, true, "whether the guarded ports ask for a password is not known"))
        return;
    for (i = 0; i < x->n_targets; i++)
        if (x->targets[i].guarded)
            doctor_judge_password(&x->results, &x->ports, &x->targets[i].probe, &x->facts[i]);
}

static void check_auth(struct examination *x)
{
    size_t i;

    if (add_not_asked(x, true, "whether passwords go over TLS only is not known"))
        return;
    for (i = 0; i < x->n_targets; i++)
        if (x->targets[i].guarded)
            doctor_judge_auth(&x->results, &x->targets[i].probe, &x->facts[i]);
}

static void add_left_out(struct examination *x)
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

static void check_unguarded(struct examination *x)
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
        said += doctor_judge_unguarded(&x->results, &x->ports, &x->targets[i].probe, &x->facts[i]);
    }
    if (!said)
        doctor_add(&x->results, DOCTOR_OK, 0,
                   "AUTH is not offered outside the guarded ports (%zu asked%s%s)", asked,
                   n_silent ? "; no greeting on " : "",
                   doctor_print_ports(silent, n_silent, ", ", ports));
}

static void add_gate_unknown(struct examination *x)
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

/* The guarded ones of the listeners, in place: nobody needs the others any more. */
static struct cover_input coverage_input(struct examination *x)
{
    size_t i, kept = 0;

    for (i = 0; i < x->n_listeners; i++)
        if (doctor_guards(&x->ports, x->listeners[i].port))
            x->listeners[kept++] = x->listeners[i];
    x->n_listeners = kept;
    return (struct cover_input){x->listeners,   x->n_listeners, x->addresses,
                                x->n_addresses, x->attached,    x->n_attached};
}

static void check_coverage(struct examination *x)
{
    struct cover_input input = coverage_input(x);
    _cleanup_free_ struct cover_row *rows = NULL;
    struct doctor_result *result;
    struct err ignored;
    size_t i, count = 0;

    if (!x->gate_known) {
        add_gate_unknown(x);
        return;
    }
    if (cover_find(&input, &rows, &count, &ignored) < 0)
        x->results.failed = true;
    if (!x->n_attached && !count) {
        result = doctor_add(&x->results, DOCTOR_FAIL, 0, "the gate is attached nowhere");
        doctor_set_remedy(result, "smtpgate attach IFACE");
    }
    for (i = 0; i < count; i++)
        doctor_judge_row(&x->results, &rows[i]);
    if (!count && x->n_attached)
        doctor_add(&x->results, DOCTOR_OK, 0, "no interface leads to a server on a guarded port");
}

static const struct {
    const char *name;
    void (*run)(struct examination *x);
} checks[] = {
    {"relay_password", check_password},
    {"relay_auth", check_auth},
    {"unguarded_auth", check_unguarded},
    {"coverage", check_coverage},
};

/* ---- showing ---- */

static const char *status_name(enum doctor_status status)
{
    static const char *const names[] = {
        [DOCTOR_OK] = "ok",
        [DOCTOR_WARN] = "warn",
        [DOCTOR_FAIL] = "FAIL",
        [DOCTOR_UNKNOWN] = "unknown",
    };

    return names[status];
}

static void show_text(const struct cmd_context *ctx, const struct doctor_list *results)
{
    size_t i;

    for (i = 0; i < results->count; i++) {
        const struct doctor_result *result = &results->items[i];

        if (ctx->out.quiet && result->status == DOCTOR_OK)
            continue;
        out_text(&ctx->out, "%2u %-7s %s\n", result->number, status_name(result->status),
                 result->message);
        if (result->remedy[0])
            out_text(&ctx->out, "           hint: %s\n", result->remedy);
    }
}

static json_t *result_json(const struct doctor_result *result)
{
    char shown[CMD_NAME_MAX];

    return json_pack("{s:i, s:s, s:s, s:o, s:o, s:s, s:o}", "number", (int)result->number, "name",
                     checks[result->number - 1].name, "status", status_name(result->status), "port",
                     result->port ? json_integer(result->port) : json_null(), "interface",
                     result->interface[0]
                         ? json_string(text_escape(result->interface, shown, sizeof(shown)))
                         : json_null(),
                     "message", result->message, "remedy",
                     result->remedy[0] ? json_string(result->remedy) : json_null());
}

static void show_json(const struct cmd_context *ctx, const struct doctor_list *results)
{
    json_t *all = json_array();
    size_t i;

    for (i = 0; i < results->count; i++)
        json_array_append_new(all, result_json(&results->items[i]));
    out_json(&ctx->out,
             json_pack("{s:b, s:o}", "healthy", doctor_is_healthy(results), "checks", all));
}

int cmd_doctor(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_examination_ struct examination x = {0};
    size_t i;
    int r;

    x.gate_known = read_gate(&x, ctx, &x.gate_error) == 0;
    if (!x.gate_known)
        take_default_ports(&x);
    r = read_host(&x, e);
    if (r < 0)
        return r;
    ask(&x);
    for (i = 0; i < ARRAY_SIZE(checks); i++) {
        x.results.number = (unsigned int)i + 1;
        checks[i].run(&x);
    }
    doctor_drop_outweighed(&x.results);
    if (x.results.failed)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    show_text(ctx, &x.results);
    show_json(ctx, &x.results);
    return doctor_is_healthy(&x.results) ? 0 : EXIT_NO;
}
