// LINK: doctor doctor_gate doctor_host iface mode text addr who_why err
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From facts to results: what each judge of the kernel, the gate and the host around it makes of
 * what was read, and that nothing but "ok" comes without a remedy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "doctor_gate.h"
#include "doctor_host.h"

/* The results of one judge; each test begins with none. */
static struct doctor_list list;

static int begin(void **state)
{
    (void)state;
    list = (struct doctor_list){.number = 1};
    return 0;
}

static int end(void **state)
{
    (void)state;
    doctor_free_list(&list);
    return 0;
}

/* There is one result: of @status, and both texts hold these words. Takes it away. */
static void expect(enum doctor_status status, const char *words, const char *remedy)
{
    const struct doctor_result *result = list.items;
    bool good;

    assert_int_equal(list.count, 1);
    good = result->status == status && strstr(result->message, words) &&
           strstr(result->remedy, remedy) && (status == DOCTOR_OK) == !result->remedy[0];
    if (!good)
        fail_msg("status %d, \"%s\", \"%s\"; expected %d, \"%s\", \"%s\"", result->status,
                 result->message, result->remedy, status, words, remedy);
    assert_null(strchr(result->message, '\n'));
    list.count = 0;
}

static void test_kernel(void **state)
{
    struct doctor_kernel kernel = {
        .release = "6.1.0-23-amd64",
        .major = 6,
        .minor = 1,
        .asked = true,
        .can = {.xdp = true, .tries = true, .lru = true, .per_cpu = true, .frags = true},
    };

    (void)state;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_OK, "multi-buffer XDP too", "");
    kernel.can.frags = false;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_OK, "no multi-buffer XDP", "");
    kernel.can.tries = kernel.can.lru = false;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_FAIL, "does not let the gate use LPM tries, LRU tables", "lockdown");
    kernel.asked = false;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_UNKNOWN, "root only", "sudo smtpgate doctor");
    kernel.major = 5;
    kernel.minor = 10;
    kernel.asked = true;
    kernel.can.tries = kernel.can.lru = true;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_OK, "", "");
    kernel.minor = 9;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_FAIL, "older than 5.10", "upgrade");
    kernel.major = 4;
    kernel.minor = 19;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_FAIL, "older than 5.10", "upgrade");
    kernel.major = 0;
    doctor_judge_kernel(&list, &kernel);
    expect(DOCTOR_UNKNOWN, "version", "uname");
}

static void test_jit(void **state)
{
    (void)state;
    doctor_judge_jit(&list, DOCTOR_JIT_ON);
    expect(DOCTOR_OK, "compiled", "");
    doctor_judge_jit(&list, DOCTOR_JIT_FIXED);
    expect(DOCTOR_OK, "no setting for that", "");
    doctor_judge_jit(&list, DOCTOR_JIT_OFF);
    expect(DOCTOR_WARN, "interpreted", "sysctl -w net.core.bpf_jit_enable=1 && smtpgate sync");
    doctor_judge_jit(&list, DOCTOR_JIT_UNKNOWN);
    expect(DOCTOR_UNKNOWN, "", "sysctl net.core.bpf_jit_enable");
}

static void judge_pins(const struct gate_pins *pins, bool wanted)
{
    doctor_judge_pins(&list, pins, wanted, "/sys/fs/bpf/smtpgate");
}

static void test_pins(void **state)
{
    struct gate_pins good = {.on_bpffs = true, .present = true, .safe = true, .filled = true};
    struct gate_pins pins = good;

    (void)state;
    judge_pins(&pins, true);
    expect(DOCTOR_OK, "all maps are pinned", "");
    pins.safe = false;
    pins.uid = 1000;
    judge_pins(&pins, true);
    expect(DOCTOR_FAIL, "user 1000", "chown -R root:root /sys/fs/bpf/smtpgate");
    pins = good;
    pins.present = pins.filled = pins.on_bpffs = false;
    judge_pins(&pins, false);
    expect(DOCTOR_OK, "nothing is to be", "");
    judge_pins(&pins, true);
    expect(DOCTOR_FAIL, "not on a bpffs", "mount -t bpf");
    pins.on_bpffs = true;
    judge_pins(&pins, true);
    expect(DOCTOR_FAIL, "nothing of the gate", "smtpgate sync");
    pins = good;
    snprintf(pins.missing, sizeof(pins.missing), "sources budget");
    judge_pins(&pins, true);
    expect(DOCTOR_WARN, "are missing: sources budget", "smtpgate sync");
    snprintf(pins.odd, sizeof(pins.odd), "allow4");
    pins.decides = true;
    judge_pins(&pins, true);
    expect(DOCTOR_FAIL, "missing: sources budget; are of another version: allow4", "sync");
    pins = good;
    pins.filled = false;
    judge_pins(&pins, true);
    expect(DOCTOR_FAIL, "filled", "smtpgate sync");
}

