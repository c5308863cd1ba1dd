/* SPDX-License-Identifier: GPL-2.0-only */
/* See outcome.h. */
#include "outcome.h"

#include <stdio.h>
#include <string.h>

#include "listfile.h"
#include "when.h"

void outcome_free(struct outcome *outcome)
{
    json_decref(outcome->entries);
}

static bool is_change(const char *result)
{
    return strcmp(result, "already listed") != 0 && strcmp(result, "unchanged") != 0;
}

/* As a line of a list file, with what happens to it in front. */
static void say_line(const struct out *out, const char *result, const struct store_entry *entry)
{
    struct listfile_entry line = {.who = entry->who, .until = entry->expires};
    char text[LISTFILE_TEXT_MAX];

    snprintf(line.account, sizeof(line.account), "%s", entry->account);
    snprintf(line.remark, sizeof(line.remark), "%s", entry->remark);
    out_text(out, "%c %s\n",
             *result == 'a'   ? '+'
             : *result == 'd' ? '-'
                              : '~',
             listfile_print(&line, text));
}

/* Entries that a JSON object takes; beyond, only counts. */
#define ENTRIES_MAX 1000

void outcome_add(struct outcome *outcome, const char *result, const struct store_entry *entry)
{
    char who[WHO_TEXT_MAX];

    outcome->unchanged += !is_change(result);
    if (outcome->lines && is_change(result))
        say_line(outcome->lines, result, entry);
    if (outcome->brief && (!is_change(result) || !outcome->lines))
        return;
    if (outcome->brief && json_array_size(outcome->entries) >= ENTRIES_MAX) {
        outcome->incomplete = true;
        return;
    }
    json_array_append_new(outcome->entries,
                          json_pack("{s:I, s:s, s:o, s:s, s:o, s:s}", "id", (json_int_t)entry->id,
                                    "who", who_print(&entry->who, who), "account",
                                    out_json_text(entry->account), "remark", entry->remark,
                                    "expires", out_json_time(entry->expires), "result", result));
}

static void say_counts(const struct cmd_context *ctx, const struct outcome *outcome)
{
    char deleted[32] = "";

    if (outcome->deleted)
        snprintf(deleted, sizeof(deleted), "%u deleted, ", outcome->deleted);
    out_done(&ctx->out, "%s%u added, %s%u edited, %u already listed\n",
             ctx->dry_run ? "would be: " : "", outcome->added, deleted, outcome->edited,
             outcome->unchanged);
}

/* For a person, of an RFC 3339 time; "" for NULL. */
static const char *local_time(const char *text, char buf[OUT_TIME_MAX])
{
    int64_t seconds = 0;

    if (text)
        when_parse_rfc3339(text, &seconds, NULL);
    return out_local_time(seconds, buf);
}

void outcome_say_entries(const struct cmd_context *ctx, const struct outcome *outcome)
{
    const char *who, *remark, *result;
    char time[OUT_TIME_MAX];
    json_int_t id;
    json_t *item;
    size_t i;

    if (outcome->brief) {
        say_counts(ctx, outcome);
        return;
    }
    json_array_foreach (outcome->entries, i, item) {
        const char *account = json_string_value(json_object_get(item, "account"));
        const char *until = json_string_value(json_object_get(item, "expires"));
        char name[4 * ACCOUNT_MAX + 1], text[4 * REMARK_MAX + 1];

        if (json_unpack(item, "{s:I, s:s, s:s, s:s}", "id", &id, "who", &who, "remark", &remark,
                        "result", &result) < 0)
            continue;
        out_done(&ctx->out, "%s%s #%lld %s%s%s%s%s%s%s%s\n",
                 ctx->dry_run && is_change(result) ? "would be " : "", result, (long long)id, who,
                 account ? " of account " : "",
                 text_escape(account ? account : "", name, sizeof(name)), until ? " until " : "",
                 local_time(until, time), *remark ? " (" : "",
                 text_escape(remark, text, sizeof(text)), *remark ? ")" : "");
    }
}

static void say_on(const struct cmd_context *ctx, const struct change *change,
                   const struct outcome *outcome, const char *ports)
{
    const char *first = outcome->added == 1 ? "this is the first entry: " : "";

    if (outcome->mode_after != SG_MODE_ENFORCE)
        out_warn(&ctx->out, "%sthe gate %s on, but drops nothing (%s; smtpgate status)\n", first,
                 ctx->dry_run ? "would be" : "is now", mode_name(outcome->mode_after));
    else if (!ctx->dry_run && !change->guarding)
        out_warn(&ctx->out, "%sonce attached, the gate drops every other source on ports %s\n",
                 first, ports);
    else
        out_warn(&ctx->out, "%sthe gate %s on, and every other source is dropped on ports %s\n",
                 first, ctx->dry_run ? "would be" : "is now", ports);
}

static void say_off(const struct cmd_context *ctx, const struct outcome *outcome, const char *ports)
{
    out_warn(&ctx->out,
             ctx->dry_run
                 ? "the %s would be empty: the gate would be off, and every source would reach"
                   " ports %s\n"
                 : "the %s is empty: the gate is now off, and every source reaches ports %s\n",
             outcome->left.accounts ? "host list" : "list", ports);
}

void outcome_say_mode(const struct cmd_context *ctx, const struct change *change,
                      const struct outcome *outcome)
{
    char ports[CMD_PORTS_MAX];

    cmd_ports(&change->before, ports);
    if (outcome->mode_before == SG_MODE_OFF && outcome->mode_after != SG_MODE_OFF)
        say_on(ctx, change, outcome, ports);
    if (outcome->mode_before != SG_MODE_OFF && outcome->mode_after == SG_MODE_OFF)
        say_off(ctx, outcome, ports);
}

void outcome_say_unattached(const struct cmd_context *ctx, const struct change *change,
                            const struct outcome *outcome)
{
    if (ctx->dry_run || change->guarding ||
        !(outcome->added + outcome->deleted + outcome->edited + outcome->unchanged))
        return;
    if (change->attached)
        out_warn(&ctx->out, "stored, but no interface carries the gate now: smtpgate sync\n");
    else
        out_note(&ctx->out, "stored, but the gate is attached to no interface yet:"
                            " smtpgate attach IFACE\n");
}

void outcome_say_json(const struct cmd_context *ctx, const struct outcome *outcome)
{
    outcome_say_json_with(ctx, outcome, NULL, NULL);
}

void outcome_say_json_with(const struct cmd_context *ctx, const struct outcome *outcome,
                           const char *name, json_t *member)
{
    bool changed = outcome->added || outcome->deleted || outcome->edited ||
                   outcome->mode_before != outcome->mode_after;
    json_t *object = json_pack("{s:b, s:i, s:i, s:i, s:b, s:s, s:O}", "changed", changed, "added",
                               (int)outcome->added, "deleted", (int)outcome->deleted, "edited",
                               (int)outcome->edited, "dry_run", ctx->dry_run, "mode",
                               mode_name(outcome->mode_after), "entries", outcome->entries);

    if (outcome->incomplete)
        json_object_set_new(object, "entries_complete", json_false());
    if (member)
        json_object_set(object, name, member);
    out_json(&ctx->out, object);
}
