#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What changing and reading a long list takes, beside nftables and ipset with the same list.

Whole processes, from fork to end, on a store on a disk (with its fsync); "live" with the gate on an
interface, "durable" without. Each round is a new set of hosts; contenders take turns within it.

Kernel memory is what Slab, VmallocUsed and Percpu of /proc/meminfo grew by, so other work on the
machine is in it. Gaps: while a list of the largest size is detached, replaced and thrown away, a
thread on each CPU sees for how long the kernel kept the CPU to itself; the idle row says how long
the machine does so anyway.

BENCH_OUT=FILE (Markdown)
"""
import argparse
import contextlib
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import flood  # pylint: disable=wrong-import-position
import lab  # pylint: disable=wrong-import-position

CLOCK = str(lab.ROOT / "build" / "bench_clock")
GAPS = str(lab.ROOT / "build" / "bench_gaps")
DEVICE = flood.DEVICE
ONE_MORE = "198.18.77.7"        # in no list: RFC 2544
PATIENCE = 900
SETTLE = 3                      # seconds in which the kernel throws away what nobody needs


class Hosts:
    """The gate's host with its store on a disk, one for nftables and one for ipset."""

    def __init__(self, site, directory):
        self.site, self.directory = site, directory
        self.env = dict(site.env, SMTPGATE_STATE=directory + "/state")
        self.nft, self.ipset = site.host("nft"), site.host("ipset")
        for number, host in enumerate((site.mail, self.nft, self.ipset)):
            lab.Lab.link(site.host(f"peer{number}"), "peer", host, DEVICE)

    def gate(self, *args, ok=(0, 1), stdin=None):
        """Runs smtpgate."""
        return lab.execute(self.site.command(*args), ok, stdin, self.env, PATIENCE)

    def clock(self, host, *command, runs=1, output="null"):
        """Milliseconds of each run."""
        # Ahead of what else runs on the machine.
        done = lab.execute(host.argv("nice", "-n", "-20", CLOCK, runs, output, *command),
                           env=self.env, timeout=PATIENCE)
        return [float(row) for row in done.out.split()]

    def clock_gate(self, *args, **options):
        """The same of smtpgate."""
        return self.clock(self.site.mail, lab.PROGRAM, *args, **options)