static const struct doctor_link good_link = {
    .iface = {.row = {.id = 1, .name = "eth0", .wanted = true},
              .link = {.state = GATE_LINK_HERE,
                       .ifindex = 2,
                       .name = "eth0",
                       .xdp = GATE_XDP_NATIVE,
                       .in_force = true,
                       .current = true}},
    .driver = "virtio_net",
    .mtu = 1500,
};

static void test_link(void **state)
{
    struct doctor_link link = good_link;

    (void)state;
    doctor_judge_link(&list, &link);
    assert_string_equal(list.items[0].interface, "eth0");
    expect(DOCTOR_OK, "eth0: the gate's program is there, with the pinned list", "");
    snprintf(link.iface.row.name, IF_NAMESIZE, "old0");
    doctor_judge_link(&list, &link);
    assert_string_equal(list.items[0].interface, "eth0");
    expect(DOCTOR_OK, "(the device was old0)", "");
    link.iface.open_here = true; /* another device is called old0 now */
    doctor_judge_link(&list, &link);
    expect(DOCTOR_WARN, "another device is called old0 now", "smtpgate attach old0 ");
    link = good_link;
    link.iface.link.in_force = link.iface.link.current = false;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "does not decide by the pinned list", "smtpgate sync");
    link.iface.link.in_force = true;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_WARN, "counts goes elsewhere", "smtpgate sync");
    link = good_link;
    link.iface.link.state = GATE_LINK_ELSEWHERE;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_OK, "another network namespace", "");
    link.iface.open_here = true;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "moved to another network namespace", "smtpgate sync");
    link.iface.link.state = GATE_LINK_DEAD;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "made anew, or the link cut", "smtpgate sync");
    link.iface.link.state = GATE_LINK_ABSENT;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "its link is gone", "smtpgate sync");
    link.iface.open_here = false;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "no such device", "smtpgate detach eth0 ");
    link.iface.link.state = GATE_LINK_DEAD;
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "was deleted", "smtpgate detach eth0 ");
}

static void test_other_program(void **state)
{
    struct doctor_link link = good_link;

    (void)state;
    link.iface.link.state = GATE_LINK_DEAD;
    link.iface.open_here = true;
    link.other = (struct gate_device){.id = 77, .name = "xdp\x1bpass"};
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "another XDP program is there (xdp\\x1bpass, id 77)",
           "bpftool net show dev eth0 ");
    link.other.name[0] = '\0';
    snprintf(link.iface.row.name, IF_NAMESIZE, "a;b$(c)");
    doctor_judge_link(&list, &link);
    expect(DOCTOR_FAIL, "a;b$(c): the gate is not on it", "bpftool net show dev IFACE ");
}

static void test_xdp(void **state)
{
    struct doctor_link link = good_link;

    (void)state;
    doctor_judge_xdp(&list, &link, true);
    expect(DOCTOR_OK, "eth0: native", "");
    link.iface.link.xdp = GATE_XDP_GENERIC;
    doctor_judge_xdp(&list, &link, true);
    expect(DOCTOR_WARN, "the driver virtio_net has no native XDP or refused",
           "smtpgate attach eth0 --mode generic ");
    link.mtu = 9000;
    doctor_judge_xdp(&list, &link, true);
    expect(DOCTOR_WARN, "MTU of 9000 is a likely cause", "smtpgate attach");
    doctor_judge_xdp(&list, &link, false);
    expect(DOCTOR_WARN, "a sure one", "smtpgate attach");
    link.iface.row.mode = STORE_IFACE_GENERIC;
    doctor_judge_xdp(&list, &link, true);
    expect(DOCTOR_OK, "as it was asked for", "");
    link.iface.row.mode = STORE_IFACE_AUTO;
    snprintf(link.driver, sizeof(link.driver), "bridge");
    doctor_judge_xdp(&list, &link, true);
    expect(DOCTOR_OK, "such a device (bridge) has no other", "");
    link.inert = true;
    doctor_judge_xdp(&list, &link, true);
    expect(DOCTOR_OK, "(loopback)", "");
    link.iface.link.state = GATE_LINK_DEAD;
    doctor_judge_xdp(&list, &link, true);
    assert_int_equal(list.count, 0);
}

