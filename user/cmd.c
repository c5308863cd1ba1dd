/* SPDX-License-Identifier: GPL-2.0-only */
/* The command table and what the commands share. See cmd.h. */
#include "cmd.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "actor.h"
#include "when.h"

#define OPT(name) (1U << OPT_##name)

const struct cmd_option_row cmd_options[OPT_COUNT] = {
    [OPT_ACCOUNT] = {"account", "NAME", "the list of one SMTP account (its login name)"},
    [OPT_ACCOUNTS] = {"accounts", NULL,
                      "the lists; last use: when an address of it last connected"},
    [OPT_ALL] = {"all", NULL, "all interfaces, or all lists"},
    [OPT_BOOT] = {"boot", NULL, "an interface that is not there yet is no failure"},
    [OPT_CONFIRM] = {"confirm", "DURATION", "go back by itself after that time, unless confirmed"},
    [OPT_EVERY] = {"every", "DURATION", "1s (default) to 1d"},
    [OPT_EXPIRED] = {"expired", NULL, "the entries whose time is over"},
    [OPT_FOR] = {"for", "DURATION", "how long: 90s, 15m, 8h, 7d"},
    [OPT_FORMAT] = {"format", "FORMAT", "list, csv, json; files also: ipset, nft, postfix"},
    [OPT_FOREVER] = {"forever", NULL, "without an end"},
    [OPT_KICK] = {"kick", NULL, "also end the open sessions that are not let in any more"},
    [OPT_LINT] = {"lint", NULL, "what could be better in the lists; changes nothing"},
    [OPT_LISTEN] = {"listen", "ADDRESS:PORT", "where to listen: 127.0.0.1:10465, [::1]:10465"},
    [OPT_METRICS_FORMAT] = {"format", "prometheus|openmetrics", "prometheus unless given"},
    [OPT_NAMES] = {"names", NULL, "also the names of the addresses, by DNS"},
    [OPT_WITH] = {"with", "FILE", "as if that file were applied first"},
    [OPT_UNTIL] = {"until", "TIME", "'2026-12-01 18:00' (local), 2026-12-01T17:00:00Z"},
    [OPT_UNUSED] = {"unused", "DURATION", "what was added before that, and let nobody in since"},
    [OPT_CHECK] = {"check", NULL, "exit 1 unless the gate is attached and in step with the store"},
    [OPT_MODE] = {"mode", "auto|native|generic", "auto (default) tries native, then generic"},
    [OPT_NAGIOS] = {"nagios", NULL, "as a monitoring plugin: a line with state and numbers first"},
    [OPT_REMARK] = {"remark", "TEXT", "up to 200 bytes; who or what is behind the address"},
    [OPT_TEXTFILE] = {"textfile", "FILE", "into a file, replaced as a whole; not printed"},
    [OPT_WAIT] = {"wait", "DURATION", "up to 1h: for interfaces, and for another command to end"},
    [OPT_WATCH] = {"watch", NULL, "every second, with rates, until ^C"},
    [OPT_SINCE] = {"since", "DURATION|TIME", "those that came since: 15m, 2d, '2026-12-01 18:00'"},
    [OPT_TOP] = {"top", "N", "the N with the most packets (default 20; with -j all)"},
    [OPT_TROUBLE] = {"trouble", "defer|reject|dunno",
                     "when the list cannot be read (default defer)"},
};

const struct cmd_global_row cmd_globals[GLOBAL_COUNT] = {
    [GLOBAL_JSON] = {'j', {"json", NULL, "one JSON object on standard output, errors included"}},
    [GLOBAL_DRY_RUN] = {'n', {"dry-run", NULL, "show what would change, and change nothing"}},
    [GLOBAL_YES] = {'y', {"yes", NULL, "ask no questions: the answer to all of them is yes"}},
    [GLOBAL_QUIET] = {'q', {"quiet", NULL, "only what was asked for, warnings and errors"}},
    [GLOBAL_VERBOSE] = {'v', {"verbose", NULL, "libbpf's words too, and all lines, not the first"}},
    [GLOBAL_STATE] = {'\0', {"state", "DIR", "where the list is stored"}},
    [GLOBAL_BPFFS] = {'\0', {"bpffs", "DIR", "where program, links and maps are pinned"}},
    [GLOBAL_HELP] = {'h', {"help", NULL, "what help COMMAND shows"}},
    [GLOBAL_VERSION] = {'\0', {"version", NULL, "the program's version"}},
};

