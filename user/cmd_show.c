/* SPDX-License-Identifier: GPL-2.0-only */
/* list, check: what the list says. Reads only. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cmd.h"

/* ---- list ---- */

struct listing {
    const struct cmd_context *ctx;
    struct gate *gate;
    struct out_stream stream;
    const char *filter; /* NULL none */
    bool by_address;    /* the filter is an address */
    struct addr address;
    uint64_t shown;
    struct err *e;
};

/* An entry's use is that of its prefixes. */
static int read_use(struct listing *listing, const struct who *who, struct gate_use *ret_use)
{
    struct prefix prefixes[PREFIX_MAX];
    unsigned int i, n = prefix_from_who(who, prefixes);
    struct gate_use sum = {0}, one;

    for (i = 0; listing->gate && i < n; i++) {
        int r = gate_lookup(listing->gate, &prefixes[i], &one, listing->e);

        if (r == -ENOENT)
            continue;
        if (r < 0)
            return r;
        sum.connections += one.connections;
        if (one.last_seen > sum.last_seen)
            sum.last_seen = one.last_seen;
    }
    *ret_use = sum;
    return 0;
}

static bool is_chosen(const struct listing *listing, const struct store_entry *entry,
                      const char *who)
{
    if (!listing->filter)
        return true;
    if (listing->by_address)
        return entry->who.first.family == listing->address.family &&
               addr_cmp(&entry->who.first, &listing->address) <= 0 &&
               addr_cmp(&listing->address, &entry->who.last) <= 0;
    return strcasestr(entry->remark, listing->filter) || strcasestr(who, listing->filter);
}

