/* SPDX-License-Identifier: GPL-2.0-only */
/* See live.h. */
#include "live.h"

#include <stdio.h>
#include <string.h>

#include "iface.h"

/* ---- who is let in, before and after ---- */

struct sides {
    struct change *change;
    struct store_settings after;
    enum live_as as;
};

static bool is_guarded(const struct store_settings *settings, uint16_t port)
{
    unsigned int i;

    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].port == port)
            return settings->ports[i].guarded;
    return false;
}

static int lets_in_before(void *context, const struct addr *address, uint16_t port, struct err *e)
{
    const struct sides *sides = context;
    struct change *change = sides->change;
    bool in;
    int r;

    if (sides->as != LIVE_AS_IS || !change->guarding || !is_guarded(&change->before, port) ||
        !mode_drops(gate_mode(change->gate).mode))
        return 1;
    r = gate_lets_in(change->gate, address, &in, e);
    return r < 0 ? r : in;
}

static int is_covered(struct change *change, const struct addr *address, struct err *e)
{
    bool covered;
    int r = store_covers(change->store, NULL, address, change->now, &covered, e);

    return r < 0 ? r : covered;
}

static int lets_in_after(void *context, const struct addr *address, uint16_t port, struct err *e)
{
    const struct sides *sides = context;
    struct change *change = sides->change;
    enum sg_mode mode = mode_at(sides->after.on, &sides->after.plan, change->now).mode;

    if (!is_guarded(&sides->after, port) || (sides->as == LIVE_AS_IS && !change->guarding) ||
        (sides->as != LIVE_AS_ENFORCING && !mode_drops(mode)))
        return 1;
    return is_covered(change, address, e);
}

/* ---- the judgement ---- */

void live_free(struct live *live)
{
    cut_free(&live->cut);
    free(live->sessions);
    memset(live, 0, sizeof(*live));
}

/* Guarded before or after, ascending; the store has them in that order, each port once. */
static void read_ports(const struct store_settings *before, const struct store_settings *after,
                       struct live *live)
{
    unsigned int i;

    for (i = 0; i < after->n_ports && live->n_ports < SESSION_PORTS_MAX; i++)
        if (after->ports[i].guarded || is_guarded(before, after->ports[i].port))
            live->ports[live->n_ports++] = after->ports[i].port;
}

/* Not to know who is connected is no reason to refuse a change. */
static bool read_sessions(const struct cmd_context *ctx, struct live *live)
{
    struct err problem;

    live->known =
        session_list(live->ports, live->n_ports, &live->sessions, &live->n_sessions, &problem) == 0;
    if (!live->known)
        out_note(&ctx->out, "who is connected now could not be seen: %s%s%s\n", problem.message,
                 problem.hint[0] ? ": " : "", problem.hint);
    return live->known;
}

/* Who comes from this host itself, as through a tunnel that ends here, never meets the gate. */
static void read_actor(struct actor *ret_actor)
{
    _cleanup_free_ struct iface_address *own = NULL;
    struct err ignored;
    size_t i, n = 0;

    actor_read(ret_actor);
    if (!ret_actor->has_ssh_client || iface_read_addresses(&own, &n, &ignored) < 0)
        return;
    if (iface_is_loopback(&ret_actor->ssh_client))
        ret_actor->has_ssh_client = false;
    for (i = 0; i < n; i++)
        if (!addr_cmp(&own[i].address, &ret_actor->ssh_client))
            ret_actor->has_ssh_client = false;
}

int live_judge(const struct cmd_context *ctx, struct change *change, enum live_as as,
               struct live *ret_live, struct err *e)
{
    struct sides sides = {.change = change, .as = as};
    const struct cut_rule before = {lets_in_before, &sides}, after = {lets_in_after, &sides};
    _cleanup_live_ struct live live = {0};
    int r = store_read_settings(change->store, &sides.after, e);

    if (r < 0)
        return r;
    read_ports(&change->before, &sides.after, &live);
    live.trial = mode_at(sides.after.on, &sides.after.plan, change->now).until != 0;
    read_actor(&live.actor);
    r = cut_judge_self(&live.actor, live.ports, live.n_ports, &before, &after, &live.self, e);
    if (r == 0 && read_sessions(ctx, &live))
        r = cut_split(live.sessions, live.n_sessions, &before, &after, &live.cut, e);
    if (r < 0)
        return r;
    *ret_live = live;
    live = (struct live){0};
    return 0;
}