static const struct doctor_step good_step = {
    .needed = true,
    .check = {.present = true,
              .same_store = true,
              .applied = true,
              .settings = true,
              .clock = true,
              .counted = true},
    .equal = true,
    .prefixes = 5,
};

static void test_step(void **state)
{
    struct doctor_step step = good_step;

    (void)state;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_OK, "all of 5 prefixes", "");
    step.equal = false;
    step.check.missing = 3;
    step.check.differing = 1;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL, "the store's: 3 prefixes are missing, 1 prefix ends at another time",
           "smtpgate sync");
    step.check.missing = 1;
    step.check.surplus = 2;
    step.check.differing = 2;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL,
           "the store's: 1 prefix is missing, 2 prefixes are too many, 2 prefixes end at another"
           " time",
           "smtpgate sync");
    step.check.counted = false;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL, "of 5 prefixes (all compared, by a digest)", "smtpgate sync");
    step.busy = true;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_UNKNOWN, "a change is under way", "smtpgate doctor");
    step = good_step;
    step.check.settings = false;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL, "ports or mode", "smtpgate sync");
    step = good_step;
    step.check.applied = false;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL, "interrupted", "smtpgate sync");
    step.check.same_store = false;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL, "another store", "smtpgate sync -y ");
    step.check = (struct sync_check){0};
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL, "not in the kernel", "smtpgate sync");
    step.needed = false;
    doctor_judge_step(&list, &step);
    expect(DOCTOR_OK, "none is to be", "");
    err_set(&step.error, 0, EXIT_REFUSED, "broken");
    doctor_judge_step(&list, &step);
    expect(DOCTOR_FAIL, "broken", "smtpgate status");
    err_set(&step.error, 0, EXIT_DENIED, "denied");
    err_hint(&step.error, "sudo");
    doctor_judge_step(&list, &step);
    expect(DOCTOR_UNKNOWN, "denied", "sudo");
}

static void test_clock(void **state)
{
    struct doctor_clock clock = {.behind = true, .ahead = 9999};

    (void)state;
    doctor_judge_clock(&list, &clock);
    expect(DOCTOR_OK, "nothing has an end", "");
    clock.deadlines = true;
    doctor_judge_clock(&list, &clock);
    expect(DOCTOR_FAIL, "set forward", "smtpgate sync");
    clock.behind = false;
    doctor_judge_clock(&list, &clock);
    expect(DOCTOR_WARN, "in 9999 s", "smtpgate sync -y");
    clock.ahead = 60;
    doctor_judge_clock(&list, &clock);
    expect(DOCTOR_OK, "this host's clock", "");
}

static void test_families(void **state)
{
    struct doctor_families families = {
        .drops = true,
        .prefixes4 = 1,
        .ports4 = {.items = {25}, .count = 1},
    };

    (void)state;
    doctor_judge_families(&list, &families);
    expect(DOCTOR_OK, "each family", "");
    families.ports6 = (struct doctor_ports){.items = {25, 587}, .count = 2};
    doctor_judge_families(&list, &families);
    expect(DOCTOR_WARN, "ports 25, 587 can be reached by IPv6, and the list has IPv4", "AAAA");
    families.prefixes6 = 1;
    doctor_judge_families(&list, &families);
    expect(DOCTOR_OK, "each family", "");
    families.prefixes4 = 0;
    doctor_judge_families(&list, &families);
    expect(DOCTOR_WARN, "port 25 can be reached by IPv4, and the list has IPv6", "the A record");
    families.drops = false;
    doctor_judge_families(&list, &families);
    expect(DOCTOR_OK, "off", "");
}

