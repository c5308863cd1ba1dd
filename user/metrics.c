/* SPDX-License-Identifier: GPL-2.0-only */
/* See metrics.h. Pure. */
#include "metrics.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "mode.h"

/* ---- the walk ---- */

#define LABELS_MAX 4

struct walk {
    const struct metrics *metrics;
    const struct metrics_sink *sink;
    const struct metrics_family *family;
    struct metrics_label labels[LABELS_MAX];
    size_t n_labels;
};

static void begin(struct walk *walk, const struct metrics_family *family)
{
    walk->family = family;
    walk->n_labels = 0;
    walk->sink->family(family, walk->sink->arg);
}

/* The label at place @at and, with it, how many there are. */
static void label(struct walk *walk, size_t at, const char *name, const char *value)
{
    walk->labels[at] = (struct metrics_label){name, value};
    walk->n_labels = at + 1;
}

static void put(const struct walk *walk, uint64_t value, bool infinite)
{
    const struct metrics_sample sample = {walk->family, walk->labels, walk->n_labels, value,
                                          infinite};

    walk->sink->sample(&sample, walk->sink->arg);
}

static void sample(const struct walk *walk, uint64_t value)
{
    put(walk, value, false);
}

static void gauge(struct walk *walk, const struct metrics_family *family, uint64_t value)
{
    begin(walk, family);
    sample(walk, value);
}

static uint64_t seconds(int64_t at)
{
    return at > 0 ? (uint64_t)at : 0;
}

static void walk_state(struct walk *walk)
{
    static const struct metrics_family build = {"smtpgate_build", METRICS_INFO, NULL,
                                                "The program's version."};
    static const struct metrics_family mode = {
        "smtpgate_mode", METRICS_GAUGE, NULL,
        "1 for the mode that is in force in the kernel, 0 for the others."};
    static const struct metrics_family until = {
        "smtpgate_mode_until_timestamp_seconds", METRICS_GAUGE, "seconds",
        "When the mode ends by itself (a pause, enforce --confirm), Unix time; 0: it stays."};
    static const enum sg_mode modes[] = {SG_MODE_OFF, SG_MODE_OBSERVE, SG_MODE_ENFORCE,
                                         SG_MODE_PAUSED};
    size_t i;

    begin(walk, &build);
    label(walk, 0, "version", walk->metrics->version);
    sample(walk, 1);
    begin(walk, &mode);
    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        label(walk, 0, "mode", mode_name(modes[i]));
        sample(walk, walk->metrics->mode == modes[i]);
    }
    gauge(walk, &until, seconds(walk->metrics->mode_until));
}

/* ---- interfaces and what they count ---- */

static void walk_attached(struct walk *walk)
{
    static const struct metrics_family expected = {"smtpgate_interfaces_expected", METRICS_GAUGE,
                                                   NULL, "Interfaces that the gate is to be on."};
    static const struct metrics_family attached = {
        "smtpgate_interface_attached", METRICS_GAUGE, NULL,
        "1 if the gate is on the interface in that XDP mode; only interfaces that it is to be on."};
    const struct metrics *metrics = walk->metrics;
    uint64_t wanted = 0;
    size_t i;

    for (i = 0; i < metrics->n_ifaces; i++)
        wanted += metrics->ifaces[i].wanted;
    gauge(walk, &expected, wanted);
    begin(walk, &attached);
    for (i = 0; i < metrics->n_ifaces; i++) {
        const struct metrics_iface *iface = &metrics->ifaces[i];

        if (!iface->wanted)
            continue;
        label(walk, 0, "interface", iface->name);
        label(walk, 1, "xdp_mode", "native");
        sample(walk, iface->attached == METRICS_XDP_NATIVE);
        label(walk, 1, "xdp_mode", "generic");
        sample(walk, iface->attached == METRICS_XDP_GENERIC);
    }
}

static void walk_families(struct walk *walk, const struct metrics_family *family, bool bytes)
{
    unsigned int f, verdict;
    size_t i;

    begin(walk, family);
    for (i = 0; i < walk->metrics->n_ifaces; i++)
        for (f = 0; f < SG_FAMILY_COUNT; f++)
            for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
                const struct metrics_iface *iface = &walk->metrics->ifaces[i];
                struct sg_cell sum = counters_sum_family(&iface->counters, f, verdict);

                label(walk, 0, "interface", iface->name);
                label(walk, 1, "family", counters_family_name(f));
                label(walk, 2, "verdict", counters_verdict_name(verdict));
                sample(walk, bytes ? sum.bytes : sum.packets);
            }
}

static void walk_packets(struct walk *walk)
{
    static const struct metrics_family packets = {"smtpgate_packets", METRICS_COUNTER, NULL,
                                                  "Packets that the gate has seen."};
    static const struct metrics_family bytes = {
        "smtpgate_bytes", METRICS_COUNTER, "bytes",
        "Bytes of the packets that the gate has seen, whole frames."};

    walk_families(walk, &packets, false);
    walk_families(walk, &bytes, true);
}

