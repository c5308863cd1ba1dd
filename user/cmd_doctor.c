/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * doctor: one row of a table for each check, and the three ways to show what they found. Changes
 * nothing.
 */
#include <stdio.h>
#include <string.h>

#include "exam.h"

/* The numbers and the names are contract: new ones come last. */
static const struct {
    const char *name;
    void (*run)(struct exam *x);
} checks[] = {
    {"relay_password", exam_check_password},
    {"relay_auth", exam_check_auth},
    {"unguarded_auth", exam_check_unguarded},
    {"coverage", exam_check_coverage},
    {"kernel", exam_check_kernel},
    {"jit", exam_check_jit},
    {"bpffs", exam_check_pins},
    {"links", exam_check_links},
    {"xdp_mode", exam_check_xdp},
    {"list", exam_check_list},
    {"clock", exam_check_clock},
    {"ipv6", exam_check_families},
    {"firewall", exam_check_firewall},
    {"balancer", exam_check_leader},
    {"sysctls", exam_check_sysctls},
    {"mode", exam_check_mode},
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

/* In the output of a plugin a bar is where numbers begin. */
static const char *without_bars(const char *text, char *buf, size_t size)
{
    char *bar;

    snprintf(buf, size, "%s", text);
    for (bar = strchr(buf, '|'); bar; bar = strchr(bar, '|'))
        *bar = '/';
    return buf;
}

/* What mends the next result too is said there. */
static bool is_said_later(const struct doctor_list *results, size_t i)
{
    return i + 1 < results->count && results->items[i + 1].number == results->items[i].number &&
           !strcmp(results->items[i + 1].remedy, results->items[i].remedy);
}

static void show_text(const struct cmd_context *ctx, const struct doctor_list *results)
{
    bool nagios = ctx->options[OPT_NAGIOS];
    char buf[512];
    size_t i;

    for (i = 0; i < results->count; i++) {
        const struct doctor_result *result = &results->items[i];

        if (ctx->out.quiet && result->status == DOCTOR_OK)
            continue;
        out_text(&ctx->out, "%2u %-7s %s\n", result->number, status_name(result->status),
                 nagios ? without_bars(result->message, buf, sizeof(buf)) : result->message);
        if (result->remedy[0] && !is_said_later(results, i))
            out_text(&ctx->out, "           hint: %s\n",
                     nagios ? without_bars(result->remedy, buf, sizeof(buf)) : result->remedy);
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

/* ---- as monitoring plugins do ---- */

/* Their exit codes. */
enum nagios {
    NAGIOS_OK = 0,
    NAGIOS_WARNING = 1,
    NAGIOS_CRITICAL = 2,
    NAGIOS_UNKNOWN = 3,
};

static size_t count_status(const struct doctor_list *results, enum doctor_status status)
{
    size_t i, count = 0;

    for (i = 0; i < results->count; i++)
        count += results->items[i].status == status;
    return count;
}

/* What could not be found out weighs more than a warning: that may be there for good. */
static const struct nagios_row {
    enum doctor_status status;
    enum nagios code;
    const char *word;
} nagios_rows[] = {
    {DOCTOR_FAIL, NAGIOS_CRITICAL, "CRITICAL"},
    {DOCTOR_UNKNOWN, NAGIOS_UNKNOWN, "UNKNOWN"},
    {DOCTOR_WARN, NAGIOS_WARNING, "WARNING"},
    {DOCTOR_OK, NAGIOS_OK, "OK"},
};

static int show_nagios(const struct cmd_context *ctx, const struct exam *x)
{
    const struct doctor_list *results = &x->results;
    const struct nagios_row *row = nagios_rows;
    char message[sizeof(results->items[0].message)] = "";
    size_t i, count;

    while (row->status != DOCTOR_OK && !count_status(results, row->status))
        row++;
    count = count_status(results, row->status);
    /* Where nothing is dropped, all else is small beside it: the mode, the last check, goes first.
     */
    for (i = 0; i < results->count && row->status != DOCTOR_OK; i++)
        if (results->items[i].status == row->status &&
            (!message[0] || results->items[i].number == ARRAY_SIZE(checks)))
            without_bars(results->items[i].message, message, sizeof(message));
    if (row->status == DOCTOR_OK)
        snprintf(message, sizeof(message), "%zu checks are well", count);
    out_text(&ctx->out, "SMTPGATE %s - %s", row->word, message);
    if (row->status != DOCTOR_OK && count > 1)
        out_text(&ctx->out, " (and %zu more)", count - 1);
    out_text(&ctx->out, "|ok=%zu warn=%zu fail=%zu unknown=%zu prefixes=%llu\n",
             count_status(results, DOCTOR_OK), count_status(results, DOCTOR_WARN),
             count_status(results, DOCTOR_FAIL), count_status(results, DOCTOR_UNKNOWN),
             (unsigned long long)x->step.prefixes);
    return row->code;
}

/* What kept it from running is said on standard output too: it is all that is shown. */
static int fail_nagios(const struct cmd_context *ctx, const struct err *problem)
{
    char shown[sizeof(problem->message)], message[sizeof(problem->message)];

    text_escape(problem->message, shown, sizeof(shown));
    out_text(&ctx->out, "SMTPGATE UNKNOWN - %s\n", without_bars(shown, message, sizeof(message)));
    return NAGIOS_UNKNOWN;
}

static int refuse_json(struct err *e)
{
    err_set(e, 0, EXIT_USAGE, "--nagios prints lines for a monitoring system, and no JSON");
    err_hint(e, "smtpgate doctor --nagios, or: smtpgate -j doctor");
    return -EINVAL;
}

/* ---- the command ---- */

static int run(struct exam *x, const struct cmd_context *ctx, struct err *e)
{
    int r = exam_begin(x, ctx, e);
    size_t i;

    if (r < 0)
        return r;
    for (i = 0; i < ARRAY_SIZE(checks); i++) {
        x->results.number = (unsigned int)i + 1;
        checks[i].run(x);
    }
    doctor_drop_outweighed(&x->results);
    doctor_join_ports(&x->results, &x->ports);
    return x->results.failed ? err_set(e, -ENOMEM, EXIT_REFUSED, "out of memory") : 0;
}

int cmd_doctor(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_exam_ struct exam x = {0};
    bool nagios = ctx->options[OPT_NAGIOS];
    int r = nagios && ctx->out.json ? refuse_json(e) : run(&x, ctx, e);

    if (r < 0)
        return nagios && !ctx->out.json ? fail_nagios(ctx, e) : r;
    if (nagios)
        r = show_nagios(ctx, &x);
    show_text(ctx, &x.results);
    show_json(ctx, &x.results);
    return nagios ? r : doctor_is_healthy(&x.results) ? 0 : EXIT_NO;
}