static const char who_details[] =
    "WHO is an address (192.0.2.10), a segment (192.0.2.0/24) or a range\n"
    "(192.0.2.10-192.0.2.40), the same in IPv6. Names are never resolved.\n";

const struct cmd cmd_table[] = {
    {"attach", "IFACE...", "put the gate on interfaces",
     "put the gate on interfaces, or replace it there",
     "  smtpgate attach eth0\n"
     "  smtpgate attach eth0 eth1 --mode native\n",
     "A second attach replaces the program without a gap. The interfaces are\n"
     "remembered: smtpgate sync attaches them again after a boot.\n",
     OPT(MODE), 1, 1024, cmd_attach},
    {"detach", "IFACE...|--all", "take it off", "take the gate off; the list stays stored",
     "  smtpgate detach eth0\n"
     "  smtpgate detach --all\n",
     NULL, OPT(ALL), 0, 1024, cmd_detach},
    {"add", "WHO...", "let sources in", "let sources in; the first entry turns the gate on",
     "  smtpgate add 192.0.2.10 --remark 'web shop'\n"
     "  smtpgate add 198.51.100.0/24 2001:db8:7::/48\n"
     "  smtpgate add 192.0.2.10-192.0.2.40\n"
     "  smtpgate add 203.0.113.7 --account alice\n"
     "  smtpgate add 203.0.113.9 --for 8h --remark 'trade fair'\n"
     "  smtpgate add - <addresses     # one WHO a line\n",
     who_details, OPT(ACCOUNT) | OPT(FOR) | OPT(REMARK) | OPT(UNTIL), 1, 100000, cmd_add},
    {"edit", "WHO", "change remark or end", "change an entry's remark, or when it ends",
     "  smtpgate edit 192.0.2.10 --remark 'web shop, new'\n"
     "  smtpgate edit '#3' --remark ''\n"
     "  smtpgate edit '#3' --for 7d\n"
     "  smtpgate edit '#3' --forever\n",
     "WHO is the entry as typed (any equal spelling) or #ID. At its end an entry\n"
     "stays in the list, and lets nobody in.\n",
     OPT(ACCOUNT) | OPT(FOR) | OPT(FOREVER) | OPT(REMARK) | OPT(UNTIL), 1, 1, cmd_edit},
    {"delete", "WHO...", "remove entries", "remove entries; their sources are dropped at once",
     "  smtpgate delete 192.0.2.10\n"
     "  smtpgate delete '#3' '#4'\n"
     "  smtpgate delete 203.0.113.7 --account alice\n"
     "  smtpgate delete --expired\n"
     "  smtpgate delete 192.0.2.10 --kick\n",
     "WHO is the entry as typed (any equal spelling) or #ID. Open connections\n"
     "are cut too; --kick also ends them in the relay. Deleting the last entry turns\n"
     "the gate off, and asks first.\n",
     OPT(ACCOUNT) | OPT(EXPIRED) | OPT(KICK), 0, 100000, cmd_delete},
    {"list", "[FILTER]", "the entries", "the entries; FILTER: an address, or part of a remark",
     "  smtpgate list\n"
     "  smtpgate list shop\n"
     "  smtpgate list 192.0.2.10      # the entries that cover it\n"
     "  smtpgate list --account alice\n"
     "  smtpgate list --accounts\n"
     "  smtpgate list --expired\n"
     "  smtpgate list --unused 90d\n"
     "  smtpgate list --lint          # advice: covered, could be one, not used ...\n",
     "Use is counted while the gate is attached, and since the boot. With --lint,\n"
     "--unused says what is a long time for an entry (default 90d).\n",
     OPT(ACCOUNT) | OPT(ACCOUNTS) | OPT(EXPIRED) | OPT(LINT) | OPT(UNUSED), 0, 1, cmd_list},
    {"check", "ADDRESS...", "is it let in, by which?",
     "is it let in, and by which entry? Exit 1 if not",
     "  smtpgate check 192.0.2.10\n"
     "  smtpgate check 192.0.2.10 --account alice\n",
     "Asks the kernel when the gate is attached, and says so if kernel and store\n"
     "disagree. With --account: also what the policy service would answer.\n"
     "dropped: by the kernel; refused: by the relay, which asks smtpgate policy.\n",
     OPT(ACCOUNT), 1, 100000, cmd_check},
    {"disable", "", "clear the list, open", "clear the host list and turn the gate off; asks",
     "  smtpgate disable\n"
     "  smtpgate -y disable\n"
     "  smtpgate disable --account alice   # alice follows the host list again\n"
     "  smtpgate disable --all             # the lists of all accounts too\n",
     "Clearing the host list also sets others back to anywhere: whoever followed it\n"
     "may send from anywhere, with the password.\n",
     OPT(ACCOUNT) | OPT(ALL), 0, 0, cmd_disable},
    {"observe", "", "drop nothing, count", "drop nothing; count what would be dropped",
     "  smtpgate observe\n"
     "  smtpgate stats                # would_drop\n",
     "Holds until smtpgate enforce. Before the first add it is set for then.\n", 0, 0, 0,
     cmd_observe},
    {"enforce", "", "drop the unlisted", "drop the unlisted (what a new list does)",
     "  smtpgate enforce\n"
     "  smtpgate enforce --confirm 2m # goes back in 2 minutes, unless:\n"
     "  smtpgate confirm\n",
     "The kernel keeps the time: it goes back also if nothing runs any more. Asks\n"
     "first if somebody is connected now who would be cut off; --kick also ends the\n"
     "sessions of all who are not listed, by whatever interface they come: in the\n"
     "relay they would hang until they time out.\n",
     OPT(CONFIRM) | OPT(KICK), 0, 0, cmd_enforce},
    {"preview", "", "who would be cut off", "who is connected now, and would be cut off",
     "  smtpgate preview\n"
     "  smtpgate preview --names\n"
     "  smtpgate preview --with offices.list\n",
     "As if the gate stood on every interface and enforced the list, whatever it does\n"
     "now. Sessions of this network namespace only: what the host just forwards, or\n"
     "a container serves, is not seen.\n",
     OPT(FORMAT) | OPT(NAMES) | OPT(WITH), 0, 0, cmd_preview},
    {"confirm", "", "stay with enforce --confirm", "stay with what enforce --confirm began",
     "  smtpgate confirm\n", NULL, 0, 0, 0, cmd_confirm_mode},
    {"pause", "DURATION", "let all pass for a while", "let everybody in for a while",
     "  smtpgate pause 15m\n"
     "  smtpgate enforce              # end it at once\n",
     "DURATION is 90s, 15m, 8h, 7d. The kernel keeps the time.\n", 0, 1, 1, cmd_pause},
    {"history", "", "who changed what, when", "who changed what, when and from where; newest first",
     "  smtpgate history\n",
     "The last 50 are shown, with -v all: 10,000 are kept, 100 can be taken back.\n", 0, 0, 0,
     cmd_history},
    {"undo", "[N|'#ID']", "take changes back", "take back the last change, or the last N",
     "  smtpgate undo\n"
     "  smtpgate undo 3               # the last three\n"
     "  smtpgate undo '#12'           # back to what was before change #12\n",
     "Numbers are those of smtpgate history; attach and detach stay. With -n it is\n"
     "only shown. Taking back is a change too: undo again\n"
     "goes further back, and undo '#ID' of an undo takes that one back.\n",
     0, 0, 1, cmd_undo},
    {"status", "", "state and health", "mode, list, interfaces, health (also: no command)",
     "  smtpgate status\n"
     "  smtpgate -q status --check    # exit 1 when something is wrong\n",
     NULL, OPT(CHECK), 0, 0, cmd_status},
    {"stats", "", "packets by reason", "packets by reason and verdict",
     "  smtpgate stats\n"
     "  smtpgate -j stats             # also by family, interface and port\n"
     "  smtpgate stats --watch\n",
     "Counters are exact, and kept over attach, upgrade and changes of the list.\n"
     "With --watch, LET IN and KEPT OUT are connection attempts at the guarded ports.\n",
     OPT(WATCH), 0, 0, cmd_stats},
    {"blocked", "", "who was dropped", "the sources that were dropped, or would have been",
     "  smtpgate blocked\n"
     "  smtpgate blocked --since 15m\n"
     "  smtpgate blocked --top 100\n",
     "The kernel writes down who comes and is not listed, up to 65,536 addresses and\n"
     "ports. Under a flood it writes down who comes again; packets of the others are\n"
     "counted. PACKETS and ATTEMPTS are all since FIRST SEEN, also with --since.\n"
     "To let one in: smtpgate add ADDRESS --remark TEXT\n",
     OPT(SINCE) | OPT(TOP), 0, 0, cmd_blocked},
    {"watch", "", "who is blocked, live", "who is blocked, live: a screen, or lines when piped",
     "  smtpgate watch\n"
     "  smtpgate watch | grep 'port 587'\n"
     "  smtpgate -j watch --every 60s # JSON Lines: who was dropped in each minute\n",
     "On a terminal a live screen: ? says its keys, a lets the selected source in as\n"
     "add does, q quits. Elsewhere, and with TERM=dumb, a line for each source that\n"
     "was dropped, or would have been: the 50 with the most packets, then how many\n"
     "others. docs/WATCH.md describes the JSON Lines.\n",
     OPT(EVERY), 0, 0, cmd_watch},
    {"import", "FILE|-", "add the entries of a file", "add the entries of a file, all or none",
     "  smtpgate import offices.list\n"
     "  smtpgate export | ssh mail2 smtpgate import -\n"
     "  ipset save | smtpgate -n import -\n",
     "Formats may mix; a remark or an end replaces that of a listed entry. FORMAT is\n"
     "told by the first line, unless it is given: a list file (WHO until=TIME\n"
     "account=NAME # remark; all but WHO if wanted; spaces and % in a name are written\n"
     "%20 and %25; lines that begin with # are comments), CSV, JSON Lines, what ipset\n"
     "save and nft list print, a Postfix cidr: table. Bad lines are shown, and nothing\n"
     "is changed then; what cannot be carried over is named.\n",
     OPT(FORMAT), 1, 1, cmd_import},
    {"apply", "FILE|-", "make the list equal to one",
     "make the list equal to a file, all or nothing",
     "  smtpgate apply offices.list\n"
     "  smtpgate -n apply offices.list     # only show the difference\n",
     "As import, and entries that are not in the file are deleted, of all lists. What\n"
     "stays keeps its number and counters, and its remark and end unless the file\n"
     "gives them. A second time it changes nothing.\n",
     OPT(FORMAT) | OPT(KICK), 1, 1, cmd_apply},
    {"diff", "FILE|-", "what apply would change", "what apply would change; exit 1 if anything",
     "  smtpgate diff offices.list\n", "Lines begin with + (not listed yet), - or ~ (changed).\n",
     OPT(FORMAT), 1, 1, cmd_diff},
    {"export", "", "the entries as a file", "the entries as a file, to be imported again",
     "  smtpgate export >smtpgate.list\n"
     "  smtpgate export --format csv >smtpgate.csv\n",
     NULL, OPT(FORMAT), 0, 0, cmd_export},
    {"set", "[NAME VALUE]", "ports, limit, others, realm",
     "ports, limit, others, realm; nothing: show them",
     "  smtpgate set\n"
     "  smtpgate set ports 465,587\n"
     "  smtpgate set limit 100\n"
     "  smtpgate set others nowhere\n"
     "  smtpgate set realm mail.example\n",
     "ports   the guarded TCP ports (default 25,465,587)\n"
     "limit   N|none: how many entries each list takes (default 10)\n"
     "others  anywhere|nowhere: where accounts without a list of their own may\n"
     "        send from while the host list is empty (default anywhere). While it\n"
     "        is anywhere and only accounts have lists, the gate stays off\n"
     "realm   NAME|none: alice and alice@NAME are one account (default none)\n",
     0, 0, 2, cmd_set},
    {"policy", "", "Postfix's policy service", "Postfix's policy service, for account lists",
     "  smtpgate policy               # requests on stdin, answers on stdout\n",
     "For spawn(8) in Postfix's master.cf, or a systemd socket. Reads the store\n"
     "and nothing else, so it can run without root. See relay/README.md.\n"
     "With --trouble dunno mail passes while the list cannot be read.\n"
     "Login names compare byte by byte, A-Z as a-z; see also: set realm.\n",
     OPT(TROUBLE), 0, 0, cmd_policy},
    {"metrics", "", "counters for Prometheus", "state and counters as Prometheus reads them",
     "  smtpgate metrics\n"
     "  smtpgate metrics --textfile /var/lib/prometheus/node-exporter/smtpgate.prom\n",
     "No address and no account is in them. If the store cannot be read, what the\n"
     "kernel knows is told, and smtpgate_store_readable is 0.\n",
     OPT(METRICS_FORMAT) | OPT(TEXTFILE), 0, 0, cmd_metrics},
    {"exporter", "", "metrics over HTTP", "metrics over HTTP, for Prometheus to scrape",
     "  smtpgate exporter --listen 127.0.0.1:10465\n",
     "Serves /metrics until it is ended, or on the sockets that systemd hands over.\n"
     "The process that speaks HTTP has no rights. Anybody who can connect can read:\n"
     "no address or account is told. Wants libmicrohttpd12.\n",
     OPT(LISTEN), 0, 0, cmd_exporter},
    {"sync", "[IFACE...]", "make kernel equal to store",
     "make the kernel equal to the store (boot, repair)",
     "  smtpgate sync\n"
     "  smtpgate sync eth1            # only eth1, and only if it is remembered\n"
     "  smtpgate sync --wait 30s      # for remembered interfaces to appear\n",
     "What is not as stored is corrected, without a gap; each interface that attach\n"
     "was told is guarded again. What boots and udev call. -y also takes over a gate\n"
     "that was made from another store.\n",
     OPT(BOOT) | OPT(WAIT), 0, 1024, cmd_sync},
    {"doctor", "", "is every way in guarded?",
     "is every way in guarded, and all well with gate and host?",
     "  smtpgate doctor\n"
     "  smtpgate -q doctor            # only what is not ok\n"
     "  smtpgate doctor --nagios      # for a monitoring system\n",
     "Asks the mail server on this host, over its own addresses, and sends no mail.\n"
     "Looks at the kernel, the program on each interface, the list in full, the mode,\n"
     "and what else on the host decides who gets through. Exit 1 when something is\n"
     "wrong or not known; each comes with what mends it. A number is a check's for\n"
     "good, and a check that has nothing to say is silent (the man page lists them).\n"
     "Takes up to 15 s when ports do not answer, and no time where nobody listens.\n"
     "--nagios: a line with state and numbers first, the details after it; exit 0 ok,\n"
     "1 warnings only, 2 failed, 3 not known. check_nrpe waits 10 s: give it -t 20.\n"
     "Wants libcurl4; nft and iptables where there are such rules.\n",
     OPT(NAGIOS), 0, 0, cmd_doctor},
    {"help", "[COMMAND]", "this, or a command's", "this text, or a command's",
     "  smtpgate help add\n", NULL, 0, 0, 1, cmd_help},
    {0},
};

