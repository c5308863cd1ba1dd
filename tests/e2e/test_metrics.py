#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Metrics as those see them who are to use them: Prometheus's own tools and a Prometheus server.

What the counters must be is worked out from the frames that were sent, and which series there must
be from the words of smtpgate-metrics(7): nothing is compared with what another command says. One mail
host serves all tests; each leaves it as it found it, but for the counters, which only grow.
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import frames
import lab
import tap

USER, GROUP = 64998, 64999      # nobody has these numbers
PROGRAM = lab.MNT + "/smtpgate"
STORE = lab.STATE + "/smtpgate.db"
COUNTS = lab.STATE + "/policy.counts"
TEXTFILE = lab.MNT + "/collector/smtpgate.prom"
PORT = 10465
PORTS = (*lab.GUARDED, 2525)     # that are guarded, or were
PATIENCE = 30.0                 # seconds; only a hang comes near

FAMILIES, VERDICTS = ("none", "ip4", "ip6"), ("pass", "drop", "would_drop")
REASONS = ("unlisted", "expired", "vlan_depth", "ip_header", "chain_long", "chain_cut",
           "first_fragment", "tcp_cut")
RESULTS = ("allow", "reject", "no_login", "trouble", "malformed")
ALONE = ("mode_until_timestamp_seconds", "store_readable", "allowlist_in_sync",
         "interfaces_expected", "allowlist_host_entries", "allowlist_limit",
         "allowlist_temporary_entries", "allowlist_last_change_timestamp_seconds",
         "allowlist_next_expiry_timestamp_seconds", "untracked_drops_total")

OPENMETRICS = """
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
print(json.dumps([[s.name, sorted(s.labels.items()), str(s.value)]
                  for f in parse(sys.stdin.read()) for s in f.samples]))
"""
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')


def key(name, **labels):
    """A series."""
    return f"smtpgate_{name}", tuple(sorted(labels.items()))


def parse(text):
    """{series: value} of Prometheus's text format; each series once."""
    found = {}
    assert text.endswith("\n# EOF\n"), text[-200:]
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        pairs = tuple(sorted((n, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], v))
                             for n, v in LABEL.findall(labels or "")))
        assert (name, pairs) not in found, f"twice: {line}"
        found[name, pairs] = float(value)
    return found


def packets(metrics):
    """All that were seen."""
    return sum(v for k, v in metrics.items() if k[0] == "smtpgate_packets_total")


def series(interfaces, ports, attached=None, whole=True):
    """Every series that there must be."""
    wanted = {key("build_info", version="0.2.0")} | {key(n) for n in ALONE}
    wanted |= {key("mode", mode=m) for m in ("off", "observe", "enforce", "paused")}
    wanted |= {key("interface_attached", interface=i, xdp_mode=m)
               for i in (interfaces if attached is None else attached)
               for m in ("native", "generic")}
    wanted |= {key(n, interface=i, family=f, verdict=v) for n in ("packets_total", "bytes_total")
               for i in interfaces for f in FAMILIES for v in VERDICTS}
    wanted |= {key("connection_attempts_total", interface=i, family=f, port=str(p), verdict=v)
               for i in interfaces for f in FAMILIES[1:] for p in ports for v in VERDICTS}
    wanted |= {key("drops_total", interface=i, reason=r) for i in interfaces for r in REASONS}
    wanted |= {key("allowlist_entries", kind=k) for k in ("address", "segment", "range")}
    wanted |= {key("allowlist_prefixes", family=f) for f in FAMILIES[1:]}
    wanted |= {key("policy_requests_total", result=r) for r in RESULTS}
    gone = ("smtpgate_allowlist_entries", "smtpgate_allowlist_prefixes", "smtpgate_allowlist_limit")
    return wanted if whole else {
        k for k in wanted if k[0] not in gone and not re.search(
            "allowlist_(host|temp|last|next)", k[0])}


def same(got, wanted):
    """Asserts that two sets are one."""
    assert set(got) == set(wanted), \
        f"missing {sorted(set(wanted) - set(got))}\ntoo many {sorted(set(got) - set(wanted))}"


