#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs every bench and puts what they found together into one page.

BENCH_OUT=FILE   the page (docs/BENCHMARKS.md), and its plot beside it as bench-flood.svg
BENCH_ONLY=flood,lookup,verdict,control,policy
"""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = os.environ.get("BENCH_OUT")

FLOOD = """The receiver drops a flood of unlisted sources to port 25. Frames are made by `BPF_PROG_RUN` with live
frames in one namespace, each with the next of a million random sources, and redirected over a veth
into another, whose receiving end the same CPU polls; so a packet's whole way is one CPU's work, and
the limit, a program that is only `return XDP_DROP`, says how much of it is not the contender's.
Counted is what the receiving end took in. The lists are random: IPv4 in unicast space, 60 % single
addresses and the rest /24 to /31; IPv6 in 2000::/3, 40 % single addresses, 30 % /64, 15 % each /56
and /48. "random": sources from anywhere in the same space; "close": from the same /24 (IPv6: /32) as
a listed prefix. None is listed: each contender is shown first to let listed ones in, and in all the
flood its host's TCP must not see one segment. nftables and iptables see packets with GRO on, as NICs
have it. xdp-filter takes single addresses only, one process each: up to 1,000. plain: a program with
nothing but a trie. smtpgate: as the command line attaches it, native, with counters, the table of
sources and ends of entries.

![Dropped packets a second, of the limit](bench-flood.svg)
"""
LOOKUP = """Nanoseconds above an empty program that parses nothing, by `BPF_PROG_TEST_RUN`, with the same lists.
"neighbour": the address just before or behind a listed prefix; "active": from 1,000 of the listed.
"""
VERDICT = """A flood of forged IPv4 sources to port 25 by `BPF_PROG_TEST_RUN`. empty: a program that drops at once;
bare: the verdict alone; counted: with the counters; all: with the table of sources too, as it is.
Goals: counting costs 5 ns at most, the table less than 10 % of the rate.
"""
CONTROL = """Whole processes, the store on a disk with its fsync, at a higher priority than anything else; nftables
and ipset get the same list. "gap" is the longest that a real-time thread on any CPU came late while,
and for three seconds after, a list of the largest size was treated so; "idle" is the machine itself.
"""

PARTS = (("flood", "A flood, beside what else drops by a list", FLOOD, [HERE / "flood.py"]),
         ("lookup", "What a packet costs by where its source lies", LOOKUP, [HERE / "lookup.py"]),
         ("verdict", "A dropped packet: counters and the table of sources", VERDICT,
          [ROOT / "build" / "bench_verdict", "15"]),
         ("control", "Changing and reading a long list", CONTROL, [HERE / "control.py"]),
         ("policy", None, "", [HERE / "policy.py"]))


def run(name, command, places):
    """What a bench wrote; what it printed, where it writes nothing."""
    file = places / f"{name}.md"
    env = dict(os.environ, BENCH_OUT=str(file))
    if OUT:
        env["BENCH_SVG"] = str(pathlib.Path(OUT).parent / "bench-flood.svg")
    file.unlink(missing_ok=True)
    done = subprocess.run(list(map(str, command)), env=env, stdout=subprocess.PIPE, text=True,
                          check=True)
    print(done.stdout, flush=True)
    return file.read_text("utf-8") if file.exists() else done.stdout


def main():
    """All, or those that are named."""
    places = ROOT / "build" / "bench"
    places.mkdir(parents=True, exist_ok=True)
    wanted = os.environ.get("BENCH_ONLY", ",".join(part[0] for part in PARTS)).split(",")
    pages = ["# Benchmarks\n\nMade by `sudo make bench BENCH_OUT=docs/BENCHMARKS.md`; medians, and"
             " the least and the most in brackets.\n"]
    for name, title, words, command in PARTS:
        if name not in wanted:
            continue
        print(f"== {name}", file=sys.stderr, flush=True)
        found = run(name, command, places).replace("# Policy", "## Policy")
        pages.append((f"## {title}\n\n{words}\n" if title else "") + found)
    if OUT:
        pathlib.Path(OUT).write_text("\n".join(pages), "utf-8")


if __name__ == "__main__":
    main()