/* Edits from @a to @b, Levenshtein's; both short. */
static unsigned int distance(const char *a, const char *b)
{
    unsigned int row[32], i, j, n = (unsigned int)strlen(b);

    if (n >= 32)
        return UINT_MAX;
    for (j = 0; j <= n; j++)
        row[j] = j;
    for (i = 1; a[i - 1]; i++) {
        unsigned int diagonal = row[0];

        row[0] = i;
        for (j = 1; j <= n; j++) {
            unsigned int best = diagonal + (a[i - 1] != b[j - 1]);

            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

/* What people type who know other tools. */
static const char *synonym(const char *name)
{
    static const char *const pairs[][2] = {
        {"allow", "add"},      {"permit", "add"},      {"remove", "delete"}, {"rm", "delete"},
        {"del", "delete"},     {"ls", "list"},         {"show", "list"},     {"clear", "disable"},
        {"flush", "disable"},  {"off", "disable"},     {"test", "check"},    {"get", "check"},
        {"start", "attach"},   {"enable", "attach"},   {"stop", "detach"},   {"reload", "sync"},
        {"restore", "sync"},   {"revert", "undo"},     {"rollback", "undo"}, {"log", "history"},
        {"resume", "enforce"}, {"unpause", "enforce"},
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(pairs); i++)
        if (!strcmp(pairs[i][0], name))
            return pairs[i][1];
    return NULL;
}

const struct cmd *cmd_find(const char *name, struct err *e)
{
    const char *nearest = synonym(name);
    unsigned int least = 3;
    const struct cmd *cmd;
    char shown[64];

    for (cmd = cmd_table; cmd->name; cmd++) {
        unsigned int d = strlen(name) < 32 ? distance(name, cmd->name) : UINT_MAX;

        if (d == 0)
            return cmd;
        if (!synonym(name) && d < least) {
            least = d;
            nearest = cmd->name;
        }
    }
    err_set(e, 0, EXIT_USAGE, "there is no command \"%s\"",
            text_escape(name, shown, sizeof(shown)));
    if (nearest)
        err_hint(e, "did you mean: smtpgate %s", nearest);
    else
        err_hint(e, "smtpgate help lists the commands");
    return NULL;
}

/* The more was typed, the more of it may be wrong; a beginning is as good as all of it. */
static bool is_like(const char *word, const char *name, unsigned int *least)
{
    unsigned int far = strlen(word) > 4 ? 2 : 1;
    unsigned int d = strlen(word) < 32 ? distance(word, name) : UINT_MAX;

    if (strlen(word) > 1 && !strncmp(word, name, strlen(word)))
        d = 1;
    if (d > far || d >= *least)
        return false;
    *least = d;
    return true;
}

const char *cmd_find_like(const struct cmd *cmd, const char *word)
{
    const char *nearest = NULL;
    unsigned int least = UINT_MAX;
    int i;

    for (i = 0; cmd && i < OPT_COUNT; i++)
        if (cmd->options & 1U << i && is_like(word, cmd_options[i].name, &least))
            nearest = cmd_options[i].name;
    for (i = 0; i < GLOBAL_COUNT; i++)
        if (is_like(word, cmd_globals[i].option.name, &least))
            nearest = cmd_globals[i].option.name;
    return nearest;
}

/* Whatever was refused: the command has not begun, and its answer says so. */
static int fail_begin(int r, struct err *e)
{
    size_t len = strlen(e->message);

    if (e->code == EXIT_REFUSED && !strstr(e->message, "nothing changed"))
        snprintf(e->message + len, sizeof(e->message) - len, "; nothing changed");
    return r;
}

int cmd_begin_with(const struct cmd_context *ctx, const struct change_options *options,
                   struct change *ret_change, struct err *e)
{
    struct change_options complete = *options;
    struct store_author author = {.command = ctx->line};
    struct actor actor;
    int r;

    actor_read(&actor);
    author.uid = actor.uid;
    author.who = actor.name;
    author.origin = actor.from;
    complete.author = &author;
    r = change_begin(&complete, ret_change, e);
    return r < 0 ? fail_begin(r, e) : 0;
}

int cmd_begin(const struct cmd_context *ctx, struct change *ret_change, struct err *e)
{
    const struct change_options options = {
        .state = ctx->state,
        .bpffs = ctx->bpffs,
        .dry_run = ctx->dry_run,
        .store_only = ctx->store_only,
    };
    int r = cmd_begin_with(ctx, &options, ret_change, e);

    if (r < 0)
        return r;
    if (ret_change->healed)
        out_note(&ctx->out, "the kernel was behind the store and was brought in step first\n");
    if (ret_change->problem.message[0])
        out_warn(&ctx->out, "%s: smtpgate status\n", ret_change->problem.message);
    return 0;
}

int cmd_confirm(const struct cmd_context *ctx, const char *what, struct err *e)
{
    char question[512];
    int answer;

    if (ctx->dry_run)
        out_note(&ctx->out, "%s (asked first, without -n)\n", what);
    if (ctx->yes || ctx->dry_run)
        return 0;
    snprintf(question, sizeof(question), "%s Go on?", what);
    answer = out_ask(question);
    if (answer == 1)
        return 0;
    if (answer == 0)
        return err_set(e, -ECANCELED, EXIT_CONFIRM, "not confirmed; nothing changed");
    err_set(e, 0, EXIT_CONFIRM, "%s This wants a confirmation; nothing changed", what);
    err_hint(e, "repeat it with -y");
    return -ECANCELED;
}

const char *cmd_ports(const struct store_settings *settings, char buf[CMD_PORTS_MAX])
{
    size_t used = 0;
    unsigned int i;

    buf[0] = '\0';
    for (i = 0; i < settings->n_ports; i++)
        if (settings->ports[i].guarded)
            used += (size_t)snprintf(buf + used, CMD_PORTS_MAX - used, "%s%u", used ? ", " : "",
                                     settings->ports[i].port);
    return buf;
}

void cmd_say_opened(const struct cmd_context *ctx, const struct store_settings *before,
                    const struct store_settings *after)
{
    struct store_settings opened = *before;
    char ports[CMD_PORTS_MAX];
    unsigned int i, j;

    for (i = 0; i < opened.n_ports; i++)
        for (j = 0; j < after->n_ports; j++)
            if (after->ports[j].port == opened.ports[i].port && after->ports[j].guarded)
                opened.ports[i].guarded = false;
    if (*cmd_ports(&opened, ports) && before->on)
        out_warn(&ctx->out, "not guarded any more, and open to every source: %s\n", ports);
}

const char *cmd_entry(const struct store_entry *entry, char buf[CMD_ENTRY_MAX])
{
    char who[WHO_TEXT_MAX], account[CMD_ACCOUNT_MAX], until[OUT_TIME_MAX];
    char remark[REMARK_MAX + 1];

    text_escape(entry->remark, remark, sizeof(remark));
    text_escape(entry->account, account, sizeof(account));
    out_local_time(entry->expires, until);
    snprintf(buf, CMD_ENTRY_MAX, "#%lld %s%s%s%s%s%s%s%s", (long long)entry->id,
             who_print(&entry->who, who), *account ? " of account " : "", account,
             *until ? " until " : "", until, *remark ? " (" : "", remark, *remark ? ")" : "");
    return buf;
}

int cmd_check_account(const struct cmd_context *ctx, struct err *e)
{
    return ctx->options[OPT_ACCOUNT] ? account_check(ctx->options[OPT_ACCOUNT], e) : 0;
}

void cmd_account(const struct cmd_context *ctx, const char *realm, struct account *ret_account)
{
    const char *name = ctx->options[OPT_ACCOUNT];

    account_resolve(name ? name : "", realm, ret_account);
}

static int fail_ends(struct err *e)
{
    err_set(e, 0, EXIT_USAGE, "--for, --until and --forever exclude each other; nothing changed");
    err_hint(e, "--for 8h, or --until '2026-12-01 18:00'");
    return -EINVAL;
}

/* @now may be ahead of the clock, which was set back then. */
static int fail_over(int64_t expires, int64_t now, struct err *e)
{
    char over[OUT_TIME_MAX], told[OUT_TIME_MAX];
    int64_t ahead = now - time(NULL);

    err_set(e, 0, EXIT_USAGE, "%s is over: it is %s now%s; nothing changed",
            out_local_time(expires, over), out_local_time(now, told),
            ahead > CMD_CLOCK_AHEAD_S ? " for the gate, which goes by the latest time it has seen"
                                      : "");
    err_hint(e, ahead > CMD_CLOCK_AHEAD_S ? "if this host's clock is right: smtpgate sync -y"
                                          : "give a later time, or how long: --for 8h");
    return -EINVAL;
}

int cmd_parse_end(const struct cmd_context *ctx, struct cmd_end *ret_end, struct err *e)
{
    const char *how_long = ctx->options[OPT_FOR], *until = ctx->options[OPT_UNTIL];
    struct cmd_end end = {.given = how_long || until || ctx->options[OPT_FOREVER]};
    int r = 0;

    if (!!how_long + !!until + !!ctx->options[OPT_FOREVER] > 1)
        return fail_ends(e);
    end.from_now = how_long != NULL;
    if (how_long)
        r = when_parse_duration(how_long, &end.seconds, e);
    if (until)
        r = when_parse_time(until, &end.seconds, e);
    /* Before anything is opened or made; the gate's time is never before the clock's. */
    if (r == 0 && until && end.seconds <= time(NULL))
        r = fail_over(end.seconds, time(NULL), e);
    if (r == 0)
        *ret_end = end;
    return r;
}

int cmd_resolve_end(const struct cmd_end *end, int64_t now, int64_t *ret_expires, struct err *e)
{
    int64_t expires = end->seconds + (end->from_now ? now : 0);

    if (end->given && end->seconds && expires <= now && !end->may_be_over)
        return fail_over(expires, now, e);
    *ret_expires = end->given ? expires : 0;
    return 0;
}

int cmd_fail_memory(struct err *e)
{
    return err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory; nothing changed");
}

int cmd_open_store(const struct cmd_context *ctx, struct store **ret_store, struct gate **ret_gate,
                   struct err *e)
{
    _cleanup_(gate_close) struct gate *gate = NULL;
    int r = gate_open_if_permitted(ctx->bpffs, &gate, e);

    if (r == 0)
        r = change_open_store(ctx->state, gate, STORE_READ, ret_store, e);
    if (r == 0)
        *ret_gate = TAKE_PTR(gate);
    return r;
}

int cmd_open_both(const struct cmd_context *ctx, struct store **ret_store, struct gate **ret_gate,
                  struct err *e)
{
    _cleanup_(gate_close) struct gate *gate = NULL;
    int r = gate_open(ctx->bpffs, false, &gate, e);

    if (r == 0)
        r = change_open_store(ctx->state, gate, STORE_READ, ret_store, e);
    if (r == 0)
        *ret_gate = TAKE_PTR(gate);
    return r;
}

json_t *cmd_use_json(int64_t known_since, int64_t now)
{
    return json_pack("{s:o}", "use_known_since",
                     out_json_time(known_since > now ? 0 : known_since));
}

void cmd_hint_number(const char *command, struct err *e)
{
    err_hint(e, "smtpgate help %s; an entry's number wants quotes: smtpgate %s '#3'", command,
             command);
}

const char *cmd_iface_label(const struct sync_iface *iface, char buf[CMD_NAME_MAX])
{
    return text_escape(iface->link.state == GATE_LINK_HERE ? iface->link.name : iface->row.name,
                       buf, CMD_NAME_MAX);
}

const char *cmd_time_left(int64_t seconds, char buf[32])
{
    if (seconds < 120)
        snprintf(buf, 32, "in %lld s", (long long)(seconds > 0 ? seconds : 0));
    else if (seconds < 120 * 60)
        snprintf(buf, 32, "in %lld min", (long long)seconds / 60);
    else if (seconds < 48 * 3600)
        snprintf(buf, 32, "in %lld h", (long long)seconds / 3600);
    else
        snprintf(buf, 32, "in %lld days", (long long)seconds / 86400);
    return buf;
}

const char *cmd_plan_end(const struct mode_plan *plan, int64_t now, char buf[CMD_PLAN_MAX])
{
    char time[OUT_TIME_MAX], left[32];

    buf[0] = '\0';
    if (plan->until)
        snprintf(buf, CMD_PLAN_MAX, " until %s (%s), then: %s", out_local_time(plan->until, time),
                 cmd_time_left(plan->until - now, left), mode_name(plan->then));
    return buf;
}

void cmd_say_attached(const struct cmd_context *ctx, const struct sync_result *result)
{
    const struct gate_attached *attached = &result->attached;
    char name[CMD_NAME_MAX];

    text_escape(result->name, name, sizeof(name));
    if (attached->xdp == GATE_XDP_NONE) {
        out_done(&ctx->out, "%s: replaced in place, in another network namespace\n", name);
        return;
    }
    if (!strcmp(name, "lo"))
        out_note(&ctx->out, "lo carries this host's own connections: local submission is judged"
                            " too now; list 127.0.0.1 and ::1 if it shall work\n");
    out_done(&ctx->out, "%s: %s, %s mode\n", name,
             attached->replaced ? "replaced in place" : "attached", gate_xdp_name(attached->xdp));
    if (attached->native_error)
        out_note(&ctx->out,
                 "%s: no native mode (%s), so generic, which is slower and has the same verdicts\n",
                 result->name,
                 attached->native_error == EOPNOTSUPP ? "the driver has none"
                                                      : strerror(attached->native_error));
}

json_t *cmd_attached_json(const struct sync_result *result)
{
    char name[CMD_NAME_MAX];

    return json_pack("{s:s, s:b, s:s, s:b}", "name", text_escape(result->name, name, sizeof(name)),
                     "attached", true, "xdp_mode", gate_xdp_name(result->attached.xdp), "replaced",
                     result->attached.replaced);
}