/* ---- asking ---- */

/* Whether the change can cut anybody off at all. */
static int can_close(struct change *change, enum live_as as, bool *ret_close, struct err *e)
{
    const struct delta *delta = store_delta(change->store);
    struct store_settings after;
    unsigned int i;
    size_t item;
    int r = store_read_settings(change->store, &after, e);

    if (r < 0)
        return r;
    *ret_close = false;
    if (!mode_drops(mode_at(after.on, &after.plan, change->now).mode) ||
        (as == LIVE_AS_IS && !change->guarding))
        return 0;
    *ret_close = as == LIVE_AS_ATTACHED || !mode_drops(change_mode_before(change).mode);
    for (i = 0; i < after.n_ports; i++)
        *ret_close |= after.ports[i].guarded && !is_guarded(&change->before, after.ports[i].port);
    for (item = 0; item < delta->count && !*ret_close; item++)
        *ret_close = delta->items[item].after < delta->items[item].before;
    return 0;
}

static void describe(const struct live *live, char *buf, size_t size)
{
    size_t sessions = live->cut.n_sessions[CUT_CUT], sources = live->cut.n_sources[CUT_CUT];

    if (sessions)
        snprintf(buf, size, "This cuts off %zu open session%s of %zu address%s.", sessions,
                 sessions == 1 ? "" : "s", sources, sources == 1 ? "" : "es");
    else
        snprintf(buf, size, "This cuts off your own address.");
}

static void name_them(const struct cmd_context *ctx, const struct live *live)
{
    char own[CUT_SELF_MAX], lines[CUT_TEXT_MAX];

    if (live->cut.n_sessions[CUT_CUT])
        out_warn(&ctx->out, "connected now, and %s by this:\n%s",
                 ctx->dry_run ? "would be cut off" : "cut off",
                 cut_print(&live->cut, CUT_CUT, lines));
    if (*cut_print_self(&live->actor, &live->self, own))
        out_warn(&ctx->out, "%s\n", own);
}

static int ask(const struct cmd_context *ctx, const struct live *live, enum live_ask ask,
               struct err *e)
{
    char what[128];

    /* A script is told to confirm what ends somebody's session, no more. */
    bool ends = live->cut.n_sessions[CUT_CUT] || live->self.shell;

    name_them(ctx, live);
    if ((ask == LIVE_WARN || !ends) && !out_can_ask())
        return 0;
    describe(live, what, sizeof(what));
    return cmd_confirm(ctx, what, e);
}

int live_confirm(const struct cmd_context *ctx, struct change *change, enum live_as as,
                 enum live_ask how, struct live *ret_live, struct err *e)
{
    _cleanup_live_ struct live live = {0};
    bool close;
    int r = can_close(change, as, &close, e);

    if (r == 0 && close)
        r = live_judge(ctx, change, as, &live, e);
    if (r == 0 && (live.cut.n_sessions[CUT_CUT] || live.self.n_ports))
        r = ask(ctx, &live, how, e);
    if (r < 0)
        return r;
    *ret_live = live;
    live = (struct live){0};
    return 0;
}

/* ---- afterwards ---- */

void live_say_hanging(const struct cmd_context *ctx, const struct live *live)
{
    size_t sessions = live->cut.n_sessions[CUT_CUT];

    if (!ctx->dry_run && sessions)
        out_note(&ctx->out,
                 "%zu session%s off, but stay%s open in the relay until %s; to end %s now%s:"
                 " smtpgate enforce --kick\n",
                 sessions, sessions == 1 ? " is cut" : "s are cut", sessions == 1 ? "s" : "",
                 sessions == 1 ? "it times out" : "they time out", sessions == 1 ? "it" : "them",
                 live->trial ? ", and stay with enforce" : "");
}

/* ---- whom to end ---- */

static int compare_sets(const void *a, const void *b)
{
    return addr_cmp(&((const struct who *)a)->first, &((const struct who *)b)->first);
}

