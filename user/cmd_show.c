/* SPDX-License-Identifier: GPL-2.0-only */
/* list, check: what the list says. Reads only. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "admit.h"
#include "cmd.h"
#include "sync.h"
#include "use.h"
#include "when.h"

/* ---- list ---- */

struct listing {
    const struct cmd_context *ctx;
    struct gate *gate;
    struct out_stream stream;
    const char *filter; /* NULL none */
    bool by_address;    /* the filter is an address */
    struct addr address;
    int64_t now;
    bool expired;        /* only those */
    int64_t unused;      /* only those that let nobody in for so many seconds; 0 all */
    int64_t known_since; /* use_known_since(), with @unused */
    bool hidden;         /* how entries are used may not be looked at */
    uint64_t unknown;    /* shown, and perhaps in use before that */
    int account_width;   /* of the column; 0: only the host list is shown, without one */
    uint64_t shown;
    struct err *e;
};

static bool is_over(const struct listing *listing, const struct store_entry *entry)
{
    return entry->expires && entry->expires <= listing->now;
}

/* "never", a time, or that it is over, and since when. */
#define END_WIDTH 16
static const char *end_words(const struct listing *listing, const struct store_entry *entry,
                             char buf[OUT_TIME_MAX + 16])
{
    char text[OUT_TIME_MAX];

    out_local_time(entry->expires, text);
    if (is_over(listing, entry))
        text[strcspn(text, " ")] = '\0'; /* the day will do */
    snprintf(buf, OUT_TIME_MAX + 16, "%s%s", is_over(listing, entry) ? "ended " : "",
             *text ? text : "never");
    return buf;
}

static bool is_chosen(const struct listing *listing, const struct store_entry *entry,
                      const char *who)
{
    if (listing->expired && !is_over(listing, entry))
        return false;
    if (!listing->filter)
        return true;
    if (listing->by_address)
        return entry->who.first.family == listing->address.family &&
               addr_cmp(&entry->who.first, &listing->address) <= 0 &&
               addr_cmp(&listing->address, &entry->who.last) <= 0;
    return strcasestr(entry->remark, listing->filter) || strcasestr(who, listing->filter) ||
           strcasestr(entry->account, listing->filter);
}

/* Only those that let nobody in for so long, as far as that is known. */
static bool is_unused(struct listing *listing, const struct store_entry *entry,
                      const struct gate_use *use)
{
    int64_t before = listing->now - listing->unused;

    if (use_last(entry, use) > before)
        return false;
    listing->unknown += !use->last_seen && listing->known_since > before;
    return true;
}

static int list_entry(const struct store_entry *entry, void *arg)
{
    struct listing *listing = arg;
    const struct out *out = &listing->ctx->out;
    char who[WHO_TEXT_MAX], created[OUT_TIME_MAX], seen[OUT_TIME_MAX];
    char end[OUT_TIME_MAX + 16], account[4 * ACCOUNT_MAX + 1], remark[4 * REMARK_MAX + 1];
    int width = listing->account_width;
    struct gate_use use;
    int r;

    who_print(&entry->who, who);
    if (!is_chosen(listing, entry, who))
        return 0;
    r = use_read(listing->gate, entry, &use, listing->e);
    if (r < 0)
        return r;
    if (listing->unused && !is_unused(listing, entry, &use))
        return 0;
    if (listing->shown++ == 0)
        out_text(out, "%-5s %-30s %-*s%-16s %-*s %-16s %11s  %s\n", "ID", "WHO", width,
                 width ? "ACCOUNT" : "", "ADDED", END_WIDTH, "EXPIRES", "LAST SEEN", "CONNECTIONS",
                 "REMARK");
    out_local_time(entry->created, created);
    out_local_time((int64_t)use.last_seen, seen);
    text_escape(*entry->account ? entry->account : "-", account, sizeof(account));
    text_escape(entry->remark, remark, sizeof(remark));
    out_text(out, "#%-4lld %-30s %-*s%-16s %-*s %-16s %11llu%s%s\n", (long long)entry->id, who,
             width, width ? account : "", created, END_WIDTH, end_words(listing, entry, end),
             *seen ? seen : "-", (unsigned long long)use.connections, *remark ? "  " : "", remark);
    out_stream_item(&listing->stream,
                    json_pack("{s:I, s:s, s:s, s:o, s:s, s:o, s:o, s:b, s:o, s:I}", "id",
                              (json_int_t)entry->id, "who", who, "kind",
                              who_kind_name(entry->who.kind), "account",
                              out_json_text(entry->account), "remark", entry->remark, "created",
                              out_json_time(entry->created), "expires",
                              out_json_time(entry->expires), "expired", is_over(listing, entry),
                              "last_seen", out_json_time((int64_t)use.last_seen), "connections",
                              (json_int_t)use.connections));
    return 0;
}