static void test_firewall(void **state)
{
    struct doctor_firewall firewall = {.none = true};
    struct ruleset_finding *finding = firewall.findings.items;

    (void)state;
    doctor_judge_firewall(&list, &firewall);
    expect(DOCTOR_OK, "there is no other packet filter", "");
    firewall.none = false;
    doctor_judge_firewall(&list, &firewall);
    expect(DOCTOR_OK, "no rule of another packet filter drops guarded ports", "");
    firewall.ports = (struct doctor_ports){.items = {25, 587}, .count = 2};
    firewall.listening = true;
    doctor_judge_firewall(&list, &firewall);
    expect(DOCTOR_OK, "drops the guarded ports that somebody listens on (25, 587)", "");
    /* Dropped for some: of the first chain that has ports after all. */
    firewall.findings.n_spares = 2;
    firewall.findings.spares[1] = (struct ruleset_spare){
        .by = {.ports = {25},
               .n_ports = 1,
               .ip4 = true,
               .place = "PLACE",
               .rule = "RULE",
               .look = "LOOK"},
        .who = "192.0.2.0/24, ...",
    };
    doctor_judge_firewall(&list, &firewall);
    expect(DOCTOR_OK, "(25, 587) for every source; some", "");
    firewall.findings.spares[1].who[0] = '\0';
    doctor_judge_firewall(&list, &firewall);
    expect(DOCTOR_OK, "source, rate or the like, first by PLACE: RULE", "");
    firewall.overlaps = true;
    firewall.dropped.spare = 1;
    assert_int_equal(who_parse("192.0.2.0/24", &firewall.dropped.who, NULL), 0);
    doctor_judge_firewall(&list, &firewall);
    assert_int_equal(list.items[0].port, 25);
    expect(DOCTOR_WARN, "drops port 25 (IPv4) for 192.0.2.0/24, and the list lets", "LOOK");
    firewall.overlaps = false;
    firewall.findings.unread = true;
    doctor_judge_firewall(&list, &firewall);
    expect(DOCTOR_UNKNOWN, "too many", "nft list ruleset");
    err_set(&firewall.error, 0, EXIT_REFUSED, "nft is missing");
    err_hint(&firewall.error, "apt install nftables");
    doctor_judge_firewall(&list, &firewall);
    expect(DOCTOR_UNKNOWN, "nft is missing", "apt install nftables");
    firewall.error.message[0] = '\0';
    firewall.findings.unread = false;
    *finding = (struct ruleset_finding){.ports = {587}, .n_ports = 1, .ip6 = true};
    snprintf(finding->place, sizeof(finding->place), "PLACE");
    snprintf(finding->look, sizeof(finding->look), "LOOK");
    firewall.findings.count = 1;
    doctor_judge_firewall(&list, &firewall);
    assert_int_equal(list.items[0].port, 587);
    expect(DOCTOR_WARN, "drops port 587 (IPv6) for every source, listed or not: PLACE: its policy",
           "LOOK");
    finding->ports[finding->n_ports++] = 25;
    finding->ip4 = finding->some = true;
    snprintf(finding->rule, sizeof(finding->rule), "RULE");
    doctor_judge_firewall(&list, &firewall);
    assert_int_equal(list.items[0].port, 0);
    expect(DOCTOR_WARN,
           "drops ports 587, 25 (IPv4, IPv6) for all but some sources or ways in, listed or not:"
           " PLACE: RULE",
           "LOOK");
}

static const struct doctor_ports guarded = {.items = {25, 465, 587}, .count = 3};

/* What is sent past the gate: by one port, or by many that are not named. */
static void test_leads(void **state)
{
    struct doctor_firewall firewall = {.findings = {.n_leads = 1}};
    struct ruleset_lead *lead = firewall.findings.leads;

    (void)state;
    *lead = (struct ruleset_lead){
        .from = 2525, .to = 587, .wide = true, .place = "PLACE", .rule = "RULE", .look = "LOOK"};
    doctor_judge_firewall(&list, &firewall);
    list.count--; /* beside it: nothing is dropped */
    expect(DOCTOR_FAIL, "ports that are not guarded (2525 is one) are redirected", "LOOK");
    lead->wide = false;
    doctor_judge_firewall(&list, &firewall);
    list.count--;
    doctor_join_ports(&list, &guarded);
    assert_int_equal(list.items[0].port, 2525);
    expect(DOCTOR_FAIL, "port 2525 is redirected to the guarded 587 and is not guarded itself",
           "smtpgate set ports 25,465,587,2525");
}