def kernel_bytes():
    """Memory that the kernel took."""
    rows = dict(row.split(":") for row in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return sum(int(rows[name].split()[0]) * 1024 for name in ("Slab", "VmallocUsed", "Percpu"))


def memory_of(action, size):
    """What it returned, and bytes for each prefix."""
    before = kernel_bytes()
    found = action()
    return found, (kernel_bytes() - before) / size


@contextlib.contextmanager
def hosts():
    """New hosts."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=lab.ROOT / "build") as directory, \
            lab.Lab() as site:
        yield Hosts(site, directory)


def write_lists(at, size):
    """Files for each of them, with the same list."""
    entries = flood.make_list(4, size)
    table, hook = "netdev bench", f"ingress device {DEVICE} priority 0"
    files = {"list": "\n".join(entries) + "\n",
             "nft": flood.nft_rules(table, hook, entries, False),
             "ipset": flood.ipset_lines(entries, False)}
    for name, text in files.items():
        pathlib.Path(f"{at.directory}/{name}").write_text(text, "ascii")
    return {name: f"{at.directory}/{name}" for name in files}


def fill(at, files, size, note):
    """Fills all of them."""
    note("import, durable", at.clock_gate("-q", "-y", "import", files["list"]))
    at.gate("-q", "-y", "disable")
    at.gate("-q", "attach", DEVICE)
    took, each = memory_of(lambda: at.clock_gate("-q", "-y", "import", files["list"]), size)
    note("import, live", took)
    note("kernel bytes a prefix", [each])
    took, each = memory_of(lambda: at.clock(at.nft, "nft", "-f", files["nft"]), size)
    note("nft -f", took)
    note("nft kernel bytes a prefix", [each])
    took, each = memory_of(
        lambda: at.clock(at.ipset, "ipset", "-file", files["ipset"], "restore"), size)
    note("ipset restore", took)
    note("ipset kernel bytes a prefix", [each])


def use(at, size, runs, note):
    """What is done with a list that is there."""
    for number in range(runs):
        note("add one", at.clock_gate("-q", "-y", "add", ONE_MORE))
        note("delete it", at.clock_gate("-q", "-y", "delete", ONE_MORE))
        note("check", at.clock_gate("check", ONE_MORE))
        note("status", at.clock_gate("status"))
        note("ipset add one", at.clock(at.ipset, "ipset", "add", "bench", f"198.18.77.{number}"))
    # At a million it takes minutes.
    if size <= 100000:
        note("nft add one", at.clock(at.nft, "nft", "add", "element", "netdev", "bench", "ok",
                                     "{ 198.18.77.0 }"))
    note("list -j", at.clock_gate("-j", "list", runs=min(runs, 3), output="pipe"))


class Watcher:
    """The longest gap on any CPU."""

    def __init__(self):
        self.process = subprocess.Popen([GAPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def worst(self):
        """Milliseconds, since it was asked last."""
        print(file=self.process.stdin, flush=True)
        return max(map(int, self.process.stdout.readline().split())) / 1000

    def during(self, action):
        """The same, for as long as the action takes and the kernel cleans up after it."""
        self.worst()
        action()
        time.sleep(SETTLE)
        return self.worst()

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(5)


def other_list(size):
    """As many entries, none of which is in the first."""
    dice = random.Random(7)
    found = set()
    while len(found) < size:
        found.add(dice.randrange(1 << 31))
    return "\n".join(f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
                     for n in sorted(found)) + "\n"


def watch_gaps(at, files, size, note):
    """The list, detached, replaced and thrown away in all ways."""
    watcher = Watcher()
    other = f"{at.directory}/other"
    pathlib.Path(other).write_text(other_list(size), "ascii")
    pins = at.site.mail.path(lab.BPFFS)
    steps = (("idle", lambda: time.sleep(SETTLE)),
             ("detach --all", lambda: at.gate("-q", "-y", "detach", "--all")),
             ("attach", lambda: at.gate("-q", "attach", DEVICE)),
             ("apply another list", lambda: at.gate("-q", "-y", "apply", other)),
             ("disable", lambda: at.gate("-q", "-y", "disable")),
             ("import", lambda: at.gate("-q", "-y", "import", files["list"])),
             ("pins removed", lambda: shutil.rmtree(pins)),
             ("sync", lambda: at.gate("-q", "sync", ok=None)))
    try:
        for name, action in steps:
            note(f"gap: {name}", [watcher.during(action)])
    finally:
        watcher.close()


def run(options):
    """{(what, size): [number]}"""
    found = {}
    for number in range(options.rounds):
        for size in options.sizes:
            def note(what, numbers, size=size):
                found.setdefault((what, size), []).extend(numbers)
                print(f"{size:>9,} {what}: {' '.join(f'{n:.1f}' for n in numbers)}",
                      file=sys.stderr, flush=True)
            with hosts() as at:
                files = write_lists(at, size)
                at.gate("-q", "set", "limit", "none")
                if options.gaps_only:
                    at.gate("-q", "-y", "import", files["list"])
                    at.gate("-q", "attach", DEVICE)
                else:
                    fill(at, files, size, note)
                    use(at, size, options.runs, note)
                if number < options.gaps and size == max(options.sizes):
                    watch_gaps(at, files, size, note)
    return found


def table(found):
    """Markdown: milliseconds, or bytes."""
    sizes = sorted({size for _, size in found})
    lines = ["| | " + " | ".join(f"{size:,}" for size in sizes) + " |",
             "|---|" + "---:|" * len(sizes)]
    for what in dict.fromkeys(what for what, _ in found):
        cells = []
        for size in sizes:
            numbers = found.get((what, size))
            cells.append(flood.spread(numbers, lambda x: f"{x:,.1f}") if numbers else "")
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return lines


def main():
    """All of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=5, help="of the short commands, each round")
    parser.add_argument("--gaps", type=int, default=1, help="rounds with a watch on the CPUs")
    parser.add_argument("--gaps-only", action="store_true")
    options = parser.parse_args()
    options.sizes = [int(size) for size in options.sizes.split(",")]
    load = os.getloadavg()[0]
    found = run(options)
    notes = [f"{flood.machine()}; load average {load:.2f} before",
             f"milliseconds (gaps too) or bytes: median (min .. max) of {options.rounds} rounds"]
    rates = [size / ms for (what, size), all_ms in found.items() if what == "list -j"
             for ms in [statistics.median(all_ms)]]
    notes.append("list -j: " + ", ".join(f"{rate * 1000:,.0f} entries/s" for rate in rates))
    lines = [*(f"- {note}" for note in notes), "", *table(found)]
    print("\n".join(lines))
    if os.environ.get("BENCH_OUT"):
        pathlib.Path(os.environ["BENCH_OUT"]).write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
