/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * smtpgate: parses the command line, runs one row of the command table, prints the error if there
 * is one and turns it into the exit status. The only file that exits.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "rights.h"

/* What getopt_long gives for a long option; beyond all letters. */
enum {
    LONG_GLOBAL = 256,                         /* + enum cmd_global */
    LONG_COMMAND = LONG_GLOBAL + GLOBAL_COUNT, /* + enum cmd_option */
};

/* The letters of cmd_globals. */
#define GLOBAL_SHORT "jnyqvh"

struct invocation {
    struct cmd_context ctx;
    const struct cmd *cmd;
    bool help, version;
};

static const char *environment_or(const char *name, const char *fallback)
{
    const char *value = secure_getenv(name);

    return value && *value ? value : fallback;
}

static struct option long_option(const struct cmd_option_row *row, int value)
{
    return (struct option){row->name, row->value ? required_argument : no_argument, NULL, value};
}

/* Global options, then those of @cmd (which may be NULL), then the end. */
static void build_options(const struct cmd *cmd, struct option *options)
{
    size_t n = 0;
    int i;

    for (i = 0; i < GLOBAL_COUNT; i++)
        options[n++] = long_option(&cmd_globals[i].option, LONG_GLOBAL + i);
    for (i = 0; cmd && i < OPT_COUNT; i++)
        if (cmd->options & 1U << i)
            options[n++] = long_option(&cmd_options[i], LONG_COMMAND + i);
    options[n] = (struct option){0};
}

/* An option of a command stands there once: of two names the first would be lost silently. */
static int take_option(struct invocation *inv, int option, struct err *e)
{
    switch (option) {
    case 'j':
    case LONG_GLOBAL + GLOBAL_JSON:
        inv->ctx.out.json = true;
        break;
    case 'n':
    case LONG_GLOBAL + GLOBAL_DRY_RUN:
        inv->ctx.dry_run = true;
        break;
    case 'y':
    case LONG_GLOBAL + GLOBAL_YES:
        inv->ctx.yes = true;
        break;
    case 'q':
    case LONG_GLOBAL + GLOBAL_QUIET:
        inv->ctx.out.quiet = true;
        break;
    case 'v':
    case LONG_GLOBAL + GLOBAL_VERBOSE:
        inv->ctx.verbose = true;
        break;
    case LONG_GLOBAL + GLOBAL_STATE:
        inv->ctx.state = optarg;
        break;
    case LONG_GLOBAL + GLOBAL_BPFFS:
        inv->ctx.bpffs = optarg;
        break;
    case 'h':
    case LONG_GLOBAL + GLOBAL_HELP:
        inv->help = true;
        break;
    case LONG_GLOBAL + GLOBAL_VERSION:
        inv->version = true;
        break;
    default:
        if (inv->ctx.options[option - LONG_COMMAND]) {
            err_set(e, 0, EXIT_USAGE, "--%s is given twice",
                    cmd_options[option - LONG_COMMAND].name);
            err_hint(e, "smtpgate help %s", inv->cmd->name);
            return -EINVAL;
        }
        inv->ctx.options[option - LONG_COMMAND] = optarg ? optarg : "";
        break;
    }
    return 0;
}

/* What could be meant, else where it is written. @word stands in the line as an option. */
static void hint_option(const struct cmd *cmd, const char *word, struct err *e)
{
    char name[32] = "";
    const char *like;

    if (!strncmp(word, "--", 2))
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    like = cmd_find_like(cmd, name);
    if (like && cmd)
        err_hint(e, "did you mean: smtpgate %s --%s", cmd->name, like);
    else if (like)
        err_hint(e, "did you mean: smtpgate --%s", like);
    else
        err_hint(e, cmd ? "smtpgate help %s" : "smtpgate help", cmd ? cmd->name : "");
}

/* "-1": was meant as a value. */
static void hint_number(const struct cmd *cmd, char **argv, struct err *e)
{
    bool limit = cmd->run == cmd_set;

    for (; limit && *argv && strcmp(*argv, "limit") != 0; argv++)
        ;
    if (limit && *argv)
        err_hint(e, "smtpgate set limit none, or a number from 1");
    else
        err_hint(e,
                 "a word that begins with - is an option, unless -- stands before it: smtpgate"
                 " help %s",
                 cmd->name);
}