/* ---- the relay ---- */

static const struct probe_facts offers_auth = {.outcome = PROBE_SMTP, .auth_tls = true};

/* Remedies of one run take the same ports: following one after another undoes nothing. */
static void test_ports(void **state)
{
    struct probe_facts takes_local = {.outcome = PROBE_SMTP, .local = {.answer = PROBE_TAKEN}};
    struct probe_target target = {.port = 2526};
    struct doctor_ports many = {.count = SG_PORTS_MAX};
    unsigned int i;

    (void)state;
    assert_int_equal(addr_parse("192.0.2.25", &target.address, NULL), 0);
    assert_true(doctor_judge_unguarded(&list, &target, &offers_auth));
    target.port = 26;
    assert_true(doctor_judge_unguarded(&list, &target, &offers_auth));
    doctor_join_ports(&list, &guarded);
    assert_string_equal(list.items[0].remedy, "smtpgate set ports 25,26,465,587,2526");
    assert_string_equal(list.items[1].remedy, list.items[0].remedy);
    /* 25 is an MX's, and keeps its own remedy. */
    target.port = 25;
    assert_true(doctor_judge_unguarded(&list, &target, &offers_auth));
    doctor_join_ports(&list, &guarded);
    assert_non_null(strstr(list.items[2].remedy, "smtpd_sasl_auth_enable=no"));
    assert_string_equal(list.items[0].remedy, "smtpgate set ports 25,26,465,587,2526");
    list.count = 2;
    doctor_judge_password(&list, &target, &takes_local);
    doctor_join_ports(&list, &guarded);
    assert_string_equal(list.items[2].remedy,
                        "smtpgate set ports 26,465,587,2526   # if this host is an MX");
    assert_non_null(strstr(list.items[0].remedy, "25,26,465,587,2526   # without 25 if"));
    /* Nothing but 25 is guarded; more than can be. */
    list.count = 0;
    doctor_judge_password(&list, &target, &takes_local);
    doctor_join_ports(&list, &(struct doctor_ports){.items = {25}, .count = 1});
    expect(DOCTOR_WARN, "as an MX does", "smtpgate set ports 465,587 ");
    for (i = 0; i < SG_PORTS_MAX; i++)
        many.items[i] = (uint16_t)(1000 + i);
    target.port = 2525;
    assert_true(doctor_judge_unguarded(&list, &target, &offers_auth));
    doctor_join_ports(&list, &many);
    expect(DOCTOR_FAIL, "2525", "no more than 16 ports");
}

static void test_no_connection(void **state)
{
    struct probe_facts facts = {.outcome = PROBE_NO_CONNECTION};
    struct probe_target target = {.port = 587};

    (void)state;
    assert_int_equal(addr_parse("192.0.2.25", &target.address, NULL), 0);
    doctor_judge_password(&list, &target, &facts);
    expect(DOCTOR_UNKNOWN, "port 587: no connection", "ss -ltnp sport = :587 ");
    list.on_lo = true;
    doctor_judge_password(&list, &target, &facts);
    expect(DOCTOR_UNKNOWN, "port 587: no connection", "smtpgate check 192.0.2.25 ");
    facts.outcome = PROBE_SMTP;
    snprintf(facts.local.text, sizeof(facts.local.text), "451 later");
    doctor_judge_password(&list, &target, &facts);
    expect(DOCTOR_UNKNOWN, "not for want of a password", "smtpgate doctor   # ask again later");
}

/* ---- ways in ---- */

static void test_row(void **state)
{
    struct cover_row row = {.name = "br0", .ports = {25}, .n_ports = 1};

    (void)state;
    doctor_judge_row(&list, &row, 0);
    expect(DOCTOR_OK, "br0: the gate stands before port 25", "");
    snprintf(row.missing[0], IF_NAMESIZE, "none0");
    snprintf(row.missing[1], IF_NAMESIZE, "none1");
    row.n_missing = 2;
    doctor_judge_row(&list, &row, 0);
    expect(DOCTOR_FAIL, "can be reached by way of none0, none1, where no gate stands",
           "smtpgate attach none0 none1");
    /* One that is to be guarded is not to be attached once more. */
    doctor_judge_row(&list, &row, 2);
    expect(DOCTOR_FAIL, "not as it should (check 8)", "smtpgate sync && smtpgate attach none0");
    doctor_judge_row(&list, &row, 3);
    assert_string_equal(list.items[0].remedy, "smtpgate sync");
}

