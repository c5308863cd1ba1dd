/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules of the host's packet filters, as its own tools print them. Runs those tools, by fixed
 * paths, without a shell, an environment or input, bounded in time and output. Reads only; knows
 * nothing of what the rules say.
 */
#ifndef SMTPGATE_FIREWALL_H
#define SMTPGATE_FIREWALL_H

#include <stdint.h>

#include "err.h"

enum firewall_tool {
    FIREWALL_NFT,
    FIREWALL_NFT_TERSE, /* without what sets hold */
    FIREWALL_IPTABLES,  /* the rules that iptables keeps in nf_tables */
    FIREWALL_IP6TABLES,
    FIREWALL_IPTABLES_LEGACY, /* and those of before */
    FIREWALL_IP6TABLES_LEGACY,
};

/*
 * What the tool prints; the caller frees @ret_text. -ENOENT (no error set): not installed. -EFBIG
 * (no error set): longer than is read. Else the error says what came of it. The time that it took
 * is taken off @left_ms, and it takes no more than that: begin with FIREWALL_MS for all of them.
 */
int firewall_print(enum firewall_tool tool, int64_t *left_ms, char **ret_text, struct err *e);

#define FIREWALL_MS 7000

enum firewall_there {
    FIREWALL_NO,
    FIREWALL_YES, /* or may be */
    FIREWALL_UNKNOWN,
};

/* Whether such rules can be in the kernel, as far as it tells without any tool. */
enum firewall_there firewall_may_have(enum firewall_tool tool);

#endif