static int fail_option(const struct invocation *inv, int option, char **argv, struct err *e)
{
    const char *name = inv->cmd ? inv->cmd->name : NULL;
    char shown[64], letter[3] = {'-', (char)optopt, '\0'};
    const char *word = optopt && optopt < 256 ? letter : argv[optind - 1];

    text_escape(word, shown, sizeof(shown));
    if (option == ':') {
        err_set(e, 0, EXIT_USAGE, "%s wants a value", shown);
        err_hint(e, name ? "smtpgate help %s" : "smtpgate help", name);
        return -EINVAL;
    }
    err_set(e, 0, EXIT_USAGE, "there is no option %s%s%s", shown, name ? " for " : "",
            name ? name : "");
    if (inv->cmd && optopt >= '0' && optopt <= '9')
        hint_number(inv->cmd, argv, e);
    else
        hint_option(inv->cmd, word, e);
    return -EINVAL;
}

/* The row of a long option written out in full, or NULL. */
static const struct option *find_long(const struct option *options, const char *word, size_t len)
{
    for (; options->name; options++)
        if (strlen(options->name) == len && !strncmp(options->name, word, len))
            return options;
    return NULL;
}

/*
 * getopt_long takes unambiguous beginnings too; here options are written out, so that one to come
 * never changes what an old script means. Unknown ones are left to getopt_long unless they begin
 * like a known one.
 */
static int check_long_words(const struct invocation *inv, const struct option *options, int argc,
                            char **argv, bool stop_at_word, struct err *e)
{
    char shown[64];
    int i;

    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *word = argv[i] + 2;
        const struct option *option;

        if (strncmp(argv[i], "--", 2) != 0) {
            if (stop_at_word && argv[i][0] != '-')
                break;
            continue;
        }
        option = find_long(options, word, strcspn(word, "="));
        text_escape(argv[i], shown, sizeof(shown));
        if (!option) {
            err_set(e, 0, EXIT_USAGE, "there is no option %s%s%s", shown, inv->cmd ? " for " : "",
                    inv->cmd ? inv->cmd->name : "");
            hint_option(inv->cmd, argv[i], e);
            return -EINVAL;
        } else if (option->has_arg == no_argument && strchr(word, '=')) {
            err_set(e, 0, EXIT_USAGE, "--%s takes no value", option->name);
        } else {
            i += option->has_arg == required_argument && !strchr(word, '=');
            continue;
        }
        err_hint(e, inv->cmd ? "smtpgate help %s" : "smtpgate help",
                 inv->cmd ? inv->cmd->name : "");
        return -EINVAL;
    }
    return 0;
}

/*
 * Two passes over the words: up to the command with the global options only, then the rest with the
 * command's own too. "+" stops at the first word, ":" tells a missing value from an unknown option.
 */
static int parse_options(struct invocation *inv, const char *mode, int argc, char **argv,
                         struct err *e)
{
    struct option options[GLOBAL_COUNT + OPT_COUNT + 1];
    int option, r;