/* ---- the mode ---- */

static void test_mode(void **state)
{
    struct doctor_mode mode = {
        .plan = {SG_MODE_ENFORCE, SG_MODE_ENFORCE, 0},
        .end = "SOON",
        .entries = 2,
        .ended = 1,
        .ports = {.items = {25, 587}, .count = 2},
    };

    (void)state;
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_OK, "the mode is enforce: sources that are not listed are", "");
    mode.ended = 2;
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_WARN, "all entries have ended: every source is dropped", "list --expired");
    mode.plan = (struct mode_plan){SG_MODE_ENFORCE, SG_MODE_OBSERVE, 99};
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_WARN, "on trial, until SOON; then it is observe, unless", "smtpgate confirm");
    mode.plan = (struct mode_plan){SG_MODE_PAUSED, SG_MODE_ENFORCE, 99};
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_WARN,
           "the mode is paused, until SOON, then enforce: every source reaches ports 25, 587",
           "smtpgate enforce ");
    mode.plan = (struct mode_plan){SG_MODE_OBSERVE, SG_MODE_OBSERVE, 0};
    mode.ports.count = 1;
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_WARN, "the mode is observe: every source reaches port 25", "smtpgate enforce ");
    mode.plan = (struct mode_plan){SG_MODE_OFF, SG_MODE_OFF, 0};
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_WARN, "off, as the list is empty: every source", "smtpgate add WHO ");
    mode.accounts_only = true;
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_WARN,
           "others may come from anywhere: every source reaches port 25; and the lists"
           " of accounts are not enforced",
           "smtpgate set others nowhere ");
    mode.accounts_drops = true;
    doctor_judge_mode(&list, &mode);
    expect(DOCTOR_WARN, "only if the relay asks smtpgate policy", "smtpgate set others nowhere ");
}

static struct addr address(const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr, NULL), 0);
    return addr;
}

static void test_leader(void **state)
{
    struct doctor_leader leader = {.total = 99, .count = 99, .neighbour = true};

    (void)state;
    leader.address = address("10.0.0.1");
    doctor_judge_leader(&list, &leader);
    assert_int_equal(list.count, 0);
    leader.known = true;
    doctor_judge_leader(&list, &leader);
    expect(DOCTOR_OK, "too few", "");
    leader.total = leader.count = 100;
    doctor_judge_leader(&list, &leader);
    expect(DOCTOR_WARN, "100 % of 100 connections come from 10.0.0.1", "ip neigh show 10.0.0.1");
    leader.count = 95;
    doctor_judge_leader(&list, &leader);
    expect(DOCTOR_WARN, "95 %", "");
    leader.count = 94;
    doctor_judge_leader(&list, &leader);
    expect(DOCTOR_OK, "no neighbour", "");
    leader.count = 100;
    leader.neighbour = false;
    doctor_judge_leader(&list, &leader);
    expect(DOCTOR_OK, "no neighbour", "");
}

static void test_private(void **state)
{
    static const char *const yes[] = {"10.255.255.255", "172.16.0.0",  "172.31.255.255",
                                      "192.168.3.4",    "100.64.0.1",  "100.127.255.255",
                                      "169.254.1.1",    "fc00::1",     "fdff::1",
                                      "fe80::1",        "febf:ffff::1"};
    static const char *const no[] = {"9.255.255.255", "11.0.0.0",    "172.15.255.255",
                                     "172.32.0.0",    "192.167.0.0", "100.63.255.255",
                                     "100.128.0.0",   "8.8.8.8",     "2001:db8::1",
                                     "fbff::1",       "fe00::1",     "fec0::1"};
    struct addr one = address("192.0.2.1"), two = address("192.0.2.129");
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(yes); i++) {
        struct addr addr = address(yes[i]);

        assert_true(doctor_is_private(&addr));
    }
    for (i = 0; i < ARRAY_SIZE(no); i++) {
        struct addr addr = address(no[i]);

        assert_false(doctor_is_private(&addr));
    }
    assert_true(doctor_shares(&one, &two, 24));
    assert_false(doctor_shares(&one, &two, 25));
    assert_true(doctor_shares(&one, &one, 32));
    assert_true(doctor_shares(&one, &two, 0));
}

