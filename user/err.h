/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Errors are values: a function that can fail returns 0 or -errno and fills a struct err, which
 * travels up to main, the only place that prints and exits. Knows nothing of anything else.
 */
#ifndef SMTPGATE_ERR_H
#define SMTPGATE_ERR_H

/* The process's exit status; contract, scripts rely on the numbers. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_NO = 1,      /* the answer is no, or nothing matched */
    EXIT_USAGE = 2,   /* wrong use or wrong input; nothing changed */
    EXIT_CONFIRM = 3, /* wanted a confirmation and had none; nothing changed */
    EXIT_DENIED = 4,  /* not permitted */
    EXIT_REFUSED = 5, /* the kernel, the disk or the driver refused */
    EXIT_BUSY = 6,    /* another command holds the lock */
};

struct err {
    enum exit_code code;
    char message[512]; /* one sentence: what and why, no trailing newline */
    char hint[512];    /* a command to paste or what to do; may be empty */
};

/*
 * Fills @e (which may be NULL) and returns @ret, so that a failing function ends in
 * "return err_set(e, -EINVAL, EXIT_USAGE, ...)". Clears the hint.
 */
int err_set(struct err *e, int ret, enum exit_code code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds the hint to an error just set. */
void err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
