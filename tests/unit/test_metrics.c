// LINK: metrics counters mode
/* SPDX-License-Identifier: GPL-2.0-only */
/* One record against what was written down by hand for it, in both formats, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics.h"

static const char prometheus[] =
    "# HELP smtpgate_build_info The program's version.\n"
    "# TYPE smtpgate_build_info gauge\n"
    "smtpgate_build_info{version=\"9.9\"} 1\n"
    "# HELP smtpgate_mode 1 for the mode that is in force in the kernel, 0 for the others.\n"
    "# TYPE smtpgate_mode gauge\n"
    "smtpgate_mode{mode=\"off\"} 0\n"
    "smtpgate_mode{mode=\"observe\"} 1\n"
    "smtpgate_mode{mode=\"enforce\"} 0\n"
    "smtpgate_mode{mode=\"paused\"} 0\n"
    "# HELP smtpgate_mode_until_timestamp_seconds When the mode ends by itself (a pause, enforce "
    "--confirm), Unix time; 0: it stays.\n"
    "# TYPE smtpgate_mode_until_timestamp_seconds gauge\n"
    "smtpgate_mode_until_timestamp_seconds 1700000000\n"
    "# HELP smtpgate_store_readable 1 if the store could be read; else nothing is said of the "
    "list.\n"
    "# TYPE smtpgate_store_readable gauge\n"
    "smtpgate_store_readable 1\n"
    "# HELP smtpgate_allowlist_in_sync 1 if the kernel has what the store says.\n"
    "# TYPE smtpgate_allowlist_in_sync gauge\n"
    "smtpgate_allowlist_in_sync 0\n"
    "# HELP smtpgate_interfaces_expected Interfaces that the gate is to be on.\n"
    "# TYPE smtpgate_interfaces_expected gauge\n"
    "smtpgate_interfaces_expected 1\n"
    "# HELP smtpgate_interface_attached 1 if the gate is on the interface in that XDP mode; only "
    "interfaces that it is to be on.\n"
    "# TYPE smtpgate_interface_attached gauge\n"
    "smtpgate_interface_attached{interface=\"e\\\\x07\\\"0\",xdp_mode=\"native\"} 0\n"
    "smtpgate_interface_attached{interface=\"e\\\\x07\\\"0\",xdp_mode=\"generic\"} 1\n"
    "# HELP smtpgate_packets_total Packets that the gate has seen.\n"
    "# TYPE smtpgate_packets_total counter\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"pass\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"drop\"} 3\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"would_drop\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"pass\"} 10\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"drop\"} "
    "18446744073709551615\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"would_drop\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"pass\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"drop\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"would_drop\"} 5\n"
    "# HELP smtpgate_bytes_total Bytes of the packets that the gate has seen, whole frames.\n"
    "# TYPE smtpgate_bytes_total counter\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"pass\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"drop\"} 180\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"would_drop\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"pass\"} 1000\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"drop\"} 77\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"would_drop\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"pass\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"drop\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"would_drop\"} 500\n"
    "# HELP smtpgate_connection_attempts_total Attempts to connect (TCP SYN) to a guarded port.\n"
    "# TYPE smtpgate_connection_attempts_total counter\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",port=\"2525\","
    "verdict=\"pass\"} 0\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",port=\"2525\","
    "verdict=\"drop\"} 4\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",port=\"2525\","
    "verdict=\"would_drop\"} 0\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",port=\"2525\","
    "verdict=\"pass\"} 6\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",port=\"2525\","
    "verdict=\"drop\"} 0\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",port=\"2525\","
    "verdict=\"would_drop\"} 0\n"
    "# HELP smtpgate_drops_total Packets dropped, by why.\n"
    "# TYPE smtpgate_drops_total counter\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"unlisted\"} 18446744073709551615\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"vlan_depth\"} 3\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"ip_header\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"chain_long\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"chain_cut\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"first_fragment\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"tcp_cut\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"expired\"} 0\n"
    "# HELP smtpgate_allowlist_entries Entries of all lists, by what was typed.\n"
    "# TYPE smtpgate_allowlist_entries gauge\n"
    "smtpgate_allowlist_entries{kind=\"address\"} 11\n"
    "smtpgate_allowlist_entries{kind=\"segment\"} 12\n"
    "smtpgate_allowlist_entries{kind=\"range\"} 13\n"
    "# HELP smtpgate_allowlist_host_entries Entries of the host list.\n"
    "# TYPE smtpgate_allowlist_host_entries gauge\n"
    "smtpgate_allowlist_host_entries 30\n"
    "# HELP smtpgate_allowlist_limit Entries that each list takes; +Inf: no limit.\n"
    "# TYPE smtpgate_allowlist_limit gauge\n"
    "smtpgate_allowlist_limit +Inf\n"
    "# HELP smtpgate_allowlist_temporary_entries Entries that have an end, whether it has come or "
    "not.\n"
    "# TYPE smtpgate_allowlist_temporary_entries gauge\n"
    "smtpgate_allowlist_temporary_entries 2\n"
    "# HELP smtpgate_allowlist_prefixes Prefixes that the entries of all lists come to.\n"
    "# TYPE smtpgate_allowlist_prefixes gauge\n"
    "smtpgate_allowlist_prefixes{family=\"ip4\"} 50\n"
    "smtpgate_allowlist_prefixes{family=\"ip6\"} 60\n"
    "# HELP smtpgate_allowlist_last_change_timestamp_seconds When a list or a setting was last "
    "changed, Unix time; 0: never.\n"
    "# TYPE smtpgate_allowlist_last_change_timestamp_seconds gauge\n"
    "smtpgate_allowlist_last_change_timestamp_seconds 1700000001\n"
    "# HELP smtpgate_allowlist_next_expiry_timestamp_seconds When the next entry ends, Unix time; "
    "0: none will.\n"
    "# TYPE smtpgate_allowlist_next_expiry_timestamp_seconds gauge\n"
    "smtpgate_allowlist_next_expiry_timestamp_seconds 0\n"
    "# HELP smtpgate_untracked_drops_total Packets dropped, or that would have been, whose source "
    "was not written down.\n"
    "# TYPE smtpgate_untracked_drops_total counter\n"
    "smtpgate_untracked_drops_total 8\n"
    "# HELP smtpgate_policy_requests_total Requests to the policy service.\n"
    "# TYPE smtpgate_policy_requests_total counter\n"
    "smtpgate_policy_requests_total{result=\"allow\"} 101\n"
    "smtpgate_policy_requests_total{result=\"reject\"} 102\n"
    "smtpgate_policy_requests_total{result=\"no_login\"} 103\n"
    "smtpgate_policy_requests_total{result=\"trouble\"} 104\n"
    "smtpgate_policy_requests_total{result=\"malformed\"} 105\n"
    "# EOF\n";

static const char openmetrics[] =
    "# HELP smtpgate_build The program's version.\n"
    "# TYPE smtpgate_build info\n"
    "smtpgate_build_info{version=\"9.9\"} 1\n"
    "# HELP smtpgate_mode 1 for the mode that is in force in the kernel, 0 for the others.\n"
    "# TYPE smtpgate_mode gauge\n"
    "smtpgate_mode{mode=\"off\"} 0\n"
    "smtpgate_mode{mode=\"observe\"} 1\n"
    "smtpgate_mode{mode=\"enforce\"} 0\n"
    "smtpgate_mode{mode=\"paused\"} 0\n"
    "# HELP smtpgate_mode_until_timestamp_seconds When the mode ends by itself (a pause, enforce "
    "--confirm), Unix time; 0: it stays.\n"
    "# TYPE smtpgate_mode_until_timestamp_seconds gauge\n"
    "# UNIT smtpgate_mode_until_timestamp_seconds seconds\n"
    "smtpgate_mode_until_timestamp_seconds 1700000000\n"
    "# HELP smtpgate_store_readable 1 if the store could be read; else nothing is said of the "
    "list.\n"
    "# TYPE smtpgate_store_readable gauge\n"
    "smtpgate_store_readable 1\n"
    "# HELP smtpgate_allowlist_in_sync 1 if the kernel has what the store says.\n"
    "# TYPE smtpgate_allowlist_in_sync gauge\n"
    "smtpgate_allowlist_in_sync 0\n"
    "# HELP smtpgate_interfaces_expected Interfaces that the gate is to be on.\n"
    "# TYPE smtpgate_interfaces_expected gauge\n"
    "smtpgate_interfaces_expected 1\n"
    "# HELP smtpgate_interface_attached 1 if the gate is on the interface in that XDP mode; only "
    "interfaces that it is to be on.\n"
    "# TYPE smtpgate_interface_attached gauge\n"
    "smtpgate_interface_attached{interface=\"e\\\\x07\\\"0\",xdp_mode=\"native\"} 0\n"
    "smtpgate_interface_attached{interface=\"e\\\\x07\\\"0\",xdp_mode=\"generic\"} 1\n"
    "# HELP smtpgate_packets Packets that the gate has seen.\n"
    "# TYPE smtpgate_packets counter\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"pass\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"drop\"} 3\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"would_drop\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"pass\"} 10\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"drop\"} "
    "18446744073709551615\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"would_drop\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"pass\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"drop\"} 0\n"
    "smtpgate_packets_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"would_drop\"} 5\n"
    "# HELP smtpgate_bytes Bytes of the packets that the gate has seen, whole frames.\n"
    "# TYPE smtpgate_bytes counter\n"
    "# UNIT smtpgate_bytes bytes\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"pass\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"drop\"} 180\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"none\",verdict=\"would_drop\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"pass\"} 1000\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"drop\"} 77\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",verdict=\"would_drop\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"pass\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"drop\"} 0\n"
    "smtpgate_bytes_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",verdict=\"would_drop\"} 500\n"
    "# HELP smtpgate_connection_attempts Attempts to connect (TCP SYN) to a guarded port.\n"
    "# TYPE smtpgate_connection_attempts counter\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",port=\"2525\","
    "verdict=\"pass\"} 0\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",port=\"2525\","
    "verdict=\"drop\"} 4\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip4\",port=\"2525\","
    "verdict=\"would_drop\"} 0\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",port=\"2525\","
    "verdict=\"pass\"} 6\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",port=\"2525\","
    "verdict=\"drop\"} 0\n"
    "smtpgate_connection_attempts_total{interface=\"e\\\\x07\\\"0\",family=\"ip6\",port=\"2525\","
    "verdict=\"would_drop\"} 0\n"
    "# HELP smtpgate_drops Packets dropped, by why.\n"
    "# TYPE smtpgate_drops counter\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"unlisted\"} 18446744073709551615\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"vlan_depth\"} 3\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"ip_header\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"chain_long\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"chain_cut\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"first_fragment\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"tcp_cut\"} 0\n"
    "smtpgate_drops_total{interface=\"e\\\\x07\\\"0\",reason=\"expired\"} 0\n"
    "# HELP smtpgate_allowlist_entries Entries of all lists, by what was typed.\n"
    "# TYPE smtpgate_allowlist_entries gauge\n"
    "smtpgate_allowlist_entries{kind=\"address\"} 11\n"
    "smtpgate_allowlist_entries{kind=\"segment\"} 12\n"
    "smtpgate_allowlist_entries{kind=\"range\"} 13\n"
    "# HELP smtpgate_allowlist_host_entries Entries of the host list.\n"
    "# TYPE smtpgate_allowlist_host_entries gauge\n"
    "smtpgate_allowlist_host_entries 30\n"
    "# HELP smtpgate_allowlist_limit Entries that each list takes; +Inf: no limit.\n"
    "# TYPE smtpgate_allowlist_limit gauge\n"
    "smtpgate_allowlist_limit +Inf\n"
    "# HELP smtpgate_allowlist_temporary_entries Entries that have an end, whether it has come or "
    "not.\n"
    "# TYPE smtpgate_allowlist_temporary_entries gauge\n"
    "smtpgate_allowlist_temporary_entries 2\n"
    "# HELP smtpgate_allowlist_prefixes Prefixes that the entries of all lists come to.\n"
    "# TYPE smtpgate_allowlist_prefixes gauge\n"
    "smtpgate_allowlist_prefixes{family=\"ip4\"} 50\n"
    "smtpgate_allowlist_prefixes{family=\"ip6\"} 60\n"
    "# HELP smtpgate_allowlist_last_change_timestamp_seconds When a list or a setting was last "
    "changed, Unix time; 0: never.\n"
    "# TYPE smtpgate_allowlist_last_change_timestamp_seconds gauge\n"
    "# UNIT smtpgate_allowlist_last_change_timestamp_seconds seconds\n"
    "smtpgate_allowlist_last_change_timestamp_seconds 1700000001\n"
    "# HELP smtpgate_allowlist_next_expiry_timestamp_seconds When the next entry ends, Unix time; "
    "0: none will.\n"
    "# TYPE smtpgate_allowlist_next_expiry_timestamp_seconds gauge\n"
    "# UNIT smtpgate_allowlist_next_expiry_timestamp_seconds seconds\n"
    "smtpgate_allowlist_next_expiry_timestamp_seconds 0\n"
    "# HELP smtpgate_untracked_drops Packets dropped, or that would have been, whose source was "
    "not written down.\n"
    "# TYPE smtpgate_untracked_drops counter\n"
    "smtpgate_untracked_drops_total 8\n"
    "# HELP smtpgate_policy_requests Requests to the policy service.\n"
    "# TYPE smtpgate_policy_requests counter\n"
    "smtpgate_policy_requests_total{result=\"allow\"} 101\n"
    "smtpgate_policy_requests_total{result=\"reject\"} 102\n"
    "smtpgate_policy_requests_total{result=\"no_login\"} 103\n"
    "smtpgate_policy_requests_total{result=\"trouble\"} 104\n"
    "smtpgate_policy_requests_total{result=\"malformed\"} 105\n"
    "# EOF\n";

/* A name as text_escape() gives it, which quotes and backslashes pass. Each cell used is its own.
 */
