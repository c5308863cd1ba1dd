/* SPDX-License-Identifier: GPL-2.0-only */
/* add: lets sources in. See additions.h. */
#include "additions.h"

/* All values are of one format; says which two are not. */
static int parse_values(const struct cmd_context *ctx, struct addition *additions, struct err *e)
{
    size_t i;

    for (i = 0; i < ctx->n_args; i++) {
        enum who_kind kind, first;
        int r = who_parse(ctx->args[i], &additions[i].who, e);

        if (r < 0)
            return r;
        kind = additions[i].who.kind;
        first = additions[0].who.kind;
        if (kind == first)
            continue;
        err_set(e, 0, EXIT_USAGE, "one format per add: %s is %s %s, %s %s %s; nothing changed",
                ctx->args[0], first == WHO_ADDRESS ? "an" : "a", who_kind_name(first), ctx->args[i],
                kind == WHO_ADDRESS ? "an" : "a", who_kind_name(kind));
        err_hint(e, "use one add for the addresses, one for the segments, one for the ranges");
        return -EINVAL;
    }
    return 0;
}

int cmd_add(const struct cmd_context *ctx, struct err *e)
{
    _cleanup_free_ struct addition *additions = calloc(ctx->n_args, sizeof(*additions));
    const char *account = ctx->options[OPT_ACCOUNT];
    struct cmd_end end;
    size_t i;
    int r;

    if (!additions)
        return cmd_fail_memory(e);
    r = parse_values(ctx, additions, e);
    if (r == 0 && ctx->options[OPT_REMARK])
        r = remark_check(ctx->options[OPT_REMARK], e);
    if (r == 0)
        r = cmd_parse_end(ctx, &end, e);
    if (r == 0)
        r = cmd_check_account(ctx, e);
    if (r < 0)
        return r;
    for (i = 0; i < ctx->n_args; i++) {
        additions[i].account = account ? account : "";
        additions[i].remark = ctx->options[OPT_REMARK];
        additions[i].end = end;
    }
    return additions_apply(ctx, additions, ctx->n_args, false, e);
}
