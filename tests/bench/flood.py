#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How many packets a second of a flood the gate drops, beside what else drops packets by a list.

Each contender stands on a host of its own behind a veth of its own. The sender's frames are made by
BPF_PROG_RUN with live frames: a small program gives each the next of a million random sources and
redirects it to one of the cables. The receiving end of a veth is polled (NAPI) by the CPU that sent,
between two batches of 32: all of it, sender, veth and contender, is one CPU's work, and "limit", a
program that is only `return XDP_DROP`, says how much of it is not the contender's. With --threaded
the receiving end is polled by a kernel thread on the other CPU.

What is counted is what the receiving end of the veth took in (its rx_packets), over the time that it
took. The lists are random and of mixed lengths (addresses.c): IPv4 in unicast space, 60 % single addresses
and the rest /24 to /31; IPv6 in 2000::/3, 40 % single addresses, 30 % /64, 15 % each /56 and /48.
"random" floods come from anywhere in the same space, "close" ones from within the same /24 as a
listed prefix (IPv6: the same /32), none of them listed.

Contenders take turns, A B C A B C; medians of all rounds, each relative to the limit's in the
same round. Before, each contender is shown 1,000 frames of listed sources, which its TCP has to see
all, and 1,000 of unlisted ones, of which it must not see one; in all the flood, not one either.

BENCH_OUT=FILE (Markdown), BENCH_SVG=FILE (plot of the medians)
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lab  # pylint: disable=wrong-import-position
import plot  # pylint: disable=wrong-import-position

TOOL = str(lab.ROOT / "build" / "bench_flood")
PORTS = "{ 25, 465, 587 }"
DEVICE = "wan0"
SHOWN = 1000
PATIENCE = 900                  # seconds to fill a list