/* Room for "ACCOUNT" and the names that are usual; longer ones push what stands behind. */
#define ACCOUNT_WIDTH 21

static int prepare_listing(struct listing *listing, struct store *store, struct account *account)
{
    const struct cmd_context *ctx = listing->ctx;
    struct store_rules rules = {0};
    int r = store_read_rules(store, &rules, listing->e);

    if (r < 0)
        return r;
    cmd_account(ctx, rules.realm, account);
    listing->now = gate_now(listing->gate, rules.clock);
    listing->account_width = rules.accounts ? ACCOUNT_WIDTH : 0;
    listing->expired = ctx->options[OPT_EXPIRED] != NULL;
    listing->filter = ctx->n_args ? ctx->args[0] : NULL;
    listing->by_address =
        listing->filter && addr_parse(listing->filter, &listing->address, NULL) == 0;
    if (!ctx->options[OPT_UNUSED])
        return 0;
    r = when_parse_duration(ctx->options[OPT_UNUSED], &listing->unused, listing->e);
    return r < 0 ? r
                 : use_known_since(store, listing->gate, listing->now, &listing->known_since,
                                   listing->e);
}

static void say_none(const struct listing *listing, const struct account *account)
{
    const struct out *out = &listing->ctx->out;
    char shown[128];

    if (listing->filter)
        out_text(out, "no entry matches \"%s\"\n",
                 text_escape(listing->filter, shown, sizeof(shown)));
    else if (listing->unused)
        out_text(out, "no entry is unused for %s\n", listing->ctx->options[OPT_UNUSED]);
    else if (*account->name)
        out_text(out, "account %s has no list of its own\n",
                 text_escape(account->name, shown, sizeof(shown)));
    else
        out_text(out, listing->expired ? "no entry's time is over\n" : "no entries\n");
}

/* Who deletes what is not used shall know what is not known. */
static void say_unknown(const struct listing *listing)
{
    const struct out *out = &listing->ctx->out;
    char since[OUT_TIME_MAX];

    if (!listing->unknown || listing->hidden)
        return; /* or it is said already */
    if (listing->known_since > listing->now)
        out_warn(out, "who is let in is not counted, as the gate is on no interface: whether these"
                      " entries were used is not known\n");
    else
        out_warn(out,
                 "uses are counted since the host was booted, %s: whether entries that show none"
                 " were used before is not known\n",
                 out_local_time(listing->known_since, since));
}

static int list_entries(const struct cmd_context *ctx, struct store *store, struct gate *gate,
                        struct err *e)
{
    struct listing listing = {.ctx = ctx,
                              .gate = gate_is_whole(gate) ? gate : NULL,
                              .hidden = gate_is_hidden(gate),
                              .e = e};
    struct account account;
    int r = prepare_listing(&listing, store, &account);

    if (r < 0)
        return r;
    out_stream_begin(&listing.stream, &ctx->out,
                     listing.unused ? cmd_use_json(listing.known_since, listing.now) : NULL,
                     "entries");
    r = store_each_entry(store, *account.name ? &account : NULL, STORE_BY_ID, list_entry, &listing,
                         e);
    out_stream_end(&listing.stream, r < 0 ? e : NULL);
    if (r < 0)
        return ctx->out.json ? (int)e->code : r; /* with -j it is said already */
    say_unknown(&listing);
    if (!listing.shown)
        say_none(&listing, &account);
    return (listing.filter || *account.name) && !listing.shown ? EXIT_NO : 0;
}

/* ---- list --accounts ---- */

/* A list under way, and what was shown before. */
struct account_row {
    struct listing listing;
    char account[ACCOUNT_MAX + 1];
    uint64_t entries;
    uint64_t last_use;
};