static void fill(struct metrics *metrics, struct metrics_iface *iface)
{
    memset(iface, 0, sizeof(*iface));
    strcpy(iface->name, "e\\x07\"0");
    iface->wanted = true;
    iface->attached = METRICS_XDP_GENERIC;
    iface->counters.reason[SG_REASON_listed][SG_VERDICT_PASS][SG_FAMILY_IP4] =
        (struct sg_cell){7, 700};
    iface->counters.reason[SG_REASON_other_port][SG_VERDICT_PASS][SG_FAMILY_IP4] =
        (struct sg_cell){3, 300};
    iface->counters.reason[SG_REASON_unlisted][SG_VERDICT_DROP][SG_FAMILY_IP4] =
        (struct sg_cell){UINT64_MAX, 77};
    iface->counters.reason[SG_REASON_vlan_depth][SG_VERDICT_DROP][SG_FAMILY_NONE] =
        (struct sg_cell){3, 180};
    iface->counters.reason[SG_REASON_unlisted][SG_VERDICT_WOULD_DROP][SG_FAMILY_IP6] =
        (struct sg_cell){5, 500};
    iface->counters.port[9][SG_VERDICT_DROP][SG_FAMILY_IP4] = (struct sg_port_cell){8, 80, 4};
    iface->counters.port[9][SG_VERDICT_PASS][SG_FAMILY_IP6] = (struct sg_port_cell){9, 90, 6};
    iface->counters.port[8][SG_VERDICT_PASS][SG_FAMILY_IP6] = (struct sg_port_cell){1, 1, 1};
    *metrics = (struct metrics){
        .version = "9.9",
        .mode = SG_MODE_OBSERVE,
        .mode_until = 1700000000,
        .has_list = true,
        .list = {.kinds = {11, 12, 13},
                 .host_entries = 30,
                 .temporary = 2,
                 .prefixes4 = 50,
                 .prefixes6 = 60,
                 .last_change = 1700000001},
        .ifaces = iface,
        .n_ifaces = 1,
        .ports = {{2525, 9}},
        .n_ports = 1,
        .untracked = 8,
        .results = {101, 102, 103, 104, 105},
    };
}

