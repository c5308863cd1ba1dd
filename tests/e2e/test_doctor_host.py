#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""smtpgate doctor on the gate in the kernel and on the host around it.

What another packet filter does to the guarded ports is asked of the kernel too, by connecting: what
the doctor says must be what is so. A remedy that is a command is carried out, and the doctor asked
again.
"""
import contextlib
import fcntl
import json
import pathlib
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import tap
from examining import doctor, find, show
from lab import BPFFS, BPFTOOL, MNT, STATE, Lab, can_make, connect_all, needs
from steady import OFF, set_mode_word, shifted

MAIL = {4: "192.0.2.25", 6: "2001:db8::25"}
CLIENT = {4: "192.0.2.7", 6: "2001:db8::7"}
OPEN = (25, 587)        # of the guarded ports, those with a server


class Servers:
    """Ends each conversation at once."""

    def __init__(self, host, *ports, address="::"):
        self.socks = host.listen(*(ports or OPEN), address=address)
        for sock in self.socks:
            sock.setblocking(True)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    @staticmethod
    def serve(sock):
        with contextlib.suppress(OSError):
            while True:
                sock.accept()[0].close()


@contextlib.contextmanager
def make():
    """A mail host with a gate, two servers, and a client that is listed in both families."""
    with Lab() as lab:
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.mail.address("eth0", MAIL[4] + "/24", MAIL[6] + "/64")
        lab.client.address("eth0", CLIENT[4] + "/24", CLIENT[6] + "/64")
        Servers(lab.mail)
        lab.gate("attach", "eth0")
        lab.gate("-q", "add", CLIENT[4], CLIENT[6])
        yield lab


def rows_of(lab, name, **options):
    """The rows of one check."""
    return find(doctor(lab, **options), name)


def only(lab, name, status, words, **options):
    """A check has one row, of this status, with these words. Returns it."""
    rows = rows_of(lab, name, **options)
    assert len(rows) == 1 and rows[0]["status"] == status and words in rows[0]["message"], \
        f"{name}: {status} \"{words}\" is not\n{show(rows)}"
    return rows[0]


def follow(lab, row):
    """Carries out a remedy that is a command of smtpgate's."""
    words = row["remedy"].split("   #")[0].split()
    assert words[0] == "smtpgate", row
    lab.gate("-q", *words[1:])


# Other packet filters.

def blocked(lab):
    """{(family, port)} that the listed client does not get through to."""
    wanted = [(CLIENT[f], MAIL[f], port, "open") for f in (4, 6) for port in OPEN]
    states = connect_all(lab.client, wanted, patience=0.25)
    return {(f, port) for (f, port), state in
            zip(((f, p) for f in (4, 6) for p in OPEN), states) if state != "open"}


def said(rows):
    """The same, as the doctor has it."""
    found = set()
    for row in rows:
        if row["status"] != "warn":
            continue
        where, families = row["message"].split(" drops port")[1].split(":")[0].split(" (")
        for port in where.lstrip("s ").split(", "):
            found |= {(int(f[-1]), int(port)) for f in families.split(")")[0].split(", ")}
    return found