/* Sorted, and those that overlap are one: many entries may go at once, and many be connected. */
static size_t unite(struct who *sets, size_t n)
{
    size_t i, kept = 0;

    qsort(sets, n, sizeof(*sets), compare_sets);
    for (i = 1; i < n; i++) {
        struct who *last = &sets[kept];

        if (addr_cmp(&sets[i].first, &last->last) > 0)
            sets[++kept] = sets[i];
        else if (addr_cmp(&sets[i].last, &last->last) > 0)
            last->last = sets[i].last;
    }
    return kept + 1;
}

static int compare_to_set(const void *key, const void *element)
{
    const struct addr *address = key;
    const struct who *set = element;

    return addr_cmp(address, &set->first) < 0 ? -1 : addr_cmp(address, &set->last) > 0;
}

/* What the kicked ones are judged by. */
struct kicking {
    struct sides sides;
    const struct who *sets; /* of unite(); NULL: whoever is dropped */
    size_t n;
};

/* Not let in: is to end. */
static int may_stay(void *context, const struct addr *address, uint16_t port, struct err *e)
{
    struct kicking *kicking = context;

    if (!kicking->sets)
        return lets_in_after(&kicking->sides, address, port, e);
    if (!bsearch(address, kicking->sets, kicking->n, sizeof(*kicking->sets), compare_to_set))
        return 1;
    return is_covered(kicking->sides.change, address, e);
}

static int everybody(void *context, const struct addr *address, uint16_t port, struct err *e)
{
    (void)context, (void)address, (void)port, (void)e;
    return 1;
}

static int end_sessions(const struct live *live, const struct cut_rule *rule, struct err *e)
{
    size_t i;

    for (i = 0; i < live->n_sessions; i++) {
        const struct session *session = &live->sessions[i];
        int r = rule->lets_in(rule->context, &session->remote, session->local_port, e);

        if (r == 0)
            r = session_destroy(session, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static void say_kicked(const struct cmd_context *ctx, const struct live *live)
{
    size_t sessions = live->cut.n_sessions[CUT_CUT];
    char lines[CUT_TEXT_MAX];

    if (!sessions)
        out_done(&ctx->out, "no session to end\n");
    else
        out_done(&ctx->out, "%s %zu session%s:\n%s", ctx->dry_run ? "would end" : "ended", sessions,
                 sessions == 1 ? "" : "s", cut_print(&live->cut, CUT_CUT, lines));
}

static int fail_kick(const struct cmd_context *ctx, int r, struct err *e)
{
    struct err why = *e;

    if (ctx->dry_run)
        return r;
    err_set(e, r, why.code, "the change is in force, but not all sessions were ended: %.300s",
            why.message);
    err_hint(e, "%s", why.hint);
    return r;
}

static int kick(const struct cmd_context *ctx, struct kicking *kicking, json_t **ret_kicked,
                struct err *e)
{
    const struct cut_rule all = {everybody, NULL}, stay = {may_stay, kicking};
    struct sides *sides = &kicking->sides;
    _cleanup_live_ struct live live = {0};
    int r = store_read_settings(sides->change->store, &sides->after, e);

    if (r < 0)
        return r;
    read_ports(&sides->after, &sides->after, &live);
    r = session_list(live.ports, live.n_ports, &live.sessions, &live.n_sessions, e);
    if (r == 0)
        r = cut_split(live.sessions, live.n_sessions, &all, &stay, &live.cut, e);
    if (r == 0 && !ctx->dry_run)
        r = end_sessions(&live, &stay, e);
    if (r < 0)
        return fail_kick(ctx, r, e);
    say_kicked(ctx, &live);
    *ret_kicked = cut_json(&live.cut, CUT_CUT);
    return 0;
}

int live_kick_deleted(const struct cmd_context *ctx, struct change *change, const struct who *sets,
                      size_t n, json_t **ret_kicked, struct err *e)
{
    _cleanup_free_ struct who *own = calloc(n + 1, sizeof(*own));
    struct kicking kicking = {.sides = {.change = change}, .sets = own};

    if (!own)
        return fail_kick(ctx, err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory"), e);
    if (n) {
        memcpy(own, sets, n * sizeof(*own));
        kicking.n = unite(own, n);
        return kick(ctx, &kicking, ret_kicked, e);
    }
    *ret_kicked = json_array();
    return 0;
}

int live_kick_dropped(const struct cmd_context *ctx, struct change *change, json_t **ret_kicked,
                      struct err *e)
{
    struct kicking kicking = {.sides = {.change = change}};

    return kick(ctx, &kicking, ret_kicked, e);
}
