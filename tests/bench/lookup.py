#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a packet costs by where its source lies and how long the list is: the gate as the CLI attaches
it, a program with nothing but a trie, and an empty one. lookup.c says how.

The costs told are those above the empty program's in the same round: medians.

BENCH_OUT=FILE (Markdown)
"""
import argparse
import os
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import flood  # pylint: disable=wrong-import-position
import lab  # pylint: disable=wrong-import-position

TOOL = str(lab.ROOT / "build" / "bench_lookup")


def run_case(family, size, options):
    """{packet: [(empty, plain, gate)]}, nanoseconds"""
    with lab.Lab() as site:
        lab.Lab.link(site.host("peer"), "peer", site.mail, flood.DEVICE)
        gate = flood.Smtpgate(site, site.mail, family)
        gate.start(flood.make_list(family, size))
        pin = next(iter(site.link_pins()))
        done = lab.execute(site.mail.argv(TOOL, family, size, f"{lab.BPFFS}/{pin}", options.cpu,
                                          options.rounds), timeout=flood.PATIENCE)
    found = {}
    for row in done.out.splitlines():
        name, numbers = row.split(":")
        numbers = list(map(int, numbers.split()))
        found[name] = list(zip(numbers[::3], numbers[1::3], numbers[2::3]))
    return found


def table(results):
    """Markdown lines."""
    lines = ["| | prefixes | packet | empty ns | plain: + ns | gate: + ns, median (min .. max) |"
             " gate of plain |", "|---|---:|---|---:|---:|---:|---:|"]
    for (family, size), found in results.items():
        for name, rounds in found.items():
            empty = statistics.median(r[0] for r in rounds)
            plain = statistics.median(r[1] - r[0] for r in rounds)
            gates = [r[2] - r[0] for r in rounds]
            share = f"{statistics.median(gates) / plain:.2f}" if plain > 0 else ""
            lines.append(f"| IPv{family} | {size:,} | {name} | {empty:.0f} | {plain:+.0f} |"
                         f" {flood.spread(gates, lambda x: f'{x:+.0f}')} | {share} |")
    return lines


def main():
    """All of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="10,1000,100000,1000000")
    parser.add_argument("--families", default="4,6")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--cpu", type=int, default=(os.cpu_count() or 1) - 1)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    results = {}
    for family in map(int, options.families.split(",")):
        for size in map(int, options.sizes.split(",")):
            results[(family, size)] = run_case(family, size, options)
            print("\n".join(table({(family, size): results[(family, size)]})[2:]), flush=True)
    lines = [f"- {flood.machine()}; load average {load:.2f} before",
             f"- medians of {options.rounds} interleaved turns of 40 ms by `BPF_PROG_TEST_RUN`", "",
             *table(results)]
    if os.environ.get("BENCH_OUT"):
        pathlib.Path(os.environ["BENCH_OUT"]).write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