# On loopback all is let in, or the doctor itself would wait for each port that is dropped.
INPUT = "table inet t { chain input { type filter hook input priority 0; iif lo accept; %s; } }"
NFT = [
    INPUT % "counter",
    INPUT % "tcp dport 587 drop",
    INPUT % "tcp dport { 25, 465-470 } counter reject with tcp reset",
    INPUT % "meta nfproto ipv6 tcp dport 500-600 drop",
    INPUT % "tcp dport != { 22, 25 } log prefix \"a|b\" drop",
    INPUT % "ip daddr 192.0.2.0/24 th dport 25 drop",
    INPUT % "ip daddr 224.0.0.0/4 drop; udp dport 25 drop; tcp sport 25 drop",
    INPUT % "iifname \"lo\" drop; iifname != \"lo\" tcp dport 25 drop; iifname vmap"
            " { \"eth*\" : continue, \"wg0\" : drop }",
    INPUT % "tcp dport vmap { 25 : drop, 587 : accept }; tcp dport 587 drop",
    INPUT % "ct state invalid drop; ct state established,related accept;"
            " tcp flags & (fin|syn|rst|ack) != syn ct state new drop",
    INPUT % "ct state vmap { established : accept, related : accept, invalid : drop };"
            " tcp dport 25 accept; tcp dport 1-1023 ct state new drop",
    INPUT % "policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept;"
            " ct state established accept; tcp dport { 22, 587 } accept",
    INPUT % "policy drop; meta l4proto icmpv6 accept; tcp dport 25 limit rate 100/second accept;"
            " ip protocol tcp accept",
    "table inet t { set p { type inet_service; flags interval; elements = { 25, 580-590 } }"
    " chain sub { tcp dport 25 return; tcp dport @p drop; }"
    " chain input { type filter hook input priority 0; iif lo accept;"
    " meta l4proto tcp jump sub; } }",
    "table inet t { chain sub { tcp dport 25 accept; }"
    " chain input { type filter hook input priority 0; policy drop; iif lo accept;"
    " meta l4proto icmpv6 accept; tcp flags syn goto sub; tcp dport 587 accept; } }",
    "table inet t { chain p { type filter hook prerouting priority -300; iif lo accept;"
    " tcp dport 25 drop; } }",
    "table inet t { chain f { type filter hook forward priority 0; policy drop; } }",
    "table inet t { chain o { type filter hook output priority 0; udp dport 53 drop; } }",
    "table netdev t { chain i { type filter hook ingress device eth0 priority 0;"
    " tcp dport 587 drop; } }",
    "table ip6 t { chain input { type filter hook input priority 0; iif lo accept;"
    " ip6 nexthdr tcp tcp dport 587 reject; } }",
    "table ip t { chain input { type filter hook input priority 5; iif lo accept;"
    " fib daddr type local tcp dport 25 drop; fib daddr type broadcast drop; } }",
    "table ip t { chain input { type filter hook input priority 5; iif lo accept; meta iifname . tcp dport { \"eth0\" . 25, \"lo\" . 587 } drop; } }",
    # Where to is not what the packet says.
    "table inet t { chain n { type nat hook prerouting priority -100; iif lo accept;"
    " tcp dport 25 redirect to :587; } chain input { type filter hook input priority 0;"
    " policy drop; iif lo accept; meta l4proto icmpv6 accept; ct state established accept;"
    " tcp dport 587 accept; } }",
    "table inet t { chain sub { meta mark 7 return; tcp dport 25 accept; }"
    " chain input { type filter hook input priority 0; iif lo accept; jump sub;"
    " tcp dport { 25, 587 } drop; } }",
    INPUT % "fib saddr . iif oif exists tcp dport 25 accept; tcp dport { 25, 587 } drop",
    # By their sources: the client is none of them.
    INPUT % "ip saddr 198.51.100.0/24 tcp dport 25 drop; ip saddr . tcp dport"
            " { 198.51.100.1 . 587 } drop",
    "table inet t { set bad { type ipv4_addr; } chain input { type filter hook input priority 0;"
    " ip saddr @bad drop; meta mark 7 drop; } }",
]


def load(lab, rules):
    """These rules and no others. nft wants a line's end behind a chain and a set."""
    text = re.sub(r";* *\} *(?=\}|chain |$)", "\n}\n", rules)
    lab.mail.run("nft", "-f", "-", stdin=f"flush ruleset\n{text}\n")