class Site(lab.Lab):
    """A mail host with the gate on eth0, whose cable ends in a host that says nothing by itself."""

    def __init__(self):
        super().__init__()
        self.client = self.host("client")
        for host, device in ((self.mail, "eth0"), (self.client, "p0")):
            host.sysctl("ipv6/conf/all/disable_ipv6", 1)
            host.sysctl("ipv6/conf/default/disable_ipv6", 1)
        self.link(self.mail, "eth0", self.client, "p0")
        self.wire = self.client.packets("p0")
        self.mac = self.mail.mac("eth0")
        shutil.copy(lab.PROGRAM, self.mail.path(PROGRAM))
        self.mail.path(TEXTFILE).parent.mkdir()
        self.gate("-q", "attach", "eth0")
        self.gate("-q", "set", "ports", "25,465,587,2525")     # keeps its series from here on
        self.gate("-q", "set", "ports", "25,465,587")

    def fill(self):
        """The list, once for all who want one."""
        self.gate("-q", "set", "limit", "none")
        self.gate("-q", "add", "192.0.2.1", "192.0.2.2")
        self.gate("-q", "add", "198.51.100.0/24", "2001:db8::/32")
        self.gate("-q", "add", "203.0.113.1-203.0.113.6", "--for", "1h")     # .1 .2/31 .4/31 .6
        self.gate("-q", "add", "203.0.113.77", "--account", "alice", "--for", "2h")

    def metrics(self, *words, ok=0):
        """`smtpgate metrics`, parsed."""
        return parse(self.gate("metrics", *words, ok=ok).out)

    def send(self, kind, payload, count, tags=b""):
        """So many frames of one kind; their size."""
        frame = self.mac + b"\2\0\0\0\0\7" + tags + kind + payload
        for _ in range(count):
            self.wire.send(frame)
        return len(frame) * count

    def arrived(self, count):
        """Waits until that many packets are counted."""
        lab.until(lambda: packets(self.metrics()) >= count, PATIENCE)

    @contextlib.contextmanager
    def exporter(self, *words, user=None, caps="-all"):
        """The process (which is nsenter's), ready; `caps` of a user other than root."""
        drop = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
                f"--inh-caps={caps}", f"--ambient-caps={caps}", "--") if user else ()
        process = self.mail.start(*drop, PROGRAM, "exporter",
                                  *(words or ("--listen", f"127.0.0.1:{PORT}")), env=self.env,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            assert "until it is ended" in (line := process.stderr.readline()), line
            yield process
        finally:
            for pid in family(process.pid)[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            process.wait(PATIENCE)
            process.stderr.close()

    def get(self, path="/metrics", method="GET", source="127.0.0.1", body=None, **headers):
        """(status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
        connection.sock = self.connect(source)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            self.mail.sockets.remove(connection.sock) if connection.sock in self.mail.sockets \
                else None
            connection.close()

    def connect(self, source="127.0.0.1", port=PORT):
        """A connection to the exporter, from an address of the loopback."""
        sock = self.mail.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        return sock


def family(pid):
    """A process and all its descendants, as this machine numbers them."""
    found = [pid]
    for one in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, pathlib.Path(f"/proc/{one}/task/{one}/children").read_text(
                "ascii").split())
    return found


def status(pid):
    """{name: value} of /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in
                pathlib.Path(f"/proc/{pid}/status").read_text("ascii").splitlines())


def session(pid):
    """The number of its session."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[3]


SITE = None


def setup():
    """The one site, for all tests."""
    global SITE     # pylint: disable=global-statement
    if SITE is None:
        SITE = Site()


def tools(text, strict):
    """What Prometheus's tools make of it."""
    if not strict:
        done = lab.execute(["promtool", "check", "metrics"], stdin=text)
        assert not done.out and not done.err, done
        return parse(text)
    done = lab.execute(["/usr/bin/python3", "-c", OPENMETRICS], stdin=text)
    return {(name, tuple(map(tuple, labels))): float(value)
            for name, labels, value in json.loads(done.out)}


# ---- what there is ----

@tap.test
def from_the_start():
    """every series is there from the start, before a packet came"""
    got = SITE.metrics()
    same(got, series(["eth0"], PORTS))
    ones = {k for k, v in got.items() if v}
    assert ones == {key("build_info", version="0.2.0"), key("mode", mode="off"),
                    key("store_readable"), key("allowlist_in_sync"), key("interfaces_expected"),
                    key("interface_attached", interface="eth0", xdp_mode="native"),
                    key("allowlist_limit"), key("allowlist_last_change_timestamp_seconds")}, ones


@tap.test
def nothing_at_all():
    """without a store and a gate it is an empty list, in step"""
    words = ("--state", lab.MNT + "/none", "--bpffs", lab.MNT + "/bpf/none")
    got = parse(SITE.gate(*words, "metrics").out)
    same(got, series([], lab.GUARDED))
    assert got[key("store_readable")] == got[key("allowlist_in_sync")] == 1
    assert not SITE.mail.path(lab.MNT + "/none").exists()


@tap.test
def formats():
    """promtool and the OpenMetrics parser take it, and find the same in both formats"""
    plain = tools(SITE.gate("metrics").out, strict=False)
    assert plain == tools(SITE.gate("metrics", "--format", "openmetrics").out, strict=True)
    listed = SITE.json("metrics")["metrics"]
    assert {(f["name"], tuple(sorted(s["labels"].items()))): s["value"]
            for f in listed for s in f["samples"]} == plain
    assert SITE.gate("metrics", "--format", "json", ok=2).out == ""


@tap.test
def list_and_settings():
    """entries, prefixes, ends, limit, mode: as they are set"""
    before = time.time()
    SITE.fill()
    # As if all had been long ago; detach and attach are no changes of the list.
    got = SITE.metrics()
    assert before - 1 <= got[key("allowlist_last_change_timestamp_seconds")] <= time.time()
    SITE.mail.run("sqlite3", "-bail", STORE, "UPDATE change SET at = at - 5000;")
    SITE.gate("-q", "detach", "eth0")
    SITE.gate("-q", "-y", "attach", "eth0")
    got = SITE.metrics()
    assert [got[key("allowlist_entries", kind=k)] for k in ("address", "segment", "range")] \
        == [3, 2, 1]
    assert got[key("allowlist_host_entries")] == 5
    assert got[key("allowlist_temporary_entries")] == 2
    assert got[key("allowlist_prefixes", family="ip4")] == 2 + 1 + 4 + 1
    assert got[key("allowlist_prefixes", family="ip6")] == 1
    assert got[key("allowlist_limit")] == float("inf")
    assert got[key("allowlist_last_change_timestamp_seconds")] <= time.time() - 5000
    assert before + 3599 <= got[key("allowlist_next_expiry_timestamp_seconds")] \
        <= time.time() + 3600
    for mode, words in (("observe", ["observe"]), ("paused", ["pause", "15m"]),
                        ("enforce", ["-y", "enforce"])):
        SITE.gate("-q", *words)
        got = SITE.metrics()
        assert {k[1][0][1] for k, v in got.items() if k[0] == "smtpgate_mode" and v} == {mode}
        until = got[key("mode_until_timestamp_seconds")]
        assert abs(until - time.time() - 900) < 60 if mode == "paused" else until == 0
    tools(SITE.gate("metrics").out, strict=False)
    tools(SITE.gate("metrics", "--format", "openmetrics").out, strict=True)


def syn4(source, port, flags=frames.SYN):
    """An IPv4 packet with a bare TCP header."""
    return frames.ip4(source, "192.0.2.25", frames.tcp(source, "192.0.2.25", 4000, port, flags, 1))


def syn6(source, port):
    """The same over IPv6."""
    return frames.ip6(source, "2001:db8:f::25", frames.TCP,
                      frames.tcp(source, "2001:db8:f::25", 4000, port, frames.SYN, 1))


@tap.test
def counted():
    """counters are what was sent, to the packet and the byte; kept over attach and other ports"""
    SITE.fill()
    start = SITE.metrics()
    grown = {}

    def sent(count, size, fam, verdict, port=None, reason=None):
        for name, more in (("packets_total", count), ("bytes_total", size)):
            k = key(name, interface="eth0", family=fam, verdict=verdict)
            grown[k] = grown.get(k, 0) + more
        if port:
            k = key("connection_attempts_total", interface="eth0", family=fam, port=str(port),
                    verdict=verdict)
            grown[k] = grown.get(k, 0) + count
        if reason:
            k = key("drops_total", interface="eth0", reason=reason)
            grown[k] = grown.get(k, 0) + count

    ip4, ip6, tag = b"\x08\0", b"\x86\xdd", b"\x81\0\0\5"
    sent(3, SITE.send(b"\x08\x06", bytes(28), 3), "none", "pass")
    sent(5, SITE.send(ip4, syn4("192.0.2.1", 25), 5), "ip4", "pass", 25)
    sent(7, SITE.send(ip4, syn4("192.0.2.9", 587), 7), "ip4", "drop", 587, "unlisted")
    sent(2, SITE.send(ip4, syn4("192.0.2.9", 587, frames.ACK), 2), "ip4", "drop", None, "unlisted")
    sent(4, SITE.send(ip4, syn4("192.0.2.9", 22), 4), "ip4", "pass")
    sent(6, SITE.send(ip6, syn6("2001:db8::5", 465), 6, tag), "ip6", "pass", 465)
    sent(8, SITE.send(ip6, syn6("2001:db9::5", 465), 8), "ip6", "drop", 465, "unlisted")
    sent(9, SITE.send(ip4, syn4("192.0.2.1", 25), 9, tag * 9), "none", "drop", None, "vlan_depth")
    total = packets(start)
    SITE.arrived(total + 44)
    SITE.gate("-q", "observe")
    sent(11, SITE.send(ip4, syn4("192.0.2.9", 25), 11), "ip4", "would_drop", 25)
    SITE.arrived(total + 55)
    SITE.gate("-q", "-y", "enforce")

    def check(got):
        for k, v in got.items():
            if k[0] in ("smtpgate_packets_total", "smtpgate_bytes_total", "smtpgate_drops_total",
                        "smtpgate_connection_attempts_total"):
                assert v == start[k] + grown.get(k, 0), (k, v, start[k], grown.get(k))
    check(SITE.metrics())
    SITE.gate("-q", "detach", "eth0")
    got = SITE.metrics()
    check(got)
    same(got, series(["eth0"], PORTS, attached=[]))
    assert got[key("interfaces_expected")] == 0
    SITE.gate("-q", "-y", "attach", "eth0", "--mode", "generic")
    SITE.gate("-q", "-y", "set", "ports", "25,2525")
    got = SITE.metrics()
    same(got, series(["eth0"], PORTS))
    assert got[key("interface_attached", interface="eth0", xdp_mode="generic")] == 1
    assert got[key("interface_attached", interface="eth0", xdp_mode="native")] == 0
    check(got)
    SITE.gate("-q", "detach", "eth0")
    SITE.gate("-q", "-y", "attach", "eth0")
    SITE.gate("-q", "-y", "set", "ports", "25,465,587")


@tap.test
def not_written_down():
    """packets whose source was not written down: dropped ones, and those that would have been"""
    path = lab.BPFFS + "/abi1/budget"
    cpus = len(SITE.bpftool("map", "dump", "pinned", path)[0]["values"])
    value = struct.pack("=6Q", 0, 0, 0, 7, 20, 300)     # pass, drop, would_drop; on each CPU
    SITE.bpftool("map", "update", "pinned", path, "key", *"0000", "value",
                 *(str(byte) for byte in value))
    assert SITE.metrics()[key("untracked_drops_total")] == 320 * cpus


@tap.test
def odd_names():
    """an interface's name may hold nearly any byte; one that had another's name is no second series"""
    name = b'e"\\x\xff}'
    start = SITE.metrics()
    SITE.mail.ip("link set eth0 down")
    SITE.mail.run("ip", "link", "set", "eth0", "name", os.fsdecode(name))
    try:
        shown = 'e"\\x\\xff}'
        same(SITE.metrics(), series([shown], PORTS))
        assert tools(SITE.gate("metrics").out, strict=False) == \
            tools(SITE.gate("metrics", "--format", "openmetrics").out, strict=True)
        # A new device has the old name now.
        SITE.mail.ip("link add eth0 type veth peer name other", "link set eth0 up")
        SITE.gate("-q", "attach", "eth0")
        SITE.gate("-q", "sync")     # remembers the renamed one by its new name
        same(SITE.metrics(), series([shown, "eth0"], PORTS))
        SITE.gate("-q", "detach", "eth0")
        SITE.mail.ip("link del eth0")
    finally:
        SITE.mail.run("ip", "link", "set", os.fsdecode(name), "name", "eth0")
        SITE.mail.ip("link set eth0 up")
    # The deleted one was called eth0, too: its counts stand in one series with the others.
    got = SITE.metrics()
    same(got, series(["eth0"], PORTS))
    assert all(got[k] >= v for k, v in start.items() if k[0].endswith("_total"))


@tap.test
def moved_device():
    """a device that was taken to another namespace is guarded still, unless a new one has its name"""
    with lab.Lab() as host:
        def guarded():
            got = parse(host.gate("metrics").out)
            return sum(got[key("interface_attached", interface="eth7", xdp_mode=mode)]
                       for mode in ("native", "generic"))
        other = host.host("other")
        host.mail.ip("link add eth7 type veth peer name p7", "link set eth7 up")
        host.gate("-q", "attach", "eth7")
        assert guarded() == 1 and host.gate("status", "--check")
        lab.execute(["nsenter", f"--target={host.mail.pid}", "--net", "--", "ip", "link", "set",
                     "eth7", "netns", str(other.pid)])
        assert guarded() == 1 and host.gate("status", "--check")
        host.mail.ip("link add eth7 type veth peer name p8", "link set eth7 up")
        assert guarded() == 0 and host.gate("status", "--check", ok=1)


# ---- when something is wrong ----

@tap.test
def without_store():
    """with the store missing or damaged the kernel's part is told, and in_sync is 0"""
    SITE.fill()
    SITE.gate("-q", "set", "ports", "587,2525")     # another order than an empty store has
    before = packets(SITE.metrics())
    SITE.send(b"\x08\0", syn4("192.0.2.9", 587), 2)
    SITE.send(b"\x08\0", syn4("192.0.2.9", 2525), 3)
    SITE.arrived(before + 5)
    store = SITE.mail.path(STORE)
    data = store.read_bytes()
    start = SITE.metrics()
    try:
        for broken in (None, b"", b"no database at all " * 1000, data[:5000]):
            store.unlink(missing_ok=True)
            if broken is not None:
                store.write_bytes(broken)
            done = SITE.gate("metrics")
            assert "only what the kernel knows" in done.err, done
            got = parse(done.out)
            assert got[key("store_readable")] == got[key("allowlist_in_sync")] == 0
            # Ports that are not guarded any more, and their counters, are known by the store alone.
            same(got, series(["eth0"], (587, 2525), whole=False))
            for k, v in got.items():
                if k[0].endswith("_total") or k[0] == "smtpgate_mode":
                    assert v == start[k], k
        tools(SITE.gate("metrics").out, strict=False)
        other = SITE.gate("--bpffs", lab.MNT + "/bpf/none", "metrics", ok=5)
        assert not other.out and other.err, other       # neither store nor gate
    finally:
        store.write_bytes(data)
    assert SITE.metrics() == start
    SITE.gate("-q", "set", "ports", "25,465,587")


@tap.test
def out_of_step():
    """a store that the kernel is not at: in_sync 0, and the list as stored"""
    SITE.fill()
    store = SITE.mail.path(STORE)
    data = store.read_bytes()
    SITE.gate("-q", "add", "192.0.2.99")
    newer = store.read_bytes()
    try:
        store.write_bytes(data)
        got = SITE.metrics()
        assert got[key("allowlist_in_sync")] == 0 and got[key("store_readable")] == 1
        assert got[key("allowlist_entries", kind="address")] == 3
    finally:
        store.write_bytes(newer)
    got = SITE.metrics()
    assert got[key("allowlist_in_sync")] == 1
    assert got[key("allowlist_entries", kind="address")] == 4
    SITE.gate("-q", "delete", "192.0.2.99")


# ---- the policy service ----

def ask(*requests):
    """Answers of a policy process without rights."""
    text = "\n".join("request=smtpd_access_policy\n" + "".join(f"{n}={v}\n" for n, v in r)
                     for r in requests) + "\n"
    done = SITE.mail.run("setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--",
                         PROGRAM, "policy", stdin=text, env=SITE.env)
    return re.findall(r"action=(\w+)", done.out)


@tap.test
def policy_answers():
    """answers of the policy service are counted, by all its processes; without the file they are not"""
    SITE.fill()
    state, store, counts = (SITE.mail.path(p) for p in (lab.STATE, STORE, COUNTS))
    os.chown(state, 0, GROUP)
    os.chown(store, 0, GROUP)
    state.chmod(0o2750)
    alice = [("sasl_username", "alice"), ("client_address", "203.0.113.77")]
    thief = [("sasl_username", "alice"), ("client_address", "192.0.2.1")]
    asked = [alice, alice, alice, thief, thief, [], thief + alice]
    answers = ["DUNNO"] * 3 + ["REJECT"] * 2 + ["DUNNO", "DEFER_IF_PERMIT"]

    def results():
        got = SITE.metrics()
        return [got[key("policy_requests_total", result=r)] for r in RESULTS]
    assert ask(*asked) == answers and results() == [0] * 5 and not counts.exists()
    SITE.mail.run("install", "-m", "0660", "-g", str(GROUP), "/dev/null", COUNTS)
    assert ask(*asked) == answers
    assert results() == [3, 2, 1, 0, 1]
    threads = [threading.Thread(target=ask, args=asked * 20) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results() == [243, 162, 81, 0, 81]
    store.chmod(0o600)
    assert ask(alice, []) == ["DEFER_IF_PERMIT", "DUNNO"]
    store.chmod(0o640)
    assert results() == [243, 162, 82, 1, 81]
    assert counts.stat().st_size == 128 and counts.stat().st_mode & 0o7777 == 0o660
    # What is no such file is left alone, by those who count and those who read.
    kept = counts.read_bytes()
    for other in (b"x" * 128, kept[:64], kept + b"x"):
        counts.write_bytes(other)
        assert ask(*asked) == answers and results() == [0] * 5 and counts.read_bytes() == other
    # Whoever may write it can make the numbers anything, and no more: they are no negative ones.
    counts.write_bytes(kept[:16] + b"\xff" * 112)
    assert results() == [float(2 ** 64 - 1)] * 5
    family_of = {f["name"]: f["samples"] for f in SITE.json("metrics")["metrics"]}
    assert {s["value"] for s in family_of["smtpgate_policy_requests_total"]} == {2 ** 63 - 1}
    counts.write_bytes(kept)
    counts.chmod(0o440)     # may not be written by the service
    assert ask(*asked) == answers and results() == [243, 162, 82, 1, 81]
    counts.unlink()
    os.symlink("smtpgate.db", counts)
    before = store.read_bytes()
    assert ask(*asked) == answers and results() == [0] * 5 and store.read_bytes() == before
    counts.unlink()


# ---- into a file ----

@tap.test
def textfile():
    """--textfile replaces the file as a whole: a reader never sees half of one"""
    file = SITE.mail.path(TEXTFILE)
    words = ("metrics", "--textfile", TEXTFILE)
    assert SITE.gate(*words).out == ""
    assert file.stat().st_mode & 0o7777 == 0o644
    assert parse(file.read_text()) == SITE.metrics()
    assert SITE.gate("-n", *words).out == f"would write {TEXTFILE}\n"
    assert SITE.json(*words)["bytes"] == file.stat().st_size
    stop, seen, wrong = threading.Event(), set(), []

    def read():
        while not stop.is_set():
            text = file.read_text()
            seen.add(os.stat(file).st_ino)
            if not text.endswith("# EOF\n") or not text.startswith("# HELP smtpgate_build"):
                wrong.append(text)
    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        SITE.gate(*words)
    stop.set()
    reader.join()
    assert not wrong and len(seen) > 1, (len(wrong), len(seen))
    assert os.listdir(file.parent) == ["smtpgate.prom"]


@tap.test
def textfile_fails():
    """what goes wrong with --textfile leaves the old file, and nothing else behind"""
    file = SITE.mail.path(TEXTFILE)
    words = ("metrics", "--textfile", TEXTFILE)
    SITE.gate(*words)
    # What is no file stays, and a link is not followed: /dev/null and /dev/stdout are wanted.
    victim = SITE.mail.path(lab.MNT + "/victim")
    victim.write_text("mine\n")
    for make in (lambda: os.symlink(lab.MNT + "/victim", file), lambda: os.mkfifo(file), file.mkdir,
                 lambda: SITE.mail.run("mknod", TEXTFILE, "c", "1", "3")):
        file.unlink()
        make()
        before = file.lstat()
        what = "a symbolic link" if file.is_symlink() else "is no regular file"
        assert what in SITE.gate(*words, ok=5).err
        assert SITE.json("-n", *words, ok=5)["error"]["code"] == 5
        assert file.lstat().st_ino == before.st_ino and os.listdir(file.parent) == [file.name]
        if file.is_dir():
            file.rmdir()
            file.touch()
    assert victim.read_text() == "mine\n"
    file.unlink()
    # A full disk.
    SITE.mail.run("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(pathlib.Path(TEXTFILE).parent))
    file.write_text("old\n")
    done = SITE.gate(*words, ok=5)
    assert "No space left" in done.err and file.read_text() == "old\n"
    assert os.listdir(file.parent) == ["smtpgate.prom"]
    SITE.mail.run("umount", str(pathlib.Path(TEXTFILE).parent))
    # No such directory, no name, no right to write there.
    for path, code in ((lab.MNT + "/nowhere/x.prom", 5), ("", 2), (lab.MNT + "/", 2),
                       (lab.MNT + "/..", 2)):
        done = SITE.gate("metrics", "--textfile", path, ok=code)
        assert done.out == "" and done.err, done


# ---- over HTTP ----

@tap.test
def exporter_answers():
    """the exporter speaks both formats, GET and HEAD, and nothing else"""
    with SITE.exporter():
        code, head, body = SITE.get()
        assert (code, head["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert parse(body) == SITE.metrics()
        code, head, body = SITE.get(
            Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
        assert (code, head["Content-Type"]) == \
            (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        assert tools(body, strict=True) == SITE.metrics()
        code, head, body = SITE.get(method="HEAD")
        assert code == 200 and not body and int(head["Content-Length"]) > 1000
        code, head, body = SITE.get("/")
        assert code == 200 and 'href="/metrics"' in body and "text/html" in head["Content-Type"]
        for path in ("/x", "/metrics/", "/../etc/passwd", "/%2e%2e/metrics"):
            assert SITE.get(path)[0] in (400, 404), path
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            code, head, _ = SITE.get(method=method, body="x=y")
            assert (code, head["Allow"]) == (405, "GET, HEAD"), method
        assert SITE.get("/metrics?name[]=x")[0] == 200


@tap.test
def exporter_remembers():
    """what was read stays for a second, and no longer, however many ask"""
    with SITE.exporter():
        for patient in (False, True):
            start = time.monotonic()
            first = SITE.get()[2]
            SITE.send(b"\x08\x06", bytes(28), 1)
            SITE.arrived(packets(parse(first)) + 1)
            if patient:
                lab.until(lambda: SITE.get()[2] != first, PATIENCE)
            else:
                again = SITE.get()[2]
                assert again == first or time.monotonic() - start >= 1


@tap.test
def exporter_rights():
    """the process that speaks HTTP has no rights; the other does not listen"""
    with SITE.exporter() as process:
        SITE.get()
        parent, child = family(process.pid)[1:]
        told = status(child)
        assert told["Uid"].split()[0] != "0" and len(set(told["Uid"].split())) == 1
        assert len(set(told["Gid"].split())) == 1 and told["Gid"].split()[0] != "0"
        assert not told["Groups"].strip() and told["NoNewPrivs"] == "1"
        assert all(int(told[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")), told
        assert "microhttpd" not in pathlib.Path(f"/proc/{parent}/maps").read_text("ascii")

        def sockets(pid):
            return {os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}
        listening = {f"socket:[{line.split()[9]}]" for line in
                     pathlib.Path(f"/proc/{parent}/net/tcp").read_text("ascii").splitlines()
                     if line.split()[3] == "0A"}
        assert len(listening) == 1
        assert listening <= sockets(child) and not listening & sockets(parent)
        # Nothing to print to, and no terminal to type into.
        assert {os.readlink(f"/proc/{child}/fd/{n}") for n in range(3)} == {"/dev/null"}
        assert session(child) != session(parent)
    # It is a user of its own where there is one: the service's may read the list.
    users = SITE.mail.path(lab.MNT + "/passwd")
    users.write_text(pathlib.Path("/etc/passwd").read_text("utf-8")
                     + "smtpgate:x:64992:64993::/nonexistent:/usr/sbin/nologin\n"
                     + "smtpgate-exporter:x:64990:64991::/nonexistent:/usr/sbin/nologin\n")
    SITE.mail.run("mount", "--bind", lab.MNT + "/passwd", "/etc/passwd")
    try:
        with SITE.exporter() as process:
            told = status(family(process.pid)[2])
            assert (set(told["Uid"].split()), set(told["Gid"].split())) == ({"64990"}, {"64991"})
    finally:
        SITE.mail.run("umount", "/etc/passwd")
    # A unit's capabilities instead of root: the parent's alone.
    with SITE.exporter(user=USER, caps="+sys_admin,+dac_override") as process:
        assert parse(SITE.get()[2]) == SITE.metrics()
        parent, child = family(process.pid)[1:]
        assert all(int(status(parent)[c], 16) for c in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
        told = status(child)
        assert all(int(told[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")), told
    # Without rights from the start it serves what it may see: here nothing.
    with SITE.exporter(user=USER) as process:
        code, _, body = SITE.get()
        assert code == 500 and "cannot be read" in body
        said = [process.stderr.readline(), process.stderr.readline()]
        assert said[0].startswith("smtpgate: warning: as it is now, every scrape is answered 500: ")
        assert "exporter: " in said[1], said


@tap.test
def exporter_load():
    """many at once are answered; those who dawdle or babble do not keep others out"""
    with SITE.exporter() as process:
        codes = []
        parent = family(process.pid)[1]
        SITE.get()
        files = sorted(os.listdir(f"/proc/{parent}/fd"))

        def storm():
            codes.extend(SITE.get()[0] for _ in range(10))
        threads = [threading.Thread(target=storm) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [200] * 200, codes
        lazy = [SITE.connect("127.0.0.3") for _ in range(200)]
        for sock in lazy:
            with contextlib.suppress(OSError):
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert SITE.get(source="127.0.0.2")[0] == 200
        for data in (b"\0" * 100000, b"GET " + b"/" * 100000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000,
                     b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100000,
                     b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n" + b"x" * 50000,
                     b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500)):
            sock = SITE.connect("127.0.0.4")
            with contextlib.suppress(OSError):
                sock.sendall(data)
            sock.close()
        assert SITE.get(source="127.0.0.2")[0] == 200
        for sock in lazy:
            sock.close()
        # As many as may be, and all of them gone: who waited for that is let in.
        child = family(process.pid)[2]
        full = [SITE.connect(f"127.0.1.{i}") for i in range(5) for _ in range(32)]
        waiting = SITE.connect("127.0.0.5")
        waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
        lab.until(lambda: len(os.listdir(f"/proc/{child}/fd")) > 128, PATIENCE)
        os.kill(child, signal.SIGSTOP)      # so that it sees all of it at once
        for sock in full:
            sock.close()
        os.kill(child, signal.SIGCONT)
        assert waiting.recv(12) == b"HTTP/1.1 200" and SITE.get()[0] == 200
        waiting.close()
        assert process.poll() is None and sorted(os.listdir(f"/proc/{parent}/fd")) == files


@tap.test
def exporter_ends():
    """either process ends with the other"""
    with SITE.exporter() as process:
        parent, child = family(process.pid)[1:]
        os.kill(child, signal.SIGKILL)
        assert process.wait(PATIENCE) == 5
        assert "the process that speaks HTTP has ended" in process.stderr.read()
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with SITE.exporter() as process:
            parent, child = family(process.pid)[1:]
            SITE.get()
            os.kill(parent, number)
            process.wait(PATIENCE)
            lab.until(lambda: not os.path.exists(f"/proc/{child}")
                         or status(child)["State"].startswith("Z"))
    with SITE.exporter() as process:    # a unit's stop signals both
        os.kill(family(process.pid)[2], signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@tap.test
def exporter_starts():
    """where it listens: as told, or on sockets handed over; errors are said"""
    with SITE.exporter():
        done = SITE.gate("exporter", "--listen", f"127.0.0.1:{PORT}", ok=5)
        assert "in use" in done.err and "hint:" in done.err
    for words in ((), ("--listen", "localhost:80"), ("--listen", "127.0.0.1"), ("--listen", "")):
        assert "hint:" in SITE.gate("exporter", *words, ok=2).err
    assert SITE.gate("exporter", "--listen", "192.0.2.200:1", ok=5).out == ""
    # As systemd does it.
    def start(sock):
        process = SITE.mail.start(
            "sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", PROGRAM, "exporter",
            env=SITE.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            pass_fds=(3, sock.fileno()), preexec_fn=lambda: os.dup2(sock.fileno(), 3))
        sock.close()
        return process
    process = start(SITE.mail.socket(socket.AF_INET, socket.SOCK_STREAM))
    assert b"no listening socket" in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2
    process = start(SITE.mail.listen(PORT, address="127.0.0.1")[0])
    try:
        assert SITE.get()[0] == 200
    finally:
        os.kill(family(process.pid)[-1], signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, process.stderr.read()
        process.stderr.close()


@tap.test
def exporter_warns():
    """what cannot be read when it starts is said once, and it goes on"""
    with SITE.exporter() as process:
        assert SITE.get()[0] == 200
        assert not select.select([process.stderr], [], [], 0)[0], process.stderr.readline()
    nowhere = ("--state", lab.MNT + "/nowhere", "--bpffs", lab.MNT + "/nowhere")
    with SITE.exporter("--listen", f"127.0.0.1:{PORT}", *nowhere) as process:
        line = process.stderr.readline()
        assert line.startswith(f"smtpgate: warning: there is no gate in {nowhere[1]} that can be read")
        assert 'smtpgate_mode{mode="off"} 1' in SITE.get()[2]


@tap.test
def exporter_without_library():
    """where libmicrohttpd is missing it says so, and other commands do not care"""
    library = next(line.split("=> ")[1].split()[0]
                   for line in lab.execute(["ldconfig", "-p"], ok=None).out.splitlines()
                   if "libmicrohttpd.so.12 " in line)
    done = SITE.mail.run("unshare", "--mount", "sh", "-c",
                         f'mount --bind /dev/null {library} && exec "$@"', "sh", PROGRAM, "exporter",
                         "--listen", f"127.0.0.1:{PORT}", env=SITE.env, ok=5)
    assert "libmicrohttpd12" in done.err and "--textfile" in done.err, done
    for words in (("metrics",), ("status",)):
        done = SITE.mail.run("unshare", "--mount", "sh", "-c",
                             f'mount --bind /dev/null {library} && exec "$@"', "sh", PROGRAM, *words,
                             env=SITE.env)


CONFIG = """
global: {scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s}
rule_files: [%(mnt)s/alerts.yml]
scrape_configs:
  - job_name: smtpgate
    static_configs: [{targets: ['127.0.0.1:%(port)d']}]
"""


@tap.test
def prometheus_server():
    """a Prometheus server scrapes it, answers queries, and takes the alert rules"""
    SITE.mail.path(lab.MNT + "/prometheus.yml").write_text(CONFIG % {"mnt": lab.MNT, "port": PORT})
    shutil.copy(lab.ROOT / "dist/prometheus/alerts.yml", SITE.mail.path(lab.MNT + "/alerts.yml"))
    with SITE.exporter(), SITE.mail.start(
            "prometheus", f"--config.file={lab.MNT}/prometheus.yml",
            f"--storage.tsdb.path={lab.MNT}/tsdb", "--web.listen-address=127.0.0.1:9090",
            "--log.level=error", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL) as server:
        def api(path):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", 9090, timeout=PATIENCE)
                connection.sock = SITE.connect(port=9090)
                connection.request("GET", "/api/v1/" + path)
                answer = json.loads(connection.getresponse().read())
                connection.close()
                return answer.get("data")
            except (OSError, ValueError, http.client.HTTPException):
                return None

        def query(words):
            data = api("query?" + urllib.parse.urlencode({"query": words}))
            return data["result"] if data else []
        try:
            end = time.monotonic() + PATIENCE
            while not query("smtpgate_allowlist_entries"):
                assert time.monotonic() < end, api("targets")
                time.sleep(0.1)
            wanted = SITE.metrics()
            got = {}
            for row in query('{__name__=~"smtpgate_.*"}'):
                labels = dict(row["metric"])
                name = labels.pop("__name__")
                assert (labels.pop("job"), labels.pop("instance")) == \
                    ("smtpgate", f"127.0.0.1:{PORT}")
                got[name, tuple(sorted(labels.items()))] = float(row["value"][1])
            assert got == wanted
            assert [t["health"] for t in api("targets")["activeTargets"]] == ["up"]
            while not (groups := api("rules")["groups"]) or \
                    any(r["health"] == "unknown" for r in groups[0]["rules"]):
                assert time.monotonic() < end
                time.sleep(0.1)
            assert all(r["health"] == "ok" for r in groups[0]["rules"]), groups
        finally:
            os.kill(family(server.pid)[-1], signal.SIGKILL)


# ---- what goes with it ----

def text_of(name):
    """A file of the project."""
    return (lab.ROOT / name).read_text("utf-8")


@tap.test
def names_agree():
    """each metric is documented, and rules and dashboard name no other"""
    emitted = {name for name, _ in SITE.metrics()}
    page = text_of("docs/smtpgate-metrics.7.scd")
    told = set(re.findall(r"^\*(smtpgate_\w+)\*", page, re.M))
    assert told == emitted, told ^ emitted
    for file in ("dist/prometheus/alerts.yml", "dist/prometheus/alerts_test.yml"):
        used = set(re.findall(r"\bsmtpgate_\w+", text_of(file)))
        assert used and used <= emitted, used - emitted
    board = json.loads(text_of("dist/grafana/smtpgate.json"))
    assert isinstance(board["schemaVersion"], int) and board["panels"]
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    numbers = [p["id"] for p in board["panels"]]
    assert len(numbers) == len(set(numbers))
    queries = [t["expr"] for p in board["panels"] for t in p["targets"]]
    used = set(re.findall(r"\bsmtpgate_\w+", " ".join(queries)))
    assert used == emitted, used ^ emitted
    # Several hosts are told apart in each panel.
    for query in queries:
        assert all("instance" in by for by in re.findall(r"\bby \(([^)]*)\)", query)), query
        assert "instance=~" in query, query
    assert all("{{instance}}" in t["legendFormat"] for p in board["panels"] for t in p["targets"]
               if p["type"] != "table")
    # Every query can be parsed, the man page's too: as a rule, with Grafana's words filled in.
    shown = re.findall(r"^```\n(.*?)\n```$", page.partition("# EXAMPLES")[2], re.M | re.S)
    assert len(shown) > 2 and set(re.findall(r"\bsmtpgate_\w+", " ".join(shown))) <= emitted, shown
    queries += shown
    rules = [{"record": f"panel:{n}", "expr": q.replace("$__rate_interval", "5m")}
             for n, q in enumerate(queries)]
    lab.execute(["promtool", "check", "rules", "/dev/stdin"],
                stdin=json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))


@tap.test
def alert_rules():
    """promtool tests the alert rules"""
    lab.execute(["promtool", "check", "rules", str(lab.ROOT / "dist/prometheus/alerts.yml")])
    done = lab.execute(["promtool", "test", "rules",
                        str(lab.ROOT / "dist/prometheus/alerts_test.yml")])
    named = set(re.findall(r"alert: (\w+)", text_of("dist/prometheus/alerts.yml")))
    fired = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", text_of(
        "dist/prometheus/alerts_test.yml")))
    assert "SUCCESS" in done.out + done.err and named == fired, named ^ fired


if __name__ == "__main__":
    try:
        tap.main(setup)
    finally:
        if SITE:
            SITE.__exit__()
