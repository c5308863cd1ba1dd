// LINK: ruleset_eval ruleset_lead ruleset_match ruleset_nft ruleset_ipt addr who_why text err
// LIBS: -ljansson
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing of what the tools of packet filters may print: names and comments in it are anybody's who
 * may make a table. The text is read as nft's if it is JSON, else as iptables-save's.
 */
#include "fuzz.h"
#include "ruleset.h"

static const struct addr own[] = {
    {ADDR_IP4, {192, 0, 2, 25}},
    {ADDR_IP6, {0x20, 0x01, 0x0d, 0xb8, [15] = 0x25}},
};

static const struct ruleset_host host = {
    .ports = {25, 465, 587},
    .n_ports = 3,
    .ip4 = true,
    .ip6 = true,
    .own = own,
    .n_own = 2,
    .ifaces = {"eth0", "eth1"},
    .n_ifaces = 2,
    .guarded = {25, 465, 587},
    .n_guarded = 3,
};

/* Plain text that fits, whatever came in. */
static void check_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);

    MUST(len < size);
    MUST(!memchr(text, '\n', len) && !memchr(text, '\x1b', len));
}

static void check(const struct ruleset_findings *findings)
{
    size_t i;

    MUST(findings->count <= RULESET_FINDINGS_MAX);
    for (i = 0; i < findings->count; i++) {
        const struct ruleset_finding *one = &findings->items[i];

        MUST(one->n_ports >= 1 && one->n_ports <= host.n_ports && (one->ip4 || one->ip6));
        check_text(one->place, sizeof(one->place));
        check_text(one->rule, sizeof(one->rule));
        check_text(one->look, sizeof(one->look));
        MUST(!strpbrk(one->look, ";|&$`'\"\\<>"));
    }
    MUST(findings->n_spares <= RULESET_SPARES_MAX && findings->n_sources <= RULESET_SOURCES_MAX);
    for (i = 0; i < findings->n_spares; i++) {
        check_text(findings->spares[i].by.rule, sizeof(findings->spares[i].by.rule));
        check_text(findings->spares[i].who, sizeof(findings->spares[i].who));
    }
    for (i = 0; i < findings->n_sources; i++) {
        const struct ruleset_source *source = &findings->sources[i];

        MUST(source->spare < findings->n_spares);
        MUST(addr_cmp(&source->who.first, &source->who.last) <= 0);
    }
    MUST(findings->n_leads <= RULESET_LEADS_MAX);
    for (i = 0; i < findings->n_leads; i++) {
        const struct ruleset_lead *lead = &findings->leads[i];

        MUST(lead->from && lead->from != 25 && lead->from != 465 && lead->from != 587);
        MUST(lead->to == 25 || lead->to == 465 || lead->to == 587);
        check_text(lead->rule, sizeof(lead->rule));
        MUST(!strpbrk(lead->look, ";|&$`'\"\\<>"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ruleset_findings findings = {0};
    char *text = fuzz_text(data, size);

    if (*text == '{') {
        (void)ruleset_read_nft(text, false, &host, &findings);
        check(&findings);
        (void)ruleset_read_nft(text, true, &host, &findings);
    } else {
        (void)ruleset_read_iptables(text, ADDR_IP4, "iptables", &host, &findings);
    }
    check(&findings);
    free(text);
    return 0;
}