/* One port on one interface. What has a port has a family. */
static void walk_port(struct walk *walk, const struct metrics_iface *iface,
                      const struct metrics_port *port)
{
    unsigned int f, verdict;
    char number[8];

    snprintf(number, sizeof(number), "%u", port->port);
    for (f = SG_FAMILY_IP4; f < SG_FAMILY_COUNT; f++)
        for (verdict = 0; verdict < SG_VERDICT_COUNT; verdict++) {
            label(walk, 0, "interface", iface->name);
            label(walk, 1, "family", counters_family_name(f));
            label(walk, 2, "port", number);
            label(walk, 3, "verdict", counters_verdict_name(verdict));
            sample(walk, iface->counters.port[port->slot][verdict][f].attempts);
        }
}

static void walk_attempts(struct walk *walk)
{
    static const struct metrics_family attempts = {
        "smtpgate_connection_attempts", METRICS_COUNTER, NULL,
        "Attempts to connect (TCP SYN) to a guarded port."};
    size_t i, j;

    begin(walk, &attempts);
    for (i = 0; i < walk->metrics->n_ifaces; i++)
        for (j = 0; j < walk->metrics->n_ports; j++)
            walk_port(walk, &walk->metrics->ifaces[i], &walk->metrics->ports[j]);
}

static void walk_drops(struct walk *walk)
{
    static const struct metrics_family drops = {"smtpgate_drops", METRICS_COUNTER, NULL,
                                                "Packets dropped, by why."};
    unsigned int reason;
    size_t i;

    begin(walk, &drops);
    for (i = 0; i < walk->metrics->n_ifaces; i++)
        for (reason = 0; reason < SG_REASON_COUNT; reason++) {
            const struct metrics_iface *iface = &walk->metrics->ifaces[i];

            if (!counters_can_happen(reason, SG_VERDICT_DROP))
                continue;
            label(walk, 0, "interface", iface->name);
            label(walk, 1, "reason", counters_reason_name(reason));
            sample(walk, counters_sum_reason(&iface->counters, reason, SG_VERDICT_DROP).packets);
        }
}

/* ---- the list ---- */

static void walk_entries(struct walk *walk)
{
    static const struct metrics_family entries = {"smtpgate_allowlist_entries", METRICS_GAUGE, NULL,
                                                  "Entries of all lists, by what was typed."};
    static const char *const kinds[METRICS_KIND_COUNT] = {"address", "segment", "range"};
    static const struct metrics_family host = {"smtpgate_allowlist_host_entries", METRICS_GAUGE,
                                               NULL, "Entries of the host list."};
    static const struct metrics_family limit = {"smtpgate_allowlist_limit", METRICS_GAUGE, NULL,
                                                "Entries that each list takes; +Inf: no limit."};
    static const struct metrics_family temporary = {
        "smtpgate_allowlist_temporary_entries", METRICS_GAUGE, NULL,
        "Entries that have an end, whether it has come or not."};
    const struct metrics_list *list = &walk->metrics->list;
    size_t i;

    begin(walk, &entries);
    for (i = 0; i < METRICS_KIND_COUNT; i++) {
        label(walk, 0, "kind", kinds[i]);
        sample(walk, list->kinds[i]);
    }
    gauge(walk, &host, list->host_entries);
    begin(walk, &limit);
    put(walk, list->limit, !list->limit);
    gauge(walk, &temporary, list->temporary);
}

static void walk_list(struct walk *walk)
{
    static const struct metrics_family prefixes = {
        "smtpgate_allowlist_prefixes", METRICS_GAUGE, NULL,
        "Prefixes that the entries of all lists come to."};
    static const struct metrics_family changed = {
        "smtpgate_allowlist_last_change_timestamp_seconds", METRICS_GAUGE, "seconds",
        "When a list or a setting was last changed, Unix time; 0: never."};
    static const struct metrics_family next = {
        "smtpgate_allowlist_next_expiry_timestamp_seconds", METRICS_GAUGE, "seconds",
        "When the next entry ends, Unix time; 0: none will."};
    const struct metrics_list *list = &walk->metrics->list;

    walk_entries(walk);
    begin(walk, &prefixes);
    label(walk, 0, "family", counters_family_name(SG_FAMILY_IP4));
    sample(walk, list->prefixes4);
    label(walk, 0, "family", counters_family_name(SG_FAMILY_IP6));
    sample(walk, list->prefixes6);
    gauge(walk, &changed, seconds(list->last_change));
    gauge(walk, &next, seconds(list->next_end));
}

static void walk_health(struct walk *walk)
{
    static const struct metrics_family in_sync = {"smtpgate_allowlist_in_sync", METRICS_GAUGE, NULL,
                                                  "1 if the kernel has what the store says."};
    static const struct metrics_family readable = {
        "smtpgate_store_readable", METRICS_GAUGE, NULL,
        "1 if the store could be read; else nothing is said of the list."};

    gauge(walk, &readable, walk->metrics->has_list);
    gauge(walk, &in_sync, walk->metrics->in_sync);
}

