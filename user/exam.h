/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An examination: what doctor reads of the gate, the host and the relay, and its checks, which
 * bring facts and judges together (doctor.h). Changes nothing, shows nothing.
 */
#ifndef SMTPGATE_EXAM_H
#define SMTPGATE_EXAM_H

#include "cmd.h"
#include "doctor_gate.h"
#include "doctor_host.h"

struct exam_target {
    struct probe_target probe;
    bool guarded;
};

struct exam {
    /* the gate's side */
    struct doctor_ports ports;
    bool gate_known;
    struct err gate_error; /* unless gate_known */
    uint32_t *attached;    /* interface numbers */
    size_t n_attached;
    struct doctor_link *links; /* interfaces that are wanted */
    size_t n_links;
    struct doctor_kernel kernel;
    enum doctor_jit jit;
    struct gate_pins pins;
    const char *bpffs;
    struct doctor_step step;
    struct doctor_clock clock;
    struct doctor_mode mode;
    char mode_end[64]; /* of which this is the end */
    struct doctor_families families;
    struct doctor_leader leader;
    /* the host's side */
    struct iface_listener *listeners; /* those that others than this host can reach */
    size_t n_listeners;
    struct iface_address *addresses;
    size_t n_addresses;
    struct cover_row *rows; /* interfaces that lead to a guarded port */
    size_t n_rows;
    struct doctor_firewall firewall;
    struct doctor_sysctl sysctls[DOCTOR_SYSCTLS];
    /* what was asked */
    struct exam_target targets[PROBE_MAX];
    struct probe_facts facts[PROBE_MAX];
    size_t n_targets;
    uint16_t left_out[16]; /* the first of the ports that were not asked */
    size_t n_left_out;
    struct err probe_error; /* no message: the ports were asked */
    struct doctor_list results;
};

void exam_end(struct exam *x);
#define _cleanup_exam_ __attribute__((cleanup(exam_end)))

/* Reads all there is to read, then gives up root's rights and asks the relay. */
int exam_begin(struct exam *x, const struct cmd_context *ctx, struct err *e);

/* ---- what it reads, in this order ---- */

/* What cannot be read is no error: gate_error says why. */
void exam_read_gate(struct exam *x, const struct cmd_context *ctx);
/* Listeners, addresses, whom to ask. */
int exam_read_relay(struct exam *x, struct err *e);
void exam_read_host(struct exam *x, const struct cmd_context *ctx);

/* ---- its checks, each adds to the results ---- */

void exam_check_password(struct exam *x);
void exam_check_auth(struct exam *x);
void exam_check_unguarded(struct exam *x);
void exam_check_coverage(struct exam *x);

void exam_check_kernel(struct exam *x);
void exam_check_jit(struct exam *x);
void exam_check_pins(struct exam *x);
void exam_check_links(struct exam *x);
void exam_check_xdp(struct exam *x);
void exam_check_list(struct exam *x);
void exam_check_clock(struct exam *x);

void exam_check_families(struct exam *x);
void exam_check_firewall(struct exam *x);
void exam_check_leader(struct exam *x);
void exam_check_sysctls(struct exam *x);

void exam_check_mode(struct exam *x);

#endif