static void show_row(struct account_row *row)
{
    const struct out *out = &row->listing.ctx->out;
    char seen[OUT_TIME_MAX], name[CMD_ACCOUNT_MAX];

    text_escape(row->account, name, sizeof(name));
    if (row->listing.shown++ == 0)
        out_text(out, "%-30s %8s  %s\n", "ACCOUNT", "ENTRIES", "LAST USE");
    out_local_time((int64_t)row->last_use, seen);
    out_text(out, "%-30s %8llu  %s\n", *name ? name : "(host list)",
             (unsigned long long)row->entries, *seen ? seen : "-");
    out_stream_item(&row->listing.stream,
                    json_pack("{s:o, s:I, s:o}", "account", out_json_text(row->account), "entries",
                              (json_int_t)row->entries, "last_use",
                              out_json_time((int64_t)row->last_use)));
}

static int add_to_row(const struct store_entry *entry, void *arg)
{
    struct account_row *row = arg;
    struct gate_use use;
    int r = use_read(row->listing.gate, entry, &use, row->listing.e);

    if (r < 0)
        return r;
    if (!account_equal(row->account, entry->account)) {
        show_row(row); /* the host list comes first, also where it is empty */
        snprintf(row->account, sizeof(row->account), "%s", entry->account);
        row->entries = row->last_use = 0;
    }
    row->entries++;
    if (use.last_seen > row->last_use)
        row->last_use = use.last_seen;
    return 0;
}

static int list_accounts(const struct cmd_context *ctx, struct store *store, struct gate *gate,
                         struct err *e)
{
    struct account_row row = {
        .listing = {.ctx = ctx, .gate = gate_is_whole(gate) ? gate : NULL, .e = e}};
    int r;

    if (ctx->n_args || ctx->options[OPT_ACCOUNT] || ctx->options[OPT_EXPIRED] ||
        ctx->options[OPT_UNUSED]) {
        err_set(e, 0, EXIT_USAGE,
                "--accounts shows all lists: it goes with no filter, --account, --expired or"
                " --unused");
        err_hint(e, "smtpgate list --accounts");
        return -EINVAL;
    }
    out_stream_begin(&row.listing.stream, &ctx->out, NULL, "accounts");
    r = store_each_entry(store, NULL, STORE_BY_ACCOUNT, add_to_row, &row, e);
    if (r == 0)
        show_row(&row);
    out_stream_end(&row.listing.stream, r < 0 ? e : NULL);
    if (r < 0)
        return ctx->out.json ? (int)e->code : r;
    return 0;
}

int cmd_list(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_(store_close) struct store *store = NULL;
    _cleanup_(gate_close) struct gate *gate = NULL;
    int64_t unused;
    int r;

    if (ctx->options[OPT_LINT])
        return cmd_lint(ctx, e);
    r = cmd_check_account(ctx, e);
    if (r == 0 && ctx->options[OPT_UNUSED])
        r = when_parse_duration(ctx->options[OPT_UNUSED], &unused, e);
    if (r == 0)
        r = cmd_open_store(ctx, &store, &gate, e);
    if (r < 0)
        return r;
    if (gate_is_hidden(gate))
        out_note(&ctx->out, "when an entry last let somebody in is not known: only root may look at"
                            " the gate in the kernel\n");
    return ctx->options[OPT_ACCOUNTS] ? list_accounts(ctx, store, gate, e)
                                      : list_entries(ctx, store, gate, e);
}

/* ---- check ---- */

struct checking {
    const struct cmd_context *ctx;
    struct store *store;
    struct gate *gate; /* NULL when nothing is in the kernel */
    struct store_settings settings;
    int64_t now;
    enum sg_mode mode; /* as the store has it */
    json_t *results;
    bool attached; /* an interface is remembered as attached */
    bool guarding; /* and the gate is on one */
    bool any_no, disagree;
};

/* The verdict in the kernel, as the program would find it. */
static int ask_kernel(struct checking *checking, const struct addr *address, bool *ret_allowed,
                      struct err *e)
{
    int r = gate_lets_in(checking->gate, address, ret_allowed, e);

    if (r == 0)
        *ret_allowed |= !mode_drops(gate_mode(checking->gate).mode);
    return r;
}