@tap.test
def nftables():
    """rules of nftables: what the doctor says is dropped is dropped, and the rest is let through"""
    with make() as lab:
        assert not blocked(lab)
        closed = 0
        for rules in NFT:
            load(lab, rules)
            rows = rows_of(lab, "firewall")
            truth = blocked(lab)
            closed += bool(truth)
            assert said(rows) == truth, f"{rules}\n{show(rows)}\nblocked: {truth}"
            for row in find(rows, "firewall", status="warn"):
                lab.mail.run(*row["remedy"].split("   #")[0].split())
        assert closed > len(NFT) / 2, "the rules do nothing"
        # By their sources: for others the port is closed, and that is said.
        load(lab, INPUT % "policy drop; meta l4proto icmpv6 accept; ip saddr 192.0.2.7 accept;"
                          " ip6 saddr 2001:db8::7 accept")
        row = only(lab, "firewall", "warn", "drops ports 25, 587 (IPv4, IPv6) for all but some")
        assert "nft, table inet t, chain input: its policy" in row["message"], row
        assert not blocked(lab)
        # By a way that the gate is not on: no mail that it guards comes by that.
        lab.mail.ip("link add eth1 type veth peer name p1", "link set eth1 up",
                    "address add 192.0.3.1/24 dev eth1")
        load(lab, INPUT % "iifname \"eth1\" drop")
        assert find(doctor(lab), "coverage", interface="eth1", status="FAIL")
        only(lab, "firewall", "ok", "no rule of another packet filter drops the guarded")
        # More than is read: what is in the sets is left out, and what they are asked is not known.
        chain = '{"chain":{"family":"inet","table":"t","name":"%s","handle":1,"hook":"%s",' \
                '"policy":"drop"}}'
        rule = '{"rule":{"family":"inet","table":"t","chain":"a","handle":2,"expr":[{"match":' \
               '{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":"@p"}},' \
               '{"accept":null}]}}'
        text = f'{{"nftables":[{chain % ("a", "prerouting")},{chain % ("b", "input")},{rule},' \
               '{"set":{"family":"inet","table":"t","name":"p","handle":3}}]}'
        put_tool(lab, "nft", f"#!/bin/sh\ncase $1 in -jt) echo '{text}';;"
                             " *) head -c 17000000 /dev/zero | tr '\\0' ' ';; esac\n")
        only(lab, "firewall", "warn", "nft, table inet t, chain b: its policy")
        lab.mail.run("umount", "/usr/sbin/nft")


IPTABLES = [
    ["-A INPUT -p tcp --dport 25 -j DROP"],
    ["-A INPUT -p tcp -m multiport --dports 465,587,2000:3000 -j REJECT"],
    ["-A INPUT -p tcp ! --dport 587 -m comment --comment \"a|'b'\" -j DROP"],
    ["-N sub", "-A INPUT -p tcp -j sub", "-A sub -p tcp --dport 587 -j RETURN",
     "-A sub -i eth+ -p tcp --dport 1:1000 -j DROP"],
    ["-P INPUT DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
     "-A INPUT -i lo -j ACCEPT", "-A INPUT -p tcp -m multiport --dports 22,25 -j ACCEPT",
     "-A INPUT -p udp --dport 587 -j ACCEPT"],
    ["-A INPUT -p tcp ! --syn -m conntrack --ctstate NEW -j DROP",
     "-A INPUT -m conntrack --ctstate INVALID -j DROP",
     "-A INPUT -s 198.51.100.0/24 -j DROP", "-A INPUT -d 224.0.0.0/4 -j DROP"],
    ["-t raw -A PREROUTING -p tcp --dport 587 -j DROP"],
    ["-P FORWARD DROP", "-A INPUT -p tcp --dport 25 -m hashlimit --hashlimit-above 1000/sec"
                        " --hashlimit-name h -j DROP"],
]


def iptables(lab, command, lines):
    """Runs lines of options of iptables; False where this kernel knows none of it."""
    flush = ["-F", "-X", "-P INPUT ACCEPT", "-P FORWARD ACCEPT", "-t raw -F",
             "-A INPUT -i lo -j ACCEPT", "-t raw -A PREROUTING -i lo -j ACCEPT"]
    script = "\n".join(f"{command} -w {line} || exit 1" for line in flush + lines)
    return lab.mail.run("sh", "-c", script, ok=None).code == 0


@tap.test
def both_iptables():
    """rules of iptables, in nf_tables and of before, likewise"""
    with make() as lab:
        blocked(lab)
        for command in ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"):
            if not iptables(lab, command, []):
                continue    # this kernel knows none of it
            family = 6 if command.startswith("ip6") else 4
            if family == 6: # once each is enough: the texts are the same
                cases = [["-P INPUT DROP", "-A INPUT -p ipv6-icmp -j ACCEPT",
                          "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
                          "-A INPUT -p tcp -m multiport --dports 25 -j ACCEPT"]]
            else:
                cases = IPTABLES
            for lines in cases:
                assert iptables(lab, command, lines), (command, lines)
                rows = rows_of(lab, "firewall")
                truth = blocked(lab)
                assert said(rows) == truth and all(f == family for f, _ in truth), \
                    f"{command} {lines}\n{show(rows)}\nblocked: {truth}"
                if "a|'b'" in " ".join(lines):
                    text = lab.gate("doctor", "--nagios", ok=None).out
                    assert text.count("|") == 1 and '"a/' in text, text
            iptables(lab, command, [])
        only(lab, "firewall", "ok", "no rule of another packet filter")


