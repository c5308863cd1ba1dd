/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Commands: one row of a table each; main dispatches by it, help prints it, the man page is checked
 * against it.
 */
#ifndef SMTPGATE_CMD_H
#define SMTPGATE_CMD_H

#include <stdbool.h>
#include <stddef.h>

#include "change.h"
#include "err.h"
#include "out.h"
#include "sync.h"
#include "view.h"

/* Options that belong to a command. */
enum cmd_option {
    OPT_ACCOUNT,
    OPT_ACCOUNTS,
    OPT_ALL,
    OPT_BOOT,
    OPT_CHECK,
    OPT_CONFIRM,
    OPT_EVERY,
    OPT_EXPIRED,
    OPT_FOR,
    OPT_FORMAT,
    OPT_FOREVER,
    OPT_KICK,
    OPT_LINT,
    OPT_LISTEN,
    OPT_METRICS_FORMAT,
    OPT_MODE,
    OPT_NAGIOS,
    OPT_NAMES,
    OPT_REMARK,
    OPT_SINCE,
    OPT_TEXTFILE,
    OPT_TOP,
    OPT_TROUBLE,
    OPT_UNTIL,
    OPT_UNUSED,
    OPT_WAIT,
    OPT_WATCH,
    OPT_WITH,
    OPT_COUNT,
};

struct cmd_option_row {
    const char *name;
    const char *value; /* placeholder; NULL takes none */
    const char *help;
};

extern const struct cmd_option_row cmd_options[OPT_COUNT];

/* Options that every command takes, before or after its name. */
enum cmd_global {
    GLOBAL_JSON,
    GLOBAL_DRY_RUN,
    GLOBAL_YES,
    GLOBAL_QUIET,
    GLOBAL_VERBOSE,
    GLOBAL_STATE,
    GLOBAL_BPFFS,
    GLOBAL_HELP,
    GLOBAL_VERSION,
    GLOBAL_COUNT,
};

struct cmd_global_row {
    char letter; /* '\0': has none */
    struct cmd_option_row option;
};

extern const struct cmd_global_row cmd_globals[GLOBAL_COUNT];

/* What main parsed. Strings belong to argv or the environment. */
struct cmd_context {
    const char *state;
    const char *bpffs;
    bool dry_run;
    bool store_only; /* with dry_run, of change_options */
    bool yes;
    bool verbose;
    struct out out;
    const char *line;               /* the command as it was typed, safe to show, perhaps cut */
    const char *options[OPT_COUNT]; /* NULL not given; "" given and takes no value */
    char **args;
    size_t n_args;
};

struct cmd {
    const char *name;
    const char *args;
    const char *brief; /* at most CMD_BRIEF_MAX, for the list of all commands */
    const char *summary;
    const char *examples; /* lines, indented by two */
    const char *details;  /* lines; may be NULL */
    unsigned int options; /* bits 1 << OPT_... */
    size_t min_args, max_args;
    /* 0, or -errno with the error set, or an exit_code above 0 when that is the answer. */
    int (*run)(const struct cmd_context *ctx, struct err *e);
};

#define CMD_BRIEF_MAX 28

/* Ends with a row whose name is NULL. */
extern const struct cmd cmd_table[];

/* NULL when there is no such command; @e says so and suggests the nearest. */
const struct cmd *cmd_find(const char *name, struct err *e);

/* The option of @cmd (may be NULL), or of all commands, that is spelled like @word; NULL: none. */
const char *cmd_find_like(const struct cmd *cmd, const char *word);

int cmd_add(const struct cmd_context *ctx, struct err *e);
int cmd_apply(const struct cmd_context *ctx, struct err *e);
int cmd_attach(const struct cmd_context *ctx, struct err *e);
int cmd_blocked(const struct cmd_context *ctx, struct err *e);
int cmd_check(const struct cmd_context *ctx, struct err *e);
int cmd_confirm_mode(const struct cmd_context *ctx, struct err *e);
int cmd_delete(const struct cmd_context *ctx, struct err *e);
int cmd_detach(const struct cmd_context *ctx, struct err *e);
int cmd_diff(const struct cmd_context *ctx, struct err *e);
int cmd_disable(const struct cmd_context *ctx, struct err *e);
int cmd_doctor(const struct cmd_context *ctx, struct err *e);
int cmd_edit(const struct cmd_context *ctx, struct err *e);
int cmd_enforce(const struct cmd_context *ctx, struct err *e);
int cmd_export(const struct cmd_context *ctx, struct err *e);
int cmd_exporter(const struct cmd_context *ctx, struct err *e);
int cmd_help(const struct cmd_context *ctx, struct err *e);
int cmd_history(const struct cmd_context *ctx, struct err *e);
int cmd_import(const struct cmd_context *ctx, struct err *e);
int cmd_list(const struct cmd_context *ctx, struct err *e);
int cmd_lint(const struct cmd_context *ctx, struct err *e); /* list --lint */
int cmd_metrics(const struct cmd_context *ctx, struct err *e);
int cmd_observe(const struct cmd_context *ctx, struct err *e);
int cmd_pause(const struct cmd_context *ctx, struct err *e);
int cmd_policy(const struct cmd_context *ctx, struct err *e);
int cmd_preview(const struct cmd_context *ctx, struct err *e);
int cmd_set(const struct cmd_context *ctx, struct err *e);
int cmd_stats(const struct cmd_context *ctx, struct err *e);
int cmd_status(const struct cmd_context *ctx, struct err *e);
int cmd_sync(const struct cmd_context *ctx, struct err *e);
int cmd_undo(const struct cmd_context *ctx, struct err *e);
int cmd_watch(const struct cmd_context *ctx, struct err *e);
/* watch on a terminal; -ENOTTY: it cannot be drawn on, and nothing was done. */
int cmd_watch_live(const struct cmd_context *ctx, int64_t every_s, struct err *e);