static void expect(enum metrics_format format, const char *expected)
{
    static struct metrics_iface iface;
    struct metrics metrics;
    char *text;
    size_t length;

    fill(&metrics, &iface);
    assert_int_equal(metrics_render(&metrics, format, &text, &length), 0);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(text));
    free(text);
}

static void test_prometheus(void **state)
{
    (void)state;
    expect(METRICS_PROMETHEUS, prometheus);
}

static void test_openmetrics(void **state)
{
    (void)state;
    expect(METRICS_OPENMETRICS, openmetrics);
}

/* What cannot be known is not said; what the kernel counts is. */
static void test_no_list(void **state)
{
    static struct metrics_iface iface;
    struct metrics metrics;
    char *text;
    size_t length;

    (void)state;
    fill(&metrics, &iface);
    metrics.has_list = false;
    metrics.list.limit = 5;
    assert_int_equal(metrics_render(&metrics, METRICS_PROMETHEUS, &text, &length), 0);
    assert_non_null(strstr(text, "\nsmtpgate_store_readable 0\n"));
    assert_null(strstr(text, "smtpgate_allowlist_entries"));
    assert_null(strstr(text, "timestamp_seconds 1700000001"));
    assert_non_null(strstr(text, "reason=\"vlan_depth\"} 3\n"));
    assert_string_equal(text + length - 6, "# EOF\n");
    free(text);
}

/* An interface that it was on once keeps its counts, and is not to be attached. No limit is +Inf.
 */
static void test_unwanted(void **state)
{
    static struct metrics_iface iface;
    struct metrics metrics;
    char *text;
    size_t length;

    (void)state;
    fill(&metrics, &iface);
    iface.wanted = false;
    metrics.list.limit = 10;
    metrics.list.last_change = -5;
    assert_int_equal(metrics_render(&metrics, METRICS_PROMETHEUS, &text, &length), 0);
    assert_non_null(strstr(text, "\nsmtpgate_interfaces_expected 0\n"));
    assert_null(strstr(text, "\nsmtpgate_interface_attached{"));
    assert_non_null(strstr(text, "reason=\"vlan_depth\"} 3\n"));
    assert_non_null(strstr(text, "\nsmtpgate_allowlist_limit 10\n"));
    assert_non_null(strstr(text, "last_change_timestamp_seconds 0\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prometheus),
        cmocka_unit_test(test_openmetrics),
        cmocka_unit_test(test_no_list),
        cmocka_unit_test(test_unwanted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