UNLISTED = "192.0.2.66"
OTHER = 2525        # not guarded

REDIRECTS = [
    ("nft", f"tcp dport {OTHER} redirect to :587"),
    ("nft", f"ip daddr {MAIL[4]} tcp dport {{ 2000-3000 }} dnat to {MAIL[4]}:587"),
    ("nft", f"tcp dport 80 accept; meta l4proto tcp redirect to tcp dport map {{ {OTHER} : 587, 8080 : 80 }}"),
    ("iptables-nft", f"-p tcp --dport {OTHER} -j REDIRECT --to-ports 587"),
    ("iptables-nft", f"-p tcp -m multiport --dports {OTHER},2526 -j DNAT"
                     f" --to-destination {MAIL[4]}:587"),
    ("iptables-legacy", f"-p tcp --dport {OTHER} -j REDIRECT --to-ports 587"),
    # No way past: to another port, from one that is guarded, of another host's.
    ("nft", f"tcp dport {OTHER} redirect to :2526"),
    ("nft", "tcp dport 25 redirect to :587"),
    ("nft", f"iifname \"eth9\" tcp dport {OTHER} redirect to :587"),
    ("nft", f"ip daddr 198.51.100.1 tcp dport {OTHER} redirect to :587"),
]


def redirect(lab, command, rule):
    """This one alone; False where the kernel knows none of it."""
    load(lab, "")
    if command == "nft":
        load(lab, "table ip t { chain p { type nat hook prerouting priority -100; " + rule + "; } }")
        return True
    script = f"{command} -w -t nat -F PREROUTING && {command} -w -t nat -A PREROUTING {rule}"
    return lab.mail.run("sh", "-c", script, ok=None).code == 0


@tap.test
def redirected():
    """a port that is not guarded and leads to one that is: found, and mended by guarding it"""
    def passes():
        state, = connect_all(lab.client, [(UNLISTED, MAIL[4], OTHER, "open")], patience=0.25)
        return state == "open"
    with make() as lab:
        lab.client.address("eth0", UNLISTED + "/24")
        ways = 0
        for command, rule in REDIRECTS:
            if not redirect(lab, command, rule):
                continue
            fails = find(doctor(lab), "firewall", status="FAIL")
            ways += passes()
            assert bool(fails) == passes(), f"{command} {rule}\n{show(fails)}"
            narrow = [r for r in fails if r["port"]]
            if narrow:
                follow(lab, narrow[0])
                assert not passes() and not find(doctor(lab), "firewall", status="FAIL"), rule
                lab.gate("-q", "set", "ports", "25,465,587")
            lab.mail.run("iptables-legacy", "-w", "-t", "nat", "-F", ok=None)
        assert ways > 3, "the rules do nothing"


@tap.test
def banned():
    """a listed source that a rule for some drops is a warning; one that is not listed, none"""
    with make() as lab:
        lab.gate("-q", "add", "198.51.100.0/24")
        cases = [("ip saddr 192.0.2.7 drop", CLIENT[4]),
                 ("ip6 saddr { 2001:db8::1-2001:db8::9 } tcp dport 587 reject",
                  "2001:db8::1-2001:db8::9"),
                 ("ip saddr { 203.0.113.0/24, 198.51.100.77 } drop", "198.51.100.77"),
                 ("ip saddr 192.0.2.7 accept; ip saddr 192.0.2.0/24 drop", None),
                 ("ip saddr 203.0.113.0/24 drop", None),
                 ("tcp dport 22 ip saddr 192.0.2.7 drop", None)]
        for rules, source in cases:
            load(lab, INPUT % rules)
            if not source:
                only(lab, "firewall", "ok", "no rule of another packet filter")
                continue
            only(lab, "firewall", "warn", f" for {source}, and the list lets some or all")
            assert bool(blocked(lab)) == source.startswith(("192.", "2001:")), rules
        load(lab, "")
        if iptables(lab, "iptables-nft", ["-N f2b", "-A INPUT -p tcp --dport 25 -j f2b",
                                          "-A f2b -s 203.0.113.9 -j DROP",
                                          "-A f2b -s 192.0.2.7 -j DROP", "-A f2b -j RETURN"]):
            row = only(lab, "firewall", "warn", f"port 25 (IPv4) for {CLIENT[4]}, and the list")
            assert row["port"] == 25 and "chain f2b" in row["message"], row