/* ---- what several commands share ---- */

/* The frame for a command that changes the list or the settings. */
int cmd_begin(const struct cmd_context *ctx, struct change *ret_change, struct err *e);
/* With other options, and nothing said; who runs the command is added to them. */
int cmd_begin_with(const struct cmd_context *ctx, const struct change_options *options,
                   struct change *ret_change, struct err *e);

/*
 * True to go on: -y, -n, or yes on the terminal. Else @e is set, EXIT_CONFIRM.
 * @what is the sentence that says what will happen.
 */
int cmd_confirm(const struct cmd_context *ctx, const char *what, struct err *e);

/* "25, 465, 587" of the guarded ports. Returns @buf. */
#define CMD_PORTS_MAX 128
const char *cmd_ports(const struct store_settings *settings, char buf[CMD_PORTS_MAX]);

/* Warns of ports that were guarded and are not any more, while the gate is on. */
void cmd_say_opened(const struct cmd_context *ctx, const struct store_settings *before,
                    const struct store_settings *after);

/* A name of an account as it may be shown, perhaps cut. */
#define CMD_ACCOUNT_MAX 128

/* The name given with --account, if any, is one that can be listed. */
int cmd_check_account(const struct cmd_context *ctx, struct err *e);

/* The account of --account, which is a good name, or "" for the host list. */
void cmd_account(const struct cmd_context *ctx, const char *realm, struct account *ret_account);

int cmd_fail_memory(struct err *e);

/* When something is to end, as it was given. */
struct cmd_end {
    bool given;
    bool from_now; /* @seconds is how long, else Unix seconds */
    bool may_be_over;
    int64_t seconds; /* 0: never */
};

/* The gate's time is ahead of the wall clock by more than one would not notice. */
#define CMD_CLOCK_AHEAD_S 60

/* --for, --until or --forever, of which one may be given. */
int cmd_parse_end(const struct cmd_context *ctx, struct cmd_end *ret_end, struct err *e);
/* Unix seconds; 0 never, or not given. A time that is over is an error. */
int cmd_resolve_end(const struct cmd_end *end, int64_t now, int64_t *ret_expires, struct err *e);

/* "#3 192.0.2.0/24 (office)", "#4 192.0.2.7 of account alice". Returns @buf. */
#define CMD_ENTRY_MAX 512
const char *cmd_entry(const struct store_entry *entry, char buf[CMD_ENTRY_MAX]);

/*
 * For reading commands: the store, or an empty one where there is none, and what is in the kernel.
 * A store that is missing under a gate is an error: nobody shall be shown an empty list for it.
 */
int cmd_open_both(const struct cmd_context *ctx, struct store **ret_store, struct gate **ret_gate,
                  struct err *e);
/* The same for who may read the store but not look at the kernel: the gate may be hidden. */
int cmd_open_store(const struct cmd_context *ctx, struct store **ret_store, struct gate **ret_gate,
                   struct err *e);

/* Since when use is counted (use_known_since), the first member of an object; null: it is not. */
json_t *cmd_use_json(int64_t known_since, int64_t now);

/* Bad lines of a file that are reported; all of them with -v. */
#define CMD_REPORTED_LINES 20

/* An interface's name as it may be shown: the kernel lets it hold nearly any byte. */
#define CMD_NAME_MAX (4 * IF_NAMESIZE)

/* Where WHO is missing: what a shell leaves of "delete #3". */
void cmd_hint_number(const char *command, struct err *e);

/* The name it has now, as it may be shown. Returns @buf. */
const char *cmd_iface_label(const struct sync_iface *iface, char buf[CMD_NAME_MAX]);

/* What an interface got from attach or sync, for people and for programs. */
void cmd_say_attached(const struct cmd_context *ctx, const struct sync_result *result);
json_t *cmd_attached_json(const struct sync_result *result);

/* Mode and health in the words of status. */
#define CMD_MODE_LINE_MAX 320
struct cmd_health {
    bool good;
    char mode[CMD_MODE_LINE_MAX]; /* "enforce: unlisted sources are dropped", and what follows */
    char text[512];               /* interfaces and list; what is wrong with them */
};
void cmd_read_health(const struct view *view, struct cmd_health *ret_health);

/* " until 2026-12-01 18:00 (in 2 min), then: observe", or "" where nothing follows. Returns @buf.
 */
#define CMD_PLAN_MAX 128
const char *cmd_plan_end(const struct mode_plan *plan, int64_t now, char buf[CMD_PLAN_MAX]);

/* "in 2 min", "in 3 days"; returns @buf. */
const char *cmd_time_left(int64_t seconds, char buf[32]);

#endif
