/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metrics: which there are, what they are called and how they are written down. From one record
 * come all formats, by one walk. Pure: knows nothing of where the numbers come from or where the
 * text goes. smtpgate-metrics(7) describes each for those who read them.
 *
 * Every set of labels is there from the start, zeros included: a rate over a series that appears
 * with its first packet would miss that packet. No address and no account is ever a label.
 */
#ifndef SMTPGATE_METRICS_H
#define SMTPGATE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "smtpgate_types.h"

/* What a row of interface_attached says; what is attached nowhere is neither. */
enum metrics_xdp {
    METRICS_XDP_NONE,
    METRICS_XDP_NATIVE,
    METRICS_XDP_GENERIC,
};

#define METRICS_NAME_MAX 80

struct metrics_iface {
    char name[METRICS_NAME_MAX]; /* as it may be shown; no two have the same */
    bool wanted;                 /* the gate is to be on it */
    enum metrics_xdp attached;
    struct sg_counters counters;
};

struct metrics_port {
    uint16_t port;
    uint8_t slot; /* its place in the counters */
};

/* Entries by what was typed; the order of the values of kind. */
enum metrics_kind {
    METRICS_ADDRESS,
    METRICS_SEGMENT,
    METRICS_RANGE,
    METRICS_KIND_COUNT,
};

struct metrics_list {
    uint64_t kinds[METRICS_KIND_COUNT];
    uint64_t host_entries;
    uint64_t limit; /* 0: none */
    uint64_t temporary;
    uint64_t prefixes4, prefixes6;
    int64_t last_change, next_end; /* Unix seconds; 0 none */
};

/* What became of the policy service's requests; the order of the values of result. */
enum metrics_result {
    METRICS_ALLOW,     /* the account may send from there */
    METRICS_REJECT,    /* it may not */
    METRICS_NO_LOGIN,  /* no account: not the service's business */
    METRICS_TROUBLE,   /* the list could not be read */
    METRICS_MALFORMED, /* the request could not be understood */
    METRICS_RESULT_COUNT,
};

struct metrics {
    const char *version;
    enum sg_mode mode;
    int64_t mode_until; /* Unix seconds; 0: stays */
    bool in_sync;
    bool has_list; /* the store could be read, or there is none and no gate either */
    struct metrics_list list;
    struct metrics_iface *ifaces;
    size_t n_ifaces;
    struct metrics_port ports[SG_PORT_SLOTS]; /* that are guarded, or were */
    size_t n_ports;
    uint64_t untracked; /* packets */
    uint64_t results[METRICS_RESULT_COUNT];
};

/* ---- the walk ---- */

enum metrics_type {
    METRICS_GAUGE,
    METRICS_COUNTER, /* its samples are called NAME_total */
    METRICS_INFO,    /* its sample is called NAME_info, and is 1 */
};

struct metrics_family {
    const char *name; /* without _total and _info */
    enum metrics_type type;
    const char *unit; /* the name ends in it; NULL none */
    const char *help; /* one line, without backslash */
};

struct metrics_label {
    const char *name, *value;
};

struct metrics_sample {
    const struct metrics_family *family;
    const struct metrics_label *labels;
    size_t n_labels;
    uint64_t value;
    bool infinite; /* instead of the value */
};

/* Each family once, its samples behind it. */
struct metrics_sink {
    void (*family)(const struct metrics_family *family, void *arg);
    void (*sample)(const struct metrics_sample *sample, void *arg);
    void *arg;
};

void metrics_walk(const struct metrics *metrics, const struct metrics_sink *sink);

/* "smtpgate_packets_total". Returns @buf. */
const char *metrics_sample_name(const struct metrics_family *family, char buf[METRICS_NAME_MAX]);
/* "gauge", "counter", "info" */
const char *metrics_type_name(enum metrics_type type);

/* ---- as text ---- */

enum metrics_format {
    METRICS_PROMETHEUS,  /* text format 0.0.4: what Prometheus and its tools take */
    METRICS_OPENMETRICS, /* OpenMetrics 1.0 */
};

/* The caller frees @ret_text; -ENOMEM. */
int metrics_render(const struct metrics *metrics, enum metrics_format format, char **ret_text,
                   size_t *ret_length);

#endif