def put_tool(lab, name, script):
    """Another program in the place of a tool, on the mail host alone."""
    file = lab.mail.path(f"{MNT}/{name}")
    file.write_text(script, encoding="ascii")
    file.chmod(0o755 if script else 0o644)
    lab.mail.run("mount", "--bind", f"{MNT}/{name}", f"/usr/sbin/{name}")


@tap.test
def tools():
    """a tool that is missing, fails, floods, hangs or prints nonsense: unknown, in bounded time"""
    cases = [("", "wants nft, which is not installed", "apt install nftables"),
             ("#!/bin/sh\nexit 3\n", "failed (exit status 3)", "nft list ruleset"),
             ("#!/bin/sh\nexec yes\n", "is not understood", "nft list ruleset"),
             ("#!/bin/sh\nexec sleep 60\n", "did not come to an end in time", "nft list ruleset"),
             ("#!/bin/sh\nexec >&-; exec sleep 60\n", "did not come to an end in time",
              "nft list ruleset"),
             ("#!/bin/sh\necho '{\"nftables\": 1}'\n", "is not understood", "nft list ruleset"),
             ("#!/bin/sh\nprintf '{}\\0{}'\n", "failed", "nft list ruleset")]
    with Lab() as lab:
        for script, words, remedy in cases:
            put_tool(lab, "nft", script)
            row = only(lab, "firewall", "unknown", words)
            assert row["remedy"] == remedy, row
            lab.mail.run("umount", "/usr/sbin/nft")


# The kernel.

@tap.test
def compiler():
    """the compiler for BPF programs switched off, unreadable, without a switch"""
    def say(set_up):
        script = f"mount -t tmpfs none /proc/sys/net/core && {set_up} && exec \"$@\""
        return {"ok": (0, 1), "prefix": ("unshare", "--mount", "sh", "-c", script, "sh")}
    switch = "/proc/sys/net/core/bpf_jit_enable"
    with Lab() as lab:
        row = only(lab, "jit", "warn", "interpreted", **say(f"echo 0 >{switch}"))
        assert row["remedy"].startswith("sysctl -w net.core.bpf_jit_enable=1 && smtpgate sync ")
        for number in (1, 2):       # 2: and says so in the kernel's log
            only(lab, "jit", "ok", "compiled", **say(f"echo {number} >{switch}"))
        only(lab, "jit", "unknown", "cannot be read", **say(f"mkdir {switch}"))
        only(lab, "jit", "ok", "no setting for that", **say("true"))
        only(lab, "kernel", "ok", "all that the gate needs")


@tap.test
def settings():
    """settings of the kernel's that lead past the gate, and their remedies"""
    with make() as lab:
        only(lab, "sysctls", "ok", "no setting")
        for path in ("ipv4/conf/all/accept_source_route", "ipv4/conf/eth0/accept_source_route",
                     "ipv4/conf/eth0/route_localnet"):
            lab.mail.sysctl(path, 1)
        lab.mail.sysctl("ipv4/tcp_fastopen", 0x203)
        wanted = ["accept_source_route", "route_localnet", "tcp_fastopen"]
        with contextlib.suppress(OSError):
            for name in ("all", "eth0"):
                lab.mail.sysctl(f"ipv6/conf/{name}/seg6_enabled", 1)
            wanted.insert(2, "seg6_enabled")
        rows = rows_of(lab, "sysctls")
        assert len(rows) == len(wanted), show(rows)
        for row, name in zip(rows, wanted):
            assert row["status"] == "warn" and name in row["message"], row
            words = row["remedy"].split("   #")[0].split()
            assert words[:2] == ["sysctl", "-w"], row
            lab.mail.run(*words)
        only(lab, "sysctls", "ok", "no setting")


# The gate.

