/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a change under way means for who is connected now: asked before it is committed, told and
 * mended after. Brings together the sessions, the list in the transaction and the gate as it is;
 * knows nothing of the command's own words.
 */
#ifndef SMTPGATE_LIVE_H
#define SMTPGATE_LIVE_H

#include "change.h"
#include "cmd.h"
#include "cut.h"

struct live {
    struct cut cut;
    struct cut_self self;
    struct actor actor;
    struct session *sessions;
    size_t n_sessions;
    uint16_t ports[SESSION_PORTS_MAX]; /* guarded before or after, ascending */
    size_t n_ports;
    bool known; /* the sessions could be read; else nothing of it is filled */
    bool trial; /* what comes after the change is for a time only */
};

void live_free(struct live *live);
#define _cleanup_live_ __attribute__((cleanup(live_free)))

/* As what the lists are judged after the change. */
enum live_as {
    LIVE_AS_IS,        /* as the gate will be: not attached anywhere drops nothing */
    LIVE_AS_ATTACHED,  /* as if an interface carried the gate, which none does yet */
    LIVE_AS_ENFORCING, /* as if it were attached, on and enforcing, and open before */
};

/*
 * Within the transaction, or after it. That the kernel does not tell about sessions is no error:
 * @ret_live says that they are not known, and a note is made.
 */
int live_judge(const struct cmd_context *ctx, struct change *change, enum live_as as,
               struct live *ret_live, struct err *e);

enum live_ask {
    LIVE_ASK,  /* on a terminal; without one -y is wanted */
    LIVE_WARN, /* on a terminal; without one it goes ahead, and says whom it cuts */
};

/*
 * Before the commit: if the change cuts somebody off who is connected now, or the operator's own
 * address, names them and asks (without a terminal for the sake of sessions only). Costs nothing
 * where the change lets in all that was let in before.
 * @ret_live is for live_say_hanging(); nothing is in it after an error.
 */
int live_confirm(const struct cmd_context *ctx, struct change *change, enum live_as as,
                 enum live_ask how, struct live *ret_live, struct err *e);

/* After the commit: how many sessions hang on that the change cut off, and what ends them. */
void live_say_hanging(const struct cmd_context *ctx, const struct live *live);

/*
 * --kick, after the commit (with -n instead of it, while the change is there to see). Says whose
 * sessions were ended; @ret_kicked is their JSON.
 *
 * Those from one of the @n sets that no entry covers, whatever the mode.
 */
int live_kick_deleted(const struct cmd_context *ctx, struct change *change, const struct who *sets,
                      size_t n, json_t **ret_kicked, struct err *e);

/* Those that the gate drops. */
int live_kick_dropped(const struct cmd_context *ctx, struct change *change, json_t **ret_kicked,
                      struct err *e);

#endif