/* What one address comes to. */
struct checked {
    struct admission admission; /* of the account; without one, of any list */
    bool gate;     /* let in by the kernel half, as the kernel or else the store says */
    bool disagree; /* kernel and store */
    bool allowed;  /* in the end */
    bool covered;  /* by @entry */
    bool over;     /* would be, if the time of @entry were not over */
    struct store_entry entry;
};

/* @list NULL: any list, which is what the kernel half goes by. */
static int find_entry(struct checking *checking, const struct account *list,
                      const struct addr *address, struct checked *checked, struct err *e)
{
    int r = store_find_covering(checking->store, list, address, address, checking->now,
                                &checked->entry, e);

    checked->covered = r == 0;
    if (r == -ENOENT)
        r = store_find_covering(checking->store, list, address, address, 0, &checked->entry, e);
    checked->over = r == 0 && !checked->covered;
    return r == -ENOENT ? 0 : r;
}

static int judge_gate(struct checking *checking, const struct addr *address,
                      struct checked *checked, struct err *e)
{
    bool stored;
    int r = find_entry(checking, NULL, address, checked, e);

    if (r < 0)
        return r;
    checked->gate = stored = checked->covered || !mode_drops(checking->mode);
    if (checking->gate)
        r = ask_kernel(checking, address, &checked->gate, e);
    checked->disagree = checked->gate != stored;
    checked->admission = (struct admission){.allowed = stored, .by = ADMIT_BY_NONE};
    return r;
}

static int judge_account(struct checking *checking, const char *login, const struct addr *address,
                         struct checked *checked, struct err *e)
{
    struct admission *admission = &checked->admission;
    int r = admit_account(checking->store, login, address, checking->now, admission, e);

    checked->covered = checked->over = false;
    if (r < 0 || (admission->by != ADMIT_BY_OWN && admission->by != ADMIT_BY_HOST))
        return r;
    return find_entry(checking, &admission->list, address, checked, e);
}

static int judge(struct checking *checking, const struct addr *address, struct checked *ret_checked,
                 struct err *e)
{
    const char *login = checking->ctx->options[OPT_ACCOUNT];
    struct checked checked = {0};
    int r = store_begin_read(checking->store, e);

    if (r == 0)
        r = judge_gate(checking, address, &checked, e);
    if (r == 0 && login)
        r = judge_account(checking, login, address, &checked, e);
    store_rollback(checking->store); /* nothing is locked while the answer is printed */
    if (r < 0)
        return r;
    checked.allowed = checked.gate && (!login || checked.admission.allowed);
    *ret_checked = checked;
    return 0;
}

/* Why an address without an entry gets what it gets. */
static const char *mode_why(enum sg_mode mode)
{
    switch (mode) {
    case SG_MODE_OFF:
        return "the gate is off";
    case SG_MODE_OBSERVE:
        return "no entry covers it, but the gate only observes";
    case SG_MODE_PAUSED:
        return "no entry covers it, but the gate is paused";
    case SG_MODE_ENFORCE:
    default:
        return "no entry covers it";
    }
}

static const char *check_why(const struct checking *checking, const struct checked *checked,
                             char buf[CMD_ENTRY_MAX + 64])
{
    char text[CMD_ENTRY_MAX];

    if (checked->covered) {
        snprintf(buf, CMD_ENTRY_MAX + 64, "by %s%s", cmd_entry(&checked->entry, text),
                 checked->admission.by == ADMIT_BY_HOST
                     ? " of the host list, which the account follows"
                     : "");
        return buf;
    }
    if (checked->over && mode_drops(checking->mode)) {
        snprintf(buf, CMD_ENTRY_MAX + 64, "%s has ended", cmd_entry(&checked->entry, text));
        return buf;
    }
    if (!checking->ctx->options[OPT_ACCOUNT])
        return mode_why(checking->mode);
    switch (checked->admission.by) {
    case ADMIT_BY_OWN:
        return "no entry of the account's own list covers it";
    case ADMIT_BY_HOST:
        return "no entry of the host list, which the account follows, covers it";
    case ADMIT_BY_OTHERS:
        return checked->admission.allowed
                   ? "the account has no list, and others may send from anywhere (smtpgate help"
                     " set)"
                   : "the account has no list, and others may send from nowhere (smtpgate help"
                     " set)";
    case ADMIT_BY_MODE:
        return "lists are not enforced now (smtpgate status)";
    case ADMIT_BY_NONE:
    default:
        return "the gate is off";
    }
}