static void test_sysctls(void **state)
{
    struct doctor_sysctl settings[DOCTOR_SYSCTLS];
    struct doctor_sysctl *route = &settings[DOCTOR_SOURCE_ROUTE];
    struct doctor_sysctl *local = &settings[DOCTOR_ROUTE_LOCALNET];
    struct doctor_sysctl *fastopen = &settings[DOCTOR_FASTOPEN];

    (void)state;
    memset(settings, 0, sizeof(settings));
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_OK, "no setting", "");
    /* Source routes: only where both are set. */
    *route =
        (struct doctor_sysctl){.there = true, .ifaces = {{"eth0", 1}, {"eth1", 0}}, .n_ifaces = 2};
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_OK, "no setting", "");
    route->all = 1;
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_WARN, "accept_source_route is set (eth0):",
           "sysctl -w net/ipv4/conf/all/accept_source_route=0   #");
    route->there = false;
    /* The other one: where either is. */
    *local = (struct doctor_sysctl){
        .there = true, .ifaces = {{"eth0.5", 1}, {"a;b", 1}, {"eth1", 0}}, .n_ifaces = 3};
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_WARN, "route_localnet is set (eth0.5, a;b):",
           "sysctl -w net/ipv4/conf/all/route_localnet=0 net/ipv4/conf/eth0.5/route_localnet=0"
           " net/ipv4/conf/IFACE/route_localnet=0   #");
    local->all = 1;
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_WARN, "(eth0.5, a;b, eth1)", "conf/all/route_localnet=0");
    local->there = false;
    *fastopen = (struct doctor_sysctl){.there = true, .all = 0x201};
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_OK, "no setting", "");
    fastopen->all = 0x203;
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_WARN, "tcp_fastopen is 0x203", "net.ipv4.tcp_fastopen=3 ");
}

/* Texts of the longest names and of as many as there can be stay within their bounds. */
static void test_long(void **state)
{
    struct doctor_sysctl settings[DOCTOR_SYSCTLS];
    struct doctor_sysctl *local = &settings[DOCTOR_ROUTE_LOCALNET];
    size_t i;

    (void)state;
    memset(settings, 0, sizeof(settings));
    local->there = true;
    for (i = 0; i < DOCTOR_SYSCTL_IFACES; i++) {
        memset(local->ifaces[i].name, '\x1b', IF_NAMESIZE - 1);
        local->ifaces[i].value = 1;
    }
    local->n_ifaces = DOCTOR_SYSCTL_IFACES;
    doctor_judge_sysctls(&list, settings);
    expect(DOCTOR_WARN, ", ...): ", "   # and for every boot");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kernel, begin, end),
        cmocka_unit_test_setup_teardown(test_jit, begin, end),
        cmocka_unit_test_setup_teardown(test_pins, begin, end),
        cmocka_unit_test_setup_teardown(test_link, begin, end),
        cmocka_unit_test_setup_teardown(test_other_program, begin, end),
        cmocka_unit_test_setup_teardown(test_xdp, begin, end),
        cmocka_unit_test_setup_teardown(test_step, begin, end),
        cmocka_unit_test_setup_teardown(test_clock, begin, end),
        cmocka_unit_test_setup_teardown(test_families, begin, end),
        cmocka_unit_test_setup_teardown(test_firewall, begin, end),
        cmocka_unit_test_setup_teardown(test_leads, begin, end),
        cmocka_unit_test_setup_teardown(test_ports, begin, end),
        cmocka_unit_test_setup_teardown(test_no_connection, begin, end),
        cmocka_unit_test_setup_teardown(test_row, begin, end),
        cmocka_unit_test_setup_teardown(test_mode, begin, end),
        cmocka_unit_test_setup_teardown(test_leader, begin, end),
        cmocka_unit_test_setup_teardown(test_private, begin, end),
        cmocka_unit_test_setup_teardown(test_sysctls, begin, end),
        cmocka_unit_test_setup_teardown(test_long, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