@tap.test
def pins():
    """tables that are missing, and a directory that others may write to"""
    with make() as lab:
        only(lab, "bpffs", "ok", "all maps are pinned")
        maps = lab.mail.path(BPFFS + "/abi1")
        (maps / "budget").unlink()
        row = only(lab, "bpffs", "warn", "missing: budget")
        follow(lab, row)
        only(lab, "bpffs", "ok", "all maps are pinned")
        (maps / "budget").unlink()
        lab.mail.run(BPFTOOL, "map", "create", BPFFS + "/abi1/budget", "type", "array", "key", "4",
                     "value", "4", "entries", "1", "name", "other")
        follow(lab, only(lab, "bpffs", "warn", "of another version: budget"))
        only(lab, "bpffs", "ok", "all maps are pinned")
        maps.chmod(0o777)
        row = only(lab, "bpffs", "FAIL", "can be written to by others")
        lab.mail.run("sh", "-c", row["remedy"])
        (maps / "allow6").unlink()
        row = only(lab, "bpffs", "FAIL", "missing: allow6")
        only(lab, "links", "FAIL", "does not decide by the pinned list")
        cover = only(lab, "coverage", "FAIL", "the gate is to stand, but not as it should")
        assert cover["remedy"] == row["remedy"] == "smtpgate sync", cover
        assert find(doctor(lab), "coverage", status="FAIL"), "such a program covers nothing"
        follow(lab, row)
        assert not find(doctor(lab), "links", status="FAIL")
        only(lab, "bpffs", "ok", "all maps are pinned")


@tap.test
def links():
    """links that are cut, devices that are deleted, renamed, made anew or another's"""
    with make() as lab:
        lab.mail.ip("link add eth1 type veth peer name p1", "link set eth1 up")
        lab.gate("attach", "eth1")

        def state(name):
            row, = find(doctor(lab), "links", interface=name)
            return row
        assert {state(n)["status"] for n in ("eth0", "eth1")} == {"ok"}
        pin = next(iter(sorted(lab.link_pins(), reverse=True)))
        lab.mail.run(BPFTOOL, "link", "detach", "pinned", f"{BPFFS}/{pin}")
        assert "the link cut by force" in state("eth1")["message"]
        # Somebody else is quicker.
        other = {"SMTPGATE_STATE": MNT + "/other", "SMTPGATE_BPFFS": MNT + "/bpf/other"}
        lab.gate("attach", "eth1", env=other)
        row = state("eth1")
        assert row["status"] == "FAIL" and "another XDP program is there (smtpgate, id " in \
            row["message"] and row["remedy"].startswith("bpftool net show dev eth1 "), row
        lab.gate("detach", "--all", env=other)
        follow(lab, state("eth1"))
        assert state("eth1")["status"] == "ok"
        lab.mail.ip("link set eth1 name new1")
        assert "(the device was eth1)" in state("new1")["message"]
        lab.mail.ip("link set new1 name eth1", "link del eth1")
        row = state("eth1")
        assert row["status"] == "FAIL" and "was deleted" in row["message"], row
        follow(lab, row)
        assert not find(doctor(lab), "links", interface="eth1")


@tap.test
@needs(can_make("ifb"), "ifb")
def modes():
    """native; generic because it was asked for, because there is no other, and for want of it"""
    with make() as lab:
        lab.mail.ip("link add eth1 type veth peer name p1", "link add ifb1 type ifb")
        lab.gate("-qy", "disable")  # or on lo the doctor would wait for itself
        for args in (["eth1", "--mode", "generic"], ["lo"], ["ifb1"]):
            lab.gate("-q", "attach", *args)
        rows = {r["interface"]: r for r in rows_of(lab, "xdp_mode")}
        assert "native" in rows["eth0"]["message"] and "asked for" in rows["eth1"]["message"]
        assert "(loopback) has no other" in rows["lo"]["message"], rows["lo"]
        row = rows["ifb1"]
        assert row["status"] == "warn" and "the driver ifb has no native XDP" in row["message"]
        follow(lab, row)
        row, = [r for r in rows_of(lab, "xdp_mode") if r["interface"] == "ifb1"]
        assert row["status"] == "ok" and "asked for" in row["message"], row


def key4(address, length=32):
    """A key of the IPv4 trie, as bpftool takes it."""
    return ["key", str(length), "0", "0", "0", *address.split("."), *["0"] * 4]