static const char *list_name(enum admit_by by)
{
    return by == ADMIT_BY_OWN      ? "account"
           : by == ADMIT_BY_MODE   ? "mode"
           : by == ADMIT_BY_HOST   ? "host"
           : by == ADMIT_BY_OTHERS ? "others"
                                   : "none";
}

static json_t *checked_json(const struct checking *checking, const struct checked *checked,
                            const char *address)
{
    const char *login = checking->ctx->options[OPT_ACCOUNT];
    const struct store_entry *entry = &checked->entry;
    char who[WHO_TEXT_MAX];
    json_t *row = json_pack(
        "{s:s, s:b, s:o, s:b}", "address", address, "allowed", checked->allowed, "entry",
        checked->covered ? json_pack("{s:I, s:s, s:o, s:s}", "id", (json_int_t)entry->id, "who",
                                     who_print(&entry->who, who), "account",
                                     out_json_text(entry->account), "remark", entry->remark)
                         : json_null(),
        "disagree", checked->disagree);

    if (login) {
        json_object_set_new(row, "account", json_string(login));
        json_object_set_new(row, "list", json_string(list_name(checked->admission.by)));
        json_object_set_new(row, "gate", json_boolean(checked->gate));
        json_object_set_new(row, "policy", json_boolean(checked->admission.allowed));
    }
    return row;
}

static int check_address(struct checking *checking, const struct addr *address, struct err *e)
{
    const struct out *out = &checking->ctx->out;
    char text[ADDR_TEXT_MAX], why[CMD_ENTRY_MAX + 64];
    struct checked checked;
    int r = judge(checking, address, &checked, e);

    if (r < 0)
        return r;
    checking->any_no |= !checked.allowed;
    checking->disagree |= checked.disagree;
    addr_print(address, text);
    out_done(out, "%-15s  %s  %s%s\n", text,
             checked.allowed ? "let in "
             : checked.gate  ? "refused"
                             : "dropped",
             check_why(checking, &checked, why),
             !checked.disagree ? ""
             : checked.gate    ? " -- but the kernel lets it in"
                               : " -- but the kernel drops it");
    json_array_append_new(checking->results, checked_json(checking, &checked, text));
    return 0;
}

static int read_attached(struct checking *checking, struct gate *gate, struct err *e)
{
    _cleanup_ifaces_ struct sync_ifaces ifaces = {0};
    int r = store_any_wanted(checking->store, &checking->attached, e);

    if (r == 0)
        r = sync_read_ifaces(checking->store, gate, &ifaces, e);
    checking->guarding = r == 0 && sync_has_live_link(&ifaces);
    return r;
}

static int check_all(struct checking *checking, struct gate *gate, const struct addr *addresses,
                     struct err *e)
{
    const struct cmd_context *ctx = checking->ctx;
    size_t i;
    int r = store_read_settings(checking->store, &checking->settings, e);

    if (r < 0)
        return r;
    checking->now = gate_now(checking->gate, checking->settings.clock);
    checking->mode = mode_at(checking->settings.on, &checking->settings.plan, checking->now).mode;
    r = read_attached(checking, gate, e);
    for (i = 0; r == 0 && i < ctx->n_args; i++)
        r = check_address(checking, &addresses[i], e);
    if (r < 0)
        return r;
    if (checking->disagree)
        out_warn(&ctx->out, "kernel and store disagree; to mend it: smtpgate sync\n");
    else if (gate_is_hidden(gate))
        out_note(&ctx->out, "this is what the store says: only root may look at the gate in the"
                            " kernel\n");
    else if (checking->attached && !checking->guarding)
        out_warn(&ctx->out, "no interface carries the gate now, so nothing is dropped: smtpgate"
                            " sync\n");
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
        r = cmd_check_account(ctx, e);
    if (r == 0)
        r = cmd_open_store(ctx, &store, &gate, e);
    if (r < 0)
        return r;
    checking.store = store;
    checking.gate = gate_is_whole(gate) ? gate : NULL;
    checking.results = json_array();
    r = check_all(&checking, gate, addresses, e);
    json_decref(checking.results);
    return r;
}