    build_options(inv->cmd, options);
    r = check_long_words(inv, options, argc, argv, mode[0] == '+', e);
    if (r < 0)
        return r;
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, mode, options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return fail_option(inv, option, argv, e);
        r = take_option(inv, option, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_args(const struct invocation *inv, struct err *e)
{
    const struct cmd *cmd = inv->cmd;
    char shown[64];

    if (!*inv->ctx.state || !*inv->ctx.bpffs) {
        err_set(e, 0, EXIT_USAGE, "--%s wants a directory", *inv->ctx.state ? "bpffs" : "state");
        err_hint(e, "smtpgate help");
        return -EINVAL;
    }
    if (inv->ctx.n_args < cmd->min_args)
        err_set(e, 0, EXIT_USAGE, "%s is missing", cmd->args);
    else if (inv->ctx.n_args > cmd->max_args)
        err_set(e, 0, EXIT_USAGE, "\"%s\" is one word too many",
                text_escape(inv->ctx.args[cmd->max_args], shown, sizeof(shown)));
    else
        return 0;
    if (cmd->run == cmd_edit && !inv->ctx.n_args)
        cmd_hint_number(cmd->name, e);
    else
        err_hint(e, "smtpgate help %s", cmd->name);
    return -EINVAL;
}

/* The words after the program's name, as one would type them, cut where @line ends. */
static void join_words(int argc, char **argv, char *line, size_t size)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "@%+=:,./-_";
    char word[512];
    size_t used = 0;
    int i;

    line[0] = '\0';
    for (i = 1; i < argc && used < size - 1; i++) {
        const char *quote = *argv[i] && strspn(argv[i], plain) == strlen(argv[i]) ? "" : "'";
        int wrote;

        text_escape(argv[i], word, sizeof(word));
        wrote = snprintf(line + used, size - used, "%s%s%s%s", used ? " " : "", quote, word, quote);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (used < size)
        return;
    /* Cut between characters, with a sign of it. */
    used = size - 4;
    while (used && ((unsigned char)line[used] & 0xc0) == 0x80)
        used--;
    snprintf(line + used, size - used, "...");
}

static int parse(struct invocation *inv, int argc, char **argv, struct err *e)
{
    static char status[] = "status", *bare[] = {status, NULL};
    int r = parse_options(inv, "+:" GLOBAL_SHORT, argc, argv, e);

    if (r < 0)
        return r;
    argc -= optind;
    argv += optind;
    if (argc == 0) {
        argc = 1;
        argv = bare;
    }
    if (inv->version || (inv->help && argv == bare))
        return 0;
    inv->cmd = cmd_find(argv[0], e);
    if (!inv->cmd)
        return -EINVAL;
    r = parse_options(inv, ":" GLOBAL_SHORT, argc, argv, e);
    if (r < 0)
        return r;
    inv->ctx.args = argv + optind;
    inv->ctx.n_args = (size_t)(argc - optind);
    return inv->help || inv->version ? 0 : check_args(inv, e);
}

static int run(struct invocation *inv, struct err *e)
{
    struct cmd_context help = inv->ctx;
    char *topic[] = {inv->cmd ? (char *)inv->cmd->name : NULL, NULL};

    if (inv->version) {
        out_text(&inv->ctx.out, "smtpgate %s\n", SG_VERSION);
        out_json(&inv->ctx.out, json_pack("{s:s}", "version", SG_VERSION));
        return 0;
    }
    if (inv->help) {
        help.args = topic;
        help.n_args = inv->cmd ? 1 : 0;
        return cmd_help(&help, e);
    }
    gate_set_verbose(inv->ctx.verbose);
    return inv->cmd->run(&inv->ctx, e);
}

/* For an error in the line itself, perhaps before its -j was reached. */
static bool wants_json(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--json") ||
            (argv[i][0] == '-' && strspn(argv[i] + 1, GLOBAL_SHORT) == strlen(argv[i] + 1) &&
             strchr(argv[i], 'j')))
            return true;
    return false;
}

/*
 * A descriptor that the caller closed would be the next file's that is opened, and what is printed
 * would land in it. Opened the wrong way round, so that reading and printing there still fail: an
 * input that is not there is no empty list.
 */
static void hold_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", fcntl(STDIN_FILENO, F_GETFD) < 0 ? O_WRONLY : O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    struct invocation inv = {
        .ctx = {.state = environment_or("SMTPGATE_STATE", "/var/lib/smtpgate"),
                .bpffs = environment_or("SMTPGATE_BPFFS", "/sys/fs/bpf/smtpgate")}};
    struct err e = {0};
    char line[256];
    int r;

    rights_clean_environment();
    join_words(argc, argv, line, sizeof(line));
    inv.ctx.line = line;
    hold_standard_descriptors();
    r = parse(&inv, argc, argv, &e);
    if (r < 0)
        inv.ctx.out.json |= wants_json(argc, argv);
    if (r == 0)
        r = run(&inv, &e);
    if (r >= 0 && out_flush() < 0) {
        r = err_set(&e, -EIO, EXIT_REFUSED,
                    "could not write the answer (%s); the command itself was carried out",
                    strerror(errno));
        inv.ctx.out.json = false;
    }
    if (r < 0) {
        out_error(&inv.ctx.out, inv.cmd ? inv.cmd->name : NULL, &e);
        out_flush();
        return e.code ? (int)e.code : EXIT_REFUSED;
    }
    return r;
}
