#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How many decisions a second the policy service makes with a long list, and how long each takes.

The list is added with smtpgate itself. The service is held to one CPU, the load to another; each
connection has one question open, as Postfix asks. "flat out" asks again at once, so that the time to
an answer is mostly that of the others who ask; "20,000/s" is what the goal says, offered steadily,
and a question's time counts from when it was due. Between the runs of the service the same load is
put to a program that answers DUNNO without looking: the ratio of both says what the decision costs,
whatever the machine is, and so does the CPU time of each, also when others want the CPU. Runs are
interleaved, so that a slow moment hits all alike; the table has medians.

BENCH_ENTRIES=100000 BENCH_RUNS=5 BENCH_SECONDS=1 BENCH_OUT=FILE (Markdown)
"""
import ipaddress
import os
import pathlib
import platform
import random
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lab  # pylint: disable=wrong-import-position

ENTRIES = int(os.environ.get("BENCH_ENTRIES", "100000"))
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
OUT = os.environ.get("BENCH_OUT")
LOAD = str(lab.ROOT / "build" / "policy_load")
# (connections, questions a second; 0: each asks again as soon as it has its answer)
LOADS = ((1, 0), (16, 0), (100, 0), (100, 20000))
QUESTIONS = 5000                # of each kind, asked round and round
BATCH = 5000                    # entries a command
GOAL_RATE, GOAL_P99 = 20000, 1000

# Shares of the list. Addresses of the benchmark networks (RFC 2544, RFC 5180): no traffic is sent.
V4 = int(ipaddress.ip_address("198.18.0.0"))
V6 = int(ipaddress.ip_address("2001:2::"))
ACCOUNTS = 200


def make_list():
    """[(account, [WHO])]: addresses, segments of many lengths and ranges, in both families; listed
    addresses lie close to ones that are not."""
    dice = random.Random(1)
    unit = ENTRIES // 10
    host4 = [str(ipaddress.ip_address(V4 + 2 * i)) for i in range(4 * unit)]
    segments, at = [], V4 + (1 << 17)
    for _ in range(unit):
        length = dice.randrange(24, 32)
        size = 1 << (32 - length)
        at = (at + 2 * size - 1) // size * size
        segments.append(f"{ipaddress.ip_address(at)}/{length}")
    ranges, at = [], V4 + (1 << 24)
    for _ in range(unit // 4):
        at += dice.randrange(20, 100)
        ranges.append(f"{ipaddress.ip_address(at)}-{ipaddress.ip_address(at + 18)}")
    host6 = [f"{ipaddress.ip_address(V6 + (2 * i << 64))}/{dice.choice((56 + 8, 64, 80, 96))}"
             for i in range(2 * unit)]
    lists = [("", host4), ("", segments), ("", ranges), ("", host6)]
    left = ENTRIES - sum(len(rows) for _, rows in lists)
    for number in range(ACCOUNTS):
        count = left // ACCOUNTS + (number < left % ACCOUNTS)
        lists.append((f"account{number}", [
            str(ipaddress.ip_address(V4 + (1 << 16) + number * 256 + 2 * (i % 128) + (i // 128 << 25)))
            for i in range(count)]))
    return lists


def add_all(site, lists):
    """By smtpgate, in batches; returns how long it took."""
    start = time.monotonic()
    site.gate("-q", "set", "limit", "none")
    for account, rows in lists:
        for at in range(0, len(rows), BATCH):
            site.gate("-q", "-y", "add", *rows[at:at + BATCH],
                      *(("--account", account) if account else ()))
    return time.monotonic() - start


def request(account, address):
    """As Postfix 3.7 sends it, with all its lines."""
    return (f"request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
            f"client_address={address}\nclient_name=unknown\nclient_port=53422\n"
            f"reverse_client_name=unknown\nserver_address=192.0.2.25\nserver_port=465\n"
            f"helo_name=shop.example\nsender=orders@shop.example\nrecipient=someone@example.org\n"
            f"recipient_count=0\nqueue_id=\ninstance=1a2b.6650f2c3.5d1c.0\nsize=0\netrn_domain=\n"
            f"stress=\nsasl_method=PLAIN\nsasl_username={account}\nsasl_sender=\nccert_subject=\n"
            f"ccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n"
            f"encryption_protocol=TLSv1.3\nencryption_cipher=TLS_AES_256_GCM_SHA384\n"
            f"encryption_keysize=256\npolicy_context=\n\n")


def within(who, dice):
    """An address of an entry."""
    first, dash, last = who.partition("-")
    if dash:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    else:
        network = ipaddress.ip_network(who)
        low, high = network[0], network[-1]
    return low + dice.randrange(int(high) - int(low) + 1)


def make_questions(lists):
    """{kind: ([request], share of DUNNO)}"""
    dice = random.Random(2)
    host4 = [row for account, rows in lists[:3] for row in rows]
    host6 = lists[3][1]
    own = [(account, row) for account, rows in lists[4:] for row in rows]
    kinds = {
        "listed": [request(f"user{i}", within(dice.choice(host4), dice)) for i in range(QUESTIONS)],
        "unlisted": [request(f"user{i}", ipaddress.ip_address(V4 + 2 * dice.randrange(1 << 15) + 1))
                     for i in range(QUESTIONS)],
        "own list": [request(account, within(who, dice))
                     for account, who in (dice.choice(own) for _ in range(QUESTIONS))],
        "IPv6": [request(f"user{i}", within(dice.choice(host6), dice)) for i in range(QUESTIONS)],
    }
    shares = {"listed": 1, "unlisted": 0, "own list": 1, "IPv6": 1}
    return {kind: (texts, shares[kind]) for kind, texts in kinds.items()}


class Server:
    """A program on a listening socket of its own, held to one CPU."""

    def __init__(self, site, name, cpu, *command):
        self.path = f"{lab.MNT}/{name}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(site.mail.path(self.path)))
        listener.listen(1024)
        self.process = site.mail.start(
            "taskset", "-c", str(cpu), "sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh",
            *command, env=site.env, stdin=subprocess.DEVNULL, pass_fds=(3, listener.fileno()),
            preexec_fn=lambda: os.dup2(listener.fileno(), 3))
        listener.close()
        lab.until(self.children)

    def children(self):
        """The process itself is a child of nsenter."""
        pid = self.process.pid
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()

    def proc(self, name):
        """A file on the process itself."""
        return pathlib.Path(f"/proc/{self.children()[0]}/{name}").read_text("ascii")

    def peak(self):
        """The most memory it had, in MiB."""
        return next(int(row.split()[1]) for row in self.proc("status").splitlines()
                    if "VmHWM" in row) / 1024

    def cpu(self):
        """Microseconds that it ran."""
        return int(self.proc("schedstat").split()[0]) / 1000


def measure(site, server, file, load, cpu):
    """(decisions a second, p50, p99, max, CPU time each, share of DUNNO)"""
    before = server.cpu()
    done = site.mail.run("taskset", "-c", cpu, LOAD, "load", server.path, file, load[0], SECONDS,
                         load[1])
    count, took, p50, p99, most, dunno, _, other = map(float, done.out.split())
    assert not other, done
    return count / took, p50, p99, most, (server.cpu() - before) / count, dunno / count


def run_all(site, servers, kinds, cpu):
    """{(server, kind, load): [measurement]}, interleaved."""
    for kind, (texts, _) in kinds.items():
        site.mail.path(f"{lab.MNT}/{kind.replace(' ', '_')}").write_text("".join(texts), "ascii")
    found = {}
    cases = [(name, kind, load) for load in LOADS for kind in kinds
             for name in (("smtpgate", "responder") if kind == "listed" else ("smtpgate",))]
    for number in range(RUNS):
        for case in cases:
            name, kind, load = case
            file = f"{lab.MNT}/{kind.replace(' ', '_')}"
            got = measure(site, servers[name], file, load, cpu)
            assert name == "responder" or got[5] == kinds[kind][1], f"{case}: {got[5]} were DUNNO"
            found.setdefault(case, []).append(got)
        if sys.stderr.isatty():
            print(f"run {number + 1} of {RUNS}", file=sys.stderr)
    return found


def table(found, markdown):
    """Lines."""
    head = ("connections", "asked", "question", "decisions/s", "of responder", "p50 us", "p99 us", "max us",
            "CPU us each")
    rows = []
    for (name, kind, load), runs in found.items():
        rate, p50, p99, most, cpu = (statistics.median(run[i] for run in runs) for i in range(5))
        least = statistics.median(run[0] for run in found[("responder", "listed", load)])
        label = kind if name == "smtpgate" else "(responder)"
        rows.append((str(load[0]), f"{load[1]:,}/s" if load[1] else "flat out", label, f"{rate:,.0f}", f"{rate / least:.2f}", f"{p50:.0f}",
                     f"{p99:.0f}", f"{most:.0f}", f"{cpu:.1f}"))
    if markdown:
        return ["| " + " | ".join(head) + " |", "|---:|---:|---|" + "---:|" * 6,
                *("| " + " | ".join(row) + " |" for row in rows)]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) if i == 2 else cell.rjust(w)
                      for i, (cell, w) in enumerate(zip(row, widths))) for row in (head, *rows)]


def verdict(found):
    """Whether the goal is met, in words."""
    cases = {case: runs for case, runs in found.items() if case[0] == "smtpgate"}
    flat_out = [runs for case, runs in cases.items() if case[2][0] > 1 and not case[2][1]]
    slowest = min(statistics.median(run[0] for run in runs) for runs in flat_out)
    cpu = max(statistics.median(run[4] for run in runs) for runs in flat_out)
    late = max(statistics.median(run[2] for run in runs) for case, runs in cases.items()
               if case[2][1])
    return (f"goal {GOAL_RATE:,} decisions/s on one CPU: {slowest:,.0f} in the slowest mix"
            f" ({1e6 / cpu:,.0f} in a second of CPU time); goal p99 below {GOAL_P99} us:"
            f" {late:.0f} us in the slowest mix at that rate")


def machine():
    """What it ran on."""
    info = pathlib.Path("/proc/cpuinfo").read_text("utf-8", "replace")
    model = next((row.split(":")[1].strip() for row in info.splitlines() if "model name" in row), "?")
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def main():
    cpus = sorted(os.sched_getaffinity(0))
    lists = make_list()
    entries = sum(len(rows) for _, rows in lists)
    before = os.getloadavg()[0]
    with lab.Lab(bpffs=False) as site:
        took = add_all(site, lists)
        servers = {"smtpgate": Server(site, "gate.sock", cpus[0], lab.PROGRAM, "policy"),
                   "responder": Server(site, "least.sock", cpus[0], LOAD, "respond")}
        found = run_all(site, servers, make_questions(lists), cpus[-1])
        size = site.mail.path(f"{lab.STATE}/smtpgate.db").stat().st_size / (1 << 20)
        notes = [f"{machine()}; load average {before:.2f} before",
                 f"{entries:,} entries ({ACCOUNTS} account lists among them), added in {took:.0f} s,"
                 f" {size:.0f} MiB on a tmpfs; service {servers['smtpgate'].peak():.0f} MiB",
                 f"medians of {RUNS} interleaved runs of {SECONDS:g} s; server on CPU {cpus[0]},"
                 f" load on CPU {cpus[-1]}", verdict(found)]
    print("\n".join([*notes, "", *table(found, False)]))
    if OUT:
        pathlib.Path(OUT).write_text("# Policy service\n\n" + "".join(f"- {n}\n" for n in notes) + "\n"
                                     + "\n".join(table(found, True)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