@tap.test
def long_list():
    """a list too long for status is compared in full: one prefix for another, one other end"""
    count = 25000
    with make() as lab:
        lab.gate("set", "limit", "none")
        lab.gate("-q", "import", "-", stdin="".join(
            f"10.{n >> 8}.{n & 255}.9{' until=2099-01-01T00:00:00Z' if n % 9 == 0 else ''}\n"
            for n in range(count)))
        only(lab, "list", "ok", f"all of {count + 2} prefixes")
        trie = ["pinned", BPFFS + "/abi1/allow4"]
        value = ["value", "32", *["0"] * 23]
        for before, after in (("10.9.10.9", "10.9.10.10"), ("10.9.10.10", "10.9.10.9")):
            lab.mail.run(BPFTOOL, "map", "delete", *trie, *key4(before))
            lab.mail.run(BPFTOOL, "map", "update", *trie, *key4(after), *value)
            if after == "10.9.10.10":
                assert lab.json("status")["in_sync"] is True, "status compares more now"
                row = only(lab, "list", "FAIL", f"of {count + 2} prefixes (all compared")
                assert row["remedy"] == "smtpgate sync", row
        only(lab, "list", "ok", f"all of {count + 2} prefixes")
        value[2] = "1"      # an end
        lab.mail.run(BPFTOOL, "map", "update", *trie, *key4("10.9.10.9"), *value)
        follow(lab, only(lab, "list", "FAIL", "all compared"))
        only(lab, "list", "ok", f"all of {count + 2} prefixes")


