/* SPDX-License-Identifier: GPL-2.0-only */
/* See exam.h. */
#include "exam.h"

#include "rights.h"

void exam_end(struct exam *x)
{
    free(x->attached);
    free(x->links);
    free(x->listeners);
    free(x->addresses);
    free(x->rows);
    doctor_free_list(&x->results);
}

static void ask(struct exam *x)
{
    struct probe_target probes[PROBE_MAX];
    size_t i;

    if (!x->n_targets)
        return;
    for (i = 0; i < x->n_targets; i++)
        probes[i] = x->targets[i].probe;
    /* From here on strangers' words are read. Where that is refused few rights are left. */
    (void)rights_drop();
    probe_ports(probes, x->n_targets, x->facts, &x->probe_error);
}

int exam_begin(struct exam *x, const struct cmd_context *ctx, struct err *e)
{
    int r;

    exam_read_gate(x, ctx);
    r = exam_read_relay(x, e);
    if (r < 0)
        return r;
    exam_read_host(x, ctx);
    ask(x);
    return 0;
}