static json_t *nullable(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static int list_entry(const struct store_entry *entry, void *arg)
{
    struct listing *listing = arg;
    const struct out *out = &listing->ctx->out;
    char who[WHO_TEXT_MAX], created[OUT_TIME_MAX], seen[OUT_TIME_MAX], expires[OUT_TIME_MAX];
    struct gate_use use;
    int r;

    who_print(&entry->who, who);
    if (!is_chosen(listing, entry, who))
        return 0;
    r = read_use(listing, &entry->who, &use);
    if (r < 0)
        return r;
    if (listing->shown++ == 0)
        out_text(out, "%-5s %-30s %-16s %-16s %-16s %11s  %s\n", "ID", "WHO", "ADDED", "EXPIRES",
                 "LAST SEEN", "CONNECTIONS", "REMARK");
    out_local_time(entry->created, created);
    out_local_time(entry->expires, expires);
    out_local_time((int64_t)use.last_seen, seen);
    out_text(out, "#%-4lld %-30s %-16s %-16s %-16s %11llu%s%s\n", (long long)entry->id, who,
             created, *expires ? expires : "never", *seen ? seen : "-",
             (unsigned long long)use.connections, *entry->remark ? "  " : "", entry->remark);
    out_stream_item(&listing->stream,
                    json_pack("{s:I, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:I}", "id",
                              (json_int_t)entry->id, "who", who, "kind",
                              who_kind_name(entry->who.kind), "account", nullable(entry->account),
                              "remark", entry->remark, "created", out_json_time(entry->created),
                              "expires", out_json_time(entry->expires), "last_seen",
                              out_json_time((int64_t)use.last_seen), "connections",
                              (json_int_t)use.connections));
    return 0;
}

int cmd_list(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    struct listing listing = {.ctx = ctx, .filter = ctx->n_args ? ctx->args[0] : NULL, .e = e};
    char shown[128];
    int r = cmd_open_both(ctx, &store, &gate, e);

    if (r < 0)
        return r;
    listing.gate = gate_is_whole(gate) ? gate : NULL;
    listing.by_address = listing.filter && addr_parse(listing.filter, &listing.address, NULL) == 0;
    out_stream_begin(&listing.stream, &ctx->out, NULL, "entries");
    r = store_each_entry(store, list_entry, &listing, e);
    out_stream_end(&listing.stream, r < 0 ? e : NULL);
    if (r < 0)
        return ctx->out.json ? (int)e->code : r; /* with -j it is said already */
    if (!listing.shown)
        out_text(&ctx->out, listing.filter ? "no entry matches \"%s\"\n" : "no entries\n",
                 listing.filter ? text_escape(listing.filter, shown, sizeof(shown)) : "");
    return listing.filter && !listing.shown ? EXIT_NO : 0;
}

/* ---- check ---- */

struct checking {
    const struct cmd_context *ctx;
    struct store *store;
    struct gate *gate; /* NULL when nothing is in the kernel */
    struct store_settings settings;
    json_t *results;
    bool attached; /* an interface is remembered as attached */
    bool any_no, disagree;
};

/* The verdict in the kernel, as the program would find it. */
static int ask_kernel(struct checking *checking, const struct addr *address, bool *ret_allowed,
                      struct err *e)
{
    struct prefix prefix = {.addr = *address, .len = (uint8_t)(addr_len(address->family) * 8)};
    struct gate_state state;
    struct gate_use use;
    uint64_t mode;
    int r;

    gate_read_state(checking->gate, &state);
    mode = state.mode & SG_MODE_MASK;
    r = gate_lookup(checking->gate, &prefix, &use, e);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret_allowed =
        r == 0 || mode == SG_MODE_OFF || mode == SG_MODE_PAUSED || mode == SG_MODE_OBSERVE;
    return 0;
}

static const char *check_why(const struct checking *checking, const struct store_entry *entry,
                             char buf[CMD_ENTRY_MAX + 8])
{
    char text[CMD_ENTRY_MAX];

    if (entry)
        snprintf(buf, CMD_ENTRY_MAX + 8, "by %s", cmd_entry(entry, text));
    else if (checking->settings.mode == SG_MODE_OFF)
        snprintf(buf, CMD_ENTRY_MAX + 8, "the gate is off");
    else
        snprintf(buf, CMD_ENTRY_MAX + 8, "no entry covers it");
    return buf;
}

static int check_address(struct checking *checking, const struct addr *address, struct err *e)
{
    const struct out *out = &checking->ctx->out;
    char text[ADDR_TEXT_MAX], why[CMD_ENTRY_MAX + 8], who[WHO_TEXT_MAX];
    struct store_entry entry;
    bool stored, allowed;
    int r, found = store_find_covering(checking->store, address, address, &entry, e);

    if (found < 0 && found != -ENOENT)
        return found;
    allowed = stored = found == 0 || checking->settings.mode == SG_MODE_OFF;
    if (checking->gate) {
        r = ask_kernel(checking, address, &allowed, e);
        if (r < 0)
            return r;
    }
    checking->any_no |= !allowed;
    checking->disagree |= allowed != stored;
    addr_print(address, text);
    check_why(checking, found == 0 ? &entry : NULL, why);
    out_done(out, "%-15s  %s  %s%s\n", text, allowed ? "let in " : "dropped", why,
             allowed != stored ? " -- but the kernel says otherwise" : "");
    json_array_append_new(
        checking->results,
        json_pack("{s:s, s:b, s:o, s:b}", "address", text, "allowed", allowed, "entry",
                  found == 0 ? json_pack("{s:I, s:s, s:s}", "id", (json_int_t)entry.id, "who",
                                         who_print(&entry.who, who), "remark", entry.remark)
                             : json_null(),
                  "disagree", allowed != stored));
    return 0;
}

static int check_all(struct checking *checking, const struct addr *addresses, struct err *e)
{
    const struct cmd_context *ctx = checking->ctx;
    size_t i;
    int r = store_read_settings(checking->store, &checking->settings, e);

    if (r == 0)
        r = store_any_wanted(checking->store, &checking->attached, e);

    for (i = 0; r == 0 && i < ctx->n_args; i++)
        r = check_address(checking, &addresses[i], e);
    if (r < 0)
        return r;
    if (checking->disagree)
        out_warn(&ctx->out, "kernel and store disagree; to mend it: smtpgate sync\n");
    else if (!checking->attached)
        out_note(&ctx->out, "the gate is attached to no interface: nothing is dropped until"
                            " smtpgate attach IFACE\n");
    else if (!checking->gate)
        out_note(&ctx->out, "the gate is not in the kernel; this is what the store says\n");
    out_json(&ctx->out,
             json_pack("{s:O, s:b, s:s}", "results", checking->results, "disagree",
                       checking->disagree, "source", checking->gate ? "kernel" : "store"));
    return checking->any_no ? EXIT_NO : 0;
}

int cmd_check(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    _cleanup_free_ struct addr *addresses = calloc(ctx->n_args, sizeof(*addresses));
    struct checking checking = {.ctx = ctx};
    size_t i;
    int r = 0;

    if (!addresses)
        return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory");
    for (i = 0; r == 0 && i < ctx->n_args; i++)
        r = addr_parse(ctx->args[i], &addresses[i], e);
    if (r == 0)
        r = cmd_open_both(ctx, &store, &gate, e);
    if (r < 0)
        return r;
    checking.store = store;
    checking.gate = gate_is_whole(gate) ? gate : NULL;
    checking.results = json_array();
    r = check_all(&checking, addresses, e);
    json_decref(checking.results);
    return r;
}