static void walk_rest(struct walk *walk)
{
    static const struct metrics_family untracked = {
        "smtpgate_untracked_drops", METRICS_COUNTER, NULL,
        "Packets dropped, or that would have been, whose source was not written down."};
    static const struct metrics_family requests = {"smtpgate_policy_requests", METRICS_COUNTER,
                                                   NULL, "Requests to the policy service."};
    static const char *const results[METRICS_RESULT_COUNT] = {"allow", "reject", "no_login",
                                                              "trouble", "malformed"};
    size_t i;

    gauge(walk, &untracked, walk->metrics->untracked);
    begin(walk, &requests);
    for (i = 0; i < METRICS_RESULT_COUNT; i++) {
        label(walk, 0, "result", results[i]);
        sample(walk, walk->metrics->results[i]);
    }
}

void metrics_walk(const struct metrics *metrics, const struct metrics_sink *sink)
{
    struct walk walk = {.metrics = metrics, .sink = sink};

    walk_state(&walk);
    walk_health(&walk);
    walk_attached(&walk);
    walk_packets(&walk);
    walk_attempts(&walk);
    walk_drops(&walk);
    if (metrics->has_list)
        walk_list(&walk);
    walk_rest(&walk);
}

const char *metrics_sample_name(const struct metrics_family *family, char buf[METRICS_NAME_MAX])
{
    static const char *const suffixes[] = {
        [METRICS_GAUGE] = "", [METRICS_COUNTER] = "_total", [METRICS_INFO] = "_info"};

    snprintf(buf, METRICS_NAME_MAX, "%s%s", family->name, suffixes[family->type]);
    return buf;
}

const char *metrics_type_name(enum metrics_type type)
{
    static const char *const names[] = {
        [METRICS_GAUGE] = "gauge", [METRICS_COUNTER] = "counter", [METRICS_INFO] = "info"};

    return names[type];
}

/* ---- as text ---- */

struct text {
    enum metrics_format format;
    char *bytes;
    size_t used, room;
    bool failed; /* out of memory: nothing more is added */
};

static bool make_room(struct text *text, size_t more)
{
    size_t room = text->room ? text->room : 4096;
    char *bytes;

    while (room - text->used < more)
        room *= 2;
    if (text->failed || room == text->room)
        return !text->failed;
    bytes = realloc(text->bytes, room);
    if (!bytes) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->room = room;
    return true;
}

static void add(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *fmt, ...)
{
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (len < 0 || !make_room(text, (size_t)len + 1))
        return;
    va_start(ap, fmt);
    text->used += (size_t)vsnprintf(text->bytes + text->used, text->room - text->used, fmt, ap);
    va_end(ap);
}

/* What both formats escape in a label's value. */
static void add_value(struct text *text, const char *value)
{
    for (; *value; value++)
        if (*value == '\n')
            add(text, "\\n");
        else
            add(text, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
}

/* The older format knows no info, and speaks of samples where OpenMetrics speaks of families. */
static void text_family(const struct metrics_family *family, void *arg)
{
    struct text *text = arg;
    bool strict = text->format == METRICS_OPENMETRICS;
    enum metrics_type type = family->type == METRICS_INFO && !strict ? METRICS_GAUGE : family->type;
    char buf[METRICS_NAME_MAX];
    const char *name = strict ? family->name : metrics_sample_name(family, buf);

    add(text, "# HELP %s %s\n# TYPE %s %s\n", name, family->help, name, metrics_type_name(type));
    if (family->unit && strict)
        add(text, "# UNIT %s %s\n", name, family->unit);
}

static void text_sample(const struct metrics_sample *one, void *arg)
{
    struct text *text = arg;
    char name[METRICS_NAME_MAX];
    size_t i;

    add(text, "%s", metrics_sample_name(one->family, name));
    for (i = 0; i < one->n_labels; i++) {
        add(text, "%c%s=\"", i ? ',' : '{', one->labels[i].name);
        add_value(text, one->labels[i].value);
        add(text, "\"");
    }
    add(text, one->n_labels ? "} " : " ");
    if (one->infinite)
        add(text, "+Inf\n");
    else
        add(text, "%llu\n", (unsigned long long)one->value);
}

int metrics_render(const struct metrics *metrics, enum metrics_format format, char **ret_text,
                   size_t *ret_length)
{
    struct text text = {.format = format};
    const struct metrics_sink sink = {text_family, text_sample, &text};

    metrics_walk(metrics, &sink);
    add(&text, "# EOF\n");
    if (text.failed) {
        free(text.bytes);
        return -ENOMEM;
    }
    *ret_text = text.bytes;
    *ret_length = text.used;
    return 0;
}
