/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Part of doctor.h: what the facts about the kernel and the gate in it mean.
 */
#ifndef SMTPGATE_DOCTOR_GATE_H
#define SMTPGATE_DOCTOR_GATE_H

#include "doctor.h"
#include "sync.h"
#include "sysctl.h"

/* What is said of anything about the gate when it cannot be read. */
void doctor_add_unread(struct doctor_list *list, const char *what, bool denied);

struct doctor_kernel {
    char release[SYSCTL_RELEASE_MAX];
    unsigned int major, minor;
    bool asked; /* @can was asked with rights that suffice for an answer */
    struct gate_kernel can;
};

void doctor_judge_kernel(struct doctor_list *list, const struct doctor_kernel *kernel);

enum doctor_jit {
    DOCTOR_JIT_FIXED, /* there is no switch */
    DOCTOR_JIT_OFF,
    DOCTOR_JIT_ON,
    DOCTOR_JIT_UNKNOWN,
};

void doctor_judge_jit(struct doctor_list *list, enum doctor_jit jit);

/* @wanted: an interface is to be guarded. @dir: what --bpffs says. */
void doctor_judge_pins(struct doctor_list *list, const struct gate_pins *pins, bool wanted,
                       const char *dir);

/* An interface that is wanted. */
struct doctor_link {
    struct sync_iface iface;
    struct gate_device other; /* on the device of that name, where the gate is not on it */
    char driver[IFACE_DRIVER_MAX];
    unsigned int mtu;
    bool inert; /* loopback */
};

void doctor_judge_link(struct doctor_list *list, const struct doctor_link *link);
/* @frags: the kernel has multi-buffer XDP. */
void doctor_judge_xdp(struct doctor_list *list, const struct doctor_link *link, bool frags);

/* The list in the kernel beside the one in the store. */
struct doctor_step {
    bool needed; /* something is in the kernel, or is to be */
    bool busy;   /* a change was under way all the time */
    struct sync_check check;
    bool equal; /* all prefixes with their ends, at any size */
    uint64_t prefixes;
    struct err error; /* no message: all that was read */
};

void doctor_judge_step(struct doctor_list *list, const struct doctor_step *step);

struct doctor_clock {
    bool deadlines; /* something ends */
    bool behind;    /* the wall clock was set forward since the ends were made */
    int64_t ahead;  /* seconds that the gate's time is before the wall clock */
};

void doctor_judge_clock(struct doctor_list *list, const struct doctor_clock *clock);

/* What is in force, and what of it has an end. */
struct doctor_mode {
    struct mode_plan plan;
    const char *end;     /* "2026-12-01 18:00 (in 2 min)", of @plan; "" none */
    uint64_t entries;    /* of all lists */
    uint64_t ended;      /* of these */
    bool accounts_only;  /* only accounts have lists */
    bool accounts_drops; /* these are kept by the relay's half */
    struct doctor_ports ports;
};

/* Is anybody kept out? A gate in the best of health may be one that drops nothing. */
void doctor_judge_mode(struct doctor_list *list, const struct doctor_mode *mode);

#endif