class Contender:
    """A host that drops what is not in the list."""
    most = None                 # entries that it can be given

    def __init__(self, site, host, family):
        self.site, self.host, self.ip6 = site, host, family == 6
        self.process, self.warm = None, False

    def start(self, entries):
        """Guards the device; entries are texts."""
        raise NotImplementedError

    def hold(self, program, count):
        """A program that stays attached as long as a process of ours lives."""
        self.process = self.host.start(TOOL, "hold", program, DEVICE, "6" if self.ip6 else "4",
                                       str(count), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ok\n", f"{program} is not attached"

    def stop(self):
        """Before the host goes."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait(60)


class Limit(Contender):
    """return XDP_DROP"""
    name = "limit"

    def start(self, entries):
        self.hold("limit", 1)


class Plain(Contender):
    """parse and one look-up in a trie, nothing else"""
    name = "plain"

    def start(self, entries):
        self.hold("plain", len(entries))


class Smtpgate(Contender):
    """as the CLI attaches it, native"""
    name = "smtpgate"

    def start(self, entries):
        self.site.gate("-q", "set", "limit", "none")
        lab.execute(self.site.command("-q", "-y", "import", "-"), stdin="\n".join(entries) + "\n",
                    env=self.site.env, timeout=PATIENCE)
        lab.execute(self.site.command("-q", "attach", DEVICE, "--mode", "native"), env=self.site.env,
                    timeout=PATIENCE)


class NftNetdev(Contender):
    """nftables, netdev ingress, interval set"""
    name = "nft netdev"
    table, hook = "netdev bench", f"ingress device {DEVICE} priority 0"

    def start(self, entries):
        # Without XDP, a veth takes redirected frames if it does GRO, as NICs do.
        self.host.run("ethtool", "-K", DEVICE, "gro", "on")
        self.host.run("nft", "-f", "-", stdin=nft_rules(self.table, self.hook, entries, self.ip6),
                      timeout=PATIENCE)


class NftInet(NftNetdev):
    """nftables, inet prerouting, priority raw, interval set"""
    name = "nft inet"
    table, hook = "inet bench", "prerouting priority raw"


class Ipset(Contender):
    """ipset hash:net, iptables raw"""
    name = "ipset"

    def start(self, entries):
        self.host.run("ethtool", "-K", DEVICE, "gro", "on")
        self.host.run("ipset", "restore", stdin=ipset_lines(entries, self.ip6), timeout=PATIENCE)
        self.host.run("ip6tables" if self.ip6 else "iptables", "-t", "raw", "-A", "PREROUTING",
                      "-p", "tcp", "-m", "multiport", "--dports", "25,465,587", "-m", "set", "!",
                      "--match-set", "bench", "src", "-j", "DROP")


class XdpFilter(Contender):
    """xdp-filter, policy deny, native; single addresses only"""
    name = "xdp-filter"
    most = 1000

    def start(self, entries):
        self.host.run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        self.host.run("xdp-filter", "load", "--mode", "native", "--policy", "deny", "--features",
                      "ipv6" if self.ip6 else "ipv4", DEVICE)
        self.host.run("xargs", "-n", "1", "xdp-filter", "ip", "--mode", "src",
                      stdin="\n".join(e.partition("/")[0] for e in entries) + "\n", timeout=PATIENCE)

    def stop(self):
        self.host.run("xdp-filter", "unload", DEVICE)


CONTENDERS = (Limit, Smtpgate, Plain, XdpFilter, NftNetdev, NftInet, Ipset)


def nft_rules(table, hook, entries, ip6):
    """A set and a chain that drops who is not in it."""
    family = "ip6" if ip6 else "ip"
    return (f"table {table} {{\n set ok {{ type ipv{6 if ip6 else 4}_addr; flags interval;\n"
            f"  elements = {{ {', '.join(entries)} }}\n }}\n"
            f" chain gate {{ type filter hook {hook}; policy accept;\n"
            f"  tcp dport {PORTS} {family} saddr != @ok drop\n }}\n}}\n")


def ipset_lines(entries, ip6):
    """For ipset restore."""
    return (f"create bench hash:net family {'inet6' if ip6 else 'inet'} maxelem 4194304\n"
            + "".join(f"add bench {e}\n" for e in entries))


def make_list(family, size):
    """[prefix]"""
    return lab.execute([TOOL, "list", str(family), str(size)], timeout=60).out.split()


class Sender:
    """The host that floods."""

    def __init__(self, host, family, size, mac, cpu):
        self.process = host.start(TOOL, "send", str(family), str(size), mac, str(cpu),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ok\n"

    def tell(self, *words):
        """One command; what it answers."""
        print(*words, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().split()

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class Field:
    """All the contenders for one family and size, each behind its own cable."""

    def __init__(self, site, family, size, classes, options):
        self.site, self.family, self.size, self.options = site, family, size, options
        entries = make_list(family, size)
        self.source = site.host("sender")
        self.source.sysctl("ipv6/conf/all/disable_ipv6", 1)
        self.source.sysctl("ipv6/conf/default/disable_ipv6", 1)
        self.contenders, self.index = [], {}
        for number, make in enumerate(c for c in classes if not c.most or size <= c.most):
            host = site.mail if make is Smtpgate else site.host(make.name.replace(" ", ""), True)
            self.plug_in(host, number)
            contender = make(site, host, family)
            contender.start(entries)
            self.contenders.append(contender)
            self.index[make.name] = json.loads(self.source.run("ip", "-j", "link", "show", "dev",
                                                               f"to{number}").out)[0]["ifindex"]
            if options.threaded:
                self.poll_elsewhere(host)
        self.sender = Sender(self.source, family, size, MAC, options.cpu)

    def plug_in(self, host, number):
        """A cable; the host answers nobody, as it knows no hardware address."""
        lab.Lab.link(self.source, f"to{number}", host, DEVICE)
        host.ip(f"link set {DEVICE} down", f"link set {DEVICE} address {MAC}",
                f"link set {DEVICE} arp off", f"link set {DEVICE} up")
        host.sysctl("ipv6/conf/all/accept_dad", 0)
        host.address(DEVICE, "192.0.2.25/24", "2001:db8::25/64")
        host.ip(f"route add 0.0.0.0/0 dev {DEVICE}", f"route add ::/0 dev {DEVICE}")

    def poll_elsewhere(self, host):
        """The receiving end is polled by a thread, on the other CPU."""
        host.path(f"/sys/class/net/{DEVICE}/threaded").write_text("1", "ascii")
        for stat in pathlib.Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):      # it may have ended
                if stat.read_text("ascii").startswith(f"napi/{DEVICE}"):
                    os.sched_setaffinity(int(stat.parent.name), {1 - self.options.cpu})

    def received(self, contender):
        """Frames that the receiving end took in."""
        return int(contender.host.path(f"/sys/class/net/{DEVICE}/statistics/rx_packets").read_text())

    @staticmethod
    def let_in(contender):
        """Segments that the host's own TCP saw."""
        text = pathlib.Path(f"/proc/{contender.host.pid}/net/snmp").read_text("ascii")
        rows = [r.split() for r in text.splitlines() if r.startswith("Tcp:")]
        return int(dict(zip(*rows))["InSegs"])

    def prove(self):
        """Each drops the unlisted, and no listed one."""
        for kind, expected in (("listed", SHOWN), ("random", 0)):
            # xdp-filter has the first address of each prefix only.
            self.sender.tell("sources", kind)
            for contender in self.contenders:
                if contender.name == "limit" or contender.most and expected:
                    continue
                before, taken = self.let_in(contender), self.received(contender)
                self.sender.tell("count", self.index[contender.name], SHOWN)
                if self.options.threaded:
                    time.sleep(0.1)     # for the thread; the cable's queue did not hold them all
                    expected = expected and self.received(contender) - taken
                seen = self.let_in(contender) - before
                assert seen == expected, f"{contender.name}: {seen} of {SHOWN} {kind} came through"

    def measure(self, contender):
        """Packets a second."""
        let_in, before = self.let_in(contender), self.received(contender)
        if not contender.warm:
            self.sender.tell("run", self.index[contender.name], 20)
            contender.warm, before = True, self.received(contender)
        sent, took = map(int, self.sender.tell("run", self.index[contender.name],
                                               self.options.milliseconds))
        taken = self.received(contender) - before
        assert self.let_in(contender) == let_in, f"{contender.name} let something in"
        assert self.options.threaded or taken == sent, f"{contender.name}: {taken} of {sent} taken"
        return taken * 1e9 / took

    def close(self):
        """What is not on the hosts themselves."""
        self.sender.close()
        for contender in self.contenders:
            with contextlib.suppress(lab.Failed):
                contender.stop()


MAC = "02:00:00:00:00:25"


def run_case(family, size, classes, options):
    """{(family, size, kind): {name: [packets a second]}}"""
    found = {}
    with lab.Lab() as site:
        field = Field(site, family, size, classes, options)
        try:
            field.prove()
            for kind in options.kinds.split(","):
                field.sender.tell("sources", kind)
                rates = found.setdefault((family, size, kind), {})
                for _ in range(options.rounds):
                    for contender in field.contenders:
                        rates.setdefault(contender.name, []).append(field.measure(contender))
        finally:
            field.close()
    return found


def shares(runs, limit):
    """Of the limit, round by round."""
    return [rate / most for rate, most in zip(runs, limit)]


def spread(numbers, form):
    """median (min .. max)"""
    return (f"{form(statistics.median(numbers))} ({form(min(numbers))} .. {form(max(numbers))})")


def table(results):
    """Markdown lines."""
    lines = ["| sources | prefixes | | Mpps, median (min .. max) | of the limit, the same |",
             "|---|---:|---|---:|---:|"]
    for (family, size, kind), found in results.items():
        for name, runs in found.items():
            share = shares(runs, found["limit"]) if "limit" in found else []
            lines.append(f"| IPv{family}, {kind} | {size:,} | {name} | "
                         f"{spread(runs, lambda x: f'{x / 1e6:.2f}')} | "
                         f"{spread(share, lambda x: f'{x:.2f}') if share else ''} |")
    return lines


def machine():
    """What it ran on."""
    info = pathlib.Path("/proc/cpuinfo").read_text("utf-8", "replace")
    model = next((row.split(":")[1].strip() for row in info.splitlines() if "model name" in row), "?")
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def parse_options():
    """The command line."""
    parser = argparse.ArgumentParser()
    names = ",".join(c.name for c in CONTENDERS)
    parser.add_argument("--only", default=names, help=f"of {names}")
    parser.add_argument("--sizes", default="10,1000,100000,1000000")
    parser.add_argument("--families", default="4,6")
    parser.add_argument("--kinds", default="random,close", help="random,close,neighbour")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--milliseconds", type=int, default=200, help="of each turn")
    parser.add_argument("--cpu", type=int, default=os.cpu_count() - 1, help="the sender's")
    parser.add_argument("--threaded", action="store_true", help="poll on the other CPU")
    return parser.parse_args()


def write(results, notes):
    """Where it was asked for."""
    if os.environ.get("BENCH_OUT"):
        pathlib.Path(os.environ["BENCH_OUT"]).write_text(
            "".join(f"- {n}\n" for n in notes) + "\n" + "\n".join(table(results)) + "\n", "utf-8")
    if os.environ.get("BENCH_SVG"):
        pathlib.Path(os.environ["BENCH_SVG"]).write_text(plot.flood(results, notes), "utf-8")


def main():
    """All of it."""
    options = parse_options()
    classes = [c for c in CONTENDERS if c.name in options.only.split(",")]
    notes = [f"{machine()}; load average {os.getloadavg()[0]:.2f} before",
             f"medians of {options.rounds} interleaved turns of {options.milliseconds} ms; sender on"
             f" CPU {options.cpu}, receiver polled "
             + ("by a thread on the other CPU" if options.threaded else "by the same CPU")]
    results = {}
    for family in map(int, options.families.split(",")):
        for size in map(int, options.sizes.split(",")):
            found = run_case(family, size, classes, options)
            results.update(found)
            print("\n".join(table(found)[2:]), flush=True)
            write(results, notes)


if __name__ == "__main__":
    main()