@tap.test
def under_way():
    """a difference while somebody holds the lock is a change under way, and no failure"""
    with make() as lab:
        lab.mail.run(BPFTOOL, "map", "delete", "pinned", BPFFS + "/abi1/allow4", *key4(CLIENT[4]))
        with open(lab.mail.path(STATE + "/lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            only(lab, "list", "unknown", "a change is under way")
            # status waits a moment for it to end, and looks again.
            status = subprocess.Popen(lab.command("-j", "status"), env=lab.env,
                                      stdout=subprocess.PIPE)
            time.sleep(0.2)
            value = ["value", *["0"] * 24]
            value[1] = "32"
            lab.mail.run(BPFTOOL, "map", "update", "pinned", BPFFS + "/abi1/allow4",
                         *key4(CLIENT[4]), *value)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert json.loads(status.communicate(timeout=20)[0])["in_sync"] is True
        lab.mail.run(BPFTOOL, "map", "delete", "pinned", BPFFS + "/abi1/allow4", *key4(CLIENT[4]))
        follow(lab, only(lab, "list", "FAIL", "1 prefix is missing"))
        only(lab, "list", "ok", "all of 2 prefixes")
        set_mode_word(lab, OFF)
        follow(lab, only(lab, "list", "FAIL", "ports or mode in the kernel are not"))
        only(lab, "list", "ok", "all of 2 prefixes")


@tap.test
def clock():
    """ends, and a clock that is set forward or back"""
    with make() as lab:
        only(lab, "clock", "ok", "nothing has an end")
        lab.gate("-q", "add", "198.51.100.9", "--for", "7d")
        only(lab, "clock", "ok", "this host's clock")
        only(lab, "clock", "FAIL", "set forward", env=shifted(86400))
        row = only(lab, "clock", "warn", "set back", env=shifted(-86400))
        assert row["remedy"].endswith("smtpgate sync -y"), row
        only(lab, "list", "ok", "all of 3 prefixes", env=shifted(-86400))


# Who can come.

@tap.test
def families():
    """a family that listeners take and the list has nothing of"""
    with make() as lab:
        only(lab, "ipv6", "ok", "each family")
        lab.gate("-q", "delete", CLIENT[6])
        row = only(lab, "ipv6", "warn", "ports 25, 587 can be reached by IPv6")
        assert "AAAA" in row["remedy"], row
        lab.gate("-q", "add", CLIENT[6], "--for", "1s")
        time.sleep(1.2)
        only(lab, "ipv6", "warn", "ports 25, 587 can be reached by IPv6")  # it has ended
        lab.gate("-q", "delete", CLIENT[6])
        lab.mail.run("ip", "-6", "addr", "flush", "dev", "eth0")
        only(lab, "ipv6", "ok", "each family")
        lab.mail.address("eth0", MAIL[6] + "/64")
        lab.gate("-q", "add", CLIENT[6])
        lab.gate("-q", "delete", CLIENT[4])
        only(lab, "ipv6", "warn", "ports 25, 587 can be reached by IPv4")
        lab.gate("-qy", "disable")
        only(lab, "ipv6", "ok", "off")
    with Lab() as lab:      # who listens on one address only
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.mail.address("eth0", MAIL[4] + "/24", MAIL[6] + "/64")
        Servers(lab.mail, 25, address=MAIL[6])
        lab.gate("-q", "add", CLIENT[6])
        only(lab, "ipv6", "ok", "each family")
        Servers(lab.mail, 587, address=MAIL[4])
        only(lab, "ipv6", "warn", "port 587 can be reached by IPv4")


@tap.test
def balancer():
    """a neighbour from whom all come hides them; not if others come too"""
    with make() as lab:
        def come(source, count):
            connect_all(lab.client, [(source, MAIL[4], 587, "open")] * count, patience=0.3)
        come(CLIENT[4], 60)
        only(lab, "balancer", "ok", "too few")
        lab.client.address("eth0", "192.0.2.8/24")
        come(CLIENT[4], 140)
        row = only(lab, "balancer", "warn", f"100 % of 200 connections come from {CLIENT[4]}")
        assert row["remedy"].startswith(f"ip neigh show {CLIENT[4]} "), row
        come("192.0.2.8", 8)        # blocked, and each tried once
        only(lab, "balancer", "warn", f"96 % of 208 connections come from {CLIENT[4]}")
        come("192.0.2.8", 5)
        only(lab, "balancer", "ok", "no neighbour stands in for all others (213 ")


@tap.test
def no_balancer():
    """from whom all come may be far away, this host, or one of many in a listed network"""
    def come(host, source, count=130):
        state = "open" if source.startswith("192.0.2.") else "blocked"
        connect_all(host, [(source, MAIL[4], 587, state)] * count, patience=0.1)

    def hosts(lab, *addresses):
        lab.client.address("eth0", *(a + "/32" for a in addresses))
        lab.mail.ip(*(f"route add {a}/32 dev eth0" for a in addresses))
    with make() as lab:     # blocked ones, who are no neighbours by their networks
        hosts(lab, "203.0.113.7")
        come(lab.client, "203.0.113.7")
        only(lab, "balancer", "ok", "no neighbour stands in for all others (")
    with make() as lab:     # but may be by the kind of address
        hosts(lab, "10.9.9.9")
        come(lab.client, "10.9.9.9")
        only(lab, "balancer", "warn", "connections come from 10.9.9.9, a neighbour")
        lab.gate("-qy", "delete", CLIENT[4])
        lab.gate("-q", "add", "192.0.2.0/24")
        come(lab.client, CLIENT[4], 10)
        only(lab, "balancer", "ok", "no neighbour stands in for all others (")
    with make() as lab:
        lab.gate("-q", "add", MAIL[4], MAIL[6])
        lab.gate("-q", "attach", "lo")
        come(lab.mail, MAIL[4])
        only(lab, "balancer", "ok", "no neighbour stands in for all others (")


@tap.test
def plugin():
    """--nagios: the numbers of the first line are those of the JSON; the exit codes are its own"""
    with make() as lab:
        lab.mail.sysctl("ipv4/tcp_fastopen", 0x203)     # a warning, which weighs less
        rows = doctor(lab)
        assert find(rows, "sysctls", status="warn")
        line = lab.gate("doctor", "--nagios", ok=3).out.splitlines()[0]
        numbers = dict(part.split("=") for part in line.split("|")[1].split())
        assert line.startswith("SMTPGATE UNKNOWN - "), line
        for status, name in (("ok", "ok"), ("warn", "warn"), ("FAIL", "fail"),
                             ("unknown", "unknown")):
            assert int(numbers[name]) == len([r for r in rows if r["status"] == status]), line
        assert numbers["prefixes"] == "2", line
        lab.mail.path(STATE + "/smtpgate.db").write_bytes(b"x" * 4096)
        line = lab.gate("doctor", "--nagios", ok=2).out.splitlines()[0]
        assert line.startswith("SMTPGATE CRITICAL - ") and line.count("|") == 1, line
        assert json.loads(lab.gate("-j", "doctor", "--nagios", ok=2).out)["error"]["hint"]


if __name__ == "__main__":
    tap.main()
