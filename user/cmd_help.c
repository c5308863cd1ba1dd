/* SPDX-License-Identifier: GPL-2.0-only */
/* help: prints the command table. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"

/* In two columns, so that all of them fit a small terminal. */
static void help_all(const struct cmd_context *ctx)
{
    size_t count = 0, rows, i;

    while (cmd_table[count].name)
        count++;
    rows = (count + 1) / 2;
    out_text(&ctx->out, "Lets only listed addresses reach the SMTP ports of this host.\n\n"
                        "smtpgate [-jnyqv] [--state DIR] [--bpffs DIR] COMMAND ...\n\n");
    for (i = 0; i < rows; i++) {
        const struct cmd *left = &cmd_table[i], *right = &cmd_table[i + rows];

        if (i + rows < count)
            out_text(&ctx->out, "  %-8s %-29s%-8s %s\n", left->name, left->brief, right->name,
                     right->brief);
        else
            out_text(&ctx->out, "  %-8s %s\n", left->name, left->brief);
    }
    out_text(&ctx->out, "\nsmtpgate help COMMAND begins with examples.\n"
                        "-j JSON  -n change nothing, show  -y no questions  -q quiet"
                        "  -v libbpf's words\n");
    out_text(&ctx->out,
             "exit: 0 yes  1 no  2 wrong use  3 unconfirmed  4 denied  5 refused  6 busy\n");
}

/* ---- how one command is written ---- */

#define USAGE_WIDTH  80
#define USAGE_INDENT 4

/* A line that goes on in the next one where it would be too long. */
struct usage {
    const struct out *out;
    size_t column;
};

static void put_word(struct usage *usage, const char *word)
{
    size_t len = strlen(word);

    if (usage->column && usage->column + 1 + len > USAGE_WIDTH) {
        out_text(usage->out, "\n%*s", USAGE_INDENT, "");
        usage->column = USAGE_INDENT;
    } else if (usage->column) {
        out_text(usage->out, " ");
        usage->column++;
    }
    out_text(usage->out, "%s", word);
    usage->column += len;
}

static void say_usage(const struct cmd_context *ctx, const struct cmd *cmd)
{
    struct usage usage = {.out = &ctx->out};
    char word[64];
    int i;

    put_word(&usage, "smtpgate");
    put_word(&usage, cmd->name);
    if (*cmd->args)
        put_word(&usage, cmd->args);
    for (i = 0; i < OPT_COUNT; i++) {
        const struct cmd_option_row *option = &cmd_options[i];

        snprintf(word, sizeof(word), "--%s", option->name);
        /* Where it may stand instead of an argument, args has it. */
        if (!(cmd->options & 1U << i) || strstr(cmd->args, word))
            continue;
        snprintf(word, sizeof(word), "[--%s%s%s]", option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        put_word(&usage, word);
    }
    out_text(&ctx->out, "\n");
}

static void help_one(const struct cmd_context *ctx, const struct cmd *cmd)
{
    int i;

    out_text(&ctx->out, "%s\n", cmd->examples);
    say_usage(ctx, cmd);
    out_text(&ctx->out, "%s\n", cmd->summary);
    if (cmd->details)
        out_text(&ctx->out, "%s", cmd->details);
    for (i = 0; i < OPT_COUNT; i++)
        if (cmd->options & 1U << i)
            out_text(&ctx->out, "  --%s %s  %s\n", cmd_options[i].name,
                     cmd_options[i].value ? cmd_options[i].value : "", cmd_options[i].help);
}

/* ---- -j: all of the table, which man page, completions and schemas are held against ---- */

static json_t *option_json(const struct cmd_option_row *option)
{
    return json_pack("{s:s, s:o, s:s}", "name", option->name, "value",
                     option->value ? json_string(option->value) : json_null(), "help",
                     option->help);
}

/* The lines as one would type them. */
static json_t *examples_json(const char *examples)
{
    json_t *lines = json_array();
    size_t len;

    for (; *examples; examples += len + (examples[len] == '\n')) {
        examples += strspn(examples, " ");
        len = strcspn(examples, "\n");
        json_array_append_new(lines, json_stringn(examples, len));
    }
    return lines;
}

static json_t *help_json(const struct cmd *cmd)
{
    json_t *names = json_array(), *options = json_array();
    int i;

    for (i = 0; i < OPT_COUNT; i++) {
        if (!(cmd->options & 1U << i))
            continue;
        json_array_append_new(names, json_string(cmd_options[i].name));
        json_array_append_new(options, option_json(&cmd_options[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o}", "name", cmd->name, "args",
                     cmd->args, "summary", cmd->summary, "options", names, "brief", cmd->brief,
                     "examples", examples_json(cmd->examples), "details",
                     cmd->details ? json_string(cmd->details) : json_null(), "option_help",
                     options);
}

static json_t *globals_json(void)
{
    json_t *all = json_array();
    int i;

    for (i = 0; i < GLOBAL_COUNT; i++) {
        json_t *row = option_json(&cmd_globals[i].option);

        json_object_set_new(row, "letter",
                            cmd_globals[i].letter ? json_stringn(&cmd_globals[i].letter, 1)
                                                  : json_null());
        json_array_append_new(all, row);
    }
    return all;
}

int cmd_help(const struct cmd_context *ctx, struct err *e)
{
    const struct cmd *cmd = NULL;
    json_t *commands;

    if (ctx->n_args) {
        cmd = cmd_find(ctx->args[0], e);
        if (!cmd)
            return -EINVAL;
        help_one(ctx, cmd);
        out_json(&ctx->out, help_json(cmd));
        return 0;
    }
    commands = json_array();
    for (cmd = cmd_table; cmd->name; cmd++)
        json_array_append_new(commands, help_json(cmd));
    help_all(ctx);
    out_json(&ctx->out,
             json_pack("{s:o, s:o}", "commands", commands, "global_options", globals_json()));
    return 0;
}
